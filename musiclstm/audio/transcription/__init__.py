"""Recordings: notes, tuning, beats and bar lines of a sound file, and its score.

The extra `transcribe` has what this needs; it is imported when a recording is read.
"""

from musiclstm.audio.transcription.beats import METERS, TEMPO_RANGE_BPM
from musiclstm.audio.transcription.joining import join_recording
from musiclstm.audio.transcription.networks import NETWORK_FILE, NETWORK_SHA256
from musiclstm.audio.transcription.notes import ONSET_THRESHOLD, TranscribedNote, Voices
from musiclstm.audio.transcription.recording import MAX_SECONDS, RecordingSource
from musiclstm.audio.transcription.transcription import (
    MAX_METER,
    TEMPO_FACTORS,
    Transcription,
    transcribe,
)

__all__ = [
    "MAX_METER",
    "MAX_SECONDS",
    "METERS",
    "NETWORK_FILE",
    "NETWORK_SHA256",
    "ONSET_THRESHOLD",
    "TEMPO_FACTORS",
    "TEMPO_RANGE_BPM",
    "RecordingSource",
    "TranscribedNote",
    "Transcription",
    "Voices",
    "join_recording",
    "transcribe",
]
