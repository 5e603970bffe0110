"""`python -m benchmarks.quality.sample_gallery`: ten held-out pieces of many styles go on, to be heard and judged.

Writes a MIDI file, a picture and the sound of each into a folder, beside `gallery.json` and a page
that shows them all. The pieces and the random numbers are drawn once, by `--seed`; nothing is
chosen by how it turned out. The judgement is by the measures of `training.evaluate`, and the order
of the table by the first of them: how like its own seed a continuation is, beside how like it the
piece's own next bars are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from symusic.core import ScoreTick

from benchmarks.common.held_out_pieces import read_split
from benchmarks.common.report import Report, ReportError, parser, run, table
from musiclstm.audio import FORMATS, render
from musiclstm.errors import RenderError
from musiclstm.export import pianoroll_svg
from musiclstm.generation import Composer, Composition, Sampling
from musiclstm.model import DEFAULT
from training.evaluation.continuations import PromptedPiece, prompted_piece, read_continuation
from training.evaluation.music_metrics import NoteTable, overlaps, prompt_metrics

COUNT = 10
# What to call pieces of each corpus, and how many are taken; other corpora fill up to `COUNT`.
STYLES = {
    "openscore-lieder": ("song", 1),
    "freedoom": ("band", 1),
    "openscore-quartets": ("quartet", 1),
    "openscore-orchestra": ("orchestra", 1),
    "nifc-keyboard": ("piano", 1),
    "simutrans": ("jazz", 1),
    "openewld-pd": ("lead-sheet", 1),
    "mutopia-pd-by": ("classical", 1),
    "nifc-sacred": ("choir", 1),
    "open-hymnal": ("hymn", 1),
}
SEED_BARS, BARS, SEED = 8, 16, 7
PAGE, FACTS = "README.md", "gallery.json"


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with a sentence on bad input."""
    options = parser("benchmarks.quality.sample_gallery", "Held-out pieces of many styles go on.")
    add = options.add_argument
    add("--out", type=Path, required=True, help="the folder to write into")
    add("--model", default=DEFAULT, help="default, a checkpoint folder, or a Hub id")
    add("--sound", default="mp3", choices=[*sorted(FORMATS), "none"], help="its format (mp3)")
    add("--seed", type=int, default=SEED, help=f"of all that is left to chance ({SEED})")
    return run(measure, options.parse_args(argv))


@dataclass(frozen=True)
class Chosen:
    """A held-out piece.

    Attributes:
        name: Of its files here, such as `03-quartet`.
        source: Its file and its corpus.
        piece: Its first bars and what they go on with.
    """

    name: str
    source: str
    piece: PromptedPiece


def measure(options: argparse.Namespace) -> Report:
    """Choose, compose, write, judge."""
    composer = Composer.from_pretrained(options.model)
    chosen = list(_numbered(_chosen(options)))
    if not chosen:
        raise ReportError(
            f"No piece of the split {options.split!r} has {SEED_BARS + BARS} bars and a seed with "
            "enough notes; add MIDI files to --data."
        )
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        rows = [_row(composer, each, number, options) for number, each in enumerate(chosen)]
        text = _text(rows, options)
        (options.out / FACTS).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
        (options.out / PAGE).write_text(_page(rows, text), encoding="utf-8")
    except OSError as error:
        raise ReportError(
            f"{str(options.out)!r} cannot be written ({error.strerror}); make room, or name "
            "another folder after --out."
        ) from error
    return Report(text, {"seed": options.seed, "continuations": rows})


# Choosing -----------------------------------------------------------------------------------------


def _chosen(options: argparse.Namespace) -> Iterator[tuple[str, str, PromptedPiece]]:
    """Style, source and piece, in an order drawn by chance within every corpus."""
    found = [
        (source, piece)
        for source, score in read_split(options.data, options.split)
        if (piece := _piece(score)) is not None
    ]
    order = np.random.default_rng(options.seed).permutation(len(found))
    shuffled = [found[place] for place in order]
    for corpus in STYLES | {source.corpus: () for source, _ in found}:
        style, wanted = STYLES.get(corpus, (corpus, 2))
        own = [each for each in shuffled if each[0].corpus == corpus]
        for source, piece in own[:wanted]:
            yield style, f"{source.name} ({source.corpus})", piece


def _piece(score: ScoreTick) -> PromptedPiece | None:
    return prompted_piece(score, prompt_bars=SEED_BARS, bars=BARS, allow_short=False)


def _numbered(chosen: Iterator[tuple[str, str, PromptedPiece]]) -> Iterator[Chosen]:
    for number, (style, source, piece) in enumerate(islice(chosen, COUNT), start=1):
        yield Chosen(f"{number:02}-{style}", source, piece)


# Composing, writing, judging ----------------------------------------------------------------------


def _row(
    composer: Composer, chosen: Chosen, number: int, options: argparse.Namespace
) -> dict[str, Any]:
    sys.stderr.write(f"… {chosen.name}: {chosen.source}\n")
    take = composer.compose(
        bars=BARS,
        prompt=chosen.piece.score,
        prompt_bars=SEED_BARS,
        sampling=Sampling(seed=options.seed + number),
    )
    files = _write(take, chosen, options)
    read = read_continuation(take, number, chosen.piece)
    return {
        "name": chosen.name,
        "source": chosen.source,
        "random_seed": take.sampling.seed,
        "files": files,
        "composed": _judged(read.prompt, read.music),
        "original": _judged(chosen.piece.prompt, chosen.piece.original),
    }


def _write(take: Composition, chosen: Chosen, options: argparse.Namespace) -> dict[str, str]:
    path = options.out / chosen.name
    roll = pianoroll_svg(take.score, prompt_end_tick=take.prompt_end_tick, title=chosen.name)
    path.with_suffix(".svg").write_text(roll, encoding="utf-8")
    files = {"midi": take.save_midi(path.with_suffix(".mid")).name, "roll": f"{chosen.name}.svg"}
    if options.sound != "none":
        try:
            audio = render(take.score)
        except RenderError as error:
            raise ReportError(f"{error} Or pass --sound none.") from error
        files["sound"] = audio.save(path.with_suffix(f".{options.sound}")).name
    return files


def _judged(prompt: NoteTable, music: NoteTable) -> dict[str, Any]:
    """The figures of `training.evaluate` for one section; None where one is undefined."""
    found = {
        _OVERLAP: overlaps(music, prompt)["overlap"],
        "notes per bar": len(music) / music.bars,
        **prompt_metrics(prompt, music),
    }
    known = {name: round(v, 4) if np.isfinite(v) else None for name, v in found.items()}
    return {name.replace("_", " "): value for name, value in known.items()}


# In words -----------------------------------------------------------------------------------------

_OVERLAP = "overlap with the prompt"
_SHOWN = (_OVERLAP, "notes per bar", "near repeats", "same key")


def lost(row: Mapping[str, Any]) -> float:
    """How much less like the seed the continuation is than the piece's own next bars are."""
    return float(row["original"][_OVERLAP] - row["composed"][_OVERLAP])


def _text(rows: Sequence[dict[str, Any]], options: argparse.Namespace) -> str:
    ordered = sorted(rows, key=lost)
    cells = [
        {"continuation": row["name"]}
        | {name: f"{_number(row['composed'][name])} ({_number(row['original'][name])})"
           for name in _SHOWN}
        | {"collapsed": "yes" if row["composed"]["collapse"] else "no"}
        for row in ordered
    ]  # fmt: skip
    return (
        f"{table(cells)}\n\n{len(rows)} continuations of {BARS} bars after {SEED_BARS} of "
        f"pieces of the split {options.split}, random seed {options.seed} and up, "
        "default settings; in brackets the piece's own next bars. The nearest to its seed stands "
        "first."
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _page(rows: Sequence[dict[str, Any]], text: str) -> str:
    shown = [
        f"## {row['name']}\n\nAfter {SEED_BARS} bars of `{row['source']}`: "
        + ", ".join(f"[{kind}]({file})" for kind, file in row["files"].items())
        + f".\n\n![roll of {row['name']}]({row['files']['roll']})"
        for row in rows
    ]
    return "\n\n".join(["# Ten continuations", text, *shown]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
