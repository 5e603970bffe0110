"""Mix settings are validated, and change programs and events of a score."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from musiclstm.audio.event_list import EventKind, EventList, Instrument, apply_mix, build_event_list
from musiclstm.audio.mix import Mix

DRUMS = -1


def test_true_is_the_default_and_false_is_off():
    assert Mix(reverb=True, chorus=True) == Mix()
    assert (Mix(reverb=False).reverb, Mix(chorus=False).chorus) == (0, 0)


def test_a_mix_is_immutable():
    swaps = {0: 40}
    mix = Mix(programs=swaps, muted=frozenset([73]))
    swaps[0] = 41
    assert mix.programs == {0: 40}
    with pytest.raises(dataclasses.FrozenInstanceError):
        mix.reverb = 0.1


def test_a_mix_can_be_copied_and_pickled():
    mix = Mix(programs={0: 40}, muted=frozenset([DRUMS]))
    assert copy.deepcopy(mix) == pickle.loads(pickle.dumps(mix)) == mix


@pytest.mark.parametrize(
    ("options", "key_fact"),
    [
        ({"reverb": 1.1}, r"reverb must be 0 \(off\) to 1, got 1.1"),
        ({"reverb": float("nan")}, "reverb .* got nan"),
        ({"chorus": -0.1}, "chorus .* got -0.1"),
        ({"gain_db": 61.0}, "gain_db must be -60 to 60, got 61.0"),
        ({"programs": {128: 0}}, "programs must be 0 to 127, .* got 128"),
        ({"programs": {0: -2}}, "programs .* got -2"),
        ({"muted": {500}}, "programs .* got 500"),
        ({"programs": {40: DRUMS}}, "cannot exchange 40 for -1"),
        ({"programs": {DRUMS: 40}}, "cannot exchange -1 for 40"),
    ],
)
def test_options_out_of_range_are_refused(options, key_fact):
    with pytest.raises(ValueError, match=key_fact):
        Mix(**options)


# -- Effect on an event list ---------------------------------------------------------------------


@pytest.fixture
def event_list(invented) -> EventList:
    return build_event_list(invented(bars=1, programs=(0, 40, DRUMS)), sample_rate_hz=44_100)


def test_programs_are_exchanged_and_drums_stay(event_list: EventList):
    exchanged = apply_mix(event_list, Mix(programs={0: 73, 40: 0}))
    assert exchanged.instruments == (
        Instrument(0, 73, False),
        Instrument(1, 0, False),
        Instrument(2, 0, True),
    )
    assert exchanged.events == event_list.events


@pytest.mark.parametrize(("program", "channel"), [(0, 0), (40, 1), (DRUMS, 2)])
def test_only_events_of_muted_instruments_are_dropped(event_list, program, channel):
    rest = apply_mix(event_list, Mix(muted=frozenset([program]), programs={0: 40, 40: 0}))
    assert rest.events == [event for event in event_list.events if event.channel != channel]
    assert {event.kind for event in rest.events} == {EventKind.NOTE_ON, EventKind.NOTE_OFF}
    assert rest.end_frame == event_list.end_frame


def test_the_default_mix_changes_nothing(event_list: EventList):
    assert apply_mix(event_list, Mix()) == event_list
