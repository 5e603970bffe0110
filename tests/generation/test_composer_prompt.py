"""How prompts are read, kept, cut and refused."""

from __future__ import annotations

import numpy as np
import pytest
from symusic.core import (
    ControlChangeTick,
    NoteTick,
    PitchBendTick,
    ScoreTick,
    TimeSignatureTick,
    TrackTick,
)

from musiclstm import Constraints, Sampling, ScoreError
from musiclstm.midi.analysis import bar_starts, last_note_end, meter_at, tempo_at
from musiclstm.tokens import DRUMS
from tests.generation.pieces import SAMPLING, band, notes_of


def test_a_prompt_may_be_a_path_bytes_or_a_score(tiny_composer, invented, tmp_path) -> None:
    score = invented(bars=2)
    file = tmp_path / "motif.mid"
    file.write_bytes(bytes(score.dumps_midi()))
    prompts = [file, str(file), file.read_bytes(), score, score.to("quarter")]
    pieces = [tiny_composer.compose(bars=1, prompt=prompt, sampling=SAMPLING) for prompt in prompts]
    assert len({piece.tokens for piece in pieces}) == 1
    assert len({tuple(notes_of(piece.score)) for piece in pieces}) == 1


def test_the_prompt_is_not_changed(tiny_composer) -> None:
    prompt = band()
    given = prompt.copy()
    piece = tiny_composer.compose(bars=2, prompt=prompt, sampling=SAMPLING)
    assert prompt == given
    assert notes_of(piece.score, end=piece.prompt_end_tick) == notes_of(prompt)
    names = [track.name for track in piece.score.tracks]
    assert names[:4] == ["High", "Low", "Bass", "Kit"]


def test_overlapping_notes_of_the_prompt_are_kept(tiny_composer) -> None:
    prompt = ScoreTick(480)
    track = TrackTick("Piano", 0, False)
    for time, duration in [(0, 1_920), (480, 480), (485, 31), (485, 700)]:
        track.notes.append(NoteTick(time, duration, 60, 80))
    prompt.tracks.append(track)
    piece = tiny_composer.compose(bars=1, prompt=prompt, sampling=SAMPLING)
    assert notes_of(piece.score, end=piece.prompt_end_tick) == notes_of(prompt)


def test_instruments_meter_and_tempo_of_the_prompt_continue(tiny_composer) -> None:
    prompt = band(meter=(3, 4))
    piece = tiny_composer.compose(bars=4, prompt=prompt, sampling=SAMPLING)
    start = piece.prompt_end_tick
    played = {program for program, *_ in notes_of(piece.score, start=start)}
    assert played <= {40, 33, DRUMS}
    assert piece.constraints == Constraints(
        programs=frozenset({40, 33, DRUMS}),
        meter=(3, 4),
        tempo_changes=False,
        max_notes_at_once=4,
    )
    assert meter_at(piece.score, start + 10_000) == (3, 4)
    assert [(s.time, s.numerator) for s in piece.score.time_signatures] == [(0, 3)]
    assert [tempo.mspq for tempo in piece.score.tempos] == [tempo.mspq for tempo in prompt.tempos]
    assert tempo_at(piece.score, start + 10_000) == pytest.approx(61.7, abs=1e-4)


def test_cut_time_stays_cut_time(tiny_composer, invented) -> None:
    piece = tiny_composer.compose(bars=2, prompt=invented(meter=(2, 2)), sampling=SAMPLING)
    assert [(s.numerator, s.denominator) for s in piece.score.time_signatures] == [(2, 2)]


def test_pedals_and_bends_of_the_prompt_end_with_it(tiny_composer) -> None:
    prompt = band()
    prompt.tracks[0].controls.append(ControlChangeTick(0, 64, 127))  # never lifted
    prompt.tracks[0].pitch_bends.append(PitchBendTick(480, 2_000))  # never straightened
    prompt.tracks[1].controls.append(ControlChangeTick(0, 64, 127))
    prompt.tracks[1].controls.append(ControlChangeTick(480, 64, 0))
    piece = tiny_composer.compose(bars=2, prompt=prompt, sampling=SAMPLING)
    scale = piece.score.ticks_per_quarter // 480
    end = piece.prompt_end_tick
    high, low = piece.score.tracks[:2]
    assert [(c.time, c.value) for c in high.controls] == [(0, 127), (end, 0)]
    assert [(b.time, b.value) for b in high.pitch_bends] == [(480 * scale, 2_000), (end, 0)]
    assert [(c.time, c.value) for c in low.controls] == [(0, 127), (480 * scale, 0)]


def test_a_fade_out_of_the_prompt_is_undone(tiny_composer) -> None:
    score = ScoreTick(480)
    track = TrackTick("Fading", 0, False)
    for beat in range(8):
        track.notes.append(NoteTick(480 * beat, 480, 60, 90))
        track.controls.append(ControlChangeTick(480 * beat, 11, 110 - 15 * beat))
    score.tracks.append(track)
    piece = tiny_composer.compose(prompt=score, bars=1, sampling=Sampling(seed=1))
    controls = [(c.time, c.number, c.value) for c in piece.score.tracks[0].controls]
    assert controls[-1] == (piece.prompt_end_tick, 11, 110)


@pytest.mark.parametrize(("number", "default"), [(7, 100), (11, 127)])
def test_a_level_that_falls_to_nothing_from_its_default_is_undone(
    number, default, tiny_composer
) -> None:
    prompt = band()
    prompt.tracks[0].controls.append(ControlChangeTick(960, number, 0))
    piece = tiny_composer.compose(bars=1, prompt=prompt, sampling=SAMPLING)
    last = piece.score.tracks[0].controls[-1]
    assert (last.time, last.number, last.value) == (piece.prompt_end_tick, number, default)


def test_the_fullest_chord_of_the_prompt_limits_simultaneous_onsets(tiny_composer) -> None:
    score = ScoreTick(480)
    for number in range(3):
        track = TrackTick("Choir", 52, False)
        for beat in range(8):
            for voice in range(2):
                track.notes.append(NoteTick(480 * beat, 480, 50 + 10 * number + 4 * voice, 90))
        score.tracks.append(track)
    piece = tiny_composer.compose(prompt=score, bars=4, sampling=Sampling(seed=1))
    assert piece.constraints.max_notes_at_once == 6


def test_prompt_bars_cuts_the_prompt(tiny_composer, invented) -> None:
    score = invented(bars=4)
    piece = tiny_composer.compose(bars=2, prompt=score, prompt_bars=2, sampling=SAMPLING)
    line = piece.prompt_end_tick
    assert piece.prompt_bars == 2
    assert line == 2 * 4 * piece.score.ticks_per_quarter
    assert notes_of(piece.score, end=line) == notes_of(score, end=2 * 4 * 480)
    short = tiny_composer.compose(
        bars=2, prompt=invented(bars=2), sampling=SAMPLING
    )  # the same chance gives the same first two bars
    assert notes_of(short.score) == notes_of(piece.score)


def test_the_first_bars_have_no_later_pedals_tempos_or_meters(
    tiny_composer,
) -> None:
    score = band(bars=6)
    bar = 3 * 480
    for time, value in [(0, 127), (480, 0), (2 * bar, 127), (3 * bar, 0)]:
        score.tracks[0].controls.append(ControlChangeTick(time, 64, value))
    score.time_signatures.append(TimeSignatureTick(4 * bar, 4, 4))
    piece = tiny_composer.compose(bars=1, prompt=score, prompt_bars=2, sampling=SAMPLING)
    scale = piece.score.ticks_per_quarter // 480
    controls = [(c.time // scale, c.value) for c in piece.score.tracks[0].controls]
    assert controls == [(0, 127), (480, 0)]
    assert [tempo.time // scale for tempo in piece.score.tempos] == [0, bar]
    assert [(s.time, s.numerator) for s in piece.score.time_signatures] == [(0, 3)]


def test_silent_bars_at_the_end_of_a_prompt_count(tiny_composer) -> None:
    # A note in bar 1, a change to 3/4 at bar 3, a note in bar 5: three bars end at 4 + 4 + 3.
    score = ScoreTick(480)
    track = TrackTick("Piano", 0, False)
    track.notes.append(NoteTick(0, 480, 60, 80))
    track.notes.append(NoteTick((8 + 3 + 3) * 480, 480, 62, 80))
    score.tracks.append(track)
    score.time_signatures.append(TimeSignatureTick(0, 4, 4))
    score.time_signatures.append(TimeSignatureTick(8 * 480, 3, 4))
    piece = tiny_composer.compose(bars=2, prompt=score, prompt_bars=3, sampling=SAMPLING)
    tpq = piece.score.ticks_per_quarter
    assert piece.prompt_end_tick == 11 * tpq
    lines = bar_starts(piece.score, end_tick=17 * tpq)
    assert (lines // tpq).tolist() == [0, 4, 8, 11, 14, 17]
    assert piece.constraints.meter == (3, 4)


def test_a_prompt_in_a_meter_without_token_is_read_to_its_end(tiny_composer) -> None:
    def seventeen(last_pitch: int) -> ScoreTick:
        score = ScoreTick(480)
        track = TrackTick("Piano", 0, False)
        for eighth in range(34):
            pitch = last_pitch if eighth == 33 else 60
            track.notes.append(NoteTick(eighth * 240, 240, pitch, 80))
        score.tracks.append(track)
        score.time_signatures.append(TimeSignatureTick(0, 17, 8))
        return score

    one, other = (
        tiny_composer.compose(bars=1, prompt=seventeen(pitch), sampling=SAMPLING)
        for pitch in (60, 72)
    )
    assert one.prompt_bars == 2
    assert one.constraints.meter is None
    assert not np.array_equal(one.state.logits, other.state.logits)


def test_the_finest_resolution_of_midi_is_kept(
    tiny_composer,
) -> None:
    score = ScoreTick(9_601)
    track = TrackTick("Piano", 0, False)
    track.notes.append(NoteTick(7, 9_601, 60, 80))
    score.tracks.append(track)
    piece = tiny_composer.compose(bars=2, prompt=score, sampling=SAMPLING)
    assert piece.score.ticks_per_quarter == 9_601
    assert piece.prompt_end_tick == 4 * 9_601
    assert last_note_end(piece.score) <= 3 * 4 * 9_601
    assert notes_of(piece.score, end=piece.prompt_end_tick) == notes_of(score)


@pytest.mark.parametrize("bars", [0, 1.5])
def test_a_wrong_number_of_prompt_bars_is_refused(bars, tiny_composer, invented) -> None:
    with pytest.raises(ValueError, match="prompt_bars must be a whole number from 1 to 4096, got"):
        tiny_composer.compose(bars=1, prompt=invented(), prompt_bars=bars)


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        (b"", r"This file is empty \(0 bytes\)"),
        (b"just text, renamed", "This file is"),
        (ScoreTick(480), "This file has no notes; choose a file with something to play"),
    ],
)
def test_a_prompt_without_music_is_refused(prompt, sentence, tiny_composer) -> None:
    with pytest.raises(ScoreError, match=sentence):
        tiny_composer.compose(bars=1, prompt=prompt)


def test_silent_first_bars_are_refused(tiny_composer) -> None:
    score = ScoreTick(480)
    track = TrackTick("", 0, False)
    track.notes.append(NoteTick(6 * 1_920, 480, 60, 80))
    score.tracks.append(track)
    with pytest.raises(ScoreError) as refusal:
        tiny_composer.compose(bars=1, prompt=score, prompt_bars=4)
    assert str(refusal.value) == (
        "The prompt has notes, but none in its first 4 bars; pass a larger prompt_bars or trim "
        "the silence."
    )
