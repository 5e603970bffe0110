"""The commands and the arguments of each."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from musiclstm.cli import commands
from musiclstm.cli.options import (
    add_advanced_sampling,
    add_files,
    add_generation,
    add_model,
    add_note_constraints,
    add_outputs,
    add_recording,
    add_reference,
    add_sampling,
    audio_formats,
)
from musiclstm.cli.values import bar_range, part_names, programs


def _add_compose(parser: argparse.ArgumentParser) -> None:
    add_generation(parser)
    parser.set_defaults(run=commands.compose)


def _add_extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("midi", metavar="file", help="the prompt, a .mid file or a recording")
    parser.add_argument(
        "--prompt-bars", type=int, metavar="N", help="use only its first N bars (default: all)"
    )
    parser.add_argument("--only-new", action="store_true", help="write only the new bars")
    add_generation(parser)
    add_recording(parser)
    parser.set_defaults(run=commands.compose)


def _add_regenerate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("midi", help="a .mid file")
    parser.add_argument(
        "--bars", type=bar_range, metavar="5-8", help="first and last bar to compose (default: all)"
    )
    parser.add_argument(
        "--parts",
        type=part_names,
        metavar="2,Violin",
        help="parts to compose, by number or name; inspect lists them (default: all)",
    )
    _add_edit(parser)
    parser.set_defaults(run=commands.edit, accompanies=False)


def _add_accompany(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("midi", help="a .mid file")
    parser.add_argument(
        "--parts",
        type=part_names,
        metavar="1,Flute",
        help="parts to keep, by number or name; inspect lists them (default: all)",
    )
    parser.add_argument(
        "--programs",
        type=programs,
        metavar="32,flute",
        help="names or MIDI programs of new parts, -1 for drums (default: compose the other parts "
        "again)",
    )
    _add_edit(parser)
    parser.set_defaults(run=commands.edit, accompanies=True)


def _add_edit(parser: argparse.ArgumentParser) -> None:
    from musiclstm.generation.decoding.sampling import Sampling

    defaults = Sampling()
    add_files(parser)
    add_sampling(parser, defaults)
    add_note_constraints(parser.add_argument_group("constraints on the bars, kept notes included"))
    add_advanced_sampling(parser.add_argument_group("advanced sampling"), defaults)
    add_model(parser)


def _add_reproduce(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("piece", help="a .mid file that musiclstm composed")
    parser.add_argument("--midi", metavar="PROMPT.mid", help="the file that it continues, if any")
    add_reference(parser)
    parser.add_argument("--only-new", action="store_true", help="write only the new bars")
    add_outputs(parser)
    add_model(parser)
    parser.set_defaults(run=commands.reproduce)


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("midi", metavar="file", help="a .mid file or a recording")
    add_recording(parser)
    parser.set_defaults(run=commands.inspect)


def _add_beats(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("midi", help="a free recording, a .mid file")
    parser.add_argument("--out", required=True, metavar="FILE.mid", help="file to write")
    parser.set_defaults(run=commands.beats)


def _add_transcribe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("midi", metavar="file", help="a recording: wav, mp3, flac, ogg, opus")
    parser.add_argument("--out", required=True, metavar="FILE.mid", help="file to write")
    add_recording(parser)
    parser.set_defaults(run=commands.transcribe)


def _add_tokens(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("midi", help="a .mid file")
    parser.add_argument("--ids", action="store_true", help="print token ids")
    add_model(parser)
    parser.set_defaults(run=commands.tokens)


def _add_render(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("midi", help="a .mid file")
    parser.add_argument("--out", dest="audio", required=True, metavar="FILE", help=audio_formats())
    parser.add_argument("--soundfont", metavar="FILE.sf2", help="default: one of the system's")
    parser.add_argument("--gain-db", type=float, default=0.0, help="change of level (default: 0)")
    parser.add_argument("--no-reverb", action="store_true", help="without reverb")
    parser.add_argument("--no-chorus", action="store_true", help="without chorus")
    parser.set_defaults(run=commands.render)


COMMANDS: tuple[
    tuple[str, tuple[str, ...], str, Callable[[argparse.ArgumentParser], None]], ...
] = (
    ("compose", (), "compose a new piece", _add_compose),
    ("extend", (), "continue a MIDI file or a recording", _add_extend),
    ("regenerate", (), "compose some bars or parts of a MIDI file again", _add_regenerate),
    ("accompany", (), "keep parts of a MIDI file and compose others to them", _add_accompany),
    ("reproduce", ("again",), "compose a piece again from the recipe in it", _add_reproduce),
    ("render", (), "render a MIDI file to an audio file", _add_render),
    ("inspect", (), "print a summary of a MIDI file or a recording", _add_inspect),
    ("transcribe", (), "write the notes of a recording to a MIDI file", _add_transcribe),
    ("beats", (), "find the beats and bars of a free recording", _add_beats),
    ("tokens", (), "print the tokens of a MIDI file, one bar per line", _add_tokens),
)
