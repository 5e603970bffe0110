"""From a prompt to ids, from ids to new bars, and from new bars to a composition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from symusic.core import ScoreTick

from musiclstm.generation.bar_plan import BarPlanner, Bars, GenerationRequest, Surprise
from musiclstm.generation.composition import (
    Composition,
    GeneratedBar,
    PartTracks,
    Prompt,
    append_bars,
)
from musiclstm.generation.constraints import Constraints, Scale
from musiclstm.generation.decoding.decode_loop import (
    SequenceRequest,
    TokenBar,
    compose_bars,
    compose_sequences,
)
from musiclstm.generation.decoding.inference import InferenceModel
from musiclstm.generation.decoding.sampling import Sampling
from musiclstm.generation.instrument_mapping import (
    invert_mapping,
    map_programs,
    permitted_mapping,
    remap_constraints,
)
from musiclstm.generation.loudness import PromptLoudness
from musiclstm.generation.note_probabilities import log_probs_by_track, notes_of_bar
from musiclstm.generation.prompt import ruling_meter, with_key_named
from musiclstm.generation.recipe import Maker
from musiclstm.midi import analysis
from musiclstm.midi.general_midi import instrument_name
from musiclstm.midi.score_ops import slice_notes, sorted_notes
from musiclstm.tokens import (
    MusicTokenizer,
    PartName,
    most_parts,
    program_of,
    programs_of,
    with_programs,
)

CONTEXT_BARS = 64  # the last bars of a prompt that are read
CONTEXT_TOKENS = 8_192  # and at most so many tokens of them, in whole bars


@dataclass(frozen=True)
class Request:
    """Requested settings. None: those of the prompt or the piece."""

    sampling: Sampling | None = None
    constraints: Constraints | None = None
    surprise: Surprise | None = None


class Pipeline:
    """Composes bars and puts compositions together; holds no state of any piece."""

    def __init__(
        self, network: InferenceModel, tokenizer: MusicTokenizer, programs: Sequence[int] | None
    ) -> None:
        """Take a network, its tokenizer, and the programs it was trained on; None: all."""
        self._network, self._tokenizer, self._programs = network, tokenizer, programs
        self._planner = BarPlanner()

    def begin(self, seed: Prompt | None, request: Request, maker: Maker | None) -> Composition:
        """Return a composition whose prompt is read, without new bars."""
        usual = Constraints() if seed is None else seed.constraints
        constraints = with_key_named(request.constraints or usual, seed)
        read = self._read(seed, self._mapping(seed, [constraints]))
        opening = self._network.prefill(read.ids)
        nothing = ScoreTick(self._tokenizer.ticks_per_quarter)
        piece = Composition(
            score=nothing if seed is None else seed.score,
            bars=0,
            bar_tokens=(),
            state=opening,
            sampling=(request.sampling or Sampling()).with_seed(),
            constraints=constraints,
            surprise=request.surprise or Surprise(),
            seed=seed,
            opening=opening,
            prompt_ids=read.ids,
            part_tracks=read.part_tracks,
            loudness=read.loudness,
            decoded=nothing,
            maker=maker,
        )
        return piece.first(0)  # with the tracks that only accompany

    def changed(self, piece: Composition, request: Request) -> Composition:
        """Return the piece with new settings for its next bars; those not asked for stay.

        A piece without new bars reads its prompt again if the requested programs change the trained
        ones in place of the prompt's.

        Raises:
            ValueError: The key of the prompt is requested and cannot be estimated.
        """
        constraints = request.constraints
        new = replace(
            piece,
            sampling=piece.sampling if request.sampling is None else request.sampling.with_seed(),
            constraints=(
                piece.constraints
                if constraints is None
                else with_key_named(constraints, piece.seed)
            ),
            surprise=request.surprise or piece.surprise,
        )
        if piece.bars or self._mapping_of(new) == self._mapping_of(piece):
            return new
        settings = Request(new.sampling, new.constraints, new.surprise)
        return self.begin(piece.seed, settings, piece.maker)

    # New bars.

    def _sequence(self, piece: Composition, end: int | None) -> SequenceRequest:
        """Return what continues a piece under its settings; `end` as in `Step`.

        Raises:
            ValueError: The constraints cannot be met.
        """
        mapping = self._mapping_of(piece)
        request = GenerationRequest(
            constraints=remap_constraints(piece.constraints, mapping, self._programs),
            sampling=piece.sampling,
            surprise=piece.surprise,
            end=end,
            key=lambda before: self._key(piece, before),
        )
        plan = self._planner.plan(request)
        return SequenceRequest(piece.state, plan, piece.bar_tokens, piece.prompt_ids)

    def extended(self, piece: Composition, bars: int, end: int | None) -> Composition:
        """Return a piece with so many more bars; `end` as in `Step`."""
        new = islice(compose_bars(self._network, self._sequence(piece, end)), bars)
        return append_bars(piece, [*self._passages(piece, new)], end=end)

    def stream_endless(self, piece: Composition) -> Iterator[GeneratedBar]:
        """Return new bars of a piece, one by one and without end.

        Raises:
            ValueError: The constraints cannot be met.
        """
        return self._passages(piece, compose_bars(self._network, self._sequence(piece, None)))

    def compose_many(self, pieces: list[Composition], bars: int) -> tuple[Composition, ...]:
        """Return each piece with so many more bars, composed side by side."""
        new: list[list[TokenBar]] = [[] for _ in pieces]
        for number, bar in self._bars_of(pieces, bars):
            new[number].append(bar)
        return tuple(
            append_bars(piece, [*self._passages(piece, own)], end=end_of(piece, bars))
            for piece, own in zip(pieces, new, strict=True)
        )

    def drafts(self, pieces: list[Composition], bars: int) -> Iterator[tuple[int, Composition]]:
        """Yield number and state of a piece whenever it has gained a bar."""
        ends = [end_of(piece, bars) for piece in pieces]
        return self._growing(list(pieces), self._bars_of(pieces, bars), ends)

    def _bars_of(self, pieces: list[Composition], bars: int) -> Iterator[tuple[int, TokenBar]]:
        requests = [self._sequence(piece, end_of(piece, bars)) for piece in pieces]
        return compose_sequences(self._network, requests, bars=bars)

    def _growing(
        self,
        drafts: list[Composition],
        bars: Iterable[tuple[int, TokenBar]],
        ends: Sequence[int | None],
    ) -> Iterator[tuple[int, Composition]]:
        mappings = [self._mapping_of(piece) for piece in drafts]
        for number, bar in bars:
            piece = drafts[number]
            passage = self._passage(piece, mappings[number], piece.bars, bar)
            drafts[number] = append_bars(piece, [passage], end=ends[number])
            yield number, drafts[number]

    def _passages(self, piece: Composition, bars: Iterable[TokenBar]) -> Iterator[GeneratedBar]:
        mapping = self._mapping_of(piece)
        numbered = enumerate(bars, piece.bars)
        return (self._passage(piece, mapping, number, bar) for number, bar in numbered)

    def _passage(
        self, piece: Composition, mapping: dict[int, int], number: int, bar: TokenBar
    ) -> GeneratedBar:
        """Return a new bar in the instruments and the loudness of the music."""
        score, parts = self._tokenizer.decode_parts(bar.tokens)
        sorted_notes(score)
        log_probs = log_probs_by_track(score, parts, notes_of_bar(bar.tokens, bar.log_probs))
        score = piece.loudness.with_velocities(score, parts, bar.velocity_gain)
        programs = _programs_of_parts(piece, mapping, parts)
        for track, part, program in zip(score.tracks, parts, programs, strict=True):
            track.name = _track_name(program, part)
            if not track.is_drum:
                track.program = program
        return GeneratedBar(
            number=number,
            score=score,
            length_ticks=self._tokenizer.length_ticks(bar.tokens),
            tokens=bar.tokens,
            state=bar.snapshot,
            parts=tuple(parts),
            log_probs=bar.log_probs,
            note_log_probs=log_probs,
        )

    # What may be played.

    def _mapping(
        self, seed: Prompt | None, constraints: Iterable[Constraints | None]
    ) -> dict[int, int]:
        """Return a trained program for each program of the music."""
        played = set() if seed is None else programs_of(seed.score)
        asked = [each.programs or frozenset() for each in constraints if each is not None]
        first, *later = asked
        return map_programs([played | first, *later], self._programs)

    def _mapping_of(self, piece: Composition) -> dict[int, int]:
        asked = [step.constraints for step in piece.steps]
        return self._mapping(piece.seed, [*asked, piece.constraints])

    def _key(self, piece: Composition, before: Bars) -> Scale | None:
        """Return the key asked for, else that of the prompt, else that of the new bars so far."""
        if piece.constraints.key is not None:
            return Scale.named(piece.constraints.key)
        if piece.seed is not None and (found := piece.seed.key):
            return Scale.named(str(found))
        found = analysis.estimate_key(self._tokenizer.decode(t for bar in before for t in bar))
        return None if found is None else Scale.named(str(found))

    # Reading a prompt.

    def _read(self, seed: Prompt | None, mapping: dict[int, int]) -> _ReadPrompt:
        begin = self._tokenizer.bos_id
        if seed is None:
            return _ReadPrompt((begin,), {}, PromptLoudness())
        score = with_programs(seed.score, mapping)
        lines = analysis.bar_starts(score, end_tick=seed.end_tick)
        bars = min(len(lines) - 1, CONTEXT_BARS)
        context = slice_notes(score, int(lines[-1 - bars]), seed.end_tick)
        order = self._tokenizer.part_order(context)
        tracks = _part_tracks(score, order, self._tokenizer.parts(context, order))
        meter = ruling_meter(seed) or analysis.DEFAULT_METER
        encoded = self._tokenizer.encode(context, order=order) if order else []
        ids = self._last_bars(self._tokenizer.with_bars(encoded, bars, meter))
        return _ReadPrompt((begin, *ids), tracks, PromptLoudness(score, tracks))

    def _last_bars(self, ids: Sequence[int]) -> list[int]:
        """Return the last bars, at most `CONTEXT_TOKENS`; of a longer bar its last tokens."""
        tokens = np.asarray(ids)
        starts = np.flatnonzero(tokens == self._tokenizer.ids["Bar_None"])
        first = max(0, len(tokens) - CONTEXT_TOKENS)
        fitting = starts[starts >= first]
        return list(ids[int(fitting[0]) if len(fitting) else first :])


@dataclass(frozen=True)
class _ReadPrompt:
    """A prompt as the network reads it.

    Attributes:
        ids: With BOS.
        part_tracks: Tracks of the prompt's score that each part stands for.
        loudness: Of new notes.
    """

    ids: tuple[int, ...]
    part_tracks: PartTracks
    loudness: PromptLoudness


def _part_tracks(
    score: ScoreTick, order: Sequence[Sequence[int]], parts: Sequence[PartName]
) -> PartTracks:
    """Return the tracks of each part.

    Tracks that are silent where the prompt is read are the next parts of their programs, from the
    highest to the lowest.
    """
    found = {part: tuple(members) for part, members in zip(parts, order, strict=True)}
    read = {track for members in order for track in members}
    silent = [at for at, track in enumerate(score.tracks) if len(track.notes) and at not in read]
    counts = Counter(part.program for part in parts)
    for at in sorted(silent, key=lambda at: -score.tracks[at].notes.numpy()["pitch"].mean()):
        program = program_of(score.tracks[at])
        part = PartName(program, min(counts[program], most_parts(program) - 1))
        counts[program] += 1
        found[part] = (*found.get(part, ()), at)
    return found


def _programs_of_parts(
    piece: Composition, mapping: dict[int, int], parts: Sequence[PartName]
) -> list[int]:
    """Return the program of the music that each part sounds as.

    It is that of the part's track in the prompt. Where this one may not play, or there is none, it
    is what the part's program stands for under the constraints.
    """
    back = invert_mapping(permitted_mapping(mapping, piece.constraints))
    permitted = piece.constraints.programs
    found = []
    for part in parts:
        own = piece.prompt_tracks(part).values()
        playing = (each for each in own if permitted is None or each in permitted)
        found.append(next(playing, back.get(part.program, part.program)))
    return found


def _track_name(program: int, part: PartName) -> str:
    """Return `Violin`, `Violin (2)` and so on."""
    name = instrument_name(program)
    return name if part.number == 0 else f"{name} ({part.number + 1})"


def end_of(piece: Composition, bars: int) -> int | None:
    """Return the bar after which a requested ending comes; None: none is requested."""
    return piece.bars + int(bars) if piece.constraints.ending else None
