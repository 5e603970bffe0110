"""One FluidSynth instance: continued playing, programs, reverb, memory."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from musiclstm.audio.event_list import Event, EventKind, Instrument, build_event_list
from musiclstm.audio.rendering import render
from musiclstm.audio.streaming import StreamingRenderer
from musiclstm.audio.synthesizer import Synth, load_instruments
from musiclstm.errors import RenderError
from tests.audio.scores import DRUMS, FLUTE, PIANO, note, piano, rms, score_of, track_of

pytestmark = pytest.mark.fluidsynth

RATE = 44_100
KIT = [Instrument(0, 0, True)]
SIDE_STICK = [Event(0, EventKind.NOTE_ON, 0, 37, 100)]  # a short dry drum sound


def played(
    soundfont: Path,
    instruments: Sequence[Instrument],
    events: Sequence[Event],
    *stops: int,
    reverb: float = 0.8,
) -> NDArray[np.float32]:
    """Return the samples up to the last stop, with one call of `play` for each stop."""
    with Synth(soundfont, sample_rate_hz=RATE, reverb=reverb) as synth:
        synth.select_instruments(instruments)
        blocks: list[NDArray[np.float32]] = []
        for start, stop in zip((0, *stops), stops, strict=False):
            due = [event for event in events if start <= event.frame < stop]
            blocks.extend(synth.play(due, until=stop))
        assert synth.frame == stops[-1]
    return np.concatenate(blocks)


def test_a_piece_played_in_parts_equals_the_piece_played_at_once(soundfont: Path):
    score = piano(*(note(n / 3, 1, pitch=50 + n) for n in range(9)))
    event_list = build_event_list(score, sample_rate_hz=RATE)
    at_once = played(soundfont, event_list.instruments, event_list.events, 2 * RATE)
    stops = (777, RATE, RATE + 1, 2 * RATE)
    in_parts = played(soundfont, event_list.instruments, event_list.events, *stops)
    assert np.array_equal(at_once, in_parts)


def test_reverb_decays_within_three_seconds(soundfont: Path):
    wet, dry = (
        played(soundfont, KIT, SIDE_STICK, 4 * RATE, reverb=reverb) for reverb in (0.8, 0.0)
    )
    reverb = wet - dry
    assert rms(reverb[RATE // 2 : RATE]) > 0.005 * rms(reverb[: RATE // 2])
    assert rms(reverb[3 * RATE :]) < 0.0001 * rms(reverb[: RATE // 2])


def test_a_higher_level_gives_more_reverb(soundfont: Path):
    off, some, much = (
        played(soundfont, KIT, SIDE_STICK, RATE, reverb=level) for level in (0, 0.3, 0.8)
    )
    assert 0 < 2 * rms(some - off) < rms(much - off)


def test_each_instance_starts_without_the_reverb_of_the_last(soundfont: Path):
    first = played(soundfont, KIT, SIDE_STICK, RATE // 4)
    silence = played(soundfont, KIT, [], RATE)
    assert rms(first) > 1e-3
    assert np.abs(silence).max() < 1e-6
    assert np.array_equal(played(soundfont, KIT, SIDE_STICK, RATE // 4), first)


def test_blocks_are_yielded_as_they_are_rendered(soundfont: Path):
    event_list = build_event_list(piano(note(0, 20)), sample_rate_hz=RATE)
    with Synth(soundfont, sample_rate_hz=RATE) as synth:
        synth.select_instruments(event_list.instruments)
        first = next(synth.play(event_list.events, until=event_list.end_frame))
        assert 0 < len(first) == synth.frame < RATE


@pytest.mark.parametrize("channel", [9, 15, 16, 200, 255])
def test_a_program_sounds_the_same_on_every_channel(soundfont: Path, channel: int):
    others = [Instrument(n, PIANO, False) for n in range(256)]

    def flute_on(channel: int) -> NDArray[np.float32]:
        events = [Event(0, EventKind.NOTE_ON, channel, 69, 90)]
        return played(soundfont, [*others, Instrument(channel, FLUTE, False)], events, 9_000)

    assert np.array_equal(flute_on(channel), flute_on(0))
    assert rms(flute_on(channel)) > 1e-4


def test_the_standard_kit_replaces_a_missing_kit(soundfont: Path):
    events = [Event(0, EventKind.NOTE_ON, 0, 38, 100)]
    rare, standard = (
        played(soundfont, [Instrument(0, kit, True)], events, 9_000) for kit in (77, 0)
    )
    assert np.array_equal(rare, standard)
    assert rms(standard) > 1e-4


@pytest.mark.parametrize(
    ("instrument", "missing"),
    [
        (Instrument(0, FLUTE, False), "neither Flute nor a piano"),
        (Instrument(0, 0, True), "no drum kit"),
    ],
)
def test_a_soundfont_without_a_replacement_is_refused(
    soundfont: Path, monkeypatch: pytest.MonkeyPatch, instrument: Instrument, missing: str
):
    monkeypatch.setattr(Synth, "_select", lambda *_: False)
    with (
        pytest.raises(RenderError, match=f"'{soundfont.name}' has {missing}"),
        Synth(soundfont) as synth,
    ):
        synth.select_instruments([instrument])


def test_fluidsynth_prints_nothing(soundfont: Path, capfd: pytest.CaptureFixture[str]):
    with Synth(soundfont) as synth:
        synth.select_instruments([Instrument(0, 77, True)])  # FluidSynth warns of a missing kit
        events = [Event(0, EventKind.NOTE_ON, 0, 60, 100)]
        assert rms(np.concatenate(list(synth.play(events, until=999)))) > 0
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def deleted(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for every FluidSynth instance that was freed."""
    import fluidsynth

    freed: list[None] = []
    delete = fluidsynth.Synth.delete
    monkeypatch.setattr(fluidsynth.Synth, "delete", lambda self: freed.append(delete(self)))
    return freed


def test_memory_is_freed_after_use_and_after_errors(
    soundfont: Path, tmp_path: Path, deleted: list[None]
):
    render(piano(note(0)), soundfont=soundfont)
    assert len(deleted) == 1

    (tmp_path / "broken.sf2").touch()
    with pytest.raises(RenderError):
        render(piano(note(0)), soundfont=tmp_path / "broken.sf2")
    assert len(deleted) == 2

    with pytest.raises(KeyboardInterrupt), Synth(soundfont):
        raise KeyboardInterrupt
    assert len(deleted) == 3


@pytest.mark.parametrize("create", [Synth, lambda _: StreamingRenderer()])
def test_memory_is_freed_by_garbage_collection(soundfont: Path, deleted: list[None], create):
    synth = create(soundfont)
    assert deleted == []
    del synth
    gc.collect()
    assert len(deleted) == 1


def test_a_closed_synthesizer_refuses_to_play(soundfont: Path):
    with Synth(soundfont) as synth:
        pass
    for call in (lambda: synth.select_instruments([]), lambda: list(synth.play([], until=9))):
        with pytest.raises(ValueError, match="synthesizer is closed"):
            call()


def test_preloaded_instruments_change_no_sample(soundfont: Path):
    score = score_of(track_of([note(0)], FLUTE), track_of([note(0)], DRUMS))
    before = render(score, soundfont=soundfont).samples
    with load_instruments(soundfont, programs=(-1, PIANO, FLUTE)):
        assert np.array_equal(render(score, soundfont=soundfont).samples, before)
