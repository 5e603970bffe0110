"""The pieces of a split as scores, in the order and with the splits of `training.data.corpus`."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from symusic.core import ScoreTick

from musiclstm.errors import ScoreError
from musiclstm.midi import MidiLimits, read_midi
from training.data.corpus import sources_of_split
from training.data.sources import MidiSource
from training.data.splits import evenly_spaced


def read_split(
    paths: Sequence[str | Path], split: str, *, at_most: int | None = None
) -> Iterator[tuple[MidiSource, ScoreTick]]:
    """Read every piece of a split with its score; report and skip broken files.

    Args:
        paths: As in `training.data.corpus.read_corpus`.
        split: train, valid or test.
        at_most: Largest number of pieces of each corpus, evenly spaced. None: all.

    Raises:
        CorpusError: A path is missing, no file under the paths can be used, or the split is empty.
    """
    limits = MidiLimits.training()
    by_corpus: dict[str, list[MidiSource]] = defaultdict(list)
    for source in sources_of_split(paths, split):
        by_corpus[source.corpus].append(source)
    for source in (source for own in by_corpus.values() for source in evenly_spaced(own, at_most)):
        try:
            score, _ = read_midi(source.read(limits.bytes), name=source.name, limits=limits)
        except ScoreError as error:
            sys.stderr.write(f"skipped {source.name}: {error}\n")
            continue
        yield source, score
