// @ts-check
// The picture: notes over time, bar numbers to choose bars by, a cursor that follows the sound.
//
// All places are ticks. What it is told is what roll.py gives. This file knows no sound.

const SHADES = [0.55, 0.7, 0.85, 1]; // opacity, from the softest notes to the loudest
const FEWEST_KEYS = 24; // two octaves: a tune of three notes should not look like a wall
// Percent from which a note is surer: of all it could have been, one in four is well foreseen.
const SURER = [3, 10, 25, 50];
const DRUM_ROW_PX = 10;
const DRUM_SHARE = 0.35;
const BIRTH_MS = 450; // in which new notes appear
const HAND_MS = 2500; // how long the picture stays where a hand has put it
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** An element with text that is only text. */
function make(tag, { text = "", parent = null, ...attributes } = {}) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  parent?.append(element);
  return element;
}

/** Between two rising columns, straight from point to point and on beyond the ends. */
function between(from, to, value) {
  let i = 1;
  while (i < from.length - 1 && from[i] <= value) i++;
  if (from.length < 2) return (to[0] ?? 0) + (value - (from[0] ?? 0));
  const share = (value - from[i - 1]) / (from[i] - from[i - 1]);
  return to[i - 1] + share * (to[i] - to[i - 1]);
}

/** Bars, ticks and seconds of a piece. */
class Clock {
  constructor(roll) {
    this.bars = roll.bars.ticks; // of the bar lines; one more than bars
    const seconds = new Map(roll.clock.ticks.map((tick, i) => [tick, roll.clock.seconds[i]]));
    this.bars.forEach((tick, i) => seconds.set(tick, roll.bars.seconds[i]));
    const points = [...seconds].sort((a, b) => a[0] - b[0]);
    this.ticks = points.map(([tick]) => tick);
    this.indexes = this.bars.map((_, i) => i);
    this.seconds = points.map(([, second]) => second);
  }

  get count() {
    return this.bars.length - 1;
  }

  get endTick() {
    return this.bars[this.count];
  }

  secondsAt(tick) {
    return between(this.ticks, this.seconds, tick);
  }

  tickAt(seconds) {
    return between(this.seconds, this.ticks, seconds);
  }

  /** The bar at a tick, counted from 0, with its share that has passed. */
  placeAt(tick) {
    if (this.count < 1) return 0;
    return Math.min(Math.max(0, between(this.bars, this.indexes, tick)), this.count - 1e-9);
  }

  tickOfPlace(place) {
    return between(this.indexes, this.bars, place);
  }
}

class Roll {
  /**
   * @param {HTMLElement} parent
   * @param {{seek: (tick: number) => void, choose: (bars: number[] | null) => void,
   *   key: (event: KeyboardEvent) => void}} told what the listener does
   */
  constructor(parent, told) {
    this.told = told;
    this.roll = null;
    const nothing = { ticks: [0], seconds: [0] };
    this.clock = new Clock({ bars: nothing, clock: nothing });
    this.colouring = "parts";
    this.muted = new Set();
    /** @type {number[] | null} */
    this.chosen = null; // first and last bar, counted from 1
    this.left = 0; // px that are scrolled away
    this.zoom = 0; // 0: as far in as is comfortable; else 1 shows all
    this.cursor = 0;
    this.old = 0; // how many notes were there before
    this.bornAt = -Infinity;
    this.handAt = -Infinity;
    this.planned = 0;
    this.build(parent);
    this.listen();
  }

  build(parent) {
    this.element = make("div", { class: "roll", parent });
    this.gutter = make("canvas", { class: "gutter", "aria-hidden": "true", parent: this.element });
    this.scroll = make("div", { class: "scroll", parent: this.element });
    this.wide = make("div", { class: "wide", parent: this.scroll });
    this.ruler = make("div", {
      class: "ruler", role: "listbox", "aria-label": "Bars", "aria-multiselectable": "true",
      "aria-orientation": "horizontal", parent: this.wide,
    });
    this.stage = make("div", {
      class: "stage", role: "slider", tabindex: "0", "aria-label": "Place in the music",
      "aria-valuemin": "1", "aria-valuemax": "1", "aria-valuenow": "1", parent: this.wide,
    });
    this.view = make("div", { class: "view", "aria-hidden": "true", parent: this.stage });
    this.canvas = make("canvas", { parent: this.view });
    this.overlay = make("canvas", { parent: this.view });
  }

  listen() {
    this.stage.addEventListener("click", (event) => this.told.seek(this.tickUnder(event)));
    this.stage.addEventListener("keydown", (event) => this.told.key(event));
    this.scroll.addEventListener("scroll", () => this.draw());
    this.scroll.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    for (const name of ["pointerdown", "wheel", "touchmove"]) {
      this.scroll.addEventListener(name, () => (this.handAt = performance.now()), { passive: true });
    }
    this.listenToFingers();
    this.listenToRuler();
    this.observer = new ResizeObserver(() => this.layOut());
    this.observer.observe(this.element);
    this.themes = new MutationObserver(() => this.draw());
    for (const each of [document.documentElement, document.body]) {
      this.themes.observe(each, { attributes: true, attributeFilter: ["class"] });
    }
  }

  dispose() {
    this.observer.disconnect();
    this.themes.disconnect();
  }

  // --------------------------------------------------------------------------------- what to show

  /** @param {any} roll from roll.py @param {number} planned bars there will be, 0: not known */
  show(roll, planned, fresh) {
    const notes = fresh ? 0 : this.count;
    this.roll = roll;
    this.clock = new Clock(roll);
    if (fresh) this.zoom = 0;
    if (this.count > notes) {
      this.old = notes;
      this.bornAt = performance.now();
    }
    this.planned = Math.max(planned, this.clock.count);
    this.numberBars();
    this.layOutSoon();
  }

  /** Once for all that comes until the next picture. */
  layOutSoon() {
    this.laying ??= requestAnimationFrame(() => {
      this.laying = null;
      this.layOut();
    });
  }

  get count() {
    return this.roll?.notes.start.length ?? 0;
  }

  /** The right edge: where the planned bars will end. */
  get endTick() {
    const { count, bars, endTick } = this.clock;
    const bar = count > 0 ? endTick - bars[count - 1] : 1920;
    return Math.max(1, endTick + (this.planned - count) * bar);
  }

  get lines() {
    const { count, bars, endTick } = this.clock;
    const bar = count > 0 ? endTick - bars[count - 1] : 1920;
    const missing = Math.max(0, this.planned - count);
    return [...bars, ...Array.from({ length: missing }, (_, i) => endTick + (i + 1) * bar)];
  }

  setColouring(colouring) {
    this.colouring = colouring;
    this.draw();
  }

  setMuted(muted) {
    const same = muted.size === this.muted.size && [...muted].every((each) => this.muted.has(each));
    this.muted = muted;
    if (!same) this.draw();
  }

  // ------------------------------------------------------------------------------ where things are

  /** Sizes and places of everything, after new music, a new zoom or a new width. */
  layOut() {
    this.width = this.scroll.clientWidth;
    this.height = this.stage.clientHeight;
    if (!this.width || !this.height) return;
    const lines = this.lines;
    const bars = Math.max(1, lines.length - 1);
    const comfortable = Math.max(1, (26 * bars) / this.width);
    this.perTick = (this.width * (this.zoom || comfortable)) / this.endTick;
    this.wide.style.width = `${Math.ceil(this.endTick * this.perTick)}px`;
    const number = this.every(34, bars);
    [...this.ruler.children].forEach((bar, i) => {
      bar.style.left = `${lines[i] * this.perTick}px`;
      bar.style.width = `${(lines[i + 1] - lines[i]) * this.perTick}px`;
      bar.firstChild.textContent = i % number === 0 ? String(i + 1) : "";
    });
    this.planKeys();
    this.view.style.width = `${this.width}px`;
    for (const canvas of [this.canvas, this.overlay, this.gutter]) this.fit(canvas);
    this.draw();
  }

  /** The power of two of bars that has so many pixels: phrases have 2, 4, 8 and 16 of them. */
  every(px, bars) {
    let step = 1;
    while (step * ((this.endTick * this.perTick) / bars) < px) step *= 2;
    return step;
  }

  /** As many dots as the screen has there. */
  fit(canvas) {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((px) =>
      Math.round(px * ratio),
    );
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
  }

  pen(canvas) {
    const ratio = window.devicePixelRatio || 1;
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    return pen;
  }

  /** Which rows there are, and where. */
  planKeys() {
    const { key = [], instrument = [] } = this.roll?.notes ?? {};
    this.isDrum = (this.roll?.instruments ?? []).map(({ program }) => program === -1);
    const drums = new Set(key.filter((_, i) => this.isDrum[instrument[i]]));
    const keys = key.filter((_, i) => !this.isDrum[instrument[i]]);
    this.drums = [...drums].sort((a, b) => b - a);
    let low = keys.reduce((a, b) => Math.min(a, b), 128) - 1;
    let high = keys.reduce((a, b) => Math.max(a, b), -1) + 1;
    if (!keys.length) [low, high] = drums.size ? [0, -1] : [48, 72];
    else {
      const missing = Math.max(0, FEWEST_KEYS - (high - low + 1));
      low = Math.max(0, low - Math.floor(missing / 2));
      high = Math.min(127, Math.max(high, low + FEWEST_KEYS - 1));
    }
    this.low = low;
    this.rows = high - low + 1;
    const strip = Math.min(this.drums.length * DRUM_ROW_PX + 4, DRUM_SHARE * this.height);
    this.strip = this.height - (this.rows ? (this.drums.length ? strip : 0) : this.height);
    this.middle = this.strip - (this.drums.length && this.rows ? 16 : 0);
  }

  /** Top and height of a note's row. */
  row(i) {
    const { key, instrument } = this.roll.notes;
    if (this.isDrum[instrument[i]]) {
      const height = (this.height - this.strip) / this.drums.length;
      return [this.strip + this.drums.indexOf(key[i]) * height, height];
    }
    const height = this.middle / this.rows;
    return [this.middle - (key[i] - this.low + 1) * height, height];
  }

  /** How far it is scrolled. Asked once a picture: the browser lays everything out for it. */
  look() {
    this.left = this.scroll.scrollLeft;
  }

  x(tick) {
    return tick * this.perTick - this.left;
  }

  tickUnder(event) {
    const x = event.clientX - this.scroll.getBoundingClientRect().left + this.scroll.scrollLeft;
    return Math.min(Math.max(0, x / this.perTick), this.clock.endTick);
  }

  // --------------------------------------------------------------------------------------- drawing

  /** The theme's colours by name, read anew for every picture. */
  colours() {
    const style = getComputedStyle(this.element);
    const known = new Map();
    return (name) => {
      if (!known.has(name)) known.set(name, style.getPropertyValue(`--${name}`).trim());
      return known.get(name);
    };
  }

  draw() {
    if (!this.perTick) return;
    this.look();
    const colour = this.colours();
    const pen = this.pen(this.canvas);
    if (!this.roll) return this.write(pen, colour, "The music appears here, bar by bar.");
    this.drawGround(pen, colour);
    const age = calm.matches ? 1 : (performance.now() - this.bornAt) / BIRTH_MS;
    for (let i = 0; i < this.count; i++) {
      this.drawNote(pen, i, this.colourOf(i, colour), i < this.old ? 1 : Math.min(1, age));
    }
    this.drawGutter(colour);
    if (this.roll && !this.count) this.write(pen, colour, "No notes");
    this.drawOverlay();
    if (age < 1) requestAnimationFrame(() => this.draw());
  }

  write(pen, colour, words) {
    pen.fillStyle = colour("quiet");
    pen.font = "14px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.fillText(words, this.width / 2, this.height / 2);
  }

  drawGround(pen, colour) {
    const begin = this.roll.prompt_end_tick;
    const ends = this.x(this.endTick);
    if (begin > 0) this.fill(pen, colour("tint"), this.x(begin), ends, 0, this.height);
    if (this.chosen) {
      const [first, last] = [this.clock.bars[this.chosen[0] - 1], this.clock.bars[this.chosen[1]]];
      this.fill(pen, colour("chosen"), this.x(first), this.x(last), 0, this.height);
    }
    for (const key of this.octaves()) {
      const y = Math.round(this.middle - ((key - this.low) * this.middle) / this.rows);
      this.fill(pen, colour("line"), 0, ends, y, y + 1);
    }
    if (this.drums.length && this.rows) {
      this.fill(pen, colour("edge"), 0, ends, this.strip - 1, this.strip);
      pen.fillStyle = colour("quiet");
      pen.font = "11px system-ui, sans-serif";
      pen.fillText("drums", 4, this.strip - 5);
    }
    this.drawBarLines(pen, colour);
    if (begin > 0) this.drawBeginning(pen, colour("new"), this.x(begin));
  }

  drawBarLines(pen, colour) {
    const lines = this.lines;
    const every = this.every(5, Math.max(1, lines.length - 1));
    lines.forEach((tick, i) => {
      const x = Math.round(this.x(tick));
      const look = i > this.clock.count ? "faint" : "line";
      if (i % every === 0) this.fill(pen, colour(look), x, x + 1, 0, this.height);
    });
  }

  drawBeginning(pen, colour, x) {
    pen.strokeStyle = colour;
    pen.lineWidth = 2;
    pen.setLineDash([5, 4]);
    pen.beginPath();
    pen.moveTo(x, 0);
    pen.lineTo(x, this.height);
    pen.stroke();
    pen.setLineDash([]);
  }

  fill(pen, colour, left, right, top, bottom) {
    pen.fillStyle = colour;
    pen.fillRect(left, top, right - left, bottom - top);
  }

  /** The Cs that are labelled: every one, or every other where they would touch. */
  octaves() {
    if (this.rows < 1) return [];
    const step = (12 * this.middle) / this.rows >= 14 ? 12 : 24;
    const first = Math.ceil(this.low / step) * step;
    const many = Math.max(0, Math.floor((this.low + this.rows - 1 - first) / step) + 1);
    return Array.from({ length: many }, (_, i) => first + i * step);
  }

  drawGutter(colour) {
    const pen = this.pen(this.gutter);
    pen.fillStyle = colour("quiet");
    pen.font = "11px system-ui, sans-serif";
    pen.textAlign = "right";
    for (const key of this.octaves()) {
      const y = this.middle - ((key - this.low + 0.5) * this.middle) / this.rows + 4;
      pen.fillText(`C${key / 12 - 1}`, this.gutter.clientWidth - 5, Math.min(y, this.height - 2));
    }
  }

  colourOf(i, colour) {
    const { start, instrument, sure } = this.roll.notes;
    if (this.colouring === "instruments") return colour(`instrument-${instrument[i] % 8}`);
    if (this.colouring === "sure") {
      const step = SURER.filter((each) => sure[i] >= each).length;
      return colour(sure[i] < 0 ? "unsaid" : `sure-${step}`);
    }
    return colour(start[i] < this.roll.prompt_end_tick ? "seed" : "new");
  }

  drawNote(pen, i, colour, alpha) {
    const { start, length, instrument, loudness } = this.roll.notes;
    const left = this.x(start[i]);
    const drum = this.isDrum[instrument[i]];
    const width = drum ? 3 : Math.max(2, length[i] * this.perTick - 1);
    if (left > this.width || left + width < 0) return;
    const [top, height] = this.row(i);
    const gap = height > 4 ? 0.1 * height : 0; // between rows, where it can be seen
    const muted = this.muted.has(this.roll.instruments[instrument[i]].program);
    pen.globalAlpha = alpha * (muted ? 0.16 : SHADES[Math.min(3, loudness[i] >> 5)]);
    pen.fillStyle = colour;
    pen.beginPath();
    const place = [left, top + gap, width, height - 2 * gap];
    if (pen.roundRect) pen.roundRect(...place, Math.min(3, width / 2, height / 3));
    else pen.rect(...place);
    pen.fill();
    pen.globalAlpha = 1;
  }

  /** What moves with the sound: the cursor, and the notes that are heard. */
  drawOverlay() {
    if (!this.perTick || !this.roll) return;
    const colour = this.colours();
    const pen = this.pen(this.overlay);
    const x = Math.min(this.x(this.cursor), this.x(this.endTick) - 1);
    if (this.playing && !calm.matches) this.drawSounding(pen, colour("glow"));
    this.fill(pen, colour("cursor"), x - 1, x + 1, 0, this.height);
    pen.beginPath();
    pen.moveTo(x - 5, 0);
    pen.lineTo(x + 5, 0);
    pen.lineTo(x, 7);
    pen.fill();
  }

  drawSounding(pen, colour) {
    const { start, length, instrument } = this.roll?.notes ?? { start: [] };
    for (let i = 0; i < start.length && start[i] <= this.cursor; i++) {
      const silent = this.muted.has(this.roll.instruments[instrument[i]].program);
      const end = start[i] + Math.max(length[i], 3 / this.perTick);
      if (this.cursor < end && !silent) this.drawNote(pen, i, colour, 1);
    }
  }

  // ---------------------------------------------------------------------------- cursor and scrolling

  moveTo(tick, playing) {
    this.look();
    this.cursor = tick;
    this.playing = playing;
    if (playing && performance.now() - this.handAt > HAND_MS) this.follow();
    this.drawOverlay();
  }

  /** Turn the page when the cursor comes near its edge. */
  follow() {
    const x = this.x(this.cursor);
    const rest = this.wide.clientWidth - this.width - this.scroll.scrollLeft;
    if (x < 0 || (x > 0.86 * this.width && rest > 1)) this.reveal(0.14);
  }

  reveal(share) {
    const left = this.cursor * this.perTick - share * this.width;
    this.scroll.scrollTo({ left, behavior: calm.matches ? "auto" : "smooth" });
    this.handAt = performance.now() - HAND_MS + 600; // let it arrive
  }

  /** Show more or less; what lies under `x` stays there. */
  zoomBy(factor, x = this.x(this.cursor)) {
    const anchor = Math.min(Math.max(0, x), this.width);
    const tick = (this.scroll.scrollLeft + anchor) / this.perTick;
    const bars = Math.max(1, this.lines.length - 1);
    const now = (this.endTick * this.perTick) / this.width;
    const most = Math.max(1, (480 * bars) / this.width);
    this.zoom = factor ? Math.min(Math.max(1, now * factor), most) : 1;
    this.layOut();
    this.scroll.scrollLeft = tick * this.perTick - anchor;
    this.draw();
  }

  wheel(event) {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const x = event.clientX - this.scroll.getBoundingClientRect().left;
    this.zoomBy(Math.exp(-Math.max(-50, Math.min(50, event.deltaY)) / 100), x);
  }

  listenToFingers() {
    let apart = 0;
    const [left, right] = [0, 1];
    const spread = ({ touches }) => Math.abs(touches[left].clientX - touches[right].clientX);
    this.stage.addEventListener("touchstart", (event) => {
      apart = event.touches.length === 2 ? spread(event) : 0;
    }, { passive: true });
    this.stage.addEventListener("touchmove", (event) => {
      if (!apart || event.touches.length !== 2) return;
      event.preventDefault();
      const middle = (event.touches[left].clientX + event.touches[right].clientX) / 2;
      const now = Math.max(20, spread(event));
      this.zoomBy(now / Math.max(20, apart), middle - this.scroll.getBoundingClientRect().left);
      apart = now;
    }, { passive: false });
  }

  // -------------------------------------------------------------------------------- choosing bars

  numberBars() {
    const bars = this.lines.length - 1;
    while (this.ruler.children.length > bars) this.ruler.lastChild.remove();
    while (this.ruler.children.length < bars) {
      const how = { class: "bar", role: "option", tabindex: "-1", parent: this.ruler };
      make("span", { parent: make("div", how) });
    }
    const first = this.ruler.querySelector("[tabindex='0']") ?? this.ruler.firstChild;
    first?.setAttribute("tabindex", "0");
    this.describeBars();
  }

  describeBars() {
    const begin = this.roll?.prompt_end_tick ?? 0;
    [...this.ruler.children].forEach((bar, i) => {
      const part = this.clock.bars[i] < begin ? "seed" : "new";
      const planned = i >= this.clock.count;
      const on = this.chosen && this.chosen[0] <= i + 1 && i + 1 <= this.chosen[1];
      bar.setAttribute("aria-label", `bar ${i + 1}, ${planned ? "not there yet" : part}`);
      bar.setAttribute("aria-disabled", String(planned));
      bar.setAttribute("aria-selected", String(Boolean(on)));
      bar.classList.toggle("first", i + 1 === this.chosen?.[0]);
      bar.classList.toggle("last", i + 1 === this.chosen?.[1]);
    });
  }

  /** @param {number[] | null} bars first and last, counted from 1 */
  choose(bars) {
    const most = this.clock.count;
    const inside = bars && bars[0] >= 1 && bars[0] <= most;
    this.chosen = inside ? [bars[0], Math.min(Math.max(bars[0], bars[1]), most)] : null;
    this.describeBars();
    this.draw();
  }

  barUnder(event) {
    const x = event.clientX - this.wide.getBoundingClientRect().left;
    const bar = Math.floor(this.clock.placeAt(x / this.perTick)) + 1;
    return Math.min(Math.max(1, bar), this.clock.count);
  }

  listenToRuler() {
    let from = 0;
    let before = null;
    const stretch = (bar) => this.choose([Math.min(from, bar), Math.max(from, bar)]);
    this.ruler.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || this.clock.count < 1) return;
      before = this.chosen;
      const bar = this.barUnder(event);
      from = event.shiftKey && before ? (bar < before[0] ? before[1] : before[0]) : bar;
      this.ruler.setPointerCapture(event.pointerId);
      stretch(bar);
    });
    this.ruler.addEventListener("pointermove", (event) => from && stretch(this.barUnder(event)));
    this.ruler.addEventListener("pointerup", (event) => {
      if (!from) return;
      const bar = this.barUnder(event);
      const again = before && before[0] === bar && before[1] === bar && from === bar;
      if (again) this.choose(null);
      from = 0;
      this.focusBar(bar);
      this.told.choose(this.chosen);
    });
    this.ruler.addEventListener("pointercancel", () => {
      from = 0;
      this.choose(before);
    });
    this.ruler.addEventListener("keydown", (event) => this.rulerKey(event));
  }

  focusBar(bar) {
    for (const each of this.ruler.children) each.setAttribute("tabindex", "-1");
    this.ruler.children[bar - 1]?.setAttribute("tabindex", "0");
    this.ruler.children[bar - 1]?.focus({ preventScroll: false });
  }

  rulerKey(event) {
    const bar = [...this.ruler.children].indexOf(document.activeElement) + 1;
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const ends = { Home: 1, End: this.clock.count };
    const wanted = ends[event.key] ?? bar + (steps[event.key] ?? 0);
    const to = Math.min(Math.max(1, wanted), this.clock.count);
    if (event.key === "Escape") this.choose(null);
    else if (event.key === " " || event.key === "Enter") {
      const same = this.chosen?.[0] === bar && this.chosen?.[1] === bar;
      this.choose(same ? null : [bar, bar]);
    } else if (event.shiftKey && to !== bar) this.stretchTo(bar, to);
    else if (to === bar) return;
    event.preventDefault();
    this.focusBar(to);
    if (!(event.key in steps || event.key in ends) || event.shiftKey) this.told.choose(this.chosen);
  }

  stretchTo(bar, to) {
    const [first, last] = this.chosen ?? [bar, bar];
    const anchor = bar === last ? first : last;
    this.choose([Math.min(anchor, to), Math.max(anchor, to)]);
  }
}
