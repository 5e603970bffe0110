"""`python -m benchmarks.quality.sample_gallery`: continuations of ten held-out pieces.

Writes a MIDI file, a piano roll and the audio of each continuation into a folder, with
`gallery.json` and a page that shows them. Pieces and random numbers depend on `--seed` only;
results are not selected. The table shows metrics of `training.evaluate` and is sorted by the first,
the overlap of a continuation with its prompt, compared with that of the original next bars.
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
from musiclstm.cli import run_command
from musiclstm.errors import RenderError
from musiclstm.export import pianoroll_svg
from musiclstm.generation import Composer, Composition, Sampling
from musiclstm.model import DEFAULT
from training.evaluation.continuations import PromptedPiece, prompted_piece, read_continuation
from training.evaluation.music_metrics import NoteTable, overlaps, prompt_metrics

COUNT = 10
# Style and number of pieces of each corpus; other corpora fill the gallery up to `COUNT`.
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
PROMPT_BARS, BARS, SEED = 8, 16, 7
PAGE, FACTS = "README.md", "gallery.json"


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error."""
    options = parser(
        "benchmarks.quality.sample_gallery", "Continue held-out pieces of many styles."
    )
    add = options.add_argument
    add("--out", type=Path, required=True, help="output folder")
    add("--model", default=DEFAULT, help="default, a checkpoint folder, or a Hub id")
    add("--sound", default="mp3", choices=[*sorted(FORMATS), "none"], help="audio format (mp3)")
    add("--seed", type=int, default=SEED, help=f"random seed ({SEED})")
    return run(measure, options.parse_args(argv))


@dataclass(frozen=True)
class GalleryPiece:
    """A held-out piece.

    Attributes:
        name: Name of its files in the gallery, such as `03-quartet`.
        source: Name of its file and its corpus.
        piece: Prompt and original next bars.
    """

    name: str
    source: str
    piece: PromptedPiece


def measure(options: argparse.Namespace) -> Report:
    """Choose the pieces, continue them and write the gallery."""
    composer = Composer.from_pretrained(options.model)
    chosen = list(_number(_choose(options)))
    if not chosen:
        raise ReportError(
            f"No piece of the split {options.split!r} has {PROMPT_BARS + BARS} bars and a prompt "
            "with enough notes; add MIDI files to --data."
        )
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        rows = [_row(composer, each, number, options) for number, each in enumerate(chosen)]
        text = _text(rows, options)
        (options.out / FACTS).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
        (options.out / PAGE).write_text(_page(rows, text), encoding="utf-8")
    except OSError as error:
        raise ReportError(
            f"{str(options.out)!r} cannot be written ({error.strerror}); free some space, or name "
            "another folder after --out."
        ) from error
    return Report(text, {"seed": options.seed, "continuations": rows})


# Pieces -------------------------------------------------------------------------------------------


def _choose(options: argparse.Namespace) -> Iterator[tuple[str, str, PromptedPiece]]:
    """Yield style, source and piece, in random order within each corpus."""
    found = [
        (source, piece)
        for source, score in read_split(options.data, options.split)
        if (piece := _piece(score)) is not None
    ]
    order = np.random.default_rng(options.seed).permutation(len(found))
    shuffled = [found[i] for i in order]
    for corpus in STYLES | {source.corpus: () for source, _ in found}:
        style, count = STYLES.get(corpus, (corpus, 2))
        own = [each for each in shuffled if each[0].corpus == corpus]
        for source, piece in own[:count]:
            yield style, f"{source.name} ({source.corpus})", piece


def _piece(score: ScoreTick) -> PromptedPiece | None:
    return prompted_piece(score, prompt_bars=PROMPT_BARS, bars=BARS, allow_short=False)


def _number(chosen: Iterator[tuple[str, str, PromptedPiece]]) -> Iterator[GalleryPiece]:
    for number, (style, source, piece) in enumerate(islice(chosen, COUNT), start=1):
        yield GalleryPiece(f"{number:02}-{style}", source, piece)


# Continuations ------------------------------------------------------------------------------------


def _row(
    composer: Composer, chosen: GalleryPiece, number: int, options: argparse.Namespace
) -> dict[str, Any]:
    sys.stderr.write(f"… {chosen.name}: {chosen.source}\n")
    composition = composer.compose(
        bars=BARS,
        prompt=chosen.piece.score,
        prompt_bars=PROMPT_BARS,
        sampling=Sampling(seed=options.seed + number),
    )
    files = _write(composition, chosen, options)
    read = read_continuation(composition, number, chosen.piece)
    return {
        "name": chosen.name,
        "source": chosen.source,
        "random_seed": composition.sampling.seed,
        "files": files,
        "composed": _metrics(read.prompt, read.music),
        "original": _metrics(chosen.piece.prompt, chosen.piece.original),
    }


def _write(
    composition: Composition, chosen: GalleryPiece, options: argparse.Namespace
) -> dict[str, str]:
    path = options.out / chosen.name
    roll = pianoroll_svg(
        composition.score, prompt_end_tick=composition.prompt_end_tick, title=chosen.name
    )
    path.with_suffix(".svg").write_text(roll, encoding="utf-8")
    files = {
        "midi": composition.save_midi(path.with_suffix(".mid")).name,
        "roll": f"{chosen.name}.svg",
    }
    if options.sound != "none":
        try:
            audio = render(composition.score)
        except RenderError as error:
            raise ReportError(f"{error} Or pass --sound none.") from error
        files["sound"] = audio.save(path.with_suffix(f".{options.sound}")).name
    return files


def _metrics(prompt: NoteTable, music: NoteTable) -> dict[str, Any]:
    """Return metrics of `training.evaluate`; None: undefined."""
    found = {
        _OVERLAP: overlaps(music, prompt)["overlap"],
        "notes per bar": len(music) / music.bars,
        **prompt_metrics(prompt, music),
    }
    known = {name: round(v, 4) if np.isfinite(v) else None for name, v in found.items()}
    return {name.replace("_", " "): value for name, value in known.items()}


# Text ---------------------------------------------------------------------------------------------

_OVERLAP = "overlap with the prompt"
_SHOWN = (_OVERLAP, "notes per bar", "near repeats", "same key")


def lost_overlap(row: Mapping[str, Any]) -> float:
    """Return the overlap with the prompt that is lost, compared with the original bars."""
    return float(row["original"][_OVERLAP] - row["composed"][_OVERLAP])


def _text(rows: Sequence[dict[str, Any]], options: argparse.Namespace) -> str:
    ordered = sorted(rows, key=lost_overlap)
    cells = [
        {"continuation": row["name"]}
        | {name: f"{_cell(row['composed'][name])} ({_cell(row['original'][name])})"
           for name in _SHOWN}
        | {"collapsed": "yes" if row["composed"]["collapse"] else "no"}
        for row in ordered
    ]  # fmt: skip
    return (
        f"{table(cells)}\n\n{len(rows)} continuations of {BARS} bars after {PROMPT_BARS} of "
        f"pieces of the split {options.split}, random seed {options.seed} and up, "
        "default settings; in parentheses the original next bars. Sorted by the lost overlap."
    )


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _page(rows: Sequence[dict[str, Any]], text: str) -> str:
    shown = [
        f"## {row['name']}\n\nAfter {PROMPT_BARS} bars of `{row['source']}`: "
        + ", ".join(f"[{kind}]({file})" for kind, file in row["files"].items())
        + f".\n\n![Piano roll of {row['name']}]({row['files']['roll']})"
        for row in rows
    ]
    return "\n\n".join(["# Continuations of held-out pieces", text, *shown]) + "\n"


if __name__ == "__main__":
    sys.exit(run_command(main))
