"""Notes and figures of a MusicXML file, read without the code that wrote it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

from benchmarks.common.note_matching import ScoreNotes

_SHORT = frozenset({"32nd", "64th", "128th", "256th", "512th", "1024th"})


@dataclass(frozen=True)
class Sheet:
    """What a MusicXML file holds.

    Attributes:
        notes: Tied heads as one note; the group in their keys is the number of the part.
        drum_parts: Numbers of the parts on a percussion staff.
        tuplets: Brackets of tuplets.
        short: Notes and rests of a thirty-second and shorter, chords counted once.
        voices: Most voices of a staff in one bar.
        ties: Heads that are tied to the next one.
    """

    notes: ScoreNotes
    drum_parts: frozenset[int]
    tuplets: int
    short: int
    voices: int
    ties: int


@dataclass
class _Part:
    """Notes of a part as (onset, key, length) in quarters, and figures so far."""

    number: int
    drum_keys: dict[str, int]
    notes: list[list[float]] = field(default_factory=list)
    open_ties: dict[int, list[list[float]]] = field(default_factory=lambda: defaultdict(list))
    divisions: int = 1


def read_sheet(text: str) -> Sheet:
    """Read an uncompressed partwise file.

    Raises:
        ParseError: The text is no XML.
    """
    root = ElementTree.fromstring(text)
    parts = []
    for number, element in enumerate(root.findall("part")):
        part = _Part(number, _drum_keys(root, element.get("id", "")))
        start = 0.0
        for measure in element.findall("measure"):
            start = _read_measure(part, measure, start)
        parts.append(part)
    rows = sorted(
        (on, part.number * 128 + key, length) for part in parts for on, key, length in part.notes
    )
    onset, key, duration = np.array(rows, float).reshape(-1, 3).T
    heads = [note for note in root.iter("note") if note.find("chord") is None]
    return Sheet(
        notes=ScoreNotes(key.astype(np.int64), onset, duration),
        drum_parts=frozenset(part.number for part in parts if part.drum_keys),
        tuplets=len(root.findall(".//tuplet[@type='start']")),
        short=sum(head.findtext("type") in _SHORT for head in heads),
        voices=max((_voices(measure) for measure in root.iter("measure")), default=0),
        ties=len(root.findall(".//note/tie[@type='start']")),
    )


def _drum_keys(root: Element, part_id: str) -> dict[str, int]:
    """Return the key of each instrument of a drum part."""
    instruments = root.findall(f"part-list/score-part[@id='{part_id}']/midi-instrument")
    return {
        each.get("id", ""): int(key) - 1
        for each in instruments
        if (key := each.findtext("midi-unpitched")) is not None
    }


def _read_measure(part: _Part, measure: Element, start: float) -> float:
    """Read the notes of a measure and return the beginning of the next one."""
    at = onset = end = start
    for each in measure:
        part.divisions = int(each.findtext("divisions") or part.divisions)
        length = int(each.findtext("duration") or 0) / part.divisions
        if each.tag == "backup":
            at -= length
        elif each.tag in ("note", "forward"):
            if each.find("chord") is None:
                onset, at = at, at + length
            if each.tag == "note" and each.find("rest") is None:
                _read_head(part, each, onset, length)
        end = max(end, at)
    return end


def _read_head(part: _Part, note: Element, onset: float, length: float) -> None:
    """Append a note, or make the note longer that is tied to this head."""
    key = _key(part, note)
    kinds = {tie.get("type") for tie in note.findall("tie")}
    head = [onset, float(key), length]
    if "stop" in kinds:
        for before in part.open_ties[key]:
            if abs(before[0] + before[2] - onset) < 1e-6:
                part.open_ties[key].remove(before)
                before[2] += length
                head = before
                break
    if head[0] == onset:
        part.notes.append(head)
    if "start" in kinds:
        part.open_ties[key].append(head)


def _key(part: _Part, note: Element) -> int:
    instrument = note.find("instrument")
    if instrument is not None and instrument.get("id") in part.drum_keys:
        return part.drum_keys[instrument.get("id", "")]
    step = note.findtext("pitch/step", "C")
    octave = int(note.findtext("pitch/octave", "4"))
    alter = round(float(note.findtext("pitch/alter", "0")))
    return 12 * octave + 12 + "C D EF G A B".index(step) + alter


def _voices(measure: Element) -> int:
    voices = defaultdict(set)
    for note in measure.findall("note"):
        voices[note.findtext("staff", "1")].add(note.findtext("voice", "1"))
    return max(map(len, voices.values()), default=0)
