"""Scores as token ids: MidiTok's REMI in bar-part order, without velocities and merges."""

from musiclstm.tokens.meters import knows_meter, plain_meter
from musiclstm.tokens.programs import (
    Part,
    most_parts,
    program_of,
    programs_of,
    relatives,
    with_programs,
)
from musiclstm.tokens.tokenizer import TOKENIZER_FILE, MusicTokenizer
from musiclstm.tokens.vocabulary import DRUMS, MAX_TRACKS_PER_PROGRAM, POSITIONS_PER_BEAT

__all__ = [
    "DRUMS",
    "MAX_TRACKS_PER_PROGRAM",
    "POSITIONS_PER_BEAT",
    "TOKENIZER_FILE",
    "MusicTokenizer",
    "Part",
    "knows_meter",
    "most_parts",
    "plain_meter",
    "program_of",
    "programs_of",
    "relatives",
    "with_programs",
]
