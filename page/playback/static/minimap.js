// The whole piece in a narrow strip, with a frame around what the roll shows. Drag it to move there.

import { make } from "./dom.js";
import { KeyRows } from "./roll_geometry.js";

/** @import { PianoRoll } from "./pianoroll.js" */
/** @import { RollData } from "./types.d.ts" */

const MIN_FRAME_PX = 8;

export class Minimap {
  /** @param {HTMLElement} parent @param {PianoRoll} view */
  constructor(parent, view) {
    this.view = view;
    this.element = make("div", { class: "minimap", "aria-hidden": "true", title: "The whole piece", parent });
    this.canvas = make("canvas", { parent: this.element });
    this.frame = make("div", { class: "frame", parent: this.element });
    this.cursor = make("div", { class: "place", parent: this.element });
    this.drawn = "";
    /** @type {RollData | null} */
    this.data = null; // that is drawn
    this.listen();
  }

  listen() {
    let held = 0; // share of the piece between the pointer and the middle of the frame
    let isDown = false;
    this.element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      isDown = true;
      this.element.setPointerCapture(event.pointerId);
      const { share, middle, half } = this.places(event);
      held = Math.abs(share - middle) <= half ? share - middle : 0;
      this.moveTo(share - held);
    });
    this.element.addEventListener("pointermove", (event) => {
      if (isDown) this.moveTo(this.places(event).share - held);
    });
    for (const name of ["pointerup", "pointercancel"]) this.element.addEventListener(name, () => (isDown = false));
  }

  /** Shares of the piece: under the pointer, in the middle of the frame, and half of the frame. @param {PointerEvent} event */
  places(event) {
    const { left, width } = this.element.getBoundingClientRect();
    const { scroll, wide, width: shown } = this.view;
    const whole = Math.max(1, wide.clientWidth);
    return { share: (event.clientX - left) / width, middle: (scroll.scrollLeft + shown / 2) / whole, half: shown / whole / 2 };
  }

  /** Scroll the roll. @param {number} middle share of the piece */
  moveTo(middle) {
    const { scroll, wide, width } = this.view;
    scroll.scrollLeft = middle * wide.clientWidth - width / 2;
    this.view.noteScroll();
  }

  /** Show where the roll is; hide it while the roll shows everything. */
  layOut() {
    const { wide, width, left } = this.view;
    const whole = Math.max(1, wide.clientWidth);
    const isLong = whole > width + 1;
    this.element.classList.toggle("idle", !isLong);
    if (!isLong) return;
    const strip = this.element.clientWidth;
    const size = Math.max(MIN_FRAME_PX, (strip * width) / whole);
    this.frame.style.width = `${size}px`;
    this.frame.style.transform = `translateX(${Math.min((strip * left) / whole, strip - size)}px)`;
    this.place();
  }

  /** Show the position of playback. */
  place() {
    const { cursor, endTick } = this.view;
    this.cursor.style.transform = `translateX(${(this.element.clientWidth * Math.min(cursor, endTick)) / endTick}px)`;
  }

  /** Draw the notes. */
  draw() {
    this.layOut();
    const { data, endTick, painter } = this.view;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!data || !width || this.element.classList.contains("idle")) return;
    const colour = painter.colours();
    const drawn = [data.notes.start.length, endTick, width, painter.colouring, colour("prompt"), [...painter.muted]].join();
    if (this.drawn === drawn && this.data === data) return;
    this.drawn = drawn;
    this.data = data;
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const context = painter.clear(this.canvas);
    const rows = new KeyRows(data, height);
    const { start, length, key, instrument } = data.notes;
    for (let i = 0; i < start.length; i++) {
      const [top, row] = rows.row(key[i], instrument[i]);
      context.globalAlpha = painter.isMuted(data, i) ? 0.16 : 0.8;
      context.fillStyle = painter.noteColour(data, i, colour);
      const x = (width * start[i]) / endTick;
      context.fillRect(x, top, Math.max(1, (width * length[i]) / endTick), Math.max(1, row));
    }
  }
}
