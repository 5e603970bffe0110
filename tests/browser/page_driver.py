"""Somebody who visits the page with a real Chromium: what such a person does and sees."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

MINUET = "Minuet in G (Petzold)"  # the seed that every visitor finds chosen
PATIENCE_MS = 60_000


def with_sound(test: Any) -> Any:
    """A mark for tests that listen to a synthesizer."""
    for mark in (pytest.mark.fluidsynth, pytest.mark.usefixtures("_sound")):
        test = mark(test)
    return test


class PageDriver:
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

    def player(self, wanted: str, *, player: str = "roll-a") -> Any:
        """Something of a player."""
        return self.page.evaluate(f"musiclstm.players.get('{player}').{wanted}")

    def wait_for_player(self, wanted: str, *, player: str = "roll-a") -> None:
        self.page.wait_for_function(f"musiclstm.players.get('{player}').{wanted}")

    def offered(self, name: str) -> bytes:
        with self.page.expect_download() as download:
            self.button(name).click()
        return Path(download.value.path()).read_bytes()

    @property
    def midi(self) -> bytes:
        return self.offered("MIDI")
