"""One press of a visitor while it goes on: its drafts, its versions, how far it is.

Knows the visitor's desk; neither components nor sound.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from musiclstm import Composer, Composition, ScoreError
from musiclstm.audio import Mix
from musiclstm.midi import last_note_end, seconds_at
from page.playback.stream import StreamOptions, StreamUpdate
from page.server.deadlines import JobDeadline
from page.session.history import LETTERS
from page.session.session import GenerationJob, PlayerState, Session, StartPoint
from page.session.settings import PageSettings, mix_of

AHEAD_S = 45.0  # music without end is composed so far ahead of the listener


@dataclass
class GenerationProgress:
    """One press, as it goes on.

    Args:
        desk: Of the visitor.
        press: Says whether it was stopped, left, or is to sound otherwise.
        origin: Where the music begins.
        settings: What the controls said.
        count: How many takes.
        bars: Of each take.
        what: What was asked for, in a few words.
        started: When, by the monotonic clock.
        pieces: The newest draft of each take.
        numbers: Of their versions, in the order of the takes.
        begun: The takes that stand on their players.
        sounding: The mix that each take was last asked to have.
        trouble: Why nothing is heard; empty where it is.
    """

    desk: Session
    press: GenerationJob
    origin: StartPoint
    settings: PageSettings
    count: int
    bars: int
    what: str
    started: float = field(default_factory=time.monotonic)
    pieces: dict[int, Composition] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    begun: set[int] = field(default_factory=set)
    sounding: dict[int, Mix] = field(default_factory=dict)
    trouble: str = ""

    @property
    def base(self) -> int:
        """New bars there were before."""
        return self.origin.after.bars if self.origin.after else 0

    @property
    def planned(self) -> int | None:
        """New bars there will be in all; None: nobody knows."""
        return None if self.settings.endless else self.base + self.bars

    def keep(self, update: StreamUpdate) -> None:
        """Put a draft into the history; takes come in the order of their letters."""
        self.pieces[update.take] = update.piece
        self.trouble = update.error or self.trouble
        desk = self.desk
        if update.take < len(self.numbers):
            desk.history = desk.history.grown(self.numbers[update.take], update.piece)
        while (take := len(self.numbers)) in self.pieces:
            letter = LETTERS[take] if self.count > 1 else ""
            desk.history = desk.history.add(
                self.pieces[take], what=self.what, parent=self.origin.parent, letter=letter,
                title=self.origin.seed.title, settings=self.settings,
            )  # fmt: skip
            number = desk.history.current
            assert number is not None
            desk.remember(number, self.origin)
            self.numbers.append(number)

    def wanted(self, take: int) -> StreamOptions:
        """How a take should sound by now; what was muted before it began is no part of it."""
        player = self.desk.players[take] if take in self.begun else PlayerState()
        mix = mix_of(self.press.sound or self.settings, muted=player.muted)
        self.sounding[take] = mix
        return StreamOptions(mix, player.from_s)

    @property
    def bars_done(self) -> int:
        """New bars composed so far, of all takes."""
        return sum(piece.bars - self.base for piece in self.pieces.values())

    @property
    def bars_in_all(self) -> int | None:
        """New bars asked for, of all takes; None: endless."""
        return None if self.settings.endless else self.count * self.bars

    @property
    def seconds_left(self) -> float | None:
        """Estimated from the time that the bars so far took; None: unknown."""
        done, total = self.bars_done, self.bars_in_all
        if not done or not total:
            return None
        return (time.monotonic() - self.started) / done * (total - done)


# ----------------------------------------------------------------------------------- small helpers


def stop_when_done(drafts: Iterable[Any], turn: JobDeadline) -> Iterator[Any]:
    """Drafts, until the visitor presses Stop or something else, or the turn is over."""
    for draft in drafts:
        yield draft
        if turn.stopped.is_set():
            return


def throttle_to_playback(
    drafts: Iterable[Composition], press: GenerationJob
) -> Iterator[Composition]:
    """Drafts, not further ahead of a listener than need be.

    The newest comes once more where it is to sound otherwise meanwhile.
    """
    began, first_s = time.monotonic(), None
    for draft in drafts:
        end_s = seconds_at(draft.score, last_note_end(draft.score))
        first_s = end_s if first_s is None else first_s
        yield draft
        while end_s - first_s - (time.monotonic() - began) > AHEAD_S:
            if press.stopped.wait(0.2):
                return
            if press.changed.is_set():
                press.changed.clear()
                yield draft


def check_model(piece: Composition, composer: Composer) -> None:
    """Refuse to let a composer go on in what another one made.

    Raises:
        ScoreError: It did not compose the piece.
    """
    if piece.model_info is not None and piece.model_info.weights != composer.fingerprint:
        raise ScoreError(
            "This piece was composed by another model, which alone can go on in it; choose a seed "
            "and press Continue."
        )


@contextmanager
def closing_after(updates: Iterator[StreamUpdate]) -> Iterator[Iterator[StreamUpdate]]:
    """Close a generator however its use ends: that frees the synthesizer."""
    try:
        yield updates
    finally:
        if isinstance(updates, Generator):
            updates.close()
