"""`python -m benchmarks.speed.trainer`: speed of the Trainer, compared with a bare PyTorch loop.

Both train copies of one model on the same batches of the bundled examples, alternately: one step
of the Trainer, one step of the bare loop, so that other load on the machine slows both. On a GPU a
cuDNN LSTM of the same shape, without step features, trains alternately too. The ratio is the median
over the steps. The share of the step features is measured in the bare loop.
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
from musiclstm.cli import run_command
from musiclstm.examples import example_files
from musiclstm.model import LSTMState, MusicLSTMConfig, MusicLSTMForCausalLM, TokenTable
from musiclstm.tokens import MusicTokenizer
from training.data.dataset import IGNORED, StatefulWindowDataset
from training.data.features import StatefulFeatures
from training.networks import config_for
from training.trainer.malloc import keep_freed_memory
from training.trainer.trainer import StatefulTrainer

_WARM_UP = 3  # steps that are not counted
_WEIGHT_DECAY, _DROPOUT = 0.01, 0.1

TrainStep = Callable[[dict[str, Tensor]], None]


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error."""
    options = parser("benchmarks.speed.trainer", "Tokens per second of training.", data=False)
    options.add_argument("--steps", type=int, default=40, help="pairs of steps (40)")
    options.add_argument("--rows", type=int, default=4, help="windows in a batch (4)")
    options.add_argument("--window", type=int, default=256, help="tokens in a window (256)")
    options.add_argument("--hidden_size", type=int, default=384, help="width (384)")
    options.add_argument("--layers", type=int, default=4, help="LSTM layers (4)")
    options.add_argument(
        "--ema_decay", type=float, default=0.0, help="decay of the EMA of the weights; 0: none (0)"
    )
    options.add_argument("--bf16", action="store_true", help="train in bfloat16, as the presets do")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Train the Trainer and the bare loops alternately on the same batches."""
    if options.steps < 2:
        raise ReportError(f"--steps must be 2 or more, got {options.steps}.")
    logging.set_verbosity_error()
    set_seed(0)
    model = MusicLSTMForCausalLM(_config(options))
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(options, copy.deepcopy(model), folder)
        device = trainer.args.device
        bare = BareLoop(model, device, options)
        loops: dict[str, TrainStep] = {"bare loop": bare}
        if device.type == "cuda":
            loops["bare cuDNN"] = BareCudnn(options, device)
        timing = StepTimingCallback(trainer.windows, loops, options.rows, device)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(timing)
        trainer.train()
    return _report(options, timing.seconds, device, bare.features_s)


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
    """Return the bundled examples as one long piece per row, each with another start."""
    tokenizer, tokens = MusicTokenizer(), steps * options.window - 1
    ids = [tokenizer.encode(symusic.Score(file)) for file in example_files().values()]
    all_ids = np.array([token for piece in ids for token in piece])
    starts = np.arange(options.rows) * len(all_ids) // options.rows
    pieces = [np.resize(np.roll(all_ids, -start), tokens) for start in starts]
    return StatefulWindowDataset(
        pieces, tokenizer, rows=options.rows, batch_size=options.rows, steps=options.window
    )


class BareEma:
    """Exponential moving average of the weights, as the Trainer's; none with a decay of 0."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay, self._steps = decay, 0
        self._weights: list[Tensor] = [p.detach() for p in model.parameters()]
        self._average = [weight.clone() for weight in self._weights] if decay else []

    def update(self) -> None:
        """Add the current weights."""
        if not self._decay:
            return
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        torch._foreach_lerp_(self._average, self._weights, 1 - decay)


class BareLoop:
    """The shortest equivalent loop: state, features, gradient clipping, AdamW, average.

    Attributes:
        features_s: Seconds that the step features of each step took.
    """

    def __init__(
        self, model: MusicLSTMForCausalLM, device: torch.device, options: argparse.Namespace
    ) -> None:
        nn.Module.to(model, device)
        self.model, self._bf16 = model.train(), options.bf16
        self._optimizer = _optimizer(model)
        self._state: LSTMState | None = None
        table = TokenTable(MusicTokenizer().token_names)
        self._features = StatefulFeatures(table, options.rows)
        self.features_s: list[float] = []
        self._ema = BareEma(model, options.ema_decay)

    def __call__(self, batch: dict[str, Tensor]) -> None:
        """Train one step."""
        begin_s = time.perf_counter()
        features = self._features.read(batch["input_ids"], batch["reset"])
        self.features_s.append(time.perf_counter() - begin_s)
        state = self._state and self._state.detach().reset_rows(batch["reset"])
        with _autocast(batch["labels"].device, self._bf16):
            output = self.model(batch["input_ids"], features=features, past_key_values=state)
        self._state = output.past_key_values
        _update(output.logits, batch["labels"], self.model, self._optimizer)
        self._ema.update()


class BareCudnn:
    """`nn.LSTM` with as many layers between tied embeddings."""

    def __init__(self, options: argparse.Namespace, device: torch.device) -> None:
        size, vocab_size = options.hidden_size, len(MusicTokenizer())
        self._bf16 = options.bf16
        self.embedding = nn.Embedding(vocab_size, size)
        self.lstm = nn.LSTM(size, size, options.layers, batch_first=True)
        self.head = nn.Linear(size, vocab_size, bias=False)
        self.head.weight = self.embedding.weight
        self._model = nn.ModuleList([self.embedding, self.lstm, self.head]).to(device).train()
        self._optimizer = _optimizer(self._model)
        self._state: tuple[Tensor, Tensor] | None = None
        self._ema = BareEma(self._model, options.ema_decay)

    def __call__(self, batch: dict[str, Tensor]) -> None:
        """Train one step."""
        with _autocast(batch["labels"].device, self._bf16):
            x, (hidden, cell) = self.lstm(self.embedding(batch["input_ids"]), self._state)
            logits = self.head(x)
        self._state = hidden.detach(), cell.detach()
        _update(logits, batch["labels"], self._model, self._optimizer)
        self._ema.update()


def _optimizer(model: nn.Module) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=_WEIGHT_DECAY, fused=True)


def _update(
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


class StepTimingCallback(TrainerCallback):
    """Runs the bare loops on the same batch after every step of the Trainer.

    Attributes:
        seconds: Seconds of each step, by the name of the loop.
    """

    def __init__(
        self,
        windows: StatefulWindowDataset,
        loops: dict[str, TrainStep],
        rows: int,
        device: torch.device,
    ) -> None:
        self._batches = _batches(windows, rows)
        self._loops, self._device = loops, device
        self.seconds: dict[str, list[float]] = {name: [] for name in ("Trainer", *loops)}
        self._begin_s = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock of the Trainer."""
        self._begin_s = self._now_s()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Record the Trainer's step, loading of data included; run the other loops."""
        self.seconds["Trainer"].append(self._now_s() - self._begin_s)
        rows = next(self._batches)
        for name, step in self._loops.items():
            begin_s = self._now_s()
            step({key: value.to(self._device) for key, value in _collate(rows).items()})
            self.seconds[name].append(self._now_s() - begin_s)
        self._begin_s = self._now_s()

    def _now_s(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def _batches(windows: StatefulWindowDataset, rows: int) -> Iterator[list[dict[str, Tensor]]]:
    for start in range(0, len(windows), rows):
        yield [windows[i] for i in range(start, start + rows)]


def _collate(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.stack([row[key] for row in rows]) for key in rows[0]}


def _report(
    options: argparse.Namespace,
    all_seconds: dict[str, list[float]],
    device: torch.device,
    features_s: list[float],
) -> Report:
    seconds = {name: times[_WARM_UP:] for name, times in all_seconds.items()}
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
            "Trainer ÷ loop": f"{ratios[name]:.3f}",
        }
        for name in seconds
    ]
    text = f"{table(rows)}\n\nStep features take {100 * share:.1f} % of a step of the bare loop."
    return Report(text, facts)


if __name__ == "__main__":
    keep_freed_memory()
    sys.exit(run_command(main))
