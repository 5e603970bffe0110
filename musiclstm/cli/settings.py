"""Settings of the library from the arguments of a command."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from musiclstm.audio.transcription import Transcription
    from musiclstm.generation.bar_plan import Surprise
    from musiclstm.generation.composer import Composer
    from musiclstm.generation.constraints import Constraints
    from musiclstm.generation.decoding.sampling import Sampling


def sampling_of(arguments: argparse.Namespace) -> Sampling:
    """Return the sampling settings."""
    from musiclstm.generation.decoding.sampling import Sampling

    return Sampling(
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        top_k=arguments.top_k,
        min_p=arguments.min_p,
        epsilon_cutoff=arguments.epsilon_cutoff,
        pitch_temperature=arguments.pitch_temperature,
        rhythm_temperature=arguments.rhythm_temperature,
        repetition_penalty=arguments.repetition_penalty,
        copy_weight=arguments.copy_weight,
        candidates=arguments.candidates,
        similarity=arguments.similarity,
        seed=arguments.seed,
    )


def constraints_of(arguments: argparse.Namespace, composer: Composer) -> Constraints | None:
    """Return the defaults of the prompt with the requested changes; None: no change requested."""
    requested: dict[str, Any] = {
        "programs": arguments.instruments and frozenset(arguments.instruments),
        "meter": arguments.meter,
        "tempo_bpm": arguments.tempo,
        "ending": arguments.ending or None,
    }
    requested = {name: value for name, value in requested.items() if value is not None}
    requested |= note_constraints_of(arguments)
    if not requested:
        return None
    midi, bars = getattr(arguments, "midi", None), getattr(arguments, "prompt_bars", None)
    return replace(composer.default_constraints(midi, prompt_bars=bars), **requested)


def transcription_of(arguments: argparse.Namespace) -> Transcription | None:
    """Return what is heard in the recording, with the corrections; None: it is a MIDI file."""
    from musiclstm.midi.file_names import is_recording

    if not is_recording(arguments.midi):
        return None
    from musiclstm.audio.transcription import transcribe

    heard = transcribe(
        arguments.midi,
        start_s=arguments.heard_from,
        voices=arguments.heard_voices,
        meter=arguments.heard_meter,
    )
    factor = {None: 1.0, "half": 0.5, "double": 2.0}[arguments.heard_tempo]
    return heard.corrected(
        tempo_factor=factor, meter=arguments.heard_meter, downbeat_shift=arguments.heard_shift
    )


def note_constraints_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the requested fields of `Constraints` that concern single notes."""
    requested: dict[str, Any] = {
        "key": arguments.key,
        "pitch_ranges": arguments.range and dict(arguments.range),
        "max_polyphony": arguments.polyphony,
        "notes_per_bar": arguments.density,
        "keep_lines": False if arguments.free_lines else None,
        "max_copied_notes": arguments.max_copied_notes,
    }
    return {name: value for name, value in requested.items() if value is not None}


def surprise_of(text: str) -> Surprise:
    """Read the name of a schedule, or an amount for each bar."""
    from musiclstm.generation.bar_plan import Surprise

    if text.isalpha():
        return Surprise(text)
    try:
        return Surprise([float(part) for part in text.split(",")])
    except ValueError as error:
        raise ValueError(
            f"--surprise must be off, gentle, bold, or amounts from 0 to 1 for each bar such as "
            f"0,0,0.8, got {text!r}."
        ) from error
