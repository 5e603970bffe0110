"""Compose some parts of a piece again, or add parts to it; everything else stays as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from symusic.core import ScoreTick

from musiclstm.errors import ScoreError
from musiclstm.generation.constraints import Constraints
from musiclstm.generation.decoding.bar_rules import bar_rules
from musiclstm.generation.decoding.inference import InferenceModel
from musiclstm.generation.decoding.kept_parts import KeptBar, PartsRequest, complete_bars
from musiclstm.generation.decoding.sampling import Sampling
from musiclstm.generation.edit_defaults import (
    Parts,
    known_constraints,
    max_rests,
    programs_of_lines,
    velocity_gain,
)
from musiclstm.generation.edit_selection import Edit
from musiclstm.generation.instrument_mapping import map_programs, remap_constraints
from musiclstm.generation.loudness import PromptLoudness
from musiclstm.generation.pipeline import CONTEXT_BARS, last_bars, track_name
from musiclstm.generation.replace_notes import NewTrack, replace_notes
from musiclstm.midi import analysis
from musiclstm.midi.general_midi import instrument_name
from musiclstm.midi.pedal import hold_notes
from musiclstm.midi.score_ops import first_ticks, slice_notes
from musiclstm.midi.score_tables import write_midi
from musiclstm.tokens import (
    MusicTokenizer,
    PartName,
    most_parts,
    normalize_time_signature,
    programs_of,
    supports_time_signature,
    with_programs,
)
from musiclstm.tokens import vocabulary as v

_FEW_BARS = 8  # with fewer bars before the gap, those after it are read too
_JOIN_BARS = 2  # bars after the gap that weigh the candidates


@dataclass(frozen=True)
class EditedPiece:
    """A piece of which some parts are new in some bars. It has no recipe.

    Attributes:
        score: The whole piece, in ticks; its ticks per quarter are a multiple of those of the file.
            What was kept has the times, velocities and controllers of the file.
        seed: Random seed; the same one gives the same piece.
        bars: First and last bar that were composed, from 1.
        start_tick: Where the first of them begins in `score`.
        end_tick: Where the last of them ends.
        new_tracks: Indices of the tracks of `score` that were composed there.
    """

    score: ScoreTick = field(repr=False)
    seed: int
    bars: tuple[int, int]
    start_tick: int
    end_tick: int
    new_tracks: tuple[int, ...]

    @property
    def new_notes(self) -> int:
        """Number of composed notes."""
        times = (self.score.tracks[index].notes.numpy()["time"] for index in self.new_tracks)
        return sum(int(((t >= self.start_tick) & (t < self.end_tick)).sum()) for t in times)

    def to_midi(self) -> bytes:
        """Return a MIDI file."""
        return write_midi(self.score)

    def save_midi(self, path: str | Path) -> Path:
        """Write `to_midi` into a file and return its path."""
        path = Path(path)
        path.write_bytes(self.to_midi())
        return path

    def _repr_html_(self) -> str:
        """Return the piano roll and a player for notebooks; rendering takes a moment."""
        from musiclstm.notebook import piece_html

        first, last = self.bars
        title = f"{self.new_notes} new notes in bars {first} to {last}, random seed {self.seed}"
        return piece_html(self.score, new_start_tick=None, title=title)


class PartEditor:
    """Compose the new parts of an edit; stateless."""

    def __init__(
        self, model: InferenceModel, tokenizer: MusicTokenizer, programs: Sequence[int] | None
    ) -> None:
        """Store the model, its tokenizer, and the programs it was trained on; None: all."""
        self._model, self._tokenizer, self._programs = model, tokenizer, programs

    def compose(
        self,
        edit: Edit,
        sampling: Sampling | None,
        constraints: Constraints | None,
    ) -> EditedPiece:
        """Return the piece with new parts.

        Raises:
            ScoreError: A bar has a meter that the network cannot write.
            ValueError: Constraints that cannot be met, or a selection that divides a part.
        """
        sampling = (sampling or Sampling()).with_seed()
        assert sampling.seed is not None
        known = known_constraints(edit, constraints)
        mapping = map_programs([programs_of(edit.score) | set(edit.new_programs)], self._programs)
        parts = self._parts(edit, mapping)
        known = remap_constraints(known, mapping, self._programs)
        request = self._request(edit, parts, known, sampling)
        bars = complete_bars(self._model, request)
        new = self._new_tracks(edit, parts, [token for bar in bars for token in bar])
        start, end = edit.lines[edit.first], edit.lines[edit.stop]
        score, tracks = replace_notes(edit.score, start, end, edit.tracks, new)
        numbers = (edit.first + 1, edit.stop)
        return EditedPiece(score, sampling.seed, numbers, start, end, tracks)

    def _parts(self, edit: Edit, mapping: dict[int, int]) -> Parts:
        score = with_programs(hold_notes(edit.score), mapping)
        kept: list[list[int]] = []
        new: list[list[int]] = []
        for members in self._tokenizer.part_order(score):
            chosen = edit.tracks & {*members}
            if chosen and chosen < {*members}:
                numbers = ", ".join(str(index + 1) for index in members)
                raise ValueError(
                    f"The parts {numbers} are one part for the network, as all drums are; choose "
                    "all of them or none."
                )
            (new if chosen else kept).append(members)
        order = [*kept, *new]
        _refuse_unreadable(edit, order)
        names = self._tokenizer.parts(score, order)
        counts = Counter(name.program for name in names)
        for program in (mapping[program] for program in edit.programs):
            names.append(PartName(program, counts[program]))
            counts[program] += 1
            if counts[program] > most_parts(program):
                raise ValueError(
                    f"The piece would have {counts[program]} parts of "
                    f"{instrument_name(program)}, and the network writes at most "
                    f"{most_parts(program)}; add other programs."
                )
        if edit.stop - edit.first == len(edit.lines) - 1:
            for index in edit.tracks:
                score.tracks[index].notes = type(score.tracks[index].notes)()
        return Parts(score, order, names, len(kept))

    def _request(
        self,
        edit: Edit,
        parts: Parts,
        constraints: Constraints,
        sampling: Sampling,
    ) -> PartsRequest:
        prompt = self._prompt(edit, parts)
        whole = self._bars(edit, parts, len(parts.order), edit.first)
        given = self._bars(edit, parts, parts.kept, edit.first)
        count = edit.stop - edit.first
        bars = [
            self._kept_bar(edit, edit.first + i, whole[i : i + 1], given[i : i + 1], constraints)
            for i in range(count)
        ]
        bars[0] = replace(bars[0], tokens=_without_known_tempo(bars[0].tokens, prompt))
        following = [
            tokens
            for i, tokens in enumerate(whole[count : count + _JOIN_BARS], edit.stop)
            if _length(tokens) == _length_of_bar(edit, i)
        ]
        return PartsRequest(
            prompt=prompt,
            bars=bars,
            following=following,
            kept=Counter(name.program for name in parts.names[: parts.kept]),
            max_rests=max_rests(edit, parts),
            lines=programs_of_lines(edit, parts),
            sampling=sampling,
        )

    def _prompt(self, edit: Edit, parts: Parts) -> list[int]:
        """Return the ids of the bars before; if these are few, those of the bars after come first.

        Notes that sound beyond the bar line keep their length.
        """
        before = min(edit.first, CONTEXT_BARS)
        after = min(len(edit.lines) - 1 - edit.stop, CONTEXT_BARS - before)
        spans = [(edit.first - before, edit.first)]
        if before < _FEW_BARS:
            spans.insert(0, (edit.stop, edit.stop + after))
        ids: list[int] = []
        for first, stop in spans:
            if first == stop:
                continue
            start, end = edit.lines[first], edit.lines[stop]
            span = first_ticks(slice_notes(parts.score, start), end - start)
            meter = _meter(edit, stop - 1)
            encoded = self._encode(span, parts.order)
            ids += self._tokenizer.pad_or_trim_bars(encoded, stop - first, meter)
        return [self._tokenizer.bos_id, *last_bars(ids)]

    def _bars(self, edit: Edit, parts: Parts, count: int, first: int) -> list[tuple[int, ...]]:
        """Return tokens of the bars from `first` on, without Bar, of the first `count` parts."""
        ids = self._encode(slice_notes(parts.score, edit.lines[first]), parts.order[:count])
        starts = [i for i, token in enumerate(ids) if token == v.BAR]
        bars = [tuple(ids[a + 1 : b]) for a, b in pairwise([*starts, len(ids)])]
        return bars[: len(edit.lines) - 1 - first]

    def _encode(self, score: ScoreTick, order: list[list[int]]) -> list[int]:
        try:
            return self._tokenizer.encode(score, order=order)
        except ScoreError:  # no notes
            return []

    def _kept_bar(
        self,
        edit: Edit,
        number: int,
        whole: Sequence[tuple[int, ...]],
        given: Sequence[tuple[int, ...]],
        constraints: Constraints,
    ) -> KeptBar:
        """Return a bar; `whole` and `given` are its tokens of all and of kept parts, if any."""
        meter = v.TIME_SIGNATURE_0 + v.TIME_SIGNATURES.index(_meter(edit, number))
        header = _header(whole[0]) if whole else (meter,)
        if _length(header) != _length_of_bar(edit, number):
            raise ScoreError(
                f"Bar {number + 1} has a length that the network cannot write; choose other bars."
            )
        blocks = given[0][len(_header(given[0])) :] if given else ()
        signature = v.TIME_SIGNATURES[header[0] - v.TIME_SIGNATURE_0]
        return KeptBar((*header, *blocks), bar_rules(replace(constraints, meter=signature)))

    def _new_tracks(self, edit: Edit, parts: Parts, ids: Sequence[int]) -> list[NewTrack]:
        """Return the composed notes by part, with velocities."""
        decoded, names = self._tokenizer.decode_parts(ids)
        tracks = dict(zip(parts.names, parts.order, strict=False))
        decoded = PromptLoudness(edit.score, tracks).with_velocities(decoded, names)
        added = dict(zip(parts.names[len(parts.order) :], edit.programs, strict=True))
        gain = velocity_gain(edit.score)
        found = []
        for name in parts.names[parts.kept :]:
            index = names.index(name) if name in names else None
            notes = {} if index is None else decoded.tracks[index].notes.numpy()
            program = added.get(name)
            if program is not None and notes:
                scaled = np.rint(notes["velocity"] * gain).clip(1, 127)
                notes["velocity"] = scaled.astype(np.int8)
            found.append(
                NewTrack(
                    notes=notes,
                    ticks_per_quarter=decoded.ticks_per_quarter,
                    tracks=tuple(tracks.get(name, ())),
                    program=program,
                    name="" if program is None else track_name(program, name),
                )
            )
        return found


def _refuse_unreadable(edit: Edit, order: Collection[Sequence[int]]) -> None:
    unread = edit.tracks - {index for members in order for index in members}
    if unread:
        raise ValueError(
            f"Part {min(unread) + 1} has no note that the network can read; choose other parts."
        )


def _meter(edit: Edit, bar: int) -> tuple[int, int]:
    """Return the meter of a bar as tokens write it; 4/4 if there is no such token."""
    meter = normalize_time_signature(*analysis.meter_at(edit.score, edit.lines[bar]))
    return meter if supports_time_signature(*meter) else analysis.DEFAULT_METER


def _header(tokens: Sequence[int]) -> tuple[int, ...]:
    """Return the tokens of a bar before its first part."""
    programs = (i for i, token in enumerate(tokens) if v.PROGRAM_0 <= token < v.TIME_SIGNATURE_0)
    return tuple(tokens[: next(programs, len(tokens))])


def _without_known_tempo(tokens: tuple[int, ...], prompt: Sequence[int]) -> tuple[int, ...]:
    """Leave out a tempo on the first position that is in force already."""
    tempos = [token for token in prompt if v.TEMPO_0 <= token < v.PROGRAM_0]
    if tempos and tokens[1:3] == (v.POSITION_0, tempos[-1]):
        return tokens[:1] + tokens[3:]
    return tokens


def _length(tokens: Sequence[int]) -> int:
    """Return the length of a bar in ticks of the tokenizer."""
    return int(v.BAR_TICKS[tokens[0] - v.TIME_SIGNATURE_0])


def _length_of_bar(edit: Edit, bar: int) -> float:
    length = edit.lines[bar + 1] - edit.lines[bar]
    return length * v.TICKS_PER_QUARTER / edit.score.ticks_per_quarter
