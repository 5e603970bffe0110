"""Write the token file for pre-training: `python -m training.prepare`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from musiclstm.cli import run_command
from musiclstm.errors import MusicLSTMError
from musiclstm.tokens import MusicTokenizer
from training.data.corpus import read_corpus
from training.data.splits import SPLITS
from training.pretraining.corpora import EncodedCorpora


def prepare(paths: Sequence[str], *, workers: int | None = None) -> EncodedCorpora:
    """Encode all pieces under the paths; report files that cannot be used.

    Args:
        paths: Entries as in `read_corpus`, which also determines the split of every piece.
        workers: Number of processes; None: one per core.

    Raises:
        CorpusError: A path is missing, or no file under the paths can be used.
    """
    corpus = read_corpus(paths, workers=workers)
    for skipped in corpus.skipped:
        sys.stderr.write(f"left out {skipped.name}: {skipped.reason}\n")
    names = list(dict.fromkeys(piece.corpus for piece in corpus.pieces))
    pieces = [piece for split in SPLITS for piece in corpus.pieces if piece.split == split]
    arrays = [np.asarray(ids, np.uint16) for split in SPLITS for ids in corpus.tokens(split)]
    return EncodedCorpora(
        ids=np.concatenate(arrays),
        offsets=np.cumsum([0, *map(len, arrays)]).astype(np.int64),
        corpus=np.array([names.index(piece.corpus) for piece in pieces], np.int16),
        split=np.array([SPLITS.index(piece.split) for piece in pieces], np.int16),
        corpora=names,
        token_names=list(MusicTokenizer.token_names),
        fingerprint=MusicTokenizer().fingerprint,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.prepare", description=__doc__)
    parser.add_argument(
        "--data", required=True, help="folders, zips or MIDI files, separated by commas"
    )
    parser.add_argument("--out", type=Path, required=True, help="file to write (.npz)")
    parser.add_argument("--workers", type=int, help="processes (default: all cores)")
    options = parser.parse_args(argv)
    try:
        corpora = prepare(options.data.split(","), workers=options.workers)
        corpora.save(options.out)
    except MusicLSTMError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    print(f"{options.out}: {len(corpora.corpus):,} pieces, {len(corpora.ids):,} tokens")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
