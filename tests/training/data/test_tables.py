"""Data sets whose rows hold MIDI bytes, on the disk and on the Hub."""

from __future__ import annotations

import shutil

import pytest

from musiclstm.errors import CorpusError
from training.data import tables, tokenize
from training.data.corpus import Skipped, find_sources, read_corpus

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _own_hub_cache(tmp_path, monkeypatch):
    for name in ("HF_DATASETS_CACHE", "HF_MODULES_CACHE"):
        monkeypatch.setattr(datasets.config, name, tmp_path / "hub")
    datasets.disable_progress_bars()


@pytest.fixture(scope="session")
def files(scales):
    return {file.name: file.read_bytes() for file in sorted(scales.glob("*.mid"))}


@pytest.fixture(scope="session")
def table(files):
    """Twelve rows in one split."""
    rows = {"title": [n.removesuffix(".mid") for n in files], "midi": list(files.values())}
    return datasets.Dataset.from_dict(rows | {"license": ["CC0-1.0"] * len(files)})


def parquet(table, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(str(path))
    return path


def counts(corpus):
    return [len(corpus.tokens(split)) for split in ("train", "valid", "test")]


def assert_same_music(corpus, scales):
    """The pieces are those of the folder, token for token and split by split."""
    expected = read_corpus([scales], workers=1)
    assert [(p.name, p.split, p.notes) for p in corpus.pieces] == [
        (p.name, p.split, p.notes) for p in expected.pieces
    ]
    for one, other in zip(corpus.tokens("train"), expected.tokens("train"), strict=True):
        assert one.tolist() == other.tolist()


# On the disk.


def test_a_table_gives_the_same_music_as_a_folder(table, scales, tmp_path):
    corpus = read_corpus([parquet(table, tmp_path / "songs.parquet")], workers=1)
    assert_same_music(corpus, scales)
    assert {(p.corpus, p.licence) for p in corpus.pieces} == {("songs", "CC0-1.0")}
    table.save_to_disk(str(tmp_path / "saved"))
    assert_same_music(read_corpus([tmp_path / "saved"], workers=1), scales)


def test_splits_of_a_data_set_are_kept(table, tmp_path):
    splits = {"train": range(8), "validation": range(8, 10), "test": range(10, 12)}
    parts = datasets.DatasetDict({name: table.select(rows) for name, rows in splits.items()})
    parts.save_to_disk(str(tmp_path / "saved"))
    for name, part in parts.items():
        parquet(part, tmp_path / "parquet" / f"{name}-00000-of-00001.parquet")
    for folder in ("saved", "parquet"):
        assert counts(read_corpus([tmp_path / folder], workers=1)) == [8, 2, 2]


def test_a_single_split_called_train_is_split_by_its_music(table, tmp_path):
    parquet(table, tmp_path / "train-00000-of-00001.parquet")
    assert counts(read_corpus([tmp_path], workers=1)) == [10, 1, 1]


def test_a_column_may_name_the_split(table, tmp_path):
    named = table.add_column("split", ["Test", "val", "train", "odd"] * 3)
    corpus = read_corpus([parquet(named, tmp_path / "x.parquet")], workers=1)
    splits = [piece.split for piece in corpus.pieces]
    assert (splits[0::4], splits[1::4], splits[2::4]) == (
        ["test"] * 3, ["valid"] * 3, ["train"] * 3,
    )  # fmt: skip


def test_a_column_of_files_gives_their_names(files, scales, tmp_path):
    rows = [{"bytes": data, "path": f"in/{name}"} for name, data in files.items()]
    table = datasets.Dataset.from_dict({"file": rows, "cover": [b"picture"] * len(rows)})
    corpus = read_corpus([parquet(table, tmp_path / "x.parquet")], workers=1)
    assert_same_music(corpus, scales)


def test_rows_without_midi_are_reported_and_left_out(files, tmp_path):
    table = datasets.Dataset.from_dict({"midi": [None, files["scale-01.mid"], b"junk"]})
    corpus = read_corpus([parquet(table, tmp_path / "x.parquet")], workers=1)
    assert [piece.name for piece in corpus.pieces] == ["row 1.mid"]
    first, last = corpus.skipped
    assert first == Skipped("row 0.mid", "it cannot be read (the row has no bytes).")
    assert "'row 2.mid' is not a MIDI file" in last.reason


def test_an_unchanged_table_is_not_opened_again(table, tmp_path, monkeypatch):
    path = parquet(table, tmp_path / "x.parquet")
    first = read_corpus([path], workers=1)
    monkeypatch.setattr(tables.MidiTable, "_open", lambda _: pytest.fail("opened again"))
    assert read_corpus([path], workers=1).pieces == first.pieces


def test_rows_can_be_read_in_any_order_until_the_table_gets_shorter(table, files, tmp_path):
    path = parquet(table, tmp_path / "x.parquet")
    sources = find_sources([path])
    assert [source.name for source in sources] == list(files)
    for row in (3, 4, 11, 0, 5, 5):
        assert sources[row].read(10**6) == files[sources[row].name]
    assert len(sources[0].read(10)) == 11
    sources = find_sources([path])
    parquet(table.select(range(5)), path)
    assert len(sources[4].read(10)) == 11
    with pytest.raises(OSError, match="the table has become shorter"):
        sources[5].read(10)


@pytest.mark.parametrize(
    ("columns", "shown"),
    [({"text": ["a"], "n": [1]}, "'text' (string), 'n' (int64)"), ({}, "none")],
)
def test_a_table_without_midi_is_refused_with_its_columns(tmp_path, columns, shown):
    path = parquet(datasets.Dataset.from_dict(columns), tmp_path / "x.parquet")
    with pytest.raises(CorpusError) as caught:
        read_corpus([path], workers=1)
    assert f"no column of MIDI bytes; its columns are {shown}." in str(caught.value)


def test_a_damaged_table_is_refused(table, tmp_path):
    path = parquet(table, tmp_path / "x.parquet")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CorpusError, match=r"'x.parquet' cannot be opened \(.+\); check --data"):
        read_corpus([path], workers=1)


def test_a_folder_with_midi_files_is_not_a_table(table, files, tmp_path):
    parquet(table, tmp_path / "x.parquet")
    (tmp_path / "a.mid").write_bytes(files["scale-01.mid"])
    assert [piece.name for piece in read_corpus([tmp_path], workers=1).pieces] == ["a.mid"]


# On the Hub.


@pytest.fixture
def hub(table, tmp_path, monkeypatch):
    """A Hub that has `me/songs` at one commit; returns the requests."""
    folder = parquet(table, tmp_path / "repository" / "data.parquet").parent
    requests = []

    class Info:
        sha = "c0ffee"

    class Api:
        def dataset_info(self, name, revision=None, timeout=None):
            requests.append((name, revision))
            return Info()

    real = datasets.load_dataset

    def load(name, config=None, *, revision, streaming):
        requests.append((name, config, revision, streaming))
        return real(str(folder), streaming=streaming, cache_dir=str(tmp_path / "hub"))

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr(datasets, "load_dataset", load)
    return requests


@pytest.mark.parametrize(
    ("entry", "config", "revision", "streaming"),
    [
        ("me/songs", None, None, False),
        ("hub:me/songs", None, None, False),
        ("stream:me/songs:small@v1", "small", "v1", True),
    ],
)
def test_a_data_set_of_the_hub_is_read(hub, scales, entry, config, revision, streaming):
    corpus = read_corpus([f"{entry}=2"], workers=1)
    assert_same_music(corpus, scales)
    assert hub == [("me/songs", revision), ("me/songs", config, "c0ffee", streaming)]
    assert {(p.corpus, p.weight) for p in corpus.pieces} == {("songs", 2.0)}


def test_a_folder_takes_precedence_over_the_hub(hub, scales, tmp_path, monkeypatch):
    shutil.copytree(scales, tmp_path / "user" / "name")
    monkeypatch.chdir(tmp_path)
    assert len(read_corpus(["user/name"], workers=1).pieces) > 0
    assert hub == []


def test_an_interrupted_stream_is_reported_and_continues_the_next_time(
    hub, table, scales, monkeypatch
):
    whole = tables.TableColumns.data
    calls = []

    def break_off(self, row):
        calls.append(row)
        if len(calls) == 6:
            raise ConnectionError("the line\nis dead")
        return whole(self, row)

    monkeypatch.setattr(tables.TableColumns, "data", break_off)
    with pytest.raises(CorpusError, match=r"'me/songs' broke off \(the line is dead\); run again"):
        read_corpus(["stream:me/songs"], workers=1)
    names, encode = [], tokenize.encode
    monkeypatch.setattr(tokenize, "encode", lambda job: names.append(job.name) or encode(job))
    assert_same_music(read_corpus(["stream:me/songs"], workers=1), scales)
    assert names[0] == "scale-05.mid"  # five rows were read before
    assert len(names) == len(table) - 5


def hub_error(kind: str) -> Exception:
    from huggingface_hub import errors

    if kind == "OSError":
        return OSError("Name or service not known")
    return getattr(errors, kind).__new__(getattr(errors, kind))


@pytest.mark.parametrize(
    ("kind", "entry", "words"),
    [
        ("RepositoryNotFoundError", "me/none", ["'me/none'", "hf auth login"]),
        ("HFValidationError", "hub:me/none--", ["'me/none--'", "hf auth login"]),
        ("RevisionNotFoundError", "hub:me/none@v9", ["'me/none'", "at 'v9'", "hf auth login"]),
        ("OSError", "stream:me/none", ["'me/none'", "Name or service not known", "connection"]),
    ],
)
def test_a_missing_data_set_is_refused(monkeypatch, kind, entry, words):
    class Api:
        def dataset_info(self, *_, **__):
            raise hub_error(kind)

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    with pytest.raises(CorpusError) as caught:
        read_corpus([entry])
    assert all(word in str(caught.value) for word in words)


def test_an_invalid_name_of_a_data_set_is_refused():
    with pytest.raises(CorpusError, match=r"'hub:songs'.*hub:user/name"):
        read_corpus(["hub:songs"])
