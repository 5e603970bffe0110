"""Whatever is dropped becomes music or one clear sentence, and soon."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.malformed_midi.cases import KINDS, UPLOADS, Upload
from tests.malformed_midi.midi_builder import MUSIC, SENTENCE
from tests.malformed_midi.mutations import mutants
from tests.malformed_midi.run_case import judge, sentence_faults

MOST_CPU_S = 0.5


@pytest.mark.parametrize("upload", UPLOADS, ids=str)
def test_every_named_upload_becomes_what_is_written_beside_it(upload: Upload) -> None:
    found = judge(upload.data)
    assert found.wrong == []
    assert found.kind == upload.verdict, found.text


def test_there_are_many_named_uploads_and_each_is_another() -> None:
    assert len(UPLOADS) >= 150
    assert len({upload.data for upload in UPLOADS}) >= len(UPLOADS) - 2
    assert all(len(cases) >= 8 for cases in KINDS.values())


def test_the_corpus_is_built_the_same_every_time() -> None:
    assert [*mutants(20, seed=3)] == [*mutants(20, seed=3)]


@pytest.mark.parametrize("seed", range(4))
def test_mutants_become_music_or_one_clear_sentence(seed: int) -> None:
    kinds = Counter(_sound(data) for data in mutants(100, seed=seed))
    assert set(kinds) == {MUSIC, SENTENCE}
    assert min(kinds.values()) > 10  # neither all good nor all bad


@pytest.mark.slow
def test_two_thousand_mutants_become_music_or_one_clear_sentence() -> None:
    kinds = Counter(_sound(data) for data in mutants(2_000, seed=99))
    assert set(kinds) == {MUSIC, SENTENCE}


def _sound(data: bytes) -> str:
    found = judge(data)
    assert found.wrong == [], data.hex()
    return found.kind


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
def test_what_is_no_clear_sentence_is_noticed(text: str) -> None:
    assert list(sentence_faults(text))
    assert not list(sentence_faults("'upload.mid' is broken; try another one."))
