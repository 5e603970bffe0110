// Takes: alternatives of the same bars as strips, one above the other, with one cursor.

import { make } from "../../playback/static/dom.js";
import { assess } from "../music/ranking.js";
import { barLines } from "../music/timing.js";

/** @import { Piece } from "../music/piece.js" */

export const LETTERS = ["A", "B", "C", "D"];
const RANKS = ["1st", "2nd", "3rd", "4th"];
const HINT = "Keys A to D choose a take. Ranked by likeness to your bars. Drag a strip to take its MIDI file elsewhere.";

/**
 * @typedef {object} TakeActions
 * @property {(index: number) => void} choose
 * @property {(index: number) => Promise<{name: string, url: string}>} file MIDI file of a take
 * @property {() => number} tick that sounds
 */

export class Takes {
  /** @param {HTMLElement} element @param {TakeActions} actions */
  constructor(element, actions) {
    this.element = element;
    this.actions = actions;
    this.list = make("div", { class: "strips", role: "radiogroup", "aria-label": "Takes", parent: element });
    this.cursor = make("div", { class: "cursor", "aria-hidden": "true", parent: this.list });
    make("p", { class: "note", text: HINT, parent: element });
    /** @type {Piece[]} */
    this.drawn = [];
    this.drawing = ""; // theme and width of what is drawn
    this.start = this.end = 0; // ticks
    this.frame = 0; // of the animation
    this.list.addEventListener("keydown", (event) => this.key(event));
  }

  /** @returns {HTMLElement[]} */
  get buttons() {
    return [...this.list.querySelectorAll("button")];
  }

  /** Show pieces, or nothing. @param {Piece[]} pieces @param {number} chosen @param {number} start tick up to which they are equal @param {boolean} complete whether all their bars are written */
  show(pieces, chosen, start, complete) {
    const shown = pieces.length < 2 ? [] : pieces;
    this.element.hidden = !shown.length;
    while (this.buttons.length > shown.length) this.buttons.at(-1)?.remove();
    const drawing = `${document.documentElement.className} ${this.list.clientWidth} ${start} ${complete}`;
    if (this.drawing !== drawing) this.drawn = [];
    this.drawing = drawing;
    this.start = start;
    this.end = Math.max(start + 1, ...shown.map(({ music }) => music.end));
    const reasons = complete ? ranked(shown) : [];
    shown.forEach((piece, i) => {
      const button = this.buttons[i] ?? this.build(i);
      button.setAttribute("aria-checked", String(i === chosen));
      button.tabIndex = i === chosen ? 0 : -1;
      if (this.drawn[i] === piece) return;
      this.drawn[i] = piece;
      draw(/** @type {HTMLCanvasElement} */ (button.querySelector("canvas")), piece, start, this.end);
      const small = button.querySelector("small");
      if (small) small.textContent = reasons[i] ?? "";
    });
    if (shown.length && !this.frame) this.animate();
  }

  /** Move the cursor while strips are shown. */
  animate() {
    this.frame = this.element.hidden ? 0 : requestAnimationFrame(() => this.animate());
    const canvas = this.list.querySelector("canvas");
    const share = (this.actions.tick() - this.start) / (this.end - this.start);
    this.cursor.hidden = !(share >= 0 && share < 1) || !canvas;
    if (canvas) this.cursor.style.transform = `translateX(${canvas.offsetLeft + share * canvas.clientWidth}px)`;
  }

  /** @param {number} index */
  build(index) {
    const letter = LETTERS[index];
    const button = make("button", { type: "button", role: "radio", "aria-label": `Take ${letter}`, "aria-describedby": `reason-${letter}`, draggable: "true", parent: this.list });
    make("b", { text: letter, parent: button });
    make("canvas", { "aria-hidden": "true", parent: button });
    make("small", { id: `reason-${letter}`, parent: button });
    button.addEventListener("click", () => this.actions.choose(index));
    this.makeDraggable(button, index);
    return button;
  }

  /** The file is written when the pointer goes down, because a drag cannot wait for it. @param {HTMLElement} button @param {number} index */
  makeDraggable(button, index) {
    /** @type {{name: string, url: string} | null} */
    let file = null;
    button.addEventListener("pointerdown", async () => {
      if (file) URL.revokeObjectURL(file.url);
      file = null;
      file = await this.actions.file(index).catch(() => null);
    });
    button.addEventListener("dragstart", (event) => {
      if (!file || !event.dataTransfer) return event.preventDefault();
      event.dataTransfer.effectAllowed = "copy";
      event.dataTransfer.setData("DownloadURL", `audio/midi:${file.name}:${file.url}`);
    });
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    /** @type {Record<string, number>} */
    const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const { buttons } = this;
    const now = buttons.findIndex((each) => each === document.activeElement);
    const next = (now + step + buttons.length) % buttons.length;
    this.actions.choose(next);
    buttons[next].focus();
  }
}

/** Return rank and reasons of each piece. @param {Piece[]} pieces */
function ranked(pieces) {
  const assessed = pieces.map(assess);
  const music = pieces.map(({ bars }) => String(bars.map(({ tokens }) => [...tokens])));
  const order = assessed.map(({ score }, i) => ({ score, i })).sort((a, b) => b.score - a.score || a.i - b.i).map(({ i }) => i);
  return assessed.map(({ reasons }, i) => {
    const first = music.indexOf(music[i]);
    return first < i ? `the same notes as ${LETTERS[first]}` : [RANKS[order.indexOf(i)], ...reasons].join(" · ");
  });
}

/** Draw the notes and bar lines from a tick on. @param {HTMLCanvasElement} canvas @param {Piece} piece @param {number} start @param {number} end */
function draw(canvas, piece, start, end) {
  const { score } = piece.music;
  const notes = score.tracks.flatMap((track, i) => track.notes.filter(({ tick }) => tick >= start).map((note) => ({ ...note, i })));
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(canvas.clientWidth * ratio);
  canvas.height = Math.round(canvas.clientHeight * ratio);
  const context = canvas.getContext("2d");
  if (!context) return;
  const scale = canvas.width / (end - start);
  const style = getComputedStyle(document.querySelector(".player-scope .player") ?? canvas);
  context.fillStyle = style.getPropertyValue("--line");
  for (const line of barLines(score, end)) if (line > start && line < end) context.fillRect(Math.round((line - start) * scale), 0, ratio, canvas.height);
  if (!notes.length) return;
  const pitches = notes.map(({ pitch }) => pitch);
  const [low, high] = [pitches.reduce((a, b) => Math.min(a, b)) - 1, pitches.reduce((a, b) => Math.max(a, b)) + 1];
  const row = canvas.height / (high - low + 1);
  for (const { tick, duration, pitch, i } of notes) {
    context.fillStyle = style.getPropertyValue(`--instrument-${i % 8}`) || "#cf5a08";
    context.fillRect((tick - start) * scale, (high - pitch) * row, Math.max(ratio, duration * scale - ratio), Math.max(ratio, row));
  }
}
