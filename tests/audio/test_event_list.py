"""Synthesizer events of a score: times, note-ons and note-offs, channels, controls."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from symusic import ControlChange, Pedal, PitchBend
from symusic.core import ScoreTick

from musiclstm.audio.event_list import (
    Channels,
    Event,
    EventKind,
    EventList,
    Instrument,
    build_event_list,
    frame_at,
)
from musiclstm.errors import RenderError
from tests.audio.scores import BEAT, DRUMS, FLUTE, ORGAN, note, piano, score_of, track_of

RATE = 44_100


def events_of(score: ScoreTick, *kinds: EventKind) -> list[Event]:
    events = build_event_list(score, sample_rate_hz=RATE).events
    return [event for event in events if event.kind in kinds]


def ons_and_offs(score: ScoreTick) -> list[tuple[float, str]]:
    """(beat, on or off) of notes at the default tempo."""
    events = events_of(score, EventKind.NOTE_ON, EventKind.NOTE_OFF)
    return [(event.frame * 2 / RATE, event.kind.name[5:].lower()) for event in events]


# -- Times ---------------------------------------------------------------------------------------


def test_a_note_begins_and_ends_on_its_sample_frame():
    event_list = build_event_list(piano(note(2, 1, pitch=60, velocity=77)), sample_rate_hz=RATE)
    assert event_list.events == [
        (RATE, EventKind.NOTE_ON, 0, 60, 77),
        (RATE + RATE // 2, EventKind.NOTE_OFF, 0, 60, 0),
    ]
    assert event_list.end_frame == RATE + RATE // 2


def test_the_tempo_map_is_followed():
    notes = [note(0), note(1), note(2), note(4)]
    score = score_of(track_of(notes), tempos=[(0, 60), (BEAT, 120), (3 * BEAT, 30)])
    seconds = [event.frame / RATE for event in events_of(score, EventKind.NOTE_ON)]
    assert seconds == pytest.approx([0, 1, 1.5, 4.0], abs=1 / RATE)


def test_the_order_of_tempos_in_the_score_does_not_matter():
    first, second = ([(0, 60), (BEAT, 90)], [(BEAT, 90), (0, 60)])
    one, other = (score_of(track_of([note(2)]), tempos=tempos) for tempos in (first, second))
    assert build_event_list(one, sample_rate_hz=RATE) == build_event_list(
        other, sample_rate_hz=RATE
    )


def test_before_the_first_tempo_a_beat_is_half_a_second():
    score = score_of(track_of([note(1)]), tempos=[(4 * BEAT, 240)])
    assert events_of(score, EventKind.NOTE_ON)[0].frame == RATE // 2


def test_scores_in_seconds_and_quarters_have_the_same_events():
    score = score_of(track_of([note(0), note(1), note(2.5)]), tempos=[(0, 93), (BEAT, 117)])
    before = score.copy()
    events = build_event_list(score, sample_rate_hz=RATE).events
    assert build_event_list(score.to("quarter"), sample_rate_hz=RATE).events == events
    assert build_event_list(score.to("second"), sample_rate_hz=RATE).events == events
    assert score == before


def test_after_fifty_minutes_a_note_still_ends_where_the_next_begins():
    start = 3_001 * 2 + 1 / 3  # beats
    score = piano(note(start, 1 / 3), note(start + 1 / 3, 1 / 3))
    _, first_off, second_on, _ = build_event_list(score, sample_rate_hz=RATE).events
    assert (first_off.kind, second_on.kind) == (EventKind.NOTE_OFF, EventKind.NOTE_ON)
    assert first_off.frame == second_on.frame


def test_frame_at_is_the_frame_of_a_note_that_begins_there():
    score = score_of(track_of([note(5)]), tempos=[(0, 60), (2 * BEAT, 97)])
    (event,) = events_of(score, EventKind.NOTE_ON)
    assert frame_at(score, 5 * BEAT, sample_rate_hz=RATE) == event.frame


# -- Notes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("notes", "wanted"),
    [
        ([note(0), note(1)], [(0, "on"), (1, "off"), (1, "on"), (2, "off")]),
        ([note(0, 2), note(1, 2)], [(0, "on"), (1, "off"), (1, "on"), (3, "off")]),
        ([note(0, 2), note(0, 1)], [(0, "on"), (2, "off")]),  # the longer of two equal onsets
        (
            [note(0, 2, pitch=60), note(1, 2, pitch=64)],
            [(0, "on"), (1, "on"), (2, "off"), (3, "off")],
        ),
    ],
)
def test_a_key_is_released_before_it_starts_again(notes, wanted):
    assert ons_and_offs(piano(*notes)) == wanted


@given(
    st.lists(
        st.builds(note, st.integers(0, 8), st.integers(-1, 4), st.integers(60, 62)), max_size=12
    )
)
def test_every_key_alternates_between_on_and_off(notes):
    kinds: dict[int, list[EventKind]] = {}
    for event in build_event_list(piano(*notes), sample_rate_hz=RATE).events:
        kinds.setdefault(event.number, []).append(event.kind)
    for own in kinds.values():
        assert own == [EventKind.NOTE_ON, EventKind.NOTE_OFF] * (len(own) // 2)


@pytest.mark.parametrize("beats", [0, -1])
def test_a_note_without_length_lasts_one_frame(beats: int):
    on, off = events_of(piano(note(1, beats)), EventKind.NOTE_ON, EventKind.NOTE_OFF)
    assert (on.kind, off.kind) == (EventKind.NOTE_ON, EventKind.NOTE_OFF)
    assert off.frame == on.frame + 1


def test_a_note_before_tick_zero_starts_at_frame_zero():
    assert events_of(piano(note(-1, 2)), EventKind.NOTE_ON)[0].frame == 0


def test_notes_of_velocity_zero_are_left_out():
    assert build_event_list(piano(note(0, velocity=0)), sample_rate_hz=RATE) == EventList((), [], 0)


# -- Channels ------------------------------------------------------------------------------------


def test_every_track_with_notes_has_its_own_channel():
    tracks = [track_of([note(0)], program) for program in range(40)]
    event_list = build_event_list(score_of(track_of(), *tracks), sample_rate_hz=RATE)
    assert event_list.instruments == tuple(Instrument(n, n, False) for n in range(40))
    assert {event.channel for event in event_list.events} == set(range(40))


def test_drums_are_marked():
    score = score_of(track_of([note(0)], 0), track_of([note(0)], DRUMS))
    event_list = build_event_list(score, sample_rate_hz=RATE)
    assert [instrument.is_drum for instrument in event_list.instruments] == [False, True]


def test_more_tracks_than_channels_are_refused():
    score = score_of(*(track_of([note(0)]) for _ in range(257)))
    with pytest.raises(RenderError, match=r"257 .* at most 256"):
        build_event_list(score, sample_rate_hz=RATE)


def test_a_track_keeps_its_channel_in_every_draft():
    channels: Channels = {}
    flute, organ = (track_of([note(0)], program) for program in (FLUTE, ORGAN))
    first = build_event_list(score_of(flute), sample_rate_hz=RATE, channels=channels)
    second = build_event_list(score_of(organ, flute, flute), sample_rate_hz=RATE, channels=channels)
    assert first.instruments == (Instrument(0, FLUTE, False),)
    assert second.instruments == (
        Instrument(1, ORGAN, False),
        Instrument(0, FLUTE, False),
        Instrument(2, FLUTE, False),
    )


# -- Controls ------------------------------------------------------------------------------------


def test_controls_are_sent_to_the_channel_of_their_track_before_the_notes():
    track = track_of([note(0)])
    track.controls.extend([ControlChange(0, 7, 90), ControlChange(BEAT, 11, 40)])
    score = score_of(track_of([note(0)]), track)
    assert events_of(score, EventKind.CONTROL) == [
        (0, EventKind.CONTROL, 1, 7, 90),
        (RATE // 2, EventKind.CONTROL, 1, 11, 40),
    ]
    assert build_event_list(score, sample_rate_hz=RATE).events[0].kind is EventKind.CONTROL


def test_messages_that_affect_other_channels_are_left_out():
    track = track_of([note(0)])
    track.controls.extend(ControlChange(0, n, 1) for n in (0, 32, 120, 123, 124, 126, 127))
    assert events_of(score_of(track), EventKind.CONTROL) == []


def test_parameters_and_resets_of_the_own_channel_are_sent():
    # Without 99 and 98 the value of 6 would go to the parameter that was set before.
    numbers = [101, 100, 6, 99, 98, 6, 38, 74, 121]
    score = piano(note(0))
    score.tracks[0].controls.extend(ControlChange(0, number, 1) for number in numbers)
    assert [event.number for event in events_of(score, EventKind.CONTROL)] == numbers


def test_pedals_become_controls_and_are_released_before_they_start_again():
    track = track_of([note(0)])
    track.pedals.extend([Pedal(0, BEAT), Pedal(BEAT, BEAT)])
    values = [(event.frame, event.value) for event in events_of(score_of(track), EventKind.CONTROL)]
    half = RATE // 2
    assert values == [(0, 127), (half, 0), (half, 127), (2 * half, 0)]


def test_a_pedal_that_is_present_in_both_forms_is_sent_once():
    track = track_of([note(0)])
    track.pedals.append(Pedal(0, BEAT))
    track.controls.extend([ControlChange(0, 64, 100), ControlChange(BEAT, 64, 0)])
    assert [event.value for event in events_of(score_of(track), EventKind.CONTROL)] == [100, 0]


def test_pitch_bends_are_sent():
    track = track_of([note(0)])
    track.pitch_bends.append(PitchBend(BEAT, -4_096))
    assert events_of(score_of(track), EventKind.PITCH_BEND) == [
        (RATE // 2, EventKind.PITCH_BEND, 0, 0, -4_096)
    ]


def test_frames_are_rounded_to_the_nearest():
    score = piano(*(note(n / 7, 1 / 7) for n in range(70)))
    exact = np.array([round(n / 7 * BEAT) / BEAT / 2 * RATE for n in range(70)])
    frames = [event.frame for event in events_of(score, EventKind.NOTE_ON)]
    assert np.abs(frames - exact).max() <= 0.5
