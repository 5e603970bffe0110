"""Grammar state of a sequence in C (grammar.c); reference/grammar.py explains the rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from musiclstm.core.library import Library, check, load_library
from musiclstm.core.token_table import compiled_table
from musiclstm.model.step_features import TokenTable

NO_LIMIT: Final = 1_000_000
"""The largest number in `BAR_RULES`."""

_NUMBERS = (
    *("max_at_once", "max_polyphony", "fewest", "most", "max_empty_bars", "allows_tempos"),
    *("has_ending", "closed", "downbeat_only", "off_beat", "needs_pitched", "mode", "keep_lines"),
)
BAR_RULES: Final = np.dtype(
    [
        *((name, np.int32) for name in _NUMBERS),
        ("meters", np.uint64),
        ("pitches", np.uint64, (129, 2)),
    ],
    align=True,
)
"""`BarRules` of core.h."""


class CompiledGrammar:
    """Grammar state of one sequence; for one thread at a time."""

    def __init__(
        self, table: TokenTable, rules: np.ndarray, *, library: Library | None = None
    ) -> None:
        """Start before the first bar, without a prompt.

        Args:
            table: The vocabulary.
            rules: One `BAR_RULES`.
            library: None: that of `load_library`.

        Raises:
            CoreMissingError: The core cannot be run here.
            ValueError: A number of the rules is out of range.
        """
        self._library = library or load_library()
        self._table = compiled_table(self._library, table)
        self._state = self._library.zeros(self._library.call("grammar_state_bytes"), np.uint8)
        self._permitted = self._library.zeros(self._table.size, np.bool_)
        self._call("grammar_begin", self._visible(rules))

    def read_prompt(self, prompt: Sequence[int]) -> None:
        """Read a prompt, any ids; new bars may have its tracks.

        Raises:
            IndexError: A token outside the vocabulary.
        """
        self._read("grammar_read_prompt", prompt)

    def open_bar(self, rules: np.ndarray | None = None) -> None:
        """Expect a Bar token; `rules` apply from there on, None: the previous ones."""
        self._call("grammar_open_bar", None if rules is None else self._visible(rules))

    def advance(self, *tokens: int) -> None:
        """Update after tokens, which must be permitted ones in generated bars.

        Raises:
            IndexError: A token outside the vocabulary.
        """
        self._read("grammar_advance", tokens)

    def limit_parts(self, parts: np.ndarray) -> None:
        """End the kept parts of the open bar; until its end only other parts may play.

        Args:
            parts: By program, drums last, (4, 129) uint8: how many of its first parts are kept, how
                many parts after them may play, which of these have to, a bit for each part of the
                program, and whether they are lines.

        Raises:
            ValueError: No open bar with a meter, too many parts, or half a note.
        """
        rows = visible_parts(self._library, parts)
        addresses = map(self._library.address, rows)
        check(
            self._library.call(
                "grammar_limit_parts", self._library.address(self._state), *addresses
            )
        )

    def permitted(self) -> np.ndarray:
        """Return which tokens may follow, (vocab,) bool."""
        self._call("grammar_permitted", self._permitted)
        return self._permitted.copy()

    def copy(self) -> CompiledGrammar:
        """Return an independent copy."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._state = self._library.zeros(len(self._state), np.uint8)
        other._state[:] = self._state
        other._permitted = self._library.zeros(self._table.size, np.bool_)
        return other

    def _visible(self, rules: np.ndarray) -> np.ndarray:
        if rules.dtype != BAR_RULES or rules.size != 1:
            raise ValueError(f"rules must be one BAR_RULES, got {rules.size} of {rules.dtype}.")
        return self._library.visible(np.ascontiguousarray(rules))

    def _read(self, name: str, tokens: Sequence[int]) -> None:
        self._call(name, self._library.visible(np.array(tokens, np.int32)), len(tokens))

    def _call(self, name: str, array: np.ndarray | None, *numbers: int) -> None:
        address = self._library.address
        arguments = (address(self._state), self._table.address, address(array), *numbers)
        check(self._library.call(name, *arguments) or 0)


def visible_parts(library: Library, parts: np.ndarray) -> np.ndarray:
    """Return `parts` of `CompiledGrammar.limit_parts` in memory of the core.

    Raises:
        ValueError: Another shape or type.
    """
    if parts.shape != (4, 129) or parts.dtype != np.uint8:
        raise ValueError(f"parts must be (4, 129) uint8, got {parts.shape} {parts.dtype}.")
    return library.visible(np.ascontiguousarray(parts))
