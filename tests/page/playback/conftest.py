"""A synthesizer for tests whose samples tell their position."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from musiclstm.midi import last_note_end
from page.playback import audio_chunks
from page.playback.audio_chunks import frame_of
from page.playback.chunk_cache import ChunkCache


class FakeSynth:
    """Stands in for `StreamingRenderer`: each sample is its frame modulo 1000, scaled to 0..0.5."""

    open = 0
    played: list[tuple[int, int]] = []  # noqa: RUF012 - reset before each test
    mixes: list[Any] = []  # noqa: RUF012

    def __init__(self, mix=None, *, sample_rate_hz):
        self.frame = self.end = 0
        self.rate_hz = sample_rate_hz
        self.closed = False
        FakeSynth.open += 1
        FakeSynth.mixes.append(mix)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        FakeSynth.open -= not self.closed
        self.closed = True

    def start_at(self, score, tick):
        self.frame = frame_of(score, tick)

    def play(self, score, tick):
        assert not self.closed
        self.end = frame_of(score, last_note_end(score))
        return self._samples(max(self.frame, frame_of(score, tick)))

    def flush(self):
        samples = self._samples(max(self.frame, self.end) + self.rate_hz)
        self.close()
        return samples

    def _samples(self, until):
        FakeSynth.played.append((self.frame, until))
        value = np.arange(self.frame, until) % 1_000 / 2_000
        self.frame = until
        return np.stack([value, value], axis=1).astype(np.float32)


@pytest.fixture
def synth(monkeypatch):
    monkeypatch.setattr(FakeSynth, "open", 0)
    monkeypatch.setattr(FakeSynth, "played", [])
    monkeypatch.setattr(FakeSynth, "mixes", [])
    monkeypatch.setattr(audio_chunks, "StreamingRenderer", FakeSynth)
    return FakeSynth


@pytest.fixture
def cache():
    return ChunkCache()
