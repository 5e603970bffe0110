// The piano roll: notes over time, a ruler to select bars, a cursor that follows playback.
//
// Positions are ticks. The data is what `pianoroll_data` of musiclstm.export returns.

import { BarRuler } from "./bar_ruler.js";
import { Clock } from "./clock.js";
import { make } from "./dom.js";
import { Minimap } from "./minimap.js";
import { KeyRows, barLines, barStep, clampZoom, pixelsPerTick, rollEnd } from "./roll_geometry.js";
import { RollPainter } from "./roll_painter.js";

/** @import { Bars, RollData } from "./types.d.ts" */

const DRAG_PX = 6; // a shorter movement is a click
const MANUAL_SCROLL_MS = 2500; // the roll does not follow playback for so long
const ARRIVAL_MS = 600; // of a smooth scroll
const EMPTY = { bars: { ticks: [0], seconds: [0] }, clock: { ticks: [0], seconds: [0] } };

export class PianoRoll {
  /**
   * @param {HTMLElement} parent
   * @param {{seek: (tick: number) => void, select: (bars: Bars | null) => void,
   *   key: (event: KeyboardEvent) => void}} actions
   * @param {HTMLElement} mapParent of the minimap
   */
  constructor(parent, actions, mapParent) {
    this.actions = actions;
    /** @type {RollData | null} */
    this.data = null;
    this.clock = new Clock(EMPTY);
    this.rows = new KeyRows(null, 0);
    this.left = 0; // scrolled pixels
    this.zoom = 0; // 0: comfortable; 1: all bars
    this.width = this.height = this.perTick = 0;
    this.cursor = 0;
    this.playing = false;
    this.planned = 0; // bars
    this.scrolledAt = -Infinity; // by the user, milliseconds
    this.layoutFrame = 0;
    this.element = make("div", { class: "roll", parent });
    this.gutter = make("canvas", { class: "gutter", "aria-hidden": "true", parent: this.element });
    this.scroll = make("div", { class: "scroll", parent: this.element });
    this.wide = make("div", { class: "wide", parent: this.scroll });
    this.ruler = new BarRuler(this.wide, {
      barUnder: (event) => this.barUnder(event),
      redraw: () => this.draw(),
      select: (bars) => actions.select(bars),
    });
    this.stage = make("div", {
      class: "stage", role: "slider", tabindex: "0", "aria-label": "Position in the music",
      "aria-valuemin": "1", "aria-valuemax": "1", "aria-valuenow": "1", parent: this.wide,
    });
    this.view = make("div", { class: "view", "aria-hidden": "true", parent: this.stage });
    this.canvas = make("canvas", { parent: this.view });
    this.overlay = make("canvas", { parent: this.view });
    this.painter = new RollPainter(this);
    this.minimap = new Minimap(mapParent, this);
    this.resizes = new ResizeObserver(() => this.layOut());
    this.themes = new MutationObserver(() => this.draw());
    this.listen();
  }

  listen() {
    this.listenToDrag();
    this.stage.addEventListener("keydown", (event) => this.actions.key(event));
    this.scroll.addEventListener("scroll", () => this.draw());
    this.scroll.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    for (const name of ["pointerdown", "wheel", "touchmove"]) {
      this.scroll.addEventListener(name, () => this.noteScroll(), { passive: true });
    }
    this.listenToPinch();
    this.resizes.observe(this.element);
    for (const each of [document.documentElement, document.body]) {
      this.themes.observe(each, { attributes: true, attributeFilter: ["class"] });
    }
  }

  /** The user has scrolled: do not follow playback for a while. */
  noteScroll() {
    this.scrolledAt = performance.now();
  }

  /** A click seeks; dragging the mouse selects bars. Fingers scroll, and select bars on the ruler. */
  listenToDrag() {
    const { stage, ruler } = this;
    /** @type {PointerEvent | null} */
    let from = null;
    let isDrag = false;
    stage.addEventListener("pointerdown", (event) => {
      isDrag = false;
      from = event.button === 0 && event.pointerType !== "touch" && this.clock.count ? event : null;
    });
    stage.addEventListener("pointermove", (event) => {
      if (!from) return;
      if (!isDrag && Math.abs(event.clientX - from.clientX) > DRAG_PX) {
        isDrag = true;
        stage.setPointerCapture(event.pointerId);
        ruler.begin(this.barUnder(from), event.shiftKey);
      }
      if (isDrag) ruler.extend(this.barUnder(event));
    });
    stage.addEventListener("pointerup", () => {
      from = null;
      if (isDrag) ruler.end();
    });
    stage.addEventListener("pointercancel", () => {
      from = null;
      if (isDrag) ruler.cancel();
    });
    stage.addEventListener("click", (event) => {
      if (!isDrag) this.actions.seek(this.tickUnder(event));
    });
  }

  dispose() {
    this.resizes.disconnect();
    this.themes.disconnect();
  }

  // --------------------------------------------------------------------------------------- data

  /** @param {RollData | null} data @param {number} planned bars, 0: unknown @param {boolean} isNew another piece */
  show(data, planned, isNew) {
    const before = isNew ? 0 : this.noteCount;
    this.data = data;
    this.clock = new Clock(data ?? EMPTY);
    if (isNew) this.zoom = 0;
    if (this.noteCount > before) {
      this.painter.oldNotes = before;
      this.painter.newAt = performance.now();
    }
    this.planned = Math.max(planned, this.clock.count);
    this.ruler.show(this.clock, this.planned, data?.prompt_end_tick ?? 0, data?.first_bar ?? 1);
    // One layout for all updates before the next frame.
    this.layoutFrame ||= requestAnimationFrame(() => {
      this.layoutFrame = 0;
      this.layOut();
    });
  }

  get noteCount() {
    return this.data?.notes.start.length ?? 0;
  }

  /** Right edge: the end of the planned bars. */
  get endTick() {
    return rollEnd(this.clock, this.planned);
  }

  /** Ticks of all bar lines, planned bars included. */
  get lines() {
    return barLines(this.clock, this.planned);
  }

  /** Mean width of a bar in pixels. */
  get barWidth() {
    return (this.endTick * this.perTick) / Math.max(1, this.lines.length - 1);
  }

  get colouring() {
    return this.painter.colouring;
  }

  /** @param {string} colouring */
  setColouring(colouring) {
    this.painter.colouring = colouring;
    this.draw();
  }

  /** @param {Set<number>} muted `idOf` of instruments */
  setMuted(muted) {
    const before = this.painter.muted;
    const same = muted.size === before.size && [...muted].every((each) => before.has(each));
    this.painter.muted = muted;
    if (!same) this.draw();
  }

  // ------------------------------------------------------------------------------------- layout

  /** Compute all sizes, after new music, another zoom or another width. */
  layOut() {
    this.width = this.scroll.clientWidth;
    this.height = this.stage.clientHeight;
    if (!this.width || !this.height) return;
    const { lines, endTick, width, zoom } = this;
    this.perTick = pixelsPerTick({ width, bars: Math.max(1, lines.length - 1), endTick, zoom });
    this.wide.style.width = `${Math.ceil(endTick * this.perTick)}px`;
    this.ruler.layOut(lines, this.perTick, barStep(34, this.barWidth));
    this.rows = new KeyRows(this.data, this.height);
    this.view.style.width = `${width}px`;
    for (const canvas of [this.canvas, this.overlay, this.gutter]) fitToScreen(canvas);
    this.draw();
  }

  draw() {
    if (!this.perTick) return;
    this.left = this.scroll.scrollLeft;
    this.painter.draw();
    this.minimap.draw();
  }

  /** @param {number} tick */
  x(tick) {
    return tick * this.perTick - this.left;
  }

  /** @param {MouseEvent} event */
  tickUnder(event) {
    const x = event.clientX - this.scroll.getBoundingClientRect().left + this.scroll.scrollLeft;
    return Math.min(Math.max(0, x / this.perTick), this.clock.endTick);
  }

  /** @param {MouseEvent} event @returns {number} bar, counted from 1 */
  barUnder(event) {
    const x = event.clientX - this.wide.getBoundingClientRect().left;
    const bar = Math.floor(this.clock.barAt(x / this.perTick)) + 1;
    return Math.min(Math.max(1, bar), this.clock.count);
  }

  // -------------------------------------------------------------------- cursor, scroll and zoom

  /** @param {number} tick @param {boolean} playing */
  moveTo(tick, playing) {
    this.left = this.scroll.scrollLeft;
    this.cursor = tick;
    this.playing = playing;
    if (playing && performance.now() - this.scrolledAt > MANUAL_SCROLL_MS) this.follow();
    if (!this.perTick) return;
    this.painter.drawOverlay();
    this.minimap.place();
  }

  /** Scroll on when the cursor comes near the right edge. */
  follow() {
    const x = this.x(this.cursor);
    const rest = this.wide.clientWidth - this.width - this.scroll.scrollLeft;
    if (x < 0 || (x > 0.86 * this.width && rest > 1)) this.reveal(0.14);
  }

  /** Scroll the cursor to a share of the width. @param {number} share */
  reveal(share) {
    const left = this.cursor * this.perTick - share * this.width;
    const behavior = this.painter.reducedMotion.matches ? "auto" : "smooth";
    this.scroll.scrollTo({ left, behavior });
    this.scrolledAt = performance.now() - MANUAL_SCROLL_MS + ARRIVAL_MS;
  }

  /** Zoom; the tick at `x` stays there. @param {number} factor 0: show all bars @param {number} x */
  zoomBy(factor, x = this.x(this.cursor)) {
    const anchor = Math.min(Math.max(0, x), this.width);
    const tick = (this.scroll.scrollLeft + anchor) / this.perTick;
    const now = (this.endTick * this.perTick) / this.width;
    this.zoom = factor ? clampZoom(now * factor, this.lines.length - 1, this.width) : 1;
    this.layOut();
    this.scroll.scrollLeft = tick * this.perTick - anchor;
    this.draw();
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const x = event.clientX - this.scroll.getBoundingClientRect().left;
    this.zoomBy(Math.exp(-Math.max(-50, Math.min(50, event.deltaY)) / 100), x);
  }

  listenToPinch() {
    let before = 0;
    /** @param {TouchEvent} event */
    const distance = ({ touches }) => Math.abs(touches[0].clientX - touches[1].clientX);
    this.stage.addEventListener("touchstart", (event) => {
      before = event.touches.length === 2 ? distance(event) : 0;
    }, { passive: true });
    this.stage.addEventListener("touchmove", (event) => {
      if (!before || event.touches.length !== 2) return;
      event.preventDefault();
      const middle = (event.touches[0].clientX + event.touches[1].clientX) / 2;
      const now = Math.max(20, distance(event));
      this.zoomBy(now / Math.max(20, before), middle - this.scroll.getBoundingClientRect().left);
      before = now;
    }, { passive: false });
  }
}

/** Give a canvas as many dots as the screen has there. @param {HTMLCanvasElement} canvas */
function fitToScreen(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * ratio);
  const height = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
}
