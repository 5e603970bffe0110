"""A score taken apart: every track with notes alone."""

from __future__ import annotations

from symusic.core import ScoreTick, TrackTick

from musiclstm.midi.analysis import AnyScore, in_ticks
from musiclstm.midi.general_midi import DRUMS, instrument_name


def split_parts(score: AnyScore) -> dict[str, ScoreTick]:
    """Every track with notes as a score of its own, in ticks, with tempos, meters and keys.

    Args:
        score: In any time unit; left unchanged.

    Returns:
        By name, in the order of the tracks. Names are those of General MIDI, whatever the tracks
        call themselves: letters, digits, spaces, hyphens and round brackets, so that they can name
        files. The second violin is `Violin (2)`.
    """
    score = in_ticks(score)
    parts: dict[str, ScoreTick] = {}
    for track in score.tracks:
        if len(track.notes):
            parts[_new_name(track, parts)] = _alone(score, track)
    return parts


def _new_name(track: TrackTick, taken: dict[str, ScoreTick]) -> str:
    name = instrument_name(DRUMS if track.is_drum else min(max(track.program, 0), 127))
    number = 1
    unique = name
    while unique in taken:
        number += 1
        unique = f"{name} ({number})"
    return unique


def _alone(score: ScoreTick, track: TrackTick) -> ScoreTick:
    part = ScoreTick(score.ticks_per_quarter)
    part.tempos = score.tempos.copy()
    part.time_signatures = score.time_signatures.copy()
    part.key_signatures = score.key_signatures.copy()
    part.tracks.append(track.copy())
    return part
