"""`python -m benchmarks.speed.page_in_browser`: response times of the page in Chromium.

Starts `app.py`, opens the page, clicks its buttons and analyses the audio output. The reaction is
the first change of the player or the status that is drawn. The first sound is the first sample
above -80 dB at the output. Layout shift is Chromium's `layout-shift` without recent input, summed
over load and presses. Then the server's memory is measured over many continuations.
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
    "press to reaction": 0.1,
    "press to first sound": 0.6,
    "four takes of 16 bars, complete": 4.0,
    "another temperature to first sound": 0.6,
    "start to a usable page": 8.0,
}
MAX_GROWTH = 0.05
MAX_SHIFT = 0.05
WARM_UP = 60  # continuations that fill the session's history and the chunk cache

_COUNT_SHIFTS = """
window.layoutShift = 0;
new PerformanceObserver((list) => {
  for (const each of list.getEntries()) if (!each.hadRecentInput) window.layoutShift += each.value;
}).observe({ type: "layout-shift", buffered: true });
"""
# Clicks a button and resolves with the seconds until a change of player or status is drawn.
_REACTION = """
(button) => new Promise((resolve) => {
  const clicked = performance.now();
  const watched = document.querySelectorAll("#roll-a .player, #status, #actions");
  const observer = new MutationObserver(() => {
    observer.disconnect();
    requestAnimationFrame(() => resolve((performance.now() - clicked) / 1000));
  });
  const kinds = { attributes: true, childList: true, subtree: true };
  for (const each of watched) observer.observe(each, kinds);
  document.querySelector(button).click();
})
"""
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
        page.add_init_script(_COUNT_SHIFTS)
        begin_s = time.perf_counter()
        with run_app(options.model) as server:
            page.goto(server.url)
            page.locator("#go:enabled").wait_for()
            page.wait_for_function("() => window.musiclstm?.players?.size >= 4")
            usable_s = time.perf_counter() - begin_s
            _first_sound_s(page)  # loads the SoundFont
            reaction = [_reaction_s(page) for _ in range(options.presses)]
            first = [_first_sound_s(page) for _ in range(options.presses)]
            changed = [
                _first_sound_s(page, temperature=0.6 + 0.05 * i) for i in range(options.presses)
            ]
            four = [_four_takes_s(page) for _ in range(options.rounds)]
            shift = float(page.evaluate("window.layoutShift"))
            growth = _measure_growth(page, server, options.continuations, warm_up=options.warm_up)
    seconds = dict(zip(MAX_S, (reaction, first, four, changed, [usable_s]), strict=True))
    facts = {"seconds": seconds, "layout_shift": shift, "memory": growth}
    return Report(_text(seconds, shift, growth), facts)


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


def _first_sound_s(page: Page, *, temperature: float | None = None) -> float:
    """Click Continue, return the seconds to the first sound, and go back to the prompt."""
    if temperature is not None:
        slider = page.locator("#adventurous input[type=range]")
        slider.fill(f"{min(temperature, 1.5):.2f}")
    # Chromium plays audio only after a user gesture; a click by script does not count as one.
    page.locator("#top").click()
    found = float(page.evaluate(_FIRST_SOUND, "#go"))
    _go_back(page)
    return found


def _reaction_s(page: Page) -> float:
    found = float(page.evaluate(_REACTION, "#go"))
    _go_back(page)
    return found


def _four_takes_s(page: Page) -> float:
    page.locator("#bars input").fill("16")
    found = float(page.evaluate(_COMPLETE, ["#four", 4]))
    _go_back(page)
    return found


def _go_back(page: Page) -> None:
    """Wait for the end of the job and undo it, so that all presses continue the same music."""
    page.locator("#stop:disabled").wait_for(state="attached")
    page.wait_for_function("!document.querySelector('#undo').disabled")
    page.locator("#undo").click()
    page.wait_for_function("document.querySelector('#undo').disabled")
    page.evaluate("() => window.musiclstm.players.forEach((each) => each.pause())")


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
        _go_back(page)
    after = server.memory_bytes()
    return {
        "continuations": continuations,
        "warm_up": warm_up,
        "before_bytes": before,
        "after_bytes": after,
        "growth": after / before - 1,
    }


def _text(seconds: dict[str, list[float]], shift: float, growth: dict[str, Any] | None) -> str:
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
    moved = f"Layout shift: {shift:.3f} (at most {MAX_SHIFT})."
    return f"{table(rows)}\n\n{moved} {memory}"


if __name__ == "__main__":
    sys.exit(run_command(main))
