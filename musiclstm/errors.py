"""Errors that a user can fix, and formatting of untrusted values in their messages.

Wrong arguments from code, such as a negative temperature, raise `ValueError`.
"""


class MusicLSTMError(Exception):
    """Base class. The message states what is wrong, what is expected and what to do."""


class ScoreError(MusicLSTMError):
    """The MIDI file cannot be read, exceeds the limits, or has no notes."""


class RecordingError(ScoreError):
    """The recording cannot be read, or no music is found in it."""


class CheckpointError(MusicLSTMError):
    """Weights, tokenizer or configuration are missing or do not match."""


class CoreMissingError(MusicLSTMError):
    """There is neither a C compiler nor a WebAssembly runtime for the core."""


class RecipeError(MusicLSTMError):
    """The recipe cannot be read, or needs another prompt, other weights or a newer version."""


class CorpusError(MusicLSTMError):
    """The training data is missing, empty or unreadable."""


class RenderError(MusicLSTMError):
    """The score cannot be synthesized."""


class SoundfontNotFoundError(RenderError):
    """No SoundFont at the given path or in the usual folders."""


class RendererMissingError(RenderError):
    """The FluidSynth library is not installed."""


class MissingPackageError(MusicLSTMError, ImportError):
    """A Python package of an extra is not installed."""


class PublishError(MusicLSTMError):
    """The Hub refused an upload, or a file would be overwritten."""


def shorten(value: object, *, max_length: int = 40) -> str:
    """Return the ASCII representation of an untrusted value, of at most `max_length` characters."""
    text = ascii(value)
    return text if len(text) <= max_length else f"{text[: max_length - 3]}..."
