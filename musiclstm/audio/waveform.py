"""Sound as numbers: how long, how loud, how high its peak is, and as an audio file.

This file does not know what is heard: no scores, no instruments, no FluidSynth.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from musiclstm.errors import RendererMissingError, RenderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Pieces are brought to one loudness, measured as ITU-R BS.1770 does, so that a solo flute and a
# full orchestra can be heard one after the other. -18 LUFS leaves room for the loudest notes;
# where it does not, the peak decides. The last decibel is for mp3, which overshoots a little.
LOUDNESS_LUFS = -18.0
PEAK_CEILING = 10 ** (-1 / 20)
FADE_S = 0.5  # the end of what rings on, so that a note is not cut off
SILENCE_PEAK = 1e-5  # below it there is only a reverb's own noise, which is left alone

# File ending -> libsndfile's names for container and encoding.
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
    "flac": ("FLAC", "PCM_16"),
}
MP3_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)

# libsndfile keeps what it encodes at once on the stack, and a long Vorbis file would not fit.
_WRITE_FRAMES = 16_384


@dataclass(frozen=True, eq=False)
class Audio:
    """Stereo sound.

    Args:
        samples: Shape (frames, 2), float32 in -1..1.
        sample_rate_hz: Frames per second.
    """

    samples: NDArray[np.float32]
    sample_rate_hz: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 2 or self.samples.shape[1] != 2:
            raise ValueError(f"samples must have shape (frames, 2), got {self.samples.shape}.")

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / self.sample_rate_hz

    @property
    def peak(self) -> float:
        """The largest sample without its sign, 0..1; 0 for no sound at all."""
        return _peak(self.samples)

    def save(self, path: str | Path) -> Path:
        """Write a file whose ending says the format: .wav, .mp3, .ogg or .flac.

        Returns:
            The path written.

        Raises:
            RenderError: An ending we do not know, a rate that mp3 lacks, or no frames to write.
            OSError: The file cannot be written there.
        """
        path = Path(path)
        path.write_bytes(self.to_bytes(path.suffix.lstrip(".")))
        return path

    def to_bytes(self, format: str = "wav") -> bytes:
        """The contents of an audio file.

        Args:
            format: `wav`, `mp3`, `ogg` or `flac`.

        Raises:
            RenderError: Another format, a rate that mp3 lacks, or no frames to write.
        """
        self._check_writable(format.lower())
        container, encoding = FORMATS[format.lower()]
        file = io.BytesIO()
        with _soundfile().SoundFile(
            file, "w", self.sample_rate_hz, channels=2, format=container, subtype=encoding
        ) as sound:
            for start in range(0, len(self.samples), _WRITE_FRAMES):
                sound.write(self.samples[start : start + _WRITE_FRAMES])
        return file.getvalue()

    def _check_writable(self, format: str) -> None:
        if format not in FORMATS:
            *most, last = FORMATS
            raise RenderError(
                f"Sound cannot be written as '{format}'; choose {', '.join(most)} or {last}."
            )
        if not len(self.samples):
            raise RenderError("There is no sound to write; does the score have any notes?")
        if format == "mp3" and self.sample_rate_hz not in MP3_RATES_HZ:
            raise RenderError(
                f"mp3 cannot hold {self.sample_rate_hz} frames per second; render at 44100 or "
                "48000, or write wav, ogg or flac."
            )


def level_factor(
    samples: NDArray[np.float32], *, sample_rate_hz: int, gain_db: float = 0.0
) -> float:
    """The factor that brings sound to the usual loudness without touching the peak's ceiling.

    Args:
        samples: Shape (frames, 2), of any size.
        sample_rate_hz: Frames per second.
        gain_db: Louder or softer than -18 LUFS.

    Returns:
        1 for silence; else such that no product exceeds -1 dB (0.89).
    """
    peak = _peak(samples)
    if peak < SILENCE_PEAK:
        return 1.0
    wanted_db = LOUDNESS_LUFS + gain_db - loudness_lufs(samples, sample_rate_hz=sample_rate_hz)
    return min(10 ** (wanted_db / 20), PEAK_CEILING / peak)


def loudness_lufs(samples: NDArray[np.float32], *, sample_rate_hz: int) -> float:
    """How loud a piece is, after ITU-R BS.1770: weighted as the ear does, rests left out.

    Args:
        samples: Shape (frames, 2).
        sample_rate_hz: Frames per second.

    Returns:
        Loudness in LUFS; minus infinity for digital silence. A sine of 1 kHz on one side that
        fills -1..1 has -3. Blocks of 0.4 s do not overlap here, which is exact enough for music.
    """
    energies = _block_energies(samples, round(0.4 * sample_rate_hz), sample_rate_hz)
    loud = energies[energies > energies.mean() / 10]  # 10 dB under the mean is a rest
    if not len(loud):
        return -math.inf
    return -0.691 + 10 * math.log10(loud.mean())


def _block_energies(
    samples: NDArray[np.float32], block_frames: int, sample_rate_hz: int
) -> NDArray[np.float64]:
    """Mean square of every block after the ear's filter, left and right added."""
    weights = _ear_filter(np.fft.rfftfreq(block_frames, 1 / sample_rate_hz))[:, None]
    energies = []
    for start in range(0, max(1, len(samples) - block_frames + 1), block_frames):
        spectrum = np.fft.rfft(samples[start : start + block_frames], n=block_frames, axis=0)
        # Parseval: the energy of the filtered sound is that of its spectrum, both halves of it.
        energies.append(2 * float((np.abs(spectrum) ** 2 * weights).sum()) / block_frames**2)
    return np.array(energies)


def _ear_filter(frequencies_hz: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The K weighting of ITU-R BS.1770 as a factor of energy: less bass, a little more treble."""
    shelf = ((1.53512485958697, -2.69169618940638, 1.19839281085285),
             (1.0, -1.69065929318241, 0.73248077421585))  # fmt: skip
    high_pass = ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621))
    delay = np.exp(-2j * np.pi * np.minimum(frequencies_hz, 24_000) / 48_000)
    response = np.ones(len(frequencies_hz), np.complex128)
    for above, below in (shelf, high_pass):
        response *= np.polyval(above[::-1], delay) / np.polyval(below[::-1], delay)
    return np.abs(response) ** 2


def fade_out(samples: NDArray[np.float32], *, frames: int) -> None:
    """Let the last frames die away, in place."""
    if frames:
        samples[-frames:] *= np.linspace(1, 0, frames, dtype=np.float32)[:, None]


def encode_chunk(samples: NDArray[np.float32], *, sample_rate_hz: int = 44_100) -> bytes:
    """A chunk of a stream as a FLAC file of 16 bits.

    FLAC gives back every sample and no others, so chunks that follow each other join without a
    gap. A browser must play them at their own rate (`new AudioContext({sampleRate: 44100})`): one
    that has to convert the rate converts each chunk by itself, which can be heard at the seams.

    Args:
        samples: Shape (frames, 2), in -1..1; what lies outside is cut off.
        sample_rate_hz: Frames per second.

    Returns:
        A whole file; no bytes for no frames.

    Raises:
        RendererMissingError: soundfile is not installed.
    """
    if not len(samples):
        return b""
    file = io.BytesIO()
    whole = np.rint(np.clip(samples, -1, 1) * 32_767).astype(np.int16)
    _soundfile().write(file, whole, sample_rate_hz, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _peak(samples: NDArray[np.float32]) -> float:
    return float(max(samples.max(initial=0), -samples.min(initial=0)))


def _soundfile() -> ModuleType:
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise RendererMissingError(
            "Sound files need the Python package soundfile, which is missing; install it with: "
            "pip install soundfile"
        ) from error
    return soundfile
