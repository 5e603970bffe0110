"""A growing piece becomes sound without a seam: what is cut into chunks equals what is not."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from symusic import ControlChange, Note, Score, Tempo, Track
from symusic.core import NoteTickList, ScoreTick, TrackTick

from musiclstm.audio.event_list import build_event_list
from musiclstm.audio.mix import Mix
from musiclstm.audio.rendering import Synth, find_soundfont, render
from musiclstm.audio.streaming import StreamingRenderer
from musiclstm.audio.waveform import PEAK_CEILING, loudness_lufs
from musiclstm.errors import RenderError

pytestmark = pytest.mark.fluidsynth

RATE = 22_050
BEAT = 480
BAR = 4 * BEAT  # two seconds
PIANO, VIOLIN, FLUTE, DRUMS = 0, 40, 73, -1


@pytest.fixture(scope="module", autouse=True)
def _something_to_play_with() -> None:
    try:
        with Synth(find_soundfont()):
            return
    except RenderError as error:
        pytest.skip(f"nothing can be heard here: {error}")


def note(beat: float, beats: float = 1.0, pitch: int = 69, velocity: int = 90) -> Note:
    return Note(round(beat * BEAT), round(beats * BEAT), pitch, velocity)


def track_of(notes: Sequence[Note], program: int = PIANO) -> TrackTick:
    track = Track("", max(program, 0), program == DRUMS)
    track.notes.extend(notes)
    return track


def score_of(*tracks: TrackTick, tempos: Sequence[tuple[int, float]] = ()) -> ScoreTick:
    score = Score(BEAT)
    score.tracks.extend(tracks)
    score.tempos.extend(Tempo(time, qpm) for time, qpm in tempos)
    return score


def piano(*notes: Note) -> ScoreTick:
    return score_of(track_of(notes))


def draft(score: ScoreTick, until: int) -> ScoreTick:
    """The score as it was when it had been composed up to a tick: nothing that begins later."""
    early = score.copy()
    early.tempos = type(early.tempos)(each for each in early.tempos if each.time < until)
    for track in early.tracks:
        track.notes = NoteTickList(each for each in track.notes if each.time < until)
    for index in reversed(range(len(early.tracks))):
        if not len(early.tracks[index].notes):
            del early.tracks[index]
    return early


def wave(*, size: float) -> NDArray[np.float32]:
    one_side = size * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE, dtype=np.float32)
    return np.stack([one_side, one_side], axis=1)


def live(mix: Mix | None = None, *, level: float = 0.05) -> StreamingRenderer:
    """A live sound whose level is settled, so that it does not hang on the first chunk."""
    sound = StreamingRenderer(mix, sample_rate_hz=RATE)
    sound.level_from(wave(size=level))
    return sound


def in_chunks(
    score: ScoreTick, stops: Sequence[int], mix: Mix | None = None, *, level: float = 0.05
) -> list[NDArray[np.float32]]:
    """Every chunk from the draft that was there when it was played, and then the rest."""
    with live(mix, level=level) as sound:
        chunks = [sound.play(draft(score, stop), stop) for stop in stops]
        chunks.append(sound.play(score, stops[-1] if stops else 0))
        return [*chunks, sound.finish(0.5)]


def at_once(score: ScoreTick, until: int = 0, **options: float) -> NDArray[np.float32]:
    """The finished score up to a tick and to its end, in as few chunks as can be."""
    with live(level=options.get("level", 0.05)) as sound:
        return np.concatenate([sound.play(score, until), sound.finish(0.5)])


def whole(score: ScoreTick, stops: Sequence[int], **options: float) -> NDArray[np.float32]:
    return np.concatenate(in_chunks(score, stops, **options))


def size(samples: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


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


def test_what_is_streamed_is_what_the_synthesizer_gives_times_one_factor():
    score = piano(note(0, 3), note(1, 4, pitch=60))
    part = build_event_list(score, sample_rate_hz=RATE)
    with Synth(find_soundfont(), sample_rate_hz=RATE) as synth:
        synth.choose(part.instruments)
        plain = np.concatenate(list(synth.play(part.events, until=part.end_frame)))
    streamed = whole(score, [BAR // 2, BAR])[: len(plain)]
    loud = np.abs(plain) > 1e-3
    factors = streamed[loud] / plain[loud]
    assert factors.min() == pytest.approx(factors.max(), rel=1e-4)


def test_a_note_rings_across_a_seam():
    score = piano(note(0, 8), note(8, 1))
    chunks = in_chunks(score, [BAR, 2 * BAR])
    assert size(chunks[1][:2_000]) > 0.3 * size(chunks[0][-2_000:])


def test_a_later_draft_may_end_a_ringing_note_earlier():
    early, late = piano(note(0, 8)), piano(note(0, 4.5), note(6, 1, pitch=40))
    with live() as sound:
        grown = [sound.play(early, BAR), sound.play(late, 2 * BAR), sound.finish(0.5)]
    assert np.array_equal(np.concatenate(grown), at_once(late, 2 * BAR))


def test_an_instrument_that_comes_later_takes_no_channel_from_the_others():
    flute, violin = track_of([note(4), note(5)], FLUTE), track_of([note(0, 8, 60)], VIOLIN)
    flute.controls.append(ControlChange(0, 7, 50))  # before it is heard
    score = score_of(flute, violin)
    assert len(draft(score, BAR).tracks) == 1
    assert np.array_equal(whole(score, [BAR, BAR + BEAT]), at_once(score, BAR + BEAT))


def test_two_tracks_that_are_alike_keep_their_channels():
    score = score_of(track_of([note(0, 8, 60)]), track_of([note(4, 2, 60)]))
    assert np.array_equal(whole(score, [BAR, BAR + BEAT]), at_once(score, BAR + BEAT))


def test_a_key_that_a_draft_forgets_does_not_sound_forever():
    with live(Mix(reverb=0)) as sound:
        sound.play(score_of(track_of([note(0, 40)], FLUTE)), BAR)
        after = sound.play(score_of(track_of([note(30)], FLUTE)), 3 * BAR)
    assert size(after[:100]) > 1e-3
    assert size(after[-RATE:]) < 1e-4


def test_nothing_is_played_twice():
    with live() as sound:
        score = piano(note(0), note(1))
        assert len(sound.play(score, BEAT)) == RATE // 2
        assert sound.play(score, BEAT).shape == sound.play(score, 0).shape == (0, 2)
        assert sound.seconds == 0.5


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
    level=st.sampled_from([0.0005, 0.05]),  # the first drives the limiter hard
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_wherever_it_is_cut_a_growing_piece_sounds_like_the_finished_one(
    tracks, stops, tempos, level
):
    score = score_of(*(track_of(notes, program) for program, notes, _ in tracks), tempos=tempos)
    for index, (_, _, controls) in enumerate(tracks):
        score.tracks[index].name = str(index)  # alike tracks would have to come in their order
        score.tracks[index].controls.extend(controls)
    in_one = at_once(score, max(stops, default=0), level=level)
    assert np.array_equal(whole(score, stops, level=level), in_one)


# -- Level ---------------------------------------------------------------------------------------


def lufs(samples: NDArray[np.float32]) -> float:
    return loudness_lufs(samples, sample_rate_hz=RATE)


def test_what_was_heard_before_gives_the_level():
    score = piano(*(note(n, 1, 60 + n) for n in range(8)))
    with live(level=0.05) as one, live(level=0.1) as other:
        soft, loud = other.play(score, BAR), one.play(score, BAR)
    assert lufs(loud) - lufs(soft) == pytest.approx(20 * np.log10(2), abs=0.01)


@pytest.mark.parametrize("velocity", [40, 100])
def test_without_it_the_first_chunk_brings_it_near_the_usual_loudness(velocity: int):
    score = piano(*(note(n, 1, 60 + n, velocity) for n in range(12)))
    with StreamingRenderer(sample_rate_hz=RATE) as sound:
        chunks = [sound.play(draft(score, bar * BAR), bar * BAR) for bar in (1, 2, 3)]
    assert lufs(np.concatenate(chunks)) == pytest.approx(-18, abs=8)
    quiet, usual = (-18 - lufs(chunk) for chunk in (chunks[2], chunks[0]))
    assert quiet == pytest.approx(usual, abs=4)  # one factor for all


def test_gain_is_counted_from_the_usual_loudness():
    score = piano(*(note(n, 1, 60 + n) for n in range(4)))
    with (
        StreamingRenderer(sample_rate_hz=RATE) as one,
        StreamingRenderer(Mix(gain_db=-6), sample_rate_hz=RATE) as b,
    ):
        usual, softer = one.play(score, BAR), b.play(score, BAR)
    assert lufs(usual) - lufs(softer) == pytest.approx(6, abs=0.01)


def test_silence_before_the_first_note_settles_nothing():
    score = piano(note(4), note(5))
    with StreamingRenderer(sample_rate_hz=RATE) as sound:
        assert np.abs(sound.play(score, BAR)).max() < 1e-4
        assert lufs(sound.play(score, 2 * BAR)) == pytest.approx(-18, abs=8)


def test_however_loud_it_gets_it_stays_below_the_ceiling():
    crowd = [note(beat, 2, pitch, 127) for beat in range(4) for pitch in range(36, 96, 3)]
    score = score_of(track_of([note(0, 1, 60, 20)], FLUTE), track_of([], 19))
    with StreamingRenderer(Mix(gain_db=30), sample_rate_hz=RATE) as sound:
        sound.play(score, BEAT)
        loud = sound.play(score_of(score.tracks[0], track_of(crowd, 19)), BAR)
    assert 0.5 < np.abs(loud).max() <= PEAK_CEILING


def test_the_end_rings_and_fades():
    with live() as sound:
        sound.play(piano(note(0, 4)), BAR // 2)
        rest = sound.finish(tail_s=2.0)
    assert len(rest) == 3 * RATE  # the second half of the note, and the tail
    assert size(rest[:RATE]) > 10 * size(rest[-RATE // 10 :])
    assert np.abs(rest[-20:]).max() < 1e-3


# -- Mix -----------------------------------------------------------------------------------------


def test_muted_and_exchanged_instruments_are_those_of_render():
    score = score_of(
        track_of([note(n, 1, 60 + n) for n in range(4)]),
        track_of([note(n, 1, 72) for n in range(4)], FLUTE),
        track_of([note(n, 1, 38) for n in range(4)], DRUMS),
    )
    mix = Mix(reverb=0, chorus=0, programs={PIANO: VIOLIN}, muted=frozenset({FLUTE, DRUMS}))
    streamed = whole(score, [BEAT, 3 * BEAT], mix=mix)[:BAR]
    rendered = render(score, mix=mix, sample_rate_hz=RATE, tail_s=0.5).samples[:BAR]
    assert np.corrcoef(streamed.ravel(), rendered.ravel())[0, 1] > 0.9999


def test_when_all_is_muted_it_is_as_long_and_silent():
    with StreamingRenderer(Mix(muted=frozenset({PIANO})), sample_rate_hz=RATE) as sound:
        chunk = sound.play(piano(note(0)), BAR)
    assert len(chunk) == 2 * RATE
    assert np.abs(chunk).max() < 1e-5


# -- Beginning later -----------------------------------------------------------------------------


def test_what_is_passed_over_is_not_heard_but_rings_on():
    score = piano(note(0, 20), note(18, 4, pitch=60))
    with StreamingRenderer(sample_rate_hz=RATE) as sound:
        sound.skip_to(score, 5 * BAR)
        assert sound.seconds == 10.0
        assert size(sound.play(score, 6 * BAR)[:RATE]) > 1e-3


def test_after_passing_over_it_goes_on_as_if_all_had_been_played():
    notes = [note(n, 1, 60 + n % 5) for n in range(24)]
    score = piano(*notes)
    with StreamingRenderer(Mix(reverb=0, chorus=0), sample_rate_hz=RATE) as sound:
        sound.skip_to(score, 5 * BAR)
        later = sound.play(score, 6 * BAR)
    assert lufs(later) == pytest.approx(-18, abs=1.5)
    with live(Mix(reverb=0, chorus=0)) as sound:
        played = sound.play(score, 6 * BAR)[-len(later) :]
    assert np.corrcoef(played.ravel(), later.ravel())[0, 1] > 0.99


def test_volume_and_pedal_are_as_they_would_be():
    track = track_of([note(n, 1) for n in range(24)])
    track.controls.append(ControlChange(0, 7, 0))
    with StreamingRenderer(Mix(reverb=0), sample_rate_hz=RATE) as sound:
        sound.skip_to(score_of(track), 5 * BAR)
        assert np.abs(sound.play(score_of(track), 6 * BAR)).max() < 1e-4


# -- Refusals and what is given back -------------------------------------------------------------


def test_beginning_later_or_another_level_are_refused_once_it_plays():
    with live() as sound:
        sound.play(piano(note(0)), BEAT)
        for name, call in (
            ("skip_to", lambda: sound.skip_to(piano(note(0)), BEAT)),
            ("level_from", lambda: sound.level_from(wave(size=1))),
        ):
            with pytest.raises(ValueError, match=rf"^{name} comes before everything else; begin "):
                call()


@pytest.mark.parametrize("end", ["finish", "close"])
def test_after_the_end_nothing_can_be_played(end: str):
    sound = live()
    getattr(sound, end)()
    with pytest.raises(ValueError, match=r"^This synthesizer is closed; open a new one\.$"):
        sound.play(piano(note(0)), BEAT)
    sound.close()


def test_hours_at_once_are_refused():
    with live() as sound, pytest.raises(RenderError) as refusal:
        sound.play(piano(note(0)), 3 * 3_600 * BEAT)
    assert str(refusal.value) == (
        "90 minutes were asked for at once, and at most 60 can be played; play shorter chunks."
    )


@pytest.mark.parametrize("rate", [7_999, 96_001])
def test_a_rate_outside_the_range_is_refused(rate: int):
    with pytest.raises(ValueError, match="sample_rate_hz must be 8_000 to 96_000"):
        StreamingRenderer(sample_rate_hz=rate)


def test_one_that_is_abandoned_gives_its_memory_back(monkeypatch: pytest.MonkeyPatch):
    import fluidsynth

    gone = []
    delete = fluidsynth.Synth.delete
    monkeypatch.setattr(fluidsynth.Synth, "delete", lambda self: gone.append(delete(self)))
    sound = live()
    sound.play(piano(note(0)), BEAT)
    assert gone == []
    del sound
    gc.collect()
    assert len(gone) == 1


def test_two_at_once_do_not_hear_each_other():
    score, other = piano(note(0, 4)), score_of(track_of([note(0, 4, 50)], FLUTE))
    alone = whole(score, [BEAT])
    with live() as one, live() as two:
        chunks = []
        for stop in (BEAT, 2 * BEAT):
            chunks.append(one.play(score, stop))
            two.play(other, stop)
        chunks.append(one.finish(0.5))
    assert np.array_equal(np.concatenate(chunks), alone)
