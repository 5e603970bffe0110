"""Make a checkpoint the bundled default: `python scripts/bundle_weights.py FOLDER [CORPUS...]`.

Copies weights (float16), config, tokenizer and facts into `musiclstm/pretrained/`. The code files
that a checkpoint for the Hub carries stay behind: here the package itself is the code. A checkpoint
of `training.pretrain` has no facts.json; its facts are made from its progress.json and from the
MANIFEST.json of each corpus.
"""

from __future__ import annotations

import json
import platform
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
import transformers  # noqa: E402

from musiclstm import MusicLSTMForCausalLM, MusicTokenizer, __version__  # noqa: E402
from musiclstm.checkpoint import load_checkpoint, read_facts, save_checkpoint  # noqa: E402
from training.pretrain import CORPUS_WEIGHTS  # noqa: E402

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


def main(folder: str, *corpora: str) -> int:
    """Bundle a folder; 1 when its weights are too large for a package."""
    source, target = Path(folder), ROOT / "musiclstm" / "pretrained"
    if (source / "progress.json").is_file():
        model, tokenizer = MusicLSTMForCausalLM.from_pretrained(source), MusicTokenizer()
        facts = pretraining_facts(source, model, [Path(corpus) for corpus in corpora])
    else:
        model, tokenizer = load_checkpoint(source)
        facts = read_facts(source)
    save_checkpoint(target, model, tokenizer, facts=facts)
    for code in target.glob("*.py"):
        code.unlink()
    config = json.loads((target / "config.json").read_text())
    config.pop("auto_map", None)
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    size = (target / "model.safetensors").stat().st_size
    print(f"{target.relative_to(ROOT)}: {size / 1e6:.1f} MB of weights")
    return int(size > MOST_BYTES)


def pretraining_facts(
    folder: Path, model: MusicLSTMForCausalLM, corpora: list[Path]
) -> dict[str, Any]:
    """What is known of a run of `training.pretrain`; the card is written from it."""
    progress = json.loads((folder / "progress.json").read_text())
    settings = progress["settings"]
    manifests = [json.loads((each / "MANIFEST.json").read_text("utf-8")) for each in corpora]
    run = {
        "command": "training.pretrain",
        "from": "scratch",
        "steps": progress["step"],
        "tokens_seen": progress["tokens"],
        "minutes": progress["minutes"],
        "window": settings["steps"],
        "rows": settings["rows"],
        "learning_rate": settings["learning_rate"],
        "schedule": "constant, then linear to 0",
        "device": "cpu",
        "machine": f"{platform.machine()}, 1 thread",
        "versions": {
            "musiclstm": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    named = list(zip(corpora, manifests, strict=True))
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "vocabulary": model.config.vocab_size,
        "data": [_counts(folder.name, manifest) for folder, manifest in named],
        "left_out": 0,
        "runs": [run],
        "limits": LIMITS,
        "credits": [_credit(folder.name, manifest) for folder, manifest in named],
    }


def _counts(name: str, manifest: dict[str, Any]) -> dict[str, Any]:
    pieces: Counter[str] = Counter(piece["split"] for piece in manifest["pieces"])
    notes: Counter[str] = Counter()
    for piece in manifest["pieces"]:
        notes[piece["split"]] += piece["notes"]
    splits = {
        split: {"pieces": pieces[split], "notes": notes[split]}
        for split in ("train", "valid", "test")
    }
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
    sys.exit(main(*sys.argv[1:]))
