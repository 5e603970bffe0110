"""Performances whose notes have no relation to the beats of their file."""

from __future__ import annotations

import numpy as np
import pytest
from symusic.core import NoteTick, ScoreTick, TrackTick

from musiclstm.errors import ScoreError
from musiclstm.midi.analysis import TempoMap
from musiclstm.midi.beats import find_beats, grid_excess, is_performed
from musiclstm.midi.reader import check_score

QUARTER = 480


def score_of(beats: np.ndarray) -> ScoreTick:
    """Return notes of half a quarter at these beats."""
    score = ScoreTick(QUARTER)
    score.tracks.append(TrackTick("", 0))
    for number, tick in enumerate(np.rint(beats * QUARTER).astype(int).tolist()):
        score.tracks[0].notes.append(NoteTick(tick, QUARTER // 2, 60 + number % 7, 80))
    return score


def rhythm(*, seed: int = 0) -> np.ndarray:
    """Return onsets of 50 beats of a quarter, eighths, sixteenths or a triplet each."""
    parts = np.random.default_rng(seed).choice([1, 2, 3, 4], 50)
    return np.concatenate([beat + np.arange(each) / each for beat, each in enumerate(parts)])


def with_free_tempo(beats: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Play beats at a drifting tempo, and each onset a little early or late."""
    rng = np.random.default_rng(seed)
    tempo = np.exp(np.cumsum(rng.normal(0, 0.03, int(beats.max()) + 2))) * 0.8
    at = np.concatenate([[0], np.cumsum(1 / tempo)])
    return np.interp(beats, np.arange(len(at)), at) + rng.uniform(0, 0.05, len(beats))


@pytest.mark.parametrize("seed", range(5))
def test_a_free_performance_is_recognized(seed: int) -> None:
    assert not is_performed(score_of(rhythm(seed=seed)))
    assert is_performed(score_of(with_free_tempo(rhythm(seed=seed), seed=seed)))


def test_playing_to_a_click_is_on_the_grid() -> None:
    late = np.random.default_rng(0).normal(0, 0.02, len(rhythm()))
    assert not is_performed(score_of(np.maximum(0, rhythm() + late)))


def test_exact_32nds_and_few_notes_are_no_performance() -> None:
    assert not is_performed(score_of(np.arange(1, 400, 2) / 8))
    assert not is_performed(score_of(with_free_tempo(rhythm())[:20]))
    assert grid_excess(ScoreTick(QUARTER)) == 1


def test_the_summary_tells_a_performance_in_plain_words() -> None:
    told = "do not follow the bars and beats of the file"
    assert told in str(check_score(score_of(with_free_tempo(rhythm())))[1])
    assert told not in str(check_score(score_of(rhythm()))[1])


# -- Finding the beats ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_beats_of_a_performance_are_found(seed: int) -> None:
    played = score_of(with_free_tempo(rhythm(seed=seed), seed=seed))
    found = find_beats(played)
    assert grid_excess(found) > 0.6
    assert not is_performed(found)


def test_the_notes_keep_their_times() -> None:
    played = score_of(with_free_tempo(rhythm()))
    found = find_beats(played)
    before, after = (
        TempoMap(score).seconds(score.tracks[0].notes.numpy()["time"]) for score in (played, found)
    )
    assert np.ptp(after - before) < 0.003  # the beginning may move
    pitches = [[note.pitch for note in score.tracks[0].notes] for score in (played, found)]
    assert pitches[0] == pitches[1]


def test_the_meter_follows_the_accents() -> None:
    beats = np.arange(60.0)
    waltz = score_of(with_free_tempo(beats))
    for number, note in enumerate(waltz.tracks[0].notes):
        note.pitch, note.velocity = (40, 110) if number % 3 == 1 else (70, 50)
    found = [(s.time, s.numerator, s.denominator) for s in find_beats(waltz).time_signatures]
    assert found == [(0, 1, 4), (480, 3, 4)]


def test_too_few_onsets_are_refused() -> None:
    with pytest.raises(ScoreError, match="at least 24 onsets, and the music has 10"):
        find_beats(score_of(rhythm()[:10]))
