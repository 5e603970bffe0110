"""`Composer`: continue a prompt, or compose a new piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from symusic.core import TempoTick

from musiclstm._lazy import old_method
from musiclstm.core.sequence import MAX_ROWS
from musiclstm.errors import CheckpointError, RecipeError, shorten
from musiclstm.generation.bar_plan import Surprise
from musiclstm.generation.composition import Composition, GeneratedBar
from musiclstm.generation.constraints import Constraints
from musiclstm.generation.decoding.inference import InferenceModel
from musiclstm.generation.decoding.sampling import MAX_SEED, Sampling
from musiclstm.generation.edit_selection import Part, edit_accompaniment, edit_bars
from musiclstm.generation.packed_checkpoint import (
    PackedCheckpoint,
    load_packed,
    pack_weights,
    weights_fingerprint,
)
from musiclstm.generation.part_editor import EditedPiece, PartEditor
from musiclstm.generation.pipeline import Overrides, Pipeline, ending_bar
from musiclstm.generation.prompt import (
    DEFAULT_BARS,
    Prompt,
    PromptSource,
    Selection,
    check_bars,
    find_prompt,
    read_prompt,
)
from musiclstm.generation.ranking import Assessment, assess
from musiclstm.generation.recipe import ModelInfo, Recipe, digest_of
from musiclstm.generation.references import References, read_references
from musiclstm.memorization import LongestCopy, MemorizationIndex, TokenReader
from musiclstm.midi import analysis
from musiclstm.model import DEFAULT, MEMORIZATION_FILE, StoredWeights
from musiclstm.tokens import MusicTokenizer

if TYPE_CHECKING:
    from musiclstm.model import MusicLSTMForCausalLM


class Composer:
    """Continue prompts and compose new pieces with one checkpoint.

    A composer is stateless: threads and users can share one.

    Attributes:
        tokenizer: The tokenizer of the checkpoint.
        name: The model's name in recipes.
        config: Its configuration.
        num_parameters: Number of its weights.
        fingerprint: Sixteen hexadecimal digits that change with any weight, with the tokenizer, and
            with the score of bars.
        bar_score: By which one of several candidates for a bar is chosen, `BAR_SCORE`.
    """

    def __init__(
        self,
        model: MusicLSTMForCausalLM | PackedCheckpoint,
        tokenizer: MusicTokenizer,
        *,
        name: str = "",
    ) -> None:
        """Use weights and their tokenizer; `from_pretrained` loads both.

        Args:
            model: A network, or the weights of a checkpoint. They are copied.
            tokenizer: The tokenizer that they were trained with.
            name: The model's name in recipes.
        """
        if isinstance(model, PackedCheckpoint):
            packed = model
        else:
            packed, self.model = pack_weights(_stored(model)), model
        self.tokenizer, self.name, self.config = tokenizer, name, packed.config
        self.num_parameters, self.fingerprint = packed.num_parameters, packed.fingerprint
        self._folder, self._weights_fingerprint = packed.folder, packed.weights_fingerprint
        self.bar_score = packed.bar_score
        self._inference = InferenceModel(packed.weights, packed.bar_score)
        self._pipeline = Pipeline(
            self._inference, tokenizer, packed.config.programs, lambda: self.memorization_index
        )
        self._part_editor = PartEditor(self._inference, tokenizer, packed.config.programs)

    @classmethod
    def from_pretrained(
        cls, name: str | Path = DEFAULT, *, revision: str | None = None
    ) -> Composer:
        """Load weights and tokenizer by one name.

        Args:
            name: "default" for the bundled weights, a checkpoint folder, or a Hub id.
            revision: Branch, tag or commit on the Hub; None: its main branch.

        Raises:
            CheckpointError: A file is missing or unreadable, or files are of different runs.
        """
        packed = load_packed(name, revision=revision)
        recorded = Path(name).resolve().name if Path(name).is_dir() else str(name)
        return cls(packed, MusicTokenizer(), name=recorded)

    @cached_property
    def model(self) -> MusicLSTMForCausalLM:
        """The network as a `PreTrainedModel`, loaded at first use.

        Raises:
            CheckpointError: The files have changed.
            MissingPackageError: torch or transformers is not installed.
        """
        from musiclstm.model import load_checkpoint  # imports torch

        assert self._folder is not None

        model, _ = load_checkpoint(self._folder)
        if weights_fingerprint(_stored(model)) != self._weights_fingerprint:
            raise CheckpointError(
                f"The weights in {str(self._folder)!r} have changed since they were loaded; load "
                "the composer again."
            )
        return model

    @cached_property
    def memorization_index(self) -> MemorizationIndex | None:
        """Index of the training pieces, loaded at first use; None: the checkpoint has none.

        Raises:
            CheckpointError: The file is damaged.
        """
        path = None if self._folder is None else self._folder / MEMORIZATION_FILE
        return None if path is None or not path.is_file() else MemorizationIndex.load(path)

    def longest_copied_passage(self, piece: Composition) -> LongestCopy | None:
        """Return the longest passage of the new bars that occurs in a training piece.

        Passages are compared in every transposition; `musiclstm.memorization` defines them.

        Returns:
            None: the checkpoint has no index of its training pieces.

        Raises:
            CheckpointError: The index is damaged.
        """
        index = self.memorization_index
        if index is None:
            return None
        notes = TokenReader(self.tokenizer).read(np.array(piece.tokens, np.int64))
        return index.longest_copy(notes)

    def assess(self, piece: Composition, *, first_bar: int = 1) -> Assessment:
        """Return the score of a piece, what is unusual about it, and whether it has collapsed.

        The new bars are compared with the last eight of the prompt, and returns with all that were
        read.

        Args:
            piece: Composed by this composer.
            first_bar: Number of the first bar of `piece` in the reasons; bars that get numbers
                below 1 are not mentioned.
        """
        return assess(piece, self._inference, first_bar=first_bar)

    def rank(self, pieces: Iterable[Composition]) -> tuple[Composition, ...]:
        """Return alternatives by descending score, collapsed ones last."""
        given = tuple(pieces)
        found = [self.assess(piece) for piece in given]
        order = sorted(range(len(given)), key=lambda at: found[at].rank)
        return tuple(given[at] for at in order)

    def compose(
        self,
        *,
        bars: int = DEFAULT_BARS,
        prompt: PromptSource | None = None,
        prompt_bars: int | None = None,
        prompt_selection: Selection | None = None,
        sampling: Sampling | None = None,
        constraints: Constraints | None = None,
        surprise: Surprise | None = None,
        references: Sequence[PromptSource] = (),
        reference_bars: int | None = None,
    ) -> Composition:
        """Continue a prompt by an exact number of bars, or compose a new piece.

        Args:
            bars: New bars, 1 to 4096.
            prompt: A MIDI file or a recording (extra `transcribe`), its bytes, or a score. None: a
                new piece.
            prompt_bars: Use only the first so many bars of the prompt. None: all.
            prompt_selection: Use only these tracks and bars of the prompt. None: all.
            sampling: How notes are sampled. None: the defaults.
            constraints: Constraints on the music. None: those of `default_constraints`.
            surprise: In which bars the music deviates. None: in none.
            references: Up to eight other pieces that are read before the prompt, transposed to its
                key. Pieces of another style make the predictions worse.
            reference_bars: Read only the first so many bars of each. None: all, up to 2,048 tokens.

        Raises:
            ScoreError: The prompt or a reference cannot be read, does not have what was selected,
                or has no notes where it is used.
            ValueError: bars, prompt_bars, references or reference_bars out of range, or constraints
                that cannot be met.
        """
        check_bars("bars", bars)
        overrides = Overrides(sampling, constraints, surprise)
        read = self._read_prompt(prompt, prompt_bars, prompt_selection)
        piece = self._start(read, overrides, read_references(references, reference_bars))
        return self._pipeline.extend(piece, bars, ending_bar(piece, bars))

    def compose_many(
        self,
        count: int,
        *,
        bars: int = DEFAULT_BARS,
        after: Composition | None = None,
        prompt: PromptSource | None = None,
        prompt_bars: int | None = None,
        prompt_selection: Selection | None = None,
        sampling: Sampling | None = None,
        constraints: Constraints | None = None,
        surprise: Surprise | None = None,
        references: Sequence[PromptSource] = (),
        reference_bars: int | None = None,
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
        read = read_references(references, reference_bars)
        piece = self._start_after(
            after, bars, prompt, prompt_bars, prompt_selection, overrides, read
        )
        return self._pipeline.extend_many(_with_seeds(piece, count), bars)

    def stream_many(
        self,
        count: int,
        *,
        bars: int = DEFAULT_BARS,
        after: Composition | None = None,
        prompt: PromptSource | None = None,
        prompt_bars: int | None = None,
        prompt_selection: Selection | None = None,
        sampling: Sampling | None = None,
        constraints: Constraints | None = None,
        surprise: Surprise | None = None,
        references: Sequence[PromptSource] = (),
        reference_bars: int | None = None,
    ) -> Iterator[tuple[int, Composition]]:
        """Yield index, from 0, and state of an alternative whenever it has one more bar.

        Arguments and errors are those of `compose_many`; errors are raised before the first bar.
        """
        overrides = Overrides(sampling, constraints, surprise)
        read = read_references(references, reference_bars)
        piece = self._start_after(
            after, bars, prompt, prompt_bars, prompt_selection, overrides, read
        )
        return self._pipeline.stream(_with_seeds(piece, count), bars)

    def stream(
        self,
        *,
        bars: int = DEFAULT_BARS,
        after: Composition | None = None,
        prompt: PromptSource | None = None,
        prompt_bars: int | None = None,
        prompt_selection: Selection | None = None,
        sampling: Sampling | None = None,
        constraints: Constraints | None = None,
        surprise: Surprise | None = None,
        references: Sequence[PromptSource] = (),
        reference_bars: int | None = None,
    ) -> Iterator[Composition]:
        """Yield the piece of `compose`, or of `extend` with `after`, after each new bar.

        Errors are those of `compose` and are raised before the first bar.
        """
        overrides = Overrides(sampling, constraints, surprise)
        read = read_references(references, reference_bars)
        piece = self._start_after(
            after, bars, prompt, prompt_bars, prompt_selection, overrides, read
        )
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
        references: Sequence[PromptSource] = (),
        reference_bars: int | None = None,
    ) -> Iterator[GeneratedBar]:
        """Yield bars without end, in constant memory; they equal those of `compose`.

        Arguments are those of `compose`; the bars do not contain tracks that only accompany.

        Raises:
            ScoreError: As in `compose`.
            ValueError: As in `compose`, or constraints that request an ending.
        """
        overrides = Overrides(sampling, constraints, surprise)
        read = self._read_prompt(prompt, prompt_bars, prompt_selection)
        piece = self._start(read, overrides, read_references(references, reference_bars))
        if piece.constraints.ending:
            raise ValueError("Endless music has no ending; leave constraints.ending out.")
        return (_with_tempo(bar, piece) for bar in self._pipeline.stream_endless(piece))

    def extend(
        self,
        piece: Composition,
        *,
        bars: int = DEFAULT_BARS,
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

    def regenerate(
        self,
        piece: PromptSource | Composition | EditedPiece,
        *,
        bars: tuple[int, int] | None = None,
        parts: Iterable[Part] | Part | None = None,
        sampling: Sampling | None = None,
        constraints: Constraints | None = None,
    ) -> EditedPiece:
        """Compose some bars or parts of a piece again and keep everything else, note for note.

        The new parts are composed to the kept ones of each bar. Meters and tempos stay.

        Args:
            piece: A MIDI file, its bytes, a score, or what a composer returned; left unchanged.
            bars: First and last bar, from 1. None: all.
            parts: Numbers of tracks, from 1 and without tracks that have no notes, or names of
                tracks or instruments; `python -m musiclstm inspect` lists them. None: all.
            sampling: How notes are sampled. None: the defaults. Of its candidates the one is chosen
                under which the kept notes and the two bars that follow are most probable.
            constraints: Constraints on the bars with the kept notes; meter and tempo are ignored.
                At most as many notes start together as in the piece, or a few more. A part stays
                near the range of its notes in the piece unless `pitch_ranges` has its program.

        Raises:
            ScoreError: The piece cannot be read, or a bar has a length that tokens cannot express.
            ValueError: Bars or parts that the piece does not have, a selection of nothing or of
                the whole piece, or constraints that cannot be met.
        """
        grid = self.tokenizer.ticks_per_quarter
        edit = edit_bars(_source_of(piece), bars, parts, grid)
        return self._part_editor.compose(edit, sampling, constraints)

    def accompany(
        self,
        prompt: PromptSource | Composition | EditedPiece,
        *,
        parts: Iterable[Part] | Part | None = None,
        programs: Sequence[int] | None = None,
        sampling: Sampling | None = None,
        constraints: Constraints | None = None,
    ) -> EditedPiece:
        """Keep some parts of a piece, note for note, and compose others to them.

        Args:
            prompt: As in `regenerate`.
            parts: Parts to keep, as in `regenerate`. None: all.
            programs: MIDI programs of new parts, -1 for drums; a program may be repeated. Parts
                that are not kept are left out. None: these are composed again.
            sampling: As in `regenerate`.
            constraints: As in `regenerate`. Added parts play up to the highest kept note, and
                basses up to middle C.

        Raises:
            ScoreError: As in `regenerate`.
            ValueError: As in `regenerate`, or nothing to compose.
        """
        grid = self.tokenizer.ticks_per_quarter
        edit = edit_accompaniment(_source_of(prompt), parts, programs, grid)
        return self._part_editor.compose(edit, sampling, constraints)

    def reproduce(
        self,
        recipe: Recipe,
        *,
        prompt: PromptSource | None = None,
        references: Sequence[PromptSource] = (),
    ) -> Composition:
        """Compose a piece again from its recipe, with the same MIDI bytes.

        Args:
            recipe: `Composition.recipe`, or what `read_recipe` found in a file.
            prompt: The file that the piece continues. None: it has no prompt, or an example file.
            references: The files that were read before the prompt, in the same order.

        Raises:
            RecipeError: The recipe is of other weights, another prompt or other references, or
                gives other music on this machine.
            ScoreError: The prompt or a reference cannot be read.
            ValueError: Constraints that cannot be met.
        """
        self._check_model(recipe.model_info)
        reference, read = recipe.source, None
        if (found := find_prompt(reference, prompt)) is not None and reference is not None:
            read = self._read_prompt(found, reference.prompt_bars, reference.selection)
            read = None if read is None else replace(read, source=reference)
        first = recipe.steps[0] if recipe.steps else None
        overrides = Overrides() if first is None else Overrides(first.sampling, first.constraints)
        others = read_references(references, recipe.reference_bars, names=recipe.references)
        piece = replace(self._start(read, overrides, others), model_info=recipe.model_info)
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

    # Names of version 0.2; removed in 0.4.
    takes = old_method("Composer.takes", compose_many)
    stream_takes = old_method("Composer.stream_takes", stream_many)
    endless = old_method("Composer.endless", stream_endless)
    follow = old_method("Composer.follow", reproduce)
    constraints_of = old_method("Composer.constraints_of", default_constraints)

    @property
    def _model_info(self) -> ModelInfo:
        from musiclstm import __version__

        return ModelInfo(self.name, self.fingerprint, __version__)

    def _check_model(self, recorded: ModelInfo) -> None:
        own = self._model_info
        if recorded.weights != own.weights:
            raise RecipeError(
                f"This recipe was made with weights {shorten(recorded.weights)} of the model "
                f"{shorten(recorded.model)}, and these are {own.weights!r} of {own.model!r}; load "
                "the model that the recipe names."
            )

    def _read_prompt(
        self, source: PromptSource | None, prompt_bars: int | None, selection: Selection | None
    ) -> Prompt | None:
        if source is None:
            return None
        grid = self.tokenizer.ticks_per_quarter
        return read_prompt(source, prompt_bars=prompt_bars, selection=selection, grid_ticks=grid)

    def _start(
        self, prompt: Prompt | None, overrides: Overrides, references: References
    ) -> Composition:
        return self._pipeline.start(prompt, overrides, self._model_info, references)

    def _start_after(
        self,
        after: Composition | None,
        bars: int,
        source: PromptSource | None,
        prompt_bars: int | None,
        selection: Selection | None,
        overrides: Overrides,
        references: References,
    ) -> Composition:
        """Return the piece that the new bars follow: `after`, or a new one with a prompt."""
        check_bars("bars", bars)
        if after is None:
            read = self._read_prompt(source, prompt_bars, selection)
            return self._start(read, overrides, references)
        if source is not None:
            raise ValueError("prompt and after contradict each other; pass one of them.")
        if references.scores:
            raise ValueError("references and after contradict each other; pass one of them.")
        return self._pipeline.with_overrides(after, overrides)


def _stored(model: MusicLSTMForCausalLM) -> StoredWeights:
    arrays = {
        name: tensor.detach().cpu().float().numpy() for name, tensor in model.state_dict().items()
    }
    return StoredWeights(None, model.config, arrays)


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


def _source_of(piece: PromptSource | Composition | EditedPiece) -> PromptSource:
    return piece.score if isinstance(piece, Composition | EditedPiece) else piece
