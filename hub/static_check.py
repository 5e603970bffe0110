"""Check of the page without a server: compose one bar in Chromium, and listen to it."""

from __future__ import annotations

import io
import shutil
import wave
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hub.static_page import serving
from musiclstm.errors import PublishError

if TYPE_CHECKING:
    from playwright.sync_api import Page

_TIMEOUT_MS = 120_000
_FLAGS = ["--no-sandbox", "--mute-audio", "--autoplay-policy=user-gesture-required"]
_OTHER_HOSTS = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
_SILENT = 500  # samples of 16 bits below this are not heard


def check_page(folder: Path) -> float:
    """Open a built page in Chromium, compose one bar after its first example, and render it.

    Returns:
        Loudest sample of the new bar, 0 to 1.

    Raises:
        PublishError: Chromium or playwright is missing, the page reports an error, or the bar is
            silent.
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError as error:
        raise PublishError(
            "The page is tested in Chromium, which needs playwright; run: pip install playwright, "
            "or skip the test with --no_boot."
        ) from error
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise PublishError(
            "Chromium is not installed (Debian: apt-get install chromium); skip the test with "
            "--no_boot."
        )
    with serving(folder) as url, sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=browser, args=[*_FLAGS, _OTHER_HOSTS])
        try:
            page = opened.new_page()
            page.set_default_timeout(_TIMEOUT_MS)
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            try:
                page.goto(url)
                peak = _compose_bar(page)
            except Error as error:
                shown = page.locator("#error").text_content(timeout=1_000)
                reason = " ".join(filter(None, [*errors, shown])) or str(error).partition("\n")[0]
                raise PublishError(f"The page composed nothing in Chromium: {reason}") from error
            if errors:
                raise PublishError(f"The page reports an error in Chromium: {errors[0]}")
            if peak < _SILENT:
                raise PublishError("The page composed a bar in Chromium, but it is silent.")
            return peak / 32_768
        finally:
            opened.close()


def _compose_bar(page: Page) -> int:
    """Return the loudest sample that the new bar adds to the piece."""
    page.locator("#continue:enabled").wait_for()
    before = len(_samples(page))
    page.locator("#bars").select_option("1")
    page.locator("#continue").click()
    page.locator("#undo:enabled").wait_for()
    page.locator("#continue:visible").wait_for()
    page.locator('.player[data-state="playing"]').wait_for()
    after = _samples(page)
    if len(after) <= before:
        return 0
    release = 2 * 44_100 * 2  # both pieces end with it
    return int(np.abs(after[before - release :].astype(np.int32)).max(initial=0))


def _samples(page: Page) -> np.ndarray:
    if not page.locator("#save-wav").is_visible():
        page.locator("#share > summary").click()
    with page.expect_download() as found:
        page.locator("#save-wav").click()
    data = Path(found.value.path()).read_bytes()
    with wave.open(io.BytesIO(data)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)
