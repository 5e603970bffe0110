"""One press while it goes on: its pace, and what its takes should sound like."""

from __future__ import annotations

from itertools import pairwise

import pytest

from musiclstm import Sampling, example_files
from musiclstm.midi.analysis import last_note_end, seconds_at
from page.session import job
from page.session.job import (
    GenerationProgress,
    throttle_to_playback,
)
from page.session.session import GenerationJob, PlayerState, Session, StartPoint
from page.session.settings import PageSettings
from page.ui.input_parsing import parse_number, parse_programs, parse_seconds

TUNE = example_files()["Minuet in G (Petzold)"]


PLAIN = Sampling(seed=3, top_p=0.98, copy_weight=1, repetition_penalty=1)


@pytest.fixture(scope="module")
def drafts(tiny_composer):
    return list(tiny_composer.stream(bars=6, prompt=TUNE, sampling=PLAIN))


class Clock:
    """A press whose waiting only moves the clock."""

    def __init__(self, monkeypatch):
        self.now_s, self.press = 0.0, GenerationJob()
        monkeypatch.setattr(job.time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(self.press.stopped, "wait", self.wait)
        self.at_wait = lambda: None

    def wait(self, seconds):
        self.now_s += seconds
        self.at_wait()
        return self.press.stopped.is_set()


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(job, "AHEAD_S", 3.0)
    return Clock(monkeypatch)


def ends_s(drafts):
    return [seconds_at(draft.score, last_note_end(draft.score)) for draft in drafts]


def test_music_without_end_waits_for_the_listener(drafts, clock):
    first_s, *_ = ends = ends_s(drafts)
    longest_s = max(later - earlier for earlier, later in pairwise(ends))
    for draft, end_s in zip(throttle_to_playback(drafts, clock.press), ends, strict=True):
        assert end_s - first_s - clock.now_s <= 3.0 + longest_s
        assert draft.bars <= 6
    assert clock.now_s > 1


def test_stop_ends_the_waiting(drafts, clock):
    clock.at_wait = clock.press.stopped.set
    assert 1 < len(list(throttle_to_playback(drafts, clock.press))) < 6


def test_another_sound_need_not_wait_for_the_next_bar(drafts, clock):
    def ask_once():
        clock.press.changed.set()
        clock.at_wait = lambda: None

    clock.at_wait = ask_once
    bars = [draft.bars for draft in throttle_to_playback(drafts, clock.press)]
    assert sorted(set(bars)) == [1, 2, 3, 4, 5, 6]
    assert len(bars) == 7
    assert not clock.press.changed.is_set()


def test_a_take_sounds_as_it_was_last_asked_to():
    desk, press = Session(), GenerationJob()
    run = GenerationProgress(
        desk, press, StartPoint(desk.seed), PageSettings(reverb=0.3), 1, 8, "8 bars"
    )
    desk.players[0] = PlayerState(muted=(0,), from_s=4.0)
    assert run.wanted(0).mix.muted == frozenset()  # it is still the former piece that is muted
    run.begun.add(0)
    mix, from_s = run.wanted(0)
    assert (mix.reverb, mix.muted, from_s) == (0.3, {0}, 4.0)
    press.sound = PageSettings(reverb=0.6)
    assert run.wanted(0).mix.reverb == 0.6
    assert run.sounding[0] == run.wanted(0).mix


@pytest.mark.parametrize(
    ("place", "seconds"),
    [(2.5, 2.5), (3, 3.0), (-1, 0.0), (float("nan"), 0.0), (float("inf"), 0.0), ("x", 0.0)],
)
def test_a_place_from_anywhere_is_a_time_or_the_beginning(place, seconds):
    assert parse_seconds(place) == seconds


def test_what_comes_from_a_browser_is_read_with_care():
    assert parse_programs([0, "x", None, 40]) == (0, 40)
    assert parse_programs("0") == ()
    assert parse_number(" 12 ") == 12.0
    assert parse_number("twelve") == "twelve"
