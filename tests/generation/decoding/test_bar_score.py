"""The file of the score, and the choice among candidates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from musiclstm.core.bar_features import BAR_FEATURES, BAR_SCORE
from musiclstm.errors import CheckpointError
from musiclstm.generation.bar_plan import BarPlan
from musiclstm.generation.constraints import Constraints
from musiclstm.generation.decoding.bar_rules import bar_rules
from musiclstm.generation.decoding.bar_score import read_bar_score, write_bar_score
from musiclstm.generation.decoding.decode_loop import SequenceRequest, compose_sequences
from musiclstm.generation.decoding.inference import InferenceModel
from musiclstm.generation.decoding.sampling import Sampling
from musiclstm.model import BAR_SCORE_FILE
from tests.generation.decoding.models import noise_weights
from tests.generation.referee import IDS

PROMPT = (IDS["BOS_None"],)
RULES = bar_rules(Constraints(programs={0, 40}, notes_per_bar=(1, 6)))


def score_with(**weights: float) -> np.ndarray:
    score = np.zeros((), BAR_SCORE)
    for name, weight in weights.items():
        score["weights"][BAR_FEATURES.index(name)] = weight
    return score


def compose(model: InferenceModel, *samplings: Sampling, bars: int = 4) -> list[list[tuple]]:
    requests = [
        SequenceRequest(
            model.prefill(PROMPT), lambda bar, before, s=s: BarPlan(RULES, s, 1), prompt=PROMPT
        )
        for s in samplings
    ]
    found: list[list[tuple]] = [[] for _ in samplings]
    for index, bar in compose_sequences(model, requests, bars=bars):
        found[index].append(bar.tokens)
    return found


def test_the_best_candidate_is_kept() -> None:
    likely = InferenceModel(noise_weights(), score_with(log_prob=1))
    sampling = Sampling(seed=3, candidates=6)
    (found,) = compose(likely, sampling)
    state, written, context = likely.prefill(PROMPT), [], likely.bar_context(PROMPT, [])
    for number, expected in enumerate(found):
        candidates = []
        for candidate in range(6):
            sequence = likely.restore(state, RULES, PROMPT, [t for bar in written for t in bar])
            sequence.open_bar(RULES, sampling.packed(), number, candidate)
            likely_bars = write(sequence)
            candidates.append(
                (
                    context.score(likely.bar_score, context.features(*likely_bars)),
                    likely_bars,
                    sequence,
                )
            )
        assert len({bar for _, (bar, _), _ in candidates}) > 1
        _, (best, _), sequence = max(candidates, key=lambda each: each[0])
        assert expected == best
        state = type(state).of(sequence)
        context.add(best)
        written.append(best)


def write(sequence) -> tuple:
    from musiclstm.core.sequence import Batch

    while not sequence.is_complete:
        Batch([sequence]).write()
    return sequence.bar()


def test_without_a_score_the_first_candidate_is_kept() -> None:
    model = InferenceModel(noise_weights(), score_with())
    one, many = Sampling(seed=3, candidates=1), Sampling(seed=3, candidates=5)
    assert compose(model, one) == compose(model, many)


def test_sequences_with_candidates_do_not_depend_on_each_other() -> None:
    model = InferenceModel(noise_weights(), score_with(log_prob=-1))
    samplings = [
        Sampling(seed=seed, candidates=count) for seed, count in ((1, 20), (2, 3), (3, 15))
    ]
    together = compose(model, *samplings, bars=3)
    assert together == [compose(model, each, bars=3)[0] for each in samplings]
    assert together[0] != compose(model, replace(samplings[0], candidates=1), bars=3)[0]


def test_a_continued_sequence_keeps_the_place_of_bars_in_phrases() -> None:
    score = score_with(phrase_end_note=5, longest_note=-5)
    model, sampling = InferenceModel(noise_weights(), score), Sampling(seed=3, candidates=4)
    state, written = model.prefill(PROMPT), []
    plan = lambda bar, before: BarPlan(RULES, sampling, 1)  # noqa: E731
    for _, bar in compose_sequences(model, [SequenceRequest(state, plan, prompt=PROMPT)], bars=74):
        written.append(bar)
    tokens = [bar.tokens for bar in written]
    for start in (65, 66, 67):
        request = SequenceRequest(written[start - 1].snapshot, plan, tokens[:start], PROMPT)
        found = [bar.tokens for _, bar in compose_sequences(model, [request], bars=4)]
        assert found == tokens[start : start + 4]


# The file -----------------------------------------------------------------------------------------


def test_a_score_is_read_as_it_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    score = np.zeros((), BAR_SCORE)
    for name in BAR_SCORE.names or ():
        score[name] = np.sort(rng.standard_normal(score[name].shape).astype(np.float32))
    write_bar_score(tmp_path, score)
    assert read_bar_score(tmp_path) == score


def test_without_a_file_it_is_that_of_the_bundled_checkpoint(tmp_path: Path) -> None:
    assert read_bar_score(tmp_path) == read_bar_score(None)
    assert read_bar_score(None)["weights"].any()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:100],
        lambda text: text.replace('"density"', '"loudness"'),
        lambda text: text.replace("0.0", "NaN", 1),
        lambda text: text.replace("0.0", "1" + "0" * 400, 1),
        lambda text: text.replace('"edges": [', '"edges": [1, ', 1),
        lambda text: "[" * 100_000,
        lambda text: "[]",
    ],
)
def test_another_file_is_refused_with_a_sentence(tmp_path: Path, change) -> None:
    write_bar_score(tmp_path, score_with(density=1))
    path = tmp_path / BAR_SCORE_FILE
    path.write_text(change(path.read_text()))
    with pytest.raises(CheckpointError, match=r"bar_score\.json must hold weight, edges and"):
        read_bar_score(tmp_path)


def test_similarity_scales_the_choice() -> None:
    model = InferenceModel(noise_weights(), score_with(bar_density=1))
    found = {
        similarity: sum(map(len, compose(model, Sampling(seed=5, similarity=similarity))[0]))
        for similarity in (0, 0.5, 1)
    }
    assert found[0] == sum(map(len, compose(model, Sampling(seed=5, candidates=1))[0]))
    assert found[0.5] == found[1]
