"""Scores as token ids: MidiTok's REMI in bar-part order, without velocities and merges."""

from musiclstm.tokens.meters import knows_meter, plain_meter
from musiclstm.tokens.programs import Part, programs_of, relatives, with_programs
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
    "plain_meter",
    "programs_of",
    "relatives",
    "with_programs",
]
