"""The player of a prompt: its roll, and audio on request."""

from __future__ import annotations

import json

import pytest

from musiclstm import RenderError
from musiclstm.audio import Mix
from page.playback import audio_chunks, prompt_preview
from page.playback.audio_chunks import SAMPLE_RATE_HZ, frame_of
from page.playback.prompt_preview import PromptPreview, pianoroll_of_prompt
from page.session.prompt import PromptChoice

pytestmark = pytest.mark.usefixtures("synth")


@pytest.fixture
def minuet():
    return PromptChoice.bundled("Minuet in G (Petzold)")


def bar_frames(prompt):
    return [frame_of(prompt.score, tick) for tick in pianoroll_of_prompt(prompt)["bars"]["ticks"]]


def test_an_update_has_no_audio_and_offers_some_on_request(minuet, cache):
    value = PromptPreview(minuet, cache).update()
    assert (value["on_request"], value["chunks"], value["complete"]) == (True, [], False)
    roll = json.loads(value["roll"])
    assert roll["prompt_end_tick"] == roll["bars"]["ticks"][-1]


def test_the_whole_prompt_is_rendered_in_the_given_mix(minuet, cache, synth):
    *_, last = PromptPreview(minuet, cache).play(Mix(reverb=0.1))
    starts, ends = zip(*((start, start + frames) for start, frames in last["chunks"]), strict=True)
    assert starts == (0, *ends[:-1])
    assert ends[-1] == bar_frames(minuet)[-1] + SAMPLE_RATE_HZ
    assert (last["complete"], last["new_chunks"]) == (True, [])
    assert synth.open == 0
    assert synth.mixes == [Mix(reverb=0.1)]


def test_audio_starts_in_the_bar_of_the_playback_position(minuet, cache):
    frames = bar_frames(minuet)
    from_s = (frames[3] + 500) / SAMPLE_RATE_HZ
    first = next(PromptPreview(minuet, cache, from_s=from_s).play())
    assert first["cue_frame"] == frames[3] + 500
    assert first["chunks"] == [[frames[3], frames[4] - frames[3]]]


@pytest.mark.parametrize("from_s", [-1.0, 1e9, float("nan")])
def test_a_position_outside_the_prompt_is_its_start(minuet, cache, from_s):
    first = next(PromptPreview(minuet, cache, from_s=from_s).play())
    assert (first["cue_frame"], first["chunks"][0][0]) == (0, 0)


def test_a_long_prompt_is_rendered_in_part(minuet, cache, monkeypatch):
    monkeypatch.setattr(prompt_preview, "MAX_SECONDS", 4.0)
    *_, last = PromptPreview(minuet, cache).play()
    assert 4.0 * SAMPLE_RATE_HZ <= sum(last["chunks"][-1]) < bar_frames(minuet)[-1]
    assert last["complete"]


def test_selected_bars_are_marked_unless_all_are(minuet, cache):
    preview = PromptPreview(minuet, cache)
    assert preview.update()["selection"] is None
    preview.select(minuet.with_selection(first_bar=3))
    assert preview.update()["selection"] == [3, 8]
    preview.select(minuet.with_selection(tracks=[0]))
    assert preview.update()["selection"] is None


def test_a_missing_soundfont_is_a_render_error(minuet, cache, monkeypatch):
    def refuse(*_, **__):
        raise RenderError("No SoundFont.")

    monkeypatch.setattr(audio_chunks, "StreamingRenderer", refuse)
    with pytest.raises(RenderError, match="No SoundFont"):
        next(PromptPreview(minuet, cache).play())
