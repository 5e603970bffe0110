"""Notes per second that networks write: the plain loop of each, and the composer's own way.

One piece at a time, on one thread of the processor (see `benchmarks.decoding` for why one), in
turns, the median of several. In the plain loop every network takes its steps (`Contender.stepper`),
a softmax, and a draw; no masks, but that nothing ends a piece. Notes are counted in the tokens that
were written.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from benchmarks.decoding import Composing
from benchmarks.rivals import Contender
from musiclstm.decoding import PackedLSTM
from musiclstm.tokenization import MusicTokenizer

ROUNDS = 3
_TO_WARM_UP = 16  # tokens


class Writer(Protocol):
    """One way to write."""

    def write(self, tokens: int) -> tuple[int, int]:
        """Go on by at least so many tokens; how many were written, and the notes in them."""


@dataclass(frozen=True)
class Speed:
    """Medians over the rounds."""

    tokens_per_s: float
    notes_per_s: float


class PlainLoop:
    """A network as it is, token by token."""

    def __init__(
        self, contender: Contender, network: nn.Module, tokenizer: MusicTokenizer, *, seed: int = 0
    ) -> None:
        """Begin a piece; the network itself is left alone."""
        alone = copy.deepcopy(network).to("cpu").eval()
        self._step = contender.stepper(alone)
        self._token, self._state = torch.tensor([[tokenizer.bos_id]]), None
        self._never = torch.tensor([tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id])
        self._notes = notes_in(tokenizer)
        self._chance = torch.Generator().manual_seed(seed)

    @torch.inference_mode()
    def write(self, tokens: int) -> tuple[int, int]:
        """As `Writer`."""
        state: Any = self._state
        written = []
        for _ in range(tokens):
            scores, state = self._step(self._token, state)
            shares = scores.float().index_fill(0, self._never, float("-inf")).softmax(0)
            self._token = shares.multinomial(1, generator=self._chance)[None]
            written.append(int(self._token))
        self._state = state
        return len(written), sum(self._notes[token] for token in written)


class PackedWay:
    """Ours as the composer runs it: weights packed in int8, masks, sampling."""

    def __init__(self, network: Any, tokenizer: MusicTokenizer) -> None:
        """Pack the weights of a `MusicLSTMForCausalLM`."""
        alone = copy.deepcopy(network).to("cpu").eval()
        self._composing = Composing(PackedLSTM(alone), tokenizer, 1)

    def write(self, tokens: int) -> tuple[int, int]:
        """As `Writer`; to the end of a bar."""
        before = self._composing.notes
        return self._composing.write(tokens), self._composing.notes - before


def notes_in(tokenizer: MusicTokenizer) -> list[int]:
    """How many notes each token of the vocabulary strikes."""
    return [sum(name.startswith("Pitch") for name in parts) for parts in tokenizer.parts]


def speeds(writers: Mapping[str, Writer], *, tokens: int, rounds: int = ROUNDS) -> dict[str, Speed]:
    """Let all write in turns.

    Args:
        writers: By name.
        tokens: That each writes in a round, or a few more.
        rounds: Of which the median counts.
    """
    found: dict[str, list[Speed]] = {name: [] for name in writers}
    with _one_thread():
        for writer in writers.values():
            writer.write(_TO_WARM_UP)
        for _ in range(rounds):
            for name, writer in writers.items():
                found[name].append(_speed(writer, tokens))
    return {name: _median(each) for name, each in found.items()}


def _speed(writer: Writer, tokens: int) -> Speed:
    begin = time.perf_counter()
    written, notes = writer.write(tokens)
    seconds = time.perf_counter() - begin
    return Speed(written / seconds, notes / seconds)


def _median(found: Sequence[Speed]) -> Speed:
    return Speed(
        statistics.median(speed.tokens_per_s for speed in found),
        statistics.median(speed.notes_per_s for speed in found),
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
