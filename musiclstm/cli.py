"""`python -m musiclstm`: the library from a terminal.

Only reads arguments, calls the public parts and writes files; says one sentence and returns 1 when
something cannot be done.
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

from musiclstm.audio import rendering
from musiclstm.audio.waveform import FORMATS
from musiclstm.errors import MusicLSTMError
from musiclstm.export.pianoroll_svg import pianoroll_svg
from musiclstm.generation.bar_plan import Surprise
from musiclstm.generation.constraints import Constraints
from musiclstm.generation.decoding.sampling import Sampling
from musiclstm.generation.recipe import read_recipe
from musiclstm.midi.reader import read_midi

if TYPE_CHECKING:  # they import torch, which takes seconds
    from musiclstm.generation.composer import Composer
    from musiclstm.generation.composition import Composition

_Value = TypeVar("_Value")


class _Parser(argparse.ArgumentParser):
    """Like argparse's, but a wrong argument ends with status 1, as every other slip does."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"error: {message}; see '{self.prog} --help'.\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0, or 1 after an `error: …` line on stderr.
    """
    arguments = _parser().parse_args(argv)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        arguments.run(arguments)
    except (MusicLSTMError, ValueError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{Path(error.filename or '').name!r}: {error.strerror}; pass another path.")
    except KeyboardInterrupt:
        return _fail("stopped before the end; nothing was written.")
    return 0


def _fail(sentence: str) -> int:
    sys.stderr.write(f"error: {sentence}\n")
    return 1


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


# The commands.


def _compose(arguments: argparse.Namespace) -> None:
    composer = _load_composer(arguments)
    begin = time.monotonic()
    pieces = composer.compose_many(
        arguments.takes,
        bars=arguments.bars,
        prompt=getattr(arguments, "midi", None),
        prompt_bars=getattr(arguments, "prompt_bars", None),
        sampling=_sampling(arguments),
        constraints=_constraints(arguments, composer),
        surprise=_surprise(arguments.surprise),
    )
    seconds = time.monotonic() - begin
    for number, piece in enumerate(pieces, start=1):
        _write(arguments, piece, number if len(pieces) > 1 else None)
    _say(f"composed in {seconds:.1f} s")


def _load_composer(arguments: argparse.Namespace) -> Composer:
    from musiclstm.generation.composer import Composer
    from musiclstm.model.checkpoint import DEFAULT

    return Composer.from_pretrained(arguments.model or DEFAULT)


def _write(arguments: argparse.Namespace, piece: Composition, number: int | None) -> None:
    only_new = getattr(arguments, "only_new", False)
    score = piece.continuation if only_new else piece.score
    out = _numbered(arguments.out, number)
    piece.save_midi(out, only_new=only_new)
    notes = piece.continuation.note_num()
    _say(f"{out}: {piece.bars} new bars, {notes} notes, seed {piece.sampling.seed}")
    if arguments.recipe and piece.recipe is not None:
        text = piece.recipe.to_json() + "\n"
        _numbered(arguments.recipe, number).write_text(text, encoding="ascii")
    if arguments.roll:
        boundary = None if only_new or piece.prompt is None else piece.prompt_end_tick
        _numbered(arguments.roll, number).write_text(
            pianoroll_svg(score, prompt_end_tick=boundary, title=out.stem), encoding="utf-8"
        )
    if arguments.audio:
        audio = rendering.render(score, soundfont=arguments.soundfont)
        sound = audio.save(_numbered(arguments.audio, number))
        _say(f"{sound}: {audio.seconds:.1f} s of sound, peak {audio.peak:.2f}")


def _again(arguments: argparse.Namespace) -> None:
    recipe = read_recipe(Path(arguments.piece).read_bytes())
    composer = _load_composer(arguments)
    _write(arguments, composer.reproduce(recipe, prompt=arguments.midi), None)


def _numbered(path: str, number: int | None) -> Path:
    """The path of a single take as it is; of several `a-1.mid`, `a-2.mid`, and so on."""
    file = Path(path)
    return file if number is None else file.with_stem(f"{file.stem}-{number}")


def _sampling(arguments: argparse.Namespace) -> Sampling:
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
    """What was asked for, and else what the seed asks for; None: nothing was asked for."""
    asked: dict[str, Any] = {
        "programs": arguments.instruments and frozenset(arguments.instruments),
        "meter": arguments.meter,
        "tempo_bpm": arguments.tempo,
        "key": arguments.key,
        "pitch_ranges": arguments.range and dict(arguments.range),
        "max_polyphony": arguments.polyphony,
        "notes_per_bar": arguments.density,
        "ending": arguments.ending or None,
    }
    asked = {name: value for name, value in asked.items() if value is not None}
    if not asked:
        return None
    midi, bars = getattr(arguments, "midi", None), getattr(arguments, "prompt_bars", None)
    return replace(composer.default_constraints(midi, prompt_bars=bars), **asked)


def _surprise(text: str) -> Surprise:
    """A schedule by name, or an amount for every bar."""
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
    score, _ = read_midi(arguments.midi)
    audio = rendering.render(
        score,
        soundfont=arguments.soundfont,
        reverb=not arguments.no_reverb,
        chorus=not arguments.no_chorus,
        gain_db=arguments.gain_db,
    )
    audio.save(arguments.out)
    _say(f"{arguments.out}: {audio.seconds:.1f} s of sound, peak {audio.peak:.2f}")


def _inspect(arguments: argparse.Namespace) -> None:
    _, report = read_midi(arguments.midi)
    _say(str(report))


def _tokens(arguments: argparse.Namespace) -> None:
    from musiclstm.model.checkpoint import DEFAULT, load_checkpoint

    _, tokenizer = load_checkpoint(arguments.model or DEFAULT)
    score, _ = read_midi(arguments.midi)
    ids = tokenizer.encode(score)
    if arguments.ids:
        _say(" ".join(map(str, ids)))
        return
    names = [tokenizer.token_names[index] for index in ids]
    notes = sum(name.startswith("Pitch") for name in names)
    _say(" ".join(names).replace(" Bar_None", "\nBar_None"))
    _say(f"{len(ids)} tokens, {len(ids) / notes:.2f} a note")


# The arguments.


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m musiclstm", description="Hear your own MIDI go on.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_compose(commands.add_parser("compose", help="begin a new piece"))
    _add_extend(commands.add_parser("extend", help="go on from a MIDI file"))
    _add_again(commands.add_parser("again", help="make a piece again from the recipe in its file"))
    _add_render(commands.add_parser("render", help="play a MIDI file into a sound file"))
    inspect = commands.add_parser("inspect", help="say what would be read from a MIDI file")
    inspect.add_argument("midi", help="a .mid file")
    inspect.set_defaults(run=_inspect)
    tokens = commands.add_parser("tokens", help="print the tokens of a MIDI file, a bar a line")
    tokens.add_argument("midi", help="a .mid file")
    tokens.add_argument("--ids", action="store_true", help="print the ids instead")
    _add_model(tokens)
    tokens.set_defaults(run=_tokens)
    return parser


def _add_compose(parser: argparse.ArgumentParser) -> None:
    _add_writing(parser, bars=16)
    parser.set_defaults(run=_compose)


def _add_extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("midi", help="the .mid file to go on from")
    parser.add_argument(
        "--prompt-bars", type=int, metavar="N", help="use only its first N bars (default: all)"
    )
    parser.add_argument("--only-new", action="store_true", help="leave the seed out of the result")
    _add_writing(parser, bars=8)
    parser.set_defaults(run=_compose)


def _add_again(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("piece", help="a .mid file that musiclstm composed")
    parser.add_argument("--midi", metavar="SEED.mid", help="the file it went on from, if any")
    parser.add_argument("--only-new", action="store_true", help="leave the seed out of the result")
    _add_files(parser)
    _add_model(parser)
    parser.set_defaults(run=_again)


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, metavar="FILE.mid", help="where the MIDI goes")
    parser.add_argument(
        "--audio", metavar="FILE", help=f"also render it; ends in {', '.join(FORMATS)}"
    )
    parser.add_argument("--roll", metavar="FILE.svg", help="also draw it as a piano roll")
    parser.add_argument("--recipe", metavar="FILE.json", help="also write down how it was made")
    parser.add_argument("--soundfont", metavar="FILE.sf2", help="a SoundFont for --audio")


def _add_writing(parser: argparse.ArgumentParser, *, bars: int) -> None:
    defaults = Sampling()
    parser.add_argument("--bars", type=int, default=bars, help="new bars (default: %(default)s)")
    _add_files(parser)
    parser.add_argument(
        "--temperature",
        type=float,
        default=defaults.temperature,
        help="0: the likeliest note every time; 1: as learned; more: bolder (default: %(default)s)",
    )
    parser.add_argument(
        "--top-p", type=float, default=defaults.top_p, help="(default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, help="the same seed gives the same piece")
    parser.add_argument(
        "--takes", type=int, default=1, metavar="N", help="so many at once, in numbered files"
    )
    parser.add_argument(
        "--surprise",
        default="off",
        metavar="WHEN",
        help="off, gentle, bold, or an amount from 0 to 1 for every bar: 0,0,0.8 (default: off)",
    )
    _add_constraints(parser.add_argument_group("what the music keeps to (default: as the seed)"))
    _add_finer_sampling(parser.add_argument_group("finer choices"), defaults)
    _add_model(parser)


def _add_constraints(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--key", help="such as 'D minor' or 'F# dorian'; prompt: that of the prompt")
    group.add_argument("--meter", type=_meter, metavar="3/4", help="of every bar")
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
    group.add_argument("--ending", action="store_true", help="come to a close in the last bars")


def _add_finer_sampling(group: argparse._ArgumentGroup, defaults: Sampling) -> None:
    group.add_argument("--top-k", type=int, default=defaults.top_k, help="0: off (the default)")
    group.add_argument("--min-p", type=float, default=defaults.min_p, help="0: off (the default)")
    group.add_argument(
        "--epsilon-cutoff",
        type=float,
        default=defaults.epsilon_cutoff,
        help="never take what is less likely; 0: off (the default)",
    )
    group.add_argument("--pitch-temperature", type=float, help="(default: as --temperature)")
    group.add_argument("--rhythm-temperature", type=float, help="(default: as --temperature)")
    group.add_argument(
        "--repetition-penalty",
        type=float,
        default=defaults.repetition_penalty,
        help="above 1: less likely to take up an earlier bar again (default: %(default)s)",
    )
    group.add_argument(
        "--copy-weight",
        type=float,
        default=defaults.copy_weight,
        help="how strongly earlier passages are copied, 0 to 2 (default: %(default)s)",
    )


def _meter(text: str) -> tuple[int, int]:
    return _read(text, "a meter such as 3/4", lambda: _pair(text, "/"))


def _programs(text: str) -> list[int]:
    return _read(text, "MIDI programs such as 0,40", lambda: [int(p) for p in text.split(",")])


def _pitch_range(text: str) -> tuple[int, tuple[int, int]]:
    program, _, ends = text.partition(":")
    wanted = "a program and its pitches such as 40:55-88"
    return _read(text, wanted, lambda: (int(program), _pair(ends, "-")))


def _two_numbers(text: str) -> tuple[int, int]:
    return _read(text, "two numbers such as 4-16", lambda: _pair(text, "-"))


def _pair(text: str, between: str) -> tuple[int, int]:
    low, high = text.split(between)
    return int(low), int(high)


def _read(text: str, wanted: str, reader: Callable[[], _Value]) -> _Value:
    try:
        return reader()
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected {wanted}, got {text!r}") from error


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        help="a checkpoint folder or a Hub id (default: the bundled weights)",
    )


def _add_render(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("midi", help="the .mid file to play")
    parser.add_argument(
        "--out", required=True, metavar="FILE", help=f"ends in {', '.join(FORMATS)}"
    )
    parser.add_argument("--soundfont", metavar="FILE.sf2", help="default: one of the system's")
    parser.add_argument("--gain-db", type=float, default=0.0, help="louder or softer (default: 0)")
    parser.add_argument("--no-reverb", action="store_true", help="play it dry")
    parser.add_argument("--no-chorus", action="store_true", help="play it straight")
    parser.set_defaults(run=_render)
