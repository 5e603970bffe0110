"""Turns at composing while they go on: for how long, and how they are told to end.

A turn that is over its time, or one without end while others wait, is told to finish what there is,
with a sentence for its visitor; so is every turn when the server closes. Knows neither visitors nor
Gradio.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from musiclstm import MusicLSTMError

LONGEST_S = 300.0  # of a turn; usual ones take seconds
LONGEST_ENDLESS_S = 1_800.0
UNDISTURBED_S = 180.0  # of endless music, even while others wait

TOO_LONG = "This took longer than {minutes:.0f} minutes and was ended; what there is stays here."
ENDLESS_OVER = "Endless music rests after {minutes:.0f} minutes; press Go on from here for more."
GIVEN_WAY = (
    "Others are waiting, so endless music rests here; press Go on from here to wait as well."
)
CLOSING = "The server is about to close; save what you like, and come again in a minute."


class ClosingError(MusicLSTMError):
    """The server closes and begins nothing new."""


class JobDeadline:
    """One turn at composing, from where it is registered on.

    Attributes:
        stopped: Set: compose no more bars, and finish what there is.
        endless: Whether it does not end by itself.
        why: Who ended it, if not the visitor, in one sentence; empty while nobody did.
        cut: Whether not even what there is can be played to its end.
    """

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.endless = False
        self.why = ""
        self.cut = False
        self.began_s = time.monotonic()

    def end(self, why: str) -> None:
        """Let it finish what there is, and tell the visitor why."""
        self.why = self.why or why
        self.stopped.set()

    def reason_to_end(self, *, now_s: float, waiting: int) -> str:
        """Why it has to end now; empty: it may go on.

        Args:
            now_s: By the clock of `time.monotonic`.
            waiting: How many others wait for their turn.
        """
        spent_s = now_s - self.began_s
        if not self.endless:
            return TOO_LONG.format(minutes=LONGEST_S / 60) if spent_s > LONGEST_S else ""
        if spent_s > LONGEST_ENDLESS_S:
            return ENDLESS_OVER.format(minutes=LONGEST_ENDLESS_S / 60)
        return GIVEN_WAY if waiting and spent_s > UNDISTURBED_S else ""


class Deadlines:
    """All turns of a process.

    Attributes:
        closed: Whether no more begin.
    """

    def __init__(self) -> None:
        self.closed = False
        self._running: set[JobDeadline] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, turn: JobDeadline) -> None:
        """Watch over a turn from now on.

        Raises:
            ClosingError: No more begin.
        """
        with self._lock:
            if self.closed:
                raise ClosingError(CLOSING)
            turn.began_s = time.monotonic()
            self._running.add(turn)

    def over(self, turn: JobDeadline) -> None:
        """It has ended."""
        with self._lock:
            self._running.discard(turn)

    @contextmanager
    def one(self) -> Iterator[JobDeadline]:
        """A turn that lasts as long as the block.

        Raises:
            ClosingError: No more begin.
        """
        turn = JobDeadline()
        self.begin(turn)
        try:
            yield turn
        finally:
            self.over(turn)

    def sweep(self, *, waiting: int, now_s: float | None = None) -> None:
        """End those that have had their time.

        Args:
            waiting: How many others wait for their turn.
            now_s: By the clock of `time.monotonic`. None: now.
        """
        now_s = time.monotonic() if now_s is None else now_s
        for turn in self._all():
            if why := turn.reason_to_end(now_s=now_s, waiting=waiting):
                turn.end(why)

    def close(self) -> None:
        """End all, and begin no more."""
        with self._lock:
            self.closed = True
        for turn in self._all():
            turn.cut = True
            turn.end(CLOSING)

    def _all(self) -> list[JobDeadline]:
        with self._lock:
            return list(self._running)


TURNS = Deadlines()
