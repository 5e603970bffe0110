"""The command hub.space: pin, stage, test and upload, with the fake Hub."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hub import space
from hub.revisions import pin_model
from hub.space import main

ARGUMENTS = ["ann/page", "--model", "ann/waltzes"]


@pytest.fixture(scope="session")
def model_files(tiny_checkpoint) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in tiny_checkpoint.iterdir()}


@pytest.fixture
def commit(hub, model_files) -> str:
    """Commit of a tiny model on the Hub, ann/waltzes."""
    return hub.put("ann/waltzes", model_files)


@pytest.fixture
def tested(monkeypatch) -> list[Path]:
    """Folders given to the smoke test, which starts nothing here."""
    folders: list[Path] = []

    def smoke_test(folder: Path, *, python: Path) -> bytes:
        folders.append(folder)
        assert (folder / "space.py").is_file()
        assert python == Path("clean python")
        return b"MThd"

    monkeypatch.setattr(space, "smoke_test", smoke_test)
    monkeypatch.setattr(space, "clean_interpreter", lambda folder: Path("clean python"))
    return folders


def spaces(hub) -> list[str]:
    return [name for kind, name in hub.repos if kind == "space"]


# -- Pinning --------------------------------------------------------------------------------------


def test_the_default_revision_is_the_newest_commit(hub, commit):
    newer = hub.put("ann/waltzes", {"facts.json": b"{}"})
    assert newer != commit
    assert pin_model("ann/waltzes").revision == newer
    assert pin_model("ann/waltzes", "main").revision == newer
    assert pin_model("ann/waltzes", commit).revision == commit


def test_only_existing_files_are_listed(hub, commit):
    files = ("config.json", "model.safetensors", "miditok_remi.json", "generation_config.json")
    assert pin_model("ann/waltzes").files == (*files, "facts.json")
    hub.put("ann/waltzes", {"facts.json": None, "training_args.bin": b"pickle"})
    assert pin_model("ann/waltzes").files == files


def test_no_weights_are_downloaded_to_pin_a_model(hub, commit):
    pin_model("ann/waltzes")
    assert hub.count("GET", "config.json") == 1
    assert hub.count("HEAD", "safetensors") == hub.count("GET", "store") == 0


def make_gated(hub) -> None:
    hub.repo("ann/waltzes").gated = True


def make_private(hub) -> None:
    hub.repo("ann/waltzes").private = True


def change_model_type(hub) -> None:
    hub.put("ann/waltzes", {"config.json": json.dumps({"model_type": "gpt2"}).encode()})


def damage_config(hub) -> None:
    hub.put("ann/waltzes", {"config.json": b"[]"})


def remove_files(hub) -> None:
    hub.put("ann/waltzes", {"model.safetensors": None, "miditok_remi.json": None})


def disconnect(hub) -> None:
    hub.fail("GET", "/api/models/", times=100, status=503)


REFUSED = [
    (make_gated, [], "'ann/waltzes' is a gated model"),
    (make_private, [], "There is no public model 'ann/waltzes'"),
    (change_model_type, [], "'ann/waltzes' is a model of type 'gpt2', not 'musiclstm'"),
    (damage_config, [], "'ann/waltzes' is a model of type None, not 'musiclstm'"),
    (remove_files, [], "'ann/waltzes' has no model.safetensors and no miditok_remi.json"),
    (disconnect, [], "The Hub cannot be asked about 'ann/waltzes' (HfHubHTTPError)"),
    (None, ["--model", "ann/nothing"], "There is no public model 'ann/nothing'"),
    (None, ["--model", "a model!"], "'a model!' is not a valid name"),
    (None, ["--revision", "v9"], "'ann/waltzes' has no revision 'v9'"),
    (None, ["--title", " "], "--title must be one line of 1 to 60 characters, got ' '"),
    (None, ["--title", "a\nsdk: docker"], "--title must be one line"),
]


@pytest.mark.parametrize(("change", "options", "message"), REFUSED)
def test_a_refused_model_or_title_is_one_line(
    hub, commit, tested, capsys, change, options, message
):
    if change:
        change(hub)
    assert main([*ARGUMENTS, *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
    assert tested == spaces(hub) == []


# -- Documentation ---------------------------------------------------------------------------------


def test_the_help_and_the_document_name_the_same_options(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    options = set(re.findall(r"--[a-z_]+", capsys.readouterr().out)) - {"--help"}
    document = (Path(__file__).parents[2] / "docs" / "space.md").read_text()
    assert set(re.findall(r"^\| `(--[a-z_]+)`", document, re.MULTILINE)) == options


# -- Upload ---------------------------------------------------------------------------------------


def test_a_space_is_created_after_the_smoke_test(hub, commit, tested, capsys):
    assert main(ARGUMENTS) == 0
    assert len(tested) == 1
    sent, printed = hub.files("ann/page", kind="space"), capsys.readouterr().out
    assert hub.repo("ann/page", "space").sdk == "gradio"
    assert f"REVISION = '{commit}'" in sent["space.py"].decode()
    assert b"app_file: space.py" in sent["README.md"]
    assert hub.history("ann/page", kind="space")[0] == f"Play ann/waltzes at {commit[:7]}"
    assert {"app.py", "page/ui/layout.py", "musiclstm/core/step.c", "packages.txt"} <= set(sent)
    assert f"Plays ann/waltzes at commit {commit}" in printed
    assert "/spaces/ann/page" in printed
    assert "It started and composed a bar" in printed


def test_an_update_pins_another_commit_and_can_be_undone_with_an_older_one(
    hub, commit, tested, model_files
):
    assert main(ARGUMENTS) == 0
    before = hub.files("ann/page", kind="space")
    newer = hub.put("ann/waltzes", {"facts.json": b'{"steps": 1}'})
    assert main(ARGUMENTS) == 0
    now = hub.files("ann/page", kind="space")
    assert {name for name in now if now[name] != before[name]} == {
        *("space.py", "README.md", ".musiclstm.json")
    }
    assert newer in now["space.py"].decode()
    assert main([*ARGUMENTS, "--revision", commit]) == 0
    assert hub.files("ann/page", kind="space") == before


def test_a_reverted_update_can_be_repeated(hub, commit, tested):
    assert main(ARGUMENTS) == 0
    before = hub.files("ann/page", kind="space")
    hub.put("ann/waltzes", {"facts.json": b'{"steps": 1}'})
    assert main(ARGUMENTS) == 0
    now = hub.files("ann/page", kind="space")
    hub.put("ann/page", before, kind="space")
    assert main(ARGUMENTS) == 0
    assert hub.files("ann/page", kind="space") == now


def test_a_file_changed_by_hand_is_not_replaced(hub, commit, tested, capsys):
    assert main(ARGUMENTS) == 0
    hub.put("ann/page", {"page/ui/page.css": b"body { color: red }"}, kind="space")
    assert main([*ARGUMENTS, "--title", "Waltzes"]) == 1
    assert "page/ui/page.css" in capsys.readouterr().err
    assert b"title: Waltzes" not in hub.files("ann/page", kind="space")["README.md"]


def test_another_space_is_not_replaced_without_overwrite(hub, commit, tested, capsys):
    hub.put("ann/page", {"app.py": b"print('mine')", "README.md": b"mine"}, kind="space")
    assert main(ARGUMENTS) == 1
    error = capsys.readouterr().err
    assert "app.py" in error
    assert "--overwrite" in error
    assert hub.files("ann/page", kind="space")["app.py"] == b"print('mine')"
    assert main([*ARGUMENTS, "--overwrite"]) == 0
    assert hub.files("ann/page", kind="space")["app.py"] != b"print('mine')"


def test_a_missing_token_is_refused_first(hub, commit, tested, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    assert main(ARGUMENTS) == 1
    assert capsys.readouterr().err.startswith("error: No user is logged in")
    assert tested == spaces(hub) == []


def test_the_token_is_never_printed(hub, commit, tested, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_" + "SomethingThatTheHubDoesNotKnow")
    assert main(ARGUMENTS) == 1
    shown = capsys.readouterr()
    assert "hf_Something" not in shown.out + shown.err
    assert spaces(hub) == []


def test_a_dry_run_prints_everything_and_sends_nothing(hub, commit, tested, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    assert main([*ARGUMENTS, "--dry_run", "--title", "Waltzes for all"]) == 0
    printed = capsys.readouterr().out
    for line in (
        "  page/ui/layout.py\n",
        "  space.py\n",
        "title: Waltzes for all\n",
        "preload_from_hub:\n- ann/waltzes config.json,",
        f"Would go to {hub.endpoint}/spaces/ann/page. Nothing was sent.",
    ):
        assert line in printed
    assert tested == spaces(hub) == []
    assert hub.count("POST") == hub.count("PUT") == 0


def test_a_skipped_smoke_test_is_reported(hub, commit, tested, capsys):
    assert main([*ARGUMENTS, "--no_boot", "--private"]) == 0
    assert "Not started on this machine" in capsys.readouterr().out
    assert tested == []
    assert hub.repo("ann/page", "space").private


def test_a_space_that_does_not_start_is_not_sent(hub, commit, capsys, monkeypatch, tmp_path):
    python = tmp_path / "python"  # an interpreter without the packages
    python.write_text("#!/bin/sh\necho 'No module named gradio' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(space, "clean_interpreter", lambda folder: python)
    assert main(ARGUMENTS) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: The staged Space stopped with status 1")
    assert error.endswith("No module named gradio\n")
    assert spaces(hub) == []
