"""Undo, versions, downloads and other models."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from musiclstm import Composer, Recipe, read_midi
from page.ui.errors import event_handler
from tests.page.session_driver import SessionDriver, build_events, text_of


def test_undo_and_redo_go_back_to_the_prompt_and_forth(ann: SessionDriver) -> None:
    first = ann.run().piece
    second = ann.run(bars=3).piece
    assert ann.newest(ann.page.actions.undo)["interactive"] is True
    assert ann.move("undo").piece is first
    assert ann.texts[-1] == "Continue adds 3 bars after bar 10."
    assert ann.newest(ann.page.actions.redo)["interactive"] is True
    ann.move("undo")
    assert ann.session.version.piece is None
    assert ann.newest(ann.page.actions.undo)["interactive"] is False
    assert ann.newest(ann.page.actions.again)["interactive"] is False
    assert ann.move("redo").move("redo").piece is second
    assert ann.move("go_to", 2).piece is first
    lines = text_of(ann.newest(ann.page.result.history))
    assert lines == (
        "History: 3 versions 1. Minuet in G (Petzold) \u2003 2. 2 bars after bar 8 "
        "\u2003\u2003 3. 3 bars after bar 10"
    ).replace("\u2003 ", "").replace("\u2003", "")


def test_without_new_bars_buttons_say_what_to_do(ann: SessionDriver) -> None:
    with pytest.raises(gr.Error, match="press Continue first"):
        ann.run("again")
    with pytest.raises(gr.Error, match="press Continue first"):
        ann.download("new_midi")
    assert read_midi(ann.download("midi")[1])[1].bars == 8


@pytest.mark.parametrize("number", [99, None, "x"])
def test_a_version_that_does_not_exist_is_rejected(ann: SessionDriver, number: Any) -> None:
    ann.run()
    with pytest.raises(gr.Error, match="is not there"):
        ann.move("go_to", number)


def test_the_status_says_what_the_next_press_does(ann: SessionDriver) -> None:
    status, set_bars = ann.page.status, ann.events.history.set_bars
    for bars, endless, text in (
        (1, False, "Continue adds 1 bar after bar 8."),
        (16, False, "Continue adds 16 bars after bar 8."),
        (4, True, "Continue adds bars after bar 8 until you press Stop."),
    ):
        assert text_of(set_bars(ann.session, bars, endless)[status]) == text


def test_selected_bars_are_shown_with_what_can_be_done(ann: SessionDriver) -> None:
    ann.run()
    select, chosen = ann.events.history.select_bars, ann.page.actions.chosen
    shown = select(ann.session, {"first": 10, "last": 10})[chosen]
    assert (text_of(shown), "new" in shown) == ("Bar 10", True)
    shown = select(ann.session, {"first": 8, "last": 9})[chosen]
    assert (text_of(shown), "old" in shown) == ("Bars 8 to 9", True)
    for data in ({"first": None}, {"first": "x"}, {"first": 3, "last": 1}, {}):
        assert select(ann.session, data) == {chosen: ""}  # type: ignore[arg-type]


def test_downloads_hold_the_piece_and_have_safe_names(
    ann: SessionDriver, midi_file: Callable[..., Path]
) -> None:
    ann.prompt("upload", str(midi_file("<i>..%2f x.mid")))
    ann.run(random_seed="7")
    contents = {"midi": ann.piece.to_midi(), "new_midi": ann.piece.to_midi(only_new=True)}
    for kind, content in contents.items():
        name, data = ann.download(kind)
        assert data == content
        assert re.fullmatch(r"musiclstm-[a-z0-9-]+-7(-new)?\.mid", name)
    assert Recipe.from_json(ann.download("recipe")[1]) == ann.piece.recipe


def test_a_download_without_soundfont_is_rejected(ann: SessionDriver) -> None:
    ann.run()
    with pytest.raises(gr.Error, match="No SoundFont"):
        ann.download("wav")


def test_another_model_is_loaded_for_one_user_only(
    ann: SessionDriver, bob: SessionDriver, tiny_checkpoint: Path
) -> None:
    load = event_handler(ann.events.load_model)
    card = load(ann.session, str(tiny_checkpoint))
    assert f"Composed by {tiny_checkpoint.name} " in text_of(card)
    assert ann.run().piece.model_info.model == tiny_checkpoint.name
    assert bob.session.composer is None
    with pytest.raises(gr.Error, match="nowhere"):
        load(bob.session, "/nowhere/<b>")


def test_the_model_box_is_optional(ann: SessionDriver, tiny_composer: Composer) -> None:
    assert ann.page.model_name is None
    assert build_events(tiny_composer, model_box=True).page.model_name is not None
