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
def test_one_of_four_takes_is_kept_and_continued(
    visit: Callable[..., PageDriver],
) -> None:
    ann = visit()
    assert not ann.page.locator("#take-b").is_visible()
    ann.compose("Four takes", bars=2)
    for take in "abcd":
        ann.wait_for_player("sound.rendering.complete", player=f"roll-{take}")
        assert ann.page.locator(f"#take-{take}").is_visible()
    seeds = re.findall(r"random seed (\d+)", ann.page.locator("#takes").inner_text())
    assert [int(seed) - int(seeds[0]) for seed in seeds] == [0, 1, 2, 3]
    ann.button("Keep B").click()
    ann.page.locator("#take-c").wait_for(state="hidden")
    kept = read_recipe(ann.midi)
    assert str(kept.steps[0].sampling.seed) == seeds[1]
    ann.compose("Continue from here", bars=3, said="^5 bars after")
    longer = read_recipe(ann.midi)
    assert [step.bars for step in longer.steps] == [2, 3]
    assert longer.steps[0] == kept.steps[0]


@with_sound
def test_another_take_plays_from_the_same_position(visit: Callable[..., PageDriver]) -> None:
    ann = visit()
    ann.compose("Four takes", bars=4)
    for take in "ac":
        ann.wait_for_player("sound.rendering.complete", player=f"roll-{take}")
    ann.page.evaluate("musiclstm.players.get('roll-a').seekBar(9)")
    ann.button("Hear C from here").click()
    ann.wait_for_player("state === 'playing'", player="roll-c")
    assert ann.player("state") == "paused"
    assert ann.player("place", player="roll-c") == pytest.approx(9, abs=2)


def test_complete_takes_are_in_the_order_of_their_places_with_reasons(
    visit: Callable[..., PageDriver],
) -> None:
    ann = visit()
    ann.compose("Four takes", bars=3)
    takes = ann.page.locator("#takes .take:visible").evaluate_all(
        r"""all => all.map((each) => ({
            at: [each.offsetTop, each.offsetLeft],
            place: each.querySelector(".said").className.match(/place-(\d)/)[1],
            why: each.querySelector(".why")?.innerText ?? "",
        }))"""
    )
    places = [take["place"] for take in sorted(takes, key=lambda take: take["at"])]
    assert places == ["1", "2", "3", "4"]
    assert any(take["why"] for take in takes)


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
    ann.done("4 bars after")
    ann.page.locator("#take-a").wait_for(state="hidden")
    ann.wait_for_player("state === 'paused'")
    assert ann.page.locator("#takes .take:visible").count() == 3
    assert ann.button("Continue from here").is_visible()


def test_undo_redo_and_the_history_show_other_versions(visit: Callable[..., PageDriver]) -> None:
    ann = visit()
    ann.compose(bars=1)
    first = ann.midi
    ann.compose(bars=2, said="^2 bars")
    second = ann.midi
    ann.button("Undo").click()
    ann.done("^1 bar after")
    assert ann.midi == first
    assert ann.button("Undo").is_disabled()
    ann.button("Redo").click()
    ann.done("^2 bars after")
    assert ann.midi == second
    ann.page.locator("#history summary").click()
    ann.page.locator("#history button").first.click()
    ann.done("^1 bar after")
    assert ann.midi == first


def test_a_piece_is_composed_again_from_a_clicked_bar(visit: Callable[..., PageDriver]) -> None:
    ann = visit()
    ann.compose(bars=4)
    first = ann.midi
    ann.page.locator("#roll-a .bar", has_text=re.compile("^11$")).click()
    ann.page.wait_for_function("document.querySelector('#again input').value === '3'")
    ann.compose("New from bar", bars=8, said="^4 bars after")
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
    ann.page.get_by_role("spinbutton", name="number input for Adventurous").fill("1.1")
    ann.compose(bars=3)
    ann.page.wait_for_function("document.querySelector('#link input, #link textarea').value")
    link = ann.page.locator("#link").locator("input, textarea").input_value()
    assert link.startswith(f"{page_url}?recipe=")
    bob.open(link)
    bob.done("^3 bars after")
    assert bob.midi == ann.midi
    adventurous = bob.page.get_by_role("spinbutton", name="number input for Adventurous")
    assert adventurous.input_value() == "1.1"
    assert bob.page.get_by_role("checkbox", name="Lock it").is_checked()


def test_a_link_to_an_uploaded_file_waits_for_it(
    visit: Callable[..., PageDriver], midi_file: Callable[..., Path]
) -> None:
    ann, bob = visit(), visit()
    motif = midi_file("motif.mid", bars=2)
    ann.drop(motif)
    ann.page.get_by_role("heading", name="motif.mid").wait_for()
    ann.compose(bars=1)
    ann.page.wait_for_function("document.querySelector('#link input, #link textarea').value")
    bob.open(ann.page.locator("#link").locator("input, textarea").input_value())
    bob.page.get_by_text("upload that file").wait_for()
    bob.drop(motif)
    bob.done("^1 bar after 2 bars of motif.mid")
    assert bob.midi == ann.midi


def test_a_broken_link_shows_a_message(visit: Callable[..., PageDriver], page_url: str) -> None:
    ann = visit()
    ann.open(f"{page_url}?recipe=<b>nonsense")
    ann.page.get_by_text("This link holds no recipe").wait_for()
    assert ann.compose(bars=1).startswith("1 bar after")
