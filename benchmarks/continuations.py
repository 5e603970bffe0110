"""`python -m benchmarks.continuations`: ten pieces go on; numbers, MIDI files and pictures of each.

Seeds are the first bars of held-out pieces, chosen by rule and not by ear (`choose`). What is
measured is read back from the MIDI file that was written, not from the composer's own words. Good
music this cannot tell; empty, lost or shapeless music it can.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from symusic.core import NoteTickList, ScoreTick

from benchmarks.pieces import read_split
from benchmarks.reporting import Report, ReportError, parser, run, table
from musiclstm import analysis
from musiclstm.composer import Composer
from musiclstm.composition import Composition
from musiclstm.generation.sampling import Sampling
from musiclstm.intake import Limits, read_midi
from musiclstm.pianoroll import draw_roll
from musiclstm.tokens import POSITIONS_PER_BEAT
from training.continuations import piece_from
from training.corpus import Source

COUNT, SEED_BARS, BARS = 10, 8, 16
_Piece = tuple[Source, ScoreTick]
_Classes = NDArray[np.float64]  # (12,), shares of the pitch classes


@dataclass(frozen=True)
class Continuation:
    """One continuation, in numbers.

    Attributes:
        name: Number and piece; the name of its files.
        corpus: Where the seed is from.
        bars: New bars that were asked for.
        bars_exact: The seed fills its bars, so many bars were composed, and no note reaches beyond
            the last bar line.
        notes: New notes.
        pitches: Different pitches among them, drums left out.
        empty_bars: New bars in which no note begins.
        on_grid: Share of new notes that begin on the grid of the tokens.
        own: Overlap of its pitch classes with those of its own seed, 0..1.
        others: The same with every other seed.
        original: Overlap of the next bars that the piece itself has, as far as that measure goes.
        original_others: The same with every other seed.
        notes_per_s: New notes per second of composing, the reading of the seed included.
    """

    name: str
    corpus: str
    bars: int
    bars_exact: bool
    notes: int
    pitches: int
    empty_bars: int
    on_grid: float
    own: float
    others: tuple[float, ...]
    original: float
    original_others: tuple[float, ...]
    notes_per_s: float

    @property
    def beats_the_mean(self) -> bool:
        """Closer to its own seed than to the others on average."""
        return self.own > float(np.mean(self.others))

    @property
    def beats_each(self) -> bool:
        """Closer to its own seed than to any other: the stricter reading."""
        return self.own > max(self.others)

    @property
    def original_beats_the_mean(self) -> bool:
        """Whether the piece itself, going on, passes the first test."""
        return self.original > float(np.mean(self.original_others))

    @property
    def original_beats_each(self) -> bool:
        """Whether the piece itself, going on, passes the second."""
        return self.original > max(self.original_others)

    @property
    def failed(self) -> bool:
        """Nothing, one note, or one and the same pitch."""
        return self.notes < 2 or self.pitches < 2


@dataclass(frozen=True)
class _Take:
    """What was composed, before it is compared with the other seeds."""

    found: Continuation
    seed_classes: _Classes
    new_classes: _Classes
    original_classes: _Classes


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with a sentence when data, model or folder cannot be used."""
    options = parser("benchmarks.continuations", "Ten held-out pieces go on, in numbers.")
    options.add_argument(
        "--model", default="default", help="default, a checkpoint folder, or a Hub id"
    )
    options.add_argument("--out", type=Path, required=True, help="folder for MIDI and pictures")
    options.add_argument("--count", type=int, default=COUNT, help=f"pieces ({COUNT})")
    options.add_argument("--seed-bars", type=int, default=SEED_BARS, help=f"({SEED_BARS})")
    options.add_argument("--bars", type=int, default=BARS, help=f"new bars ({BARS})")
    options.add_argument("--temperature", type=float, default=1.0, help="(1)")
    options.add_argument("--seed", type=int, default=7, help="of the random numbers (7)")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Choose the seeds, let them go on, write everything into the folder, and count."""
    sampling = _sampling(options)
    composer = Composer.from_pretrained(options.model)
    _make_folder(options.out)
    pieces = read_split(options.data, options.split)
    chosen = choose(pieces, count=options.count, seed_bars=options.seed_bars, bars=options.bars)
    takes = [
        _take(composer, number, piece, sampling, options)
        for number, piece in enumerate(chosen, start=1)
    ]
    found = _compared(takes)
    return Report(_text(found), {**_settings(options), "continuations": [*map(_facts, found)]})


def _sampling(options: argparse.Namespace) -> Sampling:
    numbers = (("--count", 2), ("--seed-bars", 1), ("--bars", 1))
    for name, least in numbers:
        value = getattr(options, name[2:].replace("-", "_"))
        if value < least:
            raise ReportError(f"{name} must be {least} or more, got {value}.")
    try:
        return Sampling(temperature=options.temperature, seed=options.seed)
    except ValueError as error:
        raise ReportError(str(error)) from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(
            f"{str(folder)!r} cannot be made ({error.strerror}); name another folder after --out."
        ) from error


def choose(pieces: Iterable[_Piece], *, count: int, seed_bars: int, bars: int) -> list[_Piece]:
    """Pieces to go on from: one of each corpus in turn, in the order of the archives.

    Which pieces qualify, `training.continuations.piece_from` says.

    Raises:
        ReportError: Too few pieces qualify.
    """
    by_corpus: dict[str, list[_Piece]] = defaultdict(list)
    for source, score in pieces:
        if piece_from(score, prompt_bars=seed_bars, bars=bars, allow_short=False):
            by_corpus[source.corpus].append((source, score))
    most = max((len(own) for own in by_corpus.values()), default=0)
    in_turn = [own[i] for i in range(most) for own in by_corpus.values() if i < len(own)]
    if len(in_turn) < count:
        raise ReportError(
            f"Only {len(in_turn)} pieces have {seed_bars + bars} bars and a seed with enough "
            f"notes, {count} are needed; add to --data, or lower --count."
        )
    return in_turn[:count]


def _take(
    composer: Composer, number: int, piece: _Piece, sampling: Sampling, options: argparse.Namespace
) -> _Take:
    source, score = piece
    lines = analysis.bar_starts(score)[[options.seed_bars, options.seed_bars + options.bars]]
    prompt = _between(score, 0, int(lines[1]))  # a whole symphony is beyond the limits of a prompt
    start = time.perf_counter()
    composition = composer.compose(
        prompt=prompt, prompt_bars=options.seed_bars, bars=options.bars, sampling=sampling
    )
    seconds = time.perf_counter() - start
    name = f"{number:02d}-{_plain(Path(source.name).stem)}"
    path = composition.save_midi(options.out / f"{name}.mid")
    written, _ = read_midi(path, limits=Limits.training())
    roll = draw_roll(written, seed_end_tick=_seed_end(written, composition), title=name)
    (options.out / f"{name}.svg").write_text(roll, encoding="utf-8")
    found, seed, new = _look(written, composition, composer)
    found = replace(found, name=name, corpus=source.corpus, notes_per_s=new.note_num() / seconds)
    original = _between(score, int(lines[0]), int(lines[1]))
    return _Take(found, *map(analysis.pitch_class_histogram, (seed, new, original)))


def _look(
    written: ScoreTick, composition: Composition, composer: Composer
) -> tuple[Continuation, ScoreTick, ScoreTick]:
    """Numbers about the new bars of a file, and its two parts."""
    begin = _seed_end(written, composition)
    lines = _new_lines(written, begin, composition.bars)
    seed, new = _between(written, 0, begin), _between(written, begin, None)
    onsets = _onsets(new)
    opened = composition.tokens.count(composer.tokenizer.ids["Bar_None"])
    full = analysis.bar_starts(written, end_tick=begin)
    found = Continuation(
        name="",
        corpus="",
        bars=composition.bars,
        bars_exact=opened == composition.bars
        and int(full[-1]) == begin
        and len(full) - 1 == composition.seed_bars
        and analysis.last_note_end(written) <= int(lines[-1]),
        notes=len(onsets),
        pitches=len(_pitches(new)),
        empty_bars=int((np.histogram(onsets, lines)[0] == 0).sum()),
        on_grid=_share_on_grid(written, onsets, lines),
        own=0.0,
        others=(),
        original=0.0,
        original_others=(),
        notes_per_s=0.0,
    )
    return found, seed, new


def _seed_end(written: ScoreTick, composition: Composition) -> int:
    """Where the new music begins, in ticks of the file."""
    scale = written.ticks_per_quarter / composition.score.ticks_per_quarter
    return round(composition.seed_end_tick * scale)


def _new_lines(score: ScoreTick, begin: int, bars: int) -> NDArray[np.int64]:
    """The bar lines of so many bars from a tick on, the last one included."""
    numerator, denominator = analysis.meter_at(score, begin)
    beyond = begin + (bars + 1) * 4 * score.ticks_per_quarter * max(numerator, 16) // denominator
    lines = analysis.bar_starts(score, end_tick=max(beyond, analysis.last_note_end(score)))
    return lines[lines >= begin][: bars + 1]


def _share_on_grid(score: ScoreTick, onsets: NDArray[np.int64], lines: NDArray[np.int64]) -> float:
    """Share of onsets on one of the positions that tokens can say, to the tick."""
    if not len(onsets):
        return 0.0
    bar = np.maximum(np.searchsorted(lines, onsets, side="right") - 1, 0)
    beats = np.array([analysis.meter_at(score, int(line))[1] for line in lines])[bar]
    places = (onsets - lines[bar]) * POSITIONS_PER_BEAT * beats / (4 * score.ticks_per_quarter)
    off_ticks = np.abs(places - np.rint(places)) * 4 * score.ticks_per_quarter
    return float((off_ticks / (POSITIONS_PER_BEAT * beats) < 1).mean())


def _between(score: ScoreTick, start: int, end: int | None) -> ScoreTick:
    """A copy with only the notes that begin in [start, end)."""
    part = score.copy()
    for track in part.tracks:
        notes = track.notes.numpy()
        chosen = (notes["time"] >= start) & (notes["time"] < (np.inf if end is None else end))
        track.notes = NoteTickList.from_numpy(*(column[chosen] for column in notes.values()))
    return part


def _onsets(score: ScoreTick) -> NDArray[np.int64]:
    times = [track.notes.numpy()["time"].astype(np.int64) for track in score.tracks]
    return np.concatenate([np.zeros(0, np.int64), *times])


def _pitches(score: ScoreTick) -> set[int]:
    tracks = (track for track in score.tracks if not track.is_drum)
    return {int(pitch) for track in tracks for pitch in np.unique(track.notes.numpy()["pitch"])}


def _plain(name: str) -> str:
    """A piece's name as one that any folder takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:60].strip("._") or "piece"


def _compared(takes: Sequence[_Take]) -> list[Continuation]:
    """Every continuation beside its own seed and beside all others."""
    seeds = [take.seed_classes for take in takes]
    found = []
    for number, take in enumerate(takes):
        own, others = _overlaps(take.new_classes, seeds, number)
        original, original_others = _overlaps(take.original_classes, seeds, number)
        found.append(
            replace(
                take.found,
                own=own,
                others=others,
                original=original,
                original_others=original_others,
            )
        )
    return found


def _overlaps(
    classes: _Classes, seeds: Sequence[_Classes], number: int
) -> tuple[float, tuple[float, ...]]:
    """With the seed of that number, and with all others."""
    found = [analysis.overlap(classes, seed) for seed in seeds]
    return found.pop(number), tuple(found)


# Telling it.


def _text(found: Sequence[Continuation]) -> str:
    rows = [_row(each) for each in found]
    return "\n".join([table(rows), "", *_sentences(found)])


def _row(each: Continuation) -> dict[str, str]:
    return {
        "seed": each.name,
        "corpus": each.corpus,
        "bars exact": "yes" if each.bars_exact else "NO",
        "notes": f"{each.notes:,}",
        "pitches": f"{each.pitches}",
        "empty bars": f"{each.empty_bars}",
        "on grid": f"{100 * each.on_grid:.1f} %",
        "own seed": f"{each.own:.3f}",
        "other seeds, mean": f"{np.mean(each.others):.3f}",
        "most": f"{max(each.others):.3f}",
        "original": f"{each.original:.3f}",
        "own beats mean": "yes" if each.beats_the_mean else "no",
        "own beats each": "yes" if each.beats_each else "no",
        "notes/s": f"{each.notes_per_s:.0f}",
    }


def _sentences(found: Sequence[Continuation]) -> Iterator[str]:
    count, rest = len(found), len(found) - 1
    yield (
        f"- Overlap of pitch classes with the own seed beats the mean of the other {rest} for "
        f"{sum(each.beats_the_mean for each in found)} of {count}."
    )
    yield f"- It beats each of the other {rest} for {sum(e.beats_each for e in found)} of {count}."
    yield (
        f"- The pieces' own next bars do so for {sum(e.original_beats_the_mean for e in found)} "
        f"(mean) and {sum(e.original_beats_each for e in found)} (each)."
    )
    yield f"- Bars exact for {sum(each.bars_exact for each in found)} of {count}."
    yield f"- All new notes on the grid for {sum(e.on_grid == 1 for e in found)} of {count}."
    failed = [each.name for each in found if each.failed]
    yield f"- Empty or one-note continuations: {len(failed)}{''.join(f', {n}' for n in failed)}."


def _facts(each: Continuation) -> dict[str, Any]:
    return {
        **asdict(each),
        "beats_the_mean": each.beats_the_mean,
        "beats_each": each.beats_each,
        "original_beats_the_mean": each.original_beats_the_mean,
        "original_beats_each": each.original_beats_each,
        "failed": each.failed,
    }


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    names = ("split", "seed_bars", "bars", "temperature", "seed")
    return {"model": str(options.model)} | {name: getattr(options, name) for name in names}


if __name__ == "__main__":
    sys.exit(main())
