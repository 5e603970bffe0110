"""Continue held-out pieces with a `Composer`, and read prompt, original and takes from MIDI files.

The formulas are in measures.py, means and intervals in comparison.py. Nothing is printed here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from symusic.core import ScoreTick
from tqdm.auto import tqdm

from musiclstm.errors import MusicLSTMError, ScoreError
from musiclstm.generation import MAX_SEED, Composer, Composition, Sampling
from musiclstm.midi import MidiLimits, analysis, read_midi
from training.arguments import read_overrides
from training.data.corpus import sources_of_split
from training.data.sources import round_robin
from training.evaluation.music_metrics import Ints, Section, section

SHORT_BARS = 4  # prompt and continuation of a piece that is too short for the plan
PROMPT_NOTES_PER_BAR = 2  # a prompt with fewer says too little


@dataclass(frozen=True)
class ContinuationPlan:
    """What is composed.

    Attributes:
        pieces: Number of pieces; fewer where the split has fewer.
        takes: Continuations of each piece.
        prompt_bars: Bars that the composer reads; `SHORT_BARS` for a shorter piece.
        bars: Bars that it composes; `SHORT_BARS` for a shorter piece.
        sampling: How notes are drawn. Its seed is that of the choice of pieces, too; None: 0.
    """

    pieces: int
    takes: int
    prompt_bars: int
    bars: int
    sampling: Sampling = field(default_factory=Sampling)

    @property
    def seed(self) -> int:
        """Seed of the choice of pieces and of the first take."""
        return self.sampling.seed or 0


def plan_from(
    options: argparse.Namespace, bounds: Mapping[str, tuple[int, int]]
) -> ContinuationPlan:
    """Return the plan given by options with the names of its fields.

    Args:
        options: `sampling` as text, such as `min_p=0.05`.
        bounds: Lowest and highest value by name, both allowed.

    Raises:
        ValueError: A value is out of range or unknown.
    """
    for name, (least, most) in bounds.items():
        value = getattr(options, name)
        if not least <= value <= most:
            raise ValueError(f"--{name} must be from {least:,} to {most:,}, got {value:,}.")
    try:
        others = read_overrides(options.sampling, "--sampling")
        sampling = Sampling(**others | {"temperature": options.temperature, "seed": options.seed})
    except ValueError as error:
        raise ValueError(f"--{str(error).removeprefix('--')}") from error
    except TypeError as error:
        known = ", ".join(field.name for field in fields(Sampling))
        raise ValueError(f"--sampling takes {known}; got {options.sampling!r}.") from error
    given = {each.name: getattr(options, each.name) for each in fields(ContinuationPlan)}
    return ContinuationPlan(**given | {"sampling": sampling})


@dataclass(frozen=True)
class PromptedPiece:
    """A held-out piece.

    Attributes:
        name: Corpus and file, such as `songs/a.mid`.
        score: Its notes up to the end of `original`.
        prompt: Its first bars.
        original: Its own next bars.
    """

    name: str
    score: ScoreTick = field(repr=False)
    prompt: Section = field(repr=False)
    original: Section = field(repr=False)


@dataclass(frozen=True)
class ContinuationResult:
    """One continuation, read from its MIDI file.

    Attributes:
        piece: Index of the piece.
        prompt: The prompt as it is in this file.
        music: The composed bars.
        failure: What is wrong with the file; None: nothing.
    """

    piece: int
    prompt: Section = field(repr=False)
    music: Section = field(repr=False)
    failure: str | None = None


# Pieces -------------------------------------------------------------------------------------------


def choose(
    paths: Sequence[str | Path],
    split: str,
    plan: ContinuationPlan,
    *,
    allow_short: bool = True,
    workers: int | None = None,
) -> list[PromptedPiece]:
    """Choose pieces from all corpora in turn (`pieces.in_turn`); unusable ones are skipped.

    Args:
        paths: As in `read_corpus`.
        split: train, valid or test.
        plan: How many, and how many bars.
        allow_short: As in `piece_from`.
        workers: As in `sources_of_split`.

    Raises:
        CorpusError: A path is missing, nothing under the paths can be used, or the split is empty.
    """
    found: list[PromptedPiece] = []
    limits = MidiLimits.training()
    sources = round_robin(sources_of_split(paths, split, workers=workers), plan.seed)
    while len(found) < plan.pieces and (source := next(sources, None)) is not None:
        name = f"{source.corpus}/{source.name}"
        try:
            score, _ = read_midi(source.read(limits.bytes), name=source.name, limits=limits)
        except ScoreError as error:
            sys.stderr.write(f"left out {name}: {error}\n")
            continue
        lengths = {"prompt_bars": plan.prompt_bars, "bars": plan.bars}
        piece = piece_from(score, name=name, allow_short=allow_short, **lengths)
        found += [] if piece is None else [piece]
    return found


def piece_from(
    score: ScoreTick, *, prompt_bars: int, bars: int, name: str = "", allow_short: bool = True
) -> PromptedPiece | None:
    """Cut a score into prompt and next bars.

    Args:
        score: In ticks; left unchanged.
        prompt_bars: Bars of the prompt.
        bars: Bars after it.
        name: `PromptedPiece.name`.
        allow_short: Whether a score with fewer bars is cut after `SHORT_BARS` and twice
            `SHORT_BARS` bars, where these are fewer.

    Returns:
        None for a score that is too short for that as well, or whose prompt has fewer than two
        notes per bar or fewer than two distinct pitches besides drums.
    """
    lines = analysis.bar_starts(score)
    if allow_short and len(lines) <= prompt_bars + bars:
        prompt_bars, bars = min(prompt_bars, SHORT_BARS), min(bars, SHORT_BARS)
    if len(lines) <= prompt_bars + bars:
        return None
    lines = lines[: prompt_bars + bars + 1]
    prompt = section(score, lines[: prompt_bars + 1])
    if len(prompt) < PROMPT_NOTES_PER_BAR * prompt_bars:
        return None
    if len(np.unique(prompt.pitch[prompt.pitched])) < 2:
        return None
    return PromptedPiece(
        name, _cut(score, int(lines[-1])), prompt, section(score, lines[prompt_bars:])
    )


def _cut(score: ScoreTick, end: int) -> ScoreTick:
    """The score without notes from a tick on: a whole symphony exceeds the limits of a prompt."""
    part = score.copy()
    for track in part.tracks:
        columns = track.notes.numpy()
        early = columns["time"] < end
        track.notes = type(track.notes).from_numpy(*(column[early] for column in columns.values()))
    return part


# Takes --------------------------------------------------------------------------------------------


def compose(
    composer: Composer, pieces: Sequence[PromptedPiece], plan: ContinuationPlan
) -> list[ContinuationResult]:
    """Continue every piece `plan.takes` times; the takes of a piece follow each other."""
    progress: dict[str, Any] = {"unit": "piece", "desc": "Composing", "leave": False}
    numbered = enumerate(tqdm(pieces, disable=None, **progress))  # None: no bar in a log file
    return [take for n, piece in numbered for take in _takes(composer, n, piece, plan)]


def _takes(
    composer: Composer, number: int, piece: PromptedPiece, plan: ContinuationPlan
) -> Iterator[ContinuationResult]:
    seed = (plan.seed + number * plan.takes) % (MAX_SEED + 1)
    takes = composer.compose_many(
        plan.takes,
        bars=piece.original.bars,
        prompt=piece.score,
        prompt_bars=piece.prompt.bars,
        sampling=replace(plan.sampling, seed=seed),
    )
    for take in takes:
        yield read_take(take, number, piece)


def read_take(composition: Composition, number: int, piece: PromptedPiece) -> ContinuationResult:
    """Write a composition as a MIDI file and read prompt and composed bars from it.

    A file that cannot be read counts as a continuation without notes.
    """
    prompt_bars, bars = piece.prompt.bars, piece.original.bars
    try:
        score, _ = read_midi(composition.to_midi(), limits=MidiLimits.training())
        lines = _bar_lines(score, prompt_bars + bars)
    except MusicLSTMError as error:
        score, lines = ScoreTick(piece.score.ticks_per_quarter), _bar_lines(piece.score, 1)
        silence = section(score, np.arange(bars + 1) * lines[1])
        return ContinuationResult(number, piece.prompt, silence, str(error))
    prompt = section(score, lines[: prompt_bars + 1])
    music = section(score, lines[prompt_bars:])
    failure = _failure(composition, score, prompt, piece.prompt)
    return ContinuationResult(number, prompt, music, failure)


def _bar_lines(score: ScoreTick, bars: int) -> Ints:
    """The first bar lines of a score in ticks, whether or not it has notes there, (bars + 1,)."""
    meters = [(4, 4), *((each.numerator, each.denominator) for each in score.time_signatures)]
    longest = max(4 * numerator / denominator for numerator, denominator in meters)
    end = int(bars * longest * score.ticks_per_quarter) + 1
    return analysis.bar_starts(score, end_tick=end)[: bars + 1]


def _failure(
    composition: Composition, score: ScoreTick, prompt: Section, original_prompt: Section
) -> str | None:
    if score.note_num() != composition.score.note_num():
        composed = composition.score.note_num()
        return f"{score.note_num():,} notes in its file, {composed:,} in the composition"
    if len(prompt) != len(original_prompt):
        return f"{len(prompt):,} notes in its prompt, {len(original_prompt):,} in that of the piece"
    return None
