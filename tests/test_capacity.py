"""How many notes there is room for, compared with counting by hand."""

from __future__ import annotations

import random

import pytest

from musiclstm.capacity import NO_LIMIT, Outlook, strikes_in_bar


def by_hand(ends: list[int], position: int, voices: int, together: int) -> int:
    """How many notes may be struck at a position."""
    return max(0, min(voices - sum(end > position for end in ends), together))


def cases(count: int = 60):
    """Length, ends, voices and together, by chance."""
    rng = random.Random(3)
    for _ in range(count):
        voices, length = rng.randint(1, 6), rng.choice((12, 36, 48))
        ends = [rng.randint(1, 3 * length) for _ in range(rng.randint(0, voices))]
        yield length, ends, voices, rng.randint(1, 8)


def test_room_is_what_is_left_of_the_voices() -> None:
    view = Outlook(4, [1, 3, 20], voices=3, together=8)
    assert view.room.tolist() == [0, 1, 1, 2, 2, 2, 2, 2, NO_LIMIT]
    assert view.strikes_from.tolist() == [4, 4, 3, 2, 0]
    assert view.least_room == 0


def test_without_a_number_of_voices_only_strikes_are_counted() -> None:
    view = Outlook(4, together=2)
    assert view.strikes.tolist() == [2, 2, 2, 2]
    assert view.longest(1, to_spare=0, fewest_next=8) == NO_LIMIT


def test_on_a_downbeat_only_the_first_position_counts() -> None:
    view = Outlook(4, voices=3, together=2, downbeat_only=True)
    assert view.strikes_from.tolist() == [2, 0, 0, 0, 0]
    assert view.longest(0, to_spare=0, fewest_next=0) == NO_LIMIT


def test_a_note_that_begins_or_ends_changes_what_was_counted() -> None:
    view = Outlook(4, voices=1, together=1)
    assert view.strikes_from[0] == 4
    assert view.next_from[0] == 4
    view.sound(1, 6)
    assert view.strikes.tolist() == [1, 0, 0, 0]
    assert view.next_from[0] == 2
    view.sound(2, 6, -1)
    assert view.strikes.tolist() == [1, 0, 1, 1]
    view.sound(3, 100)  # longer than anybody looks
    assert view.room.tolist() == [1, 0, 1, 0, 0, 0, 0, 0, NO_LIMIT]


@pytest.mark.parametrize("case", list(cases()), ids=str)
def test_counts_agree_with_counting_by_hand(case) -> None:
    length, ends, voices, together = case
    view = Outlook(length, ends, voices=voices, together=together, most_in_token=2)
    hand = [by_hand(ends, position, voices, together) for position in range(2 * length)]
    assert view.strikes.tolist() == hand[:length]
    assert view.strikes_from.tolist() == [sum(hand[at:length]) for at in range(length + 1)]
    assert view.next_from.tolist() == [sum(hand[length + at :]) for at in range(length + 1)]
    spare = [by_hand(ends, position, voices - 2, together) for position in range(length)]
    assert view.spare_from.tolist() == [sum(spare[at:]) for at in range(length + 1)]
    assert strikes_in_bar(length, ends, voices=voices, together=together) == sum(hand[:length])


@pytest.mark.parametrize("case", list(cases()), ids=str)
@pytest.mark.parametrize("to_spare", [0, 2, 20])
@pytest.mark.parametrize("fewest", [1, 5])
def test_the_longest_note_is_the_longest_that_leaves_room(case, to_spare, fewest) -> None:
    length, ends, voices, together = case
    position = length // 3
    if by_hand(ends, position, voices, voices) < 1:
        ends = ends[1:]
    view = Outlook(length, ends, voices=voices, together=together)
    longest = view.longest(position, to_spare=to_spare, fewest_next=fewest)

    def leaves_room(duration: int) -> bool:
        after = Outlook(length, [*ends, position + duration], voices=voices, together=together)
        lost = view.strikes_from[position + 1] - after.strikes_from[position + 1]
        return bool(lost <= to_spare and after.next_from[0] >= fewest)

    possible = [d for d in range(1, 2 * length - position + 1) if leaves_room(d)]
    if view.next_from[0] < fewest:  # lost already; the note adds nothing to it
        assert longest <= length - position
    elif longest == NO_LIMIT:
        assert possible[-1] == 2 * length - position
    else:
        assert longest == possible[-1]


@pytest.mark.parametrize("case", list(cases()), ids=str)
def test_until_the_latest_end_a_token_may_sound_in_any_way(case) -> None:
    length, ends, voices, together = case
    most = 2
    view = Outlook(length, ends, voices=voices, together=together, most_in_token=most)
    for fewest in (1, 4, length):
        latest = view.latest_end(fewest)
        assert latest >= length
        if latest > length:
            worst = min(latest, 2 * length) if latest < NO_LIMIT else 2 * length
            crowd = Outlook(length, [*ends, *[worst] * most], voices=voices, together=together)
            assert crowd.next_from[0] >= fewest
