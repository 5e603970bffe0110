// Changes of a piano roll.

import assert from "node:assert/strict";
import { test } from "node:test";

import { applyChanges } from "../../page/playback/static/roll_data.js";

const times = (from, ticks) => ({ from, ticks, seconds: ticks.map((tick) => tick / 100) });
const notes = (from, start) => ({ from, start, key: start.map(() => 60) });

test("rows before `from` are kept and the others replaced", () => {
  const first = applyChanges(null, {
    base: null, remark: "", bars: times(0, [0, 100]), clock: times(0, [0]), notes: notes(0, [1, 2, 3]),
  });
  assert.deepEqual(first.notes, { start: [1, 2, 3], key: [60, 60, 60] });
  const second = applyChanges(first, {
    base: 7, remark: "new", bars: times(2, [200]), clock: times(1, []), notes: notes(2, [4, 5]),
  });
  assert.deepEqual(second, {
    remark: "new",
    bars: { ticks: [0, 100, 200], seconds: [0, 1, 2] },
    clock: { ticks: [0], seconds: [0] },
    notes: { start: [1, 2, 4, 5], key: [60, 60, 60, 60] },
  });
  assert.deepEqual(first.notes.start, [1, 2, 3]); // unchanged
});
