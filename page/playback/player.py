"""The player: a piano roll and its sound, which may still be on its way, as one `gr.HTML`.

An update names every chunk of sound there is and carries only the newest; whatever a browser lacks,
because an update was lost or it came late, it asks the `ChunkCache` for. So updates may be lost, doubled
or come in any order.

This file does not know who composes or renders; it is handed a roll (roll.py) and samples. What the
browser does with them is written in sound.js, roll.js and player.js.
"""

from __future__ import annotations

import copy
import itertools
import json
import secrets
import threading
import time
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from musiclstm import Audio

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RATE_HZ = 44_100  # of every chunk; the browser's clock runs at it, so that chunks meet exactly

_STATIC = Path(__file__).parent / "static"
_SCRIPTS = ("chunk_scheduler.js", "pianoroll.js", "player.js")
_MOST_ASKED = 64  # chunks in one question
_ANSWER_BYTES = 2_000_000  # of sound in one answer; the browser asks again for the rest

# ------------------------------------------------------------------------------------ the component


def player(elem_id: str, *, label: str, shelf: ChunkCache, armed_by: Sequence[str] = ()) -> gr.HTML:
    """A piano roll that plays, to be fed with the updates of a `PlayerUpdates`.

    Use it as an output with `show_progress="hidden"`, and never as an input, for then its sound
    would travel back. It triggers three events of its own, whose data stands in `gr.EventData`:

    - `mute`: `muted`, a list of programs (-1: drums) that should be silent, `position_s` and
      `bar`, where the listener is. The answer is updates from `PlayerUpdates.with_muted`.
    - `bars`: `first` and `last`, the bars chosen, counted from 1; both None: nothing is chosen.
    - `listen`: `position_s`, where somebody wants to hear what has no sound yet. Only where the
      broadcast is `on_request`; the answer is updates of a new one.

    Args:
        elem_id: Of the component in the page; what `switch_to` is told.
        label: What it is called by those who cannot see it.
        shelf: Where the chunks of the broadcasts are kept.
        armed_by: The `elem_id` of buttons whose press counts as a press on play: the player starts
            as soon as the next take has brought sound. (A listener with `js=` could not do this:
            Gradio runs the listeners of one event one after the other, each to its end.)
    """

    def missing(question: Any) -> dict[str, Any]:
        return shelf.missing(question)

    return gr.HTML(
        None,
        label=label,
        elem_id=elem_id,
        html_template='<div class="player"></div>',
        css_template=(_STATIC / "player.css").read_text(encoding="utf-8"),
        js_on_load="\n".join((_STATIC / name).read_text(encoding="utf-8") for name in _SCRIPTS),
        apply_default_css=False,
        server_functions=[missing],
        player_id=elem_id,
        armed_by=list(armed_by),
    )


def switch_to(elem_id: str) -> str:
    """JavaScript for `button.click(fn=None, js=switch_to("roll"))`: compare two takes.

    The player starts at the bar, and the place in it, where the one that plays is now, and that one
    pauses. Where none plays, it starts where it stands.
    """
    return f"() => {{ window.musiclstm?.players.get({json.dumps(elem_id)})?.switchTo(); }}"


# ---------------------------------------------------------------------------------- chunks of sound


@dataclass(frozen=True)
class Chunk:
    """A stretch of sound.

    Args:
        start_frame: Its place in the piece, counted from 0.
        frames: How long it is, 1 or more.
        data: A FLAC or WAV file of 44,100 Hz stereo with exactly as many frames.
    """

    start_frame: int
    frames: int
    data: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if self.start_frame < 0 or self.frames < 1:
            raise ValueError(
                "start_frame must be 0 or more and frames 1 or more, "
                f"got {self.start_frame} and {self.frames}."
            )


def encode_chunk(samples: NDArray[np.float32], *, start_frame: int) -> Chunk:
    """Pack samples of shape (frames, 2) in -1..1, 44,100 a second, as FLAC of 16 bits.

    Raises:
        RenderError: No frames.
        ValueError: Another shape, or a start before 0.
    """
    data = Audio(samples, RATE_HZ).to_bytes("flac")
    return Chunk(start_frame, len(samples), data)


class ChunkCache:
    """The chunks of recent takes, for browsers that missed some; shared by all visitors.

    Args:
        max_bytes: When more than this is kept, whole takes go, the least recently used first.
    """

    def __init__(self, *, max_bytes: int = 48_000_000) -> None:
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be 1 or more, got {max_bytes}.")
        self._max_bytes = max_bytes
        self._takes: OrderedDict[str, dict[tuple[int, int], bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, take: str, sound: int, chunk: Chunk) -> None:
        """Keep a chunk; of one take only the last two sounds stay."""
        with self._lock:
            chunks = self._takes.setdefault(take, {})
            for key in [key for key in chunks if key[0] < sound - 1]:
                del chunks[key]
            chunks[sound, chunk.start_frame] = chunk.data
            self._takes.move_to_end(take)
            while len(self._takes) > 1 and self.kept_bytes > self._max_bytes:
                self._takes.popitem(last=False)

    @property
    def kept_bytes(self) -> int:
        """How much sound there is."""
        return sum(len(data) for chunks in self._takes.values() for data in chunks.values())

    def missing(self, question: Any) -> dict[str, Any]:
        """Answer a browser; whatever it asks, this raises nothing.

        Args:
            question: `take`, `sound` and `starts`, the first frames of what it lacks.

        Returns:
            `chunks`: pairs of start and base64, as many of them as fit into one answer, one at
            least; `known`: whether there is anything of that take and sound.
        """
        take, sound, starts = _read(question)
        with self._lock:
            chunks = self._takes.get(take, {})
            known = any(key[0] == sound for key in chunks)
            found = [(start, chunks[sound, start]) for start in starts if (sound, start) in chunks]
            if known:
                self._takes.move_to_end(take)
        total, answer = 0, []
        for start, data in found:
            if total and total + len(data) > _ANSWER_BYTES:
                break
            total += len(data)
            answer.append([start, b64encode(data).decode()])
        return {"chunks": answer, "known": known}


def _read(question: Any) -> tuple[str, int, list[int]]:
    """Take, sound and starts of a question from anywhere; what is no such thing is left out."""
    asked = question if isinstance(question, dict) else {}
    take, sound, starts = (asked.get(name) for name in ("take", "sound", "starts"))
    starts = starts[:_MOST_ASKED] if isinstance(starts, list) else []
    return (
        take if isinstance(take, str) else "",
        sound if isinstance(sound, int) else -1,
        [start for start in starts if isinstance(start, int)],
    )


# ------------------------------------------------------------------------------------------ updates


class PlayerUpdates:
    """What a player is told about one take, update by update.

    A new broadcast is a new take: the player forgets what it had. `with_muted` goes on with the
    same take in another sound, and the listener keeps the place.

    Args:
        shelf: The one that the player was made with.
        planned_bars: How many bars there will be in all, so that the roll has its width from the
            beginning. None: it grows as they come.
        cue_frame: Where playing begins when the player was armed.
        on_request: Whether sound is made only where somebody wants to hear it.

    Attributes:
        take: The name of the take; whoever knows it can ask for its sound.
        muted: The programs that are silent in this sound, rising.
    """

    def __init__(
        self,
        shelf: ChunkCache,
        *,
        planned_bars: int | None = None,
        cue_frame: int = 0,
        on_request: bool = False,
    ) -> None:
        self.take = secrets.token_urlsafe(12)
        self.muted: tuple[int, ...] = ()
        self._shelf, self._planned_bars, self._cue_frame = shelf, planned_bars, cue_frame
        self._on_request = on_request
        self._sounds = itertools.count()
        self._begin_sound()

    def _begin_sound(self) -> None:
        self._sound = next(self._sounds)
        self._chunks: list[list[int]] = []
        self._complete = False

    def with_muted(self, muted: Iterable[int]) -> PlayerUpdates:
        """The same take with other instruments silent, without any sound yet.

        Its updates make the player leave the former sound as soon as the first chunk is there that
        is needed where the listener is; later updates of the former one are ignored.
        """
        other = copy.copy(self)
        other.muted = tuple(sorted(set(muted)))
        other._begin_sound()
        return other

    def update(
        self,
        roll: dict[str, Any],
        *,
        chunks: Iterable[Chunk] = (),
        complete: bool = False,
        selection: tuple[int, int] | None = None,
    ) -> dict[str, Any]:
        """The value for the component.

        The last update of a generator had better bring no chunks: Gradio sends it twice.

        Args:
            roll: All there is to see by now, from `roll_of`.
            chunks: What is new of the sound.
            complete: Whether this sound has all its chunks now; once said, it stays.
            selection: Bars to choose, first and last, counted from 1. None: leave it to the
                listener.
        """
        fresh = list(chunks)
        for chunk in fresh:
            self._shelf.put(self.take, self._sound, chunk)
            self._chunks.append([chunk.start_frame, chunk.frames])
        self._complete = self._complete or complete
        return {
            "number": _next_number(),
            "take": self.take,
            "sound": self._sound,
            # A text, for of anything else Gradio would watch each number.
            "roll": json.dumps(roll, separators=(",", ":")),
            "planned_bars": self._planned_bars,
            "cue_frame": self._cue_frame,
            "chunks": [list(chunk) for chunk in self._chunks],
            "fresh": [[chunk.start_frame, b64encode(chunk.data).decode()] for chunk in fresh],
            "complete": self._complete,
            "on_request": self._on_request,
            "muted": list(self.muted),
            "selection": None if selection is None else list(selection),
        }


_numbers = threading.Lock()
_last_number = 0


def _next_number() -> int:
    """Rises with every update, also over a restart of the server: microseconds of the clock."""
    global _last_number
    with _numbers:
        _last_number = max(_last_number + 1, time.time_ns() // 1_000)
        return _last_number
