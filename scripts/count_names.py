"""`python scripts/count_names.py`: names with words outside the field's vocabulary.

A name is that of a module, class, function or method in the Python sources outside tests. Its words
are compared with `names/library_words.txt` (words in names of classes, functions and parameters of
at least three of 21 libraries: the standard library, torch, transformers, gradio, music21, ...) and
with `names/glossary.txt`. Endings of plurals and verbs are ignored.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("musiclstm", "page", "training", "hub", "benchmarks")
LISTS = Path(__file__).parent / "names"
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_ENDINGS = (("s", ""), ("es", ""), ("ies", "y"), ("ed", ""), ("ed", "e"), ("ing", ""), ("ing", "e"))


def known_words() -> set[str]:
    """Return the words of both lists."""
    lines = [
        line
        for file in LISTS.glob("*.txt")
        for line in file.read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    return set(" ".join(lines).split())


def names_in(root: Path) -> set[str]:
    """Return the names of modules, classes, functions and methods below a checkout."""
    names = set()
    for file in (file for package in PACKAGES for file in (root / package).rglob("*.py")):
        nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        names.add(file.stem)
        names |= {n.name for n in nodes if isinstance(n, (ast.ClassDef, ast.FunctionDef))}
    return names


def unknown_words(name: str, known: set[str]) -> list[str]:
    """Return the words of a name that are not known in any form; single letters are ignored."""
    words = {word.lower() for word in _WORD.findall(name)}
    return sorted(w for w in words if len(w) > 1 and not known.intersection(_forms(w)))


def _forms(word: str) -> Iterator[str]:
    yield word
    for ending, instead in _ENDINGS:
        if word.endswith(ending):
            stem = word.removesuffix(ending)
            yield stem + instead
            if ending in ("ed", "ing") and stem[-1:] == stem[-2:-1]:
                yield stem[:-1]


def main() -> int:
    """Print the number of names, of those with unknown words, and the words."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1])
    names, known = names_in(parser.parse_args().root), known_words()
    unknown = {name: unknown_words(name, known) for name in sorted(names)}
    found = {name: words for name, words in unknown.items() if words}
    counts = Counter(word for words in found.values() for word in words)
    lines = [
        f"{word}: {', '.join(n for n in found if word in found[n])}" for word in sorted(counts)
    ]
    sys.stdout.write("\n".join([*lines, ""]))
    sys.stdout.write(f"{len(found)} of {len(names)} names, {len(counts)} words\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
