// Updates that are lost, repeated or reordered.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { setImmediate } from "node:timers/promises";

import { ChunkPlayer } from "../../page/playback/static/chunk_player.js";
import { UpdateReceiver } from "../../page/playback/static/update_receiver.js";
import { openPage } from "./page.js";

const times = { ticks: [0], seconds: [0] };
const whole = (starts) => ({ bars: times, clock: times, notes: { start: starts }, remark: "" });

let server;
let accepted;
let receiver;

/** An update whose roll has one note more than the one before. */
function update(number, { stream = "a", rendering = 0, base = number - 1 } = {}) {
  const roll = {
    base: number === 1 ? null : base,
    bars: { from: 1, ticks: [], seconds: [] },
    clock: { from: 1, ticks: [], seconds: [] },
    notes: { from: number - 1, start: [number] },
  };
  return {
    number, stream, rendering, roll: JSON.stringify(roll), planned_bars: null, cue_frame: 0,
    chunks: Array.from({ length: number }, (_, i) => [i * 100, 100]),
    new_chunks: [[(number - 1) * 100, "data"]], complete: false, on_request: false, muted: [],
    selection: null,
  };
}

beforeEach(() => {
  openPage();
  globalThis.OfflineAudioContext = class {
    async decodeAudioData() {
      return { length: 100 };
    }
  };
  accepted = [];
  server = {
    requests: [],
    async fetch_missing({ starts }) {
      this.requests.push(starts);
      return { chunks: starts.map((start) => [start, "data"]), known: true };
    },
    async fetch_roll() {
      this.requests.push("roll");
      return { number: 3, roll: JSON.stringify(whole([1, 2, 3])) };
    },
  };
  receiver = new UpdateReceiver(server, new ChunkPlayer(() => {}), {
    accept: ({ number }) => accepted.push(number),
    rollFetched: () => accepted.push("roll"),
    showError: (sentence) => accepted.push(sentence),
  });
});

const states = () => receiver.newest.chunks.map(({ state }) => state);

test("updates in order need no requests", async () => {
  for (const number of [1, 2, 3]) receiver.receive(update(number));
  await setImmediate();
  assert.deepEqual(receiver.roll.notes.start, [1, 2, 3]);
  assert.deepEqual(states(), ["ready", "ready", "ready"]);
  assert.deepEqual(server.requests, []);
});

test("after a lost update its chunk and the roll are fetched", async () => {
  receiver.receive(update(1));
  receiver.receive(update(3));
  await setImmediate();
  assert.deepEqual(receiver.roll.notes.start, [1, 2, 3]);
  assert.deepEqual(states(), ["ready", "ready", "ready"]);
  assert.deepEqual(server.requests, ["roll", [100]]);
  assert.deepEqual(accepted, [1, 3, "roll"]);
});

test("repeated and late updates change nothing", async () => {
  for (const number of [1, 2, 2, 1]) receiver.receive(update(number));
  await setImmediate();
  assert.deepEqual(accepted, [1, 2]);
  assert.deepEqual(receiver.roll.notes.start, [1, 2]);
});

test("a former stream or rendering is ignored", () => {
  receiver.receive(update(1));
  receiver.receive({ ...update(2), rendering: 1 });
  receiver.receive(update(3));
  assert.deepEqual(accepted, [1, 2]);
  receiver.receive({ ...update(1), number: 4, stream: "b" });
  receiver.receive(update(2));
  assert.deepEqual(accepted, [1, 2, 4]);
  assert.equal(receiver.newest.stream, "b");
});

test("chunks that the server no longer has are reported once", async () => {
  server.fetch_missing = async () => ({ chunks: [], known: false });
  receiver.receive(update(2, { base: null }));
  await setImmediate();
  assert.equal(accepted.filter((each) => String(each).includes("no longer kept")).length, 1);
  assert.equal(receiver.failures, Infinity);
  receiver.retry();
  assert.equal(receiver.failures, 0);
});
