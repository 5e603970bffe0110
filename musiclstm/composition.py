"""What composing gives: a piece, or one bar of music without end.

Frozen records that hold everything needed to explain a piece, go on from it or make it again. They
compose nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from symusic.core import ScoreTick

from musiclstm.constraints import Constraints
from musiclstm.decoding import Snapshot
from musiclstm.sampling import Sampling
from musiclstm.splicing import excerpt
from musiclstm.surprise import Surprise


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
        constraints: What the music kept to, its key by name.
        surprise: When it takes a turn.
        seed: What it goes on from; None: from nothing.
    """

    score: ScoreTick
    bars: int
    bar_tokens: tuple[tuple[int, ...], ...] = field(repr=False)
    state: Snapshot = field(repr=False, compare=False)
    sampling: Sampling
    constraints: Constraints
    surprise: Surprise = field(default_factory=Surprise)
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


@dataclass(frozen=True)
class Passage:
    """One bar of music without end.

    Attributes:
        number: Its place, counted from 0.
        score: The bar alone, in ticks from its own bar line; a note may ring on beyond its end.
        length_ticks: From its bar line to the next.
        tokens: Its ids.
        state: Where the network stands after it.
    """

    number: int
    score: ScoreTick
    length_ticks: int
    tokens: tuple[int, ...] = field(repr=False)
    state: Snapshot = field(repr=False, compare=False)
