// Positions in the piano roll.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Clock } from "../../page/playback/static/clock.js";
import {
  KeyRows, barLines, barStep, clampZoom, pixelsPerTick, rollEnd,
} from "../../page/playback/static/roll_geometry.js";

const CLOCK = new Clock({
  bars: { ticks: [0, 100, 200], seconds: [0, 1, 2] }, clock: { ticks: [0], seconds: [0] },
});

/** A roll with keys of a piano and keys of drums. */
function rollOf(keys, drums) {
  const key = [...keys, ...drums];
  return {
    instruments: [{ program: 0 }, { program: -1 }],
    notes: { key, instrument: key.map((_, i) => Number(i >= keys.length)) },
  };
}

test("planned bars have the length of the last bar", () => {
  assert.deepEqual(barLines(CLOCK, 4), [0, 100, 200, 300, 400]);
  assert.deepEqual(barLines(CLOCK, 1), [0, 100, 200]);
  assert.equal(rollEnd(CLOCK, 4), 400);
});

test("zoom 1 shows all bars and zoom 0 gives each bar 26 pixels", () => {
  const view = { width: 520, bars: 40, endTick: 4000 };
  assert.equal(pixelsPerTick({ ...view, zoom: 1 }) * 4000, 520);
  assert.equal(pixelsPerTick({ ...view, zoom: 0 }) * 100, 26);
  assert.equal(pixelsPerTick({ width: 520, bars: 4, endTick: 400, zoom: 0 }) * 400, 520);
});

test("zoom stays between all bars and one bar in 480 pixels", () => {
  assert.equal(clampZoom(0.2, 8, 480), 1);
  assert.equal(clampZoom(3, 8, 480), 3);
  assert.equal(clampZoom(50, 8, 480), 8);
  assert.equal(clampZoom(50, 0, 480), 1);
});

test("numbered bars are powers of two apart", () => {
  assert.deepEqual([40, 34, 20, 10, 5].map((px) => barStep(34, px)), [1, 1, 2, 4, 8]);
});

test("a small range of keys is extended to two octaves", () => {
  const rows = new KeyRows(rollOf([60, 62, 64], []), 240);
  assert.deepEqual([rows.low, rows.high, rows.count], [51, 74, 24]);
  assert.deepEqual(rows.row(51, 0), [230, 10]);
  assert.deepEqual(rows.row(74, 0), [0, 10]);
  assert.deepEqual(rows.octaves(), [60, 72]);
});

test("rows stay inside the keys of MIDI", () => {
  const rows = new KeyRows(rollOf([0, 127], []), 512);
  assert.deepEqual([rows.low, rows.high], [0, 127]);
});

test("drums have rows of their own below the keys", () => {
  const rows = new KeyRows(rollOf([60], [36, 42]), 240);
  assert.deepEqual(rows.drums, [42, 36]);
  assert.equal(rows.drumTop, 240 - 24);
  assert.deepEqual(rows.row(42, 1), [216, 12]);
  assert.deepEqual(rows.row(36, 1), [228, 12]);
  assert.ok(rows.keyBottom < rows.drumTop);
});

test("drums alone fill the height, and an empty roll shows two octaves", () => {
  const drums = new KeyRows(rollOf([], [36]), 100);
  assert.deepEqual(drums.row(36, 1), [0, 100]);
  assert.deepEqual(drums.octaves(), []);
  assert.equal(new KeyRows(null, 100).count, 25);
});
