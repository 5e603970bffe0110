"""From drafts of a piece to updates of a player: the roll grows, and the sound follows it.

Playing begins a little before the new bars, so that is played first, with as little as is needed to
begin. Composes nothing, and knows no components.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial

from musiclstm import Composition
from musiclstm.audio import Mix
from page.playback.audio_chunks import frame_of
from page.playback.excerpt import excerpt_of, new_bar_of
from page.playback.player import Chunk, ChunkCache, PlayerUpdates
from page.playback.take import PlaybackStream, StreamOptions, Update, line_at

__all__ = [
    "CUE_BARS",
    "StreamOptions",
    "Update",
    "excerpt_of",
    "new_bar_of",
    "replay",
    "show_piece",
    "stream_piece",
    "stream_pieces",
]

CUE_BARS = 2  # so many bars before the new ones playing begins
_SAFE_S = 8.0  # with so much ahead of the listener there is time for what lies before


# ---------------------------------------------------------------------------- while it is composed


def stream_piece(
    drafts: Iterable[Composition],
    *,
    shelf: ChunkCache,
    mix: Mix | None = None,
    planned_bars: int | None = None,
    cue_bars: int = CUE_BARS,
    wanted: Callable[[int], StreamOptions] | None = None,
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
        wanted: Asked at every bar how a take, by its number, should sound by now; what is there
            then sounds so from where the listener is. None: it stays with the mix.

    Raises:
        MusicLSTMError: What the drafts raise. What the sound raises is told as `trouble`.
    """
    press = _Press(shelf, mix, planned_bars, cue_bars, wanted)
    with ExitStack() as stack:
        take: PlaybackStream | None = None
        for draft in drafts:
            if take is None:
                take = press.take(draft)
                stack.callback(take.close)
            yield from take.go_on(draft)
            if take.seconds_ahead >= _SAFE_S:
                take.fetch_before()
        if take is not None:
            yield from take.end()


def stream_pieces(
    drafts: Iterable[tuple[int, Composition]],
    *,
    count: int,
    shelf: ChunkCache,
    mix: Mix | None = None,
    planned_bars: int | None = None,
    cue_bars: int = CUE_BARS,
    wanted: Callable[[int], StreamOptions] | None = None,
) -> Iterator[Update]:
    """Draw and play several takes while they are composed, in turns.

    Args:
        drafts: As `Composer.stream_many` gives them.
        count: How many takes there are.
        shelf: As in `stream_piece`, as are the others.
        mix: Likewise.
        planned_bars: Likewise.
        cue_bars: Likewise.
        wanted: Likewise.

    Raises:
        MusicLSTMError: As in `stream_piece`.
        ValueError: A draft of a take that there is not.
    """
    press = _Press(shelf, mix, planned_bars, cue_bars, wanted)
    takes: dict[int, PlaybackStream] = {}
    with ExitStack() as stack:
        for number, draft in drafts:
            if not 0 <= number < count:
                raise ValueError(f"take must be from 0 to {count - 1}, got {number}.")
            if number not in takes:
                takes[number] = press.take(draft, number)
                stack.callback(takes[number].close)
            yield from takes[number].go_on(draft)
        for number in sorted(takes):
            yield from takes[number].end()


def replay(
    piece: Composition, *, broadcast: PlayerUpdates, mix: Mix | None = None, from_s: float = 0.0
) -> Iterator[Update]:
    """Play a piece that is there already in another mix; the listener keeps the place.

    Also for a piece whose drafts were given up: the sound of it is whole then.

    Args:
        piece: What the player shows.
        broadcast: Of its newest update.
        mix: How it is to sound; its silent programs are those that the player shows as muted.
        from_s: Where the listener is, in seconds from the beginning of what is heard.
    """
    heard = excerpt_of(piece)
    other = broadcast.with_muted(mix.muted if mix else ())
    return _played(PlaybackStream(piece, heard, line_at(heard, from_s), other, mix))


def show_piece(
    piece: Composition,
    *,
    shelf: ChunkCache,
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
    heard = excerpt_of(piece)
    line = max(0, min(heard.seed_bars + old_bars, len(heard.lines) - 1) - cue_bars)
    tick = heard.lines[line]
    broadcast = PlayerUpdates(shelf, cue_frame=frame_of(heard.score, tick))
    return _played(PlaybackStream(piece, heard, tick, broadcast, mix))


def _played(take: PlaybackStream) -> Iterator[Update]:
    """A piece that is there already, to its end."""
    with closing(take):
        yield from take.play_to(take.heard.lines[-1])
        yield from take.end()


@dataclass(frozen=True)
class _Press:
    """What the takes of one press have in common."""

    shelf: ChunkCache
    mix: Mix | None
    planned_bars: int | None
    cue_bars: int
    wanted: Callable[[int], StreamOptions] | None
    before: list[Chunk] = field(default_factory=list)  # filled by the first that plays it

    def take(self, draft: Composition, number: int = 0) -> PlaybackStream:
        """A take, by its first draft; the bar that this one brings is the last one."""
        heard = excerpt_of(draft)
        tick = heard.lines[max(0, len(heard.lines) - 2 - self.cue_bars)]
        planned = None if self.planned_bars is None else heard.seed_bars + self.planned_bars
        frame = frame_of(heard.score, tick)
        broadcast = PlayerUpdates(self.shelf, planned_bars=planned, cue_frame=frame)
        wanted = partial(self.wanted, number) if self.wanted else None
        return PlaybackStream(draft, heard, tick, broadcast, self.mix, number, self.before, wanted)
