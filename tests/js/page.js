// A page and an AudioContext without sound, for tests in node.

export const RATE = 44100;

class FakeSource {
  constructor(context) {
    this.context = context;
  }

  connect() {}

  start(when, offset, duration) {
    const frames = Math.round((duration ?? Infinity) * RATE);
    this.context.started.push([Math.round(when * RATE), Math.round(offset * RATE), frames]);
  }

  stop(when) {
    this.context.stopped.push(Math.round(when * RATE));
  }
}

class FakeContext {
  constructor() {
    this.currentTime = 0;
    this.state = "running";
    this.started = []; // time, offset, frames
    this.stopped = [];
  }

  get destination() {
    return {};
  }

  async resume() {}

  createGain() {
    const nothing = () => {};
    const gain = new Proxy({}, { get: () => nothing });
    return { gain, connect: nothing, context: this };
  }

  createBufferSource() {
    return new FakeSource(this);
  }

  /** Let time pass. */
  advance(frames) {
    this.currentTime += frames / RATE;
  }
}

class FakeBuffer {
  constructor({ length }) {
    this.length = length;
  }

  getChannelData() {
    return new Float32Array(this.length);
  }
}

/** Install a page; return its AudioContext. */
export function openPage() {
  const context = new FakeContext();
  const musiclstm = { players: new Map(), context, volume: 0.8, listening: true };
  globalThis.AudioBuffer = FakeBuffer;
  globalThis.window = { musiclstm, setInterval: () => 0, AudioContext: FakeContext };
  return context;
}
