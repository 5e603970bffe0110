"""The network, its step features and its checkpoint folder.

`config_fields`, `configuration_musiclstm`, `modeling_musiclstm` and `step_features` are copied to
the Hub beside the weights. Names are imported at first use, because the network imports torch and
transformers; config, weights and facts are read without them.
"""

from typing import TYPE_CHECKING

from musiclstm._lazy import lazy_imports

if TYPE_CHECKING:
    from musiclstm.model.checkpoint import load_checkpoint, save_checkpoint
    from musiclstm.model.checkpoint_files import (
        BAR_SCORE_FILE,
        CONFIG_FILE,
        DEFAULT,
        FACTS_FILE,
        MEMORIZATION_FILE,
        MODEL_TYPE,
        WEIGHTS_FILE,
        CheckpointFiles,
        check_files,
        find_checkpoint,
        read_facts,
    )
    from musiclstm.model.config_fields import ConfigFields
    from musiclstm.model.configuration_musiclstm import MusicLSTMConfig
    from musiclstm.model.modeling_musiclstm import (
        LSTMLayerState,
        LSTMState,
        MusicLSTMForCausalLM,
        MusicLSTMModel,
        VariationalDropout,
        feature_tensors,
    )
    from musiclstm.model.step_features import (
        CANDIDATES,
        DRUMS,
        FORMAT_VERSION,
        MAX_TRACKS,
        FeatureArrays,
        StepFeatures,
        TokenKind,
        TokenTable,
    )
    from musiclstm.model.stored_weights import StoredWeights, load_weights, read_weights

__all__ = [
    "BAR_SCORE_FILE",
    "CANDIDATES",
    "CONFIG_FILE",
    "DEFAULT",
    "DRUMS",
    "FACTS_FILE",
    "FORMAT_VERSION",
    "MAX_TRACKS",
    "MEMORIZATION_FILE",
    "MODEL_TYPE",
    "WEIGHTS_FILE",
    "CheckpointFiles",
    "ConfigFields",
    "FeatureArrays",
    "LSTMLayerState",
    "LSTMState",
    "MusicLSTMConfig",
    "MusicLSTMForCausalLM",
    "MusicLSTMModel",
    "StepFeatures",
    "StoredWeights",
    "TokenKind",
    "TokenTable",
    "VariationalDropout",
    "check_files",
    "feature_tensors",
    "find_checkpoint",
    "load_checkpoint",
    "load_weights",
    "read_facts",
    "read_weights",
    "save_checkpoint",
]

__getattr__, __dir__ = lazy_imports(
    __name__,
    {
        "checkpoint": ("load_checkpoint", "save_checkpoint"),
        "checkpoint_files": (
            "CONFIG_FILE",
            "CheckpointFiles",
            "check_files",
            "DEFAULT",
            "FACTS_FILE",
            "BAR_SCORE_FILE",
            "MEMORIZATION_FILE",
            "MODEL_TYPE",
            "WEIGHTS_FILE",
            "find_checkpoint",
            "read_facts",
        ),
        "config_fields": ("ConfigFields",),
        "configuration_musiclstm": ("MusicLSTMConfig",),
        "modeling_musiclstm": (
            "LSTMLayerState",
            "LSTMState",
            "MusicLSTMForCausalLM",
            "MusicLSTMModel",
            "VariationalDropout",
            "feature_tensors",
        ),
        "stored_weights": ("StoredWeights", "load_weights", "read_weights"),
        "step_features": (
            "CANDIDATES",
            "DRUMS",
            "FORMAT_VERSION",
            "FeatureArrays",
            "TokenKind",
            "MAX_TRACKS",
            "StepFeatures",
            "TokenTable",
        ),
    },
)
