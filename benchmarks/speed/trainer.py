"""`python -m benchmarks.speed.trainer`: how fast the Trainer is, compared with a bare PyTorch loop.

Both train twin networks on the same batches of the bundled examples, and take turns: one step of
the Trainer, one of the bare loop, so that a machine that slows down slows both. On a GPU a bare
cuDNN LSTM of the same shape, without step features, takes its turn too. The figure is the median of
the pairs. The share of the step features is measured in the bare loop.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import symusic
import torch
from torch import Tensor, nn
from transformers import PrinterCallback, TrainerCallback, TrainingArguments, set_seed
from transformers.utils import logging

from benchmarks.common.report import Report, ReportError, parser, run, table
from musiclstm.examples import example_files
from musiclstm.model import LSTMState, MusicLSTMConfig, MusicLSTMForCausalLM, TokenTable
from musiclstm.tokens import MusicTokenizer
from training.data.dataset import IGNORED, StatefulWindowDataset
from training.data.features import StatefulFeatures
from training.networks import config_for
from training.trainer.malloc import keep_freed_memory
from training.trainer.trainer import StatefulTrainer

_WARM_UP = 3  # steps that do not count
_WEIGHT_DECAY, _DROPOUT = 0.01, 0.1

Step = Callable[[dict[str, Tensor]], None]


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with a sentence where it cannot be measured."""
    options = parser("benchmarks.speed.trainer", "Tokens per second while learning.", data=False)
    options.add_argument("--steps", type=int, default=40, help="pairs of steps (40)")
    options.add_argument("--rows", type=int, default=4, help="windows in a batch (4)")
    options.add_argument("--window", type=int, default=256, help="tokens in a window (256)")
    options.add_argument("--hidden_size", type=int, default=384, help="width (384)")
    options.add_argument("--layers", type=int, default=4, help="LSTM layers (4)")
    options.add_argument(
        "--ema_decay", type=float, default=0.0, help="average of both; 0: none (0)"
    )
    options.add_argument("--bf16", action="store_true", help="as the presets do")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Let Trainer and bare loops take turns over the same batches."""
    if options.steps < 2:
        raise ReportError(f"--steps must be 2 or more, got {options.steps}.")
    logging.set_verbosity_error()
    set_seed(0)
    model = MusicLSTMForCausalLM(_config(options))
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(options, copy.deepcopy(model), folder)
        device = trainer.args.device
        bare = BareLoop(model, device, options)
        rivals: dict[str, Step] = {"bare loop": bare}
        if device.type == "cuda":
            rivals["bare cuDNN"] = BareCudnn(options, device)
        turns = Turns(trainer.windows, rivals, options.rows, device)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(turns)
        trainer.train()
    return _report(options, turns, device, bare.features_s)


def _config(options: argparse.Namespace) -> MusicLSTMConfig:
    tokenizer = MusicTokenizer()
    shape = {"hidden_size": options.hidden_size, "num_hidden_layers": options.layers}
    return config_for(tokenizer.token_names, tokenizer.fingerprint, dropout=_DROPOUT, **shape)


def _trainer(
    options: argparse.Namespace, model: MusicLSTMForCausalLM, folder: str
) -> StatefulTrainer:
    steps = options.steps + _WARM_UP
    args = TrainingArguments(
        output_dir=folder,
        max_steps=steps,
        per_device_train_batch_size=options.rows,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        use_cache=True,
        use_cpu=not torch.cuda.is_available(),
        bf16=options.bf16,
        learning_rate=1e-3,
        weight_decay=_WEIGHT_DECAY,
        logging_steps=10,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    return StatefulTrainer(
        model,
        args,
        _windows(options, steps),
        tokenizer=MusicTokenizer(),
        ema_decay=options.ema_decay,
    )


def _windows(options: argparse.Namespace, steps: int) -> StatefulWindowDataset:
    """Return one long piece in every lane: the bundled examples, each lane from another place."""
    tokenizer, tokens = MusicTokenizer(), steps * options.window - 1
    ids = [tokenizer.encode(symusic.Score(file)) for file in example_files().values()]
    all_ids = np.array([token for piece in ids for token in piece])
    starts = np.arange(options.rows) * len(all_ids) // options.rows
    pieces = [np.resize(np.roll(all_ids, -start), tokens) for start in starts]
    return StatefulWindowDataset(
        pieces, tokenizer, rows=options.rows, batch_size=options.rows, steps=options.window
    )


class BareAverage:
    """The same running average as the Trainer's; with a decay of 0 none."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Begin at the weights as they are."""
        self._decay, self._steps = decay, 0
        self._weights: list[Tensor] = [p.detach() for p in model.parameters()]
        self.weights = [weight.clone() for weight in self._weights] if decay else []

    def update(self) -> None:
        """Take in the weights after a step."""
        if not self._decay:
            return
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        torch._foreach_lerp_(self.weights, self._weights, 1 - decay)


class BareLoop:
    """The shortest loop that trains the same: state, features, clipped gradient, AdamW, average.

    Attributes:
        features_s: Seconds that the step features of each step took.
    """

    def __init__(
        self, model: MusicLSTMForCausalLM, device: torch.device, options: argparse.Namespace
    ) -> None:
        """Take the twin of the Trainer's network."""
        nn.Module.to(model, device)
        self.model, self._bf16 = model.train(), options.bf16
        self._optimizer = torch.optim.AdamW(
            model.parameters(), lr=1e-3, weight_decay=_WEIGHT_DECAY, fused=True
        )
        self._state: LSTMState | None = None
        table = TokenTable(MusicTokenizer().token_names)
        self._features = StatefulFeatures(table, options.rows)
        self.features_s: list[float] = []
        self.average = BareAverage(model, options.ema_decay)

    def __call__(self, batch: dict[str, Tensor]) -> None:
        """One step."""
        begin = time.perf_counter()
        features = self._features.read(batch["input_ids"], batch["reset"])
        self.features_s.append(time.perf_counter() - begin)
        state = self._state and self._state.detach().reset_rows(batch["reset"])
        with _autocast(batch["labels"].device, self._bf16):
            output = self.model(batch["input_ids"], features=features, past_key_values=state)
        self._state = output.past_key_values
        _learn(output.logits, batch["labels"], self.model, self._optimizer)
        self.average.update()


class BareCudnn:
    """`nn.LSTM` of as many layers between an embedding and an output matrix, and nothing else."""

    def __init__(self, options: argparse.Namespace, device: torch.device) -> None:
        """Build it with fresh weights."""
        size = options.hidden_size
        self._bf16 = options.bf16
        vocab_size = len(MusicTokenizer())
        self.embedding = nn.Embedding(vocab_size, size)
        self.lstm = nn.LSTM(size, size, options.layers, batch_first=True)
        self.head = nn.Linear(size, vocab_size, bias=False)
        self.head.weight = self.embedding.weight
        self._all = nn.ModuleList([self.embedding, self.lstm, self.head]).to(device).train()
        self._optimizer = torch.optim.AdamW(
            self._all.parameters(), lr=1e-3, weight_decay=_WEIGHT_DECAY, fused=True
        )
        self._state: tuple[Tensor, Tensor] | None = None
        self.average = BareAverage(self._all, options.ema_decay)

    def __call__(self, batch: dict[str, Tensor]) -> None:
        """One step."""
        with _autocast(batch["labels"].device, self._bf16):
            read, (hidden, cell) = self.lstm(self.embedding(batch["input_ids"]), self._state)
            logits = self.head(read)
        self._state = hidden.detach(), cell.detach()
        _learn(logits, batch["labels"], self._all, self._optimizer)
        self.average.update()


def _learn(
    logits: Tensor, labels: Tensor, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    loss = nn.functional.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED
    )
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def _autocast(device: torch.device, bf16: bool) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()


class Turns(TrainerCallback):
    """After every step of the Trainer, lets the rivals take the same batch.

    Attributes:
        seconds: Of every step that counts, by who took it.
    """

    def __init__(
        self,
        windows: StatefulWindowDataset,
        rivals: dict[str, Step],
        rows: int,
        device: torch.device,
    ) -> None:
        """Take the rivals by name."""
        self._batches = _batches(windows, rows)
        self._rivals, self._device = rivals, device
        self.seconds: dict[str, list[float]] = {name: [] for name in ("Trainer", *rivals)}
        self._begin = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The first turn begins."""
        self._begin = self._now()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Everything since the rivals ended is the Trainer's: data, step, books."""
        self.seconds["Trainer"].append(self._now() - self._begin)
        rows = next(self._batches)
        for name, step in self._rivals.items():
            begin = self._now()
            step({key: value.to(self._device) for key, value in _collate(rows).items()})
            self.seconds[name].append(self._now() - begin)
        self._begin = self._now()

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def _batches(windows: StatefulWindowDataset, rows: int) -> Iterator[list[dict[str, Tensor]]]:
    for start in range(0, len(windows), rows):
        yield [windows[i] for i in range(start, start + rows)]


def _collate(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.stack([row[key] for row in rows]) for key in rows[0]}


def _report(
    options: argparse.Namespace, turns: Turns, device: torch.device, features_s: list[float]
) -> Report:
    seconds = {name: times[_WARM_UP:] for name, times in turns.seconds.items()}
    tokens = options.rows * options.window
    speeds = {name: tokens / statistics.median(times) for name, times in seconds.items()}
    ratios = {
        name: statistics.median(
            bare / own for bare, own in zip(times, seconds["Trainer"], strict=True)
        )
        for name, times in seconds.items()
    }
    share = statistics.median(features_s[_WARM_UP:]) / statistics.median(seconds["bare loop"])
    facts = {
        "shape": {
            key: getattr(options, key) for key in ("rows", "window", "hidden_size", "layers")
        },
        "features share": round(share, 4),
        "bf16": options.bf16,
        "ema_decay": options.ema_decay,
        "steps": len(seconds["Trainer"]),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "tokens_per_s": {name: round(speed, 1) for name, speed in speeds.items()},
        "trainer_over": {name: round(r, 4) for name, r in ratios.items() if name != "Trainer"},
    }
    rows = [
        {
            "loop": name,
            "tokens/s": f"{speeds[name]:,.0f}",
            "Trainer ÷ it": f"{ratios[name]:.3f}",
        }
        for name in seconds
    ]
    text = f"{table(rows)}\n\nStep features take {100 * share:.1f} % of a step of the bare loop."
    return Report(text, facts)


if __name__ == "__main__":
    keep_freed_memory()
    sys.exit(main())
