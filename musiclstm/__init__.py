"""musiclstm: hear your own MIDI go on.

>>> from musiclstm import Composer
>>> composer = Composer.from_pretrained()
>>> piece = composer.compose(prompt="motif.mid", bars=8)
>>> piece.save_midi("goes-on.mid")

A name is fetched from its room when it is first asked for: a helper process that only reads MIDI
starts in a fraction of a second, without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from musiclstm.composer import Composer
    from musiclstm.composition import Composition, NoteProbability, Passage
    from musiclstm.configuration import MusicLSTMConfig
    from musiclstm.constraints import Constraints
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
    from musiclstm.intake import Limits, SeedReport, read_midi
    from musiclstm.modeling import LSTMState, MusicLSTMForCausalLM, MusicLSTMModel
    from musiclstm.processors import logits_processors
    from musiclstm.recipe import Recipe, read_recipe
    from musiclstm.rendering import Audio, render
    from musiclstm.sampling import Sampling
    from musiclstm.seeds import bundled_seeds
    from musiclstm.selection import Selection
    from musiclstm.surprise import Surprise
    from musiclstm.tokenization import MusicTokenizer

__version__ = "0.1.0"

__all__ = [
    "Audio",
    "CheckpointError",
    "Composer",
    "Composition",
    "Constraints",
    "CorpusError",
    "LSTMState",
    "Limits",
    "MusicLSTMConfig",
    "MusicLSTMError",
    "MusicLSTMForCausalLM",
    "MusicLSTMModel",
    "MusicTokenizer",
    "NoteProbability",
    "Passage",
    "PublishError",
    "Recipe",
    "RecipeError",
    "RenderError",
    "RendererMissingError",
    "Sampling",
    "ScoreError",
    "SeedReport",
    "Selection",
    "SoundfontNotFoundError",
    "Surprise",
    "__version__",
    "bundled_seeds",
    "logits_processors",
    "read_midi",
    "read_recipe",
    "render",
]

_ROOMS = {
    # The network comes by way of the room that introduces it to transformers.
    "checkpoint": ("MusicLSTMConfig", "MusicLSTMForCausalLM", "MusicLSTMModel"),
    "composer": ("Composer",),
    "composition": ("Composition", "NoteProbability", "Passage"),
    "constraints": ("Constraints",),
    "errors": (
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
    "intake": ("Limits", "SeedReport", "read_midi"),
    "modeling": ("LSTMState",),
    "processors": ("logits_processors",),
    "recipe": ("Recipe", "read_recipe"),
    "rendering": ("Audio", "render"),
    "sampling": ("Sampling",),
    "seeds": ("bundled_seeds",),
    "selection": ("Selection",),
    "surprise": ("Surprise",),
    "tokenization": ("MusicTokenizer",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    """Fetch a public name from its room, once."""
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'musiclstm' has no attribute {name!r}")
    thing = getattr(import_module(f"musiclstm.{_ROOM_OF[name]}"), name)
    globals()[name] = thing
    return thing


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
