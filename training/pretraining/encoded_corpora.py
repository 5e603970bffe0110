"""Corpora as one compressed file of token arrays: what `training.prepare` writes.

Reading it needs numpy alone. About half a byte a token: all twenty corpora fit into 35 MB.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

SPLITS = ("train", "valid", "test")

_Piece = TypeVar("_Piece")


@dataclass(frozen=True)
class EncodedCorpora:
    """Token ids of many pieces.

    Attributes:
        ids: Of all pieces, (tokens,) uint16.
        offsets: Where each piece begins, and the end of the last, (pieces + 1,).
        corpus: Number of its name in `corpora`, (pieces,).
        split: Number of its name in `SPLITS`, (pieces,).
        corpora: Names.
        token_names: By id.
        fingerprint: Of the tokenizer.
    """

    ids: np.ndarray
    offsets: np.ndarray
    corpus: np.ndarray
    split: np.ndarray
    corpora: list[str]
    token_names: list[str]
    fingerprint: str

    def piece(self, index: int) -> np.ndarray:
        """Ids of one piece, (tokens,) uint16."""
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def special_id(self, name: str) -> int:
        """Id of PAD, BOS or EOS."""
        return self.token_names.index(f"{name}_None")

    def pieces_of(self, split: str, corpora: Sequence[str] | None = None) -> list[int]:
        """Numbers of the pieces of a split, of some corpora or of all."""
        chosen = range(len(self.corpora)) if corpora is None else map(self.corpora.index, corpora)
        wanted = np.isin(self.corpus, list(chosen)) & (self.split == SPLITS.index(split))
        return np.flatnonzero(wanted).tolist()

    def save(self, path: Path) -> None:
        """Write the file (.npz)."""
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
        """Read a file that `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            names = json.loads(arrays["names"].tobytes())
            return cls(
                **{name: arrays[name] for name in ("ids", "offsets", "corpus", "split")}, **names
            )


def evenly(pieces: Sequence[_Piece], number: int | None) -> list[_Piece]:
    """Return so many pieces at equal distances; None or more than there are: all."""
    wanted = len(pieces) if number is None else min(number, len(pieces))
    return [pieces[int(place)] for place in np.linspace(0, len(pieces) - 1, wanted)]
