"""The compiled step against the numpy reference."""

from __future__ import annotations

import ctypes
import gc
import re
import shutil
import subprocess
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from musiclstm.core import native
from musiclstm.core import weights as weights_module
from musiclstm.core.reference import ReferenceNetwork
from musiclstm.core.step import CompiledNetwork
from musiclstm.core.weights import ContextWeights, Weights
from musiclstm.model import step_features
from musiclstm.model.step_features import FeatureArrays

SIZES = [(1, 1), (4, 8), (7, 5), (24, 30), (31, 33), (32, 4), (33, 6), (40, 127), (100, 10)]
POSITIONS = 50


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    """The library of this machine."""
    found = native.load()
    if found is None:
        pytest.skip("this machine cannot build the compiled core")
    return found


def random_arrays(seed: int):
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) * 0.5).astype(np.float32)

    return draw


def random_weights(
    size: int, vocab: int, layers: int = 1, *, seed: int = 0, **changes: object
) -> Weights:
    draw = random_arrays(seed)
    values = {
        "of_input": [draw(4 * size, size) for _ in range(layers)],
        "of_hidden": [draw(4 * size, size) for _ in range(layers)],
        "biases": [draw(4 * size) for _ in range(layers)],
        "norms": [np.stack([1 + draw(size), draw(size)]) for _ in range(layers + 1)],
        "embeddings": draw(vocab, size),
        "head": draw(vocab, size),
        "head_bias": draw(vocab),
        "residual": True,
    }
    return Weights(**(values | changes))


def with_context(weights: Weights, seed: int = 1, **changes: object) -> Weights:
    vocab, size = weights.embeddings.shape
    draw, rng = random_arrays(seed), np.random.default_rng(seed)
    values = {
        "program": draw(131, size),
        "track": draw(8, size),
        "following": draw(131, size),
        "age": draw(10, size),
        "candidate_inputs": draw(size, 6 * size),
        "gates": draw(6, size + 18),
        "gate_bias": draw(6),
        "head": draw(sum(step_features.CONTEXT_SIZES), size),
        "head_bias": draw(sum(step_features.CONTEXT_SIZES)),
        "pitch_tokens": rng.integers(0, vocab, 100),
        "pitch_values": rng.integers(0, 128, 100),
        "position_tokens": rng.integers(0, vocab, POSITIONS),
        "position_values": np.arange(POSITIONS),
        "duration_tokens": rng.integers(0, vocab, 60),
        "duration_values": rng.integers(1, 400, 60),
    }
    return replace(weights, context=ContextWeights(**(values | changes)))


def random_features(rows: int, vocab: int, seed: int = 0) -> FeatureArrays:
    """Random values within the range of each feature."""
    rng = np.random.default_rng(seed)
    arrays = FeatureArrays.empty(rows)
    arrays.candidates[:] = rng.integers(-1, vocab, (rows, 6))
    arrays.candidates[rng.random((rows, 6)) < 0.3] = -1
    arrays.runs[:] = rng.integers(0, 256, (rows, 6))
    arrays.accuracy[:] = rng.integers(0, 256, (rows, 6))
    arrays.parts[:] = rng.integers(0, [130, 8, 130, 10], (rows, 4))
    arrays.pitches[:] = rng.integers(-1, 128, (rows, 5))
    arrays.positions[:, 0] = rng.integers(-1, POSITIONS, rows)
    arrays.positions[:, 1] = rng.integers(-1, 256, rows)
    arrays.follows[:] = np.arange(rows) % 8
    arrays.sounding[:] = rng.integers(0, 4096, rows)
    arrays.sizes[:] = rng.integers(0, 4097, (rows, 4))
    for name in ("part", "recent", "piece", "onsets", "durations"):
        values = getattr(arrays, name)
        values[:] = rng.random(values.shape) ** 8
    return arrays


def row_of(features: FeatureArrays, row: int) -> FeatureArrays:
    return FeatureArrays(
        **{each.name: getattr(features, each.name)[row : row + 1] for each in fields(features)}
    )


def states(layers: int, rows: int, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    hidden, cell = rng.normal(size=(2, layers, rows, size)).astype(np.float32)
    return np.tanh(hidden), cell


@pytest.mark.parametrize(("size", "vocab"), SIZES, ids=str)
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("norms", [True, False], ids=["norms", "plain"])
def test_one_step_equals_the_reference(size, vocab, residual, norms, library) -> None:
    weights = random_weights(size, vocab, residual=residual, **({} if norms else {"norms": []}))
    hidden, cell = states(1, 3, size)
    expected_hidden, expected_cell = hidden.copy(), cell.copy()
    work = CompiledNetwork(library, weights).workspace(hidden, cell)
    work.ids[:] = ids = [0, vocab // 2, vocab - 1]
    work.read()
    reference = ReferenceNetwork(weights)
    outputs = reference.read(ids, expected_hidden, expected_cell)
    np.testing.assert_allclose(hidden, expected_hidden, atol=1e-5, rtol=0)
    np.testing.assert_allclose(cell, expected_cell, atol=1e-5, rtol=0)
    np.testing.assert_allclose(work.outputs, outputs, atol=1e-5, rtol=1e-5)
    work.score()
    assert work.logits.shape == (3, vocab)
    np.testing.assert_allclose(work.logits, reference.score(work.outputs), atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize(("size", "vocab"), SIZES, ids=str)
def test_one_step_with_features_equals_the_reference(size, vocab, library) -> None:
    weights, rows = with_context(random_weights(size, vocab)), 24
    features = random_features(rows, vocab)
    hidden, cell = states(1, rows, size)
    expected_hidden, expected_cell = hidden.copy(), cell.copy()
    work = CompiledNetwork(library, weights).workspace(hidden, cell, features)
    work.ids[:] = ids = np.arange(rows) % vocab
    work.copy_weights[:] = np.linspace(0, 2, rows)
    work.read()
    reference = ReferenceNetwork(weights)
    reference.read(ids.tolist(), expected_hidden, expected_cell, features)
    np.testing.assert_allclose(hidden, expected_hidden, atol=1e-5, rtol=0)
    work.score()
    logits = reference.score(work.outputs, features, work.copy_weights)
    np.testing.assert_allclose(work.logits, logits, atol=2e-5, rtol=2e-6)


@pytest.mark.parametrize("follows", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("reference", [-1, 0, 36, 92, 127])
def test_context_terms_reach_only_tokens_that_may_follow(follows, reference, library) -> None:
    weights = random_weights(40, 260)
    weights = with_context(
        weights,
        pitch_tokens=np.arange(128) + 3,
        pitch_values=np.arange(128),
        position_tokens=np.arange(120) + 131,
        position_values=np.arange(120),
        duration_tokens=np.arange(5) + 251,
        duration_values=np.array([1, 12, 190, 191, 400]),
    )
    features = random_features(1, 260)
    features.pitches[:] = features.positions[:] = reference
    features.candidates[:] = -1
    features.follows[:] = follows
    work = CompiledNetwork(library, weights).workspace(*states(1, 1, 40), features)
    work.read()
    work.score()
    logits, output = work.logits[0].copy(), work.outputs
    expected = ReferenceNetwork(weights).score(output, features)[0]
    np.testing.assert_allclose(logits, expected, atol=2e-5, rtol=2e-6)
    plain = ReferenceNetwork(replace(weights, context=None)).score(output)[0]
    changed = abs(logits - plain) > 1e-4
    assert changed[3:131].any() == bool(follows & 1)
    assert changed[131:251].any() == bool(follows & 2)
    assert not changed[:3].any()
    assert changed[251:256].any() == bool(follows & 4)
    assert not changed[256:].any()


def test_a_copy_weight_scales_the_gates(library) -> None:
    weights, rows = with_context(random_weights(40, 200)), 5
    features = random_features(1, 200)
    features = FeatureArrays(
        **{each.name: np.repeat(getattr(features, each.name), rows, 0) for each in fields(features)}
    )
    features.candidates[:] = [7, 7, 9, -1, -1, 100]
    states_of_one = [np.repeat(each, rows, 1) for each in states(1, 1, 40)]
    work = CompiledNetwork(library, weights).workspace(*states_of_one, features)
    work.copy_weights[:] = [0, 1, 2, 0.5, -1]
    work.read()
    work.score()
    gates = work.logits[1] - work.logits[0]
    assert set(np.flatnonzero(abs(gates) > 1e-4)) == {7, 9, 100}
    for row, weight in enumerate(work.copy_weights):
        found = work.logits[row] - work.logits[0]
        np.testing.assert_allclose(found, weight * gates, atol=1e-5)


@pytest.mark.parametrize("context", [False, True], ids=["plain", "features"])
def test_many_steps_through_a_stack_equal_the_reference(context, library) -> None:
    weights = random_weights(45, 160, layers=3, seed=1)
    weights = with_context(weights) if context else weights
    hidden, cell = states(3, 2, 45)
    reference, again = ReferenceNetwork(weights), (hidden.copy(), cell.copy())
    features = random_features(2, 160) if context else None
    work = CompiledNetwork(library, weights).workspace(hidden, cell, features)
    for step in range(10):
        if features is not None:
            for each in fields(features):
                now = random_features(2, 160, seed=step)
                getattr(features, each.name)[:] = getattr(now, each.name)
        work.ids[:] = ids = [step, 20 - step]
        work.read()
        outputs = reference.read(ids, *again, features)
        np.testing.assert_allclose(work.outputs, outputs, atol=2e-5, rtol=0)
        np.testing.assert_allclose(cell, again[1], atol=2e-5, rtol=0)


@pytest.mark.parametrize("rows", [2, 7, 32])
def test_a_row_does_not_depend_on_the_others(rows, library) -> None:
    weights = with_context(random_weights(52, 150, layers=2))
    network, features = CompiledNetwork(library, weights), random_features(rows, 150)
    hidden, cell = states(2, rows, 52)
    alone = []
    for row in range(rows):
        own = row_of(features, row)
        h, c = (np.ascontiguousarray(each[:, row : row + 1]) for each in (hidden, cell))
        work = network.workspace(h, c, own)
        work.ids[:] = row
        work.read()
        work.score()
        alone.append((h[:, 0], c[:, 0], work.logits[0]))
    work = network.workspace(hidden, cell, features)
    work.ids[:] = np.arange(rows)
    work.read()
    work.score()
    for row, expected in enumerate(alone):
        found = hidden[:, row], cell[:, row], work.logits[row]
        for one, other in zip(found, expected, strict=True):
            assert np.array_equal(one, other)


@pytest.mark.parametrize("size", [1, 31, 32, 33, 1_024])
def test_integer_products_are_exact(size, library) -> None:
    # Values and weights are integers up to 127, so the logits are the sums.
    rng = np.random.default_rng(size)
    head = rng.integers(-127, 128, (10, size)).astype(np.float32)
    head[:, 0] = 127
    head[0], head[1] = 127, -127
    weights = random_weights(size, 10, head=head, head_bias=np.zeros(10, np.float32))
    work = CompiledNetwork(library, weights).workspace(*states(1, 4, size))
    work.outputs[:] = rng.integers(-127, 128, (4, size))
    work.outputs[:, 0] = -127
    work.outputs[0], work.outputs[1] = 127, -127
    work.score()
    expected = work.outputs.astype(np.int64) @ head.astype(np.int64).T
    assert np.array_equal(work.logits.astype(np.int64), expected)
    assert abs(expected).max() == 127 * 127 * size


@pytest.mark.parametrize("scale", [1e-30, 1e-36, 1e30], ids=str)
def test_logits_scale_with_the_weights(scale, library) -> None:
    weights, logits = random_weights(24, 6, head_bias=np.zeros(6, np.float32)), []
    for head in (weights.head, weights.head * np.float32(scale)):
        network = CompiledNetwork(library, replace(weights, head=head))
        work = network.workspace(*states(1, 1, 24))
        work.read()
        work.score()
        logits.append(work.logits.copy())
    np.testing.assert_allclose(logits[1] / scale, logits[0], rtol=1e-4)


def test_rows_of_zeros_score_their_bias(library) -> None:
    weights = random_weights(24, 6)
    weights.head[3] = 0
    work = CompiledNetwork(library, weights).workspace(*np.zeros((2, 1, 1, 24), np.float32))
    for outputs, rows in ((1, [3]), (0, range(6))):
        work.outputs[:] = outputs
        work.score()
        for row in rows:
            assert work.logits[0, row] == weights.head_bias[row]


def test_numbers_without_a_float32_scale_count_as_zero(library) -> None:
    # Weight decay leaves such numbers in embeddings of unused tokens.
    weights = random_weights(24, 6, norms=[], residual=False)
    weights.embeddings[1] = 0
    weights.embeddings[2] = 1e-40
    weights.head[2], weights.head_bias[2] = 1e-42, 0
    network, found = CompiledNetwork(library, weights), []
    for token in (1, 2):
        work = network.workspace(*states(1, 1, 24))
        work.ids[:] = token
        work.read()
        work.score()
        found.append((work.outputs.copy(), work.logits.copy()))
    np.testing.assert_allclose(found[1][0], found[0][0], atol=1e-6)
    np.testing.assert_allclose(found[1][1], found[0][1], atol=1e-5)
    assert abs(found[0][1][0, 2]) < 1e-30


def test_gates_saturate(library) -> None:
    size = 24
    for bias, expected in [((500, -500, 500, 500), np.tanh(1)), ((-500, 500, 9, -500), 0)]:
        weights = random_weights(size, 3, residual=False, norms=[])
        weights.biases[0][:] = np.repeat(np.array(bias, np.float32), size)
        hidden, cell = states(1, 1, size)
        before = cell.copy()
        CompiledNetwork(library, weights).workspace(hidden, cell).read()
        np.testing.assert_allclose(hidden, expected, atol=1e-6)
        np.testing.assert_allclose(cell, 1 if bias[0] > 0 else before, atol=1e-6)


def test_a_workspace_keeps_its_network_alive(library) -> None:
    found = []
    for held in (True, False):
        network = CompiledNetwork(library, random_weights(64, 32))
        work = network.workspace(*states(1, 1, 64))
        if not held:
            del network
            gc.collect()
            others = [np.full(size, 77, np.int8) for size in 2 * (64 * 2 * 2 * 128, 2_048, 8_192)]
        work.read()
        work.score()
        found.append(work.logits.copy())
    assert len(others) == 6
    assert np.array_equal(*found)


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def test_weights_of_other_shapes_are_refused() -> None:
    for changes, name in (
        ({"head": zeros(7, 24)}, "head"),
        ({"head_bias": zeros(5)}, "head_bias"),
        ({"biases": [zeros(95)]}, "biases"),
        ({"of_input": [zeros(96, 23)]}, "of_input"),
        ({"of_hidden": []}, "layers"),
        ({"norms": [zeros(2, 24)]}, "layers"),
    ):
        with pytest.raises(ValueError, match=name):
            random_weights(24, 6, **changes)


def test_context_weights_out_of_range_are_refused() -> None:
    for changes, fact in (
        ({"pitch_tokens": np.full(100, 200)}, "pitch_tokens must be from 0 to 199"),
        ({"pitch_tokens": np.full(99, 1)}, "pitch_values"),
        ({"pitch_values": np.full(100, 128)}, "pitch_values must be from 0 to 127"),
        ({"position_tokens": np.full(POSITIONS, -1)}, "position_tokens"),
        ({"position_values": np.full(POSITIONS, 576)}, "position_values must be from 0 to 575"),
        ({"duration_values": np.full(60, 8_192)}, "duration_values must be from 0 to 8191"),
        ({"following": zeros(130, 24)}, "following"),
        ({"age": zeros(10, 23)}, "age"),
        ({"head": zeros(841, 24)}, "head"),
        ({"gates": zeros(5, 42)}, "gates"),
        ({"candidate_inputs": zeros(24, 5 * 24)}, "candidate_inputs"),
    ):
        with pytest.raises(ValueError, match=fact):
            with_context(random_weights(24, 200), **changes)


def test_arrays_of_another_layout_are_refused(library) -> None:
    network = CompiledNetwork(library, with_context(random_weights(24, 200, layers=2)))
    good = random_features(3, 200)
    hidden, cell = states(2, 3, 24)
    wrong = {"runs": good.runs.astype(np.int16), "pitches": good.pitches[:2], "part": good.part.T}
    for name, array in wrong.items():
        with pytest.raises(ValueError, match=name):
            network.workspace(hidden, cell, replace(good, **{name: array}))
    for states_ in [(hidden[:1], cell), (hidden, cell[:, :2]), (hidden, cell.astype(float))]:
        with pytest.raises(ValueError, match=r"hidden|cell"):
            network.workspace(*states_, good)
    with pytest.raises(ValueError, match="features"):
        network.workspace(hidden, cell)


def test_features_beyond_the_tables_are_ignored(library) -> None:
    weights = with_context(random_weights(24, 200))
    tables = {name: zeros(131, 24) for name in ("program", "following")}
    empty = with_context(random_weights(24, 200), track=zeros(8, 24), age=zeros(10, 24), **tables)
    outputs = []
    for each, candidate in ((weights, 30_000), (empty, -1)):
        features = random_features(1, 200)
        features.candidates[:] = candidate
        features.accuracy[:] = features.runs[:] = 0
        if each is weights:
            features.parts[:] = 255
        work = CompiledNetwork(library, each).workspace(*states(1, 1, 24), features)
        work.read()
        outputs.append(work.outputs.copy())
    assert np.array_equal(*outputs)


def test_portable_code_gives_the_same_bits(library, tmp_path) -> None:
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))))
    folder, portable = Path(native.__file__).parent, tmp_path / "portable.so"
    sources = [str(path) for path in folder.glob("*.c")]
    flags = ["-O1", "-shared", "-fPIC", "-ffp-contract=off", "-lm", "-o", str(portable)]
    subprocess.run([compiler, *sources, *flags], check=True)
    weights = with_context(random_weights(52, 150, layers=2))
    found = []
    for each in (library, ctypes.CDLL(str(portable))):
        assert each.self_check() == 0
        hidden, cell = states(2, 8, 52)
        features = random_features(8, 150)
        work = CompiledNetwork(each, weights).workspace(hidden, cell, features)
        for step in range(3):
            work.ids[:] = np.arange(8) + step
            work.read()
            work.score()
        found.append((hidden, cell, work.logits))
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one, other)


def test_a_sequence_equals_single_steps_bit_for_bit(library) -> None:
    weights = with_context(random_weights(52, 150, layers=2))
    network, features = CompiledNetwork(library, weights), random_features(30, 150)
    ids = np.random.default_rng(0).integers(0, 150, 30)
    at_once, single = states(2, 1, 52), states(2, 1, 52)
    whole = network.workspace(*at_once, row_of(features, 29))
    whole.read_sequence(ids, features)
    whole.score()
    for step, token in enumerate(ids):
        work = network.workspace(*single, row_of(features, step))
        work.ids[:] = token
        work.read()
    work.score()
    assert np.array_equal(at_once, single)
    assert np.array_equal(whole.outputs, work.outputs)
    assert np.array_equal(whole.logits, work.logits)


def test_a_sequence_of_another_layout_is_refused(library) -> None:
    network = CompiledNetwork(library, with_context(random_weights(24, 200)))
    features = random_features(5, 200)
    work = network.workspace(*states(1, 1, 24), row_of(features, 0))
    ids = np.arange(5)
    for wrong in ((ids[:4], features), (ids.astype(np.int32), features), (ids[::2], features)):
        with pytest.raises(ValueError, match=r"ids|candidates"):
            work.read_sequence(*wrong)
    with pytest.raises(ValueError, match="features"):
        work.read_sequence(ids, None)
    several = network.workspace(*states(1, 2, 24), random_features(2, 200))
    with pytest.raises(ValueError, match="there are 2"):
        several.read_sequence(ids, features)


@pytest.mark.parametrize(("header", "fewest"), [("step.h", 6), ("features_state.h", 8)])
def test_constants_of_the_headers_are_those_of_python(header, fewest) -> None:
    text = Path(native.__file__).with_name(header).read_text()
    found: dict[str, int] = {}
    for name, value in re.findall(r"^    ([A-Z_]+) = ([^,]+),", text, re.MULTILINE):
        found[name] = eval(value, {}, found)  # sums and products of earlier ones
    known = {
        **vars(step_features),
        **vars(weights_module),
        "CLASSES": step_features.PITCH_CLASSES,
        "FARTHEST_END": step_features.Context.FARTHEST_END,
        "CANDIDATES": len(step_features.CANDIDATES),
    }
    expected = {name: known[name] for name in found if name in known}
    assert {name: found[name] for name in expected} == expected
    assert len(expected) >= fewest
