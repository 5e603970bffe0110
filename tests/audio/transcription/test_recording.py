"""Hostile and unusual recordings: read, or refused in one sentence."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from musiclstm.audio.transcription import recording, transcribe
from musiclstm.audio.transcription.recording import MAX_SECONDS, SAMPLE_RATE_HZ, read_recording
from musiclstm.errors import MissingPackageError, RecordingError
from musiclstm.midi.file_names import is_recording
from tests.audio.transcription.sounds import sound_file

TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(22_050) / 22_050)).astype(np.float32)
WAV = sound_file(TONE)


@pytest.mark.parametrize(
    ("data", "fact"),
    [
        (b"", "is an empty file"),
        (b"PK\x03\x04" + bytes(200), "is not a sound file that can be read"),
        (WAV[:20], "is not a sound file that can be read"),
        (sound_file(np.zeros(22_050)), "is silent"),
        (sound_file(np.full(22_050, 0.25)), "is silent"),
        (sound_file(np.full(99, np.nan), subtype="FLOAT"), "samples that are no numbers"),
        (sound_file(np.tile([3e38, -3e38], 50), subtype="FLOAT"), "samples that are no numbers"),
        (sound_file(TONE[:0]), "has no sound"),
        (sound_file(TONE, rate_hz=999), "must be 4,000 to 384,000"),
    ],
)
def test_a_recording_without_sound_is_refused_in_one_sentence(data, fact, tmp_path) -> None:
    path = tmp_path / "take.mp3"
    path.write_bytes(data)
    for source, name in ((path, None), (data, "take.mp3")):
        with pytest.raises(RecordingError, match=rf"^'take\.mp3' .*{fact}"):
            read_recording(source, name=name)


@pytest.mark.parametrize(
    "data",
    [
        WAV,
        WAV[: len(WAV) // 2],
        sound_file(np.repeat(TONE, 8), rate_hz=176_400),
        sound_file(np.repeat(TONE[:, None], 32, axis=1)),
        *(sound_file(TONE, kind=kind) for kind in ("FLAC", "OGG", "MP3")),
        sound_file(np.repeat(TONE, 2), rate_hz=48_000, kind="OGG", subtype="OPUS"),
    ],
    ids=["wav", "truncated", "176-kHz", "32-channels", "flac", "ogg", "mp3", "opus"],
)
def test_every_kind_of_sound_file_is_read_as_one_channel(data: bytes) -> None:
    assert is_recording(data)
    found = read_recording(data)
    assert found.samples.ndim == 1
    assert np.abs(found.samples).max() == pytest.approx(1)
    assert 0.4 < found.seconds < 1.2


def test_at_most_a_minute_is_read_from_where_it_is_asked(tmp_path) -> None:
    path = tmp_path / "long.wav"
    quiet = np.zeros(90 * 8_000, np.float32)
    quiet[70 * 8_000 : 80 * 8_000] = 0.5 * np.sin(np.arange(80_000))
    path.write_bytes(sound_file(quiet, rate_hz=8_000))
    with pytest.raises(RecordingError, match=r"'long\.wav' is silent"):
        read_recording(path)
    found = read_recording(path, start_s=65)
    assert found.seconds == pytest.approx(25, abs=0.01)
    assert not found.is_cut
    found = read_recording(path, start_s=20)
    assert len(found.samples) == pytest.approx(MAX_SECONDS * SAMPLE_RATE_HZ, abs=2)
    assert found.is_cut
    with pytest.raises(RecordingError, match="has no sound after 100 seconds"):
        read_recording(path, start_s=100)


def test_a_video_needs_ffmpeg_and_is_read_by_it(tmp_path, monkeypatch) -> None:
    path = tmp_path / "take.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(64))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        RecordingError, match=r"'take\.m4a' is an m4a or a video.*apt install ffmpeg"
    ):
        read_recording(path)
    fake = tmp_path / "ffmpeg"
    raw = tmp_path / "raw"
    raw.write_bytes(TONE.astype("<f4").tobytes())
    fake.write_text(f'#!/bin/sh\nexec /bin/cat "{raw}"\n')
    fake.chmod(0o755)
    assert read_recording(path).seconds == pytest.approx(1)
    assert read_recording(path.read_bytes()).seconds == pytest.approx(1)
    fake.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(RecordingError, match="no sound that ffmpeg can read"):
        read_recording(path)


def test_noise_is_refused() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(20 * 22_050)
    with pytest.raises(RecordingError, match="no music that can be heard"):
        transcribe(noise, sample_rate_hz=22_050)


def test_folders_and_missing_files_are_refused(tmp_path) -> None:
    with pytest.raises(RecordingError, match="is a folder"):
        read_recording(tmp_path)
    with pytest.raises(RecordingError, match=r"'a\.wav' does not exist"):
        read_recording(tmp_path / "a.wav")


def test_a_missing_package_is_named_with_its_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(MissingPackageError, match=r"soxr.*pip install 'musiclstm\[transcribe\]'"):
        read_recording(WAV)


def test_the_library_imports_none_of_the_packages() -> None:
    code = (
        "import sys, musiclstm, musiclstm.cli\nfrom musiclstm import Composer, transcribe\n"
        f"print({{*sys.modules}} & {set(recording.PACKAGES)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
