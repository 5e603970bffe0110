"""What stands on the page and where: every component, theme and style; not one event.

Nothing here composes or reads what a visitor chose. Components are never shown or hidden by
`visible`, for Gradio builds them anew then and loses updates; page.css hides what is empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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
from page.ui.prompt_cards import example_cards

CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
PRESSES = ("go", "four", "on", "anew", "surprise")  # buttons after which the first player begins

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
    button_primary_background_fill="#cf5a08",  # the new music's own colour
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
    """Where the music to go on from is chosen."""

    cards: gr.HTML
    upload: gr.File
    about: gr.HTML
    roll: gr.HTML
    tracks: gr.CheckboxGroup
    first_bar: gr.Number
    last_bar: gr.Textbox
    keep_others: gr.Checkbox

    @property
    def choice(self) -> list[Component]:
        """What says which part of it goes on, in the order of `Seed.choosing`."""
        return [self.tracks, self.first_bar, self.last_bar, self.keep_others]


@dataclass(frozen=True)
class PlayerPanel:
    """One of four players and what belongs to it."""

    caption: gr.HTML
    player: gr.HTML
    keep: gr.Button
    switch: gr.Button


@dataclass(frozen=True)
class ResultPanel:
    """What can be done with a piece."""

    on: gr.Button
    anew: gr.Button
    bar: gr.Number
    undo: gr.Button
    redo: gr.Button
    history: gr.HTML
    files: Mapping[str, gr.Button]
    fetched: gr.DownloadButton
    link_code: gr.Textbox
    link: gr.Textbox


@dataclass(frozen=True)
class Page:
    """Every component that an event reads or writes.

    Args:
        desk: What the visitor has.
        controls: By the field of `PageSettings` that each of them sets.
        recipe: The recipe in the page's address, or one that waits for its file.
        places: Where the listener is on each player, in seconds; filled by the browser.
    """

    desk: gr.State
    seed: PromptPanel
    go: gr.Button
    four: gr.Button
    stop: gr.Button
    status: gr.HTML
    takes: tuple[PlayerPanel, ...]
    after: ResultPanel
    controls: Mapping[str, Component]
    swap_old: gr.Dropdown
    swap_new: gr.Dropdown
    model_name: gr.Textbox | None
    model_load: gr.Button | None
    model_card: gr.HTML
    recipe: gr.Textbox
    places: gr.Textbox


def build_layout(shelf: ChunkCache, model_card: str, *, model_box: bool = False) -> Page:
    """Build all components; to be called within `gr.Blocks`.

    Args:
        shelf: Where the sound of the players lies.
        model_card: What is said about the model, as HTML.
        model_box: Whether visitors may choose another model.
    """
    desk = gr.State(Session())
    gr.HTML(html.HEADER, elem_id="top")
    seed = _seed_panel(shelf)
    with gr.Row(elem_id="work"):
        with gr.Column(scale=5, min_width=320, elem_id="result"):
            go, four, stop = _buttons()
            status = gr.HTML(html.WAITING, elem_id="status")
            with gr.Row(elem_id="takes"):
                takes = tuple(_take(letter, shelf) for letter in LETTERS)
            after = _after()
        with gr.Column(scale=2, min_width=300, elem_id="steer"):
            controls, swap_old, swap_new = _controls()
    with gr.Column(elem_id="foot"):
        model_name, model_load = _model_box() if model_box else (None, None)
        card = gr.HTML(model_card, elem_id="model")
    recipe = gr.Textbox(visible="hidden", label="recipe")
    places = gr.Textbox(visible="hidden", label="places")
    return Page(
        desk, seed, go, four, stop, status, takes, after, controls, swap_old, swap_new,
        model_name, model_load, card, recipe, places,
    )  # fmt: skip


# ------------------------------------------------------------------------------------- the seed


def _seed_panel(shelf: ChunkCache) -> PromptPanel:
    tunes = {title: read_midi(path)[0] for title, path in example_files().items()}
    first = default_prompt()
    with gr.Row(elem_id="begin", equal_height=True):
        chosen = example_cards(tunes, chosen=first.title)
        kinds = [".mid", ".midi"]
        upload = gr.File(file_types=kinds, label="Your own MIDI file", elem_id="drop")
    with gr.Column(elem_id="seed"):
        about = gr.HTML(html.prompt_summary(first), elem_id="about")
        roll = player("seed-roll", label="The seed", cache=shelf)
        roll.value = PromptPreview(first, shelf).update()
        with gr.Accordion("Choose tracks and bars", open=False, elem_id="part"):
            names = html.tracks(first)
            tracks = gr.CheckboxGroup(
                names, value=[number for _, number in names], label="Tracks that go on"
            )
            with gr.Row():
                first_bar = gr.Number(1, label="From bar", precision=0, minimum=1, min_width=90)
                last_bar = _wish("To bar", "the last")
                keep = gr.Checkbox(
                    True, label="The other tracks play along", min_width=200, container=False
                )
    return PromptPanel(chosen, upload, about, roll, tracks, first_bar, last_bar, keep)


# ------------------------------------------------------------------------------------ the result


def _buttons() -> tuple[gr.Button, gr.Button, gr.Button]:
    with gr.Row(elem_id="press"):
        go = gr.Button(
            "Continue", elem_id="go", variant="primary", size="lg", scale=5, min_width=150
        )
        four = gr.Button("Four takes", elem_id="four", size="lg", scale=2, min_width=110)
        stop = gr.Button(
            "Stop", elem_id="stop", size="lg", scale=1, min_width=70, interactive=False
        )
    return go, four, stop


def _take(letter: str, shelf: ChunkCache) -> PlayerPanel:
    low = letter.lower()
    armed_by = PRESSES if letter == LETTERS[0] else ()
    with gr.Column(elem_id=f"take-{low}", elem_classes="take", min_width=280):
        caption = gr.HTML("", elem_classes="caption")
        shown = player(f"roll-{low}", label=f"Take {letter}", cache=shelf, armed_by=armed_by)
        with gr.Row(elem_classes="choose"):
            switch = gr.Button(f"Hear {letter} from here", size="sm", min_width=120)
            keep = gr.Button(f"Keep {letter}", size="sm", min_width=80)
    return PlayerPanel(caption, shown, keep, switch)


def _after() -> ResultPanel:
    """Hidden by page.css until there is a piece."""
    with gr.Column(elem_id="after"):
        with gr.Row(elem_id="next"):
            on = gr.Button("Go on from here", elem_id="on", size="md", min_width=140)
            undo = gr.Button("Undo", size="md", min_width=70, interactive=False)
            redo = gr.Button("Redo", size="md", min_width=70, interactive=False)
            with gr.Row(elem_id="again"):
                anew = gr.Button("New from bar", elem_id="anew", size="md", min_width=110)
                bar = gr.Number(
                    1, label="New bar to begin again at", show_label=False, container=False,
                    precision=0, minimum=1, min_width=60,
                )  # fmt: skip
        history = gr.HTML("", elem_id="history", js_on_load=html.HISTORY_SCRIPT)
        gr.HTML("<h2>Take home</h2>")
        with gr.Row(elem_id="home"):
            files = {
                kind: gr.Button(label, size="sm", min_width=90) for kind, label in KINDS.items()
            }
        link_code = gr.Textbox(visible="hidden", label="link code")
        link = gr.Textbox(
            label="A link that makes this piece again", interactive=False, buttons=["copy"],
            max_lines=1, elem_id="link",
        )  # fmt: skip
        fetched = gr.DownloadButton(visible="hidden")
    return ResultPanel(on, anew, bar, undo, redo, history, files, fetched, link_code, link)


# ---------------------------------------------------------------------------------- the controls


def _controls() -> tuple[dict[str, Component], gr.Dropdown, gr.Dropdown]:
    usual = PageSettings()
    controls = _main_controls(usual)
    with gr.Accordion("More", open=False):
        controls |= _more_controls(usual)
    with gr.Accordion("Sound", open=False):
        sound, swap_old, swap_new = _sound_controls(usual)
    return controls | sound, swap_old, swap_new


def _main_controls(usual: PageSettings) -> dict[str, Component]:
    playable = [(instrument_name(program), program) for program in (*range(128), -1)]
    controls: dict[str, Component] = {
        "bars": _slider("bars", usual, "New bars", step=1),
        "endless": gr.Checkbox(False, label="Endless, until you press Stop", container=False),
        "adventurous": _slider("adventurous", usual, "Adventurous", "careful … bold", step=0.05),
        "surprise": _slider("surprise", usual, "Surprise", "none, now and then, often", step=0.5),
        "copy_weight": _slider(
            "copy_weight", usual, "Copying", "earlier bars: none … much", step=0.1
        ),
    }
    with gr.Row(elem_classes="pair"):
        controls["key"] = gr.Dropdown(list(KEYS), value=usual.key, label="Key", min_width=120)
        controls["meter"] = gr.Dropdown(
            list(METERS), value=usual.meter, label="Meter", min_width=120
        )
    controls["instruments"] = gr.Dropdown(
        playable, value=[], multiselect=True, label="Instruments", info="none chosen: as the seed"
    )
    with gr.Row(elem_classes="pair"):
        controls["random_seed"] = _wish("Random seed", "a new one")
        controls["locked"] = gr.Checkbox(
            False, label="Lock it", min_width=90, container=False, elem_id="lock"
        )
    return controls


def _more_controls(usual: PageSettings) -> dict[str, Component]:
    controls: dict[str, Component] = {
        "ending": gr.Checkbox(False, label="Come to a close", container=False),
        "tempo_bpm": _wish("Tempo", "as the seed", "quarters a minute"),
    }
    with gr.Row(elem_classes="pair"):
        controls["lowest"] = _number("lowest", "Lowest pitch")
        controls["highest"] = _number("highest", "Highest pitch")
    with gr.Row(elem_classes="pair"):
        controls["fewest_notes"] = _number("fewest_notes", "Notes in a bar", "fewest")
        controls["most_notes"] = _wish("Notes in a bar", "no limit", "most")
    controls["most_at_once"] = _wish("Notes at once, at most", "no limit")
    with gr.Row(elem_classes="pair"):
        controls["pitch_temperature"] = _wish("Adventurous", "the same", "in pitches")
        controls["rhythm_temperature"] = _wish("Adventurous", "the same", "in rhythm")
    return controls | {
        "top_p": _slider("top_p", usual, "Top-p", "share of the likeliest tokens", step=0.01),
        "top_k": _slider("top_k", usual, "Top-k", "so many likeliest; 0: no limit", step=1),
        "min_p": _slider("min_p", usual, "Min-p", "of the likeliest; 0: no limit", step=0.01),
    }


def _sound_controls(usual: PageSettings) -> tuple[dict[str, Component], gr.Dropdown, gr.Dropdown]:
    fonts = list(installed_soundfonts())
    controls: dict[str, Component] = {
        "soundfont": gr.Dropdown(fonts, value=fonts[0] if fonts else None, label="SoundFont"),
        "reverb": _slider("reverb", usual, "Reverb", step=0.05),
        "chorus": _slider("chorus", usual, "Chorus", step=0.05),
        "gain_db": _slider("gain_db", usual, "Gain", "dB", step=1),
        "swaps": gr.State({}),
    }
    with gr.Row(elem_classes="pair"):
        old = gr.Dropdown([], label="Let this instrument", min_width=120)
        new = gr.Dropdown(
            [("itself", -1), *((instrument_name(number), number) for number in range(128))],
            value=-1, label="sound as", min_width=120,
        )  # fmt: skip
    return controls, old, new


def _slider(
    name: str, usual: PageSettings, label: str, info: str = "", *, step: float
) -> gr.Slider:
    least, most = BOUNDS[name]
    return gr.Slider(
        least, most, getattr(usual, name), step=step, label=label, info=info or None, buttons=[]
    )


def _number(name: str, label: str, info: str = "") -> gr.Number:
    least, most = BOUNDS[name]
    return gr.Number(
        getattr(PageSettings, name), label=label, info=info or None, minimum=least, maximum=most,
        precision=0, min_width=100,
    )  # fmt: skip


def _wish(label: str, empty: str, info: str = "") -> gr.Textbox:
    """A field for a number that may be left empty; Gradio's own shows 0 then, and means it."""
    return gr.Textbox(
        label=label, placeholder=empty, info=info or None, max_lines=1, max_length=20, min_width=100
    )


def _model_box() -> tuple[gr.Textbox, gr.Button]:
    with gr.Row(elem_id="model-box"):
        name = gr.Textbox(
            label="Another model", info="a Hub id or a folder of this machine", max_lines=1,
            max_length=200, scale=4,
        )  # fmt: skip
        load = gr.Button("Load", size="md", scale=1, min_width=90)
    return name, load
