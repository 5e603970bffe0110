"""Negative log2-likelihood of token streams; needs neither MidiTok nor symusic."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from musiclstm.model import MusicLSTMForCausalLM, TokenKind, TokenTable
from training.data.features import feature_rows, on_device, table_of
from training.pretraining.corpora import EncodedCorpora

MEASURED_TOKENS = 4_000  # of each piece in `bits_per_note`, from its beginning
STEPS = 128  # read at once: the fastest on a CPU; the state is carried, so bits do not depend on it

# Called with every window: logits (batch, steps, vocab); the next tokens, which of them count, and
# their negative log-likelihoods in nats, all (batch, steps).
Watch: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor], None]


def bits_of_streams(
    model: MusicLSTMForCausalLM,
    streams: Sequence[Sequence[int] | np.ndarray],
    *,
    pad_id: int,
    rows: int = 16,
    steps: int = STEPS,
    watch: Watch | None = None,
) -> float:
    """Read streams with carried state and sum the bits of all tokens but the first of each.

    Args:
        model: Stays in the mode and on the device it is in; read without dropout.
        streams: Token ids with BOS.
        pad_id: Fills up the shorter rows of a batch.
        rows: Streams read side by side, the longest first.
        steps: Tokens read at once.
        watch: Called with everything that is read.
    """
    order = sorted(streams, key=len, reverse=True)
    training = model.training
    model.eval()
    nats = sum(
        _nats(model, order[first : first + rows], pad_id, steps, watch)
        for first in range(0, len(order), rows)
    )
    model.train(training)
    return nats / math.log(2)


@torch.inference_mode()
def _nats(
    model: MusicLSTMForCausalLM,
    streams: Sequence[Sequence[int] | np.ndarray],
    pad_id: int,
    steps: int,
    watch: Watch | None,
) -> float:
    """Return the nats of a batch of streams, the longest of which comes first."""
    tokens = [torch.from_numpy(np.asarray(stream, np.int64)) for stream in streams]
    ids = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True, padding_value=pad_id)
    lengths = torch.tensor([len(stream) - 1 for stream in streams])
    table, state, nats = table_of(model), None, 0.0
    readers = None if table is None else feature_rows(table, len(streams))
    for start in range(0, ids.shape[1] - 1, steps):
        live = int((lengths > start).sum())  # shorter streams are over
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
        real = torch.arange(start, start + targets.shape[1]) < lengths[:live, None]
        losses = _losses(output.logits, targets)
        nats += float((losses * real.to(model.device)).double().sum())
        if watch is not None:
            watch(output.logits, targets, real.to(model.device), losses)
    return nats


def _losses(logits: Tensor, targets: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(
        logits.float().transpose(1, 2), targets, reduction="none"
    )  # (batch, steps)


class BitsByKind:
    """Bits of the tokens of each kind, and the number of notes; a `watch` for `bits_of_streams`.

    Attributes:
        notes: Number of Duration tokens, one for each note.
    """

    def __init__(self, table: TokenTable) -> None:
        """Take the meaning of the tokens."""
        self._kinds = torch.tensor([int(kind) for kind in table.kind])
        self._nats = torch.zeros(len(TokenKind), dtype=torch.float64)
        self.notes = 0

    def __call__(self, logits: Tensor, targets: Tensor, real: Tensor, losses: Tensor) -> None:
        """Count a window."""
        kinds = self._kinds[targets[real].cpu()]
        self._nats.index_add_(0, kinds, losses[real].double().cpu())
        self.notes += int((kinds == TokenKind.DURATION).sum())

    def per_note(self) -> dict[str, float]:
        """Return bits per note: `bits_per_note` of all tokens, and of each kind that occurs."""
        bits = self._nats / (math.log(2) * max(self.notes, 1))
        kinds = {kind.name.lower(): float(bits[kind]) for kind in TokenKind if bits[kind] > 0}
        return {"bits_per_note": float(bits.sum())} | kinds


def bits_per_note(
    model: MusicLSTMForCausalLM,
    corpora: EncodedCorpora,
    pieces: Sequence[int],
    *,
    most_tokens: int = MEASURED_TOKENS,
    rows: int = 16,
    steps: int = STEPS,
) -> dict[str, float]:
    """Return bits per note of pieces, of all tokens and of each kind.

    Args:
        model: As `bits_of_streams` takes it.
        corpora: Where the pieces are.
        pieces: Their numbers.
        most_tokens: Of each piece, from its beginning; EOS counts where a piece is not cut.
        rows: Read side by side.
        steps: Read at once.
    """
    bos, eos, pad = (corpora.special_id(name) for name in ("BOS", "EOS", "PAD"))
    streams = [[bos, *corpora.piece(i).tolist(), eos][: most_tokens + 1] for i in pieces]
    by_kind = BitsByKind(TokenTable(corpora.token_names))
    bits_of_streams(model, streams, pad_id=pad, rows=rows, steps=steps, watch=by_kind)
    return by_kind.per_note()
