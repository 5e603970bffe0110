"""What the player shows: a prompt, or a prompt and its new bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from math import ceil
from typing import Any, NamedTuple

from musiclstm import Composition
from musiclstm.export import pianoroll_data
from musiclstm.midi import AnyScore, bar_starts, in_ticks, meter_at


class PieceView(NamedTuple):
    """What the player shows.

    Attributes:
        score: The music, in ticks.
        new_start_tick: Where the new bars start; the end of a prompt without new bars.
        prompt_bars: Number of prompt bars.
        bar_ticks: Ticks of the bar lines, from 0 to the end of the last bar.
        probabilities: Of each note, in the order of the tracks and of their notes. None: the note
            was not composed.
        first_bar: Number of its first bar in the file.
    """

    score: AnyScore
    new_start_tick: int
    prompt_bars: int
    bar_ticks: tuple[int, ...]
    probabilities: tuple[float | None, ...] | None = None
    first_bar: int = 1

    def pianoroll(self) -> dict[str, Any]:
        """Return the piano roll data."""
        roll = pianoroll_data(
            self.score, prompt_end_tick=self.new_start_tick, probabilities=self.probabilities
        )
        beats = list(_beats(self.score, self.bar_ticks))
        return roll | {"first_bar": self.first_bar, "beats": beats}


def view_of_prompt(score: AnyScore, *, first_bar: int = 1) -> PieceView:
    """Return the view of a prompt without new bars."""
    score = in_ticks(score)
    lines = tuple(bar_starts(score).tolist())
    return PieceView(score, lines[-1], len(lines) - 1, lines, None, first_bar)


def view_of_piece(piece: Composition, *, first_bar: int = 1) -> PieceView:
    """Return the view of a piece; `first_bar` is the number of its first bar in the file."""
    lines = [0]
    if piece.prompt is not None:
        lines = bar_starts(piece.prompt.score, end_tick=piece.prompt_end_tick).tolist()
    return PieceView(
        score=piece.score,
        new_start_tick=piece.prompt_end_tick,
        prompt_bars=len(lines) - 1,
        bar_ticks=(*lines, *_new_bar_ends(piece)),
        probabilities=tuple(_note_probabilities(piece)),
        first_bar=first_bar,
    )


def _beats(score: AnyScore, lines: Sequence[int]) -> Iterator[int]:
    """Ticks of the beats; three eighths are one in 6/8, 9/8 and 12/8."""
    quarter = in_ticks(score).ticks_per_quarter
    for start, end in pairwise(lines):
        numerator, denominator = meter_at(score, start)
        eighths = 3 if denominator == 8 and numerator > 3 and numerator % 3 == 0 else 1
        beat = eighths * 4 * quarter / denominator
        yield from (start + int(i * beat) for i in range(ceil((end - start) / beat - 1e-9)))


def _new_bar_ends(piece: Composition) -> Iterator[int]:
    """Ticks of the bar lines after each new bar."""
    for length in accumulate(passage.length_ticks for passage in piece.generated_bars):
        scale = piece.score.ticks_per_quarter / piece.generated_bars[0].score.ticks_per_quarter
        yield piece.prompt_end_tick + round(length * scale)


def _note_probabilities(piece: Composition) -> Iterator[float | None]:
    """Probability of each note; None for notes that were not composed.

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
            yield known.get((index, tick - piece.prompt_end_tick, pitch)) if is_new else None
        index += is_new
