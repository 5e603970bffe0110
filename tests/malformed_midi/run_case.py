"""What a file nobody trusts may become: a clean score within the limits, or one clear sentence."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from symusic.core import ScoreTick

from musiclstm.errors import MusicLSTMError
from musiclstm.midi.reader import MidiLimits, MidiSummary, read_midi
from tests.malformed_midi.midi_builder import MUSIC, SENTENCE

NAME = "upload.mid"
# What came; then what to do, or what was expected and then what to do.
_TO_DO = "choose|cut|drop|export|fetch|pack|pass|split|try|unpack"
_SENTENCE = re.compile(
    rf"'{re.escape(NAME)}' (?:is|has|holds|breaks|does|needs) .+; (?:{_TO_DO}) .+\."
)

Read = Callable[..., tuple[ScoreTick, MidiSummary]]


class Verdict(NamedTuple):
    """What became of a file.

    Args:
        kind: `music`, `sentence`, or what must not be: another error's name.
        text: The sentence, or what the music is.
        wrong: What is not as it should be; empty if all is.
        cpu_s: Processor time of this process.
    """

    kind: str
    text: str
    wrong: list[str]
    cpu_s: float


def judge(data: bytes, *, read: Read = read_midi) -> Verdict:
    """Read a file, and look at what comes of it."""
    begin = time.process_time()
    try:
        score, report = read(data, name=NAME)
    except MusicLSTMError as error:
        cpu_s, kind, text = time.process_time() - begin, SENTENCE, str(error)
        wrong = list(sentence_faults(text))
    except Exception as error:  # noqa: BLE001 - that there is none is what is judged
        cpu_s, kind, text = time.process_time() - begin, type(error).__name__, str(error)
        wrong = [f"{kind}: {text}"]
    else:
        cpu_s, kind, text = time.process_time() - begin, MUSIC, _told(report)
        wrong = list(music_faults(score, report))
    return Verdict(kind, text, wrong, cpu_s)


def _told(report: MidiSummary) -> str:
    notes = f"{report.notes:,} note{'s' * (report.notes != 1)}"
    bars = f"{report.bars:,} bar{'s' * (report.bars != 1)}"
    return "; ".join([f"{notes}, {bars}", *report.repairs])


def sentence_faults(text: str) -> Iterator[str]:
    """What keeps a text from being one clear sentence about the file."""
    if not _SENTENCE.fullmatch(text):
        yield f"does not say what came, what was expected and what to do: {text}"
    if not text.isprintable():
        yield f"has characters that cannot be printed: {text!a}"
    if len(text) > 250:
        yield f"is {len(text)} characters long"


def music_faults(score: ScoreTick, report: MidiSummary) -> Iterator[str]:
    """What keeps a score from being clean, or its report from being true."""
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
    for events in (score.tempos, score.time_signatures, score.key_signatures):
        if any(not 0 <= event.time < end for event in events):
            yield "an event lies outside the music"
    if any(not 9.9 < tempo.qpm < 300.1 for tempo in score.tempos):
        yield "a tempo is out of range"
    if not (1 <= report.bars <= limits.beats and report.notes == score.note_num() <= limits.notes):
        yield f"the report says {report.bars} bars and {report.notes} notes"
    for text in (report.name, *(track.name for track in report.tracks), *report.repairs):
        if not (text.isprintable() and len(text) <= 200):
            yield f"a text is not one plain line: {text!a}"


def _note_faults(notes: dict[str, Any]) -> Iterator[str]:
    if notes["time"].min() < 0 or (np.diff(notes["time"]) < 0).any():
        yield "notes are not in order"
    if notes["duration"].min() < 1:
        yield "a note has no length"
    if notes["pitch"].min() < 0 or notes["pitch"].max() > 127 or notes["velocity"].min() < 1:
        yield "a note cannot sound"
