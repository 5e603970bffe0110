"""A client of the page without a browser: it joins Gradio's queue and reads its messages."""

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
_FLAC = '"ZkxhQ'  # the first bytes of every audio chunk, in base64
_STATUS = re.compile(r'role=\\"status\\">([^<]*)<')
_WARNING = re.compile(r'class=\\"trouble\\">([^<]*)<')


@dataclass(frozen=True)
class JobResult:
    """Result of one job.

    Attributes:
        status: HTTP status code of the request that joins the queue; 200: accepted.
        error: Error message that the user sees; empty: none.
        ended: Whether the end of the job was reported. An accepted job without it is lost.
        first_sound_s: Seconds from the request to the first audio; None: no audio.
        end_s: Seconds from the request to the end or the refusal.
        statuses: Distinct texts of the page's status line, in order.
        warnings: Distinct warnings below the status line, in order.
    """

    status: int
    error: str = ""
    ended: bool = False
    first_sound_s: float | None = None
    end_s: float = 0.0
    statuses: tuple[str, ...] = field(default=(), repr=False)
    warnings: tuple[str, ...] = ()


class PageClient:
    """A user session of the page.

    Args:
        url: Address of the page.
        address: Client address, sent as a proxy sends it; empty: the local address.
        timeout_s: Longest wait for the next message.
        config: Gradio's config as read by another client. None: request it.
    """

    def __init__(
        self,
        url: str,
        *,
        address: str = "",
        timeout_s: float = 120.0,
        config: dict[str, Any] | None = None,
    ) -> None:
        headers = {"x-forwarded-for": address} if address else {}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)
        self.config: dict[str, Any] = config or self.http.get("/config").raise_for_status().json()
        self._values = {each["id"]: _initial_value(each) for each in self.config["components"]}
        self.session = uuid.uuid4().hex

    def close(self) -> None:
        """Close the connection."""
        self.http.close()

    def set(self, label: str, value: Any) -> None:
        """Set the value of the first component with a label, for later requests.

        Raises:
            KeyError: No component has this label.
        """
        for component in self.config["components"]:
            if component["props"].get("label") == label:
                self._values[component["id"]] = value
                return
        raise KeyError(label)

    def event(self, name: str) -> dict[str, Any]:
        """Return the event with an `api_name`, such as `compose`.

        Raises:
            KeyError: No event has this name.
        """
        for dependency in self.config["dependencies"]:
            if dependency["api_name"] == name:
                found: dict[str, Any] = dependency
                return found
        raise KeyError(name)

    def join(self, name: str = "compose", data: list[Any] | None = None) -> httpx.Response:
        """Queue a job without waiting for it.

        Args:
            name: `api_name` of the event.
            data: Inputs of the event. None: the current values of its components.
        """
        event = self.event(name)
        request = {
            "data": [self._values[each] for each in event["inputs"]] if data is None else data,
            "fn_index": event["id"],
            "session_hash": self.session,
        }
        return self.http.post(f"{API}/queue/join", json=request)

    def run(self, name: str = "compose", data: list[Any] | None = None) -> JobResult:
        """Queue a job as `join` does and wait for its end."""
        begin_s = time.perf_counter()
        response = self.join(name, data)
        if response.status_code != 200:
            end_s = time.perf_counter() - begin_s
            return JobResult(response.status_code, _detail(response), end_s=end_s)
        return self._wait(response.json()["event_id"], begin_s)

    def upload(self, name: str, data: bytes) -> JobResult:
        """Upload a file as a new prompt and wait until it has been read."""
        response = self.http.post(f"{API}/upload", files={"files": (name, data)})
        if response.status_code != 200:
            return JobResult(response.status_code, _detail(response))
        path = response.json()[0]
        file = {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}
        return self.run("drop", [None, file])

    def messages(self, event_id: str) -> Iterator[tuple[dict[str, Any], str]]:
        """Yield the server's messages about a job, parsed and as text."""
        query = {"session_hash": self.session}
        with self.http.stream("GET", f"{API}/queue/data", params=query) as response:
            for line in response.iter_lines():
                if line.startswith("data:"):
                    message = json.loads(line[5:])
                    if message.get("event_id") in (event_id, None):
                        yield message, line

    def _wait(self, event_id: str, begin_s: float) -> JobResult:
        first_s, texts, error, ended = None, [], "", False
        for message, text in self.messages(event_id):
            texts.append(text)
            if first_s is None and _FLAC in text:
                first_s = time.perf_counter() - begin_s
            if message["msg"] in ("process_completed", "unexpected_error"):
                error, ended = _error_in(message), True
                break
        end_s = time.perf_counter() - begin_s
        statuses, warnings = (_distinct(pattern, texts) for pattern in (_STATUS, _WARNING))
        return JobResult(200, error, ended, first_s, end_s, statuses, warnings)


def _initial_value(component: dict[str, Any]) -> Any:
    return None if component["type"] == "state" else component["props"].get("value")


def _detail(response: httpx.Response) -> str:
    """Return the error message of a refused request."""
    try:
        content = response.json()
    except ValueError:
        return ""
    return str(content.get("detail", "")) if isinstance(content, dict) else ""


def _error_in(message: dict[str, Any]) -> str:
    if message["msg"] == "unexpected_error":
        return str(message.get("message") or "The server ended the job without a message.")
    if message.get("success"):
        return ""
    return str(message.get("output", {}).get("error") or "The job failed without a message.")


def _distinct(pattern: re.Pattern[str], texts: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found for text in texts for found in pattern.findall(text)))
