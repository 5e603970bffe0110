"""Exceptions and empty results of event handlers."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import wraps
from html import escape
from typing import Any, ParamSpec

import gradio as gr

from musiclstm import MusicLSTMError

_LOG = logging.getLogger(__name__)
_P = ParamSpec("_P")

UNEXPECTED = (
    "Something broke on the server. This is not your fault, and what you had stays here. Try "
    "again, or choose something else."
)


@contextmanager
def show_errors_to_user() -> Iterator[None]:
    """Convert exceptions into `gr.Error`, which Gradio shows as a message.

    Errors that a request can cause keep their sentence; others are logged and become `UNEXPECTED`.
    """
    try:
        yield
    except (MusicLSTMError, ValueError, TimeoutError) as error:
        raise gr.Error(escape(str(error), quote=False), print_exception=False) from error
    except gr.Error:
        raise
    except Exception as error:
        _LOG.exception("An event handler failed")
        raise gr.Error(UNEXPECTED, print_exception=False) from error


def event_handler(function: Callable[_P, Any]) -> Callable[_P, Any]:
    """Wrap a handler that returns or yields changes by component.

    Exceptions become messages, and no changes become `gr.skip()`. Otherwise Gradio rejects an
    empty dictionary, and sets all outputs to None after a generator that yielded nothing.
    """
    if not inspect.isgeneratorfunction(function):

        @wraps(function)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> Any:
            with show_errors_to_user():
                changes = function(*args, **kwargs)
            return gr.skip() if changes == {} else changes

        return call

    @wraps(function)
    def generate(*args: _P.args, **kwargs: _P.kwargs) -> Any:
        has_yielded = False
        with show_errors_to_user(), closing(function(*args, **kwargs)) as updates:
            for changes in updates:
                if changes:
                    has_yielded = True
                    yield changes
        if not has_yielded:
            yield gr.skip()

    return generate
