"""Tracks stay apart: what continues a track of the prompt stands in that track."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice
from math import exp

import pytest
import torch
from symusic.core import NoteTick, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

from musiclstm import Composer, Composition, Constraints, Sampling, Selection
from musiclstm.generation import pipeline
from musiclstm.generation.note_probabilities import notes_of_bar
from musiclstm.tokens import DRUMS, MusicTokenizer, PartName, programs_of

TOKENIZER = MusicTokenizer()
SAMPLING = Sampling(seed=7, copy_weight=1, top_p=0.98, repetition_penalty=1)
BAR = 1_920


def score_of(*tracks: tuple, bars: int = 2) -> ScoreTick:
    """A score in 4/4 with a note on every beat.

    Args:
        tracks: Name, program (-1: drums), pitch, and optionally velocity and the beats with notes.
        bars: Number of bars.
    """
    score = ScoreTick(480)
    score.tempos.append(TempoTick(0, 120))
    score.time_signatures.append(TimeSignatureTick(0, 4, 4))
    for name, program, pitch, *rest in tracks:
        velocity, beats = (*rest, *(80, range(4 * bars))[len(rest) :])
        track = TrackTick(name, max(program, 0), program == DRUMS)
        for beat in beats:
            track.notes.append(NoteTick(480 * beat, 480, pitch + beat % 2, velocity))
        score.tracks.append(track)
    return score


TRIO = score_of(("Middle", 40, 72), ("Low", 40, 57), ("High", 40, 88), ("Cello", 42, 40))
PARTS_OF_TRIO = {
    PartName(40, 0): "High",
    PartName(40, 1): "Middle",
    PartName(40, 2): "Low",
    PartName(42, 0): "Cello",
}


def written(piece: Composition) -> dict[PartName, list[tuple[float, int]]]:
    """Beat and pitch of every note of each part, as the tokens say, from the first new bar on."""
    score = TOKENIZER.decode(piece.tokens)
    return {
        part: sorted((note.time / score.ticks_per_quarter, note.pitch) for note in track.notes)
        for part, track in zip(TOKENIZER.parts_in(piece.tokens), score.tracks, strict=True)
        if len(track.notes)
    }


def new_by_track(piece: Composition) -> list[tuple[str, list[tuple[float, int]]]]:
    """Name of each track with new notes, and their beats and pitches from the first new bar on."""
    start, tpq = piece.prompt_end_tick, piece.score.ticks_per_quarter
    found = [
        (t.name, sorted(((n.time - start) / tpq, n.pitch) for n in t.notes if n.time >= start))
        for t in piece.score.tracks
    ]
    return [(name, notes) for name, notes in found if notes]


def assert_in_its_tracks(piece: Composition, names: dict[PartName, str]) -> None:
    expected = {names[part]: notes for part, notes in written(piece).items()}
    assert dict(new_by_track(piece)) == expected


def busy(model) -> Composer:
    """A composer whose parts play in most bars."""
    with torch.no_grad():
        for name, token in TOKENIZER.ids.items():
            if name.startswith("Program"):
                model.lm_head.bias[token] = 4.0
    return Composer(model, TOKENIZER)


@pytest.fixture(scope="module")
def busy_composer(tiny_network) -> Composer:
    return busy(tiny_network())


# -- Three violins -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trio(busy_composer) -> Composition:
    return busy_composer.compose(bars=8, prompt=TRIO, sampling=SAMPLING)


def test_every_violin_goes_on_in_its_own_track(trio) -> None:
    assert_in_its_tracks(trio, PARTS_OF_TRIO)
    assert len(new_by_track(trio)) == 4  # all of them play
    assert [track.name for track in trio.score.tracks] == ["Middle", "Low", "High", "Cello"]


def test_the_violins_stay_apart_in_extended_pieces_drafts_and_takes(busy_composer, trio) -> None:
    longer = busy_composer.extend(trio.truncated(3), bars=5)
    assert longer.to_midi() == trio.to_midi()
    for draft in busy_composer.stream(bars=4, prompt=TRIO, sampling=SAMPLING):
        assert_in_its_tracks(draft, PARTS_OF_TRIO)
        assert draft.to_midi() == trio.truncated(draft.bars).to_midi()
    for take in busy_composer.compose_many(3, bars=3, prompt=TRIO, sampling=SAMPLING):
        assert_in_its_tracks(take, PARTS_OF_TRIO)


def test_the_violins_stay_apart_after_going_back(busy_composer, trio) -> None:
    for bars in range(9):
        early = trio.truncated(bars)
        assert_in_its_tracks(early, PARTS_OF_TRIO)
        assert len(early.score.tracks) == 4
    other = busy_composer.extend(trio.truncated(2), bars=3, sampling=Sampling(seed=9))
    assert other.bar_tokens[2:] != trio.bar_tokens[2:5]
    assert_in_its_tracks(other, PARTS_OF_TRIO)


def test_the_violins_stay_apart_in_a_piece_made_again(busy_composer, trio) -> None:
    again = busy_composer.reproduce(trio.recipe, prompt=TRIO)
    assert again.to_midi() == trio.to_midi()
    assert_in_its_tracks(again, PARTS_OF_TRIO)


def test_endless_music_has_a_track_for_every_violin(busy_composer, trio) -> None:
    passages = list(islice(busy_composer.stream_endless(prompt=TRIO, sampling=SAMPLING), 8))
    assert tuple(passage.tokens for passage in passages) == trio.bar_tokens
    for passage in passages:
        programs = [track.program for track in passage.score.tracks]
        assert programs == [part.program for part in passage.parts]
    names = {track.name for passage in passages for track in passage.score.tracks}
    assert names == {"Violin", "Violin (2)", "Violin (3)", "Cello"}


def test_every_note_has_the_probability_of_its_own_tokens(trio) -> None:
    expected = []
    for passage in trio.generated_bars:
        at = passage.number * 4 * trio.score.ticks_per_quarter
        unit = trio.score.ticks_per_quarter // 12
        for note in notes_of_bar(passage.tokens, passage.log_probs):
            tick = at + note.position * unit
            expected.append((PARTS_OF_TRIO[note.part], tick, note.pitch, note.log_prob))
    names = [track.name for track in trio.continuation.tracks]
    found = [
        (names[each.track], each.tick, each.pitch, each.probability)
        for each in trio.note_probabilities()
    ]
    assert len(found) > 20
    assert [each[:3] for each in sorted(found)] == [each[:3] for each in sorted(expected)]
    for (*_, probability), (*_, log_prob) in zip(sorted(found), sorted(expected), strict=True):
        assert probability == pytest.approx(exp(log_prob))


def test_a_chosen_violin_does_not_take_up_the_others(busy_composer) -> None:
    piece = busy_composer.compose(
        bars=6, prompt=TRIO, prompt_selection=Selection(tracks={0}, last_bar=1), sampling=SAMPLING
    )
    assert [name for name, _ in new_by_track(piece)][:1] == ["Middle"]
    assert written(piece).keys() == {PartName(40, 0)}
    # The other tracks play along in bar 2, unchanged.
    assert [len(track.notes) for track in piece.score.tracks[1:]] == [8, 8, 8]


# -- One line, many tracks, drums ----------------------------------------------------------------


def test_a_solo_line_goes_on_in_its_track(busy_composer) -> None:
    solo = score_of(("Solo", 73, 72))
    piece = busy_composer.compose(bars=8, prompt=solo, sampling=SAMPLING)
    (track,) = piece.score.tracks
    assert (track.name, track.program) == ("Solo", 73)
    assert_in_its_tracks(piece, {PartName(73, 0): "Solo"})
    assert written(piece)


def test_tracks_beyond_the_eighth_share_a_part_and_its_notes_by_pitch(busy_composer) -> None:
    tracks = [(f"Violin {number}", 40, 100 - 6 * number) for number in range(10)]
    piece = busy_composer.compose(
        bars=24, prompt=score_of(*tracks, bars=1), sampling=Sampling(seed=3)
    )
    found, expected = dict(new_by_track(piece)), written(piece)
    for number in range(7):
        assert found.get(f"Violin {number}", []) == expected.get(PartName(40, number), [])
    shared = [f"Violin {number}" for number in (7, 8, 9)]  # around 58, 52 and 46
    assert (
        sorted(note for name in shared for note in found.get(name, [])) == expected[PartName(40, 7)]
    )
    for name, (low, high) in zip(shared, [(55, 128), (49, 56), (0, 50)], strict=True):
        assert all(low <= pitch <= high for _, pitch in found.get(name, []))
    assert len(piece.score.tracks) == 10
    assert len(piece.note_probabilities()) == piece.continuation.note_num()


def test_drum_tracks_are_one_part_and_get_its_notes_by_pitch(busy_composer) -> None:
    kit = score_of(("Kick", DRUMS, 36), ("Cymbals", DRUMS, 57))
    piece = busy_composer.compose(bars=8, prompt=kit, sampling=SAMPLING)
    found = dict(new_by_track(piece))
    assert found.keys() == {"Kick", "Cymbals"}
    assert sorted(found["Kick"] + found["Cymbals"]) == written(piece)[PartName(DRUMS, 0)]
    assert max(pitch for _, pitch in found["Kick"]) < min(pitch for _, pitch in found["Cymbals"])
    assert len(piece.score.tracks) == 2


def test_a_track_that_is_silent_where_the_prompt_is_read_goes_on_all_the_same(
    busy_composer,
) -> None:
    # Only the last 64 bars are read: the flutes play in the first of 66.
    flutes = [("High Flute", 73, 90, 80, range(4)), ("Low Flute", 73, 70, 80, range(4))]
    prompt = score_of(("Piano", 0, 60), *flutes[::-1], bars=66)
    constraints = Constraints(programs={73}, meter=(4, 4))
    piece = busy_composer.compose(bars=4, prompt=prompt, sampling=SAMPLING, constraints=constraints)
    assert TOKENIZER.ids["Program_73"] not in piece.prompt_ids
    assert_in_its_tracks(piece, {PartName(73, 0): "High Flute"})  # an unread program has one track
    assert [track.name for track in piece.score.tracks] == ["Piano", "Low Flute", "High Flute"]


def test_a_piece_from_nothing_has_a_track_for_every_part(busy_composer) -> None:
    constraints = Constraints(programs={40, 0}, meter=(4, 4), notes_per_bar=(6, 12))
    *drafts, piece = busy_composer.stream(bars=5, sampling=SAMPLING, constraints=constraints)
    expected = written(piece)
    assert max(Counter(part.program for part in expected).values()) > 1
    names = {0: "Acoustic Grand Piano", 40: "Violin"}
    assert dict(new_by_track(piece)) == {
        names[part.program] + (f" ({part.number + 1})" if part.number else ""): notes
        for part, notes in expected.items()
    }
    for draft in drafts:  # every track keeps its place while the piece grows
        shown = [track.name for track in draft.score.tracks]
        assert shown == [track.name for track in piece.score.tracks][: len(shown)]


# -- Loudness ------------------------------------------------------------------------------------


def velocities(piece: Composition) -> dict[str, set[int]]:
    start = piece.prompt_end_tick
    return {
        track.name: {note.velocity for note in track.notes if note.time >= start}
        for track in piece.score.tracks
    }


def test_new_notes_are_as_loud_as_those_of_their_track(busy_composer) -> None:
    prompt = score_of(("Loud", 40, 84, 110), ("Soft", 40, 60, 35), ("Kit", DRUMS, 40, 64))
    piece = busy_composer.compose(bars=8, prompt=prompt, sampling=SAMPLING)
    assert velocities(piece) == {"Loud": {110}, "Soft": {35}, "Kit": {64}}
    longer = busy_composer.extend(piece.truncated(1), bars=7)
    assert longer.score == piece.score


def test_a_beat_is_as_loud_as_it_was(busy_composer) -> None:
    prompt = score_of(("Piano", 0, 60))
    for note in prompt.tracks[0].notes:
        note.velocity = 100 if note.time % BAR == 0 else 50
    constraints = Constraints(programs={0}, meter=(4, 4), notes_per_bar=(8, 16))
    piece = busy_composer.compose(bars=6, prompt=prompt, sampling=SAMPLING, constraints=constraints)
    eighth = piece.score.ticks_per_quarter // 2
    loud, soft = set(), set()
    for note in piece.score.tracks[0].notes:
        if note.time >= piece.prompt_end_tick:
            on_one = (note.time - piece.prompt_end_tick) % (8 * eighth) < eighth - 1
            (loud if on_one else soft).add(note.velocity)
    assert (loud, soft) == ({100}, {50})


def test_a_track_that_rests_where_the_prompt_is_read_is_as_loud_as_before(
    busy_composer, monkeypatch
) -> None:
    monkeypatch.setattr(pipeline, "CONTEXT_BARS", 1)
    prompt = score_of(("Late", 0, 60, 35), ("Early", 40, 84, 110, range(4)))
    piece = busy_composer.compose(bars=8, prompt=prompt, sampling=SAMPLING)
    assert velocities(piece) == {"Late": {35}, "Early": {110}}


def test_without_a_prompt_loudness_is_the_default(busy_composer) -> None:
    constraints = Constraints(programs={0, DRUMS}, meter=(4, 4), notes_per_bar=(8, 16))
    piece = busy_composer.compose(bars=6, sampling=SAMPLING, constraints=constraints)
    for name, found in velocities(piece).items():
        assert found <= ({90, 94, 98} if name == "Drums" else {80, 84, 88})


def test_an_ending_becomes_softer(busy_composer) -> None:
    prompt = score_of(("Piano", 0, 60, 100))
    constraints = Constraints(
        programs={0}, meter=(4, 4), key="C major", max_empty_bars=0, ending=True
    )
    piece = busy_composer.compose(bars=4, prompt=prompt, sampling=SAMPLING, constraints=constraints)
    bar = 4 * piece.score.ticks_per_quarter
    by_bar = {
        (note.time - piece.prompt_end_tick) // bar: note.velocity
        for note in piece.score.tracks[0].notes
        if note.time >= piece.prompt_end_tick
    }
    assert by_bar == {0: 100, 1: 100, 2: 85, 3: 70}


# -- Substitutes ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chamber(tiny_network) -> Composer:
    """A composer that was trained on piano, violin and drums only."""
    return busy(tiny_network(programs=[DRUMS, 0, 40]))


# The viola is read as a piano, which nothing else needs; violin and cello are read as violins.
STRINGS = score_of(("Violin", 40, 84), ("Viola", 41, 65), ("Cello", 42, 48))
PARTS_OF_STRINGS = {PartName(40, 0): "Violin", PartName(40, 1): "Cello", PartName(0, 0): "Viola"}


def test_programs_with_one_substitute_stay_apart(chamber) -> None:
    piece = chamber.compose(bars=8, prompt=STRINGS, sampling=SAMPLING)
    assert_in_its_tracks(piece, PARTS_OF_STRINGS)
    assert programs_of(piece.continuation) == {40, 41, 42}
    assert chamber.extend(piece.truncated(3), bars=5).to_midi() == piece.to_midi()
    assert chamber.reproduce(piece.recipe, prompt=STRINGS).to_midi() == piece.to_midi()


def test_endless_music_has_the_programs_of_the_prompt(chamber) -> None:
    seen = set()
    for passage in islice(chamber.stream_endless(prompt=STRINGS, sampling=SAMPLING), 8):
        for part, track in zip(passage.parts, passage.score.tracks, strict=True):
            assert {PartName(40, 0): 40, PartName(40, 1): 42, PartName(0, 0): 41}[
                part
            ] == track.program
            seen.add(track.program)
    assert seen == {40, 41, 42}


@pytest.mark.parametrize("asked", [{42}, {40}, {41}, {40, 41}], ids=str)
def test_only_the_programs_asked_for_sound_whatever_they_share(asked, chamber) -> None:
    constraints = Constraints(programs=asked, meter=(4, 4))
    piece = chamber.compose(bars=8, prompt=STRINGS, sampling=SAMPLING, constraints=constraints)
    assert programs_of(piece.continuation) == asked
    assert len(piece.note_probabilities()) == piece.continuation.note_num()
    plain = chamber.compose(bars=2, prompt=STRINGS, sampling=SAMPLING)
    later = chamber.extend(plain, bars=8, constraints=constraints)
    line = later.prompt_end_tick + 2 * 4 * later.score.ticks_per_quarter
    late = {
        track.program for track in later.score.tracks for note in track.notes if note.time >= line
    }
    assert late == asked


def test_a_program_that_joins_does_not_sound_in_the_track_that_it_stands_for(chamber) -> None:
    prompt = score_of(("Church Organ", 19, 60))
    piece = chamber.compose(bars=2, prompt=prompt, sampling=SAMPLING)
    substitute = next(iter(written(piece))).program
    constraints = Constraints(programs={substitute}, meter=(4, 4))
    longer = chamber.extend(piece, bars=3, constraints=constraints)
    own, added = longer.score.tracks
    assert (own.program, added.program) == (19, substitute)
    line = longer.prompt_end_tick + 2 * 4 * longer.score.ticks_per_quarter
    assert max(note.time for note in own.notes) < line
    assert min(note.time for note in added.notes) >= line


def test_other_programs_asked_for_at_the_first_bar_equal_those_asked_for_at_once(chamber) -> None:
    prompt = score_of(("Viola", 41, 60))
    asked = Constraints(programs={40, 41}, meter=(4, 4))
    at_once = chamber.compose(bars=4, prompt=prompt, sampling=SAMPLING, constraints=asked)
    plain = chamber.compose(bars=4, prompt=prompt, sampling=SAMPLING)
    assert plain.part_tracks != at_once.part_tracks  # the viola is read as another program
    later = chamber.extend(plain.truncated(0), bars=4, constraints=asked)
    assert later == at_once
    assert later.to_midi() == at_once.to_midi()
    assert chamber.reproduce(later.recipe, prompt=prompt).to_midi() == later.to_midi()
    (take,) = chamber.compose_many(1, bars=4, after=plain.truncated(0), constraints=asked)
    assert take.to_midi() == at_once.to_midi()


def test_substitutes_have_the_loudness_of_the_track_that_they_stand_for(chamber) -> None:
    prompt = score_of(("Violin", 40, 84, 110), ("Viola", 41, 65, 70), ("Cello", 42, 48, 30))
    piece = chamber.compose(bars=8, prompt=prompt, sampling=SAMPLING)
    assert velocities(piece) == {"Violin": {110}, "Viola": {70}, "Cello": {30}}


def test_a_take_knows_the_tracks_of_its_prompt(trio) -> None:
    assert trio.part_tracks == {
        PartName(40, 0): (2,),
        PartName(40, 1): (0,),
        PartName(40, 2): (1,),
        PartName(42, 0): (3,),
    }
    assert trio.track_parts == (PartName(40, 1), PartName(40, 2), PartName(40, 0), PartName(42, 0))
    assert replace(trio, seed=None).prompt_tracks(PartName(40, 0)) == {}
    assert trio.prompt_tracks(PartName(40, 0)) == {2: 40}
