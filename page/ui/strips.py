"""Takes as strips of their new bars, one above the other, with one cursor; one is chosen."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import NamedTuple

import gradio as gr
import numpy as np

from musiclstm import Composition
from page.session.history import LETTERS

_WIDTH, _HEIGHT = 1000, 100  # of the picture's own coordinates
_MIN_PITCHES = 16  # so that three pitches do not fill the picture with three bars

_SCRIPT = """
let refocus = false;
const chosen = () => element.querySelector("[aria-checked=true]");
const player = (index) => window.musiclstm?.players.get(`roll-${"abcd"[index]}`);
const choose = (button) => {
  if (!button || button === chosen()) return;
  const before = player(Number(chosen()?.dataset.take ?? 0));
  chosen()?.setAttribute("aria-checked", "false");
  button.setAttribute("aria-checked", "true");
  const take = Number(button.dataset.take);
  player(take)?.takeOver(before);
  trigger("choose", { take });
};
element.addEventListener("click", (event) => choose(event.target.closest("button")));
element.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
  const all = [...element.querySelectorAll("button")];
  const now = all.indexOf(event.target.closest("button"));
  if (!step || now < 0) return;
  event.preventDefault();
  refocus = true;
  choose(all[(now + step + all.length) % all.length]);
  chosen().focus();
});
document.addEventListener("keydown", (event) => {
  const isText = event.target.closest("input:not([type=range]), textarea, select");
  if (isText || event.ctrlKey || event.altKey || event.metaKey) return;
  choose(element.querySelector(`button[data-letter="${event.key.toUpperCase()}"]`));
});
watch("value", () => {
  if (refocus) chosen()?.focus();
  refocus = false;
});
setInterval(() => {
  const box = element.querySelector(".strips");
  if (!box) return;
  const { bars, start } = box.dataset;
  const place = player(Number(chosen()?.dataset.take ?? 0))?.place ?? 0;
  const share = (place - Number(start)) / Number(bars);
  box.style.setProperty("--share", String(Math.min(Math.max(share, 0), 1)));
}, 60);
"""


class Strip(NamedTuple):
    """One take.

    Attributes:
        take: Index of its player.
        picture: From `picture_of`.
        reason: Why it has its place; empty: not known yet.
    """

    take: int
    picture: str
    reason: str = ""


def take_strips() -> gr.HTML:
    """Create the component. Choosing a strip triggers `choose` with `take` in its event data."""
    return gr.HTML(
        "", elem_id="strips", html_template="${value}", js_on_load=_SCRIPT, apply_default_css=False
    )


def strips_html(strips: Iterable[Strip], *, chosen: int, start: int, bars: int) -> str:
    """Return the strips in their order; empty for fewer than two.

    Args:
        strips: In the order of their places.
        chosen: Index of the player on display.
        start: Bars of the piece before the new ones.
        bars: Number of new bars.
    """
    shown = list(strips)
    if len(shown) < 2:
        return ""
    items = "".join(_strip(each, is_chosen=each.take == chosen) for each in shown)
    return (
        f'<div class="strips" role="radiogroup" aria-label="Takes" data-start="{start}" '
        f'data-bars="{bars}">{items}</div>'
    )


def _strip(strip: Strip, *, is_chosen: bool) -> str:
    letter = LETTERS[strip.take]
    return (
        f'<button type="button" role="radio" aria-checked="{str(is_chosen).lower()}" '
        f'tabindex="{0 if is_chosen else -1}" data-take="{strip.take}" data-letter="{letter}" '
        f'aria-label="Take {letter}. {escape(strip.reason)}"><b>{letter}</b>'
        f'<span class="notes">{strip.picture}</span><small>{escape(strip.reason)}</small></button>'
    )


def picture_of(piece: Composition, *, first: int, bars: int) -> str:
    """Return the notes of the new bars from an index on as a decorative <svg>.

    Args:
        piece: The newest draft.
        first: Index of the first new bar that is drawn.
        bars: Number of bars for which there is space.
    """
    scale = piece.score.ticks_per_quarter / _ticks_per_quarter(piece)
    lengths = [bar.length_ticks * scale for bar in piece.generated_bars]
    start = piece.prompt_end_tick + round(sum(lengths[:first]))
    shown = lengths[first:]
    width = sum(shown) + (bars - len(shown)) * (shown[-1] if shown else 1)
    notes = [
        np.stack([table["time"], table["duration"], table["pitch"]])[:, table["time"] >= start]
        for table in (track.notes.numpy() for track in piece.score.tracks)
    ]
    times, durations, pitches = np.concatenate(notes or [np.zeros((3, 0))], axis=1).tolist()
    low, high = min(pitches, default=60), max(pitches, default=60)
    margin = max(0, _MIN_PITCHES - (high - low + 1))
    row = _HEIGHT / (high - low + 1 + margin)
    top = high + margin / 2 + 0.5
    per_tick = _WIDTH / max(1, width)
    path = "".join(
        f"M{(time - start) * per_tick:.0f} {(top - pitch) * row:.1f}"
        f"h{max(4.0, duration * per_tick - 4):.0f}"
        for time, duration, pitch in zip(times, durations, pitches, strict=True)
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="{path}"/></svg>'
    )


def _ticks_per_quarter(piece: Composition) -> int:
    bars = piece.generated_bars
    return bars[0].score.ticks_per_quarter if bars else piece.score.ticks_per_quarter
