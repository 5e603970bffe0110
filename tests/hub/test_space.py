"""The command: a model is pinned, a folder staged, tried, and sent to the Hub of the tests."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hub import space
from hub.revisions import pin
from hub.space import main

WANTED = ["ann/page", "--model", "ann/waltzes"]


@pytest.fixture(scope="session")
def toy_files(tiny_checkpoint) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in tiny_checkpoint.iterdir()}


@pytest.fixture
def commit(hub, toy_files) -> str:
    """Of the toy, which the Hub has under the name ann/waltzes."""
    return hub.put("ann/waltzes", toy_files)


@pytest.fixture
def booted(monkeypatch) -> list[Path]:
    """The folders that were started; nothing is."""
    folders: list[Path] = []

    def boot(folder: Path, *, python: Path) -> bytes:
        folders.append(folder)
        assert (folder / "space.py").is_file()
        assert python == Path("a clean one")
        return b"MThd"

    monkeypatch.setattr(space, "boot", boot)
    monkeypatch.setattr(space, "clean_python", lambda folder: Path("a clean one"))
    return folders


def pages(hub) -> list[str]:
    return [name for kind, name in hub.repos if kind == "space"]


# -- Pinning --------------------------------------------------------------------------------------


def test_no_revision_is_the_newest_commit(hub, commit):
    newer = hub.put("ann/waltzes", {"facts.json": b"{}"})
    assert newer != commit
    assert pin("ann/waltzes").revision == newer
    assert pin("ann/waltzes", "main").revision == newer
    assert pin("ann/waltzes", commit).revision == commit


def test_only_files_that_are_there_are_named(hub, commit):
    files = ("config.json", "model.safetensors", "miditok_remi.json", "generation_config.json")
    assert pin("ann/waltzes").files == (*files, "facts.json")
    hub.put("ann/waltzes", {"facts.json": None, "training_args.bin": b"pickle"})
    assert pin("ann/waltzes").files == files


def test_no_weights_are_fetched_to_look_a_model_up(hub, commit):
    pin("ann/waltzes")
    assert hub.count("GET", "config.json") == 1
    assert hub.count("HEAD", "safetensors") == hub.count("GET", "store") == 0


def close(hub) -> None:
    hub.repo("ann/waltzes").gated = True


def hide(hub) -> None:
    hub.repo("ann/waltzes").private = True


def retype(hub) -> None:
    hub.put("ann/waltzes", {"config.json": json.dumps({"model_type": "gpt2"}).encode()})


def spoil(hub) -> None:
    hub.put("ann/waltzes", {"config.json": b"[]"})


def empty(hub) -> None:
    hub.put("ann/waltzes", {"model.safetensors": None, "miditok_remi.json": None})


def cut(hub) -> None:
    hub.fail("GET", "/api/models/", times=100, status=503)


REFUSED = [
    (close, [], "'ann/waltzes' is given only to those who ask, and a Space cannot ask"),
    (hide, [], "There is no model 'ann/waltzes' on the Hub that everybody can read"),
    (retype, [], "'ann/waltzes' is a model of type 'gpt2', not 'musiclstm'"),
    (spoil, [], "'ann/waltzes' is a model of type None, not 'musiclstm'"),
    (empty, [], "'ann/waltzes' has no model.safetensors and no miditok_remi.json, so it is no"),
    (cut, [], "The Hub cannot be asked about 'ann/waltzes' (HfHubHTTPError)"),
    (None, ["--model", "ann/nothing"], "There is no model 'ann/nothing' on the Hub"),
    (None, ["--model", "a model!"], "'a model!' is no name of a model on the Hub"),
    (None, ["--revision", "v9"], "'ann/waltzes' has no revision 'v9'"),
    (None, ["--title", " "], "A Space's title is one line of 1 to 60 letters, not ' '"),
    (None, ["--title", "a\nsdk: docker"], "A Space's title is one line of 1 to 60 letters"),
]


@pytest.mark.parametrize(("change", "told", "said"), REFUSED)
def test_what_cannot_become_a_space_is_one_sentence(
    hub, commit, booted, capsys, change, told, said
):
    if change:
        change(hub)
    assert main([*WANTED, *told]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {said}")
    assert error.count("\n") == 1
    assert booted == pages(hub) == []


# -- What people read ------------------------------------------------------------------------------


def test_the_help_and_the_document_name_the_same_options(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    helped = set(re.findall(r"--[a-z_]+", capsys.readouterr().out)) - {"--help"}
    document = (Path(__file__).parents[2] / "docs" / "space.md").read_text()
    assert set(re.findall(r"^\| `(--[a-z_]+)`", document, re.MULTILINE)) == helped


# -- Sending --------------------------------------------------------------------------------------


def test_a_space_is_made_after_it_was_tried(hub, commit, booted, capsys):
    assert main(WANTED) == 0
    assert len(booted) == 1
    sent, printed = hub.files("ann/page", kind="space"), capsys.readouterr().out
    assert hub.repo("ann/page", "space").sdk == "gradio"
    assert f"REVISION = '{commit}'" in sent["space.py"].decode()
    assert b"app_file: space.py" in sent["README.md"]
    assert hub.history("ann/page", kind="space")[0] == f"Play ann/waltzes at {commit[:7]}"
    assert {"app.py", "page/ui/layout.py", "musiclstm/core/step.c", "packages.txt"} <= set(sent)
    assert f"Plays ann/waltzes at commit {commit}" in printed
    assert "/spaces/ann/page" in printed
    assert "It started and composed a bar" in printed


def test_an_update_moves_the_pin_and_an_older_commit_brings_the_old_page_back(
    hub, commit, booted, toy_files
):
    assert main(WANTED) == 0
    before = hub.files("ann/page", kind="space")
    newer = hub.put("ann/waltzes", {"facts.json": b'{"steps": 1}'})
    assert main(WANTED) == 0
    now = hub.files("ann/page", kind="space")
    assert {name for name in now if now[name] != before[name]} == {
        *("space.py", "README.md", ".musiclstm.json")
    }
    assert newer in now["space.py"].decode()
    assert main([*WANTED, "--revision", commit]) == 0
    assert hub.files("ann/page", kind="space") == before


def test_an_update_that_was_reverted_can_be_made_again(hub, commit, booted):
    assert main(WANTED) == 0
    before = hub.files("ann/page", kind="space")
    hub.put("ann/waltzes", {"facts.json": b'{"steps": 1}'})
    assert main(WANTED) == 0
    now = hub.files("ann/page", kind="space")
    hub.put("ann/page", before, kind="space")
    assert main(WANTED) == 0
    assert hub.files("ann/page", kind="space") == now


def test_what_was_changed_by_hand_is_not_replaced(hub, commit, booted, capsys):
    assert main(WANTED) == 0
    hub.put("ann/page", {"page/ui/page.css": b"body { color: red }"}, kind="space")
    assert main([*WANTED, "--title", "Waltzes"]) == 1
    assert "page/ui/page.css" in capsys.readouterr().err
    assert b"title: Waltzes" not in hub.files("ann/page", kind="space")["README.md"]


def test_a_space_of_somebody_else_is_left_alone(hub, commit, booted, capsys):
    hub.put("ann/page", {"app.py": b"print('mine')", "README.md": b"mine"}, kind="space")
    assert main(WANTED) == 1
    error = capsys.readouterr().err
    assert "app.py" in error
    assert "--overwrite" in error
    assert hub.files("ann/page", kind="space")["app.py"] == b"print('mine')"
    assert main([*WANTED, "--overwrite"]) == 0
    assert hub.files("ann/page", kind="space")["app.py"] != b"print('mine')"


def test_without_a_token_nothing_is_tried(hub, commit, booted, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    assert main(WANTED) == 1
    assert capsys.readouterr().err.startswith("error: Nobody is logged in to the Hub; run `hf auth")
    assert booted == pages(hub) == []


def test_no_token_is_ever_printed(hub, commit, booted, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_" + "SomethingThatTheHubDoesNotKnow")
    assert main(WANTED) == 1
    shown = capsys.readouterr()
    assert "hf_Something" not in shown.out + shown.err
    assert pages(hub) == []


def test_a_dry_run_shows_all_and_sends_nothing(hub, commit, booted, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    assert main([*WANTED, "--dry_run", "--title", "Waltzes for all"]) == 0
    printed = capsys.readouterr().out
    for said in (
        "  page/ui/layout.py\n",
        "  space.py\n",
        "title: Waltzes for all\n",
        "preload_from_hub:\n- ann/waltzes config.json,",
        f"Would go to {hub.endpoint}/spaces/ann/page. Nothing was sent.",
    ):
        assert said in printed
    assert booted == pages(hub) == []
    assert hub.count("POST") == hub.count("PUT") == 0


def test_what_was_not_tried_is_said(hub, commit, booted, capsys):
    assert main([*WANTED, "--no_boot", "--private"]) == 0
    assert "Not started on this machine, as --no_boot asks" in capsys.readouterr().out
    assert booted == []
    assert hub.repo("ann/page", "space").private


def test_what_does_not_start_is_not_sent(hub, commit, capsys, monkeypatch, tmp_path):
    python = tmp_path / "python"  # an interpreter in whose environment something is missing
    python.write_text("#!/bin/sh\necho 'No module named gradio' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(space, "clean_python", lambda folder: python)
    assert main(WANTED) == 1
    assert capsys.readouterr().err == (
        "error: The staged Space stopped with status 1 before its page was served; nothing was "
        "sent. It printed:\nNo module named gradio\n"
    )
    assert pages(hub) == []
