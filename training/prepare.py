"""Convert MIDI files to token ids once: `python -m training.prepare --data FOLDER,ZIP,…`.

`--output_dir` writes a prepared corpus, which `training.finetune` and `training.evaluate` take as
`--data` and every other program reads with `datasets`; `--out` writes the file of a pre-training.
"""

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
from training.data.prepared import check_output, write_prepared
from training.data.splits import SPLITS
from training.pretraining.corpora import EncodedCorpora
from training.report.data_report import as_text, describe


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
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m training.prepare", description=summary)
    add = parser.add_argument
    add("--data", required=True, help="as of training.finetune: folders, zips, data sets, …")
    output = parser.add_mutually_exclusive_group(required=True)
    output.add_argument("--output_dir", type=Path, help="folder of the prepared corpus")
    output.add_argument("--out", type=Path, help="file for training.pretrain (.npz)")
    add("--workers", "--num_proc", type=int, help="processes (default: all cores)")
    options = parser.parse_args(argv)
    paths = options.data.split(",")
    try:
        if options.output_dir is not None:
            check_output(options.output_dir)
            corpus = read_corpus(paths, workers=options.workers)
            write_prepared(corpus, options.output_dir)
            print(as_text(describe(corpus, MusicTokenizer(), preset=""), training=False))
            print(f"Wrote {options.output_dir}.")
        else:
            corpora = prepare(paths, workers=options.workers)
            corpora.save(options.out)
            print(f"{options.out}: {len(corpora.corpus):,} pieces, {len(corpora.ids):,} tokens")
    except MusicLSTMError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
