"""Write notices of training corpora: `python scripts/write_notices.py CORPUS... > NOTICE.txt`.

Each corpus is a folder with a MANIFEST.json and the licence files that must be distributed with it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

PUBLIC_DOMAIN_TEXT = "Creative Commons Legal Code"  # a text of 7 kB that need not be distributed


def main(folders: list[str]) -> None:
    """Print source, licence, credits and licence files of each corpus."""
    print("The weights in this folder were trained on the following corpora.")
    for folder in map(Path, folders):
        manifest = json.loads((folder / "MANIFEST.json").read_text(encoding="utf-8"))
        print(f"\n{'=' * 78}\n{folder.name}: {manifest['source']}\nLicence: {manifest['licence']}")
        pieces = manifest["pieces"]
        credits = {piece.get("credit") for piece in pieces} - {None, ""}
        if credits:
            print("Credits: " + "; ".join(sorted(credits)))
        for file in sorted(folder.glob("*.txt")):
            text = file.read_text(encoding="utf-8", errors="replace").strip()
            if PUBLIC_DOMAIN_TEXT not in text:
                print(f"\n{text}")


if __name__ == "__main__":
    main(sys.argv[1:])
