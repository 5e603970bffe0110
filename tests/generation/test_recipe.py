"""Recipes as JSON and links: round trip, length, and refusal of invalid input."""

from __future__ import annotations

import base64
import json
import string
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from symusic.core import ScoreTick

from musiclstm import Constraints, Recipe, RecipeError, Sampling, Selection, Surprise, read_recipe
from musiclstm.generation.prompt import PromptReference
from musiclstm.generation.recipe import (
    MAX_BARS_IN_ALL,
    MAX_STEPS,
    MIDI_PREFIX,
    ModelInfo,
    Step,
    drop_defaults,
)
from musiclstm.midi import write_midi

MODEL_INFO = ModelInfo("default", "0123456789abcdef", "0.3.1")
PLAIN = Recipe(MODEL_INFO, (Step(8, Sampling(seed=7)),))
DIGEST = "sha256:" + "5a" * 32

steps = st.builds(
    Step,
    bars=st.integers(1, 30),
    sampling=st.builds(
        Sampling,
        temperature=st.floats(0, 100),
        top_p=st.floats(0.01, 1),
        top_k=st.integers(0, 99),
        seed=st.integers(0, 2**32 - 1),
        min_p=st.floats(0, 1),
        pitch_temperature=st.none() | st.floats(0, 9),
        repetition_penalty=st.floats(1, 9),
        repetition_bars=st.integers(1, 9),
        copy_weight=st.floats(0, 2),
        epsilon_cutoff=st.floats(0, 0.1),
    ),
    constraints=st.none()
    | st.builds(
        Constraints,
        programs=st.none() | st.frozensets(st.integers(-1, 127), min_size=1),
        meter=st.sampled_from([None, (3, 4), (6, 8)]),
        tempo_bpm=st.none() | st.floats(40, 200),
        tempo_changes=st.booleans(),
        key=st.sampled_from([None, "D minor", "F# dorian"]),
        max_polyphony=st.none() | st.integers(1, 9),
        notes_per_bar=st.sampled_from([None, (2, 9)]),
        max_empty_bars=st.integers(0, 3),
    )
    | st.just(Constraints(programs={0, 40}, pitch_ranges={0: (30, 60), 40: (55, 90)}, ending=True)),
    surprise=(st.sampled_from(["off", "bold"]) | st.lists(st.floats(0, 1), max_size=9)).map(
        Surprise
    ),
)
sources = st.none() | st.builds(
    PromptReference,
    name=st.sampled_from(["bundled:ode_to_joy", DIGEST]),
    selection=st.none()
    | st.builds(
        Selection,
        tracks=st.none() | st.frozensets(st.integers(0, 99), min_size=1),
        first_bar=st.integers(1, 5),
        last_bar=st.none() | st.integers(5, 9),
        keep_others=st.booleans(),
    ),
    prompt_bars=st.none() | st.integers(1, 9),
)


@given(st.lists(steps, max_size=4), sources)
def test_json_and_link_round_trip(steps, source) -> None:
    recipe = Recipe(MODEL_INFO, tuple(steps), source)
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert Recipe.from_link(recipe.to_link()) == recipe
    assert Recipe.from_json(recipe.to_json()).to_json() == recipe.to_json()
    assert set(recipe.to_link()) <= set(string.ascii_letters + string.digits + "-_")
    assert recipe.to_json().isascii()


def test_a_recipe_without_defaults_is_short() -> None:
    assert json.loads(PLAIN.to_json()) == {
        "format": 5,
        "musiclstm": "0.3.1",
        "model": "default",
        "weights": "0123456789abcdef",
        "steps": [{"bars": 8, "sampling": {"seed": 7}}],
    }
    assert len(PLAIN.to_link()) < 60
    assert len(Recipe(MODEL_INFO, PLAIN.steps, PromptReference(DIGEST)).to_link()) < 140


def test_equal_numbers_give_equal_text() -> None:
    whole = Recipe(MODEL_INFO, (Step(1, Sampling(temperature=1, seed=1)),))
    decimal = Recipe(MODEL_INFO, (Step(1, Sampling(temperature=1.0, seed=1)),))
    assert whole.to_json() == decimal.to_json()


@pytest.mark.parametrize("value", [1e16, 1e20, 1e300])
def test_very_large_numbers_round_trip(value) -> None:
    recipe = Recipe(MODEL_INFO, (Step(1, Sampling(seed=1, repetition_penalty=value)),))
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert Recipe.from_link(recipe.to_link()) == recipe


def test_numpy_booleans_round_trip() -> None:
    constraints = Constraints(tempo_changes=np.False_, ending=np.True_)
    recipe = Recipe(MODEL_INFO, (Step(1, Sampling(seed=1), constraints, end=1),))
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_an_end_needs_constraints_with_an_ending_in_this_or_an_earlier_step() -> None:
    first = Step(1, Sampling(seed=1), Constraints(ending=True), end=4)
    Recipe(MODEL_INFO, (first, Step(3, Sampling(seed=1), end=4)))
    again = Step(3, Sampling(seed=1), Constraints(), end=4)
    with pytest.raises(RecipeError, match="its constraints have no ending"):
        Recipe(MODEL_INFO, (first, again))


def test_defaults_are_those_of_the_format() -> None:
    """Recipes leave defaults out: recipe.FORMAT must rise if one of these changes."""
    assert repr(Sampling()) == (
        "Sampling(temperature=1.0, top_p=0.97, top_k=0, seed=None, min_p=0.0, "
        "epsilon_cutoff=0.0, pitch_temperature=None, rhythm_temperature=None, "
        "repetition_penalty=1.25, repetition_bars=8, copy_weight=1.0, candidates=8, similarity=1.0)"
    )
    assert repr(Constraints()) == (
        "Constraints(programs=None, meter=None, tempo_bpm=None, tempo_changes=True, key=None, "
        "pitch_ranges=None, max_polyphony=None, max_notes_at_once=32, notes_per_bar=None, "
        "max_empty_bars=1, ending=False, keep_lines=True, max_copied_notes=None)"
    )
    assert repr(Selection()) == (
        "Selection(tracks=None, first_bar=1, last_bar=None, keep_others=True)"
    )
    assert Surprise().schedule == "off"


LINK = "5L9DdSEe15gnJaZYpCalpKSYmyUbmaYqYfcQuoMMjbA6CRhCKO4w0DNFcaWFZWJSMtAZSrUA"
OLD = "PcdDdTUeF5onJaZYpCalpKSYmyUbmaZidzE2f6M70tAIqzOBAYnmNlMUl1tYJiYlA12mVAsA"  # of version 0.3.0


def test_a_link_of_this_format_stays_readable() -> None:
    model_info = ModelInfo("default", "7bad8ebddd76c25e", "0.3.1")
    steps = (Step(128, Sampling(seed=1, copy_weight=0.5)),)
    assert Recipe.from_link(LINK) == Recipe(model_info, steps, music="89abcdef")


def test_a_link_of_an_earlier_version_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"another version of musiclstm, such as 0\.3\.0; open"):
        Recipe.from_link(OLD)


def test_constraints_and_ends_that_can_be_derived_are_left_out() -> None:
    usual, slow = Constraints(), Constraints(tempo_bpm=60)
    close = Constraints(ending=True)
    full = (
        Step(2, Sampling(seed=1), usual),
        Step(3, Sampling(seed=2), usual),
        Step(1, Sampling(seed=2), slow),
        Step(1, Sampling(seed=2), close, end=9),
        Step(1, Sampling(seed=2), close, end=8),
    )
    short = drop_defaults(full, usual)
    assert [step.constraints for step in short] == [None, None, slow, close, None]
    assert [step.end for step in short] == [None, None, None, 9, None]


# Recipes in MIDI files ----------------------------------------------------------------------------


def test_a_recipe_is_read_from_a_file() -> None:
    midi = write_midi(ScoreTick(48), text=MIDI_PREFIX + PLAIN.to_json())
    assert read_recipe(midi) == PLAIN


@pytest.mark.parametrize("midi", [b"", b"no MIDI", bytes(ScoreTick(48).dumps_midi())])
def test_a_file_without_a_recipe_is_refused(midi) -> None:
    with pytest.raises(RecipeError, match="no recipe; pass a MIDI file"):
        read_recipe(midi)


# Invalid input ------------------------------------------------------------------------------------


def with_fields(**fields: object) -> str:
    return json.dumps(json.loads(PLAIN.to_json()) | fields)


def step(**fields: object) -> str:
    return with_fields(steps=[{"bars": 1, "sampling": {"seed": 1}} | fields])


INVALID = {
    "": "not JSON",
    "{": "not JSON",
    "[" * 100_000: "not JSON",
    '{"format": NaN}': "not JSON",
    '{"format": 1' + "0" * 5_000 + "}": "not JSON",
    "[]": "does not state its format",
    '{"format": true}': "does not state its format",
    '{"format": 0}': "does not state its format",
    '{"format": 6}': "has format 6, and this musiclstm reads up to 5; update musiclstm",
    '{"format": 5}': "has no 'musiclstm'",
    '{"format": 4}': r"was made with musiclstm 0\.3\.0, .* with musiclstm 0\.3\.0",
    '{"format": 3, "steps": []}': r"was made with musiclstm 0\.3\.0",
    '{"format": 2}': "was made with musiclstm 0.2, .* with musiclstm 0.2",
    '{"format": 1, "steps": []}': "was made with musiclstm 0.2",
    " " * 200_001: "longer than 200,000 characters",
    with_fields(weights=7): "weights in the recipe's text must be a text",
    with_fields(model="x" * 300): "model in the recipe's text must be a text of at most 200",
    with_fields(notes=[]): "'notes', which no recipe of this format has",
    with_fields(steps={}): "steps in the recipe's text must be a list of at most 512 steps",
    with_fields(steps=[7]): "step must be a JSON object, got 7",
    with_fields(steps=[{"sampling": {}}]): "step has no 'bars'",
    with_fields(prompt_bars=3): "selects from a prompt, but names none",
    with_fields(seed=DIGEST, selection={"tracks": []}): "tracks must contain at least one track",
    with_fields(
        seed=DIGEST, selection={"tracks": ["a"]}
    ): "tracks in the recipe's selection must be",
    step(bars=0): "does not have 1 to 16384 bars",
    step(bars=True): "bars in the recipe's step must be a whole number, got True",
    step(bars=1e3): "bars in the recipe's step must be a whole number",
    step(bars=10**9): "does not have 1 to 16384 bars",
    step(end=0, constraints={"ending": True}): "bars up to 1, .* complete after 0",
    step(end=10**6, constraints={"ending": True}): "complete after 1000000",
    step(end=1): "its constraints have no ending",
    step(end=1, constraints={"ending": False}): "its constraints have no ending",
    step(sampling={}): "without a random seed",
    step(sampling={"seed": -1}): "seed must be a whole number from 0",
    step(sampling={"temperature": "hot", "seed": 1}): "temperature in the .* must be a number",
    step(sampling={"temperature": 1e999, "seed": 1}): "not JSON|must be a number",
    step(constraints={"programs": 5}): "programs in the recipe's constraints must be a list",
    step(constraints={"programs": [999]}): "programs must be from -1",
    step(constraints={"meter": "4/4"}): "meter in the recipe's constraints must be two whole",
    step(constraints={"meter": [4, 0]}): "meter 4/0",
    step(constraints={"key": "H major"}): "key 'H major' is not known",
    step(constraints={"pitch_ranges": [[0, 5]]}): "pitch_ranges in .* must be two whole numbers",
    step(constraints={"ending": 1}): "ending in the recipe's constraints must be true or false",
    step(surprise="wild"): "surprise in the recipe's step cannot be used: schedule must be",
    step(surprise=[2]): "an amount of 2",
    step(surprise={}): "surprise in the recipe's step must be a list",
}


@pytest.mark.parametrize("text", INVALID, ids=lambda text: text[:40] or "empty")
def test_invalid_text_is_refused_in_one_short_line(text) -> None:
    with pytest.raises(RecipeError, match=INVALID[text]) as refusal:
        Recipe.from_json(text)
    assert len(str(refusal.value)) < 400
    assert "\n" not in str(refusal.value)


def test_a_recipe_that_is_too_long_is_refused() -> None:
    long = Step(MAX_BARS_IN_ALL // 2 + 1, Sampling(seed=1))
    with pytest.raises(RecipeError, match="has 16386 bars, at most 16384"):
        Recipe(MODEL_INFO, (long, long))
    with pytest.raises(RecipeError, match="has 513 steps, at most 512"):
        Recipe(MODEL_INFO, (Step(1, Sampling(seed=1)),) * (MAX_STEPS + 1))


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists) | st.text())
def test_arbitrary_text_is_refused(value) -> None:
    for text in (str(value), json.dumps({"format": 5, "steps": value}), step(sampling=value)):
        with pytest.raises(RecipeError):
            Recipe.from_json(text)


@given(st.text(max_size=99) | st.binary(max_size=99).map(lambda data: data.decode("latin-1")))
def test_arbitrary_links_are_refused(link) -> None:
    with pytest.raises(RecipeError):
        Recipe.from_link(link)


def test_a_truncated_or_oversized_link_is_refused() -> None:
    link = PLAIN.to_link()
    for cut in (link[:-1], link[1:], link[:20], link + "A", link.lower()):
        with pytest.raises(RecipeError):
            Recipe.from_link(cut)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = compressor.compress(b" " * 50_000_000) + compressor.flush()
    checked = (zlib.crc32(bomb) & 0xFFFF).to_bytes(2, "big") + bomb
    with pytest.raises(RecipeError, match="longer than 200,000 characters"):
        Recipe.from_link(base64.urlsafe_b64encode(checked).decode().rstrip("="))
    with pytest.raises(RecipeError, match="longer than 200,000 characters"):
        Recipe.from_link("A" * 200_001)
