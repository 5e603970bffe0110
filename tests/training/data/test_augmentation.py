"""Random changes of training pieces."""

import numpy as np
import pytest

from musiclstm.model.step_features import DRUMS, TokenKind
from training.data.augmentation import IGNORED, Augmentation, AugmentationSettings
from training.data.band_arrangement import DrumGrooves, arrange_for_band
from training.data.bar_blocks import PartId, PieceBlocks

NOTHING = AugmentationSettings(
    transpose=0, band=0, merge_tracks=0, random_order=0, drop_parts=0, noisy_pieces=0
)
BOS, EOS = 1, 2
KICK, SNARE, TOM = 36, 38, 45


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


def test_all_pitches_are_transposed_by_the_same_interval(vocabulary, duet):
    table, value = vocabulary.table, np.array(vocabulary.table.value)
    is_pitch = np.array([table.kind[t] == TokenKind.PITCH for t in duet])
    intervals = set()
    for seed in range(30):
        after = augmented(vocabulary, duet, seed, transpose=5).labels[:-1]
        found = set((value[after[is_pitch]] - value[duet[is_pitch]]).tolist())
        assert len(found) == 1
        assert (after[~is_pitch] == duet[~is_pitch]).all()
        intervals |= found
    assert intervals == set(range(-5, 6))


def test_transposed_pitches_stay_within_midi_and_drums_stay(vocabulary):
    v = vocabulary
    high = np.array(v.bar(v.block(0, (0, 126))))
    for seed in range(20):
        assert v.table.value[augmented(v, high, seed, transpose=5).inputs[5]] <= 127
    drums = np.array(v.bar(v.block(-1, (0, KICK), (12, SNARE))))
    assert augmented(v, drums, 3, transpose=5).labels.tolist() == [*drums, EOS]


def test_noise_changes_inputs_but_not_labels(vocabulary, duet):
    stream = augmented(vocabulary, duet, noisy_pieces=1, noisy_pitches=0.5)
    assert stream.labels.tolist() == [*duet, EOS]
    changed = stream.inputs[1:] != duet
    assert 0.2 < changed.sum() / 36 < 0.8
    assert all(vocabulary.table.kind[t] == TokenKind.PITCH for t in stream.inputs[1:][changed])


def test_the_token_in_place_of_a_dropped_block_is_not_predicted(vocabulary, duet):
    v = vocabulary
    stream = augmented(v, duet, 1, drop_parts=1)
    piece = PieceBlocks.from_ids(stream.inputs[1:], v.table)
    dropped = [
        (number, part)
        for number, bar in enumerate(piece.bars)
        for part in (PartId(73, 0), PartId(42, 0))
        if part not in bar.blocks
    ]
    ignored = np.flatnonzero(stream.labels == IGNORED)
    assert len(ignored) >= len({number for number, _ in dropped}) > 0
    following = np.append(stream.inputs[1:], EOS)[ignored]
    assert {v.names[t] for t in following} <= {"Program_42", "Bar_None", "EOS_None"}


def test_the_token_after_an_empty_block_of_a_dropped_track_is_not_predicted(vocabulary):
    v = vocabulary
    bars = [v.bar(v.block(40, (0, 76)), v.block(40, (0, 67))) for _ in range(12)]
    stream = augmented(v, np.array([t for bar in bars for t in bar]), 1, drop_parts=1)
    violin = v.id_of["Program_40"]
    empty = np.flatnonzero((stream.inputs[:-1] == violin) & (stream.inputs[1:] == violin))
    assert len(empty)
    assert (stream.labels[empty] == IGNORED).all()


def test_a_random_order_is_the_same_in_all_bars(vocabulary, duet):
    orders = set()
    for seed in range(8):
        stream = augmented(vocabulary, duet, seed, random_order=1)
        programs = [t for t in stream.inputs if vocabulary.table.kind[t] == TokenKind.PROGRAM]
        assert programs == programs[:2] * 12
        orders.add(tuple(programs[:2]))
    assert len(orders) == 2


# Arrangement for a band.


def arranged(vocabulary, ids):
    v = vocabulary
    plain, fill = v.block(-1, (0, KICK), (12, SNARE)), v.block(-1, *((i, TOM) for i in range(6)))
    grooves = DrumGrooves([np.array([*v.bar(plain), *v.bar(plain), *v.bar(fill)])], v.table)
    piece = PieceBlocks.from_ids(np.array(ids), v.table)
    return arrange_for_band(piece, grooves, v.table, np.random.default_rng(0))


def test_a_piano_piece_becomes_lead_chords_bass_and_drums_with_fills(vocabulary):
    v = vocabulary
    band = arranged(v, v.bar(v.block(0, (0, 40), (0, 60), (0, 64), (0, 76))) * 16)
    assert len(band.order) == 4
    assert band.order[-1] == PartId(DRUMS, 0)
    assert 32 <= band.order[2].program <= 39
    lead, chords, bass, drums = (band.bars[0].blocks[part] for part in band.order)
    assert lead == v.block(0, (0, 76))[1:]
    assert chords == v.block(0, (0, 60), (0, 64))[1:]
    assert bass == v.block(0, (0, 40))[1:]
    assert drums
    fill = v.block(-1, *((i, TOM) for i in range(6)))[1:]
    assert band.bars[7].blocks[PartId(DRUMS, 0)] == fill


def test_pieces_in_another_meter_or_with_drums_are_not_arranged(vocabulary):
    v = vocabulary
    for bar in (
        v.bar(v.block(0, (0, 60)), meter="3/4"),
        v.bar(v.block(0, (0, 60)), v.block(-1, (0, KICK))),
    ):
        assert arranged(v, bar).to_ids(v.table).tolist() == bar
