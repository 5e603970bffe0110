"""Continue held-out pieces with a `Composer`, and read the results from their MIDI files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from symusic.core import ScoreTick
from tqdm.auto import tqdm

from musiclstm.errors import MusicLSTMError, ScoreError
from musiclstm.generation import MAX_SEED, Composer, Composition, Sampling
from musiclstm.midi import MidiLimits, analysis, read_midi
from training.arguments import parse_overrides
from training.data.corpus import sources_of_split
from training.data.sources import round_robin
from training.data.splits import half_of
from training.evaluation.music_metrics import Ints, NoteTable, note_table

SHORT_BARS = 4  # bars of prompt and continuation of a piece that is too short for the plan
MIN_PROMPT_NOTES_PER_BAR = 2


@dataclass(frozen=True)
class ContinuationPlan:
    """Which continuations are composed.

    Attributes:
        pieces: Number of pieces; fewer if the split has fewer.
        sequences: Continuations of each piece.
        prompt_bars: Bars of the prompt; `SHORT_BARS` for a shorter piece.
        bars: Bars of the continuation; `SHORT_BARS` for a shorter piece.
        sampling: Sampling parameters. Its seed also selects the pieces; None: 0.
    """

    pieces: int
    sequences: int
    prompt_bars: int
    bars: int
    sampling: Sampling = field(default_factory=Sampling)

    @property
    def seed(self) -> int:
        """Random seed of the choice of pieces and of the first continuation."""
        return self.sampling.seed or 0

    def facts(self) -> dict[str, Any]:
        """Return the plan for facts.json, where `sequences` has the key `takes`."""
        return {("takes" if k == "sequences" else k): v for k, v in asdict(self).items()}


def add_plan_options(
    parser: argparse.ArgumentParser,
    *,
    pieces: int,
    sequences: int,
    prompt_bars: int,
    bars: int,
    seed: int,
) -> None:
    """Add the options that `plan_from` reads; arguments are their defaults."""
    add = parser.add_argument
    add("--pieces", type=int, default=pieces, help=f"held-out pieces to continue ({pieces})")
    add("--takes", type=int, default=sequences, help=f"continuations of each ({sequences})")
    add("--prompt_bars", type=int, default=prompt_bars, help=f"bars of each prompt ({prompt_bars})")
    add("--bars", type=int, default=bars, help=f"bars of each continuation ({bars})")
    add("--temperature", type=float, default=Sampling.temperature, help="sampling temperature (1)")
    add("--sampling", default="", help="other fields of Sampling, such as min_p=0,top_p=1.0")
    add("--seed", type=int, default=seed, help=f"random seed, also for choosing pieces ({seed})")


def plan_from(
    options: argparse.Namespace, bounds: Mapping[str, tuple[int, int]]
) -> ContinuationPlan:
    """Return the plan given by command line options.

    Args:
        options: With `pieces`, `takes`, `prompt_bars`, `bars`, `temperature`, `seed`, and
            `sampling` as text such as `min_p=0.05`.
        bounds: Lowest and highest value by option, both allowed.

    Raises:
        ValueError: A value is out of range or unknown.
    """
    for name, (lowest, highest) in bounds.items():
        value = getattr(options, name)
        if not lowest <= value <= highest:
            raise ValueError(f"--{name} must be from {lowest:,} to {highest:,}, got {value:,}.")
    try:
        others = parse_overrides(options.sampling, "--sampling")
        sampling = Sampling(**others | {"temperature": options.temperature, "seed": options.seed})
    except ValueError as error:
        raise ValueError(f"--{str(error).removeprefix('--')}") from error
    except TypeError as error:
        known = ", ".join(field.name for field in fields(Sampling))
        raise ValueError(f"--sampling takes {known}; got {options.sampling!r}.") from error
    return ContinuationPlan(
        options.pieces, options.takes, options.prompt_bars, options.bars, sampling
    )


@dataclass(frozen=True)
class PromptedPiece:
    """A held-out piece, cut into a prompt and the original next bars.

    Attributes:
        name: Corpus and file, such as `songs/a.mid`.
        score: Its notes up to the end of `original`.
        prompt: Its first bars.
        original: The next bars.
    """

    name: str
    score: ScoreTick = field(repr=False)
    prompt: NoteTable = field(repr=False)
    original: NoteTable = field(repr=False)


@dataclass(frozen=True)
class ContinuationResult:
    """One continuation, read from its MIDI file.

    Attributes:
        piece: Index of the piece.
        prompt: The prompt as written in this file.
        music: The composed bars.
        failure: Why the file does not hold the composition; None: it does.
    """

    piece: int
    prompt: NoteTable = field(repr=False)
    music: NoteTable = field(repr=False)
    failure: str | None = None


# Pieces -------------------------------------------------------------------------------------------


def choose_pieces(
    paths: Sequence[str | Path],
    split: str,
    plan: ContinuationPlan,
    *,
    allow_short: bool = True,
    half: int | None = None,
    workers: int | None = None,
) -> list[PromptedPiece]:
    """Choose pieces from all corpora in turn; skip unusable ones.

    Args:
        paths: Corpora, as in `read_corpus`.
        split: train, valid or test.
        plan: Number of pieces and bars.
        allow_short: As in `prompted_piece`.
        half: Only pieces of this half of the split, 0 or 1 (`half_of`). None: all.
        workers: Number of processes.

    Raises:
        CorpusError: A path is missing, no file can be used, or the split is empty.
    """
    found: list[PromptedPiece] = []
    limits = MidiLimits.training()
    sources = round_robin(sources_of_split(paths, split, workers=workers), plan.seed)
    while len(found) < plan.pieces and (source := next(sources, None)) is not None:
        name = f"{source.corpus}/{source.name}"
        if half not in (None, half_of(name)):
            continue
        try:
            score, _ = read_midi(source.read(limits.bytes), name=source.name, limits=limits)
        except ScoreError as error:
            sys.stderr.write(f"skipped {name}: {error}\n")
            continue
        piece = prompted_piece(
            score, name=name, allow_short=allow_short, prompt_bars=plan.prompt_bars, bars=plan.bars
        )
        found += [] if piece is None else [piece]
    return found


def prompted_piece(
    score: ScoreTick, *, prompt_bars: int, bars: int, name: str = "", allow_short: bool = True
) -> PromptedPiece | None:
    """Cut a score into a prompt and the next bars.

    Args:
        score: In ticks; left unchanged.
        prompt_bars: Bars of the prompt.
        bars: Bars after it.
        name: `PromptedPiece.name`.
        allow_short: Use at most `SHORT_BARS` bars for each if the score has fewer bars.

    Returns:
        None for a score that is still too short, or whose prompt has fewer than two notes per bar
        or fewer than two distinct pitches besides drums.
    """
    lines = analysis.bar_starts(score)
    if allow_short and len(lines) <= prompt_bars + bars:
        prompt_bars, bars = min(prompt_bars, SHORT_BARS), min(bars, SHORT_BARS)
    if len(lines) <= prompt_bars + bars:
        return None
    lines = lines[: prompt_bars + bars + 1]
    prompt = note_table(score, lines[: prompt_bars + 1])
    if len(prompt) < MIN_PROMPT_NOTES_PER_BAR * prompt_bars:
        return None
    if len(np.unique(prompt.pitch[prompt.pitched])) < 2:
        return None
    original = note_table(score, lines[prompt_bars:])
    return PromptedPiece(name, cut_score(score, int(lines[-1])), prompt, original)


def cut_score(score: ScoreTick, end: int) -> ScoreTick:
    """Return the score without notes from a tick on, because prompts have a limit of notes."""
    part = score.copy()
    for track in part.tracks:
        columns = track.notes.numpy()
        early = columns["time"] < end
        track.notes = type(track.notes).from_numpy(*(column[early] for column in columns.values()))
    return part


# Continuations ------------------------------------------------------------------------------------


def continue_pieces(
    composer: Composer, pieces: Sequence[PromptedPiece], plan: ContinuationPlan
) -> list[ContinuationResult]:
    """Continue every piece `plan.sequences` times; results are ordered by piece."""
    progress: dict[str, Any] = {"unit": "piece", "desc": "Composing", "leave": False}
    numbered = enumerate(tqdm(pieces, disable=None, **progress))  # None: no bar in a log file
    return [result for n, piece in numbered for result in _continue(composer, n, piece, plan)]


def _continue(
    composer: Composer, number: int, piece: PromptedPiece, plan: ContinuationPlan
) -> Iterator[ContinuationResult]:
    seed = (plan.seed + number * plan.sequences) % (MAX_SEED + 1)
    compositions = composer.compose_many(
        plan.sequences,
        bars=piece.original.bars,
        prompt=piece.score,
        prompt_bars=piece.prompt.bars,
        sampling=replace(plan.sampling, seed=seed),
    )
    for composition in compositions:
        yield read_continuation(composition, number, piece)


def read_continuation(
    composition: Composition, number: int, piece: PromptedPiece
) -> ContinuationResult:
    """Write a composition as a MIDI file, and read prompt and composed bars from it.

    A file that cannot be read gives a continuation without notes.
    """
    prompt_bars, bars = piece.prompt.bars, piece.original.bars
    try:
        score, _ = read_midi(composition.to_midi(), limits=MidiLimits.training())
        lines = _bar_lines(score, prompt_bars + bars)
    except MusicLSTMError as error:
        score, lines = ScoreTick(piece.score.ticks_per_quarter), _bar_lines(piece.score, 1)
        empty = note_table(score, np.arange(bars + 1) * lines[1])
        return ContinuationResult(number, piece.prompt, empty, str(error))
    prompt = note_table(score, lines[: prompt_bars + 1])
    music = note_table(score, lines[prompt_bars:])
    failure = _failure(composition, score, prompt, piece.prompt)
    return ContinuationResult(number, prompt, music, failure)


def _bar_lines(score: ScoreTick, bars: int) -> Ints:
    """Return the first bar lines in ticks, also after the last note, (bars + 1,)."""
    meters = [(4, 4), *((each.numerator, each.denominator) for each in score.time_signatures)]
    longest = max(4 * numerator / denominator for numerator, denominator in meters)
    end = int(bars * longest * score.ticks_per_quarter) + 1
    return analysis.bar_starts(score, end_tick=end)[: bars + 1]


def _failure(
    composition: Composition, score: ScoreTick, prompt: NoteTable, original_prompt: NoteTable
) -> str | None:
    if score.note_num() != composition.score.note_num():
        composed = composition.score.note_num()
        return f"{score.note_num():,} notes in its file, {composed:,} in the composition"
    if len(prompt) != len(original_prompt):
        return f"{len(prompt):,} notes in its prompt, {len(original_prompt):,} in that of the piece"
    return None
