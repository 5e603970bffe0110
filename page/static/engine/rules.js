// `BarRules` and `SamplingSettings` of core.h.

import { pitchClasses } from "../music/keys.js";

/** @import { Core } from "./core.js" */
/** @import { Constraints, Settings } from "./types.d.ts" */

const PROGRAMS = 129; // the last one: drums
const RULES_BYTES = 14 * 4 + 8 + PROGRAMS * 16; // thirteen numbers, padding, meters, pitches
const REPETITION = { penalty: 1.25, bars: 8 };

/** Return the address of the rules. @param {Core} core @param {Constraints} constraints @param {string} key */
export function placeRules(core, { programs, meter, maxAtOnce, fewest = 0, most = null, keepLines = true }, key) {
  const at = core.allocate(RULES_BYTES);
  const flags = core.allocate(PROGRAMS);
  for (const program of programs) core.array(Uint8Array, flags, PROGRAMS)[program < 0 ? PROGRAMS - 1 : program] = 1;
  const classes = (pitchClasses(key) ?? []).reduce((sum, each) => sum | (1 << each), 0);
  core.call("bar_rules_fill", at, core.table, flags, meter, classes);
  const numbers = core.array(Int32Array, at, 13); // in the order of core.h
  numbers[0] = maxAtOnce;
  numbers[2] = fewest;
  if (most !== null) numbers[3] = most;
  numbers[12] = Number(keepLines);
  return at;
}

/** Return the address of the settings. @param {Core} core @param {Settings} settings */
export function placeSampling(core, { temperature, copyWeight, topP, seed }) {
  const at = core.allocate(11 * 4);
  // temperature, those of pitch and rhythm, top_p, min_p, epsilon_cutoff, log_penalty, copy_weight
  core.array(Float32Array, at, 8).set([temperature, -1, -1, topP, 0, 0, Math.log(REPETITION.penalty), copyWeight]);
  core.array(Int32Array, at + 32, 2).set([0, REPETITION.bars]); // top_k
  core.array(Uint32Array, at + 40, 1)[0] = seed;
  return at;
}
