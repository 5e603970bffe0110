"""Read recordings: at most a minute, one channel, 22,050 frames per second."""

from __future__ import annotations

import io
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from musiclstm.audio.waveform import Audio
from musiclstm.errors import MissingPackageError, RecordingError
from musiclstm.midi.file_names import video_container
from musiclstm.midi.reader import clean_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]

RecordingSource: TypeAlias = "str | Path | bytes | Audio | NDArray[Any]"

SAMPLE_RATE_HZ = 22_050
MAX_SECONDS = 60.0
MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 384_000
SILENCE_PEAK = 1e-3  # -60 dB; a quieter recording holds only the noise of its microphone

PACKAGES = ("onnxruntime", "swift_f0", "metricon", "soxr", "soundfile")
_MAX_SAMPLE = 1e6  # of a float file; some have the range of 16 bits
_BLOCK_SAMPLES = 1 << 18  # of all channels together, which bounds the memory
_FFMPEG_TIMEOUT_S = 120
_FORMATS = "wav, mp3, flac, ogg or opus"


class Layout(NamedTuple):
    """What a recording is converted to."""

    channels: int
    rate_hz: int


MONO, STEREO = Layout(1, SAMPLE_RATE_HZ), Layout(2, 44_100)
_NO_FRAMES = {1: np.zeros(0, np.float32), 2: np.zeros((0, 2), np.float32)}


@dataclass(frozen=True, eq=False)
class Recording:
    """Samples of a recording.

    Attributes:
        samples: One channel at `SAMPLE_RATE_HZ`, (frames,), with a peak of 1.
        name: Cleaned file name, or empty.
        start_s: Where in the file they begin.
        is_cut: Whether the file goes on after them.
    """

    samples: Samples
    name: str = ""
    start_s: float = 0.0
    is_cut: bool = False

    @property
    def seconds(self) -> float:
        """Duration."""
        return len(self.samples) / SAMPLE_RATE_HZ


def require_package(name: str) -> Any:
    """Import a package of the extra `transcribe`.

    Raises:
        MissingPackageError: It is missing.
    """
    try:
        return import_module(name)
    except (ImportError, OSError) as error:
        raise MissingPackageError(
            f"Recordings need the Python package {name}, which is missing; install it with: "
            "pip install 'musiclstm[transcribe]'"
        ) from error


def read_recording(
    source: RecordingSource,
    *,
    name: str | None = None,
    sample_rate_hz: int | None = None,
    start_s: float = 0.0,
) -> Recording:
    """Read at most `MAX_SECONDS` of a recording and mix its channels.

    Args:
        source: A sound file, its bytes, or samples of shape (frames,) or (frames, channels).
        name: Name in messages. None: the name of the file; bytes have none.
        sample_rate_hz: Of samples; files and `Audio` have their own.
        start_s: Where to begin in the recording.

    Raises:
        RecordingError: It cannot be read, is silent, or ends before `start_s`.
        MissingPackageError: A package of the extra is missing.
        ValueError: `start_s` or samples that cannot be.
    """
    if not 0 <= start_s < 1e6:
        raise ValueError(f"start_s must be 0 or more seconds, got {start_s}.")
    for package in PACKAGES:
        require_package(package)
    label_name, label = _name_and_label(source, name)
    samples, is_cut = _read(source, sample_rate_hz, label, start_s, MONO)
    return Recording(_normalized(samples[:, 0], label, start_s), label_name, start_s, is_cut)


def read_stereo(
    source: RecordingSource, *, sample_rate_hz: int | None = None, start_s: float = 0.0
) -> Audio:
    """Read at most `MAX_SECONDS` of a recording as stereo sound, as it is.

    Arguments and errors are those of `read_recording`.
    """
    label = _name_and_label(source, None)[1]
    samples, _ = _read(source, sample_rate_hz, label, start_s, STEREO)
    return Audio(samples, STEREO.rate_hz)


def _name_and_label(source: RecordingSource, name: str | None) -> tuple[str, str]:
    """Return the cleaned name of a recording, and the subject of messages about it."""
    if name is None and isinstance(source, str | Path):
        name = Path(source).name
    cleaned = clean_text(name or "")
    return cleaned, label_of_recording(cleaned)


def _read(
    source: RecordingSource, rate_hz: int | None, label: str, start_s: float, layout: Layout
) -> tuple[Samples, bool]:
    """Return samples (frames, channels) of a layout, and whether the recording goes on."""
    if isinstance(source, Audio):
        return _read(source.samples, source.sample_rate_hz, label, start_s, layout)
    if isinstance(source, np.ndarray):
        blocks, rate_hz = _blocks_of_samples(source, rate_hz, start_s)
        return _resampled(blocks, rate_hz, label, layout)
    if isinstance(source, str | Path | bytes):
        return _read_file(source, label, start_s, layout)
    raise ValueError(f"A recording is a file, bytes or samples, got {type(source).__name__}.")


def label_of_recording(name: str) -> str:
    """Return the subject of messages about a recording with this cleaned name."""
    return f"'{name}'" if name else "This recording"


def _normalized(samples: Samples, label: str, start_s: float) -> Samples:
    """Return samples without offset and with a peak of 1."""
    if not len(samples):
        after = f" after {start_s:g} seconds" if start_s else ""
        raise RecordingError(f"{label} has no sound{after}; pass a recording of some seconds.")
    samples = samples - samples.mean()
    peak = float(np.abs(samples).max())
    if peak < SILENCE_PEAK:
        raise RecordingError(f"{label} is silent; pass a recording with music from its beginning.")
    return samples / np.float32(peak)


# Samples ------------------------------------------------------------------------------------------


def _blocks_of_samples(
    samples: NDArray[Any], rate_hz: int | None, start_s: float
) -> tuple[Iterator[NDArray[Any]], int]:
    if rate_hz is None:
        raise ValueError("Samples need sample_rate_hz, their frames per second.")
    if samples.ndim not in (1, 2) or not np.issubdtype(samples.dtype, np.floating):
        raise ValueError(
            "samples must be floats of shape (frames,) or (frames, channels), got "
            f"{samples.dtype} of shape {samples.shape}."
        )
    wide = samples if samples.ndim == 2 else samples[:, None]
    return iter([wide[int(start_s * rate_hz) :]]), rate_hz


def _resampled(
    blocks: Iterator[NDArray[Any]], rate_hz: int, label: str, layout: Layout
) -> tuple[Samples, bool]:
    """Return at most `MAX_SECONDS` of a layout, and whether more follows."""
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise RecordingError(
            f"{label} has {rate_hz:,} frames in a second; it must be {MIN_RATE_HZ:,} to "
            f"{MAX_RATE_HZ:,}."
        )
    resampler = require_package("soxr").ResampleStream(
        rate_hz, layout.rate_hz, layout.channels, dtype="float32"
    )
    left, parts, is_cut = int(MAX_SECONDS * rate_hz), [], False
    for block in blocks:
        is_cut = len(block) > left
        mixed = _mixed(block[:left], layout.channels)
        if not (np.abs(mixed) < _MAX_SAMPLE).all():  # also false for NaN
            raise RecordingError(f"{label} holds samples that are no numbers; export it again.")
        parts.append(resampler.resample_chunk(mixed))
        left -= len(mixed)
        if is_cut:
            break
    parts.append(resampler.resample_chunk(_NO_FRAMES[layout.channels], last=True))
    return np.concatenate([part.reshape(-1, layout.channels) for part in parts]), is_cut


def _mixed(block: NDArray[Any], channels: int) -> Samples:
    """Return one channel, (frames,), or two, (frames, 2)."""
    with np.errstate(over="ignore", invalid="ignore"):
        if channels == 2 and block.shape[1] == 2:
            return np.ascontiguousarray(block, np.float32)
        mono: Samples = block.mean(axis=1, dtype=np.float32)
        return mono if channels == 1 else np.stack([mono, mono], axis=1)


# Files --------------------------------------------------------------------------------------------


def _read_file(
    source: str | Path | bytes, label: str, start_s: float, layout: Layout
) -> tuple[Samples, bool]:
    with _opened(source, label) as file:
        head = file.read(16)
        if not head:
            raise RecordingError(f"{label} is an empty file; pass a recording.")
        container = video_container(head)
        if container is None:
            file.seek(0)
            return _read_with_soundfile(file, label, start_s, layout)
    if not isinstance(source, bytes):
        return _read_with_ffmpeg(Path(source), container, label, start_s, layout)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording"
        path.write_bytes(source)
        return _read_with_ffmpeg(path, container, label, start_s, layout)


@contextmanager
def _opened(source: str | Path | bytes, label: str) -> Iterator[IO[bytes]]:
    """Open a regular file, or bytes."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    try:
        mode = Path(source).stat().st_mode
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise RecordingError(f"{label} is {what}; pass one sound file.")
        file = Path(source).open("rb")  # noqa: SIM115
    except FileNotFoundError as error:
        raise RecordingError(f"{label} does not exist; pass a sound file.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "invalid file name"
        raise RecordingError(f"{label} cannot be opened ({reason}); pass another file.") from error
    with file:
        yield file


def _read_with_soundfile(
    file: IO[bytes], label: str, start_s: float, layout: Layout
) -> tuple[Samples, bool]:
    soundfile = require_package("soundfile")
    unreadable = RecordingError(
        f"{label} is not a sound file that can be read: it is damaged or of another kind; pass "
        f"{_FORMATS}."
    )
    try:
        sound = soundfile.SoundFile(file)
    except (soundfile.LibsndfileError, RuntimeError, TypeError, ValueError) as error:
        raise unreadable from error
    with sound:
        frames = max(1, _BLOCK_SAMPLES // sound.channels)
        try:
            if start_s:
                sound.seek(min(int(start_s * sound.samplerate), sound.frames))
            blocks = _blocks_of_sound(sound, frames)
            return _resampled(blocks, sound.samplerate, label, layout)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise unreadable from error


def _blocks_of_sound(sound: Any, frames: int) -> Iterator[NDArray[Any]]:
    while len(block := sound.read(frames, dtype="float32", always_2d=True)):
        yield block


def _read_with_ffmpeg(
    path: Path, container: str, label: str, start_s: float, layout: Layout
) -> tuple[Samples, bool]:
    """Read the first sound track of a video or m4a file with the system's ffmpeg.

    The demuxer is fixed and the only protocol is `file`, so a playlist cannot name other files.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise RecordingError(
            f"{label} is an m4a or a video, which needs ffmpeg: install it (`apt install ffmpeg`, "
            f"`brew install ffmpeg`), or pass {_FORMATS}."
        )
    seconds = MAX_SECONDS + 1
    command = [program, "-nostdin", "-v", "error", "-threads", "1", "-protocol_whitelist", "file"]
    command += ["-f", container, "-ss", f"{start_s:.3f}", "-t", f"{seconds:.0f}"]
    command += ["-i", f"file:{path.absolute()}", "-map", "0:a:0", "-vn", "-sn", "-dn"]
    command += [
        "-ac",
        str(layout.channels),
        "-ar",
        str(layout.rate_hz),
        "-t",
        f"{seconds:.0f}",
        "-f",
        "f32le",
        "pipe:1",
    ]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_FFMPEG_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise RecordingError(
            f"{label} has no sound that ffmpeg can read: it is damaged or without a sound track; "
            f"pass {_FORMATS}."
        ) from error
    frame = 4 * layout.channels
    samples = np.frombuffer(done.stdout[: len(done.stdout) // frame * frame], "<f4")
    return _resampled(iter([samples.reshape(-1, layout.channels)]), layout.rate_hz, label, layout)
