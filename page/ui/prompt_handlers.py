"""What happens when a seed is chosen, dropped, or a part of it marked.

Reads files through visit.py and shows what they hold; composes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr

from musiclstm import RenderError
from page.downloads import from_link, needs_file
from page.playback.chunk_cache import ChunkCache
from page.playback.prompt_preview import PromptPreview
from page.server.gradio_private import event_data
from page.session.prompt import PromptChoice
from page.session.session import Session
from page.session.settings import mix_of, settings_of, values_of
from page.ui import html
from page.ui.errors import show_errors_to_user
from page.ui.generate_handlers import Changes, GenerateHandlers
from page.ui.input_parsing import parse_number, parse_seconds
from page.ui.layout import Page

OWN_FILE = "own file"  # the value of the cards when none of them is chosen
MOST_BARS_FOLLOWED = 256  # of a recipe in a link: it is composed at once


class PromptHandlers:
    """The handlers of the seed's panel and of links.

    Args:
        page: Its components.
        shelf: Where the sound of players lies.
        composing: Who composes what a link asks for.
    """

    def __init__(self, page: Page, shelf: ChunkCache, composing: GenerateHandlers) -> None:
        self.page, self.shelf, self.composing = page, shelf, composing

    # ------------------------------------------------------------------------------------ choosing

    def choose(self, desk: Session, event: gr.EventData) -> Changes:
        """One of the bundled tunes."""
        return self.chosen(desk, str(event_data(event).get("title", "")))

    def chosen(self, desk: Session, title: str) -> Changes:
        """The same, by its title.

        Raises:
            gr.Error: There is none.
        """
        with show_errors_to_user():
            return self._taken(desk, PromptChoice.bundled(title)) | {self.page.seed.upload: None}

    def drop(self, desk: Session, file: str) -> Changes:
        """A visitor's own file.

        Raises:
            gr.Error: It cannot be read; the sentence says why.
        """
        with show_errors_to_user():
            changes = self._taken(desk, PromptChoice.read(Path(file)))
        if desk.waiting is not None:  # then the recipe of the link is tried with this file
            changes[self.page.recipe] = gr.update(value=desk.waiting.to_link() + " ")
        return changes | {self.page.seed.cards: OWN_FILE}

    def part(self, desk: Session, tracks: list[int], first: Any, last: Any, keep: bool) -> Changes:
        """Which tracks and bars go on.

        Raises:
            gr.Error: Nothing is left, or there is no such bar.
        """
        with show_errors_to_user():
            desk.seed = desk.seed.choosing(
                tracks=tracks, first_bar=first or 1, last_bar=_bar(last), keep_others=keep
            )
        desk.fresh = True
        changes: Changes = {self.page.seed.about: self._about(desk)}
        if desk.seed.score is not None:
            desk.overture = desk.overture or PromptPreview(desk.seed, self.shelf)
            desk.overture.select(desk.seed)
            changes[self.page.seed.roll] = desk.overture.update()
        return changes

    def bars(self, desk: Session, tracks: list[int], keep: bool, event: gr.EventData) -> Changes:
        """Bars that were marked on the roll; none: all."""
        first, last = event_data(event).get("first") or 1, event_data(event).get("last")
        changes = self.part(desk, tracks, first, str(last or ""), keep)
        return {
            self.page.seed.about: changes[self.page.seed.about],
            self.page.seed.first_bar: first,
            self.page.seed.last_bar: str(last or ""),
        }

    def listen(self, desk: Session, event: gr.EventData, *values: Any) -> Iterator[Changes]:
        """Play the seed from where the listener is, until another one is chosen or asked for.

        Raises:
            gr.Error: There is no sound to be had.
        """
        if desk.seed.score is None:
            return
        from_s = parse_seconds(event_data(event).get("position_s"))
        desk.overture = overture = PromptPreview(desk.seed, self.shelf, from_s=from_s)
        with show_errors_to_user():
            mix = mix_of(self.composing.settings(values))
            try:
                with closing(overture.play(mix)) as updates:
                    for value in updates:
                        if desk.overture is not overture:
                            return
                        yield {self.page.seed.roll: value}
            except RenderError:
                yield {self.page.seed.roll: overture.update(complete=True)}
                raise

    def show(self, desk: Session) -> Changes:
        """What a seed's panel says about the seed."""
        panel, seed = self.page.seed, desk.seed
        changes: Changes = {panel.about: self._about(desk)}
        if seed.report is None:
            return changes | {panel.cards: "", panel.upload: None}
        names = html.tracks(seed)
        desk.overture = PromptPreview(seed, self.shelf)
        return changes | {
            panel.roll: desk.overture.update(),
            panel.tracks: gr.update(choices=names, value=[number for _, number in names]),
            panel.first_bar: gr.update(value=1, maximum=seed.report.bars),
            panel.last_bar: "",
            panel.keep_others: True,
        }

    def _about(self, desk: Session) -> str:
        trained = self.composing.composer_of(desk).model.config.programs
        return html.prompt_summary(desk.seed, trained)

    def _taken(self, desk: Session, seed: PromptChoice) -> Changes:
        desk.seed, desk.fresh = seed, True
        return self.show(desk)

    # --------------------------------------------------------------------------------------- links

    def reproduce(self, desk: Session, text: str, *values: Any) -> Iterator[Changes]:
        """Make the piece of a link again.

        Args:
            desk: Of the visitor.
            text: The recipe of the link; a space at its end: with the file that was dropped.
            values: What the controls say.
        """
        if not text.strip():
            return
        with show_errors_to_user():
            recipe = from_link(text.strip())
            if sum(step.bars for step in recipe.steps) > MOST_BARS_FOLLOWED:
                raise ValueError(
                    f"This link asks for more than {MOST_BARS_FOLLOWED} bars; open its recipe in "
                    "Python: composer.reproduce(recipe)."
                )
            if needs_file(recipe) and text == text.strip():
                desk.waiting = recipe
                yield {self.page.status: html.FILE_WANTED}
                return
            yield {self.page.status: html.progress("Composing the piece of the link", 0, None)}
            yield self._controls(recipe)
            yield from self.composing.reproduce(desk, recipe, values)

    def _controls(self, recipe: Any) -> Changes:
        values = values_of(settings_of(recipe))
        kept = ("soundfont", "reverb", "chorus", "gain_db", "swaps")
        return {
            component: _text(values[name]) if isinstance(component, gr.Textbox) else values[name]
            for name, component in self.page.controls.items()
            if name not in kept
        }


def _bar(text: str) -> int | None:
    """The bar that a text says; None where it is empty.

    Raises:
        ValueError: It says no whole number.
    """
    number = parse_number(text)
    if number is None or number == "":
        return None
    if not isinstance(number, float) or number != int(number):
        raise ValueError(f"The last bar must be a whole number, got {ascii(text)[:30]}.")
    return int(number)


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
