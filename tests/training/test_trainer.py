"""The state is carried from window to window, forgotten where a piece begins, and saved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import TrainingArguments, set_seed

from musiclstm.configuration import MusicLSTMConfig
from musiclstm.modeling import MusicLSTMForCausalLM
from training.trainer import StatefulTrainer
from training.windows import Windows

STEPS = 8  # per window
KEYS, FILLER = (4, 5, 6, 7), 3


class PlainTokenizer:
    """Ids are what they are."""

    pad_id, bos_id, eos_id = 0, 1, 2

    def compress_many(self, pieces):
        return [list(map(int, piece)) for piece in pieces]

    def save(self, folder):
        pass


def model(*, hidden_size=24, **kwargs):
    set_seed(0)
    return MusicLSTMForCausalLM(
        MusicLSTMConfig(
            vocab_size=20,
            hidden_size=hidden_size,
            num_hidden_layers=1,
            dropout=0.0,
            embedding_dropout=0.0,
            **kwargs,
        )
    )


def trainer(folder, net, pieces, *, lanes=2, accumulation=1, cls=StatefulTrainer, **kwargs):
    options = {
        "learning_rate": 0.0,
        "max_steps": 4,
        "save_strategy": "no",
        **kwargs,
    }
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=lanes,
        gradient_accumulation_steps=accumulation,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        use_cache=True,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        logging_steps=1,
        **options,
    )
    windows = Windows(
        pieces, PlainTokenizer(), lanes=lanes * accumulation, batch_size=lanes, steps=STEPS
    )
    return cls(net, arguments, windows, tokenizer=PlainTokenizer())


def random_pieces(*windows_each, seed=0):
    """Pieces that fill so many windows to the last step."""
    rng = np.random.default_rng(seed)
    return [rng.integers(3, 20, STEPS * n - 1) for n in windows_each]


def test_carried_windows_end_where_one_whole_reading_ends(tmp_path):
    pieces = random_pieces(4, 4)
    run = trainer(tmp_path, model(), pieces, max_steps=4)
    run.train()
    whole = torch.tensor([[1, *piece.tolist()] for piece in pieces])
    with torch.no_grad():
        state = run.model.eval()(whole).past_key_values
    torch.testing.assert_close(run._states[0].hidden, state.hidden, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(run._states[0].cell, state.cell, rtol=1e-5, atol=1e-6)


def test_a_new_piece_starts_from_nothing(tmp_path):
    run = trainer(tmp_path, model(), random_pieces(3, 1, 2, 2), max_steps=4)
    run.train()
    second = torch.tensor([[1, *random_pieces(3, 1, 2, 2)[1].tolist()]])
    with torch.no_grad():
        alone = run.model.eval()(second).past_key_values
    torch.testing.assert_close(
        run._states[0].hidden[:, 0], alone.hidden[:, 0], rtol=1e-5, atol=1e-6
    )


def test_accumulated_batches_keep_their_own_rows(tmp_path):
    pieces = random_pieces(2, 2, 2, 2)
    run = trainer(tmp_path, model(), pieces, accumulation=2, max_steps=2)
    run.train()
    for slot, rows in ((0, pieces[:2]), (1, pieces[2:])):
        whole = torch.tensor([[1, *piece.tolist()] for piece in rows])
        with torch.no_grad():
            state = run.model.eval()(whole).past_key_values
        torch.testing.assert_close(run._states[slot].hidden, state.hidden, rtol=1e-5, atol=1e-6)


def secrets(count, *, seed):
    """Each piece repeats one key at every second place: filler, key, and so on."""
    rng = np.random.default_rng(seed)
    return [
        np.array([rng.choice(KEYS), *[FILLER, 0] * (2 * STEPS - 1), FILLER]) for _ in range(count)
    ]


def with_keys(pieces):
    for piece in pieces:
        piece[2::2] = piece[0]
    return pieces


class ForgetfulTrainer(StatefulTrainer):
    """The same, but forgets at every window."""

    def compute_loss(self, *args, **kwargs):
        self._states.clear()
        return super().compute_loss(*args, **kwargs)


def share_remembered(net, pieces, *, carried):
    """How often the first key of a later window is right; it was seen only in windows before."""
    right = total = 0
    for piece in pieces:
        ids = torch.tensor([[1, *piece.tolist()]])
        state = None
        for start in range(0, ids.shape[1] - STEPS, STEPS):
            with torch.no_grad():
                output = net(ids[:, start : start + STEPS], past_key_values=state)
            state = output.past_key_values if carried else None
            if start:
                keys = torch.tensor(KEYS)
                first = next(i for i in range(STEPS) if ids[0, start + i + 1] in keys)
                guess = keys[output.logits[0, first, keys].argmax()]
                right += int(guess == piece[0])
                total += 1
    return right / total


def test_what_only_the_carried_state_can_know_is_learned(tmp_path):
    nets = {}
    for cls in (StatefulTrainer, ForgetfulTrainer):
        run = trainer(
            tmp_path,
            model(hidden_size=32),
            with_keys(secrets(64, seed=1)),
            lanes=8,
            cls=cls,
            learning_rate=1e-2,
            max_steps=160,
        )
        run.train()
        nets[cls] = run.model.eval()
    pieces = with_keys(secrets(40, seed=2))
    assert share_remembered(nets[StatefulTrainer], pieces, carried=True) > 0.9
    assert share_remembered(nets[StatefulTrainer], pieces, carried=False) < 0.5


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, accumulation):
    kwargs = {
        "accumulation": accumulation,
        "learning_rate": 1e-2,
        "max_steps": 6,
        "save_strategy": "steps",
        "save_steps": 3,
    }
    pieces = random_pieces(*[3] * 8)
    whole = trainer(tmp_path / "whole", model(), pieces, **kwargs)
    whole.train()
    resumed = trainer(tmp_path / "resumed", model(), pieces, **kwargs)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_without_the_saved_state_a_resumed_run_would_differ(tmp_path):
    kwargs = {"learning_rate": 1e-2, "max_steps": 6, "save_strategy": "steps", "save_steps": 3}
    pieces = random_pieces(6, 6)
    whole = trainer(tmp_path / "whole", model(), pieces, **kwargs)
    whole.train()
    (tmp_path / "whole" / "checkpoint-3" / "lstm_state_0.safetensors").unlink()
    resumed = trainer(tmp_path / "resumed", model(), pieces, **kwargs)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    differences = [
        float((a - b).detach().abs().max())
        for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True)
    ]
    assert max(differences) > 1e-5


def test_a_checkpoint_still_returns_its_state(tmp_path):
    run = trainer(
        tmp_path, model(), random_pieces(2, 2), max_steps=2, save_strategy="steps", save_steps=2
    )
    run.train()
    loaded = MusicLSTMForCausalLM.from_pretrained(tmp_path / "checkpoint-2")
    assert loaded(torch.tensor([[1, 5]])).past_key_values is not None
