"""What a Jupyter notebook shows of a piece: its piano roll and a player."""

from __future__ import annotations

import html

import numpy as np

from musiclstm.audio.rendering import render
from musiclstm.errors import RenderError
from musiclstm.export.pianoroll_svg import pianoroll_svg
from musiclstm.midi.analysis import AnyScore, bar_starts, in_ticks
from musiclstm.midi.score_ops import slice_score

MAX_PROMPT_BARS = 16  # the last ones, so that the new bars are near the start
MAX_BARS = 128  # in all


def piece_html(score: AnyScore, *, new_start_tick: int | None, title: str) -> str:
    """Return an HTML element with a piano roll and a player.

    Args:
        score: The whole piece; at most 16 bars before the new ones and 128 in all are shown.
        new_start_tick: Where the new bars start. None: no part is shown as new.
        title: Plain text, escaped.
    """
    score = in_ticks(score)
    lines = bar_starts(score)
    first = max(0, int(np.searchsorted(lines, new_start_tick or 0)) - MAX_PROMPT_BARS)
    start = int(lines[min(first, len(lines) - 1)])
    last = first + MAX_BARS
    end = int(lines[last]) if last < len(lines) - 1 else None
    shown = slice_score(score, start, end) if start or end else score
    boundary = None if new_start_tick is None else new_start_tick - start
    caption = html.escape(title)
    if shown is not score:
        caption += f"; bars {first + 1} to {min(last, len(lines) - 1)} are shown"
    return (
        '<div class="musiclstm-piece" style="max-width:960px">'
        f"{pianoroll_svg(shown, prompt_end_tick=boundary, title=title)}"
        f"<p>{caption}</p>{_player(shown)}</div>"
    )


def _player(score: AnyScore) -> str:
    try:
        return render(score)._repr_html_()
    except RenderError as error:
        return f"<p>{html.escape(str(error))}</p>"
