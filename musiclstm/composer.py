"""Where everything meets: a seed in, music that goes on out.

`Composer` joins intake, tokenizer, network, grammar and sampling; `Composition` is what it gives: a
score, and all that is needed to go on from it or to make it again. It renders nothing and draws
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import TypeAlias

from symusic.core import ScoreTick, TempoTick

from musiclstm import analysis
from musiclstm.checkpoint import DEFAULT, load_checkpoint
from musiclstm.decoding import PackedLSTM, Snapshot
from musiclstm.generation import Bar, compose_bars
from musiclstm.grammar import MAX_NOTES_AT_ONCE, Constraints, Grammar
from musiclstm.instruments import instrument_name
from musiclstm.intake import check_score, read_midi
from musiclstm.modeling import MusicLSTMForCausalLM
from musiclstm.sampling import Sampling
from musiclstm.splicing import (
    excerpt,
    first_bars,
    joined,
    most_at_once,
    never_struck_twice,
    notes_within,
    on_grid,
)
from musiclstm.tokenization import (
    DRUMS,
    MusicTokenizer,
    knows_meter,
    plain_meter,
    programs_of,
    relatives,
    with_programs,
)

CONTEXT_BARS = 64  # of a long seed, only so many are read: what came before is long forgotten
MAX_BARS = 4_096
_FEWEST_AT_ONCE = 4  # a lonely melody may find company

Prompt: TypeAlias = "str | Path | bytes | analysis.AnyScore"


@dataclass(frozen=True)
class Seed:
    """What a composition goes on from, ready to be read.

    Attributes:
        score: The music itself, in ticks that the grid divides.
        bars: How many bars it has.
        end_tick: The bar line where it ends and the new music begins.
    """

    score: ScoreTick
    bars: int
    end_tick: int


@dataclass(frozen=True)
class Composition:
    """A piece, and everything needed to explain it, go on from it, or make it again.

    Attributes:
        score: The seed followed by the new bars, in ticks.
        bars: New bars, without the seed.
        bar_tokens: Ids of every new bar.
        state: Where the network stands at the end.
        sampling: How notes were chosen; the seed of the random numbers is always set.
        constraints: What the music kept to.
        seed: What it goes on from; None: from nothing.
    """

    score: ScoreTick
    bars: int
    bar_tokens: tuple[tuple[int, ...], ...] = field(repr=False)
    state: Snapshot = field(repr=False, compare=False)
    sampling: Sampling
    constraints: Constraints
    seed: Seed | None = field(repr=False, default=None)

    @property
    def tokens(self) -> tuple[int, ...]:
        """Ids of all new bars."""
        return tuple(token for bar in self.bar_tokens for token in bar)

    @property
    def seed_bars(self) -> int:
        """Bars of the seed; 0 without one."""
        return self.seed.bars if self.seed else 0

    @property
    def seed_end_tick(self) -> int:
        """Where the new music begins in `score`; 0 without a seed."""
        return self.seed.end_tick if self.seed else 0

    @property
    def continuation(self) -> ScoreTick:
        """Only the new bars, beginning at tick 0, with the tempo and meter that rule there."""
        new = excerpt(self.score, self.seed_end_tick)
        for index in reversed(range(len(new.tracks))):
            if not len(new.tracks[index].notes):
                del new.tracks[index]
        return new

    def to_midi(self, *, only_new: bool = False) -> bytes:
        """The piece as a MIDI file; `only_new` leaves the seed out."""
        return bytes((self.continuation if only_new else self.score).dumps_midi())

    def save_midi(self, path: str | Path, *, only_new: bool = False) -> Path:
        """Write `to_midi` into a file and return its path."""
        path = Path(path)
        path.write_bytes(self.to_midi(only_new=only_new))
        return path


class Composer:
    """Goes on from your music, or begins some.

    Holds no state of any piece, so any number of listeners can share one.
    """

    def __init__(self, model: MusicLSTMForCausalLM, tokenizer: MusicTokenizer) -> None:
        """Take a model and its tokenizer; `from_pretrained` is the usual way."""
        self.model, self.tokenizer = model, tokenizer
        self._network = PackedLSTM(model)
        self._grammars: dict[Constraints, Grammar] = {}

    @classmethod
    def from_pretrained(
        cls, name: str | Path = DEFAULT, *, revision: str | None = None
    ) -> Composer:
        """Load weights and tokenizer by one name.

        Args:
            name: "default" for the bundled weights, a checkpoint folder, or a Hub id.
            revision: Branch, tag or commit on the Hub; None: its main branch.

        Raises:
            CheckpointError: Something is missing, unreadable, or does not belong together.
        """
        return cls(*load_checkpoint(name, revision=revision))

    def compose(
        self,
        *,
        bars: int = 16,
        prompt: Prompt | None = None,
        prompt_bars: int | None = None,
        sampling: Sampling | None = None,
        constraints: Constraints | None = None,
    ) -> Composition:
        """Go on from a prompt for exactly so many bars, or begin a new piece.

        Args:
            bars: New bars, 1 to 4096.
            prompt: A MIDI file, its bytes, or a score; None: start from nothing.
            prompt_bars: Use only the first so many bars of the prompt; None: all.
            sampling: How notes are chosen; None: the defaults.
            constraints: What the music keeps to. None: the meter, tempo and instruments of the
                prompt.

        Raises:
            ScoreError: The prompt cannot be read or has no notes where it is used.
            ValueError: bars or prompt_bars out of range.
        """
        _check_bars("bars", bars)
        piece = self._begin(prompt, prompt_bars, sampling, constraints)
        return self._longer(piece, list(self._new_bars(piece, bars)))

    def stream(
        self,
        *,
        bars: int = 16,
        prompt: Prompt | None = None,
        prompt_bars: int | None = None,
        sampling: Sampling | None = None,
        constraints: Constraints | None = None,
    ) -> Iterator[Composition]:
        """`compose`, given bar by bar: the same piece, a bar longer each time."""
        _check_bars("bars", bars)
        return self._drafts(self._begin(prompt, prompt_bars, sampling, constraints), bars)

    def extend(
        self, piece: Composition, *, bars: int = 8, sampling: Sampling | None = None
    ) -> Composition:
        """Let a composition go on for so many more bars; nothing is read twice.

        Args:
            piece: What this composer made before; left unchanged.
            bars: New bars, 1 to 4096.
            sampling: How notes are chosen; None: as in `piece`, random seed included, which gives
                what a longer `compose` would have given.

        Raises:
            ValueError: bars out of range.
        """
        _check_bars("bars", bars)
        if sampling is not None:
            piece = replace(piece, sampling=sampling.with_seed())
        return self._longer(piece, list(self._new_bars(piece, bars)))

    # The steps of it.

    def _begin(
        self,
        prompt: Prompt | None,
        prompt_bars: int | None,
        sampling: Sampling | None,
        constraints: Constraints | None,
    ) -> Composition:
        """A composition that has read its seed and has no new bar yet."""
        grid_ticks = self.tokenizer.ticks_per_quarter
        seed = None if prompt is None else _read_seed(prompt, prompt_bars, grid_ticks)
        constraints = constraints or _as_the_seed(seed)
        return Composition(
            score=ScoreTick(grid_ticks) if seed is None else seed.score,
            bars=0,
            bar_tokens=(),
            state=self._network.read(self._ids(seed, self._stand_ins(seed, constraints))),
            sampling=(sampling or Sampling()).with_seed(),
            constraints=constraints,
            seed=seed,
        )

    def _new_bars(self, piece: Composition, bars: int) -> Iterator[Bar]:
        endless = compose_bars(
            self._network,
            self._grammar(piece),
            piece.sampling,
            piece.state,
            before=piece.bar_tokens,
        )
        return islice(endless, bars)

    def _drafts(self, piece: Composition, bars: int) -> Iterator[Composition]:
        new: list[Bar] = []
        for bar in self._new_bars(piece, bars):
            new.append(bar)
            yield self._longer(piece, new)

    def _longer(self, piece: Composition, new: Sequence[Bar]) -> Composition:
        tokens = piece.bar_tokens + tuple(bar.tokens for bar in new)
        return replace(
            piece,
            score=self._score(piece, tokens),
            bars=len(tokens),
            bar_tokens=tokens,
            state=new[-1].snapshot,
        )

    # What may be played.

    def _stand_ins(self, seed: Seed | None, constraints: Constraints) -> dict[int, int]:
        """Which trained program the network hears and plays for each one of the music."""
        asked = set(constraints.programs or ())
        if seed is not None:
            asked |= programs_of(seed.score)
        return relatives(asked, self.model.config.programs)

    def _grammar(self, piece: Composition) -> Grammar:
        constraints = self._in_trained_programs(piece)
        if constraints not in self._grammars:
            if len(self._grammars) >= 64:
                self._grammars.clear()
            self._grammars[constraints] = Grammar(self.tokenizer, constraints)
        return self._grammars[constraints]

    def _in_trained_programs(self, piece: Composition) -> Constraints:
        stand_ins = self._stand_ins(piece.seed, piece.constraints)
        asked, known = piece.constraints.programs, self.model.config.programs
        if asked is not None:
            return replace(piece.constraints, programs=frozenset(stand_ins[p] for p in asked))
        if known is not None:
            return replace(piece.constraints, programs=frozenset(known) | {*stand_ins.values()})
        return piece.constraints

    # From a seed to ids.

    def _ids(self, seed: Seed | None, stand_ins: dict[int, int]) -> list[int]:
        begin = [self.tokenizer.bos_id]
        if seed is None:
            return begin
        lines = analysis.bar_starts(seed.score, end_tick=seed.end_tick)
        bars = min(len(lines) - 1, CONTEXT_BARS)
        part = excerpt(seed.score, int(lines[-1 - bars]), seed.end_tick)
        if not programs_of(part):
            return begin
        base_ids = self.tokenizer.encode_base(with_programs(part, stand_ins))
        meter = _ruling_meter(seed) or analysis.DEFAULT_METER
        return begin + self.tokenizer.compress(self.tokenizer.with_bars(base_ids, bars, meter))

    # From ids to a score.

    def _score(self, piece: Composition, bar_tokens: tuple[tuple[int, ...], ...]) -> ScoreTick:
        ids = [token for bar in bar_tokens for token in bar]
        stand_ins = self._stand_ins(piece.seed, piece.constraints)
        new = with_programs(self.tokenizer.decode(ids), _way_back(stand_ins))
        end = self.tokenizer.length_ticks(ids)
        for track in new.tracks:
            track.name = instrument_name(DRUMS if track.is_drum else track.program)
            track.notes = never_struck_twice(notes_within(track, 0, end))
        if piece.seed is not None:
            return joined(piece.seed.score, piece.seed.end_tick, new)
        if all(tempo.time > 0 for tempo in new.tempos):
            new.tempos.insert(0, TempoTick(0, analysis.DEFAULT_TEMPO_BPM))
        return new


# What the seed asks for ---------------------------------------------------------------------------


def _as_the_seed(seed: Seed | None) -> Constraints:
    """Its instruments, its last meter, its fullest chord, and no change of tempo."""
    if seed is None:
        return Constraints()
    return Constraints(
        programs=frozenset(programs_of(seed.score)),
        meter=_ruling_meter(seed),
        tempo_changes=False,
        max_notes_at_once=min(max(most_at_once(seed.score), _FEWEST_AT_ONCE), MAX_NOTES_AT_ONCE),
    )


def _ruling_meter(seed: Seed) -> tuple[int, int] | None:
    """The meter in which the seed ends, as the tokens say it; None where they cannot."""
    meter = plain_meter(*analysis.meter_at(seed.score, seed.end_tick))
    return meter if knows_meter(*meter) else None


def _way_back(stand_ins: dict[int, int]) -> dict[int, int]:
    """From stand-ins to the programs of the music; who stands for itself stays itself."""
    back = {stand_in: program for program, stand_in in sorted(stand_ins.items())}
    return back | {program: program for program, s in stand_ins.items() if s == program}


def _check_bars(name: str, bars: int) -> None:
    if not isinstance(bars, Integral) or not 1 <= bars <= MAX_BARS:
        raise ValueError(
            f"{name} must be from 1 to {MAX_BARS}, got {bars}; only whole bars can be counted."
        )


# Reading a seed -----------------------------------------------------------------------------------


def _read_seed(prompt: Prompt, prompt_bars: int | None, grid_ticks: int) -> Seed:
    if prompt_bars is not None:
        _check_bars("prompt_bars", prompt_bars)
    score = on_grid(_read_prompt(prompt), grid_ticks)
    lines = analysis.bar_starts(score)
    if prompt_bars is not None and prompt_bars < len(lines) - 1:
        lines = lines[: prompt_bars + 1]
        score = first_bars(score, int(lines[-1]), prompt_bars)
    return Seed(score=score, bars=len(lines) - 1, end_tick=int(lines[-1]))


def _read_prompt(prompt: Prompt) -> ScoreTick:
    if isinstance(prompt, str | Path | bytes):
        return read_midi(prompt)[0]
    return check_score(prompt)[0]
