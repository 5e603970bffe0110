"""Reference pieces: other music that is read before the prompt.

Step features see the references: copy candidates, histograms, sizes. The hidden and cell states of
the network are reset before the prompt. `benchmarks.quality.references` measures what is gained.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from symusic.core import ScoreTick

from musiclstm.errors import RecipeError
from musiclstm.generation.instrument_mapping import map_programs
from musiclstm.generation.prompt import PromptSource, check_bars, describe_source, read_source
from musiclstm.tokens import MusicTokenizer, programs_of, with_programs

MAX_REFERENCES = 8
REFERENCE_TOKENS = 2_048  # of each, so that all are within the horizon of the step features


@dataclass(frozen=True)
class References:
    """Pieces that are read before the prompt, in this order.

    Attributes:
        scores: At most `MAX_REFERENCES`.
        names: Their names in recipes, as in `PromptReference`.
        bars: Number of first bars of each that are read. None: all, up to `REFERENCE_TOKENS`.
    """

    scores: tuple[ScoreTick, ...] = ()
    names: tuple[str, ...] = ()
    bars: int | None = None


def read_references(
    sources: Sequence[PromptSource], bars: int | None, *, names: Sequence[str] | None = None
) -> References:
    """Read reference pieces.

    Args:
        sources: MIDI files, their bytes, or scores.
        bars: `References.bars`.
        names: Names in a recipe, which must be those of the sources. None: any.

    Raises:
        RecipeError: The recipe names other pieces.
        ScoreError: A piece cannot be read, or has no notes.
        ValueError: More than `MAX_REFERENCES`, or bars out of range.
    """
    if isinstance(sources, str | bytes) or len(sources) > MAX_REFERENCES:
        raise ValueError(
            f"references must be a list of at most {MAX_REFERENCES} pieces, got "
            f"{'one text' if isinstance(sources, str | bytes) else len(sources)}."
        )
    if bars is not None:
        check_bars("reference_bars", bars)
    if names is not None and len(names) != len(sources):
        raise RecipeError(
            f"This recipe has {len(names)} references, and {len(sources)} were passed; pass the "
            "files that were read, in the same order."
        )
    found = [read_source(source) for source in sources]
    for number, (name, (_, own)) in enumerate(zip(names or (), found, strict=False), start=1):
        if name not in own:
            raise RecipeError(
                f"Reference {number} of this recipe is {describe_source(name)}, and the one passed "
                f"is {describe_source(own[0])}; pass the files that were read, in the same order."
            )
    recorded = [own[0] for _, own in found] if names is None else names
    return References(tuple(score for score, _ in found), tuple(recorded), bars if found else None)


def reference_ids(
    references: References,
    music: ScoreTick | None,
    tokenizer: MusicTokenizer,
    programs: Sequence[int] | None,
) -> list[int]:
    """Return the token ids of reference pieces, each with BOS and EOS.

    Args:
        references: At most `MAX_REFERENCES`.
        music: The prompt, to whose key they are transposed. None: they are not.
        tokenizer: The tokenizer of the model.
        programs: Programs that the model was trained on; others are replaced. None: all.
    """
    return [
        token
        for score in references.scores
        for token in _ids(score, references.bars, music, tokenizer, programs)
    ]


def _ids(
    score: ScoreTick,
    bars: int | None,
    music: ScoreTick | None,
    tokenizer: MusicTokenizer,
    programs: Sequence[int] | None,
) -> Iterator[int]:
    score = with_programs(score, map_programs([programs_of(score)], programs))
    if music is not None:
        score = transposed(score, transposition(score, music))
    ids = np.asarray(tokenizer.encode(score))
    starts = np.flatnonzero(ids == tokenizer.ids["Bar_None"])
    ends = [*starts[1:], len(ids)][:bars]
    fitting = [int(end) for end in ends if end <= REFERENCE_TOKENS]
    yield tokenizer.bos_id
    yield from ids[: fitting[-1] if fitting else REFERENCE_TOKENS].tolist()
    yield tokenizer.eos_id


def transposition(reference: ScoreTick, music: ScoreTick) -> int:
    """Return the semitones, -6 to 5, after which two pieces have the most similar pitch classes.

    Similarity is the scalar product of their histograms of pitch classes, without drums.
    """
    own, other = _pitch_classes(reference), _pitch_classes(music)
    return max(range(-6, 6), key=lambda shift: (int(np.roll(own, shift) @ other), -abs(shift)))


def _pitch_classes(score: ScoreTick) -> np.ndarray:
    pitches = [track.notes.numpy()["pitch"] for track in score.tracks if not track.is_drum]
    classes = np.concatenate([np.zeros(0, np.int64), *pitches]).astype(np.int64) % 12
    return np.bincount(classes, minlength=12)


def transposed(score: ScoreTick, semitones: int) -> ScoreTick:
    """Return a score in another key; drums stay, and notes beyond 0 to 127 are left out."""
    moved = score.copy()
    for signature in moved.key_signatures:
        signature.key = (signature.key + 7 * semitones + 5) % 12 - 5
    for track in moved.tracks:
        if track.is_drum:
            continue
        columns = track.notes.numpy()
        columns["pitch"] = pitch = columns["pitch"].astype(np.int64) + semitones
        kept = (pitch >= 0) & (pitch <= 127)
        columns["pitch"] = pitch.astype(np.int8)
        track.notes = type(track.notes).from_numpy(*(each[kept] for each in columns.values()))
    return moved
