"""Files and links of a piece: content, names and errors."""

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
from musiclstm.audio import Mix
from musiclstm.audio.soundfonts import find_soundfont
from musiclstm.audio.synthesizer import Synth
from musiclstm.export.pianoroll import pianoroll_data
from page.downloads import KINDS, file_of, link_of, needs_file, prompt_in_link, safe_name
from page.playback.track_mix import TrackMix
from page.session.prompt import PromptChoice

TITLE = "Minuet in G (Petzold)"
TUNE = example_files()[TITLE]


@pytest.fixture(scope="module")
def piece(tiny_composer):
    return tiny_composer.compose(bars=3, prompt=TUNE, sampling=Sampling(seed=11))


@pytest.fixture
def write(piece, tmp_path):
    def write_kind(kind, **options):
        return file_of(piece, kind=kind, folder=tmp_path, title=TITLE, **options)

    return write_kind


@pytest.fixture(scope="module")
def speaker():
    try:
        with Synth(find_soundfont()):
            return
    except RenderError as error:
        pytest.skip(f"no synthesizer: {error}")


# -- Files ---------------------------------------------------------------------------------------


def test_the_whole_piece_keeps_its_recipe(piece, write, tiny_composer):
    path = write("midi")
    assert path.name == "musiclstm-minuet-in-g-petzold-11.mid"
    assert path.read_bytes() == piece.to_midi()
    again = tiny_composer.reproduce(read_recipe(path.read_bytes()))
    assert again.to_midi() == piece.to_midi()


def test_the_file_of_new_bars_has_no_prompt(piece, write):
    path = write("new_midi")
    assert path.name == "musiclstm-minuet-in-g-petzold-11-new.mid"
    score, _ = read_midi(path)
    assert score.note_num() == piece.continuation.note_num()
    assert len(pianoroll_data(score, prompt_end_tick=0)["bars"]["ticks"]) - 1 <= 3


def test_the_archive_has_one_file_per_track(piece, write):
    with zipfile.ZipFile(write("tracks")) as archive:
        names = archive.namelist()
        notes = [read_midi(archive.read(name))[0].note_num() for name in names]
    wanted = [len(track.notes) for track in piece.score.tracks if len(track.notes)]
    assert notes == wanted
    assert len(notes) > 1
    assert names[0] == "01 Right hand.mid"
    assert all(re.fullmatch(r"\d\d [A-Za-z0-9 ()-]+\.mid", name) for name in names)


def test_tracks_of_one_program_are_not_merged(tiny_composer, invented, tmp_path):
    prompt = invented(bars=4, programs=(40, 40))
    piece = tiny_composer.compose(bars=4, prompt=prompt, sampling=Sampling(seed=11))
    wanted = [len(track.notes) for track in piece.score.tracks]
    assert len(wanted) == 2
    with zipfile.ZipFile(file_of(piece, kind="tracks", folder=tmp_path, title="")) as archive:
        assert archive.namelist() == ["01 Track 40.mid", "02 Track 40 (2).mid"]
        found = [read_midi(archive.read(name))[0].note_num() for name in archive.namelist()]
    assert found == wanted
    pytest.importorskip("music21", reason="music21 is not installed")
    path = file_of(piece, kind="musicxml", folder=tmp_path, title="")
    assert len(ElementTree.fromstring(path.read_bytes()).findall("part")) == 2


def test_the_same_piece_gives_the_same_archive(write):
    assert write("tracks").read_bytes() == write("tracks").read_bytes()


def test_the_recipe_file_holds_the_recipe(piece, write):
    text = write("recipe").read_text(encoding="utf-8")
    assert json.loads(text)["seed"] == "bundled:minuet_in_g"
    assert Recipe.from_json(text) == piece.recipe


def test_musicxml_has_all_bars_and_the_title(write):
    pytest.importorskip("music21", reason="music21 is not installed")
    root = ElementTree.fromstring(write("musicxml").read_bytes())
    assert TITLE in ElementTree.tostring(root, encoding="unicode")
    assert len(root.find("part").findall("measure")) == 8 + 3


@pytest.mark.fluidsynth
@pytest.mark.usefixtures("speaker")
@pytest.mark.parametrize("kind", ["wav", "mp3"])
def test_sound_files_are_as_long_as_the_music(piece, write, kind):
    samples, rate = soundfile.read(write(kind))
    seconds = pianoroll_data(piece.score, prompt_end_tick=0)["bars"]["seconds"]
    assert abs(samples).max() > 0.1
    assert seconds[-2] < len(samples) / rate < seconds[-1] + 3


@pytest.mark.fluidsynth
@pytest.mark.usefixtures("speaker")
def test_sound_follows_the_mix(piece, write):
    both, alone = (
        soundfile.read(write("wav", mix=TrackMix(muted=frozenset(muted))))[0]
        for muted in ((), (0,))
    )
    length = min(len(both), len(alone))
    assert abs(both[:length] - alone[:length]).max() > 0.05


def test_a_missing_soundfont_is_named(write):
    with pytest.raises(RenderError, match=r"nowhere.sf2"):
        write("wav", mix=TrackMix(Mix(soundfont="nowhere.sf2")))


def test_an_unknown_kind_is_rejected(write, tmp_path):
    with pytest.raises(ScoreError, match=r"'\.\./exe'; choose midi"):
        write("../exe")
    assert not list(tmp_path.iterdir())


def test_every_kind_has_a_label_of_its_own():
    assert len(set(KINDS.values())) == len(KINDS) == 7


def test_a_piece_without_notes_has_no_tracks(tiny_composer, tmp_path):
    nothing = tiny_composer.compose(bars=1).truncated(0)
    with pytest.raises(ScoreError, match="no notes"):
        file_of(nothing, kind="tracks", folder=tmp_path, title="")


def test_a_piece_without_recipe_has_no_link(piece, tmp_path, monkeypatch):
    monkeypatch.setattr(type(piece), "recipe", None)
    assert link_of(piece, PromptChoice.bundled(TITLE)) is None
    with pytest.raises(RecipeError, match="earlier version"):
        file_of(piece, kind="recipe", folder=tmp_path, title=TITLE)


# -- Names ---------------------------------------------------------------------------------------


@given(st.text(max_size=300))
def test_any_title_gives_a_portable_file_name(title):
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


def test_a_link_reproduces_the_same_bytes(piece, tiny_composer):
    link = link_of(piece, PromptChoice.bundled(TITLE)).code
    assert re.fullmatch("[A-Za-z0-9_-]+", link)
    recipe = Recipe.from_link(link)
    assert tiny_composer.reproduce(recipe).to_midi() == piece.to_midi()


def test_a_small_prompt_travels_in_the_fragment(tiny_composer, invented):
    prompt = PromptChoice.read(invented(bars=2).dumps_midi(), title="a & b.mid")
    piece = tiny_composer.compose(bars=1, prompt=prompt.prompt)
    link = link_of(piece, prompt)
    code, _, fragment = link.code.partition("#")
    assert link.wanted_file == ""
    found = prompt_in_link(fragment)
    assert (found.title, found.prompt) == ("a & b.mid", prompt.prompt)
    again = tiny_composer.reproduce(Recipe.from_link(code), prompt=found.prompt)
    assert again.to_midi() == piece.to_midi()
    with pytest.raises(ScoreError, match="damaged"):
        prompt_in_link("prompt=" + fragment[7:40] + "&name=x")


def test_a_link_names_a_file_that_is_too_large_for_it(tiny_composer, invented, monkeypatch):
    monkeypatch.setattr("page.downloads.MAX_PROMPT_BYTES", 10)
    prompt = PromptChoice.read(invented(bars=2).dumps_midi(), title="own.mid")
    piece = tiny_composer.compose(bars=1, prompt=prompt.prompt)
    link = link_of(piece, prompt)
    assert (link.wanted_file, "#" in link.code) == ("own.mid", False)


def test_only_recipes_of_uploaded_files_need_a_file(piece, tiny_composer, invented):
    assert not needs_file(piece.recipe)
    assert not needs_file(tiny_composer.compose(bars=1).recipe)
    assert needs_file(tiny_composer.compose(bars=1, prompt=invented(bars=2)).recipe)
