"""Loading the tests of transformers, and the message if they are not available."""

from __future__ import annotations

import subprocess
import sys
import tarfile

import pytest

from tests.transformers import transformers_sources


def test_without_a_registry_the_reason_is_what_pip_says(tmp_path, monkeypatch) -> None:
    offline = (sys.executable, "-c", "import sys; sys.exit('trying\\nno route to host')")
    monkeypatch.setattr(transformers_sources, "_PIP", offline)
    with pytest.raises(
        transformers_sources.UnavailableError, match=r"source of transformers==.*no route"
    ):
        transformers_sources._download(tmp_path)


def test_nobody_waits_for_ever(tmp_path, monkeypatch) -> None:
    def never(*_, timeout, **__):
        raise subprocess.TimeoutExpired("pip", timeout)

    monkeypatch.setattr(subprocess, "run", never)
    with pytest.raises(
        transformers_sources.UnavailableError, match=r"pip did not fetch .* within 300 s"
    ):
        transformers_sources._download(tmp_path)


def test_only_the_tests_are_unpacked(tmp_path) -> None:
    tree, room = tmp_path / "transformers-1.0", tmp_path / "room"
    for name in ("setup.py", "tests/test_one.py", "src/transformers/tests/two.py"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("")
    with tarfile.open(tmp_path / "source.tar.gz", "w:gz") as archive:
        archive.add(tree, tree.name)
    transformers_sources._unpack(tmp_path / "source.tar.gz", room)
    files = {str(file.relative_to(room)) for file in room.rglob("*") if file.is_file()}
    assert files == {"tests/test_one.py", "tests/__init__.py"}
