"""A score becomes sound: `render`, the way from notes to samples.

Joins the rooms of sound: events.py says what happens when, mix.py how it is to sound, soundfont.py
with which SoundFont, synthesizer.py plays, audio.py levels and writes files. (streaming.py does the
same for a piece that is still growing.)

This file does not know where a score comes from, nor what becomes of the sound, and nothing of
models, tokens or pages.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musiclstm.audio.event_list import (
    Event,
    Instrument,
    build_event_list,
    with_mix,
)
from musiclstm.audio.mix import Mix
from musiclstm.audio.soundfonts import SOUNDFONT_VARIABLE, find_soundfont, soundfonts
from musiclstm.audio.synthesizer import (
    SAMPLE_RATES_HZ,
    Synth,
    check_sample_rate,
    load_instruments,
)
from musiclstm.audio.waveform import FADE_S, Audio, fade_out, level_factor
from musiclstm.errors import RenderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from musiclstm.midi.analysis import AnyScore

__all__ = [
    "SAMPLE_RATES_HZ",
    "SOUNDFONT_VARIABLE",
    "Audio",
    "Event",
    "Instrument",
    "Mix",
    "Synth",
    "build_event_list",
    "find_soundfont",
    "load_instruments",
    "render",
    "soundfonts",
]

MAX_SECONDS = 3_600


def render(
    score: AnyScore,
    *,
    mix: Mix | None = None,
    sample_rate_hz: int = 44_100,
    tail_s: float = 2.0,
    soundfont: str | Path | None = None,
    reverb: float | None = None,
    chorus: float | None = None,
    gain_db: float | None = None,
) -> Audio:
    """Play a score through FluidSynth and return the sound.

    Tempo map, instruments, drums, velocities, pedals, pitch bends, volume, expression and pan are
    followed. The same score, mix and SoundFont always give the same samples.

    Args:
        score: In any time unit; left unchanged.
        mix: How it is to sound. None: as it is written, in a small hall.
        sample_rate_hz: Frames per second, 8 000 to 96 000.
        tail_s: How long the sound may ring after the last note, 0 to 60 seconds.
        soundfont: Instead of what the mix says, as are the next three.
        reverb: How much of the room is heard, 0 to 1, or whether it is.
        chorus: How much instruments that use it shimmer, 0 to 1, or whether they do.
        gain_db: Louder or softer than every piece's usual -18 LUFS. The peak stays at or below
            -1 dB whatever is asked for.

    Returns:
        Samples of shape (frames, 2), float32 in -1..1. A score without notes gives 0 frames; muted
        notes are silent and last as long as ever.

    Raises:
        SoundfontNotFoundError: No SoundFont where asked, or none anywhere.
        RendererMissingError: FluidSynth is not installed.
        RenderError: The score lasts more than an hour or has more than 256 instruments, or the
            SoundFont is damaged or lacks what is needed.
        ValueError: An option outside its range.
    """
    check_sample_rate(sample_rate_hz)
    check_tail(tail_s)
    own: dict[str, Any] = {
        "soundfont": soundfont,
        "reverb": reverb,
        "chorus": chorus,
        "gain_db": gain_db,
    }
    mix = replace(mix or Mix(), **{name: value for name, value in own.items() if value is not None})
    part = with_mix(build_event_list(score, sample_rate_hz=sample_rate_hz), mix)
    if not part.end_frame:
        return Audio(np.zeros((0, 2), np.float32), sample_rate_hz)
    frames = _frames_in_all(part.end_frame, sample_rate_hz, tail_s)
    with Synth.for_mix(mix, sample_rate_hz=sample_rate_hz) as synth:
        synth.choose(part.instruments)
        samples = joined(synth.play(part.events, until=frames), frames)
    samples *= level_factor(samples, sample_rate_hz=sample_rate_hz, gain_db=mix.gain_db)
    fade_out(samples, frames=round(min(tail_s, FADE_S) * sample_rate_hz))
    return Audio(samples, sample_rate_hz)


def check_tail(tail_s: float) -> None:
    """Refuse a tail that is no length of time, or a very long one."""
    if not 0 <= tail_s <= 60:
        raise ValueError(f"tail_s must be 0 to 60 seconds, got {tail_s}.")


def _frames_in_all(end_frame: int, sample_rate_hz: int, tail_s: float) -> int:
    seconds = end_frame / sample_rate_hz + tail_s
    if seconds > MAX_SECONDS:
        raise RenderError(
            f"The score lasts {math.ceil(seconds / 60):,} minutes, and at most {MAX_SECONDS // 60} "
            "can be rendered; cut it into shorter pieces."
        )
    return end_frame + round(tail_s * sample_rate_hz)


def joined(blocks: Iterable[NDArray[np.float32]], frames: int) -> NDArray[np.float32]:
    """The blocks one after the other, shape (frames, 2)."""
    samples = np.empty((frames, 2), np.float32)
    filled = 0
    for block in blocks:
        samples[filled : filled + len(block)] = block
        filled += len(block)
    return samples
