// Writes a score as a MIDI file of format 1, with the bytes of midi/score_tables.py.

import { encodeTexts } from "./midi_text.js";
import { trimmed } from "./notes.js";
import { lastNoteEnd } from "./timing.js";

/** @import { MidiFiles } from "../engine/midi_files.js" */
/** @import { Control, Score, Track } from "./types.d.ts" */

const [TEXT, NAME] = [1, 3]; // types of meta events
const CONTROLLER = 0xb0;
const [BANK, BANK_LOW] = [0, 32];

/**
 * @param {MidiFiles} files @param {Score} score
 * @param {{text?: string, end?: number}} options `text`: a text event; `end`: tick where all tracks end, by default with the last note, tempo, meter or key
 */
export function writeMidi(files, score, { text = "", end = lastEvent(score) } = {}) {
  const { ticksPerQuarter, tracks, tempos, meters, keys } = score;
  const texts = [...(text ? [[0, TEXT, text]] : []), ...tracks.map(({ name }, i) => [i + 1, NAME, name])];
  const encoded = encodeTexts(texts.map(([, , each]) => String(each)));
  let offset = 0;
  const places = texts.map(([track, type], i) => {
    offset += encoded[i].length;
    return [0, Number(track), Number(type), offset - encoded[i].length, encoded[i].length];
  });
  const tables = {
    ticksPerQuarter,
    notes: table(tracks.flatMap((track, voice) => trimmed(track.notes).map((n) => [n.tick, n.duration, n.pitch, n.velocity, voice]))),
    controls: table(tracks.flatMap((track, voice) => written(track.controls).map((c) => [c.tick, voice, c.status, c.first, c.second, 0]))),
    tempos: table(tempos.map(({ tick, mspq }) => [tick, Math.round(mspq)])),
    meters: table(meters.map(({ tick, numerator, denominator }) => [tick, numerator, denominator])),
    keys: table(keys.map(({ tick, sharps, isMinor }) => [tick, sharps, Number(isMinor)])),
    texts: table(places),
    voices: table(tracks.map(voiceOf)),
  };
  return files.write(tables, end, Uint8Array.from(encoded.flatMap((bytes) => [...bytes])));
}

/** @param {Score} score */
function lastEvent(score) {
  return [...score.tempos, ...score.meters, ...score.keys].reduce((end, { tick }) => Math.max(end, tick), lastNoteEnd(score));
}

/** @param {number[][]} rows */
function table(rows) {
  return Int32Array.from(rows.flat());
}

/** @param {Track} track */
function voiceOf({ program, isDrum, controls }) {
  /** @param {number} number */
  const first = (number) => controls.find((control) => control.status === CONTROLLER && control.first === number)?.second ?? 0;
  return [0, 0, program, (first(BANK) << 7) | first(BANK_LOW), Number(isDrum)];
}

/** Return controllers without banks, and bends, by time; of simultaneous ones controllers first. @param {Control[]} controls */
function written(controls) {
  const kept = controls.filter(({ status, first }) => status !== CONTROLLER || (first !== BANK && first !== BANK_LOW));
  return kept.sort((a, b) => a.tick - b.tick || a.status - b.status);
}
