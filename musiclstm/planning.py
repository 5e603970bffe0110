"""Which rules hold in which bar of a take: wishes, turns of surprise, and how it closes.

Joins `Constraints`, `Surprise` and an ending into one grammar and one sampling for every bar. Knows
bars and keys; neither the network, nor scores, nor how a rule is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from musiclstm.constraints import Constraints, Scale
from musiclstm.grammar import Grammar, Shape
from musiclstm.sampling import Sampling
from musiclstm.surprise import Surprise
from musiclstm.tokenization import MusicTokenizer

Bars: TypeAlias = Sequence[tuple[int, ...]]

_PLAIN = Shape()
_MOST_GRAMMARS = 64
_SOFTER = (0.15, 0.3)  # in the last bar but one, in the last: a fade, not a silence
_FIFTH = 7


@dataclass(frozen=True)
class Wishes:
    """What one take was asked for.

    Attributes:
        constraints: In programs the network knows, and with the key named.
        sampling: With its seed.
        surprise: When the music takes a turn.
        end: Number of the bar after the last one, where the take has an ending; else None.
        key: Where a turn turns away from and an ending leads to, given the bars so far; None where
            nothing speaks for a key.
    """

    constraints: Constraints
    sampling: Sampling
    surprise: Surprise
    end: int | None
    key: Callable[[Bars], Scale | None]


class Planner:
    """Makes plans for takes, and keeps the grammars they need: many takes share one."""

    def __init__(self, tokenizer: MusicTokenizer) -> None:
        self._tokenizer = tokenizer
        self._grammars: dict[tuple[Constraints, Shape], Grammar] = {}

    def plan(self, wishes: Wishes) -> Callable[[int, Bars], tuple[Grammar, Sampling]]:
        """Grammar and sampling for the bar of a number, given the bars before it.

        Raises:
            ValueError: The wishes cannot be met together; nothing is composed yet.
        """
        self._grammar(wishes.constraints, _PLAIN)
        if wishes.end is not None:
            for shape in _closing(wishes.key(())):
                self._grammar(wishes.constraints, shape)

        def rules_of(bar: int, before: Bars) -> tuple[Grammar, Sampling]:
            shape, sampling = _rules(wishes, bar, before)
            return self._grammar(wishes.constraints, shape), sampling

        return rules_of

    def _grammar(self, constraints: Constraints, shape: Shape) -> Grammar:
        asked = constraints, shape
        found = self._grammars.get(asked)
        if found is None:
            found = Grammar(self._tokenizer, constraints, shape)
            if len(self._grammars) >= _MOST_GRAMMARS:  # another thread may do so at any time
                self._grammars.clear()
            self._grammars[asked] = found
        return found


def _rules(wishes: Wishes, bar: int, before: Bars) -> tuple[Shape, Sampling]:
    left = None if wishes.end is None else wishes.end - bar
    if left in (1, 2):
        return _closing(wishes.key(before))[-left], wishes.sampling
    assert wishes.sampling.seed is not None
    turn = wishes.surprise.turn_at(bar, wishes.sampling.seed)
    if turn is None:
        return _PLAIN, wishes.sampling
    shape = _PLAIN
    if turn.kind == "off_beat":
        shape = Shape(off_beat=True)
    elif turn.kind == "off_mode" and (key := wishes.key(before)):
        shape = Shape(off_mode=key.pitch_classes)
    return shape, wishes.sampling.hotter(turn.amount)


def _closing(key: Scale | None) -> tuple[Shape, Shape]:
    """The last two bars: nothing rings on, it grows softer, and the tonic chord is struck once."""
    first, last = (Shape(closed=True, softer=softer) for softer in _SOFTER)
    chord = None if key is None else tonic_chord(key)
    return first, replace(last, chord=chord, downbeat_only=True)


def tonic_chord(key: Scale) -> frozenset[int]:
    """Tonic, third and fifth, each 0 (C) to 11 (B), as far as the scale has them."""
    third = next((step for step in (4, 3) if _has(key, step)), 0)
    fifth = _FIFTH if _has(key, _FIFTH) else 0
    return frozenset((key.tonic + step) % 12 for step in (0, third, fifth))


def _has(key: Scale, step: int) -> bool:
    return (key.tonic + step) % 12 in key.pitch_classes
