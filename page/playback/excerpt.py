"""The part of a piece that is drawn and heard: the end of its seed, and all new bars.

Cuts and counts; knows neither sound nor who composes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any, NamedTuple

from musiclstm import Composition
from musiclstm.export import pianoroll_data
from musiclstm.midi import AnyScore, bar_starts, slice_score

MOST_SEED_BARS = 16  # who drops a symphony wants to hear how it goes on


class Excerpt(NamedTuple):
    """What is drawn and heard of a piece.

    Attributes:
        score: The end of the seed and all new bars, from tick 0 on.
        begin_tick: Where the new bars begin in it.
        seed_bars: How many bars of the seed it has, at most 16.
        lines: The bar lines, those after the last new bar included, rising from 0.
        sure: How likely the model held each note to be, by the tracks of the score and their notes;
            None for those it did not write.
    """

    score: AnyScore
    begin_tick: int
    seed_bars: int
    lines: tuple[int, ...]
    sure: tuple[float | None, ...]

    def roll(self) -> dict[str, Any]:
        """What the player draws of it."""
        return pianoroll_data(self.score, prompt_end_tick=self.begin_tick, probabilities=self.sure)


def excerpt_of(piece: Composition) -> Excerpt:
    """The end of the seed and all new bars."""
    old = [0]
    if piece.seed is not None:
        old = bar_starts(piece.seed.score, end_tick=piece.seed_end_tick).tolist()
    old = old[-1 - MOST_SEED_BARS :]
    start, end = old[0], piece.seed_end_tick
    return Excerpt(
        score=slice_score(piece.score, start, None) if start else piece.score,
        begin_tick=end - start,
        seed_bars=len(old) - 1,
        lines=(*(line - start for line in old), *(line - start for line in _new_lines(piece))),
        sure=tuple(_sureness(piece, start)),
    )


def pianoroll_of_piece(piece: Composition) -> dict[str, Any]:
    """What the player draws of a piece, with how sure the model was of each note."""
    return excerpt_of(piece).roll()


def new_bar_of(piece: Composition, bar: int) -> int:
    """Which of the new bars, from 1, a bar of the player is; 0 or less: one of the seed.

    Args:
        piece: What the player shows.
        bar: As the player counts, from 1.
    """
    return bar - min(piece.seed_bars, MOST_SEED_BARS)


def _new_lines(piece: Composition) -> Iterator[int]:
    """The bar lines at the end of each new bar, in ticks of the score."""
    for length in accumulate(passage.length_ticks for passage in piece.passages):
        scale = piece.score.ticks_per_quarter / piece.passages[0].score.ticks_per_quarter
        yield piece.seed_end_tick + round(length * scale)


def _sureness(piece: Composition, start: int) -> Iterator[float | None]:
    """How likely each note from a tick on was held to be; None where nobody was asked.

    Tracks without new notes are no part of `continuation`, by which probabilities are counted.
    """
    known = {each[:3]: each.probability for each in piece.note_probabilities()}
    first = 0 if piece.seed is None else len(piece.seed.score.tracks)
    company = range(first, first + piece.accompaniment_tracks)
    place = 0
    for number, track in enumerate(piece.score.tracks):
        table = track.notes.numpy()
        times, pitches = table["time"].tolist(), table["pitch"].tolist()
        newest = max(times, default=-1) >= piece.seed_end_tick and number not in company
        for tick, pitch in zip(times, pitches, strict=True):
            if tick >= start:
                yield known.get((place, tick - piece.seed_end_tick, pitch)) if newest else None
        place += newest
