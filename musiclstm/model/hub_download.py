"""Download files of a repository on the Hub into the local cache, and verify their digests.

huggingface_hub compares sizes only. Here a file whose SHA differs from its name in the cache is
deleted and downloaded again. `HfApi.verify_repo_checksums` needs the network at every call; this
works offline too.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from musiclstm.errors import CheckpointError

# The base class of the HTTP library that huggingface_hub uses (requests, now httpx).
_TRANSPORT_ERROR: type[Exception] = HfHubHTTPError.__mro__[1]


def fetch(name: str, files: Sequence[str], *, revision: str | None = None) -> Path:
    """Return a cache folder with files of a model, downloading those that are missing.

    Args:
        name: Repository, such as "user/model".
        files: File names; those that the repository lacks are missing in the folder too.
        revision: Branch, tag or commit; None: the main branch.

    Returns:
        The folder; its name is the commit.

    Raises:
        CheckpointError: The repository, revision or Hub is not available, or a file was damaged
            twice.
    """
    with _convert_errors(name, revision):
        folder = _snapshot(name, files, revision)
        damaged = _delete_damaged(folder, files)
    if not damaged:
        return folder
    with _convert_errors(name, revision, deleted=damaged):
        folder = _snapshot(name, files, folder.name)
        damaged = _delete_damaged(folder, files)
    if damaged:
        raise CheckpointError(
            f"{' and '.join(damaged)} of {name!r} was damaged in two downloads and deleted; try "
            "again later, or over another connection."
        )
    return folder


def _snapshot(name: str, files: Sequence[str], revision: str | None) -> Path:
    return Path(snapshot_download(name, revision=revision, allow_patterns=list(files)))


# Digests ------------------------------------------------------------------------------------------


def _delete_damaged(folder: Path, files: Sequence[str]) -> list[str]:
    """Delete files whose digest is wrong from the cache; return their names."""
    damaged = [name for name in files if _is_damaged(folder / name)]
    for name in damaged:
        blob = _blob_of(folder / name)
        for path in (blob.resolve(), blob, folder / name):
            path.unlink(missing_ok=True)
    return damaged


def _is_damaged(path: Path) -> bool:
    """Return whether a file differs from the digest in its blob's name; False without one."""
    if not path.is_file() or not path.is_symlink():
        return False
    content, digest = path.read_bytes(), _blob_of(path).name
    if len(digest) == 64:
        return hashlib.sha256(content).hexdigest() != digest
    if len(digest) == 40:
        git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
        return git.hexdigest() != digest
    return False


def _blob_of(path: Path) -> Path:
    return path.parent / path.readlink()


# Errors -------------------------------------------------------------------------------------------


@contextmanager
def _convert_errors(
    name: str, revision: str | None, *, deleted: Sequence[str] = ()
) -> Iterator[None]:
    try:
        yield
    except HFValidationError as error:
        raise CheckpointError(
            f"{name!r} is neither a folder nor a Hub id; pass 'default', a folder, or an id such "
            "as 'user/model'."
        ) from error
    except (_TRANSPORT_ERROR, EntryNotFoundError, OSError) as error:
        raise CheckpointError(_message(error, name, revision, deleted)) from error


def _message(error: Exception, name: str, revision: str | None, deleted: Sequence[str]) -> str:
    if isinstance(error, GatedRepoError):
        return (
            f"{name!r} is a gated repository; request access on {constants.ENDPOINT}/{name}, and "
            "log in with `hf auth login`."
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"There is no folder and no model {name!r} on the Hub, or it is private; check the "
            "name, or log in with `hf auth login`."
        )
    if isinstance(error, RevisionNotFoundError):
        return (
            f"{name!r} has no revision {revision!r}; see its branches and tags on "
            f"{constants.ENDPOINT}/{name}, or leave the revision out."
        )
    if isinstance(error, LocalEntryNotFoundError):
        return _not_cached(name, deleted)
    if isinstance(error, EntryNotFoundError):
        return f"The Hub lists a file of {name!r} but does not serve it; try again in a minute."
    if isinstance(error, HfHubHTTPError) and error.response.status_code == 401:
        return (
            "The Hub rejects your access token; run `hf auth login` again, or `hf auth logout` for "
            "public models."
        )
    return _interrupted(error, name)


def _not_cached(name: str, deleted: Sequence[str]) -> str:
    if deleted:
        return (
            f"The local copy of {' and '.join(deleted)} of {name!r} was damaged and is deleted; "
            "connect to the Hub to download it again."
        )
    if constants.HF_HUB_OFFLINE:
        return (
            f"There is no folder {name!r} and no complete local copy of a model of that name, and "
            "HF_HUB_OFFLINE is set; unset it to download the model."
        )
    return (
        f"There is no folder {name!r}, and the Hub cannot be reached to look for a model of that "
        "name; check the name or the connection."
    )


def _interrupted(error: Exception, name: str) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES):
        return (
            f"{name!r} cannot be stored in {constants.HF_HUB_CACHE} ({error.strerror}); free space "
            "there, or set HF_HOME to another folder."
        )
    return (
        f"The download of {name!r} was interrupted ({type(error).__name__}); try again, complete "
        "files are not downloaded twice."
    )
