"""Components, theme and styles of the page; events.py connects their events.

Components never change `visible`: Gradio would build them again and lose updates. Instead, page.css
hides what is empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from musiclstm import example_files
from musiclstm.audio import installed_soundfonts
from musiclstm.midi import DRUMS, instrument_name
from page.downloads import KINDS
from page.playback.chunk_cache import ChunkCache
from page.playback.piece_view import view_of_prompt
from page.playback.player import player
from page.playback.stream import show_view
from page.session.history import LETTERS
from page.session.session import Session, default_prompt
from page.session.settings import BOUNDS, FREE, KEYS, METERS, PageSettings
from page.ui import html
from page.ui.choices import BANDS, parts_of
from page.ui.strips import take_strips

CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
# elem_ids of buttons after which the first player starts
_PLAY_BUTTONS = ("go", "four", "again", "redo-from", "anew", "add", "start")

_FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
THEME = gr.themes.Base(
    primary_hue="orange", secondary_hue="blue", neutral_hue="slate", radius_size="lg",
    font=_FONTS, font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
).set(
    body_background_fill="*neutral_50",
    body_text_color_subdued="*neutral_500",
    block_info_text_color="*neutral_500",
    block_border_width="0px",
    block_shadow="none",
    button_primary_background_fill="#cf5a08",  # the colour of new notes in the piano roll
    button_primary_background_fill_dark="#cf5a08",
    button_primary_background_fill_hover="#b54d05",
    button_primary_background_fill_hover_dark="#b54d05",
    checkbox_label_background_fill_selected="#0b72b5",
    checkbox_label_background_fill_selected_dark="#0b72b5",
    checkbox_label_text_color_selected="white",
    slider_color="*primary_600",
)  # fmt: skip


@dataclass(frozen=True)
class PromptPanel:
    """Components that choose the prompt, and the part of it that is continued."""

    example: gr.Dropdown
    upload: gr.File
    about: gr.HTML
    tracks: gr.Dropdown
    first_bar: gr.Number
    last_bar: gr.Textbox
    keep_others: gr.Checkbox

    @property
    def selection(self) -> list[Any]:
        """Inputs of `PromptHandlers.select`."""
        return [self.tracks, self.first_bar, self.last_bar, self.keep_others]


@dataclass(frozen=True)
class ActionPanel:
    """Buttons that compose, and what is selected on the roll."""

    append: gr.Button
    four: gr.Button
    stop: gr.Button
    again: gr.Button
    undo: gr.Button
    redo: gr.Button
    chosen: gr.HTML
    parts: gr.Dropdown
    anew: gr.Button
    redo_from: gr.Button
    only: gr.Button


@dataclass(frozen=True)
class FormPanel:
    """Forms that add parts, and that start a new piece."""

    kept: gr.Dropdown
    programs: gr.Dropdown
    add: gr.Button
    band: gr.Dropdown
    key: gr.Dropdown
    meter: gr.Dropdown
    tempo: gr.Number
    start: gr.Button


@dataclass(frozen=True)
class ResultPanel:
    """What a user takes away, and the history."""

    history: gr.HTML
    downloads: Mapping[str, gr.Button]
    file: gr.DownloadButton
    link_code: gr.Textbox
    link: gr.Textbox
    link_note: gr.HTML


@dataclass(frozen=True)
class Drawer:
    """An accordion of controls, which counts those that differ from their defaults."""

    title: str
    accordion: gr.Accordion
    reset: gr.Button
    controls: tuple[Any, ...]


@dataclass(frozen=True)
class Page:
    """Every component that an event reads or writes.

    Args:
        session: State of the user.
        prompt: Choice of the prompt.
        players: The four players, of which page.css shows the chosen one.
        strips: The takes.
        actions: Buttons.
        forms: Parts to add, and new pieces.
        status: What the next press does, or progress, as HTML.
        result: Downloads, link and history.
        controls: Control by field of `PageSettings`.
        drawers: Accordions with most of the controls.
        die: Button that draws a random seed.
        swap_old: Track that another instrument plays.
        swap_new: The instrument.
        model_name: Text field. None: users may not load models.
        model_load: Button. None: likewise.
        model_card: Facts about the model, as HTML.
        recipe: Recipe in the page's address, or one that waits for its file.
        positions: Playback position of each player in seconds; JavaScript fills it.
    """

    session: gr.State
    prompt: PromptPanel
    players: tuple[gr.HTML, ...]
    strips: gr.HTML
    actions: ActionPanel
    forms: FormPanel
    status: gr.HTML
    result: ResultPanel
    controls: Mapping[str, Any]
    drawers: tuple[Drawer, ...]
    die: gr.Button
    swap_old: gr.Dropdown
    swap_new: gr.Dropdown
    model_name: gr.Textbox | None
    model_load: gr.Button | None
    model_card: gr.HTML
    recipe: gr.Textbox
    positions: gr.Textbox


class _Builder:
    """Creates the components; call `build` within `gr.Blocks`."""

    def __init__(self, cache: ChunkCache, model_card: str, *, model_box: bool) -> None:
        self.cache, self.model_card, self.model_box = cache, model_card, model_box
        self.session = Session()
        self.controls: dict[str, Component] = {}
        self.drawers: list[Drawer] = []

    def build(self) -> Page:
        session = gr.State(self.session)
        gr.HTML(html.HEADER, elem_id="top")
        with gr.Row(elem_id="begin"):
            example, upload, about = self._prompt()
        with gr.Column(elem_id="result"):
            players = tuple(self._player(letter) for letter in LETTERS)
            with gr.Row(elem_id="selected"):
                chosen, parts, anew, redo_from, only = self._selected()
            strips = take_strips()
        with gr.Column(elem_id="actions"):
            with gr.Column(elem_id="bar"):
                with gr.Row(elem_id="press"):
                    append, stop, four, again, undo, redo = self._buttons()
                status = gr.HTML(
                    html.status(html.next_step(self.session.version, PageSettings.bars)),
                    elem_id="status",
                )
            with gr.Row(elem_id="words"):
                self._sliders()
        with gr.Column(elem_id="drawers"):
            self._drawer("Music", self._music)
            self._drawer("Texture", self._texture)
            swap_old, swap_new = self._drawer("Sound", self._sound)
            die, name, load = self._drawer("Expert", self._expert)
            with gr.Accordion("Part of the file", open=False, elem_id="part"):
                selection = self._part()
            with gr.Accordion("Add parts", open=False):
                kept, programs, add = self._accompaniment()
            with gr.Accordion("Start from nothing", open=False, elem_id="form"):
                start = self._start()
        with gr.Column(elem_id="after"):
            result = self._result()
        with gr.Column(elem_id="foot"):
            card = gr.HTML(self.model_card, elem_id="model")
        recipe = gr.Textbox(visible="hidden", label="recipe")
        positions = gr.Textbox(visible="hidden", label="positions")
        return Page(
            session,
            PromptPanel(example, upload, about, *selection),
            players,
            strips,
            ActionPanel(
                append, four, stop, again, undo, redo, chosen, parts, anew, redo_from, only
            ),
            FormPanel(kept, programs, add, *start),
            status,
            result,
            self.controls,
            tuple(self.drawers),
            die,
            swap_old,
            swap_new,
            name,
            load,
            card,
            recipe,
            positions,
        )

    # ---------------------------------------------------------------------------------------- music

    def _prompt(self) -> tuple[gr.Dropdown, gr.File, gr.HTML]:
        first = default_prompt()
        example = gr.Dropdown(
            [*example_files()], value=first.title, label="Example", elem_id="example",
            min_width=180,
        )  # fmt: skip
        # Without `file_types`, which would refuse names without an ending; events.py sets `accept`.
        upload = gr.File(label="Your MIDI file", show_label=False, elem_id="drop")
        about = gr.HTML(html.prompt_summary(first), elem_id="about")
        return example, upload, about

    def _player(self, letter: str) -> gr.HTML:
        low = letter.lower()
        is_first = letter == LETTERS[0]
        with gr.Column(elem_id=f"take-{low}", elem_classes="take", min_width=280):
            shown = player(
                f"roll-{low}", label="Music" if is_first else f"Take {letter}", cache=self.cache,
                armed_by=_PLAY_BUTTONS if is_first else (),
            )  # fmt: skip
        if is_first:
            prompt = default_prompt()
            assert prompt.score is not None
            shown.value = show_view(view_of_prompt(prompt.score), cache=self.cache).value
        return shown

    def _selected(self) -> tuple[gr.HTML, gr.Dropdown, gr.Button, gr.Button, gr.Button]:
        chosen = gr.HTML("", elem_id="chosen")
        parts = self._parts("Parts", "all")
        anew = gr.Button("Write again", elem_id="anew", size="md", min_width=120)
        redo_from = gr.Button("Redo from here", elem_id="redo-from", size="md", min_width=120)
        only = gr.Button("Continue only these bars", elem_id="only", size="md", min_width=120)
        return chosen, parts, anew, redo_from, only

    def _parts(self, label: str, empty: str) -> gr.Dropdown:
        choices = parts_of(self.session.version)
        return gr.Dropdown(
            choices, value=[], multiselect=True, label=label, info=f"none: {empty}", min_width=160
        )

    def _buttons(self) -> tuple[gr.Button, ...]:
        append = gr.Button(
            "Continue", elem_id="go", variant="primary", size="lg", scale=3, min_width=150
        )
        stop = gr.Button("Stop", elem_id="stop", size="lg", min_width=70, interactive=False)
        self.controls["bars"] = gr.Number(
            PageSettings.bars, label="New bars", precision=0, minimum=1, maximum=64,
            min_width=84, elem_id="bars",
        )  # fmt: skip
        four = gr.Button("Four takes", elem_id="four", size="lg", min_width=110)
        again = gr.Button("Try again", elem_id="again", size="lg", min_width=100, interactive=False)
        undo = gr.Button("Undo", elem_id="undo", size="lg", min_width=70, interactive=False)
        redo = gr.Button("Redo", elem_id="redo", size="lg", min_width=70, interactive=False)
        return append, stop, four, again, undo, redo

    def _sliders(self) -> None:
        for name, label, step in (
            ("similarity", "Distance from your bars", 0.1),
            ("lively", "Number of notes", 0.1),
            ("adventurous", "Choice of notes", 0.05),
        ):
            self.controls[name] = _slider(name, label, step=step, elem_id=name)
        self.controls["key"] = _choice("key", "Key", KEYS)

    # -------------------------------------------------------------------------------------- drawers

    def _drawer(self, title: str, build: Any) -> Any:
        before = {*self.controls}
        with gr.Accordion(title, open=False, elem_classes="drawer") as accordion:
            others = build()
            reset = gr.Button(f"Reset {title}", size="sm", min_width=120, elem_classes="reset")
        own = tuple(each for name, each in self.controls.items() if name not in before)
        self.drawers.append(Drawer(title, accordion, reset, own))
        return others

    def _music(self) -> None:
        with gr.Row(elem_classes="pair"):
            self.controls["meter"] = _choice("meter", "Meter", METERS)
            self.controls["tempo_bpm"] = _optional_number(
                "Tempo", "as the prompt", "beats a minute"
            )
        with gr.Row(elem_classes="pair"):
            self.controls["ending"] = gr.Checkbox(False, label="Come to a close")
            self.controls["endless"] = gr.Checkbox(False, label="Endless, until you press Stop")
        self.controls["surprise"] = _slider(
            "surprise", "Unexpected turns", "none, now and then, often", step=0.5
        )

    def _texture(self) -> None:
        playable = [(instrument_name(program), program) for program in (*range(128), DRUMS)]
        self.controls["instruments"] = gr.Dropdown(
            playable, value=[], multiselect=True, label="Instruments", info="none: as the prompt"
        )
        with gr.Row(elem_classes="pair"):
            self.controls["lowest"] = _number("lowest", "Lowest pitch", "MIDI number")
            self.controls["highest"] = _number("highest", "Highest pitch", "MIDI number")
        with gr.Row(elem_classes="pair"):
            self.controls["fewest_notes"] = _number("fewest_notes", "Notes in a bar", "fewest")
            self.controls["most_notes"] = _optional_number("Notes in a bar", "no limit", "most")
        self.controls["most_at_once"] = _optional_number("Notes at once, at most", "no limit")

    def _sound(self) -> tuple[gr.Dropdown, gr.Dropdown]:
        fonts = list(installed_soundfonts())
        self.controls |= {
            "soundfont": gr.Dropdown(fonts, value=fonts[0] if fonts else None, label="SoundFont"),
            "reverb": _slider("reverb", "Reverb", step=0.05),
            "chorus": _slider("chorus", "Chorus", step=0.05),
            "gain_db": _slider("gain_db", "Gain", "dB", step=1),
            "swaps": gr.JSON({}, visible="hidden"),
        }
        with gr.Row(elem_classes="pair"):
            choices = parts_of(self.session.version, index="track")
            old = gr.Dropdown(choices, value=None, label="Play this part", min_width=120)
            new = gr.Dropdown(
                [("as it is", -1), *((instrument_name(each), each) for each in range(128))],
                value=-1, label="on", min_width=120,
            )  # fmt: skip
        return old, new

    def _expert(self) -> tuple[gr.Button, gr.Textbox | None, gr.Button | None]:
        with gr.Row(elem_classes="pair"):
            self.controls["random_seed"] = _optional_number(
                "Random seed", "a new one", elem_id="seed"
            )
            die = gr.Button("Draw another seed", min_width=90, elem_id="die", size="md")
        self.controls["copy_weight"] = _slider(
            "copy_weight", "Copying", "of earlier bars: none … much", step=0.1
        )
        with gr.Row(elem_classes="pair"):
            for name, label in (("pitch", "Pitch"), ("rhythm", "Rhythm")):
                self.controls[f"{name}_temperature"] = _optional_number(
                    f"{label} temperature", "as Choice of notes"
                )
        self.controls |= {
            "top_p": _slider("top_p", "Top-p", "share of the likeliest tokens", step=0.01),
            "top_k": _slider("top_k", "Top-k", "number of likeliest tokens; 0: all", step=1),
            "min_p": _slider(
                "min_p", "Min-p", "relative to the likeliest token; 0: all", step=0.01
            ),
        }
        return die, *(_model_box() if self.model_box else (None, None))

    # ---------------------------------------------------------------------------------------- forms

    def _part(self) -> tuple[gr.Dropdown, gr.Number, gr.Textbox, gr.Checkbox]:
        gr.HTML("<p>Continue chosen bars and parts of the file.</p>", elem_classes="hint")
        tracks = self._parts("Parts to continue", "all")
        with gr.Row(elem_classes="pair"):
            first_bar = gr.Number(1, label="From bar", precision=0, minimum=1, min_width=90)
            last_bar = _optional_number("To bar", "the last")
        keep = gr.Checkbox(True, label="The other parts play along")
        return tracks, first_bar, last_bar, keep

    def _accompaniment(self) -> tuple[gr.Dropdown, gr.Dropdown, gr.Button]:
        gr.HTML(
            "<p>Keep parts note for note, and add others that fit to them.</p>",
            elem_classes="hint",
        )
        kept = self._parts("Parts to keep", "all")
        playable = [(instrument_name(program), program) for program in (*range(128), DRUMS)]
        programs = gr.Dropdown(
            playable, value=[], multiselect=True, label="New parts", min_width=160
        )
        return kept, programs, gr.Button("Add parts", elem_id="add", size="md")

    def _start(self) -> tuple[gr.Dropdown, gr.Dropdown, gr.Dropdown, gr.Number, gr.Button]:
        with gr.Row(elem_classes="pair"):
            band = gr.Dropdown([*BANDS], value=next(iter(BANDS)), label="Band", min_width=140)
            key = gr.Dropdown(["any", *KEYS[2:]], value="any", label="Key of the piece")
        with gr.Row(elem_classes="pair"):
            meter = gr.Dropdown([*METERS[2:]], value="4/4", label="Meter of the piece")
            tempo = gr.Number(
                110, label="Tempo of the piece", precision=0, minimum=BOUNDS["tempo_bpm"][0],
                maximum=BOUNDS["tempo_bpm"][1], min_width=100,
            )  # fmt: skip
        return band, key, meter, tempo, gr.Button("Start a new piece", elem_id="start", size="md")

    def _result(self) -> ResultPanel:
        gr.HTML("<h2>Download</h2>")
        with gr.Row(elem_id="home"):
            downloads = {
                kind: gr.Button(label, size="sm", min_width=90) for kind, label in KINDS.items()
            }
        link_code = gr.Textbox(visible="hidden", label="link code")
        link = gr.Textbox(
            label="A link that makes this piece again", placeholder="none yet", interactive=False,
            buttons=["copy"],
            max_lines=1, elem_id="link",
        )  # fmt: skip
        note = gr.HTML("", elem_id="link-note")
        history = gr.HTML("", elem_id="history", js_on_load=html.HISTORY_SCRIPT)
        file = gr.DownloadButton(visible="hidden")
        return ResultPanel(history, downloads, file, link_code, link, note)


def build_layout(chunk_cache: ChunkCache, model_card: str, *, model_box: bool = False) -> Page:
    """Create all components; call it within `gr.Blocks`.

    Args:
        chunk_cache: Audio chunks of all players.
        model_card: Facts about the model, as HTML.
        model_box: Whether users may load other models.
    """
    return _Builder(chunk_cache, model_card, model_box=model_box).build()


def _slider(
    name: str, label: str, info: str = "", *, step: float, elem_id: str | None = None
) -> gr.Slider:
    minimum, maximum = BOUNDS[name]
    return gr.Slider(
        minimum, maximum, getattr(PageSettings, name), step=step, label=label, info=info or None,
        buttons=[], elem_id=elem_id, min_width=180,
    )  # fmt: skip


def _choice(name: str, label: str, choices: tuple[str, ...]) -> gr.Dropdown:
    default = getattr(PageSettings, name)
    named = [("any" if each == FREE else each, each) for each in choices]
    return gr.Dropdown(named, value=default, label=label, min_width=120)


def _number(name: str, label: str, info: str = "") -> gr.Number:
    minimum, maximum = BOUNDS[name]
    return gr.Number(
        getattr(PageSettings, name), label=label, info=info or None, minimum=minimum,
        maximum=maximum, precision=0, min_width=100,
    )  # fmt: skip


def _optional_number(
    label: str, placeholder: str, info: str = "", *, elem_id: str | None = None
) -> gr.Textbox:
    """A text field, because an empty gr.Number sends 0."""
    return gr.Textbox(
        label=label, placeholder=placeholder, info=info or None, max_lines=1, max_length=20,
        min_width=100, elem_id=elem_id,
    )  # fmt: skip


def _model_box() -> tuple[gr.Textbox, gr.Button]:
    with gr.Row(elem_id="model-box"):
        name = gr.Textbox(
            label="Another model", info="a Hub id or a folder on this machine", max_lines=1,
            max_length=200, scale=4,
        )  # fmt: skip
        load = gr.Button("Load", size="md", scale=1, min_width=90)
    return name, load
