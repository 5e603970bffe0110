"""Throttling to playback, the mix of a running job, and values from a browser."""

from __future__ import annotations

from itertools import pairwise

import pytest

from musiclstm import Sampling, example_files
from musiclstm.midi.analysis import last_note_end, seconds_at
from page.session.job import (
    GenerationProgress,
    throttle_to_playback,
)
from page.session.session import GenerationJob, PlayerState, Session, StartPoint
from page.session.settings import PageSettings
from page.ui.input_parsing import parse_integer, parse_number, parse_seconds, parse_tracks

TUNE = example_files()["Minuet in G (Petzold)"]


PLAIN = Sampling(seed=3, top_p=0.98, copy_weight=1, repetition_penalty=1)


@pytest.fixture(scope="module")
def drafts(tiny_composer):
    return list(tiny_composer.stream(bars=6, prompt=TUNE, sampling=PLAIN))


class Clock:
    """A job that waits by advancing a fake clock."""

    def __init__(self, monkeypatch):
        self.now_s, self.job = 0.0, GenerationJob()
        monkeypatch.setattr("page.session.job.time.monotonic", lambda: self.now_s)
        monkeypatch.setattr(self.job.stopped, "wait", self.wait)
        self.at_wait = lambda: None

    def wait(self, seconds):
        self.now_s += seconds
        self.at_wait()
        return self.job.stopped.is_set()


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr("page.session.job.MAX_AHEAD_S", 3.0)
    return Clock(monkeypatch)


def ends_s(drafts):
    return [seconds_at(draft.score, last_note_end(draft.score)) for draft in drafts]


def test_endless_music_waits_for_playback(drafts, clock):
    first_s, *_ = ends = ends_s(drafts)
    longest_s = max(later - earlier for earlier, later in pairwise(ends))
    for draft, end_s in zip(throttle_to_playback(drafts, clock.job), ends, strict=True):
        assert end_s - first_s - clock.now_s <= 3.0 + longest_s
        assert draft.bars <= 6
    assert clock.now_s > 1


def test_stop_interrupts_the_wait(drafts, clock):
    clock.at_wait = clock.job.stopped.set
    assert 1 < len(list(throttle_to_playback(drafts, clock.job))) < 6


def test_a_changed_mix_yields_the_draft_again(drafts, clock):
    def ask_once():
        clock.job.mix_changed.set()
        clock.at_wait = lambda: None

    clock.at_wait = ask_once
    bars = [draft.bars for draft in throttle_to_playback(drafts, clock.job)]
    assert sorted(set(bars)) == [1, 2, 3, 4, 5, 6]
    assert len(bars) == 7
    assert not clock.job.mix_changed.is_set()


def test_stream_options_are_the_newest_mix_and_position():
    session, job = Session(), GenerationJob()
    run = GenerationProgress(
        session, job, StartPoint(session.version.prompt), PageSettings(reverb=0.3), 1, 8, "8 bars"
    )
    session.players[0] = PlayerState(muted=(0,), from_s=4.0)
    assert run.stream_options(0).mix.muted == frozenset()  # the former piece is muted
    run.shown.add(0)
    mix, from_s = run.stream_options(0)
    assert (mix.mix.reverb, mix.muted, from_s) == (0.3, {0}, 4.0)
    job.sound_settings = PageSettings(reverb=0.6)
    assert run.stream_options(0).mix.mix.reverb == 0.6
    assert run.mixes[0] == run.stream_options(0).mix


@pytest.mark.parametrize(
    ("position", "seconds"),
    [(2.5, 2.5), (3, 3.0), (-1, 0.0), (float("nan"), 0.0), (float("inf"), 0.0), ("x", 0.0)],
)
def test_an_invalid_position_is_the_start(position, seconds):
    assert parse_seconds(position) == seconds


def test_values_from_a_browser_are_converted_or_ignored():
    assert parse_tracks([0, "x", None, 40]) == (0, 40)
    assert parse_tracks("0") == ()
    assert parse_number(" 12 ") == 12.0
    assert parse_number("twelve") == "twelve"
    assert [parse_integer(each) for each in (3, "3", None, True, 2.0)] == [3, 0, 0, 0, 0]
