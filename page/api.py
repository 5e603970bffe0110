"""Documented endpoints for `gradio_client` and MCP clients: typed inputs, files as outputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr

from musiclstm import (
    Composer,
    Composition,
    RenderError,
    ScoreError,
    render,
)
from musiclstm.errors import shorten
from musiclstm.generation import read_programs
from musiclstm.midi import slice_score
from page.downloads import file_of, safe_name
from page.server.deadlines import DEADLINES
from page.session.composer_options import constraints_of, sampling_of, surprise_of
from page.session.edits import Edit
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
    """The endpoints.

    Args:
        composer: Composer of all requests.
    """

    def __init__(self, composer: Composer) -> None:
        self.composer = composer

    def continue_midi(
        self,
        midi: str | None = None,
        tune: str = "",
        bars: int = PageSettings.bars,
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

    def regenerate_midi(
        self,
        midi: str | None = None,
        tune: str = "",
        bars: str = "",
        parts: str = "",
        adventurous: float = PageSettings.adventurous,
        key: str = FREE,
        random_seed: int = -1,
    ) -> Iterator[tuple[str, str | None, int]]:
        """Compose some bars or parts of a MIDI file again and keep the rest; yield one result.

        Args:
            midi: A MIDI file of at most 2 MB; over MCP its address, or data:audio/midi;base64,…
            tune: Title of a bundled tune, if no file is given.
            bars: First and last bar to compose, such as 5-8, at most 64; empty: all.
            parts: Parts to compose by number or name, such as 2,Violin; empty: all.
            adventurous: Sampling temperature, 0 (always the likeliest note) to 1.5 (bold).
            key: Of the new notes: "free", "as the prompt", or a name such as "D minor".
            random_seed: 0 to 4294967295; equal seeds give equal music. -1: a new one.

        Returns:
            the whole piece as a MIDI file
            the sound of the composed bars as a WAV file, or null if the server has no SoundFont
            the random seed
        """
        with show_errors_to_user(), TemporaryDirectory(prefix="musiclstm-") as name:
            settings = _settings_of(adventurous, key, random_seed)
            prompt = _piece_of(midi, tune)
            edit = Edit(_bars_of(bars), _parts_of(parts))
            yield self._edited(edit, prompt, settings, Path(name))

    def accompany_midi(
        self,
        midi: str | None = None,
        tune: str = "",
        parts: str = "",
        programs: str = "",
        adventurous: float = PageSettings.adventurous,
        key: str = FREE,
        random_seed: int = -1,
    ) -> Iterator[tuple[str, str | None, int]]:
        """Keep parts of a MIDI file of at most 64 bars, compose others to them; yield one result.

        Args:
            midi: A MIDI file of at most 2 MB; over MCP its address, or data:audio/midi;base64,…
            tune: Title of a bundled tune, if no file is given.
            parts: Parts to keep by number or name, such as 1,Flute; empty: all.
            programs: Names or MIDI programs of new parts, -1 for drums, such as 32,flute; empty:
                the parts that are not kept are composed again.
            adventurous: Sampling temperature, 0 (always the likeliest note) to 1.5 (bold).
            key: Of the new notes: "free", "as the prompt", or a name such as "D minor".
            random_seed: 0 to 4294967295; equal seeds give equal music. -1: a new one.

        Returns:
            the whole piece as a MIDI file
            its sound as a WAV file, or null if the server has no SoundFont
            the random seed
        """
        with show_errors_to_user(), TemporaryDirectory(prefix="musiclstm-") as name:
            settings = _settings_of(adventurous, key, random_seed)
            prompt = _piece_of(midi, tune)
            edit = Edit(None, _parts_of(parts), _programs_of(programs), keeps=True)
            yield self._edited(edit, prompt, settings, Path(name))

    def _edited(
        self, edit: Edit, prompt: PromptChoice, settings: PageSettings, folder: Path
    ) -> tuple[str, str | None, int]:
        assert prompt.prompt is not None
        assert prompt.summary is not None
        with DEADLINES.track() as job:
            piece = edit.apply(self.composer, prompt.prompt, prompt.summary.bars, settings)
        if job.reason:
            raise ScoreError(job.reason)
        name = f"musiclstm-{safe_name(prompt.title)}-{piece.seed}"
        midi_file = piece.save_midi(folder / f"{name}.mid")
        try:
            sound = render(slice_score(piece.score, piece.start_tick, piece.end_tick))
        except RenderError:
            return str(midi_file), None, piece.seed
        return str(midi_file), str(sound.save(folder / f"{name}.wav")), piece.seed

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
    """Add the endpoints; call it within `gr.Blocks`."""

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
    api = Api(composer)
    button.click(api.continue_midi, inputs, outputs, api_name="continue", concurrency_id="work")
    with gr.Column(visible=False):
        for name, handler, texts in (
            ("regenerate", api.regenerate_midi, ("bars", "parts")),
            ("accompany", api.accompany_midi, ("parts", "programs")),
        ):
            inputs = [
                gr.File(label="midi"),
                *(gr.Textbox("", label=text, max_length=200) for text in ("tune", *texts)),
                gr.Number(default.adventurous, label="adventurous"),
                choices(KEYS, default.key, "key"),
                gr.Number(-1, precision=0, label="random seed"),
            ]
            outputs = [gr.File(label="midi"), gr.File(label="wav"), gr.Number(label="random seed")]
            button = gr.Button(name)
            button.click(handler, inputs, outputs, api_name=name, concurrency_id="work")


def _prompt_of(midi: str | None, tune: str) -> PromptChoice:
    if midi:
        return PromptChoice.read(Path(midi))
    return PromptChoice.bundled(tune) if tune else NOTHING


def _wav_of(piece: Composition, folder: Path, title: str) -> str | None:
    try:
        return str(file_of(piece, kind="wav", folder=folder, title=title))
    except RenderError:
        return None


# Bars and parts -----------------------------------------------------------------------------------


def _settings_of(adventurous: float, key: str, random_seed: int) -> PageSettings:
    seed = None if random_seed == -1 else random_seed
    return from_values({"adventurous": adventurous, "key": key, "random_seed": seed})


def _piece_of(midi: str | None, tune: str) -> PromptChoice:
    prompt = _prompt_of(midi, tune)
    if prompt.summary is None:
        raise ScoreError("There is no piece to change; pass a MIDI file, or a bundled tune.")
    return prompt


def _bars_of(text: str) -> tuple[int, int] | None:
    first, _, last = text.partition("-")
    try:
        return (int(first), int(last or first)) if text else None
    except ValueError as error:
        raise ScoreError(f"bars must be numbers such as 5-8, got {shorten(text)}.") from error


def _parts_of(text: str) -> tuple[str, ...] | None:
    return tuple(text.split(",")) if text else None


def _programs_of(text: str) -> tuple[int, ...] | None:
    try:
        return tuple(read_programs(text)) if text else None
    except ValueError as error:
        raise ScoreError(f"programs: {error}.") from error
