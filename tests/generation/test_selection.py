"""Which tracks and bars are chosen: what cannot be is refused in one sentence."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from musiclstm import ScoreError, Selection


def test_everything_is_chosen_unless_something_is() -> None:
    assert Selection() == Selection(tracks=None, first_bar=1, last_bar=None, keep_others=True)
    Selection().check(1, 1)


def test_a_plain_set_of_tracks_will_do() -> None:
    assert Selection(tracks={2, 0}) == Selection(tracks=frozenset({0, 2}))
    assert hash(Selection(tracks=[1])) == hash(Selection(tracks={1}))


def test_a_selection_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Selection().first_bar = 2


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"tracks": set()}, "tracks must name at least one track; None chooses all"),
        ({"tracks": {-1}}, r"tracks must be whole numbers from 0 on, got \[-1\]"),
        ({"tracks": {"a"}}, r"tracks must be whole numbers from 0 on, got \['a'\]"),
        ({"first_bar": 0}, "first_bar must be from 1 on, got 0"),
        ({"first_bar": 1.5}, "first_bar must be from 1 on, got 1.5"),
        ({"first_bar": 4, "last_bar": 3}, "last_bar must be at least first_bar, 4, got 3"),
        ({"last_bar": 2.5}, "last_bar must be at least first_bar, 1, got 2.5"),
    ],
)
def test_what_chooses_nothing_is_refused(asked, sentence) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        Selection(**asked)


@pytest.mark.parametrize(
    ("selection", "sentence"),
    [
        (Selection(tracks={3, 5}), "The prompt has no track 3; choose of its 3, numbers 0 to 2."),
        (Selection(first_bar=9), "The prompt has no bar 9: it has 8; choose bars from 1 to 8."),
        (Selection(last_bar=10), "The prompt has no bar 10: it has 8; choose bars from 1 to 8."),
    ],
)
def test_what_is_not_there_is_refused(selection, sentence) -> None:
    with pytest.raises(ScoreError) as refusal:
        selection.check(tracks=3, bars=8)
    assert str(refusal.value) == sentence


def test_the_only_track_is_said_to_be_the_only_one() -> None:
    with pytest.raises(ScoreError, match=r"choose of its 1, number 0\."):
        Selection(tracks={1}).check(tracks=1, bars=8)


def test_the_last_track_and_bar_can_be_chosen() -> None:
    Selection(tracks={2}, first_bar=8, last_bar=8).check(tracks=3, bars=8)
