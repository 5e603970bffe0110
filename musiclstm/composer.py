"""Where everything meets: a seed in, music that goes on out.

`Composer` joins intake, tokenizer, network, grammar and sampling; `Composition` is what it gives: a
score, and all that is needed to go on from it or to make it again. It renders nothing and draws
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
from symusic.core import (
    ControlChangeTick,
    ControlChangeTickList,
    KeySignatureTickList,
    NoteTickList,
    PedalTickList,
    PitchBendTick,
    PitchBendTickList,
    ScoreTick,
    TempoTick,
    TempoTickList,
    TimeSignatureTick,
    TimeSignatureTickList,
    TrackTick,
)

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
_PEDAL = 64

Prompt: TypeAlias = "str | Path | bytes | analysis.AnyScore"
_Events = TypeVar(
    "_Events",
    TempoTickList,
    TimeSignatureTickList,
    KeySignatureTickList,
    ControlChangeTickList,
    PitchBendTickList,
    PedalTickList,
)


@dataclass(frozen=True)
class Seed:
    """What a composition goes on from, ready to be read.

    Attributes:
        score: The music itself, in ticks that the grid divides.
        bars: How many bars it has.
        end_tick: The bar line where it ends and the new music begins.
    """

    score: ScoreTick
    bars: int
    end_tick: int


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
    state: Snapshot = field(repr=False, compare=False)
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
        new = _excerpt(self.score, self.seed_end_tick)
        for index in reversed(range(len(new.tracks))):
            if not len(new.tracks[index].notes):
                del new.tracks[index]
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

    def __init__(self, model: MusicLSTMForCausalLM, tokenizer: MusicTokenizer) -> None:
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
        prompt: Prompt | None = None,
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
        _check_bars("bars", bars)
        piece = self._begin(prompt, prompt_bars, sampling, constraints)
        return self._longer(piece, list(self._new_bars(piece, bars)))

    def stream(
        self,
        *,
        bars: int = 16,
        prompt: Prompt | None = None,
        prompt_bars: int | None = None,
        sampling: Sampling | None = None,
        constraints: Constraints | None = None,
    ) -> Iterator[Composition]:
        """`compose`, given bar by bar: the same piece, a bar longer each time."""
        _check_bars("bars", bars)
        return self._drafts(self._begin(prompt, prompt_bars, sampling, constraints), bars)

    def extend(
        self, piece: Composition, *, bars: int = 8, sampling: Sampling | None = None
    ) -> Composition:
        """Let a composition go on for so many more bars; nothing is read twice.

        Args:
            piece: What this composer made before; left unchanged.
            bars: New bars, 1 to 4096.
            sampling: How notes are chosen; None: as in `piece`, random seed included, which gives
                what a longer `compose` would have given.

        Raises:
            ValueError: bars out of range.
        """
        _check_bars("bars", bars)
        if sampling is not None:
            piece = replace(piece, sampling=sampling.with_seed())
        return self._longer(piece, list(self._new_bars(piece, bars)))

    # The steps of it.

    def _begin(
        self,
        prompt: Prompt | None,
        prompt_bars: int | None,
        sampling: Sampling | None,
        constraints: Constraints | None,
    ) -> Composition:
        """A composition that has read its seed and has no new bar yet."""
        grid_ticks = self.tokenizer.ticks_per_quarter
        seed = None if prompt is None else _read_seed(prompt, prompt_bars, grid_ticks)
        constraints = constraints or _as_the_seed(seed)
        return Composition(
            score=ScoreTick(grid_ticks) if seed is None else seed.score,
            bars=0,
            bar_tokens=(),
            state=self._network.read(self._ids(seed, self._stand_ins(seed, constraints))),
            sampling=(sampling or Sampling()).with_seed(),
            constraints=constraints,
            seed=seed,
        )

    def _new_bars(self, piece: Composition, bars: int) -> Iterator[Bar]:
        endless = compose_bars(
            self._network,
            self._grammar(piece),
            piece.sampling,
            piece.state,
            before=piece.bar_tokens,
        )
        return islice(endless, bars)

    def _drafts(self, piece: Composition, bars: int) -> Iterator[Composition]:
        new: list[Bar] = []
        for bar in self._new_bars(piece, bars):
            new.append(bar)
            yield self._longer(piece, new)

    def _longer(self, piece: Composition, new: Sequence[Bar]) -> Composition:
        tokens = piece.bar_tokens + tuple(bar.tokens for bar in new)
        return replace(
            piece,
            score=self._score(piece, tokens),
            bars=len(tokens),
            bar_tokens=tokens,
            state=new[-1].snapshot,
        )

    # What may be played.

    def _stand_ins(self, seed: Seed | None, constraints: Constraints) -> dict[int, int]:
        """Which trained program the network hears and plays for each one of the music."""
        asked = set(constraints.programs or ())
        if seed is not None:
            asked |= programs_of(seed.score)
        return relatives(asked, self.model.config.programs)

    def _grammar(self, piece: Composition) -> Grammar:
        constraints = self._in_trained_programs(piece)
        if constraints not in self._grammars:
            if len(self._grammars) >= 64:
                self._grammars.clear()
            self._grammars[constraints] = Grammar(self.tokenizer, constraints)
        return self._grammars[constraints]

    def _in_trained_programs(self, piece: Composition) -> Constraints:
        stand_ins = self._stand_ins(piece.seed, piece.constraints)
        asked, known = piece.constraints.programs, self.model.config.programs
        if asked is not None:
            return replace(piece.constraints, programs=frozenset(stand_ins[p] for p in asked))
        if known is not None:
            return replace(piece.constraints, programs=frozenset(known) | {*stand_ins.values()})
        return piece.constraints

    # From a seed to ids.

    def _ids(self, seed: Seed | None, stand_ins: dict[int, int]) -> list[int]:
        begin = [self.tokenizer.bos_id]
        if seed is None:
            return begin
        lines = analysis.bar_starts(seed.score, end_tick=seed.end_tick)
        bars = min(len(lines) - 1, CONTEXT_BARS)
        part = _excerpt(seed.score, int(lines[-1 - bars]), seed.end_tick)
        if not programs_of(part):
            return begin
        base_ids = self.tokenizer.encode_base(with_programs(part, stand_ins))
        meter = _ruling_meter(seed) or analysis.DEFAULT_METER
        return begin + self.tokenizer.compress(self.tokenizer.with_bars(base_ids, bars, meter))

    # From ids to a score.

    def _score(self, piece: Composition, bar_tokens: tuple[tuple[int, ...], ...]) -> ScoreTick:
        ids = [token for bar in bar_tokens for token in bar]
        stand_ins = self._stand_ins(piece.seed, piece.constraints)
        new = with_programs(self.tokenizer.decode(ids), _way_back(stand_ins))
        end = self.tokenizer.length_ticks(ids)
        for track in new.tracks:
            track.name = instrument_name(DRUMS if track.is_drum else track.program)
            track.notes = _never_struck_twice(_notes_within(track, 0, end))
        if piece.seed is not None:
            return _joined(piece.seed, new)
        if all(tempo.time > 0 for tempo in new.tempos):
            new.tempos.insert(0, TempoTick(0, analysis.DEFAULT_TEMPO_BPM))
        return new


# What the seed asks for ---------------------------------------------------------------------------


def _as_the_seed(seed: Seed | None) -> Constraints:
    """Its instruments, its last meter, and no change of tempo."""
    if seed is None:
        return Constraints()
    return Constraints(
        programs=frozenset(programs_of(seed.score)),
        meter=_ruling_meter(seed),
        tempo_changes=False,
    )


def _ruling_meter(seed: Seed) -> tuple[int, int] | None:
    """The meter in which the seed ends, as the tokens say it; None where they cannot."""
    meter = plain_meter(*analysis.meter_at(seed.score, seed.end_tick))
    return meter if knows_meter(*meter) else None


def _way_back(stand_ins: dict[int, int]) -> dict[int, int]:
    """From stand-ins to the programs of the music; who stands for itself stays itself."""
    back = {stand_in: program for program, stand_in in sorted(stand_ins.items())}
    return back | {program: program for program, s in stand_ins.items() if s == program}


def _check_bars(name: str, bars: int) -> None:
    if not isinstance(bars, Integral) or not 1 <= bars <= MAX_BARS:
        raise ValueError(
            f"{name} must be from 1 to {MAX_BARS}, got {bars}; only whole bars can be counted."
        )


# Reading a seed -----------------------------------------------------------------------------------


def _read_seed(prompt: Prompt, prompt_bars: int | None, grid_ticks: int) -> Seed:
    if prompt_bars is not None:
        _check_bars("prompt_bars", prompt_bars)
    score = _on_grid(_read_prompt(prompt), grid_ticks)
    lines = analysis.bar_starts(score)
    if prompt_bars is not None and prompt_bars < len(lines) - 1:
        lines = lines[: prompt_bars + 1]
        score = _first_bars(score, int(lines[-1]), prompt_bars)
    return Seed(score=score, bars=len(lines) - 1, end_tick=int(lines[-1]))


def _read_prompt(prompt: Prompt) -> ScoreTick:
    if isinstance(prompt, str | Path | bytes):
        return read_midi(prompt)[0]
    return check_score(prompt)[0]


def _on_grid(score: ScoreTick, grid_ticks: int) -> ScoreTick:
    """The score in ticks that the grid divides.

    Exact, except where a file counts so finely that a MIDI file could not say the product.
    """
    wanted = math.lcm(score.ticks_per_quarter, grid_ticks)
    return score if wanted > _MOST_TICKS else score.resample(wanted, min_dur=1)


def _first_bars(score: ScoreTick, end: int, bars: int) -> ScoreTick:
    """Everything before a bar line."""
    cut = score.copy()
    cut.tempos = _before(cut.tempos, end)
    cut.time_signatures = _before(cut.time_signatures, end)
    cut.key_signatures = _before(cut.key_signatures, end)
    cut.tracks = type(cut.tracks)(t for t in cut.tracks if len(_notes_within(t, 0, end)))
    if not len(cut.tracks):
        raise ScoreError(
            f"The prompt has notes, but none in its first {bars} bars; pass a larger prompt_bars "
            "or trim the silence."
        )
    for track in cut.tracks:
        track.notes = _notes_within(track, 0, end)
        track.controls = _before(track.controls, end)
        track.pitch_bends = _before(track.pitch_bends, end)
        track.pedals = _before(track.pedals, end)
    return cut


def _before(events: _Events, end: int) -> _Events:
    table = events.numpy()
    keep = table["time"] < end
    if "duration" in table:
        table["duration"] = np.minimum(table["duration"], end - table["time"])
    return type(events).from_numpy(*(values[keep] for values in table.values()))


def _excerpt(score: ScoreTick, start: int, end: int | None = None) -> ScoreTick:
    """Notes that begin in [start, end), cut off at the end, moved to 0, with what rules there."""
    part = ScoreTick(score.ticks_per_quarter)
    part.tempos.append(TempoTick(0, analysis.tempo_at(score, start)))
    for tempo in score.tempos:
        if start < tempo.time and (end is None or tempo.time < end):
            part.tempos.append(TempoTick(tempo.time - start, mspq=tempo.mspq))
    part.time_signatures.append(TimeSignatureTick(0, *analysis.meter_at(score, start)))
    for meter in score.time_signatures:
        if start < meter.time and (end is None or meter.time < end):
            moved = TimeSignatureTick(meter.time - start, meter.numerator, meter.denominator)
            part.time_signatures.append(moved)
    for track in score.tracks:
        copy = TrackTick(track.name, track.program, track.is_drum)
        copy.notes = _notes_within(track, start, end)
        part.tracks.append(copy)
    return part


def _notes_within(track: TrackTick, start: int, end: int | None) -> NoteTickList:
    notes = track.notes.numpy()
    time = notes["time"]
    chosen = (time >= start) & (True if end is None else time < end)
    picked = {name: values[chosen] for name, values in notes.items()}
    if end is not None:
        picked["duration"] = np.minimum(picked["duration"], end - picked["time"])
    picked["time"] = picked["time"] - start
    return NoteTickList.from_numpy(*picked.values())


# Joining seed and new music -----------------------------------------------------------------------


def _joined(seed: Seed, new: ScoreTick) -> ScoreTick:
    """The seed, and after its last bar line the new music, in the tracks that play it."""
    whole = seed.score.copy()
    scale, at = whole.ticks_per_quarter / new.ticks_per_quarter, seed.end_tick
    for track in whole.tracks:
        _let_go(track, at)
    for track in new.tracks:
        notes = track.notes.numpy()
        time = np.rint(notes["time"] * scale).astype(np.int32)
        end = np.rint((notes["time"] + notes["duration"]) * scale).astype(np.int32)
        notes["time"], notes["duration"] = time + at, np.maximum(end - time, 1)
        _hand_out(whole, track, notes)
    for tempo in new.tempos:
        whole.tempos.append(TempoTick(round(tempo.time * scale) + at, mspq=tempo.mspq))
    _go_on_in_meters(whole, new, at, scale)
    return whole


def _let_go(track: TrackTick, at: int) -> None:
    """Lift the pedal and straighten the pitch bend that a seed would leave behind."""
    pedal = [control.value for control in track.controls if control.number == _PEDAL]
    if pedal and pedal[-1]:
        track.controls.append(ControlChangeTick(at, _PEDAL, 0))
    if len(track.pitch_bends) and track.pitch_bends[-1].value:
        track.pitch_bends.append(PitchBendTick(at, 0))


def _go_on_in_meters(whole: ScoreTick, new: ScoreTick, at: int, scale: float) -> None:
    """Add the meters of the new music; what only says the ruling one in other words is left out."""
    ruling = plain_meter(*analysis.meter_at(whole, at))
    for meter in new.time_signatures:
        signature = (meter.numerator, meter.denominator)
        if signature != ruling:
            time = round(meter.time * scale) + at
            whole.time_signatures.append(TimeSignatureTick(time, *signature))
        ruling = signature


def _hand_out(whole: ScoreTick, source: TrackTick, notes: dict[str, np.ndarray]) -> None:
    """Give notes to the seed's tracks of that instrument, each to the one that plays nearest."""
    own = [
        track
        for track in whole.tracks
        if track.is_drum == source.is_drum and (source.is_drum or track.program == source.program)
    ]
    if not own:
        whole.tracks.append(TrackTick(source.name, source.program, source.is_drum))
        own = [whole.tracks[-1]]
    centres = np.array([_middle(track) for track in own])
    nearest = np.abs(notes["pitch"][:, None] - centres).argmin(axis=1)
    for index, track in enumerate(own):
        chosen = {name: values[nearest == index] for name, values in notes.items()}
        track.notes.extend(NoteTickList.from_numpy(*chosen.values()))


def _middle(track: TrackTick) -> float:
    """The pitch around which a track plays."""
    return float(np.median(track.notes.numpy()["pitch"])) if len(track.notes) else 60.0


def _never_struck_twice(notes: NoteTickList) -> NoteTickList:
    """A note ends where the same key is struck again; by time, then by pitch."""
    table = notes.numpy()
    order = np.lexsort((table["time"], table["pitch"]))
    time, pitch, duration = (table[name][order] for name in ("time", "pitch", "duration"))
    again = (pitch[1:] == pitch[:-1]) & (time[1:] > time[:-1])
    room = np.where(again, time[1:] - time[:-1], duration[:-1])
    duration[:-1] = np.minimum(duration[:-1], room)
    table["duration"][order] = duration
    by_time = np.lexsort((table["pitch"], table["time"]))
    return NoteTickList.from_numpy(*(values[by_time] for values in table.values()))
