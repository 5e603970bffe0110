// Shows and plays a growing piece: the player of the other page, with chunks from a Web Worker.
//
// Every change of notes is a rendering of its own, so that playback continues at its position.

import { Player } from "../../playback/static/player.js";
import { rollData } from "../music/roll.js";
import { TempoMap, lastNoteEnd } from "../music/timing.js";
import { Remote } from "../rpc.js";
import { BLOCK, CHUNK, RELEASE, SAMPLE_RATE, synthEvents } from "./events.js";

/** @import { Bars, ChunkAnswer, RollData, Update } from "../../playback/static/types.d.ts" */
/** @import { Score } from "../music/types.d.ts" */

const MAX_CACHED = 400; // chunks of half a second, 180 kB each
const SILENT = "The sound of an instrument could not be fetched. It stays silent until you are online again.";

/**
 * @typedef {object} Shown
 * @property {Score} score
 * @property {number} promptEnd tick where the new bars start
 * @property {number} end tick of the last bar line
 * @property {number} planned bars, those that are still composed included
 * @property {boolean} complete whether no bars are being composed
 * @property {number} changedFrom tick from which the notes differ from those shown before
 */

export class PiecePlayer {
  /** @param {HTMLElement} element @param {(bars: Bars | null) => void} onSelect */
  constructor(element, onSelect) {
    this.worker = new Remote(new Worker("sound_worker.js", { type: "module" }));
    this.stream = 0;
    this.rendering = 0;
    this.number = 0;
    this.version = 0; // of the piece in the worker
    /** @type {Map<number, AudioBuffer>} */
    this.cache = new Map(); // by first frame
    /** @type {Set<number>} */
    this.muted = new Set();
    /** @type {Set<string>} */
    this.kept = new Set(); // names of sounds
    /** @type {Shown | null} */
    this.shown = null;
    /** @type {RollData | null} */
    this.roll = null;
    this.player = new Player(element, {
      id: "player", label: "Music", armedBy: [],
      trigger: (event, data) => {
        const { first, last, muted } = /** @type {any} */ (data);
        if (event === "bars") onSelect(first ? [first, last] : null);
        if (event === "mute") this.mute(muted);
      },
      server: {
        fetch_missing: ({ rendering, starts }) => this.fetchChunks(rendering, starts),
        fetch_roll: async () => ({ number: this.number, roll: JSON.stringify(this.roll) }),
      },
    });
  }

  /** Show another piece, from its start. @param {Shown} shown */
  open(shown) {
    this.stream += 1;
    this.muted.clear();
    this.update({ ...shown, changedFrom: 0 }, true);
  }

  /** Show a change of the piece: more bars, or others. @param {Shown} shown */
  show(shown) {
    const before = this.shown;
    const isLonger = before && !before.complete && shown.changedFrom >= before.end;
    this.update(shown, !isLonger);
  }

  /** @param {number[]} muted */
  mute(muted) {
    this.muted = new Set(muted);
    if (this.shown) this.update({ ...this.shown, changedFrom: 0 }, true);
  }

  /** Play the bars after a tick as soon as they are there, unless something plays. @param {number} tick */
  playFrom(tick) {
    const { player } = this;
    // A link composes without a press; then the browser permits no sound.
    if (player.wants || !navigator.userActivation?.hasBeenActive) return;
    player.seek(tick);
    player.play();
  }

  /** @param {Bars | null} bars */
  select(bars) {
    this.player.select(bars, true);
  }

  /** @param {Shown} shown @param {boolean} changes whether chunks before the end have changed */
  update(shown, changes) {
    const map = new TempoMap(shown.score);
    const validTo = Math.floor((map.secondsAt(shown.changedFrom) * SAMPLE_RATE) / CHUNK) * CHUNK;
    for (const [start] of this.cache) if (start + CHUNK > validTo) this.cache.delete(start);
    const before = this.shown;
    this.shown = shown;
    this.roll = rollData(shown.score, shown);
    this.chunks = chunksTo(map, shown);
    if (changes) this.rendering += 1;
    this.number += 1;
    this.version += 1;
    this.sent = this.worker.call("piece", { ...synthEvents(shown.score, this.muted), validTo, version: this.version });
    this.sent.then((all) => this.soundsLoaded(all), () => {});
    if (before?.complete && !shown.complete) this.player.sound.truncate(validTo);
    this.player.receive(this.value(changes));
    this.stayInside();
  }

  /** @param {boolean} all whether none is missing */
  soundsLoaded(all) {
    if (!all) this.player.controls.showError(SILENT);
    this.keepSounds();
  }

  /** Let the service worker keep the sounds that the worker fetched before it was there. */
  keepSounds() {
    if (!navigator.serviceWorker?.controller || !this.shown) return;
    for (const { isDrum, program } of this.shown.score.tracks) {
      const name = isDrum ? "drums" : String(program);
      if (this.kept.has(name)) continue;
      this.kept.add(name);
      fetch(`sounds/${name}.sf3`, { cache: "force-cache" }).catch(() => this.kept.delete(name));
    }
  }

  /** @param {boolean} changes @returns {Update} */
  value(changes) {
    const { cache, shown, roll } = this;
    return {
      number: this.number,
      stream: String(this.stream),
      rendering: this.rendering,
      roll: JSON.stringify({ base: null, ...roll, ...firstRows(/** @type {RollData} */ (roll)) }),
      planned_bars: shown?.planned ?? null,
      cue_frame: 0,
      chunks: this.chunks ?? [],
      new_chunks: changes ? [...cache] : [],
      complete: shown?.complete ?? true,
      on_request: false,
      muted: [...this.muted],
      selection: null,
    };
  }

  /** After undo, a position beyond the end moves to the end. */
  stayInside() {
    const { clock } = this.player.roll;
    const end = clock.secondsAt(clock.endTick) * SAMPLE_RATE;
    if (this.shown?.complete && this.player.sound.position > end + RELEASE) this.player.seek(clock.endTick);
  }

  /** Answer with the chunks that are there; render one if there are none. @param {number} rendering @param {number[]} starts @returns {Promise<ChunkAnswer>} */
  async fetchChunks(rendering, starts) {
    const known = starts.filter((start) => this.cache.has(start));
    if (!known.length) {
      await this.sent;
      await this.renderChunk(starts[0], rendering);
    }
    const found = known.length ? known : starts.slice(0, 1);
    const chunks = found.flatMap((start) => {
      const buffer = this.cache.get(start);
      return buffer ? [/** @type {[number, AudioBuffer]} */ ([start, buffer])] : [];
    });
    return { chunks: rendering === this.rendering ? chunks : [], known: true };
  }

  /** @param {number} start @param {number} rendering */
  async renderChunk(start, rendering) {
    const frames = this.chunks?.find(([first]) => first === start)?.[1];
    if (!frames) return;
    let samples = null;
    // The piece may grow meanwhile; then the worker asks for another call.
    while (!samples && rendering === this.rendering) {
      samples = await this.worker.call("render", { start, frames, version: this.version });
    }
    if (!samples || rendering !== this.rendering) return;
    const buffer = new AudioBuffer({ length: frames, numberOfChannels: 2, sampleRate: SAMPLE_RATE });
    samples.forEach((/** @type {Float32Array<ArrayBuffer>} */ each, /** @type {number} */ i) => buffer.copyToChannel(each, i));
    this.cache.set(start, buffer);
    const [oldest] = this.cache.keys();
    if (this.cache.size > MAX_CACHED) this.cache.delete(oldest);
  }

  /** Render everything, in its order. @param {(share: number) => void} onProgress @returns {Promise<Float32Array[][]>} */
  async renderAll(onProgress) {
    const { rendering } = this;
    const found = [];
    for (const [start] of this.chunks ?? []) {
      if (!this.cache.has(start)) await this.renderChunk(start, rendering);
      const buffer = this.cache.get(start);
      if (!buffer || rendering !== this.rendering) throw new Error("The music has changed. Save it again.");
      found.push([buffer.getChannelData(0), buffer.getChannelData(1)]);
      onProgress(found.length / (this.chunks?.length ?? 1));
    }
    return found;
  }

  /**
   * Render each track that has notes alone, in a worker of its own, so that playback is not disturbed.
   * @param {(name: string, chunks: Float32Array[][]) => void} onStem @param {(share: number) => void} onProgress
   */
  async renderStems(onStem, onProgress) {
    const { shown, roll, chunks = [] } = this;
    if (!shown || !roll) return;
    const played = roll.instruments.map((_, i) => i).filter((i) => shown.score.tracks[i].notes.length);
    const worker = new Remote(new Worker("sound_worker.js", { type: "module" }));
    try {
      for (const [version, track] of played.entries()) {
        const others = new Set(roll.instruments.keys());
        others.delete(track);
        await worker.call("piece", { ...synthEvents(shown.score, others), validTo: 0, version });
        const found = [];
        for (const [start, frames] of chunks) {
          found.push(await worker.call("render", { start, frames, version }));
          onProgress((version + found.length / chunks.length) / played.length);
        }
        onStem(roll.instruments[track].name, found);
      }
    } finally {
      worker.worker.terminate();
    }
  }
}

/** Return start and length of the chunks that are known. @param {TempoMap} map @param {Shown} shown @returns {[number, number][]} */
function chunksTo(map, { score, end, complete }) {
  const last = complete ? map.secondsAt(Math.max(end, lastNoteEnd(score))) * SAMPLE_RATE + RELEASE : map.secondsAt(end) * SAMPLE_RATE;
  const frames = (complete ? Math.ceil(last / BLOCK) : Math.floor(last / CHUNK) * (CHUNK / BLOCK)) * BLOCK;
  return Array.from({ length: Math.ceil(frames / CHUNK) }, (_, i) => [i * CHUNK, Math.min(CHUNK, frames - i * CHUNK)]);
}

/** The tables of a whole roll as changes of an empty one. @param {RollData} roll */
function firstRows({ bars, clock, notes }) {
  return { bars: { from: 0, ...bars }, clock: { from: 0, ...clock }, notes: { from: 0, ...notes } };
}
