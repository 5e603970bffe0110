"""The records that composing gives: what they tell, and that they cannot be changed."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
from symusic.core import NoteTick, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

from musiclstm import Composition, Constraints, GeneratedBar, Sampling, Surprise
from musiclstm.generation.decoding.history import TokenHistory
from musiclstm.generation.decoding.inference import DecoderState
from musiclstm.generation.prompt import Prompt


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
    return DecoderState(np.zeros(6, np.float32), layers, layers, TokenHistory())


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


def test_a_piece_without_a_seed_begins_at_0(piece) -> None:
    alone = replace(piece, prompt=None)
    assert (alone.prompt_bars, alone.prompt_end_tick) == (0, 0)
    assert len(alone.continuation.tracks[0].notes) == 3
    assert (piece.prompt_bars, piece.prompt_end_tick) == (1, 36)


def test_the_continuation_is_what_was_added(piece) -> None:
    new = piece.continuation
    (track,) = new.tracks  # the one that is silent is left out
    assert [(n.time, n.duration, n.pitch) for n in track.notes] == [(0, 24, 64), (36, 12, 67)]
    assert [(tempo.time, round(tempo.qpm)) for tempo in new.tempos] == [(0, 90)]
    assert [(s.time, s.numerator) for s in new.time_signatures] == [(0, 3)]
    assert len(piece.score.tracks) == 2


def test_tokens_are_those_of_all_new_bars(piece) -> None:
    assert piece.tokens == (1, 2, 3, 4, 5)
    assert replace(piece, bar_tokens=()).tokens == ()


def test_no_turn_is_taken_unless_asked_for(piece) -> None:
    assert piece.surprise == Surprise()


def test_two_pieces_are_equal_whatever_their_states_are_objects_of(piece, state) -> None:
    twin = replace(piece, state=replace(state))
    assert twin == piece
    assert replace(piece, sampling=Sampling(seed=2)) != piece
    assert replace(piece, surprise=Surprise("bold")) != piece


def test_records_cannot_be_changed(piece, state) -> None:
    passage = GeneratedBar(number=0, score=score(), length_ticks=36, tokens=(1,), state=state)
    for record in (piece, passage, piece.prompt):
        for field in fields(record):
            with pytest.raises(FrozenInstanceError):
                setattr(record, field.name, None)


def test_a_record_is_told_in_a_few_words(piece, state) -> None:
    passage = GeneratedBar(number=3, score=score(), length_ticks=36, tokens=(1, 2), state=state)
    for record in (piece, passage):
        assert "tokens" not in repr(record)
        assert "array" not in repr(record)
    assert "number=3" in repr(passage)


def test_a_file_holds_the_piece_or_only_the_new(piece, tmp_path) -> None:
    for only_new, notes in [(False, 3), (True, 2)]:
        path = piece.save_midi(tmp_path / "piece.mid", only_new=only_new)
        assert path.read_bytes() == piece.to_midi(only_new=only_new)
        back = ScoreTick.from_midi(path.read_bytes())
        assert sum(len(track.notes) for track in back.tracks) == notes
