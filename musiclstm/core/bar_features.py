"""Features of a bar in its context, and the score by which one of several candidates is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from musiclstm.core.library import Library, check, load_library
from musiclstm.core.token_table import compiled_table
from musiclstm.model.step_features import TokenTable

BAR_FEATURES: Final = (
    *("pitch_classes", "pitches", "durations", "onset_intervals", "notes_per_bar", "positions"),
    *("density", "bar_pitch_classes", "bar_pitches", "bar_density", "bar_positions"),
    *("part_density", "part_activity", "silent_parts", "outside_range", "repeat_1", "repeat_2"),
    *("repeat_4", "repeat_8", "repeat", "repeat_new", "top_line", "top_step", "clashes"),
    *("phrase_end_note", "longest_note", "log_prob"),
)
"""Names of the features, in the order of core.h; reference/bar_features.py defines them."""

FEATURE_BINS: Final = 8
BAR_SCORE: Final = np.dtype(
    [
        ("weights", np.float32, len(BAR_FEATURES)),
        ("edges", np.float32, (len(BAR_FEATURES), FEATURE_BINS - 1)),
        ("log_odds", np.float32, (len(BAR_FEATURES), FEATURE_BINS)),
    ]
)
"""`BarScoreModel` of core.h."""


class BarContext:
    """A prompt and the bars after it, with which candidates for the next bar are compared."""

    def __init__(
        self,
        table: TokenTable,
        prompt: Sequence[int],
        bars: Sequence[Sequence[int]] = (),
        *,
        library: Library | None = None,
    ) -> None:
        """Read a prompt.

        Args:
            table: Kinds of the tokens.
            prompt: Its token ids. Its last 8 bars count, and for repetitions its last 32.
            bars: Token ids of the new bars so far. The last 32 count.
            library: None: that of `load_library`.

        Raises:
            CoreMissingError: The core cannot be run here.
            IndexError: A token outside the vocabulary.
        """
        self._library = library or load_library()
        self._table = compiled_table(self._library, table).address
        self._memory = self._library.zeros(self._library.call("bar_context_bytes"), np.uint8)
        self._call("begin", prompt)
        for bar in bars:
            self.add(bar)

    def add(self, bar: Sequence[int]) -> None:
        """Add the token ids of a new bar.

        Raises:
            IndexError: A token outside the vocabulary.
        """
        self._call("add", bar)

    def features(self, bar: Sequence[int], log_probs: Sequence[float]) -> np.ndarray:
        """Return `BAR_FEATURES` of a bar that could be added, (features,) float32; nan: undefined.

        Args:
            bar: Its token ids.
            log_probs: Natural logarithm of the probability of each of them.

        Raises:
            IndexError: A token outside the vocabulary.
            ValueError: Not one log-probability for each token.
        """
        if len(log_probs) != len(bar):
            raise ValueError(
                f"log_probs must have one number for each of {len(bar)} tokens, got "
                f"{len(log_probs)}."
            )
        library = self._library
        given = library.visible(np.ascontiguousarray(log_probs, np.float32))
        found = library.zeros(len(BAR_FEATURES), np.float32)
        self._call("features", bar, library.address(given), library.address(found))
        return found

    def score(self, model: np.ndarray, features: np.ndarray) -> float:
        """Return the score of a bar.

        Args:
            model: `BAR_SCORE`.
            features: Those of the bar, from `features`.
        """
        library = self._library
        given = library.visible(np.array(model)), library.visible(features)
        return float(library.call("bar_score", *map(library.address, given)))

    def _call(self, name: str, ids: Sequence[int], *arrays: int) -> None:
        library = self._library
        tokens = library.visible(np.ascontiguousarray(ids, np.int32))
        addresses = library.address(self._memory), self._table, library.address(tokens)
        check(library.call(f"bar_context_{name}", *addresses, len(tokens), *arrays))
