"""transformers' own common tests, run with this model.

Each test must pass or be listed below with the reason why not; a listed test that passes is a
failure here.

The distribution lacks the tests of generation; they run here from a folder that has them too:

    git -C transformers archive HEAD tests/generation | tar x -C folder
    TRANSFORMERS_TESTS=folder/tests pytest tests/model/test_transformers_common.py

where folder/tests holds the tests of the distribution, and the import of
`ExportGenerateTesterMixin` in tests/generation/test_utils.py is replaced by an empty class.
"""

from __future__ import annotations

import unittest
from fnmatch import fnmatch

import pytest
import torch
from transformers import AutoModel

from musiclstm.model.configuration_musiclstm import MusicLSTMConfig
from musiclstm.model.modeling_musiclstm import MusicLSTMForCausalLM, MusicLSTMModel
from tests.model.tiny_models import NAMES, VOCAB
from tests.transformers import transformers_sources

try:
    common = transformers_sources.load("test_modeling_common")
    configs = transformers_sources.load("test_configuration_common")
    training = transformers_sources.load("test_training_mixin")
    generation = transformers_sources.load("generation.test_utils")
except transformers_sources.UnavailableError as why:
    pytest.skip(str(why), allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore")

# Registers of built-in models: the tests pass labels to a registered class.
common.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = {"musiclstm": "MusicLSTMForCausalLM"}
common.MODEL_MAPPING_NAMES = {"musiclstm": "MusicLSTMModel"}

NO_GENERATION = "GenerationTesterMixin is not in the distribution; test_generation.py is ours."
AutoModel.register(MusicLSTMConfig, MusicLSTMModel)  # as musiclstm.model.checkpoint does
# Why a test cannot pass, and its names; checked both ways.
NOT_FOR_US = {
    "The model has no attention layers.": (
        *("test_attention_outputs", "test_attn_implementation_*", "test_can_set_attention_*"),
        *("test_eager_matches_sdpa_*", "test_sdpa_can_*", "test_sliding_window_mask"),
        *("test_flash_attn_*", "test_flex_attention_*"),
    ),
    "An LSTM has no position ids.": (
        *("test_model_rope_*", "test_resize_position_*", "test_vision_axial_rope"),
    ),
    "The model has no experts.": (
        *("test_eager_matches_batched_*", "test_moe_*", "test_output_router_*"),
    ),
    "The model has no encoder.": ("test_encoder_decoder_*",),
    "The config has no nested configs.": ("test_internal_model_config_*",),
    "Weights are stored under their own names.": (
        *("test_can_load_from_already_*", "test_reverse_loading_*"),
    ),
    "No weights are kept in float32.": ("test_keep_in_fp32_*",),
    "There is no tensor-parallel plan.": ("test_tp_plan_*", "test_tied_head_has_*"),
    "torch.compile cannot trace an nn.LSTM as one graph; in parts: tests/model/test_modeling.py.": (
        "test_torch_compile_for_training",
    ),
    NO_GENERATION: ("test_generation_tester_mixin_*",),
}
# The same for a network with step features.
NOT_WITH_FEATURES = {
    "Step features cannot be computed from inputs_embeds.": ("test_inputs_embeds*",),
    "token_names names every token, so the vocabulary cannot be resized.": (
        *("test_resize_embeddings_untied*", "test_resize_tokens_embeddings"),
    ),
}
# The same for the tests of generation.
GENERATION = {
    "The model has no attention layers.": (
        *("test_custom_4d_*", "test_*padding_matches_padding_free_*", "test_eager_matches_*"),
        "test_flash_attention_2_*",
    ),
    "An LSTM has no position ids.": ("test_generate_with_and_without_position*",),
    "An LSTM state cannot be cropped, as assisted decoding needs.": (
        *("test_assisted_*", "test_generate_with_mtp"),
    ),
    "An LSTM state has one size; there is no other cache.": (
        *("test_generate_*_static_cache", "test_generate_compil*", "test_static_cache_*"),
        "test_generate_with_quant_cache",
    ),
    "They run for networks with attention only; the same in test_modeling.py.": (
        *("test_left_padding_*", "test_recurrent_layers_mask_*"),
    ),
}
GENERATION_WITH_FEATURES = {
    "Step features cannot be computed from inputs_embeds.": (
        *("test_generate_continue_from_inputs_embeds", "test_generate_from_inputs_embeds_*"),
        "test_generate_from_random_inputs_embeds",
    ),
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
    """The `model_tester` of the common tests: a small config and inputs."""

    batch_size, seq_length, vocab_size, hidden_size, num_hidden_layers = 3, 7, 99, 32, 2
    is_training = True
    causal_lm_class, base_model_class = MusicLSTMForCausalLM, MusicLSTMModel

    def __init__(self, **shape) -> None:
        self.shape = shape

    def get_config(self) -> MusicLSTMConfig:
        sizes = {"vocab_size": self.vocab_size, "hidden_size": self.hidden_size}
        return MusicLSTMConfig(num_hidden_layers=2, **sizes | self.shape)

    def prepare_config_and_inputs_for_common(self) -> tuple[MusicLSTMConfig, dict]:
        ids = common.ids_tensor([self.batch_size, self.seq_length], self.vocab_size)
        return self.get_config(), {"input_ids": ids, "attention_mask": torch.ones_like(ids).tril()}


# Only with the complete source; the distribution lacks it.
BASES = (training.TrainingTesterMixin, common.ModelTesterMixin, unittest.TestCase)
if transformers_sources.has("generation.test_utils"):
    BASES = (generation.GenerationTesterMixin, *BASES)
    del NOT_FOR_US[NO_GENERATION]
    for table, more in ((NOT_FOR_US, GENERATION), (NOT_WITH_FEATURES, GENERATION_WITH_FEATURES)):
        for why, names in more.items():
            table[why] = (*table.get(why, ()), *names)
    NEEDS_ANOTHER_MACHINE["Needs a GPU."] += ("test_model_parallel_beam_search",)


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

    # Overrides for an LSTM state; the originals expect keys and values.

    def _check_past_key_values_for_generate(
        self, batch_size, past_key_values, seq_length, config
    ) -> None:
        state = past_key_values
        assert state.get_seq_length() == seq_length
        shape = config.num_hidden_layers, batch_size, config.hidden_size
        assert state.h.shape == state.c.shape == shape

    def _check_caches_are_equal(self, one, other) -> None:
        assert one.get_seq_length() == other.get_seq_length()
        torch.testing.assert_close(one.h, other.h)
        torch.testing.assert_close(one.c, other.c)


class WithFeatures(Plain):
    """The same with step features."""

    model_tester = Subject(token_names=NAMES, vocab_size=VOCAB, tie_word_embeddings=False)


# Omitted: tests of image, audio and video features; they pass for every model without them.
OTHER_MODALITIES = "test_get_*_features_*"
NAMES = [
    name
    for name in unittest.defaultTestLoader.getTestCaseNames(Plain)
    if not fnmatch(name, OTHER_MODALITIES)
]


def reason(name: str, table: dict[str, tuple[str, ...]]) -> str | None:
    """Return the reason for which a test is listed; None if it is not."""
    listed = (why for why, names in table.items() if any(fnmatch(name, each) for each in names))
    return next(listed, None)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("network", [Plain, WithFeatures], ids=["plain", "features"])
def test_of_transformers(name, network) -> None:
    result = unittest.TestResult()
    network(name).run(result)
    passed = result.wasSuccessful() and not result.skipped
    if listed := reason(name, NOT_FOR_US | (NOT_WITH_FEATURES if network is WithFeatures else {})):
        assert not passed, f"{name} passes; remove it from the table."
        pytest.skip(listed)
    if not passed and (listed := reason(name, NEEDS_ANOTHER_MACHINE)):
        pytest.skip(listed)
    assert passed, "".join(text for _, text in result.errors + result.failures + result.skipped)


@pytest.mark.parametrize("table", [NOT_FOR_US, NOT_WITH_FEATURES, NEEDS_ANOTHER_MACHINE])
def test_every_name_in_a_table_is_that_of_a_test(table) -> None:
    patterns = [pattern for names in table.values() for pattern in names]
    assert [each for each in patterns if not any(fnmatch(name, each) for name in NAMES)] == []
