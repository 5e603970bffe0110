"""Format the data report as a web page without scripts, external fonts or network access.

All values are escaped by `_text`, because file names come from untrusted input.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from musiclstm.midi import pluralize
from training.report.time_estimate import minutes_text

_MAX_CHART_ROWS = 12
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


def as_html(report: dict[str, Any]) -> str:
    """Return the page for the contents of data_report.json."""
    music = [_music(report), _splits(report), _tokens(report)] if report["files"]["read"] else []
    checks = [_checks(report), _left_out(report)]
    parts = [_head(report), _tiles(report), *checks, *music, _time(report)]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>Training data</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, parts))
        + "\n</main>\n</body>\n</html>\n"
    )


def _text(value: object) -> str:
    return escape(str(value), quote=True)


def _head(report: dict[str, Any]) -> str:
    names = ", ".join(str(row["name"]) for row in report["corpora"])
    corpora = f'<p class="soft">{_text(names)}</p>' if names else ""
    return f"<header><h1>Training data</h1>{corpora}</header>"


def _tiles(report: dict[str, Any]) -> str:
    files, found = report["files"], report["estimate"]
    time = "?" if found is None else minutes_text(found["minutes"]).replace("minutes", "min")
    tiles = [
        (f"{files['read']:,}", f"of {files['found']:,} files used"),
        (f"{report['hours']:,.1f} h", "of music"),
        (f"{report['notes']:,}", "notes"),
        (f"{report['tokens']['epoch']:,}", "tokens per epoch"),
        (time, f"to train ({report['preset']})"),
    ]
    cells = "".join(
        f'<div class="tile"><b>{_text(value)}</b><span>{_text(label)}</span></div>'
        for value, label in tiles
    )
    return f'<div class="tiles">{cells}</div>'


def _checks(report: dict[str, Any]) -> str:
    cards = [
        f'<div class="card look"><h3>{_text(each["what"].capitalize())}: '
        f"{pluralize(each['pieces'], 'piece')}</h3><p>{_text(each['hint'])}</p>"
        f"{_list(map(_text, each['examples']), each['pieces'])}</div>"
        for each in report["look_at"]
    ]
    return f"<h2>Used, but check these</h2>{''.join(cards)}" if cards else ""


def _left_out(report: dict[str, Any]) -> str:
    cards = []
    for each in report["left_out"]:
        names = [
            f'{_text(example["name"])} <span class="soft">{_text(example["why"])}</span>'
            for example in each["examples"]
        ]
        cards.append(
            f'<div class="card"><h3>{_text(each["reason"].capitalize())}: '
            f"{pluralize(each['files'], 'file')}</h3>{_list(names, each['files'])}</div>"
        )
    return f"<h2>Left out</h2>{''.join(cards)}" if cards else ""


def _list(items: Iterable[str], total: int) -> str:
    """Return a list of HTML items, and how many more there are."""
    rows = [f"<li>{item}</li>" for item in items]
    if total > len(rows):
        rows.append(f'<li class="soft">and {total - len(rows):,} more</li>')
    return f"<ul>{''.join(rows)}</ul>"


def _music(report: dict[str, Any]) -> str:
    grid = report["grid"]
    changing = pluralize(report["pieces_that_change_meter"], "piece")
    return (
        "<h2>Music</h2>"
        f"<div>{_bar_plot(report['instruments'], 'notes', 'Notes by instrument')}</div>"
        f'<div class="columns"><div>{_bar_plot(report["keys"], "pieces", "Pieces by key")}'
        '<p class="soft">Estimated from the notes of each piece.</p></div>'
        f"<div>{_bar_plot(report['meters'], 'pieces', 'Pieces by time signature')}"
        f'<p class="soft">At the first note; it changes later in {changing}.</p>'
        "</div></div><h2>Rounding of times</h2><p>The model writes notes on a grid of twelve steps "
        f"per beat. Of {grid['notes']:,} notes, {grid['moved_share']:.2%} ({grid['moved']:,}) move "
        f"to a step of the grid, by {grid['moved_by_ms']:.0f} ms (thousandths of a second) on "
        f"average. {grid['lost_share']:.2%} ({grid['lost']:,}) are lost, because they would "
        "coincide with another note of the same pitch and instrument.</p>"
    )


def _bar_plot(rows: Sequence[dict[str, Any]], unit: str, title: str) -> str:
    largest = max((row[unit] for row in rows), default=1)
    bars = [
        f'<div class="bar"><span>{_text(row["name"])}</span>'
        f'<span><i style="width:{100 * row[unit] / largest:.1f}%"></i></span>'
        f"<span>{row[unit]:,}</span></div>"
        for row in rows[:_MAX_CHART_ROWS]
    ]
    rest = len(rows) - _MAX_CHART_ROWS
    more = f'<p class="soft">and {rest} more</p>' if rest > 0 else ""
    return f"<h3>{_text(title)}</h3>{''.join(bars)}{more}"


def _splits(report: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{_text(split)}</td><td>{own['pieces']:,}</td><td>{own['hours']:,.2f}</td>"
        f"<td>{own['notes']:,}</td><td>{own['tokens']:,}</td></tr>"
        for split, own in report["splits"].items()
    )
    return (
        "<h2>Splits</h2><p>The model learns from <b>train</b>. It is checked against <b>valid</b> "
        "during the training and against <b>test</b> at the end.</p>"
        '<div class="scroll"><table><thead><tr><th>split</th><th>pieces</th>'
        f"<th>hours</th><th>notes</th><th>tokens</th></tr></thead><tbody>{rows}</tbody></table>"
        "</div>"
    )


def _tokens(report: dict[str, Any]) -> str:
    tokens = report["tokens"]
    return (
        "<h2>Tokens</h2><p>The model reads and writes music as tokens, such as a pitch or a "
        f"duration. There are {tokens['vocabulary']:,} different tokens. A note takes "
        f"{tokens['per_note']:.2f} tokens on average. An epoch, which is all training pieces once "
        f"and varied at random, has {tokens['epoch']:,} tokens.</p>"
    )


def _time(report: dict[str, Any]) -> str:
    found = report["estimate"]
    if found is None:
        return "<h2>Time</h2><p>Not measured: there is nothing to train on.</p>"
    return (
        f"<h2>Time</h2><p>About <b>{minutes_text(found['minutes'])}</b> for {found['steps']:,} "
        f"training steps ({found['epochs']:,.1f} epochs) with the preset "
        f"{_text(report['preset'])} on this machine ({_text(found['device'])}, "
        f"{pluralize(found['threads'], 'thread')}). Composing samples and writing checkpoints is "
        "not included.</p>"
        f'<p class="soft">Measured on {found["measured_steps"]} training steps, which took '
        f"{found['fastest_s']:.2f} to {found['slowest_s']:.2f} s each "
        f"({found['tokens_per_second']:,} tokens per second), and on evaluating "
        f"{pluralize(found['measured_pieces'], 'held-out piece')}. Their result was discarded.</p>"
    )
