"""Handlers that compose, change or show a piece.

A handler yields dictionaries from components to their new values. `events.py` wraps each one with
`event_handler`, so exceptions may simply be raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import gradio as gr

from musiclstm import Composer, Composition, Recipe, ScoreError
from musiclstm.generation import Assessment
from page.downloads import link_of
from page.playback.chunk_cache import ChunkCache
from page.playback.stream import StreamUpdate, show_view, stream_piece, stream_pieces
from page.session.composer_options import constraints_of, mix_of, sampling_of, surprise_of
from page.session.edits import Edit
from page.session.history import LETTERS, NO_PIECE, History, Version
from page.session.job import (
    GenerationProgress,
    check_same_model,
    stop_when_done,
    throttle_to_playback,
)
from page.session.prompt import NOTHING, PromptChoice
from page.session.session import (
    GenerationJob,
    PlayerState,
    Session,
    StartPoint,
    prompt_of_recipe,
    start_at_end,
    start_before,
)
from page.session.settings import FREE, PageSettings
from page.ui import html
from page.ui.choices import BANDS, parts_of
from page.ui.input_parsing import parse_tracks
from page.ui.layout import Page
from page.ui.sound_handlers import Changes, SoundHandlers
from page.ui.strips import Strip, picture_of, strips_html

MAX_NEW_BARS = 1_024  # of one piece, to bound memory
NO_BARS = "Select bars first: drag over the bar numbers above the notes."


class GenerateHandlers:
    """Handlers of everything that fills a player.

    Args:
        page: The components.
        composer: The default composer, shared by all users.
        chunk_cache: Audio chunks of all players.
        sound: Renders what the players show.
    """

    def __init__(
        self, page: Page, composer: Composer, chunk_cache: ChunkCache, sound: SoundHandlers
    ) -> None:
        self.page, self.composer, self.chunk_cache = page, composer, chunk_cache
        self.sound, self.settings = sound, sound.settings

    def composer_of(self, session: Session) -> Composer:
        """Return the user's own composer or the default one."""
        return session.composer or self.composer

    # ----------------------------------------------------------------------------------- composing

    def append(self, session: Session, *values: Any) -> Iterator[Changes]:
        """Append bars to what is shown."""
        yield from self._generate(session, values, start_at_end)

    def again(self, session: Session, *values: Any) -> Iterator[Changes]:
        """Make the last step again: the same start, as many bars."""
        version = session.version
        if version.edit is not None and version.piece is None:
            before = session.history.version_of(version.parent or 0)
            yield from self._edit(session, before, version.edit, values)
        elif version.piece is None:
            raise ScoreError(NO_PIECE)
        else:
            yield from self._generate(session, values, _start_of_last_step)

    def offer(self, session: Session, *values: Any) -> Iterator[Changes]:
        """Offer four takes of the last step, or of the next bars if there are none."""

        def start_of(version: Version) -> StartPoint:
            has_step = version.piece is not None
            return _start_of_last_step(version) if has_step else start_at_end(version)

        yield from self._generate(session, values, start_of, count=len(LETTERS))

    def redo_from(self, session: Session, *values: Any) -> Iterator[Changes]:
        """Compose the new bars again from the first selected bar on."""
        bars, version = session.selection, session.version
        if bars is None:
            raise ScoreError(NO_BARS)
        kept = bars[0] - 1 - version.prompt_end
        if not 0 <= kept < version.new_bars:
            raise ScoreError(
                f"Bar {bars[0]} is not a new bar; the new bars are {version.prompt_end + 1} to "
                f"{version.last_bar}."
                if version.new_bars
                else NO_PIECE
            )
        start_of = lambda each: start_before(each, kept, parent=each.number)  # noqa: E731
        yield from self._generate(session, values, start_of)

    def start_new(
        self, session: Session, band: Any, key: Any, meter: Any, tempo: Any, *values: Any
    ) -> Iterator[Changes]:
        """Compose a new piece for a band."""
        form = {
            "instruments": BANDS.get(str(band)) or None,
            "meter": meter,
            "tempo_bpm": tempo,
            "key": FREE if key == "any" else key,
        }
        start_of = lambda _: StartPoint(NOTHING)  # noqa: E731
        yield from self._generate(session, values, start_of, form=form)

    def _generate(
        self,
        session: Session,
        values: Iterable[Any],
        start_of: Callable[[Version], StartPoint],
        *,
        count: int = 1,
        form: dict[str, Any] | None = None,
    ) -> Iterator[Changes]:
        settings = self.settings(values)
        if form is not None:
            settings = replace(settings, **form)
        session.new_bars = None if settings.endless else settings.bars
        yield self._busy(session, "Reading the prompt")
        with self._job(session) as job:
            job.endless = settings.endless
            start = start_of(session.version)
            bars = settings.new_bars if settings.endless else start.bars or settings.new_bars
            label = _label(start, bars, settings)
            run = GenerationProgress(session, job, start, settings, count, bars, label)
            yield from self._compose(run)

    def _busy(self, session: Session, action: str) -> Changes:
        return {
            self.page.session: session,
            self.page.status: html.progress(action, 0, None),
            self.page.actions.stop: gr.update(interactive=True),
        }

    @contextmanager
    def _job(self, session: Session) -> Iterator[GenerationJob]:
        job = session.start_job()
        try:
            yield job
        finally:
            session.end_job()

    def _compose(self, run: GenerationProgress) -> Iterator[Changes]:
        session, job = run.session, run.job
        with closing(self._stream(run)) as updates:
            for update in updates:
                run.store(update)
                yield self._apply_update(run, update)
                if job.canceled.is_set():
                    return
                if job.aborted:
                    break
        ranked = self._rank(run) if run.versions and run.count > 1 else {}
        error = " ".join(filter(None, (run.error, job.reason)))
        yield ranked | self.idle_state(session, error=error)
        yield from self._apply_late_mixes(run)

    def _stream(self, run: GenerationProgress) -> Any:
        """Start composing; closing the generator frees the synthesizer."""
        composer, options = self.composer_of(run.session), self._composer_options(run)
        playback: dict[str, Any] = {
            "cache": self.chunk_cache,
            "mix": mix_of(run.settings),
            "planned_bars": run.planned_bars,
            "first_bar": run.start.prompt.bars[0],
            "options": run.stream_options,
        }
        if run.count > 1:
            takes = stop_when_done(composer.stream_many(run.count, **options), run.job)
            return stream_pieces(takes, count=run.count, **playback)
        drafts: Iterator[Composition] = composer.stream(**options)
        if run.settings.endless:
            drafts = throttle_to_playback(drafts, run.job)
        return stream_piece(stop_when_done(drafts, run.job), **playback)

    def _composer_options(self, run: GenerationProgress) -> dict[str, Any]:
        composer, settings, start = self.composer_of(run.session), run.settings, run.start
        if (total := run.bars_before + run.bars) > MAX_NEW_BARS:
            raise ScoreError(
                f"A piece has at most {MAX_NEW_BARS:,} new bars on this page, and this would make "
                f"{total:,}; continue from an earlier bar."
            )
        options: dict[str, Any] = {
            "bars": run.bars,
            "sampling": sampling_of(settings),
            "surprise": surprise_of(settings),
        }
        notes_per_bar = start.prompt.notes_per_bar
        if start.after is not None:
            check_same_model(start.after, composer)
            constraints = constraints_of(
                settings, composer=composer, after=start.after, notes_per_bar=notes_per_bar
            )
            return options | {"after": start.after, "constraints": constraints}
        prompt, selection = start.prompt.prompt, start.prompt.selection
        constraints = constraints_of(
            settings, composer=composer, prompt=prompt, selection=selection,
            notes_per_bar=notes_per_bar,
        )  # fmt: skip
        prompt_options = {"prompt": prompt, "prompt_selection": selection}
        return options | prompt_options | {"constraints": constraints}

    def _apply_update(self, run: GenerationProgress, update: StreamUpdate) -> Changes:
        """Store an update in the session and return the changes of the page."""
        session, take, players = run.session, update.take, run.session.players
        changes: Changes = {
            self.page.players[take]: update.value,
            self.page.status: _progress_html(run),
        }
        updates = players[take].updates
        if updates is None or updates.stream != update.updates.stream:
            players[take] = players[take].cleared()
            if not run.shown:
                changes |= self._clear_takes(session)
            run.shown.add(take)
        players[take].updates = update.updates
        if take < len(run.versions):
            players[take].version = run.versions[take]
        if run.count > 1 and update.piece is not None:
            picture = picture_of(update.piece, first=run.bars_before, bars=run.bars)
            run.pictures[take] = picture
            changes[self.page.strips] = self._strips(run, [*sorted(run.pictures)])
        return changes

    def _clear_takes(self, session: Session) -> Changes:
        """Show the first player and nothing selected; the others are empty."""
        session.take, session.selection, session.strips = 0, None, str
        players = session.players
        players[1:] = [each.cleared() for each in players[1:]]
        return {self.page.strips: "", self.page.actions.chosen: ""}

    def _strips(
        self, run: GenerationProgress, order: list[int], reasons: dict[int, str] | None = None
    ) -> str:
        strips = [Strip(each, run.pictures[each], (reasons or {}).get(each, "")) for each in order]
        start = run.start.prompt.bars
        before = start[1] - start[0] + 1 + run.bars_before
        return strips_html(strips, chosen=run.session.take, start=before, bars=run.bars)

    def _rank(self, run: GenerationProgress) -> Changes:
        """Order the takes by score and say why; remove collapsed ones if there are others."""
        session = run.session
        found = [self._assess(session, run.drafts[take]) for take in range(len(run.versions))]
        order = sorted(range(len(found)), key=lambda take: found[take].rank)
        kept = [take for take in order if not found[take].is_collapsed] or order
        removed = {*order} - {*kept}
        if session.take not in kept:
            session.take = kept[0]
        history = session.history.go_to(run.versions[session.take])
        session.history = history.without({run.versions[take] for take in removed})
        reasons = {take: str(found[take]) for take in kept}
        changes: Changes = {self.page.strips: self._strips(run, kept, reasons)}
        session.strips = lambda: self._strips(run, kept, reasons)
        for take in removed:
            session.players[take] = session.players[take].cleared()
            changes[self.page.players[take]] = None  # it pauses
        return changes

    def _assess(self, session: Session, piece: Composition) -> Assessment:
        first = session.version.first_bar
        return self.composer_of(session).assess(piece, first_bar=first)

    def _apply_late_mixes(self, run: GenerationProgress) -> Iterator[Changes]:
        """Render takes again whose mix changed after their last chunk."""
        for take in range(len(run.versions)):
            before = run.mixes.get(take)
            mix, from_s = run.stream_options(take)
            if mix != before and not run.job.canceled.is_set():
                settings = run.job.sound_settings or run.settings
                yield from self.sound.render_again(run.session, take, settings, from_s=from_s)

    def choose_take(self, session: Session, data: dict[str, Any]) -> Changes:
        """Put another take on display."""
        take = data.get("take")
        if not isinstance(take, int) or not 0 <= take < len(LETTERS):
            return {}
        number = session.players[take].version
        if number is None:
            return {}
        session.take, session.selection = take, None
        session.history = session.history.go_to(number)
        if session.job is not None:
            return {}
        return self.idle_state(session) | {self.page.strips: session.strips()}

    # ------------------------------------------------------------------------------------- changes

    def write_anew(self, session: Session, parts: Any, *values: Any) -> Iterator[Changes]:
        """Compose parts of the selected bars again; keep everything else."""
        bars, version = session.selection, session.version
        if bars is None:
            raise ScoreError(NO_BARS)
        before = version.first_bar - 1
        edit = Edit((bars[0] - before, bars[1] - before), parse_tracks(parts) or None)
        yield from self._edit(session, version, edit, values)

    def add_parts(
        self, session: Session, kept: Any, programs: Any, *values: Any
    ) -> Iterator[Changes]:
        """Keep parts, and compose others to them."""
        new = tuple(programs or ())
        if not new:
            raise ScoreError("Choose at least one new part.")
        edit = Edit(None, parse_tracks(kept) or None, new, keeps=True)
        yield from self._edit(session, session.version, edit, values)

    def _edit(
        self, session: Session, version: Version, edit: Edit, values: Iterable[Any]
    ) -> Iterator[Changes]:
        settings = self.settings(values)
        if version.score is None:
            raise ScoreError(NO_PIECE)
        before, view = version.first_bar - 1, version.view
        bars = len(view.bar_ticks) - 1
        shown = None if edit.bars is None else (edit.bars[0] + before, edit.bars[1] + before)
        label = _label_of_edit(edit, version, shown)
        yield self._busy(session, f"Writing {label}")
        with self._job(session) as job:
            edited = edit.apply(
                self.composer_of(session), version.piece or version.score, bars, settings
            )
            if job.canceled.is_set():
                return
            prompt = PromptChoice.edited(
                edited.to_midi(), title=version.prompt.title, first_bar=version.first_bar
            )
            session.history = session.history.add(
                prompt, label=label, parent=version.number, edit=edit
            )
            yield from self._show(session, selection=shown, error=job.reason)

    # ------------------------------------------------------------------------------ other versions

    def show_version(
        self,
        session: Session,
        step: Callable[[History], History],
        *,
        selection: tuple[int, int] | None = None,
    ) -> Iterator[Changes]:
        """Change the history and show its current version on the first player.

        Args:
            session: Of the user.
            step: Returns the changed history.
            selection: Bars of the file to select on the roll.
        """
        with self._job(session):
            session.history = step(session.history)
            yield from self._show(session, selection=selection)

    def reproduce(self, session: Session, recipe: Recipe, own: PromptChoice) -> Iterator[Changes]:
        """Compose a piece again from its recipe; `own` is the file that it may need."""
        with self._job(session):
            data = own.prompt if isinstance(own.prompt, bytes) else None
            piece = self.composer_of(session).reproduce(recipe, prompt=data)
            prompt, session.pending_recipe = prompt_of_recipe(recipe, own), None
            bars = recipe.steps[-1].bars if recipe.steps else 0
            session.history = session.history.add(
                prompt, piece, label="from a link", kept_bars=piece.bars - bars
            )
            yield from self._show(session)

    def _show(
        self, session: Session, *, selection: tuple[int, int] | None = None, error: str = ""
    ) -> Iterator[Changes]:
        """Show the current version as a new stream, whose audio is rendered on request."""
        version = session.version
        changes = self._clear_takes(session)
        update = show_view(version.view, cache=self.chunk_cache, selection=selection)
        revision = session.players[0].revision + 1
        session.players[0] = PlayerState(version.number, update.updates, revision=revision)
        session.selection = selection
        yield changes | {self.page.players[0]: update.value} | self.idle_state(session, error=error)

    # ---------------------------------------------------------------------------------- idle state

    def idle_state(self, session: Session, *, error: str = "") -> Changes:
        """Return what the page shows while no job runs."""
        actions, history, version = self.page.actions, session.history, session.version
        parts = gr.update(choices=parts_of(version), value=[])
        link = None if version.piece is None else link_of(version.piece, version.prompt)
        can_repeat = version.piece is not None or version.edit is not None
        return {
            self.page.status: html.status(html.next_step(version, session.new_bars), error),
            self.page.prompt.about: self.about(session),
            actions.stop: gr.update(interactive=False),
            actions.again: gr.update(interactive=can_repeat),
            actions.undo: gr.update(interactive=history.can_undo),
            actions.redo: gr.update(interactive=history.can_redo),
            actions.chosen: html.chosen_bars(session.selection, version),
            actions.parts: parts,
            self.page.forms.kept: parts,
            self.page.swap_old: gr.update(choices=parts_of(version, index="track"), value=None),
            self.page.result.history: html.history(history),
            self.page.result.link_code: link.code if link else "",
            self.page.result.link_note: html.link_note(link.wanted_file if link else ""),
        }

    def about(self, session: Session) -> str:
        """Return the facts about the prompt on display."""
        trained = self.composer_of(session).config.programs
        return html.prompt_summary(session.version.prompt, trained)


def _start_of_last_step(version: Version) -> StartPoint:
    return start_before(version, version.kept_bars, parent=version.parent)


def _label(start: StartPoint, bars: int, settings: PageSettings) -> str:
    where = f"after bar {start.last_bar}" if start.last_bar else "from nothing"
    many = "bars" if settings.endless else f"{bars} bar{'s' * (bars != 1)}"
    return ", ".join(filter(None, (f"{many} {where}", str(settings))))


def _label_of_edit(edit: Edit, version: Version, bars: tuple[int, int] | None) -> str:
    names = {number: name for name, number in parts_of(version)}
    chosen = [names.get(int(part), "") for part in edit.parts or ()]
    if bars is None:
        return "parts to " + (" and ".join(chosen) or "the piece")
    return f"{html.bars_text(*bars)} again" + (f": {', '.join(chosen)}" if chosen else "")


def _progress_html(run: GenerationProgress) -> str:
    action = "Composing" if run.count == 1 else f"Composing {run.count} takes"
    first = run.start.last_bar if run.count == 1 else 0
    return html.progress(action, run.bars_done, run.bars_in_all, run.seconds_left, first=first)
