"""Decoding bars: requests, plans, batches; with a network of known preferences and with noise."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Sequence
from itertools import islice, pairwise

import numpy as np
import pytest

from musiclstm.core.reference.grammar import GrammarState
from musiclstm.core.reference.network import ReferenceNetwork
from musiclstm.core.reference.sequence import ReferenceSequence, write_bar
from musiclstm.core.sequence import Batch
from musiclstm.generation.bar_plan import BarPlan
from musiclstm.generation.constraints import BarShape, Constraints
from musiclstm.generation.decoding.bar_rules import bar_rules
from musiclstm.generation.decoding.decode_loop import (
    SequenceRequest,
    TokenBar,
    compose_bars,
    compose_sequences,
)
from musiclstm.generation.decoding.inference import InferenceModel
from musiclstm.generation.decoding.sampling import Sampling
from musiclstm.tokens.vocabulary import TABLE
from tests.generation.decoding.models import LOUD, noise_model, noise_weights, scripted_model
from tests.generation.referee import IDS, NAMES, Referee, complaints

PROMPT = (IDS["BOS_None"],)
COLD = Sampling(temperature=0, seed=0, repetition_penalty=1)
FREE = Constraints()
BUSY = Constraints(programs={0, 40}, meter=(2, 4), max_empty_bars=3, max_notes_at_once=2)


def always(constraints: Constraints, sampling: Sampling, shape: BarShape | None = None) -> Callable:
    plan = BarPlan(
        bar_rules(constraints, shape), sampling, 1.0 if shape is None else shape.velocity_gain
    )
    return lambda bar, before: plan


def request(
    model: InferenceModel, plan: Callable, prompt: Sequence[int] = PROMPT
) -> SequenceRequest:
    return SequenceRequest(model.prefill(prompt), plan, prompt=prompt)


def first_bars(model: InferenceModel, plan: Callable, count: int) -> list[TokenBar]:
    return list(islice(compose_bars(model, request(model, plan)), count))


def names(ids: Sequence[int]) -> tuple[str, ...]:
    return tuple(NAMES[token] for token in ids)


@pytest.fixture(scope="module")
def noise() -> InferenceModel:
    return noise_model()


@pytest.mark.parametrize("then", ["Bar_None", "EOS_None"])
def test_bars_are_what_the_network_prefers(then) -> None:
    bars = first_bars(scripted_model(*LOUD, then=then), always(FREE, COLD), 3)
    assert [names(bar.tokens) for bar in bars] == [LOUD] * 3
    assert bars[0].log_probs[0] == 0


def test_forbidden_tokens_are_not_written() -> None:
    constraints = Constraints(programs={40}, meter=(3, 4))
    (bar,) = first_bars(scripted_model(*LOUD), always(constraints, COLD), 1)
    assert "Program_0" not in names(bar.tokens)
    assert names(bar.tokens)[:2] == ("Bar_None", "TimeSig_3/4")
    assert bar.log_probs[1] == pytest.approx(0, abs=1e-6)  # there was no other token


# The reference ------------------------------------------------------------------------------------


SAMPLINGS = {
    "cold": Sampling(temperature=0, seed=1, candidates=1),
    "hot": Sampling(temperature=1.7, top_p=0.8, top_k=9, seed=1, candidates=1),
    "copies": Sampling(
        seed=1, repetition_penalty=3, pitch_temperature=0.3, copy_weight=0.4, candidates=1
    ),
}


@pytest.mark.parametrize("name", SAMPLINGS)
def test_bars_equal_those_of_the_reference(name) -> None:
    weights, sampling = noise_weights(), SAMPLINGS[name]
    constraints = Constraints(programs={0, 40, -1}, max_polyphony=4, notes_per_bar=(1, 6))
    rules = bar_rules(constraints, BarShape(off_beat=name == "hot"))
    found = first_bars(InferenceModel(weights), lambda bar, before: BarPlan(rules, sampling, 1), 3)
    sequence = ReferenceSequence(ReferenceNetwork(weights), TABLE)
    grammar, earlier = GrammarState(TABLE, rules), []
    sequence.read(PROMPT)
    grammar.read_prompt(PROMPT)
    for number, bar in enumerate(found):
        expected, log_probs = write_bar(
            sequence, grammar, rules, sampling.packed(), number, earlier
        )
        assert list(bar.tokens) == expected
        np.testing.assert_allclose(bar.log_probs, log_probs, atol=1e-3)
        earlier.append(expected)


def test_a_bar_with_kept_parts_equals_that_of_the_reference() -> None:
    weights, sampling = noise_weights(), Sampling(seed=3).packed()
    rules = bar_rules(Constraints(programs={0, 40, -1}, max_notes_at_once=3))
    parts = np.zeros((4, 129), np.uint8)
    parts[0, [40, -1]] = 1
    parts[1, [0, 40]] = 1
    parts[2, [0, 40]] = 1, 2
    kept = [IDS[name] for name in (*LOUD[1:2], "Program_-1", "Position_0", "PitchDrum_36",
                                   "Duration_0.6.12")]  # fmt: skip
    model = InferenceModel(weights)
    found = model.restore(model.prefill(PROMPT), rules, PROMPT, [])
    other = model.restore(model.prefill(PROMPT), rules, PROMPT, [])
    for each in (found, other):
        each.open_bar(rules, sampling, 5)
    batch = Batch([found, other])
    batch.append(kept)
    for each in (found, other):
        each.limit_parts(parts)
    batch.write()
    assert found.is_complete
    assert other.is_complete
    sequence = ReferenceSequence(ReferenceNetwork(weights), TABLE)
    grammar = GrammarState(TABLE, rules)
    sequence.read(PROMPT)
    grammar.read_prompt(PROMPT)
    expected, log_probs = write_bar(
        sequence, grammar, rules, sampling, 5, [], kept=kept, parts=parts
    )
    tokens, found_log_probs = found.bar()
    assert list(tokens) == expected
    assert found.bar() == other.bar()
    np.testing.assert_allclose(found_log_probs, log_probs, atol=1e-3)
    programs = [name for name in names(tokens) if name.startswith("Program")]
    assert {"Program_0", "Program_40"} <= {*programs}
    assert programs.count("Program_-1") == 1
    assert programs.count("Program_40") == 2  # the kept part rests


@pytest.mark.parametrize(
    ("ids", "error"),
    [
        ([IDS["Bar_None"]], "meter, tempos"),
        ([IDS["EOS_None"]], "meter, tempos"),
        ([len(TABLE)], "vocabulary"),
    ],
)
def test_kept_tokens_that_do_not_belong_into_a_bar_are_refused(ids, error, noise) -> None:
    rules = bar_rules(FREE)
    sequence = noise.restore(noise.prefill(PROMPT), rules, PROMPT, [])
    with pytest.raises(ValueError, match="while a bar is open"):
        Batch([sequence]).append([IDS["TimeSig_4/4"]])
    sequence.open_bar(rules, COLD.packed(), 0)
    with pytest.raises((ValueError, IndexError), match=error):
        Batch([sequence]).append([IDS["TimeSig_4/4"], *ids])
    assert names(sequence.bar()[0]) == ("Bar_None",)


# Several sequences --------------------------------------------------------------------------------


def assert_same(found: Sequence[TokenBar], expected: Sequence[TokenBar]) -> None:
    for name in ("tokens", "log_probs", "velocity_gain"):
        assert [getattr(bar, name) for bar in found] == [getattr(bar, name) for bar in expected]
    assert [bar.snapshot.to_bytes() for bar in found] == [
        bar.snapshot.to_bytes() for bar in expected
    ]


@pytest.mark.parametrize("bars", [0, 1, 5])
def test_sequences_get_exactly_the_bars_asked_for(bars, noise) -> None:
    requests = [request(noise, always(BUSY, Sampling(seed=seed))) for seed in range(3)]
    found = [number for number, _ in compose_sequences(noise, requests, bars=bars)]
    assert sorted(found) == sorted([0, 1, 2] * bars)
    assert list(compose_sequences(noise, [])) == []


@pytest.mark.parametrize("count", [1, 3, 32])
def test_sequences_in_a_batch_equal_the_same_ones_alone(count, noise) -> None:
    others = BUSY, Constraints(programs={0}, meter=(3, 4), max_polyphony=3)
    plans = [always(others[seed % 2], Sampling(seed=seed)) for seed in range(count)]
    together: list[list[TokenBar]] = [[] for _ in plans]
    requests = [request(noise, plan) for plan in plans]
    for number, bar in compose_sequences(noise, requests, bars=3):
        together[number].append(bar)
    for plan, found in zip(plans, together, strict=True):
        assert_same(found, first_bars(noise, plan, 3))
    assert len({tuple(bar.tokens for bar in found) for found in together}) > count / 2


def test_two_sequences_in_turn_are_what_they_are_alone(noise) -> None:
    plans = [always(BUSY, Sampling(seed=seed)) for seed in (1, 2)]
    one, other = (compose_bars(noise, request(noise, plan)) for plan in plans)
    in_turn = zip(*[(next(one), next(other)) for _ in range(3)], strict=True)
    for found, plan in zip(in_turn, plans, strict=True):
        assert_same(found, first_bars(noise, plan, 3))


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_resumed_sequences_equal_uninterrupted_ones(temperature, noise) -> None:
    plans = [always(BUSY, Sampling(temperature=temperature, seed=seed)) for seed in range(4)]
    wholes = [first_bars(noise, plan, 6) for plan in plans]
    start = noise.prefill(PROMPT)
    requests = [  # one without new bars, the others with one, two, three
        SequenceRequest(
            whole[cut - 1].snapshot if cut else start,
            plan,
            tuple(bar.tokens for bar in whole[:cut]),
            PROMPT,
        )
        for cut, (plan, whole) in enumerate(zip(plans, wholes, strict=True))
    ]
    found: list[list[TokenBar]] = [[] for _ in requests]
    for number, bar in compose_sequences(noise, requests, bars=3):
        found[number].append(bar)
    for cut, (bars, whole) in enumerate(zip(found, wholes, strict=True)):
        assert_same(bars, whole[cut : cut + 3])


# The plan -----------------------------------------------------------------------------------------


def test_the_plan_is_asked_bar_by_bar_with_the_bars_before(noise) -> None:
    asked: list[tuple[int, tuple]] = []
    plain = always(Constraints(programs={0}, meter=(2, 4)), Sampling(seed=1))

    def plan(bar: int, before: Sequence[tuple[int, ...]]) -> BarPlan:
        asked.append((bar, tuple(before)))
        return plain(bar, before)

    bars = [bar.tokens for bar in first_bars(noise, plan, 70)]
    assert sorted({bar for bar, _ in asked}) == list(range(70))
    assert all(before == tuple(bars[max(0, bar - 64) : bar]) for bar, before in asked)
    asked.clear()
    longer = SequenceRequest(noise.prefill(PROMPT), plan, tuple(bars), PROMPT)
    next(compose_bars(noise, longer))
    assert asked[0] == (70, tuple(bars[-64:]))


def test_the_plan_may_change_rules_sampling_and_gain_with_every_bar(noise) -> None:
    meters = [(3, 4), (2, 4), (6, 8)]
    plans = [
        always(Constraints(meter=meter), Sampling(seed=5), BarShape(velocity_gain=gain))(0, ())
        for meter, gain in zip(meters, (1.0, 0.85, 0.7), strict=True)
    ]
    bars = first_bars(noise, lambda bar, before: plans[bar % 3], 6)
    assert [names(bar.tokens)[1] for bar in bars] == [
        "TimeSig_3/4",
        "TimeSig_2/4",
        "TimeSig_6/8",
    ] * 2
    assert [bar.velocity_gain for bar in bars] == [1.0, 0.85, 0.7] * 2
    one = first_bars(noise, always(BUSY, Sampling(seed=5)), 3)
    both = [always(BUSY, Sampling(seed=seed))(0, ()) for seed in (5, 6)]
    other = first_bars(noise, lambda bar, before: both[bar == 2], 3)
    assert [bar.tokens for bar in one[:2]] == [bar.tokens for bar in other[:2]]
    assert one[2].tokens != other[2].tokens


def test_silent_bars_count_beyond_those_that_are_kept() -> None:
    model = scripted_model("Bar_None", "TimeSig_4/4")
    plan = always(Constraints(max_empty_bars=70), COLD)
    whole = first_bars(model, plan, 72)
    assert [len(bar.tokens) > 2 for bar in whole] == [False] * 70 + [True, False]
    before = tuple(bar.tokens for bar in whole[:68])
    resumed = SequenceRequest(whole[67].snapshot, plan, before, PROMPT)
    assert_same(list(islice(compose_bars(model, resumed), 4)), whole[68:])


def test_an_endless_sequence_takes_constant_memory(noise) -> None:
    bars = compose_bars(noise, request(noise, always(BUSY, Sampling(seed=1))))
    for _ in islice(bars, 100):  # until 64 bars are kept
        pass
    gc.collect()
    tracemalloc.start()
    sizes = []
    for count in (30, 120):
        for _ in islice(bars, count):
            pass
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[1] - sizes[0] < 30_000  # 120 bars of a hundred tokens would be many times that


def test_the_prompt_limits_the_tracks_and_its_notes_still_sound(noise) -> None:
    words = ("Bar_None", "TimeSig_2/4", "Program_0", "Position_12", "Pitch_60", "Duration_2.0.12")
    prompt = [IDS[word] for word in words]
    constraints = Constraints(programs={0}, max_polyphony=1, meter=(2, 4))
    for seed in range(20):
        plan = always(constraints, Sampling(seed=seed))
        bar = next(compose_bars(noise, request(noise, plan, prompt)))
        referee = Referee([*prompt, *bar.tokens], tracks={0: 1})
        assert complaints(referee, constraints) == []
        assert all(note.position >= 12 for note in referee.bars[1].notes)


MELODY = [IDS["Bar_None"], IDS["TimeSig_4/4"], IDS["Program_73"]] + [
    IDS[name]
    for position in range(0, 48, 6)
    for name in (f"Position_{position}", f"Pitch_{70 + position % 5}", "Duration_0.6.12")
]


def simultaneous_notes(bars: Sequence[Sequence[int]]) -> int:
    """Return how many notes start while another one sounds."""
    read = Referee([token for bar in bars for token in bar]).bars
    notes = sorted((note.start, note.end) for bar in read for note in bar.notes)
    return sum(start < end for (_, end), (start, _) in pairwise(notes))


@pytest.mark.parametrize("keep_lines", [True, False])
def test_a_line_of_the_prompt_plays_one_note_at_a_time(keep_lines) -> None:
    chord = ("Program_73", "Position_0", "Pitch_60", "Duration_1.0.12", "Pitch_64")
    model = scripted_model("Bar_None", "TimeSig_4/4", *chord, "Duration_2.0.12")
    constraints = Constraints(programs={73}, meter=(4, 4), keep_lines=keep_lines)
    asked = request(model, always(constraints, COLD), MELODY)
    bars = [bar.tokens for bar in islice(compose_bars(model, asked), 3)]
    assert simultaneous_notes(bars) == (0 if keep_lines else 3)


def test_bars_consist_of_numbers(noise) -> None:
    (bar,) = first_bars(noise, always(BUSY, Sampling(seed=5)), 1)
    assert all(type(token) is int for token in bar.tokens)
    assert all(type(value) is float for value in bar.log_probs)
