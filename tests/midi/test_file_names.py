"""Names of MIDI files, and the one list of them that pages and corpora use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from musiclstm.midi import ACCEPT, has_midi_ending, has_no_ending

STATIC_PAGE = Path(__file__).parents[2] / "page" / "static" / "index.html"


@pytest.mark.parametrize("name", ["a.mid", "a.MID", "a.b.midi", "a.kar", "a.Smf", "a.rmi", ".mid"])
def test_names_with_an_ending_of_midi(name):
    assert has_midi_ending(name)
    assert not has_no_ending(name)


@pytest.mark.parametrize("name", ["a.txt", "mid", "a.mid.zip", "a.wav", ""])
def test_other_names(name):
    assert not has_midi_ending(name)


def test_the_static_page_accepts_the_same_files():
    (accept,) = re.findall(r'type="file"[^>]* accept="([^"]*)"', STATIC_PAGE.read_text())
    assert accept == ACCEPT
    assert {"audio/midi", "audio/x-midi", ".mid", ".kar", ".smf"} <= {*accept.split(",")}
