"""Probabilities of notes, from those of their tokens.

log p(note) = log p(Pitch) + log p(Duration) + log p(Position) / n + log p(Program) / m, where n
notes share the Position token and m notes the Program token. The Program token of an empty block
counts with the next block of its program. The log-probabilities of the notes of a bar therefore
add up to those of all tokens of its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from symusic.core import ScoreTick

from musiclstm.model.step_features import TokenKind
from musiclstm.tokens import PartName, most_parts
from musiclstm.tokens.vocabulary import TABLE


@dataclass
class TokenNote:
    """A note in tokens.

    Attributes:
        part: Program and number of its track.
        position: Position in the bar, in twelfths of a beat.
        pitch: MIDI pitch, 0 to 127.
        log_prob: Natural logarithm of its probability.
    """

    part: PartName
    position: int
    pitch: int
    log_prob: float


def notes_of_bar(ids: Sequence[int], log_probs: Sequence[float]) -> list[TokenNote]:
    """Return the notes of one bar in the order of their tokens.

    Args:
        ids: Tokens of the bar.
        log_probs: Natural logarithm of each token's probability.
    """
    notes: list[TokenNote] = []
    blocks: dict[int, int] = {}
    pending: dict[int, float] = {}  # log-probabilities of Program tokens without a note so far
    part, position = PartName(0, 0), 0
    block = onset = 0  # index of the first note of each
    position_log_prob = 0.0
    for token, log_prob in zip(ids, log_probs, strict=True):
        kind, value = TABLE.kind[token], TABLE.value[token]
        if kind in (TokenKind.POSITION, TokenKind.PROGRAM):
            _share(position_log_prob, notes[onset:])
            position, position_log_prob, onset = value, log_prob, len(notes)
        if kind == TokenKind.PROGRAM:
            _share_block(pending, part, notes[block:])
            part = PartName(value, min(blocks.get(value, 0), most_parts(value) - 1))
            blocks[value] = blocks.get(value, 0) + 1
            pending[value] = pending.get(value, 0.0) + log_prob
            position_log_prob, block = 0.0, len(notes)
        elif kind in (TokenKind.PITCH, TokenKind.DRUM):
            notes.append(TokenNote(part, position, value, log_prob))
        elif kind == TokenKind.DURATION:
            notes[-1].log_prob += log_prob
    _share(position_log_prob, notes[onset:])
    _share_block(pending, part, notes[block:])
    return notes


def _share_block(pending: dict[int, float], part: PartName, notes: Sequence[TokenNote]) -> None:
    if notes:
        _share(pending.pop(part.program, 0.0), notes)


def _share(log_prob: float, notes: Sequence[TokenNote]) -> None:
    for note in notes:
        note.log_prob += log_prob / len(notes)


def log_probs_by_track(
    score: ScoreTick, parts: Sequence[PartName], notes: Sequence[TokenNote]
) -> tuple[tuple[float, ...], ...]:
    """Return the log-probability of each note of a decoded bar, in the order of its tracks.

    Args:
        score: One track for each part, with notes sorted by time and pitch.
        parts: Part of each track.
        notes: The same notes, from `notes_of_bar`.
    """
    found = []
    for track, part in zip(score.tracks, parts, strict=True):
        own = sorted(
            (note for note in notes if note.part == part),
            key=lambda note: (note.position, note.pitch),
        )
        assert [note.pitch for note in own] == [note.pitch for note in track.notes]
        found.append(tuple(note.log_prob for note in own))
    return tuple(found)
