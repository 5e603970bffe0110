"""The roll grows bar by bar, and the sound follows without a gap, the part one waits for first."""

from __future__ import annotations

import io
import json
from base64 import b64decode
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import soundfile

from musiclstm import Constraints, RenderError, Sampling, Selection, example_files
from musiclstm.audio.mix import Mix
from musiclstm.audio.soundfonts import find_soundfont
from musiclstm.audio.synthesizer import Synth
from musiclstm.audio.streaming import StreamingRenderer
from musiclstm.midi.analysis import bar_starts, last_note_end
from page.playback import audio_chunks
from page.playback.audio_chunks import frame_of
from page.playback.excerpt import excerpt_of, pianoroll_of_piece
from page.playback.player import RATE_HZ, ChunkCache
from page.playback.stream import (
    StreamOptions,
    Update,
    new_bar_of,
    replay,
    show_piece,
    stream_piece,
    stream_pieces,
)

TUNE = example_files()["Minuet in G (Petzold)"]
SAMPLING = Sampling(seed=3)


class Tone:
    """Stands in for the synthesizer: sample by sample the place in the piece, and a short tail."""

    open = 0
    played: list[tuple[int, int]] = []  # noqa: RUF012 - put back before each test

    def __init__(self, mix=None, *, sample_rate_hz):
        self.frame = self.end = 0
        self.rate_hz = sample_rate_hz
        self.closed = False
        Tone.open += 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        Tone.open -= not self.closed
        self.closed = True

    def start_at(self, score, tick):
        self.frame = frame_of(score, tick)

    def play(self, score, tick):
        assert not self.closed
        self.end = frame_of(score, last_note_end(score))
        return self._samples(max(self.frame, frame_of(score, tick)))

    def flush(self):
        samples = self._samples(max(self.frame, self.end) + self.rate_hz)
        self.close()
        return samples

    def _samples(self, until):
        Tone.played.append((self.frame, until))
        place = np.arange(self.frame, until) % 1_000 / 2_000
        self.frame = until
        return np.stack([place, place], axis=1).astype(np.float32)


@pytest.fixture
def tones(monkeypatch):
    monkeypatch.setattr(Tone, "open", 0)
    monkeypatch.setattr(Tone, "played", [])
    monkeypatch.setattr(audio_chunks, "StreamingRenderer", Tone)
    return Tone


@pytest.fixture
def shelf():
    return ChunkCache()


@pytest.fixture(scope="module")
def drafts(tiny_composer):
    return list(tiny_composer.stream(bars=6, prompt=TUNE, sampling=SAMPLING))


@pytest.fixture(scope="module")
def from_nothing(tiny_composer):
    return list(tiny_composer.stream(bars=4, sampling=SAMPLING))


@pytest.fixture(scope="module")
def speaker():
    try:
        with Synth(find_soundfont()):
            return
    except RenderError as error:
        pytest.skip(f"nothing can be heard here: {error}")


def sound_of(value, shelf):
    """All samples of a take, from the shelf; its chunks must lie end to end."""
    starts = [start for start, _ in value["chunks"]]
    question = {"take": value["take"], "sound": value["sound"]}
    found: dict[int, bytes] = {}
    for start in starts:
        for at, data in shelf.missing(question | {"starts": [start]})["chunks"]:
            found[at] = b64decode(data)
    assert sorted(found) == sorted(starts)
    at, parts = 0, []
    for start in sorted(found):
        assert start == at
        samples, _ = soundfile.read(io.BytesIO(found[start]), dtype="float32")
        parts.append(samples)
        at += len(samples)
    return np.concatenate(parts)


def fresh_starts(updates):
    return [[start for start, _ in update.value["fresh"]] for update in updates]


# -- What is heard -------------------------------------------------------------------------------


def test_of_a_short_seed_everything_is_heard(drafts):
    piece = drafts[-1]
    heard = excerpt_of(piece)
    assert heard.score == piece.score
    assert heard.begin_tick == piece.prompt_end_tick
    assert heard.seed_bars == piece.prompt_bars == 8
    assert list(heard.lines) == bar_starts(piece.score, end_tick=heard.lines[-1]).tolist()
    assert len(heard.lines) == 8 + 6 + 1


def test_of_a_long_seed_the_last_sixteen_bars_are_heard(tiny_composer, invented):
    seed = invented(bars=20, programs=(0, 40))
    piece = tiny_composer.compose(bars=2, prompt=seed, sampling=SAMPLING)
    heard = excerpt_of(piece)
    assert (heard.seed_bars, len(heard.lines)) == (16, 19)
    bar = 4 * piece.score.ticks_per_quarter
    assert heard.begin_tick == 16 * bar
    before = sum(note.time < 4 * bar for track in piece.score.tracks for note in track.notes)
    assert heard.score.note_num() == piece.score.note_num() - before
    assert len(heard.sure) == heard.score.note_num()
    assert new_bar_of(piece, 17) == 1
    assert new_bar_of(piece, 16) == 0


def test_the_roll_knows_how_sure_the_model_was_of_each_new_note(drafts):
    piece = drafts[-1]
    heard = excerpt_of(piece)
    notes = [
        (note.time, note.pitch, track.program)
        for track in heard.score.tracks
        for note in track.notes
    ]
    programs = [track.program for track in piece.continuation.tracks]
    wanted = {
        (each.tick + heard.begin_tick, each.pitch, programs[each.track]): each.probability
        for each in piece.note_probabilities()
    }
    assert {note: sure for note, sure in zip(notes, heard.sure, strict=True) if sure} == wanted
    sure = pianoroll_of_piece(piece)["notes"]["sure"]
    assert sum(percent >= 0 for percent in sure) == piece.continuation.note_num()


def test_tracks_that_play_along_are_heard_and_nobody_was_asked_about_them(tiny_composer, invented):
    seed = invented(bars=6, programs=(0, 40, -1))
    chosen = Selection(frozenset({1}), first_bar=2, last_bar=4)
    piece = tiny_composer.compose(bars=2, prompt=seed, prompt_selection=chosen, sampling=SAMPLING)
    assert piece.accompaniment_tracks == 2
    heard = excerpt_of(piece)
    assert heard.score.note_num() == piece.score.note_num()
    asked = [sure is not None for sure in heard.sure]
    assert sum(asked) == len(piece.note_probabilities())
    along = sum(len(track.notes) for track in list(piece.score.tracks)[-2:])
    assert not any(asked[-along:])


def test_an_added_instrument_has_probabilities_beside_tracks_that_play_along(
    tiny_composer, invented
):
    seed = invented(bars=6, programs=(0, 40))
    chosen = Selection(frozenset({1}))
    usual = tiny_composer.default_constraints(seed, prompt_selection=chosen)
    piece = tiny_composer.compose(
        bars=4,
        prompt=seed,
        prompt_selection=chosen,
        constraints=replace(usual, programs={40, 42}),
        sampling=replace(SAMPLING, copy_weight=0),  # copies would leave the new one out
    )
    tracks = list(piece.score.tracks)
    assert [track.program for track in tracks] == [40, 0, 42]
    sure, ends = excerpt_of(piece).sure, np.cumsum([len(track.notes) for track in tracks])
    _, along, added = np.split(np.array(sure, object), ends[:-1])
    assert all(each is None for each in along)
    assert len(added)
    assert all(each is not None for each in added)
    assert sum(each is not None for each in sure) == len(piece.note_probabilities())


def test_tracks_of_one_program_have_one_entry_on_the_roll(tiny_composer, invented):
    seed = invented(bars=4, programs=(40, 40, 42))
    piece = tiny_composer.compose(bars=4, prompt=seed, sampling=SAMPLING)
    assert [track.program for track in piece.score.tracks] == [40, 40, 42]
    roll = excerpt_of(piece).roll()
    assert [each["program"] for each in roll["instruments"]] == [40, 42]
    places = [0 if track.program == 40 else 1 for track in piece.score.tracks for _ in track.notes]
    assert sorted(roll["notes"]["instrument"]) == sorted(places)
    known = sum(percent >= 0 for percent in roll["notes"]["sure"])
    assert known == piece.continuation.note_num()


def test_a_piece_from_nothing_is_heard_whole(from_nothing):
    heard = excerpt_of(from_nothing[-1])
    assert (heard.seed_bars, heard.begin_tick, len(heard.lines)) == (0, 0, 5)
    assert new_bar_of(from_nothing[-1], 3) == 3
    empty = excerpt_of(from_nothing[-1].truncated(0))
    assert (empty.lines, empty.sure) == ((0,), ())


# -- While it is composed ------------------------------------------------------------------------


@pytest.mark.usefixtures("tones")
def test_sound_comes_with_the_first_draft_and_grows_with_the_others(drafts, shelf):
    asked = iter(drafts)
    updates = stream_piece(asked, shelf=shelf, planned_bars=6)
    first = next(updates)
    assert len(list(asked)) == 5  # no other draft was waited for
    assert len(first.value["fresh"]) == 1
    assert first.piece is drafts[0]
    assert first.value["planned_bars"] == 8 + 6


def test_the_first_chunk_is_two_beats_at_the_cue(drafts, shelf, tones):
    value = next(stream_piece(drafts, shelf=shelf)).value
    heard = excerpt_of(drafts[0])
    cue = heard.lines[6]
    end = cue + 2 * heard.score.ticks_per_quarter
    frames = [frame_of(heard.score, tick) for tick in (cue, end)]
    assert value["cue_frame"] == frames[0]
    assert value["chunks"] == [[frames[0], frames[1] - frames[0]]]
    assert tones.played == [tuple(frames)]


@pytest.mark.parametrize(("cue_bars", "line"), [(0, 8), (3, 5), (99, 0)])
@pytest.mark.usefixtures("tones")
def test_playing_begins_so_many_bars_before_the_new_ones(drafts, shelf, cue_bars, line):
    value = next(stream_piece(drafts, shelf=shelf, cue_bars=cue_bars)).value
    heard = excerpt_of(drafts[0])
    assert value["cue_frame"] == frame_of(heard.score, heard.lines[line])


@pytest.mark.usefixtures("tones")
def test_what_is_gone_on_with_is_old_music_too(tiny_composer, drafts, shelf):
    more = tiny_composer.stream(bars=2, after=drafts[-1])
    value = next(stream_piece(more, shelf=shelf, planned_bars=8)).value
    heard = excerpt_of(drafts[-1])
    assert value["cue_frame"] == frame_of(heard.score, heard.lines[8 + 6 - 2])
    assert value["planned_bars"] == 8 + 8


def test_every_draft_gives_an_update_and_the_last_one_is_complete(drafts, shelf, tones):
    updates = list(stream_piece(drafts, shelf=shelf))
    assert [update.piece.bars for update in updates] == [1, 2, 3, 4, 5, 6, 6, 6, 6, 6, 6]
    assert [update.complete for update in updates] == [False] * 10 + [True]
    assert [update.value["complete"] for update in updates] == [False] * 10 + [True]
    assert updates[-1].value["fresh"] == []  # the last one may be sent twice
    assert all(update.trouble == "" for update in updates)
    bars = [len(json.loads(update.value["roll"])["notes"]["start"]) for update in updates]
    assert bars == sorted(bars)
    assert tones.open == 0


@pytest.mark.usefixtures("tones")
def test_all_chunks_together_are_the_piece(drafts, shelf):
    *_, last = stream_piece(drafts, shelf=shelf)
    sound = sound_of(last.value, shelf)
    heard = excerpt_of(drafts[-1])
    assert len(sound) == frame_of(heard.score, heard.lines[-1]) + RATE_HZ
    place = np.arange(len(sound)) % 1_000 / 2_000
    assert np.abs(sound[:, 0] - place).max() < 1e-4  # 16 bits


@pytest.mark.usefixtures("tones")
def test_no_update_carries_more_than_a_bar_of_sound(drafts, shelf):
    updates = list(stream_piece(drafts, shelf=shelf))
    heard = excerpt_of(drafts[-1])
    frames = [frame_of(heard.score, line) for line in heard.lines]
    longest = max(late - early for early, late in pairwise(frames))
    fresh = [chunk for update in updates for chunk in update.value["fresh"]]
    lengths = dict(updates[-1].value["chunks"])
    assert len(fresh) == len(updates) - 1
    assert all(lengths[start] <= longest for start, _ in fresh[:-1])


@pytest.mark.usefixtures("tones")
def test_what_lies_before_the_cue_comes_last_and_only_to_the_shelf(drafts, shelf):
    updates = list(stream_piece(drafts, shelf=shelf))
    cue = updates[0].value["cue_frame"]
    assert all(start >= cue for starts in fresh_starts(updates) for start in starts)
    assert min(start for start, _ in updates[-1].value["chunks"]) == 0
    assert min(start for start, _ in updates[0].value["chunks"]) == cue


def test_a_single_draft_is_heard_to_its_end(drafts, shelf, tones):
    *_, last = stream_piece(drafts[:1], shelf=shelf)
    heard = excerpt_of(drafts[0])
    end = max(heard.lines[-1], last_note_end(heard.score))
    assert len(sound_of(last.value, shelf)) == frame_of(heard.score, end) + RATE_HZ
    assert tones.open == 0


def test_a_generator_that_is_left_frees_its_synthesizer(drafts, shelf, tones):
    updates = stream_piece(drafts, shelf=shelf)
    next(updates)
    assert tones.open == 1
    updates.close()
    assert tones.open == 0


def test_an_error_of_the_composer_goes_on_to_the_caller(drafts, shelf, tones):
    def failing():
        yield drafts[0]
        raise RenderError("The composer fell asleep.")

    with pytest.raises(RenderError, match="fell asleep"):
        list(stream_piece(failing(), shelf=shelf))
    assert tones.open == 0


def test_no_draft_gives_no_update(shelf):
    assert list(stream_piece([], shelf=shelf)) == []


# -- In another sound, while it is composed ------------------------------------------------------


def test_another_mix_is_taken_up_where_the_listener_is(drafts, shelf, tones):
    heard = excerpt_of(drafts[-1])
    frames = [frame_of(heard.score, line) for line in heard.lines]
    wanted = [StreamOptions(Mix())]
    updates = []
    for update in stream_piece(drafts, shelf=shelf, wanted=lambda take: wanted[-1]):
        updates.append(update)
        if len(updates) == 4:  # sound up to the end of bar 9; the listener is in bar 8
            wanted.append(StreamOptions(Mix(muted=frozenset({0})), (frames[7] + 10) / RATE_HZ))
            tones.played.clear()
    before, after = updates[3], updates[4]
    assert tones.played[:2] == [(frames[7], frames[8]), (frames[8], frames[9])]
    assert after.value["take"] == before.value["take"]
    assert after.value["sound"] == before.value["sound"] + 1
    assert after.value["muted"] == [0]
    assert not after.complete
    assert len(sound_of(updates[-1].value, shelf)) == frames[-1] + RATE_HZ
    assert updates[-1].piece is drafts[-1]
    assert tones.open == 0


@pytest.mark.usefixtures("tones")
def test_another_mix_that_is_wanted_at_the_very_end_is_taken_up_too(drafts, shelf):
    wanted = [StreamOptions(Mix())]
    for update in stream_piece(drafts, shelf=shelf, wanted=lambda take: wanted[-1]):
        if update.piece.bars == 6:
            wanted.append(StreamOptions(Mix(gain_db=3.0)))
    assert update.value["sound"] == 1
    assert update.complete


@pytest.mark.usefixtures("tones")
def test_takes_are_asked_one_by_one(tiny_composer, shelf):
    muted = {0: frozenset(), 1: frozenset({0})}
    found = {}
    takes = takes_of(tiny_composer, 2)
    wanted = lambda take: StreamOptions(Mix(muted=muted[take]))  # noqa: E731
    for update in stream_pieces(takes, count=2, shelf=shelf, wanted=wanted):
        found[update.take] = update.value
    assert [found[take]["muted"] for take in (0, 1)] == [[], [0]]
    assert all(value["complete"] for value in found.values())


# -- Without sound -------------------------------------------------------------------------------


def test_without_a_soundfont_the_roll_grows_and_one_sentence_says_why(drafts, shelf):
    mix = Mix(soundfont="nowhere.sf2")
    updates = list(stream_piece(drafts, shelf=shelf, mix=mix))
    assert [update.piece.bars for update in updates] == [1, 2, 3, 4, 5, 6, 6]
    assert all(update.value["chunks"] == [] for update in updates)
    assert all(update.trouble.startswith("No SoundFont at 'nowhere.sf2'") for update in updates)
    assert updates[-1].complete


def test_sound_that_fails_on_the_way_is_told_and_the_rest_is_drawn(
    drafts, shelf, tones, monkeypatch
):
    def play(self, score, tick):
        if len(tones.played) == 2:
            raise RenderError("The trumpet is stuck.")
        return self._samples(max(self.frame, frame_of(score, tick)))

    monkeypatch.setattr(tones, "play", play)
    updates = list(stream_piece(drafts, shelf=shelf))
    assert [update.trouble for update in updates] == [""] * 2 + ["The trumpet is stuck."] * 5
    assert [update.piece.bars for update in updates] == [1, 2, 3, 4, 5, 6, 6]
    assert updates[-1].complete
    assert tones.open == 0


# -- Several takes -------------------------------------------------------------------------------


def takes_of(tiny_composer, count, bars=3):
    return tiny_composer.stream_many(count, bars=bars, prompt=TUNE, sampling=SAMPLING)


def test_all_takes_are_heard_before_any_is_complete(tiny_composer, shelf, tones):
    updates = list(stream_pieces(takes_of(tiny_composer, 4), count=4, shelf=shelf))
    first = {update.take: place for place, update in reversed(list(enumerate(updates)))}
    complete = [place for place, update in enumerate(updates) if update.complete]
    assert set(first) == {0, 1, 2, 3}
    assert max(first.values()) < min(complete)
    assert all(updates[place].value["fresh"] for place in first.values())
    assert len({update.value["take"] for update in updates}) == 4
    assert tones.open == 0


def test_what_lies_before_is_played_once_for_all_takes(tiny_composer, shelf, tones):
    updates = list(stream_pieces(takes_of(tiny_composer, 3), count=3, shelf=shelf))
    assert sum(start == 0 for start, _ in tones.played) == 1
    for number in range(3):
        last = [update for update in updates if update.take == number][-1]
        heard = excerpt_of(last.piece)
        frames = frame_of(heard.score, heard.lines[-1]) + RATE_HZ
        assert len(sound_of(last.value, shelf)) == frames


@pytest.mark.usefixtures("tones")
def test_takes_are_those_the_composer_gives(tiny_composer, shelf):
    found: dict[int, Update] = {}
    for update in stream_pieces(takes_of(tiny_composer, 2), count=2, shelf=shelf, planned_bars=3):
        found[update.take] = update
    pieces = tiny_composer.compose_many(2, bars=3, prompt=TUNE, sampling=SAMPLING)
    assert [found[number].piece.to_midi() for number in (0, 1)] == [
        piece.to_midi() for piece in pieces
    ]
    assert found[1].value["planned_bars"] == 8 + 3


def test_a_take_too_many_is_refused(drafts, shelf, tones):
    with pytest.raises(ValueError, match="take must be from 0 to 1, got 2"):
        list(stream_pieces([(0, drafts[0]), (2, drafts[0])], count=2, shelf=shelf))
    assert tones.open == 0


# -- What is there already -----------------------------------------------------------------------


def test_another_mix_begins_where_the_listener_is(drafts, shelf, tones):
    *_, last = stream_piece(drafts, shelf=shelf)
    tones.played.clear()
    heard = excerpt_of(drafts[-1])
    frames = [frame_of(heard.score, line) for line in heard.lines]
    here_s = (frames[10] + 100) / RATE_HZ
    mix = Mix(muted=frozenset({0}))
    updates = list(replay(drafts[-1], broadcast=last.broadcast, mix=mix, from_s=here_s))
    assert tones.played[0] == (frames[10], frames[11])
    value = updates[-1].value
    assert value["take"] == last.value["take"]
    assert value["sound"] == last.value["sound"] + 1
    assert value["muted"] == [0]
    assert value["complete"]
    assert len(sound_of(value, shelf)) == frames[-1] + RATE_HZ


@pytest.mark.parametrize("from_s", [-5.0, 0.0, 1e9, float("nan")])
@pytest.mark.usefixtures("tones")
def test_a_place_that_is_none_does_no_harm(drafts, shelf, from_s):
    first = next(stream_piece(drafts, shelf=shelf))
    *_, last = replay(drafts[-1], broadcast=first.broadcast, from_s=from_s)
    assert last.complete
    assert sound_of(last.value, shelf).any()


@pytest.mark.usefixtures("tones")
def test_a_piece_whose_drafts_were_given_up_gets_its_whole_sound(drafts, shelf):
    updates = stream_piece(drafts, shelf=shelf)
    next(updates)
    second = next(updates)
    updates.close()
    *_, last = replay(second.piece, broadcast=second.broadcast)
    heard = excerpt_of(second.piece)
    frames = frame_of(heard.score, heard.lines[-1]) + RATE_HZ
    assert len(sound_of(last.value, shelf)) == frames


def test_a_piece_is_shown_from_shortly_before_what_is_new_to_the_listener(drafts, shelf, tones):
    heard = excerpt_of(drafts[-1])
    frames = [frame_of(heard.score, line) for line in heard.lines]
    updates = list(show_piece(drafts[-1], shelf=shelf))
    assert updates[0].value["cue_frame"] == frames[6]
    assert tones.played[0] == (frames[6], frames[7])
    assert len(sound_of(updates[-1].value, shelf)) == frames[-1] + RATE_HZ
    value = next(show_piece(drafts[-1], shelf=shelf, old_bars=4, cue_bars=1)).value
    assert value["cue_frame"] == frames[8 + 4 - 1]
    assert value["take"] != updates[0].value["take"]


@pytest.mark.usefixtures("tones")
def test_a_piece_without_new_bars_can_be_shown(drafts, from_nothing, shelf):
    for piece in (drafts[0].truncated(0), from_nothing[0].truncated(0)):
        *_, last = show_piece(piece, shelf=shelf)
        assert last.complete


# -- With a real synthesizer ---------------------------------------------------------------------


@pytest.mark.fluidsynth
@pytest.mark.usefixtures("speaker")
def test_from_the_cue_on_it_is_one_synthesizer_without_a_seam(drafts, shelf):
    *_, last = stream_piece(drafts, shelf=shelf)
    sound = sound_of(last.value, shelf)
    heard = excerpt_of(drafts[-1])
    cue, end = heard.lines[6], heard.lines[-1]
    with StreamingRenderer(sample_rate_hz=RATE_HZ) as live:
        live.start_at(heard.score, cue)
        beats = cue + 2 * heard.score.ticks_per_quarter
        wanted = [live.play(heard.score, tick) for tick in (beats, end)]
        wanted.append(live.flush())
    after = sound[frame_of(heard.score, cue) :]
    assert np.abs(after - np.concatenate(wanted)).max() < 1e-4  # 16 bits


@pytest.mark.fluidsynth
@pytest.mark.usefixtures("speaker")
def test_what_lies_before_the_cue_is_as_loud_as_what_comes_after(drafts, shelf):
    *_, last = stream_piece(drafts, shelf=shelf, cue_bars=4)
    sound = sound_of(last.value, shelf)
    heard = excerpt_of(drafts[-1])
    with StreamingRenderer(
        sample_rate_hz=RATE_HZ
    ) as live:  # one to whom the cue is nothing special
        whole = live.play(heard.score, heard.lines[8])
    cue = frame_of(heard.score, heard.lines[4])
    factor = [
        np.square(sound[part]).sum() / np.square(whole[part]).sum()
        for part in (slice(RATE_HZ, cue), slice(cue + RATE_HZ, len(whole)))
    ]
    assert abs(10 * np.log10(factor[0] / factor[1])) < 0.5  # decibels


@pytest.mark.fluidsynth
@pytest.mark.usefixtures("speaker")
def test_what_is_muted_is_silent(tiny_composer, shelf):
    piano = Constraints(programs={0})
    piece = tiny_composer.compose(bars=2, constraints=piano, sampling=SAMPLING)
    first = next(show_piece(piece, shelf=shelf))
    *_, last = replay(piece, broadcast=first.broadcast, mix=Mix(muted=frozenset({0})))
    assert np.abs(sound_of(last.value, shelf)).max() < 1e-3
    *_, last = replay(piece, broadcast=last.broadcast, mix=Mix())
    assert np.abs(sound_of(last.value, shelf)).max() > 0.05
