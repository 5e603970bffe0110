import numpy as np
import pytest

from musiclstm.model.step_features import TokenKind
from training.data.augmentation import IGNORED, Augmentation, AugmentationSettings
from training.data.bar_blocks import PartId, PieceBlocks

NOTHING = AugmentationSettings(
    transpose=0, band=0, merge_tracks=0, random_order=0, drop_parts=0, noisy_pieces=0
)
BOS, EOS = 1, 2


@pytest.fixture
def duet(vocabulary):
    v = vocabulary
    bars = [v.bar(v.block(73, (0, 72 + i), (24, 74)), v.block(42, (0, 48 + i))) for i in range(12)]
    return np.array([token for bar in bars for token in bar])


def augmented(vocabulary, ids, seed=0, **changes):
    settings = AugmentationSettings(**(vars(NOTHING) | changes))
    augmentation = Augmentation(vocabulary.table, BOS, EOS, settings)
    return augmentation.apply(ids, np.random.default_rng(seed))


def test_without_changes_labels_are_the_next_tokens(vocabulary, duet):
    stream = augmented(vocabulary, duet)
    assert stream.inputs.tolist() == [BOS, *duet]
    assert stream.labels.tolist() == [*duet, EOS]


def test_transposition_moves_all_pitches_alike(vocabulary, duet):
    table = vocabulary.table
    moves = set()
    for seed in range(30):
        stream = augmented(vocabulary, duet, seed, transpose=5)
        before, after = duet, stream.labels[:-1]
        pitch = np.array([table.kind[t] == TokenKind.PITCH for t in before])
        value = np.array(table.value)
        steps = set((value[after[pitch]] - value[before[pitch]]).tolist())
        assert len(steps) == 1
        assert (after[~pitch] == before[~pitch]).all()
        moves |= steps
    assert moves == set(range(-5, 6))


def test_transposition_stays_within_midi(vocabulary):
    v = vocabulary
    high = np.array(v.bar(v.block(0, (0, 126))))
    for seed in range(20):
        stream = augmented(v, high, seed, transpose=5)
        assert v.table.value[stream.inputs[5]] <= 127


def test_drums_are_not_transposed(vocabulary):
    v = vocabulary
    drums = np.array(v.bar(v.block(-1, (0, 36), (12, 38))))
    assert augmented(v, drums, 3, transpose=5).labels.tolist() == [*drums, EOS]


def test_noise_changes_what_is_read_and_not_what_is_predicted(vocabulary, duet):
    stream = augmented(vocabulary, duet, noisy_pieces=1, noisy_pitches=0.5)
    assert stream.labels.tolist() == [*duet, EOS]
    changed = stream.inputs[1:] != duet
    assert 0.2 < changed.sum() / 36 < 0.8
    assert all(vocabulary.table.kind[t] == TokenKind.PITCH for t in stream.inputs[1:][changed])


def test_where_a_dropped_part_is_missing_nothing_is_predicted(vocabulary, duet):
    v = vocabulary
    stream = augmented(v, duet, 1, drop_parts=1)
    piece = PieceBlocks.from_ids(stream.inputs[1:], v.table)
    lost = [
        (number, part)
        for number, bar in enumerate(piece.bars)
        for part in (PartId(73, 0), PartId(42, 0))
        if part not in bar.blocks
    ]
    assert lost
    uncounted = np.flatnonzero(stream.labels == IGNORED)
    assert len(uncounted) >= len({number for number, _ in lost})
    following = np.append(stream.inputs[1:], EOS)[uncounted]
    # What came in place of a missing flute is the cello or a bar, of a missing cello a bar.
    assert {v.names[t] for t in following} <= {"Program_42", "Bar_None", "EOS_None"}


def test_that_a_dropped_track_rests_before_another_of_its_program_is_not_predicted(vocabulary):
    v = vocabulary
    bars = [v.bar(v.block(40, (0, 76)), v.block(40, (0, 67))) for _ in range(12)]
    stream = augmented(v, np.array([t for bar in bars for t in bar]), 1, drop_parts=1)
    violin = v.id_of["Program_40"]
    empty = np.flatnonzero((stream.inputs[:-1] == violin) & (stream.inputs[1:] == violin))
    assert len(empty)
    assert (stream.labels[empty] == IGNORED).all()


def test_a_random_order_holds_for_all_bars(vocabulary, duet):
    orders = set()
    for seed in range(8):
        stream = augmented(vocabulary, duet, seed, random_order=1)
        programs = [t for t in stream.inputs if vocabulary.table.kind[t] == TokenKind.PROGRAM]
        assert programs == programs[:2] * 12
        orders.add(tuple(programs[:2]))
    assert len(orders) == 2
