"""`python -m benchmarks.quality.finetuning`: what fine-tuning makes of a few pieces of a corpus.

As many pieces as asked for, the first of the train split, are laid into a folder as a musician
would have them; the command is run on that folder as anyone would run it. Before and after, the
model reads the held-out pieces of the corpus, of which the run has seen none. Whatever stands
behind `--` goes to the command, so that recipes can be compared.
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
from musiclstm.model import load_checkpoint, read_facts
from training.data.corpus import read_corpus
from training.evaluation.bits_per_note import HeldOutBits, measure_bits
from training.trainer.callbacks import CURVE_FILES


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with a sentence where the fine-tuning failed."""
    given, further = _split(sys.argv[1:] if argv is None else argv)
    options = parser(
        "benchmarks.quality.finetuning", "Fine-tune on a few pieces, measure on others."
    )
    options.add_argument("--pieces", type=int, default=100, help="to learn from (100)")
    options.add_argument("--model", default="default", help="to start from (default)")
    options.add_argument("--preset", default="cpu-quick", help="of training.finetune (cpu-quick)")
    options.add_argument("--keep", type=Path, metavar="FOLDER", help="the checkpoint folder")
    options.add_argument("--curve", type=Path, metavar="FOLDER", help="for the learning curve")
    options.set_defaults(further=further)
    return run(measure, options.parse_args(given))


def measure(options: argparse.Namespace) -> Report:
    """Read, learn, read again."""
    if options.pieces < 3:
        raise ReportError(f"--pieces must be 3 or more, got {options.pieces}.")
    pieces = read_corpus(options.data).tokens(options.split)
    before = _read(options.model, pieces)
    with tempfile.TemporaryDirectory() as room:
        lay_out(options.data, options.pieces, Path(room) / "pieces")
        folder = options.keep or Path(room) / "run"
        begin = time.perf_counter()
        _finetune(options, Path(room) / "pieces", folder)
        minutes = (time.perf_counter() - begin) / 60
        after, facts = _read(folder, pieces), read_facts(folder)
        if options.curve:
            for name in CURVE_FILES:
                shutil.copy(folder / name, options.curve / name)
    return _report(options, before, after, minutes, facts)


def lay_out(data: list[str], count: int, folder: Path) -> None:
    """The first pieces of the train split as files in a folder, without a manifest.

    Raises:
        ReportError: There are not so many.
    """
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
            f"--pieces asks for {count}, and only {found} are there to learn from; lower it."
        )


def _finetune(options: argparse.Namespace, data: Path, folder: Path) -> None:
    command = [
        *(sys.executable, "-m", "training.finetune", "--data", str(data)),
        *("--model", options.model, "--preset", options.preset, "--output_dir", str(folder)),
        *options.further,
    ]
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
        raise ReportError("The fine-tuning failed; what it said stands above.")


def _read(model: str | Path, pieces: Any) -> HeldOutBits:
    network, tokenizer = load_checkpoint(model)
    return measure_bits(network.eval(), tokenizer, pieces)


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    at = argv.index("--") if "--" in argv else len(argv)
    return argv[:at], argv[at + 1 :]


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
    sys.exit(main())
