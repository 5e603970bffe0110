"""Composing needs neither torch nor transformers, and asks for them by one sentence elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SLOW = ("torch", "transformers", "miditok", "huggingface_hub")

IMPORTED = f"""
import sys
assert not {{*sys.modules}} & {{*{SLOW!r}}}, {{*sys.modules}} & {{*{SLOW!r}}}
"""
BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "miditok"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])
sys.meta_path.insert(0, Blocked())
"""
COMPOSE = """
from musiclstm import Composer, Constraints, Sampling, example_files, read_midi
prompt = example_files()["Minuet in G (Petzold)"]
print(read_midi(prompt)[1])
composer = Composer.from_pretrained()
piece = composer.compose(prompt=prompt, bars=1, sampling=Sampling(seed=7))
assert composer.reproduce(piece.recipe, prompt=prompt).to_midi() == piece.to_midi()
assert piece.continuation.note_num() > 0
"""


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout


@pytest.mark.parametrize(
    "code",
    [
        COMPOSE,
        "import musiclstm, musiclstm.generation, musiclstm.model, musiclstm.tokens",
        "import musiclstm.model as m; m.read_facts(m.find_checkpoint(m.DEFAULT))",
        "from musiclstm import render, read_recipe, MidiSummary, MusicTokenizer, Recipe",
        "import page.session.session, page.session.settings",
    ],
    ids=["compose", "packages", "facts", "names", "session of the page"],
)
def test_it_imports_no_slow_package(code) -> None:
    run(f"{code}\n{IMPORTED}")


def test_it_composes_where_torch_and_transformers_are_missing() -> None:
    run(BLOCKED + COMPOSE)


def test_the_page_starts_where_torch_and_transformers_are_missing() -> None:
    run(
        BLOCKED + "from app import html; from musiclstm import Composer\n"
        "assert '5.1 million parameters' in html.model_summary(Composer.from_pretrained())"
    )


def test_what_needs_torch_says_how_to_install_it() -> None:
    code = """
import json, musiclstm
def sentence(ask):
    try: ask()
    except musiclstm.MusicLSTMError as error: return [str(error), isinstance(error, ImportError)]
print(json.dumps([
    sentence(lambda: musiclstm.MusicLSTMForCausalLM),
    sentence(lambda: musiclstm.logits_processors),
    sentence(lambda: musiclstm.Composer.from_pretrained().model),
]))
"""
    for text, is_import_error in json.loads(run(BLOCKED + code)):
        assert "needs the Python package torch" in text
        assert text.endswith("pip install 'musiclstm[torch]'")
        assert is_import_error
