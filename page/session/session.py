"""What one visitor has on the server: seed, history, and which piece stands on which player.

Everything that counts in it is immutable and exchanged as a whole; the desk itself changes, so that
a long composition and a press on another button cannot overwrite each other. Knows no components.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from functools import cache

from musiclstm import Composer, Composition, Recipe, example_files
from page.playback.prompt_preview import PromptPreview
from page.playback.updates import PlayerUpdates
from page.server.deadlines import DEADLINES, ClosingError, JobDeadline
from page.session.history import LETTERS, History
from page.session.prompt import NOTHING, PromptChoice
from page.session.settings import PageSettings

PLAYERS = len(LETTERS)
PATIENCE_S = 60.0  # how long a press waits for the one before to end


@cache
def default_prompt() -> PromptChoice:
    """What a visitor finds chosen."""
    return PromptChoice.bundled(next(iter(example_files())))


def prompt_of_recipe(recipe: Recipe, dropped: PromptChoice) -> PromptChoice:
    """What a recipe goes on from: a bundled tune, the file that was dropped, or nothing."""
    if recipe.source is None:
        return NOTHING
    kind, _, name = recipe.source.name.partition(":")
    seed = PromptChoice.bundled(name) if kind == "bundled" else dropped
    return replace(seed, selection=recipe.source.selection)


@dataclass(frozen=True)
class StartPoint:
    """Where a version begins.

    Args:
        seed: What it goes on from, at the root of the tree.
        after: The piece whose end it follows; None: the seed itself.
        parent: The number of that piece's version; None: none.
        bars: How many are to be composed; None: what the control says.
    """

    seed: PromptChoice
    after: Composition | None = None
    parent: int | None = None
    bars: int | None = None


class GenerationJob(JobDeadline):
    """One run of the composer for one visitor.

    Attributes:
        left: Set: another press follows; finish nothing.
        sound: What the controls of the sound say since it began; None: what they said then.
        changed: Set: something should sound otherwise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left = threading.Event()
        self.sound: PageSettings | None = None
        self.changed = threading.Event()

    def leave(self) -> None:
        """Make room for the next press."""
        self.left.set()
        self.stopped.set()


@dataclass
class PlayerState:
    """What one player shows.

    Args:
        number: Of the version; None: nothing.
        broadcast: What its player was told last.
        muted: Programs that the listener wants silent.
        from_s: Where the listener was when something was last to sound otherwise.
        turn: Rises with every new sound of it, so that an overtaken one can end.
    """

    number: int | None = None
    broadcast: PlayerUpdates | None = None
    muted: tuple[int, ...] = ()
    from_s: float = 0.0
    turn: int = 0


class Session:
    """All that is one visitor's.

    Attributes:
        seed: What goes on when Continue is pressed.
        fresh: Whether the next press begins from it, and not where the shown version began.
        history: What was made.
        origins: By version, how it was begun.
        players: What each of them shows.
        overture: What the player of the seed was told last; None: as everybody's first.
        composer: Another one than everybody's; None: that.
        waiting: A recipe that waits for its file.
        press: The run that is going on; None: none.
    """

    # No dataclass: Gradio would take it apart, copying what it holds.

    def __init__(self) -> None:
        self.seed = default_prompt()
        self.fresh = True
        self.history = History()
        self.origins: dict[int, StartPoint] = {}
        self.players = [PlayerState() for _ in range(PLAYERS)]
        self.overture: PromptPreview | None = None
        self.composer: Composer | None = None
        self.waiting: Recipe | None = None
        self.press: GenerationJob | None = None
        self._one_press = threading.Lock()

    def __deepcopy__(self, memo: object) -> Session:
        """A new visitor gets an empty desk, never a copy of another's."""
        return Session()

    # ------------------------------------------------------------------------------- one at a time

    def begin(self) -> GenerationJob:
        """Start a run, after the one before has ended.

        Raises:
            TimeoutError: It does not end.
            ClosingError: The server closes.
        """
        self.leave()
        if not self._one_press.acquire(timeout=PATIENCE_S):
            raise TimeoutError("The press before has not ended yet; try again in a moment.")
        press = GenerationJob()
        try:
            DEADLINES.add(press)
        except ClosingError:
            self._one_press.release()
            raise
        self.press = press
        return press

    def end(self) -> None:
        """The run is over."""
        if self.press is not None:
            DEADLINES.remove(self.press)
        self.press = None
        self._one_press.release()

    def leave(self) -> None:
        """Tell the run that goes on, if any, that another one follows."""
        if (press := self.press) is not None:
            press.leave()

    def stop(self) -> None:
        """Tell the run that goes on, if any, to finish what there is."""
        if (press := self.press) is not None:
            press.stopped.set()

    # ------------------------------------------------------------------------------ where to begin

    def origin(self) -> StartPoint:
        """Where Continue begins: the seed, or once more where the shown version began."""
        number = self.history.current
        if self.fresh or number not in self.origins:
            return StartPoint(self.seed)
        return self.origins[number]

    def origin_on(self) -> StartPoint:
        """The end of what is shown.

        Raises:
            ScoreError: Nothing is shown.
        """
        return self.origin_from_bar(None)

    def origin_from_bar(self, bar: int | None) -> StartPoint:
        """What is shown, as it was before a new bar, counted from 1; None: its end.

        Raises:
            ScoreError: Nothing is shown, or it has no such bar.
        """
        if bar is None and (version := self.history.version) is not None:
            return StartPoint(self.origin_seed(), version.piece, version.number)
        piece, bars = self.history.redo_from_bar(1 if bar is None else bar)
        return StartPoint(self.origin_seed(), piece, self.history.current, bars)

    def origin_seed(self) -> PromptChoice:
        """What the shown version goes on from at the root of its tree."""
        known = self.origins.get(self.history.current or 0)
        return known.seed if known else self.seed

    def remember(self, number: int, origin: StartPoint) -> None:
        """Keep how a version was begun; forget those that the history has let go."""
        kept = {version.number for version in self.history.versions}
        self.origins = {n: each for n, each in self.origins.items() if n in kept}
        self.origins[number] = origin
