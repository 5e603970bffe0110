"""Bar lines, meters, tempos and keys of scores with known values."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from symusic.core import (
    KeySignatureTick,
    NoteTick,
    ScoreTick,
    TempoTick,
    TimeSignatureTick,
    TrackTick,
)

from musiclstm.errors import ScoreError
from musiclstm.midi.analysis import (
    Key,
    TempoMap,
    bar_starts,
    estimate_key,
    has_pickup,
    in_ticks,
    last_note_end,
    meter_at,
    meters_at,
    next_meter,
    piece_meter,
    pitch_class_histogram,
    seconds_at,
    tempo_at,
)

if TYPE_CHECKING:
    from musiclstm.midi.analysis import AnyScore

C_MAJOR_SCALE = (60, 62, 64, 65, 67, 69, 71, 72)
A_MINOR_TUNE = (69, 71, 72, 74, 76, 77, 80, 81, 76, 72, 69)


def scale(pitches: tuple[int, ...], *, tpq: int = 480, is_drum: bool = False) -> ScoreTick:
    """One quarter note per pitch, the last one three times as long."""
    score = ScoreTick(tpq)
    track = TrackTick("line", 0, is_drum)
    for index, pitch in enumerate(pitches):
        quarters = 3 if index == len(pitches) - 1 else 1
        track.notes.append(NoteTick(index * tpq, quarters * tpq, pitch, 80))
    score.tracks.append(track)
    return score


def with_meters(score: ScoreTick, *meters: tuple[int, int, int]) -> ScoreTick:
    for tick, numerator, denominator in meters:
        score.time_signatures.append(TimeSignatureTick(tick, numerator, denominator))
    return score


BARS: dict[str, tuple[tuple[int, ...], list[tuple[int, int, int]], list[int]]] = {
    "4/4 without time signatures": (C_MAJOR_SCALE, [], [0, 1920, 3840, 5760]),
    "no bar after an end on a bar line": ((60, 62), [], [0, 1920]),
    "changes of meter": (
        C_MAJOR_SCALE,
        [(0, 3, 4), (1440, 2, 4), (3360, 6, 8)],
        [0, 1440, 2400, 3360, 4800],
    ),
    "new bar at a change": (C_MAJOR_SCALE, [(480, 3, 4)], [0, 480, 1920, 3360, 4800]),
    "repeated meter": (C_MAJOR_SCALE, [(0, 4, 4), (1920, 4, 4)], [0, 1920, 3840, 5760]),
    "meter repeated in mid-bar": (
        C_MAJOR_SCALE,
        [(0, 4, 4), (2400, 4, 4)],
        [0, 1920, 2400, 4320, 6240],
    ),
    "odd bar": (C_MAJOR_SCALE, [(0, 4, 4), (1920, 17, 16), (3960, 4, 4)], [0, 1920, 3960, 5880]),
    "meter just after a bar line": (C_MAJOR_SCALE, [(1939, 3, 4)], [0, 1939, 3379, 4819]),
    "repeated just after a bar line": (
        C_MAJOR_SCALE,
        [(0, 4, 4), (1939, 4, 4), (3821, 4, 4)],
        [0, 1920, 3840, 5760],
    ),
    "last of simultaneous meters": (C_MAJOR_SCALE, [(0, 4, 4), (0, 5, 4)], [0, 2400, 4800]),
    "change after the end": ((60,), [(1500, 3, 4)], [0, 1500]),
    "invalid meters": ((60, 62), [(0, 0, 4), (0, 4, 0)], [0, 1920]),
    "no notes": ((), [], [0]),
}


@pytest.mark.parametrize("case", BARS)
def test_bar_lines_follow_the_time_signatures(case: str) -> None:
    pitches, meters, expected = BARS[case]
    assert bar_starts(with_meters(scale(pitches), *meters)).tolist() == expected


def test_end_tick_overrides_the_end_of_the_last_note() -> None:
    assert bar_starts(scale((60,)), end_tick=3841).tolist() == [0, 1920, 3840, 5760]
    assert bar_starts(scale(C_MAJOR_SCALE), end_tick=1920).tolist() == [0, 1920]
    assert bar_starts(scale((60,)), end_tick=-5).tolist() == [0]


@pytest.mark.parametrize("tpq", [1, 12, 480, 32_767])
def test_bars_are_correct_at_any_resolution(tpq: int) -> None:
    lines = bar_starts(scale(C_MAJOR_SCALE, tpq=tpq))
    assert lines.dtype == np.int64
    assert lines.tolist() == [0, 4 * tpq, 8 * tpq, 12 * tpq]


def test_bars_of_fractional_ticks_do_not_drift_and_have_at_least_one_tick() -> None:
    score = with_meters(ScoreTick(10), (0, 3, 16))  # 7.5 ticks per bar
    assert bar_starts(score, end_tick=30).tolist() == [0, 7, 15, 22, 30]
    score = with_meters(ScoreTick(1), (0, 1, 32))
    assert bar_starts(score, end_tick=3).tolist() == [0, 1, 2, 3]


def test_bar_lines_of_a_long_piece_with_many_meters_are_increasing() -> None:
    score = with_meters(
        ScoreTick(480), *((bar * 1680, 3 + bar % 2, 4) for bar in range(0, 2340, 2))
    )
    lines = bar_starts(score, end_tick=4_096 * 480)
    assert lines[-1] >= 4_096 * 480 > lines[-2]
    assert (np.diff(lines) > 0).all()


def test_more_than_a_million_bars_are_refused() -> None:
    with pytest.raises(ScoreError, match=r"reaches to beat 2,000,000,000 .* times in ticks\?$"):
        bar_starts(ScoreTick(1), end_tick=2_000_000_000)


def test_other_time_units_give_the_same_bars() -> None:
    score = scale(C_MAJOR_SCALE)
    for unit in ("quarter", "second"):
        converted = cast("AnyScore", score.to(unit))
        assert bar_starts(converted).tolist() == bar_starts(score).tolist()
    assert in_ticks(score) is score


def test_the_last_note_end_is_that_of_all_tracks() -> None:
    score = scale((60, 62))
    score.tracks.append(TrackTick("long", 0, False))
    score.tracks[1].notes.append(NoteTick(10, 5_000, 40, 80))
    assert last_note_end(score) == 5_010
    assert last_note_end(ScoreTick(480)) == 0


def test_the_meter_is_four_four_until_the_first_signature() -> None:
    score = with_meters(scale(C_MAJOR_SCALE), (1920, 3, 4))
    assert meter_at(score, 0) == (4, 4)
    assert meter_at(score, 1919) == (4, 4)
    assert meter_at(score, 1920) == (3, 4)
    assert meters_at(score, [1920, -1, 0, 1919]) == [(3, 4), (4, 4), (4, 4), (4, 4)]


def test_the_tempo_is_120_until_the_first_tempo() -> None:
    score = scale(C_MAJOR_SCALE)
    score.tempos.append(TempoTick(960, 90))
    score.tempos.append(TempoTick(480, 60))
    assert tempo_at(score, 0) == 120
    assert tempo_at(score, 500) == pytest.approx(60)
    assert tempo_at(score, 10_000) == pytest.approx(90, abs=1e-3)


def test_a_tempo_map_converts_many_ticks_to_seconds_and_exact_frames() -> None:
    score = scale(C_MAJOR_SCALE)
    score.tempos.append(TempoTick(960, 60))
    score.tempos.append(TempoTick(480, 240))
    tempo_map = TempoMap(score)
    ticks = np.array([[-3, 0], [480, 960]])
    assert tempo_map.seconds(ticks) == pytest.approx(np.array([[0, 0], [0.5, 0.75]]))
    assert tempo_map.frames(ticks, 44_100).tolist() == [[0, 0], [22_050, 33_075]]
    far = 200_000_000  # ten days, where float32 seconds are wrong
    assert tempo_map.frames(np.array([far]), 48_000) == [36_000 + (far - 960) * 100]


def test_seconds_follow_the_tempos() -> None:
    score = scale(C_MAJOR_SCALE)
    assert seconds_at(score, 960) == pytest.approx(1)
    score.tempos.append(TempoTick(960, 60))
    score.tempos.append(TempoTick(480, 240))
    assert seconds_at(score, 480) == pytest.approx(0.5)
    assert seconds_at(score, 960) == pytest.approx(0.75)
    assert seconds_at(score, 1440) == pytest.approx(1.75)
    assert seconds_at(score, -3) == 0


def test_a_note_held_a_little_beyond_a_bar_line_adds_no_bar() -> None:
    def bars(start: int, duration: int) -> int:
        score = ScoreTick(480)
        score.tracks.append(TrackTick("", 0))
        score.tracks[0].notes.append(NoteTick(start, duration, 60, 80))
        return len(bar_starts(score)) - 1

    assert [bars(0, 1920 + more) for more in (0, 10, 20, 21)] == [1, 1, 1, 2]
    assert bars(1920, 10) == 2  # it begins there


def test_scales_have_their_key() -> None:
    assert estimate_key(scale(C_MAJOR_SCALE)) == Key(0, "major")
    assert str(estimate_key(scale(tuple(p + 3 for p in C_MAJOR_SCALE)))) == "Eb major"
    assert str(estimate_key(scale(A_MINOR_TUNE))) == "A minor"
    assert str(estimate_key(scale(tuple(p - 3 for p in A_MINOR_TUNE)))) == "F# minor"


@pytest.mark.parametrize("shift", [1, 6, 11])
def test_the_key_is_transposed_with_the_music(shift: int) -> None:
    score = scale(tuple(p + shift for p in A_MINOR_TUNE))
    assert estimate_key(score) == Key((9 + shift) % 12, "minor")


def test_there_is_no_key_without_pitched_notes() -> None:
    assert estimate_key(ScoreTick(480)) is None
    assert estimate_key(scale(C_MAJOR_SCALE, is_drum=True)) is None


def test_there_is_no_key_where_all_pitches_are_equal() -> None:
    score = scale(tuple(range(60, 72)))
    score.tracks[0].notes[-1].duration = 480
    assert estimate_key(score) is None


def test_the_histogram_weights_by_duration_and_leaves_drums_out() -> None:
    score = scale((60, 67))  # one quarter C, three quarters G
    score.tracks.append(scale((38, 42), is_drum=True).tracks[0])
    expected = np.zeros(12)
    expected[[0, 7]] = 0.25, 0.75
    assert pitch_class_histogram(score) == pytest.approx(expected)
    assert pitch_class_histogram(ScoreTick(480)).tolist() == [0.0] * 12


# -- Pickups and the meter of the piece ----------------------------------------------------------


def upbeat(first_onset: int, *meters: tuple[int, int, int]) -> ScoreTick:
    """Return quarter notes from an onset to tick 10,000 under time signatures."""
    score = ScoreTick(480)
    score.tracks.append(TrackTick("", 0))
    for tick in range(first_onset, 10_000, 480):
        score.tracks[0].notes.append(NoteTick(tick, 480, 60, 80))
    return with_meters(score, *meters)


PICKUPS = {
    "a bar of its own meter": (0, [(0, 1, 4), (480, 3, 4)], (3, 4), True),
    "the meter said again": (0, [(0, 4, 4), (480, 4, 4)], (4, 4), True),
    "rests before the upbeat": (960, [(0, 3, 4)], (3, 4), True),
    "a bar of rests before them": (1440 + 960, [(0, 3, 4)], (3, 4), True),
    "a complement at the end": (0, [(0, 1, 4), (480, 3, 4), (480 + 6 * 1440, 2, 4)], (3, 4), True),
    "a whole first bar": (0, [(0, 3, 4)], (3, 4), False),
    "a late first note": (480, [(0, 4, 4)], (4, 4), False),
    "two short bars": (0, [(0, 2, 4), (1920, 3, 4)], (3, 4), False),
    "changing meters": (
        0,
        [(0, 2, 4), (960, 3, 4), (2400, 2, 4), (3360, 3, 4), (4800, 2, 4)],
        (2, 4),
        False,
    ),
}


@pytest.mark.parametrize("case", PICKUPS)
def test_a_pickup_is_told_and_the_meter_is_that_of_the_piece(case: str) -> None:
    onset, meters, meter, is_pickup = PICKUPS[case]
    score = upbeat(onset, *meters)
    assert (piece_meter(score), has_pickup(score)) == (meter, is_pickup)


def test_the_meter_of_a_continuation_is_not_that_of_a_short_last_bar() -> None:
    score = upbeat(0, (0, 1, 4), (480, 3, 4), (480 + 6 * 1440, 2, 4))
    assert next_meter(score, 480 + 6 * 1440 + 960) == (3, 4)
    assert next_meter(score, 480 + 6 * 1440 + 1920) == (2, 4)  # two of them are no complement
    assert next_meter(score, 480) == (3, 4)
    assert next_meter(upbeat(0, (0, 3, 4), (1440, 4, 4)), 1440 + 1920) == (4, 4)


# -- Key signatures ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signatures", "expected"),
    [
        ([], "C major"),
        ([(0, 0, 1)], "A minor"),  # C D E F G A B does not decide
        ([(0, 0, 0)], "C major"),
        ([(0, -3, 1)], "C major"),  # not the relative key
        ([(0, 0, 0), (480, 0, 1)], "A minor"),  # in force for longer
    ],
)
def test_the_key_signature_decides_between_relative_keys(signatures, expected) -> None:
    score = ScoreTick(480)
    score.tracks.append(TrackTick("", 0))
    for number, pitch in enumerate((60, 62, 64, 65, 67, 69, 71, 72)):
        score.tracks[0].notes.append(NoteTick(240 * number, 240, pitch, 80))
    for signature in signatures:
        score.key_signatures.append(KeySignatureTick(*signature))
    assert str(estimate_key(score)) == expected


def test_clear_pitches_overrule_the_key_signature() -> None:
    score = scale((60, 60, 64, 67, 60, 65, 67, 60))
    score.key_signatures.append(KeySignatureTick(0, 0, 1))
    assert str(estimate_key(score)) == "C major"
