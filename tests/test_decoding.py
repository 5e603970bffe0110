"""The packed network: the same scores as the model's, one step at a time, whoever takes it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from musiclstm import MusicLSTMConfig, MusicLSTMForCausalLM, kernel
from musiclstm.decoding import MAX_ROWS, PackedLSTM, Snapshot, Stepper
from musiclstm.modeling import LSTMState

VOCAB = 30
SHAPES = [
    {},
    {"num_hidden_layers": 4},
    {"attention_window": 5},
    {"residual": False, "attention_window": 3},
    {"layer_norm": False},
    {"tie_word_embeddings": False},
    {"residual": False, "layer_norm": False, "tie_word_embeddings": False},
    {"hidden_size": 33, "vocab_size": 31, "attention_window": 2},
]
# As many tokens as a row hears, or almost: so the tables of recall move within a test.
RECALL = {"recall_window": 65, "recall_distance": 1}
ENGINES = {
    "compiled": {"precision": "int8", "compiled": True},
    "int8": {"precision": "int8", "compiled": False},
    "float32": {"precision": "float32"},
}


def build(**values) -> MusicLSTMForCausalLM:
    torch.manual_seed(0)
    values = {"vocab_size": VOCAB, "hidden_size": 24, "num_hidden_layers": 2} | values
    return MusicLSTMForCausalLM(MusicLSTMConfig(initializer_range=0.3, **values)).eval()


def pack(engine: str, model: MusicLSTMForCausalLM | None = None, **values) -> PackedLSTM:
    if engine == "compiled" and kernel.load() is None:
        pytest.skip("this machine has no compiled step")
    return PackedLSTM(model or build(**values), **ENGINES[engine])


@pytest.fixture(params=ENGINES)
def engine(request) -> str:
    """Every way to take a step."""
    return request.param


@pytest.fixture(params=[{}, {"attention_window": 3}, RECALL], ids=["", "attention", "recall"])
def network(request, engine) -> PackedLSTM:
    """Every way to take a step, with and without looking back or recalling."""
    return pack(engine, **request.param)


def tokens(*shape: int, seed: int = 0, vocab: int = VOCAB) -> torch.Tensor:
    return torch.randint(0, vocab, shape, generator=torch.Generator().manual_seed(seed))


def nothing_read(model: MusicLSTMForCausalLM, rows: int) -> Snapshot:
    scores = torch.zeros(rows, model.config.vocab_size)
    return Snapshot(scores, LSTMState.zeros(model.config, rows))


def steps(stepper: Stepper, ids: torch.Tensor) -> np.ndarray:
    """Scores after every step, (steps, rows, vocab); ids: (rows, steps)."""
    found = []
    for column in ids.T:
        stepper.step(column.tolist())
        found.append(stepper.scores.copy())
    return np.array(found)


def assert_same(found: Snapshot, scores: torch.Tensor, state: LSTMState, *, atol=1e-5) -> None:
    for one, other in [
        (found.scores, scores),
        (found.state.hidden, state.hidden),
        (found.state.cell, state.cell),
        (found.state.memory, state.memory),
        (found.state.filled, state.filled),
        (found.state.heard, state.heard),
    ]:
        torch.testing.assert_close(one, other, atol=atol, rtol=0)
    assert found.state.seen == state.seen


def assert_equal(found: Snapshot, expected: Snapshot) -> None:
    assert_same(found, expected.scores, expected.state, atol=0)


# The same scores as the model's -------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("rows", [1, 3])
def test_steps_in_float32_equal_the_model(shape, rows) -> None:
    model = build(**shape)
    ids = tokens(rows, 12)
    with torch.no_grad():
        whole = model(ids)
    stepper = pack("float32", model).stepper([nothing_read(model, rows)])
    found = torch.from_numpy(steps(stepper, ids)).transpose(0, 1)
    torch.testing.assert_close(found, whole.logits, atol=1e-5, rtol=0)
    for row in range(rows):
        state = whole.past_key_values.rows(torch.tensor([row]))
        assert_same(stepper.snapshot(row), whole.logits[row : row + 1, -1], state)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_reading_then_stepping_equals_reading_on(shape) -> None:
    network, ids = pack("float32", **shape), tokens(11).tolist()
    whole = network.read(ids)
    stepper = network.stepper([network.read(ids[:6])])
    for token in ids[6:]:
        stepper.step([token])
    assert_same(stepper.snapshot(), whole.scores, whole.state)
    resumed = network.read(ids[4:], network.read(ids[:4]))
    assert_same(resumed, whole.scores, whole.state)
    again = network.read(ids[9:], stepper.snapshot())
    assert_same(again, network.read(ids + ids[9:]).scores, again.state)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("rounded", ["compiled", "int8"])
def test_steps_on_int8_stay_close_to_float32(rounded, shape) -> None:
    # 60 tokens on: what is rounded off does not add up.
    model = build(**({"hidden_size": 96, "vocab_size": 200} | shape))
    ids = tokens(2, 60, vocab=model.config.vocab_size)
    with torch.no_grad():
        exact = model(ids).logits.transpose(0, 1).numpy()
    found = steps(pack(rounded, model).stepper([nothing_read(model, 2)]), ids)
    for one, other in zip(
        found[20:].reshape(-1, exact.shape[2]), exact[20:].reshape(-1, exact.shape[2]), strict=True
    ):
        assert np.corrcoef(one, other)[0, 1] > 0.99
    assert abs(found - exact).max() < 0.5 * exact.std()
    assert abs(found - exact).mean() < 0.05 * exact.std()


def test_what_the_compiled_step_gives_is_what_torch_gives_on_int8() -> None:
    # Not the same bits: one has a scale for its input and one for its memory, the other one scale.
    model, ids = build(hidden_size=96, vocab_size=200), tokens(1, 40, vocab=200)
    one, other = (
        steps(pack(name, model).stepper([nothing_read(model, 1)]), ids)
        for name in ("compiled", "int8")
    )
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.999


def test_int8_is_a_quarter_to_read(engine) -> None:
    network = pack(engine, hidden_size=64, vocab_size=32, num_hidden_layers=3)
    weights = 3 * 4 * 64 * 2 * 64 + 32 * 64
    assert network.weight_bytes == weights * (4 if engine == "float32" else 1)
    assert network.engine == ("compiled" if engine == "compiled" else "torch")
    assert network.precision == ("float32" if engine == "float32" else "int8")


def test_weights_that_change_after_packing_do_not_change_int8_steps() -> None:
    model = build()
    network = pack("int8", model)
    before = steps(network.stepper([nothing_read(model, 1)]), tokens(1, 4))
    again = steps(network.stepper([nothing_read(model, 1)]), tokens(1, 4))
    assert np.array_equal(before, again)


# Rows ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [{}, {"hidden_size": 45, "vocab_size": 33}, {"layer_norm": False}], ids=str
)
@pytest.mark.parametrize("window", [0, 3])
def test_a_row_is_bit_for_bit_the_same_whatever_is_beside_it(shape, window, engine) -> None:
    network = pack(engine, **({"attention_window": window} | shape))
    starts = [network.read(tokens(1 + row % 5, seed=row).tolist()) for row in range(MAX_ROWS)]
    ids = tokens(MAX_ROWS, 6, seed=99)
    all_rows = steps(network.stepper(starts), ids)
    for rows in ([0], [31], [7, 0, 31], list(range(31, -1, -1))):
        stepper = network.stepper([starts[row] for row in rows])
        assert np.array_equal(steps(stepper, ids[rows]), all_rows[:, rows])
    scattered = {all_rows[-1, row].tobytes() for row in range(MAX_ROWS)}
    assert len(scattered) == MAX_ROWS


def test_a_snapshot_of_several_rows_is_as_many_rows(network) -> None:
    model = network._model
    with torch.inference_mode():
        output = model(tokens(3, 5))
    together = Snapshot(output.logits[:, -1], output.past_key_values)
    apart = [
        Snapshot(together.scores[row : row + 1], together.state.rows(torch.tensor([row])))
        for row in range(3)
    ]
    one, other = network.stepper([together]), network.stepper(apart)
    mixed = network.stepper(
        [apart[0], Snapshot(together.scores[1:], together.state.rows(torch.tensor([1, 2])))]
    )
    ids = tokens(3, 4, seed=1)
    assert np.array_equal(steps(one, ids), steps(other, ids))
    assert np.array_equal(steps(mixed, ids), steps(network.stepper([together]), ids))


def test_how_a_state_lies_in_memory_does_not_matter(network) -> None:
    size, window = 24, network.config.attention_window
    hidden, cell, memory = (
        torch.randn(2, 3, size),
        torch.randn(2, 3, size),
        torch.randn(3, window, size),
    )
    heard = LSTMState.zeros(network.config, 3).heard
    plain = LSTMState(hidden, cell, memory, torch.full((3,), window), 7, heard)
    turned = [x.transpose(0, 1).contiguous().transpose(0, 1) for x in (hidden, cell, memory, heard)]
    other = LSTMState(*turned[:3], torch.full((3,), window), 7, turned[3])
    one, two = (network.stepper([Snapshot(torch.zeros(3, VOCAB), each)]) for each in (plain, other))
    assert np.array_equal(steps(one, tokens(3, 2)), steps(two, tokens(3, 2)))


def test_rows_that_are_kept_go_on_as_they_were(network) -> None:
    starts = [network.read(tokens(2 + row, seed=row).tolist()) for row in range(4)]
    ids = tokens(4, 9, seed=5)
    whole = steps(network.stepper(starts), ids)
    stepper = network.stepper(starts)
    steps(stepper, ids[:, :3])
    stepper.keep([3, 1])
    assert np.array_equal(stepper.scores, whole[2, [3, 1]])
    assert np.array_equal(steps(stepper, ids[[3, 1], 3:6]), whole[3:6, [3, 1]])
    stepper.keep([1])
    assert np.array_equal(steps(stepper, ids[[1], 6:]), whole[6:, [1]])
    assert stepper.snapshot().state.seen == 3 + 9


def test_rows_that_are_kept_recall_what_they_did(engine) -> None:
    network = pack(engine, **RECALL)
    starts = [network.read((tokens(9, seed=row).tolist() * 20)[: 70 + row]) for row in range(3)]
    ids = tokens(3, 70, seed=5, vocab=4)
    alone = [network.stepper([start]) for start in starts]
    stepper = network.stepper(starts)
    for step in range(70):
        if step == 60:
            stepper.keep([2, 0])
        stepper.step(ids[[2, 0] if step >= 60 else [0, 1, 2], step].tolist())
        for row, each in enumerate(alone):
            each.step([ids[row, step].item()])
    for row, source in enumerate([2, 0]):
        found, expected = stepper.votes(row), alone[source].votes(0)
        assert np.array_equal(found.tokens, expected.tokens)
        assert np.array_equal(found.odds, expected.odds)


def test_scores_are_those_of_the_network_alone(engine) -> None:
    plain, network = (pack(engine, **values) for values in ({}, RECALL))
    ids = tokens(12).tolist() * 9
    one, other = (each.stepper([each.read(ids)]) for each in (plain, network))
    assert other.votes(0) is not None
    assert np.array_equal(one.scores, other.scores)
    assert np.array_equal(steps(one, tokens(1, 20)), steps(other, tokens(1, 20)))


def test_a_row_that_is_restored_goes_on_from_there_and_leaves_the_others_alone(network) -> None:
    starts = [network.read(tokens(4, seed=row).tolist()) for row in range(3)]
    ids = tokens(3, 6, seed=5)
    whole = steps(network.stepper(starts), ids)
    stepper = network.stepper(starts)
    steps(stepper, ids[:, :2])
    stepper.restore(starts[1], 1)
    assert np.array_equal(stepper.scores[1], starts[1].scores[0])
    found = steps(stepper, torch.stack([ids[0, 2:4], ids[1, :2], ids[2, 2:4]]))
    assert np.array_equal(found[:, [0, 2]], whole[2:4, [0, 2]])
    assert np.array_equal(found[:, 1], whole[:2, 1])
    assert [stepper.snapshot(row).state.seen for row in range(3)] == [8, 6, 8]


@pytest.mark.parametrize("rows", [0, MAX_ROWS + 1])
def test_no_rows_and_too_many_are_refused(rows, engine) -> None:
    network = pack(engine)
    start = network.read([1])
    with pytest.raises(ValueError, match=f"A stepper has from 1 to 32 rows, got {rows}"):
        network.stepper([start] * rows)
    with pytest.raises(ValueError, match="got 0"):
        network.stepper([start]).keep([])


@pytest.mark.parametrize("ids", [[], [1], [1, 2, 3]], ids=str)
def test_a_step_has_one_token_for_every_row(ids, engine) -> None:
    stepper = pack(engine).stepper([pack(engine).read([1])] * 2)
    with pytest.raises(ValueError, match="2"):
        stepper.step(ids)


@pytest.mark.parametrize("token", [VOCAB, -1], ids=str)
def test_a_token_there_is_not_is_refused(token, engine) -> None:
    # In the compiled step it would be an address outside the embeddings.
    stepper = pack(engine).stepper([pack(engine).read([1])])
    with pytest.raises(IndexError):
        stepper.step([token])


@pytest.mark.parametrize(
    "other", [{"hidden_size": 48}, {"num_hidden_layers": 3}, {"vocab_size": 40}], ids=str
)
def test_a_snapshot_of_another_network_is_refused(other, engine) -> None:
    # In the compiled step a smaller one would be written over its end.
    stranger = pack(engine, **other).read([1])
    with pytest.raises(ValueError, match="snapshot"):
        pack(engine).stepper([stranger])


# Snapshots ----------------------------------------------------------------------------------------


def test_a_snapshot_stays_as_it_was_whatever_comes_after(network) -> None:
    start = network.read([1, 2, 3, 4])
    kept = start.to_bytes()
    stepper = network.stepper([start])
    stepper.step([5])
    middle = stepper.snapshot()
    kept_in_the_middle, scores = middle.to_bytes(), stepper.scores.copy()
    stepper.step([6])
    network.read([6, 7], middle)
    assert start.to_bytes() == kept
    assert middle.to_bytes() == kept_in_the_middle
    other = network.stepper([start])
    other.step([5])
    assert np.array_equal(other.scores, scores)
    stepper.restore(middle)
    stepper.step([8])
    assert middle.to_bytes() == kept_in_the_middle


def test_a_snapshot_restored_is_the_snapshot(network) -> None:
    first, second = (network.read(tokens(6, seed=seed).tolist()) for seed in (1, 2))
    stepper = network.stepper([first, first])
    stepper.step([3, 4])
    stepper.restore(second, 1)
    assert_equal(stepper.snapshot(1), second)


def test_a_snapshot_survives_as_bytes(network) -> None:
    start = network.read([1, 2, 3, 4])
    back = Snapshot.from_bytes(start.to_bytes())
    assert_equal(back, start)
    steppers = [network.stepper([each]) for each in (start, back)]
    for stepper in steppers:
        stepper.step([7])
    one, other = (stepper.snapshot() for stepper in steppers)
    assert_equal(one, other)
    assert Snapshot.from_bytes(one.to_bytes()).state.seen == 5
    assert_equal(Snapshot.from_bytes(one.to_bytes()), one)


def test_a_snapshot_of_several_rows_survives_as_bytes() -> None:
    model = build(attention_window=3, **RECALL)
    with torch.inference_mode():
        output = model(tokens(4, 2))
    snapshot = Snapshot(output.logits[:, -1], output.past_key_values)
    assert_equal(Snapshot.from_bytes(snapshot.to_bytes()), snapshot)


@pytest.mark.parametrize("values", [{}, {"recall_window": 200}], ids=str)
def test_a_fresh_snapshot_survives_as_bytes(values) -> None:
    # Hidden and cell are one tensor.
    config = MusicLSTMConfig(hidden_size=8, num_hidden_layers=2, **values)
    snapshot = Snapshot(torch.zeros(1, 5), LSTMState.zeros(config, 1))
    assert_equal(Snapshot.from_bytes(snapshot.to_bytes()), snapshot)


GO_ON = """
import sys
from pathlib import Path
from musiclstm import MusicLSTMForCausalLM
from musiclstm.decoding import PackedLSTM, Snapshot

folder, *engines = sys.argv[1:]
model = MusicLSTMForCausalLM.from_pretrained(folder)
for name, precision, compiled in (engine.split(",") for engine in engines):
    network = PackedLSTM(model, precision=precision, compiled=compiled == "True" or None)
    if compiled == "False":
        network = PackedLSTM(model, precision=precision, compiled=False)
    file = Path(folder, name)
    stepper = network.stepper([Snapshot.from_bytes(file.read_bytes())])
    said = []
    for _ in range(20):
        said.append(int(stepper.scores[0].argmax()))
        stepper.step(said[-1:])
    file.write_bytes(stepper.snapshot().to_bytes())
    print(*said)
"""


def test_another_process_goes_on_from_the_bytes_just_as_this_one(tmp_path) -> None:
    model = build(attention_window=3, **RECALL)
    model.save_pretrained(tmp_path)
    engines = [name for name in ENGINES if name != "compiled" or kernel.load() is not None]
    expected, arguments = {}, []
    for name in engines:
        network = pack(name, model)
        stepper = network.stepper([network.read([1, 2, 3])])
        steps(stepper, tokens(1, 5))
        (tmp_path / name).write_bytes(stepper.snapshot().to_bytes())
        said = []
        for _ in range(20):
            said.append(int(stepper.scores[0].argmax()))
            stepper.step(said[-1:])
        expected[name] = " ".join(map(str, said)), stepper.snapshot()
        arguments.append(f"{name},{network.precision},{ENGINES[name].get('compiled')}")
    command = [sys.executable, "-c", GO_ON, str(tmp_path), *arguments]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.stdout.splitlines() == [said for said, _ in expected.values()], child.stderr
    for name, (_, snapshot) in expected.items():
        assert_equal(Snapshot.from_bytes((tmp_path / name).read_bytes()), snapshot)


def test_two_takes_share_a_network_and_do_not_disturb_each_other(network) -> None:
    first, second = (tokens(1, 8, seed=seed) for seed in (1, 2))
    start = network.read([1])
    alone = [steps(network.stepper([start]), ids) for ids in (first, second)]
    takes = [network.stepper([start]) for _ in range(2)]
    in_turn = [[], []]
    for pair in zip(first[0].tolist(), second[0].tolist(), strict=True):
        for number, token in enumerate(pair):
            takes[number].step([token])
            in_turn[number].append(takes[number].scores.copy())
    for found, expected in zip(in_turn, alone, strict=True):
        assert np.array_equal(np.array(found), expected)


def test_a_snapshot_is_equal_to_itself_only() -> None:
    network = PackedLSTM(build())
    one, other = network.read([1, 2]), network.read([1, 2])
    assert one == one
    assert one != other


# Refusals -----------------------------------------------------------------------------------------


def test_nothing_to_read_is_refused(engine) -> None:
    with pytest.raises(ValueError, match="There is nothing to read: ids is empty"):
        pack(engine).read([])


def test_a_model_in_another_precision_is_refused() -> None:
    with pytest.raises(ValueError, match=r"this model is bfloat16 on cpu; pass model\.float\(\)"):
        PackedLSTM(build().bfloat16())


def test_a_network_packed_in_training_listens_without_dropout(engine) -> None:
    model = build(dropout=0.5, embedding_dropout=0.5).train()
    network = pack(engine, model)
    assert torch.equal(network.read([1, 2, 3]).scores, network.read([1, 2, 3]).scores)
    one, other = (steps(network.stepper([network.read([1])]), tokens(1, 3)) for _ in range(2))
    assert np.array_equal(one, other)
