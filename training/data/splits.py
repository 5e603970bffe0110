"""Train, valid and test: names of the splits, and the split of each piece from its own music."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import TypeVar

import numpy as np

from musiclstm.errors import CorpusError

SPLITS = ("train", "valid", "test")
SPLIT_NAMES = {  # names that manifests and data sets use
    **{name: name for name in SPLITS},
    **dict.fromkeys(("validation", "val", "dev"), "valid"),
    **dict.fromkeys(("training",), "train"),
    **dict.fromkeys(("testing",), "test"),
}
HELD_OUT_SHARE = 0.05  # of the pieces, in test and again in valid
_MIN_PIECES = {"valid": 2, "test": 20}  # different pieces from which on the split is never empty

_Item = TypeVar("_Item")


def assign_splits(copy_groups: Collection[str], given: Collection[str]) -> dict[str, str]:
    """Return the split of each group of copies: 90 % train, 5 % valid, 5 % test, by a hash.

    The split of a group does not depend on the other groups, with one exception: if a split would
    be empty, the group that is nearest to it moves there.

    Args:
        copy_groups: Identifier of each group, for example a hash of the music.
        given: Splits that already hold other pieces, because a manifest put them there.
    """
    ordered = sorted(copy_groups, key=hash_fraction)
    splits = {group: split_at(hash_fraction(group)) for group in ordered}
    if ordered and "train" not in {*given, *splits.values()}:
        splits[ordered[-1]] = "train"
    for split, min_pieces in _MIN_PIECES.items():
        train = [group for group in ordered if splits[group] == "train"]
        is_empty = split not in {*given, *splits.values()}
        if is_empty and len(ordered) >= min_pieces and len(train) > 1:
            splits[train[0]] = split
    return splits


def hash_fraction(text: str) -> float:
    """Return a number in [0, 1) that depends on the text alone, uniformly distributed."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48


def split_at(fraction: float) -> str:
    """Return the split of a piece whose `hash_fraction` is given."""
    if fraction < HELD_OUT_SHARE:
        return "test"
    return "valid" if fraction < 2 * HELD_OUT_SHARE else "train"


def half_of(piece: str) -> int:
    """Return the half of the training split to which a piece belongs, 0 or 1, by a hash.

    Half 0 trains the score that chooses among candidates, half 1 the judge of
    `benchmarks.quality.realness`, so that no piece trains both.

    Args:
        piece: Corpus and file, such as `songs/a.mid` (`PromptedPiece.name`).
    """
    return int(hash_fraction(f"half\n{piece}") >= 0.5)


def require_split(splits: Sequence[str | None], split: str) -> None:
    """Raise an error if no piece belongs to a split.

    Args:
        splits: Split of every piece.
        split: Requested split.

    Raises:
        CorpusError: The split is empty.
    """
    if split not in splits:
        raise CorpusError(
            f"None of {len(splits):,} pieces belongs to the split {split!r}, to which one in "
            "twenty goes; add MIDI files to --data, or choose another --split."
        )


def evenly_spaced(items: Sequence[_Item], count: int | None) -> list[_Item]:
    """Return `count` items at equal distances; all of them for None or a larger count."""
    count = len(items) if count is None else min(count, len(items))
    return [items[int(index)] for index in np.linspace(0, len(items) - 1, count)]
