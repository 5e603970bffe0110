"""What happens after a press: the composer runs, bar by bar, and the page is told.

Handlers give dictionaries of components and what they become. Which event calls which stands in
wiring.py; what was asked for, heard and kept is worked out in steering.py, hearing.py and visit.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

import gradio as gr

from musiclstm import Composer, Composition, Recipe, ScoreError
from page.downloads import link_of
from page.playback.chunk_cache import ChunkCache
from page.playback.stream import StreamUpdate, replay, show_piece, stream_piece, stream_pieces
from page.session.history import LETTERS, History, Version
from page.session.job import (
    GenerationProgress,
    check_model,
    closing_after,
    stop_when_done,
    throttle_to_playback,
)
from page.session.prompt import NOTHING
from page.session.session import GenerationJob, PlayerState, Session, StartPoint, prompt_of_recipe
from page.session.settings import (
    PageSettings,
    constraints_of,
    from_values,
    mix_of,
    sampling_of,
    surprise_of,
)
from page.ui import html
from page.ui.errors import show_errors_to_user
from page.ui.input_parsing import parse_number, parse_programs, parse_seconds
from page.ui.layout import Page

MOST_BARS_IN_ALL = 1_024  # of one piece; longer ones only cost memory

Changes: TypeAlias = dict[Any, Any]  # component -> what it becomes


class GenerateHandlers:
    """The handlers of everything that fills a player.

    Args:
        page: Its components.
        composer: Who composes, shared by all visitors.
        shelf: Where the sound lies, likewise.
    """

    def __init__(self, page: Page, composer: Composer, shelf: ChunkCache) -> None:
        self.page, self.composer, self.shelf = page, composer, shelf

    # ------------------------------------------------------------------------------- the presses

    def go(self, desk: Session, *values: Any) -> Iterator[Changes]:
        """Go on from the seed, or try again what was done last."""
        yield from self._run(desk, values, desk.origin)

    def four(self, desk: Session, *values: Any) -> Iterator[Changes]:
        """The same, four takes at once."""
        yield from self._run(desk, values, desk.origin, count=len(LETTERS))

    def surprise(self, desk: Session, *values: Any) -> Iterator[Changes]:
        """Begin from nothing."""
        desk.seed, desk.fresh = NOTHING, True
        yield from self._run(desk, values, desk.origin)

    def on(self, desk: Session, *values: Any) -> Iterator[Changes]:
        """Go on from the end of what is shown."""
        yield from self._run(desk, values, desk.origin_on, prefix="more: ")

    def anew(self, desk: Session, bar: Any, *values: Any) -> Iterator[Changes]:
        """Compose what is shown again from a new bar on, counted from 1."""
        number = bar if isinstance(bar, int) else 0
        prefix = f"from bar {number}: "
        yield from self._run(desk, values, lambda: desk.origin_from_bar(number), prefix=prefix)

    def settings(self, values: Iterable[Any]) -> PageSettings:
        """What the controls say; a random seed counts only where it is locked.

        Raises:
            SettingsError: A control says what it cannot.
        """
        said = dict(zip(self.page.controls, values, strict=True))
        if not said["locked"]:
            said["random_seed"] = None
        return from_values({name: parse_number(value) for name, value in said.items()})

    def _run(
        self,
        desk: Session,
        values: Iterable[Any],
        origin_of: Callable[[], StartPoint],
        *,
        count: int = 1,
        prefix: str = "",
    ) -> Iterator[Changes]:
        with show_errors_to_user():
            settings = self.settings(values)
            yield {
                self.page.desk: desk,
                self.page.status: html.progress("Listening to the seed", 0, None),
                self.page.stop: gr.update(interactive=True),
            }
            with self._turn(desk) as press:
                press.endless = settings.endless
                origin = origin_of()
                bars = settings.new_bars if settings.endless else origin.bars or settings.new_bars
                what = prefix + str(replace(settings, bars=min(bars, 64)))
                run = GenerationProgress(desk, press, origin, settings, count, bars, what)
                yield from self._compose(run)

    @contextmanager
    def _turn(self, desk: Session) -> Iterator[GenerationJob]:
        press = desk.begin()
        try:
            yield press
        finally:
            desk.end()

    def _compose(self, run: GenerationProgress) -> Iterator[Changes]:
        with closing_after(self._updates(run)) as updates:
            for update in updates:
                run.keep(update)
                yield self._told(run, update)
                if run.press.left.is_set():
                    return
                if run.press.aborted:
                    break
        run.desk.fresh = False
        if run.numbers:
            run.desk.history = run.desk.history.go_to(run.numbers[0])
        yield self.rest(run.desk, trouble=" ".join(filter(None, (run.trouble, run.press.reason))))
        yield from self._late(run)

    def _late(self, run: GenerationProgress) -> Iterator[Changes]:
        """What was to sound otherwise when all of it was played already."""
        for take in range(len(run.numbers)):
            before = run.sounding.get(take)
            mix, from_s = run.wanted(take)
            if mix != before and not run.press.left.is_set():
                settings = run.press.sound or run.settings
                yield from self._sound(run.desk, take, settings, from_s=from_s)

    def _updates(self, run: GenerationProgress) -> Any:
        """The takes as they are heard; closing it frees the synthesizer."""
        common: dict[str, Any] = {"cache": self.shelf, "mix": mix_of(run.settings)}
        common |= {"planned_bars": run.planned, "options": run.wanted}
        if run.count > 1:
            takes = self.composer_of(run.desk).stream_many(run.count, **self._asked(run))
            return stream_pieces(stop_when_done(takes, run.press), count=run.count, **common)
        drafts = self.composer_of(run.desk).stream(**self._asked(run))
        if run.settings.endless:
            drafts = throttle_to_playback(drafts, run.press)
        return stream_piece(stop_when_done(drafts, run.press), **common)

    def composer_of(self, desk: Session) -> Composer:
        """The visitor's own, or everybody's."""
        return desk.composer or self.composer

    def _asked(self, run: GenerationProgress) -> dict[str, Any]:
        """What the composer is asked for."""
        composer, settings, origin = self.composer_of(run.desk), run.settings, run.origin
        if run.base + run.bars > MOST_BARS_IN_ALL:
            raise ScoreError(
                f"A piece has at most {MOST_BARS_IN_ALL:,} new bars on this page, and this would "
                f"make {run.base + run.bars:,}; go on from an earlier bar."
            )
        begin: dict[str, Any] = {"prompt": origin.seed.prompt, "selection": origin.seed.selection}
        if origin.after is not None:
            check_model(origin.after, composer)
            begin = {"after": origin.after}
        keep = constraints_of(settings, composer=composer, **begin)
        if "selection" in begin:
            begin["prompt_selection"] = begin.pop("selection")
        how = {"sampling": sampling_of(settings), "surprise": surprise_of(settings)}
        return {"bars": run.bars, "constraints": keep, **begin, **how}

    def _told(self, run: GenerationProgress, update: StreamUpdate) -> Changes:
        """What a draft changes on the page."""
        player = run.desk.players[update.take]
        changes: Changes = {
            self.page.takes[update.take].player: update.value,
            self.page.status: _progress_of(run),
        }
        if player.broadcast is None or player.broadcast.stream != update.updates.stream:
            run.desk.players[update.take] = player = PlayerState(turn=player.turn + 1)
            run.begun.add(update.take)
            for hidden in range(run.count, len(LETTERS)):
                run.desk.players[hidden] = PlayerState(turn=run.desk.players[hidden].turn + 1)
            changes |= self._captions(run) | self._unexchanged(update.piece)
        player.broadcast = update.updates
        if update.take < len(run.numbers):
            player.number = run.numbers[update.take]
        return changes

    def _captions(self, run: GenerationProgress) -> Changes:
        """One line above every player that has something; the others hide."""
        history, said = run.desk.history, []
        for take in range(len(LETTERS)):
            known = take < len(run.numbers)
            version = history.version_of(run.numbers[take]) if known else None
            said.append(html.caption(version, of_four=run.count > 1) if version else "")
        return {each.caption: text for each, text in zip(self.page.takes, said, strict=True)}

    # ---------------------------------------------------------------------------- other music

    def show(
        self,
        desk: Session,
        values: Iterable[Any],
        step: Callable[[History], History],
    ) -> Iterator[Changes]:
        """Go through the history, and put what is current then on the first player, alone."""
        settings = self.settings(values)
        with self._turn(desk) as press:
            desk.history = step(desk.history)
            yield from self._show(desk, settings, press)

    def reproduce(self, desk: Session, recipe: Recipe, values: Iterable[Any]) -> Iterator[Changes]:
        """Make a piece again from its recipe; one that goes on from a file takes the seed's."""
        settings = self.settings(values)
        with self._turn(desk) as press:
            prompt = desk.seed.prompt if isinstance(desk.seed.prompt, bytes) else None
            piece = self.composer_of(desk).reproduce(recipe, prompt=prompt)
            seed, desk.waiting = prompt_of_recipe(recipe, desk.seed), None
            desk.history = desk.history.add(
                piece, what="from a link", title=seed.title, settings=settings
            )
            assert desk.history.current is not None
            desk.remember(desk.history.current, StartPoint(seed))
            yield from self._show(desk, settings, press)

    def _show(
        self, desk: Session, settings: PageSettings, press: GenerationJob
    ) -> Iterator[Changes]:
        version = desk.history.version
        if version is None:
            raise ScoreError("There is no piece yet; press Continue first.")
        desk.fresh = False
        desk.players = [PlayerState(turn=each.turn + 1) for each in desk.players]
        desk.players[0].number = version.number
        trouble, changes = "", self._alone(version)
        with closing_after(
            show_piece(version.piece, cache=self.shelf, mix=mix_of(settings))
        ) as updates:
            for update in updates:
                desk.players[0].broadcast = update.updates
                trouble = update.error or trouble
                yield changes | {self.page.takes[0].player: update.value}
                changes = {}
                if press.left.is_set():
                    return
        yield self.rest(desk, trouble=trouble)
        if desk.players[0].muted or press.sound:  # pressed meanwhile
            from_s = desk.players[0].from_s
            yield from self._sound(desk, 0, press.sound or settings, from_s=from_s)

    def _alone(self, version: Version) -> Changes:
        captions = {each.caption: "" for each in self.page.takes}
        captions[self.page.takes[0].caption] = html.caption(version)
        return captions | self._unexchanged(version.piece)

    def _unexchanged(self, piece: Composition) -> Changes:
        """A new piece: no instrument of it is chosen yet."""
        return {self.page.swap_old: gr.update(choices=_exchangeable(piece), value=None)}

    # ----------------------------------------------------------------------- the same, otherwise

    def remix(self, desk: Session, places: str, *values: Any) -> Iterator[Changes]:
        """Play all that is shown with the sound that the controls ask for.

        Args:
            desk: Of the visitor.
            places: Where the listener is on each player, in seconds.
            values: What the controls say.
        """
        with show_errors_to_user():
            settings = self.settings(values)
            for player, place in zip(desk.players, places.split(), strict=False):
                player.from_s = parse_seconds(parse_number(place))
            if (press := desk.press) is not None:
                press.sound = settings
                press.changed.set()
            else:
                for take, player in enumerate(desk.players):
                    yield from self._sound(desk, take, settings, from_s=player.from_s)

    def mute(
        self, take: int, desk: Session, values: Iterable[Any], data: dict[str, Any]
    ) -> Iterator[Changes]:
        """Make instruments of a take silent; while it is composed, at its next bar."""
        with show_errors_to_user():
            settings = self.settings(values)
            mix = mix_of(settings, muted=parse_programs(data.get("muted")))
            player = desk.players[take]
            player.muted = tuple(sorted(mix.muted))
            player.from_s = parse_seconds(data.get("position_s"))
            if (press := desk.press) is not None:
                press.changed.set()
            else:
                yield from self._sound(desk, take, settings, from_s=player.from_s)
        yield {}

    def _sound(
        self, desk: Session, take: int, settings: PageSettings, *, from_s: float = 0.0
    ) -> Iterator[Changes]:
        """New sound for a player, unless it is overtaken by newer."""
        player = desk.players[take]
        if player.number is None or player.broadcast is None:
            return
        player.turn += 1
        turn, piece = player.turn, desk.history.version_of(player.number).piece
        mix = mix_of(settings, muted=player.muted)
        with closing_after(
            replay(piece, updates=player.broadcast, mix=mix, from_s=from_s)
        ) as updates:
            for update in updates:
                if desk.players[take] is not player or player.turn != turn:
                    return
                player.broadcast = update.updates
                yield {self.page.takes[take].player: update.value}

    # --------------------------------------------------------------------------------- at rest

    def rest(self, desk: Session, *, trouble: str = "") -> Changes:
        """What the page says when nothing runs."""
        page, history = self.page, desk.history
        version, of_four = history.version, desk.players[1].number is not None
        changes: Changes = {
            page.status: html.done(version, of_four=of_four, trouble=trouble),
            page.stop: gr.update(interactive=False),
            page.after.undo: gr.update(interactive=history.can_undo),
            page.after.redo: gr.update(interactive=history.can_redo),
            page.after.history: html.history(history),
        }
        if version is not None:
            changes |= self._facts(version)
        return changes

    def _facts(self, version: Version) -> Changes:
        page, piece = self.page, version.piece
        return {
            page.swap_old: gr.update(choices=_exchangeable(piece)),
            page.after.link_code: link_of(piece) or "",
            page.controls["random_seed"]: str(piece.sampling.seed),
        }


def _progress_of(run: GenerationProgress) -> str:
    doing = "Composing" if run.count == 1 else f"Composing {run.count} takes"
    return html.progress(doing, run.bars_done, run.bars_in_all, run.seconds_left)


def _exchangeable(piece: Composition) -> list[tuple[str, int]]:
    """The instruments that could sound as others."""
    pitched = [track for track in piece.score.tracks if not track.is_drum]
    return html.instruments(track.program for track in pitched)
