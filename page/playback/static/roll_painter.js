// Draws notes, bar lines and the cursor on the canvases of a piano roll.

import { idOf } from "./instrument_chips.js";
import { barStep } from "./roll_geometry.js";

/** @import { Colours, RollData } from "./types.d.ts" */
/** @import { PianoRoll } from "./pianoroll.js" */

const SHADES = [0.55, 0.7, 0.85, 1]; // opacity by velocity
const SURE_PERCENT = [3, 10, 25, 50]; // limits of the colours of note probabilities
const FADE_IN_MS = 450; // of new notes
const FONT = "system-ui, sans-serif";

/**
 * @typedef {CanvasRenderingContext2D} Canvas2D
 */

export class RollPainter {
  /** @param {PianoRoll} view */
  constructor(view) {
    this.view = view;
    this.colouring = "parts"; // "parts", "instruments" or "sure"
    /** @type {Set<number>} */
    this.muted = new Set(); // `idOf` of instruments
    this.oldNotes = 0; // notes before the last update
    this.newAt = -Infinity; // when the others came, milliseconds
    this.reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
  }

  /** Return the theme's colours by name. @returns {Colours} */
  colours() {
    const style = getComputedStyle(this.view.element);
    /** @type {Map<string, string>} */
    const known = new Map();
    return (name) => {
      const colour = known.get(name) ?? style.getPropertyValue(`--${name}`).trim();
      known.set(name, colour);
      return colour;
    };
  }

  /** Clear a canvas. @param {HTMLCanvasElement} canvas @returns {Canvas2D} */
  clear(canvas) {
    const ratio = window.devicePixelRatio || 1;
    const context = canvas.getContext("2d");
    if (!context) throw new Error("This browser cannot draw the piano roll.");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    return context;
  }

  draw() {
    const { data, canvas } = this.view;
    const colour = this.colours();
    const context = this.clear(canvas);
    if (!data) return this.write(context, colour, "The music appears here, bar by bar.");
    this.drawBackground(context, colour, data);
    const elapsed = (performance.now() - this.newAt) / FADE_IN_MS;
    const alpha = this.reducedMotion.matches ? 1 : Math.min(1, elapsed);
    const { start } = data.notes;
    for (let i = 0; i < start.length; i++) {
      this.drawNote(context, data, i, this.noteColour(data, i, colour), i < this.oldNotes ? 1 : alpha);
    }
    this.drawKeyLabels(colour);
    if (!start.length) this.write(context, colour, "No notes");
    this.drawOverlay();
    if (alpha < 1) requestAnimationFrame(() => this.view.draw());
  }

  /** @param {Canvas2D} context @param {Colours} colour @param {string} text */
  write(context, colour, text) {
    context.fillStyle = colour("quiet");
    context.font = `14px ${FONT}`;
    context.textAlign = "center";
    context.fillText(text, this.view.width / 2, this.view.height / 2);
  }

  /** @param {Canvas2D} context @param {Colours} colour @param {RollData} data */
  drawBackground(context, colour, data) {
    const { view } = this;
    const { rows, height, clock } = view;
    const start = data.prompt_end_tick;
    const end = view.x(view.endTick);
    if (start > 0) fill(context, colour("tint"), view.x(start), end, 0, height);
    const { selected } = view.ruler;
    if (selected) {
      const [left, right] = [clock.bars[selected[0] - 1], clock.bars[selected[1]]].map((tick) => view.x(tick));
      fill(context, colour("chosen"), left, right, 0, height);
    }
    for (const key of rows.octaves()) {
      const y = Math.round(rows.keyBottom - ((key - rows.low) * rows.keyBottom) / rows.count);
      fill(context, colour("line"), 0, end, y, y + 1);
    }
    if (rows.drums.length && rows.count) {
      fill(context, colour("edge"), 0, end, rows.drumTop - 1, rows.drumTop);
      context.fillStyle = colour("quiet");
      context.font = `11px ${FONT}`;
      context.textAlign = "left";
      context.fillText("drums", 4, rows.drumTop - 5);
    }
    this.drawBarLines(context, colour);
    if (start > 0) this.drawNewStart(context, colour("new"), view.x(start));
  }

  /** @param {Canvas2D} context @param {Colours} colour */
  drawBarLines(context, colour) {
    const { view } = this;
    const { lines, height } = view;
    const step = barStep(5, view.barWidth);
    lines.forEach((tick, i) => {
      const x = Math.round(view.x(tick));
      const name = i > view.clock.count ? "faint" : "line";
      if (i % step === 0) fill(context, colour(name), x, x + 1, 0, height);
    });
  }

  /** Draw where the new bars start. @param {Canvas2D} context @param {string} colour @param {number} x */
  drawNewStart(context, colour, x) {
    context.strokeStyle = colour;
    context.lineWidth = 2;
    context.setLineDash([5, 4]);
    context.beginPath();
    context.moveTo(x, 0);
    context.lineTo(x, this.view.height);
    context.stroke();
    context.setLineDash([]);
  }

  /** @param {Colours} colour */
  drawKeyLabels(colour) {
    const { gutter, rows, height } = this.view;
    const context = this.clear(gutter);
    context.fillStyle = colour("quiet");
    context.font = `11px ${FONT}`;
    context.textAlign = "right";
    for (const key of rows.octaves()) {
      const y = rows.keyBottom - ((key - rows.low + 0.5) * rows.keyBottom) / rows.count + 4;
      context.fillText(`C${key / 12 - 1}`, gutter.clientWidth - 5, Math.min(y, height - 2));
    }
  }

  /** @param {RollData} data @param {number} i of a note */
  isMuted({ notes, instruments }, i) {
    return this.muted.has(idOf(instruments[notes.instrument[i]]));
  }

  /** @param {RollData} data @param {number} i @param {Colours} colour */
  noteColour(data, i, colour) {
    const { start, instrument, sure } = data.notes;
    if (this.colouring === "instruments") return colour(`instrument-${instrument[i] % 8}`);
    if (this.colouring === "sure") {
      const step = SURE_PERCENT.filter((limit) => sure[i] >= limit).length;
      return colour(sure[i] < 0 ? "unknown" : `sure-${step}`);
    }
    return colour(start[i] < data.prompt_end_tick ? "prompt" : "new");
  }

  /** @param {Canvas2D} context @param {RollData} data @param {number} i @param {string} colour @param {number} alpha */
  drawNote(context, data, i, colour, alpha) {
    const { view } = this;
    const { start, length, key, instrument, loudness } = data.notes;
    const left = view.x(start[i]);
    const isDrum = view.rows.isDrum[instrument[i]];
    const width = isDrum ? 3 : Math.max(2, length[i] * view.perTick - 1);
    if (left > view.width || left + width < 0) return;
    const [top, height] = view.rows.row(key[i], instrument[i]);
    const gap = height > 4 ? 0.1 * height : 0; // between rows, if there is space
    context.globalAlpha = alpha * (this.isMuted(data, i) ? 0.16 : SHADES[Math.min(3, loudness[i] >> 5)]);
    context.fillStyle = colour;
    context.beginPath();
    const radius = Math.min(3, width / 2, height / 3);
    if ("roundRect" in context) context.roundRect(left, top + gap, width, height - 2 * gap, radius);
    else /** @type {any} */ (context).rect(left, top + gap, width, height - 2 * gap);
    context.fill();
    context.globalAlpha = 1;
  }

  /** Draw the cursor and the sounding notes. */
  drawOverlay() {
    const { data, overlay, cursor, playing, height, endTick } = this.view;
    if (!data) return;
    const colour = this.colours();
    const context = this.clear(overlay);
    const x = Math.min(this.view.x(cursor), this.view.x(endTick) - 1);
    if (playing && !this.reducedMotion.matches) this.drawSounding(context, data, colour("glow"));
    fill(context, colour("cursor"), x - 1, x + 1, 0, height);
    context.beginPath();
    context.moveTo(x - 5, 0);
    context.lineTo(x + 5, 0);
    context.lineTo(x, 7);
    context.fill();
  }

  /** @param {Canvas2D} context @param {RollData} data @param {string} colour */
  drawSounding(context, data, colour) {
    const { start, length } = data.notes;
    const { cursor, perTick } = this.view;
    for (let i = 0; i < start.length && start[i] <= cursor; i++) {
      const end = start[i] + Math.max(length[i], 3 / perTick);
      if (cursor < end && !this.isMuted(data, i)) this.drawNote(context, data, i, colour, 1);
    }
  }
}

/** @param {Canvas2D} context @param {string} colour @param {number} left @param {number} right @param {number} top @param {number} bottom */
function fill(context, colour, left, right, top, bottom) {
  context.fillStyle = colour;
  context.fillRect(left, top, right - left, bottom - top);
}
