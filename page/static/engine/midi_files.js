// MIDI files as tables of events, read and written by the core. Needs no weights.

import { CoreMemory } from "./memory.js";

/** @import { MidiReport, MidiTables } from "./types.d.ts" */

const MAX_VOICES = 1_024;
// Integers at the start of `MidiFile` in core.h; `addresses` of the tables follow.
const NUMBERS = /** @type {(keyof MidiReport)[]} */ ([
  "format", "division", "ticksPerQuarter", "declaredTracks", "tracks", "eventCount", "noteCount", "controlCount", "tempoCount",
  "meterCount", "keyCount", "textCount", "voiceCount", "leadingBytes", "unknownChunks", "wrongLengths", "damagedTracks",
  "breakAfter", "breakOf", "outOfRange", "runningAfterSystem", "endlessNotes", "doubledNotes", "lengthlessNotes", "sharedEvents",
  "pedalledEnds", "pressures", "masterVolumes",
]);
/** @type {{name: Exclude<keyof MidiTables, "ticksPerQuarter">, columns: number, count: keyof MidiReport}[]} */
const TABLES = [
  { name: "notes", columns: 5, count: "noteCount" },
  { name: "controls", columns: 6, count: "controlCount" },
  { name: "tempos", columns: 2, count: "tempoCount" },
  { name: "meters", columns: 3, count: "meterCount" },
  { name: "keys", columns: 3, count: "keyCount" },
  { name: "texts", columns: 5, count: "textCount" },
  { name: "voices", columns: 5, count: "voiceCount" },
];

export class MidiFiles extends CoreMemory {
  /** @param {WebAssembly.Module} module @returns {Promise<MidiFiles>} */
  static async create(module) {
    return new MidiFiles(await WebAssembly.instantiate(module, {}));
  }

  /**
   * Read the events of a file.
   * @param {Uint8Array} bytes @returns {{tables: MidiTables, report: MidiReport}}
   * @throws {import("./memory.js").CoreError} not a MIDI file
   */
  read(bytes) {
    this.free();
    const data = this.placeBytes(bytes);
    const size = BigInt(bytes.length);
    const file = this.allocate(4 * (NUMBERS.length + TABLES.length));
    this.call("midi_count", data, size, file);
    const counted = this.report(file);
    const places = TABLES.map(({ name, columns, count }) => this.allocate(4 * columns * (name === "voices" ? MAX_VOICES : counted[count])));
    this.array(Int32Array, file + 4 * NUMBERS.length, TABLES.length).set(places);
    this.call("midi_read", data, size, file, this.allocate(this.call("midi_scratch_bytes", file)));
    const report = this.report(file);
    const tables = TABLES.map(({ name, columns, count }, i) => [name, this.array(Int32Array, places[i], columns * report[count]).slice()]);
    return { tables: { ticksPerQuarter: report.ticksPerQuarter, ...Object.fromEntries(tables) }, report };
  }

  /** @param {number} file address @returns {MidiReport} */
  report(file) {
    const numbers = this.array(Int32Array, file, NUMBERS.length);
    return /** @type {MidiReport} */ (Object.fromEntries(NUMBERS.map((name, i) => [name, numbers[i]])));
  }

  /**
   * Return a file of format 1, see midi_write in core.h.
   * @param {MidiTables} tables notes and controls ordered by voice
   * @param {number} end tick where every track ends, or at its last event if that is later
   * @param {Uint8Array} texts bytes of the texts
   */
  write(tables, end, texts) {
    this.free();
    const counts = new Map(TABLES.map(({ name, columns, count }) => [count, tables[name].length / columns]));
    counts.set("ticksPerQuarter", tables.ticksPerQuarter);
    const addresses = TABLES.map(({ name }) => this.place(tables[name]));
    const file = this.place([...NUMBERS.map((name) => counts.get(name) ?? 0), ...addresses]);
    const scratch = this.allocate(this.call("midi_write_scratch_bytes", file));
    const content = this.placeBytes(texts);
    const start = this.top;
    for (let capacity = 65_536; ; ) {
      this.top = start;
      const out = this.allocate(capacity);
      const size = this.call("midi_write", file, end, content, BigInt(texts.length), out, BigInt(capacity), scratch);
      if (size <= capacity) return this.array(Uint8Array, out, size).slice();
      capacity = size;
    }
  }
}
