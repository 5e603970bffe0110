"""Architectures at equal processor time."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import musiclstm
from benchmarks.quality import architectures, compare_architectures
from benchmarks.quality.architectures import (
    MASKS,
    OURS,
    OURS_PLAIN,
    PERFORMANCE_RNN,
    STACKED_LSTM,
    TRANSFORMER,
    TRANSFORMER_FEATURES,
    count_weights,
)
from benchmarks.quality.compare_architectures import ALL_FEATURES
from musiclstm import MusicLSTMConfig, MusicTokenizer
from musiclstm.model.modeling_musiclstm import feature_tensors
from musiclstm.model.step_features import StepFeatures, TokenTable
from training.prepare import prepare
from training.pretraining.corpora import EncodedCorpora

NAMES = [OURS, OURS_PLAIN, TRANSFORMER, TRANSFORMER_FEATURES, STACKED_LSTM, PERFORMANCE_RNN]
CONTEXT = 32


@pytest.fixture(autouse=True)
def _narrow_performance_rnn(monkeypatch):
    monkeypatch.setattr(architectures, "_OORE_WIDTH", 16)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """The bundled examples, the last three of which are held out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSICLSTM_CACHE", str(tmp_path_factory.mktemp("cache")))
        found = prepare(
            [str(compare_architectures.Path(musiclstm.__file__).parent / "examples")], workers=1
        )
    split = np.zeros(len(found.split), np.int16)
    split[-3:-1], split[-1] = 2, 1
    return EncodedCorpora(**(vars(found) | {"split": split}))


@pytest.fixture
def tiny(corpora, tmp_path):
    """Options of a short run that stores its results."""
    corpora.save(tmp_path / "tokens.npz")
    return [
        *("--tokens", str(tmp_path / "tokens.npz"), "--checkpoints", str(tmp_path / "kept")),
        *("--minutes", "0.002", "--ablation_minutes", "0.002", "--pilot_minutes", "0.002"),
        *("--hidden_size", "32", "--layers", "2", "--transformer_layers", "2"),
        *("--context", str(CONTEXT), "--rows", "2", "--steps", "16", "--pieces", "2"),
        *("--learning_rates", "3e-3"),
    ]


def config_of(names, **fields):
    given = {"hidden_size": 32, "num_hidden_layers": 2, "token_names": list(names)}
    return MusicLSTMConfig(vocab_size=len(names), **given | fields)


@pytest.fixture(scope="module")
def networks():
    """Each architecture with its network in evaluation mode, by name."""
    names = MusicTokenizer().token_names
    torch.manual_seed(0)
    found = architectures.architectures(
        config_of(names), rows=2, steps=16, context=CONTEXT, transformer_layers=2
    )
    return {each.name: (each, each.build().eval()) for each in found}


@pytest.fixture(scope="module")
def music(corpora):
    """Ids of a piece, (1, 100), and their step features."""
    ids = corpora.piece(0)[:100].astype(np.int64)
    arrays = StepFeatures(TokenTable(corpora.token_names)).read(ids.tolist())
    tensors = {name: x[None] for name, x in feature_tensors(arrays).items()}
    return torch.from_numpy(ids)[None], tensors


def read(network, ids, features, calls):
    """Logits of a network that reads `calls` tokens per call."""
    state, found = None, []
    for begin in range(0, ids.shape[1], calls):
        part = slice(begin, begin + calls)
        with torch.no_grad():
            output = network(
                ids[:, part],
                features={name: x[:, part] for name, x in features.items()},
                past_key_values=state,
                use_cache=True,
            )
        state = output.past_key_values
        found.append(output.logits)
    return torch.cat(found, dim=1)


# -- The whole command ---------------------------------------------------------------------------


def test_all_networks_are_trained_and_measured_on_the_same_pieces(tiny, tmp_path, capsys):
    masks = "without reference pitches"
    only = ",".join([*NAMES, ALL_FEATURES, masks])
    out = tmp_path / "quality.json"
    assert compare_architectures.main([*tiny, "--only", only, "--json", str(out)]) == 0
    facts = json.loads(out.read_text())
    assert [row["network"] for row in facts["rivals"]] == NAMES
    assert [row["network"] for row in facts["ablations"]] == [ALL_FEATURES, masks]
    for row in [*facts["rivals"], *facts["ablations"]]:
        assert row["minutes"] >= 0.002
        assert row["tokens"] > 0
        assert set(row["bits"]) == set(facts["pieces"])
    bits = {row["network"]: row["bits"]["newer"]["bits_per_note"] for row in facts["rivals"]}
    expected = {name: bits[OURS] / bits[name] for name in NAMES if name != OURS}
    found = {name: ratios["newer"] for name, ratios in facts["ours / rival"].items()}
    assert found == pytest.approx(expected)
    assert f"ours ÷ {STACKED_LSTM}: newer {found[STACKED_LSTM]:.3f}" in capsys.readouterr().out


def test_stored_results_are_not_measured_again(tiny, monkeypatch, capsys):
    arguments = [*tiny, "--only", f"{OURS},{STACKED_LSTM}"]
    assert compare_architectures.main(arguments) == 0
    first = capsys.readouterr().out
    monkeypatch.setattr(compare_architectures, "_Training", None)
    assert compare_architectures.main(arguments) == 0
    assert capsys.readouterr().out == first


def test_stored_results_of_other_settings_are_refused(tiny, capsys):
    assert compare_architectures.main([*tiny, "--only", OURS]) == 0
    assert compare_architectures.main([*tiny, "--only", OURS, "--rows", "3"]) == 1
    assert "holds a run with other settings (rows: 2, now 3)" in capsys.readouterr().err


def test_the_search_selects_the_rate_with_the_fewest_bits(tiny, tmp_path):
    rates = ["--learning_rates", "1e-9,3e-2", "--pilot_minutes", "0.01"]
    assert compare_architectures.main([*tiny, *rates, "--only", OURS]) == 0
    record = json.loads((tmp_path / "kept" / compare_architectures.RECORD).read_text())
    trials = record["pilots"][OURS]
    assert trials["0.03"] < trials["1e-09"]
    assert record["rows"][OURS]["learning_rate"] == 0.03


# -- Networks ------------------------------------------------------------------------------------


def test_baselines_have_about_as_many_weights_as_ours(networks):
    ours = count_weights(networks[OURS][1])
    for name in (TRANSFORMER, TRANSFORMER_FEATURES, STACKED_LSTM):
        assert count_weights(networks[name][1]) == pytest.approx(ours, rel=architectures.TOLERANCE)


@pytest.mark.parametrize("name", [OURS, OURS_PLAIN, PERFORMANCE_RNN])
def test_reading_in_parts_equals_reading_at_once(networks, music, name):
    network = networks[name][1]
    whole, parts = (read(network, *music, calls) for calls in (100, 7))
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [TRANSFORMER, TRANSFORMER_FEATURES])
def test_a_transformer_reads_at_most_one_context(networks, music, name):
    architecture, network = networks[name]
    assert architecture.measured_steps == CONTEXT // 2
    ids, features = music
    found = read(network, ids, features, architecture.measured_steps)
    last = {key: x[:, 48:80] for key, x in features.items()}  # one whole context
    expected = read(network, ids[:, 48:80], last, CONTEXT)[:, 16:]
    torch.testing.assert_close(found[:, 64:80], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_only_networks_with_features_depend_on_them(networks, music, name):
    architecture, network = networks[name]
    ids, features = music
    others = features | {"candidates": torch.full_like(features["candidates"], 60)}
    one, two = (read(network, ids, each, 16) for each in (features, others))
    assert torch.equal(one, two) != architecture.uses_features


# -- Masks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_does_not_change_its_input(music, name):
    _, features = music
    before = {key: x.clone() for key, x in features.items()}
    masked = MASKS[name](features)
    assert masked is not None
    assert masked.keys() == features.keys()
    changed = {key for key in features if not torch.equal(masked[key], features[key])}
    assert changed
    assert all(torch.equal(before[key], features[key]) for key in features)


# -- Errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        (["--minutes", "0"], "--minutes must be above 0, got 0."),
        (["--context", "33"], "--context must be even, got 33."),
        (["--learning_rates", "fast"], "such as 1e-3,2.5e-3; got 'fast'."),
        (["--only", "theirs"], "--only names 'theirs'; there are ours,"),
    ],
)
def test_invalid_options_are_refused(tiny, options, fact, capsys):
    assert compare_architectures.main([*tiny, *options]) == 1
    assert fact in capsys.readouterr().err
