"""Composing, stopping, muting and remixing in Chromium."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from musiclstm import read_recipe
from tests.browser.page_driver import PageDriver, with_sound

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing"),
]

SOME_BARS = re.compile(r"bar ([2-9]|\d\d) of 64")


@with_sound
def test_sound_arrives_before_the_last_bar_is_composed(
    visit: Callable[..., PageDriver], watched: Any
) -> None:
    watched.held_at = 4
    ann = visit()
    ann.press(bars=4)
    ann.wait_for_player("state === 'playing'")
    assert watched.bars < 4
    assert not ann.player("sound.rendering.complete")
    assert ann.player("roll.planned") == 12
    watched.held_at = None
    ann.done("4 bars after")
    ann.wait_for_player("sound.rendering.complete")


def test_stop_keeps_the_bars_so_far(visit: Callable[..., PageDriver], watched: Any) -> None:
    watched.pause_s = 0.2
    ann = visit()
    ann.press(bars=64)
    ann.page.get_by_text(SOME_BARS).wait_for()
    ann.button("Stop").click()
    said = ann.done("after")
    assert watched.ended.wait(timeout=30)
    bars = int(said.split()[0])
    assert 2 <= bars == watched.bars < 64
    assert sum(step.bars for step in read_recipe(ann.midi).steps) == bars


def test_endless_music_ends_when_another_job_starts(
    visit: Callable[..., PageDriver], watched: Any
) -> None:
    watched.pause_s = 0.1
    ann = visit()
    ann.page.get_by_role("checkbox", name="Endless").check()
    ann.press()
    ann.page.get_by_text(re.compile(r"Composing: bar (\d|\d\d)(,|$)")).wait_for()
    ann.page.get_by_role("checkbox", name="Endless").uncheck()
    watched.pause_s = 0.0
    ann.press(bars=3)
    assert ann.done("^3 bars after").startswith("3 bars after 8 bars")


def test_closing_the_page_stops_its_job(visit: Callable[..., PageDriver], watched: Any) -> None:
    watched.pause_s = 0.2
    ann = visit()
    ann.press(bars=64)
    ann.page.get_by_text(SOME_BARS).wait_for()
    ann.page.close()
    assert watched.ended.wait(timeout=30)
    assert watched.bars < 64


def test_an_entered_random_seed_is_locked_and_stays(
    visit: Callable[..., PageDriver],
) -> None:
    ann = visit()
    ann.field("Random seed").press_sequentially("7")
    ann.page.locator("#lock input:checked").wait_for()  # entering a number locks it
    adventurous = ann.page.get_by_role("spinbutton", name="number input for Adventurous")
    adventurous.fill("0.9")
    ann.compose(bars=2)
    first = ann.midi
    adventurous.fill("1.2")
    ann.compose(bars=2)
    steps = read_recipe(ann.midi).steps
    assert [(step.sampling.seed, step.sampling.temperature) for step in steps] == [(7, 1.2)]
    adventurous.fill("0.9")
    ann.compose(bars=2)
    assert read_recipe(ann.midi) == read_recipe(first)
    assert ann.midi == first


@with_sound
def test_muting_an_instrument_renders_the_piece_again(visit: Callable[..., PageDriver]) -> None:
    ann = visit()
    ann.compose(bars=2)
    ann.wait_for_player("sound.rendering.complete")
    before = ann.player("sound.rendering.number")
    ann.button("Mute Acoustic Grand Piano").click()
    ann.wait_for_player(f"sound.rendering.number > {before}")
    ann.wait_for_player("sound.rendering.complete")
    assert ann.player("value.muted") == [0]


@with_sound
def test_an_instrument_is_muted_while_more_is_composed(
    visit: Callable[..., PageDriver], watched: Any
) -> None:
    watched.held_at = 4
    ann = visit()
    ann.press(bars=6)
    ann.wait_for_player("state === 'playing'")
    ann.button("Mute Acoustic Grand Piano").click()
    ann.page.wait_for_timeout(1_000)  # the player collects presses before it sends them
    watched.held_at = 6
    ann.wait_for_player("sound.rendering.number === 1")
    assert watched.bars < 6
    assert ann.player("value.muted") == [0]
    watched.held_at = None
    ann.done("6 bars after")
    ann.wait_for_player("sound.rendering.complete")
    assert ann.player("value.muted") == [0]


@with_sound
def test_changing_the_reverb_renders_the_piece_again(visit: Callable[..., PageDriver]) -> None:
    ann = visit()
    ann.compose(bars=2)
    ann.wait_for_player("sound.rendering.complete")
    before = ann.player("sound.rendering.number")
    ann.page.locator("#steer button", has_text=re.compile("^Sound")).click()
    ann.page.get_by_role("slider", name="range slider for Reverb").press("Home")
    ann.wait_for_player(f"sound.rendering.number > {before}")
