"""A folder of recordings as a corpus."""

from __future__ import annotations

from tests.audio.transcription.sounds import melody, sound_file
from training.data.corpus import read_corpus


def test_recordings_of_a_folder_are_heard_and_reported(tmp_path, capsys) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    (folder / "take.mp3").write_bytes(sound_file(melody(bass=True), kind="MP3"))
    (folder / "broken.wav").write_bytes(b"RIFF1234WAVEfmt ")
    corpus = read_corpus([folder], cache=tmp_path / "cache")
    assert [piece.name for piece in corpus.pieces] == ["take.mp3"]
    assert corpus.pieces[0].notes >= 20
    (skipped,) = corpus.skipped
    assert skipped.name == "broken.wav"
    assert "not a sound file" in skipped.reason
    captured = capsys.readouterr()
    assert "take.mp3: heard " in captured.out + captured.err
