"""The command line, called in process, and what it imports in a fresh one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from symusic import Score
from symusic.core import NoteTick, ScoreTick, TrackTick

from musiclstm import Recipe, read_midi, read_recipe
from musiclstm.cli import main
from musiclstm.generation import Assessment
from musiclstm.generation.recipe import MIDI_PREFIX
from musiclstm.memorization import MemorizationIndex
from musiclstm.midi import write_midi
from musiclstm.model import MEMORIZATION_FILE
from tests.malformed_midi.midi_builder import meta, midi, note, track

ROOT = Path(__file__).parents[2]


@pytest.fixture
def indexed(tiny_checkpoint, tmp_path):
    """Options for a checkpoint with an index of no pieces."""
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "indexed")
    MemorizationIndex.build([], []).save(folder / MEMORIZATION_FILE)
    return ["--model", str(folder)]


# Start --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["", "--help", "composs", "inspect FILE"])
def test_quick_commands_do_not_import_torch(words, prompt) -> None:
    code = (
        "import sys; from musiclstm.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "slow = {'torch', 'transformers', 'miditok'} | ({'numpy'} if not sys.argv[2:] else set())\n"
        "print(sorted(slow & {*sys.modules}))"
    )
    command = [sys.executable, "-c", code, *words.replace("FILE", str(prompt)).split()]
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert output.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "command",
    [
        *("compose", "extend", "regenerate", "accompany", "reproduce", "render", "inspect"),
        "tokens",
    ],
)
def test_every_command_prints_its_options(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"python -m musiclstm {command}" in text
    assert "--" in text.replace("--help", "") or command == "inspect"


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        (["compose", "--bars", "many", "--out", "a.mid"], "argument --bars"),
        (["compose", "--out", "a.mid", "--recall", "0.1"], "unrecognized arguments: --recall"),
        (["compose", "--out", "a.mid", "--range", "high"], "such as 40:55-88, got 'high'"),
        (["regenerate", "a.mid", "--out", "b.mid", "--bars", "x"], "such as 5-8 or 5, got 'x'"),
        (["composs"], "invalid choice: 'composs'"),
    ],
)
def test_a_wrong_argument_exits_with_status_1(words, fact, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 1
    assert fact in capsys.readouterr().err


# compose and extend -------------------------------------------------------------------------------


def test_compose_writes_the_requested_bars_and_the_same_bytes_for_a_seed(model, tmp_path, capsys):
    files = [tmp_path / name for name in ("a.mid", "b.mid")]
    for file in files:
        command = ["compose", "--bars", "3", "--seed", "7", "--instruments", "0,40", *model]
        assert main([*command, "--out", str(file)]) == 0
        assert "3 new bars" in capsys.readouterr().out
    assert read_midi(files[0])[1].notes > 0
    assert files[0].read_bytes() == files[1].read_bytes()


def test_sampling_options_are_used(model, tmp_path, error_of):
    out = tmp_path / "a.mid"
    command = ["compose", "--bars", "1", "--instruments", "0", "--out", str(out), *model]
    assert main([*command, "--copy-weight", "0.3", "--epsilon-cutoff", "0.001"]) == 0
    sampling = read_recipe(out.read_bytes()).steps[0].sampling
    assert (sampling.copy_weight, sampling.epsilon_cutoff) == (0.3, 0.001)
    assert "copy_weight must be from 0 to 2, got -1.0" in error_of(*command, "--copy-weight", "-1")


def test_extend_writes_the_prompt_first_unless_only_new(model, prompt, tmp_path):
    whole, new = tmp_path / "whole.mid", tmp_path / "new.mid"
    common = ["extend", str(prompt), "--bars", "2", "--seed", "1", *model]
    assert main([*common, "--out", str(whole)]) == 0
    assert main([*common, "--only-new", "--out", str(new)]) == 0
    before, after = read_midi(prompt)[0], read_midi(whole)[0]
    scale = after.ticks_per_quarter // before.ticks_per_quarter
    notes = [(n.time * scale, n.pitch, n.duration * scale) for n in before.tracks[0].notes]
    kept = [(n.time, n.pitch, n.duration) for n in after.tracks[0].notes]
    assert kept[: len(notes)] == notes
    assert read_midi(new)[1].notes == after.note_num() - 12 > 0


def test_prompt_bars_uses_the_first_bars_only(model, prompt, tmp_path):
    out = tmp_path / "b.mid"
    command = ["extend", str(prompt), "--prompt-bars", "1", "--bars", "1", "--seed", "1"]
    assert main([*command, "--out", str(out), *model]) == 0
    score = read_midi(out)[0]
    in_first_bar = [n for n in score.tracks[0].notes if n.time < 3 * score.ticks_per_quarter]
    assert len(in_first_bar) == 3
    assert score.end() <= 6 * score.ticks_per_quarter


@pytest.mark.parametrize("option", ["--takes", "--num-sequences"])
def test_alternatives_get_numbered_files_with_a_recipe_each(option, model, tmp_path):
    command = ["compose", "--bars", "1", option, "2", "--instruments", "0", *model]
    command += ["--out", str(tmp_path / "a.mid")]
    assert main([*command, "--recipe", str(tmp_path / "a.json")]) == 0
    for number in (1, 2):
        text = (tmp_path / f"a-{number}.json").read_text()
        assert Recipe.from_json(text) == read_recipe((tmp_path / f"a-{number}.mid").read_bytes())


def test_alternatives_are_numbered_by_rank_and_say_what_is_unusual(
    model, prompt, tmp_path, capsys, monkeypatch
):
    def assess(composer, piece, **options):
        score = float(piece.sampling.seed)
        return Assessment(score, (f"busy as {score:.0f}", "calm"), is_collapsed=score == 6)

    monkeypatch.setattr("musiclstm.generation.composer.Composer.assess", assess)
    command = ["extend", str(prompt), "--bars", "1", "--takes", "3", "--seed", "4", *model]
    assert main([*command, "--out", str(tmp_path / "a.mid")]) == 0
    printed = capsys.readouterr().out
    assert f"{tmp_path / 'a-1.mid'}: busy as 5; calm\n" in printed
    assert f"{tmp_path / 'a-2.mid'}: busy as 4; calm\n" in printed
    assert f"{tmp_path / 'a-3.mid'}: mostly silence" in printed


def test_a_piano_roll_can_be_drawn(model, prompt, tmp_path):
    roll = tmp_path / "roll.svg"
    command = ["extend", str(prompt), "--bars", "1", "--out", str(tmp_path / "b.mid"), *model]
    assert main([*command, "--roll", str(roll)]) == 0
    assert roll.read_text().startswith("<svg")


@pytest.mark.fluidsynth
def test_the_longest_passage_of_a_training_piece_is_printed(indexed, tmp_path, capsys):
    out = str(tmp_path / "piece.mid")
    assert main(["compose", "--bars", "1", "--seed", "1", "--out", out, *indexed]) == 0
    line = f"{out}: no passage of 16 notes is shared with a training piece\n"
    assert line in capsys.readouterr().out
    assert main(["reproduce", out, "--out", str(tmp_path / "again.mid"), *indexed]) == 0
    assert "is shared with a training piece" in capsys.readouterr().out


def test_compose_can_render_audio(model, tmp_path):
    audio = tmp_path / "a.wav"
    command = ["compose", "--bars", "4", "--seed", "7", "--instruments", "0", *model]
    command += ["--out", str(tmp_path / "a.mid")]
    assert main([*command, "--audio", str(audio)]) == 0
    samples, rate = soundfile.read(audio)
    assert rate == 44_100
    assert 0.01 < abs(samples).max() <= 1.0


# regenerate and accompany -------------------------------------------------------------------------


def test_regenerate_keeps_the_other_bars_and_accompany_adds_parts(model, prompt, tmp_path, capsys):
    out, roll = tmp_path / "a.mid", tmp_path / "a.svg"
    common = ["--seed", "7", "--candidates", "2", "--out", str(out), *model]
    command = ["regenerate", str(prompt), "--bars", "2-3", "--parts", "Melody", *common]
    assert main([*command, "--density", "2-9", "--roll", str(roll)]) == 0
    assert "new notes in bars 2 to 3, random seed 7" in capsys.readouterr().out
    before, after = (read_midi(file)[0].tracks[0].notes for file in (prompt, out))
    assert [n for n in after if not 1440 <= n.time < 4320] == [*before[:3], *before[9:]]
    assert [n for n in after if 1440 <= n.time < 4320] != before[3:9]
    assert roll.read_text().startswith("<svg")
    first = out.read_bytes()
    assert main([*command, "--density", "2-9"]) == 0
    assert out.read_bytes() == first
    assert main(["accompany", str(prompt), "--parts", "1", "--programs", "32,-1", *common]) == 0
    assert [track.program for track in read_midi(out)[1].tracks] == [40, 32, -1]


def test_regenerate_and_accompany_refuse_a_selection_of_everything(
    model, prompt, tmp_path, error_of
):
    common = [prompt, "--out", tmp_path / "a.mid", *model]
    assert "the whole piece" in error_of("regenerate", *common)
    assert "none is added" in error_of("accompany", *common)
    assert "no part '2'" in error_of("regenerate", *common, "--bars", "1", "--parts", "2")


# Other commands -----------------------------------------------------------------------------------


@pytest.mark.fluidsynth
def test_render_writes_an_audio_file(prompt, tmp_path):
    audio = tmp_path / "a.mp3"
    assert main(["render", str(prompt), "--out", str(audio)]) == 0
    samples, rate = soundfile.read(audio)
    assert len(samples) / rate > 6  # twelve quarters at 120
    assert abs(samples).max() > 0.01


def test_inspect_prints_a_summary(prompt, capsys):
    assert main(["inspect", str(prompt)]) == 0
    text = capsys.readouterr().out
    for fact in ("4 bars of 3/4 at 120 bpm", "12 notes", "Violin"):
        assert fact in text


def test_beats_writes_a_performance_with_its_own_bars(tmp_path, capsys):
    # A note a beat at 90 bpm, in a file of 120 bpm without a relation to it.
    onsets = [round(480 * 4 / 3 * beat + 37 * (beat % 3)) for beat in range(48)]
    take = ScoreTick(480)
    take.tracks.append(TrackTick("", 0))
    take.tracks[0].notes.extend([NoteTick(tick, 240, 60 + tick % 5, 80) for tick in onsets])
    played, out = tmp_path / "take.mid", tmp_path / "beats.mid"
    played.write_bytes(write_midi(take))
    assert main(["inspect", str(played)]) == 0
    assert "do not follow the bars" in capsys.readouterr().out
    assert main(["beats", str(played), "--out", str(out)]) == 0
    score, summary = read_midi(out)
    assert not summary.performed
    assert score.note_num() == 48


def test_tokens_prints_one_bar_per_line_or_ids(model, prompt, capsys, tiny_tokenizer):
    assert main(["tokens", str(prompt), *model]) == 0
    *bars, last = capsys.readouterr().out.splitlines()
    assert bars[0] == (
        "Bar_None TimeSig_3/4 Position_0 Tempo_122.99 Program_40 Position_0 Pitch_60 "
        "Duration_1.0.12 Position_12 Pitch_62 Duration_1.0.12 Position_24 Pitch_64 Duration_1.0.12"
    )
    assert [bar.split()[:2] for bar in bars] == [["Bar_None", "TimeSig_3/4"]] * 5
    assert bars[4] == "Bar_None TimeSig_3/4"  # starts where the last note ends
    assert last == "52 tokens, 4.33 per note"
    assert main(["tokens", str(prompt), "--ids", *model]) == 0
    ids = [int(word) for word in capsys.readouterr().out.split()]
    assert [tiny_tokenizer.token_names[token] for token in ids] == " ".join(bars).split()


@pytest.mark.parametrize("only_new", [[], ["--only-new"]])
def test_reproduce_gives_the_same_bytes(only_new, model, prompt, tmp_path):
    out, again = tmp_path / "a.mid", tmp_path / "again.mid"
    command = ["extend", str(prompt), "--prompt-bars", "2", "--bars", "2", "--ending", *only_new]
    assert main([*command, "--out", str(out), *model]) == 0
    same = ["reproduce", str(out), "--midi", str(prompt), *only_new, "--out", str(again), *model]
    assert main(same) == 0
    assert again.read_bytes() == out.read_bytes()


def test_references_are_read_and_needed_again(model, prompt, tmp_path, error_of):
    out, again = tmp_path / "a.mid", tmp_path / "x.mid"
    reference = ["--reference", str(prompt)]
    command = ["compose", "--bars", "1", "--seed", "1", *reference, "--reference-bars", "2", *model]
    assert main([*command, "--out", str(out)]) == 0
    recipe = read_recipe(out.read_bytes())
    assert (len(recipe.references), recipe.reference_bars) == (1, 2)
    assert main(["reproduce", str(out), *reference, "--out", str(again), *model]) == 0
    assert again.read_bytes() == out.read_bytes()
    error = error_of("reproduce", out, "--out", again, *model)
    assert "This recipe has 1 references, and 0 were passed" in error


def test_the_old_name_again_reproduces_a_new_piece(model, tmp_path):
    out, again = tmp_path / "a.mid", tmp_path / "again.mid"
    command = ["compose", "--bars", "2", "--surprise", "bold", "--instruments", "0,-1"]
    assert main([*command, "--out", str(out), *model]) == 0
    assert main(["again", str(out), "--out", str(again), *model]) == 0
    assert again.read_bytes() == out.read_bytes()


def test_extend_tells_what_inspect_remarks_about_the_prompt(model, prompt, tmp_path, capsys):
    song, out = tmp_path / "song.mid", tmp_path / "out.mid"
    lyric = track(meta(5, b"la"), b"\0\xd0\x40", note(60))
    song.write_bytes(midi(lyric))
    assert main(["extend", str(song), "--bars", "1", "--out", str(out), *model]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "song.mid: repaired: left out 1 value of aftertouch",
        "song.mid: not kept in a continuation: 1 lyric",
    ]
    assert main(["extend", str(prompt), "--bars", "1", "--out", str(out), *model]) == 0
    assert capsys.readouterr().out.startswith(str(out))


# Errors -------------------------------------------------------------------------------------------

BAD_FILES = {
    "text.mid": (b"Dear all, please find attached", "is not a MIDI file"),
    "empty.mid": (b"", "is empty"),
    "silent.mid": (
        b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\x01\xe0MTrk\x00\x00\x00\x04\x00\xff\x2f\x00",
        "no notes",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_an_unreadable_file_is_an_error_in_every_command(name, model, tmp_path, error_of):
    content, fact = BAD_FILES[name]
    path, out = tmp_path / name, tmp_path / "out.mid"
    path.write_bytes(content)
    for command in (
        ["extend", path, "--out", out, *model],
        ["render", path, "--out", tmp_path / "o.wav"],
        ["inspect", path],
        ["tokens", path, *model],
    ):
        error = error_of(*command)
        assert name in error
        assert fact in error
    assert not out.exists()


def test_invalid_values_and_paths_are_errors(model, tmp_path, monkeypatch, error_of):
    monkeypatch.chdir(tmp_path)
    compose = ["compose", "--out", "a.mid", *model]
    assert "bars must be a whole number from 1 to 4096, got 0" in error_of(*compose, "--bars", "0")
    assert "temperature must be 0 or more" in error_of(*compose, "--temperature", "-0.5")
    assert "got '0,x'" in error_of(*compose, "--surprise", "0,x")
    assert "nowhere.mid" in error_of("inspect", "nowhere.mid")
    assert "'no/such-model'" in error_of("compose", "--out", "a.mid", "--model", "no/such-model")


def test_reproduce_refuses_other_files(model, prompt, tmp_path, error_of):
    out, again = tmp_path / "a.mid", tmp_path / "x.mid"
    command = ["extend", str(prompt), "--bars", "1", "--density", "4-8", "--out", str(out), *model]
    assert main(command) == 0
    for arguments, fact in [
        ([prompt], "no recipe"),
        ([out], "continues a file with SHA-256"),
        ([out, "--midi", out], "and the prompt is a file with SHA-256"),
        ([tmp_path / "nowhere.mid"], "error: 'nowhere.mid'"),
    ]:
        assert fact in error_of("reproduce", *arguments, "--out", again, *model)
    assert not again.exists()


def test_files_of_version_0_2_are_refused(model, tmp_path, tiny_checkpoint, error_of):
    old, out = tmp_path / "old.mid", tmp_path / "x.mid"
    recipe = '{"format":2,"musiclstm":"0.1.0","model":"default","weights":"","precision":"int8"}'
    old.write_bytes(write_midi(Score(480), text=MIDI_PREFIX + recipe))
    assert "musiclstm 0.2" in error_of("reproduce", old, "--out", out, *model)
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "folder")
    (folder / "miditok_remi.json").rename(folder / "tokenizer.json")
    error = error_of("compose", "--out", out, "--model", folder)
    assert "is a checkpoint of musiclstm 0.2" in error
