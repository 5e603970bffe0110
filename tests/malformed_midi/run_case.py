"""Run one case: read a file and check that the result is a clean score or a clear error."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from symusic.core import ScoreTick

from musiclstm.errors import MusicLSTMError
from musiclstm.midi.analysis import bar_starts
from musiclstm.midi.reader import MidiLimits, read_midi
from musiclstm.midi.summary import MidiSummary, pluralize
from tests.malformed_midi.midi_builder import READ, REFUSED

NAME = "upload.mid"
# Messages state a fact, then what to do.
_ADVICE = "choose|cut|drop|export|fetch|pack|pass|split|try|unpack"
_MESSAGE = re.compile(
    rf"'{re.escape(NAME)}' (?:is|has|holds|breaks|does|needs) .+; (?:{_ADVICE}) .+\."
)

Read = Callable[..., tuple[ScoreTick, MidiSummary]]


class CaseResult(NamedTuple):
    """Result of one case.

    Args:
        kind: `read`, `refused`, or the name of an unexpected exception.
        text: Message, or summary of the score.
        faults: Violated requirements; normally empty.
        cpu_s: Processor time of this process.
    """

    kind: str
    text: str
    faults: list[str]
    cpu_s: float


def run_case(data: bytes, *, read: Read = read_midi) -> CaseResult:
    """Read a file and check the result."""
    begin = time.process_time()
    try:
        score, summary = read(data, name=NAME)
    except MusicLSTMError as error:
        cpu_s, kind, text = time.process_time() - begin, REFUSED, str(error)
        faults = list(message_faults(text))
    except Exception as error:  # noqa: BLE001 - reported as a fault
        cpu_s, kind, text = time.process_time() - begin, type(error).__name__, str(error)
        faults = [f"{kind}: {text}"]
    else:
        cpu_s, kind = time.process_time() - begin, READ
        counts = f"{pluralize(summary.notes, 'note')}, {pluralize(summary.bars, 'bar')}"
        text = "; ".join([counts, *summary.repairs])
        faults = list(score_faults(score, summary))
    return CaseResult(kind, text, faults, cpu_s)


def message_faults(text: str) -> Iterator[str]:
    """Yield what keeps a text from being a clear message about the file."""
    if not _MESSAGE.fullmatch(text):
        yield f"does not state the fact and what to do: {text}"
    if not text.isprintable():
        yield f"has characters that cannot be printed: {text!a}"
    if len(text) > 250:
        yield f"is {len(text)} characters long"


def score_faults(score: ScoreTick, summary: MidiSummary) -> Iterator[str]:
    """Yield what keeps a score from being clean, or its summary from being right."""
    limits, end = MidiLimits(), 0
    for track in score.tracks:
        notes = track.notes.numpy()
        if not len(notes["time"]):
            yield "a track has no notes"
            continue
        yield from _note_faults(notes)
        end = max(end, int((notes["time"].astype(np.int64) + notes["duration"]).max()))
    if not 0 < end <= limits.beats * score.ticks_per_quarter:
        yield f"ends at tick {end}"
    last = max(end - 1, int(bar_starts(score)[-1]))
    for events in (score.tempos, score.time_signatures, score.key_signatures):
        if any(not 0 <= event.time <= last for event in events):
            yield "an event is after the last bar line"
    if any(not 0 < tempo.mspq <= 0xFF_FFFF for tempo in score.tempos):  # what a file can state
        yield "a tempo is out of range"
    if not (
        1 <= summary.bars <= limits.beats and summary.notes == score.note_num() <= limits.notes
    ):
        yield f"the summary states {summary.bars} bars and {summary.notes} notes"
    for text in (summary.name, *(track.name for track in summary.tracks), *summary.repairs):
        if not (text.isprintable() and len(text) <= 200):
            yield f"a text is not one plain line: {text!a}"


def _note_faults(notes: dict[str, Any]) -> Iterator[str]:
    if notes["time"].min() < 0 or (np.diff(notes["time"]) < 0).any():
        yield "notes are not sorted"
    if notes["duration"].min() < 1:
        yield "a note has length 0"
    if notes["pitch"].min() < 0 or notes["pitch"].max() > 127 or notes["velocity"].min() < 1:
        yield "a note has an invalid pitch or velocity"
