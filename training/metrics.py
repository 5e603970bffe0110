"""Bits per note: negative log2-likelihood of held-out pieces, divided by their notes.

Bits per token depend on the vocabulary; bits per note can be compared across vocabularies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from musiclstm.model.modeling_musiclstm import MusicLSTMForCausalLM
from musiclstm.tokens import MusicTokenizer
from training.data.features import feature_rows, on_device, table_of
from training.reading import count_notes

STEPS = 128  # read at once: the fastest on a CPU; the state is carried, so bits do not depend on it

# Called with every window: logits (batch, steps, vocab); the next tokens, and which of them count,
# both (batch, steps).
Watch: TypeAlias = Callable[[Tensor, Tensor, Tensor], None]


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
    notes = sum(count_notes(ids, tokenizer) for ids in pieces)
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
    """Return the nats of a batch of streams, the longest of which comes first."""
    rows = [torch.tensor(stream) for stream in streams]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad_id)
    lengths = torch.tensor([len(stream) - 1 for stream in streams])
    table, state, nats = table_of(model), None, 0.0
    readers = None if table is None else feature_rows(table, len(streams))
    for start in range(0, ids.shape[1] - 1, STEPS):
        live = int((lengths > start).sum())  # shorter pieces are over
        window = ids[:live, start : start + STEPS + 1]
        inputs, targets = window[:, :-1], window[:, 1:].to(model.device)
        features = {}
        if readers is not None:
            readers = readers if len(readers) == live else readers.select(range(live))
            arrays = readers.read(inputs.numpy())
            features["features"] = on_device(arrays, model.device)
        if state is not None:
            state = state.rows(torch.arange(live, device=model.device))
        output = model(inputs.to(model.device), past_key_values=state, use_cache=True, **features)
        state = output.past_key_values
        real = (torch.arange(start, start + targets.shape[1]) < lengths[:live, None]).to(
            model.device
        )
        nats += _masked_nats(output.logits, targets, real)
        if watch is not None:
            watch(output.logits, targets, real)
    return nats


def _masked_nats(logits: Tensor, targets: Tensor, real: Tensor) -> float:
    loss = torch.nn.functional.cross_entropy(
        logits.float().transpose(1, 2), targets, reduction="none"
    )  # (batch, steps)
    return float((loss * real).double().sum())


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

    def __call__(self, logits: Tensor, targets: Tensor, real: Tensor) -> None:
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
