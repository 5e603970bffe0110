"""The prompt's panel and links."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from musiclstm import ScoreError, example_files, read_midi
from page.session.prompt import PromptChoice
from page.ui import html
from tests.page.session_driver import ParsedHtml, SessionDriver, text_of

MARKUP = '<img src=x onerror="window.hacked = true">'
TUNES = example_files()
MINUET = "Minuet in G (Petzold)"


def test_a_prompt_is_described_by_its_facts_and_tracks(ann: SessionDriver) -> None:
    page, shown = ann.page, ann.prompt("choose_example", MINUET)
    assert text_of(shown[page.prompt.about]) == (
        f"{MINUET} 8 bars of 3/4 at 116 bpm in G major. Details "
        "Right hand (Acoustic Grand Piano): 32 notes, F#4 to G5 "
        "Left hand (Acoustic Grand Piano): 17 notes, D3 to D4"
    )
    assert len(json.loads(shown[page.players[0]]["roll"])["bars"]["ticks"]) == 9
    assert shown[page.actions.parts]["choices"] == [("Right hand", 1), ("Left hand", 2)]


def test_every_bundled_tune_can_be_chosen(ann: SessionDriver) -> None:
    for title in TUNES:
        shown = ann.prompt("choose_example", title)
        assert text_of(shown[ann.page.prompt.about]).startswith(title)
    with pytest.raises(gr.Error, match="no bundled tune"):
        ann.prompt("choose_example", MARKUP)


def test_the_initial_layout_shows_the_initial_prompt(ann: SessionDriver) -> None:
    title = ann.session.version.prompt.title
    assert text_of(ann.page.prompt.about.value).startswith(title)
    assert ann.page.prompt.example.value == title
    assert ann.page.players[0].value["on_request"]


def test_an_upload_is_shown_by_its_name_and_no_example_is_chosen(
    ann: SessionDriver, midi_file: Callable[..., Path]
) -> None:
    shown = ann.prompt("upload", str(midi_file("motif.mid")))
    summary = text_of(shown[ann.page.prompt.about])
    assert summary.startswith("motif.mid 4 bars of 4/4 at 120 bpm")
    assert shown[ann.page.prompt.example] is None
    assert ann.move("undo").session.version.prompt.title == MINUET


def test_instruments_without_training_data_have_a_named_substitute(
    midi_file: Callable[..., Path],
) -> None:
    prompt = PromptChoice.read(midi_file("two.mid", tracks=("One", "Two")))  # programs 0 and 1
    assert "not trained" not in html.prompt_summary(prompt, None)
    summary = text_of(html.prompt_summary(prompt, [0, 2]))
    assert "not trained on Bright Acoustic Piano" in summary
    assert "as for Electric Grand" in summary


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (b"Dear diary, nothing happened today.", "is not a MIDI file"),
        (b"", "is empty"),
        (TUNES[MINUET].read_bytes()[:60], "60 of"),
        (b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk\0\0\0\4\0\xff\x2f\0", "no notes"),
    ],
    ids=["text", "empty", "truncated", "without notes"],
)
def test_an_invalid_upload_shows_the_library_s_message_and_changes_nothing(
    ann: SessionDriver, tmp_path: Path, content: bytes, fact: str
) -> None:
    path, before = tmp_path / "bad.mid", ann.session.version
    path.write_bytes(content)
    with pytest.raises(ScoreError) as expected:
        read_midi(path)
    with pytest.raises(gr.Error) as shown:
        ann.prompt("upload", str(path))
    assert unescape(shown.value.message) == str(expected.value)
    assert fact in shown.value.message
    assert "\n" not in shown.value.message
    assert not shown.value.print_exception
    assert ann.session.version is before


def test_markup_in_file_and_track_names_stays_text(
    ann: SessionDriver, midi_file: Callable[..., Path]
) -> None:
    path = midi_file("<b>bold<.mid", tracks=(MARKUP,))
    summary = ann.prompt("upload", str(path))[ann.page.prompt.about]
    assert text_of(summary).count("<img src=x onerror=") == 1
    assert text_of(summary).startswith("<b>bold<.mid")
    ann.run()
    histories = ann.shown[ann.page.result.history]
    for each in (summary, *ann.shown[ann.page.status], *histories):
        assert not ParsedHtml(each).tags & {"img", "b", "i"}


def test_selected_parts_and_bars_are_continued(ann: SessionDriver) -> None:
    shown = ann.prompt("select", [1], 2, "5", True)
    assert "Only bars 2 to 5 of 1 part." in text_of(shown[ann.page.prompt.about])
    assert shown[ann.page.players[0]]["selection"] == [2, 5]
    ann.run()
    assert ann.piece.prompt_bars == 4
    assert ann.piece.recipe.source.selection.tracks == {0}
    shown = ann.prompt("select", [], 1, "", True)
    assert ann.session.version.piece is None
    assert ann.session.version.prompt.selection is None


def test_only_the_bars_selected_on_the_roll_are_continued(ann: SessionDriver) -> None:
    shown = ann.select(3, 4).prompt("select_only", [])
    panel = ann.page.prompt
    assert (shown[panel.first_bar], shown[panel.last_bar]) == (3, "4")
    assert "Only bars 3 to 4 of all parts." in text_of(shown[panel.about])
    assert ann.run().piece.prompt_bars == 2


@pytest.mark.parametrize(
    ("tracks", "first", "last", "fact"),
    [([1], 1, "99", "no bar 99"), ([1], 1, "x", "whole number"), ([7], 1, "", "no track 6"),
     ([1], 5, "2", "at least first_bar")],
)  # fmt: skip
def test_an_invalid_selection_is_rejected(
    ann: SessionDriver, tracks: list[int], first: int, last: str, fact: str
) -> None:
    before = ann.session.version
    with pytest.raises(gr.Error, match=fact):
        ann.prompt("select", tracks, first, last, True)
    assert ann.session.version is before


# -- Links -----------------------------------------------------------------------------------------


def test_a_link_composes_the_same_piece_and_sets_the_controls(
    ann: SessionDriver, bob: SessionDriver
) -> None:
    ann.run(bars=3, adventurous=1.1, key="D minor").run()
    assert bob.open_link(ann.newest(ann.page.result.link_code)).piece.to_midi() == (
        ann.piece.to_midi()
    )
    shown = {
        name: bob.newest(each) for name, each in bob.page.controls.items() if each in bob.shown
    }
    assert (shown["adventurous"], shown["key"]) == (1.1, "D minor")
    assert "random_seed" not in shown
    assert bob.run(bars=2).piece.bars == 8
    assert bob.session.version.kept_bars == 6


def test_a_link_contains_a_small_file(
    ann: SessionDriver, bob: SessionDriver, midi_file: Callable[..., Path]
) -> None:
    ann.prompt("upload", str(midi_file("motif.mid")))
    link = ann.run().newest(ann.page.result.link_code)
    assert ann.newest(ann.page.result.link_note) == ""
    assert bob.open_link(link).piece.to_midi() == ann.piece.to_midi()
    assert bob.session.version.prompt.title == "motif.mid"


def test_a_link_to_a_large_file_waits_for_it(
    ann: SessionDriver,
    bob: SessionDriver,
    midi_file: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = str(midi_file("motif.mid"))
    monkeypatch.setattr("page.downloads.MAX_PROMPT_BYTES", 10)
    ann.prompt("upload", path)
    link = ann.run().newest(ann.page.result.link_code)
    assert "needs the file motif.mid" in text_of(ann.newest(ann.page.result.link_note))
    assert "Open that file" in bob.open_link(link).texts[-1]
    recipe = bob.page.recipe
    other = bob.prompt("upload", str(midi_file("other.mid", bars=3)))[recipe]["value"]
    with pytest.raises(gr.Error, match="file"):
        bob.open_link(other)
    same = bob.prompt("upload", path)[recipe]["value"]
    assert bob.open_link(same).piece.to_midi() == ann.piece.to_midi()


@pytest.mark.parametrize("text", ["x", "<b>", "A" * 10_000, "é"])
def test_a_broken_link_is_rejected(ann: SessionDriver, text: str) -> None:
    with pytest.raises(gr.Error, match="no recipe"):
        ann.open_link(text)


def test_a_link_with_too_many_bars_is_rejected(
    ann: SessionDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ann.run().newest(ann.page.result.link_code)
    monkeypatch.setattr("page.ui.prompt_handlers.MAX_BARS_OF_LINK", 1)
    with pytest.raises(gr.Error, match="more than 1 bars"):
        ann.open_link(link)


def test_an_empty_link_changes_nothing(ann: SessionDriver) -> None:
    assert ann.open_link(" ").shown == {}


def test_an_upload_without_a_file_is_rejected(ann: SessionDriver) -> None:
    argument: Any = None
    with pytest.raises(gr.Error, match="choose a MIDI file"):
        ann.prompt("upload", argument)
