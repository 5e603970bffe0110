"""A mix with mutes and instruments of single tracks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from musiclstm.audio import Mix
from musiclstm.midi import AnyScore, in_ticks


@dataclass(frozen=True)
class TrackMix:
    """How a score with its tracks is rendered.

    Args:
        mix: SoundFont, effects and loudness.
        muted: Indices of silent tracks.
        programs: Index of a track -> the program that sounds in its place; not for drums.
    """

    mix: Mix = field(default_factory=Mix)
    muted: frozenset[int] = frozenset()
    programs: Mapping[int, int] = field(default_factory=dict)

    def applied_to(self, score: AnyScore) -> AnyScore:
        """Return the score as it is rendered with `mix`: muted tracks have no notes."""
        if not self.muted and not self.programs:
            return score
        changed = in_ticks(score).copy()
        for index, track in enumerate(changed.tracks):
            if index in self.muted:
                track.notes = type(track.notes)()
            elif not track.is_drum:
                track.program = self.programs.get(index, track.program)
        return changed
