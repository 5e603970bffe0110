// An instance of the core: its memory, and calls of its functions.

const ALIGNMENT = 16;
const PAGE = 65536;

/** @type {Record<number, string>} */
const MESSAGES = {
  [-11]: "No note is possible with these settings. Choose another key, or any key.",
  [-12]: "A setting is out of range. Reset the settings.",
  [-13]: "A bar became too long. Try again with another random seed.",
};

/** An error of the core. Its message is a sentence for the user. */
export class CoreError extends Error {
  /** @param {string} name of the function @param {number} code of core.h */
  constructor(name, code) {
    super(MESSAGES[code] ?? `This music cannot be continued (${name}: ${code}).`);
    this.code = code;
  }
}

export class CoreMemory {
  /** @param {WebAssembly.Instance} instance */
  constructor(instance) {
    this.functions = /** @type {Record<string, (...arguments_: (number | bigint)[]) => any>} */ (
      /** @type {unknown} */ (instance.exports)
    );
    this.memory = /** @type {WebAssembly.Memory} */ (instance.exports.memory);
    this.top = Number(/** @type {WebAssembly.Global} */ (instance.exports.__heap_base).value);
    this.base = this.top; // memory above this is free between calls
  }

  /** Return the address of memory that is zero at first. @param {number} bytes */
  allocate(bytes) {
    const at = Math.ceil(this.top / ALIGNMENT) * ALIGNMENT;
    this.top = at + bytes;
    const missing = this.top - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / PAGE));
    new Uint8Array(this.memory.buffer, at, bytes).fill(0);
    return at;
  }

  /** Free what was allocated after construction. */
  free() {
    this.top = this.base;
  }

  /**
   * View memory. A view ends when memory grows.
   * @template {Int32Array | Uint32Array | Uint8Array | Float32Array | Int8Array | BigInt64Array} T
   * @param {{new (buffer: ArrayBuffer, at: number, length: number): T}} Type
   * @param {number} at @param {number} length @returns {T}
   */
  array(Type, at, length) {
    return new Type(/** @type {ArrayBuffer} */ (this.memory.buffer), at, length);
  }

  /** Copy integers into memory. @param {Int32Array | number[]} values */
  place(values) {
    const at = this.allocate(4 * values.length);
    this.array(Int32Array, at, values.length).set(values);
    return at;
  }

  /** Copy bytes into memory. @param {Uint8Array} bytes */
  placeBytes(bytes) {
    const at = this.allocate(bytes.length);
    this.array(Uint8Array, at, bytes.length).set(bytes);
    return at;
  }

  /** Call a function that returns an error code or a count. @param {string} name @param {(number | bigint)[]} parameters */
  call(name, ...parameters) {
    const code = Number(this.functions[name](...parameters));
    if (code < 0) throw new CoreError(name, code);
    return code;
  }
}
