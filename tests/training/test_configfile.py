"""Settings from a file."""

from __future__ import annotations

import json

import pytest

from training.arguments import parse
from training.configfile import ConfigFileError
from training.finetune import main

YAML = """
data: [one, two.zip]
output_dir: out
preset: cpu
learning_rate: 0.25
bf16: false
freeze: [embeddings, 1]
layer_decay: 0.9
lr_scheduler_kwargs: {num_cycles: 2}
report_to: [none]
"""


def test_a_yaml_file_gives_the_settings(tmp_path):
    (tmp_path / "run.yaml").write_text(YAML)
    music, training = parse(["--config", str(tmp_path / "run.yaml")])
    assert music.data == "one,two.zip"
    assert (music.preset, music.window, music.freeze) == ("cpu", 512, "embeddings,1")
    assert (training.learning_rate, training.bf16, music.layer_decay) == (0.25, False, 0.9)
    assert training.lr_scheduler_kwargs == {"num_cycles": 2}
    assert training.report_to == []


def test_the_command_line_wins_over_the_file(tmp_path):
    settings = {"data": "x", "output_dir": "out", "learning_rate": 0.25, "window": 99}
    (tmp_path / "run.json").write_text(json.dumps(settings))
    music, training = parse(["--learning_rate", "0.5", f"--config={tmp_path / 'run.json'}"])
    assert (training.learning_rate, music.window) == (0.5, 99)


def test_a_setting_nobody_knows_is_one_line(tmp_path, capsys):
    (tmp_path / "run.json").write_text('{"data": "x", "learning_rat": 3}')
    with pytest.raises(SystemExit) as stop:
        main(["--config", str(tmp_path / "run.json")])
    assert stop.value.code == 1
    assert capsys.readouterr().err.startswith("error: nobody knows --learning_rat 3;")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("run.txt", "", "--config takes a .json or .yaml file, got 'run.txt'"),
        ("none.json", None, "There is no file 'none.json' to read; check --config"),
        ("run.json", "{", r"'run.json' cannot be read \(.*\); check --config"),
        ("run.yaml", "a: [", r"'run.yaml' cannot be read \(.*\); check --config"),
        (
            "run.json",
            "[1]",
            "'run.json' must name settings and their values, such as preset: cpu-quick",
        ),
        ("run.yaml", "1: 2", "'run.yaml' must name settings and their values, such as preset"),
    ],
)
def test_a_file_that_is_no_table_of_settings_is_one_sentence(tmp_path, name, content, sentence):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigFileError, match=sentence) as caught:
        parse(["--config", str(tmp_path / name)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (("--ema_decay", "1"), "--ema_decay must be 0 or more and below 1, got 1; 0 is off"),
        (("--samples", "-1"), "--samples must be 0 or more, got -1"),
        (
            ("--early_stopping_patience", "-2"),
            "--early_stopping_patience must be 0 or more, got -2",
        ),
        (("--window", "1"), "--window must be 2 or more, got 1"),
    ],
)
def test_settings_that_mean_nothing_are_one_sentence(option, sentence, capsys):
    assert main(["--data", "x", "--output_dir", "y", *option]) == 1
    assert capsys.readouterr().err.startswith(f"error: {sentence}")


def test_rates_of_parts_may_be_a_table(tmp_path):
    text = "data: x\noutput_dir: out\nlayer_learning_rates: {embeddings: 1.0e-5, 4: 0.001}\n"
    (tmp_path / "run.yaml").write_text(text)
    music, _ = parse(["--config", str(tmp_path / "run.yaml")])
    assert music.layer_learning_rates == "embeddings=1e-05,4=0.001"


def test_a_second_file_is_refused(tmp_path):
    (tmp_path / "run.json").write_text('{"data": "x"}')
    with pytest.raises(
        ConfigFileError, match="--config takes one file, got a second one; put both"
    ):
        parse(["--config", str(tmp_path / "run.json"), f"--config={tmp_path / 'run.json'}"])
