"""Streams: the roll grows bar by bar, and audio follows without a gap, the cue first."""

from __future__ import annotations

import io
import json
from base64 import b64decode
from itertools import pairwise

import numpy as np
import pytest
import soundfile

from musiclstm import Constraints, RenderError, Sampling, example_files, read_midi
from musiclstm.audio import Mix, StreamingRenderer
from musiclstm.audio.soundfonts import find_soundfont
from musiclstm.midi import last_note_end
from page.playback import stream as stream_module
from page.playback.audio_chunks import SAMPLE_RATE_HZ, frame_of
from page.playback.piece_view import view_of_piece, view_of_prompt
from page.playback.stream import (
    StreamOptions,
    replay,
    show_view,
    stream_piece,
    stream_pieces,
)
from page.playback.track_mix import TrackMix

MINUET = example_files()["Minuet in G (Petzold)"]
SAMPLING = Sampling(seed=3)


@pytest.fixture(scope="module")
def drafts(tiny_composer):
    return list(tiny_composer.stream(bars=6, prompt=MINUET, sampling=SAMPLING))


@pytest.fixture(scope="module")
def soundfont():
    try:
        find_soundfont()
    except RenderError as error:
        pytest.skip(f"audio needs a SoundFont: {error}")


def bar_frames(piece):
    excerpt = view_of_piece(piece)
    return [frame_of(excerpt.score, tick) for tick in excerpt.bar_ticks]


def samples_of(value, cache):
    """All samples of a stream, from the cache; its chunks must join without a gap."""
    starts = [start for start, _ in value["chunks"]]
    request = {"stream": value["stream"], "rendering": value["rendering"]}
    found: dict[int, bytes] = {}
    for start in starts:
        for at, data in cache.fetch_missing(request | {"starts": [start]})["chunks"]:
            found[at] = b64decode(data)
    assert sorted(found) == sorted(starts)
    at, parts = 0, []
    for start in sorted(found):
        assert start == at
        samples, _ = soundfile.read(io.BytesIO(found[start]), dtype="float32")
        parts.append(samples)
        at += len(samples)
    return np.concatenate(parts)


# -- While a piece is composed -------------------------------------------------------------------


def test_the_first_draft_already_has_two_beats_of_audio_at_the_cue(drafts, cache, synth):
    iterator = iter(drafts)
    first = next(stream_piece(iterator, cache=cache, planned_bars=6))
    assert len(list(iterator)) == 5  # no other draft was needed
    excerpt = view_of_piece(drafts[0])
    ticks = excerpt.bar_ticks[6], excerpt.bar_ticks[6] + 2 * excerpt.score.ticks_per_quarter
    start, end = (frame_of(excerpt.score, tick) for tick in ticks)
    assert first.piece is drafts[0]
    assert first.value["planned_bars"] == 8 + 6
    assert first.value["cue_frame"] == start
    assert first.value["chunks"] == [[start, end - start]]
    assert len(first.value["new_chunks"]) == 1
    assert synth.played == [(start, end)]


@pytest.mark.parametrize(("cue_bars", "bar"), [(0, 8), (3, 5), (99, 0)])
@pytest.mark.usefixtures("synth")
def test_playback_starts_before_the_new_bars(drafts, cache, cue_bars, bar):
    value = next(stream_piece(drafts, cache=cache, cue_bars=cue_bars)).value
    assert value["cue_frame"] == bar_frames(drafts[0])[bar]


@pytest.mark.usefixtures("synth")
def test_bars_of_earlier_jobs_are_not_new(tiny_composer, drafts, cache):
    more = tiny_composer.stream(bars=2, after=drafts[-1])
    value = next(stream_piece(more, cache=cache, planned_bars=8)).value
    assert value["cue_frame"] == bar_frames(drafts[-1])[8 + 6 - 2]
    assert value["planned_bars"] == 8 + 8


def test_every_draft_gives_an_update_and_all_chunks_make_up_the_piece(drafts, cache, synth):
    updates = list(stream_piece(drafts, cache=cache))
    assert [update.piece.bars for update in updates] == [1, 2, 3, 4, 5, 6, 6, 6, 6, 6, 6]
    assert [update.complete for update in updates] == [False] * 10 + [True]
    assert [update.value["complete"] for update in updates] == [False] * 10 + [True]
    assert all(update.error == "" for update in updates)
    frames = bar_frames(drafts[-1])
    samples = samples_of(updates[-1].value, cache)
    assert len(samples) == frames[-1] + SAMPLE_RATE_HZ
    assert np.abs(samples[:, 0] - np.arange(len(samples)) % 1_000 / 2_000).max() < 1e-4  # 16 bits
    new = [start for update in updates for start, _ in update.value["new_chunks"]]
    assert len(new) == len(updates) - 1  # none in the last update, which Gradio sends twice
    assert min(new) == updates[0].value["cue_frame"]  # what precedes it is in the cache only
    longest = max(late - early for early, late in pairwise(frames))
    lengths = dict(updates[-1].value["chunks"])
    assert all(lengths[start] <= longest for start in new[:-1])
    assert synth.open == 0


@pytest.mark.usefixtures("synth")
def test_updates_carry_only_changed_notes(tiny_composer, cache):
    drafts = tiny_composer.stream(bars=64, prompt=MINUET, sampling=SAMPLING)
    received: dict[str, list[int]] = {}
    base, sent, sent_whole = None, 0, 0
    for update in stream_piece(drafts, cache=cache):
        roll = json.loads(update.value["roll"])
        assert roll["base"] == base
        kept, base = roll["notes"].pop("from"), update.value["number"]
        for name, rows in roll["notes"].items():
            received[name] = received.get(name, [])[:kept] + rows
        sent += len(roll["notes"]["start"])
        sent_whole += len(received["start"])
    assert received == view_of_piece(update.piece).pianoroll()["notes"]
    assert sent < 0.2 * sent_whole  # 0.03 if no earlier row ever changed


def test_a_single_draft_is_rendered_to_its_end(drafts, cache, synth):
    *_, last = stream_piece(drafts[:1], cache=cache)
    excerpt = view_of_piece(drafts[0])
    end = max(excerpt.bar_ticks[-1], last_note_end(excerpt.score))
    assert len(samples_of(last.value, cache)) == frame_of(excerpt.score, end) + SAMPLE_RATE_HZ
    assert synth.open == 0


def test_a_closed_generator_frees_its_synthesizer(drafts, cache, synth):
    updates = stream_piece(drafts, cache=cache)
    next(updates)
    assert synth.open == 1
    updates.close()
    assert synth.open == 0


def test_an_error_of_the_composer_reaches_the_caller(drafts, cache, synth):
    def failing():
        yield drafts[0]
        raise RenderError("No more bars.")

    with pytest.raises(RenderError, match="No more bars"):
        list(stream_piece(failing(), cache=cache))
    assert synth.open == 0


def test_no_draft_gives_no_update(cache):
    assert list(stream_piece([], cache=cache)) == []


# -- Another mix while a piece is composed -------------------------------------------------------


def test_another_mix_starts_at_the_playback_position(drafts, cache, synth):
    frames = bar_frames(drafts[-1])
    options = [StreamOptions(TrackMix())]
    updates = []
    for update in stream_piece(drafts, cache=cache, options=lambda take: options[-1]):
        updates.append(update)
        if len(updates) == 4:  # rendered to the end of bar 9; playback is in bar 8
            from_s = (frames[7] + 10) / SAMPLE_RATE_HZ
            options.append(StreamOptions(TrackMix(muted=frozenset({0})), from_s))
            synth.played.clear()
    before, after = updates[3], updates[4]
    assert synth.played[:2] == [(frames[7], frames[8]), (frames[8], frames[9])]
    assert after.value["stream"] == before.value["stream"]
    assert after.value["rendering"] == before.value["rendering"] + 1
    assert after.value["muted"] == [0]
    assert not after.complete
    assert len(samples_of(updates[-1].value, cache)) == frames[-1] + SAMPLE_RATE_HZ
    assert synth.open == 0


@pytest.mark.usefixtures("synth")
def test_another_mix_at_the_very_end_is_rendered_too(drafts, cache):
    options = [StreamOptions(TrackMix())]
    for update in stream_piece(drafts, cache=cache, options=lambda take: options[-1]):
        if update.piece.bars == 6:
            options.append(StreamOptions(TrackMix(Mix(gain_db=3.0))))
    assert update.value["rendering"] == 1
    assert update.complete


# -- Without audio -------------------------------------------------------------------------------


def test_without_a_soundfont_the_roll_grows_and_the_error_is_reported(drafts, cache):
    updates = list(stream_piece(drafts, cache=cache, mix=TrackMix(Mix(soundfont="nowhere.sf2"))))
    assert [update.piece.bars for update in updates] == [1, 2, 3, 4, 5, 6, 6]
    assert all(update.value["chunks"] == [] for update in updates)
    assert all("nowhere.sf2" in update.error for update in updates)
    assert updates[-1].complete


def test_after_a_render_error_the_roll_still_grows(drafts, cache, synth, monkeypatch):
    def play(self, score, tick):
        if len(synth.played) == 2:
            raise RenderError("No trumpet.")
        return self._samples(max(self.frame, frame_of(score, tick)))

    monkeypatch.setattr(synth, "play", play)
    updates = list(stream_piece(drafts, cache=cache))
    assert [update.error for update in updates] == [""] * 2 + ["No trumpet."] * 5
    assert updates[-1].complete
    assert synth.open == 0


# -- Several takes -------------------------------------------------------------------------------


def takes_of(tiny_composer, count, bars=3):
    return tiny_composer.stream_many(count, bars=bars, prompt=MINUET, sampling=SAMPLING)


def test_all_takes_have_audio_before_any_is_complete(tiny_composer, cache, synth):
    updates = list(stream_pieces(takes_of(tiny_composer, 4), count=4, cache=cache, planned_bars=3))
    first = {update.take: index for index, update in reversed(list(enumerate(updates)))}
    complete = [index for index, update in enumerate(updates) if update.complete]
    assert set(first) == {0, 1, 2, 3}
    assert max(first.values()) < min(complete)
    assert all(updates[index].value["new_chunks"] for index in first.values())
    assert len({update.value["stream"] for update in updates}) == 4
    assert sum(start == 0 for start, _ in synth.played) == 1  # the lead-in is shared
    pieces = tiny_composer.compose_many(4, bars=3, prompt=MINUET, sampling=SAMPLING)
    for take, piece in enumerate(pieces):
        last = [update for update in updates if update.take == take][-1]
        assert last.piece.to_midi() == piece.to_midi()
        assert last.value["planned_bars"] == 8 + 3
        frames = bar_frames(last.piece)[-1] + SAMPLE_RATE_HZ
        assert len(samples_of(last.value, cache)) == frames
    assert synth.open == 0


@pytest.mark.usefixtures("synth")
def test_each_take_has_its_own_options(tiny_composer, cache):
    muted = {0: frozenset(), 1: frozenset({0})}
    found = {}
    for update in stream_pieces(
        takes_of(tiny_composer, 2),
        count=2,
        cache=cache,
        options=lambda take: StreamOptions(TrackMix(muted=muted[take])),
    ):
        found[update.take] = update.value
    assert [found[take]["muted"] for take in (0, 1)] == [[], [0]]
    assert all(value["complete"] for value in found.values())


def test_a_take_out_of_range_is_refused(drafts, cache, synth):
    with pytest.raises(ValueError, match="0 to 1, got 2"):
        list(stream_pieces([(0, drafts[0]), (2, drafts[0])], count=2, cache=cache))
    assert synth.open == 0


# -- Composed pieces -----------------------------------------------------------------------------


def test_a_replay_starts_at_the_playback_position(drafts, cache, synth):
    *_, last = stream_piece(drafts, cache=cache)
    synth.played.clear()
    frames = bar_frames(drafts[-1])
    from_s = (frames[10] + 100) / SAMPLE_RATE_HZ
    mix = TrackMix(muted=frozenset({0}))
    updates = list(replay(view_of_piece(drafts[-1]), updates=last.updates, mix=mix, from_s=from_s))
    assert synth.played[0] == (frames[10], frames[11])
    value = updates[-1].value
    assert value["stream"] == last.value["stream"]
    assert value["rendering"] == last.value["rendering"] + 1
    assert (value["muted"], value["complete"]) == ([0], True)
    assert len(samples_of(value, cache)) == frames[-1] + SAMPLE_RATE_HZ


@pytest.mark.parametrize("from_s", [-5.0, 1e9, float("nan")])
@pytest.mark.usefixtures("synth")
def test_a_replay_completes_an_abandoned_stream_from_any_position(drafts, cache, from_s):
    updates = stream_piece(drafts, cache=cache)
    next(updates)
    second = next(updates)
    updates.close()
    *_, last = replay(view_of_piece(second.piece), updates=second.updates, from_s=from_s)
    frames = bar_frames(second.piece)[-1] + SAMPLE_RATE_HZ
    assert len(samples_of(last.value, cache)) == frames


def test_a_composed_piece_is_shown_at_once_and_rendered_on_request(drafts, cache, synth):
    frames = bar_frames(drafts[-1])
    shown = show_view(view_of_piece(drafts[-1]), cache=cache)
    assert shown.value["cue_frame"] == frames[6]
    assert (shown.value["chunks"], shown.value["on_request"]) == ([], True)
    assert synth.played == []
    updates = list(replay(view_of_piece(drafts[-1]), updates=shown.updates, from_s=0))
    assert len(samples_of(updates[-1].value, cache)) == frames[-1] + SAMPLE_RATE_HZ


@pytest.mark.usefixtures("synth")
def test_a_prompt_or_a_piece_without_new_bars_can_be_shown(drafts, cache):
    prompt = view_of_prompt(read_midi(MINUET)[0], first_bar=9)
    assert show_view(prompt, cache=cache, selection=(12, 13)).value["selection"] == [12, 13]
    for view in (prompt, view_of_piece(drafts[0].truncated(0))):
        shown = show_view(view, cache=cache)
        assert shown.value["cue_frame"] == 0
        *_, last = replay(view, updates=shown.updates)
        assert last.complete


@pytest.mark.usefixtures("synth")
def test_one_request_renders_a_limited_time_and_a_short_lead_in(drafts, cache, monkeypatch):
    monkeypatch.setattr(stream_module, "MAX_SECONDS", 3.0)
    monkeypatch.setattr(stream_module, "_LEAD_IN_BARS", 2)
    frames, view = bar_frames(drafts[-1]), view_of_piece(drafts[-1])
    shown = show_view(view, cache=cache)
    *_, last = replay(view, updates=shown.updates, from_s=frames[5] / SAMPLE_RATE_HZ + 0.1)
    starts = [start for start, _ in last.value["chunks"]]
    assert min(starts) == frames[3]
    assert not last.value["complete"]
    end = max(start + length for start, length in last.value["chunks"])
    assert frames[5] + 3 * SAMPLE_RATE_HZ <= end < frames[-1]


# -- With a real synthesizer ---------------------------------------------------------------------


@pytest.mark.fluidsynth
@pytest.mark.usefixtures("soundfont")
def test_audio_from_the_cue_on_equals_one_rendering(drafts, cache):
    *_, last = stream_piece(drafts, cache=cache)
    samples = samples_of(last.value, cache)
    excerpt = view_of_piece(drafts[-1])
    cue, end = excerpt.bar_ticks[6], excerpt.bar_ticks[-1]
    with StreamingRenderer(sample_rate_hz=SAMPLE_RATE_HZ) as renderer:
        renderer.start_at(excerpt.score, cue)
        beats = cue + 2 * excerpt.score.ticks_per_quarter
        expected = [renderer.play(excerpt.score, tick) for tick in (beats, end)]
        expected.append(renderer.flush())
    after = samples[frame_of(excerpt.score, cue) :]
    assert np.abs(after - np.concatenate(expected)).max() < 1e-4  # 16 bits


@pytest.mark.fluidsynth
@pytest.mark.usefixtures("soundfont")
def test_the_lead_in_is_as_loud_as_what_follows(drafts, cache):
    *_, last = stream_piece(drafts, cache=cache, cue_bars=4)
    samples = samples_of(last.value, cache)
    excerpt = view_of_piece(drafts[-1])
    with StreamingRenderer(sample_rate_hz=SAMPLE_RATE_HZ) as renderer:
        whole = renderer.play(excerpt.score, excerpt.bar_ticks[8])
    cue = frame_of(excerpt.score, excerpt.bar_ticks[4])
    ratios = [
        np.square(samples[part]).sum() / np.square(whole[part]).sum()
        for part in (slice(SAMPLE_RATE_HZ, cue), slice(cue + SAMPLE_RATE_HZ, len(whole)))
    ]
    assert abs(10 * np.log10(ratios[0] / ratios[1])) < 0.5  # decibels


@pytest.mark.fluidsynth
@pytest.mark.usefixtures("soundfont")
def test_a_muted_instrument_is_silent(tiny_composer, cache):
    piano = Constraints(programs={0})
    piece = tiny_composer.compose(bars=2, constraints=piano, sampling=SAMPLING)
    first = show_view(view_of_piece(piece), cache=cache)
    *_, last = replay(
        view_of_piece(piece), updates=first.updates, mix=TrackMix(muted=frozenset({0}))
    )
    assert np.abs(samples_of(last.value, cache)).max() < 1e-3
    *_, last = replay(view_of_piece(piece), updates=last.updates, mix=TrackMix())
    assert np.abs(samples_of(last.value, cache)).max() > 0.05
