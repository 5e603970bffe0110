"""The Trainer of transformers, with the state of the network carried from window to window."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Trainer, TrainingArguments

from musiclstm.modeling import LSTMState, MusicLSTMForCausalLM
from musiclstm.tokenization import MusicTokenizer
from training.metrics import held_out
from training.windows import Windows

_STATE_FILE = "lstm_state_{rank}.safetensors"
_STATE_PARTS = ("hidden", "cell", "memory", "filled")


class StatefulTrainer(Trainer):
    """Carries the state across windows, forgets it where a piece begins, saves it for resuming.

    The gradient stops at the window's edge (truncated back-propagation through time, Williams and
    Peng 1990). Evaluation reads whole pieces with a state of its own and reports bits per note.

    Attributes:
        network: The model, without what the Trainer wraps around it.
        windows: What it is trained on.
    """

    def __init__(
        self,
        model: MusicLSTMForCausalLM,
        args: TrainingArguments,
        train_dataset: Windows,
        *,
        tokenizer: MusicTokenizer,
        held_out_pieces: Sequence[np.ndarray] = (),
        **kwargs: Any,
    ) -> None:
        """Like `Trainer`; `held_out_pieces` are unmerged ids, read whole at every evaluation."""
        super().__init__(
            model,
            args,
            train_dataset=train_dataset,
            eval_dataset=list(held_out_pieces) or None,
            **kwargs,
        )
        self.network, self.windows = model, train_dataset
        self._tokenizer, self._held_out_pieces = tokenizer, held_out_pieces
        self._states: dict[int, LSTMState] = {}

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Loss of one window, read from the state in which the window before it ended."""
        inputs = dict(inputs)
        reset, slot = inputs.pop("reset"), int(inputs.pop("slot")[0])
        state = self._states.get(slot)
        if state is not None:
            inputs["past_key_values"] = state.detached().reset_rows(reset)
        loss, outputs = super().compute_loss(
            model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch
        )
        self._states[slot] = outputs.past_key_values.detached()
        return (loss, outputs) if return_outputs else loss

    def evaluate(
        self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any
    ) -> dict[str, float]:
        """Bits per note and per token on the held-out pieces."""
        if not self._held_out_pieces:
            return {}
        with self.compute_loss_context_manager():
            result = held_out(self.network, self._tokenizer, self._held_out_pieces)
        metrics = {
            f"{metric_key_prefix}_bits_per_note": result.bits_per_note,
            f"{metric_key_prefix}_bits_per_token": result.bits_per_token,
        }
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    # A checkpoint holds the state too, so that a resumed run equals an uninterrupted one. These two
    # run in every process, once a save and once a resume.

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        tensors = {
            f"{slot}.{name}": getattr(state, name).contiguous()
            for slot, state in self._states.items()
            for name in _STATE_PARTS
        }
        save_file(tensors, self._state_file(output_dir))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        super()._load_rng_state(checkpoint)
        if checkpoint is None or not self._state_file(checkpoint).is_file():
            return
        tensors = load_file(self._state_file(checkpoint), device=str(self.args.device))
        for slot in {int(name.split(".")[0]) for name in tensors}:
            hidden, cell, memory, filled = (tensors[f"{slot}.{name}"] for name in _STATE_PARTS)
            self._states[slot] = LSTMState(hidden, cell, memory, filled)

    def _state_file(self, folder: str) -> Path:
        return Path(folder) / _STATE_FILE.format(rank=self.args.process_index)
