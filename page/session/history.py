"""The versions of a piece that a user made, as an immutable tree with undo and redo."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from musiclstm import Composition, ScoreError
from musiclstm.midi import AnyScore
from page.playback.piece_view import PieceView, view_of_piece, view_of_prompt
from page.session.edits import Edit
from page.session.prompt import PromptChoice

LETTERS = "ABCD"  # of the takes of one job
MAX_VERSIONS = 60
MAX_UNDO_STEPS = 200
MAX_BARS_KEPT = 1_000  # bars shared by versions count once; a bar takes about 20 kB
MAX_PROMPTS = 12
_INDENT = "\u2003"  # em space

NO_PIECE = "There are no new bars yet; press Continue first."


@dataclass(frozen=True, eq=False)
class Version:
    """A prompt, or a prompt and the bars that continue it.

    Args:
        number: Counted from 1 and never reused.
        parent: Number of the version from which it was made. None: the prompt was opened.
        prompt: The prompt.
        piece: Prompt and new bars. None: there are no new bars.
        label: What was changed, in a few words.
        letter: `A` to `D` if it is one of several takes of a job, else empty.
        kept_bars: New bars before its last step.
        edit: The change of a piece by which the prompt was made. None: it was opened.
        made_s: Time when it was made, in seconds since 1970.
    """

    number: int
    parent: int | None
    prompt: PromptChoice
    piece: Composition | None = None
    label: str = ""
    letter: str = ""
    kept_bars: int = 0
    edit: Edit | None = None
    made_s: float = 0.0

    def __str__(self) -> str:
        letter = f"{self.letter}: " if self.letter else ""
        return f"{self.number}. {letter}{self.label}"

    @property
    def score(self) -> AnyScore | None:
        """The music. None: a new piece without bars."""
        return self.prompt.score if self.piece is None else self.piece.score

    @property
    def new_bars(self) -> int:
        """Number of new bars."""
        return 0 if self.piece is None else self.piece.bars

    @property
    def first_bar(self) -> int:
        """Number of its first bar in the file."""
        return self.prompt.first_bar if self.piece is None else self.prompt.bars[0]

    @property
    def prompt_end(self) -> int:
        """Number of the last bar of the prompt in the file."""
        return self.prompt.bars[1]

    @property
    def last_bar(self) -> int:
        """Number of the last bar in the file, which the next bars follow."""
        return self.prompt_end + self.new_bars

    @property
    def view(self) -> PieceView:
        """What the player shows."""
        if self.piece is not None:
            return view_of_piece(self.piece, first_bar=self.first_bar)
        assert self.prompt.score is not None
        return view_of_prompt(self.prompt.score, first_bar=self.first_bar)


@dataclass(frozen=True, eq=False)
class History:
    """All versions and an undo stack over them.

    Undo removes nothing. Beyond `MAX_VERSIONS`, `MAX_BARS_KEPT` or `MAX_PROMPTS` the oldest leaf of
    the tree is removed, except for the version on display.

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
        prompt: PromptChoice,
        piece: Composition | None = None,
        *,
        label: str,
        parent: int | None = None,
        letter: str = "",
        kept_bars: int = 0,
        edit: Edit | None = None,
    ) -> History:
        """Return the history with one more version, which is then on display.

        The takes of a job must be added in the order of their letters, without others in between.
        """
        number = self.created + 1
        if all(each.number != parent for each in self.versions):
            parent = None  # it was removed
        version = Version(
            number, parent, prompt, piece, label, letter, kept_bars, edit, time.time()
        )
        longer = replace(self, versions=(*self.versions, version), created=number)
        return longer._show(number)._within_limits()

    def with_piece(self, number: int, piece: Composition) -> History:
        """Return the history with a longer draft of a version.

        Raises:
            ScoreError: There is no such version.
        """
        return self._with(replace(self.version_of(number), piece=piece))._within_limits()

    def with_prompt(self, number: int, prompt: PromptChoice) -> History:
        """Return the history with another selection of the prompt of a version.

        Raises:
            ScoreError: There is no such version.
        """
        return self._with(replace(self.version_of(number), prompt=prompt))

    def _with(self, newer: Version) -> History:
        versions = tuple(newer if each.number == newer.number else each for each in self.versions)
        return replace(self, versions=versions)

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

    def children(self, number: int | None) -> tuple[Version, ...]:
        """Return the versions whose parent is `number`; None: those that were opened."""
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
        pieces = (version.piece for version in self.versions if version.piece is not None)
        bars = {id(bar) for piece in pieces for bar in piece.generated_bars}
        prompts = {id(version.prompt.score) for version in self.versions}
        return (
            len(self.versions) > MAX_VERSIONS
            or len(bars) > MAX_BARS_KEPT
            or len(prompts) > MAX_PROMPTS
        )

    def _oldest_leaf(self) -> Version:
        """The oldest version without children; without one, the oldest version."""
        parents = {version.parent for version in self.versions}
        others = [version for version in self.versions if version.number != self.current]
        leaves = [version for version in others if version.number not in parents]
        return (leaves or others)[0]


def _drop_repeats(numbers: Iterable[int]) -> tuple[int, ...]:
    return tuple(number for number, _ in groupby(numbers))
