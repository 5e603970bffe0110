"""Held-out pieces go on, and what is composed is compared with what they go on with themselves.

Chooses the pieces, lets the composer go on from their first bars, and puts figures together; the
formulas are in measures.py. Writes and prints nothing.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from symusic.core import ScoreTick
from tqdm.auto import tqdm

from musiclstm import analysis
from musiclstm.composer import Composer
from musiclstm.composition import Composition
from musiclstm.errors import MusicLSTMError
from musiclstm.intake import Limits, read_midi
from musiclstm.sampling import MAX_SEED, Sampling
from training import measures
from training.arguments import read_overrides
from training.measures import FEATURES, Floats, Ints, Passage

_Counts = dict[str, Floats]


@dataclass(frozen=True)
class Plan:
    """What is composed.

    Attributes:
        samples: Pieces to go on from; fewer where there are not so many.
        takes: Ways each of them goes on.
        seed_bars: Bars that the composer hears.
        bars: Bars that it composes.
        temperature: Of the choice of tokens.
        seed: Of all that is left to chance, which pieces these are included.
        sampling: Everything else about the choice.
    """

    samples: int
    takes: int
    seed_bars: int
    bars: int
    temperature: float
    seed: int
    sampling: Sampling = field(default_factory=Sampling)


def plan_from(options: argparse.Namespace, bounds: Mapping[str, tuple[int, int]]) -> Plan:
    """The plan that options with the names of its fields ask for.

    Args:
        options: `sampling` as text, such as `min_p=0.05`.
        bounds: From and to, both included, by name.

    Raises:
        ValueError: One means nothing.
    """
    for name, (least, most) in bounds.items():
        value = getattr(options, name)
        if not least <= value <= most:
            raise ValueError(f"--{name} must be from {least:,} to {most:,}, got {value:,}.")
    try:
        Sampling(temperature=options.temperature, seed=options.seed)
        sampling = Sampling(**read_overrides(options.sampling, "--sampling"))
    except ValueError as error:
        raise ValueError(f"--{str(error).removeprefix('--')}") from error
    except TypeError as error:
        known = ", ".join(field.name for field in fields(Sampling))
        raise ValueError(f"--sampling takes {known}; got {options.sampling!r}.") from error
    given = {each.name: getattr(options, each.name) for each in fields(Plan)}
    return Plan(**given | {"sampling": sampling})


@dataclass(frozen=True)
class Piece:
    """A held-out piece: its first bars as a prompt and as numbers, and its own next bars."""

    prompt: ScoreTick
    seed: Passage
    original: Passage


@dataclass(frozen=True)
class Take:
    """One continuation, the number of the piece it goes on from, and why it cannot be decoded."""

    piece: int
    music: Passage
    failure: str | None = None


# Composing ----------------------------------------------------------------------------------------


def continuations(
    composer: Composer, streams: Sequence[np.ndarray], plan: Plan
) -> dict[str, Any] | None:
    """Figures about what is composed; None where no piece of `streams` serves as seed.

    Args:
        composer: Who goes on.
        streams: Held-out pieces, unmerged ids.
        plan: How many, and how.
    """
    pieces = choose(composer, streams, plan)
    return compared(pieces, compose(composer, pieces, plan)) if pieces else None


def choose(composer: Composer, streams: Sequence[np.ndarray], plan: Plan) -> list[Piece]:
    """As many pieces as the plan asks for, or as there are, drawn by chance."""
    found: list[Piece] = []
    bars = {"seed_bars": plan.seed_bars, "bars": plan.bars}
    for number in np.random.default_rng(plan.seed).permutation(len(streams)):
        score = composer.tokenizer.decode(composer.tokenizer.compress(streams[number]))
        if measures.can_go_on(score, **bars):
            found.append(piece_from(score, **bars))
        if len(found) == plan.samples:
            break
    return found


def piece_from(score: ScoreTick, *, seed_bars: int, bars: int) -> Piece:
    """The first bars of a score, and the next ones; it must have so many (`can_go_on`)."""
    lines = analysis.bar_starts(score)[: seed_bars + bars + 1]
    seed = measures.passage(score, lines[: seed_bars + 1])
    original = measures.passage(score, lines[seed_bars:])
    return Piece(_cut(score, int(lines[-1])), seed, original)


def _cut(score: ScoreTick, end: int) -> ScoreTick:
    """Without the notes from a tick on: a whole symphony is beyond the limits of a prompt."""
    part = score.copy()
    for track in part.tracks:
        columns = track.notes.numpy()
        early = columns["time"] < end
        track.notes = type(track.notes).from_numpy(*(column[early] for column in columns.values()))
    return part


def compose(composer: Composer, pieces: Sequence[Piece], plan: Plan) -> list[Take]:
    """Every way in which each of the pieces goes on, one piece after the other."""
    progress: dict[str, Any] = {"unit": "piece", "desc": "Composing", "leave": False}
    numbered = enumerate(tqdm(pieces, disable=None, **progress))  # in a log file a bar is noise
    return [take for n, piece in numbered for take in _takes(composer, n, piece, plan)]


def _takes(composer: Composer, number: int, piece: Piece, plan: Plan) -> Iterator[Take]:
    seed = (plan.seed + number * plan.takes) % (MAX_SEED + 1)
    takes = composer.takes(
        plan.takes,
        bars=plan.bars,
        prompt=piece.prompt,
        prompt_bars=plan.seed_bars,
        sampling=replace(plan.sampling, temperature=plan.temperature, seed=seed),
    )
    for take in takes:
        yield Take(number, new_bars_of(composer, take), decode_failure(composer, take, plan.bars))


def new_bars_of(composer: Composer, take: Composition) -> Passage:
    """What was composed, as numbers."""
    return measures.passage(take.score, _new_lines(composer, take))


def _new_lines(composer: Composer, take: Composition) -> Ints:
    """The bar lines of the new bars, in ticks, the last one included."""
    scale = take.score.ticks_per_quarter / composer.tokenizer.ticks_per_quarter
    end = take.seed_end_tick + round(composer.tokenizer.length_ticks(take.tokens) * scale)
    lines = analysis.bar_starts(take.score, end_tick=end)
    return lines[lines >= take.seed_end_tick]


def decode_failure(composer: Composer, take: Composition, bars: int) -> str | None:
    """What is wrong with a take as music: None where its MIDI file says all that was composed."""
    opened = composer.tokenizer.expand(take.tokens).count("Bar_None")
    if opened != bars:
        return f"{opened} bars in place of {bars}"
    try:
        written, _ = read_midi(take.to_midi(), limits=Limits.training())
    except MusicLSTMError as error:
        return str(error)
    if written.note_num() != take.score.note_num():
        return f"{written.note_num()} notes in its file, {take.score.note_num()} composed"
    return None


# Comparing ----------------------------------------------------------------------------------------


def compared(pieces: Sequence[Piece], takes: Sequence[Take]) -> dict[str, Any]:
    """Figures of continuations beside those of the pieces' own next bars.

    Beside `composed` stands `seeds`: the seeds put in the place of the continuations. They are real
    music of the same pieces, so they tell what one may hope for.
    """
    music = [take.music for take in takes]
    piece_of = np.array([take.piece for take in takes])
    seeds = [_counts(piece.seed) for piece in pieces]
    originals = [_counts(piece.original) for piece in pieces]
    composed, every = [_counts(each) for each in music], np.arange(len(pieces))
    failures = [take.failure for take in takes if take.failure is not None]
    return {
        "pieces": len(pieces),
        "takes": len(takes),
        "decode_failures": len(failures),
        "failure_examples": failures[:5],
        "features": {
            name: {
                "composed": _alike(name, originals, composed, piece_of),
                "seeds": _alike(name, originals, seeds, every),
            }
            for name in FEATURES
        },
        "composed": {
            **_of_one(music, [pieces[number].seed for number in piece_of]),
            **_sensitivity(seeds, composed, piece_of),
        },
        "original": {
            **_of_one([piece.original for piece in pieces], [piece.seed for piece in pieces]),
            **_sensitivity(seeds, originals, every),
        },
    }


def _counts(music: Passage) -> _Counts:
    return {name: feature(music) for name, feature in FEATURES.items()}


def _alike(
    name: str, true: Sequence[_Counts], found: Sequence[_Counts], piece_of: Ints
) -> dict[str, float | None]:
    """One feature of what was found beside what is true: pair by pair, all together, as sets."""
    p, q = (np.stack([counts[name] for counts in each]) for each in (true, found))
    pairs = [(p[own], counts) for own, counts in zip(piece_of, q, strict=True)]
    sets = measures.set_likeness(
        np.stack([*map(measures.shares, p)]), np.stack([*map(measures.shares, q)]), piece_of
    )
    return {
        "overlap": float(np.mean([measures.overlapped_area(*pair) for pair in pairs])),
        "kl_nats": float(np.mean([measures.kl_nats(*pair) for pair in pairs])),
        "pooled_overlap": measures.overlapped_area(p.sum(axis=0), q.sum(axis=0)),
        "pooled_kl_nats": measures.kl_nats(p.sum(axis=0), q.sum(axis=0)),
        "set_overlap": None if sets is None else sets[0],
        "set_kl_nats": None if sets is None else sets[1],
    }


def _of_one(music: Sequence[Passage], before: Sequence[Passage]) -> dict[str, float]:
    """Means of what each passage is by itself; one that has no such figure is left out."""
    repeated = [measures.repetition_rate(*pair) for pair in zip(music, before, strict=True)]
    return {
        "notes_per_bar": _mean([len(each.onset) / (len(each.lines) - 1) for each in music]),
        "scale_consistency": _mean([*map(measures.scale_consistency, music)]),
        "groove_similarity": _mean([*map(measures.groove_similarity, music)]),
        "repetition_rate": _mean(repeated),
        "collapse_rate": _mean([float(measures.collapsed(each)) for each in music]),
    }


def _sensitivity(seeds: Sequence[_Counts], music: Sequence[_Counts], own: Ints) -> dict[str, float]:
    """Seed sensitivity by all features, and by pitch classes alone."""
    features = np.array([[measures.likeness(m, s) for s in seeds] for m in music])
    name = "pitch class"
    classes = np.array([[measures.overlapped_area(m[name], s[name]) for s in seeds] for m in music])
    return {
        "seed_sensitivity": measures.seed_sensitivity(features, own),
        "seed_sensitivity_pitch_class": measures.seed_sensitivity(classes, own),
    }


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _rounded(value: Any) -> Any:
    """Four digits after the point, and None for what is no number: JSON has no nan."""
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value
