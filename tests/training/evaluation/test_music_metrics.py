"""The metrics, on music that is small enough to count by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from symusic.core import NoteTick, ScoreTick, TrackTick

from training.evaluation import music_metrics
from training.evaluation.music_metrics import (
    BAR_NOTE_EDGES,
    INTERVAL_EDGES,
    OTHER_FEATURES,
    OVERLAP_FEATURES,
    chord_share,
    collapsed,
    density_change,
    estimate_key,
    histogram_overlap,
    lines_become_chords,
    melody_lost,
    near_repeats,
    note_table,
    overlaps,
    prompt_metrics,
    same_key,
    silent_instruments,
    top_line,
)

BAR, QUARTER = 1920, 480
FEATURES = OVERLAP_FEATURES | OTHER_FEATURES


def score_of(*tracks):
    """A score of (program, is_drum, notes), a note being (tick, duration, pitch[, velocity])."""
    score = ScoreTick(QUARTER)
    for program, is_drum, notes in tracks:
        track = TrackTick("", program, is_drum)
        for tick, duration, pitch, *velocity in notes:
            track.notes.append(NoteTick(tick, duration, pitch, *(velocity or [80])))
        score.tracks.append(track)
    return score


def band(*tracks, bars):
    return note_table(score_of(*tracks), np.arange(bars + 1) * BAR)


def music(*notes, bars=2, program=0, drums=()):
    return band((program, False, notes), (0, True, drums), bars=bars)


def row(bar, pitches, *, beat=QUARTER):
    """Notes of one length after each other from the beginning of a bar."""
    return [(BAR * bar + beat * i, beat, pitch) for i, pitch in enumerate(pitches)]


def melody(*bars, transposed=0):
    """One bar per argument: every digit is a quarter, in semitones above middle C."""
    rows = (row(bar, [60 + transposed + int(d) for d in each]) for bar, each in enumerate(bars))
    return music(*(note for each in rows for note in each), bars=len(bars))


# Note tables.


def test_a_table_has_the_notes_that_begin_in_its_bars_cut_at_the_end():
    notes = [(0, 480, 60), (BAR, 480, 61), (BAR + 960, 4 * BAR, 62), (3 * BAR, 480, 63)]
    found = note_table(score_of((5, False, notes)), np.array([BAR, 2 * BAR, 3 * BAR]))
    assert found.onset.tolist() == [4, 6]
    assert found.duration.tolist() == [1, 6]
    assert found.pitch.tolist() == [61, 62]
    assert found.bar.tolist() == [0, 0]
    assert found.position.tolist() == [0, 2]
    assert found.bar_lines.tolist() == [4, 8, 12]
    assert (len(found), found.bars) == (2, 2)


def test_notes_of_all_tracks_are_ordered_by_onset_and_pitch():
    found = band((5, False, [(480, 480, 40)]), (0, True, [(0, 60, 38), (480, 60, 36)]), bars=1)
    assert found.part.tolist() == [1, 1, 0]
    assert found.pitch.tolist() == [38, 36, 40]
    assert found.is_drum.tolist() == [True, True, False]
    assert found.instrument.tolist() == [-1, -1, 5]


def test_positions_count_from_the_bar_line_in_bars_of_different_length():
    notes = [(1440, 480, 60), (1920, 480, 62)]
    found = note_table(score_of((0, False, notes)), np.array([0, 1440, 2400]))
    assert found.bar.tolist() == [1, 1]
    assert found.position.tolist() == [0, 1]


# Histograms.


@pytest.mark.parametrize(
    ("feature", "table", "counts"),
    [
        (
            "pitch_class",
            music((0, 9, 60), (0, 9, 72), (480, 9, 61), drums=[(0, 9, 38)]),
            {0: 2, 1: 1},
        ),
        (
            "onset_interval",  # a chord over all parts is one onset; bin 9 is one quarter
            music((0, 9, 60), (0, 9, 64), (960, 9, 65), drums=[(0, 9, 38), (480, 9, 38)]),
            {9: 2},
        ),
        ("notes_per_bar", melody("", "1", "12", "123", "1234"), {0: 1, 1: 2, 2: 2}),
        ("velocity", music((0, 9, 60, 1), (0, 9, 61, 7), (0, 9, 62, 127)), {0: 2, 15: 1}),
        (
            "place_in_bar",
            music((0, 9, 60), (BAR + 160, 9, 61), (BAR + 480, 9, 62)),
            {0: 1, 4: 1, 12: 1},
        ),
    ],
)
def test_a_histogram_counts_its_feature(feature, table, counts):
    found = FEATURES[feature](table).tolist()
    assert {index: count for index, count in enumerate(found) if count} == counts


@pytest.mark.parametrize(
    ("quarters", "index"),
    [(1 / 48, 0), (1 / 16, 1), (1 / 4, 5), (1 / 3, 6), (1 / 2, 7), (1, 9), (1.5, 10), (16, 17)],
)
def test_durations_lie_in_half_octave_bins(quarters, index):
    found = FEATURES["duration"](music((0, round(480 * quarters), 60), bars=20))
    assert np.flatnonzero(found).tolist() == [index]


def test_powers_of_two_are_bin_centres():
    for value in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16):
        index = int(np.searchsorted(INTERVAL_EDGES, value)) - 1
        assert math.sqrt(INTERVAL_EDGES[index] * INTERVAL_EDGES[index + 1]) == pytest.approx(value)
    assert (len(INTERVAL_EDGES), len(BAR_NOTE_EDGES)) == (20, 14)


# Overlaps.


def test_the_overlap_of_histograms_is_the_sum_of_minima():
    a, b = np.array([2.0, 2.0, 0.0]), np.array([0.0, 1.0, 3.0])
    assert histogram_overlap(a, b) == 0.25
    assert histogram_overlap(a, 7 * a) == 1
    assert histogram_overlap(a, np.zeros(3)) == 0
    assert math.isnan(histogram_overlap(np.zeros(3), np.zeros(3)))


def test_music_overlaps_completely_with_itself(invented):
    table = note_table(invented(bars=4, programs=(0, 40, -1)), np.arange(5) * BAR)
    found = overlaps(table, table)
    assert list(found) == ["overlap", *OVERLAP_FEATURES, *OTHER_FEATURES]
    assert list(found.values()) == pytest.approx(8 * [1])


def test_a_transposition_by_an_octave_changes_the_pitch_overlap_only():
    found = overlaps(melody("0247", "4200"), melody("0247", "4200", transposed=12))
    assert found.pop("pitch") == 0
    assert found.pop("overlap") == pytest.approx(4 / 5)
    assert list(found.values()) == pytest.approx(6 * [1])


def test_an_undefined_feature_is_ignored_in_the_mean():
    drums = music(drums=[(QUARTER * i, 60, 36) for i in range(8)])
    found = overlaps(drums, drums)
    assert math.isnan(found["pitch"])
    assert found["overlap"] == 1
    assert overlaps(melody("", ""), melody("1234", "1234"))["overlap"] == 0


# Instruments and density.


def test_silent_instruments_count_drums_as_one_instrument():
    kick, flute, bass = (row(0, [p] * 16) for p in (36, 80, 40))  # four bars of quarters
    prompt = band((0, True, kick), (73, False, flute), (33, False, bass), bars=4)
    continued = band((73, False, flute), (33, False, row(3, [40])), bars=4)
    assert silent_instruments(prompt, continued) == pytest.approx(1 / 3)
    assert silent_instruments(prompt, prompt) == 0


def test_silent_instruments_use_the_last_four_bars():
    early, late = row(0, [60, 62, 64, 65]), row(7, [60, 62, 64, 65])
    prompt = band((0, False, early), (73, False, late), (40, False, late), bars=8)
    stops = band((0, False, late), (73, False, early), (40, False, late), bars=8)
    assert silent_instruments(prompt, stops) == 0.5


def test_silent_instruments_need_two_programs():
    track = (0, False, row(0, [60, 62]))
    assert math.isnan(silent_instruments(band(track, track, bars=1), melody("")))


def test_density_is_the_absolute_log_ratio_of_notes_per_bar():
    prompt = melody("1234", "12")  # 3 notes per bar
    assert density_change(prompt, melody("123412", "")) == 0
    double = music(*row(0, range(60, 73), beat=240))  # 6.5 notes per bar: 2 * 3.5 - 0.5
    assert density_change(prompt, double) == pytest.approx(1)
    assert density_change(double, prompt) == pytest.approx(1)
    assert density_change(prompt, melody("")) == pytest.approx(math.log2(7))


# Near repeats.


def test_a_bar_may_repeat_a_bar_of_the_prompt_or_of_the_music():
    prompt = melody("1234", "")
    assert near_repeats(prompt, melody("1111", "2222", "1111", "2223")) == 0.25
    assert near_repeats(prompt, melody("1234", "5555")) == 0.5
    assert near_repeats(prompt, melody("", "1234")) == 1  # empty bars are ignored
    assert math.isnan(near_repeats(prompt, melody("")))


def test_a_near_repeat_has_seven_tenths_of_the_notes_in_common():
    eighths = [60 + i for i in range(8)]
    prompt = music(*row(0, eighths, beat=240), bars=1)
    one_other = music(*row(0, [*eighths[:7], 80], beat=240), bars=1)  # 7 of 9 in common
    two_others = music(*row(0, [*eighths[:6], 80, 81], beat=240), bars=1)  # 6 of 10
    assert near_repeats(prompt, one_other) == 1
    assert near_repeats(prompt, two_others) == 0


@pytest.mark.parametrize(
    ("other", "repeats"),
    [
        (music((480, 960, 60), bars=1), 1),  # longer
        (music((495, 480, 60), bars=1), 1),  # less than half a twelfth of a quarter later
        (music((520, 480, 60), bars=1), 0),
        (music((480, 480, 60), bars=1, program=40), 0),
        (music(drums=[(480, 480, 60)], bars=1), 0),
    ],
)
def test_a_repeat_has_the_same_positions_and_instruments(other, repeats):
    assert near_repeats(music((480, 480, 60), bars=1), other) == repeats


# Key.

C_MAJOR = [60, 64, 67, 72, 65, 69, 72, 67, 62, 67, 71, 74, 60, 64, 67, 60]
A_MINOR = [57, 60, 64, 69, 62, 65, 69, 64, 64, 68, 71, 74, 57, 60, 64, 57]


@pytest.mark.parametrize("tonic", range(12))
def test_a_cadence_has_the_key_of_its_tonic(tonic):
    major, minor = (
        music(*row(0, [pitch + tonic for pitch in pitches]), bars=4)
        for pitches in (C_MAJOR, A_MINOR)
    )
    assert estimate_key(major) == tonic
    assert estimate_key(minor) == 12 + (tonic + 9) % 12


def test_the_profiles_equal_those_of_music21():
    weights = pytest.importorskip("music21.analysis.discrete").TemperleyKostkaPayne().getWeights
    assert list(music_metrics._MAJOR) == weights("major")
    assert list(music_metrics._MINOR) == weights("minor")


def test_pitch_classes_are_weighted_by_duration():
    short = [(BAR + i * 10, 10, 66 + 7 * (i % 2)) for i in range(20)]
    assert estimate_key(music(*row(0, C_MAJOR), *short, bars=4)) == 0


def test_silence_drums_and_all_twelve_pitch_classes_have_no_key():
    assert estimate_key(melody("")) is None
    assert estimate_key(music(drums=row(0, C_MAJOR), bars=4)) is None
    assert estimate_key(music(*row(0, range(60, 72)), bars=3)) is None


def test_four_bar_groups_are_compared_with_the_key_of_the_prompt():
    prompt = music(*row(0, C_MAJOR), bars=4)
    groups = [C_MAJOR, [pitch + 1 for pitch in C_MAJOR], C_MAJOR, [pitch + 12 for pitch in C_MAJOR]]
    notes = [note for i, pitches in enumerate(groups) for note in row(4 * i, pitches)]
    assert same_key(prompt, music(*notes, bars=16)) == 0.75
    assert same_key(prompt, music(*notes[:32], bars=16)) == 0.5  # silent groups are ignored
    assert math.isnan(same_key(prompt, melody("", "")))
    assert math.isnan(same_key(melody("", ""), prompt))


# Melody and monophonic parts.


def test_the_top_line_has_the_highest_onset_of_each_half_bar():
    notes = [(0, 480, 60), (480, 480, 67), (960, 480, 64), (BAR + 960, 9, 72), (BAR + 960, 9, 48)]
    assert top_line(music(*notes, drums=[(0, 9, 100)])).tolist() == [67, 64, 72]


@pytest.mark.parametrize(("semitones", "lost"), [(-6, 0), (-7, 1), (12, 0)])
def test_a_melody_is_lost_seven_semitones_lower(semitones, lost):
    prompt = melody("1234", "1234")
    assert melody_lost(prompt, melody("1234", "1234", transposed=semitones)) == lost
    assert melody_lost(prompt, melody("", "")) == 1
    assert math.isnan(melody_lost(melody("", ""), prompt))


def test_the_chord_share_is_time_with_two_notes_over_time_with_any():
    notes = [(0, 960, 60), (480, 480, 64), (1440, 480, 65)]
    assert chord_share(music(*notes), 0) == pytest.approx(480 / 1440)
    assert chord_share(music((0, 480, 60), (480, 480, 62)), 0) == 0
    assert chord_share(music(), 0) == 0


LINE = row(0, [60, 62, 64, 65] * 2)


def test_monophonic_parts_that_play_chords_are_counted():
    chords = [*LINE, *[(tick, length, pitch - 4) for tick, length, pitch in LINE]]
    prompt = band((0, False, LINE), (1, False, LINE), (2, False, chords), bars=2)
    later = band((0, False, chords), (1, False, LINE), (2, False, chords), bars=2)
    assert lines_become_chords(prompt, later) == 0.5
    assert lines_become_chords(prompt, prompt) == 0
    assert lines_become_chords(music(*LINE), music(*LINE, (0, 384, 72))) == 0  # exactly a tenth
    assert lines_become_chords(music(*LINE), music(*LINE, (0, 480, 72))) == 1


def test_parts_with_few_notes_with_chords_or_drums_are_not_monophonic():
    for prompt in (music(*LINE[:7]), music(*LINE, (0, 100, 72)), music(drums=LINE)):
        assert math.isnan(lines_become_chords(prompt, prompt))


# Collapse.


@pytest.mark.parametrize(
    ("bars", "is_collapsed"),
    [
        (("1111", "1"), 1),  # one pitch
        (("1112", "1"), 0),
        (("12", "34", "", ""), 0),
        (("12", "34", "", "", ""), 1),  # more than half empty
        ((*8 * ["1234"], *8 * ["5678"]), 0),
        ((*9 * ["1234"], *7 * ["5678"]), 1),  # one bar nine times
    ],
)
def test_degenerate_music_is_a_collapse(bars, is_collapsed):
    assert collapsed(melody(*bars)) == is_collapsed


def test_repeating_the_prompt_keeps_all_properties(invented):
    table = note_table(invented(bars=4, programs=(0, 40)), np.arange(5) * BAR)
    found = prompt_metrics(table, table)
    assert (found["near_repeats"], found["same_key"]) == (1, 1)
    zero = ("silent_instruments", "density", "melody_lost", "collapse")
    assert [found[name] for name in zero] == [0, 0, 0, 0]
