"""Nothing a visitor made is lost by going back, and what is kept has bounds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musiclstm import ScoreError, Selection, example_files
from page.session import history as visit
from page.session.history import MAX_VERSIONS, History
from page.session.prompt import NOTHING, PromptChoice
from page.session.settings import PageSettings

TITLE = "Minuet in G (Petzold)"


@pytest.fixture(scope="module")
def piece(tiny_composer):
    return tiny_composer.compose(bars=4)


def grown_by(piece, *parents):
    """A history with a version for each parent, all of the same piece."""
    history = History()
    for parent in parents:
        history = history.add(piece, what="8 bars", parent=parent)
    return history


def numbers(history):
    return [version.number for version in history.versions]


# -- Seeds ---------------------------------------------------------------------------------------


def test_a_bundled_seed_is_found_by_title_and_by_the_name_in_recipes(tiny_composer):
    seed = PromptChoice.bundled(TITLE)
    assert seed.prompt == example_files()[TITLE]
    assert (seed.title, seed.report.bars) == (TITLE, 8)
    name = tiny_composer.compose(bars=1, prompt=seed.prompt).recipe.source.name
    assert PromptChoice.bundled(name.removeprefix("bundled:")).title == TITLE
    with pytest.raises(ScoreError, match="There is no bundled seed '<b>'; choose one"):
        PromptChoice.bundled("<b>")


def test_an_uploaded_file_may_go_away(tmp_path):
    path = tmp_path / "motif.mid"
    path.write_bytes(example_files()[TITLE].read_bytes())
    seed = PromptChoice.read(path)
    path.unlink()
    assert seed.title == "motif.mid"
    assert seed.prompt == example_files()[TITLE].read_bytes()
    assert seed.score.note_num() == seed.report.notes
    assert PromptChoice.read(seed.prompt).title == "Untitled"
    assert PromptChoice.read(seed.prompt, title="mine").title == "mine"


def test_what_is_no_music_is_refused():
    with pytest.raises(ScoreError):
        PromptChoice.read(b"no midi at all")


def test_a_part_of_a_seed_can_be_chosen_and_let_go():
    seed = PromptChoice.bundled(TITLE)
    part = seed.choosing(tracks=[0], first_bar=2, last_bar=7, keep_others=False)
    assert part.selection == Selection(frozenset({0}), 2, 7, keep_others=False)
    assert part.prompt == seed.prompt
    assert part.choosing().selection is None
    everything = range(len(seed.report.tracks))
    assert seed.choosing(tracks=everything, last_bar=seed.report.bars).selection is None
    assert NOTHING.choosing(tracks=[3]) is NOTHING


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"tracks": []}, "tracks must contain at least one track"),
        ({"tracks": [7]}, "The prompt has no track 7"),
        ({"first_bar": 0}, "first_bar must be 1 or more"),
        ({"first_bar": 3, "last_bar": 2}, "last_bar must be at least first_bar"),
        ({"last_bar": 99}, "The prompt has no bar 99"),
    ],
)
def test_a_part_that_is_not_there_is_refused(choice, sentence):
    with pytest.raises(ScoreError, match=sentence):
        PromptChoice.bundled(TITLE).choosing(**choice)


def test_seeds_are_told_apart_by_file_and_choice():
    seed = PromptChoice.bundled(TITLE)
    part = seed.choosing(last_bar=4)
    titles = [PromptChoice.bundled(title) for title in example_files()]
    keys = [each.key for each in (*titles, part, NOTHING)]
    assert len(set(keys)) == len(keys)
    assert part.choosing().key == seed.key
    assert PromptChoice.bundled(TITLE).choosing(last_bar=4).key == part.key


def test_a_seed_says_what_it_holds():
    first, *rest = PromptChoice.bundled(TITLE).about()
    assert first == "8 bars of 3/4 at 116 bpm in G major"
    assert len(rest) == len(PromptChoice.bundled(TITLE).report.tracks)
    assert NOTHING.about() == ("A new piece, from nothing.",)
    assert (NOTHING.prompt, NOTHING.score) == (None, None)


# -- The way back and forth ----------------------------------------------------------------------


def test_before_the_first_press_there_is_nothing():
    history = History()
    assert (history.current, history.version, history.lines()) == (None, None, ())
    assert not history.can_undo
    assert not history.can_redo
    assert history.undo() is history.redo() is history
    with pytest.raises(ScoreError, match="There is no piece yet; press Continue first"):
        history.redo_from_bar(1)


def test_undo_shows_what_was_shown_before_whatever_the_tree(piece):
    history = grown_by(piece, None, None, 1)
    assert history.current == 3
    back = history.undo()
    assert back.current == 2
    assert back.undo().current == 1
    assert not back.undo().can_undo
    assert back.redo().current == 3
    assert not history.can_redo
    assert numbers(back) == [1, 2, 3]


def test_what_was_undone_stays_in_the_tree_after_something_else(piece):
    history = grown_by(piece, None, 1).undo().add(piece, what="other", parent=1)
    assert history.current == 3
    assert not history.can_redo
    assert history.undo().current == 1
    assert [each.number for each in history.branches(1)] == [2, 3]
    assert history.go_to(2).undo().current == 3


def test_a_history_that_was_changed_leaves_the_old_one_alone(piece):
    history = grown_by(piece, None)
    history.add(piece, what="more", parent=1)
    history.grown(1, piece.truncated(1))
    assert numbers(history) == [1]
    assert history.version.piece is piece


def test_a_version_knows_how_it_came_about(piece):
    settings = PageSettings(bars=4)
    history = History().add(piece, what="4 bars", title=TITLE, settings=settings)
    version = history.version
    assert (version.what, version.title, version.settings) == ("4 bars", TITLE, settings)
    assert str(version) == "1. 4 bars"


def test_a_version_that_is_not_there_is_refused(piece):
    history = grown_by(piece, None)
    for ask in (history.version_of, history.go_to, history.keep):
        with pytest.raises(ScoreError, match="Version 5 is not there any more"):
            ask(5)


def test_what_goes_on_from_a_version_that_is_gone_begins_a_branch(piece):
    history = grown_by(piece, None).add(piece, what="more", parent=9)
    assert history.version.parent is None
    assert [number for _, number in history.lines()] == [1, 2]


def test_a_piece_grows_in_its_version(piece):
    history = History().add(piece.truncated(1), what="4 bars").grown(1, piece)
    assert history.version.piece is piece
    assert history.trail == (1,)


# -- Takes ---------------------------------------------------------------------------------------


def four_takes(piece, history=None, parent=None):
    history = history or History()
    for letter in "ABCD":
        history = history.add(piece, what="8 bars", letter=letter, parent=parent)
    return history


def test_four_takes_are_one_step_of_the_way(piece):
    history = four_takes(piece, grown_by(piece, None))
    assert history.current == 5
    assert history.go_to(2).go_to(3).undo().current == 1
    assert history.go_to(2).undo().redo().current == 2
    again = four_takes(piece, history.go_to(2))
    assert again.undo().current == 2
    assert [str(version) for version in history.branches(None)][1:3] == [
        "2. A: 8 bars",
        "3. B: 8 bars",
    ]


def test_the_takes_that_are_not_kept_go(piece):
    history = four_takes(piece, four_takes(piece))
    assert numbers(history.keep(6)) == [1, 2, 3, 4, 6]
    assert history.keep(6).current == 6
    assert numbers(history.keep(6).keep(1)) == [1, 6]


def test_a_take_that_was_gone_on_with_stays(piece):
    history = four_takes(piece).add(piece, what="more", parent=2)
    assert numbers(history.keep(4)) == [2, 4, 5]
    assert numbers(history.keep(5)) == [1, 2, 3, 4, 5]


# -- From a bar on -------------------------------------------------------------------------------


def test_from_a_bar_on_gives_what_came_before_and_how_much_is_missing(tiny_composer, piece):
    history = grown_by(piece, None)
    before, missing = history.redo_from_bar(3)
    assert (before.bars, missing) == (2, 2)
    assert tiny_composer.extend(before, bars=missing).to_midi() == piece.to_midi()
    assert history.redo_from_bar(1)[1] == 4
    for bar in (0, 5, -1):
        with pytest.raises(ScoreError, match="the new bars are 1 to 4; choose one of them"):
            history.redo_from_bar(bar)


# -- The tree ------------------------------------------------------------------------------------


def test_lines_are_indented_below_what_they_go_on_from(piece):
    history = grown_by(piece, None, 1, None, 2, 1)
    assert [(text.count("\u2003"), number) for text, number in history.lines()] == [
        (0, 1), (1, 2), (2, 4), (1, 5), (0, 3),
    ]  # fmt: skip
    assert history.lines()[0] == ("1. 8 bars", 1)


def test_the_oldest_leaf_goes_first_and_never_the_shown_one(piece):
    history = grown_by(piece, *[None] * MAX_VERSIONS).add(piece, what="more", parent=1)
    assert len(history.versions) == MAX_VERSIONS
    assert 1 in numbers(history)
    assert 2 not in numbers(history)
    history = history.go_to(3).add(piece, what="more", parent=1)
    assert {1, 3} & set(numbers(history)) == {1}
    assert history.undo().current != 3


def test_of_a_tree_without_branches_the_beginning_goes(piece):
    history = grown_by(piece, None, *range(1, MAX_VERSIONS + 1))
    assert numbers(history) == list(range(2, MAX_VERSIONS + 2))
    assert history.version_of(2).parent is None
    assert len(history.lines()) == MAX_VERSIONS


def test_bars_that_versions_share_count_once(piece, tiny_composer, monkeypatch):
    monkeypatch.setattr(visit, "MAX_BARS_KEPT", 9)
    history = grown_by(piece, *[None] * 20)
    assert len(history.versions) == 20
    for _ in range(3):
        history = history.add(tiny_composer.compose(bars=4), what="4 bars")
    assert len(history.versions) == 2
    assert history.current == 23


presses = st.lists(
    st.tuples(st.sampled_from(["add", "takes", "undo", "redo", "go", "keep"]), st.integers(0, 99)),
    max_size=60,
)


@given(presses)
def test_whatever_is_pressed_the_shown_version_is_there(piece, presses):
    history = History()
    for name, choice in presses:
        known = numbers(history)
        picked = known[choice % len(known)] if known else None
        if name == "add":
            history = history.add(piece, what="more", parent=picked)
        elif name == "takes":
            history = four_takes(piece, history, picked)
        elif name in ("undo", "redo"):
            history = getattr(history, name)()
        elif picked is not None:
            history = (history.go_to if name == "go" else history.keep)(picked)
        kept = set(numbers(history))
        assert len(kept) <= MAX_VERSIONS
        assert (history.current in kept) == bool(kept)
        assert set(history.trail) <= kept
        assert {number for _, number in history.lines()} == kept
        assert len(history.lines()) == len(kept)
        shown = (history.undo().current, history.redo().current)
        assert (shown[0] != history.current) == history.can_undo
        assert (shown[1] != history.current) == history.can_redo


def test_a_bundled_seed_keeps_its_path():
    assert isinstance(PromptChoice.bundled(TITLE).prompt, Path)
