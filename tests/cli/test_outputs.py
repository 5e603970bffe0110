"""Output files: checked before anything is composed; sound by its ending."""

from __future__ import annotations

import os
import sys
import types

import pytest
import soundfile

from musiclstm import RendererMissingError, read_midi
from musiclstm.cli import main


@pytest.fixture
def no_network(monkeypatch):
    """Let a test fail if a command loads a network."""

    def load(*_args, **_options):
        raise AssertionError("a network is loaded")

    monkeypatch.setattr("musiclstm.generation.composer.Composer.from_pretrained", load)


COMMANDS = [["compose"], ["extend", "PROMPT"], ["regenerate", "PROMPT"], ["accompany", "PROMPT"]]
COMMANDS += [["reproduce", "PROMPT"], ["render", "PROMPT"]]


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_output_paths_are_checked_before_the_network_is_loaded(command, prompt, tmp_path, error_of):
    command = [str(prompt) if word == "PROMPT" else word for word in command]
    file = tmp_path / "file"
    file.write_bytes(b"")
    for out, facts in [
        (tmp_path / "nodir" / "x.wav", ["nodir", "does not exist"]),
        (file / "x.wav", ["is not a folder"]),
        (tmp_path / "x.aac", ["'x.aac'", ".wav, .mp3, .ogg or .flac"]),
        (tmp_path / "x.musicxml", ["'x.musicxml'"]),
    ]:
        error = error_of(*command, "--out", out)
        assert [fact for fact in facts if fact not in error] == []
    (tmp_path / "folder.wav").mkdir()
    assert "is a folder" in error_of(*command, "--out", tmp_path / "folder.wav")


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("option", "name", "fact"),
    [
        ("--audio", "x.aac", "must end in .wav, .mp3, .ogg or .flac"),
        ("--audio", "x", "must end in .wav"),
        ("--audio", "nodir/x.wav", "does not exist"),
        ("--roll", "x.png", "must end in .svg"),
        ("--recipe", "nodir/x.json", "does not exist"),
        ("--recipe", "a.mid", "must name different files"),
    ],
)
def test_other_outputs_are_checked_too(option, name, fact, tmp_path, monkeypatch, error_of):
    monkeypatch.chdir(tmp_path)
    assert fact in error_of("compose", "--out", "a.mid", option, name)


@pytest.mark.usefixtures("no_network")
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_without_permission_is_refused(tmp_path, error_of):
    tmp_path.chmod(0o500)
    assert "no permission" in error_of("compose", "--out", tmp_path / "a.mid")


@pytest.mark.usefixtures("no_network")
def test_a_refused_write_is_told_before_composing(tmp_path, monkeypatch, error_of):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "There is no permission to write" in error_of("compose", "--out", tmp_path / "a.mid")


@pytest.mark.usefixtures("no_network")
def test_a_missing_soundfont_is_told_before_composing(tmp_path, error_of):
    command = ["compose", "--out", tmp_path / "a.mid", "--audio", tmp_path / "a.wav"]
    assert "No SoundFont" in error_of(*command, "--soundfont", tmp_path / "none.sf2")


@pytest.mark.fluidsynth
@pytest.mark.parametrize("name", ["x.wav", "x.FLAC", "x.mp3", "x.ogg"])
def test_out_with_an_audio_ending_writes_sound(name, model, tmp_path, capsys):
    out = tmp_path / name
    command = ["compose", "--bars", "2", "--seed", "7", "--instruments", "0", *model]
    assert main([*command, "--out", str(out)]) == 0
    samples, rate = soundfile.read(out)
    assert rate == 44_100
    assert abs(samples).max() > 0.01
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert "2 new bars" in capsys.readouterr().out


@pytest.mark.fluidsynth
def test_edited_and_numbered_pieces_can_be_sound_too(model, prompt, tmp_path):
    seed = ["--seed", "7", "--candidates", "1", *model]
    command = ["regenerate", str(prompt), "--bars", "2", *seed]
    assert (
        main([*command, "--out", str(tmp_path / "a.wav"), "--audio", str(tmp_path / "a.ogg")]) == 0
    )
    assert (
        main(["compose", "--bars", "1", "--takes", "2", *seed, "--out", str(tmp_path / "b.wav")])
        == 0
    )
    names = {path.name for path in tmp_path.iterdir()} - {prompt.name}
    assert names == {"a.wav", "a.ogg", "b-1.wav", "b-2.wav"}
    assert all(soundfile.info(tmp_path / name).frames > 22_050 for name in names)


@pytest.mark.parametrize("name", ["tune.kar", "tune.smf", "tune.MID", "tune", ".mid"])
def test_midi_may_have_any_of_its_endings(name, model, tmp_path):
    out = tmp_path / name
    assert main(["compose", "--bars", "1", "--seed", "1", *model, "--out", str(out)]) == 0
    assert read_midi(out)[1].notes > 0


# A foreign package called fluidsynth --------------------------------------------------------------


@pytest.mark.parametrize("names", [{}, {"Synth": object}, {"__file__": "/lib/fluidsynth.py"}])
def test_a_foreign_fluidsynth_is_one_sentence(names, prompt, tmp_path, monkeypatch, error_of):
    module = types.ModuleType("fluidsynth")
    vars(module).update(names)
    monkeypatch.setitem(sys.modules, "fluidsynth", module)
    error = error_of("render", prompt, "--out", tmp_path / "a.wav")
    assert "pyfluidsynth" in error
    assert "another package" in error
    assert names.get("__file__", "") in error


@pytest.mark.parametrize("code", ["", "import urllib2", "print 'Python 2'", "raise NameError"])
def test_the_page_starts_without_sound_beside_a_foreign_fluidsynth(code, tmp_path, monkeypatch):
    from musiclstm.audio import load_instruments

    (tmp_path / "fluidsynth.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "fluidsynth", raising=False)
    with pytest.raises(RendererMissingError, match="another package"):
        load_instruments()  # `app.warm_up` catches this error
