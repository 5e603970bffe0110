"""Sound: synthesis with FluidSynth, mix, loudness, streaming, audio files."""

from musiclstm.audio.event_list import frame_at
from musiclstm.audio.mix import USUAL_CHORUS, USUAL_REVERB, Mix
from musiclstm.audio.rendering import load_instruments, render
from musiclstm.audio.soundfonts import soundfonts
from musiclstm.audio.streaming import StreamingRenderer
from musiclstm.audio.waveform import FORMATS, PEAK_CEILING, Audio

__all__ = [
    "FORMATS",
    "PEAK_CEILING",
    "USUAL_CHORUS",
    "USUAL_REVERB",
    "Audio",
    "Mix",
    "StreamingRenderer",
    "frame_at",
    "load_instruments",
    "render",
    "soundfonts",
]
