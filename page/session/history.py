"""The versions of a piece that a user made, as an immutable tree with undo and redo."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from musiclstm import Composition, ScoreError
from page.session.settings import PageSettings

LETTERS = "ABCD"  # of the takes of one press
MAX_VERSIONS = 60
MAX_TRAIL = 200
MAX_BARS_KEPT = 1_000  # over all versions, shared ones once; a bar holds some 20 kB
_STEP = "\u2003"  # an em space for each level of the tree


@dataclass(frozen=True, eq=False)
class Version:
    """A piece that was made on this visit.

    Args:
        number: Counted from 1; never given twice.
        parent: The version it goes on from, or is a part of anew. None: it goes on from a seed.
        piece: The music.
        what: What was asked for, in a few words.
        letter: Which take of its press, `A` to `D`; empty: the only one.
        title: Of the seed.
        settings: What the controls said; None: nobody knows.
    """

    number: int
    parent: int | None
    piece: Composition
    what: str
    letter: str = ""
    title: str = ""
    settings: PageSettings | None = None

    def __str__(self) -> str:
        letter = f"{self.letter}: " if self.letter else ""
        return f"{self.number}. {letter}{self.what}"


@dataclass(frozen=True, eq=False)
class History:
    """All versions, as a tree, and the way the visitor took through it.

    Nothing is lost by going back; but at most 60 versions and 2,000 bars are kept. What is too much
    goes leaf by leaf, the oldest first, never the one that is shown.

    Args:
        versions: Rising by number.
        trail: Numbers of the versions that were shown, in that order.
        place: Where in the trail the visitor is.
        made: How many versions there were ever.
    """

    versions: tuple[Version, ...] = ()
    trail: tuple[int, ...] = ()
    place: int = -1
    made: int = 0

    @property
    def current(self) -> int | None:
        """The number of the version that is shown; None before the first."""
        return self.trail[self.place] if self.trail else None

    @property
    def version(self) -> Version | None:
        """The version that is shown; None before the first."""
        return None if self.current is None else self.version_of(self.current)

    def version_of(self, number: int) -> Version:
        """The version of a number.

        Raises:
            ScoreError: There is none, or it is no longer kept.
        """
        for version in self.versions:
            if version.number == number:
                return version
        raise ScoreError(f"Version {number} is not there any more; choose one of those listed.")

    def add(
        self,
        piece: Composition,
        *,
        what: str,
        parent: int | None = None,
        letter: str = "",
        title: str = "",
        settings: PageSettings | None = None,
    ) -> History:
        """The history with one more version, which is shown.

        Takes of one press are added in the order of their letters, one right after the other.
        """
        made = self.made + 1
        if all(each.number != parent for each in self.versions):
            parent = None  # it was let go
        version = Version(made, parent, piece, what, letter, title, settings)
        longer = replace(self, versions=(*self.versions, version), made=made)
        return longer._shown(made)._bounded()

    def grown(self, number: int, piece: Composition) -> History:
        """The same version, in which more of the piece is there.

        Raises:
            ScoreError: There is no such version.
        """
        newer = replace(self.version_of(number), piece=piece)
        versions = tuple(newer if each.number == number else each for each in self.versions)
        return replace(self, versions=versions)._bounded()

    def go_to(self, number: int) -> History:
        """Show a version.

        Raises:
            ScoreError: There is no such version.
        """
        self.version_of(number)
        return self if number == self.current else self._shown(number)

    @property
    def can_undo(self) -> bool:
        """Whether something was shown before."""
        return self.place > 0

    @property
    def can_redo(self) -> bool:
        """Whether something was shown after, and left by `undo`."""
        return self.place + 1 < len(self.trail)

    def undo(self) -> History:
        """Back to what was shown before; itself where there is nothing."""
        return replace(self, place=self.place - 1) if self.can_undo else self

    def redo(self) -> History:
        """Forward again; itself where there is nothing."""
        return replace(self, place=self.place + 1) if self.can_redo else self

    def keep(self, number: int) -> History:
        """Show one of several takes and let go of the others of its press nobody went on from.

        Raises:
            ScoreError: There is no such version.
        """
        kept = self.version_of(number)
        parents = {each.parent for each in self.versions}
        others = {
            each.number
            for each in self._press_of(kept)
            if each.number != number and each.number not in parents
        }
        return self.go_to(number)._without(others)

    def _press_of(self, version: Version) -> list[Version]:
        """The takes that were asked for together: numbers and letters in a row, of one parent."""
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

    def redo_from_bar(self, bar: int) -> tuple[Composition, int]:
        """What is shown, as it was before one of its new bars, and how many bars it then lacks.

        Args:
            bar: The first bar to be composed anew; the first new one is 1.

        Raises:
            ScoreError: It has no such bar, or nothing is shown.
        """
        version = self.version
        if version is None:
            raise ScoreError("There is no piece yet; press Continue first.")
        bars = version.piece.bars
        if not 1 <= bar <= bars:
            raise ScoreError(
                f"Bar {bar} cannot be made anew: the new bars are 1 to {bars}; choose one of them."
            )
        return version.piece.truncated(bar - 1), bars - bar + 1

    def branches(self, number: int | None) -> tuple[Version, ...]:
        """The versions that go on from one; None: those that go on from a seed."""
        return tuple(version for version in self.versions if version.parent == number)

    def lines(self) -> tuple[tuple[str, int], ...]:
        """The tree as lines of text, indented by em spaces, each with the number of its version."""
        return tuple(self._lines_below(None))

    def _lines_below(self, root: int | None) -> Iterator[tuple[str, int]]:
        waiting = [(0, version) for version in reversed(self.branches(root))]
        while waiting:
            depth, version = waiting.pop()
            yield _STEP * depth + str(version), version.number
            below = self.branches(version.number)
            waiting += [(depth + 1, each) for each in reversed(below)]

    # The way through it, and what is let go.

    def _shown(self, number: int) -> History:
        """The takes of one press are one step of the way, whichever is shown."""
        before = self.trail[: self.place + 1]
        if before and self.version_of(before[-1]) in self._press_of(self.version_of(number)):
            before = before[:-1]
        trail = (*before, number)[-MAX_TRAIL:]
        return replace(self, trail=trail, place=len(trail) - 1)

    def _without(self, numbers: set[int]) -> History:
        """Let go of versions; what went on from them goes on from what they went on from."""
        gone = {each.number: each.parent for each in self.versions if each.number in numbers}

        def parent_of(number: int | None) -> int | None:
            while number in gone:
                number = gone[number]
            return number

        versions = tuple(
            replace(each, parent=parent_of(each.parent))
            for each in self.versions
            if each.number not in numbers
        )
        before = _in_a_row(each for each in self.trail[: self.place + 1] if each not in numbers)
        after = [each for each in self.trail[self.place + 1 :] if each not in numbers]
        trail = _in_a_row([*before, *after])
        return replace(self, versions=versions, trail=trail, place=len(before) - 1)

    def _bounded(self) -> History:
        history = self
        while len(history.versions) > 1 and history._is_too_much():
            history = history._without({history._oldest_leaf().number})
        return history

    def _is_too_much(self) -> bool:
        bars = {id(bar) for version in self.versions for bar in version.piece.generated_bars}
        return len(self.versions) > MAX_VERSIONS or len(bars) > MAX_BARS_KEPT

    def _oldest_leaf(self) -> Version:
        """The oldest version that nothing goes on from; in an unbranched tree its oldest."""
        parents = {version.parent for version in self.versions}
        others = [version for version in self.versions if version.number != self.current]
        leaves = [version for version in others if version.number not in parents]
        return (leaves or others)[0]


def _in_a_row(numbers: Iterable[int]) -> tuple[int, ...]:
    """The numbers in their order; the same again at once is left out."""
    return tuple(number for number, _ in groupby(numbers))
