"""`Composition` and `GeneratedBar`: derived values, equality, repr, files, old names."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
from symusic.core import NoteTick, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

from musiclstm import Composition, Constraints, GeneratedBar, Sampling, Surprise
from musiclstm.generation.decoding.inference import DecoderState
from musiclstm.generation.prompt import Prompt
from tests.generation.pieces import SAMPLING, band, notes_of, tempos


def score(*notes: tuple[int, int, int]) -> ScoreTick:
    """Notes (time, duration, pitch) on a piano, at 90 beats a minute and in 3/4."""
    found = ScoreTick(12)
    found.tempos.append(TempoTick(0, 90))
    found.time_signatures.append(TimeSignatureTick(0, 3, 4))
    for name in ("Piano", "Silent"):
        found.tracks.append(TrackTick(name, 0, False))
    for time, duration, pitch in notes:
        found.tracks[0].notes.append(NoteTick(time, duration, pitch, 80))
    return found


@pytest.fixture
def state() -> DecoderState:
    layers = np.zeros((1, 4), np.float32)
    return DecoderState(np.zeros(6, np.float32), layers, layers)


@pytest.fixture
def piece(state) -> Composition:
    prompt = Prompt(score((0, 12, 60)), bars=1, end_tick=36)
    return Composition(
        score=score((0, 12, 60), (36, 24, 64), (72, 12, 67)),
        bars=2,
        bar_tokens=((1, 2), (3, 4, 5)),
        state=state,
        sampling=Sampling(seed=1),
        constraints=Constraints(),
        prompt=prompt,
        track_parts=(None, None),
    )


def test_a_piece_without_a_prompt_starts_at_tick_0(piece) -> None:
    alone = replace(piece, prompt=None)
    assert (alone.prompt_bars, alone.prompt_end_tick) == (0, 0)
    assert len(alone.continuation.tracks[0].notes) == 3
    assert (piece.prompt_bars, piece.prompt_end_tick) == (1, 36)


def test_the_continuation_has_only_the_new_notes(piece) -> None:
    new = piece.continuation
    (track,) = new.tracks
    assert [(n.time, n.duration, n.pitch) for n in track.notes] == [(0, 24, 64), (36, 12, 67)]
    assert [(tempo.time, round(tempo.qpm)) for tempo in new.tempos] == [(0, 90)]
    assert [(s.time, s.numerator) for s in new.time_signatures] == [(0, 3)]
    assert len(piece.score.tracks) == 2


def test_tokens_are_those_of_all_new_bars(piece) -> None:
    assert piece.tokens == (1, 2, 3, 4, 5)
    assert replace(piece, bar_tokens=()).tokens == ()


def test_equality_ignores_the_state(piece, state) -> None:
    twin = replace(piece, state=replace(state))
    assert twin == piece
    assert replace(piece, sampling=Sampling(seed=2)) != piece
    assert replace(piece, surprise=Surprise("bold")) != piece


def test_records_cannot_be_changed(piece, state) -> None:
    bar = GeneratedBar(number=0, score=score(), length_ticks=36, tokens=(1,), state=state)
    for record in (piece, bar, piece.prompt):
        for field in fields(record):
            with pytest.raises(FrozenInstanceError):
                setattr(record, field.name, None)


def test_repr_is_short(piece, state) -> None:
    bar = GeneratedBar(number=3, score=score(), length_ticks=36, tokens=(1, 2), state=state)
    for record in (piece, bar):
        assert "tokens" not in repr(record)
        assert "array" not in repr(record)
    assert "number=3" in repr(bar)


def test_a_file_contains_the_piece_or_only_the_new_bars(piece, tmp_path) -> None:
    for only_new, notes in [(False, 3), (True, 2)]:
        path = piece.save_midi(tmp_path / "piece.mid", only_new=only_new)
        assert path.read_bytes() == piece.to_midi(only_new=only_new)
        back = ScoreTick.from_midi(path.read_bytes())
        assert sum(len(track.notes) for track in back.tracks) == notes


def test_the_continuation_of_a_prompt_starts_at_tick_0(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=3, prompt=band(), sampling=SAMPLING)
    new, start = piece.continuation, piece.prompt_end_tick
    found = sorted((n.time, n.pitch, n.duration) for track in new.tracks for n in track.notes)
    assert found == sorted(
        (n.time - start, n.pitch, n.duration)
        for track in piece.score.tracks
        for n in track.notes
        if n.time >= start
    )
    assert all(len(track.notes) for track in new.tracks)
    assert [(s.time, s.numerator, s.denominator) for s in new.time_signatures] == [(0, 3, 4)]
    assert [(tempo.time, tempo.mspq) for tempo in new.tempos] == [(0, piece.score.tempos[-1].mspq)]
    before = piece.to_midi()
    assert notes_of(ScoreTick.from_midi(before)) == notes_of(piece.score)
    new.tracks.clear()
    assert piece.to_midi() == before


def test_the_continuation_of_a_new_piece_is_the_piece(tiny_composer) -> None:
    few = Constraints(notes_per_bar=(0, 20))
    piece = tiny_composer.compose(bars=3, sampling=SAMPLING, constraints=few)
    assert notes_of(piece.continuation) == notes_of(piece.score)
    assert tempos(piece.continuation) == tempos(piece.score)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seed", "prompt"),
        ("seed_bars", "prompt_bars"),
        ("seed_end_tick", "prompt_end_tick"),
        ("passages", "generated_bars"),
        ("opening", "initial_state"),
        ("decoded", "decoded_score"),
        ("maker", "model_info"),
    ],
)
def test_an_old_attribute_warns_and_has_the_value_of_the_new_one(old, new, piece) -> None:
    with pytest.warns(DeprecationWarning, match=f"Composition.{old} is now {new};"):
        assert getattr(piece, old) is getattr(piece, new)
    assert Composition.first.__wrapped__ is Composition.truncated
