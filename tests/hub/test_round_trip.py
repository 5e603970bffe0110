"""From a folder of MIDI to the Hub, from there into any program, and on from what was published."""

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
    """A folder that training wrote, with what was measured of it."""
    room = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as own:
        own.setenv("MUSICLSTM_CACHE", str(room / "cache"))
        words = ["--output_dir", str(room / "out"), *SMALL, *QUICK]
        assert finetune(words) == 0
    return room / "out"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MUSICLSTM_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def _no_samples(monkeypatch) -> None:
    """What the card lets one hear is tested elsewhere, and takes its time."""
    monkeypatch.setattr(publish, "__kwdefaults__", {**publish.__kwdefaults__, "samples": 0})


# What another person's process runs: nothing but torch and transformers is to be had, and only what
# the card says is done.
STRANGER = """
import json, sys

class OnlyThose:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"musiclstm", "hub", "training", "miditok", "symusic", "datasets"}:
            raise ModuleNotFoundError(f"{name} is not to be had", name=name)

sys.meta_path.insert(0, OnlyThose())
import torch
torch.manual_seed(0)
found = {}
exec(sys.argv[1], found)
model, begin = found["model"], found["begin"]
greedy = model.generate(begin, do_sample=False, max_new_tokens=40)
scores = model(greedy).logits[0, -1]
assert "musiclstm" not in sys.modules
print(json.dumps({"greedy": greedy.tolist(), "scores": scores.tolist(),
                  "drawn": found["tokens"].shape[1], "module": type(model).__module__}))
sys.meta_path.pop(0)
found["tokens"] = greedy
exec(sys.argv[2], found)
"""


def test_a_stranger_with_torch_and_transformers_hears_the_same(
    hub, trained, child_environment, tmp_path
) -> None:
    publish(trained, FIRST)
    card = hub.files(FIRST)["README.md"].decode()
    load, decode = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[1:]
    words = [sys.executable, "-I", "-c", STRANGER, load, decode]
    done = subprocess.run(
        words, env=child_environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[0])
    model, tokenizer = load_checkpoint(trained)
    greedy = model.generate(torch.tensor([[tokenizer.bos_id]]), do_sample=False, max_new_tokens=40)
    assert told["greedy"] == greedy.tolist()
    assert torch.equal(torch.tensor(told["scores"]), model(greedy).logits[0, -1])
    assert told["drawn"] > 1
    assert told["module"].startswith("transformers_modules.")
    assert (tmp_path / "piece.mid").read_bytes().startswith(b"MThd")


def test_through_the_composer_the_midi_is_the_same(hub, trained) -> None:
    publish(trained, FIRST)
    tune = next(iter(example_files().values()))
    here, there = (
        composer.compose(prompt=tune, bars=4, sampling=Sampling(seed=3))
        for composer in (
            Composer(*load_checkpoint(trained), name=FIRST),  # recipes name the model
            Composer.from_pretrained(FIRST),
        )
    )
    assert there.to_midi() == here.to_midi()
    assert there.bars == 4


def test_what_was_published_is_trained_on_and_published_in_its_turn(hub, trained, tmp_path) -> None:
    publish(trained, FIRST)
    words = ["--output_dir", str(tmp_path / "out"), "--model", FIRST, *QUICK]
    assert finetune([*words, "--push_to_hub", SECOND, "--hub_private"]) == 0
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


def test_a_failed_upload_loses_nothing(hub, trained, tmp_path, capsys) -> None:
    folder = tmp_path / "my out"
    words = ["--output_dir", str(folder), "--model", str(trained), *QUICK, "--push_to_hub", SECOND]
    hub.fail("POST", "/commit/", status=503, times=99)
    assert finetune(words) == 1
    told = capsys.readouterr().err
    assert "The Hub is in trouble itself (status 503)" in told
    assert f"Nothing is lost: {folder} holds the model; publish it later with" in told
    assert f"`python -m hub.publish '{folder}' {SECOND}`." in told
    assert hub.files(SECOND).keys() == {".gitattributes"}
    hub.mend()
    trained_at = (folder / "model.safetensors").stat().st_mtime_ns
    assert finetune(words) == 0  # trains nothing: the run has ended
    assert (folder / "model.safetensors").stat().st_mtime_ns == trained_at
    assert hub.files(SECOND)["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert TOKEN.encode() not in b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("name", "sentence"), [("waltzes", "is no name for a model"), ("ann/x", "Nobody is logged in")]
)
def test_what_could_not_be_published_is_said_before_the_training(
    name, sentence, hub, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("training.finetune.read", lambda *_: pytest.fail("too late"))
    assert finetune(["--output_dir", str(tmp_path), *SMALL, *QUICK, "--push_to_hub", name]) == 1
    assert sentence in capsys.readouterr().err
