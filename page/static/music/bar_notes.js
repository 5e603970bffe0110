// The notes of a bar of tokens, with their probabilities as in generation/note_probabilities.py:
// log p(note) = log p(Pitch) + log p(Duration) + log p(Position) / n + log p(Program) / m, where n
// notes share the Position token and m notes the Program token.

/** @import { BarNote, TokenTable, WrittenBar } from "../engine/types.d.ts" */

const KIND = { meter: 2, program: 4, position: 5, pitch: 6, drum: 7, duration: 8 };
const MAX_PARTS = 8; // of a program

/**
 * @param {TokenTable} table
 * @param {Pick<WrittenBar, "tokens" | "logProbs">} bar
 * @returns {{length: number, notes: BarNote[], meter: number}} ticks of 1/48 quarter; `meter`: the token
 */
export function readBar(table, { tokens, logProbs }) {
  const reader = new BarReader();
  tokens.forEach((token, i) => reader.read(table.kind[token], table.value[token], table.unit[token], logProbs[i], token));
  reader.endBlock();
  return { length: reader.length, notes: reader.notes, meter: reader.meter };
}

class BarReader {
  constructor() {
    /** @type {BarNote[]} */
    this.notes = [];
    this.length = 0;
    this.unit = 1;
    this.meter = -1;
    this.program = 0;
    this.number = 0;
    this.position = 0;
    this.block = 0; // first note of the part
    this.onset = 0; // first note of the position
    this.positionLogProb = 0;
    /** @type {Map<number, number>} */
    this.blocks = new Map(); // by program
    /** @type {Map<number, number>} */
    this.pending = new Map(); // log-probabilities of Program tokens without a note so far
  }

  /** @param {number} kind @param {number} value @param {number} unit @param {number} logProb @param {number} token */
  read(kind, value, unit, logProb, token) {
    if (kind === KIND.meter) [this.length, this.unit, this.meter] = [value, unit, token];
    else if (kind === KIND.program) this.startBlock(value, logProb);
    else if (kind === KIND.position) this.startOnset(value, logProb);
    else if (kind === KIND.pitch || kind === KIND.drum) {
      const { program, number } = this;
      this.notes.push({ program, number, position: this.position, tick: this.position * this.unit, duration: 1, pitch: value, logProb });
    } else if (kind === KIND.duration) {
      const note = this.notes[this.notes.length - 1];
      note.duration = value * this.unit;
      note.logProb += logProb;
    }
  }

  /** @param {number} position @param {number} logProb */
  startOnset(position, logProb) {
    share(this.positionLogProb, this.notes, this.onset);
    [this.position, this.positionLogProb, this.onset] = [position, logProb, this.notes.length];
  }

  /** @param {number} program @param {number} logProb */
  startBlock(program, logProb) {
    this.endBlock();
    const count = this.blocks.get(program) ?? 0;
    this.blocks.set(program, count + 1);
    this.program = program;
    this.number = Math.min(count, program < 0 ? 0 : MAX_PARTS - 1);
    this.pending.set(program, (this.pending.get(program) ?? 0) + logProb);
    this.block = this.notes.length;
  }

  endBlock() {
    this.startOnset(0, 0);
    if (this.block === this.notes.length) return; // an empty block counts with the next one
    share(this.pending.get(this.program) ?? 0, this.notes, this.block);
    this.pending.delete(this.program);
  }
}

/** @param {number} logProb @param {BarNote[]} notes @param {number} first */
function share(logProb, notes, first) {
  for (let i = first; i < notes.length; i++) notes[i].logProb += logProb / (notes.length - first);
}
