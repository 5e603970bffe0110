"""Decode token ids to a score with one track per part.

Every id sequence decodes, as in MidiTok: a pitch without a duration and a duration without a pitch
are skipped, and notes before the first Program belong to a piano.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from symusic.core import (
    NoteTickList,
    ScoreTick,
    TempoTick,
    TempoTickList,
    TimeSignatureTick,
    TimeSignatureTickList,
    TrackTick,
)

from musiclstm.midi.analysis import DEFAULT_METER
from musiclstm.tokens import vocabulary as v
from musiclstm.tokens.meters import Integers
from musiclstm.tokens.programs import PartName

VELOCITY = 64
"""Velocity of decoded notes; `musiclstm.generation.loudness` replaces it."""

Mask = npt.NDArray[np.bool_]


def decode_ids(ids: Iterable[int]) -> tuple[ScoreTick, list[PartName]]:
    """Return the score of a stream, and the part of each track, in order of appearance."""
    tokens = _musical(ids)
    times, blocks = _times(tokens), _blocks(tokens)
    score = ScoreTick(v.TICKS_PER_QUARTER)
    score.time_signatures = TimeSignatureTickList(
        [TimeSignatureTick(tick, *v.TIME_SIGNATURES[meter]) for tick, meter in times.changes]
    )
    tempos = np.flatnonzero(_within(tokens, v.TEMPO_0, v.PROGRAM_0))
    score.tempos = TempoTickList(
        [
            TempoTick(int(times.ticks[at]), float(v.TEMPOS_BPM[tokens[at] - v.TEMPO_0]))
            for at in tempos.tolist()
        ]
    )
    _add_tracks(score, tokens, times, blocks)
    return score, blocks.parts


def _musical(ids: Iterable[int]) -> Integers:
    """Return the ids as an array, without special tokens and ids outside the vocabulary."""
    tokens = np.fromiter(ids, dtype=np.int64)
    return tokens[(tokens >= v.BAR) & (tokens < len(v.TOKEN_NAMES))]


def _within(tokens: Integers, first: int, stop: int) -> Mask:
    return (tokens >= first) & (tokens < stop)


def _is_pitch(tokens: Integers) -> Mask:
    return _within(tokens, v.PITCH_0, v.DURATION_0) | _within(tokens, v.PITCH_DRUM_FIRST, v.TEMPO_0)


def _is_duration(tokens: Integers) -> Mask:
    return _within(tokens, v.DURATION_0, v.POSITION_0)


def _latest(where: Mask) -> Integers:
    """Return for each step the last step so far where a condition holds, -1 without one."""
    return np.maximum.accumulate(np.where(where, np.arange(len(where)), -1))


@dataclass(frozen=True)
class _Times:
    """Time and meter of each step of a stream.

    Attributes:
        ticks: Tick of each step, (steps,).
        meter: Index of the current meter in `TIME_SIGNATURES`, (steps,).
        changes: Tick and meter of each time signature of the score, the first at 0.
    """

    ticks: Integers
    meter: Integers
    changes: list[tuple[int, int]]


def _times(tokens: Integers) -> _Times:
    signature = tokens >= v.TIME_SIGNATURE_0
    first = _first_meter(tokens, signature)
    latest = _latest(signature)
    meter = np.where(latest < 0, first, tokens[latest] - v.TIME_SIGNATURE_0)
    ticks = _ticks(tokens, meter)
    before = np.concatenate([[first], meter[:-1]]) if len(meter) else meter
    changed = np.flatnonzero(signature & (meter != before))
    changes = [(int(ticks[at]), int(meter[at])) for at in changed]
    return _Times(ticks, meter, [(0, first), *changes])


def _first_meter(tokens: Integers, signature: Mask) -> int:
    """Return the meter at tick 0: the first TimeSig before any pitch or duration."""
    named = np.flatnonzero(signature | _is_pitch(tokens) | _is_duration(tokens))
    if len(named) and signature[named[0]]:
        return int(tokens[named[0]]) - v.TIME_SIGNATURE_0
    return v.TIME_SIGNATURES.index(DEFAULT_METER)


def _ticks(tokens: Integers, meter: Integers) -> Integers:
    """Return the tick of each step: the bar line, or the last position in the bar.

    The length of a bar follows from the meter at the next Bar token.
    """
    bar = tokens == v.BAR
    position = _within(tokens, v.POSITION_0, v.PITCH_DRUM_FIRST)
    length = np.where(bar, np.concatenate([[0], v.BAR_TICKS[meter[:-1]]])[: len(bar)], 0)
    heads = np.flatnonzero(bar | position)
    if len(heads) and bar[heads[0]]:
        length[heads[0]] = 0  # the first bar starts at 0
    line = np.cumsum(length)
    place = np.where(position, (tokens - v.POSITION_0) * v.STEP_TICKS[meter], 0)
    latest = _latest(bar | position)
    return np.where(latest < 0, 0, line + place[latest])


@dataclass(frozen=True)
class _Blocks:
    """The part of each step.

    Attributes:
        parts: Parts in order of appearance.
        part: Index into `parts` of each step, (steps,).
    """

    parts: list[PartName]
    part: Integers


def _blocks(tokens: Integers) -> _Blocks:
    """Return the parts of a stream: the k-th block of a program in a bar is its k-th track."""
    bar = np.cumsum(tokens == v.BAR)
    heads = np.flatnonzero(_within(tokens, v.PROGRAM_0, v.TIME_SIGNATURE_0))
    programs = tokens[heads] - v.PROGRAM_0  # 128 is drums
    number = _counted(bar[heads] * 129 + programs)
    number = np.where(programs == 128, 0, np.minimum(number, v.MAX_TRACKS_PER_PROGRAM - 1))
    codes = programs * v.MAX_TRACKS_PER_PROGRAM + number
    own = _is_pitch(tokens[:-1]) & _is_duration(tokens[1:])
    if own[: heads[0] if len(heads) else None].any():  # notes before any Program are a piano's
        codes, heads = np.insert(codes, 0, 0), np.insert(heads, 0, 0)
    known, first, which = np.unique(codes, return_index=True, return_inverse=True)
    appearance = np.argsort(first)
    part = np.zeros(len(tokens), dtype=np.int64)
    if len(heads):
        block = np.maximum(np.searchsorted(heads, np.arange(len(tokens)), side="right") - 1, 0)
        part = np.argsort(appearance)[which][block]
    return _Blocks([_part(int(code)) for code in known[appearance]], part)


def _part(code: int) -> PartName:
    program, number = divmod(code, v.MAX_TRACKS_PER_PROGRAM)
    return PartName(v.DRUMS if program == 128 else program, number)


def _counted(keys: Integers) -> Integers:
    """Return how often each key occurred before."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    start = np.flatnonzero(np.diff(ordered, prepend=-1) != 0)
    counts = np.empty(len(keys), dtype=np.int64)
    lengths = np.diff(start, append=len(keys))
    counts[order] = np.arange(len(keys)) - np.repeat(start, lengths)
    return counts


def _add_tracks(score: ScoreTick, tokens: Integers, times: _Times, blocks: _Blocks) -> None:
    at = np.flatnonzero(_is_pitch(tokens[:-1]) & _is_duration(tokens[1:]))
    steps = v.DURATION_STEPS[tokens[at + 1] - v.DURATION_0]
    duration = steps * v.STEP_TICKS[times.meter[at]]
    drum = tokens[at] >= v.PITCH_DRUM_FIRST
    offset = np.where(drum, v.PITCH_DRUM_FIRST - v.DRUM_PITCHES[0], v.PITCH_0)
    columns = (times.ticks[at], duration, tokens[at] - offset, np.full(len(at), VELOCITY))
    for index, part in enumerate(blocks.parts):
        track = TrackTick("", max(part.program, 0), part.program == v.DRUMS)
        own = blocks.part[at] == index
        time, length, pitch, velocity = (column[own] for column in columns)
        track.notes = NoteTickList.from_numpy(
            time.astype(np.int32),
            length.astype(np.int32),
            pitch.astype(np.int8),
            velocity.astype(np.int8),
        )
        score.tracks.append(track)
