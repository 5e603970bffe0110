"""Drives the page without a server, by what a user sees. Its policy forbids evaluated scripts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symusic.core import ScoreTick

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator

TIMEOUT_MS = 90_000
_KEPT = """async () => {
    const caches_ = await Promise.all((await caches.keys()).map((name) => caches.open(name)));
    const requests = await Promise.all(caches_.map((each) => each.keys()));
    return requests.flat().map(({ url }) => url);
}"""


class StaticPage:
    """The page in a browser context of its own.

    Attributes:
        errors: Errors of scripts, of the console and of requests so far.
        sounds: Addresses of the sounds that were fetched so far.
    """

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context, self.url = context, url
        self.errors: list[str] = []
        self.sounds: set[str] = set()
        self.page = context.new_page()
        self.page.set_default_timeout(TIMEOUT_MS)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._note)
        self.page.on("request", self._note_sound)
        self.page.goto(url)

    def _note(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _note_sound(self, request: Any) -> None:
        if "/sounds/" in request.url:
            self.sounds.add(request.url)

    def kept_files(self) -> set[str]:
        """Return the addresses that the service worker keeps for a visit without a network."""
        (worker,) = self.context.service_workers
        return set(worker.evaluate(_KEPT))

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def wait_for(self, sentence: str) -> None:
        """Wait for a sentence in the line of what happens."""
        self.page.locator("#status").get_by_text(sentence).wait_for()

    def wait_for_bars(self, bar: int) -> None:
        """Wait until the piece ends with a bar and nothing is written."""
        self.page.locator("#status").get_by_text(re.compile(f"after bar {bar}[ .]")).wait_for()

    def open_file(self, path: Path) -> None:
        self.page.locator("#file").set_input_files(path)
        self.page.locator("#about").get_by_text(path.name).wait_for()

    def choose_bars(self, bars: str) -> None:
        self.page.locator("#bars").select_option(bars)

    def set_seed(self, seed: int) -> None:
        """Type a random seed."""
        self.open_drawer("expert")
        self.page.get_by_label("Random seed").fill(str(seed))

    def open_drawer(self, name: str) -> None:
        """Open a drawer of the page: music, texture, sound, view, expert or share."""
        if self.page.locator(f"#{name}[open]").count() == 0:
            self.page.locator(f"#{name} > summary").click()

    def press(self, name: str, *, until_bar: int) -> None:
        """Press a button and wait for the last bar."""
        self.button(name).click()
        self.wait_for_bars(until_bar)

    def bar(self, number: int) -> Locator:
        return self.page.get_by_role("option", name=re.compile(f"^bar {number},"))

    def download(self, name: str) -> bytes:
        """Press a button that saves a file, and return its bytes."""
        if name != "Save MIDI":
            self.open_drawer("share")
        with self.page.expect_download() as found:
            self.button(name).click()
        return Path(found.value.path()).read_bytes()

    def score(self) -> ScoreTick:
        return ScoreTick.from_midi(self.download("Save MIDI"))
