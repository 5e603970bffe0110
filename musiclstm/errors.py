"""The tree of errors: every `MusicLSTMError` is something a person can put right.

Page and command show the sentence as it is. A caller's slip in code (a negative temperature) is a
plain `ValueError` and does not live here.
"""


class MusicLSTMError(Exception):
    """What went wrong, what was expected and what to do, in one sentence."""


class ScoreError(MusicLSTMError):
    """The MIDI cannot be read, is larger than the limits, or has nothing to play."""


class CheckpointError(MusicLSTMError):
    """Weights, tokenizer and config are missing or do not belong together."""


class RecipeError(MusicLSTMError):
    """The recipe cannot be read, or needs another seed, other weights or a newer version."""


class CorpusError(MusicLSTMError):
    """The training data cannot be used: missing, empty, or nothing readable in it."""


class RenderError(MusicLSTMError):
    """The score cannot be turned into sound."""


class SoundfontNotFoundError(RenderError):
    """No SoundFont where asked, or none anywhere."""


class RendererMissingError(RenderError):
    """The FluidSynth library is not installed."""


class PublishError(MusicLSTMError):
    """The Hub refused, or something would be overwritten."""
