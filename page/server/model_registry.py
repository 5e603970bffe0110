"""Composers of other models, for users who may choose one."""

from __future__ import annotations

import threading
from functools import lru_cache

from musiclstm import Composer, ScoreError

MAX_MODELS = 2  # besides the default one


class ModelRegistry:
    """Composers by name; the most recently used ones are kept.

    Args:
        default: The composer for an empty name.
    """

    def __init__(self, default: Composer) -> None:
        self.default = default
        self._load = lru_cache(MAX_MODELS)(lambda name: Composer.from_pretrained(name))
        self._lock = threading.Lock()  # two requests for one model load it once

    def get(self, name: str) -> Composer:
        """Return the composer of a checkpoint folder or a Hub id; empty: the default one.

        Raises:
            CheckpointError: It does not exist or cannot be read.
            ScoreError: The name is longer than 200 characters.
        """
        name = name.strip()
        if not name:
            return self.default
        if len(name) > 200:
            raise ScoreError("A model's name has at most 200 letters; copy it from its page.")
        with self._lock:
            return self._load(name)
