"""Audio: synthesis with FluidSynth, mix settings, loudness, streaming, audio files, recordings."""

from musiclstm.audio.event_list import frame_at
from musiclstm.audio.mix import DEFAULT_CHORUS, DEFAULT_REVERB, Mix
from musiclstm.audio.rendering import render
from musiclstm.audio.soundfonts import installed_soundfonts
from musiclstm.audio.streaming import StreamingRenderer
from musiclstm.audio.synthesizer import load_instruments
from musiclstm.audio.transcription import Transcription, join_recording, transcribe
from musiclstm.audio.waveform import FORMATS, PEAK_CEILING, Audio

__all__ = [
    "DEFAULT_CHORUS",
    "DEFAULT_REVERB",
    "FORMATS",
    "PEAK_CEILING",
    "Audio",
    "Mix",
    "StreamingRenderer",
    "Transcription",
    "frame_at",
    "installed_soundfonts",
    "join_recording",
    "load_instruments",
    "render",
    "transcribe",
]
