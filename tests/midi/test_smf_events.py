"""Variable-length quantities and rewritten tracks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musiclstm.midi.smf_events import (
    MAX_TICK,
    decode_variable_int,
    encode_variable_int,
    rewrite_track,
)


@pytest.mark.parametrize(
    ("value", "data"), [(0, "00"), (127, "7f"), (128, "8100"), (MAX_TICK, "ffffff7f")]
)
def test_quantities_are_those_of_the_midi_specification(value: int, data: str) -> None:
    assert encode_variable_int(value).hex() == data


@given(st.integers(0, MAX_TICK), st.binary(max_size=3), st.binary(max_size=3))
def test_a_written_quantity_is_read_again(value: int, before: bytes, after: bytes) -> None:
    data = before + encode_variable_int(value)
    assert decode_variable_int(data + after, len(before)) == (value, len(data))


def test_a_truncated_and_a_long_quantity_are_errors() -> None:
    with pytest.raises(IndexError):
        decode_variable_int(b"\x81\x80", 0)
    with pytest.raises(ValueError, match="four bytes"):
        decode_variable_int(b"\x80\x80\x80\x80\x00", 0)


@given(st.binary(max_size=60))
def test_a_rewritten_track_is_complete_and_stays_the_same_when_rewritten_again(
    body: bytes,
) -> None:
    once = rewrite_track(body)
    twice = rewrite_track(once.body)
    assert twice.complete
    assert twice.body == once.body
