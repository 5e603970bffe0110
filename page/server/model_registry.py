"""Other models than everybody's, for visitors who may choose one.

Loads checkpoints by name and keeps the last few; knows no components.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from musiclstm import Composer, ScoreError

MOST_KEPT = 2  # besides everybody's


class ModelRegistry:
    """Composers by the name they were asked for, the last ones kept.

    Args:
        usual: Everybody's.
    """

    def __init__(self, usual: Composer) -> None:
        self.usual = usual
        self._kept: OrderedDict[str, Composer] = OrderedDict()
        self._lock = threading.Lock()

    def named(self, name: str) -> Composer:
        """The composer of a checkpoint folder or a Hub id; an empty name: everybody's.

        Raises:
            CheckpointError: There is none, or it cannot be read.
        """
        name = name.strip()
        if not name:
            return self.usual
        if len(name) > 200:
            raise ScoreError("A model's name has at most 200 letters; copy it from its page.")
        with self._lock:
            composer = self._kept.pop(name, None) or Composer.from_pretrained(name)
            self._kept[name] = composer
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return composer
