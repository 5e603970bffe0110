"""Statistics of a piece."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from symusic import Note, Score, Tempo, TimeSignature, Track

from musiclstm import read_midi
from training.data.piece_stats import PieceStats, beat_fit, piece_stats


def score_of(notes, *, tpq=480, meter=(4, 4), bpm=120, program=0, drums=False):
    score = Score(tpq)
    score.tempos.append(Tempo(0, bpm))
    score.time_signatures.append(TimeSignature(0, *meter))
    track = Track("Any", program, drums)
    for note in notes:
        track.notes.append(Note(*note))
    score.tracks.append(track)
    return score


def stats_of(score, token_notes=None):
    clean, summary = read_midi(score.dumps_midi())
    notes = summary.notes if token_notes is None else token_notes
    return piece_stats(clean, summary, token_notes=notes)


def tune(*, up=0, step=240, count=64, shift=0, length=200):
    return [(shift + step * i, length, 60 + up + i * i % 11, 80) for i in range(count)]


@pytest.fixture(scope="module")
def plain():
    return stats_of(score_of(tune()))


@pytest.mark.parametrize(
    ("notes", "seconds", "is_short"), [(40, 8.0, False), (39, 60.0, True), (400, 7.9, True)]
)
def test_few_notes_or_little_time_are_short(plain, notes, seconds, is_short):
    assert replace(plain, notes=notes, seconds=seconds).is_short is is_short


def test_length_notes_key_and_meter_are_those_of_the_score(plain):
    assert plain.seconds == pytest.approx((63 * 240 + 200) / 480 * 0.5, abs=0.001)
    assert (plain.notes, plain.lost, plain.moved, plain.onsets) == (64, 0, 0, 64)
    assert plain.programs == ((0, 64),)
    assert (plain.meter, plain.meters) == ("4/4", 1)
    assert plain.key is not None
    assert stats_of(score_of(tune()), token_notes=59).lost == 5
    assert PieceStats.from_dict(json.loads(json.dumps(plain.to_dict()))) == plain


# Notes beside the grid of twelve steps per beat.


@pytest.mark.parametrize(
    ("score", "moved"),
    [
        (score_of(tune(step=60, length=50)), 32),  # every second 32nd note is between two steps
        (score_of(tune(step=60, length=50), meter=(6, 8)), 0),  # beats are eighths
        (score_of([(3 * i, 2, 60 + i % 7, 80) for i in range(64)], tpq=24), 32),  # coarse ticks
        *(
            (score_of([(tpq * i // 3, tpq // 4, 60 + i % 7, 80) for i in range(60)], tpq=tpq), 0)
            for tpq in (96, 220, 480, 1024)  # triplets that are rounded to ticks
        ),
    ],
)
def test_notes_between_grid_steps_are_moved_but_rounded_ticks_are_not(score, moved):
    stats = stats_of(score)
    assert stats.moved == moved
    assert not stats.is_off_grid
    if moved and score.ticks_per_quarter == 480:  # by half a step, at 120 beats a minute
        assert stats.moved_ms / moved == pytest.approx(1000 * 0.5 / 24, rel=0.02)


# Recordings without a beat.


def free_onsets(count, seed=0):
    rng = np.random.default_rng(seed)
    steps = rng.choice([0.25, 0.5, 1.0], count) * np.exp(rng.normal(0, 0.03, count))
    return np.cumsum(steps * 120 / 112)  # beats of a file that claims 120


def played(onsets, tpq=480):
    return score_of([(int(b * tpq), 100, 60 + i % 12, 80) for i, b in enumerate(onsets)], tpq=tpq)


@pytest.mark.parametrize("seed", range(3))
def test_a_recording_without_a_click_is_off_the_grid(seed):
    assert stats_of(played(free_onsets(600, seed))).is_off_grid
    assert not stats_of(played(free_onsets(30, seed))).is_off_grid  # too few to know


@pytest.mark.parametrize("sigma", [0.0, 0.04])
def test_a_performance_to_a_click_is_on_the_grid(sigma):
    rng = np.random.default_rng(1)
    onsets = np.arange(400) / 2 + np.abs(rng.normal(0, sigma, 400))
    assert not stats_of(played(onsets)).is_off_grid


def test_random_onsets_rarely_exceed_the_chance_threshold():
    rng = np.random.default_rng(2)
    found = [beat_fit(rng.random(200)) < 2.5 / np.sqrt(200) for _ in range(200)]
    assert np.mean(found) > 0.97


def test_divisions_finer_than_two_ticks_are_not_tested():
    onsets = np.unique((free_onsets(600) * 24).astype(int)) / 24
    assert stats_of(played(onsets, tpq=24)).beat_fit < 0.2
    assert beat_fit(np.array([0.0]), 1) == beat_fit(np.zeros(0)) == 1.0


# Copies.


@pytest.mark.parametrize(
    ("other", "is_copy"),
    [
        (score_of(tune(up=5)), True),
        (score_of(tune(), bpm=90, program=73), True),
        (score_of(tune(shift=1920)), True),
        (score_of([(2 * t, 2 * d, p, 30) for t, d, p, _ in tune()], tpq=960), True),
        (score_of(tune()[:-1]), False),
        (score_of(tune(length=100)), False),
        (score_of(tune(step=480)), False),
        (score_of([*tune()[:-1], (63 * 240, 200, 59, 80)]), False),
    ],
)
def test_copies_have_the_same_fingerprint_and_other_pieces_another(plain, other, is_copy):
    assert (stats_of(other).fingerprint == plain.fingerprint) is is_copy


def test_drums_alone_are_not_transposed():
    one, same, higher = (score_of(tune(up=up), drums=True) for up in (0, 0, 2))
    assert stats_of(one).fingerprint == stats_of(same).fingerprint != stats_of(higher).fingerprint
