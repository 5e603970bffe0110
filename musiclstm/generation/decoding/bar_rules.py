"""Compile constraints and the shape of a bar into the rules that the core reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache

import numpy as np

from musiclstm.core.grammar import BAR_RULES, NO_LIMIT
from musiclstm.generation.constraints import KEY_OF_PROMPT, BarShape, Constraints
from musiclstm.tokens import DRUMS, normalize_time_signature
from musiclstm.tokens import vocabulary as v


@lru_cache(maxsize=64)
def bar_rules(constraints: Constraints | None = None, shape: BarShape | None = None) -> np.ndarray:
    """Return what one bar permits, a read-only `BAR_RULES`.

    Raises:
        ValueError: Constraints and shape permit no note.
    """
    constraints, shape = constraints or Constraints(), shape or BarShape()
    pitches = _playable(constraints, shape.chord)
    is_pitched = constraints.programs is None or bool(constraints.programs - {DRUMS})
    needs_pitched = shape.chord is not None and is_pitched
    _refuse_contradictions(constraints, shape, needs_pitched)
    fewest, most = constraints.notes_per_bar or (0, NO_LIMIT)
    rules = np.zeros((), BAR_RULES)
    rules["max_at_once"] = constraints.max_notes_at_once
    rules["max_polyphony"] = min(constraints.max_polyphony or 0, NO_LIMIT)
    rules["fewest"], rules["most"] = fewest, min(most, NO_LIMIT)
    rules["max_empty_bars"] = min(constraints.max_empty_bars, NO_LIMIT)
    rules["allows_tempos"] = constraints.allows_tempos
    rules["has_ending"] = constraints.ending
    rules["closed"] = shape.closed
    rules["downbeat_only"] = shape.downbeat_only
    rules["off_beat"] = shape.off_beat
    rules["needs_pitched"] = needs_pitched
    rules["keep_lines"] = constraints.keep_lines
    rules["mode"] = _bits(shape.off_mode or ())
    rules["meters"] = _bits(map(v.TIME_SIGNATURES.index, _meters(constraints)))
    for program, own in pitches.items():  # index -1, of drums, is the last one
        rules["pitches"][program] = _bits(own) % 2**64, _bits(own) >> 64
    rules.flags.writeable = False
    return rules


def _bits(numbers: Iterable[int]) -> int:
    return sum(1 << number for number in set(numbers))


def _meters(constraints: Constraints) -> tuple[tuple[int, int], ...]:
    if constraints.meter is None:
        return v.TIME_SIGNATURES
    return (normalize_time_signature(*constraints.meter),)


def _playable(constraints: Constraints, chord: Collection[int] | None) -> dict[int, list[int]]:
    """Return the pitches of each program; of pitched programs only those of the chord.

    Programs without any are missing.
    """
    programs = range(-1, 128) if constraints.programs is None else constraints.programs
    found: dict[int, list[int]] = {}
    shared = _in_chord(Constraints(key=_named(constraints.key)).pitches(0), chord)
    for program in programs:
        if program == DRUMS:
            found[program] = [p for p in constraints.pitches(DRUMS) if p in v.DRUM_PITCHES]
        elif program in constraints.ranges:
            found[program] = _in_chord(constraints.pitches(program), chord)
        else:
            found[program] = shared
    return {program: pitches for program, pitches in found.items() if pitches}


def _in_chord(pitches: list[int], chord: Collection[int] | None) -> list[int]:
    return [pitch for pitch in pitches if chord is None or pitch % 12 in chord]


def _named(key: str | None) -> str | None:
    return None if key == KEY_OF_PROMPT else key


def _refuse_contradictions(constraints: Constraints, shape: BarShape, needs_pitched: bool) -> None:
    if constraints.key == KEY_OF_PROMPT:
        raise ValueError(
            'key is "prompt", which needs a composer and a prompt; name the key, such as D minor.'
        )
    plain = _playable(constraints, None)
    if not plain:
        raise ValueError(
            "pitch_ranges leaves nothing to play: no pitch has a token; drums are MIDI pitches "
            f"{v.DRUM_PITCHES[0]} to {v.DRUM_PITCHES[-1]}."
        )
    different = sum(map(len, plain.values()))
    fewest, _ = constraints.notes_per_bar or (0, NO_LIMIT)
    most = max(constraints.max_notes_in_bar(meter, different) for meter in _meters(constraints))
    if fewest > most:
        raise ValueError(
            f"notes_per_bar needs at least {fewest} notes, but at most {most} fit into a bar; "
            "lower it, or raise max_notes_at_once."
        )
    if needs_pitched and not _playable(constraints, shape.chord).keys() - {DRUMS}:
        raise ValueError(
            f"ending needs a chord of the pitch classes {sorted(shape.chord or ())}, but key and "
            "pitch_ranges permit none of them; widen the ranges, or leave ending out."
        )
