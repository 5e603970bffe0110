// Apply the changes of an update to a piano roll.

/** @import { RollChanges, RollData } from "./types.d.ts" */

/**
 * Keep the first `from` rows of each column and append the new ones.
 * @template {Record<string, number[]>} T
 * @param {T | undefined} table @param {T & { from: number }} changes @returns {T}
 */
function appendRows(table, { from, ...columns }) {
  /** @type {Record<string, number[]>} */
  const result = {};
  for (const [name, rows] of Object.entries(columns)) {
    result[name] = [...(table?.[name] ?? []).slice(0, from), .../** @type {number[]} */ (rows)];
  }
  return /** @type {T} */ (result);
}

/** @param {RollData | null} roll null: none yet @param {RollChanges} changes @returns {RollData} */
export function applyChanges(roll, { base: _, ...changes }) {
  const { bars, clock, notes } = changes;
  return {
    ...changes,
    bars: appendRows(/** @type {any} */ (roll?.bars), /** @type {any} */ (bars)),
    clock: appendRows(/** @type {any} */ (roll?.clock), /** @type {any} */ (clock)),
    notes: appendRows(/** @type {any} */ (roll?.notes), /** @type {any} */ (notes)),
  };
}
