"""musiclstm: hear your own MIDI go on.

>>> from musiclstm import Composer
>>> composer = Composer.from_pretrained()
>>> piece = composer.compose(prompt="motif.mid", bars=8)
>>> piece.save_midi("goes-on.mid")
"""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

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

AutoConfig.register(MusicLSTMConfig.model_type, MusicLSTMConfig)
AutoModel.register(MusicLSTMConfig, MusicLSTMModel)
AutoModelForCausalLM.register(MusicLSTMConfig, MusicLSTMForCausalLM)
