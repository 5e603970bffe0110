"""A training that is asked to stop saves where it is, and nothing is lost.

Clusters, containers and `kill` ask with SIGTERM, and kill some seconds later. The step that runs is
taken to its end, a checkpoint is written, and the session ends. Knows nothing of what is in it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from musiclstm.errors import MusicLSTMError

STOPPED = 128 + signal.SIGTERM  # the status that shells give to what SIGTERM ended


class StoppedError(MusicLSTMError):
    """The session was asked to stop, and a checkpoint holds all that it learnt."""


class SigtermCallback(TrainerCallback):
    """Ends a session after a checkpoint when SIGTERM asks for it."""

    def __init__(self, agree: Callable[[bool], bool]) -> None:
        """Take what tells whether one of several processes was asked: all have to stop together."""
        self._agree = agree
        self._asked = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, SIGTERM asks for a stop; outside it does what it did before.

        Only the main thread of a process can listen; in another one nothing changes.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._hear)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _hear(self, *_: Any) -> None:
        self._asked = True

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask for a checkpoint."""
        if self._agree(self._asked):
            control.should_save = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """End the session, now that the checkpoint is whole.

        Raises:
            StoppedError: It was asked for, if only while the checkpoint was written.
        """
        if self._agree(self._asked):
            raise StoppedError(
                f"Stopped at step {state.global_step:,} because the system asked for it (SIGTERM); "
                "nothing is lost: run the same command again to go on from there."
            )
