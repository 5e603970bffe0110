"""The compiled step features against their reference."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from symusic import Score

from musiclstm.core.features import FeatureRows
from musiclstm.core.library import is_available, load_library
from musiclstm.model.step_features import HORIZON, FeatureArrays, StepFeatures, TokenTable
from musiclstm.tokens import MusicTokenizer
from musiclstm.tokens.vocabulary import IDS, TOKEN_NAMES

pytestmark = pytest.mark.skipif(not is_available(), reason="this machine cannot build the core")

TABLE = TokenTable(TOKEN_NAMES)
METERS = [name for name in TOKEN_NAMES if name.startswith("TimeSig_")]
DURATIONS = [name for name in TOKEN_NAMES if name.startswith("Duration_")]
TEMPOS = [name for name in TOKEN_NAMES if name.startswith("Tempo_")]
NAMES = [field.name for field in fields(FeatureArrays)]
slow_inputs = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# Streams ------------------------------------------------------------------------------------------


class CompiledStepFeatures:
    """One row of `FeatureRows` with the methods of `StepFeatures`."""

    def __init__(self, table: TokenTable, *, library=None) -> None:
        """Start a stream; arguments and errors as in `FeatureRows`."""
        self.rows = FeatureRows(table, 1, library=library)

    def read(self, ids: Sequence[int] | np.ndarray, *, histograms: bool = True) -> FeatureArrays:
        """Read tokens, (steps,); return the features after each. As `FeatureRows.read`."""
        tokens = np.asarray(ids)
        if tokens.ndim != 1:
            raise ValueError(f"ids must be of shape (steps,), got {tokens.shape}.")
        rows = self.rows.read(tokens[np.newaxis], histograms=histograms)
        arrays = (getattr(rows, name) for name in [field.name for field in fields(FeatureArrays)])
        return FeatureArrays(*(array.reshape(array.shape[1:]) for array in arrays))

    def advance(self, ids: Sequence[int] | np.ndarray) -> None:
        """Read tokens without returning features; errors as in `read`."""
        self.read(ids, histograms=False)

    def copy(self) -> CompiledStepFeatures:
        """Return an independent copy."""
        twin = object.__new__(CompiledStepFeatures)
        twin.rows = self.rows.select([0])
        return twin

    def __deepcopy__(self, memo: object) -> CompiledStepFeatures:
        return self.copy()


def random_ids(seed: int, count: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(len(TOKEN_NAMES)) for _ in range(count)]


def random_block(rng: random.Random, program: int, pitches: Sequence[int]) -> list[str]:
    block = [f"Program_{program}"]
    if rng.random() < 0.1:
        return block
    for position in sorted(rng.sample(range(0, 60, rng.choice((1, 3, 6))), rng.randint(1, 8))):
        block.append(f"Position_{position}")
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            drums = program == -1
            block.append(f"PitchDrum_{rng.randint(35, 50)}" if drums else pitch(rng, pitches))
            block.append(rng.choice(DURATIONS[:24] if rng.random() < 0.9 else DURATIONS))
    return block


def pitch(rng: random.Random, pitches: Sequence[int]) -> str:
    return f"Pitch_{rng.choice(pitches)}"


def moved(names: Sequence[str], shift: int) -> list[str]:
    return [
        f"Pitch_{min(max(int(name[6:]) + shift, 0), 127)}" if name.startswith("Pitch_") else name
        for name in names
    ]


def music(
    seed: int,
    count: int,
    programs: Sequence[int] | None = None,
    *,
    pitches: Sequence[int] = (43, 48, 60, 62, 64, 65, 67, 69, 71, 72),
    shifts: Sequence[int] = (0, 0, 2, -5, 12, 40),
) -> list[int]:
    """Bars of several tracks, of which many repeat an earlier one, moved or with gaps."""
    rng = random.Random(seed)
    if programs is None:
        programs = [rng.randint(-1, 127) for _ in range(rng.choice((1, 4, 12, 40)))] * 2
    names: list[str] = []
    bodies: list[list[str]] = []
    meter = "TimeSig_4/4"
    while len(names) < count:
        meter = rng.choice(METERS) if rng.random() < 0.1 else meter
        names += ["Bar_None", meter]
        for _ in range(rng.choice((0, 0, 0, 1, 2))):
            names += [f"Position_{rng.randrange(48)}", rng.choice(TEMPOS)]
        if bodies and rng.random() < 0.5:
            body = moved(rng.choice(bodies[-8:]), rng.choice(shifts))
            body = [name for name in body if rng.random() > 0.02]
        else:
            playing = [program for program in programs if rng.random() < 0.7]
            body = [name for p in playing for name in random_block(rng, p, pitches)]
        bodies.append(body)
        names += body
    return [IDS[name] for name in names[:count]]


@cache
def seed_pieces() -> list[list[int]]:
    tokenizer = MusicTokenizer()
    folder = files("musiclstm.examples")
    paths = sorted(str(path) for path in folder.iterdir() if path.name.endswith(".mid"))
    return [[int(token) for token in tokenizer.encode(Score(path))] for path in paths]


# Comparison ---------------------------------------------------------------------------------------


def assert_same(actual: FeatureArrays, expected: FeatureArrays) -> None:
    for name in NAMES:
        one, other = getattr(actual, name), getattr(expected, name)
        assert one.dtype == other.dtype, name
        np.testing.assert_array_equal(one, other, err_msg=name)
        assert one.tobytes() == other.tobytes(), name


def part_of(arrays: FeatureArrays, *index: int | slice) -> FeatureArrays:
    return FeatureArrays(*(getattr(arrays, name)[index] for name in NAMES))


def joined(pieces: Sequence[FeatureArrays]) -> FeatureArrays:
    return FeatureArrays(*(np.concatenate([getattr(p, n) for p in pieces]) for n in NAMES))


def assert_equals_reference(ids: Sequence[int]) -> FeatureArrays:
    expected = StepFeatures(TABLE).read(ids)
    assert_same(CompiledStepFeatures(TABLE).read(ids), expected)
    return expected


@slow_inputs
@given(st.lists(st.integers(0, len(TOKEN_NAMES) - 1), max_size=300))
def test_any_tokens_give_the_features_of_the_reference(ids):
    assert_equals_reference(ids)


@slow_inputs
@given(st.lists(st.sampled_from([
    "Bar_None", "TimeSig_3/4", "TimeSig_5/16", "TimeSig_6/8", "Tempo_40.0", "Program_0",
    "Program_40", "Program_-1", "Position_0", "Position_1", "Position_6", "Position_191",
    "Pitch_0", "Pitch_60", "Pitch_64", "Pitch_127", "PitchDrum_35", "Duration_0.1.12",
    "Duration_1.0.12", "Duration_32.0.1",
]), max_size=300))  # fmt: skip
def test_any_order_of_a_few_tokens_gives_the_features_of_the_reference(names):
    assert_equals_reference([IDS[name] for name in names])


def test_random_tokens_give_the_features_of_the_reference():
    assert_equals_reference(random_ids(1, 4_000))


@pytest.mark.parametrize("seed", range(8))
def test_music_of_several_tracks_gives_the_features_of_the_reference(seed):
    assert_equals_reference(music(seed, 1_500))


def test_more_tracks_than_slots_give_the_features_of_the_reference():
    assert_equals_reference(music(3, 6_000, [*range(110), -1, -1]))


def test_the_seed_pieces_give_the_features_of_the_reference():
    for ids in seed_pieces():
        assert_equals_reference(ids)


def test_a_stream_longer_than_the_horizon_gives_the_features_of_the_reference():
    features = assert_equals_reference(music(5, HORIZON + 4_000, [0, 40, 40, -1]))
    assert (features.candidates >= 0).mean(0).min() > 0.1, "every candidate must be compared"


@pytest.mark.slow
@pytest.mark.parametrize("programs", [[0], [-1], [40, 40, 41, 42], list(range(-1, 70))])
def test_long_streams_give_the_features_of_the_reference(programs):
    assert_equals_reference(music(6, 3 * HORIZON, programs))


@pytest.mark.slow
def test_as_many_notes_as_possible_give_the_features_of_the_reference():
    rng = random.Random(7)
    choices = [IDS[f"Pitch_{p}"] for p in range(60, 64)], [IDS[d] for d in DURATIONS[:2]]
    start = [IDS[name] for name in ("Bar_None", "Program_0", "Position_0")]
    notes = [rng.choice(choices[k % 2]) for k in range(3 * HORIZON)]
    assert_equals_reference(start + notes)


@pytest.mark.parametrize("kind", [StepFeatures, CompiledStepFeatures])
@pytest.mark.parametrize(("distance", "counts"), [(HORIZON, True), (HORIZON + 1, False)])
def test_a_context_counts_as_far_back_as_the_horizon(kind, distance, counts):
    motif = [IDS[name] for name in TEMPOS[:3]]
    follows = IDS[TEMPOS[3]]
    filler = [IDS["Bar_None"]] * (distance - len(motif) - 1)
    candidates = kind(TABLE).read([*motif, follows, *filler, *motif]).candidates
    assert candidates[-1, 0] == (follows if counts else -1)


@pytest.mark.parametrize("kind", [StepFeatures, CompiledStepFeatures])
@pytest.mark.parametrize(("distance", "counts"), [(HORIZON, True), (HORIZON + 1, False)])
def test_a_note_counts_as_far_back_as_the_horizon(kind, distance, counts):
    passage = [
        *("Bar_None", "Program_0", "Position_0", "Pitch_60", "Duration_0.1.12"),
        *("Position_6", "Pitch_64", "Duration_0.2.12"),
    ]
    ids = [IDS[name] for name in passage]
    filler = [IDS["Bar_None"]] * (distance - len(ids))
    candidates = kind(TABLE).read([*ids, *filler, *ids[:5]]).candidates
    assert candidates[-1, 2] == (IDS["Position_6"] if counts else IDS["Bar_None"])


# Streams in pieces --------------------------------------------------------------------------------


def test_pieces_of_any_sizes_equal_one_reading():
    ids, rng = music(11, 6_000), random.Random(11)
    whole = CompiledStepFeatures(TABLE).read(ids)
    features, pieces = CompiledStepFeatures(TABLE), []
    while ids:
        size = rng.choice((0, 1, 2, 50, 700))
        pieces.append(features.read(ids[:size]))
        ids = ids[size:]
    assert_same(joined(pieces), whole)


@pytest.mark.parametrize("branch", [CompiledStepFeatures.copy, copy.deepcopy])
def test_copies_go_on_from_the_same_place_on_their_own(branch):
    past, one, other = music(12, 2_000), music(13, 500), music(14, 500)
    features = CompiledStepFeatures(TABLE)
    features.read(past)
    twin = branch(features)
    ours, theirs = features.read(one), twin.read(other)
    assert_same(
        joined([ours]), part_of(CompiledStepFeatures(TABLE).read(past + one), slice(2_000, None))
    )
    assert_same(theirs, part_of(CompiledStepFeatures(TABLE).read(past + other), slice(2_000, None)))


def test_a_state_takes_about_a_megabyte():
    assert load_library().call("features_state_bytes") < 1_200_000


# Rows ---------------------------------------------------------------------------------------------


def test_rows_keep_their_streams_from_window_to_window():
    streams = [music(seed, 900) for seed in (21, 22, 23)]
    rows = FeatureRows(TABLE, 3)
    windows = [rows.read(np.array(streams)[:, at : at + 100]) for at in range(0, 900, 100)]
    for row, ids in enumerate(streams):
        whole = joined([part_of(window, row) for window in windows])
        assert_same(whole, StepFeatures(TABLE).read(ids))


def test_a_row_that_is_reset_begins_a_new_stream():
    first, second = np.array([music(24, 300), music(25, 300)]), np.array([music(26, 200)] * 2)
    rows = FeatureRows(TABLE, 2)
    rows.read(first)
    read = rows.read(second, np.array([True, False]))
    assert_same(part_of(read, 0), CompiledStepFeatures(TABLE).read(second[0]))
    goes_on = CompiledStepFeatures(TABLE).read([*first[1], *second[1]])
    assert_same(part_of(read, 1), part_of(goes_on, slice(300, None)))


def test_steps_beyond_the_length_of_a_row_are_not_read():
    ids = np.array([music(27, 400), music(28, 400)])
    ids[1, 150:] = 10_000
    rows = FeatureRows(TABLE, 2)
    read = rows.read(ids, lengths=[400, 150])
    assert_same(part_of(read, 0), CompiledStepFeatures(TABLE).read(ids[0]))
    assert_same(part_of(read, 1, slice(150)), CompiledStepFeatures(TABLE).read(ids[1, :150]))
    assert_same(part_of(read, 1, slice(150, None)), FeatureArrays.empty(250))
    more = rows.read(ids[:1].repeat(2, 0))
    goes_on = CompiledStepFeatures(TABLE).read([*ids[1, :150], *ids[0]])
    assert_same(part_of(more, 1), part_of(goes_on, slice(150, None)))


def test_rows_can_be_replaced_and_selected():
    ids = np.array([music(31, 300), music(32, 300)])
    rows = FeatureRows(TABLE, 2)
    rows.read(ids)
    chosen = rows.select([1, 0, 1])
    rows.replace_row(0, chosen, 2)
    chosen.replace_row(2, chosen, 0)
    ones = [StepFeatures(TABLE).read([*past, *music(33, 50)]) for past in ids.tolist()]
    after = [part_of(one, slice(300, None)) for one in ones]
    read = chosen.read([music(33, 50)] * 3)
    for row, past in enumerate((1, 0, 1)):
        assert_same(part_of(read, row), after[past])
    read = rows.read([music(33, 50)] * 2)
    for row in range(2):
        assert_same(part_of(read, row), after[1])


def test_features_are_written_into_the_arrays_given():
    ids, rows, out = np.array([music(34, 200)]), FeatureRows(TABLE, 1), FeatureArrays.empty(1, 100)
    whole = CompiledStepFeatures(TABLE).read(ids[0])
    for at in (0, 100):
        assert rows.read(ids[:, at : at + 100], out=out) is out
        assert_same(part_of(out, 0), part_of(whole, slice(at, at + 100)))


def test_histograms_can_be_left_out():
    ids = music(35, 300)
    whole = CompiledStepFeatures(TABLE).read(ids)
    without = CompiledStepFeatures(TABLE).read(ids, histograms=False)
    for name in NAMES:
        expected = getattr(whole, name)
        if name in ("part", "recent", "piece", "onsets", "durations"):
            expected = expected[:0]
        np.testing.assert_array_equal(getattr(without, name), expected, err_msg=name)


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [-1, len(TOKEN_NAMES), 2**32, 2**62, 2**64 - 1])
def test_a_token_outside_the_vocabulary_is_refused_before_anything_is_read(bad):
    features, ids = CompiledStepFeatures(TABLE), np.array([5, 6])
    with pytest.raises(IndexError, match=f"from 0 to {len(TOKEN_NAMES) - 1}"):
        features.read(np.array([4, bad], np.uint64 if bad == 2**64 - 1 else np.int64))
    assert_same(features.read(ids), StepFeatures(TABLE).read(ids))


def test_arguments_of_other_shapes_and_types_are_refused():
    rows, ids = FeatureRows(TABLE, 2), np.zeros((2, 3), np.int64)
    with pytest.raises(TypeError, match="float64"):
        rows.read(ids.astype(float))
    for wrong, fact in [
        ({"ids": ids[:1]}, r"\(2, steps\)"),
        ({"ids": ids, "reset": [True]}, r"reset .* \(2,\)"),
        ({"ids": ids, "lengths": [3]}, r"lengths .* \(2,\)"),
        ({"ids": ids, "lengths": [3, 4]}, "length of a row"),
        ({"ids": ids, "lengths": [3, -1]}, "length of a row"),
        ({"ids": ids, "out": FeatureArrays.empty(2, 4)}, r"candidates .* \(2, 3, 6\)"),
        ({"ids": ids, "out": part_of(FeatureArrays.empty(2, 6), slice(None), slice(None, None, 2))},
         "contiguous"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=fact):
            rows.read(**wrong)
    for row in (-1, 2):
        with pytest.raises(IndexError, match=f"got {row}"):
            rows.replace_row(0, rows, row)
        with pytest.raises(IndexError, match=f"got {row}"):
            rows.replace_row(row, rows, 0)
    with pytest.raises(ValueError, match="same token table"):
        rows.replace_row(0, FeatureRows(TokenTable(TOKEN_NAMES), 1), 0)


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("Pitch_128", "0 to 127"),
        ("PitchDrum_-1", "0 to 127"),
        ("Position_192", "0 to 191"),
        ("Program_128", "-1 to 127"),
        ("Program_-2", "-1 to 127"),
        ("TimeSig_3/32", "positions of 1 to 16"),
        ("TimeSig_999/4", "8,191"),
        ("Duration_999.0.1", "8,191"),
    ],
)
def test_a_vocabulary_that_cannot_be_represented_is_refused(name, fact):
    with pytest.raises(ValueError, match=fact):
        CompiledStepFeatures(TokenTable([*TOKEN_NAMES, name]))


def test_a_vocabulary_of_too_many_tokens_is_refused():
    with pytest.raises(ValueError, match="4,096"):
        CompiledStepFeatures(TokenTable(["PAD_None"] * 4_097))


# Transposition ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [StepFeatures, CompiledStepFeatures])
@pytest.mark.parametrize("shift", [-19, 1, 19])
def test_transposing_a_stream_moves_its_features(kind, shift):
    ids = np.array(music(41, 2_500, [0, 40, 40, -1], pitches=range(58, 73), shifts=(0, 0, 1)))
    first, last = IDS["Pitch_0"], IDS["Pitch_127"]

    def up(tokens: np.ndarray) -> np.ndarray:
        return np.where((tokens >= first) & (tokens <= last), tokens + shift, tokens)

    here, there = kind(TABLE).read(ids), kind(TABLE).read(up(ids))
    classes = [(here.sounding >> (k - shift) % 12 & 1) << k for k in range(12)]
    expected = FeatureArrays(
        candidates=up(here.candidates).astype(np.int16),
        runs=here.runs,
        accuracy=here.accuracy,
        parts=here.parts,
        pitches=np.where(here.pitches < 0, here.pitches, here.pitches + shift).astype(np.int8),
        positions=here.positions,
        follows=here.follows,
        sounding=np.sum(classes, 0).astype(np.int16),
        part=np.roll(here.part, shift, 1),
        recent=np.roll(here.recent, shift, 1),
        piece=np.roll(here.piece, shift, 1),
        onsets=here.onsets,
        durations=here.durations,
        sizes=here.sizes,
    )
    assert (here.candidates[:, :4] != there.candidates[:, :4]).any(0).all()
    assert_same(there, expected)
