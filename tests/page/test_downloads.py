"""What is taken home can be opened, holds what it says, and has a name that any computer takes."""

from __future__ import annotations

import json
import re
import zipfile
from xml.etree import ElementTree

import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from musiclstm import (
    Recipe,
    RecipeError,
    RenderError,
    Sampling,
    ScoreError,
    example_files,
    read_midi,
    read_recipe,
)
from musiclstm.audio.mix import Mix
from musiclstm.audio.soundfonts import find_soundfont
from musiclstm.audio.synthesizer import Synth
from musiclstm.export.pianoroll import pianoroll_data
from page.downloads import KINDS, file_of, from_link, link_of, needs_file, safe_name

TITLE = "Minuet in G (Petzold)"
TUNE = example_files()[TITLE]


@pytest.fixture(scope="module")
def piece(tiny_composer):
    return tiny_composer.compose(bars=3, prompt=TUNE, sampling=Sampling(seed=11))


@pytest.fixture
def taken(piece, tmp_path):
    def take(kind, **options):
        return file_of(piece, kind=kind, folder=tmp_path, title=TITLE, **options)

    return take


@pytest.fixture(scope="module")
def speaker():
    try:
        with Synth(find_soundfont()):
            return
    except RenderError as error:
        pytest.skip(f"nothing can be heard here: {error}")


# -- Files ---------------------------------------------------------------------------------------


def test_the_whole_piece_keeps_its_recipe(piece, taken, tiny_composer):
    path = taken("midi")
    assert path.name == "musiclstm-minuet-in-g-petzold-11.mid"
    assert path.read_bytes() == piece.to_midi()
    again = tiny_composer.reproduce(read_recipe(path.read_bytes()))
    assert again.to_midi() == piece.to_midi()


def test_the_new_bars_alone_are_only_the_new_bars(piece, taken):
    path = taken("new_midi")
    assert path.name == "musiclstm-minuet-in-g-petzold-11-new.mid"
    score, _ = read_midi(path)
    assert score.note_num() == piece.continuation.note_num()
    assert len(pianoroll_data(score, prompt_end_tick=0)["bars"]["ticks"]) - 1 <= 3


def test_every_track_is_alone_in_a_file_of_its_own(piece, taken):
    with zipfile.ZipFile(taken("tracks")) as archive:
        names = archive.namelist()
        notes = [read_midi(archive.read(name))[0].note_num() for name in names]
    wanted = [len(track.notes) for track in piece.score.tracks if len(track.notes)]
    assert notes == wanted
    assert len(notes) > 1
    assert names[0] == "01 Acoustic Grand Piano.mid"
    assert all(re.fullmatch(r"\d\d [A-Za-z0-9 ()-]+\.mid", name) for name in names)


def test_tracks_of_one_program_stay_apart_in_every_file(tiny_composer, invented, tmp_path):
    seed = invented(bars=4, programs=(40, 40))
    piece = tiny_composer.compose(bars=4, prompt=seed, sampling=Sampling(seed=11))
    wanted = [len(track.notes) for track in piece.score.tracks]
    assert len(wanted) == 2
    with zipfile.ZipFile(file_of(piece, kind="tracks", folder=tmp_path, title="")) as archive:
        assert archive.namelist() == ["01 Violin.mid", "02 Violin (2).mid"]
        found = [read_midi(archive.read(name))[0].note_num() for name in archive.namelist()]
    assert found == wanted
    pytest.importorskip("music21", reason="music21 is not installed")
    path = file_of(piece, kind="musicxml", folder=tmp_path, title="")
    assert len(ElementTree.fromstring(path.read_bytes()).findall("part")) == 2


def test_the_same_piece_gives_the_same_archive(taken):
    assert taken("tracks").read_bytes() == taken("tracks").read_bytes()


def test_a_recipe_can_be_read_and_followed(piece, taken):
    text = taken("recipe").read_text(encoding="utf-8")
    assert json.loads(text)["seed"] == "bundled:minuet_in_g"
    assert Recipe.from_json(text) == piece.recipe


def test_printed_music_has_all_bars_and_the_title(taken):
    pytest.importorskip("music21", reason="music21 is not installed")
    root = ElementTree.fromstring(taken("musicxml").read_bytes())
    assert TITLE in ElementTree.tostring(root, encoding="unicode")
    assert len(root.find("part").findall("measure")) == 8 + 3


@pytest.mark.fluidsynth
@pytest.mark.usefixtures("speaker")
@pytest.mark.parametrize("kind", ["wav", "mp3"])
def test_sound_is_no_silence_and_as_long_as_the_music(piece, taken, kind):
    samples, rate = soundfile.read(taken(kind))
    seconds = pianoroll_data(piece.score, prompt_end_tick=0)["bars"]["seconds"]
    assert abs(samples).max() > 0.1
    assert seconds[-2] < len(samples) / rate < seconds[-1] + 3


@pytest.mark.fluidsynth
@pytest.mark.usefixtures("speaker")
def test_sound_follows_the_mix(piece, taken):
    programs = frozenset(track.program for track in piece.score.tracks)
    samples, _ = soundfile.read(taken("wav", mix=Mix(muted=programs)))
    assert abs(samples).max() < 1e-3


def test_without_a_soundfont_one_sentence_says_what_to_do(taken):
    with pytest.raises(RenderError, match=r"No SoundFont at 'nowhere.sf2'. Pass soundfont"):
        taken("wav", mix=Mix(soundfont="nowhere.sf2"))


def test_only_what_is_asked_for_is_made(taken, tmp_path):
    taken("midi")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_kind_that_does_not_exist_is_refused(taken, tmp_path):
    with pytest.raises(ScoreError, match=r"There is no file of kind '\.\./exe'; choose midi"):
        taken("../exe")
    assert not list(tmp_path.iterdir())


def test_every_kind_has_a_label_of_its_own():
    assert len(set(KINDS.values())) == len(KINDS) == 7


def test_a_piece_without_notes_has_no_tracks_to_take(tiny_composer, tmp_path):
    nothing = tiny_composer.compose(bars=1).truncated(0)
    with pytest.raises(ScoreError, match="has no notes, so there are no tracks"):
        file_of(nothing, kind="tracks", folder=tmp_path, title="")


def test_a_piece_of_nobody_has_no_recipe(piece, tmp_path, monkeypatch):
    monkeypatch.setattr(type(piece), "recipe", None)
    assert link_of(piece) is None
    with pytest.raises(RecipeError, match="too many bars or steps for a recipe; go back"):
        file_of(piece, kind="recipe", folder=tmp_path, title=TITLE)


# -- Names ---------------------------------------------------------------------------------------


@given(st.text(max_size=300))
def test_whatever_the_title_the_name_is_harmless(title):
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", safe_name(title))


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Für Elise (Beethoven)", "fur-elise-beethoven"),
        ("../../etc/passwd", "etc-passwd"),
        ("<script>", "script"),
        ("夜", "piece"),
        ("", "piece"),
        ("x" * 99, "x" * 40),
    ],
)
def test_a_title_becomes_a_name(title, name):
    assert safe_name(title) == name


# -- Links ---------------------------------------------------------------------------------------


def test_a_link_gives_the_same_bytes(piece, tiny_composer):
    link = link_of(piece)
    assert re.fullmatch("[A-Za-z0-9_-]+", link)
    recipe = from_link(f" {link}\n")
    assert tiny_composer.reproduce(recipe).to_midi() == piece.to_midi()


@given(st.text(max_size=60))
def test_a_link_from_anyone_is_refused_in_one_sentence(text):
    with pytest.raises(RecipeError, match="recipe"):
        from_link(text)


def test_only_a_dropped_file_has_to_be_dropped_again(piece, tiny_composer, invented):
    assert not needs_file(piece.recipe)
    assert not needs_file(tiny_composer.compose(bars=1).recipe)
    assert needs_file(tiny_composer.compose(bars=1, prompt=invented(bars=2)).recipe)
