"""Choices of the page's lists: bands, and the parts of a piece."""

from __future__ import annotations

from musiclstm.export import roll_instruments
from musiclstm.midi import DRUMS
from page.session.history import Version

BANDS: dict[str, tuple[int, ...]] = {  # name -> programs
    "Solo piano": (0,),
    "Solo guitar": (24,),
    "Violin and piano": (40, 0),
    "String quartet": (40, 41, 42),
    "Wind quintet": (73, 68, 71, 60, 70),
    "Brass": (56, 60, 57, 58),
    "Rock band": (29, 27, 33, DRUMS),
    "Pop band": (0, 25, 33, 48, DRUMS),
    "Jazz trio": (0, 32, DRUMS),
    "Big band": (56, 57, 65, 66, 0, 32, DRUMS),
    "Choir": (52,),
    "Church organ": (19,),
    "Orchestra": (73, 68, 71, 60, 56, 40, 41, 42, 43, 47),
    "Any": (),
}


def parts_of(version: Version, *, index: str = "part") -> list[tuple[str, int]]:
    """Return choices for a list: the name of each part and its number.

    Args:
        version: A prompt, or a piece.
        index: `part`: numbers from 1 of tracks with notes, as in `Composer.regenerate`. `track`:
            indices of tracks, without drums.
    """
    score = version.score
    parts = [] if score is None else roll_instruments(score)
    if index == "track":
        return [(each["name"], each["track"]) for each in parts if each["program"] != DRUMS]
    return [(each["name"], number) for number, each in enumerate(parts, 1)]
