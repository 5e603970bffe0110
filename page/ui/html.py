"""HTML fragments of the page; untrusted text is escaped here."""

from __future__ import annotations

from collections.abc import Collection, Iterator
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
<div><h1>musiclstm</h1><p>Choose an example or open your MIDI file, then press Continue.</p>
</div></header>"""
FILE_WANTED = "This link continues a file that it does not contain. Open that file."

HISTORY_SCRIPT = """
const showTimes = () => element.querySelectorAll("time").forEach((each) => {
  each.textContent = new Date(1000 * Number(each.dateTime)).toLocaleTimeString();
});
element.addEventListener("click", (event) => {
  const line = event.target.closest("button");
  if (line) trigger("choose", { number: Number(line.dataset.number) });
});
watch("value", showTimes);
showTimes();
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
    more = f"<details><summary>Details</summary><ul>{items}</ul></details>" if lines else ""
    return f"<h2>{escape(prompt.title)}</h2> <p>{escape(facts)}.{part}</p>{more}"


def _substitutes(prompt: PromptChoice, trained: Collection[int] | None) -> Iterator[str]:
    found = {track.program for track in prompt.summary.tracks} if prompt.summary else ()
    for program, other in nearest_programs(found, trained).items():
        if program != other:
            new, known = instrument_name(program), instrument_name(other)
            yield f"This model was not trained on {new}; it writes for it as for {known}."


def _selection(prompt: PromptChoice) -> str:
    assert prompt.selection is not None
    first, last = prompt.bars
    chosen = prompt.selection.tracks
    part = "all parts" if chosen is None else pluralize(len(chosen), "part")
    return f"Only bars {first} to {last} of {part}."


def progress(
    action: str, done: int, total: int | None, left_s: float | None = None, *, first: int = 0
) -> str:
    """Return a line with bars done and time left, and a progress bar.

    Args:
        action: Such as `Composing`.
        done: Bars composed, 0 or more.
        total: Bars to compose. None: unknown.
        left_s: Seconds left. None: unknown.
        first: Bars before the first one, by the numbers of the file.
    """
    text = f"{action} …"
    if done:
        text = f"{action}: bar {first + done}" + (f" of {first + total}" if total else "")
    if done and left_s is not None and left_s >= 1:
        text += f", about {left_s:.0f} s left"
    known = f' value="{done}" max="{total}"' if total else ""
    return f'<p role="status">{text}</p><progress{known} aria-label="{action}"></progress>'


def status(text: str, error: str = "") -> str:
    """Return the status line and a sentence on what went wrong; empty: nothing."""
    trouble = f'<p role="alert" class="trouble">{escape(error)}</p>' if error else ""
    return f'<p role="status">{escape(text)}</p>{trouble}'


def next_step(version: Version, new_bars: int | None) -> str:
    """Return what the next press of Continue will do.

    Args:
        version: On display.
        new_bars: Number of bars that it adds. None: until the user stops it.
    """
    where = f"after bar {version.last_bar}" if version.last_bar else "from nothing"
    if new_bars is None:
        return f"Continue adds bars {where} until you press Stop."
    return f"Continue adds {pluralize(new_bars, 'bar')} {where}."


def bars_text(first: int, last: int) -> str:
    """Return `bar 5` or `bars 5 to 8`."""
    return f"bar {first}" if first == last else f"bars {first} to {last}"


def chosen_bars(bars: tuple[int, int] | None, version: Version) -> str:
    """Return what is selected on the roll; page.css shows the buttons for what is possible."""
    if bars is None:
        return ""
    kind = "new" if bars[0] > version.prompt_end else "old"
    text = bars_text(*bars).capitalize()
    return f'<p class="bars {kind}">{text}</p>'


def link_note(wanted_file: str) -> str:
    """Return what the user of a link needs; empty: nothing else."""
    if not wanted_file:
        return ""
    return f"<p>Whoever opens this link needs the file {escape(wanted_file)} too.</p>"


def history(history: History) -> str:
    """Return the tree of versions as buttons; empty for fewer than two."""
    lines = history.outline()
    if len(lines) < 2:
        return ""
    items = "".join(_history_line(*line, history) for line in lines)
    return f"<details><summary>History: {len(lines)} versions</summary><ul>{items}</ul></details>"


def _history_line(text: str, number: int, history: History) -> str:
    mark = ' aria-current="true"' if number == history.current else ""
    made_s = history.version_of(number).made_s
    return (
        f'<li><button type="button" data-number="{number}"{mark}>{escape(text)} '
        f'<time datetime="{made_s:.0f}"></time></button></li>'
    )


def model_summary(composer: Composer) -> str:
    """Return name and size of a composer's model."""
    config = composer.config
    facts = (
        f"{composer.num_parameters / 1e6:.1f} million parameters",
        f"{config.num_hidden_layers} LSTM layers of {config.hidden_size}",
        f"{config.vocab_size:,} tokens",
    )
    name = escape(composer.name or "a model without a name")
    name = "the bundled weights" if name == "default" else name
    return f"<p>Composed by <b>{name}</b>: {', '.join(facts)}, on this server's CPU.</p>"
