"""State and features are carried across windows, reset at the start of a piece, and saved."""

from __future__ import annotations

import errno

import numpy as np
import pytest
import torch
from transformers import TrainerCallback, TrainingArguments, set_seed

from musiclstm.errors import CheckpointError
from musiclstm.model import MusicLSTMConfig, MusicLSTMForCausalLM, TokenTable
from musiclstm.tokens import MusicTokenizer
from training.data.augmentation import Augmentation, AugmentationSettings, Stream
from training.data.corpus import read_corpus
from training.data.dataset import IGNORED, StatefulWindowDataset
from training.errors import TrainingError
from training.evaluation.bits_per_note import HeldOutBits, measure_bits
from training.trainer.checkpoints import checkpoints, validation_error
from training.trainer.param_groups import LearningRates, freeze
from training.trainer.trainer import StatefulTrainer

STEPS = 8  # per window
KEYS, FILLER = (4, 5, 6, 7), 3


class PlainTokenizer:
    """A tokenizer that tests use for its special ids only."""

    pad_id, bos_id, eos_id = 0, 1, 2
    token_names = ("PAD_None", "BOS_None", "EOS_None", *(f"Pitch_{i}" for i in range(17)))

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


def trainer(
    folder, net, pieces, *, rows=2, accumulation=1, cls=StatefulTrainer, more=None, **kwargs
):
    options = {
        "learning_rate": 0.0,
        "max_steps": 4,
        "save_strategy": "no",
        **kwargs,
    }
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=rows,
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
    windows = StatefulWindowDataset(
        pieces, PlainTokenizer(), rows=rows * accumulation, batch_size=rows, steps=STEPS
    )
    return cls(net, arguments, windows, tokenizer=PlainTokenizer(), **(more or {}))


def random_pieces(*windows_each, seed=0):
    """Pieces that fill so many windows to the last step."""
    rng = np.random.default_rng(seed)
    return [rng.integers(3, 20, STEPS * n - 1) for n in windows_each]


def final_state(net, pieces):
    """Hidden state after reading whole pieces of one length at once, (layers, pieces, hidden)."""
    ids = torch.tensor([[1, *piece.tolist()] for piece in pieces])
    with torch.no_grad():
        return net.eval()(ids).past_key_values.h


def test_carried_windows_end_in_the_state_of_one_forward_pass(tmp_path):
    pieces = random_pieces(4, 4)
    run = trainer(tmp_path, model(), pieces, max_steps=4)
    run.train()
    expected = final_state(run.model, pieces)
    torch.testing.assert_close(run._states[0].h, expected, rtol=1e-5, atol=1e-6)


def test_a_new_piece_starts_from_an_empty_state(tmp_path):
    pieces = random_pieces(3, 1, 2, 2)
    run = trainer(tmp_path, model(), pieces, max_steps=4)
    run.train()
    expected = final_state(run.model, pieces[1:2])
    torch.testing.assert_close(run._states[0].h[:, :1], expected, rtol=1e-5, atol=1e-6)


def test_accumulated_batches_carry_their_own_state(tmp_path):
    pieces = random_pieces(2, 2, 2, 2)
    run = trainer(tmp_path, model(), pieces, accumulation=2, max_steps=2)
    run.train()
    for slot, own in ((0, pieces[:2]), (1, pieces[2:])):
        expected = final_state(run.model, own)
        torch.testing.assert_close(run._states[slot].h, expected, rtol=1e-5, atol=1e-6)


def key_pieces(count, *, seed):
    """Pieces that repeat one random key at every second token: key, filler, key, and so on."""
    rng = np.random.default_rng(seed)
    pieces = [np.full(4 * STEPS, FILLER) for _ in range(count)]
    for piece in pieces:
        piece[::2] = rng.choice(KEYS)
    return pieces


def key_accuracy(net, pieces, *, carried):
    """How often the first key of a later window is predicted; it occurs in earlier windows only."""
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


def test_the_carried_state_learns_dependencies_across_windows(tmp_path):
    kwargs = {"rows": 8, "learning_rate": 1e-2, "max_steps": 160}
    run = trainer(tmp_path, model(hidden_size=32), key_pieces(64, seed=1), **kwargs)
    run.train()
    net, pieces = run.model.eval(), key_pieces(40, seed=2)
    assert key_accuracy(net, pieces, carried=True) > 0.9
    assert key_accuracy(net, pieces, carried=False) < 0.5


def log_of(run):
    kept = ("loss", "grad_norm", "learning_rate", "step")
    return [{k: row[k] for k in kept} for row in run.state.log_history if "loss" in row]


def model_with_features(*, dropout=0.0):
    """A network with the step features of the real tokens, which act on its logits."""
    names = list(MusicTokenizer.token_names)
    set_seed(0)
    net = MusicLSTMForCausalLM(
        MusicLSTMConfig(
            vocab_size=len(names),
            hidden_size=24,
            num_hidden_layers=2,
            dropout=dropout,
            embedding_dropout=dropout,
            token_names=names,
        )
    )
    torch.nn.init.normal_(net.context_head.weight, std=0.1)
    return net


@pytest.fixture
def pieces(scales):
    return read_corpus([scales], workers=1).tokens("train")


class RecordingTrainer(StatefulTrainer):
    """A trainer that records its inputs and logits."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.windows_read = []

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        self.windows_read.append((inputs, outputs.logits.detach()))
        return (loss, outputs) if return_outputs else loss

    def streams(self):
        """Ids (steps,) and logits (steps, vocab) from each reset of each row to the next."""
        rows = {}
        for inputs, logits in self.windows_read:
            for row, begins in enumerate(inputs["reset"].tolist()):
                parts = rows.setdefault((int(inputs["slot"][0]), row), [])
                if begins:
                    parts.append([])
                parts[-1].append((inputs["input_ids"][row], logits[row]))
        for part in (part for parts in rows.values() for part in parts):
            ids, logits = (torch.cat(each) for each in zip(*part, strict=True))
            yield ids, logits


def test_features_in_training_are_those_of_inference(pieces, tmp_path):
    tokenizer, pieces = MusicTokenizer(), pieces[:5]
    windows = StatefulWindowDataset(pieces, tokenizer, rows=4, batch_size=2, steps=STEPS)

    def build(net, arguments, *_, **__):
        return RecordingTrainer(net, arguments, windows, tokenizer=tokenizer)

    steps = {"max_steps": windows.updates}
    run = trainer(tmp_path, model_with_features(), [], accumulation=2, cls=build, **steps)
    run.train()
    read = list(run.streams())
    assert len(read) >= len(pieces)
    assert max(len(ids) for ids, _ in read) >= 10 * STEPS
    for ids, logits in read:
        with torch.no_grad():
            alone = run.network.eval()(ids[None]).logits[0]
        torch.testing.assert_close(logits, alone, rtol=1e-4, atol=1e-4)


class EverySecond:
    """An augmentation that ignores every second label."""

    def apply(self, ids, rng):
        tokens = np.array([1, *ids, 2])
        labels = tokens[1:].copy()
        labels[::2] = IGNORED
        return Stream(tokens[:-1], labels)


def test_ignored_labels_are_not_part_of_the_loss(tmp_path):
    (piece,) = random_pieces(1)
    windows = StatefulWindowDataset(
        [piece], PlainTokenizer(), rows=1, batch_size=1, steps=STEPS, augmentation=EverySecond()
    )

    def build(net, arguments, *_, **__):
        return StatefulTrainer(net, arguments, windows, tokenizer=PlainTokenizer())

    run = trainer(tmp_path, model(), [], rows=1, cls=build, max_steps=1)
    run.train()
    with torch.no_grad():
        logits = run.network.eval()(torch.tensor([[1, *piece.tolist()]])).logits[0]
    labels = torch.tensor([*piece.tolist(), 2])
    expected = torch.nn.functional.cross_entropy(logits[1::2], labels[1::2])
    assert log_of(run)[0]["loss"] == pytest.approx(expected.item(), rel=1e-5)


LAST, MIDDLE = 24, 13  # steps, with 9 per epoch: ends in the third, stops in the second


def augmented_run(folder, pieces):
    """A run with shuffled, augmented pieces, dropout, an average and two accumulated batches."""
    tokenizer = MusicTokenizer()
    net = model_with_features(dropout=0.1)
    table = TokenTable(tokenizer.token_names)
    augmentation = Augmentation(
        table, tokenizer.bos_id, tokenizer.eos_id, AugmentationSettings(drop_parts=1)
    )
    kwargs = {"rows": 4, "batch_size": 2, "steps": 32, "augmentation": augmentation}
    windows = StatefulWindowDataset(pieces, tokenizer, **kwargs)

    def build(net, arguments, _, **__):
        return StatefulTrainer(
            net, arguments, windows, tokenizer=tokenizer, ema_decay=0.9, rates=LearningRates(0.5)
        )

    options = {"learning_rate": 1e-2, "max_steps": LAST, "save_strategy": "steps"}
    return trainer(folder, net, [], accumulation=2, cls=build, save_steps=MIDDLE, **options)


def record_windows(run, monkeypatch):
    """Return a list that receives the inputs of every step."""
    read, step = [], run.compute_loss

    def record(net, inputs, *args, **kwargs):
        read.append(inputs["input_ids"].clone())
        return step(net, inputs, *args, **kwargs)

    monkeypatch.setattr(run, "compute_loss", record)
    return read


def test_a_run_resumed_in_its_second_epoch_equals_an_uninterrupted_one(
    pieces, tmp_path, monkeypatch
):
    whole = augmented_run(tmp_path / "whole", pieces)
    read = record_windows(whole, monkeypatch)
    whole.train()
    epoch = whole.windows.updates
    assert epoch < MIDDLE < 2 * epoch < LAST
    assert not all(map(torch.equal, read[: 2 * epoch], read[2 * epoch :]))  # augmented differently
    resumed = augmented_run(tmp_path / "resumed", pieces)
    read_again = record_windows(resumed, monkeypatch)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{MIDDLE}"))
    assert len(read_again) == 2 * (LAST - MIDDLE)
    assert all(map(torch.equal, read_again, read[2 * MIDDLE :]))
    assert log_of(resumed) == log_of(whole)
    assert len(log_of(whole)) == LAST
    for _ in ("weights", "average"):
        for a, b in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
        whole.average.copy_to_module()
        resumed.average.copy_to_module()


def test_without_the_saved_state_a_resumed_run_differs(tmp_path):
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


def test_a_loaded_checkpoint_returns_its_state(tmp_path):
    run = trainer(
        tmp_path, model(), random_pieces(2, 2), max_steps=2, save_strategy="steps", save_steps=2
    )
    run.train()
    loaded = MusicLSTMForCausalLM.from_pretrained(tmp_path / "checkpoint-2")
    assert loaded(torch.tensor([[1, 5]])).past_key_values is not None


def test_accumulated_batches_equal_one_batch_of_all_rows(tmp_path):
    pieces = random_pieces(2, 1, 3, 2, 2, 2)
    nets = []
    for rows, accumulation in ((4, 1), (2, 2)):
        run = trainer(
            tmp_path,
            model(),
            pieces,
            rows=rows,
            accumulation=accumulation,
            learning_rate=1e-2,
            max_steps=3,
        )
        run.train()
        nets.append(run.network)
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_evaluation_uses_the_average_and_restores_the_weights(tmp_path):
    held_out_pieces = random_pieces(2, 3, seed=5)
    run = trainer(
        tmp_path,
        model(),
        random_pieces(3, 3),
        learning_rate=5e-2,
        more={"ema_decay": 0.9, "held_out_pieces": held_out_pieces},
    )
    run.train()
    before = [p.detach().clone() for p in run.network.parameters()]
    evaluated = run.evaluate()["eval_bits_per_note"]
    assert all(torch.equal(a, b) for a, b in zip(before, run.network.parameters(), strict=True))
    raw = measure_bits(run.network, PlainTokenizer(), held_out_pieces).bits_per_note
    run.average.copy_to_module()
    averaged = measure_bits(run.network, PlainTokenizer(), held_out_pieces).bits_per_note
    assert evaluated == averaged != raw


def test_label_smoothing_follows_the_formula_and_leaves_bits_unchanged(tmp_path):
    pieces = random_pieces(1, 1)
    more = {"held_out_pieces": pieces}
    plain, smooth = (
        trainer(tmp_path, model(), pieces, max_steps=1, label_smoothing_factor=share, more=more)
        for share in (0.0, 0.2)
    )
    plain.train()
    smooth.train()
    table = torch.tensor([[1, *piece.tolist(), 2] for piece in pieces])
    with torch.no_grad():
        logits = smooth.network.eval()(table[:, :-1]).logits
    losses = -logits.log_softmax(-1)
    own = losses.gather(-1, table[:, 1:, None]).mean()
    assert log_of(plain)[0]["loss"] == pytest.approx(own.item(), rel=1e-5)
    expected = 0.8 * own + 0.2 * losses.mean()
    assert log_of(smooth)[0]["loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert smooth.evaluate()["eval_bits_per_note"] == plain.evaluate()["eval_bits_per_note"]


def test_parts_train_at_their_own_rate_and_frozen_ones_do_not(tmp_path):
    net = model()
    freeze(net, ["embeddings"])
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    more = {"rates": LearningRates(overrides={"1": 0.0}), "ema_decay": 0.9}
    run = trainer(tmp_path, net, random_pieces(2, 2), learning_rate=1e-2, more=more)
    run.train()
    moved = {n for n, p in net.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {"model.norm.weight", "model.norm.bias", "lm_head.bias"}
    assert [group["initial_lr"] for group in run.optimizer.param_groups] == [1e-2, 0.0, 0.0]


SAVING = {"learning_rate": 1e-2, "save_strategy": "steps", "save_steps": 2}


class BrokenTrainer(StatefulTrainer):
    """A trainer whose third loss is nan."""

    def compute_loss(self, *args, **kwargs):
        loss = super().compute_loss(*args, **kwargs)
        return loss * float("nan") if self.state.global_step == 2 else loss


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(tmp_path):
    run = trainer(tmp_path, model(), random_pieces(5, 5), cls=BrokenTrainer, **SAVING)
    with pytest.raises(TrainingError, match=r"loss is not finite at step 3.*0\.01"):
        run.train()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-2"]
    assert validation_error(tmp_path / "checkpoint-2") is None


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    run = trainer(tmp_path, model(), random_pieces(5, 5), **SAVING)
    run.train()
    with torch.no_grad():
        run.network.model.norm.bias[0] = float("inf")
    with pytest.raises(TrainingError, match="network is not finite at step 4"):
        run._save_checkpoint(run.network, None)
    assert validation_error(tmp_path / "checkpoint-4") is None


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_is_full_during_a_save_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    run = trainer(tmp_path, model(), random_pieces(5, 5), save_total_limit=1, **SAVING)
    save = StatefulTrainer._save_optimizer_and_scheduler
    monkeypatch.setattr(
        StatefulTrainer,
        "_save_optimizer_and_scheduler",
        lambda self, folder: full_disk() if self.state.global_step == 4 else save(self, folder),
    )
    with pytest.raises(TrainingError, match=r"disk is full.*'checkpoint-4' needs about 2\.1 MB"):
        run.train()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-2"]
    assert validation_error(tmp_path / "checkpoint-2") is None


def test_too_little_disk_space_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("training.trainer.trainer.free_bytes", lambda _: 1000)
    run = trainer(tmp_path, model(), random_pieces(5, 5), **SAVING)
    with pytest.raises(TrainingError, match=r"disk is full.*'checkpoint-2'"):
        run.train()
    assert checkpoints(tmp_path) == []


def test_a_resumed_run_uses_the_learning_rate_of_the_command_line(tmp_path):
    pieces, common = random_pieces(5, 5), {**SAVING, "lr_scheduler_type": "constant"}
    trainer(tmp_path, model(), pieces, max_steps=2, **common).train()
    run = trainer(tmp_path, model(), pieces, **{**common, "learning_rate": 1e-3})
    run.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert [row["learning_rate"] for row in log_of(run)] == [1e-2, 1e-2, 1e-3, 1e-3]


def test_another_layout_of_windows_starts_without_the_saved_state(tmp_path):
    pieces = random_pieces(5, 5)
    trainer(tmp_path, model(), pieces, max_steps=2, **SAVING).train()
    run = trainer(tmp_path, model(), random_pieces(5, 5, 5), rows=3, **SAVING)
    run.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert run.state.global_step == 4
    assert run._states[0].h.shape[1] == 3


def test_a_checkpoint_with_other_parameter_groups_is_refused(tmp_path):
    pieces = random_pieces(5, 5)
    trainer(tmp_path, model(), pieces, max_steps=2, **SAVING).train()
    run = trainer(tmp_path, model(), pieces, more={"rates": LearningRates(0.5)}, **SAVING)
    with pytest.raises(CheckpointError, match=r"'checkpoint-2'.*--layer_decay"):
        run.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_the_best_weights_are_saved_between_checkpoints(tmp_path, monkeypatch, decay):
    pieces = random_pieces(8, 8)
    bits = iter([9.0, 8.0, 7.0, 9.5, 9.5, 9.5, 9.5, 9.5])
    run = trainer(
        tmp_path,
        model(),
        pieces,
        more={"held_out_pieces": pieces, "ema_decay": decay},
        max_steps=8,
        eval_strategy="steps",
        eval_steps=1,
        learning_rate=0.1,
        save_strategy="steps",
        save_steps=4,
        save_total_limit=2,
        load_best_model_at_end=True,
        greater_is_better=False,
        metric_for_best_model="eval_bits_per_note",
    )
    monkeypatch.setattr(run, "_held_out_bits", lambda: HeldOutBits(next(bits), 1, 1, 1))
    seen = {}

    class Note(TrainerCallback):
        def on_evaluate(self, args, state, control, **_):
            seen[state.global_step] = next(iter(run.network.parameters())).detach().clone()

    run.add_callback(Note())
    run.train()
    assert run.state.best_global_step == 3
    if run.average is not None:
        run.average.copy_to_module()
    torch.testing.assert_close(next(iter(run.network.parameters())).detach(), seen[3])
