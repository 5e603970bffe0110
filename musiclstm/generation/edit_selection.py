"""What an edit composes again: bars and parts that are named by number or name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral

from symusic.core import ScoreTick

from musiclstm.errors import shorten
from musiclstm.generation.prompt import PromptSource, read_source
from musiclstm.midi import analysis
from musiclstm.midi.general_midi import instrument_name
from musiclstm.midi.score_ops import resample_to_grid
from musiclstm.tokens import DRUMS, program_of

Part = int | str


@dataclass(frozen=True)
class Edit:
    """What is composed.

    Attributes:
        score: The piece; its ticks per quarter are a multiple of the tokenizer's if possible.
        lines: Ticks of its bar lines.
        first: Index of the first bar that is composed.
        stop: Index after the last one.
        tracks: Indices of the tracks that are composed there.
        programs: Programs of parts that are added.
    """

    score: ScoreTick
    lines: Sequence[int]
    first: int
    stop: int
    tracks: frozenset[int]
    programs: tuple[int, ...] = ()

    @property
    def new_programs(self) -> frozenset[int]:
        """Programs of the new parts."""
        return frozenset(self.programs) | {program_of(self.score.tracks[i]) for i in self.tracks}


def edit_bars(
    source: PromptSource,
    bars: tuple[int, int] | None,
    parts: Iterable[Part] | Part | None,
    grid_ticks: int,
) -> Edit:
    """Return the edit of `Composer.regenerate`."""
    score = _read(source, grid_ticks)
    lines = analysis.bar_starts(score).tolist()
    first, last = _check_bars(bars, len(lines) - 1)
    tracks = find_tracks(score, parts)
    if last - first + 1 == len(lines) - 1 and len(tracks) == len(score.tracks):
        raise ValueError(
            f"bars and parts select the whole piece, all {len(tracks)} parts of {last} bars, so "
            "nothing is kept; choose fewer, or compose a new piece."
        )
    return Edit(score, lines, first - 1, last, tracks)


def edit_accompaniment(
    source: PromptSource,
    parts: Iterable[Part] | Part | None,
    programs: Sequence[int] | None,
    grid_ticks: int,
) -> Edit:
    """Return the edit of `Composer.accompany`."""
    score = _read(source, grid_ticks)
    kept = find_tracks(score, parts)
    others = frozenset(range(len(score.tracks))) - kept
    if programs is None:
        if not others:
            raise ValueError(
                f"All {len(kept)} parts are kept and none is added; name the programs of new "
                "parts, or fewer parts to keep."
            )
        added: tuple[int, ...] = ()
    else:
        added = _check_programs(programs)
        score.tracks = type(score.tracks)(score.tracks[index] for index in sorted(kept))
        others = frozenset()
    lines = analysis.bar_starts(score).tolist()
    return Edit(score, lines, 0, len(lines) - 1, others, added)


def find_tracks(score: ScoreTick, parts: Iterable[Part] | Part | None) -> frozenset[int]:
    """Return the indices of tracks that are named by number, from 1, or by name.

    Names are those of tracks and of General MIDI instruments; `Violin (2)` is the second violin.

    Raises:
        ValueError: No part, or one that the score does not have.
    """
    if parts is None:
        return frozenset(range(len(score.tracks)))
    wanted = [parts] if isinstance(parts, str | int) else [*parts]
    if not wanted:
        raise ValueError("parts must contain at least one part; None selects all.")
    names = _names_of_tracks(score)
    found: set[int] = set()
    for part in wanted:
        own = {index for index, known in enumerate(names) if _is_named(part, index, known)}
        if not own:
            listed = ", ".join(f"{number} {known[-1]}" for number, known in enumerate(names, 1))
            raise ValueError(
                f"The piece has no part {shorten(str(part))}; choose from its parts by number or "
                f"name: {listed}."
            )
        found |= own
    return frozenset(found)


def _is_named(part: Part, index: int, names: Sequence[str]) -> bool:
    if isinstance(part, str):
        known = {str(index + 1), *(name.casefold() for name in names)}
        return part.strip().casefold() in known
    return part == index + 1


def _names_of_tracks(score: ScoreTick) -> list[tuple[str, ...]]:
    """Return the names of each track, that of its instrument with a number last."""
    counts = Counter[str]()
    found = []
    for track in score.tracks:
        instrument = instrument_name(program_of(track))
        counts[instrument] += 1
        number = counts[instrument]
        numbered = instrument if number == 1 else f"{instrument} ({number})"
        found.append((*filter(None, [track.name.strip()]), instrument, numbered))
    return found


def _read(source: PromptSource, grid_ticks: int) -> ScoreTick:
    score = read_source(source)[0]
    return resample_to_grid(score, grid_ticks).copy()


def _check_bars(bars: tuple[int, int] | None, count: int) -> tuple[int, int]:
    if bars is None:
        return 1, count
    pair = tuple(bars) if isinstance(bars, Iterable) else (bars,)
    is_pair = len(pair) == 2 and all(isinstance(bar, Integral) for bar in pair)
    if not is_pair or not 1 <= pair[0] <= pair[-1] <= count:
        raise ValueError(
            f"bars must be the first and the last bar, from 1 to {count}, such as (1, {count}); "
            f"got {bars}."
        )
    return pair[0], pair[1]


def _check_programs(programs: Sequence[int]) -> tuple[int, ...]:
    found = tuple(programs)
    if not found or not all(isinstance(p, Integral) and DRUMS <= p <= 127 for p in found):
        raise ValueError(
            "programs must be at least one MIDI program from 0 to 127, or -1 for drums; got "
            f"{list(found)}."
        )
    return found
