// Names of keys, their pitch classes, and an estimate of a score's key as in midi/analysis.py.

import { lastNoteEnd } from "./timing.js";

/** @import { Score } from "./types.d.ts" */

/** @typedef {{steps: number[], sharps: number | null, isMinor: boolean}} Scale `sharps` of the scale on C; null: it has no key signature */

// As in generation/constraints.py and key_signatures.py: semitones above the tonic, and the key
// signature. `minor` includes the leading tone, as music in minor does.
/** @type {Record<string, Scale>} */
const SCALES = {
  major: { steps: [0, 2, 4, 5, 7, 9, 11], sharps: 0, isMinor: false },
  minor: { steps: [0, 2, 3, 5, 7, 8, 10, 11], sharps: -3, isMinor: true },
  "natural minor": { steps: [0, 2, 3, 5, 7, 8, 10], sharps: -3, isMinor: true },
  "harmonic minor": { steps: [0, 2, 3, 5, 7, 8, 11], sharps: -3, isMinor: true },
  "melodic minor": { steps: [0, 2, 3, 5, 7, 9, 11], sharps: -3, isMinor: true },
  dorian: { steps: [0, 2, 3, 5, 7, 9, 10], sharps: -2, isMinor: true },
  phrygian: { steps: [0, 1, 3, 5, 7, 8, 10], sharps: -4, isMinor: true },
  lydian: { steps: [0, 2, 4, 6, 7, 9, 11], sharps: 1, isMinor: false },
  mixolydian: { steps: [0, 2, 4, 5, 7, 9, 10], sharps: -1, isMinor: false },
  locrian: { steps: [0, 1, 3, 5, 6, 8, 10], sharps: -5, isMinor: true },
  "major pentatonic": { steps: [0, 2, 4, 7, 9], sharps: 0, isMinor: false },
  "minor pentatonic": { steps: [0, 3, 5, 7, 10], sharps: -3, isMinor: true },
  blues: { steps: [0, 3, 5, 6, 7, 10], sharps: -3, isMinor: true },
  "whole tone": { steps: [0, 2, 4, 6, 8, 10], sharps: null, isMinor: false },
  chromatic: { steps: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], sharps: null, isMinor: false },
};
const TONICS = {
  major: ["C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"],
  minor: ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B"],
};
// J. Albrecht and D. Shanahan, Music Perception 31 (2013), 59-67.
const PROFILES = {
  major: [0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.08, 0.008, 0.081],
  minor: [0.22, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052],
};
// As `_RELATIVE_MARGINS` of midi/analysis.py.
const MARGINS = { major: 0.05, minor: 0.3 };

/** @typedef {"major" | "minor"} Mode */
const BOTH = /** @type {Mode[]} */ (["major", "minor"]);

/** Names of all major and minor keys. */
export const KEYS = BOTH.flatMap((mode) => TONICS[mode].map((tonic) => `${tonic} ${mode}`));

/** Names of the keys of each scale; `chromatic` restricts nothing. @returns {[string, string[]][]} */
export function keyGroups() {
  return Object.entries(SCALES)
    .filter(([mode]) => mode !== "chromatic")
    .map(([mode, { isMinor }]) => [mode, TONICS[isMinor ? "minor" : "major"].map((tonic) => `${tonic} ${mode}`)]);
}

/** Return tonic and scale of a key such as `F# dorian`; null if there is no such key. @param {string} name */
function parsedKey(name) {
  const [, letter, accidental, mode] = /^([A-G])([#b]?) (.+)$/.exec(name) ?? [];
  if (!letter || !(mode in SCALES)) return null;
  const fifths = "FCGDAEB".indexOf(letter) - 1 + { "#": 7, b: -7, "": 0 }[/** @type {"#" | "b" | ""} */ (accidental)];
  return { fifths, tonic: (((7 * fifths) % 12) + 12) % 12, ...SCALES[mode] };
}

/** Return the pitch classes of a key, such as `F# minor`; null if there is no such key. @param {string} name */
export function pitchClasses(name) {
  const key = parsedKey(name);
  return key && key.steps.map((step) => (step + key.tonic) % 12);
}

/** Return the key signature of a key; null: it has none. @param {string} name @returns {{sharps: number, isMinor: boolean} | null} */
export function keySignature(name) {
  const key = parsedKey(name);
  if (!key || key.sharps === null) return null;
  const sharps = key.fifths + key.sharps;
  return { sharps: sharps - 12 * (Number(sharps > 7) - Number(sharps < -7)), isMinor: key.isMinor };
}

/**
 * Return the most probable key; null without pitched notes. The key signature decides for the
 * relative key if that is nearly as probable.
 * @param {Score} score @returns {string | null}
 */
export function estimateKey(score) {
  const shares = new Array(12).fill(0);
  for (const { isDrum, notes } of score.tracks) {
    if (isDrum) continue;
    for (const { pitch, duration } of notes) shares[pitch % 12] += Math.max(duration, 1);
  }
  const total = shares.reduce((a, b) => a + b);
  if (Math.max(...shares) - Math.min(...shares) < 1e-12 * total || !total) return null;
  const fits = BOTH.flatMap((mode) =>
    TONICS[mode].map((_, tonic) => correlation(shares, PROFILES[mode].map((_, i) => PROFILES[mode][(i - tonic + 12) % 12]))),
  );
  const found = fits.indexOf(Math.max(...fits));
  const stated = keyOfSignatures(score);
  const isRelative = stated !== null && stated === (found < 12 ? 12 + ((found + 9) % 12) : (found + 3) % 12);
  return KEYS[isRelative && fits[found] - fits[stated] <= (stated < 12 ? MARGINS.major : MARGINS.minor) ? stated : found];
}

/** Return the index among `KEYS` of the key signature that lasts longest. @param {Score} score */
function keyOfSignatures(score) {
  const signatures = score.keys;
  const end = lastNoteEnd(score);
  /** @type {Map<number, number>} */
  const lengths = new Map();
  signatures.forEach(({ tick, sharps, isMinor }, i) => {
    const tonic = (((7 * sharps + (isMinor ? 9 : 0)) % 12) + 12) % 12;
    const key = tonic + (isMinor ? 12 : 0);
    const length = Math.max(0, (signatures[i + 1]?.tick ?? end) - tick);
    lengths.set(key, (lengths.get(key) ?? 0) + length);
  });
  const longest = Math.max(...lengths.values());
  return [...lengths.keys()].find((key) => lengths.get(key) === longest) ?? null;
}

/** @param {number[]} a @param {number[]} b */
function correlation(a, b) {
  const centred = [a, b].map((each) => each.map((value) => value - each.reduce((x, y) => x + y) / each.length));
  /** @param {number} i @param {number} j */
  const product = (i, j) => centred[i].reduce((sum, value, k) => sum + value * centred[j][k], 0);
  return product(0, 1) / Math.sqrt(product(0, 0) * product(1, 1));
}
