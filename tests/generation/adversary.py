"""Extreme logits, and greedy decoding under a grammar with them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from musiclstm.core.grammar import CompiledGrammar
from tests.generation.referee import IDS, NAMES

BAR, EOS = IDS["Bar_None"], IDS["EOS_None"]
_KIND = np.array([name.split("_")[0] for name in NAMES])
_NUMBER = np.array([int(name.split("_")[1]) if name[:3] in "Pit Pro Pos" else 0 for name in NAMES])


def _quarters(name: str) -> float:
    beats, parts, resolution = map(int, name.split("_")[1].split("."))
    return beats + parts / resolution


_LENGTH = np.array([_quarters(name) if "Duration" in name else 0 for name in NAMES])


def _is(*kinds: str) -> np.ndarray:
    return np.isin(_KIND, kinds)


BIASES = {
    "chance": 0.0 * _NUMBER,
    "notes": 8.0 * _is("Pitch", "PitchDrum"),
    "long and late": np.where(_is("Position"), 3 * _NUMBER, 12 * _LENGTH),
    "long and early": np.where(_is("Position"), -_NUMBER, 24 * _LENGTH),
    "crowded": 30.0 * _is("Pitch", "PitchDrum", "Duration") + 12 * _LENGTH,
    "high": np.where(_is("Pitch"), 30 + _NUMBER, 20 * _is("PitchDrum")),
    "parts": 20.0 * _is("Program"),
    "empty blocks": np.where(_is("Program"), np.where((_NUMBER >= 0) & (_NUMBER <= 40), 20, 15), 0),
    "bar ends": 30.0 * _is("Bar", "EOS"),
    "meters": 30.0 * _is("Bar") + 30.0 * _is("TimeSig") * np.arange(len(NAMES)),
}
_HURRY = 1e4 * _is("Bar")


def _hurry(bar: Sequence[int]) -> np.ndarray:
    """Return logits that end the bar: no new parts except those that must play."""
    if _KIND[bar[-1]] == "Program":
        return _HURRY + 1e3 * _is("Position")
    playing: dict[int, bool] = {}
    for token, after in pairwise(bar):
        if _KIND[token] == "Program":
            playing[token] = _KIND[after] == "Position"
    logits = _HURRY.copy()
    logits[[token for token, plays in playing.items() if not plays]] = 1e3
    return logits


def play(
    state: CompiledGrammar, plan: Sequence[np.ndarray], bias: str, seed: int, most: int = 100
) -> list[list[int]]:
    """Take the most probable permitted token again and again, one bar by each rules.

    A bar of more than `most` tokens ends as soon as it may.
    """
    bars = []
    for number, rules in enumerate(plan):
        rng = np.random.default_rng([seed, number])
        state.open_bar(rules)
        bar: list[int] = []
        while True:
            logits = BIASES[bias] + 3 * rng.standard_normal(len(NAMES))
            logits += _hurry(bar) if len(bar) > most else 0
            permitted = state.permitted()
            assert permitted.any(), f"a dead end after {[NAMES[i] for i in bar[-5:]]}"
            token = int(np.where(permitted, logits, -np.inf).argmax())
            if bar and token in (BAR, EOS):
                break
            bar.append(token)
            state.advance(token)
            assert len(bar) < 30_000
        bars.append(bar)
    return bars
