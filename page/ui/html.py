"""HTML fragments of the page; untrusted text is escaped here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from html import escape

from musiclstm import Composer
from musiclstm.midi import instrument_name, pluralize
from musiclstm.tokens import nearest_programs
from page.session.history import History, Version
from page.session.prompt import PromptChoice

_LOGO = "".join(
    f'<rect x="{x}" y="{y}" width="{width}" height="5" rx="2.5" class="{part}"/>'
    for x, y, width, part in (
        (0, 26, 13, "old"), (15, 19, 9, "old"), (26, 12, 13, "old"),
        (41, 19, 9, "new"), (52, 5, 15, "new"), (69, 12, 11, "new"),
    )
)  # fmt: skip
HEADER = f"""<header><svg viewBox="0 0 80 36" aria-hidden="true">{_LOGO}</svg>
<div><h1>musiclstm</h1><p>Choose a tune or upload your MIDI, then press Continue.</p>
</div></header>"""
WAITING = '<p role="status">The continuation is drawn and played here, bar by bar.</p>'
FILE_WANTED = (
    '<p role="status">This link continues a file that it does not contain: upload that file '
    "above.</p>"
)

HISTORY_SCRIPT = """
element.addEventListener("click", (event) => {
  const line = event.target.closest("button");
  if (line) trigger("choose", { number: Number(line.dataset.number) });
});
"""


def prompt_summary(prompt: PromptChoice, trained: Collection[int] | None = None) -> str:
    """Return title, facts, tracks and repairs of a prompt, and its substitute instruments.

    Args:
        prompt: The prompt.
        trained: Programs in the model's training data. None: all.
    """
    facts, *lines = prompt.describe()
    lines += _substitutes(prompt, trained)
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    part = f" <em>{escape(_selection(prompt))}</em>" if prompt.selection else ""
    empty = ' class="nothing"' if prompt.summary is None else ""
    return f"<h2{empty}>{escape(prompt.title)}</h2><p>{escape(facts)}{part}</p><ul>{items}</ul>"


def _substitutes(prompt: PromptChoice, trained: Collection[int] | None) -> Iterator[str]:
    found = {track.program for track in prompt.summary.tracks} if prompt.summary else ()
    for program, other in nearest_programs(found, trained).items():
        if program != other:
            new, known = instrument_name(program), instrument_name(other)
            yield f"This model was not trained on {new}; it writes for it as for {known}."


def tracks(prompt: PromptChoice) -> list[tuple[str, int]]:
    """Return choices for a list: the description of each track and its index."""
    found = prompt.summary.tracks if prompt.summary else ()
    return [(str(track), number) for number, track in enumerate(found)]


def _selection(prompt: PromptChoice) -> str:
    selection, summary = prompt.selection, prompt.summary
    assert selection is not None
    assert summary is not None
    last = selection.last_bar or summary.bars
    chosen = selection.tracks
    part = "all tracks" if chosen is None else pluralize(len(chosen), "track")
    return f"selected: bars {selection.first_bar} to {last} of {part}"


def progress(action: str, done: int, total: int | None, left_s: float | None = None) -> str:
    """Return a line with bars done and time left, and a progress bar.

    Args:
        action: Such as `Composing`.
        done: Bars composed, 0 or more.
        total: Bars to compose. None: unknown.
        left_s: Seconds left. None: unknown.
    """
    text = (
        f"{action} …" if not done else f"{action}: bar {done}" + (f" of {total}" if total else "")
    )
    if done and left_s is not None and left_s >= 1:
        text += f", about {left_s:.0f} s left"
    known = f' value="{done}" max="{total}"' if total else ""
    return f'<p role="status">{text}</p><progress{known} aria-label="{action}"></progress>'


def result(version: Version | None, *, of_four: bool = False, error: str = "") -> str:
    """Return the status line after a job.

    Args:
        version: On display. None: there is none.
        of_four: Whether it is one of several takes on display.
        error: A sentence to add; empty: none.
    """
    if version is None:
        text = WAITING
    else:
        summary = _piece_summary(version)
        if of_four:
            summary += f" Keep the one you like; until then the buttons below use {version.letter}."
        text = f'<p role="status">{escape(summary)}</p>'
    return text + (f'<p class="trouble">{escape(error)}</p>' if error else "")


def _piece_summary(version: Version) -> str:
    piece = version.piece
    bars = pluralize(piece.bars, "bar")
    if piece.prompt_bars:
        return f"{bars} after {pluralize(piece.prompt_bars, 'bar')} of {version.title}."
    return f"{bars} from nothing."


def caption(version: Version, *, of_four: bool = False, place: int = 0, reasons: str = "") -> str:
    """Return the lines above a player.

    Args:
        version: What it shows.
        of_four: Whether it is one of several takes on display.
        place: Place in their order, from 1; page.css sorts by it. 0: not known yet.
        reasons: What is unusual about it; empty: nothing.
    """
    kind = ("four" if of_four else "one") + (f" place-{place}" if place else "")
    letter = f"<b>{escape(version.letter)}</b> " if version.letter else ""
    label, seed = escape(version.label), version.piece.sampling.seed
    why = f'<p class="why">{escape(reasons)}</p>' if reasons else ""
    return f'<p class="said {kind}">{letter}{label} <span>random seed {seed}</span></p>{why}'


def history(history: History) -> str:
    """Return the tree of versions as buttons; empty for fewer than two."""
    lines = history.outline()
    if len(lines) < 2:
        return ""
    items = "".join(_history_line(*line, current=history.current) for line in lines)
    return f"<details><summary>History: {len(lines)} versions</summary><ul>{items}</ul></details>"


def _history_line(text: str, number: int, *, current: int | None) -> str:
    mark = ' aria-current="true"' if number == current else ""
    return f'<li><button type="button" data-number="{number}"{mark}>{escape(text)}</button></li>'


def model_summary(composer: Composer) -> str:
    """Return name and size of a composer's model."""
    config = composer.config
    facts = (
        f"{composer.num_parameters / 1e6:.1f} million parameters",
        f"{config.num_hidden_layers} LSTM layers of {config.hidden_size}",
        f"{config.vocab_size:,} tokens",
    )
    name = escape(composer.name or "a model without a name")
    return f"<p>Composed by <b>{name}</b>: {', '.join(facts)}, on this server's CPU.</p>"


def instruments(programs: Iterable[int]) -> list[tuple[str, int]]:
    """Return choices for a list: the General MIDI name of each program and the program."""
    return [(instrument_name(program), program) for program in sorted(set(programs))]
