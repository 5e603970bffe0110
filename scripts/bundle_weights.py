"""Make a checkpoint the bundled default: `python scripts/bundle_weights.py FOLDER [CORPUS ...]`.

Writes weights (float16), config, tokenizer and facts into `musiclstm/pretrained/`, without the code
files that a checkpoint for the Hub contains. A checkpoint of `training.pretrain` has no facts.json;
its facts are collected from progress.json and from the MANIFEST.json of each corpus. NOTICE.txt
beside the weights must mention every corpus. The index of the training pieces is written afterwards
by `python -m training.memorization default --data …`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers.utils import logging

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from musiclstm import MusicLSTMForCausalLM, MusicTokenizer  # noqa: E402
from musiclstm.errors import CorpusError  # noqa: E402
from musiclstm.model import FACTS_FILE, load_checkpoint, read_facts, save_checkpoint  # noqa: E402
from training.data.splits import SPLITS  # noqa: E402
from training.networks import load_network  # noqa: E402
from training.pretraining.corpora import CORPUS_WEIGHTS  # noqa: E402
from training.pretraining.progress import read_progress, sessions_of  # noqa: E402
from training.pretraining.settings import PretrainingSettings  # noqa: E402
from training.trainer.checkpoints import find_valid  # noqa: E402

PRETRAINED = ROOT / "musiclstm" / "pretrained"
NOTICE = PRETRAINED / "NOTICE.txt"

MAX_BYTES = 20_000_000
LIMITS = [
    "It continues the chords, rhythms and parts of the prompt. It does not plan a whole piece, and "
    "over many bars the key may drift.",
    "It may repeat a bar too often; a lower copy_weight or a higher temperature helps.",
    "It was trained on songs, keyboard and chamber music, choirs, orchestra, and little music for "
    "bands with drums. There is hardly any pop, jazz or dance music in its training data.",
    "It does not model loudness: new notes have the loudness of the prompt's notes at the same "
    "position in the bar.",
    "Drum tracks are one part, and a program has at most eight tracks.",
]


def main(argv: Sequence[str] | None = None) -> int:
    """Bundle a folder; return 1 if its weights are too large for a package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a checkpoint, or a run of training.pretrain")
    parser.add_argument("corpora", type=Path, nargs="*", help="folders with a MANIFEST.json")
    parser.add_argument(
        "--run",
        type=json.loads,
        default=[],
        metavar="JSON",
        help="values that progress.json lacks: device, machine, versions and augmentation of its "
        "first session, or a list of earlier sessions, each with steps, tokens, minutes, settings",
    )
    options = parser.parse_args(argv)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    source = options.folder
    if not (source / FACTS_FILE).is_file():  # finetune writes it beside its checkpoints
        source = find_valid(source, print)
    progress = read_progress(source)
    if progress is not None:
        tokenizer = MusicTokenizer()
        model = load_network(source, tokenizer.token_names, tokenizer.fingerprint)
        facts = pretraining_facts(progress, model, options.corpora, options.run)
    else:
        model, tokenizer = load_checkpoint(source)
        facts = read_facts(source)
    save_checkpoint(PRETRAINED, model, tokenizer, facts=facts)
    for code in PRETRAINED.glob("*.py"):
        code.unlink()
    config = json.loads((PRETRAINED / "config.json").read_text())
    config.pop("auto_map", None)
    (PRETRAINED / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    size = (PRETRAINED / "model.safetensors").stat().st_size
    print(f"{PRETRAINED.name}: {size / 1e6:.1f} MB of weights")
    return int(size > MAX_BYTES)


def pretraining_facts(
    progress: dict[str, Any],
    model: MusicLSTMForCausalLM,
    corpora: Sequence[Path],
    unrecorded: dict[str, Any] | list[dict[str, Any]],
) -> dict[str, Any]:
    """Return the contents of facts.json for a run of `training.pretrain`.

    Args:
        progress: Contents of progress.json.
        model: The network.
        corpora: Folders with a MANIFEST.json.
        unrecorded: Values that progress.json lacks: fields of its first session, or the sessions
            that the first one includes.

    Raises:
        CorpusError: `corpora` are not those of the run, or NOTICE.txt lacks one of them.
    """
    sessions = sessions_of(progress)
    if isinstance(unrecorded, dict):
        sessions[0] = unrecorded | sessions[0]
    else:
        sessions = _split_first(sessions, unrecorded)
    named = [
        (each.name, json.loads((each / "MANIFEST.json").read_text("utf-8"))) for each in corpora
    ]
    recorded = {each["name"]: each for each in progress.get("corpora", []) if each["weight"]}
    _check_names([name for name, _ in named], list(recorded))
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "vocabulary": model.config.vocab_size,
        "data": [_counts(name, manifest) | recorded.get(name, {}) for name, manifest in named],
        "left_out": 0,
        "runs": [_run_record(session) for session in sessions],
        "limits": LIMITS,
        "credits": [_credit(name, manifest) for name, manifest in named],
    }


def _split_first(
    sessions: Sequence[dict[str, Any]], earlier: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Separate earlier sessions from the first one, which includes them."""
    first, *rest = sessions
    remaining = {
        name: round(first[name] - sum(each[name] for each in earlier), 1)
        for name in ("steps", "tokens", "minutes")
    }
    step, separated = 0, []
    for each in earlier:
        separated.append(each | {"from": f"checkpoint-{step}" if step else "scratch"})
        step += each["steps"]
    resumed_from = f"checkpoint-{step}" if step else first["from"]
    return [*separated, first | remaining | {"from": resumed_from}, *rest]


def _run_record(session: dict[str, Any]) -> dict[str, Any]:
    settings = PretrainingSettings(**session["settings"])
    completed = settings.completed(session["steps"], session["minutes"])
    stopped = f", stopped at {completed:.0%}" if settings.decay and completed < 0.99 else ""
    return {
        "command": "training.pretrain",
        "from": session["from"],
        "steps": session["steps"],
        "tokens_seen": session["tokens"],
        "minutes": session["minutes"],
        "window": settings.steps,
        "rows": settings.rows,
        "learning_rate": settings.learning_rate,
        "schedule": settings.schedule + stopped,
        **{
            name: session.get(name, "unknown")
            for name in ("device", "machine", "versions", "augmentation")
        },
    }


def _check_names(given: Sequence[str], recorded: Sequence[str]) -> None:
    """Refuse corpora other than those of the run, and corpora without a notice."""
    if recorded and set(given) != set(recorded):
        raise CorpusError(
            f"The run was trained on {', '.join(recorded)}; name their folders, and no other, in "
            f"place of {', '.join(given) or 'none'}."
        )
    notice = NOTICE.read_text("utf-8")
    missing = [name for name in given if f"\n{name}: " not in notice]
    if missing:
        raise CorpusError(
            f"{NOTICE.name} does not mention {', '.join(missing)}; write it again with "
            "scripts/write_notices.py."
        )


def _counts(name: str, manifest: dict[str, Any]) -> dict[str, Any]:
    pieces: Counter[str] = Counter(piece["split"] for piece in manifest["pieces"])
    notes: Counter[str] = Counter()
    for piece in manifest["pieces"]:
        notes[piece["split"]] += piece["notes"]
    splits = {split: {"pieces": pieces[split], "notes": notes[split]} for split in SPLITS}
    return {
        "name": name,
        "licence": manifest["licence"],
        "weight": CORPUS_WEIGHTS.get(name, 1.0),
        **splits,
    }


def _credit(name: str, manifest: dict[str, Any]) -> dict[str, str]:
    return {
        "name": name,
        "source": manifest["source"],
        "licence": manifest["licence"],
        "credit": "see NOTICE.txt beside the weights",
    }


if __name__ == "__main__":
    sys.exit(main())
