"""`python -m benchmarks.speed.static_page`: the page without a server in Chromium.

It prints the bytes downloaded before the first sound, the time from a press to the first sound of
the new bars, and tokens per second. Times are wall clock: run it on an idle machine.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from benchmarks.common.report import Report, ReportError, parser, run, table
from hub.static_page import build, serving
from musiclstm.cli import run_command

_FLAGS = [
    "--no-sandbox",
    "--mute-audio",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
MAX = {
    "download before the first sound, MB": 10.0,
    "press to first sound, warm, median, s": 0.5,
}
_READY = "page.studio.piece"

# Presses a button; resolves with the milliseconds until a frame of the new bars sounds.
_PRESS = """async (id) => {
    const { player } = page.player;
    if (player.wants) player.pause();
    const pressed = performance.now();
    document.getElementById(id).click();
    await new Promise((resolve) => {
        const timer = setInterval(() => {
            const start = player.frameOf(player.newStart);
            const { segments, now } = player.sound;
            const heard = segments.some(({ time, frame, frames }) =>
                frame + frames > start && now >= time + Math.max(0, start - frame));
            if (heard) { clearInterval(timer); resolve(); }
        }, 2);
    });
    return performance.now() - pressed;
}"""

# Writes bars with the engine alone, without roll and sound; returns tokens and seconds.
_WRITE = """async ([bars, takes]) => {
    const { engine, piece } = page.studio;
    const rows = Array.from({ length: takes }, (_, seed) => ({
        bars: [], state: piece.base.state, constraints: piece.base.constraints,
        settings: { temperature: 1, copyWeight: 1, topP: 0.97, candidates: 8, seed, key: "" },
    }));
    let tokens = 0;
    const count = ({ data }) => { tokens += data.bar?.tokens.length ?? 0; };
    engine.worker.addEventListener("message", count);
    const { ids } = piece.base;
    const started = performance.now();
    await engine.call("write", { job: 0, limit: Infinity, prompt: ids, rows, bars });
    const seconds = (performance.now() - started) / 1000;
    engine.worker.removeEventListener("message", count);
    return [tokens, seconds];
}"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error, or if a limit is not met."""
    options = parser("benchmarks.speed.static_page", "The page without a server.", data=False)
    add = options.add_argument
    add("--folder", type=Path, help="a built page (it is built)")
    add("--example", default="minuet_in_g", help="file name of an example")
    add("--presses", type=int, default=15, help="presses for the median (15)")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Build the page if necessary, and measure it."""
    if options.presses < 1:
        raise ReportError(f"--presses must be 1 or more, got {options.presses}.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if options.folder is None:
            build(folder)
        facts = _measure(folder, options.example, options.presses)
    rows = [
        {"figure": name, "value": f"{value:,.2f}", "at most": MAX.get(name, "")}
        for name, value in facts.items()
    ]
    return Report(table(rows), facts, all(facts[name] <= limit for name, limit in MAX.items()))


def _measure(folder: Path, example: str, presses: int) -> dict[str, float]:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise ReportError("Chromium is missing; install it with: apt install chromium")
    with serving(folder) as url, sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser, args=_FLAGS)
        # The page's policy forbids scripts from outside, such as these measurements.
        context = chromium.new_context(bypass_csp=True)
        page = context.new_page()
        sizes: dict[str, int] = {}
        context.on("requestfinished", lambda request: _add_size(sizes, request))
        page.goto(url)
        _open_example(page, example)
        first = page.evaluate(_PRESS, "continue")
        downloaded = sum(sizes.values())
        warm = []
        for _ in range(presses):
            page.wait_for_function("!page.studio.writing")
            warm.append(page.evaluate(_PRESS, "again"))
        page.wait_for_function("!page.studio.writing")
        page.evaluate("page.player.player.pause()")
        one, four = (page.evaluate(_WRITE, [64, takes]) for takes in (1, 4))
        chromium.close()
    return {
        "download before the first sound, MB": downloaded / 1e6,
        "press to first sound, first press, s": first / 1e3,
        "press to first sound, warm, median, s": statistics.median(warm) / 1e3,
        "tokens per second, one take": one[0] / one[1],
        "tokens per second, four takes": four[0] / four[1],
    }


def _add_size(sizes: dict[str, int], request: Any) -> None:
    response = request.response()
    if response is not None and not response.from_service_worker:
        sizes.setdefault(request.url, int(response.headers.get("content-length", 0)))


def _open_example(page: Page, example: str) -> None:
    page.wait_for_function(_READY)
    page.select_option("#example", example)
    page.wait_for_function(f"{_READY}?.base.prompt.source === 'bundled:{example}'")
    page.locator("#continue:enabled").wait_for()


if __name__ == "__main__":
    sys.exit(run_command(main))
