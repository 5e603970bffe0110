"""transformers' generate() with this model: what works and what raises.

Beams, sampling, left padding and continuing from a state are in tests/model/test_modeling.py.
"""

from __future__ import annotations

import pytest
import torch
from transformers import LogitsProcessor
from transformers.generation.streamers import BaseStreamer

from tests.model.tiny_models import VOCAB, build, tokens


def generate(model, *given, steps: int = 6, **how):
    how = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0} | how
    return model.generate(*given, max_new_tokens=steps, **how)


# -- What works ----------------------------------------------------------------------------------


def test_the_scores_of_every_step_are_those_of_the_network() -> None:
    model, ids = build(), tokens(2, 5)
    output = generate(
        *(model, ids),
        **{"return_dict_in_generate": True, "output_logits": True, "output_hidden_states": True},
    )
    with torch.no_grad():
        whole = model(output.sequences[:, :-1], output_hidden_states=True)
    torch.testing.assert_close(torch.stack(output.logits, 1), whole.logits[:, 4:])
    assert [len(step) for step in output.hidden_states] == [3] * 6
    last = torch.stack([step[-1][:, -1] for step in output.hidden_states], 1)
    torch.testing.assert_close(last, whole.hidden_states[-1][:, 4:])


def test_embeddings_serve_as_a_prompt_without_step_features() -> None:
    model, ids = build(features=False), tokens(2, 5)
    vectors = model.get_input_embeddings()(ids)
    assert torch.equal(generate(model, inputs_embeds=vectors), generate(model, ids)[:, 5:])


def test_only_the_scores_that_are_needed_are_computed() -> None:
    model, ids, widths = build(), tokens(2, 5), []
    model.lm_head.register_forward_hook(lambda _, __, scores: widths.append(scores.shape[1]))
    generate(model, ids)
    assert widths == [1] * 6


def test_tokens_can_be_followed_as_they_come() -> None:
    class Ear(BaseStreamer):
        heard: list[int] = []  # noqa: RUF012

        def put(self, value: torch.Tensor) -> None:
            self.heard += value.flatten().tolist()

        def end(self) -> None:
            self.heard.append(-1)

    model, ids = build(), tokens(1, 4)
    ear = Ear()
    assert generate(model, ids, streamer=ear)[0].tolist() == ear.heard[:-1]
    assert ear.heard[-1] == -1


def test_a_mask_of_ones_own_is_kept_to() -> None:
    class EvenOnly(LogitsProcessor):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            return scores.masked_fill(torch.arange(VOCAB) % 2 == 1, -torch.inf)

    made = generate(build(), tokens(2, 4), logits_processor=[EvenOnly()], num_beams=2)[:, 4:]
    assert not (made % 2).any()
    assert (generate(build(), tokens(2, 4))[:, 4:] % 2).any()


def test_a_loop_of_ones_own_can_take_the_place_of_generate() -> None:
    def first_token_only(model, input_ids, **_):
        return model(input_ids).logits[:, -1].argmax(-1, keepdim=True)

    model, ids = build(), tokens(2, 5)
    own = generate(model, ids, custom_generate=first_token_only)
    assert torch.equal(own, generate(model, ids)[:, 5:6])


@pytest.mark.parametrize("kind", ["static", "offloaded", "quantized"])
def test_a_cache_for_transformers_of_attention_is_left_aside(kind) -> None:
    model, ids = build(), tokens(2, 5)
    assert torch.equal(generate(model, ids, cache_implementation=kind), generate(model, ids))


# -- What is refused -----------------------------------------------------------------------------

STATEFUL = "assisted generation is not supported with stateful models"
REFUSED = [
    ({"prompt_lookup_num_tokens": 2}, STATEFUL),
    ({"penalty_alpha": 0.6, "top_k": 4}, "Contrastive Search requires `trust_remote_code=True`"),
    ({"dola_layers": "high"}, "Dola Generation requires `trust_remote_code=True`"),
    (
        {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5},
        "Group Beam Search requires `trust_remote_code=True`",
    ),
    ({"output_attentions": True}, "An LSTM has no attention weights; leave output_attentions out"),
    ({"prefill_chunk_size": 3}, "Cannot use prefill chunking without a cache"),
    ({"temprature": 0.9}, "temprature"),
]


@pytest.mark.parametrize(("how", "sentence"), REFUSED, ids=lambda value: "".join(value))
def test_what_generate_cannot_do_is_refused(how, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        generate(build(), tokens(1, 5), **how)


def test_no_assistant_can_guess_ahead_of_a_state_that_cannot_be_cropped() -> None:
    with pytest.raises(ValueError, match=STATEFUL):
        generate(build(), tokens(1, 5), assistant_model=build(seed=1))


# -- generation_config.json ----------------------------------------------------------------------


def test_how_to_generate_is_saved_beside_the_weights_and_used_again(tmp_path) -> None:
    model, ids = build(), tokens(1, 5)
    model.generation_config.update(max_new_tokens=3, num_beams=2, suppress_tokens=[7])
    model.save_pretrained(tmp_path)
    back = type(model).from_pretrained(tmp_path)
    assert back.generation_config.to_diff_dict() == model.generation_config.to_diff_dict()
    assert (back.generation_config.num_beams, back.generation_config.suppress_tokens) == (2, [7])
    assert back.generate(ids, eos_token_id=None).shape == (1, 8)
    assert torch.equal(back.generate(ids), model.generate(ids))


def test_the_special_tokens_of_the_config_are_those_of_generate() -> None:
    config = build(pad_token_id=5, bos_token_id=6, eos_token_id=7).generation_config
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (5, 6, 7)
