"""Windows follow each other in their row, and say where a piece begins."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from musiclstm.model.step_features import TokenTable
from musiclstm.tokens import MusicTokenizer
from training.data.corpus import read_corpus
from training.data.dataset import IGNORED, StatefulWindowDataset
from training.pretraining.augmentation import Augmentation, AugmentationSettings, Stream


class PlainTokenizer:
    """Ids are what they are."""

    pad_id, bos_id, eos_id = 0, 1, 2


class Unchanged:
    """An augmentation that only shuffles."""

    def apply(self, ids, rng):
        tokens = np.array([1, *ids, 2])
        return Stream(tokens[:-1], tokens[1:])


def make(lengths, *, lanes=2, steps=4, **kwargs):
    pieces = [np.arange(10, 10 + n) + 100 * i for i, n in enumerate(lengths)]
    windows = StatefulWindowDataset(
        pieces, PlainTokenizer(), lanes=lanes, batch_size=lanes, steps=steps, **kwargs
    )
    return pieces, windows


def streams(windows, lanes):
    """What each row of the batches reads, piece by piece."""
    found = []
    for lane in range(lanes):
        for index in range(lane, len(windows), lanes):
            item = windows[index]
            real = item["labels"] != IGNORED
            if bool(item["reset"]):
                found.append(([], []))
            found[-1][0].extend(item["input_ids"][real].tolist())
            found[-1][1].extend(item["labels"][real].tolist())
    return found


def test_one_lane_reads_every_piece_from_its_begin_to_its_end():
    pieces, windows = make([7, 3, 12], lanes=1)
    read = streams(windows, 1)
    for piece, (inputs, labels) in zip(pieces, read, strict=True):
        assert inputs == [1, *piece.tolist()]
        assert labels == [*piece.tolist(), 2]


def test_labels_are_the_next_tokens_across_the_edge_of_a_window():
    _, windows = make([7], lanes=1)
    first, second = windows[0], windows[1]
    assert first["labels"][-1] == second["input_ids"][0]
    assert not bool(second["reset"])


def test_every_token_is_predicted_once_whatever_the_lanes():
    pieces, windows = make([7, 3, 12, 5, 9], lanes=3)
    read = [label for _, labels in streams(windows, 3) for label in labels]
    wanted = [token for piece in pieces for token in [*piece.tolist(), 2]]
    assert sorted(read) == sorted(wanted)
    assert windows.tokens == len(wanted)


def test_rows_of_one_accumulated_batch_have_their_own_slot():
    pieces = [np.arange(10, 40)]
    windows = StatefulWindowDataset(pieces, PlainTokenizer(), lanes=4, batch_size=2, steps=4)
    assert [int(windows[i]["slot"]) for i in range(8)] == [0, 0, 1, 1, 0, 0, 1, 1]


def test_the_same_epoch_gives_the_same_windows_and_another_one_others(scales_pieces):
    pieces, tokenizer = scales_pieces
    kwargs = {"lanes": 2, "batch_size": 2, "steps": 16, "augmentation": augmentation()}
    a, b = (StatefulWindowDataset(pieces, tokenizer, seed=3, **kwargs) for _ in range(2))
    a.set_epoch(1)
    b.set_epoch(1)
    assert all((a[i]["input_ids"] == b[i]["input_ids"]).all() for i in range(len(a)))
    b.set_epoch(2)
    assert len(a) == len(b)
    assert any((a[i]["input_ids"] != b[i]["input_ids"]).any() for i in range(len(a)))


def augmentation(**settings):
    tokenizer = MusicTokenizer()
    table = TokenTable(tokenizer.token_names)
    chosen = AugmentationSettings(**settings)
    return Augmentation(table, tokenizer.bos_id, tokenizer.eos_id, chosen)


@pytest.fixture
def scales_pieces(scales):
    return read_corpus([scales], workers=1).tokens("train"), MusicTokenizer()


def test_labels_that_do_not_count_are_neither_counted_nor_shown(scales_pieces):
    pieces, tokenizer = scales_pieces
    kwargs = {"lanes": 1, "batch_size": 1, "steps": 16}
    changes = {"transpose": 0, "merge_tracks": 0, "random_order": 0, "noisy_pieces": 0}
    # With two parts in every third piece, some of them lose one for some bars.
    changed = augmentation(drop_parts=1, **changes)
    windows = StatefulWindowDataset(pieces, tokenizer, augmentation=changed, **kwargs)
    rng, shown = np.random.default_rng([0, 0]), []
    for i in rng.permutation(len(pieces)):
        shown.append(changed.apply(pieces[i], rng).labels)
    found = torch.cat([windows[i]["labels"] for i in range(len(windows))]).tolist()
    places = np.cumsum([0, *(16 * -(-len(labels) // 16) for labels in shown)])
    for at, labels in zip(places, shown, strict=False):
        assert found[at : at + len(labels)] == labels[: len(found) - at].tolist()
    uncounted = sum((labels == IGNORED).sum() for labels in shown)
    assert uncounted > 0
    assert windows.tokens == sum(label != IGNORED for label in found)


def test_a_weight_says_how_often_an_epoch_shows_a_piece():
    pieces = [np.full(7, value) for value in (3, 4, 5, 6)]
    windows = StatefulWindowDataset(
        pieces, PlainTokenizer(), lanes=2, batch_size=2, steps=4, weights=[2.0, 1.0, 0.5, 0.5]
    )
    seen = []
    for epoch in range(2):
        windows.set_epoch(epoch)
        rows = torch.stack([windows[i]["input_ids"] for i in range(len(windows))])
        seen.append([int((rows == value).sum()) // 7 for value in (3, 4, 5, 6)])
    assert [sum(times) for times in zip(*seen, strict=True)] == [4, 2, 1, 1]
    assert all(sum(times) == 4 for times in seen)


@pytest.mark.parametrize("weight", [0.05, 0.1, 0.7, 1.0])
def test_there_is_something_to_learn_in_every_window_of_every_epoch(weight):
    pieces = [np.full(20, 50) for _ in range(9)]
    kwargs = {"lanes": 1, "batch_size": 1, "steps": 4, "weights": [weight] * 9}
    windows = StatefulWindowDataset(pieces, PlainTokenizer(), augmentation=Shrinking(), **kwargs)
    for epoch in range(12):
        windows.set_epoch(epoch)
        assert all((windows[i]["labels"] != IGNORED).any() for i in range(len(windows)))


class Shrinking(Unchanged):
    """Pieces lose their end, as a piece that loses a part gets shorter."""

    def apply(self, ids, rng):
        return super().apply(ids[:-9], rng)


def test_large_corpora_lie_on_the_disk_and_give_the_same_windows(monkeypatch):
    lengths = [7, 3, 12, 5, 9]
    _, small = make(lengths, augmentation=Unchanged())
    monkeypatch.setattr("training.data.dataset._MOST_BYTES", 0)
    _, large = make(lengths, augmentation=Unchanged())
    for epoch in (0, 1):
        small.set_epoch(epoch)
        large.set_epoch(epoch)
        for i in range(len(small)):
            assert all(torch.equal(small[i][key], large[i][key]) for key in small[i])
    assert isinstance(large._rows, np.memmap)


def test_no_pieces_are_no_windows():
    _, windows = make([])
    assert len(windows) == windows.tokens == windows.updates == 0
