"""A mix is checked when it is built, and says how a score sounds."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from musiclstm.audio.event_list import EventKind, EventList, Instrument, build_event_list, with_mix
from musiclstm.audio.mix import Mix

DRUMS = -1


def test_true_is_the_usual_and_false_is_off():
    assert Mix(reverb=True, chorus=True) == Mix()
    assert (Mix(reverb=False).reverb, Mix(chorus=False).chorus) == (0, 0)


def test_it_is_frozen_and_keeps_what_it_was_given():
    swaps = {0: 40}
    mix = Mix(programs=swaps, muted=frozenset([73]))
    swaps[0] = 41
    assert mix.programs == {0: 40}
    with pytest.raises(dataclasses.FrozenInstanceError):
        mix.reverb = 0.1


def test_it_can_rest_in_a_page():
    mix = Mix(programs={0: 40}, muted=frozenset([DRUMS]))
    assert copy.deepcopy(mix) == pickle.loads(pickle.dumps(mix)) == mix


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"reverb": 1.1}, "reverb must be 0 (off) to 1, got 1.1."),
        ({"reverb": float("nan")}, "reverb must be 0 (off) to 1, got nan."),
        ({"chorus": -0.1}, "chorus must be 0 (off) to 1, got -0.1."),
        ({"gain_db": 61.0}, "gain_db must be -60 to 60, got 61.0; 0 is the usual loudness."),
        ({"programs": {128: 0}}, "programs must be 0 to 127, or -1 for the drums, got 128."),
        ({"programs": {0: -2}}, "programs must be 0 to 127, or -1 for the drums, got -2."),
        ({"muted": {500}}, "programs must be 0 to 127, or -1 for the drums, got 500."),
        (
            {"programs": {40: DRUMS}},
            "programs cannot exchange 40 for -1: drums stay drums, and nothing else becomes drums.",
        ),
        (
            {"programs": {DRUMS: 40}},
            "programs cannot exchange -1 for 40: drums stay drums, and nothing else becomes drums.",
        ),
    ],
)
def test_what_is_outside_its_range_is_refused(options, sentence):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the whole sentence is compared
        Mix(**options)
    assert str(refusal.value) == sentence


# -- What it does to a part ----------------------------------------------------------------------


@pytest.fixture
def part(invented) -> EventList:
    return build_event_list(invented(bars=1, programs=(0, 40, DRUMS)), sample_rate_hz=44_100)


def test_instruments_are_exchanged_and_drums_stay(part: EventList):
    exchanged = with_mix(part, Mix(programs={0: 73, 40: 0}))
    assert exchanged.instruments == (
        Instrument(0, 73, False),
        Instrument(1, 0, False),
        Instrument(2, 0, True),
    )
    assert exchanged.events == part.events


@pytest.mark.parametrize(("program", "channel"), [(0, 0), (40, 1), (DRUMS, 2)])
def test_a_muted_instrument_says_nothing_and_the_others_all(part, program, channel):
    rest = with_mix(part, Mix(muted=frozenset([program]), programs={0: 40, 40: 0}))
    assert rest.events == [event for event in part.events if event.channel != channel]
    assert {event.kind for event in rest.events} == {EventKind.NOTE_ON, EventKind.NOTE_OFF}
    assert rest.end_frame == part.end_frame


def test_a_plain_mix_changes_nothing(part: EventList):
    assert with_mix(part, Mix()) == part
