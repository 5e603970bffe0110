"""The part of a piece that the player shows: the last bars of the prompt and all new bars."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any, NamedTuple

from musiclstm import Composition
from musiclstm.export import pianoroll_data
from musiclstm.midi import AnyScore, bar_starts, slice_score

MAX_PROMPT_BARS = 16  # a long prompt is cut, so that the new bars are near the start


class Excerpt(NamedTuple):
    """What the player shows of a piece.

    Attributes:
        score: The end of the prompt and all new bars, starting at tick 0.
        new_start_tick: Where the new bars start.
        prompt_bars: Number of prompt bars, at most 16.
        bar_ticks: Ticks of the bar lines, from 0 to the end of the last new bar.
        probabilities: Of each note, in the order of the tracks and of their notes. None: the note
            was not composed.
    """

    score: AnyScore
    new_start_tick: int
    prompt_bars: int
    bar_ticks: tuple[int, ...]
    probabilities: tuple[float | None, ...]

    def pianoroll(self) -> dict[str, Any]:
        """Return the piano roll data of the excerpt."""
        return pianoroll_data(
            self.score, prompt_end_tick=self.new_start_tick, probabilities=self.probabilities
        )


def excerpt_of(piece: Composition) -> Excerpt:
    """Cut a piece to the last 16 bars of its prompt and all new bars."""
    bars = [0]
    if piece.prompt is not None:
        bars = bar_starts(piece.prompt.score, end_tick=piece.prompt_end_tick).tolist()
    bars = bars[-1 - MAX_PROMPT_BARS :]
    start, end = bars[0], piece.prompt_end_tick
    return Excerpt(
        score=slice_score(piece.score, start, None) if start else piece.score,
        new_start_tick=end - start,
        prompt_bars=len(bars) - 1,
        bar_ticks=tuple(tick - start for tick in (*bars, *_new_bar_ends(piece))),
        probabilities=tuple(_note_probabilities(piece, start)),
    )


def new_bar_of(piece: Composition, bar: int) -> int:
    """Convert a bar number of the player to one of the new bars; both count from 1.

    Returns:
        The number of the new bar; 0 or less for a bar of the prompt.
    """
    return bar - min(piece.prompt_bars, MAX_PROMPT_BARS)


def first_bar_of(piece: Composition) -> int:
    """Return the number that the player's counting gives to the first bar of a piece.

    It is 1, or less for a prompt that is cut.
    """
    return 1 - max(0, piece.prompt_bars - MAX_PROMPT_BARS)


def _new_bar_ends(piece: Composition) -> Iterator[int]:
    """Ticks of the bar lines after each new bar."""
    for length in accumulate(passage.length_ticks for passage in piece.generated_bars):
        scale = piece.score.ticks_per_quarter / piece.generated_bars[0].score.ticks_per_quarter
        yield piece.prompt_end_tick + round(length * scale)


def _note_probabilities(piece: Composition, start: int) -> Iterator[float | None]:
    """Probability of each note from a tick on; None for notes that were not composed.

    `note_probabilities` counts the tracks of `continuation`, which leaves out tracks without new
    notes.
    """
    known = {each[:3]: each.probability for each in piece.note_probabilities()}
    first = 0 if piece.prompt is None else len(piece.prompt.score.tracks)
    accompaniment = range(first, first + piece.accompaniment_tracks)
    index = 0
    for number, track in enumerate(piece.score.tracks):
        table = track.notes.numpy()
        times, pitches = table["time"].tolist(), table["pitch"].tolist()
        is_new = max(times, default=-1) >= piece.prompt_end_tick and number not in accompaniment
        for tick, pitch in zip(times, pitches, strict=True):
            if tick >= start:
                yield known.get((index, tick - piece.prompt_end_tick, pitch)) if is_new else None
        index += is_new
