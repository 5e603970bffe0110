"""A seed that is heard: from where somebody listens, on request, and never without end."""

from __future__ import annotations

import json

import numpy as np
import pytest

from musiclstm import RenderError
from musiclstm.audio.mix import Mix
from page.playback import audio_chunks, prompt_preview
from page.playback.audio_chunks import frame_of
from page.playback.player import RATE_HZ, ChunkCache
from page.playback.prompt_preview import PromptPreview, pianoroll_of_prompt
from page.session.prompt import PromptChoice


class Hum:
    """Stands in for the synthesizer: silence of the right length, and a second that rings on."""

    open = 0

    def __init__(self, mix=None, *, sample_rate_hz):
        self.mix, self.frame = mix, 0
        Hum.open += 1

    def close(self):
        Hum.open -= 1

    def start_at(self, score, tick):
        self.frame = frame_of(score, tick)

    def play(self, score, tick):
        before, self.frame = self.frame, frame_of(score, tick)
        return np.zeros((self.frame - before, 2), np.float32)

    def flush(self):
        return np.zeros((RATE_HZ, 2), np.float32)


@pytest.fixture(autouse=True)
def _humming(monkeypatch):
    monkeypatch.setattr(audio_chunks, "StreamingRenderer", Hum)
    monkeypatch.setattr(Hum, "open", 0)


@pytest.fixture
def minuet():
    return PromptChoice.bundled("Minuet in G (Petzold)")


def frames_of(seed):
    return [frame_of(seed.score, line) for line in pianoroll_of_prompt(seed)["bars"]["ticks"]]


def test_a_picture_has_no_sound_and_says_that_some_can_be_had(minuet):
    value = PromptPreview(minuet, ChunkCache()).picture()
    assert (value["on_request"], value["chunks"], value["complete"]) == (True, [], False)
    roll = json.loads(value["roll"])
    assert roll["prompt_end_tick"] == roll["bars"]["ticks"][-1]


def test_all_of_it_is_heard_and_rings_out(minuet):
    *_, last = PromptPreview(minuet, ChunkCache()).play()
    starts, ends = zip(*((start, start + frames) for start, frames in last["chunks"]), strict=True)
    assert starts == (0, *ends[:-1])
    assert ends[-1] == frames_of(minuet)[-1] + RATE_HZ
    assert last["complete"]
    assert last["fresh"] == []
    assert Hum.open == 0


def test_it_is_heard_from_the_bar_where_the_listener_is(minuet):
    frames = frames_of(minuet)
    first = next(PromptPreview(minuet, ChunkCache(), from_s=(frames[3] + 500) / RATE_HZ).play())
    assert first["cue_frame"] == frames[3] + 500
    assert first["chunks"] == [[frames[3], frames[4] - frames[3]]]


@pytest.mark.parametrize("from_s", [-1.0, 0.0, 1e9, float("nan")])
def test_from_a_place_that_is_none_it_begins_anew(minuet, from_s):
    first = next(PromptPreview(minuet, ChunkCache(), from_s=from_s).play())
    assert (first["cue_frame"], first["chunks"][0][0]) == (0, 0)


def test_of_a_long_seed_only_some_minutes_are_made_at_once(minuet, monkeypatch):
    monkeypatch.setattr(prompt_preview, "MOST_S", 4.0)
    *_, last = PromptPreview(minuet, ChunkCache()).play()
    end = sum(last["chunks"][-1])
    assert 4.0 * RATE_HZ <= end < frames_of(minuet)[-1]
    assert last["complete"]


def test_bars_that_go_on_are_marked_and_all_of_them_are_not(minuet):
    shown = PromptPreview(minuet, ChunkCache())
    assert shown.picture()["selection"] is None
    shown.choose(minuet.choosing(first_bar=3))
    assert shown.picture()["selection"] == [3, 8]
    shown.choose(minuet.choosing(tracks=[0]))
    assert shown.picture()["selection"] is None


def test_the_sound_is_the_one_that_was_asked_for(minuet, monkeypatch):
    asked = []
    make = Hum.__init__

    def noted(self, mix=None, **options):
        asked.append(mix)
        make(self, mix, **options)

    monkeypatch.setattr(Hum, "__init__", noted)
    next(PromptPreview(minuet, ChunkCache()).play(Mix(reverb=0.1)))
    assert asked == [Mix(reverb=0.1)]


def test_without_a_soundfont_it_is_one_sentence(minuet, monkeypatch):
    def refuse(*_, **__):
        raise RenderError("No SoundFont.")

    monkeypatch.setattr(audio_chunks, "StreamingRenderer", refuse)
    with pytest.raises(RenderError, match="No SoundFont"):
        next(PromptPreview(minuet, ChunkCache()).play())
