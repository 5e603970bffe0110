// Notes that the sustain pedal holds, as midi/pedal.py, and the pedal of new bars, as
// generation/pedalling.py.

import { nextOnsets } from "./notes.js";
import { lastNoteEnd } from "./timing.js";

/** @import { Control, Score, Track } from "./types.d.ts" */

export const PEDAL = 64; // controller number
const DOWN = 64; // lowest value of a pressed pedal
const LAST_BARS = 8;
const BASS_RANGE = 4; // semitones above the bass in which a new bass note may be

/**
 * Return the duration of each note. A note whose key is released while the pedal is down lasts until
 * the pedal is lifted or until the next onset of its pitch. A pedal that is never lifted holds nothing.
 * @param {Track} track @returns {number[]}
 */
export function heldDurations({ notes, controls, isDrum }) {
  const pedals = isDrum ? [] : pedalsOf(controls);
  const durations = notes.map(({ duration }) => duration);
  if (!pedals.length) return durations;
  const onsets = nextOnsets(notes);
  return notes.map(({ tick, duration }, i) => {
    const release = tick + duration;
    const lifted = liftAfter(pedals, release);
    return lifted > release ? Math.max(release, Math.min(lifted, onsets[i])) - tick : duration;
  });
}

/** Return when the last pedal that was pressed before a tick is lifted. @param {{pressed: number, lifted: number}[]} pedals @param {number} tick */
function liftAfter(pedals, tick) {
  let low = 0;
  let high = pedals.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (pedals[middle].pressed < tick) low = middle + 1;
    else high = middle;
  }
  return pedals[low - 1]?.lifted ?? 0;
}

/** @param {Control[]} controls */
function pedalsOf(controls) {
  const pedals = [];
  let pressed = -1;
  for (const { tick, status, first, second } of controls) {
    if (status !== 0xb0 || first !== PEDAL) continue;
    if (second >= DOWN && pressed < 0) pressed = tick;
    if (second < DOWN && pressed >= 0) {
      pedals.push({ pressed, lifted: tick });
      pressed = -1;
    }
  }
  return pedals;
}

/**
 * Return the indices of tracks with a pedal in at least half of those of the last eight bars that have notes.
 * @param {Score} score @param {number[]} lines all bar lines
 */
export function pedalledTracks(score, lines) {
  const end = lastNoteEnd(score);
  const bars = lines.slice(-LAST_BARS - 1).flatMap((begin, i, all) => (i + 1 < all.length ? [{ begin, end: all[i + 1] }] : []));
  return [...score.tracks.keys()].filter((index) => {
    const { notes, controls, isDrum } = score.tracks[index];
    if (isDrum) return false;
    const pedals = pedalsOf(controls).filter(({ pressed }) => pressed < end);
    const playing = bars.filter((bar) => notes.some(({ tick }) => tick >= bar.begin && tick < bar.end));
    const held = playing.filter((bar) => pedals.some(({ pressed, lifted }) => pressed < bar.end && lifted > bar.begin));
    return held.length > 0 && 2 * held.length >= playing.length;
  });
}

/**
 * Add the pedal of new bars: lifted at every bar line and change of harmony, and pressed again 1/24 quarter later.
 * @param {Track[]} tracks all get the same pedal; changed in place
 * @param {number[]} lines bar lines of the new bars, and the end of the last one @param {number} quarter ticks
 */
export function addPedal(tracks, lines, quarter) {
  const notes = tracks.flatMap((track) => track.notes.filter(({ tick }) => tick >= lines[0]));
  notes.sort((a, b) => a.tick - b.tick || a.pitch - b.pitch);
  const lowest = notes.filter(({ tick }, i) => notes[i - 1]?.tick !== tick);
  const delay = Math.max(1, Math.floor(quarter / 24));
  let first = 0; // onset of the bar
  lines.slice(0, -1).forEach((begin, bar) => {
    const end = lines[bar + 1];
    let last = first;
    while (lowest[last]?.tick < end) last++;
    const changes = changesOf(lowest.slice(first, last), begin, quarter);
    first = last;
    changes.forEach((change, i) => {
      const lift = changes[i + 1] ?? end;
      if (change + delay >= lift) return;
      /** @type {[number, number][]} */
      const values = [[change + delay, 127], [lift, 0]];
      for (const { controls } of tracks) controls.push(...values.map(([tick, second]) => ({ tick, status: 0xb0, first: PEDAL, second })));
    });
  });
}

/** Return the bar line and the changes of harmony in a bar. @param {{tick: number, pitch: number}[]} lowest notes of its onsets @param {number} begin @param {number} quarter */
function changesOf(lowest, begin, quarter) {
  if (!lowest.length) return [];
  const found = [begin];
  let bass = lowest[0].pitch;
  for (const { tick, pitch } of lowest) {
    if (pitch > bass + BASS_RANGE) continue;
    if ((pitch - bass) % 12 && tick - found[found.length - 1] >= quarter) {
      found.push(tick);
      bass = pitch;
    }
    bass = Math.min(bass, pitch);
  }
  return found;
}
