"""Golden files: a MIDI file, and its tokens with one bar to a line."""

from __future__ import annotations

from pathlib import Path

import pytest
from symusic.core import ScoreTick

from musiclstm import MusicTokenizer

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
TOKENIZER = MusicTokenizer()


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.mid")), ids=lambda path: path.stem)
def test_a_golden_file_has_its_golden_tokens(path) -> None:
    golden = path.with_suffix(".txt").read_text(encoding="utf-8")
    ids = TOKENIZER.encode(ScoreTick.from_midi(path.read_bytes()))
    names = " ".join(TOKENIZER.token_names[token] for token in ids)
    assert names.replace(" Bar_None", "\nBar_None") + "\n" == golden
    file = bytes(TOKENIZER.decode(TOKENIZER.ids[name] for name in golden.split()).dumps_midi())
    assert TOKENIZER.encode(ScoreTick.from_midi(file)) == ids


def test_there_are_golden_files() -> None:
    assert len(list(GOLDEN.glob("*.mid"))) >= 4
