"""Selection: which tracks and bars of a prompt are gone on with.

Knows numbers of tracks and bars only; what they hold, and how they are cut out, is said elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

from musiclstm.errors import ScoreError


@dataclass(frozen=True)
class Selection:
    """The part of a prompt that is heard and gone on with.

    Args:
        tracks: Places in the list of tracks that have notes, as `SeedReport.tracks` gives it; the
            first is 0. None: all.
        first_bar: Where the piece begins; the first bar of the file is 1.
        last_bar: The last one that is heard, the new music comes after it; None: that of the file.
        keep_others: Whether the other tracks sound as well, in tracks of their own: over the chosen
            bars, and under the new music as far as the file goes. The network does not hear them.

    Raises:
        ValueError: Nothing is chosen, or a number that no track or bar can have.
    """

    tracks: frozenset[int] | None = None
    first_bar: int = 1
    last_bar: int | None = None
    keep_others: bool = True

    def __post_init__(self) -> None:
        """Keep plain sets as frozen ones, and refuse what chooses nothing."""
        if self.tracks is not None:
            object.__setattr__(self, "tracks", frozenset(self.tracks))
            self._check_tracks(self.tracks)
        if not isinstance(self.first_bar, Integral) or self.first_bar < 1:
            raise ValueError(f"first_bar must be from 1 on, got {self.first_bar}; 1 is the first.")
        last = self.last_bar
        if last is not None and (not isinstance(last, Integral) or last < self.first_bar):
            raise ValueError(
                f"last_bar must be at least first_bar, {self.first_bar}, got {last}; None is the "
                "last bar of the file."
            )

    @staticmethod
    def _check_tracks(tracks: frozenset[int]) -> None:
        if not tracks:
            raise ValueError("tracks must name at least one track; None chooses all.")
        if not all(isinstance(track, Integral) and track >= 0 for track in tracks):
            raise ValueError(
                f"tracks must be whole numbers from 0 on, got {sorted(tracks, key=str)}; the first "
                "track is 0."
            )

    def check(self, tracks: int, bars: int) -> None:
        """Refuse a prompt that does not have what is chosen.

        Args:
            tracks: How many it has.
            bars: Likewise.

        Raises:
            ScoreError: A track or bar is not there.
        """
        missing = sorted(track for track in self.tracks or () if track >= tracks)
        if missing:
            has = "1, number 0" if tracks == 1 else f"{tracks}, numbers 0 to {tracks - 1}"
            raise ScoreError(f"The prompt has no track {missing[0]}; choose of its {has}.")
        for bar in (self.first_bar, self.last_bar or 1):
            if bar > bars:
                raise ScoreError(
                    f"The prompt has no bar {bar}: it has {bars}; choose bars from 1 to {bars}."
                )
