"""Prompts, uploads, accessibility and layout in Chromium."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from musiclstm import read_recipe
from musiclstm.midi import ACCEPT
from tests.browser.page_driver import MINUET, PageDriver, with_sound

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
    assert ann.done("after") == f"8 bars after 8 bars of {MINUET}."
    ann.wait_for_player("sound.rendering.complete")


def test_nothing_plays_before_a_user_action(visit: Callable[..., PageDriver]) -> None:
    ann = visit()
    assert (
        ann.page.evaluate("[...musiclstm.players.values()].map((each) => each.wants)")
        == [False] * 5
    )


@with_sound
def test_the_new_piece_takes_over_from_the_prompt_s_player(
    visit: Callable[..., PageDriver],
) -> None:
    ann = visit()
    play = ann.page.locator("#prompt-roll .play")
    play.click()
    ann.wait_for_player("state === 'playing'", player="prompt-roll")
    ann.wait_for_player("sound.rendering.complete", player="prompt-roll")
    assert play.get_attribute("aria-label") == "Pause"
    ann.compose(bars=1)
    ann.wait_for_player("state === 'playing'")
    assert ann.player("state", player="prompt-roll") == "paused"


@with_sound
def test_the_prompt_plays_from_a_clicked_bar(
    visit: Callable[..., PageDriver],
) -> None:
    ann = visit()
    bar = "musiclstm.players.get('prompt-roll')"
    ann.page.evaluate(f"{bar}.seekBar(5)")
    ann.page.locator("#prompt-roll .play").click()
    ann.wait_for_player("state === 'playing'", player="prompt-roll")
    assert ann.player("place", player="prompt-roll") == pytest.approx(5, abs=2)
    before = ann.player("value.stream", player="prompt-roll")
    ann.page.evaluate(f"{bar}.seekBar(1)")  # which has no sound yet
    ann.wait_for_player(f"value.stream !== '{before}'", player="prompt-roll")
    ann.wait_for_player("state === 'playing'", player="prompt-roll")
    assert ann.player("place", player="prompt-roll") == pytest.approx(1, abs=2)


def test_surprise_me_starts_from_nothing(visit: Callable[..., PageDriver]) -> None:
    ann = visit()
    ann.set_bars(2)
    ann.page.locator("#surprise").click()
    assert ann.done("nothing") == "2 bars from nothing."
    assert not ann.page.locator("#prompt-roll").is_visible()


def test_a_chosen_card_is_continued(visit: Callable[..., PageDriver]) -> None:
    ann = visit()
    card = ann.page.locator(".cards button", has_text="Ode to Joy")
    card.click()
    ann.page.get_by_role("heading", name="Ode to Joy (Beethoven)").wait_for()
    assert card.get_attribute("aria-pressed") == "true"
    assert "Ode to Joy" in ann.compose(bars=1)


def test_a_dropped_file_is_continued(
    visit: Callable[..., PageDriver], midi_file: Callable[..., Path]
) -> None:
    ann = visit()
    ann.drop(midi_file("motif.mid", bars=2))
    ann.page.get_by_role("heading", name="motif.mid").wait_for()
    assert ann.page.locator(".cards [aria-pressed=true]").count() == 0
    assert ann.compose(bars=2) == "2 bars after 2 bars of motif.mid."


def test_selected_tracks_and_bars_are_continued(
    visit: Callable[..., PageDriver], midi_file: Callable[..., Path]
) -> None:
    ann = visit()
    ann.drop(midi_file("band.mid", bars=4, tracks=("One", "Two")))
    ann.page.get_by_role("heading", name="band.mid").wait_for()
    ann.page.get_by_role("button", name="Choose tracks and bars").click()
    ann.page.get_by_role("checkbox", name=re.compile("^Two")).uncheck()
    ann.field("To bar").press_sequentially("2")
    ann.page.get_by_text("bars 1 to 2 of 1 track").wait_for()
    assert ann.compose(bars=1) == "1 bar after 2 bars of band.mid."
    recipe = read_recipe(ann.midi)
    assert recipe.source is not None
    assert recipe.source.selection is not None
    assert (recipe.source.selection.tracks, recipe.source.selection.last_bar) == ({0}, 2)


def test_bars_are_chosen_on_the_roll(
    visit: Callable[..., PageDriver],
) -> None:
    ann = visit()
    bars = ann.page.locator("#prompt-roll .bar")
    bars.filter(has_text=re.compile("^2$")).click()
    bars.filter(has_text=re.compile("^3$")).click(modifiers=["Shift"])
    ann.page.get_by_text("bars 2 to 3 of all tracks").wait_for()
    assert ann.compose(bars=1) == f"1 bar after 2 bars of {MINUET}."


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
    ann.page.get_by_text("Drop File Here").wait_for()  # the field is free again
    assert ann.status == before
    assert ann.page.locator("#prompt h2").inner_text() == MINUET
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
        ("slider", "range slider for New bars"),
        ("slider", "range slider for Adventurous"),
        ("slider", "range slider for Surprise"),
        ("textbox", "Random seed"),
        ("checkbox", "Lock it"),
        ("group", "Tunes"),
        ("group", "The prompt"),
        ("group", "Take A"),
    ):
        assert page.get_by_role(role, name=name, exact=True).count() == 1, name
    nameless = """[...document.querySelectorAll("button, input, select, textarea")]
        .filter((each) => each.offsetParent && !each.ariaLabel && !each.innerText.trim()
            && !each.labels?.length && !each.title && !each.placeholder)
        .map((each) => each.outerHTML.slice(0, 90))"""
    assert page.evaluate(nameless) == []
    assert page.locator("h1").inner_text() == "musiclstm"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone(scheme: Any, visit: Callable[..., PageDriver]) -> None:
    ann = visit(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    ann.compose("Four takes", bars=1)
    assert ann.page.evaluate("document.documentElement.scrollWidth") <= 390
    wide = ann.page.locator("#takes .take:visible").evaluate_all(
        "all => all.map((each) => each.getBoundingClientRect().right)"
    )
    assert len(wide) == 4
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
