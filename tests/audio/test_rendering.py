"""A score becomes sound: when each event falls, what is heard, and what is said when it cannot be.

Most of these need no sound at all: `build_event_list` gives the events. Those marked `fluidsynth` listen.
"""

from __future__ import annotations

import gc
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from symusic import ControlChange, Note, Pedal, PitchBend, Score, Tempo, Track
from symusic.core import ScoreTick, TrackTick

from musiclstm.audio import soundfonts as soundfont_room
from musiclstm.audio.event_list import Channels, EventKind, EventList, frame_at
from musiclstm.audio.rendering import (
    Event,
    Instrument,
    Mix,
    Synth,
    build_event_list,
    find_soundfont,
    load_instruments,
    render,
)
from musiclstm.audio.waveform import PEAK_CEILING, loudness_lufs
from musiclstm.errors import RendererMissingError, RenderError, SoundfontNotFoundError

RATE = 44_100
BEAT = 480  # ticks; half a second at the usual tempo
PIANO, ORGAN, FLUTE = 0, 19, 73
SIDE_STICK = 37  # the key of a short dry drum
STICK = [Event(0, EventKind.NOTE_ON, 0, SIDE_STICK, 100)]


def track_of(notes: Sequence[Note] = (), *, program: int = PIANO, drums: bool = False) -> TrackTick:
    track = Track("", program, drums)
    track.notes.extend(notes)
    return track


def score_of(*tracks: TrackTick, tempos: Sequence[tuple[int, float]] = ()) -> ScoreTick:
    score = Score(BEAT)
    score.tracks.extend(tracks)
    score.tempos.extend(Tempo(time, qpm) for time, qpm in tempos)
    return score


def piano(*notes: Note) -> ScoreTick:
    return score_of(track_of(notes))


def note(beat: float, beats: float = 1.0, pitch: int = 69, velocity: int = 90) -> Note:
    return Note(round(beat * BEAT), round(beats * BEAT), pitch, velocity)


def events_of(score: ScoreTick, *kinds: EventKind) -> list[Event]:
    return [
        event
        for event in build_event_list(score, sample_rate_hz=RATE).events
        if event.kind in kinds
    ]


def on_and_off(score: ScoreTick) -> list[tuple[int, str]]:
    """(beat, what) for notes at the usual tempo."""
    events = events_of(score, EventKind.NOTE_ON, EventKind.NOTE_OFF)
    return [(event.frame * 2 / RATE, event.kind.name[5:].lower()) for event in events]


# -- When ----------------------------------------------------------------------------------------


def test_a_note_begins_and_ends_on_its_sample_frame():
    part = build_event_list(piano(note(2, 1, pitch=60, velocity=77)), sample_rate_hz=RATE)
    assert part.events == [
        (RATE, EventKind.NOTE_ON, 0, 60, 77),
        (RATE + RATE // 2, EventKind.NOTE_OFF, 0, 60, 0),
    ]
    assert part.end_frame == RATE + RATE // 2


def test_the_tempo_map_is_followed():
    score = score_of(
        track_of([note(0), note(1), note(2), note(4)]),
        tempos=[(0, 60), (BEAT, 120), (3 * BEAT, 30)],
    )
    seconds = [event.frame / RATE for event in events_of(score, EventKind.NOTE_ON)]
    assert seconds == pytest.approx([0, 1, 1.5, 4.0], abs=1 / RATE)


def test_the_order_in_which_tempos_are_written_does_not_matter():
    first, second = ([(0, 60), (BEAT, 90)], [(BEAT, 90), (0, 60)])
    one, other = (score_of(track_of([note(2)]), tempos=tempos) for tempos in (first, second))
    assert build_event_list(one, sample_rate_hz=RATE) == build_event_list(
        other, sample_rate_hz=RATE
    )


def test_before_the_first_tempo_a_beat_is_half_a_second():
    score = score_of(track_of([note(1)]), tempos=[(4 * BEAT, 240)])
    assert events_of(score, EventKind.NOTE_ON)[0].frame == RATE // 2


def test_a_score_in_seconds_or_beats_has_the_same_events():
    score = score_of(track_of([note(0), note(1), note(2.5)]), tempos=[(0, 93), (BEAT, 117)])
    events = build_event_list(score, sample_rate_hz=RATE).events
    assert build_event_list(score.to("quarter"), sample_rate_hz=RATE).events == events
    assert build_event_list(score.to("second"), sample_rate_hz=RATE).events == events


def test_after_fifty_minutes_a_note_still_ends_where_the_next_begins():
    start = 3_001 * 2 + 1 / 3  # beats
    part = build_event_list(
        piano(note(start, 1 / 3), note(start + 1 / 3, 1 / 3)), sample_rate_hz=RATE
    )
    kinds = [event.kind for event in part.events]
    assert kinds == [EventKind.NOTE_ON, EventKind.NOTE_OFF, EventKind.NOTE_ON, EventKind.NOTE_OFF]
    assert part.events[1].frame == part.events[2].frame


def test_the_score_is_left_unchanged():
    score = piano(note(0), note(0, 2))
    before = score.copy()
    build_event_list(score, sample_rate_hz=RATE)
    assert score == before


# -- Notes ---------------------------------------------------------------------------------------


def test_a_repeated_note_ends_before_it_sounds_again():
    assert on_and_off(piano(note(0), note(1))) == [(0, "on"), (1, "off"), (1, "on"), (2, "off")]


def test_a_note_struck_while_it_sounds_is_released_there_and_lasts_its_own_time():
    assert on_and_off(piano(note(0, 2), note(1, 2))) == [
        (0, "on"),
        (1, "off"),
        (1, "on"),
        (3, "off"),
    ]


def test_of_two_equal_beginnings_the_longer_note_stays():
    assert on_and_off(piano(note(0, 2), note(0, 1))) == [(0, "on"), (2, "off")]


def test_different_keys_may_overlap():
    assert on_and_off(piano(note(0, 2, pitch=60), note(1, 2, pitch=64))) == [
        (0, "on"),
        (1, "on"),
        (2, "off"),
        (3, "off"),
    ]


@pytest.mark.parametrize("beats", [0, -1])
def test_a_note_without_length_is_struck_and_released(beats: int):
    on, off = events_of(piano(note(1, beats)), EventKind.NOTE_ON, EventKind.NOTE_OFF)
    assert (on.kind, off.kind) == (EventKind.NOTE_ON, EventKind.NOTE_OFF)
    assert off.frame == on.frame + 1


def test_a_note_before_the_beginning_starts_at_the_beginning():
    assert events_of(piano(note(-1, 2)), EventKind.NOTE_ON)[0].frame == 0


def test_notes_nobody_can_hear_are_left_out():
    assert build_event_list(piano(note(0, velocity=0)), sample_rate_hz=RATE) == EventList((), [], 0)


# -- Instruments ---------------------------------------------------------------------------------


def test_every_track_with_notes_has_a_channel_of_its_own():
    tracks = [track_of([note(0)], program=program) for program in range(40)]
    part = build_event_list(score_of(track_of(), *tracks), sample_rate_hz=RATE)
    assert part.instruments == tuple(Instrument(n, n, False) for n in range(40))
    assert {event.channel for event in part.events} == set(range(40))


def test_drums_are_told_apart_from_the_instrument_of_the_same_number():
    part = build_event_list(
        score_of(track_of([note(0)], program=8), track_of([note(0)], program=8, drums=True)),
        sample_rate_hz=RATE,
    )
    assert [instrument.is_drum for instrument in part.instruments] == [False, True]


def test_more_instruments_than_channels_are_refused():
    score = score_of(*(track_of([note(0)]) for _ in range(257)))
    with pytest.raises(RenderError) as refusal:
        build_event_list(score, sample_rate_hz=RATE)
    assert str(refusal.value) == (
        "The score has 257 tracks with notes, and at most 256 can sound together; merge tracks "
        "that share an instrument."
    )


# -- Controls ------------------------------------------------------------------------------------


def test_volume_expression_and_pan_are_sent_to_the_channel_of_their_track():
    track = track_of([note(0)])
    track.controls.extend([ControlChange(0, 7, 90), ControlChange(BEAT, 11, 40)])
    score = score_of(track_of([note(0)]), track)
    assert events_of(score, EventKind.CONTROL) == [
        (0, EventKind.CONTROL, 1, 7, 90),
        (RATE // 2, EventKind.CONTROL, 1, 11, 40),
    ]


def test_controls_come_before_the_notes_of_the_same_moment():
    track = track_of([note(0)])
    track.controls.append(ControlChange(0, 7, 90))
    assert [
        event.kind for event in build_event_list(score_of(track), sample_rate_hz=RATE).events
    ] == [
        EventKind.CONTROL,
        EventKind.NOTE_ON,
        EventKind.NOTE_OFF,
    ]


@pytest.mark.parametrize("number", [0, 32, 120, 121, 123, 124, 126, 127])
def test_messages_that_reach_beyond_their_channel_stay_out(number: int):
    track = track_of([note(0)])
    track.controls.append(ControlChange(0, number, 1))
    assert events_of(score_of(track), EventKind.CONTROL) == []


def test_pedals_become_messages_and_are_lifted_before_they_are_pressed_again():
    track = track_of([note(0)])
    track.pedals.extend([Pedal(0, BEAT), Pedal(BEAT, BEAT)])
    values = [(event.frame, event.value) for event in events_of(score_of(track), EventKind.CONTROL)]
    half = RATE // 2
    assert values == [(0, 127), (half, 0), (half, 127), (2 * half, 0)]


def test_a_pedal_that_is_there_in_both_forms_is_sent_once():
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


# -- What is refused before a sound is made ------------------------------------------------------


def test_a_score_without_notes_gives_no_frames_and_needs_no_soundfont():
    audio = render(score_of(track_of()), soundfont="nowhere.sf2", sample_rate_hz=22_050)
    assert audio.samples.shape == (0, 2)
    assert audio.samples.dtype == np.float32
    assert audio.sample_rate_hz == 22_050


def test_more_than_an_hour_is_refused():
    with pytest.raises(RenderError) as refusal:
        render(piano(note(2 * 3_599)), soundfont="nowhere.sf2")
    assert str(refusal.value) == (
        "The score lasts 61 minutes, and at most 60 can be rendered; cut it into shorter pieces."
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sample_rate_hz": 7_999}, "sample_rate_hz must be 8_000 to 96_000, got 7999."),
        ({"sample_rate_hz": 96_001}, "sample_rate_hz must be 8_000 to 96_000, got 96001."),
        ({"gain_db": 61.0}, "gain_db must be -60 to 60, got 61.0; 0 is the usual loudness."),
        ({"gain_db": np.nan}, "gain_db must be -60 to 60, got nan; 0 is the usual loudness."),
        ({"tail_s": -1.0}, "tail_s must be 0 to 60 seconds, got -1.0."),
        ({"tail_s": np.inf}, "tail_s must be 0 to 60 seconds, got inf."),
    ],
)
def test_options_outside_their_range_are_refused(options: dict[str, float], sentence: str):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the whole sentence is compared
        render(piano(note(0)), **options)
    assert str(refusal.value) == sentence


# -- What has to be on the machine ---------------------------------------------------------------


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with Debian's package manager and one empty folder for SoundFonts."""
    monkeypatch.delenv(soundfont_room.SOUNDFONT_VARIABLE, raising=False)
    folders = (str(tmp_path), str(tmp_path / "none"))
    monkeypatch.setattr(soundfont_room, "_SOUNDFONT_FOLDERS", folders)
    monkeypatch.setattr(shutil, "which", lambda program: program if program == "apt-get" else None)
    return tmp_path


HOW = "Pass soundfont=…, set MUSICLSTM_SOUNDFONT, or: apt install fluid-soundfont-gm"


def test_a_soundfont_that_is_named_is_taken(bare_machine: Path):
    path = bare_machine / "grand.sf2"
    path.touch()
    assert find_soundfont(path) == path
    assert find_soundfont(str(path)) == path


def test_a_soundfont_that_is_not_there_is_named_with_what_to_do(bare_machine: Path):
    with pytest.raises(SoundfontNotFoundError) as refusal:
        find_soundfont("grand.sf2")
    assert str(refusal.value) == f"No SoundFont at 'grand.sf2'. {HOW}"


def test_a_folder_is_no_soundfont(bare_machine: Path):
    with pytest.raises(SoundfontNotFoundError, match="No SoundFont at"):
        find_soundfont(bare_machine)


def test_the_variable_is_asked_before_the_system(
    bare_machine: Path, monkeypatch: pytest.MonkeyPatch
):
    (bare_machine / "FluidR3_GM.sf2").touch()
    mine = bare_machine / "mine.sf3"
    mine.touch()
    monkeypatch.setenv("MUSICLSTM_SOUNDFONT", str(mine))
    assert find_soundfont() == mine


def test_a_variable_that_leads_nowhere_is_not_passed_over(
    bare_machine: Path, monkeypatch: pytest.MonkeyPatch
):
    (bare_machine / "FluidR3_GM.sf2").touch()
    monkeypatch.setenv("MUSICLSTM_SOUNDFONT", "gone.sf2")
    with pytest.raises(SoundfontNotFoundError, match=r"^No SoundFont at 'gone\.sf2'\. Pass"):
        find_soundfont()


def test_the_best_general_midi_set_of_the_system_is_taken(bare_machine: Path):
    for name in ("zither.sf2", "TimGM6mb.sf2", "FluidR3_GM.sf2", "default-GM.sf2", "notes.txt"):
        (bare_machine / name).touch()
    assert find_soundfont().name == "FluidR3_GM.sf2"


def test_an_unknown_soundfont_is_better_than_none(bare_machine: Path):
    (bare_machine / "Zither.SF2").touch()
    assert find_soundfont().name == "Zither.SF2"


def test_a_machine_without_any_soundfont_is_told_what_to_do(bare_machine: Path):
    with pytest.raises(SoundfontNotFoundError) as refusal:
        find_soundfont()
    assert str(refusal.value) == f"No SoundFont on this machine. {HOW}"


@pytest.mark.parametrize(
    ("program", "advice"),
    [
        ("dnf", "dnf install fluid-soundfont-gm"),
        ("pacman", "pacman -S soundfont-fluid"),
        ("brew", "put a General MIDI .sf2 file into /Library/Audio/Sounds/Banks"),
        ("choco", r"put a General MIDI .sf2 file into C:\soundfonts"),
        ("none of these", "put a General MIDI .sf2 file into /usr/local/share/soundfonts"),
    ],
)
def test_the_advice_fits_the_machine(
    bare_machine: Path, monkeypatch: pytest.MonkeyPatch, program: str, advice: str
):
    monkeypatch.setattr(shutil, "which", lambda asked: asked if asked == program else None)
    with pytest.raises(SoundfontNotFoundError) as refusal:
        find_soundfont()
    assert str(refusal.value).endswith(f"or: {advice}")


def test_a_missing_python_package_is_said_with_its_command(
    bare_machine: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "fluidsynth", None)
    (bare_machine / "a.sf2").touch()
    with pytest.raises(RendererMissingError) as refusal:
        render(piano(note(0)))
    assert str(refusal.value) == (
        "Sound needs the Python package pyfluidsynth, which is missing; install it with: "
        "pip install pyfluidsynth"
    )


def test_a_missing_library_is_said_with_the_command_of_this_machine(
    bare_machine: Path, monkeypatch: pytest.MonkeyPatch
):
    module = bare_machine / "fluidsynth.py"
    module.write_text('raise ImportError("Couldn\'t find the FluidSynth library.")')
    monkeypatch.delitem(sys.modules, "fluidsynth", raising=False)
    monkeypatch.syspath_prepend(bare_machine)
    (bare_machine / "a.sf2").touch()
    with pytest.raises(RendererMissingError) as refusal:
        render(piano(note(0)))
    assert str(refusal.value) == (
        "Sound needs the FluidSynth library, which is missing; install it with: "
        "apt install libfluidsynth3"
    )


# -- What is heard -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def soundfont() -> Path:
    try:
        with Synth(path := find_soundfont()):
            return path
    except RenderError as error:
        pytest.skip(f"nothing can be heard here: {error}")


def dry(score: ScoreTick, soundfont: Path, **options: float) -> NDArray[np.float32]:
    return render(score, soundfont=soundfont, reverb=False, chorus=False, **options).samples


def loudest_pitch_hz(samples: NDArray[np.float32]) -> float:
    spectrum = np.abs(np.fft.rfft(samples.mean(axis=1) * np.hanning(len(samples)), n=4 * RATE))
    return float(np.argmax(spectrum)) / 4


def size(samples: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


@pytest.mark.fluidsynth
def test_an_a_sounds_at_440_hz(soundfont: Path):
    samples = dry(score_of(track_of([note(0, 2, pitch=69)], program=FLUTE)), soundfont, tail_s=0)
    assert loudest_pitch_hz(samples) == pytest.approx(440, abs=3)


@pytest.mark.fluidsynth
def test_a_full_pitch_bend_raises_it_by_a_whole_tone(soundfont: Path):
    track = track_of([note(0, 2, pitch=69)], program=FLUTE)
    track.pitch_bends.append(PitchBend(0, 8_191))
    samples = dry(score_of(track), soundfont, tail_s=0)
    assert loudest_pitch_hz(samples) == pytest.approx(440 * 2 ** (2 / 12), abs=3)


@pytest.mark.fluidsynth
def test_a_note_is_heard_when_it_begins_and_not_before(soundfont: Path):
    samples = dry(piano(note(2)), soundfont)
    assert np.abs(samples[:RATE]).max() < 1e-4
    assert np.abs(samples[RATE : RATE + RATE // 20]).max() > 0.05


@pytest.mark.fluidsynth
def test_silence_renders_to_silence(soundfont: Path):
    track = track_of([note(0), note(1)])
    track.controls.append(ControlChange(0, 7, 0))
    audio = render(score_of(track), soundfont=soundfont, gain_db=60)
    assert audio.seconds == 3.0
    assert audio.peak < 1e-5


@pytest.mark.fluidsynth
def test_the_same_score_gives_the_same_samples(soundfont: Path):
    score = score_of(
        track_of([note(n / 2, 2, pitch=48 + n) for n in range(16)]),
        track_of([note(n / 2, 0.1, pitch=36) for n in range(16)], drums=True),
    )
    one, other = (render(score, soundfont=soundfont) for _ in range(2))
    assert np.array_equal(one.samples, other.samples)


@pytest.mark.fluidsynth
def test_nothing_clips_however_loud_it_is_asked_for(soundfont: Path):
    chords = [note(beat, 2, pitch, 127) for beat in range(4) for pitch in range(36, 96, 3)]
    score = score_of(track_of(chords, program=ORGAN), track_of(chords, program=61))
    audio = render(score, soundfont=soundfont, gain_db=24)
    assert audio.peak == pytest.approx(PEAK_CEILING, rel=1e-5)
    assert np.isfinite(audio.samples).all()


@pytest.mark.fluidsynth
def test_a_soft_solo_and_a_loud_crowd_are_equally_loud(soundfont: Path):
    solo = score_of(track_of([note(n, 1, velocity=25) for n in range(8)], program=FLUTE))
    chords = [note(n, 1, pitch, 120) for n in range(8) for pitch in range(40, 90, 5)]
    crowd = score_of(track_of(chords, program=ORGAN), track_of(chords, program=48))
    for score in (solo, crowd):
        samples = render(score, soundfont=soundfont).samples
        assert loudness_lufs(samples, sample_rate_hz=RATE) == pytest.approx(-18, abs=0.5)


@pytest.mark.fluidsynth
@pytest.mark.parametrize("tail_s", [0.0, 0.25, 3.0])
def test_the_sound_rings_for_the_tail_and_then_has_faded(soundfont: Path, tail_s: float):
    audio = render(piano(note(0), note(1)), soundfont=soundfont, tail_s=tail_s)
    assert audio.seconds == pytest.approx(1.0 + tail_s)
    if tail_s:
        assert size(audio.samples[RATE : RATE + 2_000]) > 1e-3
        assert np.abs(audio.samples[-20:]).max() < 1e-3


@pytest.mark.fluidsynth
def test_the_chorus_can_be_heard(soundfont: Path):
    score = score_of(track_of([note(0)]))
    score.tracks[0].controls.append(ControlChange(0, 93, 127))
    with_chorus, without = (
        render(score, soundfont=soundfont, chorus=chorus).samples for chorus in (True, False)
    )
    assert size(with_chorus - without) > 1e-3


@pytest.mark.fluidsynth
def test_the_pedal_holds_a_note(soundfont: Path):
    free, held = track_of([note(0), note(7)]), track_of([note(0), note(7)])
    held.pedals.append(Pedal(0, 6 * BEAT))
    quiet, ringing = (dry(score_of(track), soundfont)[RATE : 2 * RATE] for track in (free, held))
    assert size(ringing) > 10 * size(quiet)


@pytest.mark.fluidsynth
def test_expression_makes_it_softer(soundfont: Path):
    track = track_of([note(0, 2), note(2, 2)])
    track.controls.append(ControlChange(2 * BEAT, 11, 40))
    samples = dry(score_of(track), soundfont)
    assert size(samples[RATE : 2 * RATE]) < 0.5 * size(samples[:RATE])


@pytest.mark.fluidsynth
def test_velocity_is_heard(soundfont: Path):
    samples = dry(piano(note(0, velocity=120), note(4, velocity=30)), soundfont)
    assert size(samples[2 * RATE : 3 * RATE]) < 0.3 * size(samples[:RATE])


@pytest.mark.fluidsynth
def test_a_flute_a_piano_and_drums_sound_different(soundfont: Path):
    tracks = [
        track_of([note(0)]),
        track_of([note(0)], program=FLUTE),
        track_of([note(0)], drums=True),
    ]
    one, two, three = (dry(score_of(track), soundfont).ravel() for track in tracks)
    assert np.abs(np.corrcoef([one, two, three]) - np.eye(3)).max() < 0.9


# -- Mix -----------------------------------------------------------------------------------------


@pytest.mark.fluidsynth
def test_options_beside_a_mix_take_its_place(soundfont: Path):
    score = piano(note(0), note(1, pitch=60))
    mixed = render(score, mix=Mix(soundfont=soundfont, reverb=0.2, chorus=0, gain_db=-9))
    beside = render(score, mix=Mix(reverb=1, chorus=0), soundfont=soundfont, reverb=0.2, gain_db=-9)
    assert np.array_equal(mixed.samples, beside.samples)


@pytest.mark.fluidsynth
def test_true_and_nothing_are_the_usual_room(soundfont: Path):
    score = piano(note(0))
    usual = render(score, soundfont=soundfont).samples
    assert np.array_equal(render(score, soundfont=soundfont, reverb=True).samples, usual)
    assert np.array_equal(render(score, mix=Mix(soundfont=soundfont.stem)).samples, usual)


@pytest.mark.fluidsynth
def test_more_of_the_room_is_heard_as_more_is_asked_for(soundfont: Path):
    off, some, much = (
        played(soundfont, [Instrument(0, 0, True)], STICK, RATE, reverb=level)
        for level in (0, 0.3, 0.8)
    )
    assert 0 < 2 * size(some - off) < size(much - off)


@pytest.mark.fluidsynth
def test_an_exchanged_instrument_sounds_like_the_other(soundfont: Path):
    notes = [note(0), note(1, pitch=60)]
    mixed = render(score_of(track_of(notes)), mix=Mix(programs={PIANO: FLUTE}))
    flute = render(score_of(track_of(notes, program=FLUTE)))
    assert np.array_equal(mixed.samples, flute.samples)


@pytest.mark.fluidsynth
def test_a_muted_instrument_is_not_heard_and_leaves_the_length(soundfont: Path):
    one, other = track_of([note(0)]), track_of([note(0, 4)], program=FLUTE)
    muted = render(score_of(one, other), mix=Mix(muted=frozenset({FLUTE})), tail_s=0)
    alone = render(score_of(one), tail_s=1.5)
    assert muted.seconds == 2.0
    assert np.corrcoef(muted.samples[:RATE, 0], alone.samples[:RATE, 0])[0, 1] > 0.999


@pytest.mark.fluidsynth
def test_everything_muted_is_silence_as_long(soundfont: Path):
    audio = render(piano(note(0)), mix=Mix(muted=frozenset({PIANO})))
    assert audio.seconds == 2.5
    assert audio.peak < 1e-5


# -- One synthesizer -----------------------------------------------------------------------------


def played(
    soundfont: Path,
    instruments: Sequence[Instrument],
    events: Sequence[Event],
    *stops: int,
    reverb: float = 0.8,
) -> NDArray[np.float32]:
    """The raw sound up to the last stop, with a new call of `play` after each."""
    with Synth(soundfont, sample_rate_hz=RATE, reverb=reverb) as synth:
        synth.choose(instruments)
        blocks: list[NDArray[np.float32]] = []
        for start, stop in zip((0, *stops), stops, strict=False):
            due = [event for event in events if start <= event.frame < stop]
            blocks.extend(synth.play(due, until=stop))
        assert synth.frame == stops[-1]
    return np.concatenate(blocks)


@pytest.mark.fluidsynth
def test_a_piece_played_in_parts_equals_the_piece_played_at_once(soundfont: Path):
    score = piano(*(note(n / 3, 1, pitch=50 + n) for n in range(9)))
    part = build_event_list(score, sample_rate_hz=RATE)
    at_once = played(soundfont, part.instruments, part.events, 2 * RATE)
    in_parts = played(soundfont, part.instruments, part.events, 777, RATE, RATE + 1, 2 * RATE)
    assert np.array_equal(at_once, in_parts)


@pytest.mark.fluidsynth
def test_the_room_rings_on_for_a_second_and_then_is_still(soundfont: Path):
    with_room, without = (
        played(soundfont, [Instrument(0, 0, True)], STICK, 4 * RATE, reverb=reverb)
        for reverb in (0.8, 0.0)
    )
    room = with_room - without
    assert size(room[RATE // 2 : RATE]) > 0.005 * size(room[: RATE // 2])
    assert size(room[3 * RATE :]) < 0.0001 * size(room[: RATE // 2])


@pytest.mark.fluidsynth
def test_blocks_come_as_they_are_played(soundfont: Path):
    part = build_event_list(piano(note(0, 20)), sample_rate_hz=RATE)
    with Synth(soundfont, sample_rate_hz=RATE) as synth:
        synth.choose(part.instruments)
        first = next(synth.play(part.events, until=part.end_frame))
        assert 0 < len(first) == synth.frame < RATE


@pytest.mark.fluidsynth
@pytest.mark.parametrize("channel", [9, 15, 16, 200, 255])
def test_an_instrument_sounds_the_same_on_every_channel(soundfont: Path, channel: int):
    others = [Instrument(n, PIANO, False) for n in range(256)]

    def flute_on(channel: int) -> NDArray[np.float32]:
        events = [Event(0, EventKind.NOTE_ON, channel, 69, 90)]
        return played(soundfont, [*others, Instrument(channel, FLUTE, False)], events, 9_000)

    assert np.array_equal(flute_on(channel), flute_on(0))
    assert size(flute_on(channel)) > 1e-4


@pytest.mark.fluidsynth
def test_a_kit_the_soundfont_lacks_is_played_by_the_standard_kit(soundfont: Path):
    events = [Event(0, EventKind.NOTE_ON, 0, 38, 100)]
    rare, standard = (
        played(soundfont, [Instrument(0, kit, True)], events, 9_000) for kit in (77, 0)
    )
    assert np.array_equal(rare, standard)
    assert size(standard) > 1e-4


@pytest.mark.fluidsynth
@pytest.mark.parametrize(
    ("instrument", "missing"),
    [
        (Instrument(0, FLUTE, False), "neither Flute nor a piano"),
        (Instrument(0, 0, True), "no drum kit"),
    ],
)
def test_a_soundfont_without_the_instrument_and_its_stand_in_is_named(
    soundfont: Path, monkeypatch: pytest.MonkeyPatch, instrument: Instrument, missing: str
):
    monkeypatch.setattr(Synth, "_select", lambda *_: False)
    with pytest.raises(RenderError) as refusal, Synth(soundfont) as synth:
        synth.choose([instrument])
    assert str(refusal.value) == (
        f"'{soundfont.name}' has {missing}; use a General MIDI SoundFont such as FluidR3_GM.sf2."
    )


@pytest.mark.fluidsynth
@pytest.mark.parametrize("content", [b"", b"just text", b"RIFFsizesfbk" + bytes(100)])
def test_a_file_that_is_no_soundfont_is_named(soundfont: Path, tmp_path: Path, content: bytes):
    broken = tmp_path / "broken.sf2"
    broken.write_bytes(content)
    with pytest.raises(RenderError) as refusal:
        render(piano(note(0)), soundfont=broken)
    assert str(refusal.value) == "'broken.sf2' is not a SoundFont that FluidSynth can read."


@pytest.mark.fluidsynth
def test_fluidsynth_writes_nothing_on_the_terminal(
    soundfont: Path, capfd: pytest.CaptureFixture[str]
):
    with Synth(soundfont) as synth:
        synth.choose([Instrument(0, 77, True)])  # a kit it lacks, about which it would warn
        events = [Event(0, EventKind.NOTE_ON, 0, 60, 100)]
        assert size(np.concatenate(list(synth.play(events, until=999)))) > 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.fluidsynth
def test_a_synthesizer_gives_its_memory_back_whatever_happens(
    soundfont: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import fluidsynth

    gone = []
    delete = fluidsynth.Synth.delete
    monkeypatch.setattr(fluidsynth.Synth, "delete", lambda self: gone.append(delete(self)))

    render(piano(note(0)), soundfont=soundfont)
    assert len(gone) == 1

    (tmp_path / "broken.sf2").touch()
    with pytest.raises(RenderError):
        render(piano(note(0)), soundfont=tmp_path / "broken.sf2")
    assert len(gone) == 2

    with pytest.raises(KeyboardInterrupt), Synth(soundfont):
        raise KeyboardInterrupt
    assert len(gone) == 3


@pytest.mark.fluidsynth
def test_one_that_is_abandoned_gives_its_memory_back(
    soundfont: Path, monkeypatch: pytest.MonkeyPatch
):
    import fluidsynth

    gone = []
    delete = fluidsynth.Synth.delete
    monkeypatch.setattr(fluidsynth.Synth, "delete", lambda self: gone.append(delete(self)))
    synth = Synth(soundfont)
    assert gone == []
    del synth
    gc.collect()
    assert len(gone) == 1


@pytest.mark.fluidsynth
def test_a_closed_one_refuses_to_play(soundfont: Path):
    with Synth(soundfont) as synth:
        pass
    for call in (lambda: synth.choose([]), lambda: list(synth.play([], until=9))):
        with pytest.raises(ValueError, match=r"^This synthesizer is closed; open a new one\.$"):
            call()


@pytest.mark.fluidsynth
def test_each_begins_without_the_room_of_the_one_before(soundfont: Path):
    first = played(soundfont, [Instrument(0, 0, True)], STICK, RATE // 4)
    silence = played(soundfont, [Instrument(0, 0, True)], [], RATE)
    assert size(first) > 1e-3
    assert np.abs(silence).max() < 1e-6
    assert np.array_equal(played(soundfont, [Instrument(0, 0, True)], STICK, RATE // 4), first)


@pytest.mark.fluidsynth
def test_loading_instruments_beforehand_changes_no_sample(soundfont: Path):
    score = score_of(track_of([note(0)], program=FLUTE), track_of([note(0)], drums=True))
    before = render(score, soundfont=soundfont).samples
    with load_instruments(soundfont, programs=(-1, PIANO, FLUTE)):
        assert np.array_equal(render(score, soundfont=soundfont).samples, before)


# -- Drafts of a growing score -------------------------------------------------------------------


def test_a_track_finds_its_channel_again_in_every_draft():
    channels: Channels = {}
    flute, organ = (track_of([note(0)], program=program) for program in (FLUTE, ORGAN))
    first = build_event_list(score_of(flute), sample_rate_hz=RATE, channels=channels)
    second = build_event_list(score_of(organ, flute, flute), sample_rate_hz=RATE, channels=channels)
    assert first.instruments == (Instrument(0, FLUTE, False),)
    assert second.instruments == (
        Instrument(1, ORGAN, False),
        Instrument(0, FLUTE, False),
        Instrument(2, FLUTE, False),
    )


def test_a_tick_has_the_frame_of_the_note_that_begins_there():
    score = score_of(track_of([note(5)]), tempos=[(0, 60), (2 * BEAT, 97)])
    (event,) = events_of(score, EventKind.NOTE_ON)
    assert frame_at(score, 5 * BEAT, sample_rate_hz=RATE) == event.frame
