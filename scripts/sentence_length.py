"""`python scripts/sentence_length.py [FILE ...]`: mean words a sentence in README.md and docs.

Code blocks, tables, headings and generated pages are left out; a list item is a sentence. A word is
anything between spaces that has a letter or a digit; links count by their text.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
GENERATED = {"malformed-midi.md"}


def sentences(text: str) -> list[list[str]]:
    """Return the sentences of a Markdown text as lists of words."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("|", "#", "!["))]
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", "\n".join(lines))
    ends = re.compile(r"(?<=[.!?])[*_)\]]*\s+(?=[A-Z`*\[\d(])")
    found = [sentence.split() for block in blocks for sentence in ends.split(block)]
    words = [[word for word in each if re.search(r"\w", word)] for each in found]
    return [each for each in words if len(each) > 1]


def main(argv: list[str]) -> int:
    """Print the mean for each file, and of all; then the ten longest sentences."""
    files = [Path(name) for name in argv] or [
        ROOT / "README.md",
        *sorted(ROOT.glob("docs/**/*.md")),
    ]
    by_file = {
        f: sentences(f.read_text(encoding="utf-8")) for f in files if f.name not in GENERATED
    }
    every = [sentence for each in by_file.values() for sentence in each]
    for file, each in by_file.items():
        sys.stdout.write(f"{sum(map(len, each)) / max(len(each), 1):5.1f}  {file.name}\n")
    sys.stdout.write(f"{sum(map(len, every)) / len(every):5.1f}  all, {len(every)} sentences\n")
    for sentence in sorted(every, key=len, reverse=True)[:10]:
        sys.stdout.write(f"{len(sentence)}: {' '.join(sentence)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
