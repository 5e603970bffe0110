"""Metrics of a continuation: overlap with another passage, and properties relative to its prompt.

All metrics are computed from notes of MIDI files. Times are in quarter notes. Each docstring states
formula, range, and source. A metric that is undefined for a passage is nan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick, TrackTick

from musiclstm.generation import is_degenerate
from musiclstm.midi import DRUMS

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]
BarNotes: TypeAlias = frozenset[tuple[int, int, int]]  # (position in twelfths, pitch, instrument)

GROUP_BARS = 4  # bars per key estimate, and bars in which an instrument must have a note
NEAR_REPEAT_SIMILARITY = 0.7  # minimum Jaccard similarity of two bars
MELODY_DROP_SEMITONES = 7
LINE_MIN_NOTES = 8
LINE_MAX_CHORD_SHARE, CHORDS_MIN_SHARE = 0.02, 0.1  # of the sounding time of a part

# Edges of half-octave bins, centred on 1/16, 1/8, ... 16 quarters.
INTERVAL_EDGES = np.array([0, *(2 ** (k / 2 + 0.25) / 16 for k in range(-1, 17)), np.inf])
BAR_NOTE_EDGES = np.array([0, 1, 3, 5, 7, 9, 12, 16, 20, 26, 34, 46, 64, np.inf])
_POSITIONS = 12 * 8  # twelfths of a quarter from the bar line; the last bin is open

# Kostka-Payne key profiles of D. Temperley, Music and Probability (MIT Press 2007), chapter 6:
# share of passages in the key in which a scale degree occurs, from the tonic up.
_MAJOR = (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400)
_MINOR = (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330)


@dataclass(frozen=True)
class NoteTable:
    """Notes that begin in consecutive bars of a score, ordered by onset, then pitch.

    Attributes:
        onset: Quarters from the start of the score, (notes,).
        duration: Quarters, cut at the end of the last bar, above 0, (notes,).
        pitch: 0 to 127, (notes,).
        velocity: 1 to 127, (notes,).
        part: Index of the track, (notes,).
        program: 0 to 127, (notes,).
        is_drum: Whether the track is a drum track, (notes,).
        bar: Index of the bar, from 0, (notes,).
        position: Quarters from the bar line, (notes,).
        bar_lines: Quarters from the start of the score, with the end of the last bar, (bars + 1,).
    """

    onset: Floats
    duration: Floats
    pitch: Ints
    velocity: Ints
    part: Ints
    program: Ints
    is_drum: Bools
    bar: Ints
    position: Floats
    bar_lines: Floats

    def __len__(self) -> int:
        return len(self.onset)

    @property
    def bars(self) -> int:
        """Number of bars, with empty ones."""
        return len(self.bar_lines) - 1

    @property
    def pitched(self) -> Bools:
        """Mask of the notes that are not drums, (notes,)."""
        return ~self.is_drum

    @property
    def instrument(self) -> Ints:
        """Program of every note, `DRUMS` for drum tracks, (notes,)."""
        return np.where(self.is_drum, DRUMS, self.program)

    @property
    def notes_per_bar(self) -> Ints:
        """Notes that begin in every bar, (bars,)."""
        return np.bincount(self.bar, minlength=self.bars)


def note_table(score: ScoreTick, bar_lines: Ints) -> NoteTable:
    """Return the notes that begin between the first and the last of some bar lines.

    Args:
        score: In ticks.
        bar_lines: Consecutive bar lines in ticks, (bars + 1,).
    """
    lines = np.asarray(bar_lines, np.int64)
    columns = [_columns(track, part, lines) for part, track in enumerate(score.tracks)]
    table = np.concatenate([np.zeros((7, 0), np.int64), *columns], axis=1)
    onset, end, pitch, velocity, part, program, is_drum = table[:, np.lexsort(table[[2, 0]])]
    bar = np.searchsorted(lines, onset, side="right") - 1
    ticks = float(score.ticks_per_quarter)
    return NoteTable(
        onset=onset / ticks,
        duration=np.maximum(np.minimum(end, lines[-1]) - onset, 1) / ticks,
        pitch=pitch,
        velocity=velocity,
        part=part,
        program=program,
        is_drum=is_drum.astype(bool),
        bar=bar,
        position=(onset - lines[bar]) / ticks,
        bar_lines=lines / ticks,
    )


def _columns(track: TrackTick, part: int, lines: Ints) -> Ints:
    """Return onset, end, pitch, velocity, part, program, is_drum between the lines, (7, notes)."""
    notes = {name: column.astype(np.int64) for name, column in track.notes.numpy().items()}
    onset = notes["time"]
    same = [np.full(len(onset), value) for value in (part, track.program, int(track.is_drum))]
    end = onset + notes["duration"]
    table = np.stack([onset, end, notes["pitch"], notes["velocity"], *same])
    return table[:, (onset >= lines[0]) & (onset < lines[-1])]


# Histograms ---------------------------------------------------------------------------------------


def pitch_classes(music: NoteTable) -> Floats:
    """Count notes by pitch class from C to B, without drums; (12,)."""
    return _histogram(music.pitch[music.pitched] % 12, 12)


def pitches(music: NoteTable) -> Floats:
    """Count notes by pitch, without drums; (128,)."""
    return _histogram(music.pitch[music.pitched], 128)


def onset_intervals(music: NoteTable) -> Floats:
    """Count inter-onset intervals of all parts together; (19,), `INTERVAL_EDGES`."""
    return _binned(np.diff(np.unique(music.onset)), INTERVAL_EDGES)


def durations(music: NoteTable) -> Floats:
    """Count notes by duration, without drums; (19,), `INTERVAL_EDGES`."""
    return _binned(music.duration[music.pitched], INTERVAL_EDGES)


def bar_notes(music: NoteTable) -> Floats:
    """Count bars by the number of notes that begin in them; (13,), `BAR_NOTE_EDGES`."""
    return _binned(music.notes_per_bar, BAR_NOTE_EDGES)


def velocities(music: NoteTable) -> Floats:
    """Count notes by velocity in steps of 8; (16,)."""
    return _histogram(music.velocity // 8, 16)


def positions(music: NoteTable) -> Floats:
    """Count notes by position in the bar in twelfths of a quarter; (97,), the last bin open."""
    twelfths = np.rint(12 * music.position).astype(np.int64)
    return _histogram(np.minimum(twelfths, _POSITIONS), _POSITIONS + 1)


OVERLAP_FEATURES: dict[str, Callable[[NoteTable], Floats]] = {
    "pitch_class": pitch_classes,
    "pitch": pitches,
    "onset_interval": onset_intervals,
    "duration": durations,
    "notes_per_bar": bar_notes,
}
OTHER_FEATURES: dict[str, Callable[[NoteTable], Floats]] = {
    "velocity": velocities,
    "place_in_bar": positions,
}


def _histogram(values: Ints, bins: int) -> Floats:
    return np.bincount(values, minlength=bins).astype(np.float64)


def _binned(values: Floats | Ints, edges: Floats) -> Floats:
    """Count values in half-open bins; the first edge is 0, the last infinity."""
    return _histogram(np.searchsorted(edges[1:-1], values, side="right"), len(edges) - 1)


def histogram_overlap(a: Floats, b: Floats) -> float:
    """Return the intersection of two normalised histograms, sum(min(a, b)).

    Range: 0 to 1; nan for two empty histograms. Source: Swain and Ballard, "Color indexing", IJCV 7
    (1991). For music: the overlapped area of Yang and Lerch, "On the evaluation of generative
    models in music" (2020), with bins instead of kernel densities.
    """
    if not a.any() and not b.any():
        return float("nan")
    return float(np.minimum(a / (a.sum() or 1), b / (b.sum() or 1)).sum())


def overlaps(a: NoteTable, b: NoteTable) -> dict[str, float]:
    """Return the histogram overlap of every feature, and the mean of `OVERLAP_FEATURES`.

    Range: 0 to 1, 1 for equal histograms. The mean has the key `overlap`.
    """
    features = OVERLAP_FEATURES | OTHER_FEATURES
    found = {name: histogram_overlap(f(a), f(b)) for name, f in features.items()}
    return {"overlap": _mean([found[name] for name in OVERLAP_FEATURES]), **found}


# Properties relative to the prompt ----------------------------------------------------------------


def silent_instruments(prompt: NoteTable, music: NoteTable) -> float:
    """Return the share of the prompt's instruments that stopped playing.

    Formula: of the programs (drums count as one) with a note in the last four bars of the prompt,
    the share without a note in the last four bars of the music. Range: 0 to 1; nan for fewer than
    two programs. Source: this project.
    """
    before = _last_instruments(prompt)
    if len(before) < 2:
        return float("nan")
    return len(before - _last_instruments(music)) / len(before)


def _last_instruments(music: NoteTable) -> set[int]:
    return set(music.instrument[music.bar >= music.bars - GROUP_BARS].tolist())


def density_change(prompt: NoteTable, music: NoteTable) -> float:
    """Return the absolute log2 ratio of note densities.

    Formula: |log2((n + ½) / (p + ½))| with the notes per bar n of the music and p of the prompt.
    Range: 0 (equal) upwards. Source: this project.
    """
    new, before = (len(each) / each.bars + 0.5 for each in (music, prompt))
    return abs(float(np.log2(new / before)))


def notes_of_bars(music: NoteTable) -> list[BarNotes]:
    """Return the set of (position in twelfths of a quarter, pitch, instrument) of every bar."""
    bars: list[set[tuple[int, int, int]]] = [set() for _ in range(music.bars)]
    position = np.rint(12 * music.position).astype(np.int64)
    columns = (music.bar, position, music.pitch, music.instrument)
    for bar, *note in zip(*(column.tolist() for column in columns), strict=True):
        bars[bar].add((note[0], note[1], note[2]))
    return [frozenset(bar) for bar in bars]


def near_repeats(prompt: NoteTable, music: NoteTable) -> float:
    """Return the share of non-empty bars that nearly repeat an earlier bar.

    Formula: the notes of the bar and of one earlier bar, in the prompt or the music, have a Jaccard
    similarity |A & B| / |A | B| (Jaccard 1901) of `NEAR_REPEAT_SIMILARITY` or more. Range: 0 to 1;
    nan if all bars are empty. Source: this project.
    """
    earlier = [bar for bar in notes_of_bars(prompt) if bar]
    found: list[bool] = []
    for bar in filter(None, notes_of_bars(music)):
        found.append(any(_jaccard(bar, other) >= NEAR_REPEAT_SIMILARITY for other in earlier))
        earlier.append(bar)
    return _mean(found)


def _jaccard(a: BarNotes, b: BarNotes) -> float:
    return len(a & b) / len(a | b)


def estimate_key(music: NoteTable, bars: range | None = None) -> int | None:
    """Estimate the key by correlating pitch classes with key profiles.

    Source: the algorithm of Krumhansl and Schmuckler (C. Krumhansl, Cognitive Foundations of
    Musical Pitch, 1990), with Temperley's Kostka-Payne profiles (2007).

    Args:
        music: Pitch classes are weighted by duration; drums are ignored.
        bars: Bars to use; None: all.

    Returns:
        0 to 11 for C major to B major, 12 to 23 for C minor to B minor. None without pitched notes,
        or if all pitch classes have the same total duration.
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
    """Return the profile on every tonic from C to B, (12, 12)."""
    return np.stack([np.roll(profile, tonic) for tonic in range(12)])


def same_key(prompt: NoteTable, music: NoteTable) -> float:
    """Return the share of four-bar groups of the music in the key of the whole prompt.

    Formula: `estimate_key` of each group equals that of the prompt; groups without a key are
    ignored. Range: 0 to 1; nan without a key in the prompt or in all groups. Source: this project.
    """
    prompt_key = estimate_key(prompt)
    starts = range(0, music.bars, GROUP_BARS)
    keys = [estimate_key(music, range(start, start + GROUP_BARS)) for start in starts]
    return _mean([key == prompt_key for key in keys if None not in (key, prompt_key)])


def melody_lost(prompt: NoteTable, music: NoteTable) -> float:
    """Return 1 if the top line of the music is much lower than that of the prompt, else 0.

    Formula: the median of `top_line` is `MELODY_DROP_SEMITONES` or more below that of the prompt,
    or the music has no pitched notes. Range: 0 or 1; nan if the prompt has no pitched notes.
    Source: this project.
    """
    before, after = top_line(prompt), top_line(music)
    if not len(before):
        return float("nan")
    if not len(after):
        return 1.0
    return float(np.median(before) - np.median(after) >= MELODY_DROP_SEMITONES)


def top_line(music: NoteTable) -> Ints:
    """Return the highest pitch that begins in each half bar, without drums and empty half bars."""
    second = 2 * music.position >= np.diff(music.bar_lines)[music.bar]
    highest = np.full(2 * music.bars, -1)
    np.maximum.at(highest, (2 * music.bar + second)[music.pitched], music.pitch[music.pitched])
    return highest[highest >= 0]


def lines_become_chords(prompt: NoteTable, music: NoteTable) -> float:
    """Return the share of monophonic parts of the prompt that play chords in the music.

    Formula: a part is monophonic if it has at least `LINE_MIN_NOTES` notes and `chord_share` is at
    most 2 %; it plays chords above 10 %. Drums are ignored. Range: 0 to 1; nan for a prompt without
    monophonic parts. Source: this project.

    Args:
        prompt: From the same file as `music`, so that part indices agree.
        music: The bars after it.
    """
    lines = [part for part in np.unique(prompt.part).tolist() if _is_monophonic(prompt, part)]
    return _mean([chord_share(music, part) > CHORDS_MIN_SHARE for part in lines])


def _is_monophonic(music: NoteTable, part: int) -> bool:
    own = music.part == part
    is_long = own.sum() >= LINE_MIN_NOTES and not music.is_drum[own].any()
    return bool(is_long) and chord_share(music, part) <= LINE_MAX_CHORD_SHARE


def chord_share(music: NoteTable, part: int) -> float:
    """Return the share of a part's sounding time with two or more notes; 0 for a silent part."""
    own = music.part == part
    begin, end = music.onset[own], (music.onset + music.duration)[own]
    time = np.concatenate([begin, end])
    order = np.argsort(time, kind="stable")
    sounding = np.repeat([1, -1], len(begin))[order].cumsum()[:-1]
    length = np.diff(time[order])
    total = length[sounding >= 1].sum()
    return float(length[sounding >= 2].sum() / total) if total > 0 else 0.0


def collapsed(music: NoteTable) -> float:
    """Return 1 if the music is degenerate, else 0.

    Formula: `musiclstm.generation.is_degenerate`. Range: 0 or 1. Source: this project.
    """
    return float(is_degenerate(notes_of_bars(music)))


def prompt_metrics(prompt: NoteTable, music: NoteTable) -> dict[str, float]:
    """Return all metrics of a continuation that compare it with its prompt."""
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
    """Return the mean of the values that are not nan; nan without any."""
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float("nan")
