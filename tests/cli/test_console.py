"""The command in consoles of other encodings, with closed pipes, full disks and Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from symusic import Note, Score, Track

from musiclstm import __main__
from musiclstm.cli import main, run_command

NAME = "ピアノ ♪"
CONSOLES = [
    {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONIOENCODING": "ascii:strict"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
unix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and pipes")


def start(*words, stdout=subprocess.PIPE, module="musiclstm", **variables):
    command = [sys.executable, "-m", module, *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **variables}
    # A shell starts background jobs with SIGINT ignored, and children would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, env=environment)
    finally:
        signal.signal(signal.SIGINT, before)


def run(*words, stdout=subprocess.PIPE, **variables):
    """Return exit status, stdout and stderr of a command in a process of its own."""
    with start(*words, stdout=stdout, **variables) as process:
        out, error = process.communicate()
    return process.returncode, out or b"", error.decode("ascii", "backslashreplace")


@pytest.fixture
def japanese(tmp_path):
    score, track = Score(480), Track(NAME, 0, False)
    track.notes.append(Note(0, 480, 60, 90))
    score.tracks.append(track)
    path = tmp_path / "曲.mid"
    path.write_bytes(score.dumps_midi())
    return path


# Encodings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("variables", CONSOLES)
def test_names_that_the_console_cannot_show_are_escaped(variables, japanese):
    status, out, error = run("inspect", japanese, **variables)
    assert (status, error) == (0, "")
    assert b"\\u30d4\\u30a2\\u30ce \\u266a" in out


@pytest.mark.parametrize("variables", CONSOLES)
def test_a_piece_with_any_name_is_written_in_any_console(variables, model, tmp_path):
    files = [tmp_path / f"新しい{ending}" for ending in (".mid", ".svg", ".json")]
    command = ["compose", "--bars", "1", "--instruments", "0", *model]
    command += ["--out", files[0], "--roll", files[1], "--recipe", files[2]]
    status, out, error = run(*command, **variables)
    assert (status, error) == (0, "")
    assert b"1 new bars" in out
    assert [file.stat().st_size > 0 for file in files] == [True] * 3


def test_bytes_of_a_file_name_are_printed_as_they_are(model, tmp_path):
    variables = CONSOLES[-1]
    status, out, _ = run("compose", "--bars", "1", *model, "--out", tmp_path / "é.mid", **variables)
    assert status == 0
    assert os.fsencode(tmp_path / "é.mid") in out


@pytest.mark.parametrize("variables", CONSOLES)
def test_an_error_names_the_file_in_any_console(variables, tmp_path):
    status, _, error = run("inspect", tmp_path / "無い.mid", **variables)
    assert status == 1
    assert error.startswith("error: ")
    assert "does not exist" in error
    assert error.count("\n") == 1


# Pipes and disks ----------------------------------------------------------------------------------


@unix
@pytest.mark.parametrize("words", [("inspect", "FILE"), ("tokens", "FILE"), ("--help",)])
def test_a_closed_pipe_ends_the_command_quietly(words, prompt, model):
    reader, writer = os.pipe()
    os.close(reader)
    words = [str(prompt) if word == "FILE" else word for word in words]
    status, _, error = run(*words, *(model if words[0] == "tokens" else []), stdout=writer)
    os.close(writer)
    assert (status, error) == (141, "")


@unix
@pytest.mark.parametrize(
    "module", ["training.prepare", "hub.space", "benchmarks.quality.midi_levels"]
)
def test_other_commands_of_the_repository_end_quietly_too(module):
    reader, writer = os.pipe()
    os.close(reader)
    # argparse ignores errors of what it prints, but not those of what is printed at the end.
    status, _, error = run("--help", stdout=writer, module=module, PYTHONUNBUFFERED="")
    os.close(writer)
    assert (status, error) == (141, "")


@pytest.mark.parametrize(
    ("raised", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "error: interrupted.\n"),
        (OSError(28, "No space left on device", "/x/a.npz"), 1, "error: 'a.npz' cannot be read"),
        (OSError(28, "No space left on device"), 1, "error: A file cannot be read or written (No"),
    ],
)
def test_what_ends_a_command_is_one_line(raised, status, line, capsys):
    def command():
        raise raised

    assert run_command(command) == status
    error = capsys.readouterr().err
    assert error.startswith(line)
    assert error.count("\n") == 1


def test_every_command_ends_as_those_of_the_library_do():
    root = Path(__file__).parents[2]
    folders = (root / name for name in ("training", "hub", "benchmarks"))
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        end = path.read_text(encoding="utf-8").partition('if __name__ == "__main__":')[2]
        starts_atheris = path.name == "fuzz_midi.py"  # which ends the process
        assert not end or starts_atheris or "run_command(main)" in end, path


@needs_full
def test_a_full_disk_is_told_with_the_name_of_the_file(prompt, model):
    with FULL.open("wb") as full:
        status, _, error = run("inspect", prompt, stdout=full)
    assert status == 1
    assert error == (
        "error: 'standard output' cannot be read or written (No space left on device); pass "
        "another path.\n"
    )
    status, out, error = run("compose", "--bars", "1", "--out", FULL, *model)
    assert (status, out) == (1, b"")
    assert error.startswith("error: 'full' cannot be read or written (No space left on device)")


def test_a_file_that_cannot_be_written_whole_is_removed(model, tmp_path, monkeypatch, error_of):
    def write_half(path, data):
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    error = error_of("compose", "--bars", "1", "--out", tmp_path / "a.mid", *model)
    assert "'a.mid'" in error
    assert "No space left" in error
    assert list(tmp_path.iterdir()) == []


def test_a_command_without_stdout_works(prompt, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["inspect", str(prompt)]) == 0


# Ctrl-C -------------------------------------------------------------------------------------------


def interrupt(*_args, **_options):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("where", "written"),
    [
        ("musiclstm.generation.composer.Composer.from_pretrained", []),
        ("musiclstm.generation.composer.Composer.compose_many", []),
        ("pathlib.Path.write_bytes", []),
        ("musiclstm.cli.outputs.write_roll_and_audio", ["a.mid", "a.json"]),
    ],
)
def test_ctrl_c_names_what_was_written(where, written, model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(where, interrupt)
    command = ["compose", "--bars", "1", *model, "--out", tmp_path / "a.mid"]
    command += ["--recipe", tmp_path / "a.json", "--roll", tmp_path / "a.svg"]
    assert main(list(map(str, command))) == 130
    names = " and ".join(str(tmp_path / name) for name in written)
    expected = f"{names} were" if written else "nothing was"
    assert capsys.readouterr().err == f"error: interrupted; {expected} written.\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(written)


@unix
def test_a_signal_names_what_was_written(model, tmp_path):
    """The command waits for a reader of the named pipe when the signal arrives."""
    out, roll = tmp_path / "a.mid", tmp_path / "a.svg"
    os.mkfifo(roll)
    command = ["compose", "--bars", "1", *model, "--out", out, "--roll", roll]
    with start(*command, PYTHONUNBUFFERED="1") as process:
        assert process.stdout is not None
        assert b"1 new bars" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.decode() == f"error: interrupted; {out} was written.\n"


def test_ctrl_c_during_the_imports_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr("musiclstm.cli.main", interrupt)
    assert __main__.main() == 130
    assert capsys.readouterr().err == "error: interrupted; nothing was written.\n"
