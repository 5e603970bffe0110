"""Where everything meets: a seed in, music that goes on out.

`Composer` joins intake, tokenizer, network, plans and the loop; what it gives is a `Composition`.
It renders nothing and draws nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import TypeAlias

from symusic.core import ScoreTick, TempoTick

from musiclstm import analysis
from musiclstm.checkpoint import DEFAULT, load_checkpoint
from musiclstm.composition import Composition, Passage, Seed
from musiclstm.constraints import AS_THE_SEED, MAX_NOTES_AT_ONCE, Constraints, Scale
from musiclstm.decoding import MAX_ROWS, PackedLSTM, Precision
from musiclstm.generation import Bar, Take, compose_bars, compose_takes
from musiclstm.instruments import instrument_name
from musiclstm.intake import check_score, read_midi
from musiclstm.modeling import MusicLSTMForCausalLM
from musiclstm.planning import Bars, Planner, Wishes
from musiclstm.sampling import MAX_SEED, Sampling
from musiclstm.splicing import (
    excerpt,
    first_bars,
    joined,
    most_at_once,
    never_struck_twice,
    notes_within,
    on_grid,
)
from musiclstm.surprise import Surprise
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


class Composer:
    """Goes on from your music, or begins some.

    Holds no state of any piece, so any number of listeners can share one.
    """

    def __init__(
        self,
        model: MusicLSTMForCausalLM,
        tokenizer: MusicTokenizer,
        *,
        precision: Precision | None = None,
    ) -> None:
        """Take a model and its tokenizer; `from_pretrained` is the usual way."""
        self.model, self.tokenizer = model, tokenizer
        self._network = PackedLSTM(model, precision=precision)
        self._planner = Planner(tokenizer)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = DEFAULT,
        *,
        revision: str | None = None,
        precision: Precision | None = None,
    ) -> Composer:
        """Load weights and tokenizer by one name.

        Args:
            name: "default" for the bundled weights, a checkpoint folder, or a Hub id.
            revision: Branch, tag or commit on the Hub; None: its main branch.
            precision: Of the steps, `int8` or `float32`; None: int8 where this machine is fast
                with it.

        Raises:
            CheckpointError: Something is missing, unreadable, or does not belong together.
        """
        return cls(*load_checkpoint(name, revision=revision), precision=precision)

    def compose(
        self,
        *,
        bars: int = 16,
        prompt: Prompt | None = None,
        prompt_bars: int | None = None,
        sampling: Sampling | None = None,
        constraints: Constraints | None = None,
        surprise: Surprise | None = None,
    ) -> Composition:
        """Go on from a prompt for exactly so many bars, or begin a new piece.

        Args:
            bars: New bars, 1 to 4096.
            prompt: A MIDI file, its bytes, or a score; None: start from nothing.
            prompt_bars: Use only the first so many bars of the prompt; None: all.
            sampling: How notes are chosen; None: the defaults.
            constraints: What the music keeps to. None: what `constraints_of` the prompt gives.
            surprise: At which bars the music takes a turn; None: at none.

        Raises:
            ScoreError: The prompt cannot be read or has no notes where it is used.
            ValueError: bars or prompt_bars out of range, or constraints that cannot be kept here.
        """
        _check_bars("bars", bars)
        piece = self._begin(prompt, prompt_bars, sampling, constraints, surprise)
        return self._longer(piece, list(self._new_bars(piece, bars)))

    def takes(
        self,
        count: int,
        *,
        bars: int = 16,
        prompt: Prompt | None = None,
        prompt_bars: int | None = None,
        sampling: Sampling | None = None,
        constraints: Constraints | None = None,
        surprise: Surprise | None = None,
    ) -> tuple[Composition, ...]:
        """Several ways to go on at once, faster than one after the other.

        Each has a random seed of its own, counted up from that of `sampling`; `compose` with that
        seed gives the same take.

        Args:
            count: How many, 1 to 32.
            bars: As in `compose`.
            prompt: As in `compose`.
            prompt_bars: As in `compose`.
            sampling: As in `compose`.
            constraints: As in `compose`.
            surprise: As in `compose`.

        Raises:
            ScoreError: As in `compose`.
            ValueError: As in `compose`, or count out of range.
        """
        _check_bars("bars", bars)
        if not isinstance(count, Integral) or not 1 <= count <= MAX_ROWS:
            raise ValueError(f"count must be from 1 to {MAX_ROWS}, got {count}.")
        first = self._begin(prompt, prompt_bars, sampling, constraints, surprise)
        pieces = [replace(first, sampling=_counted_up(first.sampling, i)) for i in range(count)]
        takes = [self._take(piece, bars) for piece in pieces]
        new: list[list[Bar]] = [[] for _ in pieces]
        for number, bar in compose_takes(self._network, takes, bars=bars):
            new[number].append(bar)
        return tuple(self._longer(piece, own) for piece, own in zip(pieces, new, strict=True))

    def stream(
        self,
        *,
        bars: int = 16,
        prompt: Prompt | None = None,
        prompt_bars: int | None = None,
        sampling: Sampling | None = None,
        constraints: Constraints | None = None,
        surprise: Surprise | None = None,
    ) -> Iterator[Composition]:
        """`compose`, given bar by bar: the same piece, a bar longer each time."""
        _check_bars("bars", bars)
        piece = self._begin(prompt, prompt_bars, sampling, constraints, surprise)
        return self._drafts(piece, self._new_bars(piece, bars))

    def endless(
        self,
        *,
        prompt: Prompt | None = None,
        prompt_bars: int | None = None,
        sampling: Sampling | None = None,
        constraints: Constraints | None = None,
        surprise: Surprise | None = None,
    ) -> Iterator[Passage]:
        """Music without end, bar by bar, in constant memory: what `compose` would go on with.

        Args:
            prompt: As in `compose`.
            prompt_bars: As in `compose`.
            sampling: As in `compose`.
            constraints: As in `compose`.
            surprise: As in `compose`.

        Raises:
            ScoreError: As in `compose`.
            ValueError: As in `compose`, or constraints that ask for an ending.
        """
        piece = self._begin(prompt, prompt_bars, sampling, constraints, surprise)
        if piece.constraints.ending:
            raise ValueError("Endless music has no ending; leave constraints.ending out.")
        bars = compose_bars(self._network, self._take(piece, None))
        return (self._passage(piece, number, bar) for number, bar in enumerate(bars))

    def extend(
        self,
        piece: Composition,
        *,
        bars: int = 8,
        sampling: Sampling | None = None,
        surprise: Surprise | None = None,
    ) -> Composition:
        """Let a composition go on for so many more bars; nothing is read twice.

        Args:
            piece: What this composer made before; left unchanged.
            bars: New bars, 1 to 4096.
            sampling: How notes are chosen; None: as in `piece`, random seed included, which gives
                what a longer `compose` would have given.
            surprise: At which bars the music takes a turn, the bars of `piece` counted; None: as in
                `piece`.

        Raises:
            ValueError: bars out of range.
        """
        _check_bars("bars", bars)
        if sampling is not None:
            piece = replace(piece, sampling=sampling.with_seed())
        if surprise is not None:
            piece = replace(piece, surprise=surprise)
        return self._longer(piece, list(self._new_bars(piece, bars)))

    def constraints_of(
        self, prompt: Prompt | None = None, *, prompt_bars: int | None = None
    ) -> Constraints:
        """What `compose` keeps to where nothing else is asked: change it by `dataclasses.replace`.

        Its instruments, its last meter, its fullest chord, and no change of tempo; all is free
        without a prompt.

        Raises:
            ScoreError: As in `compose`.
        """
        return _as_the_seed(self._seed(prompt, prompt_bars))

    # The steps of it.

    def _seed(self, prompt: Prompt | None, prompt_bars: int | None) -> Seed | None:
        grid_ticks = self.tokenizer.ticks_per_quarter
        return None if prompt is None else _read_seed(prompt, prompt_bars, grid_ticks)

    def _begin(
        self,
        prompt: Prompt | None,
        prompt_bars: int | None,
        sampling: Sampling | None,
        constraints: Constraints | None,
        surprise: Surprise | None,
    ) -> Composition:
        """A composition that has read its seed and has no new bar yet."""
        seed = self._seed(prompt, prompt_bars)
        constraints = _with_key_named(constraints or _as_the_seed(seed), seed)
        return Composition(
            score=ScoreTick(self.tokenizer.ticks_per_quarter) if seed is None else seed.score,
            bars=0,
            bar_tokens=(),
            state=self._network.read(self._ids(seed, self._stand_ins(seed, constraints))),
            sampling=(sampling or Sampling()).with_seed(),
            constraints=constraints,
            surprise=surprise or Surprise(),
            seed=seed,
        )

    def _take(self, piece: Composition, bars: int | None) -> Take:
        wishes = Wishes(
            constraints=self._in_trained_programs(piece),
            sampling=piece.sampling,
            surprise=piece.surprise,
            end=piece.bars + bars if bars and piece.constraints.ending else None,
            key=lambda before: self._key(piece, before),
        )
        return Take(piece.state, self._planner.plan(wishes), piece.bar_tokens)

    def _new_bars(self, piece: Composition, bars: int) -> Iterator[Bar]:
        return islice(compose_bars(self._network, self._take(piece, bars)), bars)

    def _drafts(self, piece: Composition, bars: Iterator[Bar]) -> Iterator[Composition]:
        new: list[Bar] = []
        for bar in bars:
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

    def _passage(self, piece: Composition, number: int, bar: Bar) -> Passage:
        score = self._decoded(piece, bar.tokens)
        if number == 0:
            _set_tempo(score, piece)
        length = self.tokenizer.length_ticks(bar.tokens)
        return Passage(number, score, length, bar.tokens, bar.snapshot)

    # What may be played.

    def _stand_ins(self, seed: Seed | None, constraints: Constraints) -> dict[int, int]:
        """Which trained program the network hears and plays for each one of the music."""
        asked = set(constraints.programs or ())
        if seed is not None:
            asked |= programs_of(seed.score)
        return relatives(asked, self.model.config.programs)

    def _parts(self, piece: Composition) -> dict[int, int]:
        """The same for those that may play in the new music."""
        heard, asked = self._stand_ins(piece.seed, piece.constraints), piece.constraints.programs
        return heard if asked is None else {program: heard[program] for program in asked}

    def _in_trained_programs(self, piece: Composition) -> Constraints:
        stand_ins = self._parts(piece)
        wish, known = piece.constraints, self.model.config.programs
        ranges = _ranges_of_stand_ins(wish.ranges, stand_ins, known)
        if wish.programs is not None:
            programs = frozenset(stand_ins[program] for program in wish.programs)
        elif known is not None:
            programs = frozenset(known) | {*stand_ins.values()}
        else:
            return replace(wish, pitch_ranges=ranges)
        return replace(wish, programs=programs, pitch_ranges=ranges)

    def _key(self, piece: Composition, before: Bars) -> Scale | None:
        """The key asked for, else that of the seed, else that of the new bars so far."""
        if piece.constraints.key is not None:
            return Scale.named(piece.constraints.key)
        if piece.seed is not None and (found := analysis.estimate_key(piece.seed.score)):
            return Scale.named(str(found))
        new = self._decoded(piece, [token for bar in before for token in bar])
        found = analysis.estimate_key(new)
        return None if found is None else Scale.named(str(found))

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
        new = self._decoded(piece, ids)
        end = self.tokenizer.length_ticks(ids)
        for track in new.tracks:
            track.notes = never_struck_twice(notes_within(track, 0, end))
        _set_tempo(new, piece)
        if piece.seed is not None:
            return joined(piece.seed.score, piece.seed.end_tick, new)
        return new

    def _decoded(self, piece: Composition, ids: Sequence[int]) -> ScoreTick:
        """New bars from tick 0, in the instruments of the music."""
        score = with_programs(self.tokenizer.decode(ids), _way_back(self._parts(piece)))
        for track in score.tracks:
            track.name = instrument_name(DRUMS if track.is_drum else track.program)
        return score


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


def _with_key_named(constraints: Constraints, seed: Seed | None) -> Constraints:
    if constraints.key != AS_THE_SEED:
        return constraints
    found = None if seed is None else analysis.estimate_key(seed.score)
    if found is None:
        raise ValueError(
            "key='seed' needs a prompt whose key can be estimated; pass a prompt, or name a key "
            "such as 'D minor'."
        )
    return replace(constraints, key=str(found))


def _ruling_meter(seed: Seed) -> tuple[int, int] | None:
    """The meter in which the seed ends, as the tokens say it; None where they cannot."""
    meter = plain_meter(*analysis.meter_at(seed.score, seed.end_tick))
    return meter if knows_meter(*meter) else None


def _way_back(stand_ins: Mapping[int, int]) -> dict[int, int]:
    """From stand-ins to the programs of the music; who stands for itself stays itself."""
    back = {stand_in: program for program, stand_in in sorted(stand_ins.items())}
    return back | {program: program for program, s in stand_ins.items() if s == program}


def _ranges_of_stand_ins(
    ranges: Mapping[int, tuple[int, int]],
    stand_ins: Mapping[int, int],
    known: Collection[int] | None,
) -> dict[int, tuple[int, int]]:
    """Pitch ranges by the programs that the network plays."""
    back = _way_back(stand_ins)
    played = stand_ins.keys() | back.keys() | set(ranges if known is None else known)
    return {
        stand_ins.get(program, program): ends
        for program, ends in ranges.items()
        if program in played and back.get(stand_ins.get(program, program), program) == program
    }


def _counted_up(sampling: Sampling, steps: int) -> Sampling:
    assert sampling.seed is not None
    return replace(sampling, seed=(sampling.seed + steps) % (MAX_SEED + 1))


def _set_tempo(new: ScoreTick, piece: Composition) -> None:
    """The tempo asked for; else the seed's goes on, and a piece from nothing has the usual one."""
    bpm = piece.constraints.tempo_bpm
    if bpm is None and piece.seed is None and all(tempo.time > 0 for tempo in new.tempos):
        bpm = analysis.DEFAULT_TEMPO_BPM
    if bpm is not None:
        new.tempos.insert(0, TempoTick(0, bpm))


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
