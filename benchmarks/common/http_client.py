"""A visitor without a browser: joins the page's queue over HTTP and listens, as the page does.

Knows Gradio's protocol and the page's names for its buttons; measures nothing but time.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

API = "/gradio_api"
_FLAC = '"ZkxhQ'  # how every chunk of sound begins, in base64
_STATUS = re.compile(r'role=\\"status\\">([^<]*)<')
_TROUBLE = re.compile(r'class=\\"trouble\\">([^<]*)<')


@dataclass(frozen=True)
class Told:
    """What became of one press.

    Attributes:
        status: Of the request to join the queue: 200, or why not.
        sentence: The refusal or the error, as the visitor reads it; empty: all went well.
        ended: Whether an end was told, good or bad; a press that was let in and has none is lost.
        first_sound_s: From the press to the first sound; None: none came.
        end_s: From the press to its end or refusal.
        updates: How often something was told.
        said: The texts of the page's status line, one after another.
        troubles: Those below it.
    """

    status: int
    sentence: str = ""
    ended: bool = False
    first_sound_s: float | None = None
    end_s: float = 0.0
    updates: int = 0
    said: tuple[str, ...] = field(default=(), repr=False)
    troubles: tuple[str, ...] = ()


class Listener:
    """One visitor with a session and an address of its own.

    Args:
        url: Of the page.
        address: Where the visitor seems to come from, by the word of a proxy on this machine;
            empty: this machine.
        patience_s: How long to wait for the next word.
        config: What another listener was told about the page. None: ask for it.
    """

    def __init__(
        self,
        url: str,
        *,
        address: str = "",
        patience_s: float = 120.0,
        config: dict[str, Any] | None = None,
    ) -> None:
        headers = {"x-forwarded-for": address} if address else {}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=patience_s)
        self.config: dict[str, Any] = config or self.http.get("/config").raise_for_status().json()
        self._values = {part["id"]: _value_of(part) for part in self.config["components"]}
        self.session = uuid.uuid4().hex

    def close(self) -> None:
        """Leave."""
        self.http.close()

    def set(self, label: str, value: Any) -> None:
        """Turn a control, by the words above it; of several the first.

        Raises:
            KeyError: There is no such control.
        """
        for part in self.config["components"]:
            if part["props"].get("label") == label:
                self._values[part["id"]] = value
                return
        raise KeyError(label)

    def event(self, name: str) -> dict[str, Any]:
        """An event of the page by its name, such as `compose`.

        Raises:
            KeyError: There is none.
        """
        for each in self.config["dependencies"]:
            if each["api_name"] == name:
                found: dict[str, Any] = each
                return found
        raise KeyError(name)

    def join(self, name: str = "compose", data: list[Any] | None = None) -> httpx.Response:
        """Ask for a job, and do not wait for it."""
        event = self.event(name)
        asked = {
            "data": [self._values[each] for each in event["inputs"]] if data is None else data,
            "fn_index": event["id"],
            "session_hash": self.session,
        }
        return self.http.post(f"{API}/queue/join", json=asked)

    def press(self, name: str = "compose", data: list[Any] | None = None) -> Told:
        """Press a button and listen to the end."""
        begun_s = time.perf_counter()
        joined = self.join(name, data)
        if joined.status_code != 200:
            sentence = str(_json(joined).get("detail", ""))
            return Told(joined.status_code, sentence, end_s=time.perf_counter() - begun_s)
        return self._listen(joined.json()["event_id"], begun_s)

    def drop(self, name: str, data: bytes) -> Told:
        """Drop a file on the page."""
        sent = self.http.post(f"{API}/upload", files={"files": (name, data)})
        if sent.status_code != 200:
            return Told(sent.status_code, str(_json(sent).get("detail", "")))
        file = {"path": sent.json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}
        return self.press("drop", [None, file])

    def _listen(self, event: str, begun_s: float) -> Told:
        first_s, texts, error, ended = None, [], "", False
        for word, text in self.words(event):
            texts.append(text)
            if first_s is None and _FLAC in text:
                first_s = time.perf_counter() - begun_s
            if word["msg"] in ("process_completed", "unexpected_error"):
                error, ended = _error_of(word), True
                break
        end_s = time.perf_counter() - begun_s
        said, troubles = (_found(pattern, texts) for pattern in (_STATUS, _TROUBLE))
        return Told(200, error, ended, first_s, end_s, len(texts), said, troubles)

    def words(self, event: str) -> Iterator[tuple[dict[str, Any], str]]:
        """All that the server says about a job, read and as it came."""
        asked = {"session_hash": self.session}
        with self.http.stream("GET", f"{API}/queue/data", params=asked) as answer:
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    word = json.loads(line[5:])
                    if word.get("event_id") in (event, None):
                        yield word, line


def _value_of(part: dict[str, Any]) -> Any:
    return None if part["type"] == "state" else part["props"].get("value")


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        read = answer.json()
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _error_of(word: dict[str, Any]) -> str:
    if word["msg"] == "unexpected_error":
        return str(word.get("message") or "The server ended the job without a word.")
    if word.get("success"):
        return ""
    return str(word.get("output", {}).get("error") or "The job failed without a word.")


def _found(pattern: re.Pattern[str], texts: list[str]) -> tuple[str, ...]:
    """What a pattern finds, each once, in the order in which it came first."""
    return tuple(dict.fromkeys(found for text in texts for found in pattern.findall(text)))
