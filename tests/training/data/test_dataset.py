"""Windows that continue each other in their batch row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musiclstm.model.step_features import TokenTable
from musiclstm.tokens import MusicTokenizer
from training.data.augmentation import Augmentation, AugmentationSettings, Stream
from training.data.corpus import read_corpus
from training.data.dataset import IGNORED, StatefulWindowDataset, times_seen

WEIGHTS = st.floats(0.01, 20)


class PlainTokenizer:
    """Special tokens alone."""

    pad_id, bos_id, eos_id = 0, 1, 2


class Unchanged:
    """An augmentation that only shuffles."""

    def apply(self, ids, rng):
        tokens = np.array([1, *ids, 2])
        return Stream(tokens[:-1], tokens[1:])


class Shortened(Unchanged):
    """Pieces lose their end, as a piece that loses a part gets shorter."""

    def apply(self, ids, rng):
        return super().apply(ids[:-9], rng)


def make(lengths, *, rows=2, steps=4, **kwargs):
    pieces = [np.arange(10, 10 + n) + 100 * i for i, n in enumerate(lengths)]
    windows = StatefulWindowDataset(
        pieces, PlainTokenizer(), rows=rows, batch_size=rows, steps=steps, **kwargs
    )
    return pieces, windows


def streams(windows, rows):
    """Inputs and labels of each piece, collected along the batch rows."""
    found = []
    for row in range(rows):
        for index in range(row, len(windows), rows):
            item = windows[index]
            real = item["labels"] != IGNORED
            if bool(item["reset"]):
                found.append(([], []))
            found[-1][0].extend(item["input_ids"][real].tolist())
            found[-1][1].extend(item["labels"][real].tolist())
    return found


def test_one_row_contains_every_piece_from_beginning_to_end():
    pieces, windows = make([7, 3, 12], rows=1)
    for piece, (inputs, labels) in zip(pieces, streams(windows, 1), strict=True):
        assert inputs == [1, *piece.tolist()]
        assert labels == [*piece.tolist(), 2]


def test_labels_are_the_next_tokens_across_the_edge_of_a_window():
    _, windows = make([7], rows=1)
    first, second = windows[0], windows[1]
    assert first["labels"][-1] == second["input_ids"][0]
    assert not bool(second["reset"])


def test_every_token_is_predicted_once_for_any_number_of_rows():
    pieces, windows = make([7, 3, 12, 5, 9], rows=3)
    labels = [label for _, labels in streams(windows, 3) for label in labels]
    expected = [token for piece in pieces for token in [*piece.tolist(), 2]]
    assert sorted(labels) == sorted(expected)
    assert windows.tokens == len(expected)


def test_rows_of_each_accumulated_batch_have_their_own_slot():
    pieces = [np.arange(10, 40)]
    windows = StatefulWindowDataset(pieces, PlainTokenizer(), rows=4, batch_size=2, steps=4)
    assert [int(windows[i]["slot"]) for i in range(8)] == [0, 0, 1, 1, 0, 0, 1, 1]


@pytest.fixture
def scales_pieces(scales):
    return read_corpus([scales], workers=1).tokens("train"), MusicTokenizer()


def augmentation(**changes):
    tokenizer = MusicTokenizer()
    table = TokenTable(tokenizer.token_names)
    chosen = AugmentationSettings(**changes)
    return Augmentation(table, tokenizer.bos_id, tokenizer.eos_id, chosen)


def test_the_same_epoch_gives_the_same_windows_and_another_one_others(scales_pieces):
    pieces, tokenizer = scales_pieces
    kwargs = {"rows": 2, "batch_size": 2, "steps": 16, "augmentation": augmentation()}
    a, b = (StatefulWindowDataset(pieces, tokenizer, seed=3, **kwargs) for _ in range(2))
    a.set_epoch(1)
    b.set_epoch(1)
    assert all((a[i]["input_ids"] == b[i]["input_ids"]).all() for i in range(len(a)))
    b.set_epoch(2)
    assert len(a) == len(b)
    assert any((a[i]["input_ids"] != b[i]["input_ids"]).any() for i in range(len(a)))


def test_ignored_labels_of_the_augmentation_stay_ignored(scales_pieces):
    pieces, tokenizer = scales_pieces
    others = {"transpose": 0, "merge_tracks": 0, "random_order": 0, "noisy_pieces": 0}
    dropping = augmentation(drop_parts=1, **others)  # every third piece has two parts
    windows = StatefulWindowDataset(
        pieces, tokenizer, augmentation=dropping, rows=1, batch_size=1, steps=16
    )
    rng = np.random.default_rng([0, 0])
    shown = [dropping.apply(pieces[i], rng).labels for i in rng.permutation(len(pieces))]
    found = torch.cat([windows[i]["labels"] for i in range(len(windows))]).tolist()
    starts = np.cumsum([0, *(16 * -(-len(labels) // 16) for labels in shown)])
    for start, labels in zip(starts, shown, strict=False):
        assert found[start : start + len(labels)] == labels[: len(found) - start].tolist()
    assert sum((labels == IGNORED).sum() for labels in shown) > 0
    assert windows.tokens == sum(label != IGNORED for label in found)


def test_an_epoch_shows_each_piece_as_often_as_its_weight():
    pieces = [np.full(7, value) for value in (3, 4, 5, 6)]
    windows = StatefulWindowDataset(
        pieces, PlainTokenizer(), rows=2, batch_size=2, steps=4, weights=[2.0, 1.0, 0.5, 0.5]
    )
    seen = []
    for epoch in range(2):
        windows.set_epoch(epoch)
        inputs = torch.stack([windows[i]["input_ids"] for i in range(len(windows))])
        seen.append([int((inputs == value).sum()) // 7 for value in (3, 4, 5, 6)])
    assert [sum(times) for times in zip(*seen, strict=True)] == [4, 2, 1, 1]
    assert all(sum(times) == 4 for times in seen)


@pytest.mark.parametrize("weight", [0.05, 0.7, 1.0])
def test_every_window_has_labels_even_if_pieces_get_shorter(weight):
    pieces = [np.full(20, 50) for _ in range(9)]
    kwargs = {"rows": 1, "batch_size": 1, "steps": 4, "weights": [weight] * 9}
    windows = StatefulWindowDataset(pieces, PlainTokenizer(), augmentation=Shortened(), **kwargs)
    for epoch in range(12):
        windows.set_epoch(epoch)
        assert all((windows[i]["labels"] != IGNORED).any() for i in range(len(windows)))


def test_a_large_corpus_is_mapped_from_a_file_with_the_same_windows(monkeypatch):
    lengths = [7, 3, 12, 5, 9]
    _, small = make(lengths, augmentation=Unchanged())
    monkeypatch.setattr("training.data.dataset._MAX_MEMORY_BYTES", 0)
    _, large = make(lengths, augmentation=Unchanged())
    for epoch in (0, 1):
        small.set_epoch(epoch)
        large.set_epoch(epoch)
        for i in range(len(small)):
            assert all(torch.equal(small[i][key], large[i][key]) for key in small[i])
    assert isinstance(large._windows, np.memmap)


def test_without_pieces_there_are_no_windows():
    _, windows = make([])
    assert len(windows) == windows.tokens == windows.updates == 0


# Weights.


@settings(max_examples=40)
@given(st.integers(1, 20), WEIGHTS, st.integers(1, 30))
def test_pieces_of_one_weight_are_seen_equally_often(pieces, weight, epochs):
    weight = max(weight, 1.001 / pieces)  # with less, an epoch could be empty
    times = [times_seen([weight] * pieces, epoch) for epoch in range(epochs)]
    for own in times:
        assert abs(own.sum() - pieces * weight) <= 1 + 1e-6
        assert own.max() - own.min() <= 1
    seen = sum(times)
    assert seen.max() - seen.min() <= 1
    assert np.abs(seen - epochs * weight).max() <= 1 + 1e-6


def test_whole_weights_are_exact_and_the_seed_orders_the_others():
    assert times_seen([2.0, 1.0, 3.0, 2.0], epoch=3).tolist() == [2, 1, 3, 2]
    assert len({tuple(times_seen([0.5] * 10, epoch=0, seed=seed)) for seed in range(5)}) > 1


def test_an_epoch_shows_at_least_one_piece():
    assert all(times_seen([0.01, 0.02], epoch).sum() >= 1 for epoch in range(40))
    assert times_seen([], epoch=0).tolist() == []
