// The piece on the page: prompt, new bars, takes, undo and redo. It has no controls of its own.

import { MidiFiles } from "../engine/midi_files.js";
import { fetchCore, once } from "../files.js";
import { scoreColumns } from "../music/columns.js";
import { readMidi } from "../music/midi_reader.js";
import { Base, Piece } from "../music/piece.js";
import { Prompt } from "../music/prompt.js";
import { Remote } from "../rpc.js";

/** @import { ModelInfo, Part, Settings, WrittenBar } from "../engine/types.d.ts" */
/** @import { Step } from "../music/piece.js" */
/** @import { PiecePlayer } from "../sound/piece_player.js" */

const MAX_BARS = 4_096;
const AHEAD = 16; // bars that an endless piece is ahead of playback
const PACE_MS = 500;
const SHOW_MS = 100; // between two updates while bars are written, after the first bar

export class Studio {
  /** @param {PiecePlayer} player @param {() => void} onChange */
  constructor(player, onChange) {
    this.player = player;
    this.onChange = onChange;
    this.engine = new Remote(new Worker("engine_worker.js", { type: "module" }), (message) => this.addBar(message));
    /** @type {Promise<ModelInfo>} */
    this.model = this.engine.call("load");
    this.midiFiles = once(async () => MidiFiles.create(await fetchCore()));
    for (const each of [this.model, this.midiFiles()]) each.catch(() => {}); // the first prompt reports it
    /** @type {Uint8Array<ArrayBuffer>} */
    this.file = new Uint8Array(0);
    /** @type {Piece | null} */
    this.piece = null;
    /** @type {Piece[]} */
    this.past = [];
    /** @type {Piece[]} */
    this.future = [];
    /** @type {Piece[]} */
    this.takes = []; // alternatives of the last step
    this.chosen = 0;
    this.shared = 0; // new bars that all takes have
    this.sharedEnd = 0; // tick
    this.changedFrom = Infinity; // tick from which the player shows other notes than the piece
    this.shownAt = -Infinity; // milliseconds
    this.startedAt = -Infinity;
    this.showing = 0; // timer
    this.planned = 0; // new bars
    this.endless = false;
    this.pace = 0; // timer
    this.job = 0;
    this.opening = 0;
    this.writing = false;
    /** @type {Settings[]} */
    this.settings = []; // of each take
  }

  get promptBars() {
    return this.piece?.base.prompt.bars ?? 0;
  }

  get newBars() {
    return this.piece?.bars.length ?? 0;
  }

  /** Open a prompt. @param {Uint8Array<ArrayBuffer>} file @param {{name: string, source: string}} from */
  async open(file, from) {
    const own = ++this.opening;
    const { score, repairs } = await readMidi(await this.midiFiles(), file);
    const prompt = new Prompt(score, { ...from, repairs });
    await this.stop();
    if (own !== this.opening) return;
    this.piece = null;
    this.show(prompt);
    const [model, read] = await Promise.all([this.model.catch(() => this.retry()), this.engine.call("read", scoreColumns(prompt.score))]);
    if (own !== this.opening) return;
    this.file = file;
    this.piece = new Piece(new Base(prompt, read, model.table));
    this.past = [];
    this.future = [];
    this.takes = [];
    this.planned = 0;
    this.onChange();
  }

  /** Show a stored piece of the prompt that is open; its steps can be undone. @param {{bars: WrittenBar[], steps: Step[], isEdited: boolean}} stored */
  takeUp({ bars, steps, isEdited }) {
    if (!this.piece || !bars.length) return;
    const whole = new Piece(this.piece.base, bars, steps, isEdited);
    let count = 0;
    this.past = steps.map((step) => whole.truncated((count += step.bars) - step.bars));
    this.planned = bars.length;
    this.choosePiece(whole, whole.base.prompt.end);
  }

  retry() {
    this.model = this.engine.call("load");
    return this.model;
  }

  /** Show a prompt that is being read. @param {Prompt} prompt */
  show(prompt) {
    this.player.open({
      score: prompt.score, promptEnd: prompt.end, end: prompt.end, planned: prompt.bars, complete: true, changedFrom: 0,
    });
    this.onChange();
  }

  // ------------------------------------------------------------------------------------- writing

  /** Append bars. @param {number | null} bars null: until `stop` @param {Settings} settings */
  append(bars, settings) {
    return this.piece && this.write(this.piece, bars, [settings]);
  }

  /** Make the last step again. @param {Settings} settings */
  again(settings) {
    if (!this.piece) return;
    const { beforeLastStep } = this.piece;
    return this.write(this.piece.truncated(beforeLastStep), this.newBars - beforeLastStep, [settings]);
  }

  /** Make the new bars from one on again. @param {number} bar of the file, from 1 @param {Settings} settings */
  redoFrom(bar, settings) {
    if (!this.piece) return;
    const kept = bar - 1 - this.promptBars;
    return this.write(this.piece.truncated(kept), this.newBars - kept, [settings]);
  }

  /** Write a part of some new bars again; everything else stays. @param {[number, number]} bars first and last, of the file @param {Part} part @param {Settings} settings */
  async rewrite([first, last], part, settings) {
    await this.stop();
    const before = this.piece;
    if (!before) return;
    const kept = first - 1 - this.promptBars;
    const { base, bars, steps } = before;
    const { program, number } = part;
    const from = before.truncated(kept);
    const request = {
      prompt: base.ids, before: from.bars.map(({ tokens }) => tokens), state: from.state, bars: bars.slice(kept),
      count: Math.min(last - first + 1, bars.length - kept), part: { program, number }, settings, constraints: base.constraintsFor(settings),
    };
    const written = await this.engine.call("rewrite", request);
    if (this.piece !== before) return;
    this.past.push(before);
    this.future = [];
    this.takes = [];
    this.choosePiece(new Piece(base, [...from.bars, ...written], steps, true), from.music.end);
    this.player.playFrom(from.music.end);
  }

  /** Offer alternatives of the last step, or of the next bars. @param {number} bars @param {Settings[]} settings */
  offer(bars, settings) {
    if (!this.piece) return;
    const { beforeLastStep } = this.piece;
    const last = this.newBars - beforeLastStep;
    return this.write(this.piece.truncated(beforeLastStep), last || bars, settings);
  }

  /**
   * @param {Piece} from @param {number | null} bars null: until `stop` @param {Settings[]} settings of each take
   * @returns {Promise<boolean>} whether all bars were written
   */
  async write(from, bars, settings) {
    if (!this.piece) return false;
    await this.stop();
    const before = this.piece;
    this.past.push(before);
    this.future = [];
    this.settings = settings;
    this.takes = settings.map(() => from);
    this.chosen = 0;
    this.shared = from.bars.length;
    this.sharedEnd = from.music.end;
    this.endless = bars === null;
    const end = Math.min(from.bars.length + (bars ?? MAX_BARS), MAX_BARS);
    this.planned = this.endless ? from.bars.length : end;
    this.writing = true;
    this.startedAt = performance.now();
    this.choosePiece(from, from.music.end);
    this.player.playFrom(from.music.end);
    const own = ++this.job;
    const request = {
      job: own, prompt: from.base.ids, bars: end - from.bars.length,
      limit: this.endless ? from.bars.length + AHEAD : Infinity,
      rows: settings.map((each) => ({ bars: from.bars.map(({ tokens }) => tokens), state: from.state, settings: each, constraints: from.base.constraintsFor(each) })),
    };
    if (this.endless) this.pace = window.setInterval(() => this.extend(), PACE_MS);
    this.finished = this.engine.call("write", request);
    try {
      return await this.finished;
    } finally {
      if (own === this.job) this.finish(before);
    }
  }

  /** @param {{job: number, row: number, bar: WrittenBar}} message */
  addBar({ job, row, bar }) {
    if (job !== this.job || !this.writing) return;
    const before = this.takes[row];
    this.takes[row] = before.withBar(bar, this.settings[row], before.bars.length === this.shared);
    if (row === this.chosen) this.choosePiece(this.takes[row], this.player.shown?.end ?? 0);
  }

  /** Let an endless piece stay ahead of playback. */
  extend() {
    this.engine.call("extend", Math.floor(this.player.player.place) - this.promptBars + AHEAD);
  }

  /** @param {Piece} before */
  finish(before) {
    this.writing = this.endless = false;
    clearInterval(this.pace);
    if (this.piece?.bars.length === this.shared && this.past.at(-1) === before) {
      this.past.pop(); // stopped before the first bar
      this.piece = before;
    }
    this.takes = this.takes.filter((take) => take.bars.length > this.shared);
    this.planned = this.newBars;
    if (this.piece) this.choosePiece(this.piece, this.piece.music.end);
  }

  /** Stop writing; bars that are complete stay. */
  async stop() {
    if (!this.writing) return;
    this.engine.call("stop");
    await this.finished?.catch(() => {});
    await Promise.resolve(); // `finish`
  }

  // ------------------------------------------------------------------------------------- choosing

  /** @param {Piece} piece @param {number} changedFrom tick */
  choosePiece(piece, changedFrom) {
    this.piece = piece;
    this.changedFrom = Math.min(this.changedFrom, changedFrom);
    clearTimeout(this.showing);
    const wait = this.writing ? this.shownAt + SHOW_MS - performance.now() : 0;
    if (wait > 0 && piece.bars.length > this.shared + 1) this.showing = window.setTimeout(() => this.showPiece(), wait);
    else this.showPiece();
  }

  showPiece() {
    const piece = /** @type {Piece} */ (this.piece);
    const { changedFrom } = this;
    this.changedFrom = Infinity;
    this.shownAt = performance.now();
    const { score, end } = piece.music;
    const { prompt } = piece.base;
    // The roll of an endless piece grows by eight bars at a time.
    const least = this.endless ? 8 * Math.ceil((piece.bars.length + 1) / 8) : piece.bars.length;
    const planned = prompt.bars + Math.max(this.planned, least);
    this.player.show({ score, promptEnd: prompt.end, end, planned, complete: !this.writing, changedFrom });
    this.onChange();
  }

  /** @param {number} index */
  chooseTake(index) {
    const take = this.takes[index];
    if (!take || index === this.chosen) return;
    this.chosen = index;
    this.choosePiece(take, this.sharedEnd);
  }

  async undo() {
    await this.stop();
    const before = this.past.pop();
    if (!before || !this.piece) return;
    this.future.push(this.piece);
    this.restore(before);
  }

  async redo() {
    await this.stop();
    const next = this.future.pop();
    if (!next || !this.piece) return;
    this.past.push(this.piece);
    this.restore(next);
  }

  /** @param {Piece} piece */
  restore(piece) {
    const now = /** @type {Piece} */ (this.piece);
    let same = 0;
    while (same < piece.bars.length && piece.bars[same] === now.bars[same]) same++;
    this.takes = [];
    this.planned = piece.bars.length;
    this.choosePiece(piece, piece.truncated(same).music.end);
  }
}
