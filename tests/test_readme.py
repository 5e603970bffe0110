"""Snippets and commands of the README run, and its figures are those of facts.json."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from musiclstm.cli import main
from training.pretraining.corpora import BAND_CORPORA, OLDER_CORPORA

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
def clean_folder(tmp_path, monkeypatch):
    """A folder that holds nothing but the example files, under their path in the repository."""
    shutil.copytree(ROOT / "musiclstm" / "examples", tmp_path / "musiclstm" / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.fluidsynth
@pytest.mark.parametrize("code", blocks("python"))
def test_every_python_snippet_runs_and_writes_a_file(code, clean_folder):
    exec(compile(code, "README.md", "exec"), {})
    assert list(clean_folder.glob("*.mid"))


@pytest.mark.fluidsynth
def test_the_musiclstm_commands_run_one_after_the_other(clean_folder):
    for line in commands("python -m musiclstm"):
        # The bundled weights stand in for those that the reader has trained by then.
        words = [word.replace("runs/mine", "default") for word in shlex.split(line)]
        assert main(words[3:]) == 0, line


@pytest.mark.parametrize("line", commands("python -m training") + commands("python -m benchmarks"))
def test_every_other_command_prints_its_help(line):
    import importlib

    words = shlex.split(line)
    module = importlib.import_module(words[2])
    with pytest.raises(SystemExit) as stop, contextlib.redirect_stdout(None):
        module.main(["--help"])
    assert stop.value.code == 0


def test_every_make_target_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z-]+)", README))
    assert named
    assert named <= targets


def test_the_readme_has_at_most_180_lines():
    assert len(README.splitlines()) <= 180


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


def test_every_linked_file_exists():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target
