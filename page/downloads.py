"""Files and links of a piece, made when they are requested."""

from __future__ import annotations

import io
import re
import unicodedata
import zipfile
from pathlib import Path

from musiclstm import Composition, Recipe, RecipeError, ScoreError, render
from musiclstm.audio import Mix
from musiclstm.export import to_musicxml
from musiclstm.generation import FILE
from musiclstm.midi import split_parts, write_midi
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
_SUFFIXES = {
    "midi": ".mid",
    "new_midi": "-new.mid",
    "tracks": "-tracks.zip",
    "wav": ".wav",
    "mp3": ".mp3",
    "musicxml": ".musicxml",
    "recipe": "-recipe.json",
}
_MAX_NAME_LENGTH = 40


def file_of(
    piece: Composition, *, kind: str, folder: Path, title: str, mix: Mix | None = None
) -> Path:
    """Write one file of a piece.

    Args:
        piece: The piece.
        kind: One of `KINDS`. Sound files hold what the player plays: at most the last 16 bars of
            the prompt, and all new bars. The others hold the whole piece.
        folder: Where to write; an existing file of the same name is replaced.
        title: Of the prompt; the file name is built from it and the random seed.
        mix: Instruments and levels. None: as the score says.

    Raises:
        RenderError: There is no SoundFont, or a library is missing.
        RecipeError: The piece has no recipe.
        ScoreError: There is no such kind, or the piece has no note.
        OSError: The folder cannot be written to.
    """
    if kind not in KINDS:
        raise ScoreError(f"There is no file of kind {ascii(kind)[:40]}; choose {', '.join(KINDS)}.")
    data = _bytes_of(piece, kind, title, mix)
    path = folder / f"musiclstm-{safe_name(title)}-{piece.sampling.seed}{_SUFFIXES[kind]}"
    path.write_bytes(data)
    return path


def safe_name(title: str) -> str:
    """Return a portable file name: 1 to 40 lower-case letters, digits and hyphens."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    name = re.sub("[^a-z0-9]+", "-", plain).strip("-")
    return name[:_MAX_NAME_LENGTH].strip("-") or "piece"


def _bytes_of(piece: Composition, kind: str, title: str, mix: Mix | None) -> bytes:
    match kind:
        case "midi" | "new_midi":
            return piece.to_midi(only_new=kind == "new_midi")
        case "tracks":
            return _zip_of_tracks(piece)
        case "musicxml":
            return to_musicxml(piece.score, title=title).encode()
        case "recipe":
            return _recipe_json(piece).encode()
    return render(excerpt_of(piece).score, mix=mix).to_bytes(kind)


def _zip_of_tracks(piece: Composition) -> bytes:
    parts = split_parts(piece.score)
    if not parts:
        raise ScoreError("The piece has no notes, so there are no tracks; compose more bars.")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        for number, (name, part) in enumerate(parts.items(), 1):
            entry = zipfile.ZipInfo(f"{number:02} {name}.mid")  # with a constant date
            entry.compress_type = zipfile.ZIP_DEFLATED
            files.writestr(entry, write_midi(part))
    return archive.getvalue()


def _recipe_json(piece: Composition) -> str:
    if piece.recipe is None:
        raise RecipeError(
            "This piece has too many bars or steps for a recipe; go back to an earlier version."
        )
    return piece.recipe.to_json()


# ------------------------------------------------------------------------------------------- links


def link_of(piece: Composition) -> str | None:
    """Return the recipe as the value of `?recipe=` in a link. None: the piece has no recipe."""
    return None if piece.recipe is None else piece.recipe.to_link()


def needs_file(recipe: Recipe) -> bool:
    """Whether the recipe continues a file that the user has to upload."""
    return recipe.source is not None and recipe.source.name.startswith(FILE)
