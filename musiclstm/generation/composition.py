"""Results of composing: a piece with its prompt, or a single bar.

The records are frozen. They hold what is needed to explain a piece, return to one of its bars,
continue it or compose it again.
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

from musiclstm.generation.append_bars import append_bar_scores, concat_prompt
from musiclstm.generation.bar_plan import Surprise
from musiclstm.generation.constraints import Constraints
from musiclstm.generation.decoding.inference import DecoderState
from musiclstm.generation.decoding.sampling import Sampling
from musiclstm.generation.loudness import PromptLoudness
from musiclstm.generation.recipe import (
    MAX_BARS_IN_ALL,
    MAX_CHARACTERS,
    MAX_STEPS,
    Maker,
    Recipe,
    Source,
    Step,
    digest_of,
    shortened,
)
from musiclstm.midi import analysis
from musiclstm.midi.embedded_text import embed_text
from musiclstm.midi.score_ops import (
    drop_empty_tracks,
    first_ticks,
    slice_notes,
    slice_score,
    trim_to_end,
)
from musiclstm.tokens import PartName, program_of

# Tracks of the prompt's score by the part that they are in the tokens.
PartTracks: TypeAlias = Mapping[PartName, tuple[int, ...]]

_LEAST = sys.float_info.min  # a note that was sampled has no probability of 0


@dataclass(frozen=True)
class Prompt:
    """A prompt as composing uses it.

    Attributes:
        score: The music that the network reads and continues, in ticks that the grid divides.
        bars: Number of its bars.
        end_tick: The bar line where it ends and the new music begins.
        others: Other tracks of the prompt from the same first bar to their end; they accompany, and
            the network does not read them. None: there are none.
        constraints: Defaults of the constraints of its continuations.
        source: Where it came from. None: unknown.
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
    """Probability of one note under the network.

    Attributes:
        track: Index of its track in `Composition.continuation`.
        tick: Onset there.
        pitch: MIDI pitch.
        probability: Above 0 to 1.
    """

    track: int
    tick: int
    pitch: int
    probability: float


@dataclass(frozen=True)
class GeneratedBar:
    """One new bar.

    Attributes:
        number: Index of the new bar, from 0.
        score: The bar alone, in ticks from its bar line; notes may end after the bar.
        length_ticks: Length of the bar.
        tokens: Its ids.
        state: State of the network after it.
        parts: Part of each track of `score`.
        log_probs: Natural logarithm of each token's probability under the network, over permitted
            tokens and before sampling changed it.
        note_log_probs: The same of each note, by tracks of `score`, see
            generation/note_probabilities.py.
    """

    number: int
    score: ScoreTick
    length_ticks: int
    tokens: tuple[int, ...] = field(repr=False)
    state: DecoderState = field(repr=False, compare=False)
    parts: tuple[PartName, ...] = ()
    log_probs: tuple[float, ...] = field(repr=False, compare=False, default=())
    note_log_probs: tuple[tuple[float, ...], ...] = field(repr=False, compare=False, default=())


@dataclass(frozen=True)
class Composition:
    """A piece, and what is needed to explain it, shorten or continue it, or compose it again.

    Attributes:
        score: The prompt followed by the new bars, in ticks.
        bars: Number of new bars, without the prompt.
        bar_tokens: Ids of each new bar.
        state: State of the network at the end.
        sampling: How the last notes were chosen; its random seed is always set.
        constraints: What the last bars kept to, with a named key.
        surprise: In which bars the music deviates.
        seed: The prompt. None: a new piece.
        steps: Settings of the new bars, in order.
        passages: The new bars one by one.
        opening: State of the network before the first of them.
        prompt_ids: Ids that the network had read then.
        part_tracks: Tracks of the prompt's score that are each part.
        loudness: Velocities of new notes.
        decoded: The new bars from tick 0, as they were decoded; `score` is made from it.
        decoded_parts: Part of each track of `decoded`.
        track_parts: Part of each track of `score`. None: it has no new notes, or only accompanies.
        maker: Weights and version that composed. None: unknown, and there is no recipe.
        accompaniment_tracks: Number of tracks of `score`, after those of the prompt, that are
            `Prompt.others`. All drafts have them, also before their first note, so that a track keeps
            its index while the piece grows.
    """

    score: ScoreTick
    bars: int
    bar_tokens: tuple[tuple[int, ...], ...] = field(repr=False)
    state: DecoderState = field(repr=False, compare=False)
    sampling: Sampling
    constraints: Constraints
    surprise: Surprise = field(default_factory=Surprise)
    seed: Prompt | None = field(repr=False, default=None)
    steps: tuple[Step, ...] = field(repr=False, default=())
    passages: tuple[GeneratedBar, ...] = field(repr=False, compare=False, default=())
    opening: DecoderState | None = field(repr=False, compare=False, default=None)
    prompt_ids: tuple[int, ...] = field(repr=False, compare=False, default=())
    part_tracks: PartTracks = field(repr=False, compare=False, default_factory=dict)
    loudness: PromptLoudness = field(repr=False, compare=False, default_factory=PromptLoudness)
    decoded: ScoreTick | None = field(repr=False, compare=False, default=None)
    decoded_parts: tuple[PartName, ...] = field(repr=False, compare=False, default=())
    track_parts: tuple[PartName | None, ...] = field(repr=False, compare=False, default=())
    maker: Maker | None = field(repr=False, compare=False, default=None)
    accompaniment_tracks: int = field(repr=False, default=0)

    @property
    def tokens(self) -> tuple[int, ...]:
        """Ids of all new bars."""
        return tuple(token for bar in self.bar_tokens for token in bar)

    @property
    def seed_bars(self) -> int:
        """Number of bars of the prompt; 0 without one."""
        return self.seed.bars if self.seed else 0

    @property
    def seed_end_tick(self) -> int:
        """Tick of `score` where the new music begins; 0 without a prompt."""
        return self.seed.end_tick if self.seed else 0

    @property
    def continuation(self) -> ScoreTick:
        """What was composed, from tick 0 on, with the tempo and meter that are in force there."""
        return self._continuation()[0]

    def first(self, bars: int) -> Composition:
        """Return the piece as it was after a number of new bars; `Composer.extend` continues it.

        Args:
            bars: 0 to the number of new bars.

        Raises:
            ValueError: bars out of range.
        """
        if not isinstance(bars, Integral) or not 0 <= bars <= len(self.passages):
            raise ValueError(
                f"bars must be from 0 to {len(self.passages)}, the number of new bars, got {bars}."
            )
        assert self.opening is not None
        assert self.decoded is not None
        passages = self.passages[:bars]
        early = first_ticks(self.decoded, sum(passage.length_ticks for passage in passages))
        sounding = [len(track.notes) > 0 for track in early.tracks].count(True)
        # Tracks stand in the order of their first notes, see `append_bar_scores`.
        early.tracks = type(early.tracks)(early.tracks[:sounding])
        steps = _first_steps(self.steps, bars)
        last = steps[-1:] or self.steps[:1]
        return _made(self, passages, (early, self.decoded_parts[:sounding]), steps, *last)

    def prompt_tracks(self, part: PartName) -> dict[int, int]:
        """Return the tracks of the prompt's score that are a part, each with its program.

        The programs differ from the part's where the network was not trained on them.
        """
        if self.seed is None:
            return {}
        tracks = self.seed.score.tracks
        return {member: program_of(tracks[member]) for member in self.part_tracks.get(part, ())}

    def note_probabilities(self) -> tuple[NoteProbability, ...]:
        """Return the probability of each note of `continuation` under the network.

        It is the product over the tokens of the note (position, program, pitch, duration), before
        sampling changed their probabilities. Notes that share a token divide its probability; the
        formula is in generation/note_probabilities.py.

        Returns:
            In the order of track, tick and pitch.
        """
        known = self._log_probs_of_notes()
        new, parts = self._continuation()
        return tuple(
            NoteProbability(number, tick, pitch, min(1.0, max(_LEAST, exp(log_prob))))
            for number, (part, track) in enumerate(zip(parts, new.tracks, strict=True))
            for tick, pitch in sorted((note.time, note.pitch) for note in track.notes)
            for log_prob in [known[part, tick, pitch]]
        )

    def _continuation(self) -> tuple[ScoreTick, list[PartName | None]]:
        """Return `continuation`, and the part of each of its tracks."""
        new, parts = slice_notes(self.score, self.seed_end_tick), list(self.track_parts)
        own = 0 if self.seed is None else len(self.seed.score.tracks)
        del (
            new.tracks[own : own + self.accompaniment_tracks],
            parts[own : own + self.accompaniment_tracks],
        )
        pairs = zip(parts, new.tracks, strict=True)
        playing = [part for part, track in pairs if len(track.notes)]
        return drop_empty_tracks(new), playing

    def _log_probs_of_notes(self) -> dict[tuple[PartName | None, int, int], float]:
        """Return log-probabilities by part, tick and pitch, which tell all new notes apart."""
        found: dict[tuple[PartName | None, int, int], float] = {}
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
        """What `Composer.reproduce` needs to compose the piece again; None: unknown, or too long."""
        if self.maker is None or len(self.steps) > MAX_STEPS or self.bars > MAX_BARS_IN_ALL:
            return None
        usual = self.seed.constraints if self.seed else Constraints()
        source = self.seed.source if self.seed else None
        return Recipe(self.maker, shortened(self.steps, usual), source, digest_of(self.tokens))

    def to_midi(self, *, only_new: bool = False) -> bytes:
        """Return a MIDI file that holds the recipe too; `only_new` leaves the prompt out."""
        midi = bytes((self.continuation if only_new else self.score).dumps_midi())
        recipe = self.recipe
        text = "" if recipe is None else recipe.to_json()
        return embed_text(midi, text) if 0 < len(text) <= MAX_CHARACTERS else midi

    def save_midi(self, path: str | Path, *, only_new: bool = False) -> Path:
        """Write `to_midi` into a file and return its path."""
        path = Path(path)
        path.write_bytes(self.to_midi(only_new=only_new))
        return path


def append_bars(piece: Composition, new: Sequence[GeneratedBar], *, end: int | None) -> Composition:
    """Return a piece with further bars, which were composed under its present settings.

    Args:
        piece: Left unchanged.
        new: At least one bar.
        end: As in `Step`.
    """
    assert piece.decoded is not None
    step = Step(len(new), piece.sampling, piece.constraints, piece.surprise, end)
    length = sum(passage.length_ticks for passage in piece.passages)
    longer = append_bar_scores(piece.decoded, piece.decoded_parts, length, new)
    return _made(piece, (*piece.passages, *new), longer, _with_step(piece.steps, step), step)


def _made(
    piece: Composition,
    passages: tuple[GeneratedBar, ...],
    decoded: tuple[ScoreTick, tuple[PartName, ...]],
    steps: tuple[Step, ...],
    last: Step | None = None,
) -> Composition:
    """Return the same piece with other bars, and with the settings of the last step."""
    lines = [0, *accumulate(passage.length_ticks for passage in passages)]
    new, parts = trim_to_end(decoded[0], lines[-1]), decoded[1]
    _set_tempos(new, piece.seed, steps, lines)
    score, track_parts, others = _with_seed(new, parts, piece, lines[-1])
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
        accompaniment_tracks=others,
    )
    return made if last is None else _as_in(made, last)


def _as_in(piece: Composition, step: Step) -> Composition:
    assert step.constraints is not None
    return replace(
        piece, sampling=step.sampling, constraints=step.constraints, surprise=step.surprise
    )


def _with_seed(
    new: ScoreTick, parts: tuple[PartName, ...], piece: Composition, length: int
) -> tuple[ScoreTick, tuple[PartName | None, ...], int]:
    """Return the whole score, the part of each track, and the number of accompaniment tracks.

    The latter follow those of the prompt.
    """
    seed = piece.seed
    if seed is None:
        return new, parts, 0
    own = len(seed.score.tracks)
    owners: list[PartName | None] = [None] * own
    for part, tracks_of_part in piece.part_tracks.items():
        for track in tracks_of_part:
            owners[track] = part
    members = [
        [at for at, each in piece.prompt_tracks(part).items() if each == program_of(track)]
        for part, track in zip(parts, new.tracks, strict=True)
    ]
    score, added = concat_prompt(seed.score, seed.end_tick, new, members)
    added_parts = [parts[number] for number in added]
    if seed.others is None:
        return score, (*owners, *added_parts), 0
    end = seed.end_tick + round(length * score.ticks_per_quarter / new.ticks_per_quarter)
    others = slice_score(seed.others, 0, end).tracks
    tracks = [*score.tracks[:own], *others, *score.tracks[own:]]
    score.tracks = type(score.tracks)(tracks)
    return score, (*owners, *(None for _ in others), *added_parts), len(others)


def _set_tempos(
    new: ScoreTick, seed: Prompt | None, steps: Sequence[Step], lines: Sequence[int]
) -> None:
    """Set the requested tempos; default: that of the prompt, or the usual one in a new piece."""
    bar = 0
    for step in steps:
        assert step.constraints is not None
        bpm, tick = step.constraints.tempo_bpm, lines[bar]
        if not tick:
            if bpm is None and seed is None and all(tempo.time > 0 for tempo in new.tempos):
                bpm = analysis.DEFAULT_TEMPO_BPM
            if bpm is not None:
                new.tempos.insert(0, TempoTick(0, bpm))
        elif bpm is not None and TempoTick(0, bpm).mspq != _mspq_at(new, seed, tick):
            before = sum(tempo.time < tick for tempo in new.tempos)
            new.tempos.insert(before, TempoTick(tick, bpm))
        bar += step.bars


def _mspq_at(new: ScoreTick, seed: Prompt | None, tick: int) -> int:
    if seed is not None and all(tempo.time > tick for tempo in new.tempos):
        return TempoTick(0, analysis.tempo_at(seed.score, seed.end_tick)).mspq
    return TempoTick(0, analysis.tempo_at(new, tick)).mspq


def _with_step(steps: tuple[Step, ...], step: Step) -> tuple[Step, ...]:
    """Return steps with one more, which is added to the last one if their settings are equal."""
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
