"""One FluidSynth: its SoundFont, its instruments, its effects, and sound as it comes out.

Every note is sent to FluidSynth from a list of events. FluidSynth's own MIDI player, which can be
made to play forever by a file of a few bytes, is never used. Knows no score.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from musiclstm.audio.event_list import MAX_INSTRUMENTS, Event, EventKind, Instrument
from musiclstm.audio.mix import USUAL_CHORUS, USUAL_REVERB, Mix
from musiclstm.audio.soundfonts import find_soundfont, packages
from musiclstm.errors import RendererMissingError, RenderError
from musiclstm.midi.general_midi import DRUMS, instrument_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE_RATES_HZ = range(8_000, 96_001)  # what FluidSynth can do

STEP_FRAMES = 64  # FluidSynth works in steps of so many; what it is told counts from the next
_BLOCK_FRAMES = 8_192  # the longest piece of sound handed out at once
_DRUM_BANK = 128

_CHORUS_LEVEL = 4.0  # FluidSynth's number for all of it; twice what it takes by itself

# A small concert hall: the sound needs 1.6 s to die away, which the usual tail leaves room for.
_ROOM = {
    "synth.reverb.room-size": 0.5,
    "synth.reverb.damp": 0.3,
    "synth.reverb.width": 0.8,
}


def check_sample_rate(sample_rate_hz: int) -> None:
    """Refuse what FluidSynth cannot do."""
    if sample_rate_hz not in SAMPLE_RATES_HZ:
        raise ValueError(f"sample_rate_hz must be 8_000 to 96_000, got {sample_rate_hz}.")


def load_instruments(
    soundfont: str | Path | None = None, *, programs: Iterable[int] = range(DRUMS, 128)
) -> Synth:
    """Read instruments from the disk before they are needed, for a page that should answer at once.

    FluidSynth keeps one copy of an instrument for all synthesizers of a process, so whoever plays
    it while the one given back lives need not read it. All of FluidR3 takes a second and 0.2 GB.

    Args:
        soundfont: As in `find_soundfont`.
        programs: Which instruments, 0..127 and -1 for the drums. Those the SoundFont lacks are
            passed over.

    Returns:
        A synthesizer to hold on to; it need not play.

    Raises:
        SoundfontNotFoundError: No SoundFont where asked, or none anywhere.
        RendererMissingError: FluidSynth is not installed.
        RenderError: The SoundFont cannot be read, or has not even a piano.
    """
    synth = Synth(find_soundfont(soundfont))
    synth.choose(
        Instrument(channel, max(program, 0), program == DRUMS)
        for channel, program in enumerate(programs)
    )
    return synth


def _is_soundfont(path: Path) -> bool:
    """Whether it says so itself. FluidSynth would try other formats too, and grumble on stderr."""
    with path.open("rb") as file:
        head = file.read(12)
    return head[:4] == b"RIFF" and head[8:] == b"sfbk"


class Synth:
    """A FluidSynth instance that remembers how far it has played.

    Used with `with`, which frees its memory; one that is abandoned frees it as well. `play` may be
    called again and again: every call goes on where the last one ended, with everything that is
    still ringing. Each begins with a synthesizer of its own: one that has played and was reset
    would not give the same samples, and its room would not be quite still.

    Args:
        soundfont: An .sf2 or .sf3 file.
        sample_rate_hz: Frames per second, 8 000 to 96 000.
        reverb: How much of the room is heard, 0 (off) to 1.
        chorus: How much instruments that use it shimmer, 0 (off) to 1.

    Raises:
        RendererMissingError: FluidSynth is not installed.
        RenderError: The SoundFont cannot be read.
    """

    frame: int  # how many frames have been played

    def __init__(
        self,
        soundfont: Path,
        *,
        sample_rate_hz: int = 44_100,
        reverb: float = USUAL_REVERB,
        chorus: float = USUAL_CHORUS,
    ) -> None:
        self.frame = 0
        self._library = _fluidsynth()
        self._name = soundfont.name
        settings = _ROOM | {
            "synth.reverb.active": int(reverb > 0),
            "synth.reverb.level": float(reverb),
            "synth.chorus.active": int(chorus > 0),
            "synth.chorus.level": _CHORUS_LEVEL * chorus,
            "synth.dynamic-sample-loading": 1,  # only the instruments in use: a tenth of the time
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
        """The synthesizer that a mix asks for.

        Raises:
            SoundfontNotFoundError: No SoundFont where asked, or none anywhere.
            RendererMissingError: FluidSynth is not installed.
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
        """Free its memory; it can play no more. Closing twice does no harm."""
        self._free()

    def choose(self, instruments: Iterable[Instrument]) -> None:
        """Put instruments on their channels.

        A program that the SoundFont lacks is played by its piano, a drum kit by its standard kit.

        Raises:
            RenderError: The SoundFont lacks these too.
        """
        self._refuse_if_closed()
        for channel, program, is_drum in instruments:
            bank = _DRUM_BANK if is_drum else 0
            if not any(self._select(channel, bank, wanted) for wanted in (program, 0)):
                melodic = f"neither {instrument_name(program)} nor a piano"
                missing = "no drum kit" if is_drum else melodic
                raise RenderError(
                    f"'{self._name}' has {missing}; use a General MIDI SoundFont such as "
                    "FluidR3_GM.sf2."
                )

    def _refuse_if_closed(self) -> None:
        if not self._free.alive:
            raise ValueError("This synthesizer is closed; open a new one.")

    def _select(self, channel: int, bank: int, program: int) -> bool:
        return bool(self._synth.program_select(channel, self._font, bank, program) == 0)

    def play(self, events: Iterable[Event], *, until: int) -> Iterator[NDArray[np.float32]]:
        """Play events up to a frame, in blocks of sound as they come out of the synthesizer.

        Args:
            events: Rising in time; those at or after `until` are left out.
            until: The frame, counted from the very first, at which to stop.

        Yields:
            Shape (frames, 2), float32, at most a fraction of a second long. May exceed -1..1.
        """
        self._refuse_if_closed()
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
        # In float, where nothing clips; pyfluidsynth itself offers 16 bits only.
        buffer = ctypes.c_void_p(block.ctypes.data)
        self._library._fl.fluid_synth_write_float(
            ctypes.c_void_p(self._synth.synth), len(block), buffer, 0, 2, buffer, 1, 2
        )

    def send(self, event: Event) -> None:
        """Tell FluidSynth one thing, now, whatever its frame."""
        match event.kind:
            case EventKind.NOTE_OFF:
                self._synth.noteoff(event.channel, event.number)
            case EventKind.CONTROL:
                self._synth.cc(event.channel, event.number, event.value)
            case EventKind.PITCH_BEND:
                self._synth.pitch_bend(event.channel, event.value)
            case EventKind.NOTE_ON:
                self._synth.noteon(event.channel, event.number, event.value)


def _fluidsynth() -> ModuleType:
    """pyfluidsynth, imported only now: without its library everything but sound still works."""
    try:
        import fluidsynth
    except ModuleNotFoundError as error:
        raise RendererMissingError(
            "Sound needs the Python package pyfluidsynth, which is missing; install it with: "
            "pip install pyfluidsynth"
        ) from error
    except (ImportError, OSError) as error:
        raise RendererMissingError(
            "Sound needs the FluidSynth library, which is missing; install it with: "
            f"{packages().library}"
        ) from error
    for level in range(5):  # from panic to debug: what matters we say ourselves
        fluidsynth._fl.fluid_set_log_function(level, None, None)
    return fluidsynth
