"""`python -m benchmarks.quality.regenerate`: a part composed again, compared with the true one.

In held-out pieces the lowest part of some bars is removed and composed again: to the kept parts
with several candidates and with one, and without the kept parts, as a plain continuation would. The
part's own bars before them are a further baseline.

Per bar, mean over the bars in which the true or the other part plays:

- *pitch classes*: overlap of the shares of duration of the twelve pitch classes, 0 to 1.
- *onsets*: 2 |A ∩ B| / (|A| + |B|) of the sets of onsets in twelfths of a quarter, 0 to 1.

Over all bars:

- *clashes*: share of onsets of the part at which a kept part sounds a semitone away in pitch class.
- *notes*: notes of the part, divided by those of the true one.
- *silent*: share of pieces in which the part has no note.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from symusic.core import ScoreTick

from benchmarks.common.held_out_pieces import read_split
from benchmarks.common.report import Report, ReportError, parser, run, table
from musiclstm.cli import run_command
from musiclstm.generation import Composer, Sampling
from musiclstm.midi import bar_starts, slice_score
from musiclstm.model import DEFAULT

PIECES, BEFORE, BARS, AFTER, SEED = 40, 8, 8, 2, 7
_MIN_NOTES = 8  # of the part, in the bars before and in those that are composed
_PER_CORPUS = 12  # pieces that are tried
_RESAMPLINGS = 1_000
_STEPS = 12  # onsets of a quarter

Notes = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A piece and the part that is composed again.

    Attributes:
        name: Corpus and file.
        score: The piece.
        part: Index of the track.
        lines: Ticks of the bar lines of the bars that are composed.
    """

    name: str
    score: ScoreTick
    part: int
    lines: np.ndarray


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error."""
    options = parser("benchmarks.quality.regenerate", "Compose a part of held-out pieces again.")
    add = options.add_argument
    add("--model", default=DEFAULT, help="default, a checkpoint folder, or a Hub id")
    add("--pieces", type=int, default=PIECES, help=f"pieces ({PIECES})")
    add("--candidates", type=int, default=8, help="candidates of the first row (8)")
    add("--seed", type=int, default=SEED, help=f"random seed ({SEED})")
    add("--midi", type=Path, metavar="FOLDER", help="also write the pieces into a folder")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Compose the parts and compare them."""
    composer = Composer.from_pretrained(options.model)
    cases = choose(options.data, options.split, options.pieces)
    if not cases:
        raise ReportError("No piece of the split has enough bars with two parts; add pieces.")
    rows: dict[str, list[Notes]] = {}
    seconds: dict[str, float] = {}
    bars, first = (BEFORE + 1, BEFORE + BARS), options.candidates
    for name, candidates, to_kept in (
        (f"to the kept parts, {first} candidates", first, True),
        ("to the kept parts, 1 candidate", 1, True),
        ("without the kept parts", 1, False),
    ):
        start = time.monotonic()
        rows[name] = []
        for number, case in enumerate(cases):
            piece = composer.regenerate(
                case.score,
                bars=bars,
                parts=[case.part + 1] if to_kept else None,
                sampling=Sampling(seed=options.seed, candidates=candidates),
            )
            scale = piece.score.ticks_per_quarter // case.score.ticks_per_quarter
            rows[name].append(notes_of(piece.score, case.part, scale * case.lines))
            if options.midi is not None:
                options.midi.mkdir(exist_ok=True)
                piece.save_midi(options.midi / f"{number:02}-{name.replace(' ', '-')}.mid")
        seconds[name] = (time.monotonic() - start) / len(cases)
    rows["its bars before"] = [_before(case) for case in cases]
    rows["the true part"] = [notes_of(case.score, case.part, case.lines) for case in cases]
    facts = {"model": options.model, "split": options.split, "pieces": [c.name for c in cases]}
    facts["rows"] = {
        name: figures(found, rows["the true part"], cases) | {"seconds": seconds.get(name)}
        for name, found in rows.items()
    }
    return Report(_text(facts), facts)


def choose(paths: Sequence[str], split: str, count: int) -> list[Case]:
    """Return pieces, in turn from each corpus."""
    by_corpus: dict[str, list[Case]] = {}
    for source, score in read_split(paths, split, at_most=_PER_CORPUS):
        for case in _case(f"{source.corpus}: {source.name}", score):
            by_corpus.setdefault(source.corpus, []).append(case)
    most = max(map(len, by_corpus.values()), default=0)
    turns = [own[turn] for turn in range(most) for own in by_corpus.values() if turn < len(own)]
    return turns[:count]


def _case(name: str, score: ScoreTick) -> Iterator[Case]:
    """Yield the case of a piece if its lowest part and another one play in the bars."""
    lines = bar_starts(score)
    if len(lines) - 1 < BEFORE + BARS + AFTER:
        return
    score = slice_score(score, 0, int(lines[BEFORE + BARS + AFTER]))
    score.tracks = type(score.tracks)(track for track in score.tracks if len(track.notes))
    inside = lines[BEFORE : BEFORE + BARS + 1]
    playing = []
    for index, track in enumerate(score.tracks):
        before, own = (notes_of(score, index, each) for each in (lines[: BEFORE + 1], inside))
        if min(len(before["time"]), len(own["time"])) >= _MIN_NOTES and not track.is_drum:
            playing.append((float(np.median(own["pitch"])), index))
    if len(playing) >= 2:
        yield Case(name, score, min(playing)[1], inside)


def notes_of(score: ScoreTick, track: int, lines: np.ndarray) -> Notes:
    """Return the notes of a track that begin between the bar lines, in quarters.

    Returns:
        Columns bar, time (from the first bar line), duration and pitch.
    """
    notes = score.tracks[track].notes.numpy()
    kept = (notes["time"] >= lines[0]) & (notes["time"] < lines[-1])
    at, quarter = notes["time"][kept].astype(np.int64), score.ticks_per_quarter
    return {
        "bar": np.searchsorted(lines, at, side="right") - 1,
        "time": (at - lines[0]) / quarter,
        "duration": notes["duration"][kept] / quarter,
        "pitch": notes["pitch"][kept].astype(np.int64),
    }


def _before(case: Case) -> Notes:
    """Return the notes of the bars before, as if they were repeated."""
    lines = bar_starts(case.score)
    found = notes_of(case.score, case.part, lines[: BEFORE + 1])
    found["time"] = found["time"] - (lines[:BEFORE] / case.score.ticks_per_quarter)[found["bar"]]
    starts = (case.lines[:-1] - case.lines[0]) / case.score.ticks_per_quarter
    found["time"] = found["time"] + starts[found["bar"]]
    return found


# Figures ------------------------------------------------------------------------------------------


def figures(found: Sequence[Notes], true: Sequence[Notes], cases: Sequence[Case]) -> dict[str, Any]:
    """Return the mean of each figure and its 95 % interval over bootstrap samples of the pieces."""
    values = np.array([_figures_of(*each) for each in zip(found, true, cases, strict=True)])
    rng = np.random.default_rng(SEED)
    drawn = rng.integers(0, len(values), (_RESAMPLINGS, len(values)))
    spread = np.percentile(np.nanmean(values[drawn], axis=1), [2.5, 97.5], axis=0)
    names = ("pitch classes", "onsets", "clashes", "notes", "silent")
    means = np.nanmean(values, axis=0)
    return {
        name: {"mean": float(means[i]), "low": float(spread[0, i]), "high": float(spread[1, i])}
        for i, name in enumerate(names)
    }


def _figures_of(found: Notes, true: Notes, case: Case) -> tuple[float, ...]:
    pitch_classes, onsets = [], []
    for bar in range(len(case.lines) - 1):
        both = [_of_bar(notes, bar) for notes in (found, true)]
        if any(len(notes["time"]) for notes in both):
            pitch_classes.append(pitch_class_overlap(*both))
            onsets.append(shared_onsets(*both))
    count = len(found["time"])
    return (
        float(np.mean(pitch_classes)),
        float(np.mean(onsets)),
        clashes(found, case) if count else float("nan"),
        count / len(true["time"]),
        float(count == 0),
    )


def _of_bar(notes: Notes, bar: int) -> Notes:
    return {name: values[notes["bar"] == bar] for name, values in notes.items()}


def pitch_class_overlap(a: Notes, b: Notes) -> float:
    """Return the overlap of shares of duration of the pitch classes, 0 if one has no notes."""
    shares = []
    for notes in (a, b):
        weights = np.bincount(notes["pitch"] % 12, weights=notes["duration"], minlength=12)
        shares.append(weights / max(weights.sum(), 1e-9))
    return float(np.minimum(*shares).sum())


def shared_onsets(a: Notes, b: Notes) -> float:
    """Return 2 |A ∩ B| / (|A| + |B|) of the onsets, rounded to twelfths of a quarter."""
    one, other = (set(np.rint(_STEPS * notes["time"]).tolist()) for notes in (a, b))
    return 2 * len(one & other) / (len(one) + len(other))


def clashes(notes: Notes, case: Case) -> float:
    """Return the share of onsets at which a kept part sounds a semitone away, octaves aside."""
    quarter = case.score.ticks_per_quarter
    others = [
        track.notes.numpy()
        for index, track in enumerate(case.score.tracks)
        if index != case.part and not track.is_drum
    ]
    start, end, pitch = (
        np.concatenate(columns)
        for columns in (
            [(each["time"] - case.lines[0]) / quarter for each in others],
            [(each["time"] + each["duration"] - case.lines[0]) / quarter for each in others],
            [each["pitch"].astype(np.int64) for each in others],
        )
    )
    time = notes["time"][:, None] + 1 / (2 * _STEPS)
    sounds = (start <= time) & (end > time)
    distance = (pitch - notes["pitch"][:, None]) % 12
    return float((sounds & ((distance == 1) | (distance == 11))).any(axis=1).mean())


# Text ---------------------------------------------------------------------------------------------


def _text(facts: dict[str, Any]) -> str:
    rows = [_row(name, found) for name, found in facts["rows"].items()]
    count, last = len(facts["pieces"]), BEFORE + BARS
    title = (
        f"The lowest part of bars {BEFORE + 1} to {last} of {count} pieces ({facts['split']}); "
        "in brackets 95 % of the bootstrap samples of the pieces."
    )
    return f"{title}\n\n{table(rows)}"


def _row(name: str, found: dict[str, Any]) -> dict[str, str]:
    cells = {}
    for figure in ("pitch classes", "onsets", "clashes"):
        of = found[figure]
        cells[figure] = f"{of['mean']:.3f} ({of['low']:.3f} to {of['high']:.3f})"
    cells["notes"] = f"{found['notes']['mean']:.2f}"
    cells["silent"] = f"{100 * found['silent']['mean']:.0f} %"
    seconds = found["seconds"]
    return {"part": name, **cells, "seconds": "" if seconds is None else f"{seconds:.1f}"}


if __name__ == "__main__":
    sys.exit(run_command(main))
