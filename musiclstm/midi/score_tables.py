"""Scores to and from the tables of events that the core reads from and writes to MIDI files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from symusic.core import (
    ControlChangeTickList,
    KeySignatureTickList,
    NoteTickList,
    PedalTickList,
    PitchBendTickList,
    ScoreTick,
    TempoTickList,
    TimeSignatureTickList,
    TrackTick,
)

from musiclstm.core.midi_file import (
    CONTROL_CHANGE,
    PITCH_BEND,
    MidiFileError,
    MidiTables,
    read_tables,
    write_tables,
)
from musiclstm.midi.analysis import in_ticks, last_note_end
from musiclstm.midi.score_ops import trim_overlapping_notes
from musiclstm.midi.summary import pluralize

if TYPE_CHECKING:
    from musiclstm.midi.analysis import AnyScore

BANK, BANK_LOW, SUSTAIN = 0, 32, 64  # controller numbers
TEXT, NAME = 1, 3  # types of meta events
_COPYRIGHT, _INSTRUMENT = 2, 4
_PLACED = ((5, "lyric"), (6, "marker"), (7, "cue point"))
_BEND_CENTER = 8_192
_FEWEST_KATAKANA = 3
_NOT_SHIFT_JIS = set("\x80\uf8f0\uf8f1\uf8f2\uf8f3")  # what cp932 makes of bytes without a meaning
_MAX_FIFTHS = 7
_PEDAL_DOWN = 64  # lowest value of a pressed pedal


def to_score(tables: MidiTables, data: bytes) -> ScoreTick:
    """Return the events of a file as a score with one track for each voice.

    Each track has the controllers of its channel in the order of the file; those of its own track
    come after simultaneous ones of others. A bank other than 0 is stated by controllers 0 and 32 at
    tick 0.

    Args:
        tables: Of `core.midi_file.read_tables`.
        data: Bytes of the file.
    """
    score = ScoreTick(tables.ticks_per_quarter)
    notes = tables.notes[np.argsort(tables.notes[:, 4], kind="stable")]
    bounds = np.searchsorted(notes[:, 4], np.arange(len(tables.voices) + 1))
    names = _track_names(tables, data)
    for voice, (track, channel, program, bank, is_drum) in enumerate(tables.voices.tolist()):
        copy = TrackTick(names.get(track, ""), program, bool(is_drum))
        own = notes[bounds[voice] : bounds[voice + 1]]
        columns = (np.ascontiguousarray(own[:, column]) for column in range(4))
        copy.notes = _note_list(*columns)
        _add_controls(copy, tables.controls, track, channel, bank)
        score.tracks.append(copy)
    time, mspq = tables.tempos.T
    score.tempos = TempoTickList.from_numpy(*_contiguous(time, mspq))
    _add_signatures(score, tables)
    return score


def _contiguous(*columns: np.ndarray) -> Iterator[np.ndarray]:
    return (np.ascontiguousarray(column) for column in columns)


def _note_list(
    time: np.ndarray, duration: np.ndarray, pitch: np.ndarray, velocity: np.ndarray
) -> NoteTickList:
    return NoteTickList.from_numpy(time, duration, pitch.astype(np.int8), velocity.astype(np.int8))


def _add_controls(
    copy: TrackTick, controls: np.ndarray, track: int, channel: int, bank: int
) -> None:
    rows = controls[controls[:, 1] == channel]
    rows = rows[np.lexsort((rows[:, 5] == track, rows[:, 0]))]
    is_control = rows[:, 2] == CONTROL_CHANGE
    time, _, _, number, value, _ = rows[is_control].T
    if bank:
        time = np.concatenate([[0, 0], time])
        number = np.concatenate([[BANK, BANK_LOW], number])
        value = np.concatenate([[bank >> 7, bank & 127], value])
    copy.controls = ControlChangeTickList.from_numpy(
        time.astype(np.int32), number.astype(np.uint8), value.astype(np.uint8)
    )
    copy.pedals = _pedals(time, number, value)
    time, _, _, low, high, _ = rows[~is_control].T
    bend = (high << 7 | low) - _BEND_CENTER
    copy.pitch_bends = PitchBendTickList.from_numpy(time.astype(np.int32), bend.astype(np.int32))


def _pedals(time: np.ndarray, number: np.ndarray, value: np.ndarray) -> PedalTickList:
    """Return when the sustain pedal is down, from controller 64; the last one may not end."""
    time, down = time[number == SUSTAIN], value[number == SUSTAIN] >= _PEDAL_DOWN
    changes = np.flatnonzero(down != np.concatenate([[False], down[:-1]]))
    pressed, lifted = time[changes[::2]], time[changes[1::2]]
    pressed = pressed[: len(lifted)]
    return PedalTickList.from_numpy(pressed.astype(np.int32), (lifted - pressed).astype(np.int32))


def _add_signatures(score: ScoreTick, tables: MidiTables) -> None:
    time, above, below = tables.meters.T
    score.time_signatures = TimeSignatureTickList.from_numpy(
        np.ascontiguousarray(time), above.astype(np.uint8), below.astype(np.uint8)
    )
    time, fifths, minor = tables.keys.T
    valid = (np.abs(fifths) <= _MAX_FIFTHS) & (minor >= 0) & (minor <= 1)
    score.key_signatures = KeySignatureTickList.from_numpy(
        time[valid], fifths[valid].astype(np.int8), minor[valid].astype(np.int8)
    )


# Texts ------------------------------------------------------------------------------------------


def _track_names(tables: MidiTables, data: bytes) -> dict[int, str]:
    """Return the first name of each track, else the first name of its instrument."""
    names: dict[int, str] = {}
    for kind in (NAME, _INSTRUMENT):
        _, tracks, _, offsets, lengths = tables.texts[tables.texts[:, 2] == kind].T
        firsts = np.unique(tracks, return_index=True)[1]
        for track, offset, length in zip(
            *(column[firsts].tolist() for column in (tracks, offsets, lengths)), strict=True
        ):
            names[track] = names.get(track) or decode_text(data[offset : offset + length])
    return names


def unkept_texts(tables: MidiTables) -> tuple[str, ...]:
    """Return what the tables have of the texts that scores do not keep, such as `12 lyrics`."""
    time, track, kinds, _, length = tables.texts.T
    counts = np.bincount(kinds, minlength=8).tolist()
    named = (kinds == NAME) & (length > 0) & ~np.isin(track, tables.voices[:, 0])
    has_title = bool(named.any())
    found = [("title", has_title), ("copyright notice", counts[_COPYRIGHT])]
    clauses = [name for name, is_present in found if is_present]
    clauses += [pluralize(counts[kind], name) for kind, name in _PLACED if counts[kind]]
    words = int(((kinds == TEXT) & (time > 0) & (length > 0)).sum())  # of karaoke files
    return (*clauses, pluralize(words, "text")) if words else tuple(clauses)


def decode_text(text: bytes) -> str:
    """Decode a text of a MIDI file, whose encoding is not stated.

    Tried are UTF-8, then Shift-JIS if at least half of the bytes are Japanese, then Windows-1252.
    """
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        pass
    if is_shift_jis(text):
        return text.decode("cp932")
    return text.decode("cp1252", errors="replace").replace("\N{REPLACEMENT CHARACTER}", "?")


def is_shift_jis(text: bytes) -> bool:
    """Return whether a text is probably Japanese in Shift-JIS (as Windows has it, cp932).

    Half-width katakana, of one byte, count where there are three or more: in Windows-1252 these
    bytes are accented capitals and signs.
    """
    try:
        characters = text.decode("cp932")
    except UnicodeDecodeError:
        return False
    wide = len(text) - len(characters)
    if set(characters) & _NOT_SHIFT_JIS:
        return False
    narrow = sum("\uff61" <= c <= "\uff9f" for c in characters)
    return 2 * (2 * wide + (narrow if narrow >= _FEWEST_KATAKANA else 0)) >= len(text)


def encode_texts(texts: Sequence[str]) -> list[bytes]:
    """Encode texts as Latin-1, which MIDI programs expect, or all as UTF-8 for other letters."""
    try:
        return [text.encode("latin-1") for text in texts]
    except UnicodeEncodeError:
        return [text.encode("utf-8") for text in texts]


def find_text(data: bytes, prefix: str) -> str | None:
    """Return the first text event of a MIDI file with a prefix, without it; None: there is none."""
    try:
        tables, _ = read_tables(data)
    except MidiFileError:
        return None
    texts = tables.texts[tables.texts[:, 2] == TEXT]
    for _, _, _, offset, length in texts.tolist():
        if data.startswith(prefix.encode(), offset, offset + length):
            return decode_text(data[offset + len(prefix) : offset + length])
    return None


# Writing ----------------------------------------------------------------------------------------


def write_midi(score: AnyScore, *, end_tick: int | None = None, text: str = "") -> bytes:
    """Return a MIDI file of format 1: a track of tempos, meters and keys, then one for each track.

    Controllers keep their order. A bank (controllers 0 and 32) comes before its program. Drums have
    channel 10; of more than 15 other tracks, those of one program and the same controllers share a
    channel, and further ones are on further ports.

    Args:
        score: In any time unit. Notes end at the next onset of their pitch.
        end_tick: Where all tracks end; None: with the last note, tempo, meter or key.
        text: A text event at the beginning.
    """
    score = in_ticks(score)
    start, *names = encode_texts([text, *(track.name for track in score.tracks)])
    texts = [(0, 0, TEXT, 0, len(start))] if start else []
    at = len(start)
    for track, name in enumerate(names, 1):
        texts.append((0, track, NAME, at, len(name)))
        at += len(name)
    voices = [_voice(track) for track in score.tracks]
    tables = MidiTables(
        score.ticks_per_quarter,
        notes=_stack([_note_rows(track, voice) for voice, track in enumerate(score.tracks)], 5),
        controls=_stack([_control_rows(t, voice) for voice, t in enumerate(score.tracks)], 6),
        tempos=_columns(score.tempos.numpy(), "time", "mspq"),
        meters=_columns(score.time_signatures.numpy(), "time", "numerator", "denominator"),
        keys=_columns(score.key_signatures.numpy(), "time", "key", "tonality"),
        texts=_stack([np.array(texts, np.int32).reshape(-1, 5)], 5),
        voices=_stack([np.array(voices, np.int32).reshape(-1, 5)], 5),
    )
    if end_tick is None:
        changes = (tables.tempos, tables.meters, tables.keys)
        end_tick = max(last_note_end(score), *(int(rows[:, 0].max(initial=0)) for rows in changes))
    return write_tables(tables, end_tick=end_tick, texts=start + b"".join(names))


def _stack(tables: Sequence[np.ndarray], columns: int) -> np.ndarray:
    found = np.concatenate([np.zeros((0, columns), np.int32), *tables])
    return np.ascontiguousarray(found, np.int32)


def _columns(table: dict[str, np.ndarray], *names: str) -> np.ndarray:
    return np.stack([table[name].astype(np.int32) for name in names], axis=1)


def _voice(track: TrackTick) -> tuple[int, int, int, int, int]:
    banks: dict[int, int] = {}
    for control in track.controls:
        banks.setdefault(control.number, control.value)
    bank = banks.get(BANK, 0) << 7 | banks.get(BANK_LOW, 0)
    return 0, 0, min(max(track.program, 0), 127), bank, int(track.is_drum)


def _note_rows(track: TrackTick, voice: int) -> np.ndarray:
    table = trim_overlapping_notes(track.notes).numpy()
    rows = np.full((len(table["time"]), 5), voice, np.int32)
    for column, name in enumerate(("time", "duration", "pitch", "velocity")):
        rows[:, column] = table[name]
    rows[:, 1] = np.maximum(rows[:, 1], 1)
    return rows[rows[:, 3] > 0]


def _control_rows(track: TrackTick, voice: int) -> np.ndarray:
    """Return controllers, then bends, each in their order; banks are left out."""
    table = track.controls.numpy()
    keep = (table["number"] != BANK) & (table["number"] != BANK_LOW)
    controls = np.zeros((int(keep.sum()), 6), np.int32)
    controls[:, 2] = CONTROL_CHANGE
    for column, name in ((0, "time"), (3, "number"), (4, "value")):
        controls[:, column] = table[name][keep]
    if not (table["number"] == SUSTAIN).any():
        controls = np.concatenate([controls, _pedal_rows(track)])
    table = track.pitch_bends.numpy()
    bends = np.zeros((len(table["time"]), 6), np.int32)
    value = table["value"].astype(np.int32) + _BEND_CENTER
    bends[:, 0], bends[:, 2], bends[:, 3], bends[:, 4] = (
        *(table["time"], PITCH_BEND),
        *(value & 127, value >> 7),
    )
    rows = np.concatenate([controls, bends])
    rows[:, 1] = voice
    rows = rows[rows[:, 0] >= 0]
    return rows[np.argsort(rows[:, 0], kind="stable")]


def _pedal_rows(track: TrackTick) -> np.ndarray:
    """Return the controllers of a pedal that a score made in code states by `pedals` only."""
    table = track.pedals.numpy()
    rows = np.zeros((2 * len(table["time"]), 6), np.int32)
    rows[:, 2], rows[:, 3] = CONTROL_CHANGE, SUSTAIN
    rows[::2, 0], rows[::2, 4] = table["time"], 127
    rows[1::2, 0] = table["time"] + table["duration"]
    return rows
