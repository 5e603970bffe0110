"""The figures, on music small enough to count by hand."""

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


def music(*notes, bars=2, program=0, drums=(), length=BAR):
    score = score_of((program, False, notes), (0, True, drums))
    return note_table(score, np.arange(bars + 1) * length)


def band(*tracks, bars):
    return note_table(score_of(*tracks), np.arange(bars + 1) * BAR)


def row(bar, pitches, *, beat=QUARTER):
    """Notes of one length after the other from the beginning of a bar."""
    return [(BAR * bar + beat * i, beat, pitch) for i, pitch in enumerate(pitches)]


def melody(*bars, transposed=0):
    """One bar per argument: every digit is a quarter, in semitones above middle C."""
    notes = [
        note
        for bar, digits in enumerate(bars)
        for note in row(bar, [60 + transposed + int(digit) for digit in digits])
    ]
    return music(*notes, bars=len(bars))


def filled(histogram):
    return {index: count for index, count in enumerate(histogram.tolist()) if count}


# Sections.


def test_a_section_has_the_notes_that_begin_in_it_cut_off_at_its_end():
    notes = [(0, 480, 60), (BAR, 480, 61), (BAR + 960, 4 * BAR, 62), (3 * BAR, 480, 63)]
    found = note_table(score_of((5, False, notes)), np.array([BAR, 2 * BAR, 3 * BAR]))
    assert found.onset.tolist() == [4, 6]
    assert found.duration.tolist() == [1, 6]
    assert found.pitch.tolist() == [61, 62]
    assert found.bar.tolist() == [0, 0]
    assert found.position.tolist() == [0, 2]
    assert found.bar_lines.tolist() == [4, 8, 12]
    assert (len(found), found.bars) == (2, 2)


def test_notes_of_all_tracks_are_ordered_by_onset_and_pitch_and_know_their_part():
    found = band((5, False, [(480, 480, 40)]), (0, True, [(0, 60, 38), (480, 60, 36)]), bars=1)
    assert found.part.tolist() == [1, 1, 0]
    assert found.pitch.tolist() == [38, 36, 40]
    assert found.is_drum.tolist() == [True, True, False]
    assert found.instrument.tolist() == [-1, -1, 5]


def test_bars_of_different_length_give_the_place_from_their_own_bar_line():
    notes = [(1440, 480, 60), (1920, 480, 62)]
    found = note_table(score_of((0, False, notes)), np.array([0, 1440, 2400]))
    assert found.bar.tolist() == [1, 1]
    assert found.position.tolist() == [0, 1]


# Histograms.


def test_pitch_classes_count_octaves_together_and_no_drums():
    found = FEATURES["pitch_class"](music((0, 9, 60), (0, 9, 72), (480, 9, 61), drums=[(0, 9, 38)]))
    assert filled(found) == {0: 2, 1: 1}


def test_onset_intervals_take_a_chord_over_all_parts_as_one_onset():
    found = FEATURES["onset_interval"](
        music((0, 9, 60), (0, 9, 64), (960, 9, 65), drums=[(0, 9, 38), (480, 9, 38)])
    )
    assert filled(found) == {9: 2}  # two quarters: bin 9 is centred on one quarter


@pytest.mark.parametrize(
    ("quarters", "index"),
    [(1 / 48, 0), (1 / 16, 1), (1 / 4, 5), (1 / 3, 6), (1 / 2, 7), (1, 9), (1.5, 10), (16, 17)],
)
def test_note_values_lie_in_half_octave_bins(quarters, index):
    assert INTERVAL_EDGES[index] < quarters < INTERVAL_EDGES[index + 1]
    found = FEATURES["duration"](music((0, round(480 * quarters), 60), bars=20))
    assert filled(found) == {index: 1}


def test_note_values_that_are_powers_of_two_are_bin_centres():
    for value in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16):
        index = int(np.searchsorted(INTERVAL_EDGES, value)) - 1
        assert math.sqrt(INTERVAL_EDGES[index] * INTERVAL_EDGES[index + 1]) == pytest.approx(value)
    assert len(INTERVAL_EDGES) == 20


def test_bars_are_counted_by_their_notes_empty_ones_too():
    found = FEATURES["notes_per_bar"](melody("", "1", "12", "123", "1234"))
    assert filled(found) == {0: 1, 1: 2, 2: 2}
    assert BAR_NOTE_EDGES.tolist() == [0, 1, 3, 5, 7, 9, 12, 16, 20, 26, 34, 46, 64, math.inf]
    full = music(*[(i, 1, 60 + i % 12) for i in range(64)], bars=1)
    assert filled(FEATURES["notes_per_bar"](full)) == {12: 1}


def test_velocities_are_counted_in_steps_of_eight():
    found = FEATURES["velocity"](music((0, 9, 60, 1), (0, 9, 61, 7), (0, 9, 62, 127)))
    assert filled(found) == {0: 2, 15: 1}


def test_places_are_twelfths_of_a_quarter_from_the_bar_line():
    found = FEATURES["place_in_bar"](music((0, 9, 60), (BAR + 160, 9, 61), (BAR + 480, 9, 62)))
    assert filled(found) == {0: 1, 4: 1, 12: 1}


# Overlaps.


def test_the_overlap_of_histograms_is_what_their_shares_have_in_common():
    a, b = np.array([2.0, 2.0, 0.0]), np.array([0.0, 1.0, 3.0])
    assert histogram_overlap(a, b) == 0.25
    assert histogram_overlap(a, 7 * a) == 1
    assert histogram_overlap(a, np.zeros(3)) == 0
    assert math.isnan(histogram_overlap(np.zeros(3), np.zeros(3)))


def test_music_overlaps_wholly_with_itself(invented):
    own = note_table(invented(bars=4, programs=(0, 40, -1)), np.arange(5) * BAR)
    found = overlaps(own, own)
    assert list(found) == ["overlap", *OVERLAP_FEATURES, *OTHER_FEATURES]
    assert list(found.values()) == pytest.approx(8 * [1])


def test_an_octave_changes_the_overlap_of_pitches_and_of_nothing_else():
    found = overlaps(melody("0247", "4200"), melody("0247", "4200", transposed=12))
    assert found.pop("pitch") == 0
    assert found.pop("overlap") == pytest.approx(4 / 5)
    assert list(found.values()) == pytest.approx(6 * [1])


def test_a_feature_that_neither_section_has_is_left_out_of_the_mean():
    drums = [(QUARTER * i, 60, 36) for i in range(8)]
    own = music(drums=drums)
    found = overlaps(own, own)
    assert math.isnan(found["pitch"])
    assert found["overlap"] == 1


def test_silence_overlaps_with_music_in_nothing():
    found = overlaps(melody("", ""), melody("1234", "1234"))
    assert found["overlap"] == 0


# Silent instruments.


def test_an_instrument_that_stops_is_silent_and_drums_are_one_instrument():
    kick, flute, bass = (row(0, [p] * 16) for p in (36, 80, 40))  # four bars of quarters
    prompt = band((0, True, kick), (73, False, flute), (33, False, bass), bars=4)
    goes_on = band((73, False, flute), (33, False, row(3, [40])), bars=4)
    assert silent_instruments(prompt, goes_on) == pytest.approx(1 / 3)
    assert silent_instruments(prompt, prompt) == 0


def test_only_the_last_four_bars_count_on_either_side():
    early = row(0, [60, 62, 64, 65])
    late = row(7, [60, 62, 64, 65])
    prompt = band((0, False, early), (73, False, late), (40, False, late), bars=8)
    stops = band((0, False, late), (73, False, early), (40, False, late), bars=8)
    assert silent_instruments(prompt, stops) == 0.5


def test_one_instrument_cannot_tell_and_a_second_track_of_it_is_no_other():
    track = (0, False, row(0, [60, 62]))
    assert math.isnan(silent_instruments(band(track, track, bars=1), melody("")))


# Density.


def test_density_is_the_absolute_logarithm_of_the_ratio_of_notes_per_bar():
    prompt = melody("1234", "12")  # 3 notes per bar
    assert density_change(prompt, prompt) == 0
    assert density_change(prompt, melody("123412", "")) == 0
    double = music(*row(0, range(60, 73), beat=240))  # 6.5 notes per bar: 2 * 3.5 - 0.5
    assert density_change(prompt, double) == pytest.approx(1)
    assert density_change(double, prompt) == pytest.approx(1)
    assert density_change(prompt, melody("")) == pytest.approx(math.log2(7))


# Near repeats.


def test_a_bar_repeats_an_earlier_one_of_the_prompt_or_of_the_music():
    prompt = melody("1234", "")
    assert near_repeats(prompt, melody("1111", "2222", "1111", "2223")) == 0.25
    assert near_repeats(prompt, melody("1234", "5555")) == 0.5
    assert near_repeats(prompt, melody("", "1234")) == 1  # empty bars are left out
    assert math.isnan(near_repeats(prompt, melody("")))


def test_seven_tenths_of_the_notes_in_common_are_a_near_repeat():
    eighths = [60 + i for i in range(8)]
    prompt = music(*row(0, eighths, beat=240), bars=1)
    one_other = music(*row(0, [*eighths[:7], 80], beat=240), bars=1)  # 7 of 9 in common
    two_others = music(*row(0, [*eighths[:6], 80, 81], beat=240), bars=1)  # 6 of 10
    assert near_repeats(prompt, one_other) == 1
    assert near_repeats(prompt, two_others) == 0


def test_another_instrument_is_another_bar_and_a_longer_note_is_not():
    prompt = music((0, 480, 60), bars=1)
    assert near_repeats(prompt, music((0, 960, 60), bars=1)) == 1
    assert near_repeats(prompt, music((0, 480, 60), bars=1, program=40)) == 0
    assert near_repeats(prompt, music(drums=[(0, 480, 60)], bars=1)) == 0


def test_a_bar_moved_by_less_than_half_a_twelfth_of_a_quarter_is_the_same():
    prompt = music((480, 480, 60), bars=1)
    assert near_repeats(prompt, music((495, 480, 60), bars=1)) == 1
    assert near_repeats(prompt, music((520, 480, 60), bars=1)) == 0


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


def test_the_profiles_are_those_of_music21():
    weights = pytest.importorskip("music21.analysis.discrete").TemperleyKostkaPayne().getWeights
    assert list(music_metrics._MAJOR) == weights("major")
    assert list(music_metrics._MINOR) == weights("minor")


def test_long_notes_weigh_more_than_many_short_ones():
    short = [(BAR + i * 10, 10, 66 + 7 * (i % 2)) for i in range(20)]
    assert estimate_key(music(*row(0, C_MAJOR), *short, bars=4)) == 0


def test_silence_drums_and_all_twelve_pitch_classes_have_no_key():
    assert estimate_key(melody("")) is None
    assert estimate_key(music(drums=row(0, C_MAJOR), bars=4)) is None
    assert estimate_key(music(*row(0, range(60, 72)), bars=3)) is None


def test_the_share_of_four_bar_groups_in_the_key_of_the_prompt():
    prompt = music(*row(0, C_MAJOR), bars=4)
    groups = [C_MAJOR, [pitch + 1 for pitch in C_MAJOR], C_MAJOR, [pitch + 12 for pitch in C_MAJOR]]
    notes = [note for i, pitches in enumerate(groups) for note in row(4 * i, pitches)]
    assert same_key(prompt, music(*notes, bars=16)) == 0.75
    assert same_key(prompt, music(*notes[:32], bars=16)) == 0.5  # silent groups are left out
    assert math.isnan(same_key(prompt, melody("", "")))
    assert math.isnan(same_key(melody("", ""), prompt))


# Melody.


def test_the_top_line_is_the_highest_pitch_that_begins_in_each_half_bar():
    notes = [(0, 480, 60), (480, 480, 67), (960, 480, 64), (BAR + 960, 9, 72), (BAR + 960, 9, 48)]
    assert top_line(music(*notes, drums=[(0, 9, 100)])).tolist() == [67, 64, 72]


def test_seven_semitones_lower_the_melody_is_lost():
    prompt = melody("1234", "1234")
    assert melody_lost(prompt, melody("1234", "1234", transposed=-6)) == 0
    assert melody_lost(prompt, melody("1234", "1234", transposed=-7)) == 1
    assert melody_lost(prompt, melody("1234", "1234", transposed=12)) == 0
    assert melody_lost(prompt, melody("", "")) == 1
    assert math.isnan(melody_lost(melody("", ""), prompt))


def test_a_bass_alone_has_lost_the_melody_above_it():
    high, low = row(0, [72] * 8), row(0, [48] * 8)
    prompt = band((0, False, high), (33, False, low), bars=2)
    assert melody_lost(prompt, band((33, False, low), bars=2)) == 1
    assert melody_lost(prompt, band((0, False, high), bars=2)) == 0


# One line.


def test_the_chord_share_is_time_with_two_notes_over_time_with_any():
    notes = [(0, 960, 60), (480, 480, 64), (1440, 480, 65)]
    assert chord_share(music(*notes), 0) == pytest.approx(480 / 1440)
    assert chord_share(music((0, 480, 60), (480, 480, 62)), 0) == 0
    assert chord_share(music(), 0) == 0


def test_a_line_that_plays_chords_is_counted_and_a_line_that_goes_on_is_not():
    line = row(0, [60, 62, 64, 65] * 2)
    chords = [*line, *[(tick, length, pitch - 4) for tick, length, pitch in line]]
    prompt = band((0, False, line), (1, False, line), (2, False, chords), bars=2)
    later = band((0, False, chords), (1, False, line), (2, False, chords), bars=2)
    assert lines_become_chords(prompt, later) == 0.5
    assert lines_become_chords(prompt, prompt) == 0


def test_a_tenth_of_the_time_in_chords_is_still_a_line():
    line = row(0, [60, 62, 64, 65] * 2)
    prompt = music(*line)
    assert lines_become_chords(prompt, music(*line, (0, 384, 72))) == 0  # exactly a tenth
    assert lines_become_chords(prompt, music(*line, (0, 480, 72))) == 1


def test_parts_with_few_notes_chords_or_drums_are_no_lines():
    line = row(0, [60, 62, 64, 65] * 2)
    few = music(*line[:7])
    chords = music(*line, (0, 100, 72))  # 100 of 3,840 ticks: more than 2 %
    drums = music(drums=line)
    for prompt in (few, chords, drums):
        assert math.isnan(lines_become_chords(prompt, prompt))


# Collapse.


def test_one_pitch_is_a_collapse_and_two_are_none():
    assert collapsed(melody("1111", "1")) == 1
    assert collapsed(melody("1112", "1")) == 0
    assert collapsed(melody("", "")) == 1


def test_more_than_half_of_the_bars_without_notes_are_a_collapse():
    assert collapsed(melody("12", "34", "", "")) == 0
    assert collapsed(melody("12", "34", "", "", "")) == 1


def test_one_bar_nine_times_is_a_collapse_in_a_row_or_not():
    eight = [*8 * ["1234"], *8 * ["5678"]]
    assert collapsed(melody(*eight)) == 0
    assert collapsed(melody(*9 * ["1234"], *7 * ["5678"])) == 1
    mixed = [bar for i in range(8) for bar in ("1234", str(i))]
    assert collapsed(melody(*mixed)) == 0
    assert collapsed(melody(*mixed[:-1], "1234")) == 1


# All figures.


def test_the_same_music_again_keeps_everything(invented):
    score = invented(bars=4, programs=(0, 40))
    own = note_table(score, np.arange(5) * BAR)
    found = prompt_metrics(own, own)
    assert found["near_repeats"] == 1
    assert found["same_key"] == 1
    zero = ("silent_instruments", "density", "melody_lost", "collapse")
    assert [found[name] for name in zero] == [0, 0, 0, 0]
