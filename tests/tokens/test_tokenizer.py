"""Scores to ids and back: times, meters, tempos, and the tokenizer file."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from miditok import REMI
from symusic.core import NoteTick, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

from musiclstm import CheckpointError, ScoreError
from musiclstm.midi.analysis import bar_starts
from musiclstm.tokens import (
    DRUMS,
    TOKENIZER_FILE,
    MusicTokenizer,
    normalize_time_signature,
    supports_time_signature,
)
from musiclstm.tokens.vocabulary import fingerprint, nearest_index
from tests.tokens.reference import notes_of, piece, single

METERS = [(4, 4), (3, 4), (5, 4), (2, 4), (6, 8), (9, 8), (7, 8), (2, 2), (3, 2), (3, 16)]
TOKENIZER = MusicTokenizer()
NOTE = "Position_0 Pitch_60 Duration_1.0.12"


def ids_of(text: str) -> list[int]:
    return [TOKENIZER.ids[name] for name in text.split()]


def text_of(ids: list[int]) -> str:
    return " ".join(TOKENIZER.token_names[index] for index in ids)


def meters_of(score: ScoreTick) -> list[tuple]:
    tpq = score.ticks_per_quarter
    return [(s.time / tpq, s.numerator, s.denominator) for s in score.time_signatures]


# -- Round trips ---------------------------------------------------------------------------------


@pytest.mark.parametrize("meter", METERS, ids=str)
def test_notes_on_the_grid_are_unchanged_after_a_round_trip(meter, invented) -> None:
    score = invented(meter=meter, programs=(0, 40, -1), bars=3)
    back = TOKENIZER.decode(TOKENIZER.encode(score))
    assert notes_of(back) == notes_of(score)
    assert meters_of(back) == [(0, *normalize_time_signature(*meter))]


def test_tokens_are_unchanged_after_a_round_trip_through_midi(invented) -> None:
    score = invented(programs=(0, 40, 40, -1), meter=(3, 4), tempo_bpm=90)
    ids = TOKENIZER.encode(score)
    again = ScoreTick.from_midi(bytes(TOKENIZER.decode(ids).dumps_midi()))
    assert TOKENIZER.encode(again) == ids


def test_every_resolution_gives_the_same_tokens(invented) -> None:
    expected = TOKENIZER.encode(invented(ticks_per_quarter=480))
    for ticks_per_quarter in (96, 960, 48):
        assert TOKENIZER.encode(invented(ticks_per_quarter=ticks_per_quarter)) == expected


def test_a_note_off_the_grid_is_rounded_to_the_nearest_position() -> None:
    # A twelfth of a quarter is 40 ticks.
    back = TOKENIZER.decode(TOKENIZER.encode(piece(single([(480 + 77, 245, 60)]))))
    assert notes_of(back) == [(0, 1 + 2 / 12, 6 / 12, 60)]


def test_of_notes_that_rounding_makes_equal_the_shortest_stays() -> None:
    score = piece(single([(0, 960, 60), (10, 480, 60)]))
    assert notes_of(TOKENIZER.decode(TOKENIZER.encode(score))) == [(0, 0, 1, 60)]


def test_a_note_lasts_at_least_one_position_and_at_most_32_beats() -> None:
    score = piece(single([(0, 0, 60), (0, 100 * 480, 62)]))
    back = TOKENIZER.decode(TOKENIZER.encode(score))
    assert notes_of(back) == [(0, 0, 1 / 12, 60), (0, 0, 32, 62)]


def test_encoding_does_not_change_the_score(invented) -> None:
    score = invented(meter=(2, 2), programs=(0, -1))
    before = score.copy()
    TOKENIZER.encode(score)
    assert score == before


def test_a_score_in_quarters_or_seconds_gives_the_same_tokens(invented) -> None:
    score = invented()
    for unit in ("quarter", "second"):
        assert TOKENIZER.encode(score.to(unit)) == TOKENIZER.encode(score)


def test_a_score_without_notes_is_refused() -> None:
    empty = ScoreTick(480)
    empty.tempos.append(TempoTick(0, 90))
    no_such_drum = piece(single([(0, 480, 127)], program=DRUMS))
    for score in (ScoreTick(480), empty, no_such_drum):
        with pytest.raises(ScoreError, match="The score has no notes"):
            TOKENIZER.encode(score)
        assert TOKENIZER.part_order(score) == []


def test_a_score_that_begins_too_early_or_ends_too_late_is_refused() -> None:
    with pytest.raises(ScoreError, match="before tick 0"):
        TOKENIZER.encode(piece(single([(-480, 480, 60)])))
    with pytest.raises(ScoreError, match="more than 1,000,000 bars"):
        TOKENIZER.encode(piece(single([(0, 480, 60), (2_000_000_000, 480, 60)])))


def test_drum_pitches_have_their_own_tokens() -> None:
    score = piece(single([(0, 480, 27), (0, 480, 88), (0, 480, 89)], program=DRUMS))
    ids = TOKENIZER.encode(score)
    assert "PitchDrum_27 Duration_1.0.12 PitchDrum_88 Duration_1.0.12" in text_of(ids)
    back = TOKENIZER.decode(ids)
    assert [track.is_drum for track in back.tracks] == [True]
    assert [note.pitch for note in back.tracks[0].notes] == [27, 88]


def test_encoding_gives_no_warnings() -> None:
    score = piece(single([(0, 480, 60)]))
    score.time_signatures.append(TimeSignatureTick(0, 17, 8))  # has no token
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ids = TOKENIZER.encode(score)
    assert notes_of(TOKENIZER.decode(ids)) == notes_of(score)


def test_composing_imports_neither_miditok_nor_torch() -> None:
    code = (
        "import sys, importlib.util, types\n"
        "root = types.ModuleType('musiclstm'); root.__path__ = [sys.argv[1]]\n"
        "sys.modules['musiclstm'] = root\n"
        "import musiclstm.tokens\n"
        "assert not {'miditok', 'torch', 'transformers'} & sys.modules.keys()"
    )
    import musiclstm

    folder = musiclstm.__path__[0]
    subprocess.run([sys.executable, "-c", code, folder], check=True, timeout=60)


# -- Tempo ---------------------------------------------------------------------------------------

TEMPO_CASES = [
    (f"Bar_None TimeSig_4/4 {NOTE}", []),
    (f"Bar_None TimeSig_4/4 Position_0 Tempo_60.5 {NOTE}", [(0, 60.5)]),
    (f"Bar_None TimeSig_4/4 {NOTE} Position_12 Tempo_60.5", [(1, 60.5)]),
    (f"Bar_None TimeSig_4/4 {NOTE} Bar_None TimeSig_4/4 Position_0 Tempo_60.5", [(4, 60.5)]),
    (
        "Bar_None TimeSig_4/4 Position_0 Tempo_60.5 Bar_None TimeSig_4/4 Position_24 Tempo_250.0",
        [(0, 60.5), (6, 250.0)],
    ),
    ("Bar_None TimeSig_4/4 Bar_None TimeSig_4/4 Position_0 Tempo_40.0", [(4, 40.0)]),
]


@pytest.mark.parametrize(("text", "expected"), TEMPO_CASES)
def test_decoded_tempos_are_those_of_the_tokens(text, expected) -> None:
    score = TOKENIZER.decode(ids_of(text))
    found = [(tempo.time / score.ticks_per_quarter, tempo.qpm) for tempo in score.tempos]
    assert [beat for beat, _ in found] == [beat for beat, _ in expected]
    assert [bpm for _, bpm in found] == pytest.approx([bpm for _, bpm in expected], rel=1e-4)


def test_a_tempo_that_does_not_change_is_written_once() -> None:
    score = piece(single([(0, 8 * 480, 60)]))
    for tick, bpm in ((0, 90), (480, 91), (960, 60), (970, 140)):
        score.tempos.append(TempoTick(tick, bpm))
    assert text_of(TOKENIZER.encode(score)).startswith(
        "Bar_None TimeSig_4/4 Position_0 Tempo_91.51 Position_24 Tempo_138.42 Program_0"
    )


# -- Meters and bars -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meter", "normalized"),
    [
        ((4, 4), (4, 4)),
        ((6, 8), (6, 8)),
        ((2, 2), (4, 4)),
        ((3, 1), (12, 4)),
        ((6, 16), (3, 8)),
        ((3, 16), (3, 16)),
        ((24, 32), (6, 8)),
        ((4, 0), (4, 0)),
        ((4, -2), (4, -2)),
        ((0, 4), (0, 4)),
    ],
)
def test_meters_are_normalized_to_quarters_and_eighths(meter, normalized) -> None:
    assert normalize_time_signature(*meter) == normalized


@given(st.integers(1, 64), st.sampled_from([1, 2, 4, 8, 16, 32, 64]))
def test_a_normalized_meter_has_the_same_length(numerator, denominator) -> None:
    new = normalize_time_signature(numerator, denominator)
    assert new[0] * denominator == numerator * new[1]
    assert normalize_time_signature(*new) == new


def test_every_supported_meter_has_a_token() -> None:
    signatures = {name[8:] for name in TOKENIZER.token_names if name.startswith("TimeSig_")}
    known = {
        "{}/{}".format(*normalize_time_signature(n, d))
        for n in range(-1, 40)
        for d in (-4, 0, 1, 2, 3, 4, 8, 16, 32)
        if supports_time_signature(n, d)
    }
    assert known == signatures


def with_meters(score: ScoreTick, *meters: tuple[int, int, int]) -> ScoreTick:
    for meter in meters:
        score.time_signatures.append(TimeSignatureTick(*meter))
    return score


@pytest.mark.parametrize("meter", [(17, 8), (4, 1), (65, 16), (7, 32)], ids=str)
def test_a_meter_without_a_token_is_read_as_four_four(meter) -> None:
    score = piece(single([(0, 480, 60), (8 * 480, 480, 60)]))
    with_meters(score, (0, 3, 4), (3 * 480, *meter))
    assert meters_of(TOKENIZER.decode(TOKENIZER.encode(score))) == [(0, 3, 4), (3, 4, 4)]


# Time signatures in ticks of 480 per quarter; meters of the tokens in quarters.
RESTARTS = {
    "an odd bar between bars of 4/4": (
        [(0, 4, 4), (1920, 65, 16), (1920 + 1950, 4, 4)],
        [(0, 4, 4), (8, 1, 8), (8.5, 4, 4)],
    ),
    "a meter that is said again in mid-bar": (
        [(0, 4, 4), (3 * 480, 4, 4)],
        [(0, 3, 4), (3, 4, 4)],
    ),
    "a meter that is said again on a bar line": ([(0, 4, 4), (1920, 2, 2)], [(0, 4, 4)]),
    "a length without a meter": (
        [(0, 4, 4), (5 * 96, 3, 4), (5 * 96 + 100, 6, 8)],
        [(0, 1, 4), (1, 1, 8), (1.5, 6, 8)],
    ),
    "a bar shorter than the shortest meter": (
        [(0, 4, 4), (1920, 3, 4), (1920 + 60, 4, 4)],
        [(0, 4, 4), (4, 1, 8), (4.5, 4, 4)],
    ),
    "less than a position beside the bar line": (
        [(0, 4, 4), (1921, 4, 4), (3 * 1920 - 19, 4, 4)],
        [(0, 4, 4)],
    ),
}


@pytest.mark.parametrize("case", RESTARTS)
def test_a_bar_begins_at_every_time_signature(case: str) -> None:
    meters, expected = RESTARTS[case]
    last = meters[-1][0]
    score = with_meters(piece(single([(0, 240, 60), (last, 240, 62), (last + 480, 240, 64)])))
    back = TOKENIZER.decode(TOKENIZER.encode(with_meters(score, *meters)))
    assert meters_of(back) == expected
    if len(expected) > 1:
        begin = round(expected[-1][0] * back.ticks_per_quarter)
        onsets = [note.time - begin for note in back.tracks[0].notes][-2:]
        assert onsets == [0, back.ticks_per_quarter]


def test_a_bar_shortened_by_a_new_meter_keeps_its_length() -> None:
    notes = [(240 * eighth, 240, 60 + eighth % 5) for eighth in range(32)]
    score = piece(single(notes))
    for tick, meter in ((0, (6, 8)), (7 * 240, (2, 4)), (23 * 240, (6, 8))):
        score.time_signatures.append(TimeSignatureTick(tick, *meter))
    back = TOKENIZER.decode(TOKENIZER.encode(score))
    assert meters_of(back) == [(0, 6, 8), (3, 1, 8), (3.5, 2, 4), (11.5, 6, 8)]
    assert notes_of(back) == notes_of(score)


def test_of_two_meters_at_one_tick_the_last_one_counts() -> None:
    score = piece(single([(0, 480, 60)]))
    for meter in ((6, 8), (3, 16), (3, 4)):
        score.time_signatures.append(TimeSignatureTick(0, *meter))
    assert text_of(TOKENIZER.encode(score)).startswith("Bar_None TimeSig_3/4 Position_0")
    assert meters_of(TOKENIZER.decode(TOKENIZER.encode(score))) == [(0, 3, 4)]


@pytest.mark.parametrize("meter", METERS, ids=str)
def test_the_length_of_ids_is_that_of_their_bars(meter, invented) -> None:
    score = invented(meter=meter, bars=3)
    ids = TOKENIZER.pad_or_trim_bars(TOKENIZER.encode(score), 3, normalize_time_signature(*meter))
    expected = bar_starts(score)[-1] / score.ticks_per_quarter
    assert TOKENIZER.length_ticks(ids) == expected * TOKENIZER.ticks_per_quarter


def test_a_note_that_ends_on_a_bar_line_is_followed_by_an_empty_bar() -> None:
    assert text_of(TOKENIZER.encode(piece(single([(0, 4 * 480, 60)])))).endswith(
        "Duration_4.0.4 Bar_None TimeSig_4/4"
    )


def test_missing_bars_are_padded_with_empty_ones() -> None:
    bar = f"Bar_None TimeSig_4/4 Program_0 {NOTE}"
    filled = TOKENIZER.pad_or_trim_bars(ids_of(bar), 3, (3, 4))
    assert text_of(filled) == f"{bar} Bar_None TimeSig_3/4 Bar_None TimeSig_3/4"


def test_empty_bars_at_the_end_are_removed_first() -> None:
    bars = [f"Bar_None TimeSig_4/4 Program_{i} {NOTE}" for i in range(3)]
    empty = "Bar_None TimeSig_4/4"
    ids = ids_of(" ".join([*bars, empty, empty]))
    assert text_of(TOKENIZER.pad_or_trim_bars(ids, 4, (4, 4))) == " ".join([*bars, empty])
    assert text_of(TOKENIZER.pad_or_trim_bars(ids, 3, (4, 4))) == " ".join(bars)
    assert text_of(TOKENIZER.pad_or_trim_bars(ids, 2, (4, 4))) == " ".join(bars[1:])


# -- Vocabulary, fingerprint and file ------------------------------------------------------------


def test_names_and_ids_are_the_inverse_of_each_other() -> None:
    assert [TOKENIZER.ids[name] for name in TOKENIZER.token_names] == list(range(len(TOKENIZER)))
    special = (TOKENIZER.pad_id, TOKENIZER.bos_id, TOKENIZER.eos_id)
    assert [TOKENIZER.token_names[index] for index in special] == [
        "PAD_None",
        "BOS_None",
        "EOS_None",
    ]


def test_the_nearest_entry_is_the_upper_one_in_the_middle() -> None:
    table = np.array([1, 3, 10])
    values = np.array([-5, 1, 2, 3, 6, 7, 99])
    assert nearest_index(table, values).tolist() == [0, 0, 1, 1, 1, 2, 2]


def test_special_tokens_are_skipped() -> None:
    ids = ids_of(f"BOS_None Bar_None TimeSig_4/4 Program_9 {NOTE} EOS_None PAD_None")
    assert notes_of(TOKENIZER.decode(ids)) == [(9, 0, 1, 60)]


def test_the_fingerprint_is_constant() -> None:
    # A change makes every checkpoint unusable.
    assert TOKENIZER.fingerprint == "3d8650d5562d7a19"


def test_the_fingerprint_depends_on_names_order_and_version() -> None:
    names = TOKENIZER.token_names
    others = [fingerprint(names[::-1]), fingerprint(names[1:]), fingerprint(names, version=2)]
    assert len({TOKENIZER.fingerprint, *others}) == 4


def test_a_saved_tokenizer_is_loaded(tmp_path) -> None:
    TOKENIZER.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [TOKENIZER_FILE]
    assert MusicTokenizer.from_folder(tmp_path).fingerprint == TOKENIZER.fingerprint


def test_miditok_reads_the_saved_file(tmp_path, invented) -> None:
    TOKENIZER.save(tmp_path)
    remi = REMI(params=tmp_path / TOKENIZER_FILE)
    assert remi.vocab == dict(TOKENIZER.ids)
    score = invented(programs=(7,))
    names = remi.encode(score, encode_ids=False).tokens
    notes = [name for name in names if name.split("_")[0] in ("Pitch", "Duration")]
    assert notes == [
        name
        for name in text_of(TOKENIZER.encode(score)).split()
        if name.split("_")[0] in ("Pitch", "Duration")
    ]


def test_a_folder_without_a_tokenizer_is_refused(tmp_path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(CheckpointError, match=r"'empty' has no miditok_remi.json"):
        MusicTokenizer.from_folder(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("not json", "is not a tokenizer file"),
        ("list", "is not a tokenizer file"),
        ("kind", "is not a tokenizer file"),
        ("no entry", "is not a tokenizer file"),
        ("version", "has format 99; this version of musiclstm reads format 1"),
        ("fingerprint", "has other tokens .*'ffff'"),
    ],
)
def test_a_damaged_or_foreign_tokenizer_is_refused(damage, message, tmp_path) -> None:
    TOKENIZER.save(tmp_path)
    file = tmp_path / TOKENIZER_FILE
    good = json.loads(file.read_text())
    ours = good["musiclstm"]
    file.write_text(
        {
            "not json": "{",
            "list": "[1, 2]",
            "kind": json.dumps(good | {"tokenization": "TSD"}),
            "no entry": json.dumps({key: good[key] for key in ("config", "tokenization")}),
            "version": json.dumps(good | {"musiclstm": ours | {"format_version": 99}}),
            "fingerprint": json.dumps(good | {"musiclstm": ours | {"fingerprint": "ffff"}}),
        }[damage]
    )
    with pytest.raises(CheckpointError, match=message):
        MusicTokenizer.from_folder(tmp_path)


def test_a_track_may_hold_notes_of_any_velocity() -> None:
    score = piece(TrackTick("", 0, False))
    for tick, velocity in ((0, 1), (480, 127)):
        score.tracks[0].notes.append(NoteTick(tick, 480, 60, velocity))
    back = TOKENIZER.decode(TOKENIZER.encode(score))
    assert [note.velocity for note in back.tracks[0].notes] == [64, 64]
