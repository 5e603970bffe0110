"""Event listeners: which event calls which handler, with which inputs, outputs and concurrency."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gradio as gr

from musiclstm import Composer
from musiclstm.midi import ACCEPT
from page.playback.chunk_cache import ChunkCache
from page.playback.player import switch_to
from page.server.gradio_private import event_data
from page.server.model_registry import ModelRegistry
from page.session.session import Session
from page.ui import html
from page.ui.errors import event_handler
from page.ui.generate_handlers import Changes, GenerateHandlers
from page.ui.history_handlers import HistoryHandlers
from page.ui.layout import Page
from page.ui.prompt_handlers import PromptHandlers

# Two jobs at a time per id: more would share the same processor. Events that carry data use
# "multiple", because "always_last" repeats the data of an earlier event.
_PUBLIC: dict[str, Any] = {"api_visibility": "undocumented"}  # see api.py for the documented API
_WORK: dict[str, Any] = {"concurrency_id": "work", "trigger_mode": "multiple", **_PUBLIC}
_QUICK: dict[str, Any] = {"show_progress": "hidden", "concurrency_id": "quick", **_PUBLIC}
_SOUND: dict[str, Any] = {"concurrency_id": "sound", "concurrency_limit": 2}
_HIDDEN: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}

_IN_ORDER: dict[str, Any] = {"trigger_mode": "multiple", "concurrency_limit": 1, **_HIDDEN}

_PAUSE_ALL = (
    "(...all) => { window.musiclstm?.players.forEach((each) => each.pause()); return all; }"
)
_LINK = "(code) => code ? `${location.origin}${location.pathname}?recipe=${code}` : ''"
_RECIPE = "() => new URLSearchParams(location.search).get('recipe') ?? ''"
# Pressing the field opens its dialog; Gradio makes another field after each file.
_ACCEPT_MIDI = """() => {
  const field = () => document.querySelector("#drop input[type=file]");
  const set = () => field()?.setAttribute("accept", "ACCEPT");
  addEventListener("click", set, { capture: true });
  set();
}""".replace("ACCEPT", ACCEPT)
_POSITIONS = """(session, positions, ...values) => {
  const players = window.musiclstm?.players ?? new Map();
  const frames = %s.map((id) => players.get(id)?.sound.position ?? 0);
  return [session, frames.map((frame) => frame / 44100).join(" "), ...values];
}"""
_DOWNLOAD = """(file) => {
  const link = document.createElement("a");
  Object.assign(link, { href: file.url, download: file.orig_name ?? "" });
  document.body.append(link);
  link.click();
  link.remove();
}"""


class EventListeners:
    """The events of a page.

    Args:
        page: The components.
        composer: The default composer.
        chunk_cache: Audio chunks of all players.
    """

    def __init__(self, page: Page, composer: Composer, chunk_cache: ChunkCache) -> None:
        self.page = page
        self.models = ModelRegistry(composer)
        self.generate = GenerateHandlers(page, composer, chunk_cache)
        self.prompt = PromptHandlers(page, chunk_cache, self.generate)
        self.history = HistoryHandlers(self.generate)
        self.controls = list(page.controls.values())
        self.inputs = [page.session, *self.controls]
        result, panel = page.result, page.prompt
        self.job_outputs: list[Any] = [
            page.session,
            page.status,
            page.stop,
            *(part for take in page.takes for part in (take.caption, take.player)),
            page.swap_old,
            page.controls["random_seed"],
            *(result.history, result.link_code, result.undo, result.redo),
        ]
        self.prompt_outputs: list[Any] = [
            *(panel.cards, panel.upload, panel.summary, panel.roll),
            *panel.selection,
            page.recipe,
        ]

    def connect(self, demo: gr.Blocks) -> None:
        """Register all listeners; call it within `gr.Blocks`."""
        demo.load(None, None, self.page.recipe, js=_RECIPE, api_visibility="private")
        demo.load(None, js=_ACCEPT_MIDI, api_visibility="private")
        self._connect_jobs()
        self._connect_prompt()
        self._connect_players()
        self._connect_sound()
        self._connect_history()
        self._connect_links()
        self._connect_models()

    def _connect_jobs(self) -> None:
        page, generate = self.page, self.generate
        from_bar = [page.session, page.result.bar, *self.controls]
        self._on_job(page.continue_once.click, generate.continue_once, self.inputs, "compose")
        self._on_job(page.continue_four.click, generate.continue_four, self.inputs, "takes")
        self._on_job(page.result.extend.click, generate.extend, self.inputs, "extend")
        self._on_job(page.result.regenerate.click, generate.regenerate_from_bar, from_bar, "anew")
        chosen = page.prompt.cards.surprise(
            event_handler(self.prompt.choose_nothing), page.session, self.prompt_outputs, **_HIDDEN
        )
        self._on_job(chosen.then, generate.start_from_nothing, self.inputs, "surprise")
        stop = event_handler(Session.stop_job)
        page.stop.click(stop, page.session, None, api_name="stop", queue=False, **_PUBLIC)
        page.controls["random_seed"].input(  # a number that the user enters should be used
            event_handler(lambda: True), None, page.controls["locked"], queue=False, **_HIDDEN
        )

    def _on_job(
        self, trigger: Any, handler: Callable[..., Any], inputs: list[Any], name: str
    ) -> None:
        """Connect a job; pressing its button cancels the running job at once."""
        page = self.page
        if name != "surprise":
            cancel = event_handler(Session.cancel_job)
            trigger(cancel, page.session, None, queue=False, **_HIDDEN)
        # Gradio shows the position in the queue on the status line.
        progress: dict[str, Any] = {"show_progress": "full", "show_progress_on": page.status}
        run = trigger(
            event_handler(handler), inputs, self.job_outputs, api_name=name, **progress, **_WORK
        )
        self._on_failure(run)

    def _on_failure(self, run: Any) -> None:
        idle_state = event_handler(self.generate.idle_state)
        run.failure(idle_state, self.page.session, self.job_outputs, **_HIDDEN)

    def _connect_prompt(self) -> None:
        panel, prompt, session = self.page.prompt, self.prompt, self.page.session

        def choose(session: Session, event: gr.EventData) -> Changes:
            return prompt.choose_tune(session, str(event_data(event).get("title", "")))

        def select_bars(
            session: Session, tracks: list[int], keep_others: bool, event: gr.EventData
        ) -> Changes:
            return prompt.select_bars(session, tracks, keep_others, event_data(event))

        def preview(session: Session, event: gr.EventData, *values: Any) -> Iterator[Changes]:
            yield from prompt.preview(session, values, event_data(event))

        panel.cards.choose(
            event_handler(choose), session, self.prompt_outputs, api_name="choose", **_QUICK
        )
        upload = panel.upload.upload(
            event_handler(prompt.upload), [session, panel.upload], self.prompt_outputs,
            api_name="drop", **_QUICK,
        )  # fmt: skip
        upload.failure(event_handler(prompt.clear_upload), None, panel.upload, **_HIDDEN)
        panel.roll.bars(
            event_handler(select_bars), [session, panel.tracks, panel.keep_others],
            [panel.summary, panel.first_bar, panel.last_bar], **_IN_ORDER,
        )  # fmt: skip
        panel.roll.listen(
            event_handler(preview), self.inputs, panel.roll, trigger_mode="multiple", **_SOUND,
            **_HIDDEN,
        )  # fmt: skip
        gr.on(
            [each.input for each in panel.selection], event_handler(prompt.select),
            [session, *panel.selection], [panel.summary, panel.roll],
            api_name="part", trigger_mode="always_last", **_QUICK,
        )  # fmt: skip

    def _connect_players(self) -> None:
        page = self.page
        for take, panel in enumerate(page.takes):
            panel.player.mute(
                event_handler(self._mute(take)), self.inputs, panel.player,
                trigger_mode="multiple", **_SOUND, **_HIDDEN,
            )  # fmt: skip
            panel.switch.click(None, js=switch_to(str(panel.player.elem_id)))

        def select_bar(session: Session, event: gr.EventData) -> Changes:
            return self.history.select_bar(session, event_data(event))

        page.takes[0].player.bars(
            event_handler(select_bar), page.session, page.result.bar, **_IN_ORDER,
        )  # fmt: skip

    def _mute(self, take: int) -> Callable[..., Any]:
        def mute(session: Session, event: gr.EventData, *values: Any) -> Iterator[Changes]:
            yield from self.generate.mute(take, session, values, event_data(event))

        return mute

    def _connect_sound(self) -> None:
        page, controls = self.page, self.page.controls
        players = [panel.player for panel in page.takes]
        inputs = [page.session, page.positions, *self.controls]
        js = _POSITIONS % [str(player.elem_id) for player in players]
        options: dict[str, Any] = {"trigger_mode": "always_last", "js": js, **_SOUND, **_HIDDEN}
        events = [controls[name].change for name in ("reverb", "chorus", "gain_db")]
        remix = event_handler(self.generate.remix)
        gr.on([*events, controls["soundfont"].input], remix, inputs, players, **options)

        def swap(swaps: dict[str, int], old: int | None, new: int) -> Changes:
            return {controls["swaps"]: with_swap(swaps, old, new)}

        swapped = page.swap_new.input(
            event_handler(swap), [controls["swaps"], page.swap_old, page.swap_new],
            controls["swaps"], queue=False, **_HIDDEN,
        )  # fmt: skip
        swapped.then(remix, inputs, players, **options)

    def _connect_history(self) -> None:
        page, result, history = self.page, self.page.result, self.history
        # Players that the version hides must not play on.
        options: dict[str, Any] = {"js": _PAUSE_ALL, "show_progress": "hidden", **_WORK}

        def connect(trigger: Any, handler: Callable[..., Any], name: str) -> None:
            trigger(handler, self.inputs, self.job_outputs, api_name=name, **options)

        def go_to(session: Session, event: gr.EventData, *values: Any) -> Iterator[Changes]:
            yield from history.go_to(event_data(event).get("number"), session, *values)

        connect(result.undo.click, event_handler(history.undo), "undo")
        connect(result.redo.click, event_handler(history.redo), "redo")
        connect(result.history.choose, event_handler(go_to), "go_to")
        for take, panel in enumerate(page.takes):
            keep = partial(event_handler(history.keep), take)
            connect(panel.keep.click, keep, f"keep_{'abcd'[take]}")
        for kind, button in result.downloads.items():
            made = button.click(
                partial(event_handler(history.download), kind), self.inputs, result.file,
                api_name=f"file_{kind}", show_progress="minimal", show_progress_on=button,
                concurrency_id="files", concurrency_limit=2, **_PUBLIC,
            )  # fmt: skip
            made.success(None, result.file, None, js=_DOWNLOAD)

    def _connect_links(self) -> None:
        page = self.page
        page.result.link_code.change(None, page.result.link_code, page.result.link, js=_LINK)
        inputs = [page.session, page.recipe, *self.controls]
        outputs = [*dict.fromkeys([*self.job_outputs, *self.prompt_outputs, *self.controls])]
        run = page.recipe.change(
            event_handler(self.prompt.reproduce), inputs, outputs, api_name="follow",
            show_progress="full", show_progress_on=page.status, **_WORK,
        )  # fmt: skip
        self._on_failure(run)

    def _connect_models(self) -> None:
        page = self.page
        if page.model_name is not None and page.model_load is not None:
            gr.on(
                [page.model_load.click, page.model_name.submit], event_handler(self.load_model),
                [page.session, page.model_name], page.model_card, api_visibility="private",
                concurrency_id="models", concurrency_limit=1,
            )  # fmt: skip

    def load_model(self, session: Session, name: str) -> str:
        """Load a model for this user and return its facts as HTML."""
        session.composer = self.models.get(name)
        session.prompt_changed = True
        return html.model_summary(session.composer)


def with_swap(swaps: dict[str, int], old: int | None, new: int) -> dict[str, int]:
    """Return swapped instruments with one more; -1 removes the swap of `old`."""
    kept = {program: other for program, other in swaps.items() if program != str(old)}
    return kept if old is None or new < 0 else kept | {str(old): new}
