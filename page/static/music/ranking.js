// How new bars differ from usual continuations, in words, as generation/ranking.py.

/** @import { BarNote, Part } from "../engine/types.d.ts" */
/** @import { Piece } from "./piece.js" */

const MAX_REASONS = 3;
const RECENT_BARS = 8;
const RETURN = { similarity: 0.8, notes: 3 };
const REGULAR_SHARE = 0.75;
// Index of each statistic among the bar features of the core.
const FEATURES = { rhythm: 10, notes: 7, topVoice: 21, outsideRange: 14, repetition: 20 };

/** Statistic, sign, threshold, scale and phrase. @type {[string, number, number, number, string][]} */
const REASONS = [
  ["rhythm", 1, 0.93, 0.09, "keeps the rhythm of your bars"],
  ["rhythm", -1, 0.75, 0.09, "other rhythms than in your bars"],
  ["notes", 1, 0.69, 0.09, "keeps to the notes of your bars"],
  ["notes", -1, 0.5, 0.09, "other notes than in your bars"],
  ["density", 1, 0.33, 0.32, "busier than your bars"],
  ["density", -1, -0.25, 0.32, "sparser than your bars"],
  ["topVoice", 1, 3.5, 5.3, "higher top voice"],
  ["topVoice", -1, -3, 5.3, "lower top voice"],
  ["outsideRange", 1, 0.18, 0.12, "leaves the range of your parts"],
  ["repetition", 1, 0.57, 0.22, "repeats its own bars"],
  ["repetition", -1, 0.2, 0.22, "hardly repeats itself"],
  ["returns", 1, 1, 1.8, ""],
  ["rests", 1, 0.3, 0.2, ""],
];

/** Return the mean score of the new bars and at most three phrases about them. @param {Piece} piece @returns {{score: number, reasons: string[]}} */
export function assess(piece) {
  const { base, bars } = piece;
  const prompt = base.barNotes;
  const notes = piece.notes;
  const [returns, returning] = returnsOf(prompt, notes, base.prompt.bars - prompt.length + 1);
  const [rests, resting] = restsOf(piece, prompt, notes);
  /** @type {Record<string, number>} */
  const values = {
    ...Object.fromEntries(Object.entries(FEATURES).map(([name, i]) => [name, mean(bars.map(({ features }) => features[i]))])),
    density: Math.log2(density(notes) / density(prompt.slice(-RECENT_BARS))), returns, rests,
  };
  /** @type {Record<string, string>} */
  const phrases = { returns: returning, rests: resting };
  const said = REASONS.map(([name, sign, threshold, scale, phrase]) => ({
    distance: (sign * (values[name] - threshold)) / scale, phrase: phrase || phrases[name],
  })).filter(({ distance }) => distance >= 0);
  said.sort((a, b) => b.distance - a.distance);
  return { score: mean(bars.map(({ score }) => score)), reasons: said.slice(0, MAX_REASONS).map(({ phrase }) => phrase) };
}

/** Mean of the values that are defined. @param {number[]} values */
function mean(values) {
  const known = values.filter((value) => !Number.isNaN(value));
  return known.length ? known.reduce((a, b) => a + b) / known.length : NaN;
}

/** Notes per bar plus a half. @param {BarNote[][]} bars */
function density(bars) {
  return bars.length ? bars.reduce((sum, { length }) => sum + length, 0) / bars.length + 0.5 : NaN;
}

/** Return the length of the longest passage of the prompt that comes back, and its bars. @param {BarNote[][]} prompt @param {BarNote[][]} added @param {number} first number of the first bar @returns {[number, string]} */
function returnsOf(prompt, added, first) {
  const bars = [...prompt, ...added].map((notes) => new Set(notes.map(({ position, pitch, program }) => `${position} ${pitch} ${program}`)));
  let best = { count: 0, at: 0, old: 0 };
  let before = new Map(); // length of the passage that ends at a bar of the prompt
  for (let at = prompt.length; at < bars.length; at++) {
    const lengths = new Map();
    if (!(at && isReturn(bars[at - 1], bars[at]))) {
      for (let old = Math.max(0, 1 - first); old < prompt.length; old++) {
        if (!isReturn(bars[old], bars[at])) continue;
        const count = (before.get(old - 1) ?? 0) + 1;
        lengths.set(old, count);
        if (count > best.count) best = { count, at, old };
      }
    }
    before = lengths;
  }
  const { count, at, old } = best;
  return [count, count ? `returns to ${barRange(first + old, count)} in ${barRange(first + at, count)}` : ""];
}

/** @param {Set<string>} old @param {Set<string>} added */
function isReturn(old, added) {
  const common = [...added].filter((each) => old.has(each)).length;
  return added.size >= RETURN.notes && common >= RETURN.similarity * (old.size + added.size - common);
}

/** @param {number} last @param {number} count */
function barRange(last, count) {
  return count === 1 ? `bar ${last}` : `bars ${last - count + 1}-${last}`;
}

/** Return the largest share of the new bars in which a regular part rests. @param {Piece} piece @param {BarNote[][]} prompt @param {BarNote[][]} added @returns {[number, string]} */
function restsOf(piece, prompt, added) {
  const recent = prompt.slice(-RECENT_BARS);
  /** @param {BarNote[][]} bars @param {Part} part */
  const playing = (bars, { program, number }) => bars.filter((notes) => notes.some((note) => note.program === program && note.number === number)).length;
  const regular = piece.base.parts.filter((part) => playing(recent, part) >= REGULAR_SHARE * recent.length);
  if (!regular.length || !added.length) return [0, ""];
  const rests = regular.map((part) => ({ part, count: added.length - playing(added, part) }));
  rests.sort((a, b) => b.count - a.count || a.part.program - b.part.program || a.part.number - b.part.number);
  const [{ part, count }] = rests;
  const bars = count === added.length ? "throughout" : `in ${count} of ${added.length} bars`;
  return [count / added.length, `${piece.base.nameOf(part)} rests ${bars}`];
}
