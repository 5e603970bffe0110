// Reads untrusted MIDI files within limits: events (midi_events.js), a score of them, and of it what
// the music needs; as midi/reader.py, score_tables.py and sanitize.py.

import { MidiError, grouped, plural, readEvents } from "./midi_events.js";
import { cleanText, decodeText } from "./midi_text.js";
import { TOKEN_METERS, normalMeter } from "./prompt.js";
import { TempoMap, barLines, lastNoteEnd, meterChanges } from "./timing.js";

/** @import { MidiFiles } from "../engine/midi_files.js" */
/** @import { MidiTables } from "../engine/types.d.ts" */
/** @import { Control, KeySignature, Meter, Note, Score, Tempo, Track } from "./types.d.ts" */

const LIMITS = { notes: 60_000, tracks: 256, quarters: 4_096, minutes: 60 };

const MAX_CONTROLS = 200_000;
const MAX_TEMPOS = 16_384; // with more, at most one per twelfth of a quarter note is kept
const [NAME, INSTRUMENT] = [3, 4]; // types of meta events
const CONTROLLER = 0xb0;
const [BANK, BANK_LOW, PEDAL] = [0, 32, 64];
const MAX_NAMES = 3; // of meters in a clause
const PEDAL_DOWN = 64; // lowest value of a pressed pedal

/**
 * Read a MIDI file.
 * @param {MidiFiles} files @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Promise<{score: Score, repairs: string[]}>} tracks with notes only; `repairs`: one clause each
 * @throws {MidiError}
 */
export async function readMidi(files, bytes) {
  const { tables, repairs, content } = await readEvents(files, bytes);
  checkAtMost(tables.notes.length / 5, LIMITS.notes, "notes");
  checkAtMost(tables.voices.length / 5, LIMITS.tracks, "tracks with notes");
  /** @type {Score} */
  const score = { ticksPerQuarter: tables.ticksPerQuarter, tracks: tracksOf(tables, content), tempos: [], meters: [], keys: [] };
  const end = lastNoteEnd(score);
  checkAtMost(Math.ceil(end / score.ticksPerQuarter), LIMITS.quarters, "beats");
  score.meters = cleanMeters(tables, end, repairs);
  checkAtMost(score.meters.length, LIMITS.quarters, "time signatures");
  const stop = lastTick(score, cleanMeters(tables, Infinity, []), end) + 1;
  score.meters = cleanMeters(tables, stop, []);
  reportUnreadMeters(score.meters, repairs);
  score.tempos = cleanTempos(tables, stop, repairs);
  score.keys = cleanKeys(tables, stop);
  addControls(score, tables, end, repairs);
  checkAtMost(barLines(score).length - 1, LIMITS.quarters, "bars");
  checkAtMost(Math.floor(new TempoMap(score).secondsAt(end) / 60), LIMITS.minutes, "minutes of music");
  return { score, repairs };
}

/** @param {number} number @param {number} limit @param {string} what */
function checkAtMost(number, limit, what) {
  if (number <= limit) return;
  throw new MidiError(`This file has ${grouped(number)} ${what}, and at most ${grouped(limit)} can be read. Cut it into shorter pieces.`);
}

/** @param {Int32Array} table @param {number} columns @returns {number[][]} */
function rowsOf(table, columns) {
  return Array.from({ length: table.length / columns }, (_, i) => [...table.subarray(i * columns, (i + 1) * columns)]);
}

// --------------------------------------------------------------------------------------- tracks

/** @param {MidiTables} tables @param {Uint8Array} content @returns {Track[]} one for each voice, without controls */
function tracksOf({ notes, texts, voices }, content) {
  /** @type {Map<number, string>} */
  const names = new Map();
  for (const kind of [NAME, INSTRUMENT]) {
    const found = rowsOf(texts, 5).filter(([, , type]) => type === kind);
    const firsts = found.filter(([, track], i) => found.findIndex((each) => each[1] === track) === i);
    for (const [, track, , offset, length] of firsts) {
      names.set(track, names.get(track) || cleanText(decodeText(content.subarray(offset, offset + length))));
    }
  }
  const tracks = rowsOf(voices, 5).map(([track, , program, , isDrum]) => ({
    name: names.get(track) ?? "", program, isDrum: isDrum === 1, notes: /** @type {Note[]} */ ([]), controls: [],
  }));
  for (const [tick, duration, pitch, velocity, voice] of rowsOf(notes, 5)) tracks[voice].notes.push({ tick, duration, pitch, velocity });
  for (const track of tracks) {
    track.notes.sort((a, b) => a.tick - b.tick || a.duration - b.duration || a.pitch - b.pitch || a.velocity - b.velocity);
  }
  return tracks;
}

/**
 * Give each track the controllers and bends of its channel up to the end; of simultaneous ones
 * controllers come first, then those of other tracks.
 * @param {Score} score @param {MidiTables} tables @param {number} end @param {string[]} repairs
 */
function addControls({ tracks }, { controls, voices }, end, repairs) {
  /** @type {Map<number, number[][]>} */
  const byChannel = new Map();
  for (const row of rowsOf(controls, 6)) {
    const rows = byChannel.get(row[1]);
    if (rows) rows.push(row);
    else byChannel.set(row[1], [row]);
  }
  const channels = rowsOf(voices, 5).map(([track, channel, , bank]) => ({ track, bank, rows: byChannel.get(channel) ?? [] }));
  const values = channels.reduce((sum, { bank, rows }) => sum + rows.length + presses(rows) + (bank ? 2 : 0), 0);
  if (values > MAX_CONTROLS) {
    repairs.push(`left out all ${grouped(values)} controller values, more than ${grouped(MAX_CONTROLS)}`);
    return;
  }
  channels.forEach(({ track, bank, rows }, i) => {
    /** @type {Control[]} */
    const banks = [[BANK, bank >> 7], [BANK_LOW, bank & 127]].map(([first, second]) => ({ tick: 0, status: CONTROLLER, first, second }));
    tracks[i].controls = [...(bank ? banks : []), ...controlsOf(rows, track, end)];
  });
}

/** @param {number[][]} rows of one channel @param {number} own track @param {number} end @returns {Control[]} */
function controlsOf(rows, own, end) {
  /** @param {number[]} row */
  const isKept = ([tick, , status, first]) => (status === CONTROLLER ? tick <= end || first === PEDAL : tick < end);
  const kept = rows.filter(isKept).sort((a, b) => a[0] - b[0] || a[2] - b[2] || Number(a[5] === own) - Number(b[5] === own));
  // A pedal is lifted at the end at the latest.
  const found = kept.map(([tick, , status, first, second]) => ({ tick: Math.min(tick, end), status, first, second }));
  return found.sort((a, b) => a.tick - b.tick || a.status - b.status);
}

/** Return how often the pedal is pressed and lifted. @param {number[][]} rows */
function presses(rows) {
  const down = rows.filter(([, , status, first]) => status === CONTROLLER && first === PEDAL).map(([, , , , value]) => value >= PEDAL_DOWN);
  return down.filter((isDown, i) => !isDown && down[i - 1]).length;
}

// ----------------------------------------------------------------- tempos, meters, keys

/** @param {MidiTables} tables @param {number} end @param {string[]} repairs @returns {Tempo[]} */
function cleanTempos({ tempos, ticksPerQuarter }, end, repairs) {
  const all = rowsOf(tempos, 2).map(([tick, mspq]) => ({ tick, mspq }));
  const valid = all.filter(({ mspq }) => mspq > 0);
  report(repairs, all.length - valid.length, "tempo", "of 0 seconds a beat");
  const before = valid.filter(({ tick }) => tick < end);
  const finest = before.length > MAX_TEMPOS ? Math.max(1, Math.floor(ticksPerQuarter / 12)) : 1;
  return changes(before, ({ mspq }) => String(mspq), finest);
}

/** Return the time signatures that change a bar line. @param {MidiTables} tables @param {number} end @param {string[]} repairs @returns {Meter[]} */
function cleanMeters({ meters, ticksPerQuarter }, end, repairs) {
  const all = rowsOf(meters, 3).map(([tick, numerator, denominator]) => ({ tick, numerator, denominator }));
  const valid = all.filter(({ numerator, denominator }) => numerator >= 1 && numerator <= 255 && denominator >= 1);
  report(repairs, all.length - valid.length, "time signature", "out of range");
  const before = valid.filter(({ tick }) => tick < end).sort((a, b) => a.tick - b.tick);
  const isStated = before[0]?.tick === 0;
  const found = meterChanges({ ticksPerQuarter, meters: before });
  return found.filter(({ tick }) => tick || isStated);
}

/**
 * Return the tick of the last bar line: its tempo, meter and key are those of what follows. A time signature in the last bar ends it.
 * @param {Score} score with the time signatures before the end @param {Meter[]} meters all of them @param {number} end of the last note
 */
function lastTick(score, meters, end) {
  const line = barLines(score).at(-1) ?? 0;
  return Math.min(Math.max(end - 1, line), ...meters.map(({ tick }) => tick).filter((tick) => tick >= end).slice(0, 1));
}

/** Report meters without a token; scores keep them. @param {Meter[]} meters @param {string[]} repairs */
function reportUnreadMeters(meters, repairs) {
  const names = [...new Set(meters.filter((meter) => !isRead(meter)).map(({ numerator, denominator }) => `${numerator}/${denominator}`))];
  const more = names.length > MAX_NAMES ? ` and ${names.length - MAX_NAMES} more` : "";
  if (names.length) repairs.push(`kept ${names.slice(0, MAX_NAMES).join(", ")}${more} in the file, which the network reads as 4/4`);
}

/** @param {Meter} meter */
function isRead(meter) {
  const { numerator, denominator } = normalMeter(meter);
  return TOKEN_METERS.some((each) => each.numerator === numerator && each.denominator === denominator);
}

/** @param {MidiTables} tables @param {number} end @returns {KeySignature[]} */
function cleanKeys({ keys }, end) {
  const valid = rowsOf(keys, 3).filter(([tick, sharps, minor]) => tick < end && Math.abs(sharps) <= 7 && minor >= 0 && minor <= 1);
  return changes(valid.map(([tick, sharps, minor]) => ({ tick, sharps, isMinor: minor === 1 })), ({ sharps, isMinor }) => `${sharps} ${isMinor}`);
}

/**
 * Return the events that change a value; of simultaneous ones the last.
 * @template {{tick: number}} T
 * @param {T[]} events @param {(event: T) => string} value @param {number} [finest] ticks that count as simultaneous
 * @returns {T[]}
 */
function changes(events, value, finest = 1) {
  const sorted = [...events].sort((a, b) => a.tick - b.tick);
  /** @param {T} event */
  const slot = ({ tick }) => Math.floor(tick / finest);
  const last = sorted.filter((event, i) => i === sorted.length - 1 || slot(sorted[i + 1]) !== slot(event));
  return last.filter((event, i) => !i || value(event) !== value(last[i - 1]));
}

/** @param {string[]} repairs @param {number} number @param {string} what @param {string} which */
function report(repairs, number, what, which) {
  if (number) repairs.push(`left out ${plural(number, what)} ${which}`);
}
