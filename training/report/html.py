"""The data report as one page that needs nothing else: no scripts, no fonts, no network.

Names of files are text, never markup: everything that is not written here goes through `_text`.
Knows only the values that `report.describe` gathers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from musiclstm.midi import pluralize

_MOST_BARS = 12
_STYLE = """
:root { color-scheme: light dark; --ink: #1d2530; --soft: #5d6876; --line: #dde2e8;
  --paper: #fbfbf9; --card: #ffffff; --accent: #2f6f8f; --warn: #a3541a; --warn-card: #fff6ec; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --soft: #9aa5b1; --line: #333c47;
  --paper: #14181d; --card: #1c2229; --accent: #6fb3d2; --warn: #f0a868; --warn-card: #2b221a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 1.1rem; margin: 2.25rem 0 .6rem; }
p { margin: .4rem 0; max-width: 46rem; }
.soft { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem;
  margin: 1.5rem 0; }
.tile, .card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: .8rem 1rem; }
.tile b { display: block; font-size: 1.45rem; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .88rem; }
.card { margin: .6rem 0; }
.card.look { background: var(--warn-card); border-color: var(--warn); }
.card.look h3 { color: var(--warn); }
h3 { font-size: 1rem; margin: 0 0 .2rem; }
ul { margin: .3rem 0 0; padding-left: 1.2rem; overflow-wrap: anywhere; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr));
  gap: 1rem 2rem; margin-top: 1rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
th, td { padding: .3rem .6rem .3rem 0; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
th { font-weight: 600; color: var(--soft); font-size: .88rem; }
.bar { display: grid; grid-template-columns: 10rem 1fr 4.5rem; gap: .6rem; align-items: center;
  font-size: .92rem; margin: .15rem 0; }
.bar span:last-child { text-align: right; font-variant-numeric: tabular-nums; color: var(--soft); }
.bar i { display: block; height: .6rem; border-radius: .3rem; background: var(--accent);
  min-width: 2px; }
"""


def as_html(facts: dict[str, Any]) -> str:
    """The page."""
    read = facts["files"]["read"]
    music = [_music(facts), _splits(facts), _tokens(facts)] if read else []
    parts = [_head(facts), _tiles(facts), _look_at(facts), _left_out(facts), *music, _time(facts)]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>Data report</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, parts))
        + "\n</main>\n</body>\n</html>\n"
    )


def _text(value: object) -> str:
    """A value as text, whatever it holds."""
    return escape(str(value), quote=True)


def _head(facts: dict[str, Any]) -> str:
    names = ", ".join(str(row["name"]) for row in facts["corpora"])
    of = f'<p class="soft">{_text(names)}</p>' if names else ""
    return f"<header><h1>What the training would hear</h1>{of}</header>"


def _tiles(facts: dict[str, Any]) -> str:
    files, found = facts["files"], facts["estimate"]
    tiles = [
        (f"{files['read']:,}", f"of {files['found']:,} files read"),
        (f"{facts['hours']:,.1f} h", "of music"),
        (f"{facts['notes']:,}", "notes"),
        (f"{facts['tokens']['epoch']:,}", "tokens an epoch"),
        ("?" if found is None else _minutes(found["minutes"]), f"with {facts['preset']}"),
    ]
    cells = "".join(
        f'<div class="tile"><b>{_text(value)}</b><span>{_text(what)}</span></div>'
        for value, what in tiles
    )
    return f'<div class="tiles">{cells}</div>'


def _minutes(minutes: float) -> str:
    if minutes < 1:
        return f"{max(1, round(60 * minutes))} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _look_at(facts: dict[str, Any]) -> str:
    cards = [
        f'<div class="card look"><h3>{_text(each["what"].capitalize())}: '
        f"{pluralize(each['pieces'], 'piece')}</h3><p>{_text(each['hint'])}</p>"
        f"{_list(map(_text, each['examples']), each['pieces'])}</div>"
        for each in facts["look_at"]
    ]
    return f"<h2>Kept, but look at these</h2>{''.join(cards)}" if cards else ""


def _left_out(facts: dict[str, Any]) -> str:
    cards = []
    for each in facts["left_out"]:
        names = [
            f'{_text(one["name"])} <span class="soft">{_text(one["why"])}</span>'
            for one in each["examples"]
        ]
        cards.append(
            f'<div class="card"><h3>{_text(each["reason"].capitalize())}: '
            f"{pluralize(each['files'], 'file')}</h3>{_list(names, each['files'])}</div>"
        )
    return f"<h2>Left out</h2>{''.join(cards)}" if cards else ""


def _list(items: Iterable[str], found: int) -> str:
    """A list of markup; says how many of them are not shown."""
    rows = [f"<li>{item}</li>" for item in items]
    if found > len(rows):
        rows.append(f'<li class="soft">and {found - len(rows):,} more</li>')
    return f"<ul>{''.join(rows)}</ul>"


def _music(facts: dict[str, Any]) -> str:
    grid = facts["grid"]
    changing = pluralize(facts["pieces_that_change_meter"], "piece")
    return (
        f"<h2>Music</h2><div>{_bars(facts['instruments'], 'notes', 'Instruments, by notes')}</div>"
        f'<div class="columns"><div>{_bars(facts["keys"], "pieces", "Keys, by pieces")}'
        '<p class="soft">Estimated from the notes of each piece.</p></div>'
        f"<div>{_bars(facts['meters'], 'pieces', 'Meters, by pieces')}"
        f'<p class="soft">At the first note; {changing} with more than one.</p></div></div>'
        f"<h2>What the grid does</h2><p>Notes are written on twelve steps a beat. Of "
        f"{grid['notes']:,} notes it loses {grid['lost_share']:.2%} ({grid['lost']:,}), which fall "
        f"on another note of the same key, and moves {grid['moved_share']:.2%} "
        f"({grid['moved']:,}), by {grid['moved_by_ms']:.0f} ms in the mean.</p>"
    )


def _bars(rows: Sequence[dict[str, Any]], unit: str, title: str) -> str:
    most = max((row[unit] for row in rows), default=1)
    bars = [
        f'<div class="bar"><span>{_text(row["name"])}</span>'
        f'<span><i style="width:{100 * row[unit] / most:.1f}%"></i></span>'
        f"<span>{row[unit]:,}</span></div>"
        for row in rows[:_MOST_BARS]
    ]
    rest = len(rows) - _MOST_BARS
    more = f'<p class="soft">and {rest} more</p>' if rest > 0 else ""
    return f"<h3>{_text(title)}</h3>{''.join(bars)}{more}"


def _splits(facts: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{_text(split)}</td><td>{own['pieces']:,}</td><td>{own['hours']:,.2f}</td>"
        f"<td>{own['notes']:,}</td><td>{own['tokens']:,}</td></tr>"
        for split, own in facts["splits"].items()
    )
    return (
        '<h2>Splits</h2><div class="scroll"><table><thead><tr><th>split</th><th>pieces</th>'
        f"<th>hours</th><th>notes</th><th>tokens</th></tr></thead><tbody>{rows}</tbody></table>"
        "</div>"
    )


def _tokens(facts: dict[str, Any]) -> str:
    tokens = facts["tokens"]
    return (
        f"<h2>Tokens</h2><p>{tokens['per_note']:.2f} tokens a note, {tokens['epoch']:,} an epoch "
        f"as augmented, from a vocabulary of {tokens['vocabulary']:,}.</p>"
    )


def _time(facts: dict[str, Any]) -> str:
    found = facts["estimate"]
    if found is None:
        return "<h2>Time</h2><p>Not measured: there is nothing to train on.</p>"
    return (
        f"<h2>Time</h2><p>About <b>{_minutes(found['minutes'])}</b> for {found['steps']:,} steps "
        f"({found['epochs']:,.1f} epochs) with preset {_text(facts['preset'])} on this machine "
        f"({_text(found['device'])}, {pluralize(found['threads'], 'thread')}), without the samples "
        "it composes and the checkpoints it writes.</p>"
        f'<p class="soft">Measured on {found["measured_steps"]} real steps, which took '
        f"{found['fastest_s']:.2f} to {found['slowest_s']:.2f} s each "
        f"({found['tokens_per_second']:,} tokens a second), and on reading "
        f"{pluralize(found['measured_pieces'], 'held-out piece')}. Nothing of it was kept.</p>"
    )
