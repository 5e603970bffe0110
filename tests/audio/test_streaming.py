"""Streamed chunks of a growing score equal the finished score rendered at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from symusic import ControlChange
from symusic.core import NoteTickList, ScoreTick

from musiclstm.audio.event_list import build_event_list
from musiclstm.audio.mix import Mix
from musiclstm.audio.rendering import render
from musiclstm.audio.streaming import StreamingRenderer
from musiclstm.audio.synthesizer import Synth
from musiclstm.audio.waveform import PEAK_CEILING, loudness_lufs
from musiclstm.errors import RenderError
from tests.audio.scores import (
    BAR,
    BEAT,
    DRUMS,
    FLUTE,
    PIANO,
    VIOLIN,
    note,
    piano,
    rms,
    score_of,
    track_of,
)

pytestmark = [pytest.mark.fluidsynth, pytest.mark.usefixtures("soundfont")]

RATE = 22_050  # a bar lasts two seconds


def draft(score: ScoreTick, until: int) -> ScoreTick:
    """Return the score without anything that begins at a tick or later."""
    early = score.copy()
    early.tempos = type(early.tempos)(each for each in early.tempos if each.time < until)
    for track in early.tracks:
        track.notes = NoteTickList(each for each in track.notes if each.time < until)
    for index in reversed(range(len(early.tracks))):
        if not len(early.tracks[index].notes):
            del early.tracks[index]
    return early


def fixed_gain(mix: Mix | None = None, *, gain: float = 2.5) -> StreamingRenderer:
    """Return a renderer whose gain does not depend on the first chunk."""
    renderer = StreamingRenderer(mix, sample_rate_hz=RATE)
    renderer._gain = gain
    return renderer


def in_chunks(
    score: ScoreTick, stops: Sequence[int], mix: Mix | None = None, *, gain: float = 2.5
) -> list[NDArray[np.float32]]:
    """Render every chunk from the draft of its time, then the rest."""
    with fixed_gain(mix, gain=gain) as renderer:
        chunks = [renderer.play(draft(score, stop), stop) for stop in stops]
        chunks.append(renderer.play(score, stops[-1] if stops else 0))
        return [*chunks, renderer.flush(0.5)]


def at_once(score: ScoreTick, until: int = 0, *, gain: float = 2.5) -> NDArray[np.float32]:
    """Render the finished score up to a tick and to its end."""
    with fixed_gain(gain=gain) as renderer:
        return np.concatenate([renderer.play(score, until), renderer.flush(0.5)])


def whole(score: ScoreTick, stops: Sequence[int], **options: object) -> NDArray[np.float32]:
    return np.concatenate(in_chunks(score, stops, **options))


# -- Chunks join ---------------------------------------------------------------------------------


def test_bar_by_bar_equals_all_at_once():
    quartet = score_of(
        *(
            track_of(
                [note(n * step, 1.5 * step, pitch + n) for n in range(int(12 / step))], program
            )
            for program, step, pitch in ((PIANO, 1, 60), (VIOLIN, 2, 65), (FLUTE, 0.5, 70))
        ),
        track_of([note(n / 2, 0.25, 38) for n in range(24)], DRUMS),
        tempos=[(0, 120), (BAR + BEAT, 90), (2 * BAR, 140)],
    )
    assert np.array_equal(whole(quartet, [BAR, 2 * BAR, 3 * BAR]), at_once(quartet, 3 * BAR))


def test_one_gain_is_applied_to_the_samples_of_the_synthesizer(soundfont: Path):
    score = piano(note(0, 3), note(1, 4, pitch=60))
    event_list = build_event_list(score, sample_rate_hz=RATE)
    with Synth(soundfont, sample_rate_hz=RATE) as synth:
        synth.select_instruments(event_list.instruments)
        plain = np.concatenate(list(synth.play(event_list.events, until=event_list.end_frame)))
    streamed = whole(score, [BAR // 2, BAR])[: len(plain)]
    loud = np.abs(plain) > 1e-3
    assert streamed[loud] / plain[loud] == pytest.approx(2.5, rel=1e-4)


def test_a_note_rings_across_chunks():
    score = piano(note(0, 8), note(8, 1))
    chunks = in_chunks(score, [BAR, 2 * BAR])
    assert rms(chunks[1][:2_000]) > 0.3 * rms(chunks[0][-2_000:])


def test_a_later_draft_may_end_a_sounding_note_earlier():
    early, late = piano(note(0, 8)), piano(note(0, 4.5), note(6, 1, pitch=40))
    with fixed_gain() as renderer:
        grown = [renderer.play(early, BAR), renderer.play(late, 2 * BAR), renderer.flush(0.5)]
    assert np.array_equal(np.concatenate(grown), at_once(late, 2 * BAR))


def test_a_new_instrument_takes_no_channel_from_the_others():
    flute, violin = track_of([note(4), note(5)], FLUTE), track_of([note(0, 8, 60)], VIOLIN)
    flute.controls.append(ControlChange(0, 7, 50))  # before its first note
    score = score_of(flute, violin)
    assert len(draft(score, BAR).tracks) == 1
    assert np.array_equal(whole(score, [BAR, BAR + BEAT]), at_once(score, BAR + BEAT))


def test_two_tracks_with_equal_names_and_programs_keep_their_channels():
    score = score_of(track_of([note(0, 8, 60)]), track_of([note(4, 2, 60)]))
    assert np.array_equal(whole(score, [BAR, BAR + BEAT]), at_once(score, BAR + BEAT))


def test_a_sounding_note_that_a_draft_removes_is_ended():
    with fixed_gain(Mix(reverb=0)) as renderer:
        renderer.play(score_of(track_of([note(0, 40)], FLUTE)), BAR)
        after = renderer.play(score_of(track_of([note(30)], FLUTE)), 3 * BAR)
    assert rms(after[:100]) > 1e-3
    assert rms(after[-RATE:]) < 1e-4


def test_nothing_is_rendered_twice():
    with fixed_gain() as renderer:
        score = piano(note(0), note(1))
        assert len(renderer.play(score, BEAT)) == RATE // 2
        assert renderer.play(score, BEAT).shape == renderer.play(score, 0).shape == (0, 2)
        assert renderer.seconds == 0.5


pieces = st.lists(
    st.tuples(
        st.sampled_from([PIANO, VIOLIN, FLUTE, DRUMS]),
        st.lists(
            st.builds(
                note,
                st.integers(0, 24).map(lambda n: n / 3),
                st.integers(0, 12).map(lambda n: n / 3),
                st.integers(50, 62),
                st.integers(1, 127),
            ),
            min_size=1,
            max_size=12,
        ),
        st.lists(
            st.builds(
                ControlChange,
                st.integers(0, 8 * BEAT),
                st.sampled_from([7, 10, 11, 64]),
                st.integers(0, 127),
            ),
            max_size=4,
        ),
    ),
    min_size=1,
    max_size=4,
)


@given(
    tracks=pieces,
    stops=st.lists(st.integers(1, 10 * BEAT), max_size=5).map(sorted),
    tempos=st.lists(st.tuples(st.integers(0, 8 * BEAT), st.integers(90, 300)), max_size=3),
    gain=st.sampled_from([250.0, 2.5]),  # the first drives the limiter hard
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_the_samples_do_not_depend_on_the_cuts(tracks, stops, tempos, gain):
    score = score_of(*(track_of(notes, program) for program, notes, _ in tracks), tempos=tempos)
    for index, (_, _, controls) in enumerate(tracks):
        score.tracks[index].name = str(index)  # tracks of one name must keep their order
        score.tracks[index].controls.extend(controls)
    in_one = at_once(score, max(stops, default=0), gain=gain)
    assert np.array_equal(whole(score, stops, gain=gain), in_one)


# -- Gain ----------------------------------------------------------------------------------------


def lufs(samples: NDArray[np.float32]) -> float:
    return loudness_lufs(samples, sample_rate_hz=RATE)


@pytest.mark.parametrize("velocity", [40, 100])
def test_the_first_chunk_sets_a_gain_near_the_default_loudness(velocity: int):
    score = piano(*(note(n, 1, 60 + n, velocity) for n in range(12)))
    with StreamingRenderer(sample_rate_hz=RATE) as renderer:
        chunks = [renderer.play(draft(score, bar * BAR), bar * BAR) for bar in (1, 2, 3)]
    assert lufs(np.concatenate(chunks)) == pytest.approx(-18, abs=8)
    assert lufs(chunks[2]) == pytest.approx(lufs(chunks[0]), abs=4)  # one gain for all


def test_gain_db_is_relative_to_the_default_loudness():
    score = piano(*(note(n, 1, 60 + n) for n in range(4)))
    with (
        StreamingRenderer(sample_rate_hz=RATE) as one,
        StreamingRenderer(Mix(gain_db=-6), sample_rate_hz=RATE) as other,
    ):
        default, softer = one.play(score, BAR), other.play(score, BAR)
    assert lufs(default) - lufs(softer) == pytest.approx(6, abs=0.01)


def test_silence_before_the_first_note_sets_no_gain():
    score = piano(note(4), note(5))
    with StreamingRenderer(sample_rate_hz=RATE) as renderer:
        assert np.abs(renderer.play(score, BAR)).max() < 1e-4
        assert lufs(renderer.play(score, 2 * BAR)) == pytest.approx(-18, abs=8)


def test_no_sample_exceeds_the_ceiling():
    chords = [note(beat, 2, pitch, 127) for beat in range(4) for pitch in range(36, 96, 3)]
    score = score_of(track_of([note(0, 1, 60, 20)], FLUTE), track_of([], 19))
    with StreamingRenderer(Mix(gain_db=30), sample_rate_hz=RATE) as renderer:
        renderer.play(score, BEAT)
        loud = renderer.play(score_of(score.tracks[0], track_of(chords, 19)), BAR)
    assert 0.5 < np.abs(loud).max() <= PEAK_CEILING


def test_the_tail_decays_and_is_faded_out():
    with fixed_gain() as renderer:
        renderer.play(piano(note(0, 4)), BAR // 2)
        rest = renderer.flush(tail_s=2.0)
    assert len(rest) == 3 * RATE  # the second half of the note, and the tail
    assert rms(rest[:RATE]) > 10 * rms(rest[-RATE // 10 :])
    assert np.abs(rest[-20:]).max() < 1e-3


# -- Mix -----------------------------------------------------------------------------------------


def test_the_mix_has_the_same_effect_as_in_render():
    score = score_of(
        track_of([note(n, 1, 60 + n) for n in range(4)]),
        track_of([note(n, 1, 72) for n in range(4)], FLUTE),
        track_of([note(n, 1, 38) for n in range(4)], DRUMS),
    )
    mix = Mix(reverb=0, chorus=0, programs={PIANO: VIOLIN}, muted=frozenset({FLUTE, DRUMS}))
    streamed = whole(score, [BEAT, 3 * BEAT], mix=mix)[:BAR]
    rendered = render(score, mix=mix, sample_rate_hz=RATE, tail_s=0.5).samples[:BAR]
    assert np.corrcoef(streamed.ravel(), rendered.ravel())[0, 1] > 0.9999


def test_muted_instruments_give_silence_of_the_same_length():
    with StreamingRenderer(Mix(muted=frozenset({PIANO})), sample_rate_hz=RATE) as renderer:
        chunk = renderer.play(piano(note(0)), BAR)
    assert len(chunk) == 2 * RATE
    assert np.abs(chunk).max() < 1e-5


# -- Starting later ------------------------------------------------------------------------------


def test_notes_before_the_start_ring_on():
    score = piano(note(0, 20), note(18, 4, pitch=60))
    with StreamingRenderer(sample_rate_hz=RATE) as renderer:
        renderer.start_at(score, 5 * BAR)
        assert renderer.seconds == 10.0
        assert rms(renderer.play(score, 6 * BAR)[:RATE]) > 1e-3


def test_after_the_start_it_sounds_as_if_all_had_been_rendered():
    score = piano(*(note(n, 1, 60 + n % 5) for n in range(24)))
    with StreamingRenderer(Mix(reverb=0, chorus=0), sample_rate_hz=RATE) as renderer:
        renderer.start_at(score, 5 * BAR)
        later = renderer.play(score, 6 * BAR)
    assert lufs(later) == pytest.approx(-18, abs=1.5)
    with fixed_gain(Mix(reverb=0, chorus=0)) as renderer:
        from_the_beginning = renderer.play(score, 6 * BAR)[-len(later) :]
    assert np.corrcoef(from_the_beginning.ravel(), later.ravel())[0, 1] > 0.99


def test_controls_before_the_start_are_applied():
    track = track_of([note(n, 1) for n in range(24)])
    track.controls.append(ControlChange(0, 7, 0))
    with StreamingRenderer(Mix(reverb=0), sample_rate_hz=RATE) as renderer:
        renderer.start_at(score_of(track), 5 * BAR)
        assert np.abs(renderer.play(score_of(track), 6 * BAR)).max() < 1e-4


# -- Errors --------------------------------------------------------------------------------------


def test_start_at_after_play_is_refused():
    with fixed_gain() as renderer:
        renderer.play(piano(note(0)), BEAT)
        with pytest.raises(ValueError, match="start_at must be called before play"):
            renderer.start_at(piano(note(0)), BEAT)


@pytest.mark.parametrize("end", ["flush", "close"])
def test_a_closed_renderer_refuses_to_play(end: str):
    renderer = fixed_gain()
    getattr(renderer, end)()
    with pytest.raises(ValueError, match="synthesizer is closed"):
        renderer.play(piano(note(0)), BEAT)
    renderer.close()


def test_a_chunk_of_more_than_an_hour_is_refused():
    with fixed_gain() as renderer, pytest.raises(RenderError, match=r"90 minutes .* at most 60"):
        renderer.play(piano(note(0)), 3 * 3_600 * BEAT)


def test_two_renderers_are_independent():
    score, other = piano(note(0, 4)), score_of(track_of([note(0, 4, 50)], FLUTE))
    alone = whole(score, [BEAT])
    with fixed_gain() as one, fixed_gain() as two:
        chunks = []
        for stop in (BEAT, 2 * BEAT):
            chunks.append(one.play(score, stop))
            two.play(other, stop)
        chunks.append(one.flush(0.5))
    assert np.array_equal(np.concatenate(chunks), alone)
