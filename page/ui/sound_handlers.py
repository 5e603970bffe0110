"""Handlers that render what the players show: on request, and in another mix."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import Any, TypeAlias

from musiclstm import RenderError
from page.playback.audio_chunks import SAMPLE_RATE_HZ
from page.playback.chunk_cache import ChunkCache
from page.playback.stream import replay
from page.playback.updates import PlayerUpdates
from page.session.composer_options import mix_of
from page.session.session import Session
from page.session.settings import PageSettings, from_values
from page.ui.input_parsing import parse_number, parse_seconds, parse_tracks
from page.ui.layout import Page

Changes: TypeAlias = dict[Any, Any]  # component -> new value


class SoundHandlers:
    """Handlers of the players and of the sound settings.

    Args:
        page: The components.
        chunk_cache: Audio chunks of all players.
    """

    def __init__(self, page: Page, chunk_cache: ChunkCache) -> None:
        self.page, self.chunk_cache = page, chunk_cache

    def settings(self, values: Iterable[Any]) -> PageSettings:
        """Validate the values of the controls.

        Raises:
            SettingsError: A value is invalid.
        """
        named = zip(self.page.controls, values, strict=True)
        return from_values({name: parse_number(value) for name, value in named})

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
            if player.updates is not None and player.updates.has_audio:  # else it is on request
                yield from self.render_again(session, take, settings, from_s=player.from_s)

    def mute(
        self, take: int, session: Session, values: Iterable[Any], data: dict[str, Any]
    ) -> Iterator[Changes]:
        """Mute tracks of a take; a running job does so at its next bar."""
        settings, player = self.settings(values), session.players[take]
        player.muted = tuple(sorted({*parse_tracks(data.get("muted"))}))
        player.from_s = parse_seconds(data.get("position_s"))
        if (job := session.job) is not None:
            job.mix_changed.set()
        elif player.updates is not None and player.updates.has_audio:
            yield from self.render_again(session, take, settings, from_s=player.from_s)

    def listen(
        self, take: int, session: Session, values: Iterable[Any], data: dict[str, Any]
    ) -> Iterator[Changes]:
        """Render from a position at which there is no audio."""
        settings, from_s = self.settings(values), parse_seconds(data.get("position_s"))
        error = yield from self.render_again(session, take, settings, from_s=from_s)
        if error:
            raise RenderError(error)

    def render_again(
        self, session: Session, take: int, settings: PageSettings, *, from_s: float
    ) -> Generator[Changes, None, str]:
        """Render a player's piece until a newer rendering starts.

        Returns:
            Why there is no sound; empty if there is.
        """
        player = session.players[take]
        if player.version is None:
            return ""
        player.revision += 1
        revision = player.revision
        view = session.history.version_of(player.version).view
        if player.updates is None:  # it shows the layout's prompt, a stream of all sessions
            cue_frame = round(from_s * SAMPLE_RATE_HZ)
            player.updates = PlayerUpdates(self.chunk_cache, cue_frame=cue_frame)
        mix = mix_of(settings, muted=player.muted)
        error, stream = "", replay(view, updates=player.updates, mix=mix, from_s=from_s)
        with closing(stream) as updates:
            for update in updates:
                if session.players[take] is not player or player.revision != revision:
                    return ""
                player.updates, error = update.updates, update.error or error
                yield {self.page.players[take]: update.value}
        return error
