"""Pushing to the Hub: the classes, the code files beside the weights, the pipeline.

Loading in a process without musiclstm is in tests/model/test_modeling.py.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import EntryNotFoundError
from transformers import pipeline
from transformers.utils import hub

from tests.model.tiny_models import build


class FakeHub:
    """Accepts one repository and stores its files."""

    def create_repo(self, repo_id: str, **_) -> SimpleNamespace:
        return SimpleNamespace(repo_id=repo_id)

    def create_commit(self, *, operations, **_) -> None:
        self.files = {}
        for each in operations:
            with each.as_file() as file:
                self.files[each.path_in_repo] = file.read()


@pytest.fixture
def fake_hub(monkeypatch) -> FakeHub:
    fake = FakeHub()
    monkeypatch.setattr(hub, "hf_api", lambda: fake)
    return fake


def test_the_classes_are_named_in_the_config_and_their_code_lies_beside_it(tmp_path) -> None:
    build().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["MusicLSTMForCausalLM"]
    assert config["auto_map"] == {
        "AutoConfig": "configuration_musiclstm.MusicLSTMConfig",
        "AutoModel": "modeling_musiclstm.MusicLSTMModel",
        "AutoModelForCausalLM": "modeling_musiclstm.MusicLSTMForCausalLM",
    }
    for file, name in (
        ("modeling_musiclstm.py", "MusicLSTMForCausalLM"),
        ("configuration_musiclstm.py", "MusicLSTMConfig"),
        ("config_fields.py", "ConfigFields"),
        ("step_features.py", "StepFeatures"),
    ):
        assert f"class {name}" in (tmp_path / file).read_text()


def test_pushing_uploads_weights_settings_and_code(fake_hub, monkeypatch) -> None:
    monkeypatch.setattr(hub.ModelCard, "load", no_card)
    build().push_to_hub("somebody/music-lstm")
    assert set(fake_hub.files) == {
        *("config.json", "generation_config.json", "model.safetensors"),
        *("config_fields.py", "configuration_musiclstm.py", "modeling_musiclstm.py"),
        *("step_features.py", "README.md"),
    }
    assert json.loads(fake_hub.files["config.json"])["model_type"] == "musiclstm"


def no_card(*_, **__) -> None:
    raise EntryNotFoundError("There is no model card yet.")


def test_the_text_pipeline_asks_for_a_tokenizer_of_text() -> None:
    with pytest.raises(Exception, match="Impossible to guess which tokenizer to use"):
        pipeline("text-generation", model=build())
