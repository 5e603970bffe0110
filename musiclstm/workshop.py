"""Workshop: how a piece begins, and how it gains bars.

Joins network, tokenizer, plans and the loop for what is a `Composition` already or becomes one.
Reads no prompts, checks no wishes and offers no choices: that is what `Composer` is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from symusic.core import ScoreTick

from musiclstm import analysis
from musiclstm.casting import allowed_parts, for_stand_ins, stand_ins, way_back
from musiclstm.certainty import in_order_of, spelled_notes
from musiclstm.composition import Composition, Passage, Seed, grown
from musiclstm.constraints import Constraints, Scale
from musiclstm.decoding import PackedLSTM
from musiclstm.generation import Bar, Take, compose_bars, compose_takes
from musiclstm.instruments import instrument_name
from musiclstm.planning import Bars, Planner, Wishes
from musiclstm.prompts import ruling_meter, with_key_named
from musiclstm.recipe import Maker
from musiclstm.sampling import Sampling
from musiclstm.splicing import excerpt, sorted_notes
from musiclstm.surprise import Surprise
from musiclstm.tokenization import DRUMS, MusicTokenizer, programs_of, with_programs

CONTEXT_BARS = 64  # of a long seed, only so many are read: what came before is long forgotten
CONTEXT_TOKENS = 8_192  # and of full bars so many tokens, or a file of 500 kB would cost minutes


@dataclass(frozen=True)
class Wish:
    """What was asked for; None: nothing, and what `Composer` says of it."""

    sampling: Sampling | None = None
    constraints: Constraints | None = None
    surprise: Surprise | None = None


class Workshop:
    """Where pieces are written; holds no state of any."""

    def __init__(
        self,
        network: PackedLSTM,
        tokenizer: MusicTokenizer,
        programs: Sequence[int] | None,
    ) -> None:
        """Take a network, its tokenizer, and the programs it has heard; None: all."""
        self._network, self._tokenizer, self._programs = network, tokenizer, programs
        self._planner = Planner(tokenizer)

    def begin(self, seed: Seed | None, wish: Wish, maker: Maker) -> Composition:
        """A composition that has read its seed and has no new bar yet."""
        usual = Constraints() if seed is None else seed.constraints
        constraints = with_key_named(wish.constraints or usual, seed)
        opening = self._network.read(self._ids(seed, self._cast(seed, [constraints])))
        nothing = ScoreTick(self._tokenizer.ticks_per_quarter)
        piece = Composition(
            score=nothing if seed is None else seed.score,
            bars=0,
            bar_tokens=(),
            state=opening,
            sampling=(wish.sampling or Sampling()).with_seed(),
            constraints=constraints,
            surprise=wish.surprise or Surprise(),
            seed=seed,
            opening=opening,
            decoded=nothing,
            maker=maker,
        )
        return piece.first(0)  # with the tracks that only sound along

    def take(self, piece: Composition, end: int | None) -> Take:
        """What goes on from a piece as its wishes say; `end` as in `Step`.

        Raises:
            ValueError: They cannot be kept.
        """
        cast = self._cast_of(piece)
        wishes = Wishes(
            constraints=for_stand_ins(piece.constraints, cast, self._programs),
            sampling=piece.sampling,
            surprise=piece.surprise,
            end=end,
            key=lambda before: self._key(piece, before),
        )
        return Take(piece.state, self._planner.plan(wishes), piece.bar_tokens)

    def _bars_of(self, pieces: list[Composition], bars: int) -> Iterator[tuple[int, Bar]]:
        takes = [self.take(piece, end_of(piece, bars)) for piece in pieces]
        return compose_takes(self._network, takes, bars=bars)

    def takes(self, pieces: list[Composition], bars: int) -> tuple[Composition, ...]:
        """Pieces, so many bars longer each."""
        new: list[list[Bar]] = [[] for _ in pieces]
        for number, bar in self._bars_of(pieces, bars):
            new[number].append(bar)
        pairs = zip(pieces, new, strict=True)
        return tuple(self._with_bars(piece, own, end_of(piece, bars)) for piece, own in pairs)

    def drafts(self, pieces: list[Composition], bars: int) -> Iterator[tuple[int, Composition]]:
        """The same, given as they grow: whenever one has gained a bar, its number and itself."""
        ends = [end_of(piece, bars) for piece in pieces]
        return self._growing(list(pieces), self._bars_of(pieces, bars), ends)

    def _growing(
        self,
        drafts: list[Composition],
        bars: Iterable[tuple[int, Bar]],
        ends: Sequence[int | None],
    ) -> Iterator[tuple[int, Composition]]:
        for number, bar in bars:
            drafts[number] = self._with_bars(drafts[number], [bar], ends[number])
            yield number, drafts[number]

    def longer(self, piece: Composition, bars: int, end: int | None) -> Composition:
        """A piece, so many bars longer; `end` as in `Step`."""
        new = islice(compose_bars(self._network, self.take(piece, end)), bars)
        return self._with_bars(piece, new, end)

    def _with_bars(self, piece: Composition, bars: Iterable[Bar], end: int | None) -> Composition:
        passages = [self.passage(piece, piece.bars + i, bar) for i, bar in enumerate(bars)]
        return grown(piece, passages, end=end)

    # What may be played.

    def _cast(self, seed: Seed | None, wishes: Iterable[Constraints | None]) -> dict[int, int]:
        """Which trained program the network hears and plays for each one of the music."""
        heard = set() if seed is None else programs_of(seed.score)
        asked = [wish.programs or frozenset() for wish in wishes if wish is not None]
        first, *later = asked
        return stand_ins([heard | first, *later], self._programs)

    def _cast_of(self, piece: Composition) -> dict[int, int]:
        wishes = [step.constraints for step in piece.steps]
        return self._cast(piece.seed, [*wishes, piece.constraints])

    def _key(self, piece: Composition, before: Bars) -> Scale | None:
        """The key asked for, else that of the seed, else that of the new bars so far."""
        if piece.constraints.key is not None:
            return Scale.named(piece.constraints.key)
        if piece.seed is not None and (found := analysis.estimate_key(piece.seed.score)):
            return Scale.named(str(found))
        found = analysis.estimate_key(self._tokenizer.decode(t for bar in before for t in bar))
        return None if found is None else Scale.named(str(found))

    # From a seed to ids, and from ids to a score.

    def _ids(self, seed: Seed | None, cast: dict[int, int]) -> list[int]:
        begin = [self._tokenizer.bos_id]
        if seed is None:
            return begin
        lines = analysis.bar_starts(seed.score, end_tick=seed.end_tick)
        bars = min(len(lines) - 1, CONTEXT_BARS)
        part = excerpt(seed.score, int(lines[-1 - bars]), seed.end_tick)
        if not programs_of(part):
            return begin
        base_ids = self._tokenizer.encode_base(with_programs(part, cast))
        meter = ruling_meter(seed) or analysis.DEFAULT_METER
        ids = self._tokenizer.compress(self._tokenizer.with_bars(base_ids, bars, meter))
        return begin + ids[-CONTEXT_TOKENS:]

    def passage(self, piece: Composition, number: int, bar: Bar) -> Passage:
        """A new bar in the instruments of the music."""
        score = sorted_notes(self._tokenizer.decode(bar.tokens))
        spelled = (self._tokenizer.parts[token] for token in bar.tokens)
        log_probs = in_order_of(score, spelled_notes(zip(spelled, bar.log_probs, strict=True)))
        parts = allowed_parts(self._cast_of(piece), piece.constraints)
        score = with_programs(score, way_back(parts))
        for track in score.tracks:
            track.name = instrument_name(DRUMS if track.is_drum else track.program)
        length = self._tokenizer.length_ticks(bar.tokens)
        return Passage(number, score, length, bar.tokens, bar.snapshot, bar.log_probs, log_probs)


def end_of(piece: Composition, bars: int) -> int | None:
    """Where the ending comes that is asked for."""
    return piece.bars + int(bars) if piece.constraints.ending else None


def changed(piece: Composition, wish: Wish) -> Composition:
    """The piece as it goes on: what is not asked for stays as it is."""
    constraints = wish.constraints
    return replace(
        piece,
        sampling=piece.sampling if wish.sampling is None else wish.sampling.with_seed(),
        constraints=(
            piece.constraints if constraints is None else with_key_named(constraints, piece.seed)
        ),
        surprise=wish.surprise or piece.surprise,
    )
