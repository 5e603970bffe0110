"""Score to token ids and back, through MidiTok's REMI.

One stream for all instruments: `Bar TimeSig Position Tempo Program Pitch Velocity Duration …`, on a
grid of twelve positions per beat (triplets and sixteenths both fit), then byte-pair encoding that
never crosses a bar line. Here too: which trained instrument stands in for a rare one, and the
fingerprint that ties a tokenizer to its weights. It does not know the network.
"""

from __future__ import annotations

import copy
import hashlib
import json
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from miditok import REMI, TokenizerConfig, TokSequence
from symusic.core import (
    NoteTickList,
    ScoreTick,
    TimeSignatureTick,
    TimeSignatureTickList,
    TrackTick,
)

from musiclstm.analysis import AnyScore, in_ticks
from musiclstm.errors import CheckpointError, ScoreError

TOKENIZER_FILE = "tokenizer.json"
POSITIONS_PER_BEAT = 12
DRUMS = -1
_CHARACTERS_FROM = 33  # MidiTok writes base id i as the character chr(i + 33) before it merges

_SPECIAL = ("PAD_None", "BOS_None", "EOS_None")
_METERS = {
    4: [*range(1, 13)],
    8: [*range(1, 17)],
    16: [3, 5, 7, 9, 11, 13, 15],
}


def _remi_config() -> TokenizerConfig:
    return TokenizerConfig(
        pitch_range=(0, 127),
        beat_res={(0, 4): POSITIONS_PER_BEAT, (4, 12): 4, (12, 32): 1},
        num_velocities=16,
        special_tokens=["PAD", "BOS", "EOS"],
        encode_ids_split="no",  # `_bars_as_text` splits: MidiTok's own way spends ids on a marker
        use_velocities=True,
        use_programs=True,
        one_token_stream_for_programs=True,
        use_time_signatures=True,
        time_signature_range=_METERS,
        use_tempos=True,
        num_tempos=32,
        tempo_range=(40, 250),
        log_tempos=True,
        delete_equal_successive_tempo_changes=True,
        remove_duplicated_notes=True,
        add_trailing_bars=True,
    )


class MusicTokenizer:
    """Turns a score into ids and ids into a score.

    Attributes:
        pad_id: Fills short rows.
        bos_id: Opens a piece.
        eos_id: Closes a piece.
    """

    def __init__(self, remi: REMI | None = None) -> None:
        """Start from MidiTok's REMI; None: our own grid, without merges."""
        self._remi = remi or REMI(copy.deepcopy(_remi_config()))
        self.pad_id, self.bos_id, self.eos_id = (
            int(self._remi[name]) for name in ("PAD_None", "BOS_None", "EOS_None")
        )
        self._parts = self._read_parts()

    @classmethod
    def from_folder(cls, folder: str | Path) -> MusicTokenizer:
        """Read `tokenizer.json` of a checkpoint folder.

        Raises:
            CheckpointError: The file is missing or not one of ours.
        """
        path = Path(folder) / TOKENIZER_FILE
        if not path.is_file():
            raise CheckpointError(
                f"'{Path(folder).name}' has no {TOKENIZER_FILE}; a checkpoint folder needs it "
                "beside the weights. Pass a folder that training.finetune wrote."
            )
        try:
            if json.loads(path.read_bytes())["tokenization"] != "REMI":
                raise ValueError("a tokenizer of another kind")
            return cls(REMI(params=path))
        except Exception as error:  # tokenizers raises nothing more precise
            raise CheckpointError(
                f"{TOKENIZER_FILE} in '{Path(folder).name}' is not a REMI tokenizer of MidiTok; "
                "take the file that was saved together with the weights."
            ) from error

    def save(self, folder: str | Path) -> None:
        """Write `tokenizer.json` into an existing folder."""
        self._remi.save(Path(folder) / TOKENIZER_FILE)

    # What the ids are.

    def __len__(self) -> int:
        """Size of the vocabulary, merges and special tokens included."""
        return len(self._parts)

    @property
    def base_tokens(self) -> tuple[str, ...]:
        """Names of the unmerged tokens in order of their ids, such as `Pitch_60`."""
        inverse = {index: name for name, index in self._remi._vocab_base.items()}
        return tuple(inverse[index] for index in range(len(inverse)))

    @property
    def parts(self) -> tuple[tuple[str, ...], ...]:
        """For every id the base tokens it stands for, in order."""
        return self._parts

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change when any id changes its meaning."""
        lines = "\n".join(" ".join(part) for part in self._parts)
        return hashlib.sha256(lines.encode()).hexdigest()[:16]

    def _read_parts(self) -> tuple[tuple[str, ...], ...]:
        base = self.base_tokens
        model = self._remi._model
        if model is None:
            return tuple((name,) for name in base)
        merged = (model.id_to_token(index) for index in range(model.get_vocab_size()))
        return tuple(
            tuple(base[ord(character) - _CHARACTERS_FROM] for character in text) for text in merged
        )

    # Score to ids.

    def encode(self, score: AnyScore) -> list[int]:
        """Ids of a score from its first bar on, without BOS and EOS.

        Times are rounded to the grid; equal notes at one time and of one instrument become one,
        the longest.

        Raises:
            ScoreError: The score has no notes.
        """
        return self.compress(self.encode_base(score))

    def encode_base(self, score: AnyScore) -> list[int]:
        """Like `encode`, before merging: ids into `base_tokens`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MidiTok warns of meters; `_plain_meters` told already
            tokens = self._remi.encode(_lasting_longest(_plain_meters(score)), encode_ids=False)
        if not any(name.startswith("Pitch") for name in tokens.tokens):
            raise ScoreError("The score has no notes; give it at least one to go on from.")
        return list(tokens.ids)

    def compress(self, base_ids: Sequence[int] | np.ndarray) -> list[int]:
        """Merge base ids, bar by bar, into the ids the network reads."""
        return self.compress_many([base_ids])[0]

    def compress_many(self, pieces: Iterable[Sequence[int] | np.ndarray]) -> list[list[int]]:
        """`compress` for many pieces at once, on all cores."""
        texts = [self._bars_as_text(piece) for piece in pieces]
        if self._remi._model is None:
            return [[ord(c) - _CHARACTERS_FROM for bar in bars for c in bar] for bars in texts]
        encodings = self._remi._model.encode_batch(texts, is_pretokenized=True)
        return [encoding.ids for encoding in encodings]

    def _bars_as_text(self, base_ids: Sequence[int] | np.ndarray) -> list[str]:
        bar = chr(self._remi._vocab_base["Bar_None"] + _CHARACTERS_FROM)
        codes = np.asarray(base_ids, dtype=np.uint32) + _CHARACTERS_FROM
        text = codes.astype("<u4").tobytes().decode("utf-32-le")
        head, *bars = text.split(bar)
        return ([head] if head else []) + [bar + rest for rest in bars]

    def with_bars(self, base_ids: Sequence[int], bars: int, meter: tuple[int, int]) -> list[int]:
        """Base ids with exactly so many bars: the last ones, or filled up with empty ones.

        Empty bars at the end go first: `encode` writes one after a note that ends on a bar line.
        """
        empty = [
            self._remi._vocab_base[name] for name in ("Bar_None", f"TimeSig_{meter[0]}/{meter[1]}")
        ]
        ids = list(base_ids)
        starts = [i for i, index in enumerate(ids) if index == empty[0]]
        while len(starts) > bars and len(ids) - starts[-1] == len(empty):
            del ids[starts.pop() :]
        if len(starts) > bars:
            return ids[starts[-bars] :]
        return ids + empty * (bars - len(starts))

    def learn_merges(self, pieces: Sequence[Sequence[int] | np.ndarray], vocab_size: int) -> None:
        """Learn byte-pair merges from base ids until the vocabulary has `vocab_size` entries.

        A corpus too small to fill the vocabulary gives a smaller one. Fewer entries than there are
        base tokens learn nothing.
        """
        if vocab_size > len(self.base_tokens):
            bars = [bar for piece in pieces for bar in self._bars_as_text(piece)]
            self._remi.train(vocab_size=vocab_size, model="BPE", iterator=bars)
        self._parts = self._read_parts()

    # Ids to score.

    def expand(self, ids: Iterable[int]) -> list[str]:
        """The base tokens that ids stand for."""
        return [name for index in ids for name in self._parts[index]]

    def decode(self, ids: Iterable[int]) -> ScoreTick:
        """The score that ids describe, beginning with their first bar at tick 0.

        Tempo changes are only those the ids name: a stream that names none gives a score without.
        """
        music = [name for name in self.expand(ids) if name not in _SPECIAL]
        return self._remi._tokens_to_score(TokSequence(tokens=music))

    @property
    def ticks_per_quarter(self) -> int:
        """What decoded scores count in."""
        return int(self._remi.time_division)

    def length_ticks(self, ids: Iterable[int]) -> int:
        """From the first bar line to the one after the last bar, as `decode` counts."""
        meters = [name[8:].split("/") for name in self.expand(ids) if name.startswith("TimeSig_")]
        whole = 4 * self.ticks_per_quarter
        return sum(int(numerator) * whole // int(denominator) for numerator, denominator in meters)


def plain_meter(numerator: int, denominator: int) -> tuple[int, int]:
    """A meter of the same length that the grid knows: 2/2 as 4/4, 6/16 as 3/8.

    The grid has twelve positions for each beat that the denominator names, so halves would be too
    coarse for sixteenths. What is no meter (4/0) stays as it is.
    """
    while 0 < denominator < 4:
        numerator, denominator = numerator * 2, denominator * 2
    while denominator > 8 and numerator % 2 == 0:
        numerator, denominator = numerator // 2, denominator // 2
    return numerator, denominator


def knows_meter(numerator: int, denominator: int) -> bool:
    """Whether the tokens can say this meter, or one of the same length."""
    numerator, denominator = plain_meter(numerator, denominator)
    return numerator in _METERS.get(denominator, ())


def _plain_meters(score: AnyScore) -> ScoreTick:
    copy = in_ticks(score).copy()
    meters = [(s.time, *plain_meter(s.numerator, s.denominator)) for s in copy.time_signatures]
    known = [meter for meter in meters if knows_meter(*meter[1:])]
    copy.time_signatures = TimeSignatureTickList(
        [TimeSignatureTick(*meter) for meter in _with_cut_bars(known, copy.ticks_per_quarter)]
    )
    return copy


def _with_cut_bars(
    meters: list[tuple[int, int, int]], ticks_per_quarter: int
) -> list[tuple[int, int, int]]:
    """Give a bar that a change of meter cuts off the meter of what is left of it.

    MidiTok would delay the change to the end of that bar, and all later bar lines with it. Where no
    meter has that length, it still does.
    """
    found: list[tuple[int, int, int]] = []
    begin, ruling = 0, (4, 4)
    for start, numerator, denominator in sorted(meters):
        if (numerator, denominator) == ruling:
            continue
        left = (start - begin) % (4 * ticks_per_quarter * ruling[0] // ruling[1])
        found += [(start - left, *meter) for meter in _meters_lasting(left, ticks_per_quarter)[:1]]
        found.append((start, numerator, denominator))
        begin, ruling = start, (numerator, denominator)
    return found


def _meters_lasting(ticks: int, ticks_per_quarter: int) -> list[tuple[int, int]]:
    """The meters whose bars are so long, the simplest first."""
    beats = [(ticks * below / (4 * ticks_per_quarter), below) for below in _METERS]
    return [(int(above), below) for above, below in beats if above in _METERS[below]]


def _lasting_longest(score: ScoreTick) -> ScoreTick:
    """Where one instrument strikes a key twice at once, both notes last as long as the longer.

    Only one of them can become tokens, and MidiTok takes the shorter. Changes the score.
    """
    together: dict[int, list[TrackTick]] = {}
    for track in score.tracks:
        together.setdefault(DRUMS if track.is_drum else track.program, []).append(track)
    for tracks in together.values():
        tables = [track.notes.numpy() for track in tracks]
        strikes = [table["time"].astype(np.int64) * 128 + table["pitch"] for table in tables]
        _, strike = np.unique(np.concatenate(strikes), return_inverse=True)
        longest = np.zeros(len(strike), np.int32)
        np.maximum.at(longest, strike, np.concatenate([table["duration"] for table in tables]))
        ends = np.cumsum([len(each) for each in strikes])
        for track, table, own in zip(tracks, tables, np.split(strike, ends[:-1]), strict=True):
            table["duration"] = longest[own]
            track.notes = NoteTickList.from_numpy(*table.values())
    return score


def relatives(programs: Iterable[int], trained: Iterable[int] | None) -> dict[int, int]:
    """Which trained program stands in for each program of a seed.

    A trained program stands for itself. Another takes the nearest trained one of its General MIDI
    family (groups of eight), else the nearest of all; one that nobody else uses where there is one,
    so that the way back is unambiguous. Drums stand for drums only.

    Args:
        programs: MIDI programs of the seed, -1 for drums.
        trained: Programs the weights have heard; None: all.
    """
    wanted = sorted(set(programs))
    known = set(range(-1, 128)) if trained is None else set(trained)
    chosen = {program: program for program in wanted if program in known or program == DRUMS}
    for program in wanted:
        if program not in chosen:
            free = (known - {DRUMS}) - set(chosen.values()) or known - {DRUMS} or {program}
            chosen[program] = min(free, key=lambda other: _distance(program, other))
    return chosen


def _distance(program: int, other: int) -> tuple[bool, int, int]:
    return (program // 8 != other // 8, abs(program - other), other)


def with_programs(score: AnyScore, mapping: dict[int, int]) -> ScoreTick:
    """A copy in which every track of program `p` has program `mapping.get(p, p)`; drums stay."""
    copy = in_ticks(score).copy()
    for track in copy.tracks:
        if not track.is_drum:
            track.program = mapping.get(track.program, track.program)
    return copy


def programs_of(score: AnyScore) -> set[int]:
    """MIDI programs of the tracks that have notes, -1 for drums."""
    return {DRUMS if t.is_drum else t.program for t in in_ticks(score).tracks if len(t.notes)}
