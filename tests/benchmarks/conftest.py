"""Two small random corpora with manifests."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

SPLITS = ("train", "train", "train", "valid", "test", "test", "test")


@pytest.fixture(scope="session")
def corpora(invented, tmp_path_factory):
    """Folders `duets` and `waltzes`, each with a zip of seven pieces and a manifest."""
    root = tmp_path_factory.mktemp("corpora")
    _pack(root / "duets", invented, programs=(0, 40), meter=(4, 4), first_seed=0)
    _pack(root / "waltzes", invented, programs=(0,), meter=(3, 4), first_seed=100)
    return root


def _pack(folder: Path, invented, *, programs, meter, first_seed) -> None:
    folder.mkdir()
    pieces = []
    with zipfile.ZipFile(folder / f"{folder.name}.zip", "w") as archive:
        for number, split in enumerate(SPLITS):
            score = invented(bars=8, programs=programs, meter=meter, seed=first_seed + number)
            name = f"{folder.name}-{number}.mid"
            archive.writestr(name, bytes(score.dumps_midi()))
            pieces.append({"file": name, "split": split, "licence": "CC0-1.0"})
    (folder / "MANIFEST.json").write_text(json.dumps({"pieces": pieces}), encoding="utf-8")


@pytest.fixture
def data(corpora):
    """Value of `--data` for both corpora."""
    return f"{corpora / 'duets'},{corpora / 'waltzes'}"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MUSICLSTM_CACHE", str(tmp_path / "cache"))
