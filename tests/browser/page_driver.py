"""The page in Chromium, driven as a user does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

MINUET = "Minuet in G (Petzold)"  # the prompt of a new session
TIMEOUT_MS = 60_000


def with_sound(test: Any) -> Any:
    """Mark a test that needs FluidSynth."""
    for mark in (pytest.mark.fluidsynth, pytest.mark.usefixtures("_sound")):
        test = mark(test)
    return test


class PageDriver:
    """The page in a browser context of its own, and the URLs that it requested."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        context.on("request", lambda request: self.requests.append(request.url))
        self.page: Page = context.new_page()
        self.page.set_default_timeout(TIMEOUT_MS)
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
        """Drop a file on the upload field."""
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
        self.field("New bars").fill(str(bars))

    def set_slider(self, name: str, value: float) -> None:
        """Move a slider that has words at its ends."""
        slider = self.page.get_by_role("slider", name=f"range slider for {name}")
        slider.fill(f"{value:g}")

    def drawer(self, title: str) -> None:
        """Open a drawer."""
        self.page.get_by_role("button", name=re.compile(f"^{title}")).first.click()

    def press(self, name: str = "Continue", *, bars: int | None = None) -> None:
        if bars is not None:
            self.set_bars(bars)
        self.button(name).click()

    def done(self, said: str = "^Continue adds") -> str:
        """Wait until the status matches and no job runs, and return it."""
        self.page.wait_for_function(
            """said => {
                const text = document.querySelector("#status [role=status]")?.innerText ?? "";
                return text.match(said) && document.querySelector("#stop").disabled;
            }""",
            arg=said,
        )
        return self.status

    def compose(self, name: str = "Continue", *, bars: int = 2, said: str = "after bar") -> str:
        """Press a button and wait for the end of its job, which is another stream."""
        before = self.player("value.stream")
        self.press(name, bars=bars)
        self.wait_for_player(f"value.stream !== '{before}'")
        return self.done(said)

    def take(self, letter: str) -> Any:
        """The strip of a take."""
        return self.page.get_by_role("radio", name=re.compile(f"^Take {letter}"))

    @property
    def status(self) -> str:
        return str(self.page.locator("#status [role=status]").inner_text())

    def player(self, wanted: str, *, player: str = "roll-a") -> Any:
        """Evaluate a property of a player."""
        return self.page.evaluate(f"musiclstm.players.get('{player}').{wanted}")

    def wait_for_player(self, wanted: str, *, player: str = "roll-a") -> None:
        self.page.wait_for_function(f"musiclstm.players.get('{player}').{wanted}")

    def download(self, name: str) -> bytes:
        with self.page.expect_download() as download:
            self.button(name).click()
        return Path(download.value.path()).read_bytes()

    @property
    def midi(self) -> bytes:
        return self.download("MIDI")
