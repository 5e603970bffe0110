"""`python -m benchmarks.quality.midi_levels`: the loudness of what is read against FluidSynth.

FluidSynth plays the pieces that have the most controllers, each from its file, and `render` plays
what `read_midi` read; `--split all` takes folders of files whatever their split. Both without
reverb and chorus. Compared is the level of every bar; the levels of one piece may differ by a
constant, because `render` sets the loudness. Bars that are 40 dB below the piece are left out.

Bars in which notes of one key overlap have a column of their own: FluidSynth ends all of them at
the first note-off, while `read_midi` gives each note its own end, as two voices in unison have.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from symusic.core import ScoreTick

from benchmarks.common.report import Report, ReportError, parser, run, table
from musiclstm.audio import installed_soundfonts, render
from musiclstm.cli import run_command
from musiclstm.errors import ScoreError
from musiclstm.midi import MidiLimits, TempoMap, bar_starts, read_midi
from training.data.corpus import find_sources, sources_of_split

LIMIT_DB, _QUIET_DB = 1.0, -40.0
_RATE_HZ = 44_100
_MAX_SECONDS = 600


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error, or if a bar differs by more than 1 dB."""
    options = parser("benchmarks.quality.midi_levels", "Loudness of what is read.", split=False)
    options.add_argument(
        "--split", default="test", choices=("all", "train", "valid", "test"), help="which pieces"
    )
    options.add_argument("--pieces", type=int, default=10, help="number of pieces (10)")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Compare the pieces with the most controllers."""
    if shutil.which("fluidsynth") is None:
        raise ReportError("The program fluidsynth is missing. Run: apt-get install fluidsynth")
    if options.pieces < 1:
        raise ReportError(f"--pieces must be 1 or more, got {options.pieces}.")
    found: list[tuple[int, str, bytes, ScoreTick]] = []
    if options.split == "all":
        sources = find_sources(options.data)
    else:
        sources = sources_of_split(options.data, options.split)
    for source in sources:
        data = source.read(MidiLimits.training().bytes)
        try:
            score, summary = read_midi(data, name=source.name)
        except ScoreError:
            continue
        controls = sum(len(track.controls) + len(track.pitch_bends) for track in score.tracks)
        if summary.seconds <= _MAX_SECONDS and data.startswith(b"MThd"):
            found.append((controls, f"{source.corpus}/{source.name}", data, score))
    found.sort(key=lambda each: -each[0])
    rows = [_compare(*each) for each in found[: options.pieces]]
    if not rows:
        raise ReportError("No piece of this split can be read.")
    passed = all(row["largest difference, dB"] < LIMIT_DB for row in rows)
    return Report(table(rows), rows, passed=passed)


def _compare(controls: int, name: str, data: bytes, score: ScoreTick) -> dict[str, Any]:
    lines = TempoMap(score).frames(bar_starts(score), _RATE_HZ)
    ours = render(score, sample_rate_hz=_RATE_HZ, reverb=0.0, chorus=0.0, gain_db=-20.0).samples
    ours_db, theirs_db = (_levels(samples, lines) for samples in (ours, _play(data)))
    difference = (ours_db - theirs_db) - np.median(ours_db - theirs_db)
    loud = theirs_db > np.nanmax(theirs_db) + _QUIET_DB
    unison = _has_unisons(score)
    return {
        "piece": name,
        "controllers": controls,
        "bars": int((loud & ~unison).sum()),
        "largest difference, dB": _largest(difference[loud & ~unison]),
        "mean, dB": round(float(np.abs(difference[loud & ~unison]).mean()), 3),
        "bars with overlaps": int((loud & unison).sum()),
        "largest there, dB": _largest(difference[loud & unison]),
    }


def _largest(difference: np.ndarray) -> float:
    return round(float(np.abs(difference).max(initial=0.0)), 2)


def _has_unisons(score: ScoreTick) -> np.ndarray:
    """Return for each bar whether notes of one key and track overlap in it, (bars,)."""
    lines = bar_starts(score)
    found = np.zeros(len(lines) - 1, dtype=bool)
    for track in score.tracks:
        table = track.notes.numpy()
        order = np.lexsort((table["time"], table["pitch"]))
        time, pitch = table["time"][order], table["pitch"][order]
        end = time + table["duration"][order]
        for at in np.flatnonzero((pitch[1:] == pitch[:-1]) & (time[1:] < end[:-1])):
            first, last = np.searchsorted(lines, [time[at], end[at : at + 2].max()], side="right")
            found[first - 1 : last] = True
    return found


def _play(data: bytes) -> np.ndarray:
    """Return what FluidSynth's own player makes of a file, (frames, 2)."""
    import soundfile

    soundfont = next(iter(installed_soundfonts().values()))
    with tempfile.TemporaryDirectory() as folder:
        midi, wav = Path(folder) / "a.mid", Path(folder) / "a.wav"
        midi.write_bytes(data)
        command = ["fluidsynth", "-n", "-i", "-q", "-R", "0", "-C", "0", "-g", "0.1"]
        command += ["-r", str(_RATE_HZ), "-O", "float", "-F", str(wav), str(soundfont), str(midi)]
        done = subprocess.run(command, capture_output=True, check=False, timeout=600)
        if done.returncode or not wav.exists():
            raise ReportError(f"fluidsynth failed: {done.stderr.decode(errors='replace')[:200]}")
        samples, _ = soundfile.read(wav, dtype="float32", always_2d=True)
    return np.asarray(samples)


def _levels(samples: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Return the level of each bar in dB."""
    power = np.concatenate([[0.0], np.cumsum((samples.astype(np.float64) ** 2).sum(axis=1))])
    at = np.minimum(lines, len(samples))
    energy = np.diff(power[at]) / np.maximum(np.diff(at), 1)
    return 10 * np.log10(energy + 1e-12)


if __name__ == "__main__":
    sys.exit(run_command(main))
