"""What a user sees of the page without a server: few controls, drawers, takes, reload, stems."""

from __future__ import annotations

import io
import re
import zipfile

import pytest

from musiclstm import Composer, example_files, read_recipe
from tests.browser.accessibility import small_targets, violations
from tests.browser.static.static_page import StaticPage

pytestmark = pytest.mark.browser

MINUET = example_files()["Minuet in G (Petzold)"]
RIFF = example_files()["Garage Riff (musiclstm)"]
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
CONTROLS = "main button, main select, main input"


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer.from_pretrained()


def slide(page: StaticPage, name: str, value: str) -> None:
    page.page.get_by_label(name).fill(value)


@pytest.mark.parametrize("options", [{"viewport": {"width": 1280, "height": 1000}}, PHONE])
def test_twelve_controls_are_in_view_and_each_is_large_enough(visit, options) -> None:
    page = visit(**options)
    page.wait_for_bars(8)
    assert page.page.locator(CONTROLS).locator("visible=true").count() <= 12
    page.press("Continue", until_bar=16)
    for drawer in ("music", "texture", "sound", "view", "expert", "share"):
        page.open_drawer(drawer)
        assert small_targets(page.page) == []
    width = page.page.viewport_size["width"]
    assert page.page.locator("html").evaluate("each => each.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_before_and_after_a_press(visit, scheme) -> None:
    page = visit(bypass_csp=True, color_scheme=scheme)
    page.wait_for_bars(8)
    assert violations(page.page) == []
    page.choose_bars("2")
    page.press("Four takes", until_bar=10)
    for drawer in ("music", "texture", "sound", "view", "expert", "share"):
        page.open_drawer(drawer)
        assert violations(page.page) == []


def test_drawers_count_and_reset_their_settings(visit) -> None:
    page = visit()
    page.wait_for_bars(8)
    page.open_drawer("texture")
    page.page.get_by_label("Notes that start together").select_option("2")
    page.page.get_by_label("One-line parts stay one-line").uncheck()
    page.page.locator("#texture > summary").get_by_text("2 changed").wait_for()
    page.button("Reset Texture").click()
    assert page.page.locator("#texture .changed").text_content() == ""
    assert page.page.get_by_label("One-line parts stay one-line").is_checked()
    assert page.page.get_by_label("Notes that start together").input_value() == "0"


def test_sliders_scale_and_meter_are_heard_and_are_in_the_recipe(visit, composer) -> None:
    page = visit()
    page.wait_for_bars(8)
    for name, value in (("Distance", "1.2"), ("Number of notes", "1"), ("Choice of notes", "0.8")):
        slide(page, name, value)
    page.page.get_by_label("Key").select_option("D dorian")
    page.open_drawer("music")
    page.page.get_by_label("Meter").select_option("4/4")
    page.choose_bars("4")
    page.press("Continue", until_bar=12)
    data = page.download("Save MIDI")
    recipe = read_recipe(data)
    [step] = recipe.steps
    assert (step.sampling.temperature, step.sampling.copy_weight) == (0.8, 0.3)
    assert step.constraints is not None
    assert (step.constraints.key, step.constraints.meter) == ("D dorian", (4, 4))
    piece = composer.reproduce(recipe, prompt=MINUET)
    assert piece.to_midi() == data
    fewest, _ = step.constraints.notes_per_bar or (0, 0)
    assert all(
        sum(len(t.notes) for t in bar.score.tracks) >= fewest for bar in piece.generated_bars
    )
    pitches = {note.pitch % 12 for track in piece.continuation.tracks for note in track.notes}
    assert pitches <= {2, 4, 5, 7, 9, 11, 0}


def test_takes_tell_their_rank_and_why_as_the_library_does(visit, composer) -> None:
    page = visit()
    page.wait_for_bars(8)
    page.choose_bars("4")
    page.set_seed(5)
    page.press("Four takes", until_bar=12)
    page.page.locator("#takes small").get_by_text(re.compile("^1st")).wait_for()
    found = []
    for letter in "ABCD":
        take = page.page.get_by_role("radio", name=f"Take {letter}")
        take.click()
        piece = composer.reproduce(read_recipe(page.download("Save MIDI")), prompt=MINUET)
        caption = take.locator("small").inner_text()
        assessed = composer.assess(piece)
        found.append((caption, assessed.score))
        if not caption.startswith("the same"):
            said = [each for each in caption.split(" · ")[1:] if " rests " not in each]
            assert said == [each for each in assessed.reasons if " rests " not in each]
    best = max(score for _, score in found)
    assert [score for caption, score in found if caption.startswith("1st")] == [best]


def test_a_reload_keeps_the_piece_until_it_is_cleared(visit) -> None:
    page = visit()
    page.open_file(RIFF)
    page.choose_bars("2")
    page.press("Continue", until_bar=10)
    page.press("Continue", until_bar=12)
    before = page.download("Save MIDI")
    page.page.reload()
    page.wait_for_bars(12)
    assert page.download("Save MIDI") == before
    page.button("Undo").click()
    page.wait_for_bars(10)
    page.open_drawer("share")
    page.button("Clear").click()
    page.wait_for("keeps nothing")
    page.page.reload()
    page.wait_for_bars(8)
    assert RIFF.name not in page.page.locator("#about").inner_text()


def test_stems_are_named_after_their_tracks_and_the_mix_is_as_before(visit) -> None:
    page = visit()
    page.wait_for_bars(8)
    page.choose_bars("1")
    page.press("Continue", until_bar=9)
    page.open_drawer("sound")
    page.button("Solo Right hand").click()
    page.page.locator("#sound > summary").get_by_text("1 changed").wait_for()
    with zipfile.ZipFile(io.BytesIO(page.download("Save stems"))) as file:
        assert file.testzip() is None
        assert file.namelist() == ["01 Right hand.wav", "02 Left hand.wav"]
        assert len(set(map(file.read, file.namelist()))) == 2
    page.open_drawer("sound")
    assert page.button("Solo Right hand").get_attribute("aria-pressed") == "true"


def test_a_take_is_dragged_out_as_a_midi_file(visit) -> None:
    page = visit(bypass_csp=True)
    page.wait_for_bars(8)
    page.choose_bars("1")
    page.press("Four takes", until_bar=9)
    take = page.page.get_by_role("radio", name="Take B")
    take.dispatch_event("pointerdown")
    url = page.page.wait_for_function(
        """() => {
            const data = new DataTransfer();
            const button = document.querySelectorAll("#takes button")[1];
            button.dispatchEvent(new DragEvent("dragstart", { dataTransfer: data }));
            return data.getData("DownloadURL");
        }"""
    ).json_value()
    kind, name, address = url.split(":", 2)
    assert (kind, name.endswith("-continued-B.mid")) == ("audio/midi", True)
    taken = page.page.evaluate(
        "url => fetch(url).then((answer) => answer.bytes()).then((bytes) => [...bytes])", address
    )
    take.click()
    assert bytes(taken) == page.download("Save MIDI")


def test_one_part_of_some_bars_is_written_anew_and_the_rest_is_kept(visit) -> None:
    page = visit()
    page.open_file(RIFF)
    page.choose_bars("4")
    page.set_seed(1)
    page.press("Continue", until_bar=12)
    before = page.score()
    page.bar(10).click()
    page.bar(11).click(modifiers=["Shift"])
    page.page.get_by_label("Part to write again").select_option("Bass")
    page.set_seed(2)
    page.button("Write bars 10-11 again").click()
    page.wait_for("Bass is new in bars 10-11")
    after = page.score()
    bar = 4 * before.ticks_per_quarter
    for old, new in zip(before.tracks, after.tracks, strict=True):
        rows = [
            [(n.time, n.duration, n.pitch) for n in track.notes if n.time < 9 * bar]
            + [(n.time, n.pitch) for n in track.notes if n.time >= 11 * bar]
            for track in (old, new)
        ]
        assert rows[0] == rows[1]
        inside = [
            [(n.time, n.pitch) for n in track.notes if 9 * bar <= n.time < 11 * bar]
            for track in (old, new)
        ]
        assert (inside[0] != inside[1]) == (old.name == "Bass")
        assert inside[1]
    page.press("Continue", until_bar=16)  # the network has read the new bars
    page.open_drawer("share")
    page.button("Copy link").click()
    page.page.get_by_role("alert").get_by_text("has no link").wait_for()
    page.page.reload()
    page.wait_for_bars(16)
    page.button("Undo").click()
    page.wait_for_bars(12)


@pytest.mark.parametrize("options", [{"viewport": {"width": 1280, "height": 900}}, PHONE])
def test_the_layout_hardly_shifts_while_it_loads_and_after_a_press(visit, options) -> None:
    page = visit(bypass_csp=True, **options)
    page.wait_for_bars(8)
    page.press("Continue", until_bar=16)
    shift = page.page.evaluate("""() => new Promise((resolve) => {
        let sum = 0;
        const add = (entries) => {
            for (const { hadRecentInput, value } of entries) if (!hadRecentInput) sum += value;
        };
        const observer = new PerformanceObserver((list) => add(list.getEntries()));
        observer.observe({ type: "layout-shift", buffered: true });
        requestAnimationFrame(() => requestAnimationFrame(() => {
            add(observer.takeRecords());
            resolve(sum);
        }));
    })""")
    assert shift < 0.05
