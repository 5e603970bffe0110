"""Score to ids: parts in order, duplicates removed, and one stream in bar-part order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from symusic.core import ScoreTick

from musiclstm.tokens import vocabulary as v
from musiclstm.tokens.meters import Integers
from musiclstm.tokens.programs import PartName, most_parts, program_of
from musiclstm.tokens.quantize import Notes, Quantized

Order = list[list[int]]
_NOTHING = -1


def first_of_each(*keys: Integers) -> Integers:
    """Return indices that sort by the keys, the first one decisive, and drop repeated rows.

    The last key only sorts: of rows that are equal in all others, the first one stays.
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


def order_parts(notes: Notes, programs: Sequence[int], *, merge_tracks: bool = False) -> Order:
    """Return track indices per part: by mean pitch from the top, drums last.

    The mean is taken over the notes that are encoded. Ties: more notes first, then the lower
    program, then the lower track index. Tracks of a program beyond the eighth join the eighth.
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


def _by_pitch(parts: Order, notes: Notes, programs: Sequence[int]) -> Order:
    rank = ranks_of(parts, len(programs))[notes.track]
    kept = first_of_each(rank, notes.tick, notes.pitch, notes.duration)
    count = np.bincount(rank[kept], minlength=len(parts))
    total = np.bincount(rank[kept], weights=notes.pitch[kept], minlength=len(parts))
    mean = total / np.maximum(count, 1)

    def place(index: int) -> tuple[bool, float, int, int, int]:
        program = programs[parts[index][0]]
        drums = program == v.DRUMS
        return (drums, -float(mean[index]), -int(count[index]), program, min(parts[index]))

    return [parts[index] for index in sorted(range(len(parts)), key=place)]


def ranks_of(order: Order, tracks: int) -> Integers:
    """Return the index of the part that holds each track, (tracks,), -1 for none."""
    ranks = np.full(tracks, -1, dtype=np.int64)
    for rank, members in enumerate(order):
        ranks[members] = rank
    return ranks


def parts_of(order: Order, programs: Sequence[int]) -> list[PartName]:
    """Return program and number of each part of an order.

    Raises:
        ValueError: A part is empty or mixes programs, a track is unknown or stands twice, or a
            program has more parts than tokens can tell apart.
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
        raise ValueError("A track belongs to one part only; the order names one twice.")
    if any(not 0 <= track < tracks for track in named):
        raise ValueError(f"The order names a track that the score lacks; it has {tracks}.")


def stream(piece: Quantized, order: Order, parts: Sequence[PartName], tracks: int) -> Integers:
    """Return the ids of a piece in bar-part order, (steps,), int64.

    Args:
        piece: Notes and tempos on the grid.
        order: Track indices per part; notes of other tracks are left out.
        parts: Program and number of each part of `order`.
        tracks: Number of tracks in the score.
    """
    rank, notes = _distinct(piece.notes, ranks_of(order, tracks))
    bar, position = piece.grid.bar_and_position(notes.tick)
    rows = _Rows(len(parts))
    _add_bars(rows, piece, _bars(piece, notes))
    _add_notes(rows, notes, bar, rank, position, parts)
    _add_empty_blocks(rows, bar, rank, parts)
    return rows.tokens()


def _distinct(notes: Notes, ranks: Integers) -> tuple[Integers, Notes]:
    """Return rank and notes by rank, onset and pitch; equal notes of a part become one.

    Of notes that begin at one tick of the score the longest stays. Of notes that only the grid
    joins, the shortest stays, as in MidiTok.
    """
    rank = ranks[notes.track]
    notes = notes.chosen(rank >= 0)
    rank = rank[rank >= 0]
    longest = first_of_each(rank, notes.source_tick, notes.pitch, -notes.duration)
    rank, notes = rank[longest], notes.chosen(longest)
    shortest = first_of_each(rank, notes.tick, notes.pitch, notes.duration)
    return rank[shortest], notes.chosen(shortest)


def _bars(piece: Quantized, notes: Notes) -> int:
    """Return the number of bars: to the last event, and to the end of the last note."""
    grid = piece.grid
    ends = notes.tick + v.DURATION_STEPS[notes.duration] * grid.step_ticks[grid.section(notes.tick)]
    last = max(
        int(ends.max(initial=0)), int(piece.tempo_ticks.max(initial=0)), int(grid.starts[-1])
    )
    return int(grid.bar_and_position(np.array([last]))[0][0]) + 1


class _Rows:
    """Groups of up to four tokens, and the keys that sort the groups into a stream."""

    BAR, TEMPO, FIRST_PART = range(3)  # places within a bar

    def __init__(self, parts: int) -> None:
        self._places = self.FIRST_PART + parts
        self._keys: list[Integers] = []
        self._tokens: list[Integers] = []

    def add(
        self,
        tokens: Sequence[Integers | int],
        bar: Integers,
        place: Integers | int,
        position: Integers | int = 0,
        pitch: Integers | int = 0,
    ) -> None:
        """Add one group per bar in `bar`; `tokens` holds the columns."""
        group = np.full((len(bar), 4), _NOTHING, dtype=np.int64)
        for column, values in enumerate(tokens):
            group[:, column] = values
        self._tokens.append(group)
        self._keys.append(((bar * self._places + place) * 256 + position) * 128 + pitch)

    def tokens(self) -> Integers:
        """Return all tokens in order, (steps,)."""
        order = np.argsort(np.concatenate(self._keys), kind="stable")
        tokens: Integers = np.concatenate(self._tokens)[order].ravel()
        return tokens[tokens != _NOTHING]


def _add_bars(rows: _Rows, piece: Quantized, bars: int) -> None:
    signatures = v.TIME_SIGNATURE_0 + piece.grid.bar_signatures(bars)
    rows.add((v.BAR, signatures), np.arange(bars), rows.BAR)
    bar, position = piece.grid.bar_and_position(piece.tempo_ticks)
    rows.add((v.POSITION_0 + position, v.TEMPO_0 + piece.tempos), bar, rows.TEMPO, position)


def _add_notes(
    rows: _Rows,
    notes: Notes,
    bar: Integers,
    rank: Integers,
    position: Integers,
    parts: Sequence[PartName],
) -> None:
    """Add all notes, the first of a block with its Program, the first of an onset with Position."""
    by_bar = np.lexsort((notes.pitch, position, rank, bar))
    bar, rank, position, notes = bar[by_bar], rank[by_bar], position[by_bar], notes.chosen(by_bar)
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
    rows.add(tokens, bar, rows.FIRST_PART + rank, position, notes.pitch)


def _changes(values: Integers) -> npt.NDArray[np.bool_]:
    """Return where a value differs from the one before, the first one included."""
    return np.diff(values, prepend=values[:1] - 1) != 0


def _program_tokens(parts: Sequence[PartName]) -> Integers:
    programs = np.array([part.program for part in parts], dtype=np.int64)
    return np.where(programs == v.DRUMS, v.PROGRAM_DRUMS, v.PROGRAM_0 + programs)


def _add_empty_blocks(
    rows: _Rows, bar: Integers, rank: Integers, parts: Sequence[PartName]
) -> None:
    """Add a Program for each track that rests where a later one of its program plays."""
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
        rows.add(
            (int(_program_tokens(parts[index : index + 1])[0]),), resting, rows.FIRST_PART + index
        )
        later[program] = playing | present[:, index]
