"""Train a network from token arrays: `python -m training.pretrain`.

Reads the file that `training.prepare` writes and needs neither MidiTok nor symusic, so it also runs
where only torch and transformers are installed. The learning rate is constant after a warm-up;
`--decay` lets it fall to 0 at the end of a session, which can start from any checkpoint (warm-up,
stable, decay: Hu et al. 2024, arXiv 2404.06395). A session is one call of this command: limits and
learning rate are its own and begin again with `--resume`. The state of the network is carried from
window to window. Checkpoints, `checkpoint-STEP` in the folder of the run, hold safetensors and
JSON; the last two are kept. A resumed run draws its pieces in another order.
"""

from __future__ import annotations

import argparse
import inspect
import math
import re
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers.utils import logging

from musiclstm.errors import CheckpointError, CorpusError, MusicLSTMError
from musiclstm.model import FeatureArrays, LSTMState, MusicLSTMForCausalLM, TokenTable
from training.data.features import feature_rows, on_device
from training.environment import environment
from training.errors import TrainingError, is_full_disk
from training.evaluation.bits_per_note import bits_per_note
from training.pretraining.augmentation import IGNORED, Augmentation, AugmentationSettings
from training.pretraining.band_arrangement import Grooves
from training.pretraining.default_corpora import CORPUS_WEIGHTS, held_out_sets
from training.pretraining.encoded_corpora import EncodedCorpora
from training.pretraining.networks import config_for, load_network, set_dropout
from training.pretraining.progress import (
    PROGRESS_FILE,
    corpora_record,
    load_moments,
    read_progress,
    save_moments,
    sessions_of,
)
from training.pretraining.streams import Batch, PieceStreams
from training.trainer.checkpoints import (
    checkpoints,
    find_whole,
    place_for,
    remove,
    rotate,
    step_of,
    validation_error,
    write_manifest,
    write_record,
)

_MEASURED_PIECES = 40  # of each set, while training
_SHAPE = ("hidden_size", "num_hidden_layers")  # settings that a checkpoint decides
# What `EncodedCorpora.load` raises for another file, or a part of one.
_NO_CORPORA = (BadZipFile, EOFError, KeyError, TypeError, ValueError, zlib.error)


@dataclass(frozen=True)
class PretrainingSettings:
    """Everything that decides a session.

    Args:
        hidden_size: Width of a new network; a resumed one keeps its own.
        num_hidden_layers: LSTM layers of a new network; a resumed one keeps its own.
        dropout: Share of values set to 0 while training, 0 to below 1.
        rows: Rows of a batch.
        steps: Tokens of a row.
        learning_rate: Rate of the stable phase.
        warmup: Steps until the rate is reached, 1 or more.
        decay: Share of this session, at its end, over which the rate falls to 0; 0 to 1.
        minutes: Limit of this session, of processor time or time on the GPU; 0: none.
        max_steps: Limit of this session; 0: none.
        clip: Largest norm of the gradient.
        seed: Seed of weights, pieces and augmentation.

    Raises:
        ValueError: A value is out of range, or `decay` is above 0 without a limit.
    """

    hidden_size: int = 384
    num_hidden_layers: int = 3
    dropout: float = 0.0  # a run reads every piece less than once
    rows: int = 16
    steps: int = 128
    learning_rate: float = 3e-3
    warmup: int = 100
    decay: float = 0.0
    minutes: float = 0.0
    max_steps: int = 0
    clip: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("hidden_size", "num_hidden_layers", "rows", "steps", "warmup"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} must be 1 or more, got {getattr(self, name)}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"--dropout must be from 0 to below 1, got {self.dropout:g}.")
        if not 0 <= self.decay <= 1:
            raise ValueError(f"--decay is a share of the run, 0 to 1, got {self.decay:g}.")
        if self.decay and not (self.minutes or self.max_steps):
            raise ValueError("--decay needs the end of the run: give --minutes or --max_steps.")

    @property
    def schedule(self) -> str:
        """Course of the learning rate after the warm-up, in words."""
        if self.decay == 1:
            return "linear to 0"
        return "constant, then linear to 0" if self.decay else "constant"

    def share_done(self, steps: int, minutes: float) -> float:
        """Return the share of the session that is over; 1 or more: it ends. 0 without a limit."""
        return max(
            minutes / self.minutes if self.minutes else 0.0,
            steps / self.max_steps if self.max_steps else 0.0,
        )


class PretrainingRun:
    """One training run: network, optimizer, data, and the folder where its checkpoints go.

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
        """Build the network, or read that of a checkpoint, with its progress where it has any.

        Args:
            corpora: What is trained on and measured.
            settings: Of the run.
            augmentation: Of the pieces.
            out: Folder of the checkpoints.
            device: As torch calls it.
            resume: A checkpoint, or the folder of a run: its newest whole checkpoint.

        Raises:
            CheckpointError: `resume` is not whole, cannot be read or was trained with other tokens.
        """
        self.corpora, self.settings, self.out = corpora, settings, out
        self.device = torch.device(device)
        self.table = TokenTable(corpora.token_names)
        torch.manual_seed(settings.seed)
        if resume is None:
            self.model = self.new_model()
        else:
            resume = find_whole(resume, _say)
            self.model = load_network(resume, corpora.token_names, corpora.fingerprint)
            set_dropout(self.model, settings.dropout)
            self.settings = replace(settings, **{n: getattr(self.model.config, n) for n in _SHAPE})
        torch.nn.Module.to(self.model, self.device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=0.01
        )
        self.step, self.tokens, self.minutes = 0, 0, 0.0
        self.augmentation = augmentation
        self.state: LSTMState | None = None
        self.log: list[dict[str, Any]] = []
        self._sessions: list[dict[str, Any]] = []
        self._from = "scratch" if resume is None else resume.name
        if resume is not None:
            self._resume(resume)
        self._begin = self.step, self.tokens, self.minutes

    def new_model(self) -> MusicLSTMForCausalLM:
        """Build the network, its weights by the random numbers of torch as they stand."""
        shape = {name: getattr(self.settings, name) for name in _SHAPE}
        names, fingerprint = self.corpora.token_names, self.corpora.fingerprint
        return MusicLSTMForCausalLM(
            config_for(names, fingerprint, dropout=self.settings.dropout, **shape)
        )

    def streams(self) -> PieceStreams:
        """The batches of this run; another order after every resume."""
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

    def _grooves(self) -> Grooves | None:
        if "groove-drums" not in self.corpora.corpora:
            return None
        pieces = self.corpora.pieces_of("train", ["groove-drums"])
        return Grooves((self.corpora.piece(i) for i in pieces), self.table)

    def rate(self, remaining: float) -> float:
        """Learning rate now; `remaining` is the share of the decay that is still to come, or 1."""
        warm = min(1.0, (self.step + 1) / self.settings.warmup)
        return self.settings.learning_rate * warm * remaining

    def train_on(self, batch: Batch, arrays: FeatureArrays | None) -> Tensor:
        """Update once; return the mean loss of the labels in nats."""
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

    def train(self, *, save_every: float, evaluate_every: float, print_every: int = 100) -> None:
        """Train until the limit; save and evaluate on the way (times in minutes)."""
        settings = self.settings
        batches = self._batches()
        begin = self._clock()
        saved = measured = 0.0
        first_step, first_tokens, first_minutes = self.step, self.tokens, self.minutes
        losses: list[Tensor] = []
        self.model.train()
        while True:
            elapsed = (self._clock() - begin) / 60
            self.minutes = first_minutes + elapsed
            done = settings.share_done(self.step - first_step, elapsed)
            if done >= 1:
                break
            rate = self.rate(min(1.0, (1 - done) / settings.decay) if settings.decay else 1.0)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            batch, features = next(batches)
            losses.append(self.train_on(batch, features))
            self.step += 1
            self.tokens += int((batch.labels != IGNORED).sum())
            if self.step % print_every == 0:
                bits = float(torch.stack(losses).mean()) / math.log(2)
                speed = (self.tokens - first_tokens) / (60 * elapsed + 1e-9)
                _say(
                    f"step {self.step} {self.tokens:,} tokens {bits:.3f} bits per token, "
                    f"{speed:,.0f} tokens/s, rate {rate:.2e}"
                )
                losses.clear()
            if save_every and elapsed - saved >= save_every:
                saved = elapsed
                self.save()
            if evaluate_every and elapsed - measured >= evaluate_every:
                measured = elapsed
                self.evaluate()

    def _clock(self) -> float:
        """Seconds: of processor time on a CPU, which other work does not slow, else of a clock."""
        return time.process_time() if self.device.type == "cpu" else time.monotonic()

    def _batches(self) -> Iterator[tuple[Batch, FeatureArrays | None]]:
        """Batches with their step features, one ahead in a thread where a GPU computes."""
        streams, readers = self.streams(), feature_rows(self.table, self.settings.rows)

        def draw() -> tuple[Batch, FeatureArrays | None]:
            batch = streams.next()
            arrays = readers.read(batch.inputs, batch.reset) if self.uses_features else None
            return batch, arrays

        if self.device.type == "cpu":
            while True:
                yield draw()
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(draw)
            while True:
                ready, ahead = ahead.result(), pool.submit(draw)
                yield ready

    def evaluate(self) -> None:
        """Print and log bits per note of validation pieces."""
        for name, chosen in held_out_sets(self.corpora, "valid", _MEASURED_PIECES).items():
            found = bits_per_note(self.model, self.corpora, chosen)
            self.log.append({"step": self.step, "tokens": self.tokens, "set": name, **found})
            figures = ", ".join(f"{kind} {bits:.3f}" for kind, bits in found.items())
            _say(f"step {self.step} valid {name}: {figures}")

    def save(self) -> None:
        """Write a checkpoint: weights, moments of the optimizer, progress; a manifest last.

        Raises:
            TrainingError: A weight is nan or infinite.
        """
        if not all(bool(torch.isfinite(weight).all()) for weight in self.model.parameters()):
            raise TrainingError(
                f"The network is no longer a number at step {self.step:,}; --resume from the last "
                f"checkpoint with a lower --learning_rate (it is {self.settings.learning_rate:g})."
            )
        folder = place_for(self.out, self.step)
        self.model.save_pretrained(folder)
        save_moments(self.optimizer, folder)
        progress = {
            "step": self.step,
            "tokens": self.tokens,
            "minutes": round(self.minutes, 1),
            "sessions": [*self._sessions, self._session()],
            "corpora": corpora_record(self.corpora, CORPUS_WEIGHTS),
            "log": self.log,
        }
        write_record(folder / PROGRESS_FILE, progress)
        write_manifest(folder)
        rotate(self.out, 2, self.step)

    def _session(self) -> dict[str, Any]:
        step, tokens, minutes = self._begin
        return {
            "from": self._from,
            "first_step": step,
            "steps": self.step - step,
            "tokens": self.tokens - tokens,
            "minutes": round(self.minutes - minutes, 1),
            "settings": asdict(self.settings),
            "augmentation": asdict(self.augmentation),
            "device": str(self.device),
            **environment(),
        }

    def _resume(self, folder: Path) -> None:
        """Take progress and moments of the optimizer from a checkpoint that has them."""
        progress = read_progress(folder)
        if progress is None:
            return
        self.step, self.tokens, self.log = progress["step"], progress["tokens"], progress["log"]
        self.minutes = progress["minutes"]
        self._sessions = sessions_of(progress)
        load_moments(self.optimizer, folder)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.pretrain", description=__doc__)
    parser.add_argument("--tokens", type=Path, required=True, help="file of training.prepare")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints")
    parser.add_argument("--resume", type=Path, help="checkpoint, or run, to resume from")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save_every", type=float, default=10, help="minutes (default: 10)")
    parser.add_argument(
        "--evaluate_every", type=float, default=0, help="minutes; 0: at the end only"
    )
    for group in (PretrainingSettings(), AugmentationSettings()):
        _add_options(parser, group)
    options = vars(parser.parse_args(argv))
    try:
        _train(options)
    except (MusicLSTMError, OSError, SafetensorError, ValueError) as error:
        full = is_full_disk(error, options["out"], 0)
        reason = "The disk is full; make room and --resume from the last checkpoint."
        sys.stderr.write(f"error: {reason if full else error}\n")
        return 1
    return 0


def _add_options(
    parser: argparse.ArgumentParser, defaults: PretrainingSettings | AugmentationSettings
) -> None:
    """Add an option for each field; its help is the line of the docstring."""
    lines = dict(re.findall(r"^    (\w+): (.+)$", inspect.getdoc(defaults) or "", re.MULTILINE))
    for name, default in asdict(defaults).items():
        text = f"{lines.get(name, '')} (default: {default})"
        parser.add_argument(f"--{name}", type=type(default), default=default, help=text)


def _read_corpora(path: Path) -> EncodedCorpora:
    try:
        with ZipFile(path):  # np.load leaves a damaged file open
            return EncodedCorpora.load(path)
    except _NO_CORPORA as error:
        raise CorpusError(
            f"{str(path)!r} is damaged, or no file of training.prepare; write it again."
        ) from error


def _train(options: dict[str, Any]) -> None:
    settings = PretrainingSettings(
        **{name: options[name] for name in asdict(PretrainingSettings())}
    )
    augmentation = AugmentationSettings(
        **{name: options[name] for name in asdict(AugmentationSettings())}
    )
    torch.set_num_threads(options["threads"])
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    corpora, out = _read_corpora(options["tokens"]), options["out"]
    out.mkdir(parents=True, exist_ok=True)
    run = PretrainingRun(corpora, settings, augmentation, out, options["device"], options["resume"])
    _clear_after(out, run.step)
    count = sum(p.numel() for p in run.model.parameters())
    _say(f"{count:,} weights, {run.settings}")
    run.train(save_every=options["save_every"], evaluate_every=options["evaluate_every"])
    run.evaluate()
    run.save()


def _clear_after(out: Path, step: int) -> None:
    """Remove damaged checkpoints after a step.

    Raises:
        CheckpointError: There is a whole one.
    """
    later = {path: validation_error(path) for path in checkpoints(out) if step_of(path) > step}
    if None in later.values():
        raise CheckpointError(
            f"{str(out)!r} holds checkpoints after step {step:,}; name another folder after "
            "--out, or this one after --resume."
        )
    for path in later:
        remove(path)


if __name__ == "__main__":
    sys.exit(main())
