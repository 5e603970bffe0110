"""Train a network from token arrays: `python -m training.pretrain`.

Reads the file that `training.prepare` writes. MidiTok and symusic are not needed. The learning rate
is constant after a warm-up; with `--decay` it falls to 0 at the end of the session (warm-up,
stable, decay: Hu et al. 2024, arXiv 2404.06395). A session is one call of this command: limits and
learning rate start again with `--resume`, and pieces are drawn in another order.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from safetensors import SafetensorError
from transformers.utils import logging

from musiclstm.cli import run_command
from musiclstm.errors import CheckpointError, CorpusError, MusicLSTMError
from training.data.augmentation import AugmentationSettings
from training.errors import is_full_disk
from training.pretraining.corpora import EncodedCorpora
from training.pretraining.run import PretrainingRun
from training.pretraining.settings import PretrainingSettings
from training.trainer.checkpoints import checkpoints, remove, step_of, validation_error

# What `EncodedCorpora.load` raises for another file, or a truncated one.
_LOAD_ERRORS = (BadZipFile, EOFError, KeyError, TypeError, ValueError, zlib.error)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return the exit status."""
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
    except BrokenPipeError:
        raise
    except (MusicLSTMError, OSError, SafetensorError, ValueError) as error:
        full = is_full_disk(error, options["out"], 0)
        reason = "The disk is full; free some space and --resume from the last checkpoint."
        sys.stderr.write(f"error: {reason if full else error}\n")
        return 1
    return 0


def _add_options(
    parser: argparse.ArgumentParser, defaults: PretrainingSettings | AugmentationSettings
) -> None:
    """Add an option for each field, with its line of the docstring as help."""
    lines = dict(re.findall(r"^    (\w+): (.+)$", inspect.getdoc(defaults) or "", re.MULTILINE))
    for name, default in asdict(defaults).items():
        text = f"{lines.get(name, '')} (default: {default})"
        parser.add_argument(f"--{name}", type=type(default), default=default, help=text)


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
    corpora, out = _load_corpora(options["tokens"]), options["out"]
    out.mkdir(parents=True, exist_ok=True)
    run = PretrainingRun(corpora, settings, augmentation, out, options["device"], options["resume"])
    _remove_invalid_after(out, run.step)
    count = sum(p.numel() for p in run.model.parameters())
    print(f"{count:,} weights, {run.settings}", flush=True)
    run.train(save_every=options["save_every"], evaluate_every=options["evaluate_every"])
    run.evaluate()
    run.save()


def _load_corpora(path: Path) -> EncodedCorpora:
    try:
        with ZipFile(path):  # np.load leaves a damaged file open
            return EncodedCorpora.load(path)
    except _LOAD_ERRORS as error:
        raise CorpusError(
            f"{str(path)!r} is damaged, or is not a file of training.prepare; write it again."
        ) from error


def _remove_invalid_after(out: Path, step: int) -> None:
    """Remove damaged checkpoints after a step; refuse to continue before a valid one."""
    later = {path: validation_error(path) for path in checkpoints(out) if step_of(path) > step}
    if None in later.values():
        raise CheckpointError(
            f"{str(out)!r} holds checkpoints after step {step:,}; name another folder after "
            "--out, or this one after --resume."
        )
    for path in later:
        remove(path)


if __name__ == "__main__":
    sys.exit(run_command(main))
