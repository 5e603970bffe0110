"""musiclstm: continue MIDI files with an LSTM.

>>> from musiclstm import Composer
>>> composer = Composer.from_pretrained()
>>> piece = composer.compose(prompt="motif.mid", bars=8)
>>> piece.save_midi("goes-on.mid")

Public names are imported from their modules at first use, so that a process that only reads MIDI
starts in a fraction of a second, without torch. Packages: `tokens` (score to ids and back), `model`
(the network and its step features), `core` (compiled steps), `generation` (constraints, sampling,
decode loop). docs/architecture.md describes all modules.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from musiclstm.audio.rendering import Audio, render
    from musiclstm.errors import (
        CheckpointError,
        CorpusError,
        MusicLSTMError,
        PublishError,
        RecipeError,
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
    from musiclstm.generation.decoding.sampling import Sampling
    from musiclstm.generation.logits_processors import logits_processors
    from musiclstm.generation.recipe import Recipe, read_recipe
    from musiclstm.generation.selection import Selection
    from musiclstm.midi.reader import MidiLimits, MidiSummary, read_midi
    from musiclstm.model.configuration_musiclstm import MusicLSTMConfig
    from musiclstm.model.modeling_musiclstm import (
        LSTMState,
        MusicLSTMForCausalLM,
        MusicLSTMModel,
    )
    from musiclstm.tokens import MusicTokenizer

__version__ = "0.3.0"

__all__ = [
    "Audio",
    "CheckpointError",
    "Composer",
    "Composition",
    "Constraints",
    "CorpusError",
    "GeneratedBar",
    "LSTMState",
    "MidiLimits",
    "MidiSummary",
    "MusicLSTMConfig",
    "MusicLSTMError",
    "MusicLSTMForCausalLM",
    "MusicLSTMModel",
    "MusicTokenizer",
    "NoteProbability",
    "PublishError",
    "Recipe",
    "RecipeError",
    "RenderError",
    "RendererMissingError",
    "Sampling",
    "ScoreError",
    "Selection",
    "SoundfontNotFoundError",
    "Surprise",
    "__version__",
    "example_files",
    "logits_processors",
    "read_midi",
    "read_recipe",
    "render",
]

_NAMES_OF = {
    # Importing `checkpoint` registers the network with transformers.
    "musiclstm.model.checkpoint": ("MusicLSTMConfig", "MusicLSTMForCausalLM", "MusicLSTMModel"),
    "musiclstm.generation.composer": ("Composer",),
    "musiclstm.generation.composition": ("Composition", "NoteProbability", "GeneratedBar"),
    "musiclstm.errors": (
        "CheckpointError",
        "CorpusError",
        "MusicLSTMError",
        "PublishError",
        "RecipeError",
        "RenderError",
        "RendererMissingError",
        "ScoreError",
        "SoundfontNotFoundError",
    ),
    "musiclstm.midi.reader": ("MidiLimits", "MidiSummary", "read_midi"),
    "musiclstm.generation.bar_plan": ("Surprise",),
    "musiclstm.generation.constraints": ("Constraints",),
    "musiclstm.generation.logits_processors": ("logits_processors",),
    "musiclstm.generation.decoding.sampling": ("Sampling",),
    "musiclstm.model.modeling_musiclstm": ("LSTMState",),
    "musiclstm.generation.recipe": ("Recipe", "read_recipe"),
    "musiclstm.audio.rendering": ("Audio", "render"),
    "musiclstm.examples": ("example_files",),
    "musiclstm.generation.selection": ("Selection",),
    "musiclstm.tokens": ("MusicTokenizer",),
}
_MODULE_OF = {name: module for module, names in _NAMES_OF.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name from its module, once."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'musiclstm' has no attribute {name!r}")
    thing = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = thing
    return thing


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
