"""Selections of the prompt, and pieces composed again from their recipes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from symusic.core import NoteTick, ScoreTick, TrackTick

from musiclstm import (
    Composer,
    Composition,
    Constraints,
    Recipe,
    RecipeError,
    Sampling,
    ScoreError,
    Selection,
    Surprise,
    example_files,
    read_recipe,
)
from musiclstm.tokens import programs_of

PIANO = Constraints(programs=frozenset({0}), meter=(2, 4))
SAMPLING = Sampling(temperature=1.0, seed=7)
BAR = 1_920


@pytest.fixture(scope="module")
def quartet(invented) -> ScoreTick:
    """Eight bars for four instruments, each in a track."""
    return invented(bars=8, programs=(0, 40, 33, -1))


@pytest.fixture(scope="module")
def file(quartet, tmp_path_factory):
    path = tmp_path_factory.mktemp("prompts") / "quartet.mid"
    path.write_bytes(quartet.dumps_midi())
    return path


def notes(track, *, start: int = 0, end: int = 10**9) -> list[tuple[int, int, int, int]]:
    return sorted(
        (note.time - start, note.duration, note.pitch, note.velocity)
        for note in track.notes
        if start <= note.time < end
    )


# Selections ---------------------------------------------------------------------------------------


def test_only_the_selection_is_read(tiny_composer, quartet) -> None:
    selection = Selection(tracks={0, 2}, first_bar=3, last_bar=5, keep_others=False)
    cut = quartet.copy()
    cut.tracks = type(cut.tracks)([cut.tracks[0], cut.tracks[2]])
    for track in cut.tracks:
        selected_notes = notes(track, start=2 * BAR, end=5 * BAR)
        track.notes = type(track.notes)([NoteTick(*note) for note in selected_notes])
    piece = tiny_composer.compose(
        bars=3, prompt=quartet, prompt_selection=selection, sampling=SAMPLING
    )
    same = tiny_composer.compose(bars=3, prompt=cut, sampling=SAMPLING)
    assert piece.tokens == same.tokens
    assert piece.score == same.score
    assert piece.constraints == same.constraints
    assert piece.constraints == tiny_composer.default_constraints(
        quartet, prompt_selection=selection
    )
    assert (piece.prompt_bars, piece.prompt_end_tick, piece.accompaniment_tracks) == (3, 3 * BAR, 0)


@pytest.mark.parametrize("bars", [1, 2, 6])
def test_other_tracks_accompany_unchanged(bars, tiny_composer, quartet) -> None:
    selection = Selection(tracks={0}, first_bar=3, last_bar=6)
    alone = replace(selection, keep_others=False)
    asked = {"bars": bars, "prompt": quartet, "sampling": SAMPLING}
    piece = tiny_composer.compose(**asked, prompt_selection=selection)
    solo = tiny_composer.compose(**asked, prompt_selection=alone)
    assert piece.tokens == solo.tokens
    assert piece.continuation == solo.continuation
    assert piece.note_probabilities() == solo.note_probabilities()
    assert piece.accompaniment_tracks == 3
    end = min(4 + bars, 6) * BAR
    for track, given_track in zip(piece.score.tracks[1:4], quartet.tracks[1:], strict=True):
        assert (track.name, track.program) == (given_track.name, given_track.program)
        assert notes(track) == notes(given_track, start=2 * BAR, end=2 * BAR + end)


def test_the_accompaniment_ends_with_the_new_music(tiny_composer, quartet) -> None:
    long = quartet.copy()
    held = long.tracks[1].notes[0]
    held.duration = 8 * BAR
    long.tracks[1].notes = type(long.tracks[1].notes)([held])
    selection = Selection(tracks={0}, last_bar=2)
    asked = {"prompt": long, "prompt_selection": selection, "sampling": SAMPLING}
    for bars in (1, 3):
        piece = tiny_composer.compose(bars=bars, **asked)
        assert piece.score.end() <= (2 + bars) * BAR
        assert piece.score.tracks[1].notes[0].end == (2 + bars) * BAR


def test_tracks_keep_their_index_in_all_drafts(tiny_composer, quartet) -> None:
    crowd = quartet.copy()
    for entry in (6 * BAR, 0):  # the first one starts last
        violin = TrackTick("Violin", 40, False)
        violin.notes.append(NoteTick(entry + 480, BAR, 62, 80))
        crowd.tracks.append(violin)
    *drafts, piece = tiny_composer.stream(
        bars=6,
        prompt=crowd,
        prompt_selection=Selection(tracks={0}, last_bar=2),
        sampling=SAMPLING,
        constraints=Constraints(programs={0, 40}, meter=(4, 4)),
    )
    assert [track.name for track in piece.score.tracks].count("Violin") == 3
    for bars, draft in enumerate(drafts, start=1):
        for early, late in zip(draft.score.tracks, piece.score.tracks, strict=False):
            assert (early.name, early.program) == (late.name, late.program)
            till = (2 + bars) * BAR
            assert [n.time for n in early.notes] == [n.time for n in late.notes if n.time < till]
        assert programs_of(draft.continuation) <= {0, 40}


@settings(max_examples=8)
@given(
    st.none() | st.frozensets(st.integers(0, 3), min_size=1),
    st.integers(1, 4),
    st.integers(4, 8),
    st.booleans(),
    st.integers(1, 4),
)
def test_every_method_gives_the_same_piece_with_a_selection(
    tiny_composer, quartet, tracks, first, last, keep, bars
) -> None:
    selection = Selection(tracks=tracks, first_bar=first, last_bar=last, keep_others=keep)
    asked = {"prompt": quartet, "prompt_selection": selection, "sampling": SAMPLING}
    piece = tiny_composer.compose(bars=bars, **asked)
    assert piece.prompt_end_tick == (last - first + 1) * BAR
    *_, draft = tiny_composer.stream(bars=bars, **asked)
    assert draft.to_midi() == piece.to_midi()
    for cut in range(bars):
        again = tiny_composer.extend(piece.truncated(cut), bars=bars - cut)
        assert again.to_midi() == piece.to_midi()
    assert len(piece.note_probabilities()) == piece.continuation.note_num()
    new = [n for t in piece.continuation.tracks for n in t.notes]
    assert all(0 <= note.time < bars * BAR for note in new)
    again = tiny_composer.reproduce(piece.recipe, prompt=quartet)
    assert again == piece
    assert again.to_midi() == piece.to_midi()


@pytest.mark.parametrize(
    "way", ["compose", "stream", "compose_many", "stream_many", "stream_endless"]
)
def test_every_method_refuses_a_missing_track(way, tiny_composer, quartet) -> None:
    count = (2,) if "many" in way else ()
    with pytest.raises(ScoreError, match=r"no track 4; .*numbers 0 to 3"):
        getattr(tiny_composer, way)(*count, prompt=quartet, prompt_selection=Selection({4}))


# Recipes ------------------------------------------------------------------------------------------


def assert_reproduced(composer: Composer, piece: Composition, prompt: object = None) -> None:
    for only_new in (False, True):
        midi = piece.to_midi(only_new=only_new)
        recipe = read_recipe(midi)
        assert recipe == piece.recipe == Recipe.from_link(recipe.to_link())
        again = composer.reproduce(recipe, prompt=prompt)
        assert again.to_midi(only_new=only_new) == midi
        assert again == piece


def test_a_new_piece_is_reproduced(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=3, surprise=Surprise("bold"), constraints=PIANO)
    assert_reproduced(tiny_composer, piece)
    assert_reproduced(tiny_composer, tiny_composer.compose(bars=1, constraints=PIANO))


def test_a_piece_with_a_file_as_prompt_is_reproduced(tiny_composer, file) -> None:
    piece = tiny_composer.compose(bars=3, prompt=file, prompt_bars=2, sampling=SAMPLING)
    assert_reproduced(tiny_composer, piece, file)
    assert_reproduced(tiny_composer, piece, file.read_bytes())
    assert tiny_composer.compose(
        bars=3, prompt=file.read_bytes(), prompt_bars=2, sampling=SAMPLING
    ).to_midi() == (piece.to_midi())


def test_a_piece_with_an_example_as_prompt_needs_no_file(tiny_composer) -> None:
    example = next(iter(example_files().values()))
    piece = tiny_composer.compose(bars=2, prompt=example, sampling=SAMPLING)
    assert piece.recipe.source.name == f"bundled:{example.stem}"
    assert_reproduced(tiny_composer, piece)
    assert_reproduced(tiny_composer, piece, example)


def test_a_piece_with_several_steps_is_reproduced(tiny_composer, file) -> None:
    selection = Selection(tracks={0, 1}, first_bar=2, last_bar=5)
    piece = tiny_composer.compose(
        bars=5,
        prompt=file,
        prompt_selection=selection,
        sampling=SAMPLING,
        surprise=Surprise("bold"),
    )
    other = tiny_composer.extend(piece.truncated(3), bars=2, sampling=Sampling(1.3, seed=9))
    slow = tiny_composer.extend(
        other.truncated(4),
        bars=4,
        constraints=Constraints(programs={0, 73}, tempo_bpm=60, key="prompt", ending=True),
        surprise=Surprise([0, 0, 0, 0, 0.9]),
    )
    assert [step.bars for step in slow.recipe.steps] == [3, 1, 4]
    assert_reproduced(tiny_composer, other, file)
    assert_reproduced(tiny_composer, slow, file)
    for bars in range(1, 8):
        assert_reproduced(tiny_composer, slow.truncated(bars), file)
    begin = slow.truncated(0)
    assert tiny_composer.reproduce(begin.recipe, prompt=file).to_midi() == begin.to_midi()


def test_alternatives_and_drafts_are_reproduced(tiny_composer) -> None:
    constraints = replace(PIANO, ending=True)
    for take in tiny_composer.compose_many(3, bars=3, sampling=SAMPLING, constraints=constraints):
        assert_reproduced(tiny_composer, take)
    for draft in tiny_composer.stream(bars=3, sampling=SAMPLING, constraints=constraints):
        assert_reproduced(tiny_composer, draft)


def test_steps_with_equal_settings_are_merged(tiny_composer, quartet) -> None:
    piece = tiny_composer.compose(bars=2, prompt=quartet, sampling=SAMPLING)
    longer = tiny_composer.extend(piece, bars=3)
    assert [(step.bars, step.constraints) for step in longer.recipe.steps] == [(5, None)]
    assert longer.recipe == tiny_composer.compose(bars=5, prompt=quartet, sampling=SAMPLING).recipe


def test_a_copied_checkpoint_gives_the_same_bytes(tiny_composer, tiny_checkpoint, tmp_path) -> None:
    import shutil

    other = Composer.from_pretrained(shutil.copytree(tiny_checkpoint, tmp_path / "elsewhere"))
    piece = tiny_composer.compose(bars=2, sampling=SAMPLING, constraints=PIANO)
    assert other.name == "elsewhere"
    assert other.fingerprint == tiny_composer.fingerprint
    assert other.reproduce(piece.recipe).to_midi() == piece.to_midi()
    assert str(tmp_path) not in other.compose(bars=1, constraints=PIANO).recipe.to_json()


def test_other_weights_are_refused(tiny_composer, tiny_network, tiny_tokenizer) -> None:
    other = Composer(tiny_network(seed=1), tiny_tokenizer)
    recipe = tiny_composer.compose(bars=1, sampling=SAMPLING, constraints=PIANO).recipe
    with pytest.raises(RecipeError) as refusal:
        other.reproduce(recipe)
    for fact in (tiny_composer.fingerprint, tiny_composer.name, other.fingerprint):
        assert fact in str(refusal.value)


def test_untrusted_names_of_weights_are_shortened(tiny_composer) -> None:
    recipe = tiny_composer.compose(bars=1, sampling=SAMPLING, constraints=PIANO).recipe
    untrusted = "<b>\n\u202e" + "x" * 190
    info = replace(recipe.model_info, model=untrusted, weights=untrusted)
    with pytest.raises(RecipeError) as refusal:
        tiny_composer.reproduce(replace(recipe, model_info=info))
    assert str(refusal.value).isascii()
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_another_file_is_refused(tiny_composer, file, invented) -> None:
    recipe = tiny_composer.compose(bars=1, prompt=file, sampling=SAMPLING).recipe
    with pytest.raises(RecipeError, match=r"continues a file with SHA-256 .*, and the prompt is"):
        tiny_composer.reproduce(recipe, prompt=invented(bars=3))
    with pytest.raises(RecipeError, match="pass it as the prompt"):
        tiny_composer.reproduce(recipe)
    with pytest.raises(RecipeError, match="has no prompt"):
        tiny_composer.reproduce(
            tiny_composer.compose(bars=1, constraints=PIANO).recipe, prompt=file
        )


def test_impossible_constraints_in_a_recipe_are_refused(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=1, sampling=SAMPLING, constraints=PIANO)
    (step,) = piece.recipe.steps
    bad = replace(step, constraints=Constraints(programs={-1}, pitch_ranges={-1: (0, 20)}))
    with pytest.raises(ValueError, match="leaves nothing to play"):
        tiny_composer.reproduce(replace(piece.recipe, steps=(bad,)))


def test_other_music_than_recorded_is_an_error(tiny_composer) -> None:
    recipe = tiny_composer.compose(bars=2, constraints=PIANO, sampling=SAMPLING).recipe
    assert recipe is not None
    assert len(recipe.music) == 8
    other = replace(recipe, music="00000000")
    with pytest.raises(RecipeError, match="gives other music on this machine"):
        tiny_composer.reproduce(other)
    assert tiny_composer.reproduce(replace(recipe, music="")).recipe == recipe
