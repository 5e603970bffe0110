"""musiclstm: continue MIDI files with an LSTM.

>>> from musiclstm import Composer
>>> composer = Composer.from_pretrained()
>>> piece = composer.compose(prompt="motif.mid", bars=8)
>>> piece.save_midi("continued.mid")

Names are imported from their modules at first use: torch with the network as a `PreTrainedModel`,
and nothing but numpy and symusic to compose. docs/architecture.md describes the packages.
"""

from typing import TYPE_CHECKING

from musiclstm._lazy import lazy_imports

if TYPE_CHECKING:
    from musiclstm.audio import Audio, Transcription, render, transcribe
    from musiclstm.errors import (
        CheckpointError,
        CoreMissingError,
        CorpusError,
        MissingPackageError,
        MusicLSTMError,
        PublishError,
        RecipeError,
        RecordingError,
        RendererMissingError,
        RenderError,
        ScoreError,
        SoundfontNotFoundError,
    )
    from musiclstm.examples import example_files
    from musiclstm.generation.bar_plan import Surprise
    from musiclstm.generation.composer import Composer
    from musiclstm.generation.composition import Composition, GeneratedBar, NoteProbability
    from musiclstm.generation.constraints import Constraints
    from musiclstm.generation.decoding.logits_processors import logits_processors
    from musiclstm.generation.decoding.sampling import Sampling
    from musiclstm.generation.prompt import Selection
    from musiclstm.generation.recipe import Recipe, read_recipe
    from musiclstm.midi.reader import MidiLimits, MidiSummary, read_midi
    from musiclstm.model.configuration_musiclstm import MusicLSTMConfig
    from musiclstm.model.modeling_musiclstm import (
        LSTMState,
        MusicLSTMForCausalLM,
        MusicLSTMModel,
    )
    from musiclstm.tokens import MusicTokenizer

__version__ = "0.3.1"

__all__ = [
    "Audio",
    "CheckpointError",
    "Composer",
    "Composition",
    "Constraints",
    "CoreMissingError",
    "CorpusError",
    "GeneratedBar",
    "LSTMState",
    "MidiLimits",
    "MidiSummary",
    "MissingPackageError",
    "MusicLSTMConfig",
    "MusicLSTMError",
    "MusicLSTMForCausalLM",
    "MusicLSTMModel",
    "MusicTokenizer",
    "NoteProbability",
    "PublishError",
    "Recipe",
    "RecipeError",
    "RecordingError",
    "RenderError",
    "RendererMissingError",
    "Sampling",
    "ScoreError",
    "Selection",
    "SoundfontNotFoundError",
    "Surprise",
    "Transcription",
    "__version__",
    "example_files",
    "logits_processors",
    "read_midi",
    "read_recipe",
    "render",
    "transcribe",
]

__getattr__, __dir__ = lazy_imports(
    __name__,
    {
        # Importing `checkpoint` registers the network with transformers.
        "model.checkpoint": ("MusicLSTMConfig", "MusicLSTMForCausalLM", "MusicLSTMModel"),
        "generation.composer": ("Composer",),
        "generation.composition": ("Composition", "NoteProbability", "GeneratedBar"),
        "errors": (
            "CheckpointError",
            "CoreMissingError",
            "CorpusError",
            "MissingPackageError",
            "MusicLSTMError",
            "PublishError",
            "RecipeError",
            "RecordingError",
            "RenderError",
            "RendererMissingError",
            "ScoreError",
            "SoundfontNotFoundError",
        ),
        "midi.reader": ("MidiLimits", "MidiSummary", "read_midi"),
        "generation.bar_plan": ("Surprise",),
        "generation.constraints": ("Constraints",),
        "generation.decoding.logits_processors": ("logits_processors",),
        "generation.decoding.sampling": ("Sampling",),
        "model.modeling_musiclstm": ("LSTMState",),
        "generation.recipe": ("Recipe", "read_recipe"),
        "audio": ("Audio", "Transcription", "render", "transcribe"),
        "examples": ("example_files",),
        "generation.prompt": ("Selection",),
        "tokens": ("MusicTokenizer",),
    },
    renamed={
        "Limits": "MidiLimits",
        "Passage": "GeneratedBar",
        "SeedReport": "MidiSummary",
        "bundled_seeds": "example_files",
    },
)
