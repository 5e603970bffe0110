"""Interpolated modified Kneser-Ney."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.quality.ngram import NGram

BOS, EOS, VOCAB = 0, 1, 12


def random_streams(rng, *, streams=20, steps=60):
    """Tokens 2 to 9, each leaning on the one before it; 10 and 11 never come."""
    found = []
    for _ in range(streams):
        tokens = [BOS, 2]
        for _ in range(steps):
            tokens.append(2 + (tokens[-1] - 2 + int(rng.choice(3, p=(0.6, 0.3, 0.1)))) % 8)
        found.append([*tokens, EOS])
    return found


@pytest.fixture
def streams():
    return random_streams(np.random.default_rng(0))


def after(model, context):
    """Probabilities of the whole vocabulary after one context."""
    contexts = np.tile(np.array(context, np.int64), (model.vocab_size, 1))
    return model.probabilities(contexts.reshape(model.vocab_size, -1), np.arange(model.vocab_size))


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_sum_to_one_after_any_context(streams, order):
    model = NGram(streams, order=order, vocab_size=VOCAB, bos_id=BOS)
    rng = np.random.default_rng(1)
    seen = [stream[i : i + order - 1] for stream in streams[:3] for i in range(1, 40)]
    unheard = rng.integers(0, VOCAB, (40, order - 1)).tolist()
    for context in [*seen, *unheard, [BOS] * (order - 1)]:
        found = after(model, context)
        assert found.sum() == pytest.approx(1, abs=1e-12)
        assert found.min() > 0


def test_an_unheard_context_leaves_what_the_shorter_one_says(streams):
    model = NGram(streams, order=3, vocab_size=VOCAB, bos_id=BOS)
    assert after(model, [11, 5]) == pytest.approx(after(model, [10, 5]))
    assert after(model, [11, 5]) != pytest.approx(after(model, [11, 6]))


def test_the_formula_is_kept_where_it_can_be_reckoned_by_hand():
    # Tokens a, b, c are 2, 3, 4; the bigrams are counted, small counts take the usual discounts.
    model = NGram([[BOS, 2, 3, 2, 3, 2, 4]], order=2, vocab_size=5, bos_id=BOS)
    # Before a stand BOS and b, before b and c stands a: c(a) = 2, c(b) = 1, c(c) = 1 of 4.
    spared = (1.0 + 0.5 + 0.5) / 4
    single = {2: (2 - 1.0) / 4, 3: (1 - 0.5) / 4, 4: (1 - 0.5) / 4, 0: 0, 1: 0}
    lower = {token: own + spared / 5 for token, own in single.items()}
    # After a: b twice, c once.
    expected = {
        token: (max({3: 2, 4: 1}.get(token, 0) - {3: 1.0, 4: 0.5}.get(token, 0), 0) / 3)
        + (1.0 + 0.5) / 3 * lower[token]
        for token in range(5)
    }
    assert after(model, [2]).tolist() == pytest.approx([expected[t] for t in range(5)])


def test_discounts_follow_from_the_counts_of_counts():
    counts = [1] * 8 + [2] * 4 + [3] * 2 + [4] * 1
    tokens = [token for token, times in enumerate(counts, start=2) for _ in range(times)]
    model = NGram([[BOS, *tokens]], order=1, vocab_size=40, bos_id=BOS)
    y = 8 / (8 + 2 * 4)
    one, two, three = 1 - 2 * y * 4 / 8, 2 - 3 * y * 2 / 4, 3 - 4 * y * 1 / 2
    spared = (8 * one + 4 * two + 3 * three) / 26 / 40
    found = after(model, [])
    assert found[2] == pytest.approx((1 - one) / 26 + spared)
    assert found[10] == pytest.approx((2 - two) / 26 + spared)
    assert found[14] == pytest.approx((3 - three) / 26 + spared)
    assert found[16] == pytest.approx((4 - three) / 26 + spared)
    assert found[0] == pytest.approx(spared)


def test_a_periodic_stream_is_known_by_its_context_and_not_by_its_tokens():
    period = [2, 3, 4, 5, 6, 7, 8, 9]
    train, test = [BOS, *period * 200], [BOS, *period * 5]
    single, five = (
        NGram([train], order=order, vocab_size=VOCAB, bos_id=BOS).bits(test) / (len(test) - 1)
        for order in (1, 5)
    )
    assert single == pytest.approx(3, abs=0.01)
    assert five < 0.1


def test_two_alike_contexts_are_told_apart_by_a_longer_one():
    # After 3 comes 4 or 5, by what stood before the 3.
    train = [BOS, *[2, 3, 4, 6, 3, 5] * 100]
    bits = [
        NGram([train], order=order, vocab_size=VOCAB, bos_id=BOS).bits(train) for order in (2, 3)
    ]
    assert bits[1] < bits[0] / 3


def test_bits_are_the_sum_over_all_tokens_but_the_first(streams):
    model = NGram(streams, order=3, vocab_size=VOCAB, bos_id=BOS)
    stream = [BOS, 2, 3, 11, EOS]
    contexts = [[BOS, BOS], [BOS, 2], [2, 3], [3, 11]]
    by_hand = -sum(
        math.log2(after(model, context)[token])
        for context, token in zip(contexts, stream[1:], strict=True)
    )
    assert model.bits(stream) == pytest.approx(by_hand)


def test_a_piece_knows_nothing_of_the_piece_before_it():
    apart = NGram([[BOS, 2, 3], [BOS, 4, 5]], order=3, vocab_size=VOCAB, bos_id=BOS)
    turned = NGram([[BOS, 4, 5], [BOS, 2, 3]], order=3, vocab_size=VOCAB, bos_id=BOS)
    for context in ([2, 3], [3, BOS], [BOS, BOS], [BOS, 4]):
        assert after(apart, context) == pytest.approx(after(turned, context))


def test_a_longer_memory_predicts_chance_with_memory_better():
    rng = np.random.default_rng(3)
    train, test = (random_streams(rng, streams=count, steps=500) for count in (20, 3))
    bits = [
        sum(NGram(train, order=order, vocab_size=VOCAB, bos_id=BOS).bits(s) for s in test)
        for order in (1, 2)
    ]
    tokens = sum(len(stream) - 1 for stream in test)
    entropy = -sum(p * math.log2(p) for p in (0.6, 0.3, 0.1))
    assert bits[1] / tokens == pytest.approx(entropy, abs=0.1)
    assert bits[0] / tokens > 2.5


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(ValueError, match="There is no token to learn from"):
        NGram([[BOS]], order=2, vocab_size=VOCAB, bos_id=BOS)
    with pytest.raises(ValueError, match="order must be 1 or more, got 0"):
        NGram([[BOS, 2]], order=0, vocab_size=VOCAB, bos_id=BOS)
