"""Fake networks: the logits are a function of the tokens that a row has read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tests.generation.referee import IDS

VOCAB = len(IDS)
SILENT = ("Bar_None", "TimeSig_4/4")
LOUD = (*SILENT, "Program_0", "Position_0", "Pitch_60", "Duration_1.0.12")


@dataclass(frozen=True)
class FakeSnapshot:
    """Tokens and copy weight of a row."""

    ids: tuple[int, ...] = ()
    copy_weight: float = 1.0


class ScriptedNetwork:
    """Prefers the tokens of a list, repeated; it is its own batch.

    Attributes:
        steps: Token ids of every step.
    """

    def __init__(self, *names: str) -> None:
        self.script = [IDS[name] for name in names]
        self.steps: list[list[int]] = []
        self.rows: list[FakeSnapshot] = []
        self.logits = np.empty((0, VOCAB), np.float32)

    def snapshot_after(self, count: int = 0) -> FakeSnapshot:
        """Return a snapshot after a number of tokens of the list."""
        return FakeSnapshot((0,) * count)

    def logits_of(self, row: FakeSnapshot) -> np.ndarray:
        """Return the logits of a row, (vocab,)."""
        scores = np.zeros(VOCAB, np.float32)
        scores[self.script[len(row.ids) % len(self.script)]] = 9
        return scores

    def start(self, snapshots: Sequence[FakeSnapshot]) -> ScriptedNetwork:
        """Return itself with these rows."""
        self.rows = list(snapshots)
        self._score()
        return self

    def _score(self) -> None:
        self.logits = np.stack([self.logits_of(row) for row in self.rows])

    def step(self, ids: Sequence[int]) -> None:
        """Read one token for each row."""
        assert len(ids) == len(self.rows)
        self.steps.append([int(token) for token in ids])
        self.rows = [
            replace(row, ids=(*row.ids, int(token)))
            for row, token in zip(self.rows, ids, strict=True)
        ]
        self._score()

    def set_copy_weight(self, weight: float, row: int = 0) -> None:
        """Store the weight in the snapshot of a row."""
        self.rows[row] = replace(self.rows[row], copy_weight=weight)
        self.logits[row] = self.logits_of(self.rows[row])

    def snapshot(self, row: int = 0) -> FakeSnapshot:
        """Return the state of a row."""
        return self.rows[row]

    def select_rows(self, rows: Sequence[int]) -> None:
        """Keep some rows, in this order."""
        self.rows = [self.rows[row] for row in rows]
        self._score()


class NoiseNetwork(ScriptedNetwork):
    """Random logits seeded by the last tokens, so every snapshot can be continued."""

    def __init__(self, spread: float = 3.0) -> None:
        super().__init__("Bar_None")
        self._spread = spread

    def logits_of(self, row: FakeSnapshot) -> np.ndarray:
        """Return the logits of a row, (vocab,)."""
        seed = [len(row.ids), *row.ids[-4:], round(100 * row.copy_weight)]
        noise = np.random.default_rng(seed).standard_normal(VOCAB)
        return (self._spread * noise).astype(np.float32)

    def start(self, snapshots: Sequence[FakeSnapshot]) -> NoiseNetwork:
        """Return another one, so that several loops can run at once."""
        other = NoiseNetwork(self._spread)
        other.rows = list(snapshots)
        other._score()
        return other
