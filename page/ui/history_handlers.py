"""Handlers of the history and of downloads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from musiclstm import ScoreError
from page.downloads import file_of
from page.playback.excerpt import new_bar_of
from page.session.composer_options import mix_of
from page.session.history import NO_PIECE, History
from page.session.session import Session
from page.ui.generate_handlers import Changes, GenerateHandlers
from page.ui.input_parsing import parse_integer


class HistoryHandlers:
    """Handlers of versions and their files.

    Args:
        generate: Shows the version that a handler selects.
    """

    def __init__(self, generate: GenerateHandlers) -> None:
        self.generate, self.page = generate, generate.page

    def undo(self, session: Session, *values: Any) -> Iterator[Changes]:
        """Show the version before."""
        yield from self._move(session, values, History.undo)

    def redo(self, session: Session, *values: Any) -> Iterator[Changes]:
        """Show the version that undo left."""
        yield from self._move(session, values, History.redo)

    def go_to(self, number: Any, session: Session, *values: Any) -> Iterator[Changes]:
        """Show a version by its number."""
        yield from self._move(session, values, lambda each: each.go_to(parse_integer(number)))

    def keep(self, take: int, session: Session, *values: Any) -> Iterator[Changes]:
        """Keep one of several takes and remove the others that have no children."""
        number = session.players[take].version
        if number is None:
            raise ScoreError(NO_PIECE)
        yield from self._move(session, values, lambda history: history.keep(number))

    def _move(
        self, session: Session, values: tuple[Any, ...], step: Callable[[History], History]
    ) -> Iterator[Changes]:
        session.cancel_job()
        yield from self.generate.show_version(session, values, step)

    def select_bar(self, session: Session, data: dict[str, Any]) -> Changes:
        """Fill in the new bar that was clicked in the piano roll; ignore bars of the prompt."""
        version, first = session.history.version, data.get("first")
        if version is None or not isinstance(first, int):
            return {}
        bar = new_bar_of(version.piece, first)
        return {self.page.result.bar: bar} if 1 <= bar <= version.piece.bars else {}

    def download(self, kind: str, session: Session, *values: Any) -> Iterator[Changes]:
        """Make a file of the version on display; Gradio copies it before the generator resumes."""
        version = session.history.version
        if version is None:
            raise ScoreError(NO_PIECE)
        mix = mix_of(self.generate.settings(values))
        with TemporaryDirectory(prefix="musiclstm-") as folder:
            path = file_of(
                version.piece, kind=kind, folder=Path(folder), title=version.title, mix=mix
            )
            yield {self.page.result.file: str(path)}
