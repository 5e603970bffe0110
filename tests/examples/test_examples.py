"""The bundled example pieces: reproducible, readable and varied."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from symusic.core import ScoreTick

from musiclstm.examples import example_files
from musiclstm.midi.reader import MidiSummary, read_midi
from scripts.example_tunes.write import TICKS_PER_QUARTER, Part, Tune, midi_bytes, read_tunes

FILES = {tune.file: tune for tune in read_tunes()}


@pytest.fixture(params=FILES)
def tune(request: pytest.FixtureRequest) -> Tune:
    return FILES[request.param]


@pytest.fixture
def piece(tune: Tune) -> tuple[ScoreTick, MidiSummary]:
    return read_midi(midi_bytes(tune), name=tune.file)


def sorted_notes(score: ScoreTick) -> list[tuple[int, int, int, int]]:
    """Return (program, pitch, start, end) of every note, sorted."""
    return sorted(
        (-1 if track.is_drum else track.program, note.pitch, note.time, note.time + note.duration)
        for track in score.tracks
        if track.program != 40  # three violins may play the same note
        for note in track.notes
    )


def score_of(*music: str, unit: int = 4) -> ScoreTick:
    """Return the score of parts in 4/4."""
    parts = tuple(Part("", 0, 80, text) for text in music)
    tune = Tune("", "", "", "", 120, (4, 4), 0, False, unit, parts)
    return ScoreTick.from_midi(midi_bytes(tune))


def test_the_files_are_those_of_the_titles() -> None:
    examples = example_files()
    assert examples["Minuet in G (Petzold)"].name == "minuet_in_g.mid"
    folder = Path(next(iter(examples.values()))).parent
    assert {path.name for path in folder.glob("*.mid")} == set(FILES)
    assert {path.name for path in examples.values()} == set(FILES)


def test_every_piece_states_its_composer_and_rights() -> None:
    assert all(len(tune.rights) > 20 and tune.composer for tune in FILES.values())


def test_the_files_are_written_from_the_notation(tune: Tune) -> None:
    path = next(path for path in example_files().values() if path.name == tune.file)
    assert path.read_bytes() == midi_bytes(tune), "run: python -m scripts.example_tunes.write"


def test_a_piece_is_read_without_repairs_as_it_is_notated(
    tune: Tune, piece: tuple[ScoreTick, MidiSummary]
) -> None:
    score, summary = piece
    assert summary.repairs == ()
    assert summary.meter == f"{tune.meter[0]}/{tune.meter[1]}"
    assert summary.tempo_bpm == pytest.approx(tune.bpm, abs=0.01)
    assert [(key.key, key.tonality) for key in score.key_signatures] == [(tune.sharps, tune.minor)]
    assert [track.name for track in summary.tracks] == [part.name for part in tune.parts]
    assert [track.program for track in summary.tracks] == [part.program for part in tune.parts]
    assert len(summary.tracks) >= 2


def test_a_piece_is_short_and_ends_at_a_bar_line(
    tune: Tune, piece: tuple[ScoreTick, MidiSummary]
) -> None:
    score, summary = piece
    bar = 4 * TICKS_PER_QUARTER * tune.meter[0] // tune.meter[1]
    assert 4 <= summary.bars <= 9  # eight bars and possibly an upbeat
    assert score.end() == summary.bars * bar


def test_notes_of_one_pitch_do_not_overlap(piece: tuple[ScoreTick, MidiSummary]) -> None:
    notes = sorted_notes(piece[0])
    for (*before, _, end), (*after, start, _) in pairwise(notes):
        assert before != after or start >= end


def test_notes_are_on_the_grid_and_have_varied_velocities(
    piece: tuple[ScoreTick, MidiSummary],
) -> None:
    for track in piece[0].tracks:
        notes = track.notes.numpy()
        assert (notes["time"] % 120 == 0).all()
        assert (notes["duration"] % 120 == 0).all()
        assert 50 <= notes["velocity"].min() <= notes["velocity"].max() <= 110
        assert len(set(notes["velocity"].tolist())) >= 3


def test_the_estimated_key_is_the_notated_one(
    tune: Tune, piece: tuple[ScoreTick, MidiSummary]
) -> None:
    sharps = {"C major": 0, "G major": 1, "D major": 2, "F major": -1, "A minor": 0, "E minor": 1}
    key = piece[1].key or ""
    assert (sharps[key], key.endswith("minor")) == (tune.sharps, tune.minor)


def test_the_pieces_differ_in_meter_key_texture_and_instruments() -> None:
    summaries = [read_midi(path)[1] for path in example_files().values()]
    assert len({summary.meter for summary in summaries}) >= 4
    assert len({summary.key for summary in summaries}) >= 5
    assert len({len(summary.tracks) for summary in summaries}) >= 3
    assert len({track.program for summary in summaries for track in summary.tracks}) >= 8


def test_the_minuet_has_its_first_notes() -> None:
    score = read_midi(example_files()["Minuet in G (Petzold)"])[0]
    tune = [(note.time, note.duration, note.pitch) for note in score.tracks[0].notes][:8]
    assert tune[:5] == [
        (0, 480, 74),
        (480, 240, 67),
        (720, 240, 69),
        (960, 240, 71),
        (1200, 240, 72),
    ]
    assert tune[5:] == [(1440, 480, 74), (1920, 480, 67), (2400, 480, 67)]


def test_the_notation_has_chords_rests_ties_and_durations() -> None:
    track = score_of("C4+Eb4/2 - | F#3/1 F#3~ F#3 B3~ | B3/4").tracks[0]
    notes = sorted((note.time, note.duration, note.pitch) for note in track.notes)
    assert notes == [
        (0, 960, 60),
        (0, 960, 63),
        (1920, 480, 54),
        (2400, 960, 54),
        (3360, 480 + 1920, 59),
    ]


@pytest.mark.parametrize(
    ("music", "message"),
    [
        ("C4/3", r"^Bar 1 has 3 units; it must have 4\.$"),
        ("C4/4 | C4/5", r"^Bar 2 has 5 units; it must have 4\.$"),
        ("C4/4 | C4/x", r"^'C4/x' in bar 2 is not valid notation\.$"),
        ("H4/4", r"^'H4' is neither a pitch, such as F#4, nor a drum\.$"),
    ],
)
def test_an_error_of_notation_is_named(music: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score_of(music)
