"""Reference of grammar.c: which tokens may follow.

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

A line is a part that plays one note at a time for 98 % of its time in the last eight bars of the
prompt, with at least eight notes. With `keep_lines` it starts a note only where its last one has
ended, except where no other token is permitted.

Prompts may be any ids: a token that is not permitted changes what it can.

The parts of an open bar can be limited: the first ones of each program are kept, which have all
their notes; others may follow. A further block of a kept part stays empty. Of the others some are
required: they get a note, in the order of programs as far as there is room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from musiclstm.model.step_features import TokenKind, TokenTable

_OTHER, _BAR, _TIME_SIGNATURE, _TEMPO, _PROGRAM, _POSITION, _PITCH, _DRUM, _DURATION = TokenKind
_BETWEEN_BARS, _ENDED = _OTHER, -1
_PROGRAMS, _DRUMS = 129, -1  # arrays over programs have drums at their last index
_MAX_TRACKS = 8
_BEAT = 12  # positions
_NO_LIMIT = 1_000_000


class GrammarState:
    """State of the grammar of one sequence, updated by every token."""

    def __init__(self, table: TokenTable, rules: np.ndarray) -> None:
        """Start before the first bar, without a prompt.

        Args:
            table: The vocabulary.
            rules: One `BAR_RULES`, described by `BarRules` of core.h.
        """
        self._table = table
        self._tracks = np.zeros(_PROGRAMS, np.int64)  # of the prompt
        self._other_tracks = _MAX_TRACKS
        self._drums_are_last = True
        # End of each note from the bar line, in 1/48 quarter, by program, track and pitch.
        self._note_ends: dict[tuple[int, int, int], int] = {}
        self._part_ends: dict[tuple[int, int], int] = {}  # end of the last note, likewise
        self._part_notes: dict[tuple[int, int], list[tuple[int, int]]] = {}  # of the prompt
        self._lines: set[tuple[int, int]] = set()
        self._empty_bars = 0
        self._in_bar = False
        self._set_rules(rules)
        self._start_bar()
        self._start_meter(4 * 48, 4)  # 4/4

    def _set_rules(self, rules: np.ndarray) -> None:
        assert rules.dtype.names is not None
        self._rules = {name: rules[name].tolist() for name in rules.dtype.names}
        octets = np.ascontiguousarray(rules["pitches"]).view(np.uint8)  # little-endian
        self._pitches = np.unpackbits(octets, axis=1, bitorder="little") > 0  # (programs, 128)
        first = self._table.kind.index(_TIME_SIGNATURE)
        self._meters = [first + bit for bit in range(64) if self._rules["meters"] >> bit & 1]

    # Updates.

    def read_prompt(self, prompt: Sequence[int]) -> None:
        """Read a prompt, any ids; new bars may have its tracks."""
        kinds = [self._table.kind[token] for token in prompt]
        blocks = np.zeros(_PROGRAMS, np.int64)
        for token, kind in zip(prompt, kinds, strict=True):
            if kind == _BAR:
                blocks[:], self._other_tracks = 0, 1
            elif kind == _PROGRAM:  # the last tokens of a long bar have no Bar
                program, self._other_tracks = self._table.value[token], 1
                blocks[program] += 1
                self._drums_are_last &= program == _DRUMS or not blocks[_DRUMS]
                self._tracks = np.maximum(self._tracks, blocks.clip(0, _MAX_TRACKS))
        bars = [step for step, kind in enumerate(kinds) if kind == _BAR]
        recent = bars[-8] if len(bars) >= 8 else 0
        self.advance(*prompt[bars[0] if bars else 0 : recent])
        self._part_notes = {}
        self.advance(*prompt[max(recent, bars[0] if bars else 0) :])
        self._lines = {part for part in self._part_notes if self._is_line(part)}

    def _is_line(self, part: tuple[int, int]) -> bool:
        notes = self._part_notes[part]  # new time with a note, and time with several, of each
        sounding, overlapping = np.sum(notes, axis=0)
        return part[0] != _DRUMS and len(notes) >= 8 and bool(overlapping * 50 <= sounding)

    def open_bar(self, rules: np.ndarray | None = None) -> None:
        """Expect a Bar token; `rules` apply from there on, None: the previous ones."""
        if rules is not None:
            self._set_rules(rules)
        if self._in_bar:
            self._close_bar()
        self._start_bar()

    def advance(self, *tokens: int) -> None:
        """Update after tokens, which must be permitted ones in generated bars."""
        for token in tokens:
            self._kind = self._read(token)

    def _read(self, token: int) -> int:
        kind, value = self._table.kind[token], self._table.value[token]
        if kind in (_PITCH, _DRUM):
            self._start_note(value)
        elif kind == _DURATION:
            self._end_note(value)
        elif kind == _POSITION:
            self._start_position(value)
        elif kind == _PROGRAM:
            self._open_block(value)
        elif kind == _TIME_SIGNATURE:
            self._start_meter(value, self._table.unit[token])
        elif kind == _BAR:
            if self._in_bar:
                self.open_bar()
            self._in_bar = True
        elif kind == _OTHER:
            return _ENDED if token == self._table.eos else self._kind  # the others: PAD and BOS
        return kind

    def _start_bar(self) -> None:
        rules = self._rules
        must_play = rules["needs_pitched"] or self._empty_bars >= rules["max_empty_bars"]
        self._kind = int(_BETWEEN_BARS)
        self._notes_required = max(rules["fewest"], int(must_play))  # that the bar must still get
        self._notes_started = 0
        self._has_pitched = False
        self._outside_mode_at = _NO_LIMIT  # position of the first note outside the mode
        # Blocks of each program that must still get a note: one after an empty block.
        self._must_play = Counter[int]()
        self._kept = np.zeros(_PROGRAMS, np.int64)  # parts that get no more notes
        self._added: np.ndarray | None = None  # parts that may follow them; None: no limits
        self._required: set[tuple[int, int]] = set()  # tracks that must get a note
        self._blocks = np.zeros(_PROGRAMS, np.int64)
        self._program: int | None = None
        self._is_empty = True  # whether its block has no note
        self._position = self._pitch = -1
        self._pitch_without_duration: int | None = None

    def _start_meter(self, bar: int, unit: int) -> None:
        self._program, self._position = None, -1
        self._blocks[:] = 0
        self._length, self._unit = bar // unit, unit  # positions, and 1/48 quarters in each
        self._onsets = np.zeros(self._length, np.int64)  # notes that start at each position
        self._closed_beats = 0  # no note may start on beats before this position
        self._voices_left = self._free_voices(2 * self._length, unit)
        most = self._notes_started + self._max_notes(self._later_pitches())
        self._notes_required = min(self._notes_required, most)
        self._must_be_off_beat = bool(self._rules["off_beat"]) and self._close_first_beats()

    def _free_voices(self, size: int, unit: int) -> np.ndarray:
        """Return how many more notes may sound at each position, (size,)."""
        voices = np.full(size, self._rules["max_polyphony"] or _NO_LIMIT)
        for end in self._note_ends.values():
            voices[: -(-end // unit)] -= 1
        return voices

    def _close_first_beats(self) -> bool:
        """Close the beats before the first free position off the beat; False if impossible."""
        off_beat = [i for i in range(self._length) if i % _BEAT and self._free_onsets()[i]]
        self._closed_beats = min(off_beat, default=0)
        if off_beat and self._max_notes(self._later_pitches()) >= self._notes_required:
            return True
        self._closed_beats = 0
        return False

    def _close_bar(self) -> None:
        self._in_bar = False
        self._empty_bars = 0 if self._notes_started else self._empty_bars + 1
        bar = self._length * self._unit
        self._note_ends = {note: end - bar for note, end in self._note_ends.items() if end > bar}
        self._part_ends = {part: max(end - bar, 0) for part, end in self._part_ends.items()}

    def _open_block(self, program: int) -> None:
        if self._kind == _PROGRAM and self._program is not None:
            self._must_play[self._program] = max(self._required_left(self._program), 1)
        self._blocks[program] += 1
        self._program, self._track = program, min(int(self._blocks[program]), _MAX_TRACKS) - 1
        self._position = self._pitch = -1
        self._is_empty = True

    def _start_position(self, position: int) -> None:
        self._position, self._pitch = min(position, self._length - 1), -1
        if self._needs_first() and self._program is not None:
            self._closed_beats = max(self._closed_beats, self._position)

    def _start_note(self, pitch: int) -> None:
        program, position = self._program, self._position
        if program is None or position < 0:
            return
        self._pitch = self._pitch_without_duration = pitch
        self._notes_started += 1
        self._notes_required -= 1
        self._onsets[position] += 1
        if self._is_empty:
            self._must_play[program] = self._required_left(program)
        self._is_empty = False
        if program != _DRUMS:
            self._has_pitched = True
            if self._is_outside(pitch):
                self._outside_mode_at = min(self._outside_mode_at, position)
        # The earlier note of this pitch ends where it starts again.
        before = self._note_ends.pop((program, self._track, pitch), 0)
        self._voices_left[position : -(-before // self._unit)] += 1
        self._voices_left[position] -= 1

    def _end_note(self, duration: int) -> None:
        if self._pitch_without_duration is None or self._program is None:
            return
        note = self._program, self._track, self._pitch_without_duration
        self._pitch_without_duration = None
        end = self._position + duration
        self._note_ends[note] = end * self._unit
        self._voices_left[self._position + 1 : end] -= 1
        part, start, stop = note[:2], self._position * self._unit, end * self._unit
        last = self._part_ends.get(part, 0)
        time = max(stop - max(last, start), 0), max(min(last, stop) - start, 0)
        self._part_notes.setdefault(part, []).append(time)
        self._part_ends[part] = max(last, stop)

    def limit_parts(self, parts: np.ndarray) -> None:
        """End the kept parts of the open bar, see `CompiledGrammar.limit_parts`."""
        assert self._kind not in (_BAR, _POSITION, _PITCH, _DRUM)  # the core refuses these
        if self._program is not None:
            self._kind = int(_DURATION)
        self._program, self._position, self._pitch = None, -1, -1
        self._kept, self._added = parts[0].astype(np.int64), parts[1].astype(np.int64)
        self._must_be_off_beat = False
        most = self._max_notes(self._later_pitches())
        self._notes_required = min(self._notes_required, most)
        self._must_play = Counter()
        most = min(most, self._rules["most"] - self._notes_started)
        can_play = self._pitches.any(1) & (self._blocks_left() > 0)
        self._has_pitched |= not np.delete(can_play, _DRUMS).any()  # drums alone may follow
        self._required = {
            (program, track)
            for program in [*range(_PROGRAMS - 1), _DRUMS]
            for track in range(max(self._kept[program], self._blocks[program]), 8)
            if can_play[program] and track < self._kept[program] + self._added[program]
            if parts[2][program] >> track & 1
        }
        order = sorted(self._required, key=lambda part: (part[0] % _PROGRAMS, part[1]))
        self._required = set(order[: max(0, most)])
        self._must_play.update(program for program, _ in self._required)
        for program in np.flatnonzero(parts[3]).tolist():
            program = program if program < _PROGRAMS - 1 else _DRUMS
            first, stop = self._kept[program], self._kept[program] + self._added[program]
            self._lines |= {(program, track) for track in range(first, stop)}

    # What may still follow in the bar.

    def _blocks_left(self) -> np.ndarray:
        """Return how many blocks of each program may follow with notes, (programs,)."""
        if self._drums_are_last and self._blocks[_DRUMS] and not self._kept[_DRUMS]:
            return np.zeros(_PROGRAMS, np.int64)
        tracks = np.where(self._tracks > 0, self._tracks, self._other_tracks)
        tracks[_DRUMS] = 1
        if self._added is not None:
            tracks = self._kept + self._added
        return (tracks - np.maximum(self._blocks, self._kept)).clip(0)

    def _later_pitches(self) -> int:
        """Return the number of pitches of all blocks that may follow, summed up."""
        return int(self._blocks_left() @ self._pitches.sum(1))

    def _own_pitches(self) -> list[int]:
        return (
            [] if self._program is None else np.flatnonzero(self._pitches[self._program]).tolist()
        )

    def _is_outside(self, pitch: int) -> bool:
        """Return whether a pitch is outside the mode; all are without one."""
        return not self._rules["mode"] >> pitch % 12 & 1

    def _needs_first(self) -> bool:
        """Return whether the first onset of the bar is missing and must be off the beat."""
        return self._must_be_off_beat and not self._notes_started

    def _others(self) -> int:
        """Return how many blocks besides the current one must get a note."""
        total = self._must_play.total()
        if self._program is None or not self._is_empty:
            return total
        return total - self._must_play[self._program] + self._required_left(self._program)

    def _required_left(self, program: int) -> int:
        """Return how many required tracks of a program come after the current block."""
        return sum(p == program and track >= self._blocks[p] for p, track in self._required)

    def _onsets_left(self) -> np.ndarray:
        """Return how many more notes may start at each position without the polyphony."""
        left = (self._rules["max_at_once"] - self._onsets).clip(0)
        left[: self._closed_beats : _BEAT] = 0
        if self._rules["downbeat_only"]:
            left[1:] = 0
        return left

    def _free_onsets(self) -> np.ndarray:
        """Return how many more notes may start at each position, (length,)."""
        return np.minimum(self._voices_left[: self._length], self._onsets_left()).clip(0)

    def _notes_left(self) -> int:
        return min(int(self._free_onsets().sum()), self._rules["most"] - self._notes_started)

    def _max_notes(self, pitches: int) -> int:
        """Return how many notes can start with so many pitches at each position."""
        return int(np.minimum(self._free_onsets(), pitches).sum())

    def _depends_on_part(self) -> bool:
        """Return whether the bar cannot get its required notes from later parts alone."""
        few = self._later_pitches() < self._rules["max_at_once"]
        return self._needs_first() or (self._notes_required > 0 and few)

    def _max_notes_around(self, before: int, start: int) -> int:
        """Return how many notes can start if the current part plays from position `start` on.

        Before position `before` only later parts play, and on no beats if these will be closed.
        """
        free, later = self._free_onsets(), self._later_pitches()
        early = np.minimum(free, later)[: max(before, 0)]
        if self._needs_first():
            early[::_BEAT] = 0
        late = np.minimum(free, later + len(self._own_pitches()))[start:]
        return int(early.sum() + late.sum())

    def _unrequired_onsets(self) -> int:
        """Return how many later onsets of the bar are not required."""
        spare = _NO_LIMIT
        if self._must_play.total():
            spare = self._max_notes(self._later_pitches()) - self._must_play.total()
        if self._notes_required > 0:
            possible = int(self._free_onsets().sum())
            if self._depends_on_part():
                possible = self._max_notes_around(self._position, self._position + 1)
                if self._position >= 0:
                    above = sum(pitch > self._pitch for pitch in self._own_pitches())
                    free = int(self._free_onsets()[self._position])
                    possible += min(free, above + self._later_pitches())
            spare = min(spare, possible - self._notes_required)
        return spare

    # Masks.

    def permitted(self) -> np.ndarray:
        """Return which tokens may follow, (vocab,) bool."""
        mask = np.zeros(len(self._table), np.bool_)
        keep_lines = bool(self._rules["keep_lines"])
        mask[list(self._permitted(keep_lines)) or list(self._permitted(False))] = True
        return mask

    def _permitted(self, keep_lines: bool) -> Iterable[int]:
        kind = self._kind
        if kind in (_PITCH, _DRUM):
            return self._durations()
        if kind == _DURATION:
            return self._after_note(keep_lines)
        if kind == _POSITION:
            return self._after_position()
        if kind == _PROGRAM:
            return self._after_program(keep_lines)
        if kind in (_TIME_SIGNATURE, _TEMPO):
            return self._after_header(keep_lines)
        if kind == _BAR:
            return list(filter(self._fits_required_notes, self._meters)) or self._meters
        return {self._table.eos if kind == _ENDED else self._table.bar}

    def _of(self, kind: int, values: Iterable[int] | None = None) -> set[int]:
        """Return the tokens of a kind, only those with these values; None: any."""
        wanted = None if values is None else set(values)
        tokens = (i for i, other in enumerate(self._table.kind) if other == kind)
        return {i for i in tokens if wanted is None or self._table.value[i] in wanted}

    def _after_note(self, keep_lines: bool) -> set[int]:
        tokens = self._programs(keep_lines) | self._end()
        if self._program is not None and self._notes_left() > self._others():
            tokens |= self._positions(keep_lines)
            is_line = keep_lines and (self._program, self._track) in self._lines
            if self._position >= 0 and self._free_onsets()[self._position] and not is_line:
                tokens |= self._pitches_of_onset()
        return tokens

    def _after_position(self) -> set[int]:
        if self._program is not None:
            return self._pitches_of_onset()
        return self._of(_TEMPO) if self._rules["allows_tempos"] else set()

    def _after_program(self, keep_lines: bool) -> set[int]:
        has_later_track = self._program is not None and self._blocks_left()[self._program] > 0
        if self._program is not None:
            has_later_track &= (self._program, self._track) not in self._required
        is_kept = self._program is not None and self._track < self._kept[self._program]
        may_play = not is_kept and self._notes_left() > self._others()
        return (self._positions(keep_lines) if may_play else set()) | (
            self._programs(keep_lines) if has_later_track else set()
        )

    def _after_header(self, keep_lines: bool) -> set[int]:
        stop = 1 if self._rules["downbeat_only"] else self._length
        places = range(self._position + 1, stop) if self._rules["allows_tempos"] else ()
        return self._of(_POSITION, places) | self._programs(keep_lines) | self._end()

    def _end(self) -> set[int]:
        if self._notes_required > 0 or self._must_play.total():
            return set()
        return {self._table.bar, self._table.eos}

    def _pitches_of_onset(self) -> set[int]:
        pitches = [p for p in self._own_pitches() if self._pitch < p < self._pitch_stop()]
        outside = [p for p in pitches if self._is_outside(p)]
        is_first = self._pitch < 0 and self._position < self._outside_mode_at
        if is_first and outside and self._program != _DRUMS:
            pitches = outside
        return self._of(_DRUM if self._program == _DRUMS else _PITCH, pitches)

    def _pitch_stop(self) -> int:
        """Return the lowest pitch above which too few notes would be possible."""
        if self._notes_required <= 1 or not self._depends_on_part():
            return 128
        elsewhere = self._max_notes_around(self._position, self._position + 1)
        # Required notes that this part has to start above the pitch.
        above = max(0, self._notes_required - 1 - elsewhere - self._later_pitches())
        pitches = self._own_pitches()
        return pitches[-1 - above] + 1 if above < len(pitches) else 0

    def _positions(self, keep_lines: bool) -> set[int]:
        """Return later positions after which enough notes are possible."""
        free, start, stop = self._free_onsets(), self._position + 1, self._length
        if keep_lines and self._program is not None:
            start = max(start, self._line_start((self._program, self._track)))
        if self._depends_on_part():
            needed = max(self._notes_required, 1 + self._others())
            stop = sum(self._max_notes_around(i, i) >= needed for i in range(self._length))
        places = [i for i in range(start, stop) if free[i]]
        return self._of(_POSITION, (i for i in places if i % _BEAT or not self._needs_first()))

    def _line_start(self, part: tuple[int, int]) -> int:
        """Return the first position at which a part may start a note if lines are kept."""
        return -(-self._part_ends.get(part, 0) // self._unit) if part in self._lines else 0

    def _has_free_part(self, program: int) -> bool:
        """Return whether a later part of a program may start a note if lines are kept."""
        first = int(max(self._blocks[program], self._kept[program]))
        tracks = range(first, first + int(self._blocks_left()[program]))
        return any(
            self._line_start((program, min(track, _MAX_TRACKS - 1))) < self._length
            for track in tracks
        )

    def _programs(self, keep_lines: bool) -> set[int]:
        must_play = +self._must_play
        if self._kind == _PROGRAM and self._program is not None:  # its block is empty
            must_play[self._program] = max(must_play[self._program], 1)
        notes_left = self._notes_left() - must_play.total()
        if notes_left < 0 or self._notes_required > self._max_notes(self._later_pitches()):
            return set()
        if notes_left:
            is_open = self._pitches.any(1) & (self._blocks_left() > 0)
            programs = {program for program in range(_DRUMS, _PROGRAMS - 1) if is_open[program]}
            if keep_lines:
                programs = {program for program in programs if self._has_free_part(program)}
        else:
            programs = {*must_play}
        drums = {_DRUMS} if not self._may_play_drums(must_play) else set()
        return self._of(_PROGRAM, programs - drums)

    def _may_play_drums(self, must_play: Counter[int]) -> bool:
        if self._rules["needs_pitched"] and not self._has_pitched:
            return False
        enough = self._notes_required <= self._max_notes(int(self._pitches[_DRUMS].sum()))
        return not self._drums_are_last or (enough and not {*must_play} - {_DRUMS})

    def _durations(self) -> set[int]:
        longest, to_bar_line = _NO_LIMIT, self._length - self._position
        if self._rules["closed"]:
            longest = to_bar_line
        elif self._rules["has_ending"]:
            shortest_bar = min(self._table.value[token] for token in self._meters)
            longest = to_bar_line + shortest_bar // self._unit
        if self._rules["max_polyphony"]:
            longest = min(longest, self._longest_by_voices())
        return self._of(_DURATION, (value for value in self._table.value if value <= longest))

    def _longest_by_voices(self) -> int:
        """Return the longest duration that respects the polyphony and the required notes."""
        onsets, voices, spare = self._onsets_left(), self._voices_left, self._unrequired_onsets()
        for i in range(self._position + 1, self._length):
            spare -= voices[i] <= onsets[i]  # the note would take an onset
            if spare < 0 or voices[i] <= 0:
                return i - self._position
        # The next bar needs its notes too.
        together = min(self._rules["max_at_once"], int(self._pitches.sum()))
        free = np.minimum(voices[self._length :], together).clip(0)
        spare = int(free.sum()) - max(1, self._rules["fewest"])
        for i in range(self._length, 2 * self._length):
            spare -= voices[i] <= together
            if spare < 0:
                return i - self._position
        return _NO_LIMIT

    def _fits_required_notes(self, token: int) -> bool:
        """Return whether a bar with this time signature can have its required notes."""
        if self._notes_required <= (0 if self._rules["max_polyphony"] else 1):
            return True
        unit = self._table.unit[token]
        size = 1 if self._rules["downbeat_only"] else self._table.value[token] // unit
        together = min(self._rules["max_at_once"], self._later_pitches())
        voices = np.minimum(self._free_voices(size, unit), together).clip(0)
        return int(voices.sum()) >= self._notes_required
