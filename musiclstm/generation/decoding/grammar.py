"""Tokens that constraints and the shape of a bar permit, as ceilings on logits.

A ceiling is a float32 array over some tokens: `OPEN` for a permitted token, `CLOSED` for others.
The masked logit is the minimum of ceiling and logit. `GrammarState` selects the ceilings.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from musiclstm.generation.constraints import KEY_OF_PROMPT, BarShape, Constraints
from musiclstm.model.step_features import TokenKind
from musiclstm.tokens import DRUMS, normalize_time_signature
from musiclstm.tokens import vocabulary as v
from musiclstm.tokens.vocabulary import TABLE

# The largest number instead of infinity, so that infinite and NaN logits become finite.
OPEN, CLOSED = np.finfo(np.float32).max, np.float32(-np.inf)
NO_LIMIT = 1_000_000

_PITCH_KINDS = (TokenKind.PROGRAM, TokenKind.PITCH, TokenKind.DRUM)
_RHYTHM_KINDS = (
    TokenKind.POSITION,
    TokenKind.DURATION,
    TokenKind.BAR,
    TokenKind.TIME_SIGNATURE,
    TokenKind.TEMPO,
)

TOKEN_KINDS = np.isin(TABLE.kind, _PITCH_KINDS) + 2 * np.isin(TABLE.kind, _RHYTHM_KINDS).astype(
    np.int8
)
"""Kind of each token for `Sampling`: 1 pitch, 2 rhythm, 0 others, (vocab,)."""

IS_PITCH = np.isin(TABLE.kind, (TokenKind.PITCH, TokenKind.DRUM))
"""Whether a token names a pitch, (vocab,) bool."""

PITCHES = range(v.PITCH_0, v.PITCH_0 + 128)
"""Pitch tokens, in steps of a semitone."""


class Grammar:
    """Limits and ceilings of constraints and a bar shape; read-only and shared by states.

    Attributes:
        constraints: The constraints of all bars.
        shape: The shape of the bars under this grammar.
        at_once: Maximum of notes that start together.
        polyphony: Maximum of notes that sound together; None: no limit.
        fewest: Minimum of notes in a bar.
        most: Maximum of notes in a bar.
        pitches: Permitted MIDI pitches by program, ascending; programs without any are missing.
        pitch_ceilings: Ceiling over MIDI pitches, (128,), by program.
        outside: `pitches` outside `shape.off_mode`; programs without any are missing.
        outside_ceilings: `pitch_ceilings` for `outside`.
        program_ceiling: Ceiling over programs, (129,), drums last.
        meters: Indices of the permitted time signatures.
        meter_ceiling: Ceiling over time signatures, (time signatures,).
        different_notes: Number of (program, pitch) pairs.
        shortest_bar: Shortest bar of the permitted meters, in 1/48 quarters.
        needs_pitched: Whether a bar needs a pitched note before any drum.
    """

    def __init__(
        self, constraints: Constraints | None = None, shape: BarShape | None = None
    ) -> None:
        """Compute the ceilings.

        Raises:
            ValueError: Constraints and shape permit no note.
        """
        constraints = constraints or Constraints()
        self.constraints = constraints
        self.shape = shape or BarShape()
        self.at_once, self.polyphony = constraints.max_notes_at_once, constraints.max_polyphony
        self.fewest, self.most = constraints.notes_per_bar or (0, NO_LIMIT)
        meters = (
            v.TIME_SIGNATURES
            if constraints.meter is None
            else (normalize_time_signature(*constraints.meter),)
        )
        self.meters = [v.TIME_SIGNATURES.index(meter) for meter in meters]
        self.meter_ceiling = ceiling(len(v.TIME_SIGNATURES), self.meters)
        self.shortest_bar = min(TABLE.value[v.TIME_SIGNATURE_0 + index] for index in self.meters)
        self.pitches = self._playable(self.shape.chord)
        self.different_notes = sum(len(pitches) for pitches in self.pitches.values())
        programs = [program for program in range(-1, 128) if program in self.pitches]
        self.program_ceiling = ceiling(129, programs)  # -1, drums, is the last one
        self.pitch_ceilings = _by_program(self.pitches)
        self.outside = self._outside()
        self.outside_ceilings = _by_program(self.outside)
        has_pitched = constraints.programs is None or bool(constraints.programs - {DRUMS})
        self.needs_pitched = self.shape.chord is not None and has_pitched
        self._refuse_contradictions()

    def _playable(self, chord: Collection[int] | None) -> dict[int, list[int]]:
        """Return the pitches of each program; of pitched programs only those of the chord."""
        constraints, found = self.constraints, {}
        shared = [
            p for p in Constraints(key=_named(constraints.key)).pitches(0) if _is_in(p, chord)
        ]
        for program in range(-1, 128) if constraints.programs is None else constraints.programs:
            if program == DRUMS:
                pitches = [p for p in constraints.pitches(DRUMS) if p in v.DRUM_PITCHES]
            elif program in constraints.ranges:
                pitches = [p for p in constraints.pitches(program) if _is_in(p, chord)]
            else:
                pitches = shared
            if pitches:
                found[program] = pitches
        return found

    def _outside(self) -> dict[int, list[int]]:
        mode = self.shape.off_mode
        if mode is None:
            return {}
        found = {
            program: [p for p in pitches if p % 12 not in mode]
            for program, pitches in self.pitches.items()
            if program != DRUMS
        }
        return {program: pitches for program, pitches in found.items() if pitches}

    def _refuse_contradictions(self) -> None:
        constraints, shape = self.constraints, self.shape
        if constraints.key == KEY_OF_PROMPT:
            raise ValueError(
                'key is "prompt", which needs a composer and a prompt; name the key, such as D '
                "minor."
            )
        plain = self.pitches if shape.chord is None else self._playable(None)
        if not plain:
            raise ValueError(
                "pitch_ranges leaves nothing to play: no pitch has a token; drums are MIDI pitches "
                f"{v.DRUM_PITCHES[0]} to {v.DRUM_PITCHES[-1]}."
            )
        different = sum(len(pitches) for pitches in plain.values())
        meters = [v.TIME_SIGNATURES[index] for index in self.meters]
        most = max(constraints.max_notes_in_bar(meter, different) for meter in meters)
        if self.fewest > most:
            raise ValueError(
                f"notes_per_bar needs at least {self.fewest} notes, but at most {most} fit into a "
                "bar; lower it, or raise max_notes_at_once."
            )
        if self.needs_pitched and not self.pitches.keys() - {DRUMS}:
            raise ValueError(
                f"ending needs a chord of the pitch classes {sorted(shape.chord or ())}, but key "
                "and pitch_ranges permit none of them; widen the ranges, or leave ending out."
            )


def ceiling(size: int, permitted: Sequence[int]) -> np.ndarray:
    """Return a ceiling over `size` tokens, (size,) float32."""
    found = np.full(size, CLOSED, np.float32)
    found[np.array(permitted, dtype=np.int64)] = OPEN
    return found


def _by_program(pitches: dict[int, list[int]]) -> dict[int, np.ndarray]:
    """Return a ceiling for each program; programs that share their pitches share it."""
    known = {id(own): ceiling(128, own) for own in pitches.values()}
    return {program: known[id(own)] for program, own in pitches.items()}


def _is_in(pitch: int, classes: Collection[int] | None) -> bool:
    return classes is None or pitch % 12 in classes


def _named(key: str | None) -> str | None:
    return None if key == KEY_OF_PROMPT else key
