"""Documented endpoint for `gradio_client` and MCP clients: typed inputs, files as outputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr

from musiclstm import Composer, Composition, RenderError, ScoreError
from page.downloads import file_of
from page.server.deadlines import DEADLINES
from page.session.composer_options import constraints_of, sampling_of, surprise_of
from page.session.job import stop_when_done
from page.session.prompt import NOTHING, PromptChoice
from page.session.settings import (
    AS_PROMPT,
    FREE,
    KEYS,
    METERS,
    OLD_AS_PROMPT,
    PageSettings,
    from_values,
)
from page.ui.errors import show_errors_to_user


class Api:
    """The endpoint.

    Args:
        composer: Composer of all requests.
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
        meter: str = AS_PROMPT,
        random_seed: int = -1,
    ) -> Iterator[tuple[str, str | None, str]]:
        """Continue a MIDI file or an example, or compose a new piece; yield one result.

        Args:
            midi: A MIDI file of at most 2 MB; over MCP its address, or data:audio/midi;base64,…
            tune: Title of a bundled tune, if no file is given; empty: start from nothing.
            bars: New bars, 1 to 64.
            adventurous: Sampling temperature, 0 (always the likeliest note) to 1.5 (bold).
            surprise: 0: no unexpected turns; up to 0.5: now and then; up to 1: often.
            key: "free", "as the prompt", or a name such as "D minor".
            meter: "as the prompt", "free", or a meter such as "3/4".
            random_seed: 0 to 4294967295; equal seeds give equal music. -1: a new one.

        Returns:
            the whole piece as a MIDI file
            its sound as a WAV file, or null if the server has no SoundFont
            its recipe as JSON, from which `Composer.reproduce` composes the same piece
        """
        with show_errors_to_user(), TemporaryDirectory(prefix="musiclstm-") as name:
            values = {
                "bars": bars, "adventurous": adventurous, "surprise": surprise, "key": key,
                "meter": meter, "random_seed": None if random_seed == -1 else random_seed,
            }  # fmt: skip
            settings, folder = from_values(values), Path(name)
            prompt = _prompt_of(midi, tune)
            piece = self._compose(prompt, settings)
            midi_file = file_of(piece, kind="midi", folder=folder, title=prompt.title)
            recipe = piece.recipe.to_json() if piece.recipe else ""
            yield str(midi_file), _wav_of(piece, folder, prompt.title), recipe

    def _compose(self, prompt: PromptChoice, settings: PageSettings) -> Composition:
        constraints = constraints_of(
            settings, composer=self.composer, prompt=prompt.prompt, selection=prompt.selection
        )
        drafts = self.composer.stream(
            bars=settings.new_bars,
            prompt=prompt.prompt,
            sampling=sampling_of(settings),
            surprise=surprise_of(settings),
            constraints=constraints,
        )
        with DEADLINES.track() as job:
            *_, piece = stop_when_done(drafts, job)
        if job.reason:
            raise ScoreError(job.reason)
        return piece


def register_api(composer: Composer) -> None:
    """Add the endpoint; call it within `gr.Blocks`."""

    def choices(names: tuple[str, ...], default: str, label: str) -> gr.Dropdown:
        return gr.Dropdown([*names, OLD_AS_PROMPT], value=default, label=label)

    default = PageSettings()
    with gr.Column(visible=False):
        inputs: list[Any] = [
            gr.File(label="midi"),  # without a list of suffixes: files from MCP have none
            gr.Textbox("", label="tune", max_length=200),
            gr.Number(default.bars, precision=0, label="bars"),
            gr.Number(default.adventurous, label="adventurous"),
            gr.Number(default.surprise, label="surprise"),
            choices(KEYS, default.key, "key"),
            choices(METERS, default.meter, "meter"),
            gr.Number(-1, precision=0, label="random seed"),
        ]
        outputs = [gr.File(label="midi"), gr.File(label="wav"), gr.Textbox(label="recipe")]
        button = gr.Button("continue")
    handler = Api(composer).continue_midi
    button.click(handler, inputs, outputs, api_name="continue", concurrency_id="work")


def _prompt_of(midi: str | None, tune: str) -> PromptChoice:
    if midi:
        return PromptChoice.read(Path(midi))
    return PromptChoice.bundled(tune) if tune else NOTHING


def _wav_of(piece: Composition, folder: Path, title: str) -> str | None:
    try:
        return str(file_of(piece, kind="wav", folder=folder, title=title))
    except RenderError:
        return None
