// Texts of MIDI files, whose encoding is not stated; as in midi/score_tables.py and midi/sanitize.py.

const MAX_NAME = 80;
const SPACES = /[\p{White_Space}\u001c-\u001f]+/u;
const CONTROL_CHARACTERS = /\p{C}/gu;
const CP1252 = "€?‚ƒ„…†‡ˆ‰Š‹Œ?Ž??‘’“”•–—˜™š›œ?žŸ"; // bytes 0x80 to 0x9f; TextDecoder of Node 20 has others

/** Return untrusted text as one line without control characters. @param {string} text */
export function cleanText(text) {
  const spaced = text.split(SPACES).filter(Boolean).join(" ");
  return Array.from(spaced.replace(CONTROL_CHARACTERS, "")).slice(0, MAX_NAME).join("").trim();
}

/** Decode UTF-8, else Shift-JIS if at least half of the bytes are Japanese, else Windows-1252. @param {Uint8Array} bytes */
export function decodeText(bytes) {
  const unicode = decoded(bytes, "utf-8");
  if (unicode !== null) return unicode;
  const japanese = decoded(bytes, "shift_jis");
  if (japanese !== null && japaneseBytes(japanese, bytes.length) >= bytes.length / 2) return japanese;
  return Array.from(bytes, (byte) => (byte >> 5 === 4 ? CP1252[byte - 0x80] : String.fromCharCode(byte))).join("");
}

/** Count the bytes of two-byte characters, and of half-width katakana if there are three or more. @param {string} text @param {number} size in bytes */
function japaneseBytes(text, size) {
  const narrow = (text.match(/[\uff61-\uff9f]/g) ?? []).length;
  return 2 * (size - text.length) + (narrow >= 3 ? narrow : 0);
}

/** @param {Uint8Array} bytes @param {string} encoding */
function decoded(bytes, encoding) {
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** Encode as Latin-1, which MIDI programs expect, or all as UTF-8 if there are other letters. @param {string[]} texts */
export function encodeTexts(texts) {
  const codes = texts.map((text) => Array.from(text, (letter) => letter.codePointAt(0) ?? 0));
  const isLatin = codes.flat().every((code) => code < 256);
  return isLatin ? codes.map((each) => Uint8Array.from(each)) : texts.map((text) => new TextEncoder().encode(text));
}
