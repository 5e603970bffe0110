"""Which event calls whom, with what, and how many at once.

What handlers do stands in composing.py, seeding.py, keeping.py and doors.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr

from musiclstm import Composer
from page.playback.chunk_cache import ChunkCache
from page.playback.player import switch_to
from page.server.gradio_private import event_data
from page.server.model_registry import ModelRegistry
from page.session.prompt import NOTHING
from page.session.session import Session
from page.ui import html
from page.ui.errors import show_errors_to_user
from page.ui.generate_handlers import Changes, GenerateHandlers
from page.ui.history_handlers import HistoryHandlers
from page.ui.layout import Page
from page.ui.prompt_handlers import PromptHandlers

# One more than two at a time would only make all of them slower: they share the processor.
# Where an event brings data of its own, "always_last" would bring those of an earlier one again.
_PAGE: dict[str, Any] = {"api_visibility": "undocumented"}  # the doors for programs are others
_WORK: dict[str, Any] = {"concurrency_id": "work", "trigger_mode": "multiple", **_PAGE}
_QUICK: dict[str, Any] = {"show_progress": "hidden", "concurrency_id": "quick", **_PAGE}
_SOUND: dict[str, Any] = {"concurrency_id": "sound", "concurrency_limit": 2}
_HIDDEN: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}

# Where players are that will be hidden, nothing may go on sounding.
_HUSH = "(...all) => { window.musiclstm?.players.forEach((each) => each.pause()); return all; }"
_ADDRESS = "(code) => code ? `${location.origin}${location.pathname}?recipe=${code}` : ''"
_RECIPE = "() => new URLSearchParams(location.search).get('recipe') ?? ''"
# Another sound is made from where the listener is.
_PLACES = """(desk, places, ...values) => {
  const players = window.musiclstm?.players ?? new Map();
  const frames = %s.map((id) => players.get(id)?.sound.position ?? 0);
  return [desk, frames.map((frame) => frame / 44100).join(" "), ...values];
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
        page: Its components, of which every handler may change any.
        composer: Who composes.
        shelf: Where sound lies.
    """

    def __init__(self, page: Page, composer: Composer, shelf: ChunkCache) -> None:
        self.page = page
        self.models = ModelRegistry(composer)
        self.composing = GenerateHandlers(page, composer, shelf)
        self.seeding = PromptHandlers(page, shelf, self.composing)
        self.keeping = HistoryHandlers(self.composing)
        self.controls = list(page.controls.values())
        self.all = [page.desk, *self.controls]
        self.results = self._results()

    def _results(self) -> list[Any]:
        """What a run of the composer may change."""
        page, after = self.page, self.page.after
        takes = [part for take in page.takes for part in (take.caption, take.player)]
        facts = [
            page.swap_old,
            page.controls["random_seed"],
            after.history,
            after.link_code,
        ]
        return [
            page.desk,
            page.status,
            *takes,
            page.stop,
            *facts,
            after.undo,
            after.redo,
        ]

    def connect(self, demo: gr.Blocks) -> None:
        """Tie everything together; to be called within `gr.Blocks`."""
        demo.load(None, None, self.page.recipe, js=_RECIPE, api_visibility="private")
        self._presses()
        self._seed()
        self._players()
        self._history()
        self._sound()
        self._files()
        self._links()
        self._model()

    # ------------------------------------------------------------------------------------- presses

    def _presses(self) -> None:
        page, composing = self.page, self.composing
        anew = [page.desk, page.after.bar, *self.controls]
        self._press(page.go.click, composing.go, self.all, "compose")
        self._press(page.four.click, composing.four, self.all, "takes")
        self._press(page.after.on.click, composing.on, self.all, "extend")
        self._press(page.after.anew.click, composing.anew, anew, "anew")
        chosen = page.seed.cards.surprise(self._nothing, page.desk, self._seed_outputs(), **_HIDDEN)
        self._press(chosen.then, composing.surprise, self.all, "surprise")
        page.stop.click(Session.stop, page.desk, None, api_name="stop", queue=False, **_PAGE)
        self._control("random_seed").input(
            lambda: True, None, page.controls["locked"], queue=False, **_HIDDEN
        )

    def _press(self, trigger: Any, handler: Any, inputs: list[Any], name: str) -> None:
        """A run of the composer; the one before makes room for it at once."""
        # On the status line Gradio says how many are waiting before this visitor.
        how: dict[str, Any] = {"show_progress": "full", "show_progress_on": self.page.status}
        if name != "surprise":
            trigger(Session.leave, self.page.desk, None, queue=False, **_HIDDEN)
        run = trigger(handler, inputs, self.results, api_name=name, **how, **_WORK)
        run.failure(self.composing.rest, self.page.desk, self.results, **_HIDDEN)

    def _control(self, name: str) -> Any:
        return self.page.controls[name]

    # ---------------------------------------------------------------------------------------- seed

    def _nothing(self, desk: Session) -> Changes:
        desk.seed, desk.fresh = NOTHING, True
        return self.seeding.show(desk)

    def _seed_outputs(self) -> list[Any]:
        panel = self.page.seed
        return [panel.cards, panel.upload, panel.about, panel.roll, *panel.choice, self.page.recipe]

    def _seed(self) -> None:
        panel, seeding, desk = self.page.seed, self.seeding, self.page.desk
        shown = self._seed_outputs()
        panel.cards.choose(seeding.choose, desk, shown, api_name="choose", **_QUICK)
        dropping = panel.upload.upload(
            seeding.drop, [desk, panel.upload], shown, api_name="drop", **_QUICK
        )
        dropping.failure(lambda: None, None, panel.upload, **_HIDDEN)
        panel.roll.bars(
            seeding.bars, [desk, panel.tracks, panel.keep_others],
            [panel.about, panel.first_bar, panel.last_bar], trigger_mode="multiple", **_HIDDEN,
        )  # fmt: skip
        panel.roll.listen(
            seeding.listen, self.all, panel.roll, trigger_mode="multiple", **_SOUND, **_HIDDEN
        )
        bars = [panel.first_bar.input, panel.last_bar.input]
        gr.on(
            [panel.tracks.input, *bars, panel.keep_others.input], seeding.part,
            [desk, *panel.choice], [panel.about, panel.roll],
            api_name="part", trigger_mode="always_last", **_QUICK,
        )  # fmt: skip

    # ------------------------------------------------------------------------------------- players

    def _players(self) -> None:
        inputs = self.all
        for number, take in enumerate(self.page.takes):
            handler = self._mute(number)
            take.player.mute(
                handler, inputs, take.player, trigger_mode="multiple", **_SOUND, **_HIDDEN
            )
            take.switch.click(None, js=switch_to(str(take.player.elem_id)))
        first = self.page.takes[0].player
        first.bars(
            self.keeping.bar, self.page.desk, self.page.after.bar, trigger_mode="multiple",
            **_HIDDEN,
        )  # fmt: skip

    def _mute(self, number: int) -> Any:
        def mute(desk: Session, event: gr.EventData, *values: Any) -> Iterator[Changes]:
            yield from self.composing.mute(number, desk, values, event_data(event))

        return mute

    def _sound(self) -> None:
        page = self.page
        players = [take.player for take in page.takes]
        inputs = [page.desk, page.places, *self.controls]
        js = _PLACES % [str(player.elem_id) for player in players]
        how: dict[str, Any] = {"trigger_mode": "always_last", "js": js, **_SOUND, **_HIDDEN}
        changed = [self._control(name) for name in ("reverb", "chorus", "gain_db")]
        events = [each.change for each in changed] + [self._control("soundfont").input]
        gr.on(events, self.composing.remix, inputs, players, **how)
        swapped = page.swap_new.input(
            swap, [page.controls["swaps"], page.swap_old, page.swap_new], page.controls["swaps"],
            queue=False, **_HIDDEN,
        )  # fmt: skip
        swapped.then(self.composing.remix, inputs, players, **how)

    # ------------------------------------------------------------------------- history and the rest

    def _history(self) -> None:
        page, keeping = self.page, self.keeping
        how: dict[str, Any] = {"js": _HUSH, "show_progress": "hidden", **_WORK}
        page.after.undo.click(keeping.undo, self.all, self.results, api_name="undo", **how)
        page.after.redo.click(keeping.redo, self.all, self.results, api_name="redo", **how)

        def go_to(desk: Session, event: gr.EventData, *values: Any) -> Iterator[Changes]:
            number = event_data(event).get("number")
            yield from keeping.go_to(desk, *values, number=number if isinstance(number, int) else 0)

        page.after.history.choose(go_to, self.all, self.results, api_name="go_to", **how)
        for number, take in enumerate(page.takes):
            handler = partial(keeping.keep, number)
            name = f"keep_{'abcd'[number]}"
            take.keep.click(handler, self.all, self.results, api_name=name, **how)

    def _files(self) -> None:
        after = self.page.after
        for kind, button in after.files.items():
            made = button.click(
                partial(self.keeping.fetch, kind), self.all, after.fetched, api_name=f"file_{kind}",
                show_progress="minimal", show_progress_on=button, concurrency_id="files",
                concurrency_limit=2, **_PAGE,
            )  # fmt: skip
            made.success(None, after.fetched, None, js=_DOWNLOAD)

    def _links(self) -> None:
        page = self.page
        page.after.link_code.change(None, page.after.link_code, page.after.link, js=_ADDRESS)
        inputs = [page.desk, page.recipe, *self.controls]
        outputs = [*dict.fromkeys([*self.results, *self._seed_outputs(), *self.controls])]
        following = page.recipe.change(
            self.seeding.reproduce, inputs, outputs, api_name="follow", show_progress="full",
            show_progress_on=page.status, **_WORK,
        )  # fmt: skip
        following.failure(self.composing.rest, page.desk, self.results, **_HIDDEN)

    def _model(self) -> None:
        page = self.page
        if page.model_name is not None and page.model_load is not None:
            gr.on(
                [page.model_load.click, page.model_name.submit], self._load,
                [page.desk, page.model_name], page.model_card, api_visibility="private",
                concurrency_id="models", concurrency_limit=1,
            )  # fmt: skip

    def _load(self, desk: Session, name: str) -> str:
        with show_errors_to_user():
            desk.composer = self.models.get(name)
        desk.fresh = True
        return html.model_summary(desk.composer)


def swap(swaps: dict[str, int], old: int | None, new: int) -> dict[str, int]:
    """Which instrument sounds as which, with one exchange more; -1: as itself."""
    kept = {program: other for program, other in swaps.items() if program != str(old)}
    return kept if old is None or new < 0 else kept | {str(old): new}
