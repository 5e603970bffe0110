"""New notes are in the tracks of the prompt that they continue, with their velocities."""

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


def dense(model) -> Composer:
    """A composer whose parts play in most bars."""
    with torch.no_grad():
        for name, token in TOKENIZER.ids.items():
            if name.startswith("Program"):
                model.lm_head.bias[token] = 4.0
    return Composer(model, TOKENIZER)


@pytest.fixture(scope="module")
def composer(tiny_network) -> Composer:
    return dense(tiny_network())


# Several tracks of one program --------------------------------------------------------------------


@pytest.fixture(scope="module")
def trio(composer) -> Composition:
    return composer.compose(bars=16, prompt=TRIO, sampling=SAMPLING)


def test_every_track_of_a_program_is_continued(trio) -> None:
    assert_in_its_tracks(trio, PARTS_OF_TRIO)
    assert len(new_by_track(trio)) == 4  # all of them play
    assert [track.name for track in trio.score.tracks] == ["Middle", "Low", "High", "Cello"]
    parts = [PartName(40, 1), PartName(40, 2), PartName(40, 0), PartName(42, 0)]
    assert trio.part_tracks == {part: (index,) for index, part in enumerate(parts)}
    assert trio.track_parts == tuple(parts)
    assert trio.prompt_tracks(PartName(40, 0)) == {2: 40}
    assert replace(trio, prompt=None).prompt_tracks(PartName(40, 0)) == {}


def test_tracks_stay_apart_in_every_method(composer, trio) -> None:
    longer = composer.extend(trio.truncated(3), bars=13)
    assert longer.to_midi() == trio.to_midi()
    again = composer.reproduce(trio.recipe, prompt=TRIO)
    assert again.to_midi() == trio.to_midi()
    for draft in composer.stream(bars=4, prompt=TRIO, sampling=SAMPLING):
        assert_in_its_tracks(draft, PARTS_OF_TRIO)
        assert draft.to_midi() == trio.truncated(draft.bars).to_midi()
    for take in composer.compose_many(3, bars=3, prompt=TRIO, sampling=SAMPLING):
        assert_in_its_tracks(take, PARTS_OF_TRIO)


def test_tracks_stay_apart_after_truncation(composer, trio) -> None:
    for bars in range(9):
        early = trio.truncated(bars)
        assert_in_its_tracks(early, PARTS_OF_TRIO)
        assert len(early.score.tracks) == 4
    other = composer.extend(trio.truncated(2), bars=3, sampling=Sampling(seed=9))
    assert other.bar_tokens[2:] != trio.bar_tokens[2:5]
    assert_in_its_tracks(other, PARTS_OF_TRIO)


def test_endless_music_has_a_track_for_every_part(composer, trio) -> None:
    bars = list(islice(composer.stream_endless(prompt=TRIO, sampling=SAMPLING), 16))
    assert tuple(bar.tokens for bar in bars) == trio.bar_tokens
    for bar in bars:
        programs = [track.program for track in bar.score.tracks]
        assert programs == [part.program for part in bar.parts]
    names = {track.name for bar in bars for track in bar.score.tracks}
    assert names == {"Violin", "Violin (2)", "Violin (3)", "Cello"}


def test_every_note_has_the_probability_of_its_own_tokens(trio) -> None:
    expected = []
    for bar in trio.generated_bars:
        start = bar.number * 4 * trio.score.ticks_per_quarter
        unit = trio.score.ticks_per_quarter // 12
        for note in notes_of_bar(bar.tokens, bar.log_probs):
            tick = start + note.position * unit
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


def test_a_selected_track_does_not_continue_the_others(composer) -> None:
    piece = composer.compose(
        bars=6, prompt=TRIO, prompt_selection=Selection(tracks={0}, last_bar=1), sampling=SAMPLING
    )
    assert [name for name, _ in new_by_track(piece)][:1] == ["Middle"]
    assert written(piece).keys() == {PartName(40, 0)}
    # The other tracks play along in bar 2, unchanged.
    assert [len(track.notes) for track in piece.score.tracks[1:]] == [8, 8, 8]


# Shared parts and drums ---------------------------------------------------------------------------


def test_tracks_beyond_the_eighth_share_a_part_by_pitch(composer) -> None:
    tracks = [(f"Violin {number}", 40, 100 - 6 * number) for number in range(10)]
    piece = composer.compose(bars=24, prompt=score_of(*tracks, bars=1), sampling=Sampling(seed=3))
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


def test_drum_tracks_share_one_part_by_pitch(composer) -> None:
    kit = score_of(("Kick", DRUMS, 36), ("Cymbals", DRUMS, 57))
    piece = composer.compose(bars=8, prompt=kit, sampling=SAMPLING)
    found = dict(new_by_track(piece))
    assert found.keys() == {"Kick", "Cymbals"}
    assert sorted(found["Kick"] + found["Cymbals"]) == written(piece)[PartName(DRUMS, 0)]
    assert max(pitch for _, pitch in found["Kick"]) < min(pitch for _, pitch in found["Cymbals"])
    assert len(piece.score.tracks) == 2


def test_a_track_that_is_silent_in_the_bars_read_is_continued(
    composer,
) -> None:
    # Only the last 64 bars are read: the flutes play in the first of 66.
    flutes = [("High Flute", 73, 90, 80, range(4)), ("Low Flute", 73, 70, 80, range(4))]
    prompt = score_of(("Piano", 0, 60), *flutes[::-1], bars=66)
    constraints = Constraints(programs={73}, meter=(4, 4))
    piece = composer.compose(bars=4, prompt=prompt, sampling=SAMPLING, constraints=constraints)
    assert TOKENIZER.ids["Program_73"] not in piece.prompt_ids
    assert_in_its_tracks(piece, {PartName(73, 0): "High Flute"})  # an unread program has one track
    assert [track.name for track in piece.score.tracks] == ["Piano", "Low Flute", "High Flute"]


def test_a_new_piece_has_a_track_for_every_part(composer) -> None:
    constraints = Constraints(programs={40, 0}, meter=(4, 4), notes_per_bar=(6, 12))
    *drafts, piece = composer.stream(bars=5, sampling=SAMPLING, constraints=constraints)
    expected = written(piece)
    assert max(Counter(part.program for part in expected).values()) > 1
    names = {0: "Acoustic Grand Piano", 40: "Violin"}
    assert dict(new_by_track(piece)) == {
        names[part.program] + (f" ({part.number + 1})" if part.number else ""): notes
        for part, notes in expected.items()
    }
    for draft in drafts:  # a track keeps its index while the piece grows
        shown = [track.name for track in draft.score.tracks]
        assert shown == [track.name for track in piece.score.tracks][: len(shown)]


# Velocities ---------------------------------------------------------------------------------------


def velocities(piece: Composition) -> dict[str, set[int]]:
    start = piece.prompt_end_tick
    return {
        track.name: {note.velocity for note in track.notes if note.time >= start}
        for track in piece.score.tracks
    }


def test_new_notes_have_the_velocity_of_their_track(composer) -> None:
    prompt = score_of(("Loud", 40, 84, 110), ("Soft", 40, 60, 35), ("Kit", DRUMS, 40, 64))
    piece = composer.compose(bars=8, prompt=prompt, sampling=SAMPLING)
    assert velocities(piece) == {"Loud": {110}, "Soft": {35}, "Kit": {64}}
    longer = composer.extend(piece.truncated(1), bars=7)
    assert longer.score == piece.score


def test_a_track_that_is_silent_in_the_bars_read_keeps_its_velocity(composer, monkeypatch) -> None:
    monkeypatch.setattr(pipeline, "CONTEXT_BARS", 1)
    prompt = score_of(("Late", 0, 60, 35), ("Early", 40, 84, 110, range(4)))
    piece = composer.compose(bars=8, prompt=prompt, sampling=SAMPLING)
    assert velocities(piece) == {"Late": {35}, "Early": {110}}


def test_velocities_fall_in_an_ending(composer) -> None:
    prompt = score_of(("Piano", 0, 60, 100))
    constraints = Constraints(
        programs={0}, meter=(4, 4), key="C major", max_empty_bars=0, ending=True
    )
    piece = composer.compose(bars=4, prompt=prompt, sampling=SAMPLING, constraints=constraints)
    bar = 4 * piece.score.ticks_per_quarter
    by_bar = {
        (note.time - piece.prompt_end_tick) // bar: note.velocity
        for note in piece.score.tracks[0].notes
        if note.time >= piece.prompt_end_tick
    }
    assert by_bar == {0: 100, 1: 100, 2: 85, 3: 70}


# Substitute programs ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chamber(tiny_network) -> Composer:
    """A composer that was trained on piano, violin and drums only."""
    return dense(tiny_network(programs=[DRUMS, 0, 40]))


# The viola is read as a piano, which nothing else needs; violin and cello are read as violins.
STRINGS = score_of(("Violin", 40, 84), ("Viola", 41, 65), ("Cello", 42, 48))
PARTS_OF_STRINGS = {PartName(40, 0): "Violin", PartName(40, 1): "Cello", PartName(0, 0): "Viola"}


def test_programs_with_one_substitute_stay_apart(chamber) -> None:
    piece = chamber.compose(bars=8, prompt=STRINGS, sampling=SAMPLING)
    assert_in_its_tracks(piece, PARTS_OF_STRINGS)
    assert programs_of(piece.continuation) == {40, 41, 42}
    assert chamber.extend(piece.truncated(3), bars=5).to_midi() == piece.to_midi()
    assert chamber.reproduce(piece.recipe, prompt=STRINGS).to_midi() == piece.to_midi()


@pytest.mark.parametrize("asked", [{42}, {40}, {41}, {40, 41}], ids=str)
def test_only_requested_programs_play_if_they_share_a_substitute(asked, chamber) -> None:
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


def test_a_requested_program_does_not_play_in_the_track_it_substituted(chamber) -> None:
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


def test_programs_requested_before_the_first_bar_equal_those_of_compose(chamber) -> None:
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
