// The controls that set how new bars are sampled. Drawers count what was changed in them.

import { keyGroups } from "../music/keys.js";
import { DEFAULT_SETTINGS } from "./recipe.js";

/** @import { Settings } from "../engine/types.d.ts" */

const MAX_SEED = 2 ** 32 - 1;
const MOST_ROAMING = 1.5; // copy weight of "stay close"
const FEWEST = 24; // notes of a bar that may be requested
const MOST = 512;

/** @template {HTMLElement} T @param {string} id @returns {T} */
export function byId(id) {
  return /** @type {T} */ (document.getElementById(id));
}

/** @returns {number} */
export function randomSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}

/** Fewest and most notes of a bar: up to twice as many as usual, or down to 40 %. @param {number} lively -1..1 @param {number} usual @returns {[number, number] | null} */
export function notesPerBar(lively, usual) {
  if (!lively) return null;
  if (lively > 0) return [Math.min(FEWEST, Math.round(usual * (1 + lively))), MOST];
  return [0, Math.max(1, Math.round(usual * (1 + 0.6 * lively)))];
}

/** The inverse of `notesPerBar`. @param {[number, number] | null} notes @param {number} usual */
function livelyOf(notes, usual) {
  if (!notes) return 0;
  const [fewest, most] = notes;
  const lively = fewest ? fewest / usual - 1 : (most / usual - 1) / 0.6;
  return Math.round(10 * Math.max(-1, Math.min(1, lively))) / 10;
}

export class SettingsForm {
  constructor() {
    /** @type {Record<"roam" | "lively" | "temperature" | "seed" | "keepLines", HTMLInputElement>} */
    this.inputs = {
      roam: byId("roam"), lively: byId("lively"), temperature: byId("temperature"), seed: byId("seed"), keepLines: byId("keep-lines"),
    };
    /** @type {Record<"key" | "meter" | "atOnce" | "candidates" | "topP" | "bars", HTMLSelectElement>} */
    this.selects = {
      key: byId("key"), meter: byId("meter"), atOnce: byId("at-once"), candidates: byId("candidates"), topP: byId("top-p"), bars: byId("bars"),
    };
    this.typed = false; // whether the seed was typed since the last bars
    this.usual = 10; // notes per bar of the prompt
    for (const [mode, names] of keyGroups()) {
      const group = document.createElement("optgroup");
      group.label = mode;
      group.append(...names.map((name) => new Option(name)));
      this.selects.key.append(group);
    }
    this.set({ ...DEFAULT_SETTINGS, seed: randomSeed() });
    this.inputs.seed.addEventListener("input", () => (this.typed = true));
    byId("die").addEventListener("click", () => {
      this.drawSeed();
      this.typed = true;
    });
    this.onReset("music", { meter: "" });
    this.onReset("texture", { notesAtOnce: 0, keepLines: true });
    this.onReset("expert", { candidates: DEFAULT_SETTINGS.candidates, topP: DEFAULT_SETTINGS.topP });
    byId("actions").addEventListener("input", () => this.showChanged());
  }

  /** @param {string} drawer @param {Partial<Settings>} settings */
  onReset(drawer, settings) {
    byId(drawer).querySelector(".reset")?.addEventListener("click", () => this.set({ ...this.values, ...settings }));
  }

  drawSeed() {
    this.inputs.seed.value = String(randomSeed());
    this.typed = false;
  }

  /** Number of bars; null: endless. */
  get count() {
    const { value } = this.selects.bars;
    return value === "endless" ? null : Number(value);
  }

  /** @returns {Settings} */
  get values() {
    const { roam, lively, temperature, seed: typed, keepLines } = this.inputs;
    const { key, meter, atOnce, candidates, topP } = this.selects;
    const seed = Math.min(Math.max(0, Math.floor(Number(typed.value)) || 0), MAX_SEED);
    typed.value = String(seed);
    return {
      temperature: Number(temperature.value), copyWeight: rounded(MOST_ROAMING - Number(roam.value)), topP: Number(topP.value),
      candidates: Number(candidates.value), seed, key: key.value, meter: meter.value, notesAtOnce: Number(atOnce.value),
      notesPerBar: notesPerBar(Number(lively.value), this.usual), keepLines: keepLines.checked,
    };
  }

  /** Settings with another seed than before, unless one was typed. @returns {Settings} */
  get otherValues() {
    if (!this.typed) this.drawSeed();
    this.typed = false;
    return this.values;
  }

  /** @param {Settings} settings */
  set({ temperature, copyWeight, topP, candidates, seed, key, meter, notesAtOnce, notesPerBar: notes, keepLines }) {
    const { inputs, selects } = this;
    inputs.temperature.value = String(temperature);
    inputs.roam.value = String(rounded(MOST_ROAMING - copyWeight));
    inputs.lively.value = String(livelyOf(notes, this.usual));
    inputs.seed.value = String(seed);
    inputs.keepLines.checked = keepLines;
    choose(selects.topP, String(topP));
    choose(selects.candidates, String(candidates));
    choose(selects.atOnce, String(notesAtOnce));
    choose(selects.meter, meter);
    choose(selects.key, key);
    this.typed = false;
    this.showChanged();
  }

  showChanged() {
    const { meter, atOnce, candidates, topP } = this.selects;
    showCount("music", [meter.value !== ""]);
    showCount("texture", [atOnce.value !== "0", !this.inputs.keepLines.checked]);
    showCount("expert", [Number(candidates.value) !== DEFAULT_SETTINGS.candidates, Number(topP.value) !== DEFAULT_SETTINGS.topP]);
    const { roam, lively, temperature } = this.inputs;
    this.describe(roam, "stay close", "roam", DEFAULT_SETTINGS.copyWeight);
    this.describe(lively, "calm", "lively", 0);
    this.describe(temperature, "familiar", "surprising", 1);
  }

  /** Say where a slider stands. @param {HTMLInputElement} slider @param {string} low @param {string} high @param {number} middle */
  describe(slider, low, high, middle) {
    const usual = slider.id === "roam" ? MOST_ROAMING - middle : middle;
    const distance = rounded(Number(slider.value) - usual);
    const range = distance < 0 ? usual - Number(slider.min) : Number(slider.max) - usual;
    const share = Math.round((100 * Math.abs(distance)) / range);
    slider.ariaValueText = distance ? `${share} % ${distance < 0 ? low : high}` : "as usual";
  }
}

/** @param {number} value */
function rounded(value) {
  return Math.round(1_000 * value) / 1_000;
}

/** Choose an option, which a link may need to be added first. @param {HTMLSelectElement} select @param {string} value */
function choose(select, value) {
  if (![...select.options].some((option) => option.value === value)) select.add(new Option(value));
  select.value = value;
}

/** Show the number of changed settings of a drawer. @param {string} drawer @param {boolean[]} changes */
export function showCount(drawer, changes) {
  const count = changes.filter(Boolean).length;
  const label = byId(drawer).querySelector(".changed");
  if (label) label.textContent = count ? `${count} changed` : "";
  const reset = /** @type {HTMLButtonElement | null} */ (byId(drawer).querySelector(".reset"));
  if (reset) reset.disabled = !count;
}
