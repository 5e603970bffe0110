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

from musiclstm import example_files, read_midi
from musiclstm.audio import installed_soundfonts
from musiclstm.midi import instrument_name
from page.downloads import KINDS
from page.playback.chunk_cache import ChunkCache
from page.playback.player import player
from page.playback.prompt_preview import PromptPreview
from page.session.history import LETTERS
from page.session.session import Session, default_prompt
from page.session.settings import BOUNDS, KEYS, METERS, PageSettings
from page.ui import html
from page.ui.prompt_cards import prompt_cards

CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
_PLAY_BUTTONS = (
    "go",
    "four",
    "on",
    "anew",
    "surprise",
)  # elem_ids; the first player starts after them

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
    """Components that choose the prompt."""

    cards: gr.HTML
    upload: gr.File
    summary: gr.HTML
    roll: gr.HTML
    tracks: gr.CheckboxGroup
    first_bar: gr.Number
    last_bar: gr.Textbox
    keep_others: gr.Checkbox

    @property
    def selection(self) -> list[Any]:
        """Inputs of `PromptHandlers.select`."""
        return [self.tracks, self.first_bar, self.last_bar, self.keep_others]


@dataclass(frozen=True)
class PlayerPanel:
    """One of four players with its caption and buttons."""

    caption: gr.HTML
    player: gr.HTML
    keep: gr.Button
    switch: gr.Button


@dataclass(frozen=True)
class ResultPanel:
    """Components below the players."""

    extend: gr.Button
    regenerate: gr.Button
    bar: gr.Number
    undo: gr.Button
    redo: gr.Button
    history: gr.HTML
    downloads: Mapping[str, gr.Button]
    file: gr.DownloadButton
    link_code: gr.Textbox
    link: gr.Textbox


@dataclass(frozen=True)
class Page:
    """Every component that an event reads or writes.

    Args:
        session: State of the user.
        prompt: Choice of the prompt.
        continue_once: Button.
        continue_four: Button.
        stop: Button.
        status: Progress or result, as HTML.
        takes: The four players.
        result: Components below them.
        controls: Control by field of `PageSettings`.
        swap_old: Instrument to replace.
        swap_new: Its replacement.
        model_name: Text field. None: users may not load models.
        model_load: Button. None: likewise.
        model_card: Facts about the model, as HTML.
        recipe: Recipe in the page's address, or one that waits for its file.
        positions: Playback position of each player in seconds; JavaScript fills it.
    """

    session: gr.State
    prompt: PromptPanel
    continue_once: gr.Button
    continue_four: gr.Button
    stop: gr.Button
    status: gr.HTML
    takes: tuple[PlayerPanel, ...]
    result: ResultPanel
    controls: Mapping[str, Any]
    swap_old: gr.Dropdown
    swap_new: gr.Dropdown
    model_name: gr.Textbox | None
    model_load: gr.Button | None
    model_card: gr.HTML
    recipe: gr.Textbox
    positions: gr.Textbox


def build_layout(chunk_cache: ChunkCache, model_card: str, *, model_box: bool = False) -> Page:
    """Create all components; call it within `gr.Blocks`.

    Args:
        chunk_cache: Audio chunks of all players.
        model_card: Facts about the model, as HTML.
        model_box: Whether users may load other models.
    """
    session = gr.State(Session())
    gr.HTML(html.HEADER, elem_id="top")
    prompt = _prompt_panel(chunk_cache)
    with gr.Row(elem_id="work"):
        with gr.Column(scale=5, min_width=320, elem_id="result"):
            continue_once, continue_four, stop = _job_buttons()
            status = gr.HTML(html.WAITING, elem_id="status")
            with gr.Row(elem_id="takes"):
                takes = tuple(_player_panel(letter, chunk_cache) for letter in LETTERS)
            result = _result_panel()
        with gr.Column(scale=2, min_width=300, elem_id="steer"):
            controls, swap_old, swap_new = _controls()
    with gr.Column(elem_id="foot"):
        model_name, model_load = _model_box() if model_box else (None, None)
        card = gr.HTML(model_card, elem_id="model")
    recipe = gr.Textbox(visible="hidden", label="recipe")
    positions = gr.Textbox(visible="hidden", label="positions")
    return Page(
        session, prompt, continue_once, continue_four, stop, status, takes, result, controls,
        swap_old, swap_new, model_name, model_load, card, recipe, positions,
    )  # fmt: skip


def _prompt_panel(chunk_cache: ChunkCache) -> PromptPanel:
    tunes = {title: read_midi(path)[0] for title, path in example_files().items()}
    first = default_prompt()
    with gr.Row(elem_id="begin", equal_height=True):
        cards = prompt_cards(tunes, chosen=first.title)
        # Without `file_types`, which would refuse names without an ending; events.py sets `accept`.
        upload = gr.File(label="Your MIDI file", elem_id="drop")
    with gr.Column(elem_id="prompt"):
        summary = gr.HTML(html.prompt_summary(first), elem_id="about")
        roll = player("prompt-roll", label="The prompt", cache=chunk_cache)
        roll.value = PromptPreview(first, chunk_cache).update()
        with gr.Accordion("Choose tracks and bars", open=False, elem_id="part"):
            names = html.tracks(first)
            tracks = gr.CheckboxGroup(
                names, value=[number for _, number in names], label="Tracks to continue"
            )
            with gr.Row():
                first_bar = gr.Number(1, label="From bar", precision=0, minimum=1, min_width=90)
                last_bar = _optional_number("To bar", "the last")
                keep = gr.Checkbox(
                    True, label="The other tracks play along", min_width=200, container=False
                )
    return PromptPanel(cards, upload, summary, roll, tracks, first_bar, last_bar, keep)


def _job_buttons() -> tuple[gr.Button, gr.Button, gr.Button]:
    with gr.Row(elem_id="press"):
        once = gr.Button(
            "Continue", elem_id="go", variant="primary", size="lg", scale=5, min_width=150
        )
        four = gr.Button("Four takes", elem_id="four", size="lg", scale=2, min_width=110)
        stop = gr.Button(
            "Stop", elem_id="stop", size="lg", scale=1, min_width=70, interactive=False
        )
    return once, four, stop


def _player_panel(letter: str, chunk_cache: ChunkCache) -> PlayerPanel:
    low = letter.lower()
    armed_by = _PLAY_BUTTONS if letter == LETTERS[0] else ()
    with gr.Column(elem_id=f"take-{low}", elem_classes="take", min_width=280):
        caption = gr.HTML("", elem_classes="caption")
        shown = player(f"roll-{low}", label=f"Take {letter}", cache=chunk_cache, armed_by=armed_by)
        with gr.Row(elem_classes="choose"):
            switch = gr.Button(f"Hear {letter} from here", size="sm", min_width=120)
            keep = gr.Button(f"Keep {letter}", size="sm", min_width=80)
    return PlayerPanel(caption, shown, keep, switch)


def _result_panel() -> ResultPanel:
    """Hidden by page.css until there is a piece."""
    with gr.Column(elem_id="after"):
        with gr.Row(elem_id="next"):
            extend = gr.Button("Continue from here", elem_id="on", size="md", min_width=140)
            undo = gr.Button("Undo", size="md", min_width=70, interactive=False)
            redo = gr.Button("Redo", size="md", min_width=70, interactive=False)
            with gr.Row(elem_id="again"):
                regenerate = gr.Button("New from bar", elem_id="anew", size="md", min_width=110)
                bar = gr.Number(
                    1, label="First bar to compose again", show_label=False, container=False,
                    precision=0, minimum=1, min_width=60,
                )  # fmt: skip
        history = gr.HTML("", elem_id="history", js_on_load=html.HISTORY_SCRIPT)
        gr.HTML("<h2>Download</h2>")
        with gr.Row(elem_id="home"):
            downloads = {
                kind: gr.Button(label, size="sm", min_width=90) for kind, label in KINDS.items()
            }
        link_code = gr.Textbox(visible="hidden", label="link code")
        link = gr.Textbox(
            label="A link that makes this piece again", interactive=False, buttons=["copy"],
            max_lines=1, elem_id="link",
        )  # fmt: skip
        file = gr.DownloadButton(visible="hidden")
    return ResultPanel(
        extend, regenerate, bar, undo, redo, history, downloads, file, link_code, link
    )


# ---------------------------------------------------------------------------------------- controls


def _controls() -> tuple[dict[str, Component], gr.Dropdown, gr.Dropdown]:
    controls = _main_controls()
    with gr.Accordion("More", open=False):
        controls |= _more_controls()
    with gr.Accordion("Sound", open=False):
        sound, swap_old, swap_new = _sound_controls()
    return controls | sound, swap_old, swap_new


def _main_controls() -> dict[str, Component]:
    playable = [(instrument_name(program), program) for program in (*range(128), -1)]
    controls: dict[str, Component] = {
        "bars": _slider("bars", "New bars", step=1),
        "endless": gr.Checkbox(False, label="Endless, until you press Stop", container=False),
        "adventurous": _slider("adventurous", "Adventurous", "careful … bold", step=0.05),
        "surprise": _slider("surprise", "Surprise", "none, now and then, often", step=0.5),
        "similarity": _slider("similarity", "Like the prompt", "roam … stay close", step=0.1),
        "copy_weight": _slider("copy_weight", "Copying", "earlier bars: none … much", step=0.1),
    }
    with gr.Row(elem_classes="pair"):
        controls["key"] = _choice("key", "Key", KEYS)
        controls["meter"] = _choice("meter", "Meter", METERS)
    controls["instruments"] = gr.Dropdown(
        playable, value=[], multiselect=True, label="Instruments", info="none: as the prompt"
    )
    with gr.Row(elem_classes="pair"):
        controls["random_seed"] = _optional_number("Random seed", "a new one")
        controls["locked"] = gr.Checkbox(
            False, label="Lock it", min_width=90, container=False, elem_id="lock"
        )
    return controls


def _more_controls() -> dict[str, Component]:
    controls: dict[str, Component] = {
        "ending": gr.Checkbox(False, label="Come to a close", container=False),
        "tempo_bpm": _optional_number("Tempo", "as the prompt", "quarter notes a minute"),
    }
    with gr.Row(elem_classes="pair"):
        controls["lowest"] = _number("lowest", "Lowest pitch")
        controls["highest"] = _number("highest", "Highest pitch")
    with gr.Row(elem_classes="pair"):
        controls["fewest_notes"] = _number("fewest_notes", "Notes in a bar", "fewest")
        controls["most_notes"] = _optional_number("Notes in a bar", "no limit", "most")
    controls["most_at_once"] = _optional_number("Notes at once, at most", "no limit")
    with gr.Row(elem_classes="pair"):
        controls["pitch_temperature"] = _optional_number("Adventurous", "the same", "in pitches")
        controls["rhythm_temperature"] = _optional_number("Adventurous", "the same", "in rhythm")
    return controls | {
        "top_p": _slider("top_p", "Top-p", "share of the likeliest tokens", step=0.01),
        "top_k": _slider("top_k", "Top-k", "number of likeliest tokens; 0: all", step=1),
        "min_p": _slider("min_p", "Min-p", "relative to the likeliest token; 0: all", step=0.01),
    }


def _sound_controls() -> tuple[dict[str, Component], gr.Dropdown, gr.Dropdown]:
    fonts = list(installed_soundfonts())
    controls: dict[str, Component] = {
        "soundfont": gr.Dropdown(fonts, value=fonts[0] if fonts else None, label="SoundFont"),
        "reverb": _slider("reverb", "Reverb", step=0.05),
        "chorus": _slider("chorus", "Chorus", step=0.05),
        "gain_db": _slider("gain_db", "Gain", "dB", step=1),
        "swaps": gr.State({}),
    }
    with gr.Row(elem_classes="pair"):
        old = gr.Dropdown([], label="Play this instrument", min_width=120)
        new = gr.Dropdown(
            [("itself", -1), *((instrument_name(number), number) for number in range(128))],
            value=-1, label="as", min_width=120,
        )  # fmt: skip
    return controls, old, new


def _slider(name: str, label: str, info: str = "", *, step: float) -> gr.Slider:
    minimum, maximum = BOUNDS[name]
    default = getattr(PageSettings, name)
    return gr.Slider(
        minimum, maximum, default, step=step, label=label, info=info or None, buttons=[]
    )


def _choice(name: str, label: str, choices: tuple[str, ...]) -> gr.Dropdown:
    default = getattr(PageSettings, name)
    return gr.Dropdown(list(choices), value=default, label=label, min_width=120)


def _number(name: str, label: str, info: str = "") -> gr.Number:
    minimum, maximum = BOUNDS[name]
    return gr.Number(
        getattr(PageSettings, name), label=label, info=info or None, minimum=minimum,
        maximum=maximum, precision=0, min_width=100,
    )  # fmt: skip


def _optional_number(label: str, placeholder: str, info: str = "") -> gr.Textbox:
    """A text field, because an empty gr.Number sends 0."""
    return gr.Textbox(
        label=label, placeholder=placeholder, info=info or None, max_lines=1, max_length=20,
        min_width=100,
    )  # fmt: skip


def _model_box() -> tuple[gr.Textbox, gr.Button]:
    with gr.Row(elem_id="model-box"):
        name = gr.Textbox(
            label="Another model", info="a Hub id or a folder on this machine", max_lines=1,
            max_length=200, scale=4,
        )  # fmt: skip
        load = gr.Button("Load", size="md", scale=1, min_width=90)
    return name, load
