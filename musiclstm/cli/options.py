"""Options that several commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from musiclstm.cli.values import meter, pitch_range, programs, two_numbers

if TYPE_CHECKING:
    from musiclstm.generation.decoding.sampling import Sampling


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add the files of a piece that has a recipe."""
    add_files(parser)
    parser.add_argument("--recipe", metavar="FILE.json", help="also write the recipe")


def add_files(parser: argparse.ArgumentParser) -> None:
    """Add the files of any piece."""
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help="the file to write: MIDI, or sound if " + audio_formats(),
    )
    parser.add_argument("--audio", metavar="FILE", help=f"also render it; {audio_formats()}")
    parser.add_argument("--roll", metavar="FILE.svg", help="also draw a piano roll")
    parser.add_argument("--soundfont", metavar="FILE.sf2", help="a SoundFont for --audio")


def audio_formats() -> str:
    """Return the help text on endings of audio files."""
    from musiclstm.audio.waveform import FORMATS

    return f"the name ends in {', '.join(FORMATS)}"


def add_generation(parser: argparse.ArgumentParser) -> None:
    """Add all options of `compose` and `extend`."""
    from musiclstm.generation.decoding.sampling import Sampling
    from musiclstm.generation.prompt import DEFAULT_BARS

    defaults = Sampling()
    parser.add_argument(
        "--bars", type=int, default=DEFAULT_BARS, help="new bars (default: %(default)s)"
    )
    add_outputs(parser)
    add_sampling(parser, defaults)
    parser.add_argument(
        "--num-sequences",
        "--takes",
        dest="takes",
        type=int,
        default=1,
        metavar="N",
        help="alternatives to compose, in numbered files, the best first (default: 1)",
    )
    parser.add_argument(
        "--surprise",
        default="off",
        metavar="WHEN",
        help="off, gentle, bold, or an amount from 0 to 1 for every bar: 0,0,0.8 (default: off)",
    )
    add_reference(parser)
    parser.add_argument(
        "--reference-bars",
        type=int,
        metavar="N",
        help="read only the first N bars of each reference (default: all)",
    )
    _add_constraints(parser.add_argument_group("constraints (default: those of the prompt)"))
    add_advanced_sampling(parser.add_argument_group("advanced sampling"), defaults)
    add_model(parser)


def add_reference(parser: argparse.ArgumentParser) -> None:
    """Add `--reference`."""
    parser.add_argument(
        "--reference",
        action="append",
        metavar="FILE.mid",
        help="another piece of the same style that is read first; up to 8 times",
    )


def add_recording(parser: argparse.ArgumentParser) -> None:
    """Add what can be wrong in a transcription."""
    group = parser.add_argument_group("recordings (of a .mid file these are ignored)")
    group.add_argument(
        "--heard-from", type=float, default=0.0, metavar="SECONDS", help="where to begin to listen"
    )
    group.add_argument(
        "--heard-tempo", choices=("half", "double"), help="correct the tempo that was heard"
    )
    group.add_argument(
        "--heard-meter", type=int, metavar="N", help="beats of a bar (default: 2, 3 or 4)"
    )
    group.add_argument(
        "--heard-shift", type=int, default=0, metavar="N", help="move the bar lines by N beats"
    )
    group.add_argument(
        "--heard-voices", choices=("one", "many"), help="a melody alone, or more (default: by ear)"
    )


def add_sampling(parser: argparse.ArgumentParser, defaults: Sampling) -> None:
    """Add temperature, top-p and random seed."""
    parser.add_argument(
        "--temperature",
        type=float,
        default=defaults.temperature,
        help="0: always the most probable token; 1: as trained; more: more varied "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--top-p",
        type=float,
        default=defaults.top_p,
        help="nucleus sampling (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, help="random seed; the same seed gives the same piece")


def _add_constraints(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--meter", type=meter, metavar="3/4", help="meter of every bar")
    group.add_argument("--tempo", type=float, metavar="BPM", help="quarter notes per minute")
    group.add_argument(
        "--instruments",
        type=programs,
        metavar="0,violin,drums",
        help="General MIDI names or programs, -1 for drums",
    )
    group.add_argument("--ending", action="store_true", help="lead the last bars to a close")
    add_note_constraints(group)


def add_note_constraints(group: argparse._ArgumentGroup) -> None:
    """Add the constraints that concern single notes."""
    group.add_argument("--key", help="such as 'D minor' or 'F# dorian'; prompt: that of the prompt")
    group.add_argument(
        "--range",
        type=pitch_range,
        action="append",
        metavar="40:55-88",
        help="lowest and highest pitch of a program; may be given several times",
    )
    group.add_argument("--polyphony", type=int, metavar="N", help="most notes sounding together")
    group.add_argument("--density", type=two_numbers, metavar="4-16", help="notes in every bar")
    group.add_argument(
        "--free-lines",
        action="store_true",
        help="parts that play one note at a time in the prompt may play chords",
    )
    group.add_argument(
        "--max-copied-notes",
        type=int,
        metavar="N",
        help="share at most N notes in a row with a training piece, 24 or more",
    )


def add_advanced_sampling(group: argparse._ArgumentGroup, defaults: Sampling) -> None:
    """Add the other fields of `Sampling`."""
    group.add_argument("--top-k", type=int, default=defaults.top_k, help="0: off (the default)")
    group.add_argument("--min-p", type=float, default=defaults.min_p, help="0: off (the default)")
    group.add_argument(
        "--epsilon-cutoff",
        type=float,
        default=defaults.epsilon_cutoff,
        help="least probability of a token; 0: off (the default)",
    )
    group.add_argument("--pitch-temperature", type=float, help="(default: as --temperature)")
    group.add_argument("--rhythm-temperature", type=float, help="(default: as --temperature)")
    group.add_argument(
        "--repetition-penalty",
        type=float,
        default=defaults.repetition_penalty,
        help="above 1: a bar that repeats often becomes less likely (default: %(default)s)",
    )
    group.add_argument(
        "--copy-weight",
        type=float,
        default=defaults.copy_weight,
        help="how strongly earlier passages are copied, 0 to 2 (default: %(default)s)",
    )
    group.add_argument(
        "--candidates",
        type=int,
        default=defaults.candidates,
        metavar="N",
        help="versions of each bar (regenerate, accompany: of all bars together) of which the best "
        "is kept, 1 to 32 (default: %(default)s)",
    )
    group.add_argument(
        "--similarity",
        type=float,
        default=defaults.similarity,
        help="0: roam; 2: stay close to the prompt (default: %(default)s)",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add `--model`."""
    parser.add_argument(
        "--model", help="a checkpoint folder or a Hub id (default: the bundled weights)"
    )
