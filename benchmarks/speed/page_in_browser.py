"""`python -m benchmarks.speed.page_in_browser`: what a visitor waits for, in a real Chromium on a real server.

Starts `app.py` as anybody would, opens the page, presses its buttons, and listens where the sound
leaves for the loudspeaker: "audible" is the first moment when what is heard there is no silence.
Then it lets many continuations be made and watches the server's memory.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common.report import Report, ReportError, parser, run, table

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[2]
FLAGS = ("--no-sandbox", "--mute-audio", "--autoplay-policy=user-gesture-required")
PATIENCE_MS = 120_000
MOST_S = {
    "press to first sound": 1.5,
    "four takes of 16 bars, all there": 5.0,
    "another temperature to first sound": 1.5,
    "start to a usable page": 15.0,
}
MOST_GROWTH = 0.05
WARM_UP = 60  # continuations; then a visitor's history and the shelf of sound are as full as may be

# Resolves with the seconds from a press to the first sample that is no silence.
_LISTEN = """
(button) => new Promise((resolve) => {
  const pressed = performance.now();
  document.querySelector(button).click();
  let ear = null;
  const listen = () => {
    for (const player of window.musiclstm.players.values()) {
      const output = player.sound.output;
      if (!output || player.state !== "playing") continue;
      if (ear?.source !== output) {
        const node = output.context.createAnalyser();
        output.connect(node);
        ear = { source: output, node, samples: new Float32Array(node.fftSize) };
      }
      ear.node.getFloatTimeDomainData(ear.samples);
      if (ear.samples.some((sample) => Math.abs(sample) > 1e-4)) {
        return resolve((performance.now() - pressed) / 1000);
      }
    }
    setTimeout(listen, 5);
  };
  listen();
})
"""
# Resolves with the seconds from a press until every take has all its bars and all its sound.
_ALL_THERE = """
([button, takes]) => new Promise((resolve) => {
  const pressed = performance.now();
  const before = new Map([...window.musiclstm.players].map(([id, p]) => [id, p.value?.stream]));
  document.querySelector(button).click();
  const look = () => {
    const done = [...window.musiclstm.players].filter(([id, { value, sound }]) =>
      value && value.stream !== before.get(id) && value.complete
        && sound.rendering.chunks.length && sound.rendering.missing(sound.keptRanges, 0).length === 0);
    if (done.length >= takes) resolve((performance.now() - pressed) / 1000);
    else setTimeout(look, 10);
  };
  look();
})
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with a sentence where no browser or no server is to be had."""
    options = parser("benchmarks.speed.page_in_browser", "What a visitor waits for.", data=False)
    add = options.add_argument
    add("--presses", type=int, default=20, help="of which the median counts (20)")
    add("--rounds", type=int, default=5, help="of four takes (5)")
    add("--continuations", type=int, default=200, help="while memory is watched; 0: none (200)")
    add("--warm-up", type=int, default=WARM_UP, help=f"continuations before that ({WARM_UP})")
    add("--model", default="default", help="a checkpoint folder or a Hub id")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Serve, open, press, listen."""
    for name in ("presses", "rounds"):
        if getattr(options, name) < 1:
            raise ReportError(f"--{name} must be 1 or more, got {getattr(options, name)}.")
    if options.warm_up < 0:
        raise ReportError(f"--warm-up must be 0 or more, got {options.warm_up}.")
    with _opened() as page, _served(options.model) as server:
        begin = time.perf_counter()
        _visit(page, server)
        usable = time.perf_counter() - begin
        _press(page)  # the first one loads the SoundFont
        first = [_press(page) for _ in range(options.presses)]
        changed = [_press(page, adventurous=0.6 + 0.05 * i) for i in range(options.presses)]
        _set(page, "New bars", 16)
        four = [float(page.evaluate(_ALL_THERE, ["#four", 4])) for _ in range(options.rounds)]
        _set(page, "New bars", 8)
        growth = _growth(page, server, options.continuations, warm_up=options.warm_up)
    return _report(usable, first, changed, four, growth, options)


# The server ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Server:
    url: str
    process: subprocess.Popen[bytes]

    def memory_bytes(self) -> int:
        """What is its own, as Linux counts it."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return 1024 * int(line.split()[1])


@contextlib.contextmanager
def _served(model: str) -> Iterator[_Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "app.py", "--port", str(port), "--model", model]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            yield _Server(f"http://127.0.0.1:{port}", process)
        finally:
            process.terminate()


def _await(server: _Server) -> None:
    """Until somebody answers. A browser that tries again and again would slow the start down."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < deadline and server.process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{server.url}/healthz"):
            return
        time.sleep(0.05)
    raise ReportError(f"app.py does not answer at {server.url}; start it by hand.")


@contextlib.contextmanager
def _opened() -> Iterator[Page]:
    """An empty page in Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError as error:
        raise ReportError("playwright is missing; install requirements-dev.txt.") from error
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        raise ReportError("Chromium is missing; install it with: apt install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        yield page
        browser.close()


def _visit(page: Page, server: _Server) -> None:
    """Open the page as soon as there is one, until its button can be pressed."""
    _await(server)
    page.goto(server.url)
    page.locator("#go:enabled").wait_for()
    page.wait_for_function("() => window.musiclstm?.players?.size >= 4")


# The visitor --------------------------------------------------------------------------------------


def _press(page: Page, *, adventurous: float | None = None) -> float:
    """Seconds from pressing Continue to the first sound; afterwards all is done and quiet."""
    if adventurous is not None:
        _set(page, "Adventurous", round(min(adventurous, 1.5), 2))
    # A press that Chromium did not see coming from a person would not be allowed to sound.
    page.locator("#top").click()
    found = float(page.evaluate(_LISTEN, "#go"))
    page.locator("#go:enabled").wait_for()
    page.evaluate("() => window.musiclstm.players.forEach((each) => each.sound.pause())")
    return found


def _set(page: Page, label: str, value: float) -> None:
    field = page.get_by_role("spinbutton", name=f"number input for {label}")
    field.fill(f"{value:g}")
    field.press("Tab")


def _growth(
    page: Page, server: _Server, continuations: int, *, warm_up: int
) -> dict[str, Any] | None:
    """Memory when it is warm, and after so many more."""
    if not continuations or not sys.platform.startswith("linux"):
        return None
    for number in range(warm_up + continuations):
        if number == warm_up:
            before = server.memory_bytes()
        page.evaluate(_ALL_THERE, ["#go", 1])
        page.locator("#go:enabled").wait_for()
    after = server.memory_bytes()
    return {
        "continuations": continuations,
        "warm_up": warm_up,
        "before_bytes": before,
        "after_bytes": after,
        "growth": after / before - 1,
    }


# In words -----------------------------------------------------------------------------------------


def _report(
    usable: float,
    first: list[float],
    changed: list[float],
    four: list[float],
    growth: dict[str, Any] | None,
    options: argparse.Namespace,
) -> Report:
    found = dict(zip(MOST_S, (first, four, changed, [usable]), strict=True))
    rows = [
        {
            "from … to": name,
            "median s": f"{statistics.median(times):.2f}",
            "slowest s": f"{max(times):.2f}",
            "times": f"{len(times)}",
            "at most": f"{MOST_S[name]:g}",
            "reached": "yes" if statistics.median(times) <= MOST_S[name] else "no",
        }
        for name, times in found.items()
    ]
    told = "Memory was not watched."
    if growth is not None:
        told = (
            f"Memory of the server over {growth['continuations']} continuations, after "
            f"{growth['warm_up']} to warm up: "
            f"{growth['before_bytes'] / 1e6:.0f} MB, then {growth['after_bytes'] / 1e6:.0f} MB, "
            f"{100 * growth['growth']:+.1f} % (at most {100 * MOST_GROWTH:.0f} %)."
        )
    return Report(f"{table(rows)}\n\n{told}", {"seconds": found, "memory": growth})


if __name__ == "__main__":
    sys.exit(main())
