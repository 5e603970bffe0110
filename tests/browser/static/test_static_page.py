"""The page without a server in a real Chromium: composing, takes, undo, downloads, links, phone."""

from __future__ import annotations

import gzip
import io
import re
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from symusic.core import ControlChangeTick, PitchBendTick, ScoreTick, TempoTick

from musiclstm import Composer, Recipe, Sampling, example_files, read_recipe
from musiclstm.midi import read_midi
from musiclstm.midi.score_tables import write_midi
from tests.browser.static.static_page import StaticPage
from tests.page.server.waiting import until

pytestmark = pytest.mark.browser

MINUET = example_files()["Minuet in G (Petzold)"]
RIFF = example_files()["Garage Riff (musiclstm)"]
SEED = 20_261_201
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


def notes_of(score: ScoreTick) -> list[list[tuple[int, ...]]]:
    return [
        sorted((note.time, note.duration, note.pitch, note.velocity) for note in track.notes)
        for track in score.tracks
    ]


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer.from_pretrained()


@pytest.fixture
def odd_file(tmp_path: Path) -> Path:
    """Return a prompt with an odd resolution, pedals, bends, a fade-out, a bank and an umlaut."""
    score = read_midi(MINUET)[0].resample(250, min_dur=1)
    right, left = score.tracks
    right.name, right.program = "Flöte", 73
    for time in range(0, 5_000, 500):
        left.controls.append(ControlChangeTick(time, 64, 100))
        left.controls.append(ControlChangeTick(time + 450, 64, 0))
        left.controls.append(ControlChangeTick(time, 7, 100 - time // 60))
        right.pitch_bends.append(PitchBendTick(time, time - 3_000))
    left.controls.append(ControlChangeTick(5_100, 64, 127))
    right.controls.append(ControlChangeTick(0, 0, 8))
    score.tempos.append(TempoTick(1_500, mspq=150_000))
    path = tmp_path / "odd.mid"
    path.write_bytes(write_midi(score))
    return path


@pytest.mark.parametrize("name", ["minuet", "odd", pytest.param("riff", marks=pytest.mark.slow)])
def test_the_page_writes_the_file_of_the_library(visit, composer, name, odd_file) -> None:
    prompt = {"minuet": MINUET, "odd": odd_file, "riff": RIFF}[name]
    page = visit()
    page.open_file(prompt)
    page.set_seed(SEED)
    page.press("Continue", until_bar=16)
    piece = composer.compose(bars=8, prompt=prompt, sampling=Sampling(seed=SEED))
    assert page.download("Save MIDI") == piece.to_midi()
    # Continued again in another key, it equals a longer piece.
    page.page.get_by_label("Key").select_option("F# minor")
    page.press("Continue", until_bar=24)
    in_key = replace(piece.constraints, key="F# minor")
    longer = composer.extend(piece, bars=8, constraints=in_key)
    assert page.download("Save MIDI") == longer.to_midi()


def test_an_example_is_there_at_once_and_the_prompt_is_kept(visit) -> None:
    page = visit()
    page.wait_for_bars(8)
    page.press("Continue", until_bar=16)
    prompt, whole = ScoreTick.from_midi(MINUET.read_bytes()), page.score()
    end = max(note.end for track in prompt.tracks for note in track.notes)
    kept = [[row for row in track if row[0] < end] for track in notes_of(whole)]
    assert kept == notes_of(prompt)
    assert [track.name for track in whole.tracks] == [track.name for track in prompt.tracks]


def test_a_dropped_file_is_opened(visit) -> None:
    page = visit()
    page.wait_for_bars(8)
    with page.page.expect_file_chooser() as chooser:
        page.button("Open a MIDI file").click()
    chooser.value.set_files(RIFF)
    page.open_drawer("sound")
    page.page.get_by_role("button", name="Mute Bass", exact=True).wait_for()
    page.wait_for_bars(8)


def test_a_file_opened_at_once_is_not_replaced_by_the_first_example(browser, static_url) -> None:
    held: list[Any] = []
    context = browser.new_context()
    context.route("**/examples.json", lambda route: held.append(route))
    page = StaticPage(context, static_url)
    page.open_file(RIFF)
    held[0].continue_()
    page.page.locator("#example option").nth(1).wait_for(state="attached")
    page.choose_bars("1")
    page.press("Continue", until_bar=9)
    assert RIFF.name in page.page.locator("#about").inner_text()
    context.close()
    assert page.errors == []


def test_try_again_undo_and_redo(visit) -> None:
    page = visit()
    page.wait_for_bars(8)
    page.choose_bars("2")
    page.set_seed(1)
    page.press("Continue", until_bar=10)
    first = notes_of(page.score())
    page.set_seed(2)
    page.press("Try again", until_bar=10)
    second = notes_of(page.score())
    assert second != first
    page.button("Undo").click()
    assert notes_of(page.score()) == first
    page.button("Undo").click()
    page.wait_for_bars(8)
    assert page.button("Undo").is_disabled()
    page.button("Redo").click()
    page.button("Redo").click()
    assert notes_of(page.score()) == second


def test_four_takes_are_alternatives_of_the_last_step(visit) -> None:
    page = visit()
    page.wait_for_bars(8)
    page.choose_bars("4")
    page.set_seed(1)
    page.press("Four takes", until_bar=12)
    found = []
    for letter in "ABCD":
        take = page.page.get_by_role("radio", name=f"Take {letter}")
        take.click()
        assert take.get_attribute("aria-checked") == "true"
        found.append(notes_of(page.score()))
    assert all(a != b for i, a in enumerate(found) for b in found[:i])
    page.page.locator("body").press("b")
    assert notes_of(page.score()) == found[1]
    page.press("Continue", until_bar=16)  # appends to what is shown
    assert [row for row in notes_of(page.score())[0] if row in found[1][0]] == found[1][0]


def test_redo_from_a_bar_keeps_the_bars_before(visit) -> None:
    page = visit()
    page.wait_for_bars(8)
    page.set_seed(1)
    page.press("Continue", until_bar=16)
    before = page.score()
    page.bar(4).click()
    assert page.button("Redo from bar 4").count() == 0  # a bar of the prompt
    page.bar(13).click()
    page.set_seed(2)
    page.press("Redo from bar 13", until_bar=16)
    after, line = page.score(), 12 * 3 * before.ticks_per_quarter
    kept = [
        [[row for row in track if row[0] < line] for track in notes_of(score)]
        for score in (before, after)
    ]
    assert [[row[:1] + row[2:] for row in t] for t in kept[0]] == [
        [row[:1] + row[2:] for row in t] for t in kept[1]
    ]
    assert notes_of(before) != notes_of(after)


def test_the_key_holds_and_endless_stops(visit) -> None:
    page = visit()
    page.wait_for_bars(8)
    page.page.get_by_label("Key").select_option("Eb minor")
    page.choose_bars("endless")
    page.button("Continue").click()
    page.bar(14).wait_for()
    page.page.get_by_text(re.compile(r"^Writing bar (1[4-9]|2)")).wait_for()
    page.page.wait_for_timeout(500)  # sooner, it would be the second press of a double click
    page.button("Stop").click()
    page.button("Continue").wait_for()
    score = page.score()
    start = 8 * 3 * score.ticks_per_quarter
    pitches = {n.pitch % 12 for t in score.tracks for n in t.notes if n.time >= start}
    assert pitches <= {(3 + step) % 12 for step in (0, 2, 3, 5, 7, 8, 10, 11)}


def test_the_sound_is_heard_and_saved(visit) -> None:
    page = visit()
    page.wait_for_bars(8)
    page.choose_bars("1")
    page.press("Continue", until_bar=9)
    page.page.locator('.player[data-state="playing"]').wait_for()
    with wave.open(io.BytesIO(page.download("Save WAV"))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (44_100, 2, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, 2)
    new = samples[8 * 44_100 * 3 // 2 :]  # the prompt lasts about 14 seconds
    assert np.abs(new).max() > 2_000
    assert np.abs(samples).max() < 32_767


@pytest.mark.slow
def test_a_muted_track_is_silent(visit) -> None:
    page = visit()
    page.wait_for_bars(8)
    page.open_drawer("sound")
    for name in ("Mute Right hand", "Mute Left hand"):
        page.page.get_by_role("button", name=name, exact=True).click()
    page.page.wait_for_timeout(600)  # several presses become one event
    with wave.open(io.BytesIO(page.download("Save WAV"))) as file:
        assert not any(file.readframes(file.getnframes()))


def test_a_link_makes_the_piece_again_here_and_in_python(visit, composer, tmp_path) -> None:
    own = tmp_path / "own.mid"
    own.write_bytes(RIFF.read_bytes().replace(b"Bass", b"Deep"))
    page = visit()
    page.open_file(own)
    page.choose_bars("2")
    page.press("Continue", until_bar=10)
    page.page.get_by_label("Key").select_option("D minor")
    page.press("Continue", until_bar=12)
    first = page.download("Save MIDI")
    page.open_drawer("share")
    page.button("Copy link").click()
    page.page.wait_for_url(re.compile("recipe="))
    query = page.page.url.removeprefix(page.url)
    page.errors.clear()  # the page may not use the clipboard here
    # The file is small enough to travel in the link.
    other = visit(query)
    other.wait_for_bars(12)
    assert other.download("Save MIDI") == first
    for recipe in (
        Recipe.from_link(re.search(r"recipe=([\w-]+)", query)[1]),
        read_recipe(first),
    ):
        piece = composer.reproduce(recipe, prompt=own)
        assert piece.to_midi() == first


def test_a_link_of_the_page_with_a_server_is_followed(visit, composer) -> None:
    constraints = composer.default_constraints(MINUET)
    piece = composer.compose(
        bars=2,
        prompt=MINUET,
        sampling=Sampling(seed=3, temperature=0.9),
        constraints=replace(constraints, key="E minor"),
    )
    page = visit(f"?recipe={piece.recipe.to_link()}")
    page.wait_for_bars(10)
    assert page.download("Save MIDI") == piece.to_midi()


@pytest.mark.slow
def test_a_link_waits_for_the_file_that_it_needs(visit, composer, tmp_path) -> None:
    score = ScoreTick.from_midi(MINUET.read_bytes())
    score.tracks[0].name = "Own"
    score.dump_midi(tmp_path / "own.mid")
    piece = composer.compose(bars=2, prompt=tmp_path / "own.mid", sampling=Sampling(seed=3))
    page = visit(f"?recipe={piece.recipe.to_link()}")
    page.page.get_by_role("alert").get_by_text("Open that file").wait_for()
    page.open_file(tmp_path / "own.mid")
    page.wait_for_bars(10)
    assert notes_of(page.score()) == notes_of(piece.score)


def test_a_damaged_link_is_refused_with_a_sentence(visit) -> None:
    page = visit("?recipe=AAAA")
    page.page.get_by_role("alert").get_by_text("This link is damaged").wait_for()


def test_another_file_is_refused_with_a_sentence(visit, tmp_path) -> None:
    page = visit()
    page.wait_for_bars(8)
    (tmp_path / "picture.mid").write_bytes(b"\x89PNG" + bytes(40))
    page.page.locator("#file").set_input_files(tmp_path / "picture.mid")
    page.page.get_by_role("alert").get_by_text("This is a picture, not a MIDI file").wait_for()
    page.press("Continue", until_bar=16)  # the piece before is still there


def test_a_wrapped_and_damaged_file_is_read_and_its_repairs_are_told(visit, tmp_path) -> None:
    (tmp_path / "old.mid").write_bytes(gzip.compress(b"abc" + RIFF.read_bytes()))
    page = visit()
    page.open_file(tmp_path / "old.mid")
    about = page.page.locator("#about")
    about.get_by_text("Repaired: left out 3 bytes before the MIDI header.").wait_for()
    page.wait_for_bars(8)


def test_a_core_that_cannot_be_fetched_is_told_and_fetched_again(browser, static_url) -> None:
    context = browser.new_context(service_workers="block")
    context.route("**/core.wasm", lambda route: route.abort())
    page = StaticPage(context, static_url)
    page.page.get_by_role("alert").get_by_text("core.wasm could not be fetched.").wait_for()
    context.unroute("**/core.wasm")
    page.open_file(RIFF)
    page.wait_for_bars(8)
    context.close()


def test_names_of_tracks_are_text(visit, tmp_path) -> None:
    score = ScoreTick.from_midi(MINUET.read_bytes())
    score.tracks[0].name = '<img src=x onerror="alert(1)">'
    score.dump_midi(tmp_path / "<b>bold.mid")
    page = visit()
    page.open_file(tmp_path / "<b>bold.mid")
    page.open_drawer("sound")
    page.page.locator(".chip").get_by_text('<img src=x onerror="alert(1)">').wait_for()


def test_it_works_offline_after_the_first_visit(visit) -> None:
    page = visit()
    page.wait_for_bars(8)
    page.press("Continue", until_bar=16)
    page.page.locator('.player[data-state="playing"]').wait_for()
    page.page.reload()
    page.wait_for_bars(16)  # of the visit before
    assert page.sounds
    until(lambda: page.sounds <= page.kept_files())
    page.context.set_offline(True)
    page.page.reload()
    page.wait_for_bars(16)
    page.press("Continue", until_bar=24)
    page.page.locator('.player[data-state="playing"]').wait_for()


def test_a_phone_shows_everything_in_its_width(visit) -> None:
    page = visit(**PHONE)
    page.wait_for_bars(8)
    page.button("Continue").tap()
    page.wait_for_bars(16)
    box = page.button("Continue").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= 844
    for each in page.page.locator("button:visible, select:visible").all():
        place = each.bounding_box()
        assert place is not None
        assert place["x"] >= 0
    roll = page.page.locator("#player").bounding_box()
    assert roll is not None
    assert roll["x"] + roll["width"] <= 390


@pytest.mark.parametrize("name", ["tune.kar", "tune.smf", "tune.MID", "tune", ".mid"])
def test_midi_files_of_any_name_are_taken(name, visit, tmp_path) -> None:
    file = tmp_path / name
    file.write_bytes(RIFF.read_bytes())
    page = visit()
    page.wait_for_bars(8)
    page.open_file(file)
    page.open_drawer("sound")
    page.page.get_by_role("button", name="Mute Bass", exact=True).wait_for()


def test_a_closed_audio_context_is_made_anew_on_the_next_press(visit) -> None:
    page = visit(bypass_csp=True)  # the test evaluates scripts
    page.wait_for_bars(8)
    page.page.locator(".player .play").click()
    page.page.locator('.player[data-state="playing"]').wait_for()
    page.page.evaluate("musiclstm.context.close()")
    page.page.locator('.player[data-state="paused"]').wait_for()
    page.page.locator(".player .play").click()
    page.page.locator('.player[data-state="playing"]').wait_for()
    assert page.page.evaluate("musiclstm.context.state") == "running"
