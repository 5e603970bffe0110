"""Takes, history, downloads and links in Chromium."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile

from musiclstm import Recipe, read_midi, read_recipe
from musiclstm.generation import Assessment
from tests.browser.page_driver import PageDriver, with_sound

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing"),
]


# -- Takes and versions ----------------------------------------------------------------------------


@with_sound
def test_another_take_is_chosen_by_its_letter_and_continued(
    visit: Callable[..., PageDriver],
) -> None:
    ann = visit()
    ann.compose("Four takes", bars=4)
    for take in "ac":
        ann.wait_for_player("sound.rendering.complete", player=f"roll-{take}")
    ann.wait_for_player("state === 'playing'")
    ann.page.evaluate("musiclstm.players.get('roll-a').seekBar(9)")
    ann.page.keyboard.press("c")
    ann.wait_for_player("state === 'playing'", player="roll-c")
    assert ann.player("state") == "paused"
    assert ann.player("place", player="roll-c") == pytest.approx(9, abs=2)
    assert ann.take("C").get_attribute("aria-checked") == "true"
    assert ann.page.locator("#take-c").is_visible()
    assert ann.page.locator("#take-a").is_hidden()
    seeds = [read_recipe(ann.midi).steps[0].sampling.seed]
    ann.compose(bars=3)
    assert ann.page.locator(".strips").count() == 0
    steps = read_recipe(ann.midi).steps
    assert [step.bars for step in steps] == [4, 3]
    assert steps[0].sampling.seed == seeds[0]


def test_complete_takes_are_small_strips_with_reasons(visit: Callable[..., PageDriver]) -> None:
    ann = visit()
    ann.compose("Four takes", bars=3)
    ann.page.locator(".strips small", has_text=re.compile(r"\w")).first.wait_for()
    heights = ann.page.locator(".strips button").evaluate_all(
        "all => all.map((each) => each.offsetHeight)"
    )
    assert len(heights) >= 2
    assert 40 <= min(heights) <= max(heights) <= 60


@with_sound
def test_a_collapsed_take_disappears_and_is_silent(
    visit: Callable[..., PageDriver], watched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = iter([True])

    def assess(piece: Any, **options: Any) -> Assessment:
        return Assessment(float(piece.sampling.seed), (), is_collapsed=next(first, False))

    monkeypatch.setattr(watched, "assess", assess, raising=False)
    watched.held_at = 4
    ann = visit()
    ann.press("Four takes", bars=4)
    ann.wait_for_player("state === 'playing'")
    ann.page.evaluate("musiclstm.players.get('roll-a').toggleLoop()")  # it does not end by itself
    watched.held_at = None
    ann.done("after bar 12")
    ann.take("A").wait_for(state="detached")
    ann.wait_for_player("state === 'paused'")
    assert ann.page.locator(".strips button").count() == 3


def test_undo_redo_and_the_history_show_other_versions(visit: Callable[..., PageDriver]) -> None:
    ann = visit()
    ann.compose(bars=1)
    first = ann.midi
    ann.compose(bars=2)
    second = ann.midi
    ann.button("Undo").click()
    ann.done("after bar 9")
    assert ann.midi == first
    ann.button("Undo").click()
    ann.done("after bar 8")
    ann.button("Undo").wait_for(state="hidden")
    for _ in range(2):
        ann.button("Redo").click()
    ann.done("after bar 11")
    assert ann.midi == second
    ann.page.locator("#history summary").click()
    lines = ann.page.locator("#history button").all_inner_texts()
    assert len(set(lines)) == len(lines) == 3
    ann.page.locator("#history button").nth(1).click()
    ann.done("after bar 9")
    assert ann.midi == first


def test_new_bars_are_composed_again_from_a_clicked_bar(visit: Callable[..., PageDriver]) -> None:
    ann = visit()
    ann.compose(bars=4)
    first = ann.midi
    ann.page.locator("#roll-a .bar", has_text=re.compile("^11$")).click()
    ann.compose("Redo from here", bars=8, said="after bar 12")
    second = ann.midi
    assert second != first
    old, new = (read_midi(midi)[0] for midi in (first, second))
    line = 10 * 3 * old.ticks_per_quarter  # where bar 11 of 3/4 begins
    early = [
        sorted((n.time, n.pitch) for track in score.tracks for n in track.notes if n.time < line)
        for score in (old, new)
    ]
    assert early[0] == early[1]
    assert [step.bars for step in read_recipe(second).steps] == [2, 2]


# -- Downloads ------------------------------------------------------------------------------------


@with_sound
def test_every_download_holds_the_piece(visit: Callable[..., PageDriver]) -> None:
    ann = visit()
    ann.compose(bars=2)
    whole, new = (read_midi(ann.download(name))[1] for name in ("MIDI", "MIDI, new bars"))
    assert whole.bars == 10
    assert new.bars <= 2
    assert whole.notes == new.notes + 49  # the minuet has 49
    with zipfile.ZipFile(io.BytesIO(ann.download("Every track, MIDI"))) as tracks:
        assert tracks.namelist()
        for name in tracks.namelist():
            assert read_midi(tracks.read(name))[1].notes
    for name in ("Sound, wav", "Sound, mp3"):
        samples, rate_hz = soundfile.read(io.BytesIO(ann.download(name)))
        assert len(samples) > 10 * rate_hz
        assert abs(samples).max() > 0.05
    recipe = Recipe.from_json(ann.download("Recipe"))
    assert recipe == read_recipe(ann.midi)


def test_music21_reads_the_score(visit: Callable[..., PageDriver]) -> None:
    music21 = pytest.importorskip("music21", reason="music21 is not installed")
    ann = visit()
    ann.compose(bars=2)
    score = music21.converter.parseData(ann.download("Score, MusicXML").decode())
    assert len(score.parts[0].getElementsByClass("Measure")) == 10


def test_a_link_makes_the_same_bytes_again(visit: Callable[..., PageDriver], page_url: str) -> None:
    ann, bob = visit(), visit()
    ann.set_slider("Choice of notes", 1.1)
    ann.compose(bars=3)
    ann.page.wait_for_function("document.querySelector('#link input, #link textarea').value")
    link = ann.page.locator("#link").locator("input, textarea").input_value()
    assert link.startswith(f"{page_url}?recipe=")
    bob.open(link)
    bob.done("after bar 11")
    assert bob.midi == ann.midi
    ideas = bob.page.get_by_role("slider", name="range slider for Choice of notes")
    assert ideas.input_value() == "1.1"


def test_a_link_contains_a_small_file(
    visit: Callable[..., PageDriver], midi_file: Callable[..., Path]
) -> None:
    ann, bob = visit(), visit()
    ann.drop(midi_file("motif.mid", bars=2))
    ann.page.get_by_role("heading", name="motif.mid").wait_for()
    ann.compose(bars=1)
    ann.page.wait_for_function("document.querySelector('#link input, #link textarea').value")
    bob.open(ann.page.locator("#link").locator("input, textarea").input_value())
    bob.page.get_by_role("heading", name="motif.mid").wait_for()
    bob.done("after bar 3")
    assert bob.midi == ann.midi


def test_a_link_to_a_large_file_waits_for_it(
    visit: Callable[..., PageDriver],
    midi_file: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("page.downloads.MAX_PROMPT_BYTES", 10)
    ann, bob = visit(), visit()
    motif = midi_file("motif.mid", bars=2)
    ann.drop(motif)
    ann.page.get_by_role("heading", name="motif.mid").wait_for()
    ann.compose(bars=1)
    ann.page.get_by_text("needs the file motif.mid too").wait_for()
    bob.open(ann.page.locator("#link").locator("input, textarea").input_value())
    bob.page.get_by_text("Open that file").wait_for()
    bob.drop(motif)
    bob.done("after bar 3")
    assert bob.midi == ann.midi


def test_a_broken_link_shows_a_message(visit: Callable[..., PageDriver], page_url: str) -> None:
    ann = visit()
    ann.open(f"{page_url}?recipe=<b>nonsense")
    ann.page.get_by_text("This link holds no recipe").wait_for()
    assert ann.compose(bars=1) == "Continue adds 1 bar after bar 9."
