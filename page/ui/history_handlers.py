"""What happens with a piece afterwards: back and forth in the history, and home with it.

Composes nothing; files are written into a folder that lasts until Gradio has copied them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr

from musiclstm import ScoreError
from page.downloads import file_of
from page.playback.excerpt import new_bar_of
from page.server.gradio_private import event_data
from page.session.history import History
from page.session.session import Session
from page.session.settings import mix_of
from page.ui.errors import show_errors_to_user
from page.ui.generate_handlers import Changes, GenerateHandlers


class HistoryHandlers:
    """The handlers of history and files.

    Args:
        composing: Who shows what is gone back to.
    """

    def __init__(self, composing: GenerateHandlers) -> None:
        self.composing, self.page = composing, composing.page

    # ------------------------------------------------------------------------------------- history

    def undo(self, desk: Session, *values: Any) -> Iterator[Changes]:
        """What was shown before."""
        yield from self._move(desk, values, History.undo)

    def redo(self, desk: Session, *values: Any) -> Iterator[Changes]:
        """What was shown before an undo."""
        yield from self._move(desk, values, History.redo)

    def go_to(self, desk: Session, *values: Any, number: int) -> Iterator[Changes]:
        """Any version."""
        yield from self._move(desk, values, lambda history: history.go_to(number))

    def keep(self, take: int, desk: Session, *values: Any) -> Iterator[Changes]:
        """One of several takes; those that nobody went on from are let go."""
        number = desk.players[take].number
        with show_errors_to_user():
            if number is None:
                raise ScoreError("There is nothing to keep yet; press Continue first.")
        yield from self._move(desk, values, lambda history: history.keep(number))

    def _move(
        self, desk: Session, values: tuple[Any, ...], step: Callable[[History], History]
    ) -> Iterator[Changes]:
        with show_errors_to_user():
            desk.leave()
            yield from self.composing.show(desk, values, step)

    def bar(self, desk: Session, event: gr.EventData) -> Changes:
        """A bar that was marked on the roll: the new bar to begin again at."""
        first = event_data(event).get("first")
        version = desk.history.version
        if version is None or not isinstance(first, int):
            return {}
        bar = new_bar_of(version.piece, first)
        return {self.page.after.bar: bar} if 1 <= bar <= version.piece.bars else {}

    # --------------------------------------------------------------------------------------- files

    def fetch(self, kind: str, desk: Session, *values: Any) -> Iterator[Changes]:
        """Make one file of what is shown."""
        with show_errors_to_user(), TemporaryDirectory(prefix="musiclstm-") as folder:
            version = desk.history.version
            if version is None:
                raise ScoreError("There is no piece to take home yet; press Continue first.")
            path = file_of(
                version.piece,
                kind=kind,
                folder=Path(folder),
                title=version.title,
                mix=mix_of(self.composing.settings(values)),
            )
            yield {self.page.after.fetched: str(path)}
