// Files of this page, and compressed data.

/** @param {string} name @returns {Promise<Response>} @throws {Error} with a sentence for the user */
export async function fetchFile(name) {
  const answer = await fetch(name).catch(() => null);
  if (answer?.ok) return answer;
  const status = answer ? ` (${answer.status})` : "";
  throw new Error(`${name} could not be fetched${status}. Try again, or reload the page.`);
}

/** @returns {Promise<WebAssembly.Module>} */
export async function fetchCore() {
  return WebAssembly.compile(await (await fetchFile("core.wasm")).arrayBuffer());
}

/** Return a function that loads once; after an error the next call tries again. @template T @param {() => Promise<T>} load @returns {() => Promise<T>} */
export function once(load) {
  /** @type {Promise<T> | null} */
  let loaded = null;
  return () => {
    loaded ??= load().catch((error) => {
      loaded = null;
      throw error;
    });
    return loaded;
  };
}

/**
 * Compress or decompress.
 * @param {Uint8Array<ArrayBuffer>} bytes @param {CompressionStream | DecompressionStream} stream
 * @param {number} limit bytes of the result
 * @throws {RangeError} the result is larger @throws {TypeError} the bytes are damaged
 */
export async function pumped(bytes, stream, limit) {
  const writer = stream.writable.getWriter();
  writer.write(bytes).catch(() => {});
  writer.close().catch(() => {});
  const parts = [];
  let size = 0;
  for (const reader = stream.readable.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > limit) {
      reader.cancel().catch(() => {});
      throw new RangeError(`More than ${limit} bytes.`);
    }
    parts.push(value);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  let sum = byte;
  for (let i = 0; i < 8; i++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  return sum;
});

/** @param {Uint8Array} bytes */
export function crc32(bytes) {
  let sum = ~0;
  for (const byte of bytes) sum = (sum >>> 8) ^ CRC[(sum ^ byte) & 255];
  return ~sum >>> 0;
}
