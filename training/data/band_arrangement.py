"""Arrange a piece without drums for a band: lead, keys or guitar, pad, bass, and a drum groove.

Corpora of bands are small, so composed harmony and melody are combined with a recorded groove.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from musiclstm.model import DRUMS, TokenKind, TokenTable
from training.data.bar_blocks import (
    BarBlocks,
    NoteTokens,
    PartId,
    PieceBlocks,
    block_from_notes,
    notes_of_block,
)

_LEADS = (0, 26, 27, 29, 30, 40, 52, 53, 54, 56, 65, 66, 71, 73, 75, 80, 81)
_CHORDS = (0, 1, 2, 4, 5, 7, 16, 18, 24, 25, 26, 27, 28, 29, 30)
_PADS = (48, 49, 50, 51, 52, 61, 62, 88, 89, 90, 91, 92, 94)
_BASSES = (32, 33, 34, 35, 36, 38, 39)
_LOOPS = (1, 2, 4, 4, 8)  # bars of a groove that are repeated
_PHRASES = (4, 8, 8)  # bars, the last of which has a fill


class DrumGrooves:
    """Drum bars by time signature."""

    def __init__(self, pieces: Iterable[np.ndarray], table: TokenTable) -> None:
        """Collect the bars of pieces that consist of drums alone."""
        self._pieces: dict[int, list[list[list[int]]]] = {}
        for ids in pieces:
            piece = PieceBlocks.from_ids(ids, table)
            bars = [bar.blocks.get(PartId(DRUMS, 0), []) for bar in piece.bars]
            bars = [block for block in bars if block]
            signatures = {_time_signature(bar, table) for bar in piece.bars}
            if len(bars) >= 2 and len(signatures) == 1:
                self._pieces.setdefault(signatures.pop(), []).append(bars)

    def draw(self, signatures: Sequence[int], rng: np.random.Generator) -> list[list[int]] | None:
        """Return drum blocks for bars of these time signatures; None if no groove has the first."""
        choices = self._pieces.get(signatures[0]) if signatures else None
        if not choices:
            return None
        bars = choices[int(rng.integers(len(choices)))]
        loop = min(int(rng.choice(_LOOPS)), len(bars))
        phrase = int(rng.choice(_PHRASES))
        first = int(rng.integers(len(bars) - loop + 1))
        fill = max(bars, key=len)
        blocks: list[list[int]] = []
        for number, signature in enumerate(signatures):
            if signature != signatures[0]:
                blocks.append([])
            elif number % phrase == phrase - 1:
                blocks.append(fill)
            else:
                blocks.append(bars[first + number % loop])
        return blocks


def _time_signature(bar: BarBlocks, table: TokenTable) -> int:
    """Return the time signature token of a bar; -1 without one."""
    return next((t for t in bar.header if table.kind[t] == TokenKind.TIME_SIGNATURE), -1)


def arrange_for_band(
    piece: PieceBlocks, grooves: DrumGrooves, table: TokenTable, rng: np.random.Generator
) -> PieceBlocks:
    """Return the piece for a band; unchanged if it has drums or no groove fits its meter.

    Args:
        piece: The piece; a program may have several parts.
        grooves: Drum bars to choose from.
        table: Kind and value of each token.
        rng: Random generator that draws instruments and groove.
    """
    if not piece.bars or any(part.program == DRUMS for part in piece.order):
        return piece
    drums = grooves.draw([_time_signature(bar, table) for bar in piece.bars], rng)
    if drums is None:
        return piece
    if len(piece.order) == 1:
        piece = _split_by_register(piece, table)
    order, programs = _draw_instruments(piece, table, rng)
    part_of = dict(zip(order, _numbered(programs), strict=True))
    bars = [
        BarBlocks(
            bar.header,
            {part_of[part]: bar.blocks[part] for part in order if bar.blocks.get(part)}
            | ({PartId(DRUMS, 0): block} if block else {}),
        )
        for bar, block in zip(piece.bars, drums, strict=True)
    ]
    return PieceBlocks(piece.opening, bars, [*part_of.values(), PartId(DRUMS, 0)])


def _split_by_register(piece: PieceBlocks, table: TokenTable) -> PieceBlocks:
    """Split one part into three: the highest note of every onset, inner notes, the lowest."""
    lead, chords, bass = (PartId(program, 0) for program in (0, 1, 2))
    bars = []
    for bar in piece.bars:
        parts: dict[PartId, list[NoteTokens]] = {}
        by_onset: dict[int, list[NoteTokens]] = {}
        for block in bar.blocks.values():
            for note in notes_of_block(block, table):
                by_onset.setdefault(note[0], []).append(note)
        for notes in by_onset.values():
            notes.sort(key=lambda note: table.value[note[1]])
            high = table.value[notes[-1][1]]
            if len(notes) == 1:
                parts.setdefault(lead if high >= 60 else bass, []).append(notes[0])
                continue
            parts.setdefault(lead, []).append(notes[-1])
            parts.setdefault(bass, []).append(notes[0])
            parts.setdefault(chords, []).extend(notes[1:-1])
        blocks = {part: block_from_notes(notes) for part, notes in parts.items() if notes}
        bars.append(BarBlocks(bar.header, blocks))
    return PieceBlocks(piece.opening, bars, [lead, chords, bass])


def _draw_instruments(
    piece: PieceBlocks, table: TokenTable, rng: np.random.Generator
) -> tuple[list[PartId], list[int]]:
    """Return the parts sorted by mean pitch, the highest first, and a program for each."""
    pitches: dict[PartId, list[int]] = {part: [] for part in piece.order}
    for bar in piece.bars:
        for part, block in bar.blocks.items():
            pitches[part] += [table.value[t] for t in block if table.kind[t] == TokenKind.PITCH]
    sounding = [part for part in piece.order if pitches[part]]
    order = sorted(sounding, key=lambda part: -float(np.mean(pitches[part])))
    inner = [int(rng.choice(_CHORDS if rng.random() < 0.65 else _PADS)) for _ in order[1:-1]]
    ends = [int(rng.choice(_LEADS))], [int(rng.choice(_BASSES))]
    return order, [*ends[0], *inner, *ends[1]][: len(order)]


def _numbered(programs: Sequence[int]) -> list[PartId]:
    counts = Counter[int]()
    parts = []
    for program in programs:
        parts.append(PartId(program, counts[program]))
        counts[program] += 1
    return parts
