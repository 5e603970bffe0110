"""Encode corpora into one file of token arrays for pre-training: `python -m training.prepare`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

from musiclstm.errors import CorpusError, MusicLSTMError
from musiclstm.intake import Limits, read_midi
from musiclstm.tokens import MusicTokenizer
from training.data.encoded_corpora import SPLITS, EncodedCorpora
from training.sources import parse

Job = tuple[str, str, bytes]  # corpus, split, MIDI file


@cache
def _tokenizer() -> MusicTokenizer:
    return MusicTokenizer()


def _encode(job: Job) -> tuple[str, str, np.ndarray]:
    """Corpus, split and ids of a file; no ids where it cannot be read."""
    corpus, split, data = job
    try:
        score, _ = read_midi(data, limits=Limits.training())
        return corpus, split, np.array(_tokenizer().encode(score), np.uint16)
    except MusicLSTMError:
        return corpus, split, np.zeros(0, np.uint16)


def _jobs(paths: Sequence[str]) -> Iterator[Job]:
    for given in parse(paths):
        for source in given.origin.sources():
            data = source.read(Limits.training().bytes)
            yield source.corpus, source.split or "train", data


def prepare(paths: Sequence[str], *, workers: int = 1) -> EncodedCorpora:
    """Encode all pieces under the paths; files that cannot be read are left out.

    Args:
        paths: As `training.finetune --data` takes them; pieces without a split are for training.
        workers: Processes.

    Raises:
        CorpusError: A path is missing, or no file under them can be read.
    """
    if workers == 1:
        found = [_encode(job) for job in _jobs(paths)]
    else:
        with ProcessPoolExecutor(workers) as pool:
            found = list(pool.map(_encode, _jobs(paths), chunksize=16))
    found = [each for each in found if len(each[2])]
    if not found:
        raise CorpusError(f"No MIDI file under {', '.join(paths)} can be read; pass others.")
    corpora = list(dict.fromkeys(corpus for corpus, _, _ in found))
    arrays = [ids for _, _, ids in found]
    return EncodedCorpora(
        ids=np.concatenate(arrays),
        offsets=np.cumsum([0, *map(len, arrays)]).astype(np.int64),
        corpus=np.array([corpora.index(corpus) for corpus, _, _ in found], np.int16),
        split=np.array([SPLITS.index(split) for _, split, _ in found], np.int16),
        corpora=corpora,
        token_names=list(_tokenizer().token_names),
        fingerprint=_tokenizer().fingerprint,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.prepare", description=__doc__)
    parser.add_argument("--data", required=True, help="folders or zips, separated by commas")
    parser.add_argument("--out", type=Path, required=True, help="file to write (.npz)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
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
    sys.exit(main())
