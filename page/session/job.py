"""A running job: its drafts, its versions in the history, and its progress."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from musiclstm import Composer, Composition, ScoreError
from musiclstm.midi import last_note_end, seconds_at
from page.playback.stream import StreamOptions, StreamUpdate
from page.playback.track_mix import TrackMix
from page.server.deadlines import JobDeadline
from page.session.composer_options import mix_of
from page.session.history import LETTERS
from page.session.session import GenerationJob, PlayerState, Session, StartPoint
from page.session.settings import PageSettings

MAX_AHEAD_S = 45.0  # of endless music, ahead of the playback position


@dataclass
class GenerationProgress:
    """Progress of a job.

    Args:
        session: Session of the user.
        job: The job.
        start: Music that is continued.
        settings: Values of the controls when the job started.
        count: Number of takes.
        bars: New bars of each take.
        label: The request in a few words.
        started_s: Start by the monotonic clock.
        drafts: Newest draft of each take.
        versions: Version numbers of the takes, in order.
        shown: Takes that are on their players.
        mixes: Mix last requested for each take.
        pictures: New bars of each take, as SVG.
        error: Why there is no sound; empty if there is.
    """

    session: Session
    job: GenerationJob
    start: StartPoint
    settings: PageSettings
    count: int
    bars: int
    label: str
    started_s: float = field(default_factory=time.monotonic)
    drafts: dict[int, Composition] = field(default_factory=dict)
    versions: list[int] = field(default_factory=list)
    shown: set[int] = field(default_factory=set)
    mixes: dict[int, TrackMix] = field(default_factory=dict)
    pictures: dict[int, str] = field(default_factory=dict)
    error: str = ""

    @property
    def bars_before(self) -> int:
        """New bars of earlier jobs."""
        return self.start.after.bars if self.start.after else 0

    @property
    def planned_bars(self) -> int | None:
        """Final number of new bars, with those of earlier jobs. None: endless."""
        return None if self.settings.endless else self.bars_before + self.bars

    @property
    def bars_done(self) -> int:
        """Bars composed so far, of all takes."""
        return sum(draft.bars - self.bars_before for draft in self.drafts.values())

    @property
    def bars_in_all(self) -> int | None:
        """Bars to compose, of all takes. None: endless."""
        return None if self.settings.endless else self.count * self.bars

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the time that the bars so far took. None: unknown."""
        done, total = self.bars_done, self.bars_in_all
        if not done or not total:
            return None
        return (time.monotonic() - self.started_s) / done * (total - done)

    def store(self, update: StreamUpdate) -> None:
        """Store a draft in the history; versions are added in the order of their letters."""
        assert update.piece is not None
        self.drafts[update.take] = update.piece
        self.error = update.error or self.error
        session = self.session
        if update.take < len(self.versions):
            number = self.versions[update.take]
            session.history = session.history.with_piece(number, update.piece)
        while (take := len(self.versions)) in self.drafts:
            letter = LETTERS[take] if self.count > 1 else ""
            session.history = session.history.add(
                self.start.prompt, self.drafts[take], label=self.label, parent=self.start.parent,
                letter=letter, kept_bars=self.bars_before,
            )  # fmt: skip
            self.versions.append(session.version.number)
            shown = self.versions[min(session.take, take)]
            session.history = session.history.go_to(shown)

    def stream_options(self, take: int) -> StreamOptions:
        """Return the newest mix and the playback position of a take.

        Tracks that were muted before the take is on its player belong to the piece before.
        """
        player = self.session.players[take] if take in self.shown else PlayerState()
        mix = mix_of(self.job.sound_settings or self.settings, muted=player.muted)
        self.mixes[take] = mix
        return StreamOptions(mix, player.from_s)


def stop_when_done(drafts: Iterable[Any], job: JobDeadline) -> Iterator[Any]:
    """Yield drafts until the job is stopped."""
    for draft in drafts:
        yield draft
        if job.stopped.is_set():
            return


def throttle_to_playback(
    drafts: Iterable[Composition], job: GenerationJob
) -> Iterator[Composition]:
    """Yield drafts at most `MAX_AHEAD_S` ahead of playback.

    Yields the newest draft again when the mix changes during a pause.
    """
    started_s, first_s = time.monotonic(), None
    for draft in drafts:
        end_s = seconds_at(draft.score, last_note_end(draft.score))
        first_s = end_s if first_s is None else first_s
        yield draft
        while end_s - first_s - (time.monotonic() - started_s) > MAX_AHEAD_S:
            if job.stopped.wait(0.2):
                return
            if job.mix_changed.is_set():
                job.mix_changed.clear()
                yield draft


def check_same_model(piece: Composition, composer: Composer) -> None:
    """Check that a composer made the piece that it is to extend.

    Raises:
        ScoreError: Another model made it.
    """
    if piece.model_info is not None and piece.model_info.weights != composer.fingerprint:
        raise ScoreError(
            "Another model composed this piece, and only that model can extend it; choose a prompt "
            "and press Continue."
        )
