// Types of the engine. Only the type checker reads this file.

export interface TokenTable {
  kind: Int32Array;
  value: Int32Array;
  unit: Int32Array;
  eos: number;
}

export interface ModelInfo {
  name: string; // a Hub id, or the name of the bundled weights
  revision: string; // a commit; empty: not from the Hub
  fingerprint: string;
  musiclstm: string; // version
  linkDictionary: string; // of the compression of links
  table: TokenTable;
}

/** Score as the engine reads it: rows of integers as in core.h. */
export interface ScoreColumns {
  ticksPerQuarter: number;
  programs: Int32Array;
  notes: Int32Array; // tick, duration, pitch, velocity, track
  tempos: Int32Array; // tick, mspq
  meters: Int32Array; // tick, numerator, denominator
}

/** Events of a MIDI file: rows of integers as in core.h. */
export interface MidiTables {
  ticksPerQuarter: number;
  notes: Int32Array; // tick, duration, pitch, velocity, voice
  controls: Int32Array; // tick, channel (to write: voice), status, two data bytes, track
  tempos: Int32Array; // tick, mspq
  meters: Int32Array; // tick, numerator, denominator (0: above 128)
  keys: Int32Array; // tick, sharps, 1 in minor
  texts: Int32Array; // tick, track, type of the meta event, offset and length in bytes
  voices: Int32Array; // track, channel, program, bank, 1 for drums
}

/** Numbers of a MIDI file and of what was repaired, as in core.h. */
export type MidiReport = Record<
  | "format" | "division" | "ticksPerQuarter" | "declaredTracks" | "tracks" | "eventCount" | "noteCount" | "controlCount"
  | "tempoCount" | "meterCount" | "keyCount" | "textCount" | "voiceCount" | "leadingBytes" | "unknownChunks" | "wrongLengths"
  | "damagedTracks" | "breakAfter" | "breakOf" | "outOfRange" | "runningAfterSystem" | "endlessNotes" | "doubledNotes"
  | "lengthlessNotes" | "sharedEvents" | "pedalledEnds" | "pressures" | "masterVolumes",
  number
>;

export interface Part {
  program: number; // -1: drums
  number: number; // among the parts of its program
  tracks: number[]; // of the prompt, in the order to use
  velocities: Uint8Array; // of new notes, by eighth of the bar
}

export interface ReadPrompt {
  ids: Int32Array; // with BOS
  parts: Part[];
  constraints: Constraints; // of new bars
  state: Float32Array; // of the network after them
}

export interface Constraints {
  programs: number[]; // that may play
  meter: number; // TimeSig token of every bar; -1: any
  maxAtOnce: number; // notes that start together
  fewest?: number; // notes of a bar
  most?: number | null; // null: no limit
  keepLines?: boolean; // one-line parts of the prompt stay so
}

export interface Settings {
  temperature: number;
  copyWeight: number;
  candidates: number; // for each bar
  topP: number;
  seed: number;
  key: string; // empty: any
  meter: string; // such as "3/4"; empty: that of the prompt
  notesAtOnce: number; // that start together; 0: as in the prompt
  notesPerBar: [number, number] | null; // fewest and most; null: any
  keepLines: boolean; // one-line parts of the prompt stay so
}

export interface WriteRequest {
  prompt: Int32Array; // ids
  rows: { bars: Int32Array[]; state: Float32Array; settings: Settings; constraints: Constraints }[]; // tokens of the new bars so far
  bars: number;
}

export interface RewriteRequest {
  prompt: Int32Array; // ids
  before: Int32Array[]; // tokens of the new bars before
  state: Float32Array; // of the network after them
  bars: { tokens: Int32Array; logProbs: Float32Array }[]; // those to write again, and all after them
  count: number; // of the first ones
  part: { program: number; number: number };
  settings: Settings;
  constraints: Constraints;
}

export interface BarNote {
  program: number; // -1: drums
  number: number; // of the part among those of its program
  position: number; // in the bar
  tick: number; // in the bar, 1/48 quarters
  duration: number;
  pitch: number;
  logProb: number;
}

export interface WrittenBar {
  tokens: Int32Array;
  logProbs: Float32Array;
  state: Float32Array;
  score: number; // by which it was chosen
  features: Float32Array; // `BAR_FEATURES` of core/bar_features.py
}
