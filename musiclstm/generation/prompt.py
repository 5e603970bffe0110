"""Read a prompt, cut it to a selection, derive its default constraints, and identify it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from numbers import Integral
from pathlib import Path
from typing import TypeAlias

from symusic.core import ScoreTick

from musiclstm.errors import RecipeError, ScoreError
from musiclstm.examples import example_files
from musiclstm.generation.composition import Prompt
from musiclstm.generation.constraints import KEY_OF_PROMPT, MAX_NOTES_AT_ONCE, Constraints
from musiclstm.generation.recipe import BUNDLED, FILE, MAX_BARS, Source
from musiclstm.generation.selection import Selection
from musiclstm.midi import analysis
from musiclstm.midi.reader import check_score, read_bounded, read_midi
from musiclstm.midi.score_ops import (
    drop_empty_tracks,
    first_bars,
    max_simultaneous_onsets,
    resample_to_grid,
    slice_score,
)
from musiclstm.tokens import normalize_time_signature, programs_of, supports_time_signature

_FEWEST_AT_ONCE = 4  # a melody may get an accompaniment

PromptSource: TypeAlias = "str | Path | bytes | analysis.AnyScore"


def check_bars(name: str, bars: int) -> None:
    """Refuse a number of bars that cannot be composed or read.

    Raises:
        ValueError: Not a whole number from 1 to 4096.
    """
    if not isinstance(bars, Integral) or not 1 <= bars <= MAX_BARS:
        raise ValueError(
            f"{name} must be from 1 to {MAX_BARS}, got {bars}; only whole bars can be counted."
        )


def read_prompt_source(
    prompt: PromptSource,
    *,
    prompt_bars: int | None = None,
    selection: Selection | None = None,
    grid_ticks: int,
) -> Prompt:
    """Read a prompt and cut it to a selection.

    Args:
        prompt: A MIDI file, its bytes, or a score.
        prompt_bars: Use only the first so many bars. None: all.
        selection: Use only these tracks and bars. None: all.
        grid_ticks: Divisor of the ticks per quarter of the result.

    Raises:
        ScoreError: It cannot be read, or has no notes where it is used.
        ValueError: prompt_bars out of range, or given together with a selection.
    """
    if prompt_bars is not None:
        check_bars("prompt_bars", prompt_bars)
        if selection is not None:
            raise ValueError("prompt_bars and a selection contradict each other; use last_bar.")
    score, names = _read_prompt(prompt)
    score = resample_to_grid(score, grid_ticks)
    seed = _first(score, prompt_bars) if selection is None else _chosen(score, selection)
    source = Source(names[0], selection, None if seed.score is score else prompt_bars)
    return replace(seed, constraints=default_constraints(seed), source=source)


def _first(score: ScoreTick, prompt_bars: int | None) -> Prompt:
    lines = analysis.bar_starts(score)
    if prompt_bars is not None and prompt_bars < len(lines) - 1:
        lines = lines[: prompt_bars + 1]
        score = first_bars(score, int(lines[-1]), prompt_bars)
    return Prompt(score=score, bars=len(lines) - 1, end_tick=int(lines[-1]))


def _chosen(score: ScoreTick, selection: Selection) -> Prompt:
    lines = analysis.bar_starts(score)
    selection.check(len(score.tracks), len(lines) - 1)
    last = selection.last_bar or len(lines) - 1
    start, end = int(lines[selection.first_bar - 1]), int(lines[last])
    everything = range(len(score.tracks))
    tracks = everything if selection.tracks is None else selection.tracks
    read = drop_empty_tracks(slice_score(_tracks(score, tracks), start, end))
    if not len(read.tracks):
        raise ScoreError(
            f"The chosen tracks have no note in bars {selection.first_bar} to {last}; choose other "
            "bars or more tracks."
        )
    others = drop_empty_tracks(
        slice_score(_tracks(score, set(everything) - set(tracks)), start, None)
    )
    return Prompt(
        score=read,
        bars=last - selection.first_bar + 1,
        end_tick=end - start,
        others=others if selection.keep_others and len(others.tracks) else None,
    )


def _tracks(score: ScoreTick, numbers: range | frozenset[int] | set[int]) -> ScoreTick:
    part = score.copy()
    part.tracks = type(part.tracks)(part.tracks[number] for number in sorted(numbers))
    return part


# Default constraints ------------------------------------------------------------------------------


def default_constraints(seed: Prompt | None) -> Constraints:
    """Return the default constraints, see `Composer.constraints_of`."""
    if seed is None:
        return Constraints()
    return Constraints(
        programs=frozenset(programs_of(seed.score)),
        meter=ruling_meter(seed),
        tempo_changes=False,
        max_notes_at_once=min(
            max(max_simultaneous_onsets(seed.score), _FEWEST_AT_ONCE), MAX_NOTES_AT_ONCE
        ),
    )


def with_key_named(constraints: Constraints, seed: Prompt | None) -> Constraints:
    """Return the constraints with the name of the key if that of the prompt is requested.

    Raises:
        ValueError: There is no prompt, or its key cannot be estimated.
    """
    if constraints.key != KEY_OF_PROMPT:
        return constraints
    found = None if seed is None else seed.key
    if found is None:
        raise ValueError(
            "key='prompt' needs a prompt whose key can be estimated; pass a prompt, or name a key "
            "such as 'D minor'."
        )
    return replace(constraints, key=str(found))


def ruling_meter(seed: Prompt) -> tuple[int, int] | None:
    """Return the last meter of a prompt, as tokens write it. None: there is no such token."""
    meter = normalize_time_signature(*analysis.meter_at(seed.score, seed.end_tick))
    return meter if supports_time_signature(*meter) else None


# Identity of prompts ------------------------------------------------------------------------------


def find_prompt(source: Source | None, prompt: PromptSource | None) -> PromptSource | None:
    """Return the prompt of a recipe.

    Args:
        source: Prompt that the recipe names. None: the recipe has none.
        prompt: Prompt that was given. None: none, which suffices for a bundled one.

    Raises:
        RecipeError: The prompt is missing, another one, or not needed.
        ScoreError: It cannot be read.
    """
    if source is None:
        if prompt is not None:
            raise RecipeError("This recipe begins from nothing; follow it without a prompt.")
        return None
    if prompt is None:
        return _bundled(source.name)
    if source.name not in (names := _read_prompt(prompt)[1]):
        raise RecipeError(
            f"This recipe goes on from {_shown(source.name)}, and the prompt is "
            f"{_shown(names[0])}; pass the file it was made from."
        )
    return prompt


def _bundled(name: str) -> Path:
    if not name.startswith(BUNDLED):
        raise RecipeError(f"This recipe goes on from {_shown(name)}; pass it as the prompt.")
    files = {file.stem: file for file in example_files().values()}
    file = files.get(name.removeprefix(BUNDLED))
    if file is None:
        raise RecipeError(
            f"This recipe goes on from {_shown(name)}, which this musiclstm does not have; it has "
            f"{', '.join(sorted(files))}."
        )
    return file


def _shown(name: str) -> str:
    """Return the name of an untrusted recipe's prompt for a sentence, short and in ASCII."""
    shown = ascii(name.removeprefix(BUNDLED).removeprefix(FILE))[1:-1]
    if name.startswith(BUNDLED):
        return f"the bundled seed '{shown[:40]}'"
    return f"a file with SHA-256 {shown[:12]}…"


def _read_prompt(prompt: PromptSource) -> tuple[ScoreTick, list[str]]:
    """Return the score, and all names that a recipe may give it, the preferred one first."""
    if not isinstance(prompt, str | Path | bytes):
        score = check_score(prompt)[0]
        return score, _names(_digest(_canonical(score)))
    data, name = read_bounded(prompt)
    score = read_midi(data, name=name)[0]
    return score, [*_names(_digest(data)), *_names(_digest(_canonical(score)))]


def _names(digest: str) -> list[str]:
    bundled = _bundled_digests().get(digest)
    return ([] if bundled is None else [BUNDLED + bundled]) + [FILE + digest]


@cache
def _bundled_digests() -> dict[str, str]:
    """Return names of bundled seeds by the digests of their files and of their scores."""
    found: dict[str, str] = {}
    for file in example_files().values():
        data = file.read_bytes()
        found[_digest(data)] = found[_digest(_canonical(read_midi(data)[0]))] = file.stem
    return found


def _canonical(score: ScoreTick) -> bytes:
    return bytes(score.dumps_midi())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
