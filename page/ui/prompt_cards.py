"""The cards to begin with: one for each bundled tune, with a small roll, and one for nothing.

Draws scores as small pictures and says which card was pressed. Composes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import gradio as gr

from musiclstm.export import pianoroll_data
from musiclstm.midi import AnyScore

_WIDTH, _HEIGHT = 1000, 100  # of a picture's own coordinates
_FEWEST_KEYS = 16  # a tune of three notes should not look like a wall

_SPARK = """<svg class="tiny spark" viewBox="0 0 64 32" aria-hidden="true">
<path d="M32 3l3.4 9.6L45 16l-9.6 3.4L32 29l-3.4-9.6L19 16l9.6-3.4z"/>
<path d="M51 4l1.3 3.7L56 9l-3.7 1.3L51 14l-1.3-3.7L46 9l3.7-1.3z"/>
<path d="M12 18l1.3 3.7L17 23l-3.7 1.3L12 28l-1.3-3.7L7 23l3.7-1.3z"/></svg>"""

_SCRIPT = """
const mark = () => element.querySelectorAll("button").forEach((card) => {
  card.setAttribute("aria-pressed", String(card.dataset.title === props.value));
});
element.addEventListener("click", (event) => {
  const card = event.target.closest("button");
  if (!card) return;
  props.value = card.dataset.title;
  mark();
  if (card.id === "surprise") trigger("surprise");
  else trigger("choose", { title: card.dataset.title });
});
watch("value", mark);
mark();
"""


def example_cards(tunes: Mapping[str, AnyScore], *, chosen: str) -> gr.HTML:
    """All cards as one component, whose value is the title of the chosen one.

    It triggers `choose`, with `title` in its `gr.EventData`, and `surprise` for the card that
    stands for nothing, a button of the id `surprise`.

    Args:
        tunes: Title -> music, in the order of the cards.
        chosen: The title that is marked at first.
    """
    drawn = "".join(_card(title, tiny_roll(score)) for title, score in tunes.items())
    surprise = _card("", _SPARK, name="Surprise me", by="from nothing", known_as=' id="surprise"')
    return gr.HTML(
        chosen,
        elem_id="cards",
        html_template=f'<div class="cards" role="group" aria-label="Tunes">{drawn}{surprise}</div>',
        js_on_load=_SCRIPT,
        apply_default_css=False,
    )


def _card(title: str, picture: str, *, name: str = "", by: str = "", known_as: str = "") -> str:
    if not name:
        name, _, by = title.removesuffix(")").partition(" (")
    words = f"<b>{escape(name)}</b><span>{escape(by)}</span>"
    return (
        f'<button type="button"{known_as} data-title="{escape(title)}" aria-pressed="false">'
        f"{picture}{words}</button>"
    )


def tiny_roll(score: AnyScore) -> str:
    """A score as an <svg> of nothing but its notes, for decoration."""
    notes = pianoroll_data(score, prompt_end_tick=0)["notes"]
    end = max(map(sum, zip(notes["start"], notes["length"], strict=True)), default=1)
    low, high = min(notes["key"], default=60), max(notes["key"], default=60)
    spare = max(0, _FEWEST_KEYS - (high - low + 1))
    row = _HEIGHT / (high - low + 1 + spare)
    top = high + spare / 2 + 0.5
    strokes = _strokes(notes, _WIDTH / end, lambda key: (top - key) * row)
    return (
        f'<svg class="tiny" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" '
        f'aria-hidden="true"><path d="{"".join(strokes)}" /></svg>'
    )


def _strokes(notes: Mapping[str, list[int]], scale: float, place: Any) -> Iterable[str]:
    columns = zip(notes["start"], notes["length"], notes["key"], strict=True)
    for start, length, key in columns:
        width = max(4.0, length * scale - 5)
        yield f"M{start * scale:.0f} {place(key):.1f}h{width:.0f}"
