"""Samples while the network is trained: MIDI, picture and sound at every evaluation.

Random seeds and prompts are always the same, so that only the network makes a difference. Every
second sample continues the first bars of a held-out piece; the others have no prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from musiclstm.audio import render
from musiclstm.errors import MusicLSTMError, RenderError
from musiclstm.export import pianoroll_svg
from musiclstm.generation import Composer, Composition, Sampling
from musiclstm.model import MusicLSTMForCausalLM
from musiclstm.tokens import MusicTokenizer
from training.networks import export_copy

SAMPLES_FOLDER = "samples"
BARS, PROMPT_BARS = 8, 4


class Listening(TrainerCallback):
    """Composes a few pieces with the weights of the moment into `samples/step-000400/`."""

    def __init__(
        self,
        model: MusicLSTMForCausalLM,
        tokenizer: MusicTokenizer,
        pieces: Sequence[np.ndarray],
        *,
        count: int,
        say: Callable[[str], None],
    ) -> None:
        """Take how many to compose, and held-out pieces (token ids) to continue."""
        self._model, self._tokenizer = model, tokenizer
        self._pieces, self._count, self._say = pieces, count, say
        self._sound, self._complained = True, False

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Called after every evaluation, while the network has the weights that were evaluated."""
        if not state.is_world_process_zero or not self._count:
            return
        folder = Path(str(args.output_dir)) / SAMPLES_FOLDER / f"step-{state.global_step:06d}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._write_all(state.global_step, folder)
        except OSError as error:
            self._complain(error)

    def _write_all(self, step: int, folder: Path) -> None:
        composer = self._composer()
        for number in range(1, self._count + 1):
            try:
                self._write(composer, number, folder / f"sample-{number}")
            except (MusicLSTMError, ValueError) as error:
                self._say(f"Sample {number} of step {step:,} is missing: {error}")

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            reason = error.strerror or str(error)
            self._say(f"The samples cannot be written: {reason}. Training continues without them.")
        self._complained = True

    def _composer(self) -> Composer:
        return Composer(export_copy(self._model), self._tokenizer)

    def _write(self, composer: Composer, number: int, stem: Path) -> None:
        piece = self._compose(composer, number)
        piece.save_midi(stem.with_suffix(".mid"))
        end = piece.prompt_end_tick if piece.prompt_bars else None
        roll = pianoroll_svg(piece.score, prompt_end_tick=end)
        stem.with_suffix(".svg").write_text(roll, encoding="utf-8")
        if self._sound and piece.score.note_num():
            self._render(piece, stem)

    def _compose(self, composer: Composer, number: int) -> Composition:
        sampling = Sampling(seed=number)
        if number % 2 or not self._pieces:
            return composer.compose(bars=BARS, sampling=sampling)
        ids = self._pieces[(number // 2 - 1) % len(self._pieces)]
        prompt = self._tokenizer.decode(ids)
        return composer.compose(
            bars=BARS, prompt=prompt, prompt_bars=PROMPT_BARS, sampling=sampling
        )

    def _render(self, piece: Composition, stem: Path) -> None:
        try:
            render(piece.score).save(stem.with_suffix(".mp3"))
        except RenderError as error:
            self._sound = False  # said once; MIDI and pictures go on
            self._say(f"Samples stay silent: {error}")
