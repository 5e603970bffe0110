// Positions in the piano roll: bars and ticks to pixels, keys to rows.

/** @import { Clock } from "./clock.js" */
/** @import { RollData } from "./types.d.ts" */

const MIN_KEYS = 24; // two octaves: a tune of three notes should not fill the height
const DRUM_ROW_PX = 10;
const MAX_DRUM_SHARE = 0.35; // of the height
const DRUM_LABEL_PX = 16;
const DEFAULT_BAR_TICKS = 1920;

/** Return the ticks of all bar lines, planned bars included. @param {Clock} clock @param {number} planned */
export function barLines(clock, planned) {
  const { count, bars, endTick } = clock;
  const bar = count > 0 ? endTick - bars[count - 1] : DEFAULT_BAR_TICKS;
  const missing = Math.max(0, planned - count);
  return [...bars, ...Array.from({ length: missing }, (_, i) => endTick + (i + 1) * bar)];
}

/** Return the right edge in ticks, at least 1. @param {Clock} clock @param {number} planned */
export function rollEnd(clock, planned) {
  return Math.max(1, barLines(clock, planned).at(-1) ?? 0);
}

/**
 * Return pixels per tick.
 * @param {{width: number, bars: number, endTick: number, zoom: number}} view zoom 1 shows all bars,
 *   0 gives each bar at least 26 pixels
 */
export function pixelsPerTick({ width, bars, endTick, zoom }) {
  const comfortable = Math.max(1, (26 * bars) / width);
  return (width * (zoom || comfortable)) / endTick;
}

/** Return a zoom between all bars and one bar in 480 pixels. @param {number} zoom @param {number} bars @param {number} width */
export function clampZoom(zoom, bars, width) {
  return Math.min(Math.max(1, zoom), Math.max(1, (480 * bars) / width));
}

/**
 * Return the smallest power of two of bars that is at least some pixels wide: phrases have 2, 4, 8
 * or 16 bars.
 * @param {number} px @param {number} barPx
 */
export function barStep(px, barPx) {
  let step = 1;
  while (step * barPx < px) step *= 2;
  return step;
}

/** Rows of keys above rows of drums. */
export class KeyRows {
  /** @param {RollData | null} roll @param {number} height pixels */
  constructor(roll, height) {
    const { key, instrument } = roll?.notes ?? { key: [], instrument: [] };
    this.height = height;
    this.isDrum = (roll?.instruments ?? []).map(({ program }) => program === -1);
    const drums = new Set(key.filter((_, i) => this.isDrum[instrument[i]]));
    const keys = key.filter((_, i) => !this.isDrum[instrument[i]]);
    this.drums = [...drums].sort((a, b) => b - a);
    const [low, high] = keyRange(keys, drums.size > 0);
    this.low = low;
    this.high = high;
    this.count = this.high - this.low + 1;
    const strip = Math.min(this.drums.length * DRUM_ROW_PX + 4, MAX_DRUM_SHARE * height);
    this.drumTop = height - (this.count ? (this.drums.length ? strip : 0) : height);
    this.keyBottom = this.drumTop - (this.drums.length && this.count ? DRUM_LABEL_PX : 0);
  }

  /** Return top and height of a note's row. @param {number} key @param {number} instrument */
  row(key, instrument) {
    if (this.isDrum[instrument]) {
      const height = (this.height - this.drumTop) / this.drums.length;
      return [this.drumTop + this.drums.indexOf(key) * height, height];
    }
    const height = this.keyBottom / this.count;
    return [this.keyBottom - (key - this.low + 1) * height, height];
  }

  /** Return the Cs to label: every one, or every other one where labels would touch. */
  octaves() {
    if (this.count < 1) return [];
    const step = (12 * this.keyBottom) / this.count >= 14 ? 12 : 24;
    const first = Math.ceil(this.low / step) * step;
    const length = Math.max(0, Math.floor((this.high - first) / step) + 1);
    return Array.from({ length }, (_, i) => first + i * step);
  }
}

/** Lowest and highest key to show. @param {number[]} keys @param {boolean} hasDrums @returns {[number, number]} */
function keyRange(keys, hasDrums) {
  if (!keys.length) return hasDrums ? [0, -1] : [48, 72];
  let low = keys.reduce((a, b) => Math.min(a, b)) - 1;
  const high = keys.reduce((a, b) => Math.max(a, b)) + 1;
  const missing = Math.max(0, MIN_KEYS - (high - low + 1));
  low = Math.max(0, low - Math.floor(missing / 2));
  return [low, Math.min(127, Math.max(high, low + MIN_KEYS - 1))];
}
