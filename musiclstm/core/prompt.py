"""Prompts in C (prompt.c): what `generation.pipeline` reads from a prompt and adds to new bars."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import numpy as np

from musiclstm.core.library import Library, check
from musiclstm.core.remi import Remi, ScoreArrays, ScoreStruct

PROGRAMS: Final = 129
EIGHTHS: Final = 24
_MAX_IDS: Final = 8_192 + 1
_UNMAPPED: Final = -2

_ARRAYS: Final = {
    "ids": np.int32,
    "programs": np.int32,
    "numbers": np.int32,
    "part_of_track": np.int32,
    "order": np.int32,
    "pitches": np.int32,
    "velocities": np.uint8,
}
_NUMBERS: Final = (
    *("id_count", "part_count", "track_count", "scale", "bars", "start_tick", "end_tick"),
    *("meter", "max_at_once"),
)


def map_programs(
    library: Library,
    programs: Collection[int],
    trained: Collection[int] | None,
    known: Mapping[int, int] | None = None,
) -> dict[int, int]:
    """Return `known` with a trained program for each of `programs`.

    Args:
        library: The core.
        programs: MIDI programs of the music, -1 for drums.
        trained: Programs in the training data; None: all.
        known: Substitutes of earlier requests.
    """
    substitutes = _substitutes(library, known or {})
    flags = [None if each is None else _flags(library, each) for each in (programs, trained)]
    arrays = map(library.address, (*flags, substitutes))
    library.call("prompt_map_programs", *arrays)
    found = substitutes.tolist()
    return {p: found[p] for p in range(-1, PROGRAMS - 1) if found[p] != _UNMAPPED}


class ReadPrompt:
    """A prompt as the network reads it; ticks are `scale` times those of the score.

    Attributes:
        ids: BOS and the last bars, (steps,).
        programs: Program of each part, as the network reads it, (parts,).
        numbers: Number of each part among those of its program, (parts,).
        part_of_track: Part of each track, -1 for a track without notes, (tracks,).
        order: Tracks with notes; those of a part in the order to use, (tracks with notes,).
        pitches: Twice the median pitch of each track, (tracks,).
        velocities: Velocities of new notes, (parts, 24).
        scale: Factor of all ticks.
        bars: Bars of the whole prompt.
        start_tick: Bar line from which notes are read.
        end_tick: Bar line where the new music begins.
        meter: TimeSig token in force there, -1 without one.
        max_at_once: Default of the most notes that start together.
    """

    ids: np.ndarray
    programs: np.ndarray
    numbers: np.ndarray
    part_of_track: np.ndarray
    order: np.ndarray
    pitches: np.ndarray
    velocities: np.ndarray
    scale: int
    bars: int
    start_tick: int
    end_tick: int
    meter: int
    max_at_once: int

    def __init__(
        self,
        remi: Remi,
        score: ScoreArrays,
        *,
        bos: int,
        substitutes: Mapping[int, int] | None = None,
        end_tick: int = 0,
    ) -> None:
        """Read a score.

        Args:
            remi: The functions of the core.
            score: As `midi.read_midi` returns it.
            bos: First id.
            substitutes: Trained program of each program of the score. None: itself.
            end_tick: Bar line where the prompt ends. 0: the first one after the last note.

        Raises:
            ValueError: No notes, or a number of the score is out of range.
        """
        library = self._library = remi.library
        self._score = ScoreStruct(library, score)
        self._substitutes = None if substitutes is None else _substitutes(library, substitutes)
        self._arrays = _prompt_arrays(library, len(score.programs))
        pointers = [(name, library.pointer) for name in _ARRAYS]
        fields = [*pointers, *((name, np.int32) for name in _NUMBERS)]
        self._struct = library.zeros(1, np.dtype(fields, align=True))
        self._struct[0] = (*map(library.address, self._arrays.values()), *(0 for _ in _NUMBERS))
        size = check(library.call("prompt_scratch_bytes", self._score.address, end_tick))
        scratch = library.zeros(size, np.uint8)
        inputs = self._score.address, library.address(self._substitutes), end_tick, bos
        outputs = map(library.address, (self._struct, scratch))
        check(library.call("prompt_read", remi.table, *inputs, *outputs))
        self._publish()

    def _publish(self) -> None:
        """Set the attributes from the struct and the arrays."""
        numbers = {name: int(self._struct[name][0]) for name in _NUMBERS}
        counts = {"ids": numbers.pop("id_count"), "order": numbers.pop("track_count")}
        parts = numbers.pop("part_count")
        counts |= dict.fromkeys(("programs", "numbers", "velocities"), parts)
        for name, number in numbers.items():
            setattr(self, name, number)
        for name, array in self._arrays.items():
            setattr(self, name, array[: counts.get(name)])

    def with_velocities(
        self, bar: ScoreArrays, numbers: np.ndarray, gain: float = 1.0
    ) -> ScoreArrays:
        """Return a decoded bar with velocities; `gain` is a factor for all of them."""
        return set_velocities(self._library, bar, numbers, gain, prompt=self)

    def program_of(
        self, program: int, number: int, permitted: Collection[int] | None = None
    ) -> int:
        """Return the program that plays a part of the new music.

        Args:
            program: Program of the part in the tokens.
            number: Number of the part.
            permitted: Programs of the constraints; None: all.
        """
        library = self._library
        flags = None if permitted is None else _flags(library, permitted)
        pointers = map(library.address, (self._substitutes, flags))
        own = library.address(self._struct), self._score.address
        return int(library.call("prompt_program", *own, *pointers, program, number))

    def track_of(self, program: int, number: int, played: int, pitch: int) -> int | None:
        """Return the track that plays a new note of a part; None: a track that is added.

        Args:
            program: Program of the part in the tokens.
            number: Number of the part.
            played: Program that plays it, of `program_of`.
            pitch: MIDI pitch.
        """
        own = self._library.address(self._struct), self._score.address
        track = self._library.call("prompt_track", *own, program, number, played, pitch)
        return None if track < 0 else int(track)


def set_velocities(
    library: Library,
    bar: ScoreArrays,
    numbers: np.ndarray,
    gain: float = 1.0,
    *,
    prompt: ReadPrompt | None = None,
) -> ScoreArrays:
    """Return a decoded bar with velocities, see `ReadPrompt.with_velocities`.

    Args:
        library: The core.
        bar: Score of `Remi.decode`.
        numbers: Numbers of its tracks.
        gain: Factor for all velocities.
        prompt: None: there is no prompt.
    """
    notes = library.zeros(bar.notes.shape, np.int32)
    notes[...] = bar.notes
    copy = ScoreArrays(bar.ticks_per_quarter, bar.programs, notes, bar.tempos, bar.meters)
    struct = ScoreStruct(library, copy)
    own = 0 if prompt is None else library.address(prompt._struct)
    visible = library.visible(np.ascontiguousarray(numbers, np.int32))
    library.call("prompt_set_velocities", own, struct.address, library.address(visible), gain)
    return copy


def _prompt_arrays(library: Library, tracks: int) -> dict[str, np.ndarray]:
    """Return the arrays of `Prompt` in core.h."""
    shapes: dict[str, int | tuple[int, ...]] = dict.fromkeys(_ARRAYS, tracks)
    shapes |= {"ids": _MAX_IDS, "velocities": (tracks, EIGHTHS)}
    return {name: library.zeros(shapes[name], dtype) for name, dtype in _ARRAYS.items()}


def _flags(library: Library, programs: Collection[int]) -> np.ndarray:
    flags = library.zeros(PROGRAMS, np.uint8)
    flags[list(programs)] = 1  # -1, drums, is the last one
    return flags


def _substitutes(library: Library, known: Mapping[int, int]) -> np.ndarray:
    substitutes = library.zeros(PROGRAMS, np.int32)
    substitutes[:] = _UNMAPPED
    for program, substitute in known.items():
        substitutes[program] = substitute
    return substitutes
