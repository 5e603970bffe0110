"""Standard MIDI Files: reading within limits, repair, summary, analysis and score operations.

Names are imported at first use, so a sandbox worker loads only what it runs.
"""

from typing import TYPE_CHECKING

from musiclstm._lazy import lazy_imports

if TYPE_CHECKING:
    from musiclstm.midi import analysis
    from musiclstm.midi.analysis import (
        DEFAULT_METER,
        AnyScore,
        Key,
        TempoMap,
        bar_starts,
        estimate_key,
        in_ticks,
        last_note_end,
        meter_at,
        seconds_at,
        tempo_at,
    )
    from musiclstm.midi.embedded_text import embed_text, extract_text
    from musiclstm.midi.general_midi import DRUMS, NAMES, instrument_name
    from musiclstm.midi.reader import (
        MidiLimits,
        check_score,
        clean_text,
        read_bounded,
        read_midi,
        read_midi_bytes,
    )
    from musiclstm.midi.sandbox import SandboxPool
    from musiclstm.midi.score_ops import slice_score, split_parts
    from musiclstm.midi.summary import MidiSummary, TrackSummary, pluralize, summarize

__all__ = [
    "DEFAULT_METER",
    "DRUMS",
    "NAMES",
    "AnyScore",
    "Key",
    "MidiLimits",
    "MidiSummary",
    "SandboxPool",
    "TempoMap",
    "TrackSummary",
    "analysis",
    "bar_starts",
    "check_score",
    "clean_text",
    "embed_text",
    "estimate_key",
    "extract_text",
    "in_ticks",
    "instrument_name",
    "last_note_end",
    "meter_at",
    "pluralize",
    "read_bounded",
    "read_midi",
    "read_midi_bytes",
    "seconds_at",
    "slice_score",
    "split_parts",
    "summarize",
    "tempo_at",
]

__getattr__, __dir__ = lazy_imports(
    __name__,
    {
        "analysis": (
            "AnyScore",
            "DEFAULT_METER",
            "Key",
            "TempoMap",
            "bar_starts",
            "estimate_key",
            "in_ticks",
            "last_note_end",
            "meter_at",
            "seconds_at",
            "tempo_at",
        ),
        "embedded_text": (
            "embed_text",
            "extract_text",
        ),
        "general_midi": (
            "DRUMS",
            "NAMES",
            "instrument_name",
        ),
        "reader": (
            "MidiLimits",
            "check_score",
            "clean_text",
            "read_bounded",
            "read_midi",
            "read_midi_bytes",
        ),
        "sandbox": ("SandboxPool",),
        "score_ops": ("slice_score", "split_parts"),
        "summary": (
            "MidiSummary",
            "TrackSummary",
            "pluralize",
            "summarize",
        ),
    },
)
