"""The player component."""

from __future__ import annotations

from pathlib import Path

from page.playback.audio_chunks import Chunk
from page.playback.chunk_cache import ChunkCache
from page.playback.player import player

STATIC = Path(__file__).parents[3] / "page" / "playback" / "static"


def test_the_component_fetches_from_its_cache() -> None:
    cache = ChunkCache()
    cache.put("a", 0, Chunk(0, 100, b"audio"))
    cache.put_roll("a", 1, "{}")
    component = player("roll", label="The music", cache=cache, armed_by=["go"])
    request = {"stream": "a", "rendering": 0, "starts": [0]}
    assert component.fetch_missing(request) == cache.fetch_missing(request)
    assert component.fetch_roll(request) == {"number": 1, "roll": "{}"}
    assert component.props == {"player_id": "roll", "armed_by": ["go"]}
    assert "value" not in component.html_template


def test_no_html_is_built_from_data() -> None:
    files = list(STATIC.glob("*.js"))
    assert files
    for file in files:
        text = file.read_text(encoding="utf-8")
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert way not in text, f"{file.name} uses {way}"


def test_the_style_sheet_has_no_template_syntax() -> None:
    style = (STATIC / "player.css").read_text(encoding="utf-8")
    assert [each for each in ("{{", "${", "`", "\\") if each in style] == []
