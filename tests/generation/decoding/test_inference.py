"""Inference token by token gives the logits of the model, with either engine."""

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
from musiclstm.generation.decoding.history import TokenHistory
from musiclstm.generation.decoding.inference import (
    MAX_ROWS,
    DecoderState,
    DecodingBatch,
    InferenceModel,
)
from musiclstm.generation.decoding.rows import replay
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


def steps(batch: DecodingBatch, columns: list[tuple[int, ...]]) -> np.ndarray:
    """Logits after every step, (steps, rows, vocab)."""
    found = []
    for column in columns:
        batch.step(column)
        found.append(batch.logits.copy())
    return np.array(found)


def weighted(
    network: InferenceModel, starts: list[DecoderState], weights: list[float]
) -> DecodingBatch:
    """Return a batch with copy weights."""
    batch = network.start(starts)
    for row, weight in enumerate(weights):
        batch.set_copy_weight(weight, row)
    return batch


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
    batch = network.start([network.prefill(ids[:1])])
    found = [batch.logits[0].copy(), *steps(batch, [(token,) for token in ids[1:]])[:, 0]]
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
    batch = None
    for token in ids:
        if batch is None:
            batch = network.start([network.prefill([token])])
        else:
            batch.step([token])
        arrays_now = None if features is None else features.read([token])
        output = reference.read([token], hidden, cell, arrays_now)
        logits = reference.score(output, arrays_now)
        found = batch.snapshot()
        # The states may differ by one unit of rounding where a value lies between two.
        np.testing.assert_allclose(found.hidden, hidden[:, 0], atol=1e-5, rtol=0)
        np.testing.assert_allclose(found.cell, cell[:, 0], atol=1e-5, rtol=0)
        np.testing.assert_allclose(found.logits, logits[0], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_compiled_steps_stay_close_to_float32(shape) -> None:
    model = build(**({"hidden_size": 96} | shape), scale=0.5)
    ids = tokens(300)
    network = pack("compiled", model)
    batch = network.start([network.prefill(ids[:1])])
    found = np.array([batch.logits[0].copy(), *steps(batch, [(t,) for t in ids[1:]])[:, 0]])
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


def test_prefill_equals_steps_bit_for_bit() -> None:
    network, ids = pack("compiled"), tokens(70)
    batch = network.start([network.prefill(ids[:1])])
    steps(batch, [(token,) for token in ids[1:]])
    assert_equal(network.prefill(ids), batch.snapshot())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_prefill_then_steps_equal_one_prefill(shape, engine) -> None:
    network, ids = pack(engine, **shape), tokens(50)
    whole = network.prefill(ids)
    batch = network.start([network.prefill(ids[:20])])
    steps(batch, [(token,) for token in ids[20:]])
    assert_equal(batch.snapshot(), whole, atol=1e-5)
    assert_equal(network.prefill(ids[7:], network.prefill(ids[:7])), whole, atol=1e-5)
    again = network.prefill(ids[:5], batch.snapshot())
    assert_equal(again, network.prefill(ids + ids[:5]), atol=1e-5)


def test_prefill_in_several_chunks_equals_one(engine, monkeypatch) -> None:
    network, ids = pack(engine), tokens(50)
    whole = network.prefill(ids)
    monkeypatch.setattr("musiclstm.generation.decoding.rows.PREFILL_CHUNK", 7)
    monkeypatch.setattr("musiclstm.generation.decoding.torch_rows.PREFILL_CHUNK", 7)
    assert_equal(network.prefill(ids), whole, atol=1e-5)


def test_a_network_in_training_mode_is_packed_without_dropout(engine) -> None:
    network = pack(engine, build(dropout=0.5, embedding_dropout=0.5).train())
    assert_equal(network.prefill([1, 2, 3]), network.prefill([1, 2, 3]))


# Rows ---------------------------------------------------------------------------------------------


def test_a_row_does_not_depend_on_the_others(network) -> None:
    streams = [tokens(40, seed) for seed in range(5)]
    starts = [network.prefill(stream[: 3 + row]) for row, stream in enumerate(streams)]
    weights = [1.0, 0.5, 0.0, 2.0, 1.0]
    together = weighted(network, starts, weights)
    columns = list(zip(*(stream[10:] for stream in streams), strict=True))
    found = steps(together, columns)
    for row, stream in enumerate(streams):
        alone = weighted(network, [starts[row]], weights[row : row + 1])
        expected = steps(alone, [(token,) for token in stream[10:]])
        assert np.array_equal(found[:, row], expected[:, 0])
        assert_equal(together.snapshot(row), alone.snapshot())


@pytest.mark.parametrize("rows", [[2], [2, 0], [1, 1, 0], [0, 1, 2]], ids=str)
def test_selected_rows_continue_unchanged(rows, network) -> None:
    starts = [network.prefill(tokens(12, seed)) for seed in range(3)]
    weights = [1.0, 0.5, 2.0]
    batch = weighted(network, starts, weights)
    batch.step([3, 4, 5])
    expected = [batch.snapshot(row) for row in rows]
    batch.select_rows(rows)
    assert len(batch) == len(rows)
    for row, snapshot in enumerate(expected):
        assert_equal(batch.snapshot(row), snapshot)
    found = steps(batch, [(token,) * len(rows) for token in tokens(10)])
    for row, snapshot in enumerate(expected):
        alone = weighted(network, [snapshot], [weights[rows[row]]])
        again = steps(alone, [(token,) for token in tokens(10)])
        assert np.array_equal(found[:, row], again[:, 0])


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 3.0])
def test_a_copy_weight_gives_the_logits_of_the_model(weight) -> None:
    model, ids = build(), tokens(60)
    network = pack("torch", model)
    batch = weighted(network, [network.prefill(ids[:30])], [weight])
    found = steps(batch, [(token,) for token in ids[30:]])[:, 0]
    expected = forward(model, ids, copy_weight=weight)[30:]
    np.testing.assert_allclose(found, expected, atol=2e-5, rtol=0)


def test_restoring_a_snapshot_keeps_the_copy_weight_of_the_row(engine) -> None:
    network, ids = pack(engine), tokens(40)
    start = network.prefill(ids)
    batch = weighted(network, [start, start], [0.5, 1.0])
    batch.step([3, 3])
    after = batch.logits.copy()
    assert not np.allclose(*after, atol=1e-3)
    batch.step([3, 3])
    batch.restore(start, 0)
    batch.restore(start, 1)
    assert np.array_equal(batch.logits, [start.logits] * 2)
    batch.step([3, 3])
    assert np.array_equal(batch.logits, after)


# Snapshots ----------------------------------------------------------------------------------------


def test_a_snapshot_is_never_changed(network) -> None:
    start = network.prefill([1, 2, 3, 4])
    kept = start.to_bytes()
    assert_equal(DecoderState.from_bytes(kept), start)
    batch = network.start([start])
    batch.step([5])
    middle = batch.snapshot()
    kept_in_the_middle = middle.to_bytes()
    batch.step([6])
    network.prefill([6, 7], middle)
    assert start.to_bytes() == kept
    batch.restore(middle)
    assert np.array_equal(batch.logits[0], middle.logits)
    batch.step([8])
    assert middle.to_bytes() == kept_in_the_middle


CONTINUE = """
import sys
from pathlib import Path
from musiclstm.generation.decoding.inference import DecoderState, InferenceModel
from musiclstm.model.modeling_musiclstm import MusicLSTMForCausalLM

folder, *engines = sys.argv[1:]
model = MusicLSTMForCausalLM.from_pretrained(folder)
for engine in engines:
    snapshot = DecoderState.from_bytes(Path(folder, engine).read_bytes())
    batch = InferenceModel(model, engine=engine).start([snapshot])
    chosen = []
    for _ in range(20):
        chosen.append(int(batch.logits[0].argmax()))
        batch.step(chosen[-1:])
    print(*chosen)
"""


@pytest.mark.slow
def test_another_process_continues_a_snapshot_with_the_same_tokens(tmp_path) -> None:
    model, expected = build(), []
    model.save_pretrained(tmp_path)
    engines = [engine for engine in ENGINES if engine == "torch" or native.load() is not None]
    for engine in engines:
        network = pack(engine, model)
        batch = network.start([network.prefill(tokens(30))])
        (tmp_path / engine).write_bytes(batch.snapshot().to_bytes())
        chosen = []
        for _ in range(20):
            chosen.append(int(batch.logits[0].argmax()))
            batch.step(chosen[-1:])
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
    history = TokenHistory().extended(range(10))
    assert [chunk.tolist() for chunk in history.chunks] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    longer = history.extended([10]).extended([11, 12])
    assert longer.ids().tolist() == list(range(13))
    assert all(one is other for one, other in zip(longer.chunks, history.chunks[:2], strict=False))
    assert history.ids().tolist() == list(range(10))


@pytest.mark.parametrize("parts", [[40], [1] * 40, [3, 4, 5, 20, 8]], ids=str)
def test_a_history_drops_its_oldest_chunks(parts, small_chunks) -> None:
    history, at = TokenHistory(), 0
    for part in parts:
        history = history.extended(range(at, at + part))
        at += part
        assert len(history.ids()) == min(at, 12 + (at - 1) % 4 + 1)
        assert history.ids()[-1] == at - 1


def test_a_stream_longer_than_its_history_continues(engine, small_chunks) -> None:
    network, ids = pack(engine), tokens(40)
    batch = network.start([network.prefill(ids[:1])])
    steps(batch, [(token,) for token in ids[1:]])
    snapshot = batch.snapshot()
    assert snapshot.history.ids().tolist() == ids[24:]
    back = DecoderState.from_bytes(snapshot.to_bytes())
    found = [steps(network.start([each]), [(3,), (9,)]) for each in (snapshot, back)]
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
    replay(restored, TokenHistory().extended(ids))
    after, expected = restored.read(bar), live.read(bar)
    for name in ("candidates", "runs", "accuracy", "parts"):
        assert np.array_equal(getattr(after, name), getattr(expected, name)), name


# Errors -------------------------------------------------------------------------------------------


def test_arguments_that_do_not_fit_the_batch_are_refused(engine) -> None:
    network = pack(engine)
    start = network.prefill([1])
    batch = network.start([start] * 2)
    for call, fact in (
        (lambda: network.prefill([]), "ids is empty"),
        (lambda: batch.prefill([1, 2]), "there are 2"),
        (lambda: batch.step([1]), "2; got 1"),
        (lambda: batch.set_copy_weight(float("nan")), "finite, got nan"),
        (lambda: InferenceModel(network.model, engine="int8"), "'int8'"),
    ):
        with pytest.raises(ValueError, match=fact):
            call()


@pytest.mark.parametrize("rows", [0, MAX_ROWS + 1])
def test_too_many_rows_and_none_are_refused(rows, engine) -> None:
    network = pack(engine)
    start = network.prefill([1])
    with pytest.raises(ValueError, match=f"from 1 to 32 rows, got {rows}"):
        network.start([start] * rows)
    with pytest.raises(ValueError, match=f"from 1 to 32 rows, got {rows}"):
        network.start([start]).select_rows([0] * rows)


@pytest.mark.parametrize("token", [VOCAB, -1, 2**40], ids=str)
def test_a_token_that_does_not_exist_is_refused(token, network) -> None:
    # Compiled code would use it as an address.
    start = network.prefill([1])
    for wrong in ([token], [1] * 40 + [token]):
        with pytest.raises(IndexError, match=f"0 to {VOCAB - 1}"):
            network.prefill(wrong)
    batch = network.start([start])
    with pytest.raises(IndexError, match=f"0 to {VOCAB - 1}"):
        batch.step([token])
    assert_equal(batch.snapshot(), start)


@pytest.mark.parametrize(
    "other", [{"hidden_size": 48}, {"num_hidden_layers": 3}, {"vocab": 30}], ids=str
)
def test_a_snapshot_of_another_network_is_refused(other, engine) -> None:
    # In compiled code a larger one would be written beyond the end.
    names = NAMES[: other.get("vocab", VOCAB)]
    config = {"hidden_size": 24, "num_hidden_layers": 2, "token_names": names} | other
    config.pop("vocab", None)
    model = MusicLSTMForCausalLM(MusicLSTMConfig(vocab_size=len(names), **config))
    foreign, network = pack(engine, model.eval()).prefill([1]), pack(engine)
    batch = network.start([network.prefill([1])])
    for refused in (
        lambda: network.start([foreign]),
        lambda: network.prefill([1], foreign),
        lambda: batch.restore(foreign),
    ):
        with pytest.raises(ValueError, match="belongs to another model"):
            refused()
    unknown = replace(network.prefill([1]), history=TokenHistory().extended([1, VOCAB]))
    with pytest.raises(ValueError, match=f"tokens outside 0 to {VOCAB - 1}"):
        network.start([unknown])


@pytest.mark.parametrize("damage", ["cut", "missing", "floats", "shape", "double", "empty"])
def test_bytes_that_are_no_snapshot_are_refused(damage, engine) -> None:
    network = pack(engine)
    data = network.prefill([1, 2]).to_bytes()
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
        network.start([DecoderState.from_bytes(data)])


def test_a_model_in_another_precision_is_refused() -> None:
    with pytest.raises(ValueError, match=r"this model is bfloat16 on cpu; pass model\.float\(\)"):
        InferenceModel(build().bfloat16())


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
    found = network.prefill(ids).logits
    np.testing.assert_allclose(found, forward(model, ids)[-1], atol=1e-5, rtol=1e-5)
