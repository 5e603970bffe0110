"""What a corpus holds and what training on it would take, before anything is trained.

`describe` gathers plain numbers and names, `as_text` says them on a terminal, `write_report` writes
them as JSON and as a page. Knows neither files of music nor the network.
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
from training.data.corpus import SPLITS, Corpus, CorpusPiece, Skipped
from training.data.piece_stats import SHORT_NOTES, SHORT_S, Survey
from training.errors import TrainingError
from training.report.html import as_html
from training.report.time_estimate import Estimate

JSON_FILE, HTML_FILE = "data_report.json", "data_report.html"
EXAMPLES = 5  # files named for each reason
COARSE_SHARE = 0.25  # of the notes of a piece, moved or lost by the grid

# Which words of a sentence of refusal give which reason; the first that fit. Else it is broken.
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
        "Their notes fall on the beats of the file no better than by chance, as in recordings "
        "without a click, so their bars would teach nonsense; align them with a beat tracker or "
        "leave them out with --leave_out free."
    ),
    "finer than the grid": (
        f"The grid of twelve steps a beat moves or loses more than {COARSE_SHARE:.0%} of their "
        "notes, as with 32nd notes or free ornaments; they are learnt as rounded to it."
    ),
    "duplicate": (
        "They have the notes of another piece, up to transposition, tempo and instruments, and "
        "would count twice; --leave_out duplicate keeps one of each."
    ),
    "duplicate across splits": (
        "One of them is trained on and its copy is held out, so that the figures would be better "
        "than the model; --leave_out duplicate keeps one of each."
    ),
    "too short": (
        f"They have fewer than {SHORT_NOTES} notes or last less than {SHORT_S:.0f} seconds; join "
        "them or, if they are only fragments, leave them out with --leave_out short."
    ),
}


# Gathering.


def describe(
    corpus: Corpus, tokenizer: MusicTokenizer, *, preset: str, estimate: Estimate | None = None
) -> dict[str, Any]:
    """Everything the report says, as plain values.

    Args:
        corpus: What was read.
        tokenizer: The one the model is trained with.
        preset: Name of the settings that the estimate is for.
        estimate: None: there is nothing to train on.
    """
    pairs = [(piece, Survey.from_facts(piece.facts)) for piece in corpus.pieces if piece.facts]
    surveys = [survey for _, survey in pairs]
    splits = _splits(corpus, pairs)
    return {
        "files": {
            "found": len(corpus.pieces) + len(corpus.skipped),
            "read": len(corpus.pieces),
            "left_out": len(corpus.skipped),
        },
        "left_out": left_out(corpus.skipped),
        "look_at": inspect(pairs),
        "hours": round(sum(each.seconds for each in surveys) / 3600, 4),
        "notes": sum(piece.notes for piece in corpus.pieces),
        "corpora": corpus.summary(),
        "splits": splits,
        "instruments": _instruments(surveys),
        "keys": _counted(each.key or "none" for each in surveys),
        "meters": _counted(each.meter for each in surveys),
        "pieces_that_change_meter": sum(each.meters > 1 for each in surveys),
        "grid": _grid(surveys),
        "tokens": _tokens(splits, tokenizer, estimate),
        "preset": preset,
        "estimate": None if estimate is None else estimate.facts(),
    }


def left_out(skipped: Iterable[Skipped]) -> list[dict[str, Any]]:
    """Files that were left out by reason, the commonest first, with the first few of each."""
    groups: dict[str, list[Skipped]] = defaultdict(list)
    for each in skipped:
        groups[reason_of(each.reason)].append(each)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    return [
        {
            "reason": reason,
            "files": len(own),
            "examples": [
                {"name": clean_text(each.name), "why": _why(each)} for each in own[:EXAMPLES]
            ],
        }
        for reason, own in ordered
    ]


def reason_of(sentence: str) -> str:
    """The reason that a sentence of refusal gives, in a word or two."""
    for reason, words in _REASONS:
        if any(word in sentence for word in words):
            return reason
    return BROKEN


def _why(skipped: Skipped) -> str:
    """The sentence without the name it begins with."""
    sentence = clean_text(skipped.reason, max_length=300)
    return re.sub(r"^(it|'.*?'(?= (is|has|holds|breaks|does|cannot)\b)) ", "", sentence)


def inspect(pairs: Sequence[tuple[CorpusPiece, Survey]]) -> list[dict[str, Any]]:
    """What was read and kept, but should be looked at, with the first few of each kind."""
    copies = list(_copies(pairs))
    across = [(copy, first) for copy, first in copies if copy.split != first.split]
    within = [(copy, first) for copy, first in copies if copy.split == first.split]
    found = {
        "not on a beat grid": [p.name for p, s in pairs if s.free],
        "finer than the grid": [p.name for p, s in pairs if _is_coarse(s)],
        "duplicate": [f"{copy.name} = {first.name}" for copy, first in within],
        "duplicate across splits": [
            f"{copy.name} ({copy.split}) = {first.name} ({first.split})" for copy, first in across
        ],
        "too short": [p.name for p, s in pairs if s.short],
    }
    return [
        {
            "what": what,
            "pieces": len(names),
            "hint": _HINTS[what],
            "examples": [clean_text(name, max_length=200) for name in names[:EXAMPLES]],
        }
        for what, names in found.items()
        if names
    ]


def _is_coarse(survey: Survey) -> bool:
    return not survey.free and survey.moved + survey.lost > COARSE_SHARE * survey.notes


def _copies(
    pairs: Iterable[tuple[CorpusPiece, Survey]],
) -> Iterable[tuple[CorpusPiece, CorpusPiece]]:
    """Pieces with the fingerprint of an earlier one, and that one."""
    first: dict[str, CorpusPiece] = {}
    for piece, survey in pairs:
        original = first.setdefault(survey.fingerprint, piece)
        if original is not piece:
            yield piece, original


def _splits(
    corpus: Corpus, pairs: Iterable[tuple[CorpusPiece, Survey]]
) -> dict[str, dict[str, Any]]:
    """Return pieces, notes, hours and tokens by split."""
    seconds: dict[str, float] = defaultdict(float)
    for piece, survey in pairs:
        seconds[piece.split] += survey.seconds
    found = {}
    for split in SPLITS:
        found[split] = {
            "pieces": sum(piece.split == split for piece in corpus.pieces),
            "notes": corpus.notes(split),
            "hours": round(seconds[split] / 3600, 4),
            "tokens": sum(map(len, corpus.tokens(split))),
        }
    return found


def _instruments(surveys: Iterable[Survey]) -> list[dict[str, Any]]:
    notes, pieces = Counter[int](), Counter[int]()
    for survey in surveys:
        for program, own in survey.programs:
            notes[program] += own
            pieces[program] += 1
    return [
        {"name": instrument_name(p), "program": p, "notes": own, "pieces": pieces[p]}
        for p, own in notes.most_common()
    ]


def _counted(names: Iterable[str]) -> list[dict[str, Any]]:
    return [{"name": name, "pieces": own} for name, own in Counter(names).most_common()]


def _grid(surveys: Sequence[Survey]) -> dict[str, Any]:
    """What the grid of twelve steps a beat does to the notes of the files."""
    notes, lost, moved = (
        sum(getattr(each, name) for each in surveys) for name in ("notes", "lost", "moved")
    )
    return {
        "notes": notes,
        "lost": lost,
        "moved": moved,
        "lost_share": round(lost / max(notes, 1), 6),
        "moved_share": round(moved / max(notes, 1), 6),
        "moved_by_ms": round(sum(each.moved_ms for each in surveys) / max(moved, 1), 2),
    }


def _tokens(
    splits: dict[str, dict[str, Any]], tokenizer: MusicTokenizer, estimate: Estimate | None
) -> dict[str, Any]:
    notes, tokens = (
        max(sum(each[name] for each in splits.values()), 1) for name in ("notes", "tokens")
    )
    return {
        "vocabulary": len(tokenizer),
        "per_note": round(tokens / notes, 3),
        "epoch": 0 if estimate is None else estimate.tokens_per_epoch,
    }


# Writing.


def write_report(folder: Path, facts: dict[str, Any]) -> tuple[Path, Path]:
    """Write `data_report.json` and `data_report.html`; the folder is made if need be.

    Raises:
        TrainingError: The folder cannot be written to.
    """
    data, page = folder / JSON_FILE, folder / HTML_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        data.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        page.write_text(as_html(facts), encoding="utf-8")
    except OSError as error:
        raise TrainingError(
            f"The report cannot be written into {folder.name!r} ({error.strerror}); choose another "
            "--output_dir."
        ) from error
    return data, page


def as_text(facts: dict[str, Any]) -> str:
    """The report for a terminal."""
    parts = [_files_text(facts), _left_out_text(facts), _look_at_text(facts)]
    if facts["files"]["read"]:
        parts += [_music_text(facts), _splits_text(facts), _tokens_text(facts)]
    return "\n".join([*filter(None, parts), time_sentence(facts)])


def _files_text(facts: dict[str, Any]) -> str:
    files = facts["files"]
    return (
        f"Files       {files['found']:,} found, {files['read']:,} read, "
        f"{files['left_out']:,} left out"
    )


def _left_out_text(facts: dict[str, Any]) -> str:
    lines = []
    for group in facts["left_out"]:
        lines.append(f"  left out, {group['reason']}: {group['files']:,}")
        lines += [f"    {each['name']}: {each['why']}" for each in group["examples"]]
        lines += _more(group["files"])
    return "\n".join(lines)


def _look_at_text(facts: dict[str, Any]) -> str:
    lines = []
    for group in facts["look_at"]:
        lines.append(f"  kept, but look at: {group['what']}: {group['pieces']:,}. {group['hint']}")
        lines += [f"    {name}" for name in group["examples"]] + _more(group["pieces"])
    return "\n".join(lines)


def _more(found: int) -> list[str]:
    return [f"    and {found - EXAMPLES:,} more"] if found > EXAMPLES else []


def _music_text(facts: dict[str, Any]) -> str:
    grid, changing = facts["grid"], facts["pieces_that_change_meter"]
    return "\n".join(
        (
            f"Music       {facts['hours']:,.2f} hours, {facts['notes']:,} notes",
            f"Instruments {_some(facts['instruments'], 'notes')} (notes)",
            f"Keys        {_some(facts['keys'], 'pieces')} (pieces, estimated)",
            f"Meters      {_some(facts['meters'], 'pieces')} (pieces; {changing:,} change it)",
            f"Grid        loses {grid['lost_share']:.2%} of the notes and moves "
            f"{grid['moved_share']:.2%}, by {grid['moved_by_ms']:.0f} ms in the mean",
        )
    )


def _some(rows: Sequence[dict[str, Any]], unit: str, most: int = 8) -> str:
    names = ", ".join(f"{row['name']} {row[unit]:,}" for row in rows[:most])
    return names + (f" and {len(rows) - most} more" if len(rows) > most else "")


def _splits_text(facts: dict[str, Any]) -> str:
    return "Splits      " + "; ".join(
        f"{split} {pluralize(own['pieces'], 'piece')}, {pluralize(own['notes'], 'note')}, "
        f"{pluralize(own['tokens'], 'token')}"
        for split, own in facts["splits"].items()
    )


def _tokens_text(facts: dict[str, Any]) -> str:
    tokens = facts["tokens"]
    return (
        f"Tokens      {tokens['per_note']:.2f} a note, {tokens['epoch']:,} an epoch as augmented, "
        f"{tokens['vocabulary']:,} in the vocabulary"
    )


def time_sentence(facts: dict[str, Any]) -> str:
    """How long the run will take, and how that is known."""
    found = facts["estimate"]
    if found is None:
        return "Time        not measured: there is nothing to train on"
    return (
        f"Time        about {minutes_text(found['minutes'])} for {found['steps']:,} steps "
        f"({found['epochs']:,.1f} epochs) with --preset {facts['preset']} on this machine "
        f"({found['device']}), without composed samples and writing checkpoints; measured on "
        f"{found['measured_steps']} steps of {found['fastest_s']:.2f} to {found['slowest_s']:.2f} s"
        f" ({found['tokens_per_second']:,} tokens/s) and on "
        f"{pluralize(found['measured_pieces'], 'held-out piece')}"
    )


def minutes_text(minutes: float) -> str:
    """A time for people, as exact as an estimate can be."""
    if minutes < 1:
        return pluralize(max(1, round(60 * minutes)), "second")
    if minutes < 10:
        return f"{minutes:.1f} minutes"
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
