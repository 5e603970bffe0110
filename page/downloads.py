"""Files and links of a piece, made when they are requested."""

from __future__ import annotations

import base64
import io
import re
import unicodedata
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlencode

from musiclstm import Composition, Recipe, RecipeError, ScoreError, render
from musiclstm.export import to_musicxml
from musiclstm.generation import FILE
from musiclstm.midi import AnyScore, bar_starts, in_ticks, slice_score, split_parts, write_midi
from page.playback.track_mix import TrackMix
from page.session.history import NO_PIECE
from page.session.prompt import PromptChoice

MAX_PROMPT_BARS = 64  # of a long prompt in sound files
MAX_PROMPT_BYTES = 4_096  # compressed, in a link
MAX_FILE_BYTES = 2_000_000  # decompressed

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
    piece: Composition | PromptChoice,
    *,
    kind: str,
    folder: Path,
    title: str,
    mix: TrackMix | None = None,
) -> Path:
    """Write one file of a piece.

    Args:
        piece: The piece, or a prompt without new bars.
        kind: One of `KINDS`. Sound files hold at most the last 64 bars of the prompt, and all new
            bars. The others hold the whole piece.
        folder: Where to write; an existing file of the same name is replaced.
        title: Of the prompt; the file name is built from it and the random seed.
        mix: Instruments and levels. None: as the score says.

    Raises:
        RenderError: There is no SoundFont, or a library is missing.
        RecipeError: The piece has no recipe.
        ScoreError: There is no such kind, or the piece has no note or no new bar.
        OSError: The folder cannot be written to.
    """
    if kind not in KINDS:
        raise ScoreError(f"There is no file of kind {ascii(kind)[:40]}; choose {', '.join(KINDS)}.")
    data = _bytes_of(piece, kind, title, mix or TrackMix())
    seed = f"-{piece.sampling.seed}" if isinstance(piece, Composition) else ""
    path = folder / f"musiclstm-{safe_name(title)}{seed}{_SUFFIXES[kind]}"
    path.write_bytes(data)
    return path


def safe_name(title: str) -> str:
    """Return a portable file name: 1 to 40 lower-case letters, digits and hyphens."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    name = re.sub("[^a-z0-9]+", "-", plain).strip("-")
    return name[:_MAX_NAME_LENGTH].strip("-") or "piece"


def _bytes_of(piece: Composition | PromptChoice, kind: str, title: str, mix: TrackMix) -> bytes:
    if piece.score is None:
        raise ScoreError(NO_PIECE)
    score = in_ticks(piece.score)
    match kind:
        case "new_midi":
            return _composed(piece).to_midi(only_new=True)
        case "recipe":
            return _recipe_json(_composed(piece)).encode()
        case "midi":
            return piece.to_midi() if isinstance(piece, Composition) else write_midi(score)
        case "tracks":
            return _zip_of_tracks(score)
        case "musicxml":
            return to_musicxml(score, title=title).encode()
    audible = mix.applied_to(_with_short_prompt(piece, score))
    return render(audible, mix=mix.mix).to_bytes(kind)


def _composed(piece: Composition | PromptChoice) -> Composition:
    if not isinstance(piece, Composition):
        raise ScoreError(NO_PIECE)
    return piece


def _with_short_prompt(piece: Composition | PromptChoice, score: AnyScore) -> AnyScore:
    """Leave out all but the last bars of a long prompt, which would take minutes to render."""
    end = piece.prompt_end_tick if isinstance(piece, Composition) else None
    lines = bar_starts(score, end_tick=end)
    if len(lines) <= MAX_PROMPT_BARS + 1 or end == 0:
        return score
    return slice_score(in_ticks(score), int(lines[-1 - MAX_PROMPT_BARS]), None)


def _zip_of_tracks(score: AnyScore) -> bytes:
    parts = split_parts(score)
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


class Link(NamedTuple):
    """A link to a piece.

    Attributes:
        code: What follows `?recipe=` in the address.
        wanted_file: Title of a file that the link needs and does not contain; empty: none.
    """

    code: str
    wanted_file: str = ""


def link_of(piece: Composition, prompt: PromptChoice) -> Link | None:
    """Return a link that makes the piece again. None: it has no recipe.

    A small prompt file travels in the fragment, compressed.
    """
    if piece.recipe is None:
        return None
    code = piece.recipe.to_link()
    if not needs_file(piece.recipe):
        return Link(code)
    assert isinstance(prompt.prompt, bytes)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = compressor.compress(prompt.prompt) + compressor.flush()
    if len(packed) > MAX_PROMPT_BYTES:
        return Link(code, prompt.title)
    text = base64.urlsafe_b64encode(packed).decode().rstrip("=")
    return Link(f"{code}#{urlencode({'prompt': text, 'name': prompt.title})}")


def prompt_in_link(fragment: str) -> PromptChoice | None:
    """Read the prompt in the fragment of a link, which is untrusted. None: there is none.

    Raises:
        ScoreError: The fragment is damaged, or the file in it cannot be read.
    """
    fields = parse_qs(fragment)
    if "prompt" not in fields:
        return None
    text = fields["prompt"][0]
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        midi = zlib.decompressobj(-15).decompress(data, MAX_FILE_BYTES)
    except (ValueError, zlib.error) as error:
        raise ScoreError("This link is damaged; copy it again, with every character.") from error
    return PromptChoice.read(midi, title=fields.get("name", ["of the link"])[0][:80])


def needs_file(recipe: Recipe) -> bool:
    """Whether the recipe continues a file that the user has to upload."""
    return recipe.source is not None and recipe.source.name.startswith(FILE)
