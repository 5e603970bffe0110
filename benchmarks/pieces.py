"""The pieces of a split as scores, in the order and with the splits that training has.

`training.corpus` keeps tokens; a benchmark that compares with the music itself needs the score
again. Knows neither tokens nor the network.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from symusic.core import ScoreTick

from musiclstm.errors import CorpusError, ScoreError
from musiclstm.intake import Limits, read_midi
from training.corpus import Corpus, Source, find_sources, read_corpus

_Piece = TypeVar("_Piece")


def read_split(paths: Sequence[str | Path], split: str) -> Iterator[tuple[Source, ScoreTick]]:
    """Every piece of a split with its score, one after the other; broken files are told.

    Raises:
        CorpusError: A path is missing, nothing under the paths can be used, or the split is empty.
    """
    limits = Limits.training()
    for source in _sources(paths, split):
        try:
            score, _ = read_midi(source.read(limits.bytes), name=source.name, limits=limits)
        except ScoreError as error:
            sys.stderr.write(f"left out {source.name}: {error}\n")
            continue
        yield source, score


def refuse_empty(splits: Sequence[str | None], split: str) -> None:
    """Say so where a split has no pieces.

    Raises:
        CorpusError: It has none.
    """
    if split not in splits:
        raise CorpusError(
            f"None of {len(splits):,} pieces belongs to the split {split!r}, to which one in "
            "twenty goes; add MIDI files to --data, or choose another --split."
        )


def evenly(pieces: Sequence[_Piece], number: int | None) -> list[_Piece]:
    """So many of them, from all over the split; None or more than there are: all."""
    wanted = len(pieces) if number is None else min(number, len(pieces))
    return [pieces[int(place)] for place in np.linspace(0, len(pieces) - 1, wanted)]


def _sources(paths: Sequence[str | Path], split: str) -> list[Source]:
    """The files of a split. Where no manifest tells, all must be read to know which they are."""
    sources = find_sources(paths)
    splits = [source.split for source in sources]
    if None in splits or not sources:
        corpus = read_corpus(paths)
        sources = list(_files_of(corpus, sources))
        splits = [piece.split for piece in corpus.pieces]
    refuse_empty(splits, split)
    return [source for source, own in zip(sources, splits, strict=True) if own == split]


def _files_of(corpus: Corpus, sources: list[Source]) -> Iterator[Source]:
    """The file of every piece: they stand in the same order, but for files that were left out."""
    rest = iter(sources)
    for piece in corpus.pieces:
        yield next(s for s in rest if (s.corpus, s.name) == (piece.corpus, piece.name))
