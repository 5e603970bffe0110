"""The benchmark of reading, on a corpus that is read in a blink."""

from __future__ import annotations

import json

import pytest

from benchmarks.speed import corpus_reading
from benchmarks.speed.corpus_reading import main, write_small_files


def test_it_prints_and_writes_speed_and_memory(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(corpus_reading, "_peak", _no_process)
    monkeypatch.setattr(corpus_reading, "ProcessPoolExecutor", _Here)
    path = tmp_path / "facts.json"
    options = ["--rounds", "2", "--workers", "2", "--files", "3,5", "--json", str(path)]
    assert main(["--data", data, *options]) == 0
    facts = json.loads(path.read_text())
    assert facts["speed"]["pieces"] == 14
    assert len(facts["speed"]["seconds with one"]) == len(facts["speed"]["ratios"]) == 2
    assert [each["peak"] for each in facts["memory"]["readings"]] == [3_000_100, 5_000_100]
    assert facts["memory"]["bytes a file"] == 1_000_000
    printed = capsys.readouterr().out
    assert "times as fast with 2" in printed
    assert "1,000,000 bytes of memory for each file more." in printed


def _no_process(room, _workers):
    files = len(list((room / "files").iterdir()))
    return 100, 100 + 1_000_000 * files, 50


class _Here:
    """A pool that works in this process; what is measured does not matter here."""

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, function, *args):
        class Done:
            def result(self):
                return function(*args)

        return Done()


def test_peak_memory_is_that_of_a_reading(tmp_path):
    write_small_files(tmp_path / "files", 3)
    before, after, _ = corpus_reading._peak(tmp_path, workers=1)
    assert 2**20 < before <= after


def test_small_files_are_different_pieces(tmp_path):
    write_small_files(tmp_path / "files", 30)
    assert len({path.read_bytes() for path in (tmp_path / "files").iterdir()}) == 30


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--rounds", "0"], "--rounds must be 1 or more, got 0."),
        (["--workers", "0"], "--workers must be 1 or more, got 0."),
        (["--files", "many"], "--files must be numbers above 0, such as 500,5000; got 'many'."),
        ([], "There is no 'nowhere' at the path given; check --data."),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(tmp_path, capsys, options, sentence):
    assert main(["--data", str(tmp_path / "nowhere"), *options]) == 1
    assert capsys.readouterr().err == f"error: {sentence}\n"
