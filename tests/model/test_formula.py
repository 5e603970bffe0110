"""The network's inputs and outputs equal the formula, written out term by term."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from musiclstm.model.modeling_musiclstm import MusicLSTMForCausalLM, feature_tensors
from musiclstm.model.step_features import FeatureArrays, StepFeatures, TokenTable
from tests.model.tiny_models import ID, NAMES, PITCHES, VOCAB, build, stream, tokens

BATCH, STEPS, SIZE = 3, 12, 16
COPIES = 0.7
POSITIONS = 160
DURATIONS = {
    token: TokenTable(NAMES).value[token]
    for name, token in ID.items()
    if name.startswith("Duration_")
}


def random_features(*, seed: int = 0) -> dict[str, Tensor]:
    """Features with every kind of value, absent ones and the ends of all ranges included."""
    chance = np.random.default_rng(seed)
    arrays = FeatureArrays.empty(BATCH, STEPS)
    for name, low, high in (
        *(("runs", 0, 255), ("accuracy", 0, 255), ("candidates", -1, VOCAB - 1)),
        *(("pitches", -1, 127), ("positions", -1, 255), ("follows", 0, 7), ("sounding", 0, 4095)),
        ("sizes", 0, 4096),
    ):
        array = getattr(arrays, name)
        array[:] = chance.integers(low, high, array.shape, endpoint=True)
    arrays.candidates[chance.random(arrays.candidates.shape) < 0.3] = -1
    arrays.candidates[0, 0] = ID["Pitch_60"]  # all propose the same
    arrays.parts[:] = chance.integers(0, [130, 8, 130, 10], arrays.parts.shape)
    histograms = (arrays.part, arrays.recent, arrays.piece, arrays.onsets, arrays.durations)
    for histogram in histograms:
        histogram[:] = chance.random(histogram.shape) * (chance.random(histogram.shape) < 0.5)
    arrays.recent[..., 0] = arrays.piece[..., 1] = 0.1  # the sums are positive
    return feature_tensors(arrays)


def expected_inputs(model: MusicLSTMForCausalLM, ids: Tensor, features: dict[str, Tensor]):
    embed, inputs = model.model.embed_tokens.weight, model.model.step_inputs
    projections = inputs.candidate_inputs.weight.unflatten(1, (6, SIZE))
    x = torch.zeros(*ids.shape, SIZE)
    for at in np.ndindex(*ids.shape):
        x[at] = embed[ids[at]]
        tables = inputs.program, inputs.track, inputs.following, inputs.age
        for table, row in zip(tables, features["parts"][at], strict=True):
            x[at] += table.weight[int(row)]
        for c, candidate in enumerate(features["candidates"][at].tolist()):
            if candidate >= 0:
                x[at] += projections[:, c] @ embed[candidate]
    return x


def expected_logits(model: MusicLSTMForCausalLM, hidden: Tensor, features: dict[str, Tensor]):
    """Logits of one step; hidden (size,), features without batch and steps."""
    logits = model.model.embed_tokens.weight @ hidden + model.lm_head.bias
    f = {name: value.tolist() for name, value in features.items()}
    logits = logits.tolist()
    add_gates(logits, model, hidden, f)
    weights = (model.context_head.weight @ hidden + model.context_head.bias).tolist()
    if f["follows"] & 1:
        for pitch in PITCHES:
            logits[ID[f"Pitch_{pitch}"]] += pitch_term(pitch, weights, f)
    if f["follows"] & 2:
        for position in range(POSITIONS):
            logits[ID[f"Position_{position}"]] += position_term(position, weights, f)
    if f["follows"] & 4:
        for token, steps in DURATIONS.items():
            logits[token] += weights[840] * (math.log(f["durations"][min(steps, 191)] + 1e-3) + 6.9)
    return logits


def add_gates(logits, model, hidden, f) -> None:
    present = [float(candidate >= 0) for candidate in f["candidates"]]
    right = [p * (3 * a / 255 - 1.5) for p, a in zip(present, f["accuracy"], strict=True)]
    read = [*hidden.tolist(), *map(math.log1p, f["runs"]), *present, *right]
    for c, candidate in enumerate(f["candidates"]):
        if candidate >= 0:
            weights = model.gates.weight[c].tolist()
            gate = sum(w * x for w, x in zip(weights, read, strict=True))
            logits[candidate] += COPIES * (gate + model.gates.bias[c].item())


def pitch_term(pitch, weights, f) -> float:
    relative, w, filters = weights[:365], weights[799:803], weights[803:839]
    term = 0.0
    for r, reference in enumerate(f["pitches"]):
        if reference >= 0 and abs(pitch - reference) <= 36:
            term += relative[73 * r + 36 + pitch - reference]
    term += w[0] * (math.log(f["part"][pitch] + 1e-3) + 6.9)
    term += w[1] * (math.log(f["recent"][pitch % 12] + 1e-2) + 4.6)
    term += w[2] * (math.log(f["piece"][pitch % 12] + 1e-2) + 4.6)
    more, equal = f["sizes"][:2]
    term += w[3] * math.log((more + 25) / (equal + 25))
    sources = (
        [x / sum(f["recent"]) for x in f["recent"]],
        [x / sum(f["piece"]) for x in f["piece"]],
        [f["sounding"] >> q & 1 for q in range(12)],
    )
    for s, source in enumerate(sources):
        for q in range(12):
            term += source[q] * filters[12 * s + (pitch - q) % 12]
    return term


def position_term(position, weights, f) -> float:
    after_onset, around_end = weights[365:510], weights[510:799]
    onset, end = f["positions"]
    term = 0.0
    if onset >= 0 and 0 <= position - onset <= 144:
        term += after_onset[position - onset]
    if end >= 0 and abs(position - end) <= 144:
        term += around_end[position - end + 144]
    term += weights[839] * (math.log(f["onsets"][position] + 1e-3) + 6.9)
    more, equal = f["sizes"][2:]
    return term + weights[841] * math.log((more + 25) / (equal + 25))


@torch.no_grad()
@pytest.mark.parametrize("training", [False, True], ids=["reading", "training"])
def test_the_input_is_the_sum_of_embeddings_and_projected_candidates(training) -> None:
    model = build(dropout=0, embedding_dropout=0).train(training)
    features = random_features()
    # So many steps that training takes the way of a projected table.
    times = VOCAB // STEPS // BATCH + 1
    many = {name: value.repeat(times, *[1] * (value.ndim - 1)) for name, value in features.items()}
    ids = tokens(BATCH * times, STEPS)
    found = model.model(ids, features=many, output_hidden_states=True).hidden_states[0]
    expected = expected_inputs(model, ids[:BATCH], features)
    torch.testing.assert_close(found[:BATCH], expected, atol=2e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("tie", [True, False], ids=["tied", "untied"])
def test_the_logits_are_the_sum_of_all_terms(tie) -> None:
    model, features, ids = build(tie_word_embeddings=tie), random_features(), tokens(BATCH, STEPS)
    if not tie:
        model.lm_head.weight.copy_(model.model.embed_tokens.weight)
    output = model(ids, features=features, copy_weight=COPIES, output_hidden_states=True)
    hidden = output.hidden_states[-1]
    for at in np.ndindex(BATCH, STEPS):
        here = {name: value[at] for name, value in features.items()}
        expected = torch.tensor(expected_logits(model, hidden[at], here))
        torch.testing.assert_close(output.logits[at], expected, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("shift", [5, -7, 12])
def test_moving_a_piece_moves_what_refers_to_its_notes(shift) -> None:
    model, table = build(), TokenTable(NAMES)
    one, other = (
        feature_tensors(StepFeatures(table).read(stream(bars=6, shift=by))) for by in (0, shift)
    )
    hidden = torch.randn(len(one["follows"]), SIZE, generator=torch.Generator().manual_seed(1))
    scores = [model.context_head(hidden, features) for features in (one, other)]
    pitches = [ID[f"Pitch_{pitch}"] - ID[f"Pitch_{PITCHES[0]}"] for pitch in range(40, 90)]
    here = torch.tensor(pitches)
    assert scores[0][:, here].abs().max() > 1
    torch.testing.assert_close(scores[1][:, here + shift], scores[0][:, here], atol=1e-4, rtol=0)
    gates = [model.gates(hidden, features) for features in (one, other)]
    # A candidate is absent where the moved pitch has no token.
    same = ((one["candidates"] >= 0) == (other["candidates"] >= 0)).all(-1)
    assert same.float().mean() > 0.9
    torch.testing.assert_close(gates[1][same], gates[0][same])


@torch.no_grad()
def test_outside_the_reach_of_a_head_nothing_is_added() -> None:
    model = build()
    features = random_features()
    features["positions"][:] = torch.tensor([150, -1])
    features["pitches"][:] = -1
    features["follows"][:] = 3
    head = model.context_head
    head.weight[799:] = head.bias[799:] = 0  # no histograms, no filters, no sizes
    scores = head(torch.ones(BATCH, STEPS, SIZE), features)
    assert not scores[..., : len(PITCHES)].any()
    position, duration = scores[..., len(PITCHES) :].split((POSITIONS, len(DURATIONS)), dim=-1)
    assert not duration.any()
    assert not position[..., :150].any()
    assert (position[..., 150:] != 0).all()


@torch.no_grad()
def test_new_weights_add_only_the_histograms() -> None:
    torch.manual_seed(0)
    model = MusicLSTMForCausalLM(build().config).eval()
    features = random_features()
    features["follows"][:] = 7
    scores = model.context_head(torch.randn(BATCH, STEPS, SIZE), features)
    more_notes, more_onsets = (
        0.2 * ((features["sizes"][..., at] + 25) / (features["sizes"][..., at + 1] + 25)).log()
        for at in (0, 2)
    )
    classes = torch.tensor(PITCHES) % 12
    expected = 0.2 * ((features["part"][..., torch.tensor(PITCHES)] + 1e-3).log() + 6.9)
    for name in ("recent", "piece"):
        expected = expected + 0.2 * ((features[name] + 1e-2).log() + 4.6)[..., classes]
    pitch, position, duration = scores.split((len(PITCHES), POSITIONS, len(DURATIONS)), dim=-1)
    torch.testing.assert_close(pitch, expected + more_notes[..., None])
    onsets = 0.2 * ((features["onsets"][..., :POSITIONS] + 1e-3).log() + 6.9)
    torch.testing.assert_close(position, onsets + more_onsets[..., None])
    bins = torch.tensor(list(DURATIONS.values())).clamp(max=191)
    expected = 0.2 * ((features["durations"][..., bins] + 1e-3).log() + 6.9)
    torch.testing.assert_close(duration, expected)
