"""Updates for the player of a prompt: its piano roll, and audio when the user presses play."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator
from contextlib import closing
from typing import Any

from musiclstm.audio import Mix
from musiclstm.export import pianoroll_data
from musiclstm.midi import bar_starts
from page.playback.audio_chunks import SAMPLE_RATE_HZ, Chunk, ChunkRenderer, frame_of
from page.playback.chunk_cache import ChunkCache
from page.playback.updates import PlayerUpdates
from page.session.prompt import PromptChoice

MAX_SECONDS = 180.0  # rendered for one press of play; another press renders more
_MAX_CHUNK_BARS = 4


class PromptPreview:
    """The player stream of a prompt.

    Args:
        prompt: With a score.
        cache: The cache that the player was made with.
        from_s: Where playback starts, in seconds; outside the prompt it starts at 0.
    """

    def __init__(self, prompt: PromptChoice, cache: ChunkCache, *, from_s: float = 0.0) -> None:
        assert prompt.score is not None
        self._score, self._roll = prompt.score, pianoroll_of_prompt(prompt)
        self._bar_ticks = bar_starts(self._score).tolist()
        end = frame_of(self._score, self._bar_ticks[-1])
        frame = from_s * SAMPLE_RATE_HZ
        self._cue = round(frame) if 0 < frame < end else 0
        self._updates = PlayerUpdates(cache, cue_frame=self._cue, on_request=True)
        self.select(prompt)

    def select(self, prompt: PromptChoice) -> None:
        """Mark the bars of the prompt that are used, unless all are."""
        selection, self._selection = prompt.selection, None
        if selection is not None and prompt.summary is not None:
            bars = selection.first_bar, selection.last_bar or prompt.summary.bars
            self._selection = None if bars == (1, prompt.summary.bars) else bars

    def update(self, *, complete: bool = False) -> dict[str, Any]:
        """Build an update without new audio."""
        return self._build([], complete=complete)

    def play(self, mix: Mix | None = None) -> Generator[dict[str, Any], None, None]:
        """Yield updates with audio for at most `MAX_SECONDS`.

        Closing the generator frees the synthesizer.

        Args:
            mix: Instruments and levels. None: as the score says.

        Raises:
            RenderError: No SoundFont was found, or it lacks an instrument.
        """
        index, last, bars = self._cue_bar(), len(self._bar_ticks) - 1, 1
        with closing(ChunkRenderer(self._score, self._bar_ticks[index], mix)) as renderer:
            while index < last and renderer.seconds < MAX_SECONDS:
                index = min(index + bars, last)
                yield self._build(renderer.render_to(self._score, self._bar_ticks[index]))
                bars = min(2 * bars, _MAX_CHUNK_BARS)
            if index == last:
                yield self._build(renderer.flush())
        yield self.update(complete=True)  # no chunk, because Gradio sends the last update twice

    def _cue_bar(self) -> int:
        """Index of the bar in which playback starts."""
        starts = [frame_of(self._score, tick) for tick in self._bar_ticks[:-1]]
        return max(0, bisect_right(starts, self._cue) - 1)

    def _build(self, chunks: list[Chunk], *, complete: bool = False) -> dict[str, Any]:
        return self._updates.build(
            self._roll, chunks=chunks, selection=self._selection, complete=complete
        )


def pianoroll_of_prompt(prompt: PromptChoice) -> dict[str, Any]:
    """Return the piano roll data of a prompt, all of it marked as prompt."""
    assert prompt.score is not None
    roll = pianoroll_data(prompt.score, prompt_end_tick=0)
    roll["prompt_end_tick"] = roll["bars"]["ticks"][-1]
    return roll
