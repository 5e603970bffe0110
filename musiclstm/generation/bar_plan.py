"""Grammar and sampling of each bar: constraints, deviations (`Surprise`) and endings."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from musiclstm.generation.constraints import BarShape, Constraints, Scale
from musiclstm.generation.decoding.bar_rules import bar_rules
from musiclstm.generation.decoding.sampling import Sampling

Bars: TypeAlias = Sequence[tuple[int, ...]]


class BarPlan(NamedTuple):
    """How one bar is written.

    Attributes:
        rules: `BarRules` of core.h.
        sampling: Sampling with a random seed.
        velocity_gain: Factor on the velocities of the bar, see `BarShape`.
    """

    rules: np.ndarray
    sampling: Sampling
    velocity_gain: float


Plan: TypeAlias = Callable[[int, Bars], BarPlan]
DeviationKind = Literal["entropy", "off_beat", "off_mode"]

FORCED: tuple[DeviationKind, ...] = ("off_beat", "off_mode")
FORCES_FROM = 0.5  # amounts from here on also force a deviation

_PLAIN = BarShape()
_FADE = (0.85, 0.7)  # velocity gains of the last two bars
_FIFTH = 7


# Deviations ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Deviation:
    """How one bar deviates from what the network expects.

    Attributes:
        kind: `entropy`: only the temperature is higher. `off_beat`: the bar's earliest onset is off
            the beat. `off_mode`: a note of its earliest pitched onset is outside the key.
        amount: Argument of `Sampling.with_higher_temperature`, above 0 to 1, for every kind.
    """

    kind: DeviationKind
    amount: float


class _Schedule(NamedTuple):
    """Parameters of a named schedule."""

    threshold: float  # a bar deviates only if its random number is lower
    amounts: tuple[float, float]  # lowest and highest
    kinds: tuple[DeviationKind, ...]  # drawn with equal probability; a kind may be listed twice


# A bar deviates if its random number is below `threshold` and below those of both its neighbours:
# in (1 - (1 - threshold)**3) / 3 of all bars, so in a sixth and in a third.
_SCHEDULES = {
    "gentle": _Schedule(1 - 0.5 ** (1 / 3), (0.1, 0.3), ("entropy", "entropy", "off_beat")),
    "bold": _Schedule(1.0, (0.4, 0.8), ("entropy", "off_beat", "off_mode")),
}
_OFF = "off"


@dataclass(frozen=True)
class Surprise:
    """A schedule of deviations; the same random seed gives the same deviations.

    Args:
        schedule: `off`: no deviations. `gentle`: about every sixth bar has a slightly higher
            temperature, sometimes with a first note off the beat. `bold`: about every third bar has
            a much higher temperature, and in two of three the first note is off the beat or
            outside the key. Both leave out the first bar and never choose two bars in a row. Or an
            amount from 0 to 1 for each new bar: below 0.5 only the temperature rises; from 0.5 on
            a first note off the beat or outside the key is forced too. Bars beyond the list have
            amount 0.

    Raises:
        ValueError: Another name, or an amount out of range.
    """

    schedule: str | Sequence[float] = _OFF

    def __post_init__(self) -> None:
        """Refuse other values, and convert a list to a tuple."""
        if isinstance(self.schedule, str):
            if self.schedule not in (_OFF, *_SCHEDULES):
                raise ValueError(_refusal(repr(self.schedule)))
            return
        if not hasattr(self.schedule, "__iter__"):
            raise ValueError(_refusal(repr(self.schedule)))
        amounts = tuple(self.schedule)
        for amount in amounts:
            if not (isinstance(amount, Real) and 0 <= amount <= 1):
                raise ValueError(_refusal(f"an amount of {amount}"))
        object.__setattr__(self, "schedule", tuple(float(amount) for amount in amounts))

    def deviation_at(self, bar: int, seed: int) -> Deviation | None:
        """Return the deviation of one bar; None: it does not deviate.

        Args:
            bar: Index of the new bar, from 0.
            seed: Random seed.
        """
        if isinstance(self.schedule, str):
            schedule = _SCHEDULES.get(self.schedule)
            return None if schedule is None else _drawn_deviation(schedule, bar, seed)
        amount = self.schedule[bar] if 0 <= bar < len(self.schedule) else 0.0
        if amount == 0:
            return None
        kind = _one_of(FORCED, _rng(seed, bar)) if amount >= FORCES_FROM else "entropy"
        return Deviation(kind, amount)


def _drawn_deviation(schedule: _Schedule, bar: int, seed: int) -> Deviation | None:
    """Return a deviation if the bar's random number is lower than those of both neighbours.

    This excludes two bars in a row without computing all bars from the first one on.
    """
    if bar < 1:
        return None
    rng = _rng(seed, bar)
    draw = rng.random()
    if draw >= schedule.threshold:
        return None
    if any(_rng(seed, other).random() <= draw for other in (bar - 1, bar + 1)):
        return None
    low, high = schedule.amounts
    return Deviation(_one_of(schedule.kinds, rng), low + (high - low) * rng.random())


def _rng(seed: int, bar: int) -> random.Random:
    return random.Random(f"{seed}/surprise/{bar}")


def _one_of(kinds: tuple[DeviationKind, ...], rng: random.Random) -> DeviationKind:
    # Python guarantees the numbers of `random()` across versions, not those of `choice()`.
    return kinds[int(rng.random() * len(kinds))]


def _refusal(got: str) -> str:
    return (
        f'schedule must be "off", "gentle", "bold" or an amount from 0 to 1 for each bar, got {got}'
        "; pass a list such as [0, 0.3, 0, 0.7]."
    )


# Plans --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GenerationRequest:
    """Settings of one sequence.

    Attributes:
        constraints: Constraints in trained programs, with a named key.
        sampling: Sampling with a random seed.
        surprise: In which bars the music deviates.
        end: Number of bars after which the ending is complete; None: no ending.
        key: Function of the bars so far: the key that `off_mode` leaves and endings close in. None:
            there is no key.
    """

    constraints: Constraints
    sampling: Sampling
    surprise: Surprise
    end: int | None
    key: Callable[[Bars], Scale | None]


def plan_bars(request: GenerationRequest) -> Plan:
    """Return a function of bar index and earlier bars that returns the plan of the bar.

    Raises:
        ValueError: The constraints contradict each other.
    """
    bar_rules(request.constraints, _PLAIN)
    if request.end is not None:
        for shape in _closing(request.key(())):
            bar_rules(request.constraints, shape)

    def plan(bar: int, before: Bars) -> BarPlan:
        shape, sampling = _shape_and_sampling(request, bar, before)
        return BarPlan(bar_rules(request.constraints, shape), sampling, shape.velocity_gain)

    return plan


def _shape_and_sampling(
    request: GenerationRequest, bar: int, before: Bars
) -> tuple[BarShape, Sampling]:
    left = None if request.end is None else request.end - bar
    if left in (1, 2):
        return _closing(request.key(before))[-left], request.sampling
    assert request.sampling.seed is not None
    deviation = request.surprise.deviation_at(bar, request.sampling.seed)
    if deviation is None:
        return _PLAIN, request.sampling
    shape = _PLAIN
    if deviation.kind == "off_beat":
        shape = BarShape(off_beat=True)
    elif deviation.kind == "off_mode" and (key := request.key(before)):
        shape = BarShape(off_mode=key.pitch_classes)
    return shape, request.sampling.with_higher_temperature(deviation.amount)


def _closing(key: Scale | None) -> tuple[BarShape, BarShape]:
    """Return the shapes of the last two bars: notes end at the bar line, then a tonic chord."""
    first, last = (BarShape(closed=True, velocity_gain=gain) for gain in _FADE)
    chord = None if key is None else tonic_chord(key)
    return first, replace(last, chord=chord, downbeat_only=True)


def tonic_chord(key: Scale) -> frozenset[int]:
    """Return pitch classes of the tonic, third and fifth, without those outside the scale."""
    third = next((step for step in (4, 3) if _has(key, step)), 0)
    fifth = _FIFTH if _has(key, _FIFTH) else 0
    return frozenset((key.tonic + step) % 12 for step in (0, third, fifth))


def _has(key: Scale, step: int) -> bool:
    return (key.tonic + step) % 12 in key.pitch_classes
