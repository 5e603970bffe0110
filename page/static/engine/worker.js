// Web Worker: the core and its weights. Posts each bar when it is complete.

import { fetchCore, fetchFile, once } from "../files.js";
import { serve } from "../rpc.js";
import { Writer, readPrompt } from "./composer.js";
import { Core } from "./core.js";
import { rewrite } from "./rewrite.js";

/** @import { RewriteRequest, ScoreColumns, WriteRequest } from "./types.d.ts" */

let job = 0; // of the newest `write` or `stop`
let limit = Infinity; // new bars after which an endless piece waits
/** @type {() => void} */
let wake = () => {};

const core = once(async () => {
  const [module, model] = await Promise.all([
    fetchCore(),
    fetchFile("weights.bin").then(({ body }) =>
      new Response(/** @type {ReadableStream} */ (body).pipeThrough(new DecompressionStream("gzip"))).arrayBuffer(),
    ),
  ]);
  return Core.create(module, model);
});

serve(self, {
  async load() {
    return (await core()).info;
  },

  /** @param {ScoreColumns} score of a prompt */
  async read(score) {
    job = -1;
    wake();
    return readPrompt(await core(), score);
  },

  /** Write bars until they are complete or `stop`. Returns whether they are. @param {WriteRequest & {job: number, limit: number}} request */
  async write(request) {
    const own = (job = request.job);
    limit = request.limit;
    const writer = new Writer(await core(), request);
    while (!writer.isDone) {
      if (job !== own) return false;
      self.postMessage({ job: own, ...writer.step() });
      await nextTask();
      while (job === own && !writer.isDone && writer.written >= limit) {
        await new Promise((resolve) => (wake = () => resolve(null)));
      }
    }
    return true;
  },

  /** Write a part of some bars again. @param {RewriteRequest} request */
  async rewrite(request) {
    job = -1;
    wake();
    return rewrite(await core(), request);
  },

  /** Let an endless piece have so many new bars. @param {number} bars */
  extend(bars) {
    limit = Math.max(limit, bars);
    wake();
  },

  stop() {
    job = -1;
    wake();
  },
});

/** Let messages arrive; a timer would wait four milliseconds. */
function nextTask() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve(null);
    };
    port2.postMessage(null);
  });
}
