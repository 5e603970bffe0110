"""Where everything meets: a seed in, music that goes on out.

`Composer` joins intake, tokenizer, network, grammar and sampling; `Composition` is what it gives: a
score, and all that is needed to go on from it or to make it again. It renders nothing and draws
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from symusic import Note, Score, Tempo, TimeSignature
from symusic.core import NoteTickList, ScoreTick, TrackTick

from musiclstm import analysis
from musiclstm.checkpoint import DEFAULT, load_checkpoint
from musiclstm.decoding import PackedLSTM, Snapshot
from musiclstm.errors import ScoreError
from musiclstm.generation import Bar, compose_bars
from musiclstm.grammar import Constraints, Grammar
from musiclstm.instruments import instrument_name
from musiclstm.intake import check_score, read_midi
from musiclstm.modeling import MusicLSTMForCausalLM
from musiclstm.sampling import Sampling
from musiclstm.tokenization import (
    DRUMS,
    MusicTokenizer,
    knows_meter,
    plain_meter,
    programs_of,
    relatives,
    with_programs,
)

CONTEXT_BARS = 64  # of a long seed, only so many are read: what came before is long forgotten
MAX_BARS = 4_096
_MOST_TICKS = 32_767  # per quarter note: what a MIDI file can say


@dataclass(frozen=True)
class Seed:
    """What a composition goes on from, ready to be read.

    Attributes:
        score: The music itself, in ticks that the grid divides.
        bars: How many bars it has.
        end_tick: The bar line where it ends and the new music begins.
        programs: Which trained program stands in for each of its programs.
    """

    score: ScoreTick
    bars: int
    end_tick: int
    programs: dict[int, int]


@dataclass(frozen=True)
class Composition:
    """A piece, and everything needed to explain it, go on from it, or make it again.

    Attributes:
        score: The seed followed by the new bars, in ticks.
        bars: New bars, without the seed.
        bar_tokens: Ids of every new bar.
        state: Where the network stands at the end.
        sampling: How notes were chosen; the seed of the random numbers is always set.
        constraints: What the music kept to.
        seed: What it goes on from; None: from nothing.
    """

    score: ScoreTick
    bars: int
    bar_tokens: tuple[tuple[int, ...], ...] = field(repr=False)
    state: Snapshot = field(repr=False)
    sampling: Sampling
    constraints: Constraints
    seed: Seed | None = field(repr=False, default=None)

    @property
    def tokens(self) -> tuple[int, ...]:
        """Ids of all new bars."""
        return tuple(token for bar in self.bar_tokens for token in bar)

    @property
    def seed_bars(self) -> int:
        """Bars of the seed; 0 without one."""
        return self.seed.bars if self.seed else 0

    @property
    def seed_end_tick(self) -> int:
        """Where the new music begins in `score`; 0 without a seed."""
        return self.seed.end_tick if self.seed else 0

    @property
    def continuation(self) -> ScoreTick:
        """Only the new bars, beginning at tick 0, with the tempo and meter that rule there."""
        start = self.seed_end_tick
        meter, tempo = (
            analysis.meter_at(self.score, start),
            analysis.tempo_at(self.score, start),
        )
        new = self.score.copy()
        for track in new.tracks:
            track.notes = _notes_from(track, start)
            track.controls.clear()
            track.pitch_bends.clear()
            track.pedals.clear()
        new.tracks = [track for track in new.tracks if len(track.notes)]
        new.key_signatures.clear()
        new.tempos = [Tempo(0, tempo)] + [
            Tempo(t.time - start, mspq=t.mspq) for t in self.score.tempos if t.time > start
        ]
        new.time_signatures = [TimeSignature(0, *meter)] + [
            TimeSignature(s.time - start, s.numerator, s.denominator)
            for s in self.score.time_signatures
            if s.time > start
        ]
        return new

    def to_midi(self, *, only_new: bool = False) -> bytes:
        """The piece as a MIDI file; `only_new` leaves the seed out."""
        return bytes((self.continuation if only_new else self.score).dumps_midi())

    def save_midi(self, path: str | Path, *, only_new: bool = False) -> Path:
        """Write `to_midi` into a file and return its path."""
        path = Path(path)
        path.write_bytes(self.to_midi(only_new=only_new))
        return path


class Composer:
    """Goes on from your music, or begins some.

    Holds no state of any piece, so any number of listeners can share one.
    """

    def __init__(self, model: MusicLSTMForCausalLM, tokenizer: MusicTokenizer):
        """Take a model and its tokenizer; `from_pretrained` is the usual way."""
        self.model, self.tokenizer = model, tokenizer
        self._network = PackedLSTM(model)
        self._grammars: dict[Constraints, Grammar] = {}

    @classmethod
    def from_pretrained(
        cls, name: str | Path = DEFAULT, *, revision: str | None = None
    ) -> Composer:
        """Load weights and tokenizer by one name.

        Args:
            name: "default" for the bundled weights, a checkpoint folder, or a Hub id.
            revision: Branch, tag or commit on the Hub; None: its main branch.

        Raises:
            CheckpointError: Something is missing, unreadable, or does not belong together.
        """
        return cls(*load_checkpoint(name, revision=revision))

    def compose(
        self,
        *,
        bars: int = 16,
        prompt: str | Path | bytes | Score | None = None,
        prompt_bars: int | None = None,
        sampling: Sampling | None = None,
        constraints: Constraints | None = None,
    ) -> Composition:
        """Go on from a prompt for exactly so many bars, or begin a new piece.

        Args:
            bars: New bars, 1 to 4096.
            prompt: A MIDI file, its bytes, or a score; None: start from nothing.
            prompt_bars: Use only the first so many bars of the prompt; None: all.
            sampling: How notes are chosen; None: the defaults.
            constraints: What the music keeps to. None: the meter, tempo and instruments of the
                prompt.

        Raises:
            ScoreError: The prompt cannot be read or has no notes where it is used.
            ValueError: bars or prompt_bars out of range.
        """
        pieces = self.stream(
            bars=bars,
            prompt=prompt,
            prompt_bars=prompt_bars,
            sampling=sampling,
            constraints=constraints,
        )
        return _last(pieces)

    def stream(
        self,
        *,
        bars: int = 16,
        prompt: str | Path | bytes | Score | None = None,
        prompt_bars: int | None = None,
        sampling: Sampling | None = None,
        constraints: Constraints | None = None,
    ) -> Iterator[Composition]:
        """`compose`, given bar by bar: the same piece, a bar longer each time."""
        _check_bars("bars", bars)
        seed = None if prompt is None else self._seed(prompt, prompt_bars)
        snapshot = self._network.read(self._ids(seed))
        constraints = constraints or self._as_the_seed(seed)
        sampling = (sampling or Sampling()).with_seed()
        return self._go_on(seed, (), snapshot, sampling, constraints, bars)

    def extend(
        self, piece: Composition, *, bars: int = 8, sampling: Sampling | None = None
    ) -> Composition:
        """Let a composition go on for so many more bars; nothing is read twice.

        Args:
            piece: What this composer made before; left unchanged.
            bars: New bars, 1 to 4096.
            sampling: How notes are chosen; None: as in `piece`, random seed included, which gives
                what a longer `compose` would have given.
        """
        _check_bars("bars", bars)
        sampling = (sampling or piece.sampling).with_seed()
        pieces = self._go_on(
            piece.seed, piece.bar_tokens, piece.state, sampling, piece.constraints, bars
        )
        return _last(pieces)

    def _go_on(
        self,
        seed: Seed | None,
        before: tuple[tuple[int, ...], ...],
        snapshot: Snapshot,
        sampling: Sampling,
        constraints: Constraints,
        bars: int,
    ) -> Iterator[Composition]:
        new: list[Bar] = []
        last_bar = before[-1] if before else ()
        for bar in compose_bars(
            self._network,
            self._grammar(constraints),
            sampling,
            snapshot,
            last_bar=last_bar,
            first=len(before),
        ):
            new.append(bar)
            tokens = before + tuple(b.tokens for b in new)
            yield Composition(
                score=self._score(seed, tokens),
                bars=len(tokens),
                bar_tokens=tokens,
                state=bar.snapshot,
                sampling=sampling,
                constraints=constraints,
                seed=seed,
            )
            if len(new) == bars:
                return

    def _grammar(self, constraints: Constraints) -> Grammar:
        if constraints not in self._grammars:
            if len(self._grammars) >= 64:
                self._grammars.clear()
            self._grammars[constraints] = Grammar(self.tokenizer, constraints)
        return self._grammars[constraints]

    # From a seed to ids.

    def _seed(self, prompt: str | Path | bytes | Score, prompt_bars: int | None) -> Seed:
        score = _read_prompt(prompt)
        lines = analysis.bar_starts(score)
        if prompt_bars is not None:
            _check_bars("prompt_bars", prompt_bars)
            lines = lines[: prompt_bars + 1]
            score = _first_bars(score, int(lines[-1]), prompt_bars)
        score, factor = _on_grid(score, self.tokenizer.ticks_per_quarter)
        return Seed(
            score=score,
            bars=len(lines) - 1,
            end_tick=int(lines[-1]) * factor,
            programs=relatives(programs_of(score), self.model.config.programs),
        )

    def _ids(self, seed: Seed | None) -> list[int]:
        begin = [self.tokenizer.bos_id]
        if seed is None:
            return begin
        lines = analysis.bar_starts(seed.score, end_tick=seed.end_tick)
        bars = min(len(lines) - 1, CONTEXT_BARS)
        part = _excerpt(seed.score, int(lines[-1 - bars]), seed.end_tick)
        if not any(len(track.notes) for track in part.tracks):
            return begin
        base_ids = self.tokenizer.encode_base(with_programs(part, seed.programs))
        meter = _ruling_meter(seed) or analysis.DEFAULT_METER
        return begin + self.tokenizer.compress(self.tokenizer.with_bars(base_ids, bars, meter))

    def _as_the_seed(self, seed: Seed | None) -> Constraints:
        known = self.model.config.programs
        if seed is None:
            return Constraints(programs=None if known is None else frozenset(known))
        return Constraints(
            programs=frozenset(seed.programs.values()),
            meter=_ruling_meter(seed),
            tempo_changes=False,
        )

    # From ids to a score.

    def _score(self, seed: Seed | None, bar_tokens: tuple[tuple[int, ...], ...]) -> ScoreTick:
        ids = [token for bar in bar_tokens for token in bar]
        new = self.tokenizer.decode(ids)
        _cut_off(new, self.tokenizer.length_ticks(ids))
        if seed is None:
            if not len(new.tempos):
                new.tempos.append(Tempo(0, analysis.DEFAULT_TEMPO_BPM))
            for track in new.tracks:
                track.notes = _never_struck_twice(track.notes)
            return new
        back = {stand_in: program for program, stand_in in sorted(seed.programs.items())}
        return _joined(seed, with_programs(new, back))


def _ruling_meter(seed: Seed) -> tuple[int, int] | None:
    """The meter in which the seed ends, as the tokens say it; None where they cannot."""
    meter = plain_meter(*analysis.meter_at(seed.score, seed.end_tick))
    return meter if knows_meter(*meter) else None


def _check_bars(name: str, bars: int) -> None:
    if not 1 <= bars <= MAX_BARS:
        raise ValueError(f"{name} must be from 1 to {MAX_BARS}, got {bars}.")


def _last(pieces: Iterator[Composition]) -> Composition:
    piece = next(pieces)
    for piece in pieces:  # noqa: B007  (only the last one is wanted)
        pass
    return piece


def _read_prompt(prompt: str | Path | bytes | Score) -> ScoreTick:
    if isinstance(prompt, str | Path | bytes):
        return read_midi(prompt)[0]
    return check_score(prompt)[0]


def _first_bars(score: ScoreTick, end_tick: int, bars: int) -> ScoreTick:
    cut = _excerpt(score, 0, end_tick)
    if not any(len(track.notes) for track in cut.tracks):
        raise ScoreError(
            f"The prompt has notes, but none in its first {bars} bars; pass a larger prompt_bars "
            "or trim the silence."
        )
    return cut


def _excerpt(score: ScoreTick, start: int, end: int) -> ScoreTick:
    """Notes that begin in [start, end), cut off at the end, moved to 0, with what rules there."""
    part = ScoreTick(score.ticks_per_quarter)
    part.tempos = [Tempo(0, analysis.tempo_at(score, start))] + [
        Tempo(t.time - start, mspq=t.mspq) for t in score.tempos if start < t.time < end
    ]
    part.time_signatures = [TimeSignature(0, *analysis.meter_at(score, start))] + [
        TimeSignature(s.time - start, s.numerator, s.denominator)
        for s in score.time_signatures
        if start < s.time < end
    ]
    for track in score.tracks:
        copy = TrackTick(track.name, track.program, track.is_drum)
        copy.notes = _notes_from(track, start, end)
        part.tracks.append(copy)
    return part


def _notes_from(track: TrackTick, start: int, end: int | None = None) -> NoteTickList:
    notes = track.notes.numpy()
    time = notes["time"]
    chosen = (time >= start) & (time < end if end is not None else True)
    picked = {name: values[chosen] for name, values in notes.items()}
    if end is not None:
        picked["duration"] = np.minimum(picked["duration"], end - picked["time"])
    picked["time"] = picked["time"] - start
    return Note.from_numpy(**picked)


def _on_grid(score: ScoreTick, grid_ticks: int) -> tuple[ScoreTick, int]:
    """The score in ticks that the grid divides, and by what its times were multiplied.

    Exact, except where a file counts so finely that a MIDI file could not say the product.
    """
    tpq = score.ticks_per_quarter
    wanted = math.lcm(tpq, grid_ticks)
    if wanted > _MOST_TICKS:
        return score, 1
    return score.resample(wanted, min_dur=1), wanted // tpq


def _cut_off(score: ScoreTick, end: int) -> None:
    """Let nothing sound beyond the last bar line."""
    for track in score.tracks:
        track.notes = _notes_from(track, 0, end)


def _joined(seed: Seed, new: ScoreTick) -> ScoreTick:
    """The seed, and after its last bar line the new music, in the tracks that play it."""
    whole = seed.score.copy()
    scale = whole.ticks_per_quarter / new.ticks_per_quarter
    at = seed.end_tick
    for track in new.tracks:
        notes = track.notes.numpy()
        notes["time"] = np.rint(notes["time"] * scale).astype(np.int32) + at
        notes["duration"] = np.maximum(np.rint(notes["duration"] * scale), 1).astype(np.int32)
        _hand_out(whole, track, notes)
    for tempo in new.tempos:
        whole.tempos.append(Tempo(round(tempo.time * scale) + at, mspq=tempo.mspq))
    ruling = plain_meter(*analysis.meter_at(whole, at))
    for meter in new.time_signatures:
        if (meter.numerator, meter.denominator) != ruling:
            time = round(meter.time * scale) + at
            whole.time_signatures.append(
                TimeSignature(time, meter.numerator, meter.denominator)
            )
        ruling = (meter.numerator, meter.denominator)
    for track in whole.tracks:
        track.notes = _never_struck_twice(track.notes)
    return whole


def _hand_out(whole: ScoreTick, source: TrackTick, notes: dict[str, np.ndarray]) -> None:
    """Give notes to the seed's tracks of that instrument, each to the one that plays nearest."""
    own = [
        track
        for track in whole.tracks
        if track.is_drum == source.is_drum and (source.is_drum or track.program == source.program)
    ]
    if not own:
        name = instrument_name(DRUMS if source.is_drum else source.program)
        whole.tracks.append(TrackTick(name, source.program, source.is_drum))
        own = [whole.tracks[-1]]
    centres = np.array([np.median(track.notes.numpy()["pitch"] if len(track.notes) else [60])
                        for track in own])
    nearest = np.abs(notes["pitch"][:, None] - centres).argmin(axis=1)
    for index, track in enumerate(own):
        chosen = {name: values[nearest == index] for name, values in notes.items()}
        track.notes.extend(Note.from_numpy(**chosen))


def _never_struck_twice(notes: NoteTickList) -> NoteTickList:
    """A note ends where the same key is struck again."""
    table = notes.numpy()
    order = np.lexsort((table["time"], table["pitch"]))
    time, pitch, duration = (table[name][order] for name in ("time", "pitch", "duration"))
    same = pitch[1:] == pitch[:-1]
    room = np.where(same & (time[1:] > time[:-1]), time[1:] - time[:-1], duration[:-1])
    duration[:-1] = np.minimum(duration[:-1], room)
    table["duration"][order] = duration
    result = Note.from_numpy(**table)
    result.sort(key=lambda note: (note.time, note.pitch), inplace=True)
    return result
