"""Conversion of page settings to the library's options, and of a recipe back to settings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from musiclstm import Composer, Composition, Constraints, Recipe, Sampling, Selection, Surprise
from musiclstm.audio import Mix
from musiclstm.generation import KEY_OF_PROMPT, PromptSource
from musiclstm.midi import DRUMS
from page.playback.track_mix import TrackMix
from page.session.settings import (
    AS_PROMPT,
    BOUNDS,
    FREE,
    GENTLE_SURPRISE,
    KEYS,
    METERS,
    PageSettings,
    SettingsError,
    from_values,
)

NOTES_PER_BAR = 10.0  # of music without a prompt, to which `PageSettings.lively` refers

# Fields that have one name in the settings and in `Sampling`.
_SAMPLING = (
    *("top_p", "top_k", "min_p", "pitch_temperature", "rhythm_temperature"),
    *("copy_weight", "similarity"),
)

# ------------------------------------------------------------------------------ settings -> library


def sampling_of(settings: PageSettings) -> Sampling:
    """Return the sampling options."""
    return Sampling(
        temperature=settings.adventurous,
        seed=settings.random_seed,
        **{name: getattr(settings, name) for name in _SAMPLING},
    )


def surprise_of(settings: PageSettings) -> Surprise:
    """Return the schedule of deviations."""
    if settings.surprise == 0:
        return Surprise()
    return Surprise("bold" if settings.surprise > GENTLE_SURPRISE else "gentle")


def mix_of(settings: PageSettings, *, muted: Iterable[int] = ()) -> TrackMix:
    """Return the rendering options.

    Args:
        settings: Of the page's controls.
        muted: Indices of silent tracks.
    """
    mix = Mix(
        soundfont=settings.soundfont,
        reverb=settings.reverb,
        chorus=settings.chorus,
        gain_db=settings.gain_db,
    )
    return TrackMix(mix, frozenset(muted), dict(settings.swaps))


def constraints_of(
    settings: PageSettings,
    *,
    composer: Composer,
    prompt: PromptSource | None = None,
    selection: Selection | None = None,
    after: Composition | None = None,
    notes_per_bar: float | None = None,
) -> Constraints:
    """Return the prompt's default constraints with the changes that the settings ask for.

    Args:
        settings: Of the page's controls.
        composer: Composer of the new bars.
        prompt: Music to continue. None: there is none, or `after` is extended.
        selection: Part of the prompt.
        after: Piece to extend; its prompt counts.
        notes_per_bar: Of the music before, for `PageSettings.lively`. None: there is none.

    Raises:
        SettingsError: The constraints contradict each other.
        ScoreError: The prompt cannot be read.
    """
    if after is not None and after.prompt is None:
        kept = after.constraints  # a new piece keeps its band, key and meter
        usual = Constraints(
            programs=kept.programs, key=kept.key, meter=kept.meter, tempo_bpm=kept.tempo_bpm
        )
        has_prompt = False
    elif after is not None:
        assert after.prompt is not None
        usual, has_prompt = after.prompt.constraints, True
    else:
        usual = composer.default_constraints(prompt, prompt_selection=selection)
        has_prompt = prompt is not None
    try:
        return replace(usual, **_changes(settings, usual, has_prompt, notes_per_bar))
    except ValueError as error:
        raise SettingsError(str(error)) from error


def _changes(
    settings: PageSettings, usual: Constraints, has_prompt: bool, notes_per_bar: float | None
) -> dict[str, Any]:
    programs = usual.programs if settings.instruments is None else settings.instruments
    changes: dict[str, Any] = {
        "programs": programs,
        "key": _key(settings, usual, has_prompt),
        "meter": usual.meter if settings.meter == AS_PROMPT else _meter(settings.meter),
        "ending": settings.ending and not settings.endless,
        "tempo_bpm": settings.tempo_bpm,
    }
    if (settings.lowest, settings.highest) != (0, 127):
        pitched = [each for each in programs or range(128) if each != DRUMS]
        changes["pitch_ranges"] = dict.fromkeys(pitched, (settings.lowest, settings.highest))
    if (most := settings.most_at_once) is not None:
        changes["max_polyphony"] = most
        changes["max_notes_at_once"] = min(most, usual.max_notes_at_once)
    if settings.fewest_notes or settings.most_notes is not None:
        most_notes = int(BOUNDS["most_notes"][1])
        changes["notes_per_bar"] = (settings.fewest_notes, settings.most_notes or most_notes)
    elif settings.lively:
        changes["notes_per_bar"] = _notes_per_bar(settings.lively, notes_per_bar or NOTES_PER_BAR)
    return changes


def _notes_per_bar(lively: float, usual: float) -> tuple[int, int]:
    """Return fewest and most notes per bar: up to twice as many as before, or down to 40 %."""
    fewest, most = int(BOUNDS["fewest_notes"][1]), int(BOUNDS["most_notes"][1])
    if lively > 0:
        return min(fewest, round(usual * (1 + lively))), most
    return 0, min(most, max(1, round(usual * (1 + 0.6 * lively))))


def _key(settings: PageSettings, usual: Constraints, has_prompt: bool) -> str | None:
    if settings.key == FREE:
        return None if has_prompt else usual.key
    if settings.key != AS_PROMPT:
        return settings.key
    only_drums = usual.programs == frozenset({DRUMS})
    return KEY_OF_PROMPT if has_prompt and not only_drums else None


def _meter(name: str) -> tuple[int, int] | None:
    if name == FREE:
        return None
    numerator, denominator = name.split("/")
    return int(numerator), int(denominator)


# ------------------------------------------------------------------------------- recipe -> settings


def settings_of(recipe: Recipe) -> PageSettings:
    """Return the settings of the last step of a recipe.

    Options without a control keep their default; numbers are clipped to `BOUNDS`.
    """
    if not recipe.steps:
        return PageSettings()
    step, sampling = recipe.steps[-1], recipe.steps[-1].sampling
    constraints = [each.constraints for each in recipe.steps if each.constraints is not None]
    schedule = str(step.surprise.schedule)
    values = {
        "bars": step.bars,
        "adventurous": sampling.temperature,
        "surprise": {"off": 0, "gentle": GENTLE_SURPRISE}.get(schedule, 1),
        "random_seed": sampling.seed,
        **{name: getattr(sampling, name) for name in _SAMPLING},
        **(_values_of_constraints(constraints[-1]) if constraints else {}),
    }
    clipped = {name: _clip(name, value) for name, value in values.items()}
    return from_values(clipped)


def _values_of_constraints(constraints: Constraints) -> dict[str, Any]:
    meter = "{}/{}".format(*constraints.meter) if constraints.meter else FREE
    fewest, most = constraints.notes_per_bar or (0, None)
    pitched = [ends for program, ends in constraints.ranges.items() if program != DRUMS]
    lowest, highest = pitched[0] if pitched else (0, 127)
    return {
        "key": constraints.key if constraints.key in KEYS else FREE,
        "meter": meter if meter in METERS else AS_PROMPT,
        "instruments": constraints.programs and tuple(constraints.programs),
        "lowest": lowest,
        "highest": highest,
        "most_at_once": constraints.max_polyphony,
        "fewest_notes": fewest,
        "most_notes": most,
        "ending": constraints.ending,
        "tempo_bpm": constraints.tempo_bpm,
    }


def _clip(name: str, value: Any) -> Any:
    if name not in BOUNDS or value is None:
        return value
    minimum, maximum = BOUNDS[name]
    return min(max(value, minimum), maximum)
