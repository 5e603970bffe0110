"""Smoke test of a staged Space: one composed bar, or an error with the last lines of the log."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from hub import space_smoke_test
from hub.revisions import pin_model
from hub.space_files import stage
from hub.space_smoke_test import smoke_test
from musiclstm.errors import PublishError

# A Space of the standard library only, with the API responses of Gradio.
STUB = """
import json, os, pathlib, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

print("listening soon")
(pathlib.Path(__file__).parent / "new.txt").touch()
json.dump(dict(os.environ), open({environment!r}, "w"))
port = int(sys.argv[sys.argv.index("--port") + 1])

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        url = f"http://127.0.0.1:{{port}}"
        event, midi = {event!r}, {midi!r}
        data = json.dumps([dict(url=url + "/file")] if event == "complete" else "out of memory")
        waiting = "event: heartbeat\\ndata: null\\n\\n"
        stream = waiting + f"event: {{event}}\\ndata: {{data}}\\n\\n"
        self.send(midi if self.path == "/file" else stream.encode())
    def do_POST(self):
        arguments = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        good = arguments["bars"] == 1 and self.path.endswith("/continue")
        self.send({response!r} if good else b"[]", {status})
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
    """Return a function that writes a folder with a stub of the page."""
    default = {"event": "complete", "midi": b"MThd music", "status": 200}
    default |= {"response": b'{"event_id": "7"}', "environment": str(tmp_path / "environment.json")}

    def make(**changed: object) -> Path:
        folder = tmp_path / "space"
        folder.mkdir()
        (folder / "space.py").write_text(STUB.format(**default | changed))
        return folder

    return make


def test_it_composes_and_leaves_its_folder_unchanged(stub):
    folder = stub()
    assert smoke_test(folder) == b"MThd music"
    assert [path.name for path in folder.iterdir()] == ["space.py"]


def test_it_gets_no_token_and_no_import_path(stub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PLAIN", "kept")
    smoke_test(stub())
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert "hf_secret" not in environment.values()
    assert "PYTHONPATH" not in environment
    assert environment["PLAIN"] == "kept"
    assert environment["HF_HUB_DISABLE_IMPLICIT_TOKEN"] == "1"


def test_a_crash_is_reported_with_the_last_lines_of_the_log(tmp_path):
    lines = "".join(f"print('line {number}')\n" for number in range(20))
    (tmp_path / "space.py").write_text(lines + "import sys\nsys.exit('out of memory')")
    with pytest.raises(PublishError) as refused:
        smoke_test(tmp_path)
    first, *printed = str(refused.value).splitlines()
    assert first.startswith("The staged Space stopped with status 1")
    assert printed[-1] == "out of memory"
    assert "line 19" in printed
    assert "line 0" not in printed


def test_a_space_that_does_not_serve_is_stopped(tmp_path, monkeypatch):
    (tmp_path / "space.py").write_text("import time\ntime.sleep(600)")
    monkeypatch.setattr(space_smoke_test, "START_S", 0.5)
    with pytest.raises(PublishError, match=r"served no page within .* It printed nothing\.$"):
        smoke_test(tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"event": "error"}, 'error event: "out of memory"'),
        ({"event": "generating"}, "the event stream ended without a result"),
        ({"midi": b"<html>"}, "received 6 bytes that are not a MIDI file"),
        ({"status": 422}, "HTTP status 422"),
        ({"response": b"{}"}, "'event_id'"),
    ],
)
def test_a_space_that_does_not_compose_is_refused(stub, changed, message):
    with pytest.raises(PublishError) as refused:
        smoke_test(stub(**changed))
    first, *printed = str(refused.value).splitlines()
    assert first.startswith(f"The staged Space served its page but composed nothing ({message})")
    assert printed == ["listening soon"]


def test_no_process_is_left_running(stub, tmp_path, monkeypatch):
    started = []
    Process = space_smoke_test.subprocess.Popen  # noqa: N806 - a class

    class Watched(Process):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(space_smoke_test.subprocess, "Popen", Watched)
    smoke_test(stub())
    with pytest.raises(PublishError):
        smoke_test(tmp_path)  # without space.py
    assert len(started) == 2
    assert all(process.returncode is not None for process in started)


# -- The real page --------------------------------------------------------------------------------


@pytest.fixture
def staged(hub, tiny_checkpoint, tmp_path) -> Path:
    """The page with a pinned model of the fake Hub, whose newest commit is broken."""
    files = {path.name: path.read_bytes() for path in tiny_checkpoint.iterdir()}
    hub.put("ann/waltzes", files)
    model = pin_model("ann/waltzes")
    hub.put("ann/waltzes", {"config.json": b"{}"})
    stage(tmp_path / "space", model, title="Waltzes")
    return tmp_path / "space"


@pytest.mark.fluidsynth
def test_the_staged_page_starts_with_the_pinned_model(staged, hub):
    hub.requests.clear()
    midi = smoke_test(staged)
    assert midi.startswith(b"MThd")
    weights = [each for each in hub.requests if each.endswith("model.safetensors")]
    revision = revision_of(staged)
    assert weights
    assert all(f"/resolve/{revision}/" in each for each in weights)
    assert not (staged / "__pycache__").exists()


def revision_of(folder: Path) -> str:
    names: dict[str, object] = {"__name__": "read"}
    exec((folder / "space.py").read_text().replace("from app import main", ""), names)
    return str(names["REVISION"])


# -- The clean interpreter ------------------------------------------------------------------------


@pytest.fixture
def built(tmp_path, monkeypatch) -> list[Path]:
    """Folders of created environments, in which nothing is installed.

    Installing fails if requirements.txt contains the package `nowhere`.
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


def with_requirements(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "requirements.txt").write_text(text)
    return folder


def test_an_environment_is_created_once_per_requirements(built, tmp_path):
    folder = with_requirements(tmp_path / "space", "numpy==2.4.6\n")
    python = space_smoke_test.clean_interpreter(folder)
    assert tmp_path / "cache" in python.parents
    assert (
        space_smoke_test.clean_interpreter(with_requirements(tmp_path / "again", "numpy==2.4.6\n"))
        == python
    )
    assert built == [python.parents[1]]
    assert space_smoke_test.clean_interpreter(with_requirements(folder, "numpy==2.4.5\n")) != python
    assert len(built) == 2


def test_a_failed_installation_is_reported_and_repeated(built, tmp_path):
    folder = with_requirements(tmp_path / "space", "nowhere==1.0\n")
    for _ in range(2):
        with pytest.raises(PublishError, match=r"(?s)cannot be installed .*:\n.*nowhere==1\.0"):
            space_smoke_test.clean_interpreter(folder)
    assert len(built) == 2


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.fluidsynth
def test_the_staged_page_starts_in_a_clean_environment(staged):
    python = space_smoke_test.clean_interpreter(staged)
    assert python != Path(sys.executable)
    assert smoke_test(staged, python=python).startswith(b"MThd")
