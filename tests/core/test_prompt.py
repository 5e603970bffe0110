"""Prompts in C against the functions of `generation` that read them in Python."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from symusic.core import NoteTick, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

from musiclstm.core.library import is_available, load_library
from musiclstm.core.prompt import ReadPrompt, map_programs, set_velocities
from musiclstm.core.remi import Remi
from musiclstm.errors import ScoreError
from musiclstm.generation import instrument_mapping
from musiclstm.generation.append_bars import concat_prompt
from musiclstm.generation.loudness import PromptLoudness
from musiclstm.generation.prompt import Prompt, last_meter, read_prompt
from musiclstm.midi import analysis
from musiclstm.midi.reader import check_score, read_midi
from musiclstm.midi.score_ops import slice_notes
from musiclstm.tokens import (
    DRUMS,
    MusicTokenizer,
    PartName,
    most_parts,
    program_of,
    programs_of,
    with_programs,
)
from musiclstm.tokens.vocabulary import TABLE
from tests.core.test_remi import FILES, METERS, UNSUPPORTED_METERS, arrays_of

pytestmark = pytest.mark.skipif(not is_available(), reason="this machine cannot run the core")

TOKENIZER = MusicTokenizer()
TRAINED = frozenset({DRUMS, 0, 1, 24, 40, 42, 56, 73})
PITCHES = range(0, 128, 9)
CONTEXT_BARS, CONTEXT_TOKENS = 64, 8_192


@pytest.fixture(scope="module")
def remi() -> Remi:
    """The functions of the core that this machine runs."""
    return Remi(load_library(), TABLE)


# Reference ----------------------------------------------------------------------------------------


def expected_ids(prompt: Prompt, score: ScoreTick) -> tuple[list[int], list[list[int]]]:
    """Return the ids of a prompt without BOS, and the tracks of each part that is read."""
    lines = analysis.bar_starts(score, end_tick=prompt.end_tick)
    bars = min(len(lines) - 1, CONTEXT_BARS)
    context = slice_notes(score, int(lines[-1 - bars]), prompt.end_tick)
    order = TOKENIZER.part_order(context)
    meter = last_meter(prompt) or analysis.DEFAULT_METER
    encoded = TOKENIZER.encode(context, order=order) if order else []
    ids = TOKENIZER.pad_or_trim_bars(encoded, bars, meter)
    first = max(0, len(ids) - CONTEXT_TOKENS)
    starts = [at for at in range(first, len(ids)) if ids[at] == TABLE.bar]
    return ids[(starts or [first])[0] :], order


def expected_tracks(score: ScoreTick, order: list[list[int]]) -> dict[PartName, list[int]]:
    """Return the tracks of each part; tracks that are not read are the next parts."""
    found = dict(zip(TOKENIZER.parts(score, order), map(list, order), strict=True))
    read = {track for tracks in order for track in tracks}
    silent = [at for at, track in enumerate(score.tracks) if len(track.notes) and at not in read]
    counts = Counter(part.program for part in found)
    for at in sorted(silent, key=lambda at: -score.tracks[at].notes.numpy()["pitch"].mean()):
        program = program_of(score.tracks[at])
        part = PartName(program, min(counts[program], most_parts(program) - 1))
        counts[program] += 1
        found.setdefault(part, []).append(at)
    return found


def tracks_of(read: ReadPrompt) -> dict[PartName, list[int]]:
    names = list(zip(read.programs.tolist(), read.numbers.tolist(), strict=True))
    found: dict[PartName, list[int]] = defaultdict(list)
    for track in read.order.tolist():
        found[PartName(*names[read.part_of_track[track]])].append(track)
    return dict(found)


def check_prompt(remi: Remi, score: ScoreTick, trained: frozenset[int] | None) -> ReadPrompt:
    """Compare one score that `read_midi` returned."""
    prompt = read_prompt(score, grid_ticks=48)
    mapping = instrument_mapping.map_programs([programs_of(score)], trained)
    assert map_programs(remi.library, programs_of(score), trained) == mapping
    read = ReadPrompt(remi, arrays_of(score), bos=TOKENIZER.bos_id, substitutes=mapping)
    mapped = with_programs(prompt.score, mapping)
    ids, order = expected_ids(prompt, mapped)
    assert read.ids.tolist() == [TOKENIZER.bos_id, *ids]
    assert (read.bars, read.end_tick) == (prompt.bars, prompt.end_tick)
    assert read.scale * score.ticks_per_quarter == prompt.score.ticks_per_quarter
    assert read.max_at_once == prompt.constraints.max_notes_at_once
    meter = prompt.constraints.meter
    name = None if meter is None else f"TimeSig_{meter[0]}/{meter[1]}"
    assert read.meter == (-1 if name is None else TOKENIZER.ids[name])
    part_tracks = expected_tracks(mapped, order)
    assert tracks_of(read) == part_tracks
    if len(part_tracks) < 20:
        check_continuation(remi, read, prompt, mapped, part_tracks, mapping)
    return read


def check_continuation(
    remi: Remi,
    read: ReadPrompt,
    prompt: Prompt,
    mapped: ScoreTick,
    part_tracks: dict[PartName, list[int]],
    mapping: dict[int, int],
) -> None:
    """Compare velocities, programs and tracks of new bars, and of parts that are new."""
    loudness = PromptLoudness(mapped, part_tracks)
    originals = instrument_mapping.invert_mapping(mapping)
    for part in [*part_tracks, PartName(0, 7), PartName(DRUMS, 0)]:
        for meter in ("TimeSig_12/4", "TimeSig_9/8", "TimeSig_3/16"):
            check_velocities(remi, read, part, meter, loudness)
        tracks = part_tracks.get(part, [])
        own = [program_of(prompt.score.tracks[track]) for track in tracks]
        played = next(iter(own), originals.get(part.program, part.program))
        assert read.program_of(*part) == played
        for permitted in ({*own[1:], *mapping}, {DRUMS, 0, *own[:1]}):
            expected = next((program for program in own if program in permitted), None)
            inverse = instrument_mapping.invert_mapping(
                {each: mapping[each] for each in permitted if each in mapping}
            )
            fallback = inverse.get(part.program, part.program)
            found = read.program_of(*part, permitted=permitted)
            assert found == (fallback if expected is None else expected)
        players = [t for t, program in zip(tracks, own, strict=True) if program == played]
        check_players(read, part, played, prompt, players)


def check_velocities(
    remi: Remi, read: ReadPrompt, part: PartName, meter: str, loudness: PromptLoudness
) -> None:
    positions = [0, 1, 5, 6, 11, 12, 18, 24, 30, 36, 72, 143]
    names = ["Bar_None", meter, *[f"Program_{part.program}"] * (part.number + 1)]
    pitch = "PitchDrum_40" if part.program == DRUMS else "Pitch_60"
    for position in positions if "12/4" in meter else positions[:7]:
        names += [f"Position_{position}", pitch, "Duration_0.1.12"]
    ids = [TOKENIZER.ids[name] for name in names]
    score, parts = TOKENIZER.decode_parts(ids)
    bar, numbers = remi.decode(ids)
    for gain in (1.0, 0.7):
        expected = loudness.with_velocities(score, parts, gain)
        changed = read.with_velocities(bar, numbers, gain)
        np.testing.assert_array_equal(changed.notes, arrays_of(expected).notes)


def check_players(
    read: ReadPrompt, part: PartName, played: int, prompt: Prompt, players: list[int]
) -> None:
    """Compare the track of each new note of a part with that of `concat_prompt`."""
    new = ScoreTick(48)
    new.tracks.append(TrackTick("", max(played, 0), played == DRUMS))
    for pitch in PITCHES:
        new.tracks[0].notes.append(NoteTick(pitch, 1, pitch, 80))
    whole, _ = concat_prompt(prompt.score, prompt.end_tick, new, [players])
    expected = {}
    for index, track in enumerate(whole.tracks):
        before = prompt.score.tracks
        old = len(before[index].notes) if index < len(before) else 0
        for note in list(track.notes)[old:]:
            expected[note.pitch] = index if index < len(before) else None
    assert {p: read.track_of(*part, played, p) for p in PITCHES} == expected


# Tests --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trained", [None, TRAINED], ids=["all", "some"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_read_as_in_python(path: Path, trained, remi) -> None:
    assert len(check_prompt(remi, read_midi(path)[0], trained).ids) > 10


@st.composite
def files(draw: st.DrawFn) -> ScoreTick:
    """Return scores of up to 200 bars as files have them."""
    tpq = draw(st.sampled_from([480, 96, 48, 24, 7, 1_000, 32_767]))
    beats = draw(st.sampled_from([4, 40, 400]))
    times = st.integers(0, beats * tpq) | st.integers(0, beats * 4).map(lambda i: i * tpq // 4)
    lengths = st.integers(0, 8 * tpq) | st.sampled_from([tpq // 4, tpq])
    pitches = st.integers(0, 127) | st.sampled_from([36, 60])
    notes = st.tuples(times, lengths, pitches, st.integers(1, 127))
    score = ScoreTick(tpq)
    for _ in range(draw(st.integers(1, 10))):
        program = draw(st.sampled_from([0, 0, 0, 40, 41, 127, DRUMS, DRUMS]))
        track = TrackTick("", max(program, 0), program == DRUMS)
        for note in draw(st.lists(notes, max_size=10)):
            track.notes.append(NoteTick(*note))
        score.tracks.append(track)
    meters = st.sampled_from([*METERS, *UNSUPPORTED_METERS, (32, 1), (31, 32), (17, 16)])
    for tick, meter in draw(st.lists(st.tuples(times, meters), max_size=5)):
        score.time_signatures.append(TimeSignatureTick(tick, *meter))
    for tick, bpm in draw(st.lists(st.tuples(times, st.integers(10, 300)), max_size=5)):
        score.tempos.append(TempoTick(tick, bpm))
    return score


@settings(max_examples=50)
@given(score=files(), trained=st.sampled_from([None, TRAINED]))
def test_any_score_is_read_as_in_python(score, trained, remi) -> None:
    try:
        clean = check_score(score)[0]
    except ScoreError:
        return
    check_prompt(remi, clean, trained)


def test_the_last_bars_of_a_long_prompt_are_read(remi) -> None:
    score = ScoreTick(480)
    track = TrackTick("", 0)
    for step in range(100 * 48):
        for pitch in (60, 64, 67):
            track.notes.append(NoteTick(step * 40, 40, pitch, 80))
    score.tracks.append(track)
    read = check_prompt(remi, check_score(score)[0], None)
    assert read.bars == 100
    assert 8_192 - 400 < len(read.ids) <= 8_193
    assert read.ids[1] == TABLE.bar


def test_a_bar_that_is_too_long_is_read_from_its_middle(remi) -> None:
    score = ScoreTick(480)
    for program in range(100):
        track = TrackTick("", program)
        for step in range(48):
            track.notes.append(NoteTick(step * 40, 40, 60, 80))
        score.tracks.append(track)
    read = check_prompt(remi, check_score(score)[0], None)
    assert len(read.ids) == 8_193
    assert read.ids[1] != TABLE.bar


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_prompt_ends_at_a_given_bar_line(path, remi) -> None:
    score = read_midi(path)[0]
    line = int(analysis.bar_starts(score)[1])
    read = ReadPrompt(remi, arrays_of(score), bos=TOKENIZER.bos_id, end_tick=line)
    prompt = read_prompt(score, grid_ticks=48, prompt_bars=1)
    assert read.ids.tolist()[1:] == expected_ids(prompt, prompt.score)[0]
    assert (read.bars, read.end_tick) == (1, prompt.end_tick)
    assert read.max_at_once == prompt.constraints.max_notes_at_once
    assert len(read.order) == len(prompt.score.tracks)


@settings(max_examples=200)
@given(
    requested=st.lists(st.frozensets(st.integers(-1, 127), max_size=20), min_size=1, max_size=3),
    trained=st.none() | st.frozensets(st.integers(-1, 127), min_size=1, max_size=30),
)
def test_programs_are_mapped_as_in_python(requested, trained) -> None:
    known: dict[int, int] = {}
    for programs in requested:
        known = map_programs(load_library(), programs, trained, known)
    assert known == instrument_mapping.map_programs(requested, trained)


def test_a_bar_without_a_prompt_has_the_default_velocities(remi) -> None:
    names = ("Bar_None", "TimeSig_6/8", "Program_-1", "Position_0", "PitchDrum_40")
    names = (*names, "Duration_0.1.12", "Position_36", "PitchDrum_40", "Duration_0.1.12")
    ids = [TOKENIZER.ids[name] for name in names]
    score, parts = TOKENIZER.decode_parts(ids)
    expected = arrays_of(PromptLoudness().with_velocities(score, parts)).notes
    found = set_velocities(load_library(), *remi.decode(ids)).notes
    np.testing.assert_array_equal(found, expected)
    assert found[:, 3].tolist() == [98, 94]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [(1, 0, "Ticks"), (3, 0, "velocities"), (3, 128, "velocities"), (0, 2**31 - 1, "Ticks")],
)
def test_a_number_out_of_range_is_refused(column, value, message, remi) -> None:
    score = ScoreTick(480)
    score.tracks.append(TrackTick("", 0))
    score.tracks[0].notes.append(NoteTick(0, 1, 60, 80))
    arrays = arrays_of(score)
    arrays.notes[0, column] = value
    with pytest.raises(ValueError, match=message):
        ReadPrompt(remi, arrays, bos=1)


def test_a_prompt_without_notes_is_refused(remi) -> None:
    with pytest.raises(ValueError, match="length"):
        ReadPrompt(remi, arrays_of(ScoreTick(480)), bos=1)


@pytest.mark.parametrize(("last_beats", "meter"), [(2, (3, 4)), (4, (2, 4))])
def test_the_meter_after_a_last_bar_that_completes_the_pickup(last_beats, meter, remi) -> None:
    score = ScoreTick(480)
    score.tracks.append(TrackTick("", 0))
    for beat in range(1 + 3 * 3 + last_beats):
        score.tracks[0].notes.append(NoteTick(480 * beat, 480, 60 + beat % 5, 80))
    for tick, beats in ((0, 1), (480, 3), (10 * 480, 2)):
        score.time_signatures.append(TimeSignatureTick(tick, beats, 4))
    prompt = read_prompt(score, grid_ticks=48)
    assert prompt.constraints.meter == meter
    check_prompt(remi, check_score(score)[0], None)
