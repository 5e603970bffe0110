"""Prepared corpora: what `training.prepare --output_dir` writes and `--data` reads."""

from __future__ import annotations

import hashlib
import pickle
import re
import shutil
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest

from musiclstm.errors import CorpusError
from musiclstm.midi import read_midi
from musiclstm.tokens import MusicTokenizer
from training import prepare
from training.data import prepared
from training.data.corpus import Corpus, read_corpus, sources_of_split
from training.data.prepared import write_prepared
from training.data.splits import SPLITS


@pytest.fixture(autouse=True)
def _own_datasets_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")


@pytest.fixture
def source(scales, tmp_path) -> Path:
    """Twelve pieces, a broken file and a licence."""
    folder = tmp_path / "tunes"
    shutil.copytree(scales, folder)
    (folder / "broken.mid").write_bytes(b"no music")
    (folder / "MANIFEST.json").write_text('{"licence": "CC0 <b>|"}')
    return folder


@pytest.fixture
def folder(source, tmp_path) -> Path:
    output = tmp_path / "prepared"
    command = ["--data", str(source), "--output_dir", str(output), "--workers", "1"]
    assert prepare.main(command) == 0
    return output


def facts(corpus: Corpus) -> list[tuple]:
    return sorted((p.name, p.corpus, p.split, p.notes, p.licence, p.weight) for p in corpus.pieces)


def music(corpus: Corpus) -> dict[str, list[list[int]]]:
    return {split: [ids.tolist() for ids in corpus.tokens(split)] for split in SPLITS}


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_prepared_corpus_is_read_as_its_files_are(source, folder) -> None:
    expected, found = read_corpus([source], workers=1), read_corpus([folder])
    assert facts(found) == facts(expected)
    assert music(found) == music(expected)
    assert found.fingerprint == expected.fingerprint
    assert [(s.name, s.reason) for s in found.skipped] == [
        (s.name, s.reason) for s in expected.skipped
    ]
    by_name = {piece.name: dict(piece.stats) for piece in found.pieces}
    assert by_name == {piece.name: dict(piece.stats) for piece in expected.pieces}


def test_weights_and_reasons_to_leave_out_apply(source, folder) -> None:
    expected = read_corpus([f"{source}=2.5"], workers=1, leave_out=["short"])
    found = read_corpus([f"{folder}=2.5"], leave_out=["short"])
    names = [(piece.name, piece.weight) for piece in found.pieces]
    assert sorted(names) == sorted((piece.name, piece.weight) for piece in expected.pieces)
    assert len(names) == 2


def test_any_program_reads_it_with_datasets(folder, tmp_path) -> None:
    rows = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "hf"))
    assert set(rows) == {*SPLITS, "left_out"}
    row = rows["train"].with_format("torch")[0]
    assert row["ids"].shape[0] > 20
    assert rows["train"].features["ids"].feature.dtype == "uint16"
    first = rows["train"][0]
    assert first["programs"] == [-1, 0] or first["programs"] == [0]
    assert (first["meter"], first["corpus"]) == ("4/4", "tunes")
    assert first["bars"] >= 3
    (broken,) = rows["left_out"]
    assert broken["name"] == "broken.mid"
    assert "not a MIDI file" in broken["problem"]
    assert "CC0 &lt;b&gt;\\|" in (folder / "README.md").read_text()


def test_the_example_of_the_document_runs(folder, tmp_path, monkeypatch, capsys) -> None:
    text = (Path(__file__).parents[3] / "docs" / "prepared-corpora.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    folder.rename(tmp_path / "corpus")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/prepared-corpora.md", "exec"), {})
    assert capsys.readouterr().out.count("torch.Size") == 10


def test_the_document_names_every_column(folder) -> None:
    text = (Path(__file__).parents[3] / "docs" / "prepared-corpora.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE)
    assert re.findall(r"`(\w+)`", " ".join(rows)) == prepared._schema().names


def test_bytes_depend_on_the_music_alone(source, folder, tmp_path) -> None:
    again = tmp_path / "again"
    prepare.main(["--data", str(source), "--output_dir", str(again), "--num_proc", "2"])
    assert digests(again) == digests(folder)


def test_an_interrupted_writing_goes_on_with_the_next_file(source, tmp_path, monkeypatch) -> None:
    corpus, target = read_corpus([source], workers=1), tmp_path / "parts"
    write_prepared(corpus, tmp_path / "whole", shard_tokens=60)
    written: list[str] = []
    write = prepared._PieceRows.row

    def interrupted(self, number):
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(number)
        return write(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(prepared._PieceRows, "row", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_prepared(corpus, target, shard_tokens=60)
    assert not target.exists()
    kept = {
        path.name: path.stat().st_mtime_ns
        for path in (tmp_path / "parts.partial" / "data").glob("*.parquet")
    }
    assert kept
    write_prepared(corpus, target, shard_tokens=60)
    assert digests(target) == digests(tmp_path / "whole")
    assert kept == {name: (target / "data" / name).stat().st_mtime_ns for name in kept}
    assert music(read_corpus([target])) == music(corpus)


def test_prepared_corpora_stand_beside_each_other_and_beside_midi_files(
    scales, source, folder, tmp_path
) -> None:
    other = tmp_path / "other"
    prepare.main(["--data", str(scales), "--output_dir", str(other), "--workers", "1"])
    both = read_corpus([folder, other])
    assert len(both.pieces) == 12  # the same bytes
    mixed = read_corpus([folder, scales], workers=1)
    assert len({piece.corpus for piece in mixed.pieces}) == 2


def test_its_pieces_are_prompts_too(folder) -> None:
    (source,) = sources_of_split([folder], "test")
    score, _ = read_midi(source.read(1_000_000), name=source.name)
    (ids,) = read_corpus([folder]).tokens("test")
    assert MusicTokenizer().encode(score) == ids.tolist()


def test_pieces_are_mapped_again_in_another_process(folder) -> None:
    pieces = read_corpus([folder]).tokens("train")
    copied = pickle.loads(pickle.dumps(pieces))
    assert all(map(np.array_equal, copied, pieces))
    with pytest.raises(IndexError):
        copied[len(pieces)]


def test_other_tokens_are_refused(folder) -> None:
    (path,) = (folder / "data").glob("test-*")
    table = pq.read_table(path)
    column = table.schema.get_field_index("tokenizer")
    pq.write_table(table.set_column(column, "tokenizer", [["older"] * len(table)]), path)
    with pytest.raises(CorpusError, match="prepared with other tokens"):
        read_corpus([folder])


def test_a_folder_with_other_files_is_not_replaced(source, tmp_path, capsys) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear diary")
    assert prepare.main(["--data", str(source), "--output_dir", str(tmp_path / "mine")]) == 1
    assert "is no prepared corpus" in capsys.readouterr().err
    assert (tmp_path / "mine" / "diary.txt").read_text() == "dear diary"
