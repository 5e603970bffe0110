"""The packed network: the same scores as the model's, one step at a time."""

from __future__ import annotations

import pytest
import torch

from musiclstm import MusicLSTMConfig, MusicLSTMForCausalLM
from musiclstm.decoding import PackedLSTM, Snapshot
from musiclstm.modeling import LSTMState

VOCAB = 30
SHAPES = [
    {},
    {"num_hidden_layers": 4},
    {"attention_window": 5},
    {"residual": False, "attention_window": 3},
    {"layer_norm": False},
    {"residual": False, "layer_norm": False, "tie_word_embeddings": False},
]


def build(**values) -> MusicLSTMForCausalLM:
    torch.manual_seed(0)
    values = {"vocab_size": VOCAB, "hidden_size": 24, "num_hidden_layers": 2} | values
    return MusicLSTMForCausalLM(MusicLSTMConfig(initializer_range=0.3, **values))


def tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def assert_same(found: Snapshot, scores: torch.Tensor, state: LSTMState, *, atol=1e-5) -> None:
    for one, other in [
        (found.scores, scores),
        (found.state.hidden, state.hidden),
        (found.state.cell, state.cell),
        (found.state.memory, state.memory),
        (found.state.filled, state.filled),
    ]:
        torch.testing.assert_close(one, other, atol=atol, rtol=0)
    assert found.state.seen == state.seen


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_packed_steps_equal_the_model(shape, batch) -> None:
    model = build(**shape).eval()
    network, ids = PackedLSTM(model), tokens(batch, 12)
    with torch.no_grad():
        whole = model(ids)
    snapshot = Snapshot(torch.zeros(batch, VOCAB), LSTMState.zeros(model.config, batch))
    for step in range(12):
        snapshot = network.step(ids[:, step], snapshot)
        torch.testing.assert_close(snapshot.scores, whole.logits[:, step], atol=1e-5, rtol=0)
    assert_same(snapshot, whole.logits[:, -1], whole.past_key_values)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_reading_then_stepping_equals_reading_on(shape) -> None:
    network, ids = PackedLSTM(build(**shape)), tokens(11).tolist()
    whole = network.read(ids)
    snapshot = network.read(ids[:6])
    for token in ids[6:]:
        snapshot = network.step(torch.tensor([token]), snapshot)
    assert_same(snapshot, whole.scores, whole.state)
    resumed = network.read(ids[4:], network.read(ids[:4]))
    assert_same(resumed, whole.scores, whole.state)


def test_nothing_to_read_is_refused() -> None:
    with pytest.raises(ValueError, match="There is nothing to read: ids is empty"):
        PackedLSTM(build()).read([])


def test_a_model_in_another_precision_is_refused() -> None:
    with pytest.raises(ValueError, match=r"this model is bfloat16 on cpu; pass model\.float\(\)"):
        PackedLSTM(build().bfloat16())


def test_a_network_packed_in_training_listens_without_dropout() -> None:
    model = build(dropout=0.5, embedding_dropout=0.5).train()
    network = PackedLSTM(model)
    assert torch.equal(network.read([1, 2, 3]).scores, network.read([1, 2, 3]).scores)


@pytest.mark.parametrize("window", [0, 3])
def test_a_snapshot_stays_as_it_was_whatever_comes_after(window) -> None:
    network = PackedLSTM(build(attention_window=window))
    start = network.read([1, 2, 3, 4])
    kept = start.to_bytes()
    one = network.step(torch.tensor([5]), start)
    network.step(torch.tensor([6]), start)
    again = network.step(torch.tensor([5]), start)
    assert torch.equal(one.scores, again.scores)
    assert start.to_bytes() == kept


@pytest.mark.parametrize("window", [0, 3])
def test_a_snapshot_survives_as_bytes(window) -> None:
    network = PackedLSTM(build(attention_window=window))
    start = network.read([1, 2, 3, 4])
    back = Snapshot.from_bytes(start.to_bytes())
    assert_same(back, start.scores, start.state, atol=0)
    one, other = (network.step(torch.tensor([7]), each) for each in (start, back))
    assert_same(one, other.scores, other.state, atol=0)
    assert Snapshot.from_bytes(one.to_bytes()).state.seen == 5


def test_a_snapshot_of_several_rows_survives_as_bytes() -> None:
    model = build(attention_window=3)
    zeros = LSTMState.zeros(model.config, 4)
    snapshot = PackedLSTM(model).step(tokens(4), Snapshot(torch.zeros(4, VOCAB), zeros))
    back = Snapshot.from_bytes(snapshot.to_bytes())
    assert_same(back, snapshot.scores, snapshot.state, atol=0)


def test_a_fresh_snapshot_survives_as_bytes() -> None:
    config = MusicLSTMConfig(hidden_size=8, num_hidden_layers=2)  # hidden and cell are one tensor
    snapshot = Snapshot(torch.zeros(1, 5), LSTMState.zeros(config, 1))
    back = Snapshot.from_bytes(snapshot.to_bytes())
    assert_same(back, snapshot.scores, snapshot.state, atol=0)


def test_two_takes_share_a_network_and_do_not_disturb_each_other() -> None:
    network = PackedLSTM(build(attention_window=3))
    first, second = tokens(8, seed=1).tolist(), tokens(8, seed=2).tolist()
    alone = [network.read(ids) for ids in (first, second)]
    takes = [network.read(ids[:1]) for ids in (first, second)]
    for pair in zip(first[1:], second[1:], strict=True):
        takes = [
            network.step(torch.tensor([token]), take)
            for token, take in zip(pair, takes, strict=True)
        ]
    for take, expected in zip(takes, alone, strict=True):
        assert_same(take, expected.scores, expected.state)


def test_rows_of_a_batch_do_not_disturb_each_other() -> None:
    model = build(attention_window=3)
    network, ids = PackedLSTM(model), tokens(3, 6)
    snapshot = Snapshot(torch.zeros(3, VOCAB), LSTMState.zeros(model.config, 3))
    for step in range(6):
        snapshot = network.step(ids[:, step], snapshot)
    for row in range(3):
        alone = network.read(ids[row].tolist())
        torch.testing.assert_close(snapshot.scores[row], alone.scores[0], atol=1e-5, rtol=0)


def test_a_snapshot_is_equal_to_itself_only() -> None:
    network = PackedLSTM(build())
    one, other = network.read([1, 2]), network.read([1, 2])
    assert one == one
    assert one != other
