"""Cache of the chunks and piano rolls of recent streams, for browsers that need some again."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from page.playback.audio_chunks import Chunk

_MAX_STARTS = 64  # chunks in one request
_MAX_ANSWER_BYTES = 2_000_000  # of audio in one answer; the browser requests the rest again


@dataclass
class _CachedStream:
    """What the cache holds of one stream."""

    chunks: dict[tuple[int, int], bytes] = field(default_factory=dict)  # (rendering, start frame)
    roll: tuple[int, str] | None = None  # number of the update, JSON text

    @property
    def num_bytes(self) -> int:
        chunks = sum(len(data) for data in self.chunks.values())
        return chunks + (len(self.roll[1]) if self.roll else 0)


class ChunkCache:
    """Chunks and piano rolls of recent streams, shared by all sessions.

    Args:
        max_bytes: Above this size, whole streams are evicted, the least recently used first.
    """

    def __init__(self, *, max_bytes: int = 256_000_000) -> None:
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be 1 or more, got {max_bytes}.")
        self._max_bytes = max_bytes
        self._streams: OrderedDict[str, _CachedStream] = OrderedDict()
        self._num_bytes = 0
        self._lock = threading.Lock()

    def put(self, stream: str, rendering: int, chunk: Chunk) -> None:
        """Store a chunk; each stream keeps its last two renderings only."""
        with self._changing(stream) as cached:
            for key in [key for key in cached.chunks if key[0] < rendering - 1]:
                del cached.chunks[key]
            cached.chunks[rendering, chunk.start_frame] = chunk.data

    def put_roll(self, stream: str, number: int, roll: str) -> None:
        """Store the whole piano roll of a stream, as JSON text, with the number of its update."""
        with self._changing(stream) as cached:
            cached.roll = number, roll

    @contextmanager
    def _changing(self, name: str) -> Iterator[_CachedStream]:
        """Yield a stream to change, then evict others if the cache is too large."""
        with self._lock:
            stream = self._streams.setdefault(name, _CachedStream())
            self._num_bytes -= stream.num_bytes
            yield stream
            self._num_bytes += stream.num_bytes
            self._streams.move_to_end(name)
            while len(self._streams) > 1 and self._num_bytes > self._max_bytes:
                _, evicted = self._streams.popitem(last=False)
                self._num_bytes -= evicted.num_bytes

    @property
    def num_bytes(self) -> int:
        """Bytes of all chunks and rolls."""
        return self._num_bytes

    def fetch_missing(self, request: Any) -> dict[str, Any]:
        """Answer a browser's request for chunks; an invalid request gets an empty answer.

        Args:
            request: `stream`, `rendering` and `starts`, the first frames of the chunks.

        Returns:
            `chunks`: pairs of start frame and base64 data, as many as fit into one answer, at
            least one; `known`: whether the cache has chunks of this stream and rendering.
        """
        name, rendering, starts = _parse(request)
        with self._lock:
            chunks = self._use(name).chunks
            known = any(key[0] == rendering for key in chunks)
            found = [(at, chunks[rendering, at]) for at in starts if (rendering, at) in chunks]
        total, answer = 0, []
        for start, data in found:
            if total and total + len(data) > _MAX_ANSWER_BYTES:
                break
            total += len(data)
            answer.append([start, b64encode(data).decode()])
        return {"chunks": answer, "known": known}

    def fetch_roll(self, request: Any) -> dict[str, Any] | None:
        """Answer a browser's request for the whole piano roll of a stream.

        Args:
            request: `stream`.

        Returns:
            `number` of the update that the roll belongs to, and `roll`, JSON text. None: unknown.
        """
        with self._lock:
            roll = self._use(_parse(request)[0]).roll
        return None if roll is None else {"number": roll[0], "roll": roll[1]}

    def _use(self, name: str) -> _CachedStream:
        """A stream, which becomes the most recently used; empty if unknown."""
        if name in self._streams:
            self._streams.move_to_end(name)
        return self._streams.get(name, _CachedStream())


def _parse(request: Any) -> tuple[str, int, list[int]]:
    """Stream, rendering and start frames of an untrusted request; invalid parts are dropped."""
    fields = request if isinstance(request, dict) else {}
    stream, rendering, starts = (fields.get(name) for name in ("stream", "rendering", "starts"))
    starts = starts[:_MAX_STARTS] if isinstance(starts, list) else []
    return (
        stream if isinstance(stream, str) else "",
        rendering if isinstance(rendering, int) else -1,
        [start for start in starts if isinstance(start, int)],
    )
