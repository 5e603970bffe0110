"""What a visitor can steer: every control of the page as one frozen record.

`PageSettings` trusts nothing it is given; the other functions say what the library is to be asked for.
This file knows no components, no visitors, and composes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from musiclstm import (
    Composer,
    Composition,
    Constraints,
    Recipe,
    Sampling,
    Selection,
    Surprise,
)
from musiclstm.audio import DEFAULT_CHORUS, DEFAULT_REVERB, Mix, installed_soundfonts
from musiclstm.errors import shorten
from musiclstm.generation import KEY_OF_PROMPT as KEY_OF_THE_SEED
from musiclstm.generation import PromptSource
from musiclstm.midi import DRUMS, instrument_name
from page.session.controls import (
    AS_THE_SEED,
    BOUNDS,
    FREE,
    KEYS,
    METERS,
    SettingsError,
    boolean,
    choice,
    number,
    programs,
    swaps,
)

__all__ = [
    "AS_THE_SEED",
    "BOUNDS",
    "ENDLESS_BARS",
    "FREE",
    "KEYS",
    "METERS",
    "PageSettings",
    "SettingsError",
    "constraints_of",
    "from_values",
    "mix_of",
    "sampling_of",
    "settings_of",
    "surprise_of",
    "values_of",
]

ENDLESS_BARS = 512  # music without end is composed so far; at 120 bpm that is a quarter of an hour
_OFTEN = 0.5  # more surprise than this is the bold kind
_LOCKED = {"locked": True}


@dataclass(frozen=True)
class PageSettings:
    """Every control of the page.

    Args:
        bars: New bars, 1 to 64.
        endless: Compose on until it is stopped, whatever `bars` says, and without an ending.
        key: One of `KEYS`. "free": no tone is ruled out. "as the seed" is free from nothing.
        meter: One of `METERS`.
        adventurous: The temperature, 0 to 1.5.
        surprise: 0: no turns; to 0.5: now and then a gentle one; above: often, and bold.
        copy_weight: As in `Sampling`, 0 to 2.
        instruments: Programs that may play, -1 for drums. None: as the seed; any from nothing.
        random_seed: Start of the random numbers, 0 to 4294967295. None: a fresh one.
        locked: Whether the random seed stays for the next press, see `after`.
        top_p: As in `Sampling`, from 0.05.
        top_k: As in `Sampling`, to 500.
        min_p: As in `Sampling`.
        pitch_temperature: As in `Sampling`, 0 to 2. None: the same as `adventurous`.
        rhythm_temperature: Likewise.
        lowest: Lowest MIDI pitch of what is composed, 0 to 127. Drums are not bound by it.
        highest: Highest one, 0 to 127.
        most_at_once: At most so many notes sound together, 1 to 32. None: as it comes.
        fewest_notes: At least so many notes begin in each bar, 0 to 64.
        most_notes: At most so many, 1 to 256. None: as it comes.
        ending: Whether the last bars lead to a close.
        tempo_bpm: Quarter notes per minute, 20 to 300. None: as the seed.
        soundfont: A name that `installed_soundfonts()` lists, never a path. None: the best one.
        reverb: 0 to 1.
        chorus: 0 to 1.
        gain_db: Louder or softer, -20 to 20.
        swaps: Which program sounds in place of which, 0 to 127; a dict will do.

    Raises:
        SettingsError: A value is not what it must be, or two contradict each other.
    """

    bars: int = 8
    endless: bool = False
    key: str = FREE
    meter: str = AS_THE_SEED
    adventurous: float = Sampling.temperature
    surprise: float = 0.0
    copy_weight: float = Sampling.copy_weight
    instruments: tuple[int, ...] | None = None
    random_seed: int | None = None
    locked: bool = False
    top_p: float = Sampling.top_p
    top_k: int = Sampling.top_k
    min_p: float = Sampling.min_p
    pitch_temperature: float | None = None
    rhythm_temperature: float | None = None
    lowest: int = 0
    highest: int = 127
    most_at_once: int | None = None
    fewest_notes: int = 0
    most_notes: int | None = None
    ending: bool = False
    tempo_bpm: float | None = None
    soundfont: str | None = None
    reverb: float = DEFAULT_REVERB
    chorus: float = DEFAULT_CHORUS
    gain_db: float = 0.0
    swaps: Mapping[int, int] | tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        """Bring every value into its form, and refuse what has none."""
        for name in BOUNDS:
            value = getattr(self, name)
            if value is not None or getattr(PageSettings, name) is not None:
                self._set(name, number(name, value))
        for name in ("endless", "locked", "ending"):
            boolean(name, getattr(self, name))
        choice("key", self.key, KEYS)
        choice("meter", self.meter, METERS)
        if self.soundfont is not None:
            choice("soundfont", self.soundfont, tuple(installed_soundfonts()))
        if self.instruments is not None:
            self._set("instruments", programs("instruments", self.instruments))
        self._set("swaps", swaps("swaps", self.swaps))
        self._check_pairs()

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_pairs(self) -> None:
        if self.lowest > self.highest:
            raise SettingsError(
                f"The lowest pitch, {self.lowest}, is above the highest, {self.highest}; "
                "lower the one or raise the other."
            )
        if self.most_notes is not None and self.fewest_notes > self.most_notes:
            raise SettingsError(
                f"A bar cannot have at least {self.fewest_notes} and at most {self.most_notes} "
                "notes; lower the one or raise the other."
            )

    @property
    def new_bars(self) -> int:
        """How many bars the composer is asked for."""
        return ENDLESS_BARS if self.endless else self.bars

    @property
    def planned_bars(self) -> int | None:
        """How many new bars there will be; None where nobody knows."""
        return None if self.endless else self.bars

    def after(self, random_seed: int) -> PageSettings:
        """The settings for the next press: the random seed that was used stays if it is locked."""
        return replace(self, random_seed=random_seed if self.locked else None)

    def __str__(self) -> str:
        """One line that tells takes apart, such as `8 bars, adventurous 1.1, D minor`."""
        return ", ".join(_told(self))


# --------------------------------------------------------------------------- in and out of the page


def from_values(values: Mapping[str, Any]) -> PageSettings:
    """The settings that the controls show.

    Args:
        values: By field, as they come from the page: 8.0 is a whole number; None, an empty text
            and an empty list mean the default, as does a field that is not there.

    Raises:
        SettingsError: As in `PageSettings`, or a field that does not exist.
    """
    unknown = sorted(set(values) - {each.name for each in fields(PageSettings)}, key=str)
    if unknown:
        raise SettingsError(f"There is no setting {shorten(unknown[0])}; leave it out.")
    return PageSettings(**{name: value for name, value in values.items() if not _is_nothing(value)})


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str | list | tuple | dict) and not value)


def values_of(settings: PageSettings) -> dict[str, Any]:
    """The settings as plain JSON values, field by field; `from_values` reads them."""
    values = {each.name: getattr(settings, each.name) for each in fields(settings)}
    values["instruments"] = list(settings.instruments or ())
    values["swaps"] = {str(old): new for old, new in dict(settings.swaps).items()}
    return values


def settings_of(recipe: Recipe) -> PageSettings:
    """The settings of the last step of a recipe, as far as the controls can show them, locked.

    What the page has no control for is left at its default, and a number beyond its control is
    brought to the end of it.
    """
    if not recipe.steps:
        return PageSettings()
    step, sampling = recipe.steps[-1], recipe.steps[-1].sampling
    asked = [each.constraints for each in recipe.steps if each.constraints is not None]
    values = {
        "bars": step.bars,
        "adventurous": sampling.temperature,
        "surprise": {"off": 0, "gentle": _OFTEN}.get(str(step.surprise.schedule), 1),
        "random_seed": sampling.seed,
        **{name: getattr(sampling, name) for name in ("top_p", "top_k", "min_p", "copy_weight")},
        "pitch_temperature": sampling.pitch_temperature,
        "rhythm_temperature": sampling.rhythm_temperature,
        **(_controls_of(asked[-1]) if asked else {}),
    }
    return from_values({name: _within(name, value) for name, value in values.items()} | _LOCKED)


def _controls_of(constraints: Constraints) -> dict[str, Any]:
    meter = "{}/{}".format(*constraints.meter) if constraints.meter else FREE
    fewest, most = constraints.notes_per_bar or (0, None)
    pitched = [ends for program, ends in constraints.ranges.items() if program != DRUMS]
    lowest, highest = pitched[0] if pitched else (0, 127)
    return {
        "key": constraints.key if constraints.key in KEYS else FREE,
        "meter": meter if meter in METERS else AS_THE_SEED,
        "instruments": constraints.programs and tuple(constraints.programs),
        "lowest": lowest,
        "highest": highest,
        "most_at_once": constraints.max_polyphony,
        "fewest_notes": fewest,
        "most_notes": most,
        "ending": constraints.ending,
        "tempo_bpm": constraints.tempo_bpm,
    }


def _within(name: str, value: Any) -> Any:
    if name not in BOUNDS or value is None:
        return value
    least, most = BOUNDS[name]
    return min(max(value, least), most)


# ----------------------------------------------------------------------- what the library is asked


def sampling_of(settings: PageSettings) -> Sampling:
    """How notes are chosen."""
    return Sampling(
        temperature=settings.adventurous,
        top_p=settings.top_p,
        top_k=settings.top_k,
        min_p=settings.min_p,
        pitch_temperature=settings.pitch_temperature,
        rhythm_temperature=settings.rhythm_temperature,
        copy_weight=settings.copy_weight,
        seed=settings.random_seed,
    )


def surprise_of(settings: PageSettings) -> Surprise:
    """When the music takes a turn."""
    if settings.surprise == 0:
        return Surprise()
    return Surprise("bold" if settings.surprise > _OFTEN else "gentle")


def mix_of(settings: PageSettings, *, muted: Iterable[int] = ()) -> Mix:
    """How it sounds.

    Args:
        settings: What the controls say.
        muted: Programs that are silent, -1 for drums.
    """
    return Mix(
        soundfont=settings.soundfont,
        reverb=settings.reverb,
        chorus=settings.chorus,
        gain_db=settings.gain_db,
        programs=dict(settings.swaps),
        muted=frozenset(muted),
    )


def constraints_of(
    settings: PageSettings,
    *,
    composer: Composer,
    prompt: PromptSource | None = None,
    selection: Selection | None = None,
    after: Composition | None = None,
) -> Constraints:
    """What the music keeps to: what the seed asks for, but for what the settings say.

    Args:
        settings: What the controls say.
        composer: Who will compose.
        prompt: What it goes on from; None: from nothing, or from `after`.
        selection: Which part of the prompt.
        after: A piece that is gone on with, whose seed counts in place of the prompt.

    Raises:
        SettingsError: Nobody could keep to all of it.
        ScoreError: The prompt cannot be read.
    """
    if after is not None:
        usual = after.prompt.constraints if after.prompt else Constraints()
        from_nothing = after.prompt is None
    else:
        usual = composer.default_constraints(prompt, prompt_selection=selection)
        from_nothing = prompt is None
    try:
        return replace(usual, **_changes(settings, usual, from_nothing))
    except ValueError as error:
        raise SettingsError(str(error)) from error


def _changes(settings: PageSettings, usual: Constraints, from_nothing: bool) -> dict[str, Any]:
    """What differs from what the seed asks for."""
    programs = usual.programs if settings.instruments is None else settings.instruments
    changes: dict[str, Any] = {
        "programs": programs,
        "key": _key(settings, usual, from_nothing),
        "meter": usual.meter if settings.meter == AS_THE_SEED else _meter(settings.meter),
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
    return changes


def _key(settings: PageSettings, usual: Constraints, from_nothing: bool) -> str | None:
    if settings.key != AS_THE_SEED:
        return None if settings.key == FREE else settings.key
    only_drums = usual.programs == frozenset({DRUMS})
    return None if from_nothing or only_drums else KEY_OF_THE_SEED


def _meter(name: str) -> tuple[int, int] | None:
    if name == FREE:
        return None
    numerator, denominator = name.split("/")
    return int(numerator), int(denominator)


# ------------------------------------------------------------------------------------------- words


def _told(settings: PageSettings) -> list[str]:
    """What a take is asked for, the usual left out."""
    bars = "1 bar" if settings.bars == 1 else f"{settings.bars} bars"
    told = ["endless" if settings.endless else bars, f"adventurous {settings.adventurous:g}"]
    told += [each for each in (settings.key, settings.meter) if each not in (FREE, AS_THE_SEED)]
    if settings.surprise:
        told.append("bold surprises" if settings.surprise > _OFTEN else "surprises")
    if settings.instruments is not None:
        told.append(" and ".join(instrument_name(each) for each in settings.instruments))
    if settings.tempo_bpm is not None:
        told.append(f"{settings.tempo_bpm:g} bpm")
    if settings.ending and not settings.endless:
        told.append("with an ending")
    return told
