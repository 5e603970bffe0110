"""Every file gives a clean score or a clear error."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.malformed_midi.cases import KINDS, UPLOADS, Upload
from tests.malformed_midi.midi_builder import READ, REFUSED
from tests.malformed_midi.mutations import mutants
from tests.malformed_midi.run_case import message_faults, run_case


@pytest.mark.parametrize("upload", UPLOADS, ids=str)
def test_every_upload_gives_the_expected_result(upload: Upload) -> None:
    result = run_case(upload.data)
    assert result.faults == []
    assert result.kind == upload.expected, result.text


def test_the_uploads_are_many_and_different() -> None:
    assert len(UPLOADS) >= 150
    assert len({upload.data for upload in UPLOADS}) >= len(UPLOADS) - 2
    assert all(len(cases) >= 8 for cases in KINDS.values())


def test_mutants_are_reproducible() -> None:
    assert [*mutants(20, seed=3)] == [*mutants(20, seed=3)]


@pytest.mark.parametrize("seed", range(4))
def test_mutants_give_a_clean_score_or_a_clear_error(seed: int) -> None:
    kinds = Counter(_kind_of(data) for data in mutants(100, seed=seed))
    assert set(kinds) == {READ, REFUSED}
    assert min(kinds.values()) > 10  # neither all good nor all bad


@pytest.mark.slow
def test_two_thousand_mutants_give_a_clean_score_or_a_clear_error() -> None:
    kinds = Counter(_kind_of(data) for data in mutants(2_000, seed=99))
    assert set(kinds) == {READ, REFUSED}


def _kind_of(data: bytes) -> str:
    result = run_case(data)
    assert result.faults == [], data.hex()
    return result.kind


@pytest.mark.parametrize(
    "text",
    [
        "",
        "invalid literal for int()",
        "'upload.mid' is broken",
        "'upload.mid' is broken; try again",
        "'upload.mid' is broken;\ntry again.",
        "'upload.mid' is broken; try again.\n",
        "'upload.mid' is \x1b[31mbroken; try again.",
        f"'upload.mid' is {'very ' * 50}broken; try again.",
    ],
)
def test_an_unclear_message_is_a_fault(text: str) -> None:
    assert list(message_faults(text))
    assert not list(message_faults("'upload.mid' is broken; try another one."))
