"""The player's JavaScript: tests in node, and the bundle that Gradio runs."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from page.playback.chunk_cache import ChunkCache
from page.playback.player import player

ROOT = Path(__file__).parents[3]


@pytest.fixture
def node() -> str:
    path = shutil.which("node")
    if path is None:
        pytest.skip("the JavaScript tests need Node.js 20 or newer")
    return path


def bundle() -> str:
    return str(player("roll", label="The music", cache=ChunkCache()).js_on_load)


def test_the_javascript_tests_pass(node: str) -> None:
    files = [str(file) for file in sorted(ROOT.glob("tests/js/*.test.js"))]
    assert len(files) >= 5
    run = subprocess.run([node, "--test", *files], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stdout


def test_the_bundle_is_the_body_of_a_function(node: str) -> None:
    names = "element, props, trigger, server, watch"
    script = f"function load({names}) {{\n{bundle()}\n}}"
    run = subprocess.run([node, "--check", "-"], input=script, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_the_bundle_defines_each_name_once() -> None:
    text = bundle()
    names = re.findall(r"^(?:async )?(?:const|let|class|function) (\w+)", text, re.MULTILINE)
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert not re.search(r"^(import|export)\b", text, re.MULTILINE)
    static = ROOT / "page" / "playback" / "static"
    for file in static.glob("*.js"):
        assert file.read_text(encoding="utf-8").partition("\n")[0] in text, file.name
