"""Features and scores of bars in C against their numpy reference."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from musiclstm.core.bar_features import BAR_FEATURES, BAR_SCORE, FEATURE_BINS, BarContext
from musiclstm.core.library import is_available
from musiclstm.core.reference.bar_features import ReferenceContext, bar_score
from musiclstm.tokens.vocabulary import TABLE, TOKEN_NAMES

pytestmark = pytest.mark.skipif(not is_available(), reason="this machine cannot run the core")

IDS = {name: index for index, name in enumerate(TOKEN_NAMES)}
METERS = [name for name in TOKEN_NAMES if name.startswith("TimeSig")]
DURATIONS = [name for name in TOKEN_NAMES if name.startswith("Duration")]


@st.composite
def bars(draw: st.DrawFn) -> list[int]:
    """A bar with a meter and blocks; sometimes tokens that break the grammar."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    names = ["Bar_None", str(rng.choice(METERS[:9]))]
    for _ in range(rng.integers(0, 5)):
        program = int(rng.choice([-1, 0, 0, 40, 127]))
        names.append(f"Program_{program}")
        for _ in range(rng.integers(0, 6)):
            names.append(f"Position_{rng.integers(0, 48)}")
            pitch = "PitchDrum_36" if program < 0 else f"Pitch_{rng.integers(55, 80)}"
            names += [pitch, str(rng.choice(DURATIONS))] * int(rng.integers(1, 3))
    ids = [IDS[name] for name in names]
    if draw(st.integers(0, 4)) == 0:
        noise = rng.integers(0, len(TABLE), rng.integers(1, 20))
        ids += noise[noise != IDS["Bar_None"]].tolist()
    return ids


def stream(pieces: list[list[int]]) -> list[int]:
    return [IDS["BOS_None"], *(token for bar in pieces for token in bar)]


@settings(max_examples=60, deadline=None)
@given(st.lists(bars(), max_size=12), st.lists(bars(), min_size=1, max_size=40))
def test_features_equal_the_reference(prompt, new) -> None:
    context, reference = BarContext(TABLE, stream(prompt)), ReferenceContext(TABLE, stream(prompt))
    for bar in new:
        log_probs = -np.arange(len(bar)) / 7
        found = context.features(bar, log_probs)
        np.testing.assert_allclose(found, reference.features(bar, log_probs), atol=2e-5)
        context.add(bar)
        reference.add(bar)


def test_bars_beyond_the_limits_equal_the_reference() -> None:
    names = ["Bar_None", "TimeSig_16/8"]
    for block in range(10):  # of one program, which has at most eight tracks
        names.append("Program_0")
        for note in range(60):  # 600 notes in all; positions beyond the longest bar
            position, pitch = 191 * note // 59, 40 + 3 * block + note % 7
            names += [f"Position_{position}", f"Pitch_{pitch}", DURATIONS[note % 9]]
    bar = [IDS[name] for name in names]
    context, reference = BarContext(TABLE, stream([bar])), ReferenceContext(TABLE, stream([bar]))
    for part in (bar, bar[:900]):
        log_probs = [-1.0] * len(part)
        expected = reference.features(part, log_probs)
        np.testing.assert_allclose(context.features(part, log_probs), expected, atol=2e-5)


def test_a_context_can_start_after_some_bars() -> None:
    bar, other = (
        [
            IDS[name]
            for name in (
                "Bar_None",
                "TimeSig_4/4",
                "Program_0",
                "Position_0",
                pitch,
                "Duration_1.0.12",
            )
        ]
        for pitch in ("Pitch_60", "Pitch_64")
    )
    context = BarContext(TABLE, stream([bar]))
    context.add(other)
    found = BarContext(TABLE, stream([bar]), [other]).features(bar, [0.0] * len(bar))
    np.testing.assert_array_equal(found, context.features(bar, [0.0] * len(bar)))
    values = dict(zip(BAR_FEATURES, found.tolist(), strict=True))
    assert (values["repeat_1"], values["repeat_2"], values["repeat_new"]) == (0, 1, 0)
    assert values["pitches"] == 0.5  # of two new notes one is like the prompt
    assert values["top_step"] == 4


@given(st.integers(0, 2**32 - 1))
def test_scores_equal_the_reference(seed) -> None:
    rng = np.random.default_rng(seed)
    model = np.zeros((), BAR_SCORE)
    count = len(BAR_FEATURES)
    model["weights"] = rng.standard_normal(count)
    model["edges"] = np.sort(rng.integers(0, 4, (count, FEATURE_BINS - 1)))
    model["log_odds"] = rng.standard_normal((count, FEATURE_BINS))
    bar = [IDS["Bar_None"], IDS["TimeSig_4/4"], IDS["Program_0"], IDS["Position_0"],
           IDS["Pitch_60"], IDS["Duration_1.0.12"]]  # fmt: skip
    context = BarContext(TABLE, stream([bar, bar]))
    features = context.features(bar, [-0.1] * 6)
    assert context.score(model, features) == pytest.approx(bar_score(model, features), abs=1e-5)


def test_tokens_outside_the_vocabulary_are_refused() -> None:
    with pytest.raises(IndexError, match="outside the vocabulary"):
        BarContext(TABLE, [len(TABLE)])
    context = BarContext(TABLE, [])
    for call in (context.add, lambda ids: context.features(ids, [0.0])):
        with pytest.raises(IndexError, match="outside the vocabulary"):
            call([-1])


def test_each_token_needs_a_log_probability() -> None:
    bar = [IDS["Bar_None"], IDS["TimeSig_4/4"]]
    with pytest.raises(ValueError, match="2 tokens, got 1"):
        BarContext(TABLE, []).features(bar, [0.0])
