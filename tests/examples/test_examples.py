"""The bundled seeds: correct, playable, varied, and exactly what their text says."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from symusic.core import ScoreTick

from musiclstm.examples import example_files
from musiclstm.midi.reader import MidiSummary, read_midi
from scripts.example_tunes.tunes import TUNES, Part, Tune
from scripts.example_tunes.write import TICKS_PER_QUARTER, midi_bytes

FILES = {tune.file: tune for tune in TUNES}

# What the instruments of the seeds can play.
RANGES = {
    0: (21, 108),  # piano
    24: (40, 83),  # nylon guitar
    29: (40, 88),  # overdriven guitar
    30: (40, 88),  # distortion guitar
    34: (28, 67),  # bass
    40: (55, 103),  # violin
    41: (48, 91),  # viola
    42: (36, 76),  # cello
    68: (58, 91),  # oboe
    73: (60, 96),  # flute, down to middle C
}


@pytest.fixture(params=FILES)
def tune(request: pytest.FixtureRequest) -> Tune:
    return FILES[request.param]


@pytest.fixture
def seed(tune: Tune) -> tuple[ScoreTick, MidiSummary]:
    return read_midi(midi_bytes(tune), name=tune.file)


def starts_and_ends(score: ScoreTick) -> list[tuple[int, int, int, int]]:
    """(family of tracks that share an instrument, pitch, start, end) of every note, in order."""
    return sorted(
        (-1 if track.is_drum else track.program, note.pitch, note.time, note.time + note.duration)
        for track in score.tracks
        if track.program != 40  # three violins may well play the same note
        for note in track.notes
    )


def line(*music: str, unit: int = 4) -> ScoreTick:
    """A tune of our own, read back: 4/4, one part for each text."""
    parts = tuple(Part("", 0, 80, text) for text in music)
    tune = Tune("", "", "", "", 120, (4, 4), 0, False, unit, parts)
    return ScoreTick.from_midi(midi_bytes(tune))


def test_every_seed_is_listed_with_its_title_and_has_a_file() -> None:
    seeds = example_files()
    assert seeds["Minuet in G (Petzold)"].name == "minuet_in_g.mid"
    assert len(seeds) == len(TUNES) >= 6
    assert all(path.is_file() for path in seeds.values())


def test_every_seed_says_why_it_is_free() -> None:
    assert all(len(tune.free) > 20 and tune.composer for tune in TUNES)


def test_the_files_are_what_the_text_gives(tune: Tune) -> None:
    path = next(path for path in example_files().values() if path.name == tune.file)
    assert path.read_bytes() == midi_bytes(tune), "run: python -m scripts.example_tunes.write"


def test_there_are_no_other_files_than_the_listed_ones() -> None:
    folder = Path(next(iter(example_files().values()))).parent
    assert {path.name for path in folder.glob("*.mid")} == set(FILES)


def test_a_seed_is_read_without_repairs_and_keeps_what_is_written(
    tune: Tune, seed: tuple[ScoreTick, MidiSummary]
) -> None:
    score, report = seed
    assert report.repairs == ()
    assert report.meter == f"{tune.meter[0]}/{tune.meter[1]}"
    assert report.tempo_bpm == pytest.approx(tune.bpm, abs=0.01)
    assert [(key.key, key.tonality) for key in score.key_signatures] == [(tune.sharps, tune.minor)]
    assert [track.name for track in report.tracks] == [part.name for part in tune.parts]
    assert [track.program for track in report.tracks] == [part.program for part in tune.parts]
    assert len(report.tracks) >= 2


def test_a_seed_is_short_and_ends_at_a_bar_line(
    tune: Tune, seed: tuple[ScoreTick, MidiSummary]
) -> None:
    score, report = seed
    bar = 4 * TICKS_PER_QUARTER * tune.meter[0] // tune.meter[1]
    assert 4 <= report.bars <= 9  # eight bars, and one more where a tune has an upbeat
    assert score.end() == report.bars * bar


def test_no_key_is_struck_while_it_sounds(seed: tuple[ScoreTick, MidiSummary]) -> None:
    notes = starts_and_ends(seed[0])
    for (*before, _, end), (*after, start, _) in pairwise(notes):
        assert before != after or start >= end


def test_instruments_play_what_they_can(seed: tuple[ScoreTick, MidiSummary]) -> None:
    for track in seed[1].tracks:
        lowest, highest = RANGES.get(track.program, (35, 81))
        assert lowest <= track.lowest
        assert track.highest <= highest


def test_notes_lie_on_the_grid_and_have_living_velocities(
    seed: tuple[ScoreTick, MidiSummary],
) -> None:
    for track in seed[0].tracks:
        notes = track.notes.numpy()
        assert (notes["time"] % 120 == 0).all()
        assert (notes["duration"] % 120 == 0).all()
        assert 50 <= notes["velocity"].min() <= notes["velocity"].max() <= 110
        assert len(set(notes["velocity"].tolist())) >= 3


def test_a_seed_sounds_in_the_key_it_is_written_in(
    tune: Tune, seed: tuple[ScoreTick, MidiSummary]
) -> None:
    sharps = {"C major": 0, "G major": 1, "D major": 2, "F major": -1, "A minor": 0, "E minor": 1}
    key = seed[1].key or ""
    assert (sharps[key], key.endswith("minor")) == (tune.sharps, tune.minor)


def test_the_seeds_differ_in_meter_key_texture_and_instruments() -> None:
    reports = [read_midi(path)[1] for path in example_files().values()]
    assert len({report.meter for report in reports}) >= 4
    assert len({report.key for report in reports}) >= 5
    assert len({len(report.tracks) for report in reports}) >= 3
    assert len({track.program for report in reports for track in report.tracks}) >= 8


def test_the_minuet_begins_as_everyone_knows_it() -> None:
    score = read_midi(example_files()["Minuet in G (Petzold)"])[0]
    tune = [(note.time, note.duration, note.pitch) for note in score.tracks[0].notes][:8]
    assert tune == [
        (0, 480, 74),
        (480, 240, 67),
        (720, 240, 69),
        (960, 240, 71),
        (1200, 240, 72),
        (1440, 480, 74),
        (1920, 480, 67),
        (2400, 480, 67),
    ]


def test_the_notation_knows_chords_rests_ties_and_lengths() -> None:
    track = line("C4+Eb4/2 - | F#3/1 F#3~ F#3 B3~ | B3/4").tracks[0]
    notes = sorted((note.time, note.duration, note.pitch) for note in track.notes)
    assert notes == [
        (0, 960, 60),
        (0, 960, 63),
        (1920, 480, 54),
        (2400, 960, 54),
        (3360, 480 + 1920, 59),
    ]


@pytest.mark.parametrize(
    ("music", "sentence"),
    [
        ("C4/3", r"^Bar 1 has 3 units; it must have 4\.$"),
        ("C4/4 | C4/5", r"^Bar 2 has 5 units; it must have 4\.$"),
        ("C4/4 | C4/x", r"^'C4/x' in bar 2 is not a word of this notation\.$"),
        ("H4/4", r"^'H4' is neither a pitch, such as F#4, nor a drum\.$"),
    ],
)
def test_a_slip_in_the_text_is_named(music: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        line(music)
