"""A staged Space is started alone and asked; whatever goes wrong is told with its last words."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from hub import space_smoke_test
from hub.revisions import pin
from hub.space_files import stage
from hub.space_smoke_test import boot
from musiclstm.errors import PublishError

# A Space of nothing but the standard library, that answers as Gradio does.
STUB = """
import json, os, pathlib, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

print("listening soon")
(pathlib.Path(__file__).parent / "litter.txt").touch()
json.dump(dict(os.environ), open({told!r}, "w"))
port = int(sys.argv[sys.argv.index("--port") + 1])

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        url = f"http://127.0.0.1:{{port}}"
        event, midi = {event!r}, {midi!r}
        data = json.dumps([dict(url=url + "/file")] if event == "complete" else "out of breath")
        waiting = "event: heartbeat\\ndata: null\\n\\n"
        answer = waiting + f"event: {{event}}\\ndata: {{data}}\\n\\n"
        self.send(midi if self.path == "/file" else answer.encode())
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        good = asked["bars"] == 1 and self.path.endswith("/continue")
        self.send({answer!r} if good else b"[]", {status})
    def send(self, body, status=200):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass

HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def stub(tmp_path):
    """A maker of folders with a stand-in for the page."""
    usual = {"event": "complete", "midi": b"MThd music", "status": 200}
    usual |= {"answer": b'{"event_id": "7"}', "told": str(tmp_path / "told.json")}

    def make(**wrong: object) -> Path:
        folder = tmp_path / "space"
        folder.mkdir()
        (folder / "space.py").write_text(STUB.format(**usual | wrong))
        return folder

    return make


def test_it_composes_and_leaves_its_folder_alone(stub):
    folder = stub()
    assert boot(folder) == b"MThd music"
    assert [path.name for path in folder.iterdir()] == ["space.py"]


def test_it_gets_no_token_and_no_other_place_to_import_from(stub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PLAIN", "kept")
    boot(stub())
    told = json.loads((tmp_path / "told.json").read_text())
    assert "hf_secret" not in told.values()
    assert "PYTHONPATH" not in told
    assert told["PLAIN"] == "kept"
    assert told["HF_HUB_DISABLE_IMPLICIT_TOKEN"] == "1"


def test_one_that_stops_is_told_with_its_last_lines(tmp_path):
    lines = "".join(f"print('line {number}')\n" for number in range(20))
    (tmp_path / "space.py").write_text(lines + "import sys\nsys.exit('no breath left')")
    with pytest.raises(PublishError) as refused:
        boot(tmp_path)
    first, *printed = str(refused.value).splitlines()
    assert first == (
        "The staged Space stopped with status 1 before its page was served; nothing was sent. "
        "It printed:"
    )
    assert printed[-1] == "no breath left"
    assert "line 19" in printed
    assert "line 0" not in printed


def test_one_that_says_nothing_and_serves_nothing_is_stopped(tmp_path, monkeypatch):
    (tmp_path / "space.py").write_text("import time\ntime.sleep(600)")
    monkeypatch.setattr(space_smoke_test, "START_S", 0.5)
    with pytest.raises(PublishError, match=r"served no page within .* It printed nothing\.$"):
        boot(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"event": "error"}, 'its answer was an error: "out of breath"'),
        ({"event": "generating"}, "its answer ended too early"),
        ({"midi": b"<html>"}, "6 bytes came that are no MIDI file"),
        ({"status": 422}, "HTTP status 422"),
        ({"answer": b"{}"}, "'event_id'"),
    ],
)
def test_one_that_composes_nothing_is_refused(stub, wrong, said):
    with pytest.raises(PublishError) as refused:
        boot(stub(**wrong))
    first, *printed = str(refused.value).splitlines()
    assert first.startswith(f"The staged Space served its page but composed nothing ({said})")
    assert printed == ["listening soon"]


def test_nothing_of_it_goes_on_running(stub, tmp_path, monkeypatch):
    started = []
    Process = space_smoke_test.subprocess.Popen  # noqa: N806 - a class

    class Watched(Process):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(space_smoke_test.subprocess, "Popen", Watched)
    boot(stub())
    with pytest.raises(PublishError):
        boot(tmp_path)  # there is no space.py
    assert len(started) == 2
    assert all(process.returncode is not None for process in started)


# -- The real page --------------------------------------------------------------------------------


@pytest.fixture
def staged(hub, tiny_checkpoint, tmp_path) -> Path:
    """The page with the toy, which the Hub of the tests has; its newest commit is broken."""
    files = {path.name: path.read_bytes() for path in tiny_checkpoint.iterdir()}
    hub.put("ann/waltzes", files)
    chosen = pin("ann/waltzes")
    hub.put("ann/waltzes", {"config.json": b"{}"})
    stage(tmp_path / "space", chosen, title="Waltzes")
    return tmp_path / "space"


@pytest.mark.fluidsynth
def test_the_staged_page_starts_alone_and_plays_the_pinned_model(staged, hub):
    hub.requests.clear()
    midi = boot(staged)
    assert midi.startswith(b"MThd")
    weights = [each for each in hub.requests if each.endswith("model.safetensors")]
    sha = pin_of(staged)
    assert weights
    assert all(f"/resolve/{sha}/" in each for each in weights)
    assert not (staged / "__pycache__").exists()


def pin_of(folder: Path) -> str:
    names: dict[str, object] = {"__name__": "looked_at"}
    exec((folder / "space.py").read_text().replace("from app import main", ""), names)
    return str(names["REVISION"])


# -- The clean interpreter ------------------------------------------------------------------------


@pytest.fixture
def built(tmp_path, monkeypatch) -> list[Path]:
    """Folders in which an environment was begun; nothing is installed there.

    Installing fails where requirements.txt names the package `nowhere`.
    """
    folders: list[Path] = []

    def create(folder: Path, **options: bool) -> None:
        assert options == {"clear": True, "with_pip": True}
        folders.append(folder)
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        python = folder / "bin" / "python"
        python.write_text('#!/bin/sh\nfor last; do :; done\n! grep nowhere "$last"\n')
        python.chmod(0o755)

    monkeypatch.setattr(space_smoke_test.venv, "create", create)
    monkeypatch.setenv("MUSICLSTM_CACHE", str(tmp_path / "cache"))
    return folders


def needing(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "requirements.txt").write_text(text)
    return folder


def test_an_interpreter_is_built_once_for_the_same_requirements(built, tmp_path):
    folder = needing(tmp_path / "space", "numpy==2.4.6\n")
    python = space_smoke_test.clean_python(folder)
    assert tmp_path / "cache" in python.parents
    assert space_smoke_test.clean_python(needing(tmp_path / "again", "numpy==2.4.6\n")) == python
    assert built == [python.parents[1]]
    assert space_smoke_test.clean_python(needing(folder, "numpy==2.4.5\n")) != python
    assert len(built) == 2


def test_what_cannot_be_installed_is_told_and_tried_again(built, tmp_path):
    folder = needing(tmp_path / "space", "nowhere==1.0\n")
    for _ in range(2):
        with pytest.raises(PublishError, match=r"(?s)cannot be installed .*:\n.*nowhere==1\.0"):
            space_smoke_test.clean_python(folder)
    assert len(built) == 2


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.fluidsynth
def test_the_staged_page_starts_in_a_clean_environment(staged):
    python = space_smoke_test.clean_python(staged)
    assert python != Path(sys.executable)
    assert boot(staged, python=python).startswith(b"MThd")
