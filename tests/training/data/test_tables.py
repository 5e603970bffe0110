"""Data sets whose rows hold MIDI bytes, on the disk and as the Hub would give them."""

from __future__ import annotations

import re
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


def names(corpus):
    return [piece.name for piece in corpus.pieces]


def same_music(corpus, scales):
    """Whether the pieces are those of the folder, token for token and split by split."""
    expected = read_corpus([scales], workers=1)
    assert [(p.name, p.split, p.notes) for p in corpus.pieces] == [
        (p.name, p.split, p.notes) for p in expected.pieces
    ]
    for one, other in zip(corpus.tokens("train"), expected.tokens("train"), strict=True):
        assert one.tolist() == other.tolist()
    return True


# On the disk.


def test_a_table_gives_the_same_music_as_a_folder(table, scales, tmp_path):
    corpus = read_corpus([parquet(table, tmp_path / "songs.parquet")], workers=1)
    assert same_music(corpus, scales)
    assert {(p.corpus, p.licence) for p in corpus.pieces} == {("songs", "CC0-1.0")}


def test_a_saved_data_set_gives_the_same_music_as_a_folder(table, scales, tmp_path):
    table.save_to_disk(str(tmp_path / "saved"))
    assert same_music(read_corpus([tmp_path / "saved"], workers=1), scales)


def test_splits_of_a_data_set_are_kept(table, tmp_path):
    splits = {"train": range(8), "validation": range(8, 10), "test": range(10, 12)}
    cut = datasets.DatasetDict({name: table.select(rows) for name, rows in splits.items()})
    cut.save_to_disk(str(tmp_path / "saved"))
    for name, part in cut.items():
        parquet(part, tmp_path / "parquet" / f"{name}-00000-of-00001.parquet")
    for folder in ("saved", "parquet"):
        corpus = read_corpus([tmp_path / folder], workers=1)
        assert [len(corpus.tokens(s)) for s in ("train", "valid", "test")] == [8, 2, 2]


def test_a_single_split_called_train_still_holds_something_out(table, tmp_path):
    parquet(table, tmp_path / "train-00000-of-00001.parquet")
    corpus = read_corpus([tmp_path], workers=1)
    assert [len(corpus.tokens(s)) for s in ("train", "valid", "test")] == [10, 1, 1]


def test_a_column_may_say_the_split(table, tmp_path):
    told = table.add_column("split", ["Test", "val", "train", "odd"] * 3)
    corpus = read_corpus([parquet(told, tmp_path / "x.parquet")], workers=1)
    own = [piece.split for piece in corpus.pieces]
    assert own[0::4] == ["test"] * 3
    assert own[1::4] == ["valid"] * 3
    assert own[2::4] == ["train"] * 3


def test_files_with_their_names_in_a_column_are_read(files, scales, tmp_path):
    rows = [{"bytes": data, "path": f"in/{name}"} for name, data in files.items()]
    table = datasets.Dataset.from_dict({"song": rows, "cover": [b"picture"] * len(rows)})
    table = table.rename_column("song", "file")
    assert same_music(read_corpus([parquet(table, tmp_path / "x.parquet")], workers=1), scales)


def test_a_row_without_bytes_is_told_and_left_out(files, tmp_path):
    good = files["scale-01.mid"]
    table = datasets.Dataset.from_dict({"midi": [None, good, b"junk"]})
    corpus = read_corpus([parquet(table, tmp_path / "x.parquet")], workers=1)
    assert names(corpus) == ["row 1.mid"]
    first, last = corpus.skipped
    assert first == Skipped("row 0.mid", "it cannot be read (the row has no bytes).")
    assert (last.name, last.reason[:30]) == ("row 2.mid", "'row 2.mid' is not a MIDI file")


def test_a_table_that_has_not_changed_is_not_opened_again(table, tmp_path, monkeypatch):
    path = parquet(table, tmp_path / "x.parquet")
    first = read_corpus([path], workers=1)
    monkeypatch.setattr(tables.MidiTable, "_open", lambda _: pytest.fail("opened again"))
    assert read_corpus([path], workers=1).pieces == first.pieces


def test_rows_can_be_read_later_and_in_any_order(table, files, tmp_path):
    sources = find_sources([parquet(table, tmp_path / "x.parquet")])
    assert [source.name for source in sources] == list(files)
    for at in (3, 4, 11, 0, 5, 5):
        assert sources[at].read(10**6) == files[sources[at].name]
    assert len(sources[0].read(10)) == 11


def test_a_table_without_midi_says_which_columns_there_are(tmp_path):
    table = datasets.Dataset.from_dict({"text": ["a"], "number": [1]})
    with pytest.raises(CorpusError) as caught:
        read_corpus([parquet(table, tmp_path / "x.parquet")], workers=1)
    assert str(caught.value) == (
        "'x.parquet' has no column of MIDI bytes; its columns are 'text' (string), 'number' "
        "(int64). Name a data set with a binary column."
    )


def test_a_damaged_table_is_one_sentence(table, tmp_path):
    path = parquet(table, tmp_path / "x.parquet")
    path.write_bytes(path.read_bytes()[:-200])
    sentence = r"The data set 'x.parquet' cannot be opened \(.+\); check --data\."
    with pytest.raises(CorpusError) as caught:
        read_corpus([path], workers=1)
    assert re.fullmatch(sentence, str(caught.value))


def test_a_table_without_columns_says_so(tmp_path):
    path = parquet(datasets.Dataset.from_dict({}), tmp_path / "x.parquet")
    with pytest.raises(CorpusError) as caught:
        read_corpus([path], workers=1)
    assert str(caught.value) == (
        "'x.parquet' has no column of MIDI bytes; its columns are none. Name a data set with a "
        "binary column."
    )


def test_a_table_that_has_become_shorter_is_told(table, tmp_path):
    path = parquet(table, tmp_path / "x.parquet")
    sources = find_sources([path])
    parquet(table.select(range(5)), path)
    assert len(sources[4].read(10)) == 11
    with pytest.raises(OSError, match="the table has become shorter"):
        sources[5].read(10)


def test_a_folder_of_midi_is_no_table(table, files, tmp_path):
    parquet(table, tmp_path / "x.parquet")
    (tmp_path / "a.mid").write_bytes(files["scale-01.mid"])
    assert names(read_corpus([tmp_path], workers=1)) == ["a.mid"]


# On the Hub.


@pytest.fixture
def hub(table, tmp_path, monkeypatch):
    """A Hub that has `me/songs` at one commit; returns what it was asked for."""
    folder = parquet(table, tmp_path / "repository" / "data.parquet").parent
    asked = []

    class Info:
        sha = "c0ffee"

    class Api:
        def dataset_info(self, name, revision=None, timeout=None):
            asked.append((name, revision))
            return Info()

    real = datasets.load_dataset

    def load(name, config=None, *, revision, streaming):
        asked.append((name, config, revision, streaming))
        return real(str(folder), streaming=streaming, cache_dir=str(tmp_path / "hub"))

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr(datasets, "load_dataset", load)
    return asked


@pytest.mark.parametrize(
    ("place", "config", "revision", "streaming"),
    [
        ("me/songs", None, None, False),
        ("hub:me/songs", None, None, False),
        ("stream:me/songs", None, None, True),
        ("stream:me/songs:small@v1", "small", "v1", True),
    ],
)
def test_a_data_set_of_the_hub_is_read(hub, scales, place, config, revision, streaming):
    corpus = read_corpus([f"{place}=2"], workers=1)
    assert same_music(corpus, scales)
    assert hub == [("me/songs", revision), ("me/songs", config, "c0ffee", streaming)]
    assert {(p.corpus, p.weight) for p in corpus.pieces} == {("songs", 2.0)}


def test_a_folder_comes_before_the_hub(hub, scales, tmp_path, monkeypatch):
    shutil.copytree(scales, tmp_path / "user" / "name")
    monkeypatch.chdir(tmp_path)
    assert len(read_corpus(["user/name"], workers=1).pieces) > 0
    assert hub == []


def test_a_stream_that_breaks_off_is_one_sentence_and_goes_on_the_next_time(
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
    with pytest.raises(CorpusError) as caught:
        read_corpus(["stream:me/songs"], workers=1)
    assert str(caught.value) == (
        "The data set 'me/songs' broke off (the line is dead); run again, what was read is kept."
    )
    names, encode = [], tokenize.encode
    monkeypatch.setattr(tokenize, "encode", lambda job: names.append(job.name) or encode(job))
    assert same_music(read_corpus(["stream:me/songs"], workers=1), scales)
    assert names[0] == "scale-05.mid"  # five rows came before the line went dead
    assert len(names) == len(table) - 5


def error_of_the_hub(kind: str) -> Exception:
    from huggingface_hub import errors

    if kind == "OSError":
        return OSError("Name or service not known")
    return getattr(errors, kind).__new__(getattr(errors, kind))


@pytest.mark.parametrize(
    ("kind", "place", "sentence"),
    [
        (
            "RepositoryNotFoundError",
            "me/none",
            "There is no 'me/none' at the path given, and no data set of that name on the Hub that "
            "you may read; check --data, or log in with: hf auth login",
        ),
        (
            "HFValidationError",
            "hub:me/none--",
            "There is no 'me/none--' at the path given, and no data set of that name on the Hub "
            "that you may read; check --data, or log in with: hf auth login",
        ),
        (
            "RevisionNotFoundError",
            "hub:me/none@v9",
            "There is no 'me/none' at the path given, and no data set of that name at 'v9' on the "
            "Hub that you may read; check --data, or log in with: hf auth login",
        ),
        (
            "OSError",
            "stream:me/none",
            "There is no 'me/none' at the path given, and the Hub cannot be reached to look for a "
            "data set of that name (Name or service not known); check --data, or the connection.",
        ),
    ],
)
def test_a_data_set_that_is_not_there_is_one_sentence(monkeypatch, kind, place, sentence):
    class Api:
        def dataset_info(self, *_, **__):
            raise error_of_the_hub(kind)

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    with pytest.raises(CorpusError) as caught:
        read_corpus([place])
    assert str(caught.value) == sentence


def test_a_name_that_the_hub_cannot_have_is_one_sentence():
    with pytest.raises(CorpusError) as caught:
        read_corpus(["hub:songs"])
    assert str(caught.value) == (
        "'hub:songs' does not name a data set; write hub:user/name, or stream:user/name to keep "
        "nothing of it on the disk."
    )
