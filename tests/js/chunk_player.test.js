// Playback, loop, seek and freed chunks, with an AudioContext without sound.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { ChunkPlayer } from "../../page/playback/static/chunk_player.js";
import { Rendering } from "../../page/playback/static/rendering.js";
import { RATE, openPage } from "./page.js";

const BAR = 2 * RATE;
const EVERYTHING = [{ start: 0, end: Infinity }];

let context;
let player;

/** A rendering of some bars, those of a list decoded. */
async function renderingOf(bars, ready = [...Array(bars).keys()], complete = true) {
  const rendering = new Rendering("stream", 0, async () => ({ length: BAR }));
  rendering.add(Array.from({ length: bars }, (_, i) => [i * BAR, BAR]), complete);
  for (const bar of ready) await rendering.put(bar * BAR, "", EVERYTHING);
  return rendering;
}

/** Let time pass as the browser does, with a timer. */
function advance(frames, step = RATE / 10) {
  for (let passed = 0; passed < frames; passed += step) {
    context.advance(Math.min(step, frames - passed));
    player.pump();
  }
}

beforeEach(() => {
  context = openPage();
  player = new ChunkPlayer(() => {});
});

test("chunks are scheduled without a gap, ten seconds ahead", async () => {
  player.replace(await renderingOf(20), 0);
  player.play();
  assert.equal(player.state, "playing");
  const { segments } = player;
  for (let i = 1; i < segments.length; i++) {
    assert.equal(segments[i].time, segments[i - 1].time + segments[i - 1].frames);
    assert.equal(segments[i].frame, segments[i - 1].frame + segments[i - 1].frames);
  }
  assert.equal(segments.length, 5);
  assert.equal(context.started.length, 5);
});

test("the end is an end, and play starts again from the beginning", async () => {
  player.replace(await renderingOf(2), BAR);
  player.play();
  advance(1.5 * BAR);
  assert.equal(player.state, "paused");
  assert.equal(player.position, 2 * BAR);
  player.play();
  assert.equal(player.segments[0].frame, 0);
});

test("playback waits for a missing chunk and continues at the same frame", async () => {
  const rendering = await renderingOf(3, [0], false);
  player.replace(rendering, 0);
  player.play();
  advance(2 * BAR);
  assert.equal(player.state, "waiting");
  assert.equal(player.position, BAR);
  await rendering.put(BAR, "", EVERYTHING);
  player.chunkArrived();
  assert.equal(player.segments.at(-1).frame, BAR);
  advance(RATE / 10);
  assert.equal(player.state, "playing");
});

test("seek moves the position, paused or playing", async () => {
  player.replace(await renderingOf(8), 0);
  player.seek(3.5 * BAR);
  assert.equal(player.position, 3.5 * BAR);
  assert.equal(context.started.length, 0);
  player.play();
  assert.deepEqual(context.started[0].slice(1), [BAR / 2, Infinity]); // to the end of the buffer
  player.seek(-7);
  assert.equal(player.segments[0].frame, 0);
});

test("pause keeps the position", async () => {
  player.replace(await renderingOf(8), 0);
  player.play();
  advance(BAR);
  player.pause();
  const { position } = player;
  context.advance(BAR);
  assert.ok(position > 0.9 * BAR);
  assert.equal(player.position, position);
});

test("a loop repeats its frames exactly", async () => {
  player.replace(await renderingOf(8), 2 * BAR);
  player.setLoop({ start: 2 * BAR, end: 3 * BAR + 10 });
  player.play();
  const played = player.segments.map(({ frame, frames }) => [frame, frames]);
  assert.deepEqual(played.slice(0, 4), [[2 * BAR, BAR], [3 * BAR, 10], [2 * BAR, BAR], [3 * BAR, 10]]);
});

test("a loop of everything ends with the piece", async () => {
  player.replace(await renderingOf(2), 0);
  player.setLoop({ start: 0, end: Infinity });
  player.play();
  assert.deepEqual(player.segments.slice(0, 3).map(({ frame }) => frame), [0, BAR, 0]);
});

test("another rendering takes over at the same position", async () => {
  player.replace(await renderingOf(8), 0);
  player.play();
  advance(BAR / 2);
  const next = await renderingOf(8);
  player.offer(next);
  assert.equal(player.rendering, next);
  const offsets = player.segments.map(({ time, frame }) => time - frame);
  assert.equal(new Set(offsets).size, 1);
});

test("another rendering takes over after the end too", async () => {
  player.replace(await renderingOf(2), 2 * BAR);
  const next = await renderingOf(2, [0, 1], false);
  player.offer(next);
  assert.notEqual(player.rendering, next);
  next.complete = true;
  player.chunkArrived();
  assert.equal(player.rendering, next);
});

test("audio far from the position is freed, and missing again after seeking back", async () => {
  const rendering = await renderingOf(200);
  player.replace(rendering, 100 * BAR);
  player.play();
  const decoded = () => rendering.chunks.filter(({ buffer }) => buffer).map(({ start }) => start / BAR);
  assert.deepEqual([decoded()[0], decoded().at(-1)], [70, 159]); // 60 s behind, 120 s ahead
  assert.deepEqual(rendering.missing(player.keptRanges, player.position), []);
  player.seek(0);
  assert.equal(player.state, "waiting");
  const missing = rendering.missing(player.keptRanges, player.position);
  assert.deepEqual([missing[0], missing.at(-1), missing.length], [0, 59 * BAR, 60]);
  await rendering.put(0, "", player.keptRanges);
  player.chunkArrived();
  advance(RATE / 10);
  assert.equal(player.state, "playing");
  await rendering.put(150 * BAR, "", player.keptRanges); // too far away: not decoded
  assert.equal(rendering.at(150 * BAR).state, "absent");
});

test("the start of a loop is kept", async () => {
  const rendering = await renderingOf(200);
  player.replace(rendering, 0);
  player.setLoop({ start: 0, end: Infinity });
  player.seek(100 * BAR);
  assert.ok(rendering.isReady(0));
});

test("a chunk that cannot be decoded is silence", async () => {
  const rendering = new Rendering("stream", 0, () => Promise.reject(new Error("no audio")));
  rendering.add([[0, BAR]], true);
  await rendering.put(0, "", EVERYTHING);
  player.replace(rendering, 0);
  player.play();
  assert.equal(player.state, "playing");
  assert.equal(context.started.length, 0);
});

test("a closed context is replaced by the next press, at the same position", async () => {
  player.replace(await renderingOf(4), 0);
  player.play();
  advance(BAR);
  const { position } = player;
  const former = context;
  former.state = "closed";
  player.pump();
  assert.equal(player.state, "paused");
  assert.equal(player.position, position);
  player.play();
  const { context: anew } = window.musiclstm;
  assert.notEqual(anew, former);
  assert.equal(player.output.context, anew);
  assert.equal(player.state, "playing");
  assert.ok(Math.abs(player.position - position) <= RATE / 10);
});

test("a player in a context that another player has replaced stops there", async () => {
  player.replace(await renderingOf(4), 0);
  player.play();
  advance(BAR);
  const { position } = player;
  context.state = "closed";
  const other = new ChunkPlayer(() => {});
  other.replace(await renderingOf(4), 0);
  other.play();
  player.pump();
  assert.equal(player.state, "paused");
  assert.equal(player.position, position);
});

test("the metronome sounds on the beats of a loop, again in each round", async () => {
  player.replace(await renderingOf(2), 0);
  player.beats = [0, 1, 2, 3].map((i) => ({ frame: (i * BAR) / 2, isFirst: i % 2 === 0 }));
  player.setLoop({ start: BAR, end: 2 * BAR });
  player.seek(BAR);
  player.play();
  const clicks = context.started.filter(([, , frames]) => frames === Infinity).map(([time]) => time);
  const chunks = context.started.map(([time]) => time);
  const [first] = chunks;
  for (const i of [0, 1, 2, 3]) assert.ok(clicks.filter((time) => time === first + (i * BAR) / 2).length >= 1);
  assert.equal(chunks.filter((time) => time === first).length, 2); // a chunk and a click
  assert.equal(chunks.filter((time) => time === first + BAR / 2).length, 1); // a click
});
