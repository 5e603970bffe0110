"""The network: one state in, one out, however the tokens are cut, padded, copied or saved."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from shutil import which

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from musiclstm import LSTMState, MusicLSTMConfig, MusicLSTMForCausalLM, MusicLSTMModel
from musiclstm.modeling import LockedDropout, MusicLSTMOutput

VOCAB = 20
SHAPES = [
    {"num_hidden_layers": layers, "attention_window": window}
    for layers in (2, 3, 4)
    for window in (0, 5)
] + [
    {"residual": False},
    {"layer_norm": False, "attention_window": 3},
    {"residual": False, "layer_norm": False, "tie_word_embeddings": False},
    {"recall_window": 70, "recall_distance": 1, "recall_bias": 2},
]
WINDOWS = [0, 4]


def build(*, seed: int = 0, **values) -> MusicLSTMForCausalLM:
    torch.manual_seed(seed)
    values = {"vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": 2} | values
    # Large weights, so that what is read makes a difference.
    return MusicLSTMForCausalLM(MusicLSTMConfig(initializer_range=0.5, **values)).eval()


def tokens(batch: int, steps: int, *, seed: int = 0) -> torch.Tensor:
    return torch.randint(3, VOCAB, (batch, steps), generator=torch.Generator().manual_seed(seed))


def numbers(state: LSTMState) -> list[torch.Tensor]:
    return [state.hidden, state.cell, state.memory, state.filled]


def assert_close(found, expected, *, atol: float = 1e-5) -> None:
    torch.testing.assert_close(found, expected, atol=atol, rtol=0)


def assert_same_state(found: LSTMState, expected: LSTMState, *, atol: float = 1e-5) -> None:
    for one, other in zip(numbers(found), numbers(expected), strict=True):
        assert_close(one, other, atol=atol)
    assert torch.equal(found.heard, expected.heard)


# -- However the tokens are cut ------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@torch.no_grad()
def test_step_by_step_equals_all_at_once(shape) -> None:
    model, ids = build(**shape), tokens(2, 12)
    whole = model(ids)
    state, steps = None, []
    for step in range(ids.shape[1]):
        output = model(ids[:, step : step + 1], past_key_values=state)
        state = output.past_key_values
        steps.append(output.logits)
    assert_close(torch.cat(steps, dim=1), whole.logits)
    assert_same_state(state, whole.past_key_values)
    assert state.seen == whole.past_key_values.seen == 12


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("cut", [1, 3, 7])
@torch.no_grad()
def test_two_part_readings_equal_one_whole(shape, cut) -> None:
    model, ids = build(**shape), tokens(2, 12)
    whole = model(ids)
    first = model(ids[:, :cut])
    second = model(ids[:, cut:], past_key_values=first.past_key_values)
    assert_close(torch.cat([first.logits, second.logits], dim=1), whole.logits)
    assert_same_state(second.past_key_values, whole.past_key_values)


@pytest.mark.parametrize("window", WINDOWS)
@torch.no_grad()
def test_a_saved_state_can_be_used_twice(window) -> None:
    model, ids = build(attention_window=window), tokens(2, 9)
    state = model(ids).past_key_values
    before = [part.clone() for part in numbers(state)]
    one = model(tokens(2, 5, seed=1), past_key_values=state).logits
    model(tokens(2, 1, seed=2), past_key_values=state)
    again = model(tokens(2, 5, seed=1), past_key_values=state).logits
    assert torch.equal(one, again)
    for now, then in zip(numbers(state), before, strict=True):
        assert torch.equal(now, then)
    assert state.seen == 9


@torch.no_grad()
def test_what_was_read_before_matters() -> None:
    model, ids = build(), tokens(1, 4)
    one, other = (model(tokens(1, 8, seed=seed)).past_key_values for seed in (1, 2))
    difference = model(ids, past_key_values=one).logits - model(ids, past_key_values=other).logits
    assert difference.abs().max() > 1e-2


@torch.no_grad()
def test_the_read_out_sees_so_far_and_no_further() -> None:
    # Without the LSTM's own memory, a token can matter only through the read-out.
    model, window = build(attention_window=4, num_hidden_layers=1), 4
    lstm = model.model.layers[0].lstm
    lstm.weight_hh_l0.zero_()
    lstm.bias_ih_l0[16:32] = -50.0  # the forget gate: nothing of the cell stays
    ids = tokens(1, 9)
    changed = ids.clone()
    changed[0, 2] = (ids[0, 2] + 1 - 3) % (VOCAB - 3) + 3
    moved = (model(ids).logits - model(changed).logits).abs().amax(dim=(0, 2)) > 1e-4
    assert moved.tolist() == [2 <= step < 2 + window for step in range(9)]


# -- Padding -------------------------------------------------------------------------------------

MASKS = {
    "none": [1, 1, 1, 1, 1, 1],
    "left": [0, 0, 1, 1, 1, 1],
    "right": [1, 1, 1, 0, 0, 0],
    "holes": [0, 1, 0, 0, 1, 1],
    "one token": [0, 0, 0, 0, 1, 0],
}


@pytest.mark.parametrize("window", WINDOWS)
@torch.no_grad()
def test_padding_leaves_other_rows_alone(window) -> None:
    model, ids = build(attention_window=window), tokens(len(MASKS), 6)
    mask = torch.tensor(list(MASKS.values()))
    before = model(tokens(len(MASKS), 3, seed=5)).past_key_values
    output = model(ids, attention_mask=mask, past_key_values=before)
    for row, real in enumerate(mask.bool()):
        alone = model(ids[row : row + 1, real], past_key_values=before.rows(torch.tensor([row])))
        assert_close(output.logits[row, real], alone.logits[0])
        assert_same_state(output.past_key_values.rows(torch.tensor([row])), alone.past_key_values)


@pytest.mark.parametrize("window", WINDOWS)
@torch.no_grad()
def test_a_row_of_nothing_but_padding_stays_where_it_was(window) -> None:
    model, ids = build(attention_window=window), tokens(3, 6)
    before = model(tokens(3, 5, seed=5)).past_key_values
    mask = torch.ones(3, 6, dtype=torch.long)
    mask[1] = 0
    output = model(ids, attention_mask=mask, past_key_values=before)
    row, others = torch.tensor([1]), torch.tensor([0, 2])
    assert_same_state(output.past_key_values.rows(row), before.rows(row), atol=0)
    plain = model(ids[others], past_key_values=before.rows(others))
    assert_close(output.logits[others], plain.logits)
    assert output.logits.isfinite().all()


@pytest.mark.parametrize("window", WINDOWS)
@torch.no_grad()
def test_padding_is_skipped_step_by_step_too(window) -> None:
    model, ids = build(attention_window=window), tokens(len(MASKS), 6)
    mask = torch.tensor(list(MASKS.values()))
    whole, state = model(ids, attention_mask=mask), None
    for step in range(6):
        one = slice(step, step + 1)
        output = model(ids[:, one], attention_mask=mask[:, : step + 1], past_key_values=state)
        state = output.past_key_values
        real = mask[:, step].bool()
        assert_close(output.logits[real, 0], whole.logits[real, step])
    assert_same_state(state, whole.past_key_values)


@torch.no_grad()
def test_a_mask_longer_than_the_tokens_speaks_of_the_last_ones() -> None:
    model, ids = build(), tokens(2, 8)
    mask = torch.ones(2, 8, dtype=torch.long)
    mask[0, :5] = 0
    whole = model(ids, attention_mask=mask).logits
    first = model(ids[:, :3], attention_mask=mask[:, :3])
    second = model(ids[:, 3:], attention_mask=mask, past_key_values=first.past_key_values)
    assert_close(second.logits[:, 2:], whole[:, 5:])


# -- Loss and training ---------------------------------------------------------------------------


def test_labels_are_shifted_here() -> None:
    model, ids = build(), tokens(2, 7)
    output = model(ids, labels=ids)
    expected = functional.cross_entropy(
        output.logits[:, :-1].reshape(-1, VOCAB), ids[:, 1:].reshape(-1)
    )
    assert_close(output.loss, expected)


def test_labels_of_minus_100_do_not_count() -> None:
    model, ids = build(), tokens(2, 7)
    labels = ids.clone()
    labels[:, 4:] = -100
    output = model(ids, labels=labels)
    expected = functional.cross_entropy(
        output.logits[:, :3].reshape(-1, VOCAB), ids[:, 1:4].reshape(-1)
    )
    assert_close(output.loss, expected)


def test_shifted_labels_count_the_last_step_of_a_window_too() -> None:
    model, ids = build(), tokens(2, 8)
    inputs, targets = ids[:, :-1], ids[:, 1:].contiguous()
    output = model(inputs, labels=inputs, shift_labels=targets)
    expected = functional.cross_entropy(output.logits.reshape(-1, VOCAB), targets.reshape(-1))
    assert_close(output.loss, expected)


def test_the_loss_can_be_shared_out_over_more_tokens_than_these() -> None:
    model, ids = build(), tokens(2, 8)
    mean = model(ids, labels=ids).loss
    assert_close(model(ids, labels=ids, num_items_in_batch=28).loss, mean * 14 / 28)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_reach_every_weight(shape) -> None:
    model, ids = build(**shape).train(), tokens(2, 10)
    model(ids, labels=ids).loss.backward()
    silent = [
        name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()
    ]
    assert silent == []


def test_gradients_flow_through_a_carried_state() -> None:
    model, ids = build().train(), tokens(1, 6)
    first = model(ids[:, :3], output_hidden_states=True)
    embedded = first.hidden_states[0]
    embedded.retain_grad()
    model(ids[:, 3:], past_key_values=first.past_key_values, labels=ids[:, 3:]).loss.backward()
    assert embedded.grad.abs().sum() > 0


def test_a_detached_state_holds_the_gradient_back() -> None:
    model, ids = build(attention_window=3).train(), tokens(1, 6)
    first = model(ids[:, :3], output_hidden_states=True)
    state = first.past_key_values.detached()
    assert not any(part.requires_grad for part in numbers(state))
    assert_same_state(state, first.past_key_values, atol=0)


def test_training_on_one_sentence_lowers_its_loss() -> None:
    model, ids = build().train(), tokens(1, 12)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(25):
        loss = model(ids, labels=ids).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_locked_dropout_silences_the_same_features_at_every_step() -> None:
    torch.manual_seed(0)
    kept = LockedDropout(0.5).train()(torch.ones(3, 7, 64))
    assert torch.equal(kept, kept[:, :1].expand(-1, 7, -1))
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert 0.3 < (kept[:, 0] == 0).float().mean() < 0.7
    assert not torch.equal(kept[0], kept[1])


def test_dropout_is_for_training_only() -> None:
    model, ids = build(dropout=0.5, embedding_dropout=0.5), tokens(1, 6)
    assert torch.equal(model(ids).logits, model(ids).logits)
    model.train()
    assert not torch.equal(model(ids).logits, model(ids).logits)
    x = torch.rand(2, 3, 4)
    assert LockedDropout(0.5).eval()(x) is x
    assert LockedDropout(0).train()(x) is x


def test_fresh_weights_remember_and_forget_as_intended() -> None:
    lstm = build().model.layers[1].lstm
    bias = lstm.bias_ih_l0 + lstm.bias_hh_l0
    assert bias[16:32].tolist() == [1.0] * 16
    assert bias[:16].abs().sum() + bias[32:].abs().sum() == 0
    for gate in lstm.weight_hh_l0.chunk(4):
        assert_close(gate @ gate.T, torch.eye(16))


# -- What goes in and comes out ------------------------------------------------------------------


@torch.no_grad()
def test_only_the_last_steps_are_scored_when_asked() -> None:
    model, ids = build(), tokens(2, 6)
    whole = model(ids).logits
    assert torch.equal(model(ids, logits_to_keep=2).logits, whole[:, -2:])
    assert torch.equal(model(ids, logits_to_keep=0).logits, whole)


@torch.no_grad()
def test_vectors_serve_in_place_of_tokens() -> None:
    model, ids = build(), tokens(2, 6)
    vectors = model.get_input_embeddings()(ids)
    assert torch.equal(model(inputs_embeds=vectors).logits, model(ids).logits)


@pytest.mark.parametrize("both", [True, False])
def test_tokens_and_vectors_exclude_each_other(both) -> None:
    model, ids = build(), tokens(1, 3)
    given = {"input_ids": ids, "inputs_embeds": model.get_input_embeddings()(ids)} if both else {}
    with pytest.raises(ValueError, match="Pass either input_ids or inputs_embeds, and not both"):
        model(**given)


@torch.no_grad()
def test_no_state_is_returned_when_none_is_wanted() -> None:
    ids = tokens(1, 3)
    assert build()(ids, use_cache=False).past_key_values is None
    assert build(use_cache=False)(ids).past_key_values is None
    assert build(use_cache=False)(ids, use_cache=True).past_key_values is not None


@torch.no_grad()
def test_every_layer_can_be_looked_at() -> None:
    model, ids = build(num_hidden_layers=3, layer_norm=False), tokens(2, 4)
    output = model(ids, output_hidden_states=True)
    assert len(output.hidden_states) == 4
    assert torch.equal(output.hidden_states[0], model.get_input_embeddings()(ids))
    assert_close(model.lm_head(output.hidden_states[-1]), output.logits)
    assert model(ids).hidden_states is None


@torch.no_grad()
def test_a_plain_tuple_holds_the_same() -> None:
    model, ids = build(), tokens(2, 4)
    logits, state = model(ids, return_dict=False)
    output = model(ids)
    assert isinstance(output, MusicLSTMOutput)
    assert torch.equal(logits, output.logits)
    assert_same_state(state, output.past_key_values, atol=0)


@torch.no_grad()
def test_the_stack_gives_its_outputs_first() -> None:
    stack, ids = build().model, tokens(2, 4)
    assert torch.equal(stack(ids)[0], stack(ids).last_hidden_state)
    assert torch.equal(stack(ids, return_dict=False)[0], stack(ids).last_hidden_state)


@torch.no_grad()
def test_what_is_not_said_is_as_the_config_says() -> None:
    model, ids = build(output_hidden_states=True, use_cache=False, return_dict=False), tokens(2, 4)
    logits, hidden_states = model(ids)
    assert logits.shape == (2, 4, VOCAB)
    assert len(hidden_states) == 3
    last, hidden_states = model.model(ids)
    assert last.shape == hidden_states[0].shape == (2, 4, 16)
    output = model(ids, output_hidden_states=False, use_cache=True, return_dict=True)
    assert output.hidden_states is None
    assert output.past_key_values.seen == 4


def test_attention_weights_are_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="An LSTM has no attention weights; leave"):
        build()(tokens(1, 3), output_attentions=True)


def test_tied_embeddings_are_one_matrix_and_stay_one() -> None:
    model = build()
    assert model.lm_head.weight is model.model.embed_tokens.weight
    model.resize_token_embeddings(VOCAB + 5)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.config.vocab_size == VOCAB + 5
    assert model(torch.tensor([[VOCAB + 4]])).logits.shape == (1, 1, VOCAB + 5)


def test_untied_embeddings_are_two_matrices_and_stay_two() -> None:
    model = build(tie_word_embeddings=False)
    old = model.lm_head.weight.detach().clone()
    assert model.lm_head.weight is not model.model.embed_tokens.weight
    model.resize_token_embeddings(VOCAB + 5)
    assert model.lm_head.weight is not model.model.embed_tokens.weight
    assert model.lm_head.weight.shape == model.model.embed_tokens.weight.shape == (VOCAB + 5, 16)
    assert torch.equal(model.lm_head.weight[:VOCAB], old)


@pytest.mark.parametrize("window", WINDOWS)
@torch.no_grad()
def test_bfloat16_works_and_says_nearly_the_same(window) -> None:
    model, ids = build(attention_window=window), tokens(2, 8)
    mask = torch.ones(2, 8, dtype=torch.long)
    mask[0, :3] = 0
    exact = model(ids, attention_mask=mask)
    model.bfloat16()
    rough = model(ids, attention_mask=mask)
    assert rough.logits.dtype == torch.bfloat16
    assert {part.dtype for part in numbers(rough.past_key_values)[:3]} == {torch.bfloat16}
    real = mask.bool()
    # Eight bits of mantissa, and scores up to ten or so.
    assert_close(rough.logits.float()[real], exact.logits[real], atol=0.5)
    following = model(ids[:, :1], past_key_values=rough.past_key_values)
    assert following.logits.isfinite().all()
    generated = model.generate(ids, max_new_tokens=3, do_sample=False, pad_token_id=0)
    assert generated.shape == (2, 11)


@pytest.mark.parametrize("window", WINDOWS)
def test_training_under_bfloat16_autocast_works(window) -> None:
    model, ids = build(attention_window=window, dropout=0, embedding_dropout=0), tokens(2, 8)
    exact = model(ids, labels=ids).loss.item()
    state = model.train()(tokens(2, 4, seed=1)).past_key_values.detached()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(ids, labels=ids)
        carried = model(ids, labels=ids, past_key_values=state)
    (rough.loss + carried.loss).backward()
    assert abs(rough.loss.item() - exact) < 0.3
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.skipif(not which("c++"), reason="torch.compile needs a C++ compiler on the CPU")
@pytest.mark.parametrize("window", WINDOWS)
@torch.no_grad()
def test_the_compiled_network_says_the_same(window) -> None:
    model, ids = build(attention_window=window), tokens(2, 8)
    compiled = torch.compile(model)
    plain, fast = model(ids), compiled(ids)
    assert_close(fast.logits, plain.logits)
    step = tokens(2, 1, seed=1)
    assert_close(
        compiled(step, past_key_values=fast.past_key_values).logits,
        model(step, past_key_values=plain.past_key_values).logits,
    )


# -- The state -----------------------------------------------------------------------------------


def some_state(*, rows: int = 3, window: int = 2) -> LSTMState:
    with torch.no_grad():
        return build(attention_window=window)(tokens(rows, 5)).past_key_values


def test_a_fresh_state_is_nothing() -> None:
    config = MusicLSTMConfig(hidden_size=8, num_hidden_layers=3, attention_window=4)
    state = LSTMState.zeros(config, 2)
    assert [tuple(part.shape) for part in numbers(state)] == [(3, 2, 8), (3, 2, 8), (2, 4, 8), (2,)]
    assert all(not part.any() for part in numbers(state))
    assert (state.seen, state.batch_size, len(state)) == (0, 2, 3)
    assert state.heard.shape == (2, 0)


def test_a_fresh_state_has_heard_nothing() -> None:
    state = LSTMState.zeros(MusicLSTMConfig(hidden_size=8, recall_window=200), 2)
    assert state.heard.shape == (2, 200)
    assert (state.heard == -1).all()


@torch.no_grad()
def test_a_fresh_state_is_where_reading_begins() -> None:
    model, ids = build(attention_window=3), tokens(2, 4)
    zeros = LSTMState.zeros(model.config, 2)
    assert torch.equal(model(ids, past_key_values=zeros).logits, model(ids).logits)


def test_rows_can_be_chosen_turned_round_and_repeated() -> None:
    state = some_state()
    chosen = state.rows(torch.tensor([2, 0, 2]))
    for row, source in enumerate([2, 0, 2]):
        assert torch.equal(chosen.hidden[:, row], state.hidden[:, source])
        assert torch.equal(chosen.cell[:, row], state.cell[:, source])
        assert torch.equal(chosen.memory[row], state.memory[source])
    assert chosen.seen == state.seen


def test_rows_can_be_reset_and_the_others_stay() -> None:
    state = some_state()
    fresh = state.reset_rows(torch.tensor([False, True, False]))
    for part, old in zip(numbers(fresh)[:2], numbers(state)[:2], strict=True):
        assert not part[:, 1].any()
        assert torch.equal(part[:, ::2], old[:, ::2])
    assert fresh.filled.tolist() == [2, 0, 2]
    assert not fresh.memory[1].any()
    assert state.filled.tolist() == [2, 2, 2]


def test_a_reset_forgets_even_what_is_not_a_number() -> None:
    state = some_state(window=2)
    state.hidden[:, 1], state.cell[:, 1], state.memory[1] = torch.nan, torch.inf, torch.nan
    fresh = state.reset_rows(torch.tensor([False, True, False]))
    assert all(part.isfinite().all() for part in numbers(fresh))


@torch.no_grad()
def test_a_reset_row_reads_as_if_nothing_had_been() -> None:
    model, ids = build(attention_window=3), tokens(2, 4)
    before = model(tokens(2, 5, seed=1)).past_key_values
    output = model(ids, past_key_values=before.reset_rows(torch.tensor([True, False])))
    assert_close(output.logits[0], model(ids).logits[0])
    assert_close(output.logits[1], model(ids, past_key_values=before).logits[1])


def test_the_ways_of_a_cache_change_rows_and_not_the_tensors_somebody_keeps() -> None:
    state = some_state()
    kept = state.hidden
    copy_of_kept = kept.clone()
    state.batch_repeat_interleave(2)
    assert torch.equal(state.hidden, copy_of_kept[:, [0, 0, 1, 1, 2, 2]])
    state.batch_select_indices(torch.tensor([5, 0]))
    assert torch.equal(state.hidden, copy_of_kept[:, [2, 0]])
    state.reorder_cache(torch.tensor([1, 1]))
    assert torch.equal(state.hidden, copy_of_kept[:, [0, 0]])
    state.reset()
    assert not state.hidden.any()
    assert state.get_seq_length() == 0
    assert torch.equal(kept, copy_of_kept)


def test_a_state_cannot_be_cropped_and_says_why() -> None:
    with pytest.raises(ValueError, match="cannot be cropped; keep a copy from before instead"):
        some_state().crop(1)


def test_a_state_tells_its_size() -> None:
    assert repr(some_state()) == "LSTMState(layers=2, batch=3, hidden=16, seen=5)"
    assert some_state().get_max_length() == -1


def test_a_copied_state_is_another_one() -> None:
    state = some_state()
    other = copy.deepcopy(state)
    state.hidden.zero_()
    assert other.hidden.abs().sum() > 0
    assert other.seen == 5


# -- generate() ----------------------------------------------------------------------------------

WAYS = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "temperature": 1.5},
    "beams": {"do_sample": False, "num_beams": 3},
    "beam-sample": {"do_sample": True, "num_beams": 3, "top_k": 0},
    "three of a kind": {"do_sample": True, "num_return_sequences": 3},
    "the best three beams": {"do_sample": False, "num_beams": 4, "num_return_sequences": 3},
}


def generate(model, ids, *, steps: int = 8, **how):
    torch.manual_seed(0)
    how = {"pad_token_id": 0, "eos_token_id": None} | how
    return model.generate(ids, max_new_tokens=steps, **how)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("way", WAYS)
def test_generate_gives_the_same_with_and_without_the_state(way, window) -> None:
    model, ids = build(attention_window=window), tokens(2, 5)
    carried = generate(model, ids, **WAYS[way], use_cache=True)
    read_again = generate(model, ids, **WAYS[way], use_cache=False)
    assert torch.equal(carried, read_again)
    assert carried.shape == (2 * WAYS[way].get("num_return_sequences", 1), 13)


@pytest.mark.parametrize("window", WINDOWS)
def test_generate_equals_a_loop_of_ones_own(window) -> None:
    model, ids = build(attention_window=window), tokens(2, 5)
    with torch.no_grad():
        output, chosen = model(ids), []
        for _ in range(8):
            chosen.append(output.logits[:, -1].argmax(-1, keepdim=True))
            output = model(chosen[-1], past_key_values=output.past_key_values)
    expected = torch.cat([ids, *chosen], dim=1)
    assert torch.equal(generate(model, ids, do_sample=False), expected)


@pytest.mark.parametrize("way", ["greedy", "beams"])
@pytest.mark.parametrize("window", WINDOWS)
def test_padding_on_the_left_leaves_every_prompt_alone(way, window) -> None:
    model, ids = build(attention_window=window), tokens(3, 6)
    lengths = [6, 2, 4]
    mask = torch.tensor([[0] * (6 - n) + [1] * n for n in lengths])
    ids = ids.masked_fill(mask == 0, 0)
    together = generate(model, ids, attention_mask=mask, **WAYS[way])
    for row, length in enumerate(lengths):
        alone = generate(model, ids[row : row + 1, 6 - length :], **WAYS[way])
        assert torch.equal(together[row, 6 - length :], alone[0])


@pytest.mark.parametrize("window", WINDOWS)
def test_generate_goes_on_from_a_returned_state_as_often_as_one_likes(window) -> None:
    model, ids = build(attention_window=window), tokens(2, 5)
    at_once = generate(model, ids, steps=9, do_sample=False)
    first = generate(model, ids, steps=4, do_sample=False, return_dict_in_generate=True)
    state = first.past_key_values
    assert isinstance(state, LSTMState)
    assert state.seen == first.sequences.shape[1] - 1
    for _ in range(2):
        resumed = generate(model, first.sequences, steps=5, do_sample=False, past_key_values=state)
        assert torch.equal(resumed, at_once)


@pytest.mark.parametrize("way", ["greedy", "beams"])
def test_generate_recalls_what_was_heard_only_when_asked(way) -> None:
    recall = {"recall_window": 200, "recall_bias": 50, "recall_distance": 16}
    theme = tokens(1, 17)
    ids = torch.cat([theme, theme[:, :1]], dim=1)
    alone = generate(build(), ids, **WAYS[way])
    model = build(**recall)
    assert torch.equal(generate(model, ids, **WAYS[way]), alone)
    recalled = generate(model, ids, **WAYS[way], use_recall=True)
    assert recalled[0, 18:].tolist() == theme[0, 1:9].tolist() != alone[0, 18:].tolist()
    again = generate(model, ids, **WAYS[way], use_recall=True, use_cache=False)
    assert torch.equal(again, recalled)


def test_a_finished_row_stays_finished() -> None:
    model, ids = build(), tokens(2, 5)
    free = generate(model, ids, do_sample=False, steps=10)[:, 5:]
    # The first token that one row says and the other never does ends that row.
    step, end = next(
        (step, token) for step, token in enumerate(free[0].tolist()) if token not in free[1]
    )
    ended = generate(model, ids, do_sample=False, steps=10, eos_token_id=end)[:, 5:]
    assert ended[0].tolist() == free[0, : step + 1].tolist() + [0] * (10 - step - 1)
    assert torch.equal(ended[1], free[1])


def test_generate_stops_at_the_end_token_of_the_config() -> None:
    model, ids = build(), tokens(1, 5)
    end = generate(model, ids, do_sample=False, steps=4)[0, 5].item()
    model.generation_config.eos_token_id = end
    assert model.generate(ids, max_new_tokens=6, do_sample=False)[0, 5:].tolist() == [end]


# -- On disk and elsewhere -----------------------------------------------------------------------


@pytest.mark.parametrize("values", [{}, {"tie_word_embeddings": False, "attention_window": 3}])
@torch.no_grad()
def test_a_saved_network_comes_back_bit_by_bit(values, tmp_path) -> None:
    model, ids = build(**values), tokens(2, 7)
    model.save_pretrained(tmp_path)
    back = MusicLSTMForCausalLM.from_pretrained(tmp_path).eval()
    weights = back.state_dict()
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert torch.equal(back(ids).logits, model(ids).logits)
    assert (back.lm_head.weight is back.model.embed_tokens.weight) == (not values)


def test_weights_are_safetensors_and_tied_ones_are_stored_once(tmp_path) -> None:
    build().save_pretrained(tmp_path)
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {
        *("config.json", "generation_config.json", "model.safetensors"),
        *("configuration.py", "modeling.py"),
    }
    stored = load_file(tmp_path / "model.safetensors")
    assert "lm_head.weight" not in stored
    assert "model.embed_tokens.weight" in stored


@torch.no_grad()
def test_transformers_finds_the_network_by_its_config(tmp_path) -> None:
    model, ids = build(), tokens(1, 6)
    model.save_pretrained(tmp_path)
    whole = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert type(whole) is MusicLSTMForCausalLM
    assert torch.equal(whole(ids).logits, model(ids).logits)
    stack = AutoModel.from_pretrained(tmp_path).eval()
    assert type(stack) is MusicLSTMModel
    assert torch.equal(stack(ids).last_hidden_state, model.model(ids).last_hidden_state)
    fresh = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path))
    assert type(fresh) is MusicLSTMForCausalLM


STRANGER = """
import sys
sys.modules["musiclstm"] = None  # whoever imports it now fails
import torch
from transformers import AutoModel, AutoModelForCausalLM
folder, out, again = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()
assert type(model).__module__.startswith("transformers_modules"), type(model).__module__
ids = torch.arange(3, 13)[None]
with torch.no_grad():
    logits = model(ids).logits
generated = model.generate(ids, max_new_tokens=5, num_beams=2, do_sample=False)
with torch.no_grad():
    features = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()(ids)[0]
torch.save((logits, generated, features), out)
model.save_pretrained(again)
"""


def test_a_process_without_musiclstm_loads_it_when_code_is_trusted(tmp_path) -> None:
    model, ids = build(attention_window=3), torch.arange(3, 13)[None]
    model.save_pretrained(tmp_path / "saved")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        "HF_HOME": str(tmp_path / "home"),
        "HF_MODULES_CACHE": str(tmp_path / "modules"),
    }
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    result = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            STRANGER,
            *(tmp_path / n for n in ("saved", "out.pt", "again")),
        ],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    logits, generated, features = torch.load(tmp_path / "out.pt", weights_only=True)
    with torch.no_grad():
        assert torch.equal(logits, model(ids).logits)
        assert torch.equal(features, model.model(ids).last_hidden_state)
        back = MusicLSTMForCausalLM.from_pretrained(tmp_path / "again").eval()
        assert torch.equal(logits, back(ids).logits)
    saved, again = ({file.name for file in (tmp_path / n).iterdir()} for n in ("saved", "again"))
    assert saved == again
    assert torch.equal(
        generated, model.generate(ids, max_new_tokens=5, num_beams=2, do_sample=False)
    )
