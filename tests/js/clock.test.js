// Bars, ticks and seconds.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Clock, interpolate } from "../../page/playback/static/clock.js";

// Two bars of 1920 ticks at 120 bpm, then two at 60 bpm.
const CLOCK = new Clock({
  bars: { ticks: [0, 1920, 3840, 5760, 7680], seconds: [0, 2, 4, 8, 12] },
  clock: { ticks: [0, 3840], seconds: [0, 4] },
});
const EMPTY = new Clock({ bars: { ticks: [0], seconds: [0] }, clock: { ticks: [0], seconds: [0] } });

test("values between and beyond two columns are interpolated", () => {
  assert.equal(interpolate([0, 10, 20], [0, 1, 3], 15), 2);
  assert.equal(interpolate([0, 10, 20], [0, 1, 3], 30), 5);
  assert.equal(interpolate([0, 10, 20], [0, 1, 3], -10), -1);
  assert.equal(interpolate([], [], 7), 7);
});

test("seconds follow the tempo", () => {
  assert.equal(CLOCK.secondsAt(960), 1);
  assert.equal(CLOCK.secondsAt(4800), 6);
  assert.equal(CLOCK.secondsAt(9600), 16); // beyond the end at the last tempo
});

test("ticks and seconds are inverse to each other", () => {
  for (const tick of [0, 1, 1919, 3840, 5000, 7680]) {
    assert.ok(Math.abs(CLOCK.tickAt(CLOCK.secondsAt(tick)) - tick) < 1e-6);
  }
});

test("bars count from 0 and stay inside the piece", () => {
  assert.equal(CLOCK.count, 4);
  assert.equal(CLOCK.endTick, 7680);
  assert.equal(CLOCK.barAt(2400), 1.25);
  assert.equal(CLOCK.tickOfBar(1.25), 2400);
  assert.equal(CLOCK.barAt(-5), 0);
  assert.equal(Math.floor(CLOCK.barAt(99999)), 3);
});

test("a piece without bars has bar 0", () => {
  assert.equal(EMPTY.count, 0);
  assert.equal(EMPTY.barAt(500), 0);
});
