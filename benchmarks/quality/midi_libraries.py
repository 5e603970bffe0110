"""What other libraries read from a MIDI file, in one form for all of them.

Each reader returns for a file the attributes that its library keeps; `REASONS` says why it lacks
the others. Times are in quarter notes, except those of pretty_midi, which are in seconds.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeAlias

# (onset, length, pitch, velocity, program; -1 for drums)
Note: TypeAlias = tuple[float, float, int, int, int]
# Lists of rows by attribute; numbers are compared with a tolerance.
Attributes: TypeAlias = dict[str, list[tuple[Any, ...]]]

ATTRIBUTES: Final = (
    *("notes", "velocities", "programs", "names", "controllers", "bends"),
    *("tempos", "meters", "keys", "end of track"),
)
DRUM_CHANNEL: Final = 9
REASONS: Final[Mapping[str, Mapping[str, str]]] = {
    "pretty_midi": {"end of track": "it keeps the end of the last event only"},
    "partitura": {
        "tempos": "a performance has seconds",
        "meters": "a performance has none",
        "keys": "a performance has none",
        "bends": "it drops them",
    },
    "music21": {
        "controllers": "it drops them",
        "bends": "it drops them",
        "end of track": "it drops it",
        "notes": "it splits notes at bar lines, and moves bars after some changes of meter",
        "velocities": "a chord has one",
        "meters": "it moves bars after some changes",
    },
}


def read_mido(data: bytes) -> Attributes:
    """Play the file event by event: programs follow the channel, first on, first off."""
    import mido  # type: ignore[import-not-found,unused-ignore]

    file = mido.MidiFile(file=io.BytesIO(data), clip=True)
    found: Attributes = {name: [] for name in ATTRIBUTES}
    for track in file.tracks:
        found["names"] += [_name(m.name) for m in track if m.type == "track_name"]
        ticks = sum(message.time for message in track)
        found["end of track"].append((ticks / file.ticks_per_beat,))
    ports: dict[int, int] = {}
    programs: dict[Any, int] = defaultdict(int)
    open_notes: dict[Any, deque[tuple[float, int, int]]] = defaultdict(deque)
    notes: list[Note] = []
    for tick, track, message in _merged(file.tracks):
        time = tick / file.ticks_per_beat
        if message.type == "midi_port":
            ports[track] = message.port
        elif message.is_meta:
            _add_meta(found, time, message)
        elif message.type not in ("sysex", "quarter_frame", "songpos", "song_select"):
            channel = (ports.get(track, 0), getattr(message, "channel", 0))
            _play(found, notes, programs, open_notes, (time, track, channel, message))
    found["notes"] = sorted((on, length, pitch, p) for on, length, pitch, _, p in notes)
    found["velocities"] = sorted((on, pitch, velocity) for on, _, pitch, velocity, _ in notes)
    found["programs"] = sorted({(program,) for *_, program in notes})
    return found


def _name(text: str) -> tuple[str]:
    """Return a name that may be UTF-8, which these libraries read as Latin-1."""
    try:
        return (text.encode("latin-1").decode("utf-8"),)
    except UnicodeError:
        return (text,)


def _merged(tracks: Any) -> list[tuple[int, int, Any]]:
    """Return (tick, track, message) in the order in which a sequencer plays them."""
    found = []
    for number, track in enumerate(tracks):
        tick = 0
        for message in track:
            tick += message.time
            found.append((tick, number, message))
    return sorted(found, key=lambda each: each[0])


def _add_meta(found: Attributes, time: float, message: Any) -> None:
    if message.type == "set_tempo":
        found["tempos"].append((time, message.tempo))
    elif message.type == "time_signature":
        found["meters"].append((time, message.numerator, message.denominator))
    elif message.type == "key_signature":
        found["keys"].append((time, message.key))


def _play(
    found: Attributes,
    notes: list[Note],
    programs: dict[Any, int],
    open_notes: dict[Any, deque[tuple[float, int, int]]],
    event: tuple[float, int, Any, Any],
) -> None:
    time, track, channel, message = event
    if message.type == "program_change":
        programs[channel] = message.program
    elif message.type == "control_change" and message.control not in (0, 32):
        found["controllers"].append((time, message.control, message.value))
    elif message.type == "pitchwheel":
        found["bends"].append((time, message.pitch))
    elif message.type in ("note_on", "note_off"):
        waiting = open_notes[track, channel, message.note]
        if message.type == "note_on" and message.velocity:
            program = -1 if channel[1] == DRUM_CHANNEL else programs[channel]
            waiting.append((time, message.velocity, program))
        elif waiting:
            onset, velocity, program = waiting.popleft()
            notes.append((onset, time - onset, message.note, velocity, program))


def read_pretty_midi(data: bytes) -> Attributes:
    """Read with pretty_midi, whose times are in seconds."""
    import pretty_midi  # type: ignore[import-not-found,unused-ignore]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = pretty_midi.PrettyMIDI(io.BytesIO(data))
    notes = [
        (note.start, note.end - note.start, note.pitch, note.velocity, _program(each))
        for each in file.instruments
        for note in each.notes
    ]
    times, bpm = file.get_tempo_changes()
    return {
        **_note_attributes(notes),
        "names": [_name(each.name) for each in file.instruments],
        "controllers": sorted(
            (c.time, c.number, c.value)
            for each in file.instruments
            for c in each.control_changes
            if c.number not in (0, 32)
        ),
        "bends": sorted((b.time, b.pitch) for each in file.instruments for b in each.pitch_bends),
        "tempos": [(t, 6e7 / b) for t, b in zip(times.tolist(), bpm.tolist(), strict=True)],
        "meters": [(m.time, m.numerator, m.denominator) for m in file.time_signature_changes],
        "keys": [
            (k.time, pretty_midi.key_number_to_key_name(k.key_number).replace(" ", ""))
            for k in file.key_signature_changes
        ],
    }


def _program(instrument: Any) -> int:
    return -1 if instrument.is_drum else int(instrument.program)


def _note_attributes(notes: list[Note]) -> Attributes:
    return {
        "notes": sorted((on, length, pitch, p) for on, length, pitch, _, p in notes),
        "velocities": sorted((on, pitch, velocity) for on, _, pitch, velocity, _ in notes),
        "programs": sorted({(program,) for *_, program in notes}),
    }


def read_partitura(data: bytes) -> Attributes:
    """Read as a performance of partitura."""
    # It fetches a SoundFont when it finds FluidSynth.
    sys.modules["fluidsynth"] = None  # type: ignore[assignment]
    import partitura  # type: ignore[import-not-found,unused-ignore]

    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "a.mid"
        path.write_bytes(data)
        performance = partitura.load_performance_midi(str(path))
    notes: list[Note] = []
    controllers: list[tuple[Any, ...]] = []
    names: list[tuple[Any, ...]] = []
    ends: list[tuple[Any, ...]] = []
    for part in performance:
        quarter = part.ppq
        programs = {each["channel"]: each["program"] for each in part.programs}
        for note in part.notes:
            channel = note["channel"]
            program = -1 if channel == DRUM_CHANNEL else programs.get(channel, 0)
            on, off = note["note_on_tick"] / quarter, note["note_off_tick"] / quarter
            notes.append((on, off - on, note["midi_pitch"], note["velocity"], program))
        controllers += [
            (each["time_tick"] / quarter, each["number"], each["value"])
            for each in part.controls
            if each["number"] not in (0, 32)
        ]
        for each in part.meta_other:
            if each["type"] == "track_name":
                names.append(_name(each["name"]))
            elif each["type"] == "end_of_track":
                ends.append((each["time_tick"] / quarter,))
    return {
        **_note_attributes(notes),
        "controllers": sorted(controllers),
        "names": names,
        "end of track": ends,
    }


def read_music21(data: bytes) -> Attributes:
    """Read with music21, without its rounding to a grid."""
    from music21 import midi

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stream = midi.translate.midiStringToStream(data, quantizePost=False)
    programs: set[tuple[Any, ...]] = set()
    for part in stream.parts:
        instruments = list(part.flatten().getElementsByClass("Instrument"))
        is_drum = any("Percussion" in type(each).__name__ for each in instruments)
        programs.add((-1 if is_drum else instruments[-1].midiProgram,))
    first = stream.parts[0].flatten() if len(stream.parts) else stream
    return {
        "programs": sorted(programs),
        "names": [(part.partName,) for part in stream.parts],
        "tempos": [
            (float(m.offset), 6e7 / m.getQuarterBPM())
            for m in first.getElementsByClass("MetronomeMark")
        ],
        "keys": [(float(k.offset), _key_name(k)) for k in first.getElementsByClass("KeySignature")],
    }


def _key_name(key: Any) -> str:
    tonic = key.tonic.name.replace("-", "b")
    return f"{tonic}m" if key.mode == "minor" else str(tonic)


LIBRARIES: Final[Mapping[str, Callable[[bytes], Attributes]]] = {
    "mido": read_mido,
    "pretty_midi": read_pretty_midi,
    "music21": read_music21,
    "partitura": read_partitura,
}
