"""Score to token ids and back, through MidiTok's REMI.

One stream for all instruments: `Bar TimeSig Position Tempo Program Pitch Velocity Duration …`, on a
grid of twelve positions per beat (triplets and sixteenths both fit), then byte-pair encoding that
never crosses a bar line. Here too: which trained instrument stands in for a rare one, and the
fingerprint that ties a tokenizer to its weights. It does not know the network.
"""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from miditok import REMI, TokenizerConfig, TokSequence
from symusic import Score, TimeSignature
from symusic.core import ScoreTick

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

    def __init__(self, remi: REMI | None = None):
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
            return cls(REMI(params=path))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
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
            tuple(base[ord(character) - _CHARACTERS_FROM] for character in text)
            for text in merged
        )

    # Score to ids.

    def encode(self, score: Score) -> list[int]:
        """Ids of a score from its first bar on, without BOS and EOS.

        Times are rounded to the grid; equal notes at one time and of one instrument become one.

        Raises:
            ScoreError: The score has no notes.
        """
        return self.compress(self.encode_base(score))

    def encode_base(self, score: Score) -> list[int]:
        """Like `encode`, before merging: ids into `base_tokens`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MidiTok warns of meters; `_plain_meters` told already
            tokens = self._remi.encode(_plain_meters(score), encode_ids=False)
        ids = list(tokens.ids)
        if not ids:
            raise ScoreError("The score has no notes; give it at least one to go on from.")
        return ids

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

    def with_bars(
        self, base_ids: Sequence[int], bars: int, meter: tuple[int, int]
    ) -> list[int]:
        """Base ids cut or filled up with empty bars of a meter to exactly so many bars."""
        bar, signature = (
            self._remi._vocab_base[name] for name in ("Bar_None", f"TimeSig_{meter[0]}/{meter[1]}")
        )
        starts = [i for i, index in enumerate(base_ids) if index == bar]
        if len(starts) > bars:
            return list(base_ids[: starts[bars]])
        return [*base_ids, *[bar, signature] * (bars - len(starts))]

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
        score = self._remi._tokens_to_score(TokSequence(tokens=music))
        if not _names_first_tempo(music) and len(score.tempos):
            del score.tempos[0]  # MidiTok puts its default there
        return score

    @property
    def ticks_per_quarter(self) -> int:
        """What decoded scores count in."""
        return int(self._remi.time_division)

    def length_ticks(self, ids: Iterable[int]) -> int:
        """From the first bar line to the one after the last bar, as `decode` counts."""
        meters = [name[8:].split("/") for name in self.expand(ids) if name.startswith("TimeSig_")]
        whole = 4 * self.ticks_per_quarter
        return sum(int(numerator) * whole // int(denominator) for numerator, denominator in meters)


def _names_first_tempo(tokens: Sequence[str]) -> bool:
    positions = 0
    for name in tokens[1:]:
        if name == "Bar_None":
            return False
        if name.startswith("Position_"):
            positions += 1
            if positions > 1 or name != "Position_0":
                return False
        if name.startswith("Tempo_"):
            return True
    return False


def plain_meter(numerator: int, denominator: int) -> tuple[int, int]:
    """A meter of the same length that the grid knows: 2/2 as 4/4, 6/16 as 3/8.

    The grid has twelve positions for each beat that the denominator names, so halves would be too
    coarse for sixteenths.
    """
    while denominator < 4:
        numerator, denominator = numerator * 2, denominator * 2
    while denominator > 8 and numerator % 2 == 0:
        numerator, denominator = numerator // 2, denominator // 2
    return numerator, denominator


def knows_meter(numerator: int, denominator: int) -> bool:
    """Whether the tokens can say this meter, or one of the same length."""
    numerator, denominator = plain_meter(numerator, denominator)
    return numerator in _METERS.get(denominator, ())


def _plain_meters(score: Score) -> ScoreTick:
    score = score.to("tick").copy()
    meters = [(s.time, *plain_meter(s.numerator, s.denominator)) for s in score.time_signatures]
    score.time_signatures = type(score.time_signatures)(
        [TimeSignature(*meter) for meter in meters if knows_meter(*meter[1:])]
    )
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


def with_programs(score: Score, mapping: dict[int, int]) -> ScoreTick:
    """A copy in which every track of program `p` has program `mapping.get(p, p)`; drums stay."""
    score = score.to("tick").copy()
    for track in score.tracks:
        if not track.is_drum:
            track.program = mapping.get(track.program, track.program)
    return score


def programs_of(score: Score) -> set[int]:
    """MIDI programs of the tracks that have notes, -1 for drums."""
    return {DRUMS if t.is_drum else t.program for t in score.tracks if len(t.notes)}
