"""Prompts: uploaded, bundled, selected."""

from __future__ import annotations

from pathlib import Path

import pytest

from musiclstm import ScoreError, Selection, example_files
from page.session.prompt import NOTHING, PromptChoice

TITLE = "Minuet in G (Petzold)"


def test_a_bundled_tune_has_its_title_and_its_name_in_recipes(tiny_composer):
    prompt = PromptChoice.bundled(TITLE)
    assert prompt.prompt == example_files()[TITLE]
    assert isinstance(prompt.prompt, Path)
    assert (prompt.title, prompt.summary.bars) == (TITLE, 8)
    name = tiny_composer.compose(bars=1, prompt=prompt.prompt).recipe.source.name
    assert PromptChoice.bundled(name.removeprefix("bundled:")).title == TITLE
    with pytest.raises(ScoreError, match="'<b>'"):
        PromptChoice.bundled("<b>")


def test_an_uploaded_file_is_kept_after_its_removal(tmp_path):
    path = tmp_path / "motif.mid"
    path.write_bytes(example_files()[TITLE].read_bytes())
    prompt = PromptChoice.read(path)
    path.unlink()
    assert prompt.title == "motif.mid"
    assert prompt.prompt == example_files()[TITLE].read_bytes()
    assert prompt.score.note_num() == prompt.summary.notes
    assert PromptChoice.read(prompt.prompt).title == "Untitled"
    assert PromptChoice.read(prompt.prompt, title="mine").title == "mine"
    with pytest.raises(ScoreError):
        PromptChoice.read(b"no midi at all")


def test_a_selection_is_set_and_removed():
    prompt = PromptChoice.bundled(TITLE)
    part = prompt.with_selection(tracks=[0], first_bar=2, last_bar=7, keep_others=False)
    assert part.selection == Selection(frozenset({0}), 2, 7, keep_others=False)
    assert part.prompt == prompt.prompt
    assert part.with_selection().selection is None
    everything = range(len(prompt.summary.tracks))
    assert prompt.with_selection(tracks=everything, last_bar=8).selection is None
    assert NOTHING.with_selection(tracks=[3]) is NOTHING


@pytest.mark.parametrize(
    ("selection", "fact"),
    [
        ({"tracks": []}, "at least one track"),
        ({"tracks": [7]}, "no track 7"),
        ({"first_bar": 0}, "first_bar must be"),
        ({"first_bar": 3, "last_bar": 2}, "at least first_bar"),
        ({"last_bar": 99}, "no bar 99"),
    ],
)
def test_an_invalid_selection_is_rejected(selection, fact):
    with pytest.raises(ScoreError, match=fact):
        PromptChoice.bundled(TITLE).with_selection(**selection)


def test_a_prompt_is_described_by_facts_and_tracks():
    prompt = PromptChoice.bundled(TITLE)
    first, *rest = prompt.describe()
    assert first == "8 bars of 3/4 at 116 bpm in G major"
    assert len(rest) == len(prompt.summary.tracks)
    assert NOTHING.describe() == ("A new piece, from nothing.",)
    assert (NOTHING.prompt, NOTHING.score) == (None, None)
