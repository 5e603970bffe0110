"""Commands that take a recording."""

from __future__ import annotations

import numpy as np
import pytest

from musiclstm import Composer, Sampling, read_midi, transcribe
from musiclstm.cli import main
from tests.audio.transcription.sounds import melody, sound_file


@pytest.fixture(scope="module")
def take(tmp_path_factory):
    path = tmp_path_factory.mktemp("recordings") / "take.mp3"
    path.write_bytes(sound_file(melody(bass=True), kind="MP3"))
    return path


def test_inspect_says_what_is_heard_and_how_sure(take, capsys) -> None:
    assert main(["inspect", str(take)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("take.mp3\n  4 bars of 4/4 at ")
    assert "notes of many voices in 8.5 seconds, on average" in printed
    assert "% sure; tuned " in printed


def test_transcribe_writes_a_midi_file_with_the_corrections(take, tmp_path, capsys) -> None:
    out = tmp_path / "take.mid"
    words = ["--heard-tempo", "half", "--heard-meter", "2", "--heard-voices", "many"]
    assert main(["transcribe", str(take), "--out", str(out), *words]) == 0
    _, summary = read_midi(out)
    assert summary.facts.startswith("4 bars of 2/4 at 60 bpm")


def test_extend_continues_a_recording_as_compose_does(take, model, tmp_path, capsys) -> None:
    out = tmp_path / "longer.mid"
    words = ["extend", str(take), "--bars", "1", "--seed", "7", "--out", str(out), *model]
    assert main(words) == 0
    assert "% sure" in capsys.readouterr().out
    composer = Composer.from_pretrained(model[1])
    piece = composer.compose(prompt=take, bars=1, sampling=Sampling(seed=7))
    assert out.read_bytes() == piece.to_midi()
    assert piece.prompt.bars == len(transcribe(take).bar_lines) - 1
    again = composer.reproduce(piece.recipe, prompt=take.read_bytes())
    assert again.tokens == piece.tokens


@pytest.mark.fluidsynth
def test_sound_begins_with_the_recording(take, model, tmp_path) -> None:
    import soundfile

    out = tmp_path / "longer.wav"
    assert main(["extend", str(take), "--bars", "1", "--seed", "7", "--out", str(out), *model]) == 0
    found, _ = soundfile.read(out)
    given, rate_hz = soundfile.read(take)
    assert len(found) / 44_100 > len(given) / rate_hz
    second = [rms_in(found, 44_100, at) / rms_in(given, rate_hz, at) for at in range(1, 7)]
    assert max(second) / min(second) < 1.2


def rms_in(samples, rate_hz: int, second: int) -> float:
    part = samples[second * rate_hz : (second + 1) * rate_hz]
    return float(np.sqrt(np.mean(np.square(part))))


def test_bad_recordings_are_errors_of_one_line(tmp_path, model, error_of) -> None:
    path = tmp_path / "take.mp3"
    path.write_bytes(b"PK\x03\x04 not sound")
    out = ["--out", str(tmp_path / "a.mid")]
    assert "is not a sound file" in error_of("extend", path, *out, *model)
    assert "is not a sound file" in error_of("inspect", path)
    midi = tmp_path / "a.txt"
    midi.write_bytes(b"text")
    assert "is no recording" in error_of("transcribe", midi, *out)
