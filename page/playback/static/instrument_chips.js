// One chip per track, with mute and solo.

import { make } from "./dom.js";

/** @import { Instrument } from "./types.d.ts" */

const MUTE_DELAY_MS = 250; // several presses become one event

/** Number by which an instrument is muted. @param {Instrument} instrument */
export function idOf({ program, track }) {
  return track ?? program;
}

export class InstrumentChips {
  /**
   * @param {Element} parent
   * @param {{change: () => void, request: () => void}} actions `change`: show what is muted now;
   *   `request`: ask for audio without it
   */
  constructor(parent, actions) {
    this.actions = actions;
    /** @type {Instrument[]} */
    this.instruments = [];
    /** @type {Set<number>} */
    this.mutes = new Set(); // `idOf` of instruments
    /** @type {Set<number>} */
    this.solos = new Set();
    this.unanswered = 0; // requests without a rendering yet
    this.timer = 0;
    this.drawn = "";
    this.element = make("div", { class: "chips", role: "group", "aria-label": "Tracks", parent });
  }

  /** Muted instruments by mute and solo together, ascending. */
  get muted() {
    const ids = this.instruments.map(idOf);
    const hasSolo = ids.some((each) => this.solos.has(each));
    return ids
      .filter((each) => this.mutes.has(each) || (hasSolo && !this.solos.has(each)))
      .sort((a, b) => a - b);
  }

  /**
   * Take the muted instruments of an update, unless the user has changed them since.
   * @param {number[]} muted @param {boolean} isNew another piece
   */
  receive(muted, isNew) {
    if (String([...muted].sort((a, b) => a - b)) === String(this.muted)) this.unanswered = 0;
    else if (isNew || !this.unanswered) {
      this.unanswered = 0;
      this.mutes = new Set(muted);
      this.solos.clear();
    }
  }

  /** @param {Set<number>} ids @param {number} id */
  toggle(ids, id) {
    if (!ids.delete(id)) ids.add(id);
    this.changed();
  }

  /** Let every track sound. */
  reset() {
    this.mutes.clear();
    this.solos.clear();
    this.changed();
  }

  changed() {
    this.actions.change();
    clearTimeout(this.timer);
    if (!this.timer) this.unanswered += 1;
    this.timer = window.setTimeout(() => {
      this.timer = 0;
      this.actions.request();
    }, MUTE_DELAY_MS);
  }

  /** @param {Instrument[]} instruments */
  show(instruments) {
    this.instruments = instruments;
    const drawn = JSON.stringify(instruments);
    if (this.drawn !== drawn) {
      this.drawn = drawn;
      this.element.replaceChildren(...instruments.map((each, i) => this.chip(each, i)));
    }
    const muted = new Set(this.muted);
    instruments.forEach((instrument, i) => {
      const id = idOf(instrument);
      const chip = this.element.children[i];
      const [mute, solo] = chip.querySelectorAll("button");
      chip.classList.toggle("silent", muted.has(id));
      mute.setAttribute("aria-pressed", String(this.mutes.has(id)));
      solo.setAttribute("aria-pressed", String(this.solos.has(id)));
    });
  }

  /** @param {Instrument} instrument @param {number} i */
  chip(instrument, i) {
    const { name, detail } = instrument;
    const chip = make("div", { class: "chip", role: "group", "aria-label": name });
    const mute = make("button", {
      type: "button", class: "mute", title: detail ? `Mute ${name} (${detail})` : `Mute ${name}`,
      "aria-label": `Mute ${name}`, parent: chip,
    });
    const dot = make("span", { class: "dot", parent: mute });
    dot.style.setProperty("--own", `var(--instrument-${i % 8})`);
    make("span", { class: "name", text: name, parent: mute });
    const solo = make("button", {
      type: "button", class: "solo", text: "Solo", title: `Only ${name}`,
      "aria-label": `Solo ${name}`, parent: chip,
    });
    mute.addEventListener("click", () => this.toggle(this.mutes, idOf(instrument)));
    solo.addEventListener("click", () => this.toggle(this.solos, idOf(instrument)));
    return chip;
  }
}
