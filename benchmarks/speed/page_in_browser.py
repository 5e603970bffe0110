"""`python -m benchmarks.speed.page_in_browser`: response times of the page in Chromium.

Starts `app.py`, opens the page, clicks its buttons and analyses the audio output. The first sound
is the first sample above -80 dB at the output. Then the server's memory is measured over many
continuations.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from benchmarks.common.app_server import AppProcess, run_app
from benchmarks.common.report import Report, ReportError, parser, run, table
from musiclstm.cli import run_command

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM_FLAGS = ("--no-sandbox", "--mute-audio", "--autoplay-policy=user-gesture-required")
TIMEOUT_MS = 120_000
MAX_S = {
    "click to first sound": 1.5,
    "four sequences of 16 bars, complete": 5.0,
    "another temperature to first sound": 1.5,
    "start to a usable page": 15.0,
}
MAX_GROWTH = 0.05
WARM_UP = 60  # continuations that fill the session's history and the chunk cache

# Clicks a button and resolves with the seconds until the first sound.
_FIRST_SOUND = """
(button) => new Promise((resolve) => {
  const clicked = performance.now();
  document.querySelector(button).click();
  let tap = null;
  const poll = () => {
    for (const { sound } of window.musiclstm.players.values()) {
      const output = sound.output;
      if (!output || sound.state !== "playing") continue;
      if (tap?.source !== output) {
        const node = output.context.createAnalyser();
        output.connect(node);
        tap = { source: output, node, samples: new Float32Array(node.fftSize) };
      }
      tap.node.getFloatTimeDomainData(tap.samples);
      if (tap.samples.some((sample) => Math.abs(sample) > 1e-4)) {
        return resolve((performance.now() - clicked) / 1000);
      }
    }
    setTimeout(poll, 5);
  };
  poll();
})
"""
# Clicks a button and resolves with the seconds until `count` players have all bars and all audio.
_COMPLETE = """
([button, count]) => new Promise((resolve) => {
  const clicked = performance.now();
  const before = new Map([...window.musiclstm.players].map(([id, p]) => [id, p.value?.stream]));
  document.querySelector(button).click();
  const isComplete = ([id, { value, sound }]) => {
    const { chunks } = sound.rendering;
    return value && value.stream !== before.get(id) && value.complete && chunks.length
      && sound.rendering.missing(sound.keptRanges, 0).length === 0;
  };
  const poll = () => {
    const complete = [...window.musiclstm.players].filter(isComplete);
    if (complete.length >= count) resolve((performance.now() - clicked) / 1000);
    else setTimeout(poll, 10);
  };
  poll();
})
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error, such as a missing browser."""
    options = parser("benchmarks.speed.page_in_browser", "Response times of the page.", data=False)
    add = options.add_argument
    add("--presses", type=int, default=20, help="clicks for each median (20)")
    add("--rounds", type=int, default=5, help="rounds of four sequences (5)")
    add("--continuations", type=int, default=200, help="for the memory test; 0: none (200)")
    add("--warm-up", type=int, default=WARM_UP, help=f"continuations before it ({WARM_UP})")
    add("--model", default="default", help="a checkpoint folder or a Hub id")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Measure response times and the server's memory."""
    for name in ("presses", "rounds"):
        if getattr(options, name) < 1:
            raise ReportError(f"--{name} must be 1 or more, got {getattr(options, name)}.")
    if options.warm_up < 0:
        raise ReportError(f"--warm-up must be 0 or more, got {options.warm_up}.")
    with _chromium_page() as page:
        begin_s = time.perf_counter()
        with run_app(options.model) as server:
            page.goto(server.url)
            page.locator("#go:enabled").wait_for()
            page.wait_for_function("() => window.musiclstm?.players?.size >= 4")
            usable_s = time.perf_counter() - begin_s
            _first_sound_s(page)  # loads the SoundFont
            first = [_first_sound_s(page) for _ in range(options.presses)]
            changed = [
                _first_sound_s(page, adventurous=0.6 + 0.05 * i) for i in range(options.presses)
            ]
            _set(page, "New bars", 16)
            four = [float(page.evaluate(_COMPLETE, ["#four", 4])) for _ in range(options.rounds)]
            _set(page, "New bars", 8)
            growth = _measure_growth(page, server, options.continuations, warm_up=options.warm_up)
    seconds = dict(zip(MAX_S, (first, four, changed, [usable_s]), strict=True))
    return Report(_text(seconds, growth), {"seconds": seconds, "memory": growth})


@contextlib.contextmanager
def _chromium_page() -> Iterator[Page]:
    """Open an empty page in Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError as error:
        raise ReportError("playwright is missing; install requirements-dev.txt.") from error
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        raise ReportError("Chromium is missing; install it with: apt install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(CHROMIUM_FLAGS))
        page = browser.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        yield page
        browser.close()


def _first_sound_s(page: Page, *, adventurous: float | None = None) -> float:
    """Click Continue, return the seconds to the first sound, and stop playback at the end."""
    if adventurous is not None:
        _set(page, "Adventurous", round(min(adventurous, 1.5), 2))
    # Chromium plays audio only after a user gesture; a click by script does not count as one.
    page.locator("#top").click()
    found = float(page.evaluate(_FIRST_SOUND, "#go"))
    page.locator("#go:enabled").wait_for()
    page.evaluate("() => window.musiclstm.players.forEach((each) => each.pause())")
    return found


def _set(page: Page, label: str, value: float) -> None:
    field = page.get_by_role("spinbutton", name=f"number input for {label}")
    field.fill(f"{value:g}")
    field.press("Tab")


def _measure_growth(
    page: Page, server: AppProcess, continuations: int, *, warm_up: int
) -> dict[str, Any] | None:
    """Return the server's memory after the warm-up and after more continuations."""
    if not continuations:
        return None
    for number in range(warm_up + continuations):
        if number == warm_up:
            before = server.memory_bytes()
        page.evaluate(_COMPLETE, ["#go", 1])
        page.locator("#go:enabled").wait_for()
    after = server.memory_bytes()
    return {
        "continuations": continuations,
        "warm_up": warm_up,
        "before_bytes": before,
        "after_bytes": after,
        "growth": after / before - 1,
    }


def _text(seconds: dict[str, list[float]], growth: dict[str, Any] | None) -> str:
    rows = [
        {
            "from … to": name,
            "median s": f"{statistics.median(times):.2f}",
            "slowest s": f"{max(times):.2f}",
            "times": f"{len(times)}",
            "limit s": f"{MAX_S[name]:g}",
            "reached": "yes" if statistics.median(times) <= MAX_S[name] else "no",
        }
        for name, times in seconds.items()
    ]
    memory = "Memory was not measured."
    if growth is not None:
        memory = (
            f"Memory of the server over {growth['continuations']} continuations, after "
            f"{growth['warm_up']} to warm up: "
            f"{growth['before_bytes'] / 1e6:.0f} MB, then {growth['after_bytes'] / 1e6:.0f} MB, "
            f"{100 * growth['growth']:+.1f} % (at most {100 * MAX_GROWTH:.0f} %)."
        )
    return f"{table(rows)}\n\n{memory}"


if __name__ == "__main__":
    sys.exit(run_command(main))
