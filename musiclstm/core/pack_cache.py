"""Packed weights in the user's cache folder.

Packing takes longer than importing the library and composing a bar. A file holds its own digest in
its name, and is written under another name first, because other processes may read and write too.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.numpy import load, save

from musiclstm.core import native, network, weights
from musiclstm.core.network import PackedWeights

MAX_FILES = 8  # the oldest ones are deleted; 12 MB for the bundled weights

_log = logging.getLogger(__name__)


class CachedWeights(NamedTuple):
    """Packed weights and what else is known of them.

    Attributes:
        packed: The weights.
        facts: Values that JSON can hold.
    """

    packed: PackedWeights
    facts: dict[str, Any]


def key_of(*contents: bytes) -> str:
    """Return the key of weights: it changes with these contents and with the code that packs."""
    digest = hashlib.sha256()
    sources = (Path(str(module.__file__)).read_bytes() for module in (network, weights))
    for content in (*contents, *sources):
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:32]


def read(key: str) -> CachedWeights | None:
    """Return what `write` stored; None if it is missing or damaged."""
    folder = native.cache_folder("weights")
    for path in [] if folder is None else folder.glob(f"{key}-*.safetensors"):
        try:
            data = path.read_bytes()
            if path.stem == f"{key}-{_digest(data)}":
                return _parsed(data)
        except (OSError, SafetensorError) as error:
            _log.info("Packed weights cannot be read (%s).", error)
    return None


def write(key: str, cached: CachedWeights) -> None:
    """Store packed weights, if the cache can be written to."""
    folder = native.cache_folder("weights")
    if folder is None:
        return
    packed, facts = cached
    content = {"tokens": packed.tokens, "sizes": packed.sizes, "facts": facts}
    data = save(packed.arrays, metadata={"content": json.dumps(content)})
    try:
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            written = Path(temporary) / "weights"
            written.write_bytes(data)
            written.replace(folder / f"{key}-{_digest(data)}.safetensors")
        _delete_oldest(folder)
    except OSError as error:
        _log.info("Packed weights cannot be stored (%s).", error)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _parsed(data: bytes) -> CachedWeights:
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    content = json.loads(header["__metadata__"]["content"])
    packed = PackedWeights(content["sizes"], load(data), content["tokens"])
    return CachedWeights(packed, content["facts"])


def _delete_oldest(folder: Path) -> None:
    files = sorted(folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)
    for path in files[:-MAX_FILES]:
        path.unlink(missing_ok=True)
