"""The network, its step features and its checkpoint folder.

`configuration_musiclstm`, `modeling_musiclstm` and `step_features` are copied to the Hub beside the
weights. Names are imported at first use, because the network imports torch and transformers.
"""

from typing import TYPE_CHECKING

from musiclstm._lazy import lazy_imports

if TYPE_CHECKING:
    from musiclstm.model.checkpoint import (
        DEFAULT,
        FACTS_FILE,
        WEIGHTS_FILE,
        find_checkpoint,
        load_checkpoint,
        read_facts,
        save_checkpoint,
    )
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

__all__ = [
    "CANDIDATES",
    "DEFAULT",
    "DRUMS",
    "FACTS_FILE",
    "FORMAT_VERSION",
    "MAX_TRACKS",
    "WEIGHTS_FILE",
    "FeatureArrays",
    "LSTMLayerState",
    "LSTMState",
    "MusicLSTMConfig",
    "MusicLSTMForCausalLM",
    "MusicLSTMModel",
    "StepFeatures",
    "TokenKind",
    "TokenTable",
    "VariationalDropout",
    "feature_tensors",
    "find_checkpoint",
    "load_checkpoint",
    "read_facts",
    "save_checkpoint",
]

__getattr__, __dir__ = lazy_imports(
    __name__,
    {
        "checkpoint": (
            "DEFAULT",
            "FACTS_FILE",
            "WEIGHTS_FILE",
            "find_checkpoint",
            "load_checkpoint",
            "read_facts",
            "save_checkpoint",
        ),
        "configuration_musiclstm": ("MusicLSTMConfig",),
        "modeling_musiclstm": (
            "LSTMLayerState",
            "LSTMState",
            "MusicLSTMForCausalLM",
            "MusicLSTMModel",
            "VariationalDropout",
            "feature_tensors",
        ),
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
