"""The tokenizer file of a checkpoint folder.

It is a MidiTok parameter file, which `miditok.REMI(params=path)` reads. It is not named
`tokenizer.json`, because that is the format of Hugging Face tokenizers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from musiclstm.errors import CheckpointError
from musiclstm.midi.meters import METERS
from musiclstm.tokens import vocabulary as v

TOKENIZER_FILE: Final = "miditok_remi.json"
FILE_OF_0_2: Final = "tokenizer.json"
_OURS = "musiclstm"


def tokenizer_parameters() -> dict[str, Any]:
    """Return the parameters with which MidiTok's REMI has the same tokens."""
    programs = [*range(128), v.DRUMS]
    config = {
        "pitch_range": [0, 127],
        "drums_pitch_range": [v.DRUM_PITCHES[0], v.DRUM_PITCHES[-1]],
        "beat_res": {f"{first}_{stop}": steps for (first, stop), steps in v.DURATIONS.items()},
        "special_tokens": ["PAD", "BOS", "EOS"],
        "encode_ids_split": "no",
        "use_velocities": False,
        "use_pitchdrum_tokens": True,
        "use_note_duration_programs": programs,
        "use_programs": True,
        "programs": programs,
        "program_changes": True,
        "one_token_stream_for_programs": True,
        "use_time_signatures": True,
        "time_signature_range": {str(below): list(above) for below, above in METERS.items()},
        "use_tempos": True,
        "num_tempos": len(v.TEMPOS_BPM),
        "tempo_range": [v.SLOWEST_BPM, v.FASTEST_BPM],
        "log_tempos": True,
        "delete_equal_successive_tempo_changes": True,
        "remove_duplicated_notes": True,
        "additional_params": {
            "add_trailing_bars": True,
            "max_bar_embedding": None,
            "use_bar_end_tokens": False,
        },
    }
    ours = {"format_version": v.FORMAT_VERSION, "fingerprint": v.fingerprint()}
    return {"config": config, "tokenization": "REMI", "miditok_version": "3.1.0", _OURS: ours}


def write_tokenizer_file(folder: Path) -> None:
    """Write the tokenizer file into an existing folder."""
    text = json.dumps(tokenizer_parameters(), indent=1) + "\n"
    (folder / TOKENIZER_FILE).write_text(text, encoding="utf-8")


def check_tokenizer_file(folder: Path, name: str | Path | None = None) -> None:
    """Check that a folder holds the tokenizer file of this format.

    Args:
        folder: The checkpoint folder.
        name: Name of the checkpoint in errors. None: the name of the folder.

    Raises:
        CheckpointError: The file is missing, damaged, or of another format.
    """
    path, shown = folder / TOKENIZER_FILE, repr(str(name or folder.name))
    refuse_version_0_2(folder, name or folder.name)
    if not path.is_file():
        raise CheckpointError(
            f"{shown} has no {TOKENIZER_FILE}; a checkpoint folder needs it beside the weights. "
            "Pass a folder that training.finetune wrote."
        )
    ours = _parsed(path)
    if ours is None:
        raise CheckpointError(
            f"{TOKENIZER_FILE} of {shown} is not a tokenizer file of musiclstm; use the file saved "
            "with the weights."
        )
    if ours.get("format_version") != v.FORMAT_VERSION:
        raise CheckpointError(
            f"{TOKENIZER_FILE} of {shown} has format {ours.get('format_version')!r}; this version "
            f"of musiclstm reads format {v.FORMAT_VERSION}. Install the version that wrote the "
            "checkpoint."
        )
    if ours.get("fingerprint") != v.fingerprint():
        raise CheckpointError(
            f"{TOKENIZER_FILE} of {shown} has other tokens than this version of musiclstm "
            f"(fingerprint {ours.get('fingerprint')!r} instead of {v.fingerprint()!r}); use the "
            "file saved with the weights."
        )


def refuse_version_0_2(folder: Path, name: str | Path) -> None:
    """Raise if a folder is a checkpoint of musiclstm 0.2.

    Raises:
        CheckpointError: The folder has the tokenizer file of that version only.
    """
    if (folder / FILE_OF_0_2).is_file() and not (folder / TOKENIZER_FILE).is_file():
        raise CheckpointError(
            f"{str(name)!r} is a checkpoint of musiclstm 0.2, which has another network and other "
            "tokens; read it with musiclstm 0.2 (pip install 'musiclstm<0.3'), or train it again."
        )


def _parsed(path: Path) -> dict[str, Any] | None:
    """Return the entry of this package; None if it is not a tokenizer file."""
    try:
        content = json.loads(path.read_bytes())
        ours, kind = content[_OURS], content["tokenization"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return ours if kind == "REMI" and isinstance(ours, dict) else None
