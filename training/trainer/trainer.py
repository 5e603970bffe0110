"""The Trainer of transformers, with the state of the network carried from window to window.

It also adds step features, averaged weights, learning rates per part, checkpoints that count only
when they are complete, and a stop on SIGTERM or when the loss is no longer a number.
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
from training.errors import disk_in_plain_words, free_bytes, no_room, not_a_number
from training.evaluation.held_out import HeldOut, held_out
from training.trainer import checkpoints
from training.trainer.checkpoints import Stopwatch
from training.trainer.ema import WeightAverage
from training.trainer.param_groups import Rates, split_groups
from training.trainer.stopping import SigtermCallback

_STATE_FILE = "lstm_state_{rank}.safetensors"


class StatefulTrainer(Trainer):
    """Carries state and step features across windows, resets and saves them.

    The gradient stops at the window's edge (truncated back-propagation through time, Williams and
    Peng 1990). Evaluation reads whole pieces with a state of its own and reports bits per note.

    Attributes:
        network: The model, without what the Trainer wraps around it.
        windows: What it is trained on.
        average: The running average of its weights, which is evaluated and exported; or None.
        stopwatch: What the run took so far.
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
        rates: Rates | None = None,
        **kwargs: Any,
    ) -> None:
        """Like `Trainer`.

        Args:
            model: What to train.
            args: As the Trainer takes them.
            train_dataset: Windows in lanes.
            tokenizer: Saved with every checkpoint.
            held_out_pieces: Token ids of pieces that every evaluation reads.
            ema_decay: Of the running average of the weights, below 1; 0: none.
            rates: Learning rates of parts; None: all alike.
            **kwargs: As the Trainer takes them.
        """
        if args.label_smoothing_factor:
            # The Trainer's own smoother shifts labels or not by the name of the model's class.
            kwargs["compute_loss_func"] = _Smoothed(args.label_smoothing_factor)
        super().__init__(
            model,
            args,
            train_dataset=train_dataset,
            eval_dataset=list(held_out_pieces) or None,
            **kwargs,
        )
        self.network, self.windows = model, train_dataset
        self.average = WeightAverage(model, ema_decay) if ema_decay else None
        self.stopwatch = Stopwatch()
        self._rates = rates or Rates()
        self._tokenizer, self._held_out_pieces = tokenizer, held_out_pieces
        self._table = table_of(model)
        self._states: dict[int, LSTMState] = {}
        self._features: dict[int, StatefulFeatures] = {}  # both by slot
        if self.average is not None:
            self.add_callback(_AverageEveryStep(self.average))
        self._stop = SigtermCallback(self._in_any_process)
        self.add_callback(self._stop)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Like `Trainer`.

        Raises:
            StoppedError: SIGTERM came, and a checkpoint was written.
        """
        with self._stop.listening():
            return super().train(*args, **kwargs)

    def _in_any_process(self, yes: bool) -> bool:
        if self.args.world_size == 1:
            return yes
        told = torch.tensor(float(yes), device=self.args.device)
        return bool(self.accelerator.reduce(told, "sum").item())

    @property
    def last_step(self) -> int:
        """The step after which the run has ended, unless it stops early."""
        if self.args.max_steps > 0:
            return int(self.args.max_steps)
        return math.ceil(self.args.num_train_epochs * self.windows.updates)

    # One step.

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the loss of one window, read from the state after the window before it."""
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
        """One window, forth and back.

        Raises:
            TrainingError: Its loss is not a number.
        """
        loss = super().training_step(*args, **kwargs)
        if not torch.isfinite(loss):
            raise not_a_number(self.state.global_step + 1, self.args.learning_rate)
        return loss

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: the walk over all weights would be repeated at every step."""
        return 0

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """The optimizer of the arguments, with a learning rate for every part."""
        fresh = self.optimizer is None
        optimizer = super().create_optimizer(*args, **kwargs)
        if fresh and not self._rates.plain:
            optimizer.param_groups[:] = split_groups(
                optimizer.param_groups, self.network, self._rates, self.args.learning_rate
            )
        return optimizer

    # Evaluation.

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the network has its averaged weights, where there are such."""
        return nullcontext() if self.average is None else self.average.applied()

    def evaluate(
        self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any
    ) -> dict[str, float]:
        """Bits per note and per token on the held-out pieces; every process reads its share."""
        if not self._held_out_pieces:
            return {}
        with self.averaged():
            result = self._held_out()
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
        """Save where it was never better: best weights that lie nowhere cannot be taken."""
        best = super()._determine_best_metric(*args, **kwargs)
        if best and self.args.load_best_model_at_end:
            self.control.should_save = True
        return best

    def _held_out(self) -> HeldOut:
        world, rank = self.args.world_size, self.args.process_index
        with self.compute_loss_context_manager():
            own = held_out(self.network, self._tokenizer, self._held_out_pieces[rank::world])
        if world == 1:
            return own
        parts = torch.tensor(
            [own.bits, own.notes, own.tokens, own.pieces],
            dtype=torch.float64,
            device=self.args.device,
        )
        bits, notes, tokens, pieces = self.accelerator.reduce(parts, "sum").tolist()
        return HeldOut(bits, int(notes), int(tokens), int(pieces))

    # A checkpoint: everything that a resumed run needs to equal an uninterrupted one.

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Write a checkpoint, and only when it is whole let older ones go.

        Raises:
            TrainingError: The weights are no numbers any more, or the disk is full; what was
                written is taken away again.
        """
        step = self.state.global_step
        if not all(bool(torch.isfinite(p).all()) for p in self.network.parameters()):
            raise not_a_number(step, self.args.learning_rate, "network")
        run = Path(str(self.args.output_dir))
        folder = checkpoints.place_for(run, step)
        needed = self._bytes_of_a_checkpoint()
        try:
            with disk_in_plain_words(folder, needed):
                self._write_checkpoint(folder, needed, *args, **kwargs)
        except BaseException:
            if self.args.should_save:
                checkpoints.remove(folder)
            raise

    def _write_checkpoint(self, folder: Path, needed: int, *args: Any, **kwargs: Any) -> None:
        if self.args.should_save:
            checkpoints.remove(folder)  # what a killed session left there
            if free_bytes(folder) < needed:
                raise no_room(folder, needed)
        self.accelerator.wait_for_everyone()
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(*args, **kwargs)
        finally:
            self.args.save_total_limit = limit
        if self.args.should_save:
            self._tokenizer.save(folder)
            self.stopwatch.save(folder)
            if self.average is not None:
                self.average.save(folder)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            checkpoints.write_manifest(folder)
            checkpoints.rotate(folder.parent, limit, self.state.best_global_step)
        self.accelerator.wait_for_everyone()

    def _bytes_of_a_checkpoint(self) -> int:
        """About: weights, two moments of the optimizer, the average, and small change."""
        weights = sum(p.numel() * p.element_size() for p in self.network.parameters())
        return weights * (3 if self.average is None else 4) + 2_000_000

    def _save_rng_state(self, output_dir: str) -> None:  # once a save, in every process
        super()._save_rng_state(output_dir)
        tensors: dict[str, Tensor] = {}
        for slot, state in self._states.items():
            tensors |= {f"{slot}.hidden": state.h, f"{slot}.cell": state.c}
        for slot, features in self._features.items():
            tensors[f"{slot}.tokens"], tensors[f"{slot}.counts"] = features.history()
        save_file(tensors, self._state_file(output_dir), {"layout": self._layout})

    def _load_rng_state(self, checkpoint: str | None) -> None:  # once a resume, in every process
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
        """Read states and features by slot; none where they belong to other windows."""
        with safe_open(path, framework="pt") as file:  # it knows no device such as cpu:0
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
        """The windows that the state belongs to; in others it would be that of another piece."""
        rows = self.args.per_device_train_batch_size
        return f"{rows} rows of {self.windows.steps} tokens, {len(self.windows)} windows"

    def _state_file(self, folder: str) -> Path:
        return Path(folder) / _STATE_FILE.format(rank=self.args.process_index)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Go on with the optimizer of a checkpoint, at the learning rate of the command line."""
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
            # The scheduler of the checkpoint would go on with the rate of the earlier session.
            if rate is not None and rate != before and hasattr(scheduler, "base_lrs"):
                group["lr"] = group["lr"] * rate / before if before else rate
                group["initial_lr"] = scheduler.base_lrs[number] = rate
                scheduler._last_lr[number] = group["lr"]  # what the log tells

    def _load_best_model(self) -> None:
        """The weights of the best checkpoint; its average, where there is one."""
        super()._load_best_model()
        if self.average is not None:
            self.average.load(Path(str(self.state.best_model_checkpoint)))

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Silent about tied weights, which are stored once."""
        tied = set(self.network.all_tied_weights_keys)
        if set(load_result.missing_keys) - tied or load_result.unexpected_keys:
            super()._issue_warnings_after_load(load_result)

    def use_checkpoint(self, checkpoint: Path) -> None:
        """Take weights, and their average, from a checkpoint of a run that has ended."""
        self._load_from_checkpoint(str(checkpoint))
        if self.average is not None:
            self.average.load(checkpoint)


class _AverageEveryStep(TrainerCallback):
    """Lets the average follow."""

    def __init__(self, average: WeightAverage) -> None:
        self._average = average

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._average.update()


class _Smoothed:
    """Cross-entropy with a share of each target spread over the vocabulary (Szegedy et al. 2016).

    Labels are those of `StatefulWindowDataset`, already the next tokens.
    """

    def __init__(self, share: float) -> None:
        self._share = share

    def __call__(
        self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        summed = torch.nn.functional.cross_entropy(
            outputs.logits.float().flatten(0, 1),
            labels.flatten(),
            ignore_index=IGNORED,
            label_smoothing=self._share,
            reduction="sum",
        )
        count = (labels != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        return summed / count
