"""Reference of step.c in numpy: the same int8 products, float64 for everything else.

Property tests compare the compiled step with it.
"""

from __future__ import annotations

import numpy as np

from musiclstm.core.network import quantize_rows
from musiclstm.core.weights import (
    DURATION_LIMIT,
    EPSILON,
    PITCHES,
    POSITION_LIMIT,
    ContextWeights,
    Weights,
)
from musiclstm.model.step_features import (
    CONTEXT_SIZES,
    PITCH_CLASSES,
    PITCH_REACH,
    POSITION_REACH,
    REFERENCE_PITCHES,
    RHYTHM_STEPS,
    FeatureArrays,
)


class ReferenceNetwork:
    """A network that computes one row after the other.

    Attributes:
        layers: Number of layers.
        size: Hidden size.
    """

    def __init__(self, weights: Weights) -> None:
        """Keep the weights in float32; every product quantizes them."""
        self._weights = weights
        self.layers, self.size = len(weights.of_input), weights.embeddings.shape[1]

    def read(
        self,
        ids: list[int],
        hidden: np.ndarray,
        cell: np.ndarray,
        features: FeatureArrays | None = None,
    ) -> np.ndarray:
        """Read one token per row.

        Args:
            ids: (rows,).
            hidden: (layers, rows, size), updated in place.
            cell: (layers, rows, size), updated in place.
            features: Step features, (rows, ...) each.

        Returns:
            Outputs after the final norm, (rows, size).
        """
        rows = [
            self._read_row(self._input(token, features, row), hidden[:, row], cell[:, row])
            for row, token in enumerate(ids)
        ]
        return np.array(rows)

    def score(
        self,
        outputs: np.ndarray,
        features: FeatureArrays | None = None,
        copy_weights: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the logits, (rows, vocab), of outputs (rows, size); copy_weights: (rows,)."""
        scales = np.ones(len(outputs)) if copy_weights is None else copy_weights
        rows = [
            self._score_row(x, features, row, scale)
            for row, (x, scale) in enumerate(zip(outputs, scales, strict=True))
        ]
        return np.array(rows)

    def _input(self, token: int, features: FeatureArrays | None, row: int) -> np.ndarray:
        x = self._weights.embeddings[token].astype(np.float64)
        context = self._weights.context
        if context is None or features is None:
            return x
        playing, track, following, age = features.parts[row]
        x += context.program[playing] + context.track[track]
        x += context.following[following] + context.age[age]
        candidates = features.candidates[row]
        embedded = self._weights.embeddings[candidates] * (candidates >= 0)[:, None]
        matrices = context.candidate_inputs.reshape(len(x), len(candidates), -1).astype(np.float64)
        projected = np.einsum("scw,cw->cs", matrices, embedded)
        return x + projected.astype(np.float16).astype(np.float64).sum(axis=0)  # as `pack` rounds

    def _read_row(self, x: np.ndarray, hidden: np.ndarray, cell: np.ndarray) -> np.ndarray:
        w = self._weights
        for layer in range(len(w.of_input)):
            gates = quantized_product(w.of_input[layer], self._normed(x, layer))
            gates += quantized_product(w.of_hidden[layer], hidden[layer]) + w.biases[layer]
            i, f, g, o = gates.reshape(4, -1)
            cell[layer] = sigmoid(f) * cell[layer] + sigmoid(i) * np.tanh(g)
            hidden[layer] = sigmoid(o) * np.tanh(cell[layer])
            x = (x if w.residual else 0) + hidden[layer]
        return self._normed(x, -1)

    def _normed(self, x: np.ndarray, place: int) -> np.ndarray:
        if not len(self._weights.norms):
            return x
        weight, bias = self._weights.norms[place]
        return (x - x.mean()) / np.sqrt(x.var() + EPSILON) * weight + bias

    def _score_row(
        self, x: np.ndarray, features: FeatureArrays | None, row: int, copy_weight: float
    ) -> np.ndarray:
        logits = quantized_product(self._weights.head, x) + self._weights.head_bias
        context = self._weights.context
        if context is None or features is None:
            return logits
        candidates = features.candidates[row]
        gates = copy_weight * _gates(context, x, features, row)
        np.add.at(logits, candidates[candidates >= 0], gates[candidates >= 0])
        scores = quantized_product(context.head, x) + context.head_bias
        relative, forward, around, weights, filters, rhythm = np.split(
            scores, np.cumsum(CONTEXT_SIZES)[:-1]
        )
        if features.follows[row] & 1:
            table = relative.reshape(REFERENCE_PITCHES, -1)
            terms = _shifted(table, features.pitches[row], PITCH_REACH, PITCHES)
            terms += _histogram_terms(weights, features, row)
            terms += weights[3] * _log_odds(features.sizes[row, :2])
            terms += _filter_terms(filters.reshape(3, PITCH_CLASSES), features, row)
            np.add.at(logits, context.pitch_tokens, terms[context.pitch_values])
        if features.follows[row] & 2:
            table = np.stack([np.pad(forward, (POSITION_REACH, 0)), around])
            terms = _shifted(table, features.positions[row], POSITION_REACH, POSITION_LIMIT)
            terms += rhythm[2] * _log_odds(features.sizes[row, 2:])
            terms += _rhythm_terms(rhythm[0], features.onsets[row], POSITION_LIMIT)
            np.add.at(logits, context.position_tokens, terms[context.position_values])
        if features.follows[row] & 4:
            terms = _rhythm_terms(rhythm[1], features.durations[row], DURATION_LIMIT)
            np.add.at(logits, context.duration_tokens, terms[context.duration_values])
        return logits


def _gates(
    context: ContextWeights, output: np.ndarray, features: FeatureArrays, row: int
) -> np.ndarray:
    """Return the copy gates of a row, (6,)."""
    present = (features.candidates[row] >= 0).astype(np.float64)
    accuracy = present * (3 * (features.accuracy[row] / 255) - 1.5)
    inputs = [output, np.log1p(features.runs[row].astype(np.float64)), present, accuracy]
    return np.asarray(context.gates.astype(np.float64) @ np.concatenate(inputs) + context.gate_bias)


def _shifted(scores: np.ndarray, references: np.ndarray, reach: int, values: int) -> np.ndarray:
    """Return the sum over references r >= 0 of score_r(v - r), (values,); 0 beyond the reach."""
    terms = np.zeros(values)
    for table, reference in zip(scores, references, strict=True):
        difference = np.arange(values) - int(reference)
        near = (abs(difference) <= reach) & (reference >= 0)
        terms[near] += table[difference[near] + reach]
    return terms


def _histogram_terms(weights: np.ndarray, features: FeatureArrays, row: int) -> np.ndarray:
    classes = np.arange(PITCHES) % PITCH_CLASSES
    part, recent, piece = (
        array[row].astype(np.float64) for array in (features.part, features.recent, features.piece)
    )
    terms = weights[0] * (np.log(part + 1e-3) + 6.9)
    terms += weights[1] * (np.log(recent + 1e-2) + 4.6)[classes]
    return terms + weights[2] * (np.log(piece + 1e-2) + 4.6)[classes]


def _rhythm_terms(weight: float, histogram: np.ndarray, values: int) -> np.ndarray:
    shares = np.pad(histogram, (0, values - RHYTHM_STEPS), mode="edge").astype(np.float64)
    return np.asarray(weight * (np.log(shares + 1e-3) + 6.9))


def _log_odds(sizes: np.ndarray) -> float:
    more, equal = np.log(sizes + 25.0)
    return float(more - equal)


def _filter_terms(filters: np.ndarray, features: FeatureArrays, row: int) -> np.ndarray:
    sounding = int(features.sounding[row]) >> np.arange(PITCH_CLASSES) & 1
    shares = [each[row] / max(each[row].sum(), 1e-30) for each in (features.recent, features.piece)]
    classes = np.arange(PITCH_CLASSES)
    steps = (classes[:, None] - classes) % PITCH_CLASSES  # from source to target
    terms = sum(
        filter_[steps] @ source
        for filter_, source in zip(filters, [*shares, sounding], strict=True)
    )
    return np.asarray(terms)[np.arange(PITCHES) % PITCH_CLASSES]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return the logistic function of each element."""
    return 1 / (1 + np.exp(-x))


def quantized_product(matrix: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return matrix @ x with both quantized to int8 and exact sums, (rows,) float64."""
    x = x.astype(np.float32)
    largest = np.abs(x).max()
    units = np.float32(127) / largest if largest > 0 else np.float32(0)
    scaled = x * units
    values = np.trunc(scaled + np.where(scaled < 0, np.float32(-0.5), np.float32(0.5)))
    rows, scales = quantize_rows(matrix)
    sums = rows.astype(np.int64) @ values.astype(np.int64)
    return np.asarray(sums * scales.astype(np.float64) * (float(largest) / 127))
