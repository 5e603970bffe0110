"""The command `python app.py` when it cannot serve the page."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

import app


def test_a_missing_model_is_one_line_and_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["--model", str(tmp_path / "nowhere"), "--port", "0"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "nowhere" in line


def test_a_port_in_use_is_one_line_and_status_1_before_the_model_is_loaded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert app.main(["--model", "nowhere", "--port", str(port)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"127.0.0.1:{port}" in line
    assert "--port" in line


def test_mcp_without_its_extra_is_one_line_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app, "find_spec", lambda name: None)
    assert app.main(["--mcp"]) == 1
    assert "pip install" in capsys.readouterr().err
