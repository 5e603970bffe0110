"""The weights of a network as numpy arrays, by their names in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from musiclstm.model.step_features import (
    CANDIDATES,
    CONTEXT_SIZES,
    POSITION_REACH,
    TokenKind,
    TokenTable,
)

EPSILON = 1e-5  # of layer norms, as in PyTorch
POSITION_LIMIT = 4 * POSITION_REACH  # above every position
PITCHES = 128
DURATION_LIMIT = 8_192  # above every duration


@dataclass(frozen=True)
class ContextWeights:
    """The weights that read step features, float32.

    Attributes:
        program: Embeddings of the current part's program, (programs, size).
        track: Embeddings of its number, (tracks, size).
        following: Embeddings of the following part's program, (programs, size).
        age: Embeddings of the bars since its last note, (ages, size).
        candidate_inputs: Projects the embeddings of the candidates, (size, 6 * size).
        gates: (6, size + 18).
        gate_bias: (6,).
        head: Context head, (sum(CONTEXT_SIZES), size).
        head_bias: (rows,).
        pitch_tokens: Ids of the Pitch tokens, (pitches,).
        pitch_values: Their pitches, (pitches,).
        position_tokens: Ids of the Position tokens, (positions,).
        position_values: Their positions, (positions,).
        duration_tokens: Ids of the Duration tokens, (durations,).
        duration_values: Their durations in positions, (durations,).
    """

    program: np.ndarray
    track: np.ndarray
    following: np.ndarray
    age: np.ndarray
    candidate_inputs: np.ndarray
    gates: np.ndarray
    gate_bias: np.ndarray
    head: np.ndarray
    head_bias: np.ndarray
    pitch_tokens: np.ndarray
    pitch_values: np.ndarray
    position_tokens: np.ndarray
    position_values: np.ndarray
    duration_tokens: np.ndarray
    duration_values: np.ndarray


@dataclass(frozen=True)
class Weights:
    """A network as float32 arrays.

    Attributes:
        of_input: Input weights of each layer, (4 * size, size); order of the gates: input, forget,
            cell, output.
        of_hidden: Recurrent weights of each layer, (4 * size, size).
        biases: (4 * size,) for each layer.
        norms: Weight and bias, (2, size), of each layer's norm and the final one; or empty.
        embeddings: (vocab, size).
        head: (vocab, size).
        head_bias: (vocab,).
        residual: Whether a layer's input is added to its output.
        context: None for a network without step features.

    Raises:
        ValueError: Shapes of arrays do not match.
    """

    of_input: Sequence[np.ndarray]
    of_hidden: Sequence[np.ndarray]
    biases: Sequence[np.ndarray]
    norms: Sequence[np.ndarray]
    embeddings: np.ndarray
    head: np.ndarray
    head_bias: np.ndarray
    residual: bool
    context: ContextWeights | None = None

    def __post_init__(self) -> None:
        """Check all shapes, because the compiled step does not."""
        layers = len(self.of_input)
        counts = len(self.of_hidden), len(self.biases), len(self.norms)
        if layers == 0 or counts not in ((layers, layers, 0), (layers, layers, layers + 1)):
            raise ValueError(f"Weights of {layers} layers are needed throughout, got {counts}.")
        vocab, size = self.embeddings.shape
        shapes: list[_Shape] = [
            *(("of_input", each, (4 * size, size)) for each in self.of_input),
            *(("of_hidden", each, (4 * size, size)) for each in self.of_hidden),
            *(("biases", each, (4 * size,)) for each in self.biases),
            *(("norms", each, (2, size)) for each in self.norms),
            ("head", self.head, (vocab, size)),
            ("head_bias", self.head_bias, (vocab,)),
        ]
        if self.context is not None:
            _check_tokens(self.context, vocab)
            shapes += _context_shapes(self.context, size)
        for name, array, shape in shapes:
            if array.shape != shape:
                raise ValueError(f"{name} must have the shape {shape}, got {array.shape}.")

    @classmethod
    def from_state_dict(
        cls,
        arrays: Mapping[str, np.ndarray],
        *,
        residual: bool,
        token_names: Sequence[str] | None,
    ) -> Weights:
        """Collect the weights of a `MusicLSTMForCausalLM`.

        Args:
            arrays: The state dict.
            residual: From the config.
            token_names: From the config.

        Raises:
            ValueError: Shapes of arrays do not match.
        """
        layers = sum(name.endswith(".weight_ih_l0") for name in arrays)
        lstms = [f"model.layers.{i}.lstm." for i in range(layers)]
        norms = [f"model.layers.{i}.norm." for i in range(layers)] + ["model.norm."]
        embeddings = arrays["model.embed_tokens.weight"]
        return cls(
            of_input=[arrays[f"{lstm}weight_ih_l0"] for lstm in lstms],
            of_hidden=[arrays[f"{lstm}weight_hh_l0"] for lstm in lstms],
            biases=[arrays[f"{lstm}bias_ih_l0"] + arrays[f"{lstm}bias_hh_l0"] for lstm in lstms],
            norms=[
                np.stack([arrays[f"{norm}weight"], arrays[f"{norm}bias"]])
                for norm in norms
                if f"{norm}weight" in arrays
            ],
            embeddings=embeddings,
            head=arrays.get("lm_head.weight", embeddings),
            head_bias=arrays["lm_head.bias"],
            residual=residual,
            context=None if token_names is None else _context(arrays, token_names),
        )


_Shape = tuple[str, np.ndarray, tuple[int, ...]]


def _context(arrays: Mapping[str, np.ndarray], token_names: Sequence[str]) -> ContextWeights:
    table = TokenTable(token_names)
    tokens = {
        kind: np.array([id_ for id_, each in enumerate(table.kind) if each == kind], np.int32)
        for kind in (TokenKind.PITCH, TokenKind.POSITION, TokenKind.DURATION)
    }
    values = np.array(table.value, np.int64)
    inputs = {
        name: arrays[f"model.step_inputs.{name}.weight"]
        for name in ("program", "track", "following", "age", "candidate_inputs")
    }
    return ContextWeights(
        **inputs,
        gates=arrays["gates.weight"],
        gate_bias=arrays["gates.bias"],
        head=arrays["context_head.weight"],
        head_bias=arrays["context_head.bias"],
        pitch_tokens=tokens[TokenKind.PITCH],
        pitch_values=values[tokens[TokenKind.PITCH]],
        position_tokens=tokens[TokenKind.POSITION],
        position_values=values[tokens[TokenKind.POSITION]],
        duration_tokens=tokens[TokenKind.DURATION],
        duration_values=values[tokens[TokenKind.DURATION]],
    )


def _check_tokens(context: ContextWeights, vocab: int) -> None:
    for name, limit in (
        ("pitch_tokens", vocab),
        ("position_tokens", vocab),
        ("duration_tokens", vocab),
        ("pitch_values", PITCHES),
        ("position_values", POSITION_LIMIT),
        ("duration_values", DURATION_LIMIT),
    ):
        values = getattr(context, name)
        if len(values) and not 0 <= values.min() <= values.max() < limit:
            raise ValueError(f"{name} must be from 0 to {limit - 1}.")


def _context_shapes(context: ContextWeights, size: int) -> list[_Shape]:
    count, rows = len(CANDIDATES), sum(CONTEXT_SIZES)
    return [
        ("program", context.program, (len(context.program), size)),
        ("following", context.following, (len(context.program), size)),
        ("track", context.track, (len(context.track), size)),
        ("age", context.age, (len(context.age), size)),
        ("candidate_inputs", context.candidate_inputs, (size, count * size)),
        ("gates", context.gates, (count, size + 3 * count)),
        ("gate_bias", context.gate_bias, (count,)),
        ("context head", context.head, (rows, size)),
        ("context head_bias", context.head_bias, (rows,)),
        ("pitch_values", context.pitch_values, context.pitch_tokens.shape),
        ("position_values", context.position_values, context.position_tokens.shape),
        ("duration_values", context.duration_values, context.duration_tokens.shape),
    ]
