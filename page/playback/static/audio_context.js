// The AudioContext that all players of a page share.

/** @import { ChunkData, Shared } from "./types.d.ts" */

export const SAMPLE_RATE = 44100;

/** State of the page's players. @returns {Shared} */
export function shared() {
  window.musiclstm ??= { players: new Map(), context: null, volume: 0.8, listening: false };
  return window.musiclstm;
}

/** Return the page's AudioContext, a new one if the system has closed it; call it during a press. */
export function audioContext() {
  const state = shared();
  if (!state.context || state.context.state === "closed") {
    const Context = window.AudioContext || window.webkitAudioContext;
    if (!Context) throw new Error("This browser cannot play sound; please try another one.");
    state.context = new Context({ sampleRate: SAMPLE_RATE, latencyHint: "interactive" });
  }
  return state.context;
}

/** Resume the AudioContext during a press, so that the browser permits sound. */
export function unlock() {
  try {
    audioContext().resume().catch(() => {});
  } catch {
    // The play button reports it.
  }
}

/** Return the samples of a chunk. @param {ChunkData} data @returns {Promise<AudioBuffer>} */
export async function decode(data) {
  return typeof data === "string" ? decodeFile(data) : data;
}

/** Decode a FLAC or WAV file. @param {string} base64 */
function decodeFile(base64) {
  const bytes =
    Uint8Array.fromBase64?.(base64) ??
    Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)); // ten times slower
  return new OfflineAudioContext(2, 1, SAMPLE_RATE).decodeAudioData(bytes.buffer);
}
