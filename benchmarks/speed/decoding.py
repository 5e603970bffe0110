"""`python -m benchmarks.speed.decoding`: tokens and notes per second, time to the first sound.

Everything runs on one thread and is measured in processor time, which depends less on other
processes of the machine. Compositions come from a `Composer` in a process of its own. With `--old`,
git worktrees of earlier versions, all versions continue the same examples alternately, each with
its bundled weights, and the ratios are printed. 41b0f4e is the last commit with the token loop in
Python.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import symusic
import torch

from benchmarks.common.report import Report, ReportError, parser, run, table
from benchmarks.quality.int8 import packed
from musiclstm import logits_processors
from musiclstm.cli import run_command
from musiclstm.core import Batch, FeatureRows, Network
from musiclstm.core import Sequence as TokenSequence
from musiclstm.examples import example_files
from musiclstm.generation import Constraints, Sampling, bar_rules
from musiclstm.model import FeatureArrays, MusicLSTMForCausalLM, TokenTable, load_checkpoint
from musiclstm.tokens import MusicTokenizer

ROOT = Path(__file__).parents[2]
ROWS = (1, 4, 16)
NEW = "this version"
KINDS = {
    "one sequence": "notes/s",
    "four sequences": "notes/s",
    "first bar": "ms",
    "first sound": "ms",
}
_GENERATED = 192  # tokens of `generate()`
_REPEATS = 10
_BARS = 40  # written by each sequence of a batch

# Runs in the folder of either version, with the paths of MIDI files as arguments. For each line of
# input it composes once from each file and prints: notes, seconds and tokens of one sequence and of
# four sequences; and for each file the seconds from reading it until the first bar is composed and
# until it is rendered (None: no renderer).
_COMPOSE = """
import json, sys, time
from musiclstm import Composer, RenderError, Sampling, read_midi, render

model, bars, prompt_bars = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
composer = Composer.from_pretrained(model)
compose_many = getattr(composer, "compose_many", None) or composer.takes  # takes: version 0.2
files = [open(path, "rb").read() for path in sys.argv[4:]]
common = {"bars": bars, "prompt_bars": prompt_bars}
# Without a choice among candidates, which version 0.2 does not have.
single = Sampling(seed=0, **({"candidates": 1} if hasattr(Sampling, "candidates") else {}))

def timed(count):
    begin, pieces = time.process_time(), []
    for file in files:
        pieces += compose_many(count, prompt=read_midi(file)[0], sampling=single, **common)
    seconds = time.process_time() - begin
    notes = sum(len(track.notes) for piece in pieces for track in piece.continuation.tracks)
    return [notes, seconds, sum(len(piece.tokens) for piece in pieces)]

def first_bar(file):
    begin = time.process_time()
    piece = next(iter(composer.stream(
        prompt=read_midi(file)[0], sampling=Sampling(seed=0), **common)))
    composed = time.process_time() - begin
    try:
        render(piece.continuation)
    except RenderError:
        return [composed, None]
    return [composed, time.process_time() - begin]

for line in sys.stdin:
    print(json.dumps([timed(1), timed(4), [first_bar(file) for file in files]]), flush=True)
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error."""
    options = parser("benchmarks.speed.decoding", "Steps, notes per second, first bar.", data=False)
    add = options.add_argument
    add("--model", default="default", help="default, a checkpoint folder, or a Hub id")
    add("--old", default="", metavar="FOLDERS", help="worktrees of earlier versions, with commas")
    add("--bars", type=int, default=16, help="length of each continuation (16)")
    add("--prompt_bars", type=int, default=8, help="length of each prompt (8)")
    add("--examples", type=int, default=8, help="number of bundled examples to continue (8)")
    add("--rounds", type=int, default=3, help="rounds over the examples (3)")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Measure steps, `generate()`, and compositions."""
    for name in ("bars", "prompt_bars", "examples", "rounds"):
        if getattr(options, name) < 1:
            raise ReportError(f"--{name} must be 1 or more, got {getattr(options, name)}.")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model, tokenizer = load_checkpoint(options.model)
        network = packed(model, tokenizer.token_names)
        facts: dict[str, Any] = {
            **_step_times(network, tokenizer),
            "batches": [_written_per_s(network, tokenizer, rows) for rows in ROWS],
            "generate() tokens/s": _generated_per_s(model, tokenizer),
        }
        facts["composing"] = composing = _compose(options)
    finally:
        torch.set_num_threads(threads)
    facts["composer / generate()"] = composing[NEW]["tokens/s"] / facts["generate() tokens/s"]
    facts["loop / step"] = 1e-6 * facts["step us"] * facts["batches"][0]["tokens/s"]
    facts["ratios"] = _ratios(composing)
    return Report(_text(facts), facts)


# Steps --------------------------------------------------------------------------------------------


def _step_times(network: Network, tokenizer: MusicTokenizer) -> dict[str, float]:
    """Return the time of a step with its features and of the features alone, in microseconds."""
    ids = [token for prompt in _prompts(tokenizer) for token in prompt][:1_600]
    sequence = TokenSequence(network)

    def step() -> None:
        for token in ids:
            sequence.read([token])

    states, out = FeatureRows(TokenTable(tokenizer.token_names), 1), FeatureArrays.empty(1, 1)
    columns = [np.full((1, 1), token, np.int64) for token in ids]

    def features() -> None:
        for column in columns:
            states.read(column, out=out)

    step_us, features_us = (1e6 * _fastest_s(call) / len(ids) for call in (step, features))
    return {"step us": step_us, "features us": features_us}


def _written_per_s(network: Network, tokenizer: MusicTokenizer, rows: int) -> dict[str, float]:
    """Return the tokens per second that the core writes into a batch of sequences."""
    rules, start = bar_rules(Constraints(meter=(4, 4))), [tokenizer.bos_id]
    sequences = [TokenSequence(network) for _ in range(rows)]
    samplings = [Sampling(seed=seed).packed() for seed in range(rows)]
    for sequence, sampling in zip(sequences, samplings, strict=True):
        sequence.read(start)
        sequence.restore(rules, start, [])
        sequence.open_bar(rules, sampling, 0)
    batch, bars, tokens = Batch(sequences), [0] * rows, 0
    begin = time.process_time()
    while min(bars) < _BARS:
        batch.write()
        for row, sequence in enumerate(sequences):
            if sequence.is_complete:
                tokens += len(sequence.bar()[0])
                bars[row] += 1
                sequence.open_bar(rules, samplings[row], bars[row])
    return {"rows": rows, "tokens/s": tokens / (time.process_time() - begin)}


def _prompts(tokenizer: MusicTokenizer) -> Iterator[list[int]]:
    return (tokenizer.encode(symusic.Score(file)) for file in example_files().values())


def _fastest_s(call: Callable[[], None]) -> float:
    """Return the seconds of the fastest of `_REPEATS` calls."""
    times = []
    for _ in range(_REPEATS):
        begin = time.process_time()
        call()
        times.append(time.process_time() - begin)
    return min(times)


def _generated_per_s(model: MusicLSTMForCausalLM, tokenizer: MusicTokenizer) -> float:
    """Return tokens per second of transformers' `generate()` with the same masks and sampling."""
    start = torch.tensor([[tokenizer.bos_id]])
    network: Any = model
    begin = time.process_time()
    network.generate(
        start,
        attention_mask=torch.ones_like(start),
        max_new_tokens=_GENERATED,
        min_new_tokens=_GENERATED,
        do_sample=True,
        top_k=0,
        pad_token_id=tokenizer.pad_id,
        logits_processor=logits_processors(
            tokenizer, constraints=Constraints(meter=(4, 4)), sampling=Sampling(seed=1)
        ),
    )
    return _GENERATED / (time.process_time() - begin)


# Composing ----------------------------------------------------------------------------------------

Round = list[Any]  # one line of output of `_COMPOSE`


def _compose(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Let all versions compose alternately; return their speeds by name."""
    folders = {NEW: ROOT}
    for folder in filter(None, options.old.split(",")):
        if not (Path(folder) / "musiclstm").is_dir():
            raise ReportError(f"{folder!r} is not a checkout of musiclstm.")
        folders[Path(folder).name] = Path(folder)
    rounds: dict[str, list[Round]] = {name: [] for name in folders}
    with ExitStack() as stack:
        composers = {
            name: stack.enter_context(_composer(name, folder, options))
            for name, folder in folders.items()
        }
        for _ in range(options.rounds):
            for name, compose in composers.items():
                rounds[name].append(compose())
    return {name: _speeds(found) for name, found in rounds.items()}


@contextmanager
def _composer(
    name: str, folder: Path, options: argparse.Namespace
) -> Iterator[Callable[[], Round]]:
    """Start a process that composes with one version; yield a function that runs a round."""
    model = "default"
    if name == NEW:
        model = (
            str(Path(options.model).resolve()) if Path(options.model).is_dir() else options.model
        )
    examples = [str(path) for path in example_files().values()][: options.examples]
    lengths = (str(options.bars), str(options.prompt_bars))
    command = [sys.executable, "-c", _COMPOSE, model, *lengths, *examples]
    # Where `CI` is set, pyfluidsynth prints where it found its library.
    environment = os.environ | {"PYTHONPATH": "", "OMP_NUM_THREADS": "1", "CI": ""}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=folder, env=environment, **pipes) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        stdin, stdout = child.stdin, child.stdout

        def compose() -> Round:
            stdin.write("\n")
            stdin.flush()
            line = stdout.readline()
            if not line:
                raise ReportError(f"{name.capitalize()} does not run in this environment.")
            found: Round = json.loads(line)
            return found

        try:
            compose()  # not timed: builds and loads
            yield compose
        finally:
            stdin.close()


def _speeds(rounds: Sequence[Round]) -> dict[str, float]:
    """Return the medians over the rounds, and tokens per note over all rounds."""
    one, four, first = zip(*rounds, strict=True)
    bars, sounds = zip(*(each for found in first for each in found), strict=True)
    speeds = {
        "one sequence": median(notes / seconds for notes, seconds, _ in one),
        "four sequences": median(notes / seconds for notes, seconds, _ in four),
        "first bar": 1000 * median(bars),
        "tokens/s": median(tokens / seconds for _, seconds, tokens in one),
        "tokens per note": sum(each[2] for each in one) / max(1, sum(each[0] for each in one)),
    }
    return speeds if None in sounds else speeds | {"first sound": 1000 * median(sounds)}


def _ratios(composing: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return this version divided by each other one, by its name."""
    new = composing[NEW]
    return {
        name: {kind: new[kind] / old[kind] for kind in ("tokens/s", *KINDS) if kind in old}
        for name, old in composing.items()
        if name != NEW
    }


# Text ---------------------------------------------------------------------------------------------


def _text(facts: dict[str, Any]) -> str:
    batches = [
        {"sequences": str(row["rows"]), "tokens/s": f"{row['tokens/s']:,.0f}"}
        for row in facts["batches"]
    ]
    composing = [
        {"version": name}
        | {
            f"{kind}, {unit}": f"{found[kind]:,.0f}" if kind in found else "-"
            for kind, unit in KINDS.items()
        }
        | {"tokens per note": f"{found['tokens per note']:.2f}"}
        for name, found in facts["composing"].items()
    ]
    lines = [table(batches), "", table(composing), ""]
    lines.append(
        f"A step with its features takes {facts['step us']:.0f} us, the features "
        f"{facts['features us']:.1f} us. One sequence is written at {facts['loop / step']:.2f} of "
        "the speed of the steps alone."
    )
    lines.append(
        f"The composer writes {facts['composer / generate()']:.1f} times as many tokens per second "
        "as generate() of transformers with the same weights, one sequence each."
    )
    for name, ratios in facts["ratios"].items():
        lines += [f"{NEW} / {name}, {kind}: {ratio:.2f}" for kind, ratio in ratios.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_command(main))
