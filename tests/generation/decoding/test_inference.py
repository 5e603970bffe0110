"""The packed network gives the logits of the model; snapshots of it are bytes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from musiclstm.core.weights import Weights
from musiclstm.generation.decoding.bar_rules import bar_rules
from musiclstm.generation.decoding.inference import DecoderState, InferenceModel
from musiclstm.model.modeling_musiclstm import MusicLSTMForCausalLM
from tests.core.test_network import random_stream
from tests.generation.decoding.models import noise_model
from tests.generation.referee import IDS

SHAPES = [
    {},
    {"num_hidden_layers": 3},
    {"residual": False},
    {"layer_norm": False},
    {"tie_word_embeddings": False},
    {"token_names": None},
    {"residual": False, "layer_norm": False, "tie_word_embeddings": False, "hidden_size": 33},
]


def pack(model: MusicLSTMForCausalLM) -> InferenceModel:
    config, arrays = model.config, {k: each.numpy() for k, each in model.state_dict().items()}
    return InferenceModel(
        Weights.from_state_dict(arrays, residual=config.residual, token_names=config.token_names)
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_logits_are_close_to_those_of_the_model(shape, tiny_network) -> None:
    values = {"hidden_size": 24, "num_hidden_layers": 2, "initializer_range": 0.3} | shape
    model, ids = tiny_network(**values), random_stream(120).tolist()
    with torch.no_grad():
        for head in (model.context_head, model.gates):
            if head is not None:
                head.weight.normal_(std=0.1)
        expected = model(torch.tensor([ids])).logits[0, -1].numpy()
    found = pack(model).prefill(ids).logits[: len(expected)]
    assert np.corrcoef(found, expected)[0, 1] > 0.995
    assert abs(found - expected).max() < 0.1 * np.ptp(expected)


def test_nothing_to_read_and_unknown_tokens_are_refused() -> None:
    model = noise_model()
    with pytest.raises(ValueError, match="ids is empty"):
        model.prefill([])
    with pytest.raises(IndexError):
        model.prefill([len(IDS)])


def test_weights_for_other_tokens_are_refused(tiny_network) -> None:
    weights = pack(tiny_network())
    assert weights.network.vocab == len(IDS)
    with pytest.raises(ValueError, match="the table"):
        pack(tiny_network(vocab_size=10, token_names=None, pad_token_id=0, eos_token_id=1))


def state() -> DecoderState:
    return noise_model().prefill(random_stream(50))


def test_bytes_give_the_snapshot_again() -> None:
    found, expected = DecoderState.from_bytes(state().to_bytes()), state()
    for name in ("logits", "hidden", "cell"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("damage", ["cut", "missing", "empty"])
def test_bytes_that_are_no_snapshot_are_refused(damage) -> None:
    data = state().to_bytes()
    parts = load(data)
    parts.pop("cell")
    broken = {"cut": data[:-9], "missing": save(parts), "empty": b""}[damage]
    with pytest.raises(ValueError, match="not a snapshot"):
        DecoderState.from_bytes(broken)


def test_a_snapshot_of_another_network_is_refused() -> None:
    own = state()
    for wrong in (
        DecoderState(own.logits[:9], own.hidden, own.cell),
        DecoderState(own.logits, own.hidden[:1], own.cell),
        DecoderState(own.logits, own.hidden, own.cell.astype(np.float64)),
    ):
        with pytest.raises(ValueError, match="belongs to another model"):
            noise_model().restore(wrong, bar_rules(), [IDS["BOS_None"]], [])


def test_a_snapshot_with_a_number_that_is_not_finite_is_refused() -> None:
    damaged = state()
    damaged.cell[0, 0] = np.nan
    with pytest.raises(ValueError, match="cell has a number that is not finite"):
        noise_model().restore(damaged, bar_rules(), [IDS["BOS_None"]], [])


@pytest.mark.slow
def test_another_process_continues_a_snapshot_with_the_same_tokens(
    tmp_path, tiny_checkpoint
) -> None:
    program = f"""if True:
        import sys
        from musiclstm import Composer, Sampling
        from musiclstm.generation.decoding.inference import DecoderState
        from dataclasses import replace
        composer = Composer.from_pretrained({str(tiny_checkpoint)!r})
        piece = composer.compose(bars=2, sampling=Sampling(seed=3))
        path = {str(tmp_path / "state")!r}
        if sys.argv[1] == "write":
            open(path, "wb").write(piece.state.to_bytes())
        else:
            piece = replace(piece, state=DecoderState.from_bytes(open(path, "rb").read()))
        print(composer.extend(piece, bars=3).tokens)
        """
    runs = [
        subprocess.run(
            [sys.executable, "-c", program, way], capture_output=True, text=True, check=True
        )
        for way in ("write", "read")
    ]
    assert runs[0].stdout == runs[1].stdout
