"""Instruments by number and by name."""

from __future__ import annotations

import re

import pytest

from musiclstm.generation import read_programs
from musiclstm.midi import instrument_name


def test_every_general_midi_name_is_its_program():
    for program in range(-1, 128):
        name = instrument_name(program)
        for text in (name, name.upper(), name.lower().replace(" ", "-"), str(program)):
            assert read_programs(text) == [program]


@pytest.mark.parametrize(
    ("text", "programs"),
    [
        ("0, violin ,DRUMS", [0, 40, -1]),
        ("Acoustic Guitar (nylon)", [24]),
        ("Electric Bass (finger),Orchestral Harp", [33, 46]),
        ("Lead 1 (square),Pad 8 (sweep),FX 3 (crystal)", [80, 95, 98]),
        ("SynthStrings 1,percussion", [50, -1]),
        ("church,honky tonk", [19, 3]),
    ],
)
def test_other_names_are_read(text, programs):
    assert read_programs(text) == programs


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("kazoo", "no instrument is called 'kazoo'"),
        ("", "no instrument is called ''"),
        ("0,", "no instrument is called ''"),
        ("1.5", "no instrument is called '1.5'"),
        ("sax", "Soprano Sax (64), Alto Sax (65), Tenor Sax (66), Baritone Sax (67); pass one"),
        ("guitar", "and others; pass one of them"),
    ],
)
def test_unknown_and_ambiguous_names_are_refused(text, fact):
    with pytest.raises(ValueError, match=re.escape(fact)):
        read_programs(text)
