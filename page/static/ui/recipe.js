// Recipes: how a piece was composed, as JSON and as a link, in the format of generation/recipe.py.
//
// The link works on the page with a server too. A small prompt travels in its fragment.

import { crc32, pumped } from "../files.js";

/** @import { ModelInfo, Settings } from "../engine/types.d.ts" */
/** @import { Base, Piece, Step } from "../music/piece.js" */

export const EXAMPLE = "bundled:";
export const MIDI_PREFIX = "musiclstm recipe "; // of a text in a MIDI file, as in generation/recipe.py
const FORMAT = 5;
const MAX_PROMPT = 4_096; // compressed bytes in a link
const MAX_TEXT = 200_000;
const MAX_FILE = 2_000_000;
const MAX_STEPS = 512;
const MAX_BARS = 4_096;
export const DEFAULT_SETTINGS = {
  temperature: 1, copyWeight: 1, topP: 0.97, candidates: 8, seed: 0, key: "", meter: "", notesAtOnce: 0, notesPerBar: null, keepLines: true,
};
const DEFAULTS = { temperature: 1, top_p: 0.97, copy_weight: 1, candidates: 8, seed: 0 };
const DAMAGED = "This link is damaged. Copy it again, with every character.";

/**
 * @typedef {object} Recipe
 * @property {string} weights fingerprint
 * @property {string} source name of the prompt in recipes
 * @property {string} name of the prompt
 * @property {Uint8Array<ArrayBuffer> | null} file the prompt itself
 * @property {Step[]} steps
 * @property {string} music digest of the tokens
 */

/** A link that cannot be followed. Its message is a sentence for the user. */
export class RecipeError extends Error {}

/** @param {Piece} piece @param {ModelInfo} model */
export async function recipeJson(piece, model) {
  const { prompt } = piece.base;
  let before = constraintsText(DEFAULT_SETTINGS);
  const steps = piece.steps.map(({ bars, settings }) => {
    const requested = constraintsText(settings);
    const constraints = requested === before ? {} : { constraints: constraintsJson(piece.base, settings) };
    before = requested;
    return { bars, sampling: samplingJson(settings), ...constraints };
  });
  const { musiclstm, name, fingerprint } = model;
  const tokens = piece.bars.flatMap((bar) => [...bar.tokens]).join(",");
  const music = (await digest(new TextEncoder().encode(tokens))).slice(0, 8);
  return JSON.stringify({ format: FORMAT, model: name, weights: fingerprint, musiclstm, seed: prompt.source, steps, music });
}

/** The changed options, in the order of `Sampling` of the library, and the seed. @param {Settings} settings */
function samplingJson({ temperature, topP, copyWeight, candidates, seed }) {
  const values = { temperature, top_p: topP, seed, copy_weight: copyWeight, candidates };
  return Object.fromEntries(
    Object.entries(values).filter(([name, value]) => name === "seed" || value !== DEFAULTS[/** @type {"top_p"} */ (name)]),
  );
}

/** What a step requests beyond sampling, to compare steps. @param {Settings} settings */
function constraintsText({ key, meter, notesAtOnce, notesPerBar, keepLines }) {
  return JSON.stringify([key, meter, notesAtOnce, notesPerBar, keepLines]);
}

/** @param {Base} base @param {Settings} settings */
function constraintsJson(base, settings) {
  const { programs, maxAtOnce, ...others } = base.constraintsFor(settings);
  const { key, notesPerBar, keepLines } = settings;
  const meter = base.meterOf(others.meter);
  return {
    programs,
    ...(meter && { meter: [meter.numerator, meter.denominator] }),
    tempo_changes: false,
    ...(key && { key }),
    ...(maxAtOnce < 32 && { max_notes_at_once: maxAtOnce }),
    ...(notesPerBar && { notes_per_bar: notesPerBar }),
    ...(!keepLines && { keep_lines: false }),
  };
}

/** Return query and fragment of a link, and whether another device needs the file. @param {Piece} piece @param {ModelInfo} model @param {Uint8Array<ArrayBuffer>} file */
export async function toLink(piece, model, file) {
  const { source, name } = piece.base.prompt;
  const packed = await pumped(new TextEncoder().encode(await recipeJson(piece, model)), new CompressionStream("deflate-raw"), Infinity);
  const query = `?recipe=${toBase64(Uint8Array.from([...checksum(packed), ...packed]))}`;
  if (source.startsWith(EXAMPLE)) return { link: query, needsFile: false };
  const prompt = await pumped(file, new CompressionStream("deflate-raw"), Infinity);
  if (prompt.length > MAX_PROMPT) return { link: query, needsFile: true };
  return { link: `${query}#${new URLSearchParams({ prompt: toBase64(prompt), name })}`, needsFile: false };
}

/**
 * Read an untrusted link; null if it has no recipe.
 * @param {string} query @param {string} fragment @param {string} dictionary of the compression, see LINK_DICTIONARY of recipe.py
 * @returns {Promise<Recipe | null>}
 * @throws {RecipeError}
 */
export async function fromLink(query, fragment, dictionary) {
  const code = new URLSearchParams(query).get("recipe");
  if (code === null) return null;
  const parameters = new URLSearchParams(fragment.slice(1));
  const prompt = parameters.get("prompt");
  const content = await guarded(() => readCode(code, dictionary));
  if (content.format !== FORMAT) throw new RecipeError("This link was made by another version of the page. Open it there.");
  for (const name of ["selection", "prompt_bars"]) {
    if (name in content) throw new RecipeError("This link continues a part of its file. Open it on the page with a server.");
  }
  if ("references" in content) throw new RecipeError("This link reads other pieces first. Open it on the page with a server.");
  return guarded(async () => ({
    weights: String(content.weights),
    source: String(content.seed ?? ""),
    name: parameters.get("name") ?? "of the link",
    file: prompt ? await pumped(fromBase64(prompt), new DecompressionStream("deflate-raw"), MAX_FILE) : null,
    steps: checkedSteps(content.steps),
    music: String(content.music ?? ""),
  }));
}

/** Turn an error into a sentence. @template T @param {() => Promise<T>} read @returns {Promise<T>} */
async function guarded(read) {
  try {
    return await read();
  } catch (error) {
    throw error instanceof RecipeError ? error : new RecipeError(DAMAGED);
  }
}

/** @param {string} code @param {string} dictionary */
async function readCode(code, dictionary) {
  if (code.length > MAX_TEXT) throw new RangeError();
  const bytes = fromBase64(code);
  const packed = bytes.subarray(2);
  if (String(bytes.subarray(0, 2)) !== String(checksum(packed))) throw new RangeError();
  // A stored block with the dictionary comes first, because DecompressionStream takes none.
  const preset = new TextEncoder().encode(dictionary);
  const size = [preset.length & 255, preset.length >> 8];
  const stream = Uint8Array.from([0, ...size, ...size.map((byte) => byte ^ 255), ...preset, ...packed]);
  const text = await pumped(stream, new DecompressionStream("deflate-raw"), MAX_TEXT);
  return JSON.parse(new TextDecoder().decode(text.subarray(preset.length)));
}

/** @param {any[]} steps @returns {Step[]} */
function checkedSteps(steps) {
  if (!Array.isArray(steps) || steps.length > MAX_STEPS) throw new RangeError();
  let requested = requestOf({});
  const found = steps.map(({ bars, sampling, constraints, ...others }) => {
    const unknown = [...Object.keys(others), ...Object.keys(sampling).filter((name) => !(name in DEFAULTS))];
    if (unknown.length) throw new RecipeError(`This link sets ${unknown.join(", ")}. Open it on the page with a server.`);
    if (constraints) requested = requestOf(constraints);
    const { temperature, top_p, copy_weight, candidates, seed } = { ...DEFAULTS, ...sampling };
    return {
      bars: checked(bars, 1, MAX_BARS),
      settings: {
        temperature: checked(temperature, 0, 100), topP: checked(top_p, 1e-6, 1), copyWeight: checked(copy_weight, 0, 2),
        candidates: Math.floor(checked(candidates, 1, 32)), seed: checked(seed, 0, 2 ** 32 - 1), ...requested,
      },
    };
  });
  checked(found.reduce((sum, { bars }) => sum + bars, 0), 0, MAX_BARS);
  return found;
}

/** Return the settings of the constraints of a step. @param {any} constraints */
function requestOf({ key, meter, max_notes_at_once: atOnce, notes_per_bar: notes, keep_lines: keepLines }) {
  /** @type {[number, number] | null} */
  const notesPerBar = notes ? [checked(notes[0], 0, 1_000), checked(notes[1], 1, 2 ** 31 - 1)] : null;
  return {
    key: String(key ?? ""), meter: meter ? meter.map((/** @type {unknown} */ each) => checked(each, 1, 64)).join("/") : "",
    notesAtOnce: atOnce ? checked(atOnce, 1, 32) : 0, notesPerBar, keepLines: keepLines !== false,
  };
}

/** @param {unknown} value @param {number} low @param {number} high */
function checked(value, low, high) {
  if (typeof value !== "number" || !(low <= value && value <= high)) throw new RangeError();
  return value;
}

/** Return the last two bytes of the CRC-32. @param {Uint8Array} bytes */
function checksum(bytes) {
  const sum = crc32(bytes);
  return [(sum >>> 8) & 255, sum & 255];
}

/** @param {Uint8Array} bytes */
function toBase64(bytes) {
  const text = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** @param {string} text */
function fromBase64(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
}

/** Return the SHA-256 digest in hexadecimal digits. @param {BufferSource} bytes */
async function digest(bytes) {
  const found = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(found, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Name of a file in recipes. @param {BufferSource} bytes */
export async function fileSource(bytes) {
  return `sha256:${await digest(bytes)}`;
}

/** Whether a piece is the one of a recipe. @param {Piece} piece @param {Recipe} recipe @param {ModelInfo} model */
export async function equals(piece, { music }, model) {
  return !music || JSON.parse(await recipeJson(piece, model)).music === music;
}
