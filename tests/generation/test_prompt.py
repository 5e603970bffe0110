"""Prompts: selection of tracks and bars, default constraints, identification in recipes."""

from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError, replace

import pytest
from symusic.core import (
    ControlChangeTick,
    NoteTick,
    PitchBendTick,
    ScoreTick,
    TempoTick,
    TimeSignatureTick,
    TrackTick,
)

from musiclstm import RecipeError, ScoreError, Selection, example_files, read_midi
from musiclstm.generation.prompt import (
    PromptReference,
    default_constraints,
    find_prompt,
    read_prompt,
)

GRID = 48


@pytest.fixture
def trio() -> ScoreTick:
    """Six bars of 3/4 (the last four in 2/4): a melody, a bass from bar 3 on, drums to bar 2."""
    score = ScoreTick(480)
    score.tempos.extend(type(score.tempos)([TempoTick(0, 100), TempoTick(3 * 480, 80)]))
    score.time_signatures.append(TimeSignatureTick(0, 3, 4))
    score.time_signatures.append(TimeSignatureTick(6 * 480, 2, 4))
    for name, program, is_drum, beats in [
        ("Melody", 73, False, range(14)),
        ("Bass", 33, False, range(6, 14)),
        ("Kit", 0, True, range(6)),
    ]:
        track = TrackTick(name, program, is_drum)
        for beat in beats:
            track.notes.append(NoteTick(480 * beat, 480, 50 + beat, 80))
        score.tracks.append(track)
    return score


def read(score: ScoreTick, **selected: object):
    return read_prompt(score, selection=Selection(**selected), grid_ticks=GRID)


def pitches(score: ScoreTick) -> dict[str, list[int]]:
    return {track.name: [note.pitch for note in track.notes] for track in score.tracks}


def test_the_default_selection_is_the_whole_prompt(trio) -> None:
    plain, selected = read_prompt(trio, grid_ticks=GRID), read(trio)
    assert (selected.score, selected.bars, selected.end_tick) == (plain.score, 6, 14 * 480)
    assert selected.others is plain.others is None


def test_selected_bars_start_at_tick_0(trio) -> None:
    prompt = read(trio, first_bar=2, last_bar=3)
    assert (prompt.bars, prompt.end_tick) == (2, 5 * 480)
    assert pitches(prompt.score) == {
        "Melody": [53, 54, 55, 56, 57],
        "Bass": [56, 57],
        "Kit": [53, 54, 55],
    }
    assert [note.time for note in prompt.score.tracks[1].notes] == [3 * 480, 4 * 480]
    assert [(t.time, round(t.qpm)) for t in prompt.score.tempos] == [(0, 80)]
    assert [(m.time, m.numerator) for m in prompt.score.time_signatures] == [(0, 3), (1440, 2)]


def test_other_tracks_accompany_to_the_end_of_the_file(trio) -> None:
    prompt = read(trio, tracks={1}, first_bar=3, last_bar=4)
    assert pitches(prompt.score) == {"Bass": [56, 57, 58, 59]}
    assert pitches(prompt.others) == {"Melody": [*range(56, 64)]}  # the drums are silent by then
    assert prompt.others.tracks[0].notes[-1].end == 8 * 480
    assert read(trio, tracks={1}, keep_others=False).others is None


def test_default_constraints_come_from_the_selected_part(trio) -> None:
    early, late = read(trio, tracks={0}, last_bar=2), read(trio, tracks={0, 1}, first_bar=3)
    assert (early.constraints.programs, early.constraints.meter) == ({73}, (3, 4))
    assert (late.constraints.programs, late.constraints.meter) == ({73, 33}, (2, 4))
    assert late.constraints == default_constraints(late)


def test_controllers_before_the_first_bar_stay_in_force(trio) -> None:
    melody = trio.tracks[0]
    for at, number, value in [(0, 7, 90), (100, 7, 50), (200, 64, 127), (2000, 7, 70)]:
        melody.controls.append(ControlChangeTick(at, number, value))
    melody.pitch_bends.append(PitchBendTick(10, 300))
    prompt = read(trio, first_bar=2)
    controls = [(c.time, c.number, c.value) for c in prompt.score.tracks[0].controls]
    assert controls == [(0, 7, 50), (0, 64, 127), (2000 - 1440, 7, 70)]
    assert [(b.time, b.value) for b in prompt.score.tracks[0].pitch_bends] == [(0, 300)]


def test_a_note_across_the_last_bar_line_is_cut_and_one_across_the_first_is_omitted(trio) -> None:
    trio.tracks[0].notes[2] = NoteTick(2 * 480, 960, 52, 80)  # over the bar line of bar 2
    assert read(trio, tracks={0}, last_bar=1).score.tracks[0].notes[-1].end == 3 * 480
    assert 52 not in pitches(read(trio, first_bar=2).score)["Melody"]


def test_selected_bars_without_a_note_are_refused(trio) -> None:
    with pytest.raises(ScoreError) as refusal:
        read(trio, tracks={1}, last_bar=2)
    assert str(refusal.value) == (
        "The selected tracks have no note in bars 1 to 2; choose other bars or more tracks."
    )


def test_what_is_not_there_is_refused(trio) -> None:
    with pytest.raises(ScoreError, match=r"no track 3; choose from its tracks .3, numbers 0 to 2"):
        read(trio, tracks={3})
    with pytest.raises(ScoreError, match=r"no bar 7: it has 6"):
        read(trio, first_bar=7)
    with pytest.raises(ValueError, match="prompt_bars and a selection contradict each other"):
        read_prompt(trio, prompt_bars=1, selection=Selection(), grid_ticks=GRID)


# -- Which prompt it was -------------------------------------------------------------------------


def test_a_file_is_known_by_its_bytes_and_a_score_by_its_own(trio, tmp_path) -> None:
    data = bytes(trio.dumps_midi())
    path = tmp_path / "trio.mid"
    path.write_bytes(data)
    name = "sha256:" + hashlib.sha256(data).hexdigest()
    assert read_prompt(data, grid_ticks=GRID).source == PromptReference(name)
    assert read_prompt(path, prompt_bars=2, grid_ticks=GRID).source == PromptReference(
        name, None, 2
    )
    assert read_prompt(path, prompt_bars=99, grid_ticks=GRID).source == PromptReference(name)
    score = read_midi(path)[0]
    canonical = "sha256:" + hashlib.sha256(bytes(score.dumps_midi())).hexdigest()
    assert read_prompt(score, grid_ticks=GRID).source == PromptReference(canonical)
    assert find_prompt(PromptReference(name), path) == path
    assert find_prompt(PromptReference(canonical), path) == path  # the score was read from it


@pytest.mark.parametrize("file", example_files().values(), ids=lambda file: file.stem)
def test_a_bundled_prompt_is_known_by_its_name(file) -> None:
    named = PromptReference(f"bundled:{file.stem}")
    assert read_prompt(file, grid_ticks=GRID).source == named
    assert read_prompt(read_midi(file)[0], grid_ticks=GRID).source == named
    assert find_prompt(named, None) == file
    assert find_prompt(named, file) == file


def test_another_prompt_is_refused_with_both_digests(trio) -> None:
    source = read_prompt(bytes(trio.dumps_midi()), grid_ticks=GRID).source
    trio.tracks[0].notes[0].pitch = 99
    with pytest.raises(RecipeError, match=rf"a file with SHA-256 {source.name[7:19]}…, and the "):
        find_prompt(source, bytes(trio.dumps_midi()))
    with pytest.raises(RecipeError, match="pass it as the prompt"):
        find_prompt(source, None)
    with pytest.raises(RecipeError, match="has no prompt; reproduce it without"):
        find_prompt(None, trio)
    with pytest.raises(RecipeError, match="'waltz', which this musiclstm does not have; it has ca"):
        find_prompt(PromptReference("bundled:waltz"), None)
    assert find_prompt(None, None) is None


def test_an_untrusted_name_is_shortened_in_messages(trio) -> None:
    for name in ("bundled:" + "../" * 999, "sha256:" + "\u202e" * 999, "x" * 999):
        with pytest.raises(RecipeError) as refusal:
            find_prompt(PromptReference(name), None)
        assert len(str(refusal.value)) < 250
        assert "\u202e" not in str(refusal.value)


def test_where_a_prompt_came_from_is_no_part_of_the_music(trio) -> None:
    prompt = read_prompt(trio, grid_ticks=GRID)
    assert replace(prompt, source=None) == prompt


# Selection ----------------------------------------------------------------------------------------


def test_a_selection_is_hashable_and_cannot_be_changed() -> None:
    assert Selection(tracks={2, 0}) == Selection(tracks=frozenset({0, 2}))
    assert hash(Selection(tracks=[1])) == hash(Selection(tracks={1}))
    with pytest.raises(FrozenInstanceError):
        Selection().first_bar = 2


@pytest.mark.parametrize(
    ("values", "fact"),
    [
        ({"tracks": set()}, "tracks must contain at least one"),
        ({"tracks": {-1}}, r"tracks must be whole numbers, .* got \[-1\]"),
        ({"tracks": {"a"}}, r"tracks must be whole numbers, .* got \['a'\]"),
        ({"first_bar": 0}, "first_bar must be 1 or more, got 0"),
        ({"first_bar": 1.5}, "first_bar must be 1 or more, got 1.5"),
        ({"first_bar": 4, "last_bar": 3}, "last_bar must be at least first_bar, 4, got 3"),
        ({"last_bar": 2.5}, "last_bar must be at least first_bar, 1, got 2.5"),
    ],
)
def test_an_invalid_selection_is_refused(values, fact) -> None:
    with pytest.raises(ValueError, match=fact):
        Selection(**values)


@pytest.mark.parametrize(
    ("selection", "tracks", "fact"),
    [
        (Selection(tracks={3, 5}), 3, "no track 3; .*numbers 0 to 2"),
        (Selection(tracks={1}), 1, "no track 1; .*number 0"),
        (Selection(first_bar=9), 3, "no bar 9: it has 8"),
        (Selection(last_bar=10), 3, "no bar 10: it has 8"),
    ],
)
def test_a_missing_track_or_bar_is_refused(selection, tracks, fact) -> None:
    Selection(tracks={tracks - 1}, first_bar=8, last_bar=8).check(tracks, 8)  # the last ones
    with pytest.raises(ScoreError, match=fact):
        selection.check(tracks, 8)
