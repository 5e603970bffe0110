// Bars of tokens as notes, prompts and pieces.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { crc32, deflateRawSync } from "node:zlib";

import { readBar } from "../../page/static/music/bar_notes.js";
import { KEYS, estimateKey, keyGroups, keySignature, pitchClasses } from "../../page/static/music/keys.js";
import { addPedal, heldDurations, pedalledTracks } from "../../page/static/music/pedal.js";
import { readMidi } from "../../page/static/music/midi_reader.js";
import { Base, Piece } from "../../page/static/music/piece.js";
import { Prompt } from "../../page/static/music/prompt.js";
import { TempoMap, barLines } from "../../page/static/music/timing.js";
import { midiFiles } from "./core.js";
import { DEFAULT_SETTINGS, fileSource, fromLink, toLink } from "../../page/static/ui/recipe.js";

// Bar, 4/4, Program 0, two positions, a pitch, a duration of six positions
const TABLE = {
  kind: [1, 2, 4, 5, 5, 6, 8], value: [0, 192, 0, 0, 12, 60, 6], unit: [0, 4, 0, 0, 0, 0, 0], eos: -1,
};
const BAR = { tokens: [0, 1, 2, 3, 5, 6, 4, 5, 6], logProbs: [0, -1, -2, -1, -1, -1, -3, -1, -1], state: new Float32Array(1) };
const SETTINGS = { ...DEFAULT_SETTINGS, seed: 1 };

const files = await midiFiles();

async function example(name) {
  const bytes = new Uint8Array(readFileSync(new URL(`../../musiclstm/examples/${name}.mid`, import.meta.url)));
  const { score } = await readMidi(files, bytes);
  return { bytes, prompt: new Prompt(score, { name: `${name}.mid`, source: `bundled:${name}` }) };
}

function pieceOf(prompt) {
  const parts = prompt.score.tracks.map((_, i) => ({ program: 0, number: i, tracks: [i], velocities: new Uint8Array(24).fill(70 + i) }));
  const constraints = { programs: [0], meter: 1, maxAtOnce: 4 };
  const read = { ids: [1], parts, constraints, state: new Float32Array(1) };
  return new Piece(new Base(prompt, read, TABLE));
}

test("notes share the probabilities of their position and their program", () => {
  const { length, notes, meter } = readBar(TABLE, BAR);
  assert.deepEqual([length, meter], [192, 1]);
  assert.deepEqual(notes.map(({ tick, duration, pitch }) => [tick, duration, pitch]), [[0, 24, 60], [48, 24, 60]]);
  assert.deepEqual(notes.map(({ logProb }) => logProb), [-4, -6]); // -1 - 1 - 1 - 2 / 2, -1 - 1 - 3 - 2 / 2
});

test("bars and key of a prompt", async () => {
  const { prompt } = await example("minuet_in_g");
  assert.deepEqual([prompt.bars, prompt.key], [8, "G major"]);
  assert.equal(prompt.score.ticksPerQuarter % 48, 0);
});

test("a piece grows by bars, and an earlier one is unchanged", async () => {
  const { prompt } = await example("minuet_in_g");
  const before = pieceOf(prompt);
  const after = before.withBar(BAR, SETTINGS, true).withBar(BAR, SETTINGS, false);
  assert.deepEqual(after.steps, [{ bars: 2, settings: SETTINGS }]);
  const count = ({ music }) => music.score.tracks.reduce((sum, { notes }) => sum + notes.length, 0);
  assert.equal(count(after), count(before) + 4);
  assert.equal(before.music.end, prompt.end);
  const added = after.music.score.tracks[0].notes.filter(({ tick }) => tick >= prompt.end);
  assert.deepEqual(new Set(added.map(({ velocity }) => velocity)), new Set([70])); // of the part
  assert.equal(after.music.end, prompt.end + 2 * 4 * prompt.score.ticksPerQuarter);
  assert.deepEqual(after.truncated(1).steps, [{ bars: 1, settings: SETTINGS }]);
  assert.deepEqual(after.music.score.meters.at(-1), { tick: prompt.end, numerator: 1, denominator: 4 }); // of the first TimeSig
});

test("a requested key begins with its signature", async () => {
  const { prompt } = await example("minuet_in_g");
  const inKey = (key) => ({ ...SETTINGS, key });
  const piece = pieceOf(prompt).withBar(BAR, inKey("G major"), true).withBar(BAR, inKey("Eb minor"), true).withBar(BAR, inKey(""), true);
  const added = piece.music.score.keys.slice(prompt.score.keys.length);
  const line = prompt.end + 4 * prompt.score.ticksPerQuarter;
  assert.deepEqual(added, [{ tick: line, sharps: -6, isMinor: true }]); // G major is that of the prompt
});

test("a bar begins at every time signature", () => {
  const score = { ticksPerQuarter: 4, tracks: [], tempos: [{ tick: 8, mspq: 1_000_000 }], meters: [{ tick: 10, numerator: 3, denominator: 4 }] };
  assert.deepEqual(barLines(score, 23), [0, 10, 22, 34]);
  const again = { tick: 13, numerator: 3, denominator: 4 };
  assert.deepEqual(barLines({ ...score, meters: [...score.meters, again] }, 23), [0, 10, 13, 25]);
  const onLine = { tick: 22, numerator: 3, denominator: 4 };
  assert.deepEqual(barLines({ ...score, meters: [...score.meters, onLine] }, 23), [0, 10, 22, 34]);
  assert.deepEqual([0, 8, 12].map((tick) => new TempoMap(score).secondsAt(tick)), [0, 1, 2]);
});

test("keys have their pitch classes", () => {
  assert.equal(KEYS.length, 24);
  assert.deepEqual(pitchClasses("D minor"), [2, 4, 5, 7, 9, 10, 0, 1]);
  assert.equal(pitchClasses("H minor"), null);
  const sharps = ["C major", "F# major", "Db major", "A minor", "G# minor", "Eb minor"].map((key) => keySignature(key).sharps);
  assert.deepEqual(sharps, [0, 6, -5, 0, 5, -6]);
  assert.deepEqual(pitchClasses("E dorian"), [4, 6, 7, 9, 11, 1, 2]);
  assert.deepEqual(keySignature("E dorian"), { sharps: 2, isMinor: true });
  assert.equal(keySignature("C whole tone"), null);
  assert.equal(keyGroups().length, 14);
});

const DICTIONARY = '{"format":5,"musiclstm":';
const MODEL = { name: "default", revision: "", fingerprint: "abc", musiclstm: "0.4", linkDictionary: DICTIONARY, table: TABLE };

function read(link) {
  const { search, hash } = new URL(link, "http://localhost/");
  return fromLink(search, hash, DICTIONARY);
}

test("a link holds settings, and a small file of the user", async () => {
  const { bytes, prompt } = await example("garage_riff");
  const minor = { ...SETTINGS, key: "D minor", temperature: 0.8, meter: "3/4", notesAtOnce: 2, notesPerBar: [0, 12], keepLines: false };
  const piece = pieceOf(prompt).withBar(BAR, SETTINGS, true).withBar(BAR, minor, true);
  const bundled = await read((await toLink(piece, MODEL, bytes)).link);
  assert.deepEqual([bundled.source, bundled.file, bundled.weights], ["bundled:garage_riff", null, "abc"]);
  assert.deepEqual(bundled.steps, [{ bars: 1, settings: SETTINGS }, { bars: 1, settings: minor }]);
  prompt.source = await fileSource(bytes);
  const own = await toLink(pieceOf(prompt), MODEL, bytes);
  assert.equal(own.needsFile, false);
  assert.deepEqual((await read(own.link)).file, bytes);
});

test("a link with what this page cannot do is refused", async () => {
  const refuses = [
    [{ references: ["bundled:canon_in_d"] }, /other pieces/],
    [{ prompt_bars: 4 }, /part of its file/],
    [{ steps: [{ bars: 1, sampling: { seed: 1, similarity: 0 } }] }, /sets similarity/],
  ];
  for (const [change, message] of refuses) {
    const content = { format: 5, model: "default", weights: "abc", seed: "bundled:garage_riff", steps: [], ...change };
    const packed = deflateRawSync(JSON.stringify(content));
    const sum = crc32(packed);
    const code = Buffer.from([(sum >> 8) & 255, sum & 255, ...packed]).toString("base64url");
    await assert.rejects(read(`?recipe=${code}`), message);
  }
});

test("other addresses have no recipe, damaged ones are refused", async () => {
  assert.equal(await read("?page=1#top"), null);
  for (const text of ["", "AAAA", "!", "x".repeat(300_000)]) {
    await assert.rejects(read(`?recipe=${text}`), /damaged/);
  }
});

test("the key signature decides between relative keys", () => {
  const notes = [60, 62, 64, 65, 67, 69, 71, 72].map((pitch, i) => ({ tick: 4 * i, duration: 4, pitch, velocity: 80 }));
  const score = { ticksPerQuarter: 4, tempos: [], meters: [], keys: [], tracks: [{ name: "", program: 0, isDrum: false, notes, controls: [] }] };
  const key = (sharps, isMinor) => estimateKey({ ...score, keys: [{ tick: 0, sharps, isMinor }] });
  assert.equal(estimateKey(score), "C major");
  assert.deepEqual([key(0, true), key(0, false), key(-3, true)], ["A minor", "C major", "C major"]);
});

test("notes last as long as the pedal holds them", () => {
  const notes = [[0, 60], [480, 64], [960, 64]].map(([tick, pitch]) => ({ tick, duration: 60, pitch, velocity: 80 }));
  const pedal = (tick, second) => ({ tick, status: 0xb0, first: 64, second });
  const track = { name: "", program: 0, isDrum: false, notes, controls: [pedal(0, 127), pedal(1900, 0)] };
  assert.deepEqual(heldDurations(track), [1900, 480, 940]);
  assert.deepEqual(heldDurations({ ...track, controls: [pedal(0, 127)] }), [60, 60, 60]); // never lifted
  assert.deepEqual(heldDurations({ ...track, isDrum: true }), [60, 60, 60]);
});

test("the pedal of new bars changes with bar and bass", () => {
  const pedal = (tick, second) => ({ tick, status: 0xb0, first: 64, second });
  const notes = [[0, 48], [24, 60], [48, 41], [96, 53], [250, 48]].map(([tick, pitch]) => ({ tick, duration: 12, pitch, velocity: 80 }));
  const track = { name: "", program: 0, isDrum: false, notes, controls: [pedal(0, 127), pedal(90, 0)] };
  const score = { ticksPerQuarter: 48, tempos: [], meters: [], keys: [], tracks: [track, { ...track, controls: [] }] };
  assert.deepEqual(pedalledTracks(score, [0, 192, 384]), [0]); // in one of two bars
  assert.deepEqual(pedalledTracks(score, [0, 96, 192, 384]), []); // in one of three
  const own = { ...track, controls: [] };
  addPedal([own], [0, 192, 384, 576], 48);
  const presses = [[2, 48], [50, 192], [194, 384]]; // the last bar has no notes
  assert.deepEqual(own.controls, presses.flatMap(([press, lift]) => [pedal(press, 127), pedal(lift, 0)]));
});
