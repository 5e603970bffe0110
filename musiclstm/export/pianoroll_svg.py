"""A score as a picture: one <svg> with the seed and its continuation in different colours.

The picture takes the width it is given and keeps its height, so that it can be read on a phone as
well as on a wide page. It brings its own colours for light and dark pages, needs no script and
names nothing outside itself. Text that comes from elsewhere is escaped.

This file does not know who composed what (it is told the tick), nor anything of pages or sound.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from musiclstm.midi.analysis import bar_starts, in_ticks, last_note_end

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from symusic.core import ScoreTick, TrackTick

    from musiclstm.midi.analysis import AnyScore

    Ints = NDArray[np.int64]

MAX_MARKS = 4_000  # more notes than this are drawn coarser, so that no picture is a heavy one

# Colours: Okabe and Ito's blue and vermilion, which colour-blind eyes tell apart, made darker on
# light pages and lighter on dark ones. Text and lines take the colour of the page's own text.
_STYLE = """
.musiclstm-roll{--seed:#0b72b5;--new:#cf5a08;color:inherit;overflow:visible;
font-family:system-ui,-apple-system,"Segoe UI",sans-serif;font-variant-numeric:tabular-nums}
.dark .musiclstm-roll{--seed:#56b4e9;--new:#f5954a}
.musiclstm-roll:not(:root){display:block;width:100%}
.musiclstm-roll:root{color-scheme:light dark;color:#1f2430}
@media (prefers-color-scheme:dark){
.musiclstm-roll:root{--seed:#56b4e9;--new:#f5954a;color:#e6e8ee}}
.musiclstm-roll svg{overflow:visible}
.musiclstm-roll text{fill:currentColor;fill-opacity:.7;font-size:11px}
.musiclstm-roll .legend{font-size:13px;fill-opacity:.9}
.musiclstm-roll line{stroke:currentColor;stroke-opacity:.14;shape-rendering:crispEdges}
.musiclstm-roll .edge{stroke-opacity:.3}
.musiclstm-roll .begin{stroke:var(--new);stroke-opacity:1;stroke-width:2;stroke-dasharray:5 4}
.musiclstm-roll path{fill:none}
.musiclstm-roll .seed{stroke:var(--seed)}
.musiclstm-roll .new{stroke:var(--new)}
.musiclstm-roll .tint{fill:var(--new);fill-opacity:.07}
@media (max-width:640px){.musiclstm-roll .wide{display:none}}
"""

# Room for `C4` on the left and for the last bar line on the right. In shares of the width, for in
# pixels nothing inside an <svg> could be told to fill what they leave.
_LEFT_PERCENT, _WIDTH_PERCENT = 5, 94
_LEGEND_PX, _NUMBERS_PX, _DRUMS_LABEL_PX, _BOTTOM_PX = 26, 17, 17, 4
_SMALLEST_PX = 120  # in width and height

_FEWEST_KEYS = 24  # two octaves: a tune of three notes should not look like a wall
_DRUM_ROW_PX, _DRUM_SHARE = 9, 0.35  # the highest row, and the most of the height, drums get
_LONE_DRUM_ROW_PX = 24  # the highest row where there is nothing but drums
_NUMBER_PX, _LINE_PX = 34, 5  # the least between bar numbers, and between bar lines
_NARROW = 3  # how many times less of both fits on a phone; what does not is of class `wide`

_GAP_PX, _THINNEST_PX, _DRUM_PX = 1.0, 2.0, 2.5  # after each note; the least width; a stroke
_UNITS_PER_PX = 20  # the notes' own coordinates: whole numbers, and no step to be seen
_SHADES = (0.55, 0.7, 0.85, 1.0)  # opacity, from the softest notes to the loudest
_PARTS = ("seed", "new")
_KEYS = 128  # drums are rows 128 to 255 of the marks


def pianoroll_svg(
    score: AnyScore,
    *,
    prompt_end_tick: int | None = None,
    width_px: int = 960,
    height_px: int = 260,
    title: str | None = None,
) -> str:
    """Draw the notes of a score over time, low at the bottom, drums in a strip of their own.

    Inside a page the picture is as wide as its place and shows fewer bar numbers on a phone; on
    its own it has the size asked for. The louder a note, the fuller its colour.

    Args:
        score: In any time unit; left unchanged.
        prompt_end_tick: Where the continuation begins. None: everything is drawn in one colour.
            0: everything was composed.
        width_px: At least 120. What bar numbers and the thinnest notes are laid out for.
        height_px: At least 120.
        title: What the picture is called by those who cannot see it. Escaped. None: `Piano roll`.

    Returns:
        One <svg> element. A score without notes gives one that says so.

    Raises:
        ValueError: A width or height under 120.
        ScoreError: More than a million bars.
    """
    _check_size(width_px, height_px)
    score = in_ticks(score)
    marks = _marks_of(score, prompt_end_tick)
    if not len(marks.row):
        return _svg(width_px, height_px, title, "There are no notes.", [_nothing(height_px)])
    lines = bar_starts(score, end_tick=max(last_note_end(score), prompt_end_tick or 0, 1))
    plan = _plan(marks, lines, prompt_end_tick, width_px=width_px, height_px=height_px)
    return _svg(width_px, height_px, title, _description(plan, marks), _picture(plan, marks))


def _check_size(width_px: int, height_px: int) -> None:
    if width_px < _SMALLEST_PX or height_px < _SMALLEST_PX:
        raise ValueError(
            f"width_px and height_px must be {_SMALLEST_PX} or more, got {width_px} x {height_px}."
        )


# ------------------------------------------------------------------------------ notes become marks


class _Marks(NamedTuple):
    """What is drawn of the notes, one entry each; times in any one unit."""

    start: Ints
    end: Ints
    row: Ints  # the key; 128 + the key for drums
    shade: Ints  # 0 (softest) to 3
    part: Ints  # 0 for the seed, 1 for the continuation


def _marks_of(score: ScoreTick, prompt_end_tick: int | None) -> _Marks:
    empty = np.zeros(0, np.int64)
    columns = [_Marks(empty, empty, empty, empty, empty)]
    columns += [_marks_of_track(track, prompt_end_tick) for track in score.tracks]
    return _Marks(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def _marks_of_track(track: TrackTick, prompt_end_tick: int | None) -> _Marks:
    notes = {name: values.astype(np.int64) for name, values in track.notes.numpy().items()}
    start = np.maximum(notes["time"], 0)
    composed = np.full(len(start), False) if prompt_end_tick is None else start >= prompt_end_tick
    return _Marks(
        start=start,
        end=np.maximum(notes["time"] + notes["duration"], start),
        row=np.clip(notes["pitch"], 0, _KEYS - 1) + _KEYS * track.is_drum,
        shade=np.clip(notes["velocity"] * len(_SHADES) // _KEYS, 0, len(_SHADES) - 1),
        part=composed.astype(np.int64),
    )


def _in_units(marks: _Marks, plan: _Plan) -> _Marks:
    """The marks in coordinates of the picture, with a gap after each, and few enough."""
    per_tick = plan.units / plan.lines[-1]
    thinnest = _units(_THINNEST_PX)
    start = np.minimum(np.rint(marks.start * per_tick).astype(np.int64), plan.units - thinnest)
    end = np.rint(marks.end * per_tick).astype(np.int64)
    end = np.maximum(end - _units(_GAP_PX), start + thinnest)
    end = np.where(marks.row < _KEYS, end, start + _units(_DRUM_PX))
    marks = marks._replace(start=start, end=end)
    grid = _units(1)
    while len(marks.row) > MAX_MARKS:
        marks = _merged(marks, grid)
        grid *= 2
    # A coarse grid must not move the continuation into the seed, nor anything over the edge.
    begin = round(plan.prompt_end_tick * per_tick)
    return marks._replace(
        start=np.maximum(marks.start, marks.part * begin), end=np.minimum(marks.end, plan.units)
    )


def _units(px: float) -> int:
    return round(px * _UNITS_PER_PX)


def _merged(marks: _Marks, grid: int) -> _Marks:
    """Marks of one look in one row, joined where they touch on a grid."""
    look = (marks.part * len(_SHADES) + marks.shade) * 2 * _KEYS + marks.row
    start, end = marks.start // grid * grid, -(-marks.end // grid) * grid
    order = np.lexsort((start, look))
    look, start, end = look[order], start[order], end[order]
    # Each look gets a stretch of the number line of its own; then one pass serves all of them.
    offset = look * (int(end.max()) + 2)
    reached = np.maximum.accumulate(end + offset)
    first = np.flatnonzero(np.r_[True, (start + offset)[1:] > reached[:-1]])
    last = np.r_[first[1:], len(start)] - 1
    kept = _Marks(*(column[order][first] for column in marks))
    return kept._replace(start=start[first], end=(reached - offset)[last])


# --------------------------------------------------------------------------------- where things are


@dataclass(frozen=True)
class _Plan:
    """What the picture has room for, and where. All lengths in pixels."""

    width: int  # of the notes, at the width the picture was laid out for
    lines: Ints  # ticks of the bar lines; the last is the right edge
    prompt_end_tick: int  # 0 where nothing comes before the continuation
    told_apart: bool  # whether the legend says which is which
    low: int  # the lowest and the highest key that is shown; high < low without pitched notes
    high: int
    drums: tuple[int, ...]  # the rows in use, the highest first
    top: int
    middle: int  # where the keys end
    strip: int  # where the drums begin
    bottom: int

    @property
    def units(self) -> int:
        return self.width * _UNITS_PER_PX

    @property
    def divided(self) -> bool:
        """Whether there is a seed before the continuation."""
        return self.prompt_end_tick > 0

    def percent(self, tick: int) -> str:
        """A place in time, as a share of the width."""
        return f"{100 * tick / self.lines[-1]:.3f}".rstrip("0").rstrip(".") + "%"

    def height_of(self, key: int) -> float:
        """The lower edge of a key's row."""
        return self.middle - (key - self.low) * (self.middle - self.top) / self.rows

    @property
    def rows(self) -> int:
        return self.high - self.low + 1


def _plan(
    marks: _Marks, lines: Ints, prompt_end_tick: int | None, *, width_px: int, height_px: int
) -> _Plan:
    drums = tuple(sorted({int(row) for row in marks.row if row >= _KEYS}, reverse=True))
    low, high = _keys_shown(marks.row[marks.row < _KEYS])
    top = _NUMBERS_PX + (0 if prompt_end_tick is None else _LEGEND_PX)
    bottom = height_px - _BOTTOM_PX
    if high < low:
        bottom = min(bottom, top + len(drums) * _LONE_DRUM_ROW_PX)
    strip, middle = _drum_strip(top, bottom, drums=len(drums), pitched=high >= low)
    return _Plan(
        width=round(width_px * _WIDTH_PERCENT / 100),
        lines=lines,
        prompt_end_tick=max(0, prompt_end_tick or 0),
        told_apart=prompt_end_tick is not None,
        low=low,
        high=high,
        drums=drums,
        top=top,
        middle=middle,
        strip=strip,
        bottom=bottom,
    )


def _keys_shown(keys: Ints) -> tuple[int, int]:
    """The lowest and the highest key: one beyond those in use, and two octaves or more."""
    if not len(keys):
        return 0, -1
    low, high = int(keys.min()) - 1, int(keys.max()) + 1
    missing = max(0, _FEWEST_KEYS - (high - low + 1))
    low = max(0, low - missing // 2)
    high = min(_KEYS - 1, max(high, low + _FEWEST_KEYS - 1))
    return min(low, max(0, high - _FEWEST_KEYS + 1)), high


def _drum_strip(top: int, bottom: int, *, drums: int, pitched: bool) -> tuple[int, int]:
    """Where the drums begin and where the keys end."""
    if not drums:
        return bottom, bottom
    if not pitched:
        return top, top
    strip = bottom - min(drums * _DRUM_ROW_PX + 4, round(_DRUM_SHARE * (bottom - top)))
    return strip, strip - _DRUMS_LABEL_PX


# ------------------------------------------------------------------------------ marks become <svg>


def _svg(
    width_px: int, height_px: int, title: str | None, description: str, content: Iterable[str]
) -> str:
    return "\n".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" class="musiclstm-roll" role="img" '
            f'width="{width_px}" height="{height_px}">',
            f"<title>{_escaped(title or 'Piano roll')}</title>",
            f"<desc>{_escaped(description)}</desc>",
            f"<style>{_STYLE}</style>",
            *content,
            "</svg>",
        ]
    )


def _escaped(text: str) -> str:
    """Text that is only text, in HTML and in XML, which knows no control characters at all."""
    return html.escape(re.sub(r"[^\t\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text)[:300])


def _nothing(height_px: int) -> str:
    return f'<text class="legend" x="50%" y="{height_px // 2}" text-anchor="middle">No notes</text>'


def _picture(plan: _Plan, marks: _Marks) -> Iterator[str]:
    marks = _in_units(marks, plan)
    yield from _octave_labels(plan)
    yield f'<svg x="{_LEFT_PERCENT}%" width="{_WIDTH_PERCENT}%" height="{plan.bottom}">'
    yield from _legend(plan, set(marks.part.tolist()))
    yield from _tint(plan)
    yield from _octave_lines(plan)
    yield from _bar_lines(plan)
    yield from _key_paths(plan, marks)
    yield from _drum_paths(plan, marks)
    yield from _beginning(plan)
    yield "</svg>"


def _legend(plan: _Plan, parts: set[int]) -> Iterator[str]:
    if not plan.told_apart:
        return
    names = ("seed", "continuation" if plan.divided else "composed")
    x = 0
    for part in sorted(parts):
        yield f'<path class="{_PARTS[part]}" stroke-width="10" d="M{x} 11h18"/>'
        yield f'<text class="legend" x="{x + 24}" y="15.5">{names[part]}</text>'
        x += 78


def _octave_labels(plan: _Plan) -> Iterator[str]:
    row = (plan.middle - plan.top) / max(1, plan.rows)
    for key in _octaves(plan):
        place = f'x="{_LEFT_PERCENT}%" y="{plan.height_of(key) - row / 2 + 4:.1f}"'
        yield f'<text {place} dx="-4" text-anchor="end">C{key // 12 - 1}</text>'


def _octaves(plan: _Plan) -> range:
    """The Cs that are labelled: every one, or every other where they would touch."""
    octave_px = 12 * (plan.middle - plan.top) / max(1, plan.rows)
    step = 12 if octave_px >= 14 else 24
    return range(-(-plan.low // step) * step, plan.high + 1, step)


def _octave_lines(plan: _Plan) -> Iterator[str]:
    for key in _octaves(plan):
        yield _level_line(plan.height_of(key))
    for y in {plan.top, plan.middle, plan.strip, plan.bottom}:
        yield _level_line(y, look="edge")


def _level_line(y: float, *, look: str = "octave") -> str:
    return f'<line class="{look}" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'


def _bar_lines(plan: _Plan) -> Iterator[str]:
    """Bar lines and numbers, as many as there is room for."""
    bar_px = plan.width / (len(plan.lines) - 1)
    lines, narrow_lines = _every(_LINE_PX / bar_px), _every(_NARROW * _LINE_PX / bar_px)
    numbers, narrow_numbers = _every(_NUMBER_PX / bar_px), _every(_NARROW * _NUMBER_PX / bar_px)
    for bar, tick in enumerate(plan.lines.tolist()):
        x = plan.percent(tick)
        if bar % lines == 0:
            look = "" if bar % narrow_lines == 0 else ' class="wide"'
            yield f'<line{look} x1="{x}" x2="{x}" y1="{plan.top}" y2="{plan.bottom}"/>'
        if bar % numbers == 0 and bar + 1 < len(plan.lines):
            look = "" if bar % narrow_numbers == 0 else ' class="wide"'
            yield f'<text{look} x="{x}" y="{plan.top - 5}" dx="2">{bar + 1}</text>'


def _every(bars: float) -> int:
    """The power of two that is at least this many bars: phrases have 2, 4, 8 and 16 of them."""
    step = 1
    while step < bars:
        step *= 2
    return step


def _tint(plan: _Plan) -> Iterator[str]:
    if plan.divided:
        share = 100 * plan.prompt_end_tick / plan.lines[-1]
        yield (
            f'<rect class="tint" x="{share:.3f}%" width="{100 - share:.3f}%" '
            f'y="{plan.top}" height="{plan.bottom - plan.top}"/>'
        )


def _beginning(plan: _Plan) -> Iterator[str]:
    if plan.divided:
        x, y = plan.percent(plan.prompt_end_tick), plan.top - _NUMBERS_PX + 2
        yield f'<line class="begin" x1="{x}" x2="{x}" y1="{y}" y2="{plan.bottom}"/>'


def _key_paths(plan: _Plan, marks: _Marks) -> Iterator[str]:
    rows = {key: plan.high - key for key in range(plan.low, plan.high + 1)}
    yield from _paths(plan, marks, rows, y=plan.top, height=plan.middle - plan.top)


def _drum_paths(plan: _Plan, marks: _Marks) -> Iterator[str]:
    rows = {key: row for row, key in enumerate(plan.drums)}
    if rows and plan.rows:
        yield f'<text x="2" y="{plan.strip - 5}">drums</text>'
    yield from _paths(plan, marks, rows, y=plan.strip, height=plan.bottom - plan.strip)


def _paths(
    plan: _Plan, marks: _Marks, rows: dict[int, int], *, y: int, height: int
) -> Iterator[str]:
    """A stretched <svg> in which a row is one unit high, with one path for each look."""
    if not rows:
        return
    thickness = 0.8 if height / len(rows) > 4 else 1  # a gap between rows where it can be seen
    yield (
        f'<svg y="{y}" width="100%" height="{height}" viewBox="0 -.5 {plan.units} {len(rows)}" '
        f'preserveAspectRatio="none" stroke-width="{thickness}">'
    )
    here = np.isin(marks.row, list(rows))
    for part, name in enumerate(_PARTS):
        for shade, opacity in enumerate(_SHADES):
            drawn = here & (marks.part == part) & (marks.shade == shade)
            if drawn.any():
                strokes = "".join(_strokes(marks, drawn, rows))
                yield f'<path class="{name}" stroke-opacity="{opacity}" d="{strokes}"/>'
    yield "</svg>"


def _strokes(marks: _Marks, drawn: NDArray[np.bool_], rows: dict[int, int]) -> Iterator[str]:
    columns = (column[drawn].tolist() for column in (marks.start, marks.end, marks.row))
    for start, end, row in zip(*columns, strict=True):
        yield f"M{start} {rows[row]}h{end - start}"


# --------------------------------------------------------------------------- the picture in words


def _description(plan: _Plan, marks: _Marks) -> str:
    bars = len(plan.lines) - 1
    sentences = [f"{_counted(bars, 'bar')} with {' and '.join(_contents(marks))}."]
    if plan.divided:
        seed_bars = int(np.searchsorted(plan.lines, plan.prompt_end_tick))
        sentences.append(
            f"The seed takes {_counted(seed_bars, 'bar')}, the continuation {bars - seed_bars}."
        )
    return " ".join(sentences)


def _contents(marks: _Marks) -> Iterator[str]:
    keys = marks.row[marks.row < _KEYS]
    if len(keys):
        yield f"{_counted(len(keys), 'note')} from {_name(keys.min())} to {_name(keys.max())}"
    if len(keys) < len(marks.row):
        yield _counted(len(marks.row) - len(keys), "drum stroke")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _name(key: int) -> str:
    """The key's name; 60 is C4."""
    names = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
    return f"{names[key % 12]}{key // 12 - 1}"
