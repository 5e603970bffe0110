"""Notes of a recording: of many voices or of one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from musiclstm.audio.transcription.networks import (
    FRAMES_PER_SECOND,
    LOWEST_PITCH,
    PitchTrack,
    Posteriors,
    note_posteriors,
    pitch_track,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]
    Floats = NDArray[np.floating[Any]]

Voices: TypeAlias = Literal["one", "many"]

ONSET_THRESHOLD = 0.6
_FRAME_THRESHOLD = 0.3
_MIN_FRAMES = 5  # 58 ms
_GAP_FRAMES = 11  # a note ends where its probability stays low for this long

_PITCH_HOLD_MS = 60.0
_MIN_UNCONFIRMED_S = 0.2  # of a note without an onset of Basic Pitch
_MIN_SECONDS = 0.05  # of a note of one voice
_SWIFT_F0_HOP_S = 0.016
_LATENCY_S = 0.03  # of its onsets, on average
_EARLIER_S, _LATER_S = 0.1, 0.05  # where an onset of Basic Pitch is that of a note of SwiftF0
_MIN_REPEAT_S = 0.08
_VELOCITY = 90

# One voice: mean confidence of the pitch where it is loud, and share of the frames with probable
# notes that have one only. Wrong for one of 91 validation clips, a band with a solo.
_MIN_CONFIDENCE = 0.7
_MIN_SINGLE = 0.7
_PROBABLE = 0.5
_LOUD_DB = 25.0  # below the loudest twentieth


class TranscribedNote(NamedTuple):
    """A note of a recording."""

    start_s: float
    end_s: float
    pitch: int  # 0..127
    confidence: float  # probability of its onset, or of the pitch of one voice, 0..1
    velocity: int  # 1..127, after its mean probability


def find_notes(
    samples: Samples, *, voices: Voices | None, onset_threshold: float
) -> tuple[list[TranscribedNote], Voices]:
    """Return the notes of a recording that is in tune, by start, and whether it has one voice.

    Args:
        samples: One channel at `SAMPLE_RATE_HZ`, (frames,).
        voices: None: decided by the recording.
        onset_threshold: Least probability of an onset.
    """
    posteriors = note_posteriors(samples)
    notes = notes_of_many_voices(posteriors, onset_threshold=onset_threshold)
    if voices == "many":
        return notes, "many"
    track = pitch_track(samples, hold_ms=_PITCH_HOLD_MS)
    if voices is None and not _is_one_voice(track, posteriors):
        return notes, "many"
    return notes_of_one_voice(track, notes), "one"


def _is_one_voice(track: PitchTrack, posteriors: Posteriors) -> bool:
    is_loud = track.loudness_db > np.percentile(track.loudness_db, 95) - _LOUD_DB
    at_once = (posteriors.notes > _PROBABLE).sum(axis=1)
    at_once = at_once[at_once > 0]
    if not is_loud.any() or not len(at_once):
        return False
    confidence = track.confidence[is_loud].mean()
    return bool(confidence > _MIN_CONFIDENCE and (at_once == 1).mean() > _MIN_SINGLE)


def notes_of_one_voice(
    track: PitchTrack, onsets: Sequence[TranscribedNote] = ()
) -> list[TranscribedNote]:
    """Return the notes of a pitch track, by start.

    SwiftF0 alone joins repeated notes and hears an onset late: note F1 is .69 on 36 melodies of 12
    instruments. Basic Pitch alone has .78, and its onsets within the notes of SwiftF0, without
    short notes that it does not confirm, .83.

    Args:
        track: Pitch of the recording.
        onsets: Notes of `notes_of_many_voices`.
    """
    found = []
    for start, end, frequency in track.notes:
        pitch = round(69 + 12 * math.log2(frequency / 440))
        frames = track.confidence[round(start / _SWIFT_F0_HOP_S) : round(end / _SWIFT_F0_HOP_S)]
        if end - start >= _MIN_SECONDS and len(frames):
            own = [
                note.start_s
                for note in onsets
                if note.pitch == pitch and start - _EARLIER_S < note.start_s < end - _MIN_SECONDS
            ]
            if end - start < _MIN_UNCONFIRMED_S and not own:
                continue
            cuts = [*_starts(start, own), end]
            found += [
                TranscribedNote(first, last, pitch, float(frames.mean()), _VELOCITY)
                for first, last in itertools.pairwise(cuts)
            ]
    return sorted(found)


def _starts(start: float, onsets: Sequence[float]) -> list[float]:
    """Return the onset of a note, and those of its repetitions."""
    expected = max(0.0, start - _LATENCY_S)
    first = [onset for onset in onsets if onset < start + _LATER_S]
    starts = [min(first, key=lambda onset: abs(onset - expected)) if first else expected]
    for onset in onsets:
        if onset > max(starts[-1] + _MIN_REPEAT_S, start + _LATER_S):
            starts.append(onset)
    return starts


def notes_of_many_voices(
    posteriors: Posteriors, *, onset_threshold: float = ONSET_THRESHOLD
) -> list[TranscribedNote]:
    """Return the notes of Basic Pitch's probabilities, by start and pitch.

    The method is that of `output_to_notes_polyphonic` of Basic Pitch with inferred onsets and
    without "melodia": each onset, the last one first, takes the frames until its probability stays
    low, from its own pitch and from both neighbours.
    """
    frames, left = posteriors.notes, posteriors.notes.copy()
    onsets = _with_inferred_onsets(posteriors)
    before = np.vstack([np.zeros((1, onsets.shape[1])), onsets[:-1]])
    after = np.vstack([onsets[1:], np.zeros((1, onsets.shape[1]))])
    times, pitches = np.nonzero((onsets > before) & (onsets > after) & (onsets >= onset_threshold))
    found = []
    for start, index in zip(times[::-1].tolist(), pitches[::-1].tolist(), strict=True):
        end = _end_of_note(left[:, index], start)
        if end - start <= _MIN_FRAMES:
            continue
        left[start:end, max(0, index - 1) : index + 2] = 0
        found.append(
            TranscribedNote(
                start_s=start / FRAMES_PER_SECOND,
                end_s=end / FRAMES_PER_SECOND,
                pitch=index + LOWEST_PITCH,
                confidence=float(posteriors.onsets[start, index]),
                velocity=round(50 + 60 * float(frames[start:end, index].mean())),
            )
        )
    return sorted(found)


def _with_inferred_onsets(posteriors: Posteriors) -> Floats:
    """Return the larger of the onsets and the rises of the notes, scaled to the same maximum."""
    notes, onsets = posteriors
    rises = [notes[2:] - notes[2 - step : len(notes) - step] for step in (1, 2)]
    rise = np.zeros_like(notes)
    rise[2:] = np.maximum(np.minimum(*rises), 0)
    highest = float(rise.max(initial=0))
    return np.maximum(onsets, rise * (onsets.max() / highest)) if highest > 0 else onsets


def _end_of_note(probability: Floats, start: int) -> int:
    """Return the frame after the last one of a note that starts at `start`."""
    last, low = len(probability) - 1, 0
    frame = start + 1
    while frame < last and low < _GAP_FRAMES:
        low = low + 1 if probability[frame] < _FRAME_THRESHOLD else 0
        frame += 1
    return frame - low
