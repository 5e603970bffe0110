"""Files with scripts and refused requests, in Chromium."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from symusic.core import ScoreTick, TextMetaTick

from page.server.queue_limits import QueueLimits, RefusedError
from tests.browser.page_driver import PageDriver

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing"),
]

ATTACKS = (
    "<script>window.hacked = 1; alert(1)</script>",
    '<img src=x onerror="window.hacked = 2; alert(2)">',
    "\"><svg onload='window.hacked = 3; alert(3)'>",
    "${alert(4)}{{alert(4)}}<iframe srcdoc='<script>parent.hacked = 4</script>'>",
    "[x](javascript:alert(5))<details open ontoggle='window.hacked = 5'>",
)
FOUND = """() => ({
  hacked: window.hacked ?? null,
  nodes: [...document.querySelectorAll(
    "img[src=x], iframe[srcdoc], svg[onload], details[ontoggle], a[href^='javascript:']"
  )].length,
  scripts: [...document.querySelectorAll("script")].filter(
    (each) => each.textContent.includes("hacked")
  ).length,
})"""
CLEAN = {"hacked": None, "nodes": 0, "scripts": 0}


@pytest.fixture
def file_with_scripts(midi_file: Callable[..., Path]) -> Path:
    """A piece with a script in every text of a MIDI file."""
    path = midi_file(f"{ATTACKS[1][:60].replace('/', '')}.mid", tracks=ATTACKS)
    score: Any = ScoreTick.from_midi(path.read_bytes())
    for track, attack in zip(score.tracks, ATTACKS, strict=True):
        track.lyrics.append(TextMetaTick(0, attack))
    score.markers.append(TextMetaTick(0, ATTACKS[0]))
    path.write_bytes(score.dumps_midi())
    return path


def test_scripts_in_a_file_do_not_run(
    visit: Callable[..., PageDriver], file_with_scripts: Path
) -> None:
    ann = visit()
    ann.drop(file_with_scripts)
    ann.page.locator("#about", has_text="alert(1)").wait_for()
    for name in ("Part of the file", "Sound", "Add parts"):
        ann.drawer(name)
    ann.field("Parts to continue").click()
    assert ann.page.get_by_role("option", name=re.compile(r"alert\(2\)")).count() > 0
    ann.page.keyboard.press("Escape")
    ann.compose(bars=1)
    ann.compose("Four takes", bars=1)
    ann.page.locator("#history summary").click()
    ann.page.locator("#about summary").click()
    assert ann.page.locator("#about").inner_text().count("alert(") >= 4
    ann.page.wait_for_timeout(200)  # a late script may still run
    assert ann.page.evaluate(FOUND) == CLEAN
    assert ann.dialogs == []


def test_scripts_in_a_file_name_do_not_run_in_the_message(
    visit: Callable[..., PageDriver], tmp_path: Path
) -> None:
    path = tmp_path / f"{ATTACKS[1].replace('/', '')}.mid"
    path.write_bytes(b"no music at all")
    ann = visit()
    ann.drop(path)
    ann.page.get_by_text("is not a MIDI file").wait_for()
    assert ann.page.evaluate(FOUND) == CLEAN
    assert ann.dialogs == []


@pytest.mark.parametrize(
    ("refusal", "shown"),
    [(RefusedError(429, "You have 3 jobs here already; wait."), "You have 3 jobs here already"),
     (RefusedError(503, "Everybody composes."), "This application is currently busy")],
)  # fmt: skip
def test_a_refused_job_shows_a_message_and_the_next_one_works(
    visit: Callable[..., PageDriver],
    monkeypatch: pytest.MonkeyPatch,
    refusal: RefusedError,
    shown: str,
) -> None:
    ann = visit()

    def refuse(limits: QueueLimits, address: str, *, composes: bool) -> None:
        if composes:
            raise refusal

    with monkeypatch.context() as patch:
        patch.setattr(QueueLimits, "_check", refuse)
        ann.press(bars=1)
        ann.page.get_by_text(shown).first.wait_for()
    assert ann.compose(bars=1) == "Continue adds 1 bar after bar 9."
