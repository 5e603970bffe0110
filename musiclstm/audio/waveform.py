"""Stereo samples: duration, peak, loudness (ITU-R BS.1770) and audio files."""

from __future__ import annotations

import base64
import html
import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from musiclstm.errors import RendererMissingError, RenderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# All pieces get the same loudness, whatever their instruments. -18 LUFS leaves headroom for the
# loudest notes; where it does not, the peak limits the gain. mp3 overshoots by up to one decibel.
LOUDNESS_LUFS = -18.0
PEAK_CEILING = 10 ** (-1 / 20)
FADE_S = 0.5  # fade at the end of the tail
SILENCE_PEAK = 1e-5  # below it there is only the noise of the reverb, which is not amplified

# File ending -> libsndfile's names of container and encoding.
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
    "flac": ("FLAC", "PCM_16"),
}
_MEDIA_TYPES = {"mp3": "mpeg", "ogg": "ogg"}
MAX_PLAYER_S = 300  # of a player in a notebook, which stores its sound in the file
MP3_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)

# libsndfile's Vorbis encoder overflows the stack when it is given a long file in one call.
_WRITE_FRAMES = 16_384


@dataclass(frozen=True, eq=False)
class Audio:
    """Stereo sound.

    Args:
        samples: Shape (frames, 2), float32 in -1..1.
        sample_rate_hz: Frames per second.
    """

    samples: NDArray[np.float32] = field(repr=False)
    sample_rate_hz: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 2 or self.samples.shape[1] != 2:
            raise ValueError(f"samples must have shape (frames, 2), got {self.samples.shape}.")

    @property
    def seconds(self) -> float:
        """Duration."""
        return len(self.samples) / self.sample_rate_hz

    @property
    def peak(self) -> float:
        """Largest absolute sample, 0..1; 0 without frames."""
        return _peak(self.samples)

    def save(self, path: str | Path) -> Path:
        """Write an audio file in the format of its ending: .wav, .mp3, .ogg or .flac.

        Returns:
            The path written.

        Raises:
            RenderError: The ending is unknown, mp3 lacks the rate, or there are no frames.
            OSError: The file cannot be written.
        """
        path = Path(path)
        path.write_bytes(self.to_bytes(path.suffix.lstrip(".")))
        return path

    def to_bytes(self, format: str = "wav") -> bytes:
        """Encode the samples as an audio file.

        Args:
            format: `wav`, `mp3`, `ogg` or `flac`.

        Raises:
            RenderError: The format is unknown, mp3 lacks the rate, or there are no frames.
        """
        self._check_writable(format.lower())
        container, encoding = FORMATS[format.lower()]
        file = io.BytesIO()
        with import_soundfile().SoundFile(
            file, "w", self.sample_rate_hz, channels=2, format=container, subtype=encoding
        ) as sound:
            for start in range(0, len(self.samples), _WRITE_FRAMES):
                sound.write(self.samples[start : start + _WRITE_FRAMES])
        return file.getvalue()

    def _repr_html_(self) -> str:
        """Return an HTML player for notebooks, of at most five minutes and some megabytes."""
        frames = self.samples[: MAX_PLAYER_S * self.sample_rate_hz]
        format = "mp3" if self.sample_rate_hz in MP3_RATES_HZ else "ogg"
        try:
            data = Audio(frames, self.sample_rate_hz).to_bytes(format)
        except RenderError as error:
            return f"<p>{html.escape(str(error))}</p>"
        source = f"data:audio/{_MEDIA_TYPES[format]};base64,{base64.b64encode(data).decode()}"
        player = f'<audio controls preload="metadata" style="width:100%" src="{source}"></audio>'
        if len(frames) == len(self.samples):
            return player
        return f"{player}<p>The first {MAX_PLAYER_S // 60} of {self.seconds / 60:.0f} minutes.</p>"

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


def loudness_gain(
    samples: NDArray[np.float32], *, sample_rate_hz: int, gain_db: float = 0.0
) -> float:
    """Return the gain that brings samples to -18 LUFS, at most up to a peak of -1 dB (0.89).

    Args:
        samples: Shape (frames, 2), unbounded.
        sample_rate_hz: Frames per second.
        gain_db: Relative to -18 LUFS.

    Returns:
        A factor; 1 for silence.
    """
    peak = _peak(samples)
    if peak < SILENCE_PEAK:
        return 1.0
    target_db = LOUDNESS_LUFS + gain_db - loudness_lufs(samples, sample_rate_hz=sample_rate_hz)
    return min(10 ** (target_db / 20), PEAK_CEILING / peak)


def loudness_lufs(samples: NDArray[np.float32], *, sample_rate_hz: int) -> float:
    """Return the integrated loudness after ITU-R BS.1770: K-weighted, rests gated out.

    Blocks of 0.4 s do not overlap, unlike in the standard; for music the difference is small.

    Args:
        samples: Shape (frames, 2).
        sample_rate_hz: Frames per second.

    Returns:
        Loudness in LUFS; minus infinity for digital silence. A full-scale sine of 1 kHz in one
        channel has -3 LUFS.
    """
    power = _block_power(samples, round(0.4 * sample_rate_hz), sample_rate_hz)
    loud = power[power > power.mean() / 10]  # relative gate: 10 dB below the mean
    if not len(loud):
        return -math.inf
    return -0.691 + 10 * math.log10(loud.mean())


def _block_power(
    samples: NDArray[np.float32], block_frames: int, sample_rate_hz: int
) -> NDArray[np.float64]:
    """Return the K-weighted mean square of every block, summed over both channels."""
    weights = _k_weighting(np.fft.rfftfreq(block_frames, 1 / sample_rate_hz))[:, None]
    power = []
    for start in range(0, max(1, len(samples) - block_frames + 1), block_frames):
        spectrum = np.fft.rfft(samples[start : start + block_frames], n=block_frames, axis=0)
        # Parseval's theorem; the factor 2 counts the negative frequencies.
        power.append(2 * float((np.abs(spectrum) ** 2 * weights).sum()) / block_frames**2)
    return np.array(power)


def _k_weighting(frequencies_hz: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the power response of the K-weighting filter of ITU-R BS.1770."""
    shelf = ((1.53512485958697, -2.69169618940638, 1.19839281085285),
             (1.0, -1.69065929318241, 0.73248077421585))  # fmt: skip
    high_pass = ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621))
    delay = np.exp(-2j * np.pi * np.minimum(frequencies_hz, 24_000) / 48_000)
    response = np.ones(len(frequencies_hz), np.complex128)
    for numerator, denominator in (shelf, high_pass):
        response *= np.polyval(numerator[::-1], delay) / np.polyval(denominator[::-1], delay)
    return np.abs(response) ** 2


def fade_out(samples: NDArray[np.float32], *, frames: int) -> None:
    """Fade out the last frames linearly, in place."""
    if frames:
        samples[-frames:] *= np.linspace(1, 0, frames, dtype=np.float32)[:, None]


def _peak(samples: NDArray[np.float32]) -> float:
    return float(max(samples.max(initial=0), -samples.min(initial=0)))


def import_soundfile() -> ModuleType:
    """Import soundfile at first use.

    Raises:
        RendererMissingError: It is missing.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise RendererMissingError(
            "Sound files need the Python package soundfile, which is missing; install it with: "
            "pip install soundfile"
        ) from error
    return soundfile
