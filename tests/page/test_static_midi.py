"""The page without a server reads and writes MIDI files as the library does."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from symusic.core import ScoreTick, TrackTick

from musiclstm import example_files
from musiclstm.errors import ScoreError
from musiclstm.midi import read_midi
from musiclstm.midi.score_tables import write_midi
from tests.malformed_midi.cases import UPLOADS
from tests.malformed_midi.midi_builder import midi, note, track
from tests.malformed_midi.mutations import mutants

SCRIPT = Path(__file__).parents[1] / "js" / "midi_as_json.js"
# Browsers give nothing of such gzip files.
REFUSED_BY_PAGE = {"container: gzip that breaks off", "container: gzip and junk"}


def read_with_page(files: Sequence[bytes]) -> list[dict[str, Any]]:
    """Return what the JavaScript makes of each file."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed; install it with: apt install nodejs")
    lines = b"".join(base64.b64encode(data) + b"\n" for data in files)
    done = subprocess.run([node, SCRIPT], input=lines, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def as_json(score: ScoreTick) -> dict[str, Any]:
    """Return a score as the page has it."""
    return {
        "ticksPerQuarter": score.ticks_per_quarter,
        "tracks": [
            {
                "name": track.name,
                "program": track.program,
                "isDrum": track.is_drum,
                "notes": rows(track.notes.numpy(), "tick", "duration", "pitch", "velocity"),
                "controls": controls(track),
            }
            for track in score.tracks
        ],
        "tempos": rows(score.tempos.numpy(), "tick", "mspq"),
        "meters": rows(score.time_signatures.numpy(), "tick", "numerator", "denominator"),
        "keys": [
            {"tick": key.time, "sharps": key.key, "isMinor": bool(key.tonality)}
            for key in score.key_signatures
        ],
    }


def rows(table: dict[str, np.ndarray], *names: str) -> list[dict[str, int]]:
    columns = (values.tolist() for values in table.values())
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def controls(track: TrackTick) -> list[dict[str, int]]:
    """Return controllers and bends by time; of simultaneous ones controllers first."""
    found = [(c.time, 0xB0, c.number, c.value) for c in track.controls]
    for bend in track.pitch_bends:
        found.append((bend.time, 0xE0, bend.value + 8_192 & 127, bend.value + 8_192 >> 7))
    found.sort(key=lambda row: row[:2])
    return [dict(zip(("tick", "status", "first", "second"), row, strict=True)) for row in found]


def read_with_library(data: bytes) -> dict[str, Any] | None:
    """Return the same of the library; None: refused."""
    try:
        score, summary = read_midi(data)
    except ScoreError:
        return None
    written = base64.b64encode(write_midi(score, text="text")).decode()
    return {
        "score": as_json(score),
        "repairs": list(summary.repairs),
        "performed": summary.performed,
        "written": written,
    }


@pytest.fixture(scope="module")
def of_page() -> dict[str, dict[str, Any]]:
    found = read_with_page([upload.data for upload in UPLOADS])
    return {str(upload): each for upload, each in zip(UPLOADS, found, strict=True)}


@pytest.mark.parametrize("upload", UPLOADS, ids=str)
def test_odd_files_give_the_same_in_page_and_library(upload, of_page) -> None:
    page, library = of_page[str(upload)], read_with_library(upload.data)
    if library is None or str(upload) in REFUSED_BY_PAGE:
        assert page["refusal"].endswith(".")
    else:
        assert page == library


def test_free_recordings_are_told_by_page_and_library() -> None:
    rng = np.random.default_rng(5)
    exact, drifting = np.arange(0, 14_400, 120), rng.integers(0, 40, 120).cumsum() * 7
    files = [
        midi(track(*(note(60, 40, delta=gap - 40) for gap in np.diff(onsets).clip(40).tolist())))
        for onsets in (exact, drifting, exact // 3 * 2)
    ]
    told = [each["performed"] for each in read_with_page(files)]
    assert told == [read_midi(data)[1].performed for data in files] == [False, True, False]


def test_examples_and_mutants_give_the_same_in_page_and_library() -> None:
    files = [path.read_bytes() for path in example_files().values()]
    files += mutants(100, seed=11)
    results = list(zip(read_with_page(files), map(read_with_library, files), strict=True))
    differing = [
        page
        for page, library in results
        if page != library and not (library is None and "refusal" in page)
    ]
    assert differing == []
    assert sum(library is not None for _, library in results) > 20
