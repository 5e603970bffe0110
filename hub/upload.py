"""A folder becomes one commit on the Hub: a model's or a Space's, whole or not at all.

Replaces only what an earlier delivery wrote and nobody has changed since; what that was stands in a
small record that travels with it. A delivery that broke off is begun anew by the same call, and
large files that had arrived are not sent again. No token gets into a file, a message or an error.
Knows nothing of music, cards or weights.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    RepoUrl,
    get_token,
)
from huggingface_hub.hf_api import RepoFile

from hub.errors import told_plainly
from musiclstm.errors import PublishError

RECORD_FILE = ".musiclstm.json"

RepoType: TypeAlias = Literal["model", "space"]

# What the Hub itself puts into a new repository.
_OF_THE_HUB = {".gitattributes", "README.md"}


@dataclass(frozen=True)
class UploadResult:
    """What was sent, or would be.

    Attributes:
        url: Where it can be seen.
        commit: The commit that holds it; None after a dry run.
        files: Paths in the repository, in order; the record is one of them.
        bytes: Of all files together.
    """

    url: str
    commit: str | None
    files: tuple[str, ...]
    bytes: int


@dataclass(frozen=True)
class _Digest:
    """A file's contents, as the store of large files and as git know them."""

    sha256: str
    git: str

    def is_of(self, there: RepoFile) -> bool:
        known = self.git if there.lfs is None else self.sha256
        return known == (there.blob_id if there.lfs is None else there.lfs.sha256)


def deliver(
    folder: str | Path,
    repo: str,
    *,
    repo_type: RepoType = "model",
    private: bool | None = None,
    revision: str | None = None,
    message: str = "Publish",
    overwrite: bool = False,
    space_sdk: str | None = None,
    dry_run: bool = False,
) -> UploadResult:
    """Send everything in a folder to a repository, in one commit.

    The repository is made if there is none. Files of an earlier delivery that the folder no longer
    holds are taken away; files that others put there under other names stay.

    Args:
        folder: Whatever lies in it is sent, folders inside it too.
        repo: Such as "user/name"; without a user, that of the token.
        repo_type: What it is.
        private: For a repository that is made now; True refuses one that is public already.
        revision: A branch, made if there is none; None: main.
        message: Of the commit.
        overwrite: Also replace what an earlier delivery did not write.
        space_sdk: Such as "gradio"; a Space needs one.
        dry_run: Ask and send nothing; only say what would be sent.

    Raises:
        PublishError: The Hub refuses or cannot be reached, or something would be overwritten.
    """
    contents = _contents(Path(folder))
    digests = {path: _digest(_read(content)) for path, content in contents.items()}
    contents[RECORD_FILE] = record = _record_of(digests)
    digests[RECORD_FILE] = _digest(record)
    names, size = tuple(sorted(contents)), sum(len(_read(each)) for each in contents.values())
    if dry_run:
        place = f"{HfApi().endpoint}/{'spaces/' if repo_type == 'space' else ''}{repo}"
        return UploadResult(place, None, names, size)
    token = token_at_hand()
    _refuse_secret(contents, token)
    with told_plainly(repo, token):
        parcel = _Upload(HfApi(token=token), contents, digests, repo_type, revision or "main")
        place = parcel.find_place(repo, private=private, space_sdk=space_sdk)
        commit = parcel.send(place.repo_id, message, overwrite=overwrite)
    return UploadResult(str(place), commit, names, size)


def token_at_hand() -> str:
    """The token of whoever is logged in; asks no Hub whether it is still good.

    Raises:
        PublishError: Nobody is.
    """
    token = get_token()
    if token is None:
        raise PublishError(
            "Nobody is logged in to the Hub; run `hf auth login`, or set HF_TOKEN to a token that "
            "may write."
        )
    return token


# What lies in the folder --------------------------------------------------------------------------


def _contents(folder: Path) -> dict[str, Path | bytes]:
    found: dict[str, Path | bytes] = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != RECORD_FILE
    }
    if not found:
        raise PublishError(f"There is nothing to publish in {str(folder)!r}; is it the right one?")
    return found


def _read(content: Path | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


def _digest(content: bytes) -> _Digest:
    git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    return _Digest(hashlib.sha256(content).hexdigest(), git.hexdigest())


def _record_of(digests: Mapping[str, _Digest]) -> bytes:
    told = {
        "about": "What musiclstm wrote; it replaces these files only while nobody changed them.",
        "files": {path: vars(digest) for path, digest in sorted(digests.items())},
    }
    return (json.dumps(told, indent=2) + "\n").encode()


def _refuse_secret(contents: Mapping[str, Path | bytes], token: str) -> None:
    for path, content in contents.items():
        if token.encode() in _read(content):
            raise PublishError(
                f"{path!r} holds the token you are logged in with, and whoever reads it could "
                "write in your name; take the token out of that file."
            )


# On the Hub ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Upload:
    """Files on their way to one branch of one repository."""

    api: HfApi
    contents: Mapping[str, Path | bytes]
    digests: Mapping[str, _Digest]
    repo_type: RepoType
    branch: str

    def find_place(self, repo: str, *, private: bool | None, space_sdk: str | None) -> RepoUrl:
        """The repository, made if there is none; and the branch."""
        place = self.api.create_repo(
            repo,
            repo_type=self.repo_type,
            private=private,
            space_sdk=space_sdk if self.repo_type == "space" else None,
            exist_ok=True,
        )
        info = self.api.repo_info(place.repo_id, repo_type=self.repo_type)
        if private and not info.private:
            raise PublishError(
                f"{place.repo_id!r} exists and everybody can read it; make it private in its "
                "settings on the Hub, or choose another name."
            )
        if self.branch != "main":
            self.api.create_branch(
                place.repo_id, branch=self.branch, repo_type=self.repo_type, exist_ok=True
            )
        return place

    def send(self, repo: str, message: str, *, overwrite: bool) -> str:
        """Commit, and look whether everything is there; the commit."""
        tip = self._tip(repo)
        there = self._listing(repo, tip)
        record = self._record(repo, tip) if RECORD_FILE in there else {}
        if not overwrite:
            self._refuse_foreign(repo, there, record)
        stale = {
            path
            for path, digest in record.items()
            if path not in self.digests and path in there and digest.is_of(there[path])
        }
        commit = self.api.create_commit(
            repo,
            [
                *(CommitOperationAdd(path, content) for path, content in self.contents.items()),
                *(CommitOperationDelete(path) for path in sorted(stale)),
            ],
            commit_message=message,
            repo_type=self.repo_type,
            revision=self.branch,
            parent_commit=tip,  # whoever commits in between is not run over
        )
        self._check_arrived(repo, commit.oid)
        return commit.oid

    def _tip(self, repo: str) -> str:
        info = self.api.repo_info(repo, repo_type=self.repo_type, revision=self.branch)
        return str(info.sha)

    def _listing(self, repo: str, commit: str) -> dict[str, RepoFile]:
        tree = self.api.list_repo_tree(
            repo, recursive=True, revision=commit, repo_type=self.repo_type
        )
        return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}

    def _record(self, repo: str, commit: str) -> dict[str, _Digest]:
        """What an earlier delivery wrote; empty where there is no record that can be read."""
        with tempfile.TemporaryDirectory() as room:
            path = self.api.hf_hub_download(
                repo, RECORD_FILE, repo_type=self.repo_type, revision=commit, local_dir=room
            )
            return _read_record(Path(path).read_bytes())

    def _refuse_foreign(
        self, repo: str, there: Mapping[str, RepoFile], record: Mapping[str, _Digest]
    ) -> None:
        foreign = [
            path
            for path, digest in self.digests.items()
            if path in there
            and not digest.is_of(there[path])
            and not (path in record and record[path].is_of(there[path]))
            and not (path == RECORD_FILE and record)
        ]
        if foreign and not self._is_untouched(repo, there):
            raise PublishError(
                f"{repo!r} holds {_some(foreign)}, which this command did not write or somebody "
                "has changed since; look at it, then add --overwrite to replace it."
            )

    def _is_untouched(self, repo: str, there: Mapping[str, RepoFile]) -> bool:
        """Whether nobody has been here since the Hub made the repository."""
        if not there.keys() <= _OF_THE_HUB:
            return False
        commits = self.api.list_repo_commits(repo, repo_type=self.repo_type, revision=self.branch)
        return len(commits) == 1

    def _check_arrived(self, repo: str, commit: str) -> None:
        there = self._listing(repo, commit)
        lost = [
            path
            for path, digest in self.digests.items()
            if path not in there or not digest.is_of(there[path])
        ]
        if lost:
            raise PublishError(
                f"{_some(lost)} did not arrive in {repo!r} as sent; see whether its .gitignore "
                "names it, and publish again."
            )


def _read_record(content: bytes) -> dict[str, _Digest]:
    try:
        files = json.loads(content)["files"]
        return {
            str(PurePosixPath(path)): _Digest(str(each["sha256"]), str(each["git"]))
            for path, each in files.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # not ours, so everything there is foreign


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(paths[:3]) + more
