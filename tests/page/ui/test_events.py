"""Every event of the page, called as Gradio calls it, with every kind of early return."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
import pytest
from gradio.state_holder import SessionState

from musiclstm import Composer
from page.playback.chunk_cache import ChunkCache
from page.session.session import Session
from page.ui.errors import UNEXPECTED, event_handler
from page.ui.events import EventListeners, with_swap
from page.ui.layout import build_layout

NO_CHANGE = gr.skip()
EVENT_DATA: list[dict[str, Any] | None] = [
    None,
    {},
    {"first": 3, "last": 4, "muted": [0], "position_s": 1.5, "number": 1, "take": 0},
    {"first": 9, "last": None, "muted": [200], "position_s": -1, "number": 99, "take": 9},
    {"first": "x", "last": "x", "muted": "x", "position_s": "x", "number": "x", "take": "x"},
]


class ServedPage:
    """A page whose events can be called without a server."""

    def __init__(self, composer: Any) -> None:
        with gr.Blocks() as self.demo:
            cache = ChunkCache()
            self.page = build_layout(cache, "", model_box=True)
            EventListeners(self.page, composer, cache).connect(self.demo)
        self.state = SessionState(self.demo)
        self.session = Session()
        self.state[self.page.session._id] = self.session
        self.values: dict[Any, Any] = {
            self.page.controls["bars"]: 1,
            self.page.controls["soundfont"]: None,
            self.page.positions: "1.5 0 x",
            self.page.model_name: "nowhere",
        }

    @property
    def events(self) -> list[Any]:
        """All events with a Python function."""
        return [event for event in self.demo.fns.values() if event.fn is not None]

    def named(self, name: str) -> Any:
        return next(event for event in self.events if event.api_name == name)

    def call(self, event: Any, data: Any = None) -> list[list[Any]]:
        """Return all values that an event sends to the browser."""
        inputs = [
            None if isinstance(each, gr.State) else self.values.get(each, each.value)
            for each in event.inputs
        ]
        return asyncio.run(self._call(event, inputs, gr.EventData(None, data)))

    async def _call(self, event: Any, inputs: Any, data: gr.EventData) -> list[list[Any]]:
        sent: list[list[Any]] = []
        iterator, running = None, True
        while running:
            response = await self.demo.process_api(
                event, inputs, state=self.state, iterator=iterator, event_data=data
            )
            iterator, running = response["iterator"], response["is_generating"]
            if running or not sent:
                sent.append(response["data"])
        return sent


@pytest.fixture(autouse=True)
def _without_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSICLSTM_SOUNDFONT", "/nowhere.sf2")
    monkeypatch.setattr("page.session.session.JOB_TIMEOUT_S", 0.01)


@pytest.fixture(params=["new session", "with a piece", "with a running job"])
def served(request: pytest.FixtureRequest, tiny_composer: Composer) -> Iterator[ServedPage]:
    served = ServedPage(tiny_composer)
    if request.param != "new session":
        served.call(served.named("compose"))
    if request.param == "with a running job":
        served.session.start_job()
    yield served
    if served.session.job is not None:
        served.session.end_job()


def check_sent_or_rejected(served: ServedPage, event: Any, data: Any) -> None:
    """Check that an event sends one value per output, or one sentence."""
    message = None
    try:
        for values in served.call(event, data):
            assert len(values) == len(event.outputs)
    except gr.Error as error:
        message = error.message
    assert message is None or (message != UNEXPECTED and "\n" not in message), event.api_name


@pytest.mark.filterwarnings("error:.*returned too many output values")
def test_every_event_sends_one_value_per_output_or_a_sentence(served: ServedPage) -> None:
    assert len(served.events) > 35
    for event in served.events:
        uses_data = "event" in (getattr(event.fn, "__annotations__", {}))
        for data in EVENT_DATA if uses_data else EVENT_DATA[:1]:
            check_sent_or_rejected(served, event, data)


def test_every_event_is_wrapped(tiny_composer: Composer) -> None:
    for event in ServedPage(tiny_composer).events:
        function = getattr(event.fn, "func", event.fn)  # of a partial
        assert function.__code__.co_filename.endswith("errors.py"), event.api_name


@pytest.mark.parametrize("with_job", [False, True])
def test_another_mix_without_a_piece_or_during_a_job_keeps_the_players(
    tiny_composer: Composer, with_job: bool
) -> None:
    served = ServedPage(tiny_composer)
    if with_job:
        served.session.start_job()
    players = [*served.page.players]
    remix = next(each for each in served.events if each.outputs == players)
    (values,) = served.call(remix)
    assert [each["__type__"] for each in values] == ["update"] * 4
    assert not any("value" in each for each in values)
    if with_job:
        served.session.end_job()


def test_an_unexpected_exception_is_a_sentence_and_is_logged(
    tiny_composer: Composer, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            return getattr(tiny_composer, name)

        def stream(self, **options: Any) -> Any:
            raise KeyError("a bug")

    served = ServedPage(Broken())
    with pytest.raises(gr.Error) as shown:
        served.call(served.named("compose"))
    assert shown.value.message == UNEXPECTED
    assert "a bug" in caplog.text
    assert served.session.job is None


def test_closing_a_wrapped_generator_closes_the_handler() -> None:
    closed = []

    def handler() -> Iterator[dict[str, int]]:
        try:
            yield {"a": 1}
            yield {"a": 2}
        finally:
            closed.append(True)

    updates = event_handler(handler)()
    assert next(updates) == {"a": 1}
    updates.close()
    assert closed == [True]


@pytest.mark.parametrize("early", [lambda: {}, lambda: iter(())])
def test_a_handler_without_changes_skips_all_outputs(early: Callable[[], Any]) -> None:
    def handler() -> Iterator[Any]:
        yield from early()

    assert list(event_handler(handler)()) == [NO_CHANGE]
    assert event_handler(dict)() == NO_CHANGE


def test_instruments_are_swapped_and_swapped_back() -> None:
    swaps = with_swap({}, 0, 40)
    assert swaps == {"0": 40}
    assert with_swap(swaps, 1, 41) == {"0": 40, "1": 41}
    assert with_swap(swaps, 0, -1) == {}
    assert with_swap(swaps, None, 3) == swaps
