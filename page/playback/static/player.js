// The player: shows updates, controls playback, and triggers the component's events.

import { SAMPLE_RATE, shared } from "./audio_context.js";
import { ChunkPlayer } from "./chunk_player.js";
import { InstrumentChips } from "./instrument_chips.js";
import { PianoRoll } from "./pianoroll.js";
import { PlayerControls } from "./player_controls.js";
import { UpdateReceiver } from "./update_receiver.js";

/** @import { Bars, Server, Trigger, Update } from "./types.d.ts" */

const ARMED_MS = 120000; // how long a press on another button is remembered
const ANNOUNCED = { playing: "playing", paused: "paused", waiting: "waiting for the sound" };

export class Player {
  /**
   * @param {HTMLElement} element
   * @param {{id: string, label: string, armedBy: string[], trigger: Trigger, server: Server}} options
   *   `armedBy`: ids of buttons that also start this player
   */
  constructor(element, { id, label, armedBy, trigger, server }) {
    this.element = element;
    this.id = id;
    this.armedBy = armedBy;
    this.trigger = trigger;
    /** @type {Update | null} */
    this.value = null;
    this.armed = false; // whether the next stream starts by itself
    this.armedTimer = 0;
    this.looping = false;
    this.requested = -1; // rendering after which audio was requested
    this.frame = 0; // of the animation
    /** @type {"playing" | "paused" | "waiting"} */
    this.state = "paused";
    this.root = /** @type {HTMLElement} */ (element.querySelector(".player"));
    this.sound = new ChunkPlayer(() => this.soundChanged());
    this.controls = new PlayerControls(this.root, id, label, {
      toggle: () => this.toggle(),
      skip: () => this.skip(),
      toggleLoop: () => this.toggleLoop(),
      toggleMetronome: () => this.toggleMetronome(),
      zoomBy: (factor) => this.roll.zoomBy(factor),
      setVolume: (volume) => this.sound.setVolume(volume),
      setColouring: (name) => this.setColouring(name),
    });
    this.chips = new InstrumentChips(this.controls.bottom, {
      change: () => this.mutesChanged(),
      request: () => this.requestMix(),
    });
    this.receiver = new UpdateReceiver(server, this.sound, {
      accept: (update, isNew) => this.accept(update, isNew),
      rollFetched: () => this.rollFetched(),
      showError: (sentence) => this.controls.showError(sentence),
    });
    this.roll = new PianoRoll(this.controls.picture, {
      seek: (tick) => this.seek(tick),
      select: (bars) => this.selectionChanged(bars),
      key: (event) => this.key(event),
    }, this.controls.under);
    this.roll.stage.setAttribute("aria-describedby", this.controls.description.id);
    this.controls.volume.value = String(Math.round(100 * shared().volume));
    shared().players.get(id)?.dispose();
    shared().players.set(id, this);
    this.refresh();
  }

  // ------------------------------------------------------------------------------------ updates

  /** Receive the component's value; null: the piece was removed. @param {Update | null} value */
  receive(value) {
    if (value && typeof value === "object") this.receiver.receive(value);
    else this.pause();
  }

  /** @param {Update} update @param {boolean} isNew another stream */
  accept(update, isNew) {
    const selectionChanged = String(this.value?.selection) !== String(update.selection);
    const starts = isNew && (this.armed || this.requested >= 0);
    this.value = update;
    if (isNew) {
      this.controls.showError("");
      this.roll.scroll.scrollLeft = 0;
    }
    this.showRoll(isNew);
    this.chips.receive(update.muted, isNew);
    if (selectionChanged || isNew) this.select(update.selection, isNew);
    if (isNew) this.requested = -1;
    if (starts) this.play();
    else this.requestAudio();
    this.refresh();
  }

  rollFetched() {
    this.showRoll(false);
    this.select(this.value?.selection ?? null, false);
    this.refresh();
  }

  /** @param {boolean} isNew */
  showRoll(isNew) {
    const { roll } = this.receiver;
    this.roll.show(roll, this.value?.planned_bars ?? 0, isNew);
    this.chips.show(roll?.instruments ?? []);
    this.updateBeats();
  }

  /** Bars before the roll in the file. */
  get barsBefore() {
    return (this.receiver.roll?.first_bar ?? 1) - 1;
  }

  /** @param {Bars | null} selection bars of the file @param {boolean} isNew */
  select(selection, isNew) {
    const before = this.barsBefore;
    const shown = selection && /** @type {Bars} */ (selection.map((bar) => bar - before));
    if (shown || isNew) this.roll.ruler.select(shown);
    this.updateLoop();
  }

  // ----------------------------------------------------------------------------------- playback

  /** Start with the next stream, after a press on another button; this expires. */
  arm() {
    this.setArmed(true);
    this.armedTimer = window.setTimeout(() => this.setArmed(false), ARMED_MS);
  }

  /** @param {boolean} armed */
  setArmed(armed) {
    clearTimeout(this.armedTimer);
    this.armed = armed;
    this.refresh();
  }

  toggle() {
    if (this.controls.play.disabled) return;
    if (this.wants) return this.pause();
    if (this.sound.position >= this.frameOf(this.roll.clock.endTick) - 1 && this.value?.on_request) this.seek(0);
    this.play();
  }

  /** Whether playback is wanted now or with the next stream. */
  get wants() {
    return this.sound.wanted || this.armed;
  }

  /** Ask for audio that is rendered on request, where playback waits for it. */
  requestAudio() {
    const { rendering, next, position, wanted } = this.sound;
    const newest = next ?? rendering;
    if (!wanted || !this.value?.on_request || this.requested >= newest.number) return;
    const isEnd = newest.complete && position >= newest.end - 1;
    if (isEnd || rendering.at(position) || newest.at(position)) return;
    this.requested = newest.number;
    this.trigger("listen", { position_s: position / SAMPLE_RATE });
  }

  play() {
    this.setArmed(false);
    for (const other of shared().players.values()) if (other !== this) other.pause();
    try {
      this.sound.play();
    } catch (error) {
      this.controls.showError(error instanceof Error ? error.message : String(error));
      return;
    }
    this.requested = -1;
    this.requestAudio();
    this.controls.volume.value = String(Math.round(100 * shared().volume));
    this.receiver.retry();
    this.roll.scrolledAt = -Infinity;
    this.animate();
  }

  pause() {
    if (this.sound.wanted) this.sound.pause();
    this.requested = -1;
    this.setArmed(false);
  }

  /** Continue at the position of another player, which pauses. @param {Player | undefined} other */
  takeOver(other) {
    if (!this.value || !other) return;
    this.seek(this.roll.clock.tickOfBar(other.place));
    if (other.sound.wanted) this.play();
  }

  /** @param {number} tick */
  seek(tick) {
    this.sound.seek(Math.ceil(this.roll.clock.secondsAt(tick) * SAMPLE_RATE));
    this.requestAudio();
    this.receiver.retry();
    this.refresh();
    this.announce();
  }

  /** @param {number} bar counted from 0 */
  seekBar(bar) {
    const { clock } = this.roll;
    this.seek(clock.bars[Math.min(Math.max(0, bar), clock.count)]);
    this.roll.scrolledAt = -Infinity;
    this.roll.follow();
  }

  /** Seek to the new bars. */
  skip() {
    this.seek(this.newStart);
    this.roll.reveal(0.14);
  }

  /** Tick at which the new bars start. */
  get newStart() {
    return this.receiver.roll?.prompt_end_tick ?? 0;
  }

  toggleLoop() {
    this.looping = !this.looping;
    this.controls.loop.setAttribute("aria-pressed", String(this.looping));
    this.updateLoop();
  }

  toggleMetronome() {
    const { metronome } = this.controls;
    const isOn = metronome.getAttribute("aria-pressed") !== "true";
    metronome.setAttribute("aria-pressed", String(isOn));
    this.updateBeats();
    this.sound.restart();
  }

  /** Give the sound the beats of the roll while the metronome is on. */
  updateBeats() {
    const { metronome } = this.controls;
    const beats = this.receiver.roll?.beats ?? [];
    metronome.hidden = !beats.length;
    const isOn = metronome.getAttribute("aria-pressed") === "true";
    const bars = new Set(isOn ? this.roll.clock.bars : []);
    this.sound.beats = isOn ? beats.map((tick) => ({ frame: this.frameOf(tick), isFirst: bars.has(tick) })) : [];
  }

  /** Loop the selected bars, or everything. */
  updateLoop() {
    const { clock, ruler } = this.roll;
    const { selected } = ruler;
    const range = selected
      ? { start: this.frameOf(clock.bars[selected[0] - 1]), end: this.frameOf(clock.bars[selected[1]]) }
      : { start: 0, end: Infinity };
    const loop = this.looping ? range : null;
    if (JSON.stringify(loop) !== JSON.stringify(this.sound.loop)) this.sound.setLoop(loop);
    this.controls.loop.title = selected ? "Loop the selected bars" : "Loop";
  }

  /** @param {number} tick */
  frameOf(tick) {
    return Math.round(this.roll.clock.secondsAt(tick) * SAMPLE_RATE);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.altKey || event.metaKey || event.ctrlKey) return;
    const { place } = this;
    const bar = Math.floor(place);
    /** @type {Record<string, () => void>} */
    const commands = {
      " ": () => this.toggle(),
      ArrowRight: () => this.seekBar(bar + 1),
      ArrowLeft: () => this.seekBar(bar - (place - bar < 0.15 ? 1 : 0)),
      PageUp: () => this.seekBar(bar + 4),
      PageDown: () => this.seekBar(bar - 4),
      Home: () => this.seekBar(0),
      End: () => this.seekBar(this.roll.clock.count - 1),
      "+": () => this.roll.zoomBy(1.5),
      "-": () => this.roll.zoomBy(1 / 1.5),
    };
    if (!commands[event.key]) return;
    event.preventDefault();
    commands[event.key]();
  }

  // -------------------------------------------------------------------- instruments and events

  mutesChanged() {
    this.controls.announce("");
    this.showInstruments();
  }

  showInstruments() {
    this.chips.show(this.receiver.roll?.instruments ?? []);
    this.roll.setMuted(new Set(this.chips.muted));
  }

  /** Ask for a rendering without the muted instruments. */
  requestMix() {
    const position_s = this.sound.position / SAMPLE_RATE;
    this.trigger("mute", { muted: this.chips.muted, position_s, bar: Math.floor(this.place) + 1 });
  }

  /** @param {Bars | null} bars */
  selectionChanged(bars) {
    this.updateLoop();
    const [first, last] = bars ? bars.map((bar) => bar + this.barsBefore) : [null, null];
    if (!bars) this.controls.announce("no bars selected");
    else if (first === last) this.controls.announce(`bar ${first} selected`);
    else this.controls.announce(`bars ${first} to ${last} selected`);
    this.trigger("bars", { first, last });
  }

  /** @param {string} name */
  setColouring(name) {
    this.roll.setColouring(name);
    this.refresh();
  }

  // ---------------------------------------------------------------------------------------- view

  /** The bar that sounds, counted from 0, with the elapsed share of it. */
  get place() {
    const { clock } = this.roll;
    // Half a frame on: the frame nearest to a bar line belongs to the bar that starts there.
    return clock.barAt(clock.tickAt((this.sound.position + 0.5) / SAMPLE_RATE));
  }

  get lengthS() {
    const { complete, end } = this.sound.rendering;
    const drawn = this.value ? this.roll.clock.secondsAt(this.roll.endTick) : 0;
    return complete ? end / SAMPLE_RATE : Math.max(drawn, end / SAMPLE_RATE);
  }

  soundChanged() {
    if (!this.roll) return; // while the player is constructed
    this.refresh();
    this.requestAudio();
    this.receiver.fetchChunks();
  }

  animate() {
    cancelAnimationFrame(this.frame);
    if (!this.element.isConnected) {
      this.dispose();
      return;
    }
    this.showPosition();
    if (this.sound.wanted) this.frame = requestAnimationFrame(() => this.animate());
  }

  showPosition() {
    const { clock, planned, stage } = this.roll;
    const seconds = this.sound.position / SAMPLE_RATE;
    this.roll.moveTo(clock.tickAt(seconds), this.state === "playing");
    const bar = clock.count ? Math.floor(this.place) + 1 : 0;
    const before = this.barsBefore;
    const text = bar ? `bar ${before + bar} of ${before + planned}` : "";
    if (!this.controls.showTime(seconds, this.lengthS, text)) return;
    stage.setAttribute("aria-valuemax", String(Math.max(1, planned)));
    stage.setAttribute("aria-valuenow", String(Math.max(1, bar)));
    stage.setAttribute("aria-valuetext", text);
  }

  announce() {
    const bar = this.value ? `, bar ${Math.floor(this.place) + 1 + this.barsBefore}` : "";
    this.controls.announce(ANNOUNCED[this.state] + bar);
  }

  /** Update every control. */
  refresh() {
    const state = this.armed && !this.sound.wanted ? "waiting" : this.sound.state;
    const { complete, chunks } = this.sound.rendering;
    const { controls, roll } = this;
    controls.showPlay(this.wants);
    controls.play.disabled = !this.wants && (!this.value || (complete && !chunks.length));
    controls.loop.disabled = !this.value;
    controls.skip.disabled = !(this.newStart > 0 && roll.clock.endTick > this.newStart);
    this.root.dataset.state = state;
    if (state !== this.state) {
      this.state = state;
      this.announce();
    }
    const colouring = controls.showColourings(this.receiver.roll, roll.colouring);
    if (colouring !== roll.colouring) roll.setColouring(colouring);
    controls.showDescription(this.receiver.roll);
    this.showInstruments();
    this.showPosition();
  }

  dispose() {
    this.sound.stop();
    this.roll.dispose();
    if (shared().players.get(this.id) === this) shared().players.delete(this.id);
  }
}
