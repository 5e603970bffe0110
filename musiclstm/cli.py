"""Command line: `python -m musiclstm`.

Modules that take long to import are imported by the command that needs them, so that `--help` and
`inspect` start in a fraction of a second.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from musiclstm.errors import MusicLSTMError

if TYPE_CHECKING:
    from musiclstm.generation.bar_plan import Surprise
    from musiclstm.generation.composer import Composer
    from musiclstm.generation.composition import Composition
    from musiclstm.generation.constraints import Constraints
    from musiclstm.generation.decoding.sampling import Sampling

_Value = TypeVar("_Value")


class _Parser(argparse.ArgumentParser):
    """An argument parser that exits with status 1, as other errors of the command do."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"error: {message}; see '{self.prog} --help'.\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        Exit status: 0, or 1 after an `error: …` line on stderr.
    """
    argv = sys.argv[1:] if argv is None else argv
    arguments = _parser(argv).parse_args(argv)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        arguments.run(arguments)
    except (MusicLSTMError, ValueError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{Path(error.filename or '').name!r}: {error.strerror}; pass another path.")
    except KeyboardInterrupt:
        return _fail("interrupted; nothing was written.")
    return 0


def _fail(message: str) -> int:
    sys.stderr.write(f"error: {message}\n")
    return 1


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


# Commands -----------------------------------------------------------------------------------------


def _compose(arguments: argparse.Namespace) -> None:
    composer = _load_composer(arguments)
    start = time.monotonic()
    pieces = composer.compose_many(
        arguments.takes,
        bars=arguments.bars,
        prompt=getattr(arguments, "midi", None),
        prompt_bars=getattr(arguments, "prompt_bars", None),
        sampling=_sampling(arguments),
        constraints=_constraints(arguments, composer),
        surprise=_surprise(arguments.surprise),
    )
    seconds = time.monotonic() - start
    for number, piece in enumerate(pieces, start=1):
        _write(arguments, piece, number if len(pieces) > 1 else None)
    _print(f"composed in {seconds:.1f} s")


def _load_composer(arguments: argparse.Namespace) -> Composer:
    from musiclstm.generation.composer import Composer
    from musiclstm.model.checkpoint import DEFAULT

    return Composer.from_pretrained(arguments.model or DEFAULT)


def _write(arguments: argparse.Namespace, piece: Composition, number: int | None) -> None:
    """Write the requested files; `number` is added to their names."""
    only_new = getattr(arguments, "only_new", False)
    score = piece.continuation if only_new else piece.score
    out = _numbered(arguments.out, number)
    piece.save_midi(out, only_new=only_new)
    notes = piece.continuation.note_num()
    _print(f"{out}: {piece.bars} new bars, {notes} notes, random seed {piece.sampling.seed}")
    if arguments.recipe and piece.recipe is not None:
        text = piece.recipe.to_json() + "\n"
        _numbered(arguments.recipe, number).write_text(text, encoding="ascii")
    if arguments.roll:
        from musiclstm.export.pianoroll_svg import pianoroll_svg

        boundary = None if only_new or piece.prompt is None else piece.prompt_end_tick
        _numbered(arguments.roll, number).write_text(
            pianoroll_svg(score, prompt_end_tick=boundary, title=out.stem), encoding="utf-8"
        )
    if arguments.audio:
        from musiclstm.audio.rendering import render

        audio = render(score, soundfont=arguments.soundfont)
        path = audio.save(_numbered(arguments.audio, number))
        _print(f"{path}: {audio.seconds:.1f} s of audio, peak {audio.peak:.2f}")


def _reproduce(arguments: argparse.Namespace) -> None:
    from musiclstm.generation.recipe import read_recipe

    recipe = read_recipe(Path(arguments.piece).read_bytes())
    composer = _load_composer(arguments)
    _write(arguments, composer.reproduce(recipe, prompt=arguments.midi), None)


def _numbered(path: str, number: int | None) -> Path:
    """Return `a-1.mid`, `a-2.mid` and so on; without a number the path itself."""
    file = Path(path)
    return file if number is None else file.with_stem(f"{file.stem}-{number}")


def _sampling(arguments: argparse.Namespace) -> Sampling:
    from musiclstm.generation.decoding.sampling import Sampling

    return Sampling(
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        top_k=arguments.top_k,
        min_p=arguments.min_p,
        epsilon_cutoff=arguments.epsilon_cutoff,
        pitch_temperature=arguments.pitch_temperature,
        rhythm_temperature=arguments.rhythm_temperature,
        repetition_penalty=arguments.repetition_penalty,
        copy_weight=arguments.copy_weight,
        seed=arguments.seed,
    )


def _constraints(arguments: argparse.Namespace, composer: Composer) -> Constraints | None:
    """Return the defaults of the prompt with the requested changes; None: no change requested."""
    requested: dict[str, Any] = {
        "programs": arguments.instruments and frozenset(arguments.instruments),
        "meter": arguments.meter,
        "tempo_bpm": arguments.tempo,
        "key": arguments.key,
        "pitch_ranges": arguments.range and dict(arguments.range),
        "max_polyphony": arguments.polyphony,
        "notes_per_bar": arguments.density,
        "ending": arguments.ending or None,
    }
    requested = {name: value for name, value in requested.items() if value is not None}
    if not requested:
        return None
    midi, bars = getattr(arguments, "midi", None), getattr(arguments, "prompt_bars", None)
    return replace(composer.default_constraints(midi, prompt_bars=bars), **requested)


def _surprise(text: str) -> Surprise:
    """Read the name of a schedule, or an amount for each bar."""
    from musiclstm.generation.bar_plan import Surprise

    if text.isalpha():
        return Surprise(text)
    try:
        return Surprise([float(part) for part in text.split(",")])
    except ValueError as error:
        raise ValueError(
            f"--surprise must be off, gentle, bold, or amounts from 0 to 1 for each bar such as "
            f"0,0,0.8, got {text!r}."
        ) from error


def _render(arguments: argparse.Namespace) -> None:
    from musiclstm.audio.rendering import render
    from musiclstm.midi.reader import read_midi

    score, _ = read_midi(arguments.midi)
    audio = render(
        score,
        soundfont=arguments.soundfont,
        reverb=not arguments.no_reverb,
        chorus=not arguments.no_chorus,
        gain_db=arguments.gain_db,
    )
    audio.save(arguments.out)
    _print(f"{arguments.out}: {audio.seconds:.1f} s of audio, peak {audio.peak:.2f}")


def _inspect(arguments: argparse.Namespace) -> None:
    from musiclstm.midi.reader import read_midi

    _, summary = read_midi(arguments.midi)
    _print(str(summary))


def _tokens(arguments: argparse.Namespace) -> None:
    from musiclstm.midi.reader import read_midi
    from musiclstm.model.checkpoint import DEFAULT, load_checkpoint

    _, tokenizer = load_checkpoint(arguments.model or DEFAULT)
    score, _ = read_midi(arguments.midi)
    ids = tokenizer.encode(score)
    if arguments.ids:
        _print(" ".join(map(str, ids)))
        return
    names = [tokenizer.token_names[index] for index in ids]
    notes = sum(name.startswith("Pitch") for name in names)
    _print(" ".join(names).replace(" Bar_None", "\nBar_None"))
    _print(f"{len(ids)} tokens, {len(ids) / notes:.2f} per note")


# Arguments ----------------------------------------------------------------------------------------


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser; only the commands that `argv` names get their arguments."""
    parser = _Parser(prog="python -m musiclstm", description="Continue MIDI files with an LSTM.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, aliases, text, add in _COMMANDS:
        command = commands.add_parser(name, aliases=aliases, help=text, description=text)
        if {name, *aliases} & {*argv}:
            add(command)
    return parser


def _add_compose(parser: argparse.ArgumentParser) -> None:
    _add_generation(parser, bars=16)
    parser.set_defaults(run=_compose)


def _add_extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("midi", help="the prompt, a .mid file")
    parser.add_argument(
        "--prompt-bars", type=int, metavar="N", help="use only its first N bars (default: all)"
    )
    parser.add_argument("--only-new", action="store_true", help="write only the new bars")
    _add_generation(parser, bars=8)
    parser.set_defaults(run=_compose)


def _add_reproduce(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("piece", help="a .mid file that musiclstm composed")
    parser.add_argument("--midi", metavar="PROMPT.mid", help="the file that it continues, if any")
    parser.add_argument("--only-new", action="store_true", help="write only the new bars")
    _add_outputs(parser)
    _add_model(parser)
    parser.set_defaults(run=_reproduce)


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("midi", help="a .mid file")
    parser.set_defaults(run=_inspect)


def _add_tokens(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("midi", help="a .mid file")
    parser.add_argument("--ids", action="store_true", help="print token ids")
    _add_model(parser)
    parser.set_defaults(run=_tokens)


def _add_render(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("midi", help="a .mid file")
    parser.add_argument("--out", required=True, metavar="FILE", help=_audio_formats())
    parser.add_argument("--soundfont", metavar="FILE.sf2", help="default: one of the system's")
    parser.add_argument("--gain-db", type=float, default=0.0, help="change of level (default: 0)")
    parser.add_argument("--no-reverb", action="store_true", help="without reverb")
    parser.add_argument("--no-chorus", action="store_true", help="without chorus")
    parser.set_defaults(run=_render)


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, metavar="FILE.mid", help="the MIDI file to write")
    parser.add_argument("--audio", metavar="FILE", help=f"also render it; {_audio_formats()}")
    parser.add_argument("--roll", metavar="FILE.svg", help="also draw a piano roll")
    parser.add_argument("--recipe", metavar="FILE.json", help="also write the recipe")
    parser.add_argument("--soundfont", metavar="FILE.sf2", help="a SoundFont for --audio")


def _audio_formats() -> str:
    from musiclstm.audio.waveform import FORMATS

    return f"the name ends in {', '.join(FORMATS)}"


def _add_generation(parser: argparse.ArgumentParser, *, bars: int) -> None:
    from musiclstm.generation.decoding.sampling import Sampling

    defaults = Sampling()
    parser.add_argument("--bars", type=int, default=bars, help="new bars (default: %(default)s)")
    _add_outputs(parser)
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
    parser.add_argument(
        "--num-sequences",
        "--takes",
        dest="takes",
        type=int,
        default=1,
        metavar="N",
        help="alternatives to compose, in numbered files (default: 1)",
    )
    parser.add_argument(
        "--surprise",
        default="off",
        metavar="WHEN",
        help="off, gentle, bold, or an amount from 0 to 1 for every bar: 0,0,0.8 (default: off)",
    )
    _add_constraints(parser.add_argument_group("constraints (default: those of the prompt)"))
    _add_advanced_sampling(parser.add_argument_group("advanced sampling"), defaults)
    _add_model(parser)


def _add_constraints(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--key", help="such as 'D minor' or 'F# dorian'; prompt: that of the prompt")
    group.add_argument("--meter", type=_meter, metavar="3/4", help="meter of every bar")
    group.add_argument("--tempo", type=float, metavar="BPM", help="quarter notes per minute")
    group.add_argument(
        "--instruments", type=_programs, metavar="0,40", help="MIDI programs, -1 for drums"
    )
    group.add_argument(
        "--range",
        type=_pitch_range,
        action="append",
        metavar="40:55-88",
        help="lowest and highest pitch of a program; may be given several times",
    )
    group.add_argument("--polyphony", type=int, metavar="N", help="most notes sounding together")
    group.add_argument("--density", type=_two_numbers, metavar="4-16", help="notes in every bar")
    group.add_argument("--ending", action="store_true", help="lead the last bars to a close")


def _add_advanced_sampling(group: argparse._ArgumentGroup, defaults: Sampling) -> None:
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
        help="above 1: repeats of earlier bars become less likely (default: %(default)s)",
    )
    group.add_argument(
        "--copy-weight",
        type=float,
        default=defaults.copy_weight,
        help="how strongly earlier passages are copied, 0 to 2 (default: %(default)s)",
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", help="a checkpoint folder or a Hub id (default: the bundled weights)"
    )


_COMMANDS: tuple[
    tuple[str, tuple[str, ...], str, Callable[[argparse.ArgumentParser], None]], ...
] = (
    ("compose", (), "compose a new piece", _add_compose),
    ("extend", (), "continue a MIDI file", _add_extend),
    ("reproduce", ("again",), "compose a piece again from the recipe in it", _add_reproduce),
    ("render", (), "render a MIDI file to an audio file", _add_render),
    ("inspect", (), "print a summary of a MIDI file", _add_inspect),
    ("tokens", (), "print the tokens of a MIDI file, one bar per line", _add_tokens),
)


# Values of arguments ------------------------------------------------------------------------------


def _meter(text: str) -> tuple[int, int]:
    return _parse(text, "a meter such as 3/4", lambda: _pair(text, "/"))


def _programs(text: str) -> list[int]:
    return _parse(text, "MIDI programs such as 0,40", lambda: [int(p) for p in text.split(",")])


def _pitch_range(text: str) -> tuple[int, tuple[int, int]]:
    program, _, ends = text.partition(":")
    expected = "a program and its pitches such as 40:55-88"
    return _parse(text, expected, lambda: (int(program), _pair(ends, "-")))


def _two_numbers(text: str) -> tuple[int, int]:
    return _parse(text, "two numbers such as 4-16", lambda: _pair(text, "-"))


def _pair(text: str, separator: str) -> tuple[int, int]:
    low, high = text.split(separator)
    return int(low), int(high)


def _parse(text: str, expected: str, read: Callable[[], _Value]) -> _Value:
    try:
        return read()
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}") from error
