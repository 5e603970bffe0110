"""Endless training batches of random pieces."""

from dataclasses import replace

import numpy as np
import pytest

from musiclstm.errors import CorpusError
from training.data.augmentation import IGNORED, Augmentation, AugmentationSettings
from training.data.splits import SPLITS
from training.pretraining.corpora import EncodedCorpora
from training.pretraining.streams import PieceStreams

BOS, EOS, PAD = 1, 2, 0
NOTHING = AugmentationSettings(
    transpose=0, band=0, merge_tracks=0, random_order=0, drop_parts=0, noisy_pieces=0
)


@pytest.fixture
def pieces(vocabulary):
    """Three pieces with one pitch each; the last belongs to another corpus."""
    v = vocabulary
    all_ids = [v.bar(v.block(0, (0, pitch))) * bars for pitch, bars in ((60, 10), (62, 3), (64, 5))]
    offsets = np.cumsum([0, *map(len, all_ids)])
    ids = np.array([t for own in all_ids for t in own], np.uint16)
    return EncodedCorpora(
        ids, offsets, np.array([0, 0, 1]), np.zeros(3, int), ["a", "b"], list(v.names), "0123"
    )


def streams(vocabulary, pieces, **changes):
    augmentation = Augmentation(vocabulary.table, BOS, EOS, NOTHING)
    options = {"rows": 1, "steps": 16, "pad_id": PAD, "join": 0.0, "weights": [1.0, 1.0]}
    return PieceStreams(
        pieces, augmentation=augmentation, bar_id=vocabulary.table.bar, **options | changes
    )


def test_consecutive_windows_of_a_row_are_whole_pieces(vocabulary, pieces):
    source = streams(vocabulary, pieces)
    read: list[list[int]] = []
    for _ in range(60):
        batch = source.next()
        if batch.reset[0]:
            read.append([])
        real = batch.labels[0] != IGNORED
        read[-1] += batch.labels[0][real].tolist()
    whole = {(*pieces.piece(i).tolist(), EOS) for i in range(3)}
    assert {tuple(each) for each in read[:-1]} == whole


def test_labels_are_the_inputs_one_step_later(vocabulary, pieces):
    batch = streams(vocabulary, pieces, rows=2).next()
    assert batch.inputs[0, 0] == BOS
    assert (batch.inputs[:, 1:] == batch.labels[:, :-1]).all()


def test_the_same_seed_gives_the_same_batches(vocabulary, pieces):
    first, second = (streams(vocabulary, pieces, rows=2, seed=7) for _ in range(2))
    for _ in range(20):
        for one, other in zip(first.next(), second.next(), strict=True):
            assert (one == other).all()


def test_long_pieces_are_cut_at_bar_lines(vocabulary, pieces):
    source = streams(vocabulary, pieces, max_tokens=20)
    for _ in range(40):
        batch = source.next()
        if batch.reset[0]:
            assert batch.inputs[0, 1] == vocabulary.table.bar


@pytest.mark.parametrize(
    ("split", "weights", "pitch"),
    [("valid", [1.0, 1.0], 62), ("test", [1.0, 1.0], 62), ("train", [1.0, 0.0], 64)],
)
def test_held_out_pieces_and_corpora_of_weight_0_are_never_read(
    vocabulary, pieces, split, weights, pitch
):
    corpora = replace(pieces, split=np.array([0, SPLITS.index(split), 0]))
    source = streams(vocabulary, corpora, steps=400, join=1.0, weights=weights)
    for _ in range(40):
        assert vocabulary.id_of[f"Pitch_{pitch}"] not in source.next().inputs


def test_a_corpus_without_training_pieces_is_refused(vocabulary, pieces):
    with pytest.raises(CorpusError, match="prepare another one beside a, b"):
        streams(vocabulary, pieces, weights=[0.0, 0.0])


def test_joined_pieces_belong_to_one_corpus_and_are_read_without_a_reset(vocabulary, pieces):
    source = streams(vocabulary, pieces, steps=400, join=1.0)
    v = vocabulary
    for _ in range(10):
        batch = source.next()
        assert batch.reset[0]
        assert (batch.inputs[0] == EOS).sum() == 1
        pitches = {v.names[t] for t in batch.inputs[0] if v.names[t].startswith("Pitch_")}
        assert pitches <= {"Pitch_60", "Pitch_62"} or pitches == {"Pitch_64"}
        assert batch.labels[0][batch.inputs[0] == EOS] == IGNORED
