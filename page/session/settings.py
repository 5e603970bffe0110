"""Values of the page's controls: one frozen, validated record and its JSON form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, NoReturn

from musiclstm import MusicLSTMError, Sampling
from musiclstm.audio import DEFAULT_CHORUS, DEFAULT_REVERB, installed_soundfonts
from musiclstm.errors import shorten
from musiclstm.generation import DEFAULT_BARS, MAX_BPM, MAX_NOTES_AT_ONCE, MAX_SEED, MIN_BPM
from musiclstm.midi import DRUMS, Key, instrument_name

ENDLESS_BARS = 512  # at 120 bpm a quarter of an hour
GENTLE_SURPRISE = 0.5  # above it the deviations are bold

AS_PROMPT, FREE = "as the prompt", "free"
OLD_AS_PROMPT = "as the seed"  # sent by API clients that were written for version 0.2
KEYS = (
    AS_PROMPT,
    FREE,
    *(str(Key(tonic, "major")) for tonic in range(12)),
    *(str(Key(tonic, "minor")) for tonic in range(12)),
)
METERS = (
    *(AS_PROMPT, FREE, "4/4", "3/4", "2/4", "5/4", "6/4"),
    *("3/8", "5/8", "6/8", "7/8", "9/8", "12/8"),
)
_INTEGER_BOUNDS: dict[str, tuple[float, float]] = {
    "bars": (1, 64),
    "random_seed": (0, MAX_SEED),
    "top_k": (0, 500),
    "lowest": (0, 127),
    "highest": (0, 127),
    "most_at_once": (1, MAX_NOTES_AT_ONCE),
    "fewest_notes": (0, 64),
    "most_notes": (1, 256),
}
_FLOAT_BOUNDS: dict[str, tuple[float, float]] = {
    "adventurous": (0, 1.5),
    "lively": (-1, 1),
    "surprise": (0, 1),
    "copy_weight": (0, 2),
    "similarity": (0, 2),
    "top_p": (0.05, 1),
    "min_p": (0, 1),
    "pitch_temperature": (0, 2),
    "rhythm_temperature": (0, 2),
    "tempo_bpm": (MIN_BPM, MAX_BPM),
    "reverb": (0, 1),
    "chorus": (0, 1),
    "gain_db": (-20, 20),
}
BOUNDS = _INTEGER_BOUNDS | _FLOAT_BOUNDS  # minimum and maximum of every number


class SettingsError(MusicLSTMError, ValueError):
    """A control has an invalid value, or two controls contradict each other."""


@dataclass(frozen=True)
class PageSettings:
    """Values of all controls.

    Args:
        bars: New bars, 1 to 64.
        endless: Compose until the user stops it; ignores `bars` and `ending`.
        key: One of `KEYS`. "as the prompt" means "free" if there is no prompt.
        meter: One of `METERS`.
        adventurous: Sampling temperature, 0 to 1.5.
        lively: Notes per bar. 0: as the network chooses; below, down to -1: at most, above, up to
            1: at least a multiple of those of the music before. `fewest_notes` and `most_notes`
            replace it.
        surprise: 0: no deviations; up to 0.5: a gentle one now and then; above: often and bold.
        copy_weight: As in `Sampling`, 0 to 2.
        similarity: As in `Sampling`, 0 to 2.
        instruments: Programs that may play, -1 for drums. None: those of the prompt, or any.
        random_seed: 0 to 4294967295. None: a new one.
        top_p: As in `Sampling`, from 0.05.
        top_k: As in `Sampling`, to 500.
        min_p: As in `Sampling`.
        pitch_temperature: As in `Sampling`, 0 to 2. None: `adventurous`.
        rhythm_temperature: As in `Sampling`, 0 to 2. None: `adventurous`.
        lowest: Lowest MIDI pitch, 0 to 127. Does not apply to drums.
        highest: Highest MIDI pitch, 0 to 127. Does not apply to drums.
        most_at_once: Maximum number of simultaneous notes, 1 to 32. None: no limit.
        fewest_notes: Minimum number of notes per bar, 0 to 64.
        most_notes: Maximum number of notes per bar, 1 to 256. None: no limit.
        ending: Whether the last bars lead to a close.
        tempo_bpm: Quarter notes per minute, 20 to 300. None: that of the prompt.
        soundfont: A name listed by `installed_soundfonts()`, never a path. None: the best one.
        reverb: 0 to 1.
        chorus: 0 to 1.
        gain_db: -20 to 20.
        swaps: Index of a track -> the program that sounds in its place, 0 to 127; stored as
            sorted pairs.

    Raises:
        SettingsError: A value is invalid, or two contradict each other.
    """

    bars: int = DEFAULT_BARS
    endless: bool = False
    key: str = FREE
    meter: str = AS_PROMPT
    adventurous: float = Sampling.temperature
    lively: float = 0.0
    surprise: float = 0.0
    copy_weight: float = Sampling.copy_weight
    similarity: float = Sampling.similarity
    instruments: tuple[int, ...] | None = None
    random_seed: int | None = None
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
        for name in BOUNDS:
            value = getattr(self, name)
            if value is not None or getattr(PageSettings, name) is not None:
                self._set(name, _number(name, value))
        for name in ("endless", "ending"):
            if not isinstance(value := getattr(self, name), bool):
                _reject(name, "true or false", value)
        for name, choices in (("key", KEYS), ("meter", METERS)):
            if getattr(self, name) == OLD_AS_PROMPT:
                self._set(name, AS_PROMPT)
            _check_choice(name, getattr(self, name), choices)
        if self.soundfont is not None:
            _check_choice("soundfont", self.soundfont, tuple(installed_soundfonts()))
        if self.instruments is not None:
            self._set("instruments", _programs("instruments", self.instruments))
        self._set("swaps", _swaps("swaps", self.swaps))
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
        """Number of bars that the composer is asked for."""
        return ENDLESS_BARS if self.endless else self.bars

    def __str__(self) -> str:
        """What differs from the defaults, such as `D minor, more surprising`; empty: nothing."""
        words = [each for each in (self.key, self.meter) if each not in (FREE, AS_PROMPT)]
        words += self._of_sliders()
        if self.surprise:
            words.append("bold surprises" if self.surprise > GENTLE_SURPRISE else "surprises")
        if self.instruments is not None:
            words.append(" and ".join(instrument_name(each) for each in self.instruments))
        if self.tempo_bpm is not None:
            words.append(f"{self.tempo_bpm:g} bpm")
        if self.ending and not self.endless:
            words.append("with an ending")
        return ", ".join(words)

    def _of_sliders(self) -> Iterator[str]:
        for name, less, more in (
            ("similarity", "roaming", "closer"),
            ("lively", "calmer", "livelier"),
            ("adventurous", "more familiar", "more surprising"),
        ):
            value, usual = getattr(self, name), getattr(PageSettings, name)
            if value != usual:
                yield more if value > usual else less


def from_values(values: Mapping[str, Any]) -> PageSettings:
    """Build settings from untrusted values.

    Args:
        values: Field -> value as Gradio sends it: integers may come as 8.0. None, "", and empty
            lists mean the default.

    Raises:
        SettingsError: As in `PageSettings`, or a field does not exist.
    """
    unknown = sorted(set(values) - {each.name for each in fields(PageSettings)}, key=str)
    if unknown:
        raise SettingsError(f"There is no setting {shorten(unknown[0])}; leave it out.")
    return PageSettings(**{name: value for name, value in values.items() if not _is_empty(value)})


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | list | tuple | dict) and not value)


def values_of(settings: PageSettings) -> dict[str, Any]:
    """Return the settings as JSON values by field; the inverse of `from_values`."""
    values = {each.name: getattr(settings, each.name) for each in fields(settings)}
    values["instruments"] = list(settings.instruments or ())
    values["swaps"] = {str(old): new for old, new in dict(settings.swaps).items()}
    return values


# ------------------------------------------------------------------------------------- validation


def _number(name: str, value: Any) -> int | float:
    minimum, maximum = BOUNDS[name]
    is_integer = name in _INTEGER_BOUNDS
    kind = "a whole number" if is_integer else "a number"
    expected = f"{kind} from {minimum:g} to {maximum:.10g}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        _reject(name, expected, value)
    if not minimum <= value <= maximum or (is_integer and value != int(value)):
        _reject(name, expected, value)  # also nan, which compares as false
    return int(value) if is_integer else float(value)


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        _reject(name, "one of " + ", ".join(choices) if choices else "left out", value)


def _programs(name: str, value: Any) -> tuple[int, ...]:
    expected = "a list of programs from -1 (drums) to 127, one at least"
    if not isinstance(value, tuple | list | set | frozenset) or not value:
        _reject(name, expected, value)
    return tuple(sorted({_program(name, expected, each, minimum=DRUMS) for each in value}))


def _swaps(name: str, value: Any) -> tuple[tuple[int, int], ...]:
    """Accept a mapping, also one from JSON, or pairs."""
    expected = "indices of tracks, each with the program from 0 to 127 that sounds in its place"
    pairs = value.items() if isinstance(value, Mapping) else value
    if not isinstance(pairs, Iterable) or isinstance(pairs, str | bytes):
        _reject(name, expected, value)
    found: dict[int, int] = {}
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            _reject(name, expected, value)
        track = _from_digits(pair[0])
        if isinstance(track, bool) or not isinstance(track, int) or track < 0:
            _reject(name, expected, value)
        found[track] = _program(name, expected, _from_digits(pair[1]), minimum=0)
    return tuple(sorted(found.items()))


def _program(name: str, expected: str, value: Any, *, minimum: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= 127:
        _reject(name, expected, value)
    return value


def _from_digits(value: Any) -> Any:
    """Convert a text of up to three digits, because keys of JSON objects are texts."""
    is_number = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 4
    return int(value) if is_number else value


def _reject(name: str, expected: str, value: Any) -> NoReturn:
    raise SettingsError(f"{name.replace('_', ' ')} must be {expected}, got {shorten(value)}.")
