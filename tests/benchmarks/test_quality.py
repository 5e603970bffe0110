"""Rivals that do the same work: what they see, how they are read, and runs that were killed."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks import quality, race, rivals, writing
from musiclstm.checkpoint import load_checkpoint
from musiclstm.configuration import MusicLSTMConfig
from training.augmentation import Augmentation
from training.corpus import read_corpus
from training.metrics import held_out
from training.windows import Windows

NAMES = ["ours", "seed 1", "Performance RNN", "transformer"]
CPU = race.School(torch.device("cpu"), bf16=False, warm_up=0.1)


@pytest.fixture(autouse=True)
def _narrow_performance_rnn(monkeypatch):
    monkeypatch.setattr(rivals, "_OORE_WIDTH", 16)


@pytest.fixture
def tiny(data, tiny_checkpoint):
    """Options that make a run of seconds, without a budget."""
    return [
        *("--data", data, "--model", str(tiny_checkpoint)),
        *("--window", "16", "--rows", "2", "--transformer_layers", "2", "--slice", "4"),
        *("--learning_rates", "3e-3", "--write_tokens", "24"),
    ]


def small_contenders(vocab_size=300, window=16):
    config = MusicLSTMConfig(vocab_size=vocab_size, hidden_size=32, num_hidden_layers=2)
    return rivals.contenders(config, window=window, transformer_layers=2)


def small_llama(vocab_size=20):
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        tie_word_embeddings=True,
        use_cache=False,
    )
    return LlamaForCausalLM(shape).eval()


def small_windows(data, tokenizer, **kwargs):
    pieces = read_corpus(data.split(","), workers=1).tokens("train")
    return Windows(pieces, tokenizer, lanes=2, batch_size=2, steps=16, **kwargs)


# -- The whole command ---------------------------------------------------------------------------


def test_every_network_does_as_much_and_is_measured_alike(tiny, tmp_path, capsys):
    out = tmp_path / "quality.json"
    assert quality.main([*tiny, "--tokens", "500", "--minutes", "0.004", "--json", str(out)]) == 0
    facts = json.loads(out.read_text())
    rows = {work: facts["rows"][4 * i : 4 * i + 4] for i, work in enumerate(facts["ratios"])}
    assert list(rows) == ["equal tokens", "equal time"]
    for work, own in rows.items():
        assert [(row["work"], row["network"]) for row in own] == [(work, name) for name in NAMES]
        assert len({(row["held_out"]["notes"], row["held_out"]["tokens"]) for row in own}) == 1
        assert min(row["writing"]["tokens_per_s"] for row in own) > 0
        assert [name for name in NAMES if "packed" in own[NAMES.index(name)]] == ["ours"]
        bits = {row["network"]: row["held_out"]["bits_per_note"] for row in own}
        expected = {name: bits["ours"] / bits[name] for name in ("transformer", "seed 1")}
        assert facts["ratios"][work] == pytest.approx(expected)
    tokens = {row["tokens"] for row in rows["equal tokens"]}
    assert len(tokens) == 1
    assert 500 <= tokens.pop() < 500 + 2 * 16
    assert min(row["minutes"] for row in rows["equal time"]) >= 0.004
    text = capsys.readouterr().out
    assert text.count("| equal tokens |") == text.count("| equal time   |") == 4
    assert "No pilot: the learning rate is 0.003 for all." in text


def test_the_words_say_what_the_ratios_are():
    assert quality._ratio_in_words("seed 1", 0.85) == "ours ÷ seed 1: 0.850 (15.0 % below)."
    assert quality._ratio_in_words("seed 1", 1.25) == "ours ÷ seed 1: 1.250 (25.0 % above)."


def test_merges_can_be_learnt_anew_and_ours_be_of_another_shape(tiny, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        quality, "contenders", lambda config, **kwargs: made.append(config) or 1 / 0
    )
    shape = ["--vocab_size", "720", "--hidden_size", "24", "--layers", "3"]
    with pytest.raises(ZeroDivisionError):
        quality.main([*tiny, *shape, "--tokens", "100"])
    (config,) = made
    assert (config.vocab_size, config.hidden_size, config.num_hidden_layers) == (720, 24, 3)


# -- The same work -------------------------------------------------------------------------------


def heard_by(learner):
    """What the network reads while it learns, window by window."""
    heard = []
    learner.network.register_forward_pre_hook(lambda _, args: heard.append(args[0].clone()))
    return heard


def test_all_see_the_same_tokens_in_the_same_order(data, tiny_tokenizer):
    windows = small_windows(data, tiny_tokenizer, augmentation=Augmentation())
    learners = [race.Learner(c, 1e-3, CPU) for c in small_contenders(len(tiny_tokenizer))]
    heard = [heard_by(learner) for learner in learners]
    beyond_an_epoch = race.Budget("equal tokens", "tokens", 1.2 * windows.tokens)
    race.race(learners, race.Lessons(windows, 2), beyond_an_epoch, steps=5)
    assert len({learner.tokens for learner in learners}) == 1
    expected = []
    for epoch in range(2):
        windows.set_epoch(epoch)
        rows = [windows[i]["input_ids"] for i in range(len(windows))]
        expected += [torch.stack(rows[i : i + 2]) for i in range(0, len(rows), 2)]
    steps = learners[0].steps
    assert windows.updates < steps < len(expected)
    for own in heard:
        assert torch.equal(torch.stack(own), torch.stack(expected[:steps]))


def test_a_batch_stays_the_same_when_other_epochs_were_asked_for(data, tiny_tokenizer):
    windows = small_windows(data, tiny_tokenizer, augmentation=Augmentation())
    lessons = race.Lessons(windows, 2, keep=1)
    number = windows.updates + 1
    first, other = lessons[number], lessons[1]
    assert torch.equal(lessons[number].input_ids, first.input_ids)
    assert not torch.equal(other.input_ids, first.input_ids)
    assert first.tokens == int((first.labels >= 0).sum())


def test_who_learns_beside_it_changes_nothing(data, tiny_tokenizer):
    lessons = race.Lessons(small_windows(data, tiny_tokenizer), 2)
    budget = race.Budget("equal tokens", "tokens", 300)

    def learners():
        return [race.Learner(c, 1e-3, CPU) for c in small_contenders(len(tiny_tokenizer))]

    together, alone = learners(), learners()[1]  # seed 1: the one with the most dropout
    race.race(together, lessons, budget, steps=2)
    torch.rand(7)
    race.race([alone], lessons, budget, steps=5)
    for a, b in zip(alone.network.parameters(), together[1].network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_learning_lowers_the_bits_of_every_network(data, tiny_tokenizer):
    pieces = read_corpus(data.split(","), workers=1).tokens("train")[:2]
    windows = Windows(pieces, tiny_tokenizer, lanes=2, batch_size=2, steps=16)
    for contender in small_contenders(len(tiny_tokenizer)):
        learner = race.Learner(contender, 1e-2, CPU)
        before = held_out(contender.reader(learner.network), tiny_tokenizer, pieces).bits
        budget = race.Budget("equal tokens", "tokens", 2000)
        race.race([learner], race.Lessons(windows, 2), budget, steps=50)
        assert held_out(contender.reader(learner.network), tiny_tokenizer, pieces).bits < before
        assert learner.network.training


@pytest.mark.parametrize("name", ["ours", "Performance RNN"])
def test_a_carried_state_goes_on_until_a_piece_begins(name):
    contender = next(each for each in small_contenders() if each.name == name)
    assert contender.carries
    learner = race.Learner(contender, 0.0, CPU)
    learner.network.eval()
    ids = torch.arange(64).reshape(2, 32) + 5
    whole = learner.network(ids).logits[:, 16:]
    alone = learner.network(ids[:, 16:]).logits
    learner._read(ids[:, :16], torch.tensor([True, True]))
    found = learner._read(ids[:, 16:], torch.tensor([False, True]))
    torch.testing.assert_close(found[0], whole[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[1], alone[1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(whole[1], alone[1], rtol=1e-4, atol=1e-5)


@dataclass
class _Slow:
    """Takes always as long for a turn."""

    cost: float
    seconds: float = 0.0

    def turn(self, lessons, budget, steps):
        self.seconds += self.cost


def test_the_next_turn_is_of_who_has_used_the_least():
    learners = [_Slow(1), _Slow(3)]
    gaps = []
    race.race(
        learners,
        None,
        race.Budget("equal time", "seconds", 12),
        steps=1,
        after_turn=lambda: gaps.append(abs(learners[0].seconds - learners[1].seconds)),
    )
    assert [learner.seconds for learner in learners] == [12, 12]
    assert max(gaps) <= 3


def test_the_learning_rate_rises_and_falls():
    shares = [CPU.share_of_rate(used) for used in (0, 0.05, 0.1, 0.55, 1)]
    assert shares == pytest.approx([0, 0.5, 1, 0.5, 0])


# -- Weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("vocab_size", "size", "layers"), [(300, 32, 2), (2048, 384, 4)])
def test_rivals_have_about_as_many_weights(vocab_size, size, layers):
    config = MusicLSTMConfig(vocab_size=vocab_size, hidden_size=size, num_hidden_layers=layers)
    found = rivals.contenders(config, window=64, transformer_layers=6 if size > 64 else 2)
    weights = {each.name: rivals.weights_of(each.build()) for each in found}
    assert list(weights) == NAMES
    for name in ("seed 1", "transformer"):
        assert weights[name] / weights["ours"] == pytest.approx(1, abs=0.05)


def test_the_transformer_has_the_usual_proportions():
    config = MusicLSTMConfig(vocab_size=2048, hidden_size=384, num_hidden_layers=4)
    transformer = rivals.contenders(config, window=64, transformer_layers=6)[3].build().config
    assert (transformer.num_hidden_layers, transformer.head_dim) == (6, 64)
    assert transformer.hidden_size % 64 == transformer.intermediate_size % 8 == 0
    assert 2 < transformer.intermediate_size / transformer.hidden_size < 4


def test_rivals_are_built_as_they_are_described(monkeypatch):
    monkeypatch.undo()  # the true width
    ours, seed_1, performance_rnn, transformer = small_contenders(window=10)
    plain, oore, llama = (each.build() for each in (seed_1, performance_rnn, transformer))
    assert (plain.lstm.num_layers, plain.lstm.dropout, plain.dropout.p) == (4, 0.5, 0.5)
    assert plain.head.weight is not plain.embedding.weight
    assert (oore.lstm.num_layers, oore.lstm.hidden_size, oore.lstm.dropout) == (3, 512, 0)
    assert llama.lm_head.weight is llama.model.embed_tokens.weight
    assert [each.context for each in (ours, seed_1, performance_rnn)] == [None, 0, None]
    assert (transformer.context, transformer.window) == (5, 10)


# -- Reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "context"), [(8, 4), (7, 3), (8, 0), (2, 1)])
@pytest.mark.parametrize("kind", ["transformer", "plain"])
def test_each_place_is_predicted_in_the_first_window_that_holds_it(window, context, kind):
    torch.manual_seed(0)
    network = small_llama() if kind == "transformer" else rivals.PlainLSTM(20, 8, 2).eval()
    ids = torch.randint(20, (3, 37))
    windowed = rivals.Windowed(network, window, context=context)
    begins = range(0, 37, window - context)
    with torch.inference_mode():
        found = windowed(ids).logits
        for place in range(37):
            begin = next(b for b in begins if b <= place < b + window)
            assert min(place, context) <= place - begin
            alone = network(ids[:, begin : place + 1]).logits[:, -1]
            torch.testing.assert_close(found[:, place], alone, rtol=1e-4, atol=1e-5)


def test_where_the_calls_cut_a_piece_makes_no_difference(data, tiny_tokenizer, monkeypatch):
    pieces = read_corpus(data.split(","), workers=1).tokens("train")
    reader = rivals.Windowed(small_llama(len(tiny_tokenizer)), 16, context=8)
    whole = held_out(reader, tiny_tokenizer, pieces).bits
    monkeypatch.setattr("training.metrics.STEPS", 7)
    cut = held_out(reader, tiny_tokenizer, pieces, batch_size=3).bits
    assert cut == pytest.approx(whole, rel=1e-5)


def test_a_piece_shorter_than_the_context_is_read_as_a_whole(data, tiny_tokenizer):
    pieces = read_corpus(data.split(","), workers=1).tokens("valid")
    llama, nats = small_llama(len(tiny_tokenizer)), 0.0
    streams = [
        [tiny_tokenizer.bos_id, *ids, tiny_tokenizer.eos_id]
        for ids in tiny_tokenizer.compress_many(pieces)
    ]
    for stream in streams:
        ids = torch.tensor([stream])
        with torch.inference_mode():
            logits = llama(ids[:, :-1]).logits[0]
        nats += float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
    longest = max(map(len, streams))

    def bits(window):
        reader = rivals.Windowed(llama, window, context=window // 2)
        return held_out(reader, tiny_tokenizer, pieces).bits

    assert bits(longest) == pytest.approx(nats / math.log(2), rel=1e-5)
    assert bits(16) != pytest.approx(nats / math.log(2), rel=1e-5)


def test_seed_1_is_also_read_as_kindly_as_the_transformer(tiny, tmp_path):
    out = tmp_path / "quality.json"
    assert quality.main([*tiny, "--tokens", "200", "--json", str(out)]) == 0
    rows = {row["network"]: row for row in json.loads(out.read_text())["rows"]}
    kind = rows["seed 1"].pop("held_out_like_the_transformer")
    assert kind["notes"] == rows["seed 1"]["held_out"]["notes"]
    assert kind["bits_per_note"] != rows["seed 1"]["held_out"]["bits_per_note"]
    assert not any("held_out_like_the_transformer" in row for row in rows.values())


# -- Writing -------------------------------------------------------------------------------------


def test_the_transformer_writes_what_it_would_be_judged_by():
    window, ids = 8, torch.randint(20, (1, 40), generator=torch.Generator().manual_seed(0))
    contender = rivals.Contender("transformer", small_llama, window, context=window // 2)
    network = contender.build()
    step, state = contender.stepper(network), None
    with torch.inference_mode():
        read = contender.reader(network)(ids).logits[0]
        for place in range(40):
            scores, state = step(ids[:, place : place + 1], state)
            torch.testing.assert_close(scores, read[place], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["ours", "seed 1", "Performance RNN"])
def test_an_lstm_steps_as_it_reads(name):
    contender = next(each for each in small_contenders() if each.name == name)
    network = contender.build().eval()
    step, state = contender.stepper(network), None
    ids = torch.arange(5, 17)[None]
    with torch.inference_mode():
        read = network(ids).logits[0]
        for place in range(12):
            scores, state = step(ids[:, place : place + 1], state)
            torch.testing.assert_close(scores, read[place], rtol=1e-4, atol=1e-5)


def test_nothing_ends_a_piece_and_every_note_is_counted(tiny_tokenizer):
    notes = writing.notes_in(tiny_tokenizer)
    chord = max(range(len(notes)), key=notes.__getitem__)
    assert notes[chord] >= 1
    scores = torch.full((len(notes),), -1e4)
    scores[tiny_tokenizer.eos_id] = 1e4
    scores[chord] = 0.0

    class Eager:
        """Would end at once; else it strikes its chord."""

        def stepper(self, network):
            return lambda token, state: (scores, state)

    loop = writing.PlainLoop(Eager(), torch.nn.Linear(1, 1), tiny_tokenizer)
    assert loop.write(5) == (5, 5 * notes[chord])


def test_writers_take_turns_and_the_median_counts():
    written = []

    @dataclass
    class Scribe:
        name: str

        def write(self, tokens):
            written.append((self.name, tokens))
            return 2 * tokens, tokens

    found = writing.speeds({"a": Scribe("a"), "b": Scribe("b")}, tokens=50, rounds=2)
    assert [name for name, _ in written] == ["a", "b"] * 3
    assert [tokens for _, tokens in written[2:]] == [50] * 4
    assert found["a"].tokens_per_s == pytest.approx(2 * found["a"].notes_per_s)


def test_writing_leaves_a_network_as_it_was(tiny_checkpoint, tiny_tokenizer):
    model, _ = load_checkpoint(tiny_checkpoint)
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ours = next(each for each in small_contenders() if each.name == "ours")
    for writer in (
        writing.PlainLoop(ours, model, tiny_tokenizer),
        writing.PackedWay(model, tiny_tokenizer),
    ):
        tokens, notes = writer.write(24)
        assert tokens >= 24
        assert notes >= 0
    assert model.training
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())


# -- Pilots --------------------------------------------------------------------------------------


def test_each_takes_the_rate_that_did_best_and_all_have_as_many_trials(tiny, tmp_path, capsys):
    out = tmp_path / "quality.json"
    pilot = ["--learning_rates", "1e-2,1e-6,1e30", "--pilot_tokens", "400"]
    assert quality.main([*tiny, *pilot, "--tokens", "100", "--json", str(out)]) == 0
    facts = json.loads(out.read_text())
    assert {name: list(trials) for name, trials in facts["pilot"].items()} == {
        name: ["1e-06", "0.01", "1e+30"] for name in NAMES
    }
    for row in facts["rows"]:
        bits = {
            rate: each["bits_per_note"] for rate, each in facts["pilot"][row["network"]].items()
        }
        assert bits["1e+30"] is None
        assert row["learning_rate"] == 1e-2
        assert bits["0.01"] < bits["1e-06"]
    assert facts["pilot_trials"] == 12
    text = capsys.readouterr().out
    assert "3 trials for each network, 400 tokens" in text
    assert "At the end of the range" not in text


def test_a_rate_at_the_end_of_the_range_is_told(tiny, capsys):
    pilot = ["--learning_rates", "1e-7,1e-6,1e-2", "--pilot_tokens", "400"]
    assert quality.main([*tiny, *pilot, "--tokens", "100"]) == 0
    assert f"may suit better: {', '.join(NAMES)}." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rates", "sentence"),
    [
        ("1e30", "The loss of ours is no longer a number at step "),
        ("1e30,1e31", "ours learns at none of the rates 1e30,1e31; name lower ones after "),
    ],
)
def test_a_loss_that_is_no_number_is_one_sentence(rates, sentence, tiny, capsys):
    assert quality.main([*tiny, "--learning_rates", rates, "--tokens", "400"]) == 1
    assert f"\nerror: {sentence}" in "\n" + capsys.readouterr().err


# -- Runs that are killed ------------------------------------------------------------------------


def kill_after(monkeypatch, steps):
    """The machine goes off in the middle of a step."""
    clip, left = torch.nn.utils.clip_grad_norm_, iter(range(steps))

    def clip_or_die(*args, **kwargs):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return clip(*args, **kwargs)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", clip_or_die)


def without_times(facts):
    """What must be the same in every run."""
    timeless = ("network", "learning_rate", "steps", "tokens", "held_out")
    return [{name: row[name] for name in timeless} for row in facts["rows"]]


def run(options, out):
    assert quality.main([*options, "--json", str(out)]) == 0
    return json.loads(out.read_text())


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(tiny, tmp_path, monkeypatch):
    options = [*tiny, "--tokens", "700", "--learning_rates", "3e-3,1e-3", "--pilot_tokens", "60"]
    expected = run(options, tmp_path / "whole.json")
    steps = {row["steps"] for row in expected["rows"]}
    assert min(steps) > 8
    kept = [*options, "--checkpoints", str(tmp_path / "kept"), "--save_minutes", "1e-9"]
    pilot_steps, killed = 4 * 2 * math.ceil(60 / 32), 0
    for at in (3, pilot_steps + 10, 31):  # in the pilot, in the race, later in the race
        with monkeypatch.context() as patch:
            kill_after(patch, at)
            with pytest.raises(KeyboardInterrupt):
                quality.main(kept)
            killed += 1
    assert killed == 3
    assert sorted(path.name for path in (tmp_path / "kept" / "equal-tokens").iterdir()) == [
        f"{name.replace(' ', '-')}.safetensors" for name in sorted(NAMES)
    ]
    assert without_times(run(kept, tmp_path / "killed.json")) == without_times(expected)


def test_a_run_that_has_ended_is_only_reported(tiny, tmp_path, monkeypatch):
    kept = [*tiny, "--tokens", "100", "--checkpoints", str(tmp_path / "kept")]
    kept += ["--learning_rates", "3e-3,1e-3", "--pilot_tokens", "60"]
    first = run(kept, tmp_path / "first.json")
    kill_after(monkeypatch, 0)
    assert run(kept, tmp_path / "second.json") == first


def test_time_goes_on_where_it_stopped(tiny, tmp_path):
    contender = small_contenders()[2]
    learner = race.Learner(contender, 1e-3, CPU)
    learner.steps, learner.tokens, learner.seconds = 3, 70, 12.345678901
    lesson = race.Lesson(torch.ones(2, 16, dtype=int), torch.ones(2, 16, dtype=int), None, 32)
    learner._learn(lesson._replace(reset=torch.tensor([True, True])), 0.5)
    learner.save(tmp_path / "a" / "learner.safetensors")
    other = race.Learner(contender, 1e-3, CPU)
    other.load(tmp_path / "a" / "learner.safetensors")
    assert (other.steps, other.tokens, other.seconds) == (4, 102, 12.345678901)
    assert torch.equal(other._state.cell, learner._state.cell)


def test_other_settings_are_refused(tiny, tmp_path, capsys):
    folder = tmp_path / "kept"
    race.Notebook(folder, {"tokens": 100, "weights": {"ours": 3}})
    race.Notebook(folder, {"tokens": 100, "weights": {"ours": 3}})
    with pytest.raises(race.ReportError) as caught:
        race.Notebook(folder, {"tokens": 200, "weights": {"ours": 3}})
    assert str(caught.value) == (
        f"{str(folder)!r} holds a run with other settings (tokens: 100, now 200); take the same "
        "ones to go on, or name another folder after --checkpoints."
    )


def test_a_damaged_file_is_one_sentence(tmp_path):
    learner = race.Learner(small_contenders()[2], 1e-3, CPU)
    path = tmp_path / "learner.safetensors"
    path.write_bytes(b"half")
    with pytest.raises(race.ReportError, match=r"is damaged, or .* Performance RNN begins anew\.$"):
        learner.load(path)
    race.Learner(small_contenders()[0], 1e-3, CPU).save(path)
    with pytest.raises(race.ReportError, match=r"is damaged, or .* Performance RNN begins anew\.$"):
        learner.load(path)


# -- Options that mean nothing -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "There is no work to do: give --tokens, --minutes, or both."),
        (["--tokens", "0"], "--tokens must be 1 or more, got 0."),
        (["--tokens", "9", "--window", "1"], "--window must be 2 or more, got 1."),
        (["--tokens", "9", "--rows", "-2"], "--rows must be 1 or more, got -2."),
        (["--minutes", "0"], "--minutes must be above 0, got 0."),
        (["--minutes", "nan"], "--minutes must be above 0, got nan."),
        (
            ["--tokens", "9", "--save_minutes", "-1"],
            "--save_minutes must be above 0, got -1.",
        ),
        (
            ["--tokens", "9", "--warm_up", "1"],
            "--warm_up must be 0 or more and below 1, got 1.",
        ),
        (
            ["--tokens", "9", "--learning_rates", "1e-3,-2"],
            "--learning_rates must be numbers above 0, separated by commas, such as 7e-4,2e-3; "
            "got '1e-3,-2'.",
        ),
        (
            ["--tokens", "9", "--learning_rates", "fast"],
            "--learning_rates must be numbers above 0, separated by commas, such as 7e-4,2e-3; "
            "got 'fast'.",
        ),
        (
            ["--tokens", "9", "--transformer_layers", "999"],
            "No transformer of 999 layers is as small as ours (",
        ),
        (
            ["--tokens", "9", "--hidden_size", "9"],
            "No seed 1 has within 5% of the ",
        ),
    ],
)
def test_options_that_mean_nothing_are_one_sentence(options, sentence, tiny, capsys):
    assert quality.main([*tiny, *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {sentence}")
    assert error.count("\n") == 1


def test_a_folder_that_cannot_be_is_one_sentence(tiny, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    place = str(tmp_path / "file")
    assert quality.main([*tiny, "--tokens", "9", "--checkpoints", place]) == 1
    assert capsys.readouterr().err == (
        f"error: {place!r} is no folder that can be written to; name another one after "
        "--checkpoints.\n"
    )


def test_a_split_without_pieces_is_one_sentence(tiny, scale_alone, capsys):
    assert quality.main([*tiny, "--data", str(scale_alone), "--tokens", "9"]) == 1
    assert "belongs to the split 'valid'" in capsys.readouterr().err


@pytest.fixture
def scale_alone(invented, tmp_path):
    path = tmp_path / "alone.mid"
    path.write_bytes(bytes(invented(bars=4).dumps_midi()))
    return path
