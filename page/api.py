"""The door for programs: an endpoint with typed inputs that gives files.

`gradio_client` and MCP clients come in here. Knows no visitor and nothing of the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr

from musiclstm import Composer, Composition, RenderError, ScoreError
from page.downloads import file_of
from page.server.deadlines import DEADLINES
from page.session.job import stop_when_done
from page.session.prompt import NOTHING, PromptChoice
from page.session.settings import (
    AS_THE_SEED,
    FREE,
    KEYS,
    METERS,
    PageSettings,
    constraints_of,
    from_values,
    sampling_of,
    surprise_of,
)
from page.ui.errors import show_errors_to_user


class Api:
    """The endpoints.

    Args:
        composer: Who composes.
    """

    def __init__(self, composer: Composer) -> None:
        self.composer = composer

    def continue_midi(
        self,
        midi: str | None = None,
        tune: str = "",
        bars: int = 8,
        adventurous: float = PageSettings.adventurous,
        surprise: float = 0.0,
        key: str = FREE,
        meter: str = AS_THE_SEED,
        random_seed: int = -1,
    ) -> Iterator[tuple[str, str | None, str]]:
        """Let a MIDI file, a bundled tune or nothing at all go on.

        Args:
            midi: A MIDI file of at most 2 MB; by MCP its address, or data:audio/midi;base64,…
            tune: Where no file is given, the title of a bundled tune; empty: begin from nothing.
            bars: New bars, 1 to 64.
            adventurous: 0 (the likeliest note every time) to 1.5 (bold).
            surprise: 0: no unexpected turns; to 0.5: now and then; to 1: often.
            key: "free", "as the seed", or such as "D minor".
            meter: "as the seed", "free", or such as "3/4".
            random_seed: 0 to 4294967295; the same one gives the same music. -1: a fresh one.

        Returns:
            the whole piece as a MIDI file
            its sound as a WAV file, or null where the server cannot play
            its recipe as JSON, from which `Composer.reproduce` makes the same piece
        """
        with show_errors_to_user(), TemporaryDirectory(prefix="musiclstm-") as folder:
            settings = from_values(
                {
                    "bars": bars, "adventurous": adventurous, "surprise": surprise, "key": key,
                    "meter": meter, "random_seed": None if random_seed == -1 else random_seed,
                }
            )  # fmt: skip
            seed = _seed(midi, tune)
            piece = self._compose(seed, settings)
            path = Path(folder)
            midi_file = file_of(piece, kind="midi", folder=path, title=seed.title)
            sound = _sound_of(piece, path, seed.title)
            recipe = piece.recipe
            yield str(midi_file), sound, recipe.to_json() if recipe else ""

    def _compose(self, seed: PromptChoice, settings: PageSettings) -> Any:
        where: dict[str, Any] = {"prompt": seed.prompt, "selection": seed.selection}
        keep = constraints_of(settings, composer=self.composer, **where)
        drafts = self.composer.stream(
            bars=settings.new_bars,
            prompt=seed.prompt,
            sampling=sampling_of(settings),
            surprise=surprise_of(settings),
            constraints=keep,
        )
        piece = None
        with DEADLINES.track() as turn:
            for piece in stop_when_done(drafts, turn):  # noqa: B007 - the last one is the whole
                pass
        if turn.reason:
            raise ScoreError(turn.reason)
        return piece


def register_api(composer: Composer) -> None:
    """Add the endpoints; to be called within `gr.Blocks`."""
    doors, usual = Api(composer), PageSettings()
    with gr.Column(visible=False):
        inputs = [
            gr.File(label="midi"),  # of any name: MCP gives none
            gr.Textbox("", label="tune", max_length=200),
            gr.Number(usual.bars, precision=0, label="bars"),
            gr.Number(usual.adventurous, label="adventurous"),
            gr.Number(usual.surprise, label="surprise"),
            gr.Dropdown(list(KEYS), value=usual.key, label="key"),
            gr.Dropdown(list(METERS), value=usual.meter, label="meter"),
            gr.Number(-1, precision=0, label="random seed"),
        ]
        outputs = [gr.File(label="midi"), gr.File(label="wav"), gr.Textbox(label="recipe")]
        button = gr.Button("continue")
    button.click(doors.continue_midi, inputs, outputs, api_name="continue", concurrency_id="work")


def _seed(midi: str | None, tune: str) -> PromptChoice:
    if midi:
        return PromptChoice.read(Path(midi))
    return PromptChoice.bundled(tune) if tune else NOTHING


def _sound_of(piece: Composition, folder: Path, title: str) -> str | None:
    """The WAV file; None without FluidSynth or a SoundFont."""
    try:
        return str(file_of(piece, kind="wav", folder=folder, title=title))
    except RenderError:
        return None
