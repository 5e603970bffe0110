"""Tokens of notes in C against `musiclstm.tokens`."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from symusic.core import NoteTick, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

import musiclstm
from musiclstm.core.library import is_available, load_library
from musiclstm.core.remi import UNUSED, Remi, ScoreArrays
from musiclstm.errors import ScoreError
from musiclstm.model.step_features import TokenKind
from musiclstm.tokens import DRUMS, MusicTokenizer, program_of
from musiclstm.tokens.encoding import part_of_track
from musiclstm.tokens.vocabulary import TABLE, TEMPO_0, TEMPOS_BPM, TIME_SIGNATURE_0

pytestmark = pytest.mark.skipif(not is_available(), reason="this machine cannot run the core")

TOKENIZER = MusicTokenizer()
ROOT = Path(__file__).parents[2]
FILES = sorted(
    [
        *(Path(musiclstm.__file__).parent / "examples").glob("*.mid"),
        *(ROOT / "scripts").glob("example_tunes/**/*.mid"),
        *(ROOT / "tests" / "data").glob("**/*.mid"),
    ]
)
CORPUS = os.environ.get("MUSICLSTM_TEST_CORPUS")  # a folder with MIDI files, also in zip files


@pytest.fixture(scope="module")
def remi() -> Remi:
    """The functions of the core that this machine runs."""
    return Remi(load_library(), TABLE)


# Scores -------------------------------------------------------------------------------------------


def arrays_of(score: ScoreTick) -> ScoreArrays:
    """Return a score as the core reads it."""
    notes = [
        (note.time, note.duration, note.pitch, note.velocity, index)
        for index, track in enumerate(score.tracks)
        for note in track.notes
    ]
    meters = [(m.time, m.numerator, m.denominator) for m in score.time_signatures]
    return ScoreArrays(
        score.ticks_per_quarter,
        np.array([program_of(track) for track in score.tracks], np.int32),
        np.array(notes, np.int32).reshape(-1, 5),
        np.array([(t.time, t.mspq) for t in score.tempos], np.int32).reshape(-1, 2),
        np.array(meters, np.int32).reshape(-1, 3),
    )


METERS = [(4, 4), (3, 4), (2, 2), (6, 8), (7, 8), (12, 8), (3, 16), (15, 16), (1, 4), (12, 4)]
UNSUPPORTED_METERS = [(17, 8), (5, 32), (4, 3), (0, 4), (5, 0), (255, 255), (2, 16)]
PROGRAMS = [0, 0, 0, 40, 40, 127, DRUMS, DRUMS]


@st.composite
def scores(draw: st.DrawFn) -> ScoreTick:
    """Return scores with overlaps, notes off the grid, empty bars, and changing meters."""
    tpq = draw(st.sampled_from([480, 96, 48, 24, 12, 7, 1, 1_000, 32_767]))
    beats = draw(st.sampled_from([4, 20, 300]))
    on_grid = st.integers(0, beats * 24).map(lambda step: step * tpq // 24)
    times = on_grid | st.integers(0, beats * tpq)
    lengths = st.integers(-1, 40 * tpq) | st.sampled_from([tpq // 4, tpq, 2 * tpq])
    notes = st.tuples(times, lengths, st.sampled_from([36, 60, 60, 64]) | st.integers(0, 127))
    score = ScoreTick(tpq)
    for _ in range(draw(st.integers(0, 12))):
        program = draw(st.sampled_from(PROGRAMS))
        track = TrackTick("", max(program, 0), program == DRUMS)
        for time, duration, pitch in draw(st.lists(notes, max_size=12)):
            track.notes.append(NoteTick(time, duration, pitch, 80))
        score.tracks.append(track)
    for tick, meter in draw(
        st.lists(st.tuples(times, st.sampled_from(METERS + UNSUPPORTED_METERS)), max_size=6)
    ):
        score.time_signatures.append(TimeSignatureTick(tick, *meter))
    for tick, mspq in draw(
        st.lists(st.tuples(times, st.integers(1, 3_000_000) | st.just(500_000)), max_size=6)
    ):
        score.tempos.append(TempoTick(tick, mspq=mspq))
    return score


# Encoding -----------------------------------------------------------------------------------------


def check_encoding(remi: Remi, score: ScoreTick, order: list[list[int]] | None = None) -> int:
    """Compare one score; return the number of its tokens."""
    arrays, tracks = arrays_of(score), len(score.tracks)
    chosen = TOKENIZER.part_order(score) if order is None else order
    parts = part_of_track(chosen, tracks)
    if order is None:
        np.testing.assert_array_equal(remi.order_parts(arrays), parts)
    found = remi.encode(arrays, parts).tolist()
    assert found == (TOKENIZER.encode(score, order=chosen) if chosen else [])
    return len(found)


def test_there_are_files_with_several_parts() -> None:
    parts = [TOKENIZER.parts(ScoreTick.from_midi(path.read_bytes())) for path in FILES]
    assert sum(len(each) > 2 for each in parts) >= 2


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_encoded_as_in_python(path, remi) -> None:
    score = ScoreTick.from_midi(path.read_bytes())
    assert check_encoding(remi, score) > 10
    order = TOKENIZER.part_order(score)
    random.Random(0).shuffle(order)
    check_encoding(remi, score, order)
    check_encoding(remi, score, TOKENIZER.part_order(score, merge_tracks=True))
    check_encoding(remi, score, order[:1])


@settings(max_examples=120)
@given(score=scores(), rng=st.randoms(use_true_random=False))
def test_any_score_is_encoded_as_in_python(score, rng, remi) -> None:
    check_encoding(remi, score)
    order = TOKENIZER.part_order(score)
    rng.shuffle(order)
    check_encoding(remi, score, order)


def corpus_sample(folder: str, count: int) -> Iterator[bytes]:
    """Yield the content of random MIDI files of a folder and its zip files."""
    paths = [path for path in sorted(Path(folder).rglob("*")) if path.suffix in (".mid", ".zip")]
    names = [
        (path, name)
        for path in paths
        for name in ([""] if path.suffix == ".mid" else ZipFile(path).namelist())
        if path.suffix == ".mid" or name.endswith(".mid")
    ]
    for path, name in random.Random(0).sample(names, min(count, len(names))):
        yield ZipFile(path).read(name) if name else path.read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(not CORPUS, reason="MUSICLSTM_TEST_CORPUS names no folder of MIDI files")
def test_files_of_a_corpus_are_encoded_and_decoded_as_in_python(remi) -> None:
    for data in corpus_sample(str(CORPUS), 100):
        score = ScoreTick.from_midi(data)
        check_encoding(remi, score)
        check_decoding(remi, TOKENIZER.encode(score))


def test_more_than_eight_tracks_of_a_program_are_joined(remi) -> None:
    score = ScoreTick(480)
    for index in range(40):
        track = TrackTick("", 40 + index % 3, index % 7 == 0)
        for step in range(index % 5):
            track.notes.append(NoteTick(step * 480, 240, 40 + index * 11 % 40, 80))
        score.tracks.append(track)
    parts = remi.order_parts(arrays_of(score))
    assert set(np.flatnonzero(parts == UNUSED)) == {0, 5, 10, 15, 20, 25, 30, 35}
    assert check_encoding(remi, score) > 100


def test_a_note_in_bar_a_million_is_refused(remi) -> None:
    score = ScoreTick(1)
    score.tracks.append(TrackTick("", 0))
    score.tracks[0].notes.append(NoteTick(3_999_999, 1, 60, 80))
    assert check_encoding(remi, score) > 2_000_000
    score.tracks[0].notes.append(NoteTick(4_000_000, 1, 60, 80))
    with pytest.raises(ScoreError, match="1,000,000"):
        TOKENIZER.encode(score)
    with pytest.raises(ValueError, match="1,000,000"):
        remi.encode(arrays_of(score), np.array([0]))


@pytest.mark.parametrize(
    ("name", "row", "column", "value", "message"),
    [
        ("notes", 0, 0, -1, "at least 0"),
        ("notes", 0, 2, 128, "Pitches"),
        ("notes", 0, 4, 2, "track"),
        ("notes", 0, 4, -1, "track"),
        ("tempos", 0, 0, -1, "at least 0"),
        ("meters", 0, 0, -1, "at least 0"),
        ("meters", 0, 1, 256, "Bars"),
    ],
)
def test_a_number_out_of_range_is_refused(name, row, column, value, message, remi) -> None:
    score = ScoreTick(480)
    score.tracks.extend([TrackTick("", 0), TrackTick("", 1)])
    score.tracks[1].notes.append(NoteTick(0, 1, 60, 80))
    score.tempos.append(TempoTick(0, 120))
    score.time_signatures.append(TimeSignatureTick(0, 4, 4))
    arrays = arrays_of(score)
    getattr(arrays, name)[row, column] = value
    with pytest.raises(ValueError, match=message):
        remi.encode(arrays)


@pytest.mark.parametrize("parts", [[0, 0], [1, UNUSED], [5000, 0], [-2, 0]])
def test_parts_that_no_score_can_have_are_refused(parts, remi) -> None:
    score = ScoreTick(480)
    score.tracks.extend([TrackTick("", 0), TrackTick("", 1)])
    with pytest.raises(ValueError, match=r"[Pp]art|Programs"):
        remi.encode(arrays_of(score), np.array(parts))


# Decoding -----------------------------------------------------------------------------------------


def check_decoding(remi: Remi, ids: list[int]) -> None:
    score, parts = TOKENIZER.decode_parts(ids)
    found, numbers = remi.decode(ids)
    expected = arrays_of(score)
    assert found.ticks_per_quarter == TOKENIZER.ticks_per_quarter
    names = list(zip(found.programs.tolist(), numbers.tolist(), strict=True))
    assert names == [tuple(part) for part in parts]
    by_track = np.argsort(found.notes[:, 4], kind="stable")
    np.testing.assert_array_equal(found.notes[by_track], expected.notes)
    np.testing.assert_array_equal(found.tempos, expected.tempos)
    np.testing.assert_array_equal(found.meters, expected.meters)
    assert remi.length_ticks(ids) == TOKENIZER.length_ticks(ids)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_ids_of_a_file_are_decoded_as_in_python(path, remi) -> None:
    check_decoding(remi, TOKENIZER.encode(ScoreTick.from_midi(path.read_bytes())))


@settings(max_examples=200)
@given(ids=st.lists(st.integers(-2, len(TABLE) + 1) | st.integers(-(2**40), 2**40), max_size=80))
def test_any_numbers_are_decoded_as_in_python(ids, remi) -> None:
    check_decoding(remi, ids)


def test_tokens_in_random_order_are_decoded_as_in_python(remi) -> None:
    kinds = {kind: np.flatnonzero(np.array(TABLE.kind) == kind) for kind in set(TABLE.kind)}
    kinds[TokenKind.PROGRAM] = np.array([TABLE.program(program) for program in (0, 40, DRUMS)])
    rng = np.random.default_rng(0)
    for _ in range(300):
        chosen = rng.choice(list(kinds), 120)
        check_decoding(remi, [int(rng.choice(kinds[kind])) for kind in chosen])


def test_every_tempo_and_meter_is_decoded_as_in_python(remi) -> None:
    named = [TOKENIZER.ids["Bar_None"], *range(TEMPO_0, TEMPO_0 + 32)]
    meters = [
        token for meter in range(TIME_SIGNATURE_0, len(TABLE)) for token in (TABLE.bar, meter)
    ]
    check_decoding(remi, named + meters)


def test_the_tempos_are_those_of_the_vocabulary(remi) -> None:
    mspq = remi.decode(range(TEMPO_0, TEMPO_0 + 32))[0].tempos[:, 1]
    np.testing.assert_array_equal(mspq, np.rint(60e6 / TEMPOS_BPM))


@settings(max_examples=60)
@given(score=scores())
def test_what_is_encoded_is_decoded_to_the_same_ids(score, remi) -> None:
    ids = remi.encode(arrays_of(score))
    np.testing.assert_array_equal(remi.encode(remi.decode(ids)[0]), ids)


def test_no_ids_are_decoded_to_an_empty_score(remi) -> None:
    check_decoding(remi, [])


def test_a_piece_that_is_longer_than_an_int32_is_refused(remi) -> None:
    longest = int(np.argmax(TABLE.value * (np.array(TABLE.kind) == TokenKind.TIME_SIGNATURE)))
    with pytest.raises(ValueError, match="Ticks"):
        remi.decode([longest] + [TABLE.bar] * (2**31 // 576))
