// The events of any MIDI file that can be read, and what was repaired; as in midi/smf.py.

import { CoreError } from "../engine/memory.js";
import { pumped } from "../files.js";

/** @import { MidiFiles } from "../engine/midi_files.js" */
/** @import { MidiReport, MidiTables } from "../engine/types.d.ts" */

export const MAX_BYTES = 2_000_000;
export const TOO_LARGE = "This file is larger than 2 MB. Cut it into shorter pieces.";
const EXPORT_AGAIN = "Export it again from the program that wrote it.";
const FETCH_AGAIN = "Fetch or export it again.";
const CHOOSE = "Choose a .mid or .midi file.";
const MAX_TRACKS = 1_024;
const MAX_HEADER_OFFSET = 1_024; // some files have bytes before the header
const OTHER_FORMATS = /** @type {[number, string, string][]} */ ([
  [0, "ID3", "an MP3 recording"], [0, "\xff\xfb", "an MP3 recording"], [0, "OggS", "an Ogg recording"],
  [0, "fLaC", "a FLAC recording"], [4, "ftyp", "an MP4 recording"], [8, "WAVE", "a WAV recording"],
  [0, "PK\x03\x04", "a zip archive"], [0, "%PDF", "a PDF document"], [0, "\x89PNG", "a picture"],
  [0, "\xff\xd8\xff", "a picture"], [0, "<?xml", "an XML document"],
]);
// Codes of core.h.
/** @type {Record<number, string>} */
const REFUSALS = {
  [-18]: `This file breaks off in its header. ${FETCH_AGAIN}`,
  [-19]: `This file has an invalid time division. ${EXPORT_AGAIN}`,
  [-20]: "This file has more than 1,024 tracks and programs with notes. Export fewer.",
};

/** A file that cannot be read. Its message is a sentence for the user. */
export class MidiError extends Error {}

/**
 * Read the events of a MIDI file, gzip and RIFF files included.
 * @param {MidiFiles} files @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Promise<{tables: MidiTables, repairs: string[], content: Uint8Array}>} `repairs`: one clause each; `content`: the
 *   unpacked bytes, to which the texts refer
 * @throws {MidiError}
 */
export async function readEvents(files, bytes) {
  const content = await unwrapped(bytes);
  const { tables, report } = readTables(files, content);
  if (!report.tracks) throw new MidiError(`This file has a MIDI header, but no track. ${FETCH_AGAIN}`);
  if (report.tracks > MAX_TRACKS) throw new MidiError("This file has more than 1,024 tracks. Export fewer.");
  if (!tables.notes.length) refuseWithoutNotes(report);
  return { tables, repairs: repairsOf(report, beginsWith(content, "RIFF")), content };
}

/** @param {MidiFiles} files @param {Uint8Array} bytes */
function readTables(files, bytes) {
  try {
    return files.read(bytes);
  } catch (error) {
    const sentence = error instanceof CoreError && REFUSALS[error.code];
    throw sentence ? new MidiError(sentence) : error;
  }
}

// ------------------------------------------------------------------------------------- wrappers

/** @param {Uint8Array<ArrayBuffer>} bytes */
async function unwrapped(bytes) {
  if (!bytes.length) throw new MidiError(`This file is empty. ${CHOOSE}`);
  if (bytes.length > MAX_BYTES) throw new MidiError(TOO_LARGE);
  const inner = beginsWith(bytes, "\x1f\x8b\x08") ? await unzipped(bytes) : bytes;
  const content = beginsWith(inner, "RIFF") && beginsWith(inner, "RMID", 8) ? riffData(inner) : inner;
  const other = OTHER_FORMATS.find(([offset, mark]) => beginsWith(content, mark, offset));
  if (other) throw new MidiError(`This is ${other[2]}, not a MIDI file. ${CHOOSE}`);
  const head = new TextDecoder("latin1").decode(content.subarray(0, MAX_HEADER_OFFSET));
  if (!head.includes("MThd")) throw new MidiError(`This is not a MIDI file. ${CHOOSE}`);
  return content;
}

/** @param {Uint8Array} bytes @param {string} mark @param {number} [offset] */
function beginsWith(bytes, mark, offset = 0) {
  return Array.from(mark).every((letter, i) => bytes[offset + i] === letter.charCodeAt(0));
}

/** Unlike Python, streams of the browser give nothing of a file that breaks off or goes on after its end. @param {Uint8Array<ArrayBuffer>} bytes */
async function unzipped(bytes) {
  try {
    return await pumped(bytes, new DecompressionStream("gzip"), MAX_BYTES);
  } catch (error) {
    const isLarge = error instanceof RangeError;
    throw new MidiError(isLarge ? `This file holds more than 2 MB once unpacked. ${CHOOSE}` : `This is a damaged gzip file. ${CHOOSE}`);
  }
}

/** Return the `data` chunk of a RIFF file. @param {Uint8Array<ArrayBuffer>} bytes */
function riffData(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let start = 12; start + 8 <= bytes.length; ) {
    const length = view.getUint32(start + 4, true);
    if (beginsWith(bytes, "data", start)) {
      const content = bytes.subarray(start + 8, start + 8 + length);
      return new TextDecoder("latin1").decode(content).includes("MThd") ? content : bytes.subarray(start + 8);
    }
    start += 8 + length + (length % 2);
  }
  throw new MidiError(`This is a RIFF file without MIDI in it. ${CHOOSE}`);
}

// ------------------------------------------------------------------------- refusals and repairs

/** @param {MidiReport} report */
function refuseWithoutNotes({ breakAfter, damagedTracks, wrongLengths }) {
  if (breakAfter) throw new MidiError("This file breaks off before its first note. Fetch it again.");
  if (damagedTracks || wrongLengths) throw new MidiError(`This is a damaged MIDI file without a readable note. ${EXPORT_AGAIN}`);
  throw new MidiError("This file has no notes. Choose a file with something to play.");
}

/** @param {MidiReport} report @param {boolean} isRiff */
function repairsOf(report, isRiff) {
  const { breakAfter, breakOf, declaredTracks, endlessNotes, doubledNotes, lengthlessNotes, leadingBytes, tracks, unknownChunks } = report;
  /** @type {[unknown, string][]} */
  const clauses = [
    [leadingBytes && !isRiff, `left out ${plural(leadingBytes, "byte")} before the MIDI header`],
    [report.wrongLengths, "read a track with a wrong length to its real end"],
    [breakAfter, `used what comes before the break: it breaks off after ${grouped(breakAfter)} of ${grouped(breakOf)} bytes`],
    [report.damagedTracks, "read a damaged track as far as it goes"],
    [tracks < declaredTracks, `found only ${grouped(tracks)} of the ${plural(declaredTracks, "track")} that its header declares`],
    [unknownChunks, `left out ${plural(unknownChunks, "chunk")} without music`],
    [report.format === 2 && tracks > 1, "read its patterns (format 2) one after another"],
    [report.division < 0, "converted SMPTE time to ticks at 120 beats per minute"],
    [report.outOfRange, "brought values out of range into the range of MIDI"],
    [report.runningAfterSystem, "read events without a status after system messages"],
    [endlessNotes, `ended ${plural(endlessNotes, "note")} without an end`],
    [doubledNotes, `left out ${plural(doubledNotes, "note")} without length that double others`],
    [lengthlessNotes, `gave ${plural(lengthlessNotes, "note")} without length a twelfth of a beat`],
    [report.pedalledEnds, `let the pedal, pressed as they end, hold ${plural(report.pedalledEnds, "note")}`],
    [report.pressures, `left out ${plural(report.pressures, "value")} of aftertouch`],
    [report.masterVolumes, `left out ${plural(report.masterVolumes, "master volume")}; channels keep theirs`],
    [report.sharedEvents, "gave tracks that share a channel their own instruments and controllers"],
  ];
  return clauses.filter(([applies]) => applies).map(([, clause]) => clause);
}

/** @param {number} number */
export function grouped(number) {
  return number.toLocaleString("en-US");
}

/** Return a number with its noun, such as `1,203 notes`. @param {number} number @param {string} what */
export function plural(number, what) {
  return `${grouped(number)} ${what}${number === 1 ? "" : "s"}`;
}
