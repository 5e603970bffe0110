"""What the Hub and the way there refuse, as one sentence each. No token is ever repeated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from musiclstm.errors import PublishError

# What carries the requests has changed its name before; what it raises stands above this one.
TRANSPORT_ERROR: type[Exception] = HfHubHTTPError.__mro__[1]

_AGAIN = "the same command again goes on where it broke off"


@contextmanager
def told_plainly(repo: str, token: str) -> Iterator[None]:
    """Turns whatever goes wrong on the way to the Hub into a `PublishError` without the token."""
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise PublishError(
            "HF_HUB_OFFLINE is set, so nothing can be sent; unset it and run the command again."
        ) from error
    except HFValidationError as error:
        raise PublishError(
            f"{repo!r} is no name of a repository; take one such as 'user/name', of letters, "
            "digits, '-', '_' and '.'."
        ) from error
    except (TRANSPORT_ERROR, RuntimeError, ValueError, OSError) as error:
        raise PublishError(_without(token, _sentence(_root(error), repo))) from error


def _root(error: BaseException) -> BaseException:
    """What the client wrapped while it sent a large file."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _sentence(error: BaseException, repo: str) -> str:
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        return _answer(error.response.status_code, error.server_message or "", repo)
    if isinstance(error, (TRANSPORT_ERROR, ConnectionError)):
        kind = type(error).__name__
        return f"The Hub cannot be reached, or the connection broke ({kind}); {_AGAIN}."
    return f"{repo!r} could not be published: {' '.join(str(error).split()).rstrip('.')}."


def _answer(status: int, told: str, repo: str) -> str:
    why = f" ({told.rstrip('.')})" if told else ""
    if status >= 500:
        return f"The Hub is in trouble itself (status {status}); wait a little: {_AGAIN}."
    return {
        401: "The Hub does not know the token you are logged in with; run `hf auth login` again.",
        402: f"The Hub asks for a subscription to make {repo!r}{why}; see its prices, or choose "
        "another kind of repository.",
        403: f"The token you are logged in with may not write to {repo!r}{why}; take one of type "
        "'write', or another name.",
        404: f"{repo!r} is not there, or not for you{why}; check the name.",
        412: f"Somebody else has just changed {repo!r}; look at it and run the command again.",
        429: f"The Hub asks for a pause, for it was asked too often; later {_AGAIN}.",
    }.get(status, f"The Hub refused {repo!r} with status {status}{why}; {_AGAIN}.")


def _without(token: str, text: str) -> str:
    return re.sub(r"\b(hf_|Bearer )\w{8,}", r"\1…", text.replace(token, "…"))
