"""Completing bars of kept parts: order of tokens, who has to play, which candidate is chosen."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from musiclstm.core.sequence import Batch
from musiclstm.generation.constraints import Constraints
from musiclstm.generation.decoding.bar_rules import bar_rules
from musiclstm.generation.decoding.inference import InferenceModel
from musiclstm.generation.decoding.kept_parts import (
    KeptBar,
    PartsRequest,
    complete_bars,
    copies_by_weight,
    parts_with_notes,
)
from musiclstm.generation.decoding.sampling import Sampling
from musiclstm.tokens import DRUMS, PartName
from tests.generation.decoding.models import noise_model
from tests.generation.referee import IDS, NAMES

RULES = bar_rules(Constraints(programs={0, 40, DRUMS}, notes_per_bar=(6, 9)))


def ids(text: str) -> tuple[int, ...]:
    return tuple(IDS[name] for name in text.split())


BARS = (
    "TimeSig_3/4 Position_0 Tempo_122.99 Program_40 Position_0 Pitch_60 Duration_1.0.12",
    "TimeSig_3/4",
    "TimeSig_4/4 Program_-1 Position_0 PitchDrum_36 Duration_0.6.12",
)
FOLLOWING = (
    "TimeSig_4/4 Program_40 Position_0 Pitch_60 Duration_1.0.12",
    "TimeSig_4/4 Program_0 Position_12 Pitch_64 Duration_1.0.12",
)
REQUEST = PartsRequest(
    prompt=(IDS["BOS_None"],),
    bars=[KeptBar(ids(bar), RULES) for bar in BARS],
    following=[ids(bar) for bar in FOLLOWING],
    kept={40: 1, DRUMS: 1},
    max_rests={PartName(0, 0): 1, PartName(40, 1): 1, PartName(40, 2): 1},
    lines={40},
    sampling=Sampling(seed=3, candidates=1),
)


@pytest.fixture(scope="module")
def model() -> InferenceModel:
    return noise_model()


@pytest.mark.parametrize("candidates", [1, 5])
def test_kept_tokens_come_first_and_no_kept_part_plays_more(candidates, model) -> None:
    for seed in range(6):
        request = replace(REQUEST, sampling=Sampling(seed=seed, candidates=candidates))
        found = complete_bars(model, request)
        assert found == complete_bars(model, request)
        played = []
        for bar, kept in zip(found, REQUEST.bars, strict=True):
            assert bar[: len(kept.tokens) + 1] == (IDS["Bar_None"], *kept.tokens)
            in_kept = parts_with_notes(kept.tokens)
            assert parts_with_notes(bar) <= in_kept | {*REQUEST.max_rests}
            played.append(parts_with_notes(bar))
        for part in REQUEST.max_rests:
            rests = [part not in parts for parts in played]
            assert (True, True) not in itertools.pairwise(rests)


def test_lines_play_one_note_at_a_time(model) -> None:
    for seed in range(6):
        request = replace(REQUEST, sampling=Sampling(seed=seed, candidates=1))
        for bar in complete_bars(model, request):
            added, names = False, [NAMES[token] for token in bar]
            for i, name in enumerate(names):
                if name.startswith("Program"):
                    added = name == "Program_40" and "Program_40" in names[:i]
                if added and name.startswith("Pitch_"):
                    assert names[i - 1].startswith("Position")


def test_the_candidate_is_chosen_under_which_the_rest_is_most_probable(model) -> None:
    request = replace(REQUEST, bars=REQUEST.bars[:1], sampling=Sampling(seed=3, candidates=4))
    chosen = complete_bars(model, request)[0]
    found: dict[tuple[int, ...], float] = {}
    for candidate in range(4):
        state = model.prefill(request.prompt)
        sequence = model.restore(state, RULES, request.prompt, ())
        batch, sampling = Batch([sequence]), request.sampling.packed()
        sequence.open_bar(RULES, sampling, 0, candidate)
        batch.append(request.bars[0].tokens)
        parts = np.zeros((4, 129), np.uint8)
        parts[0, [40, -1]], parts[1, 0], parts[1, 40], parts[3, 40] = 1, 1, 2, 1
        sequence.limit_parts(parts)
        batch.write()
        bar, weight = sequence.bar()[0], 0.0
        for number, tokens in enumerate(request.following, 1):
            sequence.open_bar(RULES, sampling, number)
            batch.append(tokens)
            weight += sum(sequence.bar()[1])
            sequence.read(tokens[-1:])
        found[bar] = weight
    assert len(found) == 4
    assert max(found, key=lambda bar: found[bar]) == chosen


def test_improbable_candidates_are_replaced_by_copies_of_probable_ones() -> None:
    assert copies_by_weight(np.log([0.2, 0.3, 0.2, 0.3])).tolist() == [1, 1, 1, 1]
    assert copies_by_weight(np.log([1e-9, 0.9, 1e-9, 0.1])).tolist() == [0, 4, 0, 0]
    assert copies_by_weight(np.array([-900.0, -1000.0, -900.5, -999.0])).sum() == 4
    assert copies_by_weight(np.zeros(1)).tolist() == [1]
