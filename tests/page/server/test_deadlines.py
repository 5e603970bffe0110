"""How long a turn lasts, and how it is told to end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from page.server.deadlines import (
    CLOSING,
    LONGEST_ENDLESS_S,
    LONGEST_S,
    UNDISTURBED_S,
    ClosingError,
    Deadlines,
    JobDeadline,
)
from page.session.job import stop_when_done


@pytest.fixture
def turns() -> Deadlines:
    return Deadlines()


def begun(turns: Deadlines, *, endless: bool = False) -> JobDeadline:
    turn = JobDeadline()
    turn.endless = endless
    turns.begin(turn)
    return turn


def swept(turns: Deadlines, turn: JobDeadline, after_s: float, *, waiting: int = 0) -> str:
    turns.sweep(waiting=waiting, now_s=turn.began_s + after_s)
    assert turn.stopped.is_set() == bool(turn.why)
    return turn.why


def test_a_turn_is_over_after_its_time(turns: Deadlines) -> None:
    turn = begun(turns)
    assert swept(turns, turn, LONGEST_S, waiting=20) == ""
    assert swept(turns, turn, LONGEST_S + 1) == (
        "This took longer than 5 minutes and was ended; what there is stays here."
    )


def test_endless_music_has_longer(turns: Deadlines) -> None:
    turn = begun(turns, endless=True)
    assert swept(turns, turn, LONGEST_ENDLESS_S) == ""
    assert swept(turns, turn, LONGEST_ENDLESS_S + 1).startswith("Endless music rests after 30")


def test_endless_music_gives_way_where_others_wait(turns: Deadlines) -> None:
    turn = begun(turns, endless=True)
    assert swept(turns, turn, UNDISTURBED_S, waiting=1) == ""
    assert swept(turns, turn, UNDISTURBED_S + 1) == ""
    assert swept(turns, turn, UNDISTURBED_S + 1, waiting=1).startswith("Others are waiting")


def test_the_first_reason_stays(turns: Deadlines) -> None:
    turn = begun(turns)
    turn.end("First.")
    turn.end("Second.")
    assert turn.why == "First."


def test_who_is_over_is_not_swept(turns: Deadlines) -> None:
    turn = begun(turns)
    turns.over(turn)
    assert swept(turns, turn, LONGEST_S + 1) == ""
    assert len(turns) == 0


def test_a_turn_ends_with_its_block_however_that_ends(turns: Deadlines) -> None:
    with suppress(KeyError), turns.one():
        assert len(turns) == 1
        raise KeyError
    assert len(turns) == 0


def test_closing_ends_all_and_begins_none(turns: Deadlines) -> None:
    turn = begun(turns)
    turns.close()
    assert (turn.why, turn.cut) == (CLOSING, True)
    with pytest.raises(ClosingError, match="about to close"):
        turns.begin(JobDeadline())
    assert len(turns) == 1


def test_a_turn_that_is_ended_gives_one_more_draft_at_most() -> None:
    turn, given = JobDeadline(), []

    def drafts() -> Iterator[int]:
        for number in range(100):
            if number == 3:
                turn.end("Enough.")
            given.append(number)
            yield number

    assert list(stop_when_done(drafts(), turn)) == [0, 1, 2, 3]
    assert given == [0, 1, 2, 3]


def test_turns_begin_and_end_while_others_are_swept(turns: Deadlines) -> None:
    def come_and_go() -> None:
        for _ in range(500):
            with turns.one():
                pass

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        turns.sweep(waiting=0)
    assert len(turns) == 0
