"""Offline rendering: a whole score to samples with FluidSynth.

`streaming` does the same for a score that is still growing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musiclstm.audio.event_list import apply_mix, build_event_list
from musiclstm.audio.mix import Mix
from musiclstm.audio.soundfonts import find_soundfont
from musiclstm.audio.synthesizer import Synth, check_sample_rate, import_fluidsynth
from musiclstm.audio.waveform import FADE_S, Audio, fade_out, import_soundfile, loudness_gain
from musiclstm.errors import RenderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from musiclstm.midi.analysis import AnyScore

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
    """Synthesize a score with FluidSynth.

    Tempo map, programs, drums, velocities, pedals, pitch bends, volume, expression and pan are
    rendered. The same score, mix and SoundFont always give the same samples.

    Args:
        score: In any time unit; left unchanged.
        mix: Mix settings. None: the defaults of `Mix`.
        sample_rate_hz: Frames per second, 8 000 to 96 000.
        tail_s: Length of the decay after the last note, 0 to 60 seconds.
        soundfont: Overrides the mix, as do the next three.
        reverb: Reverb level, 0 to 1, or True or False.
        chorus: Chorus level, 0 to 1, or True or False.
        gain_db: Relative to the default loudness of -18 LUFS. The peak never exceeds -1 dB.

    Returns:
        Samples of shape (frames, 2), float32 in -1..1. A score without notes gives 0 frames. Muted
        notes count for the length.

    Raises:
        SoundfontNotFoundError: There is no SoundFont at the given path, or none on this machine.
        RendererMissingError: libfluidsynth is not installed.
        RenderError: The score is longer than an hour or has more than 256 tracks with notes, or
            the SoundFont is damaged or has no suitable instrument.
        ValueError: An option is out of range.
    """
    check_sample_rate(sample_rate_hz)
    check_tail(tail_s)
    overrides: dict[str, Any] = {
        "soundfont": soundfont,
        "reverb": reverb,
        "chorus": chorus,
        "gain_db": gain_db,
    }
    given = {name: value for name, value in overrides.items() if value is not None}
    mix = replace(mix or Mix(), **given)
    event_list = apply_mix(build_event_list(score, sample_rate_hz=sample_rate_hz), mix)
    if not event_list.end_frame:
        return Audio(np.zeros((0, 2), np.float32), sample_rate_hz)
    frames = _total_frames(event_list.end_frame, sample_rate_hz, tail_s)
    with Synth.for_mix(mix, sample_rate_hz=sample_rate_hz) as synth:
        synth.select_instruments(event_list.instruments)
        samples = concatenate(synth.play(event_list.events, until=frames), frames)
    samples *= loudness_gain(samples, sample_rate_hz=sample_rate_hz, gain_db=mix.gain_db)
    fade_out(samples, frames=round(min(tail_s, FADE_S) * sample_rate_hz))
    return Audio(samples, sample_rate_hz)


def check_renderer(soundfont: str | Path | None = None) -> None:
    """Check that sound can be rendered and saved, without rendering any.

    Args:
        soundfont: As in `render`.

    Raises:
        SoundfontNotFoundError: There is no SoundFont at the given path, or none on this machine.
        RendererMissingError: libfluidsynth, pyfluidsynth or soundfile is not installed.
    """
    import_fluidsynth()
    import_soundfile()
    find_soundfont(soundfont)


def check_tail(tail_s: float) -> None:
    """Raise ValueError for a tail outside 0 to 60 seconds."""
    if not 0 <= tail_s <= 60:
        raise ValueError(f"tail_s must be 0 to 60 seconds, got {tail_s}.")


def _total_frames(end_frame: int, sample_rate_hz: int, tail_s: float) -> int:
    seconds = end_frame / sample_rate_hz + tail_s
    if seconds > MAX_SECONDS:
        raise RenderError(
            f"The score lasts {math.ceil(seconds / 60):,} minutes, and at most {MAX_SECONDS // 60} "
            "can be rendered; cut it into shorter pieces."
        )
    return end_frame + round(tail_s * sample_rate_hz)


def concatenate(blocks: Iterable[NDArray[np.float32]], frames: int) -> NDArray[np.float32]:
    """Return the blocks as one array of shape (frames, 2), without a second copy in memory."""
    samples = np.empty((frames, 2), np.float32)
    filled = 0
    for block in blocks:
        samples[filled : filled + len(block)] = block
        filled += len(block)
    return samples
