// Audio sources scheduled since the last start or change of rendering, behind one gain to fade.

import { SAMPLE_RATE } from "./audio_context.js";

const FADE_S = 0.012; // avoids clicks

export class SourceGroup {
  /**
   * @param {BaseAudioContext} context
   * @param {AudioNode} output
   * @param {number} time frame of the context's clock at which the first source starts
   * @param {boolean} fadeIn
   */
  constructor(context, output, time, fadeIn) {
    this.context = context;
    /** @type {Set<AudioBufferSourceNode>} */
    this.sources = new Set();
    this.gain = context.createGain();
    this.gain.connect(output);
    if (fadeIn) {
      this.gain.gain.setValueAtTime(0, time / SAMPLE_RATE);
      this.gain.gain.linearRampToValueAtTime(1, time / SAMPLE_RATE + FADE_S);
    }
  }

  /**
   * Schedule frames of a buffer.
   * @param {AudioBuffer} buffer @param {number} time @param {number} offset @param {number} frames
   */
  schedule(buffer, time, offset, frames) {
    const source = this.context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.gain);
    source.onended = () => this.sources.delete(source);
    this.sources.add(source);
    // No duration where the buffer ends anyway: rounding could drop the last frame.
    if (offset + frames >= buffer.length) source.start(time / SAMPLE_RATE, offset / SAMPLE_RATE);
    else source.start(time / SAMPLE_RATE, offset / SAMPLE_RATE, frames / SAMPLE_RATE);
  }

  /** Fade out and stop. @param {number} time */
  stop(time) {
    const when = time / SAMPLE_RATE;
    this.gain.gain.cancelScheduledValues(when);
    this.gain.gain.setValueAtTime(1, when);
    this.gain.gain.linearRampToValueAtTime(0, when + FADE_S);
    for (const source of this.sources) source.stop(when + FADE_S);
  }
}
