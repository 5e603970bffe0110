"""The command line, called in process."""

from __future__ import annotations

import shutil

import pytest
import soundfile
from symusic import Note, Score, TimeSignature, Track

from musiclstm import Recipe, read_midi, read_recipe
from musiclstm.cli import main
from musiclstm.midi.embedded_text import embed_text


@pytest.fixture
def seed(tmp_path):
    """Four bars of three-four on a violin."""
    score = Score(480)
    score.time_signatures.append(TimeSignature(0, 3, 4))
    track = Track("Melody", 40, False)
    for beat in range(12):
        track.notes.append(Note(480 * beat, 480, 60 + 2 * (beat % 5), 90))
    score.tracks.append(track)
    path = tmp_path / "seed.mid"
    path.write_bytes(score.dumps_midi())
    return path


@pytest.fixture
def model(tiny_checkpoint):
    return ["--model", str(tiny_checkpoint)]


def test_compose_writes_a_piece_of_so_many_bars(model, tmp_path, capsys):
    out = tmp_path / "a.mid"
    command = ["compose", "--bars", "3", "--seed", "7", "--instruments", "0,40", *model]
    assert main([*command, "--out", str(out)]) == 0
    assert "3 new bars" in capsys.readouterr().out
    assert read_midi(out)[1].notes > 0


def test_the_same_seed_writes_the_same_bytes(model, tmp_path):
    files = [tmp_path / name for name in ("a.mid", "b.mid")]
    for file in files:
        command = ["compose", "--bars", "2", "--seed", "7", "--instruments", "0,40", *model]
        assert main([*command, "--out", str(file)]) == 0
    assert files[0].read_bytes() == files[1].read_bytes()


def test_copying_and_the_cutoff_can_be_chosen(model, tmp_path, capsys):
    out = tmp_path / "a.mid"
    command = ["compose", "--bars", "1", "--instruments", "0", "--out", str(out), *model]
    assert main([*command, "--copy-weight", "0.3", "--epsilon-cutoff", "0.001"]) == 0
    sampling = read_recipe(out.read_bytes()).steps[0].sampling
    assert (sampling.copy_weight, sampling.epsilon_cutoff) == (0.3, 0.001)
    assert main([*command, "--copy-weight", "-1"]) == 1
    assert "copy_weight must be from 0 to 2, got -1.0; 0 ignores" in capsys.readouterr().err
    assert main([*command, "--epsilon-cutoff", "2"]) == 1
    assert "epsilon_cutoff must be from 0 to 1, got 2.0; 0 is off" in capsys.readouterr().err


@pytest.mark.parametrize("old", ["--recall", "--floor"])
def test_options_of_version_0_2_are_refused(old, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["compose", "--out", "a.mid", old, "0.1"])
    assert stop.value.code == 1
    assert f"unrecognized arguments: {old}" in capsys.readouterr().err


def test_extend_keeps_the_seed_in_front(model, seed, tmp_path):
    out = tmp_path / "b.mid"
    command = ["extend", str(seed), "--bars", "2", "--seed", "1", "--out", str(out), *model]
    assert main(command) == 0
    before, after = read_midi(seed)[0], read_midi(out)[0]
    scale = after.ticks_per_quarter // before.ticks_per_quarter
    notes = [(n.time * scale, n.pitch, n.duration * scale) for n in before.tracks[0].notes]
    kept = [(n.time, n.pitch, n.duration) for n in after.tracks[0].notes]
    assert kept[: len(notes)] == notes
    assert after.note_num() > before.note_num()


def test_only_new_leaves_the_seed_out(model, seed, tmp_path):
    whole, new = tmp_path / "whole.mid", tmp_path / "new.mid"
    common = ["extend", str(seed), "--bars", "2", "--seed", "1", *model]
    assert main([*common, "--out", str(whole)]) == 0
    assert main([*common, "--only-new", "--out", str(new)]) == 0
    assert read_midi(new)[1].notes == read_midi(whole)[1].notes - 12


def test_prompt_bars_uses_the_beginning_only(model, seed, tmp_path):
    out = tmp_path / "b.mid"
    command = ["extend", str(seed), "--prompt-bars", "1", "--bars", "1", "--seed", "1"]
    assert main([*command, "--out", str(out), *model]) == 0
    score = read_midi(out)[0]
    in_first_bar = [n for n in score.tracks[0].notes if n.time < 3 * score.ticks_per_quarter]
    assert len(in_first_bar) == 3
    assert score.end() <= 6 * score.ticks_per_quarter


def test_a_roll_can_be_drawn_beside(model, seed, tmp_path):
    roll = tmp_path / "roll.svg"
    command = ["extend", str(seed), "--bars", "1", "--out", str(tmp_path / "b.mid"), *model]
    assert main([*command, "--roll", str(roll)]) == 0
    assert roll.read_text().startswith("<svg")


@pytest.mark.fluidsynth
def test_compose_can_render_at_once(model, tmp_path):
    audio = tmp_path / "a.wav"
    command = ["compose", "--bars", "2", "--seed", "7", "--instruments", "0", *model]
    command += ["--out", str(tmp_path / "a.mid")]
    assert main([*command, "--audio", str(audio)]) == 0
    samples, rate = soundfile.read(audio)
    assert rate == 44_100
    assert 0.01 < abs(samples).max() <= 1.0


@pytest.mark.fluidsynth
@pytest.mark.parametrize("suffix", ["wav", "mp3"])
def test_render_plays_a_file(seed, tmp_path, suffix):
    audio = tmp_path / f"a.{suffix}"
    assert main(["render", str(seed), "--out", str(audio)]) == 0
    samples, rate = soundfile.read(audio)
    assert len(samples) / rate > 6  # twelve quarters at 120
    assert abs(samples).max() > 0.01


def test_inspect_says_what_would_be_read(seed, capsys):
    assert main(["inspect", str(seed)]) == 0
    said = capsys.readouterr().out
    assert "4 bars of 3/4 at 120 bpm" in said
    assert "12 notes" in said
    assert "Violin" in said


def test_tokens_prints_a_bar_a_line(model, seed, capsys):
    assert main(["tokens", str(seed), *model]) == 0
    *bars, last = capsys.readouterr().out.splitlines()
    assert bars[0] == (
        "Bar_None TimeSig_3/4 Position_0 Tempo_122.99 Program_40 Position_0 Pitch_60 "
        "Duration_1.0.12 Position_12 Pitch_62 Duration_1.0.12 Position_24 Pitch_64 Duration_1.0.12"
    )
    assert [bar.split()[:2] for bar in bars] == [["Bar_None", "TimeSig_3/4"]] * 5
    assert bars[4] == "Bar_None TimeSig_3/4"  # begins where the last note ends
    assert last == "52 tokens, 4.33 a note"


def test_tokens_can_print_ids(model, seed, capsys, tiny_tokenizer):
    assert main(["tokens", str(seed), *model]) == 0
    *bars, _ = capsys.readouterr().out.splitlines()
    assert main(["tokens", str(seed), "--ids", *model]) == 0
    ids = [int(word) for word in capsys.readouterr().out.split()]
    assert [tiny_tokenizer.token_names[token] for token in ids] == " ".join(bars).split()


def test_tokens_tell_tracks_of_one_program_apart(model, tmp_path, capsys):
    score = Score(480)
    for pitch in (60, 80):
        track = Track("Violin", 40, False)
        track.notes.append(Note(0, 480, pitch, 90))
        score.tracks.append(track)
    (tmp_path / "duo.mid").write_bytes(score.dumps_midi())
    assert main(["tokens", str(tmp_path / "duo.mid"), *model]) == 0
    words = capsys.readouterr().out.split()
    blocks = " ".join(words[words.index("Program_40") :]).split("Program_40 ")[1:]
    assert [block.split()[1] for block in blocks] == ["Pitch_80", "Pitch_60"]


BAD_FILES = {
    "text.mid": (b"Dear all, please find attached", "is not a MIDI file"),
    "empty.mid": (b"", "is empty"),
    "cut.mid": (b"MThd\x00\x00\x00\x06\x00\x01\x00\x02", "breaks off"),
    "silent.mid": (
        b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\x01\xe0MTrk\x00\x00\x00\x04\x00\xff\x2f\x00",
        "no notes",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
@pytest.mark.parametrize("command", ["extend", "inspect", "render", "tokens"])
def test_a_bad_file_is_one_sentence_and_status_1(name, command, model, tmp_path, capsys):
    content, sentence = BAD_FILES[name]
    path, out = tmp_path / name, tmp_path / "out.mid"
    path.write_bytes(content)
    extra = {"extend": [*model, "--out", str(out)], "render": ["--out", str(tmp_path / "o.wav")]}
    assert (
        main([command, str(path), *extra.get(command, model if command == "tokens" else [])]) == 1
    )
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert name in error
    assert sentence in error
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["compose", "--bars", "0", "--out", "a.mid"], "bars must be from 1 to 4096, got 0"),
        (["compose", "--temperature", "-0.5", "--out", "a.mid"], "temperature must be 0 or more"),
        (["inspect", "nowhere.mid"], "nowhere.mid"),
    ],
)
def test_a_slip_is_one_sentence(arguments, sentence, model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, *(model if arguments[0] == "compose" else [])]) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_a_model_that_is_not_there_is_one_sentence(tmp_path, capsys):
    command = ["compose", "--out", str(tmp_path / "a.mid"), "--model", "no/such-model"]
    assert main(command) == 1
    assert "'no/such-model'" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_one_sentence(model, tmp_path, capsys):
    command = ["compose", "--bars", "1", "--out", str(tmp_path / "nowhere" / "a.mid"), *model]
    assert main(command) == 1
    assert capsys.readouterr().err.startswith("error: 'a.mid'")


def test_a_wrong_argument_ends_with_status_1(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["compose", "--bars", "many", "--out", "a.mid"])
    assert stop.value.code == 1
    assert "error: argument --bars" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["compose", "extend", "again", "render", "inspect", "tokens"])
def test_every_command_prints_its_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"python -m musiclstm {command}" in capsys.readouterr().out


# -- The same again ------------------------------------------------------------------------------


def test_a_recipe_can_be_written_beside_the_piece(model, seed, tmp_path):
    out, recipe = tmp_path / "b.mid", tmp_path / "b.json"
    command = ["extend", str(seed), "--bars", "2", "--seed", "1", "--out", str(out), *model]
    assert main([*command, "--recipe", str(recipe)]) == 0
    assert Recipe.from_json(recipe.read_text()) == read_recipe(out.read_bytes())


def test_again_makes_a_piece_from_nothing(model, tmp_path):
    out, again = tmp_path / "a.mid", tmp_path / "again.mid"
    command = ["compose", "--bars", "2", "--surprise", "bold", "--instruments", "0,-1"]
    assert main([*command, "--out", str(out), *model]) == 0
    assert main(["again", str(out), "--out", str(again), *model]) == 0
    assert again.read_bytes() == out.read_bytes()


@pytest.mark.parametrize("only_new", [[], ["--only-new"]])
def test_again_makes_a_piece_from_its_seed(only_new, model, seed, tmp_path):
    out, again = tmp_path / "a.mid", tmp_path / "again.mid"
    command = ["extend", str(seed), "--prompt-bars", "2", "--bars", "2", "--ending", *only_new]
    assert main([*command, "--out", str(out), *model]) == 0
    same = ["again", str(out), "--midi", str(seed), *only_new, "--out", str(again), *model]
    assert main(same) == 0
    assert again.read_bytes() == out.read_bytes()


def test_several_takes_have_a_recipe_each(model, tmp_path):
    command = ["compose", "--bars", "1", "--takes", "2", "--instruments", "0", *model]
    command += ["--out", str(tmp_path / "a.mid")]
    assert main([*command, "--recipe", str(tmp_path / "a.json")]) == 0
    for number in (1, 2):
        text = (tmp_path / f"a-{number}.json").read_text()
        assert Recipe.from_json(text) == read_recipe((tmp_path / f"a-{number}.mid").read_bytes())


def test_again_refuses_in_one_sentence(model, seed, tmp_path, capsys):
    out = tmp_path / "a.mid"
    command = ["extend", str(seed), "--bars", "1", "--density", "4-8", "--out", str(out), *model]
    assert main(command) == 0
    capsys.readouterr()
    for arguments, sentence in [
        ([str(seed)], "error: This file has no recipe in it"),
        ([str(out)], "error: This recipe continues a file with SHA-256"),
        ([str(out), "--midi", str(out)], "and the prompt is a file with SHA-256"),
        ([str(tmp_path / "nowhere.mid")], "error: 'nowhere.mid'"),
    ]:
        assert main(["again", *arguments, "--out", str(tmp_path / "x.mid"), *model]) == 1
        error = capsys.readouterr().err
        assert sentence in error
        assert error.count("\n") == 1
    assert not (tmp_path / "x.mid").exists()


def test_what_version_0_2_made_is_refused_with_that_version(
    model, tmp_path, capsys, tiny_checkpoint
):
    old = tmp_path / "old.mid"
    recipe = '{"format":2,"musiclstm":"0.1.0","model":"default","weights":"","precision":"int8"}'
    old.write_bytes(embed_text(bytes(Score(480).dumps_midi()), recipe))
    out = ["--out", str(tmp_path / "x.mid")]
    assert main(["again", str(old), *out, *model]) == 1
    error = capsys.readouterr().err
    assert "follow it with musiclstm 0.2" in error
    assert error.count("\n") == 1
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "folder")
    (folder / "miditok_remi.json").rename(folder / "tokenizer.json")
    assert main(["compose", *out, "--model", str(folder)]) == 1
    assert "is a checkpoint of musiclstm 0.2" in capsys.readouterr().err
