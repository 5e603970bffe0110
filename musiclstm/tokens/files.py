"""The tokenizer file of a checkpoint folder.

It has the form of MidiTok's parameter file, so that `miditok.REMI(params=path)` reads it. Its name
differs from Hugging Face's `tokenizer.json`, which holds tokenizers of another kind.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from musiclstm.errors import CheckpointError
from musiclstm.tokens import vocabulary as v

TOKENIZER_FILE: Final = "miditok_remi.json"
_FILE_OF_0_2 = "tokenizer.json"
_OURS = "musiclstm"


def tokenizer_parameters() -> dict[str, Any]:
    """Return the parameters that make MidiTok's REMI use the tokens of this package."""
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
        "time_signature_range": {str(below): list(above) for below, above in v.METERS.items()},
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


def check_tokenizer_file(folder: Path) -> None:
    """Check that a folder holds the tokenizer file of this format.

    Raises:
        CheckpointError: The file is missing, damaged, or of another format.
    """
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        raise CheckpointError(_missing(folder))
    ours = _parsed(path)
    if ours.get("format_version") != v.FORMAT_VERSION:
        raise CheckpointError(
            f"{TOKENIZER_FILE} in '{folder.name}' has format {ours.get('format_version')!r}; this "
            f"version of musiclstm reads format {v.FORMAT_VERSION}. Install the version that wrote "
            "the checkpoint."
        )
    if ours.get("fingerprint") != v.fingerprint():
        raise CheckpointError(
            f"{TOKENIZER_FILE} in '{folder.name}' has other tokens than this version of musiclstm "
            f"(fingerprint {ours.get('fingerprint')!r} instead of {v.fingerprint()!r}); take the "
            "file that was saved together with the weights."
        )


def _missing(folder: Path) -> str:
    if (folder / _FILE_OF_0_2).is_file():
        return (
            f"'{folder.name}' is a checkpoint of musiclstm 0.2 (it has {_FILE_OF_0_2} and no "
            f"{TOKENIZER_FILE}); install musiclstm 0.2 to use it, or fine-tune it again."
        )
    return (
        f"'{folder.name}' has no {TOKENIZER_FILE}; a checkpoint folder needs it beside the "
        "weights. Pass a folder that training.finetune wrote."
    )


def _parsed(path: Path) -> dict[str, Any]:
    """Return our own entry of the file."""
    try:
        content = json.loads(path.read_bytes())
        ours = content[_OURS]
        if content["tokenization"] == "REMI" and isinstance(ours, dict):
            return ours
    except (ValueError, KeyError, TypeError):
        pass
    raise CheckpointError(
        f"{TOKENIZER_FILE} in '{path.parent.name}' is not a tokenizer file of musiclstm; take the "
        "file that was saved together with the weights."
    )
