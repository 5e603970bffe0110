"""`python -m benchmarks.quality.finetuning`: bits per note before and after fine-tuning.

Copies the first pieces of the train split into a folder and runs `training.finetune` on it. The
held-out pieces of the corpus, which the run does not read, are evaluated before and after. Options
after `--` go to `training.finetune`, so that settings can be compared.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common.held_out_pieces import read_split
from benchmarks.common.report import Report, ReportError, parser, run, table
from musiclstm.cli import run_command
from musiclstm.model import load_checkpoint, read_facts
from training.data.corpus import read_corpus
from training.evaluation.bits_per_note import HeldOutBits, measure_bits
from training.trainer.callbacks import CURVE_FILES


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error."""
    own, further = _split_options(sys.argv[1:] if argv is None else argv)
    options = parser(
        "benchmarks.quality.finetuning", "Fine-tune on some pieces, evaluate on others."
    )
    options.add_argument("--pieces", type=int, default=100, help="number of training pieces (100)")
    options.add_argument("--model", default="default", help="model to fine-tune (default)")
    options.add_argument(
        "--preset", default="cpu-quick", help="preset of training.finetune (cpu-quick)"
    )
    options.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the checkpoint here")
    options.add_argument(
        "--curve", type=Path, metavar="FOLDER", help="copy the learning curve here"
    )
    options.set_defaults(further=further)
    return run(measure, options.parse_args(own))


def measure(options: argparse.Namespace) -> Report:
    """Evaluate, fine-tune, evaluate again."""
    if options.pieces < 3:
        raise ReportError(f"--pieces must be 3 or more, got {options.pieces}.")
    pieces = read_corpus(options.data).tokens(options.split)
    before = _evaluate(options.model, pieces)
    with tempfile.TemporaryDirectory() as temporary:
        _copy_pieces(options.data, options.pieces, Path(temporary) / "pieces")
        folder = options.keep or Path(temporary) / "run"
        begin = time.perf_counter()
        _finetune(options, Path(temporary) / "pieces", folder)
        minutes = (time.perf_counter() - begin) / 60
        after, facts = _evaluate(folder, pieces), read_facts(folder)
        if options.curve:
            for name in CURVE_FILES:
                shutil.copy(folder / name, options.curve / name)
    return _report(options, before, after, minutes, facts)


def _copy_pieces(data: list[str], count: int, folder: Path) -> None:
    """Write the first pieces of the train split into a folder, without a manifest."""
    folder.mkdir()
    found = 0
    for source, score in read_split(data, "train"):
        if found == count:
            return
        (folder / f"{found:04d}-{Path(source.name).stem[:60]}.mid").write_bytes(
            bytes(score.dumps_midi())
        )
        found += 1
    if found < count:
        raise ReportError(
            f"--pieces is {count}, but the train split has only {found} pieces; lower it."
        )


def _finetune(options: argparse.Namespace, data: Path, folder: Path) -> None:
    command = [
        *(sys.executable, "-m", "training.finetune", "--data", str(data)),
        *("--model", options.model, "--preset", options.preset, "--output_dir", str(folder)),
        *options.further,
    ]
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
        raise ReportError("training.finetune failed; its message is above.")


def _evaluate(model: str | Path, pieces: Any) -> HeldOutBits:
    network, tokenizer = load_checkpoint(model)
    return measure_bits(network.eval(), tokenizer, pieces)


def _split_options(argv: list[str]) -> tuple[list[str], list[str]]:
    index = argv.index("--") if "--" in argv else len(argv)
    return argv[:index], argv[index + 1 :]


def _report(
    options: argparse.Namespace,
    before: HeldOutBits,
    after: HeldOutBits,
    minutes: float,
    facts: dict[str, Any],
) -> Report:
    lower = 1 - after.bits_per_note / before.bits_per_note
    found = {
        "pieces": options.pieces,
        "preset": options.preset,
        "further": options.further,
        "split": options.split,
        "before": before.facts(),
        "after": after.facts(),
        "lower_by": round(lower, 4),
        "minutes": round(minutes, 2),
        "run": facts["runs"][-1],
    }
    rows = [
        {"model": name, "bits per note": f"{each.bits_per_note:.3f}"}
        for name, each in ((options.model, before), ("fine-tuned", after))
    ]
    text = (
        f"{table(rows)}\n\n{lower:.1%} lower on {after.pieces} pieces of the {options.split} split "
        f"({after.notes:,} notes); the command took {minutes:.1f} minutes for {options.pieces} "
        f"pieces with --preset {options.preset} {' '.join(options.further)}".rstrip()
    )
    return Report(text + ".", found)


if __name__ == "__main__":
    sys.exit(run_command(main))
