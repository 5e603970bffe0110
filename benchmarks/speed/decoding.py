"""`python -m benchmarks.speed.decoding`: time of a decoding step, notes per second, time to first sound.

Everything runs on one thread and is counted in processor time, so that other processes on the
machine matter less. Compositions come from a `Composer` in a process of their own. With `--old`, a
git worktree of version 0.2, both versions continue the bundled examples in turn, each with its
bundled weights, and the ratios are printed.
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
from musiclstm import logits_processors
from musiclstm.core import FeatureRows
from musiclstm.examples import example_files
from musiclstm.generation import Constraints, InferenceModel, Sampling
from musiclstm.model import FeatureArrays, MusicLSTMForCausalLM, TokenTable, load_checkpoint
from musiclstm.tokens import MusicTokenizer

ROOT = Path(__file__).parents[2]
ROWS = (1, 4, 16)
NEW, OLD = "this version", "version 0.2"
KINDS = {"one take": "notes/s", "four takes": "notes/s", "first bar": "ms", "first sound": "ms"}
_GENERATED = 192  # tokens of `generate()`
_REPEATS = 10

# Runs in the folder of either version. One line in: a round over the bundled examples; one line
# out: notes, seconds and tokens of one take and of four takes, and for each example the seconds
# from the bytes of its file until the first bar is composed, and until it is rendered (None: no
# renderer).
_COMPOSING = """
import json, sys, time
import torch
from musiclstm import Composer, Sampling
from musiclstm.errors import RenderError
from musiclstm.midi.reader import read_midi
from musiclstm.audio.rendering import render
from musiclstm.examples import bundled_seeds

torch.set_num_threads(1)
model, bars, prompt_bars = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
composer = Composer.from_pretrained(model)
files = [file.read_bytes() for file in bundled_seeds().values()][: int(sys.argv[4])]
common = {"prompt_bars": prompt_bars, "sampling": Sampling(seed=0)}

def notes_in(pieces):
    return sum(len(track.notes) for piece in pieces for track in piece.continuation.tracks)

def timed(count):
    begin, pieces = time.process_time(), []
    for file in files:
        pieces += composer.compose_many(count, bars=bars, prompt=read_midi(file)[0], **common)
    seconds = time.process_time() - begin
    return [notes_in(pieces), seconds, sum(len(piece.tokens) for piece in pieces)]

def first_bar(file):
    begin = time.process_time()
    draft = next(iter(composer.stream(bars=bars, prompt=read_midi(file)[0], **common)))
    composed = time.process_time() - begin
    try:
        render(draft.continuation)
    except RenderError:
        return [composed, None]
    return [composed, time.process_time() - begin]

for line in sys.stdin:
    print(json.dumps([timed(1), timed(4), [first_bar(file) for file in files]]), flush=True)
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 0, or 1 after a sentence on standard error."""
    options = parser("benchmarks.speed.decoding", "Steps, notes per second, first bar.", data=False)
    add = options.add_argument
    add("--model", default="default", help="default, a checkpoint folder, or a Hub id")
    add("--old", type=Path, metavar="FOLDER", help="worktree of version 0.2 to compare with")
    add("--bars", type=int, default=16, help="of each continuation (16)")
    add("--prompt_bars", type=int, default=8, help="that are read (8)")
    add("--examples", type=int, default=8, help="of the bundled ones that are continued (8)")
    add("--rounds", type=int, default=3, help="over the examples (3)")
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
        network = InferenceModel(model)
        facts: dict[str, Any] = {
            "engine": network.engine,
            "steps": [_step_times(network, tokenizer, rows) for rows in ROWS],
            "generate() tokens/s": _generated_per_s(model, tokenizer),
        }
        facts["composing"] = composing = _compose(options)
    finally:
        torch.set_num_threads(threads)
    facts["composer / generate()"] = composing[NEW]["tokens/s"] / facts["generate() tokens/s"]
    facts["ratios"] = _ratios(composing)
    return Report(_text(facts), facts)


# Steps --------------------------------------------------------------------------------------------


def _step_times(network: InferenceModel, tokenizer: MusicTokenizer, rows: int) -> dict[str, float]:
    """Return microseconds of a step and of its features, for each of so many rows."""
    ids = [token for prompt in _prompts(tokenizer) for token in prompt][: 1_600 // rows]
    batch = network.start([network.prefill(ids[:1])] * rows)

    def step() -> None:
        for token in ids:
            batch.step([token] * rows)

    whole = 1e6 * _fastest(step) / len(ids) / rows
    part = 1e6 * _features_s(network, ids, rows) / len(ids) / rows
    return {"rows": rows, "step us": whole, "features us": part, "share": part / whole}


def _features_s(network: InferenceModel, ids: Sequence[int], rows: int) -> float:
    """Return the seconds that the step features of these tokens take; 0 without compiled core."""
    names = network.config.token_names
    if names is None or network.engine != "compiled":
        return 0.0
    states, out = FeatureRows(TokenTable(names), rows), FeatureArrays.empty(rows, 1)
    columns = [np.full((rows, 1), token, np.int32) for token in ids]

    def features() -> None:
        for column in columns:
            states.read(column, out=out)

    return _fastest(features)


def _prompts(tokenizer: MusicTokenizer) -> Iterator[list[int]]:
    return (tokenizer.encode(symusic.Score(file)) for file in example_files().values())


def _fastest(call: Callable[[], None]) -> float:
    """Return the seconds of the fastest of some calls."""
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

Round = list[Any]  # what `_COMPOSING` prints


def _compose(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Let all versions compose in turn; return their speeds by name."""
    folders = {NEW: ROOT}
    if options.old is not None:
        if not (options.old / "musiclstm" / "kernel.c").is_file():
            raise ReportError(f"{str(options.old)!r} is not a checkout of version 0.2.")
        folders[OLD] = options.old
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
    """Give a function that lets one version compose a round in its own process."""
    model = "default"
    if name == NEW:
        model = (
            str(Path(options.model).resolve()) if Path(options.model).is_dir() else options.model
        )
    numbers = (str(options.bars), str(options.prompt_bars), str(options.examples))
    command = [sys.executable, "-c", _COMPOSING, model, *numbers]
    environment = os.environ | {"PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=folder, env=environment, **pipes) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        into, out = child.stdin, child.stdout

        def compose() -> Round:
            into.write("\n")
            into.flush()
            line = out.readline()
            if not line:
                raise ReportError(f"{name.capitalize()} does not compose in this environment.")
            found: Round = json.loads(line)
            return found

        try:
            compose()  # the first round builds and loads
            yield compose
        finally:
            into.close()


def _speeds(rounds: Sequence[Round]) -> dict[str, float]:
    """Return medians of the rounds; tokens a note of all of them."""
    one, four, first = zip(*rounds, strict=True)
    bars, sounds = zip(*(each for found in first for each in found), strict=True)
    speeds = {
        "one take": median(notes / seconds for notes, seconds, _ in one),
        "four takes": median(notes / seconds for notes, seconds, _ in four),
        "first bar": 1000 * median(bars),
        "tokens/s": median(tokens / seconds for _, seconds, tokens in one),
        "tokens a note": sum(each[2] for each in one) / max(1, sum(each[0] for each in one)),
    }
    return speeds if None in sounds else speeds | {"first sound": 1000 * median(sounds)}


def _ratios(composing: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return this version divided by version 0.2, empty without it."""
    if OLD not in composing:
        return {}
    new, old = composing[NEW], composing[OLD]
    return {kind: new[kind] / old[kind] for kind in KINDS if kind in new and kind in old}


# Text ---------------------------------------------------------------------------------------------


def _text(facts: dict[str, Any]) -> str:
    steps = [
        {
            "rows": str(row["rows"]),
            "step, us a row": f"{row['step us']:.0f}",
            "features, us a row": f"{row['features us']:.1f}",
            "share of features": f"{100 * row['share']:.1f} %",
        }
        for row in facts["steps"]
    ]
    composing = [
        {"version": name}
        | {
            f"{kind}, {unit}": f"{found[kind]:,.0f}" if kind in found else "-"
            for kind, unit in KINDS.items()
        }
        | {"tokens a note": f"{found['tokens a note']:.2f}"}
        for name, found in facts["composing"].items()
    ]
    lines = [f"Steps ({facts['engine']}):", "", table(steps), "", table(composing), ""]
    lines.append(
        f"The composer writes {facts['composer / generate()']:.1f} times as many tokens per second "
        "as generate() of transformers with the same weights, one take each."
    )
    lines += [f"{NEW} / {OLD}, {kind}: {ratio:.2f}" for kind, ratio in facts["ratios"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
