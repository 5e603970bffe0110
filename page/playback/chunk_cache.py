"""Cache of the audio chunks of recent streams, for browsers that need some of them again."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections import OrderedDict
from typing import Any

from page.playback.audio_chunks import Chunk

_MAX_STARTS = 64  # chunks in one request
_MAX_ANSWER_BYTES = 2_000_000  # of audio in one answer; the browser requests the rest again


class ChunkCache:
    """Chunks of recent streams, shared by all sessions.

    Args:
        max_bytes: Above this size, whole streams are evicted, the least recently used first.
    """

    def __init__(self, *, max_bytes: int = 48_000_000) -> None:
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be 1 or more, got {max_bytes}.")
        self._max_bytes = max_bytes
        self._streams: OrderedDict[str, dict[tuple[int, int], bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, stream: str, rendering: int, chunk: Chunk) -> None:
        """Store a chunk; each stream keeps its last two renderings only."""
        with self._lock:
            chunks = self._streams.setdefault(stream, {})
            for key in [key for key in chunks if key[0] < rendering - 1]:
                del chunks[key]
            chunks[rendering, chunk.start_frame] = chunk.data
            self._streams.move_to_end(stream)
            while len(self._streams) > 1 and self.num_bytes > self._max_bytes:
                self._streams.popitem(last=False)

    @property
    def num_bytes(self) -> int:
        """Bytes of all chunks."""
        return sum(len(data) for chunks in self._streams.values() for data in chunks.values())

    def fetch_missing(self, request: Any) -> dict[str, Any]:
        """Answer a browser's request for chunks; an invalid request gets an empty answer.

        Args:
            request: `take`, `sound` and `starts`, the first frames of the chunks.

        Returns:
            `chunks`: pairs of start frame and base64 data, as many as fit into one answer, at
            least one; `known`: whether the cache has chunks of this stream and rendering.
        """
        stream, rendering, starts = _parse(request)
        with self._lock:
            chunks = self._streams.get(stream, {})
            known = any(key[0] == rendering for key in chunks)
            found = [(at, chunks[rendering, at]) for at in starts if (rendering, at) in chunks]
            if known:
                self._streams.move_to_end(stream)
        total, answer = 0, []
        for start, data in found:
            if total and total + len(data) > _MAX_ANSWER_BYTES:
                break
            total += len(data)
            answer.append([start, b64encode(data).decode()])
        return {"chunks": answer, "known": known}


def _parse(request: Any) -> tuple[str, int, list[int]]:
    """Stream, rendering and start frames of an untrusted request; invalid parts are dropped."""
    fields = request if isinstance(request, dict) else {}
    stream, rendering, starts = (fields.get(name) for name in ("take", "sound", "starts"))
    starts = starts[:_MAX_STARTS] if isinstance(starts, list) else []
    return (
        stream if isinstance(stream, str) else "",
        rendering if isinstance(rendering, int) else -1,
        [start for start in starts if isinstance(start, int)],
    )
