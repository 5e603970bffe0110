"""The versions of a piece that a user made, as an immutable tree with undo and redo."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from musiclstm import Composition, ScoreError

LETTERS = "ABCD"  # of the takes of one job
MAX_VERSIONS = 60
MAX_UNDO_STEPS = 200
MAX_BARS_KEPT = 1_000  # bars shared by versions count once; a bar takes about 20 kB
_INDENT = "\u2003"  # em space

NO_PIECE = "There is no piece yet; press Continue first."


@dataclass(frozen=True, eq=False)
class Version:
    """One composed piece.

    Args:
        number: Counted from 1 and never reused.
        parent: Number of the version that it extends or replaces a part of. None: it continues
            the prompt.
        piece: The music.
        label: The request in a few words.
        letter: `A` to `D` if it is one of several takes of a job, else empty.
        title: Of the prompt.
    """

    number: int
    parent: int | None
    piece: Composition
    label: str
    letter: str = ""
    title: str = ""

    def __str__(self) -> str:
        letter = f"{self.letter}: " if self.letter else ""
        return f"{self.number}. {letter}{self.label}"


@dataclass(frozen=True, eq=False)
class History:
    """All versions and an undo stack over them.

    Undo removes nothing. Beyond `MAX_VERSIONS` or `MAX_BARS_KEPT` the oldest leaf of the tree is
    removed, except for the version on display.

    Args:
        versions: Rising by number.
        stack: Numbers of the versions in the order in which they were shown.
        position: Index in `stack` of the version on display.
        created: Number of versions ever made.
    """

    versions: tuple[Version, ...] = ()
    stack: tuple[int, ...] = ()
    position: int = -1
    created: int = 0

    @property
    def current(self) -> int | None:
        """Number of the version on display. None: there is none."""
        return self.stack[self.position] if self.stack else None

    @property
    def version(self) -> Version | None:
        """The version on display. None: there is none."""
        return None if self.current is None else self.version_of(self.current)

    def version_of(self, number: int) -> Version:
        """Return the version with this number.

        Raises:
            ScoreError: There is none, or it was removed.
        """
        for version in self.versions:
            if version.number == number:
                return version
        raise ScoreError(f"Version {number} is not there any more; choose one of those listed.")

    def add(
        self,
        piece: Composition,
        *,
        label: str,
        parent: int | None = None,
        letter: str = "",
        title: str = "",
    ) -> History:
        """Return the history with one more version, which is then on display.

        The takes of a job must be added in the order of their letters, without others in between.
        """
        number = self.created + 1
        if all(each.number != parent for each in self.versions):
            parent = None  # it was removed
        version = Version(number, parent, piece, label, letter, title)
        longer = replace(self, versions=(*self.versions, version), created=number)
        return longer._show(number)._within_limits()

    def with_piece(self, number: int, piece: Composition) -> History:
        """Return the history with a longer draft of a version.

        Raises:
            ScoreError: There is no such version.
        """
        newer = replace(self.version_of(number), piece=piece)
        versions = tuple(newer if each.number == number else each for each in self.versions)
        return replace(self, versions=versions)._within_limits()

    def go_to(self, number: int) -> History:
        """Return the history with another version on display.

        Raises:
            ScoreError: There is no such version.
        """
        self.version_of(number)
        return self if number == self.current else self._show(number)

    @property
    def can_undo(self) -> bool:
        """Whether another version was on display before."""
        return self.position > 0

    @property
    def can_redo(self) -> bool:
        """Whether `undo` left a version."""
        return self.position + 1 < len(self.stack)

    def undo(self) -> History:
        """Show the version before; do nothing if there is none."""
        return replace(self, position=self.position - 1) if self.can_undo else self

    def redo(self) -> History:
        """Show the version that `undo` left; do nothing if there is none."""
        return replace(self, position=self.position + 1) if self.can_redo else self

    def keep(self, number: int) -> History:
        """Show one of several takes and remove the others that have no children.

        Raises:
            ScoreError: There is no such version.
        """
        kept = self.version_of(number)
        parents = {each.parent for each in self.versions}
        others = {each.number for each in self._takes_with(kept)} - {number} - parents
        return self.go_to(number).without(others)

    def without(self, numbers: set[int]) -> History:
        """Remove versions; their children become children of their parents."""
        removed = {each.number: each.parent for each in self.versions if each.number in numbers}

        def parent_of(number: int | None) -> int | None:
            while number in removed:
                number = removed[number]
            return number

        versions = tuple(
            replace(each, parent=parent_of(each.parent))
            for each in self.versions
            if each.number not in numbers
        )
        before = _drop_repeats(n for n in self.stack[: self.position + 1] if n not in numbers)
        after = [n for n in self.stack[self.position + 1 :] if n not in numbers]
        stack = _drop_repeats([*before, *after])
        return replace(self, versions=versions, stack=stack, position=len(before) - 1)

    def _takes_with(self, version: Version) -> list[Version]:
        """Takes of the same job: their numbers and letters are consecutive."""
        if not version.letter:
            return [version]
        first = version.number - LETTERS.index(version.letter)
        return [
            each
            for each in self.versions
            if each.parent == version.parent
            and each.letter
            and each.number - LETTERS.index(each.letter) == first
        ]

    def before_bar(self, bar: int) -> tuple[Composition, int]:
        """Return the piece on display up to a new bar, and the number of bars removed.

        Args:
            bar: First bar to remove; the first new bar is 1.

        Raises:
            ScoreError: There is no such bar, or no piece.
        """
        version = self.version
        if version is None:
            raise ScoreError(NO_PIECE)
        bars = version.piece.bars
        if not 1 <= bar <= bars:
            raise ScoreError(
                f"Bar {bar} cannot be made again: the new bars are 1 to {bars}; choose one of them."
            )
        return version.piece.truncated(bar - 1), bars - bar + 1

    def children(self, number: int | None) -> tuple[Version, ...]:
        """Return the versions whose parent is `number`; None: those that continue the prompt."""
        return tuple(version for version in self.versions if version.parent == number)

    def outline(self) -> tuple[tuple[str, int], ...]:
        """Return the tree as lines of text, indented by em spaces, each with its number."""
        return tuple(self._outline())

    def _outline(self) -> Iterator[tuple[str, int]]:
        pending = [(0, version) for version in reversed(self.children(None))]
        while pending:
            depth, version = pending.pop()
            yield _INDENT * depth + str(version), version.number
            pending += [(depth + 1, each) for each in reversed(self.children(version.number))]

    def _show(self, number: int) -> History:
        """Push a version; it replaces another take of its job on top of the stack."""
        before = self.stack[: self.position + 1]
        if before and self.version_of(before[-1]) in self._takes_with(self.version_of(number)):
            before = before[:-1]
        stack = (*before, number)[-MAX_UNDO_STEPS:]
        return replace(self, stack=stack, position=len(stack) - 1)

    def _within_limits(self) -> History:
        history = self
        while len(history.versions) > 1 and history._exceeds_limits():
            history = history.without({history._oldest_leaf().number})
        return history

    def _exceeds_limits(self) -> bool:
        bars = {id(bar) for version in self.versions for bar in version.piece.generated_bars}
        return len(self.versions) > MAX_VERSIONS or len(bars) > MAX_BARS_KEPT

    def _oldest_leaf(self) -> Version:
        """The oldest version without children; without one, the oldest version."""
        parents = {version.parent for version in self.versions}
        others = [version for version in self.versions if version.number != self.current]
        leaves = [version for version in others if version.number not in parents]
        return (leaves or others)[0]


def _drop_repeats(numbers: Iterable[int]) -> tuple[int, ...]:
    return tuple(number for number, _ in groupby(numbers))
