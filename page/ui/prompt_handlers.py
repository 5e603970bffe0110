"""Handlers of the prompt's panel and of links."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr

from musiclstm import Recipe, RenderError, ScoreError
from page.downloads import needs_file
from page.playback.chunk_cache import ChunkCache
from page.playback.prompt_preview import PromptPreview
from page.session.composer_options import mix_of, settings_of
from page.session.prompt import NOTHING, PromptChoice
from page.session.session import Session
from page.session.settings import values_of
from page.ui import html
from page.ui.generate_handlers import Changes, GenerateHandlers
from page.ui.input_parsing import parse_number, parse_seconds
from page.ui.layout import Page

UPLOADED = "own file"  # value of the cards when none of them is chosen
MAX_BARS_OF_LINK = 256  # a link is composed as a whole before it is shown
_SOUND_CONTROLS = ("soundfont", "reverb", "chorus", "gain_db", "swaps")


class PromptHandlers:
    """Handlers of the prompt's panel and of links.

    Args:
        page: The components.
        chunk_cache: Audio chunks of all players.
        generate: Composes the piece of a link.
    """

    def __init__(self, page: Page, chunk_cache: ChunkCache, generate: GenerateHandlers) -> None:
        self.page, self.chunk_cache, self.generate = page, chunk_cache, generate

    # -------------------------------------------------------------------------------------- choice

    def choose_tune(self, session: Session, title: str) -> Changes:
        """Choose a bundled tune."""
        changes = self._set_prompt(session, PromptChoice.bundled(title))
        return changes | {self.page.prompt.upload: None}

    def choose_nothing(self, session: Session) -> Changes:
        """Choose to start from nothing."""
        return self._set_prompt(session, NOTHING)

    def upload(self, session: Session, file: str | None) -> Changes:
        """Choose an uploaded file; if a link waits for one, try its recipe again."""
        if file is None:
            raise ScoreError("There is no file in this upload; choose a MIDI file.")
        changes = self._set_prompt(session, PromptChoice.read(Path(file)))
        if session.pending_recipe is not None:
            link = session.pending_recipe.to_link() + " "  # the space triggers a change event
            changes[self.page.recipe] = gr.update(value=link)
        return changes | {self.page.prompt.cards: UPLOADED}

    def clear_upload(self) -> Changes:
        """Empty the upload field."""
        return {self.page.prompt.upload: None}

    def _set_prompt(self, session: Session, prompt: PromptChoice) -> Changes:
        session.prompt, session.prompt_changed = prompt, True
        panel = self.page.prompt
        changes: Changes = {panel.summary: self._summary(session)}
        if prompt.summary is None:
            return changes | {panel.cards: "", panel.upload: None}
        names = html.tracks(prompt)
        session.prompt_preview = PromptPreview(prompt, self.chunk_cache)
        return changes | {
            panel.roll: session.prompt_preview.update(),
            panel.tracks: gr.update(choices=names, value=[number for _, number in names]),
            panel.first_bar: gr.update(value=1, maximum=prompt.summary.bars),
            panel.last_bar: "",
            panel.keep_others: True,
        }

    def _summary(self, session: Session) -> str:
        trained = self.generate.composer_of(session).config.programs
        return html.prompt_summary(session.prompt, trained)

    def select(
        self, session: Session, tracks: list[int], first: Any, last: Any, keep_others: bool
    ) -> Changes:
        """Select tracks and bars of the prompt."""
        session.prompt = session.prompt.with_selection(
            tracks=tracks,
            first_bar=first or 1,
            last_bar=_parse_last_bar(last),
            keep_others=keep_others,
        )
        session.prompt_changed = True
        changes: Changes = {self.page.prompt.summary: self._summary(session)}
        if session.prompt.score is not None:
            preview = session.prompt_preview or PromptPreview(session.prompt, self.chunk_cache)
            preview.select(session.prompt)
            session.prompt_preview = preview
            changes[self.page.prompt.roll] = preview.update()
        return changes

    def select_bars(
        self, session: Session, tracks: list[int], keep_others: bool, data: dict[str, Any]
    ) -> Changes:
        """Select the bars that were clicked in the piano roll; none: all."""
        panel, first, last = self.page.prompt, data.get("first") or 1, str(data.get("last") or "")
        changes = self.select(session, tracks, first, last, keep_others)
        return {
            panel.summary: changes[panel.summary],
            panel.first_bar: first,
            panel.last_bar: last,
        }

    def preview(
        self, session: Session, values: tuple[Any, ...], data: dict[str, Any]
    ) -> Iterator[Changes]:
        """Play the prompt from a position until another preview starts."""
        if session.prompt.score is None:
            return
        from_s = parse_seconds(data.get("position_s"))
        preview = PromptPreview(session.prompt, self.chunk_cache, from_s=from_s)
        session.prompt_preview = preview
        mix = mix_of(self.generate.settings(values))
        try:
            with closing(preview.play(mix)) as updates:
                for value in updates:
                    if session.prompt_preview is not preview:
                        return
                    yield {self.page.prompt.roll: value}
        except RenderError:
            yield {self.page.prompt.roll: preview.update(complete=True)}
            raise

    # --------------------------------------------------------------------------------------- links

    def reproduce(self, session: Session, text: str | None, *values: Any) -> Iterator[Changes]:
        """Compose the piece of a link.

        Args:
            session: Of the user.
            text: The recipe in the link. A space at its end: with the uploaded file.
            values: Of the controls.
        """
        text = text or ""
        link = text.strip()
        if not link:
            return
        recipe = Recipe.from_link(link)
        if sum(step.bars for step in recipe.steps) > MAX_BARS_OF_LINK:
            raise ValueError(
                f"This link asks for more than {MAX_BARS_OF_LINK} bars; open its recipe in "
                "Python: composer.reproduce(recipe)."
            )
        if needs_file(recipe) and text == link:
            session.pending_recipe = recipe
            yield {self.page.status: html.FILE_WANTED}
            return
        yield {self.page.status: html.progress("Composing the piece of the link", 0, None)}
        yield self._show_settings(recipe)
        yield from self.generate.reproduce(session, recipe, values)

    def _show_settings(self, recipe: Recipe) -> Changes:
        values = values_of(settings_of(recipe))
        return {
            component: _number_text(values[name])
            if isinstance(component, gr.Textbox)
            else values[name]
            for name, component in self.page.controls.items()
            if name not in _SOUND_CONTROLS
        }


def _parse_last_bar(text: Any) -> int | None:
    number = parse_number(text)
    if number is None or number == "":
        return None
    if not isinstance(number, float) or number != int(number):
        raise ValueError(f"The last bar must be a whole number, got {ascii(text)[:30]}.")
    return int(number)


def _number_text(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
