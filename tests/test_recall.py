"""Recall: what the formula says, however tokens are cut, padded, kept or read one by one."""

from __future__ import annotations

from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch.nn import functional

from musiclstm import LSTMState, MusicLSTMConfig, MusicLSTMForCausalLM
from musiclstm.decoding import PackedLSTM, Snapshot, Stepper
from musiclstm.modeling import Recall
from musiclstm.recall import SteppedRecall

VOCAB = 30
LONGEST = 32
SHAPES = [
    {},
    {"recall_window": 65, "recall_distance": 1},
    {"recall_window": 192, "recall_distance": 100},
    {"recall_power": 0, "recall_bias": 2, "recall_slope": -1.5},
    {"recall_power": 1.5, "recall_bias": -1, "recall_slope": 0},
]
# A pad token that would agree with what is read, were it read.
MASKS = {
    "none": [1] * 12,
    "left": [0] * 5 + [1] * 7,
    "right": [1] * 8 + [0] * 4,
    "middle": [1, 1, 0, 0, 0, 1, 1, 0, 1, 1, 0, 1],
    "nothing real": [0] * 12,
}


def build(*, seed: int = 0, **values) -> MusicLSTMForCausalLM:
    torch.manual_seed(seed)
    sizes = {"vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": 2}
    recall = {"recall_window": 96, "recall_distance": 16, "recall_bias": -1}
    config = MusicLSTMConfig(initializer_range=0.5, **(sizes | recall | values))
    return MusicLSTMForCausalLM(config).eval()


def piece(steps: int, *, seed: int = 0) -> list[int]:
    """Tokens with much that comes back, sometimes at once."""
    numbers, ids = np.random.default_rng(seed), [3]
    while len(ids) < steps:
        if numbers.random() < 0.5:
            start = numbers.integers(len(ids))
            ids += ids[start : start + numbers.integers(1, 60)]
        else:
            ids += numbers.integers(3, VOCAB, numbers.integers(1, 6)).tolist()
    return ids[:steps]


def pieces(rows: int, steps: int, *, seed: int = 0) -> torch.Tensor:
    return torch.tensor([piece(steps, seed=100 * seed + row) for row in range(rows)])


def odds_after(ids: list[int], config: MusicLSTMConfig) -> dict[int, float]:
    """What every token gains, the last of ids being the latest: as the definition has it."""
    now, votes, longest = len(ids) - 1, {}, 0
    for place in range(now):
        near = now - place < config.recall_distance
        # All that could agree must lie among the last tokens of the window.
        far = place - (LONGEST - 1) < now - (config.recall_window - 1)
        count = 0
        while count < min(LONGEST, place + 1) and ids[place - count] == ids[now - count]:
            count += 1
        if count and not near and not far:
            token = ids[place + 1]
            votes[token] = votes.get(token, 0.0) + float(count) ** config.recall_power
            longest = max(longest, count)
    whole = sum(votes.values())
    if not votes:
        return {}
    odds = np.exp(config.recall_bias + config.recall_slope * np.log(longest))
    return {token: odds * vote / whole for token, vote in votes.items()}


def mixed(scores: torch.Tensor, odds: dict[int, float]) -> torch.Tensor:
    """Log-probabilities of scores (vocab,), mixed with votes."""
    shares = scores.double().softmax(-1)
    for token, gained in odds.items():
        shares[token] += gained
    return (shares / shares.sum()).log()


def assert_close(found, expected, *, atol: float = 1e-4) -> None:
    torch.testing.assert_close(found, expected, atol=atol, rtol=0, check_dtype=False)


def assert_leans(model: MusicLSTMForCausalLM, ids: list[int], steps) -> None:
    """At these steps the scores are the network's own, mixed with the votes."""
    own, leaned = (
        model(torch.tensor([ids]), use_recall=use).logits[0].log_softmax(-1)
        for use in (False, True)
    )
    for step in steps:
        odds = odds_after(ids[: step + 1], model.config)
        assert_close(leaned[step], mixed(own[step], odds))


# The formula --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("seed", [1, 2])
@torch.no_grad()
def test_scores_lean_as_the_formula_says(seed, shape) -> None:
    model, ids = build(**shape), piece(300, seed=seed)
    assert_leans(model, ids, range(0, 300, 3))
    voted = [len(odds_after(ids[:step], model.config)) for step in range(1, 300)]
    assert max(voted) > 1  # several tokens share one vote


@torch.no_grad()
def test_scores_lean_wherever_long_reading_is_parted() -> None:
    edges = [step for part in (256, 512) for step in range(part - 3, part + 3)]
    assert_leans(build(), piece(520, seed=3), edges)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=220))
@settings(max_examples=40)
def test_stepped_votes_are_those_of_the_formula(ids) -> None:
    # Three tokens agree all the time; 220 of them move a table of 2 * 65 back more than once.
    config = build_config(recall_window=65, recall_distance=1)
    stepped = SteppedRecall(config, nothing_heard(config))
    for token in ids:
        stepped.read([token])
    assert_votes(stepped, ids, config)


def build_config(**values) -> MusicLSTMConfig:
    return MusicLSTMConfig(vocab_size=VOCAB, hidden_size=4, num_hidden_layers=1, **values)


def nothing_heard(config: MusicLSTMConfig, rows: int = 1) -> np.ndarray:
    return LSTMState.zeros(config, rows).heard.numpy()


def assert_votes(stepped: SteppedRecall, ids: list[int], config, row: int = 0) -> None:
    votes, expected = stepped.votes(row), odds_after(ids, config)
    if votes is None:
        assert not expected
        return
    assert len(set(votes.tokens.tolist())) == len(votes.tokens)
    found = dict(zip(votes.tokens.tolist(), votes.odds.tolist(), strict=True))
    assert found == pytest.approx(expected, rel=1e-9)


# Worked out by hand: after [..., 5] comes what followed the other 5.


@pytest.mark.parametrize(("back", "heard"), [(15, False), (16, True), (64, True), (65, False)])
@torch.no_grad()
def test_a_place_votes_from_the_distance_to_the_end_of_the_window(back, heard) -> None:
    # Window 96: 64 back, an agreement of 32 would reach to its very beginning.
    model = build(recall_bias=1)
    between = [6 + step % 2 for step in range(back - 1)]
    ids = torch.tensor([[8] * 40 + [5] + between + [5]])
    own, leaned = (model(ids, use_recall=use).logits[0, -1].softmax(-1) for use in (False, True))
    share = 1 / (1 + np.exp(-1)) if heard else 0
    follower = 6
    expected = (1 - share) * own
    expected[follower] += share
    assert_close(leaned, expected, atol=1e-5)


def test_agreements_count_up_to_32_and_no_further() -> None:
    # 9 follows 40 tokens that agree, 10 follows 32, and 11 follows 31 of them.
    config = build_config(recall_window=256, recall_distance=2)
    theme = [12 + step % 17 for step in range(40)]
    ids = [*theme, 9, *theme[-32:], 10, 8, *theme[-31:], 11, 7, *theme]
    stepped = SteppedRecall(config, nothing_heard(config))
    for token in ids:
        stepped.read([token])
    votes = stepped.votes(0)
    found = dict(zip(votes.tokens.tolist(), votes.odds.tolist(), strict=True))
    assert found[9] == found[10]
    assert found[11] / found[10] == pytest.approx((31 / 32) ** config.recall_power)
    odds = np.exp(config.recall_bias + config.recall_slope * np.log(32))
    assert votes.odds.sum() == pytest.approx(odds)


@torch.no_grad()
def test_where_nothing_agrees_scores_are_the_networks_own() -> None:
    model, ids = build(), torch.arange(3, VOCAB)[None]
    assert torch.equal(model(ids).logits, model(ids, use_recall=False).logits)


@torch.no_grad()
def test_what_is_not_voted_for_loses_only_its_share() -> None:
    """Scores of all other tokens stay where they are; voted ones rise."""
    model, ids = build(), torch.tensor([piece(200)])
    gained = model(ids).logits - model(ids, use_recall=False).logits
    for step in range(0, 200, 7):
        odds = odds_after(ids[0, : step + 1].tolist(), model.config)
        assert {token for token in range(VOCAB) if gained[0, step, token] != 0} <= odds.keys()
        assert (gained[0, step] >= 0).all()


# However the tokens are cut -----------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 279), max_size=6))
@settings(max_examples=15)
@torch.no_grad()
def test_pieces_of_any_length_equal_one_whole(seed, cuts) -> None:
    model, ids = build(), pieces(2, 280, seed=seed % 1000)
    whole, state, parts = model(ids), None, []
    for begin, end in pairwise(sorted({0, 280, *cuts})):
        output = model(ids[:, begin:end], past_key_values=state)
        state = output.past_key_values
        parts.append(output.logits)
    assert_close(torch.cat(parts, dim=1), whole.logits)
    assert torch.equal(state.heard, whole.past_key_values.heard)
    assert torch.equal(state.heard, ids[:, -96:].to(state.heard.dtype))


@torch.no_grad()
def test_token_by_token_equals_one_whole() -> None:
    model, ids = build(), pieces(2, 220)
    whole, state, parts = model(ids), None, []
    for step in range(220):
        output = model(ids[:, step : step + 1], past_key_values=state)
        state = output.past_key_values
        parts.append(output.logits)
    assert_close(torch.cat(parts, dim=1), whole.logits)
    assert torch.equal(state.heard, whole.past_key_values.heard)


@pytest.mark.parametrize("kept", [1, 5, 12, 20])
@pytest.mark.parametrize("padded", [False, True])
@torch.no_grad()
def test_the_last_steps_alone_lean_as_among_all(padded, kept) -> None:
    model, ids = build(), pieces(len(MASKS), 112)
    before, rest = model(ids[:, :100]).past_key_values, ids[:, 100:]
    mask = torch.tensor(list(MASKS.values())) if padded else None
    whole = model(rest, attention_mask=mask, past_key_values=before).logits
    last = model(rest, attention_mask=mask, past_key_values=before, logits_to_keep=kept).logits
    assert_close(last, whole[:, -kept:], atol=0)


# Padding ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [0, 40, 150])
@torch.no_grad()
def test_padding_is_not_heard(read) -> None:
    model, ids = build(recall_distance=1), pieces(len(MASKS), read + 12)
    mask = torch.tensor(list(MASKS.values()))
    before = model(ids[:, :read]).past_key_values if read else LSTMState.zeros(model.config, 5)
    # Not the token 0, but one that stands everywhere.
    padded = ids[:, read:].where(mask.bool(), ids[:, :1])
    output = model(padded, attention_mask=mask, past_key_values=before)
    for row, real in enumerate(mask.bool()):
        own = before.rows(torch.tensor([row]))
        if not real.any():
            assert torch.equal(output.past_key_values.heard[row], own.heard[0])
            continue
        alone = model(padded[row : row + 1, real], past_key_values=own)
        assert_close(output.logits[row, real], alone.logits[0])
        assert torch.equal(output.past_key_values.heard[row], alone.past_key_values.heard[0])


@torch.no_grad()
def test_padding_within_a_long_reading_is_not_heard() -> None:
    # Longer than what is compared at once, and than the window.
    model, ids = build(), pieces(2, 600)
    mask = torch.rand(2, 600, generator=torch.Generator().manual_seed(1)) < 0.7
    output = model(ids, attention_mask=mask.long())
    for row, real in enumerate(mask):
        alone = model(ids[row : row + 1, real])
        assert_close(output.logits[row, real], alone.logits[0])
        assert torch.equal(output.past_key_values.heard[row], alone.past_key_values.heard[0])


# Rows ---------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_row_leans_as_it_would_alone() -> None:
    model, ids = build(), pieces(3, 150)
    together = model(ids).logits
    for row in range(3):
        assert_close(together[row], model(ids[row : row + 1]).logits[0])


@torch.no_grad()
def test_rows_picked_and_turned_round_take_what_they_heard_along() -> None:
    model, ids = build(), pieces(3, 150)
    order = torch.tensor([2, 0, 2])
    before, whole = model(ids[:, :120]).past_key_values, model(ids).logits
    chosen = model(ids[order, 120:], past_key_values=before.rows(order)).logits
    assert_close(chosen, whole[order, 120:])
    before.reorder_cache(order)
    assert_close(model(ids[order, 120:], past_key_values=before).logits, whole[order, 120:])
    before.batch_repeat_interleave(2)
    twice = order.repeat_interleave(2)
    assert_close(model(ids[twice, 120:], past_key_values=before).logits, whole[twice, 120:])


@torch.no_grad()
def test_a_row_that_is_reset_has_heard_nothing() -> None:
    model, ids = build(), pieces(2, 150)
    before = model(ids[:, :120]).past_key_values
    fresh = before.reset_rows(torch.tensor([True, False]))
    output = model(ids[:, 120:], past_key_values=fresh)
    assert_close(output.logits[0], model(ids[:1, 120:]).logits[0])
    assert_close(output.logits[1], model(ids).logits[1, 120:])
    assert output.past_key_values.heard[0].tolist() == [-1] * 66 + ids[0, 120:].tolist()
    before.reset()
    assert (before.heard == -1).all()


@torch.no_grad()
def test_a_state_that_somebody_keeps_stays_as_it_was() -> None:
    model, ids = build(), pieces(2, 150)
    state = model(ids[:, :120]).past_key_values
    kept = state.heard.clone()
    one = model(ids[:, 120:], past_key_values=state)
    model(ids[:, 121:122], past_key_values=state)
    assert torch.equal(state.heard, kept)
    assert torch.equal(state.detached().heard, kept)
    assert torch.equal(model(ids[:, 120:], past_key_values=state).logits, one.logits)


@pytest.mark.parametrize(("size", "kind"), [(2**15 - 1, torch.int16), (2**15, torch.int32)])
@torch.no_grad()
def test_every_token_of_a_vocabulary_can_be_heard(size, kind) -> None:
    model = build(vocab_size=size, hidden_size=2, num_hidden_layers=1, recall_distance=1)
    ids = torch.tensor([[5, size - 1, 5, size - 1]])
    output = model(ids)
    assert output.past_key_values.heard.dtype == kind
    assert output.past_key_values.heard[0, -4:].tolist() == ids[0].tolist()
    gained = output.logits - model(ids, use_recall=False).logits
    assert gained[0, 2].nonzero()[:, 0].tolist() == [size - 1]


# When it acts -------------------------------------------------------------------------------------


def test_while_training_it_stands_aside() -> None:
    model, ids = build(dropout=0, embedding_dropout=0), pieces(2, 120)
    with torch.no_grad():
        own = model(ids, use_recall=False).logits
        assert not torch.equal(model(ids).logits, own)
        assert_close(model.train()(ids).logits, own, atol=1e-5)


@torch.no_grad()
def test_left_out_it_remembers_all_the_same() -> None:
    model, ids = build(), pieces(2, 200)
    without = build(recall_window=0)
    silent = model(ids[:, :150], use_recall=False)
    assert torch.equal(silent.logits, without(ids[:, :150]).logits)
    following = model(ids[:, 150:], past_key_values=silent.past_key_values).logits
    assert_close(following, model(ids).logits[:, 150:])


@torch.no_grad()
def test_of_vectors_nothing_is_recalled() -> None:
    model, ids = build(), pieces(2, 120)
    vectors = model.get_input_embeddings()(ids)
    assert torch.equal(model(inputs_embeds=vectors).logits, model(ids, use_recall=False).logits)


@torch.no_grad()
def test_the_loss_is_that_of_the_scores_that_lean() -> None:
    model, ids = build(), pieces(2, 120)
    output = model(ids, labels=ids)
    expected = functional.cross_entropy(output.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert_close(output.loss, expected, atol=1e-6)
    assert output.loss < model(ids, labels=ids, use_recall=False).loss  # for much comes back


def test_gradients_flow_through_what_leans() -> None:
    model, ids = build(), pieces(1, 120)
    logits = model(ids).logits
    own = model(ids, use_recall=False).logits
    step = next(
        step for step in range(60, 120) if odds_after(ids[0, : step + 1].tolist(), model.config)
    )
    odds = odds_after(ids[0, : step + 1].tolist(), model.config)
    token = max(odds, key=odds.get)
    leaned = logits[0, step].log_softmax(-1)[token]
    # By hand: the share of the network alone, scaled down by what the vote has.
    gained = torch.zeros(VOCAB)
    gained[[*odds]] = torch.tensor([*odds.values()], dtype=torch.float32)
    by_hand = (own[0, step].softmax(-1)[token] + gained[token]).log() - (1 + gained.sum()).log()
    weights = list(model.parameters())
    for found, expected in zip(
        torch.autograd.grad(leaned, weights), torch.autograd.grad(by_hand, weights), strict=True
    ):
        assert_close(found, expected)
    assert found.abs().sum() > 0


@torch.no_grad()
def test_bfloat16_leans_nearly_the_same() -> None:
    model, ids = build(recall_bias=3), pieces(2, 120)
    exact = model(ids).logits
    output = model.bfloat16()(ids)
    assert output.logits.dtype == torch.bfloat16
    assert output.past_key_values.heard.dtype == torch.int16
    own = model(ids, use_recall=False).logits
    # Eight bits of mantissa, and scores up to ten or so; recall moves them farther.
    assert_close(output.logits.float(), exact, atol=0.5)
    assert (output.logits - own).abs().max() > 2


# One token at a time ------------------------------------------------------------------------------


def assert_says(stepper: Stepper, row: int, leaned: torch.Tensor) -> None:
    """Scores and votes of a row together are the scores (vocab,) of the whole network."""
    votes = stepper.votes(row)
    odds = {}
    if votes is not None:
        odds = dict(zip(votes.tokens.tolist(), votes.odds.tolist(), strict=True))
    found = mixed(torch.from_numpy(stepper.scores[row].copy()), odds)
    assert_close(found, leaned.log_softmax(-1))


@pytest.mark.parametrize("read", [1, 50, 130])
@pytest.mark.parametrize("shape", SHAPES[:4], ids=str)
@torch.no_grad()
def test_scores_and_votes_together_are_the_scores_of_the_network(shape, read) -> None:
    model, ids = build(**shape), pieces(2, 330)
    whole = model(ids)
    network = PackedLSTM(model, precision="float32")
    stepper = network.stepper([network.read(row) for row in ids[:, :read].tolist()])
    for step in range(read, 330):
        stepper.step(ids[:, step].tolist())
        for row in range(2) if step % 5 == 0 else ():
            assert_says(stepper, row, whole.logits[row, step])
    for row in range(2):
        heard = stepper.snapshot(row).state.heard
        assert torch.equal(heard[0], whole.past_key_values.heard[row])


@pytest.mark.parametrize("steps", [3, 96, 97, 200])
@torch.no_grad()
def test_rows_restored_kept_and_brought_back_from_bytes_recall_what_they_heard(steps) -> None:
    # 96 steps fill the table, and the next one moves it.
    model, ids = build(), pieces(3, 360)
    whole = model(ids).logits
    network = PackedLSTM(model, precision="float32")
    starts = [network.read(row) for row in ids[:, :100].tolist()]
    stepper = network.stepper(starts)
    for step in range(100, 100 + steps):
        stepper.step(ids[:, step].tolist())
    middle = stepper.snapshot(2)
    kept = middle.state.heard.clone()
    stepper.restore(starts[1], 0)
    stepper.restore(Snapshot.from_bytes(middle.to_bytes()), 1)
    stepper.keep([1, 0])
    resumed = network.stepper([middle])
    for step in range(60):
        now = 100 + steps + step
        stepper.step([ids[2, now].item(), ids[1, 100 + step].item()])
        resumed.step([ids[2, now].item()])
        assert_says(stepper, 0, whole[2, now])
        assert_says(stepper, 1, whole[1, 100 + step])
        assert_says(resumed, 0, whole[2, now])
    assert torch.equal(middle.state.heard, kept)
    read = network.read(ids[2, 100 + steps :].tolist(), middle)
    assert_close(read.scores[0], model(ids[2:], use_recall=False).logits[0, -1])
    assert torch.equal(read.state.heard[0], ids[2, -96:].to(kept.dtype))


def test_rows_do_not_hear_each_other() -> None:
    config = build_config(recall_window=80, recall_distance=3)
    rows = [piece(250, seed=seed) for seed in range(3)]
    stepped = SteppedRecall(config, nothing_heard(config, 3))
    for column in zip(*rows, strict=True):
        stepped.read(column)
    for row, ids in enumerate(rows):
        assert_votes(stepped, ids, config, row)
        assert stepped.heard(row).tolist() == ids[-80:]


def test_what_was_heard_is_copied_out_and_in() -> None:
    config = build_config(recall_window=80, recall_distance=3)
    first = piece(100)
    given = np.array([first[:80]], np.int16)
    stepped = SteppedRecall(config, given)
    taken = stepped.heard(0)
    for token in first[80:]:
        stepped.read([token])
    assert given[0].tolist() == taken.tolist() == first[:80]
    stepped.restore(taken, 0)
    taken[:] = 1
    assert stepped.heard(0).tolist() == first[:80]


def test_a_network_without_recall_has_no_votes() -> None:
    network = PackedLSTM(build(recall_window=0), precision="float32")
    stepper = network.stepper([network.read([5, 6] * 40)])
    stepper.step([5])
    assert stepper.votes(0) is None
    assert stepper.snapshot().state.heard.shape == (1, 0)


def test_before_anything_was_heard_there_are_no_votes() -> None:
    config = build_config(recall_window=80, recall_distance=3)
    assert SteppedRecall(config, nothing_heard(config)).votes(0) is None


@pytest.mark.parametrize("kind", [np.int16, np.int32], ids=["compiled", "numpy"])
@torch.no_grad()
def test_nobody_votes_for_what_was_no_token(kind) -> None:
    """Vectors may have stood between tokens; what followed is not known there."""
    config = build_config(recall_window=96, recall_distance=2)
    heard, ids = piece(96), piece(150)[90:]
    heard[3:95:7] = [-1] * len(heard[3:95:7])
    stepped = SteppedRecall(config, np.array([heard], kind))
    said = Recall(config)._votes(torch.tensor([heard + ids]), 96)
    assert int(said.token.min()) >= 0
    for step, token in enumerate(ids):
        stepped.read([token])
        at, votes = said.column == 96 + step, stepped.votes(0)
        found = [] if votes is None else votes.tokens.tolist()
        assert found == said.token[at].tolist()
        if votes is not None:
            np.testing.assert_allclose(votes.odds, said.odds[at].exp().numpy(), rtol=1e-4)


def test_a_snapshot_of_more_tokens_is_refused() -> None:
    large, small = build(vocab_size=40), build(vocab_size=30)
    snapshot = PackedLSTM(small, precision="float32").read([1, 2])
    snapshot.state.heard = PackedLSTM(large, precision="float32").read([1, 39]).state.heard
    with pytest.raises(ValueError, match="has heard tokens that this one, with 30, does not know"):
        PackedLSTM(small, precision="float32").stepper([snapshot])


def test_a_snapshot_of_another_window_is_refused() -> None:
    plain, wide = build(recall_window=0), build(recall_window=120)
    snapshot = PackedLSTM(plain, precision="float32").read([1, 2])
    with pytest.raises(ValueError, match="it remembers the last 0 tokens, this one 120"):
        PackedLSTM(wide, precision="float32").stepper([snapshot])
