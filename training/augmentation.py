"""The same piece a little higher, louder or faster, in each epoch.

Works on unmerged base ids by table: the name of a token says what it becomes. Drums keep their
pitches, because MidiTok names them `PitchDrum`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from musiclstm.tokenization import MusicTokenizer


@dataclass(frozen=True)
class Augmentation:
    """How far a piece may be moved; 0 everywhere leaves it alone.

    Args:
        pitch_semitones: Up or down by at most so much, 0 to 11.
        velocity_steps: Louder or softer by at most so many of the tokenizer's steps. Off, because
            merges learn the usual loudness of notes and fall apart when it is moved (docs/log.md).
        tempo_steps: Faster or slower by at most so many of the tokenizer's steps (about 6 % each).
    """

    pitch_semitones: int = 5
    velocity_steps: int = 0
    tempo_steps: int = 2

    def apply(self, base_ids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A moved copy of a piece; the move is the same for all of it."""
        for prefix, most in (
            ("Pitch_", self.pitch_semitones),
            ("Velocity_", self.velocity_steps),
            ("Tempo_", self.tempo_steps),
        ):
            base_ids = shifted(base_ids, prefix, int(rng.integers(-most, most + 1)))
        return base_ids


def shifted(base_ids: np.ndarray, prefix: str, steps: int) -> np.ndarray:
    """Every token of one kind moved by so many steps of its scale.

    Pitches move by less where a note would leave the range 0 to 127; other scales stop at their
    ends.
    """
    scale = _scale(prefix)
    place = _places(prefix)[base_ids]  # -1: of another kind
    own = place >= 0
    if not own.any() or steps == 0:
        return base_ids
    if prefix == "Pitch_":
        steps = int(np.clip(steps, -place[own].min(), len(scale) - 1 - place[own].max()))
    moved = scale[np.clip(place + steps, 0, len(scale) - 1)]
    return np.where(own, moved, base_ids).astype(base_ids.dtype)


@cache
def _scale(prefix: str) -> np.ndarray:
    """Ids of one kind in the order of their values."""
    names = enumerate(MusicTokenizer().base_tokens)
    found = [(float(n.removeprefix(prefix)), i) for i, n in names if n.startswith(prefix)]
    return np.array([index for _, index in sorted(found)])


@cache
def _places(prefix: str) -> np.ndarray:
    places = np.full(len(MusicTokenizer().base_tokens), -1)
    places[_scale(prefix)] = np.arange(len(_scale(prefix)))
    return places
