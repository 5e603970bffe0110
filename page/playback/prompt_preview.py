"""A seed on its player: its picture, and its sound from where somebody wants to hear it.

Nothing is played before it is asked for, and never more than some minutes of a long seed. Composes
nothing; knows no components and no visitors.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator
from contextlib import closing
from typing import Any

from musiclstm.audio import Mix
from musiclstm.export import pianoroll_data
from musiclstm.midi import bar_starts
from page.playback.audio_chunks import ChunkRenderer, frame_of
from page.playback.player import RATE_HZ, Chunk, ChunkCache, PlayerUpdates
from page.session.prompt import PromptChoice

MOST_S = 180.0  # of one press on play; who wants to hear more presses again
_MOST_BARS = 4  # in one chunk


class PromptPreview:
    """A seed for the player of its picture, as a take of its own.

    Args:
        seed: With a score.
        shelf: The one that the player was made with.
        from_s: Where the listener is; playing begins there, at its end from the beginning.
    """

    def __init__(self, seed: PromptChoice, shelf: ChunkCache, *, from_s: float = 0.0) -> None:
        assert seed.score is not None
        self._score, self._roll = seed.score, pianoroll_of_prompt(seed)
        self._lines = bar_starts(self._score).tolist()
        end = frame_of(self._score, self._lines[-1])
        self._cue = round(from_s * RATE_HZ) if 0 < from_s * RATE_HZ < end else 0
        self._broadcast = PlayerUpdates(shelf, cue_frame=self._cue, on_request=True)
        self.choose(seed)

    def choose(self, seed: PromptChoice) -> None:
        """Mark the bars that go on, where these are not all."""
        chosen, self._chosen = seed.selection, None
        if chosen is not None and seed.report is not None:
            bars = chosen.first_bar, chosen.last_bar or seed.report.bars
            self._chosen = None if bars == (1, seed.report.bars) else bars

    def picture(self, *, complete: bool = False) -> dict[str, Any]:
        """What the player is told: all there is, and nothing new to hear."""
        return self._told([], complete=complete)

    def play(self, mix: Mix | None = None) -> Generator[dict[str, Any], None, None]:
        """Play it, at most `MOST_S` long; closing the generator frees the synthesizer.

        Args:
            mix: How it sounds. None: as it is written.

        Raises:
            RenderError: There is no SoundFont, or it lacks what is needed.
        """
        at, last, bars = self._bar(), len(self._lines) - 1, 1
        with closing(ChunkRenderer(self._score, self._lines[at], mix)) as sound:
            while at < last and sound.seconds < MOST_S:
                at = min(at + bars, last)
                yield self._told(sound.until(self._score, self._lines[at]))
                bars = min(2 * bars, _MOST_BARS)
            if at == last:
                yield self._told(sound.end())
        yield self.picture(complete=True)  # without a chunk, for it may be sent twice

    def _bar(self) -> int:
        """The bar in which it begins, from 0."""
        starts = [frame_of(self._score, line) for line in self._lines[:-1]]
        return max(0, bisect_right(starts, self._cue) - 1)

    def _told(self, chunks: list[Chunk], *, complete: bool = False) -> dict[str, Any]:
        return self._broadcast.update(
            self._roll, chunks=chunks, selection=self._chosen, complete=complete
        )


def pianoroll_of_prompt(seed: PromptChoice) -> dict[str, Any]:
    """What a player draws of a seed, all of it in the colour of what is there already."""
    assert seed.score is not None
    roll = pianoroll_data(seed.score, prompt_end_tick=0)
    roll["prompt_end_tick"] = roll["bars"]["ticks"][-1]
    return roll
