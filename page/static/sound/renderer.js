// Renders a growing piece in chunks, in any order.
//
// A synthesizer plays on from where it is. For another position a new one starts shortly before, so
// that the notes before the position sound on.

import { BLOCK, SAMPLE_RATE } from "./events.js";

/** @import { SpessaSynthProcessor } from "spessasynth_core" */
/** @import { SynthPiece } from "./events.js" */

const COLUMNS = 5;
const LEAD_IN = Math.ceil(SAMPLE_RATE / 2 / BLOCK) * BLOCK; // before a position
const LINEAR = 0.7; // louder samples are compressed towards 1
const NOTE_ON = 0x90;

export class PieceRenderer {
  /** @param {(sounds: string[]) => SpessaSynthProcessor} createSynth */
  constructor(createSynth) {
    this.createSynth = createSynth;
    /** @type {SynthPiece} */
    this.piece = { events: new Int32Array(0), sounds: [], validTo: 0 };
    /** @type {SpessaSynthProcessor | null} */
    this.synth = null;
    this.frame = 0; // that comes next
    this.index = 0; // of the next event
  }

  /** @param {SynthPiece} piece */
  setPiece(piece) {
    const sameSounds = String(piece.sounds) === String(this.piece.sounds);
    this.piece = piece;
    if (!sameSounds || this.frame > piece.validTo) this.synth = null;
    else this.index = this.firstEvent(this.frame);
  }

  /** Return left and right samples. @param {number} start @param {number} frames */
  render(start, frames) {
    if (!this.synth || this.frame !== start) this.seek(start);
    return this.play(frames);
  }

  /** Index of the first event at or after a frame. @param {number} frame */
  firstEvent(frame) {
    const { events } = this.piece;
    let low = 0;
    let high = events.length / COLUMNS;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (events[middle * COLUMNS] < frame) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** @param {number} start */
  seek(start) {
    this.synth = this.createSynth(this.piece.sounds);
    this.frame = Math.max(0, start - LEAD_IN);
    const first = this.firstEvent(this.frame);
    for (this.index = 0; this.index < first; this.index++) {
      if (this.piece.events[this.index * COLUMNS + 2] > NOTE_ON) this.send(); // controllers
    }
    if (this.frame < start) this.play(start - this.frame);
  }

  /** @param {number} frames */
  play(frames) {
    const { events } = this.piece;
    const synth = /** @type {SpessaSynthProcessor} */ (this.synth);
    const [left, right] = [new Float32Array(frames), new Float32Array(frames)];
    const end = this.frame + frames;
    for (let at = 0; this.frame < end; ) {
      while (this.index * COLUMNS < events.length && events[this.index * COLUMNS] <= this.frame) {
        this.send();
        this.index += 1;
      }
      const next = this.index * COLUMNS < events.length ? events[this.index * COLUMNS] : Infinity;
      const count = Math.min(end, next, this.frame + 16 * BLOCK) - this.frame;
      synth.process(left, right, at, count);
      this.frame += count;
      at += count;
    }
    return [left, right].map(limited);
  }

  send() {
    const at = this.index * COLUMNS;
    const [, channel, status, first, second] = this.piece.events.subarray(at, at + COLUMNS);
    const synth = /** @type {SpessaSynthProcessor} */ (this.synth);
    if (status === NOTE_ON) synth.noteOn(channel, first, second);
    else if (status === 0x80) synth.noteOff(channel, first);
    else if (status === 0xb0) synth.controllerChange(channel, /** @type {any} */ (first), second);
    else if (status === 0xe0) synth.pitchWheel(channel, first + 128 * second);
  }
}

/** Compress peaks, sample by sample, so that chunks join. @param {Float32Array} samples */
function limited(samples) {
  for (let i = 0; i < samples.length; i++) {
    const size = Math.abs(samples[i]);
    if (size <= LINEAR) continue;
    samples[i] = Math.sign(samples[i]) * (LINEAR + (1 - LINEAR) * Math.tanh((size - LINEAR) / (1 - LINEAR)));
  }
  return samples;
}
