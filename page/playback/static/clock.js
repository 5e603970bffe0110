// Bars, ticks and seconds of a piano roll.

/** @import { RollData } from "./types.d.ts" */

/**
 * Interpolate linearly between two ascending columns, and extrapolate beyond their ends.
 * @param {number[]} from @param {number[]} to @param {number} value
 */
export function interpolate(from, to, value) {
  let i = 1;
  while (i < from.length - 1 && from[i] <= value) i++;
  if (from.length < 2) return (to[0] ?? 0) + (value - (from[0] ?? 0));
  const share = (value - from[i - 1]) / (from[i] - from[i - 1]);
  return to[i - 1] + share * (to[i] - to[i - 1]);
}

export class Clock {
  /** @param {Pick<RollData, "bars" | "clock">} roll */
  constructor(roll) {
    this.bars = roll.bars.ticks; // of the bar lines; one more than bars
    const seconds = new Map(roll.clock.ticks.map((tick, i) => [tick, roll.clock.seconds[i]]));
    this.bars.forEach((tick, i) => seconds.set(tick, roll.bars.seconds[i]));
    const points = [...seconds].sort((a, b) => a[0] - b[0]);
    this.ticks = points.map(([tick]) => tick);
    this.seconds = points.map(([, second]) => second);
    this.indexes = this.bars.map((_, i) => i);
  }

  /** Number of bars. */
  get count() {
    return this.bars.length - 1;
  }

  get endTick() {
    return this.bars[this.count];
  }

  /** @param {number} tick */
  secondsAt(tick) {
    return interpolate(this.ticks, this.seconds, tick);
  }

  /** @param {number} seconds */
  tickAt(seconds) {
    return interpolate(this.seconds, this.ticks, seconds);
  }

  /** Return the bar at a tick, counted from 0, with the elapsed share of it. @param {number} tick */
  barAt(tick) {
    if (this.count < 1) return 0;
    return Math.min(Math.max(0, interpolate(this.bars, this.indexes, tick)), this.count - 1e-9);
  }

  /** Return the tick of a bar with a share. @param {number} bar */
  tickOfBar(bar) {
    return interpolate(this.indexes, this.bars, bar);
  }
}
