// Types of scores. Only the type checker reads this file.

export interface Note {
  tick: number;
  duration: number; // ticks
  pitch: number;
  velocity: number; // 1..127
  sure?: number; // probability in percent; absent: unknown
}

export interface Control {
  tick: number;
  status: number; // 0xb0 controller, 0xe0 pitch bend
  first: number;
  second: number;
}

export interface Track {
  name: string;
  program: number; // 0..127
  isDrum: boolean;
  notes: Note[];
  controls: Control[];
}

export interface Tempo {
  tick: number;
  mspq: number; // microseconds per quarter
}

export interface Meter {
  tick: number;
  numerator: number;
  denominator: number;
}

export interface KeySignature {
  tick: number;
  sharps: number; // -7..7; flats are negative
  isMinor: boolean;
}

export interface Score {
  ticksPerQuarter: number;
  tracks: Track[];
  tempos: Tempo[];
  meters: Meter[];
  keys: KeySignature[];
}
