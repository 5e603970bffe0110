"""Velocities of generated notes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from symusic.core import NoteTick, ScoreTick, TimeSignatureTick, TrackTick

from musiclstm.generation.loudness import (
    BEAT_ACCENT,
    DEFAULT_DRUM_VELOCITY,
    DEFAULT_VELOCITY,
    DOWNBEAT_ACCENT,
    PromptLoudness,
)
from musiclstm.tokens import DRUMS, MusicTokenizer, PartName

BEAT, BAR = 480, 4 * 480
TOKENIZER = MusicTokenizer()


def track(notes: list[tuple[int, int]], *, program: int = 0, pitch: int = 60) -> TrackTick:
    """Return a track of eighths from (tick, velocity)."""
    made = TrackTick("", max(program, 0), program == DRUMS)
    for tick, velocity in notes:
        made.notes.append(NoteTick(tick, 240, pitch, velocity))
    return made


def score(*tracks: TrackTick, meter: tuple[int, int] = (4, 4), tpq: int = 480) -> ScoreTick:
    made = ScoreTick(tpq)
    made.time_signatures.append(TimeSignatureTick(0, *meter))
    made.tracks = list(tracks)
    return made


def velocities(made: ScoreTick) -> list[list[int]]:
    return [[note.velocity for note in each.notes] for each in made.tracks]


def loudness_of(prompt: ScoreTick, order: Sequence[Sequence[int]] | None = None) -> PromptLoudness:
    chosen = TOKENIZER.part_order(prompt) if order is None else order
    parts = TOKENIZER.parts(prompt, chosen)
    return PromptLoudness(prompt, dict(zip(parts, chosen, strict=True)))


def continued(new: ScoreTick, prompt: ScoreTick, *parts: PartName, gain: float = 1.0) -> ScoreTick:
    """Return the new score with velocities of the prompt; default: each track is part 0."""
    own = parts or [PartName(DRUMS if each.is_drum else each.program, 0) for each in new.tracks]
    return loudness_of(prompt).with_velocities(new, own, gain)


def composed(ticks: list[int], **options) -> ScoreTick:
    return score(track([(tick, 64) for tick in ticks], **options))


def test_a_note_has_the_median_velocity_of_its_part_in_the_same_eighth() -> None:
    loud = [(bar * BAR, velocity) for bar, velocity in enumerate((100, 90, 120))]
    soft = [(bar * BAR + BEAT, velocity) for bar, velocity in enumerate((30, 41, 40))]
    new = composed([0, BEAT, BAR, BAR + BEAT + 200])
    assert velocities(continued(new, score(track(loud + soft)))) == [[100, 40, 100, 40]]


def test_an_eighth_without_notes_has_the_median_of_the_part() -> None:
    prompt = score(track([(0, 100), (BEAT, 50), (2 * BEAT, 61)]))
    assert velocities(continued(composed([240, 3 * BEAT, 7 * 240]), prompt)) == [[61, 61, 61]]


def test_the_median_of_an_even_number_is_the_mean_of_the_middle_rounded_up() -> None:
    prompt = score(track([(0, 50), (BAR, 61)]))
    assert velocities(continued(composed([0, BEAT]), prompt)) == [[56, 56]]


def test_a_part_that_the_prompt_lacks_has_a_default_with_accents() -> None:
    prompt = score(track([(0, 30)], program=9))
    down, beat = DEFAULT_VELOCITY + DOWNBEAT_ACCENT, DEFAULT_VELOCITY + BEAT_ACCENT
    new = composed([0, 240, BEAT, 2 * BEAT + 160, BAR])
    assert velocities(continued(new, prompt)) == [[down, 80, beat, 80, down]]
    drums = composed([0, 240], program=DRUMS, pitch=36)
    assert velocities(continued(drums, prompt)) == [
        [DEFAULT_DRUM_VELOCITY + DOWNBEAT_ACCENT, DEFAULT_DRUM_VELOCITY]
    ]


def test_the_beat_of_a_compound_meter_is_a_dotted_quarter() -> None:
    new = score(track([(eighth * 240, 64) for eighth in range(7)]), meter=(6, 8))
    assert velocities(continued(new, ScoreTick(480))) == [[88, 80, 80, 84, 80, 80, 88]]


def test_tracks_of_one_program_have_their_own_velocities() -> None:
    prompt = score(track([(0, 100)], pitch=40), track([(0, 50)], pitch=80))
    new, parts = score(track([(0, 64)]), track([(0, 64)])), [PartName(0, 0), PartName(0, 1)]
    assert velocities(continued(new, prompt, *parts)) == [[50], [100]]
    assert velocities(continued(new, prompt, *parts[::-1])) == [[100], [50]]
    loudness = loudness_of(prompt, order=[[0], [1]])
    assert velocities(loudness.with_velocities(new, parts)) == [[100], [50]]


def test_all_drum_tracks_of_the_prompt_are_one_part() -> None:
    prompt = score(
        track([(0, 20)], program=DRUMS, pitch=36),
        track([(0, 60), (BAR, 100)], program=DRUMS, pitch=38),
    )
    drums = composed([0], program=DRUMS, pitch=42)
    assert velocities(continued(drums, prompt)) == [[60]]


def test_a_slightly_early_note_counts_for_the_next_eighth() -> None:
    prompt = score(track([(BEAT - 15, 40), (BEAT - 60, 90), (BAR - 15, 70)]))
    assert velocities(continued(composed([BEAT, 240, 0]), prompt)) == [[40, 90, 70]]


def test_prompt_and_score_can_have_different_meters() -> None:
    prompt = score(track([(beat * BEAT, 100 if beat % 3 == 0 else 40) for beat in range(9)]))
    prompt.time_signatures[0] = TimeSignatureTick(0, 3, 4)
    assert velocities(continued(composed([0, BEAT, BAR]), prompt)) == [[100, 40, 100]]


def test_prompt_and_score_can_have_different_resolutions() -> None:
    prompt = score(track([(0, 100), (BEAT, 40)]))
    new = score(track([(0, 64), (48, 64), (4 * 48, 64)]), tpq=48)
    assert velocities(continued(new, prompt)) == [[100, 40, 100]]


@pytest.mark.parametrize(("gain", "velocity"), [(1.0, 100), (0.5, 50), (2.0, 127), (0.0, 1)])
def test_a_gain_scales_velocities_within_1_and_127(gain, velocity) -> None:
    prompt = score(track([(0, 100)]))
    found = velocities(continued(composed([0, BAR]), prompt, gain=gain))
    assert found == [[velocity, velocity]]


@pytest.mark.parametrize(("meter", "position_ticks"), [((6, 8), 2), ((3, 16), 1)], ids=str)
def test_the_last_position_of_a_bar_belongs_to_its_last_eighth(meter, position_ticks) -> None:
    bar = 4 * 48 * meter[0] // meter[1]
    prompt = score(track([(0, 100), (bar - 12, 60)]), meter=meter, tpq=48)
    ticks = [0, bar - position_ticks, bar]
    new = score(track([(tick, 64) for tick in ticks]), meter=meter, tpq=48)
    assert velocities(continued(new, prompt, gain=0.5)) == [[50, 30, 50]]
    assert velocities(continued(new, ScoreTick(48))) == [[88, 80, 88]]


def test_only_velocities_change(invented) -> None:
    new, prompt = invented(programs=(0, 40, -1), seed=1), invented(programs=(0, -1))
    before = new.copy(), prompt.copy()
    made = continued(new, prompt)
    assert (new, prompt) == before
    assert made != new
    assert TOKENIZER.encode(made) == TOKENIZER.encode(new)
    assert made == continued(new, prompt)


def test_parts_must_match_the_tracks() -> None:
    with pytest.raises(ValueError, match="2 parts were given for 1 tracks"):
        continued(composed([0]), ScoreTick(480), PartName(0, 0), PartName(0, 1))


def test_single_bars_have_the_velocities_of_all_bars_at_once() -> None:
    prompt = score(track([(0, 100), (BEAT, 40), (BAR, 90)]))
    both = continued(composed([0, BEAT, BAR, BAR + BEAT]), prompt, gain=0.5)
    one = continued(composed([0, BEAT]), prompt, gain=0.5)
    assert velocities(both) == [velocities(one)[0] * 2]
    assert velocities(both) == [[48, 20, 48, 20]]


def test_without_a_prompt_all_notes_have_the_default() -> None:
    assert velocities(continued(composed([0]), ScoreTick(480))) == [[88]]
    new = composed([0, 240], program=5)
    assert velocities(PromptLoudness().with_velocities(new, [PartName(5, 0)])) == [[88, 80]]
