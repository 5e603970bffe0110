"""Upload of a folder to the Hub: one commit with all files, or none.

Only files that an earlier upload wrote and that are unchanged since are replaced or deleted. A
record in the repository lists them. A repeated call resumes an interrupted upload: large files that
were received are not sent again. `HfApi.upload_folder` is not used: with hf_xet installed it
uploads in several commits.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.hf_api import RepoFile

from hub.errors import convert_errors
from musiclstm.errors import PublishError

RECORD_FILE = ".musiclstm.json"

RepoType: TypeAlias = Literal["model", "space"]

_CREATED_BY_HUB = {".gitattributes", "README.md"}  # in a new repository


@dataclass(frozen=True)
class UploadResult:
    """Files that were uploaded, or would be in a dry run.

    Attributes:
        url: Page of the repository.
        commit: Commit that contains the files; None after a dry run.
        files: Sorted paths in the repository, the record included.
        bytes: Total size.
    """

    url: str
    commit: str | None
    files: tuple[str, ...]
    bytes: int


@dataclass(frozen=True)
class _Digest:
    """Hashes of a file, as the Hub lists them for large files and for files in git."""

    sha256: str
    git: str

    @classmethod
    def of(cls, content: bytes) -> _Digest:
        git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
        return cls(hashlib.sha256(content).hexdigest(), git.hexdigest())

    def matches(self, file: RepoFile | None) -> bool:
        if file is None:
            return False
        return self.git == file.blob_id if file.lfs is None else self.sha256 == file.lfs.sha256


def upload_folder(
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
    """Upload all files of a folder to a repository, in one commit.

    A missing repository is created. Files of an earlier upload that are no longer in the folder are
    deleted; other files of the repository stay.

    Args:
        folder: All its files are sent, those in subfolders too.
        repo: Such as "user/name"; without a user, that of the token.
        repo_type: "model" or "space".
        private: Visibility of a new repository; True refuses an existing public one.
        revision: Branch, created if it is missing. None: main.
        message: Commit message.
        overwrite: Also replace files that an earlier upload did not write.
        space_sdk: Such as "gradio"; needed for a Space.
        dry_run: Send no request, and return what would be uploaded.

    Raises:
        PublishError: The Hub refuses or cannot be reached, the folder is empty or contains the
            token, or a file would be overwritten.
    """
    files = _read_folder(Path(folder))
    digests = {path: _Digest.of(content) for path, content in files.items()}
    files[RECORD_FILE] = _record_of(digests)
    digests[RECORD_FILE] = _Digest.of(files[RECORD_FILE])
    names, size = tuple(sorted(files)), sum(map(len, files.values()))
    if dry_run:
        url = f"{HfApi().endpoint}/{'spaces/' if repo_type == 'space' else ''}{repo}"
        return UploadResult(url, None, names, size)
    token = require_token()
    _check_no_token(files, token)
    api = HfApi(token=token)
    with convert_errors(repo, token):
        created = api.create_repo(
            repo, repo_type=repo_type, private=private, space_sdk=space_sdk, exist_ok=True
        )
        branch = _Branch(api, created.repo_id, repo_type, revision or "main")
        branch.prepare(private=private)
        commit = branch.commit(files, digests, message, overwrite=overwrite)
    return UploadResult(str(created), commit, names, size)


def require_token() -> str:
    """Return the token of the logged-in user, without a request.

    Raises:
        PublishError: No user is logged in.
    """
    token = get_token()
    if token is None:
        raise PublishError(
            "No user is logged in to the Hub; run `hf auth login`, or set HF_TOKEN to a token with "
            "write access. A dry run needs none."
        )
    return token


def _read_folder(folder: Path) -> dict[str, bytes]:
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != RECORD_FILE
    }
    if not files:
        raise PublishError(f"There are no files in {str(folder)!r}; check the path.")
    return files


def _check_no_token(files: Mapping[str, bytes], token: str) -> None:
    for path, content in files.items():
        if token.encode() in content:
            raise PublishError(
                f"{path!r} contains your Hub token, which gives every reader write access to your "
                "repositories; remove the token from that file."
            )


@dataclass(frozen=True)
class _Branch:
    """A branch of a repository on the Hub."""

    api: HfApi
    repo: str
    repo_type: RepoType
    name: str

    def prepare(self, *, private: bool | None) -> None:
        """Check the visibility and create the branch."""
        info = self.api.repo_info(self.repo, repo_type=self.repo_type)
        if private and not info.private:
            raise PublishError(
                f"{self.repo!r} exists and is public; make it private in its settings on the Hub, "
                "or choose another name."
            )
        if self.name != "main":
            self.api.create_branch(
                self.repo, branch=self.name, repo_type=self.repo_type, exist_ok=True
            )

    def commit(
        self,
        files: Mapping[str, bytes],
        digests: Mapping[str, _Digest],
        message: str,
        *,
        overwrite: bool,
    ) -> str:
        """Commit the files, check that all of them arrived, and return the commit."""
        info = self.api.repo_info(self.repo, repo_type=self.repo_type, revision=self.name)
        present = self.files_at(str(info.sha))
        record = self._read_record(str(info.sha)) if RECORD_FILE in present else {}
        if not overwrite:
            self._check_overwrites(digests, present, record)
        stale = [
            path
            for path, digest in sorted(record.items())
            if path not in files and digest.matches(present.get(path))
        ]
        commit = self.api.create_commit(
            self.repo,
            [
                *(CommitOperationAdd(path, content) for path, content in files.items()),
                *(CommitOperationDelete(path) for path in stale),
            ],
            commit_message=message,
            repo_type=self.repo_type,
            revision=self.name,
            parent_commit=info.sha,  # the Hub refuses it after a commit by another user
        )
        arrived = self.files_at(commit.oid)
        if lost := _paths(digests, lambda path, digest: not digest.matches(arrived.get(path))):
            raise PublishError(
                f"{_shorten(lost)} did not arrive in {self.repo!r}; check its .gitignore, and "
                "publish again."
            )
        return commit.oid

    def files_at(self, commit: str) -> dict[str, RepoFile]:
        entries = self.api.list_repo_tree(
            self.repo, recursive=True, revision=commit, repo_type=self.repo_type
        )
        return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}

    def _read_record(self, commit: str) -> dict[str, _Digest]:
        with tempfile.TemporaryDirectory() as folder:
            path = self.api.hf_hub_download(
                self.repo, RECORD_FILE, repo_type=self.repo_type, revision=commit, local_dir=folder
            )
            return _parse_record(Path(path).read_bytes())

    def _check_overwrites(
        self,
        digests: Mapping[str, _Digest],
        present: Mapping[str, RepoFile],
        record: Mapping[str, _Digest],
    ) -> None:
        """Refuse to replace files that an earlier upload did not write, or changed since."""

        def is_changed(path: str, digest: _Digest) -> bool:
            if path not in present or digest.matches(present[path]):
                return False
            if path == RECORD_FILE:
                return not record
            return not (path in record and record[path].matches(present[path]))

        foreign = _paths(digests, is_changed)
        if foreign and not self._is_new(present):
            raise PublishError(
                f"{self.repo!r} holds {_shorten(foreign)}, which this command did not write or "
                "which was changed since; compare the files, then add --overwrite to replace them."
            )

    def _is_new(self, present: Mapping[str, RepoFile]) -> bool:
        """Return whether the repository contains only what the Hub created."""
        if not present.keys() <= _CREATED_BY_HUB:
            return False
        commits = self.api.list_repo_commits(
            self.repo, repo_type=self.repo_type, revision=self.name
        )
        return len(commits) == 1


def _record_of(digests: Mapping[str, _Digest]) -> bytes:
    record = {
        "about": "Files written by musiclstm, which replaces them only while they are unchanged.",
        "files": {path: vars(digest) for path, digest in sorted(digests.items())},
    }
    return (json.dumps(record, indent=2) + "\n").encode()


def _parse_record(content: bytes) -> dict[str, _Digest]:
    """Return the files of a record; none if it is not valid."""
    try:
        files = json.loads(content)["files"]
        return {
            str(PurePosixPath(path)): _Digest(str(each["sha256"]), str(each["git"]))
            for path, each in files.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _paths(digests: Mapping[str, _Digest], test: Callable[[str, _Digest], bool]) -> list[str]:
    return [path for path, digest in digests.items() if test(path, digest)]


def _shorten(paths: list[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(paths[:3]) + more
