"""Changes to a piece before it is learnt from: transposition, part order, corrupted contexts.

Everything works on token ids in bar-part order and is driven by one random generator. Corruption
changes what the network reads, not what it has to predict (scheduled sampling in spirit, Bengio et
al. 2015): it learns to go on well from contexts that a sampled piece would give it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from musiclstm.model import Kind, TokenTable
from training.data.bar_blocks import Bar, BarBlocks, PartName
from training.pretraining.band_arrangement import Grooves, arrange_for_band

IGNORED = -100  # a label that does not count


@dataclass(frozen=True)
class Stream:
    """What is read and what is to be predicted after it.

    Attributes:
        inputs: Token ids, (tokens,) int32.
        labels: The next token of each, `IGNORED` where none counts, (tokens,) int32.
    """

    inputs: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class AugmentationSettings:
    """How pieces are changed; every share is a probability, 0 to 1.

    Args:
        transpose: Semitones up or down at most.
        band: Pieces without drums that are arranged for a band, where a groove fits.
        merge_tracks: Pieces whose tracks of one program become one part.
        random_order: Pieces whose parts have a random order.
        drop_parts: Pieces with several parts that lose some of them for a few bars.
        noisy_pieces: Pieces in which some pitches that are read are wrong.
        noisy_pitches: Of the pitches of such a piece.
    """

    transpose: int = 5
    band: float = 0.15
    merge_tracks: float = 0.4
    random_order: float = 0.15
    drop_parts: float = 0.4
    noisy_pieces: float = 0.4
    noisy_pitches: float = 0.015


class Augmentation:
    """Draws one changed version of a piece after the other."""

    def __init__(
        self,
        table: TokenTable,
        bos_id: int,
        eos_id: int,
        settings: AugmentationSettings,
        grooves: Grooves | None = None,
    ) -> None:
        """Take the meaning of the tokens, what to do, and drums for bands; None: no bands."""
        self._table, self._bos, self.eos_id = table, bos_id, eos_id
        self._grooves = grooves
        self.settings = settings
        self._pitch_ids = np.array([max(table.pitch(p, drums=False), -1) for p in range(128)])
        kind, value = np.array(table.kind), np.array(table.value)
        self._pitch_of = np.where(kind == Kind.PITCH, value, -1)

    def apply(self, ids: Sequence[int] | np.ndarray, rng: np.random.Generator) -> Stream:
        """A changed version of a piece, with BOS and EOS.

        Args:
            ids: Of the whole piece, without BOS and EOS.
            rng: Decides everything.
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
        uncounted = np.zeros(0, np.int64)
        if band or merge or shuffle or drop:
            piece = BarBlocks.from_ids(ids, self._table)
            if band and self._grooves is not None:
                piece = arrange_for_band(piece, self._grooves, self._table, rng)
            if merge:
                piece = piece.with_merged_tracks(self._table)
            order = list(piece.order)
            if shuffle:
                order = [order[i] for i in rng.permutation(len(order))]
            if drop and len(order) > 1:
                ids, uncounted = self._without_some_blocks(piece, order, rng)
            else:
                ids = piece.to_ids(self._table, order)
        ids = self.transposed(ids, self._shift(ids, rng))
        clean = np.concatenate([[self._bos], ids, [self.eos_id]]).astype(np.int32)
        labels = clean[1:].copy()
        labels[uncounted] = IGNORED  # one place later in `clean`, one earlier in `labels`
        inputs = clean[:-1]
        return Stream(self._with_noise(inputs, rng) if noise else inputs, labels)

    def _shift(self, ids: np.ndarray, rng: np.random.Generator) -> int:
        most = self.settings.transpose
        shift = int(rng.integers(-most, most + 1))
        pitches = self._pitch_of[ids]
        pitches = pitches[pitches >= 0]
        if not len(pitches):
            return 0
        return int(np.clip(shift, -pitches.min(), 127 - pitches.max()))

    def transposed(self, ids: np.ndarray, semitones: int) -> np.ndarray:
        """The stream with all pitches but those of drums moved; the result stays in 0 to 127."""
        pitches = self._pitch_of[ids]
        moved = self._pitch_ids[np.clip(pitches + semitones, 0, 127)]
        return np.where(pitches >= 0, moved, ids).astype(np.int32)

    def _with_noise(self, inputs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Move some pitches by up to an octave."""
        pitches = self._pitch_of[inputs]
        hit = (pitches >= 0) & (rng.random(len(inputs)) < self.settings.noisy_pitches)
        moved = np.clip(pitches + rng.integers(-12, 13, len(inputs)), 0, 127)
        return np.where(hit, self._pitch_ids[moved], inputs).astype(np.int32)

    def _without_some_blocks(
        self, piece: BarBlocks, order: list[PartName], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The stream without some parts for one to eight bars, one to three times.

        Returns:
            The stream, and the places of the tokens that tell of a missing block: the one in its
            stead, and the one after an empty block. The network does not learn to predict them.
        """
        missing: set[tuple[int, PartName]] = set()
        for _ in range(int(rng.integers(1, 4))):
            part = order[int(rng.integers(len(order)))]
            first = int(rng.integers(len(piece.bars) or 1))
            for number in range(first, min(first + int(rng.integers(1, 9)), len(piece.bars))):
                if piece.bars[number].blocks.get(part):
                    missing.add((number, part))
        bars, places, at = [], list[int](), len(piece.opening)
        for number, bar in enumerate(piece.bars):
            lost = {part for part in bar.blocks if (number, part) in missing}
            kept = {part: block for part, block in bar.blocks.items() if part not in lost}
            single = BarBlocks([], [Bar(bar.header, kept)], order)
            ids = single.to_ids(self._table, order)
            places += [at + place for place in self._places_after(single, lost, order)]
            bars.append(ids)
            at += len(ids)
        stream = np.concatenate([np.array(piece.opening, np.int32), *bars])
        return stream, np.array(places, np.int64)

    def _places_after(
        self, bar: BarBlocks, lost: set[PartName], order: list[PartName]
    ) -> list[int]:
        """Return where in a bar the tokens stand that tell of a missing block."""
        places = []
        for part in lost:
            before = BarBlocks([], bar.bars, order[: order.index(part)])
            places.append(len(before.to_ids(self._table)))
        return places + self._places_after_empty_blocks(bar.to_ids(self._table), lost, order)

    def _places_after_empty_blocks(
        self, ids: np.ndarray, lost: set[PartName], order: list[PartName]
    ) -> list[int]:
        tracks: dict[int, list[PartName]] = {}
        for part in order:
            tracks.setdefault(part.program, []).append(part)
        seen, places = dict[int, int](), []
        tokens = ids.tolist()
        for place, token in enumerate(tokens):
            if self._table.kind[token] == Kind.PROGRAM:
                program = self._table.value[token]
                number = seen[program] = seen.get(program, -1) + 1
                is_empty = tokens[place + 1 : place + 2] == [token]
                if is_empty and tracks[program][number] in lost:
                    places.append(place + 1)
        return places


__all__ = ["IGNORED", "Augmentation", "AugmentationSettings", "Stream"]
