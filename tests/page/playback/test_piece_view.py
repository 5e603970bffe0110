"""What the player shows of a prompt and of a piece."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from musiclstm import Sampling, Selection, example_files
from musiclstm.midi import bar_starts
from page.playback.piece_view import view_of_piece, view_of_prompt

SAMPLING = Sampling(seed=3)
MINUET = example_files()["Minuet in G (Petzold)"]


def test_prompt_and_new_bars_are_shown(tiny_composer):
    piece = tiny_composer.compose(bars=2, prompt=MINUET, sampling=SAMPLING)
    view = view_of_piece(piece)
    assert view.score == piece.score
    assert (view.prompt_bars, len(view.bar_ticks)) == (8, 8 + 2 + 1)
    assert view.bar_ticks[8] == view.new_start_tick
    end = view.bar_ticks[-1]
    assert list(view.bar_ticks) == bar_starts(piece.score, end_tick=end).tolist()
    notes = [
        (note.time, note.pitch, track.program)
        for track in view.score.tracks
        for note in track.notes
    ]
    programs = [track.program for track in piece.continuation.tracks]
    expected = {
        (each.tick + view.new_start_tick, each.pitch, programs[each.track]): each.probability
        for each in piece.note_probabilities()
    }
    pairs = zip(notes, view.probabilities, strict=True)
    assert {note: probability for note, probability in pairs if probability} == expected
    percents = view.pianoroll()["notes"]["sure"]
    assert sum(percent >= 0 for percent in percents) == piece.continuation.note_num()


def test_bars_are_numbered_as_in_the_file(tiny_composer, invented):
    prompt = invented(bars=20, programs=(0, 40))
    selection = Selection(first_bar=9, last_bar=16)
    piece = tiny_composer.compose(bars=2, prompt=prompt, prompt_selection=selection)
    view = view_of_piece(piece, first_bar=9)
    assert (view.prompt_bars, len(view.bar_ticks)) == (8, 11)
    assert view.pianoroll()["first_bar"] == 9
    assert view.pianoroll()["beats"][:5] == [0, 480, 960, 1440, 1920]
    whole = view_of_prompt(prompt)
    assert (whole.prompt_bars, whole.new_start_tick) == (20, whole.bar_ticks[-1])
    assert whole.pianoroll()["first_bar"] == 1


def test_a_piece_without_a_prompt_is_shown_whole(tiny_composer):
    piece = tiny_composer.compose(bars=4, sampling=SAMPLING)
    view = view_of_piece(piece)
    assert (view.prompt_bars, view.new_start_tick, len(view.bar_ticks)) == (0, 0, 5)
    empty = view_of_piece(piece.truncated(0))
    assert (empty.bar_ticks, empty.probabilities) == ((0,), ())


def test_accompaniment_tracks_have_no_probabilities(tiny_composer, invented):
    prompt = invented(bars=6, programs=(0, 40, -1))
    selection = Selection(frozenset({1}), first_bar=2, last_bar=4)
    piece = tiny_composer.compose(
        bars=2, prompt=prompt, prompt_selection=selection, sampling=SAMPLING
    )
    assert piece.accompaniment_tracks == 2
    view = view_of_piece(piece)
    assert view.score.note_num() == piece.score.note_num()
    known = [probability is not None for probability in view.probabilities]
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
    probabilities = np.array(view_of_piece(piece).probabilities, object)
    _, accompaniment, added = np.split(probabilities, ends[:-1])
    assert all(each is None for each in accompaniment)
    assert len(added)
    assert all(each is not None for each in added)


def test_a_track_keeps_its_index_while_the_piece_grows(tiny_composer, invented):
    prompt = invented(bars=4, programs=(40, 40, 42))
    for piece in tiny_composer.stream(bars=3, prompt=prompt, sampling=SAMPLING):
        roll = view_of_piece(piece).pianoroll()
        assert [each["track"] for each in roll["instruments"]] == [0, 1, 2]
        assert [each["program"] for each in roll["instruments"]] == [40, 40, 42]
