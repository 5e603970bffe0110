"""What the player is told: chunks, updates, answers."""

from __future__ import annotations

import io
import json
import tomllib
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from page.playback import player as module
from page.playback.player import (
    RATE_HZ,
    Chunk,
    ChunkCache,
    PlayerUpdates,
    encode_chunk,
    player,
    switch_to,
)

ROOT = Path(__file__).parents[3]
ROLL: dict[str, Any] = {"bars": {"ticks": [0], "seconds": [0.0]}}


def chunk(start: int = 0, data: bytes = b"sound") -> Chunk:
    return Chunk(start, 100, data)


# -- Chunks --------------------------------------------------------------------------------------


def test_a_chunk_keeps_every_frame() -> None:
    samples = np.linspace(-0.5, 0.5, 2_002, dtype=np.float32).reshape(-1, 2)
    made = encode_chunk(samples, start_frame=7)
    back, rate_hz = soundfile.read(io.BytesIO(made.data))
    assert (made.start_frame, made.frames, rate_hz) == (7, 1_001, RATE_HZ)
    assert back == pytest.approx(samples, abs=2**-15)


@pytest.mark.parametrize(("start", "frames"), [(-1, 5), (0, 0)])
def test_a_chunk_has_a_place_and_a_length(start: int, frames: int) -> None:
    with pytest.raises(ValueError, match=f"got {start} and {frames}"):
        Chunk(start, frames, b"")


# -- Updates -------------------------------------------------------------------------------------


def test_an_update_names_all_chunks_and_carries_the_new_ones() -> None:
    broadcast = PlayerUpdates(ChunkCache())
    broadcast.update(ROLL, chunks=[chunk(0), chunk(100)])
    value = broadcast.update(ROLL, chunks=[chunk(200, b"new")])
    assert value["chunks"] == [[0, 100], [100, 100], [200, 100]]
    assert [(start, b64decode(data)) for start, data in value["fresh"]] == [(200, b"new")]
    assert json.loads(value["roll"]) == ROLL
    assert json.loads(json.dumps(value)) == value


def test_numbers_rise_whoever_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "time_ns", lambda: 5_000)  # a clock that stands still
    shelf = ChunkCache()
    senders = [PlayerUpdates(shelf), PlayerUpdates(shelf)]
    numbers = [senders[i % 2].update(ROLL)["number"] for i in range(6)]
    assert numbers == sorted(set(numbers))


def test_numbers_are_whole_in_javascript() -> None:
    assert 1.7e15 < PlayerUpdates(ChunkCache()).update(ROLL)["number"] < 2**53


def test_every_broadcast_is_a_take_of_its_own() -> None:
    shelf = ChunkCache()
    assert len({PlayerUpdates(shelf).take for _ in range(50)}) == 50


def test_what_was_complete_stays_so() -> None:
    broadcast = PlayerUpdates(ChunkCache())
    said = [broadcast.update(ROLL, complete=yes)["complete"] for yes in (False, True, False)]
    assert said == [False, True, True]


def test_another_sound_is_the_same_take_with_nothing_to_hear_yet() -> None:
    broadcast = PlayerUpdates(ChunkCache(), planned_bars=8, cue_frame=50)
    broadcast.update(ROLL, chunks=[chunk()], complete=True)
    value = (other := broadcast.with_muted([40, -1, 40])).update(ROLL)
    assert (value["take"], value["sound"], value["muted"]) == (broadcast.take, 1, [-1, 40])
    assert (value["chunks"], value["complete"]) == ([], False)
    assert (value["planned_bars"], value["cue_frame"]) == (8, 50)
    assert other.with_muted([]).update(ROLL)["sound"] == 2


def test_a_late_update_of_the_former_sound_still_says_that_it_is_the_former() -> None:
    broadcast = PlayerUpdates(ChunkCache())
    broadcast.with_muted([0])
    value = broadcast.update(ROLL, chunks=[chunk()])
    assert (value["sound"], value["muted"]) == (0, [])
    assert broadcast.with_muted([1]).update(ROLL)["sound"] == 2


def test_bars_can_be_chosen_from_outside() -> None:
    broadcast = PlayerUpdates(ChunkCache())
    assert broadcast.update(ROLL, selection=(3, 5))["selection"] == [3, 5]
    assert broadcast.update(ROLL)["selection"] is None


# -- Asking for what is missing ------------------------------------------------------------------


def asked(shelf: ChunkCache, take: Any, starts: Any, sound: Any = 0) -> dict[str, Any]:
    return shelf.missing({"take": take, "sound": sound, "starts": starts})


def test_what_was_lost_can_be_asked_for() -> None:
    shelf = ChunkCache()
    broadcast = PlayerUpdates(shelf)
    broadcast.update(ROLL, chunks=[chunk(0, b"a"), chunk(100, b"b"), chunk(200, b"c")])
    answer = asked(shelf, broadcast.take, [200, 100, 999])
    assert [(start, b64decode(data)) for start, data in answer["chunks"]] == [
        (200, b"c"),
        (100, b"b"),
    ]
    assert answer["known"]


def test_what_is_not_kept_is_not_known() -> None:
    assert asked(ChunkCache(), "no such take", [0]) == {"chunks": [], "known": False}


@pytest.mark.parametrize(
    "question",
    [None, 7, [], "take", {}, {"take": ["x"], "sound": "0", "starts": 3}, {"starts": [{}, None]}],
)
def test_a_strange_question_gets_an_empty_answer(question: Any) -> None:
    assert ChunkCache().missing(question) == {"chunks": [], "known": False}


def test_an_answer_stays_small_and_is_never_empty_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_ANSWER_BYTES", 10)
    shelf = ChunkCache()
    broadcast = PlayerUpdates(shelf)
    broadcast.update(ROLL, chunks=[chunk(start, b"7 bytes") for start in (0, 100, 200)])
    assert len(asked(shelf, broadcast.take, [0, 100, 200])["chunks"]) == 1
    monkeypatch.setattr(module, "_ANSWER_BYTES", 1)
    assert len(asked(shelf, broadcast.take, [0, 100, 200])["chunks"]) == 1


def test_only_the_last_two_sounds_of_a_take_stay() -> None:
    shelf = ChunkCache()
    broadcast = PlayerUpdates(shelf)
    for muted in ([], [1], [2]):
        broadcast = broadcast.with_muted(muted)
        broadcast.update(ROLL, chunks=[chunk()])
    known = [asked(shelf, broadcast.take, [0], sound)["known"] for sound in (1, 2, 3)]
    assert known == [False, True, True]


def test_a_full_shelf_lets_the_take_go_that_was_used_longest_ago() -> None:
    shelf = ChunkCache(max_bytes=25)
    takes = [PlayerUpdates(shelf) for _ in range(3)]
    takes[0].update(ROLL, chunks=[chunk(0, b"ten bytes.")])
    takes[1].update(ROLL, chunks=[chunk(0, b"ten bytes.")])
    asked(shelf, takes[0].take, [0])
    takes[2].update(ROLL, chunks=[chunk(0, b"ten bytes.")])
    assert [asked(shelf, each.take, [0])["known"] for each in takes] == [True, False, True]
    assert shelf.kept_bytes == 20


def test_the_newest_take_stays_however_large() -> None:
    shelf = ChunkCache(max_bytes=1)
    broadcast = PlayerUpdates(shelf)
    broadcast.update(ROLL, chunks=[chunk(0), chunk(100)])
    assert len(asked(shelf, broadcast.take, [0, 100])["chunks"]) == 2


def test_a_shelf_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="1 or more, got 0"):
        ChunkCache(max_bytes=0)


# -- The component -------------------------------------------------------------------------------


def test_the_component_answers_with_what_its_shelf_has() -> None:
    shelf = ChunkCache()
    broadcast = PlayerUpdates(shelf)
    broadcast.update(ROLL, chunks=[chunk()])
    component = player("roll", label="The music", shelf=shelf, armed_by=["go"])
    question = {"take": broadcast.take, "sound": 0, "starts": [0]}
    assert component.missing(question) == shelf.missing(question)
    assert component.props == {"player_id": "roll", "armed_by": ["go"]}
    assert "value" not in component.html_template


def test_no_markup_is_ever_made_from_data() -> None:
    files = [ROOT / "page" / name for name in ("sound.js", "roll.js", "player.js")]
    for file in files:
        text = file.read_text(encoding="utf-8")
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert way not in text, f"{file.name} uses {way}"


def test_the_style_is_left_alone_by_the_template() -> None:
    style = (ROOT / "page" / "player.css").read_text(encoding="utf-8")
    assert [each for each in ("{{", "${", "`", "\\") if each in style] == []


def test_a_name_in_the_page_is_quoted_in_javascript() -> None:
    assert 'get("it\'s")' in switch_to("it's")


def test_all_files_of_the_page_are_installed() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "page*" in setuptools["packages"]["find"]["include"]
    patterns = setuptools["package-data"]["page"]
    for file in (ROOT / "page").iterdir():
        if file.is_file() and file.suffix != ".py":
            assert any(file.match(pattern) for pattern in patterns), file.name
