"""`python -m benchmarks.quality.compare_architectures`: our network, rivals, and ablations at equal processor time.

All networks (rivals.py) learn from the same token file (`training.prepare`) with the loop, the
augmentation and the weights of corpora of `training.pretrain`, each for `--minutes` of processor
time on one core. Before that a short pilot chooses the learning rate of each rival, from the same
few for all. Then ours is trained again for `--ablation_minutes` with each of its step features
masked, and once whole.

What is measured: bits per note of held-out pieces by set (older corpora, bands with drums, newer
corpora), `training.evaluation.bits_per_note.bits_per_note`. Ours and Performance RNN carry their state through a piece.
Seed 1 reads window by window, each from a zero state, as it was trained. The transformer predicts a
token from all tokens before it, at most its context, at least half of it.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.utils import logging

from benchmarks.common.report import Report, ReportError, parser, run, table
from benchmarks.quality.architectures import OURS, Contender, ablations, contenders, weights_of
from musiclstm.model import MusicLSTMConfig, MusicLSTMForCausalLM
from training.data.augmentation import AugmentationSettings
from training.evaluation.bits_per_note import MAX_TOKENS, bits_per_note
from training.networks import config_for
from training.pretraining.corpora import EncodedCorpora, evaluation_sets
from training.pretraining.run import PretrainingRun
from training.pretraining.settings import PretrainingSettings
from training.trainer.checkpoints import read_record, write_record

RECORD = "quality.json"
_PILOT_SET_PIECES = 8  # validation pieces of each set
# What may differ when a run is continued.
_FREE = ("json", "checkpoints", "only")


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 0, or 1 after a sentence when something cannot be used."""
    options = parser(
        "benchmarks.quality.compare_architectures",
        "Rivals and ablations at equal time.",
        data=False,
    )
    add = options.add_argument
    add("--tokens", type=Path, required=True, metavar="FILE", help="that training.prepare wrote")
    add("--split", default="test", choices=("valid", "test"), help="which held-out pieces (test)")
    add("--minutes", type=float, default=20.0, help="of processor time for each network (20)")
    add("--ablation_minutes", type=float, default=3.0, help="for each masked feature; 0: none (3)")
    add("--pilot_minutes", type=float, default=1.0, help="for each learning rate (1)")
    add("--learning_rates", default="1e-3,2.5e-3,6e-3", help="tried by each (1e-3,2.5e-3,6e-3)")
    add(
        "--hidden_size",
        type=int,
        default=PretrainingSettings.hidden_size,
        help="width of ours (384)",
    )
    add("--layers", type=int, default=3, help="LSTM layers of ours (3)")
    add("--transformer_layers", type=int, default=6, help="(6)")
    add("--context", type=int, default=2048, help="of the transformers, in tokens (2048)")
    add("--rows", type=int, default=16, help="of a batch of the recurrent networks (16)")
    add("--steps", type=int, default=128, help="of a window of the recurrent networks (128)")
    add("--pieces", type=int, default=40, help="held-out pieces of each set at most (40)")
    add("--seed", type=int, default=0, help="of initial weights and of the order of pieces (0)")
    add("--only", metavar="NAMES", help="only these networks, separated by commas")
    add("--checkpoints", type=Path, metavar="FOLDER", help="keep results, and continue from them")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Train and measure every network; results that the folder holds are not repeated."""
    rates = _check(options)
    with _one_quiet_thread():
        work = _Work.prepare(options)
        results = Results(options.checkpoints, _settings(work))
        for contender in work.contenders:
            rate = _pilot(contender, rates, work, results)
            _measured(contender, rate, options.minutes, work, results)
        if options.ablation_minutes and work.ablations:
            rate = _pilot(work.ours, rates, work, results)
            for contender in work.ablations:
                _measured(contender, rate, options.ablation_minutes, work, results)
    facts = _facts(work, results)
    return Report(_text(facts, options), facts)


def _check(options: argparse.Namespace) -> list[float]:
    """Refuse numbers without a meaning; return the learning rates."""
    for name in ("minutes", "pilot_minutes"):
        if not getattr(options, name) > 0:
            raise ReportError(f"--{name} must be above 0, got {getattr(options, name):g}.")
    if not options.ablation_minutes >= 0:
        raise ReportError(
            f"--ablation_minutes must be 0 or more, got {options.ablation_minutes:g}."
        )
    for name, value in vars(options).items():
        least = 2 if name in ("context", "steps") else 1
        if type(value) is int and name != "seed" and value < least:
            raise ReportError(f"--{name} must be {least} or more, got {value}.")
    if options.context % 2:
        raise ReportError(f"--context must be even, got {options.context}.")
    return _learning_rates(options.learning_rates)


def _learning_rates(text: str) -> list[float]:
    try:
        found = sorted({float(part) for part in text.split(",")})
    except ValueError:
        found = []
    if not found or not all(0 < rate < float("inf") for rate in found):
        raise ReportError(
            "--learning_rates must be numbers above 0, separated by commas, such as 1e-3,2.5e-3; "
            f"got {text!r}."
        )
    return found


@contextmanager
def _one_quiet_thread() -> Iterator[None]:
    """Use one thread, and leave out what transformers says of configs."""
    threads, verbosity = torch.get_num_threads(), logging.get_verbosity()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        logging.set_verbosity(verbosity)


def _progress(what: str) -> None:
    sys.stderr.write(f"… {what}\n")


# Preparation --------------------------------------------------------------------------------------

WHOLE = "with all features"  # trained as long as the masked ones


@dataclass(frozen=True)
class _Work:
    """Everything that does not change any more."""

    options: argparse.Namespace
    corpora: EncodedCorpora
    contenders: list[Contender]
    ablations: list[Contender]
    ours: Contender
    held_out: dict[str, list[int]]

    @classmethod
    def prepare(cls, options: argparse.Namespace) -> _Work:
        """Read the tokens, shape the networks and choose the held-out pieces.

        Raises:
            ReportError: The file cannot be read, or lacks a split; an unknown network.
        """
        corpora = _read_tokens(options.tokens)
        sizes = {"rows": options.rows, "steps": options.steps}
        config = _config(options, corpora)
        rivals = contenders(
            config,
            context=options.context,
            transformer_layers=options.transformer_layers,
            **sizes,
        )
        masked = [replace(rivals[0], name=WHOLE), *ablations(config, **sizes)]
        for split in ("train", "valid", options.split):
            if not corpora.pieces_of(split):
                raise ReportError(
                    f"{str(options.tokens)!r} has no pieces of the split {split}; prepare corpora "
                    "that have a manifest."
                )
        wanted = _wanted(options.only, [each.name for each in (*rivals, *masked)])
        chosen, masks = (
            [each for each in several if each.name in wanted] for several in (rivals, masked)
        )
        held_out = evaluation_sets(corpora, options.split, options.pieces)
        return cls(options, corpora, chosen, masks, rivals[0], held_out)


def _read_tokens(path: Path) -> EncodedCorpora:
    try:
        return EncodedCorpora.load(path)
    except (OSError, ValueError, KeyError) as error:
        raise ReportError(
            f"{str(path)!r} is not a file that training.prepare wrote ({error})."
        ) from error


def _wanted(text: str | None, names: Sequence[str]) -> set[str]:
    wanted = set(names) if text is None else {part.strip() for part in text.split(",")}
    if unknown := wanted - set(names):
        raise ReportError(
            f"--only names {', '.join(map(repr, sorted(unknown)))}; there are {', '.join(names)}."
        )
    return wanted


def _config(options: argparse.Namespace, corpora: EncodedCorpora) -> MusicLSTMConfig:
    return config_for(
        corpora.token_names,
        corpora.fingerprint,
        hidden_size=options.hidden_size,
        num_hidden_layers=options.layers,
        dropout=PretrainingSettings.dropout,
    )


def _settings(work: _Work) -> dict[str, Any]:
    """What a result depends on; a run that is continued must have the same."""
    given = {name: value for name, value in vars(work.options).items() if name not in _FREE}
    return {**given, "tokens": work.options.tokens.name, "fingerprint": work.corpora.fingerprint}


class Results:
    """Results so far, in a folder, so that a run that was killed can be continued.

    Attributes:
        rows: Of the table, by name of the network.
        pilots: By name of the network, bits per note by learning rate.
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, Any]) -> None:
        """Read what the folder holds; None: keep nothing.

        Raises:
            ReportError: It holds a run with other settings, or cannot be written to.
        """
        self._folder, self._settings = folder, dict(settings)
        self.rows: dict[str, dict[str, Any]] = {}
        self.pilots: dict[str, dict[str, float]] = {}
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ReportError(
                f"{str(folder)!r} cannot be made ({error.strerror}); name another folder after "
                "--checkpoints."
            ) from error
        if record := read_record(folder / RECORD):
            self._compare(record["settings"])
            self.rows, self.pilots = record["rows"], record["pilots"]

    def _compare(self, earlier: Mapping[str, Any]) -> None:
        for name, value in self._settings.items():
            if earlier.get(name) != value:
                raise ReportError(
                    f"{str(self._folder)!r} holds a run with other settings ({name}: "
                    f"{earlier.get(name)}, now {value}); use the same ones to continue it, or name "
                    "another folder after --checkpoints."
                )

    def keep(self) -> None:
        """Write them."""
        if self._folder is not None:
            content = {"settings": self._settings, "rows": self.rows, "pilots": self.pilots}
            write_record(self._folder / RECORD, content)


# Training -----------------------------------------------------------------------------------------


class _Training(PretrainingRun):
    """A run of `training.pretrain` with the network of a contender; nothing is saved."""

    def __init__(self, contender: Contender, rate: float, minutes: float, work: _Work) -> None:
        self._contender, self.uses_features = contender, contender.uses_features
        settings = PretrainingSettings(
            rows=contender.rows,
            steps=contender.steps,
            learning_rate=rate,
            decay=0.3,
            minutes=minutes,
            seed=work.options.seed,
        )
        super().__init__(work.corpora, settings, AugmentationSettings(), Path(), "cpu")

    def new_model(self) -> MusicLSTMForCausalLM:
        """Build that of the contender, which is called in the same way."""
        found: MusicLSTMForCausalLM = self._contender.build()
        return found


def _pilot(contender: Contender, rates: list[float], work: _Work, results: Results) -> float:
    """Return the learning rate with the fewest bits per note of validation pieces.

    Raises:
        ReportError: The network diverges at all of them.
    """
    if len(rates) == 1:
        return rates[0]
    trials = results.pilots.setdefault(contender.rate_of, {})
    sets = evaluation_sets(work.corpora, "valid", _PILOT_SET_PIECES)
    judges = [piece for pieces in sets.values() for piece in pieces]
    for rate in rates:
        if f"{rate:g}" not in trials:
            _progress(f"pilot of {contender.name}, learning rate {rate:g}")
            training = _Training(contender, rate, work.options.pilot_minutes, work)
            training.train(save_every=0, evaluate_every=0, print_every=sys.maxsize)
            bits = _bits(training, judges)["bits_per_note"]
            trials[f"{rate:g}"] = bits if math.isfinite(bits) else float("inf")
            results.keep()
    best = min(rates, key=lambda rate: trials[f"{rate:g}"])
    if not math.isfinite(trials[f"{best:g}"]):
        raise ReportError(
            f"{contender.name} diverges at all rates of --learning_rates; name lower ones."
        )
    return best


def _bits(training: _Training, pieces: Sequence[int]) -> dict[str, float]:
    steps = training._contender.measured_steps
    return bits_per_note(training.model, training.corpora, pieces, steps=steps)


def _measured(
    contender: Contender, rate: float, minutes: float, work: _Work, results: Results
) -> None:
    """Train a network and add its row to the results, unless it is there."""
    if contender.name in results.rows:
        return
    _progress(f"{contender.name}, {minutes:g} minutes")
    training = _Training(contender, rate, minutes, work)
    begin = time.process_time()
    training.train(save_every=0, evaluate_every=0, print_every=sys.maxsize)
    results.rows[contender.name] = {
        "network": contender.name,
        "weights": weights_of(training.model),
        "learning_rate": rate,
        "minutes": (time.process_time() - begin) / 60,
        "steps": training.step,
        "tokens": training.tokens,
        "bits": {name: _bits(training, pieces) for name, pieces in work.held_out.items()},
    }
    results.keep()


# Text ---------------------------------------------------------------------------------------------


def _facts(work: _Work, results: Results) -> dict[str, Any]:
    rows = {each.name: results.rows[each.name] for each in work.contenders}
    masks = work.ablations if work.options.ablation_minutes else []
    return {
        "settings": {name: str(value) for name, value in _settings(work).items()},
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "pieces": {name: len(pieces) for name, pieces in work.held_out.items()},
        "pilots": results.pilots,
        "rivals": list(rows.values()),
        "ablations": [results.rows[each.name] for each in masks],
        "ours / rival": _ratios(rows),
    }


def _ratios(rows: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Bits per note of ours over those of each rival, by set; below 1: ours needs fewer."""
    if OURS not in rows:
        return {}
    return {
        name: {
            group: rows[OURS]["bits"][group]["bits_per_note"] / found["bits_per_note"]
            for group, found in row["bits"].items()
        }
        for name, row in rows.items()
        if name != OURS
    }


def _text(facts: dict[str, Any], options: argparse.Namespace) -> str:
    parts = []
    if facts["rivals"]:
        parts.append(table([_rival_cells(row) for row in facts["rivals"]]))
    parts += [
        f"ours ÷ {rival}: " + ", ".join(f"{group} {ratio:.3f}" for group, ratio in ratios.items())
        for rival, ratios in _best_first(facts["ours / rival"])
    ]
    if facts["ablations"]:
        whole = next((r for r in facts["ablations"] if r["network"] == WHOLE), None)
        parts.append(table([_ablation_cells(row, whole) for row in facts["ablations"]]))
    pieces = ", ".join(f"{count} {name}" for name, count in facts["pieces"].items())
    parts.append(
        f"Bits per note of held-out pieces of the split {options.split}: {pieces}, the first "
        f"{MAX_TOKENS:,} tokens of each. "
        f"Processor time of one core; learning rates by pilots of {options.pilot_minutes:g} "
        f"minutes from {options.learning_rates}."
    )
    return "\n\n".join(parts)


def _best_first(ratios: Mapping[str, dict[str, float]]) -> list[tuple[str, dict[str, float]]]:
    """Rivals in the order of their bits, the fewest first."""
    return sorted(ratios.items(), key=lambda item: -sum(item[1].values()))


def _rival_cells(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        "network": row["network"],
        "weights": f"{row['weights']:,}",
        "tokens seen": f"{row['tokens']:,}",
        "minutes": f"{row['minutes']:.2f}",
        "learning rate": f"{row['learning_rate']:g}",
        **{name: f"{found['bits_per_note']:.3f}" for name, found in row["bits"].items()},
    }


def _ablation_cells(row: Mapping[str, Any], whole: Mapping[str, Any] | None) -> dict[str, str]:
    cells = {"network": row["network"], "tokens seen": f"{row['tokens']:,}"}
    for name, found in row["bits"].items():
        bits = found["bits_per_note"]
        cells[name] = f"{bits:.3f}"
        if whole is not None:
            change = bits / whole["bits"][name]["bits_per_note"] - 1
            cells[f"{name}, change"] = f"{100 * change:+.1f} %"
    return cells


if __name__ == "__main__":
    sys.exit(main())
