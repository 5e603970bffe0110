"""State of one user on the server.

Handlers replace the immutable values in a session as a whole, so that a long job and another
event of the same user do not overwrite parts of each other's results.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from musiclstm import Composer, Composition, Recipe, example_files
from page.playback.updates import PlayerUpdates
from page.server.deadlines import DEADLINES, ClosingError, JobDeadline
from page.session.history import LETTERS, History, Version
from page.session.prompt import NOTHING, PromptChoice
from page.session.settings import PageSettings

JOB_TIMEOUT_S = 60.0  # how long a new job waits for the canceled one to end


@cache
def default_prompt() -> PromptChoice:
    """Return the prompt of a new session: the first bundled tune."""
    return PromptChoice.bundled(next(iter(example_files())))


def prompt_of_recipe(recipe: Recipe, uploaded: PromptChoice) -> PromptChoice:
    """Return the prompt that a recipe names: a bundled tune, the uploaded file, or nothing."""
    if recipe.source is None:
        return NOTHING
    kind, _, name = recipe.source.name.partition(":")
    prompt = PromptChoice.bundled(name) if kind == "bundled" else uploaded
    return replace(prompt, selection=recipe.source.selection)


@dataclass(frozen=True)
class StartPoint:
    """Music that a job continues.

    Args:
        prompt: At the root of the history tree.
        after: Piece to extend. None: the prompt itself is continued.
        parent: Number of the version from which the new one is made. None: there is none.
        bars: Bars to compose. None: as the settings say.
    """

    prompt: PromptChoice
    after: Composition | None = None
    parent: int | None = None
    bars: int | None = None

    @property
    def last_bar(self) -> int:
        """Number of the bar that the new bars follow."""
        return self.prompt.bars[1] + (self.after.bars if self.after else 0)


def start_at_end(version: Version) -> StartPoint:
    """Return the end of a version."""
    return StartPoint(version.prompt, version.piece, version.number)


def start_before(version: Version, new_bars: int, *, parent: int | None) -> StartPoint:
    """Return a version as it was after a number of its new bars; as many follow as it has."""
    piece = version.piece
    assert piece is not None
    after = piece.truncated(new_bars) if new_bars else None
    return StartPoint(version.prompt, after, parent, piece.bars - new_bars)


class GenerationJob(JobDeadline):
    """One run of the composer.

    Attributes:
        canceled: Set: another job of this user follows; yield nothing more.
        sound_settings: Settings with the newest mix. None: the mix is unchanged since the start.
        mix_changed: Set: the mix or the muted programs changed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.canceled = threading.Event()
        self.sound_settings: PageSettings | None = None
        self.mix_changed = threading.Event()

    def cancel(self) -> None:
        """Stop composing for the sake of the next job."""
        self.canceled.set()
        self.stopped.set()


@dataclass
class PlayerState:
    """State of one player.

    Args:
        version: Number of the version that it shows. None: it is empty.
        updates: Builder of its newest update.
        muted: Indices of silent tracks.
        from_s: Playback position in seconds at the last change of the mix.
        revision: Incremented with each rendering, so that an outdated one can stop.
    """

    version: int | None = None
    updates: PlayerUpdates | None = None
    muted: tuple[int, ...] = ()
    from_s: float = 0.0
    revision: int = 0

    def cleared(self) -> PlayerState:
        """Return an empty state that outdates every rendering of this one."""
        return PlayerState(revision=self.revision + 1)


class Session:
    """State of one user.

    Attributes:
        history: Versions made so far; the first one is the first bundled tune.
        new_bars: Bars that the next press adds. None: until the user stops it.
        selection: First and last bar selected on the roll, by the numbers of the file.
        players: State of each player.
        take: Index of the player on display.
        strips: Returns the takes on display as HTML.
        composer: The user's own choice of model. None: the default one.
        pending_recipe: Recipe of a link that needs a file.
        job: The running job. None: there is none.
    """

    # Not a dataclass: Gradio would convert it to a dict and copy its values.

    def __init__(self) -> None:
        self.history = History().add(default_prompt(), label=default_prompt().title)
        self.new_bars: int | None = PageSettings.bars
        self.selection: tuple[int, int] | None = None
        self.players = [PlayerState() for _ in LETTERS]
        self.players[0].version = self.history.current
        self.take = 0
        self.strips: Callable[[], str] = str
        self.composer: Composer | None = None
        self.pending_recipe: Recipe | None = None
        self.job: GenerationJob | None = None
        self._job_lock = threading.Lock()

    def __deepcopy__(self, memo: object) -> Session:
        """Return an empty session: Gradio copies the initial state for each user."""
        return Session()

    # -------------------------------------------------------------------------------------- the job

    def start_job(self) -> GenerationJob:
        """Cancel the running job, wait for its end, and register a new one.

        Raises:
            TimeoutError: The running job does not end.
            ClosingError: The server is closing.
        """
        self.cancel_job()
        if not self._job_lock.acquire(timeout=JOB_TIMEOUT_S):
            raise TimeoutError("The job before has not ended yet; try again in a moment.")
        job = GenerationJob()
        try:
            DEADLINES.add(job)
        except ClosingError:
            self._job_lock.release()
            raise
        self.job = job
        return job

    def end_job(self) -> None:
        """Unregister the running job."""
        if self.job is not None:
            DEADLINES.remove(self.job)
        self.job = None
        self._job_lock.release()

    def cancel_job(self) -> None:
        """Ask the running job, if any, to end without a result."""
        if (job := self.job) is not None:
            job.cancel()

    def stop_job(self) -> None:
        """Ask the running job, if any, to finish the bars that are there."""
        if (job := self.job) is not None:
            job.stopped.set()

    @property
    def version(self) -> Version:
        """The version on display."""
        version = self.history.version
        assert version is not None
        return version
