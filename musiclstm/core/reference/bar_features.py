"""Features of a bar in numpy: what bar_features.c computes.

A bar is compared with the last eight bars of the prompt, for repetitions with the last 32 bars.
Similarity of two histograms is their intersection, the sum of min(a, b) after normalization (Swain
and Ballard, "Color indexing", IJCV 7, 1991); of two bars the Jaccard similarity of their notes.
Both are 0 to 1. A feature is nan where it is undefined: a similarity with an empty histogram.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np

from musiclstm.core.bar_features import BAR_FEATURES
from musiclstm.model.step_features import TokenKind, TokenTable

PROMPT_BARS, NEW_BARS, RECENT_BARS = 8, 16, 32
MOST_NOTES, LONGEST_BAR = 512, 1024
# Half octaves, centred on note values from 1/16 quarter up, in 1/48 quarters.
TIME_EDGES = np.ceil([48 * 2 ** (k / 2 + 0.25) / 16 for k in range(-1, 17)])
COUNT_EDGES = np.array([1, 3, 5, 7, 9, 12, 16, 20, 26, 34, 46, 64])
_DRUMS = 128


@dataclass(frozen=True)
class Bar:
    """Notes of a bar: rows of onset, pitch, program (128: drums), track, duration, (notes, 5).

    Onsets, durations and `length` are in 1/48 quarters.
    """

    length: int
    notes: np.ndarray = field(repr=False)

    @property
    def pitched(self) -> np.ndarray:
        """Rows of `notes` without drums."""
        return self.notes[self.notes[:, 2] != _DRUMS]

    @cached_property
    def keys(self) -> frozenset[tuple[int, ...]]:
        """Distinct (onset in 1/12 quarters, pitch, program)."""
        return frozenset((o // 4, pitch, program) for o, pitch, program, *_ in self.notes.tolist())

    @property
    def parts(self) -> Counter[tuple[int, int]]:
        """Notes by (program, track)."""
        return Counter((program, track) for _, _, program, track, _ in self.notes.tolist())

    @property
    def tops(self) -> list[int]:
        """Highest pitch that begins in each half of the bar, without empty halves."""
        rows = self.pitched
        second = 2 * rows[:, 0] >= self.length
        return [int(half.max()) for half in (rows[~second, 1], rows[second, 1]) if len(half)]

    @cached_property
    def clashes(self) -> tuple[int, int]:
        """At each onset: pairs of sounding pitches a semitone apart in any octave; all pairs."""
        rows, clashes, pairs = self.pitched, 0, 0
        for onset in np.unique(rows[:, 0]):
            sounding = (rows[:, 0] <= onset) & (onset < rows[:, 0] + rows[:, 4])
            pitches = np.unique(rows[sounding, 1])
            intervals = np.subtract.outer(pitches, pitches)[np.triu_indices(len(pitches), 1)] % 12
            clashes += int(np.isin(intervals, (1, 11)).sum())
            pairs += len(intervals)
        return clashes, pairs


def read_bar(table: TokenTable, ids: Sequence[int]) -> Bar:
    """Return the notes of a bar; tokens that break the grammar are skipped."""
    length, unit = 192, 4
    program = position = pitch = None
    track, blocks = 0, Counter[int]()
    notes = []
    for token in ids:
        kind, value = table.kind[token], table.value[token]
        if kind == TokenKind.TIME_SIGNATURE:
            length, unit = value, table.unit[token]
        elif kind == TokenKind.PROGRAM:
            program, position, pitch = _DRUMS if value < 0 else value, None, None
            track = min(blocks[value], 7)
            blocks[value] += 1
        elif kind == TokenKind.POSITION:
            position, pitch = value, None
        elif kind in (TokenKind.PITCH, TokenKind.DRUM):
            fits = program is not None and (kind == TokenKind.DRUM) == (program == _DRUMS)
            on_time = position is not None and position * unit < LONGEST_BAR
            pitch = value if fits and on_time else None
        elif kind == TokenKind.DURATION and pitch is not None and position is not None:
            notes.append((position * unit, pitch, program, track, value * unit))
            pitch = None
    return Bar(length, np.array(notes[:MOST_NOTES], np.int64).reshape(-1, 5))


class ReferenceContext:
    """A prompt and the bars after it."""

    def __init__(self, table: TokenTable, prompt: Sequence[int]) -> None:
        """Read the token ids of a prompt."""
        self._table = table
        starts = [i for i, token in enumerate(prompt) if table.kind[token] == TokenKind.BAR]
        pairs = pairwise([*starts, len(prompt)])
        self._all = [read_bar(table, prompt[begin:end]) for begin, end in pairs]
        self._prompt, self._new = self._all[-PROMPT_BARS:], list[Bar]()

    def add(self, ids: Sequence[int]) -> None:
        """Add the token ids of a new bar."""
        bar = read_bar(self._table, ids)
        self._all.append(bar)
        self._new.append(bar)

    def features(self, ids: Sequence[int], log_probs: Sequence[float]) -> np.ndarray:
        """Return `BAR_FEATURES`, (features,)."""
        bar = read_bar(self._table, ids)
        found = {
            **self._sections(bar),
            **self._parts(bar),
            **self._repeats(bar),
            **self._melody(bar),
        }
        prompt_clashes = np.sum([each.clashes for each in self._prompt] or [(0, 0)], axis=0)
        clashes, pairs = bar.clashes
        if pairs > 3:  # share of clashing pairs, minus that of the prompt
            found["clashes"] = clashes / pairs - prompt_clashes[0] / max(1, prompt_clashes[1])
        if len(
            bar.pitched
        ):  # longest note in bars, at the end of phrases of four bars or elsewhere
            ends_phrase = len(self._new) % 4 == 3
            name = "phrase_end_note" if ends_phrase else "longest_note"
            found[name] = bar.pitched[:, 4].max() / bar.length
        if len(bar.notes):  # log-probability of the bar per note
            found["log_prob"] = sum(log_probs) / len(bar.notes)
        return np.array([found.get(name, np.nan) for name in BAR_FEATURES])

    def _sections(self, bar: Bar) -> dict[str, float]:
        """Compare the last 16 new bars, this one included, and this bar with the prompt."""
        prompt, new = self._prompt, [*self._new, bar][-NEW_BARS:]
        names = ("pitch_classes", "pitches", "durations", "onset_intervals", "notes_per_bar")
        pairs = zip((*names, "positions"), _histograms(new), _histograms(prompt), strict=True)
        found = {name: _similarity(a, b) for name, a, b in pairs}
        own, whole = _histograms([bar]), _histograms(prompt)
        found["bar_pitch_classes"] = _similarity(own[0], whole[0])
        found["bar_pitches"] = _similarity(own[1], whole[1])
        rhythms = [_similarity(own[5], _histograms([each])[5]) for each in prompt]
        found["bar_positions"] = _highest(rhythms)  # with the most similar bar of the prompt
        if prompt:  # octaves of notes per bar
            mean = _mean_notes(prompt)
            found["density"] = _log2_ratio(_mean_notes(new), mean)
            found["bar_density"] = _log2_ratio(len(bar.notes), mean)
        return found

    def _parts(self, bar: Bar) -> dict[str, float]:
        """Compare the parts, tracks of a program, with those of the prompt."""
        counts = [each.parts for each in self._prompt]
        parts = set().union(*counts)
        own, bars = bar.parts, max(1, len(counts))
        if not parts:
            return {}
        shares = {part: sum(part in each for each in counts) / bars for part in parts}
        means = {part: sum(each[part] for each in counts) / bars for part in parts}
        densities = [abs(_log2_ratio(own[part], mean)) for part, mean in means.items()]
        likely = [
            np.log(np.clip(share if part in own else 1 - share, 0.05, 0.95))
            for part, share in shares.items()
        ]
        found = {
            "part_density": float(np.mean(densities)),  # absolute octaves
            "part_activity": float(np.mean(likely)),  # log-likelihood of who plays and who rests
        }
        recent = [own, *(each.parts for each in self._all[-1:])]
        playing = [part for part, share in shares.items() if share >= 0.5]
        if playing:  # of the parts of most bars, those that rest now and in the previous bar
            found["silent_parts"] = float(
                np.mean([not any(part in each for each in recent) for part in playing])
            )
        ranges = {
            part: (min(pitches), max(pitches))
            for part in parts
            if (pitches := _pitches_of(self._prompt, part))
        }
        outside = [
            not ranges[program, track][0] <= pitch <= ranges[program, track][1]
            for _, pitch, program, track, _ in bar.pitched.tolist()
            if (program, track) in ranges
        ]
        if outside:  # share of notes outside the range of their part in the prompt
            found["outside_range"] = float(np.mean(outside))
        return found

    def _repeats(self, bar: Bar) -> dict[str, float]:
        """Compare the notes with bars 1, 2, 4 and 8 before, with recent ones, and with new ones."""
        if not bar.keys:
            return {}
        recent = self._all[-RECENT_BARS:]
        found = {
            f"repeat_{distance}": _jaccard(bar, self._all[-distance])
            for distance in (1, 2, 4, 8)
            if distance <= len(self._all)
        }
        new = recent[max(0, len(recent) - len(self._new)) :]
        found["repeat"] = _highest([_jaccard(bar, each) for each in recent if each.keys])
        found["repeat_new"] = _highest([_jaccard(bar, each) for each in new if each.keys])
        return found

    def _melody(self, bar: Bar) -> dict[str, float]:
        """Compare the highest pitches: semitones from the prompt's median, from the last one."""
        found: dict[str, float] = {}
        before = [top for each in self._prompt for top in each.tops]
        previous = self._all[-1].tops if self._all else []
        if bar.tops and before:
            found["top_line"] = float(np.mean(bar.tops) - np.median(before))
        if bar.tops and previous:
            found["top_step"] = float(abs(bar.tops[0] - previous[-1]))
        return found


def bar_score(model: np.ndarray, features: np.ndarray) -> float:
    """Return the sum over defined features of weight * x plus the log odds of the bin of x."""
    score = 0.0
    for value, weight, edges, log_odds in zip(
        features, model["weights"], model["edges"], model["log_odds"], strict=True
    ):
        if not np.isnan(value):
            score += weight * value + log_odds[np.searchsorted(edges, value, "right")]
    return float(score)


def _histograms(bars: Sequence[Bar]) -> list[np.ndarray]:
    """Count pitch classes, pitches, durations, onset intervals, notes per bar, positions."""
    pitched = np.concatenate([np.zeros((0, 5), int), *(bar.pitched for bar in bars)])
    starts = np.cumsum([0, *(bar.length for bar in bars)])[:-1]
    onsets = [np.unique(bar.notes[:, 0]) + at for bar, at in zip(bars, starts, strict=True)]
    intervals = np.diff(np.concatenate([np.zeros(0, int), *onsets]))
    notes = [len(bar.notes) for bar in bars]
    places = [bar.notes[:, 0] // 12 for bar in bars]
    return [
        np.bincount(pitched[:, 1] % 12, minlength=12),
        np.bincount(pitched[:, 1], minlength=128),
        _binned(pitched[:, 4], TIME_EDGES),
        _binned(intervals, TIME_EDGES),
        _binned(np.array(notes, int), COUNT_EDGES),
        np.bincount(np.minimum(np.concatenate([np.zeros(0, int), *places]), 63), minlength=64),
    ]


def _binned(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.bincount(np.searchsorted(edges, values, "right"), minlength=len(edges) + 1)


def _similarity(a: np.ndarray, b: np.ndarray) -> float:
    if not a.any() or not b.any():
        return float("nan")
    return float(np.minimum(a / a.sum(), b / b.sum()).sum())


def _jaccard(a: Bar, b: Bar) -> float:
    return len(a.keys & b.keys) / len(a.keys | b.keys)


def _pitches_of(bars: Sequence[Bar], part: tuple[int, int]) -> list[int]:
    rows = np.concatenate([bar.pitched for bar in bars])
    return rows[(rows[:, 2] == part[0]) & (rows[:, 3] == part[1]), 1].tolist()


def _mean_notes(bars: Sequence[Bar]) -> float:
    return sum(len(bar.notes) for bar in bars) / len(bars)


def _log2_ratio(a: float, b: float) -> float:
    return float(np.log2((a + 0.5) / (b + 0.5)))


def _highest(values: Sequence[float]) -> float:
    known = [value for value in values if value == value]
    return max(known, default=float("nan"))
