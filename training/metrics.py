"""How well a model predicts pieces it has never seen, in bits per note.

Bits per *note*, not per token: a bigger vocabulary makes fewer, harder tokens, and only notes can
be compared across vocabularies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from musiclstm.modeling import LSTMState, MusicLSTMForCausalLM
from musiclstm.tokenization import MusicTokenizer

STEPS = 512  # read at once; the state is carried, so the figure does not depend on it

# Sees every window: scores (batch, steps, vocab); the right tokens, and which of them count, both
# (batch, steps).
Watch: TypeAlias = Callable[[Tensor, Tensor, Tensor], None]


@dataclass(frozen=True)
class HeldOut:
    """What prediction cost on a set of pieces."""

    bits: float
    notes: int
    tokens: int
    pieces: int

    @property
    def bits_per_note(self) -> float:
        """Bits to write down one note, with everything that places it."""
        return self.bits / self.notes

    @property
    def bits_per_token(self) -> float:
        """Bits per token of this vocabulary, end tokens included."""
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
    """Read every piece from its first token to its end, state carried, and count the bits.

    Args:
        model: Stays in the mode and on the device it is in; read without dropout.
        tokenizer: The one the model was trained with.
        pieces: Unmerged ids, one array a piece.
        batch_size: Pieces read side by side, the longest first.
        watch: Called with everything that is read.
    """
    streams = [
        [tokenizer.bos_id, *ids, tokenizer.eos_id] for ids in tokenizer.compress_many(pieces)
    ]
    notes = sum(name.startswith("Pitch") for s in streams for name in tokenizer.expand(s))
    order = sorted(streams, key=len, reverse=True)
    was_training = model.training
    model.eval()
    nats = sum(
        _nats(model, order[i : i + batch_size], tokenizer.pad_id, watch)
        for i in range(0, len(order), batch_size)
    )
    model.train(was_training)
    tokens = sum(len(stream) - 1 for stream in streams)
    return HeldOut(nats / math.log(2), notes, tokens, len(streams))


@torch.inference_mode()
def _nats(
    model: MusicLSTMForCausalLM, streams: list[list[int]], pad_id: int, watch: Watch | None
) -> float:
    """Nats that a batch of streams costs; the longest comes first."""
    rows = [torch.tensor(stream) for stream in streams]
    table = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad_id)
    lengths = torch.tensor([len(stream) for stream in streams])
    state: LSTMState | None = None
    nats = 0.0
    for start in range(0, table.shape[1] - 1, STEPS):
        live = int((lengths - 1 > start).sum())  # shorter pieces are over
        window = table[:live, start : start + STEPS + 1].to(model.device)
        if state is not None:
            state = state.rows(torch.arange(live, device=model.device))
        output = model(window[:, :-1], past_key_values=state)
        state = output.past_key_values
        places = torch.arange(start, start + window.shape[1] - 1)
        real = (places < (lengths[:live] - 1)[:, None]).to(model.device)
        nats += _masked_nats(output.logits, window[:, 1:], real)
        if watch is not None:
            watch(output.logits, window[:, 1:], real)
    return nats


def _masked_nats(logits: Tensor, targets: Tensor, real: Tensor) -> float:
    loss = torch.nn.functional.cross_entropy(
        logits.float().transpose(1, 2), targets, reduction="none"
    )  # (batch, steps)
    return float((loss * real).sum())


class Accuracy:
    """How often the likeliest token is the right one; a `watch` for `held_out`.

    The kind of a token is that of the first base token in it, such as `Pitch` or `Position`.
    """

    def __init__(self, tokenizer: MusicTokenizer) -> None:
        """Take the tokenizer whose ids are read."""
        kinds = [parts[0].split("_")[0] for parts in tokenizer.parts]
        self._names = list(dict.fromkeys(kinds))
        self._kind_of = torch.tensor([self._names.index(kind) for kind in kinds])
        self._right = torch.zeros(len(self._names), dtype=torch.int64)
        self._tokens = torch.zeros(len(self._names), dtype=torch.int64)

    def __call__(self, logits: Tensor, targets: Tensor, real: Tensor) -> None:
        """Count a window."""
        right = (logits.argmax(dim=-1) == targets)[real].cpu()
        kinds = self._kind_of[targets[real].cpu()]
        self._tokens += torch.bincount(kinds, minlength=len(self._names))
        self._right += torch.bincount(kinds[right], minlength=len(self._names))

    def facts(self) -> dict[str, dict[str, float | int]]:
        """Share that is right and number of tokens: of all, and of each kind that came."""
        rows = [("all", int(self._right.sum()), int(self._tokens.sum()))]
        rows += zip(self._names, self._right.tolist(), self._tokens.tolist(), strict=True)
        return {
            kind: {"share": round(right / tokens, 4), "tokens": tokens}
            for kind, right, tokens in rows
            if tokens
        }
