"""Pre-training run: training loop, evaluation and checkpoints.

Checkpoints, `checkpoint-STEP` in the folder of the run, contain safetensors and JSON files; the
last two are kept. The network state is carried from window to window.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from musiclstm.model import FeatureArrays, LSTMState, MusicLSTMForCausalLM, TokenTable
from training.data.augmentation import IGNORED, Augmentation, AugmentationSettings
from training.data.band_arrangement import DrumGrooves
from training.data.features import feature_rows, on_device
from training.environment import environment
from training.errors import TrainingError
from training.evaluation.bits_per_note import bits_per_note
from training.networks import config_for, load_network, set_dropout
from training.pretraining.corpora import CORPUS_WEIGHTS, EncodedCorpora, evaluation_sets
from training.pretraining.progress import (
    PROGRESS_FILE,
    load_optimizer,
    read_progress,
    save_optimizer,
    sessions_of,
)
from training.pretraining.settings import PretrainingSettings
from training.pretraining.streams import PieceStreams, WindowBatch
from training.trainer.checkpoints import (
    checkpoint_path,
    find_valid,
    rotate,
    write_manifest,
    write_record,
)

_print = partial(print, flush=True)  # a log file is up to date
_EVALUATED_PIECES = 40  # of each set
_SHAPE_FIELDS = ("hidden_size", "num_hidden_layers")  # a checkpoint determines them


class PretrainingRun:
    """A training run: network, optimizer, data, and the folder of its checkpoints.

    Attributes:
        uses_features: Whether the step features of every batch are computed.
    """

    uses_features = True

    def __init__(
        self,
        corpora: EncodedCorpora,
        settings: PretrainingSettings,
        augmentation: AugmentationSettings,
        out: Path,
        device: str,
        resume: Path | None = None,
    ) -> None:
        """Create a network, or load that of a checkpoint with its progress, if it has any.

        Args:
            corpora: Training and validation pieces.
            settings: Settings of the session.
            augmentation: Augmentation of the training pieces.
            out: Folder of the checkpoints.
            device: Torch device.
            resume: A checkpoint, or the folder of a run, whose latest valid checkpoint is used.

        Raises:
            CheckpointError: `resume` is incomplete, cannot be read, or was trained with other
                tokens.
        """
        self.corpora, self.settings, self.out = corpora, settings, out
        self.device = torch.device(device)
        self.table = TokenTable(corpora.token_names)
        torch.manual_seed(settings.seed)
        if resume is None:
            self.model = self.new_model()
        else:
            resume = find_valid(resume, _print)
            self.model = load_network(resume, corpora.token_names, corpora.fingerprint)
            set_dropout(self.model, settings.dropout)
            shape = {name: getattr(self.model.config, name) for name in _SHAPE_FIELDS}
            self.settings = replace(settings, **shape)
        torch.nn.Module.to(self.model, self.device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=0.01
        )
        self.step, self.tokens, self.minutes = 0, 0, 0.0
        self.augmentation = augmentation
        self.state: LSTMState | None = None
        self.log: list[dict[str, Any]] = []
        self._earlier_sessions: list[dict[str, Any]] = []
        self._resumed_from = "scratch" if resume is None else resume.name
        if resume is not None:
            self._load_progress(resume)
        self._session_start = self.step, self.tokens, self.minutes

    def new_model(self) -> MusicLSTMForCausalLM:
        """Create a network with random weights from the current state of the torch generator."""
        shape = {name: getattr(self.settings, name) for name in _SHAPE_FIELDS}
        names, fingerprint = self.corpora.token_names, self.corpora.fingerprint
        return MusicLSTMForCausalLM(
            config_for(names, fingerprint, dropout=self.settings.dropout, **shape)
        )

    def _load_progress(self, checkpoint: Path) -> None:
        progress = read_progress(checkpoint)
        if progress is None:
            return
        self.step, self.tokens, self.log = progress["step"], progress["tokens"], progress["log"]
        self.minutes = progress["minutes"]
        self._earlier_sessions = sessions_of(progress)
        load_optimizer(self.optimizer, checkpoint)

    # Training.

    def train(self, *, save_every: float, evaluate_every: float, print_every: int = 100) -> None:
        """Train until the limit of the session.

        Args:
            save_every: Minutes between checkpoints; 0: none.
            evaluate_every: Minutes between evaluations; 0: none.
            print_every: Steps between lines of output.
        """
        batches = self._batches()
        start = self._seconds()
        last_save = last_evaluation = 0.0
        first_step, first_tokens, first_minutes = self.step, self.tokens, self.minutes
        losses: list[Tensor] = []
        self.model.train()
        while True:
            elapsed = (self._seconds() - start) / 60
            self.minutes = first_minutes + elapsed
            completed = self.settings.completed(self.step - first_step, elapsed)
            if completed >= 1:
                break
            learning_rate = self.settings.learning_rate_at(self.step, completed)
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate
            batch, arrays = next(batches)
            losses.append(self.train_on(batch, arrays))
            self.step += 1
            self.tokens += int((batch.labels != IGNORED).sum())
            if self.step % print_every == 0:
                bits = float(torch.stack(losses).mean()) / math.log(2)
                speed = (self.tokens - first_tokens) / (60 * elapsed + 1e-9)
                _print(
                    f"step {self.step} {self.tokens:,} tokens {bits:.3f} bits per token, "
                    f"{speed:,.0f} tokens/s, rate {learning_rate:.2e}"
                )
                losses.clear()
            if save_every and elapsed - last_save >= save_every:
                last_save = elapsed
                self.save()
            if evaluate_every and elapsed - last_evaluation >= evaluate_every:
                last_evaluation = elapsed
                self.evaluate()

    def train_on(self, batch: WindowBatch, arrays: FeatureArrays | None) -> Tensor:
        """Do one optimizer step; return the mean loss of the labels in nats."""
        features = None if arrays is None else on_device(arrays, self.device)
        if self.state is not None:
            reset = torch.from_numpy(batch.reset).to(self.device)
            self.state = self.state.detach().reset_rows(reset)
        labels = torch.from_numpy(batch.labels).long().to(self.device)
        with torch.autocast("cuda", torch.bfloat16, enabled=self.device.type == "cuda"):
            output = self.model(
                torch.from_numpy(batch.inputs).long().to(self.device),
                features=features,
                past_key_values=self.state,
                use_cache=True,
            )
        self.state = output.past_key_values
        loss = torch.nn.functional.cross_entropy(
            output.logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        self.optimizer.step()
        return loss.detach()

    def _seconds(self) -> float:
        """Return seconds: processor time on a CPU, so that other processes do not count."""
        return time.process_time() if self.device.type == "cpu" else time.monotonic()

    def _batches(self) -> Iterator[tuple[WindowBatch, FeatureArrays | None]]:
        """Yield batches with their step features; for a GPU, a thread prepares the next one."""
        streams, rows = self.streams(), feature_rows(self.table, self.settings.rows)

        def prepare() -> tuple[WindowBatch, FeatureArrays | None]:
            batch = streams.next()
            return batch, rows.read(batch.inputs, batch.reset) if self.uses_features else None

        if self.device.type == "cpu":
            while True:
                yield prepare()
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(prepare)
            while True:
                ready, future = future.result(), pool.submit(prepare)
                yield ready

    def streams(self) -> PieceStreams:
        """Return the training batches; after a resume they draw pieces in another order."""
        corpora, settings = self.corpora, self.settings
        bos, eos, pad = (corpora.special_id(name) for name in ("BOS", "EOS", "PAD"))
        return PieceStreams(
            corpora,
            [CORPUS_WEIGHTS.get(name, 1.0) for name in corpora.corpora],
            Augmentation(self.table, bos, eos, self.augmentation, self._grooves()),
            rows=settings.rows,
            steps=settings.steps,
            bar_id=self.table.bar,
            pad_id=pad,
            seed=settings.seed + 1_000_003 * self.step,
        )

    def _grooves(self) -> DrumGrooves | None:
        if "groove-drums" not in self.corpora.corpora:
            return None
        pieces = self.corpora.pieces_of("train", ["groove-drums"])
        return DrumGrooves((self.corpora.piece(i) for i in pieces), self.table)

    def evaluate(self) -> None:
        """Print and log bits per note of validation pieces."""
        for name, pieces in evaluation_sets(self.corpora, "valid", _EVALUATED_PIECES).items():
            result = bits_per_note(self.model, self.corpora, pieces)
            self.log.append({"step": self.step, "tokens": self.tokens, "set": name, **result})
            figures = ", ".join(f"{kind} {bits:.3f}" for kind, bits in result.items())
            _print(f"step {self.step} valid {name}: {figures}")

    # Checkpoints.

    def save(self) -> None:
        """Write a checkpoint: weights, optimizer moments, progress, and last the manifest.

        Raises:
            TrainingError: A weight is nan or infinite.
        """
        if not all(bool(torch.isfinite(weight).all()) for weight in self.model.parameters()):
            raise TrainingError(
                f"The weights are nan or infinite at step {self.step:,}; --resume from the last "
                f"checkpoint with a lower --learning_rate (it is {self.settings.learning_rate:g})."
            )
        folder = checkpoint_path(self.out, self.step)
        self.model.save_pretrained(folder)
        save_optimizer(self.optimizer, folder)
        progress = {
            "step": self.step,
            "tokens": self.tokens,
            "minutes": round(self.minutes, 1),
            "sessions": [*self._earlier_sessions, self._session_record()],
            "corpora": self.corpora.counts(CORPUS_WEIGHTS),
            "log": self.log,
        }
        write_record(folder / PROGRESS_FILE, progress)
        write_manifest(folder)
        rotate(self.out, 2, self.step)

    def _session_record(self) -> dict[str, Any]:
        step, tokens, minutes = self._session_start
        return {
            "from": self._resumed_from,
            "first_step": step,
            "steps": self.step - step,
            "tokens": self.tokens - tokens,
            "minutes": round(self.minutes - minutes, 1),
            "settings": asdict(self.settings),
            "augmentation": asdict(self.augmentation),
            "device": str(self.device),
            **environment(),
        }
