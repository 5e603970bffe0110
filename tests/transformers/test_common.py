"""transformers' own common tests, run against our model.

Each of them must pass, or stand in a table below with the reason why not; one that stands there and
passes after all fails here.
"""

from __future__ import annotations

import unittest
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch

from musiclstm import MusicLSTMConfig, MusicLSTMForCausalLM, MusicLSTMModel
from tests.transformers import source

try:
    common = source.load("test_modeling_common")
    configs = source.load("test_configuration_common")
    training = source.load("test_training_mixin")
    generation = source.load("generation.test_utils")
except source.UnavailableError as why:
    pytest.skip(str(why), allow_module_level=True)

ROOT = Path(__file__).parents[2]

# The warnings of transformers' tests are not ours.
pytestmark = pytest.mark.filterwarnings("ignore")

# What the tests know built-in models by: a class that stands there is given labels.
common.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = {"musiclstm": "MusicLSTMForCausalLM"}
common.MODEL_MAPPING_NAMES = {"musiclstm": "MusicLSTMModel"}

NO_GENERATION = "GenerationTesterMixin is not in the distribution; test_generation.py is ours."
# Why a test cannot pass, and its names; checked both ways.
NOT_FOR_US = {
    "It has no attention layers, so there is no kind of attention to choose.": (
        *("test_attention_outputs", "test_attn_implementation_*", "test_can_set_attention_*"),
        *("test_eager_matches_sdpa_*", "test_sdpa_can_*", "test_sliding_window_mask"),
        *("test_flash_attn_*", "test_flex_attention_*"),
    ),
    "It counts no positions: an LSTM reads in order.": (
        *("test_model_rope_*", "test_resize_position_*", "test_vision_axial_rope"),
    ),
    "It has no experts.": (
        *("test_eager_matches_batched_*", "test_moe_*", "test_output_router_*"),
    ),
    "It has no encoder.": ("test_encoder_decoder_*",),
    "Its config has no configs inside.": ("test_internal_model_config_*",),
    "Its weights are stored under the names they have.": (
        *("test_can_load_from_already_*", "test_reverse_loading_*"),
    ),
    "It keeps no weights in float32 when the others are not.": ("test_keep_in_fp32_*",),
    "It is small: no plan splits it over devices.": ("test_tp_plan_*", "test_tied_head_has_*"),
    "Its hidden states are collected by hand, because padding is put in order first.": (
        *("test_capture_outputs_*", "test_can_capture_*"),
    ),
    "torch.compile cannot trace an nn.LSTM as one graph; in parts: tests/test_modeling.py.": (
        "test_torch_compile_for_training",
    ),
    NO_GENERATION: ("test_generation_tester_mixin_*",),
}
# The same for what passes or not according to the machine.
NEEDS_ANOTHER_MACHINE = {
    "Needs a GPU.": (
        *("test_can_load_with_device_*", "test_can_load_with_global_*"),
        *("test_cpu_offload", "test_disk_offload_*", "test_model_parallelism"),
    ),
    "Needs the library kernels.": ("test_kernels_*",),
    "Needs the library deepspeed.": ("test_resize_*_with_deepspeed*",),
}


class Subject:
    """What the common tests ask of a model: a small config and something to read."""

    batch_size, seq_length, vocab_size, hidden_size, num_hidden_layers = 3, 7, 99, 32, 2
    is_training = True
    causal_lm_class, base_model_class = MusicLSTMForCausalLM, MusicLSTMModel

    def __init__(self, **shape) -> None:
        self.shape = shape

    def get_config(self) -> MusicLSTMConfig:
        sizes = {"vocab_size": self.vocab_size, "hidden_size": self.hidden_size}
        return MusicLSTMConfig(num_hidden_layers=2, **sizes, **self.shape)

    def prepare_config_and_inputs_for_common(self) -> tuple[MusicLSTMConfig, dict]:
        ids = common.ids_tensor([self.batch_size, self.seq_length], self.vocab_size)
        return self.get_config(), {"input_ids": ids, "attention_mask": torch.ones_like(ids).tril()}


# Ours to run where the whole source is at hand (source.WHOLE); the distribution leaves it out.
BASES = (training.TrainingTesterMixin, common.ModelTesterMixin, unittest.TestCase)
if source.has("generation.test_utils"):
    BASES = (generation.GenerationTesterMixin, *BASES)
    del NOT_FOR_US[NO_GENERATION]


class Plain(*BASES):
    """The tests of transformers; pytest runs them through `test_of_transformers`."""

    __test__ = False
    all_model_classes = (MusicLSTMModel, MusicLSTMForCausalLM)
    has_attentions = False
    test_can_init_all_missing_weights_before_2023 = True
    model_tester = Subject()

    def test_config(self) -> None:
        names = ["hidden_size", "num_hidden_layers"]
        configs.ConfigTester(self, MusicLSTMConfig, common_properties=names).run_common_tests()

    def _prepare_config_and_inputs_for_retain_grad_hidden_states_attentions(self):
        # Without padding: where there is some, hidden states are copies, back in their places.
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        return config, {"input_ids": inputs["input_ids"]}


class WithReadOut(Plain):
    """The same with all that a config can add."""

    model_tester = Subject(
        attention_window=3, tie_word_embeddings=False, recall_window=96, recall_distance=1
    )


# Left out: tests of what is made of images, sounds and videos; they pass for whatever takes none.
FOR_OTHER_SENSES = "test_get_*_features_*"
NAMES = [
    name
    for name in unittest.defaultTestLoader.getTestCaseNames(Plain)
    if not fnmatch(name, FOR_OTHER_SENSES)
]


def reason(name: str, table: dict[str, tuple[str, ...]]) -> str | None:
    """Why the table lists `name`; None where it does not."""
    listed = (why for why, names in table.items() if any(fnmatch(name, each) for each in names))
    return next(listed, None)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("network", [Plain, WithReadOut], ids=["plain", "read-out"])
def test_of_transformers(name, network) -> None:
    result = unittest.TestResult()
    network(name).run(result)
    passed = result.wasSuccessful() and not result.skipped
    if listed := reason(name, NOT_FOR_US):
        assert not passed, f"{name} passes; take it off the table."
        pytest.skip(listed)
    if not passed and (listed := reason(name, NEEDS_ANOTHER_MACHINE)):
        pytest.skip(listed)
    assert passed, "".join(text for _, text in result.errors + result.failures + result.skipped)


@pytest.mark.parametrize("table", [NOT_FOR_US, NEEDS_ANOTHER_MACHINE], ids=["never", "elsewhere"])
def test_every_name_in_a_table_is_that_of_a_test(table) -> None:
    patterns = [pattern for names in table.values() for pattern in names]
    assert [each for each in patterns if not any(fnmatch(name, each) for name in NAMES)] == []


@pytest.mark.skipif(source.has("generation.test_utils"), reason="It counts what everybody has.")
def test_the_documentation_counts_the_same() -> None:
    lines = (ROOT / "docs" / "transformers.md").read_text(encoding="utf-8").splitlines()
    tables = NOT_FOR_US | NEEDS_ANOTHER_MACHINE
    found = [reason(name, tables) for name in NAMES]
    rows = {why: found.count(why) for why in tables}
    assert [f"| {why} | {count} |" for why, count in rows.items()] == [
        line for line in lines if line.removeprefix("| ").split(" | ")[0] in tables
    ]
    assert f"| passed | {found.count(None)} |" in lines
