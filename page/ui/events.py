"""Event listeners: which event calls which handler, with which inputs, outputs and concurrency."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gradio as gr

from musiclstm import Composer
from musiclstm.midi import ACCEPT
from page.playback.chunk_cache import ChunkCache
from page.server.gradio_private import event_data
from page.server.model_registry import ModelRegistry
from page.session.session import Session
from page.ui import html
from page.ui.errors import event_handler
from page.ui.generate_handlers import GenerateHandlers
from page.ui.history_handlers import HistoryHandlers
from page.ui.layout import Page
from page.ui.prompt_handlers import PromptHandlers
from page.ui.sound_handlers import Changes, SoundHandlers

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
# A press shows at once, before the server answers.
_BUSY = "(...all) => { document.querySelector('#actions')?.classList.add('busy'); return all; }"
_READY = "() => { document.querySelector('#actions')?.classList.remove('busy'); }"
_LINK = "(code) => code ? `${location.origin}${location.pathname}?recipe=${code}` : ''"
_RECIPE = """() => {
  const code = new URLSearchParams(location.search).get("recipe");
  return code ? code + location.hash : "";
}"""
_DIE = "() => String(crypto.getRandomValues(new Uint32Array(1))[0])"
# Counts the controls of a drawer that differ from their defaults.
_COUNT = """(...values) => {
  const text = (value) => (value == null || value.length === 0 ? "" : JSON.stringify(value));
  const count = values.filter((value, i) => text(value) !== text(DEFAULTS[i])).length;
  return [{ label: count ? `TITLE (${count} changed)` : "TITLE", __type__: "update" }];
}"""
# Pressing the field opens its dialog; Gradio makes another field after each file.
_ACCEPT_MIDI = """() => {
  const field = () => document.querySelector("#drop input[type=file]");
  const set = () => field()?.setAttribute("accept", "ACCEPT");
  addEventListener("click", set, { capture: true });
  set();
  const over = (isOver) => document.querySelector("#begin")?.classList.toggle("over", isOver);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  addEventListener("dragleave", (event) => event.relatedTarget ?? over(false));
  addEventListener("drop", (event) => {
    over(false);
    if (!event.isTrusted || event.target.closest("#drop")) return;
    event.preventDefault();
    const { dataTransfer } = event;
    document.querySelector("#drop button")?.dispatchEvent(new DragEvent("drop", { dataTransfer }));
  });
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
        self.sound = SoundHandlers(page, chunk_cache)
        self.generate = GenerateHandlers(page, composer, chunk_cache, self.sound)
        self.prompt = PromptHandlers(page, self.generate)
        self.history = HistoryHandlers(self.generate)
        self.controls = list(page.controls.values())
        self.inputs = [page.session, *self.controls]
        panel, actions, result = page.prompt, page.actions, page.result
        self.job_outputs: list[Any] = [
            *(page.session, page.status, *page.players, page.strips, panel.about),
            *(actions.stop, actions.again, actions.undo, actions.redo),
            *(actions.chosen, actions.parts, page.forms.kept, page.swap_old),
            *(result.history, result.link_code, result.link_note),
        ]
        self.prompt_outputs: list[Any] = [
            *self.job_outputs, panel.example, panel.upload, *panel.selection, page.recipe
        ]  # fmt: skip

    def connect(self, demo: gr.Blocks) -> None:
        """Register all listeners; call it within `gr.Blocks`."""
        page = self.page
        demo.load(None, None, page.recipe, js=_RECIPE, api_visibility="private")
        demo.load(None, js=_ACCEPT_MIDI, api_visibility="private")
        self._connect_jobs()
        self._connect_prompt()
        self._connect_players()
        self._connect_sound()
        self._connect_history()
        self._connect_links()
        self._connect_drawers()
        self._connect_models()

    def _connect_jobs(self) -> None:
        page, generate, actions, forms = (
            self.page,
            self.generate,
            self.page.actions,
            self.page.forms,
        )
        form = [forms.band, forms.key, forms.meter, forms.tempo]
        for button, handler, own, name in (
            (actions.append, generate.append, [], "compose"),
            (actions.four, generate.offer, [], "takes"),
            (actions.again, generate.again, [], "again"),
            (actions.redo_from, generate.redo_from, [], "redo_from"),
            (actions.anew, generate.write_anew, [actions.parts], "anew"),
            (forms.add, generate.add_parts, [forms.kept, forms.programs], "add_parts"),
            (forms.start, generate.start_new, form, "start"),
        ):
            self._on_job(button.click, handler, [page.session, *own, *self.controls], name)
        stop = event_handler(Session.stop_job)
        actions.stop.click(stop, page.session, None, api_name="stop", queue=False, **_PUBLIC)
        bars = [page.controls["bars"], page.controls["endless"]]
        gr.on(
            [each.change for each in bars], event_handler(self.history.set_bars),
            [page.session, *bars], page.status, queue=False, **_HIDDEN,
        )  # fmt: skip
        page.die.click(None, None, page.controls["random_seed"], js=_DIE, api_visibility="private")

    def _on_job(
        self, trigger: Any, handler: Callable[..., Any], inputs: list[Any], name: str
    ) -> None:
        """Connect a job; pressing its button cancels the running job at once."""
        page = self.page
        cancel = event_handler(Session.cancel_job)
        trigger(cancel, page.session, None, js=_BUSY, queue=False, **_HIDDEN)
        # Gradio shows the position in the queue on the status line.
        progress: dict[str, Any] = {"show_progress": "full", "show_progress_on": page.status}
        run = trigger(
            event_handler(handler), inputs, self.job_outputs, api_name=name, **progress, **_WORK
        )
        run.then(None, js=_READY, api_visibility="private")
        self._on_failure(run)

    def _on_failure(self, run: Any) -> None:
        idle_state = event_handler(self.generate.idle_state)
        run.failure(idle_state, self.page.session, self.job_outputs, **_HIDDEN)

    def _connect_prompt(self) -> None:
        panel, prompt, session = self.page.prompt, self.prompt, self.page.session
        options: dict[str, Any] = {"js": _PAUSE_ALL, "show_progress": "hidden", **_WORK}
        panel.example.input(
            event_handler(prompt.choose_example), [session, panel.example], self.prompt_outputs,
            api_name="choose", **options,
        )  # fmt: skip
        upload = panel.upload.upload(
            event_handler(prompt.upload), [session, panel.upload], self.prompt_outputs,
            api_name="drop", **options,
        )  # fmt: skip
        upload.failure(event_handler(prompt.clear_upload), None, panel.upload, **_HIDDEN)
        fields = [panel.tracks.input, panel.first_bar.input, panel.last_bar.submit]
        gr.on(
            [*fields, panel.last_bar.blur, panel.keep_others.input], event_handler(prompt.select),
            [session, *panel.selection], self.prompt_outputs,
            api_name="part", trigger_mode="always_last", **_QUICK,
        )  # fmt: skip
        self.page.actions.only.click(
            event_handler(prompt.select_only), [session, self.page.actions.parts],
            self.prompt_outputs, api_name="only", **_QUICK,
        )  # fmt: skip

    def _connect_players(self) -> None:
        page = self.page
        options: dict[str, Any] = {"trigger_mode": "multiple", **_SOUND, **_HIDDEN}

        def select_bars(session: Session, event: gr.EventData) -> Changes:
            return self.history.select_bars(session, event_data(event))

        def choose_take(session: Session, event: gr.EventData) -> Changes:
            return self.generate.choose_take(session, event_data(event))

        for take, player in enumerate(page.players):
            for trigger, handler in (
                (player.mute, self.sound.mute),
                (player.listen, self.sound.listen),
            ):
                trigger(event_handler(_of_take(handler, take)), self.inputs, player, **options)
            player.bars(
                event_handler(select_bars), page.session, page.actions.chosen, **_IN_ORDER,
            )  # fmt: skip
        page.strips.choose(
            event_handler(choose_take), page.session, self.job_outputs,
            trigger_mode="multiple", **_HIDDEN,
        )  # fmt: skip

    def _connect_sound(self) -> None:
        page, controls = self.page, self.page.controls
        players = list(page.players)
        inputs = [page.session, page.positions, *self.controls]
        js = _POSITIONS % [str(player.elem_id) for player in players]
        options: dict[str, Any] = {"trigger_mode": "always_last", "js": js, **_SOUND, **_HIDDEN}
        events = [controls[name].change for name in ("reverb", "chorus", "gain_db", "swaps")]
        remix = event_handler(self.sound.remix)
        gr.on([*events, controls["soundfont"].input], remix, inputs, players, **options)

        def swap(swaps: dict[str, int] | None, track: int | None, program: int) -> Changes:
            return {controls["swaps"]: with_swap(swaps or {}, track, program)}

        page.swap_new.input(
            event_handler(swap), [controls["swaps"], page.swap_old, page.swap_new],
            controls["swaps"], queue=False, **_HIDDEN,
        )  # fmt: skip

    def _connect_history(self) -> None:
        page, result, history = self.page, self.page.result, self.history
        # Players that the version hides must not play on.
        options: dict[str, Any] = {"js": _PAUSE_ALL, "show_progress": "hidden", **_WORK}

        def connect(trigger: Any, handler: Callable[..., Any], name: str) -> None:
            trigger(handler, page.session, self.prompt_outputs, api_name=name, **options)

        def go_to(session: Session, event: gr.EventData) -> Iterator[Changes]:
            yield from history.go_to(event_data(event).get("number"), session)

        connect(page.actions.undo.click, event_handler(history.undo), "undo")
        connect(page.actions.redo.click, event_handler(history.redo), "redo")
        connect(result.history.choose, event_handler(go_to), "go_to")
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
        outputs = [*dict.fromkeys([*self.prompt_outputs, *self.controls])]
        run = page.recipe.change(
            event_handler(self.prompt.reproduce), inputs, outputs, api_name="follow",
            show_progress="full", show_progress_on=page.status, **_WORK,
        )  # fmt: skip
        self._on_failure(run)

    def _connect_drawers(self) -> None:
        """Count changed controls in the browser, and set them to their defaults."""
        for drawer in self.page.drawers:
            controls = list(drawer.controls)
            defaults = json.dumps([each.value for each in controls])
            count = _COUNT.replace("DEFAULTS", f"({defaults})").replace("TITLE", drawer.title)
            gr.on(
                [each.change for each in controls], None, controls, drawer.accordion, js=count,
                api_visibility="private",
            )  # fmt: skip
            drawer.reset.click(
                None, None, controls, js=f"() => {defaults}", api_visibility="private"
            )

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
        return html.model_summary(session.composer)


def _of_take(handler: Callable[..., Any], take: int) -> Callable[..., Any]:
    def call(session: Session, event: gr.EventData, *values: Any) -> Iterator[Changes]:
        yield from handler(take, session, values, event_data(event))

    return call


def with_swap(swaps: dict[str, int], track: int | None, program: int) -> dict[str, int]:
    """Return exchanged instruments with one more; -1 gives a track its own one again."""
    kept = {old: new for old, new in swaps.items() if old != str(track)}
    return kept if track is None or program < 0 else kept | {str(track): program}
