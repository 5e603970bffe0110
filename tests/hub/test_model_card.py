"""Model card: facts, definitions, metadata, escaped text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData
from symusic.core import ScoreTick

from hub.model_card import DEFINITIONS, UNKNOWN, main, model_card, write_card
from musiclstm.model.checkpoint_files import read_facts
from training.evaluation import music_metrics

EVALUATION = {
    "data": ["songs"],
    "split": "test",
    "plan": {
        "pieces": 2, "takes": 3, "prompt_bars": 8, "bars": 16,
        "sampling": {"temperature": 0.9, "min_p": 0.25, "top_k": None, "seed": 7},
    },
    "held_out": {
        "bits_per_note": 6.0625, "bits_per_token": 2.5, "pieces": 7, "notes": 1234, "tokens": 3000,
    },
    "accuracy": {"Pitch": {"share": 0.4567, "tokens": 4321}},
    "continuations": {
        "pieces": 2, "takes": 6, "decode_failures": 0,
        "figures": {
            "near_repeats": {
                "composed": 0.1812, "composed_interval": [0.1555, 0.2083], "original": 0.2409,
            },
            "same_key": {"composed": None, "composed_interval": [None, None], "original": 0.5},
        },
    },
}  # fmt: skip
RUN = {
    "from": "scratch", "steps": 100, "tokens_seen": 2_000_000, "minutes": 30.0, "window": 256,
    "rows": 16, "learning_rate": 0.002, "schedule": "cosine", "device": "cpu", "machine": "x86_64",
}  # fmt: skip
FACTS = {
    "parameters": 5_521_152,
    "evaluation": [EVALUATION],
    "reports": [
        {"title": "How fast", "command": "python -m benchmarks.decoding", "printed": "| a |\n| b |"}
    ],
    "limits": ["It forgets its theme."],
    "data": [{"name": "songs", "licence": "CC0-1.0", "train": {"pieces": 1, "notes": 22_000}}],
    "credits": [{"name": "songs", "source": "example.org", "licence": "CC0", "credit": "Ann Lee"}],
    "runs": [RUN, RUN],
    "samples": [{"name": "01-song", "source": "x.mid (songs)", "files": {"roll": "01-song.svg"}}],
}


@pytest.mark.parametrize(
    "text",
    [
        "5,521,152 weights",
        "| songs | test | 6.062 | 2.500 | 7 | 1,234 |",
        "| Pitch | 45.7 % | 4,321 |",
        "6 continuations of 2 test pieces, 16 bars after a prompt of 8",
        '{"temperature": 0.9, "min_p": 0.25, "seed": 7}',
        "| near repeats | 0.181 | 0.155 to 0.208 | 0.241 |",
        "| same key | not measured | - | 0.500 |",
        "## How fast\n\n| a |\n| b |\n\n`python -m benchmarks.decoding`",
        "- It forgets its theme.",
        "| songs | CC0-1.0 | 1 (22,000 notes) | - | - |",
        "- **songs**, example.org, CC0: Ann Lee",
        "Total: 4,000,000 tokens in 1.0 hours.",
        "![Piano roll of 01-song](01-song.svg)",
        "`python -m training.evaluate --data DATA --split test --pieces 2 --takes 3`",
        "Composer.from_pretrained()",
    ],
)
def test_every_fact_is_shown(text):
    assert text in model_card(FACTS, name="musiclstm")


def test_figures_of_a_baseline_have_a_column():
    figures = {"near_repeats": {"baseline": 0.3456}}
    baseline = {"model": "old (1.0)", "file": "old/test.json", "figures": figures}
    found = EVALUATION["continuations"] | {"baseline": baseline}
    card = model_card({"evaluation": [EVALUATION | {"continuations": found}]}, name="x")
    assert "| near repeats | 0.181 | 0.155 to 0.208 | 0.241 | 0.346 |" in card
    assert "| same key | not measured | - | 0.500 | not measured |" in card
    assert "| original | old (1.0) |" in card
    assert "--takes 3 --baseline old/test.json`" in card


def test_every_evaluation_has_its_own_table_and_command():
    bits = EVALUATION | {"continuations": None, "plan": EVALUATION["plan"] | {"pieces": 0}}
    bands = bits | {"data": ["bands"], "accuracy": {"Pitch": {"share": 0.5, "tokens": 7}}}
    composed = EVALUATION | {"held_out": None, "accuracy": None}
    card = model_card({"evaluation": [bits, bands, composed]}, name="x")
    command = "`python -m training.evaluate --data DATA --split test --pieces 0`"
    for name, row in (("songs", "| Pitch | 45.7 % | 4,321 |"), ("bands", "| Pitch | 50.0 % | 7 |")):
        table = card.partition(f"{name}, split test, {command}:")[2]
        assert table.splitlines()[4] == row
    assert "--split test --pieces 2 --takes 3 --no-bits`" in card


def test_missing_facts_are_shown_as_missing():
    card = model_card({}, name="mine/waltzes")
    assert card.count(UNKNOWN) == 4
    assert 'Composer.from_pretrained("mine/waltzes")' in card
    assert "an unknown number weights" in card
    assert "Not stated." in card
    assert "## Samples" not in card


def test_without_an_evaluation_figures_of_the_training_run_are_shown():
    card = model_card({"test": {"bits_per_note": 7.125}}, name="x")
    assert "| test | 7.125 |" in card


def test_names_are_escaped():
    facts = {
        "data": [{"name": "<img src=x>|`a`_b", "licence": None}],
        "limits": ["[a](javascript:b)"],
    }
    _, metadata, card = model_card(facts, name="<script>$where</script>").split("---\n", 2)
    assert "<" not in metadata
    card = "".join(card.split("```")[::2])  # code blocks need no escapes
    for sign in ("<img", "<script", "](javascript", "|`a`"):
        assert sign not in card
    assert "&#60;img src=x&#62;&#124;&#96;a&#96;&#95;b" in card
    assert "not stated" in card


def test_the_command_writes_the_card(tmp_path, capsys):
    (tmp_path / "facts.json").write_text(json.dumps(FACTS))
    assert main([str(tmp_path), "--name", "musiclstm"]) == 0
    assert (tmp_path / "README.md").read_text() == model_card(FACTS, name="musiclstm")
    assert str(tmp_path / "README.md") in capsys.readouterr().out


def test_damaged_facts_are_an_error(tmp_path, capsys):
    (tmp_path / "facts.json").write_text("{")
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "README.md").exists()


def test_every_figure_of_an_evaluation_has_a_definition():
    table = music_metrics.note_table(ScoreTick(480), np.array([0, 1920]))
    figures = {"overlap", "overlap_with_prompt", *music_metrics.prompt_metrics(table, table)}
    assert figures == set(DEFINITIONS)
    assert f"- *near repeats*: {DEFINITIONS['near_repeats']}" in model_card(FACTS, name="x")


# -- Metadata --------------------------------------------------------------------------------------


def data_of(facts, **options):
    return ModelCard(model_card(facts, **{"name": "musiclstm", **options})).data


def test_the_hub_can_read_the_metadata():
    data = data_of(FACTS)
    assert (data.license, data.library_name) == ("apache-2.0", "transformers")
    assert data.pipeline_tag == "text-generation"
    assert "music" in data.tags
    assert data.base_model is data.datasets is None
    assert data_of(FACTS, license="cc0-1.0").license == "cc0-1.0"


def test_results_are_preserved_by_the_reader_of_the_hub():
    data = data_of(FACTS, name="ann/waltzes")
    assert data.model_name == "ann/waltzes"
    found = {
        (e.dataset_name, e.dataset_split, e.metric_type): e.metric_value for e in data.eval_results
    }
    assert found == {
        ("songs", "test", "bits_per_note"): 6.0625,
        ("songs", "test", "bits_per_token"): 2.5,
    }
    again = ModelCardData(**yaml.safe_load(data.to_yaml()))
    assert again.eval_results == data.eval_results


def test_results_of_different_corpora_are_separate():
    found = data_of({"evaluation": [EVALUATION, EVALUATION | {"data": ["bands"]}]}).to_dict()
    assert [each["dataset"]["name"] for each in found["model-index"][0]["results"]] == [
        "songs",
        "bands",
    ]


def test_without_measurements_there_are_no_results():
    data = data_of({"data": [{"name": "songs", "licence": None}]})
    assert data.eval_results is None
    assert "model-index" not in data.to_dict()


def test_a_plain_training_run_has_results_too():
    facts = {"valid": {"bits_per_note": 7.25}, "data": [{"name": "ann/waltzes", "licence": None}]}
    (result,) = data_of(facts).eval_results
    assert (result.dataset_split, result.metric_value) == ("valid", 7.25)
    assert data_of(facts).datasets == ["ann/waltzes"]


@pytest.mark.parametrize(
    ("starts", "base"),
    [
        ([], None),
        (["scratch"], None),
        (["scratch", "the run before"], None),
        (["scratch", "default"], "musiclstm"),
        (["scratch", "ann/model"], "ann/model"),
        (["scratch", "default", "my folder"], "musiclstm"),
        (["default", "ann/model", "mine"], "ann/model"),
    ],
)
def test_the_base_model_is_that_of_the_first_run(starts, base):
    facts = {"runs": [RUN | {"from": start} for start in starts]}
    assert data_of(facts).base_model == base
    assert data_of(facts).to_dict().get("base_model_relation") == (base and "finetune")
    assert (f"Fine-tuned from `{base}`" in model_card(facts, name="x")) == bool(base)
    assert data_of(facts, base_model="bob/first").base_model == "bob/first"


def test_the_card_of_the_bundled_weights_is_up_to_date():
    folder = Path(__file__).parents[2] / "musiclstm" / "pretrained"
    text = model_card(read_facts(folder), name="musiclstm")
    assert (folder / "README.md").read_text(encoding="utf-8") == text


# -- On the Hub ------------------------------------------------------------------------------------

BASE_URL = "https://hub.example/ann/waltzes/resolve/main"
SOUND = {"midi": "samples/a b.mid", "roll": "samples/a b.png", "sound": "samples/a b.mp3"}


def test_samples_on_the_hub_have_audio_players():
    facts = {"samples": [{"name": "a", "source": "b", "files": SOUND}]}
    player = f'<audio controls src="{BASE_URL}/samples/a%20b.mp3"></audio>'
    assert player in model_card(facts, name="ann/waltzes", base_url=BASE_URL)
    assert "<audio" not in model_card(facts, name="ann/waltzes")


def test_a_sample_without_audio_and_piano_roll_is_listed():
    facts = {"samples": [{"name": "a", "source": "b", "files": {"midi": "a.mid"}}]}
    card = model_card(facts, name="x", base_url=BASE_URL)
    assert "[midi](a.mid)" in card
    assert "<audio" not in card
    assert "![Piano roll" not in card


def test_the_card_shows_three_ways_of_use():
    card = model_card(FACTS, name="ann/waltzes", base_url=BASE_URL)
    assert 'Composer.from_pretrained("ann/waltzes")' in card
    assert 'AutoModelForCausalLM.from_pretrained("ann/waltzes", trust_remote_code=True)' in card
    assert "python -m musiclstm extend motif.mid --model ann/waltzes --bars 8" in card
    assert "python app.py --model ann/waltzes" in card
    assert "trust_remote_code" not in model_card(FACTS, name="musiclstm")


def test_an_existing_learning_curve_is_shown(tmp_path):
    write_card(tmp_path, name="x")
    assert "There is no learning curve." in (tmp_path / "README.md").read_text()
    (tmp_path / "learning_curve.png").write_bytes(b"")
    write_card(tmp_path, name="x")
    assert "![Learning curve](learning_curve.png)" in (tmp_path / "README.md").read_text()


def test_the_likelihood_before_the_last_run_is_shown():
    card = model_card({"runs": [RUN | {"valid_before": 7.125}]}, name="x")
    assert "Before the last run: 7.125 bits per note of held-out pieces." in card
