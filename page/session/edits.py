"""Changes of a piece that keep the rest: parts composed again, or parts added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from musiclstm import Composer, Composition, Constraints, ScoreError
from musiclstm.generation import KEY_OF_PROMPT, EditedPiece, PromptSource
from page.session.composer_options import sampling_of
from page.session.settings import AS_PROMPT, FREE, PageSettings

MAX_EDITED_BARS = 64


@dataclass(frozen=True)
class Edit:
    """What is composed.

    Args:
        bars: First and last bar that are composed, counted from 1 in the piece. None: all.
        parts: Numbers or names of the parts that are composed; with `programs`, of those that are
            kept. None: all.
        programs: Programs of new parts. None: none is added.
        keeps: Whether `parts` are kept, and the others are composed or replaced.
    """

    bars: tuple[int, int] | None = None
    parts: tuple[int | str, ...] | None = None
    programs: tuple[int, ...] | None = None
    keeps: bool = False

    def apply(
        self, composer: Composer, source: PromptSource | Composition, bars: int,
        settings: PageSettings,
    ) -> EditedPiece:  # fmt: skip
        """Compose the new parts.

        Args:
            composer: The composer.
            source: The piece, which is left unchanged.
            bars: Number of its bars.
            settings: How notes are sampled, and their key.

        Raises:
            ScoreError: More than `MAX_EDITED_BARS` bars, or as in `Composer.regenerate`.
            ValueError: As in `Composer.regenerate`.
        """
        first, last = self.bars or (1, bars)
        check_length(last - first + 1)
        key = {FREE: None, AS_PROMPT: KEY_OF_PROMPT}.get(settings.key, settings.key)
        options: dict[str, Any] = {
            "parts": self.parts,
            "sampling": sampling_of(settings),
            "constraints": Constraints(key=key),
        }
        if self.keeps:
            return composer.accompany(source, programs=self.programs, **options)
        return composer.regenerate(source, bars=(first, last), **options)


def check_length(bars: int) -> None:
    """Refuse more bars than can be composed at once."""
    if bars > MAX_EDITED_BARS:
        raise ScoreError(
            f"At most {MAX_EDITED_BARS} bars can be composed at once, and these are {bars}; choose "
            "fewer bars or a shorter file."
        )
