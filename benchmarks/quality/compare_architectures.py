"""`python -m benchmarks.quality.compare_architectures`: architectures at equal processor time.

All networks (architectures.py) train on the same token file (`training.prepare`) with the loop, the
augmentation and the corpus weights of `training.pretrain`, each for `--minutes` of processor time
on one core. A short learning-rate search for each architecture uses the same rates. Then ours is
trained for `--ablation_minutes` with each group of step features masked, and with all of them.

Measured are bits per note of held-out pieces by set (older corpora, bands with drums, newer
corpora). Ours and Performance RNN carry their state through a piece. The stacked LSTM reads each
window from a zero state, as it was trained. The transformers predict a token from all tokens before
it, at most a context, at least half of it.
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
from benchmarks.quality.architectures import (
    OURS,
    Architecture,
    ablations,
    architectures,
    count_weights,
)
from musiclstm.cli import run_command
from musiclstm.model import MusicLSTMConfig, MusicLSTMForCausalLM
from training.data.augmentation import AugmentationSettings
from training.evaluation.bits_per_note import MAX_TOKENS, bits_per_note
from training.networks import config_for
from training.pretraining.corpora import EncodedCorpora, evaluation_sets
from training.pretraining.run import PretrainingRun
from training.pretraining.settings import PretrainingSettings
from training.trainer.checkpoints import read_record, write_record

RECORD = "quality.json"
_SEARCH_SET_PIECES = 8  # validation pieces of each set in the learning-rate search
# Options that may differ when a run is resumed.
_FREE = ("json", "checkpoints", "only")


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error."""
    options = parser(
        "benchmarks.quality.compare_architectures",
        "Architectures and ablations at equal processor time.",
        data=False,
    )
    add = options.add_argument
    add("--tokens", type=Path, required=True, metavar="FILE", help="output of training.prepare")
    add("--split", default="test", choices=("valid", "test"), help="which held-out pieces (test)")
    add("--minutes", type=float, default=20.0, help="processor time of each network (20)")
    add("--ablation_minutes", type=float, default=3.0, help="of each ablation; 0: none (3)")
    add("--pilot_minutes", type=float, default=1.0, help="of each learning-rate run (1)")
    add("--learning_rates", default="1e-3,2.5e-3,6e-3", help="to search (1e-3,2.5e-3,6e-3)")
    add(
        "--hidden_size",
        type=int,
        default=PretrainingSettings.hidden_size,
        help="width of ours (384)",
    )
    add("--layers", type=int, default=3, help="LSTM layers of ours (3)")
    add("--transformer_layers", type=int, default=6, help="layers of the transformers (6)")
    add("--context", type=int, default=2048, help="context of the transformers, in tokens (2048)")
    add("--rows", type=int, default=16, help="batch size of the recurrent networks (16)")
    add("--steps", type=int, default=128, help="window length of the recurrent networks (128)")
    add("--pieces", type=int, default=40, help="largest number of held-out pieces of each set (40)")
    add("--seed", type=int, default=0, help="random seed (0)")
    add("--only", metavar="NAMES", help="only these networks, separated by commas")
    add("--checkpoints", type=Path, metavar="FOLDER", help="store results, and resume from them")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Train and measure every network; stored results are not repeated."""
    rates = _check(options)
    with _one_quiet_thread():
        work = _Work.prepare(options)
        results = ComparisonResults(options.checkpoints, _settings(work))
        for architecture in work.architectures:
            rate = _search_rate(architecture, rates, work, results)
            _train_and_measure(architecture, rate, options.minutes, work, results)
        if options.ablation_minutes and work.ablations:
            rate = _search_rate(work.ours, rates, work, results)
            for architecture in work.ablations:
                _train_and_measure(architecture, rate, options.ablation_minutes, work, results)
    facts = _facts(work, results)
    return Report(_text(facts, options), facts)


def _check(options: argparse.Namespace) -> list[float]:
    """Check the options and return the learning rates."""
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
    """Use one thread and silence the warnings of transformers."""
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

ALL_FEATURES = "with all features"  # trained as long as the ablations


@dataclass(frozen=True)
class _Work:
    """Prepared inputs of the comparison."""

    options: argparse.Namespace
    corpora: EncodedCorpora
    architectures: list[Architecture]
    ablations: list[Architecture]
    ours: Architecture
    held_out: dict[str, list[int]]

    @classmethod
    def prepare(cls, options: argparse.Namespace) -> _Work:
        """Read the tokens, build the architectures and choose the held-out pieces."""
        corpora = _read_tokens(options.tokens)
        sizes = {"rows": options.rows, "steps": options.steps}
        config = _config(options, corpora)
        found = architectures(
            config,
            context=options.context,
            transformer_layers=options.transformer_layers,
            **sizes,
        )
        masked = [replace(found[0], name=ALL_FEATURES), *ablations(config, **sizes)]
        for split in ("train", "valid", options.split):
            if not corpora.pieces_of(split):
                raise ReportError(
                    f"{str(options.tokens)!r} has no pieces of the split {split}; prepare corpora "
                    "that have a manifest."
                )
        selected = _selected(options.only, [each.name for each in (*found, *masked)])
        chosen, masks = (
            [each for each in several if each.name in selected] for several in (found, masked)
        )
        held_out = evaluation_sets(corpora, options.split, options.pieces)
        return cls(options, corpora, chosen, masks, found[0], held_out)


def _read_tokens(path: Path) -> EncodedCorpora:
    try:
        return EncodedCorpora.load(path)
    except (OSError, ValueError, KeyError) as error:
        raise ReportError(
            f"{str(path)!r} is not a file that training.prepare wrote ({error})."
        ) from error


def _selected(text: str | None, names: Sequence[str]) -> set[str]:
    selected = set(names) if text is None else {part.strip() for part in text.split(",")}
    if unknown := selected - set(names):
        raise ReportError(
            f"--only names {', '.join(map(repr, sorted(unknown)))}; there are {', '.join(names)}."
        )
    return selected


def _config(options: argparse.Namespace, corpora: EncodedCorpora) -> MusicLSTMConfig:
    return config_for(
        corpora.token_names,
        corpora.fingerprint,
        hidden_size=options.hidden_size,
        num_hidden_layers=options.layers,
        dropout=PretrainingSettings.dropout,
    )


def _settings(work: _Work) -> dict[str, Any]:
    """Return what the results depend on; a resumed run must have the same."""
    given = {name: value for name, value in vars(work.options).items() if name not in _FREE}
    return {**given, "tokens": work.options.tokens.name, "fingerprint": work.corpora.fingerprint}


class ComparisonResults:
    """Results so far, stored in a folder, so that a killed run can be resumed.

    Attributes:
        rows: Table rows, by name of the architecture.
        pilots: Bits per note by learning rate, by name of the architecture.
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, Any]) -> None:
        """Read the results in a folder; None: do not store results.

        Raises:
            ReportError: The folder has results of other settings, or cannot be created.
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
                f"{str(folder)!r} cannot be created ({error.strerror}); name another folder after "
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
                    f"{earlier.get(name)}, now {value}); use the same ones to resume it, or name "
                    "another folder after --checkpoints."
                )

    def save(self) -> None:
        """Write the results."""
        if self._folder is not None:
            content = {"settings": self._settings, "rows": self.rows, "pilots": self.pilots}
            write_record(self._folder / RECORD, content)


# Training -----------------------------------------------------------------------------------------


class _Training(PretrainingRun):
    """A run of `training.pretrain` with another architecture, without checkpoints."""

    def __init__(
        self, architecture: Architecture, rate: float, minutes: float, work: _Work
    ) -> None:
        self.architecture, self.uses_features = architecture, architecture.uses_features
        settings = PretrainingSettings(
            rows=architecture.rows,
            steps=architecture.steps,
            learning_rate=rate,
            decay=0.3,
            minutes=minutes,
            seed=work.options.seed,
        )
        super().__init__(work.corpora, settings, AugmentationSettings(), Path(), "cpu")

    def new_model(self) -> MusicLSTMForCausalLM:
        """Build the network; all are called as `MusicLSTMForCausalLM` is."""
        found: MusicLSTMForCausalLM = self.architecture.build()
        return found


def _search_rate(
    architecture: Architecture, rates: list[float], work: _Work, results: ComparisonResults
) -> float:
    """Return the learning rate with the fewest bits per note on validation pieces."""
    if len(rates) == 1:
        return rates[0]
    trials = results.pilots.setdefault(architecture.rate_of, {})
    sets = evaluation_sets(work.corpora, "valid", _SEARCH_SET_PIECES)
    validation = [piece for pieces in sets.values() for piece in pieces]
    for rate in rates:
        if f"{rate:g}" not in trials:
            _progress(f"learning-rate search: {architecture.name}, {rate:g}")
            training = _Training(architecture, rate, work.options.pilot_minutes, work)
            training.train(save_every=0, evaluate_every=0, print_every=sys.maxsize)
            bits = _bits(training, validation)["bits_per_note"]
            trials[f"{rate:g}"] = bits if math.isfinite(bits) else float("inf")
            results.save()
    best = min(rates, key=lambda rate: trials[f"{rate:g}"])
    if not math.isfinite(trials[f"{best:g}"]):
        raise ReportError(
            f"{architecture.name} diverges at all rates of --learning_rates; name lower ones."
        )
    return best


def _bits(training: _Training, pieces: Sequence[int]) -> dict[str, float]:
    steps = training.architecture.measured_steps
    return bits_per_note(training.model, training.corpora, pieces, steps=steps)


def _train_and_measure(
    architecture: Architecture, rate: float, minutes: float, work: _Work, results: ComparisonResults
) -> None:
    """Train a network and store its row, unless it is stored already."""
    if architecture.name in results.rows:
        return
    _progress(f"{architecture.name}, {minutes:g} minutes")
    training = _Training(architecture, rate, minutes, work)
    begin = time.process_time()
    training.train(save_every=0, evaluate_every=0, print_every=sys.maxsize)
    results.rows[architecture.name] = {
        "network": architecture.name,
        "weights": count_weights(training.model),
        "learning_rate": rate,
        "minutes": (time.process_time() - begin) / 60,
        "steps": training.step,
        "tokens": training.tokens,
        "bits": {name: _bits(training, pieces) for name, pieces in work.held_out.items()},
    }
    results.save()


# Text ---------------------------------------------------------------------------------------------


def _facts(work: _Work, results: ComparisonResults) -> dict[str, Any]:
    rows = {each.name: results.rows[each.name] for each in work.architectures}
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
    """Return bits per note of ours divided by those of each other network, by set."""
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
        parts.append(table([_architecture_cells(row) for row in facts["rivals"]]))
    parts += [
        f"ours ÷ {name}: " + ", ".join(f"{group} {ratio:.3f}" for group, ratio in ratios.items())
        for name, ratios in _best_first(facts["ours / rival"])
    ]
    if facts["ablations"]:
        whole = next((r for r in facts["ablations"] if r["network"] == ALL_FEATURES), None)
        parts.append(table([_ablation_cells(row, whole) for row in facts["ablations"]]))
    pieces = ", ".join(f"{count} {name}" for name, count in facts["pieces"].items())
    parts.append(
        f"Bits per note of held-out pieces of the split {options.split}: {pieces}, the first "
        f"{MAX_TOKENS:,} tokens of each. "
        f"Processor time of one core; learning rates searched in {options.learning_rates}, "
        f"{options.pilot_minutes:g} minutes each."
    )
    return "\n\n".join(parts)


def _best_first(ratios: Mapping[str, dict[str, float]]) -> list[tuple[str, dict[str, float]]]:
    """Return the networks with the fewest bits per note first."""
    return sorted(ratios.items(), key=lambda item: -sum(item[1].values()))


def _architecture_cells(row: Mapping[str, Any]) -> dict[str, str]:
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
    sys.exit(run_command(main))
