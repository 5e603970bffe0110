"""The command, from a checkpoint and pieces to figures in a file."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from musiclstm import Composer, MusicTokenizer, Sampling
from training import continuations, evaluate
from training.continuations import Piece, Plan, Take, choose, compared, decode_failure
from training.corpus import read_corpus
from training.measures import passage
from training.metrics import held_out

SMALL = [
    *("--samples", "3", "--takes", "2", "--seed_bars", "2", "--bars", "3", "--workers", "1"),
    "--no-write_facts",  # the models of the tests are shared
]
PLAN = Plan(samples=3, takes=2, seed_bars=2, bars=3, temperature=0.9, seed=7)


@pytest.fixture(scope="module")
def duets(invented, tmp_path_factory):
    """A zip of six pieces, five of them in the test split, and its manifest."""
    folder = tmp_path_factory.mktemp("corpora") / "duets"
    folder.mkdir()
    pieces = []
    with zipfile.ZipFile(folder / "duets.zip", "w") as archive:
        for number in range(6):
            score = invented(bars=3 if number == 5 else 6, programs=(0, 40), seed=number)
            archive.writestr(f"{number}.mid", bytes(score.dumps_midi()))
            split = "test" if number else "train"
            pieces.append({"file": f"{number}.mid", "split": split})
    (folder / "MANIFEST.json").write_text(json.dumps({"pieces": pieces}))
    return folder


@pytest.fixture(scope="module")
def streams(duets, tmp_path_factory):
    return read_corpus([duets], workers=1, cache=tmp_path_factory.mktemp("cache")).tokens("test")


@pytest.fixture
def checkpoint(tiny_checkpoint, tmp_path):
    return shutil.copytree(tiny_checkpoint, tmp_path / "model")


def run(duets, checkpoint, *more):
    return evaluate.main(["--data", str(duets), "--model", str(checkpoint), *SMALL, *more])


@pytest.fixture(scope="module")
def facts(duets, tiny_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("facts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSICLSTM_CACHE", str(folder))
        assert run(duets, tiny_checkpoint, "--json", str(folder / "figures.json")) == 0
    return json.loads((folder / "figures.json").read_text())


def test_the_figures_say_what_was_measured_and_how(facts):
    assert facts["data"] == ["duets"]
    assert facts["split"] == "test"
    assert facts["plan"]["seed"] == 7
    assert facts["continuations"]["pieces"] == 3
    assert facts["continuations"]["takes"] == 6
    assert facts["continuations"]["decode_failures"] == 0


def test_bits_are_those_of_the_training(facts, tiny_model, tiny_tokenizer, streams):
    expected = held_out(tiny_model, tiny_tokenizer, streams)
    assert facts["held_out"]["notes"] == expected.notes
    # The weights of the folder are rounded to half precision.
    assert facts["held_out"]["bits_per_note"] == pytest.approx(expected.bits_per_note, rel=1e-3)


def test_every_kind_of_token_has_its_accuracy(facts):
    kinds = {kind: row["tokens"] for kind, row in facts["accuracy"].items()}
    assert kinds.pop("all") == sum(kinds.values()) == facts["held_out"]["tokens"]
    assert kinds["EOS"] == 5
    assert {"Pitch", "Velocity", "Position"} <= set(kinds)


def test_every_figure_is_a_number_between_its_bounds(facts):
    found = facts["continuations"]
    for both in found["features"].values():
        for figures in both.values():
            assert len(figures) == 6
            for name, value in figures.items():
                assert value >= 0
                assert value <= 1 or name.endswith("kl_nats")
    assert found["composed"].keys() == found["original"].keys()
    for whose in ("composed", "original"):
        for name, value in found[whose].items():
            assert value >= 0
            assert value <= 1 or name == "notes_per_bar"


def test_the_same_command_gives_the_same_figures_and_another_seed_gives_others(
    facts, duets, tiny_checkpoint, tmp_path
):
    for name, seed in (("same", "7"), ("other", "8")):
        path = tmp_path / f"{name}.json"
        assert run(duets, tiny_checkpoint, "--json", str(path), "--seed", seed) == 0
    same, other = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("same", "other"))
    assert same == facts
    assert other["continuations"]["composed"] != facts["continuations"]["composed"]
    assert other["held_out"] == facts["held_out"]


def test_tables_are_printed(duets, tiny_checkpoint, capsys):
    assert run(duets, tiny_checkpoint) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{tiny_checkpoint.name} on duets, split test: ")
    assert "bits per note" in printed.splitlines()[0]
    assert "| Pitch " in printed
    assert "6 continuations of 3 pieces, 3 bars after 2; decode failures: 0." in printed
    assert "| seed sensitivity " in printed
    assert "| polyphony                 | composed |" in printed
    widths = {len(line) for line in printed.split("\n\n")[-1].splitlines()}
    assert len(widths) == 1


# What is composed.


def test_pieces_too_short_to_go_on_are_not_chosen(tiny_composer, streams):
    assert len(choose(tiny_composer, streams, replace(PLAN, samples=9))) == 4
    assert len(choose(tiny_composer, streams, PLAN)) == 3
    assert choose(tiny_composer, streams, replace(PLAN, bars=20)) == []


def test_a_piece_is_cut_at_the_bar_lines(tiny_composer, streams):
    piece = choose(tiny_composer, streams, PLAN)[0]
    assert piece.seed.lines.tolist() == [0, 192, 384]
    assert piece.original.lines.tolist() == [384, 576, 768, 960]
    assert piece.prompt.note_num() == len(piece.seed.onset) + len(piece.original.onset)


def test_a_take_is_what_the_composer_gives_with_that_seed(tiny_composer, streams):
    piece = choose(tiny_composer, streams, PLAN)[1]
    takes = list(continuations._takes(tiny_composer, 1, piece, PLAN))
    assert [take.failure for take in takes] == [None, None]
    again = tiny_composer.compose(
        prompt=piece.prompt, prompt_bars=2, bars=3, sampling=Sampling(seed=7 + 1 * 2 + 1)
    )
    assert len(takes[1].music.onset) == again.continuation.note_num() > 0
    assert takes[1].music.lines.tolist() == piece.original.lines.tolist()


def test_what_its_file_does_not_say_is_a_decode_failure(tiny_composer):
    take = tiny_composer.compose(bars=2, sampling=Sampling(seed=1))
    assert decode_failure(tiny_composer, take, 2) is None
    assert decode_failure(tiny_composer, take, 3) == "2 bars in place of 3"
    silent = take.score.copy()
    silent.tracks.clear()
    without_a_note = decode_failure(tiny_composer, replace(take, score=silent), 2)
    assert without_a_note == "This file has no notes; choose a file with something to play."


def test_notes_that_its_file_has_lost_are_a_decode_failure(tiny_composer, monkeypatch):
    take = tiny_composer.compose(bars=2, sampling=Sampling(seed=1))
    fewer = take.score.copy()
    notes = take.score.note_num()
    fewer.tracks[0].notes.pop()
    monkeypatch.setattr(continuations, "read_midi", lambda *_, **__: (fewer, None))
    sentence = f"{notes - 1} notes in its file, {notes} composed"
    assert decode_failure(tiny_composer, take, 2) == sentence


def test_decode_failures_are_counted_and_shown(invented, capsys):
    seed, original = (passage(invented(bars=4), np.arange(3) * 1920 + at) for at in (0, 3840))
    pieces = [Piece(invented(bars=4), seed, original)]
    found = compared(pieces, [Take(0, original), Take(0, original, "it broke")])
    assert found["decode_failures"] == 1
    assert "decode failures: 1.\n- it broke" in evaluate._headline(
        {"bars": 2, "seed_bars": 2}, found
    )


def pieces_of(invented, count):
    scores = [invented(bars=8, seed=number) for number in range(count)]
    lines = np.arange(9) * 1920
    return [Piece(s, passage(s, lines[:5]), passage(s, lines[4:])) for s in scores]


def test_the_originals_themselves_are_wholly_like_the_originals(invented):
    pieces = pieces_of(invented, 5)
    found = compared(pieces, [Take(i, piece.original) for i, piece in enumerate(pieces)])
    assert found["composed"] == found["original"]
    for both in found["features"].values():
        own = both["composed"]
        assert own["overlap"] == pytest.approx(1)
        assert own["pooled_overlap"] == pytest.approx(1)
        assert own["kl_nats"] == pytest.approx(0, abs=1e-12)
        assert own["set_overlap"] > 0.95


def test_what_belongs_to_another_piece_is_less_like_the_original(invented):
    pieces = pieces_of(invented, 5)
    strange = [Take((i + 1) % 5, piece.original) for i, piece in enumerate(pieces)]
    found = compared(pieces, strange)
    for both in found["features"].values():
        assert both["composed"]["overlap"] < 1
        assert both["composed"]["pooled_overlap"] == pytest.approx(1)
    assert found["composed"]["scale_consistency"] == found["original"]["scale_consistency"]


def test_without_enough_pieces_bits_are_measured_all_the_same(
    duets, tiny_checkpoint, tmp_path, capsys
):
    path = tmp_path / "figures.json"
    assert run(duets, tiny_checkpoint, "--bars", "40", "--json", str(path)) == 0
    assert (
        "Nothing was continued: no piece has 42 bars and a seed with enough notes; lower "
        "--seed_bars or --bars." in capsys.readouterr().out
    )
    facts = json.loads(path.read_text())
    assert facts["continuations"] is None
    assert facts["held_out"]["bits_per_note"] > 0


def test_one_piece_has_no_figures_of_sets(duets, tiny_checkpoint, tmp_path, capsys):
    path = tmp_path / "figures.json"
    assert run(duets, tiny_checkpoint, "--samples", "1", "--json", str(path)) == 0
    found = json.loads(path.read_text())["continuations"]
    assert found["features"]["density"]["composed"]["set_overlap"] is None
    assert found["composed"]["seed_sensitivity"] is None
    assert "not measured" in capsys.readouterr().out


def test_no_samples_are_no_continuations(duets, tiny_checkpoint, capsys, monkeypatch):
    monkeypatch.setattr(Composer, "takes", None)
    assert run(duets, tiny_checkpoint, "--samples", "0") == 0
    assert "continu" not in capsys.readouterr().out


# Keeping the figures.


def test_facts_gain_an_evaluation_and_lose_nothing(duets, checkpoint):
    before = {"steps": 3, "runs": [{"from": "scratch"}], "note": "für Elise"}
    (checkpoint / "facts.json").write_text(json.dumps(before))
    quick = ("--samples", "0", "--write_facts")
    assert run(duets, checkpoint, *quick) == 0
    assert run(duets, checkpoint, *quick, "--split", "train") == 0
    assert run(duets, checkpoint, *quick, "--seed", "9") == 0
    after = json.loads((checkpoint / "facts.json").read_text())
    found = after.pop("evaluation")
    assert after == before
    assert [(each["split"], each["plan"]["seed"]) for each in found] == [("train", 7), ("test", 9)]
    assert sorted(path.name for path in checkpoint.iterdir() if "partial" in path.name) == []


def test_facts_stay_as_they_are_where_asked(duets, checkpoint):
    before = (checkpoint / "facts.json").read_bytes()
    assert run(duets, checkpoint, "--samples", "0", "--no-write_facts") == 0
    assert (checkpoint / "facts.json").read_bytes() == before


def test_the_folder_of_a_model_gains_the_figures_unasked(duets, checkpoint):
    command = ["--data", str(duets), "--model", str(checkpoint), "--samples", "0"]
    assert evaluate.main([*command, "--workers", "1"]) == 0
    (found,) = json.loads((checkpoint / "facts.json").read_text())["evaluation"]
    assert (found["data"], found["split"]) == (["duets"], "test")


def facts_folder(model, *more):
    return evaluate._facts_folder(
        evaluate._parser().parse_args(["--data", "x", "--model", str(model), *more])
    )


def test_the_bundled_model_gains_figures_only_where_asked(checkpoint, monkeypatch):
    assert facts_folder(checkpoint) == checkpoint
    monkeypatch.setattr(evaluate, "find_checkpoint", lambda _: checkpoint)
    assert [facts_folder("default"), facts_folder(checkpoint)] == [None, None]
    assert facts_folder("default", "--write_facts") == checkpoint
    assert facts_folder(checkpoint, "--write_facts") == checkpoint
    assert facts_folder("default", "--no-write_facts") is None


def test_a_model_that_is_no_folder_or_cannot_be_written_gains_nothing(checkpoint, monkeypatch):
    assert facts_folder("user/model") is None
    monkeypatch.setattr("training.evaluate.os.access", lambda *_: False)
    assert facts_folder(checkpoint) is None


def test_figures_are_printed_as_json_where_no_file_is_named(duets, checkpoint, capsys, facts):
    assert run(duets, checkpoint, "--json", "--seed", "7") == 0
    assert json.loads(capsys.readouterr().out) == facts | {"model": "model"}
    assert not Path("-").exists()


def test_names_that_are_no_text_are_cleaned_in_the_figures(duets, checkpoint, tmp_path):
    data = shutil.copytree(duets, tmp_path / "a\x1b[2J\nb")
    model = shutil.copytree(checkpoint, tmp_path / "mod\x1bel")
    path = tmp_path / "figures.json"
    assert run(data, model, "--samples", "0", "--json", str(path)) == 0
    found = json.loads(path.read_text())
    assert (found["model"], found["data"]) == ("model", ["a[2J b"])


def test_a_write_that_breaks_off_leaves_the_facts_whole(duets, checkpoint, monkeypatch, capsys):
    before = (checkpoint / "facts.json").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.checkpoints.os.fsync", full)
    assert run(duets, checkpoint, "--samples", "0", "--write_facts") == 1
    assert capsys.readouterr().err == (
        "error: The figures above could not be written (No space left on device); make room, or "
        "name another file after --json.\n"
    )
    assert (checkpoint / "facts.json").read_bytes() == before


# Refusals.


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--samples", "-1"], "--samples must be from 0 to 10,000, got -1."),
        (["--takes", "33"], "--takes must be from 1 to 32, got 33."),
        (["--workers", "-1"], "--workers must be 1 or more, got -1."),
        (["--bars", "0"], "--bars must be from 1 to 4,096, got 0."),
        (["--seed_bars", "0"], "--seed_bars must be from 1 to 4,096, got 0."),
        (["--temperature", "-1"], "--temperature must be 0 or more, got -1.0; use 0"),
        (["--sampling", "min_p=2"], "--min_p must be"),
        (["--sampling", "min_p"], "--sampling takes names and values, such as"),
        (["--sampling", "minp=0.1"], "--sampling takes temperature, top_p, "),
        (["--seed", "-1"], "--seed must be a whole number from 0 to 4294967295, got -1."),
        (
            ["--split", "valid"],
            "No piece of the data belongs to the split 'valid'; add MIDI files to --data, or "
            "choose another --split.",
        ),
        (
            ["--json", "."],
            "'.' cannot be written; name a file in a folder that exists after --json.",
        ),
        (["--json", "no/where.json"], "'no/where.json' cannot be written; name a file in a"),
        (
            ["--model", "user/model", "--write_facts"],
            "--write_facts has nowhere to write: 'user/model' is not a folder that can be written; "
            "pass the folder of the model, or use --json.",
        ),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_status_1(
    options, sentence, duets, tiny_checkpoint, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert run(duets, tiny_checkpoint, *options) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {sentence}")
    assert error.count("\n") == 1


def test_damaged_facts_are_told_before_anything_is_measured(duets, checkpoint, monkeypatch, capsys):
    (checkpoint / "facts.json").write_text("{")
    monkeypatch.setattr(evaluate, "evaluate", None)
    assert run(duets, checkpoint, "--write_facts") == 1
    assert "facts.json of 'model' is not a JSON record" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "error: the following arguments are required: --data; see 'python -m "),
        (["--data", "x", "--sample", "3"], "error: unrecognized arguments: --sample 3; see "),
        (["--data", "x", "--split", "tset"], "error: argument --split: invalid choice: 'tset'"),
    ],
)
def test_a_wrong_argument_ends_with_status_1(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as stop:
        evaluate.main(arguments)
    assert stop.value.code == 1
    assert capsys.readouterr().err.startswith(sentence)


def test_the_command_prints_its_help(capsys):
    with pytest.raises(SystemExit) as stop:
        evaluate.main(["--help"])
    assert stop.value.code == 0
    assert "--write_facts" in capsys.readouterr().out


def test_the_tokenizer_of_the_corpus_is_that_of_the_model(tiny_tokenizer, streams):
    # Streams are base ids of the plain grid; whatever was merged, the model's tokenizer reads them.
    names = MusicTokenizer().base_tokens
    assert tiny_tokenizer.base_tokens == names
    read = tiny_tokenizer.expand(tiny_tokenizer.compress(streams[0]))
    assert read == [names[index] for index in streams[0]]
