"""`python -m musiclstm`: the library from a terminal.

Only reads arguments, calls the public parts and writes files; says one sentence and returns 1 when
something cannot be done.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from musiclstm import rendering
from musiclstm.audio import FORMATS
from musiclstm.checkpoint import DEFAULT, load_checkpoint
from musiclstm.composer import Composer, Composition
from musiclstm.errors import MusicLSTMError
from musiclstm.intake import read_midi
from musiclstm.pianoroll import draw_roll
from musiclstm.sampling import Sampling


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
    composer = Composer.from_pretrained(arguments.model)
    begin = time.monotonic()
    piece = composer.compose(
        bars=arguments.bars,
        prompt=getattr(arguments, "midi", None),
        prompt_bars=getattr(arguments, "prompt_bars", None),
        sampling=_sampling(arguments),
    )
    _write(arguments, piece, seconds=time.monotonic() - begin)


def _write(arguments: argparse.Namespace, piece: Composition, *, seconds: float) -> None:
    only_new = getattr(arguments, "only_new", False)
    score = piece.continuation if only_new else piece.score
    piece.save_midi(arguments.out, only_new=only_new)
    notes = piece.score.note_num() - (piece.seed.score.note_num() if piece.seed else 0)
    _say(
        f"{arguments.out}: {piece.bars} new bars, {notes} notes in {seconds:.1f} s, "
        f"seed {piece.sampling.seed}"
    )
    if arguments.roll:
        boundary = None if only_new or piece.seed is None else piece.seed_end_tick
        Path(arguments.roll).write_text(
            draw_roll(score, seed_end_tick=boundary, title=Path(arguments.out).stem),
            encoding="utf-8",
        )
    if arguments.audio:
        audio = rendering.render(score, soundfont=arguments.soundfont)
        audio.save(arguments.audio)
        _say(f"{arguments.audio}: {audio.seconds:.1f} s of sound, peak {audio.peak:.2f}")


def _sampling(arguments: argparse.Namespace) -> Sampling:
    return Sampling(
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        top_k=arguments.top_k,
        seed=arguments.seed,
    )


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
    _, tokenizer = load_checkpoint(arguments.model)
    score, _ = read_midi(arguments.midi)
    ids = tokenizer.encode(score)
    if arguments.ids:
        _say(" ".join(map(str, ids)))
        return
    names = " ".join(tokenizer.expand(ids)).replace(" Bar_None", "\nBar_None")
    notes = sum(name.startswith("Pitch") for name in tokenizer.expand(ids))
    _say(names)
    _say(f"{len(ids)} tokens after merging, {len(ids) / notes:.2f} a note")


# The arguments.


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m musiclstm", description="Hear your own MIDI go on.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_compose(commands.add_parser("compose", help="begin a new piece"))
    _add_extend(commands.add_parser("extend", help="go on from a MIDI file"))
    _add_render(commands.add_parser("render", help="play a MIDI file into a sound file"))
    inspect = commands.add_parser("inspect", help="say what would be read from a MIDI file")
    inspect.add_argument("midi", help="a .mid file")
    inspect.set_defaults(run=_inspect)
    tokens = commands.add_parser("tokens", help="print the tokens of a MIDI file, a bar a line")
    tokens.add_argument("midi", help="a .mid file")
    tokens.add_argument("--ids", action="store_true", help="print the ids after merging instead")
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


def _add_writing(parser: argparse.ArgumentParser, *, bars: int) -> None:
    defaults = Sampling()
    parser.add_argument("--bars", type=int, default=bars, help="new bars (default: %(default)s)")
    parser.add_argument("--out", required=True, metavar="FILE.mid", help="where the MIDI goes")
    parser.add_argument(
        "--audio", metavar="FILE", help=f"also render it; ends in {', '.join(FORMATS)}"
    )
    parser.add_argument("--roll", metavar="FILE.svg", help="also draw it as a piano roll")
    parser.add_argument("--soundfont", metavar="FILE.sf2", help="a SoundFont for --audio")
    parser.add_argument(
        "--temperature",
        type=float,
        default=defaults.temperature,
        help="0: the likeliest note every time; 1: as learned; more: bolder (default: %(default)s)",
    )
    parser.add_argument(
        "--top-p", type=float, default=defaults.top_p, help="(default: %(default)s)"
    )
    parser.add_argument("--top-k", type=int, default=defaults.top_k, help="0: off (the default)")
    parser.add_argument("--seed", type=int, help="the same seed gives the same piece")
    _add_model(parser)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default=DEFAULT,
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
