"""What a visitor sees and hears, in a real Chromium that can reach nothing but this machine."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
import soundfile

from musiclstm import MusicLSTMError, read_midi
from musiclstm.rendering import find_soundfont

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing"),
]

HOSTILE = '<img src=x onerror="window.hacked = true">'
SOME_BARS = re.compile(r"Composing: bar ([2-9]|\d\d) of 64")
PATIENCE_MS = 15_000
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
    # A page that wants to play by itself may: then a test can see whether it does.
    "--autoplay-policy=no-user-gesture-required",
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
        self.page.goto(url)
        self.button("Continue").wait_for()

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

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

    def press_continue(self, *, bars: int = 2) -> None:
        self.page.get_by_role("spinbutton", name="number input for New bars").fill(str(bars))
        self.button("Continue").click()

    def wait_until_done(self) -> None:
        for name in ("Sound, mp3", "Continue"):
            self.button(name).and_(self.page.locator(":enabled")).wait_for()

    @property
    def status(self) -> str:
        return str(self.page.locator("#result [role=status]").inner_text())

    def number_once_said(self, pattern: str) -> int:
        """The group of a pattern that the status matches, read at that very moment."""
        said = self.page.wait_for_function(
            """pattern => document.querySelector("#result [role=status]")
                .innerText.match(pattern)?.[1]""",
            arg=pattern,
        )
        return int(said.json_value())

    def audio(self, wanted: str) -> Any:
        """A property of the audio element."""
        return self.page.locator("audio[src]").evaluate(f"element => element.{wanted}")

    def offered(self, name: str) -> bytes:
        with self.page.expect_download() as download:
            self.button(name).click()
        return Path(download.value.path()).read_bytes()


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


@pytest.mark.fluidsynth
@pytest.mark.usefixtures("_sound")
def test_a_dropped_file_goes_on_and_is_heard(
    visit: Callable[..., Visitor], midi_file: Callable[..., Path]
) -> None:
    ann = visit()
    ann.drop(midi_file("motif.mid", bars=2))
    ann.page.get_by_role("heading", name="motif.mid").wait_for()
    ann.press_continue(bars=2)
    ann.wait_until_done()

    samples, rate_hz = soundfile.read(io.BytesIO(urlopen(ann.audio("src")).read()))
    assert 0.05 < abs(samples).max() <= 1
    assert len(samples) > 4 * 4 * 0.5 * rate_hz  # four bars at 120 bpm
    new_part = samples[int(4 * rate_hz) : int(8 * rate_hz)]
    assert abs(new_part).max() > 0.01
    assert "2 bars after 2 bars of motif.mid" in ann.status
    roll = ann.page.locator("#result .musiclstm-roll")
    assert roll.locator("path.seed").count() > 0
    assert roll.locator("path.new").count() > 0


@pytest.mark.fluidsynth
@pytest.mark.usefixtures("_sound")
def test_nothing_plays_by_itself_and_the_new_bars_are_one_press_away(
    visit: Callable[..., Visitor],
) -> None:
    ann = visit()
    ann.press_continue()
    ann.wait_until_done()
    assert (ann.audio("paused"), ann.audio("autoplay"), ann.audio("currentTime")) == (
        True,
        False,
        0,
    )
    ann.button("Skip to new bars").click()
    ann.page.wait_for_function("document.querySelector('audio[src]').currentTime > 12")
    assert ann.audio("currentTime") == pytest.approx(8 * 3 * 60 / 116, abs=0.01)
    assert ann.audio("paused")


@pytest.mark.fluidsynth
@pytest.mark.usefixtures("_sound")
def test_a_whole_visit_asks_nobody_else(visit: Callable[..., Visitor], page_url: str) -> None:
    ann = visit()
    ann.press_continue()
    ann.wait_until_done()
    hosts = {urlsplit(url).hostname for url in ann.requests if url.startswith(("http", "ws"))}
    assert hosts == {urlsplit(page_url).hostname}


@pytest.mark.fluidsynth
@pytest.mark.usefixtures("_sound")
def test_the_files_taken_home_are_those_of_the_piece(
    visit: Callable[..., Visitor], tmp_path: Path
) -> None:
    ann = visit()
    ann.press_continue(bars=2)
    ann.wait_until_done()
    whole, new = (read_midi(ann.offered(name))[1] for name in ("MIDI", "MIDI, new bars"))
    assert whole.bars == 10
    assert new.bars <= 2
    assert whole.notes == new.notes + 49  # the minuet has 49
    assert ann.offered("Sound, wav").startswith(b"RIFF")
    assert len(ann.offered("Sound, mp3")) > 1_000


def test_a_hostile_track_name_runs_no_script(
    visit: Callable[..., Visitor], midi_file: Callable[..., Path]
) -> None:
    ann = visit()
    ann.drop(midi_file("tracks.mid", bars=1, tracks=(HOSTILE, f"</title></svg>{HOSTILE}")))
    ann.page.get_by_role("heading", name="tracks.mid").wait_for()
    assert ann.page.locator("#seed li").first.inner_text().startswith("<img src=x onerror=")
    ann.press_continue(bars=1)
    ann.page.get_by_text("1 bar after").wait_for()
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
    ann.press_continue(bars=1)
    ann.page.get_by_text("1 bar after").wait_for()
    before = ann.status
    bad = tmp_path / "bad.mid"
    bad.write_text("Dear diary")
    ann.drop(bad)
    ann.page.get_by_text("is not a MIDI file").wait_for()
    ann.page.get_by_text("Drop File Here").wait_for()  # the field is free again
    assert ann.status == before
    assert ann.page.locator("#seed h2").inner_text() == "Minuet in G (Petzold)"
    assert ann.page.get_by_role("radio", name="Minuet in G").is_checked()
    assert ann.button("MIDI").is_enabled()


def test_stop_keeps_what_there_is(visit: Callable[..., Visitor], watched: Any) -> None:
    watched.pause_s = 0.2
    ann = visit()
    ann.press_continue(bars=64)
    ann.page.get_by_text(SOME_BARS).wait_for()
    ann.button("Stop").click()
    bars = ann.number_once_said(r"^(\d+) bars after 8 bars of Minuet")
    assert watched.ended.wait(timeout=30)
    assert 2 <= bars < 64
    assert watched.bars < 64


def test_a_closed_page_frees_its_worker(visit: Callable[..., Visitor], watched: Any) -> None:
    watched.pause_s = 0.2
    ann = visit()
    ann.press_continue(bars=64)
    ann.page.get_by_text(SOME_BARS).wait_for()
    ann.page.close()
    assert watched.ended.wait(timeout=30)
    assert watched.bars < 64


def test_two_visitors_see_their_own_seed_and_piece(visit: Callable[..., Visitor]) -> None:
    ann, bob = visit(), visit()
    ann.page.get_by_role("radio", name="Ode to Joy").check()
    ann.page.get_by_role("heading", name="Ode to Joy (Beethoven)").wait_for()
    for visitor, bars in ((ann, 1), (bob, 2)):
        visitor.press_continue(bars=bars)
    ann.page.get_by_text("1 bar after").wait_for()
    bob.page.get_by_text("2 bars after").wait_for()
    assert "Ode to Joy" in ann.status
    assert "Minuet in G" in bob.status


def test_every_control_has_a_name_for_those_who_cannot_see_it(
    visit: Callable[..., Visitor],
) -> None:
    page = visit().page
    for role, name in (
        ("group", "A seed to go on from"),
        ("slider", "range slider for New bars"),
        ("slider", "range slider for Temperature"),
        ("spinbutton", "Random seed"),
        ("img", "Minuet in G (Petzold)"),
    ):
        found = page.get_by_role(role, name=name) if role != "group" else page.get_by_text(name)
        assert found.count() == 1, name
    assert page.locator("h1").inner_text() == "musiclstm"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone(scheme: Any, visit: Callable[..., Visitor]) -> None:
    ann = visit(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    ann.press_continue(bars=1)
    ann.page.get_by_text("1 bar after").wait_for()
    assert ann.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert ann.page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
