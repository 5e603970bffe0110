"""`Selection`: the tracks and bars of a prompt that are continued."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

from musiclstm.errors import ScoreError


@dataclass(frozen=True)
class Selection:
    """The part of a prompt that the network reads and continues.

    Args:
        tracks: Indices among the tracks that have notes, as in `SeedReport.tracks`, from 0. None:
            all.
        first_bar: Bar of the file where the piece begins, from 1.
        last_bar: Last bar that is read; the new music follows it. None: the last one of the file.
        keep_others: Whether the other tracks accompany the chosen bars, and the new music as far as
            the file goes. The network does not read them.

    Raises:
        ValueError: Nothing is chosen, or a number that no track or bar can have.
    """

    tracks: frozenset[int] | None = None
    first_bar: int = 1
    last_bar: int | None = None
    keep_others: bool = True

    def __post_init__(self) -> None:
        """Convert sets to frozen ones, and refuse an empty selection."""
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
        """Refuse a prompt that lacks a chosen track or bar.

        Args:
            tracks: Number of tracks of the prompt.
            bars: Number of its bars.

        Raises:
            ScoreError: A chosen track or bar does not exist.
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
