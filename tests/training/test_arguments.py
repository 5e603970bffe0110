"""Options of the fine-tuning command: what follows from what, and what is refused."""

from __future__ import annotations

import pytest

from training.arguments import MusicArguments, parse, read_overrides

NEEDED = ["--data", "x", "--output_dir", "out"]


def test_epochs_that_are_asked_for_win_over_the_steps_of_the_preset():
    assert parse([*NEEDED, "--num_train_epochs", "2"])[1].max_steps == -1
    both = parse([*NEEDED, "--num_train_epochs=2", "--max_steps", "9"])[1]
    assert (both.max_steps, both.num_train_epochs) == (9, 2)
    assert parse(NEEDED)[1].max_steps > 0


def test_checkpoints_follow_the_evaluations():
    steps = parse([*NEEDED, "--eval_steps", "30"])[1]
    assert (steps.eval_steps, steps.save_steps) == (30, 30)
    epoch = parse([*NEEDED, "--eval_strategy", "epoch"])[1]
    assert epoch.save_strategy == epoch.eval_strategy == "epoch"
    assert epoch.load_best_model_at_end


def test_without_evaluations_there_is_no_best():
    training = parse([*NEEDED, "--eval_strategy", "no"])[1]
    assert training.save_strategy == "steps"
    assert not training.eval_on_start
    assert not training.load_best_model_at_end
    assert training.metric_for_best_model is None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--augment_pitch", "12"], "--augment_pitch must be from 0 to 11, got 12."),
        (["--augment_band", "2"], "--augment_band must be from 0 to 1, got 2.0."),
        (["--augment_merge", "-1"], "--augment_merge must be from 0 to 1, got -1.0."),
        (["--augment_order", "1.1"], "--augment_order must be from 0 to 1, got 1.1."),
        (["--augment_context", "-0.1"], "--augment_context must be from 0 to 1, got -0.1."),
        (["--workers", "0"], "--workers must be 1 or more, got 0."),
        (["--dropout", "1.5"], "--dropout must be 0 or more and below 1, got 1.5."),
        (["--dropout", "-1"], "--dropout must be 0 or more and below 1, got -1."),
        (["--window", "1"], "--window must be 2 or more, got 1."),
        (["--samples", "-1"], "--samples must be 0 or more, got -1."),
        (
            ["--per_device_train_batch_size", "0"],
            "--per_device_train_batch_size must be 1 or more, got 0.",
        ),
        (
            ["--gradient_accumulation_steps", "-1"],
            "--gradient_accumulation_steps must be 1 or more, got -1.",
        ),
        (
            ["--label_smoothing_factor", "2"],
            "--label_smoothing_factor must be from 0 to 0.99, got 2.0.",
        ),
        (["--learning_rate", "-1"], "--learning_rate must be 0 or more, got -1.0."),
        (
            ["--train_sampling_strategy", "random"],
            "--train_sampling_strategy must stay sequential, got random: the windows of a piece "
            "have to come one after the other; leave it out.",
        ),
        (
            ["--dataloader_num_workers", "1", "--dataloader_persistent_workers", "true"],
            "--dataloader_persistent_workers must stay False, got True: the windows of a piece "
            "have to come one after the other; leave it out.",
        ),
        (
            ["--auto_find_batch_size", "true"],
            "--auto_find_batch_size must stay False, got True: the windows of a piece have to come "
            "one after the other; leave it out.",
        ),
    ],
)
def test_what_means_nothing_is_refused(options, sentence):
    with pytest.raises(ValueError, match="--") as refused:
        parse([*NEEDED, *options])
    assert str(refused.value) == sentence


def test_what_the_trainer_refuses_is_one_line():
    with pytest.raises(ValueError, match="load_best_model_at_end") as refused:
        parse([*NEEDED, "--eval_steps", "30", "--save_steps", "50"])
    assert "\n" not in str(refused.value)


def test_a_report_nobody_can_write_is_refused():
    with pytest.raises(
        ValueError, match=r"--report_to cannot be followed: .*; tensorboard is there"
    ):
        parse([*NEEDED, "--report_to", "nobody"])


def test_overrides_are_names_and_plain_values():
    assert read_overrides("") == {}
    assert read_overrides("a=1,b=false") == {"a": 1, "b": False}


def test_settings_can_be_made_in_python_too():
    assert MusicArguments(data="x").preset == "cpu-quick"


# -- Publishing ------------------------------------------------------------------------------------


def test_a_name_to_publish_under_is_ours_and_not_the_trainers():
    music, training = parse([*NEEDED, "--push_to_hub", "ann/waltzes", "--hub_private"])
    assert (music.hub_repo, music.hub_private) == ("ann/waltzes", True)
    assert training.push_to_hub is False
    assert parse(NEEDED)[0].hub_repo is None


def test_a_file_of_settings_may_name_it_too(tmp_path):
    (tmp_path / "settings.yaml").write_text("push_to_hub: ann/waltzes\nhub_private: true\n")
    music, training = parse([*NEEDED, "--config", str(tmp_path / "settings.yaml")])
    assert (music.hub_repo, music.hub_private) == ("ann/waltzes", True)
    assert training.push_to_hub is False


def test_a_token_among_the_arguments_is_refused_and_not_repeated():
    token = "hf_" + "SomeTokenThatMayWrite123456"
    with pytest.raises(ValueError, match="--hub_token would be written down in plain") as refusal:
        parse([*NEEDED, "--hub_token", token])
    assert token not in str(refusal.value)


def test_private_means_nothing_where_nothing_is_published():
    with pytest.raises(ValueError, match="--hub_private says who may see what is published, and"):
        parse([*NEEDED, "--hub_private"])


@pytest.mark.parametrize("words", [["--hub_private_repo", "true"], ["--hub_model_id", "ann/x"]])
def test_flags_of_the_trainer_that_would_not_be_followed_are_refused(words):
    with pytest.raises(ValueError, match="is not followed here; take --push_to_hub user/model and"):
        parse([*NEEDED, "--push_to_hub", "ann/waltzes", *words])
