"""The command, from a folder of MIDI to a checkpoint that plays."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil

import pytest
import torch
from symusic import Score

from musiclstm import Composer, Sampling
from musiclstm.model.checkpoint import load_checkpoint
from musiclstm.tokens import TOKENIZER_FILE, MusicTokenizer
from training.arguments import parse
from training.finetune import main

QUICK = [
    *("--preset", "cpu-quick", "--max_steps", "2", "--eval_steps", "2", "--save_steps", "2"),
    *("--window", "32", "--per_device_train_batch_size", "2", "--disable_tqdm", "true"),
    *("--bf16", "false", "--report_to", "none", "--warmup_steps", "0", "--samples", "0"),
]
SMALL = ["--model", "scratch", "--hidden_size", "16", "--num_hidden_layers", "2"]


@pytest.fixture(scope="module")
def trained(scales, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    status = main(["--data", str(scales), "--output_dir", str(folder), *SMALL, *QUICK])
    assert status == 0
    return folder


def test_the_result_is_a_checkpoint_folder_that_composes(trained):
    piece = Composer.from_pretrained(trained).compose(bars=2, sampling=Sampling(seed=1))
    assert piece.bars == 2
    assert piece.score.note_num() > 0


def test_the_facts_say_what_was_done_and_measured(trained):
    facts = json.loads((trained / "facts.json").read_text())
    assert facts["runs"][0]["steps"] == 2
    assert facts["data"][0]["train"]["pieces"] == 10
    assert facts["valid"]["notes"] > 0
    assert facts["test"]["bits_per_note"] > 0


def test_there_is_a_picture_of_the_learning(trained):
    assert (trained / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert "held-out bits per note" in (trained / "learning_curve.svg").read_text()


def test_weights_are_safetensors_in_half_precision(trained):
    from safetensors import safe_open

    with safe_open(trained / "model.safetensors", framework="pt") as file:
        kinds = {str(file.get_slice(name).get_dtype()) for name in file.keys()}  # noqa: SIM118
    assert kinds == {"F16"}


def test_going_on_from_a_checkpoint_keeps_its_tokens_and_adds_to_its_history(
    trained, scales, tmp_path
):
    folder = tmp_path / "more"
    assert (
        main(["--data", str(scales), "--output_dir", str(folder), "--model", str(trained), *QUICK])
        == 0
    )
    assert (folder / TOKENIZER_FILE).read_bytes() == (trained / TOKENIZER_FILE).read_bytes()
    assert [run["from"] for run in json.loads((folder / "facts.json").read_text())["runs"]] == [
        "scratch",
        trained.name,
    ]


def test_training_on_one_piece_lowers_its_loss(scales, tmp_path):
    status = main(
        [
            *("--data", str(scales), "--output_dir", str(tmp_path / "out"), *SMALL, *QUICK),
            *("--max_steps", "40", "--learning_rate", "1e-2", "--eval_steps", "20"),
            *("--save_steps", "20", "--logging_steps", "10", "--augment_pitch", "0"),
        ]
    )
    assert status == 0
    states = sorted((tmp_path / "out").glob("checkpoint-*/trainer_state.json"))
    history = json.loads(states[-1].read_text())["log_history"]
    losses = [row["loss"] for row in history if "loss" in row]
    assert losses[-1] < 0.8 * losses[0]


def test_nothing_to_train_on_is_one_sentence_and_status_1(tmp_path, capsys):
    status = main(["--data", str(tmp_path), "--output_dir", str(tmp_path / "out"), *QUICK])
    assert status == 1
    error = capsys.readouterr().err
    assert error.startswith("error: No MIDI file under")
    assert error.count("\n") == 1


def test_a_preset_gives_way_to_a_flag():
    music, training = parse(
        ["--data", "x", "--output_dir", "y", "--preset", "cpu", "--learning_rate", "0.5"]
    )
    assert training.learning_rate == 0.5
    assert music.window == 512
    assert training.use_cache
    assert training.per_device_train_batch_size == 8


def test_the_command_prints_its_help(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    assert "--preset" in capsys.readouterr().out


def test_the_same_command_again_goes_on_where_it_stopped(scales, tmp_path, capsys):
    common = ["--data", str(scales), "--output_dir", str(tmp_path / "out"), *SMALL, *QUICK]
    assert main(common) == 0
    assert main([*common, "--max_steps", "4"]) == 0
    assert "Resuming from checkpoint-2." in capsys.readouterr().out
    facts = json.loads((tmp_path / "out" / "facts.json").read_text())
    assert [run["steps"] for run in facts["runs"]] == [4]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--data", "x", "--learning_rat", "3"], "error: nobody knows --learning_rat 3"),
        ([], "error: the following arguments are required: --data"),
        (["--data", "x", "--preset", "tpu"], "error: argument --preset: invalid choice: 'tpu'"),
        (["--data", "x", "--window", "1k"], "error: argument --window: invalid int value: '1k'; "),
        (["--data", "x", "--config"], "error: argument --config: expected one argument; see "),
    ],
)
def test_a_wrong_argument_is_one_line_and_status_1(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith(sentence)
    assert error.count("\n") == 1


def test_the_gpu_preset_without_a_gpu_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    assert main(["--data", "x", "--output_dir", "y", "--preset", "gpu"]) == 1
    assert capsys.readouterr().err == (
        "error: The preset gpu needs a GPU that PyTorch can use, and there is none here; take "
        "--preset cpu or cpu-quick.\n"
    )


def test_a_corpus_that_is_all_held_out_is_one_sentence(scales, tmp_path, capsys):
    piece = sorted(scales.glob("*.mid"))[0]
    (tmp_path / piece.name).write_bytes(piece.read_bytes())
    manifest = {"pieces": [{"file": piece.name, "split": "test"}]}
    (tmp_path / "MANIFEST.json").write_text(json.dumps(manifest))
    out = str(tmp_path / "out")
    assert main(["--data", str(tmp_path), "--output_dir", out, *SMALL, *QUICK]) == 1
    error = capsys.readouterr().err
    assert error == "error: The corpus has no piece to train on; add MIDI files to --data.\n"


@pytest.mark.parametrize(("flags", "dropout"), [([], 0.1), (["--dropout", "0.4"], 0.4)])
def test_the_network_gets_the_dropout_of_fine_tuning(trained, scales, tmp_path, flags, dropout):
    out = tmp_path / "out"
    common = ["--data", str(scales), "--output_dir", str(out), "--model", str(trained), *QUICK]
    assert main([*common, *flags]) == 0
    config = json.loads((out / "config.json").read_text())
    assert config["dropout"] == config["embedding_dropout"] == dropout


@pytest.fixture
def again(trained, scales, tmp_path):
    """A copy of a run that has ended, and the command that made it."""
    folder = tmp_path / "out"
    shutil.copytree(trained, folder)
    return folder, ["--data", str(scales), "--output_dir", str(folder), *SMALL, *QUICK]


def test_a_run_that_ended_is_exported_once(again, capsys):
    folder, command = again
    before = (folder / "facts.json").stat().st_mtime_ns
    assert main(command) == 0
    assert (
        f"This run has ended and {folder} holds its model; raise --max_steps or --num_train_epochs "
        "to continue, or choose another --output_dir.\n" in capsys.readouterr().out
    )
    assert (folder / "facts.json").stat().st_mtime_ns == before


def test_a_run_killed_while_it_was_exported_is_exported_at_the_next_start(again, capsys):
    folder, command = again
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "finished.json").unlink()
    (folder / "model.safetensors").write_bytes(weights[:1000])
    assert main(command) == 0
    assert "The run had ended at step 2; now its model is written." in capsys.readouterr().out
    assert (folder / "model.safetensors").read_bytes() == weights
    assert json.loads((folder / "facts.json").read_text())["runs"][0]["steps"] == 2


def test_a_torn_checkpoint_is_told_and_the_one_before_it_taken(again, capsys):
    folder, command = again
    torn = folder / "checkpoint-3"
    shutil.copytree(folder / "checkpoint-2", torn)
    (torn / "optimizer.pt").write_bytes(b"half of it")
    assert main([*command, "--max_steps", "4"]) == 0
    said = capsys.readouterr().out
    assert "Left out checkpoint-3: optimizer.pt is damaged." in said
    assert "Resuming from checkpoint-2." in said


def test_the_model_of_the_best_evaluation_is_the_one_that_is_written(scales, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["--data", str(scales), "--output_dir", str(out), *SMALL, *QUICK]
    command += ["--learning_rate", "3", "--max_steps", "12", "--eval_steps", "1"]
    command += ["--save_steps", "1", "--early_stopping_patience", "2", "--ema_decay", "0"]
    assert main([*command, "--lr_scheduler_type", "constant"]) == 0
    state = json.loads(
        sorted(out.glob("checkpoint-*"), key=lambda p: int(p.name[11:]))[-1]
        .joinpath("trainer_state.json")
        .read_text()
    )
    bits = [r["eval_bits_per_note"] for r in state["log_history"] if "eval_bits_per_note" in r]
    before = bits.pop(0)  # better than all that follow, and not what is written
    assert bits.index(min(bits)) == len(bits) - 3  # two more were no better
    assert len(bits) < 12
    facts = json.loads((out / "facts.json").read_text())
    assert facts["valid"]["bits_per_note"] == pytest.approx(min(bits), rel=1e-3)
    assert facts["runs"][0]["best_step"] == len(bits) - 2
    assert facts["runs"][0]["valid_before"] == pytest.approx(before, abs=1e-4)
    said = capsys.readouterr().out
    assert f"({before:.3f} before)" in said
    assert (
        f"It predicts the held-out pieces no better than before ({before:.3f} bits per note): add "
        "pieces, or lower --learning_rate or --max_steps." in said
    )


def test_what_the_model_was_worth_before_is_measured_once(again, capsys):
    folder, command = again
    assert main([*command, "--max_steps", "4"]) == 0
    assert "before it learns" not in capsys.readouterr().out
    state = json.loads((folder / "checkpoint-4" / "trainer_state.json").read_text())
    history = state["log_history"]
    assert [row["step"] for row in history if "eval_bits_per_note" in row].count(0) == 1
    run = json.loads((folder / "facts.json").read_text())["runs"][0]
    assert run["valid_before"] == pytest.approx(
        next(row["eval_bits_per_note"] for row in history if "eval_bits_per_note" in row), abs=1e-4
    )


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_too_little_memory_is_one_sentence(error, scales, tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("training.trainer.trainer.StatefulTrainer.compute_loss", fail)
    out = str(tmp_path / "out")
    assert main(["--data", str(scales), "--output_dir", out, *SMALL, *QUICK]) == 1
    assert capsys.readouterr().err == (
        "error: There is not enough memory for 2 rows of 32 tokens at once; lower "
        "--per_device_train_batch_size (it is 2) or --window (it is 32).\n"
    )


def test_another_error_is_not_taken_for_a_lack_of_memory(scales, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr("training.trainer.trainer.StatefulTrainer.compute_loss", fail)
    out = str(tmp_path / "out")
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        main(["--data", str(scales), "--output_dir", out, *SMALL, *QUICK])


def test_a_full_disk_at_the_end_is_one_sentence(again, monkeypatch, capsys):
    folder, command = again
    (folder / "finished.json").unlink()

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("training.finetune.save_checkpoint", fail)
    assert main(command) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: The disk is full: saving 'out' needs about")
    assert not (folder / "finished.json").exists()


def test_one_piece_alone_is_learned_without_evaluation(scales, tmp_path, capsys):
    shutil.copy(sorted(scales.glob("*.mid"))[0], tmp_path)
    out = tmp_path / "out"
    assert main(["--data", str(tmp_path), "--output_dir", str(out), *SMALL, *QUICK]) == 0
    said = capsys.readouterr().out
    assert "No piece is held out, so nothing is evaluated; the last weights are kept.\n" in said
    assert f"Saved {out}: not measured, for want of held-out pieces\n" in said
    assert (out / "model.safetensors").is_file()


def test_files_left_out_are_told_by_name_and_from_the_twenty_first_on_by_number(
    scales, tmp_path, capsys
):
    piece = sorted(scales.glob("*.mid"))[0]
    shutil.copy(piece, tmp_path)
    manifest = {"pieces": [{"file": piece.name, "split": "test"}]}  # it ends before it trains
    (tmp_path / "MANIFEST.json").write_text(json.dumps(manifest))
    for number in range(22):
        (tmp_path / f"broken-{number:02d}.mid").write_text(f"Dear {number}")
    assert main(["--data", str(tmp_path), "--output_dir", str(tmp_path / "out"), *QUICK]) == 1
    said = capsys.readouterr().out.splitlines()
    left_out = [line for line in said if line.startswith("  left out ")]
    assert left_out.pop() == "  left out 2 more"
    assert [
        re.match(r"  left out (\S+): '\1' is not a MIDI file", each)[1] for each in left_out
    ] == [f"broken-{number:02d}.mid" for number in range(20)]


def test_a_checkpoint_that_is_not_there_is_one_sentence(again, capsys):
    folder, command = again
    place = str(folder / "checkpoint-9")
    assert main([*command, "--resume_from_checkpoint", place]) == 1
    assert capsys.readouterr().err == (
        "error: 'checkpoint-9' cannot be resumed: there is no such folder; leave "
        "--resume_from_checkpoint out to resume from the newest whole checkpoint.\n"
    )


def test_progress_is_told_in_plain_words(scales, tmp_path, capsys):
    out = str(tmp_path / "out")
    command = ["--data", str(scales), "--output_dir", out, *SMALL, *QUICK, "--logging_steps", "1"]
    command += ["--max_steps", "30", "--eval_steps", "30", "--save_steps", "30"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert re.search(r"^step 1 of 30 · [\d,]+ tokens/s · \d+ \w+ left · loss \d", said, re.M)
    assert re.search(r"^step 0: \d+\.\d+ bits per held-out note, before it learns$", said, re.M)
    assert re.search(r"^step 30: \d+\.\d+ bits per held-out note, the best so far$", said, re.M)


def test_frozen_parts_are_told(scales, tmp_path, capsys):
    out = str(tmp_path / "out")
    command = ["--data", str(scales), "--output_dir", out, *SMALL, *QUICK]
    assert main([*command, "--freeze", "embeddings,1"]) == 0
    assert re.search(r"weights, [\d,]+ of them frozen, ", capsys.readouterr().out)
    assert main([*command, "--freeze", "9"]) == 1
    assert "--freeze does not know the part '9'; this network has embeddings, 1, 2, head." in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("fast", [True, False])
def test_on_a_processor_half_precision_is_used_where_it_is_fast(fast, monkeypatch):
    monkeypatch.setattr("training.arguments.bf16_is_fast", lambda: fast)
    common = ["--data", "x", "--output_dir", "y"]
    assert parse(common)[1].bf16 is fast
    assert parse([*common, "--bf16", "true"])[1].bf16
    assert not parse([*common, "--bf16", "false"])[1].bf16


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--hidden_size", "0"],
            "No network can be built so: hidden_size must be 1 or more, got 0; check --hidden_size",
        ),
        (
            ["--config_overrides", "laier_norm=false"],
            "MusicLSTMConfig has no field 'laier_norm'; its fields are ",
        ),
        (
            ["--config_overrides", "layer_norm"],
            "--config_overrides takes names and values, such as layer_norm=false,residual=false; "
            "got 'layer_norm'.",
        ),
        (
            ["--config_overrides", "vocab_size=5"],
            "--config_overrides cannot set vocab_size, which follows from the tokenizer and the "
            "pieces; leave it out.",
        ),
        (
            ["--model", "default", "--config_overrides", "residual=false"],
            "--config_overrides shapes a new network, and --model default has its shape; leave it "
            "out, or take --model scratch.",
        ),
    ],
)
def test_a_network_that_cannot_be_is_refused(scales, tmp_path, capsys, options, sentence):
    command = ["--data", str(scales), "--output_dir", str(tmp_path / "out"), *SMALL, *QUICK]
    assert main([*command, *options]) == 1
    assert sentence in capsys.readouterr().err


def test_a_new_network_takes_the_shape_it_is_given(scales, tmp_path):
    out = tmp_path / "out"
    command = ["--data", str(scales), "--output_dir", str(out), *SMALL, *QUICK]
    assert main([*command, "--config_overrides", "layer_norm=false,residual=false"]) == 0
    config = load_checkpoint(out)[0].config
    assert (config.layer_norm, config.residual, config.hidden_size) == (False, False, 16)
    assert config.token_names == list(MusicTokenizer.token_names)
    assert config.programs == [-1, 0]


def test_a_folder_begun_with_something_else_is_not_mixed(again, scales, tmp_path, capsys):
    folder, command = again
    weights = (folder / "model.safetensors").read_bytes()
    others = tmp_path / "others"
    shutil.copytree(scales, others)
    sorted(others.glob("*.mid"))[0].unlink()
    assert main([*command, "--data", str(others), "--max_steps", "4"]) == 1
    assert (
        f"error: {folder.name!r} holds a run that was begun with another --data; choose another "
        f"--output_dir (and --model {folder}, to build on it).\n"
    ) == capsys.readouterr().err
    assert main([*command, "--model", "default", "--data", str(others), "--max_steps", "4"]) == 1
    assert "with another --model and another --data; choose" in capsys.readouterr().err
    assert (folder / "model.safetensors").read_bytes() == weights


def test_an_output_folder_that_cannot_be_is_refused_before_anything_is_read(
    scales, tmp_path, capsys
):
    (tmp_path / "out").write_text("a file")
    command = ["--data", str(scales), "--output_dir", str(tmp_path / "out"), *SMALL, *QUICK]
    for options in ([], ["--dry_run"]):
        assert main([*command, *options]) == 1
        said = capsys.readouterr()
        assert said.err == (
            "error: 'out' cannot be written to (file exists); choose another --output_dir.\n"
        )
        assert said.out == ""


def test_pieces_that_are_not_wanted_are_left_out(scales, tmp_path, capsys):
    out = str(tmp_path / "out")
    command = ["--data", str(scales), "--output_dir", out, *SMALL, *QUICK]
    assert main([*command, "--leave_out", "long"]) == 1
    assert "There is no reason 'long' to leave a piece out" in capsys.readouterr().err
    copies = tmp_path / "copies"
    shutil.copytree(scales, copies)
    first = sorted(copies.glob("*.mid"))[0]
    higher = Score(first).shift_pitch(1)
    higher.dump_midi(copies / "zz-higher.mid")
    assert main([*command, "--data", str(copies), "--leave_out", "duplicate"]) == 0
    assert "left out zz-higher.mid: " in capsys.readouterr().out


def test_what_folders_are_called_never_reaches_the_terminal_raw(scales, tmp_path, capsys):
    odd = os.fsdecode(b"mus\xe9e \x1b[31m")
    data = tmp_path / odd
    shutil.copytree(scales, data)
    out = tmp_path / "out"
    assert main(["--data", str(data), "--output_dir", str(out / odd), *SMALL, *QUICK]) == 1
    assert capsys.readouterr().err == (
        "error: --output_dir has characters that are not UTF-8, and weights cannot be written "
        "there; choose another one.\n"
    )
    assert main(["--data", str(data), "--output_dir", str(out), *SMALL, *QUICK]) == 0
    said = capsys.readouterr().out
    said.encode("utf-8")
    assert "\x1b" not in said
    assert "Saved " in said
    json.loads((out / "facts.json").read_text(encoding="utf-8"))
    assert main(["--data", str(data / odd), "--output_dir", str(out), *SMALL, *QUICK]) == 1
    assert "\x1b" not in capsys.readouterr().err


def test_a_full_disk_anywhere_is_one_sentence(scales, tmp_path, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("training.finetune.Windows", full)
    command = ["--data", str(scales), "--output_dir", str(tmp_path / "out"), *SMALL, *QUICK]
    assert main(command) == 1
    assert capsys.readouterr().err == (
        "error: The disk is full; make room, where temporary files lie as well, and run the same "
        "command again, which resumes from the last checkpoint.\n"
    )
