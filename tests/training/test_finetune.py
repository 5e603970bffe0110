"""The fine-tuning command, from MIDI files to a checkpoint folder."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
from contextlib import redirect_stdout

import pytest
import torch
from safetensors import safe_open
from symusic import Score

from musiclstm import Composer, Sampling
from musiclstm.generation import write_bar_score
from musiclstm.memorization import MemorizationIndex
from musiclstm.model import BAR_SCORE_FILE, MEMORIZATION_FILE, load_checkpoint
from musiclstm.tokens import TOKENIZER_FILE, MusicTokenizer
from training.arguments import MusicArguments
from training.bar_score import weighted_score
from training.data.corpus import read_corpus
from training.finetune import main, read
from training.trainer.checkpoints import exclusive_run

QUICK = [
    *("--preset", "cpu-quick", "--max_steps", "2", "--eval_steps", "2", "--save_steps", "2"),
    *("--window", "32", "--per_device_train_batch_size", "2", "--disable_tqdm", "true"),
    *("--bf16", "false", "--report_to", "none", "--warmup_steps", "0", "--samples", "0"),
    *("--logging_steps", "1", "--workers", "1"),
]
SMALL = ["--model", "scratch", "--hidden_size", "16", "--num_hidden_layers", "2"]


def command(data, folder, *options):
    return ["--data", str(data), "--output_dir", str(folder), *SMALL, *QUICK, *options]


def facts_of(folder):
    return json.loads((folder / "facts.json").read_text(encoding="utf-8"))


def bits_of(checkpoint):
    history = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    return [row for row in history if "eval_bits_per_note" in row]


@pytest.fixture(scope="module")
def finished(scales, tmp_path_factory):
    """The folder of a finished run, and what it printed."""
    folder = tmp_path_factory.mktemp("run") / "out"
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert main(command(scales, folder)) == 0
    return folder, printed.getvalue()


@pytest.fixture
def again(finished, scales, tmp_path):
    """A copy of the folder of a finished run, and the command that wrote it."""
    folder = shutil.copytree(finished[0], tmp_path / "out")
    return folder, command(scales, folder)


# A finished run.


def test_the_folder_is_a_checkpoint_that_composes(finished):
    piece = Composer.from_pretrained(finished[0]).compose(bars=2, sampling=Sampling(seed=1))
    assert piece.bars == 2
    assert piece.score.note_num() > 0


def test_the_folder_holds_facts_curve_and_weights_in_half_precision(finished):
    folder = finished[0]
    facts = facts_of(folder)
    assert facts["runs"][0]["steps"] == 2
    assert facts["data"][0]["train"]["pieces"] == 10
    assert facts["valid"]["notes"] > 0
    assert facts["test"]["bits_per_note"] > 0
    assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert "held-out bits per note" in (folder / "learning_curve.svg").read_text()
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        types = {str(file.get_slice(name).get_dtype()) for name in file.keys()}  # noqa: SIM118
    assert types == {"F16"}


def test_the_folder_holds_an_index_of_the_training_pieces(finished, scales):
    index = MemorizationIndex.load(finished[0] / MEMORIZATION_FILE)
    train = [piece for piece in read_corpus([scales], workers=1).pieces if piece.split == "train"]
    assert index.names == [f"{piece.name}, {piece.corpus}" for piece in train]


def test_progress_and_evaluations_are_printed(finished):
    printed = finished[1]
    assert re.search(r"^step 1 of 2 · [\d,]+ tokens/s · \d+ \w+ left · loss \d", printed, re.M)
    assert re.search(r"^step 0: \d+\.\d+ bits per held-out note, before training$", printed, re.M)
    assert re.search(r"^step 2: \d+\.\d+ bits per held-out note, the best so far$", printed, re.M)


def test_a_finished_run_is_exported_once(again, capsys):
    folder, words = again
    before = (folder / "facts.json").stat().st_mtime_ns
    assert main(words) == 0
    assert "raise --max_steps or --num_train_epochs" in capsys.readouterr().out
    assert (folder / "facts.json").stat().st_mtime_ns == before


def test_a_run_killed_during_its_export_is_exported_again(again, capsys):
    folder, words = again
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "finished.json").unlink()
    (folder / "model.safetensors").write_bytes(weights[:1000])
    assert main(words) == 0
    assert "The run ended at step 2" in capsys.readouterr().out
    assert (folder / "model.safetensors").read_bytes() == weights
    assert facts_of(folder)["runs"][0]["steps"] == 2


def test_a_longer_run_resumes_from_the_newest_valid_checkpoint(again, capsys):
    folder, words = again
    damaged = shutil.copytree(folder / "checkpoint-2", folder / "checkpoint-3")
    (damaged / "optimizer.pt").write_bytes(b"half of it")
    assert main([*words, "--max_steps", "4"]) == 0
    printed = capsys.readouterr().out
    assert "Skipped checkpoint-3: optimizer.pt is damaged." in printed
    assert "Resuming from checkpoint-2." in printed
    assert "before training" not in printed  # measured once
    evaluations = bits_of(folder / "checkpoint-4")
    assert [row["step"] for row in evaluations].count(0) == 1
    (run,) = facts_of(folder)["runs"]
    assert run["steps"] == 4
    assert run["valid_before"] == pytest.approx(evaluations[0]["eval_bits_per_note"], abs=1e-4)


def test_a_run_from_a_checkpoint_keeps_its_tokens_and_extends_its_history(
    finished, scales, tmp_path, capsys
):
    start, folder = shutil.copytree(finished[0], tmp_path / "start"), tmp_path / "more"
    write_bar_score(start, weighted_score({"density": 3}))
    words = ["--data", str(scales), "--output_dir", str(folder), "--model", str(start), *QUICK]
    assert main([*words, "--dropout", "0.4", "--bar_score_pieces", "3"]) == 0
    assert (folder / BAR_SCORE_FILE).read_bytes() == (start / BAR_SCORE_FILE).read_bytes()
    assert "stays that of the starting point: 0 training pieces" in capsys.readouterr().out
    assert (folder / TOKENIZER_FILE).read_bytes() == (start / TOKENIZER_FILE).read_bytes()
    assert [run["from"] for run in facts_of(folder)["runs"]] == ["scratch", start.name]
    config = json.loads((folder / "config.json").read_text())
    assert config["dropout"] == config["embedding_dropout"] == 0.4
    indexes = [MemorizationIndex.load(each / MEMORIZATION_FILE) for each in (start, folder)]
    assert indexes[0].names == indexes[1].names  # the same pieces are kept once


def test_a_new_network_has_the_shape_of_the_options(scales, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--config_overrides", "layer_norm=false,residual=false", "--freeze", "embeddings,1"]
    assert main(command(scales, out, *options)) == 0
    config = load_checkpoint(out)[0].config
    assert (config.layer_norm, config.residual, config.hidden_size) == (False, False, 16)
    assert config.token_names == list(MusicTokenizer.token_names)
    assert config.programs == [-1, 0]
    assert re.search(r"weights, [\d,]+ of them frozen, ", capsys.readouterr().out)


@pytest.mark.slow
def test_training_lowers_the_loss(scales, tmp_path):
    options = ["--max_steps", "40", "--eval_steps", "20", "--save_steps", "20"]
    options += ["--learning_rate", "1e-2", "--logging_steps", "10", "--augment_pitch", "0"]
    assert main(command(scales, tmp_path / "out", *options)) == 0
    state = json.loads((tmp_path / "out" / "checkpoint-40" / "trainer_state.json").read_text())
    losses = [row["loss"] for row in state["log_history"] if "loss" in row]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.slow
def test_the_model_of_the_best_evaluation_is_exported(scales, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--learning_rate", "3", "--max_steps", "12", "--eval_steps", "1"]
    options += ["--save_steps", "1", "--early_stopping_patience", "2"]
    assert main(command(scales, out, *options, "--lr_scheduler_type", "constant")) == 0
    last = max(out.glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
    bits = [row["eval_bits_per_note"] for row in bits_of(last)]
    before = bits.pop(0)  # better than all that follow, and not exported
    assert bits.index(min(bits)) == len(bits) - 3  # two more did not improve
    assert len(bits) < 12
    facts = facts_of(out)
    assert facts["valid"]["bits_per_note"] == pytest.approx(min(bits), rel=1e-3)
    assert facts["runs"][0]["best_step"] == len(bits) - 2
    assert facts["runs"][0]["valid_before"] == pytest.approx(before, abs=1e-4)
    assert f"did not improve ({before:.3f} bits per note before" in capsys.readouterr().out


# The corpus.


def test_a_folder_without_midi_files_is_one_sentence(tmp_path, capsys):
    assert main(command(tmp_path, tmp_path / "out")) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: No MIDI file under")
    assert error.count("\n") == 1


def test_a_corpus_without_training_pieces_is_refused(scales, tmp_path, capsys):
    piece = sorted(scales.glob("*.mid"))[0]
    shutil.copy(piece, tmp_path)
    manifest = {"pieces": [{"file": piece.name, "split": "test"}]}
    (tmp_path / "MANIFEST.json").write_text(json.dumps(manifest))
    assert main(command(tmp_path, tmp_path / "out")) == 1
    assert "no piece to train on" in capsys.readouterr().err


def test_at_most_twenty_files_that_are_left_out_are_printed(scales, tmp_path, capsys):
    for number in range(22):
        (tmp_path / f"broken-{number:02d}.mid").write_text(f"Dear {number}")
    for number, piece in enumerate(sorted(scales.glob("*.mid"))):
        shutil.copy(piece, tmp_path / f"scale-{number}.mid")
    assert main(command(tmp_path, tmp_path / "out", "--freeze", "9")) == 1
    lines = [x for x in capsys.readouterr().out.splitlines() if x.startswith("  left out ")]
    assert lines.pop() == "  left out 2 more"
    assert [re.match(r"  left out (\S+): '\1' is not a MIDI", line)[1] for line in lines] == [
        f"broken-{number:02d}.mid" for number in range(20)
    ]


def test_pieces_are_excluded_by_their_note_in_the_data_report(scales, tmp_path):
    copies = shutil.copytree(scales, tmp_path / "copies")
    Score(sorted(copies.glob("*.mid"))[0]).shift_pitch(1).dump_midi(copies / "zz-higher.mid")
    corpus = read(MusicArguments(data=str(copies), leave_out="duplicate", workers=1))
    assert [skipped.name for skipped in corpus.skipped] == ["zz-higher.mid"]
    with pytest.raises(ValueError, match="'long'"):
        read(MusicArguments(data=str(copies), leave_out="long", workers=1))


# Refusals.


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        (["--hidden_size", "0"], "hidden_size must be 1 or more, got 0"),
        (["--config_overrides", "laier_norm=false"], "no field 'laier_norm'"),
        (["--config_overrides", "vocab_size=5"], "cannot set vocab_size"),
        (["--model", "default", "--config_overrides", "residual=false"], "--model scratch"),
        (["--freeze", "9"], "'9'; this network has embeddings, 1, 2, head"),
        (["--resume_from_checkpoint", "checkpoint-9"], "'checkpoint-9' cannot be resumed"),
    ],
)
def test_options_that_do_not_fit_are_refused(scales, tmp_path, capsys, options, fact):
    assert main(command(scales, tmp_path / "out", *options)) == 1
    assert fact in capsys.readouterr().err


def test_a_folder_of_another_run_is_not_overwritten(again, scales, tmp_path, capsys):
    folder, words = again
    weights = (folder / "model.safetensors").read_bytes()
    others = shutil.copytree(scales, tmp_path / "others")
    sorted(others.glob("*.mid"))[0].unlink()
    assert main([*words, "--data", str(others), "--max_steps", "4"]) == 1
    assert f"another --data; choose another --output_dir (and --model {folder}" in (
        capsys.readouterr().err
    )
    assert main([*words, "--model", "default", "--data", str(others), "--max_steps", "4"]) == 1
    assert "another --model and another --data" in capsys.readouterr().err
    assert (folder / "model.safetensors").read_bytes() == weights


def test_a_folder_in_which_another_run_trains_is_refused(scales, tmp_path, capsys):
    with exclusive_run(tmp_path):
        assert main(command(scales, tmp_path)) == 1
    assert f"Another process is training in {tmp_path.name!r}" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--dry_run"]])
def test_an_unwritable_folder_is_refused_before_the_corpus_is_read(
    scales, tmp_path, capsys, options
):
    (tmp_path / "out").write_text("a file")
    assert main(command(scales, tmp_path / "out", *options)) == 1
    printed = capsys.readouterr()
    assert "'out' cannot be written to (file exists)" in printed.err
    assert printed.out == ""


def test_control_characters_in_names_are_not_printed(scales, tmp_path, capsys):
    odd = os.fsdecode(b"mus\xe9e \x1b[31m")
    data, out = shutil.copytree(scales, tmp_path / odd), tmp_path / "out"
    assert main(command(data, out / odd)) == 1
    assert "not UTF-8" in capsys.readouterr().err
    assert main(command(data, out)) == 0
    printed = capsys.readouterr().out
    printed.encode("utf-8")
    assert "\x1b" not in printed
    assert "Saved " in printed
    facts_of(out)
    assert main(command(data / odd, out)) == 1
    assert "\x1b" not in capsys.readouterr().err


# Memory and disk.


def test_too_little_memory_is_one_sentence(scales, tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr("training.trainer.trainer.StatefulTrainer.compute_loss", fail)
    assert main(command(scales, tmp_path / "out")) == 1
    assert "not enough memory for 2 rows of 32 tokens" in capsys.readouterr().err


@pytest.mark.parametrize("function", ["save_checkpoint", "StatefulWindowDataset"])
def test_a_full_disk_is_one_sentence(again, monkeypatch, capsys, function):
    folder, words = again
    (folder / "finished.json").unlink()

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"training.finetune.{function}", fail)
    assert main(words) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: The disk is full")
    assert error.count("\n") == 1
    assert not (folder / "finished.json").exists()
