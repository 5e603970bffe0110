"""`python -m benchmarks.quality`: what our network is worth beside rivals that did the same work.

Four networks (rivals.py) learn the same batches of the same corpus, by the same rules (race.py):
once until each has seen `--tokens`, once until each has learnt for `--minutes`. Before that a short
pilot chooses the learning rate of each, from the same few for all. Afterwards they are measured:

- bits per note on held-out pieces, with `training.metrics.held_out`: all bits of a piece, its end
  token among them, over its notes. Ours and Performance RNN carry their state from the first token
  to the last. The transformer slides a window over the piece: its context is the window that it
  learnt from, a window begins every half window, and a token is predicted in the first window that
  holds what comes before it, so from the whole piece so far or from at least half a window (and a
  token). Seed 1 reads window by window, each from a zero state, as it learnt to; how it would do
  if it read like the transformer is told as well.
- notes per second that they write (writing.py).
"""

from __future__ import annotations

import argparse
import copy
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import transformers
from transformers.utils import logging

from benchmarks.pieces import evenly, refuse_empty
from benchmarks.race import Budget, DivergedError, Learner, Lessons, Notebook, School, race
from benchmarks.reporting import Report, ReportError, parser, run, table
from benchmarks.rivals import (
    OURS,
    SEED_1,
    TRANSFORMER,
    Contender,
    Windowed,
    contenders,
    weights_of,
)
from benchmarks.writing import PackedWay, PlainLoop, Writer, speeds
from musiclstm.checkpoint import load_checkpoint
from musiclstm.configuration import MusicLSTMConfig
from musiclstm.tokenization import MusicTokenizer
from training.arguments import bf16_is_fast
from training.augmentation import Augmentation
from training.corpus import Corpus, read_corpus
from training.memory import keep_freed_memory
from training.metrics import HeldOut, held_out
from training.windows import Windows

_PACKED = "packed"
# What may differ when a run goes on.
_FREE = ("json", "checkpoints", "save_minutes", "slice", "write_tokens")


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with a sentence when something cannot be used."""
    options = parser("benchmarks.quality", "Our network beside rivals that did the same work.")
    options.set_defaults(split="valid")
    add = options.add_argument
    add("--tokens", type=int, help="every network sees so many")
    add("--minutes", type=float, help="every network learns for so long; may be given besides")
    add("--model", default="default", help="whose config and tokenizer ours has (default)")
    add("--hidden_size", type=int, help="width of ours; as the model has it")
    add("--layers", type=int, help="LSTM layers of ours; as the model has them")
    add("--vocab_size", type=int, help="learn merges anew, to so many tokens; as the model has it")
    add("--transformer_layers", type=int, default=6, help="(6)")
    add("--window", type=int, default=512, help="tokens of a window, and the context (512)")
    add("--rows", type=int, default=8, help="windows in a batch (8)")
    add("--augment", action="store_true", help="move pitch and tempo, as training.finetune does")
    add("--warm_up", type=float, default=0.05, help="share in which the learning rate rises (0.05)")
    add("--learning_rates", default="7e-4,2e-3,6e-3", help="tried by each (7e-4,2e-3,6e-3)")
    add("--pilot_tokens", type=int, default=200_000, help="that a trial sees (200000)")
    add("--pilot_pieces", type=int, default=32, help="validation pieces that judge it (32)")
    add("--slice", type=int, default=10, help="batches in a turn (10)")
    add("--write_tokens", type=int, default=1000, help="written in each of three rounds (1000)")
    add("--seed", type=int, default=0, help="of fresh weights, dropout and the order (0)")
    add("--checkpoints", type=Path, metavar="FOLDER", help="keep progress here, and go on from it")
    add("--save_minutes", type=float, default=5.0, help="between two savings (5)")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Pilot, races, measurements; what an earlier run with the same folder found is not redone."""
    _check(options)
    with _quiet():
        work = _prepare(options)
        notebook = Notebook(options.checkpoints, _settings(work))
        rates = {each.name: _pilot(each, work, notebook) for each in work.contenders}
        rows = [row for budget in work.budgets for row in _results(budget, rates, work, notebook)]
    facts = _facts(rows, work, notebook)
    return Report(_text(facts, work), facts)


def _check(options: argparse.Namespace) -> None:
    """Refuse numbers that mean nothing."""
    if options.tokens is None and options.minutes is None:
        raise ReportError("There is no work to do: give --tokens, --minutes, or both.")
    for name, value in vars(options).items():
        least = 2 if name == "window" else 1
        if type(value) is int and name != "seed" and value < least:
            raise ReportError(f"--{name} must be {least} or more, got {value}.")
    for name in ("minutes", "save_minutes"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise ReportError(f"--{name} must be above 0, got {value:g}.")
    if not 0 <= options.warm_up < 1:
        raise ReportError(f"--warm_up must be 0 or more and below 1, got {options.warm_up:g}.")
    _learning_rates(options)


def _learning_rates(options: argparse.Namespace) -> list[float]:
    try:
        found = sorted({float(part) for part in options.learning_rates.split(",")})
    except ValueError:
        found = []
    if not found or not all(0 < rate < float("inf") for rate in found):
        raise ReportError(
            "--learning_rates must be numbers above 0, separated by commas, such as 7e-4,2e-3; "
            f"got {options.learning_rates!r}."
        )
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what transformers says of configs."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _progress(what: str) -> None:
    sys.stderr.write(f"… {what}\n")


# The same work for all ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Work:
    """Everything that does not change any more."""

    options: argparse.Namespace
    tokenizer: MusicTokenizer
    corpus: Corpus
    windows: Windows
    contenders: list[Contender]
    weights: dict[str, int]
    school: School

    @property
    def budgets(self) -> list[Budget]:
        """One or two."""
        tokens, minutes = self.options.tokens, self.options.minutes
        found = [Budget("equal tokens", "tokens", tokens)] if tokens else []
        return found + ([Budget("equal time", "seconds", 60 * minutes)] if minutes else [])

    def lessons(self) -> Lessons:
        """From the first batch on."""
        return Lessons(self.windows, self.options.rows, keep=len(self.contenders))


def _prepare(options: argparse.Namespace) -> _Work:
    model, tokenizer = load_checkpoint(options.model)
    corpus = read_corpus(options.data)
    for split in {"train", "valid", options.split}:
        refuse_empty([piece.split for piece in corpus.pieces], split)
    if options.vocab_size is not None:
        tokenizer = MusicTokenizer()
        tokenizer.learn_merges(corpus.tokens("train"), options.vocab_size)
    found = contenders(
        _config(options, model.config, tokenizer),
        window=options.window,
        transformer_layers=options.transformer_layers,
    )
    weights = {each.name: weights_of(each.build()) for each in found}
    windows = windows_for(options, corpus, tokenizer)
    return _Work(options, tokenizer, corpus, windows, found, weights, school_for(options))


def _config(
    options: argparse.Namespace, config: MusicLSTMConfig, tokenizer: MusicTokenizer
) -> MusicLSTMConfig:
    config = copy.deepcopy(config)
    config.hidden_size = options.hidden_size or config.hidden_size
    config.num_hidden_layers = options.layers or config.num_hidden_layers
    config.vocab_size = len(tokenizer)
    return config


def windows_for(
    options: argparse.Namespace,
    corpus: Corpus,
    tokenizer: MusicTokenizer,
    weights: list[float] | None = None,
) -> Windows:
    """Of the train split, as `--rows`, `--window`, `--augment` and `--seed` say.

    `weights` says how often an epoch shows each piece; None: as the corpus has it.
    """
    still = Augmentation(0, 0, 0)  # moves nothing, but pieces come in another order every epoch
    return Windows(
        corpus.tokens("train"),
        tokenizer,
        lanes=options.rows,
        batch_size=options.rows,
        steps=options.window,
        augmentation=Augmentation() if options.augment else still,
        seed=options.seed,
        weights=corpus.weights("train") if weights is None else weights,
    )


def school_for(options: argparse.Namespace) -> School:
    """Of this machine, as `--warm_up` and `--seed` say."""
    gpu = torch.cuda.is_available()
    bf16 = torch.cuda.is_bf16_supported() if gpu else bf16_is_fast()
    device = torch.device("cuda" if gpu else "cpu")
    return School(device, bf16, options.warm_up, options.seed)


def _settings(work: _Work) -> dict[str, Any]:
    """What a result depends on; a run that goes on must have the same."""
    given = {name: value for name, value in vars(work.options).items() if name not in _FREE}
    return {
        **given,
        "vocabulary": work.tokenizer.fingerprint,
        "tokens_an_epoch": work.windows.tokens,
        "weights": work.weights,
        "device": work.school.device.type,
        "bf16": work.school.bf16,
    }


# The pilot ----------------------------------------------------------------------------------------


def _pilot(contender: Contender, work: _Work, notebook: Notebook) -> float:
    """The learning rate that suits a network best; every network has as many trials."""
    rates = _learning_rates(work.options)
    if len(rates) == 1:
        return rates[0]
    pilots = notebook.known.setdefault("pilot", {})
    trials = pilots.setdefault(contender.name, {})
    for rate in rates:
        if f"{rate:g}" not in trials:
            _progress(f"pilot, {contender.name}, learning rate {rate:g}")
            trials[f"{rate:g}"] = _trial(contender, rate, work)
            notebook.keep()
    done = {rate: trials[f"{rate:g}"]["bits_per_note"] for rate in rates}
    whole = {rate: bits for rate, bits in done.items() if bits is not None}
    if not whole:
        raise ReportError(
            f"{contender.name} learns at none of the rates {work.options.learning_rates}; name "
            "lower ones after --learning_rates."
        )
    return min(whole, key=lambda rate: whole[rate])


def _trial(contender: Contender, rate: float, work: _Work) -> dict[str, float | None]:
    """Bits per note after a short run, None where it diverged, and the minutes it all took."""
    begin = time.perf_counter()
    learner = Learner(contender, rate, work.school)
    budget = Budget("pilot", "tokens", work.options.pilot_tokens)
    pieces = evenly(work.corpus.tokens("valid"), work.options.pilot_pieces)
    bits = None
    try:
        race([learner], work.lessons(), budget, steps=work.options.slice)
        bits = _held_out(learner, pieces, work).bits_per_note
    except DivergedError as error:
        _progress(str(error))
    return {"bits_per_note": bits, "minutes": (time.perf_counter() - begin) / 60}


def _held_out(
    learner: Learner, pieces: Sequence[np.ndarray], work: _Work, *, context: int | None = None
) -> HeldOut:
    """As the network reads; with `context`, as it would read with so many tokens before."""
    reader = learner.contender.reader(learner.network)
    if context is not None:
        reader = Windowed(learner.network, learner.contender.window, context=context)
    return held_out(cast("Any", reader), work.tokenizer, pieces)


# The races ----------------------------------------------------------------------------------------


def _results(
    budget: Budget, rates: dict[str, float], work: _Work, notebook: Notebook
) -> list[dict[str, Any]]:
    """A row for each network; taken from the notebook where they are known."""
    rows: dict[str, Any] = notebook.known.setdefault(budget.name, {})
    if not all("writing" in rows.get(each.name, {}) for each in work.contenders):
        learners = [Learner(each, rates[each.name], work.school) for each in work.contenders]
        notebook.load(budget, learners)
        race(
            learners,
            work.lessons(),
            budget,
            steps=work.options.slice,
            after_turn=_every(
                60 * work.options.save_minutes,
                lambda: _save(budget, learners, notebook),
            ),
        )
        _save(budget, learners, notebook)
        for learner in learners:
            if learner.contender.name not in rows:
                _progress(f"{budget.name}: reading the held-out pieces, {learner.contender.name}")
                rows[learner.contender.name] = _row(budget, learner, work)
                notebook.keep()
        _write(rows, learners, work)
        notebook.keep()
    return [rows[each.name] for each in work.contenders]


def _every(seconds: float, what: Callable[[], None]) -> Callable[[], None]:
    """Does it when it is called and the last time is so long ago."""
    last = time.monotonic()

    def maybe() -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            what()
            last = time.monotonic()

    return maybe


def _save(budget: Budget, learners: Sequence[Learner], notebook: Notebook) -> None:
    notebook.save(budget, learners)
    shares = (f"{each.contender.name} {min(1, budget.used(each)):.0%}" for each in learners)
    _progress(f"{budget.name}: {', '.join(shares)}")


def _row(budget: Budget, learner: Learner, work: _Work) -> dict[str, Any]:
    pieces, contender = work.corpus.tokens(work.options.split), learner.contender
    row = {
        "work": budget.name,
        "network": contender.name,
        "weights": work.weights[contender.name],
        "learning_rate": learner.rate,
        "steps": learner.steps,
        "tokens": learner.tokens,
        "minutes": learner.seconds / 60,
        "tokens_per_s": learner.tokens / learner.seconds,
        "held_out": _held_out(learner, pieces, work).facts(),
    }
    if contender.context == 0:
        half = _held_out(learner, pieces, work, context=contender.window // 2)
        row["held_out_like_the_transformer"] = half.facts()
    return row


def _write(rows: dict[str, Any], learners: Sequence[Learner], work: _Work) -> None:
    """Let the networks write, and put into their rows how fast."""
    _progress("writing")
    writers: dict[str, Writer] = {
        each.contender.name: PlainLoop(each.contender, each.network, work.tokenizer)
        for each in learners
    }
    ours = next(each.network for each in learners if each.contender.name == OURS)
    writers[_PACKED] = PackedWay(ours, work.tokenizer)
    found = speeds(writers, tokens=work.options.write_tokens)
    rows[OURS][_PACKED] = asdict(found.pop(_PACKED))
    for name, speed in found.items():
        rows[name]["writing"] = asdict(speed)


# In numbers and in words --------------------------------------------------------------------------


def _facts(rows: list[dict[str, Any]], work: _Work, notebook: Notebook) -> dict[str, Any]:
    trials = [trial for each in notebook.known.get("pilot", {}).values() for trial in each.values()]
    return {
        "settings": _settings(work),
        "machine": {
            "device": _device(work.school.device),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "pilot": notebook.known.get("pilot", {}),
        "pilot_trials": len(trials),
        "pilot_minutes": sum(trial["minutes"] for trial in trials),
        "rows": rows,
        "ratios": {budget.name: _ratios(rows, budget.name) for budget in work.budgets},
    }


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()


def _ratios(rows: Sequence[dict[str, Any]], work: str) -> dict[str, float]:
    """Bits per note of ours over those of a rival, by its name; below 1: ours is better."""
    bits = {r["network"]: r["held_out"]["bits_per_note"] for r in rows if r["work"] == work}
    return {name: bits[OURS] / bits[name] for name in (TRANSFORMER, SEED_1)}


def _text(facts: dict[str, Any], work: _Work) -> str:
    options = work.options
    lines = [table([_cells(row) for row in facts["rows"]]), ""]
    for name, ratios in facts["ratios"].items():
        lines += [f"{name}: {_ratio_in_words(rival, each)}" for rival, each in ratios.items()]
    lines += [
        f"{row['work']}: {SEED_1}, if it read half a window before what it predicts: "
        f"{row['held_out_like_the_transformer']['bits_per_note']:.3f} bits per note."
        for row in facts["rows"]
        if row["network"] == SEED_1
    ]
    measured = facts["rows"][0]["held_out"]
    lines += [
        f"{measured['pieces']:,} pieces of the split {options.split}, {measured['notes']:,} notes; "
        f"{options.rows} windows of {options.window:,} tokens in a batch, the context of the "
        f"transformer {options.window:,}; {'bfloat16' if work.school.bf16 else 'float32'} on "
        f"{facts['machine']['device']}.",
        _pilot_in_words(facts, work),
    ]
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> dict[str, str]:
    packed = row.get(_PACKED)
    return {
        "work": row["work"],
        "network": row["network"],
        "weights": f"{row['weights']:,}",
        "tokens seen": f"{row['tokens']:,}",
        "minutes": f"{row['minutes']:.2f}",
        "tokens/s learning": f"{row['tokens_per_s']:,.0f}",
        "learning rate": f"{row['learning_rate']:g}",
        "bits per note": f"{row['held_out']['bits_per_note']:.3f}",
        "notes/s": f"{row['writing']['notes_per_s']:,.0f}",
        "notes/s packed": f"{packed['notes_per_s']:,.0f}" if packed else "-",
    }


def _ratio_in_words(rival: str, ratio: float) -> str:
    side = "below" if ratio <= 1 else "above"
    return f"ours ÷ {rival}: {ratio:.3f} ({100 * abs(1 - ratio):.1f} % {side})."


def _pilot_in_words(facts: dict[str, Any], work: _Work) -> str:
    rates = _learning_rates(work.options)
    if len(rates) == 1:
        return f"No pilot: the learning rate is {rates[0]:g} for all."
    text = (
        f"Learning rates: {len(rates)} trials for each network, {work.options.pilot_tokens:,} "
        f"tokens and {facts['pilot_minutes'] / facts['pilot_trials']:.2f} minutes a trial, judged "
        f"by up to {work.options.pilot_pieces} validation pieces."
    )
    ends = {
        row["network"] for row in facts["rows"] if row["learning_rate"] in (rates[0], rates[-1])
    }
    if not ends or len(rates) == 2:
        return text
    names = ", ".join(each.name for each in work.contenders if each.name in ends)
    return f"{text} At the end of the range, so that others may suit better: {names}."


if __name__ == "__main__":
    keep_freed_memory()
    sys.exit(main())
