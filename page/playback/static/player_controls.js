// Buttons, times, legend and messages of a player.

import { icon, iconButton, make, minutes } from "./dom.js";

/** @import { RollData } from "./types.d.ts" */

/** @type {Record<string, string>} */
const COLOURINGS = { parts: "Prompt & new", instruments: "Tracks", sure: "How sure" };

/**
 * @typedef {object} Actions
 * @property {() => void} toggle
 * @property {() => void} skip
 * @property {() => void} toggleLoop
 * @property {() => void} toggleMetronome
 * @property {(factor: number) => void} zoomBy
 * @property {(volume: number) => void} setVolume
 * @property {(name: string) => void} setColouring
 */

export class PlayerControls {
  /** @param {Element} root @param {string} id @param {string} label @param {Actions} actions */
  constructor(root, id, label, actions) {
    this.actions = actions;
    this.root = root;
    root.replaceChildren();
    root.setAttribute("role", "group");
    root.setAttribute("aria-label", label);
    const top = make("div", { class: "controls", parent: root });
    this.play = iconButton(top, "play", "Play", actions.toggle);
    const time = make("div", { class: "time", parent: top });
    this.clock = make("span", { class: "clock", text: "0:00", parent: time });
    this.bar = make("span", { class: "where", parent: time });
    this.skip = iconButton(top, "skip", "Skip to new bars", actions.skip, true);
    this.loop = iconButton(top, "loop", "Loop", actions.toggleLoop);
    this.loop.setAttribute("aria-pressed", "false");
    this.metronome = iconButton(top, "metronome", "Metronome", actions.toggleMetronome);
    this.metronome.setAttribute("aria-pressed", "false");
    this.zoom = this.buildZoom(top);
    this.volume = this.buildVolume(top);
    this.picture = make("div", { class: "picture", parent: root });
    this.under = make("div", { class: "under", parent: root });
    this.colourings = make("div", {
      class: "colourings", role: "radiogroup", "aria-label": "Colours of the notes", parent: this.under,
    });
    this.colouringButtons = Object.entries(COLOURINGS).map(([name, text]) =>
      this.buildColouring(name, text),
    );
    this.legend = make("div", { class: "legend", "aria-hidden": "true", parent: this.under });
    this.bottom = make("div", { class: "bottom", parent: root });
    this.error = make("p", { class: "trouble", role: "alert", parent: root });
    this.remark = make("p", { class: "remark", parent: root });
    this.description = make("p", { class: "unseen", id: `${id}-about`, parent: root });
    this.status = make("p", { class: "unseen", role: "status", parent: root });
    this.drawnLegend = "";
  }

  /** @param {Element} parent */
  buildVolume(parent) {
    const box = make("label", { class: "volume", title: "Volume", parent });
    box.append(icon("volume"));
    const range = { type: "range", min: "0", max: "100", "aria-label": "Volume", parent: box };
    const input = make("input", range);
    input.addEventListener("input", () => this.actions.setVolume(Number(input.value) / 100));
    return input;
  }

  /** @param {Element} parent */
  buildZoom(parent) {
    const box = make("div", { class: "zoom", role: "group", "aria-label": "Zoom", parent });
    /** @type {[string, string, number][]} */
    const steps = [["−", "Zoom out", 1 / 1.5], ["+", "Zoom in", 1.5], ["All", "Show all", 0]];
    for (const [text, label, factor] of steps) {
      const names = { title: label, "aria-label": label };
      const button = make("button", { type: "button", text, ...names, parent: box });
      button.addEventListener("click", () => this.actions.zoomBy(factor));
    }
    return box;
  }

  /** @param {string} name @param {string} text */
  buildColouring(name, text) {
    const button = make("button", { text, type: "button", role: "radio", parent: this.colourings });
    button.dataset.colouring = name;
    button.addEventListener("click", () => this.actions.setColouring(name));
    button.addEventListener("keydown", (event) => this.colouringKey(event, button));
    return button;
  }

  /** @param {KeyboardEvent} event @param {HTMLButtonElement} button */
  colouringKey(event, button) {
    /** @type {Record<string, number>} */
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const shown = this.colouringButtons.filter((each) => !each.hidden);
    const next = shown[(shown.indexOf(button) + step + shown.length) % shown.length];
    next.click();
    next.focus();
  }

  /** Show a message under the roll; empty: none. @param {string} sentence */
  showError(sentence) {
    if (this.error.textContent !== sentence) this.error.textContent = sentence;
  }

  /** Tell screen readers. @param {string} text */
  announce(text) {
    this.status.textContent = text;
  }

  /** @param {boolean} isPause */
  showPlay(isPause) {
    const label = isPause ? "Pause" : "Play";
    if (this.play.ariaLabel === label) return;
    this.play.replaceChildren(icon(isPause ? "pause" : "play"));
    this.play.ariaLabel = this.play.title = label;
  }

  /** @param {number} seconds @param {number} length @param {string} bar @returns {boolean} whether the bar changed */
  showTime(seconds, length, bar) {
    const time = `${minutes(seconds)} / ${minutes(length)}`;
    if (this.clock.textContent !== time) this.clock.textContent = time;
    if (this.bar.textContent === bar) return false;
    this.bar.textContent = bar;
    return true;
  }

  /** Show the colourings that the roll offers. @param {RollData | null} data @param {string} colouring @returns {string} an offered one */
  showColourings(data, colouring) {
    /** @type {Record<string, boolean>} */
    const offered = {
      parts: true,
      instruments: (data?.instruments.length ?? 0) > 1,
      sure: (data?.notes.sure ?? []).some((percent) => percent >= 0),
    };
    const name = offered[colouring] ? colouring : "parts";
    for (const button of this.colouringButtons) {
      const own = button.dataset.colouring ?? "";
      button.hidden = !offered[own];
      button.setAttribute("aria-checked", String(own === name));
      button.tabIndex = own === name ? 0 : -1;
    }
    this.colourings.hidden = !offered.instruments && !offered.sure;
    const hasPrompt = (data?.prompt_end_tick ?? 0) > 0;
    const drawn = `${name} ${hasPrompt} ${data !== null}`;
    if (this.drawnLegend !== drawn) {
      this.drawnLegend = drawn;
      this.legend.replaceChildren(...(data ? legendOf(name, hasPrompt) : []));
    }
    return name;
  }

  /** @param {RollData | null} data */
  showDescription(data) {
    this.remark.textContent = data?.remark ?? "";
    if (!data) return;
    const bars = data.bars.ticks;
    const prompt = bars.filter((tick) => tick < data.prompt_end_tick).length;
    const names = data.instruments.map(({ name }) => name).join(", ");
    const text = `${bars.length - 1} bars, the first ${prompt} of them the prompt. ${names}.`;
    if (this.description.textContent !== text) this.description.textContent = text;
  }
}

/** @param {string} colouring @param {boolean} hasPrompt @returns {HTMLElement[]} */
function legendOf(colouring, hasPrompt) {
  if (colouring === "instruments") return [];
  if (colouring === "sure") {
    const steps = [0, 1, 2, 3, 4].map((step) => swatch(`sure-${step}`));
    const [low, high] = ["a surprise", "just as expected"].map((text) => make("span", { text }));
    return [low, ...steps, high];
  }
  return hasPrompt ? [swatch("prompt", "prompt"), swatch("new", "new")] : [swatch("new", "composed")];
}

/** @param {string} colour @param {string} text */
function swatch(colour, text = "") {
  const box = make("span", { class: "swatch" });
  make("i", { parent: box }).style.background = `var(--${colour})`;
  if (text) make("span", { text, parent: box });
  return box;
}
