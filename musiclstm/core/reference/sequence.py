"""A bar in numpy: how sequence.c combines features, network, grammar and sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from musiclstm.core.reference.grammar import GrammarState
from musiclstm.core.reference.network import ReferenceNetwork
from musiclstm.core.reference.sampling import draw, uniforms
from musiclstm.core.sampling import repetition_penalties
from musiclstm.model.step_features import FeatureArrays, StepFeatures, TokenTable


class ReferenceSequence:
    """A stream of tokens that a network reads."""

    def __init__(self, network: ReferenceNetwork, table: TokenTable) -> None:
        """Start an empty stream."""
        self.table = table
        self._network, self._features = network, StepFeatures(table)
        self._hidden, self._cell = np.zeros((2, network.layers, 1, network.size))

    def read(self, tokens: Sequence[int], copy_weight: float = 1.0) -> np.ndarray:
        """Read at least one token; return the logits of the next one, (vocab,)."""
        arrays = self._features.read(tokens)
        for step, token in enumerate(tokens):
            row = FeatureArrays(
                *(getattr(arrays, each.name)[step : step + 1] for each in fields(arrays))
            )
            outputs = self._network.read([token], self._hidden, self._cell, row)
        return self._network.score(outputs, row, np.array([copy_weight]))[0]


def write_bar(
    sequence: ReferenceSequence,
    grammar: GrammarState,
    rules: np.ndarray,
    sampling: np.ndarray,
    number: int,
    earlier: Sequence[Sequence[int]],
    *,
    kept: Sequence[int] = (),
    parts: np.ndarray | None = None,
) -> tuple[list[int], list[float]]:
    """Return token ids of a bar, and their log-probabilities.

    Args:
        sequence: The stream so far; it is advanced.
        grammar: Its state; it is advanced.
        rules: `BarRules` of core.h.
        sampling: `SamplingSettings` of core.h.
        number: Number of the bar, from 0; it selects the random numbers.
        earlier: New bars so far.
        kept: Tokens that follow the Bar token, see `Batch.append`.
        parts: Limits after them, see `CompiledGrammar.limit_parts`. None: there are none.
    """
    table, random = sequence.table, uniforms(int(sampling["seed"]), number)
    grammar.open_bar(rules)
    bar: list[int] = []
    log_probs: list[float] = []
    token, log_prob = table.bar, 0.0
    while not bar or token not in (table.bar, table.eos):
        bar.append(token)
        log_probs.append(log_prob)
        grammar.advance(token)
        logits = sequence.read([token], float(sampling["copy_weight"]))
        if len(bar) <= len(kept):
            token = kept[len(bar) - 1]
            log_prob = _log_prob(logits, token)
            continue
        if parts is not None and len(bar) == len(kept) + 1:
            grammar.limit_parts(parts)
        logits[~grammar.permitted()] = -np.inf
        changed = logits.copy()
        recent, log_penalty = earlier[-int(sampling["repetition_bars"]) :], sampling["log_penalty"]
        for copied, amount in repetition_penalties(table, recent, bar, float(log_penalty)).items():
            changed[copied] -= amount
        token = draw(sampling, table, changed, random)
        log_prob = _log_prob(logits, token)
    return bar, log_probs


def _log_prob(logits: np.ndarray, token: int) -> float:
    return float(logits[token] - np.log(np.exp(logits).sum()))
