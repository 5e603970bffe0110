"""`Composer.regenerate` and `Composer.accompany`: what is kept, what is new, what is refused."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from symusic.core import (
    ControlChangeTick,
    NoteTick,
    PitchBendTick,
    ScoreTick,
    TempoTick,
    TimeSignatureTick,
    TrackTick,
)

from musiclstm import Constraints, Sampling, ScoreError, example_files, read_midi
from musiclstm.midi import bar_starts
from musiclstm.tokens import DRUMS, program_of

SEEDED = Sampling(seed=5, candidates=2)


def band(ticks_per_quarter: int = 480) -> ScoreTick:
    """Return ten bars for two violins, bass and two drum tracks.

    The meter changes in bars 4, 6 and 9, the tempo in bar 5. Notes sound across bar lines, the bass
    has a pedal, bends and a volume, and all rest in bar 7.
    """
    beat = ticks_per_quarter
    score = ScoreTick(ticks_per_quarter)
    bars, at, starts = [4, 4, 4, 3, 3, 4, 4, 4, 2, 2], 0, []
    for number, beats in enumerate(bars):
        if number in (0, 3, 5, 8):
            score.time_signatures.append(TimeSignatureTick(at, beats, 4))
        starts.append(at)
        at += beats * beat
    score.tempos.extend([TempoTick(0, 97.3), TempoTick(starts[4], 61.7)])
    for name, program, is_drum, pitch in [
        ("High", 40, False, 84),
        ("Low", 40, False, 57),
        ("Bass", 33, False, 36),
        ("Kit", 0, True, 38),
        ("Cymbals", 0, True, 49),
    ]:
        track = TrackTick(name, program, is_drum)
        for number, beats in enumerate(bars):
            for i in range(0 if number == 6 else beats):
                is_long = i == beats - 1 and number < 9
                length = 3 * beat if is_long else beat - 7
                time = starts[number] + i * beat
                key = pitch + (5 + number % 2 if is_long else i % 3)
                track.notes.append(NoteTick(time, length, key, 50 + 7 * i))
        score.tracks.append(track)
    bass = score.tracks[2]
    for time, number, value in [(0, 7, 90), (3, 64, 127), (starts[7] + 5, 64, 0)]:
        bass.controls.append(ControlChangeTick(time, number, value))
    bass.pitch_bends.extend([PitchBendTick(starts[1], 700), PitchBendTick(starts[9], 0)])
    return score


def notes_of(score: ScoreTick, track: int, start: int = 0, end: int | None = None) -> list[tuple]:
    """Return onset and length in quarters, pitch and velocity of the notes outside [start, end)."""
    quarter = score.ticks_per_quarter
    return sorted(
        (Fraction(n.time, quarter), Fraction(n.duration, quarter), n.pitch, n.velocity)
        for n in score.tracks[track].notes
        if end is None or not start <= n.time < end
    )


def events_of(score: ScoreTick) -> list[list[tuple]]:
    """Return tempos and meters."""
    quarter = score.ticks_per_quarter
    return [
        [(Fraction(t.time, quarter), t.mspq) for t in score.tempos],
        [(Fraction(m.time, quarter), m.numerator, m.denominator) for m in score.time_signatures],
    ]


def controls_of(score: ScoreTick, track: int) -> list[tuple]:
    quarter, own = score.ticks_per_quarter, score.tracks[track]
    return [(Fraction(c.time, quarter), c.number, c.value) for c in own.controls] + [
        (Fraction(b.time, quarter), -1, b.value) for b in own.pitch_bends
    ]


def assert_kept(before: ScoreTick, piece, chosen: set[int]) -> None:
    """Check everything that is kept, in the score and in its MIDI file."""
    scores = [piece.score]
    if all(len(track.notes) for track in piece.score.tracks):  # a reader drops empty tracks
        scores.append(read_midi(piece.to_midi())[0])
    span = piece.start_tick, piece.end_tick
    for after in scores:
        assert events_of(after) == events_of(before)
        scale = after.ticks_per_quarter // before.ticks_per_quarter
        for index, track in enumerate(before.tracks):
            own = after.tracks[index]
            assert (own.name, program_of(own)) == (track.name, program_of(track))
            if index in chosen:
                outside = notes_of(before, index, *(tick // scale for tick in span))
                assert notes_of(after, index, *span) == outside
            else:
                assert notes_of(after, index) == notes_of(before, index)
                assert controls_of(after, index) == controls_of(before, index)


PIECES = [band(), band(96), band(120), *(read_midi(file)[0] for file in example_files().values())]


@settings(max_examples=25)
@given(data=st.data())
def test_what_is_not_chosen_stays_note_for_note(data, tiny_composer) -> None:
    score = data.draw(st.sampled_from(PIECES))
    count, tracks = len(bar_starts(score)) - 1, len(score.tracks)
    first = data.draw(st.integers(1, count))
    last = data.draw(st.integers(first, count))
    is_drum = [track.is_drum for track in score.tracks]
    choice = data.draw(st.sets(st.integers(0, tracks - 1), min_size=1))
    if any(is_drum[index] for index in choice):
        choice |= {index for index in range(tracks) if is_drum[index]}
    if len(choice) == tracks and last - first + 1 == count:
        return
    piece = tiny_composer.regenerate(
        score,
        bars=(first, last),
        parts=[index + 1 for index in choice],
        sampling=SEEDED,
    )
    assert_kept(score, piece, choice)
    assert (piece.bars, piece.new_tracks) == ((first, last), tuple(sorted(choice)))
    for index in choice:
        new = [n for n in piece.score.tracks[index].notes
               if piece.start_tick <= n.time < piece.end_tick]  # fmt: skip
        assert all(note.end <= piece.end_tick for note in new)


def test_the_chosen_part_is_new_and_the_seed_decides(tiny_composer) -> None:
    def bass(seed: int, candidates: int = 2) -> list[tuple]:
        sampling = Sampling(seed=seed, candidates=candidates)
        piece = tiny_composer.regenerate(band(), bars=(2, 5), parts="bass", sampling=sampling)
        assert piece.seed == seed
        return notes_of(piece.score, 2)

    assert bass(1) == bass(1)
    assert len({tuple(bass(seed)) for seed in range(3)} | {tuple(notes_of(band(), 2))}) == 4
    assert bass(1, candidates=1) != bass(2, candidates=1)


def test_the_same_score_bytes_and_piece_can_be_edited(tiny_composer, tmp_path) -> None:
    arguments = {"bars": (2, 3), "parts": [2], "sampling": SEEDED}
    piece = tiny_composer.regenerate(band(), **arguments)
    data = bytes(band().dumps_midi())
    assert tiny_composer.regenerate(data, **arguments).to_midi() == piece.to_midi()
    again = tiny_composer.regenerate(piece, bars=(4, 4), parts=["Low"], sampling=SEEDED)
    both = [notes_of(each.score, 1, again.start_tick, again.end_tick) for each in (again, piece)]
    assert both[0] == both[1]
    assert piece.save_midi(tmp_path / "a.mid").read_bytes() == piece.to_midi()
    composed = tiny_composer.compose(bars=4, constraints=Constraints(programs={0, 40, 33}))
    assert tiny_composer.regenerate(composed, bars=(2, 2)).bars == (2, 2)


@pytest.mark.parametrize("bars", [(1, 2), (9, 10), (1, 1), (7, 7)])
def test_a_part_without_notes_before_or_after_can_be_composed(bars, tiny_composer) -> None:
    piece = tiny_composer.regenerate(band(), bars=bars, sampling=SEEDED)
    assert_kept(band(), piece, {0, 1, 2, 3, 4})


def test_new_notes_follow_the_constraints(tiny_composer) -> None:
    constraints = Constraints(key="Db major", pitch_ranges={33: (30, 50)}, notes_per_bar=(9, 40))
    piece = tiny_composer.regenerate(
        band(), bars=(1, 10), parts=["Bass"], constraints=constraints, sampling=SEEDED
    )
    new = piece.score.tracks[2].notes
    assert len(new) == piece.new_notes > 0
    assert {n.pitch % 12 for n in new} <= {1, 3, 5, 6, 8, 10, 0}
    assert all(30 <= note.pitch <= 50 for note in new)
    lines = bar_starts(piece.score)
    starts = [n.time for track in piece.score.tracks for n in track.notes]
    counts = [sum(a <= t < b for t in starts) for a, b in pairwise(lines)]
    assert min(counts) >= 9


def test_new_notes_are_as_loud_as_their_part(tiny_composer) -> None:
    score = band()
    for note in score.tracks[1].notes:
        note.velocity = 31
    piece = tiny_composer.regenerate(score, bars=(2, 6), parts=["Low"], sampling=SEEDED)
    assert piece.new_notes
    assert {n.velocity for n in piece.score.tracks[1].notes} == {31}


def test_pedal_and_bend_of_the_part_are_neutral_between_and_restored(tiny_composer) -> None:
    piece = tiny_composer.regenerate(band(), bars=(3, 5), parts=["Bass"], sampling=SEEDED)
    start, end = (Fraction(t, 480) for t in (piece.start_tick, piece.end_tick))
    found = controls_of(piece.score, 2)
    for change in [(start, 64, 0), (end, 64, 127), (start, -1, 0), (end, -1, 700)]:
        assert change in found
    assert {*controls_of(band(), 2)} <= {*found}


# Accompaniment ------------------------------------------------------------------------------------


def melody() -> ScoreTick:
    score = band()
    score.tracks = type(score.tracks)([score.tracks[0]])
    return score


def test_a_melody_gets_added_parts(tiny_composer) -> None:
    programs = [33, 0, DRUMS, 0]
    piece = tiny_composer.accompany(melody(), programs=programs, sampling=SEEDED)
    assert_kept(melody(), piece, set())
    assert [program_of(track) for track in piece.score.tracks] == [40, *programs]
    assert piece.new_tracks == (1, 2, 3, 4)
    assert all(len(track.notes) for track in piece.score.tracks)
    lines = bar_starts(piece.score)
    times = [n.time for n in piece.score.tracks[1].notes]
    played = [any(a <= t < b for t in times) for a, b in pairwise(lines)]
    assert not any(not a and not b for a, b in pairwise(played))


def test_the_parts_that_are_not_kept_are_composed_anew(tiny_composer) -> None:
    piece = tiny_composer.accompany(band(), parts=["High", 3], sampling=SEEDED)
    assert piece.new_tracks == (1, 3, 4)
    assert_kept(band(), piece, {1, 3, 4})
    assert notes_of(piece.score, 1) != notes_of(band(), 1)


def test_with_programs_the_other_parts_are_left_out(tiny_composer) -> None:
    piece = tiny_composer.accompany(band(), parts=["Low"], programs=[40], sampling=SEEDED)
    assert [track.name for track in piece.score.tracks] == ["Low", "Violin (2)"]
    assert notes_of(piece.score, 0) == notes_of(band(), 1)


def test_programs_without_training_data_are_kept_and_added(chamber) -> None:
    piece = chamber.accompany(band(), parts=["Bass"], programs=[73, 12], sampling=SEEDED)
    assert [program_of(track) for track in piece.score.tracks] == [33, 73, 12]
    assert all(len(track.notes) for track in piece.score.tracks)


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        ({}, "the whole piece, all 5 parts of 10 bars"),
        ({"bars": (1, 10), "parts": [1, 2, 3, 4, 5]}, "the whole piece"),
        ({"bars": (0, 3)}, r"from 1 to 10, such as \(1, 10\); got \(0, 3\)"),
        ({"bars": (4, 3)}, r"got \(4, 3\)"),
        ({"bars": (4, 11)}, r"got \(4, 11\)"),
        ({"bars": 4}, "got 4"),
        ({"bars": (1.5, 2)}, "got"),
        ({"parts": []}, "at least one part"),
        ({"parts": [6]}, "no part '6'; .* 1 Violin, 2 Violin \\(2\\), 3 Fingered Bass"),
        ({"parts": ["Oboe"]}, "no part 'Oboe'"),
        ({"parts": ["Kit"], "bars": (1, 2)}, "4, 5 are one part"),
        ({"bars": (1, 2), "constraints": Constraints(ending=True)}, "ending"),
        ({"parts": [3], "constraints": Constraints(programs={40})}, "Fingered Bass"),
    ],
)
def test_a_selection_that_cannot_be_composed_is_refused(arguments, fact, tiny_composer) -> None:
    with pytest.raises(ValueError, match=fact):
        tiny_composer.regenerate(band(), **arguments)


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        ({}, "All 5 parts are kept and none is added"),
        ({"parts": [1, 2, 3, 4, 5]}, "All 5 parts are kept"),
        ({"programs": []}, "at least one MIDI program"),
        ({"programs": [128]}, r"got \[128\]"),
        ({"programs": [DRUMS]}, "2 parts of Drums, and the network writes at most 1"),
        ({"parts": [1], "programs": [40] * 8}, "9 parts of Violin"),
    ],
)
def test_an_accompaniment_that_cannot_be_composed_is_refused(
    arguments, fact, tiny_composer
) -> None:
    with pytest.raises(ValueError, match=fact):
        tiny_composer.accompany(band(), **arguments)


def test_a_bar_that_tokens_cannot_express_is_refused(tiny_composer) -> None:
    score = band()
    score.time_signatures.append(TimeSignatureTick(bar_starts(score)[-2], 27, 8))
    with pytest.raises(ScoreError, match="Bar 10 has a length"):
        tiny_composer.regenerate(score, bars=(9, 10), parts=["Bass"])
    assert tiny_composer.regenerate(score, bars=(8, 9), parts=["Bass"]).bars == (8, 9)
