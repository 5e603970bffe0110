"""A folder arrives on the Hub whole, or not at all, and over nobody's work."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import _without
from hub.upload import RECORD_FILE, deliver
from musiclstm import PublishError

TOKEN = "hf_" + "LoopbackTokenOfNobody" + "1234567890"
READ_TOKEN = "hf_" + "LoopbackTokenToRead" + "123456789012"
CARD = "---\nlicense: cc0-1.0\n---\n# A model\n"


@pytest.fixture
def folder(tmp_path):
    """Something to send: two large files, a card, and a file in a folder."""
    place = tmp_path / "parcel"
    (place / "samples").mkdir(parents=True)
    (place / "README.md").write_text(CARD)
    (place / "model.safetensors").write_bytes(bytes(range(256)) * 1_000)
    (place / "samples" / "one.mp3").write_bytes(b"sound" * 1_000)
    (place / "samples" / "one.mid").write_bytes(b"MThd")
    return place


def contents(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def sent(hub, name="ann/model", **where):
    """What lies on the Hub, without what the Hub and the delivery add."""
    files = hub.files(name, **where)
    return {path: files[path] for path in files if path not in (RECORD_FILE, ".gitattributes")}


# -- What arrives ----------------------------------------------------------------------------------


def test_a_folder_arrives_in_one_commit(hub, folder) -> None:
    delivery = deliver(folder, "ann/model", message="My model")
    assert sent(hub) == contents(folder)
    assert hub.history("ann/model") == ["My model", "initial commit"]
    assert delivery.commit == hub.repo("ann/model").refs["main"].sha
    assert delivery.url == f"{hub.endpoint}/ann/model"
    assert set(delivery.files) == {*contents(folder), RECORD_FILE}
    assert delivery.bytes == sum(len(hub.files("ann/model")[path]) for path in delivery.files)


def test_large_files_go_to_the_store_of_large_files(hub, folder) -> None:
    deliver(folder, "ann/model")
    assert hub.count("PUT") == 2
    assert hub.repo("ann/model").refs["main"].files["model.safetensors"].is_large


def test_a_name_without_a_person_is_that_of_the_token(hub, folder) -> None:
    assert deliver(folder, "model").url.endswith("/ann/model")
    assert sent(hub)


def test_a_space_arrives_over_the_page_that_the_hub_began_with(hub, folder) -> None:
    (folder / "README.md").write_text("---\nsdk: gradio\n---\n")
    delivery = deliver(folder, "ann/page", repo_type="space", space_sdk="gradio")
    assert sent(hub, "ann/page", kind="space") == contents(folder)
    assert hub.repo("ann/page", "space").sdk == "gradio"
    assert delivery.url == f"{hub.endpoint}/spaces/ann/page"


def test_a_branch_is_made_and_main_left_alone(hub, folder) -> None:
    deliver(folder, "ann/model", revision="trial")
    deliver(folder, "ann/model", revision="trial")
    assert sent(hub, revision="trial") == contents(folder)
    assert sent(hub) == {}


def test_a_private_repository_is_private(hub, folder) -> None:
    deliver(folder, "ann/model", private=True)
    assert hub.repo("ann/model").private
    deliver(folder, "ann/model", private=True)


def test_what_should_be_private_is_not_sent_where_all_can_read(hub, folder) -> None:
    hub.put("ann/model", {"notes.txt": b"mine"})
    with pytest.raises(PublishError, match="'ann/model' exists and everybody can read it; make it"):
        deliver(folder, "ann/model", private=True)
    assert sent(hub) == {"notes.txt": b"mine"}


def test_a_dry_run_asks_nothing_and_needs_no_token(hub, folder, monkeypatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    delivery = deliver(folder, "ann/model", dry_run=True)
    assert hub.requests == []
    assert delivery.commit is None
    assert set(delivery.files) == {*contents(folder), RECORD_FILE}
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    really = deliver(folder, "ann/model")
    assert (really.files, really.bytes) == (delivery.files, delivery.bytes)
    assert really.url == delivery.url


def test_the_record_says_what_was_written(hub, folder) -> None:
    deliver(folder, "ann/model")
    record = json.loads(hub.files("ann/model")[RECORD_FILE])["files"]
    assert record.keys() == contents(folder).keys()
    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert record["model.safetensors"]["sha256"] == weights


def test_an_empty_folder_is_refused(hub, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PublishError, match=r"There is nothing to publish in '.*empty'; is it"):
        deliver(tmp_path / "empty", "ann/model")
    assert hub.requests == []


# -- What others did -------------------------------------------------------------------------------


def test_the_same_folder_again_changes_nothing(hub, folder) -> None:
    first = deliver(folder, "ann/model")
    again = deliver(folder, "ann/model")
    assert again == first
    assert len(hub.history("ann/model")) == 2


def test_own_files_are_replaced_and_those_of_others_kept(hub, folder) -> None:
    deliver(folder, "ann/model")
    hub.put("ann/model", {"thoughts.md": b"by hand"})
    (folder / "README.md").write_text(CARD + "Better now.\n")
    (folder / "samples" / "one.mid").unlink()
    deliver(folder, "ann/model")
    assert sent(hub) == {**contents(folder), "thoughts.md": b"by hand"}


@pytest.mark.parametrize("name", ["README.md", "model.safetensors"])
def test_what_somebody_changed_since_is_not_replaced(name, hub, folder) -> None:
    deliver(folder, "ann/model")
    hub.put("ann/model", {name: b"---\nlicense: mit\n---\nby hand"})
    before = hub.files("ann/model")
    with pytest.raises(PublishError) as refusal:
        deliver(folder, "ann/model")
    assert str(refusal.value) == (
        f"'ann/model' holds {name}, which this command did not write or somebody has changed "
        "since; look at it, then add --overwrite to replace it."
    )
    assert hub.files("ann/model") == before
    deliver(folder, "ann/model", overwrite=True)
    assert sent(hub) == contents(folder)
    deliver(folder, "ann/model")


def test_a_file_of_the_past_that_somebody_changed_is_not_taken_away(hub, folder) -> None:
    deliver(folder, "ann/model")
    hub.put("ann/model", {"samples/one.mid": b"another tune"})
    (folder / "samples" / "one.mid").unlink()
    deliver(folder, "ann/model")
    assert sent(hub)["samples/one.mid"] == b"another tune"


def test_a_repository_of_somebody_else_is_not_taken_over(hub, folder) -> None:
    hub.put("ann/model", {"README.md": b"# Mine", "model.safetensors": b"mine"})
    with pytest.raises(PublishError, match=r"holds README\.md, model\.safetensors, which this"):
        deliver(folder, "ann/model")
    assert hub.count("PUT") == 0


@pytest.mark.parametrize("record", [b"{", b"[]", b'{"files": {"README.md": 3}}', b"\xff"])
def test_a_record_that_nobody_can_read_vouches_for_nothing(record, hub, folder) -> None:
    hub.put("ann/model", {"README.md": b"# Mine", RECORD_FILE: record})
    with pytest.raises(PublishError, match=r"holds README\.md, \.musiclstm\.json, which"):
        deliver(folder, "ann/model")


def test_a_first_page_by_hand_is_not_mistaken_for_that_of_the_hub(hub, folder) -> None:
    deliver(folder, "ann/other")
    hub.repos["model", "ann/model"] = repo = type(hub.repo("ann/other"))(
        "model", "ann/model", False
    )
    repo.add("main", "initial commit", {})
    hub.put("ann/model", {"README.md": b"# Mine"})
    with pytest.raises(PublishError, match=r"holds README\.md, which"):
        deliver(folder, "ann/model")


def test_whoever_commits_in_between_is_not_run_over(hub, folder, monkeypatch) -> None:
    deliver(folder, "ann/model")
    (folder / "README.md").write_text(CARD + "Better now.\n")
    from hub.upload import _Upload

    look = _Upload._listing

    def somebody_is_quicker(self, repo, commit):
        found = look(self, repo, commit)
        hub.put("ann/model", {"README.md": b"---\nlicense: mit\n---\nby hand"})
        return found

    monkeypatch.setattr(_Upload, "_listing", somebody_is_quicker)
    with pytest.raises(PublishError, match="Somebody else has just changed 'ann/model'; look at"):
        deliver(folder, "ann/model")
    assert hub.files("ann/model")["README.md"].endswith(b"by hand")


# -- What breaks -----------------------------------------------------------------------------------


def test_what_had_arrived_is_not_sent_again(hub, folder) -> None:
    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    hub.fail("PUT", weights, times=99, cut_after=1_000)
    with pytest.raises(PublishError) as refusal:
        deliver(folder, "ann/model")
    assert "the same command again goes on where it broke off" in str(refusal.value)
    assert hub.history("ann/model") == ["initial commit"]  # nothing half is ever seen
    hub.mend()
    hub.requests.clear()
    deliver(folder, "ann/model")
    assert hub.count("PUT") == hub.count("PUT", weights) == 1
    assert sent(hub) == contents(folder)


def test_a_connection_that_breaks_once_is_not_even_noticed(hub, folder) -> None:
    hub.fail("PUT", "/store/", cut_after=500)
    hub.fail("POST", "/preupload/", status=503)
    deliver(folder, "ann/model")
    assert sent(hub) == contents(folder)


@pytest.mark.parametrize(
    ("method", "where", "status", "sentence"),
    [
        ("POST", "/create", 401, "The Hub does not know the token you are logged in with; run"),
        ("POST", "/create", 402, r"asks for a subscription to make 'ann/model' \(Told to\); see"),
        ("POST", "/commit/", 403, r"may not write to 'ann/model' \(Told to\); take one of type"),
        ("POST", "/batch", 422, r"The Hub refused 'ann/model' with status 422 \(Told to\); the"),
        ("PUT", "/store/", 403, "may not write to 'ann/model'"),
        ("POST", "/create", 429, "The Hub asks for a pause"),
        ("POST", "/commit/", 503, r"The Hub is in trouble itself \(status 503\); wait a little"),
        ("GET", "/tree/", 404, r"'ann/model' is not there, or not for you \(Told to\); check"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(hub, folder, method, where, status, sentence) -> None:
    hub.fail(method, where, status=status, times=99)
    with pytest.raises(PublishError, match=sentence) as refusal:
        deliver(folder, "ann/model")
    assert "\n" not in str(refusal.value)


def test_another_persons_name_is_refused(hub, folder) -> None:
    with pytest.raises(PublishError, match="logged in with may not write to 'bob/model'"):
        deliver(folder, "bob/model")


def test_a_token_that_may_only_read_is_refused(hub, folder, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    with pytest.raises(PublishError, match="take one of type 'write'"):
        deliver(folder, "reader/model")


def test_nobody_logged_in_is_one_sentence(hub, folder, monkeypatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PublishError, match="Nobody is logged in to the Hub; run `hf auth login`"):
        deliver(folder, "ann/model")
    assert hub.requests == []


def test_a_hub_that_is_not_there_is_one_sentence(hub, folder, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(PublishError, match=r"cannot be reached, or the connection broke \(Connect"):
        deliver(folder, "ann/model")


def test_a_xet_store_that_does_not_answer_is_one_sentence(hub, folder, monkeypatch) -> None:
    """Where hf_xet is installed, large files go its way; this Hub has no such store."""
    pytest.importorskip("hf_xet")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    with pytest.raises(PublishError, match="cannot be reached, or the connection broke"):
        deliver(folder, "ann/model")
    assert hub.count("GET", "/xet-write-token/") >= 1
    assert hub.history("ann/model") == ["initial commit"]


def test_small_files_need_no_xet_store(hub, folder, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    (folder / "model.safetensors").unlink()
    (folder / "samples" / "one.mp3").unlink()
    deliver(folder, "ann/model")
    assert sent(hub) == contents(folder)


def test_offline_is_one_sentence(hub, folder, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PublishError, match="HF_HUB_OFFLINE is set, so nothing can be sent; unset"):
        deliver(folder, "ann/model")


@pytest.mark.parametrize("name", ["a/b/c", "ann/-model-", "ann/what is this", ""])
def test_a_name_that_no_repository_can_have_is_refused(name, hub, folder) -> None:
    with pytest.raises(PublishError, match="is no name of a repository; take one such as"):
        deliver(folder, name)
    assert hub.requests == []


def test_a_card_that_the_hub_does_not_take_is_told_before_anything_is_sent(hub, folder) -> None:
    (folder / "README.md").write_text("---\ncolour: red\n---\n")
    with pytest.raises(PublishError, match=r"Invalid metadata in README\.md\. - \"license\" is"):
        deliver(folder, "ann/model")
    assert hub.count("PUT") == 0


# -- Tokens ----------------------------------------------------------------------------------------


def test_a_token_among_the_files_is_not_published(hub, folder) -> None:
    (folder / "notes.txt").write_text(f"my token is {TOKEN}, remember it")
    with pytest.raises(PublishError, match=r"'notes\.txt' holds the token") as refusal:
        deliver(folder, "ann/model")
    assert TOKEN not in str(refusal.value)
    assert hub.requests == []


def test_a_hub_that_repeats_the_token_is_not_quoted(hub, folder, monkeypatch) -> None:
    monkeypatch.setattr("hub.errors._answer", lambda *_: f"You said Bearer {TOKEN} and {TOKEN}.")
    hub.fail("POST", "/create", status=403)
    with pytest.raises(PublishError) as refusal:
        deliver(folder, "ann/model")
    assert str(refusal.value) == "You said Bearer … and …."


@given(
    before=st.text(), after=st.text(), token=st.from_regex(r"hf_[A-Za-z0-9]{20,40}", fullmatch=True)
)
def test_no_sentence_holds_a_token(before: str, after: str, token: str) -> None:
    assert token not in _without(token, f"{before}{token}{after}{token}")
