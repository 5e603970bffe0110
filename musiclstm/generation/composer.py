"""`Composer`: continue a prompt, or compose a new piece."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Literal, TypeAlias

from symusic.core import TempoTick

from musiclstm._lazy import old_method
from musiclstm.errors import RecipeError, shorten
from musiclstm.generation.bar_plan import Surprise
from musiclstm.generation.composition import Composition, GeneratedBar
from musiclstm.generation.constraints import Constraints
from musiclstm.generation.decoding.inference import MAX_ROWS, Engine, InferenceModel
from musiclstm.generation.decoding.sampling import MAX_SEED, Sampling
from musiclstm.generation.pipeline import Overrides, Pipeline, ending_bar
from musiclstm.generation.prompt import (
    Prompt,
    PromptSource,
    Selection,
    check_bars,
    find_prompt,
    read_prompt,
)
from musiclstm.generation.recipe import ModelInfo, Recipe, digest_of
from musiclstm.midi import analysis
from musiclstm.model.checkpoint import DEFAULT, load_checkpoint
from musiclstm.model.modeling_musiclstm import MusicLSTMForCausalLM
from musiclstm.tokens import MusicTokenizer

Precision: TypeAlias = Literal["int8", "float32"]


class Composer:
    """Continue prompts and compose new pieces with one checkpoint.

    A composer is stateless: threads and users can share one.
    """

    def __init__(
        self,
        model: MusicLSTMForCausalLM,
        tokenizer: MusicTokenizer,
        *,
        precision: Precision | None = None,
        name: str = "",
    ) -> None:
        """Use a loaded model and its tokenizer; `from_pretrained` loads both.

        `name` is the model's name in recipes.
        """
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self._inference = InferenceModel(model, engine=_engine(precision))
        self._pipeline = Pipeline(self._inference, tokenizer, model.config.programs)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = DEFAULT,
        *,
        revision: str | None = None,
        precision: Precision | None = None,
    ) -> Composer:
        """Load weights and tokenizer by one name.

        Args:
            name: "default" for the bundled weights, a checkpoint folder, or a Hub id.
            revision: Branch, tag or commit on the Hub; None: its main branch.
            precision: `int8` or `float32` network steps; None: int8 where this machine computes it
                fast.

        Raises:
            CheckpointError: A file is missing or unreadable, or files are of different runs.
        """
        model, tokenizer = load_checkpoint(name, revision=revision)
        recorded = Path(name).resolve().name if Path(name).is_dir() else str(name)
        return cls(model, tokenizer, precision=precision, name=recorded)

    def compose(
        self,
        *,
        bars: int = 16,
        prompt: PromptSource | None = None,
        prompt_bars: int | None = None,
        prompt_selection: Selection | None = None,
        sampling: Sampling | None = None,
        constraints: Constraints | None = None,
        surprise: Surprise | None = None,
    ) -> Composition:
        """Continue a prompt by an exact number of bars, or compose a new piece.

        Args:
            bars: New bars, 1 to 4096.
            prompt: A MIDI file, its bytes, or a score. None: a new piece.
            prompt_bars: Use only the first so many bars of the prompt. None: all.
            prompt_selection: Use only these tracks and bars of the prompt. None: all.
            sampling: How notes are sampled. None: the defaults.
            constraints: Constraints on the music. None: those of `default_constraints`.
            surprise: In which bars the music deviates. None: in none.

        Raises:
            ScoreError: The prompt cannot be read, does not have what was selected, or has no notes
                where it is used.
            ValueError: bars or prompt_bars out of range, or constraints that cannot be met.
        """
        check_bars("bars", bars)
        overrides = Overrides(sampling, constraints, surprise)
        piece = self._start(self._read_prompt(prompt, prompt_bars, prompt_selection), overrides)
        return self._pipeline.extend(piece, bars, ending_bar(piece, bars))

    def compose_many(
        self,
        count: int,
        *,
        bars: int = 16,
        after: Composition | None = None,
        prompt: PromptSource | None = None,
        prompt_bars: int | None = None,
        prompt_selection: Selection | None = None,
        sampling: Sampling | None = None,
        constraints: Constraints | None = None,
        surprise: Surprise | None = None,
    ) -> tuple[Composition, ...]:
        """Compose several alternatives in one batch, faster than one after the other.

        Their random seeds count up from that of `sampling`; `compose` with one of these seeds gives
        the same piece. `count` is the number of alternatives, 1 to 32. `after` is a piece to
        continue in place of a prompt; defaults are then those of `extend`. The other arguments are
        those of `compose`.

        Raises:
            ScoreError: As in `compose`.
            ValueError: As in `compose`, or count out of range.
        """
        overrides = Overrides(sampling, constraints, surprise)
        piece = self._start_after(after, bars, prompt, prompt_bars, prompt_selection, overrides)
        return self._pipeline.extend_many(_with_seeds(piece, count), bars)

    def stream_many(
        self,
        count: int,
        *,
        bars: int = 16,
        after: Composition | None = None,
        prompt: PromptSource | None = None,
        prompt_bars: int | None = None,
        prompt_selection: Selection | None = None,
        sampling: Sampling | None = None,
        constraints: Constraints | None = None,
        surprise: Surprise | None = None,
    ) -> Iterator[tuple[int, Composition]]:
        """Yield index, from 0, and state of an alternative whenever it has one more bar.

        Arguments and errors are those of `compose_many`; errors are raised before the first bar.
        """
        overrides = Overrides(sampling, constraints, surprise)
        piece = self._start_after(after, bars, prompt, prompt_bars, prompt_selection, overrides)
        return self._pipeline.stream(_with_seeds(piece, count), bars)

    def stream(
        self,
        *,
        bars: int = 16,
        after: Composition | None = None,
        prompt: PromptSource | None = None,
        prompt_bars: int | None = None,
        prompt_selection: Selection | None = None,
        sampling: Sampling | None = None,
        constraints: Constraints | None = None,
        surprise: Surprise | None = None,
    ) -> Iterator[Composition]:
        """Yield the piece of `compose`, or of `extend` with `after`, after each new bar.

        Errors are those of `compose` and are raised before the first bar.
        """
        overrides = Overrides(sampling, constraints, surprise)
        piece = self._start_after(after, bars, prompt, prompt_bars, prompt_selection, overrides)
        return (draft for _, draft in self._pipeline.stream([piece], bars))

    def stream_endless(
        self,
        *,
        prompt: PromptSource | None = None,
        prompt_bars: int | None = None,
        prompt_selection: Selection | None = None,
        sampling: Sampling | None = None,
        constraints: Constraints | None = None,
        surprise: Surprise | None = None,
    ) -> Iterator[GeneratedBar]:
        """Yield bars without end, in constant memory; they equal those of `compose`.

        Arguments are those of `compose`; the bars do not contain tracks that only accompany.

        Raises:
            ScoreError: As in `compose`.
            ValueError: As in `compose`, or constraints that request an ending.
        """
        overrides = Overrides(sampling, constraints, surprise)
        piece = self._start(self._read_prompt(prompt, prompt_bars, prompt_selection), overrides)
        if piece.constraints.ending:
            raise ValueError("Endless music has no ending; leave constraints.ending out.")
        return (_with_tempo(bar, piece) for bar in self._pipeline.stream_endless(piece))

    def extend(
        self,
        piece: Composition,
        *,
        bars: int = 8,
        sampling: Sampling | None = None,
        constraints: Constraints | None = None,
        surprise: Surprise | None = None,
    ) -> Composition:
        """Continue a composition by a number of bars, without reading it again.

        Args:
            piece: Composed by this composer; left unchanged.
            bars: New bars, 1 to 4096.
            sampling: How notes are sampled. None: as in `piece`, random seed included; the result
                then equals a longer `compose`.
            constraints: Constraints on the new bars. None: as in `piece`.
            surprise: In which bars the music deviates; their numbers include those of `piece`.
                None: as in `piece`.

        Raises:
            ValueError: bars out of range, or constraints that cannot be met.
        """
        check_bars("bars", bars)
        piece = self._pipeline.with_overrides(piece, Overrides(sampling, constraints, surprise))
        return self._pipeline.extend(piece, bars, ending_bar(piece, bars))

    def reproduce(self, recipe: Recipe, *, prompt: PromptSource | None = None) -> Composition:
        """Compose a piece again from its recipe, with the same MIDI bytes.

        Args:
            recipe: `Composition.recipe`, or what `read_recipe` found in a file.
            prompt: The file that the piece continues. None: it has no prompt, or an example file.

        Raises:
            RecipeError: The recipe is of other weights, another precision or another prompt, or
                gives other music on this machine.
            ScoreError: The prompt cannot be read.
            ValueError: Constraints that cannot be met.
        """
        self._check_model(recipe.model_info)
        reference, read = recipe.source, None
        if (found := find_prompt(reference, prompt)) is not None and reference is not None:
            read = self._read_prompt(found, reference.prompt_bars, reference.selection)
            read = None if read is None else replace(read, source=reference)
        first = recipe.steps[0] if recipe.steps else None
        overrides = Overrides() if first is None else Overrides(first.sampling, first.constraints)
        piece = replace(self._start(read, overrides), model_info=recipe.model_info)
        for step in recipe.steps:
            overrides = Overrides(step.sampling, step.constraints, step.surprise)
            piece = self._pipeline.with_overrides(piece, overrides)
            end = step.end or ending_bar(piece, step.bars)
            piece = self._pipeline.extend(piece, step.bars, end)
        if recipe.music and recipe.music != digest_of(piece.tokens):
            raise RecipeError(
                "This recipe gives other music on this machine: the last bit of a step may differ "
                "between processors and without a C compiler. Keep the MIDI file itself."
            )
        return piece

    def default_constraints(
        self,
        prompt: PromptSource | None = None,
        *,
        prompt_bars: int | None = None,
        prompt_selection: Selection | None = None,
    ) -> Constraints:
        """Return the default constraints of a prompt; change them by `dataclasses.replace`.

        They are its instruments, its last meter, the number of notes of its fullest chord, and no
        change of tempo. Without a prompt nothing is constrained.

        Raises:
            ScoreError: As in `compose`.
        """
        read = self._read_prompt(prompt, prompt_bars, prompt_selection)
        return Constraints() if read is None else read.constraints

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with any weight and with the tokenizer."""
        digest = hashlib.sha256(self.tokenizer.fingerprint.encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode() + tensor.detach().float().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    # Names of version 0.2; removed in 0.4.
    takes = old_method("Composer.takes", compose_many)
    stream_takes = old_method("Composer.stream_takes", stream_many)
    endless = old_method("Composer.endless", stream_endless)
    follow = old_method("Composer.follow", reproduce)
    constraints_of = old_method("Composer.constraints_of", default_constraints)

    @property
    def _model_info(self) -> ModelInfo:
        from musiclstm import __version__

        precision = "int8" if self._inference.engine == "compiled" else "float32"
        return ModelInfo(self.name, self.fingerprint, precision, __version__)

    def _check_model(self, recorded: ModelInfo) -> None:
        own = self._model_info
        if recorded.weights != own.weights:
            raise RecipeError(
                f"This recipe was made with weights {shorten(recorded.weights)} of the model "
                f"{shorten(recorded.model)}, and these are {own.weights!r} of {own.model!r}; load "
                "the model that the recipe names."
            )
        if recorded.precision != own.precision:
            precision = shorten(recorded.precision)
            raise RecipeError(
                f"This recipe was made with {precision} steps, and this composer computes "
                f"{own.precision!r} steps; load it with precision={precision}."
            )

    def _read_prompt(
        self, source: PromptSource | None, prompt_bars: int | None, selection: Selection | None
    ) -> Prompt | None:
        if source is None:
            return None
        grid = self.tokenizer.ticks_per_quarter
        return read_prompt(source, prompt_bars=prompt_bars, selection=selection, grid_ticks=grid)

    def _start(self, prompt: Prompt | None, overrides: Overrides) -> Composition:
        return self._pipeline.start(prompt, overrides, self._model_info)

    def _start_after(
        self,
        after: Composition | None,
        bars: int,
        source: PromptSource | None,
        prompt_bars: int | None,
        selection: Selection | None,
        overrides: Overrides,
    ) -> Composition:
        """Return the piece that the new bars follow: `after`, or a new one with a prompt."""
        check_bars("bars", bars)
        if after is None:
            return self._start(self._read_prompt(source, prompt_bars, selection), overrides)
        if source is not None:
            raise ValueError("prompt and after contradict each other; pass one of them.")
        return self._pipeline.with_overrides(after, overrides)


def _engine(precision: Precision | None) -> Engine | None:
    if precision not in (None, "int8", "float32"):
        raise ValueError(f"precision must be 'int8', 'float32' or None, got {precision!r}.")
    engines: dict[Precision | None, Engine | None] = {"int8": "compiled", "float32": "torch"}
    return engines.get(precision)


def _with_seeds(piece: Composition, count: int) -> list[Composition]:
    """Return copies of a piece whose random seeds count up from its own."""
    if not isinstance(count, Integral) or not 1 <= count <= MAX_ROWS:
        raise ValueError(f"count must be a whole number from 1 to {MAX_ROWS}, got {count}.")
    sampling = piece.sampling
    assert sampling.seed is not None
    seeds = [(sampling.seed + number) % (MAX_SEED + 1) for number in range(count)]
    return [replace(piece, sampling=replace(sampling, seed=seed)) for seed in seeds]


def _with_tempo(bar: GeneratedBar, piece: Composition) -> GeneratedBar:
    """Add the tempo to the first bar of endless music, as `Composition` does."""
    bpm = piece.constraints.tempo_bpm
    if bpm is None and piece.prompt is None and all(t.time > 0 for t in bar.score.tempos):
        bpm = analysis.DEFAULT_TEMPO_BPM
    if bar.number == 0 and bpm is not None:
        bar.score.tempos.insert(0, TempoTick(0, bpm))
    return bar
