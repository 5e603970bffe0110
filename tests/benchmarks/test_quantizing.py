"""What a grid keeps, and what it drops."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from symusic.core import NoteTick, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

from benchmarks.quantizing import (
    FINEST,
    GRIDS,
    STEPS_PER_QUARTER,
    conditional_entropy,
    kept,
    residue_bits,
    tokenizer_with,
    write,
)
from musiclstm.tokenization import POSITIONS_PER_BEAT, MusicTokenizer

SMALL = st.integers(0, 3)


@pytest.fixture(scope="module")
def tokenizers():
    return {positions: tokenizer_with(positions) for positions in GRIDS}


def piece(*notes, meter=(4, 4), tempo_bpm=120):
    """Notes (time, duration, pitch) of one piano at 480 ticks a quarter."""
    score = ScoreTick(480)
    score.tempos.append(TempoTick(0, tempo_bpm))
    score.time_signatures.append(TimeSignatureTick(0, *meter))
    track = TrackTick("", 0, False)
    for time, duration, pitch in notes:
        track.notes.append(NoteTick(time, duration, pitch, 79))
    score.tracks.append(track)
    return score


def test_our_own_grid_is_one_of_them_and_stays_as_it_is(tokenizers):
    assert tokenizers[POSITIONS_PER_BEAT].fingerprint == MusicTokenizer().fingerprint
    assert len({each.fingerprint for each in tokenizers.values()}) == len(GRIDS)


@pytest.mark.parametrize("positions", GRIDS)
def test_a_grid_has_so_many_positions_and_says_so_fine_durations(tokenizers, positions):
    tokenizer = tokenizers[positions]
    assert tokenizer.ticks_per_quarter == 4 * positions  # a sixteenth may be the beat
    assert f"Duration_0.1.{positions}" in tokenizer.base_tokens
    assert f"Position_{12 * positions - 1}" in tokenizer.base_tokens  # the last of a bar of 12/4


@pytest.mark.parametrize("positions", [POSITIONS_PER_BEAT, FINEST])
def test_sixteenths_and_triplets_stay_on_grids_that_have_both(tokenizers, positions, invented):
    score = invented(bars=6, programs=(0, 40), meter=(6, 8))
    figures = kept([write(score, tokenizers[positions])])
    assert figures["onsets_exact"] == figures["durations_exact"] == 1
    assert figures["lost"] == figures["moved_quarters_mean"] == figures["moved_quarters_p99"] == 0


def test_a_triplet_moves_where_beats_have_quarters(tokenizers):
    score = piece((0, 120, 60), (160, 120, 62), tempo_bpm=60)
    figures = kept([write(score, tokenizers[4])])
    assert figures["onsets_exact"] == 0.5
    assert figures["moved_quarters_mean"] == pytest.approx(1 / 24)  # one of two by a twelfth
    assert figures["moved_quarters_p95"] == pytest.approx(0.95 / 12)
    assert figures["moved_ms_p99"] == pytest.approx(0.99 * 1000 / 12)
    assert figures["durations_exact"] == 1


@pytest.mark.parametrize(("positions", "lost"), [(4, 1), (12, 0)])
def test_notes_closer_than_a_grid_become_one(tokenizers, positions, lost):
    score = piece((0, 40, 60), (40, 440, 60), (960, 480, 60))
    figures = kept([write(score, tokenizers[positions])])
    assert (figures["notes"], figures["lost"]) == (3, lost)


def test_places_are_counted_in_the_beats_of_the_meter(tokenizers):
    notes = [(time, 120, 60) for time in (0, 240, 360)]
    quarters = write(piece(*notes), tokenizers[8])
    eighths = write(piece(*notes, meter=(6, 8)), tokenizers[8])
    quarter = STEPS_PER_QUARTER
    assert quarters.place.tolist() == [0, quarter // 2, quarter // 4 * 3]
    assert set(quarters.beat) == {quarter}
    assert eighths.place.tolist() == [0, 0, quarter // 4]
    assert set(eighths.beat) == {quarter // 2}


# Bits ---------------------------------------------------------------------------------------------


def late(*, chords, seed=0):
    """A note or a chord in every quarter; chance makes it a twelfth of a quarter late."""
    rng = random.Random(seed)
    starts = [480 * beat + rng.choice((0, 40)) for beat in range(400)]
    return piece(*((start, 240, 60 + 2 * n) for start in starts for n in range(chords)))


def bits(score, positions, tokenizers):
    coarse, fine = (write(score, tokenizers[each]) for each in (positions, FINEST))
    return residue_bits([coarse], [fine])


def test_a_toss_of_a_coin_takes_a_bit_and_a_chord_says_it_once(tokenizers):
    one = bits(late(chords=1), 4, tokenizers)
    two = bits(late(chords=2), 4, tokenizers)
    assert one["onset_bits"] == pytest.approx(1, abs=0.05)
    assert two["onset_bits"] == pytest.approx(one["onset_bits"] / 2, abs=0.03)
    assert one["duration_bits"] == 0


def test_what_both_grids_say_alike_takes_nothing(tokenizers):
    assert bits(late(chords=1), 12, tokenizers) == {"onset_bits": 0, "duration_bits": 0}
    assert bits(late(chords=1), FINEST, tokenizers) == {"onset_bits": 0, "duration_bits": 0}


def test_durations_that_a_grid_joins_must_be_told_apart(tokenizers):
    rng = random.Random(1)
    score = piece(*((480 * beat, rng.choice((160, 120)), 60) for beat in range(400)))
    found = bits(score, 4, tokenizers)
    assert found["onset_bits"] == 0
    assert found["duration_bits"] == pytest.approx(1, abs=0.05)


def test_the_entropy_of_what_is_known_is_nothing():
    coin, day = np.array([0, 1, 0, 1]), np.array([5, 5, 7, 7])
    assert conditional_entropy(coin, day) == pytest.approx(1)
    assert conditional_entropy(coin, coin) == 0
    assert conditional_entropy(np.array([3, 3, 3]), np.array([0, 1, 2])) == 0
    three_to_one = 2 - 0.75 * np.log2(3)
    assert conditional_entropy(np.array([0, 0, 0, 1]), np.zeros(4)) == pytest.approx(three_to_one)


@given(st.lists(st.tuples(SMALL, SMALL, SMALL), min_size=1, max_size=40))
def test_who_knows_more_needs_no_more_bits(rows):
    values, one, other = np.array(rows).T
    nothing = conditional_entropy(values, np.zeros_like(values))
    some = conditional_entropy(values, one)
    assert 0 <= conditional_entropy(values, one, other) <= some + 1e-9
    assert some <= nothing + 1e-9 <= 2 + 2e-9
