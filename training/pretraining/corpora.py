"""Corpora of a pre-training: the token file, the weight of each corpus, and the measured sets.

`training.prepare` writes the token file. Reading it needs numpy alone; a token takes about half a
byte, so that all twenty corpora fit into 35 MB.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.data.splits import SPLITS, evenly_spaced

# Relative to the number of pieces: masses are a third of all notes, bands with drums are few.
CORPUS_WEIGHTS = {
    "nifc-sacred": 0.25,
    "nifc-secular": 0.5,
    "nifc-keyboard": 0.7,
    "groove-drums": 0.5,
    "open-hymnal": 2.0,
    "openewld-pd": 4.0,
    "freedoom": 5.0,
    "blasphemer": 5.0,
    "easyrpg": 5.0,
    "simutrans": 5.0,
    "lmms-demos": 5.0,
    "pop909": 0.0,  # songs in copyright; the next three are share-alike
    "folk-abc": 0.0,
    "mutopia-by-sa": 0.0,
    "lmms-demos-by-sa": 0.0,
}
BAND_CORPORA = ("freedoom", "blasphemer", "easyrpg", "simutrans", "lmms-demos")
OLDER_CORPORA = (
    "openscore-lieder",
    "openscore-quartets",
    "openscore-orchestra",
    "mutopia-pd-by",
    "openewld-pd",
)


@dataclass(frozen=True)
class EncodedCorpora:
    """Token ids of all pieces of several corpora.

    Attributes:
        ids: Token ids of all pieces, (tokens,) uint16.
        offsets: First token of each piece and the end of the last one, (pieces + 1,).
        corpus: Index into `corpora` of each piece, (pieces,).
        split: Index into `SPLITS` of each piece, (pieces,).
        corpora: Names of the corpora.
        token_names: Token names by id.
        fingerprint: Fingerprint of the tokenizer.
    """

    ids: np.ndarray
    offsets: np.ndarray
    corpus: np.ndarray
    split: np.ndarray
    corpora: list[str]
    token_names: list[str]
    fingerprint: str

    def piece(self, index: int) -> np.ndarray:
        """Return the token ids of a piece, (tokens,) uint16."""
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def special_id(self, name: str) -> int:
        """Return the token id of PAD, BOS or EOS."""
        return self.token_names.index(f"{name}_None")

    def pieces_of(self, split: str, corpora: Sequence[str] | None = None) -> list[int]:
        """Return the indices of the pieces of a split, of some corpora or of all."""
        selected = range(len(self.corpora)) if corpora is None else map(self.corpora.index, corpora)
        mask = np.isin(self.corpus, list(selected)) & (self.split == SPLITS.index(split))
        return np.flatnonzero(mask).tolist()

    def save(self, path: Path) -> None:
        """Write the token file (.npz)."""
        names = {
            "corpora": self.corpora,
            "token_names": self.token_names,
            "fingerprint": self.fingerprint,
        }
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            ids=self.ids,
            offsets=self.offsets,
            corpus=self.corpus,
            split=self.split,
            names=np.frombuffer(json.dumps(names).encode(), np.uint8),
        )
        path.write_bytes(buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> EncodedCorpora:
        """Read a token file that `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            names = json.loads(arrays["names"].tobytes())
            return cls(
                **{name: arrays[name] for name in ("ids", "offsets", "corpus", "split")}, **names
            )

    def counts(self, weights: Mapping[str, float]) -> list[dict[str, Any]]:
        """Return name, weight, and pieces and notes by split of each corpus, for progress.json.

        Args:
            weights: Weights by corpus name; 1.0 for a corpus without an entry.
        """
        is_pitch = np.array([name.startswith("Pitch") for name in self.token_names])
        notes = np.array(
            [np.count_nonzero(is_pitch[self.piece(index)]) for index in range(len(self.split))]
        )
        rows = []
        for corpus, name in enumerate(self.corpora):
            row: dict[str, Any] = {"name": name, "weight": weights.get(name, 1.0)}
            for number, split in enumerate(SPLITS):
                mask = (self.corpus == corpus) & (self.split == number)
                row[split] = {"pieces": int(mask.sum()), "notes": int(notes[mask].sum())}
            rows.append(row)
        return rows


def evaluation_sets(corpora: EncodedCorpora, split: str, count: int) -> dict[str, list[int]]:
    """Return piece indices of the three sets that are measured, at most `count` of each.

    Returns:
        `older`: corpora of version 0.2; `bands`: bands with drums; `newer`: all others. A set
        without pieces is missing.
    """
    newer = [
        name
        for name in corpora.corpora
        if name not in {*BAND_CORPORA, *OLDER_CORPORA, "groove-drums"}
        and CORPUS_WEIGHTS.get(name, 1.0) > 0
    ]
    sets = {}
    for set_name, names in {"older": OLDER_CORPORA, "bands": BAND_CORPORA, "newer": newer}.items():
        pieces = corpora.pieces_of(split, [name for name in names if name in corpora.corpora])
        if pieces:
            sets[set_name] = evenly_spaced(pieces, count)
    return sets
