"""Copies of a reader of step features read on by themselves."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from musiclstm.model.step_features import FeatureArrays, StepFeatures, TokenTable
from tests.model.toys import NAMES, stream, tokens

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
