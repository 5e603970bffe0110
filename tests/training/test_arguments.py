"""Options of fine-tuning: presets, settings files, implied defaults, and refusals."""

from __future__ import annotations

import json

import pytest

from training.arguments import MusicArguments, parse, parse_overrides

REQUIRED = ["--data", "x", "--output_dir", "out"]


def refusal(*options):
    """Return the message for invalid options; it has one line."""
    with pytest.raises(ValueError, match=r".") as refused:
        parse([*REQUIRED, *options])
    assert "\n" not in str(refused.value)
    return str(refused.value)


# Presets and implied defaults.


def test_an_option_overrides_the_preset():
    music, training = parse([*REQUIRED, "--preset", "cpu", "--learning_rate", "0.5"])
    assert (training.learning_rate, training.per_device_train_batch_size) == (0.5, 8)
    assert music.window == 512
    assert training.use_cache


def test_epochs_override_the_steps_of_the_preset():
    assert parse([*REQUIRED, "--num_train_epochs", "2"])[1].max_steps == -1
    both = parse([*REQUIRED, "--num_train_epochs=2", "--max_steps", "9"])[1]
    assert (both.max_steps, both.num_train_epochs) == (9, 2)
    assert parse(REQUIRED)[1].max_steps > 0


def test_checkpoints_are_written_when_evaluations_run():
    steps = parse([*REQUIRED, "--eval_steps", "30"])[1]
    assert (steps.eval_steps, steps.save_steps) == (30, 30)
    epoch = parse([*REQUIRED, "--eval_strategy", "epoch"])[1]
    assert epoch.save_strategy == epoch.eval_strategy == "epoch"
    assert epoch.load_best_model_at_end


def test_without_evaluations_no_best_model_is_loaded():
    training = parse([*REQUIRED, "--eval_strategy", "no"])[1]
    assert training.save_strategy == "steps"
    assert not training.eval_on_start
    assert not training.load_best_model_at_end
    assert training.metric_for_best_model is None


@pytest.mark.parametrize("fast", [True, False])
def test_bfloat16_is_the_default_where_it_is_fast(fast, monkeypatch):
    monkeypatch.setattr("training.arguments.bf16_is_fast", lambda: fast)
    assert parse(REQUIRED)[1].bf16 is fast
    assert parse([*REQUIRED, "--bf16", "true"])[1].bf16
    assert not parse([*REQUIRED, "--bf16", "false"])[1].bf16


def test_the_gpu_preset_needs_a_gpu(monkeypatch):
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    assert "--preset cpu" in refusal("--preset", "gpu")


def test_defaults_hold_in_python_too():
    assert MusicArguments(data="x").preset == "cpu-quick"


# Refusals.


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        (["--augment_pitch", "12"], "from 0 to 11, got 12"),
        (["--augment_band", "2"], "from 0 to 1, got 2.0"),
        (["--workers", "0"], "1 or more, got 0"),
        (["--dropout", "1.5"], "below 1, got 1.5"),
        (["--ema_decay", "1"], "below 1, got 1"),
        (["--window", "1"], "2 or more, got 1"),
        (["--samples", "-1"], "0 or more, got -1"),
        (["--early_stopping_patience", "-2"], "0 or more, got -2"),
        (["--per_device_train_batch_size", "0"], "1 or more, got 0"),
        (["--label_smoothing_factor", "2"], "from 0 to 0.99, got 2.0"),
        (["--learning_rate", "-1"], "0 or more, got -1.0"),
        (["--train_sampling_strategy", "random"], "must be sequential, got random"),
        (["--auto_find_batch_size", "true"], "must be False, got True"),
        (["--hub_model_id", "ann/x"], "--push_to_hub"),
        (["--hub_private"], "--push_to_hub"),
        (["--report_to", "carrier-pigeon"], "tensorboard"),
    ],
)
def test_invalid_values_are_refused(options, fact):
    message = refusal(*options)
    assert options[0] in message
    assert fact in message


def test_errors_of_the_trainer_have_one_line():
    assert "load_best_model_at_end" in refusal("--eval_steps", "30", "--save_steps", "50")


def test_a_token_is_refused_and_not_repeated():
    token = "hf_" + "SomeTokenThatMayWrite123456"
    assert token not in (message := refusal("--hub_token", token))
    assert "hf auth login" in message


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (["--data", "x", "--learning_rat", "3"], "--learning_rat 3"),
        ([], "required: --data"),
        (["--data", "x", "--preset", "tpu"], "argument --preset: invalid choice: 'tpu'"),
        (["--data", "x", "--window", "1k"], "argument --window: invalid int value: '1k'"),
        (["--data", "x", "--config"], "argument --config: expected one argument"),
    ],
)
def test_a_parser_error_is_one_line_and_status_1(arguments, fact, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(arguments)
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert fact in error
    assert error.count("\n") == 1


def test_overrides_are_names_and_json_values():
    assert parse_overrides("") == {}
    assert parse_overrides("a=1,b=false") == {"a": 1, "b": False}
    with pytest.raises(ValueError, match="'a'"):
        parse_overrides("a")


def test_push_to_hub_takes_the_name_of_a_repository():
    music, training = parse([*REQUIRED, "--push_to_hub", "ann/waltzes", "--hub_private"])
    assert (music.hub_repo, music.hub_private) == ("ann/waltzes", True)
    assert training.push_to_hub is False
    assert parse(REQUIRED)[0].hub_repo is None


# Settings files.

YAML = """
data: [one, two.zip]
output_dir: out
preset: cpu
learning_rate: 0.25
weight_decay: 1e-3
bf16: false
freeze: [embeddings, 1]
layer_decay: 0.9
layer_learning_rates: {embeddings: 1.0e-5, 4: 0.001}
lr_scheduler_kwargs: {num_cycles: 2}
report_to: [none]
push_to_hub: ann/waltzes
"""


def test_a_yaml_file_sets_options(tmp_path):
    (tmp_path / "run.yaml").write_text(YAML)
    music, training = parse(["--config", str(tmp_path / "run.yaml")])
    assert music.data == "one,two.zip"
    assert (music.preset, music.window, music.freeze) == ("cpu", 512, "embeddings,1")
    assert (training.learning_rate, training.weight_decay) == (0.25, 0.001)
    assert (training.bf16, music.layer_decay) == (False, 0.9)
    assert music.layer_learning_rates == "embeddings=1e-05,4=0.001"
    assert training.lr_scheduler_kwargs == {"num_cycles": 2}
    assert training.report_to == []
    assert music.hub_repo == "ann/waltzes"


def test_the_command_line_overrides_the_file_and_the_file_the_preset(tmp_path):
    settings = {"data": "x", "output_dir": "out", "learning_rate": 0.25, "window": 99}
    (tmp_path / "run.json").write_text(json.dumps(settings))
    music, training = parse(["--learning_rate", "0.5", f"--config={tmp_path / 'run.json'}"])
    assert (training.learning_rate, music.window) == (0.5, 99)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("learning_rat: 3", "--learning_rat 3"),
        ("preset: tpu", "invalid choice: 'tpu'"),
        ("window: 2.5", "invalid int value: '2.5'"),
    ],
)
def test_unknown_names_and_bad_values_in_a_file_are_refused(tmp_path, text, fact, capsys):
    (tmp_path / "run.yaml").write_text(f"data: x\noutput_dir: out\n{text}\n")
    with pytest.raises(SystemExit):
        parse(["--config", str(tmp_path / "run.yaml")])
    assert fact in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("none.json", None),
        ("run.json", "{"),
        ("run.yaml", "a: ["),
        ("run.json", "[1]"),
        ("run.yaml", "1: 2"),
    ],
)
def test_a_file_without_a_table_of_options_is_refused(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_text(content)
    assert f"'{name}'" in refusal("--config", str(tmp_path / name))
