// The core with its weights: structs and calls of core.h.

import { CoreMemory } from "./memory.js";
import { readHeader, unpack } from "./model_file.js";

/** @import { Constraints, ModelInfo, Part, ScoreColumns, TokenTable } from "./types.d.ts" */

const BOS = 1;
const CONTEXT_TOKENS = 8192;
const EIGHTHS = 24;
const PROMPT_ARRAYS = 7; // pointers at the start of `Prompt`
const PROMPT_NUMBERS = 9; // integers after them
const BAR_TOKENS = 32768;
const BAR_FEATURES = 27;
const MAX_ROWS = 32;
const OFFSETS = ["hidden", "cell", "logits", "tokens", "logProbs", "status"]; // order of core.h

export class Core extends CoreMemory {
  /** @param {WebAssembly.Module} module @param {ArrayBuffer} model @returns {Promise<Core>} */
  static async create(module, model) {
    return new Core(await WebAssembly.instantiate(module, {}), model);
  }

  /** @param {WebAssembly.Instance} instance @param {ArrayBuffer} model */
  constructor(instance, model) {
    super(instance);
    const header = readHeader(model);
    this.addresses = this.copyArrays(model, header);
    this.network = this.writeNetwork(header);
    const sized = ["kind", "value", "unit"].map((name) => this.array(Int32Array, this.addresses[`token_${name}`], header.tokens).slice());
    /** @type {TokenTable} */
    this.tokens = { kind: sized[0], value: sized[1], unit: sized[2], eos: header.eos };
    this.table = this.fillTable(header);
    this.vocab = header.tokens;
    this.layerFloats = header.network[0] * header.network[1];
    this.base = this.top; // keeps the weights
    /** @type {ModelInfo} */
    this.info = { ...header.info, table: this.tokens };
  }

  /** @param {ArrayBuffer} model @param {import("./model_file.js").Header} header */
  copyArrays(model, header) {
    /** @type {Record<string, number>} */
    const addresses = {};
    for (const stored of header.arrays) {
      const { Type, values } = unpack(model, header, stored);
      addresses[stored.name] = this.allocate(values.byteLength);
      this.array(Type, addresses[stored.name], values.length).set(/** @type {any} */ (values));
    }
    return addresses;
  }

  /** Write `Network`: numbers, then addresses, of four bytes each. @param {import("./model_file.js").Header} header */
  writeNetwork({ network, pointers }) {
    const at = this.allocate(4 * (network.length + pointers.length));
    const view = new DataView(this.memory.buffer, at);
    network.forEach((number, i) => {
      const isFloat = i === network.length - 1; // epsilon
      if (isFloat) view.setFloat32(4 * i, number, true);
      else view.setInt32(4 * i, number, true);
    });
    pointers.forEach((name, i) => view.setUint32(4 * (network.length + i), this.addresses[name] ?? 0, true));
    return at;
  }

  /** @param {import("./model_file.js").Header} header */
  fillTable({ tokens, eos }) {
    const at = this.allocate(Number(this.functions.token_table_bytes()));
    const columns = ["kind", "value", "unit"].map((name) => this.addresses[`token_${name}`]);
    this.call("token_table_fill", at, tokens, ...columns, eos);
    return at;
  }

  // -------------------------------------------------------------------------------------- scores

  /** Write `Score`. @param {ScoreColumns} score */
  placeScore({ ticksPerQuarter, programs, notes, tempos, meters }) {
    const arrays = [programs, notes, tempos, meters].map((each) => this.place(each));
    return this.place([ticksPerQuarter, programs.length, notes.length / 5, tempos.length / 2, meters.length / 3, ...arrays]);
  }

  /**
   * Read a prompt: the ids that the network reads, and what new bars need.
   * @param {ScoreColumns} score @returns {{ids: Int32Array, parts: Part[], constraints: Constraints}}
   */
  readPrompt(score) {
    const tracks = score.programs.length;
    const at = this.placeScore(score);
    const ids = this.allocate(4 * (CONTEXT_TOKENS + 1));
    const columns = Array.from({ length: 5 }, () => this.allocate(4 * tracks)); // programs to pitches
    const velocities = this.allocate(tracks * EIGHTHS);
    const prompt = this.place([ids, ...columns, velocities, ...new Array(PROMPT_NUMBERS).fill(0)]);
    const scratch = this.allocate(this.call("prompt_scratch_bytes", at, 0));
    this.call("prompt_read", this.table, at, 0, 0, BOS, prompt, scratch);
    const numbers = this.array(Int32Array, prompt + 4 * PROMPT_ARRAYS, PROMPT_NUMBERS);
    const [idCount, partCount, trackCount, , , , , meter, maxAtOnce] = numbers;
    const [programs, partNumbers, partOfTrack, order] = columns.map((column) => this.array(Int32Array, column, tracks));
    const played = [...order.subarray(0, trackCount)];
    const parts = Array.from({ length: partCount }, (_, part) => ({
      program: programs[part],
      number: partNumbers[part],
      tracks: played.filter((track) => partOfTrack[track] === part),
      velocities: this.array(Uint8Array, velocities + part * EIGHTHS, EIGHTHS).slice(),
    }));
    const own = [...new Set(score.programs)].sort((a, b) => a - b);
    return { ids: this.array(Int32Array, ids, idCount).slice(), parts, constraints: { programs: own, meter, maxAtOnce } };
  }

  // ----------------------------------------------------------------------------------- sequences

  /** @param {number} rows */
  workspace(rows) {
    return this.allocate(Number(this.functions.workspace_bytes(this.network, rows)));
  }

  newSequence() {
    return new Sequence(this);
  }

  /** Append tokens to the open bars. @param {Sequence[]} sequences at most 32 @param {number[]} tokens meter, tempos and whole blocks @param {number} workspace */
  append(sequences, tokens, workspace) {
    const pointers = this.place(sequences.map(({ at }) => at));
    this.call("sequences_append", pointers, sequences.length, this.network, this.table, this.place(tokens), BigInt(tokens.length), workspace);
  }

  /** Complete the open bars. @param {Sequence[]} sequences at most 32 @param {number} workspace */
  write(sequences, workspace) {
    const pointers = this.allocate(4 * MAX_ROWS);
    for (let open = sequences; open.length; open = open.filter(({ isComplete }) => !isComplete)) {
      this.array(Uint32Array, pointers, open.length).set(open.map(({ at }) => at));
      this.call("sequences_write", pointers, open.length, this.network, this.table, workspace);
    }
  }
}

/** A prompt and the bars after it, with which candidates for the next bar are compared. */
export class BarContext {
  /** @param {Core} core @param {Int32Array} prompt ids @param {Int32Array[]} bars new ones so far */
  constructor(core, prompt, bars) {
    this.core = core;
    this.at = core.allocate(Number(core.functions.bar_context_bytes()));
    this.features = core.allocate(4 * BAR_FEATURES);
    this.call("begin", core.place(prompt), prompt.length);
    for (const bar of bars) this.call("add", core.place(bar), bar.length);
  }

  /** @param {string} name @param {number} ids address @param {number} count @param {number[]} others */
  call(name, ids, count, ...others) {
    this.core.call(`bar_context_${name}`, this.at, this.core.table, ids, BigInt(count), ...others);
  }

  /** Add the complete bar of a sequence. @param {Sequence} sequence */
  add({ places, count }) {
    this.call("add", places.tokens, count);
  }

  /** Return the score of the complete bar of a sequence. @param {Pick<Sequence, "places" | "count">} sequence */
  score({ places, count }) {
    this.call("features", places.tokens, count, places.logProbs, this.features);
    return Number(this.core.functions.bar_score(this.core.addresses.bar_score, this.features));
  }

  /** Add a bar. @param {Int32Array} tokens */
  addTokens(tokens) {
    this.call("add", this.core.place(tokens), tokens.length);
  }

  /** Return the score of a bar. @param {Int32Array} tokens @param {Float32Array} logProbs */
  scoreOf(tokens, logProbs) {
    const { core } = this;
    const at = core.allocate(logProbs.byteLength);
    core.array(Float32Array, at, logProbs.length).set(logProbs);
    return this.score({ places: { tokens: core.place(tokens), logProbs: at }, count: tokens.length });
  }

  /** Features of the bar whose score was asked for last. */
  get lastFeatures() {
    return this.core.array(Float32Array, this.features, BAR_FEATURES).slice();
  }
}

export class Sequence {
  /** @param {Core} core */
  constructor(core) {
    this.core = core;
    this.at = core.allocate(Number(core.functions.sequence_bytes(core.network)));
    core.functions.sequence_begin(this.at, core.network);
    const offsets = core.allocate(8 * OFFSETS.length);
    core.functions.sequence_offsets(core.network, offsets);
    const starts = core.array(BigInt64Array, offsets, OFFSETS.length);
    this.places = Object.fromEntries(OFFSETS.map((name, i) => [name, this.at + Number(starts[i])]));
  }

  /** @param {Int32Array} ids @param {number} workspace */
  read(ids, workspace) {
    const { core } = this;
    core.call("sequence_read", this.at, core.network, core.table, core.place(ids), BigInt(ids.length), workspace);
  }

  get stateParts() {
    const { core, places } = this;
    return [
      core.array(Float32Array, places.hidden, core.layerFloats),
      core.array(Float32Array, places.cell, core.layerFloats),
      core.array(Float32Array, places.logits, core.vocab),
    ];
  }

  /** Hidden and cell states and logits, one after the other. */
  get state() {
    const parts = this.stateParts;
    const state = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const part of parts) {
      state.set(part, at);
      at += part.length;
    }
    return state;
  }

  /** Become a copy. @param {Sequence} other */
  assign(other) {
    const { core } = this;
    const bytes = Number(core.functions.sequence_bytes(core.network));
    new Uint8Array(core.memory.buffer).copyWithin(this.at, other.at, other.at + bytes);
  }

  /** @param {Float32Array} state @param {number} rules address @param {Int32Array} ids @param {number} prompt how many of the ids */
  restore(state, rules, ids, prompt) {
    const { core } = this;
    let at = 0;
    for (const part of this.stateParts) {
      part.set(state.subarray(at, at + part.length));
      at += part.length;
    }
    core.call("sequence_restore", this.at, core.table, rules, core.place(ids), BigInt(ids.length), BigInt(prompt));
  }

  /** @param {number} rules address @param {number} sampling address @param {number} bar @param {number} [candidate] */
  openBar(rules, sampling, bar, candidate = 0) {
    this.core.call("sequence_open_bar", this.at, this.core.table, rules, sampling, bar, candidate);
  }

  /** End the kept parts of the open bar. @param {Uint8Array[]} limits see sequence_limit_parts */
  limitParts(limits) {
    this.core.call("sequence_limit_parts", this.at, ...limits.map((each) => this.core.placeBytes(each)));
  }

  get isComplete() {
    return this.core.array(Int32Array, this.places.status, 2)[1] !== 0;
  }

  /** Number of tokens of the bar. */
  get count() {
    return Math.min(this.core.array(Int32Array, this.places.status, 2)[0], BAR_TOKENS);
  }

  /** The bar that is complete. */
  get bar() {
    const { core, places, count } = this;
    return {
      tokens: core.array(Int32Array, places.tokens, count).slice(),
      logProbs: core.array(Float32Array, places.logProbs, count).slice(),
      state: this.state,
    };
  }
}
