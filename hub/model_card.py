"""Model card from `facts.json`: `python -m hub.model_card FOLDER` writes the README.md of a folder.

All numbers come from the facts. A missing fact is shown as not measured or not stated.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any, TypeAlias
from urllib.parse import quote

from hub.card_metadata import BUNDLED_NAME, base_of, metadata
from musiclstm.cli import run_command
from musiclstm.errors import MusicLSTMError
from musiclstm.model import read_facts

CARD_FILE, CURVE_FILE = "README.md", "learning_curve.png"
UNKNOWN = "Not measured."
TEMPLATES = Path(__file__).parent / "templates"

Facts: TypeAlias = Mapping[str, Any]

_ENTITIES = {ord(sign): f"&#{ord(sign)};" for sign in "\\`*_[]<>|#&"}

# Figures of continuations (training.evaluation.music_metrics has the formulas).
DEFINITIONS = {
    "overlap": "sum of the smaller value of each bin of two normalized histograms, 0 to 1; of one "
    "feature, or the mean of pitch class, pitch, onset interval, duration and notes per bar",
    "overlap_with_prompt": "the mean, always with the prompt",
    "silent_instruments": "share of the programs in the last four bars of the prompt that have no "
    "note in the last four bars of the music",
    "density": "|log2((n + 1/2) / (p + 1/2))| with n and p notes per bar of the music and of the "
    "prompt",
    "near_repeats": "share of non-empty bars that share 70 % of their notes (Jaccard similarity) "
    "with an earlier bar",
    "same_key": "share of groups of four bars that are in the estimated key of the prompt",
    "melody_lost": "share of pieces whose highest notes lie seven or more semitones below those of "
    "the prompt (medians)",
    "lines_become_chords": "share of one-voice parts of the prompt that play chords in the music",
    "collapse": "share of pieces with fewer than two pitches, more than half of the bars empty, or "
    "one bar more than eight times",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Write the card of a checkpoint folder. Return 0, or 1 after an error message."""
    parser = argparse.ArgumentParser(
        prog="python -m hub.model_card", description="Write the model card of a checkpoint folder."
    )
    parser.add_argument("folder", type=Path, help="with config.json and facts.json")
    parser.add_argument("--name", help="name of the model (name of the folder)")
    parser.add_argument("--license", default="apache-2.0", help="of the weights (apache-2.0)")
    options = parser.parse_args(argv)
    try:
        card = write_card(options.folder, name=options.name, license=options.license)
    except (MusicLSTMError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    print(card)
    return 0


def write_card(
    folder: Path,
    *,
    name: str | None = None,
    license: str = "apache-2.0",
    base_model: str | None = None,
    base_url: str | None = None,
) -> Path:
    """Write `README.md` from `facts.json` and return its path; arguments as of `model_card`.

    Raises:
        CheckpointError: The facts are damaged.
        OSError: The card cannot be written.
    """
    card = folder / CARD_FILE
    text = model_card(
        read_facts(folder),
        name=name or folder.resolve().name,
        license=license,
        base_model=base_model,
        base_url=base_url,
        has_curve=(folder / CURVE_FILE).is_file(),
    )
    card.write_text(text, encoding="utf-8")
    return card


def model_card(
    facts: Facts,
    *,
    name: str,
    license: str = "apache-2.0",
    base_model: str | None = None,
    base_url: str | None = None,
    has_curve: bool = False,
) -> str:
    """Return the card as Markdown, with the metadata for the Hub.

    Args:
        facts: Contents of `facts.json`.
        name: Name of the model; `musiclstm` is the bundled one.
        license: Of the weights, as an identifier of the Hub.
        base_model: Hub id of the model that was fine-tuned. None: as in the facts.
        base_url: Address of the files of the repository. None: the model is not on the Hub, so the
            card has no audio players and no example that loads it from there.
        has_curve: Whether there is a picture of the learning curve in the folder.
    """
    size, is_bundled = facts.get("parameters"), name == BUNDLED_NAME
    where = "" if is_bundled else json.dumps(name)
    return _template("model_card").substitute(
        metadata=metadata(facts, name=name, license=license, base_model=base_model),
        name=_text(name),
        where=where,
        model="" if is_bundled else f" --model {shlex.quote(name)}",
        parameters="an unknown number" if size is None else f"{size:,}",
        samples=_samples(facts.get("samples", []), base_url),
        transformers=_template("transformers").substitute(where=where) if base_url else "",
        likelihood=_evaluation_tables(facts),
        continuations=_continuations(facts.get("evaluation", [])),
        reports="".join(_report(each) for each in facts.get("reports", [])),
        limits=_list(facts.get("limits", [])),
        data=_data(facts),
        credits=_credits(facts.get("credits", [])),
        base=_base(base_model or base_of(facts.get("runs", []))),
        runs=_runs(facts.get("runs", [])),
        learning_curve=_training_plot(has_curve),
    )


def _template(name: str) -> Template:
    return Template((TEMPLATES / f"{name}.md").read_text(encoding="utf-8"))


# -- Sections --------------------------------------------------------------------------------------


def _samples(samples: Sequence[Facts], base_url: str | None) -> str:
    return (
        "\n".join(["\n## Samples\n", *(_sample(e, base_url) for e in samples)]) if samples else ""
    )


def _sample(sample: Facts, base_url: str | None) -> str:
    name, files = _text(sample["name"]), sample["files"]
    links = ", ".join(f"[{kind}]({path})" for kind, path in files.items())
    parts = [f"### {name}", f"Continues {_text(sample['source'])} ({links})."]
    if base_url and "sound" in files:  # a player needs an absolute address
        parts.append(f'<audio controls src="{base_url}/{quote(files["sound"])}"></audio>')
    if "roll" in files:
        parts.append(f"![Piano roll of {name}]({files['roll']})")
    return "\n\n".join(parts) + "\n"


def _evaluation_tables(facts: Facts) -> str:
    measured = [each for each in facts.get("evaluation", []) if each["held_out"]]
    rows = [
        {
            "data": ", ".join(map(_text, each["data"])),
            "split": each["split"],
            "bits per note": _number(each["held_out"]["bits_per_note"], 3),
            "bits per token": _number(each["held_out"]["bits_per_token"], 3),
            "pieces": f"{each['held_out']['pieces']:,}",
            "notes": f"{each['held_out']['notes']:,}",
        }
        for each in measured
    ] or [
        {"split": split, "bits per note": _number(facts[split]["bits_per_note"], 3)}
        for split in ("valid", "test")
        if split in facts
    ]
    shown = [_table(rows) if rows else UNKNOWN]
    for each in measured:
        data = ", ".join(map(_text, each["data"]))
        shown += [f"{data}, split {each['split']}, {_command(each)}:", _accuracy(each)]
    return "\n\n".join(shown)


def _accuracy(evaluation: Facts) -> str:
    rows = [
        {
            "token type": _text(kind),
            "accuracy": f"{100 * each['share']:.1f} %",
            "tokens": f"{each['tokens']:,}",
        }
        for kind, each in evaluation["accuracy"].items()
    ]
    return _table(rows)


def _continuations(evaluations: Sequence[Facts]) -> str:
    parts = [_continuation(each) for each in evaluations if each.get("continuations")]
    return "\n\n".join(parts) or UNKNOWN


def _continuation(evaluation: Facts) -> str:
    found, plan = evaluation["continuations"], evaluation["plan"]
    sampling = {name: value for name, value in plan["sampling"].items() if value is not None}
    head = (
        f"{found['takes']:,} continuations of {found['pieces']:,} {evaluation['split']} pieces, "
        f"{plan['bars']} bars after a prompt of {plan['prompt_bars']} (4 after 4 for shorter "
        f"pieces), with the settings `{json.dumps(sampling)}`; decode failures: "
        f"{found['decode_failures']}. *Composed* compares the continuation with the piece's own "
        "next bars (overlaps) or the prompt (all others); *95 %* is a bootstrap interval. "
        "*Original* compares the piece's own next bars with the prompt."
    )
    baseline = found.get("baseline", {})
    baselines = {_text(baseline["model"]): baseline["figures"]} if baseline else {}
    rows = [
        {
            "figure": name.replace("_", " "),
            "composed": _number(row["composed"]),
            "95 %": _interval(row["composed_interval"]),
            "original": _number(row["original"]),
            **{
                model: _number(known.get(name, {}).get("baseline"))
                for model, known in baselines.items()
            },
        }
        for name, row in found["figures"].items()
    ]
    definitions = "\n".join(
        f"- *{name.replace('_', ' ')}*: {DEFINITIONS[name]}"
        for name in found["figures"]
        if name in DEFINITIONS
    )
    return "\n\n".join([head, _table(rows), definitions, _command(evaluation)])


def _interval(ends: Sequence[float | None]) -> str:
    return "-" if None in ends else " to ".join(f"{end:.3f}" for end in ends)


def _report(report: Facts) -> str:
    return f"\n## {report['title']}\n\n{report['printed']}\n\n`{report['command']}`\n"


def _list(limits: Sequence[str]) -> str:
    return "\n".join(f"- {_text(each)}" for each in limits) or "Not stated."


def _data(facts: Facts) -> str:
    rows = [
        {
            "corpus": _text(each["name"]),
            "licence": _text(each["licence"] or "not stated"),
            **{split: _pieces(each.get(split)) for split in ("train", "valid", "test")},
        }
        for each in facts.get("data", [])
    ]
    if not rows:
        return UNKNOWN
    left_out = facts.get("left_out")
    counted = f"{left_out:,} pieces could not be used." if left_out else ""
    return f"{_table(rows)}\n\n{counted}".rstrip()


def _pieces(split: Facts | None) -> str:
    return f"{split['pieces']:,} ({split['notes']:,} notes)" if split else "-"


def _credits(credits: Sequence[Facts]) -> str:
    lines = [
        f"- **{_text(each['name'])}**, {_text(each['source'])}, {_text(each['licence'])}: "
        f"{_text(each['credit'])}"
        for each in credits
    ]
    return "\n" + "\n".join(["Sources:\n", *lines, ""]) if lines else ""


def _base(base: str | None) -> str:
    return f"Fine-tuned from `{base}`.\n\n" if base else ""


def _training_plot(exists: bool) -> str:
    if not exists:
        return "There is no learning curve."
    return (
        f"![Learning curve]({CURVE_FILE})\n\n"
        "Last run: training loss, and bits per note of held-out pieces."
    )


def _runs(runs: Sequence[Facts]) -> str:
    if not runs:
        return UNKNOWN
    rows = [
        {
            "run": f"{number}",
            "from": _text(str(run["from"])),
            "steps": f"{run['steps']:,}",
            "tokens seen": f"{run['tokens_seen']:,}",
            "minutes": f"{run['minutes']:,.0f}",
            "rows x window": f"{run['rows']} x {run['window']}",
            "learning rate": f"{run['learning_rate']:g}, {run['schedule']}",
            "machine": _text(f"{run['device']}: {run['machine']}"),
        }
        for number, run in enumerate(runs, start=1)
    ]
    tokens, minutes = sum(r["tokens_seen"] for r in runs), sum(r["minutes"] for r in runs)
    total = f"Total: {tokens:,} tokens in {minutes / 60:.1f} hours. Energy was not measured."
    text = f"{_table(rows)}\n\n{total}"
    before = runs[-1].get("valid_before")
    if before is None:
        return text
    return f"{text} Before the last run: {before:.3f} bits per note of held-out pieces."


# -- Markdown --------------------------------------------------------------------------------------


def _command(evaluation: Facts) -> str:
    """Return the command that printed an evaluation; DATA stands for the corpora."""
    plan = evaluation["plan"]
    options = f"--split {evaluation['split']} --pieces {plan['pieces']}"
    options += f" --takes {plan['takes']}" if plan["pieces"] else ""
    file = ((evaluation["continuations"] or {}).get("baseline") or {}).get("file")
    options += f" --baseline {file}" if file else ""
    options += "" if evaluation["held_out"] else " --no-bits"
    return f"`python -m training.evaluate --data DATA {options}`"


def _number(value: float | None, digits: int = 3) -> str:
    return "not measured" if value is None else f"{value:.{digits}f}"


def _text(text: str) -> str:
    """Escape text for Markdown and HTML."""
    return " ".join(text.split()).translate(_ENTITIES)


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([row[name] for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(run_command(main))
