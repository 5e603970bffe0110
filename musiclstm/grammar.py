"""Which token may follow which, so that whatever is chosen can be played.

A small automaton over base tokens (`Bar TimeSig Position Tempo Program Pitch Velocity Duration`),
lifted to merged tokens. It keeps time from running backwards or past the bar line, no note is
struck twice at once, bars end only where they may, and every constraint holds. Here is where a
take stands (`Walk`); what never changes during a take is in rules.py. Knows tokens, not the network
that scores them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from musiclstm.anatomy import (
    DURATION,
    LENGTH,
    PITCH,
    PITCHES,
    POSITION,
    PROGRAM,
    PROGRAMS,
    UNIT,
    UNITS_PER_WHOLE,
    bar_of,
    note_number,
)
from musiclstm.capacity import NO_LIMIT, Outlook, strikes_in_bar
from musiclstm.constraints import MAX_NOTES_AT_ONCE, Constraints
from musiclstm.rules import Grammar, Shape
from musiclstm.tokenization import DRUMS, POSITIONS_PER_BEAT
from musiclstm.vocabulary import Group

__all__ = ["MAX_NOTES_AT_ONCE", "Constraints", "Grammar", "Shape", "Walk"]

_NEVER = np.float32(-np.inf)
_OPENING = ("Open", "Bar")
_BEGUN = (*PROGRAMS, *PITCHES, "Velocity")  # a note is on its way


class Walk:
    """Where a take stands in the grammar: one per take, moved on by every token."""

    # What begins anew with every bar, see `_expect_bar`.
    _wanted: int  # notes the bar must get
    _begun: int  # notes whose instrument has been named
    _begun_here: int  # at this position
    _position: int
    _struck: list[tuple[int, int]]  # program and pitch, at this position
    _blocked: np.ndarray | None  # tokens that would strike these again; None: none
    _later: np.ndarray | None  # ceiling of what stays in the bar; None: to be asked for
    _view: Outlook | None  # None: to be made
    _pending: int | None  # a note that has no duration yet
    _has_pitched: bool  # whether a note was struck that is no drum
    _is_unsettled: bool  # whether `_wanted` has not been compared with the room there is

    def __init__(self, grammar: Grammar, bars: Sequence[Sequence[int]] = ()) -> None:
        """Start before the first bar, or behind the bars that are there already.

        Args:
            grammar: Rules until `open_bar` names another.
            bars: Ids of the bars that this take has.
        """
        self._grammar = grammar
        self._kind = "Open"
        self._in_bar = False
        self._bar_start = 0  # in units, UNITS_PER_WHOLE of them in a whole note
        self._length, self._unit = 4 * POSITIONS_PER_BEAT, UNITS_PER_WHOLE // 48
        self._empty_bars = 0
        self._program = 0
        self._sounding: dict[int, int] = {}  # note -> its end, in units
        self._expect_bar()
        for bar in bars[self._first_that_matters(bars) :]:
            for token in bar:
                self.advance(token)

    def fork(self) -> Walk:
        """Another walk that stands at the same place."""
        other = copy.copy(self)
        other._sounding, other._struck = dict(self._sounding), list(self._struck)
        other._view = None  # it is made when it is needed
        return other

    def open_bar(self, grammar: Grammar | None = None) -> None:
        """The next token opens a bar; from here on this grammar rules, made for the same tokens."""
        self._grammar = grammar or self._grammar
        if self._in_bar:
            self._close_bar()
        self._kind = "Open"
        self._expect_bar()

    # What may come next.

    def allowed(self) -> np.ndarray:
        """Tokens that may come next, (vocab,) bool; fresh, to be changed at will."""
        size = len(self._grammar.tokens)
        return self.masked(np.zeros(size, np.float32), np.empty(size, np.float32)) > _NEVER

    def masked(self, scores: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Scores of what may come next, everything else at -inf.

        Args:
            scores: (vocab,) float32; left unchanged.
            out: (vocab,) float32, filled and given back.
        """
        grammar, kind = self._grammar, self._kind
        if self._is_unsettled:
            self._settle()
        if kind in PROGRAMS:
            np.fmin(scores, grammar.after_program(self._program), out=out)
        else:
            np.fmin(scores, grammar.after(kind, may_end=self._begun >= self._wanted), out=out)
        if kind not in _OPENING:
            if self._later is None:
                self._later = grammar.later(self._position, self._length)
            np.fmin(out, self._later, out=out)
            if self._struck:
                self._spare_struck(out)
        room = grammar.most_together - self._begun_here
        if room < grammar.most_asked_here:
            np.fmin(out, grammar.asking_here(room), out=out)
        room = grammar.most_in_bar - self._begun
        if room < grammar.most_asked:
            np.fmin(out, grammar.asking_for(room), out=out)
        if grammar.has_first_rules:
            self._shape_first_note(out)
        if grammar.is_careful:
            self._look_ahead(out)
        if grammar.softness is not None:
            np.add(out, grammar.softness, out=out)
        return out

    def _spare_struck(self, out: np.ndarray) -> None:
        """Nothing is struck twice at once."""
        if self._blocked is not None:
            out[self._blocked] = _NEVER
        if self._kind in PROGRAMS:
            led_by = self._grammar.vocabulary.led_by
            for program, pitch in self._struck:
                if program == self._program:
                    out[led_by[pitch]] = _NEVER
        elif self._grammar.scarce:
            played = [program for program, _ in self._struck]
            for program in {*played} & self._grammar.scarce.keys():
                if played.count(program) >= self._grammar.scarce[program]:
                    out[self._grammar.vocabulary.program_ids[program]] = _NEVER

    def _shape_first_note(self, out: np.ndarray) -> None:
        grammar, shape = self._grammar, self._grammar.shape
        if shape.off_beat and not self._begun and self._has_off_beats():
            np.fmin(out, grammar.off_the_beat(), out=out)
        if self._has_pitched:
            return
        if shape.off_mode is not None and (
            self._kind != "Program" or grammar.can_leave_mode(self._program)
        ):
            np.fmin(out, grammar.off_the_mode(), out=out)
        if grammar.must_sound:
            np.fmin(out, grammar.pitched_first(), out=out)

    def _has_off_beats(self) -> bool:
        """Whether a note can still come off the beat, later in this bar."""
        if self._kind in _OPENING or not self._grammar.is_careful:
            return True
        view = self._outlook()
        good = view.strikes > 0
        good &= view.strikes_from[:-1] >= self._wanted - self._begun
        good[: self._position + 1] = False
        good[::POSITIONS_PER_BEAT] = False
        return bool(good.any())

    def _outlook(self) -> Outlook:
        if self._view is None:
            self._view = self._outlook_on(self._length, self._unit)
        return self._view

    def _outlook_on(self, length: int, unit: int) -> Outlook:
        grammar = self._grammar
        return Outlook(
            length,
            self._ends(unit),
            voices=grammar.voices,
            together=grammar.strikes_together,
            most_in_token=grammar.most_sounding,
            downbeat_only=grammar.shape.downbeat_only,
            shortest_next=grammar.shortest_bar // unit,
        )

    def _ends(self, unit: int) -> list[int]:
        """Where what sounds ends, in positions from the bar line; where nobody counts, nothing."""
        if self._grammar.voices is None:
            return []
        return [self._place(end, unit) for end in self._sounding.values()]

    def _place(self, end: int, unit: int) -> int:
        """The first position, counted from this bar line, at which a note has ended."""
        return -((self._bar_start - end) // unit)

    def _settle(self) -> None:
        """Ask for no more notes than the bar has room for.

        It has room for all, unless what sounds on was struck under other constraints, or all notes
        of a bar must come on its downbeat.
        """
        self._is_unsettled = False
        self._wanted = min(self._wanted, self._begun + self._strikes_left())

    def _strikes_left(self) -> int:
        """How many more notes may be struck in this bar."""
        grammar, view = self._grammar, self._outlook()
        later = int(view.strikes_from[self._position + 1])
        if self._position < 0:
            return later
        here = min(
            grammar.most_together - self._begun_here,
            self._room_here(view),
            grammar.different_notes - len(self._struck) - (self._kind in PROGRAMS),
        )
        return max(0, here) + later

    def _room_here(self, view: Outlook) -> int:
        return int(view.room[max(0, self._position)]) - (self._kind in _BEGUN)

    def _look_ahead(self, out: np.ndarray) -> None:
        if self._kind in _OPENING:
            return self._narrow_openers(out)
        grammar, view = self._grammar, self._outlook()
        vocabulary = grammar.vocabulary
        if grammar.voices is not None:
            room = self._room_here(view)
            if room < grammar.most_asked_here:
                np.fmin(out, grammar.asking_here(max(0, room)), out=out)
        group = grammar.group(self._kind)
        bad = self._asks_too_much(view, group, self._position)
        if bad is not None:
            out[group.ids[bad]] = _NEVER
        if self._kind == "Velocity":
            longest = self._longest_duration(view)
            if longest < NO_LIMIT:
                too_long = vocabulary.durations.searchsorted(longest, side="right")
                out[vocabulary.duration_ids[too_long:]] = _NEVER
        return None

    def _asks_too_much(self, view: Outlook, group: Group, position: int) -> np.ndarray | None:
        return group.asks_too_much(
            view,
            position,
            missing=self._wanted - self._begun,
            latest=self._latest_end(view),
            counts_voices=self._grammar.voices is not None,
        )

    def _latest_end(self, view: Outlook) -> int:
        """Where the notes of a merged token must have ended, counted from the bar line."""
        grammar = self._grammar
        latest = view.length if grammar.closing else NO_LIMIT
        if grammar.constraints.ending:  # so that a closed bar is followed by silence
            latest = min(latest, view.length + view.shortest_next)
        if grammar.voices is not None:
            latest = min(latest, view.latest_end(max(1, grammar.fewest)))
        return latest

    def _longest_duration(self, view: Outlook) -> int:
        """How long the note that is on its way may last."""
        grammar, to_bar_line = self._grammar, view.length - self._position
        longest = to_bar_line if grammar.closing else NO_LIMIT
        if grammar.constraints.ending:
            longest = min(longest, to_bar_line + view.shortest_next)
        if grammar.voices is not None:
            missing = self._wanted - self._begun
            spare = self._strikes_left() - missing if missing > 0 else NO_LIMIT
            fewest = max(1, grammar.fewest)
            by_voices = view.longest(self._position, to_spare=spare, fewest_next=fewest)
            longest = min(longest, by_voices)
        return longest

    def _narrow_openers(self, out: np.ndarray) -> None:
        """Leave the bars that have room for what must come in them."""
        vocabulary = self._grammar.vocabulary
        bad = self._bad_openers("Bar" if self._kind == "Open" else "TimeSig")
        plain = np.flatnonzero(out[: vocabulary.base] > _NEVER)
        if not len(np.setdiff1d(plain, bad)):  # then as many as there is room for
            bad = bad[bad >= vocabulary.base]
        out[bad] = _NEVER

    def _bad_openers(self, first: str) -> np.ndarray:
        bad = [np.empty(0, np.int64)]
        for meter, group in self._grammar.openers(first):
            length, unit = bar_of(meter)
            if group.is_silent:
                bad += [] if self._has_room(length, unit) else [group.ids]
                continue
            asks_too_much = self._asks_too_much(self._outlook_on(length, unit), group, -1)
            if asks_too_much is not None:
                bad.append(group.ids[asks_too_much])
        return np.concatenate(bad)

    def _has_room(self, length: int, unit: int) -> bool:
        """Whether a bar that begins now has room for the notes that must come."""
        grammar = self._grammar
        places = 1 if grammar.shape.downbeat_only else length
        voices = NO_LIMIT if grammar.voices is None else grammar.voices
        together = grammar.strikes_together
        strikes = strikes_in_bar(places, self._ends(unit), voices=voices, together=together)
        return strikes >= self._wanted

    # Moving on.

    def advance(self, token: int) -> None:
        """Take a token; it must be one that was allowed."""
        vocabulary = self._grammar.vocabulary
        for step, value in vocabulary.steps[token]:
            if step == PITCH:
                self._strike(value)
            elif step == PROGRAM:
                self._program = value
                self._begun += 1
                self._begun_here += 1
            elif step == DURATION:
                if self._pending is not None:
                    end = self._bar_start + (self._position + value) * self._unit
                    self._sounding[self._pending] = end
                    self._pending = None
                    if self._view is not None:
                        self._view.sound(self._position, self._position + value)
            elif step == POSITION:
                self._position, self._begun_here = value, 0
                self._struck, self._blocked, self._later = [], None, None
            elif step == LENGTH:
                self._length = value
            elif step == UNIT:
                self._unit, self._view = value, None
                self._is_unsettled = self._grammar.is_careful
            else:
                if self._in_bar:
                    self.open_bar()
                self._in_bar = True
        self._kind = vocabulary.last[token]

    def _strike(self, pitch: int) -> None:
        program, note = self._program, note_number(self._program, pitch)
        self._struck.append((program, pitch))
        ids = self._grammar.vocabulary.struck_by.get(note)
        if ids is not None:
            self._blocked = ids if self._blocked is None else np.concatenate((self._blocked, ids))
        if program != DRUMS:
            self._has_pitched = True
        end = self._sounding.pop(note, None)
        if end is not None and self._view is not None:  # struck again, it ends here
            self._view.sound(self._position, self._place(end, self._unit), -1)
        self._pending = note

    def _close_bar(self) -> None:
        self._in_bar = False
        self._empty_bars = 0 if self._begun else self._empty_bars + 1
        self._bar_start += self._length * self._unit
        start = self._bar_start
        self._sounding = {note: end for note, end in self._sounding.items() if end > start}

    def _expect_bar(self) -> None:
        """Nothing has been played yet in the bar that comes."""
        grammar = self._grammar
        must_play = grammar.must_sound or self._empty_bars >= grammar.constraints.max_empty_bars
        self._wanted = max(grammar.fewest, int(must_play))
        self._begun = self._begun_here = 0
        self._position = -1
        self._struck = []
        self._blocked = self._later = self._view = self._pending = None
        self._has_pitched = self._is_unsettled = False

    def _first_that_matters(self, bars: Sequence[Sequence[int]]) -> int:
        """From which bar on notes may still sound, or silence still counts.

        Among one bar more than may be empty, one has notes; what was before it does not matter.
        """
        beats = int(self._grammar.vocabulary.durations[-1]) // POSITIONS_PER_BEAT
        longest = beats * UNITS_PER_WHOLE // 4
        enough = self._grammar.constraints.max_empty_bars
        units = 0
        for index in reversed(range(len(bars))):
            units += sum(self._grammar.tokens[token].units for token in bars[index])
            if units >= longest and len(bars) - index > enough:
                return index
        return 0
