// Plays a rendering while its chunks arrive, and changes to another one at the same position.
//
// `frame` counts from the start of the piece, `time` in frames of the AudioContext's clock.

import { SAMPLE_RATE, audioContext, shared } from "./audio_context.js";
import { Rendering } from "./rendering.js";
import { SourceGroup } from "./source_group.js";

/** @import { Beat, FrameRange } from "./types.d.ts" */

const LEAD = Math.round(0.08 * SAMPLE_RATE); // between scheduling and the first sound
const SCHEDULED = 10 * SAMPLE_RATE; // scheduled ahead of the clock
const KEPT_BEHIND = 60 * SAMPLE_RATE; // decoded audio takes 353 kB a second
const KEPT_AHEAD = 120 * SAMPLE_RATE;
const INTERVAL_MS = 150;
const CLICK_HZ = [1760, 1175]; // of the first beat of a bar and of the others
const CLICK_FRAMES = Math.round(0.05 * SAMPLE_RATE);

/** Return a short tone of a metronome. @param {number} hz */
function click(hz) {
  const buffer = new AudioBuffer({ length: CLICK_FRAMES, sampleRate: SAMPLE_RATE });
  const samples = buffer.getChannelData(0);
  samples.forEach((_, i) => (samples[i] = 0.4 * Math.exp((-6 * i) / CLICK_FRAMES) * Math.sin((2 * Math.PI * hz * i) / SAMPLE_RATE)));
  return buffer;
}

export class ChunkPlayer {
  /** @param {() => void} onChange called when the state may have changed */
  constructor(onChange) {
    this.onChange = onChange;
    this.wanted = false; // whether the user wants playback
    this.rendering = new Rendering("", 0);
    /** @type {Rendering | null} */
    this.next = null; // replaces `rendering` as soon as it can be played here
    /** @type {FrameRange | null} */
    this.loop = null;
    /** @type {Beat[]} */
    this.beats = []; // of the metronome, ascending; empty: it is off
    /** @type {AudioBuffer[]} */
    this.clicks = []; // of the first beat of a bar and of the others
    this.held = 0; // position while nothing is scheduled
    /** @type {{time: number, frame: number, frames: number}[]} */
    this.segments = []; // what is scheduled
    this.tail = { time: 0, frame: 0 }; // where the next segment goes
    /** @type {SourceGroup | null} */
    this.sources = null;
    /** @type {AudioContext | null} */
    this.context = null; // in which `output` is; the page may have another one by now
    /** @type {GainNode | null} */
    this.output = null;
    this.timer = 0;
  }

  // -------------------------------------------------------------------------------------- state

  /** "paused", "playing", or "waiting" for a chunk. */
  get state() {
    if (!this.wanted) return "paused";
    const now = this.now;
    const sounds = this.segments.some(
      ({ time, frames }) => time <= now + LEAD && now < time + frames,
    );
    return sounds && this.context?.state === "running" ? "playing" : "waiting";
  }

  /** The frame that sounds now. */
  get position() {
    const latency = this.context?.outputLatency || 0;
    return this.frameAt(this.now - Math.min(latency, 0.5) * SAMPLE_RATE);
  }

  get now() {
    return (this.context?.currentTime ?? 0) * SAMPLE_RATE;
  }

  /** Whether the system has closed the context, for example after a call; `play` needs a new one. */
  get isLost() {
    const { context } = this;
    return context !== null && (context.state === "closed" || context !== shared().context);
  }

  /** @param {number} time */
  frameAt(time) {
    let frame = this.held;
    for (const each of this.segments) {
      if (each.time <= time) frame = each.frame + Math.min(time - each.time, each.frames);
    }
    return frame;
  }

  get ended() {
    const { complete, end } = this.rendering;
    return complete && this.tail.frame >= end;
  }

  /** Stretches of the piece whose audio is kept decoded; the rest is fetched again when needed. */
  get keptRanges() {
    const { position, loop } = this;
    const ranges = [{ start: position - KEPT_BEHIND, end: position + KEPT_AHEAD }];
    if (loop) ranges.push({ start: loop.start, end: Math.min(loop.end, loop.start + KEPT_AHEAD) });
    return ranges;
  }

  // ------------------------------------------------------------------------------------ control

  play() {
    const context = audioContext();
    context.resume().catch(() => {}); // it stays "waiting" until the next press
    if (!this.output || this.context !== context) {
      this.clearSchedule(); // in the clock of the former context
      this.context = context;
      this.output = context.createGain();
      this.output.connect(context.destination);
    }
    this.setVolume(shared().volume);
    if (this.rendering.complete && this.held >= this.rendering.end - 1) this.held = 0;
    this.wanted = true;
    this.start(this.held);
    clearInterval(this.timer);
    this.timer = window.setInterval(() => this.pump(), INTERVAL_MS);
    this.onChange();
  }

  pause() {
    this.held = this.position;
    this.stop();
    this.onChange();
  }

  stop() {
    this.wanted = false;
    clearInterval(this.timer);
    this.clearSchedule();
  }

  clearSchedule() {
    this.sources?.stop(Math.ceil(this.now));
    this.sources = null;
    this.segments = [];
  }

  /** @param {number} frame */
  seek(frame) {
    this.held = Math.max(0, Math.round(frame));
    if (this.wanted) this.start(this.held);
    else this.free();
    this.onChange();
  }

  /** @param {number} frame */
  start(frame) {
    this.clearSchedule();
    this.held = frame;
    this.tail = { time: 0, frame: Math.round(frame) };
    this.pump();
  }

  /** @param {FrameRange | null} loop */
  setLoop(loop) {
    this.loop = loop;
    this.restart();
  }

  /** Schedule again from here, for example with other beats. */
  restart() {
    if (this.wanted) this.start(this.position);
  }

  /** @param {number} volume 0..1 */
  setVolume(volume) {
    const { context } = this;
    shared().volume = volume;
    if (context) this.output?.gain.setTargetAtTime(volume ** 2, context.currentTime, 0.02);
  }

  /** Stop, and continue with another piece. @param {Rendering} rendering @param {number} frame */
  replace(rendering, frame) {
    this.stop();
    this.rendering = rendering;
    this.next = null;
    this.held = frame;
    this.onChange();
  }

  /** Change to another rendering of the same piece. @param {Rendering} rendering */
  offer(rendering) {
    this.next = rendering;
    this.chunkArrived();
  }

  /** Do not play this rendering beyond a frame; wait there for another one. @param {number} frame */
  truncate(frame) {
    this.rendering.truncate(frame);
    if (this.wanted && this.tail.frame > frame) this.start(this.position);
  }

  /** Call this when a chunk is decoded or the rendering is complete. */
  chunkArrived() {
    if (this.wanted) this.pump();
    else if (this.next?.canTakeOver(this.held)) this.takeNext();
    this.onChange();
  }

  takeNext() {
    if (!this.next) return;
    this.rendering = this.next;
    this.next = null;
  }

  free() {
    this.rendering.free(this.keptRanges);
    this.next?.free(this.keptRanges);
  }

  // --------------------------------------------------------------------------------- scheduling

  /** Schedule chunks, free old ones, and detect the end. */
  pump() {
    if (!this.wanted) return;
    if (this.isLost) {
      this.pause(); // the next press starts again here
      return;
    }
    const now = this.now;
    const frame = Math.floor(this.frameAt(now + LEAD));
    if (this.next?.canTakeOver(frame)) this.change(Math.ceil(now) + LEAD);
    this.dropSegmentsBefore(now - SAMPLE_RATE);
    while (this.tail.time < now + SCHEDULED && this.scheduleNext(now));
    if (this.ended && !this.playableLoop && now >= this.tail.time) this.finish();
    this.free();
    this.onChange();
  }

  /** @param {number} now @returns {boolean} whether there was a chunk to schedule */
  scheduleNext(now) {
    const loop = this.playableLoop;
    if (loop && this.tail.frame >= loop.end) this.tail.frame = loop.start;
    const { frame } = this.tail;
    const chunk = this.rendering.at(frame);
    const { context } = this;
    if (!chunk || !context || !this.output || !this.rendering.isReady(frame)) return false;
    if (this.tail.time < now + LEAD / 8) this.tail.time = Math.ceil(now) + LEAD; // it was late
    const { time } = this.tail;
    const frames = Math.min(chunk.end, loop ? loop.end : Infinity) - frame;
    this.sources ??= new SourceGroup(context, this.output, time, frame > 0);
    if (chunk.buffer) this.sources.schedule(chunk.buffer, time, frame - chunk.start, frames);
    this.scheduleBeats(time, frame, frames);
    this.segments.push({ time, frame, frames });
    this.tail = { time: time + frames, frame: frame + frames };
    return true;
  }

  /** Schedule the beats of a segment. @param {number} time @param {number} frame @param {number} frames */
  scheduleBeats(time, frame, frames) {
    if (!this.beats.length || !this.context) return;
    if (!this.clicks.length) this.clicks = CLICK_HZ.map((hz) => click(hz));
    for (const beat of this.beats) {
      if (beat.frame < frame || beat.frame >= frame + frames) continue;
      const buffer = this.clicks[beat.isFirst ? 0 : 1];
      this.sources?.schedule(buffer, time + beat.frame - frame, 0, buffer.length);
    }
  }

  /** The loop within the audio there is; null: none. */
  get playableLoop() {
    if (!this.loop) return null;
    const { complete, end: last } = this.rendering;
    const end = Math.min(this.loop.end, complete ? last : Infinity);
    return end > this.loop.start ? { start: this.loop.start, end } : null;
  }

  /** Continue with `next` from a time on. @param {number} time */
  change(time) {
    const { context } = this;
    if (!context || !this.output) return;
    const frame = Math.round(this.frameAt(time));
    this.sources?.stop(time);
    this.sources = new SourceGroup(context, this.output, time, true);
    this.segments = this.segments.filter((each) => each.time < time);
    for (const each of this.segments) each.frames = Math.min(each.frames, time - each.time);
    this.tail = { time, frame };
    this.takeNext();
  }

  /** @param {number} time */
  dropSegmentsBefore(time) {
    while (this.segments.length && this.segments[0].time + this.segments[0].frames < time) {
      const [{ frame, frames }] = this.segments.splice(0, 1);
      this.held = frame + frames;
    }
  }

  finish() {
    this.stop();
    this.held = this.rendering.end;
  }
}
