// The core for MIDI files, from the file of the package.

import { readFileSync } from "node:fs";

import { MidiFiles } from "../../page/static/engine/midi_files.js";

export async function midiFiles() {
  const bytes = readFileSync(new URL("../../musiclstm/core/core.wasm", import.meta.url));
  return MidiFiles.create(await WebAssembly.compile(bytes));
}
