"""`python -m benchmarks.quality.references`: bits per note after other pieces were read.

Before a held-out piece, 1, 4 or 8 training pieces are read, as by `Composer.compose(references=…)`:
of the same corpus, or of the next corpus of `--data`. Variants: as the files are; with the hidden
and cell states of the network, which `compose` resets; transposed to the key of the first eight
bars, as `compose` does for a prompt. The last variant has seen these bars, so the bits after them
are the ones to compare.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from symusic.core import ScoreTick

from benchmarks.common.held_out_pieces import read_split
from benchmarks.common.report import Report, ReportError, parser, run, table
from benchmarks.quality.int8 import packed
from musiclstm.cli import run_command
from musiclstm.core import Network
from musiclstm.core import Sequence as CoreSequence
from musiclstm.errors import ScoreError
from musiclstm.generation import MAX_BARS, read_references, reference_ids
from musiclstm.midi import MidiLimits, analysis, read_midi
from musiclstm.model import DEFAULT, load_checkpoint
from musiclstm.tokens import MusicTokenizer
from training.data.corpus import sources_of_split
from training.data.sources import MidiSource
from training.data.tokenize import count_notes
from training.evaluation.comparison import BOOTSTRAP_SAMPLES
from training.evaluation.continuations import cut_score
from training.evaluation.music_metrics import Floats

COUNTS = (1, 4, 8)
PROMPT_BARS = 8
MAX_TOKENS = 2_048  # of a held-out piece, from its start
PIECES, SEED = 16, 7
_WHOLE, _LATER = "all bars", f"after bar {PROMPT_BARS}"


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error."""
    options = parser(
        "benchmarks.quality.references", "Measure bits per note after reading other pieces."
    )
    add = options.add_argument
    add("--model", default=DEFAULT, help="default, a checkpoint folder, or a Hub id")
    add("--pieces", type=int, default=PIECES, help=f"most pieces of each corpus ({PIECES})")
    add("--reference_bars", type=int, help="read only the first so many bars of each reference")
    add("--seed", type=int, default=SEED, help=f"random seed of the references ({SEED})")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Measure the held-out pieces of each corpus."""
    if options.pieces < 1:
        raise ReportError(f"--pieces must be 1 or more, got {options.pieces}.")
    bars = options.reference_bars
    if bars is not None and not 1 <= bars <= MAX_BARS:
        raise ReportError(f"--reference_bars must be from 1 to {MAX_BARS:,}, got {bars}.")
    model, tokenizer = load_checkpoint(options.model)
    reader = Reader(packed(model, tokenizer.token_names), tokenizer, model.config.programs, bars)
    training: dict[str, list[MidiSource]] = defaultdict(list)
    for source in sources_of_split(options.data, "train"):
        training[source.corpus].append(source)
    rows: dict[str, list[dict[str, Floats]]] = defaultdict(list)
    for source, score in read_split(options.data, options.split, at_most=options.pieces):
        rng = random.Random(f"{options.seed} {source.corpus} {source.name}")
        names = list(training)
        following = names[(names.index(source.corpus) + 1) % len(names)]
        pools = {"same": source.corpus} | ({"other": following} if len(names) > 1 else {})
        references = {kind: _draw(training[name], rng) for kind, name in pools.items()}
        rows[source.corpus].append(reader.variants(score, references))
    facts = {
        "model": options.model,
        "split": options.split,
        "reference_bars": bars,
        "corpora": {corpus: _figures(own) for corpus, own in rows.items()},
    }
    return Report(_text(facts), facts)


def _draw(sources: Sequence[MidiSource], rng: random.Random) -> list[ScoreTick]:
    """Return the scores of random pieces, as many as the largest of `COUNTS` if there are."""
    limits = MidiLimits.training()
    found: list[ScoreTick] = []
    for source in rng.sample(sources, len(sources)):
        if len(found) == COUNTS[-1]:
            break
        try:
            found.append(read_midi(source.read(limits.bytes), limits=limits)[0])
        except ScoreError as error:
            sys.stderr.write(f"skipped {source.name}: {error}\n")
    return found


class Reader:
    """Reads pieces after references, and returns bits and notes."""

    def __init__(
        self,
        network: Network,
        tokenizer: MusicTokenizer,
        programs: Sequence[int] | None,
        reference_bars: int | None,
    ) -> None:
        """Store a network, its tokenizer and programs, and how many bars of references are read."""
        self._network, self._tokenizer, self._programs = network, tokenizer, programs
        self._bars = reference_bars

    def variants(
        self, score: ScoreTick, references: dict[str, list[ScoreTick]]
    ) -> dict[str, Floats]:
        """Return bits and notes of a piece after each set of references.

        Args:
            score: The piece.
            references: Lists by kind, `same` and perhaps `other`.

        Returns:
            Bits of all tokens and of those after `PROMPT_BARS`, and their notes, (2, 2), by name.
        """
        lines = analysis.bar_starts(score)
        prompt = cut_score(score, int(lines[min(PROMPT_BARS, len(lines) - 1)]))
        ids = self._tokenizer.encode(score)[:MAX_TOKENS]
        found = {"none": self._measure(CoreSequence(self._network), ids)}
        for kind, scores in references.items():
            for music in (None, prompt):
                sequence, read = CoreSequence(self._network), 0
                for count in COUNTS:
                    part = read_references(scores[read:count], self._bars)
                    sequence.read(reference_ids(part, music, self._tokenizer, self._programs))
                    read = count
                    name = f"{count} {kind}{'' if music is None else ', transposed'}"
                    if kind == "same" and music is None:
                        found[f"{name}, with states"] = self._measure(
                            _copy(sequence, states=True), ids
                        )
                    found[name] = self._measure(_copy(sequence, states=False), ids)
        return found

    def _measure(self, sequence: CoreSequence, ids: Sequence[int]) -> Floats:
        stream, bits = [self._tokenizer.bos_id, *ids], []
        for token, following in itertools.pairwise(stream):
            sequence.read([token])
            logits = sequence.logits.astype(np.float64)
            bits.append(np.logaddexp.reduce(logits) - logits[following])
        bars = np.flatnonzero(np.asarray(ids) == self._tokenizer.ids["Bar_None"])
        later = int(bars[PROMPT_BARS]) if len(bars) > PROMPT_BARS else len(ids)
        starts = (0, later)
        return np.array(
            [
                [sum(bits[start:]) / np.log(2) for start in starts],
                [count_notes(ids[start:], self._tokenizer) for start in starts],
            ]
        )


def _copy(sequence: CoreSequence, *, states: bool) -> CoreSequence:
    """Return a copy, with or without the hidden and cell states."""
    copy = CoreSequence(sequence.network)
    copy.assign(sequence)
    if not states:
        copy.hidden[...] = copy.cell[...] = 0
    return copy


# Figures ------------------------------------------------------------------------------------------


def _figures(pieces: Sequence[dict[str, Floats]]) -> dict[str, Any]:
    """Return bits per note of each variant, and its change against no references.

    Args:
        pieces: Result of `Reader.variants` for each piece of a corpus.
    """
    rng = np.random.default_rng(SEED)
    drawn = rng.integers(0, len(pieces), (BOOTSTRAP_SAMPLES, len(pieces)))
    none = np.array([piece["none"] for piece in pieces])  # (pieces, bits or notes, span)
    figures: dict[str, Any] = {"pieces": len(pieces)}
    for number, span in enumerate((_WHOLE, _LATER)):
        base, notes = none[:, 0, number], none[:, 1, number]
        rows = {}
        for name in pieces[0]:
            bits = np.array([piece[name][0, number] for piece in pieces])
            changes = bits[drawn].sum(axis=1) / base[drawn].sum(axis=1) - 1
            rows[name] = {
                "bits_per_note": float(bits.sum() / max(notes.sum(), 1)),
                "change": float(bits.sum() / base.sum() - 1),
                "interval": np.percentile(changes, (2.5, 97.5)).tolist(),
            }
        figures[span] = rows
    return figures


def _text(facts: dict[str, Any]) -> str:
    blocks = []
    for corpus, figures in facts["corpora"].items():
        rows = [
            {"references": name}
            | {
                key: value
                for span in (_WHOLE, _LATER)
                for key, value in _cells(span, figures[span][name]).items()
            }
            for name in figures[_WHOLE]
        ]
        blocks.append(f"{corpus}, {figures['pieces']} pieces\n\n{table(rows)}")
    return "\n\n".join(blocks)


def _cells(span: str, row: dict[str, Any]) -> dict[str, str]:
    ends = " to ".join(f"{100 * end:+.1f}" for end in row["interval"])
    return {
        f"bits per note, {span}": f"{row['bits_per_note']:.3f}",
        f"change, {span}": f"{100 * row['change']:+.1f} % ({ends})",
    }


if __name__ == "__main__":
    sys.exit(run_command(main))
