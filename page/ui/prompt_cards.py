"""Cards to choose a prompt: one per example with a small piano roll, and one without a prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from html import escape

import gradio as gr

from musiclstm.export import pianoroll_data
from musiclstm.midi import AnyScore

_WIDTH, _HEIGHT = 1000, 100  # of a picture's own coordinates
_MIN_PITCHES = 16  # so that a tune with three pitches does not fill its picture with three bars

_STARS = """<svg class="tiny spark" viewBox="0 0 64 32" aria-hidden="true">
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


def prompt_cards(tunes: Mapping[str, AnyScore], *, chosen: str) -> gr.HTML:
    """Create one component with all cards; its value is the title of the chosen one.

    It triggers `choose` with `title` in its event data. The card without a prompt, a button
    with the id `surprise`, triggers `surprise`.

    Args:
        tunes: Title -> music, in the order of the cards.
        chosen: Title that is marked at first.
    """
    cards = "".join(_card(title, small_pianoroll(score)) for title, score in tunes.items())
    nothing = _card("", _STARS, name="Surprise me", by="from nothing", attributes=' id="surprise"')
    return gr.HTML(
        chosen,
        elem_id="cards",
        html_template=f'<div class="cards" role="group" aria-label="Tunes">{cards}{nothing}</div>',
        js_on_load=_SCRIPT,
        apply_default_css=False,
    )


def _card(title: str, picture: str, *, name: str = "", by: str = "", attributes: str = "") -> str:
    if not name:
        name, _, by = title.removesuffix(")").partition(" (")
    return (
        f'<button type="button"{attributes} data-title="{escape(title)}" aria-pressed="false">'
        f"{picture}<b>{escape(name)}</b><span>{escape(by)}</span></button>"
    )


def small_pianoroll(score: AnyScore) -> str:
    """Return the notes of a score as a decorative <svg>."""
    notes = pianoroll_data(score, prompt_end_tick=0)["notes"]
    end = max(map(sum, zip(notes["start"], notes["length"], strict=True)), default=1)
    low, high = min(notes["key"], default=60), max(notes["key"], default=60)
    margin = max(0, _MIN_PITCHES - (high - low + 1))
    row = _HEIGHT / (high - low + 1 + margin)
    top = high + margin / 2 + 0.5
    path = "".join(_strokes(notes, _WIDTH / end, lambda key: (top - key) * row))
    return (
        f'<svg class="tiny" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" '
        f'aria-hidden="true"><path d="{path}" /></svg>'
    )


def _strokes(
    notes: Mapping[str, list[int]], scale: float, y_of: Callable[[int], float]
) -> Iterable[str]:
    columns = zip(notes["start"], notes["length"], notes["key"], strict=True)
    for start, length, key in columns:
        yield f"M{start * scale:.0f} {y_of(key):.1f}h{max(4.0, length * scale - 5):.0f}"
