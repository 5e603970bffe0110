"""`python -m benchmarks.quality.browser_builds`: the same music in browsers as from the library.

The page without a server is opened in Chromium and in Firefox. Its engine writes sequences with
random prompts, sampling and constraints of those that the page has; the command compares tokens
and decoder states bit for bit with the library.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.browsers import Evaluate, chromium, firefox
from benchmarks.common.report import Report, ReportError, parser, run, table
from hub.static_page import build, serving
from musiclstm import Composer, Composition, Constraints, Sampling, example_files, read_midi
from musiclstm.cli import run_command
from musiclstm.generation import MAX_SEED
from musiclstm.tokens import MusicTokenizer, programs_of

BARS = 4
BROWSERS: dict[str, Callable[[str], AbstractContextManager[Evaluate]]] = {
    "Chromium": chromium,
    "Firefox": firefox,
}
_METERS = ((4, 4), (3, 4), (2, 4), (6, 8), (12, 8), (5, 8), (1, 8), (3, 16), (7, 16))
_KEYS = ("", "C major", "F# minor", "Bb major", "G minor", "E major")

# Opens the prompts in turn, writes their sequences, and returns a digest of each.
_WRITE = """async ({ prompts, takes, bars }) => {
    const until = async (value) => {
        while (!value()) await new Promise((resolve) => setTimeout(resolve, 20));
    };
    await until(() => window.page?.studio?.piece);
    const { studio } = page;
    const digests = [];
    for (const [index, { name, file }] of prompts.entries()) {
        const bytes = Uint8Array.from(atob(file), (each) => each.charCodeAt(0));
        await studio.open(bytes, { name, source: name });
        const { ids, constraints, state } = studio.piece.base;
        for (const { prompt, settings, ...own } of takes.filter((each) => each.prompt === index)) {
            const parts = [];
            const keep = ({ data }) => { if (data.bar) parts.push(data.bar); };
            studio.engine.worker.addEventListener("message", keep);
            await studio.engine.call("write", {
                job: -2, limit: Infinity, prompt: ids, bars,
                rows: [{ bars: [], state, settings, constraints: { ...constraints, ...own } }],
            });
            studio.engine.worker.removeEventListener("message", keep);
            const tokens = parts.flatMap((bar) => [...bar.tokens]);
            const last = parts.at(-1)?.state ?? new Float32Array(0);
            const all = new Uint8Array([
                ...new Uint8Array(Int32Array.from(tokens).buffer),
                ...new Uint8Array(last.slice().buffer),
            ]);
            const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", all));
            digests.push([...hash].map((each) => each.toString(16).padStart(2, "0")).join(""));
        }
    }
    return digests;
}"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 if a browser differs, or after an error."""
    options = parser("benchmarks.quality.browser_builds", "The same music in browsers.", data=False)
    add = options.add_argument
    add("--folder", type=Path, help="a built page (it is built)")
    add("--takes", type=int, default=100, help="number of sequences (100)")
    add("--seed", type=int, default=0, help="random seed (0)")
    add("--only", choices=BROWSERS, help="one browser (all)")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Write all sequences with the library and in each browser, and compare."""
    if options.takes < 1:
        raise ReportError(f"--takes must be 1 or more, got {options.takes}.")
    takes = list(_random_takes(options.takes, random.Random(options.seed)))
    expected = _library_digests(takes)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if options.folder is None:
            build(folder)
        with serving(folder) as url:
            for name, browser in BROWSERS.items():
                if options.only in (None, name):
                    with browser(url) as evaluate:
                        found = evaluate(_WRITE, _request(takes))
                    same = sum(a == b for a, b in zip(found, expected, strict=True))
                    rows.append({"browser": name, "identical": same, "of": len(expected)})
    passed = all(row["identical"] == row["of"] for row in rows)
    return Report(table(rows), {"takes": options.takes, "browsers": rows}, passed=passed)


def _random_takes(count: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    """Yield requests of the page's engine, those of each prompt together."""
    paths = list(example_files().values())
    programs = [sorted(programs_of(read_midi(path)[0])) for path in paths]
    for prompt in sorted(rng.randrange(len(paths)) for _ in range(count)):
        own = programs[prompt]
        yield {
            "prompt": prompt,
            "programs": rng.sample(own, rng.randint(1, len(own))),
            "meter": rng.choice((None, *_METERS)),
            "maxAtOnce": rng.randint(4, 32),
            "settings": {
                "temperature": rng.choice((0.6, 1, 1.3)),
                "copyWeight": rng.choice((0, 0.5, 1)),
                "topP": rng.choice((0.5, 0.97, 1)),
                "candidates": rng.choice((1, 2, 8)),
                "seed": rng.randint(0, MAX_SEED),
                "key": rng.choice(_KEYS),
            },
        }


def _request(takes: list[dict[str, Any]]) -> dict[str, Any]:
    prompts = [
        {"name": title, "file": base64.b64encode(path.read_bytes()).decode()}
        for title, path in example_files().items()
    ]
    ids = {name: token for token, name in enumerate(MusicTokenizer.token_names)}
    meters = {(n, d): ids[f"TimeSig_{n}/{d}"] for n, d in _METERS}
    numbered = [take | {"meter": meters.get(take["meter"], -1)} for take in takes]
    return {"prompts": prompts, "takes": numbered, "bars": BARS}


def _library_digests(takes: list[dict[str, Any]]) -> list[str]:
    composer, paths = Composer.from_pretrained(), list(example_files().values())
    return [_digest(_compose(composer, paths[take["prompt"]], take)) for take in takes]


def _compose(composer: Composer, prompt: Path, take: dict[str, Any]) -> Composition:
    settings = take["settings"]
    return composer.compose(
        prompt=prompt,
        bars=BARS,
        sampling=Sampling(
            temperature=settings["temperature"],
            copy_weight=settings["copyWeight"],
            top_p=settings["topP"],
            candidates=settings["candidates"],
            seed=settings["seed"],
        ),
        constraints=Constraints(
            programs=frozenset(take["programs"]),
            meter=take["meter"],
            tempo_changes=False,
            key=settings["key"] or None,
            max_notes_at_once=take["maxAtOnce"],
        ),
    )


def _digest(piece: Composition) -> str:
    tokens = np.concatenate([np.asarray(bar, np.int32) for bar in piece.bar_tokens])
    state = piece.state
    parts = (tokens, state.hidden, state.cell, state.logits)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


if __name__ == "__main__":
    sys.exit(run_command(main))
