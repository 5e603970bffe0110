"""Exceptions in event handlers, shown to the user as one sentence."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

import gradio as gr

from musiclstm import MusicLSTMError

_LOG = logging.getLogger(__name__)

BROKEN = (
    "Something broke on the server, and it is not your doing; what you had stays here. Try again, "
    "or choose something else."
)


@contextmanager
def show_errors_to_user() -> Iterator[None]:
    """A refusal becomes one sentence in a corner; all else on the page stays as it is.

    So does a mistake of ours, which is logged besides.
    """
    try:
        yield
    except (MusicLSTMError, ValueError, TimeoutError) as error:
        raise gr.Error(escape(str(error), quote=False), print_exception=False) from error
    except gr.Error:
        raise
    except Exception as error:
        _LOG.exception("A job broke")
        raise gr.Error(BROKEN, print_exception=False) from error
