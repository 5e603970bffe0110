"""Encode a score: order its parts, remove duplicate notes, write one stream in bar-part order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from symusic.core import ScoreTick

from musiclstm.tokens import vocabulary as v
from musiclstm.tokens.meters import Integers
from musiclstm.tokens.programs import PartName, most_parts, program_of
from musiclstm.tokens.quantize import QuantizedNotes, QuantizedScore

Order = list[list[int]]
_NOTHING = -1


def sorted_unique(*keys: Integers) -> Integers:
    """Return indices that sort by the keys, the first one first, without repeated rows.

    Rows are repeated if all keys but the last are equal; the first one stays.
    """
    order = np.lexsort(keys[::-1])
    repeated = np.ones(max(0, len(order) - 1), dtype=np.bool_)
    for key in keys[:-1]:
        own = key[order]
        repeated &= own[1:] == own[:-1]
    return order[np.insert(~repeated, 0, True)] if len(order) else order


def programs_by_track(score: ScoreTick) -> list[int]:
    """Return the program of each track, -1 for drums."""
    return [program_of(track) for track in score.tracks]


def order_parts(
    notes: QuantizedNotes, programs: Sequence[int], *, merge_tracks: bool = False
) -> Order:
    """Return the track indices of each part: by mean pitch from the top, drums last.

    The mean is over the encoded notes. Ties: more notes first, then the lower program, then the
    lower track index. Tracks of a program from the eighth on are one part.
    """
    tracks = np.unique(notes.track).tolist()
    highest_first = [part[0] for part in _by_pitch([[track] for track in tracks], notes, programs)]
    most = 1 if merge_tracks else v.MAX_TRACKS_PER_PROGRAM
    groups: dict[PartName, list[int]] = {}
    counts: dict[int, int] = {}
    for track in highest_first:
        program = programs[track]
        number = min(counts.get(program, 0), most_parts(program) - 1, most - 1)
        counts[program] = counts.get(program, 0) + 1
        groups.setdefault(PartName(program, number), []).append(track)
    merged = [sorted(group) for group in groups.values()]
    if len(merged) == len(highest_first):
        return merged
    return _by_pitch(merged, notes, programs)


def _by_pitch(parts: Order, notes: QuantizedNotes, programs: Sequence[int]) -> Order:
    rank = part_of_track(parts, len(programs))[notes.track]
    kept = sorted_unique(rank, notes.tick, notes.pitch, notes.duration)
    count = np.bincount(rank[kept], minlength=len(parts))
    total = np.bincount(rank[kept], weights=notes.pitch[kept], minlength=len(parts))
    mean = total / np.maximum(count, 1)

    def sort_key(index: int) -> tuple[bool, float, int, int, int]:
        program = programs[parts[index][0]]
        drums = program == v.DRUMS
        return (drums, -float(mean[index]), -int(count[index]), program, min(parts[index]))

    return [parts[index] for index in sorted(range(len(parts)), key=sort_key)]


def part_of_track(order: Order, tracks: int) -> Integers:
    """Return the index of each track's part, (tracks,), -1 for none."""
    ranks = np.full(tracks, -1, dtype=np.int64)
    for rank, members in enumerate(order):
        ranks[members] = rank
    return ranks


def parts_of(order: Order, programs: Sequence[int]) -> list[PartName]:
    """Return program and number of each part of an order.

    Raises:
        ValueError: A part is empty or mixes programs, a track is unknown or repeated, or a program
            has more parts than `MAX_TRACKS_PER_PROGRAM`.
    """
    _check_tracks([track for members in order for track in members], len(programs))
    found: list[PartName] = []
    counts: dict[int, int] = {}
    for members in order:
        own = {programs[track] for track in members}
        if len(own) != 1:
            raise ValueError(f"A part needs tracks of one program, not of {sorted(own)}.")
        program = own.pop()
        found.append(PartName(program, counts.get(program, 0)))
        counts[program] = found[-1].number + 1
    for program, count in counts.items():
        if count > (limit := most_parts(program)):
            raise ValueError(f"Program {program} has {count} parts; at most {limit} are possible.")
    return found


def _check_tracks(named: Sequence[int], tracks: int) -> None:
    if len(set(named)) < len(named):
        raise ValueError("A track can belong to one part only; the order contains one twice.")
    if any(not 0 <= track < tracks for track in named):
        raise ValueError(f"The order contains an unknown track; the score has {tracks}.")


def encode_parts(
    piece: QuantizedScore, order: Order, parts: Sequence[PartName], tracks: int
) -> Integers:
    """Return the ids of a piece in bar-part order, (steps,), int64.

    Args:
        piece: Quantized notes and tempos.
        order: Track indices of each part; other tracks are omitted.
        parts: Program and number of each part of `order`.
        tracks: Number of tracks in the score.
    """
    rank, notes = _distinct(piece.notes, part_of_track(order, tracks))
    bar, position = piece.grid.bar_and_position(notes.tick)
    groups = _TokenGroups(len(parts))
    _add_bars(groups, piece, _bars(piece, notes))
    _add_notes(groups, notes, bar, rank, position, parts)
    _add_empty_blocks(groups, bar, rank, parts)
    return groups.tokens()


def _distinct(notes: QuantizedNotes, ranks: Integers) -> tuple[Integers, QuantizedNotes]:
    """Return part index and notes, sorted by part, onset and pitch; equal notes become one.

    Of notes with equal onsets before rounding the longest stays, of notes with equal onsets after
    rounding the shortest, as in MidiTok.
    """
    rank = ranks[notes.track]
    notes = notes.select(rank >= 0)
    rank = rank[rank >= 0]
    longest = sorted_unique(rank, notes.source_tick, notes.pitch, -notes.duration)
    rank, notes = rank[longest], notes.select(longest)
    shortest = sorted_unique(rank, notes.tick, notes.pitch, notes.duration)
    return rank[shortest], notes.select(shortest)


def _bars(piece: QuantizedScore, notes: QuantizedNotes) -> int:
    """Return the number of bars up to the last event and the end of the last note."""
    grid = piece.grid
    ends = notes.tick + v.DURATION_STEPS[notes.duration] * grid.step_ticks[grid.section(notes.tick)]
    last = max(
        int(ends.max(initial=0)), int(piece.tempo_ticks.max(initial=0)), int(grid.starts[-1])
    )
    return int(grid.bar_and_position(np.array([last]))[0][0]) + 1


class _TokenGroups:
    """Groups of up to four tokens, and the keys that sort them into a stream."""

    BAR, TEMPO, FIRST_PART = range(3)  # order within a bar

    def __init__(self, parts: int) -> None:
        self._sections = self.FIRST_PART + parts
        self._keys: list[Integers] = []
        self._tokens: list[Integers] = []

    def add(
        self,
        tokens: Sequence[Integers | int],
        bar: Integers,
        section: Integers | int,
        position: Integers | int = 0,
        pitch: Integers | int = 0,
    ) -> None:
        """Add one group per entry of `bar`; `tokens` holds the columns."""
        group = np.full((len(bar), 4), _NOTHING, dtype=np.int64)
        for column, values in enumerate(tokens):
            group[:, column] = values
        self._tokens.append(group)
        self._keys.append(((bar * self._sections + section) * 256 + position) * 128 + pitch)

    def tokens(self) -> Integers:
        """Return the stream, (steps,)."""
        order = np.argsort(np.concatenate(self._keys), kind="stable")
        tokens: Integers = np.concatenate(self._tokens)[order].ravel()
        return tokens[tokens != _NOTHING]


def _add_bars(groups: _TokenGroups, piece: QuantizedScore, bars: int) -> None:
    signatures = v.TIME_SIGNATURE_0 + piece.grid.bar_signatures(bars)
    groups.add((v.BAR, signatures), np.arange(bars), groups.BAR)
    bar, position = piece.grid.bar_and_position(piece.tempo_ticks)
    groups.add((v.POSITION_0 + position, v.TEMPO_0 + piece.tempos), bar, groups.TEMPO, position)


def _add_notes(
    groups: _TokenGroups,
    notes: QuantizedNotes,
    bar: Integers,
    rank: Integers,
    position: Integers,
    parts: Sequence[PartName],
) -> None:
    """Add all notes; the first of a block has a Program, the first of an onset a Position."""
    by_bar = np.lexsort((notes.pitch, position, rank, bar))
    bar, rank, position, notes = bar[by_bar], rank[by_bar], position[by_bar], notes.select(by_bar)
    block = _changes(bar) | _changes(rank)
    onset = block | _changes(position)
    program = _program_tokens(parts)[rank]
    drums = program == v.PROGRAM_DRUMS
    pitch = np.where(drums, v.PITCH_DRUM_FIRST - v.DRUM_PITCHES[0], v.PITCH_0) + notes.pitch
    tokens = (
        np.where(block, program, _NOTHING),
        np.where(onset, v.POSITION_0 + position, _NOTHING),
        pitch,
        v.DURATION_0 + notes.duration,
    )
    groups.add(tokens, bar, groups.FIRST_PART + rank, position, notes.pitch)


def _changes(values: Integers) -> npt.NDArray[np.bool_]:
    """Return where a value differs from the previous one; True at the first."""
    return np.diff(values, prepend=values[:1] - 1) != 0


def _program_tokens(parts: Sequence[PartName]) -> Integers:
    programs = np.array([part.program for part in parts], dtype=np.int64)
    return np.where(programs == v.DRUMS, v.PROGRAM_DRUMS, v.PROGRAM_0 + programs)


def _add_empty_blocks(
    groups: _TokenGroups, bar: Integers, rank: Integers, parts: Sequence[PartName]
) -> None:
    """Add an empty block for each part that rests while a later part of its program plays."""
    numbers = [part.number for part in parts]
    if max(numbers, default=0) == 0:
        return
    played, row = np.unique(bar, return_inverse=True)
    present = np.zeros((len(played), len(parts)), dtype=np.bool_)
    present[row, rank] = True
    later: dict[int, npt.NDArray[np.bool_]] = {}
    for index in range(len(parts) - 1, -1, -1):
        program = parts[index].program
        playing = later.get(program, np.zeros(len(played), dtype=np.bool_))
        resting = played[playing & ~present[:, index]]
        groups.add(
            (int(_program_tokens(parts[index : index + 1])[0]),), resting, groups.FIRST_PART + index
        )
        later[program] = playing | present[:, index]
