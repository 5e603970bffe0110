"""The report before training: what it says, how it is written, and that it keeps nothing."""

from __future__ import annotations

import gzip
import json
import re
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
    minutes_text,
    reason_of,
    write_report,
)
from training.report.html import as_html
from training.report.time_estimate import WARM_UP, TimeEstimate, _evaluations, short_run

SMALL = ["--model", "scratch", "--hidden_size", "16", "--num_hidden_layers", "2"]
QUICK = [
    *("--preset", "cpu-quick", "--window", "32", "--per_device_train_batch_size", "2"),
    *("--bf16", "false", "--max_steps", "50", "--eval_steps", "20"),
]


def a_survey(**changes):
    found = {
        "seconds": 60.0,
        "notes": 100,
        "lost": 0,
        "moved": 0,
        "moved_ms": 0.0,
        "programs": ((0, 100),),
        "key": "C major",
        "meter": "4/4",
        "meters": 1,
        "onsets": 90,
        "beat_fit": 1.0,
        "fingerprint": "0",
    }
    return PieceStats(**found | changes)


def a_piece(name, split="train"):
    return CorpusPiece(name, "any", split, 100, None)


def an_estimate(**changes):
    found = {
        "steps": 400,
        "epochs": 2.5,
        "measured_steps": 12,
        "seconds_per_step": 0.3,
        "fastest_s": 0.25,
        "slowest_s": 0.5,
        "tokens_per_step": 600.0,
        "tokens_per_epoch": 96_000,
        "evaluations": 4,
        "measured_pieces": 8,
        "seconds_per_evaluation": 10.0,
        "last_s": 20.0,
        "device": "cpu",
        "threads": 2,
    }
    return TimeEstimate(**found | changes)


@pytest.fixture(scope="module")
def mixed(scales, tmp_path_factory):
    """A folder with the scales and much that is wrong."""
    folder = tmp_path_factory.mktemp("mixed")
    for file in scales.glob("*.mid"):
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "a-text.mid").write_text("Dear all")
    (folder / "b-<b>bold.mid").write_text("<script>")
    (folder / "c-empty.mid").write_bytes(b"")
    (folder / "zz-same.mid").write_bytes((folder / "scale-00.mid").read_bytes())
    write_piece(folder / "z-tiny.mid", bars=1, program=73)
    return folder


@pytest.fixture(scope="module")
def dry(mixed, tmp_path_factory):
    """The folder of a dry run."""
    folder = tmp_path_factory.mktemp("dry") / "out"
    assert (
        main(["--data", str(mixed), "--output_dir", str(folder), "--dry_run", *SMALL, *QUICK]) == 0
    )
    return folder


@pytest.fixture(scope="module")
def facts(dry):
    return json.loads((dry / "data_report.json").read_text())


# The command.


def test_a_dry_run_writes_the_report_and_nothing_else(dry):
    assert sorted(file.name for file in dry.iterdir()) == ["data_report.html", "data_report.json"]


def test_files_left_out_are_counted_by_reason_with_their_names(facts):
    assert facts["files"] == {"found": 17, "read": 13, "left_out": 4}
    found = {each["reason"]: each for each in facts["left_out"]}
    assert {reason: each["files"] for reason, each in found.items()} == {
        "broken": 2,
        "empty": 1,
        "duplicate": 1,
    }
    assert found["broken"]["examples"][0]["name"] == "a-text.mid"
    assert found["broken"]["examples"][0]["why"].startswith("is not a MIDI file")
    assert found["duplicate"]["examples"][0]["name"] == "zz-same.mid"


def test_music_is_counted(facts, mixed):
    scores = [read_midi(file)[0] for file in mixed.glob("*scale-*.mid")]
    notes = sum(score.note_num() for score in scores) + 4
    assert facts["notes"] == facts["grid"]["notes"] == notes
    names = {each["name"]: each for each in facts["instruments"]}
    assert names["Flute"] == {"name": "Flute", "program": 73, "notes": 4, "pieces": 1}
    assert names["Drums"]["pieces"] == 4
    assert sum(each["notes"] for each in facts["instruments"]) == notes
    assert facts["meters"] == [{"name": "4/4", "pieces": 13}]
    assert sum(each["pieces"] for each in facts["keys"]) == 13


def test_splits_hold_all_pieces_and_hours(facts):
    splits = facts["splits"]
    assert [splits[name]["pieces"] for name in ("train", "valid", "test")] == [11, 1, 1]
    assert sum(each["notes"] for each in splits.values()) == facts["notes"]
    assert sum(each["hours"] for each in splits.values()) == pytest.approx(facts["hours"], abs=1e-3)


def test_tokens_per_note_are_those_of_all_splits(facts):
    tokens = sum(each["tokens"] for each in facts["splits"].values())
    assert facts["tokens"]["per_note"] == pytest.approx(tokens / facts["notes"], abs=1e-3)
    assert facts["tokens"]["vocabulary"] == len(MusicTokenizer())


def test_the_time_was_measured_on_steps_of_the_run_that_was_asked_for(facts):
    found = facts["estimate"]
    assert found["steps"] == 50
    assert found["evaluations"] == 3  # the first before it learns
    assert 3 <= found["measured_steps"] <= 12
    assert 0 < found["fastest_s"] <= found["seconds_per_step"] <= found["slowest_s"]
    assert found["measured_pieces"] == 1
    assert found["minutes"] > 0
    assert facts["tokens"]["epoch"] == found["tokens_per_epoch"] > 0


def test_the_report_is_said_on_the_terminal(mixed, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["--data", str(mixed), "--output_dir", str(out), "--dry_run", *SMALL, *QUICK]) == 0
    said = capsys.readouterr().out
    assert "17 found, 13 read, 4 left out" in said
    assert "left out, broken: 2" in said
    assert "a-text.mid: is not a MIDI file" in said
    assert "with --preset cpu-quick on this machine (cpu)" in said
    assert said.endswith(f"Wrote {out / 'data_report.html'} and, for programs, data_report.json.\n")


def test_nothing_is_left_to_resume_from(mixed, dry, capsys):
    assert main(["--data", str(mixed), "--output_dir", str(dry), "--dry_run", *SMALL, *QUICK]) == 0
    assert "Resuming from" not in capsys.readouterr().out


def test_a_folder_of_broken_files_gives_a_report_and_one_sentence(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.mid").write_text("hello")
    out = tmp_path / "out"
    assert main(["--data", str(tmp_path / "in"), "--output_dir", str(out), "--dry_run"]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("error: None of 1 MIDI files can be used; the first one, 'x.mid'")
    assert "not measured: there is nothing to train on" in printed.out
    found = json.loads((out / "data_report.json").read_text())
    assert found["left_out"][0]["files"] == 1
    assert found["estimate"] is None
    assert "there is nothing to train on" in (out / "data_report.html").read_text()


def test_a_corpus_that_is_all_held_out_gives_a_report_and_one_sentence(scales, tmp_path, capsys):
    piece = sorted(scales.glob("*.mid"))[0]
    (tmp_path / piece.name).write_bytes(piece.read_bytes())
    manifest = {"pieces": [{"file": piece.name, "split": "test"}]}
    (tmp_path / "MANIFEST.json").write_text(json.dumps(manifest))
    out = tmp_path / "out"
    assert main(["--data", str(tmp_path), "--output_dir", str(out), "--dry_run", *SMALL]) == 1
    assert "error: The corpus has no piece to train on" in capsys.readouterr().err
    assert json.loads((out / "data_report.json").read_text())["splits"]["test"]["pieces"] == 1


def test_a_folder_that_cannot_be_written_to_is_one_sentence(mixed, tmp_path, capsys):
    out = tmp_path / "out"
    out.write_text("a file")
    assert main(["--data", str(mixed), "--output_dir", str(out), "--dry_run", *SMALL, *QUICK]) == 1
    assert capsys.readouterr().err.endswith(
        "error: 'out' cannot be written to (file exists); choose another --output_dir.\n"
    )


def test_a_report_that_cannot_be_written_is_one_sentence(facts, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(TrainingError) as caught:
        write_report(tmp_path / "out", facts)
    assert str(caught.value) == (
        "The report cannot be written into 'out' (File exists); choose another --output_dir."
    )


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


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: refusal(b""), "empty"),
        (lambda: refusal(midi(())), "empty"),
        (lambda: refusal(b"hello"), "broken"),
        (lambda: refusal(midi()[:20]), "broken"),
        (lambda: refusal(midi(), MidiLimits(bytes=20)), "too long"),
        (lambda: refusal(midi(), MidiLimits(beats=0)), "too long"),
        (
            lambda: refusal(midi([(0, 9, 60, 80), (480, 9, 60, 80)]), MidiLimits(notes=1)),
            "too long",
        ),
        (lambda: refusal(midi([(480 * 600, 9, 60, 80)]), MidiLimits(minutes=1)), "too long"),
        (lambda: refusal(gzip.compress(bytes(9_000)), MidiLimits(bytes=8_000)), "too long"),
        (lambda: "'x.mid' has no note that can sound; choose a file.", "empty"),
        (lambda: "the same bytes as a file before it.", "duplicate"),
        (lambda: "it has the notes of 'a.mid', up to transposition.", "duplicate"),
        (lambda: "it is too short: 8 notes in 4.0 seconds.", "too short"),
        (
            lambda: "it is not on a beat grid: its notes meet the beats no better than by chance.",
            "not on a beat grid",
        ),
        (lambda: "it cannot be read (Bad CRC-32).", "broken"),
    ],
)
def test_the_sentences_of_refusal_give_their_reason(make, reason):
    assert reason_of(make()) == reason


def test_only_the_first_few_files_of_a_reason_are_named():
    skipped = [Skipped(f"{n}.mid", f"'{n}.mid' has no notes; choose another.") for n in range(9)]
    (group,) = left_out(skipped)
    assert (group["files"], len(group["examples"])) == (9, 5)
    assert group["examples"][0] == {"name": "0.mid", "why": "has no notes; choose another."}


def test_what_is_left_out_and_what_to_look_at_are_told_with_how_many_more(facts):
    skipped = [Skipped(f"{n}.mid", f"'{n}.mid' has no notes; choose another.") for n in range(9)]
    copies = inspect([(a_piece(f"{n}.mid"), a_survey()) for n in range(8)])
    said = as_text(facts | {"left_out": left_out(skipped), "look_at": copies}).splitlines()
    at = said.index("  left out, empty: 9")
    assert said[at + 1] == "    0.mid: has no notes; choose another."
    assert said[at + 5 : at + 7] == [
        "    4.mid: has no notes; choose another.",
        "    and 4 more",
    ]
    assert said[at + 7 : at + 9] == [
        "  kept, but look at: duplicate: 7. They have the notes of another piece, up to "
        "transposition, tempo and instruments, and would count twice; --leave_out duplicate keeps "
        "one of each.",
        "    1.mid = 0.mid",
    ]
    assert said[at + 13] == "    and 2 more"


# What is kept, but should be looked at.


def looked_at(*pairs):
    return {each["what"]: each for each in inspect(pairs)}


def test_a_good_corpus_gives_nothing_to_look_at():
    assert looked_at((a_piece("a"), a_survey()), (a_piece("b"), a_survey(fingerprint="1"))) == {}


def test_copies_are_told_with_both_names():
    found = looked_at(*((a_piece(name), a_survey()) for name in "abc"))
    assert found["duplicate"]["examples"] == ["b = a", "c = a"]
    assert "up to transposition" in found["duplicate"]["hint"]
    assert found["duplicate"]["hint"].endswith("; --leave_out duplicate keeps one of each.")
    assert "duplicate across splits" not in found


def test_a_copy_that_is_held_out_is_told_apart():
    found = looked_at((a_piece("a"), a_survey()), (a_piece("b", "test"), a_survey()))
    assert found["duplicate across splits"]["examples"] == ["b (test) = a (train)"]
    assert "better than the model" in found["duplicate across splits"]["hint"]
    hint = found["duplicate across splits"]["hint"]
    assert hint.endswith("; --leave_out duplicate keeps one of each.")
    assert "duplicate" not in found


def test_two_transposed_files_are_told_as_copies(tmp_path):
    for name, pitch in (("low", 48), ("high", 60), ("other", 55)):
        write_piece(tmp_path / f"{name}.mid", first_pitch=pitch, bars=12 if name == "other" else 10)
    facts = describe(read_corpus([tmp_path], workers=1), MusicTokenizer(), preset="cpu")
    (copies,) = (each for each in facts["look_at"] if each["what"] == "duplicate")
    assert copies["pieces"] == 1
    assert set(re.findall(r"(\w+)\.mid", copies["examples"][0])) == {"low", "high"}


def test_what_leave_out_names_is_no_longer_kept_but_counted_by_the_same_reason(tmp_path):
    for name, pitch, bars in (("low", 48, 10), ("high", 60, 10), ("tiny", 60, 2)):
        write_piece(tmp_path / f"{name}.mid", first_pitch=pitch, bars=bars)
    corpus = read_corpus([tmp_path], workers=1, leave_out=REASONS)
    facts = describe(corpus, MusicTokenizer(), preset="cpu")
    assert facts["look_at"] == []
    found = {each["reason"]: each["examples"] for each in facts["left_out"]}
    assert found == {
        "duplicate": [
            {"name": "low.mid", "why": "has the notes of 'high.mid', up to transposition."}
        ],
        "too short": [{"name": "tiny.mid", "why": "is too short: 8 notes in 4.0 seconds."}],
    }


@pytest.mark.parametrize(
    ("what", "changes", "words"),
    [
        ("not on a beat grid", {"beat_fit": 0.1}, "no better than by chance"),
        ("not on a beat grid", {"beat_fit": 0.1}, "or leave them out with --leave_out free."),
        ("finer than the grid", {"moved": 20, "lost": 6}, "more than 25% of their notes"),
        ("finer than the grid", {"lost": 26}, "they are learnt as rounded to it"),
        ("too short", {"notes": 39}, "fewer than 40 notes"),
        ("too short", {"seconds": 7.9}, "leave them out with --leave_out short."),
    ],
)
def test_doubtful_pieces_are_named_with_a_hint(what, changes, words):
    found = looked_at((a_piece("a"), a_survey(**changes)))
    assert list(found) == [what]
    assert found[what]["examples"] == ["a"]
    assert words in found[what]["hint"]


# Time.


def test_minutes_are_those_of_steps_evaluations_and_the_end():
    assert an_estimate().minutes == pytest.approx((400 * 0.3 + 4 * 10 + 20) / 60)


@pytest.mark.parametrize(
    ("minutes", "text"),
    [(0.001, "1 second"), (0.5, "30 seconds"), (2.34, "2.3 minutes"), (28.4, "28 minutes"),
     (150, "2.5 hours")],
)  # fmt: skip
def test_a_time_is_as_exact_as_an_estimate_can_be(minutes, text):
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


def test_the_short_run_leaves_the_settings_of_the_long_one_alone(tmp_path):
    training = TrainingArguments(
        output_dir=str(tmp_path / "long"), use_cpu=True, max_steps=400, eval_strategy="steps"
    )
    before = training.to_dict()
    short = short_run(training, tmp_path / "short")
    assert training.to_dict() == before
    assert short.output_dir == str(tmp_path / "short")
    assert WARM_UP < short.max_steps < 400
    assert short.per_device_train_batch_size == training.per_device_train_batch_size


# The page.


class _Page(HTMLParser):
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


def test_the_page_needs_nothing_but_itself(dry):
    page = _Page((dry / "data_report.html").read_text())
    assert page.links == []
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert "url(" not in (dry / "data_report.html").read_text()


def test_names_of_files_are_text_on_the_page(dry):
    page = _Page((dry / "data_report.html").read_text())
    assert "b-<b>bold.mid" in "".join(page.words)
    assert page.tags.count("b") == 5 + 1  # the tiles and the minutes, nothing from a name


NASTY = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


def test_nothing_that_comes_from_files_is_markup(facts):
    def spoilt(value):
        if isinstance(value, dict):
            return {name: spoilt(each) for name, each in value.items()}
        if isinstance(value, list):
            return [spoilt(each) for each in value]
        return value + NASTY if isinstance(value, str) else value

    plain, nasty = _Page(as_html(facts)), _Page(as_html(spoilt(facts)))
    assert nasty.tags == plain.tags
    assert nasty.links == plain.links
    # By reason, names and sentences of files; names and hints of pieces; names of what is heard.
    assert "".join(nasty.words).count(NASTY) > 20


def test_page_and_terminal_say_the_same_figures(facts):
    words, text = " ".join(_Page(as_html(facts)).words), as_text(facts)
    for number in (facts["notes"], facts["tokens"]["epoch"], facts["files"]["found"]):
        assert f"{number:,}" in words
        assert f"{number:,}" in text
    assert f"Measured on {facts['estimate']['measured_steps']} real steps" in words
    assert f"measured on {facts['estimate']['measured_steps']} steps" in text


def test_names_lose_what_could_steer_a_terminal():
    (group,) = left_out([Skipped("a\x1b[2Jb\u202e.mid", "it cannot be read (\x1b[31mx).")])
    assert group["examples"][0] == {"name": "a[2Jb.mid", "why": "cannot be read ([31mx)."}
