"""How sure the network was of each note: from the probabilities of tokens to those of notes.

A note is spelled by base tokens: where it is (`Position`), who plays it (`Program`), which
(`Pitch`), how loud (`Velocity`) and how long (`Duration`). Its probability is the product over them
of p ** share. A token of its own has the share 1. A merged token's probability is divided equally
among those of its parts that spell notes, so one that spells two whole notes gives each the
geometric mean; and a position that several notes share is divided equally among them. So the notes
of a bar together have the probability of all its tokens that spell notes.

Knows names of tokens and logarithms; not the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from symusic.core import ScoreTick

from musiclstm.tokenization import DRUMS

_SPELLING = frozenset({"Position", "Program", "Pitch", "PitchDrum", "Velocity", "Duration"})


@dataclass
class Spelled:
    """A note as its tokens spell it, and the logarithm of its probability."""

    program: int
    position: int
    pitch: int = -1
    log_prob: float = 0.0


def spelled_notes(tokens: Iterable[tuple[Sequence[str], float]]) -> list[Spelled]:
    """The notes of one bar in the order in which they are spelled.

    Args:
        tokens: For every token its base tokens and the logarithm of its probability.
    """
    notes: list[Spelled] = []
    position, of_position, here = 0, 0.0, 0  # `here`: the first note at this position
    for parts, log_prob in tokens:
        spelling = [part.split("_") for part in parts if part.partition("_")[0] in _SPELLING]
        for kind, value in spelling:
            share = log_prob / len(spelling)
            if kind == "Position":
                _divide(of_position, notes[here:])
                position, of_position, here = int(value), share, len(notes)
                continue
            if kind == "Program":
                notes.append(Spelled(int(value), position))
            elif kind.startswith("Pitch"):
                notes[-1].pitch = int(value)
            notes[-1].log_prob += share
    _divide(of_position, notes[here:])
    return notes


def _divide(log_prob: float, notes: Sequence[Spelled]) -> None:
    for note in notes:
        note.log_prob += log_prob / len(notes)


def in_order_of(score: ScoreTick, notes: Sequence[Spelled]) -> tuple[tuple[float, ...], ...]:
    """Logarithms of the probabilities of a decoded bar's notes.

    Args:
        score: One track for each program, its notes sorted by time, then by pitch.
        notes: The same notes as they were spelled.

    Returns:
        For every track one number for each of its notes, in their order.
    """
    found = []
    for track in score.tracks:
        program = DRUMS if track.is_drum else track.program
        own = sorted(
            (note for note in notes if note.program == program),
            key=lambda note: (note.position, note.pitch),
        )
        assert [note.pitch for note in own] == [note.pitch for note in track.notes]
        found.append(tuple(note.log_prob for note in own))
    return tuple(found)
