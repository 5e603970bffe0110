"""A piece of bar-part tokens split into bars and blocks, for augmentation.

    Bar TimeSig (Position Tempo)* then per part: Program (Position (Pitch Duration)+)+

A block is what one part plays in one bar. The k-th block of a program in a bar belongs to the k-th
track of the program, so a part is identified by program and number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np

from musiclstm.model import MAX_TRACKS, TokenKind, TokenTable

NoteTokens: TypeAlias = tuple[int, int, int]  # position, pitch and duration tokens


class PartId(NamedTuple):
    """A track: MIDI program (-1 for drums) and number of the track from 0."""

    program: int
    number: int


@dataclass
class BarBlocks:
    """One bar.

    Attributes:
        header: Tokens before the first block: Bar, TimeSig, tempos.
        blocks: Tokens after `Program` of each part that plays, in order.
    """

    header: list[int]
    blocks: dict[PartId, list[int]] = field(default_factory=dict)


class PieceBlocks:
    """A piece as bars of blocks; `to_ids` converts it back to tokens.

    Attributes:
        opening: Tokens before the first bar.
        bars: Bars in order.
        order: All parts in their order within a bar.
    """

    def __init__(self, opening: list[int], bars: list[BarBlocks], order: list[PartId]) -> None:
        self.opening, self.bars, self.order = opening, bars, order

    @classmethod
    def from_ids(cls, ids: Sequence[int] | np.ndarray, table: TokenTable) -> PieceBlocks:
        """Split token ids; blocks beyond `MAX_TRACKS` of a program join its last track."""
        opening: list[int] = []
        bars: list[BarBlocks] = []
        order: list[PartId] = []
        target, counts = opening, dict[int, int]()
        previous: PartId | None = None
        for token in np.asarray(ids).tolist():
            kind = table.kind[token]
            if kind == TokenKind.BAR:
                bars.append(BarBlocks([token]))
                target, counts, previous = bars[-1].header, {}, None
            elif kind == TokenKind.PROGRAM and bars:
                program = table.value[token]
                number = min(counts.get(program, 0), MAX_TRACKS - 1)
                counts[program] = number + 1
                part = PartId(program, number)
                if part not in order:
                    order.insert(order.index(previous) + 1 if previous else 0, part)
                previous, target = part, bars[-1].blocks.setdefault(part, [])
            else:
                target.append(token)
        return cls(opening, bars, order)

    def to_ids(self, table: TokenTable, order: Sequence[PartId] | None = None) -> np.ndarray:
        """Return the token ids, (tokens,) int32.

        Args:
            table: Kind and value of each token.
            order: Order of all parts within a bar; None: `self.order`. It also numbers the tracks
                of a program.
        """
        order = self.order if order is None else order
        out = list(self.opening)
        for bar in self.bars:
            out.extend(bar.header)
            empty: list[int] = []  # empty blocks, written only before a later track of the program
            for part in order:
                block = bar.blocks.get(part)
                program = table.program(part.program)
                if block:
                    out.extend(token for token in empty if token == program)
                    empty = [token for token in empty if token != program]
                    out.append(program)
                    out.extend(block)
                else:
                    empty.append(program)
        return np.array(out, np.int32)

    def with_merged_tracks(self, table: TokenTable) -> PieceBlocks:
        """Return the piece with all tracks of each program merged into one part."""
        bars = []
        for bar in self.bars:
            merged = BarBlocks(bar.header)
            for program in dict.fromkeys(part.program for part in bar.blocks):
                own = [b for part, b in bar.blocks.items() if part.program == program and b]
                if own:
                    merged.blocks[PartId(program, 0)] = _merge(own, table)
            bars.append(merged)
        order = [PartId(p, 0) for p in dict.fromkeys(part.program for part in self.order)]
        return PieceBlocks(self.opening, bars, order)


def _merge(blocks: Iterable[list[int]], table: TokenTable) -> list[int]:
    """Merge blocks, sorted by position, then by pitch; of equal notes the longer one stays."""
    notes: dict[tuple[int, int], NoteTokens] = {}
    for block in blocks:
        for position, pitch, duration in notes_of_block(block, table):
            key = table.value[position], table.value[pitch]
            known = notes.get(key)
            if known is None or table.value[known[2]] < table.value[duration]:
                notes[key] = position, pitch, duration
    return block_from_notes(notes[key] for key in sorted(notes))


def notes_of_block(block: Sequence[int], table: TokenTable) -> list[NoteTokens]:
    """Return the position, pitch and duration tokens of every note of a block."""
    notes, position, pitch = [], -1, -1
    for token in block:
        kind = table.kind[token]
        if kind == TokenKind.POSITION:
            position = token
        elif kind in (TokenKind.PITCH, TokenKind.DRUM):
            pitch = token
        elif kind == TokenKind.DURATION and position >= 0 and pitch >= 0:
            notes.append((position, pitch, token))
    return notes


def block_from_notes(notes: Iterable[NoteTokens]) -> list[int]:
    """Return the block of notes that are sorted by position."""
    out: list[int] = []
    last = -1
    for position, pitch, duration in notes:
        if position != last:
            out.append(position)
            last = position
        out += (pitch, duration)
    return out
