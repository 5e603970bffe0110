"""Figures of the transcription benchmark on known notes and beats, and its clips."""

from __future__ import annotations

import numpy as np
import pytest
from symusic import Note, Score, Track

from benchmarks.quality import transcription
from benchmarks.quality.transcription_clips import Clip, _choices, _first_seconds
from tests.audio.transcription.test_transcription import BEATS


def score_of(*tracks: tuple[int, list[tuple[int, int, int]]]):
    score = Score(480)
    for program, notes in tracks:
        track = Track("", program, False)
        track.notes.extend(Note(time, length, pitch, 80) for time, length, pitch in notes)
        score.tracks.append(track)
    return score


def test_notes_are_right_with_their_pitch_and_an_onset_within_50_ms() -> None:
    notes = [(240 * n, 192, 60 + n % 3) for n in range(1, 14)]  # at 120 bpm those of BEATS
    clip = Clip("piano", "", score_of((0, [(2 * time, length, p) for time, length, p in notes])))
    heard = BEATS
    true = clip.notes
    assert transcription.note_f1(true, heard) == 1
    late = true.onset_quarters + np.where(np.arange(13) < 3, 0.06, 0.04)
    assert transcription.note_f1(
        type(true)(true.key, late, true.duration_quarters), heard
    ) == pytest.approx(10 / 13)


def test_times_are_matched_once_within_70_ms() -> None:
    true = np.array([0.0, 1.0, 2.0])
    assert transcription.time_f1(true, np.array([0.05, 0.06, 1.08, 2.0])) == pytest.approx(4 / 7)


def test_a_clip_has_dotted_beats_in_six_eight_and_a_melody_becomes_one_voice() -> None:
    from symusic import TimeSignature

    score = score_of((40, [(720 * n, 720, 70) for n in range(8)]), (0, [(0, 2880, 50)]))
    score.time_signatures.append(TimeSignature(0, 6, 8))
    choices = {choice.kind: choice.score for choice in _choices(score)}
    assert set(choices) == {"song", "one voice"}
    clip = Clip("song", "", _first_seconds(choices["song"], 3.0))
    assert clip.beats == pytest.approx([0.0, 0.75, 1.5, 2.25])
    assert clip.meter == 2
    (voice,) = choices["one voice"].tracks
    assert [note.duration for note in voice.notes] == [612] * 8
