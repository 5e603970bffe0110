// Web Worker: fetches the sounds of a piece and renders its chunks.

import { SoundBankLoader, SpessaSynthProcessor } from "spessasynth_core";

import { serve } from "../rpc.js";
import { SAMPLE_RATE } from "./events.js";
import { PieceRenderer } from "./renderer.js";

/** @import { BasicSoundBank } from "spessasynth_core" */
/** @import { SynthPiece } from "./events.js" */

const GAIN = 2.5; // FluidR3 at the level of an ordinary recording

const initialized = new SpessaSynthProcessor(SAMPLE_RATE).processorInitialized; // of the Vorbis decoder
/** @type {Map<string, Promise<BasicSoundBank | null>>} */
const fetched = new Map();
/** @type {Map<string, BasicSoundBank>} */
const banks = new Map();
let ready = Promise.resolve();

/** @param {string} sound @returns {Promise<BasicSoundBank | null>} */
async function fetchBank(sound) {
  try {
    const answer = await fetch(`sounds/${sound}.sf3`);
    if (!answer.ok) throw new Error(answer.statusText);
    const bank = SoundBankLoader.fromArrayBuffer(await answer.arrayBuffer());
    banks.set(sound, bank);
    return bank;
  } catch {
    fetched.delete(sound); // another try with the next piece
    return null;
  }
}

/** @param {string[]} sounds */
async function load(sounds) {
  const names = [...new Set(Object.values(sounds))];
  for (const name of names) if (!fetched.has(name)) fetched.set(name, fetchBank(name));
  await initialized;
  return (await Promise.all(names.map((name) => fetched.get(name)))).every(Boolean);
}

/** @param {string[]} sounds of each channel */
function createSynth(sounds) {
  const options = { maxBufferSize: 1024, eventsEnabled: false };
  const synth = new SpessaSynthProcessor(SAMPLE_RATE, options);
  synth.onMissingPreset = () => undefined; // silent: its sound could not be fetched
  synth.setSystemParameter("gain", GAIN);
  while (synth.midiChannels.length < sounds.length) synth.createMIDIChannel();
  for (const name of new Set(Object.values(sounds))) {
    const bank = banks.get(name);
    if (bank) synth.soundBankManager.addSoundBank(bank, name);
  }
  for (const [channel, name] of Object.entries(sounds)) {
    synth.programChange(Number(channel), name === "drums" ? 0 : Number(name));
  }
  return synth;
}

const renderer = new PieceRenderer(createSynth);
let version = 0;

serve(self, {
  /** Take a piece. Returns whether all its sounds are there. @param {SynthPiece & {version: number}} piece */
  async piece(piece) {
    version = piece.version;
    const loaded = load(piece.sounds);
    ready = loaded.then(() => {});
    const all = await loaded;
    if (version === piece.version) renderer.setPiece(piece);
    return all;
  },

  /** Render a chunk, null if another piece has come. @param {{start: number, frames: number, version: number}} chunk */
  async render(chunk) {
    await ready;
    if (chunk.version !== version) return null;
    return renderer.render(chunk.start, chunk.frames);
  },
});
