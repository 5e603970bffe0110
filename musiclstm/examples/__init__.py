"""Short public-domain tunes as prompts, one .mid file each.

`tunes` lists them with their sources; `python -m scripts.example_tunes.write` writes the files.
"""

from __future__ import annotations

from pathlib import Path

from scripts.example_tunes.tunes import TUNES


def example_files() -> dict[str, Path]:
    """The files of all bundled seeds by title, such as `Minuet in G (Petzold)`."""
    here = Path(__file__).parent
    return {f"{tune.title} ({tune.composer})": here / tune.file for tune in TUNES}
