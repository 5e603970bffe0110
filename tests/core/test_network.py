"""The compiled network against the numpy reference."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from musiclstm.core import native
from musiclstm.core import weights as weights_module
from musiclstm.core.library import NativeLibrary
from musiclstm.core.network import Network
from musiclstm.core.reference.network import ReferenceNetwork
from musiclstm.core.sequence import MAX_ROWS, Sequence
from musiclstm.core.weights import ContextWeights, Weights
from musiclstm.model import step_features
from musiclstm.model.step_features import FeatureArrays, StepFeatures, TokenKind, TokenTable
from musiclstm.tokens.vocabulary import TABLE

SIZES = [(1, 1), (4, 8), (7, 5), (24, 30), (31, 33), (32, 4), (33, 6), (40, 127), (100, 10)]
VOCAB = len(TABLE)


def plain_table(size: int) -> TokenTable:
    return TokenTable([f"Other_{i}" for i in range(size)])


def random_arrays(seed: int):
    rng = np.random.default_rng(seed)
    return lambda *shape: (rng.normal(size=shape) * 0.5).astype(np.float32)


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


def ids_of(kind: TokenKind) -> np.ndarray:
    return np.flatnonzero(np.array(TABLE.kind) == kind)


def with_context(weights: Weights, seed: int = 1, **changes: object) -> Weights:
    """Add random weights for the step features of the vocabulary."""
    _, size = weights.embeddings.shape
    draw, rows = random_arrays(seed), sum(step_features.CONTEXT_SIZES)
    value = np.array(TABLE.value)
    values = {
        "program": draw(131, size),
        "track": draw(8, size),
        "following": draw(131, size),
        "age": draw(10, size),
        "candidate_inputs": draw(size, 6 * size),
        "gates": draw(6, size + 18),
        "gate_bias": draw(6),
        "head": draw(rows, size),
        "head_bias": draw(rows),
    }
    for name in ("PITCH", "POSITION", "DURATION"):
        ids = ids_of(TokenKind[name])
        values |= {f"{name.lower()}_tokens": ids, f"{name.lower()}_values": value[ids]}
    return replace(weights, context=ContextWeights(**(values | changes)))


def random_stream(steps: int, seed: int = 0) -> np.ndarray:
    """Random ids with repeated passages, so that there are candidates."""
    rng = np.random.default_rng(seed)
    kinds = [TokenKind.PROGRAM, TokenKind.POSITION, TokenKind.PITCH, TokenKind.DURATION]
    phrase = [rng.choice(ids_of(kind)[:20]) for kind in (TokenKind.BAR, *kinds, *kinds[2:])]
    others = rng.integers(0, VOCAB, steps)
    return np.where(rng.random(steps) < 0.8, np.resize(phrase, steps), others)


def read(network: Network, ids: np.ndarray) -> Sequence:
    sequence = Sequence(network)
    sequence.read(ids)
    return sequence


def expected(weights: Weights, table: TokenTable, ids: np.ndarray, step: int) -> dict:
    """Return hidden and cell states and logits of the reference after `step` + 1 tokens."""
    reference = ReferenceNetwork(weights)
    hidden, cell = np.zeros((2, len(weights.of_input), 1, weights.embeddings.shape[1]))
    features = None if weights.context is None else StepFeatures(table).read(ids)
    row = None
    for at, token in enumerate(ids[: step + 1].tolist()):
        if features is not None:
            row = FeatureArrays(
                **{
                    each.name: getattr(features, each.name)[at : at + 1]
                    for each in fields(features)
                }
            )
        outputs = reference.read([token], hidden, cell, row)
    return {"hidden": hidden[:, 0], "cell": cell[:, 0], "logits": reference.score(outputs, row)[0]}


def assert_close(sequence: Sequence, reference: dict) -> None:
    for name, values in reference.items():
        np.testing.assert_allclose(getattr(sequence, name), values, atol=5e-5, rtol=5e-6)


@pytest.mark.parametrize(("size", "vocab"), SIZES, ids=str)
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("norms", [True, False], ids=["norms", "plain"])
def test_steps_equal_the_reference(size, vocab, residual, norms) -> None:
    weights = random_weights(size, vocab, residual=residual, **({} if norms else {"norms": []}))
    table, ids = plain_table(vocab), np.array([0, vocab // 2, vocab - 1])
    assert_close(read(Network(weights, table), ids), expected(weights, table, ids, 2))


@pytest.mark.parametrize("size", [1, 7, 33, 52])
@pytest.mark.parametrize("layers", [1, 3])
def test_steps_with_features_equal_the_reference(size, layers) -> None:
    weights, ids = with_context(random_weights(size, VOCAB, layers)), random_stream(60)
    network = Network(weights, TABLE)
    sequence = Sequence(network)
    for step, token in enumerate(ids):
        sequence.read([token])
        if step % 7 == 0 or step > 50:
            assert_close(sequence, expected(weights, TABLE, ids, step))


def test_a_prompt_gives_the_bits_of_single_steps() -> None:
    network, ids = Network(with_context(random_weights(52, VOCAB, 2)), TABLE), random_stream(200)
    whole, single = read(network, ids), Sequence(network)
    for token in ids:
        single.read([token])
    for name in ("hidden", "cell", "logits"):
        assert np.array_equal(getattr(whole, name), getattr(single, name))


@pytest.mark.parametrize("size", [1, 31, 32, 33, 1_024])
def test_integer_products_are_exact(size) -> None:
    # Outputs and weights are integers in the range of their types, so the logits are the sums.
    rng = np.random.default_rng(size)
    head = rng.integers(-31, 32, (10, size)).astype(np.float32)
    outputs = rng.integers(-127, 128, (10, size)).astype(np.float32)
    head[:, 0], outputs[:, 0] = 31, -127
    head[0], head[1] = 31, -31
    outputs[0], outputs[1] = 127, -127
    zeros = np.zeros((4 * size, size), np.float32)
    weights = random_weights(
        size,
        10,
        **{"of_input": [zeros], "of_hidden": [zeros], "norms": [], "embeddings": outputs},
        **{"head": head, "head_bias": np.zeros(10, np.float32)},
        biases=[np.zeros(4 * size, np.float32)],
    )
    network = Network(weights, plain_table(10))
    sums = outputs.astype(np.int64) @ head.astype(np.int64).T
    for token in range(10):
        assert np.array_equal(read(network, [token]).logits.astype(np.int64), sums[token])
    assert abs(sums).max() == 127 * 31 * size


@pytest.mark.parametrize("scale", [1e-30, 1e-36, 1e30], ids=str)
def test_logits_scale_with_the_weights(scale) -> None:
    weights = random_weights(24, 6, head_bias=np.zeros(6, np.float32))
    scaled = replace(weights, head=weights.head * np.float32(scale))
    plain, found = (read(Network(each, plain_table(6)), [0]).logits for each in (weights, scaled))
    np.testing.assert_allclose(found / scale, plain, rtol=1e-4)


def test_numbers_without_a_float32_scale_count_as_zero() -> None:
    # Weight decay leaves such numbers in embeddings of unused tokens.
    weights = random_weights(24, 6, norms=[], residual=False)
    weights.embeddings[1] = 0
    weights.embeddings[2] = 1e-40
    weights.head[2], weights.head_bias[2] = 1e-42, 0
    weights.head[3] = 0
    network = Network(weights, plain_table(6))
    zero, tiny = (read(network, [token]).logits for token in (1, 2))
    np.testing.assert_allclose(tiny, zero, atol=1e-5)
    assert abs(zero[2]) < 1e-30
    assert zero[3] == weights.head_bias[3]


def test_gates_saturate() -> None:
    size = 24
    for bias, hidden in [((500, -500, 500, 500), np.tanh(1)), ((-500, 500, 9, -500), 0)]:
        weights = random_weights(size, 3, residual=False, norms=[])
        weights.biases[0][:] = np.repeat(np.array(bias, np.float32), size)
        sequence = read(Network(weights, plain_table(3)), [0])
        np.testing.assert_allclose(sequence.hidden, hidden, atol=1e-6)
        np.testing.assert_allclose(sequence.cell, 1 if bias[0] > 0 else 0, atol=1e-6)


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
    with pytest.raises(ValueError, match="6 tokens and the table 7"):
        Network(random_weights(24, 6), plain_table(7))


def test_context_weights_out_of_range_are_refused() -> None:
    for changes, fact in (
        ({"pitch_tokens": np.full(128, VOCAB)}, f"pitch_tokens must be from 0 to {VOCAB - 1}"),
        ({"pitch_tokens": np.full(99, 1)}, "pitch_values"),
        ({"pitch_values": np.full(128, 128)}, "pitch_values must be from 0 to 127"),
        ({"position_tokens": np.full(192, -1)}, "position_tokens"),
        ({"position_values": np.full(192, 576)}, "position_values must be from 0 to 575"),
        ({"duration_values": np.full(60, 8_192)}, "duration_values must be from 0 to 8191"),
        ({"following": zeros(130, 24)}, "following"),
        ({"age": zeros(10, 23)}, "age"),
        ({"head": zeros(841, 24)}, "head"),
        ({"gates": zeros(5, 42)}, "gates"),
        ({"candidate_inputs": zeros(24, 5 * 24)}, "candidate_inputs"),
    ):
        with pytest.raises(ValueError, match=fact):
            with_context(random_weights(24, VOCAB), **changes)


def test_features_beyond_the_tables_are_ignored() -> None:
    short = {"program": zeros(2, 24), "following": zeros(2, 24), "track": zeros(0, 24)}
    weights = with_context(random_weights(24, VOCAB), age=zeros(0, 24), **short)
    assert np.isfinite(read(Network(weights, TABLE), random_stream(50)).logits).all()


def test_portable_code_gives_the_same_bits(tmp_path) -> None:
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))))
    folder, portable = Path(native.__file__).parent, tmp_path / "portable.so"
    sources = [str(path) for path in folder.glob("*.c")]
    flags = ["-O1", "-shared", "-fPIC", "-ffp-contract=off", "-o", str(portable)]
    subprocess.run([compiler, *sources, *flags], check=True)
    weights, found = with_context(random_weights(52, VOCAB, 2)), []
    for library in (None, NativeLibrary(native.ctypes.CDLL(str(portable)))):
        network = Network(weights, TABLE, library=library)
        assert network.library.call("self_check") == 0
        found.append(read(network, random_stream(100)))
    for name in ("hidden", "cell", "logits"):
        assert np.array_equal(*(getattr(each, name) for each in found))


@pytest.mark.parametrize("token", [-1, VOCAB, 2**31 - 1])
def test_tokens_outside_the_vocabulary_are_refused(token) -> None:
    sequence = read(Network(with_context(random_weights(8, VOCAB)), TABLE), [1])
    before = sequence.logits.copy()
    with pytest.raises(IndexError):
        sequence.read([1, token])
    assert np.array_equal(sequence.logits, before)


@pytest.mark.parametrize(("header", "fewest"), [("core.h", 6), ("features_state.h", 4)])
def test_constants_of_the_headers_are_those_of_python(header, fewest) -> None:
    text = Path(native.__file__).with_name(header).read_text()
    found: dict[str, int] = {}
    for name, value in re.findall(r"^    ([A-Z_]+) = ([^,]+),", text, re.MULTILINE):
        found[name] = eval(value, {}, found)  # sums and products of earlier ones
    known = {
        **vars(step_features),
        **vars(weights_module),
        "MAX_ROWS": MAX_ROWS,
        "CLASSES": step_features.PITCH_CLASSES,
        "FARTHEST_END": step_features.Context.FARTHEST_END,
        "CANDIDATES": len(step_features.CANDIDATES),
    }
    shared = {name: known[name] for name in found if name in known}
    assert {name: found[name] for name in shared} == shared
    assert len(shared) >= fewest
