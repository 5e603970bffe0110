"""A user of the page without a browser or server: calls handlers and collects what they show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import gradio as gr

from page.playback.chunk_cache import ChunkCache
from page.session.session import Session
from page.ui.errors import event_handler
from page.ui.events import EventListeners
from page.ui.layout import build_layout


def build_events(composer: Any, **options: Any) -> EventListeners:
    """Build a page with all its events."""
    cache = ChunkCache()
    with gr.Blocks() as demo:
        events = EventListeners(build_layout(cache, "", **options), composer, cache)
        events.connect(demo)
    return events


class SessionDriver:
    """One user.

    Attributes:
        values: Of the controls, by field.
        shown: Values that each component received.
    """

    def __init__(self, events: EventListeners, session: Session | None = None) -> None:
        self.events, self.page, self.session = events, events.page, session or Session()
        self.values = {name: each.value for name, each in events.page.controls.items()}
        self.values |= {"soundfont": None, "bars": 2}
        self.shown: dict[Any, list[Any]] = {}

    def run(self, name: str = "append", *before: Any, **values: Any) -> SessionDriver:
        """Call a handler of jobs or of the history and consume its updates."""
        for _ in self.updates(name, *before, **values):
            pass
        return self

    def updates(self, name: str, *before: Any, **values: Any) -> Iterator[None]:
        """Call a handler step by step, with some controls changed."""
        self.values |= values
        handler = getattr(self.events.generate, name)
        yield from self._consume(handler, self.session, *before, *self.values.values())

    def move(self, name: str, *before: Any) -> SessionDriver:
        """Call a handler of the history."""
        handler = getattr(self.events.history, name)
        list(self._consume(handler, *before, self.session))
        return self

    def select(self, first: Any, last: Any) -> SessionDriver:
        """Select bars on the roll, by the numbers of the file."""
        self.events.history.select_bars(self.session, {"first": first, "last": last})
        return self

    def open_link(self, text: str) -> SessionDriver:
        handler = self.events.prompt.reproduce
        list(self._consume(handler, self.session, text, *self.values.values()))
        return self

    def download(self, kind: str) -> tuple[str, bytes]:
        """Return name and bytes of a file, which is removed afterwards."""
        handler = event_handler(self.events.history.download)
        for changes in handler(kind, self.session, *self.values.values()):
            path = Path(changes[self.page.result.file])
            found = path.name, path.read_bytes()
        assert not path.exists()
        return found

    def prompt(self, name: str, *arguments: Any) -> dict[Any, Any]:
        """Call a handler of the prompt, and return what it shows last of each component."""
        handler: Callable[..., Any] = event_handler(getattr(self.events.prompt, name))
        shown: dict[Any, Any] = {}
        for changes in handler(self.session, *arguments):
            shown |= changes
        return shown

    def _consume(self, handler: Callable[..., Any], *arguments: Any) -> Iterator[None]:
        events, page = self.events, self.page
        outputs = {*events.prompt_outputs, *events.controls, page.result.file}
        changes: Iterable[dict[Any, Any]] = event_handler(handler)(*arguments)
        for each in changes:
            if each == gr.skip():
                continue
            assert set(each) <= outputs
            for component, value in each.items():
                self.shown.setdefault(component, []).append(value)
            yield None

    @property
    def texts(self) -> list[str]:
        """Texts of the status line."""
        return [text_of(html) for html in self.shown.get(self.page.status, [])]

    @property
    def piece(self) -> Any:
        assert self.session.version.piece is not None
        return self.session.version.piece

    def newest(self, component: Any) -> Any:
        return self.shown[component][-1]


class ParsedHtml(HTMLParser):
    """Text and tags of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)


def text_of(html: str) -> str:
    return " ".join(" ".join(ParsedHtml(html).texts).split())
