"""Recipes: the settings that compose a piece again, note for note, as a text or a link.

A recipe names weights and prompt, and the number of bars and the settings of each step. It leaves
out defaults: if a default of `Sampling`, `Constraints`, `Surprise` or `Selection` changes, `FORMAT`
must rise.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NoReturn

from musiclstm.errors import RecipeError
from musiclstm.generation.bar_plan import Surprise
from musiclstm.generation.constraints import Constraints
from musiclstm.generation.decoding.sampling import Sampling
from musiclstm.generation.prompt import MAX_BARS, PromptReference, Selection
from musiclstm.generation.recipe_schema import (
    boolean,
    integer,
    list_of,
    number,
    pair,
    ranges,
    read_record,
    shorten,
    text,
    to_json_dict,
    to_json_value,
)
from musiclstm.midi.embedded_text import extract_text

FORMAT = 3  # formats 1 and 2 belong to the network of version 0.2
MAX_STEPS, MAX_BARS_IN_ALL = 512, 16_384
MAX_CHARACTERS = 200_000

# Preset dictionary of the compression of links; part of the format. A link refers to its bytes by
# their distance from the end, so the texts of two formats must end differently.
_COMMON = (
    b'"end":"prompt_bars":"selection":{"tracks":[0],"first_bar":2,"last_bar":8,"keep_others":false}'
    b'"top_p":1,"top_k":"min_p":0.05,"epsilon_cutoff":"pitch_temperature":"rhythm_temperature":'
    b'"repetition_penalty":1.5"repetition_bars":"tempo_bpm":120,"key":" minor"," major",'
    b'"pitch_ranges":[["max_polyphony":"notes_per_bar":[4,16],"max_empty_bars":0,"ending":true}'
    b'"constraints":{"programs":[0],"meter":[4,4],"tempo_changes":false,"max_notes_at_once":4}'
    b'"surprise":"gentle""surprise":"bold"},{"bars":4,"sampling":{"temperature":1,"seed":'
    b'{"format":3,"musiclstm":"0.3.0","model":"default","weights":"","precision":"int8",'
    b'"seed":"sha256:"seed":"bundled:","steps":[{"bars":8,"sampling":{"seed":}}],"music":"'
    b'"copy_weight":0.'
)


@dataclass(frozen=True)
class ModelInfo:
    """Weights and version that composed a piece.

    Attributes:
        model: Name that the weights were loaded by; the last part of a folder's path. Empty:
            unknown.
        weights: Sixteen hexadecimal digits that change with any weight or token.
        precision: Of the steps, `int8` or `float32`.
        musiclstm: Version of the library.
    """

    model: str
    weights: str
    precision: str
    musiclstm: str


@dataclass(frozen=True)
class Step:
    """Bars that were composed with the same settings.

    Attributes:
        bars: Number of bars.
        sampling: How notes were chosen, with a random seed.
        constraints: What the music kept to. None, in recipes only: in the first step those of the
            prompt, later those of the step before.
        surprise: In which bars the music deviates.
        end: Number of new bars, those of earlier steps included, after which the ending is
            complete. None: there is no ending; in recipes also: the ending is complete after this
            step.
    """

    bars: int
    sampling: Sampling
    constraints: Constraints | None = None
    surprise: Surprise = field(default_factory=Surprise)
    end: int | None = None


@dataclass(frozen=True)
class Recipe:
    """How a piece was composed, for `Composer.reproduce`.

    Args:
        model_info: Weights and version.
        steps: In order; none for a piece without a new bar.
        source: The prompt. None: a new piece.
        music: `digest_of` the tokens, which `follow` compares. Empty: not compared.

    Raises:
        RecipeError: More steps or bars than a recipe may have, or a contradictory step.
    """

    model_info: ModelInfo
    steps: tuple[Step, ...]
    source: PromptReference | None = None
    music: str = ""

    def __post_init__(self) -> None:
        """Refuse recipes that take too long or contradict themselves."""
        if len(self.steps) > MAX_STEPS:
            _refuse(f"has {len(self.steps)} steps, and at most {MAX_STEPS} can be followed")
        if any(not 1 <= step.bars <= MAX_BARS_IN_ALL for step in self.steps):
            _refuse("has a step that is not of 1 bar or more, or of far too many")
        ends = list(accumulate(step.bars for step in self.steps))
        if self.steps and ends[-1] > MAX_BARS_IN_ALL:
            _refuse(f"has {ends[-1]} bars, and at most {MAX_BARS_IN_ALL} can be followed")
        ending = False  # constraints of a prompt have none
        for step, end in zip(self.steps, ends, strict=True):
            if step.sampling.seed is None:
                _refuse("has a step without the seed of its random numbers")
            if step.constraints is not None:
                ending = step.constraints.ending
            if step.end is not None and not ending:
                _refuse("has a step that closes without an ending being asked for")
            if step.end is not None and not end <= step.end <= end + MAX_BARS:
                _refuse(f"has a step that ends after {end} bars but closes after {step.end}")

    def to_json(self) -> str:
        """Return one line of ASCII without defaults, for `from_json`."""
        content: dict[str, Any] = {"format": FORMAT, **vars(self.model_info)}
        if self.source is not None:
            content["seed"] = self.source.name
            if self.source.selection is not None:
                content["selection"] = to_json_dict(self.source.selection, Selection())
            if self.source.prompt_bars is not None:
                content["prompt_bars"] = int(self.source.prompt_bars)
        content["steps"] = [_step_content(step) for step in self.steps]
        if self.music:
            content["music"] = self.music
        return json.dumps(content, separators=(",", ":"))

    def to_link(self) -> str:
        """Return the same in letters, digits, `-` and `_`, for an address; `from_link` reads it."""
        compressor = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=_COMMON)
        data = compressor.compress(self.to_json().encode("ascii")) + compressor.flush()
        return base64.urlsafe_b64encode(_checksum(data) + data).decode().rstrip("=")

    @classmethod
    def from_json(cls, text: str | bytes) -> Recipe:
        """Return the recipe that `to_json` wrote; the text is not trusted.

        Raises:
            RecipeError: The text is not a recipe, of a newer format, or has invalid settings.
        """
        if len(text) > MAX_CHARACTERS:
            _refuse(f"is longer than {MAX_CHARACTERS:,} characters")
        try:
            content = json.loads(text, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise RecipeError("This is no recipe: it is not JSON. Copy it unchanged.") from error
        _check_format(content)
        return read_record(_recipe, content, _CHECKS, where="text", needed=_NEEDED)

    @classmethod
    def from_link(cls, link: str) -> Recipe:
        """Return the recipe that `to_link` wrote.

        Raises:
            RecipeError: As in `from_json`.
        """
        if len(link) > MAX_CHARACTERS:
            _refuse(f"is longer than {MAX_CHARACTERS:,} characters")
        try:
            data = base64.b64decode(link + "=" * (-len(link) % 4), b"-_", validate=True)
            if data[:2] != _checksum(data[2:]):
                raise ValueError("the checksum differs")
        except ValueError as error:
            raise RecipeError("This link holds no recipe; copy it whole and unchanged.") from error
        return cls.from_json(_unpacked(data[2:]))


def digest_of(tokens: Iterable[int]) -> str:
    """Return eight hexadecimal digits of the SHA-256 digest of tokens."""
    text = ",".join(map(str, tokens))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:8]


def read_recipe(midi: bytes) -> Recipe:
    """Return the recipe in a MIDI file that `Composition.to_midi` made.

    Raises:
        RecipeError: There is none, or it cannot be read.
    """
    found = extract_text(midi)
    if found is None:
        raise RecipeError(
            "This file has no recipe in it; pass a MIDI file that musiclstm composed."
        )
    return Recipe.from_json(found)


def drop_defaults(steps: tuple[Step, ...], usual: Constraints) -> tuple[Step, ...]:
    """Return steps as a recipe has them, without what follows from the steps before.

    Args:
        steps: With constraints, and with an `end` if there is an ending.
        usual: The constraints of the prompt.
    """
    found, bars, before = [], 0, usual
    for step in steps:
        bars += step.bars
        assert step.constraints is not None
        found.append(
            Step(
                step.bars,
                step.sampling,
                None if step.constraints == before else step.constraints,
                step.surprise,
                None if step.end == bars else step.end,
            )
        )
        before = step.constraints
    return tuple(found)


# Steps as JSON, and what is read ------------------------------------------------------------------


def _step_content(step: Step) -> dict[str, Any]:
    content: dict[str, Any] = {
        "bars": int(step.bars),
        "sampling": to_json_dict(step.sampling, Sampling()),
    }
    if step.constraints is not None:
        content["constraints"] = to_json_dict(step.constraints, Constraints())
    if step.surprise != Surprise():
        content["surprise"] = to_json_value(step.surprise.schedule)
    if step.end is not None:
        content["end"] = int(step.end)
    return content


_SAMPLING = {
    **dict.fromkeys(
        ("temperature", "top_p", "min_p", "epsilon_cutoff", "repetition_penalty", "copy_weight"),
        number,
    ),
    **dict.fromkeys(("pitch_temperature", "rhythm_temperature"), number),
    **dict.fromkeys(("top_k", "seed", "repetition_bars"), integer),
}
_CONSTRAINTS = {
    "programs": list_of(integer, most=129, what="programs"),
    "meter": pair,
    "tempo_bpm": number,
    "tempo_changes": boolean,
    "key": text,
    "pitch_ranges": ranges,
    "max_polyphony": integer,
    "max_notes_at_once": integer,
    "notes_per_bar": pair,
    "max_empty_bars": integer,
    "ending": boolean,
}
_SELECTION = {
    "tracks": list_of(integer, most=1_024, what="tracks"),
    "first_bar": integer,
    "last_bar": integer,
    "keep_others": boolean,
}


def _surprise(value: Any) -> Surprise:
    if isinstance(value, str):
        return Surprise(text(value))
    return Surprise(list_of(number, what="amounts")(value))


_STEP = {
    "bars": integer,
    "sampling": lambda data: read_record(Sampling, data, _SAMPLING, where="sampling"),
    "constraints": lambda data: read_record(Constraints, data, _CONSTRAINTS, where="constraints"),
    "surprise": _surprise,
    "end": integer,
}
_CHECKS = {
    "format": integer,
    "musiclstm": text,
    "model": text,
    "weights": text,
    "precision": text,
    "seed": text,
    "selection": lambda data: read_record(Selection, data, _SELECTION, where="selection"),
    "prompt_bars": integer,
    "music": text,
    "steps": list_of(
        lambda data: read_record(Step, data, _STEP, where="step", needed=("bars", "sampling")),
        most=MAX_STEPS,
        what="steps",
    ),
}

_NEEDED = ("musiclstm", "model", "weights", "precision", "steps")


def _recipe(
    *,
    format: int,
    musiclstm: str,
    model: str,
    weights: str,
    precision: str,
    steps: tuple[Step, ...],
    seed: str | None = None,
    selection: Selection | None = None,
    prompt_bars: int | None = None,
    music: str = "",
) -> Recipe:
    if seed is None and (selection is not None or prompt_bars is not None):
        raise ValueError("it selects from a seed, but names none.")
    source = None if seed is None else PromptReference(seed, selection, prompt_bars)
    return Recipe(ModelInfo(model, weights, precision, musiclstm), steps, source, music)


def _checksum(data: bytes) -> bytes:
    """Return two bytes that detect a link that was copied wrongly."""
    return (zlib.crc32(data) & 0xFFFF).to_bytes(2, "big")


def _check_format(content: Any) -> None:
    found = content.get("format") if isinstance(content, dict) else None
    if type(found) is not int or found < 1:
        raise RecipeError("This is no recipe: it does not state its format. Copy it unchanged.")
    if found > FORMAT:
        raise RecipeError(
            f"This recipe has format {shorten(found)}, and this musiclstm reads up to {FORMAT}; "
            "update musiclstm."
        )
    if found < FORMAT:
        raise RecipeError(
            "This recipe was made with musiclstm 0.2, which has another network; follow it with "
            "musiclstm 0.2, or keep the MIDI file itself."
        )


def _unpacked(data: bytes) -> bytes:
    """Return the text of a link; links of other formats were packed with another dictionary."""
    try:
        decompressor = zlib.decompressobj(-15, zdict=_COMMON)
        text = decompressor.decompress(data, MAX_CHARACTERS + 1)
    except zlib.error:
        text = b""
    if len(text) <= MAX_CHARACTERS and not text.startswith(b'{"format":'):
        raise RecipeError(
            "This link was made with another version of musiclstm, such as 0.2; follow it with "
            "that version, or keep the MIDI file itself."
        )
    return text


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _refuse(what: str) -> NoReturn:
    raise RecipeError(f"This recipe {what}; make the piece in shorter parts.")
