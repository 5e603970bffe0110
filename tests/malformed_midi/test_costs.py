"""A small file has few tokens, and only the reader opens it."""

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
from hypothesis import strategies as st

from musiclstm import MusicTokenizer, Sampling, ScoreError
from musiclstm.examples import example_files
from musiclstm.generation import pipeline
from musiclstm.midi import analysis, reader
from musiclstm.midi.reader import read_midi
from musiclstm.midi.sandbox import SandboxPool
from page.session.prompt import PromptChoice
from tests.malformed_midi.cases import UPLOADS, Upload
from tests.malformed_midi.midi_builder import READ, meter, midi, note, tempo, track

# -- Tokens --------------------------------------------------------------------------------------

EVENTS = st.one_of(
    st.builds(
        note,
        st.integers(0, 127),
        st.integers(0, 5_000),
        channel=st.integers(0, 15),
        delta=st.integers(0, 5_000),
    ),
    st.builds(meter, st.integers(0, 40), st.integers(0, 6), delta=st.integers(0, 5_000)),
    st.builds(tempo, st.integers(0, 0xFF_FFFF), delta=st.integers(0, 5_000)),
)
FILES = st.builds(
    lambda tracks, division: midi(*(track(note(), *each) for each in tracks), division=division),
    st.lists(st.lists(EVENTS, max_size=12), min_size=1, max_size=4),
    st.sampled_from((24, 96, 480, 32_767)),
)


@pytest.fixture(scope="module")
def tokenizer() -> MusicTokenizer:
    return MusicTokenizer()


def max_tokens(data: bytes) -> int:
    """Return the largest number of tokens: 11 per note, 2 per bar and per change of tempo.

    A single note of a part in a bar has four tokens, after up to seven empty blocks. A bar begins
    at every time signature, as in the file, but a meter without a token is read as bars of four
    beats, and rounding to the grid may leave a short bar before a time signature.
    """
    score, summary = read_midi(data)
    beats = analysis.last_note_end(score) // score.ticks_per_quarter + 1
    bars = summary.bars + beats // 4 + len(score.time_signatures)
    return 11 * summary.notes + 2 * bars + 2 * len(score.tempos) + 8


def test_a_meter_without_a_token_ends_the_one_before(tokenizer: MusicTokenizer) -> None:
    data = midi(track(meter(1, 3), note(60, 240), meter(4, 0), *[note(62, 1920)] * 90))
    ids = tokenizer.encode(read_midi(data)[0])
    assert ids.count(tokenizer.ids["Bar_None"]) == 1 + 90 + 1  # 1/8, 4/4, an empty one at the end
    assert len(ids) <= max_tokens(data)


@pytest.mark.parametrize("upload", [each for each in UPLOADS if each.expected == READ], ids=str)
def test_every_accepted_upload_has_few_tokens(upload: Upload, tokenizer: MusicTokenizer) -> None:
    ids = tokenizer.encode(read_midi(upload.data)[0])
    assert 0 < len(ids) <= max_tokens(upload.data)


@given(FILES)
@settings(max_examples=60)
def test_every_accepted_file_has_few_tokens(tokenizer: MusicTokenizer, data: bytes) -> None:
    try:
        limit = max_tokens(data)
    except ScoreError:
        reject()
    assert len(tokenizer.encode(read_midi(data)[0])) <= limit


def test_the_network_reads_the_last_bars_of_a_long_prompt(
    tiny_composer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = midi(track(*(note(40 + step * 7 % 40, 60) for step in range(400))))
    read = []
    for limit in (8_192, 100):
        monkeypatch.setattr(pipeline, "CONTEXT_TOKENS", limit)
        piece = tiny_composer.compose(prompt=full, bars=1, sampling=Sampling(seed=1))
        read.append(piece.prompt_ids)
    long, short = read
    assert 100 - 60 < len(short) - 1 <= 100 < len(long)  # in whole bars
    assert short[1:] == long[1 - len(short) :]


# -- Opening the file ----------------------------------------------------------------------------

EXAMPLE = next(iter(example_files().values()))
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs inotify")
_IN_OPEN, _NON_BLOCKING = 0x20, 0x800


@contextmanager
def counting_opens(path: Path) -> Iterator[Callable[[], int]]:
    """Yield a function that counts how often any process has opened a file since."""
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
    size = struct.calcsize("iIII")  # the events of a watched file have no names
    return len(data) // size


def _from_a_page(path: Path, composer: Any) -> None:
    choice = PromptChoice.read(path)
    composer.compose(prompt=choice.prompt, bars=1, sampling=Sampling(seed=1)).to_midi()


READERS: dict[str, Callable[[Path, Any], object]] = {
    "the library": lambda path, _: read_midi(path),
    "a composer": lambda path, composer: composer.compose(
        prompt=path, bars=1, sampling=Sampling(seed=1)
    ),
    "the page": _from_a_page,
}


@linux
@pytest.mark.parametrize("reader_name", READERS)
def test_a_file_is_opened_once_and_by_the_reader(
    reader_name: str, tiny_composer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.mid"
    path.write_bytes(EXAMPLE.read_bytes())
    with counting_opens(path) as opened:
        READERS[reader_name](path, tiny_composer)
        assert opened() == 1
        monkeypatch.setattr(reader, "_read_file", lambda *_, **__: EXAMPLE.read_bytes())
        READERS[reader_name](path, tiny_composer)
        assert opened() == 1


@linux
def test_a_file_opened_by_another_process_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "mine.mid"
    path.write_bytes(b"x")
    with SandboxPool(processes=1) as sandbox, counting_opens(path) as opened:
        sandbox.run(Path.read_text, path)
        assert opened() == 1


def test_the_page_parses_files_in_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        reader, "read_events", lambda *_, **__: pytest.fail("parsed in this process")
    )
    assert PromptChoice.read(EXAMPLE.read_bytes(), title="mine").summary.notes > 0
