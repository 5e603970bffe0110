"""Bits per note: negative log2-likelihood of held-out pieces, divided by their notes.

Bits per token depend on the vocabulary; bits per note can be compared across vocabularies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from musiclstm.model import MusicLSTMForCausalLM
from musiclstm.tokens import MusicTokenizer
from training.data.tokenize import count_notes
from training.evaluation.bits_per_note import STEPS, Watch, bits_of_streams


@dataclass(frozen=True)
class HeldOut:
    """Bits of a set of pieces."""

    bits: float
    notes: int
    tokens: int
    pieces: int

    @property
    def bits_per_note(self) -> float:
        """Bits per note, with all tokens that place it."""
        return self.bits / self.notes

    @property
    def bits_per_token(self) -> float:
        """Bits per token, end tokens included."""
        return self.bits / self.tokens

    def facts(self) -> dict[str, float | int]:
        """Ready for facts.json."""
        return {
            "bits_per_note": round(self.bits_per_note, 4),
            "bits_per_token": round(self.bits_per_token, 4),
            "pieces": self.pieces,
            "notes": self.notes,
            "tokens": self.tokens,
        }


def held_out(
    model: MusicLSTMForCausalLM,
    tokenizer: MusicTokenizer,
    pieces: Sequence[np.ndarray],
    *,
    batch_size: int = 16,
    watch: Watch | None = None,
) -> HeldOut:
    """Read every piece from its first token to its end, state carried, and sum the bits.

    Args:
        model: Stays in the mode and on the device it is in; read without dropout.
        tokenizer: The one the model was trained with.
        pieces: Token ids without BOS and EOS, one array a piece.
        batch_size: Pieces read side by side, the longest first.
        watch: Called with everything that is read.
    """
    streams = [[tokenizer.bos_id, *map(int, ids), tokenizer.eos_id] for ids in pieces]
    bits = bits_of_streams(
        model, streams, pad_id=tokenizer.pad_id, rows=batch_size, steps=STEPS, watch=watch
    )
    notes = sum(count_notes(ids, tokenizer) for ids in pieces)
    tokens = sum(len(stream) - 1 for stream in streams)
    return HeldOut(bits, notes, tokens, len(streams))


class Accuracy:
    """How often the most likely token is the right one; a `watch` for `held_out`.

    The kind of a token is the first part of its name, such as `Pitch` or `Position`.
    """

    def __init__(self, tokenizer: MusicTokenizer) -> None:
        """Take the tokenizer whose ids are read."""
        kinds = [name.partition("_")[0] for name in tokenizer.token_names]
        self._names = list(dict.fromkeys(kinds))
        self._kind_of = torch.tensor([self._names.index(kind) for kind in kinds])
        self._right = torch.zeros(len(self._names), dtype=torch.int64)
        self._tokens = torch.zeros(len(self._names), dtype=torch.int64)

    def __call__(self, logits: Tensor, targets: Tensor, real: Tensor, losses: Tensor) -> None:
        """Count a window."""
        right = (logits.argmax(dim=-1) == targets)[real].cpu()
        kinds = self._kind_of[targets[real].cpu()]
        self._tokens += torch.bincount(kinds, minlength=len(self._names))
        self._right += torch.bincount(kinds[right], minlength=len(self._names))

    def facts(self) -> dict[str, dict[str, float | int]]:
        """Return share of right tokens and number of tokens: of all, and of each kind."""
        rows = [("all", int(self._right.sum()), int(self._tokens.sum()))]
        rows += zip(self._names, self._right.tolist(), self._tokens.tolist(), strict=True)
        return {
            kind: {"share": round(right / tokens, 4), "tokens": tokens}
            for kind, right, tokens in rows
            if tokens
        }
