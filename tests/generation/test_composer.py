"""A seed in, music that goes on out: the seed untouched, the bars exact, the same every time."""

from __future__ import annotations

import copy
import gc
import shutil
from collections import defaultdict
from dataclasses import FrozenInstanceError, replace
from itertools import islice

import numpy as np
import pytest
from symusic.core import (
    ControlChangeTick,
    NoteTick,
    PitchBendTick,
    ScoreTick,
    TempoTick,
    TimeSignatureTick,
    TrackTick,
)

from musiclstm import (
    CheckpointError,
    Composer,
    Composition,
    Constraints,
    GeneratedBar,
    Sampling,
    ScoreError,
    Surprise,
)
from musiclstm.generation.bar_plan import tonic_chord
from musiclstm.generation.constraints import Scale
from musiclstm.generation.decoding.inference import InferenceModel
from musiclstm.generation.decoding.sampling import MAX_SEED
from musiclstm.midi.analysis import bar_starts, estimate_key, last_note_end, meter_at, tempo_at
from musiclstm.model.checkpoint import save_checkpoint
from musiclstm.tokens import (
    DRUMS,
    POSITIONS_PER_BEAT,
    TOKENIZER_FILE,
    normalize_time_signature,
    programs_of,
)

SAMPLING = Sampling(temperature=1.0, seed=7)
PIANO = Constraints(programs=frozenset({0}), meter=(2, 4))
METERS = [(4, 4), (3, 4), (6, 8), (5, 4), (2, 2), (7, 8)]


def notes_of(score: ScoreTick, *, start: int = 0, end: float = float("inf")) -> list[tuple]:
    """Every note that begins in [start, end) as (program, beat, beats, pitch, velocity)."""
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
    return [
        note
        for track in piece.score.tracks
        for note in track.notes
        if note.time >= piece.prompt_end_tick
    ]


def words(composer: Composer, piece: Composition) -> list[str]:
    return [composer.tokenizer.token_names[token] for token in piece.tokens]


# -- Reproducible --------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_piece(tiny_composer, invented) -> None:
    score = invented(bars=2)
    files = {
        tiny_composer.compose(bars=2, prompt=score, sampling=SAMPLING).to_midi() for _ in range(2)
    }
    assert len(files) == 1


def test_another_seed_gives_another_piece(tiny_composer) -> None:
    pieces = [
        tiny_composer.compose(bars=2, sampling=Sampling(seed=seed), constraints=PIANO)
        for seed in (1, 2)
    ]
    assert pieces[0].tokens != pieces[1].tokens


def test_a_composer_loaded_again_composes_the_same(tiny_composer, tiny_checkpoint) -> None:
    again = Composer.from_pretrained(tiny_checkpoint)
    one, other = (
        composer.compose(bars=2, sampling=SAMPLING, constraints=PIANO)
        for composer in (tiny_composer, again)
    )
    assert one.to_midi() == other.to_midi()


def test_a_piece_tells_the_seed_that_was_drawn_for_it(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=1, constraints=PIANO)
    again = tiny_composer.compose(bars=1, constraints=PIANO, sampling=piece.sampling)
    assert piece.sampling.seed is not None
    assert again.to_midi() == piece.to_midi()


def test_a_piece_can_be_made_again_from_its_record(tiny_composer, invented) -> None:
    piece = tiny_composer.compose(bars=2, prompt=invented(bars=2), sampling=SAMPLING)
    again = tiny_composer.compose(
        bars=piece.bars,
        prompt=piece.prompt.score,
        sampling=piece.sampling,
        constraints=piece.constraints,
    )
    assert again.to_midi() == piece.to_midi()


@pytest.mark.parametrize("silence", [1, 3])
@pytest.mark.parametrize("with_seed", [False, True], ids=["alone", "with a seed"])
def test_an_extended_piece_equals_an_uninterrupted_one(
    with_seed, silence, tiny_composer, invented
) -> None:
    asked = {
        "prompt": invented(bars=2) if with_seed else None,
        "sampling": SAMPLING,
        "constraints": replace(PIANO, max_empty_bars=silence),
    }
    whole = tiny_composer.compose(bars=6, **asked)
    piece = tiny_composer.compose(bars=1, **asked)
    for bars in (2, 3):
        piece = tiny_composer.extend(piece, bars=bars)
    assert piece.tokens == whole.tokens
    assert piece.to_midi() == whole.to_midi()
    assert (piece.bars, piece.prompt_bars) == (whole.bars, whole.prompt_bars)


def test_extending_leaves_the_piece_as_it_was(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=2, sampling=SAMPLING, constraints=PIANO)
    file, state = piece.to_midi(), piece.state.to_bytes()
    one = tiny_composer.extend(piece, bars=2)
    other = tiny_composer.extend(piece, bars=2)
    assert one.to_midi() == other.to_midi()
    assert (piece.to_midi(), piece.state.to_bytes(), piece.bars) == (file, state, 2)


def test_a_piece_may_go_on_otherwise(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=2, sampling=SAMPLING, constraints=PIANO)
    plain = tiny_composer.extend(piece, bars=2)
    other = tiny_composer.extend(piece, bars=2, sampling=Sampling(seed=8))
    assert other.bar_tokens[:2] == plain.bar_tokens[:2] == piece.bar_tokens
    assert other.bar_tokens[2:] != plain.bar_tokens[2:]
    assert other.sampling.seed == 8
    assert tiny_composer.extend(piece, bars=1, sampling=Sampling()).sampling.seed is not None


def test_a_stream_is_the_same_piece_a_bar_longer_each_time(tiny_composer, invented) -> None:
    asked = {"prompt": invented(bars=1), "sampling": SAMPLING, "constraints": PIANO}
    drafts = list(tiny_composer.stream(bars=3, **asked))
    assert [draft.bars for draft in drafts] == [1, 2, 3]
    for draft in drafts:
        whole = tiny_composer.compose(bars=draft.bars, **asked)
        assert draft.to_midi() == whole.to_midi()
    assert drafts[0].bar_tokens == drafts[2].bar_tokens[:1]


def test_a_stream_refuses_before_its_first_bar(tiny_composer) -> None:
    with pytest.raises(ScoreError):
        tiny_composer.stream(prompt=b"not MIDI")
    with pytest.raises(ValueError, match="bars must be"):
        tiny_composer.stream(bars=0)


def test_a_stream_can_be_left(tiny_composer) -> None:
    drafts = tiny_composer.stream(bars=4_096, sampling=SAMPLING, constraints=PIANO)
    first = next(drafts)
    drafts.close()
    gc.collect()
    assert first.bars == 1
    assert next(drafts, None) is None


def test_takes_in_turn_do_not_disturb_each_other(tiny_composer, invented) -> None:
    asked = [
        {"sampling": Sampling(seed=1), "constraints": PIANO},
        {"prompt": invented(bars=2, meter=(3, 4)), "sampling": Sampling(seed=2)},
    ]
    alone = [tiny_composer.compose(bars=3, **each).to_midi() for each in asked]
    streams = [tiny_composer.stream(bars=3, **each) for each in asked]
    for _ in range(2):
        for stream in streams:
            next(stream)
    assert [next(stream).to_midi() for stream in streams] == alone


def test_two_composers_do_not_disturb_each_other(
    tiny_composer, tiny_network, tiny_tokenizer
) -> None:
    other = Composer(tiny_network(seed=1), tiny_tokenizer)
    asked = {"bars": 2, "sampling": SAMPLING, "constraints": PIANO}
    alone = [composer.compose(**asked).to_midi() for composer in (tiny_composer, other)]
    streams = [composer.stream(**asked) for composer in (tiny_composer, other)]
    for stream in streams:
        next(stream)
    assert [next(stream).to_midi() for stream in streams] == alone
    assert alone[0] != alone[1]


# -- Bars ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("meter", METERS, ids=str)
@pytest.mark.parametrize("ticks_per_quarter", [480, 96, 100])
def test_bars_are_exact_and_notes_on_the_grid(
    meter, ticks_per_quarter, tiny_composer, invented
) -> None:
    seed = invented(meter=meter, bars=2, ticks_per_quarter=480)
    seed = seed.resample(ticks_per_quarter, min_dur=1)
    piece = tiny_composer.compose(bars=3, prompt=seed, sampling=SAMPLING)
    tpq = piece.score.ticks_per_quarter
    bar = 4 * tpq * meter[0] // meter[1]
    end = piece.prompt_end_tick + 3 * bar
    assert piece.prompt_end_tick == 2 * bar
    assert (piece.bars, piece.prompt_bars) == (3, 2)
    assert last_note_end(piece.score) <= end
    grid = 4 * tpq // normalize_time_signature(*meter)[1] // POSITIONS_PER_BEAT
    assert new_notes(piece)
    assert {(note.time - piece.prompt_end_tick) % grid for note in new_notes(piece)} == {0}
    assert words(tiny_composer, piece).count("Bar_None") == 3
    assert len(bar_starts(piece.score, end_tick=end)) == 2 + 3 + 1


def test_a_piece_from_nothing_has_exact_bars_too(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=4, sampling=SAMPLING)
    length = tiny_composer.tokenizer.length_ticks(piece.tokens)
    assert piece.bars == len(piece.bar_tokens) == 4
    assert 0 < last_note_end(piece.score) <= length
    assert len(bar_starts(piece.score, end_tick=length)) == 5
    assert (piece.prompt, piece.prompt_bars, piece.prompt_end_tick) == (None, 0, 0)


def test_every_bar_opens_with_its_bar_line(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=3, sampling=SAMPLING, constraints=PIANO)
    for tokens in piece.bar_tokens:
        names = [tiny_composer.tokenizer.token_names[token] for token in tokens]
        assert names[0] == "Bar_None"
        assert names.count("Bar_None") == 1
        assert not {"EOS_None", "BOS_None", "PAD_None"} & set(names)


@pytest.mark.parametrize("bars", [0, -1, 4_097, 2.5, "8", None])
def test_a_wrong_number_of_bars_is_refused(bars, tiny_composer) -> None:
    sentence = f"^bars must be a whole number from 1 to 4096, got {bars}.$"
    piece = tiny_composer.compose(bars=1, sampling=SAMPLING, constraints=PIANO)
    with pytest.raises(ValueError, match=sentence):
        tiny_composer.compose(bars=bars)
    with pytest.raises(ValueError, match=sentence):
        tiny_composer.extend(piece, bars=bars)
    with pytest.raises(ValueError, match=sentence):
        tiny_composer.stream(bars=bars)


@pytest.mark.parametrize("bars", [0, 1.5])
def test_a_wrong_number_of_prompt_bars_is_refused(bars, tiny_composer, invented) -> None:
    with pytest.raises(ValueError, match="prompt_bars must be a whole number from 1 to 4096, got"):
        tiny_composer.compose(bars=1, prompt=invented(), prompt_bars=bars)


def test_a_number_of_bars_from_numpy_will_do(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=np.int64(2), sampling=SAMPLING, constraints=PIANO)
    assert piece.bars == 2


# -- The seed goes on ----------------------------------------------------------------------------


def band(*, meter=(3, 4), bars=3) -> ScoreTick:
    """Two violins, a bass and drums, with a tempo change, pedals and a bend."""
    tpq, beat = 480, 4 * 480 // meter[1]
    score = ScoreTick(tpq)
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


def test_the_seed_stays_as_it_is(tiny_composer) -> None:
    seed = band()
    given = seed.copy()
    piece = tiny_composer.compose(bars=2, prompt=seed, sampling=SAMPLING)
    assert seed == given
    assert notes_of(piece.score, end=piece.prompt_end_tick) == notes_of(seed)
    names = [track.name for track in piece.score.tracks]
    assert names[:4] == ["High", "Low", "Bass", "Kit"]


def test_notes_of_the_seed_that_overlap_stay_as_they_are(tiny_composer) -> None:
    seed = ScoreTick(480)
    track = TrackTick("Piano", 0, False)
    for time, duration in [(0, 1_920), (480, 480), (485, 31), (485, 700)]:
        track.notes.append(NoteTick(time, duration, 60, 80))
    seed.tracks.append(track)
    piece = tiny_composer.compose(bars=1, prompt=seed, sampling=SAMPLING)
    assert notes_of(piece.score, end=piece.prompt_end_tick) == notes_of(seed)


def test_instruments_meter_and_tempo_of_the_seed_go_on(tiny_composer) -> None:
    seed = band(meter=(3, 4))
    piece = tiny_composer.compose(bars=4, prompt=seed, sampling=SAMPLING)
    start = piece.prompt_end_tick
    played = {program for program, *_ in notes_of(piece.score, start=start)}
    assert played <= {40, 33, DRUMS}
    assert piece.constraints == Constraints(
        programs=frozenset({40, 33, DRUMS}),
        meter=(3, 4),
        tempo_changes=False,
        max_notes_at_once=4,
    )
    assert meter_at(piece.score, start + 10_000) == (3, 4)
    assert [(s.time, s.numerator) for s in piece.score.time_signatures] == [(0, 3)]
    assert [tempo.mspq for tempo in piece.score.tempos] == [tempo.mspq for tempo in seed.tempos]
    assert tempo_at(piece.score, start + 10_000) == pytest.approx(61.7, abs=1e-4)


def test_cut_time_stays_cut_time(tiny_composer, invented) -> None:
    piece = tiny_composer.compose(bars=2, prompt=invented(meter=(2, 2)), sampling=SAMPLING)
    assert [(s.numerator, s.denominator) for s in piece.score.time_signatures] == [(2, 2)]


def test_a_meter_that_is_asked_for_begins_with_the_new_music(tiny_composer, invented) -> None:
    piece = tiny_composer.compose(
        bars=2, prompt=invented(bars=2), sampling=SAMPLING, constraints=Constraints(meter=(3, 4))
    )
    start = piece.prompt_end_tick
    assert meter_at(piece.score, start - 1) == (4, 4)
    assert meter_at(piece.score, start) == (3, 4)
    lines = bar_starts(piece.score, end_tick=start + 6 * piece.score.ticks_per_quarter)
    assert (np.diff(lines) // piece.score.ticks_per_quarter).tolist() == [4, 4, 3, 3]


def test_an_instrument_that_is_new_gets_a_track_with_its_name(tiny_composer, invented) -> None:
    piece = tiny_composer.compose(
        bars=2,
        prompt=invented(bars=1),
        sampling=SAMPLING,
        constraints=Constraints(programs=frozenset({73, DRUMS}), meter=(4, 4)),
    )
    assert {(t.name, t.program, t.is_drum) for t in piece.score.tracks[1:]} <= {
        ("Flute", 73, False),
        ("Drums", 0, True),
    }
    assert len(piece.score.tracks) > 1
    assert not [note for note in piece.score.tracks[0].notes if note.time >= piece.prompt_end_tick]


def test_no_key_is_struck_again_before_it_is_let_go(tiny_composer) -> None:
    constraints = Constraints(programs={0, 24, DRUMS}, meter=(3, 4), notes_per_bar=(12, 40))
    wild = Sampling(temperature=1.5, seed=3)
    piece = tiny_composer.compose(bars=8, sampling=wild, constraints=constraints)
    for track in piece.score.tracks:
        ends: dict[int, int] = {}
        for note in track.notes:
            assert ends.get(note.pitch, 0) <= note.time
            ends[note.pitch] = note.time + note.duration
            assert note.duration >= 1


def test_a_new_piece_survives_as_a_file(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=4, prompt=band(), sampling=SAMPLING)
    back = ScoreTick.from_midi(piece.to_midi())
    assert notes_of(back) == notes_of(piece.score)
    assert programs_of(back) == programs_of(piece.score)


def test_pedals_and_bends_of_the_seed_stay_and_end_with_it(tiny_composer) -> None:
    seed = band()
    seed.tracks[0].controls.append(ControlChangeTick(0, 64, 127))  # never lifted
    seed.tracks[0].pitch_bends.append(PitchBendTick(480, 2_000))  # never straightened
    seed.tracks[1].controls.append(ControlChangeTick(0, 64, 127))
    seed.tracks[1].controls.append(ControlChangeTick(480, 64, 0))
    piece = tiny_composer.compose(bars=2, prompt=seed, sampling=SAMPLING)
    scale = piece.score.ticks_per_quarter // 480
    end = piece.prompt_end_tick
    high, low = piece.score.tracks[:2]
    assert [(c.time, c.value) for c in high.controls] == [(0, 127), (end, 0)]
    assert [(b.time, b.value) for b in high.pitch_bends] == [(480 * scale, 2_000), (end, 0)]
    assert [(c.time, c.value) for c in low.controls] == [(0, 127), (480 * scale, 0)]


def test_a_tempo_may_change_where_it_is_allowed_to(tiny_composer, invented) -> None:
    asked = {"bars": 6, "prompt": invented(bars=1, tempo_bpm=90), "sampling": SAMPLING}
    free = tiny_composer.compose(**asked, constraints=PIANO)
    bound = tiny_composer.compose(**asked, constraints=replace(PIANO, tempo_changes=False))
    named = sum(word.startswith("Tempo_") for word in words(tiny_composer, free))
    assert named > 0
    assert len(free.score.tempos) == 1 + named
    assert len(bound.score.tempos) == 1


def test_a_piece_from_nothing_says_its_tempo(tiny_composer) -> None:
    bound = tiny_composer.compose(
        bars=2, sampling=SAMPLING, constraints=replace(PIANO, tempo_changes=False)
    )
    assert [(tempo.time, tempo.qpm) for tempo in bound.score.tempos] == [(0, 120)]
    free = tiny_composer.compose(bars=3, sampling=SAMPLING)
    named = [tempo.time for tempo in tiny_composer.tokenizer.decode(free.tokens).tempos]
    assert named
    assert [tempo.time for tempo in free.score.tempos] == [0, *(time for time in named if time)]


def test_constraints_of_ones_own_are_kept(tiny_composer) -> None:
    constraints = Constraints(
        programs={40, DRUMS}, meter=(6, 8), tempo_changes=False, max_empty_bars=0
    )
    piece = tiny_composer.compose(bars=5, sampling=SAMPLING, constraints=constraints)
    assert programs_of(piece.score) <= {40, DRUMS}
    assert {(s.numerator, s.denominator) for s in piece.score.time_signatures} == {(6, 8)}
    assert all(
        any(tiny_composer.tokenizer.token_names[token].startswith("Pitch") for token in bar)
        for bar in piece.bar_tokens
    )
    assert piece.constraints is constraints


def test_a_meter_no_token_says_is_played_by_another_as_long(tiny_composer) -> None:
    piece = tiny_composer.compose(
        bars=2, sampling=SAMPLING, constraints=Constraints(meter=(2, 2), programs={0})
    )
    assert {(s.numerator, s.denominator) for s in piece.score.time_signatures} == {(4, 4)}


# -- Rare instruments ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chamber(tiny_network, tiny_tokenizer, tmp_path_factory) -> Composer:
    """A composer trained on piano, organ, violin and drums only."""
    folder = tmp_path_factory.mktemp("chamber")
    save_checkpoint(folder, tiny_network(programs=[DRUMS, 0, 16, 40]), tiny_tokenizer)
    return Composer.from_pretrained(folder)


def heard(composer: Composer, piece: Composition) -> set[str]:
    return {word for word in words(composer, piece) if word.startswith("Program_")}


def test_a_rare_instrument_is_played_by_a_relative_and_comes_back(chamber, invented) -> None:
    seed = invented(bars=2, programs=(19, 0))  # church organ and piano
    piece = chamber.compose(bars=4, prompt=seed, sampling=SAMPLING)
    assert heard(chamber, piece) <= {"Program_16", "Program_0"}
    assert "Program_16" in heard(chamber, piece)
    assert programs_of(piece.score) == {19, 0}
    assert piece.constraints.programs == {19, 0}
    assert 19 in {program for program, *_ in notes_of(piece.score, start=piece.prompt_end_tick)}


def test_five_instruments_may_share_three_substitutes(chamber, invented) -> None:
    seed = invented(bars=1, programs=(0, 16, 40, 41, 1))
    piece = chamber.compose(bars=6, prompt=seed, sampling=SAMPLING)
    assert heard(chamber, piece) <= {"Program_0", "Program_16", "Program_40"}
    assert programs_of(piece.continuation) <= {0, 16, 40, 41, 1}
    assert len(piece.score.tracks) == 5


def test_only_instruments_it_has_heard_play_by_themselves(chamber, invented) -> None:
    for prompt in (None, invented(bars=1, programs=(19,))):
        piece = chamber.compose(
            bars=6, prompt=prompt, sampling=SAMPLING, constraints=Constraints(meter=(2, 4))
        )
        assert heard(chamber, piece) <= {"Program_0", "Program_16", "Program_40", "Program_-1"}


def test_a_rare_instrument_can_be_asked_for(chamber, invented) -> None:
    constraints = Constraints(programs={19}, meter=(2, 4))
    alone = chamber.compose(bars=3, sampling=SAMPLING, constraints=constraints)
    assert heard(chamber, alone) == {"Program_16"}
    assert programs_of(alone.score) == {19}
    assert all(track.name.startswith("Church Organ") for track in alone.score.tracks)
    after = chamber.compose(
        bars=3, prompt=invented(bars=1), sampling=SAMPLING, constraints=constraints
    )
    assert {program for program, *_ in notes_of(after.score, start=after.prompt_end_tick)} == {19}


def test_a_wish_is_kept_where_the_seed_needs_the_same_stand_in(chamber, invented) -> None:
    # The church organ of the seed is heard as an organ; the organ that is asked for is itself.
    piece = chamber.compose(
        bars=3,
        prompt=invented(bars=1, programs=(19,)),
        sampling=SAMPLING,
        constraints=Constraints(programs={16}, meter=(2, 4)),
    )
    new = {program for program, *_ in notes_of(piece.score, start=piece.prompt_end_tick)}
    assert new == {16}


def test_an_extended_piece_keeps_its_stand_ins(chamber, invented) -> None:
    asked = {"prompt": invented(bars=1, programs=(19, 45)), "sampling": SAMPLING}
    piece = chamber.extend(chamber.compose(bars=1, **asked), bars=2)
    assert piece.to_midi() == chamber.compose(bars=3, **asked).to_midi()


def pitches_of(piece: Composition, program: int) -> list[int]:
    new = notes_of(piece.score, start=piece.prompt_end_tick)
    return [pitch for played, _, _, pitch, _ in new if played == program]


@pytest.mark.parametrize("with_prompt", [False, True], ids=["alone", "after others"])
def test_the_pitches_of_a_rare_instrument_are_kept(with_prompt, chamber, invented) -> None:
    # Church organ by the organ, cello by the violin, drums by themselves.
    ranges = {19: (48, 59), 42: (36, 50), DRUMS: (36, 42)}
    constraints = Constraints(
        programs={19, 42, DRUMS}, meter=(2, 4), pitch_ranges=ranges, notes_per_bar=(8, 20)
    )
    prompt = invented(bars=1, programs=(0,)) if with_prompt else None
    seen = set()
    for take in chamber.compose_many(
        6, bars=3, prompt=prompt, sampling=SAMPLING, constraints=constraints
    ):
        new = notes_of(take.score, start=take.prompt_end_tick)
        for program, _, _, pitch, _ in new:
            low, high = ranges[program]
            assert low <= pitch <= high
        seen |= {program for program, *_ in new}
        assert take.constraints == constraints
    assert seen == {19, 42, DRUMS}


def test_pitches_are_those_of_the_instrument_and_not_of_its_stand_in(chamber, invented) -> None:
    # No programs are named: the seed's church organ is heard as the organ, and keeps its range.
    prompt = invented(bars=1, programs=(19, 0))
    ranges = {19: (60, 64), 16: (30, 33), 0: (70, 80)}
    constraints = Constraints(meter=(2, 4), pitch_ranges=ranges, notes_per_bar=(8, 20))
    found = {19: [], 16: [], 0: []}
    for take in chamber.compose_many(
        6, bars=3, prompt=prompt, sampling=SAMPLING, constraints=constraints
    ):
        for program, pitches in found.items():
            pitches += pitches_of(take, program)
    assert {*found[19]} <= {*range(60, 65)}
    assert found[19]
    assert found[16] == []  # the organ stands for another
    assert {*found[0]} <= {*range(70, 81)}
    assert found[0]


def test_the_pitches_of_an_instrument_that_does_not_play_change_nothing(chamber) -> None:
    asked = {"bars": 3, "sampling": SAMPLING}
    plain = chamber.compose(**asked, constraints=Constraints(meter=(2, 4)))
    other = chamber.compose(
        **asked, constraints=Constraints(meter=(2, 4), pitch_ranges={45: (60, 61)})
    )
    assert other.tokens == plain.tokens


def test_what_an_instrument_of_the_seed_may_play_is_kept_beside_its_stand_in(
    chamber, invented
) -> None:
    # The organ is asked for by name, and the seed has a church organ: both are heard as an organ.
    constraints = Constraints(programs={16}, meter=(2, 4), pitch_ranges={16: (40, 45)})
    piece = chamber.compose(
        bars=4, prompt=invented(bars=1, programs=(19,)), sampling=SAMPLING, constraints=constraints
    )
    assert pitches_of(piece, 16)
    assert {*pitches_of(piece, 16)} <= {*range(40, 46)}
    assert pitches_of(piece, 19) == []


@pytest.mark.parametrize(
    ("seed", "asked"),
    [((0, 16, 40), 73), ((0, 16, 40, 73), 33), ((0, 16, 19, 20, 40), 18)],
    ids=str,
)
def test_only_what_is_asked_for_plays_where_the_seed_needs_every_stand_in(
    seed, asked, chamber, invented
) -> None:
    # Whoever stands in for what is asked for plays the seed's instruments too, but not now.
    constraints = Constraints(programs={asked}, meter=(2, 4), pitch_ranges={asked: (50, 60)})
    piece = chamber.compose(
        bars=3, prompt=invented(bars=1, programs=seed), sampling=SAMPLING, constraints=constraints
    )
    new = notes_of(piece.score, start=piece.prompt_end_tick)
    assert {program for program, *_ in new} == {asked}
    assert all(50 <= pitch <= 60 for *_, pitch, _ in new)


def test_a_rare_instrument_ends_a_piece_and_is_heard_without_end(chamber) -> None:
    constraints = Constraints(
        programs={19}, meter=(2, 4), key="G major", pitch_ranges={19: (55, 67)}
    )
    ending = replace(constraints, ending=True)
    piece = chamber.compose(bars=3, sampling=SAMPLING, constraints=ending)
    assert_it_ends(chamber, piece, {7, 11, 2})
    assert programs_of(piece.score) == {19}
    for passage in islice(chamber.stream_endless(sampling=SAMPLING, constraints=constraints), 3):
        assert programs_of(passage.score) <= {19}
        assert all(55 <= pitch <= 67 for *_, pitch, _ in notes_of(passage.score))


# -- Prompts -------------------------------------------------------------------------------------


def test_a_prompt_may_be_a_path_bytes_or_a_score(tiny_composer, invented, tmp_path) -> None:
    score = invented(bars=2)
    file = tmp_path / "motif.mid"
    file.write_bytes(bytes(score.dumps_midi()))
    prompts = [file, str(file), file.read_bytes(), score, score.to("quarter")]
    pieces = [tiny_composer.compose(bars=1, prompt=prompt, sampling=SAMPLING) for prompt in prompts]
    assert len({piece.tokens for piece in pieces}) == 1
    assert len({tuple(notes_of(piece.score)) for piece in pieces}) == 1


def test_what_the_seed_plays_matters(tiny_composer, invented) -> None:
    one, other = (
        tiny_composer.compose(bars=2, prompt=invented(bars=2, seed=seed), sampling=SAMPLING)
        for seed in (0, 1)
    )
    assert one.tokens != other.tokens


def test_only_the_first_bars_of_a_prompt_count_when_asked(tiny_composer, invented) -> None:
    score = invented(bars=4)
    piece = tiny_composer.compose(bars=2, prompt=score, prompt_bars=2, sampling=SAMPLING)
    line = piece.prompt_end_tick
    assert piece.prompt_bars == 2
    assert line == 2 * 4 * piece.score.ticks_per_quarter
    assert notes_of(piece.score, end=line) == notes_of(score, end=2 * 4 * 480)
    short = tiny_composer.compose(
        bars=2, prompt=invented(bars=2), sampling=SAMPLING
    )  # the same chance gives the same first two bars
    assert notes_of(short.score) == notes_of(piece.score)


def test_more_prompt_bars_than_there_are_are_all(tiny_composer, invented) -> None:
    score = band()
    pieces = [
        tiny_composer.compose(bars=1, prompt=score, prompt_bars=bars, sampling=SAMPLING)
        for bars in (None, 3, 100)
    ]
    assert len({piece.to_midi() for piece in pieces}) == 1
    assert pieces[2].prompt_bars == 3


def test_notes_are_cut_off_where_the_prompt_is(tiny_composer) -> None:
    score = ScoreTick(480)
    track = TrackTick("Organ", 19, False)
    track.notes.append(NoteTick(960, 9_600, 60, 80))
    score.tracks.append(track)
    piece = tiny_composer.compose(bars=1, prompt=score, prompt_bars=1, sampling=SAMPLING)
    assert notes_of(piece.score, end=piece.prompt_end_tick) == [(19, 2.0, 2.0, 60, 80)]


def test_the_first_bars_keep_their_pedals_tempos_and_meters_and_no_later_ones(
    tiny_composer,
) -> None:
    score = band(bars=6)
    bar = 3 * 480
    for time, value in [(0, 127), (480, 0), (2 * bar, 127), (3 * bar, 0)]:
        score.tracks[0].controls.append(ControlChangeTick(time, 64, value))
    score.time_signatures.append(TimeSignatureTick(4 * bar, 4, 4))
    piece = tiny_composer.compose(bars=1, prompt=score, prompt_bars=2, sampling=SAMPLING)
    scale = piece.score.ticks_per_quarter // 480
    controls = [(c.time // scale, c.value) for c in piece.score.tracks[0].controls]
    assert controls == [(0, 127), (480, 0)]
    assert [tempo.time // scale for tempo in piece.score.tempos] == [0, bar]
    assert [(s.time, s.numerator) for s in piece.score.time_signatures] == [(0, 3)]


def test_silent_bars_at_the_end_of_a_prompt_count(tiny_composer) -> None:
    # A note in bar 1, a change to 3/4 at bar 3, a note in bar 5: three bars end at 4 + 4 + 3.
    score = ScoreTick(480)
    track = TrackTick("Piano", 0, False)
    track.notes.append(NoteTick(0, 480, 60, 80))
    track.notes.append(NoteTick((8 + 3 + 3) * 480, 480, 62, 80))
    score.tracks.append(track)
    score.time_signatures.append(TimeSignatureTick(0, 4, 4))
    score.time_signatures.append(TimeSignatureTick(8 * 480, 3, 4))
    piece = tiny_composer.compose(bars=2, prompt=score, prompt_bars=3, sampling=SAMPLING)
    tpq = piece.score.ticks_per_quarter
    assert piece.prompt_end_tick == 11 * tpq
    lines = bar_starts(piece.score, end_tick=17 * tpq)
    assert (lines // tpq).tolist() == [0, 4, 8, 11, 14, 17]
    assert piece.constraints.meter == (3, 4)


def test_a_seed_in_a_meter_no_token_says_is_read_to_its_end(tiny_composer) -> None:
    def seventeen(last_pitch: int) -> ScoreTick:
        score = ScoreTick(480)
        track = TrackTick("Piano", 0, False)
        for eighth in range(34):
            pitch = last_pitch if eighth == 33 else 60
            track.notes.append(NoteTick(eighth * 240, 240, pitch, 80))
        score.tracks.append(track)
        score.time_signatures.append(TimeSignatureTick(0, 17, 8))
        return score

    one, other = (
        tiny_composer.compose(bars=1, prompt=seventeen(pitch), sampling=SAMPLING)
        for pitch in (60, 72)
    )
    assert one.prompt_bars == 2
    assert one.constraints.meter is None
    assert not np.array_equal(one.state.logits, other.state.logits)


def test_a_very_fine_resolution_is_kept_where_midi_cannot_say_a_finer_one(
    tiny_composer,
) -> None:
    score = ScoreTick(9_601)
    track = TrackTick("Piano", 0, False)
    track.notes.append(NoteTick(7, 9_601, 60, 80))
    score.tracks.append(track)
    piece = tiny_composer.compose(bars=2, prompt=score, sampling=SAMPLING)
    assert piece.score.ticks_per_quarter == 9_601
    assert piece.prompt_end_tick == 4 * 9_601
    assert last_note_end(piece.score) <= 3 * 4 * 9_601
    assert notes_of(piece.score, end=piece.prompt_end_tick) == notes_of(score)


def test_a_long_seed_is_read_from_its_last_bars(tiny_composer, invented) -> None:
    late = invented(bars=64, meter=(2, 4), seed=1)
    early = invented(bars=4, meter=(2, 4), seed=2)
    long = ScoreTick(480)
    long.time_signatures.append(TimeSignatureTick(0, 2, 4))
    track = TrackTick("Piano", 0, False)
    track.notes.extend(early.tracks[0].notes)
    for note in late.tracks[0].notes:
        track.notes.append(NoteTick(note.time + 8 * 480, note.duration, note.pitch, note.velocity))
    long.tracks.append(track)
    long.tempos.append(TempoTick(0, 120))
    pieces = [
        tiny_composer.compose(bars=1, prompt=prompt, sampling=SAMPLING) for prompt in (late, long)
    ]
    assert pieces[0].tokens == pieces[1].tokens
    assert [piece.prompt_bars for piece in pieces] == [64, 68]


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        (b"", r"This file is empty \(0 bytes\)"),
        (b"just text, renamed", "This file is"),
        (ScoreTick(480), "This file has no notes; choose a file with something to play"),
    ],
)
def test_a_prompt_that_is_no_music_is_refused(prompt, sentence, tiny_composer) -> None:
    with pytest.raises(ScoreError, match=sentence):
        tiny_composer.compose(bars=1, prompt=prompt)


def test_a_missing_file_is_refused_by_its_name(tiny_composer, tmp_path) -> None:
    with pytest.raises(ScoreError, match=r"'nothing\.mid' does not exist; pass a \.mid"):
        tiny_composer.compose(bars=1, prompt=tmp_path / "nothing.mid")


def test_a_prompt_that_begins_with_silence_is_refused_by_its_bars(tiny_composer) -> None:
    score = ScoreTick(480)
    track = TrackTick("", 0, False)
    track.notes.append(NoteTick(6 * 1_920, 480, 60, 80))
    score.tracks.append(track)
    with pytest.raises(ScoreError) as refusal:
        tiny_composer.compose(bars=1, prompt=score, prompt_bars=4)
    assert str(refusal.value) == (
        "The prompt has notes, but none in its first 4 bars; pass a larger prompt_bars or trim "
        "the silence."
    )


def test_a_composer_without_its_checkpoint_is_refused(tiny_checkpoint, tmp_path) -> None:
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "toy")
    (folder / TOKENIZER_FILE).unlink()
    with pytest.raises(CheckpointError, match=r"has no miditok_remi\.json"):
        Composer.from_pretrained(folder)


# -- What a composition gives --------------------------------------------------------------------


@pytest.fixture(scope="module")
def piece(tiny_composer) -> Composition:
    return tiny_composer.compose(bars=3, prompt=band(), sampling=SAMPLING)


def test_the_continuation_begins_at_0_and_holds_only_the_new(piece) -> None:
    start, tpq = piece.prompt_end_tick, piece.score.ticks_per_quarter
    new = piece.continuation
    assert new.ticks_per_quarter == tpq
    found = sorted((n.time, n.pitch, n.duration) for track in new.tracks for n in track.notes)
    assert found == sorted((n.time - start, n.pitch, n.duration) for n in new_notes(piece))
    assert programs_of(new) <= programs_of(piece.score)
    assert all(len(track.notes) for track in new.tracks)
    assert [(s.time, s.numerator, s.denominator) for s in new.time_signatures] == [(0, 3, 4)]
    assert [(tempo.time, tempo.mspq) for tempo in new.tempos] == [(0, piece.score.tempos[-1].mspq)]
    assert last_note_end(new) <= 3 * 3 * tpq


def test_the_continuation_of_nothing_is_everything(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=3, sampling=SAMPLING)
    assert notes_of(piece.continuation) == notes_of(piece.score)
    assert [(t.time, t.mspq) for t in piece.continuation.tempos] == [
        (t.time, t.mspq) for t in piece.score.tempos
    ]
    assert [(s.time, s.numerator, s.denominator) for s in piece.continuation.time_signatures] == [
        (s.time, s.numerator, s.denominator) for s in piece.score.time_signatures
    ]


def test_files_hold_the_piece_or_only_the_new(piece, tmp_path) -> None:
    whole, new = tmp_path / "whole.mid", tmp_path / "new.mid"
    assert piece.save_midi(whole) == whole
    assert piece.save_midi(str(new), only_new=True) == new
    assert whole.read_bytes() == piece.to_midi()
    assert notes_of(ScoreTick.from_midi(whole.read_bytes())) == notes_of(piece.score)
    assert notes_of(ScoreTick.from_midi(new.read_bytes())) == notes_of(piece.continuation)
    assert piece.to_midi()[:4] == b"MThd"


def test_looking_at_a_piece_does_not_change_it(piece) -> None:
    before = piece.to_midi()
    piece.continuation.tracks.clear()
    piece.to_midi(only_new=True)
    assert piece.to_midi() == before
    with pytest.raises(FrozenInstanceError):
        piece.bars = 99


def test_the_tokens_are_those_of_its_bars(piece) -> None:
    assert piece.tokens == tuple(token for bar in piece.bar_tokens for token in bar)
    assert len(piece.bar_tokens) == piece.bars == 3
    assert "tokens" not in repr(piece)


def test_a_copied_piece_goes_on_like_the_first(piece, tiny_composer) -> None:
    twin = copy.deepcopy(piece)
    assert twin == piece
    assert tiny_composer.extend(twin, bars=1).to_midi() == (
        tiny_composer.extend(piece, bars=1).to_midi()
    )


def test_an_extended_seed_keeps_its_numbers(piece, tiny_composer) -> None:
    longer = tiny_composer.extend(piece, bars=2)
    assert (longer.bars, longer.prompt_bars) == (5, 3)
    assert longer.prompt_end_tick == piece.prompt_end_tick
    assert longer.prompt is piece.prompt
    assert longer.bar_tokens[:3] == piece.bar_tokens


def test_a_seed_that_fades_out_does_not_silence_what_follows(tiny_composer) -> None:
    score = ScoreTick(480)
    track = TrackTick("Fading", 0, False)
    for beat in range(8):
        track.notes.append(NoteTick(480 * beat, 480, 60, 90))
        track.controls.append(ControlChangeTick(480 * beat, 11, 110 - 15 * beat))
    score.tracks.append(track)
    piece = tiny_composer.compose(prompt=score, bars=1, sampling=Sampling(seed=1))
    controls = [(c.time, c.number, c.value) for c in piece.score.tracks[0].controls]
    assert controls[-1] == (piece.prompt_end_tick, 11, 110)


def test_the_new_music_is_no_thicker_than_the_seed(tiny_composer) -> None:
    score = ScoreTick(480)
    for number in range(3):
        track = TrackTick("Choir", 52, False)
        for beat in range(8):
            for voice in range(2):
                track.notes.append(NoteTick(480 * beat, 480, 50 + 10 * number + 4 * voice, 90))
        score.tracks.append(track)
    piece = tiny_composer.compose(prompt=score, bars=4, sampling=Sampling(seed=1))
    assert piece.constraints.max_notes_at_once == 6


# -- Several takes -------------------------------------------------------------------------------


def everything(prompt: ScoreTick | None) -> dict[str, object]:
    """Constraints of every kind at once."""
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


@pytest.mark.parametrize("with_prompt", [False, True], ids=["alone", "with a prompt"])
@pytest.mark.parametrize("constraints", ["plain", "everything"])
def test_takes_are_what_composing_with_their_seeds_gives(
    constraints, with_prompt, tiny_composer, invented
) -> None:
    prompt = invented(bars=2, programs=(0, 40)) if with_prompt else None
    plain = {"prompt": prompt, "sampling": SAMPLING}
    if not with_prompt:
        plain["constraints"] = PIANO
    asked = everything(prompt) if constraints == "everything" else plain
    takes = tiny_composer.compose_many(3, bars=3, **asked)
    assert [take.sampling.seed for take in takes] == [7, 8, 9]
    for take in takes:
        alone = tiny_composer.compose(bars=3, **(asked | {"sampling": take.sampling}))
        assert take == alone
        assert take.to_midi() == alone.to_midi()
        assert take.state.to_bytes() == alone.state.to_bytes()
    assert takes[0] == tiny_composer.compose(bars=3, **asked)
    assert len({take.tokens for take in takes}) == 3


def test_takes_differ_in_their_seed_only(tiny_composer) -> None:
    asked = everything(None)
    for take in tiny_composer.compose_many(2, bars=1, **asked):
        assert replace(take.sampling, seed=7) == asked["sampling"]
        assert (take.constraints, take.surprise) == (asked["constraints"], asked["surprise"])


def test_the_last_seed_of_all_is_followed_by_the_first(tiny_composer) -> None:
    takes = tiny_composer.compose_many(
        3, bars=1, sampling=Sampling(seed=MAX_SEED - 1), constraints=PIANO
    )
    assert [take.sampling.seed for take in takes] == [MAX_SEED - 1, MAX_SEED, 0]
    first = tiny_composer.compose(bars=1, sampling=Sampling(seed=0), constraints=PIANO)
    assert takes[2].tokens == first.tokens


def test_takes_draw_a_seed_where_there_is_none(tiny_composer) -> None:
    one, other = tiny_composer.compose_many(2, bars=1, constraints=PIANO)
    assert other.sampling.seed == (one.sampling.seed + 1) % (MAX_SEED + 1)
    again = tiny_composer.compose(bars=1, constraints=PIANO, sampling=other.sampling)
    assert again.tokens == other.tokens


def test_as_many_takes_as_there_may_be(tiny_composer) -> None:
    takes = tiny_composer.compose_many(32, bars=1, sampling=SAMPLING, constraints=PIANO)
    assert [take.bars for take in takes] == [1] * 32
    last = tiny_composer.compose(bars=1, sampling=Sampling(1.0, seed=38), constraints=PIANO)
    assert takes[31].tokens == last.tokens


def test_a_take_goes_on_like_any_piece(tiny_composer) -> None:
    asked = everything(None)
    _, second = tiny_composer.compose_many(2, bars=2, **asked)
    whole = tiny_composer.compose_many(2, bars=5, **asked)[1]
    assert tiny_composer.extend(second, bars=3).to_midi() == whole.to_midi()


@pytest.mark.parametrize("count", [0, -1, 33, 2.0, "2", None])
def test_a_wrong_number_of_takes_is_refused(count, tiny_composer) -> None:
    with pytest.raises(
        ValueError, match=f"^count must be a whole number from 1 to 32, got {count}"
    ):
        tiny_composer.compose_many(count, bars=1, constraints=PIANO)


@pytest.mark.parametrize("bars", [0, 4_097, 1.5])
def test_takes_of_a_wrong_number_of_bars_are_refused(bars, tiny_composer) -> None:
    with pytest.raises(ValueError, match=r"^bars must be a whole number from 1 to 4096"):
        tiny_composer.compose_many(2, bars=bars)


# -- However it is asked for, the same music -----------------------------------------------------

WISHES = {
    "surprise": {"surprise": Surprise("bold"), "constraints": PIANO},
    "surprises bar by bar": {
        "surprise": Surprise([0, 0.9, 0.2, 0.7, 1, 0.6]),
        "constraints": replace(PIANO, programs={0, 40}),
    },
    "key": {"constraints": Constraints(meter=(2, 4), key="E minor")},
    "density": {"constraints": Constraints(meter=(2, 4), notes_per_bar=(3, 5))},
    "voices": {"constraints": Constraints(meter=(2, 4), max_polyphony=2)},
    "silence": {"constraints": Constraints(meter=(2, 4), max_empty_bars=3, notes_per_bar=(0, 1))},
    "tempo": {"constraints": Constraints(meter=(2, 4), tempo_bpm=71)},
    "repetition": {
        "sampling": Sampling(1.0, seed=7, repetition_penalty=2, repetition_bars=3),
        "constraints": PIANO,
    },
    "temperatures": {
        "sampling": Sampling(1.0, 0.9, 40, 7, pitch_temperature=0.5, rhythm_temperature=1.3),
        "constraints": replace(PIANO, programs={0, 40, DRUMS}),
    },
}


@pytest.fixture(params=[*WISHES, "everything"])
def asked(request, invented) -> dict[str, object]:
    """Something to ask for, with a prompt or without."""
    if request.param == "everything":
        return everything(invented(bars=2, programs=(0, 40)))
    with_prompt = len(request.param) % 2
    prompt = invented(bars=1) if with_prompt else None
    return {"sampling": SAMPLING, "prompt": prompt} | WISHES[request.param]


def test_an_extended_piece_equals_a_longer_one_whatever_was_wished_for(
    asked, tiny_composer
) -> None:
    whole = tiny_composer.compose(bars=6, **asked)
    for cut in (1, 2, 5):
        piece = tiny_composer.extend(tiny_composer.compose(bars=cut, **asked), bars=6 - cut)
        assert piece == whole
        assert piece.to_midi() == whole.to_midi()
        assert piece.state.to_bytes() == whole.state.to_bytes()


def test_the_last_draft_of_a_stream_equals_the_piece_whatever_was_wished_for(
    asked, tiny_composer
) -> None:
    *_, last = tiny_composer.stream(bars=4, **asked)
    whole = tiny_composer.compose(bars=4, **asked)
    assert last == whole
    assert last.to_midi() == whole.to_midi()


def test_endless_music_has_the_bars_of_the_piece_whatever_was_wished_for(
    asked, tiny_composer
) -> None:
    whole = tiny_composer.compose(bars=5, **asked)
    passages = list(islice(tiny_composer.stream_endless(**asked), 5))
    assert tuple(passage.tokens for passage in passages) == whole.bar_tokens
    assert [passage.number for passage in passages] == [*range(5)]
    assert passages[-1].state.to_bytes() == whole.state.to_bytes()


def test_turns_of_surprise_change_the_music_from_their_bar_on(tiny_composer) -> None:
    asked = {"bars": 4, "sampling": SAMPLING, "constraints": replace(PIANO, key="C major")}
    plain = tiny_composer.compose(**asked)
    turned = tiny_composer.compose(**asked, surprise=Surprise([0, 0, 0.9]))
    assert turned.bar_tokens[:2] == plain.bar_tokens[:2]
    assert turned.bar_tokens[2] != plain.bar_tokens[2]
    assert turned.surprise == Surprise([0, 0, 0.9])
    assert plain.surprise == Surprise()


def test_a_piece_may_go_on_with_other_surprises(tiny_composer) -> None:
    asked = {"sampling": SAMPLING, "constraints": PIANO}
    piece = tiny_composer.compose(bars=2, **asked)
    bold = Surprise([1] * 4)
    longer = tiny_composer.extend(piece, bars=2, surprise=bold)
    assert longer.surprise == bold
    assert longer.bar_tokens[:2] == piece.bar_tokens
    assert longer.bar_tokens != tiny_composer.extend(piece, bars=2).bar_tokens
    # The bars of the piece are counted: what is wished for bars 0 and 1 is over.
    late = tiny_composer.extend(piece, bars=2, surprise=Surprise([1, 1]))
    assert late.bar_tokens == tiny_composer.extend(piece, bars=2).bar_tokens


@pytest.mark.slow
def test_a_very_long_piece_can_be_extended_as_well(tiny_composer) -> None:
    # More bars than are remembered, and turns away from a key that only they tell.
    asked = {
        "sampling": SAMPLING,
        "constraints": Constraints(programs={0}, meter=(2, 4)),
        "surprise": Surprise("bold"),
    }
    whole = tiny_composer.compose(bars=100, **asked)
    for cut in (66, 90):
        piece = tiny_composer.extend(tiny_composer.compose(bars=cut, **asked), bars=100 - cut)
        assert piece.bar_tokens == whole.bar_tokens
    passages = islice(tiny_composer.stream_endless(**asked), 100)
    assert tuple(passage.tokens for passage in passages) == whole.bar_tokens


# -- Music without end ---------------------------------------------------------------------------


def side_by_side(passages: list[GeneratedBar]) -> list[tuple]:
    """Every note as (program, beat, pitch, velocity, beats), the bars one after the other."""
    found, at = [], 0.0
    for passage in passages:
        tpq = passage.score.ticks_per_quarter
        found += [
            (program, round(at + beat, 6), pitch, velocity, round(beats, 6))
            for program, beat, beats, pitch, velocity in notes_of(passage.score)
        ]
        at += passage.length_ticks / tpq
    return sorted(found)


@pytest.mark.parametrize("with_prompt", [False, True], ids=["alone", "with a prompt"])
def test_bars_without_end_side_by_side_are_the_piece(with_prompt, tiny_composer, invented) -> None:
    prompt = invented(bars=2, programs=(0, -1)) if with_prompt else None
    constraints = Constraints(programs={0, 40, DRUMS}, notes_per_bar=(4, 12))
    asked = {"prompt": prompt, "sampling": Sampling(1.2, seed=5), "constraints": constraints}
    passages = list(islice(tiny_composer.stream_endless(**asked), 8))
    piece = tiny_composer.compose(bars=8, **asked)
    found = side_by_side(passages)
    expected = sorted(
        (program, round(beat, 6), pitch, velocity, round(beats, 6))
        for program, beat, beats, pitch, velocity in notes_of(piece.continuation)
    )
    assert len(found) > 20
    assert [note[:4] for note in found] == [note[:4] for note in expected]
    end = sum(p.length_ticks for p in passages) / tiny_composer.tokenizer.ticks_per_quarter
    struck = defaultdict(list)
    for program, beat, pitch, *_ in found:
        struck[program, pitch].append(beat)
    cut = 0
    for (program, beat, pitch, _, beats), (*_, shorter) in zip(found, expected, strict=True):
        if shorter == beats:
            continue
        # What was cut off ends where the same key is struck again, or with the piece.
        cut += 1
        assert shorter < beats
        stop = pytest.approx(beat + shorter, abs=1e-5)
        assert end == stop or any(beat == stop for beat in struck[program, pitch])
    assert cut < len(found) / 2


def test_a_passage_is_a_bar_alone(tiny_composer) -> None:
    constraints = Constraints(programs={0, 40}, meter=(3, 4))
    passages = list(
        islice(tiny_composer.stream_endless(sampling=SAMPLING, constraints=constraints), 4)
    )
    tpq = tiny_composer.tokenizer.ticks_per_quarter
    for passage in passages:
        assert passage.length_ticks == 3 * tpq
        assert passage.score.ticks_per_quarter == tpq
        assert all(0 <= beat < 3 for _, beat, *_ in notes_of(passage.score))
        assert [(s.time, s.numerator) for s in passage.score.time_signatures] == [(0, 3)]
        assert {track.name for track in passage.score.tracks} <= {"Acoustic Grand Piano", "Violin"}


def test_a_passage_stands_where_its_tokens_end(tiny_composer, invented) -> None:
    asked = {"prompt": invented(bars=1), "sampling": SAMPLING, "constraints": PIANO}
    first, second = islice(tiny_composer.stream_endless(**asked), 2)
    piece = tiny_composer.compose(bars=1, **asked)
    assert first.state.to_bytes() == piece.state.to_bytes()
    read = first.state.history.ids().tolist()
    assert second.state.history.ids().tolist() == [*read, *second.tokens]


def test_the_tempo_is_said_once(tiny_composer, invented) -> None:
    for prompt, constraints, expected in [
        (None, replace(PIANO, tempo_bpm=72), [72]),
        (None, replace(PIANO, tempo_changes=False), [120]),
        (invented(bars=1, tempo_bpm=90), replace(PIANO, tempo_bpm=72), [72]),
        (invented(bars=1, tempo_bpm=90), replace(PIANO, tempo_changes=False), []),
    ]:
        asked = {"prompt": prompt, "sampling": SAMPLING, "constraints": constraints}
        first, *rest = islice(tiny_composer.stream_endless(**asked), 3)
        assert [round(tempo.qpm, 2) for tempo in first.score.tempos] == expected
        assert not any(len(passage.score.tempos) for passage in rest)


def test_endless_music_refuses_before_its_first_bar(tiny_composer) -> None:
    constraints = Constraints(programs={0}, ending=True)
    with pytest.raises(ValueError, match=r"has no ending; leave constraints\.ending out"):
        tiny_composer.stream_endless(constraints=constraints)
    with pytest.raises(ScoreError):
        tiny_composer.stream_endless(prompt=b"not MIDI")


def test_endless_music_can_be_left(tiny_composer) -> None:
    passages = tiny_composer.stream_endless(sampling=SAMPLING, constraints=PIANO)
    assert next(passages).number == 0
    passages.close()
    assert next(passages, None) is None


# -- An ending -----------------------------------------------------------------------------------


def assert_it_ends(composer: Composer, piece: Composition, chord: set[int]) -> None:
    """The last bar strikes its chord once and everything is released; nothing is cut off."""
    raw = composer.tokenizer.decode(piece.tokens)  # as it was written, uncut
    tpq = raw.ticks_per_quarter
    length = composer.tokenizer.length_ticks(piece.tokens)
    last = length - composer.tokenizer.length_ticks(piece.bar_tokens[-1])
    struck = notes_of(raw, start=last)
    assert {beat * tpq for _, beat, *_ in struck} == {last}
    pitched = {pitch % 12 for program, *_, pitch, _ in struck if program != DRUMS}
    assert pitched
    assert pitched <= chord
    assert last_note_end(raw) <= length
    assert all((beat + beats) * tpq <= last for _, beat, beats, *_ in notes_of(raw, end=last))


@pytest.mark.parametrize("bars", [1, 2, 5])
@pytest.mark.parametrize(
    ("key", "chord"),
    [("Eb major", {3, 7, 10}), ("F# dorian", {6, 9, 1}), ("A minor pentatonic", {9, 0, 4})],
)
def test_an_ending_is_in_the_key_asked_for(key, chord, bars, tiny_composer) -> None:
    constraints = Constraints(programs={0, 40, DRUMS}, key=key, ending=True)
    for take in tiny_composer.compose_many(
        4, bars=bars, sampling=SAMPLING, constraints=constraints
    ):
        assert_it_ends(tiny_composer, take, chord)
        assert take.bars == bars


@pytest.mark.parametrize("named", [True, False], ids=["asked for", "by itself"])
def test_an_ending_is_in_the_key_of_the_seed(named, tiny_composer, invented) -> None:
    for seed in range(4):
        prompt = invented(bars=2, seed=seed)
        key = Scale.named(str(estimate_key(prompt)))
        constraints = replace(
            tiny_composer.default_constraints(prompt), ending=True, key="prompt" if named else None
        )
        piece = tiny_composer.compose(
            bars=3, prompt=prompt, sampling=SAMPLING, constraints=constraints
        )
        assert_it_ends(tiny_composer, piece, {*tonic_chord(key)})


def test_an_ending_of_a_piece_from_nothing_is_in_its_own_key(tiny_composer) -> None:
    constraints = Constraints(programs={0, 40}, ending=True)
    for take in tiny_composer.compose_many(8, bars=4, sampling=SAMPLING, constraints=constraints):
        before = [token for bar in take.bar_tokens[:-1] for token in bar]
        key = Scale.named(str(estimate_key(tiny_composer.tokenizer.decode(before))))
        assert_it_ends(tiny_composer, take, {*tonic_chord(key)})


@pytest.mark.parametrize("seed", [0, 32, 64])
def test_nothing_rings_on_where_the_last_bars_are_shorter_than_others(seed, tiny_composer) -> None:
    constraints = Constraints(programs={0, 40}, key="C major", ending=True)  # in any meter
    wild = Sampling(temperature=2.0, seed=seed)
    for take in tiny_composer.compose_many(32, bars=3, sampling=wild, constraints=constraints):
        assert_it_ends(tiny_composer, take, {0, 4, 7})


@pytest.mark.parametrize("meter", METERS, ids=str)
def test_an_ending_comes_in_every_meter(meter, tiny_composer) -> None:
    constraints = Constraints(programs={0}, meter=meter, key="C major", ending=True)
    piece = tiny_composer.compose(bars=3, sampling=SAMPLING, constraints=constraints)
    assert_it_ends(tiny_composer, piece, {0, 4, 7})


def test_an_ending_keeps_to_all_else_that_was_wished_for(tiny_composer) -> None:
    asked = everything(None)
    constraints = replace(asked["constraints"], ending=True)
    for take in tiny_composer.compose_many(4, bars=4, **(asked | {"constraints": constraints})):
        assert_it_ends(tiny_composer, take, {2, 5, 9})
        ranges = constraints.ranges
        for program, _, _, pitch, _ in notes_of(take.score):
            low, high = ranges[program]
            assert low <= pitch <= high
            assert pitch % 12 in Scale.named("D minor").pitch_classes


def test_all_ways_to_ask_for_an_ending_give_the_same(tiny_composer, invented) -> None:
    constraints = Constraints(programs={0}, ending=True)
    asked = {"prompt": invented(bars=1), "sampling": SAMPLING, "constraints": constraints}
    whole = tiny_composer.compose(bars=4, **asked)
    *_, draft = tiny_composer.stream(bars=4, **asked)
    assert draft == whole == tiny_composer.compose_many(1, bars=4, **asked)[0]


def test_a_piece_that_has_ended_may_go_on_and_end_again(tiny_composer) -> None:
    constraints = Constraints(programs={0}, key="C major", ending=True)
    piece = tiny_composer.compose(bars=3, sampling=SAMPLING, constraints=constraints)
    longer = tiny_composer.extend(piece, bars=3)
    assert longer.bar_tokens[:3] == piece.bar_tokens
    assert_it_ends(tiny_composer, longer, {0, 4, 7})


# -- Key, tempo, and what cannot be --------------------------------------------------------------


def test_the_key_of_the_seed_is_named_and_kept(tiny_composer, invented) -> None:
    prompt = invented(bars=2, programs=(0, 40, DRUMS), seed=3)
    name = str(estimate_key(prompt))
    constraints = replace(tiny_composer.default_constraints(prompt), key="prompt")
    piece = tiny_composer.compose(bars=4, prompt=prompt, sampling=SAMPLING, constraints=constraints)
    assert piece.constraints == replace(constraints, key=name)
    new = notes_of(piece.score, start=piece.prompt_end_tick)
    pitched = {pitch % 12 for program, *_, pitch, _ in new if program != DRUMS}
    assert pitched
    assert pitched <= Scale.named(name).pitch_classes
    longer = tiny_composer.extend(piece, bars=1)
    assert longer.constraints.key == name


def test_only_the_bars_that_are_used_speak_for_a_key(tiny_composer) -> None:
    score = ScoreTick(480)
    track = TrackTick("Piano", 0, False)
    for bar, chord in enumerate([(60, 64, 67), (61, 65, 68)]):
        for pitch in chord:
            track.notes.append(NoteTick(1_920 * bar, 1_920, pitch, 80))
    score.tracks.append(track)
    piece = tiny_composer.compose(
        bars=1,
        prompt=score,
        prompt_bars=1,
        sampling=SAMPLING,
        constraints=Constraints(key="prompt"),
    )
    assert piece.constraints.key == "C major"


def test_the_key_of_a_seed_needs_a_seed(tiny_composer) -> None:
    constraints = Constraints(key="prompt")
    for ask in (tiny_composer.compose, tiny_composer.stream, tiny_composer.stream_endless):
        with pytest.raises(ValueError, match="key='prompt' needs a prompt whose key can be"):
            ask(constraints=constraints)
    with pytest.raises(ValueError, match="key='prompt' needs a prompt"):
        tiny_composer.compose_many(2, constraints=constraints)


def test_a_seed_of_drums_has_no_key_to_keep_to(tiny_composer, invented) -> None:
    prompt = invented(bars=1, programs=(DRUMS,))
    with pytest.raises(ValueError, match="key='prompt' needs a prompt whose key can be estimated"):
        tiny_composer.compose(bars=1, prompt=prompt, constraints=Constraints(key="prompt"))


def tempos(score: ScoreTick) -> list[tuple[float, float]]:
    return [(t.time / score.ticks_per_quarter, round(t.qpm, 1)) for t in score.tempos]


def test_a_tempo_that_is_asked_for_begins_with_the_new_music(tiny_composer) -> None:
    seed = band(meter=(3, 4), bars=3)  # 97.3, from the second bar on 61.7
    constraints = replace(tiny_composer.default_constraints(seed), tempo_bpm=144)
    asked = {"prompt": seed, "sampling": SAMPLING, "constraints": constraints}
    expected = [(0, 97.3), (3, 61.7), (9, 144)]
    piece = tiny_composer.compose(bars=3, **asked)
    assert tempos(piece.score) == expected
    assert tempos(ScoreTick.from_midi(piece.to_midi())) == expected
    assert tempos(tiny_composer.extend(piece, bars=1).score) == expected
    assert tempos(piece.continuation) == [(0, 144)]
    assert tempos(ScoreTick.from_midi(piece.to_midi(only_new=True))) == [(0, 144)]
    assert [tempos(draft.score) for draft in tiny_composer.stream(bars=2, **asked)] == [
        expected
    ] * 2


def test_a_tempo_later_in_the_prompt_than_its_last_note_does_not_rule(tiny_composer) -> None:
    seed = band(meter=(3, 4), bars=1)
    seed.tempos.append(TempoTick(3 * 480, 50))
    seed.tempos.append(TempoTick(30 * 480, 40))
    constraints = replace(tiny_composer.default_constraints(seed), tempo_bpm=144)
    piece = tiny_composer.compose(bars=12, prompt=seed, sampling=SAMPLING, constraints=constraints)
    end = last_note_end(piece.score)
    assert tempo_at(piece.score, piece.prompt_end_tick) == pytest.approx(144, abs=0.01)
    assert tempo_at(piece.score, end) == pytest.approx(144, abs=0.01)


def test_a_piece_from_nothing_has_the_tempo_asked_for(tiny_composer) -> None:
    constraints = replace(PIANO, tempo_bpm=63.5)
    piece = tiny_composer.compose(bars=4, sampling=SAMPLING, constraints=constraints)
    assert tempos(piece.score) == [(0, 63.5)]
    assert not [word for word in words(tiny_composer, piece) if word.startswith("Tempo_")]


def test_what_composing_keeps_to_by_itself_can_be_asked_for(tiny_composer, invented) -> None:
    seed = band()
    constraints = tiny_composer.default_constraints(seed)
    assert constraints == Constraints(
        programs={40, 33, DRUMS}, meter=(3, 4), tempo_changes=False, max_notes_at_once=4
    )
    plain = tiny_composer.compose(bars=2, prompt=seed, sampling=SAMPLING)
    asked = tiny_composer.compose(bars=2, prompt=seed, sampling=SAMPLING, constraints=constraints)
    assert asked == plain
    assert tiny_composer.default_constraints() == Constraints()
    long = invented(bars=2, programs=(0,))
    long.tracks.append(band(bars=6).tracks[2])  # the bass begins with the first bar
    assert tiny_composer.default_constraints(long, prompt_bars=1).programs == {0, 33}
    with pytest.raises(ScoreError):
        tiny_composer.default_constraints(b"not MIDI")
    with pytest.raises(ValueError, match="prompt_bars must be"):
        tiny_composer.default_constraints(seed, prompt_bars=0)


IMPOSSIBLE = [
    (Constraints(programs={DRUMS}, pitch_ranges={DRUMS: (0, 20)}), "leaves nothing to play"),
    (Constraints(programs={0}, pitch_ranges={0: (60, 60)}, notes_per_bar=(900, 999)), "at least"),
    (
        Constraints(programs={0}, key="C major", pitch_ranges={0: (62, 62)}, ending=True),
        r"\[0, 4, 7\]",
    ),
]


@pytest.mark.parametrize("way", ["compose", "stream", "compose_many", "stream_endless"])
@pytest.mark.parametrize(
    ("constraints", "sentence"), IMPOSSIBLE, ids=["pitches", "density", "ending"]
)
def test_what_cannot_be_is_refused_before_anything_is_composed(
    constraints, sentence, way, tiny_composer, invented, monkeypatch
) -> None:
    def compose(*_: object) -> None:
        raise AssertionError("this would have been composed")

    monkeypatch.setattr(InferenceModel, "start", compose)
    ask = getattr(tiny_composer, way)
    count = (2,) if way == "compose_many" else ()
    if way == "stream_endless" and constraints.ending:
        sentence = "Endless music has no ending"
    for prompt in (None, invented(bars=1)):
        with pytest.raises(ValueError, match=sentence):
            ask(*count, prompt=prompt, constraints=constraints)


def test_a_piece_of_another_network_is_not_gone_on_with(
    tiny_composer, tiny_network, tiny_tokenizer
) -> None:
    other = Composer(tiny_network(hidden_size=64, num_hidden_layers=2), tiny_tokenizer)
    piece = other.compose(bars=1, sampling=SAMPLING, constraints=PIANO)
    with pytest.raises(ValueError, match="another"):
        tiny_composer.extend(piece, bars=1)


# -- Precision -----------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_steps_are_as_precise_as_asked_for(precision, tiny_checkpoint, tiny_model) -> None:
    composer = Composer.from_pretrained(tiny_checkpoint, precision=precision)
    model_info = composer.compose(bars=1, constraints=PIANO).model_info
    assert model_info.precision == precision
    asked = {"bars": 3, "sampling": SAMPLING, "constraints": PIANO}
    piece = composer.compose(**asked)
    assert piece.bars == 3
    again = Composer(tiny_model, composer.tokenizer, precision=precision)
    assert again.compose(**asked) == piece
    assert composer.compose_many(2, **asked)[0] == piece
    assert composer.extend(composer.compose(**(asked | {"bars": 1})), bars=2) == piece


def test_a_precision_there_is_not_is_refused(tiny_model, tiny_tokenizer) -> None:
    with pytest.raises(ValueError, match="precision must be 'int8', 'float32' or None, got 'fp8'"):
        Composer(tiny_model, tiny_tokenizer, precision="fp8")


# -- Whatever the network -------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.0, 1e-8, 300.0, 1e6], ids=str)
@pytest.mark.parametrize("precision", [None, "float32"])
def test_any_weights_compose(scale, precision, tiny_network, tiny_tokenizer) -> None:
    import torch

    model = tiny_network(hidden_size=32, num_hidden_layers=2)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(scale)
    composer = Composer(model, tiny_tokenizer, precision=precision)
    piece = composer.compose(bars=3, sampling=SAMPLING, constraints=everything(None)["constraints"])
    assert piece.bars == 3
    assert last_note_end(piece.score) <= 9 * piece.score.ticks_per_quarter
