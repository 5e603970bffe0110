"""What a copied passage is, and that the longest one is found."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality.passage_matching import (
    HEARINGS,
    LONGEST_FIGURE,
    STRETCH,
    UNIT,
    Copies,
    Notes,
    TokenReader,
    counting,
    matches,
    until_third_hearing,
)
from musiclstm.midi.analysis import bar_starts
from training.evaluation.music_metrics import note_table


def notes(*rows):
    """From (onset in units, pitch) or (onset, pitch, program)."""
    onset, pitch, program = zip(*((*row, 0)[:3] for row in rows), strict=True)
    return Notes.from_columns(*map(np.array, (onset, program, pitch)))


def tune(count, *, seed=0, up=0):
    """A melody by chance, with chords in it."""
    rng = np.random.default_rng(seed)
    onset = np.cumsum(rng.choice([0, 12, 16, 24, 48], count))
    return list(zip(onset.tolist(), (rng.integers(40, 80, count) + up).tolist(), strict=True))


def run_of(steps, begin=(0, 60)):
    """Notes one `steps` (interval, time) after the other."""
    rows = [begin]
    for interval, time in steps:
        rows.append((rows[-1][0] + time, rows[-1][1] + interval))
    return notes(*rows)


def longest(music, *others, figures=True):
    return Copies([music], [other.steps() for other in others]).longest(figures=figures)[0]


def shifted(rows, by):
    return [(onset + by, pitch) for onset, pitch in rows]


def test_a_planted_copy_five_semitones_higher_is_found_at_its_exact_length():
    theirs = notes(*tune(300, seed=1))
    part = notes(
        *zip(theirs.onset[100:130].tolist(), (theirs.pitch[100:130] + 5).tolist(), strict=True)
    )
    before = [(onset - 20_000, pitch) for onset, pitch in tune(50, seed=2)]
    after = shifted(tune(50, seed=3), int(part.onset[-1]) + 7)
    planted = list(zip(part.onset.tolist(), part.pitch.tolist(), strict=True))
    found = longest(
        notes(*shifted(before + planted + after, 20_000)), notes(*tune(200, seed=4)), theirs
    )
    assert (found.notes, found.source) == (30, 1)
    assert found.quarters == (theirs.onset[129] - theirs.onset[100]) / UNIT


def test_a_note_that_is_changed_splits_a_copy():
    rows = [(24 * i, pitch) for i, (_, pitch) in enumerate(tune(41, seed=5))]
    assert longest(notes(*rows), notes(*rows)).notes == 41
    broken = [*rows[:25], (rows[25][0], rows[25][1] + 1), *rows[26:]]
    assert longest(notes(*broken), notes(*rows)).notes == 25


def test_another_rhythm_is_no_copy_and_another_length_of_notes_is():
    pitches = [pitch for _, pitch in tune(20, seed=6)]
    even = notes(*((24 * i, pitch) for i, pitch in enumerate(pitches)))
    swung = notes(*((24 * i + 8 * (i % 2), pitch) for i, pitch in enumerate(pitches)))
    assert longest(even, even).notes == 20
    assert longest(even, swung).notes == 0


def test_a_passage_does_not_go_on_in_another_piece_or_instrument():
    rows = [(24 * i, pitch) for i, (_, pitch) in enumerate(tune(20, seed=7))]
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


def test_a_tune_counts_as_far_as_a_tremolo_begins_to_say_nothing():
    rows = [(1, 24), (4, 12), (-2, 36), (5, 24)]
    music = run_of(rows + [(0, 6)] * 40)
    found = longest(music, music)
    # The last stretch with three different steps: two of the tune, and tremolo.
    assert found.notes == 2 + STRETCH + 1
    odd_at_the_end = run_of([(0, 6)] * 40 + rows)
    assert longest(odd_at_the_end, odd_at_the_end).notes < 40 / 2


def test_a_figure_of_three_different_steps_counts():
    music = run_of([(4, 12), (3, 12), (-7, 12)] * 5)
    found = longest(music, music)
    assert (found.notes, found.different) == (16, 3)
    apart = longest(music, music, figures=False)
    assert apart.notes == 3 * HEARINGS  # one step less than three hearings


def test_a_passage_that_counts_has_three_different_steps_in_all_and_in_each_stretch():
    rng = np.random.default_rng(0)
    for _ in range(200):
        steps = np.append(rng.choice(4, 40, p=[0.6, 0.3, 0.05, 0.05]), -1)
        length = rng.integers(0, 40 - np.arange(41), endpoint=True).clip(0)
        expected = [_slowly(steps[at:][:most].tolist()) for at, most in enumerate(length)]
        assert counting(steps, length).tolist() == expected


def test_a_figure_heard_a_third_time_ends_a_passage():
    rng = np.random.default_rng(2)
    for _ in range(200):
        steps = np.append(rng.choice(3, 40, p=[0.8, 0.1, 0.1]), -1)
        length = 40 - np.arange(41)
        expected = [_without_figures(steps[at:-1].tolist()) for at in range(41)]
        assert until_third_hearing(steps, length).tolist() == expected


def _without_figures(steps):
    for end in range(len(steps)):
        for figure in range(1, LONGEST_FIGURE + 1):
            heard = steps[: end + 1][-HEARINGS * figure :]
            if len(heard) == HEARINGS * figure and heard == heard[:figure] * HEARINGS:
                return end
    return len(steps)


def _slowly(steps):
    """How much of some steps counts, by the words of the rule."""
    for end in range(len(steps), 0, -1):
        stretches = [steps[i : i + STRETCH] for i in range(end - STRETCH + 1)]
        if len(set(steps[:end])) >= 3 and all(len(set(each)) >= 3 for each in stretches):
            return end
    return 0


def test_matches_are_those_that_comparing_everything_with_everything_finds():
    rng = np.random.default_rng(1)
    for _ in range(100):
        music, other = (np.append(rng.integers(-1, 3, rng.integers(0, 40)), -1) for _ in "ab")
        length, place = matches(music, other)
        for at in range(len(music)):
            known = [_together(music[at:], other[to:]) for to in range(len(other))]
            assert length[at] == max(known)
            assert length[at] == 0 or known[place[at]] == max(known)


def _together(ours, theirs):
    for count, (one, two) in enumerate(zip(ours, theirs, strict=False)):
        if one != two or one < 0:
            return count
    raise AssertionError("every line ends")


def test_nothing_is_found_in_nothing_and_of_nothing():
    nothing = Notes(*(np.zeros((3, 0), np.int64)))
    assert longest(nothing, notes(*tune(20))).notes == 0
    assert longest(notes(*tune(20)), nothing).source is None
    assert Copies([], []).longest() == []


@pytest.mark.parametrize("meter", [(4, 4), (3, 4), (6, 8), (5, 16)])
def test_notes_read_from_tokens_are_those_of_the_score(invented, tiny_tokenizer, meter):
    ids = np.array(tiny_tokenizer.encode(invented(meter=meter, programs=(0, 40, -1), bars=6)))
    score = tiny_tokenizer.decode(ids.tolist())
    expected = Notes.of(note_table(score, bar_starts(score)))
    found = TokenReader(tiny_tokenizer).read(ids)
    assert len(found) > 20
    for name in ("onset", "program", "pitch"):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist()


def test_drums_are_left_out_and_what_is_struck_twice_is_one_note(invented):
    score = invented(programs=(0, -1))
    score.tracks.append(score.tracks[0].copy())
    found = Notes.of(note_table(score, bar_starts(score)))
    assert set(found.program.tolist()) == {0}
    assert len(found) == len(score.tracks[0].notes)
