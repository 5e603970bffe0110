"""Index of the training pieces beside the weights: `python -m training.memorization`.

`training.finetune` writes it too. musiclstm/memorization/index.py describes the file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from musiclstm.cli import run_command
from musiclstm.errors import MusicLSTMError
from musiclstm.memorization import MemorizationIndex, TokenReader
from musiclstm.model import MEMORIZATION_FILE, find_checkpoint
from musiclstm.tokens import MusicTokenizer
from training.data.corpus import Corpus, read_corpus
from training.data.splits import require_split


def index_of(corpus: Corpus, *, base: Path | None = None) -> MemorizationIndex:
    """Return the index of the training pieces of a corpus; held-out music is its valid split.

    Args:
        corpus: The pieces.
        base: Checkpoint from which training started; pieces in its index are kept. None: none.

    Raises:
        CheckpointError: The index of `base` is damaged.
    """
    read = TokenReader(MusicTokenizer()).read
    names = (f"{p.name}, {p.corpus}" for p in corpus.pieces if p.split == "train")
    path = None if base is None else base / MEMORIZATION_FILE
    return MemorizationIndex.build(
        zip(names, map(read, corpus.tokens("train")), strict=True),
        map(read, corpus.tokens("valid")),
        base=None if path is None or not path.is_file() else MemorizationIndex.load(path),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.memorization",
        description="Write the index of the training pieces into a checkpoint folder.",
    )
    add = parser.add_argument
    add("checkpoint", help="a folder that training wrote, or default")
    add("--data", required=True, help="what it was trained on, as for training.finetune")
    add("--workers", type=int, help="processes (default: all cores)")
    options = parser.parse_args(argv)
    try:
        folder = find_checkpoint(options.checkpoint)
        corpus = read_corpus(options.data.split(","), workers=options.workers)
        require_split([piece.split for piece in corpus.pieces], "train")
        index = index_of(corpus)
        path = folder / MEMORIZATION_FILE
        index.save(path)
    except (MusicLSTMError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    print(f"{path}: {len(index):,} pieces, {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
