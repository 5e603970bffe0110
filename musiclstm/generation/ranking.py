"""Assess a composition: its score, and in which respects it differs from usual continuations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from musiclstm.core.bar_features import BAR_FEATURES
from musiclstm.generation.composition import Composition
from musiclstm.generation.decoding.bar_score import scaled_bar_score
from musiclstm.generation.decoding.inference import InferenceModel
from musiclstm.generation.note_probabilities import TokenNote, notes_of_bar
from musiclstm.generation.pipeline import track_name
from musiclstm.tokens import PartName
from musiclstm.tokens.vocabulary import BAR, EOS

BarNotes: TypeAlias = frozenset[tuple[int, int, int]]  # (position, pitch, program)

MAX_REASONS = 3
COLLAPSED = "mostly silence, a single pitch, or one bar over and over"
MAX_EQUAL_BARS = 8
COLLAPSE_MIN_BARS = 4  # fewer bars may rest, or hold one note
RECENT_BARS = 8  # bars of the prompt that new bars are compared with, as in bar_features.c
RETURN_SIMILARITY = 0.8  # minimum Jaccard similarity of a bar and the one that it returns to
RETURN_MIN_NOTES = 3
REGULAR_SHARE = 0.75  # a part that plays in this share of the recent bars is expected to play


class Reason(NamedTuple):
    """A phrase, and when it is said.

    Attributes:
        statistic: Key of `Assessment.statistics`.
        sign: 1: said of values from the threshold up; -1: from the threshold down.
        threshold: Value from which it is said.
        scale: Unit in which the distance from the threshold is compared with other reasons.
        phrase: Text; `{}` stand for the details that belong to the statistic.
    """

    statistic: str
    sign: int
    threshold: float
    scale: float
    phrase: str


_MEAN_FEATURES: Final = {
    "rhythm": "bar_positions",
    "notes": "bar_pitch_classes",
    "top_voice": "top_line",
    "outside_range": "outside_range",
    "repetition": "repeat_new",
}

# Thresholds are quartiles of composed continuations, or stricter where the phrase would not be true
# there; scales are standard deviations. `benchmarks.quality.reasons` prints both.
REASONS: Final = (
    Reason("rhythm", 1, 0.93, 0.09, "keeps the rhythm of your bars"),
    Reason("rhythm", -1, 0.75, 0.09, "other rhythms than in your bars"),
    Reason("notes", 1, 0.69, 0.09, "keeps to the notes of your bars"),
    Reason("notes", -1, 0.5, 0.09, "other notes than in your bars"),
    Reason("density", 1, 0.33, 0.32, "busier than your bars"),
    Reason("density", -1, -0.25, 0.32, "sparser than your bars"),
    Reason("top_voice", 1, 3.5, 5.3, "higher top voice"),
    Reason("top_voice", -1, -3, 5.3, "lower top voice"),
    Reason("outside_range", 1, 0.18, 0.12, "leaves the range of your parts"),
    Reason("repetition", 1, 0.57, 0.22, "repeats its own bars"),
    Reason("repetition", -1, 0.2, 0.22, "hardly repeats itself"),
    Reason("returns", 1, 1, 1.8, "returns to {} in {}"),
    Reason("rests", 1, 0.3, 0.2, "{} rests {}"),
)


@dataclass(frozen=True)
class Assessment:
    """What is known about a composition without listening.

    Attributes:
        score: Mean score of its new bars, by which one of several candidates for a bar is chosen.
            Only scores with the same prompt, model and `Sampling.similarity` can be compared.
        reasons: At most three phrases, the most unusual property first; empty if all are usual.
        is_collapsed: Whether the new bars are degenerate, see `is_degenerate`; never for fewer
            than four.
        statistics: Values to which `REASONS` refers; nan where undefined. Means over the new bars
            of bar features (core/reference/bar_features.py): rhythm (`bar_positions`), notes
            (`bar_pitch_classes`), top_voice (`top_line`), outside_range, repetition (`repeat_new`).
            density: log2 of notes per bar relative to the last eight bars of the prompt. returns:
            most consecutive bars of the prompt that come back. rests: largest share of the new
            bars in which a part rests that plays in most of the last eight bars.
    """

    score: float
    reasons: tuple[str, ...]
    is_collapsed: bool
    statistics: Mapping[str, float] = field(repr=False, compare=False, default_factory=dict)

    @property
    def rank(self) -> tuple[bool, float]:
        """Key by which alternatives are sorted, the best first."""
        return self.is_collapsed, -self.score

    def __str__(self) -> str:
        """Return the reasons in one line, or that the piece has collapsed."""
        return COLLAPSED if self.is_collapsed else "; ".join(self.reasons)


def assess(piece: Composition, model: InferenceModel, *, first_bar: int = 1) -> Assessment:
    """Assess the new bars of a piece; arguments as in `Composer.assess`."""
    prompt = _prompt_bars(piece)
    new = [_notes(bar) for bar in piece.bar_tokens]
    means, score = _feature_means(piece, model)
    returns, returning = _returns(prompt, new, piece.prompt_bars - len(prompt) + first_bar)
    rests, resting = _rests(piece, prompt, new)
    density = float(np.log2(_density(new) / _density(prompt[-RECENT_BARS:])))
    values = means | {"density": density, "returns": returns, "rests": rests}
    details = {"returns": returning, "rests": resting}
    return Assessment(
        score=score,
        reasons=_reasons(values, details),
        is_collapsed=len(new) >= COLLAPSE_MIN_BARS and is_degenerate([_keys(bar) for bar in new]),
        statistics=values,
    )


def _reasons(
    values: Mapping[str, float], details: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """Return the phrases of the values that are farthest beyond their thresholds."""
    distances = [
        each.sign * (values[each.statistic] - each.threshold) / each.scale for each in REASONS
    ]
    said = [pair for pair in zip(distances, REASONS, strict=True) if pair[0] >= 0]
    said.sort(key=lambda pair: -pair[0])
    return tuple(
        reason.phrase.format(*details.get(reason.statistic, ())) for _, reason in said[:MAX_REASONS]
    )


def is_degenerate(bars: Sequence[BarNotes]) -> bool:
    """Return whether music has collapsed.

    It has fewer than two distinct pitches, or more than half of its bars are empty, or one bar
    occurs more than `MAX_EQUAL_BARS` times and is more than half of all.

    Args:
        bars: The notes of each bar.
    """
    full = [bar for bar in bars if bar]
    repeats = max(Counter(full).values(), default=0)
    pitches = {pitch for bar in full for _, pitch, _ in bar}
    is_loop = repeats > max(MAX_EQUAL_BARS, len(bars) / 2)
    return len(pitches) < 2 or 2 * len(full) < len(bars) or is_loop


def _feature_means(piece: Composition, model: InferenceModel) -> tuple[dict[str, float], float]:
    """Return statistics that are means of bar features, and the mean score."""
    context = model.bar_context(piece.prompt_ids, [])
    features = np.full((piece.bars, len(BAR_FEATURES)), np.nan)
    scores = []
    score = scaled_bar_score(model.bar_score, piece.sampling.similarity)
    for row, bar in zip(features, piece.generated_bars, strict=True):
        found = context.features(bar.tokens, bar.log_probs)
        row[:] = found
        scores.append(context.score(score, found))
        context.add(bar.tokens)
    means = {
        name: _mean(features[:, BAR_FEATURES.index(feature)])
        for name, feature in _MEAN_FEATURES.items()
    }
    return means, float(np.mean(scores)) if scores else 0.0


def _prompt_bars(piece: Composition) -> list[list[TokenNote]]:
    """Return the notes of the bars of the prompt that the network has read, at least none."""
    ids = np.array(piece.prompt_ids)
    ids = ids[1 + max(np.flatnonzero(ids == EOS).tolist(), default=-1) :]  # without references
    starts = np.flatnonzero(ids == BAR)
    return [_notes(bar) for bar in np.split(ids, starts)[1:]]


def _notes(ids: Sequence[int] | np.ndarray) -> list[TokenNote]:
    return notes_of_bar([int(token) for token in ids], [0.0] * len(ids))


def _keys(bar: Sequence[TokenNote]) -> BarNotes:
    return frozenset((note.position, note.pitch, note.part.program) for note in bar)


def _returns(
    prompt: Sequence[Sequence[TokenNote]], new: Sequence[Sequence[TokenNote]], first: int
) -> tuple[float, tuple[str, ...]]:
    """Return the length of the longest passage of the prompt that comes back, and its bars.

    A bar that resembles the one before it does not count. `first` is the number of the first bar.
    """
    bars = [_keys(bar) for bar in (*prompt, *new)]
    length: dict[tuple[int, int], int] = {}
    for at, old in product(range(len(prompt), len(bars)), range(max(0, 1 - first), len(prompt))):
        if _is_return(bars[old], bars[at]) and not (at and _is_return(bars[at - 1], bars[at])):
            length[at, old] = length.get((at - 1, old - 1), 0) + 1
    if not length:
        return 0.0, ()
    at, old = max(length, key=lambda pair: (length[pair], -pair[0], -pair[1]))
    count = length[at, old]
    return float(count), (_bar_range(first + old, count), _bar_range(first + at, count))


def _is_return(old: BarNotes, new: BarNotes) -> bool:
    common, either = len(old & new), len(old | new)
    return len(new) >= RETURN_MIN_NOTES and common >= RETURN_SIMILARITY * either


def _bar_range(last: int, count: int) -> str:
    return f"bar {last}" if count == 1 else f"bars {last - count + 1}-{last}"


def _rests(
    piece: Composition, prompt: Sequence[Sequence[TokenNote]], new: Sequence[Sequence[TokenNote]]
) -> tuple[float, tuple[str, ...]]:
    """Return the largest share of new bars in which a regular part of the prompt rests."""
    recent = [_parts(bar) for bar in prompt[-RECENT_BARS:]]
    playing = Counter(part for bar in recent for part in bar)
    rests = {
        part: sum(part not in _parts(bar) for bar in new)
        for part, count in playing.items()
        if count >= REGULAR_SHARE * len(recent)
    }
    if not rests or not new:
        return 0.0, ()
    part = min(rests, key=lambda part: (-rests[part], part))
    program = next(iter(piece.prompt_tracks(part).values()), part.program)
    bars = "throughout" if rests[part] == len(new) else f"in {rests[part]} of {len(new)} bars"
    return rests[part] / len(new), (track_name(program, part), bars)


def _parts(bar: Sequence[TokenNote]) -> set[PartName]:
    return {note.part for note in bar}


def _density(bars: Sequence[Sequence[TokenNote]]) -> float:
    """Return the notes per bar plus a half; nan without bars."""
    return sum(map(len, bars)) / len(bars) + 0.5 if bars else float("nan")


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
