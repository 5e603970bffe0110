"""Handlers that compose, show or render a piece.

A handler yields dictionaries from components to their new values. `events.py` wraps each one with
`event_handler`, so exceptions may simply be raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

import gradio as gr

from musiclstm import Composer, Composition, Recipe, ScoreError
from musiclstm.generation import Assessment
from page.downloads import link_of
from page.playback.chunk_cache import ChunkCache
from page.playback.excerpt import first_bar_of
from page.playback.stream import StreamUpdate, replay, show_piece, stream_piece, stream_pieces
from page.session.composer_options import constraints_of, mix_of, sampling_of, surprise_of
from page.session.history import LETTERS, NO_PIECE, History
from page.session.job import (
    GenerationProgress,
    check_same_model,
    stop_when_done,
    throttle_to_playback,
)
from page.session.prompt import NOTHING
from page.session.session import (
    GenerationJob,
    Session,
    StartPoint,
    prompt_of_recipe,
)
from page.session.settings import PageSettings, from_values
from page.ui import html
from page.ui.input_parsing import parse_integer, parse_number, parse_programs, parse_seconds
from page.ui.layout import Page

MAX_NEW_BARS = 1_024  # of one piece, to bound memory

Changes: TypeAlias = dict[Any, Any]  # component -> new value


class GenerateHandlers:
    """Handlers of everything that fills a player.

    Args:
        page: The components.
        composer: The default composer, shared by all users.
        chunk_cache: Audio chunks of all players.
    """

    def __init__(self, page: Page, composer: Composer, chunk_cache: ChunkCache) -> None:
        self.page, self.composer, self.chunk_cache = page, composer, chunk_cache

    def composer_of(self, session: Session) -> Composer:
        """Return the user's own composer or the default one."""
        return session.composer or self.composer

    def settings(self, values: Iterable[Any]) -> PageSettings:
        """Validate the values of the controls; an unlocked random seed does not count.

        Raises:
            SettingsError: A value is invalid.
        """
        named = dict(zip(self.page.controls, values, strict=True))
        if not named["locked"]:
            named["random_seed"] = None
        return from_values({name: parse_number(value) for name, value in named.items()})

    # ----------------------------------------------------------------------------------- composing

    def continue_once(self, session: Session, *values: Any) -> Iterator[Changes]:
        """Continue the prompt, or repeat the last job with the current settings."""
        yield from self._generate(session, values, session.start_point)

    def continue_four(self, session: Session, *values: Any) -> Iterator[Changes]:
        """Do the same with four takes."""
        yield from self._generate(session, values, session.start_point, count=len(LETTERS))

    def start_from_nothing(self, session: Session, *values: Any) -> Iterator[Changes]:
        """Compose without a prompt."""
        session.prompt, session.prompt_changed = NOTHING, True
        yield from self._generate(session, values, session.start_point)

    def extend(self, session: Session, *values: Any) -> Iterator[Changes]:
        """Extend the version on display."""
        yield from self._generate(session, values, session.end_of_version, prefix="more: ")

    def regenerate_from_bar(self, session: Session, bar: Any, *values: Any) -> Iterator[Changes]:
        """Compose the version on display again from a new bar, counted from 1."""
        number = parse_integer(bar)
        start = lambda: session.before_bar(number)  # noqa: E731
        yield from self._generate(session, values, start, prefix=f"from bar {number}: ")

    def _generate(
        self,
        session: Session,
        values: Iterable[Any],
        start_of: Callable[[], StartPoint],
        *,
        count: int = 1,
        prefix: str = "",
    ) -> Iterator[Changes]:
        settings = self.settings(values)
        yield {
            self.page.session: session,
            self.page.status: html.progress("Reading the prompt", 0, None),
            self.page.stop: gr.update(interactive=True),
        }
        with self._job(session) as job:
            job.endless = settings.endless
            start = start_of()
            bars = settings.new_bars if settings.endless else start.bars or settings.new_bars
            label = prefix + str(replace(settings, bars=min(bars, 64)))
            run = GenerationProgress(session, job, start, settings, count, bars, label)
            yield from self._compose(run)

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
        session.prompt_changed = False
        ranked = self._rank(run) if run.versions else {}
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
        if start.after is not None:
            check_same_model(start.after, composer)
            constraints = constraints_of(settings, composer=composer, after=start.after)
            return options | {"after": start.after, "constraints": constraints}
        prompt, selection = start.prompt.prompt, start.prompt.selection
        constraints = constraints_of(
            settings, composer=composer, prompt=prompt, selection=selection
        )
        prompt_options = {"prompt": prompt, "prompt_selection": selection}
        return options | prompt_options | {"constraints": constraints}

    def _apply_update(self, run: GenerationProgress, update: StreamUpdate) -> Changes:
        """Store an update in the session and return the changes of the page."""
        take, players = update.take, run.session.players
        changes: Changes = {
            self.page.takes[take].player: update.value,
            self.page.status: _progress_html(run),
        }
        updates = players[take].updates
        if updates is None or updates.stream != update.updates.stream:
            players[take] = players[take].cleared()
            run.shown.add(take)
            for hidden in range(run.count, len(LETTERS)):
                players[hidden] = players[hidden].cleared()
            changes |= self._captions(run) | self._swap_choices(update.piece)
        players[take].updates = update.updates
        if take < len(run.versions):
            players[take].version = run.versions[take]
        return changes

    def _captions(self, run: GenerationProgress) -> Changes:
        """Return one line above each player of the job; page.css hides players without one."""
        captions: Changes = {each.caption: "" for each in self.page.takes}
        for panel, number in zip(self.page.takes, run.versions, strict=False):
            version = run.session.history.version_of(number)
            captions[panel.caption] = html.caption(version, of_four=run.count > 1)
        return captions

    def _rank(self, run: GenerationProgress) -> Changes:
        """Order the takes by score and say why; remove collapsed ones if there are others."""
        session = run.session
        found = [self._assess(session, run.drafts[take]) for take in range(len(run.versions))]
        order = sorted(range(len(found)), key=lambda take: found[take].rank)
        kept = [take for take in order if not found[take].is_collapsed] or order
        removed = {*order} - {*kept}
        history = session.history.go_to(run.versions[kept[0]])
        session.history = history.without({run.versions[take] for take in removed})
        changes: Changes = {each.caption: "" for each in self.page.takes}
        for place, take in enumerate(kept, start=1):
            changes[self.page.takes[take].caption] = html.caption(
                session.history.version_of(run.versions[take]),
                of_four=len(kept) > 1,
                place=place,
                reasons=str(found[take]),
            )
        for take in removed:
            session.players[take] = session.players[take].cleared()
            changes[self.page.takes[take].player] = None  # it pauses
        return changes

    def _assess(self, session: Session, piece: Composition) -> Assessment:
        return self.composer_of(session).assess(piece, first_bar=first_bar_of(piece))

    def _apply_late_mixes(self, run: GenerationProgress) -> Iterator[Changes]:
        """Render takes again whose mix changed after their last chunk."""
        for take in range(len(run.versions)):
            before = run.mixes.get(take)
            mix, from_s = run.stream_options(take)
            if mix != before and not run.job.canceled.is_set():
                settings = run.job.sound_settings or run.settings
                yield from self._render_again(run.session, take, settings, from_s=from_s)

    # ------------------------------------------------------------------------------ other versions

    def show_version(
        self, session: Session, values: Iterable[Any], step: Callable[[History], History]
    ) -> Iterator[Changes]:
        """Change the history and show its current version on the first player."""
        settings = self.settings(values)
        with self._job(session) as job:
            session.history = step(session.history)
            yield from self._show(session, settings, job)

    def reproduce(
        self, session: Session, recipe: Recipe, values: Iterable[Any]
    ) -> Iterator[Changes]:
        """Compose a piece again from its recipe; an uploaded prompt must be in the session."""
        settings = self.settings(values)
        with self._job(session) as job:
            uploaded = session.prompt.prompt if isinstance(session.prompt.prompt, bytes) else None
            piece = self.composer_of(session).reproduce(recipe, prompt=uploaded)
            prompt, session.pending_recipe = prompt_of_recipe(recipe, session.prompt), None
            session.history = session.history.add(piece, label="from a link", title=prompt.title)
            assert session.history.current is not None
            session.set_start_point(session.history.current, StartPoint(prompt))
            yield from self._show(session, settings, job)

    def _show(
        self, session: Session, settings: PageSettings, job: GenerationJob
    ) -> Iterator[Changes]:
        version = session.history.version
        if version is None:
            raise ScoreError(NO_PIECE)
        session.prompt_changed = False
        session.players = [each.cleared() for each in session.players]
        first, error = session.players[0], ""
        first.version = version.number
        changes: Changes = {each.caption: "" for each in self.page.takes}
        reasons = str(self._assess(session, version.piece))
        changes[self.page.takes[0].caption] = html.caption(version, reasons=reasons)
        changes |= self._swap_choices(version.piece)
        stream: Any = show_piece(version.piece, cache=self.chunk_cache, mix=mix_of(settings))
        with closing(stream) as updates:
            for update in updates:
                first.updates = update.updates
                error = update.error or error
                yield changes | {self.page.takes[0].player: update.value}
                changes = {}
                if job.canceled.is_set():
                    return
        yield self.idle_state(session, error=error)
        if first.muted or job.sound_settings:  # changed while it was rendered
            settings = job.sound_settings or settings
            yield from self._render_again(session, 0, settings, from_s=first.from_s)

    def _swap_choices(self, piece: Composition) -> Changes:
        """Offer the pitched instruments of a new piece for replacement, none chosen."""
        return {self.page.swap_old: gr.update(choices=_pitched_instruments(piece), value=None)}

    # --------------------------------------------------------------------------------- another mix

    def remix(self, session: Session, positions: str | None, *values: Any) -> Iterator[Changes]:
        """Render the pieces on display with the current sound settings.

        Args:
            session: Of the user.
            positions: Playback position of each player in seconds, separated by spaces.
            values: Of the controls.
        """
        settings = self.settings(values)
        for player, position in zip(session.players, (positions or "").split(), strict=False):
            player.from_s = parse_seconds(parse_number(position))
        if (job := session.job) is not None:  # it renders the rest with the new mix
            job.sound_settings = settings
            job.mix_changed.set()
            return
        for take, player in enumerate(session.players):
            yield from self._render_again(session, take, settings, from_s=player.from_s)

    def mute(
        self, take: int, session: Session, values: Iterable[Any], data: dict[str, Any]
    ) -> Iterator[Changes]:
        """Mute programs of a take; a running job does so at its next bar."""
        settings = self.settings(values)
        mix = mix_of(settings, muted=parse_programs(data.get("muted")))
        player = session.players[take]
        player.muted = tuple(sorted(mix.muted))
        player.from_s = parse_seconds(data.get("position_s"))
        if (job := session.job) is not None:
            job.mix_changed.set()
            return
        yield from self._render_again(session, take, settings, from_s=player.from_s)

    def _render_again(
        self, session: Session, take: int, settings: PageSettings, *, from_s: float
    ) -> Iterator[Changes]:
        """Render a player's piece until a newer rendering starts."""
        player = session.players[take]
        if player.version is None or player.updates is None:
            return
        player.revision += 1
        revision, piece = player.revision, session.history.version_of(player.version).piece
        mix = mix_of(settings, muted=player.muted)
        stream: Any = replay(piece, updates=player.updates, mix=mix, from_s=from_s)
        with closing(stream) as updates:
            for update in updates:
                if session.players[take] is not player or player.revision != revision:
                    return
                player.updates = update.updates
                yield {self.page.takes[take].player: update.value}

    # ---------------------------------------------------------------------------------- idle state

    def idle_state(self, session: Session, *, error: str = "") -> Changes:
        """Return what the page shows while no job runs."""
        page, history = self.page, session.history
        version = history.version
        of_four = sum(player.version is not None for player in session.players) > 1
        changes: Changes = {
            page.status: html.result(version, of_four=of_four, error=error),
            page.stop: gr.update(interactive=False),
            page.result.undo: gr.update(interactive=history.can_undo),
            page.result.redo: gr.update(interactive=history.can_redo),
            page.result.history: html.history(history),
        }
        if version is not None:
            piece = version.piece
            changes |= {
                page.swap_old: gr.update(choices=_pitched_instruments(piece)),
                page.result.link_code: link_of(piece) or "",
                page.controls["random_seed"]: str(piece.sampling.seed),
            }
        return changes


def _progress_html(run: GenerationProgress) -> str:
    action = "Composing" if run.count == 1 else f"Composing {run.count} takes"
    return html.progress(action, run.bars_done, run.bars_in_all, run.seconds_left)


def _pitched_instruments(piece: Composition) -> list[tuple[str, int]]:
    return html.instruments(track.program for track in piece.score.tracks if not track.is_drum)
