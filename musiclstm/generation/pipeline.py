"""Read a prompt into token ids, decode new bars, and assemble compositions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import numpy as np
from symusic.core import ScoreTick

from musiclstm.generation.bar_plan import Bars, GenerationRequest, Surprise, plan_bars
from musiclstm.generation.composition import (
    Composition,
    GeneratedBar,
    PartTracks,
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
from musiclstm.generation.prompt import Prompt, last_meter, resolve_key
from musiclstm.generation.recipe import ModelInfo
from musiclstm.generation.references import References, reference_ids
from musiclstm.memorization import CopyFilter, MemorizationIndex, TokenReader
from musiclstm.midi import analysis
from musiclstm.midi.general_midi import instrument_name
from musiclstm.midi.pedal import hold_notes
from musiclstm.midi.score_ops import slice_notes, sorted_notes
from musiclstm.model import MEMORIZATION_FILE
from musiclstm.tokens import (
    MusicTokenizer,
    PartName,
    most_parts,
    program_of,
    programs_of,
    with_programs,
)
from musiclstm.tokens.vocabulary import BAR

CONTEXT_BARS = 64  # the network reads at most the last so many bars of a prompt,
CONTEXT_TOKENS = 8_192  # and at most so many tokens, in whole bars


@dataclass(frozen=True)
class Overrides:
    """Requested settings. None: the default of the prompt, or those of the piece."""

    sampling: Sampling | None = None
    constraints: Constraints | None = None
    surprise: Surprise | None = None


class Pipeline:
    """Read prompts and compose bars; stateless, so that pieces and threads can share one."""

    def __init__(
        self,
        model: InferenceModel,
        tokenizer: MusicTokenizer,
        programs: Sequence[int] | None,
        memorization_index: Callable[[], MemorizationIndex | None],
    ) -> None:
        """Store a model.

        Args:
            model: The network.
            tokenizer: The tokenizer that it was trained with.
            programs: Those that it was trained on; None: all.
            memorization_index: Returns the index of its training pieces; None: it has none.
        """
        self._model, self._tokenizer, self._programs = model, tokenizer, programs
        self._memorization_index = memorization_index

    def start(
        self,
        prompt: Prompt | None,
        overrides: Overrides,
        model_info: ModelInfo | None,
        references: References | None = None,
    ) -> Composition:
        """Read references and a prompt, and return a composition without new bars."""
        defaults = Constraints() if prompt is None else prompt.constraints
        constraints = resolve_key(overrides.constraints or defaults, prompt)
        read = self._read(prompt, self._mapping(prompt, [constraints]))
        references = references or References()
        music = None if prompt is None else prompt.score
        before = reference_ids(references, music, self._tokenizer, self._programs)
        state = self._model.prefill(read.ids, before)
        empty = ScoreTick(self._tokenizer.ticks_per_quarter)
        piece = Composition(
            score=empty if prompt is None else prompt.score,
            bars=0,
            bar_tokens=(),
            state=state,
            sampling=(overrides.sampling or Sampling()).with_seed(),
            constraints=constraints,
            surprise=overrides.surprise or Surprise(),
            prompt=prompt,
            initial_state=state,
            references=references,
            prompt_ids=(*before, *read.ids),
            part_tracks=read.part_tracks,
            loudness=read.loudness,
            decoded_score=empty,
            model_info=model_info,
        )
        return piece.truncated(0)  # adds the tracks that only accompany

    def with_overrides(self, piece: Composition, overrides: Overrides) -> Composition:
        """Return the piece with new settings for its next bars.

        A piece without new bars reads its prompt again if requested programs take the trained
        programs that stood for those of the prompt.

        Raises:
            ValueError: The key of the prompt is requested and cannot be estimated.
        """
        sampling, constraints = overrides.sampling, overrides.constraints
        new = replace(
            piece,
            sampling=piece.sampling if sampling is None else sampling.with_seed(),
            constraints=(
                piece.constraints if constraints is None else resolve_key(constraints, piece.prompt)
            ),
            surprise=overrides.surprise or piece.surprise,
        )
        if piece.bars or self._mapping_of(new) == self._mapping_of(piece):
            return new
        settings = Overrides(new.sampling, new.constraints, new.surprise)
        return self.start(piece.prompt, settings, piece.model_info, piece.references)

    # New bars -------------------------------------------------------------------------------------

    def extend(self, piece: Composition, bars: int, end: int | None) -> Composition:
        """Return the piece with a number of further bars; `end` as in `Step`."""
        new = islice(compose_bars(self._model, self._request(piece, end)), bars)
        return append_bars(piece, [*self._generated(piece, new)], end=end)

    def extend_many(self, pieces: list[Composition], bars: int) -> tuple[Composition, ...]:
        """Return each piece with a number of further bars, composed in one batch."""
        new: list[list[TokenBar]] = [[] for _ in pieces]
        for number, bar in self._batch(pieces, bars):
            new[number].append(bar)
        return tuple(
            append_bars(piece, [*self._generated(piece, own)], end=ending_bar(piece, bars))
            for piece, own in zip(pieces, new, strict=True)
        )

    def stream(self, pieces: list[Composition], bars: int) -> Iterator[tuple[int, Composition]]:
        """Yield index and state of a piece whenever it has one more bar."""
        ends = [ending_bar(piece, bars) for piece in pieces]
        return self._growing(list(pieces), self._batch(pieces, bars), ends)

    def stream_endless(self, piece: Composition) -> Iterator[GeneratedBar]:
        """Yield new bars of a piece without end.

        Raises:
            ValueError: The constraints cannot be met.
        """
        return self._generated(piece, compose_bars(self._model, self._request(piece, None)))

    def _request(self, piece: Composition, end: int | None) -> SequenceRequest:
        """Return the request for the next bars of a piece; `end` as in `Step`.

        Raises:
            ValueError: The constraints cannot be met.
        """
        request = GenerationRequest(
            constraints=remap_constraints(
                piece.constraints, self._mapping_of(piece), self._programs
            ),
            sampling=piece.sampling,
            surprise=piece.surprise,
            end=end,
            key=lambda before: self._key(piece, before),
        )
        return SequenceRequest(
            piece.state,
            plan_bars(request),
            piece.bar_tokens,
            piece.prompt_ids,
            self._copy_filter(piece.constraints.max_copied_notes),
        )

    def _copy_filter(self, max_copied_notes: int | None) -> CopyFilter | None:
        if max_copied_notes is None:
            return None
        index = self._memorization_index()
        if index is None:
            raise ValueError(
                f"max_copied_notes needs a checkpoint with {MEMORIZATION_FILE}, which is missing "
                "here; write it with training.memorization, or leave max_copied_notes out."
            )
        return CopyFilter(index, TokenReader(self._tokenizer), max_copied_notes)

    def _batch(self, pieces: list[Composition], bars: int) -> Iterator[tuple[int, TokenBar]]:
        requests = [self._request(piece, ending_bar(piece, bars)) for piece in pieces]
        return compose_sequences(self._model, requests, bars=bars)

    def _growing(
        self,
        pieces: list[Composition],
        bars: Iterable[tuple[int, TokenBar]],
        ends: Sequence[int | None],
    ) -> Iterator[tuple[int, Composition]]:
        mappings = [self._mapping_of(piece) for piece in pieces]
        for number, bar in bars:
            piece = pieces[number]
            generated = self._generated_bar(piece, mappings[number], piece.bars, bar)
            pieces[number] = append_bars(piece, [generated], end=ends[number])
            yield number, pieces[number]

    def _generated(self, piece: Composition, bars: Iterable[TokenBar]) -> Iterator[GeneratedBar]:
        mapping = self._mapping_of(piece)
        numbered = enumerate(bars, piece.bars)
        return (self._generated_bar(piece, mapping, number, bar) for number, bar in numbered)

    def _generated_bar(
        self, piece: Composition, mapping: dict[int, int], number: int, bar: TokenBar
    ) -> GeneratedBar:
        """Decode a bar; return it with the programs and velocities of the music."""
        score, parts = self._tokenizer.decode_parts(bar.tokens)
        sorted_notes(score)
        log_probs = log_probs_by_track(score, parts, notes_of_bar(bar.tokens, bar.log_probs))
        score = piece.loudness.with_velocities(score, parts, bar.velocity_gain)
        programs = _programs_of_parts(piece, mapping, parts)
        for track, part, program in zip(score.tracks, parts, programs, strict=True):
            track.name = track_name(program, part)
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

    # Programs and key -----------------------------------------------------------------------------

    def _mapping(
        self, prompt: Prompt | None, constraints: Iterable[Constraints | None]
    ) -> dict[int, int]:
        """Return a trained program for each program of the music."""
        played = set() if prompt is None else programs_of(prompt.score)
        requested = [each.programs or frozenset() for each in constraints if each is not None]
        first, *later = requested
        return map_programs([played | first, *later], self._programs)

    def _mapping_of(self, piece: Composition) -> dict[int, int]:
        earlier = [step.constraints for step in piece.steps]
        return self._mapping(piece.prompt, [*earlier, piece.constraints])

    def _key(self, piece: Composition, before: Bars) -> Scale | None:
        """Return the key of the constraints, else of the prompt, else of the new bars so far."""
        if piece.constraints.key is not None:
            return Scale.named(piece.constraints.key)
        if piece.prompt is not None and (found := piece.prompt.key):
            return Scale.named(str(found))
        found = analysis.estimate_key(self._tokenizer.decode(t for bar in before for t in bar))
        return None if found is None else Scale.named(str(found))

    # Prompt ---------------------------------------------------------------------------------------

    def _read(self, prompt: Prompt | None, mapping: dict[int, int]) -> _ReadPrompt:
        bos = self._tokenizer.bos_id
        if prompt is None:
            return _ReadPrompt((bos,), {}, PromptLoudness())
        score = with_programs(hold_notes(prompt.score), mapping)
        lines = analysis.bar_starts(score, end_tick=prompt.end_tick)
        bars = min(len(lines) - 1, CONTEXT_BARS)
        context = slice_notes(score, int(lines[-1 - bars]), prompt.end_tick)
        order = self._tokenizer.part_order(context)
        tracks = _part_tracks(score, order, self._tokenizer.parts(context, order))
        meter = last_meter(prompt) or analysis.DEFAULT_METER
        encoded = self._tokenizer.encode(context, order=order) if order else []
        ids = last_bars(self._tokenizer.pad_or_trim_bars(encoded, bars, meter))
        return _ReadPrompt((bos, *ids), tracks, PromptLoudness(score, tracks))


class _ReadPrompt(NamedTuple):
    """A prompt as the network reads it."""

    ids: tuple[int, ...]  # with BOS
    part_tracks: PartTracks
    loudness: PromptLoudness  # velocities of new notes


def _part_tracks(
    score: ScoreTick, order: Sequence[Sequence[int]], parts: Sequence[PartName]
) -> PartTracks:
    """Return the indices of the tracks of each part.

    Tracks without notes in the bars that are read become the next parts of their programs, by
    descending mean pitch.
    """
    found = {part: tuple(tracks) for part, tracks in zip(parts, order, strict=True)}
    read = {index for tracks in order for index in tracks}
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
    """Return the program that each part is played with.

    It is the program of the part's track in the prompt if the constraints permit that program;
    otherwise the permitted program that the part's trained program substitutes.
    """
    originals = invert_mapping(permitted_mapping(mapping, piece.constraints))
    permitted = piece.constraints.programs
    found = []
    for part in parts:
        own = piece.prompt_tracks(part).values()
        playing = (each for each in own if permitted is None or each in permitted)
        found.append(next(playing, originals.get(part.program, part.program)))
    return found


def track_name(program: int, part: PartName) -> str:
    """Return `Violin`, `Violin (2)` and so on."""
    name = instrument_name(program)
    return name if part.number == 0 else f"{name} ({part.number + 1})"


def ending_bar(piece: Composition, bars: int) -> int | None:
    """Return the number of new bars after which the ending is complete; None: no ending."""
    return piece.bars + int(bars) if piece.constraints.ending else None


def last_bars(ids: Sequence[int]) -> list[int]:
    """Return the last whole bars of at most `CONTEXT_TOKENS`, or the end of a longer bar."""
    tokens = np.asarray(ids)
    starts = np.flatnonzero(tokens == BAR)
    first = max(0, len(tokens) - CONTEXT_TOKENS)
    fitting = starts[starts >= first]
    return list(ids[int(fitting[0]) if len(fitting) else first :])
