"""Piano rolls parsed as XML: notes, positions, text and the accessible description."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import pytest
from symusic import Note, Score, TimeSignature, Track
from symusic.core import ScoreTick

from musiclstm.export.pianoroll import MAX_NOTES
from musiclstm.export.pianoroll_svg import pianoroll_svg

BEAT = 480
BAR = 4 * BEAT
SVG = "{http://www.w3.org/2000/svg}"


def score_of(*notes: Note, drums: Sequence[Note] = ()) -> ScoreTick:
    score = Score(BEAT)
    for own, is_drum in ((notes, False), (drums, True)):
        if own:
            track = Track("", 0, is_drum)
            track.notes.extend(own)
            score.tracks.append(track)
    return score


def note(bar: float, bars: float = 1.0, pitch: int = 60, velocity: int = 100) -> Note:
    """A note in 4/4; bars are counted from 0."""
    return Note(round(bar * BAR), round(bars * BAR), pitch, velocity)


def drawn(score: ScoreTick, **options: object) -> ElementTree.Element:
    return ElementTree.fromstring(pianoroll_svg(score, **options))


def texts(picture: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in picture.iter(f"{SVG}text")]


class Mark(NamedTuple):
    """A drawn note; times are fractions of the width."""

    part: str
    opacity: float
    start: float
    end: float
    row: int


def layers(picture: ElementTree.Element) -> list[list[Mark]]:
    """Return the marks of the keys and, if there are any, those of the drums."""
    return [marks_in(svg) for svg in picture.iter(f"{SVG}svg") if svg.get("viewBox")]


def marks_in(layer: ElementTree.Element) -> list[Mark]:
    width = float(layer.attrib["viewBox"].split()[2])
    return [
        Mark(
            path.attrib["class"],
            float(path.attrib["stroke-opacity"]),
            int(start) / width,
            (int(start) + int(length)) / width,
            int(row),
        )
        for path in layer.iter(f"{SVG}path")
        for start, row, length in re.findall(r"M(\d+) (\d+)h(\d+)", path.attrib["d"])
    ]


def marks(picture: ElementTree.Element) -> list[Mark]:
    return sorted((mark for layer in layers(picture) for mark in layer), key=lambda mark: mark[2:])


def boundary(picture: ElementTree.Element) -> ElementTree.Element | None:
    return next((e for e in picture.iter(f"{SVG}line") if e.get("class") == "begin"), None)


# -- Notes ---------------------------------------------------------------------------------------


def test_a_note_is_drawn_from_its_onset_to_its_end():
    first, second = marks(drawn(score_of(note(1, 2), note(3, 1))))
    assert (first.start, first.end) == pytest.approx((0.25, 0.75), abs=0.002)
    assert (second.start, second.end) == pytest.approx((0.75, 1.0), abs=0.002)


def test_higher_notes_are_drawn_higher():
    low, high = marks(drawn(score_of(note(0, pitch=60), note(1, pitch=67))))
    assert low.row - high.row == 7


def test_repeated_notes_stay_apart():
    first, second = marks(drawn(score_of(note(0), note(1))))
    assert first.end < second.start


def test_louder_notes_are_more_opaque():
    opacities = [
        mark.opacity
        for mark in marks(
            drawn(score_of(*(note(n, velocity=v) for n, v in enumerate((5, 70, 127)))))
        )
    ]
    assert opacities == sorted(set(opacities))
    assert opacities[-1] == 1


@pytest.mark.parametrize("bar", [0, 0.5, 1])
def test_a_note_without_length_is_visible_even_at_the_right_edge(bar: float):
    (mark,) = marks(drawn(score_of(note(bar, 0))))
    assert 0 <= mark.start < mark.end <= 1


def test_the_highest_and_the_lowest_key_are_inside_the_picture():
    picture = drawn(score_of(note(0, pitch=0), note(1, pitch=127)))
    (layer,) = (svg for svg in picture.iter(f"{SVG}svg") if svg.get("viewBox"))
    rows = int(layer.attrib["viewBox"].split()[3])
    assert [mark.row for mark in marks_in(layer)] == [rows - 1, 0]


@pytest.mark.parametrize("pitch", [0, 60, 127])
def test_a_single_note_is_shown_within_two_octaves(pitch: int):
    picture = drawn(score_of(note(0, pitch=pitch)))
    (layer,) = (svg for svg in picture.iter(f"{SVG}svg") if svg.get("viewBox"))
    assert layer.attrib["viewBox"].split()[3] == "24"
    assert 0 <= marks_in(layer)[0].row < 24


def test_a_score_in_seconds_gives_the_same_picture():
    score = score_of(note(0), note(1.5, pitch=64))
    assert pianoroll_svg(score.to("second"), prompt_end_tick=BAR) == pianoroll_svg(
        score, prompt_end_tick=BAR
    )


def test_the_score_is_left_unchanged():
    score = score_of(note(0), drums=[note(1)])
    before = score.copy()
    pianoroll_svg(score, prompt_end_tick=BAR)
    assert score == before


# -- Drums ---------------------------------------------------------------------------------------


def test_drums_have_their_own_strip():
    keys, drums = layers(
        drawn(score_of(note(0, pitch=60), drums=[note(0, pitch=36), note(1, pitch=42)]))
    )
    assert len(keys) == 1
    assert [mark.row for mark in sorted(drums)] == [1, 0]


def test_drums_are_below_the_keys():
    picture = drawn(score_of(note(0), drums=[note(0, pitch=36)]))
    keys, drums = (svg for svg in picture.iter(f"{SVG}svg") if svg.get("viewBox"))
    assert float(keys.attrib["y"]) + float(keys.attrib["height"]) < float(drums.attrib["y"])
    assert float(drums.attrib["y"]) + float(drums.attrib["height"]) < 260
    assert "drums" in texts(picture)


def test_a_score_of_drums_only_shows_no_keys():
    picture = drawn(score_of(drums=[note(0, pitch=36), note(1, pitch=38)]))
    assert len(layers(picture)) == 1
    assert not any(text.startswith("C") for text in texts(picture))


# -- Prompt and continuation ---------------------------------------------------------------------


def test_prompt_and_continuation_have_different_colours():
    score = score_of(*(note(n) for n in range(4)), drums=[note(n, pitch=36) for n in range(4)])
    for layer in layers(drawn(score, prompt_end_tick=2 * BAR)):
        assert [mark.part for mark in sorted(layer, key=lambda mark: mark.start)] == [
            "prompt",
            "prompt",
            "new",
            "new",
        ]


def test_a_prompt_note_held_into_the_continuation_has_the_colour_of_the_prompt():
    (mark,) = marks(drawn(score_of(note(0, 4)), prompt_end_tick=BAR))
    assert mark.part == "prompt"


def test_a_dashed_line_marks_the_start_of_the_continuation():
    begin = boundary(drawn(score_of(*(note(n) for n in range(8))), prompt_end_tick=2 * BAR))
    assert begin is not None
    assert begin.attrib["x1"] == begin.attrib["x2"] == "25%"


def test_the_legend_names_both_colours():
    picture = drawn(score_of(note(0), note(1)), prompt_end_tick=BAR)
    assert [text for text in texts(picture) if text.isalpha()] == ["prompt", "continuation"]


def test_a_piece_without_a_prompt_is_labelled_composed():
    picture = drawn(score_of(note(0), note(1)), prompt_end_tick=0)
    assert {mark.part for mark in marks(picture)} == {"new"}
    assert "composed" in texts(picture)
    assert boundary(picture) is None


def test_without_a_boundary_there_is_one_colour_and_no_legend():
    picture = drawn(score_of(note(0), note(1)))
    assert {mark.part for mark in marks(picture)} == {"prompt"}
    assert "prompt" not in texts(picture)
    assert boundary(picture) is None


def test_a_prompt_alone_has_no_continuation_in_its_legend():
    picture = drawn(score_of(note(0)), prompt_end_tick=BAR)
    assert "continuation" not in texts(picture)


# -- Bars and octaves ----------------------------------------------------------------------------


def bar_numbers(picture: ElementTree.Element) -> dict[int, str]:
    return {
        int(element.text): element.attrib["x"]
        for element in picture.iter(f"{SVG}text")
        if (element.text or "").isdigit()
    }


def test_bar_numbers_start_at_one():
    numbers = bar_numbers(drawn(score_of(*(note(n) for n in range(4)))))
    assert numbers == {1: "0%", 2: "25%", 3: "50%", 4: "75%"}


def test_bars_follow_the_meter():
    score = score_of(note(0, 10 / 4))  # two bars of 3/4, one of 4/4
    score.time_signatures.extend([TimeSignature(0, 3, 4), TimeSignature(6 * BEAT, 4, 4)])
    assert bar_numbers(drawn(score)) == {1: "0%", 2: "30%", 3: "60%"}


def test_only_some_of_many_bars_are_numbered():
    numbers = bar_numbers(drawn(score_of(note(0, 128))))
    assert list(numbers) == list(range(1, 129, 8))


def test_a_narrow_page_hides_bar_numbers_that_do_not_fit():
    picture = drawn(score_of(note(0, 32)))
    hidden = {e.text for e in picture.iter(f"{SVG}text") if e.get("class") == "wide"}
    shown = {e.text for e in picture.iter(f"{SVG}text") if e.get("class") is None}
    assert shown >= {"1", "5", "9"}
    assert "3" in hidden


def test_every_c_is_labelled():
    labels = [
        text
        for text in texts(drawn(score_of(note(0, pitch=48), note(1, pitch=72))))
        if text.startswith("C")
    ]
    assert labels == ["C3", "C4", "C5"]


# -- Text -----------------------------------------------------------------------------------------


def test_the_picture_has_an_accessible_description():
    score = score_of(note(0, pitch=48), note(1, pitch=70), note(2), drums=[note(0, pitch=36)])
    picture = drawn(score, prompt_end_tick=BAR, title="A waltz")
    assert picture.attrib["role"] == "img"
    assert picture[0].tag == f"{SVG}title"
    assert picture[0].text == "A waltz"
    assert picture[1].tag == f"{SVG}desc"
    assert picture[1].text == (
        "3 bars with 3 notes from C3 to Bb4 and 1 drum note. The prompt has 1 bar, the "
        "continuation 2."
    )


def test_a_title_is_escaped():
    hostile = '</title><script>alert("1")</script><img src=x onerror=alert(1)>\x00\x1b\ud800&amp;'
    svg = pianoroll_svg(score_of(note(0)), title=hostile)
    assert "<script" not in svg
    assert "<img" not in svg
    title = ElementTree.fromstring(svg)[0].text
    assert title == hostile.replace("\x00", "").replace("\x1b", "").replace("\ud800", "")


def test_a_long_title_is_cut():
    assert len(drawn(score_of(note(0)), title="la" * 9_999)[0].text or "") == 300


def test_track_names_are_not_drawn():
    score = score_of(note(0))
    score.tracks[0].name = "<script>alert(1)</script>"
    assert "alert" not in pianoroll_svg(score)


def test_the_picture_has_no_external_references():
    svg = pianoroll_svg(score_of(note(0), note(1)), prompt_end_tick=BAR)
    assert svg.count("http") == 1  # the namespace of SVG
    assert not re.search(r"url\(|href|@import|<script|\bid=", svg)


@pytest.mark.parametrize("score", [Score(BEAT), score_of()])
def test_a_score_without_notes_gives_a_picture_with_a_message(score: ScoreTick):
    picture = drawn(score, prompt_end_tick=BAR, title="<none>")
    assert texts(picture) == ["No notes"]
    assert [element.text for element in picture[:2]] == ["<none>", "There are no notes."]


@pytest.mark.parametrize("size", [{"width_px": 119}, {"height_px": 0}])
def test_a_too_small_size_is_refused(size: dict[str, int]):
    width, height = size.get("width_px", 960), size.get("height_px", 260)
    with pytest.raises(ValueError, match=f"120 or more, got {width} x {height}"):
        pianoroll_svg(score_of(note(0)), **size)


# -- Many notes ----------------------------------------------------------------------------------


def random_score(notes: int) -> ScoreTick:
    """Return the same random notes in 1 000 bars at each call, half of them drums."""
    rng = np.random.default_rng(7)
    columns = (
        rng.integers(0, 1_000 * BAR, notes),
        rng.integers(1, BAR, notes),
        rng.integers(21, 109, notes),
        rng.integers(1, 128, notes),
    )
    made = [Note(*values) for values in zip(*(c.tolist() for c in columns), strict=True)]
    return score_of(*made[::2], drums=made[1::2])


def test_up_to_the_limit_every_note_is_drawn():
    assert len(marks(drawn(random_score(MAX_NOTES)))) == MAX_NOTES


def test_sixty_thousand_notes_give_a_small_picture():
    svg = pianoroll_svg(random_score(60_000), prompt_end_tick=500 * BAR)
    assert len(svg) < 100_000
    found = marks(ElementTree.fromstring(svg))
    assert 100 < len(found) <= MAX_NOTES
    assert {mark.part for mark in found} == {"prompt", "new"}


def test_merged_notes_stay_on_their_side_of_the_boundary():
    found = marks(drawn(random_score(20_000), prompt_end_tick=500 * BAR))
    begin = 500 * BAR / (1_001 * BAR)
    assert min(mark.start for mark in found if mark.part == "new") == pytest.approx(begin, abs=2e-3)
    assert max(mark.end for mark in found) <= 1


def test_merged_notes_cover_the_same_time():
    repeated = [note(n / 64, 1 / 64, pitch=60 + n % 2) for n in range(3 * MAX_NOTES)]
    found = marks(drawn(score_of(*repeated)))
    assert len(found) == 2
    for mark in found:
        assert (mark.start, mark.end) == pytest.approx((0, 1), abs=0.01)


# -- In a browser --------------------------------------------------------------------------------

EDGES = """() => [...document.querySelectorAll('path, text, line, rect')].flatMap(
    (mark) => { const box = mark.getBoundingClientRect(); return [box.left, box.right]; })"""
COLOUR = "() => getComputedStyle(document.querySelector('path.new')).stroke"


@pytest.mark.browser
def test_the_picture_fits_a_phone_and_follows_dark_mode():
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser")
    if not browser_path:
        pytest.skip("Chromium is not installed")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    score = score_of(*(note(n, pitch=50 + n) for n in range(24)), drums=[note(3, pitch=36)])
    svg = pianoroll_svg(score, prompt_end_tick=8 * BAR)
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 360, "height": 640})
        page.set_content(f"<!doctype html><body>{svg}")
        edges = page.evaluate(EDGES)
        box = page.locator("svg.musiclstm-roll").bounding_box()
        light = page.evaluate(COLOUR)
        page.evaluate("() => document.body.classList.add('dark')")
        dark = page.evaluate(COLOUR)
        browser.close()
    assert min(edges) >= 0
    assert 340 < max(edges) <= 360
    assert box["height"] == 260
    assert light != dark
