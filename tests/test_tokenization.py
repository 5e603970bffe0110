"""Score to ids and back: nothing of the music is lost that the grid can hold."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from symusic.core import NoteTick, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

from musiclstm import CheckpointError, MusicTokenizer, ScoreError
from musiclstm.analysis import bar_starts
from musiclstm.tokenization import (
    DRUMS,
    POSITIONS_PER_BEAT,
    knows_meter,
    plain_meter,
    programs_of,
    relatives,
    with_programs,
)

GOLDEN = Path(__file__).parent / "data" / "golden"
METERS = [(4, 4), (3, 4), (5, 4), (2, 4), (6, 8), (9, 8), (7, 8), (2, 2), (3, 2), (3, 16)]


@pytest.fixture(scope="module")
def plain() -> MusicTokenizer:
    return MusicTokenizer()


def notes_of(score: ScoreTick) -> list[tuple]:
    """Every note as (program, beat, beats, pitch, velocity); -1 for drums."""
    tpq = score.ticks_per_quarter
    return sorted(
        (DRUMS if t.is_drum else t.program, n.time / tpq, n.duration / tpq, n.pitch, n.velocity)
        for t in score.tracks
        for n in t.notes
    )


def meters_of(score: ScoreTick) -> list[tuple]:
    tpq = score.ticks_per_quarter
    return [(s.time / tpq, s.numerator, s.denominator) for s in score.time_signatures]


def ids_of(tokenizer: MusicTokenizer, text: str) -> list[int]:
    names = {name: index for index, name in enumerate(tokenizer.base_tokens)}
    return [names[word] for word in text.split()]


def one_note(*, time: int = 0, duration: int = 480, program: int = 0) -> ScoreTick:
    score = ScoreTick(480)
    track = TrackTick("", program, False)
    track.notes.append(NoteTick(time, duration, 60, 79))
    score.tracks.append(track)
    return score


# -- There and back ------------------------------------------------------------------------------


@pytest.mark.parametrize("meter", METERS, ids=str)
@pytest.mark.parametrize("merged", [False, True], ids=["base", "merged"])
def test_tokens_survive_a_round_trip(meter, merged, plain, tiny_tokenizer, invented) -> None:
    tokenizer = tiny_tokenizer if merged else plain
    score = invented(meter=meter, programs=(0, 40, -1), bars=3)
    back = tokenizer.decode(tokenizer.encode(score))
    assert notes_of(back) == notes_of(score)
    assert meters_of(back) == [(0, *plain_meter(*meter))]


def test_tokens_survive_a_round_trip_through_midi(tiny_tokenizer, invented) -> None:
    score = invented(programs=(0, 40, -1), meter=(3, 4), tempo_bpm=90)
    ids = tiny_tokenizer.encode(score)
    file = bytes(tiny_tokenizer.decode(ids).dumps_midi())
    again = ScoreTick.from_midi(file)
    assert notes_of(again) == notes_of(score)
    assert tiny_tokenizer.encode(again) == ids


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.mid")), ids=lambda path: path.stem)
def test_a_golden_file_gives_its_golden_tokens(path, plain) -> None:
    # A new case is two files: a MIDI file, and its base tokens with one bar to a line.
    golden = path.with_suffix(".txt").read_text(encoding="utf-8")
    ids = plain.encode(ScoreTick.from_midi(path.read_bytes()))
    bars = " ".join(plain.expand(ids)).replace(" Bar_None", "\nBar_None")
    assert bars + "\n" == golden
    file = bytes(plain.decode(ids_of(plain, golden)).dumps_midi())
    assert plain.encode(ScoreTick.from_midi(file)) == ids


def test_there_are_golden_files() -> None:
    assert len(list(GOLDEN.glob("*.mid"))) >= 3


def test_any_resolution_comes_down_to_the_grid(plain, invented) -> None:
    expected = plain.encode(invented(ticks_per_quarter=480))
    for ticks_per_quarter in (96, 960, 48):
        assert plain.encode(invented(ticks_per_quarter=ticks_per_quarter)) == expected


def test_a_note_beside_the_grid_moves_to_the_nearest_place(plain) -> None:
    # A twelfth of a quarter is 40 ticks.
    back = plain.decode(plain.encode(one_note(time=480 + 77, duration=245)))
    assert notes_of(back) == [(0, 1 + 2 / 12, 6 / 12, 60, 79)]


def test_a_note_struck_twice_at_once_becomes_one(plain) -> None:
    score = one_note()
    score.tracks[0].notes.append(NoteTick(0, 480, 60, 79))
    assert notes_of(plain.decode(plain.encode(score))) == [(0, 0, 1, 60, 79)]


def test_encoding_leaves_the_score_as_it_is(plain, invented) -> None:
    score = invented(meter=(2, 2), programs=(0, -1))
    before = score.copy()
    plain.encode(score)
    with_programs(score, {0: 40})
    assert score == before


def test_a_score_in_quarters_or_seconds_will_do(plain, invented) -> None:
    score = invented()
    assert plain.encode(score.to("quarter")) == plain.encode(score)
    assert plain.encode(score.to("second")) == plain.encode(score)


def test_a_score_without_notes_is_refused(plain) -> None:
    empty = ScoreTick(480)
    empty.tempos.append(TempoTick(0, 90))
    unheard = ScoreTick(480)  # no drum kit has a drum on the highest key
    unheard.tracks.append(TrackTick("", 0, True))
    unheard.tracks[0].notes.append(NoteTick(0, 480, 127, 79))
    for score in (ScoreTick(480), empty, unheard):
        with pytest.raises(ScoreError, match="The score has no notes; give it at least one to go"):
            plain.encode(score)


def test_encoding_warns_of_nothing(plain) -> None:
    score = one_note()
    score.time_signatures.append(TimeSignatureTick(0, 17, 8))  # no token says it
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ids = plain.encode(score)
    assert notes_of(plain.decode(ids)) == notes_of(score)


# -- Tempo ---------------------------------------------------------------------------------------

NOTE = "Program_0 Pitch_60 Velocity_79 Duration_1.0.12"
TEMPO_CASES = [
    (f"Bar_None TimeSig_4/4 Position_0 {NOTE}", []),
    (f"Bar_None TimeSig_4/4 Position_0 Tempo_{{0}} {NOTE}", [(0, 0)]),
    (f"Bar_None TimeSig_4/4 Position_0 {NOTE} Position_12 Tempo_{{0}} {NOTE}", [(1, 0)]),
    (
        f"Bar_None TimeSig_4/4 Position_0 {NOTE} "
        f"Bar_None TimeSig_4/4 Position_0 Tempo_{{0}} {NOTE}",
        [(4, 0)],
    ),
    (
        f"Bar_None TimeSig_4/4 Position_0 Tempo_{{0}} {NOTE} "
        f"Bar_None TimeSig_4/4 Position_24 Tempo_{{1}} {NOTE}",
        [(0, 0), (6, 1)],
    ),
    ("Bar_None TimeSig_4/4 Bar_None TimeSig_4/4 Position_0 Tempo_{0}", [(4, 0)]),
]


@pytest.mark.parametrize(("text", "expected"), TEMPO_CASES)
def test_tempo_changes_are_those_the_ids_name_and_no_others(text, expected, plain) -> None:
    tempos = [name[6:] for name in plain.base_tokens if name.startswith("Tempo_")]
    said = (tempos[5], tempos[20])
    score = plain.decode(ids_of(plain, text.format(*said)))
    found = [(tempo.time / score.ticks_per_quarter, tempo.qpm) for tempo in score.tempos]
    assert [beat for beat, _ in found] == [beat for beat, _ in expected]
    for (_, bpm), (_, which) in zip(found, expected, strict=True):
        assert bpm == pytest.approx(float(said[which]), rel=1e-4)


def test_a_tempo_comes_back_nearly_as_it_was(plain, invented) -> None:
    for tempo_bpm in (60, 90, 120, 144):
        back = plain.decode(plain.encode(invented(tempo_bpm=tempo_bpm)))
        assert [tempo.time for tempo in back.tempos] == [0]
        assert back.tempos[0].qpm == pytest.approx(tempo_bpm, rel=0.04)


def test_a_tempo_change_in_a_later_bar_comes_back(plain, invented) -> None:
    score = invented(bars=3)
    score.tempos.append(TempoTick(2 * 4 * 480, 60))
    back = plain.decode(plain.encode(score))
    assert [tempo.time / back.ticks_per_quarter for tempo in back.tempos] == [0, 8]


# -- Meters and bars -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meter", "plain_one"),
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
def test_a_plain_meter_is_as_long_and_fine_enough_for_sixteenths(meter, plain_one) -> None:
    assert plain_meter(*meter) == plain_one


@given(st.integers(1, 64), st.sampled_from([1, 2, 4, 8, 16, 32, 64]))
def test_a_plain_meter_has_the_same_length_and_stays_plain(numerator, denominator) -> None:
    new = plain_meter(numerator, denominator)
    assert new[0] * denominator == numerator * new[1]
    assert plain_meter(*new) == new


@pytest.mark.parametrize(
    ("meter", "known"),
    [
        ((4, 4), True),
        ((12, 8), True),
        ((2, 2), True),
        ((15, 16), True),
        ((17, 8), False),
        ((16, 4), False),
        ((4, 3), False),
        ((4, 0), False),
        ((0, 4), False),
        ((-4, 4), False),
    ],
)
def test_some_meters_can_be_said_and_some_cannot(meter, known) -> None:
    assert knows_meter(*meter) is known


def test_every_meter_that_can_be_said_has_a_token(plain) -> None:
    signatures = {name[8:] for name in plain.base_tokens if name.startswith("TimeSig_")}
    sayable = {
        "{}/{}".format(*plain_meter(n, d))
        for n in range(40)
        for d in (1, 2, 4, 8, 16, 32)
        if knows_meter(n, d)
    }
    assert sayable == signatures


@pytest.mark.parametrize("meter", METERS, ids=str)
def test_the_length_of_ids_is_that_of_their_bars(meter, plain, invented) -> None:
    score = invented(meter=meter, bars=3)
    ids = plain.with_bars(plain.encode_base(score), 3, plain_meter(*meter))
    expected = bar_starts(score)[-1] / score.ticks_per_quarter
    assert plain.length_ticks(ids) == expected * plain.ticks_per_quarter


def test_bars_of_different_meters_add_up(plain) -> None:
    ids = ids_of(plain, "Bar_None TimeSig_4/4 Bar_None TimeSig_6/8 Bar_None TimeSig_3/16")
    assert plain.length_ticks(ids) == (4 + 3 + 0.75) * plain.ticks_per_quarter
    assert plain.length_ticks([]) == 0


def test_missing_bars_are_filled_up_with_empty_ones(plain) -> None:
    bar = f"Bar_None TimeSig_4/4 Position_0 {NOTE}"
    filled = plain.with_bars(ids_of(plain, bar), 3, (3, 4))
    empty = "Bar_None TimeSig_3/4 Bar_None TimeSig_3/4"
    assert plain.expand(filled) == f"{bar} {empty}".split()


def test_empty_bars_at_the_end_are_cut_off_first(plain) -> None:
    bars = [f"Bar_None TimeSig_4/4 Position_{i} {NOTE}" for i in range(3)]
    empty = "Bar_None TimeSig_4/4"
    ids = ids_of(plain, " ".join([*bars, empty, empty]))
    assert plain.expand(plain.with_bars(ids, 4, (4, 4))) == " ".join([*bars, empty]).split()
    assert plain.expand(plain.with_bars(ids, 3, (4, 4))) == " ".join(bars).split()


def test_of_too_many_bars_the_last_ones_stay(plain) -> None:
    bars = [f"Bar_None TimeSig_4/4 Position_{i} {NOTE}" for i in range(3)]
    ids = ids_of(plain, " ".join(bars))
    assert plain.expand(plain.with_bars(ids, 2, (4, 4))) == " ".join(bars[1:]).split()


# -- Merges --------------------------------------------------------------------------------------


def test_merges_make_it_shorter_and_say_the_same(plain, tiny_tokenizer, invented) -> None:
    score = invented(bars=8, programs=(0, 40))
    assert len(tiny_tokenizer) == len(plain) + 100
    merged, base = tiny_tokenizer.encode(score), plain.encode(score)
    assert len(merged) < 0.8 * len(base)
    assert tiny_tokenizer.expand(merged) == plain.expand(base)
    assert tiny_tokenizer.base_tokens == plain.base_tokens


def test_no_merge_crosses_a_bar_line(tiny_tokenizer) -> None:
    for part in tiny_tokenizer.parts:
        assert "Bar_None" not in part[1:]
    assert any(len(part) > 2 and part[0] == "Bar_None" for part in tiny_tokenizer.parts)


def test_special_tokens_are_never_merged(tiny_tokenizer) -> None:
    special = {"PAD_None", "BOS_None", "EOS_None"}
    assert [part for part in tiny_tokenizer.parts if special & set(part)] == [
        ("PAD_None",),
        ("BOS_None",),
        ("EOS_None",),
    ]
    assert (tiny_tokenizer.pad_id, tiny_tokenizer.bos_id, tiny_tokenizer.eos_id) == (0, 1, 2)


def test_bars_are_compressed_one_by_one(tiny_tokenizer, invented) -> None:
    base = tiny_tokenizer.encode_base(invented(bars=3))
    starts = [i for i, name in enumerate(tiny_tokenizer.expand(base)) if name == "Bar_None"]
    bars = [base[a:b] for a, b in zip(starts, [*starts[1:], None], strict=True)]
    one_by_one = [index for bar in bars for index in tiny_tokenizer.compress(bar)]
    assert tiny_tokenizer.compress(base) == one_by_one


def test_many_pieces_are_compressed_as_each_alone(tiny_tokenizer, plain, invented) -> None:
    pieces = [np.array(plain.encode_base(invented(seed=seed)), np.uint16) for seed in range(4)]
    for tokenizer in (tiny_tokenizer, plain):
        together = tokenizer.compress_many(pieces)
        assert together == [tokenizer.compress(piece) for piece in pieces]
        assert [tokenizer.expand(ids) for ids in together] == [
            plain.expand(piece) for piece in pieces
        ]


def test_no_tokens_compress_to_none(tiny_tokenizer, plain) -> None:
    assert tiny_tokenizer.compress([]) == plain.compress([]) == []
    assert tiny_tokenizer.compress_many([]) == []


def test_a_small_vocabulary_learns_nothing(invented) -> None:
    tokenizer = MusicTokenizer()
    before = tokenizer.fingerprint
    tokenizer.learn_merges([tokenizer.encode_base(invented())], len(tokenizer))
    assert tokenizer.fingerprint == before


def test_a_small_corpus_gives_a_smaller_vocabulary() -> None:
    tokenizer = MusicTokenizer()
    size = len(tokenizer)
    tokenizer.learn_merges([tokenizer.encode_base(one_note())], size + 10_000)
    assert size < len(tokenizer) < size + 10


# -- Fingerprint and files -----------------------------------------------------------------------


def test_the_fingerprint_of_our_grid_does_not_change_unnoticed(plain) -> None:
    # Weights are tied to it: where this test fails, every checkpoint needs training anew.
    assert plain.fingerprint == "6bb37793c3090966"


def test_merges_change_the_fingerprint(plain, tiny_tokenizer, invented) -> None:
    other = MusicTokenizer()
    other.learn_merges([other.encode_base(invented(seed=9, bars=12))], len(tiny_tokenizer))
    assert len({plain.fingerprint, tiny_tokenizer.fingerprint, other.fingerprint}) == 3


def test_a_saved_tokenizer_comes_back(tiny_tokenizer, plain, invented, tmp_path) -> None:
    score = invented(programs=(0, -1), seed=5)
    for tokenizer in (tiny_tokenizer, plain):
        tokenizer.save(tmp_path)
        back = MusicTokenizer.from_folder(tmp_path)
        assert back.fingerprint == tokenizer.fingerprint
        assert back.parts == tokenizer.parts
        assert len(back) == len(tokenizer)
        ids = back.encode(score)
        assert ids == tokenizer.encode(score)
        assert notes_of(back.decode(ids)) == notes_of(score)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(CheckpointError) as refusal:
        MusicTokenizer.from_folder(folder)
    assert str(refusal.value) == (
        "'empty' has no tokenizer.json; a checkpoint folder needs it beside the weights. "
        "Pass a folder that training.finetune wrote."
    )


@pytest.mark.parametrize("damage", ["not json", "list", "other", "kind", "merges"])
def test_a_damaged_tokenizer_is_refused(damage, tiny_tokenizer, tmp_path) -> None:
    tiny_tokenizer.save(tmp_path)
    file = tmp_path / "tokenizer.json"
    good = json.loads(file.read_text())
    file.write_text(
        {
            "not json": "{",
            "list": "[1, 2]",
            "other": json.dumps({"version": "1.0", "model": {"type": "BPE"}}),
            "kind": json.dumps(good | {"tokenization": "TSD"}),
            "merges": json.dumps(good | {"_model": "{}"}),
        }[damage]
    )
    with pytest.raises(CheckpointError, match="is not a REMI tokenizer of MidiTok; take the file"):
        MusicTokenizer.from_folder(tmp_path)


# -- What ids mean -------------------------------------------------------------------------------


def test_ids_expand_to_their_base_tokens(tiny_tokenizer) -> None:
    index, part = next(
        (index, part) for index, part in enumerate(tiny_tokenizer.parts) if len(part) > 1
    )
    assert tiny_tokenizer.expand([index, 0, index]) == [*part, "PAD_None", *part]


def test_special_tokens_do_not_sound(plain) -> None:
    ids = ids_of(plain, f"BOS_None Bar_None TimeSig_4/4 Position_12 {NOTE} EOS_None PAD_None")
    assert notes_of(plain.decode(ids)) == [(0, 1, 1, 60, 79)]


def test_no_ids_are_an_empty_score(plain) -> None:
    score = plain.decode([])
    assert score.note_num() == 0
    assert len(score.tempos) == 0


def test_decoding_leaves_the_ids_as_they_are(plain, invented) -> None:
    ids = plain.encode(invented())
    kept = list(ids)
    plain.decode(ids)
    assert ids == kept


def test_drums_are_drums_again(plain) -> None:
    score = ScoreTick(480)
    kit = TrackTick("Kit", 0, True)
    kit.notes.append(NoteTick(0, 480, 36, 79))
    score.tracks.append(kit)
    ids = plain.encode(score)
    assert "PitchDrum_36" in plain.expand(ids)
    assert [track.is_drum for track in plain.decode(ids).tracks] == [True]


def test_decoded_ticks_are_fine_enough_for_every_beat(plain) -> None:
    for denominator in (4, 8, 16):
        assert plain.ticks_per_quarter * 4 % (denominator * POSITIONS_PER_BEAT) == 0


# -- Relatives -----------------------------------------------------------------------------------


def test_a_trained_program_stands_for_itself() -> None:
    assert relatives([0, 40, DRUMS], [0, 40, DRUMS]) == {0: 0, 40: 40, DRUMS: DRUMS}
    assert relatives([0, 40, DRUMS], None) == {0: 0, 40: 40, DRUMS: DRUMS}


def test_the_nearest_of_the_family_comes_first() -> None:
    assert relatives([19], [16, 20, 24]) == {19: 20}
    assert relatives([23], [16, 24]) == {23: 16}  # 24 is nearer, but a guitar
    assert relatives([23], [0, 24]) == {23: 24}


def test_one_that_nobody_else_uses_comes_first() -> None:
    assert relatives([40, 41], [40, 60]) == {40: 40, 41: 60}
    assert relatives([40, 41], [40]) == {40: 40, 41: 40}


def test_drums_stand_for_drums_only() -> None:
    assert relatives([DRUMS, 5], [0]) == {DRUMS: DRUMS, 5: 0}
    assert relatives([5], [DRUMS]) == {5: 5}


PROGRAMS = st.sets(st.integers(-1, 127), max_size=20)


@given(PROGRAMS, st.sets(st.integers(-1, 127), min_size=1))
def test_stand_ins_are_trained_and_differ_where_there_are_enough(wanted, trained) -> None:
    chosen = relatives(wanted, trained)
    pitched = {program: stand_in for program, stand_in in chosen.items() if program != DRUMS}
    assert chosen.keys() == wanted
    assert chosen.get(DRUMS, DRUMS) == DRUMS
    assert all(chosen[program] == program for program in wanted & trained)
    available = trained - {DRUMS}
    if available:
        assert set(pitched.values()) <= available
    if len(available) >= len(pitched):
        assert len(set(pitched.values())) == len(pitched)


def test_programs_change_and_drums_and_notes_stay(invented) -> None:
    score = invented(programs=(0, 40, -1))
    moved = with_programs(score, {0: 19, DRUMS: 7})
    assert [(t.program, t.is_drum) for t in moved.tracks] == [(19, False), (40, False), (0, True)]
    assert [track.notes for track in moved.tracks] == [track.notes for track in score.tracks]


def test_only_tracks_with_notes_have_a_program(invented) -> None:
    score = invented(programs=(0, -1))
    score.tracks.append(TrackTick("silent", 60, False))
    assert programs_of(score) == {0, DRUMS}
