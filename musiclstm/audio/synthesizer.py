"""A FluidSynth instance: SoundFont, programs, effects, and rendering of events to samples.

FluidSynth's own MIDI player is not used: a file of a few bytes can make it play forever.
"""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from musiclstm.audio.event_list import MAX_INSTRUMENTS, Event, EventKind, Instrument
from musiclstm.audio.mix import DEFAULT_CHORUS, DEFAULT_REVERB, Mix
from musiclstm.audio.soundfonts import find_soundfont, install_commands
from musiclstm.errors import RendererMissingError, RenderError
from musiclstm.midi.general_midi import DRUMS, instrument_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE_RATES_HZ = range(8_000, 96_001)  # the range of FluidSynth

STEP_FRAMES = 64  # FluidSynth renders in steps; a message takes effect at the next one
_BLOCK_FRAMES = 8_192  # the longest block that `play` yields
_DRUM_BANK = 128

_CHORUS_LEVEL = 4.0  # FluidSynth's setting for chorus=1; twice its default

# A small concert hall: reverberation time 1.6 s, shorter than the default tail of `render`.
_REVERB = {
    "synth.reverb.room-size": 0.5,
    "synth.reverb.damp": 0.3,
    "synth.reverb.width": 0.8,
}


def check_sample_rate(sample_rate_hz: int) -> None:
    """Raise ValueError for a rate that FluidSynth does not support."""
    if sample_rate_hz not in SAMPLE_RATES_HZ:
        raise ValueError(f"sample_rate_hz must be 8_000 to 96_000, got {sample_rate_hz}.")


def load_instruments(
    soundfont: str | Path | None = None, *, programs: Iterable[int] = range(DRUMS, 128)
) -> Synth:
    """Load the samples of instruments into memory, so that later synthesizers start at once.

    FluidSynth shares loaded samples between all synthesizers of a process, as long as one of them
    is alive. All of FluidR3 takes a second and 0.2 GB.

    Args:
        soundfont: As in `find_soundfont`.
        programs: Programs to load, 0..127, and -1 for the drums. Programs that the SoundFont lacks
            are skipped.

    Returns:
        A synthesizer that keeps the samples loaded while it is referenced.

    Raises:
        SoundfontNotFoundError: There is no SoundFont at the given path, or none on this machine.
        RendererMissingError: libfluidsynth is not installed.
        RenderError: The SoundFont cannot be read, or lacks even a piano.
    """
    synth = Synth(find_soundfont(soundfont))
    synth.select_instruments(
        Instrument(channel, max(program, 0), program == DRUMS)
        for channel, program in enumerate(programs)
    )
    return synth


def _is_soundfont(path: Path) -> bool:
    """Check the file header. FluidSynth would try other formats and print errors on stderr."""
    with path.open("rb") as file:
        head = file.read(12)
    return head[:4] == b"RIFF" and head[8:] == b"sfbk"


class Synth:
    """A FluidSynth instance that counts the frames it has rendered.

    A context manager: `close` frees its memory, as does garbage collection. Each call of `play`
    continues where the last one ended, with all notes and reverb that still ring. Each rendering
    needs an instance of its own: FluidSynth's reset keeps some reverb, so that the samples would
    differ.

    Args:
        soundfont: An .sf2 or .sf3 file.
        sample_rate_hz: Frames per second, 8 000 to 96 000.
        reverb: Reverb level, 0 (off) to 1.
        chorus: Chorus level, 0 (off) to 1, for instruments that use it.

    Raises:
        RendererMissingError: libfluidsynth is not installed.
        RenderError: The SoundFont cannot be read.
    """

    frame: int  # rendered so far

    def __init__(
        self,
        soundfont: Path,
        *,
        sample_rate_hz: int = 44_100,
        reverb: float = DEFAULT_REVERB,
        chorus: float = DEFAULT_CHORUS,
    ) -> None:
        self.frame = 0
        self._library = import_fluidsynth()
        self._name = soundfont.name
        settings = _REVERB | {
            "synth.reverb.active": int(reverb > 0),
            "synth.reverb.level": float(reverb),
            "synth.chorus.active": int(chorus > 0),
            "synth.chorus.level": _CHORUS_LEVEL * chorus,
            "synth.dynamic-sample-loading": 1,  # loads used programs only: ten times faster
        }
        self._synth = self._library.Synth(
            samplerate=float(sample_rate_hz), channels=MAX_INSTRUMENTS, **settings
        )
        self._free = weakref.finalize(self, self._synth.delete)
        self._font = self._synth.sfload(str(soundfont)) if _is_soundfont(soundfont) else -1
        if self._font == -1:
            self.close()
            raise RenderError(f"'{self._name}' is not a SoundFont that FluidSynth can read.")

    @classmethod
    def for_mix(cls, mix: Mix, *, sample_rate_hz: int) -> Self:
        """Create the synthesizer with the SoundFont and the effects of a mix.

        Raises:
            SoundfontNotFoundError: There is no such SoundFont, or none on this machine.
            RenderError: The SoundFont cannot be read.
        """
        return cls(
            find_soundfont(mix.soundfont),
            sample_rate_hz=sample_rate_hz,
            reverb=mix.reverb,
            chorus=mix.chorus,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the memory. May be called twice; `play` then raises ValueError."""
        self._free()

    def select_instruments(self, instruments: Iterable[Instrument]) -> None:
        """Select the program of each channel.

        Bank 0 replaces a bank that the SoundFont lacks, the piano a program, and the standard kit a
        drum kit.

        Raises:
            RenderError: The SoundFont lacks these too.
        """
        self._check_open()
        for channel, program, is_drum, variation in instruments:
            banks = (_DRUM_BANK, _DRUM_BANK) if is_drum else (variation, 0)
            choices = ((banks[0], program), (banks[1], program), (banks[1], 0))
            if not any(self._select(channel, *choice) for choice in choices):
                pitched = f"neither {instrument_name(program)} nor a piano"
                missing = "no drum kit" if is_drum else pitched
                raise RenderError(
                    f"'{self._name}' has {missing}; use a General MIDI SoundFont such as "
                    "FluidR3_GM.sf2."
                )

    def _check_open(self) -> None:
        if not self._free.alive:
            raise ValueError("This synthesizer is closed; open a new one.")

    def _select(self, channel: int, bank: int, program: int) -> bool:
        return bool(self._synth.program_select(channel, self._font, bank, program) == 0)

    def play(self, events: Iterable[Event], *, until: int) -> Iterator[NDArray[np.float32]]:
        """Render events up to a frame, in blocks.

        Args:
            events: Sorted by frame; those at or after `until` are ignored.
            until: Frame to stop at, counted from the first of this synthesizer.

        Yields:
            Shape (frames, 2), float32, up to 8 192 frames. May exceed -1..1.
        """
        self._check_open()
        for event in events:
            if event.frame >= until:
                break
            yield from self._advance(event.frame)
            self.send(event)
        yield from self._advance(until)

    def _advance(self, until: int) -> Iterator[NDArray[np.float32]]:
        while self.frame < until:
            block = np.empty((min(until - self.frame, _BLOCK_FRAMES), 2), np.float32)
            self._write(block)
            self.frame += len(block)
            yield block

    def _write(self, block: NDArray[np.float32]) -> None:
        # The float function does not clip; pyfluidsynth wraps only the 16-bit one.
        buffer = ctypes.c_void_p(block.ctypes.data)
        self._library._fl.fluid_synth_write_float(
            ctypes.c_void_p(self._synth.synth), len(block), buffer, 0, 2, buffer, 1, 2
        )

    def send(self, event: Event) -> None:
        """Send one message now, whatever its frame."""
        match event.kind:
            case EventKind.NOTE_OFF:
                self._synth.noteoff(event.channel, event.number)
            case EventKind.CONTROL:
                self._synth.cc(event.channel, event.number, event.value)
            case EventKind.PITCH_BEND:
                self._synth.pitch_bend(event.channel, event.value)
            case EventKind.NOTE_ON:
                self._synth.noteon(event.channel, event.number, event.value)


def import_fluidsynth() -> ModuleType:
    """Import pyfluidsynth at first use, because everything but sound works without it.

    Raises:
        RendererMissingError: It or libfluidsynth is missing, or `fluidsynth` is another package.
    """
    try:
        import fluidsynth

        set_log_function = fluidsynth._fl.fluid_set_log_function
        fluidsynth.Synth  # noqa: B018  # another package may lack it
    except (AttributeError, NameError, SyntaxError, TypeError) as error:
        raise _other_fluidsynth() from error
    except ModuleNotFoundError as error:
        if error.name != "fluidsynth":
            raise _other_fluidsynth() from error
        raise RendererMissingError(
            "Sound needs the Python package pyfluidsynth, which is missing; install it with: "
            "pip install pyfluidsynth"
        ) from error
    except (ImportError, OSError) as error:
        raise RendererMissingError(
            "Sound needs the FluidSynth library, which is missing; install it with: "
            f"{install_commands().library}"
        ) from error
    for level in range(5):  # from panic to debug; failures are raised as errors instead
        set_log_function(level, None, None)
    return fluidsynth


def _other_fluidsynth() -> RendererMissingError:
    """Return the error for a module of that name that is not pyfluidsynth's, as PyPI has one."""
    where = getattr(sys.modules.get("fluidsynth"), "__file__", None) or "see pip list"
    return RendererMissingError(
        f"Sound needs the Python package pyfluidsynth, and 'fluidsynth' is another package "
        f"({where}); remove it, for example with pip uninstall fluidsynth, and run: "
        "pip install --force-reinstall pyfluidsynth"
    )
