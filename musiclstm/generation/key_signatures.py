"""Key signatures of new music: those of the keys that were requested for it."""

from __future__ import annotations

from collections.abc import Sequence

from symusic.core import KeySignatureTick, ScoreTick

from musiclstm.generation.constraints import Scale
from musiclstm.generation.recipe import Step

_FIFTHS = {"F": -1, "C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5}
# Sharps of a scale on C, and whether the file calls it minor. Scales without a key signature, such
# as `chromatic`, are missing.
_MODES = {
    "major": (0, 0),
    "major pentatonic": (0, 0),
    "lydian": (1, 0),
    "mixolydian": (-1, 0),
    "minor": (-3, 1),
    "natural minor": (-3, 1),
    "harmonic minor": (-3, 1),
    "melodic minor": (-3, 1),
    "minor pentatonic": (-3, 1),
    "blues": (-3, 1),
    "dorian": (-2, 1),
    "phrygian": (-4, 1),
    "locrian": (-5, 1),
}


def key_signature(name: str) -> tuple[int, int] | None:
    """Return sharps, -7 to 7, and 1 for minor keys, of a key such as `F# dorian`.

    A key with more than seven accidentals gets the signature of its enharmonic equivalent.
    None: the scale has no key signature.
    """
    mode = _MODES.get(Scale.named(name).mode)
    if mode is None:
        return None
    tonic = name.strip()
    fifths = _FIFTHS[tonic[0].upper()] + {"#": 7, "♯": 7, "b": -7, "♭": -7}.get(tonic[1], 0)
    sharps = fifths + mode[0]
    return sharps - 12 * ((sharps > 7) - (sharps < -7)), mode[1]


def set_key_signatures(new: ScoreTick, steps: Sequence[Step], bar_lines: Sequence[int]) -> None:
    """Add a key signature where a step requests a key.

    Args:
        new: New music; changed in place.
        steps: Settings of its bars, in order.
        bar_lines: Ticks of its bar lines, from 0.
    """
    bar, current = 0, None
    for step in steps:
        key = None if step.constraints is None else step.constraints.key
        signature = None if key is None else key_signature(key)
        if signature is not None and signature != current:
            new.key_signatures.append(KeySignatureTick(bar_lines[bar], *signature))
            current = signature
        bar += step.bars


def add_key_signatures(whole: ScoreTick, new: ScoreTick, at: int, scale: float) -> None:
    """Add the key signatures of new music that differ from the one in force.

    Args:
        whole: The prompt; changed in place. New signatures replace those from `at` on.
        new: The new music.
        at: Tick of `whole` where the new music begins.
        scale: Ticks of `whole` per tick of `new`.
    """
    if not len(new.key_signatures):
        return
    kept = [each for each in whole.key_signatures if each.time < at]
    current = (kept[-1].key, kept[-1].tonality) if kept else None
    for each in new.key_signatures:
        if (each.key, each.tonality) != current:
            kept.append(KeySignatureTick(round(each.time * scale) + at, each.key, each.tonality))
        current = each.key, each.tonality
    whole.key_signatures = type(whole.key_signatures)(kept)
