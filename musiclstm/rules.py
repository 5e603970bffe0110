"""What the constraints and the shape of a bar make of a vocabulary: masks that never change.

`Grammar` makes each mask when it is first asked for and keeps it; `Shape` is what is special about
one bar. Every mask is exact for base tokens and at most stricter for merged ones, so that none can
lead into a dead end. Nothing here knows where a take stands.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from musiclstm.anatomy import NOWHERE, bar_of
from musiclstm.constraints import AS_THE_SEED, Constraints
from musiclstm.tokenization import DRUMS, POSITIONS_PER_BEAT, MusicTokenizer, plain_meter
from musiclstm.vocabulary import Group, vocabulary_of

_MOST_TABLES = 1_024  # kept by one grammar; one is 8 KB at a vocabulary of 2,048
_PITCH_LIKE = ("Program", "Drums", "Pitch", "PitchDrum")
_RHYTHM_LIKE = ("Position", "Duration", "Bar", "TimeSig", "Tempo")


@dataclass(frozen=True)
class Shape:
    """How one bar differs from the others.

    Args:
        off_beat: The first note of the bar is struck off the beat.
        off_mode: The first pitched note of the bar lies outside these pitch classes.
        closed: Every note struck in the bar ends by its bar line.
        chord: Pitched notes have one of these pitch classes, and one of them comes before any drum.
        downbeat_only: Notes are struck on the first position only.
        softer: How much less likely loud notes are, 0 or more.

    The first two give way where the constraints leave no such place or no such note.

    Raises:
        ValueError: Wishes that contradict each other or mean nothing.
    """

    off_beat: bool = False
    off_mode: frozenset[int] | None = None
    closed: bool = False
    chord: frozenset[int] | None = None
    downbeat_only: bool = False
    softer: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.off_beat and self.downbeat_only:
            raise ValueError("off_beat and downbeat_only contradict each other; choose one.")
        if not self.softer >= 0:
            raise ValueError(f"softer must be 0 or more, got {self.softer}.")
        for name in ("off_mode", "chord"):
            classes = getattr(self, name)
            if classes is None:
                continue
            object.__setattr__(self, name, frozenset(classes))
            if not set(classes) <= {*range(12)}:
                raise ValueError(f"{name} must be pitch classes from 0 to 11, got {set(classes)}.")
        if self.chord is not None and not self.chord:
            raise ValueError("chord must name at least one pitch class; None allows all.")


class Grammar:
    """Masks over a vocabulary; built once for a tokenizer, constraints and the shape of a bar.

    A mask is a ceiling, (vocab,) float32: what may come is let through, the rest is at -inf.

    Attributes:
        constraints: What the music keeps to.
        shape: How the bars ruled by this grammar differ from others.
        tokens: Every token taken apart.
        ends_bar: Tokens that say the bar is over: another one begins, or the piece ends. (vocab,)
            bool.
        kinds: 1 for tokens that begin with a pitch or its instrument, 2 for those that begin with
            something about time, 0 for others. (vocab,) int8.
        holds_note: Tokens that name a pitch, (vocab,) bool.
    """

    def __init__(
        self,
        tokenizer: MusicTokenizer,
        constraints: Constraints | None = None,
        shape: Shape | None = None,
    ) -> None:
        """Read what every token stands for.

        Raises:
            ValueError: The constraints, or they and the shape, leave nothing to play.
        """
        self.constraints = constraints or Constraints()
        self.shape = shape or Shape()
        self.vocabulary = vocabulary_of(tokenizer)
        self.tokens = self.vocabulary.tokens
        self._read_pitches()
        self._refuse_contradictions()
        self._lawful = self._keeps_constraints()
        self._read_limits()
        first = self.vocabulary.first
        self.ends_bar = ((first == "Bar") | (first == "EOS")) & self._lawful
        self.kinds = (np.isin(first, _PITCH_LIKE) + 2 * np.isin(first, _RHYTHM_LIKE)).astype("i1")
        self.holds_note = self.vocabulary.holds_note
        self.softness: np.ndarray | None = None
        if self.shape.softer:
            self.softness = (-self.shape.softer * self.vocabulary.loudness).astype(np.float32)
        self._tables: OrderedDict[tuple[object, ...], np.ndarray] = OrderedDict()
        self._groups: dict[object, Group] = {}

    # What the constraints leave.

    def _read_pitches(self) -> None:
        """Which program may play which pitch: (129 programs from -1 on, 128 pitches) bool."""
        wish, vocabulary = self.constraints, self.vocabulary
        self._playable = np.zeros((129, 128), dtype=bool)
        drums = vocabulary.leading_pitch[vocabulary.first == "PitchDrum"]
        keys = vocabulary.leading_pitch[vocabulary.first == "Pitch"]
        for program in vocabulary.program_ids if wish.programs is None else wish.programs:
            known = drums if program == DRUMS else keys
            self._playable[program + 1, np.intersect1d(wish.pitches(program), known)] = True
        self._plain_notes = int(self._playable.sum())
        if self.shape.chord is not None:
            outside = [pitch for pitch in range(128) if pitch % 12 not in self.shape.chord]
            self._playable[1:, outside] = False

    def _refuse_contradictions(self) -> None:
        wish, classes = self.constraints, self._playable[1:]
        if wish.key == AS_THE_SEED:
            raise ValueError(
                'key is "seed", which only a composer with a seed can estimate; name the key, '
                "such as D minor."
            )
        if not self._plain_notes:
            raise ValueError(
                "pitch_ranges leaves nothing to play that the tokens know; drums are MIDI pitches "
                "27 to 88."
            )
        if wish.notes_per_bar is not None:
            fewest = wish.notes_per_bar[0]
            meters = self._meters()
            most = max(wish.most_in_bar(meter, self._plain_notes) for meter in meters)
            if fewest > most:
                raise ValueError(
                    f"notes_per_bar asks for at least {fewest} notes, but at most {most} fit into "
                    "a bar; ask for fewer or allow more of them together."
                )
        self.has_pitched = wish.programs is None or bool(wish.programs - {DRUMS})
        if self.shape.chord is not None and self.has_pitched and not classes.any():
            raise ValueError(
                f"ending asks for a chord of the pitch classes {sorted(self.shape.chord)}, of "
                "which key and pitch_ranges leave none to any instrument; widen the ranges, or "
                "leave ending out."
            )

    def _meters(self) -> list[tuple[int, int]]:
        meter = self.constraints.meter
        return self.vocabulary.meters if meter is None else [plain_meter(*meter)]

    def _keeps_constraints(self) -> np.ndarray:
        """Tokens that may come somewhere, (vocab,) bool."""
        wish, vocabulary = self.constraints, self.vocabulary
        keeps = vocabulary.is_whole & ~np.isin(vocabulary.first, ["PAD", "BOS"])
        keeps &= vocabulary.crowd <= wish.max_notes_at_once
        if wish.meter is not None:
            others = [m for m in vocabulary.meters if m not in self._meters()]
            keeps &= np.array([token.meter not in others for token in self.tokens])
        if not wish.allows_tempos:
            keeps &= ~vocabulary.has_tempo
        if wish.notes_per_bar is not None:
            keeps &= vocabulary.begun <= wish.notes_per_bar[1]
        if self.shape.downbeat_only:
            keeps &= vocabulary.last_position <= 0
        return keeps & self._keeps_pitches()

    def _keeps_pitches(self) -> np.ndarray:
        vocabulary, playable = self.vocabulary, self._playable
        counts = playable.sum(axis=1)
        keeps = np.ones(len(self.tokens), dtype=bool)
        for index, program in vocabulary.named_programs:
            keeps[index] &= bool(counts[program + 1])
        wrong = ~playable[vocabulary.note_row, vocabulary.note_pitch]
        keeps[vocabulary.note_token[wrong]] = False
        # Of an instrument with few notes there may be none left to strike.
        few = {int(row) - 1 for row in np.flatnonzero(counts < self.constraints.max_notes_at_once)}
        self.scarce = {p: int(counts[p + 1]) for p in few if counts[p + 1]}
        merged = np.arange(len(self.tokens)) >= vocabulary.base
        return keeps & ~(merged & np.isin(vocabulary.ends_with_program, [*self.scarce]))

    def _read_limits(self) -> None:
        """Numbers that a walk asks for at every token."""
        wish, vocabulary = self.constraints, self.vocabulary
        lawful = self._lawful
        self.most_together = wish.max_notes_at_once
        self.voices = wish.max_polyphony
        self.fewest, most = wish.notes_per_bar or (0, None)
        self.most_in_bar = NOWHERE if most is None else most
        self.different_notes = int(self._playable.sum())
        self.strikes_together = min(self.most_together, self.different_notes)
        self.most_asked = int((vocabulary.begun + vocabulary.ends_at_position)[lawful].max())
        self.most_asked_here = int(vocabulary.begun_here[lawful].max())
        self.most_sounding = 1 + self.most_asked
        self._longest_bar = max(above for above, _ in self._meters()) * POSITIONS_PER_BEAT
        self.shortest_bar = min(length * unit for length, unit in map(bar_of, self._meters()))
        self.closing = self.shape.closed
        self.must_sound = self.shape.chord is not None and self.has_pitched
        # Whether a walk has to look ahead.
        self.is_careful = bool(
            self.voices is not None or self.fewest or self.closing or wish.ending
        )
        self.has_first_rules = bool(
            self.shape.off_beat or self.shape.off_mode is not None or self.must_sound
        )

    # What asks for room.

    def group(self, kind: str) -> Group:
        """Those tokens after a kind, inside a bar, that ask for room and are ever allowed."""
        if kind not in self._groups:
            fits = self.vocabulary.last_position < self._longest_bar
            self._groups[kind] = self.vocabulary.groups[kind].among(self._lawful & fits)
        return self._groups[kind]

    def openers(self, first: str) -> list[tuple[tuple[int, int], Group]]:
        """The tokens of one kind that open a bar, by its meter."""
        found = []
        for meter in self._meters():
            group = self.vocabulary.openers.get((first, meter))
            if group is not None:
                key = (first, meter)
                if key not in self._groups:
                    self._groups[key] = group.among(self._lawful)
                found.append((meter, self._groups[key]))
        return found

    # Ceilings, made when first asked for.

    def _table(self, key: tuple[object, ...], allowed: np.ndarray) -> np.ndarray:
        if len(self._tables) >= _MOST_TABLES:
            self._tables.popitem(last=False)
        # The largest number rather than infinity: scores without sense become tokens all the same.
        table = np.where(allowed, np.finfo(np.float32).max, -np.inf).astype(np.float32)
        return self._tables.setdefault(key, table)

    def after(self, kind: str, *, may_end: bool) -> np.ndarray:
        """Tokens that may follow a base token of a kind; not for programs."""
        key = (kind, may_end)
        found = self._tables.get(key)
        if found is not None:
            return found
        allowed = self.vocabulary.follows[kind] & self._lawful
        if not may_end and kind != "Open":
            allowed &= ~self.ends_bar
        return self._table(key, allowed)

    def after_program(self, program: int) -> np.ndarray:
        """Tokens that may follow the naming of an instrument."""
        key = ("Program", program)
        found = self._tables.get(key)
        if found is not None:
            return found
        vocabulary = self.vocabulary
        kind = "Drums" if program == DRUMS else "Program"
        allowed = vocabulary.follows[kind] & self._lawful
        allowed &= self._playable[program + 1, vocabulary.leading_pitch]
        allowed[vocabulary.doubling.get(program, [])] = False
        return self._table(key, allowed)

    def later(self, position: int, length: int) -> np.ndarray:
        """Tokens that move on from a position and stay in a bar of a length."""
        key = ("later", position, length)
        found = self._tables.get(key)
        if found is not None:
            return found
        vocabulary = self.vocabulary
        inside = vocabulary.first_position > position
        inside &= vocabulary.last_position < length
        return self._table(key, inside | (vocabulary.first == "Bar"))

    def asking_for(self, notes: int) -> np.ndarray:
        """Tokens that want at most so many more notes in this bar, those they need after included.

        The end of the bar wants none.
        """
        key = ("bar", notes)
        found = self._tables.get(key)
        if found is not None:
            return found
        asked = self.vocabulary.begun + self.vocabulary.ends_at_position
        return self._table(key, (asked <= notes) | self.ends_bar)

    def asking_here(self, notes: int) -> np.ndarray:
        """Tokens that strike at most so many more notes before they move on."""
        key = ("here", notes)
        found = self._tables.get(key)
        if found is not None:
            return found
        return self._table(key, (self.vocabulary.begun_here <= notes) | self.ends_bar)

    # What holds until the first note of a bar.

    def off_the_beat(self) -> np.ndarray:
        """Tokens that do not move to a beat."""
        key = ("beat",)
        found = self._tables.get(key)
        if found is not None:
            return found
        place = self.vocabulary.first_position
        return self._table(key, (place == NOWHERE) | (place % POSITIONS_PER_BEAT != 0))

    def off_the_mode(self) -> np.ndarray:
        """Tokens whose first pitched note lies outside the mode, or that have none."""
        key = ("mode",)
        found = self._tables.get(key)
        if found is not None:
            return found
        pitch = self.vocabulary.first_pitched
        inside = np.isin(pitch % 12, [*(self.shape.off_mode or ())])
        return self._table(key, (pitch < 0) | ~inside)

    def can_leave_mode(self, program: int) -> bool:
        """Whether an instrument has a note outside the mode."""
        pitches = np.flatnonzero(self._playable[program + 1])
        return not {int(pitch) % 12 for pitch in pitches} <= (self.shape.off_mode or frozenset())

    def pitched_first(self) -> np.ndarray:
        """Tokens that do not begin a note with the drums."""
        key = ("pitched",)
        found = self._tables.get(key)
        if found is not None:
            return found
        return self._table(key, self.vocabulary.first_program != DRUMS)
