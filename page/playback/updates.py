"""Values of the player component: changes of the piano roll, the list of chunks, the newest chunks.

An update names the one that it continues (`base` of its roll) and lists every chunk, but carries
only new notes and chunks. A browser that lost an update requests the rest from the `ChunkCache`,
so updates may be lost, repeated or reordered.
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
from dataclasses import dataclass, field
from typing import Any

from page.playback.audio_chunks import Chunk
from page.playback.chunk_cache import ChunkCache

_TABLES = ("bars", "clock", "notes")  # parts of a piano roll that are columns of equal length


@dataclass
class _SentRoll:
    """The roll of a stream's last update, shared by its renderings."""

    number: int | None = None
    roll: dict[str, Any] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class PlayerUpdates:
    """Builds the updates of one stream.

    A new object is a new stream: the player discards the former one. `remixed` starts another
    rendering of the same stream, and the player keeps its position.

    Args:
        cache: The cache that the player was made with.
        planned_bars: Final number of bars, so that the roll has its full width at once. None: the
            roll grows.
        cue_frame: Where playback starts if the player waits for this stream.

    Attributes:
        stream: Random name of the stream; it is needed to request its chunks.
        muted: Indices of the muted tracks of this rendering, ascending.
    """

    def __init__(
        self,
        cache: ChunkCache,
        *,
        planned_bars: int | None = None,
        cue_frame: int = 0,
    ) -> None:
        self.stream = secrets.token_urlsafe(12)
        self.muted: tuple[int, ...] = ()
        self._cache, self._planned_bars, self._cue_frame = cache, planned_bars, cue_frame
        self._renderings = itertools.count()
        self._sent = _SentRoll()
        self._start_rendering()

    @property
    def has_audio(self) -> bool:
        """Whether this rendering has chunks."""
        return bool(self._chunks)

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

    def store(self, chunks: Iterable[Chunk]) -> None:
        """Put chunks into the cache; the next update lists them without their data."""
        for chunk in chunks:
            self._cache.put(self.stream, self._rendering, chunk)
            self._chunks.append([chunk.start_frame, chunk.frames])

    def build(
        self,
        roll: dict[str, Any],
        *,
        chunks: Iterable[Chunk] = (),
        complete: bool = False,
        on_request: bool = False,
        selection: tuple[int, int] | None = None,
    ) -> dict[str, Any]:
        """Build the next value of the component.

        The last update of a generator should have no chunks, because Gradio sends it twice.

        Args:
            roll: The whole piano roll so far, from `pianoroll_data`.
            chunks: New audio.
            complete: Whether all chunks of the rendering to its end are known now; it stays so.
            on_request: Whether the browser may request audio that is absent, by the event
                `listen`. False: it arrives by itself.
            selection: First and last bar of the file to select. None: keep the selection.
        """
        new = list(chunks)
        self.store(new)
        self._complete = self._complete or complete
        with self._sent.lock:
            number = _next_number()
            changes = {"base": self._sent.number, **roll_changes(self._sent.roll, roll)}
            self._cache.put_roll(self.stream, number, _to_json(roll))
            self._sent.number, self._sent.roll = number, roll
        return {
            "number": number,
            "stream": self.stream,
            "rendering": self._rendering,
            "roll": _to_json(changes),
            "planned_bars": self._planned_bars,
            "cue_frame": self._cue_frame,
            "chunks": [list(chunk) for chunk in self._chunks],
            "new_chunks": [[chunk.start_frame, b64encode(chunk.data).decode()] for chunk in new],
            "complete": self._complete,
            "on_request": on_request,
            "muted": list(self.muted),
            "selection": None if selection is None else list(selection),
        }


def roll_changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return what changed between two piano rolls.

    Args:
        before: From `pianoroll_data`; empty: everything changed.
        after: From `pianoroll_data`.

    Returns:
        `after`, but each table has only the rows that differ, from the row `from` on.
    """
    changes = dict(after)
    for name in _TABLES:
        old, new = before.get(name, {}), after[name]
        kept = min(_common_rows(old.get(column, []), values) for column, values in new.items())
        changes[name] = {"from": kept, **{key: values[kept:] for key, values in new.items()}}
    return changes


def _common_rows(old: list[Any], new: list[Any]) -> int:
    """Length of the common prefix of two lists."""
    length = min(len(old), len(new))
    if old[:length] == new[:length]:
        return length
    return next(row for row in range(length) if old[row] != new[row])


def _to_json(roll: dict[str, Any]) -> str:
    """Encode as text, because Gradio would compare a nested value number by number."""
    return json.dumps(roll, separators=(",", ":"))


_number_lock = threading.Lock()
_last_number = 0


def _next_number() -> int:
    """Return a number above all former ones, also after a restart: the clock in microseconds."""
    global _last_number
    with _number_lock:
        _last_number = max(_last_number + 1, time.time_ns() // 1_000)
        return _last_number
