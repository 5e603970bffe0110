"""The files that a command writes: checked before it composes, written whole or not at all."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from musiclstm.cli.console import print_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from musiclstm.audio.transcription import Transcription
    from musiclstm.audio.waveform import Audio
    from musiclstm.generation.composer import Composer
    from musiclstm.generation.composition import Composition
    from musiclstm.midi.analysis import AnyScore

_OUTPUTS = ("out", "audio", "roll", "recipe")  # arguments that name a file


def check_outputs(arguments: argparse.Namespace, *, takes: int = 1) -> None:
    """Check the output files of a command before it does anything slow.

    Args:
        arguments: Of the command.
        takes: Number of pieces; more than one get numbered files.

    Raises:
        ValueError: An ending is unknown, two outputs are one file, or a folder is missing or not
            writable.
        RenderError: Sound is requested, and FluidSynth, soundfile or a SoundFont is missing.
    """
    given = {name: getattr(arguments, name, None) for name in _OUTPUTS}
    paths = {name: path for name, path in given.items() if path}
    for name, path in paths.items():
        _check_ending(name, path)
    if len({Path(path).absolute() for path in paths.values()}) < len(paths):
        names = " and ".join(f"--{name}" for name in paths)
        raise ValueError(f"{names} must name different files.")
    for path in paths.values():
        _check_writable(_numbered(path, 1 if takes > 1 else None))
    if sounds_of(arguments):
        from musiclstm.audio.rendering import check_renderer

        check_renderer(arguments.soundfont)


def sounds_of(arguments: argparse.Namespace) -> list[str]:
    """Return the audio files that a command writes: `--out` with such an ending, and `--audio`."""
    named = (getattr(arguments, name, None) for name in ("out", "audio"))
    return [path for path in named if path and _ending(path) in _audio_formats()]


def write_piece(
    arguments: argparse.Namespace,
    composer: Composer,
    piece: Composition,
    number: int | None,
    *,
    heard: Transcription | None = None,
) -> None:
    """Write the requested files; `number` is added to their names.

    After a recording, whose transcription is `heard`, sound begins with the recording itself.
    """
    only_new = getattr(arguments, "only_new", False)
    score = piece.continuation if only_new else piece.score
    out = write_midi(arguments, piece.to_midi(only_new=only_new), number)
    notes = piece.continuation.note_num()
    print_line(f"{out}: {piece.bars} new bars, {notes} notes, random seed {piece.sampling.seed}")
    if (copy := composer.longest_copied_passage(piece)) is not None:
        print_line(f"{out}: {copy}")
    if number is not None and (reasons := str(composer.assess(piece))):
        print_line(f"{out}: {reasons}")
    if arguments.recipe and piece.recipe is not None:
        text = piece.recipe.to_json() + "\n"
        _write(arguments, _numbered(arguments.recipe, number), text.encode("ascii"))
    boundary = None if only_new or piece.prompt is None else piece.prompt_end_tick
    if heard is None or only_new:
        write_roll_and_audio(arguments, score, boundary, number)
        return
    from musiclstm.audio.transcription import join_recording

    def joined() -> Audio:
        return join_recording(
            arguments.recording, heard, piece.continuation, soundfont=arguments.soundfont
        )

    write_roll_and_audio(arguments, score, boundary, number, sound=joined)


def write_midi(arguments: argparse.Namespace, midi: bytes, number: int | None = None) -> Path:
    """Write the MIDI file, unless `--out` names an audio file; return the path of `--out`."""
    out = _numbered(arguments.out, number)
    if arguments.out not in sounds_of(arguments):
        _write(arguments, out, midi)
    return out


def write_roll_and_audio(
    arguments: argparse.Namespace,
    score: AnyScore,
    boundary: int | None,
    number: int | None = None,
    *,
    sound: Callable[[], Audio] | None = None,
) -> None:
    """Write the piano roll and the audio files, if requested.

    Args:
        arguments: Of the command.
        score: The piece.
        boundary: Tick where the new music begins. None: nowhere.
        number: Is added to the names of the files.
        sound: Returns the sound. None: the score is rendered.
    """
    if arguments.roll:
        from musiclstm.export.pianoroll_svg import pianoroll_svg
        from musiclstm.midi.sanitize import clean_text

        title = clean_text(_numbered(arguments.out, number).stem)
        svg = pianoroll_svg(score, prompt_end_tick=boundary, title=title)
        _write(arguments, _numbered(arguments.roll, number), svg.encode())
    if sounds := sounds_of(arguments):
        from musiclstm.audio.rendering import render

        audio = render(score, soundfont=arguments.soundfont) if sound is None else sound()
        for name in sounds:
            write_audio(arguments, audio, _numbered(name, number))


def write_audio(arguments: argparse.Namespace, audio: Audio, path: Path) -> None:
    """Write one audio file, and a line about it."""
    _write(arguments, path, audio.to_bytes(_ending(path)))
    print_line(f"{path}: {audio.seconds:.1f} s of audio, peak {audio.peak:.2f}")


def _write(arguments: argparse.Namespace, path: Path, data: bytes) -> None:
    """Write a file and note its path; a file that cannot be written whole is removed.

    Raises:
        OSError: It cannot be written; `filename` names it.
    """
    try:
        path.write_bytes(data)
    except BaseException as error:
        is_opened = getattr(error, "filename", None) is None
        if is_opened and path.is_file() and not path.is_symlink():
            path.unlink()
        if is_opened and isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    arguments.written.append(path)


def _check_ending(name: str, path: str) -> None:
    """Raise ValueError if an output does not end as its content asks for."""
    *sounds, last = (f".{ending}" for ending in _audio_formats())
    sound = f"{', '.join(sounds)} or {last}"
    allowed, advice = {
        "out": ((*_midi_endings(), *_audio_formats()), f".mid for MIDI, or {sound} for sound"),
        "audio": (_audio_formats(), sound),
        "roll": (("svg",), ".svg"),
    }.get(name, ((_ending(path),), ""))
    if _ending(path) not in allowed:
        raise ValueError(f"{Path(path).name!r} must end in {advice}.")


def _check_writable(path: Path) -> None:
    """Raise ValueError unless a file can be written there."""
    name, folder = repr(path.name), repr(str(path.parent))
    if path.is_dir():
        raise ValueError(f"{str(path)!r} is a folder; pass the name of a file.")
    if not path.parent.is_dir():
        what = "is not a folder" if path.parent.exists() else "does not exist"
        raise ValueError(f"{folder}, the folder for {name}, {what}; create it or pass another.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        where = name if path.exists() else f"in {folder}"
        raise ValueError(f"There is no permission to write {where}; pass another path.")


def _midi_endings() -> tuple[str, ...]:
    from musiclstm.midi.file_names import MIDI_ENDINGS

    return ("", *(each[1:] for each in MIDI_ENDINGS if each != ".rmi"))  # RIFF is only read


def _audio_formats() -> tuple[str, ...]:
    from musiclstm.audio.waveform import FORMATS

    return tuple(FORMATS)


def _ending(path: str | Path) -> str:
    """Return `mid` of `a.MID` and of `.mid`; empty: there is no ending."""
    _, dot, ending = Path(path).name.rpartition(".")
    return ending.lower() if dot else ""


def _numbered(path: str, number: int | None) -> Path:
    """Return `a-1.mid`, `a-2.mid` and so on; without a number the path itself."""
    file = Path(path)
    return file if number is None else file.with_stem(f"{file.stem}-{number}")
