"""Formulas that compare music with music: how alike, how varied, how stuck.

Each docstring gives the formula and where it is from. MuSpy has four of them (scale consistency,
polyphony, pitch classes, the groove of neighbouring bars): on 200 passages made by chance its
version 0.5.0 and ours differ by no more than rounding. The overlap of densities was held against
scipy 1.17 on 20 pairs of samples and differs by less than 0.0001; their divergence by less than
2 % below 6 nats, and falls behind by up to 9 % above, for the far tails that are left out. Neither
is a requirement: MuSpy brings twenty packages, music21 among them, for a few lines. Knows notes and
bars: neither tokens, nor models, nor files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick

from musiclstm import analysis

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

STEPS_PER_QUARTER = 48  # every position that the tokens can say is a whole number of them
NOTES_A_SEED_BAR = 2  # a seed with fewer says too little to go on from
LEAST_CLASSES = 3  # a take with fewer pitch classes is no melody any more
_BIN = STEPS_PER_QUARTER // 12  # intervals and lengths are counted in twelfths of a quarter …
_LONGEST = 4 * 12  # … up to four quarters; the last bin is for all that is longer
_FULLEST = 16  # notes at once; the last bin is for all chords beyond
# Half octaves: to be two notes apart means less in a bar of sixty than in a bar of three.
_DENSITIES = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128])
_MAJOR, _MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)


@dataclass(frozen=True)
class Passage:
    """Some bars of music as numbers, times in `STEPS_PER_QUARTER`.

    Attributes:
        onset: Where each note begins, rising, (notes,).
        duration: How long it sounds within the passage, (notes,).
        pitch: 0 to 127, (notes,).
        velocity: 1 to 127, (notes,).
        program: 0 to 127, and -1 for drums, (notes,).
        lines: Where the bars begin, and where the last one ends, (bars + 1,).
    """

    onset: Ints
    duration: Ints
    pitch: Ints
    velocity: Ints
    program: Ints
    lines: Ints

    @property
    def pitched(self) -> NDArray[np.bool_]:
        """Which notes are no drums."""
        return self.program >= 0

    @property
    def bar_of(self) -> Ints:
        """In which bar each note begins, from 0."""
        return np.searchsorted(self.lines, self.onset, side="right") - 1


def passage(score: ScoreTick, lines: NDArray[np.int64]) -> Passage:
    """The notes that begin between the first and the last of these bar lines (in ticks)."""
    scale = STEPS_PER_QUARTER / score.ticks_per_quarter
    columns = [_columns(track, lines) for track in score.tracks]
    table = np.concatenate([np.zeros((5, 0), np.int64), *columns], axis=1)
    table = table[:, np.lexsort((table[2], table[0]))]
    onset, end = (np.rint(times * scale).astype(np.int64) for times in (table[0], table[1]))
    grid = np.rint(np.asarray(lines) * scale).astype(np.int64)
    duration = np.maximum(np.minimum(end, grid[-1]) - onset, 1)
    return Passage(onset, duration, table[2], table[3], table[4], grid)


def _columns(track: Any, lines: NDArray[np.int64]) -> Ints:
    """Onset, end, pitch, velocity and program of the notes within, (5, notes)."""
    notes = {name: column.astype(np.int64) for name, column in track.notes.numpy().items()}
    onset = notes["time"]
    program = np.full(len(onset), -1 if track.is_drum else track.program)
    table = np.stack([onset, onset + notes["duration"], notes["pitch"], notes["velocity"], program])
    return table[:, (onset >= lines[0]) & (onset < lines[-1])]


def can_go_on(score: ScoreTick, *, seed_bars: int, bars: int) -> bool:
    """Whether a piece serves as seed, judged by its own first bars, whatever becomes of it.

    It is long enough to have gone on by itself (`seed_bars` + `bars`), and its seed has two notes a
    bar or more, among them two different pitches that are no drums.
    """
    lines = analysis.bar_starts(score)
    if len(lines) <= seed_bars + bars:
        return False
    seed = passage(score, lines[: seed_bars + 1])
    many = len(seed.onset) >= NOTES_A_SEED_BAR * seed_bars
    return many and len(np.unique(seed.pitch[seed.pitched])) >= 2


# Histograms ---------------------------------------------------------------------------------------


def pitch_classes(music: Passage) -> Floats:
    """Notes by pitch class, C to B, drums left out; (12,). Yang and Lerch 2018: PCH."""
    return _counted(music.pitch[music.pitched] % 12, 12)


def inter_onset_intervals(music: Passage) -> Floats:
    """Steps from one onset to the next, a chord counted once; (49,), twelfths of a quarter.

    Yang and Lerch 2018 take the mean (IOI); the histogram says more and is compared alike.
    """
    onsets = np.unique(music.onset)
    return _lengths(onsets[1:] - onsets[:-1])


def durations(music: Passage) -> Floats:
    """Notes by length, drums left out; (49,), twelfths of a quarter. Yang and Lerch 2018: NLH."""
    return _lengths(music.duration[music.pitched])


def velocities(music: Passage) -> Floats:
    """Notes by loudness; (16,), eight MIDI velocities a bin."""
    return _counted(music.velocity // 8, 16)


def densities(music: Passage) -> Floats:
    """Bars by how many notes begin in them; (15,), none, then bins of half an octave.

    Yang and Lerch 2018: note count per bar.
    """
    notes = np.bincount(music.bar_of, minlength=len(music.lines) - 1)
    return _counted(np.searchsorted(_DENSITIES, notes, side="right"), len(_DENSITIES) + 1)


def polyphony(music: Passage) -> Floats:
    """Time by how many notes sound, silence and drums left out; (16,), 1 to 16 and more.

    Its mean is MuSpy's `polyphony`, but that a pitch which two instruments play counts twice.
    """
    own = music.pitched
    sounding = np.zeros(int(music.lines[-1] - music.lines[0]) + 2, np.int64)
    start = music.onset[own] - music.lines[0]
    np.add.at(sounding, start, 1)
    np.add.at(sounding, start + music.duration[own], -1)
    sounding = sounding.cumsum()
    return _counted(np.minimum(sounding[sounding > 0], _FULLEST) - 1, _FULLEST)


FEATURES: dict[str, Callable[[Passage], Floats]] = {
    "pitch class": pitch_classes,
    "inter-onset interval": inter_onset_intervals,
    "duration": durations,
    "velocity": velocities,
    "density": densities,
    "polyphony": polyphony,
}


def _counted(values: Ints, bins: int) -> Floats:
    return np.bincount(values, minlength=bins).astype(np.float64)


def _lengths(steps: Ints) -> Floats:
    twelfths = (2 * steps + _BIN) // (2 * _BIN)
    return _counted(np.minimum(twelfths, _LONGEST), _LONGEST + 1)


# Two histograms -----------------------------------------------------------------------------------


def shares(counts: Floats) -> Floats:
    """The histogram with sum 1; zeros where nothing was counted."""
    return counts / (counts.sum() or 1.0)


def overlapped_area(a: Floats, b: Floats) -> float:
    """Sum of min(a, b) over the shares: 1 for equal histograms, 0 for strangers.

    Histogram intersection, Swain and Ballard 1991; the overlapped area of Yang and Lerch 2018 for
    bins in place of densities. Nothing is like an empty histogram.
    """
    return analysis.overlap(shares(a), shares(b))


def kl_nats(true: Floats, found: Floats) -> float:
    """Kullback-Leibler divergence, sum of p ln(p / q), p of the true and q of the found counts.

    Half a count is added to every bin (Krichevsky and Trofimov 1981), so that it stays finite.
    """
    p, q = shares(true + 0.5), shares(found + 0.5)
    return float((p * np.log(p / q)).sum())


# Two sets of pieces -------------------------------------------------------------------------------


def distances(a: Floats, b: Floats) -> Floats:
    """Euclidean distances of all rows of one to all rows of the other, (rows of a, rows of b)."""
    return np.sqrt(((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2))


def set_likeness(true: Floats, found: Floats, piece_of: Ints) -> tuple[float, float] | None:
    """Whether found pieces differ from true ones as true ones differ from each other.

    Yang and Lerch, "On the evaluation of generative models in music", Neural Computing and
    Applications 32 (2020; online 2018): the Euclidean distances within the true set (intra-set) and
    from every found to every true piece (inter-set), each smoothed to a density with a Gaussian
    kernel; then the overlapped area of the two densities, and KL(intra-set || inter-set). Three
    things differ from their `mgeval`: both densities are read at the same 1,000 points (there each
    has its own, so that unlike values are compared), these reach three bandwidths beyond the data,
    and a continuation is not compared with its own piece.

    Args:
        true: Shares of every true piece, (pieces, bins).
        found: Shares of every found one, (takes, bins).
        piece_of: Which true piece each found one goes with, (takes,).

    Returns:
        Overlapped area, 0 to 1, and divergence in nats. None for fewer than three pieces, or two
        found ones: they have no density.
    """
    within = distances(true, true)[np.triu_indices(len(true), 1)]
    between = distances(found, true)[piece_of[:, None] != np.arange(len(true))[None, :]]
    if len(true) < 3 or len(found) < 2:
        return None
    return _density_likeness(within, between)


def _density_likeness(true: Floats, found: Floats) -> tuple[float, float]:
    both = np.concatenate([true, found])
    span = float(np.ptp(both))
    if span < 1e-9:
        return 1.0, 0.0  # all distances are one and the same
    widths = [max(_scott_bandwidth(values), span / 100) for values in (true, found)]
    reach = 3 * max(widths)
    points = np.linspace(both.min() - reach, both.max() + reach, 1_000)
    p, q = (shares(_density(v, w, points)) for v, w in zip((true, found), widths, strict=True))
    p, q = (shares(each + 1e-12) for each in (p, q))  # finite where one of them is nothing
    return float(np.minimum(p, q).sum()), float((p * np.log(p / q)).sum())


def _scott_bandwidth(values: Floats) -> float:
    """Standard deviation times n ** (-1/5): Scott 1992, and what scipy's `gaussian_kde` takes."""
    return float(np.std(values, ddof=1)) * len(values) ** (-1 / 5) if len(values) > 1 else 0.0


def _density(values: Floats, width: float, points: Floats) -> Floats:
    """A Gaussian kernel density at the points, up to a factor."""
    found = np.zeros(len(points))
    for part in np.array_split(values, -(-len(values) // 1_000)):  # in parts: no gigabyte at once
        found += np.exp(-0.5 * ((points[:, None] - part[None, :]) / width) ** 2).sum(axis=1)
    return found


# One passage --------------------------------------------------------------------------------------


def scale_consistency(music: Passage) -> float:
    """Largest share of notes in one scale, over all major and natural minor ones; nan without.

    Mogren 2016 (C-RNN-GAN), as MuSpy's `scale_consistency`; notes are counted, drums left out.
    """
    classes = shares(pitch_classes(music))
    if not classes.any():
        return float("nan")
    scales = [(np.array(steps) + root) % 12 for steps in (_MAJOR, _MINOR) for root in range(12)]
    return float(max(classes[scale].sum() for scale in scales))


def groove_similarity(music: Passage) -> float:
    """Mean over all pairs of bars of 1 - (positions at which only one has an onset) / positions.

    Wu and Yang, "The Jazz Transformer on the front line", ISMIR 2020 (GS). Positions are
    twelfths of a quarter; only bars of one length are compared, nan where there are no two such.
    For two bars it is MuSpy's `groove_consistency`, which otherwise takes only neighbours.
    """
    lengths = np.diff(music.lines)
    bar = music.bar_of
    onsets = [
        frozenset(((music.onset[bar == i] - music.lines[i]) // _BIN).tolist())
        for i in range(len(lengths))
    ]
    found = [
        1 - len(onsets[i] ^ onsets[j]) / (lengths[i] / _BIN)
        for i, j in combinations(range(len(lengths)), 2)
        if lengths[i] == lengths[j]
    ]
    return float(np.mean(found)) if found else float("nan")


def bar_contents(music: Passage) -> list[frozenset[tuple[int, int, int]]]:
    """For every bar its (position, pitch, program) triples: what makes two bars equal here."""
    bars: list[set[tuple[int, int, int]]] = [set() for _ in music.lines[1:]]
    position = music.onset - music.lines[music.bar_of]
    rows = zip(music.bar_of, position, music.pitch, music.program, strict=True)
    for bar, *note in rows:
        bars[bar].add((int(note[0]), int(note[1]), int(note[2])))
    return [frozenset(bar) for bar in bars]


def repetition_rate(music: Passage, before: Passage) -> float:
    """Share of bars that equal an earlier bar, of this passage or of what went before.

    Own formula. Equal are bars with the same notes at the same positions, however long and loud;
    bars without notes are left out, nan where there are no others.
    """
    seen = {bar for bar in bar_contents(before) if bar}
    repeated = []
    for bar in bar_contents(music):
        if bar:
            repeated.append(bar in seen)
            seen.add(bar)
    return float(np.mean(repeated)) if repeated else float("nan")


def collapsed(music: Passage) -> bool:
    """Whether fewer than three pitch classes are left, or one bar fills half of the passage.

    Own formula: the bar repeats without a break for half of all bars or more, and at least three
    times; silence counts as a bar like others, and drums as one pitch class.
    """
    classes = len(np.unique(music.pitch[music.pitched] % 12)) + bool((~music.pitched).any())
    return classes < LEAST_CLASSES or _longest_run(bar_contents(music)) >= max(
        3, (len(music.lines) - 1) / 2
    )


def _longest_run(bars: Sequence[frozenset[tuple[int, int, int]]]) -> int:
    longest = run = 1
    for before, bar in pairwise(bars):
        run = run + 1 if bar == before else 1
        longest = max(longest, run)
    return longest


# Continuations and seeds --------------------------------------------------------------------------


def likeness(a: dict[str, Floats], b: dict[str, Floats]) -> float:
    """Mean overlapped area over all features that both were counted in."""
    return float(np.mean([overlapped_area(a[name], b[name]) for name in a]))


def seed_sensitivity(alike: Floats, own: Ints) -> float:
    """Share of pairs in which a continuation is closer to its own seed than to another's.

    Own formula: over all continuations c and all seeds s other than its own, the share in which
    alike[c, own] > alike[c, s]; a tie counts half, so one half is chance. (The area under the ROC
    curve of telling the own seed, averaged over continuations.)

    Args:
        alike: Likeness of every continuation to every seed, (continuations, seeds).
        own: Which seed each continuation has, (continuations,).

    Returns:
        0 to 1; nan with one seed.
    """
    rows = np.arange(len(own))
    mine = alike[rows, own][:, None]
    wins = (mine > alike) + 0.5 * (mine == alike)
    others = np.ones(alike.shape, bool)
    others[rows, own] = False
    return float(wins[others].mean()) if others.any() else float("nan")
