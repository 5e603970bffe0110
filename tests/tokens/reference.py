"""MidiTok as the reference of the tokens: its own encoding, permuted into bar-part order."""

from __future__ import annotations

import functools
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence

import hypothesis.strategies as st
import numpy as np
from miditok import REMI, TokenizerConfig, TokSequence
from symusic.core import (
    NoteTick,
    NoteTickList,
    ScoreTick,
    TempoTick,
    TimeSignatureTick,
    TimeSignatureTickList,
    TrackTick,
)

from musiclstm.tokens import DRUMS, PartName
from musiclstm.tokens.meters import Grid, make_grid
from musiclstm.tokens.vocabulary import TIME_SIGNATURES


@functools.cache
def miditok() -> REMI:
    """REMI with the fixed settings of the tokens, written down independently of the package."""
    config = TokenizerConfig(
        pitch_range=(0, 127),
        beat_res={(0, 4): 12, (4, 12): 4, (12, 32): 1},
        special_tokens=["PAD", "BOS", "EOS"],
        encode_ids_split="no",
        use_velocities=False,
        use_programs=True,
        program_changes=True,
        use_pitchdrum_tokens=True,
        one_token_stream_for_programs=True,
        use_time_signatures=True,
        time_signature_range={
            4: [*range(1, 13)],
            8: [*range(1, 17)],
            16: [3, 5, 7, 9, 11, 13, 15],
        },
        use_tempos=True,
        num_tempos=32,
        tempo_range=(40, 250),
        log_tempos=True,
        delete_equal_successive_tempo_changes=True,
        remove_duplicated_notes=True,
        add_trailing_bars=True,
    )
    return REMI(config)


def miditok_names() -> tuple[str, ...]:
    vocabulary = miditok().vocab
    return tuple(sorted(vocabulary, key=lambda name: vocabulary[name]))


def miditok_stream(
    score: ScoreTick, order: Sequence[Sequence[int]], parts: Sequence[PartName]
) -> list[str]:
    """Encode with MidiTok, each part under a program of its own, and put bars in part order."""
    bars: list[list[str]] = []
    program = ""
    for name in _with_all_time_signatures(_encoded(_with_stand_ins(score, order))):
        if name == "Bar_None":
            bars.append([program])  # it goes on from bar to bar
        elif name.startswith("Program"):
            program = name
        bars[-1].append(name)
    return [name for bar in bars for name in _in_part_order(bar, parts)]


def meets_a_slip_of_miditok(score: ScoreTick) -> bool:
    """Whether MidiTok does not do what it means to do with a score.

    It takes the grid of a meter that it then drops, and rounds down on it. It says the default
    tempo twice where the first tempo comes late and is the default.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        after = miditok().preprocess_score(_with_plain_meters(score))
    finest = max(signature.denominator for signature in after.time_signatures)
    tempos = [round(tempo.qpm, 2) for tempo in after.tempos]
    return after.ticks_per_quarter != 12 * finest // 4 or tempos[:2] == tempos[:1] * 2


def miditok_score(names: Iterable[str]) -> ScoreTick:
    """Decode with MidiTok."""
    music = [name for name in names if name not in ("PAD_None", "BOS_None", "EOS_None")]
    return miditok()._tokens_to_score(TokSequence(tokens=music))


def notes_of(score: ScoreTick) -> list[tuple]:
    """Every note as (program, beat, beats, pitch), sorted; -1 for drums."""
    tpq = score.ticks_per_quarter
    return sorted(
        (DRUMS if t.is_drum else t.program, n.time / tpq, n.duration / tpq, n.pitch)
        for t in score.tracks
        for n in t.notes
    )


def has_longer_bars(score: ScoreTick) -> bool:
    """Whether a shortened bar has no meter of its length; MidiTok delays later bar lines then."""
    grid = make_grid(score)
    whole = not (np.diff(grid.starts) % grid.bar_ticks[:-1]).any()
    return not whole or any(tick % 1 for tick in _section_ticks(score, grid))


def _section_ticks(score: ScoreTick, grid: Grid) -> list[float]:
    return (grid.starts * score.ticks_per_quarter / grid.ticks_per_quarter).tolist()


def _with_plain_meters(score: ScoreTick) -> ScoreTick:
    """Return the score with a time signature for each section of the grid."""
    copy, grid = score.copy(), make_grid(score)
    changes = zip(_section_ticks(score, grid), grid.signatures.tolist(), strict=True)
    copy.time_signatures = TimeSignatureTickList(
        [TimeSignatureTick(int(tick), *TIME_SIGNATURES[index]) for tick, index in changes]
    )
    return copy


def _with_stand_ins(score: ScoreTick, order: Sequence[Sequence[int]]) -> ScoreTick:
    """One track for each part, under program 0, 1, 2 …; drums stay drums."""
    changed = _with_plain_meters(score)
    tracks = [_joined([score.tracks[index] for index in members]) for members in order]
    for program, track in enumerate(tracks):
        track.program = 0 if track.is_drum else program
    changed.tracks = tracks
    return changed


def _joined(tracks: Sequence[TrackTick]) -> TrackTick:
    """All notes by onset; those of one pitch at one tick last as long as the longest of them."""
    notes = [note for track in tracks for note in track.notes]
    longest: dict[tuple[int, int], int] = defaultdict(int)
    for note in notes:
        at = (note.time, note.pitch)
        longest[at] = max(longest[at], note.duration)
    joined = TrackTick("", 0, tracks[0].is_drum)
    for note in sorted(notes, key=lambda note: (note.time, note.pitch)):
        duration = longest[note.time, note.pitch]
        joined.notes.append(NoteTick(note.time, duration, note.pitch, note.velocity))
    return joined


def _encoded(score: ScoreTick) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(miditok().encode(score, encode_ids=False).tokens)


def _with_all_time_signatures(names: list[str]) -> list[str]:
    """Give a last bar its time signature: MidiTok forgets it where a change is the last event."""
    if names[-1] != "Bar_None":
        return names
    return [*names, next(name for name in reversed(names) if name.startswith("TimeSig"))]


def _in_part_order(bar: list[str], parts: Sequence[PartName]) -> list[str]:
    """One bar of MidiTok, whose program r stands for part r, in bar-part order.

    Before the bar stands the program that it begins with.
    """
    program, *found = bar[:3]
    blocks = defaultdict(list)
    position = pitch = ""
    for name in bar[3:]:
        kind = name.split("_")[0]
        if kind == "Position":
            position = name
        elif kind == "Tempo":
            found += [position, name]
        elif kind == "Program":
            program = name
        elif kind == "Duration":
            blocks[program].append((position, pitch, name))
        else:
            pitch = name
    for rank, part in enumerate(parts):
        own = blocks.get("Program_-1" if part.program == DRUMS else f"Program_{rank}", [])
        later = any(
            other.program == part.program and f"Program_{after}" in blocks
            for after, other in enumerate(parts)
            if after > rank
        )
        if own or later:
            found += [f"Program_{part.program}", *_block(own)]
    return found


def _block(notes: list[tuple[str, str, str]]) -> list[str]:
    found: list[str] = []
    last = None
    for position, pitch, duration in notes:
        found += [pitch, duration] if position == last else [position, pitch, duration]
        last = position
    return found


# -- Scores made by hypothesis -------------------------------------------------------------------

_METERS = [
    (4, 4),
    (3, 4),
    (6, 8),
    (2, 2),
    (7, 8),
    (3, 16),
    (12, 8),
    (5, 4),
    (17, 8),
    (3, 2),
    (1, 4),
]
_PROGRAMS = [0, 0, 40, 40, 41, 127, DRUMS]


@st.composite
def scores(draw: st.DrawFn, *, max_tracks: int = 6) -> ScoreTick:
    """Small scores with everything that rounding, meters and parts can trip over."""
    tpq = draw(st.sampled_from([480, 96, 24, 384, 7]))
    score = ScoreTick(tpq)
    times = st.integers(0, 20 * tpq) | st.integers(0, 160).map(lambda step: step * tpq // 8)
    lengths = st.integers(0, 40 * tpq) | st.sampled_from([tpq // 4, tpq, 2 * tpq])
    note = st.tuples(times, lengths, st.integers(0, 127) | st.sampled_from([36, 60, 64]))
    for _ in range(draw(st.integers(1, max_tracks))):
        program = draw(st.sampled_from(_PROGRAMS))
        track = TrackTick("", max(program, 0), program == DRUMS)
        for time, duration, pitch in draw(st.lists(note, max_size=8)):
            track.notes.append(NoteTick(time, duration, pitch, 80))
        score.tracks.append(track)
    if not any(27 <= n.pitch <= 88 for track in score.tracks for n in track.notes):
        score.tracks[0].notes.append(NoteTick(0, tpq, 60, 80))
    for time, meter in draw(st.lists(st.tuples(times, st.sampled_from(_METERS)), max_size=4)):
        score.time_signatures.append(TimeSignatureTick(time, *meter))
    score.time_signatures.sort(key=lambda signature: signature.time)
    for time, bpm in draw(st.lists(st.tuples(times, st.integers(20, 300)), max_size=4)):
        score.tempos.append(TempoTick(time, bpm))
    score.tempos.sort(key=lambda tempo: tempo.time)
    return score


def single(notes: Iterable[tuple[int, int, int]], *, program: int = 0) -> TrackTick:
    """One track from (tick, ticks, pitch)."""
    track = TrackTick("", max(program, 0), program == DRUMS)
    columns = np.array(list(notes), dtype=np.int32).reshape(-1, 3).T
    velocity = np.full(columns.shape[1], 80, np.int8)
    track.notes = NoteTickList.from_numpy(
        columns[0], columns[1], columns[2].astype(np.int8), velocity
    )
    return track


def piece(*tracks: TrackTick) -> ScoreTick:
    """Tracks at 480 ticks a quarter, without meter and tempo."""
    score = ScoreTick(480)
    score.tracks = list(tracks)
    return score
