"""Notation and pictures: MusicXML, piano rolls as data and as SVG."""

from musiclstm.export.musicxml import to_musicxml
from musiclstm.export.pianoroll import pianoroll_data, roll_instruments
from musiclstm.export.pianoroll_svg import pianoroll_svg

__all__ = [
    "pianoroll_data",
    "pianoroll_svg",
    "roll_instruments",
    "to_musicxml",
]
