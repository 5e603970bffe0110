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

from musiclstm._lazy import old_name
from musiclstm.errors import RecipeError
from musiclstm.generation.bar_plan import Surprise
from musiclstm.generation.composition import Composition, GeneratedBar, Prompt
from musiclstm.generation.constraints import Constraints
from musiclstm.generation.decoding.inference import MAX_ROWS, Engine, InferenceModel
from musiclstm.generation.decoding.sampling import MAX_SEED, Sampling
from musiclstm.generation.pipeline import CONTEXT_BARS, Pipeline, Request, end_of
from musiclstm.generation.prompt import PromptSource, check_bars, find_prompt, read_prompt_source
from musiclstm.generation.recipe import MAX_BARS, Maker, Recipe, digest_of
from musiclstm.generation.selection import Selection
from musiclstm.midi import analysis
from musiclstm.model.checkpoint import DEFAULT, load_checkpoint
from musiclstm.model.modeling_musiclstm import MusicLSTMForCausalLM
from musiclstm.tokens import MusicTokenizer

__all__ = ["CONTEXT_BARS", "MAX_BARS", "Composer", "Precision", "PromptSource"]

Precision: TypeAlias = Literal["int8", "float32"]


class Composer:
    """Continues a prompt, or composes a new piece.

    A composer has no state of any piece, so any number of users can share one.
    """

    def __init__(
        self,
        model: MusicLSTMForCausalLM,
        tokenizer: MusicTokenizer,
        *,
        precision: Precision | None = None,
        name: str = "",
    ) -> None:
        """Take a model and its tokenizer; `from_pretrained` is the usual way.

        `name` is what recipes call the model.
        """
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self._network = InferenceModel(model, engine=_engine(precision))
        self._pipeline = Pipeline(self._network, tokenizer, model.config.programs)

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
            precision: Of the steps, `int8` or `float32`; None: int8 where this machine is fast
                with it.

        Raises:
            CheckpointError: A file is missing or unreadable, or files are of different runs.
        """
        pair = load_checkpoint(name, revision=revision)
        shown = Path(name).resolve().name if Path(name).is_dir() else str(name)
        return cls(*pair, precision=precision, name=shown)

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
            sampling: How notes are chosen. None: the defaults.
            constraints: What the music must keep to. None: those of `constraints_of`.
            surprise: In which bars the music deviates. None: in none.

        Raises:
            ScoreError: The prompt cannot be read, does not have what was selected, or has no notes
                where it is used.
            ValueError: bars or prompt_bars out of range, or constraints that cannot be met.
        """
        check_bars("bars", bars)
        request = Request(sampling, constraints, surprise)
        piece = self._begin(self._seed(prompt, prompt_bars, prompt_selection), request)
        return self._pipeline.extended(piece, bars, end_of(piece, bars))

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
        """Compose several alternatives at once, faster than one after the other.

        Each has its own random seed, counted up from that of `sampling`; `compose` with that seed
        gives the same take.

        Args:
            count: Number of takes, 1 to 32.
            bars: As in `compose`.
            after: A piece to continue, in place of a prompt; defaults are then those of `extend`.
            prompt: As in `compose`.
            prompt_bars: As in `compose`.
            prompt_selection: As in `compose`.
            sampling: As in `compose`.
            constraints: As in `compose`.
            surprise: As in `compose`.

        Raises:
            ScoreError: As in `compose`.
            ValueError: As in `compose`, or count out of range.
        """
        request = Request(sampling, constraints, surprise)
        first = self._start(bars, after, prompt, prompt_bars, prompt_selection, request)
        return self._pipeline.compose_many(_counted_up(first, count), bars)

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
        """Yield number, from 0, and state of a take of `takes` whenever it has gained a bar.

        Arguments and errors are those of `takes`; errors are raised before the first bar.
        """
        request = Request(sampling, constraints, surprise)
        first = self._start(bars, after, prompt, prompt_bars, prompt_selection, request)
        pieces = _counted_up(first, count)
        return self._pipeline.drafts(pieces, bars)

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
        """Yield the piece of `compose` after each new bar.

        With `after`, the piece of `extend`: the new bars follow those of that piece.
        """
        request = Request(sampling, constraints, surprise)
        piece = self._start(bars, after, prompt, prompt_bars, prompt_selection, request)
        return (draft for _, draft in self._pipeline.drafts([piece], bars))

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

        Args:
            prompt: As in `compose`.
            prompt_bars: As in `compose`.
            prompt_selection: As in `compose`; a passage has no tracks that only accompany.
            sampling: As in `compose`.
            constraints: As in `compose`.
            surprise: As in `compose`.

        Raises:
            ScoreError: As in `compose`.
            ValueError: As in `compose`, or constraints that ask for an ending.
        """
        request = Request(sampling, constraints, surprise)
        piece = self._begin(self._seed(prompt, prompt_bars, prompt_selection), request)
        if piece.constraints.ending:
            raise ValueError("Endless music has no ending; leave constraints.ending out.")
        return (_with_tempo(passage, piece) for passage in self._pipeline.stream_endless(piece))

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
            sampling: How notes are chosen. None: as in `piece`, random seed included; the result
                then equals a longer `compose`.
            constraints: What the new bars must keep to. None: as in `piece`.
            surprise: In which bars the music deviates; their numbers include those of `piece`.
                None: as in `piece`.

        Raises:
            ValueError: bars out of range, or constraints that cannot be met.
        """
        check_bars("bars", bars)
        piece = self._pipeline.changed(piece, Request(sampling, constraints, surprise))
        return self._pipeline.extended(piece, bars, end_of(piece, bars))

    def reproduce(self, recipe: Recipe, *, prompt: PromptSource | None = None) -> Composition:
        """Compose a piece again from its recipe, with the same MIDI bytes.

        Args:
            recipe: `Composition.recipe`, or what `read_recipe` found in a file.
            prompt: The file that the piece continues. None: there was none, or a bundled seed.

        Raises:
            RecipeError: The recipe is of other weights, another precision or another prompt, or
                gives other music on this machine.
            ScoreError: The prompt cannot be read.
            ValueError: Constraints that cannot be met.
        """
        self._check_maker(recipe.maker)
        source, seed = recipe.source, None
        if (found := find_prompt(source, prompt)) is not None and source is not None:
            seed = self._seed(found, source.prompt_bars, source.selection)
            seed = None if seed is None else replace(seed, source=source)
        first = recipe.steps[0] if recipe.steps else None
        begun = Request() if first is None else Request(first.sampling, first.constraints)
        piece = replace(self._begin(seed, begun), maker=recipe.maker)
        for step in recipe.steps:
            piece = self._pipeline.changed(
                piece, Request(step.sampling, step.constraints, step.surprise)
            )
            piece = self._pipeline.extended(piece, step.bars, step.end or end_of(piece, step.bars))
        _check_music(recipe, piece)
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
        seed = self._seed(prompt, prompt_bars, prompt_selection)
        return Constraints() if seed is None else seed.constraints

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with any weight or meaning of a token."""
        digest = hashlib.sha256(self.tokenizer.fingerprint.encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode() + tensor.detach().float().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def _maker(self) -> Maker:
        from musiclstm import __version__

        return Maker(self.name, self.fingerprint, self._precision, __version__)

    @property
    def _precision(self) -> Precision:
        return "int8" if self._network.engine == "compiled" else "float32"

    def _check_maker(self, maker: Maker) -> None:
        own = self._maker
        if maker.weights != own.weights:
            raise RecipeError(
                f"This recipe was made with weights {_shown(maker.weights)} "
                f"({_shown(maker.model) or 'no name'}), and these are {own.weights} "
                f"({own.model or 'no name'}); load the model it names."
            )
        if maker.precision != own.precision:
            precision = _shown(maker.precision)
            raise RecipeError(
                f"This recipe was made with {precision} steps, and this composer computes "
                f"{own.precision} steps; load it with precision='{precision}'."
            )

    # Names of version 0.2; removed in 0.4.
    takes = old_name("Composer.takes", compose_many)
    stream_takes = old_name("Composer.stream_takes", stream_many)
    endless = old_name("Composer.endless", stream_endless)
    follow = old_name("Composer.follow", reproduce)
    constraints_of = old_name("Composer.constraints_of", default_constraints)

    def _seed(
        self, prompt: PromptSource | None, prompt_bars: int | None, selection: Selection | None
    ) -> Prompt | None:
        if prompt is None:
            return None
        grid = self.tokenizer.ticks_per_quarter
        return read_prompt_source(
            prompt, prompt_bars=prompt_bars, selection=selection, grid_ticks=grid
        )

    def _begin(self, seed: Prompt | None, request: Request) -> Composition:
        return self._pipeline.begin(seed, request, self._maker)

    def _start(
        self,
        bars: int,
        after: Composition | None,
        prompt: PromptSource | None,
        prompt_bars: int | None,
        selection: Selection | None,
        request: Request,
    ) -> Composition:
        """Return the piece that the new bars follow."""
        check_bars("bars", bars)
        if after is None:
            return self._begin(self._seed(prompt, prompt_bars, selection), request)
        if prompt is not None:
            raise ValueError("prompt and after contradict each other; pass one of them.")
        return self._pipeline.changed(after, request)


def _engine(precision: Precision | None) -> Engine | None:
    if precision not in (None, "int8", "float32"):
        raise ValueError(f"precision must be 'int8', 'float32' or None, got {precision!r}.")
    engines: dict[Precision | None, Engine | None] = {"int8": "compiled", "float32": "torch"}
    return engines.get(precision)


def _check_music(recipe: Recipe, piece: Composition) -> None:
    if recipe.music and recipe.music != digest_of(piece.tokens):
        raise RecipeError(
            "This recipe gives other music here than where it was made: the last bit of a step may "
            "differ between processors and without a C compiler. Keep the MIDI file itself."
        )


def _shown(name: str) -> str:
    """Return a text of an untrusted recipe in ASCII, at most 40 characters."""
    return ascii(name)[1:-1][:40]


def _counted_up(piece: Composition, count: int) -> list[Composition]:
    """Return a piece for each take, each with its own random seed."""
    if not isinstance(count, Integral) or not 1 <= count <= MAX_ROWS:
        raise ValueError(f"count must be from 1 to {MAX_ROWS}, got {count}.")
    sampling = piece.sampling
    assert sampling.seed is not None
    seeds = [(sampling.seed + number) % (MAX_SEED + 1) for number in range(count)]
    return [replace(piece, sampling=replace(sampling, seed=seed)) for seed in seeds]


def _with_tempo(passage: GeneratedBar, piece: Composition) -> GeneratedBar:
    """Return the passage; the first one of endless music states its tempo."""
    bpm = piece.constraints.tempo_bpm
    if bpm is None and piece.seed is None and all(t.time > 0 for t in passage.score.tempos):
        bpm = analysis.DEFAULT_TEMPO_BPM
    if passage.number == 0 and bpm is not None:
        passage.score.tempos.insert(0, TempoTick(0, bpm))
    return passage
