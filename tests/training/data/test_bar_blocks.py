"""Pieces as bars of blocks."""

import numpy as np
import pytest

from training.data.bar_blocks import PartId, PieceBlocks


@pytest.fixture
def quartet(vocabulary):
    """Two violins, a cello and drums; the first violin rests in bar 2."""
    v = vocabulary
    first = v.bar(
        v.block(40, (0, 76), (12, 77)),
        v.block(40, (0, 67)),
        v.block(42, (0, 48)),
        v.block(-1, (0, 36), (24, 38)),
    )
    rest = [v.id_of["Program_40"]]
    second = v.bar(rest, v.block(40, (0, 65)), v.block(42, (0, 50)))
    return np.array([*first, *second])


def test_splitting_a_piece_and_joining_it_changes_nothing(vocabulary, quartet):
    piece = PieceBlocks.from_ids(quartet, vocabulary.table)
    assert piece.to_ids(vocabulary.table).tolist() == quartet.tolist()


def test_the_second_block_of_a_program_is_its_second_track(vocabulary, quartet):
    piece = PieceBlocks.from_ids(quartet, vocabulary.table)
    assert piece.order == [PartId(40, 0), PartId(40, 1), PartId(42, 0), PartId(-1, 0)]
    assert not piece.bars[1].blocks[PartId(40, 0)]
    assert piece.bars[1].blocks[PartId(40, 1)] == vocabulary.block(40, (0, 65))[1:]


def test_a_resting_last_track_has_no_block(vocabulary, quartet):
    piece = PieceBlocks.from_ids(quartet, vocabulary.table)
    order = [PartId(42, 0), PartId(40, 1), PartId(40, 0), PartId(-1, 0)]
    bar = vocabulary.bar(vocabulary.block(42, (0, 50)), vocabulary.block(40, (0, 65)))
    assert piece.to_ids(vocabulary.table, order).tolist()[-len(bar) :] == bar


def test_merged_tracks_keep_all_notes_and_the_longer_of_equal_ones(vocabulary, quartet):
    v = vocabulary
    merged = PieceBlocks.from_ids(quartet, v.table).with_merged_tracks(v.table)
    assert merged.bars[0].blocks[PartId(40, 0)] == v.block(40, (0, 67), (0, 76), (12, 77))[1:]
    short = v.ids("Program_0", "Position_0", "Pitch_60", "Duration_0.6.12")
    piece = PieceBlocks.from_ids(v.bar(short, v.block(0, (0, 60))), v.table)
    merged = piece.with_merged_tracks(v.table)
    assert merged.bars[0].blocks[PartId(0, 0)] == v.block(0, (0, 60))[1:]
