"""Taking music home: files of a piece, made one at a time when they are asked for, and its link.

Knows pieces and files; neither pages nor visitors.
"""

from __future__ import annotations

import io
import re
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

from musiclstm import Composition, Recipe, RecipeError, ScoreError, render
from musiclstm.audio import Mix
from musiclstm.export import to_musicxml
from musiclstm.generation import FILE
from musiclstm.midi import split_parts
from page.playback.excerpt import excerpt_of

KINDS = {
    "midi": "MIDI",
    "new_midi": "MIDI, new bars",
    "tracks": "Every track, MIDI",
    "wav": "Sound, wav",
    "mp3": "Sound, mp3",
    "musicxml": "Score, MusicXML",
    "recipe": "Recipe",
}
_ENDINGS = {
    "midi": ".mid",
    "new_midi": "-new.mid",
    "tracks": "-tracks.zip",
    "wav": ".wav",
    "mp3": ".mp3",
    "musicxml": ".musicxml",
    "recipe": "-recipe.json",
}
_LONGEST_NAME = 40


def file_of(
    piece: Composition, *, kind: str, folder: Path, title: str, mix: Mix | None = None
) -> Path:
    """Make one file of a piece.

    Args:
        piece: What is taken home.
        kind: One of `KINDS`. The sound is what the player plays: at most the last 16 bars of the
            seed, and all new bars; all else is of the whole piece.
        folder: Where it is written; there it replaces an earlier one of the same name.
        title: What the piece goes on from; the file is named after it and the random seed.
        mix: How it sounds. None: as it is written.

    Raises:
        RenderError: There is no SoundFont, or what is to be written lacks a library.
        RecipeError: The piece has no recipe.
        ScoreError: There is no such kind, or the piece has no note.
        OSError: The folder cannot be written to.
    """
    if kind not in KINDS:
        raise ScoreError(f"There is no file of kind {ascii(kind)[:40]}; choose {', '.join(KINDS)}.")
    data = _bytes_of(piece, kind, title, mix)
    path = folder / f"musiclstm-{safe_name(title)}-{piece.sampling.seed}{_ENDINGS[kind]}"
    path.write_bytes(data)
    return path


def safe_name(title: str) -> str:
    """A name for files anywhere: 1 to 40 small letters, digits and hyphens."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9]+", "-", plain).strip("-")[:_LONGEST_NAME].strip("-") or "piece"


def _bytes_of(piece: Composition, kind: str, title: str, mix: Mix | None) -> bytes:
    if kind in ("wav", "mp3"):
        return render(excerpt_of(piece).score, mix=mix).to_bytes(kind)
    makers: dict[str, Callable[[], bytes]] = {
        "midi": piece.to_midi,
        "new_midi": lambda: piece.to_midi(only_new=True),
        "tracks": lambda: _tracks(piece),
        "musicxml": lambda: to_musicxml(piece.score, title=title).encode(),
        "recipe": lambda: _recipe_of(piece).to_json().encode(),
    }
    return makers[kind]()


def _tracks(piece: Composition) -> bytes:
    """A zip archive of every track as a MIDI file; the same piece gives the same bytes."""
    parts = split_parts(piece.score)
    if not parts:
        raise ScoreError("The piece has no notes, so there are no tracks; compose more bars.")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        for number, (name, part) in enumerate(parts.items(), 1):
            entry = zipfile.ZipInfo(f"{number:02} {name}.mid")  # its date is always the same
            entry.compress_type = zipfile.ZIP_DEFLATED
            files.writestr(entry, bytes(part.dumps_midi()))
    return archive.getvalue()


def _recipe_of(piece: Composition) -> Recipe:
    if piece.recipe is None:
        raise RecipeError(
            "This piece has too many bars or steps for a recipe; go back to an earlier version."
        )
    return piece.recipe


# ------------------------------------------------------------------------------------------- a link


def link_of(piece: Composition) -> str | None:
    """The recipe as it stands in an address, `?recipe=…`; None where there is none."""
    return None if piece.recipe is None else piece.recipe.to_link()


def from_link(text: str) -> Recipe:
    """The recipe of such an address; it may come from anyone.

    Raises:
        RecipeError: It holds none.
    """
    return Recipe.from_link(text.strip())


def needs_file(recipe: Recipe) -> bool:
    """Whether it goes on from a file that has to be dropped first."""
    return recipe.source is not None and recipe.source.name.startswith(FILE)
