"""Notes, tuning, beats and score of short recordings with known notes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from musiclstm import Transcription, transcribe
from musiclstm.audio.transcription import NETWORK_FILE, NETWORK_SHA256, TranscribedNote
from musiclstm.midi import bar_starts
from tests.audio.transcription.sounds import BEAT_S, MELODY, RATE_HZ, melody, sound_file


def hits(found: Transcription, *, within_s: float = 0.05) -> int:
    """Return how many notes of the melody are found."""
    heard = {
        (round(note.start_s / BEAT_S), note.pitch)
        for note in found.notes
        if abs(note.start_s / BEAT_S - round(note.start_s / BEAT_S)) * BEAT_S <= within_s
    }
    return len(heard & set(enumerate(MELODY)))


def test_the_carried_network_is_that_of_basic_pitch() -> None:
    assert hashlib.sha256(NETWORK_FILE.read_bytes()).hexdigest() == NETWORK_SHA256
    assert "Spotify AB" in NETWORK_FILE.with_name("NOTICE").read_text()


def test_a_melody_with_a_bass_is_heard_on_the_grid() -> None:
    found = transcribe(melody(bass=True), sample_rate_hz=RATE_HZ)
    assert hits(found) >= 14
    assert found.voices == "many"
    assert found.tempo_bpm / 120 == pytest.approx(1, rel=0.03)
    score = found.to_score()
    (track,) = score.tracks
    assert track.program == 0
    onsets = {note.time / score.ticks_per_quarter for note in track.notes if note.pitch in MELODY}
    assert len(onsets & set(range(32))) >= 14
    assert len(bar_starts(score)) == len(found.bar_lines)


def test_a_melody_alone_has_one_voice() -> None:
    time = np.arange(round(8.2 * RATE_HZ)) / RATE_HZ
    pitch = np.array(MELODY)[np.minimum((time / BEAT_S).astype(int), 15)]
    phase = np.cumsum(440 * 2 ** ((pitch - 69) / 12)) / RATE_HZ
    in_note = time % BEAT_S
    level = np.minimum(1, in_note / 0.01) * np.minimum(1, np.maximum(0, 0.45 - in_note) / 0.02)
    samples = level * (time < 8) * sum(np.sin(2 * np.pi * k * phase) / k**2 for k in (1, 2, 3))
    found = transcribe(samples, sample_rate_hz=RATE_HZ)
    assert found.voices == "one"
    assert hits(found) >= 15
    assert len(found.notes) <= 18
    assert found.to_score().tracks[0].program == 73


def test_a_detuned_recording_is_put_in_tune() -> None:
    found = transcribe(sound_file(melody(bass=True, cents=-40)))
    assert found.tuning_cents == pytest.approx(-40, abs=5)
    assert hits(found) >= 14


BEATS = Transcription(
    name="", seconds=8.0, voices="many", tuning_cents=0.0, beat_confidence=0.5,
    notes=tuple(TranscribedNote(0.5 * n, 0.5 * n + 0.4, 60 + n % 3, 0.9, 80) for n in range(1, 14)),
    beats=tuple(0.5 * n for n in range(16)), first_downbeat=1, meter=4,
)  # fmt: skip


def test_the_score_has_whole_bars_from_the_first_note_to_the_last_full_bar() -> None:
    assert BEATS.bar_lines == (0.5, 2.5, 4.5, 6.5)  # the fourth bar has one note of four
    score = BEATS.to_score()
    assert [note.time / 480 for note in score.tracks[0].notes] == list(range(12))
    assert score.tempos[0].qpm == pytest.approx(120)


@pytest.mark.parametrize(
    ("correction", "tempo", "meter", "lines"),
    [
        ({"tempo_factor": 2}, 240, 4, (0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5)),
        ({"tempo_factor": 0.5}, 60, 4, (0.5, 4.5, 8.5)),
        ({"meter": 3}, 120, 3, (0.5, 2.0, 3.5, 5.0, 6.5)),
        ({"downbeat_shift": 1}, 120, 4, (-1.0, 1.0, 3.0, 5.0, 7.0)),
    ],
)
def test_beats_and_bar_lines_can_be_corrected(correction, tempo, meter, lines) -> None:
    found = BEATS.corrected(**correction)
    assert found.tempo_bpm == pytest.approx(tempo)
    assert found.meter == meter
    assert found.bar_lines == pytest.approx(lines)


def test_wrong_corrections_are_refused() -> None:
    with pytest.raises(ValueError, match="tempo_factor must be"):
        BEATS.corrected(tempo_factor=3)
    with pytest.raises(ValueError, match="meter must be 1 to 12"):
        BEATS.corrected(meter=13)
