"""The part of a piece that the player shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from musiclstm import Sampling, Selection, example_files
from musiclstm.midi import bar_starts
from page.playback.excerpt import excerpt_of, new_bar_of

SAMPLING = Sampling(seed=3)
MINUET = example_files()["Minuet in G (Petzold)"]


def test_a_short_prompt_is_shown_whole(tiny_composer):
    piece = tiny_composer.compose(bars=2, prompt=MINUET, sampling=SAMPLING)
    excerpt = excerpt_of(piece)
    assert excerpt.score == piece.score
    assert (excerpt.prompt_bars, len(excerpt.bar_ticks)) == (8, 8 + 2 + 1)
    assert excerpt.bar_ticks[8] == excerpt.new_start_tick
    end = excerpt.bar_ticks[-1]
    assert list(excerpt.bar_ticks) == bar_starts(piece.score, end_tick=end).tolist()
    notes = [
        (note.time, note.pitch, track.program)
        for track in excerpt.score.tracks
        for note in track.notes
    ]
    programs = [track.program for track in piece.continuation.tracks]
    expected = {
        (each.tick + excerpt.new_start_tick, each.pitch, programs[each.track]): each.probability
        for each in piece.note_probabilities()
    }
    pairs = zip(notes, excerpt.probabilities, strict=True)
    assert {note: probability for note, probability in pairs if probability} == expected
    percents = excerpt.pianoroll()["notes"]["sure"]
    assert sum(percent >= 0 for percent in percents) == piece.continuation.note_num()


def test_a_long_prompt_is_cut_to_its_last_sixteen_bars(tiny_composer, invented):
    prompt = invented(bars=20, programs=(0, 40))
    piece = tiny_composer.compose(bars=2, prompt=prompt, sampling=SAMPLING)
    excerpt = excerpt_of(piece)
    bar = 4 * piece.score.ticks_per_quarter
    assert (excerpt.prompt_bars, len(excerpt.bar_ticks)) == (16, 19)
    assert excerpt.new_start_tick == 16 * bar
    before = sum(note.time < 4 * bar for track in piece.score.tracks for note in track.notes)
    assert excerpt.score.note_num() == piece.score.note_num() - before
    assert len(excerpt.probabilities) == excerpt.score.note_num()
    assert [new_bar_of(piece, bar) for bar in (16, 17)] == [0, 1]


def test_a_piece_without_a_prompt_is_shown_whole(tiny_composer):
    piece = tiny_composer.compose(bars=4, sampling=SAMPLING)
    excerpt = excerpt_of(piece)
    assert (excerpt.prompt_bars, excerpt.new_start_tick, len(excerpt.bar_ticks)) == (0, 0, 5)
    assert new_bar_of(piece, 3) == 3
    empty = excerpt_of(piece.truncated(0))
    assert (empty.bar_ticks, empty.probabilities) == ((0,), ())


def test_accompaniment_tracks_have_no_probabilities(tiny_composer, invented):
    prompt = invented(bars=6, programs=(0, 40, -1))
    selection = Selection(frozenset({1}), first_bar=2, last_bar=4)
    piece = tiny_composer.compose(
        bars=2, prompt=prompt, prompt_selection=selection, sampling=SAMPLING
    )
    assert piece.accompaniment_tracks == 2
    excerpt = excerpt_of(piece)
    assert excerpt.score.note_num() == piece.score.note_num()
    known = [probability is not None for probability in excerpt.probabilities]
    assert sum(known) == len(piece.note_probabilities())
    accompaniment = sum(len(track.notes) for track in list(piece.score.tracks)[-2:])
    assert not any(known[-accompaniment:])


def test_an_added_instrument_has_probabilities_beside_accompaniment(tiny_composer, invented):
    prompt = invented(bars=6, programs=(0, 40))
    selection = Selection(frozenset({1}))
    defaults = tiny_composer.default_constraints(prompt, prompt_selection=selection)
    piece = tiny_composer.compose(
        bars=4,
        prompt=prompt,
        prompt_selection=selection,
        constraints=replace(defaults, programs={40, 42}),
        sampling=replace(SAMPLING, copy_weight=0, candidates=1),  # else without the new one
    )
    tracks = list(piece.score.tracks)
    assert [track.program for track in tracks] == [40, 0, 42]
    ends = np.cumsum([len(track.notes) for track in tracks])
    probabilities = np.array(excerpt_of(piece).probabilities, object)
    _, accompaniment, added = np.split(probabilities, ends[:-1])
    assert all(each is None for each in accompaniment)
    assert len(added)
    assert all(each is not None for each in added)


def test_tracks_of_one_program_are_one_instrument_of_the_roll(tiny_composer, invented):
    prompt = invented(bars=4, programs=(40, 40, 42))
    piece = tiny_composer.compose(bars=4, prompt=prompt, sampling=SAMPLING)
    roll = excerpt_of(piece).pianoroll()
    assert [each["program"] for each in roll["instruments"]] == [40, 42]
    indexes = [0 if track.program == 40 else 1 for track in piece.score.tracks for _ in track.notes]
    assert sorted(roll["notes"]["instrument"]) == sorted(indexes)
