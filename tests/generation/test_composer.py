"""`Composer.compose`: exact bars, reproducible pieces, refusals, weights."""

from __future__ import annotations

import copy
import shutil

import numpy as np
import pytest

from musiclstm import CheckpointError, Composer, Constraints, Sampling, ScoreError
from musiclstm.generation.decoding.inference import InferenceModel
from musiclstm.midi.analysis import bar_starts, last_note_end
from musiclstm.model import load_checkpoint, save_checkpoint
from musiclstm.tokens import DRUMS, POSITIONS_PER_BEAT, TOKENIZER_FILE, normalize_time_signature
from tests.generation.pieces import (
    METERS,
    PIANO,
    SAMPLING,
    band,
    every_setting,
    new_notes,
    token_names,
)


def test_the_same_seed_gives_the_same_bytes(tiny_composer, invented) -> None:
    score = invented(bars=2)
    files = {
        tiny_composer.compose(bars=2, prompt=score, sampling=SAMPLING).to_midi() for _ in range(2)
    }
    assert len(files) == 1


def test_a_checkpoint_loaded_again_composes_the_same(tiny_composer, tiny_checkpoint) -> None:
    again = Composer.from_pretrained(tiny_checkpoint)
    one, other = (
        composer.compose(bars=2, sampling=SAMPLING, constraints=PIANO)
        for composer in (tiny_composer, again)
    )
    assert one.to_midi() == other.to_midi()


def test_a_random_seed_that_was_drawn_is_recorded(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=1, constraints=PIANO)
    again = tiny_composer.compose(bars=1, constraints=PIANO, sampling=piece.sampling)
    assert piece.sampling.seed is not None
    assert again.to_midi() == piece.to_midi()


def test_interleaved_composers_do_not_affect_each_other(
    tiny_composer, tiny_network, tiny_tokenizer
) -> None:
    other = Composer(tiny_network(seed=1), tiny_tokenizer)
    asked = {"bars": 2, "sampling": SAMPLING, "constraints": PIANO}
    alone = [composer.compose(**asked).to_midi() for composer in (tiny_composer, other)]
    streams = [composer.stream(**asked) for composer in (tiny_composer, other)]
    for stream in streams:
        next(stream)
    assert [next(stream).to_midi() for stream in streams] == alone
    assert alone[0] != alone[1]


@pytest.mark.parametrize("meter", METERS, ids=str)
@pytest.mark.parametrize("ticks_per_quarter", [480, 96, 100])
def test_bars_are_exact_and_notes_on_the_grid(
    meter, ticks_per_quarter, tiny_composer, invented
) -> None:
    prompt = invented(meter=meter, bars=2, ticks_per_quarter=480)
    prompt = prompt.resample(ticks_per_quarter, min_dur=1)
    piece = tiny_composer.compose(bars=3, prompt=prompt, sampling=SAMPLING)
    tpq = piece.score.ticks_per_quarter
    bar = 4 * tpq * meter[0] // meter[1]
    end = piece.prompt_end_tick + 3 * bar
    assert piece.prompt_end_tick == 2 * bar
    assert (piece.bars, piece.prompt_bars) == (3, 2)
    assert last_note_end(piece.score) <= end
    grid = 4 * tpq // normalize_time_signature(*meter)[1] // POSITIONS_PER_BEAT
    assert new_notes(piece)
    assert {(note.time - piece.prompt_end_tick) % grid for note in new_notes(piece)} == {0}
    assert token_names(tiny_composer, piece).count("Bar_None") == 3
    assert len(bar_starts(piece.score, end_tick=end)) == 2 + 3 + 1


@pytest.mark.parametrize("bars", [0, -1, 4_097, 2.5, "8", None])
def test_a_wrong_number_of_bars_is_refused(bars, tiny_composer) -> None:
    sentence = f"^bars must be a whole number from 1 to 4096, got {bars}.$"
    piece = tiny_composer.compose(bars=1, sampling=SAMPLING, constraints=PIANO)
    with pytest.raises(ValueError, match=sentence):
        tiny_composer.compose(bars=bars)
    with pytest.raises(ValueError, match=sentence):
        tiny_composer.extend(piece, bars=bars)
    with pytest.raises(ValueError, match=sentence):
        tiny_composer.stream(bars=bars)


def test_numpy_integers_are_accepted(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=np.int64(2), sampling=SAMPLING, constraints=PIANO)
    assert piece.bars == 2


def test_notes_of_one_pitch_do_not_overlap(tiny_composer) -> None:
    constraints = Constraints(programs={0, 24, DRUMS}, meter=(3, 4), notes_per_bar=(12, 40))
    wild = Sampling(temperature=1.5, seed=3)
    piece = tiny_composer.compose(bars=8, sampling=wild, constraints=constraints)
    for track in piece.score.tracks:
        ends: dict[int, int] = {}
        for note in track.notes:
            assert ends.get(note.pitch, 0) <= note.time
            ends[note.pitch] = note.time + note.duration
            assert note.duration >= 1


def test_default_constraints_equal_those_of_compose(tiny_composer, invented) -> None:
    prompt = band()
    constraints = tiny_composer.default_constraints(prompt)
    assert constraints == Constraints(
        programs={40, 33, DRUMS}, meter=(3, 4), tempo_changes=False, max_notes_at_once=4
    )
    plain = tiny_composer.compose(bars=2, prompt=prompt, sampling=SAMPLING)
    asked = tiny_composer.compose(bars=2, prompt=prompt, sampling=SAMPLING, constraints=constraints)
    assert asked == plain
    assert tiny_composer.default_constraints() == Constraints()
    long = invented(bars=2, programs=(0,))
    long.tracks.append(band(bars=6).tracks[2])  # the bass begins with the first bar
    assert tiny_composer.default_constraints(long, prompt_bars=1).programs == {0, 33}
    with pytest.raises(ScoreError):
        tiny_composer.default_constraints(b"not MIDI")
    with pytest.raises(ValueError, match="prompt_bars must be"):
        tiny_composer.default_constraints(prompt, prompt_bars=0)


IMPOSSIBLE = [
    (Constraints(programs={DRUMS}, pitch_ranges={DRUMS: (0, 20)}), "leaves nothing to play"),
    (Constraints(programs={0}, pitch_ranges={0: (60, 60)}, notes_per_bar=(900, 999)), "at least"),
    (
        Constraints(programs={0}, key="C major", pitch_ranges={0: (62, 62)}, ending=True),
        r"\[0, 4, 7\]",
    ),
]


@pytest.mark.parametrize("way", ["compose", "stream", "compose_many", "stream_endless"])
@pytest.mark.parametrize(
    ("constraints", "sentence"), IMPOSSIBLE, ids=["pitches", "density", "ending"]
)
def test_every_method_refuses_impossible_constraints_before_composing(
    constraints, sentence, way, tiny_composer, invented, monkeypatch
) -> None:
    def compose(*_: object) -> None:
        raise AssertionError("this would have been composed")

    monkeypatch.setattr(InferenceModel, "restore", compose)
    ask = getattr(tiny_composer, way)
    count = (2,) if way == "compose_many" else ()
    if way == "stream_endless" and constraints.ending:
        sentence = "Endless music has no ending"
    for prompt in (None, invented(bars=1)):
        with pytest.raises(ValueError, match=sentence):
            ask(*count, prompt=prompt, constraints=constraints)


def test_a_piece_of_another_network_is_refused(tiny_composer, tiny_network, tiny_tokenizer) -> None:
    other = Composer(tiny_network(hidden_size=64, num_hidden_layers=2), tiny_tokenizer)
    piece = other.compose(bars=1, sampling=SAMPLING, constraints=PIANO)
    with pytest.raises(ValueError, match="another"):
        tiny_composer.extend(piece, bars=1)


def test_an_incomplete_checkpoint_is_refused(tiny_checkpoint, tmp_path) -> None:
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "toy")
    (folder / TOKENIZER_FILE).unlink()
    with pytest.raises(CheckpointError, match=r"has no miditok_remi\.json"):
        Composer.from_pretrained(folder)


def test_weights_of_a_folder_and_of_a_network_give_the_same_piece(
    tiny_composer, tiny_checkpoint
) -> None:
    asked = {"bars": 3, "sampling": SAMPLING, "constraints": PIANO}
    piece = tiny_composer.compose(**asked)
    assert piece.bars == 3
    again = Composer(*load_checkpoint(tiny_checkpoint))
    assert again.compose(**asked) == piece
    assert again.fingerprint == tiny_composer.fingerprint
    assert again.num_parameters == tiny_composer.num_parameters == again.model.num_parameters()
    assert tiny_composer.compose_many(2, **asked)[0] == piece
    assert tiny_composer.extend(tiny_composer.compose(**(asked | {"bars": 1})), bars=2) == piece


def test_the_network_is_loaded_when_it_is_asked_for(tiny_checkpoint, tmp_path) -> None:
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "toy")
    composer = Composer.from_pretrained(folder)
    assert "model" not in vars(composer)
    assert composer.model is composer.model
    assert composer.model.config.vocab_size == composer.config.vocab_size
    assert composer.config.hidden_size == 32


def test_weights_that_have_changed_since_are_refused(
    tiny_checkpoint, tiny_network, tiny_tokenizer, tmp_path
) -> None:
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "toy")
    composer = Composer.from_pretrained(folder)
    other = tiny_network(seed=1, hidden_size=32, num_hidden_layers=2)
    save_checkpoint(folder, other, tiny_tokenizer)
    with pytest.raises(CheckpointError, match="have changed since they were loaded"):
        composer.model  # noqa: B018


def test_weights_in_half_precision_are_accepted(tiny_model, tiny_tokenizer, tiny_composer) -> None:
    half = copy.deepcopy(tiny_model).half()
    assert Composer(half, tiny_tokenizer).fingerprint == tiny_composer.fingerprint


@pytest.mark.parametrize("scale", [0.0, 1e-8, 300.0, 1e6], ids=str)
def test_any_weights_compose(scale, tiny_network, tiny_tokenizer) -> None:
    import torch

    model = tiny_network(hidden_size=32, num_hidden_layers=2)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(scale)
    composer = Composer(model, tiny_tokenizer)
    piece = composer.compose(
        bars=3, sampling=SAMPLING, constraints=every_setting(None)["constraints"]
    )
    assert piece.bars == 3
    assert last_note_end(piece.score) <= 9 * piece.score.ticks_per_quarter
    assert all(0 < each.probability <= 1 for each in piece.note_probabilities())
