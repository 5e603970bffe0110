"""The MIDI files of a split, found without tokenizing them where a manifest names the splits."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from musiclstm.errors import CorpusError
from training.data.corpus import Corpus, MidiSource, find_sources, read_corpus


def sources_of_split(
    paths: Sequence[str | Path], split: str, *, workers: int | None = None
) -> list[MidiSource]:
    """Return the files of a split in the order in which `read_corpus` reads them.

    Args:
        paths: As in `read_corpus`.
        split: train, valid or test.
        workers: Processes that read MIDI files where no manifest names the split; None: one per
            core.

    Raises:
        CorpusError: A path is missing, nothing under the paths can be used, or the split is empty.
    """
    sources = find_sources(paths)
    splits = [source.split for source in sources]
    if None in splits or not sources:  # all files must be read to know which split they are in
        corpus = read_corpus(paths, workers=workers)
        sources = list(_files_of(corpus, sources))
        splits = [piece.split for piece in corpus.pieces]
    require_split(splits, split)
    return [source for source, own in zip(sources, splits, strict=True) if own == split]


def require_split(splits: Sequence[str | None], split: str) -> None:
    """Refuse a split without pieces.

    Args:
        splits: Split of every piece.
        split: The one that is wanted.

    Raises:
        CorpusError: It has none.
    """
    if split not in splits:
        raise CorpusError(
            f"None of {len(splits):,} pieces belongs to the split {split!r}, to which one in "
            "twenty goes; add MIDI files to --data, or choose another --split."
        )


def _files_of(corpus: Corpus, sources: list[MidiSource]) -> Iterator[MidiSource]:
    """The file of every piece: they have the same order, except for files that were left out."""
    rest = iter(sources)
    for piece in corpus.pieces:
        yield next(s for s in rest if (s.corpus, s.name) == (piece.corpus, piece.name))


def in_turn(sources: Sequence[MidiSource], seed: int) -> Iterator[MidiSource]:
    """Return one file of each corpus in turn, so that every corpus has an equal share.

    A corpus that runs out is skipped. Within a corpus the order is a hash of seed and file name: it
    does not depend on the other files, and the first n files are part of the first n + 1.
    """
    by_corpus: dict[str, list[MidiSource]] = defaultdict(list)
    for source in sorted(sources, key=lambda source: _place(source, seed)):
        by_corpus[source.corpus].append(source)
    rounds = zip_longest(*(by_corpus[name] for name in sorted(by_corpus)))
    return (source for each in rounds for source in each if source is not None)


def _place(source: MidiSource, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{source.corpus}\n{source.name}".encode()).digest()
