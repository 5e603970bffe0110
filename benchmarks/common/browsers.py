"""Chromium and Firefox, to run JavaScript on a local page.

Chromium is driven by playwright. Firefox needs no driver: it speaks WebDriver BiDi itself
(https://w3c.github.io/webdriver-bidi/), which here takes three commands over a WebSocket.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from playwright.sync_api import sync_playwright

from benchmarks.common.report import ReportError

Evaluate: TypeAlias = Callable[[str, Any], Any]  # an async function's source and its argument

TIMEOUT_S = 600
_CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--mute-audio",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
_LISTENING = re.compile(r"WebDriver BiDi listening on (ws://\S+)")


@contextmanager
def chromium(url: str) -> Iterator[Evaluate]:
    """Open a page in Chromium; scripts are evaluated whatever its policy says.

    Raises:
        ReportError: Chromium is missing.
    """
    path = _find("Chromium", "chromium", "chromium-browser")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=_CHROMIUM_FLAGS)
        page = browser.new_context(bypass_csp=True).new_page()
        page.set_default_timeout(TIMEOUT_S * 1e3)
        page.goto(url)
        yield page.evaluate
        browser.close()


@contextmanager
def firefox(url: str) -> Iterator[Evaluate]:
    """Open a page in Firefox.

    Raises:
        ReportError: Firefox or the package `websockets` is missing, or Firefox answers an error.
    """
    path = _find("Firefox", "firefox-esr", "firefox")
    try:
        from websockets.sync.client import connect
    except ImportError as error:
        raise ReportError("Firefox needs websockets; run: pip install websockets") from error
    with ExitStack() as stack:
        profile = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        command = [path, "--headless", "--no-remote", "--remote-debugging-port", "0"]
        with (profile / "log.txt").open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [*command, "--profile", str(profile)], stdout=subprocess.DEVNULL, stderr=log
            )
        stack.callback(_end, process)
        address = _wait_for_address(process, profile / "log.txt")
        socket = stack.enter_context(connect(f"{address}/session", max_size=None))
        session = _Session(socket)
        yield session.open(url)
        with suppress(ReportError):
            session.send("browser.close")


class _Session:
    """A session of WebDriver BiDi."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.sent = 0
        self.send("session.new", capabilities={})

    def open(self, url: str) -> Evaluate:
        (tab, *_) = self.send("browsingContext.getTree")["contexts"]
        context = tab["context"]
        self.send("browsingContext.navigate", context=context, url=url, wait="complete")

        def evaluate(function: str, argument: Any) -> Any:
            call = f"({function})({json.dumps(argument)}).then(JSON.stringify)"
            answer = self.send(
                "script.evaluate", expression=call, target={"context": context}, awaitPromise=True
            )
            if answer["type"] != "success":
                raise ReportError(f"Firefox: {answer['exceptionDetails']['text']}")
            return json.loads(answer["result"]["value"])

        return evaluate

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command, and return its result; events before it are skipped."""
        self.sent += 1
        self.socket.send(json.dumps({"id": self.sent, "method": method, "params": parameters}))
        while (answer := json.loads(self.socket.recv(TIMEOUT_S))).get("id") != self.sent:
            pass
        if answer["type"] != "success":
            raise ReportError(f"Firefox, {method}: {answer['message']}")
        return answer["result"]


def _find(name: str, *commands: str) -> str:
    for command in commands:
        if path := shutil.which(command):
            return path
    raise ReportError(f"{name} is missing; install it with: apt install {commands[0]}")


def _wait_for_address(process: subprocess.Popen[bytes], log: Path) -> str:
    while (found := _LISTENING.search(log.read_text(encoding="utf-8"))) is None:
        if process.poll() is not None:
            raise ReportError(f"Firefox ended with status {process.returncode}.")
        time.sleep(0.05)
    return found[1]


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
    process.kill()
    process.wait()
