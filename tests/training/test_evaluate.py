"""The evaluation command, from a checkpoint and pieces to results in a file."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from musiclstm import Composer, __version__
from training import evaluate
from training.data.corpus import read_corpus
from training.evaluation.bits_per_note import measure_bits

SMALL = [
    *("--pieces", "3", "--takes", "2", "--prompt_bars", "2", "--bars", "3", "--workers", "1"),
    "--no-write_facts",  # the models of the tests are shared
]
NO_PIECES = ("--pieces", "0")


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
def record(duets, tiny_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("facts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSICLSTM_CACHE", str(folder))
        assert run(duets, tiny_checkpoint, "--json", str(folder / "figures.json")) == 0
    (found,) = json.loads((folder / "figures.json").read_text())
    return found


def test_a_record_holds_data_plan_and_results(record):
    assert record["data"] == ["duets"]
    assert record["split"] == "test"
    assert record["plan"]["sampling"]["seed"] == 7
    found = record["continuations"]
    assert (found["pieces"], found["takes"], found["decode_failures"]) == (3, 6, 0)
    assert all(name.startswith("duets/") for name in found["per_piece"]["piece"])


def test_bits_equal_those_measured_in_training(record, tiny_model, tiny_tokenizer, streams):
    expected = measure_bits(tiny_model, tiny_tokenizer, streams)
    assert record["held_out"]["notes"] == expected.notes
    # The weights of the folder are rounded to half precision.
    assert record["held_out"]["bits_per_note"] == pytest.approx(expected.bits_per_note, rel=1e-3)


def test_every_type_of_token_has_an_accuracy(record):
    kinds = {kind: row["tokens"] for kind, row in record["accuracy"].items()}
    assert kinds.pop("all") == sum(kinds.values()) == record["held_out"]["tokens"]
    assert kinds["EOS"] == 5
    assert {"Pitch", "Position"} <= set(kinds)


def test_every_metric_lies_within_its_range(record):
    found = dict(record["continuations"]["figures"])
    assert found.pop("lines_become_chords")["defined_pieces"] == 0  # both parts play chords
    for name, row in found.items():
        for side in ("composed", "original"):
            low, high = row[f"{side}_interval"]
            assert 0 <= low <= row[side] <= high, name
            assert high <= 1 or name == "density", name


def test_the_same_seed_gives_the_same_results_and_another_seed_gives_others(
    record, duets, tiny_checkpoint, tmp_path
):
    for name, seed in (("same", "7"), ("other", "8")):
        path = tmp_path / f"{name}.json"
        assert run(duets, tiny_checkpoint, "--json", str(path), "--seed", seed) == 0
    same, other = (json.loads((tmp_path / f"{n}.json").read_text())[0] for n in ("same", "other"))
    assert same == record
    assert other["continuations"]["figures"] != record["continuations"]["figures"]
    assert other["held_out"] == record["held_out"]


def test_tables_are_printed(duets, tiny_checkpoint, capsys):
    assert run(duets, tiny_checkpoint) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{tiny_checkpoint.name} on duets, split test: ")
    assert "bits per note" in printed.splitlines()[0]
    assert "| Pitch " in printed
    assert "6 continuations of 3 pieces, 3 bars after 2" in printed
    assert "| overlap notes per bar " in printed
    widths = {len(line) for line in printed.strip().split("\n\n")[-1].splitlines()}
    assert len(widths) == 1


def test_without_bits_the_corpus_is_not_tokenized(duets, tiny_checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "read_corpus", None)
    assert run(duets, tiny_checkpoint, "--no-bits") == 0
    printed = capsys.readouterr().out
    assert "bits per note" not in printed
    assert "| near repeats " in printed


def test_both_splits_give_separate_records(tmp_path, invented, tiny_checkpoint, capsys):
    splits = {"a.mid": "test", "b.mid": "valid", "c.mid": "train"}
    for number, name in enumerate(splits):
        score = invented(bars=6, programs=(0, 40), seed=number)
        (tmp_path / name).write_bytes(score.dumps_midi())
    pieces = [{"file": name, "split": split} for name, split in splits.items()]
    (tmp_path / "MANIFEST.json").write_text(json.dumps({"pieces": pieces}))
    path = tmp_path / "figures.json"
    command = ("--split", "both", "--no-bits", "--json", str(path))
    assert run(tmp_path, tiny_checkpoint, *command) == 0
    found = json.loads(path.read_text())
    assert [each["split"] for each in found] == ["test", "valid"]
    names = [each["continuations"]["per_piece"]["piece"] for each in found]
    assert names == [[f"{tmp_path.name}/a.mid"], [f"{tmp_path.name}/b.mid"]]
    assert "split test.\n" in (printed := capsys.readouterr().out)
    assert "split valid.\n" in printed


def test_pieces_that_are_too_short_have_bits_only(duets, tiny_checkpoint, tmp_path, capsys):
    path = tmp_path / "figures.json"
    command = ("--prompt_bars", "8", "--bars", "16", "--json", str(path))
    assert run(duets, tiny_checkpoint, *command) == 0
    assert "No piece was continued: none has 8 bars" in capsys.readouterr().out
    (found,) = json.loads(path.read_text())
    assert found["continuations"] is None
    assert found["held_out"]["bits_per_note"] > 0


def test_zero_pieces_compose_nothing(duets, tiny_checkpoint, capsys, monkeypatch):
    monkeypatch.setattr(Composer, "compose_many", None)
    assert run(duets, tiny_checkpoint, *NO_PIECES) == 0
    assert "continu" not in capsys.readouterr().out


def test_a_model_closes_no_gap_to_itself(duets, tiny_checkpoint, tmp_path, capsys):
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    assert run(duets, tiny_checkpoint, "--no-bits", "--json", str(first)) == 0
    command = ("--no-bits", "--json", str(second), "--baseline", str(first))
    assert run(duets, tiny_checkpoint, *command) == 0
    found = json.loads(second.read_text())[0]["continuations"]["baseline"]
    assert found["file"] == first.name
    assert found["pieces"] == 3
    assert found["figures"]["overlap"]["closed"] == 0
    printed = capsys.readouterr().out
    assert (
        f"Compared with {tiny_checkpoint.name} (musiclstm {__version__}) on 3 common pieces"
        in printed
    )
    assert "gap closed |" in printed.split("\n\n")[-1]


# Facts.


def test_facts_keep_other_keys_and_replace_the_same_evaluation(duets, checkpoint):
    before = {"steps": 3, "runs": [{"from": "scratch"}], "note": "für Elise"}
    (checkpoint / "facts.json").write_text(json.dumps(before))
    quick = (*NO_PIECES, "--write_facts")
    assert run(duets, checkpoint, *quick) == 0
    assert run(duets, checkpoint, *quick, "--split", "train") == 0
    assert run(duets, checkpoint, *quick, "--seed", "9") == 0
    after = json.loads((checkpoint / "facts.json").read_text())
    found = after.pop("evaluation")
    assert after == before
    assert [(each["split"], each["plan"]["sampling"]["seed"]) for each in found] == [
        ("train", 7),
        ("test", 9),
    ]
    assert sorted(path.name for path in checkpoint.iterdir() if "partial" in path.name) == []


def test_facts_hold_bits_and_continuations_of_the_same_pieces(checkpoint, record):
    bits, music = record | {"continuations": None}, record | {"held_out": None}
    for each in (bits, music, bits | {"plan": {}}):
        evaluate.write_facts(checkpoint, each)
    found = json.loads((checkpoint / "facts.json").read_text())["evaluation"]
    assert [each["held_out"] is None for each in found] == [True, False]
    assert found[1]["plan"] == {}


def test_facts_hold_no_figures_per_piece(duets, checkpoint):
    assert run(duets, checkpoint, "--write_facts") == 0
    (found,) = json.loads((checkpoint / "facts.json").read_text())["evaluation"]
    assert found["continuations"]["pieces"] == 3
    assert "per_piece" not in found["continuations"]


@pytest.mark.parametrize("options", [["--no-bits"], ["--no-write_facts"]])
def test_facts_stay_unchanged_without_bits_or_on_request(duets, checkpoint, options):
    before = (checkpoint / "facts.json").read_bytes()
    words = ["--data", str(duets), "--model", str(checkpoint), "--workers", "1", *NO_PIECES]
    assert evaluate.main([*words, *options]) == 0
    assert (checkpoint / "facts.json").read_bytes() == before


def test_the_facts_of_a_writable_folder_are_updated_by_default(duets, checkpoint):
    words = ["--data", str(duets), "--model", str(checkpoint), *NO_PIECES]
    assert evaluate.main([*words, "--workers", "1"]) == 0
    (found,) = json.loads((checkpoint / "facts.json").read_text())["evaluation"]
    assert (found["data"], found["split"]) == (["duets"], "test")


def facts_folder(model, *more):
    return evaluate._facts_folder(
        evaluate._parser().parse_args(["--data", "x", "--model", str(model), *more])
    )


def test_facts_of_the_bundled_model_change_only_on_request(checkpoint, monkeypatch):
    assert facts_folder(checkpoint) == checkpoint
    monkeypatch.setattr(evaluate, "find_checkpoint", lambda _: checkpoint)
    assert [facts_folder("default"), facts_folder(checkpoint)] == [None, None]
    assert facts_folder("default", "--write_facts") == checkpoint
    assert facts_folder(checkpoint, "--write_facts") == checkpoint
    assert facts_folder("default", "--no-write_facts") is None


def test_a_hub_id_or_a_read_only_folder_gets_no_facts(checkpoint, monkeypatch):
    assert facts_folder("user/model") is None
    monkeypatch.setattr("training.evaluate.os.access", lambda *_: False)
    assert facts_folder(checkpoint) is None


def test_json_without_a_file_is_printed(duets, checkpoint, capsys, record):
    assert run(duets, checkpoint, "--json", "--seed", "7") == 0
    assert json.loads(capsys.readouterr().out) == [record | {"model": "model"}]
    assert not Path("-").exists()


def test_control_characters_in_names_are_removed(duets, checkpoint, tmp_path):
    data = shutil.copytree(duets, tmp_path / "a\x1b[2J\nb")
    model = shutil.copytree(checkpoint, tmp_path / "mod\x1bel")
    path = tmp_path / "figures.json"
    assert run(data, model, *NO_PIECES, "--json", str(path)) == 0
    (found,) = json.loads(path.read_text())
    assert (found["model"], found["data"]) == ("model", ["a[2J b"])


def test_an_interrupted_write_leaves_the_facts_unchanged(duets, checkpoint, monkeypatch, capsys):
    before = (checkpoint / "facts.json").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.trainer.checkpoints.os.fsync", full)
    assert run(duets, checkpoint, *NO_PIECES, "--write_facts") == 1
    assert "could not be written (No space left on device)" in capsys.readouterr().err
    assert (checkpoint / "facts.json").read_bytes() == before


# Refusals.


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        (["--pieces", "-1"], "--pieces must be from 0 to 10,000, got -1"),
        (["--takes", "33"], "--takes must be from 1 to 32, got 33"),
        (["--workers", "-1"], "--workers must be 1 or more, got -1"),
        (["--bars", "0"], "--bars must be from 1 to 4,096, got 0"),
        (["--temperature", "-1"], "--temperature must be 0 or more, got -1.0"),
        (["--sampling", "min_p=2"], "--min_p"),
        (["--sampling", "min_p"], "--sampling takes names and values"),
        (["--sampling", "minp=0.1"], "--sampling takes temperature, top_p, "),
        (["--seed", "-1"], "--seed must be a whole number from 0 to 4294967295, got -1"),
        (["--split", "valid"], "None of 6 pieces belongs to the split 'valid'"),
        (["--split", "valid", "--no-bits"], "None of 6 pieces belongs to the split 'valid'"),
        (["--write_facts", "--no-bits"], "--write_facts needs bits per note"),
        (["--baseline", "no.json"], "'no.json'"),
        (["--json", "."], "--json: '.' cannot be written"),
        (["--json", "no/where.json"], "--json: 'no/where.json' cannot be written"),
        (["--model", "user/model", "--write_facts"], "'user/model' is not a writable folder"),
    ],
)
def test_invalid_options_are_one_sentence_and_status_1(
    options, fact, duets, tiny_checkpoint, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert run(duets, tiny_checkpoint, *options) == 1
    error = capsys.readouterr().err
    assert fact in error
    assert error.count("\n") == 1


def test_damaged_facts_are_reported_before_the_evaluation(duets, checkpoint, monkeypatch, capsys):
    (checkpoint / "facts.json").write_text("{")
    monkeypatch.setattr(evaluate, "evaluate", None)
    assert run(duets, checkpoint, "--write_facts") == 1
    assert "facts.json of 'model' is not a JSON object" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--data", "x", "--piece", "3"]])
def test_a_parser_error_ends_with_status_1(words, capsys):
    with pytest.raises(SystemExit) as stop:
        evaluate.main(words)
    assert stop.value.code == 1
    assert "python -m training.evaluate --help" in capsys.readouterr().err
