"""Describe a corpus before training on it: files, music, splits, and the expected time.

`describe` collects numbers and names as JSON values, `as_text` formats them for a terminal, and
`write_report` writes them as JSON and as a web page.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from musiclstm.midi import clean_text, instrument_name, pluralize
from musiclstm.tokens import MusicTokenizer
from training.data.corpus import Corpus, CorpusPiece, Skipped
from training.data.piece_stats import SHORT_NOTES, SHORT_S, PieceStats
from training.data.splits import SPLITS
from training.errors import TrainingError
from training.report.html import as_html
from training.report.time_estimate import TimeEstimate, minutes_text

JSON_FILE, HTML_FILE = "data_report.json", "data_report.html"
MAX_EXAMPLES = 5  # files named for each reason
COARSE_SHARE = 0.25  # of the notes of a piece, moved or lost by the grid

# Words of an error message and the reason they stand for; the first match counts.
_REASONS = (
    ("duplicate", ("the same bytes", "up to transposition")),
    ("empty", ("is empty", "has no notes", "has no note that")),
    ("too long", ("is larger than", "holds more than", "at most")),
    ("too short", ("too short", "is shorter than", "fewer than")),
    ("not on a beat grid", ("beat grid",)),
)
BROKEN = "broken"

_HINTS = {
    "not on a beat grid": (
        "Their notes fit the beats of the file no better than by chance, as in recordings without "
        "a click track, so their bar lines mean nothing. Align them with a beat tracker, or leave "
        "them out with --leave_out free."
    ),
    "finer than the grid": (
        f"The grid of twelve steps per beat moves or loses more than {COARSE_SHARE:.0%} of their "
        "notes, as with 32nd notes or free ornaments. They are learned with rounded times."
    ),
    "duplicate": (
        "They have the notes of another piece, up to transposition, tempo and instruments, and "
        "would count twice. --leave_out duplicate keeps one of each."
    ),
    "duplicate across splits": (
        "One copy is used for training and the other for testing, so the test results would be too "
        "good. --leave_out duplicate keeps one of each."
    ),
    "too short": (
        f"They have fewer than {SHORT_NOTES} notes or last less than {SHORT_S:.0f} seconds. Join "
        "them or, if they are only fragments, leave them out with --leave_out short."
    ),
}


# Collection.


def describe(
    corpus: Corpus, tokenizer: MusicTokenizer, *, preset: str, estimate: TimeEstimate | None = None
) -> dict[str, Any]:
    """Describe a corpus as JSON values: files, music, splits and the time of a training.

    Args:
        corpus: The corpus.
        tokenizer: Tokenizer of the model.
        preset: Name of the preset that the estimate is for.
        estimate: Time estimate; None if there is nothing to train on.
    """
    pairs = [(piece, PieceStats.from_dict(piece.stats)) for piece in corpus.pieces if piece.stats]
    stats = [own for _, own in pairs]
    splits = _splits(corpus, pairs)
    return {
        "files": {
            "found": len(corpus.pieces) + len(corpus.skipped),
            "read": len(corpus.pieces),
            "left_out": len(corpus.skipped),
        },
        "left_out": left_out(corpus.skipped),
        "look_at": inspect(pairs),
        "hours": round(sum(each.seconds for each in stats) / 3600, 4),
        "notes": sum(piece.notes for piece in corpus.pieces),
        "corpora": corpus.summary(),
        "splits": splits,
        "instruments": _instruments(stats),
        "keys": _counted(each.key or "none" for each in stats),
        "meters": _counted(each.meter for each in stats),
        "pieces_that_change_meter": sum(each.meters > 1 for each in stats),
        "grid": _grid(stats),
        "tokens": _tokens(splits, tokenizer, estimate),
        "preset": preset,
        "estimate": None if estimate is None else estimate.to_dict(),
    }


def left_out(skipped: Iterable[Skipped]) -> list[dict[str, Any]]:
    """Return the files that were left out by reason, the most frequent first, with examples."""
    groups: dict[str, list[Skipped]] = defaultdict(list)
    for each in skipped:
        groups[reason_of(each.reason)].append(each)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    return [
        {
            "reason": reason,
            "files": len(own),
            "examples": [
                {"name": clean_text(each.name), "why": _without_name(each)}
                for each in own[:MAX_EXAMPLES]
            ],
        }
        for reason, own in ordered
    ]


def reason_of(message: str) -> str:
    """Return the reason that an error message stands for, in one or a few words."""
    for reason, words in _REASONS:
        if any(word in message for word in words):
            return reason
    return BROKEN


def _without_name(skipped: Skipped) -> str:
    """Return the reason without the file name at its start."""
    sentence = clean_text(skipped.reason, max_length=300)
    return re.sub(r"^(it|'.*?'(?= (is|has|holds|breaks|does|cannot)\b)) ", "", sentence)


def inspect(pairs: Sequence[tuple[CorpusPiece, PieceStats]]) -> list[dict[str, Any]]:
    """Return the usable pieces that should be checked, by reason, with examples."""
    copies = list(_copies(pairs))
    across = [(copy, first) for copy, first in copies if copy.split != first.split]
    within = [(copy, first) for copy, first in copies if copy.split == first.split]
    found = {
        "not on a beat grid": [p.name for p, s in pairs if s.is_off_grid],
        "finer than the grid": [p.name for p, s in pairs if _exceeds_grid(s)],
        "duplicate": [f"{copy.name} = {first.name}" for copy, first in within],
        "duplicate across splits": [
            f"{copy.name} ({copy.split}) = {first.name} ({first.split})" for copy, first in across
        ],
        "too short": [p.name for p, s in pairs if s.is_short],
    }
    return [
        {
            "what": what,
            "pieces": len(names),
            "hint": _HINTS[what],
            "examples": [clean_text(name, max_length=200) for name in names[:MAX_EXAMPLES]],
        }
        for what, names in found.items()
        if names
    ]


def _exceeds_grid(stats: PieceStats) -> bool:
    return not stats.is_off_grid and stats.moved + stats.lost > COARSE_SHARE * stats.notes


def _copies(
    pairs: Iterable[tuple[CorpusPiece, PieceStats]],
) -> Iterable[tuple[CorpusPiece, CorpusPiece]]:
    """Yield pieces with the fingerprint of an earlier piece, and the earlier piece."""
    first: dict[str, CorpusPiece] = {}
    for piece, stats in pairs:
        original = first.setdefault(stats.fingerprint, piece)
        if original is not piece:
            yield piece, original


def _splits(
    corpus: Corpus, pairs: Iterable[tuple[CorpusPiece, PieceStats]]
) -> dict[str, dict[str, Any]]:
    """Return pieces, notes, hours and tokens by split."""
    seconds: dict[str, float] = defaultdict(float)
    for piece, stats in pairs:
        seconds[piece.split] += stats.seconds
    found = {}
    for split in SPLITS:
        found[split] = {
            "pieces": sum(piece.split == split for piece in corpus.pieces),
            "notes": corpus.notes(split),
            "hours": round(seconds[split] / 3600, 4),
            "tokens": sum(map(len, corpus.tokens(split))),
        }
    return found


def _instruments(stats: Iterable[PieceStats]) -> list[dict[str, Any]]:
    notes, pieces = Counter[int](), Counter[int]()
    for each in stats:
        for program, own in each.programs:
            notes[program] += own
            pieces[program] += 1
    return [
        {"name": instrument_name(p), "program": p, "notes": own, "pieces": pieces[p]}
        for p, own in notes.most_common()
    ]


def _counted(names: Iterable[str]) -> list[dict[str, Any]]:
    return [{"name": name, "pieces": own} for name, own in Counter(names).most_common()]


def _grid(stats: Sequence[PieceStats]) -> dict[str, Any]:
    """Return how many notes the grid of twelve steps per beat loses and moves."""
    notes, lost, moved = (
        sum(getattr(each, name) for each in stats) for name in ("notes", "lost", "moved")
    )
    return {
        "notes": notes,
        "lost": lost,
        "moved": moved,
        "lost_share": round(lost / max(notes, 1), 6),
        "moved_share": round(moved / max(notes, 1), 6),
        "moved_by_ms": round(sum(each.moved_ms for each in stats) / max(moved, 1), 2),
    }


def _tokens(
    splits: dict[str, dict[str, Any]], tokenizer: MusicTokenizer, estimate: TimeEstimate | None
) -> dict[str, Any]:
    notes, tokens = (
        max(sum(each[name] for each in splits.values()), 1) for name in ("notes", "tokens")
    )
    return {
        "vocabulary": len(tokenizer),
        "per_note": round(tokens / notes, 3),
        "epoch": 0 if estimate is None else estimate.tokens_per_epoch,
    }


# Output.


def write_report(folder: Path, report: dict[str, Any]) -> tuple[Path, Path]:
    """Write `data_report.json` and `data_report.html`; create the folder if necessary.

    Raises:
        TrainingError: The folder cannot be written to.
    """
    data, page = folder / JSON_FILE, folder / HTML_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        data.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        page.write_text(as_html(report), encoding="utf-8")
    except OSError as error:
        raise TrainingError(
            f"The report cannot be written into {folder.name!r} ({error.strerror}); choose another "
            "--output_dir."
        ) from error
    return data, page


def as_text(report: dict[str, Any], *, training: bool = True) -> str:
    """Format the report for a terminal; without `training`, only what it says of the corpus."""
    parts = [_files_text(report), _left_out_text(report), _checks_text(report)]
    if report["files"]["read"]:
        parts += [_music_text(report), _splits_text(report)]
        parts += [_tokens_text(report)] if training else []
    parts += [time_sentence(report)] if training else []
    return "\n".join(filter(None, parts))


def _files_text(report: dict[str, Any]) -> str:
    files = report["files"]
    return (
        f"Files       {files['found']:,} found, {files['read']:,} used, "
        f"{files['left_out']:,} left out"
    )


def _left_out_text(report: dict[str, Any]) -> str:
    lines = []
    for group in report["left_out"]:
        lines.append(f"  left out, {group['reason']}: {pluralize(group['files'], 'file')}")
        lines += [f"    {each['name']}: {each['why']}" for each in group["examples"]]
        lines += _more(group["files"])
    return "\n".join(lines)


def _checks_text(report: dict[str, Any]) -> str:
    lines = []
    for group in report["look_at"]:
        pieces = pluralize(group["pieces"], "piece")
        lines.append(f"  used, but check: {group['what']}: {pieces}. {group['hint']}")
        lines += [f"    {name}" for name in group["examples"]] + _more(group["pieces"])
    return "\n".join(lines)


def _more(found: int) -> list[str]:
    return [f"    and {found - MAX_EXAMPLES:,} more"] if found > MAX_EXAMPLES else []


def _music_text(report: dict[str, Any]) -> str:
    grid, changing = report["grid"], report["pieces_that_change_meter"]
    return "\n".join(
        (
            f"Music       {report['hours']:,.2f} hours, {report['notes']:,} notes",
            f"Instruments {_first_rows(report['instruments'], 'notes')} (notes of each)",
            f"Keys        {_first_rows(report['keys'], 'pieces')} (pieces in each; estimated)",
            f"Meters      {_first_rows(report['meters'], 'pieces')} (pieces that begin in each; "
            f"it changes in {changing:,})",
            f"Grid        times are rounded to twelve steps per beat: {grid['moved_share']:.2%} of "
            f"the notes move, by {grid['moved_by_ms']:.0f} ms on average; {grid['lost_share']:.2%} "
            "coincide with another note and are lost",
        )
    )


def _first_rows(rows: Sequence[dict[str, Any]], unit: str, limit: int = 8) -> str:
    names = ", ".join(f"{row['name']} {row[unit]:,}" for row in rows[:limit])
    return names + (f" and {len(rows) - limit} more" if len(rows) > limit else "")


def _splits_text(report: dict[str, Any]) -> str:
    return "Splits      " + "; ".join(
        f"{split} {pluralize(own['pieces'], 'piece')}, {pluralize(own['notes'], 'note')}, "
        f"{pluralize(own['tokens'], 'token')}"
        for split, own in report["splits"].items()
    )


def _tokens_text(report: dict[str, Any]) -> str:
    tokens = report["tokens"]
    return (
        f"Tokens      {tokens['per_note']:.2f} per note, {tokens['epoch']:,} per epoch (all "
        f"training pieces once, varied at random), {tokens['vocabulary']:,} different ones"
    )


def time_sentence(report: dict[str, Any]) -> str:
    """Return how long the training will take, and how it was measured."""
    found = report["estimate"]
    if found is None:
        return "Time        not measured: there is nothing to train on"
    return (
        f"Time        about {minutes_text(found['minutes'])} for {found['steps']:,} training steps "
        f"({found['epochs']:,.1f} epochs) with --preset {report['preset']} on this machine "
        f"({found['device']}), without composing samples and writing checkpoints; measured on "
        f"{found['measured_steps']} steps of {found['fastest_s']:.2f} to {found['slowest_s']:.2f} s"
        f" ({found['tokens_per_second']:,} tokens/s) and on "
        f"{pluralize(found['measured_pieces'], 'held-out piece')}"
    )
