"""Values of the player component: the piano roll so far, the list of chunks and the newest chunks.

An update lists every chunk and carries only the newest. A browser that lost an update requests the
missing chunks from the `ChunkCache`, so updates may be lost, repeated or reordered.
"""

from __future__ import annotations

import copy
import itertools
import json
import secrets
import threading
import time
from base64 import b64encode
from collections.abc import Iterable
from typing import Any

from page.playback.audio_chunks import Chunk
from page.playback.chunk_cache import ChunkCache


class PlayerUpdates:
    """Builds the updates of one stream.

    A new object is a new stream: the player discards the former one. `remixed` starts another
    rendering of the same stream, and the player keeps its position.

    Args:
        cache: The cache that the player was made with.
        planned_bars: Final number of bars, so that the roll has its full width at once. None: the
            roll grows.
        cue_frame: Where playback starts if the player waits for this stream.
        on_request: Whether audio is rendered only when the user presses play.

    Attributes:
        stream: Random name of the stream; it is needed to request its chunks.
        muted: Muted programs of this rendering, ascending.
    """

    def __init__(
        self,
        cache: ChunkCache,
        *,
        planned_bars: int | None = None,
        cue_frame: int = 0,
        on_request: bool = False,
    ) -> None:
        self.stream = secrets.token_urlsafe(12)
        self.muted: tuple[int, ...] = ()
        self._cache, self._planned_bars, self._cue_frame = cache, planned_bars, cue_frame
        self._on_request = on_request
        self._renderings = itertools.count()
        self._start_rendering()

    def _start_rendering(self) -> None:
        self._rendering = next(self._renderings)
        self._chunks: list[list[int]] = []
        self._complete = False

    def remixed(self, muted: Iterable[int]) -> PlayerUpdates:
        """Return updates of the same stream in a new rendering, without chunks yet.

        The player switches to it as soon as it has the chunk at its position, and then ignores
        updates of the former rendering.
        """
        other = copy.copy(self)
        other.muted = tuple(sorted(set(muted)))
        other._start_rendering()
        return other

    def build(
        self,
        roll: dict[str, Any],
        *,
        chunks: Iterable[Chunk] = (),
        complete: bool = False,
        selection: tuple[int, int] | None = None,
    ) -> dict[str, Any]:
        """Build the next value of the component.

        The last update of a generator should have no chunks, because Gradio sends it twice.

        Args:
            roll: The whole piano roll so far, from `pianoroll_data`.
            chunks: New audio.
            complete: Whether all chunks of the rendering are known now; it stays so.
            selection: First and last bar to select, counted from 1. None: keep the selection.
        """
        new = list(chunks)
        for chunk in new:
            self._cache.put(self.stream, self._rendering, chunk)
            self._chunks.append([chunk.start_frame, chunk.frames])
        self._complete = self._complete or complete
        return {
            "number": _next_number(),
            "take": self.stream,
            "sound": self._rendering,
            # Text, because Gradio would compare a nested value number by number.
            "roll": json.dumps(roll, separators=(",", ":")),
            "planned_bars": self._planned_bars,
            "cue_frame": self._cue_frame,
            "chunks": [list(chunk) for chunk in self._chunks],
            "fresh": [[chunk.start_frame, b64encode(chunk.data).decode()] for chunk in new],
            "complete": self._complete,
            "on_request": self._on_request,
            "muted": list(self.muted),
            "selection": None if selection is None else list(selection),
        }


_number_lock = threading.Lock()
_last_number = 0


def _next_number() -> int:
    """Return a number above all former ones, also after a restart: the clock in microseconds."""
    global _last_number
    with _number_lock:
        _last_number = max(_last_number + 1, time.time_ns() // 1_000)
        return _last_number
