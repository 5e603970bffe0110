"""Piano roll of a composition as a PNG file, which the Hub shows inside model cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from musiclstm.export import pianoroll_data
from musiclstm.generation import Composition

_COLOURS = {"prompt": "#0b72b5", "composed": "#cf5a08"}  # those of musiclstm.export.pianoroll_svg


def draw_png(piece: Composition, path: Path) -> None:
    """Draw the prompt and the continuation in two colours; equal pieces give equal bytes.

    Raises:
        ImportError: matplotlib, of the extra `train`, is not installed.
        OSError: The file cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    roll = pianoroll_data(piece.score, prompt_end_tick=piece.prompt_end_tick)
    figure = Figure(figsize=(10, 2.8), layout="constrained")
    axis = figure.subplots()
    with matplotlib.rc_context({"path.simplify": False}):
        for label, spans_by_key in _parts(roll, piece.score.ticks_per_quarter).items():
            for key, spans in spans_by_key.items():
                axis.broken_barh(spans, (key - 0.4, 0.8), facecolors=_COLOURS[label])
            if spans_by_key:
                axis.plot([], [], color=_COLOURS[label], linewidth=6, label=label)
        axis.set_xlabel("quarter notes")
        axis.set_ylabel("MIDI pitch")
        figure.legend(loc="outside upper right", ncols=2, frameon=False)
        figure.savefig(path, dpi=100, metadata={"Software": None})


def _parts(roll: dict[str, Any], quarter: int) -> dict[str, dict[int, list[tuple[float, float]]]]:
    """Return (start, length) in quarter notes, by part and key."""
    parts: dict[str, dict[int, list[tuple[float, float]]]] = {label: {} for label in _COLOURS}
    notes = roll["notes"]
    for start, length, key in zip(notes["start"], notes["length"], notes["key"], strict=True):
        label = "prompt" if start < roll["prompt_end_tick"] else "composed"
        parts[label].setdefault(key, []).append((start / quarter, length / quarter))
    return parts
