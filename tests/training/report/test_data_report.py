"""The data report: contents, terminal text and web page."""

from __future__ import annotations

import gzip
import json
from html.parser import HTMLParser

import pytest
from symusic import Note, Score, Tempo, TimeSignature, Track
from transformers import TrainingArguments

from musiclstm import MidiLimits, MusicTokenizer, ScoreError, read_midi
from tests.training.conftest import write_piece
from training.data.corpus import REASONS, CorpusPiece, Skipped, read_corpus
from training.data.piece_stats import PieceStats
from training.errors import TrainingError
from training.finetune import main
from training.report.data_report import (
    as_text,
    describe,
    inspect,
    left_out,
    reason_of,
    write_report,
)
from training.report.html import as_html
from training.report.time_estimate import (
    WARM_UP,
    TimeEstimate,
    _evaluations,
    minutes_text,
    short_run,
)

SMALL = ["--model", "scratch", "--hidden_size", "16", "--num_hidden_layers", "2"]
QUICK = [
    *("--preset", "cpu-quick", "--window", "32", "--per_device_train_batch_size", "2"),
    *("--bf16", "false", "--max_steps", "50", "--eval_steps", "20"),
]


def make_stats(**changes):
    values = {
        "seconds": 60.0, "notes": 100, "lost": 0, "moved": 0, "moved_ms": 0.0,
        "programs": ((0, 100),), "key": "C major", "meter": "4/4", "meters": 1,
        "onsets": 90, "beat_fit": 1.0, "fingerprint": "0",
    }  # fmt: skip
    return PieceStats(**values | changes)


def make_piece(name, split="train"):
    return CorpusPiece(name, "any", split, 100, None)


def empty_files(count):
    """Reasons as `read_midi` gives them."""
    return [Skipped(f"{n}.mid", f"'{n}.mid' has no notes; choose another.") for n in range(count)]


@pytest.fixture(scope="module")
def mixed(scales, tmp_path_factory):
    """A folder with the scales and several files that cannot be used."""
    folder = tmp_path_factory.mktemp("mixed")
    for file in scales.glob("*.mid"):
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "a-text.mid").write_text("Dear all")
    (folder / "b-<b>bold.mid").write_text("<script>")
    (folder / "c-empty.mid").write_bytes(b"")
    (folder / "zz-same.mid").write_bytes((folder / "scale-00.mid").read_bytes())
    write_piece(folder / "z-tiny.mid", bars=1, program=73)
    return folder


def dry_run(data, out, *options):
    return main(["--data", str(data), "--output_dir", str(out), "--dry_run", *SMALL, *options])


@pytest.fixture(scope="module")
def dry(mixed, tmp_path_factory):
    """The folder of a dry run."""
    folder = tmp_path_factory.mktemp("dry") / "out"
    assert dry_run(mixed, folder, *QUICK) == 0
    return folder


@pytest.fixture(scope="module")
def report(dry):
    return json.loads((dry / "data_report.json").read_text())


# Contents.


def test_files_left_out_are_counted_by_reason_with_examples(report):
    assert report["files"] == {"found": 17, "read": 13, "left_out": 4}
    found = {each["reason"]: each for each in report["left_out"]}
    counts = {reason: each["files"] for reason, each in found.items()}
    assert counts == {"broken": 2, "empty": 1, "duplicate": 1}
    assert found["broken"]["examples"][0]["name"] == "a-text.mid"
    assert found["broken"]["examples"][0]["why"].startswith("is not a MIDI file")
    assert found["duplicate"]["examples"][0]["name"] == "zz-same.mid"


def test_notes_instruments_meters_and_keys_are_counted(report, mixed):
    scores = [read_midi(file)[0] for file in mixed.glob("*scale-*.mid")]
    notes = sum(score.note_num() for score in scores) + 4
    assert report["notes"] == report["grid"]["notes"] == notes
    names = {each["name"]: each for each in report["instruments"]}
    assert names["Flute"] == {"name": "Flute", "program": 73, "notes": 4, "pieces": 1}
    assert names["Drums"]["pieces"] == 4
    assert sum(each["notes"] for each in report["instruments"]) == notes
    assert report["meters"] == [{"name": "4/4", "pieces": 13}]
    assert sum(each["pieces"] for each in report["keys"]) == 13


def test_splits_add_up_to_all_pieces(report):
    splits = report["splits"]
    assert [splits[name]["pieces"] for name in ("train", "valid", "test")] == [11, 1, 1]
    notes, hours, tokens = (
        sum(each[name] for each in splits.values()) for name in ("notes", "hours", "tokens")
    )
    assert (notes, hours) == (report["notes"], pytest.approx(report["hours"], abs=1e-3))
    assert report["tokens"]["per_note"] == pytest.approx(tokens / notes, abs=1e-3)
    assert report["tokens"]["vocabulary"] == len(MusicTokenizer())


def test_the_time_is_measured_on_steps_of_the_requested_run(report):
    found = report["estimate"]
    assert found["steps"] == 50
    assert found["evaluations"] == 3  # the first one before training
    assert 3 <= found["measured_steps"] <= 12
    assert 0 < found["fastest_s"] <= found["seconds_per_step"] <= found["slowest_s"]
    assert found["measured_pieces"] == 1
    assert found["minutes"] > 0
    assert report["tokens"]["epoch"] == found["tokens_per_epoch"] > 0


# The command.


def test_a_dry_run_writes_and_prints_the_report_alone(mixed, dry, capsys):
    assert dry_run(mixed, dry, *QUICK) == 0  # again: nothing is left to resume from
    assert sorted(file.name for file in dry.iterdir()) == ["data_report.html", "data_report.json"]
    text = capsys.readouterr().out
    assert "17 found, 13 used, 4 left out" in text
    assert "left out, broken: 2 files" in text
    assert "a-text.mid: is not a MIDI file" in text
    assert "with --preset cpu-quick on this machine (cpu)" in text
    assert "Resuming from" not in text


def test_a_folder_without_usable_files_gives_a_report_and_an_error(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.mid").write_text("hello")
    out = tmp_path / "out"
    assert dry_run(tmp_path / "in", out) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("error: None of 1 MIDI files can be used; the first one, 'x.mid'")
    assert "not measured: there is nothing to train on" in printed.out
    found = json.loads((out / "data_report.json").read_text())
    assert found["left_out"][0]["files"] == 1
    assert found["estimate"] is None
    assert "there is nothing to train on" in (out / "data_report.html").read_text()


def test_a_corpus_without_training_pieces_gives_a_report_and_an_error(scales, tmp_path, capsys):
    piece = sorted(scales.glob("*.mid"))[0]
    (tmp_path / piece.name).write_bytes(piece.read_bytes())
    manifest = {"pieces": [{"file": piece.name, "split": "test"}]}
    (tmp_path / "MANIFEST.json").write_text(json.dumps(manifest))
    out = tmp_path / "out"
    assert dry_run(tmp_path, out) == 1
    assert "no piece to train on" in capsys.readouterr().err
    assert json.loads((out / "data_report.json").read_text())["splits"]["test"]["pieces"] == 1


def test_a_report_that_cannot_be_written_is_an_error(report, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(TrainingError, match=r"'out' \(File exists\).*--output_dir"):
        write_report(tmp_path / "out", report)


# Reasons.


def refusal(data, limits=None):
    with pytest.raises(ScoreError) as found:
        read_midi(data, name="x.mid", limits=limits or MidiLimits.training())
    return str(found.value)


def midi(notes=((0, 480, 60, 80),)):
    score = Score(480)
    score.tempos.append(Tempo(0, 120))
    score.time_signatures.append(TimeSignature(0, 4, 4))
    track = Track("Any", 0, False)
    for note in notes:
        track.notes.append(Note(*note))
    score.tracks.append(track)
    return score.dumps_midi()


TWO_NOTES = [(0, 9, 60, 80), (480, 9, 60, 80)]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: refusal(b""), "empty"),
        (lambda: refusal(midi(())), "empty"),
        (lambda: refusal(b"hello"), "broken"),
        (lambda: refusal(midi()[:20]), "broken"),
        (lambda: refusal(midi(), MidiLimits(bytes=20)), "too long"),
        (lambda: refusal(midi(), MidiLimits(beats=0)), "too long"),
        (lambda: refusal(midi(TWO_NOTES), MidiLimits(notes=1)), "too long"),
        (lambda: refusal(midi([(480 * 600, 9, 60, 80)]), MidiLimits(minutes=1)), "too long"),
        (lambda: refusal(gzip.compress(bytes(9_000)), MidiLimits(bytes=8_000)), "too long"),
        (lambda: "it cannot be read (Bad CRC-32).", "broken"),
    ],
)
def test_errors_of_the_reader_have_a_reason(make, reason):
    assert reason_of(make()) == reason


def test_at_most_five_examples_are_listed_with_the_number_of_others(report):
    (group,) = left_out(empty_files(9))
    assert (group["files"], len(group["examples"])) == (9, 5)
    assert group["examples"][0] == {"name": "0.mid", "why": "has no notes; choose another."}
    copies = inspect([(make_piece(f"{n}.mid"), make_stats()) for n in range(8)])
    text = as_text(report | {"left_out": [group], "look_at": copies})
    assert "  left out, empty: 9 files\n    0.mid: has no notes; choose another.\n" in text
    assert "    4.mid: has no notes; choose another.\n    and 4 more\n" in text
    assert "check: duplicate: 7 pieces." in text
    assert "    5.mid = 0.mid\n    and 2 more\n" in text


def test_control_characters_are_removed_from_names():
    (group,) = left_out([Skipped("a\x1b[2Jb\u202e.mid", "it cannot be read (\x1b[31mx).")])
    assert group["examples"][0] == {"name": "a[2Jb.mid", "why": "cannot be read ([31mx)."}


# Pieces that should be checked.


def checks(*pairs):
    return {each["what"]: each for each in inspect(pairs)}


def test_copies_are_listed_with_both_names():
    found = checks(*((make_piece(name), make_stats()) for name in "abc"))
    assert list(found) == ["duplicate"]
    assert found["duplicate"]["examples"] == ["b = a", "c = a"]
    held_out = checks((make_piece("a"), make_stats()), (make_piece("b", "test"), make_stats()))
    assert list(held_out) == ["duplicate across splits"]
    assert held_out["duplicate across splits"]["examples"] == ["b (test) = a (train)"]
    other = make_stats(fingerprint="1")
    assert checks((make_piece("a"), make_stats()), (make_piece("b"), other)) == {}


@pytest.mark.parametrize(
    ("what", "changes", "words"),
    [
        ("not on a beat grid", {"beat_fit": 0.1}, "--leave_out free"),
        ("finer than the grid", {"moved": 20, "lost": 6}, "more than 25% of their notes"),
        ("finer than the grid", {"lost": 26}, "rounded"),
        ("too short", {"notes": 39}, "fewer than 40 notes"),
        ("too short", {"seconds": 7.9}, "--leave_out short"),
    ],
)
def test_doubtful_pieces_are_listed_with_advice(what, changes, words):
    found = checks((make_piece("a"), make_stats(**changes)))
    assert list(found) == [what]
    assert found[what]["examples"] == ["a"]
    assert words in found[what]["hint"]


def test_pieces_that_are_left_out_on_request_have_the_same_reason(tmp_path):
    for name, pitch, bars in (("low", 48, 10), ("high", 60, 10), ("tiny", 60, 2)):
        write_piece(tmp_path / f"{name}.mid", first_pitch=pitch, bars=bars)
    kept, filtered = (
        describe(read_corpus([tmp_path], workers=1, leave_out=own), MusicTokenizer(), preset="cpu")
        for own in ((), REASONS)
    )
    assert {each["what"] for each in kept["look_at"]} >= {"duplicate", "too short"}
    assert filtered["look_at"] == []
    found = {each["reason"]: each["examples"][0] for each in filtered["left_out"]}
    assert {reason: each["name"] for reason, each in found.items()} == {
        "duplicate": "low.mid",
        "too short": "tiny.mid",
    }
    assert "'high.mid'" in found["duplicate"]["why"]


# Time.


def test_the_time_includes_steps_evaluations_and_the_last_evaluation():
    estimate = TimeEstimate(
        steps=400, epochs=2.5, measured_steps=12, seconds_per_step=0.3, fastest_s=0.25,
        slowest_s=0.5, tokens_per_step=600.0, tokens_per_epoch=96_000, evaluations=4,
        measured_pieces=8, seconds_per_evaluation=10.0, last_s=20.0, device="cpu", threads=2,
    )  # fmt: skip
    assert estimate.minutes == pytest.approx((400 * 0.3 + 4 * 10 + 20) / 60)


@pytest.mark.parametrize(
    ("minutes", "text"),
    [(0.001, "1 second"), (0.5, "30 seconds"), (2.34, "2.3 minutes"), (28.4, "28 minutes"),
     (150, "2.5 hours")],
)  # fmt: skip
def test_a_duration_is_rounded(minutes, text):
    assert minutes_text(minutes) == text


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"eval_strategy": "steps", "eval_steps": 30}, 3),
        ({"eval_strategy": "steps", "eval_steps": 0.25}, 4),
        ({"eval_strategy": "epoch"}, 5),
        ({"eval_strategy": "no"}, 0),
    ],
)
def test_evaluations_are_counted_as_the_trainer_makes_them(settings, count, tmp_path):
    training = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, **settings)
    assert _evaluations(training, steps=100, updates=20) == count


def test_the_short_run_does_not_change_the_settings_of_the_long_one(tmp_path):
    training = TrainingArguments(
        output_dir=str(tmp_path / "long"), use_cpu=True, max_steps=400, eval_strategy="steps"
    )
    before = training.to_dict()
    short = short_run(training, tmp_path / "short")
    assert training.to_dict() == before
    assert short.output_dir == str(tmp_path / "short")
    assert WARM_UP < short.max_steps < 400
    assert short.per_device_train_batch_size == training.per_device_train_batch_size


# The web page.


class _ParsedPage(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.links, self.words = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [
            value for name, value in attrs if name in ("href", "src") or name.startswith("on")
        ]

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_loads_nothing_else(dry):
    text = (dry / "data_report.html").read_text()
    page = _ParsedPage(text)
    assert page.links == []
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert "url(" not in text
    assert "b-<b>bold.mid" in "".join(page.words)


MARKUP = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


def test_values_from_files_are_never_markup(report):
    def with_markup(value):
        if isinstance(value, dict):
            return {name: with_markup(each) for name, each in value.items()}
        if isinstance(value, list):
            return [with_markup(each) for each in value]
        return value + MARKUP if isinstance(value, str) else value

    plain, marked = _ParsedPage(as_html(report)), _ParsedPage(as_html(with_markup(report)))
    assert marked.tags == plain.tags
    assert marked.links == plain.links
    assert "".join(marked.words).count(MARKUP) > 20


def test_page_and_terminal_give_the_same_numbers(report):
    words, text = " ".join(_ParsedPage(as_html(report)).words), as_text(report)
    for number in (report["notes"], report["tokens"]["epoch"], report["files"]["found"]):
        assert f"{number:,}" in words
        assert f"{number:,}" in text
    steps = f"easured on {report['estimate']['measured_steps']} "
    assert steps in words
    assert steps in text
