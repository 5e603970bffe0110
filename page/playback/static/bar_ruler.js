// The ruler above the roll: bar numbers, and bars selected with mouse, fingers or keys.

import { make } from "./dom.js";

/** @import { Bars } from "./types.d.ts" */
/** @import { Clock } from "./clock.js" */

export class BarRuler {
  /**
   * @param {HTMLElement} parent
   * @param {{barUnder: (event: PointerEvent) => number, redraw: () => void,
   *   select: (bars: Bars | null) => void}} actions
   */
  constructor(parent, actions) {
    this.actions = actions;
    /** @type {Bars | null} */
    this.selected = null;
    /** @type {Bars | null} */
    this.formerly = null; // selected before the pointer went down
    this.anchor = 0; // bar where it went down; 0: it is up
    this.count = 0; // bars there are; the ruler may show planned bars too
    this.before = 0; // bars before them in the file; all other numbers count from the first one shown
    /** @type {HTMLElement[]} */
    this.bars = [];
    this.element = make("div", {
      class: "ruler", role: "listbox", "aria-label": "Bars", "aria-multiselectable": "true",
      "aria-orientation": "horizontal", parent,
    });
    this.listen();
  }

  /** Show the bars of a roll. @param {Clock} clock @param {number} planned @param {number} promptEnd @param {number} first number of its first bar in the file */
  show(clock, planned, promptEnd, first) {
    this.count = clock.count;
    this.before = first - 1;
    this.isPrompt = clock.bars.map((tick) => tick < promptEnd);
    while (this.bars.length > planned) this.bars.pop()?.remove();
    while (this.bars.length < planned) {
      const bar = make("div", { class: "bar", role: "option", tabindex: "-1", parent: this.element });
      make("span", { parent: bar });
      this.bars.push(bar);
    }
    if (!this.bars.some((bar) => bar.tabIndex === 0)) this.bars[0]?.setAttribute("tabindex", "0");
    this.describe();
  }

  /** Place the bars. @param {number[]} lines @param {number} perTick @param {number} step bars between two numbers */
  layOut(lines, perTick, step) {
    this.bars.forEach((bar, i) => {
      bar.style.left = `${lines[i] * perTick}px`;
      bar.style.width = `${(lines[i + 1] - lines[i]) * perTick}px`;
      if (bar.firstChild) bar.firstChild.textContent = i % step === 0 ? String(this.before + i + 1) : "";
    });
  }

  describe() {
    const [first, last] = this.selected ?? [0, 0];
    this.bars.forEach((bar, i) => {
      const isPlanned = i >= this.count;
      const part = this.isPrompt?.[i] ? "prompt" : "new";
      bar.setAttribute("aria-label", `bar ${this.before + i + 1}, ${isPlanned ? "not composed yet" : part}`);
      bar.setAttribute("aria-disabled", String(isPlanned));
      bar.setAttribute("aria-selected", String(first <= i + 1 && i + 1 <= last));
      bar.classList.toggle("first", i + 1 === first);
      bar.classList.toggle("last", i + 1 === last);
    });
  }

  /** Select bars that exist, without an event. @param {Bars | null} bars */
  select(bars) {
    const inside = bars && bars[0] >= 1 && bars[0] <= this.count;
    this.selected = inside ? [bars[0], Math.min(Math.max(bars[0], bars[1]), this.count)] : null;
    this.describe();
    this.actions.redraw();
  }

  /** Begin to select bars by pointer. @param {number} bar @param {boolean} extends_ whether the selection is extended to it */
  begin(bar, extends_) {
    this.formerly = this.selected;
    const [first, last] = this.selected ?? [bar, bar];
    this.anchor = extends_ ? (bar < first ? last : first) : bar;
    this.extend(bar);
  }

  /** @param {number} bar */
  extend(bar) {
    this.select([Math.min(this.anchor, bar), Math.max(this.anchor, bar)]);
  }

  end() {
    this.anchor = 0;
    this.actions.select(this.selected);
  }

  cancel() {
    this.anchor = 0;
    this.select(this.formerly);
  }

  listen() {
    this.element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || this.count < 1) return;
      this.element.setPointerCapture(event.pointerId);
      this.begin(this.actions.barUnder(event), event.shiftKey);
    });
    this.element.addEventListener("pointermove", (event) => {
      if (this.anchor) this.extend(this.actions.barUnder(event));
    });
    this.element.addEventListener("pointerup", (event) => {
      if (!this.anchor) return;
      const bar = this.actions.barUnder(event);
      const isRepeated = String(this.formerly) === String([bar, bar]) && this.anchor === bar;
      if (isRepeated) this.select(null);
      this.focus(bar);
      this.end();
    });
    this.element.addEventListener("pointercancel", () => this.cancel());
    this.element.addEventListener("keydown", (event) => this.key(event));
  }

  /** @param {number} bar counted from 1 */
  focus(bar) {
    for (const each of this.bars) each.setAttribute("tabindex", "-1");
    this.bars[bar - 1]?.setAttribute("tabindex", "0");
    this.bars[bar - 1]?.focus({ preventScroll: false });
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const bar = this.bars.findIndex((each) => each === document.activeElement) + 1;
    /** @type {Record<string, number>} */
    const targets = {
      ArrowRight: bar + 1, ArrowDown: bar + 1, ArrowLeft: bar - 1, ArrowUp: bar - 1,
      Home: 1, End: this.count,
    };
    const moves = event.key in targets;
    const target = Math.min(Math.max(1, targets[event.key] ?? bar), this.count);
    if (event.key === "Escape") this.select(null);
    else if (event.key === " " || event.key === "Enter") {
      const isRepeated = this.selected?.[0] === bar && this.selected[1] === bar;
      this.select(isRepeated ? null : [bar, bar]);
    } else if (event.shiftKey && target !== bar) this.extendTo(bar, target);
    else if (target === bar) return;
    event.preventDefault();
    this.focus(target);
    if (!moves || event.shiftKey) this.actions.select(this.selected);
  }

  /** @param {number} bar @param {number} target */
  extendTo(bar, target) {
    const [first, last] = this.selected ?? [bar, bar];
    const anchor = bar === last ? first : last;
    this.select([Math.min(anchor, target), Math.max(anchor, target)]);
  }
}
