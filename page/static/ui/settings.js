// The controls that set how new bars are sampled.

import { KEYS } from "../music/keys.js";

/** @import { Settings } from "../engine/types.d.ts" */

export const DEFAULTS = { temperature: 1, copyWeight: 1, topP: 0.97, candidates: 8, key: "" };
const MAX_SEED = 2 ** 32 - 1;

/** @template {HTMLElement} T @param {string} id @returns {T} */
export function byId(id) {
  return /** @type {T} */ (document.getElementById(id));
}

/** @returns {number} */
export function randomSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}

export class SettingsForm {
  constructor() {
    this.temperature = /** @type {HTMLInputElement} */ (byId("temperature"));
    this.copy = /** @type {HTMLInputElement} */ (byId("copy"));
    this.seed = /** @type {HTMLInputElement} */ (byId("seed"));
    this.key = /** @type {HTMLSelectElement} */ (byId("key"));
    this.bars = /** @type {HTMLSelectElement} */ (byId("bars"));
    this.topP = DEFAULTS.topP; // of a link
    this.candidates = DEFAULTS.candidates; // likewise
    this.typed = false; // whether the seed was typed since the last bars
    for (const name of KEYS) this.key.add(new Option(name));
    this.drawSeed();
    this.seed.addEventListener("input", () => (this.typed = true));
    byId("die").addEventListener("click", () => {
      this.drawSeed();
      this.typed = true;
    });
    byId("reset").addEventListener("click", () => this.set({ ...DEFAULTS, seed: randomSeed() }));
    byId("actions").addEventListener("input", () => this.showChanged());
    this.showChanged();
  }

  drawSeed() {
    this.seed.value = String(randomSeed());
    this.typed = false;
  }

  /** Number of bars; null: endless. */
  get count() {
    return this.bars.value === "endless" ? null : Number(this.bars.value);
  }

  /** @returns {Settings} */
  get values() {
    const seed = Math.min(Math.max(0, Math.floor(Number(this.seed.value)) || 0), MAX_SEED);
    this.seed.value = String(seed);
    return {
      temperature: Number(this.temperature.value), copyWeight: Number(this.copy.value), topP: this.topP, candidates: this.candidates, seed, key: this.key.value,
    };
  }

  /** Settings with another seed than before, unless one was typed. @returns {Settings} */
  get otherValues() {
    if (!this.typed) this.drawSeed();
    this.typed = false;
    return this.values;
  }

  /** @param {Settings} settings */
  set({ temperature, copyWeight, topP, candidates, seed, key }) {
    this.temperature.value = String(temperature);
    this.copy.value = String(copyWeight);
    this.topP = topP;
    this.candidates = candidates;
    this.seed.value = String(seed);
    this.key.value = KEYS.includes(key) ? key : "";
    this.typed = false;
    this.showChanged();
  }

  showChanged() {
    const { copyWeight, topP, candidates } = DEFAULTS;
    const count = [Number(this.copy.value) !== copyWeight, this.topP !== topP, this.candidates !== candidates].filter(Boolean).length;
    byId("changed").textContent = count ? `(${count} changed)` : "";
    this.temperature.ariaValueText = `${this.temperature.value} of 1`;
    this.copy.ariaValueText = `${this.copy.value} of 1`;
  }
}
