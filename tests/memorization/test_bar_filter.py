"""Bars that complete a copied passage of too many notes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from musiclstm.memorization import CopyFilter, MemorizationIndex, TokenReader


def bars_of(tokenizer, score):
    """Token ids of each bar with notes."""
    ids = tokenizer.encode(score)
    starts = [at for at, token in enumerate(ids) if token == tokenizer.ids["Bar_None"]]
    return [ids[a:b] for a, b in pairwise([*starts, len(ids)])][:12]


@pytest.fixture(scope="module")
def reader(tiny_tokenizer):
    return TokenReader(tiny_tokenizer)


@pytest.fixture(scope="module")
def songs(tiny_tokenizer, invented):
    """Two songs as bars, in two meters."""
    made = (
        invented(bars=12, programs=(0, 40, -1), meter=meter, seed=seed)
        for seed, meter in ((1, (4, 4)), (2, (3, 4)))
    )
    return [bars_of(tiny_tokenizer, score) for score in made]


@pytest.fixture(scope="module")
def song_index(reader, songs):
    pieces = [(f"{n}", reader.read(np.concatenate(bars))) for n, bars in enumerate(songs)]
    return MemorizationIndex.build(pieces[:1], [])


def test_a_copy_is_measured_bar_by_bar(song_index, reader, songs):
    state, found = CopyFilter(song_index, reader, 1_000), []
    for number, bar in enumerate(songs[0]):
        found.append(state.longest(bar))
        state = state.after(bar)
        so_far = reader.read(np.concatenate(songs[0][: number + 1]))
        most = max(int((so_far.program == program).sum()) for program in (0, 40))
        assert found[-1] == (most if most >= 24 else 0)
    assert found[0] == 0
    assert found[-1] > 100
    assert state.longest(songs[0][0][:2]) == 0  # a bar without notes


def test_a_bar_that_completes_a_copy_is_longer_than_the_limit(song_index, reader, songs):
    state = CopyFilter(song_index, reader, 24)
    copied, other = songs
    assert state.longest(copied[0]) <= 24
    state = state.after(other[0]).after(copied[3])
    assert state.longest(copied[4]) > 24
    assert state.longest(other[4]) <= 24
    # Another bar in its place, and the copy begins again.
    assert state.after(other[4]).longest(copied[5]) <= 24


def test_a_filter_keeps_no_more_notes_than_it_needs(song_index, reader, songs):
    state = CopyFilter(song_index, reader, 30)
    for bar in songs[0] * 3:
        state = state.after(bar)
    assert len(state.before) == 2 * 30
    assert state.before.onset.max() < 0


@pytest.mark.parametrize("limit", [23, 0, 24.5, "30"])
def test_a_limit_below_24_is_refused(song_index, reader, limit):
    with pytest.raises(ValueError, match="whole number from 24 on"):
        CopyFilter(song_index, reader, limit)
