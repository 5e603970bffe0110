"""What the Hub reads on top of a card: `facts.json` as YAML, by huggingface_hub's own rules.

Knows no section of the card itself, and adds no number: a result stands here when it was measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from huggingface_hub import EvalResult, ModelCardData

BUNDLED_NAME = "musiclstm"
TASK = "text-generation"  # what the Hub calls a causal language model
TAGS = ("music", "midi", "symbolic-music", "lstm", "musiclstm")

Facts: TypeAlias = Mapping[str, Any]

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_METRICS = {"bits_per_note": "Bits per note", "bits_per_token": "Bits per token"}


def metadata(facts: Facts, *, name: str, license: str, base_model: str | None = None) -> str:
    """The YAML between the two lines of dashes, without them.

    Args:
        facts: What `facts.json` holds.
        name: What the model is called.
        license: As the Hub spells it.
        base_model: What the first weights were, a Hub id; None: what the facts say of it.
    """
    base, results = base_model or base_of(facts.get("runs", [])), list(_results(facts))
    data = ModelCardData(
        license=license,
        library_name="transformers",
        pipeline_tag=TASK,
        tags=list(TAGS),
        datasets=datasets_of(facts.get("data", [])) or None,
        base_model=base,
        model_name=name if results else None,
        eval_results=results or None,
    )
    if base:
        data["base_model_relation"] = "finetune"
    return data.to_yaml()


def base_of(runs: Sequence[Facts]) -> str | None:
    """The model on the Hub that these runs began from; None where they began from nothing.

    A folder of one's own is passed over: what it was made from counts.
    """
    for run in reversed(runs):
        start = str(run["from"])
        if start == "scratch":
            return None
        if start == "default":
            return BUNDLED_NAME
        if _HUB_ID.fullmatch(start):
            return start
    return None


def datasets_of(data: Sequence[Facts]) -> list[str]:
    """The corpora that are data sets of the Hub; folders of one's own have no name there."""
    return [each["name"] for each in data if _HUB_ID.fullmatch(each["name"])]


def _results(facts: Facts) -> Iterator[EvalResult]:
    for each in facts.get("evaluation", []):
        yield from _held_out(each["held_out"] or {}, ", ".join(each["data"]), each["split"])
        share = (each["accuracy"] or {}).get("all", {}).get("share")
        if share is not None:
            names = ", ".join(each["data"])
            yield _result("accuracy", "Accuracy, all tokens", round(share, 4), names, each["split"])
    if not any(each["held_out"] for each in facts.get("evaluation", [])):
        names = ", ".join(each["name"] for each in facts.get("data", [])) or "not stated"
        for split in ("valid", "test"):
            yield from _held_out(facts.get(split, {}), names, split)


def _held_out(measured: Facts, corpora: str, split: str) -> Iterator[EvalResult]:
    for metric, title in _METRICS.items():
        if metric in measured:
            yield _result(metric, title, round(measured[metric], 4), corpora, split)


def _result(metric: str, title: str, value: float, corpora: str, split: str) -> EvalResult:
    return EvalResult(
        task_type=TASK,
        task_name="MIDI continuation",
        dataset_type="midi",
        dataset_name=corpora,
        dataset_config=corpora,  # the Hub merges results that differ in the name alone
        dataset_split=split,
        metric_type=metric,
        metric_name=title,
        metric_value=value,
    )
