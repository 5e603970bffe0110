"""The compiled step: the arithmetic that kernel.c promises, and every way in which it cannot be."""

from __future__ import annotations

import gc
import logging
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from musiclstm import Composer, Constraints, Sampling, kernel
from musiclstm.decoding import PackedLSTM

# Read through a path, so that a child needs neither torch nor musiclstm and starts at once.
LOAD = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("kernel", sys.argv[1])
kernel = sys.modules["kernel"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kernel)
print("none" if kernel.load() is None else "loaded")
"""
WRONG = "int self_check(void) { return 1; }"
CRASHING = "int self_check(void) { __builtin_trap(); }"


@pytest.fixture(scope="module")
def library():
    """The library of this machine."""
    found = kernel.load()
    if found is None:
        pytest.skip("this machine has no compiled step")
    return found


# The arithmetic -----------------------------------------------------------------------------------


@dataclass
class Reference:
    """The step said again in numpy: int64 sums, float64 for everything between them."""

    weights: kernel.Weights

    def read(self, ids: list[int], hidden: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """(rows, size); hidden and cell, (layers, rows, size), move on in place."""
        outputs = [self._row(token, hidden[:, i], cell[:, i]) for i, token in enumerate(ids)]
        return np.array(outputs)

    def _row(self, token: int, hidden: np.ndarray, cell: np.ndarray) -> np.ndarray:
        w = self.weights
        x = w.embeddings[token].astype(np.float64)
        for layer in range(len(w.of_input)):
            entering = self._normed(x, layer)
            gates = rounded_product(w.of_input[layer], entering)
            gates += rounded_product(w.of_memory[layer], hidden[layer]) + w.biases[layer]
            enter, forget, new, out = gates.reshape(4, -1)
            cell[layer] = sigmoid(forget) * cell[layer] + sigmoid(enter) * np.tanh(new)
            hidden[layer] = sigmoid(out) * np.tanh(cell[layer])
            x = (x if w.residual else 0) + hidden[layer]
        return self._normed(x, -1)

    def _normed(self, x: np.ndarray, place: int) -> np.ndarray:
        if not len(self.weights.norms):
            return x
        weight, bias = self.weights.norms[place]
        return (x - x.mean()) / np.sqrt(x.var() + self.weights.epsilon) * weight + bias

    def score(self, outputs: np.ndarray) -> np.ndarray:
        """(rows, vocab)."""
        return np.array([rounded_product(self.weights.head, x) for x in outputs])


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def rounded_rows(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every row to -127..127, the nearest even number where two are as near; (values, scales)."""
    scales = np.abs(matrix).max(axis=1).astype(np.float32) / np.float32(127)
    safe = np.where(scales > 0, scales, 1)
    values = np.rint(matrix.astype(np.float32) * (np.float32(1) / safe)[:, None])
    return values.astype(np.int64), scales.astype(np.float64)


def rounded_product(matrix: np.ndarray, x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float32)
    most = np.abs(x).max()
    units = np.float32(127) / most if most > 0 else np.float32(0)
    scaled = x * units
    values = np.trunc(scaled + np.where(scaled < 0, np.float32(-0.5), np.float32(0.5)))
    rows, scales = rounded_rows(matrix)
    return (rows @ values.astype(np.int64)) * scales * (float(most) / 127)


def invented(
    size: int, vocab: int, layers: int = 1, *, seed: int = 0, **changes: object
) -> kernel.Weights:
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) * 0.5).astype(np.float32)

    values = {
        "of_input": [draw(4 * size, size) for _ in range(layers)],
        "of_memory": [draw(4 * size, size) for _ in range(layers)],
        "biases": [draw(4 * size) for _ in range(layers)],
        "norms": [np.stack([1 + draw(size), draw(size)]) for _ in range(layers + 1)],
        "epsilon": 1e-5,
        "embeddings": draw(vocab, size),
        "head": draw(vocab, size),
        "residual": True,
    }
    return kernel.Weights(**(values | changes))


def states(layers: int, rows: int, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    hidden, cell = rng.normal(size=(2, layers, rows, size)).astype(np.float32)
    return np.tanh(hidden), cell


SIZES = [(1, 1), (4, 8), (7, 5), (24, 30), (31, 33), (32, 4), (33, 6), (40, 127), (100, 10)]


@pytest.mark.parametrize(("size", "vocab"), SIZES, ids=str)
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("norms", [True, False], ids=["norms", "plain"])
def test_one_step_is_that_of_the_reference(size, vocab, residual, norms, library) -> None:
    weights = invented(size, vocab, residual=residual, **({} if norms else {"norms": []}))
    network = kernel.CompiledNetwork(library, weights)
    hidden, cell = states(1, 3, size)
    expected_hidden, expected_cell = hidden.copy(), cell.copy()
    desk = network.desk(hidden, cell)
    desk.ids[:] = ids = [0, vocab // 2, vocab - 1]
    desk.read()
    outputs = Reference(weights).read(ids, expected_hidden, expected_cell)
    np.testing.assert_allclose(hidden, expected_hidden, atol=1e-5, rtol=0)
    np.testing.assert_allclose(cell, expected_cell, atol=1e-5, rtol=0)
    np.testing.assert_allclose(desk.outputs, outputs, atol=1e-5, rtol=1e-5)
    desk.score()
    scores = Reference(weights).score(desk.outputs)
    assert desk.scores.shape == (3, vocab)
    np.testing.assert_allclose(desk.scores, scores, atol=1e-5, rtol=1e-6)


def test_many_steps_through_a_stack_are_those_of_the_reference(library) -> None:
    weights = invented(45, 21, layers=3, seed=1)
    hidden, cell = states(3, 2, 45)
    reference, again = Reference(weights), (hidden.copy(), cell.copy())
    network = kernel.CompiledNetwork(library, weights)
    desk = network.desk(hidden, cell)
    for step in range(10):
        desk.ids[:] = ids = [step, 20 - step]
        desk.read()
        outputs = reference.read(ids, *again)
        np.testing.assert_allclose(desk.outputs, outputs, atol=2e-5, rtol=0)
        np.testing.assert_allclose(cell, again[1], atol=2e-5, rtol=0)


@pytest.mark.parametrize("size", [1, 31, 32, 33, 1_024])
def test_sums_are_exact_to_the_last_unit(size, library) -> None:
    # Values and weights are whole numbers up to 127, so the scores are the sums themselves.
    rng = np.random.default_rng(size)
    head = rng.integers(-127, 128, (10, size)).astype(np.float32)
    head[:, 0] = 127
    head[0], head[1] = 127, -127
    hidden, cell = states(1, 4, size)
    network = kernel.CompiledNetwork(library, invented(size, 10, head=head))
    desk = network.desk(hidden, cell)
    desk.outputs[:] = rng.integers(-127, 128, (4, size))
    desk.outputs[:, 0] = -127
    desk.outputs[0], desk.outputs[1] = 127, -127
    desk.score()
    expected = desk.outputs.astype(np.int64) @ head.astype(np.int64).T
    assert np.array_equal(desk.scores.astype(np.int64), expected)
    assert abs(expected).max() == 127 * 127 * size


def test_rows_of_zeros_score_nothing(library) -> None:
    weights = invented(24, 6)
    weights.head[3] = 0
    hidden, cell = np.zeros((2, 1, 1, 24), np.float32)
    network = kernel.CompiledNetwork(library, weights)
    desk = network.desk(hidden, cell)
    desk.outputs[:] = 1
    desk.score()
    assert desk.scores[0, 3] == 0
    desk.outputs[:] = 0
    desk.score()
    assert not desk.scores.any()


@pytest.mark.parametrize("scale", [1e-30, 1e-36, 1e30], ids=str)
def test_scores_grow_with_the_weights_however_small_or_large(scale, library) -> None:
    weights = invented(24, 6)
    hidden, cell = states(1, 1, 24)
    scores = []
    for head in (weights.head, weights.head * np.float32(scale)):
        network = kernel.CompiledNetwork(library, invented(24, 6, head=head))
        desk = network.desk(hidden.copy(), cell.copy())
        desk.read()
        desk.score()
        scores.append(desk.scores.copy())
    np.testing.assert_allclose(scores[1] / scale, scores[0], rtol=1e-4)


def test_numbers_too_small_for_a_scale_are_taken_for_nothing(library) -> None:
    # An embedding that was never trained may have decayed to what float32 can hardly say.
    weights = invented(24, 6, norms=[], residual=False)
    weights.embeddings[1] = 0
    weights.embeddings[2] = 1e-40
    weights.head[2] = 1e-42
    network, found = kernel.CompiledNetwork(library, weights), []
    for token in (1, 2):
        hidden, cell = states(1, 1, 24)
        desk = network.desk(hidden, cell)
        desk.ids[:] = token
        desk.read()
        desk.score()
        found.append((desk.outputs.copy(), desk.scores.copy()))
    np.testing.assert_allclose(found[1][0], found[0][0], atol=1e-6)
    np.testing.assert_allclose(found[1][1], found[0][1], atol=1e-5)
    assert abs(found[0][1][0, 2]) < 1e-30


def test_gates_far_open_and_far_closed_are_so(library) -> None:
    size = 24
    for bias, expected in [((500, -500, 500, 500), np.tanh(1)), ((-500, 500, 9, -500), 0)]:
        weights = invented(size, 3, residual=False, norms=[])
        weights.biases[0][:] = np.repeat(np.array(bias, np.float32), size)
        hidden, cell = states(1, 1, size)
        before, network = cell.copy(), kernel.CompiledNetwork(library, weights)
        desk = network.desk(hidden, cell)
        desk.read()
        np.testing.assert_allclose(hidden, expected, atol=1e-6)
        np.testing.assert_allclose(cell, 1 if bias[0] > 0 else before, atol=1e-6)


def test_only_what_a_step_reads_counts_as_weights(library) -> None:
    network = kernel.CompiledNetwork(library, invented(64, 6, layers=2))
    assert network.weight_bytes == 2 * 4 * 64 * 2 * 64 + 8 * 64  # of 8 tokens, two not there


def test_a_desk_outlives_the_network_that_made_it(library) -> None:
    found = []
    for held in (True, False):
        network = kernel.CompiledNetwork(library, invented(64, 32))
        hidden, cell = states(1, 1, 64)
        desk = network.desk(hidden, cell)
        if not held:
            del network  # and its weights, where nobody holds them; then others take their place
            gc.collect()
            others = [np.full(size, 77, np.int8) for size in 2 * (64 * 2 * 2 * 128, 2_048, 8_192)]
        desk.read()
        desk.score()
        found.append(desk.scores.copy())
    assert len(others) == 6
    assert np.array_equal(*found)


# The draw -----------------------------------------------------------------------------------------


CHANCES = np.linspace(0, 1, 101)[:-1]


def shares_of(scores: np.ndarray, rate: float) -> np.ndarray:
    powers = np.exp((scores.astype(np.float64) - scores.max()) * rate)
    return powers / powers.sum()


@pytest.mark.parametrize("size", [1, 7, 8, 63, 64, 65, 200, 2_048])
def test_a_draw_is_in_proportion_to_the_shares(size, library) -> None:
    rng = np.random.default_rng(size)
    scores = rng.normal(size=size).astype(np.float32) * 3
    scores[rng.random(size) < 0.3] = -np.inf
    scores[size // 2] = 1
    shares = shares_of(scores, 1 / 0.9)
    ends = shares.cumsum()
    for chance in [0.0, *rng.random(200), np.nextafter(1, 0)]:
        place = library.draw(scores.copy(), 1 / 0.9, 1.0, 0.0, chance)
        assert shares[place] > 0
        assert ends[place] - shares[place] - 1e-5 <= chance <= ends[place] + 1e-5


def test_a_draw_leaves_the_shares_where_the_scores_were(library) -> None:
    scores = np.array([1, 3, -np.inf, 2.5, -60], np.float32)
    expected = shares_of(scores, 2)
    library.draw(scores, 2.0, 1.0, 0.0, 0.5)
    np.testing.assert_allclose(scores / scores.sum(), expected, atol=1e-6)
    assert scores[2] == scores[4] == 0


def test_a_draw_tells_when_its_place_is_not_among_the_likeliest(library) -> None:
    scores = np.log(np.array([0.1, 0.5, 0.15, 0.25], np.float32))
    for chance, top_p, expected in [
        (0.05, 1.0, 0),
        (0.05, 0.8, kernel.OUTSIDE),
        (0.05, 0.95, 0),
        (0.3, 0.1, 1),
        (0.65, 0.7, kernel.OUTSIDE),
        (0.65, 0.8, 2),
        (0.9, 0.4, kernel.OUTSIDE),
    ]:
        assert library.draw(scores.copy(), 1.0, top_p, 0.0, chance) == expected


@pytest.mark.parametrize(("min_p", "left"), [(0.0, 4), (0.19, 4), (0.21, 3), (0.6, 1), (1.0, 1)])
def test_a_draw_leaves_out_what_is_unlikely_beside_the_likeliest(min_p, left, library) -> None:
    scores = np.log(np.array([0.1, 0.5, 0.15, 0.25], np.float32))
    expected = np.where(np.exp(scores) >= min_p * 0.5 - 1e-7, np.exp(scores), 0)
    found = scores.copy()
    library.draw(found, 1.0, 1.0, min_p, 0.5)
    assert np.count_nonzero(found) == left
    np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), atol=1e-6)
    places = {library.draw(scores.copy(), 1.0, 1.0, min_p, chance) for chance in CHANCES}
    assert places == set(np.flatnonzero(expected))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [1, 5, 8, 64, 100])
def test_a_draw_from_no_numbers_is_none_and_leaves_them(size, wrong, library) -> None:
    for scores in (np.full(size, wrong, np.float32), np.zeros(size, np.float32)):
        scores[-1] = wrong
        if np.isneginf(scores).all() or not np.isneginf(wrong):
            before = scores.copy()
            assert library.draw(scores, 1.0, 0.9, 0.0, 0.5) == kernel.NO_TOKEN
            assert np.array_equal(scores, before, equal_nan=True)


# Building -----------------------------------------------------------------------------------------


@pytest.fixture
def cache(monkeypatch, tmp_path) -> Path:
    """An empty cache of its own, and a `load` that has not been called yet."""
    if sys.platform == "win32":
        pytest.skip("the step is not built on Windows")
    monkeypatch.setenv(kernel.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(kernel.SWITCH, raising=False)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(kernel.tempfile, "tempdir", str(tmp_path))
    forget = (kernel.load.cache_clear, kernel._folder_of_this_process.cache_clear)
    for each in forget:
        each()
    yield tmp_path / "cache" / "kernels"
    for each in forget:
        each()


@pytest.fixture
def compiler() -> str:
    found = next(filter(None, map(shutil.which, kernel._COMPILERS)), None)
    if found is None or kernel.load() is None:
        pytest.skip("this machine has no compiled step")
    return found


@pytest.fixture
def script(monkeypatch, tmp_path) -> Callable[[str], Path]:
    """Puts a compiler of one's own into the place of all others."""

    def write(body: str) -> Path:
        folder = tmp_path / "compilers"
        folder.mkdir(exist_ok=True)
        path = folder / "cc"
        path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        path.chmod(0o755)
        monkeypatch.setenv("CC", str(path))
        return path

    return write


def other_source(compiler: str, folder: Path, source: str) -> str:
    """What a compiler does that compiles another source instead."""
    file = folder / "other.c"
    file.write_text(source, encoding="utf-8")
    out = 'for last; do :; done; exec {} -shared -fPIC {} -o "$last"'
    return out.format(shlex.quote(compiler), shlex.quote(str(file)))


def load_in_another_process(*, wait: bool = True, **environment: str) -> subprocess.Popen:
    child = subprocess.Popen(
        [sys.executable, "-c", LOAD, kernel.__file__],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | environment,
        text=True,
    )
    if wait:
        child.wait()
    return child


def libraries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.so"))


def test_the_library_is_built_once_and_nothing_else_is_left(
    compiler, cache, script, tmp_path
) -> None:
    log = tmp_path / "log"
    script(f'echo built >> {log}; exec {compiler} "$@" -O0')
    assert kernel.load() is not None
    assert kernel.load() is kernel.load()
    assert len(log.read_text().split()) == 1
    assert [path.name for path in cache.iterdir()] == [path.name for path in libraries(cache)]
    kernel.load.cache_clear()
    assert kernel.load() is not None
    with load_in_another_process() as child:
        assert child.stdout.read() == "loaded\n"
    assert len(log.read_text().split()) == 1
    assert len(libraries(cache)) == 1


def test_two_processes_may_build_at_once(compiler, cache, script, tmp_path) -> None:
    log = tmp_path / "log"
    # Each waits for the other, so that both build.
    wait = f"echo built >> {log}; while [ $(wc -l < {log}) -lt 2 ]; do sleep 0.01; done"
    script(f'{wait}; exec {compiler} "$@" -O0')
    children = [load_in_another_process(wait=False) for _ in range(2)]
    assert [child.communicate()[0] for child in children] == ["loaded\n", "loaded\n"]
    assert len(log.read_text().split()) == 2
    assert len(libraries(cache)) == 1
    assert len(list(cache.iterdir())) == 1


def test_another_source_compiler_or_processor_is_another_library(
    cache, monkeypatch, tmp_path
) -> None:
    names = {kernel._identity("/bin/cc"), kernel._identity("/bin/gcc")}
    monkeypatch.setattr(kernel, "_processor", lambda: "flags: none")
    names.add(kernel._identity("/bin/cc"))
    source = tmp_path / "kernel.c"
    source.write_text("int self_check(void) { return 0; }", encoding="utf-8")
    monkeypatch.setattr(kernel, "_SOURCE", source)
    names.add(kernel._identity("/bin/cc"))
    assert len(names) == 4


def test_a_compiler_that_knows_only_the_other_flag_will_do(
    compiler, cache, script, tmp_path
) -> None:
    log = tmp_path / "log"
    refuse = 'case "$*" in *-march=native*) exit 1;; esac'
    script(f'{refuse}; echo "$@" >> {log}; exec {compiler} "$@" -O0 -march=native')
    kernel.load()  # whether it can be loaded is up to the real compiler
    assert "-mcpu=native" in log.read_text().split()


# What cannot be built, and what composes all the same ---------------------------------------------


def composes(tiny_model, tiny_tokenizer) -> bool:
    """Whether a composer made now takes its steps by torch, and gives the bars asked for."""
    composer = Composer(tiny_model, tiny_tokenizer)
    piece = composer.compose(
        bars=2, sampling=Sampling(seed=3), constraints=Constraints(programs={0}, meter=(2, 4))
    )
    return composer._network.engine == "torch" and piece.bars == 2


@pytest.fixture
def no_library(cache, tiny_model, tiny_tokenizer, caplog) -> Callable[[str], None]:
    """Asserts that nothing was loaded, that the log says why, and that music comes all the same."""

    def check(reason: str) -> None:
        with caplog.at_level(logging.INFO, logger="musiclstm.kernel"):
            assert kernel.load() is None
        assert reason in caplog.text
        assert caplog.text.count("torch takes the steps") == bool(reason)
        assert not libraries(cache)
        assert composes(tiny_model, tiny_tokenizer)

    return check


def test_the_switch_turns_it_off(no_library, cache, monkeypatch) -> None:
    monkeypatch.setenv(kernel.SWITCH, "off")
    no_library("")
    assert not cache.exists()


def test_windows_is_not_asked_for_a_compiler(cache, monkeypatch) -> None:
    monkeypatch.setattr(kernel.sys, "platform", "win32")
    assert kernel.load() is None
    assert not cache.exists()


def test_no_compiler_is_no_compiled_step(no_library, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    no_library("there is no C compiler")


def test_a_compiler_that_fails_is_none(no_library, script) -> None:
    script("echo 'no such processor' >&2; exit 1")
    no_library("returned non-zero exit status 1")


def test_a_compiler_that_says_all_is_well_and_writes_nothing_is_none(no_library, script) -> None:
    script("exit 0")
    no_library("returned non-zero exit status")


def test_a_compiler_that_never_ends_is_left(no_library, script, monkeypatch) -> None:
    script("exec sleep 600")
    monkeypatch.setattr(kernel, "_PATIENCE_S", 0.2)
    no_library("timed out")


def test_a_compiler_that_is_no_program_is_none(no_library, script) -> None:
    script("").write_bytes(b"\x7fELF, but no more of it")
    no_library("torch takes the steps")


@pytest.mark.parametrize("source", [WRONG, CRASHING], ids=["wrong", "crashing"])
def test_a_library_that_fails_its_check_is_not_kept(
    source, compiler, no_library, script, tmp_path
) -> None:
    script(other_source(compiler, tmp_path, source))
    no_library("died with" if source == CRASHING else "returned non-zero exit status 1")


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720], ids=oct)
def test_a_cache_that_others_may_write_to_is_not_used(mode, compiler, cache) -> None:
    cache.mkdir(parents=True)
    cache.chmod(mode)
    folder = kernel._private_folder()
    assert folder not in (cache, *cache.parents)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert kernel._private_folder() == folder  # one for the process, not one for every question
    folder.rmdir()


def test_a_cache_that_is_a_file_is_not_used(compiler, cache, script) -> None:
    script(f'exec {compiler} "$@" -O0')
    cache.parent.write_text("not a folder", encoding="utf-8")
    folder = kernel._private_folder()
    assert kernel.load() is not None
    assert [path.parent for path in libraries(folder)] == [folder]
    shutil.rmtree(folder)


def test_a_cache_that_cannot_be_written_is_not_used(cache, monkeypatch) -> None:
    cache.mkdir(parents=True, mode=0o500)
    real = os.access  # an administrator may write everywhere, so the answer is given here
    monkeypatch.setattr(kernel.os, "access", lambda path, mode: path != cache and real(path, mode))
    folder = kernel._private_folder()
    assert folder != cache
    folder.rmdir()


def test_no_place_to_write_at_all_is_no_compiled_step(no_library, cache, monkeypatch) -> None:
    cache.parent.write_text("not a folder", encoding="utf-8")
    monkeypatch.setattr(kernel.tempfile, "tempdir", str(cache / "nowhere"))
    no_library("torch takes the steps")


def test_a_user_without_a_home_has_a_composer_all_the_same(
    cache, script, monkeypatch, tiny_model, tiny_tokenizer
) -> None:
    # As in a container that runs under a number nobody has given a name.
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv(kernel.CACHE_VARIABLE)
    monkeypatch.setattr(kernel.Path, "home", nobody)
    script("exit 1")
    Composer(tiny_model, tiny_tokenizer).compose(bars=1, sampling=Sampling(seed=1))


def test_a_cache_that_is_named_needs_no_home(cache, monkeypatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(kernel.Path, "home", nobody)
    assert kernel._private_folder() == cache


# A library that came to harm in the cache ---------------------------------------------------------


@pytest.mark.parametrize("left", [0, 8_192], ids="{} bytes left".format)
def test_a_library_cut_short_in_the_cache_is_built_anew(left, compiler, cache, script) -> None:
    script(f'exec {compiler} "$@" -O0')
    with load_in_another_process() as child:
        assert child.stdout.read() == "loaded\n"
    (broken,) = libraries(cache)
    whole = broken.read_bytes()
    broken.write_bytes(whole[:left])
    with load_in_another_process() as child:  # it may end by a signal
        assert (child.returncode, child.stdout.read()) == (0, "loaded\n")


# No int8 at all -----------------------------------------------------------------------------------


def test_without_any_product_of_int8_steps_are_taken_in_float32(
    tiny_model, tiny_tokenizer, cache, monkeypatch
) -> None:
    monkeypatch.setenv(kernel.SWITCH, "off")
    monkeypatch.setattr("torch.quantize_per_channel", _no_engine)
    network = PackedLSTM(tiny_model)
    assert (network.precision, network.engine) == ("float32", "torch")
    assert composes(tiny_model, tiny_tokenizer)
    with pytest.raises(ValueError, match="have no fast product of int8; leave precision out"):
        PackedLSTM(tiny_model, precision="int8")


def _no_engine(*_: object) -> None:
    raise RuntimeError("Didn't find engine for operation quantized::linear_prepack NoQEngine")


def test_what_is_asked_for_and_cannot_be_is_refused(tiny_model, cache, monkeypatch) -> None:
    monkeypatch.setenv(kernel.SWITCH, "off")
    with pytest.raises(ValueError, match="compiled=True needs int8, a C compiler and"):
        PackedLSTM(tiny_model, compiled=True)
    with pytest.raises(ValueError, match="compiled=True needs int8"):
        PackedLSTM(tiny_model, compiled=True, precision="float32")
    with pytest.raises(ValueError, match="precision must be 'int8', 'float32' or None, got 'int4'"):
        PackedLSTM(tiny_model, precision="int4")


# The same on every machine ------------------------------------------------------------------------


def test_fifty_steps_are_the_same_bit_for_bit_on_every_processor(compiler, tmp_path) -> None:
    # The number was found on x86-64 and, under QEMU, on arm64 with its dot product.
    program, source = tmp_path / "steps", Path(__file__).parent / "data" / "same_everywhere.c"
    flags = [flag for flag in kernel._FLAGS if flag not in ("-shared", "-fPIC")]
    include = f"-I{kernel._SOURCE.parent}"
    for processor in kernel._PROCESSOR_FLAGS:
        command = [compiler, *flags, processor, include, str(source), "-o", str(program)]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            break
    answer = subprocess.run([program], capture_output=True, text=True, check=True)
    assert answer.stdout == "d237ead6\n"
