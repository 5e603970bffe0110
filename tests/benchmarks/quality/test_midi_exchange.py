"""MIDI files as other programs read them: what is compared, and what is missing here."""

from __future__ import annotations

import importlib.util

import pytest

from benchmarks.quality import midi_exchange
from benchmarks.quality.midi_libraries import ATTRIBUTES, LIBRARIES, REASONS, read_music21
from musiclstm import example_files
from musiclstm.midi import read_midi, write_midi

RIFF = example_files()["Garage Riff (musiclstm)"]


def test_missing_libraries_are_named(capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert midi_exchange.main(["--data", str(RIFF)]) == 1
    error = capsys.readouterr().err
    assert "pip install mido pretty_midi music21 partitura" in error


def test_every_attribute_is_compared_or_has_a_reason():
    assert set(REASONS) < set(LIBRARIES)
    assert all(set(reasons) <= set(ATTRIBUTES) for reasons in REASONS.values())
    wanted = midi_exchange._attributes(read_midi(RIFF)[0], float, trimmed=True)
    assert set(wanted) == set(ATTRIBUTES)


@pytest.mark.skipif(importlib.util.find_spec("music21") is None, reason="music21 is not installed")
def test_music21_reads_what_is_written():
    score = read_midi(RIFF)[0]
    wanted = midi_exchange._attributes(score, midi_exchange._quarters(score), trimmed=True)
    found = read_music21(write_midi(score))
    assert set(found) == set(ATTRIBUTES) - set(REASONS["music21"])
    for attribute, rows in found.items():
        assert midi_exchange._are_equal(wanted[attribute], rows), attribute


def test_a_change_is_noticed():
    score = read_midi(RIFF)[0]
    before = midi_exchange._attributes(score, midi_exchange._quarters(score), trimmed=True)
    score.tracks[0].notes[0].velocity -= 1
    score.tracks[1].name += "x"
    after = midi_exchange._attributes(score, midi_exchange._quarters(score), trimmed=True)
    differ = [
        each for each in ATTRIBUTES if not midi_exchange._are_equal(before[each], after[each])
    ]
    assert differ == ["velocities", "names"]
