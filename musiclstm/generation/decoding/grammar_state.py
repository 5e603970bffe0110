"""Grammar state of one sequence, and the logit masks that follow from it.

    Bar TimeSig (Position Tempo)* (Program (Position (Pitch Duration)+)+)*

The k-th block of a program in a bar is its k-th track. A bar has at most as many blocks of a
program as the prompt has tracks of it: one if the prompt has none, eight without a prompt. A block
may be empty if another block of its program can follow; then one of those must have a note. Drums
are last, unless the prompt has them earlier. Positions ascend within a block and pitches within an
onset, so no part starts a note twice. Otherwise the order of parts is free.

A token is permitted if the bar can still get its required notes after it. Each position has a
number of onsets left, and a note of the shortest duration uses one. The number of notes that can
still start is the sum over positions, at each one limited by the pitches of the current and later
parts.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from musiclstm.generation.decoding.grammar import CLOSED, NO_LIMIT, OPEN, Grammar
from musiclstm.model.step_features import TokenKind
from musiclstm.tokens import DRUMS, MAX_TRACKS_PER_PROGRAM, POSITIONS_PER_BEAT
from musiclstm.tokens import vocabulary as v
from musiclstm.tokens.vocabulary import TABLE

# Plain integers compare four times faster than members of an enumeration.
_, _BAR, _TIME_SIGNATURE, _TEMPO, _PROGRAM, _POSITION, _PITCH, _DRUM, _DURATION = map(
    int, TokenKind
)
_BETWEEN_BARS, _ENDED = 0, -1
_KIND, _VALUE = [int(kind) for kind in TABLE.kind], TABLE.value
_DRUM_0 = v.PITCH_DRUM_FIRST - v.DRUM_PITCHES[0]

_MUTABLE = (
    "_note_ends",
    "_blocks",
    "_must_play",
    "_onsets_left",
    "_voices_left",
    "_open_programs",
    "_open_positions",
)
_NONE = (NO_LIMIT,)  # pitches of a program without any
_PERMIT = np.full(len(TABLE), OPEN, np.float32)  # a slice of it is a ceiling that permits all
_ONE_OR_NONE = np.array([CLOSED, OPEN], np.float32)
_LONGEST = int(v.DURATION_STEPS[-1]) * 4  # in 1/48 quarters, where quarters are the beat
_DURATIONS_UP_TO = [
    int(count) for count in np.searchsorted(v.DURATION_STEPS, np.arange(_LONGEST), side="right")
]


class GrammarState:
    """State of the grammar of one sequence, updated by every token."""

    def __init__(self, grammar: Grammar) -> None:
        """Start before the first bar, without a prompt."""
        self._grammar = grammar
        self._tracks: dict[int, int] = {}
        self._other_tracks = MAX_TRACKS_PER_PROGRAM
        self._drums_are_last = True
        self._note_ends: dict[
            tuple[int, int, int], int
        ] = {}  # program, track, pitch: end from bar line
        self._empty_bars = 0
        self._in_bar = False
        self._start_bar()
        self._start_meter(v.TIME_SIGNATURE_0 + v.TIME_SIGNATURES.index((4, 4)))

    def copy(self) -> GrammarState:
        """Return an independent copy."""
        other = copy.copy(self)
        for name in _MUTABLE:
            setattr(other, name, getattr(self, name).copy())
        if self._free_onsets is self._onsets_left:
            other._free_onsets = other._onsets_left
        return other

    # Bars that exist already.

    def read(self, prompt: Sequence[int]) -> None:
        """Read a prompt, any ids; new bars may have its tracks."""
        blocks: dict[int, int] = {}
        for token in prompt:
            if token == v.BAR:
                blocks, self._other_tracks = {}, 1
            elif _KIND[token] == _PROGRAM:  # the last tokens of a long bar have no Bar
                self._other_tracks, program = 1, _VALUE[token]
                blocks[program] = blocks.get(program, 0) + 1
                most = min(blocks[program], MAX_TRACKS_PER_PROGRAM)
                self._tracks[program] = max(self._tracks.get(program, 0), most)
                self._drums_are_last &= program == DRUMS or DRUMS not in blocks
        lines = [index for index, token in enumerate(prompt) if token == v.BAR] or [0]
        ends = [*lines[1:], len(prompt)]
        self.replay([prompt[line:end] for line, end in zip(lines, ends, strict=True)])

    def replay(self, bars: Sequence[Sequence[int]]) -> None:
        """Read bars that were generated earlier."""
        for bar in bars[self._first_relevant_bar(bars) :]:
            for token in bar:
                self.advance(token)

    def _first_relevant_bar(self, bars: Sequence[Sequence[int]]) -> int:
        """Return the first bar whose notes may still sound or whose silence still counts."""
        length = 0
        for index in reversed(range(len(bars))):
            length += sum(_VALUE[token] for token in bars[index] if token >= v.TIME_SIGNATURE_0)
            if length >= _LONGEST and len(bars) - index > self._grammar.constraints.max_empty_bars:
                return index
        return 0

    # Updates.

    def open_bar(self, grammar: Grammar | None = None) -> None:
        """Expect a Bar token; `grammar` applies from there on, None: the previous one."""
        self._grammar = grammar or self._grammar
        if self._in_bar:
            self._close_bar()
        self._start_bar()

    def advance(self, token: int) -> None:
        """Update after a token, which must be a permitted one in generated bars."""
        kind, value = _KIND[token], _VALUE[token]
        if kind in (_PITCH, _DRUM):
            self._start_note(value)
        elif kind == _DURATION:
            self._end_note(value)
        elif kind == _POSITION:
            self._start_position(value)
        elif kind == _PROGRAM:
            self._open_block(value)
        elif kind == _TIME_SIGNATURE:
            self._start_meter(token)
        elif kind == _BAR:
            if self._in_bar:
                self.open_bar()
            self._in_bar = True
        elif kind != _TEMPO:
            if token != v.EOS:
                return  # PAD and BOS
            kind = _ENDED
        self._kind = kind

    def _close_bar(self) -> None:
        self._in_bar = False
        self._empty_bars = 0 if self._notes_started else self._empty_bars + 1
        bar = self._length * self._unit
        self._note_ends = {note: end - bar for note, end in self._note_ends.items() if end > bar}

    def _start_bar(self) -> None:
        grammar = self._grammar
        must_play = grammar.needs_pitched or self._empty_bars >= grammar.constraints.max_empty_bars
        self._kind = _BETWEEN_BARS
        self._notes_required = max(
            grammar.fewest, int(must_play)
        )  # notes that the bar must still get
        self._notes_started = 0
        self._has_pitched = False
        self._outside_mode_at = NO_LIMIT  # position of the first note outside the mode
        self._must_play: set[int] = set()  # programs that have an empty block and no note after it
        self._blocks: dict[int, int] = {}
        self._program: int | None = None
        self._position = self._pitch = -1
        self._pitch_without_duration: int | None = None

    def _start_meter(self, token: int) -> None:
        grammar = self._grammar
        self._program, self._position = None, -1
        self._unit = TABLE.unit[token]
        self._length = _VALUE[token] // self._unit
        self._onsets_left = np.full(
            self._length, grammar.at_once
        )  # onsets, by what starts together
        if grammar.shape.downbeat_only:
            self._onsets_left[1:] = 0
        self._counts_voices = grammar.polyphony is not None
        self._voices_left = self._free_voices(2 * self._length, self._unit)
        self._free_onsets = self._onsets_left  # onsets left at each position
        self._later_pitches = self._count_later_pitches()
        self._open_programs = grammar.program_ceiling.copy()
        self._update_free_onsets()
        self._notes_required = min(
            self._notes_required, self._notes_started + self._max_notes(self._later_pitches)
        )
        self._must_be_off_beat = grammar.shape.off_beat and self._close_first_beats()

    def _free_voices(self, size: int, unit: int) -> np.ndarray:
        """Return how many more notes may sound at each position, (size,)."""
        polyphony = self._grammar.polyphony
        voices = np.full(size, NO_LIMIT if polyphony is None else polyphony)
        for end in self._note_ends.values() if polyphony else ():
            voices[: -(-end // unit)] -= 1
        return voices

    def _count_later_pitches(self) -> int:
        """Return the number of pitches of all blocks that may follow in this bar, summed up."""
        pitches = self._grammar.pitches
        drums = len(pitches.get(DRUMS, ()))
        known = sum(
            len(pitches[program]) * (tracks - self._other_tracks)
            for program, tracks in self._tracks.items()
            if program != DRUMS and program in pitches
        )
        return drums + known + self._other_tracks * (self._grammar.different_notes - drums)

    def _update_free_onsets(self) -> None:
        if self._counts_voices:
            self._free_onsets = np.maximum(
                np.minimum(self._voices_left[: self._length], self._onsets_left), 0
            )
        self._num_free_onsets = int(self._free_onsets.sum())
        self._open_positions = _ONE_OR_NONE[(self._free_onsets > 0).view(np.int8)]

    def _close_first_beats(self) -> bool:
        """Close the beats before the first free position off the beat; False if impossible."""
        free = self._free_onsets.copy()
        is_off = (free > 0) & (np.arange(self._length) % POSITIONS_PER_BEAT > 0)
        first = int(is_off.argmax())
        free[:first:POSITIONS_PER_BEAT] = 0
        if not is_off.any() or np.minimum(free, self._later_pitches).sum() < self._notes_required:
            return False
        self._close_beats(first)
        return True

    def _close_beats(self, before: int) -> None:
        self._onsets_left[:before:POSITIONS_PER_BEAT] = 0
        self._update_free_onsets()

    def _open_block(self, program: int) -> None:
        if self._kind == _PROGRAM and self._program is not None:
            self._must_play.add(self._program)  # the block before is empty
        blocks = self._blocks[program] = self._blocks.get(program, 0) + 1
        self._program, self._track = program, min(blocks, MAX_TRACKS_PER_PROGRAM) - 1
        self._position = self._pitch = -1
        self._later_pitches -= len(self._grammar.pitches.get(program, ()))
        if blocks >= self._tracks_of(program):
            self._open_programs[program] = CLOSED
        if program == DRUMS and self._drums_are_last:
            self._open_programs[:] = CLOSED
            self._later_pitches = 0

    def _has_later_track(self) -> bool:
        program = self._program
        return program is not None and self._blocks[program] < self._tracks_of(program)

    def _tracks_of(self, program: int) -> int:
        return 1 if program == DRUMS else self._tracks.get(program, self._other_tracks)

    def _start_position(self, position: int) -> None:
        self._position, self._pitch = min(position, self._length - 1), -1
        if self._needs_first() and self._program is not None:
            self._close_beats(self._position)

    def _start_note(self, pitch: int) -> None:
        program, position = self._program, self._position
        if program is None or position < 0:
            return
        self._pitch = self._pitch_without_duration = pitch
        self._notes_started += 1
        self._notes_required -= 1
        self._must_play.discard(program)
        if program != DRUMS:
            self._has_pitched = True
            if pitch % 12 not in (self._grammar.shape.off_mode or ()):
                self._outside_mode_at = min(self._outside_mode_at, position)
        before = self._note_ends.pop((program, self._track, pitch), 0)
        self._onsets_left[position] -= 1
        if self._counts_voices:
            # The earlier note of this pitch ends where it starts again.
            self._voices_left[position : -(-before // self._unit)] += 1
            self._voices_left[position] -= 1
            self._update_free_onsets()
        elif self._onsets_left[position] >= 0:
            self._num_free_onsets -= 1
            if not self._onsets_left[position]:
                self._open_positions[position] = CLOSED

    def _end_note(self, duration: int) -> None:
        if self._pitch_without_duration is None or self._program is None:
            return
        end = self._position + duration
        self._note_ends[self._program, self._track, self._pitch_without_duration] = end * self._unit
        self._pitch_without_duration = None
        if self._counts_voices:
            self._voices_left[self._position + 1 : end] -= 1
            self._update_free_onsets()

    # Masks.

    def allowed_tokens(self) -> np.ndarray:
        """Return which tokens may follow, (vocab,) bool."""
        zeros = np.zeros(len(TABLE), np.float32)
        return self.mask_logits(zeros, np.empty_like(zeros)) > CLOSED

    def mask_logits(self, logits: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Return the logits with -inf for all tokens that may not follow.

        Args:
            logits: (vocab,) float32; left unchanged.
            out: (vocab,) float32, filled and returned.
        """
        out.fill(CLOSED)
        kind = self._kind
        if kind in (_PITCH, _DRUM):
            _permit(logits, out, v.DURATION_0, _PERMIT[: self._durations()])
        elif kind == _DURATION:
            self._after_note(logits, out)
        elif kind == _POSITION:
            self._after_position(logits, out)
        elif kind == _PROGRAM:
            self._after_program(logits, out)
        elif kind in (_TIME_SIGNATURE, _TEMPO):
            self._after_header(logits, out)
        elif kind == _BAR:
            _permit(logits, out, v.TIME_SIGNATURE_0, self._meters())
        else:
            _permit(logits, out, v.EOS if kind == _ENDED else v.BAR, _PERMIT[:1])
        return out

    def _after_note(self, logits: np.ndarray, out: np.ndarray) -> None:
        if self._program is not None and self._may_start_note():
            if self._free_onsets[self._position] > 0:
                self._permit_pitches(logits, out)
            self._permit_positions(logits, out)
        self._permit_programs(logits, out)
        self._permit_end(logits, out)

    def _after_position(self, logits: np.ndarray, out: np.ndarray) -> None:
        if self._program is not None:
            self._permit_pitches(logits, out)
        elif self._grammar.constraints.allows_tempos:
            _permit(logits, out, v.TEMPO_0, _PERMIT[: len(v.TEMPOS_BPM)])

    def _after_program(self, logits: np.ndarray, out: np.ndarray) -> None:
        self._permit_positions(logits, out)
        if self._has_later_track():
            self._permit_programs(logits, out)

    def _after_header(self, logits: np.ndarray, out: np.ndarray) -> None:
        if self._grammar.constraints.allows_tempos:
            start = self._position + 1
            stop = 1 if self._grammar.shape.downbeat_only else self._length
            _permit(logits, out, v.POSITION_0 + start, _PERMIT[start:stop])
        self._permit_programs(logits, out)
        self._permit_end(logits, out)

    def _permit_end(self, logits: np.ndarray, out: np.ndarray) -> None:
        if self._notes_required <= 0 and not self._must_play:
            _permit(logits, out, v.EOS, _PERMIT[:2])

    def _permit_pitches(self, logits: np.ndarray, out: np.ndarray) -> None:
        program, grammar = self._program, self._grammar
        assert program is not None
        pitches = grammar.pitches.get(program)
        if pitches is None:
            return
        stop, ceilings = self._pitch_stop(pitches), grammar.pitch_ceilings
        is_first = self._pitch < 0 and self._position < self._outside_mode_at
        if is_first and grammar.outside.get(program, _NONE)[0] < stop:
            ceilings = grammar.outside_ceilings
        start = max(self._pitch + 1, pitches[0])
        first = _DRUM_0 if program == DRUMS else v.PITCH_0
        _permit(logits, out, first + start, ceilings[program][start:stop])

    def _permit_positions(self, logits: np.ndarray, out: np.ndarray) -> None:
        start = self._position + 1
        _permit(
            logits, out, v.POSITION_0 + start, self._open_positions[start : self._position_stop()]
        )
        if self._needs_first():
            out[v.POSITION_0 : v.POSITION_0 + self._length : POSITIONS_PER_BEAT] = CLOSED

    def _permit_programs(self, logits: np.ndarray, out: np.ndarray) -> None:
        grammar, must_play = self._grammar, self._must_play
        if self._kind == _PROGRAM and self._program is not None:
            must_play = must_play | {self._program}
        notes_left = min(self._num_free_onsets, grammar.most - self._notes_started) - len(must_play)
        if notes_left < 0 or self._notes_required > self._max_notes(self._later_pitches):
            return
        if notes_left:
            _permit(logits, out, v.PROGRAM_0, self._open_programs)
        else:  # only programs that must play
            ids = [
                v.PROGRAM_DRUMS if program == DRUMS else v.PROGRAM_0 + program
                for program in must_play
            ]
            out[ids] = np.fmin(logits[ids], OPEN)
        if not self._may_play_drums(must_play):
            out[v.PROGRAM_DRUMS] = CLOSED

    def _may_play_drums(self, must_play: set[int]) -> bool:
        if self._grammar.needs_pitched and not self._has_pitched:
            return False
        if not self._drums_are_last:
            return True
        return not must_play and self._notes_required <= self._max_notes(
            len(self._grammar.pitches.get(DRUMS, ()))
        )

    # Required notes.

    def _may_start_note(self) -> bool:
        """Return whether the current part may start another note."""
        others = len(self._must_play - {self._program}) if self._must_play else 0
        return min(self._num_free_onsets, self._grammar.most - self._notes_started) > others

    def _own_pitches(self) -> Sequence[int]:
        return () if self._program is None else self._grammar.pitches.get(self._program, ())

    def _max_notes(self, pitches: int) -> int:
        """Return how many notes can start with so many pitches at each position."""
        if pitches >= self._grammar.at_once:
            return self._num_free_onsets
        return int(np.minimum(self._free_onsets, pitches).sum())

    def _depends_on_part(self) -> bool:
        """Return whether the bar cannot get its required notes from later parts alone."""
        return self._needs_first() or (
            self._notes_required > 0 and self._later_pitches < self._grammar.at_once
        )

    def _needs_first(self) -> bool:
        """Return whether the first onset of the bar is missing and must be off the beat."""
        return self._must_be_off_beat and not self._notes_started

    def _capacity(self) -> tuple[np.ndarray, np.ndarray]:
        """Return onsets of later parts before each position, and of all from it on, (length + 1,).

        All: the current part and later ones.
        """
        later = np.minimum(self._free_onsets, self._later_pitches)
        both = np.minimum(self._free_onsets, self._later_pitches + len(self._own_pitches()))
        if self._needs_first():  # earlier beats will be closed
            later[::POSITIONS_PER_BEAT] = 0
        before, rest = np.zeros((2, self._length + 1), np.int64)
        later.cumsum(out=before[1:])
        both[::-1].cumsum(out=rest[-2::-1])
        return before, rest

    def _max_notes_at_other_positions(self) -> int:
        """Return how many notes can start at other positions than the current one."""
        before, rest = self._capacity()
        return int(before[self._position] + rest[self._position + 1])

    def _position_stop(self) -> int:
        """Return the first position at which too few notes would be possible."""
        if not self._depends_on_part():
            return self._length
        before, rest = self._capacity()
        needed = max(self._notes_required, 1 + len(self._must_play - {self._program}))
        return int(np.count_nonzero((before + rest)[:-1] >= needed))

    def _pitch_stop(self, pitches: Sequence[int]) -> int:
        """Return the lowest pitch above which too few notes would be possible."""
        if self._notes_required <= 1 or not self._depends_on_part():
            return pitches[-1] + 1
        above = (
            self._notes_required - 1 - self._max_notes_at_other_positions() - self._later_pitches
        )  # that this part needs above
        return pitches[-1 - max(0, above)] + 1

    def _durations(self) -> int:
        """Return the number of permitted durations, shortest first."""
        grammar, to_bar_line = self._grammar, self._length - self._position
        longest = NO_LIMIT
        if grammar.shape.closed:
            longest = to_bar_line
        elif grammar.constraints.ending:
            longest = to_bar_line + grammar.shortest_bar // self._unit
        if self._counts_voices:
            longest = min(longest, self._longest_by_voices())
        return _DURATIONS_UP_TO[min(longest, _LONGEST - 1)]

    def _longest_by_voices(self) -> int:
        """Return the longest duration that respects the polyphony and the required notes."""
        position, length = self._position, self._length
        after = self._voices_left[position + 1 : length]
        taken = (
            after <= self._onsets_left[position + 1 :]
        ).cumsum()  # onsets that the note would take
        within = min(
            int(np.searchsorted(taken, self._unrequired_onsets(), side="right")),
            int((np.append(after, 0) <= 0).argmax()),
        )
        if within < len(after):
            return 1 + within
        together = min(self._grammar.at_once, self._grammar.different_notes)
        voices = self._voices_left[length:]
        left = int(np.minimum(voices, together).clip(0).sum()) - max(1, self._grammar.fewest)
        beyond = int(np.searchsorted((voices <= together).cumsum(), left, side="right"))
        return NO_LIMIT if beyond == length else length - position + beyond

    def _unrequired_onsets(self) -> int:
        """Return how many later onsets of the bar are not required."""
        spare = NO_LIMIT
        if self._must_play:
            spare = self._max_notes(self._later_pitches) - len(self._must_play)
        if self._notes_required > 0:
            possible = self._num_free_onsets
            if self._depends_on_part():
                above = sum(pitch > self._pitch for pitch in self._own_pitches())
                here = min(int(self._free_onsets[self._position]), above + self._later_pitches)
                possible = self._max_notes_at_other_positions() + here
            spare = min(spare, possible - self._notes_required)
        return spare

    def _meters(self) -> np.ndarray:
        """Return a ceiling over the time signatures that fit the required notes, or over all."""
        grammar = self._grammar
        if self._notes_required <= (1 if grammar.polyphony is None else 0):
            return grammar.meter_ceiling
        found = grammar.meter_ceiling.copy()
        for index in grammar.meters:
            if not self._fits_required_notes(v.TIME_SIGNATURE_0 + index):
                found[index] = CLOSED
        return found if (found > CLOSED).any() else grammar.meter_ceiling

    def _fits_required_notes(self, token: int) -> bool:
        unit, grammar = TABLE.unit[token], self._grammar
        voices = self._free_voices(
            1 if grammar.shape.downbeat_only else _VALUE[token] // unit, unit
        )
        together = min(grammar.at_once, self._count_later_pitches())
        return int(np.minimum(voices, together).clip(0).sum()) >= self._notes_required


def _permit(logits: np.ndarray, out: np.ndarray, start: int, ceiling: np.ndarray) -> None:
    """Write the logits of tokens from `start` on, limited by a ceiling."""
    stop = start + len(ceiling)
    np.fmin(logits[start:stop], ceiling, out=out[start:stop])
