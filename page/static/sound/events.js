// A score as events of a synthesizer, in frames. Each track has a channel of its own.

import { TempoMap } from "../music/timing.js";

/** @import { Score } from "../music/types.d.ts" */

export const SAMPLE_RATE = 44100;
export const BLOCK = 64; // frames between two events, as in FluidSynth
export const CHUNK = 352 * BLOCK; // frames, half a second
export const RELEASE = 2 * SAMPLE_RATE; // after the last note

const NOTE_OFF = 0x80;
const NOTE_ON = 0x90;

/**
 * @typedef {object} SynthPiece
 * @property {Int32Array} events rows of frame, channel, status, first, second
 * @property {string[]} sounds of each channel: a program or "drums"
 * @property {number} validTo frames before this are as in the piece before
 */

/** Return the channel of each track: a drum channel where the number mod 16 is 9. @param {Score} score */
export function synthChannels({ tracks }) {
  let melodic = 0;
  let drums = 0;
  return tracks.map(({ isDrum }) => {
    if (isDrum) return 16 * drums++ + 9;
    if (melodic % 16 === 9) melodic++;
    return melodic++;
  });
}

/**
 * Return the events of the tracks that are not muted.
 * @param {Score} score @param {Set<number>} muted indexes of tracks
 */
export function synthEvents(score, muted) {
  const map = new TempoMap(score);
  const channels = synthChannels(score);
  /** @param {number} tick */
  const frame = (tick) => Math.round((map.secondsAt(tick) * SAMPLE_RATE) / BLOCK) * BLOCK;
  /** @type {number[][]} */
  const rows = [];
  score.tracks.forEach(({ notes, controls }, i) => {
    if (muted.has(i)) return;
    for (const { tick, status, first, second } of controls) rows.push([frame(tick), channels[i], status, first, second]);
    for (const { tick, duration, pitch, velocity } of notes) {
      const start = frame(tick);
      const end = Math.max(frame(tick + duration), start + BLOCK);
      rows.push([start, channels[i], NOTE_ON, pitch, velocity], [end, channels[i], NOTE_OFF, pitch, 0]);
    }
  });
  /** @param {number[]} row */
  const rank = ([, , status]) => (status === NOTE_OFF ? 0 : status === NOTE_ON ? 2 : 1);
  rows.sort((a, b) => a[0] - b[0] || rank(a) - rank(b));
  /** @type {string[]} */
  const sounds = [];
  score.tracks.forEach(({ isDrum, program }, i) => (sounds[channels[i]] = isDrum ? "drums" : String(program)));
  return { events: Int32Array.from(rows.flat()), sounds };
}
