"""Prompts, uploads, accessibility and layout in Chromium."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from musiclstm import read_midi, read_recipe
from musiclstm.midi import ACCEPT, write_midi
from tests.browser.page_driver import MINUET, PageDriver, with_sound

# Names of the controls in view outside the player.
CONTROLS = """[...document.querySelectorAll("button, input, select, textarea")]
    .filter((each) => each.checkVisibility({ visibilityProperty: true })
        && each.getBoundingClientRect().top < innerHeight
        && !each.closest(".player, .label-wrap, #drop input"))
    .map((each) => each.innerText.trim() || each.ariaLabel || each.labels?.[0]?.innerText || "")"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing"),
]


@with_sound
def test_continue_composes_and_plays(visit: Callable[..., PageDriver]) -> None:
    ann = visit()
    assert ann.player("state") == "paused"
    ann.press()
    ann.wait_for_player("state === 'playing'")
    assert ann.done() == "Continue adds 8 bars after bar 16."
    ann.wait_for_player("sound.rendering.complete")


def test_nothing_plays_before_a_user_action(visit: Callable[..., PageDriver]) -> None:
    ann = visit()
    assert (
        ann.page.evaluate("[...musiclstm.players.values()].map((each) => each.wants)")
        == [False] * 4
    )


@with_sound
def test_the_prompt_plays_in_the_player_that_then_grows(visit: Callable[..., PageDriver]) -> None:
    ann = visit()
    play = ann.page.locator("#roll-a .play")
    play.click()
    ann.wait_for_player("state === 'playing'")
    ann.wait_for_player("sound.rendering.complete")
    assert play.get_attribute("aria-label") == "Pause"
    ann.compose(bars=1)
    ann.wait_for_player("state === 'playing'")
    assert ann.page.locator(".player:visible").count() == 1
    assert ann.player("roll.planned") == 9


@with_sound
def test_music_plays_from_a_clicked_bar_that_has_no_sound_yet(
    visit: Callable[..., PageDriver], midi_file: Callable[..., Path]
) -> None:
    ann = visit()
    ann.drop(midi_file("long.mid", bars=40))
    ann.page.get_by_role("heading", name="long.mid").wait_for()
    ann.page.evaluate("musiclstm.players.get('roll-a').seekBar(30)")
    ann.page.locator("#roll-a .play").click()
    ann.wait_for_player("state === 'playing'")
    assert ann.player("place") == pytest.approx(30, abs=2)
    ann.page.evaluate("musiclstm.players.get('roll-a').seekBar(5)")  # which has no sound yet
    ann.wait_for_player("sound.rendering.at(musiclstm.players.get('roll-a').sound.position)")
    ann.wait_for_player("state === 'playing'")
    assert ann.player("place") == pytest.approx(5, abs=2)


def test_a_form_starts_a_new_piece(visit: Callable[..., PageDriver]) -> None:
    ann = visit()
    ann.drawer("Start from nothing")
    ann.compose("Start a new piece", bars=2, said="after bar 2")
    assert read_recipe(ann.midi).source is None


def test_a_chosen_example_is_continued(visit: Callable[..., PageDriver]) -> None:
    ann = visit()
    ann.field("Example").click()
    ann.page.get_by_role("option", name="Ode to Joy (Beethoven)").click()
    ann.page.get_by_role("heading", name="Ode to Joy (Beethoven)").wait_for()
    assert ann.compose(bars=1) == "Continue adds 1 bar after bar 9."


def test_a_dropped_file_is_continued(
    visit: Callable[..., PageDriver], midi_file: Callable[..., Path]
) -> None:
    ann = visit()
    ann.drop(midi_file("motif.mid", bars=2))
    ann.page.get_by_role("heading", name="motif.mid").wait_for()
    assert ann.compose(bars=2) == "Continue adds 2 bars after bar 4."
    for _ in range(2):
        ann.button("Undo").click()
    ann.page.get_by_role("heading", name=MINUET).wait_for()


def test_a_part_of_a_file_is_continued_with_its_bar_numbers(
    visit: Callable[..., PageDriver], midi_file: Callable[..., Path]
) -> None:
    ann = visit()
    ann.drop(midi_file("band.mid", bars=6, tracks=("One", "Two")))
    ann.page.get_by_role("heading", name="band.mid").wait_for()
    bars = ann.page.locator("#roll-a .bar")
    bars.filter(has_text=re.compile("^3$")).click()
    bars.filter(has_text=re.compile("^4$")).click(modifiers=["Shift"])
    ann.button("Continue only these bars").click()
    ann.page.get_by_text("Only bars 3 to 4 of all parts.").wait_for()
    assert ann.compose(bars=1) == "Continue adds 1 bar after bar 5."
    assert ann.page.locator("#roll-a .bar").all_inner_texts() == ["3", "4", "5"]
    recipe = read_recipe(ann.midi)
    assert recipe.source is not None
    assert recipe.source.selection is not None
    assert (recipe.source.selection.first_bar, recipe.source.selection.last_bar) == (3, 4)


def test_selected_bars_are_written_anew_and_undone(visit: Callable[..., PageDriver]) -> None:
    ann = visit()
    before = read_midi(ann.midi)[0]
    ann.page.locator("#roll-a .bar", has_text=re.compile("^5$")).click()
    ann.page.locator("#selected").get_by_text("Bar 5").wait_for()
    ann.field("Parts").click()
    ann.page.get_by_role("option", name="Left hand").click()
    ann.page.keyboard.press("Escape")
    ann.compose("Write again", bars=8)
    after = read_midi(ann.midi)[0]
    right = [sorted((n.time, n.pitch) for n in each.tracks[0].notes) for each in (before, after)]
    assert right[0] == right[1]
    ann.button("Undo").click()
    ann.page.locator("#roll-a .bar[aria-selected=true]").first.wait_for(state="detached")
    assert ann.midi == write_midi(before)


def test_few_controls_are_in_view_before_the_first_press(visit: Callable[..., PageDriver]) -> None:
    ann = visit(viewport={"width": 1280, "height": 1000})
    names = ann.page.evaluate(CONTROLS)
    assert 8 <= len(names) <= 12, names
    for name in ("Continue", "Four takes", "New bars", "Example"):
        assert name in names
    assert ann.button("Undo").is_hidden()


@pytest.mark.parametrize(("width", "height"), [(1280, 1000), (390, 844)])
def test_the_result_is_in_view_after_a_press(
    visit: Callable[..., PageDriver], width: int, height: int
) -> None:
    ann = visit(viewport={"width": width, "height": height})
    ann.compose(bars=2)
    ann.compose("Four takes", bars=2)
    stage = ann.page.locator("#roll-a .stage").bounding_box()
    assert 0 <= stage["y"] < stage["y"] + stage["height"] < height
    assert ann.page.evaluate("scrollY") == 0


def test_a_drawer_counts_and_resets_its_changes(visit: Callable[..., PageDriver]) -> None:
    ann = visit()
    ann.drawer("Music")
    ann.page.get_by_role("checkbox", name="Come to a close").check()
    ann.page.get_by_text("Music (1 changed)").wait_for()
    ann.button("Reset Music").click()
    ann.page.get_by_role("button", name=re.compile(r"^Music(?! \()")).first.wait_for()
    assert not ann.page.get_by_role("checkbox", name="Come to a close").is_checked()


# -- Untrusted files ------------------------------------------------------------------------------


def test_an_invalid_file_keeps_prompt_and_result(
    visit: Callable[..., PageDriver], tmp_path: Path
) -> None:
    ann = visit()
    before = ann.compose(bars=1)
    bad = tmp_path / "bad.mid"
    bad.write_text("Dear diary")
    ann.drop(bad)
    ann.page.get_by_text("is not a MIDI file").wait_for()
    ann.page.locator("#drop [data-testid=upload-text]").wait_for()  # the field is free again
    assert ann.status == before
    assert ann.page.locator("#about h2").inner_text() == MINUET
    assert ann.midi.startswith(b"MThd")


# -- Sessions, accessibility, layout ---------------------------------------------------------------


def test_the_page_requests_no_other_host(visit: Callable[..., PageDriver], page_url: str) -> None:
    ann = visit()
    ann.compose(bars=1)
    hosts = {urlsplit(url).hostname for url in ann.requests if url.startswith(("http", "ws"))}
    assert hosts == {urlsplit(page_url).hostname}


def test_every_control_has_an_accessible_name(
    visit: Callable[..., PageDriver],
) -> None:
    page = visit().page
    for role, name in (
        ("spinbutton", "New bars"),
        ("slider", "range slider for Distance from your bars"),
        ("slider", "range slider for Number of notes"),
        ("slider", "range slider for Choice of notes"),
        ("group", "Music"),
    ):
        assert page.get_by_role(role, name=name, exact=True).count() == 1, name
    nameless = """[...document.querySelectorAll("button, input, select, textarea")]
        .filter((each) => each.checkVisibility({ visibilityProperty: true }) && !each.ariaLabel
            && !each.innerText.trim() && !each.labels?.length && !each.title && !each.placeholder)
        .map((each) => each.outerHTML.slice(0, 90))"""
    assert page.evaluate(nameless) == []
    assert page.locator("h1").inner_text() == "musiclstm"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone(scheme: Any, visit: Callable[..., PageDriver]) -> None:
    ann = visit(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    ann.compose("Four takes", bars=1)
    assert ann.page.evaluate("document.documentElement.scrollWidth") <= 390
    wide = ann.page.locator(".strips button").evaluate_all(
        "all => all.map((each) => each.getBoundingClientRect().right)"
    )
    assert len(wide) >= 2
    assert max(wide) <= 390
    assert ann.page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")


@with_sound
def test_a_closed_audio_context_is_made_anew_on_the_next_press(
    visit: Callable[..., PageDriver],
) -> None:
    ann = visit()
    ann.press()
    ann.wait_for_player("state === 'playing'")
    ann.wait_for_player("sound.rendering.complete")
    ann.page.evaluate("musiclstm.context.close()")
    ann.wait_for_player("state === 'paused'")
    before = ann.player("sound.position")
    ann.page.locator("#roll-a .play").click()
    ann.wait_for_player("state === 'playing'")
    ann.wait_for_player(f"sound.position > {before}")
    assert ann.page.evaluate("musiclstm.context.state") == "running"


@pytest.mark.parametrize("name", ["tune.kar", "tune.smf", "tune.MID", "tune", ".mid"])
def test_midi_files_of_any_name_are_taken(
    name: str, visit: Callable[..., PageDriver], midi_file: Callable[..., Path]
) -> None:
    ann = visit()
    ann.drop(midi_file(name, bars=3))
    ann.page.locator("#about").get_by_text("3 bars of").wait_for()
    field = ann.page.locator("#drop input[type=file]")
    ann.page.locator("#about").click()
    assert field.count() == 0 or field.first.get_attribute("accept") == ACCEPT


def test_the_upload_field_lists_endings_and_types(visit: Callable[..., PageDriver]) -> None:
    ann = visit()
    with ann.page.expect_file_chooser() as chooser:
        ann.page.get_by_role("button", name="Click to upload or drop files").click()
    assert chooser.value.element.get_attribute("accept") == ACCEPT
