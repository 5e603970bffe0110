"""A small file cannot cost much, and nobody opens it but intake."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as some

from musiclstm import MusicTokenizer, Sampling, ScoreError
from musiclstm.examples import example_files
from musiclstm.generation import pipeline
from musiclstm.midi import analysis, reader
from musiclstm.midi.reader import read_midi
from musiclstm.midi.sandbox import Helper
from page.session.prompt import PromptChoice
from tests.malformed_midi.cases import UPLOADS
from tests.malformed_midi.midi_builder import MUSIC, meter, midi, note, tempo, track

# -- Tokens --------------------------------------------------------------------------------------

EVENTS = some.one_of(
    some.builds(
        note,
        some.integers(0, 127),
        some.integers(0, 5_000),
        channel=some.integers(0, 15),
        wait=some.integers(0, 5_000),
    ),
    some.builds(meter, some.integers(0, 40), some.integers(0, 6), wait=some.integers(0, 5_000)),
    some.builds(tempo, some.integers(0, 0xFF_FFFF), wait=some.integers(0, 5_000)),
)
FILES = some.builds(
    lambda tracks, division: midi(*(track(note(), *each) for each in tracks), division=division),
    some.lists(some.lists(EVENTS, max_size=12), min_size=1, max_size=4),
    some.sampled_from((24, 96, 480, 32_767)),
)


@pytest.fixture(scope="module")
def tokenizer() -> MusicTokenizer:
    return MusicTokenizer()


def most_tokens(data: bytes) -> int:
    """No accepted file has more: eleven a note, two a bar or beat, two a change of tempo.

    A note alone in its part and bar takes four tokens, and up to seven empty blocks before it.
    """
    score, report = read_midi(data)
    beats = analysis.last_note_end(score) // score.ticks_per_quarter + 1
    return 11 * report.notes + 2 * (report.bars + beats) + 2 * len(score.tempos) + 8


@pytest.mark.parametrize("upload", [each for each in UPLOADS if each.verdict == MUSIC], ids=str)
def test_every_accepted_upload_has_few_tokens(upload: Any, tokenizer: MusicTokenizer) -> None:
    ids = tokenizer.encode(read_midi(upload.data)[0])
    assert 0 < len(ids) <= most_tokens(upload.data)


@given(FILES)
@settings(max_examples=60)
def test_every_accepted_file_has_few_tokens(tokenizer: MusicTokenizer, data: bytes) -> None:
    try:
        most = most_tokens(data)
    except ScoreError:
        reject()
    assert len(tokenizer.encode(read_midi(data)[0])) <= most


def test_of_a_prompt_that_is_too_full_the_network_reads_the_end(
    tiny_composer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = midi(track(*(note(40 + step * 7 % 40, 60) for step in range(400))))
    read = []
    for most in (8_192, 100):
        monkeypatch.setattr(pipeline, "CONTEXT_TOKENS", most)
        piece = tiny_composer.compose(prompt=full, bars=1, sampling=Sampling(seed=1))
        read.append(piece.prompt_ids)
    long, short = read
    assert 100 - 60 < len(short) - 1 <= 100 < len(long)  # in whole bars
    assert short[1:] == long[1 - len(short) :]


# -- Who opens the file --------------------------------------------------------------------------

TUNE = next(iter(example_files().values()))
linux = pytest.mark.skipif(sys.platform != "linux", reason="asks inotify of Linux")
_IN_OPEN, _NON_BLOCKING = 0x20, 0x800


@contextmanager
def counting_opens(path: Path) -> Iterator[Callable[[], int]]:
    """How often a file has been opened since, by whatever process, in whatever language."""
    system = ctypes.CDLL(None, use_errno=True)
    watch = system.inotify_init1(_NON_BLOCKING)
    assert system.inotify_add_watch(watch, os.fsencode(path), _IN_OPEN) >= 0
    found: list[bytes] = []

    def count() -> int:
        try:
            found.append(os.read(watch, 65_536))
        except BlockingIOError:
            found.append(b"")
        return sum(map(_events, found))

    try:
        yield count
    finally:
        os.close(watch)


def _events(data: bytes) -> int:
    size = struct.calcsize("iIII")  # the watch of a file gives no names
    return len(data) // size


def _from_a_page(path: Path, composer: Any) -> None:
    seed = PromptChoice.read(path)
    composer.compose(prompt=seed.prompt, bars=1, sampling=Sampling(seed=1)).to_midi()


WAYS: dict[str, Callable[[Path, Any], object]] = {
    "the library": lambda path, _: read_midi(path),
    "a composer": lambda path, composer: composer.compose(
        prompt=path, bars=1, sampling=Sampling(seed=1)
    ),
    "the page": _from_a_page,
}


@linux
@pytest.mark.parametrize("way", WAYS)
def test_a_file_is_opened_once_and_by_intake(
    way: str, tiny_composer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.mid"
    path.write_bytes(TUNE.read_bytes())
    with counting_opens(path) as opened:
        WAYS[way](path, tiny_composer)
        assert opened() == 1
        monkeypatch.setattr(reader, "_read_file", lambda *_, **__: TUNE.read_bytes())
        WAYS[way](path, tiny_composer)
        assert opened() == 1


@linux
def test_an_open_is_counted_also_where_another_process_does_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.mid"
    path.write_bytes(b"x")
    with Helper(processes=1) as helper, counting_opens(path) as opened:
        helper.run(Path.read_text, path)
        assert opened() == 1


def test_the_page_has_a_file_parsed_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "canonical_midi", lambda *_, **__: pytest.fail("parsed here"))
    assert PromptChoice.read(TUNE.read_bytes(), title="mine").report.notes > 0
