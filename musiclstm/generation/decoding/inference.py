"""Packed weights that read prompts, and snapshots of decoder states."""

from __future__ import annotations

from collections.abc import Sequence as Collection
from dataclasses import dataclass

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from musiclstm.core.bar_features import BarContext
from musiclstm.core.library import Library
from musiclstm.core.network import Network, PackedWeights
from musiclstm.core.sequence import Sequence
from musiclstm.core.weights import Weights
from musiclstm.generation.decoding.bar_score import read_bar_score
from musiclstm.tokens.vocabulary import EOS, TABLE


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class DecoderState:
    """Snapshot of the network at a bar line. Step features are computed again from the tokens.

    Attributes:
        logits: Logits of the next token, (vocab,) float32.
        hidden: Hidden states, (layers, hidden) float32.
        cell: Cell states, (layers, hidden) float32.
    """

    logits: np.ndarray
    hidden: np.ndarray
    cell: np.ndarray

    @classmethod
    def of(cls, sequence: Sequence) -> DecoderState:
        """Copy the state of a sequence."""
        return cls(sequence.logits.copy(), sequence.hidden.copy(), sequence.cell.copy())

    def to_bytes(self) -> bytes:
        """Return the snapshot in safetensors format."""
        return save({"logits": self.logits, "hidden": self.hidden, "cell": self.cell})

    @classmethod
    def from_bytes(cls, data: bytes) -> DecoderState:
        """Return the snapshot that `to_bytes` wrote.

        Raises:
            ValueError: The bytes are not a snapshot.
        """
        try:
            parts = load(data)
            return cls(parts["logits"], parts["hidden"], parts["cell"])
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"These bytes are not a snapshot: {error}.") from error


class InferenceModel:
    """Weights packed for inference. Immutable, so threads and sequences can share it.

    Attributes:
        network: The packed weights.
        bar_score: `BAR_SCORE`.
    """

    def __init__(
        self,
        weights: Weights | PackedWeights,
        bar_score: np.ndarray | None = None,
        *,
        library: Library | None = None,
    ) -> None:
        """Pack weights for a library; None: the one of this machine.

        Args:
            weights: They are packed unless they are already.
            bar_score: None: that of the bundled checkpoint.
            library: The core.

        Raises:
            CoreMissingError: The core cannot be run on this machine.
            ValueError: The weights are not for the vocabulary of `MusicTokenizer`.
        """
        self.network = Network(weights, TABLE, library=library)
        self.bar_score = read_bar_score(None) if bar_score is None else bar_score

    def prefill(self, ids: Collection[int], references: Collection[int] = ()) -> DecoderState:
        """Read a prompt, and return the state after it.

        Args:
            ids: Ids of the prompt, at least one.
            references: Ids that the step features read before it, see references.py.

        Raises:
            ValueError: No tokens.
            IndexError: A token outside the vocabulary.
        """
        if not len(ids):
            raise ValueError("There is nothing to read: ids is empty.")
        sequence = Sequence(self.network)
        sequence.read(references)
        sequence.hidden[...] = sequence.cell[...] = 0
        sequence.read(ids)
        return DecoderState.of(sequence)

    def bar_context(self, prompt: Collection[int], bars: Collection[Collection[int]]) -> BarContext:
        """Return what candidates for the next bar are compared with; `prompt` as in `restore`."""
        ids = np.asarray(prompt)
        start = 1 + max(np.flatnonzero(ids == EOS).tolist(), default=-1)  # after the references
        return BarContext(TABLE, ids[start:].tolist(), bars, library=self.network.library)

    def restore(
        self,
        state: DecoderState,
        rules: np.ndarray,
        prompt: Collection[int],
        bars: Collection[int],
    ) -> Sequence:
        """Return a sequence that continues a snapshot.

        Args:
            state: The snapshot.
            rules: `BarRules` of the next bar.
            prompt: All ids that were read before the first new bar: those of references, each of
                which ends with EOS, and of the prompt.
            bars: Ids of the new bars so far.

        Raises:
            ValueError: The snapshot belongs to another model, or rules out of range.
            IndexError: A token outside the vocabulary.
        """
        sequence = Sequence(self.network)
        for name in ("logits", "hidden", "cell"):
            own, given = getattr(sequence, name), getattr(state, name)
            if given.shape != own.shape or given.dtype != own.dtype:
                raise ValueError(
                    f"The snapshot belongs to another model: {name} has the shape {given.shape} "
                    f"instead of {own.shape}."
                )
            if not np.isfinite(given).all():
                raise ValueError(
                    f"The snapshot is damaged: {name} has a number that is not finite."
                )
            own[...] = given
        sequence.restore(rules, prompt, bars)
        return sequence
