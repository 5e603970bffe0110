"""A piece of bar-part tokens as bars of blocks, for augmentation.

    Bar TimeSig (Position Tempo)* then per part: Program (Position (Pitch Duration)+)+

A block is what one part plays in one bar. The k-th block of a program in a bar belongs to its k-th
track, so a part is named by program and number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from musiclstm.model import MAX_TRACKS, Kind, TokenTable


class PartName(NamedTuple):
    """A track of a program: -1 for drums, number from 0."""

    program: int
    number: int


@dataclass
class Bar:
    """One bar.

    Attributes:
        header: Tokens before the first block: Bar, TimeSig, tempos.
        blocks: Tokens after `Program` of each part that plays, in order.
    """

    header: list[int]
    blocks: dict[PartName, list[int]] = field(default_factory=dict)


class BarBlocks:
    """A piece taken apart; `to_ids` puts it together again.

    Attributes:
        opening: Tokens before the first bar.
        bars: In order.
        order: All parts as they follow each other in a bar.
    """

    def __init__(self, opening: list[int], bars: list[Bar], order: list[PartName]) -> None:
        self.opening, self.bars, self.order = opening, bars, order

    @classmethod
    def from_ids(cls, ids: Sequence[int] | np.ndarray, table: TokenTable) -> BarBlocks:
        """Take a stream apart; blocks beyond `MAX_TRACKS` of a program join the last of them."""
        opening: list[int] = []
        bars: list[Bar] = []
        order: list[PartName] = []
        target, counts = opening, dict[int, int]()
        previous: PartName | None = None
        kind, value = table.kind, table.value
        for token in np.asarray(ids).tolist():
            what = kind[token]
            if what == Kind.BAR:
                bars.append(Bar([token]))
                target, counts, previous = bars[-1].header, {}, None
            elif what == Kind.PROGRAM and bars:
                program = value[token]
                number = min(counts.get(program, 0), MAX_TRACKS - 1)
                counts[program] = number + 1
                part = PartName(program, number)
                if part not in order:
                    order.insert(order.index(previous) + 1 if previous else 0, part)
                previous, target = part, bars[-1].blocks.setdefault(part, [])
            else:
                target.append(token)
        return cls(opening, bars, order)

    def to_ids(self, table: TokenTable, order: Sequence[PartName] | None = None) -> np.ndarray:
        """The stream, (tokens,) int32, with the parts of each bar in an order.

        Args:
            table: Of the tokens.
            order: All parts; None: `self.order`. Tracks of one program are numbered by it.
        """
        order = self.order if order is None else order
        out = list(self.opening)
        for bar in self.bars:
            out.extend(bar.header)
            waiting: list[int] = []  # empty blocks, written only before a track of the program
            for part in order:
                block = bar.blocks.get(part)
                program = table.program(part.program)
                if block:
                    out.extend(token for token in waiting if token == program)
                    waiting = [token for token in waiting if token != program]
                    out.append(program)
                    out.extend(block)
                else:
                    waiting.append(program)
        return np.array(out, np.int32)

    def with_merged_tracks(self, table: TokenTable) -> BarBlocks:
        """The same music with all tracks of each program merged into one part."""
        bars = []
        for bar in self.bars:
            merged = Bar(bar.header)
            for program in dict.fromkeys(part.program for part in bar.blocks):
                own = [b for part, b in bar.blocks.items() if part.program == program and b]
                if own:
                    merged.blocks[PartName(program, 0)] = _merged(own, table)
            bars.append(merged)
        order = [PartName(p, 0) for p in dict.fromkeys(part.program for part in self.order)]
        return BarBlocks(self.opening, bars, order)


def _merged(blocks: Iterable[list[int]], table: TokenTable) -> list[int]:
    """Blocks as one, notes by position, then by pitch; of equal ones the longer stays."""
    notes: dict[tuple[int, int], tuple[int, int, int]] = {}
    for block in blocks:
        for position, pitch, duration in notes_of(block, table):
            key = table.value[position], table.value[pitch]
            known = notes.get(key)
            if known is None or table.value[known[2]] < table.value[duration]:
                notes[key] = position, pitch, duration
    return block_of(notes[key] for key in sorted(notes))


def notes_of(block: Sequence[int], table: TokenTable) -> list[tuple[int, int, int]]:
    """Position, pitch and duration tokens of every note of a block."""
    notes, position, pitch = [], -1, -1
    for token in block:
        what = table.kind[token]
        if what == Kind.POSITION:
            position = token
        elif what in (Kind.PITCH, Kind.DRUM):
            pitch = token
        elif what == Kind.DURATION and position >= 0 and pitch >= 0:
            notes.append((position, pitch, token))
    return notes


def block_of(notes: Iterable[tuple[int, int, int]]) -> list[int]:
    """The block of notes that are sorted by position."""
    out: list[int] = []
    last = -1
    for position, pitch, duration in notes:
        if position != last:
            out.append(position)
            last = position
        out += (pitch, duration)
    return out
