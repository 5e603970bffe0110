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
from page.ui.prompt_cards import small_pianoroll
from tests.page.session_driver import ParsedHtml, SessionDriver, text_of

MARKUP = '<img src=x onerror="window.hacked = true">'
TUNES = example_files()
MINUET = "Minuet in G (Petzold)"


def test_a_prompt_is_described_by_its_facts_and_tracks(ann: SessionDriver) -> None:
    panel, shown = ann.page.prompt, ann.prompt("choose_tune", MINUET)
    assert text_of(shown[panel.summary]) == (
        f"{MINUET} 8 bars of 3/4 at 116 bpm in G major "
        "Right hand (Acoustic Grand Piano): 32 notes, F#4 to G5 "
        "Left hand (Acoustic Grand Piano): 17 notes, D3 to D4"
    )
    assert len(json.loads(shown[panel.roll]["roll"])["bars"]["ticks"]) == 9
    assert shown[panel.tracks]["value"] == [0, 1]


def test_every_bundled_tune_can_be_chosen_and_has_a_card(ann: SessionDriver) -> None:
    for title, file in TUNES.items():
        shown = ann.prompt("choose_tune", title)
        assert text_of(shown[ann.page.prompt.summary]).startswith(title)
        assert "<path" in small_pianoroll(read_midi(file)[0])
    with pytest.raises(gr.Error, match="no bundled tune"):
        ann.prompt("choose_tune", MARKUP)


def test_the_initial_layout_shows_the_initial_prompt(ann: SessionDriver) -> None:
    assert text_of(ann.page.prompt.summary.value).startswith(ann.session.prompt.title)
    assert ann.page.prompt.cards.value == ann.session.prompt.title


def test_an_upload_is_shown_by_its_name_and_no_card_is_chosen(
    ann: SessionDriver, midi_file: Callable[..., Path]
) -> None:
    shown = ann.prompt("upload", str(midi_file("motif.mid")))
    summary = text_of(shown[ann.page.prompt.summary])
    assert summary.startswith("motif.mid 4 bars of 4/4 at 120 bpm")
    assert shown[ann.page.prompt.cards] not in {*TUNES, ""}


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
    path, before = tmp_path / "bad.mid", ann.session.prompt
    path.write_bytes(content)
    with pytest.raises(ScoreError) as expected:
        read_midi(path)
    with pytest.raises(gr.Error) as shown:
        ann.prompt("upload", str(path))
    assert unescape(shown.value.message) == str(expected.value)
    assert fact in shown.value.message
    assert "\n" not in shown.value.message
    assert not shown.value.print_exception
    assert ann.session.prompt is before


def test_markup_in_file_and_track_names_stays_text(
    ann: SessionDriver, midi_file: Callable[..., Path]
) -> None:
    path = midi_file("<b>bold<.mid", tracks=(MARKUP,))
    summary = ann.prompt("upload", str(path))[ann.page.prompt.summary]
    assert text_of(summary).count("<img src=x onerror=") == 1
    assert text_of(summary).startswith("<b>bold<.mid")
    ann.run()
    captions = ann.shown[ann.page.takes[0].caption]
    for each in (summary, *ann.shown[ann.page.status], *captions):
        assert not ParsedHtml(each).tags & {"img", "b", "i"}


def test_selected_tracks_and_bars_are_continued(ann: SessionDriver) -> None:
    summary = ann.prompt("select", [0], 2, "5", True)[ann.page.prompt.summary]
    assert "bars 2 to 5 of 1 track" in text_of(summary)
    assert ann.run().texts[-1].startswith(f"2 bars after 4 bars of {MINUET}.")
    assert ann.piece.recipe.source.selection.tracks == {0}


@pytest.mark.parametrize(
    ("tracks", "first", "last", "fact"),
    [([], 1, "", "at least one track"), ([0], 1, "99", "no bar 99"), ([0], 1, "x", "whole number"),
     ([7], 1, "", "no track 7"), ([0], 5, "2", "at least first_bar")],
)  # fmt: skip
def test_an_invalid_selection_is_rejected(
    ann: SessionDriver, tracks: list[int], first: int, last: str, fact: str
) -> None:
    before = ann.session.prompt
    with pytest.raises(gr.Error, match=fact):
        ann.prompt("select", tracks, first, last, True)
    assert ann.session.prompt is before


def test_bars_in_the_fields_are_marked_in_the_piano_roll(ann: SessionDriver) -> None:
    rolls = [
        ann.prompt("select", [0, 1], first, "", True)[ann.page.prompt.roll] for first in (3, 1)
    ]
    assert [roll["selection"] for roll in rolls] == [[3, 8], None]
    assert rolls[0]["stream"] == rolls[1]["stream"]  # playback is not interrupted


def test_bars_clicked_in_the_piano_roll_are_filled_in(ann: SessionDriver) -> None:
    panel = ann.page.prompt
    marked = ann.prompt("select_bars", [0, 1], True, {"first": 3, "last": 4})
    assert (marked[panel.first_bar], marked[panel.last_bar]) == (3, "4")
    assert "bars 3 to 4 of all tracks" in text_of(marked[panel.summary])
    marked = ann.prompt("select_bars", [0, 1], True, {"first": None, "last": None})
    assert (marked[panel.first_bar], marked[panel.last_bar]) == (1, "")
    assert ann.session.prompt.selection is None


def test_a_preview_without_soundfont_is_completed_before_the_message(ann: SessionDriver) -> None:
    updates = ann.events.prompt.preview(ann.session, tuple(ann.values.values()), {"position_s": 0})
    assert next(updates)[ann.page.prompt.roll]["complete"]
    with pytest.raises(Exception, match=r"No SoundFont at '/nowhere.sf2'"):
        next(updates)


# -- Links -----------------------------------------------------------------------------------------


def test_a_link_composes_the_same_piece_and_sets_the_controls(
    ann: SessionDriver, bob: SessionDriver
) -> None:
    ann.run(bars=3, adventurous=1.1, key="D minor").run("extend")
    assert bob.open_link(ann.newest(ann.page.result.link_code)).piece.to_midi() == (
        ann.piece.to_midi()
    )
    shown = {
        name: bob.newest(each) for name, each in bob.page.controls.items() if each in bob.shown
    }
    assert (shown["adventurous"], shown["key"]) == (1.1, "D minor")
    assert shown["random_seed"] == str(ann.piece.sampling.seed)
    assert bob.run("extend").piece.bars == 8


def test_a_link_to_an_uploaded_file_waits_for_it(
    ann: SessionDriver, bob: SessionDriver, midi_file: Callable[..., Path]
) -> None:
    path = str(midi_file("motif.mid"))
    ann.prompt("upload", path)
    link = ann.run().newest(ann.page.result.link_code)
    assert "upload that file" in bob.open_link(link).texts[-1]
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
