"""The page without a server: its files, the packed model, and the command that publishes it."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from hub import space, space_files, static_page
from hub.space import main
from hub.static_model import MAGIC, pack_model
from hub.static_page import serving
from musiclstm.core import INTEGERS, Weights, pack
from musiclstm.errors import PublishError
from musiclstm.generation.decoding.bar_score import read_bar_score
from musiclstm.model import load_weights
from musiclstm.tokens import TABLE

ARGUMENTS = ["ann/page", "--model", "ann/waltzes", "--static"]


# -- The model ------------------------------------------------------------------------------------


def unpacked(data: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    """Return header and arrays of a packed model."""
    assert data.startswith(MAGIC)
    (length,) = struct.unpack_from("<I", data, len(MAGIC))
    start = len(MAGIC) + 4 + length
    header = json.loads(data[len(MAGIC) + 4 : start])
    arrays = {
        each["name"]: np.frombuffer(data, each["type"], each["count"], start + each["offset"])
        for each in header["arrays"]
    }
    return header, arrays


def test_a_packed_model_holds_what_the_core_reads(tiny_checkpoint) -> None:
    stored = load_weights(tiny_checkpoint)
    weights = Weights.from_state_dict(
        stored.arrays, residual=stored.config.residual, token_names=stored.config.token_names
    )
    header, arrays = unpacked(pack_model(weights, TABLE, read_bar_score(None), {"name": "tiny"}))
    packed = pack(weights)
    assert header["network"][:-1] == [packed.sizes.get(name, 0) for name in INTEGERS]
    assert header["info"] == {"name": "tiny"}
    assert header["tokens"] == len(TABLE)
    for name, array in packed.arrays.items():
        assert np.array_equal(arrays[name].astype(array.dtype), array.ravel()), name
    assert np.array_equal(arrays["token_kind"], TABLE.kind)
    assert arrays["bar_score"].astype(np.float32).tobytes() == read_bar_score(None).tobytes()


def test_arrays_can_be_viewed_where_they_are(tiny_checkpoint) -> None:
    stored = load_weights(tiny_checkpoint)
    weights = Weights.from_state_dict(
        stored.arrays, residual=stored.config.residual, token_names=stored.config.token_names
    )
    data = pack_model(weights, TABLE, read_bar_score(None), {"name": "Für"})
    header, _ = unpacked(data)
    (length,) = struct.unpack_from("<I", data, len(MAGIC))
    assert (len(MAGIC) + 4 + length) % 16 == 0
    assert all(each["offset"] % 16 == 0 for each in header["arrays"])


# -- Files ----------------------------------------------------------------------------------------


@pytest.fixture
def parts(monkeypatch) -> None:
    """Replace the parts of a build that need node, clang and a SoundFont."""

    def bundle(folder: Path) -> None:
        for name in ("main.js", "engine_worker.js", "sound_worker.js", "licenses.txt"):
            (folder / name).write_text("code")

    def write_sounds(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "0.sf3").write_bytes(b"RIFF")

    monkeypatch.setattr(static_page, "_bundle", bundle)
    monkeypatch.setattr(static_page, "_write_core", lambda path: path.write_bytes(b"\0asm"))
    monkeypatch.setattr(static_page, "_write_sounds", write_sounds)


def test_the_service_worker_lists_every_file_but_the_sounds(parts, tiny_checkpoint, tmp_path):
    static_page.build(tmp_path, str(tiny_checkpoint))
    text = (tmp_path / "service_worker.js").read_text()
    listed = json.loads(text[text.index('["./"') : text.index("]", text.index('["./"')) + 1])
    assert {"./", "index.html", "core.wasm", "weights.bin", "examples/examples.json"} <= set(listed)
    assert not [name for name in listed if name.startswith("sounds/")]
    assert all((tmp_path / name).exists() for name in listed)
    assert "__BUILD__" not in text


def test_equal_files_give_an_equal_build(parts, tiny_checkpoint, tmp_path):
    for name in ("a", "b"):
        static_page.build(tmp_path / name, str(tiny_checkpoint))
    found = [
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("a", "b")
    ]
    assert found[0] == found[1]


def test_the_page_permits_its_own_files_only():
    text = (static_page.ROOT / "page" / "static" / "index.html").read_text()
    policy = text[text.index("default-src") : text.index('">', text.index("default-src"))]
    assert policy.startswith("default-src 'none'")
    assert "unsafe-inline" not in policy
    assert "http" not in policy
    assert "<style" not in text
    assert text.count("<script") == 1


def test_a_missing_soundfont_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv(static_page.SOUNDFONT_VARIABLE, str(tmp_path / "none.sf3"))
    with pytest.raises(PublishError, match="apt-get install fluidr3mono-gm-soundfont"):
        static_page._write_sounds(tmp_path)


# -- The command ----------------------------------------------------------------------------------


@pytest.fixture
def commit(hub, tiny_checkpoint) -> str:
    return hub.put(
        "ann/waltzes", {path.name: path.read_bytes() for path in tiny_checkpoint.iterdir()}
    )


@pytest.fixture
def checked(monkeypatch) -> list[Path]:
    """Folders given to the check in Chromium; the build writes two files only."""
    folders: list[Path] = []

    def build(folder: Path, model: str, revision: str) -> None:
        (folder / "index.html").write_text("page")
        (folder / "weights.bin").write_text(f"{model} {revision}")

    def check_page(folder: Path) -> float:
        folders.append(folder)
        return 0.5

    monkeypatch.setattr(space_files, "build", build)
    monkeypatch.setattr(space, "check_page", check_page)
    return folders


def test_a_static_space_is_created_after_the_check(hub, commit, checked, capsys):
    assert main(ARGUMENTS) == 0
    sent = hub.files("ann/page", kind="space")
    assert hub.repo("ann/page", "space").sdk == "static"
    assert sent["weights.bin"].decode() == f"ann/waltzes {commit}"
    assert b"sdk: static" in sent["README.md"]
    assert commit[:7].encode() in sent["README.md"]
    assert {"LICENSE", "index.html"} <= set(sent)
    assert len(checked) == 1
    assert "its loudest sample is 0.50" in capsys.readouterr().out


def test_a_dry_run_checks_the_page_and_sends_nothing(hub, commit, checked, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    assert main([*ARGUMENTS, "--dry_run"]) == 0
    assert len(checked) == 1
    assert "Nothing was sent" in capsys.readouterr().out
    assert hub.count("POST") == hub.count("PUT") == 0


def test_a_page_that_composes_nothing_is_not_sent(hub, commit, checked, capsys, monkeypatch):
    def check_page(folder: Path) -> float:
        raise PublishError("The page composed nothing in Chromium.")

    monkeypatch.setattr(space, "check_page", check_page)
    assert main(ARGUMENTS) == 1
    assert capsys.readouterr().err == "error: The page composed nothing in Chromium.\n"
    assert [name for kind, name in hub.repos if kind == "space"] == []


def test_a_folder_is_served_on_this_machine(tmp_path):
    from urllib.request import ProxyHandler, build_opener

    (tmp_path / "index.html").write_text("page")
    with serving(tmp_path) as url:
        assert url.startswith("http://127.0.0.1:")
        assert build_opener(ProxyHandler({})).open(url, timeout=5).read() == b"page"
