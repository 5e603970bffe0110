"""Sampling in numpy: what sampling.c and the repetition penalty of sequence.c compute."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from musiclstm.model.step_features import TokenKind, TokenTable

_LEAST_EXPONENT = -30.0
_PITCH_KINDS = (TokenKind.PROGRAM, TokenKind.PITCH, TokenKind.DRUM)
_RHYTHM_KINDS = (
    *(TokenKind.POSITION, TokenKind.DURATION, TokenKind.BAR),
    *(TokenKind.TIME_SIGNATURE, TokenKind.TEMPO),
)


def probabilities(settings: np.ndarray, table: TokenTable, logits: np.ndarray) -> np.ndarray:
    """Return the probability with which each token is sampled, (vocab,) float64.

    Args:
        settings: `SamplingSettings` of core.h.
        table: Kinds of the tokens.
        logits: (vocab,), -inf where not permitted.
    """
    return nucleus(weights_before_top_p(settings, table, logits), float(settings["top_p"]))


def draw(
    settings: np.ndarray, table: TokenTable, logits: np.ndarray, random: Iterator[float]
) -> int:
    """Return a token; arguments as in `probabilities`.

    It is drawn from all tokens, and again from the nucleus if it is outside of that. This gives the
    distribution of the nucleus, mostly without sorting.
    """
    weights, top_p = weights_before_top_p(settings, table, logits), float(settings["top_p"])
    token = _draw(weights, random)
    if top_p < 1 and weights[weights > weights[token]].sum() >= top_p * weights.sum():
        token = _draw(nucleus(weights, top_p), random)
    return token


def _draw(weights: np.ndarray, random: Iterator[float]) -> int:
    cumulative = np.cumsum(weights)
    return int(np.searchsorted(cumulative, next(random) * cumulative[-1], "right"))


def weights_before_top_p(settings: np.ndarray, table: TokenTable, logits: np.ndarray) -> np.ndarray:
    """Return probabilities up to a factor after all settings but `top_p`, (vocab,) float64."""
    weights = softmax(logits, float(settings["temperature"]))
    for kinds, name in ((_PITCH_KINDS, "pitch"), (_RHYTHM_KINDS, "rhythm")):
        own = float(settings[f"{name}_temperature"])
        members = np.isin(table.kind, kinds) & (logits > -np.inf)
        if own >= 0 and members.any():
            share = weights[members].sum()
            weights[members] = share * softmax(logits[members], own)
    weights /= weights.max()
    lowest = max(settings["epsilon_cutoff"] * weights.sum(), settings["min_p"])
    weights[weights < min(lowest, 1.0)] = 0
    if 0 < settings["top_k"] < len(weights):
        weights[weights < np.sort(weights)[-settings["top_k"]]] = 0
    return weights


def nucleus(weights: np.ndarray, top_p: float) -> np.ndarray:
    """Return probabilities of the most probable tokens that together reach `top_p`."""
    ordered = np.sort(weights)[::-1]
    last = np.searchsorted(np.cumsum(ordered), top_p * ordered.sum())
    threshold = ordered[min(last, len(ordered) - 1)] if top_p < 1 else 0
    kept = np.where(weights >= threshold, weights, 0)
    return np.asarray(kept / kept.sum())


def softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities; weights below e**-30 of the highest are 0. Temperature 0: the first."""
    best = logits.argmax()
    if temperature == 0:
        return (np.arange(len(logits)) == best).astype(np.float64)
    exponents = (logits.astype(np.float64) - logits[best]) / max(temperature, 1e-6)
    weights = np.where(exponents > _LEAST_EXPONENT, np.exp(exponents), 0)
    return np.asarray(weights / weights.sum())


def uniforms(seed: int, bar: int, candidate: int = 0) -> Iterator[float]:
    """Yield the random numbers of a bar, 0 to below 1: Philox 4x32-10 (Salmon et al., SC 2011)."""
    mask, draw = 2**32 - 1, 0
    while True:
        x, key = [draw, candidate, 0, 0], [seed, bar]
        for _ in range(10):
            first, second = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
            x = [
                second >> 32 ^ x[1] ^ key[0],
                second & mask,
                first >> 32 ^ x[3] ^ key[1],
                first & mask,
            ]
            key = [(key[0] + 0x9E3779B9) & mask, (key[1] + 0xBB67AE85) & mask]
        yield ((x[0] >> 5) * 2**26 + (x[1] >> 6)) / 2**53
        draw += 1
