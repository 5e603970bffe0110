// Whether the notes of a score follow its beats; as in midi/beats.py, which explains the numbers.

import { rint } from "./notes.js";

/** @import { Score } from "./types.d.ts" */

const SUBDIVISIONS = [0, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 1]; // of a quarter note
const TOLERANCE = 1 / 24;
const CHANCE = 0.5;
const MAX_EXCESS = 0.25;
const MIN_ONSETS = 24;
const EXACT_TICKS = 192;

/** Return whether the notes do not follow the beats of the file, as in a free recording. @param {Score} score with the ticks of its file */
export function isPerformed({ ticksPerQuarter, tracks }) {
  const onsets = [...new Set(tracks.flatMap(({ notes }) => notes.map(({ tick }) => tick)))];
  /** @param {(onset: number) => boolean} test */
  const share = (test) => onsets.filter(test).length / onsets.length;
  if (onsets.length < MIN_ONSETS) return false;
  const near = share((onset) => SUBDIVISIONS.some((at) => Math.abs(((onset / ticksPerQuarter) % 1) - at) < TOLERANCE));
  if ((near - CHANCE) / (1 - CHANCE) > MAX_EXCESS) return false;
  /** Distance from a 32nd or a sixteenth triplet in quarter notes. @param {number} onset */
  const distance = (onset) => Math.min(...[24, 32].map((steps) => Math.abs((onset * steps) / ticksPerQuarter - rint((onset * steps) / ticksPerQuarter)) / steps));
  return ticksPerQuarter < EXACT_TICKS || share((onset) => distance(onset) <= 0.5 / ticksPerQuarter) < 0.5;
}
