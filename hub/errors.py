"""Conversion of errors of the Hub and its client to `PublishError`, without the token."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from musiclstm.errors import PublishError

# Base class of the HTTP library's errors. huggingface_hub changed that library in version 1.0.
TRANSPORT_ERROR: type[Exception] = HfHubHTTPError.__mro__[1]

_RESUME = "then run the same command, which resumes the upload"


@contextmanager
def convert_errors(repo: str, token: str) -> Iterator[None]:
    """Raise `PublishError` without the token for every error of the client."""
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise PublishError(
            "HF_HUB_OFFLINE is set, so nothing can be sent; unset it and run the command again."
        ) from error
    except HFValidationError as error:
        raise PublishError(
            f"{repo!r} is not a valid repository name; use 'user/name', with letters, digits, '-', "
            "'_' and '.'."
        ) from error
    except (TRANSPORT_ERROR, RuntimeError, ValueError, OSError) as error:
        raise PublishError(_remove_token(token, _sentence(_root(error), repo))) from error


def _root(error: BaseException) -> BaseException:
    """Return the cause of an error that the client raised while it sent a large file."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _sentence(error: BaseException, repo: str) -> str:
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        return _status_message(error.response.status_code, error.server_message or "", repo)
    if isinstance(error, (TRANSPORT_ERROR, ConnectionError)):
        kind = type(error).__name__
        return (
            f"The Hub cannot be reached, or the connection was lost ({kind}); check it, {_RESUME}."
        )
    return f"{repo!r} could not be published: {' '.join(str(error).split()).rstrip('.')}."


def _status_message(status: int, server_message: str, repo: str) -> str:
    why = f" ({server_message.rstrip('.')})" if server_message else ""
    if status >= 500:
        return f"The Hub has an internal error (status {status}); wait a minute, {_RESUME}."
    return {
        401: "The Hub does not accept your token; run `hf auth login` again.",
        402: f"The Hub requires a subscription for {repo!r}{why}; see its prices, or choose "
        "another kind of repository.",
        403: f"Your token may not write to {repo!r}{why}; use a token of type 'write', or another "
        "name.",
        404: f"{repo!r} does not exist, or you have no access{why}; check the name.",
        412: f"Another user has just changed {repo!r}; check the change and run the command again.",
        429: f"The Hub received too many requests; wait a minute, {_RESUME}.",
    }.get(
        status,
        f"The Hub refused {repo!r} with status {status}{why}; check the name, {_RESUME}.",
    )


def _remove_token(token: str, text: str) -> str:
    return re.sub(r"\b(hf_|Bearer )\w{8,}", r"\1…", text.replace(token, "…"))
