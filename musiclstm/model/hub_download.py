"""A name on the Hub -> a folder on this machine whose files are what the Hub says they are.

huggingface_hub keeps the copies and compares their sizes; here their digests are compared too, so
that a changed byte is found and fetched anew instead of played. Whatever goes wrong is one
sentence, and leaves a cache with which the same call works once the fault is mended. Knows nothing
of models.
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

# What carries the requests has changed its name before; what it raises stands above this one.
_TRANSPORT_ERROR: type[Exception] = HfHubHTTPError.__mro__[1]


def fetch(name: str, files: Sequence[str], *, revision: str | None = None) -> Path:
    """Files of a model as a folder of the cache, fetched where they are not there yet.

    Args:
        name: Such as "user/model".
        files: What is wanted; what the Hub does not have is missing in the folder.
        revision: Branch, tag or commit; None: the main branch.

    Returns:
        A folder whose name is the commit.

    Raises:
        CheckpointError: The name, the revision, the Hub or the way there; or the files arrive
            damaged, twice.
    """
    with _told_plainly(name, revision):
        folder = _snapshot(name, files, revision)
        damaged = _throw_away_damaged(folder, files)
    if not damaged:
        return folder
    with _told_plainly(name, revision, lost=damaged):
        folder = _snapshot(name, files, folder.name)
        damaged = _throw_away_damaged(folder, files)
    if damaged:
        raise CheckpointError(
            f"{' and '.join(damaged)} of {name!r} came damaged twice and was thrown away; try "
            "again later, or over another connection."
        )
    return folder


def _snapshot(name: str, files: Sequence[str], revision: str | None) -> Path:
    return Path(snapshot_download(name, revision=revision, allow_patterns=list(files)))


# What arrived -------------------------------------------------------------------------------------


def _throw_away_damaged(folder: Path, files: Sequence[str]) -> list[str]:
    """Take out of the cache what is not what its name says; those files."""
    damaged = [name for name in files if _is_damaged(folder / name)]
    for name in damaged:
        blob = _blob_of(folder / name)
        for path in (blob.resolve(), blob, folder / name):
            path.unlink(missing_ok=True)
    return damaged


def _is_damaged(path: Path) -> bool:
    """Whether a file differs from the digest that the cache is named by; False if it names none."""
    if not path.is_file() or not path.is_symlink():
        return False
    content, told = path.read_bytes(), _blob_of(path).name
    if len(told) == 64:
        return hashlib.sha256(content).hexdigest() != told
    if len(told) == 40:
        git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
        return git.hexdigest() != told
    return False


def _blob_of(path: Path) -> Path:
    return path.parent / path.readlink()


# What went wrong ----------------------------------------------------------------------------------


@contextmanager
def _told_plainly(name: str, revision: str | None, *, lost: Sequence[str] = ()) -> Iterator[None]:
    try:
        yield
    except HFValidationError as error:
        raise CheckpointError(
            f"{name!r} is neither a folder nor a Hub id; pass 'default', a folder, or an id such "
            "as 'user/model'."
        ) from error
    except (_TRANSPORT_ERROR, EntryNotFoundError, OSError) as error:
        raise CheckpointError(_sentence(error, name, revision, lost)) from error


def _sentence(error: Exception, name: str, revision: str | None, lost: Sequence[str]) -> str:
    if isinstance(error, GatedRepoError):
        return (
            f"{name!r} is open only to those whom its owner lets in; ask for that on "
            f"{constants.ENDPOINT}/{name}, and log in with `hf auth login`."
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
        return _no_copy(name, lost)
    if isinstance(error, EntryNotFoundError):
        return f"The Hub names a file of {name!r} that it does not give; try again in a minute."
    if isinstance(error, HfHubHTTPError) and error.response.status_code == 401:
        return (
            "The Hub does not know the token you are logged in with; run `hf auth login` again, "
            "or `hf auth logout` to read what everybody may."
        )
    return _broken(error, name)


def _no_copy(name: str, lost: Sequence[str]) -> str:
    if lost:
        return (
            f"The copy of {' and '.join(lost)} of {name!r} on this machine was damaged and is "
            "thrown away; let it reach the Hub once to fetch it again."
        )
    if constants.HF_HUB_OFFLINE:
        return (
            f"There is no folder {name!r} and no whole copy of a model of that name, and "
            "HF_HUB_OFFLINE is set; unset it to fetch the model."
        )
    return (
        f"There is no folder {name!r}, and the Hub cannot be reached to look for a model of that "
        "name; check the name or the connection."
    )


def _broken(error: Exception, name: str) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES):
        return (
            f"{name!r} cannot be kept in {constants.HF_HUB_CACHE} ({error.strerror}); make room "
            "there, or set HF_HOME to another place."
        )
    return (
        f"The download of {name!r} broke off ({type(error).__name__}); call again, files that are "
        "whole are not fetched twice."
    )
