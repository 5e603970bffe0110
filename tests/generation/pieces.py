"""Settings, prompts and readers of scores that the tests of composing share."""

from __future__ import annotations

from hypothesis import strategies as st
from symusic.core import NoteTick, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

from musiclstm import Composer, Composition, Constraints, Sampling, Surprise
from musiclstm.tokens import DRUMS

SAMPLING = Sampling(temperature=1.0, seed=7)
PIANO = Constraints(programs=frozenset({0}), meter=(2, 4))
METERS = [(4, 4), (3, 4), (6, 8), (5, 4), (2, 2), (7, 8)]

# Hypothesis strategies for arguments of `compose`.
constraint_sets = st.builds(
    Constraints,
    programs=st.sampled_from([{0}, {0, 40, DRUMS}, {0, 24, 40, 73}]),
    meter=st.sampled_from([None, (3, 4), (2, 4)]),
    tempo_bpm=st.sampled_from([None, None, 71]),
    max_polyphony=st.sampled_from([None, 2]),
    max_empty_bars=st.integers(0, 2),
    key=st.sampled_from([None, "D minor"]),
    ending=st.booleans(),
)
samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.7, 1.0, 1.6]),
    seed=st.integers(0, 9),
    repetition_penalty=st.sampled_from([1.0, 2.0]),
)
surprises = st.sampled_from(["off", "bold", (0, 0.9, 0.3, 0.7)]).map(Surprise)


def notes_of(score: ScoreTick, *, start: int = 0, end: float = float("inf")) -> list[tuple]:
    """Return (program, beat, beats, pitch, velocity) of every note that starts in [start, end)."""
    tpq = score.ticks_per_quarter
    return sorted(
        (
            DRUMS if track.is_drum else track.program,
            note.time / tpq,
            note.duration / tpq,
            note.pitch,
            note.velocity,
        )
        for track in score.tracks
        for note in track.notes
        if start <= note.time < end
    )


def new_notes(piece: Composition) -> list[NoteTick]:
    """Return the notes that start in the new bars."""
    start = piece.prompt_end_tick
    return [n for track in piece.score.tracks for n in track.notes if n.time >= start]


def token_names(composer: Composer, piece: Composition) -> list[str]:
    """Return the names of all new tokens."""
    return [composer.tokenizer.token_names[token] for token in piece.tokens]


def tempos(score: ScoreTick) -> list[tuple[float, float]]:
    """Return beat and quarter notes per minute of each tempo."""
    return [(t.time / score.ticks_per_quarter, round(t.qpm, 1)) for t in score.tempos]


def assert_same(one: Composition, other: Composition) -> None:
    """Check that two pieces are equal in files, state and probabilities."""
    assert one == other
    assert one.to_midi() == other.to_midi()
    assert one.to_midi(only_new=True) == other.to_midi(only_new=True)
    assert one.state.to_bytes() == other.state.to_bytes()
    assert one.note_probabilities() == other.note_probabilities()
    assert [p.log_probs for p in one.generated_bars] == [p.log_probs for p in other.generated_bars]


def band(*, meter: tuple[int, int] = (3, 4), bars: int = 3) -> ScoreTick:
    """Return a score for two violins, bass and drums whose tempo changes in bar 2."""
    beat = 4 * 480 // meter[1]
    score = ScoreTick(480)
    score.tempos.extend(type(score.tempos)([TempoTick(0, 97.3), TempoTick(beat * meter[0], 61.7)]))
    score.time_signatures.append(TimeSignatureTick(0, *meter))
    for name, program, is_drum, pitch in [
        ("High", 40, False, 84),
        ("Low", 40, False, 57),
        ("Bass", 33, False, 36),
        ("Kit", 0, True, 38),
    ]:
        track = TrackTick(name, program, is_drum)
        for at in range(bars * meter[0]):
            track.notes.append(NoteTick(at * beat, beat, pitch + at % 3, 80))
        score.tracks.append(track)
    return score


def every_setting(prompt: ScoreTick | None) -> dict[str, object]:
    """Return arguments of `compose` with constraints of every kind, sampling and surprise."""
    return {
        "prompt": prompt,
        "sampling": Sampling(temperature=1.0, seed=7, repetition_penalty=1.5, repetition_bars=2),
        "constraints": Constraints(
            programs={0, 40},
            meter=(3, 4),
            tempo_bpm=88,
            key="D minor" if prompt is None else "prompt",
            pitch_ranges={0: (36, 72), 40: (55, 90)},
            max_polyphony=5,
            notes_per_bar=(2, 12),
        ),
        "surprise": Surprise("bold"),
    }
