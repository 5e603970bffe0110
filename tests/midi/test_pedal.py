"""Notes that the sustain pedal holds, in scores and in the tokens of prompts and training files."""

from __future__ import annotations

import pytest
from symusic.core import NoteTick, PedalTick, ScoreTick, TrackTick

from musiclstm import MusicTokenizer, Sampling
from musiclstm.midi.pedal import held_durations, hold_notes
from musiclstm.midi.reader import read_midi
from tests.malformed_midi.midi_builder import midi, note, track


def pedalled(
    notes: list[tuple[int, int, int]], pedals: list[tuple[int, int]], *, is_drum: bool = False
) -> TrackTick:
    """Return a track with (tick, duration, pitch) and (tick, duration)."""
    found = TrackTick("", 0, is_drum)
    for tick, duration, pitch in notes:
        found.notes.append(NoteTick(tick, duration, pitch, 80))
    for pedal in pedals:
        found.pedals.append(PedalTick(*pedal))
    return found


CASES = {
    "until the pedal is lifted": ([(0, 60, 60), (480, 60, 64)], [(0, 960)], [960, 480]),
    "until the key is struck again": ([(0, 60, 60), (480, 60, 60)], [(0, 960)], [480, 480]),
    "a note that ends later": ([(0, 1200, 60)], [(0, 960)], [1200]),
    "a pedal after the onset": ([(0, 60, 60)], [(30, 930)], [960]),
    "a pedal after the release": ([(0, 60, 60)], [(60, 900)], [60]),
    "the second of two pedals": ([(0, 480, 60), (480, 60, 62)], [(0, 480), (490, 470)], [480, 480]),
    "a chord of equal pitches": ([(0, 60, 60), (0, 90, 60)], [(0, 960)], [960, 960]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_note_lasts_as_long_as_the_pedal_holds_it(case: str) -> None:
    notes, pedals, expected = CASES[case]
    assert held_durations(pedalled(notes, pedals)).tolist() == expected
    assert held_durations(pedalled(notes, pedals, is_drum=True)).tolist() == [n[1] for n in notes]


def arpeggio() -> ScoreTick:
    """Return a file of two bars of short notes with the pedal down to near the end of each bar."""
    press, lift = b"\0\xb0\x40\x7f", b"\0\xb0\x40\0"
    notes = b"".join(note(48 + 7 * step, 120, delta=120 if step else 0) for step in range(8))
    bar = press + notes + lift
    return read_midi(midi(track(bar, b"\x78\xb0\x40\x7f", notes, lift, note(60))))[0]


def test_tokens_have_the_durations_that_the_pedal_holds() -> None:
    tokenizer = MusicTokenizer()
    score = arpeggio()
    back = tokenizer.decode(tokenizer.encode(score))
    durations = [each.duration for each in back.tracks[0].notes]
    assert durations[:4] == [180, 156, 132, 108]  # to the lift, 1800 of 480 ticks a quarter
    assert tokenizer.encode(hold_notes(score)) == tokenizer.encode(score)


def test_a_prompt_is_read_with_its_pedal_and_written_without_a_change(tiny_composer) -> None:
    score = arpeggio()
    piece = tiny_composer.compose(bars=1, prompt=score, sampling=Sampling(seed=1))
    held = tiny_composer.compose(bars=1, prompt=hold_notes(score), sampling=Sampling(seed=1))
    assert piece.prompt_ids == held.prompt_ids
    kept = [each for each in piece.score.tracks[0].controls if each.time < piece.prompt_end_tick]
    assert [each.value for each in kept if each.number == 64] == [127, 0, 127, 0]
    scale = piece.score.ticks_per_quarter // score.ticks_per_quarter
    written = [each.duration for each in piece.score.tracks[0].notes][:16]
    assert written == [each.duration * scale for each in score.tracks[0].notes][:16]
