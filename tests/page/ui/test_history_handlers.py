"""Undo, versions, downloads and other models."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from musiclstm import Composer, Recipe
from page.ui.errors import event_handler
from tests.page.session_driver import SessionDriver, build_events, text_of


def test_undo_and_redo_show_the_other_version(ann: SessionDriver) -> None:
    first, second = ann.run().piece, ann.run().piece
    assert ann.newest(ann.page.result.undo)["interactive"] is True
    assert ann.run("undo").piece is first
    assert ann.newest(ann.page.result.redo)["interactive"] is True
    assert ann.run("redo").piece is second
    lines = text_of(ann.newest(ann.page.result.history))
    assert lines.startswith("History: 2 versions 1. 2 bars")
    assert ann.run("go_to", 1).piece is first


@pytest.mark.parametrize("name", ["undo", "redo", "extend"])
def test_without_a_piece_buttons_say_what_to_do(ann: SessionDriver, name: str) -> None:
    with pytest.raises(gr.Error, match="press Continue first"):
        ann.run(name)
    with pytest.raises(gr.Error, match="press Continue first"):
        ann.run("keep", 0)
    with pytest.raises(gr.Error, match="press Continue first"):
        ann.download("midi")


@pytest.mark.parametrize("number", [99, None, "x"])
def test_a_version_that_does_not_exist_is_rejected(ann: SessionDriver, number: Any) -> None:
    ann.run()
    with pytest.raises(gr.Error, match="is not there"):
        ann.run("go_to", number)


def test_a_clicked_new_bar_is_filled_in_and_others_are_ignored(ann: SessionDriver) -> None:
    ann.run()
    select, bar = ann.events.history.select_bar, ann.page.result.bar
    assert select(ann.session, {"first": 10, "last": 10}) == {bar: 2}
    for data in ({"first": 8}, {"first": 11}, {"first": None}, {"first": "x"}, {}):
        assert select(ann.session, data) == {}  # type: ignore[arg-type]


def test_downloads_hold_the_piece_and_have_safe_names(
    ann: SessionDriver, midi_file: Callable[..., Path]
) -> None:
    ann.prompt("upload", str(midi_file("<i>..%2f x.mid")))
    ann.run(random_seed="7", locked=True)
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
