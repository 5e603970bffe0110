"""Upload of a folder: one commit or none, without replacing files of others."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.errors import _remove_token
from hub.upload import RECORD_FILE, _Branch, upload_folder
from musiclstm import PublishError

TOKEN = "hf_" + "LoopbackTokenOfNobody" + "1234567890"
READ_TOKEN = "hf_" + "LoopbackTokenToRead" + "123456789012"
CARD = "---\nlicense: cc0-1.0\n---\n# A model\n"


@pytest.fixture
def folder(tmp_path):
    """A folder with a card, two large files and a small one."""
    folder = tmp_path / "folder"
    (folder / "samples").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 1_000)
    (folder / "samples" / "one.mp3").write_bytes(b"sound" * 1_000)
    (folder / "samples" / "one.mid").write_bytes(b"MThd")
    return folder


def contents(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def sent(hub, name="ann/model", **where):
    """Return the files on the Hub, without those that the Hub and the upload add."""
    files = hub.files(name, **where)
    return {path: files[path] for path in files if path not in (RECORD_FILE, ".gitattributes")}


# -- Uploaded files --------------------------------------------------------------------------------


def test_a_folder_is_uploaded_in_one_commit(hub, folder) -> None:
    result = upload_folder(folder, "ann/model", message="My model")
    assert sent(hub) == contents(folder)
    assert hub.history("ann/model") == ["My model", "initial commit"]
    assert result.commit == hub.repo("ann/model").refs["main"].sha
    assert result.url == f"{hub.endpoint}/ann/model"
    assert set(result.files) == {*contents(folder), RECORD_FILE}
    assert result.bytes == sum(len(hub.files("ann/model")[path]) for path in result.files)


def test_large_files_are_stored_with_lfs(hub, folder) -> None:
    upload_folder(folder, "ann/model")
    assert hub.count("PUT") == 2
    assert hub.repo("ann/model").refs["main"].files["model.safetensors"].is_large


def test_a_name_without_a_user_gets_that_of_the_token(hub, folder) -> None:
    assert upload_folder(folder, "model").url.endswith("/ann/model")
    assert sent(hub)


def test_a_space_replaces_the_initial_readme_of_the_hub(hub, folder) -> None:
    (folder / "README.md").write_text("---\nsdk: gradio\n---\n")
    result = upload_folder(folder, "ann/page", repo_type="space", space_sdk="gradio")
    assert sent(hub, "ann/page", kind="space") == contents(folder)
    assert hub.repo("ann/page", "space").sdk == "gradio"
    assert result.url == f"{hub.endpoint}/spaces/ann/page"


def test_a_branch_is_created_and_main_is_unchanged(hub, folder) -> None:
    upload_folder(folder, "ann/model", revision="trial")
    upload_folder(folder, "ann/model", revision="trial")
    assert sent(hub, revision="trial") == contents(folder)
    assert sent(hub) == {}


def test_a_private_repository_is_private(hub, folder) -> None:
    upload_folder(folder, "ann/model", private=True)
    assert hub.repo("ann/model").private
    upload_folder(folder, "ann/model", private=True)


def test_private_files_are_not_sent_to_a_public_repository(hub, folder) -> None:
    hub.put("ann/model", {"notes.txt": b"mine"})
    with pytest.raises(PublishError, match="'ann/model' exists and is public"):
        upload_folder(folder, "ann/model", private=True)
    assert sent(hub) == {"notes.txt": b"mine"}


def test_a_dry_run_sends_no_request_and_needs_no_token(hub, folder, monkeypatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    result = upload_folder(folder, "ann/model", dry_run=True)
    assert hub.requests == []
    assert result.commit is None
    assert set(result.files) == {*contents(folder), RECORD_FILE}
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    uploaded = upload_folder(folder, "ann/model")
    assert (uploaded.files, uploaded.bytes) == (result.files, result.bytes)
    assert uploaded.url == result.url


def test_the_record_lists_the_files(hub, folder) -> None:
    upload_folder(folder, "ann/model")
    record = json.loads(hub.files("ann/model")[RECORD_FILE])["files"]
    assert record.keys() == contents(folder).keys()
    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert record["model.safetensors"]["sha256"] == weights


def test_an_empty_folder_is_refused(hub, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PublishError, match=r"no files in '.*empty'"):
        upload_folder(tmp_path / "empty", "ann/model")
    assert hub.requests == []


# -- Changes by others -----------------------------------------------------------------------------


def test_a_second_upload_of_the_same_folder_changes_nothing(hub, folder) -> None:
    first = upload_folder(folder, "ann/model")
    again = upload_folder(folder, "ann/model")
    assert again == first
    assert len(hub.history("ann/model")) == 2


def test_own_files_are_replaced_and_those_of_others_kept(hub, folder) -> None:
    upload_folder(folder, "ann/model")
    hub.put("ann/model", {"thoughts.md": b"by hand"})
    (folder / "README.md").write_text(CARD + "Better now.\n")
    (folder / "samples" / "one.mid").unlink()
    upload_folder(folder, "ann/model")
    assert sent(hub) == {**contents(folder), "thoughts.md": b"by hand"}


@pytest.mark.parametrize("name", ["README.md", "model.safetensors"])
def test_a_changed_file_is_not_replaced_without_overwrite(name, hub, folder) -> None:
    upload_folder(folder, "ann/model")
    hub.put("ann/model", {name: b"---\nlicense: mit\n---\nby hand"})
    before = hub.files("ann/model")
    with pytest.raises(PublishError, match=f"holds {name}, which .* add --overwrite"):
        upload_folder(folder, "ann/model")
    assert hub.files("ann/model") == before
    upload_folder(folder, "ann/model", overwrite=True)
    assert sent(hub) == contents(folder)
    upload_folder(folder, "ann/model")


def test_a_changed_file_is_not_deleted(hub, folder) -> None:
    upload_folder(folder, "ann/model")
    hub.put("ann/model", {"samples/one.mid": b"another tune"})
    (folder / "samples" / "one.mid").unlink()
    upload_folder(folder, "ann/model")
    assert sent(hub)["samples/one.mid"] == b"another tune"


def test_a_repository_with_other_files_is_refused(hub, folder) -> None:
    hub.put("ann/model", {"README.md": b"# Mine", "model.safetensors": b"mine"})
    with pytest.raises(PublishError, match=r"holds README\.md, model\.safetensors, which this"):
        upload_folder(folder, "ann/model")
    assert hub.count("PUT") == 0


@pytest.mark.parametrize("record", [b"{", b"[]", b'{"files": {"README.md": 3}}', b"\xff"])
def test_an_invalid_record_proves_no_ownership(record, hub, folder) -> None:
    hub.put("ann/model", {"README.md": b"# Mine", RECORD_FILE: record})
    with pytest.raises(PublishError, match=r"holds README\.md, \.musiclstm\.json, which"):
        upload_folder(folder, "ann/model")


def test_a_readme_by_hand_is_not_mistaken_for_the_initial_one(hub, folder) -> None:
    upload_folder(folder, "ann/other")
    hub.repos["model", "ann/model"] = repo = type(hub.repo("ann/other"))(
        "model", "ann/model", False
    )
    repo.add("main", "initial commit", {})
    hub.put("ann/model", {"README.md": b"# Mine"})
    with pytest.raises(PublishError, match=r"holds README\.md, which"):
        upload_folder(folder, "ann/model")


def test_a_commit_by_another_user_in_between_is_not_overwritten(hub, folder, monkeypatch) -> None:
    upload_folder(folder, "ann/model")
    (folder / "README.md").write_text(CARD + "Better now.\n")
    files_at = _Branch.files_at

    def commit_in_between(self, commit):
        found = files_at(self, commit)
        hub.put("ann/model", {"README.md": b"---\nlicense: mit\n---\nby hand"})
        return found

    monkeypatch.setattr(_Branch, "files_at", commit_in_between)
    with pytest.raises(PublishError, match="Another user has just changed 'ann/model'"):
        upload_folder(folder, "ann/model")
    assert hub.files("ann/model")["README.md"].endswith(b"by hand")


# -- Failures --------------------------------------------------------------------------------------


def test_received_files_are_not_sent_again(hub, folder) -> None:
    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    hub.fail("PUT", weights, times=99, cut_after=1_000)
    with pytest.raises(PublishError) as refusal:
        upload_folder(folder, "ann/model")
    assert "the same command, which resumes the upload" in str(refusal.value)
    assert hub.history("ann/model") == ["initial commit"]  # no partial upload
    hub.clear_faults()
    hub.requests.clear()
    upload_folder(folder, "ann/model")
    assert hub.count("PUT") == hub.count("PUT", weights) == 1
    assert sent(hub) == contents(folder)


def test_a_single_connection_failure_is_retried(hub, folder) -> None:
    hub.fail("PUT", "/store/", cut_after=500)
    hub.fail("POST", "/preupload/", status=503)
    upload_folder(folder, "ann/model")
    assert sent(hub) == contents(folder)


@pytest.mark.parametrize(
    ("method", "where", "status", "key_fact"),
    [
        ("POST", "/create", 401, "The Hub does not accept your token"),
        ("POST", "/create", 402, r"requires a subscription for 'ann/model' \(Injected\)"),
        ("POST", "/commit/", 403, r"may not write to 'ann/model' \(Injected\)"),
        ("POST", "/batch", 422, r"refused 'ann/model' with status 422 \(Injected\)"),
        ("PUT", "/store/", 403, "may not write to 'ann/model'"),
        ("POST", "/create", 429, "too many requests"),
        ("POST", "/commit/", 503, r"internal error \(status 503\)"),
        ("GET", "/tree/", 404, r"'ann/model' does not exist, or you have no access \(Injected\)"),
    ],
)
def test_a_refusal_of_the_hub_is_one_line(hub, folder, method, where, status, key_fact) -> None:
    hub.fail(method, where, status=status, times=99)
    with pytest.raises(PublishError, match=key_fact) as refusal:
        upload_folder(folder, "ann/model")
    assert "\n" not in str(refusal.value)


def test_a_repository_of_another_user_is_refused(hub, folder) -> None:
    with pytest.raises(PublishError, match="may not write to 'bob/model'"):
        upload_folder(folder, "bob/model")


def test_a_token_without_write_access_is_refused(hub, folder, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    with pytest.raises(PublishError, match="token of type 'write'"):
        upload_folder(folder, "reader/model")


def test_a_missing_login_is_refused(hub, folder, monkeypatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PublishError, match="hf auth login"):
        upload_folder(folder, "ann/model")
    assert hub.requests == []


def test_an_unreachable_hub_is_one_line(hub, folder, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(
        PublishError, match=r"cannot be reached, or the connection was lost \(Connect"
    ):
        upload_folder(folder, "ann/model")


def test_an_unreachable_xet_store_is_one_line(hub, folder, monkeypatch) -> None:
    """With hf_xet installed, large files go to a Xet store, which the test Hub lacks."""
    pytest.importorskip("hf_xet")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    with pytest.raises(PublishError, match="cannot be reached"):
        upload_folder(folder, "ann/model")
    assert hub.count("GET", "/xet-write-token/") >= 1
    assert hub.history("ann/model") == ["initial commit"]


def test_small_files_need_no_xet_store(hub, folder, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    (folder / "model.safetensors").unlink()
    (folder / "samples" / "one.mp3").unlink()
    upload_folder(folder, "ann/model")
    assert sent(hub) == contents(folder)


def test_offline_mode_is_refused(hub, folder, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PublishError, match="HF_HUB_OFFLINE is set"):
        upload_folder(folder, "ann/model")


@pytest.mark.parametrize("name", ["a/b/c", "ann/-model-", "ann/what is this", ""])
def test_an_invalid_repository_name_is_refused(name, hub, folder) -> None:
    with pytest.raises(PublishError, match="not a valid repository name"):
        upload_folder(folder, name)
    assert hub.requests == []


def test_invalid_card_metadata_is_refused_before_anything_is_sent(hub, folder) -> None:
    (folder / "README.md").write_text("---\ncolour: red\n---\n")
    with pytest.raises(PublishError, match=r"Invalid metadata in README\.md"):
        upload_folder(folder, "ann/model")
    assert hub.count("PUT") == 0


# -- Tokens ----------------------------------------------------------------------------------------


def test_a_file_with_the_token_is_refused(hub, folder) -> None:
    (folder / "notes.txt").write_text(f"my token is {TOKEN}, remember it")
    with pytest.raises(PublishError, match=r"'notes\.txt' contains your Hub token") as refusal:
        upload_folder(folder, "ann/model")
    assert TOKEN not in str(refusal.value)
    assert hub.requests == []


def test_the_token_is_removed_from_messages_of_the_hub(hub, folder, monkeypatch) -> None:
    monkeypatch.setattr(
        "hub.errors._status_message", lambda *_: f"You said Bearer {TOKEN} and {TOKEN}."
    )
    hub.fail("POST", "/create", status=403)
    with pytest.raises(PublishError) as refusal:
        upload_folder(folder, "ann/model")
    assert str(refusal.value) == "You said Bearer … and …."


@given(
    before=st.text(), after=st.text(), token=st.from_regex(r"hf_[A-Za-z0-9]{20,40}", fullmatch=True)
)
@settings(max_examples=30)
def test_no_message_contains_the_token(before: str, after: str, token: str) -> None:
    assert token not in _remove_token(token, f"{before}{token}{after}{token}")
