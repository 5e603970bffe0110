"""Make a checkpoint folder the bundled default: `python scripts/bundle_weights.py FOLDER`.

Copies weights (float16), config, tokenizer and facts into `musiclstm/pretrained/`. The code files
that a checkpoint for the Hub carries stay behind: here the package itself is the code.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from musiclstm.checkpoint import load_checkpoint, read_facts, save_checkpoint  # noqa: E402

MOST_BYTES = 40_000_000


def main(folder: str) -> int:
    """Bundle a folder; 1 when its weights are too large for a package."""
    target = ROOT / "musiclstm" / "pretrained"
    model, tokenizer = load_checkpoint(folder)
    save_checkpoint(target, model, tokenizer, facts=read_facts(folder))
    for code in target.glob("*.py"):
        code.unlink()
    config = json.loads((target / "config.json").read_text())
    config.pop("auto_map", None)
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    size = (target / "model.safetensors").stat().st_size
    print(f"{target.relative_to(ROOT)}: {size / 1e6:.1f} MB of weights")
    return int(size > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
