"""Copied passages, and the search for the longest one."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality.passage_matching import (
    LONGEST_FIGURE,
    REPEATS,
    PassageIndex,
    longest_matches,
    pitched_notes,
    truncate_figures,
)
from musiclstm.memorization import (
    UNIT,
    WINDOW,
    PitchedNotes,
    TokenReader,
    third_different,
    truncate_trivial,
)
from musiclstm.midi.analysis import bar_starts
from training.evaluation.music_metrics import note_table


def notes(*rows):
    """From (onset in units, pitch) or (onset, pitch, program)."""
    onset, pitch, program = zip(*((*row, 0)[:3] for row in rows), strict=True)
    return PitchedNotes.from_columns(*map(np.array, (onset, program, pitch)))


def melody(count, *, seed=0, up=0):
    """A random melody with chords."""
    rng = np.random.default_rng(seed)
    onset = np.cumsum(rng.choice([0, 12, 16, 24, 48], count))
    return list(zip(onset.tolist(), (rng.integers(40, 80, count) + up).tolist(), strict=True))


def run_of(steps, begin=(0, 60)):
    """Notes from steps (interval, time)."""
    rows = [begin]
    for interval, time in steps:
        rows.append((rows[-1][0] + time, rows[-1][1] + interval))
    return notes(*rows)


def longest(music, *others, figures=True):
    return PassageIndex([music], [other.steps() for other in others]).longest(figures=figures)[0]


def shifted(rows, by):
    return [(onset + by, pitch) for onset, pitch in rows]


def test_a_planted_copy_five_semitones_higher_is_found_at_its_exact_length():
    training = notes(*melody(300, seed=1))
    part = notes(
        *zip(training.onset[100:130].tolist(), (training.pitch[100:130] + 5).tolist(), strict=True)
    )
    before = [(onset - 20_000, pitch) for onset, pitch in melody(50, seed=2)]
    after = shifted(melody(50, seed=3), int(part.onset[-1]) + 7)
    planted = list(zip(part.onset.tolist(), part.pitch.tolist(), strict=True))
    found = longest(
        notes(*shifted(before + planted + after, 20_000)), notes(*melody(200, seed=4)), training
    )
    assert (found.notes, found.source) == (30, 1)
    assert found.quarters == (training.onset[129] - training.onset[100]) / UNIT


def test_a_passage_ends_with_its_piece_and_its_instrument():
    rows = [(24 * i, pitch) for i, (_, pitch) in enumerate(melody(20, seed=7))]
    halves = notes(*rows[:12]), notes(*rows[12:])
    assert longest(notes(*rows), *halves).notes == 12
    parts = notes(*((*row, int(i >= 12)) for i, row in enumerate(rows)))
    assert longest(parts, notes(*rows)).notes == 12


@pytest.mark.parametrize(
    "figure", [[(0, 24)], [(1, 12), (-1, 12)], [(2, 12), (2, 12), (1, 12)], [(7, 0), (-7, 24)]]
)
def test_repeated_notes_trills_and_scales_in_even_notes_do_not_count(figure):
    music = run_of(figure * 6)
    assert longest(music, music).notes == 0


def test_windows_of_a_passage_have_three_different_steps():
    rng = np.random.default_rng(0)
    for _ in range(200):
        steps = np.append(rng.choice(4, 40, p=[0.6, 0.3, 0.05, 0.05]), -1)
        length = rng.integers(0, 40 - np.arange(41), endpoint=True).clip(0)
        expected = [
            _length_of_passage(steps[at:][:most].tolist()) for at, most in enumerate(length)
        ]
        assert truncate_trivial(third_different(steps), length).tolist() == expected


def test_the_third_repetition_of_a_figure_ends_a_passage():
    rng = np.random.default_rng(2)
    for _ in range(200):
        steps = np.append(rng.choice(3, 40, p=[0.8, 0.1, 0.1]), -1)
        length = 40 - np.arange(41)
        expected = [_without_figures(steps[at:-1].tolist()) for at in range(41)]
        assert truncate_figures(steps, length).tolist() == expected


def _without_figures(steps):
    for end in range(len(steps)):
        for figure in range(1, LONGEST_FIGURE + 1):
            last = steps[: end + 1][-REPEATS * figure :]
            if len(last) == REPEATS * figure and last == last[:figure] * REPEATS:
                return end
    return len(steps)


def _length_of_passage(steps):
    """Length of a passage, calculated directly."""
    for end in range(len(steps), 0, -1):
        windows = [steps[i : i + WINDOW] for i in range(end - WINDOW + 1)]
        if len(set(steps[:end])) >= 3 and all(len(set(each)) >= 3 for each in windows):
            return end
    return 0


def test_matches_equal_those_of_an_exhaustive_search():
    rng = np.random.default_rng(1)
    for _ in range(100):
        music, other = (np.append(rng.integers(-1, 3, rng.integers(0, 40)), -1) for _ in "ab")
        length, position = longest_matches(music, other)
        for at in range(len(music)):
            known = [_common_length(music[at:], other[to:]) for to in range(len(other))]
            assert length[at] == max(known)
            assert length[at] == 0 or known[position[at]] == max(known)


def _common_length(ours, training):
    for count, (one, two) in enumerate(zip(ours, training, strict=False)):
        if one != two or one < 0:
            return count
    raise AssertionError("a line without an end")


def test_music_without_notes_has_no_passages():
    empty = PitchedNotes(*(np.zeros((3, 0), np.int64)))
    assert longest(empty, notes(*melody(20))).notes == 0
    assert longest(notes(*melody(20)), empty).source is None
    assert PassageIndex([], []).longest() == []


@pytest.mark.parametrize("meter", [(4, 4), (3, 4), (6, 8), (5, 16)])
def test_notes_read_from_tokens_are_those_of_the_score(invented, tiny_tokenizer, meter):
    ids = np.array(tiny_tokenizer.encode(invented(meter=meter, programs=(0, 40, -1), bars=6)))
    score = tiny_tokenizer.decode(ids.tolist())
    expected = pitched_notes(note_table(score, bar_starts(score)))
    found = TokenReader(tiny_tokenizer).read(ids)
    assert len(found) > 20
    for name in ("onset", "program", "pitch"):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist()


def test_drums_are_ignored_and_equal_notes_become_one(invented):
    score = invented(programs=(0, -1))
    score.tracks.append(score.tracks[0].copy())
    found = pitched_notes(note_table(score, bar_starts(score)))
    assert set(found.program.tolist()) == {0}
    assert len(found) == len(score.tracks[0].notes)
