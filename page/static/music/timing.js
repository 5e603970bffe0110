// Bar lines, meters, and the conversion of ticks to seconds.

/** @import { Score } from "./types.d.ts" */

const DEFAULT_MSPQ = 500_000;

/** Return the tick at which the last note ends. @param {Score} score */
export function lastNoteEnd(score) {
  let end = 0;
  for (const { notes } of score.tracks) {
    for (const { tick, duration } of notes) end = Math.max(end, tick + duration);
  }
  return end;
}

/** Return a tick of the last bar or at its end: notes held a little beyond a bar line add no bar. @param {Score} score */
function lastBarTick({ ticksPerQuarter, tracks }) {
  const slack = Math.floor(ticksPerQuarter / 24);
  let end = 0;
  for (const { notes } of tracks) {
    for (const { tick, duration } of notes) end = Math.max(end, tick + 1, tick + duration - slack);
  }
  return end;
}

/**
 * Return the ticks of all bar lines from 0 to the first one at or after the end, as `bar_starts` of
 * midi/analysis.py: a bar begins at every time signature.
 * @param {Score} score @param {number} end
 */
export function barLines(score, end = lastBarTick(score)) {
  const changes = meterChanges(score);
  const lines = [];
  for (let i = 0; i < changes.length; i++) {
    const { tick, numerator, denominator } = changes[i];
    const length = Math.max(4 * score.ticksPerQuarter * numerator, denominator);
    const latest = (changes[i + 1]?.tick ?? Infinity) - slack(score);
    for (let bar = 0; ; bar++) {
      const line = tick + Math.floor((bar * length) / denominator);
      if (bar && line > latest) break;
      lines.push(line);
      if (line >= end) return lines;
    }
  }
  return lines;
}

/** Half of the longest position of the tokens, in ticks, and at least 1. @param {Pick<Score, "ticksPerQuarter">} score */
const slack = ({ ticksPerQuarter }) => Math.max(1, Math.floor(ticksPerQuarter / 24));

/**
 * Return the time signatures that begin a bar, the first at tick 0; one that repeats the meter on a
 * bar line is left out.
 * @param {Pick<Score, "meters" | "ticksPerQuarter">} score
 */
export function meterChanges(score) {
  const sorted = [{ tick: 0, numerator: 4, denominator: 4 }, ...score.meters];
  const last = sorted.filter(({ tick }, i) => sorted[i + 1]?.tick !== tick);
  const found = last.slice(0, 1);
  for (const meter of last.slice(1)) {
    const { tick, numerator, denominator } = found[found.length - 1];
    const isEqual = meter.numerator === numerator && meter.denominator === denominator;
    const length = Math.max(4 * score.ticksPerQuarter * numerator, denominator);
    const rest = ((meter.tick - tick) * denominator) % length;
    const isOnLine = Math.min(rest, length - rest) < slack(score) * denominator;
    if (!isEqual || !isOnLine) found.push(meter);
  }
  return found;
}

/** Return the ticks of all beats up to the last line. @param {Score} score @param {number[]} lines of bars */
export function beatsOf(score, lines) {
  const changes = meterChanges(score);
  let at = 0;
  return lines.slice(0, -1).flatMap((line, i) => {
    while (changes[at + 1]?.tick <= line) at++;
    const { numerator, denominator } = changes[at];
    const isCompound = denominator === 8 && numerator > 3 && numerator % 3 === 0;
    const beat = ((isCompound ? 3 : 1) * 4 * score.ticksPerQuarter) / denominator;
    const count = Math.ceil((lines[i + 1] - line) / beat - 1e-9);
    return Array.from({ length: count }, (_, k) => line + Math.floor(k * beat));
  });
}

/** Return the meter in force at a tick. @param {Score} score @param {number} tick */
export function meterAt(score, tick) {
  const { numerator, denominator } = meterChanges(score).filter((each) => each.tick <= tick).at(-1) ?? {
    numerator: 4, denominator: 4,
  };
  return { numerator, denominator };
}

/** Return the tempo in force at a tick, in microseconds per quarter. @param {Score} score @param {number} tick */
export function tempoAt({ tempos }, tick) {
  return tempos.filter((each) => each.tick <= tick).at(-1)?.mspq ?? DEFAULT_MSPQ;
}

/** Converts ticks to seconds. */
export class TempoMap {
  /** @param {Score} score */
  constructor({ tempos, ticksPerQuarter }) {
    this.ticks = [0];
    this.seconds = [0];
    this.perTick = [DEFAULT_MSPQ / 1e6 / ticksPerQuarter];
    for (const { tick, mspq } of tempos) {
      const second = this.secondsAt(tick);
      if (tick > (this.ticks.at(-1) ?? 0)) {
        this.ticks.push(tick);
        this.seconds.push(second);
        this.perTick.push(0);
      }
      this.perTick[this.perTick.length - 1] = mspq / 1e6 / ticksPerQuarter;
    }
  }

  /** @param {number} tick */
  secondsAt(tick) {
    let low = 0;
    let high = this.ticks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.ticks[middle] <= tick) low = middle;
      else high = middle - 1;
    }
    return this.seconds[low] + (tick - this.ticks[low]) * this.perTick[low];
  }
}
