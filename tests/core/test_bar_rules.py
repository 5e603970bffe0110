"""Rules of a bar in C against `bar_rules`."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from musiclstm.core.grammar import BAR_RULES
from musiclstm.core.library import check, is_available, load_library
from musiclstm.core.token_table import compiled_table
from musiclstm.generation.constraints import BarShape, Constraints, Scale
from musiclstm.generation.decoding.bar_rules import bar_rules
from musiclstm.tokens.vocabulary import TABLE, TIME_SIGNATURE_0, TIME_SIGNATURES

pytestmark = pytest.mark.skipif(not is_available(), reason="this machine cannot run the core")


def filled(
    programs: frozenset[int] | None, meter: int = -1, classes: frozenset[int] | None = None
) -> np.ndarray:
    library = load_library()
    rules = library.zeros((), BAR_RULES)
    flags = None if programs is None else library.zeros(129, np.uint8)
    if flags is not None:
        flags[list(programs or ())] = 1
    table = compiled_table(library, TABLE).address
    bits = sum(1 << each for each in classes or ())
    pointers = library.address(rules), table, library.address(flags)
    check(library.call("bar_rules_fill", *pointers, meter, bits))
    return rules


@given(
    programs=st.none() | st.frozensets(st.integers(-1, 127), min_size=1),
    meter=st.none() | st.sampled_from(range(len(TIME_SIGNATURES))),
    key=st.sampled_from([None, "C major", "F# dorian", "B minor pentatonic"]),
    chord=st.none() | st.just(frozenset({0, 4, 7})),
)
def test_rules_are_those_of_the_constraints(programs, meter, key, chord) -> None:
    classes = None if key is None else Scale.named(key).pitch_classes
    if chord is not None:
        classes = chord if classes is None else classes & chord
        if not classes:
            return
    meters = None if meter is None else TIME_SIGNATURES[meter]
    constraints = Constraints(programs=programs, meter=meters, key=key, tempo_changes=False)
    expected = bar_rules(constraints, None if programs == {-1} else BarShape(chord=chord)).copy()
    expected["needs_pitched"] = 0  # set by the caller
    token = -1 if meter is None else TIME_SIGNATURE_0 + meter
    assert filled(programs, token, classes) == expected


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="Bars"):
        filled(None, TIME_SIGNATURE_0 - 1)
    with pytest.raises(ValueError, match="rules"):
        filled(None, -1, frozenset({12}))
