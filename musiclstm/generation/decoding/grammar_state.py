"""Where a sequence stands in the grammar, and the logit masks that follow.

    Bar TimeSig (Position Tempo)* (Program (Position (Pitch Duration)+)+)*

The k-th block of a program in a bar is its k-th track. A program has at most as many blocks in a
bar as the prompt has tracks of it: one where the prompt has none, eight where there is no prompt.
A block may be empty if another one of its program can follow; then one of those must have a note.
Drums come last, unless the prompt has them earlier. Within a block positions ascend, within an
onset pitches do, so that no part starts the same note twice. The order of parts is free otherwise.

A token is permitted if what the bar still needs remains possible after it. Each position has so
many onsets left; a note of the shortest duration takes one of them. Hence the sum over positions,
bounded by the pitches that the present part and later ones have, is what remains possible.
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

_MUTABLE = ("_held", "_blocks", "_owed", "_left", "_room", "_open_programs", "_open_positions")
_NONE = (NO_LIMIT,)  # pitches of a program that has none
_PERMIT = np.full(len(TABLE), OPEN, np.float32)  # slices of it permit everything
_ONE_OR_NONE = np.array([CLOSED, OPEN], np.float32)
_LONGEST = int(v.DURATION_STEPS[-1]) * 4  # in 1/48 quarters, where quarters are the beat
_DURATIONS_UP_TO = [
    int(count) for count in np.searchsorted(v.DURATION_STEPS, np.arange(_LONGEST), side="right")
]


class GrammarState:
    """Position of one sequence in the grammar; every token moves it on."""

    def __init__(self, grammar: Grammar) -> None:
        """Start before the first bar of a sequence without a prompt."""
        self._grammar = grammar
        self._tracks: dict[int, int] = {}
        self._other_tracks = MAX_TRACKS_PER_PROGRAM
        self._drums_are_last = True
        self._held: dict[tuple[int, int, int], int] = {}  # program, track, pitch: end from bar line
        self._empty_bars = 0
        self._in_bar = False
        self._start_bar()
        self._start_positions(v.TIME_SIGNATURE_0 + v.TIME_SIGNATURES.index((4, 4)))

    def copy(self) -> GrammarState:
        """Return another state at the same place."""
        other = copy.copy(self)
        for name in _MUTABLE:
            setattr(other, name, getattr(self, name).copy())
        if self._free is self._left:
            other._free = other._left
        return other

    # Reading what is there already.

    def read(self, prompt: Sequence[int]) -> None:
        """Read a prompt: any ids. Its tracks are those that new bars may have."""
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
        """Read bars that were generated before."""
        for bar in bars[self._first_that_matters(bars) :]:
            for token in bar:
                self.advance(token)

    def _first_that_matters(self, bars: Sequence[Sequence[int]]) -> int:
        """Return the bar from which on notes may still sound, or silence still counts."""
        length = 0
        for index in reversed(range(len(bars))):
            length += sum(_VALUE[token] for token in bars[index] if token >= v.TIME_SIGNATURE_0)
            if length >= _LONGEST and len(bars) - index > self._grammar.constraints.max_empty_bars:
                return index
        return 0

    # Moving on.

    def open_bar(self, grammar: Grammar | None = None) -> None:
        """Expect the token that opens a bar; from here on `grammar` applies, None: the same."""
        self._grammar = grammar or self._grammar
        if self._in_bar:
            self._close_bar()
        self._start_bar()

    def advance(self, token: int) -> None:
        """Move on by a token, a permitted one in generated bars."""
        kind, value = _KIND[token], _VALUE[token]
        if kind in (_PITCH, _DRUM):
            self._start_note(value)
        elif kind == _DURATION:
            self._end_note(value)
        elif kind == _POSITION:
            self._move(value)
        elif kind == _PROGRAM:
            self._open_block(value)
        elif kind == _TIME_SIGNATURE:
            self._start_positions(token)
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
        self._empty_bars = 0 if self._begun else self._empty_bars + 1
        bar = self._length * self._unit
        self._held = {note: end - bar for note, end in self._held.items() if end > bar}

    def _start_bar(self) -> None:
        grammar = self._grammar
        must_play = grammar.needs_pitched or self._empty_bars >= grammar.constraints.max_empty_bars
        self._kind = _BETWEEN_BARS
        self._needed = max(grammar.fewest, int(must_play))  # notes that the bar must still get
        self._begun = 0
        self._has_pitched = False
        self._left_mode_at = NO_LIMIT  # position of the first note outside the mode
        self._owed: set[int] = set()  # programs that have an empty block and no note after it
        self._blocks: dict[int, int] = {}
        self._program: int | None = None
        self._position = self._pitch = -1
        self._pending: int | None = None

    def _start_positions(self, token: int) -> None:
        grammar = self._grammar
        self._program, self._position = None, -1
        self._unit = TABLE.unit[token]
        self._length = _VALUE[token] // self._unit
        self._left = np.full(self._length, grammar.at_once)  # onsets, by what starts together
        if grammar.shape.downbeat_only:
            self._left[1:] = 0
        self._counts_voices = grammar.polyphony is not None
        self._room = self._voices(2 * self._length, self._unit)
        self._free = self._left  # onsets left at each position
        self._later = self._later_pitches()
        self._open_programs = grammar.program_ceiling.copy()
        self._update_free()
        self._needed = min(self._needed, self._begun + self._sum(self._later))
        self._must_be_off_beat = grammar.shape.off_beat and self._close_first_beats()

    def _voices(self, size: int, unit: int) -> np.ndarray:
        """Return how many more notes may sound at each position, (size,)."""
        polyphony = self._grammar.polyphony
        room = np.full(size, NO_LIMIT if polyphony is None else polyphony)
        for end in self._held.values() if polyphony else ():
            room[: -(-end // unit)] -= 1
        return room

    def _later_pitches(self) -> int:
        """Return the pitches of all blocks that may follow in this bar, summed up."""
        pitches = self._grammar.pitches
        drums = len(pitches.get(DRUMS, ()))
        known = sum(
            len(pitches[program]) * (tracks - self._other_tracks)
            for program, tracks in self._tracks.items()
            if program != DRUMS and program in pitches
        )
        return drums + known + self._other_tracks * (self._grammar.different_notes - drums)

    def _update_free(self) -> None:
        if self._counts_voices:
            self._free = np.maximum(np.minimum(self._room[: self._length], self._left), 0)
        self._slots = int(self._free.sum())
        self._open_positions = _ONE_OR_NONE[(self._free > 0).view(np.int8)]

    def _close_first_beats(self) -> bool:
        """Close beats before the first position off the beat that is free; False: not possible."""
        free = self._free.copy()
        is_off = (free > 0) & (np.arange(self._length) % POSITIONS_PER_BEAT > 0)
        first = int(is_off.argmax())
        free[:first:POSITIONS_PER_BEAT] = 0
        if not is_off.any() or np.minimum(free, self._later).sum() < self._needed:
            return False
        self._close_beats(first)
        return True

    def _close_beats(self, before: int) -> None:
        self._left[:before:POSITIONS_PER_BEAT] = 0
        self._update_free()

    def _open_block(self, program: int) -> None:
        if self._kind == _PROGRAM and self._program is not None:
            self._owed.add(self._program)  # the block before is empty
        blocks = self._blocks[program] = self._blocks.get(program, 0) + 1
        self._program, self._track = program, min(blocks, MAX_TRACKS_PER_PROGRAM) - 1
        self._position = self._pitch = -1
        self._later -= len(self._grammar.pitches.get(program, ()))
        if blocks >= self._tracks_of(program):
            self._open_programs[program] = CLOSED
        if program == DRUMS and self._drums_are_last:
            self._open_programs[:] = CLOSED
            self._later = 0

    def _has_later_track(self) -> bool:
        program = self._program
        return program is not None and self._blocks[program] < self._tracks_of(program)

    def _tracks_of(self, program: int) -> int:
        return 1 if program == DRUMS else self._tracks.get(program, self._other_tracks)

    def _move(self, position: int) -> None:
        self._position, self._pitch = min(position, self._length - 1), -1
        if self._needs_first() and self._program is not None:
            self._close_beats(self._position)

    def _start_note(self, pitch: int) -> None:
        program, position = self._program, self._position
        if program is None or position < 0:
            return
        self._pitch = self._pending = pitch
        self._begun += 1
        self._needed -= 1
        self._owed.discard(program)
        if program != DRUMS:
            self._has_pitched = True
            if pitch % 12 not in (self._grammar.shape.off_mode or ()):
                self._left_mode_at = min(self._left_mode_at, position)
        before = self._held.pop((program, self._track, pitch), 0)
        self._left[position] -= 1
        if self._counts_voices:
            self._room[position : -(-before // self._unit)] += 1  # started again, it ends here
            self._room[position] -= 1
            self._update_free()
        elif self._left[position] >= 0:
            self._slots -= 1
            if not self._left[position]:
                self._open_positions[position] = CLOSED

    def _end_note(self, duration: int) -> None:
        if self._pending is None or self._program is None:
            return
        end = self._position + duration
        self._held[self._program, self._track, self._pending] = end * self._unit
        self._pending = None
        if self._counts_voices:
            self._room[self._position + 1 : end] -= 1
            self._update_free()

    # What may follow.

    def allowed_tokens(self) -> np.ndarray:
        """Return the tokens that may follow, (vocab,) bool."""
        zeros = np.zeros(len(TABLE), np.float32)
        return self.mask_logits(zeros, np.empty_like(zeros)) > CLOSED

    def mask_logits(self, logits: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Return the logits of the tokens that may follow, and -inf for all others.

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
            if self._free[self._position] > 0:
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
        if self._needed <= 0 and not self._owed:
            _permit(logits, out, v.EOS, _PERMIT[:2])

    def _permit_pitches(self, logits: np.ndarray, out: np.ndarray) -> None:
        program, grammar = self._program, self._grammar
        assert program is not None
        pitches = grammar.pitches.get(program)
        if pitches is None:
            return
        stop, ceilings = self._pitch_stop(pitches), grammar.pitch_ceilings
        is_first = self._pitch < 0 and self._position < self._left_mode_at
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
        grammar, owed = self._grammar, self._owed
        if self._kind == _PROGRAM and self._program is not None:
            owed = owed | {self._program}
        room = min(self._slots, grammar.most - self._begun) - len(owed)
        if room < 0 or self._needed > self._sum(self._later):
            return
        if room:
            _permit(logits, out, v.PROGRAM_0, self._open_programs)
        else:  # only programs that have to play
            ids = [
                v.PROGRAM_DRUMS if program == DRUMS else v.PROGRAM_0 + program for program in owed
            ]
            out[ids] = np.fmin(logits[ids], OPEN)
        if not self._may_play_drums(owed):
            out[v.PROGRAM_DRUMS] = CLOSED

    def _may_play_drums(self, owed: set[int]) -> bool:
        if self._grammar.needs_pitched and not self._has_pitched:
            return False
        if not self._drums_are_last:
            return True
        return not owed and self._needed <= self._sum(len(self._grammar.pitches.get(DRUMS, ())))

    # What the bar still needs.

    def _may_start_note(self) -> bool:
        """Whether the part that plays may start another note."""
        others = len(self._owed - {self._program}) if self._owed else 0
        return min(self._slots, self._grammar.most - self._begun) > others

    def _own_pitches(self) -> Sequence[int]:
        return () if self._program is None else self._grammar.pitches.get(self._program, ())

    def _sum(self, pitches: int) -> int:
        """Return how many notes can start if each position has so many different ones."""
        if pitches >= self._grammar.at_once:
            return self._slots
        return int(np.minimum(self._free, pitches).sum())

    def _is_scarce(self) -> bool:
        """Whether it depends on the part that plays if the bar can get the notes it needs."""
        return self._needs_first() or (self._needed > 0 and self._later < self._grammar.at_once)

    def _needs_first(self) -> bool:
        """Whether the first onset of the bar is to come, and must be off the beat."""
        return self._must_be_off_beat and not self._begun

    def _capacity(self) -> tuple[np.ndarray, np.ndarray]:
        """Return onsets of later parts before a position, of all from it on, (length + 1,)."""
        later = np.minimum(self._free, self._later)
        both = np.minimum(self._free, self._later + len(self._own_pitches()))
        if self._needs_first():  # earlier beats will be closed
            later[::POSITIONS_PER_BEAT] = 0
        before, rest = np.zeros((2, self._length + 1), np.int64)
        later.cumsum(out=before[1:])
        both[::-1].cumsum(out=rest[-2::-1])
        return before, rest

    def _elsewhere(self) -> int:
        """Return how many notes can start at other positions if the part stays at this one."""
        before, rest = self._capacity()
        return int(before[self._position] + rest[self._position + 1])

    def _position_stop(self) -> int:
        """Return the position from which on too few notes would be possible."""
        if not self._is_scarce():
            return self._length
        before, rest = self._capacity()
        needed = max(self._needed, 1 + len(self._owed - {self._program}))
        return int(np.count_nonzero((before + rest)[:-1] >= needed))

    def _pitch_stop(self, pitches: Sequence[int]) -> int:
        """Return the pitch from which on too few notes would be possible."""
        if self._needed <= 1 or not self._is_scarce():
            return pitches[-1] + 1
        above = self._needed - 1 - self._elsewhere() - self._later  # that this part needs above
        return pitches[-1 - max(0, above)] + 1

    def _durations(self) -> int:
        """Return how many of the durations, shortest first, a note may have."""
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
        """Return the longest duration that keeps the polyphony and what is needed possible."""
        position, length = self._position, self._length
        after = self._room[position + 1 : length]
        taken = (after <= self._left[position + 1 :]).cumsum()  # onsets that the note would take
        within = min(
            int(np.searchsorted(taken, self._spare(), side="right")),
            int((np.append(after, 0) <= 0).argmax()),
        )
        if within < len(after):
            return 1 + within
        together = min(self._grammar.at_once, self._grammar.different_notes)
        room = self._room[length:]
        left = int(np.minimum(room, together).clip(0).sum()) - max(1, self._grammar.fewest)
        beyond = int(np.searchsorted((room <= together).cumsum(), left, side="right"))
        return NO_LIMIT if beyond == length else length - position + beyond

    def _spare(self) -> int:
        """Return how many onsets later in the bar are not needed."""
        spare = NO_LIMIT
        if self._owed:
            spare = self._sum(self._later) - len(self._owed)
        if self._needed > 0:
            possible = self._slots
            if self._is_scarce():
                above = sum(pitch > self._pitch for pitch in self._own_pitches())
                here = min(int(self._free[self._position]), above + self._later)
                possible = self._elsewhere() + here
            spare = min(spare, possible - self._needed)
        return spare

    def _meters(self) -> np.ndarray:
        """Return a ceiling over time signatures: those with room for the notes needed, or all."""
        grammar = self._grammar
        if self._needed <= (1 if grammar.polyphony is None else 0):
            return grammar.meter_ceiling
        found = grammar.meter_ceiling.copy()
        for index in grammar.meters:
            if not self._has_room(v.TIME_SIGNATURE_0 + index):
                found[index] = CLOSED
        return found if (found > CLOSED).any() else grammar.meter_ceiling

    def _has_room(self, token: int) -> bool:
        unit, grammar = TABLE.unit[token], self._grammar
        room = self._voices(1 if grammar.shape.downbeat_only else _VALUE[token] // unit, unit)
        together = min(grammar.at_once, self._later_pitches())
        return int(np.minimum(room, together).clip(0).sum()) >= self._needed


def _permit(logits: np.ndarray, out: np.ndarray, start: int, ceiling: np.ndarray) -> None:
    """Let the logits of tokens from `start` on pass under a ceiling."""
    stop = start + len(ceiling)
    np.fmin(logits[start:stop], ceiling, out=out[start:stop])
