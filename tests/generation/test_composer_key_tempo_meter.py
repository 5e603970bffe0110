"""Requested keys, tempos and meters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from symusic.core import (
    KeySignatureTick,
    NoteTick,
    ScoreTick,
    TempoTick,
    TimeSignatureTick,
    TrackTick,
)

from musiclstm import Constraints
from musiclstm.generation.constraints import Scale
from musiclstm.generation.key_signatures import key_signature
from musiclstm.generation.references import transposed
from musiclstm.midi.analysis import bar_starts, estimate_key, last_note_end, meter_at, tempo_at
from musiclstm.tokens import DRUMS
from tests.generation.pieces import PIANO, SAMPLING, band, notes_of, tempos, token_names


def test_the_key_of_the_prompt_is_estimated_and_holds(tiny_composer, invented) -> None:
    prompt = invented(bars=2, programs=(0, 40, DRUMS), seed=3)
    name = str(estimate_key(prompt))
    constraints = replace(tiny_composer.default_constraints(prompt), key="prompt")
    piece = tiny_composer.compose(bars=4, prompt=prompt, sampling=SAMPLING, constraints=constraints)
    assert piece.constraints == replace(constraints, key=name)
    new = notes_of(piece.score, start=piece.prompt_end_tick)
    pitched = {pitch % 12 for program, *_, pitch, _ in new if program != DRUMS}
    assert pitched
    assert pitched <= Scale.named(name).pitch_classes
    longer = tiny_composer.extend(piece, bars=1)
    assert longer.constraints.key == name


def test_only_the_used_bars_of_the_prompt_determine_the_key(tiny_composer) -> None:
    score = ScoreTick(480)
    track = TrackTick("Piano", 0, False)
    for bar, chord in enumerate([(60, 64, 67), (61, 65, 68)]):
        for pitch in chord:
            track.notes.append(NoteTick(1_920 * bar, 1_920, pitch, 80))
    score.tracks.append(track)
    piece = tiny_composer.compose(
        bars=1,
        prompt=score,
        prompt_bars=1,
        sampling=SAMPLING,
        constraints=Constraints(key="prompt"),
    )
    assert piece.constraints.key == "C major"


def test_key_prompt_without_a_prompt_is_refused(tiny_composer) -> None:
    constraints = Constraints(key="prompt")
    for ask in (tiny_composer.compose, tiny_composer.stream, tiny_composer.stream_endless):
        with pytest.raises(ValueError, match="key='prompt' needs a prompt whose key can be"):
            ask(constraints=constraints)
    with pytest.raises(ValueError, match="key='prompt' needs a prompt"):
        tiny_composer.compose_many(2, constraints=constraints)


def test_key_prompt_with_a_prompt_of_drums_is_refused(tiny_composer, invented) -> None:
    prompt = invented(bars=1, programs=(DRUMS,))
    with pytest.raises(ValueError, match="key='prompt' needs a prompt whose key can be estimated"):
        tiny_composer.compose(bars=1, prompt=prompt, constraints=Constraints(key="prompt"))


def test_tempos_change_only_if_permitted(tiny_composer, invented) -> None:
    asked = {"bars": 6, "prompt": invented(bars=1, tempo_bpm=90), "sampling": SAMPLING}
    free = tiny_composer.compose(**asked, constraints=PIANO)
    bound = tiny_composer.compose(**asked, constraints=replace(PIANO, tempo_changes=False))
    named = sum(word.startswith("Tempo_") for word in token_names(tiny_composer, free))
    assert named > 0
    assert len(free.score.tempos) == 1 + named
    assert len(bound.score.tempos) == 1


def test_a_new_piece_states_its_tempo(tiny_composer) -> None:
    bound = tiny_composer.compose(
        bars=2, sampling=SAMPLING, constraints=replace(PIANO, tempo_changes=False)
    )
    assert [(tempo.time, tempo.qpm) for tempo in bound.score.tempos] == [(0, 120)]
    few = Constraints(notes_per_bar=(0, 20))
    free = tiny_composer.compose(bars=3, sampling=SAMPLING, constraints=few)
    named = [tempo.time for tempo in tiny_composer.tokenizer.decode(free.tokens).tempos]
    assert named
    assert [tempo.time for tempo in free.score.tempos] == [0, *(time for time in named if time)]


def test_a_requested_tempo_starts_with_the_new_music(tiny_composer) -> None:
    prompt = band(meter=(3, 4), bars=3)  # 97.3, from the second bar on 61.7
    constraints = replace(tiny_composer.default_constraints(prompt), tempo_bpm=144)
    asked = {"prompt": prompt, "sampling": SAMPLING, "constraints": constraints}
    expected = [(0, 97.3), (3, 61.7), (9, 144)]
    piece = tiny_composer.compose(bars=3, **asked)
    assert tempos(piece.score) == expected
    assert tempos(ScoreTick.from_midi(piece.to_midi())) == expected
    assert tempos(tiny_composer.extend(piece, bars=1).score) == expected
    assert tempos(piece.continuation) == [(0, 144)]
    assert tempos(ScoreTick.from_midi(piece.to_midi(only_new=True))) == [(0, 144)]
    assert [tempos(draft.score) for draft in tiny_composer.stream(bars=2, **asked)] == [
        expected
    ] * 2


def test_a_tempo_after_the_last_note_of_the_prompt_is_ignored(tiny_composer) -> None:
    prompt = band(meter=(3, 4), bars=1)
    prompt.tempos.append(TempoTick(3 * 480, 50))
    prompt.tempos.append(TempoTick(30 * 480, 40))
    constraints = replace(tiny_composer.default_constraints(prompt), tempo_bpm=144)
    piece = tiny_composer.compose(
        bars=12, prompt=prompt, sampling=SAMPLING, constraints=constraints
    )
    end = last_note_end(piece.score)
    assert tempo_at(piece.score, piece.prompt_end_tick) == pytest.approx(144, abs=0.01)
    assert tempo_at(piece.score, end) == pytest.approx(144, abs=0.01)


def test_a_new_piece_has_the_requested_tempo(tiny_composer) -> None:
    constraints = replace(PIANO, tempo_bpm=63.5)
    piece = tiny_composer.compose(bars=4, sampling=SAMPLING, constraints=constraints)
    assert tempos(piece.score) == [(0, 63.5)]
    assert not [word for word in token_names(tiny_composer, piece) if word.startswith("Tempo_")]


def test_the_same_tempo_is_not_stated_twice(tiny_composer) -> None:
    slow = replace(PIANO, tempo_bpm=60)
    piece = tiny_composer.compose(bars=1, sampling=SAMPLING, constraints=slow)
    same = tiny_composer.extend(piece, bars=1, constraints=replace(slow, key="C major"))
    faster = tiny_composer.extend(same, bars=1, constraints=replace(slow, tempo_bpm=90))
    assert [tempo.qpm for tempo in same.score.tempos] == [60]
    assert [round(tempo.qpm) for tempo in faster.score.tempos] == [60, 90]
    assert faster.score.tempos[1].time == 4 * faster.score.ticks_per_quarter


def test_a_requested_meter_starts_with_the_new_music(tiny_composer, invented) -> None:
    piece = tiny_composer.compose(
        bars=2, prompt=invented(bars=2), sampling=SAMPLING, constraints=Constraints(meter=(3, 4))
    )
    start = piece.prompt_end_tick
    assert meter_at(piece.score, start - 1) == (4, 4)
    assert meter_at(piece.score, start) == (3, 4)
    lines = bar_starts(piece.score, end_tick=start + 6 * piece.score.ticks_per_quarter)
    assert (np.diff(lines) // piece.score.ticks_per_quarter).tolist() == [4, 4, 3, 3]


def test_a_meter_without_token_is_replaced_by_one_of_the_same_length(tiny_composer) -> None:
    piece = tiny_composer.compose(
        bars=2, sampling=SAMPLING, constraints=Constraints(meter=(2, 2), programs={0})
    )
    assert {(s.numerator, s.denominator) for s in piece.score.time_signatures} == {(4, 4)}


# -- Key signatures ------------------------------------------------------------------------------


def signatures_of(score: ScoreTick) -> list[tuple[float, int, int]]:
    quarter = score.ticks_per_quarter
    return [(each.time / quarter, each.key, each.tonality) for each in score.key_signatures]


@pytest.mark.parametrize(
    ("key", "whole", "only_new"),
    [
        (None, [(0, -3, 0)], [(0, -3, 0)]),
        ("Eb major", [(0, -3, 0)], [(0, -3, 0)]),
        ("A major", [(0, -3, 0), (8, 3, 0)], [(0, 3, 0)]),
        ("F# dorian", [(0, -3, 0), (8, 4, 1)], [(0, 4, 1)]),
        ("C chromatic", [(0, -3, 0)], [(0, -3, 0)]),
    ],
)
def test_a_continuation_has_the_key_signature_of_its_key(
    key, whole, only_new, tiny_composer, invented
) -> None:
    prompt = invented(bars=2, programs=(0,))
    prompt.key_signatures.append(KeySignatureTick(0, -3, 0))
    constraints = Constraints(key=key)
    piece = tiny_composer.compose(bars=1, prompt=prompt, sampling=SAMPLING, constraints=constraints)
    assert signatures_of(piece.score) == whole
    assert signatures_of(piece.continuation) == only_new


def test_a_new_piece_has_a_key_signature_where_a_key_is_requested(tiny_composer) -> None:
    piece = tiny_composer.compose(
        bars=1, sampling=SAMPLING, constraints=Constraints(key="Gb major", meter=(4, 4))
    )
    assert signatures_of(piece.score) == [(0, -6, 0)]
    other = Constraints(key="D minor", meter=(4, 4))
    longer = tiny_composer.extend(piece, bars=1, constraints=other)
    assert signatures_of(longer.score) == [(0, -6, 0), (4, -1, 1)]
    assert signatures_of(longer.truncated(1).score) == [(0, -6, 0)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Cb major", (-7, 0)), ("G# major", (-4, 0)), ("Db minor", (4, 1)), ("D blues", (-1, 1))],
)
def test_key_signatures_have_at_most_seven_accidentals(name, expected) -> None:
    assert key_signature(name) == expected


def test_a_transposed_score_has_a_transposed_key_signature() -> None:
    score = ScoreTick(48)
    score.key_signatures.append(KeySignatureTick(0, -3, 0))
    assert [transposed(score, by).key_signatures[0].key for by in (1, 2, -3, 0)] == [4, -1, 0, -3]
    assert score.key_signatures[0].key == -3


# -- Pickups and tempos of the prompt ------------------------------------------------------------


def waltz_with_a_pickup(*, tempo_bpm: float = 90.0) -> ScoreTick:
    score = ScoreTick(480)
    score.tracks.append(TrackTick("", 0, False))
    for beat in range(13):
        score.tracks[0].notes.append(NoteTick(480 * beat, 480, 60 + beat % 5, 80))
    score.tempos.append(TempoTick(0, tempo_bpm))
    for meter in ((0, 1, 4), (480, 3, 4)):
        score.time_signatures.append(TimeSignatureTick(*meter))
    return score


def test_the_continuation_of_a_piece_with_a_pickup_has_its_meter(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=2, prompt=waltz_with_a_pickup(), sampling=SAMPLING)
    assert piece.constraints.meter == (3, 4)
    assert np.diff(bar_starts(piece.score, end_tick=piece.end_tick)).tolist() == [
        piece.score.ticks_per_quarter * beats for beats in (1, 3, 3, 3, 3, 3, 3)
    ]


def test_tempo_meter_and_key_on_the_last_bar_line_hold_for_the_continuation(tiny_composer) -> None:
    prompt = band(bars=2)
    line = int(bar_starts(prompt)[-1])
    prompt.tempos.append(TempoTick(line, 75))
    prompt.time_signatures.append(TimeSignatureTick(line, 3, 4))
    prompt.key_signatures.append(KeySignatureTick(line, 2, 0))
    piece = tiny_composer.compose(bars=2, prompt=prompt, sampling=SAMPLING)
    assert (piece.prompt_bars, piece.constraints.meter) == (2, (3, 4))
    for score in (ScoreTick.from_midi(piece.to_midi(only_new=True)), piece.continuation):
        assert tempos(score) == [(0, 75)]
        assert [(each.time, each.numerator) for each in score.time_signatures] == [(0, 3)]
        assert [(each.time, each.key) for each in score.key_signatures] == [(0, 2)]
    bar = 3 * piece.score.ticks_per_quarter
    lines = bar_starts(piece.score, end_tick=piece.end_tick)
    assert np.diff(lines)[2:].tolist() == [bar, bar]
    asked = replace(piece.constraints, meter=(4, 4), tempo_bpm=90)
    other = tiny_composer.compose(bars=1, prompt=prompt, sampling=SAMPLING, constraints=asked)
    at_line = [each for each in other.score.time_signatures if each.time == other.prompt_end_tick]
    assert [each.numerator for each in at_line] == [4]
    assert len([t for t in other.score.tempos if t.time == other.prompt_end_tick]) == 1
    edited = tiny_composer.regenerate(prompt, bars=(2, 2), parts=[1], sampling=SAMPLING)
    assert tempos(edited.score)[-1] == (6, 75)


def test_the_tempo_of_a_presto_is_kept(tiny_composer) -> None:
    prompt = waltz_with_a_pickup(tempo_bpm=360)
    piece = tiny_composer.compose(bars=2, prompt=prompt, sampling=SAMPLING)
    assert tempos(piece.score) == tempos(prompt)
    assert tempo_at(piece.continuation, 0) == pytest.approx(360, abs=0.01)
