// Files that the user takes home.

import { crc32 } from "../files.js";

const SAMPLE_RATE = 44100;

/** Offer a file. @param {string} name @param {string} type @param {BlobPart[]} parts */
export function save(name, type, parts) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(parts, { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Return a file name without its ending and characters that systems refuse. @param {string} name @param {string[]} endings */
export function stem(name, endings) {
  const ending = endings.find((each) => name.toLowerCase().endsWith(each)) ?? "";
  return name.slice(0, name.length - ending.length).replace(/[^\p{L}\p{N} ()_-]+/gu, "-").replace(/^[-\s]+|[-\s]+$/g, "") || "music";
}

/** Return a WAV file of 16 bits as parts. @param {Float32Array[][]} chunks left and right samples */
export function wav(chunks) {
  const frames = chunks.reduce((sum, [left]) => sum + left.length, 0);
  const head = new DataView(new ArrayBuffer(44));
  /** @param {number} at @param {string} text */
  const ascii = (at, text) => Array.from(text, (letter, i) => head.setUint8(at + i, letter.charCodeAt(0)));
  ascii(0, "RIFF");
  head.setUint32(4, 36 + 4 * frames, true);
  ascii(8, "WAVEfmt ");
  head.setUint32(16, 16, true);
  head.setUint16(20, 1, true); // PCM
  head.setUint16(22, 2, true); // channels
  head.setUint32(24, SAMPLE_RATE, true);
  head.setUint32(28, 4 * SAMPLE_RATE, true);
  head.setUint16(32, 4, true);
  head.setUint16(34, 16, true);
  ascii(36, "data");
  head.setUint32(40, 4 * frames, true);
  return [head.buffer, ...chunks.map(interleaved)];
}

/** Return a ZIP file without compression as parts. @param {[string, BlobPart[]][]} files names, each different, and contents */
export async function zip(files) {
  const names = new TextEncoder();
  const parts = [];
  const directory = [];
  let at = 0;
  for (const [name, content] of files) {
    const blob = new Blob(content);
    const sum = crc32(new Uint8Array(await blob.arrayBuffer()));
    const text = names.encode(name);
    const head = entry(0x04034b50, 30, text, sum, blob.size);
    const listed = entry(0x02014b50, 46, text, sum, blob.size, at);
    parts.push(head, text, blob);
    directory.push(listed, text);
    at += head.byteLength + text.length + blob.size;
  }
  const size = directory.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  for (const place of [8, 10]) end.setUint16(place, files.length, true);
  end.setUint32(12, size, true);
  end.setUint32(16, at, true);
  return [...parts, ...directory, end.buffer];
}

/** Return the header of a file in a ZIP file, or in its directory. @param {number} magic @param {number} length @param {Uint8Array} name @param {number} sum @param {number} size @param {number} at of the file */
function entry(magic, length, name, sum, size, at = 0) {
  const view = new DataView(new ArrayBuffer(length));
  const isListed = length === 46;
  const start = isListed ? 6 : 4; // of what both headers have
  view.setUint32(0, magic, true);
  if (isListed) view.setUint16(4, 20, true);
  view.setUint16(start, 20, true);
  view.setUint16(start + 2, 0x800, true); // names in UTF-8
  view.setUint16(start + 8, 0x21, true); // 1 January 1980
  view.setUint32(start + 10, sum, true);
  view.setUint32(start + 14, size, true);
  view.setUint32(start + 18, size, true);
  view.setUint16(start + 22, name.length, true);
  if (isListed) view.setUint32(42, at, true);
  return view.buffer;
}

/** @param {Float32Array[]} chunk */
function interleaved([left, right]) {
  const samples = new Int16Array(2 * left.length);
  for (let i = 0; i < left.length; i++) {
    samples[2 * i] = 32767 * Math.max(-1, Math.min(1, left[i]));
    samples[2 * i + 1] = 32767 * Math.max(-1, Math.min(1, right[i]));
  }
  return samples.buffer;
}
