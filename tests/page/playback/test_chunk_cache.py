"""The cache of chunks and piano rolls."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import pytest

from page.playback import chunk_cache
from page.playback.audio_chunks import Chunk
from page.playback.chunk_cache import ChunkCache


def cache_of(data: bytes, starts: list[int], **options: Any) -> ChunkCache:
    cache = ChunkCache(**options)
    for start in starts:
        cache.put("a", 0, Chunk(start, 100, data))
    return cache


def fetch(cache: ChunkCache, starts: Any, stream: Any = "a", rendering: Any = 0) -> dict[str, Any]:
    return cache.fetch_missing({"stream": stream, "rendering": rendering, "starts": starts})


def test_chunks_can_be_fetched_in_any_order() -> None:
    cache = cache_of(b"audio", [0, 100, 200])
    answer = fetch(cache, [200, 100, 999])
    found = [(start, b64decode(data)) for start, data in answer["chunks"]]
    assert found == [(200, b"audio"), (100, b"audio")]
    assert answer["known"]
    assert fetch(cache, [0], "another stream") == {"chunks": [], "known": False}


@pytest.mark.parametrize(
    "request_", [None, [], {}, {"stream": ["x"], "rendering": "0", "starts": 3}, {"starts": [{}]}]
)
def test_an_invalid_request_gets_an_empty_answer(request_: Any) -> None:
    assert ChunkCache().fetch_missing(request_) == {"chunks": [], "known": False}
    assert ChunkCache().fetch_roll(request_) is None


@pytest.mark.parametrize("limit", [10, 1])
def test_an_answer_has_a_limited_size_but_at_least_one_chunk(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(chunk_cache, "_MAX_ANSWER_BYTES", limit)
    cache = cache_of(b"7 bytes", [0, 100, 200])
    assert len(fetch(cache, [0, 100, 200])["chunks"]) == 1


def test_a_stream_keeps_its_last_two_renderings() -> None:
    cache = ChunkCache()
    for rendering in (1, 2, 3):
        cache.put("a", rendering, Chunk(0, 100, b"audio"))
    assert [fetch(cache, [0], "a", each)["known"] for each in (1, 2, 3)] == [False, True, True]
    assert cache.num_bytes == 10


def test_a_full_cache_evicts_the_least_recently_used_stream() -> None:
    cache = ChunkCache(max_bytes=25)
    for stream in ("a", "b"):
        cache.put(stream, 0, Chunk(0, 100, b"ten bytes."))
    fetch(cache, [0], "a")
    cache.put("c", 0, Chunk(0, 100, b"ten bytes."))
    assert [fetch(cache, [0], each)["known"] for each in "abc"] == [True, False, True]
    assert cache.num_bytes == 20
    cache.put_roll("c", 1, "ten bytes.")
    assert cache.fetch_roll({"stream": "c"}) == {"number": 1, "roll": "ten bytes."}
    assert not fetch(cache, [0], "a")["known"]


def test_the_newest_stream_stays_however_large() -> None:
    cache = cache_of(b"audio", [0, 100], max_bytes=1)
    assert len(fetch(cache, [0, 100])["chunks"]) == 2


def test_a_cache_without_space_is_refused() -> None:
    with pytest.raises(ValueError, match="got 0"):
        ChunkCache(max_bytes=0)
