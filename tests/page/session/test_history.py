"""The tree of versions, its undo stack and its limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musiclstm import ScoreError
from page.session.history import MAX_PROMPTS, MAX_VERSIONS, History
from page.session.prompt import PromptChoice

PROMPT = PromptChoice.bundled("Minuet in G (Petzold)")


@pytest.fixture(scope="module")
def piece(tiny_composer):
    return tiny_composer.compose(bars=4)


def history_of(piece, *parents):
    """Return a history with one version per parent, all of the same piece."""
    history = History()
    for parent in parents:
        history = history.add(PROMPT, piece, label="8 bars", parent=parent)
    return history


def numbers(history):
    return [version.number for version in history.versions]


# -- Undo and redo ----------------------------------------------------------------------


def test_an_empty_history_has_no_version():
    history = History()
    assert (history.current, history.version, history.outline()) == (None, None, ())
    assert not history.can_undo
    assert not history.can_redo
    assert history.undo() is history.redo() is history


def test_undo_follows_the_order_of_display_not_the_tree(piece):
    history = history_of(piece, None, None, 1)
    assert history.current == 3
    back = history.undo()
    assert back.current == 2
    assert back.undo().current == 1
    assert not back.undo().can_undo
    assert back.redo().current == 3
    assert not history.can_redo
    assert numbers(back) == [1, 2, 3]


def test_a_new_version_after_undo_keeps_the_undone_one_in_the_tree(piece):
    history = history_of(piece, None, 1).undo().add(PROMPT, piece, label="other", parent=1)
    assert history.current == 3
    assert not history.can_redo
    assert history.undo().current == 1
    assert [each.number for each in history.children(1)] == [2, 3]
    assert history.go_to(2).undo().current == 3


def test_changes_do_not_modify_the_history_itself(piece):
    history = history_of(piece, None)
    history.add(PROMPT, piece, label="more", parent=1)
    history.with_piece(1, piece.truncated(1))
    assert numbers(history) == [1]
    assert history.version.piece is piece


def test_a_version_counts_bars_as_the_file_does(piece):
    part = PROMPT.with_selection(first_bar=3, last_bar=6)
    version = History().add(part, piece, label="4 bars").version
    assert (version.first_bar, version.prompt_end, version.last_bar) == (3, 6, 10)
    assert str(version) == "1. 4 bars"
    opened = History().add(part, label="opened").version
    assert (opened.first_bar, opened.last_bar, opened.new_bars) == (1, 6, 0)


def test_prompts_are_limited():
    history = History()
    for number in range(MAX_PROMPTS + 3):
        history = history.add(PromptChoice.bundled("Ode to Joy (Beethoven)"), label=str(number))
    assert len(history.versions) == MAX_PROMPTS


def test_an_unknown_version_is_rejected(piece):
    history = history_of(piece, None)
    for ask in (history.version_of, history.go_to):
        with pytest.raises(ScoreError, match="Version 5"):
            ask(5)


def test_a_version_whose_parent_was_removed_is_a_root(piece):
    history = history_of(piece, None).add(PROMPT, piece, label="more", parent=9)
    assert history.version.parent is None
    assert [number for _, number in history.outline()] == [1, 2]


def test_a_longer_draft_replaces_the_piece_of_its_version(piece):
    history = History().add(PROMPT, piece.truncated(1), label="4 bars").with_piece(1, piece)
    assert history.version.piece is piece
    assert history.stack == (1,)


# -- Takes ---------------------------------------------------------------------------------------


def four_takes(piece, history=None, parent=None):
    history = history or History()
    for letter in "ABCD":
        history = history.add(PROMPT, piece, label="8 bars", letter=letter, parent=parent)
    return history


def test_four_takes_are_one_step_for_undo(piece):
    history = four_takes(piece, history_of(piece, None))
    assert history.current == 5
    assert history.go_to(2).go_to(3).undo().current == 1
    assert history.go_to(2).undo().redo().current == 2
    again = four_takes(piece, history.go_to(2))
    assert again.undo().current == 2
    assert [str(version) for version in history.children(None)][1:3] == [
        "2. A: 8 bars",
        "3. B: 8 bars",
    ]


# -- The tree ------------------------------------------------------------------------------------


def test_the_outline_indents_children(piece):
    history = history_of(piece, None, 1, None, 2, 1)
    assert [(text.count("\u2003"), number) for text, number in history.outline()] == [
        (0, 1), (1, 2), (2, 4), (1, 5), (0, 3),
    ]  # fmt: skip
    assert history.outline()[0] == ("1. 8 bars", 1)


def test_the_oldest_leaf_is_removed_first_but_never_the_current_version(piece):
    history = history_of(piece, *[None] * MAX_VERSIONS).add(PROMPT, piece, label="more", parent=1)
    assert len(history.versions) == MAX_VERSIONS
    assert 1 in numbers(history)
    assert 2 not in numbers(history)
    history = history.go_to(3).add(PROMPT, piece, label="more", parent=1)
    assert {1, 3} & set(numbers(history)) == {1}
    assert history.undo().current != 3


def test_without_other_leaves_the_oldest_version_is_removed(piece):
    history = history_of(piece, None, *range(1, MAX_VERSIONS + 1))
    assert numbers(history) == list(range(2, MAX_VERSIONS + 2))
    assert history.version_of(2).parent is None
    assert len(history.outline()) == MAX_VERSIONS


def test_shared_bars_count_once(piece, tiny_composer, monkeypatch):
    monkeypatch.setattr("page.session.history.MAX_BARS_KEPT", 9)
    history = history_of(piece, *[None] * 20)
    assert len(history.versions) == 20
    for _ in range(3):
        history = history.add(PROMPT, tiny_composer.compose(bars=4), label="4 bars")
    assert len(history.versions) == 2
    assert history.current == 23


actions = st.lists(
    st.tuples(st.sampled_from(["add", "takes", "undo", "redo", "go"]), st.integers(0, 99)),
    max_size=60,
)


@given(actions)
def test_after_any_actions_the_current_version_exists(piece, actions):
    history = History()
    for name, choice in actions:
        known = numbers(history)
        picked = known[choice % len(known)] if known else None
        if name == "add":
            history = history.add(PROMPT, piece, label="more", parent=picked)
        elif name == "takes":
            history = four_takes(piece, history, picked)
        elif name in ("undo", "redo"):
            history = getattr(history, name)()
        elif picked is not None:
            history = history.go_to(picked)
        kept = set(numbers(history))
        assert len(kept) <= MAX_VERSIONS
        assert (history.current in kept) == bool(kept)
        assert set(history.stack) <= kept
        assert {number for _, number in history.outline()} == kept
        assert len(history.outline()) == len(kept)
        shown = (history.undo().current, history.redo().current)
        assert (shown[0] != history.current) == history.can_undo
        assert (shown[1] != history.current) == history.can_redo
