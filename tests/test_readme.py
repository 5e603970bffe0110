"""What the README shows runs, and what it states was measured."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from musiclstm import example_files
from musiclstm.cli import main
from training.pretraining.default_corpora import BAND_CORPORA, OLDER_CORPORA

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FACTS = ROOT / "musiclstm" / "pretrained" / "facts.json"
EVALUATIONS = json.loads(FACTS.read_text())["evaluation"]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands(start):
    lines = [line.strip() for block in blocks("bash") for line in block.splitlines()]
    return [line.split(" #")[0].strip() for line in lines if line.startswith(start)]


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A folder in which the reader's own file lies."""
    shutil.copy(next(iter(example_files().values())), tmp_path / "motif.mid")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.fluidsynth
@pytest.mark.parametrize("code", blocks("python"))
def test_every_snippet_of_python_runs(code, room):
    exec(compile(code, "README.md", "exec"), {})
    assert any(path.name != "motif.mid" for path in room.iterdir())


@pytest.mark.fluidsynth
@pytest.mark.parametrize("line", commands("python -m musiclstm"))
def test_every_command_of_musiclstm_runs(line, room):
    # The bundled weights stand in for those that the reader has trained by then.
    words = [word.replace("runs/mine", "default") for word in shlex.split(line)]
    assert main(words[3:]) == 0


@pytest.mark.parametrize("line", commands("python -m training") + commands("python -m benchmarks"))
def test_every_other_command_is_one_that_exists(line):
    import importlib

    words = shlex.split(line)
    module = importlib.import_module(words[2])
    with pytest.raises(SystemExit) as stop, contextlib.redirect_stdout(None):
        module.main(["--help"])
    assert stop.value.code == 0


def test_every_make_target_is_one_that_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z-]+)", README))
    assert named
    assert named <= targets


def test_there_is_something_to_run():
    assert blocks("python")
    assert commands("python -m musiclstm")
    assert commands("python -m training")


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize("corpora", [OLDER_CORPORA, BAND_CORPORA])
def test_the_bits_per_note_are_those_of_the_bundled_weights(split, corpora):
    (measured,) = (
        each["held_out"]
        for each in EVALUATIONS
        if (each["data"], each["split"]) == ([*corpora], split)
    )
    assert f"{measured['bits_per_note']:.2f}" in README


@pytest.mark.parametrize("figure", ["overlap", "silent_instruments", "same_key"])
def test_the_figures_of_continuations_are_those_of_the_bundled_weights(figure):
    (found,) = (each["continuations"] for each in EVALUATIONS if each["continuations"])
    row = found["figures"][figure]
    for value in (
        row["composed"],
        row["original"],
        found["baseline"]["figures"][figure]["baseline"],
    ):
        assert f"{value:.3f}".lstrip("0") in README


def test_every_file_it_links_to_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target
