"""Figures that compare a continuation with its prompt and with the piece's own next bars.

All figures are computed from notes of MIDI files; no token and no model is involved. Times are in
quarter notes. Each docstring states the formula and its source. A figure that is undefined for a
piece is nan, and means leave it out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick, TrackTick

from musiclstm.midi import DRUMS

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]
BarContent: TypeAlias = frozenset[tuple[int, int, int]]  # (place in twelfths, pitch, instrument)

GROUP_BARS = 4  # bars per key estimate, and bars in which an instrument must have a note
NEAR_REPEAT = 0.7  # Jaccard similarity of two bars from which one is a near repeat
LOST_SEMITONES = 7
LINE_SHARE, CHORDS_SHARE, LINE_NOTES = 0.02, 0.1, 8
MOST_EQUAL_BARS = 8

# Half octaves of a quarter note, centred on note values from 1/16 quarter to 16 quarters.
INTERVAL_EDGES = np.array([0, *(2 ** (k / 2 + 0.25) / 16 for k in range(-1, 17)), np.inf])
BAR_NOTE_EDGES = np.array([0, 1, 3, 5, 7, 9, 12, 16, 20, 26, 34, 46, 64, np.inf])
_PLACES = 12 * 8  # bins of the place in the bar: twelfths of a quarter; the last one is open

# Kostka-Payne key profiles of D. Temperley, Music and Probability (MIT Press 2007), chapter 6:
# share of sections of the key in which a scale degree occurs, from the tonic up.
_MAJOR = (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400)
_MINOR = (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330)


@dataclass(frozen=True)
class Section:
    """Notes that begin in some consecutive bars of a score, ordered by onset, then pitch.

    Attributes:
        onset: Quarters from the beginning of the score, (notes,).
        duration: Quarters, cut off at the end of the section, above 0, (notes,).
        pitch: 0 to 127, (notes,).
        velocity: 1 to 127, (notes,).
        part: Index of the track, (notes,).
        program: 0 to 127, (notes,).
        is_drum: Whether a note is played on drums, (notes,).
        bar: Index of the bar in the section, (notes,).
        place: Quarters from the bar line, (notes,).
        bar_lines: Quarters from the beginning of the score, the last end included, (bars + 1,).
    """

    onset: Floats
    duration: Floats
    pitch: Ints
    velocity: Ints
    part: Ints
    program: Ints
    is_drum: Bools
    bar: Ints
    place: Floats
    bar_lines: Floats

    def __len__(self) -> int:
        return len(self.onset)

    @property
    def bars(self) -> int:
        """Number of bars, empty ones included."""
        return len(self.bar_lines) - 1

    @property
    def pitched(self) -> Bools:
        """Which notes are not played on drums, (notes,)."""
        return ~self.is_drum

    @property
    def instrument(self) -> Ints:
        """Program of every note, `DRUMS` for drums, (notes,)."""
        return np.where(self.is_drum, DRUMS, self.program)

    @property
    def notes_per_bar(self) -> Ints:
        """Notes that begin in every bar, (bars,)."""
        return np.bincount(self.bar, minlength=self.bars)


def section(score: ScoreTick, lines: Ints) -> Section:
    """Return the notes that begin between the first and the last of some bar lines.

    Args:
        score: In ticks.
        lines: Consecutive bar lines in ticks, (bars + 1,).
    """
    lines = np.asarray(lines, np.int64)
    columns = [_columns(track, part, lines) for part, track in enumerate(score.tracks)]
    table = np.concatenate([np.zeros((7, 0), np.int64), *columns], axis=1)
    onset, end, pitch, velocity, part, program, is_drum = table[:, np.lexsort(table[[2, 0]])]
    bar = np.searchsorted(lines, onset, side="right") - 1
    ticks = float(score.ticks_per_quarter)
    return Section(
        onset=onset / ticks,
        duration=np.maximum(np.minimum(end, lines[-1]) - onset, 1) / ticks,
        pitch=pitch,
        velocity=velocity,
        part=part,
        program=program,
        is_drum=is_drum.astype(bool),
        bar=bar,
        place=(onset - lines[bar]) / ticks,
        bar_lines=lines / ticks,
    )


def _columns(track: TrackTick, part: int, lines: Ints) -> Ints:
    """Onset, end, pitch, velocity, part, program, is_drum of notes between the lines, (7, n)."""
    notes = {name: column.astype(np.int64) for name, column in track.notes.numpy().items()}
    onset = notes["time"]
    same = [np.full(len(onset), value) for value in (part, track.program, int(track.is_drum))]
    end = onset + notes["duration"]
    table = np.stack([onset, end, notes["pitch"], notes["velocity"], *same])
    return table[:, (onset >= lines[0]) & (onset < lines[-1])]


# Histograms ---------------------------------------------------------------------------------------


def pitch_classes(music: Section) -> Floats:
    """Count notes by pitch class from C to B, without drums; (12,)."""
    return _counted(music.pitch[music.pitched] % 12, 12)


def pitches(music: Section) -> Floats:
    """Count notes by pitch, without drums; (128,)."""
    return _counted(music.pitch[music.pitched], 128)


def onset_intervals(music: Section) -> Floats:
    """Count differences of successive distinct onsets of all parts; (19,), `INTERVAL_EDGES`."""
    return _binned(np.diff(np.unique(music.onset)), INTERVAL_EDGES)


def durations(music: Section) -> Floats:
    """Count notes by duration, without drums; (19,), `INTERVAL_EDGES`."""
    return _binned(music.duration[music.pitched], INTERVAL_EDGES)


def bar_notes(music: Section) -> Floats:
    """Count bars by the number of notes that begin in them; (13,), `BAR_NOTE_EDGES`."""
    return _binned(music.notes_per_bar, BAR_NOTE_EDGES)


def velocities(music: Section) -> Floats:
    """Count notes by velocity in steps of 8; (16,)."""
    return _counted(music.velocity // 8, 16)


def places(music: Section) -> Floats:
    """Count notes by place in the bar in twelfths of a quarter; (97,), the last bin open."""
    return _counted(np.minimum(np.rint(12 * music.place).astype(np.int64), _PLACES), _PLACES + 1)


OVERLAP_FEATURES: dict[str, Callable[[Section], Floats]] = {
    "pitch_class": pitch_classes,
    "pitch": pitches,
    "onset_interval": onset_intervals,
    "duration": durations,
    "notes_per_bar": bar_notes,
}
OTHER_FEATURES: dict[str, Callable[[Section], Floats]] = {
    "velocity": velocities,
    "place_in_bar": places,
}


def _counted(values: Ints, bins: int) -> Floats:
    return np.bincount(values, minlength=bins).astype(np.float64)


def _binned(values: Floats | Ints, edges: Floats) -> Floats:
    """Count values in the half-open bins between edges that begin at 0 and end at infinity."""
    return _counted(np.searchsorted(edges[1:-1], values, side="right"), len(edges) - 1)


def histogram_overlap(a: Floats, b: Floats) -> float:
    """Return the intersection of two normalised histograms: the sum of min(a, b), 0 to 1.

    Swain and Ballard, "Color indexing", IJCV 7 (1991); on music the overlapped area of Yang and
    Lerch, "On the evaluation of generative models in music" (2020), with bins in place of kernel
    densities. An empty histogram overlaps with no other; two empty ones give nan.
    """
    if not a.any() and not b.any():
        return float("nan")
    return float(np.minimum(a / (a.sum() or 1), b / (b.sum() or 1)).sum())


def overlaps(a: Section, b: Section) -> dict[str, float]:
    """Return the histogram overlap of two sections for every feature, and the mean of the five.

    The key `overlap` holds the mean over `OVERLAP_FEATURES`; `OTHER_FEATURES` are not part of it.
    """
    features = OVERLAP_FEATURES | OTHER_FEATURES
    found = {name: histogram_overlap(of(a), of(b)) for name, of in features.items()}
    return {"overlap": _mean([found[name] for name in OVERLAP_FEATURES]), **found}


# A continuation and its prompt --------------------------------------------------------------------


def silent_instruments(prompt: Section, music: Section) -> float:
    """Return the share of instruments of the prompt's end that are silent at the music's end.

    Own formula: of the programs (drums count as one) with a note in the last four bars of the
    prompt, the share without a note in the last four bars of the music. nan for fewer than two.
    """
    before = _last_instruments(prompt)
    if len(before) < 2:
        return float("nan")
    return len(before - _last_instruments(music)) / len(before)


def _last_instruments(music: Section) -> set[int]:
    return set(music.instrument[music.bar >= music.bars - GROUP_BARS].tolist())


def density_change(prompt: Section, music: Section) -> float:
    """Return |log2((n + ½) / (p + ½))|, n and p being notes per bar of the music and the prompt.

    Own formula.
    """
    new, before = (len(each) / each.bars + 0.5 for each in (music, prompt))
    return abs(float(np.log2(new / before)))


def bar_contents(music: Section) -> list[BarContent]:
    """Return the set of (place in twelfths of a quarter, pitch, instrument) of every bar."""
    bars: list[set[tuple[int, int, int]]] = [set() for _ in range(music.bars)]
    place = np.rint(12 * music.place).astype(np.int64)
    columns = (music.bar, place, music.pitch, music.instrument)
    for bar, *note in zip(*(column.tolist() for column in columns), strict=True):
        bars[bar].add((note[0], note[1], note[2]))
    return [frozenset(bar) for bar in bars]


def near_repeats(prompt: Section, music: Section) -> float:
    """Return the share of non-empty bars that nearly equal an earlier bar.

    Own formula: the contents of the bar and of one earlier bar, of the prompt or of the music, have
    a Jaccard similarity (size of the intersection divided by size of the union, Jaccard 1901) of
    `NEAR_REPEAT` or more. nan where all bars are empty.
    """
    earlier = [bar for bar in bar_contents(prompt) if bar]
    found: list[bool] = []
    for bar in filter(None, bar_contents(music)):
        found.append(any(_jaccard(bar, other) >= NEAR_REPEAT for other in earlier))
        earlier.append(bar)
    return _mean(found)


def _jaccard(a: BarContent, b: BarContent) -> float:
    return len(a & b) / len(a | b)


def key_of(music: Section, bars: range | None = None) -> int | None:
    """Estimate the key by correlation of pitch classes with profiles.

    The algorithm of Krumhansl and Schmuckler (C. Krumhansl, Cognitive Foundations of Musical Pitch,
    1990) on pitch classes weighted by duration, with Temperley's Kostka-Payne profiles (2007).

    Args:
        music: Its drums are left out.
        bars: Which bars to look at; None: all.

    Returns:
        0 to 11 for C major to B major, 12 to 23 for C minor to B minor. None without pitched notes,
        or where all pitch classes are equally long.
    """
    chosen = music.pitched
    if bars is not None:
        chosen = chosen & (music.bar >= bars.start) & (music.bar < bars.stop)
    classes = music.pitch[chosen] % 12
    shares = np.bincount(classes, weights=music.duration[chosen], minlength=12)
    if np.ptp(shares) < 1e-9:
        return None
    rows = np.concatenate([_rotations(_MAJOR), _rotations(_MINOR)])
    return int(np.argmax(np.corrcoef(shares, rows)[0, 1:]))


def _rotations(profile: Sequence[float]) -> Floats:
    """The profile on every tonic from C to B, (12, 12)."""
    return np.stack([np.roll(profile, tonic) for tonic in range(12)])


def same_key(prompt: Section, music: Section) -> float:
    """Return the share of four-bar groups of the music in the key of the whole prompt (`key_of`).

    Own formula. Groups without a key are left out; nan where none is left or the prompt has none.
    """
    wanted = key_of(prompt)
    starts = range(0, music.bars, GROUP_BARS)
    keys = [key_of(music, range(start, start + GROUP_BARS)) for start in starts]
    return _mean([key == wanted for key in keys if None not in (key, wanted)])


def melody_lost(prompt: Section, music: Section) -> float:
    """Return 1 where the top line of the music lies far below that of the prompt, else 0.

    Own formula: the median over half bars of the highest pitch that begins there (`top_line`) is
    `LOST_SEMITONES` or more below that of the prompt. Music without pitched notes has lost it; nan
    where the prompt has none.
    """
    before, after = top_line(prompt), top_line(music)
    if not len(before):
        return float("nan")
    if not len(after):
        return 1.0
    return float(np.median(before) - np.median(after) >= LOST_SEMITONES)


def top_line(music: Section) -> Ints:
    """Return the highest pitch that begins in each half bar, empty ones and drums left out."""
    second = 2 * music.place >= np.diff(music.bar_lines)[music.bar]
    highest = np.full(2 * music.bars, -1)
    np.maximum.at(highest, (2 * music.bar + second)[music.pitched], music.pitch[music.pitched])
    return highest[highest >= 0]


def lines_become_chords(prompt: Section, music: Section) -> float:
    """Return the share of one-line parts of the prompt that play chords in the music.

    Own formula: a part is one line if it has at least `LINE_NOTES` notes and sounds more than one
    note at once for at most 2 % of the time in which it sounds; it plays chords if it does so for
    more than 10 %. Drums are left out; nan for a prompt without one-line parts.

    Args:
        prompt: Of the same file as `music`, so that its tracks have the same indices.
        music: What follows.
    """
    lines = [part for part in np.unique(prompt.part).tolist() if _is_line(prompt, part)]
    return _mean([chord_share(music, part) > CHORDS_SHARE for part in lines])


def _is_line(music: Section, part: int) -> bool:
    own = music.part == part
    is_long = own.sum() >= LINE_NOTES and not music.is_drum[own].any()
    return bool(is_long) and chord_share(music, part) <= LINE_SHARE


def chord_share(music: Section, part: int) -> float:
    """Return the share of a part's sounding time with two or more notes; 0 where it is silent."""
    own = music.part == part
    begin, end = music.onset[own], (music.onset + music.duration)[own]
    time = np.concatenate([begin, end])
    order = np.argsort(time, kind="stable")
    sounding = np.repeat([1, -1], len(begin))[order].cumsum()[:-1]
    length = np.diff(time[order])
    total = length[sounding >= 1].sum()
    return float(length[sounding >= 2].sum() / total) if total > 0 else 0.0


def collapsed(music: Section) -> float:
    """Return 1 where the music has come to a standstill, else 0.

    Own formula: it has fewer than two distinct pitches, or more than half of its bars are empty, or
    one bar occurs more than `MOST_EQUAL_BARS` times, in a row or in all.
    """
    contents = bar_contents(music)
    full = [bar for bar in contents if bar]
    most = max(Counter(full).values(), default=0)
    few = len(np.unique(music.pitch)) < 2
    return float(few or 2 * len(full) < len(contents) or most > MOST_EQUAL_BARS)


def figures(prompt: Section, music: Section) -> dict[str, float]:
    """Return every figure of a continuation that needs no more than its prompt."""
    return {
        "silent_instruments": silent_instruments(prompt, music),
        "density": density_change(prompt, music),
        "near_repeats": near_repeats(prompt, music),
        "same_key": same_key(prompt, music),
        "melody_lost": melody_lost(prompt, music),
        "lines_become_chords": lines_become_chords(prompt, music),
        "collapse": collapsed(music),
    }


def _mean(values: Sequence[float]) -> float:
    """The mean of what is not nan; nan where nothing is left."""
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float("nan")
