"""Handlers of the prompt and of links."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from musiclstm import Recipe, ScoreError
from page.downloads import needs_file, prompt_in_link
from page.session.composer_options import settings_of
from page.session.history import History
from page.session.prompt import PromptChoice
from page.session.session import Session
from page.session.settings import values_of
from page.ui import html
from page.ui.generate_handlers import NO_BARS, GenerateHandlers
from page.ui.input_parsing import parse_integer, parse_number, parse_tracks
from page.ui.layout import Page
from page.ui.sound_handlers import Changes

MAX_BARS_OF_LINK = 256  # a link is composed as a whole before it is shown
_KEPT_CONTROLS = ("soundfont", "reverb", "chorus", "gain_db", "swaps", "random_seed", "lively")


class PromptHandlers:
    """Handlers of the prompt and of links.

    Args:
        page: The components.
        generate: Shows a prompt, and composes the piece of a link.
    """

    def __init__(self, page: Page, generate: GenerateHandlers) -> None:
        self.page, self.generate = page, generate

    # -------------------------------------------------------------------------------------- choice

    def choose_example(self, session: Session, title: Any) -> Iterator[Changes]:
        """Open a bundled tune."""
        yield from self._open(session, PromptChoice.bundled(title), {self.page.prompt.upload: None})

    def upload(self, session: Session, file: str | None) -> Iterator[Changes]:
        """Open an uploaded file; if a link waits for one, try its recipe again."""
        if file is None:
            raise ScoreError("There is no file in this upload; choose a MIDI file.")
        prompt = PromptChoice.read(Path(file))
        changes: Changes = {self.page.prompt.example: None}
        if session.pending_recipe is not None:
            link = session.pending_recipe.to_link() + " "  # the space triggers a change event
            changes[self.page.recipe] = gr.update(value=link)
        yield from self._open(session, prompt, changes)

    def clear_upload(self) -> Changes:
        """Empty the upload field."""
        return {self.page.prompt.upload: None}

    def _open(self, session: Session, prompt: PromptChoice, changes: Changes) -> Iterator[Changes]:
        session.cancel_job()
        label = f"opened {prompt.title}"
        for shown in self.generate.show_version(
            session, lambda history: history.add(prompt, label=label)
        ):
            yield shown | changes | self._show_selection(session)

    def _show_selection(self, session: Session) -> Changes:
        """Fill the fields of the part that is continued."""
        panel, prompt = self.page.prompt, session.version.prompt
        chosen = prompt.selection
        tracks = sorted(chosen.tracks) if chosen and chosen.tracks is not None else []
        parts = [] if prompt.summary is None else [str(each) for each in prompt.summary.tracks]
        return {
            panel.tracks: gr.update(
                choices=[(name, number) for number, name in enumerate(parts, 1)],
                value=[number + 1 for number in tracks],
            ),
            panel.first_bar: chosen.first_bar if chosen else 1,
            panel.last_bar: str(chosen.last_bar or "") if chosen else "",
            panel.keep_others: chosen.keep_others if chosen else True,
        }

    def select(
        self, session: Session, parts: Any, first: Any, last: Any, keep_others: bool
    ) -> Iterator[Changes]:
        """Continue only some parts and bars of the prompt."""
        old, before = session.version.prompt, session.version.prompt.first_bar - 1
        tracks = [number - 1 for number in parse_tracks(parts)] or None
        last_bar = _parse_last_bar(last)
        prompt = old.with_selection(
            tracks=tracks,
            first_bar=max(1, parse_integer(first) - before),
            last_bar=None if last_bar is None else last_bar - before,
            keep_others=keep_others,
        )
        yield from self._change_prompt(session, prompt)

    def select_only(self, session: Session, parts: Any) -> Iterator[Changes]:
        """Continue only the bars and parts that are selected on the roll."""
        if session.selection is None:
            raise ScoreError(NO_BARS)
        yield from self.select(
            session, parts, session.selection[0], str(session.selection[1]), True
        )

    def _change_prompt(self, session: Session, prompt: PromptChoice) -> Iterator[Changes]:
        version = session.version

        def change(history: History) -> History:
            if version.piece is None:
                return history.with_prompt(version.number, prompt)
            return history.add(prompt, label=f"a part of {prompt.title}")

        selection = None if prompt.selection is None else prompt.bars
        for shown in self.generate.show_version(session, change, selection=selection):
            yield shown | self._show_selection(session)

    # --------------------------------------------------------------------------------------- links

    def reproduce(self, session: Session, text: str | None, *values: Any) -> Iterator[Changes]:
        """Compose the piece of a link.

        Args:
            session: Of the user.
            text: The recipe in the link, and its fragment after `#`. A space at its end: with the
                file on display.
            values: Of the controls.
        """
        text = text or ""
        link, _, fragment = text.strip().partition("#")
        if not link:
            return
        recipe = Recipe.from_link(link)
        if sum(step.bars for step in recipe.steps) > MAX_BARS_OF_LINK:
            raise ValueError(
                f"This link asks for more than {MAX_BARS_OF_LINK} bars; open its recipe in "
                "Python: composer.reproduce(recipe)."
            )
        own = prompt_in_link(fragment) or session.version.prompt
        if needs_file(recipe) and not fragment and text == link:
            session.pending_recipe = recipe
            yield {self.page.status: html.status(html.FILE_WANTED)}
            return
        yield {self.page.status: html.progress("Composing the piece of the link", 0, None)}
        yield self._show_settings(recipe)
        for changes in self.generate.reproduce(session, recipe, own):
            yield changes | self._show_selection(session)

    def _show_settings(self, recipe: Recipe) -> Changes:
        values = values_of(settings_of(recipe))
        changes: Changes = {}
        for name, component in self.page.controls.items():
            if name in _KEPT_CONTROLS:
                continue
            value = values[name]
            changes[component] = _number_text(value) if isinstance(component, gr.Textbox) else value
        return changes


def _parse_last_bar(text: Any) -> int | None:
    number = parse_number(text)
    if number is None or number == "":
        return None
    if not isinstance(number, float) or number != int(number):
        raise ValueError(f"The last bar must be a whole number, got {ascii(text)[:30]}.")
    return int(number)


def _number_text(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
