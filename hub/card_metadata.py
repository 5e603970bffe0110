"""YAML metadata of a model card, from `facts.json`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from huggingface_hub import EvalResult, ModelCardData

BUNDLED_NAME = "musiclstm"
TASK = "text-generation"  # the Hub's name for causal language models
TAGS = ("music", "midi", "symbolic-music", "lstm", "musiclstm")

Facts: TypeAlias = Mapping[str, Any]

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_METRICS = {"bits_per_note": "Bits per note", "bits_per_token": "Bits per token"}


def metadata(facts: Facts, *, name: str, license: str, base_model: str | None = None) -> str:
    """Return the YAML metadata, without the lines of dashes around it.

    Args:
        facts: Contents of `facts.json`.
        name: Name of the model.
        license: An identifier of the Hub.
        base_model: Hub id of the model that was fine-tuned. None: as in the facts.
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
    """Return the Hub model from which training started; None for random weights.

    Local folders are skipped: the run that made them counts.
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
    """Return the corpora that are datasets of the Hub, not local folders."""
    return [each["name"] for each in data if _HUB_ID.fullmatch(each["name"])]


def _results(facts: Facts) -> Iterator[EvalResult]:
    for each in facts.get("evaluation", []):
        names = ", ".join(each["data"])
        yield from _loss_results(each["held_out"] or {}, names, each["split"])
        share = (each["accuracy"] or {}).get("all", {}).get("share")
        if share is not None:
            yield _result("accuracy", "Accuracy, all tokens", round(share, 4), names, each["split"])
    if not any(each["held_out"] for each in facts.get("evaluation", [])):
        names = ", ".join(each["name"] for each in facts.get("data", [])) or "not stated"
        for split in ("valid", "test"):
            yield from _loss_results(facts.get(split, {}), names, split)


def _loss_results(measured: Facts, corpora: str, split: str) -> Iterator[EvalResult]:
    for metric, title in _METRICS.items():
        if metric in measured:
            yield _result(metric, title, round(measured[metric], 4), corpora, split)


def _result(metric: str, title: str, value: float, corpora: str, split: str) -> EvalResult:
    return EvalResult(
        task_type=TASK,
        task_name="MIDI continuation",
        dataset_type="midi",
        dataset_name=corpora,
        dataset_config=corpora,  # the Hub merges results that differ only in the name
        dataset_split=split,
        metric_type=metric,
        metric_name=title,
        metric_value=value,
    )
