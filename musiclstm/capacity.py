"""How many notes there is still room for in a bar, and how long a new one may last.

Knows positions and numbers: neither tokens nor what a note is. A bar is looked at together with
the one after it, as long again, so that what sounds on does not fill that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

NO_LIMIT = 1_000_000
_KEPT = ("least_room", "strikes", "strikes_from", "spare_from", "next_from")


class Outlook:
    """What a bar has room for, given what sounds on from before.

    Attributes:
        length: Positions of the bar.
        shortest_next: Positions that the next bar has at least.
        room: How many more notes may sound, at each position of this bar and the next;
            (2 x length + 1,), at the end a place for "nowhere", which has room without limit.
    """

    def __init__(
        self,
        length: int,
        ends: Sequence[int] = (),
        *,
        voices: int | None = None,
        together: int,
        most_in_token: int = 0,
        downbeat_only: bool = False,
        shortest_next: int | None = None,
    ) -> None:
        """Count what sounds.

        Args:
            length: Positions of the bar.
            ends: Where each note that sounds ends, counted from the bar line.
            voices: Most notes that may sound together; None: any number.
            together: Most notes that may be struck together.
            most_in_token: Most notes that one token can let sound.
            downbeat_only: Whether notes are struck on the first position of the bar only.
            shortest_next: Positions that the next bar has at least; None: as many as this one.
        """
        self.length = length
        self.shortest_next = length if shortest_next is None else shortest_next
        self._together = together
        self._most_in_token = most_in_token
        self._downbeat_only = downbeat_only
        self.room = np.full(2 * length + 1, NO_LIMIT if voices is None else voices)
        self.room[-1] = NO_LIMIT
        for end in ends:
            self.sound(0, end)

    def sound(self, start: int, end: int, notes: int = 1) -> None:
        """So many notes more sound from one position to another; fewer where negative."""
        self.room[start : max(start, min(end, 2 * self.length))] -= notes
        for name in _KEPT:
            self.__dict__.pop(name, None)

    @cached_property
    def least_room(self) -> int:
        """The least there is at any position of the bar."""
        return int(self.room[: self.length].min())

    @cached_property
    def strikes(self) -> np.ndarray:
        """How many notes may be struck at each position of the bar, (length,)."""
        return self._strikes(self.room[: self.length])

    @cached_property
    def strikes_from(self) -> np.ndarray:
        """How many from each position on to the end of the bar, (length + 1,)."""
        return _sums_to_the_end(self.strikes)

    @cached_property
    def spare_from(self) -> np.ndarray:
        """The same, if all notes of one token sounded throughout."""
        return _sums_to_the_end(self._strikes(self.room[: self.length] - self._most_in_token))

    @cached_property
    def next_from(self) -> np.ndarray:
        """The same as `strikes_from`, for the next bar."""
        return _sums_to_the_end(_between(self.room[self.length : -1], self._together))

    def _strikes(self, room: np.ndarray) -> np.ndarray:
        strikes = _between(room, self._together)
        if self._downbeat_only:
            strikes[1:] = 0
        return strikes

    def latest_end(self, fewest: int) -> int:
        """Until where all notes of a token may sound and leave the next bar room for so many."""
        # What sounds now only ends in the next bar, so its first position has the least room.
        least = min(int(self.room[self.length]) - self._most_in_token, self._together)
        if least * self.length >= fewest:
            return NO_LIMIT
        enough = int(np.searchsorted(-self.next_from, -fewest, side="right"))
        return self.length + max(0, enough - 1)

    def longest(self, position: int, *, to_spare: int, fewest_next: int) -> int:
        """How long a note struck here may last.

        Args:
            position: Where it is struck.
            to_spare: How many strikes later in this bar it may take away.
            fewest_next: How many strikes the next bar must keep.
        """
        full = self.room[:-1] <= self._together  # where one note more is one strike less
        if self._downbeat_only:
            full[1 : self.length] = False
        here = full[position + 1 : self.length].cumsum()
        within = int(np.searchsorted(here, to_spare, side="right"))
        if within < len(here):
            return 1 + within
        left = int(self.next_from[0]) - fewest_next
        beyond = int(np.searchsorted(full[self.length :].cumsum(), left, side="right"))
        return NO_LIMIT if beyond == self.length else self.length - position + beyond


def strikes_in_bar(length: int, ends: Sequence[int], *, voices: int, together: int) -> int:
    """How many notes may be struck in a bar where nothing but what sounds from before takes room.

    `Outlook.strikes_from[0]`, for those who want nothing else.
    """
    strikes = at = 0
    room = voices - len(ends)
    for end in sorted(min(end, length) for end in ends):
        strikes += (end - at) * max(0, min(room, together))
        at, room = end, room + 1
    return strikes + (length - at) * max(0, min(room, together))


def _between(room: np.ndarray, most: int) -> np.ndarray:
    """From 0 to `most`; much faster than `np.clip` on few numbers."""
    return np.maximum(np.minimum(room, most), 0)


def _sums_to_the_end(values: np.ndarray) -> np.ndarray:
    sums = np.zeros(len(values) + 1, dtype=np.int64)
    values[::-1].cumsum(out=sums[-2::-1])
    return sums
