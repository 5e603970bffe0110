"""From drafts of a piece to updates of a player: the roll grows, and the sound follows it.

Playing begins a little before the new bars, so that is played first, with as little as is needed to
begin. Composes nothing, and knows no components.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from musiclstm import Composition, RenderError
from musiclstm.analysis import in_ticks, meter_at
from musiclstm.mix import Mix
from page.chunks import Sound, frame_of
from page.heard import Heard, heard_of, new_bar_of, roll_of_piece
from page.player import RATE_HZ, Broadcast, Chunk, Shelf

__all__ = [
    "AHEAD_S",
    "CUE_BARS",
    "Heard",
    "Update",
    "again",
    "hear",
    "hear_takes",
    "heard_of",
    "new_bar_of",
    "roll_of_piece",
    "show",
]

AHEAD_S = 45.0  # music without end is made so far ahead of the listener
CUE_BARS = 2  # so many bars before the new ones playing begins

_FIRST_BEATS = 2  # of the first chunk: the less, the sooner it is there
_MOST_BARS = 4  # in one chunk of a piece that is there already
_SAFE_S = 8.0  # with so much ahead of the listener there is time for what lies before
_LONGEST_WAIT_S = 1.0  # a generator that waits cannot be closed


class Update(NamedTuple):
    """What is new about one take.

    Attributes:
        value: For the player.
        piece: The newest draft.
        broadcast: For `again`.
        take: Which of several takes, from 0.
        complete: Whether it is the last one of this take: all that can be heard is there.
        trouble: Why nothing is heard, in one sentence; empty where it is.
    """

    value: dict[str, Any]
    piece: Composition
    broadcast: Broadcast
    take: int = 0
    complete: bool = False
    trouble: str = ""


# ---------------------------------------------------------------------------- while it is composed


def hear(
    drafts: Iterable[Composition],
    *,
    shelf: Shelf,
    mix: Mix | None = None,
    planned_bars: int | None = None,
    cue_bars: int = CUE_BARS,
    ahead_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Update]:
    """Draw and play a piece while it is composed: an update for each draft, then those of its end.

    Where the drafts end, the piece is heard to its end and rings out; so whoever wants to stop ends
    the drafts. Closing the generator frees the synthesizer.

    Args:
        drafts: The piece, a bar longer each time, as `Composer.stream` gives it.
        shelf: The one that the player was made with.
        mix: How it sounds. None: as it is written.
        planned_bars: How many new bars there will be, those counted that were there before. None:
            nobody knows.
        cue_bars: Playing begins so many bars before the one that the first draft brings.
        ahead_s: No more sound than this is made before the listener can have heard it. None: as
            fast as it comes.
        clock: Seconds that go on.
        sleep: Waits so many seconds.

    Raises:
        MusicLSTMError: What the drafts raise. What the sound raises is told as `trouble`.
    """
    press = _Press(shelf, mix, planned_bars, cue_bars)
    with ExitStack() as stack:
        take: _Take | None = None
        for draft in drafts:
            if take is None:
                take = press.take(draft)
                stack.callback(take.close)
                began = clock()
            yield take.go_on(draft)
            if take.seconds_ahead >= _SAFE_S:
                take.fetch_before()
            while ahead_s is not None:
                left_s = take.seconds_ahead - (clock() - began) - ahead_s
                if left_s <= 0:
                    break
                sleep(min(left_s, _LONGEST_WAIT_S))
        if take is not None:
            yield from take.end()


def hear_takes(
    drafts: Iterable[tuple[int, Composition]],
    *,
    count: int,
    shelf: Shelf,
    mix: Mix | None = None,
    planned_bars: int | None = None,
    cue_bars: int = CUE_BARS,
) -> Iterator[Update]:
    """Draw and play several takes while they are composed, in turns.

    Args:
        drafts: As `Composer.stream_takes` gives them.
        count: How many takes there are.
        shelf: As in `hear`, as are the others.
        mix: Likewise.
        planned_bars: Likewise.
        cue_bars: Likewise.

    Raises:
        MusicLSTMError: As in `hear`.
        ValueError: A draft of a take that there is not.
    """
    press = _Press(shelf, mix, planned_bars, cue_bars)
    takes: dict[int, _Take] = {}
    with ExitStack() as stack:
        for number, draft in drafts:
            if not 0 <= number < count:
                raise ValueError(f"take must be from 0 to {count - 1}, got {number}.")
            if number not in takes:
                takes[number] = press.take(draft, number)
                stack.callback(takes[number].close)
            yield takes[number].go_on(draft)
        for number in sorted(takes):
            yield from takes[number].end()


def again(
    piece: Composition, *, broadcast: Broadcast, mix: Mix | None = None, from_s: float = 0.0
) -> Iterator[Update]:
    """Play a piece that is there already in another mix; the listener keeps the place.

    Also for a piece whose drafts were given up: the sound of it is whole then.

    Args:
        piece: What the player shows.
        broadcast: Of its newest update.
        mix: How it is to sound; its silent programs are those that the player shows as muted.
        from_s: Where the listener is, in seconds from the beginning of what is heard.
    """
    heard = heard_of(piece)
    other = broadcast.with_muted(mix.muted if mix else ())
    starts = [frame_of(heard.score, line) / RATE_HZ for line in heard.lines[:-1] or (0,)]
    line = max(0, bisect_right(starts, from_s) - 1)
    return _played(_Take(piece, heard, heard.lines[line], other, mix), line)


def show(
    piece: Composition,
    *,
    shelf: Shelf,
    mix: Mix | None = None,
    old_bars: int = 0,
    cue_bars: int = CUE_BARS,
) -> Iterator[Update]:
    """Draw and play a piece that is there already as a take of its own.

    Args:
        piece: What is to be shown.
        shelf: The one that the player was made with.
        mix: How it sounds. None: as it is written.
        old_bars: So many of the new bars are known to the listener.
        cue_bars: Playing begins so many bars before the others.
    """
    heard = heard_of(piece)
    line = max(0, min(heard.seed_bars + old_bars, len(heard.lines) - 1) - cue_bars)
    tick = heard.lines[line]
    broadcast = Broadcast(shelf, cue_frame=frame_of(heard.score, tick))
    return _played(_Take(piece, heard, tick, broadcast, mix), line)


def _played(take: _Take, line: int) -> Iterator[Update]:
    """A piece that is there already, from a bar line on, in chunks that grow."""
    with closing(take):
        lines = take.heard.lines
        bars = 1
        while line < len(lines) - 1:
            line = min(line + bars, len(lines) - 1)
            yield take.until(lines[line])
            bars = min(2 * bars, _MOST_BARS)
        yield from take.end()


# ----------------------------------------------------------------------------------------- one take


@dataclass(frozen=True)
class _Press:
    """What the takes of one press have in common."""

    shelf: Shelf
    mix: Mix | None
    planned_bars: int | None
    cue_bars: int
    before: list[Chunk] = field(default_factory=list)  # filled by the first that plays it

    def take(self, draft: Composition, number: int = 0) -> _Take:
        """A take, by its first draft; the bar that this one brings is the last one."""
        heard = heard_of(draft)
        tick = heard.lines[max(0, len(heard.lines) - 2 - self.cue_bars)]
        planned = None if self.planned_bars is None else heard.seed_bars + self.planned_bars
        frame = frame_of(heard.score, tick)
        broadcast = Broadcast(self.shelf, planned_bars=planned, cue_frame=frame)
        return _Take(draft, heard, tick, broadcast, self.mix, number, self.before)


class _Take:
    """A take on its way to its player.

    Args:
        piece: Its newest draft.
        heard: What is heard of the draft.
        cue_tick: Where playing begins.
        broadcast: What its player is told with.
        mix: How it sounds.
        number: Which of several takes.
        before: What lies before the cue, shared with others; filled where it is empty.
    """

    def __init__(
        self,
        piece: Composition,
        heard: Heard,
        cue_tick: int,
        broadcast: Broadcast,
        mix: Mix | None,
        number: int = 0,
        before: list[Chunk] | None = None,
    ) -> None:
        self.heard = heard
        self._piece, self._cue_tick, self._broadcast = piece, cue_tick, broadcast
        self._number, self._before = number, [] if before is None else before
        self._roll = heard.roll()
        self._at_tick, self._has_before = cue_tick, False
        self._trouble = ""
        self._sound: Sound | None = None
        with self._told():
            self._sound = Sound(heard.score, cue_tick, mix)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Where there can be no sound the roll grows on, and the reason is told."""
        try:
            yield
        except RenderError as error:
            self._trouble = str(error)
            self.close()
            self._sound = None

    def close(self) -> None:
        """Free the synthesizer."""
        if self._sound is not None:
            self._sound.close()

    @property
    def seconds_ahead(self) -> float:
        """How much sound there is from where playing begins."""
        return self._sound.seconds if self._sound else 0.0

    def go_on(self, draft: Composition) -> Update:
        """The next draft, and the sound up to the next bar line; at first only some beats.

        So the sound stays some bars behind the drafts, and no update is a heavy one.
        """
        if draft is not self._piece:
            self._piece, self.heard = draft, heard_of(draft)
            self._roll = self.heard.roll()
        until = next(self._lines_ahead(), self._at_tick)
        if self._at_tick == self._cue_tick:
            until = min(until, self._cue_tick + _first_ticks(self.heard, self._cue_tick))
        return self.until(until)

    def _lines_ahead(self) -> Iterator[int]:
        return (line for line in self.heard.lines if line > self._at_tick)

    def until(self, tick: int) -> Update:
        """As it sounds up to a tick."""
        self._at_tick = tick
        chunks: list[Chunk] = []
        with self._told():
            if self._sound is not None:
                chunks = self._sound.until(self.heard.score, tick)
        return self._update(chunks)

    def end(self) -> Iterator[Update]:
        """The sound to the end, as it rings out; then, with what lies before, complete."""
        for line in self._lines_ahead() if self._sound else ():
            yield self.until(line)
        chunks = self._sound.end() if self._sound else []
        if chunks:
            yield self._update(chunks)
        self.fetch_before()
        yield self._update([], complete=True)  # without a chunk, for it may be sent twice

    def fetch_before(self) -> None:
        """Lay what comes before on the shelf, where the browser finds it; only once."""
        if self._sound is None or self._has_before:
            return
        self._has_before = True
        with self._told():
            if not self._before:
                self._before.extend(self._sound.before())
            self._update(self._before)  # nobody waits for it, so it is not sent

    def _update(self, chunks: list[Chunk], *, complete: bool = False) -> Update:
        value = self._broadcast.update(self._roll, chunks=chunks, complete=complete)
        take = self._number
        return Update(value, self._piece, self._broadcast, take, complete, self._trouble)


def _first_ticks(heard: Heard, tick: int) -> int:
    """How long the first beats are."""
    _, denominator = meter_at(heard.score, tick)
    return _FIRST_BEATS * 4 * in_ticks(heard.score).ticks_per_quarter // denominator
