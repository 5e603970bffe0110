"""Load a checkpoint with its weights packed for the core, from the cache if possible."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from musiclstm.core import pack_cache
from musiclstm.core.network import PackedWeights, pack
from musiclstm.core.pack_cache import CachedWeights
from musiclstm.core.weights import Weights
from musiclstm.generation.decoding.bar_score import read_bar_score
from musiclstm.model import (
    CONFIG_FILE,
    DEFAULT,
    CheckpointFiles,
    ConfigFields,
    StoredWeights,
    check_files,
    read_weights,
)
from musiclstm.tokens import MusicTokenizer


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class PackedCheckpoint:
    """A checkpoint for the core.

    Attributes:
        folder: Where it was read. None: it is a network in memory.
        config: Contents of config.json.
        num_parameters: Number of weights.
        weights_fingerprint: Sixteen hexadecimal digits that change with any weight and with the
            tokenizer.
        weights: The packed weights.
        bar_score: `BAR_SCORE`, by which one of several candidates for a bar is chosen.
    """

    folder: Path | None
    config: ConfigFields
    num_parameters: int
    weights_fingerprint: str
    weights: PackedWeights
    bar_score: np.ndarray

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with the music that it composes."""
        known = self.weights_fingerprint.encode() + self.bar_score.tobytes()
        return hashlib.sha256(known).hexdigest()[:16]


def load_packed(name: str | Path = DEFAULT, *, revision: str | None = None) -> PackedCheckpoint:
    """Load a checkpoint; arguments and errors are those of `load_weights`."""
    files = check_files(name, revision=revision)
    key = _key(files)
    cached = None if key is None else pack_cache.read(key)
    if cached is not None:
        return PackedCheckpoint(
            folder=files.folder.resolve(),
            config=files.config,
            num_parameters=cached.facts["num_parameters"],
            weights_fingerprint=cached.facts["fingerprint"],
            weights=cached.packed,
            bar_score=read_bar_score(files.folder),
        )
    packed = pack_weights(read_weights(files))
    if key is not None:
        facts = {
            "num_parameters": packed.num_parameters,
            "fingerprint": packed.weights_fingerprint,
        }
        pack_cache.write(key, CachedWeights(packed.weights, facts))
    return packed


def _key(files: CheckpointFiles) -> str | None:
    """Return the key in the cache; None if a file cannot be read."""
    try:
        return pack_cache.key_of(
            files.weights.read_bytes(),
            (files.folder / CONFIG_FILE).read_bytes(),
            MusicTokenizer.fingerprint.encode(),
        )
    except OSError:
        return None


def pack_weights(stored: StoredWeights) -> PackedCheckpoint:
    """Pack weights without the cache."""
    config = stored.config
    weights = Weights.from_state_dict(
        stored.arrays, residual=config.residual, token_names=config.token_names
    )
    return PackedCheckpoint(
        folder=stored.folder,
        config=config,
        num_parameters=stored.num_parameters,
        weights_fingerprint=weights_fingerprint(stored),
        weights=pack(weights),
        bar_score=read_bar_score(stored.folder),
    )


def weights_fingerprint(stored: StoredWeights) -> str:
    """Return sixteen hexadecimal digits that change with any weight and with the tokenizer."""
    digest = hashlib.sha256(MusicTokenizer.fingerprint.encode())
    for name, array in sorted(stored.arrays.items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]
