"""Bits per note: negative log2-likelihood of token streams, divided by their notes.

A note is one Pitch or PitchDrum token. The sum includes all tokens of a piece and its EOS. Bits per
token depend on the vocabulary; bits per note can be compared across vocabularies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

from musiclstm.model import MusicLSTMForCausalLM, TokenKind, TokenTable
from training.data.features import feature_rows, on_device, table_of
from training.pretraining.corpora import EncodedCorpora

if TYPE_CHECKING:  # pre-training runs without symusic and MidiTok, which these import
    from musiclstm.tokens import MusicTokenizer

MAX_TOKENS = 4_000  # of each piece in `bits_per_note`, from its start
STEPS = 128  # tokens per forward pass: the fastest on a CPU; the bits do not depend on it

# Called for every window: logits (batch, steps, vocab); next tokens, whether they count, and their
# negative log-likelihoods in nats, all (batch, steps).
WindowObserver: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor], None]
Streams: TypeAlias = Sequence[Sequence[int] | np.ndarray]


@dataclass(frozen=True)
class HeldOutBits:
    """Bits of a set of pieces, and what they are divided by."""

    bits: float
    notes: int
    tokens: int
    pieces: int

    @property
    def bits_per_note(self) -> float:
        """Bits of all tokens divided by the notes."""
        return self.bits / self.notes

    @property
    def bits_per_token(self) -> float:
        """Bits of all tokens divided by the tokens, EOS included."""
        return self.bits / self.tokens

    def facts(self) -> dict[str, float | int]:
        """Return the figures for facts.json."""
        return {
            "bits_per_note": round(self.bits_per_note, 4),
            "bits_per_token": round(self.bits_per_token, 4),
            "pieces": self.pieces,
            "notes": self.notes,
            "tokens": self.tokens,
        }


def measure_bits(
    model: MusicLSTMForCausalLM,
    tokenizer: MusicTokenizer,
    pieces: Sequence[np.ndarray],
    *,
    batch_size: int = 16,
    observer: WindowObserver | None = None,
) -> HeldOutBits:
    """Measure the bits of whole pieces, from BOS to EOS.

    Args:
        model: Read without dropout; its mode and device are kept.
        tokenizer: The tokenizer of the model.
        pieces: Token ids without BOS and EOS, one array per piece.
        batch_size: Pieces per batch.
        observer: Called for every window.
    """
    streams = [[tokenizer.bos_id, *map(int, ids), tokenizer.eos_id] for ids in pieces]
    bits = sum_bits(
        model, streams, pad_id=tokenizer.pad_id, rows=batch_size, steps=STEPS, observer=observer
    )
    from training.data.tokenize import count_notes  # imports symusic

    notes = sum(count_notes(ids, tokenizer) for ids in pieces)
    tokens = sum(len(stream) - 1 for stream in streams)
    return HeldOutBits(bits, notes, tokens, len(streams))


def bits_per_note(
    model: MusicLSTMForCausalLM,
    corpora: EncodedCorpora,
    pieces: Sequence[int],
    *,
    max_tokens: int = MAX_TOKENS,
    rows: int = 16,
    steps: int = STEPS,
) -> dict[str, float]:
    """Return the bits per note of all tokens (`bits_per_note`) and of each type of token.

    Args:
        model: Read without dropout.
        corpora: Encoded pieces.
        pieces: Indices of the pieces.
        max_tokens: Tokens of each piece from its start; EOS counts if a piece is not truncated.
        rows: Pieces per batch.
        steps: Tokens per forward pass.
    """
    bos, eos, pad = (corpora.special_id(name) for name in ("BOS", "EOS", "PAD"))
    streams = [[bos, *corpora.piece(i).tolist(), eos][: max_tokens + 1] for i in pieces]
    kinds = [TokenKind(kind).name.lower() for kind in TokenTable(corpora.token_names).kind]
    by_kind = TokenStatistics(kinds, order=[kind.name.lower() for kind in TokenKind])
    bits = sum_bits(model, streams, pad_id=pad, rows=rows, steps=steps, observer=by_kind)
    notes = max(by_kind.count("pitch") + by_kind.count("drum"), 1)
    return {"bits_per_note": bits / notes} | {k: b / notes for k, b in by_kind.bits().items()}


def sum_bits(
    model: MusicLSTMForCausalLM,
    streams: Streams,
    *,
    pad_id: int,
    rows: int = 16,
    steps: int = STEPS,
    observer: WindowObserver | None = None,
) -> float:
    """Sum the bits of all tokens of the streams except the first of each.

    Args:
        model: Read without dropout; its mode and device are kept.
        streams: Token ids with BOS.
        pad_id: Pads the shorter rows of a batch.
        rows: Streams per batch, the longest first.
        steps: Tokens per forward pass; the state is carried.
        observer: Called for every window.
    """
    order = sorted(streams, key=len, reverse=True)
    training = model.training
    model.eval()
    nats = sum(
        _batch_nats(model, order[first : first + rows], pad_id, steps, observer)
        for first in range(0, len(order), rows)
    )
    model.train(training)
    return nats / math.log(2)


@torch.inference_mode()
def _batch_nats(
    model: MusicLSTMForCausalLM,
    streams: Streams,
    pad_id: int,
    steps: int,
    observer: WindowObserver | None,
) -> float:
    """Return the nats of a batch of streams, the longest of which comes first."""
    tokens = [torch.from_numpy(np.asarray(stream, np.int64)) for stream in streams]
    ids = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True, padding_value=pad_id)
    lengths = torch.tensor([len(stream) - 1 for stream in streams])
    table, state, nats = table_of(model), None, 0.0
    readers = None if table is None else feature_rows(table, len(streams))
    for start in range(0, ids.shape[1] - 1, steps):
        live = int((lengths > start).sum())  # rows that have not ended
        window = ids[:live, start : start + steps + 1]
        inputs, targets = window[:, :-1], window[:, 1:].to(model.device)
        features = {}
        if readers is not None:
            readers = readers if len(readers) == live else readers.select(range(live))
            features["features"] = on_device(readers.read(inputs.numpy()), model.device)
        if state is not None:
            state = state.index_select(torch.arange(live, device=model.device))
        output = model(inputs.to(model.device), past_key_values=state, use_cache=True, **features)
        state = output.past_key_values
        counted = torch.arange(start, start + targets.shape[1]) < lengths[:live, None]
        counted = counted.to(model.device)
        losses = torch.nn.functional.cross_entropy(
            output.logits.float().transpose(1, 2), targets, reduction="none"
        )  # (batch, steps)
        nats += float((losses * counted).double().sum())
        if observer is not None:
            observer(output.logits, targets, counted, losses)
    return nats


class TokenStatistics:
    """Tokens, correct predictions and bits by type of token; a `WindowObserver`."""

    def __init__(self, types: Sequence[str], order: Sequence[str] | None = None) -> None:
        """Start at zero.

        Args:
            types: Type of every token id, (vocab,).
            order: All types, in the order of the results; None: the order of the ids.
        """
        self._order = list(dict.fromkeys(types if order is None else order))
        self._type_of = torch.tensor([self._order.index(name) for name in types])
        self._tokens = torch.zeros(len(self._order), dtype=torch.int64)
        self._correct = torch.zeros(len(self._order), dtype=torch.int64)
        self._nats = torch.zeros(len(self._order), dtype=torch.float64)

    @classmethod
    def of_tokenizer(cls, tokenizer: MusicTokenizer) -> TokenStatistics:
        """Return statistics by the first part of a token's name, such as `Pitch`."""
        return cls([name.partition("_")[0] for name in tokenizer.token_names])

    def __call__(self, logits: Tensor, targets: Tensor, counted: Tensor, losses: Tensor) -> None:
        """Add a window."""
        types = self._type_of[targets[counted].cpu()]
        correct = (logits.argmax(dim=-1) == targets)[counted].cpu()
        self._tokens += torch.bincount(types, minlength=len(self._order))
        self._correct += torch.bincount(types[correct], minlength=len(self._order))
        self._nats.index_add_(0, types, losses[counted].double().cpu())

    def count(self, name: str) -> int:
        """Return the number of tokens of a type."""
        return int(self._tokens[self._order.index(name)])

    def bits(self) -> dict[str, float]:
        """Return the bits of each type that occurs."""
        bits = (self._nats / math.log(2)).tolist()
        return {name: value for name, value in zip(self._order, bits, strict=True) if value > 0}

    def accuracy(self) -> dict[str, dict[str, float | int]]:
        """Return how often the most likely token is correct: of all, and of each type."""
        rows = [("all", int(self._correct.sum()), int(self._tokens.sum()))]
        rows += zip(self._order, self._correct.tolist(), self._tokens.tolist(), strict=True)
        return {
            name: {"share": round(correct / tokens, 4), "tokens": tokens}
            for name, correct, tokens in rows
            if tokens
        }
