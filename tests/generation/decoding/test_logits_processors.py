"""Logits processors for transformers' `generate()`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from musiclstm.core.grammar import CompiledGrammar
from musiclstm.core.reference.sampling import probabilities
from musiclstm.generation.constraints import Constraints
from musiclstm.generation.decoding.bar_rules import bar_rules
from musiclstm.generation.decoding.logits_processors import (
    GrammarLogitsProcessor,
    SamplingLogitsProcessor,
    logits_processors,
)
from musiclstm.generation.decoding.sampling import Sampling
from musiclstm.model.configuration_musiclstm import MusicLSTMConfig
from musiclstm.model.modeling_musiclstm import MusicLSTMForCausalLM
from musiclstm.tokens import MusicTokenizer
from musiclstm.tokens.vocabulary import TABLE
from tests.generation.referee import IDS, NAMES

D_MINOR = {2, 4, 5, 7, 9, 10, 0, 1}
CONSTRAINTS = Constraints(
    key="D minor", meter=(3, 4), programs=frozenset({0, 40}), notes_per_bar=(2, 9), max_polyphony=4
)


@pytest.fixture(scope="module")
def tokenizer() -> MusicTokenizer:
    return MusicTokenizer()


@pytest.fixture(scope="module")
def model(tokenizer) -> MusicLSTMForCausalLM:
    """An untrained network with large logits: without masks it breaks the grammar."""
    torch.manual_seed(0)
    config = MusicLSTMConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, initializer_range=0.5
    )
    return MusicLSTMForCausalLM(config).eval()


def named(tokenizer: MusicTokenizer, *names: str) -> list[int]:
    """Return the ids of tokens."""
    return [IDS[name] for name in names]


SILENT_BAR = ("Bar_None", "TimeSig_4/4")
NOTE = ("Program_0", "Position_6", "Pitch_61", "Duration_1.0.12")


def padded(tokenizer: MusicTokenizer, *rows: Sequence[int]) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[tokenizer.pad_id] * (longest - len(row)) + [*row] for row in rows])


def generate(model, tokenizer, prompts: torch.Tensor, processors, **how) -> list[list[int]]:
    """What comes after each prompt, up to EOS."""
    out = model.generate(
        prompts,
        attention_mask=(prompts != tokenizer.pad_id).long(),
        logits_processor=processors,
        max_new_tokens=2_000,
        **how,
    )
    return [up_to_end(tokenizer, row) for row in out[:, prompts.shape[1] :].tolist()]


def up_to_end(tokenizer: MusicTokenizer, ids: list[int]) -> list[int]:
    return ids[: ids.index(tokenizer.eos_id) + 1] if tokenizer.eos_id in ids else ids


def new_bars(tokenizer: MusicTokenizer, ids: Sequence[int]) -> list[list[str]]:
    """Names of the bars that begin in these ids."""
    bars: list[list[str]] = []
    for name in [NAMES[token] for token in ids]:
        if name == "Bar_None":
            bars.append([])
        elif bars and name != "EOS_None":
            bars[-1].append(name)
    return bars


def values(names: Sequence[str], kind: str) -> list[str]:
    return [name.partition("_")[2] for name in names if name.startswith(f"{kind}_")]


def assert_keep_constraints(bars: list[list[str]]) -> None:
    for bar in bars:
        assert values(bar, "TimeSig") == ["3/4"]
        assert set(values(bar, "Program")) <= {"0", "40"}
        assert {int(pitch) % 12 for pitch in values(bar, "Pitch")} <= D_MINOR
        assert 2 <= len(values(bar, "Pitch")) <= 9


def several_prompts(tokenizer: MusicTokenizer) -> torch.Tensor:
    """BOS alone; a bar against every constraint; one that ends in the middle of a note."""
    bos = tokenizer.bos_id
    wrong = named(tokenizer, *SILENT_BAR, *NOTE)
    return padded(tokenizer, [bos], [bos, *wrong], [bos, *wrong, *wrong[:-1]])


# -- The grammar through generate() ---------------------------------------------------------------

MODES = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "top_k": 0},
    "beams": {"do_sample": False, "num_beams": 3},
    "sampled beams": {"do_sample": True, "num_beams": 2, "top_k": 0},
}


@pytest.mark.parametrize("mode", MODES)
def test_generate_writes_the_requested_bars_within_the_constraints(mode, model, tokenizer) -> None:
    torch.manual_seed(1)
    sampling = Sampling() if MODES[mode]["do_sample"] else None
    processors = logits_processors(tokenizer, constraints=CONSTRAINTS, sampling=sampling, bars=3)
    prompts = several_prompts(tokenizer)
    rows = generate(model, tokenizer, prompts, processors, **MODES[mode])
    for row in rows:
        assert row[-1] == tokenizer.eos_id
        bars = new_bars(tokenizer, row)
        assert len(bars) == 3
        assert_keep_constraints(bars)
    for prompt, row in zip(prompts.tolist(), rows, strict=True):
        assert tokenizer.decode(prompt + row).note_num() >= 6


def test_without_masks_the_network_breaks_the_grammar(model, tokenizer) -> None:
    # Otherwise the test above would prove nothing.
    torch.manual_seed(1)
    prompts = torch.tensor([[tokenizer.bos_id]])
    out = model.generate(prompts, max_new_tokens=30, do_sample=True, top_k=0)[0].tolist()
    state = CompiledGrammar(TABLE, bar_rules())
    assert any(not state.permitted()[token] or state.advance(token) for token in out[1:])


def test_constraints_apply_to_what_is_added_to_the_last_bar_of_the_prompt(
    tokenizer,
) -> None:
    prompt = [tokenizer.bos_id, *named(tokenizer, *SILENT_BAR, *NOTE)]
    allowed = mask(GrammarLogitsProcessor(tokenizer, CONSTRAINTS, bars=2), [prompt])[0]
    again, other, inside, outside, later = named(
        tokenizer, "Program_40", "Program_5", "Pitch_62", "Pitch_63", "Position_7"
    )
    assert allowed[[again, inside, later]].all()
    assert not allowed[[other, outside]].any()


def test_an_ending_closes_on_the_tonic_and_releases_every_note(model, tokenizer) -> None:
    torch.manual_seed(2)
    constraints = Constraints(key="D minor", meter=(3, 4), programs=frozenset({0}), ending=True)
    processors = logits_processors(tokenizer, constraints=constraints, sampling=Sampling(), bars=3)
    prompts = torch.tensor([[tokenizer.bos_id]] * 4)
    for row in generate(model, tokenizer, prompts, processors, do_sample=True, top_k=0):
        *_, last = new_bars(tokenizer, row)
        assert set(values(last, "Position")) == {"0"}
        assert {int(pitch) % 12 for pitch in values(last, "Pitch")} <= {2, 5, 9}
        assert len(values(last, "Pitch")) >= 1
        score = tokenizer.decode(row)
        assert score.end() <= tokenizer.length_ticks(row)


# -- The grammar, step by step --------------------------------------------------------------------


def mask(processor: GrammarLogitsProcessor, rows: Sequence[Sequence[int]]) -> np.ndarray:
    """What may come after rows of equal length, (rows, vocab) bool."""
    ids = torch.tensor([[*row] for row in rows])
    scores = torch.zeros(len(ids), len(NAMES))
    return torch.isfinite(processor(ids, scores)).numpy()


def write(
    processor: GrammarLogitsProcessor,
    rows: list[list[int]],
    rng: random.Random,
    *,
    longest: int = 3_000,
    until: int | None = None,
) -> list[list[int]]:
    """Continue rows with random permitted tokens until all have ended or have a length."""
    for _ in range(longest):
        masks = mask(processor, rows)
        assert masks.any(axis=1).all()
        tokens = [rng.choice(np.flatnonzero(allowed).tolist()) for allowed in masks]
        if all(token in (0, 2) for token in tokens):
            break
        rows = [[*row, token] for row, token in zip(rows, tokens, strict=True)]
        if until is not None and len(rows[0]) >= until:
            break
    return rows


SEVERAL_CONSTRAINTS = [
    Constraints(),
    CONSTRAINTS,
    Constraints(max_empty_bars=0, max_polyphony=1, notes_per_bar=(4, 4)),
    Constraints(key="C major pentatonic", pitch_ranges={0: (60, 64)}, programs=frozenset({0, -1})),
    Constraints(key="A minor", ending=True, tempo_bpm=90.0, max_notes_at_once=2),
]


@pytest.mark.parametrize("seed", range(15))
def test_any_prompt_can_be_continued_by_exactly_so_many_bars(seed, tokenizer) -> None:
    rng = random.Random(seed)
    # A random prompt, cut off anywhere at both ends, whose notes leave one of four voices.
    processor = GrammarLogitsProcessor(tokenizer, Constraints(max_polyphony=3))
    free = write(processor, [[tokenizer.bos_id]], rng, until=80)[0]
    begin, end = rng.choice([0, 0, rng.randrange(40)]), rng.randrange(40, 81)
    prompt = [token for token in free[begin:end] if token != tokenizer.eos_id]
    bars = rng.randrange(1, 4)
    processor = GrammarLogitsProcessor(tokenizer, SEVERAL_CONSTRAINTS[seed % 5], bars=bars)
    row = write(processor, [prompt], rng)[0]
    new = up_to_end(tokenizer, row[len(prompt) :])
    found = new_bars(tokenizer, new)
    assert len(found) == bars
    assert tokenizer.decode(row).note_num() >= 0
    if SEVERAL_CONSTRAINTS[seed % 5] == CONSTRAINTS:
        assert_keep_constraints(found)


def test_the_end_comes_after_the_last_bar_and_not_before(tokenizer) -> None:
    processor = GrammarLogitsProcessor(tokenizer, bars=2)
    bar_id, eos_id = named(tokenizer, "Bar_None")[0], tokenizer.eos_id
    row = [tokenizer.bos_id]
    found = []
    for token in named(tokenizer, *SILENT_BAR, *NOTE, *SILENT_BAR, *NOTE):
        allowed = mask(processor, [row])[0]
        found.append((bool(allowed[bar_id]), bool(allowed[eos_id])))
        row.append(token)
    # A bar may begin at once, after the silent beginning of the first, and after its note; the
    # last bar may end at the same places.
    assert [place for place, (opens, _) in enumerate(found) if opens] == [0, 2, 6]
    assert [place for place, (_, ends) in enumerate(found) if ends] == [8]
    allowed = mask(processor, [row])[0]
    assert allowed[eos_id]
    assert not allowed[bar_id]


def test_the_last_bar_of_the_prompt_may_be_continued_before_the_first_new_one(tokenizer) -> None:
    prompt = [tokenizer.bos_id, *named(tokenizer, *SILENT_BAR, *NOTE)]
    later, bar = named(tokenizer, "Position_7", "Bar_None")
    for first in (later, bar):
        processor = GrammarLogitsProcessor(tokenizer, bars=1)
        assert mask(processor, [prompt])[0][first]
        row = write(processor, [[*prompt, first]], random.Random(3))[0]
        assert len(new_bars(tokenizer, up_to_end(tokenizer, row[len(prompt) :]))) == 1


def test_the_last_bar_of_the_prompt_need_not_be_completed(tokenizer) -> None:
    constraints = Constraints(notes_per_bar=(5, 9), max_empty_bars=0)
    bar_id = named(tokenizer, "Bar_None")[0]
    for notes in ((), NOTE):
        prompt = [tokenizer.bos_id, *named(tokenizer, *SILENT_BAR, *notes)]
        processor = GrammarLogitsProcessor(tokenizer, constraints, bars=2)
        assert mask(processor, [prompt])[0][bar_id]
        row = [*prompt, *named(tokenizer, *SILENT_BAR)]
        mask(processor, [row[:-1]])
        assert not mask(processor, [row])[0][bar_id]


def test_a_finished_row_stays_finished(tokenizer) -> None:
    prompt = [tokenizer.bos_id, *named(tokenizer, *SILENT_BAR, *NOTE)]
    processor = GrammarLogitsProcessor(tokenizer)
    mask(processor, [prompt, prompt])
    rows = [[*prompt, tokenizer.eos_id], [*prompt, *named(tokenizer, "Bar_None")]]
    for following in (*SILENT_BAR[1:], *NOTE):
        ended, continuing = mask(processor, rows)
        (token,) = named(tokenizer, following)
        assert np.flatnonzero(ended).tolist() == [tokenizer.pad_id, tokenizer.eos_id]
        assert continuing[token]
        rows = [[*rows[0], tokenizer.pad_id], [*rows[1], token]]


def test_rows_may_be_reordered_as_by_beam_search(tokenizer) -> None:
    rng = random.Random(5)
    prompt = [tokenizer.bos_id]
    processor = GrammarLogitsProcessor(tokenizer, CONSTRAINTS, bars=4)
    rows = [prompt] * 4
    for _ in range(40):
        masks = mask(processor, rows)
        fresh = GrammarLogitsProcessor(tokenizer, CONSTRAINTS, bars=4, prompt_length=1)
        np.testing.assert_array_equal(masks, mask(fresh, rows))
        origins = [rng.randrange(4) for _ in range(4)]
        rows = [
            [*rows[origin], rng.choice(np.flatnonzero(masks[origin]).tolist())]
            for origin in origins
        ]
    assert len({tuple(row) for row in rows}) > 1


def test_a_beam_that_took_a_forbidden_token_ends(tokenizer) -> None:
    processor = GrammarLogitsProcessor(tokenizer, bars=1)
    bar, meter, pitch = named(tokenizer, "Bar_None", "TimeSig_4/4", "Pitch_60")
    mask(processor, [[tokenizer.bos_id]] * 2)
    allowed = mask(processor, [[tokenizer.bos_id, bar], [tokenizer.bos_id, pitch]])
    assert allowed[0][meter]
    assert np.flatnonzero(allowed[1]).tolist() == [tokenizer.pad_id, tokenizer.eos_id]


def test_the_same_processor_serves_one_generate_after_another(tokenizer) -> None:
    processor = GrammarLogitsProcessor(tokenizer, bars=1)
    prompts = [[tokenizer.bos_id], [tokenizer.bos_id, *named(tokenizer, *SILENT_BAR, *NOTE)]]
    for prompt in [*prompts, *prompts]:
        row = write(processor, [prompt], random.Random(1))[0]
        assert len(new_bars(tokenizer, up_to_end(tokenizer, row[len(prompt) :]))) == 1


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        (("Program_5",), "Position"),  # an instrument that may not play
        (("Program_5", "Position_3"), "Pitch"),
        (("Program_0", "Position_3", "Pitch_61"), "Duration"),
    ],
)
def test_a_note_of_the_prompt_is_completed_even_against_the_constraints(
    cut, expected, tokenizer
) -> None:
    prompt = [tokenizer.bos_id, *named(tokenizer, *SILENT_BAR, *cut)]
    allowed = mask(GrammarLogitsProcessor(tokenizer, CONSTRAINTS, bars=1), [prompt])[0]
    first = {NAMES[token].partition("_")[0] for token in np.flatnonzero(allowed)}
    assert first == {expected}


def test_a_prompt_begins_with_its_last_piece(tokenizer) -> None:
    piece = [tokenizer.bos_id, *named(tokenizer, *SILENT_BAR, *NOTE), tokenizer.eos_id]
    allowed = mask(GrammarLogitsProcessor(tokenizer, bars=1), [[*piece, tokenizer.bos_id]])
    np.testing.assert_array_equal(
        allowed, mask(GrammarLogitsProcessor(tokenizer, bars=1), [[tokenizer.bos_id]])
    )


def test_logits_of_permitted_tokens_are_unchanged(tokenizer) -> None:
    torch.manual_seed(0)
    scores = torch.randn(1, len(tokenizer), dtype=torch.bfloat16)
    before = scores.clone()
    found = GrammarLogitsProcessor(tokenizer)(torch.tensor([[tokenizer.bos_id]]), scores)
    kept = torch.isfinite(found)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found[kept], before[kept])
    assert torch.equal(scores, before)
    assert 0 < int(kept.sum()) < len(tokenizer)


# -- Sampling -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1.1, top_p=0.8, min_p=0.01),
        Sampling(top_k=12, epsilon_cutoff=0.001),
        Sampling(pitch_temperature=0.5, rhythm_temperature=1.5, top_p=0.9),
        Sampling(temperature=0),
    ],
)
def test_generate_samples_with_the_probabilities_of_the_sampling(
    sampling, model, tokenizer
) -> None:
    torch.manual_seed(3)
    out = model.generate(
        torch.tensor([[tokenizer.bos_id]] * 2),
        logits_processor=logits_processors(tokenizer, sampling=sampling, bars=2),
        do_sample=True,
        top_k=0,
        max_new_tokens=25,
        output_scores=True,
        output_logits=True,
        return_dict_in_generate=True,
    )
    settings = replace(sampling, seed=0).packed()
    masks = GrammarLogitsProcessor(tokenizer, bars=2)
    for step, (scores, logits) in enumerate(zip(out.scores, out.logits, strict=True)):
        masked = masks(out.sequences[:, : step + 1], logits)
        for found, row in zip(scores, masked.numpy(), strict=True):
            expected = probabilities(settings, TABLE, row)
            np.testing.assert_allclose(found.softmax(-1).numpy(), expected, atol=1e-6)
            np.testing.assert_array_equal(torch.isfinite(found).numpy(), expected > 0)
    chosen = out.sequences[:, 1:].T
    assert all(
        scores.gather(1, tokens[:, None]).isfinite().all()
        for scores, tokens in zip(out.scores, chosen, strict=True)
    )


def test_a_sampling_processor_returns_a_new_tensor_of_the_same_dtype() -> None:
    scores = torch.randn(2, 20, dtype=torch.float64)
    before = scores.clone()
    found = SamplingLogitsProcessor(Sampling(top_k=3))(torch.tensor([[1], [1]]), scores)
    assert torch.equal(scores, before)
    assert found.dtype == torch.float64
    assert torch.isfinite(found).sum(1).tolist() == [3, 3]
    torch.testing.assert_close(found.exp().sum(1), torch.ones(2, dtype=torch.float64))


def after_copying(tokenizer: MusicTokenizer, sampling: Sampling, *bars: Sequence[str]) -> float:
    """Return the probability of `Duration_1.0.12` after bars, the last unfinished."""
    ids = [tokenizer.pad_id, tokenizer.bos_id]
    ids += [token for bar in bars for token in named(tokenizer, *SILENT_BAR, *bar)]
    processor = SamplingLogitsProcessor(sampling, tokenizer)
    found = processor(torch.tensor([ids]), torch.zeros(1, len(tokenizer)))
    return float(found.exp()[0, named(tokenizer, "Duration_1.0.12")[0]])


def test_continuing_a_copy_of_an_earlier_bar_is_penalized(tokenizer) -> None:
    sampling = Sampling(temperature=1, top_p=1, repetition_penalty=4, repetition_bars=3)
    plain, begun = 1 / len(tokenizer), NOTE[:3]
    for copies, penalty in ((1, 1), (2, 4), (3, 64), (4, 64)):
        found = after_copying(tokenizer, sampling, *copies * (NOTE,), begun)
        assert found == pytest.approx(plain / penalty, rel=0.01)
    assert after_copying(tokenizer, sampling, NOTE, (), (), (), begun) == pytest.approx(plain)
    assert after_copying(tokenizer, sampling, begun) == pytest.approx(plain)
    assert after_copying(tokenizer, sampling, NOTE, NOTE[:1]) == pytest.approx(plain)


# -- Errors ---------------------------------------------------------------------------------------


def test_arguments_that_do_not_fit_are_refused(tokenizer) -> None:
    for arguments, fact in (
        ({"bars": 0}, "bars must be 1 or more, got 0"),
        ({"bars": 1.5}, "bars must be 1 or more, got 1.5"),
        ({"constraints": Constraints(ending=True)}, "pass bars"),
        ({"constraints": Constraints(key="prompt")}, 'key is "prompt"'),
    ):
        with pytest.raises(ValueError, match=fact):
            logits_processors(tokenizer, **arguments)
    with pytest.raises(ValueError, match="20 tokens and the tokenizer 682"):
        GrammarLogitsProcessor(tokenizer)(torch.tensor([[1]]), torch.zeros(1, 20))


@pytest.mark.parametrize(
    "sampling",
    [Sampling(pitch_temperature=1), Sampling(rhythm_temperature=0), Sampling(repetition_penalty=2)],
)
def test_settings_by_kind_of_token_need_a_tokenizer(sampling) -> None:
    with pytest.raises(ValueError, match="pass the tokenizer"):
        SamplingLogitsProcessor(sampling)
