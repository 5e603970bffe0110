"""State of one user on the server.

Handlers replace the immutable values in a session as a whole, so that a long job and another
event of the same user do not overwrite parts of each other's results.
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
        parent: Version number of `after`. None: there is none.
        bars: Bars to compose. None: as the settings say.
    """

    prompt: PromptChoice
    after: Composition | None = None
    parent: int | None = None
    bars: int | None = None


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
        muted: Silent programs.
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
        prompt: What Continue continues.
        prompt_changed: Whether the next job starts from `prompt`. False: it starts where the
            version on display started.
        history: Versions made so far.
        start_points: Start of each version, by number.
        players: State of each player.
        prompt_preview: Of the prompt's player. None: as in the initial layout.
        composer: The user's own choice of model. None: the default one.
        pending_recipe: Recipe of a link that needs a file.
        job: The running job. None: there is none.
    """

    # Not a dataclass: Gradio would convert it to a dict and copy its values.

    def __init__(self) -> None:
        self.prompt = default_prompt()
        self.prompt_changed = True
        self.history = History()
        self.start_points: dict[int, StartPoint] = {}
        self.players = [PlayerState() for _ in LETTERS]
        self.prompt_preview: PromptPreview | None = None
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

    # --------------------------------------------------------------------------------- start points

    def start_point(self) -> StartPoint:
        """Return the start of the next job: a new prompt, or that of the version on display."""
        number = self.history.current
        if self.prompt_changed or number not in self.start_points:
            return StartPoint(self.prompt)
        return self.start_points[number]

    def end_of_version(self) -> StartPoint:
        """Return the end of the version on display.

        Raises:
            ScoreError: There is no version.
        """
        version = self.history.version
        if version is None:
            return self.before_bar(1)
        return StartPoint(self.root_prompt(), version.piece, version.number)

    def before_bar(self, bar: int) -> StartPoint:
        """Return the version on display up to a new bar, counted from 1.

        Raises:
            ScoreError: There is no version, or it has no such bar.
        """
        piece, bars = self.history.before_bar(bar)
        return StartPoint(self.root_prompt(), piece, self.history.current, bars)

    def root_prompt(self) -> PromptChoice:
        """Return the prompt of the version on display."""
        known = self.start_points.get(self.history.current or 0)
        return known.prompt if known else self.prompt

    def set_start_point(self, number: int, start: StartPoint) -> None:
        """Store the start of a version, and forget those of versions that were removed."""
        kept = {version.number for version in self.history.versions}
        self.start_points = {n: each for n, each in self.start_points.items() if n in kept}
        self.start_points[number] = start
