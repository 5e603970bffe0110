"""`python -m benchmarks.decoding`: tokens per second of four ways to write the same music.

All in one run, taking turns, medians of several rounds: packed decoding as the composer does it;
`generate()` of transformers on the same weights; a bare loop over `nn.LSTM`, without masks; a Llama
of the same size with its key and value cache under `generate()`. Masks and sampling are the same
in all three that have them. All run on one thread: at these sizes a second one gains a rival
little, and where anything else runs on that core it loses much.

Then what masks and sampling cost (the clock runs on inside the loop, so that it counts all but the
steps themselves), and how near a step comes to what the memory can deliver.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from benchmarks.reporting import Report, ReportError, parser, run, table
from musiclstm.checkpoint import load_checkpoint
from musiclstm.configuration import MusicLSTMConfig
from musiclstm.constraints import Constraints
from musiclstm.decoding import PackedLSTM, Snapshot, Stepper
from musiclstm.generation import Take, compose_takes
from musiclstm.grammar import Grammar
from musiclstm.modeling import MusicLSTMForCausalLM
from musiclstm.processors import logits_processors
from musiclstm.sampling import Sampling
from musiclstm.tokenization import MusicTokenizer

BATCHES = (1, 4, 16)
WIDE = 1024  # of the network that no cache holds
CONSTRAINTS = Constraints(programs=frozenset({0, 32, 40}), meter=(4, 4), tempo_changes=False)
SAMPLING = Sampling(seed=1)


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with a sentence when the model cannot be used."""
    options = parser("benchmarks.decoding", "Tokens per second, and its rivals.", data=False)
    options.add_argument("--model", default="default", help="weights to measure beside 4 x 512")
    options.add_argument("--rounds", type=int, default=7, help="of which the median counts (7)")
    options.add_argument("--tokens", type=int, default=192, help="a take and round (192)")
    options.add_argument(
        "--batches", type=_numbers, default=BATCHES, help="takes at once, by commas (1,4,16)"
    )
    return run(measure, options.parse_args(argv))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def measure(options: argparse.Namespace) -> Report:
    """Every rival on every network and batch."""
    if min(options.rounds, options.tokens, *options.batches) < 1:
        raise ReportError("--rounds, --tokens and --batches must be 1 or more.")
    torch.set_num_threads(1)
    model, tokenizer = load_checkpoint(options.model)
    networks = {str(options.model): model, "4x512": _fresh(tokenizer, 512)}
    rows = []
    for name, network in networks.items():
        for batch in options.batches:
            _progress(f"{name}, batch {batch}")
            rows.append(_race(name, network, tokenizer, batch, options))
    _progress(f"4x{WIDE}, memory")
    memory = _memory(_fresh(tokenizer, WIDE), tokenizer, options)
    facts = {
        "engine": rows[0]["engine"],
        "threads": 1,
        "rounds": options.rounds,
        "tokens a take": options.tokens,
        "rows": rows,
        "memory": memory,
    }
    return Report(_text(rows, memory), facts)


def _fresh(tokenizer: MusicTokenizer, size: int) -> MusicLSTMForCausalLM:
    torch.manual_seed(0)
    config = MusicLSTMConfig(hidden_size=size, vocab_size=len(tokenizer))
    return MusicLSTMForCausalLM(config).eval()


def _progress(what: str) -> None:
    sys.stderr.write(f"… {what}\n")


# The rivals ---------------------------------------------------------------------------------------


@dataclass
class _Rival:
    """One way to write: `write(n)` writes n tokens a row; `times` are seconds a token and row."""

    write: Callable[[int], int]
    times: list[float] = field(default_factory=list)

    def time(self, tokens: int) -> float:
        """Seconds for each token of all rows together."""
        begin = time.perf_counter()
        written = self.write(tokens)
        return (time.perf_counter() - begin) / written

    def median(self) -> float:
        return statistics.median(self.times)


def _race(
    name: str,
    model: MusicLSTMForCausalLM,
    tokenizer: MusicTokenizer,
    batch: int,
    options: argparse.Namespace,
) -> dict[str, Any]:
    network = PackedLSTM(model)
    composer = Composing(network, tokenizer, batch)
    llama = _llama_as_big_as(model)
    rivals = {
        "packed": _Rival(composer.write),
        "steps alone": _Rival(composer.step),
        "generate()": _Rival(_generating(model, tokenizer, batch)),
        "nn.LSTM loop": _Rival(_looping(model, batch)),
        "Llama generate()": _Rival(_generating(llama, tokenizer, batch)),
    }
    _take_turns(rivals, options)
    notes_a_token = composer.notes / composer.tokens
    per_s = {rival: 1 / found.median() for rival, found in rivals.items()}
    return {
        "network": name,
        "batch": batch,
        "engine": f"{network.engine}, {network.precision}",
        "tokens per s": per_s,
        "notes per s": per_s["packed"] * notes_a_token,
        "packed / generate()": per_s["packed"] / per_s["generate()"],
        "packed / nn.LSTM loop": per_s["packed"] / per_s["nn.LSTM loop"],
        "packed / Llama generate()": per_s["packed"] / per_s["Llama generate()"],
        "masks and sampling / step": composer.beside_steps(5 * options.tokens),
        "parameters": sum(p.numel() for p in model.parameters()),
        "parameters of the Llama": sum(p.numel() for p in llama.parameters()),
    }


def _take_turns(rivals: dict[str, _Rival], options: argparse.Namespace) -> None:
    for rival in rivals.values():
        rival.time(16)  # warm up
    for _ in range(options.rounds):
        for rival in rivals.values():
            rival.times.append(rival.time(options.tokens))


class Composing:
    """Packed decoding, as the composer does it: the loop, the grammar, the sampling."""

    def __init__(self, network: PackedLSTM, tokenizer: MusicTokenizer, batch: int) -> None:
        self._network, self._batch = network, batch
        self._grammar = Grammar(tokenizer, CONSTRAINTS)
        self._start = network.read([tokenizer.bos_id])
        self._notes = [sum(p.startswith("Pitch") for p in parts) for parts in tokenizer.parts]
        self._last = [tokenizer.bos_id]
        self.tokens, self.notes = 0, 0

    def write(self, tokens: int) -> int:
        """At least so many tokens a take, to the end of a bar."""
        return self._write(self._network, tokens)

    def _write(self, network: PackedLSTM, tokens: int) -> int:
        takes = [self._take(seed) for seed in range(self._batch)]
        written = 0
        for _, bar in compose_takes(network, takes):
            written += len(bar.tokens)
            self.tokens += len(bar.tokens)
            self.notes += sum(self._notes[token] for token in bar.tokens)
            self._last = list(bar.tokens)
            if written >= tokens * self._batch:
                return written
        raise AssertionError("takes without end")

    def beside_steps(self, tokens: int, *, rounds: int = 5) -> float:
        """Time outside of the steps over time inside, in the same loop; the median of some."""
        found = []
        for _ in range(rounds):
            clocked = _Clocked(self._network)
            begin = time.perf_counter()
            self._write(cast("PackedLSTM", clocked), tokens)
            whole = time.perf_counter() - begin
            found.append(whole / clocked.seconds - 1)
        return statistics.median(found)

    def _take(self, seed: int) -> Take:
        sampling = replace(SAMPLING, seed=seed)
        return Take(self._start, lambda bar, before: (self._grammar, sampling))

    def step(self, tokens: int) -> int:
        """The same network, the same tokens, nothing chosen."""
        stepper = self._network.stepper([self._start] * self._batch)
        for number in range(tokens):
            stepper.step([self._last[number % len(self._last)]] * self._batch)
        return tokens * self._batch


class _Clocked:
    """A packed network whose steps are timed."""

    def __init__(self, network: PackedLSTM) -> None:
        self._network = network
        self.seconds = 0.0

    def stepper(self, snapshots: Sequence[Snapshot]) -> Stepper:
        """As `PackedLSTM.stepper`."""
        stepper = self._network.stepper(snapshots)
        step = stepper.step

        def timed(ids: Sequence[int]) -> None:
            begin = time.perf_counter()
            step(ids)
            self.seconds += time.perf_counter() - begin

        stepper.step = timed  # type: ignore[method-assign]
        return stepper


def _generating(
    model: PreTrainedModel, tokenizer: MusicTokenizer, batch: int
) -> Callable[[int], int]:
    start = torch.full((batch, 1), tokenizer.bos_id)
    network: Any = model

    def write(tokens: int) -> int:
        found = network.generate(
            start,
            attention_mask=torch.ones_like(start),
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            pad_token_id=tokenizer.pad_id,
            logits_processor=logits_processors(
                tokenizer, constraints=CONSTRAINTS, sampling=SAMPLING
            ),
        )
        return (found.shape[1] - 1) * batch

    return write


def _looping(model: MusicLSTMForCausalLM, batch: int) -> Callable[[int], int]:
    """What one writes first: `nn.LSTM` token by token, a softmax, a draw; no masks."""
    config = model.config
    size = config.hidden_size
    lstm = nn.LSTM(size, size, config.num_hidden_layers, batch_first=True).eval()
    embedding, head = model.model.embed_tokens, model.lm_head

    @torch.inference_mode()
    def write(tokens: int) -> int:
        token, state = torch.ones(batch, 1, dtype=torch.long), None
        for _ in range(tokens):
            out, state = lstm(embedding(token), state)
            token = head(out[:, -1]).softmax(-1).multinomial(1)
        return tokens * batch

    return write


def _llama_as_big_as(model: MusicLSTMForCausalLM) -> PreTrainedModel:
    """A Llama with as many layers, as wide, its feed-forward part filled up to as many weights."""
    config = model.config
    size, layers = config.hidden_size, config.num_hidden_layers
    body = sum(p.numel() for layer in model.model.layers for p in layer.parameters()) / layers
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=size,
        intermediate_size=round((body - 4 * size * size - 2 * size) / (3 * size)),
        num_hidden_layers=layers,
        num_attention_heads=size // 64,
        tie_word_embeddings=True,
        max_position_embeddings=2048,
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
    )
    return LlamaForCausalLM(shape).eval()


# What the memory can deliver ----------------------------------------------------------------------


def _memory(
    model: MusicLSTMForCausalLM, tokenizer: MusicTokenizer, options: argparse.Namespace
) -> dict[str, Any]:
    """A step, sampling included, beside plain reading of as many bytes and of many more."""
    network = PackedLSTM(model)
    composer = Composing(network, tokenizer, 1)
    composing = _Rival(composer.write)
    composing.time(16)
    readers = {
        "as many bytes": _reading(network.weight_bytes),
        "256 MiB": _reading(256 << 20),
    }
    rates: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(options.rounds):
        composing.times.append(composing.time(options.tokens // 2))
        for name, reader in readers.items():
            rates[name].append(reader())
    used = network.weight_bytes / composing.median()
    read = {name: statistics.median(found) for name, found in rates.items()}
    return {
        "network": f"4x{model.config.hidden_size}, {network.engine}, {network.precision}",
        "weight bytes a token": network.weight_bytes,
        "cache bytes": _last_cache(),
        "ms a token": 1000 * composing.median(),
        "used GB per s": used / 1e9,
        "read GB per s": {name: rate / 1e9 for name, rate in read.items()},
        "share": {name: used / rate for name, rate in read.items()},
    }


def _reading(count: int) -> Callable[[], float]:
    """Bytes per second of the fastest of three ways to read an array on one thread."""
    array = np.ones(count // 8, np.int64)
    tensor = torch.from_numpy(array)
    ways: Sequence[Callable[[], Any]] = (
        lambda: np.add.reduce(array),
        lambda: np.bitwise_or.reduce(array),
        tensor.sum,
    )

    def read() -> float:
        return max(array.nbytes / _seconds(way, repeat=3) for way in ways)

    return read


def _seconds(what: Callable[[], Any], *, repeat: int) -> float:
    marks = [time.perf_counter()]
    for _ in range(repeat):
        what()
        marks.append(time.perf_counter())
    return statistics.median(later - earlier for earlier, later in pairwise(marks))


def _last_cache() -> int | None:
    """Bytes of the largest cache, where the system tells."""
    sizes = list(_cache_sizes())
    return max(sizes, default=None)


def _cache_sizes() -> Iterator[int]:
    units = {"K": 1 << 10, "M": 1 << 20}
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = file.read_text(encoding="ascii").strip()
        yield int(text[:-1]) * units[text[-1]]


# In words -----------------------------------------------------------------------------------------


def _text(rows: Sequence[dict[str, Any]], memory: dict[str, Any]) -> str:
    speeds = [
        {
            "network": row["network"],
            "takes": row["batch"],
            **{f"{name}": f"{speed:,.0f}" for name, speed in row["tokens per s"].items()},
            "notes/s": f"{row['notes per s']:,.0f}",
        }
        for row in rows
    ]
    ratios = [
        {
            "network": row["network"],
            "takes": row["batch"],
            **{name: f"{row[name]:.1f}" for name in row if name.startswith("packed / ")},
            "masks and sampling / step": f"{100 * row['masks and sampling / step']:.0f} %",
        }
        for row in rows
    ]
    cache = memory["cache bytes"]
    place = "unknown" if cache is None else f"{cache / 2**20:.0f} MiB"
    shares = ", ".join(
        f"{100 * share:.0f} % of reading {name} ({memory['read GB per s'][name]:.1f} GB/s)"
        for name, share in memory["share"].items()
    )
    return (
        f"Tokens per second ({rows[0]['engine']}):\n\n{table(speeds)}\n\n{table(ratios)}\n\n"
        f"{memory['network']}: {memory['weight bytes a token'] / 2**20:.1f} MiB of weights a "
        f"token, largest cache {place}; {memory['ms a token']:.2f} ms a token, "
        f"{memory['used GB per s']:.1f} GB/s, sampling included: {shares}."
    )


if __name__ == "__main__":
    sys.exit(main())
