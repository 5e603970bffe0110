"""The formulas, on music small enough to count by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from symusic.core import NoteTick, ScoreTick, TrackTick

from training import measures
from training.measures import (
    FEATURES,
    can_go_on,
    collapsed,
    groove_similarity,
    kl_nats,
    overlapped_area,
    passage,
    repetition_rate,
    scale_consistency,
    seed_sensitivity,
    set_likeness,
)

BAR = 1920


def music(*notes, bars=2, program=0, drums=(), length=BAR):
    """A passage of (tick, duration, pitch[, velocity]); `drums` likewise."""
    score = ScoreTick(480)
    for own, is_drum in ((notes, False), (drums, True)):
        track = TrackTick("", program, is_drum)
        for tick, duration, pitch, *velocity in own:
            track.notes.append(NoteTick(tick, duration, pitch, *(velocity or [80])))
        score.tracks.append(track)
    return passage(score, np.arange(bars + 1) * length)


def bars_of(*pitches):
    """One bar for each argument: a string of digits is a row of quarters, counted from middle C."""
    notes = [
        (BAR * bar + 480 * beat, 480, 60 + int(digit))
        for bar, row in enumerate(pitches)
        for beat, digit in enumerate(row)
    ]
    return music(*notes, bars=len(pitches))


NOTHING = bars_of("", "")


def test_a_passage_has_the_notes_that_begin_in_it_cut_off_at_its_end():
    score = ScoreTick(480)
    score.tracks.append(TrackTick("", 5, False))
    for tick, duration in ((0, 480), (BAR, 480), (BAR + 960, 4 * BAR), (2 * BAR, 480)):
        score.tracks[0].notes.append(NoteTick(tick, duration, 60, 80))
    found = passage(score, np.array([BAR, 2 * BAR]))
    assert found.onset.tolist() == [192, 288]
    assert found.duration.tolist() == [48, 96]
    assert found.program.tolist() == [5, 5]
    assert found.lines.tolist() == [192, 384]


def test_a_piece_goes_on_if_it_is_long_enough_and_its_seed_says_something(invented):
    assert can_go_on(invented(bars=6), seed_bars=2, bars=4)
    assert not can_go_on(invented(bars=5), seed_bars=2, bars=4)
    assert not can_go_on(invented(bars=6, programs=(-1,)), seed_bars=2, bars=4)
    late = invented(bars=6)
    late.tracks[0].notes = [note for note in late.tracks[0].notes if note.time >= 2 * BAR]
    assert not can_go_on(late, seed_bars=2, bars=4)


# Histograms.


def test_pitch_classes_are_counted_over_octaves_and_without_drums():
    found = FEATURES["pitch class"](
        music((0, 480, 60), (0, 9, 72), (480, 9, 61), drums=[(0, 9, 38)])
    )
    assert found.tolist() == [2, 1] + 10 * [0]


def test_intervals_go_from_onset_to_onset_and_a_chord_is_one():
    found = FEATURES["inter-onset interval"](
        music((0, 480, 60), (0, 480, 64), (480, 160, 65), (640, 9, 66), (3200, 9, 60))
    )
    assert {i: n for i, n in enumerate(found) if n} == {12: 1, 4: 1, 48: 1}


def test_lengths_are_counted_in_twelfths_of_a_quarter_up_to_a_whole():
    found = FEATURES["duration"](
        music((0, 480, 60), (0, 40, 61), (0, 2400, 62), drums=[(0, 160, 38)])
    )
    assert {i: n for i, n in enumerate(found) if n} == {12: 1, 1: 1, 48: 1}


def test_velocities_lie_in_sixteen_bins():
    found = FEATURES["velocity"](music((0, 9, 60, 1), (0, 9, 61, 7), (0, 9, 62, 127)))
    assert {i: n for i, n in enumerate(found) if n} == {0: 2, 15: 1}


def test_density_counts_bars_by_their_notes_and_empty_ones_too():
    found = FEATURES["density"](bars_of("", "1", "1234", "1235"))
    assert {i: n for i, n in enumerate(found) if n} == {0: 1, 1: 1, 4: 2}


def test_polyphony_is_time_with_so_many_notes_and_silence_is_left_out():
    found = FEATURES["polyphony"](music((0, 960, 60), (480, 480, 64), drums=[(0, BAR, 38)]))
    assert {i: n for i, n in enumerate(found) if n} == {0: 48, 1: 48}


@pytest.mark.parametrize("name", FEATURES)
def test_music_without_notes_has_only_empty_bars(name):
    assert FEATURES[name](NOTHING).sum() == (2 if name == "density" else 0)


# Two histograms.


def test_the_overlapped_area_is_what_shares_have_in_common():
    a, b = np.array([2.0, 2.0, 0.0]), np.array([0.0, 1.0, 3.0])
    assert overlapped_area(a, b) == 0.25
    assert overlapped_area(a, 7 * a) == 1
    assert overlapped_area(a, np.zeros(3)) == 0


def test_the_divergence_is_that_of_smoothed_shares_and_finite():
    true, found = np.array([3.0, 0.0]), np.array([0.0, 3.0])
    p, q = 3.5 / 4, 0.5 / 4
    assert kl_nats(true, found) == pytest.approx(p * math.log(p / q) + q * math.log(q / p))
    assert kl_nats(true, true) == 0
    skewed = np.array([9.0, 3.0])
    assert kl_nats(true, skewed) != pytest.approx(kl_nats(skewed, true))


# Two sets.


def random_shares(rows, seed, *, peak=0.0):
    counts = np.random.default_rng(seed).random((rows, 12))
    counts[:, 0] += peak
    return counts / counts.sum(axis=1, keepdims=True)


def test_sets_of_one_kind_are_more_alike_than_sets_of_two():
    true, own = random_shares(30, 0), np.arange(30)
    same, other = (set_likeness(true, random_shares(30, 1, peak=p), own) for p in (0.0, 9.0))
    assert same is not None
    assert other is not None
    assert same[0] > 0.8 > 0.2 > other[0]
    assert same[1] < 0.2 < 2 < other[1]


def test_a_continuation_is_not_compared_with_its_own_piece():
    true = random_shares(12, 0)
    own = set_likeness(true, true, np.arange(12))
    assert own == pytest.approx((1.0, 0.0), abs=0.03)  # each distance twice, none of them zero
    others = set_likeness(true, true, np.roll(np.arange(12), 1))
    assert others is not None
    assert others[0] < own[0] - 0.05


def test_the_density_is_that_of_a_gaussian_kernel_with_scotts_bandwidth():
    values = np.array([0.0, 1.0, 3.0])
    width = np.std(values, ddof=1) * 3 ** (-0.2)
    assert measures._scott_bandwidth(values) == pytest.approx(width)
    found = measures._density(values, width, np.array([2.0]))
    assert found[0] == pytest.approx(sum(math.exp(-(((2 - v) / width) ** 2) / 2) for v in values))


def test_the_overlap_of_two_normal_densities_is_the_known_one():
    centres = np.linspace(-4, 4, 201)
    weights = np.exp(-(centres**2) / 2)
    sample = np.repeat(centres, np.rint(200 * weights).astype(int))
    overlap, divergence = measures._density_likeness(sample, sample + 1)
    spread = np.var(sample) + measures._scott_bandwidth(sample) ** 2  # of the smoothed density
    assert overlap == pytest.approx(math.erfc(0.5 / math.sqrt(2 * spread)), abs=0.002)
    assert divergence == pytest.approx(1 / (2 * spread), rel=0.05)  # the sample has no far tails


def test_equal_distances_are_wholly_alike_and_few_pieces_have_none():
    corners = np.eye(4)
    assert set_likeness(corners, corners, np.arange(4)) == (1.0, 0.0)
    assert set_likeness(corners[:2], corners[:2], np.arange(2)) is None
    assert set_likeness(corners, corners[:1], np.arange(1)) is None


# One passage.


def test_scale_consistency_is_the_share_in_the_best_scale():
    assert scale_consistency(bars_of("0245", "7")) == 1
    assert scale_consistency(bars_of("0123")) == 0.75  # C Db D Eb: three of them in Ab major
    assert math.isnan(scale_consistency(NOTHING))


def test_the_groove_of_two_bars_is_the_share_of_positions_that_agree():
    assert groove_similarity(bars_of("1234", "5678")) == 1
    assert groove_similarity(bars_of("1234", "56")) == pytest.approx(1 - 2 / 48)
    three = groove_similarity(bars_of("1234", "56", "7"))
    assert three == pytest.approx(1 - (2 + 3 + 1) / 3 / 48)
    assert math.isnan(groove_similarity(bars_of("1234")))


def test_a_bar_repeats_an_earlier_one_of_the_passage_or_of_the_seed():
    seed = bars_of("1234", "")
    assert repetition_rate(bars_of("1111", "2222", "1111", "2223"), seed) == 0.25
    assert repetition_rate(bars_of("1234", "5555"), seed) == 0.5
    assert repetition_rate(bars_of("", "1234"), seed) == 1  # empty bars are left out
    assert math.isnan(repetition_rate(NOTHING, seed))


def test_another_instrument_is_another_bar_and_a_longer_note_is_not():
    seed = music((0, 480, 60), bars=1)
    assert repetition_rate(music((0, 960, 60), bars=1), seed) == 1
    assert repetition_rate(music((0, 480, 60), bars=1, program=40), seed) == 0


def test_two_pitch_classes_are_a_collapse_and_three_are_none():
    assert collapsed(bars_of("0101", "1010", "1100", "0011"))
    assert not collapsed(bars_of("0102", "1010", "1100", "0011"))
    assert collapsed(NOTHING)


def test_a_bar_that_fills_half_of_the_passage_is_a_collapse():
    assert collapsed(bars_of("1234", "5678", "5678", "5678", "4321", "2143"))
    assert not collapsed(bars_of("1234", "5678", "5678", "1243", "5678", "2143"))
    assert not collapsed(bars_of("1234", "1234"))  # too short to tell
    assert collapsed(bars_of("1234", "5678", "", "", "", "2143"))


# Continuations and seeds.


def test_seed_sensitivity_is_the_share_of_pairs_that_the_own_seed_wins():
    alike = np.array([[0.9, 0.1, 0.2], [0.5, 0.4, 0.4], [0.1, 0.2, 0.3]])
    assert seed_sensitivity(alike, np.arange(3)) == pytest.approx((2 + 0.5 + 2) / 6)
    assert seed_sensitivity(np.ones((3, 3)), np.arange(3)) == 0.5
    assert math.isnan(seed_sensitivity(np.ones((3, 1)), np.zeros(3, int)))


def test_likeness_is_the_mean_over_features():
    a = {"x": np.array([1.0, 0.0]), "y": np.array([1.0, 1.0])}
    b = {"x": np.array([0.0, 1.0]), "y": np.array([2.0, 2.0])}
    assert measures.likeness(a, b) == 0.5
