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
        in_ticks,
        last_note_end,
        meter_at,
        seconds_at,
    )
    from musiclstm.midi.file_names import (
        ACCEPT,
        MIDI_ENDINGS,
        RECORDING_ENDINGS,
        has_midi_ending,
        has_no_ending,
        is_midi_header,
        is_recording,
    )
    from musiclstm.midi.general_midi import DRUMS, instrument_name
    from musiclstm.midi.reader import (
        MidiLimits,
        check_score,
        clean_text,
        read_bounded,
        read_midi,
    )
    from musiclstm.midi.sandbox import SandboxPool
    from musiclstm.midi.score_ops import (
        slice_score,
        split_parts,
        to_last_note,
        trim_overlapping_notes,
    )
    from musiclstm.midi.score_tables import write_midi
    from musiclstm.midi.summary import MidiSummary, TrackSummary, pluralize

__all__ = [
    "ACCEPT",
    "DEFAULT_METER",
    "DRUMS",
    "MIDI_ENDINGS",
    "RECORDING_ENDINGS",
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
    "has_midi_ending",
    "has_no_ending",
    "in_ticks",
    "instrument_name",
    "is_midi_header",
    "is_recording",
    "last_note_end",
    "meter_at",
    "pluralize",
    "read_bounded",
    "read_midi",
    "seconds_at",
    "slice_score",
    "split_parts",
    "to_last_note",
    "trim_overlapping_notes",
    "write_midi",
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
            "in_ticks",
            "last_note_end",
            "meter_at",
            "seconds_at",
        ),
        "file_names": (
            "ACCEPT",
            "MIDI_ENDINGS",
            "RECORDING_ENDINGS",
            "has_midi_ending",
            "has_no_ending",
            "is_midi_header",
            "is_recording",
        ),
        "general_midi": (
            "DRUMS",
            "instrument_name",
        ),
        "reader": ("MidiLimits", "check_score", "clean_text", "read_bounded", "read_midi"),
        "sandbox": ("SandboxPool",),
        "score_ops": ("slice_score", "split_parts", "to_last_note", "trim_overlapping_notes"),
        "score_tables": ("write_midi",),
        "summary": ("MidiSummary", "TrackSummary", "pluralize"),
    },
)
