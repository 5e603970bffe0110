// A prompt: a score, its bars and its key. The core reads the rest of it.

import { isPerformed } from "./beats.js";
import { estimateKey } from "./keys.js";
import { barLines } from "./timing.js";

/** @import { Score } from "./types.d.ts" */

export const GRID = 48; // ticks per quarter of decoded scores
const CONTEXT_BARS = 64; // as in core.h

const MAX_TICKS_PER_QUARTER = 32_767;
const METERS = new Map([
  [4, Array.from({ length: 12 }, (_, i) => i + 1)],
  [8, Array.from({ length: 16 }, (_, i) => i + 1)],
  [16, [3, 5, 7, 9, 11, 13, 15]],
]);

/** Meters that have a token, in order of their ids. */
export const TOKEN_METERS = [...METERS].flatMap(([denominator, numerators]) =>
  numerators.map((numerator) => ({ numerator, denominator })),
);

/** Return a meter of the same length that may have a token. @param {{numerator: number, denominator: number}} meter */
export function normalMeter({ numerator, denominator }) {
  while (denominator < 4) [numerator, denominator] = [2 * numerator, 2 * denominator];
  while (denominator > 8 && numerator % 2 === 0) [numerator, denominator] = [numerator / 2, denominator / 2];
  return { numerator, denominator };
}

export class Prompt {
  /** @param {Score} score @param {{name: string, source: string, repairs?: string[]}} from `source`: its name in recipes */
  constructor(score, { name, source, repairs = [] }) {
    this.name = name;
    this.source = source;
    this.repairs = repairs; // of the file, one clause each
    this.performed = isPerformed(score);
    this.score = onGrid(score);
    this.lines = barLines(this.score);
    this.bars = this.lines.length - 1;
    this.end = this.lines[this.bars];
    this.key = estimateKey(this.score);
  }

  /** Number of bars that the network reads. */
  get contextBars() {
    return Math.min(this.bars, CONTEXT_BARS);
  }
}

/** Return the score in a multiple of the grid's ticks; no note moves. @param {Score} score @returns {Score} */
function onGrid(score) {
  const wanted = (score.ticksPerQuarter * GRID) / divisor(score.ticksPerQuarter, GRID);
  if (wanted > MAX_TICKS_PER_QUARTER) return score;
  const factor = wanted / score.ticksPerQuarter;
  /** @template {{tick: number}} T @param {T[]} events */
  const moved = (events) => events.map((event) => ({ ...event, tick: event.tick * factor }));
  return {
    ticksPerQuarter: wanted,
    tempos: moved(score.tempos),
    meters: moved(score.meters),
    keys: moved(score.keys),
    tracks: score.tracks.map((track) => ({
      ...track,
      controls: moved(track.controls),
      notes: moved(track.notes).map((note) => ({ ...note, duration: note.duration * factor })),
    })),
  };
}

/** @param {number} a @param {number} b */
function divisor(a, b) {
  while (b) [a, b] = [b, a % b];
  return a;
}
