"""Parts are tracks: their order, their blocks, and what comes back of them."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from symusic.core import ScoreTick, TempoTick, TrackTick

from musiclstm import ScoreError
from musiclstm.tokens import DRUMS, MAX_TRACKS_PER_PROGRAM, MusicTokenizer, PartName
from tests.tokens.reference import notes_of, piece, scores, single

TOKENIZER = MusicTokenizer()
BEAT, BAR = 480, 4 * 480


def text_of(score: ScoreTick, **options) -> list[str]:
    """The stream as one string per bar, without pitches' and positions' bar heads."""
    names = " ".join(TOKENIZER.token_names[index] for index in TOKENIZER.encode(score, **options))
    head = "TimeSig_4/4 Position_0 Tempo_122.99"
    bars = names.replace(head, "TimeSig_4/4").split("Bar_None TimeSig_4/4")[1:]
    return [bar.strip() for bar in bars]


def ids_of(text: str) -> list[int]:
    return [TOKENIZER.ids[name] for name in text.split()]


def by_part(score: ScoreTick, order: list[list[int]]) -> dict[PartName, list[tuple]]:
    """Beat, beats and pitch of the notes of each part, repeated notes left out."""
    parts = TOKENIZER.parts(score, order)
    tpq = score.ticks_per_quarter
    return {
        part: sorted(
            {
                (n.time / tpq, n.duration / tpq, n.pitch)
                for i in members
                for n in score.tracks[i].notes
            }
        )
        for part, members in zip(parts, order, strict=True)
    }


# -- The stream ----------------------------------------------------------------------------------


def test_a_bar_stands_part_by_part_from_the_top_with_drums_last() -> None:
    score = piece(
        single([(0, BEAT, 36), (BEAT, BEAT, 38)], program=DRUMS),
        single([(0, 2 * BEAT, 40)], program=32),
        single([(0, BEAT, 76), (0, BEAT, 72), (BEAT, 240, 74)], program=40),
    )
    assert text_of(score) == [
        "Program_40 Position_0 Pitch_72 Duration_1.0.12 Pitch_76 Duration_1.0.12 "
        "Position_12 Pitch_74 Duration_0.6.12 "
        "Program_32 Position_0 Pitch_40 Duration_2.0.12 "
        "Program_-1 Position_0 PitchDrum_36 Duration_1.0.12 Position_12 PitchDrum_38 "
        "Duration_1.0.12"
    ]


def test_every_bar_names_its_parts_anew() -> None:
    score = piece(single([(0, BEAT, 60), (BAR, BEAT, 62)]))
    assert text_of(score) == [
        "Program_0 Position_0 Pitch_60 Duration_1.0.12",
        "Program_0 Position_0 Pitch_62 Duration_1.0.12",
    ]


def test_tracks_of_one_program_are_blocks_of_their_own() -> None:
    score = piece(single([(0, BEAT, 48)]), single([(0, BEAT, 72)]))
    assert text_of(score) == [
        "Program_0 Position_0 Pitch_72 Duration_1.0.12 "
        "Program_0 Position_0 Pitch_48 Duration_1.0.12"
    ]


def test_an_empty_block_stands_for_a_track_that_rests_before_a_later_one_of_its_program() -> None:
    score = piece(
        single([(0, BEAT, 80)], program=40),
        single([(BAR, BEAT, 70)], program=40),
        single([(0, BEAT, 60), (2 * BAR, BEAT, 60)], program=40),
        single([(BAR, BEAT, 50)], program=50),
    )
    high, middle, low = (f"Position_0 Pitch_{pitch} Duration_1.0.12" for pitch in (80, 70, 60))
    assert text_of(score) == [
        f"Program_40 {high} Program_40 Program_40 {low}",
        f"Program_40 Program_40 {middle} Program_50 Position_0 Pitch_50 Duration_1.0.12",
        f"Program_40 Program_40 Program_40 {low}",
    ]


def test_equal_notes_on_two_tracks_stay_two_and_on_one_track_become_the_longest() -> None:
    score = piece(single([(0, BEAT, 60), (0, 2 * BEAT, 60), (0, 240, 60)]), single([(0, BEAT, 60)]))
    assert text_of(score) == [
        "Program_0 Position_0 Pitch_60 Duration_2.0.12 "
        "Program_0 Position_0 Pitch_60 Duration_1.0.12"
    ]
    assert text_of(score, merge_tracks=True) == ["Program_0 Position_0 Pitch_60 Duration_2.0.12"]


def test_tempos_stand_before_all_parts() -> None:
    score = piece(single([(0, BEAT, 60)]))
    score.tempos.append(TempoTick(0, 60))
    score.tempos.append(TempoTick(2 * BEAT, 120))
    names = " ".join(TOKENIZER.token_names[index] for index in TOKENIZER.encode(score))
    assert names == (
        "Bar_None TimeSig_4/4 Position_0 Tempo_60.5 Position_24 Tempo_122.99 "
        "Program_0 Position_0 Pitch_60 Duration_1.0.12"
    )


# -- The order of parts --------------------------------------------------------------------------


def test_parts_stand_by_mean_pitch_and_drums_are_one_part_at_the_end() -> None:
    score = piece(
        single([(0, BEAT, 80)], program=DRUMS),
        single([(0, BEAT, 40), (0, BEAT, 50)], program=33),
        TrackTick("silent", 7, False),
        single([(0, BEAT, 90), (BEAT, BEAT, 30)], program=5),
        single([(0, BEAT, 35)], program=DRUMS),
    )
    order = TOKENIZER.part_order(score)
    assert order == [[3], [1], [0, 4]]
    assert TOKENIZER.parts(score) == [PartName(5, 0), PartName(33, 0), PartName(DRUMS, 0)]


def test_of_two_parts_at_one_mean_pitch_the_one_with_more_notes_comes_first() -> None:
    few, many = [(0, BEAT, 60)], [(0, BEAT, 59), (BEAT, BEAT, 61)]
    assert TOKENIZER.part_order(piece(single(few), single(many))) == [[1], [0]]
    assert TOKENIZER.part_order(piece(single(few), single(few))) == [[0], [1]]
    assert TOKENIZER.part_order(piece(single(few, program=9), single(few, program=8))) == [[1], [0]]


def test_repeated_notes_do_not_weigh_twice() -> None:
    doubled = single([(0, BEAT, 80), (0, BEAT, 80), (0, BEAT, 80), (BEAT, BEAT, 40)], program=1)
    assert TOKENIZER.part_order(piece(doubled, single([(0, BEAT, 65)]))) == [[1], [0]]


def test_tracks_beyond_the_eighth_of_a_program_join_the_eighth() -> None:
    tracks = [single([(0, BEAT, 90 - 2 * index)]) for index in range(10)]
    score = piece(*tracks, single([(0, BEAT, 75)], program=1))
    order = TOKENIZER.part_order(score)
    assert order == [[0], [1], [2], [3], [4], [5], [6], [10], [7, 8, 9]]
    assert TOKENIZER.parts(score)[-1] == PartName(0, MAX_TRACKS_PER_PROGRAM - 1)
    assert notes_of(TOKENIZER.decode(TOKENIZER.encode(score))) == notes_of(score)


def test_merged_tracks_of_a_program_are_one_part_at_their_common_mean() -> None:
    score = piece(
        single([(0, BEAT, 80)]), single([(0, BEAT, 60)], program=9), single([(BEAT, BEAT, 20)])
    )
    assert TOKENIZER.part_order(score, merge_tracks=True) == [[1], [0, 2]]
    assert text_of(score, merge_tracks=True) == [
        "Program_9 Position_0 Pitch_60 Duration_1.0.12 "
        "Program_0 Position_0 Pitch_80 Duration_1.0.12 Position_12 Pitch_20 Duration_1.0.12"
    ]


def test_another_order_numbers_the_tracks_in_that_order() -> None:
    score = piece(
        single([(0, BEAT, 80)]), single([(0, BEAT, 60)], program=9), single([(0, BEAT, 20)])
    )
    order = [[2], [1], [0]]
    assert TOKENIZER.parts(score, order) == [PartName(0, 0), PartName(9, 0), PartName(0, 1)]
    low, middle, high = (f"Position_0 Pitch_{pitch} Duration_1.0.12" for pitch in (20, 60, 80))
    assert text_of(score, order=order) == [f"Program_0 {low} Program_9 {middle} Program_0 {high}"]
    assert text_of(score, order=order, merge_tracks=True) == [
        f"Program_0 {low} Pitch_80 Duration_1.0.12 Program_9 {middle}"
    ]


def test_tracks_that_are_not_in_the_order_are_omitted() -> None:
    score = piece(single([(0, BEAT, 80)]), single([(0, 4 * BAR, 60)], program=9))
    assert text_of(score, order=[[0]]) == ["Program_0 Position_0 Pitch_80 Duration_1.0.12"]
    with pytest.raises(ScoreError, match="no notes"):
        TOKENIZER.encode(score, order=[])


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ([[0, 1]], "tracks of one program"),
        ([[]], "tracks of one program"),
        ([[0], [0]], "contains one twice"),
        ([[13]], "unknown track; the score has 13"),
        ([[-1]], "unknown track; the score has 13"),
        ([[2], [3]], "Program -1 has 2 parts; at most 1"),
        ([[index] for index in range(4, 13)], "Program 7 has 9 parts; at most 8"),
    ],
)
def test_an_impossible_order_is_refused(order, message) -> None:
    note = [(0, BEAT, 60)]
    programs = (0, 1, DRUMS, DRUMS, *[7] * 9)
    score = piece(*(single(note, program=program) for program in programs))
    with pytest.raises(ValueError, match=message):
        TOKENIZER.encode(score, order=order)


# -- Decoding ------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(scores(max_tracks=9), st.randoms(use_true_random=False))
def test_tracks_stay_separate_in_any_order(score, rng) -> None:
    order = TOKENIZER.part_order(score)
    rng.shuffle(order)
    ids = TOKENIZER.encode(score, order=order)
    back = TOKENIZER.decode(ids)
    found = dict(zip(TOKENIZER.parts_in(ids), back.tracks, strict=True))
    expected = by_part(score, order)
    assert found.keys() == expected.keys()
    for part, track in found.items():
        single_part = TOKENIZER.encode(score, order=[order[list(expected).index(part)]])
        alone = TOKENIZER.decode(single_part).tracks[0]
        assert list(track.notes) == list(alone.notes)
        assert (track.program, track.is_drum) == (max(part.program, 0), part.program == DRUMS)


def test_each_track_is_decoded_with_its_notes() -> None:
    score = piece(
        single([(0, BEAT, 80), (BAR, BEAT, 81)], program=40),
        single([(0, BEAT, 70), (2 * BAR, BEAT, 60)], program=40),
        single([(BEAT, BEAT, 65)], program=41),
        single([(0, BEAT, 36)], program=DRUMS),
    )
    ids = TOKENIZER.encode(score)
    back = TOKENIZER.decode(ids)
    assert by_part(back, [[0], [1], [2], [3]]) == by_part(score, [[0], [1], [2], [3]])
    assert TOKENIZER.parts_in(ids) == [
        PartName(40, 0),
        PartName(40, 1),
        PartName(41, 0),
        PartName(DRUMS, 0),
    ]


def test_a_part_of_empty_blocks_is_a_track_without_notes() -> None:
    ids = ids_of("Bar_None TimeSig_4/4 Program_40 Program_40 Position_0 Pitch_60 Duration_1.0.12")
    assert [len(track.notes) for track in TOKENIZER.decode(ids).tracks] == [0, 1]
    assert TOKENIZER.parts_in(ids) == [PartName(40, 0), PartName(40, 1)]


def test_blocks_are_counted_in_every_bar() -> None:
    note = "Position_0 Pitch_60 Duration_1.0.12"
    bar = f"Bar_None TimeSig_4/4 Program_9 {note} Program_9 {note} Program_9 {note}"
    ids = ids_of(f"{bar} Bar_None TimeSig_4/4 Program_9 {note} {bar}")
    back = TOKENIZER.decode(ids)
    starts = [[note.time // TOKENIZER.ticks_per_quarter for note in t.notes] for t in back.tracks]
    assert starts == [[0, 4, 8], [0, 8], [0, 8]]


def test_blocks_beyond_the_eighth_belong_to_the_eighth_and_drums_are_one() -> None:
    block = "Program_9 Position_0 Pitch_60 Duration_1.0.12 "
    drums = "Program_-1 Position_0 PitchDrum_36 Duration_1.0.12 "
    ids = ids_of("Bar_None TimeSig_4/4 " + 10 * block + 2 * drums)
    assert [len(track.notes) for track in TOKENIZER.decode(ids).tracks] == [*[1] * 7, 3, 2]
    assert TOKENIZER.parts_in(ids)[-2:] == [PartName(9, 7), PartName(DRUMS, 0)]


def test_notes_before_any_program_belong_to_a_piano() -> None:
    ids = ids_of("Bar_None Position_0 Pitch_60 Duration_1.0.12 Program_9 Pitch_61 Duration_1.0.12")
    assert TOKENIZER.parts_in(ids) == [PartName(0, 0), PartName(9, 0)]
    assert [[n.pitch for n in track.notes] for track in TOKENIZER.decode(ids).tracks] == [
        [60],
        [61],
    ]


def test_an_empty_stream_has_no_parts() -> None:
    assert TOKENIZER.parts_in([]) == []
    assert len(TOKENIZER.decode([]).tracks) == 0
