"""`python -m benchmarks.roundtrip`: what becomes of music that is written as tokens and read back.

Every piece of a split goes score -> ids -> score, and its notes are looked for in what comes back
(see matching.py). Times are compared in ticks of the file and in quarter notes. Nothing is sampled
and no network is asked: this is about the tokens alone.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from symusic.core import ScoreTick

from benchmarks.matching import Floats, Notes, match, nearest, notes_of
from benchmarks.pieces import read_split
from benchmarks.reporting import Report, parser, run, table
from musiclstm import analysis
from musiclstm.checkpoint import find_checkpoint
from musiclstm.tokenization import POSITIONS_PER_BEAT, MusicTokenizer, knows_meter

FRESH = "fresh"
LONGEST_BEATS = 32  # the longest duration token, in beats of the meter that rules
ALL = "all"
_STEP_QUARTERS = 1 / POSITIONS_PER_BEAT  # the coarsest grid there is; in eighths it is half of that


@dataclass(frozen=True)
class RoundTrip:
    """What came back of one piece.

    Attributes:
        notes: In the source.
        kept: Came back with program and pitch, (notes,) bool.
        unison: Lost: another note of that program and pitch begins at the same tick.
        crowded: Lost: another one begins so close that the grid makes them one.
        shortened: Of both, those that lasted a grid step longer than the note that came back.
        onset_quarters: Of every kept note, how far it moved.
        duration_quarters: Of every kept note, how much longer or shorter it became.
        cut: Kept notes longer than the longest duration token.
        ticks_per_quarter: Of the source.
        added: Notes that came back and had not been there.
        base_tokens: Before merging.
        tokens: After merging.
        unknown_meters: Those the tokens cannot say.
        bar_lines: In the source.
        bar_lines_kept: Of these, how many are bar lines in what came back.
    """

    notes: int
    kept: int
    unison: int
    crowded: int
    shortened: int
    onset_quarters: Floats
    duration_quarters: Floats
    cut: int
    ticks_per_quarter: int
    added: int
    base_tokens: int
    tokens: int
    unknown_meters: tuple[str, ...]
    bar_lines: int
    bar_lines_kept: int

    @property
    def unexplained(self) -> int:
        """Lost for no reason known here."""
        return self.notes - self.kept - self.unison - self.crowded


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with a sentence when the data or the tokenizer cannot be used."""
    options = parser("benchmarks.roundtrip", "What tokens keep of the music.")
    options.add_argument(
        "--model",
        default="default",
        help=f"whose tokenizer: default, a checkpoint folder, a Hub id, or {FRESH} for no merges",
    )
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Every piece of the split, told by corpus and for all together."""
    tokenizer = _tokenizer(options.model)
    trips: dict[str, list[RoundTrip]] = defaultdict(list)
    for source, score in read_split(options.data, options.split):
        trips[source.corpus].append(round_trip(score, tokenizer))
    if len(trips) > 1:
        trips[ALL] = [trip for own in trips.values() for trip in own]
    figures = [_figures(name, own) for name, own in trips.items()]
    text = "\n\n".join(
        table([rows(each) for each in figures])
        for rows in (_note_row, _onset_row, _duration_row, _token_row)
    )
    return Report(text, {"split": options.split, "model": options.model, "corpora": figures})


def _tokenizer(name: str) -> MusicTokenizer:
    if name == FRESH:
        return MusicTokenizer()
    return MusicTokenizer.from_folder(find_checkpoint(name))


def round_trip(score: ScoreTick, tokenizer: MusicTokenizer) -> RoundTrip:
    """Write a score as tokens, read them back and compare.

    Raises:
        ScoreError: The score has no notes.
    """
    base_ids = tokenizer.encode_base(score)
    ids = tokenizer.compress(base_ids)
    back = tokenizer.decode(ids)
    before, after = notes_of(score), notes_of(back)
    partner = match(before, after)
    kept = partner >= 0
    lost, found_again = before.chosen(~kept), before.chosen(kept)
    durations = after.duration_quarters[partner[kept]]
    lines, found = _bar_lines(score, back)
    return RoundTrip(
        notes=len(before),
        kept=int(kept.sum()),
        **_reasons(lost, replace(found_again, duration_quarters=durations)),
        onset_quarters=after.onset_quarters[partner[kept]] - found_again.onset_quarters,
        duration_quarters=durations - found_again.duration_quarters,
        cut=int((before.duration_quarters > _longest(before, back))[kept].sum()),
        ticks_per_quarter=score.ticks_per_quarter,
        added=len(after) - int(kept.sum()),
        base_tokens=len(base_ids),
        tokens=len(ids),
        unknown_meters=_unknown_meters(score),
        bar_lines=lines,
        bar_lines_kept=found,
    )


def _reasons(lost: Notes, kept: Notes) -> dict[str, int]:
    """Of the notes that were lost, how many another one of that key stands for.

    Args:
        lost: As they were.
        kept: The others, as they came back, but at the onsets that they had.
    """
    stands_in, away = nearest(lost, kept)
    near = away < _STEP_QUARTERS + 1e-6
    unison = away < 1e-6
    missing = lost.duration_quarters[near] - kept.duration_quarters[stands_in[near]]
    return {
        "unison": int(unison.sum()),
        "crowded": int((near & ~unison).sum()),
        "shortened": int((missing > _STEP_QUARTERS + 1e-6).sum()),
    }


def _longest(notes: Notes, back: ScoreTick) -> Floats:
    """The longest duration the tokens could say where each note begins, in quarters."""
    meters = sorted(back.time_signatures, key=lambda meter: meter.time)
    starts = np.array([meter.time for meter in meters]) / back.ticks_per_quarter
    beats = np.array([4 / meter.denominator for meter in meters])
    ruling = np.searchsorted(starts, notes.onset_quarters, side="right") - 1
    return LONGEST_BEATS * beats[np.maximum(ruling, 0)]


def _unknown_meters(score: ScoreTick) -> tuple[str, ...]:
    meters = {(meter.numerator, meter.denominator) for meter in score.time_signatures}
    return tuple(f"{n}/{d}" for n, d in sorted(meters) if not knows_meter(n, d))


def _bar_lines(score: ScoreTick, back: ScoreTick) -> tuple[int, int]:
    """Bar lines of the source up to its last note, and how many came back within a grid step."""
    lines = analysis.bar_starts(score)[:-1] / score.ticks_per_quarter
    end = round(lines[-1] * back.ticks_per_quarter) + 1
    found = analysis.bar_starts(back, end_tick=end) / back.ticks_per_quarter
    away = np.abs(lines[:, None] - found[np.searchsorted(found, lines)[:, None] - [0, 1]])
    return len(lines), int((away.min(axis=1) < _STEP_QUARTERS + 1e-6).sum())


# Figures and their tables.


def _figures(name: str, trips: Sequence[RoundTrip]) -> dict[str, Any]:
    """Everything that is told of one corpus, as numbers."""
    notes, kept = (sum(getattr(trip, field) for trip in trips) for field in ("notes", "kept"))
    sums = {
        field: sum(getattr(trip, field) for trip in trips)
        for field in ("unison", "crowded", "shortened", "unexplained", "added", "cut")
    }
    lines, lines_kept = sum(t.bar_lines for t in trips), sum(t.bar_lines_kept for t in trips)
    strange = [trip.unknown_meters for trip in trips if trip.unknown_meters]
    return {
        "corpus": name,
        "pieces": len(trips),
        "notes": notes,
        "kept": kept,
        "kept_share": kept / notes,
        **sums,
        "ticks_per_quarter": sorted({trip.ticks_per_quarter for trip in trips}),
        "onset": _errors(trips, "onset_quarters"),
        "duration": _errors(trips, "duration_quarters"),
        "base_tokens_per_note": sum(trip.base_tokens for trip in trips) / kept,
        "tokens_per_note": sum(trip.tokens for trip in trips) / kept,
        "bar_lines": lines,
        "bar_lines_kept": lines_kept,
        "pieces_with_moved_bars": sum(t.bar_lines_kept < t.bar_lines for t in trips),
        "pieces_with_unknown_meters": len(strange),
        "unknown_meters": sorted({meter for meters in strange for meter in meters}),
    }


def _errors(trips: Sequence[RoundTrip], field: str) -> dict[str, float]:
    """Sizes of errors, sign left out, of all kept notes."""
    parts = [np.abs(getattr(trip, field)) for trip in trips]
    quarters = np.concatenate(parts)
    ticks = np.concatenate(
        [part * trip.ticks_per_quarter for part, trip in zip(parts, trips, strict=True)]
    )
    found = {"exact_share": float((ticks < 1e-6).mean())}
    for unit, errors in (("ticks", ticks), ("quarters", quarters)):
        median, high = np.percentile(errors, (50, 95))
        found[f"median_{unit}"], found[f"p95_{unit}"] = float(median), float(high)
        found[f"max_{unit}"] = float(errors.max())
    return found


def _note_row(found: dict[str, Any]) -> dict[str, str]:
    names = ("unison", "crowded", "shortened", "unexplained", "added")
    return {
        "corpus": found["corpus"],
        "pieces": f"{found['pieces']:,}",
        "notes": f"{found['notes']:,}",
        "kept": _percent(found["kept_share"]),
        **{name: f"{found[name]:,}" for name in names},
    }


def _onset_row(found: dict[str, Any]) -> dict[str, str]:
    return {"corpus": found["corpus"], "onset exact": _percent(found["onset"]["exact_share"])} | (
        _error_cells(found["onset"])
    )


def _duration_row(found: dict[str, Any]) -> dict[str, str]:
    share = _percent(found["duration"]["exact_share"])
    row = {"corpus": found["corpus"], "duration exact": share} | _error_cells(found["duration"])
    return row | {"cut": f"{found['cut']:,}"}


def _error_cells(errors: dict[str, float]) -> dict[str, str]:
    return {
        f"{name} {unit}": f"{errors[f'{key}_{unit}']:.{digits}f}"
        for unit, digits in (("ticks", 1), ("quarters", 4))
        for name, key in (("median", "median"), ("95 %", "p95"), ("most", "max"))
    }


def _token_row(found: dict[str, Any]) -> dict[str, str]:
    return {
        "corpus": found["corpus"],
        "ticks a quarter": ", ".join(map(str, found["ticks_per_quarter"])),
        "base tokens a note": f"{found['base_tokens_per_note']:.2f}",
        "tokens a note": f"{found['tokens_per_note']:.2f}",
        "bar lines": f"{found['bar_lines']:,}",
        "bar lines kept": _percent(found["bar_lines_kept"] / found["bar_lines"]),
        "pieces with moved bars": f"{found['pieces_with_moved_bars']:,}",
        "with unknown meters": f"{found['pieces_with_unknown_meters']:,}",
        "unknown": ", ".join(found["unknown_meters"]) or "none",
    }


def _percent(share: float) -> str:
    return f"{100 * share:.3f} %"


if __name__ == "__main__":
    sys.exit(main())
