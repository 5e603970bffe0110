"""Prompts: read one, cut it to a selection, derive default constraints, identify it in recipes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from numbers import Integral
from pathlib import Path
from typing import TypeAlias

from symusic.core import ScoreTick

from musiclstm.errors import RecipeError, ScoreError, shorten
from musiclstm.examples import example_files
from musiclstm.generation.constraints import KEY_OF_PROMPT, MAX_NOTES_AT_ONCE, Constraints
from musiclstm.midi import analysis
from musiclstm.midi.file_names import is_recording
from musiclstm.midi.reader import check_score, read_bounded, read_midi
from musiclstm.midi.score_ops import (
    drop_empty_tracks,
    first_bars,
    max_simultaneous_onsets,
    resample_to_grid,
    slice_score,
)
from musiclstm.tokens import normalize_time_signature, programs_of, supports_time_signature

DEFAULT_BARS = 8  # new bars, unless others are requested
MAX_BARS = 4_096  # of one request, and of `prompt_bars`
BUNDLED, FILE = "bundled:", "sha256:"  # prefixes of `PromptReference.name`

_MIN_NOTES_AT_ONCE = 4  # default limit for a melody, so that it may get an accompaniment

PromptSource: TypeAlias = "str | Path | bytes | analysis.AnyScore"


@dataclass(frozen=True)
class Selection:
    """The part of a prompt that the network reads and continues.

    Args:
        tracks: Indices among the tracks that have notes, as in `MidiSummary.tracks`, from 0. None:
            all.
        first_bar: Bar of the file where the piece begins, from 1.
        last_bar: Last bar that is read; the new music follows it. None: the last one of the file.
        keep_others: Whether the other tracks accompany the selected bars, and the new music as far
            as the file goes. The network does not read them.

    Raises:
        ValueError: Nothing is selected, or a number that no track or bar can have.
    """

    tracks: frozenset[int] | None = None
    first_bar: int = 1
    last_bar: int | None = None
    keep_others: bool = True

    def __post_init__(self) -> None:
        """Convert sets to frozen ones, and refuse an empty selection."""
        if self.tracks is not None:
            object.__setattr__(self, "tracks", frozenset(self.tracks))
            _check_track_indices(self.tracks)
        if not isinstance(self.first_bar, Integral) or self.first_bar < 1:
            raise ValueError(f"first_bar must be 1 or more, got {self.first_bar}.")
        last = self.last_bar
        if last is not None and (not isinstance(last, Integral) or last < self.first_bar):
            raise ValueError(
                f"last_bar must be at least first_bar, {self.first_bar}, got {last}; None is the "
                "last bar of the file."
            )

    def check(self, tracks: int, bars: int) -> None:
        """Refuse a prompt that lacks a selected track or bar.

        Args:
            tracks: Number of tracks of the prompt.
            bars: Number of bars of the prompt.

        Raises:
            ScoreError: A selected track or bar does not exist.
        """
        missing = sorted(track for track in self.tracks or () if track >= tracks)
        if missing:
            numbers = "1, number 0" if tracks == 1 else f"{tracks}, numbers 0 to {tracks - 1}"
            raise ScoreError(
                f"The prompt has no track {missing[0]}; choose from its tracks ({numbers})."
            )
        for bar in (self.first_bar, self.last_bar or 1):
            if bar > bars:
                raise ScoreError(
                    f"The prompt has no bar {bar}: it has {bars}; choose bars from 1 to {bars}."
                )


@dataclass(frozen=True)
class PromptReference:
    """What a recipe records about a prompt.

    Attributes:
        name: `bundled:` and the name of an example file, or `sha256:` and the digest of the file;
            for a score that was not read from a file, the digest of its MIDI bytes.
        selection: Selected tracks and bars. None: all.
        prompt_bars: Number of its first bars that were used. None: all.
    """

    name: str
    selection: Selection | None = None
    prompt_bars: int | None = None


@dataclass(frozen=True)
class Prompt:
    """Music that is continued.

    Attributes:
        score: Tracks and bars that the network reads; its ticks per quarter are a multiple of the
            tokenizer's.
        bars: Number of bars.
        end_tick: Bar line where the prompt ends and the new music begins.
        others: Tracks that accompany and that the network does not read, from the same first bar to
            their own end. None: there are none.
        constraints: Default constraints of continuations.
        source: File or score that it comes from. None: unknown.
    """

    score: ScoreTick
    bars: int
    end_tick: int
    others: ScoreTick | None = None
    constraints: Constraints = field(default_factory=Constraints)
    source: PromptReference | None = field(default=None, compare=False)

    @cached_property
    def key(self) -> analysis.Key | None:
        """Estimated key of `score`; None: it has none."""
        return analysis.estimate_key(self.score)


def check_bars(name: str, bars: int) -> None:
    """Refuse a number of bars that cannot be composed or read.

    Raises:
        ValueError: Not a whole number from 1 to 4096.
    """
    if not isinstance(bars, Integral) or not 1 <= bars <= MAX_BARS:
        raise ValueError(f"{name} must be a whole number from 1 to {MAX_BARS}, got {bars}.")


def read_prompt(
    source: PromptSource,
    *,
    prompt_bars: int | None = None,
    selection: Selection | None = None,
    grid_ticks: int,
) -> Prompt:
    """Read a prompt and cut it to a selection.

    Args:
        source: A MIDI file or a recording, its bytes, or a score.
        prompt_bars: Use only the first so many bars. None: all.
        selection: Use only these tracks and bars. None: all.
        grid_ticks: Divisor of the ticks per quarter of the result.

    Raises:
        ScoreError: It cannot be read, or has no notes where it is used.
        ValueError: prompt_bars out of range, or given together with a selection.
    """
    if prompt_bars is not None:
        check_bars("prompt_bars", prompt_bars)
        if selection is not None:
            raise ValueError("prompt_bars and a selection contradict each other; use last_bar.")
    score, names = read_source(source)
    score = resample_to_grid(score, grid_ticks)
    if selection is None:
        prompt = _first_bars(score, prompt_bars)
        prompt_bars = None if prompt.score is score else prompt_bars
    else:
        prompt = _selected(score, selection)
    reference = PromptReference(names[0], selection, prompt_bars)
    return replace(prompt, constraints=default_constraints(prompt), source=reference)


def _first_bars(score: ScoreTick, count: int | None) -> Prompt:
    """Return the first bars of a score; None or more than it has: the same score."""
    lines = analysis.bar_starts(score)
    if count is not None and count < len(lines) - 1:
        lines = lines[: count + 1]
        score = first_bars(score, int(lines[-1]), count)
    return Prompt(score=score, bars=len(lines) - 1, end_tick=int(lines[-1]))


def _selected(score: ScoreTick, selection: Selection) -> Prompt:
    lines = analysis.bar_starts(score)
    selection.check(len(score.tracks), len(lines) - 1)
    last = selection.last_bar or len(lines) - 1
    start, end = int(lines[selection.first_bar - 1]), int(lines[last])
    every_track = range(len(score.tracks))
    tracks = every_track if selection.tracks is None else selection.tracks
    read = drop_empty_tracks(slice_score(_with_tracks(score, tracks), start, end))
    if not len(read.tracks):
        raise ScoreError(
            f"The selected tracks have no note in bars {selection.first_bar} to {last}; choose "
            "other bars or more tracks."
        )
    others = _with_tracks(score, set(every_track) - set(tracks))
    others = drop_empty_tracks(slice_score(others, start, None))
    return Prompt(
        score=read,
        bars=last - selection.first_bar + 1,
        end_tick=end - start,
        others=others if selection.keep_others and len(others.tracks) else None,
    )


def _check_track_indices(tracks: frozenset[int]) -> None:
    if not tracks:
        raise ValueError("tracks must contain at least one track; None selects all.")
    if not all(isinstance(track, Integral) and track >= 0 for track in tracks):
        raise ValueError(
            f"tracks must be whole numbers, 0 for the first track, got {sorted(tracks, key=str)}."
        )


def _with_tracks(score: ScoreTick, indices: Collection[int]) -> ScoreTick:
    """Copy a score with only some of its tracks."""
    copy = score.copy()
    copy.tracks = type(copy.tracks)(copy.tracks[index] for index in sorted(indices))
    return copy


# Default constraints ------------------------------------------------------------------------------


def default_constraints(prompt: Prompt) -> Constraints:
    """Return the default constraints, see `Composer.default_constraints`."""
    at_once = max(max_simultaneous_onsets(prompt.score), _MIN_NOTES_AT_ONCE)
    return Constraints(
        programs=frozenset(programs_of(prompt.score)),
        meter=last_meter(prompt),
        tempo_changes=False,
        max_notes_at_once=min(at_once, MAX_NOTES_AT_ONCE),
    )


def resolve_key(constraints: Constraints, prompt: Prompt | None) -> Constraints:
    """Return the constraints with the key's name in place of `prompt`.

    Raises:
        ValueError: There is no prompt, or its key cannot be estimated.
    """
    if constraints.key != KEY_OF_PROMPT:
        return constraints
    found = None if prompt is None else prompt.key
    if found is None:
        raise ValueError(
            "key='prompt' needs a prompt whose key can be estimated; pass a prompt, or name a key "
            "such as 'D minor'."
        )
    return replace(constraints, key=str(found))


def last_meter(prompt: Prompt) -> tuple[int, int] | None:
    """Return `next_meter` of a prompt as tokens write it. None: there is no such token."""
    meter = normalize_time_signature(*analysis.next_meter(prompt.score, prompt.end_tick))
    return meter if supports_time_signature(*meter) else None


# Prompts of recipes -------------------------------------------------------------------------------


def find_prompt(
    reference: PromptReference | None, source: PromptSource | None
) -> PromptSource | None:
    """Return the prompt of a recipe.

    Args:
        reference: Prompt that the recipe names. None: the recipe has none.
        source: Prompt that was passed. None: none, which suffices for an example file.

    Raises:
        RecipeError: The prompt is missing, another one, or not needed.
        ScoreError: It cannot be read.
    """
    if reference is None:
        if source is not None:
            raise RecipeError("This recipe has no prompt; reproduce it without one.")
        return None
    if source is None:
        return _example_file(reference.name)
    if reference.name not in (names := read_source(source)[1]):
        raise RecipeError(
            f"This recipe continues {describe_source(reference.name)}, and the prompt is "
            f"{describe_source(names[0])}; pass the file that was continued."
        )
    return source


def _example_file(name: str) -> Path:
    if not name.startswith(BUNDLED):
        raise RecipeError(f"This recipe continues {describe_source(name)}; pass it as the prompt.")
    files = {file.stem: file for file in example_files().values()}
    file = files.get(name.removeprefix(BUNDLED))
    if file is None:
        raise RecipeError(
            f"This recipe continues {describe_source(name)}, which this musiclstm does not have; "
            f"it has {', '.join(sorted(files))}."
        )
    return file


def describe_source(name: str) -> str:
    """Describe the name of a `PromptReference`, which may be from an untrusted recipe."""
    if name.startswith(BUNDLED):
        return f"the example {shorten(name.removeprefix(BUNDLED))}"
    return f"a file with SHA-256 {shorten(name.removeprefix(FILE))[1:13]}…"


def read_source(source: PromptSource) -> tuple[ScoreTick, list[str]]:
    """Return the score, and all names that a recipe may call it, the preferred one first.

    A recording has the name of its transcription, from which the recipe gives the same music.
    """
    if isinstance(source, str | Path | bytes):
        data, name = read_bounded(source)  # a MIDI file is opened once
        if is_recording(data, name=name):
            from musiclstm.audio.transcription import transcribe

            source = transcribe(source).to_score()
    if not isinstance(source, str | Path | bytes):
        score = check_score(source)[0]
        return score, _names(_digest(bytes(score.dumps_midi())))
    score = read_midi(data, name=name)[0]
    return score, [*_names(_digest(data)), *_names(_digest(bytes(score.dumps_midi())))]


def _names(digest: str) -> list[str]:
    example = _example_digests().get(digest)
    return ([] if example is None else [BUNDLED + example]) + [FILE + digest]


@cache
def _example_digests() -> dict[str, str]:
    """Return names of example files by the digests of their bytes and of their scores."""
    found: dict[str, str] = {}
    for file in example_files().values():
        data = file.read_bytes()
        score = bytes(read_midi(data)[0].dumps_midi())
        found[_digest(data)] = found[_digest(score)] = file.stem
    return found


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
