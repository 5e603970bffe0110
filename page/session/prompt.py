"""The music that a user continues: an uploaded file, a bundled tune, or nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from musiclstm import MidiSummary, ScoreError, Selection, example_files, read_midi
from musiclstm.errors import shorten
from musiclstm.midi import AnyScore, SandboxPool, pluralize, read_bounded

SANDBOX = SandboxPool()  # reads uploaded files in worker processes, which start with the first file


@dataclass(frozen=True, eq=False)
class PromptChoice:
    """The music that is to go on.

    Args:
        title: As the visitor knows it; it may come from a stranger's file.
        prompt: The bytes of the file, or where a bundled one lies. None: there is none, the piece
            begins from nothing.
        score: The music itself; None: from nothing.
        report: What it holds; None: from nothing.
        selection: The part of it that is gone on with; None: all.
    """

    title: str
    prompt: bytes | Path | None = None
    score: AnyScore | None = None
    report: MidiSummary | None = None
    selection: Selection | None = None

    @classmethod
    def read(cls, source: bytes | Path, *, title: str = "") -> PromptChoice:
        """Read a MIDI file from anywhere.

        Args:
            source: Its bytes, or where it lies; then its bytes are kept, for it may go away.
            title: What to call it; empty: its own name.

        Raises:
            ScoreError: It cannot be read, is beyond the limits, or has no notes.
        """
        data, name = read_bounded(source, name=title or None)
        score, report = SANDBOX.read_midi(data, name=name)
        return cls(title or report.name or "Untitled", data, score, report)

    @classmethod
    def bundled(cls, title: str) -> PromptChoice:
        """One of `example_files()`, by its title or by the name that recipes give it.

        Raises:
            ScoreError: There is none of that name.
        """
        for each, path in example_files().items():
            if title in (each, path.stem):
                return cls(each, path, *read_midi(path))
        raise ScoreError(f"There is no bundled seed {shorten(title)}; choose one of those listed.")

    def choosing(
        self,
        *,
        tracks: Iterable[int] | None = None,
        first_bar: int = 1,
        last_bar: int | None = None,
        keep_others: bool = True,
    ) -> PromptChoice:
        """The same seed with a part of it chosen; what is all of it is no choice.

        Args:
            tracks: Places in `report.tracks`, from 0. None: all.
            first_bar: The first bar of the file is 1.
            last_bar: None: that of the file.
            keep_others: Whether the other tracks play along.

        Raises:
            ScoreError: A track or bar is not there, or nothing is chosen.
        """
        if self.report is None:
            return self
        chosen = None if tracks is None else frozenset(tracks)
        if chosen == frozenset(range(len(self.report.tracks))):
            chosen = None
        last = None if last_bar == self.report.bars else last_bar
        if chosen is None and first_bar == 1 and last is None:
            return replace(self, selection=None)
        try:
            selection = Selection(chosen, first_bar, last, keep_others)
        except ValueError as error:
            raise ScoreError(str(error)) from error
        selection.check(len(self.report.tracks), self.report.bars)
        return replace(self, selection=selection)

    @property
    def key(self) -> str:
        """A short text that tells seeds apart: the file and what is chosen of it."""
        data = self.prompt if isinstance(self.prompt, bytes) else str(self.prompt).encode()
        return hashlib.sha256(data + repr(self.selection).encode()).hexdigest()[:16]

    def about(self) -> tuple[str, ...]:
        """What it holds, in a few plain lines; names of tracks may come from a stranger's file."""
        report = self.report
        if report is None:
            return ("A new piece, from nothing.",)
        in_key = f" in {report.key}" if report.key else ""
        facts = f"{pluralize(report.bars, 'bar')} of {report.meter} at {report.tempo_bpm:.0f} bpm"
        tracks = [str(track) for track in report.tracks]
        repairs = [f"We {each}." for each in report.repairs]
        return (facts + in_key, *tracks, *repairs)


NOTHING = PromptChoice("Surprise me")
