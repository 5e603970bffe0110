"""Names, first bytes and media types of MIDI files and recordings."""

from __future__ import annotations

from pathlib import Path

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


# Recordings ---------------------------------------------------------------------------------------

RECORDING_ENDINGS = (".wav", ".mp3", ".flac", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".m4a")
VIDEO_ENDINGS = (".mp4", ".mov", ".webm", ".mkv", ".m4v", ".3gp", ".avi", ".aac")

_HEAD_BYTES = 12  # that tell what a file is

# First bytes of sound files that libsndfile reads.
_SOUND_HEADERS = (b"ID3", b"OggS", b"fLaC", b"FORM", b"RF64", b".snd", b"caff")


def is_recording(source: str | Path | bytes, *, name: str = "") -> bool:
    """Return whether a file is a recording: by its first bytes, else by its name.

    Args:
        source: A file, or its first bytes at least.
        name: Of a file that is given as bytes.
    """
    head = source[:_HEAD_BYTES] if isinstance(source, bytes) else _head(Path(source))
    if head[:4] == b"MThd" or (head[:4] == b"RIFF" and head[8:12] == b"RMID"):
        return False
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return True
    is_mpeg = len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 in (0xE2, 0xE4, 0xE6)
    if is_mpeg or head.startswith(_SOUND_HEADERS) or video_container(head):
        return True
    name = name if isinstance(source, bytes) else str(source)
    return name.lower().endswith((*RECORDING_ENDINGS, *VIDEO_ENDINGS))


def _head(path: Path) -> bytes:
    """Return the first bytes of a regular file; none if it cannot be read."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except (OSError, ValueError):
        return b""


def video_container(head: bytes) -> str | None:
    """Return ffmpeg's name of the container of a video, m4a or aac file; None: another kind."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return "mov"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    return "aac" if head[:2] in (b"\xff\xf1", b"\xff\xf9") else None
