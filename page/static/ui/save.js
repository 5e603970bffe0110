// Files that the user takes home.

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

/** @param {Float32Array[]} chunk */
function interleaved([left, right]) {
  const samples = new Int16Array(2 * left.length);
  for (let i = 0; i < left.length; i++) {
    samples[2 * i] = 32767 * Math.max(-1, Math.min(1, left[i]));
    samples[2 * i + 1] = 32767 * Math.max(-1, Math.min(1, right[i]));
  }
  return samples.buffer;
}
