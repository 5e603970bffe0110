// Takes: alternatives of the same bars as strips, one above the other.

import { make } from "../../playback/static/dom.js";

/** @import { Piece } from "../music/piece.js" */

export const LETTERS = ["A", "B", "C", "D"];

export class Takes {
  /** @param {HTMLElement} element @param {(index: number) => void} onChoose */
  constructor(element, onChoose) {
    this.element = element;
    this.onChoose = onChoose;
    /** @type {Piece[]} */
    this.drawn = [];
    element.addEventListener("keydown", (event) => this.key(event));
  }

  /** Show pieces, or nothing. @param {Piece[]} pieces @param {number} chosen @param {number} start tick up to which they are equal */
  show(pieces, chosen, start) {
    this.element.hidden = pieces.length < 2;
    while (this.element.children.length > pieces.length) this.element.lastElementChild?.remove();
    pieces.forEach((piece, i) => {
      const button = /** @type {HTMLElement} */ (this.element.children[i] ?? this.build(i));
      button.setAttribute("aria-checked", String(i === chosen));
      button.tabIndex = i === chosen ? 0 : -1;
      if (this.drawn[i] === piece) return;
      this.drawn[i] = piece;
      const notes = draw(/** @type {HTMLCanvasElement} */ (button.querySelector("canvas")), piece, start);
      const small = button.querySelector("small");
      if (small) small.textContent = `${notes} notes`;
    });
  }

  /** @param {number} index */
  build(index) {
    const letter = LETTERS[index];
    const button = make("button", { type: "button", role: "radio", "aria-label": `Take ${letter}`, parent: this.element });
    make("b", { text: letter, parent: button });
    make("canvas", { "aria-hidden": "true", parent: button });
    make("small", { parent: button });
    button.addEventListener("click", () => this.onChoose(index));
    return button;
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    /** @type {Record<string, number>} */
    const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const buttons = [...this.element.children];
    const now = buttons.findIndex((each) => each === document.activeElement);
    const next = (now + step + buttons.length) % buttons.length;
    this.onChoose(next);
    /** @type {HTMLElement} */ (buttons[next]).focus();
  }
}

/** Draw the notes from a tick on; return their number. @param {HTMLCanvasElement} canvas @param {Piece} piece @param {number} start */
function draw(canvas, piece, start) {
  const { score, end } = piece.music;
  const notes = score.tracks.flatMap((track, i) => track.notes.filter(({ tick }) => tick >= start).map((note) => ({ ...note, i })));
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(canvas.clientWidth * ratio);
  canvas.height = Math.round(canvas.clientHeight * ratio);
  const context = canvas.getContext("2d");
  if (!context || !notes.length) return notes.length;
  const pitches = notes.map(({ pitch }) => pitch);
  const [low, high] = [pitches.reduce((a, b) => Math.min(a, b)) - 1, pitches.reduce((a, b) => Math.max(a, b)) + 1];
  const row = canvas.height / (high - low + 1);
  const scale = canvas.width / Math.max(1, end - start);
  const style = getComputedStyle(document.querySelector(".player-scope .player") ?? canvas);
  for (const { tick, duration, pitch, i } of notes) {
    context.fillStyle = style.getPropertyValue(`--instrument-${i % 8}`) || "#cf5a08";
    context.fillRect((tick - start) * scale, (high - pitch) * row, Math.max(ratio, duration * scale - ratio), Math.max(ratio, row));
  }
  return notes.length;
}
