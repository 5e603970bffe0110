"""Convert scores to token ids and back: MidiTok's REMI in bar-part order, without velocities."""

from musiclstm.midi.meters import normalize_time_signature, supports_time_signature
from musiclstm.tokens.programs import (
    PartName,
    most_parts,
    nearest_programs,
    program_of,
    programs_of,
    with_programs,
)
from musiclstm.tokens.tokenizer import TOKENIZER_FILE, MusicTokenizer
from musiclstm.tokens.vocabulary import DRUMS, MAX_TRACKS_PER_PROGRAM, POSITIONS_PER_BEAT, TABLE

__all__ = [
    "DRUMS",
    "MAX_TRACKS_PER_PROGRAM",
    "POSITIONS_PER_BEAT",
    "TABLE",
    "TOKENIZER_FILE",
    "MusicTokenizer",
    "PartName",
    "most_parts",
    "nearest_programs",
    "normalize_time_signature",
    "program_of",
    "programs_of",
    "supports_time_signature",
    "with_programs",
]
