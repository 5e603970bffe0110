"""Networks of a few weights, packed for inference."""

from __future__ import annotations

import numpy as np

from musiclstm.core.weights import Weights
from musiclstm.generation.decoding.inference import InferenceModel
from tests.core.test_network import VOCAB, random_weights, with_context
from tests.generation.referee import IDS

LOUD = ("Bar_None", "TimeSig_4/4", "Program_0", "Position_0", "Pitch_60", "Duration_1.0.12")


def noise_weights(*, spread: float = 3.0, seed: int = 0) -> Weights:
    """Return random weights: logits that depend on all tokens so far."""
    weights = with_context(random_weights(12, VOCAB, 2, seed=seed))
    weights.head[:] *= spread
    weights.head_bias[[IDS["Bar_None"], IDS["EOS_None"]]] = 4  # bars stay short
    return weights


def noise_model(**values: float) -> InferenceModel:
    """Return a network of `noise_weights`."""
    return InferenceModel(noise_weights(**values))


def scripted_model(*names: str, then: str = "Bar_None") -> InferenceModel:
    """Return a network that prefers the next one of some different tokens.

    Args:
        names: The tokens.
        then: The token after the last one.
    """
    size = len(names)
    gates, (embeddings, head) = np.zeros((4 * size, size)), np.zeros((2, VOCAB, size))
    for index, (token, following) in enumerate(zip(names, (*names[1:], then), strict=True)):
        embeddings[IDS[token], index] = 1
        head[IDS[following], index] = 9
    arrays = {"embeddings": embeddings, "head": head, "head_bias": np.zeros(VOCAB)}
    floats = {name: array.astype(np.float32) for name, array in arrays.items()}
    layer = {"of_input": [gates], "of_hidden": [gates], "biases": [np.zeros(4 * size)]}
    layers = {name: [array.astype(np.float32) for array in each] for name, each in layer.items()}
    return InferenceModel(Weights(**layers, **floats, norms=[], residual=True))
