// MIDI files: reading, refusing, writing. tests/page/test_static_midi.py compares with the library.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

import { MAX_BYTES, MidiError } from "../../page/static/music/midi_events.js";
import { readMidi } from "../../page/static/music/midi_reader.js";
import { cleanText, decodeText, encodeTexts } from "../../page/static/music/midi_text.js";
import { writeMidi } from "../../page/static/music/midi_writer.js";
import { midiFiles } from "./core.js";

const files = await midiFiles();

const uint = (value, bytes) => Array.from({ length: bytes }, (_, i) => (value >>> (8 * (bytes - 1 - i))) & 255);
const ascii = (text) => Array.from(text, (letter) => letter.charCodeAt(0));
const chunk = (body) => [...ascii("MTrk"), ...uint(body.length, 4), ...body];
const file = (format, division, ...tracks) =>
  Uint8Array.from([...ascii("MThd"), ...uint(6, 4), ...uint(format, 2), ...uint(tracks.length, 2), ...uint(division, 2), ...tracks.flatMap(chunk)]);
const example = (name) => new Uint8Array(readFileSync(new URL(`../../musiclstm/examples/${name}.mid`, import.meta.url)));
const END = [0, 0xff, 0x2f, 0];
const NOTE = [0, 0x90, 60, 100, 96, 0x80, 60, 0];
const ONE = file(0, 96, [...NOTE, ...END]);

const read = (bytes) => readMidi(files, bytes);
const scoreOf = async (bytes) => (await read(bytes)).score;

test("running status, a velocity of 0 and long times are read", async () => {
  const body = [0, 0x90, 60, 100, 0x83, 0x60, 60, 0, 0, 64, 90, 0x60, 64, 0, ...END];
  const { tracks } = await scoreOf(file(0, 480, body));
  assert.deepEqual(tracks[0].notes, [
    { tick: 0, duration: 480, pitch: 60, velocity: 100 },
    { tick: 480, duration: 96, pitch: 64, velocity: 90 },
  ]);
});

test("a chunk becomes one track for each channel and program, channel 10 is drums", async () => {
  const body = [
    0, 0xff, 3, 5, ...ascii("Piano"), 0, 0xc0, 4, ...NOTE, 0, 0x99, 36, 80, 10, 0x89, 36, 0, 0, 0xc0, 5, ...NOTE, ...END,
  ];
  const { tracks } = await scoreOf(file(0, 96, body));
  assert.deepEqual(tracks.map(({ name, program, isDrum }) => [name, program, isDrum]), [
    ["Piano", 4, false], ["Piano", 5, false], ["Piano", 0, true],
  ]);
});

test("tempo, meter and key are read; the last of simultaneous ones counts, repeated ones do not", async () => {
  const tempo = (mspq) => [0xff, 0x51, 3, ...uint(mspq, 3)];
  const meter = (power) => [0xff, 0x58, 4, 6, power, 24, 8];
  const key = [0xff, 0x59, 2, 0xfe, 1];
  const body = [0, ...tempo(400000), 0, ...tempo(90), 0, ...key, 5, ...key, 5, ...tempo(90), 0, ...meter(3), ...NOTE, ...END];
  const { tempos, meters, keys } = await scoreOf(file(1, 96, body));
  assert.deepEqual(tempos, [{ tick: 0, mspq: 90 }]); // however fast
  assert.deepEqual(meters, [{ tick: 10, numerator: 6, denominator: 8 }]);
  assert.deepEqual(keys, [{ tick: 0, sharps: -2, isMinor: true }]);
});

test("controllers of a channel hold in every track, and a bank is kept", async () => {
  const setup = [0, 0xb0, 0, 8, 0, 0xc0, 4, 0, 0xb0, 7, 90, 0, 0xe0, 1, 70, ...END];
  const score = await scoreOf(file(1, 96, setup, [...NOTE, ...END]));
  const control = (first, second, status = 0xb0) => ({ tick: 0, status, first, second });
  assert.deepEqual(score.tracks[0].controls, [control(0, 8), control(32, 0), control(7, 90), control(1, 70, 0xe0)]);
  assert.deepEqual(await scoreOf(writeMidi(files, score)), score);
});

for (const [what, bytes, count, repairs] of [
  ["format 2", file(2, 96, [...NOTE, ...END], [...NOTE, ...END]), 2, ["read its patterns (format 2) one after another"]],
  ["SMPTE time", file(0, 0xe728, [...NOTE, ...END]), 1, ["converted SMPTE time to ticks at 120 beats per minute"]],
  ["bytes before the header", Uint8Array.from([1, 2, 3, ...ONE]), 1, ["left out 3 bytes before the MIDI header"]],
  ["a note without an end", file(0, 96, [0, 0x90, 60, 100, 96, ...END.slice(1)]), 1, ["ended 1 note without an end"]],
  ["gzip", new Uint8Array(gzipSync(ONE)), 1, []],
  ["RIFF", Uint8Array.from([...ascii("RIFF"), 0, 0, 0, 0, ...ascii("RMIDdata"), ONE.length, 0, 0, 0, ...ONE]), 1, []],
]) {
  test(`${what} is read`, async () => {
    const found = await read(bytes);
    assert.equal(found.score.tracks.reduce((sum, { notes }) => sum + notes.length, 0), count);
    assert.deepEqual(found.repairs, repairs);
  });
}

for (const [what, bytes, message] of [
  ["another file", Uint8Array.from([0x89, ...ascii("PNG"), ...new Array(20).fill(0)]), /^This is a picture, not a MIDI file/],
  ["nonsense", Uint8Array.from(ascii("hello")), /^This is not a MIDI file/],
  ["an empty file", new Uint8Array(0), /empty/],
  ["half a header", ONE.slice(0, 9), /breaks off in its header/],
  ["a file without tracks", ONE.slice(0, 14), /no track/],
  ["a file without notes", file(0, 96, END), /no notes/],
  ["no division", file(0, 0, [...NOTE, ...END]), /division/],
  ["a file that breaks off", ONE.slice(0, 24), /breaks off before its first note/],
  ["a long file", file(0, 1, [0, 0x90, 60, 100, 0xa0, 0x10, 0x80, 60, 0, ...END]), /4,112 beats/],
  ["a large file", new Uint8Array(MAX_BYTES + 1), /2 MB/],
  ["a large file in gzip", new Uint8Array(gzipSync(Buffer.alloc(MAX_BYTES + 1))), /2 MB once unpacked/],
  ["damaged gzip", Uint8Array.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0, ...ascii("nonsense")]), /damaged gzip/],
]) {
  test(`${what} is refused with a sentence`, async () => {
    await assert.rejects(read(bytes), (error) => error instanceof MidiError && message.test(error.message));
  });
}

test("too many notes and tracks are refused", async () => {
  const many = new Array(60_001).fill([0, 60, 100, 1, 60, 0]).flat();
  await assert.rejects(read(file(0, 960, [0, 0x90, 60, 0, ...many, ...END])), /60,001 notes/);
  const tracks = new Array(257).fill([...NOTE, ...END]);
  await assert.rejects(read(file(1, 96, ...tracks)), /257 tracks/);
});

test("a written file is read again", async () => {
  for (const name of ["garage_riff", "ode_to_joy", "fur_elise"]) {
    const score = await scoreOf(example(name));
    assert.deepEqual(await scoreOf(writeMidi(files, score, { text: "recipe" })), score);
  }
});

test("a file ends where it is told to", async () => {
  const score = await scoreOf(ONE);
  assert.deepEqual([...writeMidi(files, score, { end: 200 }).slice(-4)], [104, 0xff, 0x2f, 0]); // the note ends at 96
});

test("more than fifteen programs share no channel with drums", async () => {
  const tracks = Array.from({ length: 20 }, (_, i) => ({
    name: "", program: i % 12, isDrum: i === 19, controls: [], notes: [{ tick: 0, duration: 10, pitch: 60, velocity: 90 }],
  }));
  const again = await scoreOf(writeMidi(files, { ticksPerQuarter: 96, tempos: [], meters: [], keys: [], tracks }));
  assert.deepEqual(again.tracks.map(({ isDrum }) => isDrum), tracks.map(({ isDrum }) => isDrum));
  assert.deepEqual(again.tracks.slice(0, 19).map(({ program }) => program), tracks.slice(0, 19).map(({ program }) => program));
});

test("names are one line without control characters", () => {
  assert.equal(cleanText(" a\u0000\n\tb\u202e  c "), "a b c");
  assert.equal(cleanText("x".repeat(200)).length, 80);
});

test("texts are UTF-8, Shift-JIS or Windows-1252, and written in Latin-1 if they can be", () => {
  assert.equal(decodeText(new TextEncoder().encode("Flöte")), "Flöte");
  assert.equal(decodeText(Uint8Array.of(0x83, 0x73, 0x83, 0x41, 0x83, 0x6d)), "ピアノ");
  assert.equal(decodeText(Uint8Array.of(0x46, 0x6c, 0xf6, 0x74, 0x65, 0x80, 0x81)), "Flöte€?");
  assert.deepEqual(encodeTexts(["Flöte"]), [Uint8Array.of(0x46, 0x6c, 0xf6, 0x74, 0x65)]);
  assert.deepEqual(encodeTexts(["ö", "ピ"]), [Uint8Array.of(0xc3, 0xb6), Uint8Array.of(0xe3, 0x83, 0x94)]);
});
