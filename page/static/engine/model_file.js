// The file of a model: a JSON header and arrays, see hub/static_model.py.

const MAGIC = "MLSTM\0\0\u0001";

/**
 * @typedef {object} StoredArray
 * @property {string} name
 * @property {"int8" | "int32" | "float32" | "float16"} type
 * @property {number} count
 * @property {number} offset
 */

/**
 * @typedef {object} Header
 * @property {any} info
 * @property {number} tokens
 * @property {number} eos
 * @property {number[]} network
 * @property {string[]} pointers
 * @property {StoredArray[]} arrays
 * @property {number} start of the arrays
 */

/** @param {ArrayBuffer} file @returns {Header} */
export function readHeader(file) {
  const magic = new TextDecoder("latin1").decode(file.slice(0, 8));
  if (magic !== MAGIC) throw new Error("The weights are not those of this page. Reload the page.");
  const length = new DataView(file).getUint32(8, true);
  return { ...JSON.parse(new TextDecoder().decode(new Uint8Array(file, 12, length))), start: 12 + length };
}

/** @param {ArrayBuffer} file @param {Header} header @param {StoredArray} array */
export function unpack(file, { start }, { type, count, offset }) {
  if (type === "float16") return { Type: Float32Array, values: fromHalves(new Uint16Array(file, start + offset, count)) };
  const Type = { int8: Int8Array, int32: Int32Array, float32: Float32Array }[type];
  return { Type: /** @type {any} */ (Type), values: new Type(file, start + offset, count) };
}

/** Convert float16, for browsers without Float16Array. @param {Uint16Array} halves */
function fromHalves(halves) {
  const bits = new Uint32Array(1);
  const single = new Float32Array(bits.buffer);
  const table = new Float32Array(65536).fill(NaN);
  const known = new Uint8Array(65536);
  return Float32Array.from(halves, (half) => {
    if (known[half]) return table[half];
    const exponent = (half >> 10) & 31;
    const sign = half & 0x8000 ? -1 : 1;
    bits[0] = ((exponent + 112) << 23) | ((half & 1023) << 13);
    known[half] = 1;
    return (table[half] = sign * (exponent ? single[0] : (half & 1023) * 2 ** -24));
  });
}
