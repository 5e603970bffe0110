// Reads MIDI files, lines of base64 from standard input, as the page does; prints one line of JSON for
// each: the score, the repairs and the bytes of the file that is written again, or the refusal.

import { readFileSync } from "node:fs";

import { isPerformed } from "../../page/static/music/beats.js";
import { MidiError } from "../../page/static/music/midi_events.js";
import { readMidi } from "../../page/static/music/midi_reader.js";
import { writeMidi } from "../../page/static/music/midi_writer.js";
import { midiFiles } from "./core.js";

const files = await midiFiles();

/** @param {Uint8Array} bytes */
async function result(bytes) {
  try {
    const { score, repairs } = await readMidi(files, bytes);
    return { score, repairs, performed: isPerformed(score), written: Buffer.from(writeMidi(files, score, { text: "text" })).toString("base64") };
  } catch (error) {
    if (!(error instanceof MidiError)) throw error;
    return { refusal: error.message };
  }
}

for (const line of readFileSync(0, "latin1").split("\n").slice(0, -1)) {
  console.log(JSON.stringify(await result(new Uint8Array(Buffer.from(line, "base64")))));
}
