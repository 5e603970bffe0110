"""Names and media types of MIDI files, for upload fields, corpora and commands."""

from __future__ import annotations

MIDI_ENDINGS = (".mid", ".midi", ".kar", ".smf", ".rmi")
MIDI_TYPES = ("audio/midi", "audio/x-midi", "audio/mid", "application/x-midi")
ACCEPT = ",".join([*MIDI_ENDINGS, *MIDI_TYPES])  # the attribute of an HTML file field


def has_midi_ending(name: str) -> bool:
    """Return whether a file name ends as those of MIDI files do; `.mid` alone does."""
    return name.lower().endswith(MIDI_ENDINGS)


def has_no_ending(name: str) -> bool:
    """Return whether a file name has no ending, so that only the content can tell what it is."""
    return "." not in name


def is_midi_header(data: bytes) -> bool:
    """Return whether a file that starts with these bytes, four or more, may be MIDI."""
    return data[:4] in (b"MThd", b"RIFF")
