"""At which bars the music takes an unexpected turn, and which.

Knows bars and numbers only: what an off-beat is, the grammar says; what a higher temperature does,
the sampling. After a turn nothing is put right: the network hears what it played and finds its own
way back.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal, NamedTuple

Kind = Literal["entropy", "off_beat", "off_mode"]

FORCED: tuple[Kind, ...] = ("off_beat", "off_mode")
FORCES_FROM = 0.5  # a per-bar value from here on also forces a turn


@dataclass(frozen=True)
class Turn:
    """What is unexpected about one bar.

    Attributes:
        kind: `entropy`: nothing is forced, less likely notes only come more easily. `off_beat`: the
            first note of the bar is struck off the beat. `off_mode`: its first pitched note lies
            outside the key.
        amount: How much more easily less likely notes come throughout the bar, above 0 to 1, for
            `Sampling.hotter`; whatever the kind.
    """

    kind: Kind
    amount: float


class _Manner(NamedTuple):
    """How a named schedule surprises."""

    luck: float  # below this a draw asks for a turn
    amounts: tuple[float, float]
    kinds: tuple[Kind, ...]  # one is drawn; the first is named twice to come twice as often


# A turn comes where a bar's draw is below `luck` and below those of both its neighbours: in
# (1 - (1 - luck)**3) / 3 of all bars, so in a sixth and in a third.
_MANNERS = {
    "gentle": _Manner(1 - 0.5 ** (1 / 3), (0.1, 0.3), ("entropy", "entropy", "off_beat")),
    "bold": _Manner(1.0, (0.4, 0.8), ("entropy", "off_beat", "off_mode")),
}
_OFF = "off"


@dataclass(frozen=True)
class Surprise:
    """A schedule of turns; the same seed gives the same turns at the same bars.

    Args:
        schedule: `off`: none. `gentle`: now and then (every sixth bar or so) a little more freedom,
            sometimes a first note off the beat. `bold`: every third bar or so much more freedom,
            and as often as not a first note off the beat or outside the key. Neither turns in the
            first bar, where what was heard has to go on, nor in two bars in a row. Or an amount
            for each new bar, 0 to 1: 0 is none, less than 0.5 only gives more freedom, and more
            also forces one of the two turns. Bars beyond the list have none.

    Raises:
        ValueError: Another name, or an amount out of range.
    """

    schedule: str | Sequence[float] = _OFF

    def __post_init__(self) -> None:
        """Refuse what is no schedule; keep a list as a tuple."""
        if isinstance(self.schedule, str):
            if self.schedule not in (_OFF, *_MANNERS):
                raise ValueError(_refusal(repr(self.schedule)))
            return
        if not hasattr(self.schedule, "__iter__"):
            raise ValueError(_refusal(repr(self.schedule)))
        amounts = tuple(self.schedule)
        for amount in amounts:
            if not (isinstance(amount, Real) and 0 <= amount <= 1):
                raise ValueError(_refusal(f"an amount of {amount}"))
        object.__setattr__(self, "schedule", tuple(float(amount) for amount in amounts))

    def turn_at(self, bar: int, seed: int) -> Turn | None:
        """The turn of one bar, None for none; the same however many bars are asked for.

        Args:
            bar: Which of the new bars, from 0.
            seed: Start of the random numbers.
        """
        if isinstance(self.schedule, str):
            manner = _MANNERS.get(self.schedule)
            return None if manner is None else _turn_by_chance(manner, bar, seed)
        amount = self.schedule[bar] if 0 <= bar < len(self.schedule) else 0.0
        if amount == 0:
            return None
        kind = _one_of(FORCED, _chance(seed, bar)) if amount >= FORCES_FROM else "entropy"
        return Turn(kind, amount)


def _turn_by_chance(manner: _Manner, bar: int, seed: int) -> Turn | None:
    """A turn where the bar's draw is lowest of three; so the next bar's cannot be.

    Whether the bar before did turn need not be known, which would lead back to the first one.
    """
    if bar < 1:
        return None
    chance = _chance(seed, bar)
    draw = chance.random()
    if draw >= manner.luck:
        return None
    if any(_chance(seed, other).random() <= draw for other in (bar - 1, bar + 1)):
        return None
    low, high = manner.amounts
    return Turn(_one_of(manner.kinds, chance), low + (high - low) * chance.random())


def _chance(seed: int, bar: int) -> random.Random:
    return random.Random(f"{seed}/surprise/{bar}")


def _one_of(kinds: tuple[Kind, ...], chance: random.Random) -> Kind:
    # By hand: Python promises the numbers of `random()`, not what `choice()` makes of them.
    return kinds[int(chance.random() * len(kinds))]


def _refusal(got: str) -> str:
    return (
        f'schedule must be "off", "gentle", "bold" or an amount from 0 to 1 for each bar, got {got}'
        "; pass a list such as [0, 0.3, 0, 0.7]."
    )
