// A piece: a prompt and new bars. Pieces are immutable; undo is an earlier one.

import { readBar } from "./bar_notes.js";
import { instrumentName } from "./instruments.js";
import { keySignature } from "./keys.js";
import { rint, trimmed } from "./notes.js";
import { PEDAL, addPedal, pedalledTracks } from "./pedal.js";
import { GRID, TOKEN_METERS, normalMeter } from "./prompt.js";
import { meterAt } from "./timing.js";

/** @import { BarNote, Constraints, Part, ReadPrompt, Settings, TokenTable, WrittenBar } from "../engine/types.d.ts" */
/** @import { Prompt } from "./prompt.js" */
/** @import { Control, Note, Score, Track } from "./types.d.ts" */

const LEVELS = [[7, 100], [11, 127]]; // volume, expression: number and default
const EIGHTH = GRID / 2;
const BAR = 1; // kind of token
const DEFAULT_NOTES = 10; // per bar, of a prompt without notes
// Velocities of parts that the prompt does not have, as in generation/loudness.py.
const VELOCITY = { note: 80, drum: 90, downbeat: 8, beat: 4 };

/** @typedef {{bars: number, settings: Settings}} Step */
/** @typedef {{part: Part | null, track: (pitch: number) => Track, added: Note[]}} Player notes of a part in ticks of the grid */

/** Everything of a prompt that new bars need. */
export class Base {
  /** @param {Prompt} prompt @param {ReadPrompt} read @param {TokenTable} table */
  constructor(prompt, read, table) {
    this.prompt = prompt;
    this.ids = read.ids;
    this.state = read.state;
    this.table = table;
    this.parts = read.parts;
    this.constraints = read.constraints;
    this.firstMeter = table.kind.indexOf(2);
    this.pedalled = pedalledTracks(prompt.score, prompt.lines);
    /** Notes of the bars that the network reads. @type {BarNote[][]} */
    this.barNotes = barsOf(table, read.ids).map((tokens) => readBar(table, { tokens, logProbs: new Float32Array(tokens.length) }).notes);
  }

  /** Return what a request permits in each new bar. @param {Settings} settings @returns {Constraints} */
  constraintsFor({ meter, notesAtOnce, notesPerBar, keepLines }) {
    const own = this.constraints;
    const [numerator, denominator] = meter.split("/").map(Number);
    const requested = TOKEN_METERS.findIndex((each) => each.numerator === numerator && each.denominator === denominator);
    const [fewest, most] = notesPerBar ?? [0, null];
    return {
      ...own, meter: requested < 0 ? own.meter : this.firstMeter + requested, maxAtOnce: notesAtOnce || own.maxAtOnce, fewest, most, keepLines,
    };
  }

  /** Return settings that name only what differs from the prompt. @param {Settings} settings @returns {Settings} */
  relative(settings) {
    const own = this.meterOf(this.constraints.meter);
    const isOwn = own && settings.meter === `${own.numerator}/${own.denominator}`;
    const { notesAtOnce } = settings;
    return { ...settings, meter: isOwn ? "" : settings.meter, notesAtOnce: notesAtOnce === this.constraints.maxAtOnce ? 0 : notesAtOnce };
  }

  /** Return the name of a part: of its first track, else of its instrument. @param {Part} part */
  nameOf({ tracks, program, number }) {
    return this.prompt.score.tracks[tracks[0]]?.name || instrumentName(program) + (number ? ` (${number + 1})` : "");
  }

  /** Notes in one of the last bars that have any. */
  get notesPerBar() {
    const full = this.barNotes.filter((notes) => notes.length).slice(-8);
    return full.length ? full.reduce((sum, { length }) => sum + length, 0) / full.length : DEFAULT_NOTES;
  }

  /** Return the meter of a token; null without one. @param {number} token */
  meterOf(token) {
    return TOKEN_METERS[token - this.firstMeter] ?? null;
  }
}

/** Split ids at their Bar tokens; what precedes the first is left out. @param {TokenTable} table @param {Int32Array} ids @returns {Int32Array[]} */
function barsOf(table, ids) {
  const starts = [...ids.keys()].filter((i) => table.kind[ids[i]] === BAR);
  return starts.map((start, i) => ids.subarray(start, starts[i + 1]));
}

export class Piece {
  /** @param {Base} base @param {WrittenBar[]} bars @param {Step[]} steps @param {boolean} isEdited whether bars were written again, which recipes cannot say */
  constructor(base, bars = [], steps = [], isEdited = false) {
    this.base = base;
    this.isEdited = isEdited;
    this.bars = bars;
    this.steps = steps;
    /** @type {{score: Score, end: number} | null} */
    this.built = null;
  }

  /** State of the network after the last bar. */
  get state() {
    return this.bars.at(-1)?.state ?? this.base.state;
  }

  /** Return the piece with one more bar, which belongs to its last step. @param {WrittenBar} bar @param {Settings} settings @param {boolean} startsStep */
  withBar(bar, settings, startsStep) {
    const last = startsStep ? undefined : this.steps.at(-1);
    const steps = last ? [...this.steps.slice(0, -1), { ...last, bars: last.bars + 1 }] : [...this.steps, { bars: 1, settings }];
    return new Piece(this.base, [...this.bars, bar], steps, this.isEdited);
  }

  /** Return the piece with its first new bars only. @param {number} count */
  truncated(count) {
    const steps = [];
    let left = count;
    for (const step of this.steps) {
      if (left > 0) steps.push({ ...step, bars: Math.min(step.bars, left) });
      left -= step.bars;
    }
    return new Piece(this.base, this.bars.slice(0, count), steps, this.isEdited && count > 0);
  }

  /** Notes of each new bar. */
  get notes() {
    return this.bars.map((bar) => readBar(this.base.table, bar).notes);
  }

  /** Number of bars before the last step. */
  get beforeLastStep() {
    return this.bars.length - (this.steps.at(-1)?.bars ?? 0);
  }

  /** The whole score, and the tick of its last bar line. */
  get music() {
    this.built ??= build(this.base, this.bars, this.steps);
    return this.built;
  }
}

/** @param {Base} base @param {WrittenBar[]} bars @param {Step[]} steps */
function build(base, bars, steps) {
  const builder = new ScoreBuilder(base, bars.length > 0);
  const lines = [0]; // ticks of the grid from the first new bar on
  for (const bar of bars) {
    const { length, notes, meter } = readBar(base.table, bar);
    const line = lines[lines.length - 1];
    builder.addMeter(line, base.meterOf(meter));
    builder.addNotes(line, notes);
    lines.push(line + length);
  }
  builder.addKeys(steps, lines);
  return builder.finish(lines);
}

class ScoreBuilder {
  /** @param {Base} base @param {boolean} hasBars */
  constructor(base, hasBars) {
    const { score, end } = base.prompt;
    this.base = base;
    this.end = end;
    this.scale = score.ticksPerQuarter / GRID;
    this.score = {
      ...score, meters: [...score.meters], keys: [...score.keys], tracks: score.tracks.map((track) => ({ ...track, notes: [...track.notes], controls: [...track.controls] })),
    };
    if (hasBars) for (const { controls } of this.score.tracks) controls.push(...resets(controls, end));
    this.meter = normalMeter(meterAt(score, end));
    /** @type {Map<number, Player>} */
    this.players = new Map(); // by part
  }

  /** Return the tick of the score. @param {number} tick of the grid */
  tickAt(tick) {
    return this.end + rint(tick * this.scale);
  }

  /** @param {number} line @param {{numerator: number, denominator: number} | null} meter */
  addMeter(line, meter) {
    if (!meter) return;
    const changes = meter.numerator !== this.meter.numerator || meter.denominator !== this.meter.denominator;
    const tick = this.tickAt(line);
    if (changes) this.score.meters = [...this.score.meters.filter((each) => each.tick < tick), { tick, ...meter }];
    this.meter = meter;
  }

  /** @param {number} line @param {BarNote[]} notes */
  addNotes(line, notes) {
    for (const { program, number, tick, duration, pitch, logProb } of notes) {
      const { part, added } = this.player(program, number);
      const velocity = part ? part.velocities[Math.min(Math.floor(tick / EIGHTH), part.velocities.length - 1)] : this.accented(program, tick);
      added.push({ tick: line + tick, duration, pitch, velocity, sure: Math.round(100 * Math.min(1, Math.exp(logProb))) });
    }
  }

  /** Add the signatures of requested keys that differ from the one in force. @param {Step[]} steps @param {number[]} lines */
  addKeys(steps, lines) {
    let bar = 0;
    const starts = steps.map(({ bars }) => lines[(bar += bars) - bars]);
    const requested = steps.flatMap(({ settings }, i) => {
      const signature = keySignature(settings.key);
      return signature ? [{ line: starts[i], signature }] : [];
    });
    if (requested.length) this.score.keys = this.score.keys.filter(({ tick }) => tick < this.end);
    for (const { line, signature } of requested) {
      const last = this.score.keys.at(-1);
      if (last?.sharps === signature.sharps && last.isMinor === signature.isMinor) continue;
      this.score.keys.push({ tick: this.tickAt(line), ...signature });
    }
  }

  /** Return the velocity of a part that the prompt does not have. @param {number} program @param {number} tick in the bar */
  accented(program, tick) {
    const { numerator, denominator } = this.meter;
    const isCompound = denominator === 8 && numerator > 3 && numerator % 3 === 0;
    const beat = (isCompound ? 1.5 : 4 / denominator) * GRID;
    const accent = tick === 0 ? VELOCITY.downbeat : tick % beat === 0 ? VELOCITY.beat : 0;
    return (program < 0 ? VELOCITY.drum : VELOCITY.note) + accent;
  }

  /** Return who plays a part: of its tracks the one with the nearest median pitch. @param {number} program @param {number} number @returns {Player} */
  player(program, number) {
    const key = program * 8 + number;
    const known = this.players.get(key);
    if (known) return known;
    const part = this.base.parts.find((each) => each.program === program && each.number === number) ?? null;
    const own = part?.tracks.map((i) => this.score.tracks[i]) ?? [this.addTrack(program, number)];
    const medians = own.map(medianPitch);
    const track = (/** @type {number} */ pitch) => {
      const distances = medians.map((median) => Math.abs(pitch - median));
      return own[distances.indexOf(Math.min(...distances))];
    };
    /** @type {Player} */
    const player = { part, track, added: [] };
    this.players.set(key, player);
    return player;
  }

  /** @param {number} program @param {number} number @returns {Track} */
  addTrack(program, number) {
    const name = instrumentName(program) + (number ? ` (${number + 1})` : "");
    const track = { name, program: Math.max(0, program), isDrum: program < 0, notes: [], controls: [] };
    this.score.tracks.push(track);
    return track;
  }

  /** Give the tracks their new notes, which end at the last bar line and at the next onset of their pitch, and the pedal. @param {number[]} lines */
  finish(lines) {
    const end = lines[lines.length - 1];
    for (const { added, track } of this.players.values()) {
      for (const note of trimmed(added.map((each) => ({ ...each, duration: Math.min(each.duration, end - each.tick) })))) {
        const tick = this.tickAt(note.tick);
        track(note.pitch).notes.push({ ...note, tick, duration: Math.max(1, this.tickAt(note.tick + note.duration) - tick) });
      }
    }
    for (const { notes } of this.score.tracks) notes.sort((a, b) => a.tick - b.tick || a.pitch - b.pitch);
    const pedalled = this.base.pedalled.map((index) => this.score.tracks[index]);
    addPedal(pedalled, lines.map((line) => this.tickAt(line)), this.score.ticksPerQuarter);
    return { score: this.score, end: this.tickAt(end) };
  }
}

/** @param {Track} track */
function medianPitch({ notes }) {
  const pitches = notes.map(({ pitch }) => pitch).sort((a, b) => a - b);
  return pitches.length ? (pitches[(pitches.length - 1) >> 1] + pitches[pitches.length >> 1]) / 2 : 60;
}

/** Return events that release the pedal, centre the pitch bend and undo a fade-out. @param {Control[]} controls @param {number} tick @returns {Control[]} */
function resets(controls, tick) {
  /** @param {number} number */
  const values = (number) => controls.filter(({ status, first }) => status === 0xb0 && first === number).map(({ second }) => second);
  /** @type {Control[]} */
  const found = [];
  if (values(PEDAL).at(-1)) found.push({ tick, status: 0xb0, first: PEDAL, second: 0 });
  const bend = controls.findLast(({ status }) => status === 0xe0);
  if (bend && (bend.first || bend.second !== 64)) found.push({ tick, status: 0xe0, first: 0, second: 64 });
  for (const [number, level] of LEVELS) {
    const first = controls.find((control) => control.status === 0xb0 && control.first === number);
    const levels = [...(first && first.tick > 0 ? [level] : []), ...values(number)];
    const highest = Math.max(0, ...levels);
    if (levels.length && levels[levels.length - 1] < highest / 2) found.push({ tick, status: 0xb0, first: number, second: highest });
  }
  return found;
}
