"""What one piece is."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from symusic import Note, Score, Tempo, TimeSignature, Track

from musiclstm import MusicTokenizer, read_midi
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


def look(score, kept=None):
    clean, report = read_midi(score.dumps_midi())
    return piece_stats(clean, report, token_notes=report.notes if kept is None else kept)


def tune(*, up=0, step=240, count=64, shift=0, length=200):
    return [(shift + step * i, length, 60 + up + i * i % 11, 80) for i in range(count)]


@pytest.fixture(scope="module")
def plain():
    return look(score_of(tune()))


@pytest.mark.parametrize(
    ("notes", "seconds", "short"), [(40, 8.0, False), (39, 60.0, True), (400, 7.9, True)]
)
def test_few_notes_or_little_time_are_short(plain, notes, seconds, short):
    assert replace(plain, notes=notes, seconds=seconds).is_short is short


def test_a_piece_is_told_in_seconds_notes_key_and_meter(plain):
    assert plain.seconds == pytest.approx((63 * 240 + 200) / 480 * 0.5, abs=0.001)
    assert (plain.notes, plain.lost, plain.moved, plain.onsets) == (64, 0, 0, 64)
    assert plain.programs == ((0, 64),)
    assert (plain.meter, plain.meters) == ("4/4", 1)
    assert plain.key is not None
    assert not plain.is_off_grid


def test_facts_survive_a_way_through_json(plain):
    facts = json.loads(json.dumps(plain.to_dict()))
    assert facts == plain.to_dict()
    assert PieceStats.from_dict(facts) == plain


def test_the_grid_moves_what_lies_off_its_twelfths_by_so_many_milliseconds():
    # 32nd notes at 120: every second one lies half a step of the grid, a 24th beat, off.
    found = look(score_of(tune(step=60, length=50)))
    assert found.moved == 32
    assert found.moved_ms / found.moved == pytest.approx(1000 * 0.5 / 24, rel=0.02)
    assert not found.is_off_grid


@pytest.mark.parametrize("tpq", [96, 220, 480, 1024])
def test_triplets_rounded_to_ticks_are_not_called_moved(tpq):
    notes = [(tpq * i // 3, tpq // 4, 60 + i % 7, 80) for i in range(60)]
    assert look(score_of(notes, tpq=tpq)).moved == 0


def test_in_ticks_that_are_coarse_half_a_step_is_still_a_move():
    notes = [(3 * i, 2, 60 + i % 7, 80) for i in range(64)]  # 32nd notes of 3 ticks, steps of 2
    assert look(score_of(notes, tpq=24)).moved == 32


def test_in_eighths_the_grid_is_twice_as_fine():
    assert look(score_of(tune(step=60, length=50), meter=(6, 8))).moved == 0


def test_a_key_struck_twice_within_a_step_is_a_lost_note():
    twice = [(*note[:2], note[2], 50) for note in tune()[:5]]
    score = score_of(tune() + [(t + 8, 100, p, v) for t, _, p, v in twice])
    tokenizer = MusicTokenizer()
    names = [tokenizer.token_names[index] for index in tokenizer.encode(score)]
    assert look(score, kept=sum(name.startswith("Pitch_") for name in names)).lost == 5


# Free recordings.


def free_onsets(count, seed=0):
    rng = np.random.default_rng(seed)
    steps = rng.choice([0.25, 0.5, 1.0], count) * np.exp(rng.normal(0, 0.03, count))
    return np.cumsum(steps * 120 / 112)  # beats of a file that claims 120


def played(onsets, tpq=480):
    return score_of([(int(b * tpq), 100, 60 + i % 12, 80) for i, b in enumerate(onsets)], tpq=tpq)


@pytest.mark.parametrize("seed", range(5))
def test_a_recording_without_a_click_is_free(seed):
    assert look(played(free_onsets(600, seed))).is_off_grid


@pytest.mark.parametrize("sigma", [0.0, 0.02, 0.04])
def test_hands_that_play_to_a_click_are_not_free(sigma):
    rng = np.random.default_rng(1)
    onsets = np.arange(400) / 2 + np.abs(rng.normal(0, sigma, 400))
    assert not look(played(onsets)).is_off_grid


def test_a_few_notes_are_never_called_free():
    assert not look(played(free_onsets(30))).is_off_grid


def test_chance_alone_is_called_free_nearly_always():
    rng = np.random.default_rng(2)
    found = [beat_fit(rng.random(200)) < 2.5 / np.sqrt(200) for _ in range(200)]
    assert np.mean(found) > 0.97


def test_in_ticks_of_half_a_grid_step_the_ticks_themselves_are_no_fit():
    onsets = np.unique((free_onsets(600) * 24).astype(int)) / 24
    assert look(played(onsets, tpq=24)).beat_fit < 0.2


def test_where_no_part_of_a_beat_has_two_ticks_nothing_speaks_against_the_beat():
    assert beat_fit(np.array([0.0]), 1) == 1.0
    assert beat_fit(np.zeros(0)) == 1.0


# Copies.


@pytest.mark.parametrize(
    "copy",
    [
        score_of(tune(up=5)),
        score_of(tune(), bpm=90, program=73),
        score_of(tune(shift=1920)),
        score_of([(2 * t, 2 * d, p, 30) for t, d, p, _ in tune()], tpq=960),
    ],
    ids=["higher", "another tempo and instrument", "later", "finer ticks"],
)
def test_copies_have_one_fingerprint(plain, copy):
    assert look(copy).fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    "other",
    [
        score_of(tune()[:-1]),
        score_of(tune(length=100)),
        score_of(tune(step=480)),
        score_of([*tune()[:-1], (63 * 240, 200, 59, 80)]),
    ],
    ids=["a note less", "shorter notes", "slower notes", "another last note"],
)
def test_other_pieces_have_another_fingerprint(plain, other):
    assert look(other).fingerprint != plain.fingerprint


def test_drums_alone_are_compared_as_they_are():
    one, same, higher = (score_of(tune(up=up), drums=True) for up in (0, 0, 2))
    assert look(one).fingerprint == look(same).fingerprint != look(higher).fingerprint
