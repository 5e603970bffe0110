"""The network: equal results however tokens are split, padded, copied or saved."""

from __future__ import annotations

import copy
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import DynamicCache, StaticCache

from musiclstm.model import modeling_musiclstm
from musiclstm.model.configuration_musiclstm import MusicLSTMConfig
from musiclstm.model.modeling_musiclstm import (
    CACHE_NAME,
    LSTMState,
    MusicLSTMForCausalLM,
    MusicLSTMModel,
    VariationalDropout,
    feature_tensors,
)
from musiclstm.model.step_features import StepFeatures, TokenTable
from tests.model.tiny_models import NAMES, VOCAB, build, streams, tokens

SHAPES = [
    *({"num_hidden_layers": layers} for layers in (1, 3)),
    {"features": False},
    {"residual": False},
    {"layer_norm": False},
    {"residual": False, "layer_norm": False, "tie_word_embeddings": False},
]


def numbers(state: LSTMState) -> list[torch.Tensor]:
    return [each for layer in state.layers for each in (layer.h, layer.c)]


def assert_close(found, expected, *, atol: float = 1e-5) -> None:
    torch.testing.assert_close(found, expected, atol=atol, rtol=0)


def assert_same_state(found: LSTMState, expected: LSTMState, *, atol: float = 1e-5) -> None:
    for one, other in zip(numbers(found), numbers(expected), strict=True):
        assert_close(one, other, atol=atol)


def computed_features(model: MusicLSTMForCausalLM, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Features of (batch, steps) ids by one reader for each row."""
    table = TokenTable(NAMES)
    rows = [feature_tensors(StepFeatures(table).read(row.tolist())) for row in ids]
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


# -- Splits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@torch.no_grad()
def test_step_by_step_equals_all_at_once(shape) -> None:
    model, ids = build(**shape), streams(2, 60)
    whole = model(ids)
    state, steps = None, []
    for step in range(ids.shape[1]):
        output = model(ids[:, step : step + 1], past_key_values=state)
        state = output.past_key_values
        steps.append(output.logits)
    assert_close(torch.cat(steps, dim=1), whole.logits)
    assert_same_state(state, whole.past_key_values)
    assert state.get_seq_length() == whole.past_key_values.get_seq_length() == 60


@pytest.mark.parametrize("cut", [1, 3, 41])
@torch.no_grad()
def test_two_part_readings_equal_one_whole(cut) -> None:
    model, ids = build(), streams(2, 60)
    whole = model(ids)
    first = model(ids[:, :cut])
    second = model(ids[:, cut:], past_key_values=first.past_key_values)
    assert_close(torch.cat([first.logits, second.logits], dim=1), whole.logits)
    assert_same_state(second.past_key_values, whole.past_key_values)


@torch.no_grad()
def test_features_of_the_caller_equal_those_computed_by_the_model() -> None:
    model, ids = build(), streams(2, 60)
    features, expected = computed_features(model, ids), model(ids).logits
    wide = {n: x if x.is_floating_point() else x.to(torch.int32) for n, x in features.items()}
    for given in (features, wide):
        assert torch.equal(model(ids, features=given).logits, expected)
    one = model.model(ids, features=features).last_hidden_state
    assert torch.equal(one, model.model(ids).last_hidden_state)
    state, logits = None, []
    for window in (slice(0, 25), slice(25, 60)):
        part = {name: value[:, window] for name, value in features.items()}
        output = model(ids[:, window], features=part, past_key_values=state)
        state = output.past_key_values
        logits.append(output.logits)
    assert state.readers is None
    assert_close(torch.cat(logits, dim=1), expected)
    with pytest.raises(ValueError, match="features of the caller"):
        model(ids, past_key_values=state)
    features["candidates"] = features["candidates"].roll(1, dims=1)
    assert (model(ids, features=features).logits - expected).abs().max() > 0.1


@torch.no_grad()
def test_any_ids_can_be_read() -> None:
    model, ids = build(), tokens(3, 200)
    whole = model(ids).logits
    assert whole.isfinite().all()
    assert_close(whole[:, :50], model(ids[:, :50]).logits)


@pytest.mark.parametrize("missing", ["Position", "Pitch", "Bar"])
@torch.no_grad()
def test_a_vocabulary_may_lack_a_type_of_token(missing) -> None:
    names = [name for name in NAMES if not name.startswith(f"{missing}_")]
    model = MusicLSTMForCausalLM(
        MusicLSTMConfig(vocab_size=len(names), token_names=names, hidden_size=8)
    ).eval()
    ids = tokens(2, 50) % len(names)
    logits = model(ids).logits
    assert logits.shape == (2, 50, len(names))
    assert logits.isfinite().all()


@torch.no_grad()
def test_a_state_can_be_used_again_after_many_tokens() -> None:
    # More tokens than a reader reads again, so its copy is replaced in between.
    model, ids = build(num_hidden_layers=1), streams(1, 700)
    state = model(ids[:, :300]).past_key_values
    later = model(ids[:, 300:310], past_key_values=state)
    for start in range(310, 690, 20):
        part = ids[:, start : start + 20]
        later = model(part, past_key_values=later.past_key_values)
    again = model(ids[:, 300:], past_key_values=state)
    assert_close(again.logits[:, -10 - later.logits.shape[1] : -10], later.logits)
    assert_close(again.logits, model(ids).logits[:, 300:])
    assert state.get_seq_length() == 300


# -- Padding -------------------------------------------------------------------------------------

MASKS = {
    "none": [1] * 40,
    "left": [0] * 15 + [1] * 25,
    "right": [1] * 20 + [0] * 20,
    "holes": [0, 1, 0, 0, 1, 1, 1, 0] * 5,
    "one token": [0] * 30 + [1] + [0] * 9,
    "empty": [0] * 40,
}


@pytest.mark.parametrize("features", [True, False])
@torch.no_grad()
def test_padding_does_not_change_a_row(features) -> None:
    model, ids = build(features=features), streams(len(MASKS), 40)
    mask = torch.tensor(list(MASKS.values()))
    before = model(streams(len(MASKS), 13, seed=5)).past_key_values
    output = model(ids, attention_mask=mask, past_key_values=before)
    assert output.logits.isfinite().all()
    for row, real in enumerate(mask.bool()):
        index = torch.tensor([row])
        after = output.past_key_values.index_select(index)
        if not real.any():
            assert_same_state(after, before.index_select(index), atol=0)
            continue
        alone = model(ids[row : row + 1, real], past_key_values=before.index_select(index))
        assert_close(output.logits[row, real], alone.logits[0])
        assert_same_state(after, alone.past_key_values)
        more = streams(1, 9, seed=7)
        after = model(more, past_key_values=after).logits
        assert_close(after, model(more, past_key_values=alone.past_key_values).logits)


@torch.no_grad()
def test_padding_is_skipped_step_by_step_too() -> None:
    model, ids = build(), streams(len(MASKS), 40)
    mask = torch.tensor(list(MASKS.values()))
    whole, state = model(ids, attention_mask=mask), None
    for step in range(40):
        one = slice(step, step + 1)
        output = model(ids[:, one], attention_mask=mask[:, : step + 1], past_key_values=state)
        state = output.past_key_values
        real = mask[:, step].bool()
        assert_close(output.logits[real, 0], whole.logits[real, step])
    assert_same_state(state, whole.past_key_values)


@torch.no_grad()
def test_hidden_states_of_padded_rows_stand_at_their_steps() -> None:
    model, ids = build(), streams(2, 40)
    mask = torch.tensor([MASKS["left"], MASKS["holes"]])
    together = model(ids, attention_mask=mask, output_hidden_states=True).hidden_states
    for row, real in enumerate(mask.bool()):
        alone = model(ids[row : row + 1, real], output_hidden_states=True).hidden_states
        for one, other in zip(together, alone, strict=True):
            assert_close(one[row, real], other[0])


BAD_MASKS = [
    (torch.ones(2, 1, 6, 6), r"got \(2, 1, 6, 6\)"),
    (torch.ones(2, 5), r"here \(2, 6\), .* got \(2, 5\)"),
    (torch.ones(1, 6), r"got \(1, 6\)"),
]


def test_a_mask_that_does_not_fit_is_refused() -> None:
    for mask, fact in BAD_MASKS:
        with pytest.raises(ValueError, match=f"attention_mask.*{fact}"):
            build()(tokens(2, 6), attention_mask=mask)


@torch.no_grad()
def test_a_mask_longer_than_the_tokens_refers_to_the_last_ones() -> None:
    model, ids = build(), streams(2, 40)
    mask = torch.tensor([MASKS["left"], MASKS["holes"]])
    whole = model(ids, attention_mask=mask).logits
    first = model(ids[:, :30], attention_mask=mask[:, :30])
    second = model(ids[:, 30:], attention_mask=mask, past_key_values=first.past_key_values)
    real = mask[:, 30:].bool()
    assert_close(second.logits[real], whole[:, 30:][real])


# -- Loss and training ---------------------------------------------------------------------------


def test_labels_are_shifted_by_the_model_and_shifted_labels_are_not() -> None:
    model, ids = build(), streams(2, 7)
    output = model(ids, labels=ids)
    expected = functional.cross_entropy(output.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert_close(output.loss, expected)
    assert_close(model(ids, labels=ids, num_items_in_batch=24).loss, expected * 12 / 24)
    inputs, targets = ids[:, :-1], ids[:, 1:].contiguous()
    assert_close(model(inputs, labels=inputs, shift_labels=targets).loss, expected)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_reach_every_weight(shape) -> None:
    model, ids = build(**shape).train(), streams(2, 200)
    model(ids, labels=ids).loss.backward()
    assert [
        name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()
    ] == []


def test_both_ways_of_projecting_candidates_have_the_same_gradients() -> None:
    ids, grads = streams(2, 200), []
    for batch in (ids, ids[:1], ids[1:]):
        model = build(dropout=0, embedding_dropout=0).train()
        model(batch, labels=batch).loss.backward()
        grads.append([p.grad for p in model.parameters()])
    assert ids.numel() > VOCAB > ids[0].numel()
    for both, one, other in zip(*grads, strict=True):
        assert_close(both, (one + other) / 2)


def test_gradients_flow_through_a_carried_state() -> None:
    model, ids = build().train(), streams(1, 6)
    first = model(ids[:, :3], output_hidden_states=True)
    embedded = first.hidden_states[0]
    embedded.retain_grad()
    model(ids[:, 3:], past_key_values=first.past_key_values, labels=ids[:, 3:]).loss.backward()
    assert embedded.grad.abs().sum() > 0


def test_a_detached_state_has_the_same_values_without_gradients() -> None:
    model, ids = build().train(), streams(1, 6)
    first = model(ids).past_key_values
    state = first.detach()
    assert all(part.requires_grad for part in numbers(first))
    assert not any(part.requires_grad for part in numbers(state))
    assert_same_state(state, first, atol=0)
    more = streams(1, 5, seed=1)
    model.eval()
    assert torch.equal(
        model(more, past_key_values=state).logits, model(more, past_key_values=first).logits
    )


def test_training_on_one_piece_lowers_its_loss() -> None:
    model, ids = build(dropout=0).train(), streams(1, 60)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(25):
        loss = model(ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_variational_dropout_drops_the_same_features_at_every_step() -> None:
    torch.manual_seed(0)
    kept = VariationalDropout(0.5).train()(torch.ones(3, 7, 64))
    assert torch.equal(kept, kept[:, :1].expand(-1, 7, -1))
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert 0.3 < (kept[:, 0] == 0).float().mean() < 0.7
    assert not torch.equal(kept[0], kept[1])


def test_dropout_is_for_training_only() -> None:
    model, ids = build(dropout=0.5, embedding_dropout=0.5), streams(1, 6)
    assert torch.equal(model(ids).logits, model(ids).logits)
    model.train()
    assert not torch.equal(model(ids).logits, model(ids).logits)


def test_new_weights_have_open_forget_gates_and_orthogonal_recurrence() -> None:
    lstm = build().model.layers[1].lstm
    bias = lstm.bias_ih_l0 + lstm.bias_hh_l0
    assert bias[16:32].tolist() == [1.0] * 16
    assert bias[:16].abs().sum() + bias[32:].abs().sum() == 0
    for gate in lstm.weight_hh_l0.chunk(4):
        assert_close(gate @ gate.T, torch.eye(16))


# -- Arguments and outputs -----------------------------------------------------------------------


@torch.no_grad()
def test_the_state_and_the_tuple_are_returned_on_request() -> None:
    model, ids = build(), streams(1, 5)
    assert model(ids, use_cache=False).past_key_values is None
    assert build(use_cache=False)(ids).past_key_values is None
    assert build(use_cache=False)(ids, use_cache=True).past_key_values is not None
    loss, logits, state = model(ids, labels=ids, return_dict=False)
    output = model(ids, labels=ids)
    assert torch.equal(logits, output.logits)
    assert torch.equal(loss, output.loss)
    assert_same_state(state, output.past_key_values, atol=0)
    for name in ("cache", "past_key_values"):  # the former from transformers 5.24 on
        again = model(ids, **{name: state}).logits
        assert torch.equal(again, model(ids, past_key_values=output.past_key_values).logits)


@torch.no_grad()
def test_logits_to_keep_selects_steps() -> None:
    model, ids = build(), streams(2, 26)
    whole = model(ids).logits
    assert_close(model(ids, logits_to_keep=2).logits, whole[:, -2:])
    assert torch.equal(model(ids, logits_to_keep=0).logits, whole)
    chosen = torch.tensor([0, 24])
    assert_close(model(ids, logits_to_keep=chosen).logits, whole[:, chosen])


@torch.no_grad()
def test_the_copy_weight_scales_the_gates_of_the_candidates() -> None:
    model, ids = build(), streams(1, 60)
    without, half, whole = (model(ids, copy_weight=w).logits for w in (0, 0.5, 1))
    assert_close(half - without, (whole - without) / 2)
    candidates = computed_features(model, ids)["candidates"][0]
    for step, row in enumerate(candidates.tolist()):
        changed = (whole - without)[0, step].nonzero().flatten().tolist()
        assert set(changed) <= {candidate for candidate in row if candidate >= 0}
    assert (whole - without).abs().max() > 1


@torch.no_grad()
def test_the_last_hidden_state_is_the_normalized_output() -> None:
    model, ids = build(num_hidden_layers=3), streams(2, 6)
    output = model.model(ids, output_hidden_states=True)
    assert len(output.hidden_states) == 4
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
    assert_close(output.last_hidden_state.mean(-1), torch.zeros(2, 6))
    assert model(ids).hidden_states is None


@torch.no_grad()
def test_embeddings_replace_tokens() -> None:
    model, ids = build(features=False), tokens(2, 6)
    vectors = model.get_input_embeddings()(ids)
    assert torch.equal(model(inputs_embeds=vectors).logits, model(ids).logits)
    model, ids = build(), streams(2, 26)
    features, vectors = computed_features(model, ids), model.get_input_embeddings()(ids)
    with_vectors = model(inputs_embeds=vectors, features=features).logits
    assert torch.equal(with_vectors, model(ids).logits)


# -- Errors --------------------------------------------------------------------------------------


def test_arguments_that_exclude_each_other_are_refused() -> None:
    model, ids = build(), streams(1, 8)
    vectors = model.get_input_embeddings()(ids)
    for network in (model, model.model):
        with pytest.raises(ValueError, match="pass features as well"):
            network(inputs_embeds=vectors)
    for given in ({}, {"input_ids": ids, "inputs_embeds": vectors}):
        with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
            build(features=False)(**given)
    with pytest.raises(ValueError, match="no token_names"):
        build(features=False)(ids, features=computed_features(model, ids))
    with pytest.raises(ValueError, match="no attention weights"):
        model(ids, output_attentions=True)
    with pytest.raises(IndexError, match=f"from 0 to {VOCAB - 1}"):
        model(torch.tensor([[3, VOCAB]]))


def test_features_that_do_not_fit_are_refused() -> None:
    model, ids = build(), streams(2, 8)
    features = computed_features(model, ids)
    with pytest.raises(ValueError, match=r"candidates.* \(2, 7, 6\)"):
        model(ids[:, :7], features=features)
    del features["sounding"]
    with pytest.raises(ValueError, match="lacks 'sounding'"):
        model(ids, features=features)


def test_caches_of_other_networks_are_refused_by_type() -> None:
    model, ids = build(), streams(1, 3)
    others = DynamicCache(), ((ids, ids),), StaticCache(model.config, max_cache_len=4)
    for other in others:
        with pytest.raises(TypeError, match=f"got a {type(other).__name__}"):
            model(ids, past_key_values=other)


def test_a_state_of_another_size_is_refused() -> None:
    model, ids = build(), streams(2, 3)
    with pytest.raises(ValueError, match=r"has 2 layers and 3 rows; .* 2 layers, .* 2 rows"):
        model(ids, past_key_values=LSTMState.zeros(model.config, 3))
    other = build(num_hidden_layers=3).config
    with pytest.raises(ValueError, match="has 3 layers and 2 rows"):
        model(ids, past_key_values=LSTMState.zeros(other, 2))


def test_pieces_packed_into_one_row_are_refused() -> None:
    model, ids = build(), streams(1, 6)
    with pytest.raises(ValueError, match="position_ids that restart"):
        model(ids, position_ids=torch.tensor([[0, 1, 2, 0, 1, 2]]))
    with pytest.raises(ValueError, match="restart"):
        model(ids, cu_seq_lens_q=torch.tensor([0, 3, 6]))
    expected = model(ids).logits
    assert torch.equal(model(ids, position_ids=torch.arange(6)[None]).logits, expected)
    # transformers numbers padding on the left like this.
    mask, places = torch.tensor([[0, 0, 1, 1, 1, 1]]), torch.tensor([[1, 1, 0, 1, 2, 3]])
    padded = model(ids, attention_mask=mask, position_ids=places).logits
    assert_close(padded[:, 2:], model(ids[:, 2:]).logits)


def test_the_vocabulary_of_a_network_with_features_cannot_be_resized() -> None:
    with pytest.raises(ValueError, match="token_names"):
        build().resize_token_embeddings(VOCAB + 8)
    plain = build(features=False)
    plain.resize_token_embeddings(VOCAB + 8)
    assert plain(streams(1, 3)).logits.shape[-1] == plain.lm_head.bias.shape[0] == VOCAB + 8


# -- The state -----------------------------------------------------------------------------------


def some_state(model: MusicLSTMForCausalLM | None = None, rows: int = 3) -> LSTMState:
    with torch.no_grad():
        return (model or build())(streams(rows, 50)).past_key_values


def following(model, state: LSTMState, *, seed: int = 9) -> torch.Tensor:
    """Logits of the same tokens after every row."""
    with torch.no_grad():
        more = streams(1, 9, seed=seed).expand(state.batch_size, -1)
        return model(more, past_key_values=state).logits


def test_a_state_describes_itself_to_transformers() -> None:
    state = some_state()
    assert len(state) == len(state.layers) == 2
    assert [layer.batch_size for layer in state.layers] == [3, 3]
    assert state.h.shape == state.c.shape == (2, 3, 16)
    assert torch.equal(state.h[1], state.layers[1].h)
    assert torch.equal(state.c[1], state.layers[1].c)
    assert (state.batch_size, state.is_compileable, state.is_initialized) == (3, False, True)
    assert state.is_linear == [False, False]  # transformers 5.24 would pass ids twice
    assert state.has_previous_state()
    assert repr(state) == "LSTMState(layers=2, batch=3, hidden=16, seen=50)"
    assert state.get_max_length() == -1
    assert not state.is_croppable
    for cache in (state, state.layers[0]):
        with pytest.raises(ValueError, match="cannot be cropped"):
            cache.crop(1)


def test_a_state_can_be_copied_and_stored() -> None:
    model = build()
    state, file = some_state(model), io.BytesIO()
    expected = following(model, state)
    torch.save(state, file)
    file.seek(0)
    for other in (torch.load(file, weights_only=False), copy.deepcopy(state)):
        assert_close(following(model, other), expected)
        other.layers[0].h.zero_()
        assert not torch.equal(following(model, other), expected)
        assert_close(following(model, state), expected)


def test_chosen_rows_continue_as_those_rows() -> None:
    model = build()
    state = some_state(model)
    index = torch.tensor([2, 0, 2])
    assert_close(following(model, state.index_select(index)), following(model, state)[index])


def test_methods_of_the_cache_change_rows_and_never_write_into_tensors() -> None:
    model = build()
    state, expected = some_state(model), following(model, some_state(model))
    kept = numbers(state)
    copies = [each.clone() for each in kept]
    state.batch_repeat_interleave(2)
    assert_close(following(model, state), expected[[0, 0, 1, 1, 2, 2]])
    state.batch_select_indices(torch.tensor([5, 0]))
    assert_close(following(model, state), expected[[2, 0]])
    state.reorder_cache(torch.tensor([1, 1]))
    assert_close(following(model, state), expected[[0, 0]])
    state.reset()
    fresh = following(model, LSTMState.zeros(model.config, 2))
    assert_close(following(model, state), fresh)
    assert state.get_seq_length() == 0
    assert all(torch.equal(one, other) for one, other in zip(kept, copies, strict=True))


def test_reordered_branches_diverge() -> None:
    model = build()
    state = some_state(model, rows=1)
    state.batch_repeat_interleave(2)
    ends = streams(2, 20, seed=3)
    with torch.no_grad():
        both = model(ends, past_key_values=state).past_key_values
        for row in (0, 1):
            alone = model(ends[row : row + 1], past_key_values=some_state(model, rows=1))
            expected = following(model, alone.past_key_values)
            assert_close(following(model, both)[row : row + 1], expected)


def test_rows_that_are_reset_start_again_and_the_others_continue() -> None:
    model = build()
    state = some_state(model)
    state.layers[0].h[1] = torch.nan  # none of it may remain
    fresh = state.reset_rows(torch.tensor([False, True, False]))
    assert all(part.isfinite().all() for part in numbers(fresh))
    found, clean = following(model, fresh), some_state(model)
    assert_close(found[[0, 2]], following(model, clean)[[0, 2]])
    assert_close(found[1], following(model, LSTMState.zeros(model.config, 1))[0])


# -- generate() ----------------------------------------------------------------------------------

MODES = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "temperature": 1.5},
    "beams": {"do_sample": False, "num_beams": 3},
    "beam-sample": {"do_sample": True, "num_beams": 3, "top_k": 0},
    "three sequences": {"do_sample": True, "num_return_sequences": 3},
    "guidance": {"do_sample": False, "guidance_scale": 1.7},
}


def generate(model, ids, *, steps: int = 12, **how):
    torch.manual_seed(0)
    how = {"pad_token_id": 0, "eos_token_id": None} | how
    return model.generate(ids, max_new_tokens=steps, **how)


@pytest.mark.parametrize(
    ("mode", "features"), [*((mode, True) for mode in MODES), ("beam-sample", False)]
)
def test_generate_gives_the_same_with_and_without_the_state(mode, features) -> None:
    model, ids = build(features=features, std=0.5), streams(2, 40)
    carried = generate(model, ids, **MODES[mode], use_cache=True)
    read_again = generate(model, ids, **MODES[mode], use_cache=False)
    assert torch.equal(carried, read_again)
    assert carried.shape == (2 * MODES[mode].get("num_return_sequences", 1), 52)


def test_generate_uses_the_distribution_of_forward() -> None:
    model, ids = build(), streams(2, 40)
    how = {"return_dict_in_generate": True, "output_logits": True, "copy_weight": 0.5}
    output = generate(model, ids, do_sample=True, **how)
    with torch.no_grad():
        whole = model(output.sequences[:, :-1], copy_weight=0.5).logits[:, 39:]
    assert_close(torch.stack(output.logits, 1), whole)


@pytest.mark.parametrize("mode", ["greedy", "beams"])
def test_padding_on_the_left_does_not_change_what_generate_adds(mode) -> None:
    model, ids = build(), streams(3, 40)
    lengths = [40, 12, 31]
    mask = torch.tensor([[0] * (40 - n) + [1] * n for n in lengths])
    ids = ids.masked_fill(mask == 0, 0)
    together = generate(model, ids, attention_mask=mask, **MODES[mode])
    for row, length in enumerate(lengths):
        alone = generate(model, ids[row : row + 1, 40 - length :], **MODES[mode])
        assert torch.equal(together[row, 40 - length :], alone[0])


def test_generate_continues_a_returned_state_any_number_of_times() -> None:
    model, ids = build(), streams(2, 40)
    at_once = generate(model, ids, steps=9, do_sample=False)
    first = generate(model, ids, steps=4, do_sample=False, return_dict_in_generate=True)
    state = first.past_key_values
    assert isinstance(state, LSTMState)
    assert state.get_seq_length() == first.sequences.shape[1] - 1
    for _ in range(2):
        resumed = generate(model, first.sequences, steps=5, do_sample=False, **{CACHE_NAME: state})
        assert torch.equal(resumed, at_once)


def test_generate_reads_a_prompt_in_chunks() -> None:
    model, ids = build(), streams(2, 40)
    state = LSTMState.zeros(model.config, 2)
    chunks = generate(model, ids, do_sample=False, prefill_chunk_size=7, **{CACHE_NAME: state})
    assert torch.equal(chunks, generate(model, ids, do_sample=False))


# -- Precision -----------------------------------------------------------------------------------

HALVES = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@torch.no_grad()
def test_half_precision_gives_nearly_the_same(dtype) -> None:
    model, ids = build(std=0.15), streams(2, 40)
    mask = torch.tensor([MASKS["none"], MASKS["left"]])
    exact, real = model(ids, attention_mask=mask).logits, mask.bool()
    half = copy.deepcopy(model).to(dtype)
    rough = half(ids, attention_mask=mask)
    assert rough.logits.dtype == rough.past_key_values.layers[0].c.dtype == dtype
    assert_close(rough.logits.float()[real], exact[real], atol=0.3)
    made = generate(half, ids, attention_mask=mask, do_sample=False)
    assert made.shape == (2, 52)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("steps", [40, 200], ids=["embedded", "by table"])
def test_training_under_autocast_works(dtype, steps) -> None:
    model, ids = build(std=0.15, dropout=0, embedding_dropout=0).train(), streams(2, steps)
    exact = model(ids, labels=ids).loss.item()
    with torch.autocast("cpu", dtype=dtype):
        first = model(ids, labels=ids)
        one_step = model(ids[:, :1], past_key_values=first.past_key_values)
    assert first.logits.dtype == torch.float32
    first.loss.backward()
    assert abs(first.loss.item() - exact) < 0.1
    assert one_step.logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_importing_the_model_calls_no_private_operator() -> None:
    calls = []
    code = compile(Path(modeling_musiclstm.__file__).read_text(), "modeling", "exec")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", calls.append, raising=False)
        exec(code, {"__name__": modeling_musiclstm.__name__, "__package__": "musiclstm.model"})
    assert calls == []


def test_autocast_works_in_builds_of_torch_without_onednn(monkeypatch) -> None:
    class NoOperators:
        def __getattr__(self, name: str) -> None:
            raise AttributeError(f"'_OpNamespace' 'mkldnn' object has no attribute '{name}'")

    monkeypatch.setattr(torch.ops, "mkldnn", NoOperators())
    modeling_musiclstm._cpu_runs_bfloat16.cache_clear()
    try:
        assert not modeling_musiclstm._cpu_runs_bfloat16()
        model, ids = build(), streams(2, 20)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            model(ids, labels=ids).loss.backward()
    finally:
        modeling_musiclstm._cpu_runs_bfloat16.cache_clear()


# -- Files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [True, False])
@torch.no_grad()
def test_a_saved_network_is_loaded_bit_for_bit(features, tmp_path) -> None:
    model, ids = build(features=features), streams(2, 30)
    model.save_pretrained(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        *("config.json", "generation_config.json", "model.safetensors"),
        *("config_fields.py", "configuration_musiclstm.py"),
        *("modeling_musiclstm.py", "step_features.py"),
    }
    stored = load_file(tmp_path / "model.safetensors")
    assert "lm_head.weight" not in stored
    assert all(value.is_floating_point() for value in stored.values())
    back = MusicLSTMForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(back(ids).logits, model(ids).logits)
    stack = MusicLSTMModel.from_pretrained(tmp_path).eval()
    expected = model.model(ids).last_hidden_state
    assert torch.equal(stack(ids).last_hidden_state, expected)


def test_a_missing_weight_is_initialized_as_in_a_new_network(tmp_path) -> None:
    model = build()
    kept = {n: w for n, w in model.state_dict().items() if not n.startswith("context_head")}
    model.save_pretrained(tmp_path, state_dict=kept)
    back = MusicLSTMForCausalLM.from_pretrained(tmp_path)
    new = MusicLSTMForCausalLM(model.config)
    assert torch.equal(back.context_head.bias, new.context_head.bias)
    assert not back.context_head.weight.any()
    assert torch.equal(back.gates.weight, model.gates.weight)


@torch.no_grad()
def test_offloaded_weights_are_loaded_at_every_call(tmp_path) -> None:
    model, ids = build(tie_word_embeddings=False), streams(2, 30)
    model.save_pretrained(tmp_path)
    places = {
        **{"model.embed_tokens": "cpu", "model.norm": "cpu", "lm_head": "disk", "gates": "cpu"},
        **{"model.layers.0": "disk", "model.layers.1": "disk"},
        **{"model.step_inputs": "disk", "context_head": "disk"},
    }
    placed = MusicLSTMForCausalLM.from_pretrained(
        tmp_path, device_map=places, offload_folder=tmp_path / "disk"
    ).eval()
    assert placed.model.layers[0].lstm.weight_hh_l0.device.type == "meta"
    mask = torch.tensor([MASKS["none"][:30], MASKS["left"][:30]])
    for given in ({}, {"attention_mask": mask}):
        assert torch.equal(placed(ids, **given).logits, model(ids, **given).logits)
    made = [generate(each, ids, do_sample=False) for each in (placed, model)]
    assert torch.equal(*made)


ELSEWHERE = """
import sys
sys.modules["musiclstm"] = None  # importing it fails
import torch
from transformers import AutoModel, AutoModelForCausalLM
folder, ids_file, out, again = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()
assert type(model).__module__.startswith("transformers_modules"), type(model).__module__
ids = torch.load(ids_file)
with torch.no_grad():
    logits = model(ids).logits
generated = model.generate(ids, max_new_tokens=5, num_beams=2, do_sample=False, eos_token_id=None)
with torch.no_grad():
    hidden = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()(ids)[0]
torch.save((logits, generated, hidden), out)
model.save_pretrained(again)
"""


@pytest.mark.slow
@torch.no_grad()
def test_a_saved_folder_works_without_the_package(tmp_path) -> None:
    model, ids = build(), streams(1, 30)
    model.save_pretrained(tmp_path / "model")
    torch.save(ids, tmp_path / "ids.pt")
    files = [str(tmp_path / name) for name in ("model", "ids.pt", "out.pt", "again")]
    environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *files],
        **{"cwd": tmp_path, "env": environment, "capture_output": True, "text": True},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    logits, generated, hidden = torch.load(tmp_path / "out.pt")
    assert_close(logits, model(ids).logits, atol=0)
    assert torch.equal(generated, generate(model, ids, steps=5, do_sample=False, num_beams=2))
    assert_close(hidden, model.model(ids).last_hidden_state, atol=0)
    saved, again = (
        {file.name for file in (tmp_path / name).iterdir()} for name in ("model", "again")
    )
    assert saved == again


@pytest.mark.slow
@torch.no_grad()
def test_the_network_can_be_exported_with_features() -> None:
    class Logits(torch.nn.Module):
        def __init__(self, model) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids, features):
            return self.model(ids, features=features, use_cache=False).logits

    model, ids = build(), streams(2, 20)
    features = computed_features(model, ids)
    program = torch.export.export(Logits(model), (ids, features), strict=False)
    other = streams(2, 20, seed=1)
    found = program.module()(other, computed_features(model, other))
    assert_close(found, model(other).logits)
