"""`stream` and `stream_endless` give the bars of `compose`."""

from __future__ import annotations

import gc
from collections import defaultdict
from dataclasses import replace
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musiclstm import Constraints, GeneratedBar, Sampling, ScoreError, Surprise
from musiclstm.tokens import DRUMS
from tests.generation.pieces import (
    PIANO,
    SAMPLING,
    assert_same,
    constraint_sets,
    every_setting,
    notes_of,
    samplings,
    surprises,
)

SETTINGS = {
    "surprise": {"surprise": Surprise("bold"), "constraints": PIANO},
    "surprises bar by bar": {
        "surprise": Surprise([0, 0.9, 0.2, 0.7, 1, 0.6]),
        "constraints": replace(PIANO, programs={0, 40}),
    },
    "key": {"constraints": Constraints(meter=(2, 4), key="E minor")},
    "density": {"constraints": Constraints(meter=(2, 4), notes_per_bar=(3, 5))},
    "voices": {"constraints": Constraints(meter=(2, 4), max_polyphony=2)},
    "silence": {"constraints": Constraints(meter=(2, 4), max_empty_bars=3, notes_per_bar=(0, 1))},
    "tempo": {"constraints": Constraints(meter=(2, 4), tempo_bpm=71)},
    "repetition": {
        "sampling": Sampling(1.0, seed=7, repetition_penalty=2, repetition_bars=3),
        "constraints": PIANO,
    },
    "temperatures": {
        "sampling": Sampling(1.0, 0.9, 40, 7, pitch_temperature=0.5, rhythm_temperature=1.3),
        "constraints": replace(PIANO, programs={0, 40, DRUMS}),
    },
}


@pytest.fixture(params=[*SETTINGS, "every setting"])
def asked(request, invented) -> dict[str, object]:
    """Something to ask for, with a prompt or without."""
    if request.param == "every setting":
        return every_setting(invented(bars=2, programs=(0, 40)))
    with_prompt = len(request.param) % 2
    prompt = invented(bars=1) if with_prompt else None
    return {"sampling": SAMPLING, "prompt": prompt} | SETTINGS[request.param]


def test_extend_stream_and_endless_music_equal_compose(asked, tiny_composer) -> None:
    whole = tiny_composer.compose(bars=6, **asked)
    *_, last = tiny_composer.stream(bars=6, **asked)
    assert_same(last, whole)
    bars = list(islice(tiny_composer.stream_endless(**asked), 6))
    assert tuple(bar.tokens for bar in bars) == whole.bar_tokens
    assert [bar.number for bar in bars] == [*range(6)]
    assert bars[-1].state.to_bytes() == whole.state.to_bytes()
    for cut in (1, 5):
        assert_same(
            tiny_composer.extend(tiny_composer.compose(bars=cut, **asked), bars=6 - cut), whole
        )


def test_stream_raises_before_the_first_bar(tiny_composer) -> None:
    with pytest.raises(ScoreError):
        tiny_composer.stream(prompt=b"not MIDI")
    with pytest.raises(ValueError, match="bars must be"):
        tiny_composer.stream(bars=0)


def test_a_stream_can_be_closed(tiny_composer) -> None:
    drafts = tiny_composer.stream(bars=4_096, sampling=SAMPLING, constraints=PIANO)
    first = next(drafts)
    drafts.close()
    gc.collect()
    assert first.bars == 1
    assert next(drafts, None) is None


def test_interleaved_streams_do_not_affect_each_other(tiny_composer, invented) -> None:
    asked = [
        {"sampling": Sampling(seed=1), "constraints": PIANO},
        {"prompt": invented(bars=2, meter=(3, 4)), "sampling": Sampling(seed=2)},
    ]
    alone = [tiny_composer.compose(bars=3, **each).to_midi() for each in asked]
    streams = [tiny_composer.stream(bars=3, **each) for each in asked]
    for _ in range(2):
        for stream in streams:
            next(stream)
    assert [next(stream).to_midi() for stream in streams] == alone


@settings(max_examples=8)
@given(constraint_sets, samplings, surprises, st.integers(1, 4), st.integers(1, 4))
def test_a_stream_after_a_piece_equals_extend(
    tiny_composer, invented, constraints, sampling, surprise, before, bars
) -> None:
    prompt = invented(bars=1, programs=(0, 40))
    piece = tiny_composer.compose(bars=before, prompt=prompt, sampling=SAMPLING)
    asked = {"sampling": sampling, "constraints": constraints, "surprise": surprise}
    drafts = list(tiny_composer.stream(after=piece, bars=bars, **asked))
    whole = tiny_composer.extend(piece, bars=bars, **asked)
    assert [draft.bars for draft in drafts] == list(range(before + 1, before + bars + 1))
    assert_same(drafts[-1], whole)
    for draft in drafts:
        assert_same(draft, whole.truncated(draft.bars))


def test_a_stream_after_a_piece_keeps_its_settings(tiny_composer) -> None:
    asked = {"sampling": SAMPLING, "constraints": PIANO, "surprise": Surprise("bold")}
    whole = tiny_composer.compose(bars=4, **asked)
    *_, draft = tiny_composer.stream(after=whole.truncated(1), bars=3)
    assert_same(draft, whole)


def test_a_draft_decodes_only_its_new_bar(tiny_composer, monkeypatch) -> None:
    decoded = []
    decode = type(tiny_composer.tokenizer).decode_parts

    def counting(self, ids):
        decoded.append(tuple(ids))
        return decode(self, ids)

    monkeypatch.setattr(type(tiny_composer.tokenizer), "decode_parts", counting)
    *_, draft = tiny_composer.stream(bars=5, sampling=SAMPLING, constraints=PIANO)
    assert decoded == list(draft.bar_tokens)


def concatenated(bars: list[GeneratedBar]) -> list[tuple]:
    """Every note as (program, beat, pitch, velocity, beats), the bars one after the other."""
    found, at = [], 0.0
    for bar in bars:
        tpq = bar.score.ticks_per_quarter
        found += [
            (program, round(at + beat, 6), pitch, velocity, round(beats, 6))
            for program, beat, beats, pitch, velocity in notes_of(bar.score)
        ]
        at += bar.length_ticks / tpq
    return sorted(found)


@pytest.mark.parametrize("with_prompt", [False, True], ids=["alone", "with a prompt"])
def test_endless_bars_have_the_notes_of_the_piece(with_prompt, tiny_composer, invented) -> None:
    prompt = invented(bars=2, programs=(0, -1)) if with_prompt else None
    constraints = Constraints(programs={0, 40, DRUMS}, notes_per_bar=(4, 12))
    asked = {"prompt": prompt, "sampling": Sampling(1.2, seed=5), "constraints": constraints}
    bars = list(islice(tiny_composer.stream_endless(**asked), 8))
    piece = tiny_composer.compose(bars=8, **asked)
    found = concatenated(bars)
    expected = sorted(
        (program, round(beat, 6), pitch, velocity, round(beats, 6))
        for program, beat, beats, pitch, velocity in notes_of(piece.continuation)
    )
    assert len(found) > 20
    assert [note[:4] for note in found] == [note[:4] for note in expected]
    end = sum(p.length_ticks for p in bars) / tiny_composer.tokenizer.ticks_per_quarter
    onsets = defaultdict(list)
    for program, beat, pitch, *_ in found:
        onsets[program, pitch].append(beat)
    cut = 0
    for (program, beat, pitch, _, beats), (*_, shorter) in zip(found, expected, strict=True):
        if shorter == beats:
            continue
        # A shortened note ends at the next onset of its pitch, or with the piece.
        cut += 1
        assert shorter < beats
        stop = pytest.approx(beat + shorter, abs=1e-5)
        assert end == stop or any(beat == stop for beat in onsets[program, pitch])
    assert cut < len(found) / 2


def test_an_endless_bar_starts_at_tick_0(tiny_composer) -> None:
    constraints = Constraints(programs={0, 40}, meter=(3, 4))
    bars = list(islice(tiny_composer.stream_endless(sampling=SAMPLING, constraints=constraints), 4))
    tpq = tiny_composer.tokenizer.ticks_per_quarter
    for bar in bars:
        assert bar.length_ticks == 3 * tpq
        assert bar.score.ticks_per_quarter == tpq
        assert all(0 <= beat < 3 for _, beat, *_ in notes_of(bar.score))
        assert [(s.time, s.numerator) for s in bar.score.time_signatures] == [(0, 3)]
        names = {track.name.removesuffix(" (2)") for track in bar.score.tracks}
        assert names <= {"Acoustic Grand Piano", "Violin"}


def test_endless_music_states_its_tempo_once(tiny_composer, invented) -> None:
    for prompt, constraints, expected in [
        (None, replace(PIANO, tempo_bpm=72), [72]),
        (None, replace(PIANO, tempo_changes=False), [120]),
        (invented(bars=1, tempo_bpm=90), replace(PIANO, tempo_bpm=72), [72]),
        (invented(bars=1, tempo_bpm=90), replace(PIANO, tempo_changes=False), []),
    ]:
        asked = {"prompt": prompt, "sampling": SAMPLING, "constraints": constraints}
        first, *rest = islice(tiny_composer.stream_endless(**asked), 3)
        assert [round(tempo.qpm, 2) for tempo in first.score.tempos] == expected
        assert not any(len(bar.score.tempos) for bar in rest)


def test_stream_endless_raises_before_the_first_bar(tiny_composer) -> None:
    constraints = Constraints(programs={0}, ending=True)
    with pytest.raises(ValueError, match=r"has no ending; leave constraints\.ending out"):
        tiny_composer.stream_endless(constraints=constraints)
    with pytest.raises(ScoreError):
        tiny_composer.stream_endless(prompt=b"not MIDI")
