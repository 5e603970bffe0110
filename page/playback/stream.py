"""Turn drafts of a piece into updates of a player: the roll grows, and audio follows it.

Playback starts a few bars before the new ones. That part is rendered first, in short chunks; what
precedes it is rendered later.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Any, NamedTuple

from musiclstm import Composition, RenderError
from musiclstm.midi import in_ticks, meter_at
from page.playback.audio_chunks import SAMPLE_RATE_HZ, Chunk, ChunkRenderer, frame_of
from page.playback.chunk_cache import ChunkCache
from page.playback.piece_view import PieceView, view_of_piece
from page.playback.track_mix import TrackMix
from page.playback.updates import PlayerUpdates

CUE_BARS = 2  # bars before the new ones at which playback starts
MAX_SECONDS = 180.0  # of a composed piece rendered for one request
_FIRST_CHUNK_BEATS = 2  # a short first chunk arrives sooner
_MAX_CHUNK_BARS = 4  # of music that is already composed
_LEAD_IN_BARS = 16  # rendered before the cue; the browser requests what precedes them
_LEAD_IN_AFTER_S = 8.0  # with so much audio ahead of the cue there is time to render the lead-in


class StreamOptions(NamedTuple):
    """How a stream should sound from now on.

    Attributes:
        mix: Its muted tracks are those that the player shows as muted.
        from_s: Playback position in seconds.
    """

    mix: TrackMix
    from_s: float = 0.0


class StreamUpdate(NamedTuple):
    """One update of a stream.

    Attributes:
        value: For the player component.
        piece: The newest draft. None: the piece was composed before.
        updates: Builder of the value, for `replay`.
        take: Which of several takes, from 0.
        complete: Whether this is the last update of the take.
        error: Why there is no audio, in one sentence; empty if there is.
    """

    value: dict[str, Any]
    piece: Composition | None
    updates: PlayerUpdates
    take: int = 0
    complete: bool = False
    error: str = ""


class PlaybackStream:
    """Audio and roll of one piece, which may grow. Close it to free the synthesizer.

    Args:
        view: Of the piece, or of its first draft.
        cue_tick: Where playback starts.
        updates: Builder of the player's values.
        mix: Instruments and levels. None: as the score says.
        take: Which of several takes.
        lead_in: Chunks before the cue, shared by several takes; the first take renders them.
        options: Returns the options wanted at each bar. None: they do not change.
        draft: The first draft. None: the piece does not grow.
    """

    def __init__(
        self,
        view: PieceView,
        cue_tick: int,
        updates: PlayerUpdates,
        mix: TrackMix | None,
        *,
        draft: Composition | None = None,
        take: int = 0,
        lead_in: list[Chunk] | None = None,
        options: Callable[[], StreamOptions] | None = None,
    ) -> None:
        self._updates, self._take, self._options = updates, take, options
        self._renderer: ChunkRenderer | None = None
        self._piece = draft
        self._mix = mix or TrackMix()
        self._set_view(view)
        self._start(cue_tick, [] if lead_in is None else lead_in)

    def _set_view(self, view: PieceView) -> None:
        self._view = view
        self._roll = view.pianoroll()
        self._score = self._mix.applied_to(view.score)

    def _start(self, tick: int, lead_in: list[Chunk]) -> None:
        """Render from a tick on, with a new synthesizer."""
        self.close()
        self._lead_in, self._has_lead_in = lead_in, False
        self._cue_tick = self._tick = tick
        self._error, self._renderer = "", None
        with self._catch_render_errors():
            self._renderer = ChunkRenderer(self._score, tick, self._mix.mix)

    @contextmanager
    def _catch_render_errors(self) -> Iterator[None]:
        """Continue without audio after a RenderError, and report its message."""
        try:
            yield
        except RenderError as error:
            self._error = str(error)
            self.close()
            self._renderer = None

    def close(self) -> None:
        """Free the synthesizer."""
        if self._renderer is not None:
            self._renderer.close()

    # ---------------------------------------------------------------------------------- rendering

    def extend(self, draft: Composition) -> Iterator[StreamUpdate]:
        """Show the next draft and render up to the next bar line; at first only some beats.

        Audio stays some bars behind the drafts, so that each update is small.
        """
        if draft is not self._piece:
            self._piece = draft
            self._set_view(view_of_piece(draft, first_bar=self._view.first_bar))
        yield from self._apply_options()
        tick = next(self._bar_ticks_ahead(), self._tick)
        if self._tick == self._cue_tick:
            tick = min(tick, self._cue_tick + self._first_chunk_ticks())
        yield self._render_to(tick)
        if self._renderer is not None and self._renderer.seconds >= _LEAD_IN_AFTER_S:
            self._render_lead_in()

    def render_all(self) -> Iterator[StreamUpdate]:
        """Render a composed piece, then the lead-in, for at most `MAX_SECONDS`."""
        yield from self._render_bars(self._view.bar_ticks[-1], max_s=MAX_SECONDS)
        if self._tick == self._view.bar_ticks[-1]:
            yield from self.finish()
        else:
            self._render_lead_in()
            yield self._build([])

    def finish(self) -> Iterator[StreamUpdate]:
        """Render the rest with the release of the last notes, then the lead-in."""
        yield from self._apply_options()
        while self._renderer and (tick := next(self._bar_ticks_ahead(), None)) is not None:
            yield self._render_to(tick)
            yield from self._apply_options()
        chunks = self._renderer.flush() if self._renderer else []
        if chunks:
            yield self._build(chunks)
        self._render_lead_in()
        yield self._build([], complete=True)  # no chunk, because Gradio sends it twice

    def _apply_options(self) -> Iterator[StreamUpdate]:
        """Render again, from the playback position to the current tick, if the mix changed."""
        if self._options is None:
            return
        mix, from_s = self._options()
        if mix == self._mix:
            return
        reached = self._tick
        self._updates = self._updates.remixed(mix.muted)
        self._mix, self._score = mix, mix.applied_to(self._view.score)
        self._start(min(bar_tick_at(self._view, from_s), reached), [])
        yield from self._render_bars(reached)

    def _render_bars(self, end_tick: int, max_s: float = inf) -> Iterator[StreamUpdate]:
        """Render composed music up to a tick, in chunks of 1, 2, then 4 bars."""
        bars = 1
        while self._tick < end_tick and (self._renderer is None or self._renderer.seconds < max_s):
            ahead = [tick for tick in self._bar_ticks_ahead() if tick < end_tick][:bars]
            yield self._render_to(ahead[-1] if len(ahead) == bars else end_tick)
            bars = min(2 * bars, _MAX_CHUNK_BARS)

    def _bar_ticks_ahead(self) -> Iterator[int]:
        return (tick for tick in self._view.bar_ticks if tick > self._tick)

    def _first_chunk_ticks(self) -> int:
        score = self._view.score
        _, denominator = meter_at(score, self._cue_tick)
        return _FIRST_CHUNK_BEATS * 4 * in_ticks(score).ticks_per_quarter // denominator

    def _render_to(self, tick: int) -> StreamUpdate:
        self._tick = tick
        chunks: list[Chunk] = []
        with self._catch_render_errors():
            if self._renderer is not None:
                chunks = self._renderer.render_to(self._score, tick)
        return self._build(chunks)

    def _render_lead_in(self) -> None:
        """Put what precedes the cue into the cache, once; the browser requests it when needed."""
        if self._renderer is None or self._has_lead_in:
            return
        self._has_lead_in = True
        with self._catch_render_errors():
            if not self._lead_in:
                lines = self._view.bar_ticks
                first = lines[max(0, lines.index(self._cue_tick) - _LEAD_IN_BARS)]
                self._lead_in.extend(self._renderer.render_lead_in(first))
            self._updates.store(self._lead_in)

    def _build(self, chunks: list[Chunk], *, complete: bool = False) -> StreamUpdate:
        on_request = complete or self._piece is None  # else the rest arrives by itself
        value = self._updates.build(
            self._roll, chunks=chunks, complete=complete, on_request=on_request
        )
        return StreamUpdate(value, self._piece, self._updates, self._take, complete, self._error)


def bar_tick_at(view: PieceView, seconds: float) -> int:
    """Return the tick of the last bar line at or before a playback position; 0 before the first."""
    ticks = view.bar_ticks[:-1] or (0,)
    starts = [frame_of(view.score, tick) / SAMPLE_RATE_HZ for tick in ticks]
    return ticks[max(0, bisect_right(starts, seconds) - 1)]


# --------------------------------------------------------------------------------- while composing


@dataclass(frozen=True)
class _StreamFactory:
    """Creates the streams of one job; they share the chunks before the cue."""

    cache: ChunkCache
    mix: TrackMix | None
    planned_bars: int | None
    cue_bars: int
    first_bar: int
    options: Callable[[int], StreamOptions] | None
    lead_in: list[Chunk] = field(default_factory=list)

    def create(self, draft: Composition, take: int = 0) -> PlaybackStream:
        """Create a stream from a take's first draft, whose last bar is the first new one."""
        view = view_of_piece(draft, first_bar=self.first_bar)
        tick = view.bar_ticks[max(0, len(view.bar_ticks) - 2 - self.cue_bars)]
        planned = None if self.planned_bars is None else view.prompt_bars + self.planned_bars
        cue_frame = frame_of(view.score, tick)
        updates = PlayerUpdates(self.cache, planned_bars=planned, cue_frame=cue_frame)
        options = partial(self.options, take) if self.options else None
        return PlaybackStream(
            view, tick, updates, self.mix, draft=draft, take=take, lead_in=self.lead_in,
            options=options,
        )  # fmt: skip


def stream_piece(
    drafts: Iterable[Composition],
    *,
    cache: ChunkCache,
    mix: TrackMix | None = None,
    planned_bars: int | None = None,
    cue_bars: int = CUE_BARS,
    first_bar: int = 1,
    options: Callable[[int], StreamOptions] | None = None,
) -> Iterator[StreamUpdate]:
    """Yield player updates while a piece is composed, and then for the rest of its audio.

    To stop early, end the drafts: what is composed is still rendered to its end. Closing the
    generator frees the synthesizer.

    Args:
        drafts: The piece, one bar longer each time, from `Composer.stream`.
        cache: The cache that the player was made with.
        mix: Instruments and levels. None: as the score says.
        planned_bars: Final number of new bars, with those of earlier jobs. None: unknown.
        cue_bars: Playback starts this many bars before the first new one.
        first_bar: Number of the first bar of the prompt in its file.
        options: Returns the options wanted for a take; called at every bar. If the mix changed,
            the audio is rendered again from the playback position. None: options do not change.

    Raises:
        MusicLSTMError: From `drafts`. A RenderError of the audio becomes `StreamUpdate.error`.
    """
    single = ((0, draft) for draft in drafts)
    yield from stream_pieces(
        single, count=1, cache=cache, mix=mix, planned_bars=planned_bars, cue_bars=cue_bars,
        first_bar=first_bar, options=options,
    )  # fmt: skip


def stream_pieces(
    drafts: Iterable[tuple[int, Composition]],
    *,
    count: int,
    cache: ChunkCache,
    mix: TrackMix | None = None,
    planned_bars: int | None = None,
    cue_bars: int = CUE_BARS,
    first_bar: int = 1,
    options: Callable[[int], StreamOptions] | None = None,
) -> Iterator[StreamUpdate]:
    """Yield player updates while several takes are composed in turn.

    Args:
        drafts: Pairs of take and draft, from `Composer.stream_many`.
        count: Number of takes.
        cache: This and the other arguments: as in `stream_piece`.
        mix: Instruments and levels.
        planned_bars: Final number of new bars.
        cue_bars: Playback starts this many bars before the first new one.
        first_bar: Number of the first bar of the prompt in its file.
        options: Returns the options wanted for a take.

    Raises:
        MusicLSTMError: As in `stream_piece`.
        ValueError: A draft of a take outside 0..count - 1.
    """
    factory = _StreamFactory(cache, mix, planned_bars, cue_bars, first_bar, options)
    streams: dict[int, PlaybackStream] = {}
    with ExitStack() as stack:
        for take, draft in drafts:
            if not 0 <= take < count:
                raise ValueError(f"take must be from 0 to {count - 1}, got {take}.")
            if take not in streams:
                streams[take] = factory.create(draft, take)
                stack.callback(streams[take].close)
            yield from streams[take].extend(draft)
        for take in sorted(streams):
            yield from streams[take].finish()


# --------------------------------------------------------------------------- of a composed piece


def replay(
    view: PieceView,
    *,
    updates: PlayerUpdates,
    mix: TrackMix | None = None,
    from_s: float = 0.0,
) -> Generator[StreamUpdate, None, None]:
    """Render a piece that the player shows from a position on, in a new rendering.

    This also completes a piece whose drafts were abandoned.

    Args:
        view: What the player shows.
        updates: Of the player's newest update.
        mix: Its muted tracks are those that the player shows as muted.
        from_s: Playback position in seconds.
    """
    remixed = updates.remixed(mix.muted if mix else ())
    with closing(PlaybackStream(view, bar_tick_at(view, from_s), remixed, mix)) as stream:
        yield from stream.render_all()


def show_view(
    view: PieceView,
    *,
    cache: ChunkCache,
    selection: tuple[int, int] | None = None,
) -> StreamUpdate:
    """Show a composed piece or a prompt as a new stream, without audio, which is on request.

    Args:
        view: The piece.
        cache: The cache that the player was made with.
        selection: First and last bar of the file to select.
    """
    bar = view.prompt_bars - CUE_BARS if view.new_start_tick < view.bar_ticks[-1] else 0
    if selection is not None:
        bar = selection[0] - view.first_bar - 1
    updates = PlayerUpdates(cache, cue_frame=frame_of(view.score, view.bar_ticks[max(0, bar)]))
    return StreamUpdate(
        updates.build(view.pianoroll(), on_request=True, selection=selection), None, updates
    )
