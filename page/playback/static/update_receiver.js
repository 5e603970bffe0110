// Receives updates in any order, and fetches the chunks and rolls that are missing.

import { Rendering } from "./rendering.js";
import { applyChanges } from "./roll_data.js";

/** @import { ChunkPlayer } from "./chunk_player.js" */
/** @import { ChunkAnswer, ChunkData, RollChanges, RollData, Server, Update } from "./types.d.ts" */

const RETRY_MS = [500, 1000, 2000, 4000];
const MAX_STARTS = 64; // chunks in one request
const BROKEN = "A part of the sound could not be read and stays silent.";
const LOST = "A part of the sound did not arrive. Press play to try again.";
const GONE = "The sound of this piece is no longer kept. Press Continue for a new one.";

export class UpdateReceiver {
  /**
   * @param {Server} server
   * @param {ChunkPlayer} sound
   * @param {{accept: (update: Update, isNew: boolean) => void, rollFetched: () => void,
   *   showError: (sentence: string) => void}} actions
   */
  constructor(server, sound, actions) {
    this.server = server;
    this.sound = sound;
    this.actions = actions;
    this.number = 0; // of the newest update
    /** @type {RollData | null} */
    this.roll = null;
    /** @type {number | null} */
    this.rollNumber = null; // of the update that `roll` belongs to
    this.failures = 0; // of requests for chunks; Infinity: no more requests
    this.receiving = false;
    this.fetchingChunks = false;
    this.fetchingRoll = false;
  }

  /** The rendering that is played, or will be. */
  get newest() {
    return this.sound.next ?? this.sound.rendering;
  }

  /** @param {Update} update */
  receive(update) {
    const current = this.newest;
    const isNew = update.stream !== current.stream;
    const isLate = update.number <= this.number;
    if (!isNew && update.rendering < current.number) return;
    if (isLate && (isNew || update.rendering !== current.number)) return;
    const changes = isNew || update.rendering > current.number;
    const rendering = changes ? new Rendering(update.stream, update.rendering) : current;
    rendering.add(update.chunks, update.complete);
    this.receiving = true; // the update may carry chunks that would be fetched otherwise
    if (!isLate) {
      this.number = update.number;
      if (changes) this.failures = 0;
      if (isNew) this.sound.replace(rendering, update.cue_frame);
      else if (changes) this.sound.offer(rendering);
      this.receiveRoll(update, isNew);
      this.actions.accept(update, isNew);
    }
    for (const [start, data] of update.new_chunks) this.put(rendering, start, data);
    this.receiving = false;
    this.sound.chunkArrived();
    this.fetchChunks();
  }

  // --------------------------------------------------------------------------------------- roll

  /** @param {Update} update @param {boolean} isNew */
  receiveRoll(update, isNew) {
    /** @type {RollChanges} */
    const changes = JSON.parse(update.roll);
    if (isNew) this.roll = this.rollNumber = null;
    if (changes.base !== null && changes.base !== this.rollNumber) {
      this.fetchRoll();
      return;
    }
    this.roll = applyChanges(changes.base === null ? null : this.roll, changes);
    this.rollNumber = update.number;
  }

  /** Fetch the whole roll after a lost update. */
  async fetchRoll(failures = 0) {
    if (this.fetchingRoll) return;
    this.fetchingRoll = true;
    const { stream } = this.newest;
    const answer = await this.server.fetch_roll({ stream }).catch(() => null);
    this.fetchingRoll = false;
    const isCurrent = stream === this.newest.stream;
    if (isCurrent && answer && answer.number > (this.rollNumber ?? 0)) {
      this.roll = JSON.parse(answer.roll);
      this.rollNumber = answer.number;
      this.actions.rollFetched();
    }
    if ((this.rollNumber ?? 0) >= this.number) return;
    const next = isCurrent && !answer ? failures + 1 : 0;
    if (next <= RETRY_MS.length) setTimeout(() => this.fetchRoll(next), next && RETRY_MS[next - 1]);
  }

  // ------------------------------------------------------------------------------------- chunks

  /** Decode a chunk. @param {Rendering} rendering @param {number} start @param {ChunkData} data */
  async put(rendering, start, data) {
    await rendering.put(start, data, this.sound.keptRanges);
    const isBroken = rendering.chunks.some(({ state }) => state === "broken");
    const isUsed = rendering === this.sound.rendering || rendering === this.sound.next;
    if (isBroken && isUsed) this.actions.showError(BROKEN);
    this.sound.chunkArrived();
  }

  /** Fetch the absent chunks around the position: lost with an update, or freed. */
  async fetchChunks() {
    if (this.receiving || this.fetchingChunks || this.failures === Infinity) return;
    const rendering = this.newest;
    const missing = rendering.missing(this.sound.keptRanges, this.sound.position);
    const starts = missing.slice(0, MAX_STARTS);
    if (!starts.length) return;
    this.fetchingChunks = true;
    const request = { stream: rendering.stream, rendering: rendering.number, starts };
    const answer = await this.server.fetch_missing(request).catch(() => null);
    this.fetchingChunks = false;
    for (const [start, data] of answer?.chunks ?? []) this.put(rendering, start, data);
    if (answer?.chunks.length) this.failures = 0;
    else if (rendering === this.newest) return this.retryLater(answer);
    this.fetchChunks();
  }

  /** @param {ChunkAnswer | null} answer */
  retryLater(answer) {
    const isGone = answer !== null && !answer.known;
    const wait = isGone ? undefined : RETRY_MS[this.failures];
    this.failures = wait ? this.failures + 1 : Infinity;
    if (wait) setTimeout(() => this.fetchChunks(), wait);
    else this.actions.showError(isGone ? GONE : LOST);
  }

  /** Fetch again after the user's press, also after failures. */
  retry() {
    if (this.failures === Infinity) this.actions.showError("");
    this.failures = 0;
    this.fetchChunks();
  }
}
