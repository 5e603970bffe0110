"""The player component: a piano roll with audio that may still be arriving, as one `gr.HTML`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from page.playback.chunk_cache import ChunkCache

_STATIC = Path(__file__).parent / "static"
_IMPORT = re.compile(r'^import [^;]*? from "\./(\w+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export ", re.MULTILINE)


def player(elem_id: str, *, label: str, cache: ChunkCache, armed_by: Sequence[str] = ()) -> gr.HTML:
    """Create a player; its values are the updates of a `PlayerUpdates`.

    Use it as an output with `show_progress="hidden"`. Never use it as an input, because its audio
    would be sent back. It triggers three events, with their data in `gr.EventData`:

    - `mute`: `muted`, a list of track indices, `position_s` and `bar`, where playback is.
      Answer with updates of `PlayerUpdates.remixed`.
    - `bars`: `first` and `last` selected bar of the file; both None: no selection.
    - `listen`: `position_s`, where playback waits for audio. Only after `on_request` updates;
      answer like `mute`.

    Args:
        elem_id: Id of the component in the page.
        label: Accessible name.
        cache: Holds the chunks of the updates.
        armed_by: The `elem_id` of buttons that also start the player: it plays as soon as the next
            stream has audio. (A listener with `js=` cannot do this, because Gradio runs the
            listeners of one event one after the other, each to its end.)
    """

    def fetch_missing(request: Any) -> dict[str, Any]:
        return cache.fetch_missing(request)

    def fetch_roll(request: Any) -> dict[str, Any] | None:
        return cache.fetch_roll(request)

    return gr.HTML(
        None,
        label=label,
        elem_id=elem_id,
        html_template='<div class="player"></div>',
        css_template=(_STATIC / "player.css").read_text(encoding="utf-8"),
        js_on_load=_bundle("main.js") + "mount(element, props, { trigger, server, watch });",
        apply_default_css=False,
        server_functions=[fetch_missing, fetch_roll],
        player_id=elem_id,
        armed_by=list(armed_by),
    )


def _bundle(entry: str) -> str:
    """Concatenate an ES module and all that it imports, dependencies first.

    Gradio runs `js_on_load` as the body of a function, which cannot have `import` or `export`.
    """
    modules: dict[str, str] = {}

    def add(name: str) -> None:
        text = (_STATIC / name).read_text(encoding="utf-8")
        for imported in _IMPORT.findall(text):
            if imported not in modules:
                add(imported)
        modules[name] = _EXPORT.sub("", _IMPORT.sub("", text))

    add(entry)
    return "\n".join(modules.values())
