"""Interpolated modified Kneser-Ney smoothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.quality.ngram import NGram

BOS, EOS, VOCAB = 0, 1, 12


@pytest.fixture
def streams():
    """First-order Markov chains over tokens 2 to 9; 10 and 11 do not occur."""
    rng, found = np.random.default_rng(0), []
    for _ in range(20):
        tokens = [BOS, 2]
        for _ in range(60):
            tokens.append(2 + (tokens[-1] - 2 + int(rng.choice(3, p=(0.6, 0.3, 0.1)))) % 8)
        found.append([*tokens, EOS])
    return found


def distribution(model, context):
    """Probabilities of the whole vocabulary after one context."""
    contexts = np.tile(np.array(context, np.int64), (model.vocab_size, 1))
    return model.probabilities(contexts.reshape(model.vocab_size, -1), np.arange(model.vocab_size))


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_sum_to_one_after_any_context(streams, order):
    model = NGram(streams, order=order, vocab_size=VOCAB, bos_id=BOS)
    known = [stream[i : i + order - 1] for stream in streams[:3] for i in range(1, 40)]
    unknown = np.random.default_rng(1).integers(0, VOCAB, (40, order - 1)).tolist()
    for context in [*known, *unknown, [BOS] * (order - 1)]:
        found = distribution(model, context)
        assert found.sum() == pytest.approx(1, abs=1e-12)
        assert found.min() > 0


def test_an_unknown_context_backs_off_to_the_shorter_one(streams):
    model = NGram(streams, order=3, vocab_size=VOCAB, bos_id=BOS)
    assert distribution(model, [11, 5]) == pytest.approx(distribution(model, [10, 5]))
    assert distribution(model, [11, 5]) != pytest.approx(distribution(model, [11, 6]))


def test_probabilities_equal_a_calculation_by_hand():
    # Tokens a, b, c are 2, 3, 4. The counts are small, so the default discounts apply.
    model = NGram([[BOS, 2, 3, 2, 3, 2, 4]], order=2, vocab_size=5, bos_id=BOS)
    # a follows BOS and b; b and c follow a: c(a) = 2, c(b) = 1, c(c) = 1 of 4.
    discounted = (1.0 + 0.5 + 0.5) / 4
    single = {2: (2 - 1.0) / 4, 3: (1 - 0.5) / 4, 4: (1 - 0.5) / 4, 0: 0, 1: 0}
    lower = {token: own + discounted / 5 for token, own in single.items()}
    # After a: b twice, c once.
    expected = {
        token: (max({3: 2, 4: 1}.get(token, 0) - {3: 1.0, 4: 0.5}.get(token, 0), 0) / 3)
        + (1.0 + 0.5) / 3 * lower[token]
        for token in range(5)
    }
    assert distribution(model, [2]).tolist() == pytest.approx([expected[t] for t in range(5)])


def test_discounts_follow_from_the_counts_of_counts():
    counts = [1] * 8 + [2] * 4 + [3] * 2 + [4] * 1
    tokens = [token for token, times in enumerate(counts, start=2) for _ in range(times)]
    model = NGram([[BOS, *tokens]], order=1, vocab_size=40, bos_id=BOS)
    y = 8 / (8 + 2 * 4)
    one, two, three = 1 - 2 * y * 4 / 8, 2 - 3 * y * 2 / 4, 3 - 4 * y * 1 / 2
    discounted = (8 * one + 4 * two + 3 * three) / 26 / 40
    found = distribution(model, [])[[2, 10, 14, 16, 0]]
    counts_left = [1 - one, 2 - two, 3 - three, 4 - three, 0]
    assert found == pytest.approx([count / 26 + discounted for count in counts_left])


def test_bits_are_the_sum_over_all_tokens_except_the_first(streams):
    model = NGram(streams, order=3, vocab_size=VOCAB, bos_id=BOS)
    stream = [BOS, 2, 3, 11, EOS]
    contexts = [[BOS, BOS], [BOS, 2], [2, 3], [3, 11]]
    by_hand = -sum(
        math.log2(distribution(model, context)[token])
        for context, token in zip(contexts, stream[1:], strict=True)
    )
    assert model.bits(stream) == pytest.approx(by_hand)


def test_contexts_do_not_reach_into_the_last_stream():
    model = NGram([[BOS, 2, 3], [BOS, 4, 5]], order=3, vocab_size=VOCAB, bos_id=BOS)
    swapped = NGram([[BOS, 4, 5], [BOS, 2, 3]], order=3, vocab_size=VOCAB, bos_id=BOS)
    for context in ([2, 3], [3, BOS], [BOS, BOS], [BOS, 4]):
        assert distribution(model, context) == pytest.approx(distribution(swapped, context))


def test_invalid_arguments_are_refused():
    with pytest.raises(ValueError, match="no tokens to predict"):
        NGram([[BOS]], order=2, vocab_size=VOCAB, bos_id=BOS)
    with pytest.raises(ValueError, match="order must be 1 or more, got 0"):
        NGram([[BOS, 2]], order=0, vocab_size=VOCAB, bos_id=BOS)
