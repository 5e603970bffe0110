"""MCP clients, where the extra `mcp` is installed."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from musiclstm import Composer, Sampling, example_files, read_midi, read_recipe

pytest.importorskip(
    "mcp",
    reason="the extra `mcp` is not installed; it asks for older packages than the rest, so it "
    "has an environment of its own: pip install 'musiclstm[page,mcp]' pytest hypothesis",
)

# From the mcp packages and the event loop of the test.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

MINUET = "Minuet in G (Petzold)"
TOOL = "continue_midi"


@pytest.fixture(scope="module")
def mcp_url(tiny_composer: Composer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the tools of a page without sound."""
    import app

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        patch.setenv("MUSICLSTM_SOUNDFONT", "/nowhere.sf2")
        demo = app.build_demo(tiny_composer)
        yield app.serve(demo, host="127.0.0.1", port=None, mcp=True) + "gradio_api/mcp/"
        demo.close()


@pytest.fixture
def ask(mcp_url: str) -> Callable[[Callable[[Any], Any]], Any]:
    """Run a coroutine with an MCP session and return its result."""
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async def run(request: Callable[[Any], Any]) -> Any:
        async with (
            streamable_http_client(mcp_url) as (incoming, outgoing, *_),
            ClientSession(incoming, outgoing) as session,
        ):
            await session.initialize()
            return await request(session)

    return lambda request: asyncio.run(run(request))


def call(**arguments: Any) -> Callable[[Any], Any]:
    return lambda session: session.call_tool(TOOL, arguments)


def text_of(answer: Any) -> str:
    """Return all texts of an answer; Gradio puts several outputs into one."""
    return "\n".join(each.text for each in answer.content)


def midi_of(answer: Any) -> bytes:
    (address,) = set(re.findall(r"http://127\.0\.0\.1\S+?\.mid\b", text_of(answer)))
    with urlopen(address) as file:
        return bytes(file.read())


def test_tools_document_all_their_inputs(ask: Callable[..., Any]) -> None:
    tools = {tool.name: tool for tool in ask(lambda session: session.list_tools()).tools}
    assert {*tools} == {TOOL, "regenerate_midi", "accompany_midi"}
    tool = tools[TOOL]
    assert tool.description.startswith("Continue a MIDI file")
    assert tool.inputSchema.get("required", []) == []
    inputs = tool.inputSchema["properties"]
    assert list(inputs) == [
        "midi", "tune", "bars", "adventurous", "surprise", "key", "meter", "random_seed",
    ]  # fmt: skip
    assert all(each["description"].endswith((".", "…")) for each in inputs.values())
    assert (inputs["bars"]["type"], inputs["bars"]["default"]) == ("integer", 8)


def test_a_tune_is_continued_and_the_answer_links_the_files(
    ask: Callable[..., Any], tiny_composer: Composer
) -> None:
    answer = ask(call(tune=MINUET, bars=2, random_seed=7))
    assert not answer.isError, text_of(answer)
    expected = tiny_composer.compose(
        bars=2, prompt=example_files()[MINUET], sampling=Sampling(seed=7)
    )
    assert midi_of(answer) == expected.to_midi()


def test_a_midi_file_in_the_call_is_continued(
    ask: Callable[..., Any], midi_file: Callable[..., Path]
) -> None:
    data = base64.b64encode(midi_file("motif.mid", bars=2).read_bytes()).decode()
    answer = ask(call(midi=f"data:audio/midi;base64,{data}", bars=1, random_seed=3))
    assert not answer.isError, text_of(answer)
    _, report = read_midi(midi_of(answer))
    assert report.bars == 2 + 1
    assert read_recipe(midi_of(answer)).steps[0].sampling.seed == 3


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"bars": 65}, "bars must be"),
        ({"tune": "Nothing of that name"}, "no bundled tune"),
        ({"midi": "data:audio/midi;base64,RGVhciBkaWFyeQ=="}, "not a MIDI file"),
    ],
)
def test_an_invalid_call_is_rejected(
    ask: Callable[..., Any], wrong: dict[str, Any], words: str
) -> None:
    answer = ask(call(**wrong))
    assert answer.isError
    assert words in text_of(answer)
