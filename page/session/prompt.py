"""The music that a user continues: an uploaded file, a bundled tune, or nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from musiclstm import MidiSummary, ScoreError, Selection, example_files, read_midi
from musiclstm.errors import shorten
from musiclstm.midi import AnyScore, SandboxPool, read_bounded

SANDBOX = SandboxPool()  # reads uploaded files in worker processes, which start with the first file


@dataclass(frozen=True, eq=False)
class PromptChoice:
    """A prompt as the user chose it.

    Args:
        title: Shown to the user. Untrusted: it may come from an uploaded file.
        prompt: Bytes of an uploaded file, or the path of a bundled one. None: start from nothing.
        score: The music. None: start from nothing.
        summary: Facts about the music. None: start from nothing.
        selection: The tracks and bars that are continued. None: all.
        first_bar: Number of the first bar of the music; above 1 in a piece that was changed after
            only a part of its file was continued.
    """

    title: str
    prompt: bytes | Path | None = None
    score: AnyScore | None = None
    summary: MidiSummary | None = None
    selection: Selection | None = None
    first_bar: int = 1

    @classmethod
    def read(cls, source: bytes | Path, *, title: str = "") -> PromptChoice:
        """Read an untrusted MIDI file in the sandbox and keep its bytes.

        Args:
            source: Bytes or a path.
            title: Empty: the file's name.

        Raises:
            ScoreError: The file cannot be read, exceeds the limits, or has no notes.
        """
        data, name = read_bounded(source, name=title or None)
        score, summary = SANDBOX.read_midi(data, name=name)
        return cls(title or summary.name or "Untitled", data, score, summary)

    @classmethod
    def bundled(cls, title: str) -> PromptChoice:
        """Return one of `example_files()` by its title or by its name in recipes.

        Raises:
            ScoreError: No tune has that name.
        """
        for each, path in example_files().items():
            if title in (each, path.stem):
                return cls(each, path, *read_midi(path))
        raise ScoreError(f"There is no bundled tune {shorten(title)}; choose one of those listed.")

    @classmethod
    def edited(cls, data: bytes, *, title: str, first_bar: int) -> PromptChoice:
        """Return a piece that the library has changed, as MIDI bytes."""
        return cls(title, data, *read_midi(data), first_bar=first_bar)

    @property
    def bars(self) -> tuple[int, int]:
        """First and last bar that are continued, by the numbers of the file; (1, 0) for none."""
        if self.summary is None:
            return 1, 0
        first, last = 1, self.summary.bars
        if self.selection is not None:
            first, last = self.selection.first_bar, self.selection.last_bar or last
        return first + self.first_bar - 1, last + self.first_bar - 1

    @property
    def notes_per_bar(self) -> float | None:
        """Mean number of notes in a bar of the chosen tracks. None: there are none."""
        if self.summary is None:
            return None
        chosen = self.selection.tracks if self.selection else None
        tracks = [
            each for i, each in enumerate(self.summary.tracks) if chosen is None or i in chosen
        ]
        return sum(track.notes for track in tracks) / self.summary.bars

    def with_selection(
        self,
        *,
        tracks: Iterable[int] | None = None,
        first_bar: int = 1,
        last_bar: int | None = None,
        keep_others: bool = True,
    ) -> PromptChoice:
        """Return the same prompt with some tracks and bars selected.

        Args:
            tracks: Indices in `summary.tracks`. None: all.
            first_bar: Counted from 1.
            last_bar: Inclusive. None: the last bar of the file.
            keep_others: Whether the other tracks play along.

        Raises:
            ScoreError: A track or bar does not exist, or nothing is selected.
        """
        if self.summary is None:
            return self
        chosen = None if tracks is None else frozenset(tracks)
        if chosen == frozenset(range(len(self.summary.tracks))):
            chosen = None
        last = None if last_bar == self.summary.bars else last_bar
        if chosen is None and first_bar == 1 and last is None:
            return replace(self, selection=None)
        try:
            selection = Selection(chosen, first_bar, last, keep_others)
        except ValueError as error:
            raise ScoreError(str(error)) from error
        selection.check(len(self.summary.tracks), self.summary.bars)
        return replace(self, selection=selection)

    def describe(self) -> tuple[str, ...]:
        """Return one line of facts, then a line for each track and each repair.

        Track names are untrusted text.
        """
        summary = self.summary
        if summary is None:
            return ("A new piece, from nothing.",)
        notes = ["The notes do not follow the beats of this file."] if summary.performed else []
        if summary.unkept:
            notes.append(f"A continuation does not keep: {', '.join(summary.unkept)}.")
        tracks = [str(track) for track in summary.tracks]
        return (summary.facts, *tracks, *notes, *(f"We {repair}." for repair in summary.repairs))


NOTHING = PromptChoice("Surprise me")
