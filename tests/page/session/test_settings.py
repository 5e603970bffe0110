"""Validation of the controls, and their conversion to the library's options."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from musiclstm import Constraints, MusicLSTMError, Sampling, Surprise, example_files
from musiclstm.audio.soundfonts import installed_soundfonts
from musiclstm.generation.constraints import KEY_OF_PROMPT, MAX_NOTES_AT_ONCE, Scale
from musiclstm.tokens import supports_time_signature
from page.playback.track_mix import TrackMix
from page.session.composer_options import (
    constraints_of,
    mix_of,
    sampling_of,
    settings_of,
    surprise_of,
)
from page.session.settings import (
    AS_PROMPT,
    BOUNDS,
    ENDLESS_BARS,
    FREE,
    KEYS,
    METERS,
    PageSettings,
    SettingsError,
    from_values,
    values_of,
)

DRUMS = -1
WHOLE = {"bars", "random_seed", "top_k", "lowest", "highest", "most_at_once"}
WHOLE |= {"fewest_notes", "most_notes"}


def bounded(name):
    least, most = BOUNDS[name]
    if name in WHOLE:
        return st.integers(int(least), int(most))
    return st.floats(least, most)


numbers = {name: bounded(name) for name in BOUNDS if name not in ("lowest", "highest")}
optional = {
    name: st.none() | numbers[name] for name in numbers if getattr(PageSettings, name) is None
}
valid = st.builds(
    PageSettings,
    **{**numbers, **optional, "fewest_notes": st.just(0)},
    lowest=st.integers(0, 60),
    highest=st.integers(60, 127),
    endless=st.booleans(),
    ending=st.booleans(),
    key=st.sampled_from(KEYS),
    meter=st.sampled_from(METERS),
    instruments=st.none() | st.sets(st.integers(-1, 127), min_size=1),
    swaps=st.dictionaries(st.integers(0, 127), st.integers(0, 127), max_size=4),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def tune():
    return next(iter(example_files().values()))


# -- Values of the page ---- ----------------------------------------------------------------------


def test_default_settings_are_the_library_s_defaults(tiny_composer, tune):
    settings = from_values({})
    assert settings == PageSettings()
    assert sampling_of(settings) == Sampling()
    assert surprise_of(settings) == Surprise()
    assert mix_of(settings) == TrackMix()
    for prompt in (tune, None):
        asked = constraints_of(settings, composer=tiny_composer, prompt=prompt)
        assert asked == tiny_composer.default_constraints(prompt)


@given(valid)
def test_settings_survive_json(settings):
    assert from_values(json.loads(json.dumps(values_of(settings)))) == settings


@given(valid, st.sampled_from(sorted(numbers)), st.data(), st.integers(0, 2**32 - 1))
def test_changing_one_control_keeps_the_others_and_the_seed(settings, name, data, used):
    shown = values_of(replace(settings, fewest_notes=0, random_seed=used))
    wanted = data.draw(st.integers(0, 1) if name == "fewest_notes" else numbers[name])
    changed = from_values(shown | {name: wanted})
    assert getattr(changed, name) == wanted
    others = {each.name for each in fields(PageSettings)} - {name}
    assert {each: getattr(changed, each) for each in others} == {
        each: getattr(from_values(shown), each) for each in others
    }
    if name != "random_seed":
        assert sampling_of(changed).seed == used


@given(st.sampled_from([each.name for each in fields(PageSettings)]), anything)
def test_any_value_is_accepted_or_rejected_in_one_sentence(name, value):
    try:
        settings = from_values({name: value})
    except SettingsError as error:
        sentence = str(error)
    else:
        assert from_values(values_of(settings)) == settings
        return
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(sentence) < 500


@pytest.mark.parametrize(
    ("values", "fact"),
    [
        ({"bars": 65}, "bars must be a whole number from 1 to 64, got 65."),
        ({"bars": 8.5}, "bars must be a whole number from 1 to 64, got 8.5."),
        ({"bars": 10**30}, "bars must be a whole number from 1 to 64, got 1000"),
        ({"gain_db": float("inf")}, "gain db must be a number from -20 to 20, got inf."),
        ({"endless": 1}, "endless must be true or false, got 1."),
        ({"key": "H major"}, "key must be one of as the prompt, free, C major"),
        ({"meter": "13/16"}, "meter must be one of as the prompt, free, 4/4"),
        ({"instruments": [128]}, "instruments must be a list of programs from -1"),
        ({"swaps": {"-1": 3}}, "swaps must be indices of tracks, each"),
        ({"lowest": 70, "highest": 60}, "The lowest pitch, 70, is above the highest, 60;"),
        ({"fewest_notes": 9, "most_notes": 4}, "cannot have at least 9 and at most 4 notes;"),
        ({"volume": 3}, "There is no setting 'volume'; leave it out."),
        ({"soundfont": "../../etc/passwd"}, "soundfont must be"),
    ],
)
def test_an_error_names_the_control_its_range_and_the_value(values, fact):
    with pytest.raises(SettingsError) as error:
        from_values(values)
    assert fact in str(error.value)
    assert isinstance(error.value, MusicLSTMError)


def test_a_path_is_not_accepted_as_soundfont():
    for path in installed_soundfonts().values():
        with pytest.raises(SettingsError, match="soundfont must be one of"):
            PageSettings(soundfont=str(path))


def test_whole_floats_and_empty_values_are_accepted():
    settings = from_values({"bars": 16.0, "random_seed": None, "instruments": [], "soundfont": ""})
    assert (settings.bars, type(settings.bars)) == (16, int)
    assert settings == PageSettings(bars=16)


def test_settings_are_summarized_without_defaults():
    assert str(PageSettings(bars=1)) == ""
    settings = PageSettings(
        adventurous=1.1, lively=-0.5, key="D minor", meter="3/4", surprise=1, tempo_bpm=90
    )
    assert str(settings) == "D minor, 3/4, calmer, more surprising, bold surprises, 90 bpm"
    settings = PageSettings(endless=True, instruments=(40, DRUMS), surprise=0.5, ending=True)
    assert str(settings) == "surprises, Drums and Violin"


# -- Options of the library -----------------------------------------------------------------------


def test_the_library_accepts_every_choice():
    assert len(KEYS) == 26
    for key in KEYS[2:]:
        assert Scale.named(key)
    for meter in METERS[2:]:
        assert supports_time_signature(*map(int, meter.split("/")))


@given(valid)
def test_valid_settings_convert_to_options_or_are_rejected(tiny_composer, settings):
    sampling = sampling_of(settings)
    assert sampling.temperature == settings.adventurous
    assert sampling.seed == settings.random_seed
    assert sampling.copy_weight == settings.copy_weight
    assert mix_of(settings).programs == dict(settings.swaps)
    with suppress(SettingsError):
        asked = constraints_of(settings, composer=tiny_composer)
        assert asked.ending == (settings.ending and not settings.endless)


@pytest.mark.parametrize(
    ("surprise", "schedule"), [(0, "off"), (0.1, "gentle"), (0.5, "gentle"), (1, "bold")]
)
def test_surprise_is_off_gentle_or_bold(surprise, schedule):
    assert surprise_of(PageSettings(surprise=surprise)) == Surprise(schedule)


def test_the_prompt_s_constraints_change_only_where_a_control_does(tiny_composer, tune):
    usual = tiny_composer.default_constraints(tune)
    assert usual.programs
    assert usual.meter == (3, 4)

    def constraints(**changes):
        return constraints_of(PageSettings(**changes), composer=tiny_composer, prompt=tune)

    assert constraints(key="D minor") == replace(usual, key="D minor")
    assert constraints(key=AS_PROMPT) == replace(usual, key=KEY_OF_PROMPT)
    assert constraints(meter="6/8") == replace(usual, meter=(6, 8))
    assert constraints(meter=FREE) == replace(usual, meter=None)
    assert constraints(instruments=(40,)) == replace(usual, programs={40})
    assert constraints(tempo_bpm=90) == replace(usual, tempo_bpm=90)
    assert constraints(ending=True) == replace(usual, ending=True)
    assert constraints(ending=True, endless=True) == usual
    assert constraints(most_notes=9) == replace(usual, notes_per_bar=(0, 9))
    assert constraints(fewest_notes=2) == replace(usual, notes_per_bar=(2, 256))
    lower = replace(usual, pitch_ranges=dict.fromkeys(usual.programs, (0, 59)))
    assert constraints(highest=59) == lower
    two = replace(usual, max_polyphony=2, max_notes_at_once=2)
    assert constraints(most_at_once=2) == two
    full = constraints(most_at_once=MAX_NOTES_AT_ONCE)
    assert full == replace(usual, max_polyphony=32)


@pytest.mark.parametrize(
    ("lively", "notes"), [(-1, (0, 4)), (-0.5, (0, 7)), (0.5, (15, 256)), (1, (20, 256))]
)
def test_livelier_music_has_more_notes_than_the_music_before(tiny_composer, lively, notes):
    settings = PageSettings(lively=lively)
    asked = constraints_of(settings, composer=tiny_composer, notes_per_bar=10)
    assert asked.notes_per_bar == notes
    stated = constraints_of(replace(settings, most_notes=9), composer=tiny_composer)
    assert stated.notes_per_bar == (0, 9)


def test_a_new_piece_keeps_its_band_key_and_meter(tiny_composer):
    form = PageSettings(instruments=(0, 40), key="D minor", meter="3/4", tempo_bpm=90)
    first = constraints_of(form, composer=tiny_composer)
    piece = tiny_composer.compose(bars=1, constraints=first)
    kept = constraints_of(PageSettings(), composer=tiny_composer, after=piece)
    assert (kept.programs, kept.key, kept.meter) == ({0, 40}, "D minor", (3, 4))


def test_without_a_prompt_its_key_is_free(tiny_composer):
    asked = constraints_of(PageSettings(key=AS_PROMPT), composer=tiny_composer)
    assert asked == Constraints()
    tiny_composer.compose(bars=1, constraints=asked)


def test_a_prompt_of_drums_has_no_key(tiny_composer, invented):
    drums = invented(bars=2, programs=(DRUMS,))
    settings = PageSettings(key=AS_PROMPT)
    asked = constraints_of(settings, composer=tiny_composer, prompt=drums)
    assert asked.key is None
    tiny_composer.compose(bars=1, prompt=drums, constraints=asked)


def test_the_pitch_range_applies_to_all_instruments_but_drums(tiny_composer):
    asked = constraints_of(PageSettings(lowest=50, highest=70), composer=tiny_composer)
    assert asked.ranges == dict.fromkeys(range(128), (50, 70))
    piece = tiny_composer.compose(bars=2, constraints=asked)
    pitches = [n.pitch for t in piece.score.tracks if not t.is_drum for n in t.notes]
    assert all(50 <= pitch <= 70 for pitch in pitches)


def test_impossible_constraints_are_rejected(tiny_composer, tune):
    narrow = PageSettings(key="C major", lowest=61, highest=61)
    with pytest.raises(SettingsError, match="C major"):
        constraints_of(narrow, composer=tiny_composer, prompt=tune)
    with pytest.raises(SettingsError, match="pitched instrument"):
        constraints_of(PageSettings(instruments=(DRUMS,), ending=True), composer=tiny_composer)


def test_an_extension_keeps_the_constraints_of_the_prompt(tiny_composer, tune):
    piece = tiny_composer.compose(bars=1, prompt=tune, constraints=Constraints(meter=(4, 4)))
    asked = constraints_of(PageSettings(bars=2), composer=tiny_composer, after=piece)
    assert asked == tiny_composer.default_constraints(tune)
    begun = tiny_composer.compose(bars=1)
    settings = PageSettings(key=AS_PROMPT)
    assert constraints_of(settings, composer=tiny_composer, after=begun) == Constraints()


def test_endless_music_asks_for_many_bars():
    assert PageSettings(bars=4).new_bars == 4
    assert PageSettings(endless=True).new_bars == ENDLESS_BARS


# -- Recipes -------------------------------------------------------------------------------------

settings_with_recipes = st.builds(
    PageSettings,
    bars=st.integers(1, 2),
    adventurous=numbers["adventurous"],
    surprise=st.sampled_from([0, 0.5, 1]),
    key=st.sampled_from(KEYS),
    meter=st.sampled_from([AS_PROMPT, "4/4", "6/8"]),
    random_seed=numbers["random_seed"],
    top_k=st.integers(0, 50),
    highest=st.sampled_from([100, 127]),
    most_at_once=st.none() | st.integers(1, 8),
    most_notes=st.none() | st.integers(4, 40),
    ending=st.booleans(),
    tempo_bpm=st.none() | st.integers(40, 200),
)


@given(settings_with_recipes)
@profile(max_examples=25)
def test_a_recipe_restores_the_controls(tiny_composer, tune, settings):
    common = {"prompt": tune}
    piece = tiny_composer.compose(
        bars=settings.bars,
        sampling=sampling_of(settings),
        constraints=constraints_of(settings, composer=tiny_composer, **common),
        surprise=surprise_of(settings),
        **common,
    )
    found = settings_of(piece.recipe)
    assert found.bars == settings.bars
    assert sampling_of(found) == piece.sampling
    assert surprise_of(found) == piece.surprise
    assert constraints_of(found, composer=tiny_composer, **common) == piece.constraints


def test_numbers_out_of_range_are_clipped(tiny_composer):
    few = Constraints(programs={0}, notes_per_bar=(0, 2))
    sampling = Sampling(temperature=5.0, seed=1)
    piece = tiny_composer.compose(bars=70, sampling=sampling, constraints=few)
    found = settings_of(piece.recipe)
    assert (found.bars, found.adventurous, found.random_seed) == (64, 1.5, 1)
    assert settings_of(piece.truncated(0).recipe) == PageSettings()
