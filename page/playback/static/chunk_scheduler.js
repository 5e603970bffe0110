// @ts-check
// Sound that arrives in chunks, played without gaps on the clock of the sound card.
//
// All places are frames: `piece` counts from the beginning of the piece, `at` from when the
// AudioContext was made. This file knows no bars, no notes and no page.

const RATE = 44100;
const LEAD = Math.round(0.08 * RATE); // how far ahead a sound is ordered that should come at once
const AHEAD = 10 * RATE; // how far ahead chunks are ordered while others play
const FADE_S = 0.012; // so that nothing clicks

/** What all players of a page have in common. */
const shared = (window["musiclstm"] ??= { players: new Map(), context: null, volume: 0.8 });

/** The one AudioContext of the page. It must be made, or resumed, during a press. */
function audioContext() {
  if (!shared.context) {
    const Context = window.AudioContext || window["webkitAudioContext"];
    if (!Context) throw new Error("This browser cannot play sound; please try another one.");
    shared.context = new Context({ sampleRate: RATE, latencyHint: "interactive" });
  }
  return shared.context;
}

/** @param {string} base64 */
function decode(base64) {
  const bytes =
    Uint8Array.fromBase64?.(base64) ??
    Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)); // ten times slower
  return new OfflineAudioContext(2, 1, RATE).decodeAudioData(bytes.buffer);
}

/** The chunks of one sound of one take, as far as they are known. */
class Rendering {
  constructor(take, sound) {
    this.take = take;
    this.sound = sound;
    this.complete = false;
    /** @type {{start: number, end: number, state: string, buffer: AudioBuffer | null}[]} */
    this.chunks = [];
  }

  /** Where the last chunk ends that is known of. */
  get end() {
    return Math.max(0, ...this.chunks.map((chunk) => chunk.end));
  }

  /** @param {number[][]} manifest pairs of start and frames */
  learn(manifest, complete) {
    for (const [start, frames] of manifest) {
      if (!this.chunks.some((chunk) => chunk.start === start)) {
        this.chunks.push({ start, end: start + frames, state: "absent", buffer: null });
      }
    }
    this.chunks.sort((a, b) => a.start - b.start);
    this.complete ||= complete;
  }

  /** Decode a chunk; what came before, or belongs nowhere, is left alone. */
  async put(start, base64) {
    const chunk = this.chunks.find((each) => each.start === start);
    if (!chunk || chunk.state !== "absent") return;
    chunk.state = "decoding";
    try {
      chunk.buffer = await decode(base64);
      chunk.state = "ready";
    } catch {
      chunk.state = "broken"; // it is played as silence
    }
  }

  at(piece) {
    return this.chunks.find((chunk) => chunk.start <= piece && piece < chunk.end);
  }

  /** Whether there is something to play at a place. */
  ready(piece) {
    return ["ready", "broken"].includes(this.at(piece)?.state ?? "");
  }

  /** The starts of chunks nobody has sent, those that are needed first at the front. */
  lacking(piece) {
    const absent = this.chunks.filter((chunk) => chunk.state === "absent");
    const later = absent.filter((chunk) => chunk.end > piece);
    return [...later, ...absent.filter((chunk) => chunk.end <= piece)].map(({ start }) => start);
  }
}

/** Everything ordered since the last press or change of sound, behind one gain to fade it by. */
class Run {
  constructor(context, output, at, softly) {
    this.context = context;
    this.nodes = new Set();
    this.gain = context.createGain();
    this.gain.connect(output);
    if (softly) {
      this.gain.gain.setValueAtTime(0, at / RATE);
      this.gain.gain.linearRampToValueAtTime(1, at / RATE + FADE_S);
    }
  }

  /** Order frames of a buffer: from `offset` on, to be heard at `at`. */
  order(buffer, at, offset, frames) {
    const node = this.context.createBufferSource();
    node.buffer = buffer;
    node.connect(this.gain);
    node.onended = () => this.nodes.delete(node);
    this.nodes.add(node);
    // Without a length where the buffer ends anyway: rounding must not drop the last frame.
    if (offset + frames >= buffer.length) node.start(at / RATE, offset / RATE);
    else node.start(at / RATE, offset / RATE, frames / RATE);
  }

  /** Fade out at a frame of the clock. */
  end(at) {
    const when = at / RATE;
    this.gain.gain.cancelScheduledValues(when);
    this.gain.gain.setValueAtTime(1, when);
    this.gain.gain.linearRampToValueAtTime(0, when + FADE_S);
    for (const node of this.nodes) node.stop(when + FADE_S);
  }
}

/** Plays a rendering while it still grows, and changes to another without losing the place. */
class Sound {
  /** @param {() => void} changed called when the state may have become another */
  constructor(changed) {
    this.changed = changed;
    this.wanted = false; // whether the listener wants to hear it
    this.rendering = new Rendering(null, 0);
    /** @type {Rendering | null} */
    this.next = null; // takes over as soon as it has what is needed
    /** @type {{start: number, end: number} | null} */
    this.loop = null;
    this.held = 0; // the place where nothing is ordered
    /** @type {{at: number, piece: number, frames: number}[]} */
    this.segments = []; // what is ordered
    this.tail = { at: 0, piece: 0 }; // where the next order goes
    /** @type {Run | null} */
    this.run = null;
    this.output = null;
    this.timer = 0;
  }

  // ------------------------------------------------------------------------------------- to read

  /** "paused", "playing", or "waiting" for sound that has not come yet. */
  get state() {
    if (!this.wanted) return "paused";
    const now = this.now;
    const sounds = this.segments.some(({ at, frames }) => at <= now + LEAD && now < at + frames);
    return sounds && shared.context.state === "running" ? "playing" : "waiting";
  }

  /** The place that is heard at this moment. */
  get position() {
    const latency = shared.context?.outputLatency || 0;
    return this.pieceAt(this.now - Math.min(latency, 0.5) * RATE);
  }

  get now() {
    return (shared.context?.currentTime ?? 0) * RATE;
  }

  pieceAt(time) {
    let piece = this.held;
    for (const each of this.segments) {
      if (each.at <= time) piece = each.piece + Math.min(time - each.at, each.frames);
    }
    return piece;
  }

  get ended() {
    const { complete, end } = this.rendering;
    return complete && this.tail.piece >= end;
  }

  // --------------------------------------------------------------------------------------- to do

  play() {
    const context = audioContext();
    context.resume().catch(() => {}); // then it is "waiting" until somebody presses again
    this.output ??= this.makeOutput(context);
    this.setVolume(shared.volume);
    if (this.rendering.complete && this.held >= this.rendering.end - 1) this.held = 0;
    this.wanted = true;
    this.begin(this.held);
    clearInterval(this.timer);
    this.timer = setInterval(() => this.pump(), 150);
    this.changed();
  }

  makeOutput(context) {
    const output = context.createGain();
    output.connect(context.destination);
    return output;
  }

  pause() {
    this.held = this.position;
    this.stop();
    this.changed();
  }

  stop() {
    this.wanted = false;
    clearInterval(this.timer);
    this.run?.end(Math.ceil(this.now));
    this.run = null;
    this.segments = [];
  }

  seek(piece) {
    this.held = Math.max(0, Math.round(piece));
    if (this.wanted) this.begin(this.held);
    this.changed();
  }

  begin(piece) {
    const at = Math.ceil(this.now);
    this.run?.end(at);
    this.run = null;
    this.segments = [];
    this.held = piece;
    this.tail = { at: 0, piece: Math.round(piece) };
    this.pump();
  }

  setLoop(loop) {
    this.loop = loop;
    if (this.wanted) this.begin(this.position);
  }

  setVolume(volume) {
    shared.volume = volume;
    this.output?.gain.setTargetAtTime(volume ** 2, shared.context.currentTime, 0.02);
  }

  /** Another piece: the former one falls silent, and its place is forgotten. */
  replace(rendering, piece) {
    this.stop();
    this.rendering = rendering;
    this.next = null;
    this.held = piece;
    this.changed();
  }

  /** The same piece in another sound. */
  offer(rendering) {
    this.next = rendering;
    this.arrived();
  }

  /** To be called when a chunk has come, or was found to be the last. */
  arrived() {
    if (this.wanted) this.pump();
    else if (this.next?.ready(this.held)) this.take();
    this.changed();
  }

  take() {
    if (!this.next) return;
    this.rendering = this.next;
    this.next = null;
  }

  // ------------------------------------------------------------------------------------- ordering

  /** Order what there is room for, and see whether anything ran out. */
  pump() {
    if (!this.wanted) return;
    const now = this.now;
    if (this.next?.ready(Math.floor(this.pieceAt(now + LEAD)))) this.swap(Math.ceil(now) + LEAD);
    this.forget(now - RATE);
    while (this.tail.at < now + AHEAD && this.orderNext(now));
    if (this.ended && !this.heardLoop && now >= this.tail.at) this.finish();
    this.changed();
  }

  orderNext(now) {
    const loop = this.heardLoop;
    if (loop && this.tail.piece >= loop.end) this.tail.piece = loop.start;
    const { piece } = this.tail;
    const chunk = this.rendering.at(piece);
    if (!chunk || !this.rendering.ready(piece)) return false;
    if (this.tail.at < now + LEAD / 8) this.tail.at = Math.ceil(now) + LEAD; // it was late
    const { at } = this.tail;
    const frames = Math.min(chunk.end, loop ? loop.end : Infinity) - piece;
    this.run ??= new Run(shared.context, this.output, at, piece > 0);
    if (chunk.buffer) this.run.order(chunk.buffer, at, piece - chunk.start, frames);
    this.segments.push({ at, piece, frames });
    this.tail = { at: at + frames, piece: piece + frames };
    return true;
  }

  /** The loop as far as there is sound for it; null where there is none. */
  get heardLoop() {
    if (!this.loop) return null;
    const { complete, end: last } = this.rendering;
    const end = Math.min(this.loop.end, complete ? last : Infinity);
    return end > this.loop.start ? { start: this.loop.start, end } : null;
  }

  swap(at) {
    const piece = Math.round(this.pieceAt(at));
    this.run?.end(at);
    this.run = new Run(shared.context, this.output, at, true);
    this.segments = this.segments.filter((each) => each.at < at);
    for (const each of this.segments) each.frames = Math.min(each.frames, at - each.at);
    this.tail = { at, piece };
    this.take();
  }

  forget(time) {
    while (this.segments.length && this.segments[0].at + this.segments[0].frames < time) {
      const [{ piece, frames }] = this.segments.splice(0, 1);
      this.held = piece + frames;
    }
  }

  finish() {
    this.stop();
    this.held = this.rendering.end;
  }
}
