// Reads prompts and writes bars with the core; the part of the engine without a worker.

import { BarContext } from "./core.js";
import { placeRules, placeSampling } from "./rules.js";

/** @import { Core } from "./core.js" */
/** @import { ReadPrompt, ScoreColumns, WriteRequest, WrittenBar } from "./types.d.ts" */

/** Read a prompt. @param {Core} core @param {ScoreColumns} score @returns {ReadPrompt} */
export function readPrompt(core, score) {
  core.free();
  const read = core.readPrompt(score);
  core.free();
  const sequence = core.newSequence();
  sequence.read(read.ids, core.workspace(1));
  const { state } = sequence;
  core.free();
  return { ...read, state };
}

/** Writes bars of several rows in turn. Only one writer may use a core at a time. */
export class Writer {
  /** @param {Core} core @param {WriteRequest} request */
  constructor(core, { prompt, rows, bars }) {
    core.free();
    this.core = core;
    this.rows = rows.map(({ bars: before, state, settings, constraints }, row) => {
      const rules = placeRules(core, constraints, settings.key);
      const sampling = placeSampling(core, settings);
      const candidates = Array.from({ length: settings.candidates }, () => core.newSequence());
      const ids = Int32Array.from([prompt, ...before].flatMap((each) => [...each]));
      candidates[0].restore(state, rules, ids, prompt.length);
      const context = new BarContext(core, prompt, before);
      return { row, candidates, context, rules, sampling, bar: before.length, end: before.length + bars };
    });
    this.workspace = core.workspace(Math.max(1, ...this.rows.map(({ candidates }) => candidates.length)));
    this.top = core.top;
  }

  /** Number of new bars that every row has. */
  get written() {
    return Math.min(...this.rows.map(({ bar }) => bar));
  }

  get isDone() {
    return !this.rows.length;
  }

  /** Write one bar of the row that has the fewest: the best of its candidates. @returns {{row: number, bar: WrittenBar}} */
  step() {
    const { core } = this;
    core.top = this.top;
    const next = this.rows.reduce((first, each) => (each.bar < first.bar ? each : first));
    const { row, candidates, context, rules, sampling } = next;
    candidates.forEach((each, number) => {
      if (number) each.assign(candidates[0]);
    });
    candidates.forEach((each, number) => each.openBar(rules, sampling, next.bar, number));
    core.write(candidates, this.workspace);
    const scores = candidates.map((each) => context.score(each));
    const best = candidates[scores.indexOf(Math.max(...scores))];
    const score = context.score(best);
    const features = context.lastFeatures;
    context.add(best);
    next.bar += 1;
    this.rows = this.rows.filter(({ bar, end }) => bar < end);
    if (best !== candidates[0]) candidates[0].assign(best);
    return { row, bar: { ...best.bar, score, features } };
  }
}
