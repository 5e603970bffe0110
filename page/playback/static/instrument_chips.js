// One chip per instrument, with mute and solo.

import { make } from "./dom.js";

/** @import { Instrument } from "./types.d.ts" */

const MUTE_DELAY_MS = 250; // several presses become one event

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
    this.mutes = new Set(); // programs
    /** @type {Set<number>} */
    this.solos = new Set();
    this.unanswered = 0; // requests without a rendering yet
    this.timer = 0;
    this.drawn = "";
    this.element = make("div", { class: "chips", role: "group", "aria-label": "Instruments", parent });
  }

  /** Muted programs by mute and solo together, ascending. */
  get muted() {
    const programs = this.instruments.map(({ program }) => program);
    const hasSolo = programs.some((each) => this.solos.has(each));
    return programs
      .filter((each) => this.mutes.has(each) || (hasSolo && !this.solos.has(each)))
      .sort((a, b) => a - b);
  }

  /**
   * Take the muted programs of an update, unless the user has changed them since.
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

  /** @param {Set<number>} programs @param {number} program */
  toggle(programs, program) {
    if (!programs.delete(program)) programs.add(program);
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
    instruments.forEach(({ program }, i) => {
      const chip = this.element.children[i];
      const [mute, solo] = chip.querySelectorAll("button");
      chip.classList.toggle("silent", muted.has(program));
      mute.setAttribute("aria-pressed", String(this.mutes.has(program)));
      solo.setAttribute("aria-pressed", String(this.solos.has(program)));
    });
  }

  /** @param {Instrument} instrument @param {number} i */
  chip({ program, name, detail }, i) {
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
    mute.addEventListener("click", () => this.toggle(this.mutes, program));
    solo.addEventListener("click", () => this.toggle(this.solos, program));
    return chip;
  }
}
