"""Handlers of the history, of selected bars and of downloads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from page.downloads import file_of
from page.session.composer_options import mix_of
from page.session.history import History
from page.session.session import Session
from page.ui import html
from page.ui.generate_handlers import GenerateHandlers
from page.ui.input_parsing import parse_bars, parse_integer
from page.ui.sound_handlers import Changes


class HistoryHandlers:
    """Handlers of versions and their files.

    Args:
        generate: Shows the version that a handler selects.
    """

    def __init__(self, generate: GenerateHandlers) -> None:
        self.generate, self.page = generate, generate.page

    def undo(self, session: Session) -> Iterator[Changes]:
        """Show the version before."""
        yield from self._move(session, History.undo)

    def redo(self, session: Session) -> Iterator[Changes]:
        """Show the version that undo left."""
        yield from self._move(session, History.redo)

    def go_to(self, number: Any, session: Session) -> Iterator[Changes]:
        """Show a version by its number."""
        yield from self._move(session, lambda each: each.go_to(parse_integer(number)))

    def _move(self, session: Session, step: Callable[[History], History]) -> Iterator[Changes]:
        session.cancel_job()
        yield from self.generate.show_version(session, step)

    def select_bars(self, session: Session, data: dict[str, Any]) -> Changes:
        """Store the bars that were selected on the roll, by the numbers of the file."""
        session.selection = parse_bars(data)
        return {self.page.actions.chosen: html.chosen_bars(session.selection, session.version)}

    def set_bars(self, session: Session, bars: Any, endless: Any) -> Changes:
        """Say what the next press will do with another number of bars."""
        session.new_bars = None if endless is True else max(1, parse_integer(bars))
        if session.job is not None:
            return {}
        return {self.page.status: html.status(html.next_step(session.version, session.new_bars))}

    def download(self, kind: str, session: Session, *values: Any) -> Iterator[Changes]:
        """Make a file of the version on display; Gradio copies it before the generator resumes."""
        version = session.version
        mix = mix_of(self.generate.settings(values))
        with TemporaryDirectory(prefix="musiclstm-") as folder:
            path = file_of(
                version.piece or version.prompt,
                kind=kind,
                folder=Path(folder),
                title=version.prompt.title,
                mix=mix,
            )
            yield {self.page.result.file: str(path)}
