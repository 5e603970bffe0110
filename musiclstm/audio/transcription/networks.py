"""The two networks that find notes: Basic Pitch for many voices, SwiftF0 for one."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from musiclstm.audio.transcription.recording import SAMPLE_RATE_HZ, require_package
from musiclstm.errors import CheckpointError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]
    Floats = NDArray[np.floating[Any]]

LOWEST_PITCH = 21  # of the 88 pitches of Basic Pitch
HOP = 256  # samples from one frame of Basic Pitch to the next
FRAMES_PER_SECOND = SAMPLE_RATE_HZ / HOP

# Basic Pitch 0.4.0 by Spotify, Apache-2.0: NOTICE and LICENSE are beside it.
NETWORK_FILE = Path(__file__).with_name("basic_pitch") / "nmp.onnx"
NETWORK_SHA256 = "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec"

_WINDOW = 43_844  # samples that the network reads at once, which gives it 172 frames
_MARGIN = 15  # frames at both ends of a window that lack context
_KEPT = 141  # frames: (_KEPT + 2 * _MARGIN) * HOP is at most _WINDOW, so all frames are on one grid
_INPUT = "serving_default_input_2:0"
_OUTPUTS = ("StatefulPartitionedCall:1", "StatefulPartitionedCall:2")


class Posteriors(NamedTuple):
    """Probabilities by Basic Pitch, each (frames, 88)."""

    notes: Floats
    onsets: Floats


class PitchTrack(NamedTuple):
    """Fundamental frequency by SwiftF0, with the notes that it is cut into."""

    confidence: Floats  # (frames of 16 ms,)
    loudness_db: Floats  # (frames of 16 ms,)
    notes: list[tuple[float, float, float]]  # start and end in seconds, frequency in Hz


def note_posteriors(samples: Samples) -> Posteriors:
    """Run Basic Pitch.

    Args:
        samples: One channel at `SAMPLE_RATE_HZ`, (frames,).
    """
    session, count = _session(), len(samples) // HOP + 1
    found: list[list[Floats]] = [[], []]
    padded = np.pad(samples, (_MARGIN * HOP, _WINDOW))
    for start in range(0, count, _KEPT):
        window = padded[start * HOP : start * HOP + _WINDOW][None, :, None]
        for output, part in zip(session.run(_OUTPUTS, {_INPUT: window}), found, strict=True):
            part.append(output[0, _MARGIN : _MARGIN + _KEPT])
    return Posteriors(*(np.concatenate(part)[:count] for part in found))


@cache
def _session() -> Any:
    onnxruntime = require_package("onnxruntime")
    data = NETWORK_FILE.read_bytes()
    if hashlib.sha256(data).hexdigest() != NETWORK_SHA256:
        raise CheckpointError(f"{NETWORK_FILE.name} is damaged; install musiclstm again.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def pitch_track(samples: Samples, *, hold_ms: float) -> PitchTrack:
    """Run SwiftF0 and cut its pitch into notes.

    Args:
        samples: One channel at `SAMPLE_RATE_HZ`, (frames,).
        hold_ms: Time that a new pitch has to last.
    """
    swift_f0 = require_package("swift_f0")
    result = _detector().detect(samples, SAMPLE_RATE_HZ)
    notes = swift_f0.segment_notes(result, pitch_hold_ms=hold_ms)
    cut = [(note.start, note.end, note.pitch_hz) for note in notes]
    return PitchTrack(result.confidence, result.loudness_db, cut)


@cache
def _detector() -> Any:
    return require_package("swift_f0").SwiftF0(threads=1, spin=False)
