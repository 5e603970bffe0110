"""What a grid keeps of music, and the bits that it takes to say what it dropped.

A grid is a number of positions in each beat, and a beat is what the meter names: an eighth in 6/8.
`write` puts a piece on a grid and reads it back, `kept` says how near its notes stay to where they
were, `residue_bits` what it takes to put them where a finer grid has them: H(R | C) + H(S | D) bits
a note.

R is how far a note begins from its place on the finer grid, S how much longer it lasts there. H is
the conditional entropy, H(X | Y) = H(X, Y) - H(Y) (T. M. Cover and J. A. Thomas, "Elements of
Information Theory", 2nd edition 2006, section 2.2): what a fixed table needs that knows what is
given. C is the place of the note within its beat, how long that beat is, R of the note before and
whether both begin together, so that a chord says it once. D is the duration, the beat, R, and of
the note before S and whether both begin together. A network knows more than that and would need
fewer bits, so this is what it takes at most, but for the tables themselves: they are counted in the
pieces that they describe and cost nothing, which flatters by some hundredths of a bit.

Knows no network.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from miditok import REMI
from symusic.core import ScoreTick

from benchmarks.matching import Floats, Ints, Notes, match, notes_of
from musiclstm import analysis
from musiclstm.tokenization import POSITIONS_PER_BEAT, TOKENIZER_FILE, MusicTokenizer

GRIDS = (4, 8, POSITIONS_PER_BEAT, 24)  # positions a beat
FINEST = max(GRIDS)
STEPS_PER_QUARTER = 4 * FINEST  # in which all grids can be said, where a sixteenth is the beat too


def tokenizer_with(positions: int) -> MusicTokenizer:
    """Ours without merges, but with so many positions a beat; ours keeps the grid it has."""
    with TemporaryDirectory() as folder:
        MusicTokenizer().save(folder)
        config = copy.deepcopy(REMI(params=Path(folder) / TOKENIZER_FILE).config)
    config.beat_res = {(0, 4): positions, (4, 12): min(positions, 4), (12, 32): 1}
    return MusicTokenizer(REMI(config))


@dataclass(frozen=True)
class Page:
    """A piece as one grid writes it.

    Attributes:
        base_ids: Its tokens, (tokens,).
        source: Its notes as they were.
        notes: As they are read back.
        partner: For each note of the source which of `notes` it became; -1: none.
        place: Of `notes`, where in its beat each begins, in steps of 1 / STEPS_PER_QUARTER.
        beat: Of `notes`, how long that beat is, in the same steps.
        tempo_bpm: Quarter notes a minute where the piece begins.
    """

    base_ids: Ints
    source: Notes
    notes: Notes
    partner: Ints
    place: Ints
    beat: Ints
    tempo_bpm: float


def write(score: ScoreTick, tokenizer: MusicTokenizer) -> Page:
    """Write a score on the grid of a tokenizer, and read it back.

    Raises:
        ScoreError: The score has no notes.
    """
    base_ids = tokenizer.encode_base(score)
    back = tokenizer.decode(base_ids)
    source, notes = notes_of(score), notes_of(back)
    place, beat = _places(back, _steps(notes.onset_quarters))
    return Page(
        base_ids=np.array(base_ids),
        source=source,
        notes=notes,
        partner=match(source, notes),
        place=place,
        beat=beat,
        tempo_bpm=analysis.tempo_at(score, 0),
    )


def _steps(quarters: Floats) -> Ints:
    return np.rint(quarters * STEPS_PER_QUARTER).astype(np.int64)


def _places(back: ScoreTick, onsets: Ints) -> tuple[Ints, Ints]:
    """Where in its beat each onset lies, and how long that beat is, all in steps."""
    ticks = analysis.bar_starts(back)
    lines = _steps(ticks / back.ticks_per_quarter)
    meters = analysis.meters_at(back, ticks.tolist())
    beats = np.array([4 * STEPS_PER_QUARTER // denominator for _, denominator in meters])
    bar = np.searchsorted(lines, onsets, side="right") - 1
    return (onsets - lines[bar]) % beats[bar], beats[bar]


def kept(pages: Sequence[Page]) -> dict[str, Any]:
    """How near the notes stay to where they were, of all pieces together."""
    moved, longer = (
        np.abs(np.concatenate([_changes(page, name) for page in pages]))
        for name in ("onset_quarters", "duration_quarters")
    )
    ms_a_quarter = np.repeat(
        [60_000 / page.tempo_bpm for page in pages],
        [int((page.partner >= 0).sum()) for page in pages],
    )
    notes = sum(len(page.source) for page in pages)
    return {
        "notes": notes,
        "lost": notes - len(moved),
        "onsets_exact": float((moved < 1e-6).mean()),
        "moved_quarters_mean": float(moved.mean()),
        "moved_quarters_p95": float(np.percentile(moved, 95)),
        "moved_quarters_p99": float(np.percentile(moved, 99)),
        "moved_ms_p99": float(np.percentile(moved * ms_a_quarter, 99)),
        "durations_exact": float((longer < 1e-6).mean()),
    }


def _changes(page: Page, name: str) -> Floats:
    """By how much an attribute of every kept note changed."""
    here = page.partner >= 0
    after: Floats = getattr(page.notes, name)[page.partner[here]]
    return after - getattr(page.source, name)[here]


# What it dropped ----------------------------------------------------------------------------------


def conditional_entropy(values: Ints, *given: Ints) -> float:
    """H(values | given) in bits, 0 or more: each is (n,), counted as it came."""
    rows = np.stack([values, *given], axis=1)
    return max(0.0, _entropy(rows) - _entropy(rows[:, 1:]))


def _entropy(rows: Ints) -> float:
    _, counts = np.unique(rows, axis=0, return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def residue_bits(coarse: Sequence[Page], fine: Sequence[Page]) -> dict[str, float]:
    """Bits a note to say where it begins and how long it lasts on a finer grid.

    Both hold the same pieces in the same order. The module says what the entropies are given.
    """
    residues = [_residues(*pair) for pair in zip(coarse, fine, strict=True)]
    all_of = {name: np.concatenate([each[name] for each in residues]) for name in residues[0]}

    def bits(name: str, *given: str) -> float:
        return conditional_entropy(all_of[name], *(all_of[each] for each in given))

    return {
        "onset_bits": bits("onset", "place", "beat", "together", "onset before"),
        "duration_bits": bits("longer", "lasts", "beat", "onset", "together", "longer before"),
    }


def _residues(coarse: Page, fine: Page) -> dict[str, Ints]:
    """What entropies are made of, in steps, for the notes that both grids keep, in their order."""
    both = (coarse.partner >= 0) & (fine.partner >= 0)
    ours, theirs = coarse.partner[both], fine.partner[both]
    order = np.argsort(ours)
    ours, theirs = ours[order], theirs[order]
    begins, lasts, begins_there, lasts_there = (
        _steps(column)
        for notes, which in ((coarse.notes, ours), (fine.notes, theirs))
        for column in (notes.onset_quarters[which], notes.duration_quarters[which])
    )
    onset, longer = begins_there - begins, lasts_there - lasts
    return {
        "onset": onset,
        "onset before": _one_later(onset),
        "longer": longer,
        "longer before": _one_later(longer),
        "together": (np.diff(begins, prepend=-1) == 0).astype(np.int64),
        "place": coarse.place[ours],
        "beat": coarse.beat[ours],
        "lasts": lasts,
    }


def _one_later(values: Ints) -> Ints:
    return np.concatenate([np.zeros(1, np.int64), values])[:-1]
