"""`python -m benchmarks.quality.notation`: judge the MusicXML that is written for a set of pieces.

For each piece: tuplets, short note values, voices and ties; how many notes have their onset and
length after the XML is read again; and with MuseScore, what it complains about and whether the MIDI
that it exports has the same notes as the XML.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from symusic.core import ScoreTick

from benchmarks.common.held_out_pieces import read_split
from benchmarks.common.musicxml import Sheet, read_sheet
from benchmarks.common.note_matching import Ints, ScoreNotes, match_notes, notes_of
from benchmarks.common.report import Report, ReportError, parser, run, table
from musiclstm.cli import run_command
from musiclstm.export import to_musicxml

_ONSET_QUARTERS = 1 / 16  # half a thirty-second
_LENGTH_QUARTERS = 1 / 8  # half a sixteenth
_GATES = (0.85, 1.01)  # lengths that MuseScore plays, as a share of the written ones
_MUSESCORE_SECONDS = 300

# Lines of MuseScore 3 that are no complaints: progress, its layout of many staves, and one for each
# drum at the onset of another voice, also for a file that it has exported itself.
_NO_COMPLAINTS = (
    "convert <",
    "to <",
    "... success!",
    "restHeight < 0",
    "element already exists",
    "QStandardPaths",
)


@dataclass(frozen=True)
class Notation:
    """What one piece looks like.

    Attributes:
        piece: Name of the file.
        notes: Notes of the score.
        tuplets: Brackets of tuplets.
        short: Notes and rests of a thirty-second and shorter, chords counted once.
        voices: Most voices of a staff in one bar.
        ties: Tied heads per note.
        onset: Share of the notes whose onset differs by less than half a thirty-second.
        length: Of these without drums, share whose length differs by at most half a sixteenth.
        kilobytes: Size of the file.
        complaints: Lines of MuseScore. None: not asked.
        played: Share of the written notes that MuseScore plays with their onset, key and length.
    """

    piece: str
    notes: int
    tuplets: int
    short: int
    voices: int
    ties: float
    onset: float
    length: float
    kilobytes: int
    complaints: int | None = None
    played: float | None = None


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error, or if MuseScore complained or lost notes."""
    options = parser("benchmarks.quality.notation", "Judge the MusicXML of a set of pieces.")
    options.add_argument(
        "--pieces", type=int, metavar="N", help="at most N pieces of each corpus, evenly spaced"
    )
    options.add_argument(
        "--musescore",
        metavar="PROGRAM",
        help="MuseScore 3, such as musescore3; it opens every file without a screen",
    )
    options.add_argument("--keep", type=Path, metavar="FOLDER", help="also write the files there")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Write and judge every piece of the split.

    Raises:
        ReportError: There is no such program or folder, or MuseScore failed.
    """
    program = options.musescore
    if program is not None and shutil.which(program) is None:
        raise ReportError(f"There is no program {program!r}; name MuseScore 3 after --musescore.")
    if options.keep is not None and not options.keep.is_dir():
        raise ReportError(f"There is no folder {str(options.keep)!r}; create it before --keep.")
    found = []
    for source, score in read_split(options.data, options.split, at_most=options.pieces):
        name = Path(source.name).stem
        text = to_musicxml(score, title=name)
        if options.keep is not None:
            (options.keep / f"{name}.musicxml").write_text(text, encoding="utf-8")
        found.append(judge(name, score, text, program))
    rows = [_row(each) for each in found]
    passed = all(not each.complaints and each.played in (None, 1) for each in found)
    return Report(table(rows), [asdict(each) for each in found], passed=passed)


def judge(name: str, score: ScoreTick, text: str, program: str | None = None) -> Notation:
    """Judge the MusicXML of one score.

    Args:
        name: Of the piece.
        score: What was written.
        text: The MusicXML.
        program: MuseScore 3. None: it is not asked.
    """
    sheet = read_sheet(text)
    before = _notes_of(score)
    match = match_notes(before, sheet.notes)
    kept = match >= 0
    onset = np.zeros(len(before), bool)
    length = np.zeros(len(before), bool)
    after = _take(sheet.notes, match[kept])
    onset[kept] = np.abs(before.onset_quarters[kept] - after.onset_quarters) < _ONSET_QUARTERS
    error = np.abs(before.duration_quarters[kept] - after.duration_quarters)
    length[kept] = error <= _LENGTH_QUARTERS + 1e-6
    pitched = onset & ~_is_drum(score, before)
    complaints, played = (None, None) if program is None else _ask_musescore(program, text, sheet)
    return Notation(
        piece=name,
        notes=len(before),
        tuplets=sheet.tuplets,
        short=sheet.short,
        voices=sheet.voices,
        ties=sheet.ties / max(1, len(before)),
        onset=float(onset.mean()),
        length=float(length[pitched].mean()) if pitched.any() else 1.0,
        kilobytes=len(text.encode()) // 1000,
        complaints=complaints,
        played=played,
    )


def _notes_of(score: ScoreTick) -> ScoreNotes:
    """Return the notes of a score with the number of the part in their keys; equal ones once."""
    rows = []
    tracks = [track for track in score.tracks if len(track.notes)]
    for part, track in enumerate(tracks):
        ends: dict[tuple[int, int], int] = {}
        for note in track.notes:
            at = (note.time, note.pitch)
            ends[at] = max(note.duration, ends.get(at, 0))
        rows += [(part * 128 + key, at, length) for (at, key), length in ends.items()]
    key, onset, duration = np.array(sorted(rows, key=lambda row: row[1])).T
    quarters = 1 / score.ticks_per_quarter
    return ScoreNotes(key, onset * quarters, duration * quarters)


def _is_drum(score: ScoreTick, notes: ScoreNotes) -> Any:
    drums = [track.is_drum for track in score.tracks if len(track.notes)]
    return np.array(drums)[notes.key // 128]


# -- MuseScore -------------------------------------------------------------------------------------


def _ask_musescore(program: str, text: str, sheet: Sheet) -> tuple[int, float]:
    """Return the number of complaints and the share of written notes that are played."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "sheet.musicxml"), Path(folder, "sheet.mid")
        source.write_text(text, encoding="utf-8")
        try:
            done = subprocess.run(
                [program, "-o", str(target), str(source)],
                env={**os.environ, "QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": folder},
                capture_output=True,
                text=True,
                timeout=_MUSESCORE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ReportError(f"{program} took more than {_MUSESCORE_SECONDS} seconds.") from error
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
        if not target.is_file():
            raise ReportError(f"{program} wrote no MIDI file: {' '.join(lines)[-300:]}")
        played = ScoreTick.from_file(target)
    complaints = [line for line in lines if line and not _is_harmless(line)]
    for line in complaints:
        sys.stderr.write(f"{program}: {line}\n")
    return len(complaints), _played_share(sheet, played)


def _is_harmless(line: str) -> bool:
    return any(each in line for each in _NO_COMPLAINTS)


def _played_share(sheet: Sheet, played: ScoreTick) -> float:
    """Return the share of the written notes with a played one of their onset, key and length.

    Parts are not told apart, because MuseScore writes a track for each staff; drums are. Of written
    notes of one onset and key only the longest is heard.
    """
    drums = np.isin(sheet.notes.key // 128, sorted(sheet.drum_parts))
    written = _longest(sheet.notes.key % 128 + 128 * drums, sheet.notes)
    heard = notes_of(played, [int(track.is_drum) for track in played.tracks])
    match = match_notes(written, heard, within_quarters=_ONSET_QUARTERS)
    own, other = written.select(match >= 0), _take(heard, match[match >= 0])
    share = other.duration_quarters / own.duration_quarters
    fits = (own.key >= 128) | ((share > _GATES[0]) & (share < _GATES[1]))
    return float(fits.sum() / max(1, len(written)))


def _take(notes: ScoreNotes, index: Ints) -> ScoreNotes:
    return ScoreNotes(notes.key[index], notes.onset_quarters[index], notes.duration_quarters[index])


def _longest(key: Ints, notes: ScoreNotes) -> ScoreNotes:
    """Return the longest of all notes with the same onset and key."""
    order = np.lexsort((-notes.duration_quarters, key, notes.onset_quarters))
    key, onset = key[order], notes.onset_quarters[order]
    is_first = np.ones(len(key), bool)
    is_first[1:] = (np.diff(key) != 0) | (np.diff(onset) > 1e-6)
    return ScoreNotes(key, onset, notes.duration_quarters[order]).select(is_first)


def _row(found: Notation) -> dict[str, str]:
    row = {
        "piece": found.piece[:40],
        "notes": f"{found.notes:,}",
        "tuplets": f"{found.tuplets:,}",
        "32nds": f"{found.short:,}",
        "voices": str(found.voices),
        "ties a note": f"{found.ties:.3f}",
        "onset": f"{100 * found.onset:.2f} %",
        "length": f"{100 * found.length:.2f} %",
        "kB": f"{found.kilobytes:,}",
    }
    if found.complaints is not None and found.played is not None:
        row |= {"complaints": str(found.complaints), "played": f"{100 * found.played:.2f} %"}
    return row


if __name__ == "__main__":
    sys.exit(run_command(main))
