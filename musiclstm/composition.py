"""What composing gives: a piece, or one bar of music without end.

Frozen records that hold everything needed to explain a piece, go back in it, go on from it or make
it again. They compose nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from math import exp
from numbers import Integral
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from symusic.core import ScoreTick, TempoTick

from musiclstm import analysis
from musiclstm.generation.bar_plan import Surprise
from musiclstm.generation.constraints import Constraints
from musiclstm.generation.loudness import PromptLoudness
from musiclstm.generation.sampling import Sampling
from musiclstm.generation.stepper import Snapshot
from musiclstm.inscription import inscribed
from musiclstm.recipe import (
    MAX_BARS_IN_ALL,
    MAX_CHARACTERS,
    MAX_STEPS,
    Maker,
    Recipe,
    Source,
    Step,
    digest_of,
    told_short,
)
from musiclstm.splicing import (
    appended,
    excerpt,
    finished,
    first_ticks,
    joined,
    section,
    with_notes,
)
from musiclstm.tokens import Part, program_of

# Which tracks of the prompt's score a part stands for, by the part's name in the tokens.
PartTracks: TypeAlias = Mapping[Part, tuple[int, ...]]

_LEAST = sys.float_info.min  # no probability of a note that was played is 0


@dataclass(frozen=True)
class Seed:
    """What a composition goes on from, ready to be read.

    Attributes:
        score: The music that is heard and gone on with, in ticks that the grid divides.
        bars: How many bars it has.
        end_tick: The bar line where it ends and the new music begins.
        others: Other tracks of the prompt from the same first bar on, to its very end, which only
            sound along; None: there are none.
        constraints: What music that goes on from it keeps to where nothing else is asked.
        source: Where it came from; None: nobody knows.
    """

    score: ScoreTick
    bars: int
    end_tick: int
    others: ScoreTick | None = None
    constraints: Constraints = field(default_factory=Constraints)
    source: Source | None = field(default=None, compare=False)

    @cached_property
    def key(self) -> analysis.Key | None:
        """Estimated key of `score`; None: it has none."""
        return analysis.estimate_key(self.score)


class NoteProbability(NamedTuple):
    """How likely the network itself held one note to be.

    Attributes:
        track: Its place in the tracks of `Composition.continuation`, from 0.
        tick: When it begins there.
        pitch: MIDI pitch.
        probability: Above 0 to 1.
    """

    track: int
    tick: int
    pitch: int
    probability: float


@dataclass(frozen=True)
class Passage:
    """One new bar.

    Attributes:
        number: Its place, counted from 0.
        score: The bar alone, in ticks from its own bar line; a note may ring on beyond its end.
        length_ticks: From its bar line to the next.
        tokens: Its ids.
        state: Where the network stands after it.
        parts: Of each track of `score`: its program in the tokens, and which track of it.
        log_probs: For every token the natural logarithm of the network's own probability for it,
            over what was allowed, before sampling changed it.
        note_log_probs: The same for every note, by the tracks of `score` and their notes;
            generation/note_probabilities.py says how they follow from those of the tokens.
    """

    number: int
    score: ScoreTick
    length_ticks: int
    tokens: tuple[int, ...] = field(repr=False)
    state: Snapshot = field(repr=False, compare=False)
    parts: tuple[Part, ...] = ()
    log_probs: tuple[float, ...] = field(repr=False, compare=False, default=())
    note_log_probs: tuple[tuple[float, ...], ...] = field(repr=False, compare=False, default=())


@dataclass(frozen=True)
class Composition:
    """A piece, and everything needed to explain it, go back or on in it, or make it again.

    Attributes:
        score: The seed followed by the new bars, in ticks.
        bars: New bars, without the seed.
        bar_tokens: Ids of every new bar.
        state: Where the network stands at the end.
        sampling: How notes were chosen last; the seed of the random numbers is always set.
        constraints: What the music kept to last, its key by name.
        surprise: When it takes a turn.
        seed: What it goes on from; None: from nothing.
        steps: How the new bars came about, in order.
        passages: The new bars one by one.
        opening: Where the network stood before the first of them.
        prompt_ids: What the network had read then.
        part_tracks: Tracks of the seed's score that each of its parts stands for.
        loudness: Where the velocities of new notes come from.
        decoded: The new bars from tick 0, as they were decoded; `score` is made from it.
        decoded_parts: Of each track of `decoded`.
        track_parts: Of each track of `score`; None: it has no new notes, or only sounds along.
        maker: Who composed; None: nobody knows, and there is no recipe.
        company_tracks: So many tracks of `score`, after those of the seed, are `Seed.others`. They
            are there from the first draft on, even where their first note is still to come, so
            that every track keeps its place while the piece grows.
    """

    score: ScoreTick
    bars: int
    bar_tokens: tuple[tuple[int, ...], ...] = field(repr=False)
    state: Snapshot = field(repr=False, compare=False)
    sampling: Sampling
    constraints: Constraints
    surprise: Surprise = field(default_factory=Surprise)
    seed: Seed | None = field(repr=False, default=None)
    steps: tuple[Step, ...] = field(repr=False, default=())
    passages: tuple[Passage, ...] = field(repr=False, compare=False, default=())
    opening: Snapshot | None = field(repr=False, compare=False, default=None)
    prompt_ids: tuple[int, ...] = field(repr=False, compare=False, default=())
    part_tracks: PartTracks = field(repr=False, compare=False, default_factory=dict)
    loudness: PromptLoudness = field(repr=False, compare=False, default_factory=PromptLoudness)
    decoded: ScoreTick | None = field(repr=False, compare=False, default=None)
    decoded_parts: tuple[Part, ...] = field(repr=False, compare=False, default=())
    track_parts: tuple[Part | None, ...] = field(repr=False, compare=False, default=())
    maker: Maker | None = field(repr=False, compare=False, default=None)
    company_tracks: int = field(repr=False, default=0)

    @property
    def tokens(self) -> tuple[int, ...]:
        """Ids of all new bars."""
        return tuple(token for bar in self.bar_tokens for token in bar)

    @property
    def seed_bars(self) -> int:
        """Bars of the seed; 0 without one."""
        return self.seed.bars if self.seed else 0

    @property
    def seed_end_tick(self) -> int:
        """Where the new music begins in `score`; 0 without a seed."""
        return self.seed.end_tick if self.seed else 0

    @property
    def continuation(self) -> ScoreTick:
        """What was composed, from tick 0 on, with the tempo and meter that are in force there."""
        return self._continuation()[0]

    def first(self, bars: int) -> Composition:
        """The piece as it was after so many new bars; `Composer.extend` goes on from there.

        Args:
            bars: 0 to `bars`.

        Raises:
            ValueError: bars out of range.
        """
        if not isinstance(bars, Integral) or not 0 <= bars <= len(self.passages):
            raise ValueError(
                f"bars must be from 0 to {len(self.passages)}, the new bars that there are to go "
                f"back to, got {bars}."
            )
        assert self.opening is not None
        assert self.decoded is not None
        passages = self.passages[:bars]
        early = first_ticks(self.decoded, sum(passage.length_ticks for passage in passages))
        sounding = [len(track.notes) > 0 for track in early.tracks].count(True)
        early.tracks = type(early.tracks)(early.tracks[:sounding])  # by first notes, see `appended`
        steps = _first_steps(self.steps, bars)
        last = steps[-1:] or self.steps[:1]
        return _made(self, passages, (early, self.decoded_parts[:sounding]), steps, *last)

    def prompt_tracks(self, part: Part) -> dict[int, int]:
        """Return the tracks of the seed's score that are a part, each with its program.

        The programs differ from the part's where the network was not trained on them.
        """
        if self.seed is None:
            return {}
        tracks = self.seed.score.tracks
        return {member: program_of(tracks[member]) for member in self.part_tracks.get(part, ())}

    def note_probabilities(self) -> tuple[NoteProbability, ...]:
        """How likely the network held every note of `continuation` to be.

        The probability before sampling changed it: the product over the tokens of the note
        (position, program, pitch, duration). Where several notes share a token, its probability is
        divided among them (generation/note_probabilities.py has the formula).

        Returns:
            By track, then by tick, then by pitch.
        """
        known = self._log_probs_of_notes()
        new, parts = self._continuation()
        return tuple(
            NoteProbability(number, tick, pitch, min(1.0, max(_LEAST, exp(log_prob))))
            for number, (part, track) in enumerate(zip(parts, new.tracks, strict=True))
            for tick, pitch in sorted((note.time, note.pitch) for note in track.notes)
            for log_prob in [known[part, tick, pitch]]
        )

    def _continuation(self) -> tuple[ScoreTick, list[Part | None]]:
        """Return `continuation`, and the part of each of its tracks."""
        new, parts = excerpt(self.score, self.seed_end_tick), list(self.track_parts)
        own = 0 if self.seed is None else len(self.seed.score.tracks)
        del new.tracks[own : own + self.company_tracks], parts[own : own + self.company_tracks]
        pairs = zip(parts, new.tracks, strict=True)
        playing = [part for part, track in pairs if len(track.notes)]
        return with_notes(new), playing

    def _log_probs_of_notes(self) -> dict[tuple[Part | None, int, int], float]:
        """By part, tick and pitch, which no two new notes have in common."""
        found: dict[tuple[Part | None, int, int], float] = {}
        begin = 0
        for passage in self.passages:
            scale = self.score.ticks_per_quarter / passage.score.ticks_per_quarter
            rows = zip(passage.parts, passage.score.tracks, passage.note_log_probs, strict=True)
            for part, track, log_probs in rows:
                table = track.notes.numpy()
                ticks = np.rint((table["time"] + begin) * scale).astype(int).tolist()
                pitches = table["pitch"].tolist()
                for tick, pitch, log_prob in zip(ticks, pitches, log_probs, strict=True):
                    found[part, tick, pitch] = log_prob
            begin += passage.length_ticks
        return found

    @property
    def recipe(self) -> Recipe | None:
        """All that is needed to make the piece again; None: nobody knows, or it is too long."""
        if self.maker is None or len(self.steps) > MAX_STEPS or self.bars > MAX_BARS_IN_ALL:
            return None
        usual = self.seed.constraints if self.seed else Constraints()
        source = self.seed.source if self.seed else None
        return Recipe(self.maker, told_short(self.steps, usual), source, digest_of(self.tokens))

    def to_midi(self, *, only_new: bool = False) -> bytes:
        """The piece as a MIDI file with its recipe inside; `only_new` leaves the seed out."""
        midi = bytes((self.continuation if only_new else self.score).dumps_midi())
        recipe = self.recipe
        text = "" if recipe is None else recipe.to_json()
        return inscribed(midi, text) if 0 < len(text) <= MAX_CHARACTERS else midi

    def save_midi(self, path: str | Path, *, only_new: bool = False) -> Path:
        """Write `to_midi` into a file and return its path."""
        path = Path(path)
        path.write_bytes(self.to_midi(only_new=only_new))
        return path


def grown(piece: Composition, new: Sequence[Passage], *, end: int | None) -> Composition:
    """A piece with bars added that were composed as its sampling, constraints and surprise say.

    Args:
        piece: Left unchanged.
        new: At least one.
        end: As in `Step`.
    """
    assert piece.decoded is not None
    step = Step(len(new), piece.sampling, piece.constraints, piece.surprise, end)
    length = sum(passage.length_ticks for passage in piece.passages)
    longer = appended(piece.decoded, piece.decoded_parts, length, new)
    return _made(piece, (*piece.passages, *new), longer, _with_step(piece.steps, step), step)


def _made(
    piece: Composition,
    passages: tuple[Passage, ...],
    decoded: tuple[ScoreTick, tuple[Part, ...]],
    steps: tuple[Step, ...],
    last: Step | None = None,
) -> Composition:
    """The same piece with other bars, which end with a step."""
    lines = [0, *accumulate(passage.length_ticks for passage in passages)]
    new, parts = finished(decoded[0], lines[-1]), decoded[1]
    _set_tempos(new, piece.seed, steps, lines)
    score, track_parts, company = _with_seed(new, parts, piece, lines[-1])
    state = passages[-1].state if passages else piece.opening
    assert state is not None
    made = replace(
        piece,
        score=score,
        bars=len(passages),
        bar_tokens=tuple(passage.tokens for passage in passages),
        state=state,
        steps=steps,
        passages=passages,
        decoded=decoded[0],
        decoded_parts=parts,
        track_parts=track_parts,
        company_tracks=company,
    )
    return made if last is None else _as_in(made, last)


def _as_in(piece: Composition, step: Step) -> Composition:
    assert step.constraints is not None
    return replace(
        piece, sampling=step.sampling, constraints=step.constraints, surprise=step.surprise
    )


def _with_seed(
    new: ScoreTick, parts: tuple[Part, ...], piece: Composition, length: int
) -> tuple[ScoreTick, tuple[Part | None, ...], int]:
    """The whole score, the part of each track, and how many tracks only sound along.

    The latter stand behind those of the seed.
    """
    seed = piece.seed
    if seed is None:
        return new, parts, 0
    own = len(seed.score.tracks)
    owners: list[Part | None] = [None] * own
    for part, tracks_of_part in piece.part_tracks.items():
        for track in tracks_of_part:
            owners[track] = part
    members = [
        [at for at, each in piece.prompt_tracks(part).items() if each == program_of(track)]
        for part, track in zip(parts, new.tracks, strict=True)
    ]
    score, added = joined(seed.score, seed.end_tick, new, members)
    added_parts = [parts[number] for number in added]
    if seed.others is None:
        return score, (*owners, *added_parts), 0
    end = seed.end_tick + round(length * score.ticks_per_quarter / new.ticks_per_quarter)
    company = section(seed.others, 0, end).tracks
    tracks = [*score.tracks[:own], *company, *score.tracks[own:]]
    score.tracks = type(score.tracks)(tracks)
    return score, (*owners, *(None for _ in company), *added_parts), len(company)


def _set_tempos(
    new: ScoreTick, seed: Seed | None, steps: Sequence[Step], lines: Sequence[int]
) -> None:
    """The tempos asked for; else the seed's goes on, and a piece from nothing has the usual one."""
    bar = 0
    for step in steps:
        assert step.constraints is not None
        bpm, tick = step.constraints.tempo_bpm, lines[bar]
        if not tick:
            if bpm is None and seed is None and all(tempo.time > 0 for tempo in new.tempos):
                bpm = analysis.DEFAULT_TEMPO_BPM
            if bpm is not None:
                new.tempos.insert(0, TempoTick(0, bpm))
        elif bpm is not None and TempoTick(0, bpm).mspq != _ruling_mspq(new, seed, tick):
            before = sum(tempo.time < tick for tempo in new.tempos)
            new.tempos.insert(before, TempoTick(tick, bpm))
        bar += step.bars


def _ruling_mspq(new: ScoreTick, seed: Seed | None, tick: int) -> int:
    if seed is not None and all(tempo.time > tick for tempo in new.tempos):
        return TempoTick(0, analysis.tempo_at(seed.score, seed.end_tick)).mspq
    return TempoTick(0, analysis.tempo_at(new, tick)).mspq


def _with_step(steps: tuple[Step, ...], step: Step) -> tuple[Step, ...]:
    """Steps and one more, which lengthens the last where it is of the same kind."""
    if steps and replace(steps[-1], bars=step.bars) == step:
        return (*steps[:-1], replace(step, bars=steps[-1].bars + step.bars))
    return (*steps, step)


def _first_steps(steps: Sequence[Step], bars: int) -> tuple[Step, ...]:
    found: list[Step] = []
    for step in steps:
        if bars <= 0:
            break
        found.append(replace(step, bars=min(step.bars, bars)))
        bars -= step.bars
    return tuple(found)
