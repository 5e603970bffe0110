"""The commands."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from musiclstm.cli.console import print_line
from musiclstm.cli.outputs import (
    check_outputs,
    write_audio,
    write_midi,
    write_piece,
    write_roll_and_audio,
)
from musiclstm.cli.settings import (
    constraints_of,
    note_constraints_of,
    sampling_of,
    surprise_of,
    transcription_of,
)

if TYPE_CHECKING:
    from musiclstm.audio.transcription import Transcription
    from musiclstm.generation.composer import Composer


def compose(arguments: argparse.Namespace) -> None:
    """Run `compose` or `extend`."""
    check_outputs(arguments, takes=arguments.takes)
    heard = _hear_prompt(arguments) if getattr(arguments, "midi", None) else None
    composer = _load_composer(arguments)
    start = time.monotonic()
    pieces = composer.compose_many(
        arguments.takes,
        bars=arguments.bars,
        prompt=getattr(arguments, "midi", None),
        prompt_bars=getattr(arguments, "prompt_bars", None),
        sampling=sampling_of(arguments),
        constraints=constraints_of(arguments, composer),
        surprise=surprise_of(arguments.surprise),
        references=arguments.reference or [],
        reference_bars=arguments.reference_bars,
    )
    seconds = time.monotonic() - start
    for number, piece in enumerate(composer.rank(pieces), start=1):
        write_piece(arguments, composer, piece, number if len(pieces) > 1 else None, heard=heard)
    print_line(f"composed in {seconds:.1f} s")


def _hear_prompt(arguments: argparse.Namespace) -> Transcription | None:
    """Print what is heard in a recording, or what `inspect` remarks about a MIDI file.

    Of a recording, its score becomes `arguments.midi`, and the file `arguments.recording`.
    """
    from musiclstm.midi.reader import read_midi

    heard = transcription_of(arguments)
    if heard is not None:
        print_line(str(heard))
        arguments.recording, arguments.midi = arguments.midi, heard.to_score()
        return heard
    _, summary = read_midi(arguments.midi)
    for remark in summary.remarks:
        print_line(f"{summary.name}: {remark}")
    return None


def _load_composer(arguments: argparse.Namespace) -> Composer:
    from musiclstm.generation.composer import Composer
    from musiclstm.model.checkpoint_files import DEFAULT

    return Composer.from_pretrained(arguments.model or DEFAULT)


def edit(arguments: argparse.Namespace) -> None:
    """Run `regenerate` or `accompany`."""
    from musiclstm.generation.constraints import Constraints

    check_outputs(arguments)
    composer = _load_composer(arguments)
    edit = composer.accompany if arguments.accompanies else composer.regenerate
    own = "programs" if arguments.accompanies else "bars"
    piece = edit(
        arguments.midi,
        parts=arguments.parts,
        sampling=sampling_of(arguments),
        constraints=Constraints(**note_constraints_of(arguments)),
        **{own: getattr(arguments, own)},
    )
    out = write_midi(arguments, piece.to_midi())
    first, last = piece.bars
    print_line(
        f"{out}: {piece.new_notes} new notes in bars {first} to {last}, random seed {piece.seed}"
    )
    write_roll_and_audio(arguments, piece.score, None)


def reproduce(arguments: argparse.Namespace) -> None:
    """Compose a piece again from the recipe in it."""
    from musiclstm.generation.recipe import read_recipe

    check_outputs(arguments)
    recipe = read_recipe(Path(arguments.piece).read_bytes())
    composer = _load_composer(arguments)
    references = arguments.reference or []
    piece = composer.reproduce(recipe, prompt=arguments.midi, references=references)
    write_piece(arguments, composer, piece, None)


def render(arguments: argparse.Namespace) -> None:
    """Render a MIDI file to an audio file."""
    from musiclstm.audio.rendering import render
    from musiclstm.midi.reader import read_midi

    check_outputs(arguments)
    score, _ = read_midi(arguments.midi)
    audio = render(
        score,
        soundfont=arguments.soundfont,
        reverb=not arguments.no_reverb,
        chorus=not arguments.no_chorus,
        gain_db=arguments.gain_db,
    )
    write_audio(arguments, audio, Path(arguments.audio))


def inspect(arguments: argparse.Namespace) -> None:
    """Print the summary of a MIDI file, or of a recording and its transcription."""
    from musiclstm.midi.reader import check_score, read_midi

    heard = transcription_of(arguments)
    if heard is None:
        _, summary = read_midi(arguments.midi)
        print_line(str(summary))
        return
    _, summary = check_score(heard.to_score(), name=heard.name)
    print_line(str(summary))
    print_line("  " + str(heard).replace("\n", "\n  "))


def transcribe(arguments: argparse.Namespace) -> None:
    """Write the notes of a recording to a MIDI file."""
    from musiclstm.errors import RecordingError
    from musiclstm.midi.score_tables import write_midi as midi_of

    check_outputs(arguments)
    heard = transcription_of(arguments)
    if heard is None:
        name = Path(arguments.midi).name
        raise RecordingError(f"{name!r} is no recording; pass wav, mp3, flac, ogg or opus.")
    out = write_midi(arguments, midi_of(heard.to_score()))
    print_line(f"{out}: {heard}")


def beats(arguments: argparse.Namespace) -> None:
    """Write a performance with the bars and the tempo that are found in it."""
    from musiclstm.midi.beats import find_beats
    from musiclstm.midi.reader import check_score, read_midi
    from musiclstm.midi.score_tables import write_midi as midi_of

    check_outputs(arguments)
    score, _ = read_midi(arguments.midi)
    found, summary = check_score(find_beats(score), name=Path(arguments.out).name)
    write_midi(arguments, midi_of(found))
    print_line(str(summary))


def tokens(arguments: argparse.Namespace) -> None:
    """Print the tokens of a MIDI file, one bar per line, or its token ids."""
    from musiclstm.midi.reader import read_midi
    from musiclstm.midi.score_ops import to_last_note
    from musiclstm.model.checkpoint_files import DEFAULT, find_checkpoint
    from musiclstm.tokens import MusicTokenizer

    tokenizer = MusicTokenizer.from_folder(find_checkpoint(arguments.model or DEFAULT))
    score, _ = read_midi(arguments.midi)
    ids = tokenizer.encode(to_last_note(score))
    if arguments.ids:
        print_line(" ".join(map(str, ids)))
        return
    names = [tokenizer.token_names[index] for index in ids]
    notes = sum(name.startswith("Pitch") for name in names)
    print_line(" ".join(names).replace(" Bar_None", "\nBar_None"))
    print_line(f"{len(ids)} tokens, {len(ids) / notes:.2f} per note")
