"""The tokenizer: encode scores, decode ids, and read and write the tokenizer file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from symusic.core import ScoreTick

from musiclstm.errors import ScoreError
from musiclstm.midi.analysis import AnyScore, in_ticks
from musiclstm.tokens import vocabulary as v
from musiclstm.tokens.decoding import decode_ids
from musiclstm.tokens.encoding import encode_parts, order_parts, parts_of, programs_by_track
from musiclstm.tokens.files import TOKENIZER_FILE, check_tokenizer_file, write_tokenizer_file
from musiclstm.tokens.programs import PartName
from musiclstm.tokens.quantize import quantize

__all__ = ["TOKENIZER_FILE", "MusicTokenizer"]


class MusicTokenizer:
    """Convert scores to token ids and token ids to scores.

    The vocabulary is fixed: all tokenizers of a format version are equal.

    Attributes:
        pad_id: Padding token.
        bos_id: Token at the start of a piece.
        eos_id: Token at the end of a piece.
        token_names: Name of each id, such as `Pitch_60`.
        ids: Id of each name.
        fingerprint: Sixteen hexadecimal digits; they change with the meaning of any id.
        ticks_per_quarter: Resolution of decoded scores.
    """

    pad_id: Final = v.PAD
    bos_id: Final = v.BOS
    eos_id: Final = v.EOS
    token_names: Final[tuple[str, ...]] = v.TOKEN_NAMES
    ids: Final[Mapping[str, int]] = v.IDS
    fingerprint: Final[str] = v.fingerprint()
    ticks_per_quarter: Final = v.TICKS_PER_QUARTER

    def __len__(self) -> int:
        """Return the size of the vocabulary, special tokens included."""
        return len(self.token_names)

    @classmethod
    def from_folder(cls, folder: str | Path) -> MusicTokenizer:
        """Check the tokenizer file of a checkpoint folder.

        Raises:
            CheckpointError: The file is missing, damaged, or of another format.
        """
        check_tokenizer_file(Path(folder))
        return cls()

    def save(self, folder: str | Path) -> None:
        """Write the tokenizer file into an existing folder."""
        write_tokenizer_file(Path(folder))

    def part_order(self, score: AnyScore, *, merge_tracks: bool = False) -> list[list[int]]:
        """Return the track indices of each part: by mean pitch from the top, drums last.

        Tracks without notes that have a token are missing. All drum tracks are one part, and so are
        the tracks of a program from the eighth on.

        Args:
            score: In any time unit.
            merge_tracks: Make all tracks of a program one part.

        Raises:
            ScoreError: The score has an event before tick 0 or too many bars.
        """
        ticks = in_ticks(score)
        return order_parts(
            quantize(ticks).notes, programs_by_track(ticks), merge_tracks=merge_tracks
        )

    def parts(
        self, score: AnyScore, order: Sequence[Sequence[int]] | None = None
    ) -> list[PartName]:
        """Return program and number of each part of `order`, or of `part_order(score)`."""
        chosen = self.part_order(score) if order is None else [list(part) for part in order]
        return parts_of(chosen, programs_by_track(in_ticks(score)))

    def encode(
        self,
        score: AnyScore,
        *,
        order: Sequence[Sequence[int]] | None = None,
        merge_tracks: bool = False,
    ) -> list[int]:
        """Return the token ids of a score, without BOS and EOS.

        Times are rounded to the grid. Of equal notes of a part at one tick the longest stays.

        Args:
            score: In any time unit; left unchanged.
            order: Track indices of each part, such as `part_order(score)` in another order; other
                tracks are omitted. None: `part_order(score)`.
            merge_tracks: Encode all tracks of a program as one part, at the index of the first.

        Raises:
            ScoreError: The score has no notes, an event before tick 0, or too many bars.
            ValueError: `order` does not match the score.
        """
        ticks = in_ticks(score)
        piece, programs = quantize(ticks), programs_by_track(ticks)
        if order is None:
            chosen = order_parts(piece.notes, programs, merge_tracks=merge_tracks)
        else:
            chosen = _merged(order, programs) if merge_tracks else [list(part) for part in order]
        parts = parts_of(chosen, programs)
        tracks = [track for members in chosen for track in members]
        if not np.isin(piece.notes.track, tracks).any():
            raise ScoreError("The score has no notes; add at least one.")
        return encode_parts(piece, chosen, parts, len(programs)).tolist()

    def decode(self, ids: Iterable[int]) -> ScoreTick:
        """Return the score of token ids; its first bar starts at tick 0.

        It has one track per part, in order of appearance: the k-th track of a program is the k-th
        block of that program in every bar. Ids against the grammar are skipped. Velocities are 64.
        """
        return self.decode_parts(ids)[0]

    def decode_parts(self, ids: Iterable[int]) -> tuple[ScoreTick, list[PartName]]:
        """Return the score of `decode`, and the part of each of its tracks."""
        return decode_ids(ids)

    def parts_in(self, ids: Iterable[int]) -> list[PartName]:
        """Return the part of each track of `decode`."""
        return self.decode_parts(ids)[1]

    def length_ticks(self, ids: Iterable[int]) -> int:
        """Return the ticks from the first bar line to the end of the last bar, as in `decode`."""
        signatures = [i - v.TIME_SIGNATURE_0 for i in ids if v.TIME_SIGNATURE_0 <= i < len(self)]
        return int(v.BAR_TICKS[signatures].sum())

    def pad_or_trim_bars(self, ids: Sequence[int], bars: int, meter: tuple[int, int]) -> list[int]:
        """Return ids with exactly `bars` bars: the last ones, or padded with empty bars.

        Empty bars at the end are removed first, because `encode` adds one after a note that ends on
        a bar line.
        """
        empty = [v.BAR, self.ids[f"TimeSig_{meter[0]}/{meter[1]}"]]
        found = list(ids)
        starts = [i for i, index in enumerate(found) if index == v.BAR]
        while len(starts) > bars and len(found) - starts[-1] == len(empty):
            del found[starts.pop() :]
        if len(starts) > bars:
            return found[starts[-bars] :]
        return found + empty * (bars - len(starts))


def _merged(order: Sequence[Sequence[int]], programs: Sequence[int]) -> list[list[int]]:
    """Join the parts of each program at the index of the first."""
    found: dict[int, list[int]] = {}
    for members in order:
        for track in members:
            found.setdefault(programs[track], []).append(track)
    return list(found.values())
