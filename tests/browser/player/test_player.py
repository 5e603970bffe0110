"""The player in a real Chromium."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from tests.browser.player.player_demo_app import PROMPT_BARS, DemoPiece
from tests.page.server.waiting import until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing"),
]

HOSTILE = '<img src=x onerror="window.hacked = true">'
TIMEOUT_MS = 60_000
WIDE: dict[str, Any] = {"viewport": {"width": 1100, "height": 900}}
RECEIVE = "value => musiclstm.players.get('one').receive(value)"

# Schedules every chunk through the player's own `SourceGroup`, with an exact clock.
RENDER_OFFLINE = """async () => {
    const player = musiclstm.players.get("one");
    const chunks = player.sound.rendering.chunks;
    const frames = chunks.at(-1).end;
    const offline = new OfflineAudioContext(2, frames, 44100);
    const group = new player.sound.sources.constructor(offline, offline.destination, 0, false);
    for (const { buffer, start, end } of chunks) group.schedule(buffer, start, 0, end - start);
    const rendered = (await offline.startRendering()).getChannelData(0);
    let worst = 0;
    for (const { buffer, start } of chunks) {
        const sent = buffer.getChannelData(0);
        for (let i = 0; i < sent.length; i++) {
            worst = Math.max(worst, Math.abs(sent[i] - rendered[start + i]));
        }
    }
    return [frames, worst, rendered.reduce((a, b) => Math.max(a, b))];
}"""

# Keeps four seconds around the position decoded, instead of minutes.
KEEP_LITTLE = """Object.defineProperty(player.sound, "keptRanges", { get() {
    return [{ start: this.position - 88200, end: this.position + 176400 }];
} })"""


class PlayerPage:
    """The demo page in a browser context of its own."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.errors: list[str] = []
        page.set_default_timeout(TIMEOUT_MS)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._note)
        page.goto(url)
        self.button("Continue one").wait_for()
        page.wait_for_function("window.musiclstm?.players.size === 2")

    def _note(self, message: Any) -> None:
        if message.type == "error" and "favicon" not in message.text:
            self.errors.append(message.text)

    def button(self, name: str, player: str | None = None) -> Any:
        inside = self.page if player is None else self.page.locator(f"#{player}")
        return inside.get_by_role("button", name=name, exact=True)

    def bar(self, number: int) -> Any:
        name = re.compile(rf"^bar {number},")
        return self.page.locator("#one").get_by_role("option", name=name)

    @property
    def cursor(self) -> Any:
        return self.page.locator("#one").get_by_role("slider", name="Position in the music")

    def evaluate(self, expression: str, player: str = "one") -> Any:
        """The value of an expression about `player`."""
        return self.page.evaluate(
            f"id => {{ const player = musiclstm.players.get(id); return {expression}; }}", player
        )

    def until(self, condition: str, player: str = "one") -> None:
        self.page.wait_for_function(
            f"id => {{ const player = musiclstm.players.get(id); return {condition}; }}",
            arg=player,
        )

    def play(self, player: str = "one") -> None:
        """Press Continue and wait for the first sound."""
        self.button(f"Continue {player}").click()
        self.until("player.state === 'playing' && player.sound.position > 0", player)

    def play_all(self, player: str = "one") -> None:
        """Press Continue and wait for all chunks."""
        self.play(player)
        self.until("player.sound.rendering.complete", player)
        self.until("player.sound.rendering.chunks.every(c => c.state === 'ready')", player)

    def pause(self) -> None:
        self.button("Pause", "one").click()
        self.until("player.state === 'paused'")


Open: TypeAlias = Callable[..., PlayerPage]


@pytest.fixture
def open_page(browser: Browser, player_url: str) -> Iterator[Open]:
    contexts = []

    def open_one(**options: Any) -> PlayerPage:
        contexts.append(browser.new_context(**options))
        return PlayerPage(contexts[-1].new_page(), player_url)

    yield open_one
    for context in contexts:
        context.close()


# -- Audio ---------------------------------------------------------------------------------------


def test_the_first_chunk_plays_while_later_ones_are_missing(
    open_page: Open, piece: DemoPiece
) -> None:
    piece.hold_at = 2
    user = open_page()
    user.play()
    user.until("player.sound.rendering.chunks.length === 2")
    assert user.evaluate("player.sound.rendering.complete") is False
    assert user.evaluate("musiclstm.context.sampleRate") == 44_100
    before = user.evaluate("[musiclstm.context.currentTime, player.sound.position]")
    user.until(f"player.sound.position > {before[1]} + 8820")
    assert user.evaluate("musiclstm.context.currentTime") > before[0] + 0.15
    user.until("player.state === 'waiting'")
    assert user.page.locator("#one [role=status]").inner_text().startswith("waiting")
    piece.hold_at = None
    user.until("player.state === 'playing'")


def test_chunks_join_sample_by_sample(open_page: Open, piece: DemoPiece) -> None:
    user = open_page()
    user.play_all()
    frames, worst, loudest = user.page.evaluate(RENDER_OFFLINE)
    assert frames == len(piece.samples)
    assert worst == 0
    assert loudest > 0.05


def test_nothing_plays_without_a_press(open_page: Open, piece: DemoPiece) -> None:
    user = open_page()
    user.page.evaluate(RECEIVE, next(piece.compose())[1])
    user.until("player.sound.rendering.chunks.every(c => c.state === 'ready')")
    assert user.evaluate("[player.state, musiclstm.context]") == ["paused", None]
    user.button("Play", "one").click()
    user.until("player.state === 'playing'")


def test_a_press_on_another_button_starts_the_next_stream_only(
    open_page: Open, piece: DemoPiece
) -> None:
    former = [value for _, value in piece.compose()]
    following = next(piece.compose())[1]
    user = open_page()
    user.button("Compare").click()  # a press, so that the browser permits sound
    user.page.evaluate(RECEIVE, former[0])
    user.evaluate("player.arm()")
    user.page.evaluate(RECEIVE, former[1])
    assert user.evaluate("[player.sound.wanted, player.state]") == [False, "waiting"]
    user.page.evaluate(RECEIVE, following)
    user.until("player.state === 'playing'")
    user.button("Pause", "one").click()
    user.evaluate("player.arm()")
    user.button("Pause", "one").click()  # takes the press back
    user.page.evaluate(RECEIVE, next(piece.compose())[1])
    assert user.evaluate("player.state") == "paused"


def test_lost_updates_are_fetched(open_page: Open, piece: DemoPiece) -> None:
    piece.lost = {0, 3, 4, 23}
    user = open_page()
    user.play_all()
    assert user.evaluate("player.sound.rendering.chunks.length") == piece.bars
    user.until(f"player.roll.clock.count === {piece.bars}")
    notes = piece.roll(piece.bars)["notes"]
    user.until(f"player.roll.noteCount === {len(notes['start'])}")
    assert user.evaluate("player.receiver.roll.notes") == notes
    assert user.page.locator("#one .trouble").inner_text() == ""


def test_freed_audio_is_fetched_again_after_seeking_back(open_page: Open, piece: DemoPiece) -> None:
    user = open_page()
    user.play_all()
    user.evaluate(KEEP_LITTLE)
    user.evaluate("player.seekBar(20)")
    user.until("player.sound.rendering.chunks[0].buffer === null")
    decoded = "player.sound.rendering.chunks.filter(c => c.buffer).length"
    assert user.evaluate(decoded) <= 5
    user.evaluate("player.seekBar(0)")
    user.until("player.state === 'playing' && player.sound.position > 4410")
    assert user.evaluate("player.sound.rendering.chunks[0].buffer.length") == piece.frames[1]
    user.until("player.sound.rendering.chunks[20].buffer === null")
    assert user.page.locator("#one .trouble").inner_text() == ""


def test_an_invalid_chunk_is_silence_and_one_sentence(open_page: Open, piece: DemoPiece) -> None:
    piece.broken = {1}
    user = open_page()
    user.play()
    user.page.get_by_text("A part of the sound could not be read").wait_for()
    user.until(f"player.sound.position > {piece.frames[2]}")
    offsets = user.evaluate("player.sound.segments.map(s => s.time - s.frame)")
    assert set(offsets) == {offsets[0]}  # the silence is as long as the chunk


def test_a_browser_without_audio_says_so(
    browser: Browser, player_url: str, piece: DemoPiece
) -> None:
    context = browser.new_context()
    context.add_init_script("delete window.AudioContext; delete window.webkitAudioContext;")
    try:
        user = PlayerPage(context.new_page(), player_url)
        user.button("Continue one").click()
        user.page.get_by_text("This browser cannot play sound").wait_for()
        user.button("Play", "one").wait_for()
    finally:
        context.close()


# -- Playback ------------------------------------------------------------------------------------


def test_a_click_on_the_roll_seeks_and_skip_goes_to_the_new_bars(
    open_page: Open, piece: DemoPiece
) -> None:
    user = open_page(**WIDE)
    user.play_all()
    user.pause()
    box = user.cursor.bounding_box()
    user.cursor.click(position={"x": box["width"] / 2, "y": 80})
    assert user.evaluate("player.place") == pytest.approx(12, abs=0.1)
    user.button("Skip to new bars", "one").click()
    position = user.evaluate("player.sound.position")
    assert position == pytest.approx(piece.frames[PROMPT_BARS], abs=1)
    assert user.evaluate("player.state") == "paused"


def test_playback_is_controlled_with_keys(open_page: Open, piece: DemoPiece) -> None:
    user = open_page()
    user.play_all()
    user.cursor.focus()
    user.page.keyboard.press(" ")
    user.until("player.state === 'paused'")
    for key, bar in (("Home", 1), ("ArrowRight", 2), ("ArrowRight", 3), ("ArrowLeft", 2),
                     ("PageUp", 6), ("End", 24), ("ArrowLeft", 23)):  # fmt: skip
        user.page.keyboard.press(key)
        assert user.cursor.get_attribute("aria-valuetext") == f"bar {bar} of 24", key
    assert user.cursor.get_attribute("aria-valuenow") == "23"
    assert user.page.locator("#one [role=status]").inner_text() == "paused, bar 23"
    user.page.keyboard.press(" ")
    user.until("player.state === 'playing'")


def test_one_player_plays_at_a_time_and_two_can_be_compared(
    open_page: Open, piece: DemoPiece
) -> None:
    user = open_page()
    user.play_all("two")
    user.play_all("one")
    assert user.evaluate("player.state", "two") == "paused"
    user.evaluate("player.seekBar(10)")
    user.button("Compare").click()
    user.until("player.state === 'playing'", "two")
    assert user.evaluate("player.state") == "paused"
    assert user.evaluate("player.place", "two") >= 10


def test_selected_bars_are_looped(open_page: Open, piece: DemoPiece) -> None:
    user = open_page(**WIDE)
    user.play_all()
    user.bar(3).click()
    user.button("Loop", "one").click()
    user.evaluate("player.seekBar(2)")
    user.until("player.sound.segments.length > 2")
    segments = user.evaluate("player.sound.segments.map(s => [s.frame, s.frames])")
    bar = [piece.frames[2], piece.frames[3] - piece.frames[2]]
    assert segments[:2] == [pytest.approx(bar, abs=1)] * 2


# -- Instruments and bars ------------------------------------------------------------------------


def test_muting_keeps_the_position(open_page: Open, piece: DemoPiece) -> None:
    user = open_page()
    user.play_all()
    user.evaluate("player.seekBar(5)")
    user.button("Mute Drums", "one").click()
    user.until("player.sound.rendering.number === 1")
    (event,) = piece.events
    assert (event[0], event[1]["muted"], event[1]["bar"]) == ("mute", [3], 6)
    assert user.evaluate("player.state") == "playing"
    assert user.evaluate("player.place") >= 5
    offsets = user.evaluate("player.sound.segments.map(s => s.time - s.frame)")
    assert offsets[-1] == pytest.approx(offsets[0], abs=2)
    assert user.button("Mute Drums", "one").get_attribute("aria-pressed") == "true"


def test_solo_mutes_all_others_and_quick_presses_are_one_event(
    open_page: Open, piece: DemoPiece
) -> None:
    user = open_page()
    user.play_all()
    user.pause()
    user.button("Solo Bass", "one").click()
    user.button("Mute Drums", "one").click()
    user.until("player.sound.rendering.number === 1")
    assert [event[1]["muted"] for event in piece.events] == [[0, 1, 3]]
    assert user.evaluate("[player.state, player.chips.muted]") == ["paused", [0, 1, 3]]


def test_bars_are_selected_by_click_shift_and_drag(open_page: Open, piece: DemoPiece) -> None:
    user = open_page(**WIDE)
    user.play_all()
    user.pause()
    user.bar(9).click()
    user.bar(11).click(modifiers=["Shift"])
    user.bar(4).hover()
    user.page.mouse.down()
    user.bar(2).hover()
    user.page.mouse.up()
    user.page.get_by_text("bars 2 to 4 selected").wait_for(state="attached")
    selected = [user.bar(i).get_attribute("aria-selected") for i in (1, 2, 3, 4, 5)]
    assert selected == ["false", "true", "true", "true", "false"]
    user.bar(7).click()
    user.bar(7).click()
    user.page.get_by_text("no bars selected").wait_for(state="attached")
    until(lambda: len(piece.events) == 5)
    pairs = [(event["first"], event["last"]) for _, event in piece.events]
    assert pairs == [(9, 9), (9, 11), (2, 4), (7, 7), (None, None)]


def test_dragging_over_the_notes_selects_bars_and_does_not_seek(
    open_page: Open, piece: DemoPiece
) -> None:
    user = open_page(**WIDE)
    user.play_all()
    user.pause()
    position = user.evaluate("player.sound.position")
    box = user.cursor.bounding_box()
    width = user.evaluate("player.roll.barWidth")
    user.page.mouse.move(box["x"] + 2.5 * width, box["y"] + 60)
    user.page.mouse.down()
    user.page.mouse.move(box["x"] + 4.5 * width, box["y"] + 90, steps=4)
    user.page.mouse.up()
    user.until("String(player.roll.ruler.selected) === '3,5'")
    assert user.evaluate("player.sound.position") == position


def test_the_minimap_moves_the_roll(open_page: Open, piece: DemoPiece) -> None:
    user = open_page(viewport={"width": 500, "height": 800})
    user.play_all()
    user.pause()
    user.evaluate("player.roll.zoomBy(8)")
    user.evaluate("player.roll.scroll.scrollLeft = 0")
    minimap = user.page.locator("#one .minimap")
    box = minimap.bounding_box()
    minimap.click(position={"x": 0.75 * box["width"], "y": 20})
    roll = "player.roll"
    middle = f"({roll}.scroll.scrollLeft + {roll}.width / 2) / {roll}.wide.clientWidth"
    assert user.evaluate(middle) == pytest.approx(0.75, abs=0.02)


def test_bars_are_selected_with_keys_and_by_updates(open_page: Open, piece: DemoPiece) -> None:
    user = open_page()
    value = next(piece.compose())[1] | {"selection": [3, 4]}
    user.page.evaluate(RECEIVE, value)
    assert user.evaluate("player.roll.ruler.selected") == [3, 4]
    assert piece.events == []
    user.bar(1).focus()
    for key in ("ArrowRight", "Enter", "Shift+ArrowRight", "Shift+ArrowRight"):
        user.page.keyboard.press(key)
    assert user.evaluate("player.roll.ruler.selected") == [2, 4]
    user.page.keyboard.press("Escape")
    assert user.evaluate("player.roll.ruler.selected") is None


def test_a_hostile_name_stays_text(open_page: Open, piece: DemoPiece) -> None:
    piece.names = (HOSTILE, f"</script></style>{HOSTILE}")
    user = open_page()
    user.play()
    assert user.page.locator("#one .chip .name").first.inner_text() == HOSTILE
    assert user.page.locator("#one img").count() == 0
    assert user.page.evaluate("window.hacked") is None


# -- The roll ------------------------------------------------------------------------------------


def test_the_roll_keeps_its_scale_while_bars_arrive(open_page: Open, piece: DemoPiece) -> None:
    piece.hold_at = 2
    user = open_page(**WIDE)
    user.play()
    before = user.evaluate("[player.roll.perTick, player.roll.noteCount]")
    assert user.bar(9).get_attribute("aria-disabled") == "true"
    piece.hold_at = None
    user.until("player.sound.rendering.complete")
    assert user.evaluate("[player.roll.perTick, player.roll.noteCount]") == [
        before[0], 3 * before[1],
    ]  # fmt: skip
    assert user.bar(9).get_attribute("aria-disabled") == "false"


def test_the_canvas_has_the_resolution_of_the_screen(open_page: Open, piece: DemoPiece) -> None:
    user = open_page(**WIDE, device_scale_factor=2)
    user.play()
    dots, wide = user.evaluate("[player.roll.canvas.width, player.roll.canvas.clientWidth]")
    assert dots == 2 * wide
    user.page.set_viewport_size({"width": 700, "height": 900})
    user.until(f"player.roll.canvas.clientWidth < {wide}")
    user.until("player.roll.canvas.width === 2 * player.roll.canvas.clientWidth")


def test_colours_can_show_probabilities(open_page: Open, piece: DemoPiece) -> None:
    user = open_page()
    user.play_all()
    one = user.page.locator("#one")
    assert one.locator(".legend").inner_text().split() == ["prompt", "new"]
    one.get_by_role("radio", name="How sure").click()
    assert one.get_by_role("radio", name="How sure").get_attribute("aria-checked") == "true"
    assert "surprise" in one.locator(".legend").inner_text()
    one.get_by_role("radio", name="How sure").press("ArrowLeft")
    assert user.evaluate("player.roll.colouring") == "instruments"


def test_zooming_keeps_what_is_under_the_pointer(open_page: Open, piece: DemoPiece) -> None:
    user = open_page(**WIDE)
    user.play_all()
    user.pause()
    box = user.cursor.bounding_box()
    user.page.mouse.move(box["x"] + 500, box["y"] + 50)
    tick = "(player.roll.scroll.scrollLeft + 500) / player.roll.perTick"
    before = user.evaluate(tick)
    user.page.keyboard.down("Control")
    user.page.mouse.wheel(0, -100)
    user.page.keyboard.up("Control")
    user.until("player.roll.wide.clientWidth > 1.3 * player.roll.width")
    assert user.evaluate(tick) == pytest.approx(before, rel=0.01)
    user.button("Show all", "one").click()
    assert user.evaluate("player.roll.wide.clientWidth - player.roll.width") <= 1


def test_two_fingers_zoom_and_the_roll_follows_playback(open_page: Open, piece: DemoPiece) -> None:
    user = open_page(viewport={"width": 390, "height": 844}, has_touch=True)
    user.play_all()
    user.evaluate("player.seekBar(20)")
    user.until("player.roll.scroll.scrollLeft > 100")
    user.until("player.roll.x(player.roll.cursor) > 0")
    user.until("player.roll.x(player.roll.cursor) < player.roll.width")
    before = user.evaluate("player.roll.perTick")
    user.page.evaluate("""() => {
        const stage = musiclstm.players.get("one").roll.stage;
        const at = (clientX, identifier) => new Touch({ identifier, target: stage, clientX });
        for (const [name, ...xs] of [["touchstart", 150, 200], ["touchmove", 100, 200]]) {
            const touches = xs.map(at);
            stage.dispatchEvent(new TouchEvent(name, { touches, cancelable: true }));
        }
    }""")
    assert user.evaluate("player.roll.perTick") == pytest.approx(2 * before)


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (390, "dark")])
def test_the_player_fits_a_phone_and_every_control_has_a_name(
    width: int, scheme: Any, open_page: Open, piece: DemoPiece
) -> None:
    user = open_page(
        viewport={"width": width, "height": 844}, color_scheme=scheme, reduced_motion="reduce"
    )
    user.play_all()
    assert user.page.evaluate("document.documentElement.scrollWidth") <= width
    colour = user.evaluate("player.roll.painter.colours()('prompt')")
    assert colour == {"light": "#0b72b5", "dark": "#56b4e9"}[scheme]
    one = user.page.locator("#one")
    assert one.get_by_role("group", name="Take one").count() == 1
    for role, name in (
        ("slider", "Volume"),
        ("slider", "Position in the music"),
        ("listbox", "Bars"),
        ("radiogroup", "Colours of the notes"),
        ("button", "Zoom in"),
        ("button", "Mute Drums"),
        ("button", "Solo Drums"),
    ):
        assert one.get_by_role(role, name=name, exact=True).count() == 1, name
    assert one.get_by_role("button", name=re.compile("^$")).count() == 0
    assert user.errors == []
