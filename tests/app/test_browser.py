"""What a visitor sees and hears, in a real Chromium that can reach nothing but this machine."""

from __future__ import annotations

import io
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import soundfile

from musiclstm import MusicLSTMError, Recipe, read_midi, read_recipe
from musiclstm.soundfont import find_soundfont

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing"),
]

HOSTILE = '<img src=x onerror="window.hacked = true">'
MINUET = "Minuet in G (Petzold)"
SOME_BARS = re.compile(r"bar ([2-9]|\d\d) of 64")
PATIENCE_MS = 30_000
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-client-side-phishing-detection",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--metrics-recording-only",
    "--mute-audio",
    "--no-first-run",
    # As strict as browsers are: what sounds here sounds because somebody pressed something.
    "--autoplay-policy=user-gesture-required",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed; install it with: apt install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Visitor:
    """One browser of its own, with the page open, and everything it asked for."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        context.on("request", lambda request: self.requests.append(request.url))
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("dialog", lambda dialog: (self.dialogs.append("dialog"), dialog.dismiss()))
        self.open(url)

    def open(self, url: str) -> None:
        self.page.goto(url)
        self.button("Continue").wait_for()
        self.page.wait_for_function("window.musiclstm?.players.has('roll-d')")

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def field(self, name: str) -> Any:
        return self.page.get_by_label(name, exact=True)

    def drop(self, path: Path) -> None:
        """Let a file fall on the field for it, as a hand does."""
        data = self.page.evaluate_handle(
            """([name, bytes]) => {
                const data = new DataTransfer();
                data.items.add(new File([new Uint8Array(bytes)], name));
                return data;
            }""",
            [path.name, list(path.read_bytes())],
        )
        field = self.page.get_by_role("button", name="Click to upload or drop files")
        field.dispatch_event("drop", {"dataTransfer": data})

    def set_bars(self, bars: int) -> None:
        self.page.get_by_role("spinbutton", name="number input for New bars").fill(str(bars))

    def press(self, name: str = "Continue", *, bars: int | None = None) -> None:
        if bars is not None:
            self.set_bars(bars)
        self.button(name).click()

    def done(self, said: str) -> str:
        """The status, once it matches and nothing runs."""
        self.page.wait_for_function(
            """said => {
                const text = document.querySelector("#status [role=status]")?.innerText ?? "";
                return text.match(said) && document.querySelector("#stop").disabled;
            }""",
            arg=said,
        )
        return self.status

    def compose(self, name: str = "Continue", *, bars: int = 2, said: str = "bars? after") -> str:
        """Press and wait for the end; what was there before must not count as it."""
        before = self.page.evaluate("document.querySelector('#take-a .said')?.innerText ?? ''")
        self.press(name, bars=bars)
        self.page.wait_for_function(
            "before => (document.querySelector('#take-a .said')?.innerText ?? before) !== before",
            arg=before,
        )
        return self.done(said)

    @property
    def status(self) -> str:
        return str(self.page.locator("#status [role=status]").inner_text())

    def player(self, wanted: str, *, take: str = "a") -> Any:
        """Something of a player."""
        return self.page.evaluate(f"musiclstm.players.get('roll-{take}').{wanted}")

    def wait_for_player(self, wanted: str, *, take: str = "a") -> None:
        self.page.wait_for_function(f"musiclstm.players.get('roll-{take}').{wanted}")

    def offered(self, name: str) -> bytes:
        with self.page.expect_download() as download:
            self.button(name).click()
        return Path(download.value.path()).read_bytes()

    @property
    def midi(self) -> bytes:
        return self.offered("MIDI")


@pytest.fixture
def visit(browser: Browser, page_url: str) -> Iterator[Callable[..., Visitor]]:
    contexts = []

    def open_page(**options: Any) -> Visitor:
        contexts.append(browser.new_context(**options))
        return Visitor(contexts[-1], page_url)

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def _sound() -> None:
    """Whether there is a synthesizer to listen to."""
    pytest.importorskip("fluidsynth", reason="libfluidsynth is not installed", exc_type=ImportError)
    try:
        find_soundfont()
    except MusicLSTMError as error:
        pytest.skip(str(error))


heard = [pytest.mark.fluidsynth, pytest.mark.usefixtures("_sound")]


def with_sound(test: Any) -> Any:
    for mark in heard:
        test = mark(test)
    return test


# -- The first minute ------------------------------------------------------------------------------


@with_sound
def test_one_button_starts_music_that_is_heard(visit: Callable[..., Visitor]) -> None:
    ann = visit()
    assert ann.player("state") == "paused"
    ann.press()
    ann.wait_for_player("state === 'playing'")
    assert ann.done("after") == f"8 bars after 8 bars of {MINUET}."
    ann.wait_for_player("sound.rendering.complete")


def test_nothing_plays_before_a_press(visit: Callable[..., Visitor]) -> None:
    ann = visit()
    assert (
        ann.page.evaluate("[...musiclstm.players.values()].map((each) => each.wants)")
        == [False] * 5
    )


def test_surprise_me_begins_from_nothing(visit: Callable[..., Visitor]) -> None:
    ann = visit()
    ann.set_bars(2)
    ann.page.locator("#surprise").click()
    assert ann.done("nothing") == "2 bars from nothing."
    assert not ann.page.locator("#seed-roll").is_visible()


def test_a_card_is_chosen_and_goes_on(visit: Callable[..., Visitor]) -> None:
    ann = visit()
    card = ann.page.locator(".cards button", has_text="Ode to Joy")
    card.click()
    ann.page.get_by_role("heading", name="Ode to Joy (Beethoven)").wait_for()
    assert card.get_attribute("aria-pressed") == "true"
    assert "Ode to Joy" in ann.compose(bars=1)


def test_a_dropped_file_goes_on(
    visit: Callable[..., Visitor], midi_file: Callable[..., Path]
) -> None:
    ann = visit()
    ann.drop(midi_file("motif.mid", bars=2))
    ann.page.get_by_role("heading", name="motif.mid").wait_for()
    assert ann.page.locator(".cards [aria-pressed=true]").count() == 0
    assert ann.compose(bars=2) == "2 bars after 2 bars of motif.mid."


def test_chosen_tracks_and_bars_go_on_and_the_others_play_along(
    visit: Callable[..., Visitor], midi_file: Callable[..., Path]
) -> None:
    ann = visit()
    ann.drop(midi_file("band.mid", bars=4, tracks=("One", "Two")))
    ann.page.get_by_role("heading", name="band.mid").wait_for()
    ann.page.get_by_role("button", name="Choose tracks and bars").click()
    ann.page.get_by_role("checkbox", name=re.compile("^Two")).uncheck()
    ann.field("To bar").press_sequentially("2")
    ann.page.get_by_text("bars 1 to 2 of 1 track go on").wait_for()
    assert ann.compose(bars=1) == "1 bar after 2 bars of band.mid."
    recipe = read_recipe(ann.midi)
    assert recipe.source is not None
    assert recipe.source.selection is not None
    assert (recipe.source.selection.tracks, recipe.source.selection.last_bar) == ({0}, 2)


def test_bars_are_chosen_on_the_roll(
    visit: Callable[..., Visitor],
) -> None:
    ann = visit()
    bars = ann.page.locator("#seed-roll .bar")
    bars.filter(has_text=re.compile("^2$")).click()
    bars.filter(has_text=re.compile("^3$")).click(modifiers=["Shift"])
    ann.page.get_by_text("bars 2 to 3 of all tracks go on").wait_for()
    assert ann.compose(bars=1) == f"1 bar after 2 bars of {MINUET}."


# -- Strangers' files ------------------------------------------------------------------------------


def test_a_hostile_track_name_runs_no_script(
    visit: Callable[..., Visitor], midi_file: Callable[..., Path]
) -> None:
    ann = visit()
    ann.drop(midi_file("tracks.mid", bars=1, tracks=(HOSTILE, f"</title></svg>{HOSTILE}")))
    ann.page.get_by_role("heading", name="tracks.mid").wait_for()
    assert ann.page.locator("#about li").first.inner_text().startswith("<img src=x onerror=")
    ann.compose(bars=1)
    assert ann.page.locator("img[src=x]").count() == 0
    assert ann.page.evaluate("window.hacked") is None
    assert ann.dialogs == []


def test_a_hostile_file_is_answered_with_its_own_words_as_text(
    visit: Callable[..., Visitor], tmp_path: Path
) -> None:
    ann = visit()
    bad = tmp_path / "bad.mid"
    bad.write_bytes(b"<b>x</b>" + HOSTILE.encode())
    ann.drop(bad)
    toast = ann.page.get_by_text("is not a MIDI file")
    toast.wait_for()
    assert "<b>x</b>" in toast.inner_text()
    assert ann.page.evaluate("window.hacked") is None


def test_a_bad_file_leaves_seed_and_result_in_place(
    visit: Callable[..., Visitor], tmp_path: Path
) -> None:
    ann = visit()
    before = ann.compose(bars=1)
    bad = tmp_path / "bad.mid"
    bad.write_text("Dear diary")
    ann.drop(bad)
    ann.page.get_by_text("is not a MIDI file").wait_for()
    ann.page.get_by_text("Drop File Here").wait_for()  # the field is free again
    assert ann.status == before
    assert ann.page.locator("#seed h2").inner_text() == MINUET
    assert ann.midi.startswith(b"MThd")


# -- While it is composed --------------------------------------------------------------------------


@with_sound
def test_sound_arrives_before_the_last_bar_is_composed(
    visit: Callable[..., Visitor], watched: Any
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


def test_bars_done_are_told(visit: Callable[..., Visitor], watched: Any) -> None:
    watched.pause_s = 0.3
    ann = visit()
    ann.press(bars=64)
    ann.page.get_by_text(SOME_BARS).wait_for()
    ann.page.get_by_text(re.compile(r"about \d+ s left")).wait_for()
    ann.button("Stop").click()
    ann.done("after")


def test_stop_keeps_what_there_is(visit: Callable[..., Visitor], watched: Any) -> None:
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


def test_endless_goes_on_until_something_else_is_pressed(
    visit: Callable[..., Visitor], watched: Any
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


def test_a_closed_page_frees_its_worker(visit: Callable[..., Visitor], watched: Any) -> None:
    watched.pause_s = 0.2
    ann = visit()
    ann.press(bars=64)
    ann.page.get_by_text(SOME_BARS).wait_for()
    ann.page.close()
    assert watched.ended.wait(timeout=30)
    assert watched.bars < 64


def test_a_locked_random_seed_stays_when_something_else_is_changed(
    visit: Callable[..., Visitor],
) -> None:
    ann = visit()
    ann.field("Random seed").press_sequentially("7")
    ann.page.locator("#lock input:checked").wait_for()  # what is typed is to be used
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
def test_an_instrument_is_muted_at_the_listener_s_place(visit: Callable[..., Visitor]) -> None:
    ann = visit()
    ann.compose(bars=2)
    ann.wait_for_player("sound.rendering.complete")
    before = ann.player("sound.rendering.sound")
    ann.button("Mute Acoustic Grand Piano").click()
    ann.wait_for_player(f"sound.rendering.sound > {before}")
    ann.wait_for_player("sound.rendering.complete")
    assert ann.player("value.muted") == [0]


@with_sound
def test_another_sound_is_heard_at_once(visit: Callable[..., Visitor]) -> None:
    ann = visit()
    ann.compose(bars=2)
    ann.wait_for_player("sound.rendering.complete")
    before = ann.player("sound.rendering.sound")
    ann.page.locator("#steer button", has_text=re.compile("^Sound")).click()
    ann.page.get_by_role("slider", name="range slider for Reverb").press("Home")
    ann.wait_for_player(f"sound.rendering.sound > {before}")


# -- Takes and versions ----------------------------------------------------------------------------


@with_sound
def test_four_takes_are_all_there_and_one_is_kept_and_gone_on_with(
    visit: Callable[..., Visitor],
) -> None:
    ann = visit()
    assert not ann.page.locator("#take-b").is_visible()
    ann.compose("Four takes", bars=2)
    for take in "abcd":
        ann.wait_for_player("sound.rendering.complete", take=take)
        assert ann.page.locator(f"#take-{take}").is_visible()
    seeds = re.findall(r"random seed (\d+)", ann.page.locator("#takes").inner_text())
    assert [int(seed) - int(seeds[0]) for seed in seeds] == [0, 1, 2, 3]
    ann.button("Keep B").click()
    ann.page.locator("#take-c").wait_for(state="hidden")
    kept = read_recipe(ann.midi)
    assert str(kept.steps[0].sampling.seed) == seeds[1]
    ann.compose("Go on from here", bars=3, said="^5 bars after")
    longer = read_recipe(ann.midi)
    assert [step.bars for step in longer.steps] == [2, 3]
    assert longer.steps[0] == kept.steps[0]


@with_sound
def test_takes_are_compared_at_the_same_place(visit: Callable[..., Visitor]) -> None:
    ann = visit()
    ann.compose("Four takes", bars=4)
    for take in "ac":
        ann.wait_for_player("sound.rendering.complete", take=take)
    ann.page.evaluate("musiclstm.players.get('roll-a').seekBar(9)")
    ann.button("Compare: listen to C from here").click()
    ann.wait_for_player("state === 'playing'", take="c")
    assert ann.player("state") == "paused"
    assert ann.player("place", take="c") == pytest.approx(9, abs=2)


def test_undo_and_redo_go_back_and_forth(visit: Callable[..., Visitor]) -> None:
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


def test_a_piece_is_made_anew_from_a_bar_that_was_clicked(visit: Callable[..., Visitor]) -> None:
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


# -- Taking home -----------------------------------------------------------------------------------


@with_sound
def test_every_file_can_be_taken_home(visit: Callable[..., Visitor]) -> None:
    ann = visit()
    ann.compose(bars=2)
    whole, new = (read_midi(ann.offered(name))[1] for name in ("MIDI", "MIDI, new bars"))
    assert whole.bars == 10
    assert new.bars <= 2
    assert whole.notes == new.notes + 49  # the minuet has 49
    with zipfile.ZipFile(io.BytesIO(ann.offered("Every track, MIDI"))) as tracks:
        assert tracks.namelist()
        for name in tracks.namelist():
            assert read_midi(tracks.read(name))[1].notes
    for name in ("Sound, wav", "Sound, mp3"):
        samples, rate_hz = soundfile.read(io.BytesIO(ann.offered(name)))
        assert len(samples) > 10 * rate_hz
        assert abs(samples).max() > 0.05
    recipe = Recipe.from_json(ann.offered("Recipe"))
    assert recipe == read_recipe(ann.midi)


def test_the_score_can_be_read_by_others(visit: Callable[..., Visitor]) -> None:
    music21 = pytest.importorskip("music21", reason="music21 is not installed")
    ann = visit()
    ann.compose(bars=2)
    score = music21.converter.parseData(ann.offered("Score, MusicXML").decode())
    assert len(score.parts[0].getElementsByClass("Measure")) == 10


def test_a_link_makes_the_same_bytes_again(visit: Callable[..., Visitor], page_url: str) -> None:
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


def test_a_link_to_a_dropped_file_waits_for_that_file(
    visit: Callable[..., Visitor], midi_file: Callable[..., Path]
) -> None:
    ann, bob = visit(), visit()
    motif = midi_file("motif.mid", bars=2)
    ann.drop(motif)
    ann.page.get_by_role("heading", name="motif.mid").wait_for()
    ann.compose(bars=1)
    ann.page.wait_for_function("document.querySelector('#link input, #link textarea').value")
    bob.open(ann.page.locator("#link").locator("input, textarea").input_value())
    bob.page.get_by_text("drop that file above").wait_for()
    bob.drop(motif)
    bob.done("^1 bar after 2 bars of motif.mid")
    assert bob.midi == ann.midi


def test_a_broken_link_is_one_sentence(visit: Callable[..., Visitor], page_url: str) -> None:
    ann = visit()
    ann.open(f"{page_url}?recipe=<b>nonsense")
    ann.page.get_by_text("This link holds no recipe").wait_for()
    assert ann.compose(bars=1).startswith("1 bar after")


# -- Everyone --------------------------------------------------------------------------------------


def test_two_visitors_see_their_own_seed_and_piece(visit: Callable[..., Visitor]) -> None:
    ann, bob = visit(), visit()
    ann.page.locator(".cards button", has_text="Ode to Joy").click()
    ann.page.get_by_role("heading", name="Ode to Joy (Beethoven)").wait_for()
    for visitor, bars in ((ann, 1), (bob, 2)):
        visitor.press(bars=bars)
    assert ann.done("^1 bar after").endswith("Ode to Joy (Beethoven).")
    assert bob.done("^2 bars after").endswith("Minuet in G (Petzold).")


def test_a_whole_visit_asks_nobody_else(visit: Callable[..., Visitor], page_url: str) -> None:
    ann = visit()
    ann.compose(bars=1)
    hosts = {urlsplit(url).hostname for url in ann.requests if url.startswith(("http", "ws"))}
    assert hosts == {urlsplit(page_url).hostname}


def test_every_control_has_a_name_for_those_who_cannot_see_it(
    visit: Callable[..., Visitor],
) -> None:
    page = visit().page
    for role, name in (
        ("slider", "range slider for New bars"),
        ("slider", "range slider for Adventurous"),
        ("slider", "range slider for Surprise"),
        ("textbox", "Random seed"),
        ("checkbox", "Lock it"),
        ("group", "Tunes"),
        ("group", "The seed"),
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
def test_the_page_fits_a_phone(scheme: Any, visit: Callable[..., Visitor]) -> None:
    ann = visit(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    ann.compose("Four takes", bars=1)
    assert ann.page.evaluate("document.documentElement.scrollWidth") <= 390
    wide = ann.page.locator("#takes .take:visible").evaluate_all(
        "all => all.map((each) => each.getBoundingClientRect().right)"
    )
    assert len(wide) == 4
    assert max(wide) <= 390
    assert ann.page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
