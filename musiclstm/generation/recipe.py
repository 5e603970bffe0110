"""Recipes: all settings of a piece as JSON or as part of a link, to compose it again exactly.

A recipe names the weights, the prompt, and number of bars and settings of each step. Defaults are
left out, so `FORMAT` must rise if a default of `Sampling`, `Constraints`, `Surprise` or `Selection`
changes.
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

from musiclstm._lazy import old_attribute
from musiclstm.errors import RecipeError, shorten
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
    text,
    to_json_dict,
    to_json_value,
)
from musiclstm.midi.score_tables import find_text

FORMAT = 5
_FORMATS_OF = {"0.2": (1, 2), "0.3.0": (3, 4)}  # other networks, other random numbers
MAX_STEPS, MAX_BARS_IN_ALL = 512, 16_384
MAX_CHARACTERS = 200_000
MIDI_PREFIX = "musiclstm recipe "
"""Begin of the text event that holds the recipe in a MIDI file."""

# Preset dictionary of the compression of links; part of the format. Compressed data refer to its
# bytes by their distance from the end, so the dictionaries of two formats must end differently.
LINK_DICTIONARY = (
    b'"end":"prompt_bars":"selection":{"tracks":[0],"first_bar":2,"last_bar":8,"keep_others":false}'
    b'"top_p":1,"top_k":"min_p":0.05,"epsilon_cutoff":"pitch_temperature":"rhythm_temperature":'
    b'"repetition_penalty":1.25"repetition_bars":"tempo_bpm":120,"key":" minor"," major",'
    b'"pitch_ranges":[["max_polyphony":"notes_per_bar":[4,16],"max_empty_bars":0,"ending":true}'
    b'"constraints":{"programs":[0],"meter":[4,4],"tempo_changes":false,"max_notes_at_once":4}'
    b'"surprise":"gentle""surprise":"bold"},{"bars":4,"sampling":{"temperature":1,"seed":'
    b'{"format":5,"musiclstm":"0.3.1","model":"default","weights":"",'
    b'"seed":"sha256:"seed":"bundled:","steps":[{"bars":8,"sampling":{"seed":}}],"music":"'
    b'"copy_weight":1'
)


@dataclass(frozen=True)
class ModelInfo:
    """Weights and version that composed a piece.

    Attributes:
        model: Name that was loaded; for a folder, the last part of its path. Empty: unknown.
        weights: `Composer.fingerprint`.
        musiclstm: Version of the library.
    """

    model: str
    weights: str
    musiclstm: str


@dataclass(frozen=True)
class Step:
    """Consecutive bars that were composed with the same settings.

    Attributes:
        bars: Number of bars.
        sampling: Sampling, with a random seed.
        constraints: Constraints. None, in recipes only: in the first step the defaults of the
            prompt, later the constraints of the step before.
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
        steps: Steps in order; none for a piece without new bars.
        source: The prompt. None: a new piece.
        music: `digest_of` the tokens, which `reproduce` compares. Empty: not compared.
        references: Names of pieces that were read before the prompt, as in `PromptReference`.
        reference_bars: Number of their first bars that were read. None: all.

    Raises:
        RecipeError: More steps or bars than a recipe may have, or a contradictory step.
    """

    model_info: ModelInfo
    steps: tuple[Step, ...]
    source: PromptReference | None = None
    music: str = ""
    references: tuple[str, ...] = ()
    reference_bars: int | None = None

    maker = old_attribute("Recipe.maker", "model_info")  # of version 0.2; removed in 0.4

    def __post_init__(self) -> None:
        """Refuse recipes that are too long or contradict themselves."""
        if len(self.steps) > MAX_STEPS:
            _refuse(f"has {len(self.steps)} steps, at most {MAX_STEPS} are allowed")
        if any(not 1 <= step.bars <= MAX_BARS_IN_ALL for step in self.steps):
            _refuse(f"has a step that does not have 1 to {MAX_BARS_IN_ALL} bars")
        ends = list(accumulate(step.bars for step in self.steps))
        if self.steps and ends[-1] > MAX_BARS_IN_ALL:
            _refuse(f"has {ends[-1]} bars, at most {MAX_BARS_IN_ALL} are allowed")
        ending = False  # default constraints have none
        for step, end in zip(self.steps, ends, strict=True):
            if step.sampling.seed is None:
                _refuse("has a step without a random seed")
            if step.constraints is not None:
                ending = step.constraints.ending
            if step.end is not None and not ending:
                _refuse("has a step with an end, but its constraints have no ending")
            if step.end is not None and not end <= step.end <= end + MAX_BARS:
                _refuse(
                    f"has a step of bars up to {end}, but its ending is complete after {step.end}"
                )

    def to_json(self) -> str:
        """Return one line of ASCII without defaults, for `from_json`."""
        content: dict[str, Any] = {"format": FORMAT, **vars(self.model_info)}
        if self.source is not None:
            content["seed"] = self.source.name  # the name of this key is part of the format
            if self.source.selection is not None:
                content["selection"] = to_json_dict(self.source.selection, Selection())
            if self.source.prompt_bars is not None:
                content["prompt_bars"] = int(self.source.prompt_bars)
        if self.references:
            content["references"] = list(self.references)
        if self.reference_bars is not None:
            content["reference_bars"] = int(self.reference_bars)
        content["steps"] = [_step_json(step) for step in self.steps]
        if self.music:
            content["music"] = self.music
        return json.dumps(content, separators=(",", ":"))

    def to_link(self) -> str:
        """Return the recipe in letters, digits, `-` and `_` for an URL; `from_link` reads it."""
        compressor = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=LINK_DICTIONARY)
        data = compressor.compress(self.to_json().encode("ascii")) + compressor.flush()
        return base64.urlsafe_b64encode(_checksum(data) + data).decode().rstrip("=")

    @classmethod
    def from_json(cls, text: str | bytes) -> Recipe:
        """Read the text of `to_json`, which may come from an untrusted source.

        Raises:
            RecipeError: The text is not a recipe, of a newer format, or has invalid settings.
        """
        if len(text) > MAX_CHARACTERS:
            _refuse(f"is longer than {MAX_CHARACTERS:,} characters")
        try:
            content = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise RecipeError("This is not a recipe: it is not JSON. Copy it unchanged.") from error
        _check_format(content)
        return read_record(_recipe, content, _CHECKS, where="text", required=_REQUIRED)

    @classmethod
    def from_link(cls, link: str) -> Recipe:
        """Read the text of `to_link`, which may come from an untrusted source.

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
            raise RecipeError("This link holds no recipe; copy it completely.") from error
        return cls.from_json(_decompressed(data[2:]))


def digest_of(tokens: Iterable[int]) -> str:
    """Return eight hexadecimal digits of the SHA-256 digest of tokens."""
    text = ",".join(map(str, tokens))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:8]


def read_recipe(midi: bytes) -> Recipe:
    """Return the recipe in a MIDI file that `Composition.to_midi` made.

    Raises:
        RecipeError: There is none, or it cannot be read.
    """
    found = find_text(midi, MIDI_PREFIX)
    if found is None:
        raise RecipeError("This file contains no recipe; pass a MIDI file that musiclstm composed.")
    return Recipe.from_json(found)


def drop_defaults(steps: tuple[Step, ...], defaults: Constraints) -> tuple[Step, ...]:
    """Return steps as recipes have them: None for constraints and ends that can be derived.

    Args:
        steps: Steps with constraints, and with an `end` if there is an ending.
        defaults: Default constraints of the prompt.
    """
    found, bars, before = [], 0, defaults
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


# JSON ---------------------------------------------------------------------------------------------


def _step_json(step: Step) -> dict[str, Any]:
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
        (
            "temperature",
            "top_p",
            "min_p",
            "epsilon_cutoff",
            "repetition_penalty",
            "copy_weight",
            "similarity",
        ),
        number,
    ),
    **dict.fromkeys(("pitch_temperature", "rhythm_temperature"), number),
    **dict.fromkeys(("top_k", "seed", "repetition_bars", "candidates"), integer),
}
_CONSTRAINTS = {
    "programs": list_of(integer, max_length=129, what="programs"),
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
    "keep_lines": boolean,
    "max_copied_notes": integer,
}
_SELECTION = {
    "tracks": list_of(integer, max_length=1_024, what="tracks"),
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
    "seed": text,
    "selection": lambda data: read_record(Selection, data, _SELECTION, where="selection"),
    "prompt_bars": integer,
    "references": list_of(text, max_length=8, what="references"),
    "reference_bars": integer,
    "music": text,
    "steps": list_of(
        lambda data: read_record(Step, data, _STEP, where="step", required=("bars", "sampling")),
        max_length=MAX_STEPS,
        what="steps",
    ),
}

_REQUIRED = ("musiclstm", "model", "weights", "steps")


def _recipe(
    *,
    format: int,
    musiclstm: str,
    model: str,
    weights: str,
    steps: tuple[Step, ...],
    seed: str | None = None,
    selection: Selection | None = None,
    prompt_bars: int | None = None,
    music: str = "",
    references: tuple[str, ...] = (),
    reference_bars: int | None = None,
) -> Recipe:
    if seed is None and (selection is not None or prompt_bars is not None):
        raise ValueError("it selects from a prompt, but names none.")
    if reference_bars is not None and not references:
        raise ValueError("it selects bars of references, but names none.")
    source = None if seed is None else PromptReference(seed, selection, prompt_bars)
    info = ModelInfo(model, weights, musiclstm)
    return Recipe(info, steps, source, music, tuple(references), reference_bars)


def _checksum(data: bytes) -> bytes:
    """Return two bytes by which a link that was not copied completely is detected."""
    return (zlib.crc32(data) & 0xFFFF).to_bytes(2, "big")


def _check_format(content: Any) -> None:
    found = content.get("format") if isinstance(content, dict) else None
    if type(found) is not int or found < 1:
        raise RecipeError("This is not a recipe: it does not state its format. Copy it unchanged.")
    if found > FORMAT:
        raise RecipeError(
            f"This recipe has format {shorten(found)}, and this musiclstm reads up to {FORMAT}; "
            "update musiclstm."
        )
    for version, formats in _FORMATS_OF.items():
        if found in formats:
            raise RecipeError(
                f"This recipe was made with musiclstm {version}, and this version composes other "
                f"music from it; reproduce it with musiclstm {version}, or keep the MIDI file "
                "itself."
            )


def _decompressed(data: bytes) -> bytes:
    """Decompress a link; links of other formats were compressed with another dictionary."""
    try:
        decompressor = zlib.decompressobj(-15, zdict=LINK_DICTIONARY)
        text = decompressor.decompress(data, MAX_CHARACTERS + 1)
    except zlib.error:
        text = b""
    if len(text) <= MAX_CHARACTERS and not text.startswith(b'{"format":'):
        raise RecipeError(
            "This link was made with another version of musiclstm, such as 0.3.0; open it with "
            "that version, or keep the MIDI file itself."
        )
    return text


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _refuse(what: str) -> NoReturn:
    raise RecipeError(f"This recipe {what}; compose shorter pieces.")
