"""`python -m benchmarks.quality.tokenizer_roundtrip`: measure the loss of tokenization.

Each piece is encoded and decoded, and its notes are matched with the decoded ones, track by track.
Times are compared in ticks of the file and in quarter notes. No model is used.
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

from benchmarks.common.held_out_pieces import read_split
from benchmarks.common.note_matching import (
    Floats,
    ScoreNotes,
    match_notes,
    nearest_notes,
    notes_of,
)
from benchmarks.common.report import Report, parser, run, table
from musiclstm.cli import run_command
from musiclstm.midi import analysis
from musiclstm.tokens import POSITIONS_PER_BEAT, MusicTokenizer, supports_time_signature

LONGEST_BEATS = 32  # longest duration token, in beats of the time signature
ALL = "all"
_STEP_QUARTERS = 1 / POSITIONS_PER_BEAT  # step of the coarsest grid; half of it in 6/8


@dataclass(frozen=True)
class RoundTrip:
    """Result of encoding and decoding one piece.

    Attributes:
        notes: Notes of the source.
        kept: Notes that are decoded on the same track with the same pitch.
        unison: Lost notes with another note of their track and pitch at the same tick.
        crowded: Lost notes with another note of their track and pitch within a grid step.
        shortened: Notes of `unison` and `crowded` that ended more than a grid step after the kept
            note.
        onset_quarters: Onset error of each kept note, (kept,).
        duration_quarters: Duration error of each kept note, (kept,).
        cut: Kept notes longer than the longest duration token.
        ticks_per_quarter: Time resolution of the source.
        added: Decoded notes that the source does not have.
        tokens: Number of tokens.
        parts: Parts with notes; tracks beyond the limits of a program are merged.
        shared: Parts whose program another part of the piece also has.
        unknown_meters: Time signatures without a token.
        bar_lines: Bar lines of the source.
        bar_lines_kept: Bar lines of the source that are bar lines after decoding.
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
    tokens: int
    parts: int
    shared: int
    unknown_meters: tuple[str, ...]
    bar_lines: int
    bar_lines_kept: int

    @property
    def unexplained(self) -> int:
        """Lost notes that are neither `unison` nor `crowded`."""
        return self.notes - self.kept - self.unison - self.crowded


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error."""
    options = parser("benchmarks.quality.tokenizer_roundtrip", "Measure the loss of tokenization.")
    options.add_argument(
        "--pieces", type=int, metavar="N", help="at most N pieces of each corpus, evenly spaced"
    )
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Measure every piece of the split; report each corpus and the total."""
    tokenizer = MusicTokenizer()
    trips: dict[str, list[RoundTrip]] = defaultdict(list)
    for source, score in read_split(options.data, options.split, at_most=options.pieces):
        trips[source.corpus].append(round_trip(score, tokenizer))
    if len(trips) > 1:
        trips[ALL] = [trip for own in trips.values() for trip in own]
    figures = [_figures(name, own) for name, own in trips.items()]
    text = "\n\n".join(
        table([rows(each) for each in figures])
        for rows in (_note_row, _onset_row, _duration_row, _token_row)
    )
    facts = {"split": options.split, "fingerprint": tokenizer.fingerprint, "corpora": figures}
    return Report(text, facts)


def round_trip(score: ScoreTick, tokenizer: MusicTokenizer) -> RoundTrip:
    """Encode and decode a score and compare the notes.

    Raises:
        ScoreError: The score has no notes.
    """
    order = tokenizer.part_order(score)
    parts = tokenizer.parts(score, order)
    ids = tokenizer.encode(score, order=order)
    back = tokenizer.decode(ids)
    before = notes_of(score, _groups(order, len(score.tracks)))
    after = notes_of(back, [parts.index(part) for part in tokenizer.parts_in(ids)])
    match = match_notes(before, after)
    kept = match >= 0
    lost, matched = before.select(~kept), before.select(kept)
    durations = after.duration_quarters[match[kept]]
    lines, found = _bar_lines(score, back)
    programs = [part.program for part in parts]
    return RoundTrip(
        notes=len(before),
        kept=int(kept.sum()),
        **_count_reasons(lost, replace(matched, duration_quarters=durations)),
        onset_quarters=after.onset_quarters[match[kept]] - matched.onset_quarters,
        duration_quarters=durations - matched.duration_quarters,
        cut=int((before.duration_quarters > _longest_durations(before, back))[kept].sum()),
        ticks_per_quarter=score.ticks_per_quarter,
        added=len(after) - int(kept.sum()),
        tokens=len(ids),
        parts=len(parts),
        shared=sum(programs.count(program) > 1 for program in programs),
        unknown_meters=_unknown_meters(score),
        bar_lines=lines,
        bar_lines_kept=found,
    )


def _groups(order: Sequence[Sequence[int]], tracks: int) -> list[int]:
    """Return the part of each track; all tracks without encoded notes share one more part."""
    groups = [len(order)] * tracks
    for rank, members in enumerate(order):
        for track in members:
            groups[track] = rank
    return groups


def _count_reasons(lost: ScoreNotes, kept: ScoreNotes) -> dict[str, int]:
    """Count the lost notes whose track and pitch has a kept note within a grid step.

    `lost` has the durations of the source, `kept` the decoded ones at the onsets of the source.
    """
    index, distance = nearest_notes(lost, kept)
    near = distance < _STEP_QUARTERS + 1e-6
    unison = distance < 1e-6
    missing = lost.duration_quarters[near] - kept.duration_quarters[index[near]]
    return {
        "unison": int(unison.sum()),
        "crowded": int((near & ~unison).sum()),
        "shortened": int((missing > _STEP_QUARTERS + 1e-6).sum()),
    }


def _longest_durations(notes: ScoreNotes, back: ScoreTick) -> Floats:
    """Return the longest duration with a token at the onset of each note, in quarters."""
    meters = sorted(back.time_signatures, key=lambda meter: meter.time)
    starts = np.array([meter.time for meter in meters]) / back.ticks_per_quarter
    beats = np.array([4 / meter.denominator for meter in meters])
    current = np.searchsorted(starts, notes.onset_quarters, side="right") - 1
    return LONGEST_BEATS * beats[np.maximum(current, 0)]


def _unknown_meters(score: ScoreTick) -> tuple[str, ...]:
    meters = {(meter.numerator, meter.denominator) for meter in score.time_signatures}
    return tuple(f"{n}/{d}" for n, d in sorted(meters) if not supports_time_signature(n, d))


def _bar_lines(score: ScoreTick, back: ScoreTick) -> tuple[int, int]:
    """Count the bar lines of the source up to its last note, and those kept within a grid step."""
    lines = analysis.bar_starts(score)[:-1] / score.ticks_per_quarter
    end = round(lines[-1] * back.ticks_per_quarter) + 1
    found = analysis.bar_starts(back, end_tick=end) / back.ticks_per_quarter
    distance = np.abs(lines[:, None] - found[np.searchsorted(found, lines)[:, None] - [0, 1]])
    return len(lines), int((distance.min(axis=1) < _STEP_QUARTERS + 1e-6).sum())


# Figures and tables


def _figures(name: str, trips: Sequence[RoundTrip]) -> dict[str, Any]:
    """Return all figures of one corpus."""
    notes, kept = (sum(getattr(trip, field) for trip in trips) for field in ("notes", "kept"))
    sums = {
        field: sum(getattr(trip, field) for trip in trips)
        for field in ("unison", "crowded", "shortened", "unexplained", "added", "cut")
    }
    lines, lines_kept = sum(t.bar_lines for t in trips), sum(t.bar_lines_kept for t in trips)
    unknown = [trip.unknown_meters for trip in trips if trip.unknown_meters]
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
        "tokens_per_note": sum(trip.tokens for trip in trips) / kept,
        "parts_per_piece": sum(trip.parts for trip in trips) / len(trips),
        "shared_program_share": sum(t.shared for t in trips) / sum(t.parts for t in trips),
        "bar_lines": lines,
        "bar_lines_kept": lines_kept,
        "pieces_with_moved_bars": sum(t.bar_lines_kept < t.bar_lines for t in trips),
        "pieces_with_unknown_meters": len(unknown),
        "unknown_meters": sorted({meter for meters in unknown for meter in meters}),
    }


def _errors(trips: Sequence[RoundTrip], field: str) -> dict[str, float]:
    """Return statistics of the absolute errors of all kept notes."""
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
        "tokens a note": f"{found['tokens_per_note']:.2f}",
        "parts a piece": f"{found['parts_per_piece']:.1f}",
        "share a program": f"{100 * found['shared_program_share']:.0f} %",
        "bar lines": f"{found['bar_lines']:,}",
        "bar lines kept": _percent(found["bar_lines_kept"] / found["bar_lines"]),
        "pieces with moved bars": f"{found['pieces_with_moved_bars']:,}",
        "with unknown meters": f"{found['pieces_with_unknown_meters']:,}",
        "unknown": ", ".join(found["unknown_meters"]) or "none",
    }


def _percent(share: float) -> str:
    return f"{100 * share:.3f} %"


if __name__ == "__main__":
    sys.exit(run_command(main))
