"""Short public-domain pieces to use as prompts.

`python -m scripts.example_tunes.write` writes them from the notation in
scripts/example_tunes/tunes.toml, which also states the rights.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["example_files"]

_FILES = {
    "Minuet in G (Petzold)": "minuet_in_g.mid",
    "Ode to Joy (Beethoven)": "ode_to_joy.mid",
    "The Entertainer (Joplin)": "the_entertainer.mid",
    "Greensleeves (traditional)": "greensleeves.mid",
    "Cradle Song (Brahms)": "cradle_song.mid",
    "Canon in D (Pachelbel)": "canon_in_d.mid",
    "Für Elise (Beethoven)": "fur_elise.mid",
    "Garage Riff (musiclstm)": "garage_riff.mid",
}


def example_files() -> dict[str, Path]:
    """Return the paths of the .mid files by title, such as `Minuet in G (Petzold)`."""
    folder = Path(__file__).parent
    return {title: folder / name for title, name in _FILES.items()}
