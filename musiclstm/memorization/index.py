"""`MemorizationIndex`: a small file that finds passages of the training pieces in other music.

**Fingerprints.** Every two consecutive steps of a training piece become a symbol, one of eight by a
hash. The symbols of a copy, in any transposition, are those of its original. A symbol takes about
2.4 bits in the file.

**Search.** At load, every seventh position of the training music is sorted by the `_GRAM` symbols
from there. A piece looks up the symbols at all of its positions. A passage of 24 notes has 22
symbols, hence a complete gram at one of its first seven positions. Sampling one side at fixed
positions gives the guarantee of winnowing (Schleimer, Wilkerson and Aiken, SIGMOD 2003) with half
of the fingerprints, because the other side is not sampled. From 16 to 23 notes the first
`_SHORT_GRAM` symbols are looked up. Each match is then extended symbol by symbol.

**Accuracy.** Every passage of at least `SHORTEST` notes is found, and never shortened. Symbols of
other music agree by chance in one case of eight, so a passage may be reported a few notes longer
than it is. A note that differs in the middle of a copy separates two passages, except in one case
of 64. `benchmarks.quality.memorization_index` compares all lengths with those of an exact search.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from musiclstm.errors import CheckpointError
from musiclstm.memorization.passages import (
    WINDOW,
    CopiedPassage,
    Ints,
    PitchedNotes,
    longest_passage,
    third_different,
    truncate_trivial,
)
from musiclstm.midi import clean_text

SHORTEST = 16  # notes; shorter passages are not reported
GUARANTEED = 24  # notes; from here on long grams are enough
EXCERPT_NOTES = tuple(2**power for power in range(6, 13))  # sizes of held-out excerpts

_STEPS = 2  # of a symbol
_ALPHABET = 8  # 5: 17 % less, 16: 22 % more bytes; twice, and a quarter of the false alarms
_END = _ALPHABET  # where a line begins or ends
_STRIDE = 7  # positions from one sorted gram to the next
_GRAM, _SHORT_GRAM = 16, 8  # symbols; with the stride one less than passages of 24 and 16 notes
_MAX_BYTES = 1_000_000_000  # unpacked; more is no index
_MAX_EXCERPTS = 4  # of a held-out piece and size, so that long pieces do not decide alone
_MAX_NAME = 200  # characters
_FORMAT = 1

_READ_ERRORS = (OSError, ValueError, LookupError, TypeError, NotImplementedError)

Symbols: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True)
class _Runs:
    """Matches that cannot be extended, (runs,) each: [begin, end) of the music, and the source."""

    begin: Ints
    end: Ints
    position: Ints


@dataclass(frozen=True)
class LongestCopy:
    """The longest passage of a piece that occurs in a training piece.

    Attributes:
        notes: Number of notes; 0: fewer than `SHORTEST`.
        piece: Name of the training piece, one line of plain text that may contain markup. None: no
            passage.
        percentile: Share in percent of held-out excerpts, of as many notes as the piece, whose
            longest passage is shorter. Without a passage, of those without a passage. None: too few
            pieces were held out.
    """

    notes: int
    piece: str | None
    percentile: float | None

    def __str__(self) -> str:
        found = f"no passage of {SHORTEST} notes is shared with a training piece"
        usual = "as"
        if self.piece is not None:
            found = (
                f"longest passage shared with a training piece: {self.notes} notes ({self.piece})"
            )
            usual = "longer than"
        if self.percentile is None:
            return found
        return f"{found}, {usual} in {self.percentile:.0f} % of unseen music of this length"


class MemorizationIndex:
    """Fingerprints of the training pieces, their names, and what is usual in held-out music.

    Attributes:
        names: Name of each piece, as text that is not trusted.
        held_out: Percentiles 0 to 100 of the longest passage in excerpts of held-out pieces that
            have `EXCERPT_NOTES` notes, (sizes, 101); -1: too few excerpts of that size.
    """

    def __init__(
        self, symbols: Symbols, starts: Ints, names: Sequence[str], held_out: Ints
    ) -> None:
        """Sort the fingerprints.

        Args:
            symbols: Symbols of all pieces, (steps,) uint8.
            starts: First symbol of each piece and the end of the last, (pieces + 1,).
            names: `names`.
            held_out: `held_out`.
        """
        self.names, self.held_out = list(names), held_out
        self._padded = np.append(symbols, np.full(_GRAM, _END, np.uint8))
        self._symbols, self._starts = self._padded[: len(symbols)], starts
        anchors = np.arange(0, len(symbols), _STRIDE)
        keys = _codes(self._padded, _GRAM, anchors)
        order = np.argsort(keys)
        self._keys, self._anchors = keys[order], anchors[order]

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def build(
        cls,
        pieces: Iterable[tuple[str, PitchedNotes]],
        held_out: Iterable[PitchedNotes],
        *,
        base: MemorizationIndex | None = None,
    ) -> MemorizationIndex:
        """Build an index.

        Args:
            pieces: Name and notes of each training piece.
            held_out: Pieces that were not trained on.
            base: Index of the weights from which training started; its pieces are kept.
        """
        names = [] if base is None else list(base.names)
        parts = [] if base is None else base._pieces()
        known = {part.tobytes() for part in parts}
        for name, notes in pieces:
            symbols = _symbols(notes.steps())
            if symbols.tobytes() not in known:
                names.append(name)
                parts.append(symbols)
        starts = np.cumsum([0, *map(len, parts)])
        found = cls(np.concatenate([np.zeros(0, np.uint8), *parts]), starts, names, _no_excerpts())
        found.held_out = found._percentiles(held_out)
        return found

    # Search ---------------------------------------------------------------------------------------

    def longest(self, notes: PitchedNotes, *, shortest: int = SHORTEST) -> CopiedPassage:
        """Return the longest passage of some music that occurs in a training piece.

        Args:
            notes: The music.
            shortest: Fewest notes, at least `SHORTEST`; from `GUARANTEED` the search is faster.
        """
        steps = notes.steps()
        length, position = self.passages(steps, shortest=shortest)
        return longest_passage(notes, steps, length, self.piece_at(position))

    def longest_copy(self, notes: PitchedNotes) -> LongestCopy:
        """Return the longest passage with the name of its source and what is usual."""
        found = self.longest(notes)
        if found.source is None:
            return LongestCopy(0, None, self.percentile(SHORTEST, len(notes)))
        name = clean_text(self.names[found.source], max_length=_MAX_NAME)
        return LongestCopy(found.notes, name, self.percentile(found.notes, len(notes)))

    def passages(self, steps: Ints, *, shortest: int = SHORTEST) -> tuple[Ints, Ints]:
        """Return the longest passage from each note of some lines.

        Args:
            steps: `PitchedNotes.steps`.
            shortest: As in `longest`.

        Returns:
            Lengths in steps, 0 for passages of fewer notes, and positions in the training music;
            (steps,) each.
        """
        third = third_different(steps)
        runs = self._runs(_symbols(steps), third, _GRAM if shortest >= GUARANTEED else _SHORT_GRAM)
        reach, position = _farthest(runs, len(steps))
        length = truncate_trivial(third, reach)
        return np.where(length + 1 >= max(shortest, SHORTEST), length, 0), position

    def piece_at(self, position: Ints) -> Ints:
        """Return the index of the piece at positions in the training music."""
        return np.searchsorted(self._starts, position, side="right") - 1

    def percentile(self, passage_notes: int, notes: int) -> float | None:
        """Return the share of held-out excerpts whose longest passage is shorter, in percent.

        Args:
            passage_notes: Length of a passage.
            notes: Length of the music in which it is the longest one.

        Returns:
            Interpolated between `EXCERPT_NOTES`; None: too few pieces were held out.
        """
        measured = np.flatnonzero(self.held_out[:, 0] >= 0)
        if not len(measured):
            return None
        shares = [np.mean(self.held_out[row] < passage_notes) for row in measured]
        sizes = np.log2(np.array(EXCERPT_NOTES)[measured])
        return 100 * float(np.interp(np.log2(max(notes, 1)), sizes, shares))

    def _runs(self, symbols: Symbols, third: Ints, gram: int) -> _Runs:
        query, position = self._pairs(symbols, third, gram)
        # Grams at neighbouring anchors that lie in the same distance are one match.
        order = np.lexsort((query, position - query))
        query, position = query[order], position[order]
        joined = (np.diff(query) == _STRIDE) & (np.diff(position) == _STRIDE)
        first = np.flatnonzero(np.concatenate([[True], ~joined])[: len(query)])
        last = np.append(first[1:], len(query))[: len(first)] - 1
        padded = np.append(symbols, np.full(_GRAM, _END, np.uint8))
        begin, source = query[first], position[first]
        left = _extension(padded, self._padded, begin - 1, source - 1, -1)
        end = query[last] + gram
        right = _extension(padded, self._padded, end, position[last] + gram, 1)
        return _Runs(begin - left, end + right, source - left)

    def _pairs(self, symbols: Symbols, third: Ints, gram: int) -> tuple[Ints, Ints]:
        """Return positions of equal grams in the music and in the training music."""
        count = len(symbols) - gram + 1
        if count <= 0:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        here = np.arange(count)
        is_end = np.concatenate([[0], np.cumsum(symbols == _END)])
        is_trivial = np.concatenate([[0], np.cumsum(third >= np.arange(len(third)) + WINDOW)])
        first, last = here - _STEPS + 1, here + gram - WINDOW  # windows of steps in a gram
        windows = is_trivial[np.maximum(last + 1, 0)] - is_trivial[np.maximum(first, 0)]
        queries = here[(is_end[here + gram] == is_end[here]) & (windows == 0)]
        code, rest = _codes(symbols, gram, queries), (_ALPHABET + 1) ** (_GRAM - gram)
        low = np.searchsorted(self._keys, code * rest)
        counts = np.searchsorted(self._keys, (code + 1) * rest) - low
        offset = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(queries, counts), self._anchors[np.repeat(low, counts) + offset]

    def _percentiles(self, held_out: Iterable[PitchedNotes]) -> Ints:
        found: list[list[int]] = [[] for _ in EXCERPT_NOTES]
        for piece in held_out:
            for size, lengths in zip(EXCERPT_NOTES, found, strict=True):
                for number in range(min(len(piece) // size, _MAX_EXCERPTS)):
                    excerpt = piece[number * size : (number + 1) * size]
                    lengths.append(self.longest(excerpt).notes)
        rows = _no_excerpts()
        for row, lengths in zip(rows, found, strict=True):
            if len(lengths) >= 20:
                row[:] = np.percentile(lengths, np.arange(101), method="nearest")
        return rows

    def _pieces(self) -> list[Symbols]:
        return np.split(self._symbols, self._starts[1:-1]) if len(self) else []

    # File -----------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write the index; the same index gives the same bytes."""
        names = json.dumps({"format": _FORMAT, "names": self.names}, ensure_ascii=False)
        with path.open("wb") as file:
            np.savez_compressed(
                file,
                symbols=self._symbols,
                lengths=np.diff(self._starts).astype(np.int32),
                held_out=self.held_out.astype(np.int32),
                names=np.frombuffer(names.encode(), np.uint8),
            )

    @classmethod
    def load(cls, path: Path) -> MemorizationIndex:
        """Read an index that `save` wrote.

        Raises:
            CheckpointError: The file cannot be read, or is damaged.
        """
        try:
            return cls(**_read(path.read_bytes()))
        except (*_READ_ERRORS, zipfile.BadZipFile, zlib.error) as error:
            raise CheckpointError(
                f"{path.name} of {path.parent.name!r} is not an index of training pieces; build it "
                "again with training.memorization, or delete it."
            ) from error


def _read(data: bytes) -> dict[str, Any]:
    """Return the arguments of `MemorizationIndex` from the bytes of a file."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(member.file_size for member in archive.infolist()) > _MAX_BYTES:
            raise ValueError("The file is too large.")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        record = json.loads(arrays["names"].tobytes())
        symbols, lengths, held_out = (arrays[name] for name in ("symbols", "lengths", "held_out"))
    names, starts = record["names"], np.cumsum([0, *lengths.tolist()])
    if (
        record["format"] != _FORMAT
        or (symbols.dtype, symbols.ndim) != (np.uint8, 1)
        or symbols.max(initial=0) > _END
        or (lengths.dtype.kind, held_out.dtype.kind) != ("i", "i")
        or lengths.min(initial=0) < 0
        or starts[-1] != len(symbols)
        or len(names) != len(lengths)
        or not all(isinstance(name, str) for name in names)
        or held_out.shape != _no_excerpts().shape
    ):
        raise ValueError("The contents do not match.")
    return {"symbols": symbols, "starts": starts, "names": names, "held_out": held_out}


def _no_excerpts() -> Ints:
    return np.full((len(EXCERPT_NOTES), 101), -1)


# Symbols ------------------------------------------------------------------------------------------


def _symbols(steps: Ints) -> Symbols:
    """Return the symbol of each step with those before it, (steps,); `_END`: there are too few."""
    found = np.full(len(steps), _END, np.uint8)
    count = len(steps) - _STEPS + 1
    if count <= 0:
        return found
    mixed, hashes, inside = _mixed(steps), np.zeros(count, np.uint64), np.ones(count, bool)
    for offset in range(_STEPS):
        hashes = _mixed(hashes ^ mixed[offset : offset + count])
        inside &= steps[offset : offset + count] >= 0
    found[_STEPS - 1 :][inside] = ((hashes >> np.uint64(32)) % np.uint64(_ALPHABET))[inside]
    return found


def _mixed(values: NDArray[Any]) -> NDArray[np.uint64]:
    """Return 64-bit hashes (the finalizer of SplitMix64, Steele, Lea and Flood, OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        mixed = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _codes(symbols: Symbols, gram: int, positions: Ints) -> Ints:
    """Return the grams from some positions as numbers in base 9, (positions,)."""
    code = np.zeros(len(positions), np.int64)
    for offset in range(gram):
        code = code * (_ALPHABET + 1) + symbols[positions + offset]
    return code


# Matches ------------------------------------------------------------------------------------------


def _extension(music: Symbols, other: Symbols, at: Ints, to: Ints, direction: int) -> Ints:
    """Return how many symbols, at most `_STRIDE` - 1, are equal from two positions on.

    More cannot be: another anchor would have matched. Both arrays end with `_END`.
    """
    length = np.zeros(len(at), np.int64)
    is_equal = np.ones(len(at), bool)
    for offset in range(0, direction * (_STRIDE - 1), direction):
        symbol = music[np.maximum(at + offset, -1)]
        is_equal &= (symbol != _END) & (symbol == other[np.maximum(to + offset, -1)])
        length += is_equal
    return length


def _farthest(runs: _Runs, count: int) -> tuple[Ints, Ints]:
    """Return the longest match from each step, in steps, and its position in the training music.

    A symbol depends on its step and on those before it, so the steps of a run begin earlier.
    """
    number = np.arange(1, len(runs.begin) + 1)
    best = np.zeros(count + 1, np.int64)
    np.maximum.at(best, runs.begin - _STEPS + 1, runs.end * (len(number) + 1) + number)
    end, run = np.divmod(np.maximum.accumulate(best)[:count], len(number) + 1)
    here = np.arange(count)
    position = np.append(0, runs.position)[run]
    return np.maximum(end - here, 0), position
