"""Pedal of the new bars of a part that the prompt plays with the pedal."""

from __future__ import annotations

from symusic.core import ControlChangeTick, NoteTick, PedalTick, ScoreTick, TrackTick

from musiclstm.generation.pedalling import add_pedal, pedalled_tracks
from musiclstm.midi.pedal import held_durations
from tests.generation.pieces import SAMPLING

BAR = 1920


def arpeggios(*, bars: int = 4, pedalled: int = 4, program: int = 0) -> ScoreTick:
    """Return short eighths; the last `pedalled` bars have a pedal that is lifted near their end."""
    score = ScoreTick(480)
    track = TrackTick("", program)
    for bar in range(bars):
        for step, pitch in enumerate((48, 55, 64, 60, 67, 60, 64, 55)):
            track.notes.append(NoteTick(BAR * bar + 240 * step, 100, pitch + bar % 3, 80))
        if bar >= bars - pedalled:
            track.controls.append(ControlChangeTick(BAR * bar, 64, 127))
            track.controls.append(ControlChangeTick(BAR * (bar + 1) - 20, 64, 0))
            track.pedals.append(PedalTick(BAR * bar, BAR - 20))
    score.tracks.append(track)
    return score


def pedals_of(track: TrackTick, start: int = 0) -> list[tuple[int, int]]:
    return [(c.time, c.value) for c in track.controls if c.number == 64 and c.time >= start]


def test_a_track_is_pedalled_if_half_of_its_last_bars_are() -> None:
    assert pedalled_tracks(arpeggios(), 4 * BAR) == [0]
    assert pedalled_tracks(arpeggios(pedalled=2), 4 * BAR) == [0]
    assert pedalled_tracks(arpeggios(pedalled=1), 4 * BAR) == []
    assert pedalled_tracks(arpeggios(bars=16, pedalled=8), 16 * BAR) == [0]


def test_the_pedal_changes_at_bar_lines_and_with_the_bass() -> None:
    score = ScoreTick(480)
    track = TrackTick("", 0)
    # C, G, E over the bass C; then the bass D on beat 3; bar 2: C and its octave; bar 3 is empty.
    for tick, pitch in [
        (0, 48),
        (240, 55),
        (480, 64),
        (960, 50),
        (1200, 57),
        (1920, 48),
        (2880, 60),
    ]:
        track.notes.append(NoteTick(tick, 100, pitch, 80))
    score.tracks.append(track)
    add_pedal(score, [0], [0, BAR, 2 * BAR, 3 * BAR])
    assert pedals_of(score.tracks[0]) == [
        (20, 127),
        (960, 0),
        (980, 127),
        (1920, 0),
        (1940, 127),
        (3840, 0),
    ]
    assert held_durations(score.tracks[0]).tolist() == [960, 720, 480, 960, 720, 1920, 960]


def test_the_continuation_of_a_pedalled_part_has_a_pedal(tiny_composer) -> None:
    prompt = arpeggios()
    piece = tiny_composer.compose(bars=3, prompt=prompt, sampling=SAMPLING)
    track, start = piece.score.tracks[0], piece.prompt_end_tick
    scale = piece.score.ticks_per_quarter // 480
    before = [(time // scale, value) for time, value in pedals_of(track) if time < start]
    assert before[:-1] == pedals_of(prompt.tracks[0])[:-1]  # the last one ends with the music
    new = pedals_of(track, start)
    assert any(note.time >= start for note in track.notes)
    assert [value for _, value in new] == [127, 0] * (len(new) // 2)
    assert new
    assert max(time for time, _ in new) <= piece.end_tick
    longer = tiny_composer.extend(piece, bars=1)
    assert pedals_of(longer.score.tracks[0])[: len(before) + len(new)] == pedals_of(track)


def test_the_continuation_of_a_dry_part_has_none(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=2, prompt=arpeggios(pedalled=0), sampling=SAMPLING)
    assert pedals_of(piece.score.tracks[0]) == []
