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

SOME_BARS = re.compile(r"bar \d\d of 72")


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
    ann.done("after bar 12")
    ann.wait_for_player("sound.rendering.complete")


def test_stop_keeps_the_bars_so_far(visit: Callable[..., PageDriver], watched: Any) -> None:
    watched.pause_s = 0.2
    ann = visit()
    ann.press(bars=64)
    ann.page.get_by_text(SOME_BARS).wait_for()
    ann.button("Stop").click()
    said = ann.done()
    assert watched.ended.wait(timeout=30)
    bars = int(re.findall(r"after bar (\d+)", said)[0]) - 8
    assert 2 <= bars == watched.bars < 64
    assert sum(step.bars for step in read_recipe(ann.midi).steps) == bars


def test_endless_music_ends_when_another_job_starts(
    visit: Callable[..., PageDriver], watched: Any
) -> None:
    watched.pause_s = 0.1
    ann = visit()
    ann.drawer("Music")
    ann.page.get_by_role("checkbox", name="Endless").check()
    ann.page.get_by_text("Continue adds bars after bar 8 until you press Stop.").wait_for()
    ann.press()
    ann.page.get_by_text(re.compile(r"Composing: bar \d+(,|$)")).wait_for()
    ann.page.get_by_role("checkbox", name="Endless").uncheck()
    watched.pause_s = 0.0
    ann.press(bars=3)
    ann.done("^Continue adds 3 bars after")
    assert len(read_recipe(ann.midi).steps) == 2


def test_closing_the_page_stops_its_job(visit: Callable[..., PageDriver], watched: Any) -> None:
    watched.pause_s = 0.2
    ann = visit()
    ann.press(bars=64)
    ann.page.get_by_text(SOME_BARS).wait_for()
    ann.page.close()
    assert watched.ended.wait(timeout=30)
    assert watched.bars < 64


def test_an_entered_random_seed_is_used_and_a_die_draws_another(
    visit: Callable[..., PageDriver],
) -> None:
    ann = visit()
    ann.drawer("Expert")
    seed = ann.field("Random seed")
    seed.press_sequentially("7")
    ann.compose(bars=2)
    first = ann.midi
    ann.set_slider("Choice of notes", 1.2)
    ann.compose("Try again")
    steps = read_recipe(ann.midi).steps
    assert [(step.sampling.seed, step.sampling.temperature) for step in steps] == [(7, 1.2)]
    ann.set_slider("Choice of notes", 1)
    ann.compose("Try again")
    assert ann.midi == first
    ann.button("Draw another seed").click()
    ann.page.wait_for_function(
        "document.querySelector('#seed textarea, #seed input').value !== '7'"
    )
    drawn = int(seed.input_value())
    ann.compose("Try again")
    assert read_recipe(ann.midi).steps[0].sampling.seed == drawn


@with_sound
def test_muting_an_instrument_renders_the_piece_again(visit: Callable[..., PageDriver]) -> None:
    ann = visit()
    ann.compose(bars=2)
    ann.wait_for_player("sound.rendering.complete")
    before = ann.player("sound.rendering.number")
    ann.button("Mute Left hand").click()
    ann.wait_for_player(f"sound.rendering.number > {before}")
    ann.wait_for_player("sound.rendering.complete")
    assert ann.player("value.muted") == [1]


@with_sound
def test_an_instrument_is_muted_while_more_is_composed(
    visit: Callable[..., PageDriver], watched: Any
) -> None:
    watched.held_at = 4
    ann = visit()
    ann.press(bars=6)
    ann.wait_for_player("state === 'playing'")
    ann.button("Mute Left hand").click()
    ann.page.wait_for_timeout(1_000)  # the player collects presses before it sends them
    watched.held_at = 6
    ann.wait_for_player("sound.rendering.number === 1")
    assert watched.bars < 6
    assert ann.player("value.muted") == [1]
    watched.held_at = None
    ann.done("after bar 14")
    ann.wait_for_player("sound.rendering.complete")
    assert ann.player("value.muted") == [1]


@with_sound
def test_changing_the_reverb_renders_the_piece_again(visit: Callable[..., PageDriver]) -> None:
    ann = visit()
    ann.compose(bars=2)
    ann.wait_for_player("sound.rendering.complete")
    before = ann.player("sound.rendering.number")
    ann.drawer("Sound")
    ann.page.get_by_role("slider", name="range slider for Reverb").press("Home")
    ann.wait_for_player(f"sound.rendering.number > {before}")
