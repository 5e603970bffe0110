"""Chunks and the values of the player component."""

from __future__ import annotations

import io
import json
from base64 import b64decode
from typing import Any

import numpy as np
import pytest
import soundfile

from page.playback import updates as module
from page.playback.audio_chunks import SAMPLE_RATE_HZ, Chunk, encode_chunk
from page.playback.chunk_cache import ChunkCache
from page.playback.updates import PlayerUpdates, roll_changes


def roll_of(starts: list[int], **others: Any) -> dict[str, Any]:
    times = {"ticks": [0], "seconds": [0.0]}
    notes = {"start": starts, "key": [60 + start for start in starts]}
    return {"bars": times, "clock": times, "notes": notes, **others}


ROLL = roll_of([])


def chunk(start: int = 0, data: bytes = b"audio") -> Chunk:
    return Chunk(start, 100, data)


def test_an_encoded_chunk_has_all_frames() -> None:
    samples = np.linspace(-0.5, 0.5, 2_002, dtype=np.float32).reshape(-1, 2)
    encoded = encode_chunk(samples, start_frame=7)
    decoded, rate_hz = soundfile.read(io.BytesIO(encoded.data))
    assert (encoded.start_frame, encoded.frames, rate_hz) == (7, 1_001, SAMPLE_RATE_HZ)
    assert decoded == pytest.approx(samples, abs=2**-15)


@pytest.mark.parametrize(("start", "frames"), [(-1, 5), (0, 0)])
def test_a_chunk_with_an_invalid_position_is_refused(start: int, frames: int) -> None:
    with pytest.raises(ValueError, match=f"got {start} and {frames}"):
        Chunk(start, frames, b"")


def test_an_update_lists_all_chunks_and_carries_the_new_ones() -> None:
    updates = PlayerUpdates(ChunkCache())
    updates.build(ROLL, chunks=[chunk(0), chunk(100)])
    value = updates.build(ROLL, chunks=[chunk(200, b"new")], selection=(3, 5), complete=True)
    assert value["chunks"] == [[0, 100], [100, 100], [200, 100]]
    assert [(start, b64decode(data)) for start, data in value["new_chunks"]] == [(200, b"new")]
    assert (value["selection"], value["complete"]) == ([3, 5], True)
    assert json.loads(json.dumps(value)) == value
    value = updates.build(ROLL)
    assert (value["selection"], value["complete"]) == (None, True)


def test_numbers_rise_across_streams_and_are_exact_in_javascript(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert 1.7e15 < PlayerUpdates(ChunkCache()).build(ROLL)["number"] < 2**53
    monkeypatch.setattr(module.time, "time_ns", lambda: 5_000)  # a clock that stands still
    streams = [PlayerUpdates(ChunkCache()) for _ in range(2)]
    assert streams[0].stream != streams[1].stream
    numbers = [streams[i % 2].build(ROLL)["number"] for i in range(6)]
    assert numbers == sorted(set(numbers))


def test_a_new_rendering_is_the_same_stream_without_chunks() -> None:
    updates = PlayerUpdates(ChunkCache(), planned_bars=8, cue_frame=50)
    updates.build(ROLL, chunks=[chunk()], complete=True)
    remixed = updates.remixed([40, -1, 40])
    value = remixed.build(ROLL)
    assert (value["stream"], value["rendering"]) == (updates.stream, 1)
    assert (value["muted"], value["chunks"], value["complete"]) == ([-1, 40], [], False)
    assert (value["planned_bars"], value["cue_frame"]) == (8, 50)
    late = updates.build(ROLL, chunks=[chunk()])
    assert (late["rendering"], late["muted"]) == (0, [])
    assert updates.remixed([]).build(ROLL)["rendering"] == 2


def test_a_roll_continues_the_one_before_also_in_a_new_rendering() -> None:
    cache = ChunkCache()
    updates = PlayerUpdates(cache)
    values = [updates.build(roll_of([1, 2])), updates.build(roll_of([1, 2, 5], remark="more"))]
    values.append(updates.remixed([0]).build(roll_of([1, 2, 5, 9])))
    rolls = [json.loads(value["roll"]) for value in values]
    assert [roll["base"] for roll in rolls] == [None, values[0]["number"], values[1]["number"]]
    assert rolls[1]["notes"] == {"from": 2, "start": [5], "key": [65]}
    assert rolls[1]["remark"] == "more"
    assert rolls[2]["notes"] == {"from": 3, "start": [9], "key": [69]}
    whole = cache.fetch_roll({"stream": updates.stream})
    assert whole is not None
    assert whole["number"] == values[2]["number"]
    assert json.loads(whole["roll"]) == roll_of([1, 2, 5, 9])


def test_a_changed_note_is_sent_with_all_later_ones() -> None:
    changes = roll_changes(roll_of([1, 2, 3]), roll_of([1, 4, 5, 6]))
    assert changes["notes"] == {"from": 1, "start": [4, 5, 6], "key": [64, 65, 66]}
    shorter = roll_changes(roll_of([1, 2, 3]), roll_of([1, 2]))
    assert shorter["notes"] == {"from": 2, "start": [], "key": []}
