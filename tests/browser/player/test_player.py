"""What a listener sees, hears and presses, in a real Chromium."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.player.player_demo_app import SEED_BARS, Stage

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing"),
]

HOSTILE = '<img src=x onerror="window.hacked = true">'
PATIENCE_MS = 60_000

# Every chunk ordered through the player's own `Run`, on a clock that leaves nothing to chance.
RENDER_OFFLINE = """async player => {
    const chunks = player.sound.rendering.chunks;
    const frames = chunks.at(-1).end;
    const offline = new OfflineAudioContext(2, frames, 44100);
    const run = new player.sound.run.constructor(offline, offline.destination, 0, false);
    for (const { buffer, start, end } of chunks) run.order(buffer, start, 0, end - start);
    const heard = (await offline.startRendering()).getChannelData(0);
    let worst = 0;
    for (const { buffer, start } of chunks) {
        const sent = buffer.getChannelData(0);
        for (let i = 0; i < sent.length; i++) {
            worst = Math.max(worst, Math.abs(sent[i] - heard[start + i]));
        }
    }
    return [frames, worst, heard.reduce((a, b) => Math.max(a, b))];
}"""


class Listener:
    """One browser of its own with the page open."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.troubles: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("console", self._note)
        page.goto(url)
        self.button("Continue one").wait_for()
        page.wait_for_function("window.musiclstm?.players.size === 2")

    def _note(self, message: Any) -> None:
        if message.type == "error" and "favicon" not in message.text:
            self.troubles.append(message.text)

    def button(self, name: str, player: str | None = None) -> Any:
        inside = self.page if player is None else self.page.locator(f"#{player}")
        return inside.get_by_role("button", name=name, exact=True)

    def bar(self, number: int, player: str = "one") -> Any:
        name = re.compile(rf"^bar {number},")
        return self.page.locator(f"#{player}").get_by_role("option", name=name)

    @property
    def cursor(self) -> Any:
        return self.page.locator("#one").get_by_role("slider", name="Place in the music")

    def ask(self, expression: str, player: str = "one") -> Any:
        """The value of an expression about `player`."""
        return self.page.evaluate(
            f"id => {{ const player = musiclstm.players.get(id); return {expression}; }}", player
        )

    def until(self, condition: str, player: str = "one") -> None:
        self.page.wait_for_function(
            f"id => {{ const player = musiclstm.players.get(id); return {condition}; }}",
            arg=player,
        )

    def hear(self, player: str = "one", *, all_of_it: bool = False) -> None:
        """Press Continue and wait for the first sound, or for all of it to have come."""
        self.button(f"Continue {player}").click()
        self.until("player.state === 'playing' && player.sound.position > 0", player)
        if all_of_it:
            self.until("player.sound.rendering.complete", player)
            self.until("player.sound.rendering.chunks.every(c => c.state === 'ready')", player)

    def still(self, player: str = "one") -> None:
        self.button("Pause", player).click()
        self.until("player.state === 'paused'", player)


@pytest.fixture
def listen(browser: Browser, player_url: str) -> Iterator[Callable[..., Listener]]:
    contexts = []

    def open_page(**options: Any) -> Listener:
        contexts.append(browser.new_context(**options))
        return Listener(contexts[-1].new_page(), player_url)

    yield open_page
    for context in contexts:
        context.close()


# -- Sound ---------------------------------------------------------------------------------------


def test_the_first_chunk_sounds_while_later_ones_are_missing(
    listen: Callable[..., Listener], stage: Stage
) -> None:
    stage.hold_at = 2
    ann = listen()
    ann.hear()
    ann.until("player.sound.rendering.chunks.length === 2")
    assert ann.ask("player.sound.rendering.chunks.map(c => [c.start, c.end])") == [
        [0, stage.frames[1]],
        [stage.frames[1], stage.frames[2]],
    ]
    assert not ann.ask("player.sound.rendering.complete")
    assert ann.ask("musiclstm.context.sampleRate") == 44_100
    before = ann.ask("[musiclstm.context.currentTime, player.sound.position]")
    ann.until(f"player.sound.position > {before[1]} + 8820")
    assert ann.ask("musiclstm.context.currentTime") > before[0] + 0.15


def test_chunks_meet_without_a_gap(listen: Callable[..., Listener], stage: Stage) -> None:
    stage.hold_at = 4
    ann = listen()
    ann.hear()
    stage.hold_at = None
    ann.until("player.sound.rendering.complete")
    ann.until("player.sound.segments.length >= 5")
    segments = ann.ask("player.sound.segments")
    for one, other in pairwise(segments):
        assert other["at"] == one["at"] + one["frames"]
        assert other["piece"] == one["piece"] + one["frames"]
    assert all(each["at"] == int(each["at"]) for each in segments)
    frames, worst, loudest = ann.page.evaluate(
        f"() => ({RENDER_OFFLINE})(musiclstm.players.get('one'))"
    )
    assert frames == len(stage.samples)
    assert worst == 0
    assert loudest > 0.05


def test_when_the_sound_runs_out_it_waits_and_goes_on_at_the_same_place(
    listen: Callable[..., Listener], stage: Stage
) -> None:
    stage.hold_at = 1
    ann = listen()
    ann.hear()
    ann.until("player.state === 'waiting'")
    ann.until(f"player.sound.position === {stage.frames[1]}")
    assert ann.page.locator("#one [role=status]").inner_text().startswith("waiting")
    stage.hold_at = None
    ann.until("player.state === 'playing'")
    assert ann.ask("player.sound.segments.at(-1).piece") >= stage.frames[1]
    places = ann.ask("player.sound.segments.map(s => s.piece)")
    assert stage.frames[1] in places


def test_nothing_sounds_without_a_press(listen: Callable[..., Listener], stage: Stage) -> None:
    ann = listen()
    value = next(stage.compose())[1]
    ann.page.evaluate("value => musiclstm.players.get('one').receive(value)", value)
    ann.until("player.sound.rendering.chunks.every(c => c.state === 'ready')")
    assert ann.ask("[player.state, player.sound.segments.length, musiclstm.context]") == [
        "paused",
        0,
        None,
    ]
    ann.button("Play", "one").click()
    ann.until("player.state === 'playing'")


def test_a_press_elsewhere_starts_the_next_take_and_no_earlier_one(
    listen: Callable[..., Listener], stage: Stage
) -> None:
    former = [value for _, value in stage.compose()]
    coming = next(stage.compose())[1]
    receive = "value => musiclstm.players.get('one').receive(value)"
    ann = listen()
    ann.button("Compare").click()  # a press, so that the page may sound at all
    ann.page.evaluate(receive, former[0])
    ann.ask("player.arm()")
    ann.page.evaluate(receive, former[1])
    assert ann.ask("[player.sound.wanted, player.state]") == [False, "waiting"]
    ann.page.evaluate(receive, coming)
    ann.until("player.state === 'playing'")
    ann.page.evaluate(receive, former[2])
    assert ann.ask("player.sound.rendering.take") == coming["take"]


def test_a_press_elsewhere_can_be_taken_back(listen: Callable[..., Listener], stage: Stage) -> None:
    coming = next(stage.compose())[1]
    ann = listen()
    ann.ask("player.arm()")
    ann.button("Pause", "one").click()
    ann.page.evaluate("value => musiclstm.players.get('one').receive(value)", coming)
    assert ann.ask("player.state") == "paused"


def test_a_lost_update_is_asked_for(listen: Callable[..., Listener], stage: Stage) -> None:
    stage.lost = {0, 3, 4, 23}
    ann = listen()
    ann.hear(all_of_it=True)
    assert ann.ask("player.sound.rendering.chunks.length") == stage.bars
    assert ann.page.locator("#one .trouble").inner_text() == ""


def test_updates_may_come_twice_and_in_any_order(
    listen: Callable[..., Listener], stage: Stage
) -> None:
    values = [value for _, value in stage.compose()]
    other = next(stage.compose())[1]
    ann = listen()
    receive = "value => musiclstm.players.get('one').receive(value)"
    for i in (3, 3, 1, 24, 2, 0, 24):
        ann.page.evaluate(receive, values[i])
    ann.until("player.sound.rendering.complete")
    ann.until("player.sound.rendering.chunks.every(c => c.state === 'ready')")
    assert ann.ask("player.number") == values[24]["number"]
    assert ann.ask("player.roll.clock.count") == stage.bars
    ann.page.evaluate(receive, other)
    assert ann.ask("player.sound.rendering.take") == other["take"]
    ann.page.evaluate(receive, values[5])  # of the take before
    assert ann.ask("player.sound.rendering.take") == other["take"]
    assert ann.ask("player.roll.clock.count") == SEED_BARS


def test_a_chunk_that_is_no_sound_is_silence_and_one_sentence(
    listen: Callable[..., Listener], stage: Stage
) -> None:
    stage.broken = {1}
    ann = listen()
    ann.hear()
    ann.page.get_by_text("A part of the sound could not be read").wait_for()
    ann.until("player.sound.rendering.complete")
    ann.until(f"player.sound.position > {stage.frames[2]}")
    clocks = ann.ask("player.sound.segments.map(s => s.at - s.piece)")
    assert set(clocks) == {clocks[0]}  # the silence took as long as the sound would have


def test_a_browser_without_sound_says_so(browser: Browser, player_url: str, stage: Stage) -> None:
    context = browser.new_context()
    context.add_init_script("delete window.AudioContext; delete window.webkitAudioContext;")
    try:
        ann = Listener(context.new_page(), player_url)
        ann.button("Continue one").click()
        ann.page.get_by_text("This browser cannot play sound").wait_for()
        ann.button("Play", "one").wait_for()
    finally:
        context.close()


def test_sound_that_is_no_longer_kept_is_said(
    listen: Callable[..., Listener], stage: Stage
) -> None:
    value = next(stage.compose())[1] | {"take": "forgotten", "fresh": []}
    ann = listen()
    ann.page.evaluate("value => musiclstm.players.get('one').receive(value)", value)
    ann.page.get_by_text("no longer kept").wait_for()
    ann.button("Play", "one").wait_for()


# -- Playback ------------------------------------------------------------------------------------


def test_pause_keeps_the_place_and_play_goes_on_there(
    listen: Callable[..., Listener], stage: Stage
) -> None:
    ann = listen()
    ann.hear(all_of_it=True)
    ann.still()
    held = ann.ask("player.sound.position")
    assert held > 0
    assert ann.ask("player.sound.position") == held
    ann.button("Play", "one").click()
    ann.until("player.state === 'playing'")
    assert ann.ask("player.sound.segments[0].piece") == pytest.approx(held, abs=1)


def test_a_press_on_the_roll_goes_there(listen: Callable[..., Listener], stage: Stage) -> None:
    ann = listen(viewport={"width": 1100, "height": 900})
    ann.hear(all_of_it=True)
    ann.still()
    box = ann.cursor.bounding_box()
    ann.cursor.click(position={"x": box["width"] / 2, "y": 80})
    assert ann.ask("player.place") == pytest.approx(12, abs=0.1)
    assert ann.ask("player.state") == "paused"


def test_everything_can_be_done_with_keys(listen: Callable[..., Listener], stage: Stage) -> None:
    ann = listen()
    ann.hear(all_of_it=True)
    ann.cursor.focus()
    ann.page.keyboard.press(" ")
    ann.until("player.state === 'paused'")
    for key, bar in (("Home", 1), ("ArrowRight", 2), ("ArrowRight", 3), ("ArrowLeft", 2),
                     ("PageUp", 6), ("End", 24), ("ArrowLeft", 23)):  # fmt: skip
        ann.page.keyboard.press(key)
        assert ann.cursor.get_attribute("aria-valuetext") == f"bar {bar} of 24", key
    assert ann.cursor.get_attribute("aria-valuenow") == "23"
    assert ann.page.locator("#one [role=status]").inner_text() == "paused, bar 23"
    ann.page.keyboard.press(" ")
    ann.until("player.state === 'playing'")


def test_the_new_bars_are_one_press_away(listen: Callable[..., Listener], stage: Stage) -> None:
    stage.hold_at = SEED_BARS
    ann = listen()
    ann.hear()
    assert ann.button("Skip to new bars", "one").is_disabled()
    stage.hold_at = None
    ann.until("player.sound.rendering.complete")
    ann.still()
    ann.button("Skip to new bars", "one").click()
    assert ann.ask("player.sound.position") == pytest.approx(stage.frames[SEED_BARS], abs=1)
    assert ann.ask("player.state") == "paused"


def test_starting_one_player_pauses_the_other_and_they_can_be_compared(
    listen: Callable[..., Listener], stage: Stage
) -> None:
    ann = listen()
    ann.hear("two", all_of_it=True)
    ann.hear("one", all_of_it=True)
    assert ann.ask("player.state", "two") == "paused"
    ann.ask("player.seekBar(10)")
    ann.button("Compare").click()
    ann.until("player.state === 'playing'", "two")
    assert ann.ask("player.state") == "paused"
    assert ann.ask("player.place", "two") >= 10


def test_chosen_bars_can_be_looped(listen: Callable[..., Listener], stage: Stage) -> None:
    ann = listen(viewport={"width": 1100, "height": 900})
    ann.hear(all_of_it=True)
    ann.bar(3).click()
    ann.button("Loop", "one").click()
    ann.ask("player.seekBar(2)")
    ann.until("player.sound.segments.length > 2")
    pieces = ann.ask("player.sound.segments.map(s => [s.piece, s.frames])")
    bar = stage.frames[3] - stage.frames[2]
    assert pieces[:2] == [pytest.approx([stage.frames[2], bar], abs=1)] * 2


def test_the_end_is_an_end(listen: Callable[..., Listener], stage: Stage) -> None:
    ann = listen()
    ann.hear(all_of_it=True)
    ann.ask("player.sound.seek(player.sound.rendering.end - 8820)")
    ann.until("player.state === 'paused'")
    assert ann.ask("player.sound.position") == len(stage.samples)
    ann.button("Play", "one").click()
    ann.until("player.state === 'playing'")
    assert ann.ask("player.sound.segments[0].piece") == 0


# -- Instruments and bars ------------------------------------------------------------------------


def test_a_muted_instrument_falls_silent_at_the_same_place(
    listen: Callable[..., Listener], stage: Stage
) -> None:
    ann = listen()
    ann.hear(all_of_it=True)
    ann.ask("player.seekBar(5)")
    ann.button("Mute Drums", "one").click()
    ann.until("player.sound.rendering.sound === 1")
    (event,) = stage.events
    assert event[0] == "mute"
    assert (event[1]["muted"], event[1]["bar"]) == ([-1], 6)
    assert ann.ask("player.state") == "playing"
    assert ann.ask("player.place") >= 5
    joints = ann.ask("player.sound.segments.map(s => [s.at - s.piece])")
    assert joints[-1] == pytest.approx(joints[0], abs=2)  # one clock before and after
    assert ann.button("Mute Drums", "one").get_attribute("aria-pressed") == "true"
    ann.until("player.sound.rendering.complete")


def test_solo_is_everything_else_muted_and_presses_in_a_row_are_one_event(
    listen: Callable[..., Listener], stage: Stage
) -> None:
    ann = listen()
    ann.hear(all_of_it=True)
    ann.still()
    ann.button("Solo Picked Bass", "one").click()
    ann.button("Mute Drums", "one").click()
    ann.until("player.sound.rendering.sound === 1")
    assert [event[1]["muted"] for event in stage.events] == [[-1, 29, 30]]
    ann.until("player.sound.rendering.complete")
    assert ann.ask("[player.state, player.silent]") == ["paused", [-1, 29, 30]]


def test_bars_are_chosen_by_press_shift_and_drag(
    listen: Callable[..., Listener], stage: Stage
) -> None:
    ann = listen(viewport={"width": 1100, "height": 900})
    ann.hear(all_of_it=True)
    ann.still()
    ann.bar(9).click()
    ann.bar(11).click(modifiers=["Shift"])
    ann.bar(4).hover()
    ann.page.mouse.down()
    ann.bar(2).hover()
    ann.page.mouse.up()
    ann.page.get_by_text("bars 2 to 4 chosen").wait_for(state="attached")
    chosen = [ann.bar(i).get_attribute("aria-selected") for i in (1, 2, 3, 4, 5)]
    assert chosen == ["false", "true", "true", "true", "false"]
    ann.bar(7).click()
    ann.bar(7).click()
    ann.page.get_by_text("no bars chosen").wait_for(state="attached")
    while len(stage.events) < 5:
        ann.page.wait_for_timeout(20)
    pairs = [(event["first"], event["last"]) for _, event in stage.events]
    assert pairs == [(9, 9), (9, 11), (2, 4), (7, 7), (None, None)]


def test_bars_are_chosen_with_keys(listen: Callable[..., Listener], stage: Stage) -> None:
    ann = listen()
    ann.hear(all_of_it=True)
    ann.bar(1).focus()
    for key in ("ArrowRight", "Enter", "Shift+ArrowRight", "Shift+ArrowRight"):
        ann.page.keyboard.press(key)
    assert ann.ask("player.roll.chosen") == [2, 4]
    ann.page.keyboard.press("Escape")
    assert ann.ask("player.roll.chosen") is None


def test_bars_are_chosen_from_outside_without_an_event(
    listen: Callable[..., Listener], stage: Stage
) -> None:
    ann = listen()
    value = next(stage.compose())[1] | {"selection": [3, 4]}
    ann.page.evaluate("value => musiclstm.players.get('one').receive(value)", value)
    assert ann.ask("player.roll.chosen") == [3, 4]
    assert stage.events == []


def test_a_hostile_name_stays_text(listen: Callable[..., Listener], stage: Stage) -> None:
    stage.names = (HOSTILE, f"</script></style>{HOSTILE}")
    ann = listen()
    ann.hear(all_of_it=True)
    assert ann.page.locator("#one .chip .name").first.inner_text() == HOSTILE
    assert ann.page.locator("#one img").count() == 0
    assert ann.page.evaluate("window.hacked") is None


# -- The picture ---------------------------------------------------------------------------------


def test_the_roll_keeps_its_width_while_bars_arrive(
    listen: Callable[..., Listener], stage: Stage
) -> None:
    stage.hold_at = 2
    ann = listen(viewport={"width": 1100, "height": 900})
    ann.hear()
    before = ann.ask("[player.roll.perTick, player.roll.count]")
    assert ann.bar(9).get_attribute("aria-disabled") == "true"
    stage.hold_at = None
    ann.until("player.sound.rendering.complete")
    after = ann.ask("[player.roll.perTick, player.roll.count]")
    assert after[0] == before[0]
    assert after[1] == 3 * before[1]
    assert ann.bar(9).get_attribute("aria-disabled") == "false"


def test_the_picture_has_the_dots_of_the_screen_and_follows_the_window(
    listen: Callable[..., Listener], stage: Stage
) -> None:
    ann = listen(viewport={"width": 1100, "height": 900}, device_scale_factor=2)
    ann.hear(all_of_it=True)
    widths = "[player.roll.canvas.width, player.roll.canvas.clientWidth]"
    dots, wide = ann.ask(widths)
    assert dots == 2 * wide
    ann.page.set_viewport_size({"width": 700, "height": 900})
    ann.until(f"player.roll.canvas.clientWidth < {wide}")
    ann.until("player.roll.canvas.width === 2 * player.roll.canvas.clientWidth")


def test_how_sure_is_a_choice_of_colours_with_a_legend(
    listen: Callable[..., Listener], stage: Stage
) -> None:
    ann = listen()
    ann.hear(all_of_it=True)
    one = ann.page.locator("#one")
    assert one.locator(".legend").inner_text().split() == ["seed", "new"]
    one.get_by_role("radio", name="How sure").click()
    assert one.get_by_role("radio", name="How sure").get_attribute("aria-checked") == "true"
    assert "surprise" in one.locator(".legend").inner_text()
    one.get_by_role("radio", name="How sure").press("ArrowLeft")
    assert ann.ask("player.roll.colouring") == "instruments"


def test_zooming_keeps_what_is_under_the_pointer(
    listen: Callable[..., Listener], stage: Stage
) -> None:
    ann = listen(viewport={"width": 1100, "height": 900})
    ann.hear(all_of_it=True)
    ann.still()
    box = ann.cursor.bounding_box()
    ann.page.mouse.move(box["x"] + 500, box["y"] + 50)
    tick = "(player.roll.scroll.scrollLeft + 500) / player.roll.perTick"
    before = ann.ask(tick)
    ann.page.keyboard.down("Control")
    ann.page.mouse.wheel(0, -100)
    ann.page.keyboard.up("Control")
    ann.until("player.roll.wide.clientWidth > 1.3 * player.roll.width")
    assert ann.ask(tick) == pytest.approx(before, rel=0.01)
    ann.button("Show all", "one").click()
    assert ann.ask("player.roll.wide.clientWidth - player.roll.width") <= 1


def test_two_fingers_zoom(listen: Callable[..., Listener], stage: Stage) -> None:
    ann = listen(viewport={"width": 390, "height": 844}, has_touch=True)
    ann.hear(all_of_it=True)
    before = ann.ask("player.roll.perTick")
    ann.page.evaluate("""() => {
        const stage = musiclstm.players.get("one").roll.stage;
        const at = (clientX, identifier) => new Touch({ identifier, target: stage, clientX });
        for (const [name, ...xs] of [["touchstart", 150, 200], ["touchmove", 100, 200]]) {
            const touches = xs.map(at);
            stage.dispatchEvent(new TouchEvent(name, { touches, cancelable: true }));
        }
    }""")
    assert ann.ask("player.roll.perTick") == pytest.approx(2 * before)


def test_the_picture_follows_the_sound(listen: Callable[..., Listener], stage: Stage) -> None:
    ann = listen(viewport={"width": 390, "height": 844})
    ann.hear(all_of_it=True)
    ann.ask("player.seekBar(20)")
    ann.until("player.roll.scroll.scrollLeft > 100")
    ann.until("player.roll.x(player.roll.cursor) > 0")
    ann.until("player.roll.x(player.roll.cursor) < player.roll.width")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 390])
def test_the_player_fits_a_phone(
    width: int, scheme: Any, listen: Callable[..., Listener], stage: Stage
) -> None:
    ann = listen(
        viewport={"width": width, "height": 844}, color_scheme=scheme, reduced_motion="reduce"
    )
    ann.hear(all_of_it=True)
    assert ann.page.evaluate("document.documentElement.scrollWidth") <= width
    seed = ann.ask("player.roll.colours()('seed')")
    assert seed == {"light": "#0b72b5", "dark": "#56b4e9"}[scheme]
    assert ann.troubles == []


def test_every_control_has_a_name(listen: Callable[..., Listener], stage: Stage) -> None:
    ann = listen()
    ann.hear(all_of_it=True)
    one = ann.page.locator("#one")
    assert one.get_by_role("group", name="Take one").count() == 1
    for role, name in (
        ("slider", "Volume"),
        ("slider", "Place in the music"),
        ("listbox", "Bars"),
        ("radiogroup", "Colours of the notes"),
        ("button", "Zoom in"),
        ("button", "Mute Drums"),
        ("button", "Solo Drums"),
    ):
        assert one.get_by_role(role, name=name, exact=True).count() == 1, name
    nameless = one.get_by_role("button", name=re.compile("^$"))
    assert nameless.count() == 0
    assert ann.troubles == []
