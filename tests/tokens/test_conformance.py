"""The encoder writes what MidiTok writes, in another order, and MidiTok's decoder reads it."""

from __future__ import annotations

import random
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given, settings
from symusic.core import ScoreTick, TempoTick, TimeSignatureTick

import musiclstm
from musiclstm.tokens import MusicTokenizer
from tests.tokens import reference

PIECES = sorted((Path(musiclstm.__file__).parent / "examples").glob("*.mid"))
TOKENIZER = MusicTokenizer()
NAMES = TOKENIZER.token_names


def names_of(ids: list[int]) -> list[str]:
    return [NAMES[index] for index in ids]


def check_encoding(score: ScoreTick, order: list[list[int]] | None = None) -> None:
    chosen = order or TOKENIZER.part_order(score)
    expected = reference.miditok_stream(score, chosen, TOKENIZER.parts(score, chosen))
    assert names_of(TOKENIZER.encode(score, order=order)) == expected


def check_decoding(ids: list[int]) -> None:
    ours = TOKENIZER.decode(ids)
    theirs = reference.miditok_score(NAMES[index] for index in ids if 0 <= index < len(NAMES))
    assert ours.ticks_per_quarter == theirs.ticks_per_quarter
    assert reference.notes_of(ours) == reference.notes_of(theirs)
    assert list(ours.time_signatures) == list(theirs.time_signatures)
    assert list(ours.tempos) == list(theirs.tempos)


def test_the_names_are_those_of_miditok_in_its_order() -> None:
    assert reference.miditok_names() == NAMES
    assert not any(name.startswith("Velocity") for name in NAMES)


def test_there_are_pieces_with_several_parts() -> None:
    parts = [TOKENIZER.parts(ScoreTick.from_midi(path.read_bytes())) for path in PIECES]
    assert sum(len(each) > 2 for each in parts) >= 2


@pytest.mark.parametrize("path", PIECES, ids=lambda path: path.stem)
def test_a_real_piece_is_encoded_as_by_miditok(path: Path) -> None:
    score = ScoreTick.from_midi(path.read_bytes())
    check_encoding(score)
    order = TOKENIZER.part_order(score)
    random.Random(0).shuffle(order)
    check_encoding(score, order)
    check_encoding(score, TOKENIZER.part_order(score, merge_tracks=True))


@pytest.mark.parametrize("path", PIECES, ids=lambda path: path.stem)
def test_miditok_decodes_a_real_piece_to_the_same_notes(path: Path) -> None:
    check_decoding(TOKENIZER.encode(ScoreTick.from_midi(path.read_bytes())))


@settings(max_examples=80)
@given(reference.scores(), st.randoms(use_true_random=False))
def test_any_score_is_encoded_as_by_miditok_in_any_order(score, rng) -> None:
    assume(not reference.has_longer_bars(score))
    assume(not reference.meets_a_slip_of_miditok(score))
    check_encoding(score)
    order = TOKENIZER.part_order(score)
    rng.shuffle(order)
    check_encoding(score, order)


@settings(max_examples=80)
@given(reference.scores())
def test_merged_tracks_are_encoded_as_miditok_merges_them(score) -> None:
    assume(not reference.has_longer_bars(score))
    assume(not reference.meets_a_slip_of_miditok(score))
    order = TOKENIZER.part_order(score, merge_tracks=True)
    assert TOKENIZER.encode(score, merge_tracks=True) == TOKENIZER.encode(score, order=order)
    check_encoding(score, order)


@settings(max_examples=80)
@given(reference.scores())
def test_what_is_decoded_is_encoded_to_the_same_ids(score) -> None:
    assume(not reference.has_longer_bars(score))
    ids = TOKENIZER.encode(score)
    check_decoding(ids)
    assert TOKENIZER.encode(TOKENIZER.decode(ids)) == ids


@settings(max_examples=80)
@given(st.lists(st.integers(-2, len(NAMES) + 1), max_size=80))
def test_any_ids_decode_as_by_miditok(ids) -> None:
    check_decoding(ids)


WEIGHTS = {"Bar": 30, "Program": 1, "Pitch": 2, "Duration": 3, "Position": 1, "TimeSig": 2}


def test_ids_that_look_like_music_decode_as_by_miditok() -> None:
    weights = np.array([WEIGHTS.get(name.split("_")[0], 0.5) for name in NAMES])
    programs = [TOKENIZER.ids[name] for name in ("Program_0", "Program_40", "Program_-1")]
    weights[programs] = 30
    rng = np.random.default_rng(0)
    for _ in range(300):
        check_decoding(rng.choice(len(NAMES), 100, p=weights / weights.sum()).tolist())


def test_a_dropped_finer_meter_does_not_change_the_rounding() -> None:
    # MidiTok takes its grid of 48 ticks from 3/16, drops 3/16, and rounds down from then on.
    score = reference.piece(reference.single([(35, 480, 60), (480 + 77, 240, 62)]))
    expected = names_of(TOKENIZER.encode(score))
    late = score.copy()
    for meter in ((3, 16), (4, 4)):
        late.time_signatures.append(TimeSignatureTick(10, *meter))
    assert names_of(TOKENIZER.encode(late)) == expected


def test_a_default_tempo_that_comes_late_counts_from_the_beginning() -> None:
    score = reference.piece(reference.single([(0, 960, 60)]))
    score.tempos.append(TempoTick(480, 122.99))
    tempos = [name for name in names_of(TOKENIZER.encode(score)) if name.startswith("Tempo")]
    assert tempos == ["Tempo_122.99"]
