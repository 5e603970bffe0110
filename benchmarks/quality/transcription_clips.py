"""Rendered test recordings with their true notes and beats, and what recordings suffer from."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from symusic.core import NoteTick, NoteTickList, ScoreTick, TempoTick, TrackTick

from benchmarks.common.held_out_pieces import read_split
from benchmarks.common.note_matching import ScoreNotes
from musiclstm import render
from musiclstm.audio import DEFAULT_REVERB, Audio
from musiclstm.midi import TempoMap, bar_starts, meter_at, slice_score

Samples = NDArray[np.float32]
Floats = NDArray[np.float64]

KINDS = ("piano", "rubato piano", "guitar", "song", "strings", "band", "pop mix", "one voice")
CONDITIONS = ("clean", "mp3", "room and noise", "detuned")
_RATE_HZ = 44_100
_MP3_LEVEL = 0.45  # of libsndfile: about 128 kbit/s for these clips
_NOISE_DB = -45.0
DETUNED_CENTS = -45.0
_ARTICULATION = 0.85

_PIANO, _GUITAR, _STRINGS = range(8), range(24, 32), range(40, 52)
_WHISTLE, _FLUTE, _CLARINET, _VOICE = 78, 73, 71, 53


@dataclass(frozen=True)
class Clip:
    """A score of some seconds that is rendered.

    Attributes:
        kind: One of `KINDS`.
        name: Name of the piece.
        score: Begins with a bar; its notes end with the clip.
    """

    kind: str
    name: str
    score: ScoreTick

    @property
    def notes(self) -> ScoreNotes:
        """Pitched notes by onset; times are in seconds in place of quarters."""
        tempo_map = TempoMap(self.score)
        columns = [(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))]
        for track in self.score.tracks:
            if not track.is_drum:
                notes = track.notes.numpy()
                start = tempo_map.seconds(notes["time"])
                end = tempo_map.seconds(notes["time"] + notes["duration"])
                columns.append((notes["pitch"].astype(np.int64), start, end - start))
        pitch, start, length = (np.concatenate(column) for column in zip(*columns, strict=True))
        order = np.lexsort((pitch, start))
        return ScoreNotes(pitch[order], start[order], length[order])

    @property
    def bars(self) -> Floats:
        """Times of the bar lines."""
        lines = bar_starts(self.score)
        return TempoMap(self.score).seconds(lines)

    @property
    def beats(self) -> Floats:
        """Times of the beats; those of 6/8, 9/8 and 12/8 are dotted."""
        ticks: list[int] = []
        for start, end in zip(bar_starts(self.score)[:-1], bar_starts(self.score)[1:], strict=True):
            numerator, denominator = meter_at(self.score, int(start))
            beat = 4 * self.score.ticks_per_quarter / denominator
            if denominator >= 8 and numerator % 3 == 0:
                beat *= 3
            ticks += np.arange(start, end - 1, max(1, round(beat))).tolist()
        return TempoMap(self.score).seconds(np.array(ticks))

    @property
    def meter(self) -> int:
        """Number of beats of the first bar."""
        lines = self.bars
        return int((self.beats < lines[1] - 1e-3).sum()) if len(lines) > 1 else 0


class _Choice(NamedTuple):
    kind: str
    score: ScoreTick


def read_clips(paths: Sequence[str | Path], split: str, *, each: int, seconds: float) -> list[Clip]:
    """Return clips of every kind that the pieces of a split give, in the order of `KINDS`.

    Args:
        paths: Folders, zips or MIDI files.
        split: train, valid or test.
        each: Most clips of a kind.
        seconds: Most seconds of a clip.
    """
    found: dict[str, list[Clip]] = {kind: [] for kind in KINDS}
    for source, score in read_split(paths, split):
        for choice in _choices(score):
            own = found[choice.kind]
            if len(own) < each:
                cut = _first_seconds(choice.score, seconds)
                if cut.note_num() >= 12:
                    own.append(Clip(choice.kind, source.name, cut))
        if all(len(own) == each for own in found.values()):
            break
    return [clip for own in found.values() for clip in own]


def _choices(score: ScoreTick) -> Iterator[_Choice]:
    """Yield the kinds of recordings that a piece can become."""
    tracks = [track for track in score.tracks if len(track.notes)]
    programs = {track.program for track in tracks if not track.is_drum}
    melody = tracks[0]
    if any(track.is_drum for track in tracks):
        yield _Choice("band", score)
    elif [track.name for track in tracks] == ["MELODY", "BRIDGE", "PIANO"]:
        yield _Choice("pop mix", _as_pop(score))
        yield _Choice("one voice", _one_voice(score, melody, _VOICE))
    elif programs <= set(_PIANO):
        yield _Choice("piano", score)
        yield _Choice("rubato piano", _with_rubato(score))
    elif programs <= set(_GUITAR):
        yield _Choice("guitar", score)
    elif programs <= set(_STRINGS) and len(tracks) > 1:
        yield _Choice("strings", score)
    elif len(programs) == 2 and 0 in programs:
        yield _Choice("song", score)
        program = (_WHISTLE, _FLUTE, _CLARINET)[score.note_num() % 3]
        yield _Choice("one voice", _one_voice(score, melody, program))


def _one_voice(score: ScoreTick, melody: TrackTick, program: int) -> ScoreTick:
    """Return the highest notes of a track, each of which ends before the next one.

    A note has 85 % of its length, as a player tongues or a singer articulates.
    """
    single = score.copy()
    track = TrackTick(melody.name, program, False)
    kept: list[NoteTick] = []
    for note in sorted(melody.notes, key=lambda note: (note.time, -note.pitch)):
        if kept and note.time == kept[-1].time:
            continue
        if kept and kept[-1].end > note.time:
            kept[-1] = NoteTick(
                kept[-1].time, note.time - kept[-1].time, kept[-1].pitch, kept[-1].velocity
            )
        kept.append(note.copy())
    track.notes = NoteTickList(
        NoteTick(note.time, max(1, round(_ARTICULATION * note.duration)), note.pitch, note.velocity)
        for note in kept
    )
    single.tracks = type(single.tracks)([track])
    return single


def _as_pop(score: ScoreTick) -> ScoreTick:
    """Return a pop arrangement with voice, guitar, piano and drums."""
    pop = score.copy()
    for track, program in zip(pop.tracks, (_VOICE, 25, 0), strict=True):
        track.program = program
    drums, tpq = TrackTick("Drums", 0, True), pop.ticks_per_quarter
    for number, tick in enumerate(range(0, pop.end(), tpq // 2)):
        drums.notes.append(NoteTick(tick, tpq // 4, 42, 50))
        if number % 2 == 0:
            drums.notes.append(NoteTick(tick, tpq // 4, 36 if number % 4 == 0 else 38, 70))
    pop.tracks.append(drums)
    return pop


def _with_rubato(score: ScoreTick) -> ScoreTick:
    """Return the score with a tempo that goes up and down by 12 % in four bars."""
    rubato, tpq = score.copy(), score.ticks_per_quarter
    base = TempoMap(score)
    tempos = []
    for number, tick in enumerate(range(0, score.end(), tpq)):
        span = base.seconds(np.array([tick, tick + tpq]))
        factor = 1 + 0.12 * np.sin(2 * np.pi * number / 16)
        tempos.append(TempoTick(tick, mspq=round((span[1] - span[0]) * 1e6 / factor)))
    rubato.tempos = type(rubato.tempos)(tempos)
    return rubato


def _first_seconds(score: ScoreTick, seconds: float) -> ScoreTick:
    """Return the score from the bar of its first note, at most so many seconds."""
    lines = bar_starts(score)
    first = min(int(track.notes.numpy()["time"].min()) for track in score.tracks)
    start = int(lines[np.searchsorted(lines, first, side="right") - 1])
    cut = slice_score(score, start, None)
    grid = np.arange(0, cut.end() + 1, max(1, cut.ticks_per_quarter // 12))
    end = int(grid[np.searchsorted(TempoMap(cut).seconds(grid), seconds, side="right") - 1])
    cut = slice_score(cut, 0, max(1, end))
    cut.tracks = type(cut.tracks)(track for track in cut.tracks if len(track.notes))
    return cut


# Sound --------------------------------------------------------------------------------------------


def recorded(clip: Clip, condition: str) -> Audio:
    """Render a clip under one of `CONDITIONS`."""
    reverb = 0.8 if condition == "room and noise" else DEFAULT_REVERB
    audio = render(clip.score, sample_rate_hz=_RATE_HZ, reverb=reverb, tail_s=1.0)
    return under_condition(audio, condition, seed=len(clip.name))


def under_condition(audio: Audio, condition: str, *, seed: int = 0) -> Audio:
    """Return the sound after what one of `CONDITIONS` does to it."""
    samples = audio.samples
    if condition == "mp3":
        samples = _through_mp3(samples)
    elif condition == "room and noise":
        noise = np.random.default_rng(seed).standard_normal(samples.shape).astype(np.float32)
        samples = samples + noise * np.float32(10 ** (_NOISE_DB / 20))
    elif condition == "detuned":
        ratio = 2 ** (-DETUNED_CENTS / 1200)
        samples = np.asarray(soxr.resample(samples, _RATE_HZ, _RATE_HZ * ratio), np.float32)
    return Audio(samples, audio.sample_rate_hz)


def time_factor(condition: str) -> float:
    """Return by how much a condition makes a clip longer."""
    return float(2 ** (-DETUNED_CENTS / 1200)) if condition == "detuned" else 1.0


def _through_mp3(samples: Samples) -> Samples:
    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", _RATE_HZ, 2, "MPEG_LAYER_III", format="MP3",
        compression_level=_MP3_LEVEL, bitrate_mode="CONSTANT",
    ) as sound:  # fmt: skip
        for start in range(0, len(samples), 16_384):
            sound.write(samples[start : start + 16_384])
    file.seek(0)
    return np.asarray(soundfile.read(file, dtype="float32", always_2d=True)[0], np.float32)
