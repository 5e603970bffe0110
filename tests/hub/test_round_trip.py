"""Train, publish, load with transformers only, and fine-tune what was published."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import torch
from huggingface_hub import ModelCard

from hub.publish import publish
from musiclstm import Composer, Sampling, example_files
from musiclstm.model.checkpoint import load_checkpoint
from training.finetune import main as finetune

TOKEN = "hf_" + "LoopbackTokenOfNobody" + "1234567890"
FIRST, SECOND = "ann/first", "ann/second"
STEPS = ["--max_steps", "2", "--eval_steps", "2", "--save_steps", "2", "--warmup_steps", "0"]
QUICK = [
    *("--preset", "cpu-quick", *STEPS, "--window", "32", "--per_device_train_batch_size", "2"),
    *("--disable_tqdm", "true", "--bf16", "false", "--report_to", "none", "--samples", "0"),
    *("--workers", "1", "--data", str(next(iter(example_files().values())).parent)),
]
SMALL = ["--model", "scratch", "--hidden_size", "16", "--num_hidden_layers", "2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder that training wrote, with its facts."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as own:
        own.setenv("MUSICLSTM_CACHE", str(folder / "cache"))
        arguments = ["--output_dir", str(folder / "out"), *SMALL, *QUICK]
        assert finetune(arguments) == 0
    return folder / "out"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MUSICLSTM_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def _no_samples(monkeypatch) -> None:
    """Samples are slow, and tested in test_publish."""
    monkeypatch.setattr(publish, "__kwdefaults__", {**publish.__kwdefaults__, "samples": 0})


# The examples of the card, in a process with torch and transformers only.
EXAMPLE = """
import json, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"musiclstm", "hub", "training", "miditok", "symusic", "datasets"}:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
import torch
torch.manual_seed(0)
found = {}
exec(sys.argv[1], found)
model, begin = found["model"], found["begin"]
greedy = model.generate(begin, do_sample=False, max_new_tokens=40)
logits = model(greedy).logits[0, -1]
assert "musiclstm" not in sys.modules
print(json.dumps({"greedy": greedy.tolist(), "logits": logits.tolist(),
                  "drawn": found["tokens"].shape[1], "module": type(model).__module__}))
sys.meta_path.pop(0)
found["tokens"] = greedy
exec(sys.argv[2], found)
"""


def test_the_examples_of_the_card_give_the_tokens_of_the_library(
    hub, trained, child_environment, tmp_path
) -> None:
    publish(trained, FIRST)
    card = hub.files(FIRST)["README.md"].decode()
    load, decode = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[1:]
    command = [sys.executable, "-I", "-c", EXAMPLE, load, decode]
    done = subprocess.run(
        command, env=child_environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[0])
    model, tokenizer = load_checkpoint(trained)
    greedy = model.generate(torch.tensor([[tokenizer.bos_id]]), do_sample=False, max_new_tokens=40)
    assert result["greedy"] == greedy.tolist()
    assert torch.equal(torch.tensor(result["logits"]), model(greedy).logits[0, -1])
    assert result["drawn"] > 1
    assert result["module"].startswith("transformers_modules.")
    assert (tmp_path / "piece.mid").read_bytes().startswith(b"MThd")


def test_the_published_model_composes_the_same_midi(hub, trained) -> None:
    publish(trained, FIRST)
    prompt = next(iter(example_files().values()))
    local, from_hub = (
        composer.compose(prompt=prompt, bars=4, sampling=Sampling(seed=3))
        for composer in (
            Composer(*load_checkpoint(trained), name=FIRST),  # recipes name the model
            Composer.from_pretrained(FIRST),
        )
    )
    assert from_hub.to_midi() == local.to_midi()
    assert from_hub.bars == 4


def test_a_published_model_can_be_fine_tuned_and_published(hub, trained, tmp_path) -> None:
    publish(trained, FIRST)
    arguments = ["--output_dir", str(tmp_path / "out"), "--model", FIRST, *QUICK]
    assert finetune([*arguments, "--push_to_hub", SECOND, "--hub_private"]) == 0
    card = ModelCard(hub.files(SECOND)["README.md"].decode())
    assert card.data.base_model == FIRST
    assert f"Fine-tuned from `{FIRST}`" in card.text
    assert hub.repo(SECOND).private
    assert [run["from"] for run in json.loads(hub.files(SECOND)["facts.json"])["runs"]] == [
        "scratch",
        FIRST,
    ]
    measured = json.loads((tmp_path / "out" / "facts.json").read_text())["valid"]["bits_per_note"]
    found = {
        (each.dataset_split, each.metric_type): each.metric_value for each in card.data.eval_results
    }
    assert found["valid", "bits_per_note"] == pytest.approx(measured, abs=1e-4)
    assert "learning_curve.png" in hub.files(SECOND)
    assert "training_args.bin" not in hub.files(SECOND)
    assert Composer.from_pretrained(SECOND).compose(bars=1, sampling=Sampling(seed=1)).bars == 1


def test_a_failed_upload_can_be_repeated_without_training(hub, trained, tmp_path, capsys) -> None:
    folder = tmp_path / "my out"
    arguments = [
        "--output_dir",
        str(folder),
        "--model",
        str(trained),
        *QUICK,
        "--push_to_hub",
        SECOND,
    ]
    hub.fail("POST", "/commit/", status=503, times=99)
    assert finetune(arguments) == 1
    error = capsys.readouterr().err
    assert "(status 503)" in error
    assert f"{folder} holds the finished model; publish it later with" in error
    assert f"`python -m hub.publish '{folder}' {SECOND}`." in error
    assert hub.files(SECOND).keys() == {".gitattributes"}
    hub.clear_faults()
    written_at = (folder / "model.safetensors").stat().st_mtime_ns
    assert finetune(arguments) == 0  # the run has ended, so nothing is trained
    assert (folder / "model.safetensors").stat().st_mtime_ns == written_at
    assert hub.files(SECOND)["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert TOKEN.encode() not in b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("name", "key_fact"), [("waltzes", "is not a valid name"), ("ann/x", "No user is logged in")]
)
def test_a_name_or_login_that_cannot_publish_is_refused_before_training(
    name, key_fact, hub, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("training.finetune.read", lambda *_: pytest.fail("too late"))
    assert finetune(["--output_dir", str(tmp_path), *SMALL, *QUICK, "--push_to_hub", name]) == 1
    assert key_fact in capsys.readouterr().err
