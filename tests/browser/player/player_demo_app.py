"""A page with two players that show a piece as if it were composed during playback.

`python -m tests.browser.player.player_demo_app` serves it with real instruments; the tests use
plain tones.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np
from symusic.core import NoteTick, TrackTick

from musiclstm import example_files, read_midi, render
from musiclstm.export.pianoroll import pianoroll_data
from musiclstm.midi.analysis import bar_starts, last_note_end, seconds_at
from page.playback.audio_chunks import SAMPLE_RATE_HZ, Chunk, encode_chunk
from page.playback.chunk_cache import ChunkCache
from page.playback.player import player
from page.playback.updates import PlayerUpdates
from page.server.gradio_private import event_data

TUNE = "Garage Riff (musiclstm)"
PROMPT_BARS, REPEATS = 8, 3
_COMPARE = "() => musiclstm.players.get('two').takeOver(musiclstm.players.get('one'))"


def repeat(score: Any, times: int) -> Any:
    """Repeat a score, a little louder and softer each time."""
    lines = bar_starts(score)
    whole = score.copy()
    for track, own in zip(whole.tracks, score.tracks, strict=True):
        for again in range(1, times):
            for note in own.notes:
                velocity = min(127, max(20, note.velocity + 25 * (again % 2) - 15))
                start = note.time + again * int(lines[-1])
                track.notes.append(NoteTick(start, note.duration, note.pitch, velocity))
    return whole


def cut(score: Any, first: int, last: int, *, muted: tuple[int, ...] = ()) -> Any:
    """Notes that start between two ticks, without those of some tracks."""
    part = score.copy()
    part.tracks.clear()
    for index, track in enumerate(score.tracks):
        copy = TrackTick(track.name, track.program, track.is_drum)
        if index not in muted:
            for note in track.notes:
                if first <= note.time < last:
                    copy.notes.append(note)
        part.tracks.append(copy)
    return part


def tones(score: Any) -> np.ndarray:
    """Every note as a decaying sine: audio without a SoundFont."""
    frames = round((seconds_at(score, last_note_end(score)) + 0.5) * SAMPLE_RATE_HZ)
    sound = np.zeros((frames, 2), np.float32)
    for track in score.tracks:
        for note in track.notes:
            start = round(seconds_at(score, note.time) * SAMPLE_RATE_HZ)
            time_s = np.arange(min(SAMPLE_RATE_HZ // 2, frames - start)) / SAMPLE_RATE_HZ
            tone = np.sin(2 * np.pi * 440 * 2 ** ((note.pitch - 69) / 12) * time_s)
            sound[start : start + len(time_s)] += (0.05 * tone * np.exp(-6 * time_s))[:, None]
    return sound.clip(-0.9, 0.9)


class DemoPiece:
    """The piece of the page, and the faults of its updates.

    Args:
        synthesize: Renders a score to samples.

    Attributes:
        pause_s: Seconds between two updates.
        names: Replace the names of the instruments.
        lost: Updates that are not sent, counted from 0.
        hold_at: Bar before which the piece stops growing.
        broken: Bars whose chunks are invalid.
        events: Triggered by the player.
    """

    def __init__(self, synthesize: Callable[[Any], np.ndarray]) -> None:
        self.synthesize, self.cache = synthesize, ChunkCache()
        score, _ = read_midi(example_files()[TUNE])
        self.score = repeat(score, REPEATS)
        self.lines = bar_starts(self.score)
        self.frames = [round(seconds_at(self.score, int(t)) * SAMPLE_RATE_HZ) for t in self.lines]
        self.samples = synthesize(self.score)
        self._rolls = {bars: self._roll(bars) for bars in range(PROMPT_BARS, self.bars + 1)}
        self._chunks = [self._chunk(self.samples, bar) for bar in range(self.bars)]
        self.reset()

    def reset(self) -> None:
        self.pause_s = 0.02
        self.names: tuple[str, ...] = ()
        self.lost: set[int] = set()
        self.hold_at: int | None = None
        self.broken: set[int] = set()
        self.events: list[tuple[str, Any]] = []

    def roll(self, bars: int) -> dict[str, Any]:
        """Roll of the first bars, with the replaced names."""
        roll = copy.deepcopy(self._rolls[bars])
        for instrument, name in zip(roll["instruments"], self.names, strict=False):
            instrument["name"] = name
        return roll

    def _roll(self, bars: int) -> dict[str, Any]:
        """Roll of the first bars, with random probabilities for the new notes."""
        score = cut(self.score, 0, int(self.lines[bars]))
        chance, begin = random.Random(0), int(self.lines[PROMPT_BARS])
        sure = [
            None if note.time < begin else chance.random() ** 0.6
            for track in score.tracks
            for note in track.notes
        ]
        return pianoroll_data(score, prompt_end_tick=begin, probabilities=sure)

    def chunk(self, bar: int) -> Chunk:
        chunk = self._chunks[bar]
        return replace(chunk, data=b"no audio") if bar in self.broken else chunk

    def _chunk(self, samples: np.ndarray, bar: int) -> Chunk:
        start, end = self.frames[bar], self.frames[bar + 1]
        samples = samples[start:] if bar + 1 == self.bars else samples[start:end]
        return encode_chunk(samples, start_frame=start)

    @property
    def bars(self) -> int:
        return len(self.lines) - 1

    def compose(self) -> Iterator[tuple[PlayerUpdates, dict[str, Any]]]:
        updates = PlayerUpdates(self.cache, planned_bars=self.bars)
        for bar in range(self.bars):
            while self.hold_at == bar:
                time.sleep(0.02)
            roll = self.roll(max(PROMPT_BARS, bar + 1))
            value = updates.build(roll, chunks=[self.chunk(bar)])
            if bar not in self.lost:
                yield updates, value
            time.sleep(self.pause_s)
        yield updates, updates.build(self.roll(self.bars), complete=True)

    def mute(self, updates: PlayerUpdates, event: gr.EventData) -> Iterator[tuple[Any, Any]]:
        self.events.append(("mute", event_data(event)))
        remixed = updates.remixed(event.muted)
        score = cut(self.score, 0, int(self.lines[-1]), muted=remixed.muted)
        samples = np.zeros_like(self.samples)
        rendered = self.synthesize(score)[: len(samples)]
        samples[: len(rendered)] = rendered
        here = event.bar - 1
        for bar in [*range(here, self.bars), *range(here)]:
            value = remixed.build(self.roll(self.bars), chunks=[self._chunk(samples, bar)])
            yield remixed, value
            time.sleep(self.pause_s / 4)
        yield remixed, remixed.build(self.roll(self.bars), complete=True)

    def select(self, event: gr.EventData) -> str:
        self.events.append(("bars", event_data(event)))
        return f"selected: {event.first} to {event.last}"


def build(piece: DemoPiece) -> gr.Blocks:
    """Two players, a button for each, and one to compare them."""
    with gr.Blocks(title="player", analytics_enabled=False) as demo:
        for name in ("one", "two"):
            state = gr.State()
            go = gr.Button(f"Continue {name}", variant="primary", elem_id=f"go-{name}")
            roll = player(name, label=f"Take {name}", cache=piece.cache, armed_by=[f"go-{name}"])
            shown = gr.Textbox(label=f"shown {name}", visible="hidden")
            hidden: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None}
            go.click(piece.compose, None, [state, roll], **hidden)
            roll.mute(piece.mute, state, [state, roll], **hidden)
            in_order = hidden | {"concurrency_limit": 1, "trigger_mode": "multiple"}
            roll.bars(piece.select, None, shown, **in_order)
        switch = gr.Button("Compare")
        switch.click(None, js=_COMPARE)
    return demo


def serve(demo: gr.Blocks, port: int | None = None) -> str:
    _, url, _ = demo.queue(api_open=False).launch(
        server_name="127.0.0.1",
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        ssr_mode=False,
        pwa=False,
        footer_links=[],
        theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
    )
    return url


if __name__ == "__main__":
    piece = DemoPiece(lambda score: render(score).samples)
    piece.pause_s = 0.4
    served = build(piece)
    print(serve(served, 7861), flush=True)  # noqa: T201
    served.block_thread()
