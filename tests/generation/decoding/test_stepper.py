"""Steps of the packed network: the model's logits, token by token, with either engine."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from musiclstm.core import native
from musiclstm.core.features import CompiledStepFeatures
from musiclstm.core.reference import ReferenceNetwork
from musiclstm.core.weights import Weights
from musiclstm.generation.decoding import history as history_module
from musiclstm.generation.decoding.history import History
from musiclstm.generation.decoding.rows import replay
from musiclstm.generation.decoding.stepper import (
    MAX_ROWS,
    DecoderState,
    DecodingBatch,
    InferenceModel,
)
from musiclstm.generation.recipe import MAX_BARS_IN_ALL
from musiclstm.model.configuration_musiclstm import MusicLSTMConfig
from musiclstm.model.modeling_musiclstm import MusicLSTMForCausalLM
from musiclstm.model.step_features import StepFeatures, TokenTable

NAMES = [
    *("PAD_None", "BOS_None", "EOS_None", "Bar_None"),
    *(f"Pitch_{pitch}" for pitch in range(30, 90)),
    *(f"PitchDrum_{pitch}" for pitch in (36, 38, 42)),
    *(
        f"Duration_{beats}.{samples}.12"
        for beats in range(2)
        for samples in (0, 3, 6)
        if beats + samples
    ),
    *("TimeSig_4/4", "TimeSig_3/4", "TimeSig_6/8"),
    *(f"Position_{position}" for position in range(0, 48, 3)),
    *("Tempo_120.0", "Tempo_90.0"),
    *(f"Program_{program}" for program in (-1, 0, 33, 40)),
]
VOCAB = len(NAMES)
SHAPES = [
    {},
    {"num_hidden_layers": 3},
    {"residual": False},
    {"layer_norm": False},
    {"tie_word_embeddings": False},
    {"token_names": None},
    {"residual": False, "layer_norm": False, "tie_word_embeddings": False, "hidden_size": 33},
]
ENGINES = ["compiled", "torch"]


def build(*, scale: float = 1.0, **values) -> MusicLSTMForCausalLM:
    torch.manual_seed(0)
    values = {"vocab_size": VOCAB, "hidden_size": 24, "token_names": NAMES} | values
    config = MusicLSTMConfig(**({"num_hidden_layers": 2, "initializer_range": 0.3} | values))
    model = MusicLSTMForCausalLM(config).eval()
    with torch.no_grad():  # some of these begin at zero
        model.lm_head.bias.normal_()
        if model.context_head is not None:
            model.context_head.weight.normal_(std=0.3 * scale)
            model.gates.bias.normal_(1)
    return model


def pack(engine: str, model: MusicLSTMForCausalLM | None = None, **values) -> InferenceModel:
    if engine == "compiled" and native.load() is None:
        pytest.skip("this machine cannot build the compiled core")
    return InferenceModel(model or build(**values), engine=engine)


@pytest.fixture(params=ENGINES)
def engine(request) -> str:
    """Both engines."""
    return request.param


@pytest.fixture(params=["features", "plain"])
def network(request, engine) -> InferenceModel:
    """Both engines, with and without step features."""
    return pack(engine, **({"token_names": None} if request.param == "plain" else {}))


def ids_of(*names: str) -> list[int]:
    return [NAMES.index(name) for name in names]


def tokens(count: int, seed: int = 0) -> list[int]:
    """Bars that repeat with changes, and some tokens in places where they make no sense."""
    rng = np.random.default_rng(seed)
    ids: list[int] = []
    while len(ids) < count:
        ids += ids_of("Bar_None", str(rng.choice(["TimeSig_4/4", "TimeSig_3/4"])))
        for program in rng.choice([-1, 0, 33, 40], rng.integers(1, 4)):
            ids += ids_of(f"Program_{program}")
            for position in sorted(rng.choice(np.arange(0, 36, 3), 3, replace=False)):
                kind = "PitchDrum" if program == -1 else "Pitch"
                pitch = rng.choice([36, 38, 42] if program == -1 else np.arange(55, 70))
                ids += ids_of(f"Position_{position}", f"{kind}_{pitch}", "Duration_0.6.12")
        if rng.random() < 0.3:
            ids += rng.integers(0, VOCAB, 3).tolist()
    return ids[:count]


def steps(stepper: DecodingBatch, columns: list[tuple[int, ...]]) -> np.ndarray:
    """Scores after every step, (steps, rows, vocab)."""
    found = []
    for column in columns:
        stepper.step(column)
        found.append(stepper.scores.copy())
    return np.array(found)


def weighted(
    network: InferenceModel, starts: list[DecoderState], weights: list[float]
) -> DecodingBatch:
    """A stepper whose rows have these copy weights."""
    stepper = network.stepper(starts)
    for row, weight in enumerate(weights):
        stepper.set_copy_weight(weight, row)
    return stepper


def forward(model: MusicLSTMForCausalLM, ids: list[int], **kwargs) -> np.ndarray:
    """The model's own logits, (steps, vocab)."""
    with torch.no_grad():
        return model(torch.tensor([ids]), **kwargs).logits[0].numpy()


def assert_equal(found: DecoderState, expected: DecoderState, *, atol: float = 0) -> None:
    for name in ("logits", "hidden", "cell"):
        one, other = getattr(found, name), getattr(expected, name)
        np.testing.assert_allclose(one, other, atol=atol, rtol=0)
    assert np.array_equal(found.history.ids(), expected.history.ids())


# The model's logits -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_float32_steps_equal_the_model(shape) -> None:
    model, ids = build(**shape), tokens(60)
    network = pack("torch", model)
    stepper = network.stepper([network.read(ids[:1])])
    found = [stepper.scores[0].copy(), *steps(stepper, [(token,) for token in ids[1:]])[:, 0]]
    np.testing.assert_allclose(found, forward(model, ids), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_compiled_steps_equal_the_numpy_reference(shape) -> None:
    model, ids = build(**shape), tokens(60)
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    names = model.config.token_names
    weights = Weights.from_state_dict(arrays, residual=model.config.residual, token_names=names)
    reference = ReferenceNetwork(weights)
    features = None if names is None else StepFeatures(TokenTable(names))
    hidden, cell = np.zeros((2, model.config.num_hidden_layers, 1, model.config.hidden_size))
    network = pack("compiled", model)
    stepper = None
    for token in ids:
        if stepper is None:
            stepper = network.stepper([network.read([token])])
        else:
            stepper.step([token])
        arrays_now = None if features is None else features.read([token])
        output = reference.read([token], hidden, cell, arrays_now)
        logits = reference.score(output, arrays_now)
        found = stepper.snapshot()
        # The states may differ by one unit of rounding where a value lies between two.
        np.testing.assert_allclose(found.hidden, hidden[:, 0], atol=1e-5, rtol=0)
        np.testing.assert_allclose(found.cell, cell[:, 0], atol=1e-5, rtol=0)
        np.testing.assert_allclose(found.logits, logits[0], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_compiled_steps_stay_close_to_float32(shape) -> None:
    model = build(**({"hidden_size": 96} | shape), scale=0.5)
    ids = tokens(300)
    network = pack("compiled", model)
    stepper = network.stepper([network.read(ids[:1])])
    found = np.array([stepper.scores[0].copy(), *steps(stepper, [(t,) for t in ids[1:]])[:, 0]])
    divergence = divergence_bits(forward(model, ids), found)
    assert divergence.mean() < 0.002
    assert divergence.max() < 0.02
    # Errors do not add up. The first hundred tokens do not count: the histograms are still filling.
    assert divergence[200:].mean() < 2 * divergence[100:200].mean() + 1e-4


def divergence_bits(expected: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Kullback-Leibler divergence of each step's distribution from the expected one."""
    log_p, log_q = (
        np.asarray(torch.from_numpy(each.astype(np.float64)).log_softmax(-1))
        for each in (expected, found)
    )
    return (np.exp(log_p) * (log_p - log_q)).sum(-1) / np.log(2)


def test_reading_equals_stepping_bit_for_bit() -> None:
    network, ids = pack("compiled"), tokens(70)
    stepper = network.stepper([network.read(ids[:1])])
    steps(stepper, [(token,) for token in ids[1:]])
    assert_equal(network.read(ids), stepper.snapshot())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_reading_then_stepping_equals_reading_on(shape, engine) -> None:
    network, ids = pack(engine, **shape), tokens(50)
    whole = network.read(ids)
    stepper = network.stepper([network.read(ids[:20])])
    steps(stepper, [(token,) for token in ids[20:]])
    assert_equal(stepper.snapshot(), whole, atol=1e-5)
    assert_equal(network.read(ids[7:], network.read(ids[:7])), whole, atol=1e-5)
    again = network.read(ids[:5], stepper.snapshot())
    assert_equal(again, network.read(ids + ids[:5]), atol=1e-5)


def test_prompts_longer_than_one_pass_are_read_as_a_whole(engine, monkeypatch) -> None:
    network, ids = pack(engine), tokens(50)
    whole = network.read(ids)
    monkeypatch.setattr("musiclstm.generation.decoding.rows.READ_AT_ONCE", 7)
    monkeypatch.setattr("musiclstm.generation.decoding.torch_rows.READ_AT_ONCE", 7)
    assert_equal(network.read(ids), whole, atol=1e-5)


def test_a_network_in_training_mode_is_packed_without_dropout(engine) -> None:
    network = pack(engine, build(dropout=0.5, embedding_dropout=0.5).train())
    assert_equal(network.read([1, 2, 3]), network.read([1, 2, 3]))


# Rows ---------------------------------------------------------------------------------------------


def test_a_row_does_not_depend_on_the_others(network) -> None:
    streams = [tokens(40, seed) for seed in range(5)]
    starts = [network.read(stream[: 3 + row]) for row, stream in enumerate(streams)]
    weights = [1.0, 0.5, 0.0, 2.0, 1.0]
    together = weighted(network, starts, weights)
    columns = list(zip(*(stream[10:] for stream in streams), strict=True))
    found = steps(together, columns)
    for row, stream in enumerate(streams):
        alone = weighted(network, [starts[row]], weights[row : row + 1])
        expected = steps(alone, [(token,) for token in stream[10:]])
        assert np.array_equal(found[:, row], expected[:, 0])
        assert_equal(together.snapshot(row), alone.snapshot())


def test_rows_from_one_snapshot_go_their_own_ways(network) -> None:
    start = network.read(tokens(20))
    stepper = network.stepper([start] * 3)
    assert np.array_equal(stepper.scores, np.tile(start.logits, (3, 1)))
    first, second = tokens(30, seed=1), tokens(30, seed=2)
    found = steps(stepper, list(zip(first, second, first, strict=True)))
    assert np.array_equal(found[:, 0], found[:, 2])
    assert not np.array_equal(found[-1, 0], found[-1, 1])
    alone = network.stepper([start])
    assert np.array_equal(found[:, 1], steps(alone, [(token,) for token in second])[:, 0])


@pytest.mark.parametrize("rows", [[2], [2, 0], [1, 1, 0], [0, 1, 2]], ids=str)
def test_rows_that_are_kept_go_on_as_before(rows, network) -> None:
    starts = [network.read(tokens(12, seed)) for seed in range(3)]
    weights = [1.0, 0.5, 2.0]
    stepper = weighted(network, starts, weights)
    stepper.step([3, 4, 5])
    expected = [stepper.snapshot(row) for row in rows]
    stepper.keep(rows)
    assert len(stepper) == len(rows)
    for row, snapshot in enumerate(expected):
        assert_equal(stepper.snapshot(row), snapshot)
    found = steps(stepper, [(token,) * len(rows) for token in tokens(10)])
    for row, snapshot in enumerate(expected):
        alone = weighted(network, [snapshot], [weights[rows[row]]])
        again = steps(alone, [(token,) for token in tokens(10)])
        assert np.array_equal(found[:, row], again[:, 0])


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 3.0])
def test_a_copy_weight_gives_the_scores_of_the_model(weight) -> None:
    model, ids = build(), tokens(60)
    network = pack("torch", model)
    stepper = weighted(network, [network.read(ids[:30])], [weight])
    found = steps(stepper, [(token,) for token in ids[30:]])[:, 0]
    expected = forward(model, ids, copy_weight=weight)[30:]
    np.testing.assert_allclose(found, expected, atol=2e-5, rtol=0)


def test_a_row_keeps_its_copy_weight_when_a_snapshot_is_restored(engine) -> None:
    network, ids = pack(engine), tokens(40)
    start = network.read(ids)
    stepper = weighted(network, [start, start], [0.5, 1.0])
    stepper.step([3, 3])
    after = stepper.scores.copy()
    assert not np.allclose(*after, atol=1e-3)
    stepper.step([3, 3])
    stepper.restore(start, 0)
    stepper.restore(start, 1)
    assert np.array_equal(stepper.scores, [start.logits] * 2)
    stepper.step([3, 3])
    assert np.array_equal(stepper.scores, after)


# Snapshots ----------------------------------------------------------------------------------------


def test_a_snapshot_stays_as_it_was(network) -> None:
    start = network.read([1, 2, 3, 4])
    kept = start.to_bytes()
    stepper = network.stepper([start])
    stepper.step([5])
    middle = stepper.snapshot()
    kept_in_the_middle = middle.to_bytes()
    stepper.step([6])
    network.read([6, 7], middle)
    assert start.to_bytes() == kept
    stepper.restore(middle)
    assert np.array_equal(stepper.scores[0], middle.logits)
    stepper.step([8])
    assert middle.to_bytes() == kept_in_the_middle


def test_a_restored_row_continues_as_the_row_of_the_snapshot(network) -> None:
    first, second = (network.read(tokens(30, seed)) for seed in (1, 2))
    stepper = network.stepper([first, first])
    stepper.step([3, 4])
    stepper.restore(second, 1)
    assert_equal(stepper.snapshot(1), second)
    alone = network.stepper([second])
    found = steps(stepper, [(token, token) for token in tokens(20)])
    assert np.array_equal(found[:, 1], steps(alone, [(t,) for t in tokens(20)])[:, 0])


def test_bytes_hold_the_whole_snapshot(network) -> None:
    start = network.read(tokens(30))
    back = DecoderState.from_bytes(start.to_bytes())
    assert_equal(back, start)
    found = [steps(network.stepper([each]), [(7,), (9,)]) for each in (start, back)]
    assert np.array_equal(*found)


CONTINUE = """
import sys
from pathlib import Path
from musiclstm.generation.decoding.stepper import PackedLSTM, Snapshot
from musiclstm.model.modeling_musiclstm import MusicLSTMForCausalLM

folder, *engines = sys.argv[1:]
model = MusicLSTMForCausalLM.from_pretrained(folder)
for engine in engines:
    snapshot = Snapshot.from_bytes(Path(folder, engine).read_bytes())
    stepper = PackedLSTM(model, engine=engine).stepper([snapshot])
    chosen = []
    for _ in range(20):
        chosen.append(int(stepper.scores[0].argmax()))
        stepper.step(chosen[-1:])
    print(*chosen)
"""


def test_another_process_continues_from_the_bytes_alike(tmp_path) -> None:
    model, expected = build(), []
    model.save_pretrained(tmp_path)
    engines = [engine for engine in ENGINES if engine == "torch" or native.load() is not None]
    for engine in engines:
        network = pack(engine, model)
        stepper = network.stepper([network.read(tokens(30))])
        (tmp_path / engine).write_bytes(stepper.snapshot().to_bytes())
        chosen = []
        for _ in range(20):
            chosen.append(int(stepper.scores[0].argmax()))
            stepper.step(chosen[-1:])
        expected.append(" ".join(map(str, chosen)))
    command = [sys.executable, "-c", CONTINUE, str(tmp_path), *engines]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.stdout.splitlines() == expected, child.stderr


# History ------------------------------------------------------------------------------------------


@pytest.fixture
def small_chunks(monkeypatch) -> None:
    """Chunks of 4 tokens, at most 16 tokens."""
    monkeypatch.setattr(history_module, "CHUNK", 4)
    monkeypatch.setattr(history_module, "MAX_HISTORY", 16)


def test_a_history_shares_whole_chunks_with_its_continuation(small_chunks) -> None:
    history = History().extended(range(10))
    assert [chunk.tolist() for chunk in history.chunks] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    longer = history.extended([10]).extended([11, 12])
    assert longer.ids().tolist() == list(range(13))
    assert all(one is other for one, other in zip(longer.chunks, history.chunks[:2], strict=False))
    assert history.ids().tolist() == list(range(10))


@pytest.mark.parametrize("parts", [[40], [1] * 40, [3, 4, 5, 20, 8]], ids=str)
def test_a_history_drops_its_oldest_chunks(parts, small_chunks) -> None:
    history, at = History(), 0
    for part in parts:
        history = history.extended(range(at, at + part))
        at += part
        assert len(history.ids()) == min(at, 12 + (at - 1) % 4 + 1)
        assert history.ids()[-1] == at - 1


def test_a_stream_longer_than_its_history_goes_on(engine, small_chunks) -> None:
    network, ids = pack(engine), tokens(40)
    stepper = network.stepper([network.read(ids[:1])])
    steps(stepper, [(token,) for token in ids[1:]])
    snapshot = stepper.snapshot()
    assert snapshot.history.ids().tolist() == ids[24:]
    back = DecoderState.from_bytes(snapshot.to_bytes())
    found = [steps(network.stepper([each]), [(3,), (9,)]) for each in (snapshot, back)]
    assert np.array_equal(*found)


def test_a_history_holds_128_tokens_for_each_bar_of_the_longest_recipe() -> None:
    assert history_module.MAX_HISTORY >= 128 * MAX_BARS_IN_ALL


@pytest.mark.skipif(native.load() is None, reason="this machine cannot build the compiled core")
def test_a_long_history_gives_the_features_of_the_stream_itself() -> None:
    note = ids_of("Position_0", "Pitch_60", "Duration_1.0.12")
    bar, low, high = ids_of("Bar_None"), ids_of("Program_33"), ids_of("Program_0")
    # Both parts stand in the first bar only, which alone tells their order.
    ids = [*bar, *low, *note, *high, *note, *([*bar, *high, *note, *bar, *low, *note] * 14_000)]
    assert len(ids) > 140_000
    live, restored = (CompiledStepFeatures(TokenTable(NAMES)) for _ in range(2))
    live.read(ids, histograms=False)
    replay(restored, History().extended(ids))
    after, expected = restored.read(bar), live.read(bar)
    for name in ("candidates", "runs", "accuracy", "parts"):
        assert np.array_equal(getattr(after, name), getattr(expected, name)), name


def test_steps_between_snapshots_enter_the_history_once(engine, small_chunks) -> None:
    network = pack(engine)
    stepper = network.stepper([network.read([1])])
    for token in range(2, 12):
        stepper.step([token])
        assert stepper.snapshot().history.ids().tolist() == list(range(1, token + 1))


# Refusals -----------------------------------------------------------------------------------------


def test_nothing_to_read_is_refused(engine) -> None:
    with pytest.raises(ValueError, match="There is nothing to read: ids is empty"):
        pack(engine).read([])


@pytest.mark.parametrize("rows", [0, MAX_ROWS + 1])
def test_too_many_rows_and_none_are_refused(rows, engine) -> None:
    network = pack(engine)
    start = network.read([1])
    with pytest.raises(ValueError, match=f"A stepper has from 1 to 32 rows, got {rows}"):
        network.stepper([start] * rows)
    with pytest.raises(ValueError, match=f"A stepper has from 1 to 32 rows, got {rows}"):
        network.stepper([start]).keep([0] * rows)


@pytest.mark.parametrize("ids", [[], [1], [1, 2, 3]], ids=str)
def test_a_step_has_one_token_for_every_row(ids, engine) -> None:
    stepper = pack(engine).stepper([pack(engine).read([1])] * 2)
    with pytest.raises(ValueError, match=f"2; got {len(ids)}"):
        stepper.step(ids)


def test_several_tokens_are_read_into_one_row_only(engine) -> None:
    network = pack(engine)
    with pytest.raises(ValueError, match="there are 2"):
        network.stepper([network.read([1])] * 2).read([1, 2])


@pytest.mark.parametrize("token", [VOCAB, -1, 2**40], ids=str)
def test_a_token_that_does_not_exist_is_refused(token, network) -> None:
    # Compiled code would use it as an address.
    start = network.read([1])
    for wrong in ([token], [1] * 40 + [token]):
        with pytest.raises(IndexError, match=f"0 to {VOCAB - 1}"):
            network.read(wrong)
    stepper = network.stepper([start])
    with pytest.raises(IndexError, match=f"0 to {VOCAB - 1}"):
        stepper.step([token])
    assert_equal(stepper.snapshot(), start)


@pytest.mark.parametrize(
    "other", [{"hidden_size": 48}, {"num_hidden_layers": 3}, {"vocab": 30}], ids=str
)
def test_a_snapshot_of_another_network_is_refused(other, engine) -> None:
    # In compiled code a larger one would be written beyond the end.
    names = NAMES[: other.get("vocab", VOCAB)]
    config = {"hidden_size": 24, "num_hidden_layers": 2, "token_names": names} | other
    config.pop("vocab", None)
    model = MusicLSTMForCausalLM(MusicLSTMConfig(vocab_size=len(names), **config))
    foreign, network = pack(engine, model.eval()).read([1]), pack(engine)
    stepper = network.stepper([network.read([1])])
    for refused in (
        lambda: network.stepper([foreign]),
        lambda: network.read([1], foreign),
        lambda: stepper.restore(foreign),
    ):
        with pytest.raises(ValueError, match="snapshot of another network"):
            refused()


@pytest.mark.parametrize("token", [VOCAB, -1], ids=str)
def test_a_snapshot_that_has_read_foreign_tokens_is_refused(token, engine) -> None:
    network = pack(engine)
    snapshot = replace(network.read([1]), history=History().extended([1, token]))
    with pytest.raises(ValueError, match="it has read tokens outside"):
        network.stepper([snapshot])


@pytest.mark.parametrize("damage", ["cut", "missing", "floats", "shape", "double", "empty"])
def test_bytes_that_are_no_snapshot_are_refused(damage, engine) -> None:
    network = pack(engine)
    data = network.read([1, 2]).to_bytes()
    parts = load(data)
    if damage == "missing":
        del parts["cell"]
    elif damage == "floats":
        parts["history"] = parts["history"].astype(np.float32)
    elif damage == "shape":
        parts["hidden"] = parts["hidden"][:, :-1].copy()
    elif damage == "double":
        parts["cell"] = parts["cell"].astype(np.float64)
    data = (
        {"cut": data[:-3], "empty": b""}.get(damage) if damage in ("cut", "empty") else save(parts)
    )
    with pytest.raises(ValueError, match="snapshot"):
        network.stepper([DecoderState.from_bytes(data)])


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_copy_weight_must_be_finite(weight, engine) -> None:
    network = pack(engine)
    with pytest.raises(ValueError, match="copy_weight must be finite"):
        network.stepper([network.read([1])]).set_copy_weight(weight)


def test_a_model_in_another_precision_is_refused() -> None:
    with pytest.raises(ValueError, match=r"this model is bfloat16 on cpu; pass model\.float\(\)"):
        InferenceModel(build().bfloat16())


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ValueError, match="'int8'"):
        InferenceModel(build(), engine="int8")


def test_without_a_compiled_core_pytorch_steps(monkeypatch) -> None:
    monkeypatch.setattr(native, "load", lambda: None)
    assert InferenceModel(build()).engine == "torch"
    with pytest.raises(ValueError, match="compiler"):
        InferenceModel(build(), engine="compiled")


def test_a_vocabulary_beyond_the_compiled_features_is_stepped_by_pytorch() -> None:
    names = [*NAMES, *(f"Other_{number}" for number in range(4_097 - VOCAB))]
    model, ids = build(vocab_size=len(names), token_names=names), [*tokens(20), len(names) - 1, 3]
    network = InferenceModel(model)
    assert network.engine == "torch"
    found = network.read(ids).logits
    np.testing.assert_allclose(found, forward(model, ids)[-1], atol=1e-5, rtol=1e-5)
