"""Copies of a reader of step features read on by themselves."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from musiclstm.model.step_features import FeatureArrays, StepFeatures, TokenTable
from tests.model.tiny_models import NAMES, stream, tokens

TABLE = TokenTable(NAMES)


def assert_equal(found: FeatureArrays, expected: FeatureArrays) -> None:
    for field in fields(FeatureArrays):
        np.testing.assert_array_equal(
            getattr(found, field.name), getattr(expected, field.name), err_msg=field.name
        )


def read_from_the_start(ids: list[int], count: int) -> FeatureArrays:
    """Features of the last `count` tokens."""
    reader = StepFeatures(TABLE)
    reader.read(ids[:-count])
    return reader.read(ids[-count:])


PIECES = {
    "music": [stream(seed=seed, bars=12) for seed in (1, 2, 3)],
    "random tokens": [tokens(1, 600, seed=seed)[0].tolist() for seed in (1, 2, 3)],
}


@pytest.mark.parametrize("kind", PIECES)
@pytest.mark.parametrize("cut", [0, 1, 37, 150])
def test_a_copy_and_its_original_read_on_by_themselves(kind, cut) -> None:
    past, one, other = PIECES[kind]
    reader = StepFeatures(TABLE)
    reader.read(past[:cut])
    branch = reader.copy()
    # By turns, so that anything shared and written into would show.
    found: dict[str, list[FeatureArrays]] = {"reader": [], "branch": []}
    for start in range(0, 300, 10):
        found["reader"].append(reader.read(one[start : start + 10]))
        found["branch"].append(branch.read(other[start : start + 10]))
    for parts, ids in ((found["reader"], one[:300]), (found["branch"], other[:300])):
        whole = FeatureArrays(
            **{
                field.name: np.concatenate([getattr(part, field.name) for part in parts])
                for field in fields(FeatureArrays)
            }
        )
        assert_equal(whole, read_from_the_start([*past[:cut], *ids], len(ids)))


def test_a_copy_shares_no_container_that_is_written_into() -> None:
    reader = StepFeatures(TABLE)
    reader.read(PIECES["music"][0])
    mutable = dict, list, StepFeatures
    seen: set[int] = set()

    def containers(value: object) -> set[int]:
        if id(value) in seen or isinstance(value, TokenTable) or value is TABLE.kind:
            return set()
        seen.add(id(value))
        found = {id(value)} if isinstance(value, mutable) else set()
        inner: list[object] = []
        if isinstance(value, dict):
            inner = [*value.values()]
        elif isinstance(value, list | tuple):
            inner = [*value]
        elif type(value).__module__.endswith("step_features") and hasattr(value, "__dict__"):
            inner = [*vars(value).values()]
        return found.union(*map(containers, inner))

    branch = reader.copy()  # kept, so that no id is used twice
    one, other = containers(reader), containers(branch)
    assert len(one) > 30
    assert len(one) == len(other)
    assert not one & other


def rhythm_of(names: list[str]) -> tuple[tuple[str, int] | None, dict, dict, dict, dict]:
    """The part that plays; onsets, durations, notes of onsets and onsets of bars, by part."""
    onsets, durations, notes, bars = {}, {}, {}, {}
    blocks: dict[str, int] = {}
    part = None
    for name in names:
        kind, _, value = name.partition("_")
        if kind == "Bar":
            blocks, part = {}, None
        elif kind == "Program":
            blocks[value] = blocks.get(value, 0) + 1
            part = value, blocks[value]
            for each in (onsets, durations, notes, bars):
                each.setdefault(part, [])
            bars[part].append(0)
        elif kind == "Position" and part:
            onsets[part].append(int(value))
            notes[part].append(0)
            bars[part][-1] += 1
        elif kind == "Duration":
            beats, steps, _ = value.split(".")
            durations[part].append(12 * int(beats) + int(steps))
            notes[part][-1] += 1
    return part, onsets, durations, notes, bars


def decayed_shares(values: list[int]) -> np.ndarray:
    decay = 0.5 ** (1 / 24)
    shares = np.zeros(192)
    for age, value in enumerate(reversed(values)):
        shares[min(value, 191)] += (1 - decay) * decay**age
    return shares


def counts_of(sizes: list[int], now: int) -> tuple[float, float]:
    """Cases larger than `now` and equal to it, decayed; `sizes` without the present case."""
    larger = equal = 0.0
    for size in sizes:
        if size >= now:
            larger, equal = larger * 15 / 16, equal * 15 / 16
            larger, equal = larger + (size > now), equal + (size == now)
    return larger, equal


@pytest.mark.parametrize("seed", [1, 2])
def test_rhythm_features_are_decayed_histograms_and_counts_of_the_part(seed) -> None:
    ids = stream(seed=seed, bars=10)
    found = StepFeatures(TABLE).read(ids)
    larger_seen = 0
    for step in range(0, len(ids), 3):
        names = [NAMES[token] for token in ids[: step + 1]]
        part, onsets, durations, notes, bars = rhythm_of(names)
        if part is None:
            assert not found.onsets[step].any()
            assert not found.durations[step].any()
            assert not found.sizes[step].any()
            continue
        np.testing.assert_allclose(found.onsets[step], decayed_shares(onsets[part]), atol=1e-6)
        np.testing.assert_allclose(
            found.durations[step], decayed_shares(durations[part]), atol=1e-6
        )
        *earlier, now = bars[part]
        expected = counts_of(earlier, now)
        np.testing.assert_allclose(found.sizes[step, 2:] / 256, expected, atol=0.1)
        if NAMES[ids[step]].startswith("Duration"):
            *earlier, now = notes[part]
            expected = counts_of(earlier, now)
            np.testing.assert_allclose(found.sizes[step, :2] / 256, expected, atol=0.1)
            larger_seen += expected[0] > 1
    assert larger_seen > 5


@pytest.mark.parametrize(
    ("token", "follows"),
    [
        *(("Pitch_60", 4), ("Duration_1.0.12", 3), ("Position_12", 1)),
        *(("Program_40", 2), ("Bar_None", 0)),
    ],
)
def test_what_may_follow_a_token(token, follows) -> None:
    before = ["Bar_None", "TimeSig_4/4", "Program_0", "Position_0", "Pitch_50"]
    before += ["Duration_1.0.12"] * (token != "Duration_1.0.12")
    ids = [NAMES.index(name) for name in (*before, token)]
    assert StepFeatures(TABLE).read(ids).follows[-1] == follows
