import numpy as np
import pytest

from training.data.bar_blocks import BarBlocks, PartName


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
    resting = [v.id_of["Program_40"]]
    second = v.bar(resting, v.block(40, (0, 65)), v.block(42, (0, 50)))
    return np.array([*first, *second])


def test_a_piece_put_together_again_is_the_same(vocabulary, quartet):
    piece = BarBlocks.from_ids(quartet, vocabulary.table)
    assert piece.to_ids(vocabulary.table).tolist() == quartet.tolist()


def test_the_second_block_of_a_program_is_its_second_track(vocabulary, quartet):
    piece = BarBlocks.from_ids(quartet, vocabulary.table)
    assert piece.order == [PartName(40, 0), PartName(40, 1), PartName(42, 0), PartName(-1, 0)]
    assert not piece.bars[1].blocks[PartName(40, 0)]
    assert piece.bars[1].blocks[PartName(40, 1)] == vocabulary.block(40, (0, 65))[1:]


def test_a_resting_track_needs_no_block_when_it_comes_last(vocabulary, quartet):
    piece = BarBlocks.from_ids(quartet, vocabulary.table)
    order = [PartName(42, 0), PartName(40, 1), PartName(40, 0), PartName(-1, 0)]
    ids = piece.to_ids(vocabulary.table, order)
    bar_2 = vocabulary.bar(vocabulary.block(42, (0, 50)), vocabulary.block(40, (0, 65)))
    assert ids.tolist()[-len(bar_2) :] == bar_2


def test_merged_tracks_keep_all_notes_sorted_by_position_and_pitch(vocabulary, quartet):
    merged = BarBlocks.from_ids(quartet, vocabulary.table).with_merged_tracks(vocabulary.table)
    violins = merged.bars[0].blocks[PartName(40, 0)]
    assert violins == vocabulary.block(40, (0, 67), (0, 76), (12, 77))[1:]


def test_of_equal_notes_of_merged_tracks_the_longer_stays(vocabulary):
    v = vocabulary
    short = v.ids("Program_0", "Position_0", "Pitch_60", "Duration_0.6.12")
    piece = BarBlocks.from_ids(v.bar(short, v.block(0, (0, 60))), v.table)
    merged = piece.with_merged_tracks(v.table)
    assert merged.bars[0].blocks[PartName(0, 0)] == v.block(0, (0, 60))[1:]
