"""A piece as a picture in PNG: the Hub shows those in a card wherever it is read.

The page draws its own, see `musiclstm.export.pianoroll_svg`. Knows no model; the same piece gives the same
bytes.
"""

from __future__ import annotations

from pathlib import Path

from musiclstm.generation import Composition

_SEED, _NEW = "#0b72b5", "#cf5a08"  # as on the page


def draw_png(piece: Composition, path: Path) -> None:
    """Draw what a piece went on from and what was composed, in two colours.

    Raises:
        ImportError: matplotlib, of the extra `train`, is not installed.
        OSError: It cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2.8), layout="constrained")
    axis = figure.subplots()
    with matplotlib.rc_context({"path.simplify": False}):
        for colour, label, notes in _parts(piece):
            for pitch, spans in notes.items():
                axis.broken_barh(spans, (pitch - 0.4, 0.8), facecolors=colour)
            if notes:
                axis.plot([], [], color=colour, linewidth=6, label=label)
        axis.set_xlabel("quarter notes")
        axis.set_ylabel("MIDI pitch")
        figure.legend(loc="outside upper right", ncols=2, frameon=False)
        figure.savefig(path, dpi=100, metadata={"Software": None})


def _parts(piece: Composition) -> list[tuple[str, str, dict[int, list[tuple[float, float]]]]]:
    quarter = piece.score.ticks_per_quarter
    seed: dict[int, list[tuple[float, float]]] = {}
    new: dict[int, list[tuple[float, float]]] = {}
    for track in piece.score.tracks:
        for note in track.notes:
            part = seed if note.time < piece.seed_end_tick else new
            span = (note.time / quarter, note.duration / quarter)
            part.setdefault(note.pitch, []).append(span)
    return [(_SEED, "seed", seed), (_NEW, "composed", new)]
