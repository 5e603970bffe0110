"""transformers' Trainer with LSTM state carried from window to window.

Additions: step features, averaged weights, learning rates per part, checkpoints with a manifest,
and a stop on SIGTERM or on a loss that is not finite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainingArguments

from musiclstm.errors import CheckpointError
from musiclstm.model import LSTMLayerState, LSTMState, MusicLSTMForCausalLM
from musiclstm.tokens import MusicTokenizer
from training.data.dataset import IGNORED, StatefulWindowDataset
from training.data.features import StatefulFeatures, table_of
from training.errors import convert_disk_errors, disk_full_error, free_bytes, nonfinite_error
from training.evaluation.bits_per_note import HeldOutBits, measure_bits
from training.trainer import checkpoints
from training.trainer.callbacks import SigtermCallback
from training.trainer.checkpoints import TrainingTimer
from training.trainer.ema import WeightAverage
from training.trainer.param_groups import LearningRates, split_groups

_STATE_FILE = "lstm_state_{rank}.safetensors"


class StatefulTrainer(Trainer):
    """Train with state and step features carried across windows.

    The gradient stops at the edge of a window (truncated back-propagation through time, Williams
    and Peng 1990). Evaluation reads whole pieces from an empty state and reports bits per note.

    Attributes:
        network: The model without the wrappers of the Trainer.
        windows: The training dataset.
        average: Running average of the weights, which is evaluated and exported; None: no average.
        timer: Training time of the run.
    """

    def __init__(
        self,
        model: MusicLSTMForCausalLM,
        args: TrainingArguments,
        train_dataset: StatefulWindowDataset,
        *,
        tokenizer: MusicTokenizer,
        held_out_pieces: Sequence[np.ndarray] = (),
        ema_decay: float = 0.0,
        rates: LearningRates | None = None,
        **kwargs: Any,
    ) -> None:
        """Create a trainer.

        Args:
            model: The network.
            args: Arguments of the Trainer.
            train_dataset: Windows in the order of the batch rows.
            tokenizer: Saved with every checkpoint.
            held_out_pieces: Token ids of the pieces that are evaluated.
            ema_decay: Decay of the average of the weights, below 1; 0: no average.
            rates: Learning rates of the parts; None: one rate.
            **kwargs: Other arguments of the Trainer.
        """
        if args.label_smoothing_factor:
            # The Trainer's own smoother shifts labels depending on the name of the model's class.
            kwargs["compute_loss_func"] = _SmoothedCrossEntropy(args.label_smoothing_factor)
        super().__init__(
            model,
            args,
            train_dataset=train_dataset,
            eval_dataset=list(held_out_pieces) or None,
            **kwargs,
        )
        self.network, self.windows = model, train_dataset
        self.average = WeightAverage(model, ema_decay) if ema_decay else None
        self.timer = TrainingTimer()
        self._rates = rates or LearningRates()
        self._tokenizer, self._held_out_pieces = tokenizer, held_out_pieces
        self._table = table_of(model)
        self._states: dict[int, LSTMState] = {}
        self._features: dict[int, StatefulFeatures] = {}  # both by accumulation slot
        if self.average is not None:
            self.add_callback(_AverageCallback(self.average))
        self._sigterm = SigtermCallback(self._any_process)
        self.add_callback(self._sigterm)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train as `Trainer.train` does.

        Raises:
            StoppedError: SIGTERM was received, and a checkpoint was written.
        """
        with self._sigterm.handle_sigterm():
            return super().train(*args, **kwargs)

    def _any_process(self, flag: bool) -> bool:
        if self.args.world_size == 1:
            return flag
        total = self.accelerator.reduce(torch.tensor(float(flag), device=self.args.device), "sum")
        return bool(total.item())

    @property
    def last_step(self) -> int:
        """Number of steps of the run, unless it stops early."""
        if self.args.max_steps > 0:
            return int(self.args.max_steps)
        return math.ceil(self.args.num_train_epochs * self.windows.updates)

    # Training step.

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the loss of one window, read from the state after the previous window."""
        inputs = dict(inputs)
        reset, slot = inputs.pop("reset"), int(inputs.pop("slot")[0])
        if self._table is not None:
            if slot not in self._features:
                self._features[slot] = StatefulFeatures(self._table, len(reset))
            inputs["features"] = self._features[slot].read(inputs["input_ids"], reset)
        state = self._states.get(slot)
        if state is not None:
            inputs["past_key_values"] = state.detach().reset_rows(reset)
        loss, outputs = super().compute_loss(
            model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch
        )
        self._states[slot] = outputs.past_key_values.detach()
        return (loss, outputs) if return_outputs else loss

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Run forward and backward on one window.

        Raises:
            TrainingError: The loss is not finite.
        """
        loss = super().training_step(*args, **kwargs)
        if not torch.isfinite(loss):
            raise nonfinite_error(self.state.global_step + 1, self.args.learning_rate)
        return loss

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return 0: counting would iterate over all weights at every step."""
        return 0

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Create the optimizer, with one parameter group per part if their rates differ."""
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(*args, **kwargs)
        if is_new and not self._rates.is_uniform:
            optimizer.param_groups[:] = split_groups(
                optimizer.param_groups, self.network, self._rates, self.args.learning_rate
            )
        return optimizer

    # Evaluation.

    def averaged(self) -> AbstractContextManager[None]:
        """Apply the averaged weights inside the block, if there is an average."""
        return nullcontext() if self.average is None else self.average.applied()

    def evaluate(
        self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any
    ) -> dict[str, float]:
        """Return bits per note and per token of the held-out pieces, shared by all processes."""
        if not self._held_out_pieces:
            return {}
        with self.averaged():
            result = self._held_out_bits()
            metrics = {
                f"{metric_key_prefix}_bits_per_note": result.bits_per_note,
                f"{metric_key_prefix}_bits_per_token": result.bits_per_token,
            }
            self.log(metrics)
            self.control = self.callback_handler.on_evaluate(
                self.args, self.state, self.control, metrics
            )
        return metrics

    def _determine_best_metric(self, *args: Any, **kwargs: Any) -> bool:
        """Request a checkpoint of a new best model, so that it can be loaded at the end."""
        best = super()._determine_best_metric(*args, **kwargs)
        if best and self.args.load_best_model_at_end:
            self.control.should_save = True
        return best

    def _held_out_bits(self) -> HeldOutBits:
        world, rank = self.args.world_size, self.args.process_index
        with self.compute_loss_context_manager():
            own = measure_bits(self.network, self._tokenizer, self._held_out_pieces[rank::world])
        if world == 1:
            return own
        parts = torch.tensor(
            [own.bits, own.notes, own.tokens, own.pieces],
            dtype=torch.float64,
            device=self.args.device,
        )
        bits, notes, tokens, pieces = self.accelerator.reduce(parts, "sum").tolist()
        return HeldOutBits(bits, int(notes), int(tokens), int(pieces))

    # Checkpoints: everything that makes a resumed run equal an uninterrupted one.

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Write a checkpoint, then delete older ones.

        Raises:
            TrainingError: A weight is not finite, or the disk is full; no partial checkpoint is
                left.
        """
        step = self.state.global_step
        if not all(bool(torch.isfinite(p).all()) for p in self.network.parameters()):
            raise nonfinite_error(step, self.args.learning_rate, "network")
        run = Path(str(self.args.output_dir))
        folder = checkpoints.checkpoint_path(run, step)
        needed = self._checkpoint_bytes()
        try:
            with convert_disk_errors(folder, needed):
                self._write_checkpoint(folder, needed, *args, **kwargs)
        except BaseException:
            if self.args.should_save:
                checkpoints.remove(folder)
            raise

    def _write_checkpoint(self, folder: Path, needed: int, *args: Any, **kwargs: Any) -> None:
        if self.args.should_save:
            checkpoints.remove(folder)  # left by a killed session
            if free_bytes(folder) < needed:
                raise disk_full_error(folder, needed)
        self.accelerator.wait_for_everyone()
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(*args, **kwargs)
        finally:
            self.args.save_total_limit = limit
        if self.args.should_save:
            self._tokenizer.save(folder)
            self.timer.save(folder)
            if self.average is not None:
                self.average.save(folder)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            checkpoints.write_manifest(folder)
            checkpoints.rotate(folder.parent, limit, self.state.best_global_step)
        self.accelerator.wait_for_everyone()

    def _checkpoint_bytes(self) -> int:
        """Estimate the size: weights, two moments of the optimizer, the average, and 2 MB."""
        weights = sum(p.numel() * p.element_size() for p in self.network.parameters())
        return weights * (3 if self.average is None else 4) + 2_000_000

    def _save_rng_state(self, output_dir: str) -> None:  # called in every process
        super()._save_rng_state(output_dir)
        tensors: dict[str, Tensor] = {}
        for slot, state in self._states.items():
            tensors |= {f"{slot}.hidden": state.h, f"{slot}.cell": state.c}
        for slot, features in self._features.items():
            tensors[f"{slot}.tokens"], tensors[f"{slot}.counts"] = features.history()
        save_file(tensors, self._state_file(output_dir), {"layout": self._layout})

    def _load_rng_state(self, checkpoint: str | None) -> None:  # called in every process
        super()._load_rng_state(checkpoint)
        self._states.clear()
        self._features.clear()
        if checkpoint is None:
            return
        if self.average is not None:
            self.average.load(Path(checkpoint))
        path = self._state_file(checkpoint)
        if path.is_file():
            self._read_states(path)

    def _read_states(self, path: Path) -> None:
        """Read states and features by slot, unless they belong to another layout of windows."""
        with safe_open(path, framework="pt") as file:  # does not accept a device such as cpu:0
            if (file.metadata() or {}).get("layout") != self._layout:
                return
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for slot in {int(name.split(".")[0]) for name in found}:
            parts = (found[f"{slot}.{name}"].to(self.args.device) for name in ("hidden", "cell"))
            layers = [LSTMLayerState(*layer) for layer in zip(*parts, strict=True)]
            self._states[slot] = LSTMState(layers)
            if self._table is not None:
                self._features[slot] = StatefulFeatures.from_history(
                    self._table, found[f"{slot}.tokens"], found[f"{slot}.counts"]
                )

    @property
    def _layout(self) -> str:
        """Layout of the windows: in another layout, a row of the state belongs to another piece."""
        rows = self.args.per_device_train_batch_size
        return f"{rows} rows of {self.windows.steps} tokens, {len(self.windows)} windows"

    def _state_file(self, folder: str) -> Path:
        return Path(folder) / _STATE_FILE.format(rank=self.args.process_index)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Load the optimizer of a checkpoint, with the learning rate of the command line."""
        optimizer: Any = self.optimizer
        scheduler: Any = self.lr_scheduler
        rates = [group.get("initial_lr") for group in optimizer.param_groups]
        try:
            super()._load_optimizer_and_scheduler(checkpoint)
        except ValueError as error:
            raise CheckpointError(
                f"{Path(str(checkpoint)).name!r} was written with another optimizer or other "
                "parts; resume with the same --optim, --freeze, --layer_decay and "
                "--layer_learning_rates, or choose another --output_dir."
            ) from error
        for number, (group, rate) in enumerate(zip(optimizer.param_groups, rates, strict=True)):
            before = group.get("initial_lr")
            # The scheduler of the checkpoint would continue with the rate of the earlier session.
            if rate is not None and rate != before and hasattr(scheduler, "base_lrs"):
                group["lr"] = group["lr"] * rate / before if before else rate
                group["initial_lr"] = scheduler.base_lrs[number] = rate
                scheduler._last_lr[number] = group["lr"]  # shown in the log

    def _load_best_model(self) -> None:
        """Load the weights of the best checkpoint, and their average."""
        super()._load_best_model()
        if self.average is not None:
            self.average.load(Path(str(self.state.best_model_checkpoint)))

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Warn about missing weights, except tied ones, which are stored once."""
        tied = set(self.network.all_tied_weights_keys)
        if set(load_result.missing_keys) - tied or load_result.unexpected_keys:
            super()._issue_warnings_after_load(load_result)

    def use_checkpoint(self, checkpoint: Path) -> None:
        """Load weights, and their average, from a checkpoint of a run that has ended."""
        self._load_from_checkpoint(str(checkpoint))
        if self.average is not None:
            self.average.load(checkpoint)


class _AverageCallback(TrainerCallback):
    """Update the average of the weights after every step."""

    def __init__(self, average: WeightAverage) -> None:
        self._average = average

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._average.update()


class _SmoothedCrossEntropy:
    """Cross-entropy with label smoothing (Szegedy et al. 2016).

    Labels are those of `StatefulWindowDataset`, which are already the next tokens.
    """

    def __init__(self, smoothing: float) -> None:
        self._smoothing = smoothing

    def __call__(
        self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        summed = torch.nn.functional.cross_entropy(
            outputs.logits.float().flatten(0, 1),
            labels.flatten(),
            ignore_index=IGNORED,
            label_smoothing=self._smoothing,
            reduction="sum",
        )
        count = (labels != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        return summed / count
