"""What the page says, as HTML: everything from outside is escaped here.

Knows no components and no events.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from html import escape

from musiclstm import Composer
from musiclstm.midi import instrument_name, pluralize
from musiclstm.tokens import nearest_programs
from page.session.history import History, Version
from page.session.prompt import PromptChoice

_MARK = "".join(
    f'<rect x="{x}" y="{y}" width="{width}" height="5" rx="2.5" class="{part}"/>'
    for x, y, width, part in (
        (0, 26, 13, "old"), (15, 19, 9, "old"), (26, 12, 13, "old"),
        (41, 19, 9, "new"), (52, 5, 15, "new"), (69, 12, 11, "new"),
    )
)  # fmt: skip
HEADER = f"""<header><svg viewBox="0 0 80 36" aria-hidden="true">{_MARK}</svg>
<div><h1>musiclstm</h1><p>Pick a tune or drop a MIDI file, press Continue, and hear it go on.</p>
</div></header>"""
WAITING = '<p role="status">What comes next is drawn and played here, bar by bar.</p>'

FILE_WANTED = (
    '<p role="status">This link goes on from a file: drop that file above, and the piece is '
    "made.</p>"
)

HISTORY_SCRIPT = """
element.addEventListener("click", (event) => {
  const line = event.target.closest("button");
  if (line) trigger("choose", { number: Number(line.dataset.number) });
});
"""


def prompt_summary(seed: PromptChoice, trained: Collection[int] | None = None) -> str:
    """Name, facts, tracks and repairs of a seed, and what the model has not heard of it.

    Args:
        seed: Whatever goes on.
        trained: Programs that the model has heard; None: all.
    """
    facts, *lines = seed.about()
    items = "".join(f"<li>{escape(line)}</li>" for line in [*lines, *_stand_ins(seed, trained)])
    part = f" <em>{escape(_part(seed))}</em>" if seed.selection else ""
    empty = ' class="nothing"' if seed.report is None else ""
    return f"<h2{empty}>{escape(seed.title)}</h2><p>{escape(facts)}{part}</p><ul>{items}</ul>"


def _stand_ins(seed: PromptChoice, trained: Collection[int] | None) -> Iterator[str]:
    """Which instruments are new to the model, and which ones it takes them for."""
    found = {track.program for track in seed.report.tracks} if seed.report else ()
    for program, other in nearest_programs(found, trained).items():
        if program != other:
            new, known = instrument_name(program), instrument_name(other)
            yield f"This model has never heard {new}; it writes for it as for {known}."


def tracks(seed: PromptChoice) -> list[tuple[str, int]]:
    """Choices for a list: every track of a seed in words, and its number from 0."""
    found = seed.report.tracks if seed.report else ()
    return [(str(track), number) for number, track in enumerate(found)]


def _part(seed: PromptChoice) -> str:
    chosen, report = seed.selection, seed.report
    assert chosen is not None
    assert report is not None
    last = chosen.last_bar or report.bars
    tracks = "all tracks" if chosen.tracks is None else pluralize(len(chosen.tracks), "track")
    return f"bars {chosen.first_bar} to {last} of {tracks} go on"


def progress(doing: str, done: int, of: int | None, left_s: float | None = None) -> str:
    """How far it is: bars done and time left.

    Args:
        doing: Such as `Composing`.
        done: Bars, 0 or more.
        of: Of so many; None: nobody knows.
        left_s: Seconds; None: nobody knows.
    """
    said = f"{doing} …" if not done else f"{doing}: bar {done}" + (f" of {of}" if of else "")
    if done and left_s is not None and left_s >= 1:
        said += f", about {left_s:.0f} s left"
    known = f' value="{done}" max="{of}"' if of else ""
    return f'<p role="status">{said}</p><progress{known} aria-label="{doing}"></progress>'


def done(version: Version | None, *, of_four: bool = False, trouble: str = "") -> str:
    """What became of it.

    Args:
        version: What is shown; None: nothing yet.
        of_four: Whether it is one of several takes that are shown.
        trouble: A sentence to add; empty: all is well.
    """
    if version is None:
        said = WAITING
    else:
        keep = f" Keep the one you like; until then the buttons below mean {version.letter}."
        said = f'<p role="status">{escape(_summary(version) + (keep if of_four else ""))}</p>'
    return said + (f'<p class="trouble">{escape(trouble)}</p>' if trouble else "")


def _summary(version: Version) -> str:
    piece = version.piece
    said = pluralize(piece.bars, "bar")
    if piece.prompt_bars:
        said += f" after {pluralize(piece.prompt_bars, 'bar')} of {version.title}"
    else:
        said += " from nothing"
    return said + "."


def caption(version: Version, *, of_four: bool = False) -> str:
    """The line above a player; empty ones hide theirs."""
    kind = "four" if of_four else "one"
    letter = f"<b>{escape(version.letter)}</b> " if version.letter else ""
    seed = version.piece.sampling.seed
    return (
        f'<p class="said {kind}">{letter}{escape(version.what)} <span>random seed {seed}</span></p>'
    )


def history(history: History) -> str:
    """The tree of versions, as buttons; empty while there is only one."""
    lines = history.lines()
    if len(lines) < 2:
        return ""
    items = "".join(_line(text, number, number == history.current) for text, number in lines)
    return f"<details><summary>History: {len(lines)} versions</summary><ul>{items}</ul></details>"


def _line(text: str, number: int, current: bool) -> str:
    here = ' aria-current="true"' if current else ""
    return f'<li><button type="button" data-number="{number}"{here}>{escape(text)}</button></li>'


def model_summary(composer: Composer) -> str:
    """Name and facts of the model that composes."""
    config = composer.model.config
    weights = sum(each.numel() for each in composer.model.parameters()) / 1e6
    facts: Sequence[str] = (
        f"{weights:.1f} million weights",
        f"{config.num_hidden_layers} LSTM layers of {config.hidden_size}",
        f"{config.vocab_size:,} tokens",
    )
    name = escape(composer.name or "a model without a name")
    return f"<p>Composed by <b>{name}</b>: {', '.join(facts)}, on this server's processor.</p>"


def instruments(programs: Iterable[int]) -> list[tuple[str, int]]:
    """Choices for a list: the General MIDI name of every program, and the program."""
    return [(instrument_name(program), program) for program in sorted(set(programs))]
