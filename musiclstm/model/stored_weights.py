"""The weights of a checkpoint folder as numpy arrays, read from safetensors without torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from musiclstm.errors import CheckpointError
from musiclstm.model.checkpoint_files import (
    DEFAULT,
    WEIGHTS_FILE,
    CheckpointFiles,
    check_files,
)
from musiclstm.model.config_fields import ConfigFields
from musiclstm.model.step_features import CANDIDATES, CONTEXT_SIZES, PART_SIZES

EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"
_PART_TABLES = ("program", "track", "following", "age")
# Types of safetensors. numpy has no bfloat16: its bits are the upper half of those of a float32.
_DTYPES: dict[str, np.dtype[Any]] = {
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "F32": np.dtype("<f4"),
}
_Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class StoredWeights:
    """Config and weights of a checkpoint.

    Attributes:
        folder: Where they were read. None: they are those of a network in memory.
        config: Contents of config.json.
        arrays: float32 arrays by their names in a state dict of `MusicLSTMForCausalLM`; tied
            embeddings are there under both names.
    """

    folder: Path | None
    config: ConfigFields
    arrays: Mapping[str, np.ndarray]

    @property
    def num_parameters(self) -> int:
        """Number of weights."""
        tied = self.arrays[HEAD].size if self.config.tie_word_embeddings else 0
        return sum(array.size for array in self.arrays.values()) - tied


def load_weights(name: str | Path = DEFAULT, *, revision: str | None = None) -> StoredWeights:
    """Read and check a checkpoint.

    Args:
        name: "default" for the bundled weights, a folder, or a Hub id such as "user/model".
        revision: Branch, tag or commit on the Hub; None: its main branch.

    Raises:
        CheckpointError: A file is missing or unreadable, or files do not match.
    """
    return read_weights(check_files(name, revision=revision))


def read_weights(files: CheckpointFiles) -> StoredWeights:
    """Check and read the weights of a checkpoint.

    Raises:
        CheckpointError: The file is damaged, or holds another network.
    """
    check_weights(files)
    try:
        arrays = dict(_read_arrays(files.weights))
    except (OSError, ValueError) as error:
        raise _unreadable(files, error) from error
    if files.config.tie_word_embeddings:
        arrays[HEAD] = arrays[EMBEDDINGS]
    return StoredWeights(files.folder.resolve(), files.config, arrays)


def check_weights(files: CheckpointFiles) -> None:
    """Compare names, shapes and types of the stored weights with the config.

    Raises:
        CheckpointError: The file is damaged, or holds another network.
    """
    try:
        with safe_open(files.weights, framework="numpy") as stored:
            slices = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118
            shapes = {name: tuple(each.get_shape()) for name, each in slices.items()}
            types = {each.get_dtype() for each in slices.values()}
    except (SafetensorError, OSError) as error:
        raise _unreadable(files, error) from error
    # The number of layers is compared first, because the config may state any number.
    layers = {name.split(".")[2] for name in shapes if name.startswith("model.layers.")}
    if len(layers) != files.config.num_hidden_layers or shapes != stored_shapes(files.config):
        raise CheckpointError(
            f"The weights of {files.name!r} are not those of the network in its config.json; both "
            "must come from the same run."
        )
    if not types <= _DTYPES.keys():
        raise CheckpointError(
            f"The weights of {files.name!r} are stored as {', '.join(sorted(types))}; float16, "
            "bfloat16 and float32 can be read."
        )


def _unreadable(files: CheckpointFiles, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"The weights of {files.name!r} cannot be read ({type(error).__name__}); download or "
        f"copy {WEIGHTS_FILE} again."
    )


def stored_shapes(config: ConfigFields) -> dict[str, _Shape]:
    """Return the shape of each stored array; tied embeddings are stored once."""
    vocab, size, count = config.vocab_size, config.hidden_size, len(CANDIDATES)
    shapes: dict[str, _Shape] = {EMBEDDINGS: (vocab, size), "lm_head.bias": (vocab,)}
    if not config.tie_word_embeddings:
        shapes[HEAD] = (vocab, size)
    for layer in range(config.num_hidden_layers):
        for kind in ("ih", "hh"):
            shapes[f"model.layers.{layer}.lstm.weight_{kind}_l0"] = (4 * size, size)
            shapes[f"model.layers.{layer}.lstm.bias_{kind}_l0"] = (4 * size,)
    if config.layer_norm:
        norms = [f"model.layers.{layer}.norm" for layer in range(config.num_hidden_layers)]
        for norm in [*norms, "model.norm"]:
            shapes[f"{norm}.weight"] = shapes[f"{norm}.bias"] = (size,)
    if config.token_names is not None:
        inputs = "model.step_inputs"
        for table, rows in zip(_PART_TABLES, PART_SIZES, strict=True):
            shapes[f"{inputs}.{table}.weight"] = (rows, size)
        shapes[f"{inputs}.candidate_inputs.weight"] = (size, count * size)
        shapes["gates.weight"], shapes["gates.bias"] = (count, size + 3 * count), (count,)
        rows = sum(CONTEXT_SIZES)
        shapes["context_head.weight"], shapes["context_head.bias"] = (rows, size), (rows,)
    return shapes


def _read_arrays(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each array as float32; `safe_open` has accepted the file.

    The arrays are read one after the other, because the file would take memory twice.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            first, stop = entry["data_offsets"]
            file.seek(8 + length + first)
            stored = np.frombuffer(file.read(stop - first), _DTYPES[entry["dtype"]])
            yield name, _widened(stored, entry["dtype"]).reshape(entry["shape"])


def _widened(stored: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "BF16":
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32)
