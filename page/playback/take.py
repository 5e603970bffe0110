"""One take on its way to its player: its roll, and its sound in chunks.

What should sound otherwise is taken up on the way, from where the listener is. Composes nothing;
knows no components and no visitors.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from musiclstm import Composition, RenderError
from musiclstm.audio import Mix
from musiclstm.midi import in_ticks, meter_at
from page.playback.audio_chunks import ChunkRenderer, frame_of
from page.playback.excerpt import Excerpt, excerpt_of
from page.playback.player import RATE_HZ, Chunk, PlayerUpdates

_FIRST_BEATS = 2  # of the first chunk: the less, the sooner it is there
_MOST_BARS = 4  # in one chunk of music that is there already


class StreamOptions(NamedTuple):
    """How a take should sound by now.

    Attributes:
        mix: Its silent programs are those that the player shows as muted.
        from_s: Where the listener is, in seconds from the beginning of what is heard.
    """

    mix: Mix
    from_s: float = 0.0


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
    broadcast: PlayerUpdates
    take: int = 0
    complete: bool = False
    trouble: str = ""


class PlaybackStream:
    """A take on its way to its player; to be closed.

    Args:
        piece: Its newest draft.
        heard: What is heard of the draft.
        cue_tick: Where playing begins.
        broadcast: What its player is told with.
        mix: How it sounds. None: as it is written.
        number: Which of several takes.
        before: What lies before the cue, shared with others; filled where it is empty.
        wanted: Asked at every bar for another mix. None: there will be none.
    """

    def __init__(
        self,
        piece: Composition,
        heard: Excerpt,
        cue_tick: int,
        broadcast: PlayerUpdates,
        mix: Mix | None,
        number: int = 0,
        before: list[Chunk] | None = None,
        wanted: Callable[[], StreamOptions] | None = None,
    ) -> None:
        self.heard = heard
        self._piece, self._broadcast, self._number = piece, broadcast, number
        self._wanted = wanted
        self._roll = heard.roll()
        self._sound: ChunkRenderer | None = None
        self._begin(mix or Mix(), cue_tick, [] if before is None else before)

    def _begin(self, mix: Mix, tick: int, before: list[Chunk]) -> None:
        """Play from a tick on, whatever was played so far."""
        self.close()
        self._mix, self._before, self._has_before = mix, before, False
        self._cue_tick = self._at_tick = tick
        self._trouble, self._sound = "", None
        with self._told():
            self._sound = ChunkRenderer(self.heard.score, tick, mix)

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

    # ------------------------------------------------------------------------------------ onwards

    def go_on(self, draft: Composition) -> Iterator[Update]:
        """The next draft, and the sound up to the next bar line; at first only some beats.

        So the sound stays some bars behind the drafts, and no update is a heavy one.
        """
        if draft is not self._piece:
            self._piece, self.heard = draft, excerpt_of(draft)
            self._roll = self.heard.roll()
        yield from self._as_wanted()
        until = next(self._lines_ahead(), self._at_tick)
        if self._at_tick == self._cue_tick:
            until = min(until, self._cue_tick + _first_ticks(self.heard, self._cue_tick))
        yield self.until(until)

    def _as_wanted(self) -> Iterator[Update]:
        """As far as it has come, once more, where another mix is wanted by now."""
        if self._wanted is None:
            return
        mix, from_s = self._wanted()
        if mix == self._mix:
            return
        reached = self._at_tick
        self._broadcast = self._broadcast.with_muted(mix.muted)
        self._begin(mix, min(line_at(self.heard, from_s), reached), [])
        yield from self.play_to(reached)

    def play_to(self, tick: int) -> Iterator[Update]:
        """What is there already, up to a tick, in chunks that grow."""
        bars = 1
        while self._at_tick < tick:
            ahead = [line for line in self._lines_ahead() if line < tick][:bars]
            yield self.until(ahead[-1] if len(ahead) == bars else tick)
            bars = min(2 * bars, _MOST_BARS)

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
        yield from self._as_wanted()
        while self._sound and (line := next(self._lines_ahead(), None)) is not None:
            yield self.until(line)
            yield from self._as_wanted()
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


def line_at(heard: Excerpt, from_s: float) -> int:
    """The last bar line, in ticks, that a listener has passed; the first one before all."""
    lines = heard.lines[:-1] or (0,)
    starts = [frame_of(heard.score, line) / RATE_HZ for line in lines]
    return lines[max(0, bisect_right(starts, from_s) - 1)]


def _first_ticks(heard: Excerpt, tick: int) -> int:
    """How long the first beats are."""
    _, denominator = meter_at(heard.score, tick)
    return _FIRST_BEATS * 4 * in_ticks(heard.score).ticks_per_quarter // denominator
