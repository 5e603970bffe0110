"""Augment training pieces: transposition, band arrangement, part order, dropped parts, noise.

All changes work on token ids in bar-part order. Noise changes the inputs and not the labels, so
that the network learns to continue contexts with errors, as sampling produces them (similar to
scheduled sampling, Bengio et al. 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from musiclstm.model import TokenKind, TokenTable
from training.data.band_arrangement import DrumGrooves, arrange_for_band
from training.data.bar_blocks import BarBlocks, PartId, PieceBlocks

IGNORED = -100  # label that the loss ignores


@dataclass(frozen=True)
class Stream:
    """Inputs and labels of one piece.

    Attributes:
        inputs: Token ids, (tokens,) int32.
        labels: Next tokens, or `IGNORED`, (tokens,) int32.
    """

    inputs: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class AugmentationSettings:
    """Strength of each augmentation; all but `transpose` are probabilities, 0 to 1.

    Args:
        transpose: Largest transposition in semitones, up or down.
        band: Share of pieces without drums that are arranged for a band, if a groove fits.
        merge_tracks: Share of pieces whose tracks of one program are merged.
        random_order: Share of pieces whose parts are shuffled.
        drop_parts: Share of pieces with several parts that lose some of them for a few bars.
        noisy_pieces: Share of pieces with wrong pitches in the inputs.
        noisy_pitches: Share of wrong pitches in such a piece.
    """

    transpose: int = 5
    band: float = 0.15
    merge_tracks: float = 0.4
    random_order: float = 0.15
    drop_parts: float = 0.4
    noisy_pieces: float = 0.4
    noisy_pitches: float = 0.015


class Augmentation:
    """Draws random changes and applies them to pieces."""

    def __init__(
        self,
        table: TokenTable,
        bos_id: int,
        eos_id: int,
        settings: AugmentationSettings,
        grooves: DrumGrooves | None = None,
    ) -> None:
        """Store the settings.

        Args:
            table: Kind and value of each token.
            bos_id: Token id of BOS.
            eos_id: Token id of EOS.
            settings: Strength of each augmentation.
            grooves: Drums for band arrangements; None: no arrangements.
        """
        self._table, self._bos_id, self.eos_id = table, bos_id, eos_id
        self._grooves = grooves
        self.settings = settings
        self._pitch_ids = np.array([max(table.pitch(p, drums=False), -1) for p in range(128)])
        kind, value = np.array(table.kind), np.array(table.value)
        self._pitch_of = np.where(kind == TokenKind.PITCH, value, -1)

    def apply(self, ids: Sequence[int] | np.ndarray, rng: np.random.Generator) -> Stream:
        """Return a changed version of a piece, with BOS and EOS.

        Args:
            ids: Token ids of the whole piece, without BOS and EOS.
            rng: Random generator of all changes.
        """
        settings = self.settings
        ids = np.asarray(ids, np.int32)
        band, merge, shuffle, drop, noise = rng.random(5) < (
            settings.band if self._grooves is not None else 0.0,
            settings.merge_tracks,
            settings.random_order,
            settings.drop_parts,
            settings.noisy_pieces,
        )
        ignored = np.zeros(0, np.int64)
        if band or merge or shuffle or drop:
            piece = PieceBlocks.from_ids(ids, self._table)
            if band and self._grooves is not None:
                piece = arrange_for_band(piece, self._grooves, self._table, rng)
            if merge:
                piece = piece.with_merged_tracks(self._table)
            order = list(piece.order)
            if shuffle:
                order = [order[i] for i in rng.permutation(len(order))]
            if drop and len(order) > 1:
                ids, ignored = self._drop_blocks(piece, order, rng)
            else:
                ids = piece.to_ids(self._table, order)
        ids = self.transposed(ids, self._random_shift(ids, rng))
        clean = np.concatenate([[self._bos_id], ids, [self.eos_id]]).astype(np.int32)
        labels = clean[1:].copy()
        labels[ignored] = IGNORED  # BOS shifts `clean` by one, the labels shift it back
        inputs = clean[:-1]
        return Stream(self._add_noise(inputs, rng) if noise else inputs, labels)

    def _random_shift(self, ids: np.ndarray, rng: np.random.Generator) -> int:
        limit = self.settings.transpose
        semitones = int(rng.integers(-limit, limit + 1))
        pitches = self._pitch_of[ids]
        pitches = pitches[pitches >= 0]
        if not len(pitches):
            return 0
        return int(np.clip(semitones, -pitches.min(), 127 - pitches.max()))

    def transposed(self, ids: np.ndarray, semitones: int) -> np.ndarray:
        """Return the ids with all pitches but drums transposed; pitches are clipped to 0..127."""
        pitches = self._pitch_of[ids]
        moved = self._pitch_ids[np.clip(pitches + semitones, 0, 127)]
        return np.where(pitches >= 0, moved, ids).astype(np.int32)

    def _add_noise(self, inputs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Change some pitches by up to an octave."""
        pitches = self._pitch_of[inputs]
        mask = (pitches >= 0) & (rng.random(len(inputs)) < self.settings.noisy_pitches)
        moved = np.clip(pitches + rng.integers(-12, 13, len(inputs)), 0, 127)
        return np.where(mask, self._pitch_ids[moved], inputs).astype(np.int32)

    def _drop_blocks(
        self, piece: PieceBlocks, order: list[PartId], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Remove some parts for one to eight bars, one to three times.

        Returns:
            The token ids, and the indices of the tokens that reveal a missing block: the one that
            replaces it and the one after an empty block. They are not predicted.
        """
        missing: set[tuple[int, PartId]] = set()
        for _ in range(int(rng.integers(1, 4))):
            part = order[int(rng.integers(len(order)))]
            first = int(rng.integers(len(piece.bars) or 1))
            for number in range(first, min(first + int(rng.integers(1, 9)), len(piece.bars))):
                if piece.bars[number].blocks.get(part):
                    missing.add((number, part))
        bars, indices, length = [], list[int](), len(piece.opening)
        for number, bar in enumerate(piece.bars):
            dropped = {part for part in bar.blocks if (number, part) in missing}
            kept = {part: block for part, block in bar.blocks.items() if part not in dropped}
            single = PieceBlocks([], [BarBlocks(bar.header, kept)], order)
            ids = single.to_ids(self._table, order)
            indices += [length + index for index in self._ignored_indices(single, dropped, order)]
            bars.append(ids)
            length += len(ids)
        stream = np.concatenate([np.array(piece.opening, np.int32), *bars])
        return stream, np.array(indices, np.int64)

    def _ignored_indices(
        self, bar: PieceBlocks, dropped: set[PartId], order: list[PartId]
    ) -> list[int]:
        """Return the indices, within a bar, of the tokens that reveal a dropped block."""
        indices = []
        for part in dropped:
            before = PieceBlocks([], bar.bars, order[: order.index(part)])
            indices.append(len(before.to_ids(self._table)))
        return indices + self._after_empty_blocks(bar.to_ids(self._table), dropped, order)

    def _after_empty_blocks(
        self, ids: np.ndarray, dropped: set[PartId], order: list[PartId]
    ) -> list[int]:
        tracks: dict[int, list[PartId]] = {}
        for part in order:
            tracks.setdefault(part.program, []).append(part)
        numbers, indices = dict[int, int](), []
        tokens = ids.tolist()
        for index, token in enumerate(tokens):
            if self._table.kind[token] == TokenKind.PROGRAM:
                program = self._table.value[token]
                number = numbers[program] = numbers.get(program, -1) + 1
                is_empty = tokens[index + 1 : index + 2] == [token]
                if is_empty and tracks[program][number] in dropped:
                    indices.append(index + 1)
        return indices
