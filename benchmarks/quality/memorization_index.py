"""`python -m benchmarks.quality.memorization_index`: what the index of a checkpoint finds.

Three questions, about whole held-out pieces and in every transposition:

- Recall: a passage of 24 to 64 notes of a random training piece is transposed and put between the
  notes of a random held-out piece. Is all of it found, and does the named piece have it?
- False alarms: the longest passage of each held-out piece is compared with that of the exact search
  of passage_matching.py. Held-out music shares long passages with training pieces, because styles
  have formulas and works quote each other. A false alarm is a piece that the index reports with
  24 notes or more, and the exact search with fewer. The splits keep versions of a work together;
  composers are in all splits. `--others` adds corpora that the weights have not seen.
- Work: file size, time to load, and processor time per piece and per bar of `CopyFilter`.

The exact search in 16 million notes takes three minutes and 5 GB of memory.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from benchmarks.common.report import Report, ReportError, parser, run, table
from benchmarks.quality.passage_matching import PassageIndex
from musiclstm.cli import run_command
from musiclstm.memorization import (
    GUARANTEED,
    CopyFilter,
    Ints,
    MemorizationIndex,
    PitchedNotes,
    TokenReader,
    third_different,
    truncate_trivial,
)
from musiclstm.model import DEFAULT, MEMORIZATION_FILE, find_checkpoint
from musiclstm.tokens import MusicTokenizer
from training.data.corpus import read_corpus
from training.data.splits import require_split

COPIES, SEED = 1_000, 7
_LONGEST_COPY = 64  # notes
_TRIES = 10_000  # until a training piece and a held-out piece with enough notes are drawn
_TIMED_BARS = 2_000

_Result = TypeVar("_Result")


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error, or if a planted copy is not found."""
    options = parser(
        "benchmarks.quality.memorization_index", "Measure the index of the training pieces."
    )
    add = options.add_argument
    add("--model", default=DEFAULT, help="default, a checkpoint folder, or a Hub id")
    add("--others", default="", help="corpora that it was not trained on, separated by commas")
    add("--copies", type=int, default=COPIES, help=f"planted copies ({COPIES})")
    add("--seed", type=int, default=SEED, help=f"random seed of the copies ({SEED})")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Measure recall, false alarms and work."""
    path = find_checkpoint(options.model) / MEMORIZATION_FILE
    if not path.is_file():
        raise ReportError(
            f"{options.model!r} has no {MEMORIZATION_FILE}; write it with training.memorization."
        )
    if options.split == "train" or options.copies < 1:
        raise ReportError("--split must be valid or test, and --copies 1 or more.")
    began = time.process_time()
    index = MemorizationIndex.load(path)
    load_s = time.process_time() - began
    tokenizer = MusicTokenizer()
    training = _read(tokenizer, options.data, "train")
    if len(training) != len(index):
        raise ReportError(
            f"The index has {len(index):,} pieces, and --data has {len(training):,} to train on; "
            "name the corpora of the weights."
        )
    groups = {"held out": _read(tokenizer, options.data, options.split)}
    if options.others:
        groups["not trained on"] = _read(tokenizer, options.others.split(","), options.split)
    held_out = groups["held out"]
    facts = {
        "model": options.model,
        "split": options.split,
        "index": {"bytes": path.stat().st_size, "pieces": len(index), "load_s": round(load_s, 2)},
        "planted": plant(index, training, held_out, copies=options.copies, seed=options.seed),
        "false_alarms": compare(index, training, groups),
        "bar_ms": _bar_ms(index, tokenizer, held_out),
    }
    return Report(_text(facts), facts, passed=facts["planted"]["found"] == 1)


@dataclass(frozen=True)
class TokenPiece:
    """A piece as tokens and as notes."""

    tokens: np.ndarray
    notes: PitchedNotes


def _read(tokenizer: MusicTokenizer, data: Sequence[str], split: str) -> list[TokenPiece]:
    corpus, reader = read_corpus(data), TokenReader(tokenizer)
    require_split([piece.split for piece in corpus.pieces], split)
    return [TokenPiece(ids, reader.read(ids)) for ids in corpus.tokens(split)]


# Recall -------------------------------------------------------------------------------------------


def plant(
    index: MemorizationIndex,
    training: Sequence[TokenPiece],
    held_out: Sequence[TokenPiece],
    *,
    copies: int,
    seed: int,
) -> dict[str, float]:
    """Put passages of training pieces into held-out music, and look for them.

    Returns:
        `found`: share of the copies that are found in their whole length; `named`: share whose
        named piece has the passage; `median_excess`: notes reported beyond the copy.
    """
    found, named, excess = [], [], []
    training_steps = [piece.notes.steps() for piece in training]
    rng = np.random.default_rng(seed)
    for _ in range(copies):
        copy = _first(partial(_random_passage, training, rng), "training piece with a passage")
        music, at = _first(partial(_inserted, held_out, copy, rng), "held-out piece with a line")
        steps = music.steps()
        length, position = index.passages(steps, shortest=GUARANTEED)
        found.append(length[at] >= len(copy) - 1)
        excess.append(length[at] - len(copy) + 1)
        source = training_steps[int(index.piece_at(position[at]))]
        named.append(_has(source, steps[at : at + len(copy) - 1]))
    return {
        "copies": copies,
        "found": float(np.mean(found)),
        "named": float(np.mean(named)),
        "median_excess": float(np.median(excess)),
    }


def _first(draw: Callable[[], _Result | None], needed: str) -> _Result:
    for _ in range(_TRIES):
        if (found := draw()) is not None:
            return found
    raise ReportError(f"There is no {needed} of {GUARANTEED} notes; add pieces to --data.")


def _random_passage(
    training: Sequence[TokenPiece], rng: np.random.Generator
) -> PitchedNotes | None:
    """Return a passage of one line of a random piece; None: the place drawn has none."""
    notes = training[int(rng.integers(len(training)))].notes.by_line()
    count = int(rng.integers(GUARANTEED, _LONGEST_COPY + 1))
    if len(notes) < count:
        return None
    begin = int(rng.integers(len(notes) - count + 1))
    passage = notes[begin : begin + count]
    if passage.program[0] != passage.program[-1]:
        return None
    steps = passage.steps()
    whole = np.arange(count - 1, -1, -1)
    is_valid = truncate_trivial(third_different(steps), whole)[0] == count - 1
    return passage if is_valid else None


def _inserted(
    held_out: Sequence[TokenPiece], copy: PitchedNotes, rng: np.random.Generator
) -> tuple[PitchedNotes, int] | None:
    """Return a line of a random piece with the transposed copy in it, and where it begins."""
    notes = held_out[int(rng.integers(len(held_out)))].notes
    line = notes[notes.program == rng.choice(notes.program)] if len(notes) else notes
    if len(line) < GUARANTEED:
        return None
    at = int(rng.integers(1, len(line)))
    up = int(rng.integers(-copy.pitch.min(), 128 - copy.pitch.max()))
    begin = line.onset[at - 1] + 1 + int(rng.integers(48))
    later = copy.onset[-1] - copy.onset[0] + 100
    onset = [line.onset[:at], copy.onset - copy.onset[0] + begin, line.onset[at:] + later]
    pitch = [line.pitch[:at], copy.pitch + up, line.pitch[at:]]
    music = PitchedNotes.from_columns(
        np.concatenate(onset),
        np.full(len(line) + len(copy), line.program[0]),
        np.concatenate(pitch),
    )
    return music, at


def _has(piece: Ints, steps: Ints) -> bool:
    starts = np.flatnonzero(piece[: len(piece) - len(steps) + 1] == steps[0])
    return any(np.array_equal(piece[at : at + len(steps)], steps) for at in starts)


# False alarms -------------------------------------------------------------------------------------


def compare(
    index: MemorizationIndex,
    training: Sequence[TokenPiece],
    groups: dict[str, list[TokenPiece]],
) -> dict[str, dict[str, float]]:
    """Return how the index and the exact search differ, for each group of pieces."""
    music = [piece.notes for pieces in groups.values() for piece in pieces]
    exact = PassageIndex(music, [piece.notes.steps() for piece in training]).longest()
    began = time.process_time()
    found = [index.longest(notes) for notes in music]
    piece_ms = 1e3 * (time.process_time() - began) / len(music)
    pairs = np.array([[e.notes, f.notes] for e, f in zip(exact, found, strict=True)])
    rows, begin = {}, 0
    for name, pieces in groups.items():
        rows[name] = _difference(pairs[begin : begin + len(pieces)]) | {
            "notes": float(np.mean([len(piece.notes) for piece in pieces])),
            "piece_ms": piece_ms,
        }
        begin += len(pieces)
    return rows


def _difference(pairs: Ints) -> dict[str, float]:
    exact, found = pairs.T
    copied = exact >= GUARANTEED
    excess = (found - exact)[copied]
    return {
        "pieces": len(pairs),
        "copied": float(np.mean(copied)),
        "false": float(np.mean(~copied & (found >= GUARANTEED))),
        "missed": float(np.mean(copied & (found < exact))),
        "equal": float(np.mean(excess == 0)) if copied.any() else float("nan"),
        "within_two": float(np.mean(excess <= 2)) if copied.any() else float("nan"),
    }


def _bar_ms(
    index: MemorizationIndex, tokenizer: MusicTokenizer, pieces: Sequence[TokenPiece]
) -> float:
    """Return the mean processor time of `CopyFilter.longest`, in ms."""
    reader, bar_id, seconds, count = TokenReader(tokenizer), tokenizer.ids["Bar_None"], 0.0, 0
    for piece in pieces:
        state = CopyFilter(index, reader, GUARANTEED)
        starts = [*np.flatnonzero(piece.tokens == bar_id).tolist(), len(piece.tokens)]
        for begin, end in list(pairwise(starts))[:16]:
            bar = piece.tokens[begin:end].tolist()
            began = time.process_time()
            state.longest(bar)
            seconds, count = seconds + time.process_time() - began, count + 1
            state = state.after(bar)
        if count >= _TIMED_BARS:
            break
    return 1e3 * seconds / count


# Text ---------------------------------------------------------------------------------------------


def _text(facts: dict[str, Any]) -> str:
    index, planted = facts["index"], facts["planted"]
    piece_ms = next(iter(facts["false_alarms"].values()))["piece_ms"]
    return "\n".join(
        [
            f"Index: {index['pieces']:,} pieces, {index['bytes']:,} bytes, loaded in "
            f"{index['load_s']} s; {piece_ms:.1f} ms per piece, {facts['bar_ms']:.2f} ms per bar.",
            f"Planted copies of {GUARANTEED} to {_LONGEST_COPY} notes: "
            f"{100 * planted['found']:.1f} % of {planted['copies']:,} found, "
            f"{100 * planted['named']:.1f} % in the named piece, "
            f"{planted['median_excess']:.0f} notes too long (median).",
            "",
            table([_row(name, row) for name, row in facts["false_alarms"].items()]),
        ]
    )


def _row(name: str, row: dict[str, float]) -> dict[str, str]:
    shares = {
        f"share {GUARANTEED} notes": row["copied"],
        "false alarms": row["false"],
        "missed": row["missed"],
        "length equal": row["equal"],
        "at most 2 longer": row["within_two"],
    }
    return {
        "pieces": f"{name} ({row['pieces']:.0f}, {row['notes']:,.0f} notes each)",
        **{head: f"{100 * value:.1f} %" for head, value in shares.items()},
    }


if __name__ == "__main__":
    sys.exit(run_command(main))
