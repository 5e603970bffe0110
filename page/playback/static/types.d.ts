// Types of the player's data. Only the type checker reads this file.

export interface TimeTable {
  ticks: number[];
  seconds: number[];
}

export interface Notes {
  start: number[]; // ticks
  length: number[]; // ticks
  key: number[];
  loudness: number[];
  instrument: number[]; // indexes of RollData.instruments
  sure: number[]; // percent; -1: unknown
}

export interface Instrument {
  program: number; // -1: drums
  track?: number; // absent: all tracks of the program are one instrument
  name: string;
  detail: string;
}

export interface RollData {
  bars: TimeTable;
  clock: TimeTable;
  notes: Notes;
  prompt_end_tick: number;
  beats?: number[]; // ticks of the metronome; absent: there is none
  first_bar?: number; // number of its first bar in the file; absent: 1
  instruments: Instrument[];
  remark: string;
}

type Rows<T> = T & { from: number };

export interface RollChanges extends Omit<RollData, "bars" | "clock" | "notes"> {
  base: number | null; // the update that it continues
  bars: Rows<TimeTable>;
  clock: Rows<TimeTable>;
  notes: Rows<Notes>;
}

export type ChunkData = string | AudioBuffer; // a FLAC or WAV file in base64, or its samples

export interface Update {
  number: number;
  stream: string;
  rendering: number;
  roll: string; // RollChanges as JSON
  planned_bars: number | null;
  cue_frame: number;
  chunks: [number, number][]; // start frame, frames
  new_chunks: [number, ChunkData][]; // start frame, samples
  complete: boolean;
  on_request: boolean;
  muted: number[]; // `idOf` of instruments
  selection: [number, number] | null;
}

export interface ChunkAnswer {
  chunks: [number, ChunkData][];
  known: boolean;
}

export interface Server {
  fetch_missing(request: { stream: string; rendering: number; starts: number[] }): Promise<ChunkAnswer>;
  fetch_roll(request: { stream: string }): Promise<{ number: number; roll: string } | null>;
}

export type Trigger = (event: string, data: object) => void;

export interface Beat {
  frame: number;
  isFirst: boolean; // of its bar
}

export interface FrameRange {
  start: number;
  end: number;
}

export interface Chunk extends FrameRange {
  state: "absent" | "decoding" | "ready" | "broken";
  buffer: AudioBuffer | null;
}

export type Bars = [number, number]; // first and last, counted from 1

export type Colours = (name: string) => string;

export interface PlayerOnPage {
  sound: { wanted: boolean };
  value: Update | null;
  armedBy: string[];
  place: number;
  arm(): void;
  pause(): void;
  dispose(): void;
}

export interface Shared {
  players: Map<string, PlayerOnPage>;
  context: AudioContext | null;
  volume: number;
  listening: boolean;
}

declare global {
  interface Window {
    musiclstm?: Shared;
    webkitAudioContext?: typeof AudioContext;
  }
  interface Uint8ArrayConstructor {
    fromBase64?(text: string): Uint8Array<ArrayBuffer>;
  }
}
