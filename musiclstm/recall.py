"""Recall for single steps: what `modeling.Recall` does, one token a row and step, without torch.

There, all places of a whole sequence are compared with each other; here every row keeps, for each
of its last tokens, how many tokens up to it agree with the latest ones, and a new token needs one
look at each. Does not know what a token is, nor which is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from musiclstm import kernel
from musiclstm.configuration import MusicLSTMConfig
from musiclstm.modeling import Recall
from musiclstm.sampling import Votes

_LONGEST = Recall.longest


class SteppedRecall:
    """What some rows have heard, and what it makes them expect.

    Tokens are written into a table twice as wide as the window; when it is full, the last window
    moves to its beginning.
    """

    def __init__(self, config: MusicLSTMConfig, heard: np.ndarray) -> None:
        """Take the last tokens of every row, (rows, window), -1 where there was none yet."""
        rows, self._window = heard.shape
        self._distance = config.recall_distance
        self._tokens = np.empty((rows, 2 * self._window), heard.dtype)
        # How many tokens up to each agree with the latest; 0: it is another one.
        self._agree: np.ndarray = np.zeros((rows, 2 * self._window), np.uint8)
        self._end = self._window
        for row, tokens in enumerate(heard):
            self.restore(tokens, row)
        lengths = np.arange(1, _LONGEST + 1)
        self._weights = np.append(0.0, lengths**config.recall_power)
        odds = np.exp(config.recall_bias) * lengths**config.recall_slope
        self._odds = np.append(0.0, odds)
        library = kernel.load() if heard.dtype == np.int16 else None
        arrays = self._tokens, self._agree, self._weights, self._odds
        self._compiled = None if library is None else _Compiled(library, config.vocab_size, arrays)

    def heard(self, row: int) -> np.ndarray:
        """A copy of the last tokens of a row, (window,)."""
        return self._tokens[row, self._end - self._window : self._end].copy()

    def restore(self, heard: np.ndarray, row: int) -> None:
        """Let a row have heard something else, (window,)."""
        places = slice(self._end - self._window, self._end)
        self._tokens[row, places] = heard
        self._agree[row, places] = _agreements(heard)

    def read(self, ids: Sequence[int] | np.ndarray) -> None:
        """Hear one more token in every row."""
        if self._end == self._tokens.shape[1]:
            self._move_back()
        hear = self._hear if self._compiled is None else self._compiled.hear
        for row, token in enumerate(ids):
            hear(row, self._first + 1, self._end, token)
            self._tokens[row, self._end] = token
        self._end += 1

    @property
    def _first(self) -> int:
        """The farthest place that can have a vote."""
        return self._end - 1 - self._window + _LONGEST

    def _hear(self, row: int, first: int, last: int, token: int) -> None:
        """As `_Compiled.hear`."""
        longer = np.minimum(self._agree[row, first - 1 : last - 1], _LONGEST - 1)
        longer += 1
        longer *= self._tokens[row, first:last] == token
        self._agree[row, first:last] = longer

    def _move_back(self) -> None:
        for table in (self._tokens, self._agree):
            table[:, : self._window] = table[:, self._window :]
        self._end = self._window

    def places(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Of every earlier place like this one how many tokens agree, and which followed; (n,)."""
        first = self._first
        lengths = self._agree[row, first : self._end - self._distance]
        following = self._tokens[row, first + 1 : self._end - self._distance + 1]
        places = ((lengths > 0) & (following >= 0)).nonzero()[0]
        return lengths[places], following[places]

    def votes(self, row: int) -> Votes | None:
        """What earlier places say comes next in a row; None: there is none."""
        if self._compiled is not None:
            places = self._end - self._distance - self._first
            return self._compiled.votes(row, self._first, places)
        agree, following = self.places(row)
        if not len(agree):
            return None
        weights = self._weights[agree]
        found = np.bincount(following, weights)
        tokens = found.nonzero()[0]
        return Votes(tokens, found[tokens] * (self._odds.item(agree.max()) / weights.sum()))


class _Compiled:
    """The same by kernel.c, which knows where the tables lie."""

    def __init__(
        self, library: kernel.Library, vocab_size: int, arrays: tuple[np.ndarray, ...]
    ) -> None:
        self._hear, self._count_votes = library.hear, library.count_votes
        self._kept = arrays  # the library holds only addresses
        self._tokens, self._agree, *self._numbers = (each.ctypes.data for each in arrays)
        self._columns = arrays[0].shape[1]
        self._ballot = np.zeros(vocab_size)
        self._voted, self._gained = np.empty(vocab_size, np.int64), np.empty(vocab_size)
        lent = (self._ballot, self._voted, self._gained)
        self._numbers += [each.ctypes.data for each in lent]

    def hear(self, row: int, first: int, last: int, token: int) -> None:
        """Note where the latest token stood before, from `first` to before `last`."""
        at = row * self._columns
        self._hear(self._tokens + 2 * at, self._agree + at, first, last, token, _LONGEST)

    def votes(self, row: int, first: int, places: int) -> Votes | None:
        """Of so many places from `first` on."""
        at = row * self._columns + first
        found = self._count_votes(self._tokens + 2 * at, self._agree + at, places, *self._numbers)
        return Votes(self._voted[:found].copy(), self._gained[:found].copy()) if found else None


def _agreements(tokens: np.ndarray) -> np.ndarray:
    """How many tokens up to each agree with the last ones, 32 at most; 0 for the last itself."""
    agree: np.ndarray = np.zeros(len(tokens), np.uint8)
    going_on = np.arange(_LONGEST - 1, len(agree) - 1)
    for back in range(_LONGEST):
        now = tokens[-1 - back]
        going_on = going_on[(tokens[going_on - back] == now) & (now >= 0)]
        agree[going_on] += 1
    return agree
