"""Piano roll of a score as one <svg> element, with the prompt and the continuation in two colours.

The picture has a fixed height and the width of its container. It contains its own colours for light
and dark pages, no script and no external reference. Text from outside is escaped.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from musiclstm.export.pianoroll import pianoroll_data
from musiclstm.midi.analysis import in_ticks
from musiclstm.midi.general_midi import DRUMS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from symusic.core import ScoreTick

    from musiclstm.midi.analysis import AnyScore

    Ints = NDArray[np.int64]

# Okabe and Ito's blue and vermilion, which colour-blind readers can distinguish: darker on light
# pages, lighter on dark ones. Text and lines have the colour of the page's text.
_STYLE = """
.musiclstm-roll{--prompt:#0b72b5;--new:#cf5a08;color:inherit;overflow:visible;
font-family:system-ui,-apple-system,"Segoe UI",sans-serif;font-variant-numeric:tabular-nums}
.dark .musiclstm-roll{--prompt:#56b4e9;--new:#f5954a}
.musiclstm-roll:not(:root){display:block;width:100%}
.musiclstm-roll:root{color-scheme:light dark;color:#1f2430}
@media (prefers-color-scheme:dark){
.musiclstm-roll:root{--prompt:#56b4e9;--new:#f5954a;color:#e6e8ee}}
.musiclstm-roll svg{overflow:visible}
.musiclstm-roll text{fill:currentColor;fill-opacity:.7;font-size:11px}
.musiclstm-roll .legend{font-size:13px;fill-opacity:.9}
.musiclstm-roll line{stroke:currentColor;stroke-opacity:.14;shape-rendering:crispEdges}
.musiclstm-roll .edge{stroke-opacity:.3}
.musiclstm-roll .begin{stroke:var(--new);stroke-opacity:1;stroke-width:2;stroke-dasharray:5 4}
.musiclstm-roll path{fill:none}
.musiclstm-roll .prompt{stroke:var(--prompt)}
.musiclstm-roll .new{stroke:var(--new)}
.musiclstm-roll .tint{fill:var(--new);fill-opacity:.07}
@media (max-width:640px){.musiclstm-roll .wide{display:none}}
"""

# Margins for `C4` on the left and the last bar line on the right. In percent, because a nested
# <svg> cannot take what a margin in pixels leaves.
_LEFT_PERCENT, _WIDTH_PERCENT = 5, 94
_LEGEND_PX, _NUMBERS_PX, _DRUMS_LABEL_PX, _BOTTOM_PX = 26, 17, 17, 4
_MIN_SIZE_PX = 120

_MIN_KEYS = 24  # two octaves, so that the notes of a narrow tune stay thin
_DRUM_ROW_PX, _MAX_DRUM_SHARE = 9, 0.35  # of the height
_ONLY_DRUMS_ROW_PX = 24  # without pitched notes
_NUMBER_PX, _LINE_PX = 34, 5  # least distance of bar numbers and of bar lines
_NARROW = 3  # on a phone, this many times fewer; the others have the class `wide`

_GAP_PX, _MIN_WIDTH_PX, _DRUM_PX = 1.0, 2.0, 2.5  # gap after a note; least width; width of a drum
_UNITS_PER_PX = 20  # coordinates of notes are integers
_OPACITIES = (0.55, 0.7, 0.85, 1.0)  # from the softest notes to the loudest
_PARTS = ("prompt", "new")
_KEYS = 128  # rows 128 to 255 are drums


def pianoroll_svg(
    score: AnyScore,
    *,
    prompt_end_tick: int | None = None,
    width_px: int = 960,
    height_px: int = 260,
    title: str | None = None,
) -> str:
    """Draw the notes of a score over time, with drums in a strip below the keys.

    Louder notes are more opaque. Inside a page the picture is as wide as its container; alone it
    has the given width. More than 4 000 notes are merged.

    Args:
        score: In any time unit; left unchanged.
        prompt_end_tick: Where the continuation begins. None: one colour for all notes. 0: there is
            no prompt.
        width_px: At least 120. The layout of bar numbers and short notes is made for this width.
        height_px: At least 120.
        title: Accessible name, escaped. None: `Piano roll`.

    Returns:
        One <svg> element. Without notes it contains the text "No notes".

    Raises:
        ValueError: A width or height under 120.
        ScoreError: The score has more than a million bars.
    """
    _check_size(width_px, height_px)
    score = in_ticks(score)
    roll = pianoroll_data(score, prompt_end_tick=prompt_end_tick or 0)
    notes = _notes_of(roll, has_parts=prompt_end_tick is not None)
    if not len(notes.row):
        return _svg(width_px, height_px, title, "There are no notes.", [_no_notes(height_px)])
    lines = np.array(roll["bars"]["ticks"], np.int64)
    layout = _layout(notes, lines, prompt_end_tick, width_px=width_px, height_px=height_px)
    return _svg(
        width_px, height_px, title, _description(layout, score), _svg_content(layout, notes)
    )


def _check_size(width_px: int, height_px: int) -> None:
    if width_px < _MIN_SIZE_PX or height_px < _MIN_SIZE_PX:
        raise ValueError(
            f"width_px and height_px must be {_MIN_SIZE_PX} or more, got {width_px} x {height_px}."
        )


# -- Notes -----------------------------------------------------------------------------------------


class _Notes(NamedTuple):
    """Columns of the notes to draw."""

    start: Ints  # in ticks, later in units of the picture
    end: Ints
    row: Ints  # the key; 128 + the key for drums
    shade: Ints  # index of the opacity
    part: Ints  # 0 for the prompt, 1 for the continuation


def _notes_of(roll: dict[str, Any], *, has_parts: bool) -> _Notes:
    columns = {name: np.array(values, np.int64) for name, values in roll["notes"].items()}
    is_drum = np.array([each["program"] == DRUMS for each in roll["instruments"]], bool)
    start = columns["start"]
    return _Notes(
        start=start,
        end=start + columns["length"],
        row=columns["key"] + _KEYS * is_drum[columns["instrument"]],
        shade=columns["loudness"] * len(_OPACITIES) // _KEYS,
        part=(has_parts & (start >= roll["prompt_end_tick"])).astype(np.int64),
    )


def _in_units(notes: _Notes, layout: _Layout) -> _Notes:
    """Convert ticks to coordinates of the picture, with a gap after each note."""
    per_tick = layout.units / layout.lines[-1]
    min_width = _units(_MIN_WIDTH_PX)
    start = np.minimum(np.rint(notes.start * per_tick).astype(np.int64), layout.units - min_width)
    end = np.rint(notes.end * per_tick).astype(np.int64)
    end = np.maximum(end - _units(_GAP_PX), start + min_width)
    end = np.where(notes.row < _KEYS, end, start + _units(_DRUM_PX))
    return notes._replace(start=start, end=np.minimum(end, layout.units))


def _units(px: float) -> int:
    return round(px * _UNITS_PER_PX)


# -- Layout ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layout:
    """Positions of the parts of the picture, in pixels unless stated otherwise."""

    width: int  # of the area of the notes, at the given width of the picture
    lines: Ints  # ticks of the bar lines; the last is the right edge
    prompt_end_tick: int  # 0 without a prompt before the continuation
    has_legend: bool
    low: int  # lowest and highest key shown; high < low without pitched notes
    high: int
    drums: tuple[int, ...]  # rows in use, the highest first
    top: int
    middle: int  # lower edge of the keys
    strip: int  # upper edge of the drums
    bottom: int

    @property
    def units(self) -> int:
        return self.width * _UNITS_PER_PX

    @property
    def has_both_parts(self) -> bool:
        return self.prompt_end_tick > 0

    def percent(self, tick: int) -> str:
        """Return the horizontal position of a tick."""
        return f"{100 * tick / self.lines[-1]:.3f}".rstrip("0").rstrip(".") + "%"

    def lower_edge(self, key: int) -> float:
        return self.middle - (key - self.low) * (self.middle - self.top) / self.num_keys

    @property
    def num_keys(self) -> int:
        return self.high - self.low + 1


def _layout(
    notes: _Notes, lines: Ints, prompt_end_tick: int | None, *, width_px: int, height_px: int
) -> _Layout:
    drums = tuple(sorted({int(row) for row in notes.row if row >= _KEYS}, reverse=True))
    low, high = _key_range(notes.row[notes.row < _KEYS])
    top = _NUMBERS_PX + (0 if prompt_end_tick is None else _LEGEND_PX)
    bottom = height_px - _BOTTOM_PX
    if high < low:
        bottom = min(bottom, top + len(drums) * _ONLY_DRUMS_ROW_PX)
    strip, middle = _drum_strip(top, bottom, drums=len(drums), pitched=high >= low)
    return _Layout(
        width=round(width_px * _WIDTH_PERCENT / 100),
        lines=lines,
        prompt_end_tick=max(0, prompt_end_tick or 0),
        has_legend=prompt_end_tick is not None,
        low=low,
        high=high,
        drums=drums,
        top=top,
        middle=middle,
        strip=strip,
        bottom=bottom,
    )


def _key_range(keys: Ints) -> tuple[int, int]:
    """Return the lowest and the highest key shown: one beyond those in use, two octaves or more."""
    if not len(keys):
        return 0, -1
    low, high = int(keys.min()) - 1, int(keys.max()) + 1
    missing = max(0, _MIN_KEYS - (high - low + 1))
    low = max(0, low - missing // 2)
    high = min(_KEYS - 1, max(high, low + _MIN_KEYS - 1))
    return min(low, max(0, high - _MIN_KEYS + 1)), high


def _drum_strip(top: int, bottom: int, *, drums: int, pitched: bool) -> tuple[int, int]:
    """Return the upper edge of the drums and the lower edge of the keys."""
    if not drums:
        return bottom, bottom
    if not pitched:
        return top, top
    strip = bottom - min(drums * _DRUM_ROW_PX + 4, round(_MAX_DRUM_SHARE * (bottom - top)))
    return strip, strip - _DRUMS_LABEL_PX


# -- SVG elements ----------------------------------------------------------------------------------


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
    """Escape text for HTML and XML, without the control characters that XML forbids."""
    return html.escape(re.sub(r"[^\t\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text)[:300])


def _no_notes(height_px: int) -> str:
    return f'<text class="legend" x="50%" y="{height_px // 2}" text-anchor="middle">No notes</text>'


def _svg_content(layout: _Layout, notes: _Notes) -> Iterator[str]:
    notes = _in_units(notes, layout)
    yield from _octave_labels(layout)
    yield f'<svg x="{_LEFT_PERCENT}%" width="{_WIDTH_PERCENT}%" height="{layout.bottom}">'
    yield from _legend(layout, set(notes.part.tolist()))
    yield from _tint(layout)
    yield from _octave_lines(layout)
    yield from _bar_lines(layout)
    yield from _key_paths(layout, notes)
    yield from _drum_paths(layout, notes)
    yield from _boundary(layout)
    yield "</svg>"


def _legend(layout: _Layout, parts: set[int]) -> Iterator[str]:
    if not layout.has_legend:
        return
    names = ("prompt", "continuation" if layout.has_both_parts else "composed")
    x = 0
    for part in sorted(parts):
        yield f'<path class="{_PARTS[part]}" stroke-width="10" d="M{x} 11h18"/>'
        yield f'<text class="legend" x="{x + 24}" y="15.5">{names[part]}</text>'
        x += 78


def _octave_labels(layout: _Layout) -> Iterator[str]:
    row = (layout.middle - layout.top) / max(1, layout.num_keys)
    for key in _octaves(layout):
        position = f'x="{_LEFT_PERCENT}%" y="{layout.lower_edge(key) - row / 2 + 4:.1f}"'
        yield f'<text {position} dx="-4" text-anchor="end">C{key // 12 - 1}</text>'


def _octaves(layout: _Layout) -> range:
    """Return the labelled Cs: all of them, or every other one where labels would touch."""
    octave_px = 12 * (layout.middle - layout.top) / max(1, layout.num_keys)
    step = 12 if octave_px >= 14 else 24
    return range(-(-layout.low // step) * step, layout.high + 1, step)


def _octave_lines(layout: _Layout) -> Iterator[str]:
    for key in _octaves(layout):
        yield _level_line(layout.lower_edge(key))
    for y in {layout.top, layout.middle, layout.strip, layout.bottom}:
        yield _level_line(y, look="edge")


def _level_line(y: float, *, look: str = "octave") -> str:
    return f'<line class="{look}" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'


def _bar_lines(layout: _Layout) -> Iterator[str]:
    """Yield bar lines and bar numbers, as many as fit."""
    bar_px = layout.width / (len(layout.lines) - 1)
    lines, narrow_lines = _bar_step(_LINE_PX / bar_px), _bar_step(_NARROW * _LINE_PX / bar_px)
    numbers = _bar_step(_NUMBER_PX / bar_px)
    narrow_numbers = _bar_step(_NARROW * _NUMBER_PX / bar_px)
    for bar, tick in enumerate(layout.lines.tolist()):
        x = layout.percent(tick)
        if bar % lines == 0:
            look = "" if bar % narrow_lines == 0 else ' class="wide"'
            yield f'<line{look} x1="{x}" x2="{x}" y1="{layout.top}" y2="{layout.bottom}"/>'
        if bar % numbers == 0 and bar + 1 < len(layout.lines):
            look = "" if bar % narrow_numbers == 0 else ' class="wide"'
            yield f'<text{look} x="{x}" y="{layout.top - 5}" dx="2">{bar + 1}</text>'


def _bar_step(bars: float) -> int:
    """Return the next power of two, because phrases have 2, 4, 8 or 16 bars."""
    step = 1
    while step < bars:
        step *= 2
    return step


def _tint(layout: _Layout) -> Iterator[str]:
    if layout.has_both_parts:
        share = 100 * layout.prompt_end_tick / layout.lines[-1]
        yield (
            f'<rect class="tint" x="{share:.3f}%" width="{100 - share:.3f}%" '
            f'y="{layout.top}" height="{layout.bottom - layout.top}"/>'
        )


def _boundary(layout: _Layout) -> Iterator[str]:
    if layout.has_both_parts:
        x, y = layout.percent(layout.prompt_end_tick), layout.top - _NUMBERS_PX + 2
        yield f'<line class="begin" x1="{x}" x2="{x}" y1="{y}" y2="{layout.bottom}"/>'


def _key_paths(layout: _Layout, notes: _Notes) -> Iterator[str]:
    rows = {key: layout.high - key for key in range(layout.low, layout.high + 1)}
    yield from _paths(layout, notes, rows, y=layout.top, height=layout.middle - layout.top)


def _drum_paths(layout: _Layout, notes: _Notes) -> Iterator[str]:
    rows = {key: row for row, key in enumerate(layout.drums)}
    if rows and layout.num_keys:
        yield f'<text x="2" y="{layout.strip - 5}">drums</text>'
    yield from _paths(layout, notes, rows, y=layout.strip, height=layout.bottom - layout.strip)


def _paths(
    layout: _Layout, notes: _Notes, rows: dict[int, int], *, y: int, height: int
) -> Iterator[str]:
    """Yield a stretched <svg> in which a row is one unit high, with a path per part and opacity."""
    if not rows:
        return
    thickness = 0.8 if height / len(rows) > 4 else 1  # a gap between rows that are high enough
    yield (
        f'<svg y="{y}" width="100%" height="{height}" viewBox="0 -.5 {layout.units} {len(rows)}" '
        f'preserveAspectRatio="none" stroke-width="{thickness}">'
    )
    in_rows = np.isin(notes.row, list(rows))
    for part, name in enumerate(_PARTS):
        for shade, opacity in enumerate(_OPACITIES):
            selected = in_rows & (notes.part == part) & (notes.shade == shade)
            if selected.any():
                path_data = "".join(_path_data(notes, selected, rows))
                yield f'<path class="{name}" stroke-opacity="{opacity}" d="{path_data}"/>'
    yield "</svg>"


def _path_data(notes: _Notes, selected: NDArray[np.bool_], rows: dict[int, int]) -> Iterator[str]:
    columns = (column[selected].tolist() for column in (notes.start, notes.end, notes.row))
    for start, end, row in zip(*columns, strict=True):
        yield f"M{start} {rows[row]}h{end - start}"


# -- Description -----------------------------------------------------------------------------------


def _description(layout: _Layout, score: ScoreTick) -> str:
    bars = len(layout.lines) - 1
    sentences = [f"{_count(bars, 'bar')} with {' and '.join(_contents(score))}."]
    if layout.has_both_parts:
        prompt_bars = int(np.searchsorted(layout.lines, layout.prompt_end_tick))
        sentences.append(
            f"The prompt has {_count(prompt_bars, 'bar')}, the continuation {bars - prompt_bars}."
        )
    return " ".join(sentences)


def _contents(score: ScoreTick) -> Iterator[str]:
    pitches = [note.pitch for track in score.tracks if not track.is_drum for note in track.notes]
    drum_notes = sum(len(track.notes) for track in score.tracks if track.is_drum)
    if pitches:
        yield f"{_count(len(pitches), 'note')} from {_name(min(pitches))} to {_name(max(pitches))}"
    if drum_notes:
        yield _count(drum_notes, "drum note")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _name(key: int) -> str:
    """Return the name of a key; 60 is C4."""
    names = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
    return f"{names[key % 12]}{key // 12 - 1}"
