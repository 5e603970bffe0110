"""Results of composing: a piece with its prompt, or a single bar.

The records are frozen. A composition can be shortened to one of its bars, continued, and composed
again from its recipe.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from math import exp
from numbers import Integral
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from symusic.core import ScoreTick, TempoTick

from musiclstm._lazy import old_attribute, old_method
from musiclstm.generation.append_bars import append_bar_scores, concat_prompt
from musiclstm.generation.bar_plan import Surprise
from musiclstm.generation.constraints import Constraints
from musiclstm.generation.decoding.inference import DecoderState
from musiclstm.generation.decoding.sampling import Sampling
from musiclstm.generation.key_signatures import set_key_signatures
from musiclstm.generation.loudness import PromptLoudness
from musiclstm.generation.pedalling import add_pedal, pedalled_tracks
from musiclstm.generation.prompt import Prompt
from musiclstm.generation.recipe import (
    MAX_BARS_IN_ALL,
    MAX_CHARACTERS,
    MAX_STEPS,
    MIDI_PREFIX,
    ModelInfo,
    Recipe,
    Step,
    digest_of,
    drop_defaults,
)
from musiclstm.generation.references import References
from musiclstm.midi import analysis
from musiclstm.midi.score_ops import (
    drop_empty_tracks,
    first_ticks,
    slice_notes,
    slice_score,
    trim_to_end,
)
from musiclstm.midi.score_tables import write_midi
from musiclstm.midi.summary import pluralize
from musiclstm.tokens import PartName, program_of
from musiclstm.tokens.vocabulary import TICKS_PER_QUARTER

# Indices of the prompt's tracks by the part that they are in the tokens.
PartTracks: TypeAlias = Mapping[PartName, tuple[int, ...]]

_MIN_PROBABILITY = sys.float_info.min  # `exp` of a very negative logarithm underflows to 0


class NoteProbability(NamedTuple):
    """Probability of one note under the network.

    Attributes:
        track: Index of the track in `Composition.continuation`.
        tick: Onset in `Composition.continuation`.
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
        number: Index among the new bars, from 0.
        score: This bar alone, in ticks from its bar line; notes may end after it.
        length_ticks: Length of the bar.
        tokens: Token ids.
        state: State of the network after the bar.
        parts: Part of each track of `score`.
        log_probs: Natural logarithm of each token's probability under the network, over permitted
            tokens and before sampling settings change it.
        note_log_probs: The same for each note, by track of `score`; see
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
    """A prompt and the bars that continue it.

    Attributes:
        score: The prompt followed by the new bars, in ticks.
        bars: Number of new bars, without the prompt.
        bar_tokens: Token ids of each new bar.
        state: State of the network after the last bar.
        sampling: Sampling of the last bars; its random seed is always set.
        constraints: Constraints of the last bars, with a named key.
        surprise: In which bars the music deviates.
        prompt: None: a new piece.
        references: Pieces that were read before the prompt.
        steps: Settings of all new bars, in order.
        generated_bars: The new bars one by one.
        initial_state: State of the network before the first new bar.
        prompt_ids: All token ids that were read before the first new bar.
        part_tracks: Indices of the prompt's tracks by part.
        loudness: Velocities of new notes.
        decoded_score: The new bars from tick 0 as they were decoded; the source of `score`.
        decoded_parts: Part of each track of `decoded_score`.
        track_parts: Part of each track of `score`. None: no new notes, or only accompaniment.
        model_info: Weights and version that composed. None: unknown, and there is no recipe.
        accompaniment_tracks: Number of tracks of `score`, after those of the prompt, that are
            `Prompt.others`. They are there before their first note too, so that a track keeps its
            index while the piece grows.
    """

    score: ScoreTick
    bars: int
    bar_tokens: tuple[tuple[int, ...], ...] = field(repr=False)
    state: DecoderState = field(repr=False, compare=False)
    sampling: Sampling
    constraints: Constraints
    surprise: Surprise = field(default_factory=Surprise)
    prompt: Prompt | None = field(repr=False, default=None)
    references: References = field(repr=False, default_factory=References)
    steps: tuple[Step, ...] = field(repr=False, default=())
    generated_bars: tuple[GeneratedBar, ...] = field(repr=False, compare=False, default=())
    initial_state: DecoderState | None = field(repr=False, compare=False, default=None)
    prompt_ids: tuple[int, ...] = field(repr=False, compare=False, default=())
    part_tracks: PartTracks = field(repr=False, compare=False, default_factory=dict)
    loudness: PromptLoudness = field(repr=False, compare=False, default_factory=PromptLoudness)
    decoded_score: ScoreTick | None = field(repr=False, compare=False, default=None)
    decoded_parts: tuple[PartName, ...] = field(repr=False, compare=False, default=())
    track_parts: tuple[PartName | None, ...] = field(repr=False, compare=False, default=())
    model_info: ModelInfo | None = field(repr=False, compare=False, default=None)
    accompaniment_tracks: int = field(repr=False, default=0)

    @property
    def tokens(self) -> tuple[int, ...]:
        """Token ids of all new bars."""
        return tuple(token for bar in self.bar_tokens for token in bar)

    @property
    def prompt_bars(self) -> int:
        """Number of bars of the prompt; 0 without one."""
        return self.prompt.bars if self.prompt else 0

    @property
    def prompt_end_tick(self) -> int:
        """Tick of `score` where the new music begins; 0 without a prompt."""
        return self.prompt.end_tick if self.prompt else 0

    @property
    def end_tick(self) -> int:
        """Tick of `score` where the last bar ends."""
        scale = self.score.ticks_per_quarter / TICKS_PER_QUARTER
        length = sum(bar.length_ticks for bar in self.generated_bars)
        return self.prompt_end_tick + round(length * scale)

    @property
    def continuation(self) -> ScoreTick:
        """The new bars from tick 0, with the tempo and meter in force there."""
        return self._continuation()[0]

    def truncated(self, bars: int) -> Composition:
        """Return the piece as it was after a number of new bars; `Composer.extend` continues it.

        Args:
            bars: 0 to the number of new bars.

        Raises:
            ValueError: bars out of range.
        """
        if not isinstance(bars, Integral) or not 0 <= bars <= len(self.generated_bars):
            raise ValueError(
                f"bars must be from 0 to {len(self.generated_bars)}, the number of new bars, got "
                f"{bars}."
            )
        assert self.decoded_score is not None
        kept = self.generated_bars[:bars]
        decoded = first_ticks(self.decoded_score, sum(bar.length_ticks for bar in kept))
        # `append_bar_scores` orders tracks by their first notes, so silent ones are last.
        count = sum(len(track.notes) > 0 for track in decoded.tracks)
        decoded.tracks = type(decoded.tracks)(decoded.tracks[:count])
        steps = _first_steps(self.steps, bars)
        settings = next(iter(steps[-1:] or self.steps[:1]), None)
        return _rebuilt(self, kept, decoded, self.decoded_parts[:count], steps, settings)

    def prompt_tracks(self, part: PartName) -> dict[int, int]:
        """Return index and program of each track of the prompt that is a part.

        A program differs from the part's where the network was not trained on it.
        """
        if self.prompt is None:
            return {}
        tracks = self.prompt.score.tracks
        return {index: program_of(tracks[index]) for index in self.part_tracks.get(part, ())}

    def note_probabilities(self) -> tuple[NoteProbability, ...]:
        """Return the probability of each note of `continuation` under the network.

        It is the product of the probabilities of the note's tokens (position, program, pitch,
        duration) before sampling settings change them. Notes that share a token divide its
        probability; generation/note_probabilities.py has the formula.

        Returns:
            Sorted by track, tick and pitch.
        """
        known = self._note_log_probs()
        new, parts = self._continuation()
        return tuple(
            NoteProbability(number, tick, pitch, min(1.0, max(_MIN_PROBABILITY, exp(log_prob))))
            for number, (part, track) in enumerate(zip(parts, new.tracks, strict=True))
            for tick, pitch in sorted((note.time, note.pitch) for note in track.notes)
            for log_prob in [known[part, tick, pitch]]
        )

    def _continuation(self) -> tuple[ScoreTick, list[PartName | None]]:
        """Return `continuation`, and the part of each of its tracks."""
        new, parts = slice_notes(self.score, self.prompt_end_tick), list(self.track_parts)
        first = 0 if self.prompt is None else len(self.prompt.score.tracks)
        accompaniment = slice(first, first + self.accompaniment_tracks)
        del new.tracks[accompaniment], parts[accompaniment]
        pairs = zip(parts, new.tracks, strict=True)
        playing = [part for part, track in pairs if len(track.notes)]
        return drop_empty_tracks(new), playing

    def _note_log_probs(self) -> dict[tuple[PartName | None, int, int], float]:
        """Return log-probabilities by part, tick and pitch, which identify a new note."""
        found: dict[tuple[PartName | None, int, int], float] = {}
        start = 0
        for bar in self.generated_bars:
            scale = self.score.ticks_per_quarter / bar.score.ticks_per_quarter
            rows = zip(bar.parts, bar.score.tracks, bar.note_log_probs, strict=True)
            for part, track, log_probs in rows:
                notes = track.notes.numpy()
                ticks = np.rint((notes["time"] + start) * scale).astype(int).tolist()
                for tick, pitch, log_prob in zip(
                    ticks, notes["pitch"].tolist(), log_probs, strict=True
                ):
                    found[part, tick, pitch] = log_prob
            start += bar.length_ticks
        return found

    @property
    def recipe(self) -> Recipe | None:
        """Settings for `Composer.reproduce`; None: the weights are unknown, or it is too long."""
        if self.model_info is None or len(self.steps) > MAX_STEPS or self.bars > MAX_BARS_IN_ALL:
            return None
        defaults = self.prompt.constraints if self.prompt else Constraints()
        source = self.prompt.source if self.prompt else None
        steps = drop_defaults(self.steps, defaults)
        read = self.references
        music = digest_of(self.tokens)
        return Recipe(self.model_info, steps, source, music, read.names, read.bars)

    def to_midi(self, *, only_new: bool = False) -> bytes:
        """Return a MIDI file that contains the recipe; `only_new` leaves the prompt out."""
        score, start = (self.continuation, self.prompt_end_tick) if only_new else (self.score, 0)
        text = "" if self.recipe is None else self.recipe.to_json()
        text = MIDI_PREFIX + text if 0 < len(text) <= MAX_CHARACTERS else ""
        return write_midi(score, end_tick=self.end_tick - start, text=text)

    def save_midi(self, path: str | Path, *, only_new: bool = False) -> Path:
        """Write `to_midi` into a file and return its path."""
        path = Path(path)
        path.write_bytes(self.to_midi(only_new=only_new))
        return path

    def _repr_html_(self) -> str:
        """Return the piano roll and a player for notebooks; rendering takes a moment."""
        from musiclstm.notebook import piece_html

        after = f" after {pluralize(self.prompt_bars, 'bar')}" if self.prompt else ""
        title = f"{pluralize(self.bars, 'new bar')}{after}, random seed {self.sampling.seed}"
        start = self.prompt_end_tick if self.prompt else None
        return piece_html(self.score, new_start_tick=start, title=title)

    # Names of version 0.2; removed in 0.4.
    first = old_method("Composition.first", truncated)
    seed = old_attribute("Composition.seed", "prompt")
    seed_bars = old_attribute("Composition.seed_bars", "prompt_bars")
    seed_end_tick = old_attribute("Composition.seed_end_tick", "prompt_end_tick")
    passages = old_attribute("Composition.passages", "generated_bars")
    opening = old_attribute("Composition.opening", "initial_state")
    decoded = old_attribute("Composition.decoded", "decoded_score")
    maker = old_attribute("Composition.maker", "model_info")


def append_bars(piece: Composition, new: Sequence[GeneratedBar], *, end: int | None) -> Composition:
    """Return a piece with further bars, which were composed under its present settings.

    Args:
        piece: Left unchanged.
        new: At least one bar.
        end: As in `Step`.
    """
    assert piece.decoded_score is not None
    step = Step(len(new), piece.sampling, piece.constraints, piece.surprise, end)
    length = sum(bar.length_ticks for bar in piece.generated_bars)
    decoded, parts = append_bar_scores(piece.decoded_score, piece.decoded_parts, length, new)
    bars = (*piece.generated_bars, *new)
    return _rebuilt(piece, bars, decoded, parts, _append_step(piece.steps, step), step)


def _rebuilt(
    piece: Composition,
    bars: tuple[GeneratedBar, ...],
    decoded: ScoreTick,
    parts: tuple[PartName, ...],
    steps: tuple[Step, ...],
    settings: Step | None,
) -> Composition:
    """Return the piece with other new bars, and with the settings of a step if there is one."""
    bar_lines = [0, *accumulate(bar.length_ticks for bar in bars)]
    new = trim_to_end(decoded, bar_lines[-1])
    _set_tempos(new, piece.prompt, steps, bar_lines)
    set_key_signatures(new, steps, bar_lines)
    score, track_parts, accompaniment_tracks = _with_prompt(new, parts, piece, bar_lines)
    state = bars[-1].state if bars else piece.initial_state
    assert state is not None
    rebuilt = replace(
        piece,
        score=score,
        bars=len(bars),
        bar_tokens=tuple(bar.tokens for bar in bars),
        state=state,
        steps=steps,
        generated_bars=bars,
        decoded_score=decoded,
        decoded_parts=parts,
        track_parts=track_parts,
        accompaniment_tracks=accompaniment_tracks,
    )
    if settings is None:
        return rebuilt
    assert settings.constraints is not None
    return replace(
        rebuilt,
        sampling=settings.sampling,
        constraints=settings.constraints,
        surprise=settings.surprise,
    )


def _with_prompt(
    new: ScoreTick, parts: tuple[PartName, ...], piece: Composition, bar_lines: Sequence[int]
) -> tuple[ScoreTick, tuple[PartName | None, ...], int]:
    """Return the whole score, the part of each track, and the number of accompaniment tracks.

    The order of tracks: those of the prompt, accompaniment, tracks that only the new music has.
    """
    prompt = piece.prompt
    if prompt is None:
        return new, parts, 0
    count = len(prompt.score.tracks)
    prompt_parts: list[PartName | None] = [None] * count
    for part, indices in piece.part_tracks.items():
        for index in indices:
            prompt_parts[index] = part
    players = [
        [index for index, own in piece.prompt_tracks(part).items() if own == program_of(track)]
        for part, track in zip(parts, new.tracks, strict=True)
    ]
    score, added = concat_prompt(prompt.score, prompt.end_tick, new, players)
    added_parts = [parts[number] for number in added]
    scale = score.ticks_per_quarter / new.ticks_per_quarter
    lines = [prompt.end_tick + round(line * scale) for line in bar_lines]
    add_pedal(score, pedalled_tracks(prompt.score, prompt.end_tick), lines)
    if prompt.others is None:
        return score, (*prompt_parts, *added_parts), 0
    others = slice_score(prompt.others, 0, lines[-1]).tracks
    tracks = [*score.tracks[:count], *others, *score.tracks[count:]]
    score.tracks = type(score.tracks)(tracks)
    return score, (*prompt_parts, *(None for _ in others), *added_parts), len(others)


def _set_tempos(
    new: ScoreTick, prompt: Prompt | None, steps: Sequence[Step], bar_lines: Sequence[int]
) -> None:
    """Set the requested tempos; default: that of the prompt, or 120 in a new piece."""
    bar = 0
    for step in steps:
        assert step.constraints is not None
        bpm, tick = step.constraints.tempo_bpm, bar_lines[bar]
        if not tick:
            if bpm is None and prompt is None and all(tempo.time > 0 for tempo in new.tempos):
                bpm = analysis.DEFAULT_TEMPO_BPM
            if bpm is not None:
                new.tempos.insert(0, TempoTick(0, bpm))
        elif bpm is not None and TempoTick(0, bpm).mspq != _mspq_at(new, prompt, tick):
            index = sum(tempo.time < tick for tempo in new.tempos)
            new.tempos.insert(index, TempoTick(tick, bpm))
        bar += step.bars


def _mspq_at(new: ScoreTick, prompt: Prompt | None, tick: int) -> int:
    """Return the tempo at a tick in microseconds per quarter, the unit of MIDI files."""
    if prompt is not None and all(tempo.time > tick for tempo in new.tempos):
        return TempoTick(0, analysis.tempo_at(prompt.score, prompt.end_tick)).mspq
    return TempoTick(0, analysis.tempo_at(new, tick)).mspq


def _append_step(steps: tuple[Step, ...], step: Step) -> tuple[Step, ...]:
    """Append a step; it is added to the last one if their settings are equal."""
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
