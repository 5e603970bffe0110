"""Probabilities of sampling in C (sampling.c); reference/sampling.py explains the settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from musiclstm.core.library import Library, check, load_library
from musiclstm.core.token_table import compiled_table
from musiclstm.model.step_features import TokenKind, TokenTable

MAX_REPETITION_BARS = 64
_FLOATS = (
    *("temperature", "pitch_temperature", "rhythm_temperature", "top_p", "min_p"),
    *("epsilon_cutoff", "log_penalty", "copy_weight"),
)
SAMPLING = np.dtype(
    [
        *((name, np.float32) for name in _FLOATS),
        *((name, np.int32) for name in ("top_k", "repetition_bars")),
        ("seed", np.uint32),
    ]
)
"""`SamplingSettings` of core.h."""


def sampling_probabilities(
    settings: np.ndarray, table: TokenTable, logits: np.ndarray, *, library: Library | None = None
) -> np.ndarray:
    """Return the probability with which each token is sampled, (vocab,) float32.

    Args:
        settings: One `SAMPLING`.
        table: Kinds of the tokens.
        logits: (vocab,), -inf where not permitted.
        library: None: that of `load_library`.

    Raises:
        CoreMissingError: The core cannot be run here.
        ValueError: No token is permitted, or the highest logit is not finite.
    """
    if logits.shape != (len(table),):
        raise ValueError(f"logits must have shape ({len(table)},), got {logits.shape}.")
    core = library or load_library()
    scores = core.visible(np.ascontiguousarray(logits, np.float32))
    arrays = (
        core.visible(np.array(settings)),
        scores,
        core.visible(scores > -np.inf),
        core.zeros(len(table), np.float32),
    )
    of_settings, *others = map(core.address, arrays)
    address = compiled_table(core, table).address
    check(core.call("sampling_probabilities", of_settings, address, *others))
    return arrays[-1]


def repetition_penalties(
    table: TokenTable, bars: Sequence[Sequence[int]], bar: Sequence[int], log_penalty: float
) -> dict[int, float]:
    """Return what is subtracted from the logits of tokens that continue a copy of earlier bars.

    The token that continues a copy of n bars gets n (n - 1) / 2 times the penalty: a bar may be
    repeated once, and each further copy is less probable.

    Args:
        table: Kinds and values of the tokens.
        bars: Earlier bars.
        bar: The beginning of the new bar.
        log_penalty: Natural logarithm of the repetition penalty.
    """
    counts = Counter(copied_tokens(table, bars, bar))
    return {token: log_penalty * n * (n - 1) / 2 for token, n in counts.items()}


def copied_tokens(
    table: TokenTable, bars: Sequence[Sequence[int]], bar: Sequence[int]
) -> list[int]:
    """Return the token that continues each earlier bar of which a bar so far is a copy.

    A bar is a copy if its tokens equal the first ones of the earlier bar, with pitches shifted by
    one interval, and include a note. Arguments as in `repetition_penalties`.
    """
    notes = [token for token in bar if table.kind[token] in (TokenKind.PITCH, TokenKind.DRUM)]
    found = []
    for earlier in bars if notes else ():
        if len(earlier) <= len(bar):
            continue
        pairs = list(zip(bar, earlier, strict=False))
        intervals = [_interval(table, *pair) for pair in pairs]
        interval = next((each for each in intervals if each is not None), 0)
        moved = [_moved(table, token, interval) for token in earlier[: len(bar) + 1]]
        if moved[:-1] == list(bar) and moved[-1] is not None:
            found.append(moved[-1])
    return found


def _interval(table: TokenTable, token: int, earlier: int) -> int | None:
    both = {table.kind[token], table.kind[earlier]}
    return table.value[token] - table.value[earlier] if both == {TokenKind.PITCH} else None


def _moved(table: TokenTable, token: int, interval: int) -> int | None:
    if table.kind[token] != TokenKind.PITCH:
        return token
    pitch = table.pitch(table.value[token] + interval, drums=False)
    return pitch if pitch >= 0 else None
