"""A score becomes sound: events, FluidSynth, instruments, effects, SoundFonts.

Every note is sent to FluidSynth from a list of events made here. FluidSynth's own MIDI player,
which can be made to play forever by a file of a few bytes, is never used.

This file does not know where a score comes from, nor what becomes of the sound (audio.py), and
nothing of models, tokens or pages.
"""

from __future__ import annotations

import ctypes
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from musiclstm.analysis import in_ticks
from musiclstm.audio import Audio, level_factor
from musiclstm.errors import RendererMissingError, RenderError, SoundfontNotFoundError
from musiclstm.instruments import instrument_name

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from symusic.core import ScoreTick, TrackTick

    from musiclstm.analysis import AnyScore

    Clock = Callable[[NDArray[np.int64]], NDArray[np.int64]]  # ticks -> frames

__all__ = [
    "Audio",
    "Event",
    "Instrument",
    "Kind",
    "Part",
    "Synth",
    "find_soundfont",
    "prepare",
    "render",
]

SOUNDFONT_VARIABLE = "MUSICLSTM_SOUNDFONT"
SAMPLE_RATES_HZ = range(8_000, 96_001)  # what FluidSynth can do
MAX_SECONDS = 3_600
MAX_INSTRUMENTS = 256  # one channel for each, so that no two ever share a program

_BLOCK_FRAMES = 8_192  # the longest piece of sound handed out at once
_FADE_S = 0.5  # the end of the tail, so that a ringing note is not cut off
_DRUM_BANK = 128

# A small concert hall: the sound needs 1.6 s to die away, which the usual tail leaves room for.
_ROOM = {
    "synth.reverb.room-size": 0.5,
    "synth.reverb.damp": 0.3,
    "synth.reverb.width": 0.8,
    "synth.reverb.level": 0.8,
}

# ------------------------------------------------------------------------------- the way to sound


def render(
    score: AnyScore,
    *,
    soundfont: str | Path | None = None,
    sample_rate_hz: int = 44_100,
    reverb: bool = True,
    chorus: bool = True,
    gain_db: float = 0.0,
    tail_s: float = 2.0,
) -> Audio:
    """Play a score through FluidSynth and return the sound.

    Tempo map, instruments, drums, velocities, pedals, pitch bends, volume, expression and pan are
    followed. The same score and SoundFont always give the same samples.

    Args:
        score: In any time unit; left unchanged.
        soundfont: An .sf2 or .sf3 file. None: MUSICLSTM_SOUNDFONT, then the usual system folders.
        sample_rate_hz: Frames per second, 8 000 to 96 000.
        reverb: Whether the room is heard.
        chorus: Whether instruments that use it shimmer.
        gain_db: Louder or softer than every piece's usual -18 LUFS. The peak stays at or below
            -1 dB whatever is asked for.
        tail_s: How long the sound may ring after the last note, 0 to 60 seconds.

    Returns:
        Samples of shape (frames, 2), float32 in -1..1. A score without notes gives 0 frames.

    Raises:
        SoundfontNotFoundError: No SoundFont where asked, or none anywhere.
        RendererMissingError: FluidSynth is not installed.
        RenderError: The score lasts more than an hour or has more than 256 instruments, or the
            SoundFont is damaged or lacks what is needed.
        ValueError: An option outside its range.
    """
    _check_options(sample_rate_hz, gain_db, tail_s)
    part = prepare(score, sample_rate_hz=sample_rate_hz)
    if not part.events:
        return Audio(np.zeros((0, 2), np.float32), sample_rate_hz)
    frames = _frames_in_all(part.end_frame, sample_rate_hz, tail_s)
    with Synth(
        find_soundfont(soundfont), sample_rate_hz=sample_rate_hz, reverb=reverb, chorus=chorus
    ) as synth:
        synth.choose(part.instruments)
        samples = _joined(synth.play(part.events, until=frames), frames)
    samples *= level_factor(samples, sample_rate_hz=sample_rate_hz, gain_db=gain_db)
    _fade_out(samples, frames=round(min(tail_s, _FADE_S) * sample_rate_hz))
    return Audio(samples, sample_rate_hz)


def _check_options(sample_rate_hz: int, gain_db: float, tail_s: float) -> None:
    if sample_rate_hz not in SAMPLE_RATES_HZ:
        raise ValueError(f"sample_rate_hz must be 8_000 to 96_000, got {sample_rate_hz}.")
    if not -60 <= gain_db <= 60:
        raise ValueError(f"gain_db must be -60 to 60, got {gain_db}; 0 is the usual loudness.")
    if not 0 <= tail_s <= 60:
        raise ValueError(f"tail_s must be 0 to 60 seconds, got {tail_s}.")


def _frames_in_all(end_frame: int, sample_rate_hz: int, tail_s: float) -> int:
    seconds = end_frame / sample_rate_hz + tail_s
    if seconds > MAX_SECONDS:
        raise RenderError(
            f"The score lasts {math.ceil(seconds / 60):,} minutes, and at most {MAX_SECONDS // 60} "
            "can be rendered; cut it into shorter pieces."
        )
    return end_frame + round(tail_s * sample_rate_hz)


def _joined(blocks: Iterable[NDArray[np.float32]], frames: int) -> NDArray[np.float32]:
    samples = np.empty((frames, 2), np.float32)
    filled = 0
    for block in blocks:
        samples[filled : filled + len(block)] = block
        filled += len(block)
    return samples


def _fade_out(samples: NDArray[np.float32], *, frames: int) -> None:
    if frames:
        samples[-frames:] *= np.linspace(1, 0, frames, dtype=np.float32)[:, None]


# ------------------------------------------------------------------------- from a score to events


class Kind(IntEnum):
    """What can happen at a frame, in the order in which it happens there."""

    NOTE_OFF = 0  # before the note-ons: a repeated note ends before it sounds again
    CONTROL = 1
    PITCH_BEND = 2
    NOTE_ON = 3


class Event(NamedTuple):
    """One thing FluidSynth is told, and when."""

    frame: int
    kind: Kind
    channel: int  # 0..255
    number: int  # the key or the controller, 0..127
    value: int  # velocity or controller value, 0..127; pitch bend, -8192..8191


class Instrument(NamedTuple):
    """What sounds on one channel."""

    channel: int  # 0..255
    program: int  # General MIDI, 0..127; the kit for drums
    is_drum: bool


class Part(NamedTuple):
    """All that FluidSynth needs to know of a score."""

    instruments: tuple[Instrument, ...]
    events: list[Event]  # rising in time; empty without notes
    end_frame: int  # where the last note ends


# Bank, mode and "all sound off" messages stay out: they would reach beyond their own channel.
_CONTROLS = frozenset({1, 7, 10, 11, 64, 66, 67, 91, 93})
_SUSTAIN = 64


def prepare(score: AnyScore, *, sample_rate_hz: int) -> Part:
    """Turn a score into events at sample frames, each track with notes on a channel of its own.

    Raises:
        RenderError: More than 256 tracks have notes.
    """
    score = in_ticks(score)
    tracks = [track for track in score.tracks if len(track.notes)]
    if len(tracks) > MAX_INSTRUMENTS:
        raise RenderError(
            f"The score has {len(tracks)} tracks with notes, and at most {MAX_INSTRUMENTS} can "
            "sound together; merge tracks that share an instrument."
        )
    clock = _clock(score, sample_rate_hz)
    notes = [e for channel, track in enumerate(tracks) for e in _note_events(track, channel, clock)]
    if not notes:
        return Part((), [], 0)
    controls = [
        e for channel, track in enumerate(tracks) for e in _control_events(track, channel, clock)
    ]
    return Part(
        instruments=tuple(_instrument(track, channel) for channel, track in enumerate(tracks)),
        events=sorted(controls + notes, key=lambda event: event[:2]),  # by frame, then kind
        end_frame=max(event.frame for event in notes),
    )


def _instrument(track: TrackTick, channel: int) -> Instrument:
    return Instrument(channel, min(max(track.program, 0), 127), track.is_drum)


def _clock(score: ScoreTick, sample_rate_hz: int) -> Clock:
    """The tempo map, in float64.

    symusic's own seconds are float32: ten minutes into a piece they are frames apart, and the end
    of a note could fall behind the beginning of the next one and silence it.
    """
    tempos = [(0, 500_000)] + [(max(0, t.time), t.mspq) for t in score.tempos if t.mspq > 0]
    ticks, mspq = np.array(sorted(tempos, key=lambda tempo: tempo[0]), np.float64).T
    frames_per_tick = mspq * sample_rate_hz / 1e6 / max(1, score.ticks_per_quarter)
    frames = np.concatenate(([0.0], np.cumsum(np.diff(ticks) * frames_per_tick[:-1])))

    def to_frames(at: NDArray[np.int64]) -> NDArray[np.int64]:
        at = np.maximum(at, 0)
        tempo = np.searchsorted(ticks, at, side="right") - 1
        exact = frames[tempo] + (at - ticks[tempo]) * frames_per_tick[tempo]
        return np.rint(exact).astype(np.int64)

    return to_frames


def _note_events(track: TrackTick, channel: int, clock: Clock) -> Iterator[Event]:
    """Note-ons and note-offs in which no key is struck twice without a release between."""
    notes = {name: values.astype(np.int64) for name, values in track.notes.numpy().items()}
    # Notes without length (some drum files have no others) still sound.
    start = clock(notes["time"])
    end = np.maximum(clock(notes["time"] + notes["duration"]), start + 1)
    pitch, velocity = notes["pitch"], notes["velocity"]

    order = np.lexsort((end, start, pitch))
    start, end, pitch, velocity = start[order], end[order], pitch[order], velocity[order]
    again = pitch[1:] == pitch[:-1]
    end[:-1] = np.where(again, np.minimum(end[:-1], start[1:]), end[:-1])

    heard = (end > start) & (velocity > 0) & (pitch >= 0)
    for on, off, key, strength in zip(
        *(values[heard].tolist() for values in (start, end, pitch, velocity)), strict=True
    ):
        yield Event(on, Kind.NOTE_ON, channel, key, strength)
        yield Event(off, Kind.NOTE_OFF, channel, key, 0)


def _control_events(track: TrackTick, channel: int, clock: Clock) -> Iterator[Event]:
    controls = _controls(track)
    frames = clock(np.array([time for time, _, _ in controls], np.int64)).tolist()
    for frame, (_, number, value) in zip(frames, controls, strict=True):
        yield Event(frame, Kind.CONTROL, channel, number, min(max(value, 0), 127))

    bends = list(track.pitch_bends)
    frames = clock(np.array([bend.time for bend in bends], np.int64)).tolist()
    for frame, bend in zip(frames, bends, strict=True):
        yield Event(frame, Kind.PITCH_BEND, channel, 0, min(max(bend.value, -8192), 8191))


def _controls(track: TrackTick) -> list[tuple[int, int, int]]:
    """(tick, controller, value) of everything that is followed, the pedal included."""
    controls = [(c.time, c.number, c.value) for c in track.controls if c.number in _CONTROLS]
    if not any(number == _SUSTAIN for _, number, _ in controls):
        # symusic gives a file's pedal in both forms; a score made in code may have only this one.
        for pedal in track.pedals:
            controls.append((pedal.time, _SUSTAIN, 127))
            controls.append((pedal.time + pedal.duration, _SUSTAIN, 0))
    return controls


# ------------------------------------------------------------------------------ one FluidSynth


def _is_soundfont(path: Path) -> bool:
    """Whether it says so itself. FluidSynth would try other formats too, and grumble on stderr."""
    with path.open("rb") as file:
        head = file.read(12)
    return head[:4] == b"RIFF" and head[8:] == b"sfbk"


class Synth:
    """A FluidSynth instance that remembers how far it has played.

    Used with `with`, which frees its memory. `play` may be called again and again: every call goes
    on where the last one ended, with everything that is still ringing.

    Args:
        soundfont: An .sf2 or .sf3 file.
        sample_rate_hz: Frames per second, 8 000 to 96 000.
        reverb: Whether the room is heard.
        chorus: Whether instruments that use it shimmer.

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
        reverb: bool = True,
        chorus: bool = True,
    ) -> None:
        self.frame = 0
        self._library = _fluidsynth()
        self._name = soundfont.name
        settings = _ROOM | {
            "synth.reverb.active": int(reverb),
            "synth.chorus.active": int(chorus),
            "synth.dynamic-sample-loading": 1,  # only the instruments in use: a tenth of the time
        }
        self._synth = self._library.Synth(
            samplerate=float(sample_rate_hz), channels=MAX_INSTRUMENTS, **settings
        )
        self._font = self._synth.sfload(str(soundfont)) if _is_soundfont(soundfont) else -1
        if self._font == -1:
            self._synth.delete()
            raise RenderError(f"'{self._name}' is not a SoundFont that FluidSynth can read.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._synth.delete()

    def choose(self, instruments: Iterable[Instrument]) -> None:
        """Put instruments on their channels.

        A program that the SoundFont lacks is played by its piano, a drum kit by its standard kit.

        Raises:
            RenderError: The SoundFont lacks these too.
        """
        for channel, program, is_drum in instruments:
            bank = _DRUM_BANK if is_drum else 0
            if not any(self._select(channel, bank, wanted) for wanted in (program, 0)):
                melodic = f"neither {instrument_name(program)} nor a piano"
                missing = "no drum kit" if is_drum else melodic
                raise RenderError(
                    f"'{self._name}' has {missing}; use a General MIDI SoundFont such as "
                    "FluidR3_GM.sf2."
                )

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
        for event in events:
            if event.frame >= until:
                break
            yield from self._advance(event.frame)
            self._send(event)
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

    def _send(self, event: Event) -> None:
        match event.kind:
            case Kind.NOTE_OFF:
                self._synth.noteoff(event.channel, event.number)
            case Kind.CONTROL:
                self._synth.cc(event.channel, event.number, event.value)
            case Kind.PITCH_BEND:
                self._synth.pitch_bend(event.channel, event.value)
            case Kind.NOTE_ON:
                self._synth.noteon(event.channel, event.number, event.value)


# ------------------------------------------------------------------- what has to be on the machine


class _Packages(NamedTuple):
    """How a package manager brings what we need."""

    library: str
    soundfont: str


_PACKAGES = {
    "apt-get": _Packages("apt install libfluidsynth3", "apt install fluid-soundfont-gm"),
    "dnf": _Packages("dnf install fluidsynth-libs", "dnf install fluid-soundfont-gm"),
    "pacman": _Packages("pacman -S fluidsynth", "pacman -S soundfont-fluid"),
    "brew": _Packages(
        "brew install fluid-synth",
        "put a General MIDI .sf2 file into /Library/Audio/Sounds/Banks",
    ),
    "choco": _Packages(
        "choco install fluidsynth", r"put a General MIDI .sf2 file into C:\soundfonts"
    ),
}
_ELSEWHERE = _Packages(
    "see fluidsynth.org/download", "put a General MIDI .sf2 file into /usr/local/share/soundfonts"
)

_SOUNDFONT_FOLDERS = (
    "/usr/share/sounds/sf2",  # Debian, Ubuntu
    "/usr/share/sounds/sf3",
    "/usr/share/soundfonts",  # Fedora, Arch
    "/usr/local/share/soundfonts",
    "/Library/Audio/Sounds/Banks",  # macOS
    "/opt/homebrew/share/soundfonts",
    "/opt/homebrew/share/fluid-synth/sf2",
    "/usr/local/share/fluid-synth/sf2",
    r"C:\soundfonts",
    r"C:\tools\fluidsynth\share\soundfonts",
)
# Where several are installed, the best General MIDI set first.
_BEST_SOUNDFONTS = ("fluidr3_gm", "musescore_general", "generaluser", "fluidr3", "timgm6mb", "gm")


def find_soundfont(soundfont: str | Path | None = None) -> Path:
    """The SoundFont to play with.

    Args:
        soundfont: An .sf2 or .sf3 file. None: MUSICLSTM_SOUNDFONT, then the usual system folders
            of Debian, Fedora, Arch, macOS and Windows, the best set first.

    Raises:
        SoundfontNotFoundError: No SoundFont where asked, or none anywhere.
    """
    named = soundfont or os.environ.get(SOUNDFONT_VARIABLE)
    candidates = [Path(named)] if named else _installed_soundfonts()
    if candidates and candidates[0].is_file():
        return candidates[0]
    place = f"at '{named}'" if named else "on this machine"
    raise SoundfontNotFoundError(
        f"No SoundFont {place}. Pass soundfont=…, set {SOUNDFONT_VARIABLE}, or: "
        f"{_packages().soundfont}"
    )


def _installed_soundfonts() -> list[Path]:
    folders = [Path(folder) for folder in _SOUNDFONT_FOLDERS if Path(folder).is_dir()]
    files = [file for folder in folders for file in folder.iterdir() if file.is_file()]
    return sorted((f for f in files if f.suffix.lower() in (".sf2", ".sf3")), key=_preference)


def _preference(soundfont: Path) -> tuple[int, str]:
    name = soundfont.name.lower()
    ranks = [rank for rank, best in enumerate(_BEST_SOUNDFONTS) if best in name]
    return min(ranks, default=len(_BEST_SOUNDFONTS)), name


def _packages() -> _Packages:
    """How to install things here, by the package manager that is here."""
    present = (packages for program, packages in _PACKAGES.items() if shutil.which(program))
    return next(present, _ELSEWHERE)


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
            f"{_packages().library}"
        ) from error
    for level in range(5):  # from panic to debug: what matters we say ourselves
        fluidsynth._fl.fluid_set_log_function(level, None, None)
    return fluidsynth
