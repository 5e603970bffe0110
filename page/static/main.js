// Entry point of the page without a server: connects controls, studio and player.

import { unlock } from "../playback/static/audio_context.js";
import { MAX_BYTES, MidiError, TOO_LARGE, plural } from "./music/midi_events.js";
import { writeMidi } from "./music/midi_writer.js";
import { PiecePlayer } from "./sound/piece_player.js";
import { EXAMPLE, MIDI_PREFIX, equals, fileSource, fromLink, recipeJson, toLink } from "./ui/recipe.js";
import { save, stem, wav, zip } from "./ui/save.js";
import { SettingsForm, byId, showCount } from "./ui/settings.js";
import { forgetPiece, keepPiece, keptPiece } from "./ui/storage.js";
import { Studio } from "./ui/studio.js";
import { LETTERS, Takes } from "./ui/takes.js";

/** @import { Bars } from "../playback/static/types.d.ts" */
/** @import { Piece } from "./music/piece.js" */
/** @import { Recipe } from "./ui/recipe.js" */

/** @typedef {{title: string, file: string, source: string}} Example `source`: digest of the file, as in recipes */

const MAX_KEPT = 512; // bars, 40 kB each
const DOUBLE_CLICK_MS = 400; // the second press of a double click does not stop

class Page {
  constructor() {
    this.settings = new SettingsForm();
    /** @type {Bars | null} */
    this.selection = null;
    this.message = "";
    this.saving = "";
    this.awaited = ""; // source of the file that a link continues
    this.source = ""; // of the prompt that is open
    this.asked = 0; // prompts asked for so far; the newest is opened
    this.player = new PiecePlayer(byId("player"), (bars) => {
      this.selection = bars;
      this.refresh();
    });
    this.studio = new Studio(this.player, () => this.refresh());
    this.takes = new Takes(byId("takes"), {
      choose: (index) => this.studio.chooseTake(index),
      file: (index) => this.takeFile(index),
      tick: () => this.player.player.roll.cursor,
    });
    /** @type {Piece | null} */
    this.kept = null; // that the browser's storage has
    this.moveControls();
    /** @type {Example[]} */
    this.examples = [];
    /** @type {HTMLSelectElement} */
    this.example = byId("example");
    this.followTheme();
    this.listen();
  }

  followTheme() {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const show = () => document.documentElement.classList.toggle("dark", dark.matches);
    dark.addEventListener("change", () => {
      show();
      this.refresh();
    });
    addEventListener("resize", () => this.refresh());
    show();
  }

  /** Put what one seldom needs into the drawers. */
  moveControls() {
    const { controls, chips } = this.player.player;
    const volume = /** @type {HTMLElement} */ (controls.volume.parentElement);
    for (const [button, text] of /** @type {[HTMLElement, string][]} */ ([[controls.metronome, "Metronome"], [controls.skip, ""]])) {
      if (text) button.append(text);
    }
    const row = document.createElement("div");
    row.className = "controls";
    row.append(volume, controls.metronome);
    byId("mixer").append(chips.element, row);
    byId("viewer").append(controls.colourings, controls.zoom);
    byId("sound").querySelector(".reset")?.addEventListener("click", () => this.resetSound());
  }

  resetSound() {
    const { player } = this.player;
    player.chips.reset();
    if (player.controls.metronome.getAttribute("aria-pressed") === "true") player.toggleMetronome();
    this.refresh();
  }

  async start() {
    this.examples = await fetch("examples/examples.json").then((answer) => answer.json());
    for (const { title, file } of this.examples) this.example.add(new Option(title, file));
    this.example.disabled = false;
    this.studio.model.then(({ name, revision }) => {
      byId("model").textContent = revision ? `Model: ${name} at ${revision.slice(0, 7)}.` : "";
    }, () => {});
    if (await this.followLink()) return;
    if (!this.asked && (await this.restore())) return;
    if (!this.asked) await this.openExample(this.examples[0].file);
  }

  /** Show the piece of the last visit. @returns {Promise<boolean>} whether there was one */
  async restore() {
    const stored = await keptPiece();
    if (!stored || this.asked || stored.weights !== (await this.studio.model).fingerprint) return false;
    const own = ++this.asked;
    const { file, name, source } = stored;
    await this.open(file, name, source);
    if (own === this.asked) this.studio.takeUp(stored);
    if (source.startsWith(EXAMPLE)) this.example.value = source.slice(EXAMPLE.length);
    return true;
  }

  /** Keep the piece for the next visit. */
  async keep() {
    const { piece, file, writing } = this.studio;
    if (!piece || writing || piece === this.kept) return;
    this.kept = piece;
    const { fingerprint } = await this.studio.model;
    const { name, source } = piece.base.prompt;
    const { bars, steps } = piece;
    if (bars.length <= MAX_KEPT) await keepPiece({ weights: fingerprint, file, name, source, bars, steps, isEdited: piece.isEdited });
  }

  /** Remove the piece from the browser's storage, and start again. */
  async clear() {
    await this.studio.stop();
    history.replaceState(null, "", location.pathname);
    await this.openExample(this.examples[0].file);
    this.kept = this.studio.piece;
    await forgetPiece();
    this.saving = "This browser keeps nothing of your piece any more.";
  }

  // ------------------------------------------------------------------------------------- controls

  listen() {
    const { studio, settings } = this;
    this.on("continue", () => studio.append(settings.count, this.taken));
    this.on("again", () => studio.again(settings.otherValues));
    this.on("four", () => studio.offer(settings.count ?? 8, this.fourSettings));
    this.on("from-bar", () => {
      const bar = this.selection?.[0];
      return bar ? studio.redoFrom(bar, settings.otherValues) : null;
    });
    this.on("rewrite", () => this.rewrite());
    this.on("stop", () => (performance.now() - studio.startedAt > DOUBLE_CLICK_MS ? studio.stop() : null));
    this.on("undo", () => studio.undo());
    this.on("redo", () => studio.redo());
    this.on("save-midi", () => this.saveMidi());
    this.on("save-wav", () => this.saveWav());
    this.on("save-stems", () => this.saveStems());
    this.on("clear", () => this.clear());
    this.on("link", () => this.copyLink());
    this.on("open", () => byId("file").click());
    /** @type {HTMLInputElement} */ (byId("file")).addEventListener("change", ({ target }) => {
      const input = /** @type {HTMLInputElement} */ (target);
      const [file] = input.files ?? [];
      if (file) this.attempt(() => this.openFile(file));
      input.value = "";
    });
    this.example.addEventListener("change", () => {
      const { value } = this.example;
      if (value) this.attempt(() => this.openExample(value));
    });
    byId("bars").addEventListener("change", () => this.refresh());
    byId("sound").addEventListener("click", () => this.showSound());
    this.listenToDrops();
    this.listenToKeys();
  }

  /** @param {string} id @param {() => unknown} action */
  on(id, action) {
    byId(id).addEventListener("click", () => {
      unlock();
      this.attempt(action);
    });
  }

  /** Every unexpected error becomes a sentence. @param {() => unknown} action */
  async attempt(action) {
    this.showError("");
    try {
      await action();
    } catch (error) {
      this.showError(error instanceof Error ? error.message : String(error));
    }
    this.refresh();
  }

  listenToDrops() {
    const result = byId("result");
    addEventListener("dragover", (event) => {
      event.preventDefault();
      result.classList.add("over");
    });
    addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) result.classList.remove("over");
    });
    addEventListener("drop", (event) => {
      event.preventDefault();
      result.classList.remove("over");
      const file = event.dataTransfer?.files[0];
      if (file) this.attempt(() => this.openFile(file));
    });
  }

  listenToKeys() {
    addEventListener("keydown", (event) => {
      const target = /** @type {HTMLElement} */ (event.target);
      if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey) return;
      if (target.closest("input, select, textarea, summary")) return;
      const take = LETTERS.indexOf(event.key.toUpperCase());
      if (take >= 0) this.studio.chooseTake(take);
      if (event.key === " " && !target.closest("button, a, [role=slider], [role=option]")) {
        event.preventDefault();
        this.player.player.toggle();
      }
    });
  }

  // -------------------------------------------------------------------------------------- prompts

  /** @param {string} name */
  async openExample(name) {
    const own = ++this.asked;
    const answer = await fetch(`examples/${name}.mid`);
    if (!answer.ok) throw new Error("This example could not be fetched. Open a file, or try again.");
    const title = this.examples.find(({ file }) => file === name)?.title ?? name;
    const bytes = new Uint8Array(await answer.arrayBuffer());
    if (own === this.asked) await this.open(bytes, title, EXAMPLE + name);
    if (own === this.asked) this.example.value = name;
  }

  /** @param {File} file */
  async openFile(file) {
    if (file.size > MAX_BYTES) throw new MidiError(TOO_LARGE);
    const own = ++this.asked;
    const bytes = new Uint8Array(await file.arrayBuffer());
    const source = this.nameOf(await fileSource(bytes));
    if (own !== this.asked) return;
    this.example.value = "";
    await this.open(bytes, file.name, source);
    if (source === this.awaited) await this.followLink();
  }

  /** @param {Uint8Array<ArrayBuffer>} bytes @param {string} name @param {string} source */
  async open(bytes, name, source) {
    this.selection = null;
    this.message = "Reading the prompt …";
    this.source = "";
    try {
      await this.studio.open(bytes, { name, source });
      this.source = source;
      this.settings.usual = this.studio.piece?.base.notesPerBar ?? this.settings.usual;
    } finally {
      this.message = "";
    }
  }

  // ------------------------------------------------------------------------------------ composing

  async rewrite() {
    const { studio, selection } = this;
    const { selectedOptions: [option] } = /** @type {HTMLSelectElement} */ (byId("part"));
    const part = studio.piece?.base.parts[Number(option?.value)];
    if (!selection || !part) return;
    await studio.rewrite(selection, part, this.settings.otherValues);
    this.saving = `${option.text} is new in ${this.selectedBars}; the rest is as before.`;
  }

  /** The selected bars in words. */
  get selectedBars() {
    const [first, end] = this.selection ?? [0, 0];
    const last = Math.min(end, this.studio.promptBars + this.studio.newBars);
    return first === last ? `bar ${first}` : `bars ${first}-${last}`;
  }

  /** The settings, which count as used. */
  get taken() {
    this.settings.typed = false;
    return this.settings.values;
  }

  get fourSettings() {
    const first = this.settings.otherValues;
    return LETTERS.map((_, i) => ({ ...first, seed: (first.seed + i) % 2 ** 32 }));
  }

  // --------------------------------------------------------------------------------------- saving

  async saveMidi() {
    const { piece } = this.studio;
    if (piece) save(`${this.fileStem}.mid`, "audio/midi", [await this.midiOf(piece)]);
  }

  /** @param {Piece} piece */
  async midiOf(piece) {
    const hasRecipe = piece.bars.length > 0 && !piece.isEdited;
    const text = hasRecipe ? MIDI_PREFIX + (await recipeJson(piece, await this.studio.model)) : "";
    const { score, end } = piece.music;
    return writeMidi(await this.studio.midiFiles(), score, { text, end });
  }

  /** @param {number} index of a take */
  async takeFile(index) {
    const name = `${this.fileStem}-${LETTERS[index]}.mid`;
    return { name, url: URL.createObjectURL(new Blob([await this.midiOf(this.studio.takes[index])], { type: "audio/midi" })) };
  }

  async saveWav() {
    save(`${this.fileStem}.wav`, "audio/wav", wav(await this.player.renderAll((share) => this.showProgress("the sound", share))));
  }

  /** @param {string} what @param {number} share */
  showProgress(what, share) {
    this.saving = share < 1 ? `Rendering ${what}: ${Math.round(100 * share)} %` : "";
    this.showStatus();
  }

  /** Save one WAV file for each track that has notes, named after it. */
  async saveStems() {
    /** @type {[string, BlobPart[]][]} */
    const files = [];
    await this.player.renderStems((name, chunks) => {
      files.push([`${String(files.length + 1).padStart(2, "0")} ${stem(name, [])}.wav`, wav(chunks)]);
    }, (share) => this.showProgress("the stems", share));
    save(`${this.fileStem}-stems.zip`, "application/zip", await zip(files));
  }

  get fileStem() {
    const { piece } = this.studio;
    const { accept } = /** @type {HTMLInputElement} */ (byId("file"));
    const endings = accept.split(",").filter((each) => each.startsWith("."));
    return stem(piece?.base.prompt.name ?? "", endings) + (piece?.bars.length ? "-continued" : "");
  }

  async copyLink() {
    const { piece, file, model } = this.studio;
    if (!piece) return;
    if (piece.isEdited) throw new Error("A piece with bars written again has no link. Save the MIDI file.");
    const { link, needsFile } = await toLink(piece, await model, file);
    history.replaceState(null, "", link);
    this.saving = "The address of this page is now a link to this piece.";
    await navigator.clipboard?.writeText(location.href).then(() => (this.saving = "Link copied."), () => {});
    if (needsFile) this.saving += ` Your file is too large for a link: send ${piece.base.prompt.name} with it.`;
  }

  /** Open what a link names and compose it again. @returns {Promise<boolean>} whether it has a recipe */
  async followLink() {
    if (!location.search) return false;
    const model = await this.studio.model;
    const recipe = await fromLink(location.search, location.hash, model.linkDictionary);
    if (!recipe) return false;
    if (recipe.weights !== model.fingerprint) throw new Error("This link was made with another model. Open it on the page that made it.");
    await this.openSource(recipe);
    for (const { bars, settings: stated } of recipe.steps) {
      const settings = this.studio.piece?.base.relative(stated) ?? stated;
      this.settings.set(settings);
      if (!(await this.studio.append(bars, settings))) return true; // stopped
    }
    const { piece } = this.studio;
    if (piece && !(await equals(piece, recipe, model))) throw new Error("This link gives other music here. Open it on the page that made it.");
    return true;
  }

  /** Return the name of a file in recipes; an example has one of its own, also when it is opened as a file. @param {string} source */
  nameOf(source) {
    const example = this.examples.find((each) => each.source === source);
    return example ? EXAMPLE + example.file : source;
  }

  /** @param {Recipe} recipe */
  async openSource({ source: stated, name, file }) {
    const source = this.nameOf(stated);
    if (file) {
      if ((await fileSource(file)) !== stated) throw new Error("This link is damaged. Copy it again, with every character.");
      return this.open(file, name, source);
    }
    if (source && source === this.source) return;
    if (source.startsWith(EXAMPLE)) {
      const example = source.slice(EXAMPLE.length);
      if (this.examples.some((each) => each.file === example)) return this.openExample(example);
    }
    this.awaited = source;
    throw new Error("This link continues a file that it does not contain. Open that file.");
  }

  // ---------------------------------------------------------------------------------------- view

  refresh() {
    const { studio } = this;
    const { piece, writing } = studio;
    const ready = Boolean(piece);
    this.showEither(byId("stop"), byId("continue"), writing);
    /** @type {[string, boolean][]} */
    const enabled = [
      ["continue", ready], ["four", ready && !writing], ["again", ready && studio.newBars > 0 && !writing],
      ["undo", studio.past.length > 0], ["redo", studio.future.length > 0],
      ["save-midi", ready], ["save-wav", ready && !writing], ["save-stems", ready && !writing],
      ["link", ready && studio.newBars > 0 && !writing], ["clear", ready && !writing],
    ];
    for (const [id, isEnabled] of enabled) /** @type {HTMLButtonElement} */ (byId(id)).disabled = !isEnabled;
    document.body.classList.toggle("begun", studio.past.length + studio.future.length + studio.newBars > 0);
    this.player.player.controls.skip.hidden = !studio.newBars;
    const bar = this.selection?.[0] ?? 0;
    const isNew = bar > studio.promptBars && bar <= studio.promptBars + studio.newBars;
    byId("selected").hidden = !isNew || writing;
    byId("from-bar").textContent = `Redo from bar ${bar}`;
    this.showParts();
    this.takes.show(studio.takes, studio.chosen, studio.sharedEnd, !writing);
    this.showSound();
    this.showAbout();
    this.keep();
    this.showStatus();
  }

  /** Show one of two buttons; the focus stays. @param {HTMLElement} first @param {HTMLElement} second @param {boolean} isFirst */
  showEither(first, second, isFirst) {
    const [shown, hidden] = isFirst ? [first, second] : [second, first];
    const hadFocus = document.activeElement === hidden;
    shown.hidden = false;
    hidden.hidden = true;
    if (hadFocus) shown.focus();
  }

  /** Offer the parts of which the selected bars can be written again. */
  showParts() {
    const { piece } = this.studio;
    byId("rewrite").textContent = `Write ${this.selectedBars} again`;
    /** @type {HTMLSelectElement} */
    const select = byId("part");
    const names = piece?.base.parts.map((part) => piece.base.nameOf(part)) ?? [];
    if (String([...select.options].map(({ text }) => text)) === String(names)) return;
    select.replaceChildren(...names.map((name, i) => new Option(name, String(i))));
  }

  showSound() {
    const { chips, controls } = this.player.player;
    showCount("sound", [...chips.muted.map(() => true), controls.metronome.getAttribute("aria-pressed") === "true"]);
  }

  showAbout() {
    const prompt = this.studio.piece?.base.prompt;
    if (!prompt) return;
    const read = prompt.contextBars < prompt.bars ? ` The last ${prompt.contextBars} are read.` : "";
    const key = prompt.key ? `, probably in ${prompt.key}` : "";
    const repaired = prompt.repairs.length ? ` Repaired: ${prompt.repairs.join("; ")}.` : "";
    const free = prompt.performed ? " Its notes do not follow its bars and beats, as in a free recording." : "";
    const text = `${prompt.name}: ${plural(prompt.bars, "bar")}${key}.${read}${free}${repaired}`;
    if (byId("about").textContent !== text) byId("about").textContent = text;
  }

  showStatus() {
    const text = this.saving || this.message || this.nextStep;
    if (byId("status").textContent !== text) byId("status").textContent = text;
    this.saving = this.saving.startsWith("Rendering") ? this.saving : "";
  }

  /** What happens, or what the next press will do. */
  get nextStep() {
    const { studio, settings } = this;
    if (!studio.piece) return "Loading the network …";
    const last = studio.promptBars + studio.newBars;
    if (studio.writing) return `Writing bar ${last + 1} …`;
    const bars = settings.count;
    return bars ? `Continue adds ${plural(bars, "bar")} after bar ${last}.` : `Continue adds bars after bar ${last} until you press Stop.`;
  }

  /** @param {string} sentence */
  showError(sentence) {
    byId("error").textContent = sentence;
  }
}

const page = new Page();
Object.assign(window, { page }); // for tests
page.attempt(() => page.start());
if ("serviceWorker" in navigator && isSecureContext) {
  addEventListener("load", () => navigator.serviceWorker.register("service_worker.js").catch(() => {}));
  navigator.serviceWorker.addEventListener("controllerchange", () => page.player.keepSounds());
}
