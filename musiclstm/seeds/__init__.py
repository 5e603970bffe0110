"""Short pieces to begin from, one .mid file each, that belong to everyone.

What they are and why they are free stands in `tunes`; `python -m musiclstm.seeds.write` makes the
files from it. This package knows no model and no page.
"""

from __future__ import annotations

from pathlib import Path

from musiclstm.seeds.tunes import TUNES


def bundled_seeds() -> dict[str, Path]:
    """The files of all bundled seeds by title, such as `Minuet in G (Petzold)`."""
    here = Path(__file__).parent
    return {f"{tune.title} ({tune.composer})": here / tune.file for tune in TUNES}
