"""Staves, chords and voices of one part. All times are in units, as in `note_values`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby, permutations
from typing import NamedTuple

from musiclstm.export.quantization import WrittenNote

MAX_VOICES = 4  # of a staff; MuseScore and other programs have no more

_MIDDLE_C, _OCTAVE = 60, 12
_SPLITS = tuple(range(48, 73, 2))  # lowest keys of the right hand
_HAND = 14  # semitones that a hand reaches easily
_CHANGE_OF_HANDS = 3.0  # cost within a line of single notes
_LEDGER = 0.25  # cost of a note a semitone away from its staff
_MOVE = 0.5  # cost of a split a semitone from the last
_NEW_VOICE = 1_000  # costs of a voice for a chord, in semitones
_SEMITONES_PER_QUARTER = 3


class Chord(NamedTuple):
    """Notes with the same onset and end."""

    start: int
    end: int
    pitches: tuple[int, ...]  # rising


def split_into_voices(
    notes: Iterable[WrittenNote], *, bar_lines: Sequence[int] = ()
) -> list[list[Chord]]:
    """Group notes into chords, and chords into at most four voices without overlaps.

    Where more than four would sound, chords that begin together are joined and end with the
    shortest, and the sounding chord that ends next is cut where a new one begins. A note ends where
    its key is struck again. Every onset is kept; notes of one key and onset become one.

    Args:
        notes: In any order.
        bar_lines: Where voices may be ordered again, the highest first, unless a note is held.

    Returns:
        The least possible number of voices, each sorted by time.
    """
    chords = _chords(notes)
    voices: list[list[Chord]] = []
    for start, group in groupby(chords, key=lambda chord: chord.start):
        new = _at_most(MAX_VOICES, list(group))
        _free_voices(voices, start, len(new))
        _append(voices, sorted(new, key=lambda chord: -max(chord.pitches)), start)
    return _high_voices_first(voices, bar_lines)


def _chords(notes: Iterable[WrittenNote]) -> list[Chord]:
    """Return the notes as chords sorted by onset; a key that is struck again ends before."""
    ends: dict[tuple[int, int], int] = {}
    for start, end, pitch in sorted(notes):
        ends[pitch, start] = end
    pitches_of: dict[tuple[int, int], list[int]] = defaultdict(list)
    following = (-1, 0)
    for (pitch, start), end in sorted(ends.items(), reverse=True):
        if following[0] == pitch:
            end = min(end, following[1])
        pitches_of[start, end].append(pitch)
        following = (pitch, start)
    return sorted(Chord(*span, tuple(sorted(pitches))) for span, pitches in pitches_of.items())


def _at_most(count: int, chords: list[Chord]) -> list[Chord]:
    """Join chords with the same onset whose ends are closest, until few are left."""
    while len(chords) > count:
        closest = min(range(1, len(chords)), key=lambda i: chords[i].end - chords[i - 1].end)
        first, second = chords[closest - 1 : closest + 1]
        pitches = tuple(sorted({*first.pitches, *second.pitches}))
        chords[closest - 1 : closest + 1] = [Chord(first.start, first.end, pitches)]
    return chords


def _free_voices(voices: list[list[Chord]], start: int, needed: int) -> None:
    """Cut the sounding chords that end next until enough voices are free."""
    sounding = sorted((v for v in voices if v[-1].end > start), key=lambda v: v[-1].end)
    for voice in sounding[: max(0, len(sounding) + needed - MAX_VOICES)]:
        voice[-1] = voice[-1]._replace(end=start)


def _append(voices: list[list[Chord]], new: list[Chord], start: int) -> None:
    """Append chords, the highest first, to the free voices that are closest to them."""
    free: list[list[Chord]] = [voice for voice in voices if voice[-1].end <= start]
    free += [[] for _ in range(len(new) - len(free))]

    def cost(choice: tuple[int, ...]) -> float:
        pairs = zip(choice, new, strict=True)
        return sum(_distance(free[index], chord) for index, chord in pairs)

    chosen = min(permutations(range(len(free)), len(new)), key=cost)
    for index, chord in zip(chosen, new, strict=True):
        if not free[index]:
            voices.append(free[index])
        free[index].append(chord)


def _distance(voice: list[Chord], chord: Chord) -> float:
    if not voice:
        return _NEW_VOICE
    last = voice[-1]
    rest = min(chord.start - last.end, 96) / 24
    return abs(max(last.pitches) - max(chord.pitches)) + _SEMITONES_PER_QUARTER * rest


def _high_voices_first(voices: list[list[Chord]], bar_lines: Sequence[int]) -> list[list[Chord]]:
    """Order the voices by pitch between all bar lines over which no note is held."""
    chords = sorted((chord, number) for number, voice in enumerate(voices) for chord in voice)
    lines = iter(sorted(bar_lines))
    line = next(lines, None)
    ordered: list[list[Chord]] = [[] for _ in voices]
    passage: dict[int, list[Chord]] = defaultdict(list)
    end = 0
    for chord, number in chords:
        is_new = False
        while line is not None and line <= chord.start:
            is_new = is_new or end <= line
            line = next(lines, None)
        if is_new:
            _extend(ordered, passage)
            passage.clear()
        passage[number].append(chord)
        end = max(end, chord.end)
    _extend(ordered, passage)
    return [voice for voice in ordered if voice]


def _extend(ordered: list[list[Chord]], passage: dict[int, list[Chord]]) -> None:
    by_pitch = sorted(passage.values(), key=lambda voice: (-_mean_pitch(voice), voice))
    for voice, chords in zip(ordered, by_pitch, strict=False):
        voice.extend(chords)


def _mean_pitch(voice: list[Chord]) -> float:
    return sum(max(chord.pitches) for chord in voice) / len(voice)


# -- Staves ----------------------------------------------------------------------------------------


def split_into_hands(notes: Sequence[WrittenNote]) -> tuple[list[WrittenNote], list[WrittenNote]]:
    """Divide the notes of a keyboard instrument into those of the right and of the left hand.

    The split moves with the music: the cheapest path (Viterbi) through the keys at which each chord
    may be divided. Wide hands, a cut through close notes, a line that changes hands, and moves have
    a cost.

    Returns:
        The notes of the upper and of the lower staff, sorted by onset.
    """
    onsets = [list(group) for _, group in groupby(sorted(notes), key=lambda note: note.start)]
    total = [0.0] * len(_SPLITS)
    paths: list[list[int]] = []
    before: list[int] = []
    for group in onsets:
        pitches = sorted(note.pitch for note in group)
        costs = [_moves(total, before, pitches, split) for split in _SPLITS]
        paths.append([own.index(min(own)) for own in costs])
        total = [
            min(own) + _split_cost(pitches, split)
            for own, split in zip(costs, _SPLITS, strict=True)
        ]
        before = pitches
    state = total.index(min(total))
    upper: list[WrittenNote] = []
    lower: list[WrittenNote] = []
    for group, came_from in zip(reversed(onsets), reversed(paths), strict=True):
        for note in group:
            (upper if note.pitch >= _SPLITS[state] else lower).append(note)
        state = came_from[state]
    return sorted(upper), sorted(lower)


def _moves(total: list[float], before: list[int], pitches: list[int], split: int) -> list[float]:
    """Return the costs so far of moving to a split from each earlier one."""
    costs = [
        cost + _MOVE * abs(origin - split) for cost, origin in zip(total, _SPLITS, strict=True)
    ]
    if len(before) == len(pitches) == 1 and abs(before[0] - pitches[0]) <= _OCTAVE:
        is_upper = pitches[0] >= split
        for index, origin in enumerate(_SPLITS):
            costs[index] += _CHANGE_OF_HANDS * ((before[0] >= origin) != is_upper)
    return costs


def _split_cost(pitches: list[int], split: int) -> float:
    lower = [pitch for pitch in pitches if pitch < split]
    upper = pitches[len(lower) :]
    cost = abs(split - _MIDDLE_C) / 20
    cost += sum(max(0, hand[-1] - hand[0] - _HAND) for hand in (lower, upper) if hand)
    ledger = [pitch - 62 for pitch in lower] + [58 - pitch for pitch in upper]
    cost += _LEDGER * sum(max(0, each) for each in ledger)
    if lower and upper:
        cost += 0.3 * max(0, 7 - (upper[0] - lower[-1]))
        cost += 0.2 * abs(split - (upper[0] + lower[-1]) / 2)
    return cost
