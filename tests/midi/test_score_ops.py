"""Slicing, splitting and resampling of scores."""

from __future__ import annotations

import re

from symusic import (
    ControlChange,
    KeySignature,
    Note,
    Pedal,
    Score,
    Tempo,
    TimeSignature,
    Track,
)

from musiclstm.midi.analysis import last_note_end
from musiclstm.midi.score_ops import (
    resample_to_grid,
    slice_score,
    split_parts,
    to_last_note,
    trim_overlapping_notes,
)


def score_of(*tracks: tuple[str, int, bool]):
    score = Score(480)
    score.tempos.extend([Tempo(0, 90), Tempo(960, 120)])
    score.time_signatures.append(TimeSignature(0, 3, 4))
    score.key_signatures.append(KeySignature(0, -3, 1))
    for number, (name, program, is_drum) in enumerate(tracks):
        track = Track(name, program, is_drum)
        track.notes.append(Note(480 * number, 480, 60 + number, 80))
        score.tracks.append(track)
    return score


def test_each_part_has_one_track_and_all_tempos_meters_and_keys():
    score = score_of(("a", 0, False), ("b", 73, False), ("c", 0, True))
    before = score.copy()
    parts = split_parts(score)
    assert list(parts) == ["a", "b", "c"]
    for part, track in zip(parts.values(), score.tracks, strict=True):
        assert list(part.tracks) == [track]
        assert part.tempos == score.tempos
        assert part.time_signatures == score.time_signatures
        assert part.key_signatures == score.key_signatures
        assert part.ticks_per_quarter == 480
        part.tracks[0].notes.append(Note(0, 1, 1, 1))
        part.tempos.append(Tempo(5, 60))
    assert score == before  # parts are copies


def test_names_are_unique_and_can_be_file_names():
    names = ("../../x", "<script>", "\0", "Violin", "", "X" * 99)
    parts = list(split_parts(score_of(*((name, 40, False) for name in names))))
    assert parts == ["x", "script", "Violin", "Violin (2)", "Violin (3)", "X" * 40]
    assert all(re.fullmatch(r"[A-Za-z0-9 ()-]+", name) for name in parts)


def test_tracks_without_notes_are_left_out_and_any_time_unit_is_accepted():
    score = score_of(("a", 73, False))
    score.tracks.append(Track("silent", 40, False))
    assert list(split_parts(score)) == list(split_parts(score.to("quarter"))) == ["a"]


def test_a_slice_keeps_its_notes_and_what_is_in_effect_at_its_start():
    score = score_of(("a", 0, False))
    track = score.tracks[0]
    track.notes.extend([Note(480, 960, 64, 80), Note(1440, 480, 67, 80)])
    track.controls.extend(
        [ControlChange(0, 7, 90), ControlChange(100, 7, 80), ControlChange(0, 10, 5)]
    )
    track.pedals.append(Pedal(0, 2_000))
    part = slice_score(score, 480, 1200)
    (sliced,) = part.tracks
    assert [(note.time, note.duration, note.pitch) for note in sliced.notes] == [(0, 720, 64)]
    assert [(each.time, each.number, each.value) for each in sliced.controls] == [
        (0, 7, 80),
        (0, 10, 5),
    ]
    assert [(each.time, each.duration) for each in sliced.pedals] == [(0, 720)]
    assert [(each.time, round(each.qpm)) for each in part.tempos] == [(0, 90), (480, 120)]
    assert [(each.time, each.numerator) for each in part.time_signatures] == [(0, 3)]
    assert len(slice_score(score, 480, None).tracks[0].notes) == 2


def test_overlapping_notes_end_at_the_next_onset_of_their_pitch():
    notes = score_of(("a", 0, False)).tracks[0].notes
    notes.extend([Note(240, 480, 60, 80), Note(240, 480, 50, 80)])
    trimmed = [(note.time, note.duration, note.pitch) for note in trim_overlapping_notes(notes)]
    assert trimmed == [(0, 240, 60), (240, 480, 50), (240, 480, 60)]


def test_of_simultaneous_notes_all_end_at_the_next_later_onset():
    notes = score_of(("a", 0, False)).tracks[0].notes
    notes.clear()
    notes.extend([Note(0, 900, 60, 80), Note(0, 480, 60, 90), Note(300, 10, 60, 70)])
    trimmed = [(note.time, note.duration, note.velocity) for note in trim_overlapping_notes(notes)]
    assert trimmed == [(0, 300, 90), (0, 300, 80), (300, 10, 70)]  # the loudest first
    notes.clear()
    assert not len(trim_overlapping_notes(notes))


def test_a_resampled_score_is_on_the_grid_and_moves_no_note():
    score = score_of(("a", 0, False), ("b", 0, False))
    resampled = resample_to_grid(score, 36)
    assert resampled.ticks_per_quarter == 1440
    assert resampled.tracks[1].notes[0].time == 1440
    assert resample_to_grid(score, 32_749) is score  # more than a MIDI file can state


def test_what_comes_after_the_last_note_can_be_left_out():
    score = score_of(("a", 0, False))
    end = last_note_end(score)
    score.tempos.append(Tempo(end, 60))
    score.time_signatures.append(TimeSignature(end, 6, 8))
    before = to_last_note(score)
    assert max(each.time for each in [*before.tempos, *before.time_signatures]) < end
    assert before.tracks == score.tracks
    assert score.tempos[-1].time == end
