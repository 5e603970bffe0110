// @ts-check
// The player: updates come in, the roll and the sound are told, the listener is answered.
//
// Gradio runs these files as one function with `element`, `props`, `trigger`, `server` and `watch`.
// Whatever comes from a file (names of instruments) reaches the page as text only.

const ICONS = {
  play: "M7 4.5v15l12.5-7.5z",
  pause: "M6.5 4.5h4v15h-4zM13.5 4.5h4v15h-4z",
  skip: "M5 5v14l9-7zM15.5 5h3v14h-3z",
  loop: "M17 2l4 4-4 4V7H7v4H5V5h12zM7 22l-4-4 4-4v3h10v-4h2v6H7z",
  volume: "M4 9.5v5h3.5L12 19V5L7.5 9.5zM14.5 8.5a5 5 0 0 1 0 7l1.2 1.2a6.7 6.7 0 0 0 0-9.4z",
};
const COLOURINGS = { parts: "Seed & new", instruments: "Instruments", sure: "How sure" };
const PATIENCE_MS = [500, 1000, 2000, 4000]; // between asking again
const ARMED_MS = 120000; // how long a press elsewhere is remembered
const MUTE_MS = 250; // several presses become one event
const BROKEN = "A part of the sound could not be read and stays silent.";
const LOST = "A part of the sound did not arrive. Press play to ask for it again.";
const GONE = "The sound of this piece is no longer kept. Press Continue for a new one.";

function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(space, "path"));
  svg.firstChild.setAttribute("d", ICONS[name]);
  return svg;
}

function minutes(seconds) {
  const whole = Math.max(0, Math.floor(seconds + 1e-6));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

class Player {
  constructor(element, { id, label, armedBy, trigger, server }) {
    this.element = element;
    this.id = id;
    this.armedBy = armedBy; // the ids of buttons whose press counts as one on play
    this.trigger = trigger;
    this.server = server;
    this.number = 0; // of the newest update
    this.value = null;
    this.armed = false; // whether a press asked for the take that comes next
    this.mutes = new Set();
    this.solos = new Set();
    this.unanswered = 0; // mute events that no sound has answered yet
    this.failures = 0;
    this.asking = false;
    this.looping = false;
    this.state = "paused";
    this.sound = new Sound(() => this.heard());
    this.build(label);
    this.roll = new Roll(this.picture, {
      seek: (tick) => this.seek(tick),
      choose: (bars) => this.chose(bars),
      key: (event) => this.key(event),
    });
    this.roll.stage.setAttribute("aria-describedby", this.about.id);
    shared.players.get(id)?.dispose();
    shared.players.set(id, this);
    element.player = this;
    this.refresh();
  }

  // ----------------------------------------------------------------------------------- what is there

  build(label) {
    const root = this.element.querySelector(".player");
    root.replaceChildren();
    root.setAttribute("role", "group");
    root.setAttribute("aria-label", label);
    const top = make("div", { class: "controls", parent: root });
    this.playButton = this.button(top, "play", "Play", () => this.toggle());
    this.time = make("div", { class: "time", parent: top });
    this.clockText = make("span", { class: "clock", text: "0:00", parent: this.time });
    this.barText = make("span", { class: "where", parent: this.time });
    this.skipButton = this.button(top, "skip", "Skip to new bars", () => this.skip(), true);
    this.loopButton = this.button(top, "loop", "Loop", () => this.toggleLoop());
    this.loopButton.setAttribute("aria-pressed", "false");
    this.buildZoom(top);
    this.buildVolume(top);
    this.picture = make("div", { class: "picture", parent: root });
    const under = make("div", { class: "under", parent: root });
    this.colourings = make("div", {
      class: "colourings", role: "radiogroup", "aria-label": "Colours of the notes", parent: under,
    });
    this.legend = make("div", { class: "legend", "aria-hidden": "true", parent: under });
    this.chips = make("div", {
      class: "chips", role: "group", "aria-label": "Instruments", parent: root,
    });
    this.trouble = make("p", { class: "trouble", role: "alert", parent: root });
    this.remark = make("p", { class: "remark", parent: root });
    this.about = make("p", { class: "unseen", id: `${this.id}-about`, parent: root });
    this.live = make("p", { class: "unseen", role: "status", parent: root });
    this.buildColourings();
  }

  button(parent, name, label, press, worded = false) {
    const button = make("button", { type: "button", class: name, title: label, parent });
    button.append(icon(name));
    if (worded) make("span", { text: label, parent: button });
    else button.setAttribute("aria-label", label);
    button.addEventListener("click", press);
    return button;
  }

  buildVolume(parent) {
    const box = make("label", { class: "volume", title: "Volume", parent });
    box.append(icon("volume"));
    this.volume = make("input", {
      type: "range", min: "0", max: "100", "aria-label": "Volume", parent: box,
    });
    this.volume.value = String(Math.round(100 * shared.volume));
    const turned = () => this.sound.setVolume(Number(this.volume.value) / 100);
    this.volume.addEventListener("input", turned);
  }

  buildZoom(parent) {
    const box = make("div", { class: "zoom", role: "group", "aria-label": "Zoom", parent });
    const steps = [["−", "Zoom out", 1 / 1.5], ["+", "Zoom in", 1.5], ["Fit", "Show all", 0]];
    for (const [text, label, factor] of steps) {
      const names = { title: label, "aria-label": label };
      const button = make("button", { type: "button", text, ...names, parent: box });
      button.addEventListener("click", () => this.roll.zoomBy(factor));
    }
  }

  buildColourings() {
    for (const [name, text] of Object.entries(COLOURINGS)) {
      const how = { type: "button", role: "radio", parent: this.colourings };
      const button = make("button", { text, ...how });
      button.dataset.colouring = name;
      button.addEventListener("click", () => this.setColouring(name));
      button.addEventListener("keydown", (event) => this.colouringKey(event));
    }
  }

  // ------------------------------------------------------------------------------------------ updates

  /** Take in the component's value; one that was overtaken changes nothing. */
  receive(watched) {
    if (!watched || typeof watched !== "object") return;
    const value = { ...watched, roll: JSON.parse(watched.roll) };
    const { take, sound: number } = value;
    const current = this.sound.next ?? this.sound.rendering;
    if (take === current.take && number < current.sound) return;
    const late = value.number <= this.number;
    if (late && (take !== current.take || number !== current.sound)) return;
    const fresh = take !== current.take;
    let rendering = current;
    if (fresh || number > current.sound) rendering = new Rendering(take, number);
    rendering.learn(value.chunks, value.complete);
    if (!late) this.accept(value, rendering, fresh);
    for (const [start, data] of value.fresh) this.put(rendering, start, data);
    this.sound.arrived();
    this.ask();
  }

  accept(value, rendering, fresh) {
    const before = this.value;
    const armed = fresh && this.armed;
    this.number = value.number;
    this.value = value;
    if (fresh) this.begin(value, rendering);
    else if (rendering.sound > (this.sound.next ?? this.sound.rendering).sound) {
      this.failures = 0;
      this.sound.offer(rendering);
    }
    this.roll.show(value.roll, value.planned_bars ?? 0, fresh);
    this.takeMuted(value.muted, fresh);
    const chosen = String(before?.selection) !== String(value.selection);
    if (chosen || fresh) this.select(value.selection, fresh);
    if (armed) this.play();
    this.refresh();
  }

  /** Another take: nothing of the former one stays. */
  begin(value, rendering) {
    this.failures = 0;
    this.say("");
    this.sound.replace(rendering, value.cue_frame);
    this.roll.scroll.scrollLeft = 0;
  }

  select(selection, fresh) {
    if (selection || fresh) this.roll.choose(selection ?? null);
    this.updateLoop();
  }

  async put(rendering, start, data) {
    await rendering.put(start, data);
    const broken = rendering.chunks.some(({ state }) => state === "broken");
    if (broken && this.isCurrent(rendering)) this.say(BROKEN);
    this.sound.arrived();
  }

  isCurrent(rendering) {
    return rendering === this.sound.rendering || rendering === this.sound.next;
  }

  /** Ask for the chunks that no update has brought. */
  async ask() {
    const rendering = this.sound.next ?? this.sound.rendering;
    const starts = rendering.lacking(this.sound.position).slice(0, 64);
    if (this.asking || !starts.length || this.failures === Infinity) return;
    this.asking = true;
    const { take, sound } = rendering;
    const answer = await this.server.missing({ take, sound, starts }).catch(() => null);
    this.asking = false;
    for (const [start, data] of answer?.chunks ?? []) this.put(rendering, start, data);
    if (answer?.chunks?.length) this.failures = 0;
    else if (this.isCurrent(rendering)) return this.askLater(answer);
    this.ask();
  }

  askLater(answer) {
    const gone = answer && !answer.known;
    const wait = gone ? undefined : PATIENCE_MS[this.failures];
    this.failures = wait ? this.failures + 1 : Infinity;
    if (wait) setTimeout(() => this.ask(), wait);
    else this.say(gone ? GONE : LOST);
  }

  // ---------------------------------------------------------------------------------------- listening

  /** A press elsewhere that wants to hear the next take; it is not waited for without end. */
  arm() {
    this.setArmed(true);
    this.armedTimer = setTimeout(() => this.setArmed(false), ARMED_MS);
  }

  setArmed(armed) {
    clearTimeout(this.armedTimer);
    this.armed = armed;
    this.refresh();
  }

  toggle() {
    if (this.playButton.disabled) return;
    if (this.wants) this.pause();
    else if (!this.request()) this.play();
  }

  /** Ask for sound that is only made when somebody wants it; true where it is on its way. */
  request() {
    const { rendering, position } = this.sound;
    const end = this.roll.clock.secondsAt(this.roll.clock.endTick) * RATE;
    const place = position < end - 1 ? position : 0;
    if (!this.value?.on_request || rendering.at(place)) return false;
    unlock();
    this.arm();
    this.trigger("listen", { position_s: place / RATE });
    return true;
  }

  get wants() {
    return this.sound.wanted || this.armed;
  }

  play() {
    this.setArmed(false);
    for (const other of shared.players.values()) if (other !== this) other.pause();
    try {
      this.sound.play();
    } catch (error) {
      this.say(error.message);
      return;
    }
    if (this.trouble.textContent === LOST) this.say("");
    this.volume.value = String(Math.round(100 * shared.volume));
    this.failures = 0;
    this.ask();
    this.roll.handAt = -Infinity;
    this.animate();
  }

  pause() {
    if (this.sound.wanted) this.sound.pause();
    this.setArmed(false);
  }

  /** Go on here where another player is now, and let that one rest. */
  switchTo() {
    if (!this.value) return;
    const comparable = (each) => each !== this && each.sound.wanted && !each.value.on_request;
    const other = [...shared.players.values()].find(comparable);
    if (other) this.seek(this.roll.clock.tickOfPlace(other.place));
    this.play();
  }

  seek(tick) {
    this.sound.seek(Math.ceil(this.roll.clock.secondsAt(tick) * RATE));
    if (this.sound.wanted) this.request();
    this.refresh();
    this.announce();
  }

  seekBar(bar) {
    const { clock } = this.roll;
    this.seek(clock.bars[Math.min(Math.max(0, bar), clock.count)]);
    this.roll.handAt = -Infinity;
    this.roll.follow();
  }

  skip() {
    this.seek(this.value.roll.prompt_end_tick);
    this.roll.reveal(0.14);
  }

  toggleLoop() {
    this.looping = !this.looping;
    this.loopButton.setAttribute("aria-pressed", String(this.looping));
    this.updateLoop();
  }

  /** Loop the bars that are chosen, or everything. */
  updateLoop() {
    const { chosen, clock } = this.roll;
    const frame = (bar) => Math.round(clock.secondsAt(clock.bars[bar]) * RATE);
    const everything = { start: 0, end: Infinity };
    const range = chosen && { start: frame(chosen[0] - 1), end: frame(chosen[1]) };
    const loop = this.looping ? (range ?? everything) : null;
    if (JSON.stringify(loop) !== JSON.stringify(this.sound.loop)) this.sound.setLoop(loop);
    this.loopButton.title = chosen ? "Loop the chosen bars" : "Loop";
  }

  key(event) {
    if (event.altKey || event.metaKey || event.ctrlKey) return;
    const { place } = this;
    const into = place - Math.floor(place);
    const deeds = {
      " ": () => this.toggle(),
      ArrowRight: () => this.seekBar(Math.floor(place) + 1),
      ArrowLeft: () => this.seekBar(Math.floor(place) - (into < 0.15 ? 1 : 0)),
      PageUp: () => this.seekBar(Math.floor(place) + 4),
      PageDown: () => this.seekBar(Math.floor(place) - 4),
      Home: () => this.seekBar(0),
      End: () => this.seekBar(this.roll.clock.count - 1),
      "+": () => this.roll.zoomBy(1.5),
      "-": () => this.roll.zoomBy(1 / 1.5),
    };
    if (!deeds[event.key]) return;
    event.preventDefault();
    deeds[event.key]();
  }

  // -------------------------------------------------------------------------------------- instruments

  get instruments() {
    return this.value?.roll.instruments ?? [];
  }

  /** The programs that should be silent, by mute and solo together, rising. */
  get silent() {
    const programs = this.instruments.map(({ program }) => program);
    const alone = programs.some((each) => this.solos.has(each));
    return programs
      .filter((each) => this.mutes.has(each) || (alone && !this.solos.has(each)))
      .sort((a, b) => a - b);
  }

  toggleIn(set, program) {
    if (!set.delete(program)) set.add(program);
    this.showChips();
    this.tell("");
    clearTimeout(this.muteTimer);
    if (!this.muteTimer) this.unanswered += 1;
    this.muteTimer = setTimeout(() => {
      this.muteTimer = 0;
      const [position_s, bar] = [this.sound.position / RATE, Math.floor(this.place) + 1];
      this.trigger("mute", { muted: this.silent, position_s, bar });
    }, MUTE_MS);
  }

  /** What an update says is silent, unless the listener has chosen otherwise since. */
  takeMuted(muted, fresh) {
    const said = String([...muted].sort((a, b) => a - b));
    if (said === String(this.silent)) this.unanswered = 0;
    else if (fresh || !this.unanswered) {
      this.unanswered = 0;
      this.mutes = new Set(muted);
      this.solos.clear();
    }
    this.showChips();
  }

  showChips() {
    const instruments = this.instruments;
    const drawn = JSON.stringify(instruments);
    if (this.drawnChips !== drawn) {
      this.drawnChips = drawn;
      this.chips.replaceChildren(...instruments.map((each, i) => this.chip(each, i)));
    }
    const silent = new Set(this.silent);
    instruments.forEach(({ program }, i) => {
      const chip = this.chips.children[i];
      chip.classList.toggle("silent", silent.has(program));
      chip.querySelector(".mute").setAttribute("aria-pressed", String(this.mutes.has(program)));
      chip.querySelector(".solo").setAttribute("aria-pressed", String(this.solos.has(program)));
    });
    this.roll.setMuted(silent);
  }

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
    mute.addEventListener("click", () => this.toggleIn(this.mutes, program));
    solo.addEventListener("click", () => this.toggleIn(this.solos, program));
    return chip;
  }

  // --------------------------------------------------------------------------------------- what is said

  chose(bars) {
    this.updateLoop();
    const [first, last] = bars ?? [null, null];
    if (!bars) this.tell("no bars chosen");
    else this.tell(first === last ? `bar ${first} chosen` : `bars ${first} to ${last} chosen`);
    this.trigger("bars", { first, last });
  }

  setColouring(name) {
    this.roll.setColouring(name);
    this.refresh();
  }

  colouringKey(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const shown = [...this.colourings.children].filter((each) => !each.hidden);
    const next = shown[(shown.indexOf(event.target) + step + shown.length) % shown.length];
    next.click();
    next.focus();
  }

  /** One sentence under the roll; empty: all is well. */
  say(sentence) {
    if (this.trouble.textContent !== sentence) this.trouble.textContent = sentence;
  }

  tell(text) {
    this.live.textContent = text;
  }

  announce() {
    const place = this.value ? `, bar ${Math.floor(this.place) + 1}` : "";
    const words = { playing: "playing", paused: "paused", waiting: "waiting for the sound" };
    this.tell(words[this.state] + place);
  }

  /** The bar that is heard, counted from 0, with its share that has passed. */
  get place() {
    const { clock } = this.roll;
    // Half a frame on: the frame nearest to a bar line belongs to the bar that begins there.
    return clock.placeAt(clock.tickAt((this.sound.position + 0.5) / RATE));
  }

  get lengthS() {
    const { rendering } = this.sound;
    const drawn = this.value ? this.roll.clock.secondsAt(this.roll.endTick) : 0;
    return rendering.complete ? rendering.end / RATE : Math.max(drawn, rendering.end / RATE);
  }

  /** The sound may play, wait or rest now. */
  heard() {
    if (this.roll) this.refresh();
  }

  animate() {
    cancelAnimationFrame(this.frame);
    if (!this.element.isConnected) {
      this.dispose();
      return;
    }
    this.showPlace();
    if (this.sound.wanted) this.frame = requestAnimationFrame(() => this.animate());
  }

  showPlace() {
    const { clock } = this.roll;
    const seconds = this.sound.position / RATE;
    this.roll.moveTo(clock.tickAt(seconds), this.state === "playing");
    const time = `${minutes(seconds)} / ${minutes(this.lengthS)}`;
    if (this.clockText.textContent !== time) this.clockText.textContent = time;
    const bar = clock.count ? Math.floor(this.place) + 1 : 0;
    const text = bar ? `bar ${bar} of ${this.roll.planned}` : "";
    if (this.barText.textContent === text) return;
    this.barText.textContent = text;
    const { stage } = this.roll;
    stage.setAttribute("aria-valuemax", String(Math.max(1, this.roll.planned)));
    stage.setAttribute("aria-valuenow", String(Math.max(1, bar)));
    stage.setAttribute("aria-valuetext", text);
  }

  /** Show on every control what is true now. */
  refresh() {
    const state = this.armed && !this.sound.wanted ? "waiting" : this.sound.state;
    const pressed = this.wants;
    if (this.playButton.ariaLabel !== (pressed ? "Pause" : "Play")) {
      this.playButton.replaceChildren(icon(pressed ? "pause" : "play"));
      this.playButton.ariaLabel = this.playButton.title = pressed ? "Pause" : "Play";
    }
    const { complete, chunks } = this.sound.rendering;
    this.playButton.disabled = !pressed && (!this.value || (complete && !chunks.length));
    this.loopButton.disabled = !this.value;
    const begin = this.value?.roll.prompt_end_tick ?? 0;
    this.skipButton.disabled = !(begin > 0 && this.roll.clock.endTick > begin);
    this.element.firstElementChild.dataset.state = state;
    if (state !== this.state) {
      this.state = state;
      this.announce();
    }
    this.showLegend();
    this.showWords();
    this.showPlace();
  }

  showLegend() {
    const { notes = { sure: [] }, prompt_end_tick: begin = 0 } = this.value?.roll ?? {};
    const offered = {
      parts: true,
      instruments: this.instruments.length > 1,
      sure: notes.sure.some((each) => each >= 0),
    };
    if (!offered[this.roll.colouring]) this.roll.setColouring("parts");
    for (const button of this.colourings.children) {
      const on = button.dataset.colouring === this.roll.colouring;
      button.hidden = !offered[button.dataset.colouring];
      button.setAttribute("aria-checked", String(on));
      button.tabIndex = on ? 0 : -1;
    }
    this.colourings.hidden = !offered.instruments && !offered.sure;
    const look = `${this.roll.colouring} ${begin > 0} ${this.value !== null}`;
    if (this.drawnLegend === look) return;
    this.drawnLegend = look;
    this.legend.replaceChildren(...this.legendOf(begin > 0));
  }

  legendOf(divided) {
    if (!this.value) return [];
    const swatch = (colour, text) => {
      const box = make("span", { class: "swatch" });
      make("i", { parent: box }).style.background = `var(--${colour})`;
      if (text) make("span", { text, parent: box });
      return box;
    };
    if (this.roll.colouring === "instruments") return [];
    if (this.roll.colouring === "sure") {
      const steps = [0, 1, 2, 3, 4].map((step) => swatch(`sure-${step}`, ""));
      const [least, most] = ["a surprise", "just as expected"];
      return [make("span", { text: least }), ...steps, make("span", { text: most })];
    }
    return divided ? [swatch("seed", "seed"), swatch("new", "new")] : [swatch("new", "composed")];
  }

  showWords() {
    const roll = this.value?.roll;
    this.remark.textContent = roll?.remark ?? "";
    if (!roll) return;
    const { clock } = this.roll;
    const seed = clock.bars.filter((tick) => tick < roll.prompt_end_tick).length;
    const names = this.instruments.map(({ name }) => name).join(", ");
    const words = `${clock.count} bars, the first ${seed} of them the seed. ${names}.`;
    if (this.about.textContent !== words) this.about.textContent = words;
  }

  dispose() {
    this.sound.stop();
    this.roll.dispose();
    if (shared.players.get(this.id) === this) shared.players.delete(this.id);
  }
}

/** To be called in a press: then browsers let the page sound. */
function unlock() {
  try {
    audioContext().resume().catch(() => {});
  } catch {
    // Play will say so.
  }
}

/** A press on any button lets the page sound; on some it also asks a player to begin. */
function pressed(event) {
  const button = event.target instanceof Element && event.target.closest("button");
  if (!button) return;
  unlock();
  for (const each of shared.players.values()) if (each.armedBy.includes(button.id)) each.arm();
}

if (!shared.listening) {
  shared.listening = true;
  document.addEventListener("click", pressed, { capture: true });
}

const player = new Player(element, {
  id: props.player_id, label: props.label, armedBy: props.armed_by, trigger, server,
});
watch("value", () => player.receive(props.value));
player.receive(props.value);
