"""Make a checkpoint the bundled default: `python scripts/bundle_weights.py FOLDER [CORPUS ...]`.

Copies weights (float16), config, tokenizer and facts into `musiclstm/pretrained/`. The code files
that a checkpoint for the Hub carries stay behind: here the package itself is the code. A checkpoint
of `training.pretrain` has no facts.json; its facts are made from its progress.json and from the
MANIFEST.json of each corpus.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from musiclstm import MusicLSTMForCausalLM, MusicTokenizer  # noqa: E402
from musiclstm.checkpoint import (  # noqa: E402
    FACTS_FILE,
    load_checkpoint,
    read_facts,
    save_checkpoint,
)
from training.checkpoints import newest_whole  # noqa: E402
from training.data.default_corpora import CORPUS_WEIGHTS  # noqa: E402
from training.data.encoded_corpora import SPLITS  # noqa: E402
from training.networks import load_network  # noqa: E402
from training.pretrain import PROGRESS_FILE, Settings  # noqa: E402

PRETRAINED = ROOT / "musiclstm" / "pretrained"

MOST_BYTES = 20_000_000
LIMITS = [
    "It continues what it is given: chords, rhythms and parts of the prompt. It has no plan of a "
    "whole piece, and over many bars the key may wander.",
    "It may repeat a bar too often; a lower copy_weight or a higher temperature helps.",
    "It knows songs, keyboard and chamber music, choirs, orchestra, and little music for bands "
    "with drums. Pop, jazz and dance music are nearly unknown to it.",
    "It knows no loudness: new notes are as loud as the prompt's at the same place of the bar.",
    "Drum tracks are one part, and a program has at most eight tracks.",
]


def main(argv: Sequence[str] | None = None) -> int:
    """Bundle a folder; 1 when its weights are too large for a package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a checkpoint, or a run of training.pretrain")
    parser.add_argument("corpora", type=Path, nargs="*", help="folders with a MANIFEST.json")
    parser.add_argument(
        "--run",
        type=json.loads,
        default={},
        metavar="JSON",
        help="what progress.json does not say of the run: device, machine, versions, augmentation",
    )
    options = parser.parse_args(argv)
    source = options.folder
    if not (source / FACTS_FILE).is_file():  # which finetune writes beside its checkpoints
        source = newest_whole(source, print) or source
    if (source / PROGRESS_FILE).is_file():
        tokenizer = MusicTokenizer()
        model = load_network(source, tokenizer.token_names, tokenizer.fingerprint)
        facts = pretraining_facts(source, model, options.corpora, options.run)
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
    return int(size > MOST_BYTES)


def pretraining_facts(
    folder: Path,
    model: MusicLSTMForCausalLM,
    corpora: Sequence[Path],
    unrecorded: dict[str, Any],
) -> dict[str, Any]:
    """Return what is known of a run of `training.pretrain`; the card is written from it.

    Args:
        folder: The checkpoint.
        model: Its network.
        corpora: Folders with a MANIFEST.json.
        unrecorded: Device, machine, versions and augmentation where progress.json lacks them.
    """
    progress = json.loads((folder / PROGRESS_FILE).read_text())
    settings = Settings(**progress["settings"])
    run = {
        "command": "training.pretrain",
        "from": "scratch",
        "steps": progress["step"],
        "tokens_seen": progress["tokens"],
        "minutes": progress["minutes"],
        "window": settings.steps,
        "rows": settings.rows,
        "learning_rate": settings.learning_rate,
        "schedule": settings.schedule,
    }
    for name in ("device", "machine", "versions", "augmentation"):
        run[name] = progress.get(name, unrecorded.get(name, "unknown"))
    named = [
        (each.name, json.loads((each / "MANIFEST.json").read_text("utf-8"))) for each in corpora
    ]
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "vocabulary": model.config.vocab_size,
        "data": [_counts(name, manifest) for name, manifest in named],
        "left_out": 0,
        "runs": [run],
        "limits": LIMITS,
        "credits": [_credit(name, manifest) for name, manifest in named],
    }


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
