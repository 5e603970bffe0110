"""Figures of written MusicXML, and a MuseScore that is only pretended."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from symusic.core import NoteTick, ScoreTick, TrackTick

from benchmarks.common.musicxml import read_sheet
from benchmarks.quality import notation
from benchmarks.quality.notation import judge

pytest.importorskip("music21")

SHEET = """<score-partwise><part-list><score-part id="P1"/></part-list><part id="P1">
<measure><attributes><divisions>2</divisions></attributes>
<note><pitch><step>C</step><octave>4</octave></pitch><duration>8</duration><tie type="start"/>
<voice>1</voice><type>whole</type></note>
<note><chord/><pitch><step>E</step><alter>-1</alter><octave>4</octave></pitch>
<duration>8</duration><voice>1</voice><type>whole</type></note>
<backup><duration>8</duration></backup>
<note><rest/><duration>2</duration><voice>2</voice><type>quarter</type></note>
<note><pitch><step>B</step><octave>3</octave></pitch><duration>1</duration><voice>2</voice>
<type>32nd</type><notations><tuplet type="start"/></notations></note>
</measure><measure>
<note><pitch><step>C</step><octave>4</octave></pitch><duration>4</duration><tie type="stop"/>
<voice>1</voice><type>half</type></note></measure></part></score-partwise>"""


def score_of(*notes: tuple[int, int, int]) -> ScoreTick:
    score = ScoreTick(480)
    score.tracks.append(TrackTick("Violin", 40, False))
    for start, length, pitch in notes:
        score.tracks[0].notes.append(NoteTick(start, length, pitch, 80))
    return score


def pretended(folder: Path, played: ScoreTick, *lines: str) -> str:
    """Return a program that prints lines and writes `played` whatever it is given."""
    midi, program = folder / "played.mid", folder / "musescore"
    played.dump_midi(midi)
    program.write_text(
        f"#!{sys.executable}\nimport shutil, sys\nprint({chr(10).join(lines)!r})\n"
        f"shutil.copy({str(midi)!r}, sys.argv[2])\n"
    )
    program.chmod(0o755)
    return str(program)


def test_a_sheet_is_read_with_ties_chords_and_voices():
    sheet = read_sheet(SHEET)
    assert sheet.notes.key.tolist() == [60, 63, 59]
    assert sheet.notes.onset_quarters.tolist() == [0, 0, 1]
    assert sheet.notes.duration_quarters.tolist() == [6, 4, 0.5]
    assert (sheet.tuplets, sheet.short, sheet.voices, sheet.ties) == (1, 1, 2, 1)


def test_a_sheet_that_fits_has_full_shares(tmp_path):
    score = score_of((0, 480, 60), (480, 240, 62), (720, 240, 64))
    program = pretended(tmp_path, score, "convert <sheet.musicxml>...", "... success!")
    text = notation.to_musicxml(score)
    found = judge("piece", score, text, program)
    assert (found.notes, found.onset, found.length) == (3, 1, 1)
    assert (found.complaints, found.played) == (0, 1)


def test_lost_notes_and_complaints_are_counted(tmp_path, capsys):
    score = score_of((0, 480, 60), (480, 480, 62))
    other = score_of((0, 480, 60), (960, 480, 62))
    program = pretended(tmp_path, score_of((0, 480, 60)), "too many voices")
    found = judge("piece", other, notation.to_musicxml(score), program)
    assert (found.onset, found.length) == (0.5, 1)
    assert (found.complaints, found.played) == (1, 0.5)
    assert "too many voices" in capsys.readouterr().err


def test_figures_are_written_for_each_piece(data, tmp_path, capsys):
    path = tmp_path / "figures.json"
    options = ["--data", data, "--pieces", "1", "--json", str(path), "--keep", str(tmp_path)]
    assert notation.main(options) == 0
    figures = json.loads(path.read_text())
    assert [each["onset"] for each in figures] == [1, 1]
    assert all(each["voices"] <= 4 for each in figures)
    assert all((tmp_path / f"{each['piece']}.musicxml").is_file() for each in figures)
    assert "| piece" in capsys.readouterr().out


def test_a_missing_program_is_named(data, capsys):
    assert notation.main(["--data", data, "--musescore", "musescore99"]) == 1
    assert "musescore99" in capsys.readouterr().err
