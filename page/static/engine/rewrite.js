// Writes a part of some new bars again; everything else stays as it is. As generation/decoding/kept_parts.py
// the kept parts of a bar come first, so that the new part is written to them.

import { BarContext } from "./core.js";
import { placeRules, placeSampling } from "./rules.js";

/** @import { Core } from "./core.js" */
/** @import { RewriteRequest, TokenTable, WrittenBar } from "./types.d.ts" */

const PROGRAM = 4; // kind of token

/** @typedef {{program: number, number: number, tokens: number[], logProbs: number[]}} Block notes of a part */

/** @param {Core} core @param {RewriteRequest} request @returns {WrittenBar[]} the bars from the first one that is written again on */
export function rewrite(core, { prompt, before, state, bars, count, part, settings, constraints }) {
  core.free();
  const rules = placeRules(core, constraints, settings.key);
  const sampling = placeSampling(core, settings);
  const candidates = Array.from({ length: settings.candidates }, () => core.newSequence());
  const [first] = candidates;
  const context = new BarContext(core, prompt, before);
  const workspace = core.workspace(candidates.length);
  const { top } = core;
  /** @type {WrittenBar[]} */
  const done = [];
  for (const [i, bar] of bars.entries()) {
    core.top = top;
    const ids = Int32Array.from([prompt, ...before, ...done.map(({ tokens }) => tokens)].flatMap((each) => [...each]));
    const last = done.at(-1)?.state ?? state;
    const restore = () => first.restore(last, rules, ids, prompt.length);
    let { tokens, logProbs } = bar;
    if (i < count) {
      restore();
      const { head, blocks } = split(core.tokens, bar);
      const kept = blocks.filter((block) => !isOf(block, part));
      const given = [...head.tokens.slice(1), ...kept.flatMap((block) => block.tokens)]; // without Bar
      for (const each of candidates.slice(1)) each.assign(first);
      candidates.forEach((each, number) => each.openBar(rules, sampling, before.length + i, number));
      core.append(candidates, given, workspace);
      const limits = limitsOf(kept, part, blocks.some((block) => isOf(block, part) && block.tokens.length > 1));
      for (const each of candidates) each.limitParts(limits);
      core.write(candidates, workspace);
      const found = candidates.map(({ bar: each }) => joined(core.tokens, head, blocks, part, split(core.tokens, each).blocks.slice(kept.length)));
      const others = found.filter((each) => String(each.tokens) !== String(bar.tokens));
      if (others.length) found.splice(0, Infinity, ...others);
      const scores = found.map((each) => context.scoreOf(each.tokens, each.logProbs));
      ({ tokens, logProbs } = found[scores.indexOf(Math.max(...scores))]);
    }
    restore();
    first.read(tokens, workspace);
    const score = context.scoreOf(tokens, logProbs);
    const features = context.lastFeatures;
    context.addTokens(tokens);
    done.push({ tokens, logProbs, state: first.state, score, features });
  }
  return done;
}

/** @typedef {{program: number, number: number}} PartName */

/** @param {PartName} block @param {PartName} part */
function isOf(block, part) {
  return block.program === part.program && block.number === part.number;
}

/** Split a bar into Bar, meter and tempos, and the blocks of its parts. @param {TokenTable} table @param {{tokens: Int32Array, logProbs: Float32Array}} bar */
function split(table, { tokens, logProbs }) {
  const head = { tokens: /** @type {number[]} */ ([]), logProbs: /** @type {number[]} */ ([]) };
  /** @type {Block[]} */
  const blocks = [];
  tokens.forEach((token, i) => {
    if (table.kind[token] === PROGRAM) {
      const program = table.value[token];
      blocks.push({ program, number: blocks.filter((each) => each.program === program).length, tokens: [], logProbs: [] });
    }
    const target = blocks.at(-1) ?? head;
    target.tokens.push(token);
    target.logProbs.push(logProbs[i]);
  });
  return { head, blocks };
}

/** Arguments of sequence_limit_parts. @param {Block[]} kept @param {PartName} part @param {boolean} played whether it has notes in this bar */
function limitsOf(kept, { program }, played) {
  const limits = Array.from({ length: 4 }, () => new Uint8Array(129)); // kept, added, required, lines
  /** @param {number} each */
  const index = (each) => (each < 0 ? 128 : each);
  for (const block of kept) limits[0][index(block.program)] += 1;
  limits[1][index(program)] = 1;
  if (played) limits[2][index(program)] = 1 << limits[0][index(program)];
  return limits;
}

/**
 * Put a new block where the old one was. The k-th block of a program is its k-th part, so an empty block stays where the part rests.
 * @param {TokenTable} table @param {{tokens: number[], logProbs: number[]}} head @param {Block[]} blocks @param {PartName} part @param {Block[]} added
 */
function joined(table, head, blocks, part, added) {
  const own = added.filter(({ program }) => program === part.program);
  const token = table.kind.findIndex((kind, i) => kind === PROGRAM && table.value[i] === part.program);
  const block = {
    ...part,
    tokens: [token, ...own.flatMap(({ tokens }) => tokens.slice(1))],
    logProbs: [own[0]?.logProbs[0] ?? 0, ...own.flatMap(({ logProbs }) => logProbs.slice(1))],
  };
  const empty = { program: part.program, tokens: [token], logProbs: [0] };
  const result = blocks.filter((each) => !isOf(each, part));
  const present = blocks.filter(({ program }) => program === part.program).length;
  const missing = Array.from({ length: Math.max(0, part.number - present) }, (_, i) => ({ ...empty, number: present + i }));
  const old = blocks.findIndex((each) => isOf(each, part));
  const drums = result.findIndex(({ program }) => program < 0);
  const at = old >= 0 ? old : drums >= 0 ? drums : result.length;
  if (block.tokens.length > 1 || old >= 0) result.splice(at, 0, ...missing, block);
  return {
    tokens: Int32Array.from([...head.tokens, ...result.flatMap(({ tokens }) => tokens)]),
    logProbs: Float32Array.from([...head.logProbs, ...result.flatMap(({ logProbs }) => logProbs)]),
  };
}
